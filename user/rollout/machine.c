// SPDX-License-Identifier: GPL-2.0-only
/* The machine: its clock, the verbs, and how a rollout ends. What a tick does is machine_tick.c. */
#include "rollout/machine_internal.h"

#include "util/text.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* ---- names ---- */

static const char *const phase_names[] = {
#define X(symbol, name) [ROLLOUT_##symbol] = name,
	FOR_EACH_ROLLOUT_PHASE(X)
#undef X
};

const char *rollout_phase_name(enum rollout_phase phase)
{
	return phase_names[phase];
}

bool rollout_is_active(enum rollout_phase phase)
{
	return phase == ROLLOUT_RUNNING || phase == ROLLOUT_PAUSED || phase == ROLLOUT_WAITING;
}

bool rollout_is_undone(enum rollout_phase phase)
{
	return phase == ROLLOUT_ROLLED_BACK || phase == ROLLOUT_ABORTED ||
	       phase == ROLLOUT_KILLED || phase == ROLLOUT_LEASE_EXPIRED;
}

const char *rollout_wait_name(enum rollout_wait wait)
{
	static const char *const names[ROLLOUT_WAITS] = {
		[WAIT_SETTLE] = "settle",   [WAIT_BAKE] = "bake",
		[WAIT_PAUSE] = "pause",	    [WAIT_ANALYSIS] = "analysis",
		[WAIT_APPROVE] = "approve", [WAIT_MAX_LOAD] = "max_load",
		[WAIT_HOOK] = "hook",
	};

	return names[wait];
}

/* ---- actions ---- */

void changed(struct feed *feed)
{
	feed->actions->is_changed = true;
}

struct rollout_action *add_action(struct feed *feed, enum rollout_action_kind kind)
{
	struct rollout_action *action = &feed->actions->list[feed->actions->count++];

	*action = (struct rollout_action){.kind = kind, .note.log_e = NAN};
	changed(feed);
	return action;
}

static void name_actor(const struct feed *feed, char by[ROLLOUT_BY_SIZE])
{
	snprintf(by, ROLLOUT_BY_SIZE, "%s", feed->event->by ? feed->event->by : "guard");
}

struct rollout_note *add_note(struct feed *feed, const char *event, const char *reason)
{
	struct rollout_note *note = &add_action(feed, ACTION_EMIT)->note;
	const struct rollout_state *state = feed->state;

	note->event = event;
	note->time_ns = feed->event->now.real_ns;
	note->step = state->step < state->steps_count ? state->step + 1 : state->steps_count;
	name_actor(feed, note->by);
	snprintf(note->reason, sizeof(note->reason), "%s", reason ? reason : "");
	return note;
}

uint32_t call_hooks(struct feed *feed, enum hook_event on, uint32_t only,
		    const struct rollout_note *note)
{
	uint32_t gates = 0;

	for (size_t i = 0; i < feed->plan->hooks_count; i++) {
		const struct rollout_hook *hook = &feed->plan->hooks[i];
		struct rollout_action *action;

		if (hook->on != on || !(only & 1u << i))
			continue;
		action = add_action(feed, ACTION_CALL_HOOK);
		action->hook = i;
		action->call = feed->state->call;
		action->note = *note;
		if (hook->gate)
			gates |= 1u << i;
	}
	return gates;
}

void begin_window(struct feed *feed, bool settle)
{
	struct rollout_state *state = feed->state;
	struct rollout_action *action = add_action(feed, ACTION_BEGIN_WINDOW);

	state->window++;
	state->window_ns = state->elapsed_ns;
	state->has_verdict = false;
	state->verdict = VERDICT_NODATA;
	if (settle)
		state->changed_ns = feed->event->now.real_ns;
	action->window = state->window;
	action->settle = settle;
}

/* ---- phases ---- */

/* Of an active rollout: what its stage and its pause make of it. */
static void set_phase(struct feed *feed)
{
	struct rollout_state *state = feed->state;
	enum rollout_phase phase = ROLLOUT_RUNNING;

	if (!rollout_is_active(state->phase))
		return;
	if (state->pause)
		phase = ROLLOUT_PAUSED;
	else if (state->waiting_for == WAIT_APPROVE || state->waiting_for == WAIT_HOOK ||
		 (state->waiting_for == WAIT_PAUSE && !feed->plan->steps[state->step].pause_ms))
		phase = ROLLOUT_WAITING;
	if (phase != state->phase)
		changed(feed);
	state->phase = phase;
}

void wait_for(struct feed *feed, enum rollout_wait what, const char *why)
{
	struct rollout_state *state = feed->state;

	if (state->waiting_for == what && !strcmp(state->why, why))
		return;
	state->waiting_for = what;
	snprintf(state->why, sizeof(state->why), "%s", why);
	changed(feed);
}

static void set_reason(struct feed *feed, const char *reason)
{
	name_actor(feed, feed->state->by);
	snprintf(feed->state->why, sizeof(feed->state->why), "%s", reason ? reason : "");
	changed(feed);
}

static const char *const undo_events[ROLLOUT_PHASES] = {
	[ROLLOUT_ROLLED_BACK] = "rollback",
	[ROLLOUT_ABORTED] = "aborted",
	[ROLLOUT_KILLED] = "killed",
	[ROLLOUT_LEASE_EXPIRED] = "lease_expired",
};

/* The share that the last step to set one has set. */
static uint32_t last_share(const struct feed *feed)
{
	const struct rollout_state *state = feed->state;

	for (size_t step = state->begun; step-- > 0;) {
		int share = share_of_step(feed->service, state, step);

		if (share >= 0)
			return state->shares[share].ppm;
	}
	return 0;
}

static void end(struct feed *feed, enum rollout_phase phase, const char *reason)
{
	struct rollout_state *state = feed->state;

	state->phase = phase;
	state->pause = PAUSE_NOT;
	state->held = 0;
	state->waiting_for = WAIT_NOTHING;
	state->ended_ns = state->since_ns = feed->event->now.real_ns;
	set_reason(feed, reason);
	add_action(feed, ACTION_DROP_CALLS);
	add_action(feed, ACTION_END_LEASE);
	state->call++;
}

void undo(struct feed *feed, enum rollout_phase phase, const char *metric, double log_e,
	  const char *reason)
{
	struct rollout_note *note;

	add_action(feed, ACTION_LATCH)->phase = phase;
	end(feed, phase, reason);
	note = add_note(feed, undo_events[phase], reason);
	snprintf(note->metric, sizeof(note->metric), "%s", metric ? metric : "");
	note->log_e = log_e;
	note->has_shares = true;
	note->before_ppm = last_share(feed);
	call_hooks(feed, HOOK_ROLLBACK, ~0u, note);
}

void hold(struct feed *feed, enum rollout_pause pause, const char *metric, double log_e,
	  const char *reason)
{
	struct rollout_note *note;

	if (is_held(feed->state, pause))
		return;
	feed->state->pause = pause;
	feed->state->held |= 1u << pause;
	set_reason(feed, reason);
	note = add_note(feed, "paused", reason);
	snprintf(note->metric, sizeof(note->metric), "%s", metric ? metric : "");
	note->log_e = log_e;
}

/* ---- verbs ---- */

static int refuse(const struct feed *feed, const char *hint, const char *what)
{
	char object[NAME_SIZE + 24];

	snprintf(object, sizeof(object), "services/%s/rollout", feed->service->name);
	return errors_add(feed->errors, NULL, object, hint, "%s", what);
}

static int refuse_inactive(const struct feed *feed)
{
	char what[64];

	if (!feed->state->id)
		return refuse(feed, "start one with `rollout start`", "none is running");
	snprintf(what, sizeof(what), "it has ended: %s", rollout_phase_name(feed->state->phase));
	return refuse(feed, "start one with `rollout start`, or `rollout retry`", what);
}

static int start(struct feed *feed)
{
	const struct rollout_event *event = feed->event;
	struct rollout_state *state = feed->state;
	const struct rollout_state before = *state;

	if (rollout_is_active(state->phase))
		return refuse(feed, "`rollout abort` ends it", "one is running already");
	if (!feed->plan->is_given || !feed->plan->steps_count)
		return refuse(feed, "give the service `rollout: {steps: [...]}` in the file",
			      "the file has no steps for it");
	if (event->is_retry && !rollout_is_undone(state->phase))
		return refuse(feed, "`rollout start` begins one",
			      "only one that was aborted, rolled back, killed, or whose lease "
			      "expired, can be tried again");
	*state = (struct rollout_state){
		.id = event->id,
		.sequence = before.sequence,
		.phase = ROLLOUT_RUNNING,
		.verdict = VERDICT_NODATA,
		.steps_count = feed->plan->steps_count,
		.step_kind = feed->plan->steps[0].kind,
		.started_ns = event->now.real_ns,
		.since_ns = event->now.real_ns,
		.changed_ns = event->now.real_ns,
		.last = event->now,
	};
	snprintf(state->cohort, sizeof(state->cohort), "%s",
		 feed->service->cohorts[rollout_cohort(feed->service)].name);
	set_reason(feed, event->reason);
	if (event->is_latched)
		add_action(feed, ACTION_LIFT_LATCH);
	first_shares(feed);
	*add_action(feed, ACTION_BEGIN_WINDOW) =
		(struct rollout_action){.kind = ACTION_BEGIN_WINDOW, .settle = true};
	add_note(feed, "started", event->reason);
	enter_stage(feed, STAGE_BEFORE);
	wait_for(feed, WAIT_NOTHING, "the daemon begins step 1");
	return 0;
}

static int pause_by_operator(struct feed *feed)
{
	if (is_held(feed->state, PAUSE_OPERATOR))
		return refuse(feed, "`rollout resume` goes on", "it is paused already");
	hold(feed, PAUSE_OPERATOR, NULL, NAN, feed->event->reason);
	return 0;
}

/* Whoever paused it last: of what the guard has paused it for, too, a person has taken note. */
static void lift_pause(struct feed *feed)
{
	struct rollout_state *state = feed->state;

	if (is_held(state, PAUSE_INCONCLUSIVE)) {
		state->patience_ns = state->elapsed_ns;
		if (state->stage == STAGE_ON && state->step_kind == STEP_ANALYSIS)
			state->step_ns = 0;
	}
	if (is_held(state, PAUSE_ASKED))
		state->acknowledged++;
	state->pause = PAUSE_NOT;
	state->held = 0;
}

/* What the guard has said last forbids to go on, whoever asks. */
static int refuse_verdict(const struct feed *feed, const char *hint)
{
	char what[64];

	if (!feed->state->has_verdict ||
	    (feed->state->verdict != VERDICT_ROLLBACK && feed->state->verdict != VERDICT_INVALID))
		return 0;
	snprintf(what, sizeof(what), "the verdict is %s", verdict_name(feed->state->verdict));
	return refuse(feed, hint, what);
}

/* What its step has waited for is here: the daemon's next tick takes it on. */
static void let_go(struct feed *feed)
{
	feed->state->is_over = true;
	wait_for(feed, WAIT_NOTHING, "the daemon goes on");
}

static int resume(struct feed *feed)
{
	struct rollout_state *state = feed->state;
	const struct step *step = &feed->plan->steps[state->step];
	int error;

	if (state->pause) {
		error = refuse_verdict(feed, "`rollout abort` ends it; or wait for the next window "
					     "of the guard");
		if (error)
			return error;
		lift_pause(feed);
		set_reason(feed, feed->event->reason);
		add_note(feed, "resumed", feed->event->reason);
		return 0;
	}
	if (state->stage != STAGE_ON || step->kind != STEP_PAUSE || step->pause_ms)
		return refuse(feed, "`rollout promote` skips the rest of a step",
			      "it is not paused");
	if (state->is_over)
		return refuse(feed, "see `rollout status`", "it goes on already");
	let_go(feed);
	add_note(feed, "resumed", feed->event->reason);
	return 0;
}

static bool is_at_approve(const struct rollout_state *state)
{
	return state->stage == STAGE_ON && state->step_kind == STEP_APPROVE && !state->is_over;
}

static int approve(struct feed *feed)
{
	if (!is_at_approve(feed->state))
		return refuse(feed, "see `rollout status`", "it does not stand at an approve step");
	let_go(feed);
	add_note(feed, "approved", feed->event->reason);
	return 0;
}

/* Its step is over, or as good as that. */
static bool is_passed(const struct rollout_state *state)
{
	return state->stage == STAGE_AFTER || (state->stage == STAGE_ON && state->is_over);
}

/* A share is never above what was approved: not by jumping over the gate, either. */
static int jump_to_last(struct feed *feed)
{
	struct rollout_state *state = feed->state;
	size_t last = feed->plan->steps_count - 1;
	char what[64];

	for (size_t step = state->step; step < last; step++) {
		if (feed->plan->steps[step].kind != STEP_APPROVE ||
		    (step == state->step && is_passed(state)))
			continue;
		snprintf(what, sizeof(what), "step %zu, before the last, waits for `approve`",
			 step + 1);
		return refuse(feed, "promote it step by step up to there", what);
	}
	if (state->step < last) {
		state->step = last;
		state->step_kind = feed->plan->steps[last].kind;
		state->step_ns = 0;
		enter_stage(feed, STAGE_BEFORE);
	} else if (state->stage == STAGE_ON) {
		state->is_over = true;
	}
	return 0;
}

static int promote(struct feed *feed)
{
	struct rollout_state *state = feed->state;
	int error = refuse_verdict(feed, "`rollout abort` ends it");

	if (error)
		return error;
	if (is_at_approve(state))
		return refuse(feed, "pass it with `rollout approve`",
			      "it stands at an approve step");
	if (state->waiting_for == WAIT_MAX_LOAD)
		return refuse(feed, "give the canary more backends",
			      "the next step would put more load than max_load on the canary");
	if (feed->event->full) {
		error = jump_to_last(feed);
	} else if (state->waiting_for == WAIT_HOOK) {
		error = refuse(feed, "see `rollout status` for which", "a hook holds the step");
	} else if (state->stage == STAGE_ON) {
		let_go(feed);
	}
	if (error)
		return error;
	lift_pause(feed);
	state->is_forced = true;
	add_note(feed, "promoted", feed->event->reason);
	return 0;
}

static int override(struct feed *feed)
{
	const struct rollout_event *event = feed->event;
	struct rollout_state *state = feed->state;
	struct rollout_note *note;
	uint32_t before = 0;

	for (size_t i = 0; event->rule && i < state->shares_count; i++) {
		if (strcmp(state->shares[i].rule, event->rule))
			continue;
		before = state->shares[i].ppm;
		state->shares[i].ppm = event->ppm;
		state->shares[i].changed_ns = event->now.real_ns;
	}
	begin_window(feed, true);
	if (state->pause)
		return 0;
	state->pause = PAUSE_OPERATOR;
	state->held = 1u << PAUSE_OPERATOR;
	set_reason(feed, event->reason);
	note = add_note(feed, "paused", event->reason);
	if (event->rule) {
		note->has_shares = true;
		note->before_ppm = before;
		note->after_ppm = event->ppm;
	}
	return 0;
}

/* The canary may have clients of it: it is under way, or has succeeded. */
static bool can_go_back(const struct rollout_state *state)
{
	return rollout_is_active(state->phase) || state->phase == ROLLOUT_SUCCEEDED;
}

static int abort_it(struct feed *feed)
{
	if (!can_go_back(feed->state))
		return refuse_inactive(feed);
	undo(feed, ROLLOUT_ABORTED, NULL, NAN, feed->event->reason);
	return 0;
}

static void kill_it(struct feed *feed)
{
	if (can_go_back(feed->state))
		undo(feed, ROLLOUT_KILLED, NULL, NAN, feed->event->reason);
}

/* ---- what the daemon tells ---- */

static void take_answer(struct feed *feed)
{
	const struct rollout_event *event = feed->event;
	struct rollout_state *state = feed->state;
	uint32_t bit = event->hook < HOOKS_MAX ? 1u << event->hook : 0;

	if (event->call != state->call || !(state->gates_asked & bit))
		return;
	state->gates_asked &= ~bit;
	if (event->ok)
		state->gates_open |= bit;
	else
		state->gates_ns = state->elapsed_ns + ROLLOUT_GATE_RETRY_NS;
	changed(feed);
}

/* Whether its lease has ended meanwhile the kernel knows, or a note (control/lease.c): another
 * event.
 */
static void come_back(struct feed *feed, const struct rollout_clock *last)
{
	if (feed->event->now.boot != last->boot || feed->event->counts_lost)
		begin_window(feed, true);
}

/* ---- the clock ---- */

/* A clock that went back over a boot has not passed. */
static void advance(struct rollout_state *state, const struct rollout_clock *now)
{
	const struct rollout_clock *last = &state->last;
	uint64_t from = now->boot == last->boot ? last->monotonic_ns : last->real_ns;
	uint64_t to = now->boot == last->boot ? now->monotonic_ns : now->real_ns;
	uint64_t passed = to > from ? to - from : 0;

	state->last = *now;
	state->elapsed_ns += passed;
	if (!state->pause)
		state->step_ns += passed;
}

/* ---- feeding ---- */

static int feed_verb(struct feed *feed)
{
	enum rollout_event_kind kind = feed->event->kind;

	if (kind == EVENT_START)
		return start(feed);
	if (kind == EVENT_ABORT)
		return abort_it(feed);
	if (!rollout_is_active(feed->state->phase))
		return refuse_inactive(feed);
	switch (kind) {
	case EVENT_PAUSE:
		return pause_by_operator(feed);
	case EVENT_RESUME:
		return resume(feed);
	case EVENT_APPROVE:
		return approve(feed);
	case EVENT_PROMOTE:
		return promote(feed);
	default:
		return override(feed);
	}
}

static void feed_fact(struct feed *feed, const struct rollout_clock *last)
{
	if (feed->event->kind == EVENT_KILLED) {
		kill_it(feed);
		return;
	}
	if (!rollout_is_active(feed->state->phase))
		return;
	switch (feed->event->kind) {
	case EVENT_TICK:
		feed_tick(feed);
		break;
	case EVENT_HOOK:
		take_answer(feed);
		break;
	case EVENT_LEASE_EXPIRED:
		undo(feed, ROLLOUT_LEASE_EXPIRED, NULL, NAN, "the lease was not renewed in time");
		break;
	default:
		come_back(feed, last);
	}
}

static bool is_verb(enum rollout_event_kind kind)
{
	return kind >= EVENT_START && kind <= EVENT_OVERRIDE;
}

int rollout_feed(const struct service *service, struct rollout_state *state,
		 const struct rollout_event *event, struct rollout_actions *actions,
		 struct errors *errors)
{
	struct rollout_state next = *state;
	struct feed feed = {
		.service = service,
		.plan = &service->rollout,
		.state = &next,
		.event = event,
		.actions = actions,
		.errors = errors,
	};
	int error = 0;

	actions->count = 0;
	actions->is_changed = false;
	if (rollout_is_active(next.phase))
		advance(&next, &event->now);
	if (is_verb(event->kind))
		error = feed_verb(&feed);
	else
		feed_fact(&feed, &state->last);
	if (error) {
		actions->count = 0;
		actions->is_changed = false;
		return error;
	}
	set_phase(&feed);
	if (actions->is_changed)
		next.sequence++;
	actions->sequence = next.sequence;
	*state = next;
	return 0;
}
