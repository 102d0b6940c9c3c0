// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an apply may do to a service whose rollout is under way (INTERFACE, section 6.6): its
 * backends and their weights may change, and how they are checked. Anything else would change what
 * the guard compares, or what the steps are about: it is refused, or the rollout is begun anew.
 */
#include "cli/plan.h"

#include "control/rollouts.h"
#include "segment/definition.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- which differences matter ---- */

static bool begins_with_step(const char *path, const char *step)
{
	size_t length = strlen(step);

	return !strncmp(path, step, length) && (!path[length] || path[length] == '/');
}

/* @rest: of a path services/NAME/REST. */
static bool is_allowed(const char *rest)
{
	static const char cohorts[] = "cohorts/";
	const char *cohort;

	if (begins_with_step(rest, "health_check"))
		return true;
	if (strncmp(rest, cohorts, strlen(cohorts)))
		return false;
	cohort = strchr(rest + strlen(cohorts), '/');
	return cohort && begins_with_step(cohort + 1, "backends");
}

/* What follows services/NAME/ in a path of that service, "" where nothing does; else NULL. */
static const char *rest_of_path(const char *path, const char *service)
{
	char start[NAME_SIZE + 16];

	snprintf(start, sizeof(start), "services/%s", service);
	if (!begins_with_step(path, start))
		return NULL;
	path += strlen(start);
	return *path ? path + 1 : path;
}

/* 1: others would be in the segment, or may be; 0; or a negative errno. */
static int is_defined_otherwise(const struct plan *plan, const char *name)
{
	const struct segment *before = policy_segment(plan->before, name);
	const struct segment *after = policy_segment(plan->after, name);
	uint64_t digest_before, digest_after;

	if (!before || !after)
		return before != after;
	if (segment_definition(before, box_client_form(plan->before), &digest_before) ||
	    segment_definition(after, box_client_form(plan->after), &digest_after))
		return errors_add_code(plan->errors, ENOMEM, "segments", "free some memory",
				       "out of memory");
	return digest_before != digest_after;
}

static bool has_other_form(const struct plan *plan)
{
	struct client_form before = box_client_form(plan->before);
	struct client_form after = box_client_form(plan->after);

	return before.prefix4 != after.prefix4 || before.prefix6 != after.prefix6;
}

/* ---- what is said of them ---- */

static void conflict(const struct plan *plan, struct plan_service *service, const char *object,
		     const char *what)
{
	const struct service *after = service->after;
	char hint[2 * NAME_SIZE + 128];

	service->restart = plan->options.restart_rollout && after && after->rollout.is_given;
	if (service->restart)
		return;
	snprintf(hint, sizeof(hint), "put it back, or `rollout abort %s` first%s", service->name,
		 after && after->rollout.is_given ? ", or say --restart-rollout" : "");
	errors_add(plan->errors, after && after->where.file ? &after->where : NULL, object, hint,
		   "%s while rollout %" PRIu64 " of service %s is under way", what,
		   service->rollout, service->name);
}

static void check_section(const struct plan *plan, struct plan_service *service)
{
	const json_t *difference;
	size_t i;

	json_array_foreach(plan->differences, i, difference)
	{
		const char *path = json_string_value(json_object_get(difference, "path"));
		const char *rest = rest_of_path(path, service->name);

		if (!rest || is_allowed(rest))
			continue;
		conflict(plan, service, path,
			 service->after ? "cannot change" : "cannot be removed");
	}
}

static int check_segments(const struct plan *plan, struct plan_service *service)
{
	const struct service *before = service->before;
	char object[NAME_SIZE + 16];

	for (size_t i = 0; i < plan->before->segments_count; i++) {
		const char *name = plan->before->segments[i].name;
		int other =
			service_uses_segment(before, name) ? is_defined_otherwise(plan, name) : 0;

		if (other < 0)
			return other;
		snprintf(object, sizeof(object), "segments/%s", name);
		if (other)
			conflict(plan, service, object, "cannot be defined otherwise");
	}
	return 0;
}

static int check_service(const struct plan *plan, struct plan_service *service)
{
	char object[NAME_SIZE + 16];
	int error = control_active_rollout(plan->control, service->name, &service->rollout);

	if (error || !service->rollout)
		return error;
	snprintf(object, sizeof(object), "services/%s", service->name);
	check_section(plan, service);
	error = check_segments(plan, service);
	if (service->before->group_by && has_other_form(plan))
		conflict(plan, service, object, "its groups cannot be computed anew");
	if (plan->options.reset_shares)
		conflict(plan, service, object, "its live shares cannot be dropped");
	return error;
}

int plan_rollouts(struct plan *plan)
{
	int error = 0;

	for (size_t i = 0; i < plan->services_count && !error; i++)
		if (plan->services[i].before)
			error = check_service(plan, &plan->services[i]);
	return error;
}
