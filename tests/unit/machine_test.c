// SPDX-License-Identifier: GPL-2.0-only
/* The rules of rollout/machine.h, one by one. Random sequences are in machine_random_test.c. */
#include "machine_fixture.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int make(void **state)
{
	*state = table_rollout_new();
	return 0;
}

static int unmake(void **state)
{
	table_rollout_free(*state);
	return 0;
}

static void assert_is(const struct table_rollout *table, enum rollout_phase phase,
		      enum rollout_wait wait)
{
	assert_string_equal(rollout_phase_name(table->state.phase), rollout_phase_name(phase));
	assert_int_equal(table->state.waiting_for, wait);
}

/* ---- steps ---- */

static void only_a_tick_raises_a_share(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_weight(table, NULL, 100000);
	start_rollout(table);
	assert_is(table, ROLLOUT_RUNNING, WAIT_NOTHING);
	assert_int_equal(table->shares[RULE_DEFAULT], 0);
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	assert_int_equal(find_note(table, "step")->step, 1);
	assert_int_equal(find_note(table, "step")->before_ppm, 0);
	assert_int_equal(find_note(table, "step")->after_ppm, 10000);
	assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), 0);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 100000);
}

static void a_change_of_share_begins_a_window_that_settles(void **state)
{
	struct table_rollout *table = *state;
	const struct rollout_action *window;

	add_weight(table, NULL, 10000);
	add_pause(table, 600000);
	start_rollout(table);
	assert_int_equal(find_action(table, ACTION_BEGIN_WINDOW)->window, 0);
	tick(table, VERDICT_NODATA);
	window = find_action(table, ACTION_BEGIN_WINDOW);
	assert_int_equal(window->window, 1);
	assert_true(window->settle);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(table->state.step, 1);
	assert_int_equal(table->state.window, 1);
}

static void a_window_ends_after_an_hour_and_its_flows_go_on(void **state)
{
	struct table_rollout *table = *state;
	const struct rollout_action *window;

	add_weight(table, NULL, 10000);
	add_approve(table);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, HOUR - SECOND, VERDICT_CONTINUE);
	assert_int_equal(table->state.window, 1);
	tick_for(table, SECOND, VERDICT_CONTINUE);
	window = find_action(table, ACTION_BEGIN_WINDOW);
	assert_int_equal(window->window, 2);
	assert_false(window->settle);
	assert_false(table->state.has_verdict);
}

static void a_weight_waits_for_settle_bake_and_verdict(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_RUNNING, WAIT_SETTLE);
	tick_for(table, 29 * SECOND, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_SETTLE);
	tick_for(table, SECOND, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_BAKE);
	tick_for(table, 10 * MINUTE - SECOND, VERDICT_PROMOTE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_BAKE);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	tick_for(table, SECOND, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
	assert_is(table, ROLLOUT_RUNNING, WAIT_SETTLE);
}

static void nodata_never_promotes(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_pause(table, 1000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick_for(table, 50 * MINUTE, VERDICT_NODATA);
	assert_int_equal(table->state.step, 0);
	assert_is(table, ROLLOUT_RUNNING, WAIT_BAKE);
	assert_string_not_equal(table->state.why, "");
	tick(table, VERDICT_CONTINUE);
	assert_int_equal(table->state.step, 1);
	/* A timed pause is over by the clock; what comes next is not. */
	tick_for(table, 5 * SECOND, VERDICT_NODATA);
	assert_int_equal(table->state.step, 2);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	tick(table, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
	tick_for(table, 50 * MINUTE, VERDICT_NODATA);
	assert_is(table, ROLLOUT_RUNNING, WAIT_BAKE);
}

static void a_judgement_of_another_window_passes_nothing_but_rolls_back(void **state)
{
	static struct judgement judgement = {.verdict = VERDICT_PROMOTE};
	struct table_rollout *table = *state;
	struct rollout_event event = {.kind = EVENT_TICK, .judgement = &judgement};

	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	pass(table, 20 * MINUTE);
	event.window = 0;
	assert_int_equal(feed_event(table, event), 0);
	assert_is(table, ROLLOUT_RUNNING, WAIT_BAKE);
	judgement.verdict = VERDICT_ROLLBACK;
	assert_int_equal(feed_event(table, event), 0);
	assert_is(table, ROLLOUT_ROLLED_BACK, WAIT_NOTHING);
}

static void a_pause_ends_by_its_duration(void **state)
{
	struct table_rollout *table = *state;

	add_pause(table, 60000);
	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_RUNNING, WAIT_PAUSE);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), -EINVAL);
	tick_for(table, 59 * SECOND, VERDICT_NODATA);
	assert_is(table, ROLLOUT_RUNNING, WAIT_PAUSE);
	tick_for(table, SECOND, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
}

static void a_pause_without_duration_waits_for_resume(void **state)
{
	struct table_rollout *table = *state;

	add_pause(table, 0);
	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, HOUR, VERDICT_NODATA);
	assert_is(table, ROLLOUT_WAITING, WAIT_PAUSE);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), 0);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), -EINVAL);
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
}

static void an_analysis_waits_for_promote(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_analysis(table, 7200000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_ANALYSIS);
	tick_for(table, 20 * MINUTE, VERDICT_CONTINUE);
	tick_for(table, 20 * MINUTE, VERDICT_NODATA);
	assert_is(table, ROLLOUT_RUNNING, WAIT_ANALYSIS);
	tick(table, VERDICT_PROMOTE);
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
}

static void an_analysis_without_a_critical_metric_waits_for_data_alone(void **state)
{
	struct table_rollout *table = *state;

	table->metric.critical = false;
	add_weight(table, NULL, 10000);
	add_pause(table, 60000);
	add_analysis(table, 7200000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	tick_for(table, 2 * MINUTE, VERDICT_NODATA);
	assert_is(table, ROLLOUT_RUNNING, WAIT_ANALYSIS);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	tick(table, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
}

static void an_analysis_without_end_is_inconclusive(void **state)
{
	struct table_rollout *table = *state;

	add_analysis(table, 60000);
	start_rollout(table);
	tick(table, VERDICT_CONTINUE);
	tick_for(table, MINUTE, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_ROLLED_BACK, WAIT_NOTHING);
	assert_int_equal(table->state.verdict, VERDICT_INCONCLUSIVE);
	assert_true(table->is_latched);
	assert_true(strstr(find_note(table, "rollback")->reason, "inconclusive") != NULL);
}

static void inconclusive_may_pause_and_resume_gives_the_time_again(void **state)
{
	struct table_rollout *table = *state;

	table->service.rollout.on_inconclusive = ON_VERDICT_PAUSE;
	add_analysis(table, 60000);
	start_rollout(table);
	tick(table, VERDICT_CONTINUE);
	tick_for(table, 2 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
	assert_int_equal(table->state.pause, PAUSE_INCONCLUSIVE);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), 0);
	tick_for(table, 59 * SECOND, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_ANALYSIS);
	tick_for(table, SECOND, VERDICT_CONTINUE);
	assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
}

static void resume_lifts_the_guards_pause_and_an_operators_over_it(void **state)
{
	static struct judgement judgement = {.verdict = VERDICT_CONTINUE, .asks_for_pause = true};
	struct table_rollout *table = *state;

	table->service.rollout.on_inconclusive = ON_VERDICT_PAUSE;
	add_analysis(table, 60000);
	start_rollout(table);
	tick(table, VERDICT_CONTINUE);
	assert_int_equal(feed_event(table, (struct rollout_event){.kind = EVENT_TICK,
								  .judgement = &judgement,
								  .window = table->state.window}),
			 0);
	assert_int_equal(table->state.pause, PAUSE_ASKED);
	assert_int_equal(feed_verb_of(table, EVENT_PAUSE), 0);
	assert_non_null(find_note(table, "paused"));
	assert_int_equal(table->state.pause, PAUSE_OPERATOR);
	assert_int_equal(feed_verb_of(table, EVENT_PAUSE), -EINVAL);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), 0);
	assert_int_equal(table->state.acknowledged, 1);
	/* And what was inconclusive has its time again. */
	tick_for(table, 2 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(table->state.pause, PAUSE_INCONCLUSIVE);
	assert_int_equal(feed_verb_of(table, EVENT_PAUSE), 0);
	tick_for(table, 10 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(table->state.pause, PAUSE_OPERATOR);
	assert_string_equal(table->state.by, "ann");
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), 0);
	tick_for(table, 59 * SECOND, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_ANALYSIS);
	assert_int_equal(table->state.acknowledged, 1);
}

static void assert_is_anns(struct table_rollout *table, enum verdict verdict)
{
	assert_int_equal(feed_verb_of(table, EVENT_PAUSE), 0);
	tick(table, verdict);
	tick(table, verdict);
	assert_null(find_note(table, "paused"));
	assert_false(table->actions.is_changed);
	assert_string_equal(table->state.by, "ann");
}

static void the_guard_does_not_pause_again_what_it_has_paused(void **state)
{
	struct table_rollout *table = *state;

	table->service.rollout.on_fail = ON_VERDICT_PAUSE;
	table->service.rollout.on_inconclusive = ON_VERDICT_PAUSE;
	table->service.rollout.max_duration_ms = 60000;
	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick_for(table, 2 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(table->state.pause, PAUSE_INCONCLUSIVE);
	assert_is_anns(table, VERDICT_CONTINUE);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), 0);
	tick(table, VERDICT_ROLLBACK);
	assert_int_equal(table->state.pause, PAUSE_FAILED);
	assert_is_anns(table, VERDICT_ROLLBACK);
}

static void a_state_that_knew_one_pause_only_is_read(void **state)
{
	struct table_rollout *table = *state;
	struct rollout_state read;
	json_t *json;

	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_int_equal(feed_verb_of(table, EVENT_PAUSE), 0);
	json = rollout_state_to_json(&table->state);
	json_object_del(json, "held");
	assert_int_equal(rollout_state_from_json(json, &read), 0);
	assert_int_equal(read.held, 1 << PAUSE_OPERATOR);
	json_object_set_new(json, "held", json_integer(1 << ROLLOUT_PAUSES));
	assert_int_equal(rollout_state_from_json(json, &read), -EINVAL);
	json_decref(json);
}

static void max_duration_is_inconclusive(void **state)
{
	struct table_rollout *table = *state;

	table->service.rollout.max_duration_ms = 60000;
	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick_for(table, 10 * SECOND, VERDICT_CONTINUE);
	assert_int_equal(feed_verb_of(table, EVENT_PAUSE), 0);
	tick_for(table, 49 * SECOND, VERDICT_CONTINUE);
	assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
	tick_for(table, SECOND, VERDICT_CONTINUE);
	assert_int_equal(table->state.phase, ROLLOUT_ROLLED_BACK);
}

static void approve_passes_its_gate_and_nothing_else(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_approve(table);
	add_pause(table, 60000);
	start_rollout(table);
	assert_int_equal(feed_verb_of(table, EVENT_APPROVE), -EINVAL);
	tick(table, VERDICT_NODATA);
	assert_int_equal(feed_verb_of(table, EVENT_APPROVE), -EINVAL);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_WAITING, WAIT_APPROVE);
	assert_string_equal(table->state.why, "capacity checked?");
	assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), -EINVAL);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), -EINVAL);
	tick_for(table, HOUR, VERDICT_PROMOTE);
	assert_is(table, ROLLOUT_WAITING, WAIT_APPROVE);
	assert_int_equal(feed_verb_of(table, EVENT_APPROVE), 0);
	assert_is(table, ROLLOUT_RUNNING, WAIT_NOTHING); /* it waits for nobody any more */
	assert_string_equal(table->state.why, "the daemon goes on");
	assert_int_equal(feed_verb_of(table, EVENT_APPROVE), -EINVAL);
	tick(table, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_PAUSE);
}

static void the_last_step_succeeds_and_its_share_stays(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_SUCCEEDED, WAIT_NOTHING);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	assert_false(table->has_lease);
	assert_false(table->is_latched);
	tick(table, VERDICT_ROLLBACK);
	assert_is(table, ROLLOUT_SUCCEEDED, WAIT_NOTHING);
	assert_false(table->actions.is_changed);
}

static void steps_go_segment_by_segment_and_touch_no_other_rule(void **state)
{
	struct table_rollout *table = *state;

	table->service.rules[RULE_LIGHT].base_ppm[1] = 70000;
	table->shares[RULE_LIGHT] = 70000;
	add_weight(table, "staff", 500000);
	add_weight(table, NULL, 10000);
	table->steps[0].has_weight = false; /* 100% */
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_STAFF], 1000000);
	assert_int_equal(table->shares[RULE_DEFAULT], 0);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	assert_int_equal(table->shares[RULE_STAFF], 1000000);
	assert_int_equal(table->shares[RULE_LIGHT], 70000);
	assert_false(table->has_live[RULE_LIGHT]);
}

static void a_share_may_be_lowered_by_a_step_without_data(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 100000);
	add_pause(table, 1000);
	add_weight(table, NULL, 10000)->lower = true;
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	tick_for(table, 10 * SECOND, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
}

/* ---- promote ---- */

static void promote_skips_the_rest_of_the_step(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_analysis(table, 7200000);
	add_pause(table, 0);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), 0);
		tick(table, VERDICT_NODATA);
		assert_int_equal(table->state.step, i + 1);
	}
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
	assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), 0);
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_SUCCEEDED, WAIT_NOTHING);
}

static void promote_full_begins_the_last_step_now(void **state)
{
	struct table_rollout *table = *state;
	struct rollout_event full = {
		.kind = EVENT_PROMOTE, .by = "ann", .reason = "", .full = true};

	add_weight(table, NULL, 10000);
	add_weight(table, "staff", 500000);
	add_weight(table, NULL, 20000);
	add_weight(table, NULL, 1000000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_int_equal(feed_event(table, full), 0);
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->state.step, 3);
	assert_int_equal(table->shares[RULE_DEFAULT], 1000000);
	assert_int_equal(table->shares[RULE_STAFF], 500000);
	assert_is(table, ROLLOUT_RUNNING, WAIT_SETTLE);
}

static void promote_full_passes_no_approve_step(void **state)
{
	struct table_rollout *table = *state;
	struct rollout_event full = {
		.kind = EVENT_PROMOTE, .by = "ann", .reason = "", .full = true};

	add_weight(table, NULL, 10000);
	add_approve(table);
	add_weight(table, NULL, 1000000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_int_equal(feed_event(table, full), -EINVAL);
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), 0);
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_WAITING, WAIT_APPROVE);
	assert_int_equal(feed_event(table, full), -EINVAL);
	assert_int_equal(feed_verb_of(table, EVENT_APPROVE), 0);
	assert_int_equal(feed_event(table, full), 0);
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 1000000);
}

static void promote_full_passes_no_approve_step_that_a_gate_holds(void **state)
{
	struct table_rollout *table = *state;
	struct rollout_event full = {
		.kind = EVENT_PROMOTE, .by = "ann", .reason = "", .full = true};

	add_hook(table, HOOK_BEFORE_STEP, true);
	add_approve(table);
	add_weight(table, NULL, 1000000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_WAITING, WAIT_HOOK);
	assert_int_equal(feed_event(table, full), -EINVAL);
}

static void promote_is_refused_on_rollback_and_invalid(void **state)
{
	struct table_rollout *table = *state;

	table->service.rollout.on_fail = ON_VERDICT_PAUSE;
	add_weight(table, NULL, 10000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick(table, VERDICT_INVALID);
	assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
	assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), -EINVAL);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), -EINVAL);
	tick(table, VERDICT_ROLLBACK);
	assert_int_equal(table->state.pause, PAUSE_FAILED);
	assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), -EINVAL);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), -EINVAL);
	tick(table, VERDICT_CONTINUE);
	assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
	assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), 0);
	tick(table, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
}

/* ---- holding ---- */

static void pause_holds_and_resume_goes_on_where_it_was(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 5 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(feed_verb_of(table, EVENT_PAUSE), 0);
	assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
	assert_string_equal(table->state.by, "ann");
	assert_int_equal(feed_verb_of(table, EVENT_PAUSE), -EINVAL);
	tick_for(table, 30 * MINUTE, VERDICT_PROMOTE);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), 0);
	tick_for(table, 5 * MINUTE + 29 * SECOND, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	tick_for(table, SECOND, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
}

static void invalid_pauses(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick(table, VERDICT_INVALID);
	assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
	assert_int_equal(table->state.pause, PAUSE_INVALID);
	assert_non_null(find_note(table, "paused"));
	tick_for(table, 10 * SECOND, VERDICT_INVALID);
	assert_false(table->is_latched);
	assert_null(find_note(table, "paused"));
}

static void a_pause_that_the_judge_asks_for_is_acknowledged_by_resume(void **state)
{
	static struct judgement judgement = {.verdict = VERDICT_CONTINUE, .asks_for_pause = true};
	struct table_rollout *table = *state;
	struct rollout_event event = {.kind = EVENT_TICK, .judgement = &judgement, .window = 1};

	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_int_equal(feed_event(table, event), 0);
	assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
	assert_int_equal(table->state.acknowledged, 0);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), 0);
	assert_int_equal(table->state.phase, ROLLOUT_RUNNING);
	assert_int_equal(table->state.acknowledged, 1);
}

static void max_load_holds_a_step(void **state)
{
	struct table_rollout *table = *state;

	table->service.rollout.max_load = 1.5;
	add_weight(table, NULL, 10000);
	add_weight(table, NULL, 5000)->lower = true;
	start_rollout(table);
	table->facts.load = 1.6;
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_RUNNING, WAIT_MAX_LOAD);
	assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), -EINVAL);
	table->facts.load = NAN;
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_RUNNING, WAIT_MAX_LOAD);
	assert_int_equal(table->shares[RULE_DEFAULT], 0);
	table->facts.load = 1.5;
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	/* Lowering needs no room. */
	table->facts.load = 9;
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 5000);
}

static void assert_step_says(struct table_rollout *table, double load, const char *expected)
{
	table->facts.load = load;
	pass(table, 11 * MINUTE);
	tick(table, VERDICT_CONTINUE);
	assert_string_equal(find_note(table, "step")->reason, expected);
}

static void without_max_load_a_step_goes_on_and_says_what_it_puts_on_the_canary(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_weight(table, NULL, 20000);
	add_weight(table, NULL, 30000);
	add_weight(table, NULL, 40000);
	add_weight(table, NULL, 5000)->lower = true;
	start_rollout(table);
	assert_step_says(table, 1, "weight 1%");
	assert_step_says(table, 1.25,
			 "weight 2%; a canary backend carries 1.25 times what one of the control "
			 "did at 0%");
	assert_step_says(table, NAN, "weight 3%");
	assert_step_says(table, INFINITY, "weight 4%; no backend of the canary takes new flows");
	assert_step_says(table, 9, "weight 0.5%");
}

static void drift_and_a_full_table_hold_promotion(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_analysis(table, 7200000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	table->facts.hold = "model adopters has drifted";
	tick_for(table, 20 * MINUTE, VERDICT_PROMOTE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_BAKE);
	assert_string_equal(table->state.why, "model adopters has drifted");
	table->facts.hold = NULL;
	tick(table, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_ANALYSIS);
	table->facts.hold = "model adopters has drifted";
	tick_for(table, 20 * MINUTE, VERDICT_PROMOTE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_ANALYSIS);
}

/* ---- gates ---- */

static void answer(struct table_rollout *table, size_t hook, bool ok)
{
	assert_int_equal(feed_event(table, (struct rollout_event){.kind = EVENT_HOOK,
								  .call = table->state.call,
								  .hook = hook,
								  .ok = ok}),
			 0);
}

static void a_gate_holds_the_step_until_it_says_yes(void **state)
{
	struct table_rollout *table = *state;

	add_hook(table, HOOK_BEFORE_STEP, true);
	add_hook(table, HOOK_BEFORE_STEP, false);
	add_weight(table, NULL, 10000);
	start_rollout(table);
	assert_int_equal(count_actions(table, ACTION_CALL_HOOK), 2);
	assert_string_equal(find_action(table, ACTION_CALL_HOOK)->note.event, "before_step");
	assert_int_equal(find_action(table, ACTION_CALL_HOOK)->note.after_ppm, 10000);
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_WAITING, WAIT_HOOK);
	/* Not its URL, which may hold a secret. */
	assert_string_equal(table->state.why, "the gate rollout/hooks/0 was asked");
	assert_int_equal(feed_verb_of(table, EVENT_PROMOTE), -EINVAL);
	answer(table, 1, true); /* is no gate */
	tick_for(table, MINUTE, VERDICT_NODATA);
	assert_is(table, ROLLOUT_WAITING, WAIT_HOOK);
	assert_int_equal(count_actions(table, ACTION_CALL_HOOK), 0);
	answer(table, 0, false);
	tick_for(table, 9 * SECOND, VERDICT_NODATA);
	assert_int_equal(count_actions(table, ACTION_CALL_HOOK), 0);
	tick_for(table, SECOND, VERDICT_NODATA);
	assert_int_equal(count_actions(table, ACTION_CALL_HOOK), 1);
	assert_int_equal(table->shares[RULE_DEFAULT], 0);
	answer(table, 0, true);
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
}

static void a_gate_after_the_step_holds_the_next_one(void **state)
{
	struct table_rollout *table = *state;

	add_hook(table, HOOK_AFTER_STEP, true);
	add_weight(table, NULL, 10000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 12 * MINUTE, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_WAITING, WAIT_HOOK);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	/* An answer to another call is none to this one. */
	assert_int_equal(feed_event(table, (struct rollout_event){.kind = EVENT_HOOK,
								  .call = table->state.call - 1,
								  .ok = true}),
			 0);
	tick(table, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	answer(table, 0, true);
	tick(table, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
}

static void hooks_are_told_of_success_and_of_every_way_back(void **state)
{
	static const enum rollout_event_kind ways[] = {EVENT_ABORT, EVENT_KILLED,
						       EVENT_LEASE_EXPIRED};
	static const char *const names[] = {"aborted", "killed", "lease_expired"};
	struct table_rollout *table = *state;

	add_hook(table, HOOK_ROLLBACK, false);
	add_hook(table, HOOK_SUCCESS, false);
	add_weight(table, NULL, 10000);
	for (size_t i = 0; i < 3; i++) {
		start_rollout(table);
		tick(table, VERDICT_NODATA);
		assert_int_equal(feed_verb_of(table, ways[i]), 0);
		assert_int_equal(count_actions(table, ACTION_CALL_HOOK), 1);
		assert_int_equal(find_action(table, ACTION_CALL_HOOK)->hook, 0);
		assert_string_equal(find_action(table, ACTION_CALL_HOOK)->note.event, names[i]);
	}
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 10 * MINUTE + 30 * SECOND, VERDICT_CONTINUE);
	assert_int_equal(count_actions(table, ACTION_CALL_HOOK), 1);
	assert_int_equal(find_action(table, ACTION_CALL_HOOK)->hook, 1);
	assert_string_equal(find_action(table, ACTION_CALL_HOOK)->note.event, "succeeded");
}

/* ---- ways back ---- */

/* Brings a fresh rollout to the situation of this number; false: there is no such one. */
static bool bring_to(struct table_rollout *table, int situation)
{
	static const enum rollout_phase phases[] = {
		ROLLOUT_RUNNING, ROLLOUT_RUNNING, ROLLOUT_RUNNING, ROLLOUT_PAUSED,  ROLLOUT_WAITING,
		ROLLOUT_RUNNING, ROLLOUT_RUNNING, ROLLOUT_WAITING, ROLLOUT_WAITING,
	};

	add_hook(table, HOOK_AFTER_STEP, situation == 8);
	add_weight(table, NULL, 10000);
	if (situation == 4)
		add_approve(table);
	else if (situation == 5)
		add_analysis(table, 7200000);
	else if (situation == 6)
		add_pause(table, 7200000);
	else if (situation == 7)
		add_pause(table, 0);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	if (situation)
		tick(table, VERDICT_NODATA); /* 1: settles */
	if (situation == 2)
		tick_for(table, MINUTE, VERDICT_NODATA); /* bakes */
	if (situation == 3)
		assert_int_equal(feed_verb_of(table, EVENT_PAUSE), 0);
	if (situation > 3)
		tick_for(table, 10 * MINUTE + 30 * SECOND, VERDICT_CONTINUE);
	if (situation > 8)
		return false;
	assert_int_equal(table->state.phase, phases[situation]);
	return true;
}

static void rollback_is_armed_in_every_state(void **state)
{
	for (int pauses = 0; pauses < 2; pauses++) {
		for (int situation = 0;; situation++) {
			struct table_rollout *table = table_rollout_new();
			const struct rollout_note *note;
			bool is_one = bring_to(table, situation);

			if (pauses)
				table->service.rollout.on_fail = ON_VERDICT_PAUSE;
			if (is_one)
				tick(table, VERDICT_ROLLBACK);
			if (is_one && pauses) {
				assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
				assert_false(table->is_latched);
				assert_string_equal(find_note(table, "paused")->metric,
						    "connect_failure");
				tick(table, VERDICT_ROLLBACK);
				assert_int_equal(table->actions.count, 0);
			} else if (is_one) {
				assert_int_equal(table->state.phase, ROLLOUT_ROLLED_BACK);
				assert_true(table->is_latched);
				assert_false(table->has_lease);
				note = find_note(table, "rollback");
				assert_string_equal(note->by, "guard");
				assert_string_equal(note->metric, "connect_failure");
				assert_true(note->log_e == 4.9);
				assert_int_equal(note->before_ppm, situation ? 10000 : 0);
				assert_int_equal(note->after_ppm, 0);
			}
			table_rollout_free(table);
			if (!is_one)
				break;
		}
	}
	(void)state;
}

static void a_canary_without_backends_is_rolled_back(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	table->facts.cohort_lost = true;
	start_rollout(table);
	/* Nobody is there yet: then it is not begun. */
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 0);
	assert_is(table, ROLLOUT_RUNNING, WAIT_NOTHING);
	table->facts.cohort_lost = false;
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	table->facts.cohort_lost = true;
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_ROLLED_BACK, WAIT_NOTHING);
}

static void abort_also_takes_back_what_has_succeeded(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	assert_int_equal(feed_verb_of(table, EVENT_ABORT), -EINVAL);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_int_equal(feed_verb_of(table, EVENT_ABORT), 0);
	assert_is(table, ROLLOUT_ABORTED, WAIT_NOTHING);
	assert_string_equal(table->state.by, "ann");
	assert_int_equal(feed_verb_of(table, EVENT_ABORT), -EINVAL);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_SUCCEEDED, WAIT_NOTHING);
	assert_int_equal(feed_verb_of(table, EVENT_ABORT), 0);
	assert_is(table, ROLLOUT_ABORTED, WAIT_NOTHING);
	assert_true(table->is_latched);
}

static void a_kill_of_one_that_has_succeeded_takes_it_back_and_it_can_be_tried_again(void **state)
{
	struct rollout_event retry = {.kind = EVENT_START, .is_retry = true, .id = 9, .by = "ann"};
	struct table_rollout *table = *state;

	add_hook(table, HOOK_ROLLBACK, false);
	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_SUCCEEDED, WAIT_NOTHING);
	/* It has no lease that could end. */
	assert_int_equal(feed_verb_of(table, EVENT_LEASE_EXPIRED), 0);
	assert_is(table, ROLLOUT_SUCCEEDED, WAIT_NOTHING);
	assert_int_equal(feed_verb_of(table, EVENT_KILLED), 0);
	assert_is(table, ROLLOUT_KILLED, WAIT_NOTHING);
	assert_string_equal(table->state.by, "ann");
	assert_int_equal(find_note(table, "killed")->before_ppm, 10000);
	assert_string_equal(find_action(table, ACTION_CALL_HOOK)->note.event, "killed");
	retry.is_latched = true;
	assert_int_equal(feed_event(table, retry), 0);
	assert_is(table, ROLLOUT_RUNNING, WAIT_NOTHING);
}

static void a_latch_is_lifted_by_start_and_retry_alone(void **state)
{
	static const enum rollout_event_kind others[] = {
		EVENT_PAUSE,	     EVENT_RESUME, EVENT_APPROVE, EVENT_PROMOTE, EVENT_KILLED,
		EVENT_LEASE_EXPIRED, EVENT_RETURN, EVENT_TICK,	  EVENT_HOOK,	 EVENT_OVERRIDE,
	};
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick(table, VERDICT_ROLLBACK);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		feed_verb_of(table, others[i]);
		assert_true(table->is_latched);
		assert_is(table, ROLLOUT_ROLLED_BACK, WAIT_NOTHING);
		assert_int_equal(table->actions.count, 0);
	}
	/* From step 1, with nothing that an earlier one has left. */
	start_rollout(table);
	assert_false(table->is_latched);
	assert_int_equal(table->state.id, 2);
	assert_int_equal(table->shares[RULE_DEFAULT], 0);
	assert_int_equal(table->state.step, 0);
	assert_int_equal(table->state.window, 0);
}

static void retry_is_of_what_went_back(void **state)
{
	struct table_rollout *table = *state;
	struct rollout_event retry = {.kind = EVENT_START, .is_retry = true, .id = 9, .by = "ann"};

	add_weight(table, NULL, 10000);
	assert_int_equal(feed_event(table, retry), -EINVAL);
	start_rollout(table);
	assert_int_equal(feed_event(table, retry), -EINVAL);
	assert_int_equal(feed_verb_of(table, EVENT_ABORT), 0);
	retry.is_latched = true;
	assert_int_equal(feed_event(table, retry), 0);
	assert_int_equal(table->state.id, 9);
	assert_is(table, ROLLOUT_RUNNING, WAIT_NOTHING);
}

static void start_keeps_a_share_below_its_first_step_and_drops_one_above(void **state)
{
	struct table_rollout *table = *state;

	table->service.rules[RULE_STAFF].base_ppm[1] = 1000;
	add_weight(table, NULL, 10000);
	add_weight(table, "staff", 20000);
	table->shares[RULE_DEFAULT] = 5000;
	table->shares[RULE_STAFF] = 900000;
	table->has_live[RULE_STAFF] = table->has_live[RULE_DEFAULT] = true;
	start_rollout(table);
	assert_int_equal(table->shares[RULE_DEFAULT], 5000);
	assert_int_equal(table->shares[RULE_STAFF], 1000);
	assert_int_equal(table->state.shares[0].ppm, 5000);
	assert_int_equal(table->state.shares[1].ppm, 1000);
}

/* Else it would fall to nothing, for as long as a gate says no. */
static void a_share_above_step_1_stays_until_that_begins(void **state)
{
	struct table_rollout *table = *state;

	add_hook(table, HOOK_BEFORE_STEP, true);
	add_weight(table, NULL, 10000);
	table->shares[RULE_DEFAULT] = 200000;
	table->has_live[RULE_DEFAULT] = true;
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_is(table, ROLLOUT_WAITING, WAIT_HOOK);
	assert_int_equal(table->shares[RULE_DEFAULT], 200000);
	answer(table, 0, true);
	tick(table, VERDICT_NODATA);
	assert_int_equal(table->shares[RULE_DEFAULT], 10000);
	assert_int_equal(find_note(table, "step")->before_ppm, 200000);
}

static void an_override_pauses_and_its_share_stays(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_int_equal(feed_event(table, (struct rollout_event){.kind = EVENT_OVERRIDE,
								  .by = "ann",
								  .rule = "default",
								  .ppm = 300}),
			 0);
	table->shares[RULE_DEFAULT] = 300;
	assert_int_equal(table->state.phase, ROLLOUT_PAUSED);
	assert_true(find_action(table, ACTION_BEGIN_WINDOW)->settle);
	assert_int_equal(find_note(table, "paused")->after_ppm, 300);
	tick_for(table, HOUR / 2, VERDICT_PROMOTE);
	assert_int_equal(table->shares[RULE_DEFAULT], 300);
	assert_int_equal(feed_verb_of(table, EVENT_RESUME), 0);
	tick_for(table, 11 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
}

/* ---- the daemon's absence ---- */

static void reboot(struct table_rollout *table, int64_t away_ns)
{
	table->now.boot++;
	table->now.monotonic_ns = 5 * SECOND;
	table->now.real_ns += away_ns;
	assert_int_equal(feed_event(table, (struct rollout_event){.kind = EVENT_RETURN}), 0);
}

static void after_a_boot_it_goes_on_where_it_was(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	tick_for(table, 5 * MINUTE, VERDICT_CONTINUE);
	reboot(table, 29 * SECOND);
	assert_int_equal(table->state.phase, ROLLOUT_RUNNING);
	assert_true(find_action(table, ACTION_BEGIN_WINDOW)->settle);
	/* 5:29 of the 10:30 are over. */
	tick_for(table, 5 * MINUTE, VERDICT_CONTINUE);
	assert_int_equal(table->state.phase, ROLLOUT_RUNNING);
	tick_for(table, SECOND, VERDICT_CONTINUE);
	assert_int_equal(table->state.phase, ROLLOUT_SUCCEEDED);
}

static void a_clock_that_went_back_over_a_boot_has_not_passed(void **state)
{
	struct table_rollout *table = *state;

	add_pause(table, 60000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	reboot(table, -(int64_t)(HOUR));
	tick_for(table, 59 * SECOND, VERDICT_NODATA);
	assert_is(table, ROLLOUT_RUNNING, WAIT_PAUSE);
	tick_for(table, SECOND, VERDICT_NODATA);
	assert_int_equal(table->state.phase, ROLLOUT_SUCCEEDED);
}

static void a_kernel_that_was_lost_begins_a_window(void **state)
{
	struct table_rollout *table = *state;
	struct rollout_event event = {.kind = EVENT_RETURN};

	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	assert_int_equal(feed_event(table, event), 0);
	assert_int_equal(table->state.window, 1);
	event.counts_lost = true;
	assert_int_equal(feed_event(table, event), 0);
	assert_int_equal(table->state.window, 2);
	assert_int_equal(table->state.phase, ROLLOUT_RUNNING);
}

static void a_tick_that_changes_nothing_may_be_forgotten(void **state)
{
	struct table_rollout *table = *state;
	struct rollout_state stored;

	add_weight(table, NULL, 10000);
	add_weight(table, NULL, 20000);
	start_rollout(table);
	tick(table, VERDICT_CONTINUE);
	stored = table->state;
	for (int i = 0; i < 10 * 60 + 30; i++) {
		assert_int_equal(table->shares[RULE_DEFAULT], 10000);
		table->state = stored; /* as whoever reads the store anew each time */
		tick_for(table, SECOND, VERDICT_CONTINUE);
		if (table->actions.is_changed)
			stored = table->state;
	}
	assert_int_equal(table->shares[RULE_DEFAULT], 20000);
	assert_true(stored.sequence < 8);
}

static void a_clock_that_is_set_moves_no_deadline(void **state)
{
	struct table_rollout *table = *state;

	add_weight(table, NULL, 10000);
	start_rollout(table);
	tick(table, VERDICT_NODATA);
	table->now.real_ns += 30 * 24 * HOUR;
	tick(table, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_SETTLE);
	table->now.real_ns -= 60 * 24 * HOUR;
	tick(table, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_SETTLE);
	tick_for(table, 31 * SECOND, VERDICT_CONTINUE);
	assert_is(table, ROLLOUT_RUNNING, WAIT_BAKE);
}

/* ---- load ---- */

static void load_is_that_of_a_unit_of_live_weight(void **state)
{
	const uint32_t shares[] = {500000, 0, 100000};
	const double traffic[] = {10, 30, 60}, none[] = {0, 0, 0};

	(void)state;
	/* 5 + 6 of 100 go to one backend, where four carried all. */
	assert_true(fabs(rollout_load(shares, traffic, 3, 100, 400) - 0.44) < 1e-12);
	assert_true(fabs(rollout_load(shares, traffic, 3, 50, 400) - 0.88) < 1e-12);
	/* Nothing is known: the greatest share of any rule. */
	assert_true(fabs(rollout_load(shares, none, 3, 100, 400) - 2) < 1e-12);
	assert_true(isinf(rollout_load(shares, traffic, 3, 0, 400)));
	assert_true(isnan(rollout_load(shares, traffic, 3, 100, 0)));
}

static void the_next_steps_shares_are_told_in_advance(void **state)
{
	struct table_rollout *table = *state;
	const uint32_t now[RULES_MAX] = {0, 70000, 10000};
	uint32_t next[RULES_MAX];

	add_weight(table, NULL, 10000);
	add_pause(table, 1000);
	add_weight(table, "staff", 500000);
	assert_false(rollout_next_shares(&table->service, &table->state, now, next));
	start_rollout(table);
	assert_true(rollout_next_shares(&table->service, &table->state, now, next));
	assert_int_equal(next[RULE_DEFAULT], 10000);
	tick(table, VERDICT_NODATA);
	assert_false(rollout_next_shares(&table->service, &table->state, now, next));
	tick_for(table, 10 * MINUTE + 30 * SECOND, VERDICT_CONTINUE);
	assert_int_equal(table->state.step, 1);
	assert_true(rollout_next_shares(&table->service, &table->state, now, next));
	assert_int_equal(next[RULE_STAFF], 500000);
	assert_int_equal(next[RULE_LIGHT], 70000);
	assert_int_equal(next[RULE_DEFAULT], 10000);
}

/* ---- JSON ---- */

static void a_state_that_is_no_state_is_refused(void **state)
{
	struct table_rollout *table = *state;
	struct rollout_state read;
	json_t *json;
	const char *key;
	json_t *value;

	add_weight(table, NULL, 10000);
	start_rollout(table);
	json = rollout_state_to_json(&table->state);
	assert_int_equal(rollout_state_from_json(json, &read), 0);
	json_object_foreach(json, key, value)
	{
		json_t *damaged = json_copy(json);

		json_object_del(damaged, key);
		if (strcmp(key, "held")) /* which is younger than the others */
			assert_int_equal(rollout_state_from_json(damaged, &read), -EINVAL);
		json_object_set_new(damaged, key, json_array());
		if (strcmp(key, "shares"))
			assert_int_equal(rollout_state_from_json(damaged, &read), -EINVAL);
		json_decref(damaged);
	}
	json_object_set_new(json, "phase", json_string("flying"));
	assert_int_equal(rollout_state_from_json(json, &read), -EINVAL);
	json_decref(json);
}

static void an_event_has_the_contracts_members(void **state)
{
	static const struct rollout_note note = {
		.event = "rollback",
		.time_ns = 1893553445 * SECOND,
		.step = 6,
		.metric = "connect_failure",
		.log_e = 4.9,
		.has_shares = true,
		.before_ppm = 10000,
		.by = "guard",
		.reason = "connect_failure 6.1 x control [2.9, 10.4]",
	};
	json_t *json = rollout_note_to_json(&note, "api", 3, 41);
	char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(4));

	(void)state;
	assert_string_equal(
		text,
		"{\"event\":\"rollback\",\"time\":\"2030-01-02T03:04:05Z\",\"service\":\"api\","
		"\"id\":3,\"step\":6,\"metric\":\"connect_failure\",\"log_e\":4.9,"
		"\"clients_affected\":41,\"before_ppm\":10000,\"after_ppm\":0,\"by\":\"guard\","
		"\"reason\":\"connect_failure 6.1 x control [2.9, 10.4]\"}");
	free(text);
	json_decref(json);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_a_tick_raises_a_share),
		TEST(a_change_of_share_begins_a_window_that_settles),
		TEST(a_window_ends_after_an_hour_and_its_flows_go_on),
		TEST(a_weight_waits_for_settle_bake_and_verdict),
		TEST(nodata_never_promotes),
		TEST(a_judgement_of_another_window_passes_nothing_but_rolls_back),
		TEST(a_pause_ends_by_its_duration),
		TEST(a_pause_without_duration_waits_for_resume),
		TEST(an_analysis_waits_for_promote),
		TEST(an_analysis_without_a_critical_metric_waits_for_data_alone),
		TEST(an_analysis_without_end_is_inconclusive),
		TEST(inconclusive_may_pause_and_resume_gives_the_time_again),
		TEST(resume_lifts_the_guards_pause_and_an_operators_over_it),
		TEST(the_guard_does_not_pause_again_what_it_has_paused),
		TEST(a_state_that_knew_one_pause_only_is_read),
		TEST(max_duration_is_inconclusive),
		TEST(approve_passes_its_gate_and_nothing_else),
		TEST(the_last_step_succeeds_and_its_share_stays),
		TEST(steps_go_segment_by_segment_and_touch_no_other_rule),
		TEST(a_share_may_be_lowered_by_a_step_without_data),
		TEST(promote_skips_the_rest_of_the_step),
		TEST(promote_full_begins_the_last_step_now),
		TEST(promote_full_passes_no_approve_step),
		TEST(promote_full_passes_no_approve_step_that_a_gate_holds),
		TEST(promote_is_refused_on_rollback_and_invalid),
		TEST(pause_holds_and_resume_goes_on_where_it_was),
		TEST(invalid_pauses),
		TEST(a_pause_that_the_judge_asks_for_is_acknowledged_by_resume),
		TEST(max_load_holds_a_step),
		TEST(without_max_load_a_step_goes_on_and_says_what_it_puts_on_the_canary),
		TEST(drift_and_a_full_table_hold_promotion),
		TEST(a_gate_holds_the_step_until_it_says_yes),
		TEST(a_gate_after_the_step_holds_the_next_one),
		TEST(hooks_are_told_of_success_and_of_every_way_back),
		TEST(rollback_is_armed_in_every_state),
		TEST(a_canary_without_backends_is_rolled_back),
		TEST(abort_also_takes_back_what_has_succeeded),
		TEST(a_kill_of_one_that_has_succeeded_takes_it_back_and_it_can_be_tried_again),
		TEST(a_latch_is_lifted_by_start_and_retry_alone),
		TEST(retry_is_of_what_went_back),
		TEST(start_keeps_a_share_below_its_first_step_and_drops_one_above),
		TEST(a_share_above_step_1_stays_until_that_begins),
		TEST(an_override_pauses_and_its_share_stays),
		TEST(after_a_boot_it_goes_on_where_it_was),
		TEST(a_clock_that_went_back_over_a_boot_has_not_passed),
		TEST(a_kernel_that_was_lost_begins_a_window),
		TEST(a_tick_that_changes_nothing_may_be_forgotten),
		TEST(a_clock_that_is_set_moves_no_deadline),
		TEST(load_is_that_of_a_unit_of_live_weight),
		TEST(the_next_steps_shares_are_told_in_advance),
		TEST(a_state_that_is_no_state_is_refused),
		TEST(an_event_has_the_contracts_members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
