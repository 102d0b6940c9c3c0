// SPDX-License-Identifier: GPL-2.0-only
/*
 * A round, for each followed service: the window that the machine wants is made known to the judge
 * (and stored) before its counts are looked at; then look, tick, save. What the store could not be
 * told, for another wrote, is kept for the next round.
 */
#include "daemon/rollouts.h"

#include "daemon/rollouts_internal.h"
#include "observe/snapshot.h"
#include "rollout/drive.h"
#include "util/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNTS_EVERY_NS (10 * 1000000000ULL)
#define DRIFT_EVERY_NS	(60 * 1000000000ULL)
#define DRIFT_MOST	.25

/* ---- look ---- */

static double drift_now(struct watched *watched, const struct service *service, uint64_t now_ns)
{
	if (now_ns - watched->drift_ns >= DRIFT_EVERY_NS) {
		watched->drift = gather_drift(watched->rollouts->control, service);
		watched->drift_ns = now_ns;
	}
	return watched->drift;
}

/* Takes the reference to @actual_clients. */
static void keep_judgement(struct watched *watched, const struct judgement *judgement,
			   json_t *actual_clients)
{
	json_t *json = judgement_to_json(judgement);
	char *text;

	json_object_set_new(json, "actual_clients", actual_clients);
	text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

	json_decref(json);
	if (!text)
		return;
	if (watched->judgement && !strcmp(watched->judgement, text)) {
		free(text);
		return;
	}
	free(watched->judgement);
	watched->judgement = text;
	watched->has_judgement = true;
}

static int keep_counts(struct watched *watched, const struct service *service,
		       const struct judge_input *input, uint64_t now_ns)
{
	struct rollout_count *counts, *grown;
	size_t count;
	int error;

	error = follow_increments(&watched->followed, input, service, now_ns, &counts, &count);
	if (error)
		return error;
	grown = reallocarray(watched->counts, watched->counts_count + count + 1, sizeof(*grown));
	if (grown) {
		watched->counts = grown;
		memcpy(grown + watched->counts_count, counts, count * sizeof(*counts));
		watched->counts_count += count;
		watched->counts_ns = now_ns;
		watched->has_news = watched->has_news || count;
	}
	free(counts);
	return grown ? 0 : -ENOMEM;
}

/* Does the judge know of the machine's window, and the store that it does? */
static int bring_to_window(struct watched *watched, const struct service *service,
			   const struct rollout_state *state, uint64_t now_ns)
{
	uint32_t shares[RULES_MAX][COHORTS_MAX];
	int began;

	gather_shares(watched->rollouts->control, service, shares);
	began = follow_window(&watched->followed, state, shares, now_ns);
	if (began < 0)
		return began;
	if (began)
		watched->has_news = watched->window_is_new = true;
	return watched->window_is_new ? -EAGAIN : 0;
}

static bool bake_is_over(const struct service *service, const struct rollout_state *state)
{
	const struct rollout *plan = &service->rollout;

	return state->step_ns >= (plan->settle_ms + plan->bake_ms) * 1000000;
}

/* -EAGAIN: there is nothing that could be looked at now. */
static int look(struct watched *watched, const struct service *service,
		const struct rollout_state *state, uint64_t now_ns, struct judgement *out)
{
	struct control *control = watched->rollouts->control;
	struct gathered gathered;
	int error = bring_to_window(watched, service, state, now_ns);

	if (error)
		return error;
	follow_acknowledged(&watched->followed, state);
	error = gather(control, service, &watched->followed, state, &gathered);
	if (!error) {
		gathered.input.bake_is_over = bake_is_over(service, state);
		gathered.input.has_drifted = drift_now(watched, service, now_ns) > DRIFT_MOST;
		samples_give(watched, now_ns);
		if (judge_look(&watched->followed.judge, &gathered.input, now_ns, out))
			watched->has_news = true;
		samples_explain(watched, out);
		keep_judgement(watched, out, gather_actual_clients(control, service, &gathered));
		if (now_ns - watched->counts_ns >= COUNTS_EVERY_NS)
			error = keep_counts(watched, service, &gathered.input, now_ns);
	}
	gathered_release(&gathered);
	return error;
}

/* ---- tick ---- */

/* What rules decide, in flows since the maps were made: how heavy a rule is. */
static int traffic_of(struct rollouts *rollouts, const char *service, double traffic[RULES_MAX])
{
	struct snapshot snapshot;
	size_t rule, cohort;
	int error = snapshot_read(rollouts->control, service, &snapshot);

	if (error)
		return error;
	for (rule = 0; snapshot.services_count && rule < snapshot.services[0].rules_count; rule++)
		for (cohort = 0; cohort < COHORTS_MAX; cohort++)
			traffic[rule] += snapshot.services[0].rules[rule].cohorts[cohort].syns;
	snapshot_release(&snapshot);
	return 0;
}

static double load_of(struct rollouts *rollouts, const struct service *service,
		      const struct rollout_state *state)
{
	struct control *control = rollouts->control;
	uint32_t now[RULES_MAX], next[RULES_MAX], shares[RULES_MAX][COHORTS_MAX];
	size_t canary = rollout_cohort(service), rule;
	double traffic[RULES_MAX] = {0};

	gather_shares(control, service, shares);
	for (rule = 0; rule < RULES_MAX; rule++)
		now[rule] = shares[rule][canary];
	if (!rollout_next_shares(service, state, now, next))
		return 0;
	if (traffic_of(rollouts, service->name, traffic))
		return NAN;
	return rollout_load(next, traffic, service->rules_count,
			    gather_weight(control, service, canary),
			    gather_weight(control, service, 0));
}

/* With what led to it: counts, and who was touched, are told in the same transaction. */
static int drive(struct watched *watched, const char *service, struct rollout_event *event,
		 struct errors *errors)
{
	struct rollouts *rollouts = watched->rollouts;
	const struct service *found;
	struct control *control;
	int error = control_open_write(rollouts->place, rollouts->actor, errors, &control);

	if (error)
		return error;
	found = policy_service(control->policy, service);
	if (found)
		error = watched_save(watched, control->store, errors);
	if (found && !error)
		error = rollout_drive(control, found, event);
	control_close(control);
	if (!error)
		watched_saved(watched);
	return error;
}

/* ---- act ---- */

/* A window, or the rollout, is about to end: what it has counted until now, and of whom. */
static int keep_last_counts(struct watched *watched, const struct service *service,
			    const struct rollout_state *state)
{
	struct gathered gathered;
	int error;

	rollouts_note_clients(watched->rollouts);
	if (watched->window_is_new)
		return 0;
	error = gather(watched->rollouts->control, service, &watched->followed, state, &gathered);
	if (error)
		return error == -EAGAIN ? 0 : error;
	error = keep_counts(watched, service, &gathered.input, time_now_ns());
	gathered_release(&gathered);
	return error;
}

static int tick(struct watched *watched, const struct service *service,
		const struct rollout_state *state, const struct judgement *judgement,
		struct errors *errors)
{
	struct rollouts *rollouts = watched->rollouts;
	struct rollout_event event = {
		.kind = watched->returned ? EVENT_RETURN : EVENT_TICK,
		.now = rollout_clock_now(),
		.by = "guard",
		.reason = "",
		.judgement = judgement,
		.window = watched->followed.judge.state.window,
		.facts.load = load_of(rollouts, service, state),
		.facts.window_ns = rollouts->window_ns,
		.facts.cohort_lost =
			gather_is_lost(rollouts->control, service, rollout_cohort(service)),
	};
	int error;

	if (watched->drift > DRIFT_MOST)
		event.facts.hold =
			"a model that its segments come from has drifted (PSI above .25)";
	if (event.kind == EVENT_RETURN)
		event.counts_lost =
			state->begun && !gather_is_current(rollouts->control, service, state);
	if (!rollout_would_act(service, state, &event)) {
		watched->returned = false;
		return 0;
	}
	error = keep_last_counts(watched, service, state);
	if (!error)
		error = drive(watched, service->name, &event, errors);
	if (!error)
		watched->returned = false;
	return error;
}

/* ---- a round ---- */

static int follow_service(struct rollouts *rollouts, const struct service *service,
			  struct errors *errors)
{
	struct judgement judgement;
	struct rollout_state state;
	struct watched *watched;
	int error = rollout_load_state(rollouts->control->store, service->name, &state, errors);

	if (error || !state.id ||
	    (!rollout_is_active(state.phase) && state.phase != ROLLOUT_SUCCEEDED))
		return error;
	error = rollouts_watch(rollouts, service, state.id, &watched);
	if (error)
		return error;
	watched->is_live = true;
	if (!watched->returned) {
		error = credit_feedback(watched, service, errors);
		if (!error)
			error = look(watched, service, &state, time_now_ns(), &judgement);
	} else {
		error = -EAGAIN;
	}
	/* After the look: a new question takes the last answer's place. */
	samples_ask(watched, service);
	if (error && error != -EAGAIN)
		return error;
	if (!rollout_is_active(state.phase))
		return 0;
	return tick(watched, service, &state, error ? NULL : &judgement, errors);
}

static int look_again(struct rollouts *rollouts, struct errors *errors)
{
	int error;

	if (!rollouts->control)
		return control_open_following(rollouts->place, errors, &rollouts->control);
	error = control_look_again(rollouts->control, errors);
	if (error) {
		control_close(rollouts->control);
		rollouts->control = NULL;
	}
	return error;
}

static void forget_ended(struct rollouts *rollouts)
{
	for (size_t i = rollouts->count; i--;)
		if (!rollouts->list[i]->is_live && !watched_has_to_save(rollouts->list[i]))
			rollouts_forget(rollouts, i);
}

static int follow_all(struct rollouts *rollouts, struct errors *errors)
{
	const struct policy *policy = rollouts->control->policy;
	int error, first = 0;
	size_t i;

	for (i = 0; i < rollouts->count; i++)
		rollouts->list[i]->is_live = false;
	for (i = 0; i < policy->services_count; i++) {
		if (!policy->services[i].rollout.is_given)
			continue;
		error = follow_service(rollouts, &policy->services[i], errors);
		first = first ? first : error;
	}
	error = hooks_call(rollouts, errors);
	first = first ? first : error;
	error = events_say(rollouts, errors);
	first = first ? first : error;
	error = rollouts_save(rollouts, errors);
	if (!error)
		for (i = 0; i < rollouts->count; i++)
			rollouts->list[i]->window_is_new = false;
	forget_ended(rollouts);
	return first ? first : error;
}

int rollouts_round(struct rollouts *rollouts, struct errors *errors)
{
	int error = look_again(rollouts, errors);

	if (error)
		return error;
	if (rollouts->control->store)
		error = follow_all(rollouts, errors);
	control_rest(rollouts->control);
	return error;
}

/* The tests' hour is shorter: XDP_CANARY_WINDOW_MS. */
static uint64_t window_from_environment(void)
{
	const char *text = getenv("XDP_CANARY_WINDOW_MS");
	uint64_t ms = 0;

	return text && !text_integer(text, 1000, 3600000, &ms) ? ms * 1000000 : 0;
}

int rollouts_new(sd_event *event, const struct place *place, const struct actor *actor,
		 struct counters *counters, struct rollouts **out)
{
	struct rollouts *rollouts = calloc(1, sizeof(*rollouts));
	int error;

	if (!rollouts)
		return -ENOMEM;
	rollouts->event = event;
	rollouts->place = place;
	rollouts->actor = actor;
	rollouts->counters = counters;
	rollouts->window_ns = window_from_environment();
	error = sweep_start(rollouts);
	if (error >= 0)
		error = probes_start(rollouts);
	if (error < 0) {
		rollouts_free(rollouts);
		return error;
	}
	*out = rollouts;
	return 0;
}

void rollouts_free(struct rollouts *rollouts)
{
	if (!rollouts)
		return;
	while (rollouts->count)
		rollouts_forget(rollouts, 0);
	free(rollouts->list);
	probes_stop(rollouts);
	sweep_stop(rollouts);
	control_close(rollouts->control);
	free(rollouts);
}
