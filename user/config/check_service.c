// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checks within one service: cohorts and their slots, backends and their server ids. First the
 * values that follow from others are filled in, then everything is compared.
 */
#include "config/check.h"
#include "config/check_split.h"

#include "allocation.h"
#include "policy/split.h"
#include "util/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* ---- cohorts ---- */

static struct path cohort_path(const struct service *service, size_t index,
			       const struct path *cohorts)
{
	const char *name = service->cohorts[index].name;

	return (struct path){.parent = cohorts, .text = *name ? name : NULL, .index = index};
}

static void check_cohort_names(struct check *check, const struct service *service,
			       const struct path *cohorts)
{
	for (size_t i = 1; i < service->cohorts_count; i++) {
		const struct cohort *cohort = &service->cohorts[i];
		struct path path = cohort_path(service, i, cohorts);
		int first = service_cohort(service, cohort->name);

		if (!*cohort->name || first == (int)i)
			continue;
		check_report_twice(check, places_find(check->places, cohort, "name"),
				   places_find(check->places, &service->cohorts[first], "name"),
				   &path, "name", "give it another name", "the name stands");
	}
}

static bool slots_are_good(const struct check *check, const struct service *service)
{
	for (size_t i = 0; i < service->cohorts_count; i++)
		if (!check_is_good(check, &service->cohorts[i], "slot"))
			return false;
	return true;
}

/* Slots follow one another in the order of the file, without gaps. */
static void settle_slots(struct check *check, struct service *service, const struct path *cohorts)
{
	uint32_t canaries = service->cohorts_count > 1 ? service->cohorts_count - 1 : 1;
	struct cohort *control = &service->cohorts[0];
	bool good = slots_are_good(check, service), over = false;
	char text[TEXT_VALUE_SIZE];
	uint64_t start = 0;

	if (control->has_slot) {
		struct path path = cohort_path(service, 0, cohorts);

		check_report(check, places_find(check->places, control, "slot"), &path, "slot",
			     "remove it", "the first cohort is the control, which has no slot");
	}
	for (size_t i = 1; i < service->cohorts_count; i++) {
		struct cohort *cohort = &service->cohorts[i];
		struct path path = cohort_path(service, i, cohorts);
		const struct place *place = places_find(check->places, cohort, "slot");

		if (!cohort->has_slot)
			cohort->slot_ppm = PPM / canaries;
		cohort->has_slot = cohort->slot_ppm != PPM / canaries;
		cohort->slot_start_ppm = start;
		start += cohort->slot_ppm;
		if (start <= PPM || over || !good)
			continue;
		over = true;
		check_report(check, place ? place : places_find(check->places, cohort, ""), &path,
			     "slot", "give slots of at most 100% together",
			     "with this slot (%s) they are more than 100%% together",
			     text_format_percent(cohort->slot_ppm, text));
	}
}

/* ---- what clients go by ---- */

/* False where an error hides the client key. */
static bool client_key_is_known(const struct check *check, const struct service *service)
{
	if (places_find(check->places, service, "key"))
		return check_is_good(check, service, "key");
	return check_is_good(check, service, "client");
}

static bool has_udp_vip(const struct service *service)
{
	for (size_t i = 0; i < service->vips_count; i++)
		if (service->vips[i].protocol == IPPROTO_UDP)
			return true;
	return false;
}

/* A server id lies whole within a connection id, whose bytes are counted from 0. */
static void check_connection_ids(struct check *check, const struct service *service,
				 const struct path *client)
{
	const struct place *place = check_place(check, service, "quic_cid_length");
	unsigned int length = service->client_id.quic_cid_length;
	unsigned int id_offset = service->client_id.quic_server_id_offset;
	unsigned int id_length = service->client_id.quic_server_id_length;

	if (place && check_is_good(check, service, "quic_server_id_offset") &&
	    check_is_good(check, service, "quic_server_id_length") &&
	    id_offset + id_length > length)
		check_report(check, place, client, "quic_cid_length",
			     "give longer ids, or a smaller quic_server_id_offset or _length",
			     "%u bytes cannot hold a server id of %u bytes at offset %u", length,
			     id_length, id_offset);
}

static void check_client(struct check *check, const struct service *service,
			 const struct path *path)
{
	struct path client = {.parent = path, .text = "client"};
	const char *key = service->client_key == CLIENT_KEY_QUIC ? "quic" : "payload";

	if (service->client_key != CLIENT_KEY_QUIC && service->client_key != CLIENT_KEY_PAYLOAD)
		return;
	if (check_place(check, service, "vips") && service->vips_count && !has_udp_vip(service))
		check_report(check, places_find(check->places, service, "key"), &client, "key",
			     "give it one, or use another key",
			     "%s reads UDP datagrams, but the service has no udp VIP", key);
	if (service->client_key == CLIENT_KEY_QUIC)
		check_connection_ids(check, service, &client);
}

/* ---- backends ---- */

struct backend_use {
	const struct backend *backend;
	size_t cohort;
	size_t order; /* in the file */
};

static int compare_backends(const void *a, const void *b)
{
	const struct backend_use *left = a, *right = b;
	int order = address_compare(&left->backend->address, &right->backend->address);

	return order ? order : left->order < right->order ? -1 : 1;
}

/* Those without an id come first. */
static int compare_server_ids(const void *a, const void *b)
{
	const struct backend_use *left = a, *right = b;
	const struct backend *one = left->backend, *other = right->backend;
	int order = (int)one->server_id_length - (int)other->server_id_length;

	if (!order && one->server_id != other->server_id)
		order = one->server_id < other->server_id ? -1 : 1;
	return order ? order : left->order < right->order ? -1 : 1;
}

static void check_server_id(struct check *check, const struct service *service,
			    const struct backend *backend, const struct path *path)
{
	const struct place *place = places_find(check->places, backend, "server_id");
	bool is_quic = service->client_key == CLIENT_KEY_QUIC;
	unsigned int length = service->client_id.quic_server_id_length;
	bool length_is_known = check_is_good(check, service, "quic_server_id_length");

	if (!client_key_is_known(check, service) || (place && place->bad))
		return;
	if (place && !is_quic)
		check_report(check, place, path, "server_id",
			     "remove it, or write `client: { key: quic }`",
			     "goes with `key: quic` only");
	else if (!place && is_quic)
		check_report(check, places_find(check->places, backend, ""), path, "server_id",
			     "give what the server puts in its connection ids, in hex",
			     "is missing, `key: quic` needs it");
	else if (place && length_is_known && backend->server_id_length != length)
		check_report(check, place, path, "server_id",
			     "give that many, or another quic_server_id_length",
			     "is of length %u, but client/quic_server_id_length is %u",
			     backend->server_id_length, length);
}

/* The steps that lead to a backend. */
struct backend_path {
	char address[ADDRESS_TEXT_SIZE];
	struct path cohort, backends, path;
};

static const struct path *backend_path(const struct service *service, const struct backend_use *use,
				       const struct path *cohorts, struct backend_path *out)
{
	out->cohort = cohort_path(service, use->cohort, cohorts);
	out->backends = (struct path){.parent = &out->cohort, .text = "backends"};
	out->path = (struct path){
		.parent = &out->backends,
		.text = address_format(&use->backend->address, out->address),
	};
	return &out->path;
}

/* Sorts @uses. */
static void check_server_ids(struct check *check, const struct service *service,
			     struct backend_use *uses, size_t count, const struct path *cohorts)
{
	qsort(uses, count, sizeof(*uses), compare_server_ids);
	for (size_t i = 1; i < count; i++) {
		const struct backend *first = uses[i - 1].backend, *second = uses[i].backend;
		struct backend_path path;

		if (!second->has_server_id || second->server_id_length != first->server_id_length ||
		    second->server_id != first->server_id)
			continue;
		check_report_twice(check, places_find(check->places, second, "server_id"),
				   places_find(check->places, first, "server_id"),
				   backend_path(service, &uses[i], cohorts, &path), "server_id",
				   "give each backend its own", "the server id stands");
	}
}

static void check_backend(struct check *check, const struct service *service,
			  const struct backend_use *use, const struct backend_use *before,
			  const struct path *cohorts)
{
	const struct backend *backend = use->backend;
	struct backend_path steps;
	const struct path *path = backend_path(service, use, cohorts, &steps);

	check_server_id(check, service, backend, path);
	if (before && address_equal(&before->backend->address, &backend->address))
		check_report_twice(check, places_find(check->places, backend, "address"),
				   places_find(check->places, before->backend, "address"), path,
				   NULL, "keep it in one cohort", "the backend stands");
	if (backend->via.family && backend->via.family != backend->address.family)
		check_report(check, places_find(check->places, backend, "via"), path, "via",
			     "give a next hop of the backend's family",
			     "is IPv%u, but the backend is IPv%u", backend->via.family,
			     backend->address.family);
}

static void check_backends(struct check *check, const struct service *service,
			   const struct path *service_path, const struct path *cohorts)
{
	struct backend_use *uses;
	size_t count = 0;

	for (size_t i = 0; i < service->cohorts_count; i++)
		count += service->cohorts[i].backends_count;
	if (count > SERVICE_BACKENDS_MAX)
		check_report(check, places_find(check->places, service, "cohorts"), service_path,
			     "cohorts", "split the service",
			     "have more backends (%zu) than a service can have (%u)", count,
			     SERVICE_BACKENDS_MAX);
	uses = calloc(count ? count : 1, sizeof(*uses));
	if (!uses) {
		errors_add_code(check->errors, ENOMEM, service->name, "free some memory",
				"out of memory");
		return;
	}
	count = 0;
	for (size_t i = 0; i < service->cohorts_count; i++) {
		const struct cohort *cohort = &service->cohorts[i];

		for (size_t b = 0; b < cohort->backends_count; b++) {
			if (!cohort->backends[b].address.family)
				continue;
			uses[count] = (struct backend_use){&cohort->backends[b], i, count};
			count++;
		}
	}
	qsort(uses, count, sizeof(*uses), compare_backends);
	for (size_t i = 0; i < count; i++)
		check_backend(check, service, &uses[i], i ? &uses[i - 1] : NULL, cohorts);
	if (service->client_key == CLIENT_KEY_QUIC)
		check_server_ids(check, service, uses, count, cohorts);
	free(uses);
}

static void check_control(struct check *check, const struct service *service,
			  const struct path *cohorts)
{
	const struct cohort *control = &service->cohorts[0];
	struct path path = cohort_path(service, 0, cohorts);
	const struct place *place = places_find(check->places, control, "backends");
	char object[PATH_SIZE];
	uint32_t weight = 0;

	if (!service->cohorts_count || !check_is_good(check, control, "backends"))
		return;
	/* It is no map at all, and has an error. */
	if (!check_is_good(check, control, "") && !place &&
	    !places_find(check->places, control, "name"))
		return;
	if (!control->backends_count) {
		check_report(check, place ? place : places_find(check->places, control, ""), &path,
			     "backends", "give it at least one",
			     "the control, to which everything falls back, has no backend");
		return;
	}
	for (size_t i = 0; i < control->backends_count; i++)
		weight += control->backends[i].weight;
	if (!weight)
		errors_warn(check->errors, &place->where, path_format(&path, object),
			    "raise a weight, unless it is meant",
			    "all backends of the control have weight 0 and get no new flows");
}

static void check_encap(struct check *check, const struct service *service, const struct path *path)
{
	const struct place *encap = places_find(check->places, service, "encap");

	if (!encap || !check_place(check, service, "steer") || service->steer == STEER_IPIP)
		return;
	check_report(check, encap, path, "encap", "remove it, or write `steer: ipip`",
		     "nothing is encapsulated with this service's steer");
}

void check_service(struct check *check, struct service *service, const struct path *path)
{
	struct path cohorts = {.parent = path, .text = "cohorts"};

	check_encap(check, service, path);
	settle_prefix6(check, service);
	check_client(check, service, path);
	check_split(check, service, path);
	check_cohort_names(check, service, &cohorts);
	if (is_split(service))
		settle_parts(check, service, &cohorts);
	else
		settle_slots(check, service, &cohorts);
	check_control(check, service, &cohorts);
	check_backends(check, service, path, &cohorts);
	check_rules(check, service, path);
	check_health(check, service, path);
	check_rollout(check, service, path);
}
