// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random plans, and random events upon them: verbs, verdicts, gates' answers, kills, boots, crashes
 * before and after the commit. After each event the machine's invariants are looked at from
 * outside: by what its actions did to the world, not by what its state says of it.
 */
#include "machine_fixture.h"
#include "tests/random.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEQUENCES 2000
#define EVENTS	  120

/* What an observer knows of the running rollout. */
struct observer {
	struct random *random;
	uint32_t approvals; /* that were accepted */
	bool is_promoted;   /* since a step began last */
	uint32_t last_step; /* the last that began, from 1 */
	uint32_t window;
	uint64_t sequence;
	uint32_t initial[TABLE_RULES];	  /* shares as it began */
	uint32_t overridden[TABLE_RULES]; /* the greatest that a person set; 0: none */
	uint32_t met[ROLLOUT_PHASES];	  /* how often each phase was seen */
	bool is_asked,
		is_inconclusive; /* the guard has paused it for that, and nobody resumed it */
	uint32_t lifted;	 /* pauses of the guard that were resumed */
};

/* ---- plans ---- */

static const char *const segments[] = {"staff", "light", NULL};

static void make_plan(struct table_rollout *table, struct random *random)
{
	struct rollout *plan = &table->service.rollout;
	uint32_t reached[TABLE_RULES] = {0};
	size_t steps = 1 + random_below(random, 8);

	for (size_t i = 0; i < steps; i++) {
		uint32_t rule = random_below(random, TABLE_RULES);

		switch (random_below(random, 8)) {
		case 0:
			add_approve(table);
			break;
		case 1:
			add_pause(table, random_below(random, 3) * 20000);
			break;
		case 2:
			add_analysis(table, 1000 + random_below(random, 200000));
			break;
		default:
			reached[rule] += random_below(random, 1000001 - reached[rule]);
			add_weight(table, segments[rule], reached[rule]);
		}
	}
	for (size_t i = random_below(random, 4); i > 0; i--)
		add_hook(table, random_below(random, HOOK_SUCCESS + 1), random_below(random, 2));
	plan->bake_ms = random_below(random, 3) * 15000;
	plan->settle_ms = random_below(random, 2) * 10000;
	plan->max_duration_ms = random_below(random, 4) ? 86400000 : 120000;
	plan->on_fail = random_below(random, 3) ? ON_VERDICT_ROLLBACK : ON_VERDICT_PAUSE;
	plan->on_inconclusive = random_below(random, 2);
	plan->max_load = random_below(random, 2) ? 1.5 : 0;
	plan->lease_ms = random_below(random, 3) * 15000;
}

/* ---- events ---- */

static const enum verdict common[] = {VERDICT_CONTINUE, VERDICT_CONTINUE, VERDICT_PROMOTE,
				      VERDICT_PROMOTE,	VERDICT_NODATA,	  VERDICT_NODATA};

static struct rollout_event random_tick(struct table_rollout *table, struct random *random,
					struct judgement *judgement)
{
	struct rollout_event event = {
		.kind = EVENT_TICK,
		.judgement = judgement,
		.window = table->state.window,
	};

	judgement->verdict = common[random_below(random, 6)];
	if (!random_below(random, 60))
		judgement->verdict = VERDICT_ROLLBACK;
	if (!random_below(random, 60))
		judgement->verdict = VERDICT_INVALID;
	judgement->asks_for_pause = !random_below(random, 40);
	if (!random_below(random, 8))
		event.judgement = NULL;
	if (!random_below(random, 20))
		event.window += random_below(random, 2) ? 1 : UINT32_MAX;
	event.facts.load = random_below(random, 5) ? 1.0 : random_below(random, 2) ? 2.0 : NAN;
	event.facts.cohort_lost = !random_below(random, 80);
	event.facts.hold = random_below(random, 10) ? NULL : "drift";
	pass(table, random_below(random, 12) * SECOND);
	return event;
}

static struct rollout_event random_start(struct table_rollout *table, struct random *random,
					 uint32_t *shares)
{
	for (size_t i = 0; i < TABLE_RULES; i++)
		shares[i] = table->is_latched ? 0 : table->shares[i];
	return (struct rollout_event){
		.kind = EVENT_START,
		.by = "ann",
		.id = table->state.id + 1,
		.is_retry = random_below(random, 2),
		.shares = shares,
		.is_latched = table->is_latched,
	};
}

static struct rollout_event random_event(struct table_rollout *table, struct random *random,
					 struct judgement *judgement, uint32_t *shares)
{
	struct rollout_event event = {.by = "ann", .reason = "at random"};

	if (random_below(random, 100) < 60)
		return random_tick(table, random, judgement);
	if (!rollout_is_active(table->state.phase) && random_below(random, 2))
		return random_start(table, random, shares);
	event.kind = 1 + random_below(random, ROLLOUT_EVENTS - 1);
	if (event.kind == EVENT_START)
		return random_start(table, random, shares);
	/* What ends a rollout is rare, or none would come far. */
	if ((event.kind == EVENT_ABORT || event.kind == EVENT_KILLED ||
	     event.kind == EVENT_LEASE_EXPIRED) &&
	    random_below(random, 8))
		event.kind = EVENT_HOOK;
	event.full = !random_below(random, 4);
	if (event.kind == EVENT_OVERRIDE) {
		event.rule = random_below(random, 3)
				     ? table->service.rules[random_below(random, TABLE_RULES)].name
				     : NULL;
		event.ppm = random_below(random, 1000001);
	}
	event.call = table->state.call - !random_below(random, 6);
	event.hook = random_below(random, 4);
	event.ok = random_below(random, 3);
	event.counts_lost = random_below(random, 2);
	if (event.kind == EVENT_RETURN && random_below(random, 2)) {
		table->now.boot++;
		table->now.monotonic_ns = random_below(random, 100) * SECOND;
		table->now.real_ns += random_below(random, 40) * SECOND;
	}
	return event;
}

/* ---- invariants ---- */

/* By the plan alone: the steps before the first approve step that nobody has passed. */
static size_t approved_steps(const struct table_rollout *table, uint32_t approvals)
{
	size_t step = 0;

	for (; step < table->service.rollout.steps_count; step++)
		if (table->steps[step].kind == STEP_APPROVE && !approvals--)
			break;
	return step;
}

static uint32_t greatest_share(const struct table_rollout *table, size_t rule, size_t steps)
{
	uint32_t greatest = 0;

	for (size_t i = 0; i < steps; i++) {
		const struct step *step = &table->steps[i];
		const char *name = step->segment[0] ? step->segment : "default";

		if (step->kind == STEP_WEIGHT && step->weight_ppm > greatest &&
		    !strcmp(name, table->service.rules[rule].name))
			greatest = step->weight_ppm;
	}
	return greatest;
}

static void share_is_never_above_what_was_approved(const struct table_rollout *table,
						   const struct observer *seen)
{
	size_t approved = approved_steps(table, seen->approvals);

	if (table->is_latched || !rollout_is_active(table->state.phase))
		return;
	assert_true(seen->last_step <= approved + 1);
	for (size_t rule = 0; rule < TABLE_RULES; rule++) {
		uint32_t bound = greatest_share(table, rule, approved);
		uint32_t begun = greatest_share(table, rule, seen->last_step);

		bound = bound < begun ? bound : begun;
		if (bound < seen->initial[rule])
			bound = seen->initial[rule];
		if (bound < seen->overridden[rule])
			bound = seen->overridden[rule];
		assert_true(table->shares[rule] <= bound);
	}
}

static bool raises(const struct table_rollout *table)
{
	for (size_t i = 0; i < table->actions.count; i++)
		if (table->actions.list[i].kind == ACTION_SET_SHARE &&
		    table->actions.list[i].ppm > table->actions.list[i].before_ppm)
			return true;
	return false;
}

static void nodata_never_promotes(const struct table_rollout *table,
				  const struct rollout_state *before,
				  const struct rollout_event *event, const struct observer *seen)
{
	const struct judgement *judgement = event->judgement;
	bool has_given = false;
	bool passes =
		judgement && event->window == before->window &&
		(judgement->verdict == VERDICT_CONTINUE || judgement->verdict == VERDICT_PROMOTE);

	if (!raises(table) && table->state.phase != ROLLOUT_SUCCEEDED)
		return;
	if (table->state.phase == before->phase && !raises(table))
		return;
	assert_int_equal(event->kind, EVENT_TICK);
	for (uint32_t i = 0; i < seen->last_step; i++)
		has_given |= table->steps[i].kind == STEP_WEIGHT && table->steps[i].weight_ppm;
	if (!judgement && before->has_verdict)
		return; /* this window's last verdict still holds */
	assert_true(passes || !has_given || seen->is_promoted ||
		    (event->window != before->window && before->has_verdict));
}

static void rollback_is_armed(const struct table_rollout *table, const struct rollout_state *before,
			      const struct rollout_event *event)
{
	if (event->kind != EVENT_TICK || !event->judgement ||
	    event->judgement->verdict != VERDICT_ROLLBACK || !rollout_is_active(before->phase))
		return;
	if (table->service.rollout.on_fail == ON_VERDICT_PAUSE) {
		assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
		return;
	}
	assert_int_equal(table->state.phase, ROLLOUT_ROLLED_BACK);
	assert_true(table->is_latched);
	assert_false(table->has_lease);
}

static void a_latch_stays_until_start(const struct table_rollout *table,
				      const struct rollout_state *before,
				      const struct rollout_event *event, bool was_latched)
{
	if (was_latched && !table->is_latched)
		assert_int_equal(event->kind, EVENT_START);
	assert_int_equal(table->is_latched, rollout_is_undone(table->state.phase));
	if (rollout_is_active(table->state.phase))
		assert_true(table->has_lease);
	/* What is over does nothing by itself; what has succeeded can be taken back. */
	if (!rollout_is_active(before->phase) && event->kind != EVENT_START &&
	    !(before->phase == ROLLOUT_SUCCEEDED &&
	      (event->kind == EVENT_ABORT || event->kind == EVENT_KILLED)))
		assert_false(table->actions.is_changed);
}

static void a_steps_effect_is_never_repeated(const struct table_rollout *table,
					     struct observer *seen)
{
	for (size_t i = 0; i < table->actions.count; i++) {
		const struct rollout_action *action = &table->actions.list[i];

		if (action->kind == ACTION_EMIT && !strcmp(action->note.event, "step")) {
			assert_true(action->note.step > seen->last_step);
			seen->last_step = action->note.step;
			seen->is_promoted = false;
		}
		if (action->kind == ACTION_BEGIN_WINDOW && action->window) {
			assert_int_equal(action->window, seen->window + 1);
			seen->window++;
		}
	}
	if (table->actions.is_changed)
		assert_true(table->state.sequence > seen->sequence);
	seen->sequence = table->state.sequence;
}

static void observe_verb(const struct table_rollout *table, const struct rollout_event *event,
			 struct observer *seen)
{
	struct observer fresh = {.random = seen->random, .sequence = seen->sequence};

	switch (event->kind) {
	case EVENT_START:
		memcpy(fresh.met, seen->met, sizeof(fresh.met));
		fresh.lifted = seen->lifted;
		memcpy(fresh.initial, table->shares, sizeof(fresh.initial));
		*seen = fresh;
		break;
	case EVENT_APPROVE:
		seen->approvals++;
		break;
	case EVENT_PROMOTE:
		seen->is_promoted = true;
		break;
	case EVENT_OVERRIDE:
		for (size_t rule = 0; rule < TABLE_RULES && event->rule; rule++)
			if (!strcmp(table->service.rules[rule].name, event->rule) &&
			    seen->overridden[rule] < event->ppm)
				seen->overridden[rule] = event->ppm;
		break;
	default:
		break;
	}
}

/* However many have paused it: a person's as well as the guard's. */
static void resume_lifts_every_pause(const struct table_rollout *table,
				     const struct rollout_state *before,
				     const struct rollout_event *event, struct observer *seen)
{
	const struct rollout_state *state = &table->state;

	assert_int_equal(state->pause != PAUSE_NOT, state->phase == ROLLOUT_PAUSED);
	if (event->kind == EVENT_TICK && state->pause != before->pause) {
		seen->is_asked |= state->pause == PAUSE_ASKED;
		seen->is_inconclusive |= state->pause == PAUSE_INCONCLUSIVE;
	}
	if (state->pause || !before->pause)
		return;
	if (rollout_is_active(state->phase)) {
		assert_int_equal(state->acknowledged, before->acknowledged + seen->is_asked);
		assert_int_equal(state->patience_ns,
				 seen->is_inconclusive ? state->elapsed_ns : before->patience_ns);
		seen->lifted += seen->is_asked || seen->is_inconclusive;
	}
	seen->is_asked = seen->is_inconclusive = false;
}

/* The share that `rollout set --override` writes beside the machine. */
static void write_override(struct table_rollout *table, const struct rollout_event *event)
{
	for (size_t rule = 0; rule < TABLE_RULES && event->rule; rule++)
		if (!strcmp(table->service.rules[rule].name, event->rule))
			for (size_t i = 0; i < table->state.shares_count; i++)
				if (!strcmp(table->state.shares[i].rule, event->rule))
					table->shares[rule] = event->ppm;
}

/* ---- sequences ---- */

static void assert_same_state(const struct rollout_state *a, const struct rollout_state *b)
{
	json_t *left = rollout_state_to_json(a), *right = rollout_state_to_json(b);

	assert_true(json_equal(left, right));
	json_decref(left);
	json_decref(right);
}

/* Through the store's text, as after a restart. */
static void restart(struct table_rollout *table)
{
	json_t *json = rollout_state_to_json(&table->state);
	char *text = json_dumps(json, JSON_COMPACT);
	struct rollout_state read;

	json_decref(json);
	json = json_loads(text, 0, NULL);
	assert_int_equal(rollout_state_from_json(json, &read), 0);
	assert_same_state(&table->state, &read);
	table->state = read;
	json_decref(json);
	free(text);
}

/* A writer that died before its commit: the same again has the same outcome. */
static void a_feed_that_was_lost_is_fed_again(struct table_rollout *table,
					      const struct rollout_event *event)
{
	static struct rollout_actions actions[2];
	struct rollout_state states[2] = {table->state, table->state};
	struct rollout_event again = *event;
	int errors[2];

	again.now = table->now;
	for (int i = 0; i < 2; i++)
		errors[i] = rollout_feed(&table->service, &states[i], &again, &actions[i], NULL);
	assert_int_equal(errors[0], errors[1]);
	assert_int_equal(actions[0].count, actions[1].count);
	for (size_t i = 0; i < actions[0].count; i++)
		assert_int_equal(actions[0].list[i].kind, actions[1].list[i].kind);
	assert_same_state(&states[0], &states[1]);
}

/* A tick, an answer, a kill or a return that arrives twice changes shares and latch once. */
static void an_event_that_arrives_twice_acts_once(struct table_rollout *table,
						  const struct rollout_event *event)
{
	enum rollout_event_kind kind = event->kind;
	uint32_t begun = table->state.begun;

	if (kind != EVENT_HOOK && kind != EVENT_KILLED && kind != EVENT_LEASE_EXPIRED)
		return;
	feed_event(table, *event);
	assert_int_equal(table->actions.count, 0);
	assert_int_equal(table->state.begun, begun);
}

static void run_sequence(struct observer *seen)
{
	struct table_rollout *table = table_rollout_new();
	struct judgement judgement = {.log_e = 5};
	uint32_t shares[RULES_MAX] = {0};

	make_plan(table, seen->random);
	for (int i = 0; i < EVENTS; i++) {
		struct rollout_event event = random_event(table, seen->random, &judgement, shares);
		struct rollout_state before = table->state;
		bool was_latched = table->is_latched;

		if (!random_below(seen->random, 4))
			a_feed_that_was_lost_is_fed_again(table, &event);
		if (feed_event(table, event)) {
			assert_same_state(&before, &table->state);
			continue;
		}
		if (event.kind == EVENT_START)
			table->has_lease = true;
		if (event.kind == EVENT_OVERRIDE)
			write_override(table, &event);
		observe_verb(table, &event, seen);
		nodata_never_promotes(table, &before, &event, seen);
		a_steps_effect_is_never_repeated(table, seen);
		rollback_is_armed(table, &before, &event);
		resume_lifts_every_pause(table, &before, &event, seen);
		a_latch_stays_until_start(table, &before, &event, was_latched);
		share_is_never_above_what_was_approved(table, seen);
		seen->met[table->state.phase]++;
		an_event_that_arrives_twice_acts_once(table, &event);
		seen->sequence = table->state.sequence;
		if (!random_below(seen->random, 3))
			restart(table);
	}
	table_rollout_free(table);
}

static void invariants_hold_over_random_events(void **state)
{
	struct random random = random_seeded("machine_random_test");
	struct observer seen = {.random = &random};
	uint32_t met[ROLLOUT_PHASES] = {0}, lifted = 0;

	(void)state;
	for (int i = 0; i < SEQUENCES; i++) {
		seen = (struct observer){.random = &random};
		run_sequence(&seen);
		for (size_t phase = 0; phase < ROLLOUT_PHASES; phase++)
			met[phase] += seen.met[phase];
		lifted += seen.lifted;
	}
	assert_true(lifted > SEQUENCES / 100);
	for (size_t phase = 0; phase < ROLLOUT_PHASES; phase++) {
		printf("%s: %u\n", rollout_phase_name(phase), met[phase]);
		if (phase != ROLLOUT_IDLE)
			assert_true(met[phase] > SEQUENCES / 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(invariants_hold_over_random_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
