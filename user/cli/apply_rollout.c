// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an apply does to rollouts (INTERFACE, section 6.6 and 6.7): `--restart-rollout` aborts the
 * one that is in the way, with the plan that it ran by, and begins another with the new one; a new
 * release closes those that have ended.
 */
#include "cli/apply.h"
#include "control/rollouts.h"
#include "daemon/presence.h"
#include "rollout/drive.h"
#include "store/rollouts.h"

#include <errno.h>

static int feed(struct control *control, const struct actor *actor, const struct service *service,
		enum rollout_event_kind kind)
{
	struct rollout_event event = {
		.kind = kind,
		.by = actor->by,
		.reason = *actor->reason ? actor->reason : "apply --restart-rollout",
	};

	return rollout_apply(control, service, &event, NULL);
}

static bool restarts_any(const struct plan *plan)
{
	for (size_t i = 0; i < plan->services_count; i++)
		if (plan->services[i].restart)
			return true;
	return false;
}

int apply_check_daemon(const struct plan *plan)
{
	const char *state = plan->control->place->state;

	if (!restarts_any(plan) || presence_is_announced(state))
		return 0;
	return errors_add_code(plan->errors, ESRCH, "daemon", "start `xdp-canary daemon`",
			       "is not there, and no rollout begins without it");
}

int apply_end_rollouts(const struct plan *plan, struct control *control, const struct actor *actor)
{
	int error = restarts_any(plan) ? control_reload_live(control) : 0;

	for (size_t i = 0; i < plan->services_count && !error; i++) {
		const struct plan_service *service = &plan->services[i];

		if (service->restart)
			error = feed(control, actor, service->before, EVENT_ABORT);
		if (!error && service->is_new_release)
			error = store_close_rollouts(control->store, service->name,
						     control->errors);
	}
	return error;
}

int apply_begin_rollouts(struct plan *plan, struct control *control, const struct actor *actor)
{
	int error = 0;

	for (size_t i = 0; i < plan->services_count && !error; i++) {
		struct plan_service *service = &plan->services[i];

		if (!service->restart)
			continue;
		error = feed(control, actor, service->after, EVENT_START);
		if (!error)
			error = control_active_rollout(control, service->name, &service->restarted);
		if (!error)
			error = control_touch(control, service->name);
	}
	return error;
}

json_t *apply_restarted_to_json(const struct plan *plan)
{
	json_t *list = json_array();

	for (size_t i = 0; i < plan->services_count; i++) {
		const struct plan_service *service = &plan->services[i];

		if (!service->restart)
			continue;
		json_array_append_new(
			list,
			json_pack("{s:s, s:I, s:o}", "service", service->name, "aborted",
				  (json_int_t)service->rollout, "started",
				  service->restarted ? json_integer((json_int_t)service->restarted)
						     : json_null()));
	}
	return list;
}
