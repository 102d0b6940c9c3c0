// SPDX-License-Identifier: GPL-2.0-only
/*
 * A tick: first what ends or holds the rollout, whatever it does; then, unless it is paused, one
 * step after the other as far as hooks, load, verdict and time allow.
 */
#include "rollout/machine_internal.h"

#include "util/text.h"

#include <math.h>
#include <string.h>

/* ---- what is always armed ---- */

static void take_verdict(struct feed *feed)
{
	const struct judgement *judgement = feed->event->judgement;
	struct rollout_state *state = feed->state;

	if (!judgement || feed->event->window != state->window)
		return;
	if (!state->has_verdict || state->verdict != judgement->verdict)
		changed(feed);
	state->has_verdict = true;
	state->verdict = judgement->verdict;
}

static void fail(struct feed *feed, const char *metric, double log_e, const char *reason)
{
	if (feed->plan->on_fail == ON_VERDICT_ROLLBACK)
		undo(feed, ROLLOUT_ROLLED_BACK, metric, log_e, reason);
	else
		hold(feed, PAUSE_FAILED, metric, log_e, reason);
}

static void end_inconclusive(struct feed *feed, const char *reason)
{
	feed->state->has_verdict = true;
	feed->state->verdict = VERDICT_INCONCLUSIVE;
	if (feed->plan->on_inconclusive == ON_VERDICT_ROLLBACK)
		undo(feed, ROLLOUT_ROLLED_BACK, NULL, NAN, reason);
	else
		hold(feed, PAUSE_INCONCLUSIVE, NULL, NAN, reason);
}

static bool is_lost(const struct feed *feed)
{
	return feed->event->facts.cohort_lost && steps_gave(feed->plan, feed->state->begun);
}

static void hold_as_judged(struct feed *feed, enum rollout_pause pause)
{
	const struct judgement *judgement = feed->event->judgement;

	if (judgement)
		hold(feed, pause, judgement->metric, judgement->log_e, judgement->reason);
	else
		hold(feed, pause, NULL, NAN, "the sample ratio is wrong");
}

/* Every way back, in the order of their urgency. */
static void guard(struct feed *feed)
{
	const struct judgement *judgement = feed->event->judgement;
	struct rollout_state *state = feed->state;

	if (judgement && judgement->verdict == VERDICT_ROLLBACK)
		fail(feed, judgement->metric, judgement->log_e, judgement->reason);
	else if (is_lost(feed))
		fail(feed, NULL, NAN, "no backend of the canary is alive");
	else if (state->has_verdict && state->verdict == VERDICT_INVALID && !state->pause)
		hold_as_judged(feed, PAUSE_INVALID);
	else if (judgement && judgement->asks_for_pause && !state->pause)
		hold_as_judged(feed, PAUSE_ASKED);
	else if (state->elapsed_ns - state->patience_ns >=
			 feed->plan->max_duration_ms * NS_PER_MS &&
		 !is_held(state, PAUSE_FAILED) && !is_held(state, PAUSE_INCONCLUSIVE))
		end_inconclusive(feed, "inconclusive: max_duration is over");
}

/* ---- gates ---- */

static enum hook_event hooks_of(enum rollout_stage stage)
{
	return stage == STAGE_BEFORE ? HOOK_BEFORE_STEP : HOOK_AFTER_STEP;
}

static void ask(struct feed *feed, enum rollout_stage stage, uint32_t only)
{
	struct rollout_state *state = feed->state;
	struct rollout_note note = {
		.event = stage == STAGE_BEFORE ? "before_step" : "after_step",
		.time_ns = feed->event->now.real_ns,
		.step = state->step + 1,
		.log_e = NAN,
		.by = "guard",
	};
	int share = share_of_step(feed->service, state, state->step);

	if (share >= 0) {
		uint32_t next[RULES_MAX];

		shares_to_set(feed->service, state, next);
		note.has_shares = true;
		note.before_ppm = state->shares[share].ppm;
		note.after_ppm = next[share];
	}
	state->gates_asked |= call_hooks(feed, hooks_of(stage), only, &note);
}

void enter_stage(struct feed *feed, enum rollout_stage stage)
{
	struct rollout_state *state = feed->state;

	changed(feed);
	state->stage = stage;
	if (stage != STAGE_BEFORE && stage != STAGE_AFTER)
		return;
	if (state->gates_asked)
		add_action(feed, ACTION_DROP_CALLS);
	state->call++;
	state->gates_open = state->gates_asked = 0;
	ask(feed, stage, ~0u);
}

/*
 * All gates of the stage have said yes. Those that said no are asked again in a while. A gate is
 * named by its place, for its URL may hold a secret.
 */
static bool gates_are_open(struct feed *feed)
{
	struct rollout_state *state = feed->state;
	uint32_t closed = 0, silent;
	char why[REASON_SIZE];

	for (size_t i = 0; i < feed->plan->hooks_count; i++)
		if (feed->plan->hooks[i].gate && feed->plan->hooks[i].on == hooks_of(state->stage))
			closed |= 1u << i;
	closed &= ~state->gates_open;
	if (!closed)
		return true;
	silent = closed & ~state->gates_asked;
	if (silent && state->elapsed_ns >= state->gates_ns)
		ask(feed, state->stage, silent);
	snprintf(why, sizeof(why), "the gate rollout/hooks/%d %s", __builtin_ctz(closed),
		 silent ? "said no, and is asked again" : "was asked");
	wait_for(feed, WAIT_HOOK, why);
	return false;
}

/* ---- the beginning of a step ---- */

static bool verdict_allows(const struct rollout_state *state)
{
	return state->has_verdict &&
	       (state->verdict == VERDICT_CONTINUE || state->verdict == VERDICT_PROMOTE);
}

/* Nothing is raised, and nothing succeeds, on what the guard does not know; NULL: go on. */
static const char *doubt(const struct feed *feed)
{
	const struct rollout_state *state = feed->state;

	if (state->is_forced)
		return NULL;
	if (feed->event->facts.hold)
		return feed->event->facts.hold;
	if (verdict_allows(state) || !steps_gave(feed->plan, state->begun))
		return NULL;
	return state->has_verdict && state->verdict != VERDICT_NODATA
		       ? "the verdict does not allow to go on"
		       : "there is no data of the canary that could be judged yet";
}

static bool rises(const struct rollout_state *state, const uint32_t *next)
{
	for (size_t i = 0; i < state->shares_count; i++)
		if (next[i] > state->shares[i].ppm)
			return true;
	return false;
}

static bool may_begin(struct feed *feed, const uint32_t *next)
{
	const struct rollout_facts *facts = &feed->event->facts;
	double max_load = feed->plan->max_load;
	const char *why;

	if (!rises(feed->state, next))
		return true;
	why = facts->cohort_lost ? "no backend of the canary is alive" : doubt(feed);
	if (why) {
		wait_for(feed, WAIT_NOTHING, why);
		return false;
	}
	if (max_load > 0 && (isnan(facts->load) || load_is_heavy(facts->load, max_load))) {
		wait_for(feed, WAIT_MAX_LOAD,
			 "the canary's backends would carry more than max_load");
		return false;
	}
	return true;
}

/* Without max_load a step does not wait for servers, but what it does to them is said with it. */
static void add_load(const struct feed *feed, const uint32_t *next, char reason[REASON_SIZE])
{
	double load = feed->event->facts.load;
	size_t length = strlen(reason);

	if (feed->plan->max_load > 0 || !rises(feed->state, next) || !load_is_heavy(load, 0))
		return;
	if (isinf(load))
		snprintf(reason + length, REASON_SIZE - length,
			 "; no backend of the canary takes new flows");
	else
		snprintf(reason + length, REASON_SIZE - length,
			 "; a canary backend carries %.3g times what one of the control did at 0%%",
			 load);
}

static void describe(const struct step *step, char reason[REASON_SIZE])
{
	char text[TEXT_VALUE_SIZE];

	switch (step->kind) {
	case STEP_WEIGHT:
		snprintf(reason, REASON_SIZE, "%s%s%s", step->segment[0] ? step->segment : "weight",
			 step->segment[0] ? ": " : " ",
			 text_format_percent(step->weight_ppm, text));
		break;
	case STEP_PAUSE:
		snprintf(reason, REASON_SIZE, "pause %s",
			 step->pause_ms ? text_format_duration(step->pause_ms, text)
					: "until `resume`");
		break;
	case STEP_ANALYSIS:
		snprintf(reason, REASON_SIZE, "analysis, at most %s",
			 text_format_duration(step->analysis_timeout_ms, text));
		break;
	default:
		snprintf(reason, REASON_SIZE, "waits for `approve`%s%s",
			 step->approve_message && *step->approve_message ? ": " : "",
			 step->approve_message ? step->approve_message : "");
	}
}

static bool set_shares(struct feed *feed, const uint32_t *next)
{
	struct rollout_state *state = feed->state;
	bool any = false;

	for (size_t i = 0; i < state->shares_count; i++) {
		struct rollout_share *share = &state->shares[i];
		struct rollout_action *action;

		if (share->ppm == next[i])
			continue;
		action = add_action(feed, ACTION_SET_SHARE);
		memcpy(action->rule, share->rule, sizeof(action->rule));
		action->before_ppm = share->ppm;
		action->ppm = next[i];
		share->ppm = next[i];
		share->changed_ns = feed->event->now.real_ns;
		any = true;
	}
	return any;
}

static void begin_step(struct feed *feed, const uint32_t *next)
{
	const struct step *step = &feed->plan->steps[feed->state->step];
	struct rollout_state *state = feed->state;
	int share = share_of_step(feed->service, state, state->step);
	uint32_t before = share >= 0 ? state->shares[share].ppm : 0;
	struct rollout_note *note;
	char reason[REASON_SIZE];

	describe(step, reason);
	add_load(feed, next, reason);
	if (set_shares(feed, next))
		begin_window(feed, true);
	state->stage = STAGE_ON;
	state->begun = state->step + 1;
	if (state->reached < state->begun)
		state->reached = state->begun;
	state->is_over = state->is_forced = false;
	state->step_ns = 0;
	state->since_ns = feed->event->now.real_ns;
	note = add_note(feed, "step", reason);
	if (share >= 0) {
		note->has_shares = true;
		note->before_ppm = before;
		note->after_ppm = state->shares[share].ppm;
	}
}

/* ---- its end ---- */

static bool weight_is_over(struct feed *feed)
{
	uint64_t settle = feed->plan->settle_ms * NS_PER_MS, bake = feed->plan->bake_ms * NS_PER_MS;
	const char *why;

	if (feed->state->step_ns < settle) {
		wait_for(feed, WAIT_SETTLE, "");
		return false;
	}
	why = feed->state->step_ns < settle + bake ? "" : doubt(feed);
	if (why)
		wait_for(feed, WAIT_BAKE, why);
	return !why;
}

static bool pause_is_over(struct feed *feed, const struct step *step)
{
	if (step->pause_ms && feed->state->step_ns >= step->pause_ms * NS_PER_MS)
		return true;
	wait_for(feed, WAIT_PAUSE, step->pause_ms ? "" : "until `rollout resume`");
	return false;
}

/* NULL: nothing. Where no metric is critical, nothing is waited for but data. */
static const char *analysis_waits(const struct feed *feed)
{
	const struct rollout_state *state = feed->state;

	if (feed->event->facts.hold)
		return feed->event->facts.hold;
	if (!rollout_has_critical(feed->plan))
		return doubt(feed);
	return state->has_verdict && state->verdict == VERDICT_PROMOTE
		       ? NULL
		       : "until every critical metric says PROMOTE";
}

static bool analysis_is_over(struct feed *feed, const struct step *step)
{
	const struct rollout_state *state = feed->state;
	const char *why = analysis_waits(feed);

	if (!why)
		return true;
	if (state->step_ns >= step->analysis_timeout_ms * NS_PER_MS)
		end_inconclusive(feed, "inconclusive: the timeout of the analysis is over");
	else
		wait_for(feed, WAIT_ANALYSIS, why);
	return false;
}

static bool approve_is_over(struct feed *feed, const struct step *step)
{
	wait_for(feed, WAIT_APPROVE, step->approve_message ? step->approve_message : "");
	return false;
}

static bool step_is_over(struct feed *feed)
{
	const struct step *step = &feed->plan->steps[feed->state->step];

	if (feed->state->is_over)
		return true;
	switch (step->kind) {
	case STEP_WEIGHT:
		return weight_is_over(feed);
	case STEP_PAUSE:
		return pause_is_over(feed, step);
	case STEP_ANALYSIS:
		return analysis_is_over(feed, step);
	default:
		return approve_is_over(feed, step);
	}
}

/* ---- going on ---- */

static bool succeed(struct feed *feed)
{
	struct rollout_state *state = feed->state;
	const char *why = doubt(feed);

	if (why) {
		wait_for(feed, WAIT_NOTHING, why);
		return false;
	}
	state->phase = ROLLOUT_SUCCEEDED;
	state->waiting_for = WAIT_NOTHING;
	state->step = state->steps_count;
	state->ended_ns = state->since_ns = feed->event->now.real_ns;
	snprintf(state->why, sizeof(state->why), "all steps are over");
	add_action(feed, ACTION_END_LEASE);
	call_hooks(feed, HOOK_SUCCESS, ~0u, add_note(feed, "succeeded", state->why));
	return false;
}

static bool next_step(struct feed *feed)
{
	struct rollout_state *state = feed->state;

	if (state->step + 1 == state->steps_count)
		return succeed(feed);
	state->step++;
	state->step_kind = feed->plan->steps[state->step].kind;
	state->step_ns = 0;
	enter_stage(feed, STAGE_BEFORE);
	return true;
}

/* One move; false: nothing more in this tick. */
static bool move(struct feed *feed)
{
	uint32_t next[RULES_MAX];

	switch (feed->state->stage) {
	case STAGE_BEFORE:
		if (!gates_are_open(feed))
			return false;
		enter_stage(feed, STAGE_READY);
		return true;
	case STAGE_READY:
		shares_to_set(feed->service, feed->state, next);
		if (!may_begin(feed, next))
			return false;
		begin_step(feed, next);
		return true;
	case STAGE_ON:
		if (!step_is_over(feed))
			return false;
		enter_stage(feed, STAGE_AFTER);
		return true;
	default:
		return gates_are_open(feed) && next_step(feed);
	}
}

/*
 * At most one step begins in a tick: what comes after it needs a verdict of its window. Of the one
 * that has begun it is said what it waits for.
 */
void feed_tick(struct feed *feed)
{
	struct rollout_state *state = feed->state;
	uint32_t begun = state->begun;

	take_verdict(feed);
	guard(feed);
	if (!rollout_is_active(state->phase))
		return;
	if (state->elapsed_ns - state->window_ns >=
	    (feed->event->facts.window_ns ? feed->event->facts.window_ns : ROLLOUT_WINDOW_NS))
		begin_window(feed, false);
	while (!state->pause && rollout_is_active(state->phase) && state->begun == begun &&
	       move(feed))
		;
	if (state->begun != begun)
		step_is_over(feed);
}
