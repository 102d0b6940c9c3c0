// SPDX-License-Identifier: GPL-2.0-only
/* What an apply refuses, and what it warns of. */
#include "cli/plan.h"

#include "allocation.h"
#include "cli/plan_split.h"
#include "util/text.h"

#include <errno.h>
#include <string.h>

/* ---- what is taken away ---- */

static bool has_interface(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->interfaces_count; i++)
		if (!strcmp(policy->interfaces[i].name, name))
			return true;
	return false;
}

static void check_removals(const struct plan *plan)
{
	static const char hint[] = "put it back, or say --prune to remove it";
	char object[NAME_SIZE + 16];

	if (plan->options.prune)
		return;
	for (size_t i = 0; i < plan->services_count; i++) {
		if (plan->services[i].action != PLAN_REMOVED)
			continue;
		snprintf(object, sizeof(object), "services/%s", plan->services[i].name);
		errors_add(plan->errors, NULL, object, hint, "is no longer in the files");
	}
	for (size_t i = 0; i < plan->before->interfaces_count; i++) {
		const char *name = plan->before->interfaces[i].name;

		if (has_interface(plan->after, name))
			continue;
		snprintf(object, sizeof(object), "interfaces/%s", name);
		errors_add(plan->errors, NULL, object, hint, "is no longer in the files");
	}
}

/* ---- clients that would be drawn anew ---- */

/* The canary whose share is strictly between nothing and everything, or NULL. */
static const char *canary_under_way(const struct plan *plan, const struct service *service,
				    const char **rule, uint32_t *ppm)
{
	for (size_t i = 0; i < service->rules_count; i++) {
		for (size_t cohort = 1; cohort < service->cohorts_count; cohort++) {
			*ppm = effective_share(plan->control, service, i, cohort);
			*rule = service->rules[i].name;
			if (*ppm && *ppm < PPM)
				return service->cohorts[cohort].name;
		}
	}
	return NULL;
}

/* Hashes of other tools have none. */
static bool salt_differs(const struct service *before, const struct service *after)
{
	char salt_before[2 * NAME_SIZE + 256], salt_after[2 * NAME_SIZE + 256];

	return !is_split(before) && !is_split(after) &&
	       strcmp(service_salt(before, salt_before, sizeof(salt_before)),
		      service_salt(after, salt_after, sizeof(salt_after)));
}

/* A canary of both whose part of the hash space is another, or NULL. */
static const char *moved_slot(const struct service *before, const struct service *after)
{
	if (is_split(before) || is_split(after))
		return NULL;
	for (size_t i = 1; i < before->cohorts_count; i++) {
		const struct cohort *old = &before->cohorts[i];
		int index = service_cohort(after, old->name);

		if (index > 0 && (after->cohorts[index].slot_start_ppm != old->slot_start_ppm ||
				  after->cohorts[index].slot_ppm != old->slot_ppm))
			return old->name;
	}
	return NULL;
}

/* For an error that has a place in the files. */
static const struct position *place_of(const struct position *where)
{
	return where->file ? where : NULL;
}

/* The next release begins with other clients; who says so while a share is under way may not know.
 */
static bool release_differs(const struct service *before, const struct service *after)
{
	return strcmp(before->release, after->release) != 0;
}

static void check_shuffle(const struct plan *plan, const struct plan_service *service)
{
	const char *slot = moved_slot(service->before, service->after), *canary, *rule;
	char object[NAME_SIZE + 16], what[NAME_SIZE + 32], share[TEXT_VALUE_SIZE];
	bool release = release_differs(service->before, service->after);
	bool salt = salt_differs(service->before, service->after);
	bool hash = hash_differs(service->before, service->after);
	bool order = order_differs(service->before, service->after);
	uint32_t ppm;

	if ((!release && !salt && !slot && !hash && !order) || plan->options.reshuffle)
		return;
	canary = canary_under_way(plan, service->before, &rule, &ppm);
	if (!canary)
		return;
	snprintf(object, sizeof(object), "services/%s", service->name);
	if (hash)
		strcpy(what, "its hash changes");
	else if (order)
		strcpy(what, "the order of its parts changes");
	else if (salt)
		strcpy(what, "its salt changes");
	else if (release)
		strcpy(what, "its release changes");
	else
		snprintf(what, sizeof(what), "the slot of cohort `%s` changes", slot);
	errors_add(
		plan->errors, place_of(&service->after->where), object,
		"bring the share to 0% or 100% first, or say --reshuffle to draw the clients anew",
		"%s while `%s` has %s of rule `%s`: clients would change cohorts at random", what,
		canary, text_format_percent(ppm, share), rule);
}

/* ---- live shares that stay ---- */

/* Slots are at most 100% together, so shares within them are too. */
static void check_kept_share(const struct plan *plan, const struct plan_service *service,
			     const json_t *kept)
{
	const char *rule = json_string_value(json_object_get(kept, "rule"));
	const char *name = json_string_value(json_object_get(kept, "cohort"));
	uint32_t ppm = json_integer_value(json_object_get(kept, "live_ppm"));
	const struct cohort *cohort =
		&service->after->cohorts[service_cohort(service->after, name)];
	char object[3 * NAME_SIZE], share[TEXT_VALUE_SIZE], slot[TEXT_VALUE_SIZE];

	snprintf(object, sizeof(object), "services/%s/cohorts/%s", service->name, name);
	text_format_percent(ppm, share);
	if (ppm > cohort->slot_ppm)
		errors_add(plan->errors, place_of(&service->after->where), object,
			   "lower it with `rollout set` first, or say --reset-shares",
			   "its live share of rule `%s`, %s, is more than its slot, %s", rule,
			   share, text_format_percent(cohort->slot_ppm, slot));
	if (ppm && !cohort->backends_count)
		errors_add(plan->errors, place_of(&service->after->where), object,
			   "set its share to 0% with `rollout set` first, or say --reset-shares",
			   "it has a live share of rule `%s`, %s, and would have no backends", rule,
			   share);
}

static void check_service(const struct plan *plan, const struct plan_service *service)
{
	const json_t *kept;
	size_t i;

	if (service->before && service->after)
		check_shuffle(plan, service);
	json_array_foreach(service->kept_live, i, kept) check_kept_share(plan, service, kept);
	if (service->after && is_split(service->after))
		check_split_service(plan, service);
}

/* ---- the box ---- */

static void check_interface(const struct plan *plan, const struct interface *interface)
{
	char object[32];

	snprintf(object, sizeof(object), "interfaces/%s", interface->name);
	if (!interface_exists(interface->name))
		errors_add(plan->errors, place_of(&interface->where), object, "see `ip link`",
			   "there is no such interface here");
	for (size_t i = 0; i < plan->before->interfaces_count; i++) {
		const struct interface *before = &plan->before->interfaces[i];

		if (!strcmp(before->name, interface->name) && before->mode != interface->mode &&
		    link_state(plan->control->place->pins, before->name) != NOT_ATTACHED)
			errors_warn(plan->errors, place_of(&interface->where), object,
				    "`detach` it, then `attach` it",
				    "the new mode is taken when it is next attached");
	}
}

static void check_limit(const struct plan *plan, const char *key, uint32_t before, uint32_t after)
{
	char object[32];

	snprintf(object, sizeof(object), "limits/%s", key);
	if (before != after)
		errors_warn(plan->errors, NULL, object, "they are made at the next boot",
			    "%u, after %u, takes effect when the maps are next made", after,
			    before);
}

/* Before the first apply maps have the default limits. */
static void check_limits(const struct plan *plan)
{
	const struct limits *before = &plan->before->limits, *after = &plan->after->limits;

	if (!plan->control->datapath)
		return;
	check_limit(plan, "services", before->services, after->services);
	check_limit(plan, "vips", before->vips, after->vips);
	check_limit(plan, "backends", before->backends, after->backends);
	check_limit(plan, "transition_flows", before->transition_flows, after->transition_flows);
	check_limit(plan, "segment_clients", before->segment_clients, after->segment_clients);
	check_limit(plan, "segment_prefixes", before->segment_prefixes, after->segment_prefixes);
	check_limit(plan, "observed_clients", before->observed_clients, after->observed_clients);
	check_limit(plan, "tracked_clients", before->tracked_clients, after->tracked_clients);
}

int plan_check(struct plan *plan)
{
	check_removals(plan);
	for (size_t i = 0; i < plan->services_count; i++)
		check_service(plan, &plan->services[i]);
	for (size_t i = 0; i < plan->after->interfaces_count; i++)
		check_interface(plan, &plan->after->interfaces[i]);
	check_limits(plan);
	return errors_count(plan->errors) ? -EINVAL : 0;
}
