// SPDX-License-Identifier: GPL-2.0-only
/*
 * Deciding what an apply does: which services are new, changed or gone, and what becomes of live
 * shares, pins and latches (INTERFACE, section 6). An operator's share stays as long as the file's
 * base below it does; where the file's word changed, the file wins.
 */
#include "cli/plan.h"

#include "config/config.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *plan_action_name(enum plan_action action)
{
	static const char *const names[] = {
		[PLAN_UNCHANGED] = "unchanged",
		[PLAN_CHANGED] = "changed",
		[PLAN_ADDED] = "added",
		[PLAN_REMOVED] = "removed",
	};

	return names[action];
}

struct plan_service *plan_service(const struct plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->services_count; i++)
		if (!strcmp(plan->services[i].name, name))
			return &plan->services[i];
	return NULL;
}

/* ---- services ---- */

static void add_service(struct plan *plan, const struct service *before,
			const struct service *after)
{
	struct plan_service *service = &plan->services[plan->services_count++];

	*service = (struct plan_service){
		.before = before,
		.after = after,
		.action = !before  ? PLAN_ADDED
			  : !after ? PLAN_REMOVED
				   : PLAN_UNCHANGED,
		.audit_before = json_object(),
		.audit_after = json_object(),
		.kept_live = json_array(),
	};
	strcpy(service->name, (after ? after : before)->name);
	service->is_new_release = before && after && strcmp(before->release, after->release);
}

static int add_services(struct plan *plan)
{
	const struct policy *before = plan->before, *after = plan->after;

	plan->services =
		calloc(before->services_count + after->services_count + 1, sizeof(*plan->services));
	if (!plan->services)
		return -ENOMEM;
	for (size_t i = 0; i < after->services_count; i++)
		add_service(plan, policy_service(before, after->services[i].name),
			    &after->services[i]);
	for (size_t i = 0; i < before->services_count; i++)
		if (!policy_service(after, before->services[i].name))
			add_service(plan, &before->services[i], NULL);
	return 0;
}

/* ---- differences, by service, for the audit ---- */

/* The service of a path "services/NAME/REST", and REST ("" where there is none). */
static struct plan_service *service_of_path(const struct plan *plan, const char *path,
					    const char **rest)
{
	static const char start[] = "services/";
	char name[NAME_SIZE] = "";
	size_t length;

	if (strncmp(path, start, sizeof(start) - 1))
		return NULL;
	path += sizeof(start) - 1;
	length = strcspn(path, "/");
	if (length >= sizeof(name))
		return NULL;
	memcpy(name, path, length);
	*rest = path[length] ? path + length + 1 : "";
	return plan_service(plan, name);
}

static int put(json_t *object, const char *key, json_t *value)
{
	return json_object_set(object, key, value ? value : json_null()) ? -ENOMEM : 0;
}

static int add_difference(struct plan *plan, const json_t *difference)
{
	const char *path = json_string_value(json_object_get(difference, "path")), *rest = path;
	struct plan_service *service = service_of_path(plan, path, &rest);
	json_t *before = service ? service->audit_before : plan->box_before;
	json_t *after = service ? service->audit_after : plan->box_after;

	if (service && service->action == PLAN_UNCHANGED)
		service->action = PLAN_CHANGED;
	if (!*rest)
		rest = "service";
	return put(before, rest, json_object_get(difference, "before")) ||
			       put(after, rest, json_object_get(difference, "after"))
		       ? -ENOMEM
		       : 0;
}

static int add_differences(struct plan *plan)
{
	const json_t *difference;
	size_t i;

	plan->box_before = json_object();
	plan->box_after = json_object();
	plan->differences = config_diff(plan->before, plan->after);
	if (!plan->differences || !plan->box_before || !plan->box_after)
		return -ENOMEM;
	json_array_foreach(plan->differences, i,
			   difference) if (add_difference(plan, difference)) return -ENOMEM;
	plan->new_revision = !plan->control->revision.number || json_array_size(plan->differences);
	plan->changed = plan->new_revision;
	return 0;
}

/* ---- what is live ---- */

/* The place of a canary that a live share of @service names, in one of its two forms; 0: there is
 * none. */
static int canary_of(const struct service *service, const struct live_share *live, int *rule)
{
	int cohort = service_cohort(service, live->cohort);

	*rule = service_rule(service, live->rule);
	return *rule < 0 || cohort < 0 ? 0 : cohort;
}

static bool share_is_kept(const struct plan *plan, const struct plan_service *service,
			  const struct live_share *live)
{
	int cohort_before, cohort_after, rule_before, rule_after;

	if (plan->options.reset_shares || service->is_new_release || !service->before ||
	    service->restart)
		return false;
	cohort_before = canary_of(service->before, live, &rule_before);
	cohort_after = canary_of(service->after, live, &rule_after);
	return cohort_before && cohort_after &&
	       service->before->rules[rule_before].base_ppm[cohort_before] ==
		       service->after->rules[rule_after].base_ppm[cohort_after];
}

static int keep_share(struct plan_service *service, const struct live_share *live)
{
	int rule, cohort = canary_of(service->after, live, &rule);
	json_t *kept =
		json_pack("{s:s, s:s, s:I, s:I}", "rule", live->rule, "cohort", live->cohort,
			  "base_ppm", (json_int_t)service->after->rules[rule].base_ppm[cohort],
			  "live_ppm", (json_int_t)live->ppm);

	return json_array_append_new(service->kept_live, kept) ? -ENOMEM : 0;
}

static int drop_share(struct plan *plan, struct plan_service *service, size_t index)
{
	const struct live_share *live = &plan->control->live.shares[index];
	char key[2 * NAME_SIZE + 8];
	json_t *ppm = json_integer(live->ppm);
	int error;

	plan->drop_shares[index] = true;
	plan->changed = true;
	snprintf(key, sizeof(key), "live/%s/%s", live->rule, live->cohort);
	error = put(service->audit_before, key, ppm);
	json_decref(ppm);
	return error ? error : put(service->audit_after, key, NULL);
}

static int decide_shares(struct plan *plan)
{
	const struct live *live = &plan->control->live;
	int error = 0;

	plan->drop_shares = calloc(live->shares_count + 1, sizeof(*plan->drop_shares));
	if (!plan->drop_shares)
		return -ENOMEM;
	for (size_t i = 0; i < live->shares_count && !error; i++) {
		struct plan_service *service = plan_service(plan, live->shares[i].service);

		if (!service || service->action == PLAN_REMOVED)
			continue; /* goes with the service */
		if (share_is_kept(plan, service, &live->shares[i]))
			error = keep_share(service, &live->shares[i]);
		else
			error = drop_share(plan, service, i);
	}
	return error;
}

static int drop_pin(struct plan *plan, struct plan_service *service, size_t index)
{
	const struct live_pin *pin = &plan->control->live.pins[index];
	char client[ADDRESS_TEXT_SIZE], key[ADDRESS_TEXT_SIZE + 8], object[NAME_SIZE + 16];
	json_t *cohort = json_string(pin->cohort);
	int error;

	plan->drop_pins[index] = true;
	plan->changed = true;
	prefix_format(&pin->client, client);
	snprintf(key, sizeof(key), "pin/%s", client);
	snprintf(object, sizeof(object), "services/%s", service->name);
	errors_warn(plan->errors, NULL, object, "pin it anew if you still need it",
		    "the pin of %s is dropped: its cohort `%s` is gone", client, pin->cohort);
	error = put(service->audit_before, key, cohort);
	json_decref(cohort);
	return error ? error : put(service->audit_after, key, NULL);
}

static int decide_pins(struct plan *plan)
{
	const struct live *live = &plan->control->live;
	int error = 0;

	plan->drop_pins = calloc(live->pins_count + 1, sizeof(*plan->drop_pins));
	if (!plan->drop_pins)
		return -ENOMEM;
	for (size_t i = 0; i < live->pins_count && !error; i++) {
		struct plan_service *service = plan_service(plan, live->pins[i].service);

		if (!service || !service->after ||
		    service_cohort(service->after, live->pins[i].cohort) >= 0)
			continue;
		error = drop_pin(plan, service, i);
	}
	return error;
}

/* Only a new release lifts a latch here. */
static int decide_latches(struct plan *plan)
{
	int error = 0;

	for (size_t i = 0; i < plan->services_count && !error; i++) {
		struct plan_service *service = &plan->services[i];
		const struct live_service *live =
			live_service_of(&plan->control->live, service->name);

		if (!live || live->latch == LATCH_NONE || !service->is_new_release)
			continue;
		service->lift_latch = true;
		if (json_object_set_new(service->audit_before, "latch",
					json_string(latch_name(live->latch))) ||
		    json_object_set_new(service->audit_after, "latch", json_null()))
			error = -ENOMEM;
	}
	return error;
}

int plan_make(const struct control *control, const struct policy *after,
	      struct plan_options options, struct errors *errors, struct plan *plan)
{
	int error;

	*plan = (struct plan){
		.control = control,
		.before = control->policy,
		.after = after,
		.options = options,
		.errors = errors,
	};
	error = add_services(plan);
	if (!error)
		error = add_differences(plan);
	if (!error)
		error = plan_rollouts(plan);
	if (!error)
		error = decide_shares(plan);
	if (!error)
		error = decide_pins(plan);
	if (!error)
		error = decide_latches(plan);
	return error ? error : plan_check(plan);
}

void plan_release(struct plan *plan)
{
	for (size_t i = 0; i < plan->services_count; i++) {
		json_decref(plan->services[i].audit_before);
		json_decref(plan->services[i].audit_after);
		json_decref(plan->services[i].kept_live);
	}
	free(plan->services);
	json_decref(plan->differences);
	json_decref(plan->box_before);
	json_decref(plan->box_after);
	free(plan->drop_shares);
	free(plan->drop_pins);
	*plan = (struct plan){0};
}
