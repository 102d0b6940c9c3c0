// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checks of a service whose clients are split by another tool's hash: which keys go with it,
 * the order of its parts, and shares that the tool can be told. What has no meaning with it is
 * refused, not ignored: whoever wrote it expects something of it.
 */
#include "config/check_split.h"

#include "allocation.h"
#include "policy/split.h"
#include "util/text.h"

#include <string.h>

/* ---- keys of one hash or another ---- */

static void report_misplaced(struct check *check, const struct service *service,
			     const struct path *path, const char *key, const char *what)
{
	char hint[96];

	snprintf(hint, sizeof(hint), "remove it%s",
		 is_split(service) ? "" : ", or say which tool's `hash` it is for");
	check_report(check, places_find(check->places, service, key), path, key, hint, "%s", what);
}

static void check_options(struct check *check, const struct service *service,
			  const struct path *path)
{
	struct path options = {.parent = path, .text = "hash_options"};
	bool has_modulus = is_split(service) && service->hash != HASH_NGINX;

	if (!has_modulus && check_place(check, service, "modulus"))
		report_misplaced(check, service, &options, "modulus",
				 "goes with `hash: haproxy-crc32` and `hash: nft-jhash` only");
	/* The default may be written out where the tool has a modulus. */
	if (service->hash != HASH_NFT_JHASH && check_place(check, service, "seed") &&
	    (!has_modulus || service->hash_options.seed))
		report_misplaced(check, service, &options, "seed",
				 "goes with `hash: nft-jhash` only");
	if (!is_split(service) && check_place(check, service, "order"))
		report_misplaced(check, service, &options, "order",
				 "goes with the hashes of other tools only");
}

static void check_client(struct check *check, const struct service *service,
			 const struct path *path)
{
	struct path client = {.parent = path, .text = "client"};
	const char *name = split_hash_name(service->hash);
	bool by_source = service->client_key == CLIENT_KEY_SOURCE ||
			 service->client_key == CLIENT_KEY_QUIC; /* its connections start by it */

	if (!by_source)
		check_report(check, check_place(check, service, "key"), &client, "key",
			     "write `key: source`, or `hash: xdp-canary`",
			     "`hash: %s` is of source addresses", name);
	if (service->group_by)
		check_report(check, check_place(check, service, "group_by"), &client, "group_by",
			     "remove it, or write `hash: xdp-canary`",
			     "`hash: %s` is of addresses, not of a group's name", name);
	if (service->hash != HASH_NGINX)
		return; /* they can mask: src,ipmask(24,64),crc32 and jhash ip saddr & 255.255.255.0
			 */
	if (check_place(check, service, "prefix4") && service->prefix4 < 32)
		check_report(check, check_place(check, service, "prefix4"), &client, "prefix4",
			     "remove it, or write 32", "nginx hashes whole addresses");
	if (check_place(check, service, "prefix6") && service->prefix6 < 128)
		check_report(check, check_place(check, service, "prefix6"), &client, "prefix6",
			     "remove it, or write 128", "nginx hashes whole addresses");
}

static void check_salt(struct check *check, const struct service *service, const struct path *path)
{
	const struct place *place = check_place(check, service, "salt");

	if (place)
		check_report(check, place, path, "salt", "remove it, or write `hash: xdp-canary`",
			     "`hash: %s` has none", split_hash_name(service->hash));
}

/* ---- the order of the parts ---- */

static void check_ordered(struct check *check, const struct service *service, size_t index,
			  const struct path *order)
{
	const char *name = service->hash_options.order[index], *names[COHORTS_MAX], *nearest;
	const struct place *place = check_place(check, name, "");
	struct path path = {.parent = order, .text = name};
	char hint[NAME_SIZE + 32] = "name a cohort of the service";

	if (!place)
		return;
	for (size_t i = 0; i < index; i++)
		if (!strcmp(service->hash_options.order[i], name))
			check_report_twice(check, place,
					   check_place(check, service->hash_options.order[i], ""),
					   &path, NULL, "name each cohort once", "it stands");
	if (service_cohort(service, name) >= 0)
		return;
	for (size_t i = 0; i < service->cohorts_count; i++)
		names[i] = service->cohorts[i].name;
	nearest = text_nearest(name, names, service->cohorts_count);
	if (nearest)
		snprintf(hint, sizeof(hint), "did you mean %s?", nearest);
	check_report(check, place, &path, NULL, hint, "is no cohort");
}

static bool is_ordered(const struct service *service, const char *name)
{
	for (size_t i = 0; i < service->hash_options.order_count; i++)
		if (!strcmp(service->hash_options.order[i], name))
			return true;
	return false;
}

/* Every cohort has an error-free name, so that each can be asked for. */
static bool cohorts_are_known(const struct check *check, const struct service *service)
{
	for (size_t i = 0; i < service->cohorts_count; i++)
		if (!check_place(check, &service->cohorts[i], "name"))
			return false;
	return service->cohorts_count;
}

/* The file's order need not be written: then it is not kept. */
static void check_order(struct check *check, struct service *service, const struct path *path)
{
	struct path options = {.parent = path, .text = "hash_options"};
	struct path order = {.parent = &options, .text = "order"};
	const struct place *place = check_place(check, service, "order");
	struct hash_options *hash_options = &service->hash_options;
	bool is_default = hash_options->order_count == service->cohorts_count;
	size_t errors_before = errors_count(check->errors);

	if (!place || !cohorts_are_known(check, service))
		return;
	for (size_t i = 0; i < hash_options->order_count; i++)
		check_ordered(check, service, i, &order);
	if (errors_count(check->errors) > errors_before)
		return; /* what is missing may be misspelled */
	for (size_t i = 0; i < service->cohorts_count; i++) {
		const char *name = service->cohorts[i].name;

		if (!is_ordered(service, name))
			check_report(check, place, &options, "order",
				     "name every cohort of the service, the last takes the rest",
				     "cohort %s is missing", name);
		is_default = is_default && !strcmp(hash_options->order[i], name);
	}
	if (is_default)
		hash_options->order_count = 0;
}

/* ---- shares ---- */

static bool split_is_known(const struct check *check, const struct service *service)
{
	return is_split(service) && check_is_good(check, service, "modulus") &&
	       check_is_good(check, service, "hash_options");
}

void check_split_share(struct check *check, const struct service *service, uint32_t share_ppm,
		       const struct place *place, const struct path *path, const char *key)
{
	char what[SPLIT_PROBLEM_SIZE], hint[SPLIT_TEXT_SIZE + 8], nearest[SPLIT_TEXT_SIZE];
	struct split split;

	if (!place || !split_is_known(check, service))
		return;
	split = split_of(service);
	if (!split_problem(&split, share_ppm, what))
		return;
	snprintf(hint, sizeof(hint), "give %s", split_nearest(&split, share_ppm, nearest));
	check_report(check, place, path, key, hint, "%s", what);
}

/* ---- settling ---- */

void settle_prefix6(const struct check *check, struct service *service)
{
	uint8_t otherwise = PREFIX6_DEFAULT(service->hash);

	if (!places_find(check->places, service, "prefix6"))
		service->prefix6 = otherwise;
	service->has_prefix6 = service->prefix6 != otherwise;
}

/* A canary may have everything: what all have together is checked with each rule. */
void settle_parts(struct check *check, struct service *service, const struct path *cohorts)
{
	for (size_t i = 0; i < service->cohorts_count; i++) {
		struct cohort *cohort = &service->cohorts[i];
		struct path path = {
			.parent = cohorts, .text = *cohort->name ? cohort->name : NULL, .index = i};

		if (check_place(check, cohort, "slot"))
			check_report(check, check_place(check, cohort, "slot"), &path, "slot",
				     "remove it, or write `hash: xdp-canary`",
				     "goes with our own hash only, the parts of %s shift",
				     split_hash_name(service->hash));
		cohort->has_slot = false;
		cohort->slot_start_ppm = 0;
		cohort->slot_ppm = i ? PPM : 0;
	}
}

void check_split(struct check *check, struct service *service, const struct path *path)
{
	if (!check_is_good(check, service, "hash"))
		return;
	check_options(check, service, path);
	if (!is_split(service))
		return;
	check_client(check, service, path);
	check_salt(check, service, path);
	check_order(check, service, path);
}
