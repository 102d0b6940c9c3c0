// SPDX-License-Identifier: GPL-2.0-only
#include "cli/rollout_view.h"

#include "config/config.h"
#include "control/rollouts.h"
#include "observe/baseline.h"
#include "rollout/drive.h"
#include "rollout/said.h"

#include <errno.h>
#include <string.h>

const char *step_kind_name(const struct step *step)
{
	return step->kind == STEP_WEIGHT && step->segment[0] ? "segment"
							     : rollout_step_name(step->kind);
}

int rollout_view_status(const struct rollout_view *view)
{
	if (!view->has_rollout)
		return EXIT_FAILED;
	return rollout_is_undone(view->state.phase) ? EXIT_ROLLBACK : EXIT_DONE;
}

/* ---- gathering ---- */

/* The steps that it runs by, if the file has others by now. */
static void read_plan(struct rollout_view *view)
{
	struct control *control = view->control;
	struct revision revision;
	struct service *then;

	view->plan = view->service;
	if (view->stored.revision == control->revision.number ||
	    store_revision(control->store, view->stored.revision, &revision, NULL))
		return;
	view->policy = config_parse(revision.config, strlen(revision.config), "then", NULL);
	revision_release(&revision);
	then = view->policy ? policy_service(view->policy, view->service->name) : NULL;
	if (then && then->rollout.steps_count == view->state.steps_count)
		view->plan = then;
}

/* A kill, or the end of a lease, counts from its moment on, whether or not a writer has recorded
 * it. */
static void see_latch(struct rollout_view *view)
{
	const struct live_service *live =
		live_service_of(&view->control->live, view->service->name);

	if (live && (live->latch == LATCH_KILLED || live->latch == LATCH_LEASE_EXPIRED))
		rollout_foresee_latch(view->service, &view->state, live->latch);
}

static int read_rollout(struct rollout_view *view)
{
	struct control *control = view->control;
	int error = control->store ? store_rollout(control->store, view->service->name, 0,
						   &view->stored, control->errors)
				   : -ENOENT;

	view->plan = view->service;
	if (error)
		return error == -ENOENT ? 0 : error;
	view->has_rollout = true;
	error = rollout_load_state(control->store, view->service->name, &view->state,
				   control->errors);
	if (error)
		return error;
	read_plan(view);
	see_latch(view);
	return store_rollout_events(control->store, view->service->name, view->stored.id, 0,
				    &view->events, &view->events_count, control->errors);
}

/* ---- the document ---- */

static json_t *actual_to_json(struct rollout_view *view, const struct service_snapshot *snapshot,
			      size_t rule, enum actual_of of)
{
	uint32_t ppm;

	if (!snapshot ||
	    actual_share(view->control, snapshot, rule, rollout_cohort(view->service), of, &ppm))
		return json_null();
	return json_integer(ppm);
}

/* Of a member of the judgement; null where there is none. */
static json_t *judged(const json_t *judgement, const char *key)
{
	json_t *value = json_object_get(judgement, key);

	return value ? json_incref(value) : json_null();
}

/* By the guard's running window; what it was before the canary went back is of no rollout now. */
static json_t *clients_to_json(const struct rollout_view *view, const json_t *judgement,
			       const char *rule)
{
	if (rollout_is_undone(view->state.phase))
		return json_null();
	return judged(json_object_get(judgement, "actual_clients"), rule);
}

static json_t *rule_to_json(struct rollout_view *view, const struct service_snapshot *snapshot,
			    const json_t *judgement, size_t index)
{
	const struct service *service = view->service;
	const struct rule *rule = &service->rules[index];
	size_t cohort = rollout_cohort(service);

	return json_pack("{s:s, s:I, s:o, s:o, s:o, s:I, s:b}", "rule", rule->name, "set_ppm",
			 (json_int_t)effective_share(view->control, service, index, cohort),
			 "actual_flows_ppm", actual_to_json(view, snapshot, index, ACTUAL_FLOWS),
			 "actual_packets_ppm",
			 actual_to_json(view, snapshot, index, ACTUAL_PACKETS),
			 "actual_clients_ppm", clients_to_json(view, judgement, rule->name),
			 "base_ppm", (json_int_t)rule->base_ppm[cohort], "live",
			 live_share_of(&view->control->live, service->name, rule->name,
				       service->cohorts[cohort].name) != NULL);
}

static json_t *rules_to_json(struct rollout_view *view, const json_t *judgement)
{
	struct snapshot snapshot = {0};
	json_t *rules = json_array();
	bool has_counters = !snapshot_read(view->control, view->service->name, &snapshot) &&
			    snapshot.services_count;

	for (size_t i = 0; i < view->service->rules_count; i++)
		json_array_append_new(
			rules,
			rule_to_json(view, has_counters ? snapshot.services : NULL, judgement, i));
	snapshot_release(&snapshot);
	return rules;
}

static json_t *step_to_json(const struct rollout_view *view)
{
	const struct rollout_state *state = &view->state;
	const char *wait = rollout_wait_name(state->waiting_for);
	uint32_t index = state->step < state->steps_count ? state->step : state->steps_count - 1;
	bool is_known = index < view->plan->rollout.steps_count;

	if (!view->has_rollout)
		return json_null();
	return json_pack("{s:I, s:I, s:s, s:o, s:o}", "index", (json_int_t)index + 1, "count",
			 (json_int_t)state->steps_count, "kind",
			 is_known ? step_kind_name(&view->plan->rollout.steps[index])
				  : rollout_step_name(state->step_kind),
			 "since", json_time(state->since_ns), "waiting_for", json_text(wait));
}

static json_t *remaining_to_json(const struct rollout_view *view)
{
	struct control *control = view->control;
	const struct view *shown = control_view(control, view->service->name);
	uint64_t now, end;

	if (!shown || shown->expiry == LEASE_NONE)
		return json_null();
	if (datapath_jiffies(control->datapath, &now, NULL))
		return json_null();
	end = shown->expiry & LEASE_ENDS;
	if ((shown->expiry & LEASE_ENDED) || end <= now)
		return json_real(0);
	return json_real((double)(end - now) / jiffies_hz());
}

static json_t *lease_to_json(const struct rollout_view *view)
{
	bool is_active = rollout_is_active(view->state.phase);
	uint64_t lease_ms = is_active ? view->service->rollout.lease_ms : 0;

	return json_pack("{s:o, s:o}", "seconds",
			 lease_ms % 1000 ? json_real((double)lease_ms / 1000)
					 : json_integer((json_int_t)lease_ms / 1000),
			 "remaining_seconds", lease_ms ? remaining_to_json(view) : json_null());
}

/* The machine's words where it waits for something in particular, or has ended; else the judge's.
 */
static json_t *reason_to_json(const struct rollout_view *view, const json_t *judgement)
{
	const struct rollout_state *state = &view->state;
	const char *judges = json_string_value(json_object_get(judgement, "reason"));

	if (state->phase == ROLLOUT_RUNNING && judges && *judges &&
	    (!state->why[0] || state->waiting_for == WAIT_ANALYSIS ||
	     state->waiting_for == WAIT_BAKE))
		return json_text(judges);
	return json_text(state->why[0] ? state->why : NULL);
}

/* That of the view, as metrics have it: what is stored of an epoch covers who is followed, too. */
static json_t *digest_to_json(const struct rollout_view *view)
{
	const struct view *shown = control_view(view->control, view->service->name);
	char text[16];

	if (!shown)
		return json_null();
	snprintf(text, sizeof(text), "%08x", (unsigned int)(shown->digest >> 32));
	return json_string(text);
}

static json_t *last_event_to_json(const struct rollout_view *view)
{
	json_t *event = NULL;

	if (view->events_count)
		event = json_loads(view->events[view->events_count - 1].json, 0, NULL);
	return event ? event : json_null();
}

static int make_document(struct rollout_view *view)
{
	const struct service *service = view->service;
	json_t *judgement = view->has_rollout ? json_loads(view->stored.judgement, 0, NULL) : NULL;
	json_t *metrics = json_object_get(judgement, "metrics"), *waiting;
	const char *release = view->has_rollout ? view->stored.release : service->release;
	int error = control_refresh_waiting(view->control, service, &waiting);

	if (!error)
		view->document = json_pack(
			"{s:s, s:s, s:o, s:o, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o,"
			" s:o, s:o}",
			"cmd", "rollout status", "service", service->name, "id",
			view->has_rollout ? json_integer((json_int_t)view->stored.id) : json_null(),
			"release", json_text(release), "state",
			rollout_phase_name(view->state.phase), "step", step_to_json(view), "cohort",
			service->cohorts[rollout_cohort(service)].name, "rules",
			rules_to_json(view, judgement), "armed",
			json_text(said_armed(view->control, service, &view->state, judgement)),
			"lease", lease_to_json(view), "verdict",
			json_text(said_verdict(&view->state, judgement)), "reason",
			reason_to_json(view, judgement), "metrics",
			metrics ? json_incref(metrics) : json_array(), "segment_refresh_waiting",
			waiting, "policy_digest", digest_to_json(view), "last_event",
			last_event_to_json(view));
	json_decref(judgement);
	if (!error && !view->document)
		error = -ENOMEM;
	return error;
}

int rollout_view_read(struct control *control, const struct service *service,
		      struct rollout_view *out)
{
	int error;

	*out = (struct rollout_view){.control = control, .service = service};
	error = read_rollout(out);
	if (!error)
		error = make_document(out);
	if (error)
		rollout_view_release(out);
	return error;
}

void rollout_view_release(struct rollout_view *view)
{
	if (view->has_rollout)
		stored_rollout_release(&view->stored);
	rollout_records_release(view->events, view->events_count);
	policy_free(view->policy);
	json_decref(view->document);
	*view = (struct rollout_view){0};
}
