// SPDX-License-Identifier: GPL-2.0-only
#include "control/rollouts.h"

#include "control/segments.h"
#include "store/rollouts.h"
#include "util/text.h"

#include <errno.h>
#include <string.h>

int control_active_rollout(const struct control *control, const char *service, uint64_t *id)
{
	int found;

	*id = 0;
	if (!control->store)
		return 0;
	found = store_rollout_is_active(control->store, service, id, control->errors);
	return found < 0 ? found : 0;
}

/* ---- who holds what ---- */

bool service_uses_segment(const struct service *service, const char *segment)
{
	for (size_t i = 0; i < service->rules_count; i++)
		if (!strcmp(service->rules[i].segment, segment))
			return true;
	return false;
}

static bool groups_by(const struct service *service, const char *column)
{
	return service->group_by && !strcmp(service->group_by, column);
}

static int find_hold(const struct control *control, const struct policy *policy, const char *name,
		     bool (*uses)(const struct service *service, const char *name),
		     struct rollout_hold *out)
{
	*out = (struct rollout_hold){0};
	for (size_t i = 0; i < policy->services_count; i++) {
		const struct service *service = &policy->services[i];
		uint64_t id;
		int error;

		if (!uses(service, name))
			continue;
		error = control_active_rollout(control, service->name, &id);
		if (error)
			return error;
		if (id) {
			*out = (struct rollout_hold){service, id};
			return 0;
		}
	}
	return 0;
}

int control_segment_hold(const struct control *control, const struct policy *policy,
			 const char *segment, struct rollout_hold *out)
{
	return find_hold(control, policy, segment, service_uses_segment, out);
}

int control_grouping_hold(const struct control *control, const struct policy *policy,
			  const char *column, struct rollout_hold *out)
{
	return find_hold(control, policy, column, groups_by, out);
}

/* ---- what waits ---- */

static int add_waiting(struct control *control, const struct segment *segment, uint64_t now,
		       json_t *names)
{
	uint64_t due;
	int error = membership_due(control, segment, &due);

	if (error || due > now)
		return error;
	return json_array_append_new(names, json_string(segment->name)) ? -ENOMEM : 0;
}

int control_refresh_waiting(struct control *control, const struct service *service, json_t **out)
{
	const struct policy *policy = control->policy;
	uint64_t id, now = time_now_ns();
	int error = control_active_rollout(control, service->name, &id);

	*out = json_array();
	if (!*out)
		error = -ENOMEM;
	for (size_t i = 0; i < policy->segments_count && id && !error; i++)
		if (service_uses_segment(service, policy->segments[i].name))
			error = add_waiting(control, &policy->segments[i], now, *out);
	if (error) {
		json_decref(*out);
		*out = NULL;
	}
	return error;
}
