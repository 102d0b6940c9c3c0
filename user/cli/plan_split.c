// SPDX-License-Identifier: GPL-2.0-only
/*
 * An apply to a service whose clients are split by another tool's hash. Parts have no slots of
 * their own, so live shares that stay must fit in with the file's new ones; and what such a hash
 * cannot promise is said when it comes into use, once.
 */
#include "cli/plan_split.h"

#include "allocation.h"
#include "util/text.h"

#include <string.h>

bool hash_differs(const struct service *before, const struct service *after)
{
	if (before->hash != after->hash)
		return true;
	if (before->hash == HASH_HAPROXY_CRC32 || before->hash == HASH_NFT_JHASH)
		return before->hash_options.modulus != after->hash_options.modulus ||
		       before->hash_options.seed != after->hash_options.seed;
	return false;
}

/* The next part, from *@at on, whose cohort @other has, too; NULL: no more. */
static const char *next_common(const struct split *split, const struct service *service,
			       const struct service *other, size_t *at)
{
	while (*at < split->cohorts_count) {
		const char *name = service->cohorts[split->order[(*at)++]].name;

		if (service_cohort(other, name) >= 0)
			return name;
	}
	return NULL;
}

bool order_differs(const struct service *before, const struct service *after)
{
	const char *left, *right;
	struct split was, is;
	size_t i = 0, j = 0;

	if (!is_split(before) || !is_split(after))
		return false;
	was = split_of(before);
	is = split_of(after);
	do {
		left = next_common(&was, before, after, &i);
		right = next_common(&is, after, before, &j);
	} while (left && right && !strcmp(left, right));
	return left || right;
}

/* ---- live shares that stay ---- */

static const struct position *place_of(const struct service *service)
{
	return service->where.file ? &service->where : NULL;
}

/* What will be in force; *@is_live: by a live share that stays. */
static uint32_t share_after(const struct plan *plan, const struct service *service, size_t rule,
			    size_t cohort, bool *is_live)
{
	const struct live *live = &plan->control->live;
	const struct live_share *share = live_share_of(
		live, service->name, service->rules[rule].name, service->cohorts[cohort].name);

	*is_live = share && !plan->drop_shares[share - live->shares];
	return *is_live ? share->ppm : service->rules[rule].base_ppm[cohort];
}

static void check_rule_shares(const struct plan *plan, const struct service *service, size_t rule)
{
	const struct split split = split_of(service);
	char object[3 * NAME_SIZE], share[TEXT_VALUE_SIZE], problem[SPLIT_PROBLEM_SIZE];
	bool is_live, has_live = false;
	uint64_t sum = 0;

	for (size_t cohort = 1; cohort < service->cohorts_count; cohort++) {
		uint32_t ppm = share_after(plan, service, rule, cohort, &is_live);

		sum += ppm;
		has_live |= is_live;
		snprintf(object, sizeof(object), "services/%s/cohorts/%s", service->name,
			 service->cohorts[cohort].name);
		if (is_live && split_problem(&split, ppm, problem))
			errors_add(plan->errors, place_of(service), object,
				   "set another with `rollout set` first, or say --reset-shares",
				   "its live share of rule `%s`: %s", service->rules[rule].name,
				   problem);
	}
	snprintf(object, sizeof(object), "services/%s/rules/%s", service->name,
		 service->rules[rule].name);
	if (has_live && sum > PPM)
		errors_add(plan->errors, place_of(service), object,
			   "lower a live share with `rollout set` first, or say --reset-shares",
			   "with the live shares that stay its canaries would have %s together",
			   text_format_percent(sum, share));
}

/* ---- warnings ---- */

static void warn_unkeyed(const struct plan *plan, const struct service *service)
{
	char object[NAME_SIZE + 24];

	snprintf(object, sizeof(object), "services/%s/hash", service->name);
	errors_warn(
		plan->errors, place_of(service), object,
		"go over to `hash: xdp-canary` once no other tool splits these clients",
		"the hash of %s has no secret: a client that can choose its address, as any can "
		"in IPv6, can choose its cohort",
		split_hash_name(service->hash));
}

static void warn_shifts(const struct plan *plan, const struct service *service)
{
	const struct cohort *cohorts = service->cohorts;
	char object[NAME_SIZE + 32], hint[4 * NAME_SIZE + 64];

	snprintf(object, sizeof(object), "services/%s/hash_options/order", service->name);
	snprintf(hint, sizeof(hint), "expect it with every change, as in %s",
		 split_hash_name(service->hash));
	if (service->cohorts_count == 3)
		snprintf(hint, sizeof(hint),
			 "with the control in between, order: [%s, %s, %s], only clients of the "
			 "control move",
			 cohorts[1].name, cohorts[0].name, cohorts[2].name);
	errors_warn(plan->errors, place_of(service), object, hint,
		    "where a share changes, the parts between its cohort and the control shift: "
		    "clients move between other cohorts, too");
}

void check_split_service(const struct plan *plan, const struct plan_service *service)
{
	const struct service *before = service->before, *after = service->after;
	struct split split = split_of(after), was;
	bool warned = false;

	for (size_t rule = 0; rule < after->rules_count; rule++)
		check_rule_shares(plan, after, rule);
	if (!before || before->hash != after->hash)
		warn_unkeyed(plan, after);
	if (before && is_split(before)) {
		was = split_of(before);
		warned = split_shifts(&was);
	}
	if (split_shifts(&split) && !warned)
		warn_shifts(plan, after);
}
