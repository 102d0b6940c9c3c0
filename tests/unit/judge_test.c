// SPDX-License-Identifier: GPL-2.0-only
/*
 * The judge: what it says of counts, and goes on saying. Each test makes the counts of a window by
 * hand; whole rollouts of many are in tests/simulate.
 */
#include "guard/judge.h"
#include "tests/random.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NS_A_SECOND  UINT64_C(1000000000)
#define CONTROL	     TRACK_CONTROL
#define CANARY	     TRACK_CANARY

/* A rollout with one rule at 5%: a fifth of the followed are the canary's. */
struct court {
	struct rollout rollout;
	struct rollout_metric metrics[ROLLOUT_METRICS_MAX];
	struct judge judge;
	struct judge_rule rules[2];
	struct judge_input input;
	struct judgement said;
	uint64_t now_ns;
};

static struct rollout_metric *add_metric(struct court *court, const char *name)
{
	struct rollout_metric *metric = &court->metrics[court->rollout.metrics_count++];

	*metric = (struct rollout_metric){.source = SOURCE_KERNEL, .weight = 1};
	snprintf(metric->name, sizeof(metric->name), "%s", name);
	metric->kernel = kernel_metric_by_name(name);
	metric->critical = metric->kernel <= METRIC_RETRANSMISSION;
	return metric;
}

static void begin_window(struct court *court, uint32_t window, bool changed)
{
	memset(court->rules, 0, sizeof(court->rules));
	court->rules[0].pi = .2;
	judge_begin_window(&court->judge, window, changed, court->now_ns);
}

/* Of the metrics with these names, up to NULL. */
static void begin(struct court *court, ...)
{
	va_list names;
	const char *name;

	*court = (struct court){.now_ns = 1000 * NS_A_SECOND};
	court->rollout.guard = (struct guard_options){.01, .05, 1.1, 2, 4};
	court->rollout.metrics = court->metrics;
	va_start(names, court);
	while ((name = va_arg(names, const char *)))
		add_metric(court, name);
	va_end(names);
	court->input = (struct judge_input){.rules = court->rules, .rules_count = 1};
	judge_init(&court->judge, &court->rollout);
	begin_window(court, 0, true);
}

static void clients(struct court *court, uint64_t canary, uint64_t control)
{
	court->rules[0].arms[CANARY].clients = court->rules[0].arms[CANARY].ended = canary;
	court->rules[0].arms[CONTROL].clients = court->rules[0].arms[CONTROL].ended = control;
}

static void events(struct court *court, enum kernel_metric metric, uint64_t canary,
		   uint64_t control)
{
	court->rules[0].arms[CANARY].events[metric] = canary;
	court->rules[0].arms[CONTROL].events[metric] = control;
}

static void sights(struct court *court, uint64_t canary, uint64_t control)
{
	court->rules[0].arms[CANARY].sights = canary;
	court->rules[0].arms[CONTROL].sights = control;
}

static bool look(struct court *court)
{
	court->now_ns += NS_A_SECOND;
	return judge_look(&court->judge, &court->input, court->now_ns, &court->said);
}

/* The next look is so far from the last that what comes did not come at once. */
static void a_minute_later(struct court *court)
{
	court->now_ns += 60 * NS_A_SECOND;
}

static void says(struct court *court, enum verdict verdict, const char *reason)
{
	look(court);
	if (court->said.verdict != verdict || !strstr(court->said.reason, reason))
		fail_msg("%s \"%s\", not %s \"%s\"", verdict_name(court->said.verdict),
			 court->said.reason, verdict_name(verdict), reason);
}

/* So many of control's @n events that the canary is just not, or just, over the threshold. */
static uint64_t least_to_roll_back(uint64_t control, double level, uint32_t window, double margin)
{
	struct guard_stratum stratum = {0, control, .2};

	while (guard_log_e(&stratum, 1, margin) < guard_log_threshold(window, level)) {
		stratum.k++;
		stratum.n++;
	}
	return stratum.k;
}

/* ---- rollback ---- */

static void what_is_worse_than_control_is_rolled_back_and_the_reason_says_by_how_much(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "syn_repeated", "connect_failure", NULL);
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, 3, 11);
	says(&court, VERDICT_CONTINUE, "2 of 2 metrics below promote threshold");
	assert_string_equal(court.said.metric, "");
	assert_true(isnan(court.said.log_e));
	events(&court, METRIC_CONNECT_FAILURE, 41, 27);
	says(&court, VERDICT_ROLLBACK, "connect_failure 6.1 x control [");
	assert_string_equal(court.said.metric, "connect_failure");
	assert_true(court.said.log_e > log(2 * 2 / .01));
	assert_int_equal(court.said.metrics[0].verdict, VERDICT_CONTINUE);
	assert_int_equal(court.said.metrics[1].verdict, VERDICT_ROLLBACK);
	assert_int_equal(court.said.metrics[1].canary_clients, 3000);
	assert_int_equal(court.said.metrics[1].canary_events, 41);
	assert_int_equal(court.said.metrics[1].control_events, 27);
	assert_true(fabs(court.said.metrics[1].psi - 41 * 4 / 27.) < 1e-9);
	assert_true(court.said.metrics[1].low > 1 && court.said.metrics[1].high > 6.1);
}

static void a_metric_that_crossed_stays_crossed(void **state)
{
	char reason[REASON_SIZE];
	struct court court;
	double log_e;

	(void)state;
	begin(&court, "connect_failure", NULL);
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, 41, 27);
	assert_true(look(&court));
	snprintf(reason, sizeof(reason), "%s", court.said.reason);
	log_e = court.said.log_e;
	assert_false(look(&court)); /* nothing new to store */
	events(&court, METRIC_CONNECT_FAILURE, 41, 2700);
	says(&court, VERDICT_ROLLBACK, reason);
	begin_window(&court, 1, false);
	says(&court, VERDICT_ROLLBACK, reason);
	begin_window(&court, 2, true);
	clients(&court, 3000, 12000);
	says(&court, VERDICT_ROLLBACK, reason);
	assert_true(court.said.log_e == log_e);
}

static void each_window_has_a_threshold_of_its_own(void **state)
{
	uint64_t first = least_to_roll_back(30, .01, 0, 1.1);
	uint64_t tenth = least_to_roll_back(30, .01, 10, 1.1);
	struct court court;

	(void)state;
	assert_true(first < tenth);
	begin(&court, "connect_failure", NULL);
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, first - 1, 30);
	says(&court, VERDICT_CONTINUE, "");
	begin_window(&court, 10, false);
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, tenth - 1, 30);
	says(&court, VERDICT_CONTINUE, "");
	events(&court, METRIC_CONNECT_FAILURE, tenth, 30);
	says(&court, VERDICT_ROLLBACK, "");
	begin(&court, "connect_failure", NULL);
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, first, 30);
	says(&court, VERDICT_ROLLBACK, "");
}

/* Windows are never multiplied: what the last one had does not help this one. */
static void evidence_of_two_windows_is_not_added_up(void **state)
{
	uint64_t nearly = least_to_roll_back(30, .01, 0, 1.1) - 1;
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	for (uint32_t window = 0; window < 20; window++) {
		begin_window(&court, window, false);
		clients(&court, 3000, 12000);
		events(&court, METRIC_CONNECT_FAILURE, nearly, 30);
		says(&court, VERDICT_CONTINUE, "");
	}
}

/* Simpson: the canary's clients are mostly of the rule that fails more for everybody. */
static void rules_are_strata(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	court.input.rules_count = 2;
	court.rules[0].pi = .8;
	court.rules[1].pi = .05;
	clients(&court, 8000, 2000);
	events(&court, METRIC_CONNECT_FAILURE, 800, 200);
	court.rules[1].arms[CANARY] = (struct track_counts){.clients = 500};
	court.rules[1].arms[CONTROL] = (struct track_counts){.clients = 9500};
	court.rules[1].arms[CANARY].events[METRIC_CONNECT_FAILURE] = 5;
	court.rules[1].arms[CONTROL].events[METRIC_CONNECT_FAILURE] = 95;
	says(&court, VERDICT_PROMOTE, "");
	assert_true(fabs(court.said.metrics[0].psi - 1) < 1e-9);
	assert_int_equal(court.said.metrics[0].canary_clients, 8500);
}

static void weights_are_scaled_to_parts_of_alpha(void **state)
{
	/* 1, 1, .5 and a command, which takes none: .4 .4 .2 of alpha. */
	uint64_t needs = least_to_roll_back(30, .01 * .2, 0, 1.1);
	struct court court;

	(void)state;
	begin(&court, "syn_repeated", "unanswered", "connect_failure", "check", NULL);
	court.metrics[2].weight = .5;
	court.metrics[3].source = SOURCE_COMMAND;
	court.metrics[3].critical = false;
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, needs - 1, 30);
	says(&court, VERDICT_CONTINUE, "");
	events(&court, METRIC_CONNECT_FAILURE, needs, 30);
	says(&court, VERDICT_ROLLBACK, "connect_failure");
}

static void all_backends_lost_is_a_rollback_by_itself(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	court.input.backends_lost = true;
	says(&court, VERDICT_ROLLBACK, "all backends of the canary are lost");
	assert_string_equal(court.said.metric, "");
}

/* ---- limits ---- */

static void where_no_control_is_left_a_limit_alone_is_armed(void **state)
{
	struct court court;
	uint64_t k = 0;

	(void)state;
	begin(&court, "connect_failure", NULL);
	court.rules[0].pi = 1;
	clients(&court, 3000, 0);
	events(&court, METRIC_CONNECT_FAILURE, 900, 0);
	says(&court, VERDICT_CONTINUE, "");
	assert_string_equal(court.said.metrics[0].reason,
			    "no control is left to compare with, and it has no max_rate");
	assert_int_equal(court.said.armed, ARMED_NONE);
	court.metrics[0].has_max_rate = true;
	court.metrics[0].max_rate_ppm = 10000;
	while (guard_log_e_absolute(k, 3000, .01) < guard_log_threshold(0, .01))
		k++;
	events(&court, METRIC_CONNECT_FAILURE, k - 1, 0);
	says(&court, VERDICT_CONTINUE, "");
	assert_int_equal(court.said.armed, ARMED_ABSOLUTE);
	events(&court, METRIC_CONNECT_FAILURE, k, 0);
	says(&court, VERDICT_ROLLBACK, "clients of the canary, max_rate 1%");
}

static const struct metric_judgement *said_of(const struct court *court, const char *name)
{
	for (size_t i = 0; i < court->said.metrics_count; i++)
		if (!strcmp(court->said.metrics[i].name, name))
			return &court->said.metrics[i];
	fail_msg("nothing is said of %s", name);
	return NULL;
}

static void counts(const struct court *court, const char *name, uint64_t canary_clients,
		   uint64_t canary_events, uint64_t control_clients, uint64_t control_events)
{
	const struct metric_judgement *said = said_of(court, name);

	assert_int_equal(said->canary_clients, canary_clients);
	assert_int_equal(said->canary_events, canary_events);
	assert_int_equal(said->control_clients, control_clients);
	assert_int_equal(said->control_events, control_events);
}

static void where_no_control_is_left_the_canarys_counts_are_shown(void **state)
{
	struct guard_stratum complaints = {7, 7, 1};
	struct judge_window window = {0, &complaints, NULL, 1};
	struct court court;

	(void)state;
	begin(&court, "connect_failure", "respond_time", "complaints", NULL);
	court.metrics[0].has_max_rate = true;
	court.metrics[0].max_rate_ppm = 10000;
	court.metrics[2].source = SOURCE_FEEDBACK;
	court.input.windows[2] = (struct judge_windows){&window, 1};
	court.rules[0].pi = 1;
	clients(&court, 200, 0);
	sights(&court, 210, 0);
	events(&court, METRIC_CONNECT_FAILURE, 41, 0);
	says(&court, VERDICT_ROLLBACK, "41 of 200 clients of the canary, max_rate 1%");
	counts(&court, "connect_failure", 200, 41, 0, 0);
	counts(&court, "respond_time", 200, 0, 0, 0);
	counts(&court, "complaints", 200, 7, 0, 0);
	counts(&court, SAMPLE_RATIO_NAME, 210, 210, 0, 0);
	assert_string_equal(said_of(&court, SAMPLE_RATIO_NAME)->reason,
			    "no control is left to compare with");
}

/* What is said of the comparison is of the rule that has one. */
static void a_rule_without_control_is_shown_and_not_compared(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	court.input.rules_count = 2;
	clients(&court, 50, 200);
	court.rules[1].pi = 1;
	court.rules[1].arms[CANARY].clients = 300;
	court.rules[1].arms[CANARY].events[METRIC_CONNECT_FAILURE] = 90;
	says(&court, VERDICT_CONTINUE, "");
	counts(&court, "connect_failure", 350, 90, 200, 0);
	assert_string_equal(court.said.metrics[0].reason,
			    "no event of 50 clients of the canary and 200 of control");
	events(&court, METRIC_CONNECT_FAILURE, 2, 0);
	look(&court);
	assert_non_null(strstr(court.said.metrics[0].reason, "(2 clients, none of control)"));
	/* A control without a canary's clients beside it is no data, whoever is elsewhere. */
	clients(&court, 0, 200);
	events(&court, METRIC_CONNECT_FAILURE, 0, 50);
	says(&court, VERDICT_NODATA, "connect_failure no client of the canary for ");
}

static void what_is_not_counted_is_not_said_to_be_none(void **state)
{
	struct guard_stratum pairs = {30, 150, .2};
	struct judge_window window = {0, &pairs, NULL, 1};
	struct court court;
	json_t *json, *canary;

	(void)state;
	begin(&court, "http-5xx", "check", NULL);
	court.metrics[0].source = SOURCE_PROMETHEUS;
	court.metrics[0].query_control = (char *)"sum(x)";
	court.metrics[1].source = SOURCE_COMMAND;
	court.input.windows[0] = (struct judge_windows){&window, 1};
	look(&court);
	counts(&court, "http-5xx", COUNT_UNKNOWN, 30, COUNT_UNKNOWN, 120);
	counts(&court, "check", COUNT_UNKNOWN, COUNT_UNKNOWN, COUNT_UNKNOWN, COUNT_UNKNOWN);
	json = metric_judgement_to_json(&court.said.metrics[0]);
	canary = json_object_get(json, "canary");
	assert_true(json_is_null(json_object_get(canary, "clients")));
	assert_int_equal(json_integer_value(json_object_get(canary, "events")), 30);
	json_decref(json);
}

static void a_comparison_and_a_limit_share_the_metrics_part_of_alpha(void **state)
{
	uint64_t needs = least_to_roll_back(3000, .005, 0, 1.1), k = 0;
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	court.metrics[0].has_max_rate = true;
	court.metrics[0].max_rate_ppm = 900000;
	court.metrics[0].critical = false;
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, needs - 1, 3000);
	says(&court, VERDICT_CONTINUE, "");
	events(&court, METRIC_CONNECT_FAILURE, needs, 3000);
	says(&court, VERDICT_ROLLBACK, "");
	/* Control is as bad, so the limit alone has something to say. */
	begin(&court, "connect_failure", NULL);
	court.metrics[0].has_max_rate = true;
	court.metrics[0].max_rate_ppm = 10000;
	clients(&court, 3000, 12000);
	while (guard_log_e_absolute(k, 3000, .01) < guard_log_threshold(0, .005))
		k++;
	events(&court, METRIC_CONNECT_FAILURE, k - 1, 4 * k);
	says(&court, VERDICT_CONTINUE, "");
	events(&court, METRIC_CONNECT_FAILURE, k, 4 * k);
	says(&court, VERDICT_ROLLBACK, "max_rate 1%");
}

static void clients_are_clean_once_their_first_flow_has_ended_or_the_bake_is_over(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	court.metrics[0].has_max_rate = true;
	court.metrics[0].max_rate_ppm = 10000;
	clients(&court, 435, 1700);
	court.rules[0].arms[CANARY].ended = 434;
	says(&court, VERDICT_CONTINUE, "1 of 1 metrics below promote threshold");
	court.rules[0].arms[CANARY].ended = 435;
	says(&court, VERDICT_PROMOTE, "all 1 critical metrics have passed");
	/* In window 5 it takes 42/beta, not 2/beta. */
	begin_window(&court, 5, true);
	clients(&court, 435, 1700);
	says(&court, VERDICT_CONTINUE, "");
	begin_window(&court, 0, true);
	clients(&court, 435, 1700);
	court.rules[0].arms[CANARY].ended = 0;
	says(&court, VERDICT_CONTINUE, "");
	court.input.bake_is_over = true;
	says(&court, VERDICT_PROMOTE, "");
}

static void what_is_beyond_its_limit_is_not_promoted_for_being_as_good_as_control(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	court.metrics[0].has_max_rate = true;
	court.metrics[0].max_rate_ppm = 10000;
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, 31, 124);
	says(&court, VERDICT_CONTINUE, "1 of 1");
	events(&court, METRIC_CONNECT_FAILURE, 30, 124);
	says(&court, VERDICT_PROMOTE, "");
}

static void armed_is_what_guards_the_rule_that_is_guarded_least(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	court.input.rules_count = 2;
	look(&court);
	assert_int_equal(court.said.armed, ARMED_RELATIVE);
	court.rules[1].pi = 1;
	look(&court);
	assert_int_equal(court.said.armed, ARMED_NONE);
	court.metrics[0].has_max_rate = true;
	look(&court);
	assert_int_equal(court.said.armed, ARMED_ABSOLUTE);
	court.rules[0].pi = court.rules[1].pi = 0; /* nobody is in the canary yet */
	look(&court);
	assert_int_equal(court.said.armed, ARMED_RELATIVE);
}

static void a_metric_that_the_kernel_cannot_see_arms_nothing_and_promotes_nothing(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	court.metrics[0].is_blind = true;
	court.metrics[0].has_max_rate = true;
	look(&court);
	assert_int_equal(court.said.armed, ARMED_NONE);
	court.rules[0].pi = 1;
	look(&court);
	assert_int_equal(court.said.armed, ARMED_NONE);
	assert_int_equal(court.said.verdict, VERDICT_NODATA);
}

/* ---- promotion ---- */

static void promotion_needs_every_critical_metric_in_one_window_of_the_step(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", "unanswered", "quit", NULL);
	court.metrics[2].critical = false;
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, 30, 120);
	says(&court, VERDICT_CONTINUE, "1 of 2 metrics below promote threshold");
	assert_int_equal(court.said.metrics[0].verdict, VERDICT_PROMOTE);
	/* What one window has said holds in the next ones of the step. */
	begin_window(&court, 1, false);
	clients(&court, 3000, 12000);
	says(&court, VERDICT_CONTINUE, "1 of 2 metrics below promote threshold");
	events(&court, METRIC_UNANSWERED, 30, 120);
	says(&court, VERDICT_PROMOTE, "all 2 critical metrics have passed");
	/* Other clients are in the canary after a change of share. */
	begin_window(&court, 2, true);
	clients(&court, 3000, 12000);
	events(&court, METRIC_UNANSWERED, 30, 120);
	says(&court, VERDICT_CONTINUE, "1 of 2 metrics below promote threshold");
}

static void windows_that_pass_nothing_together_pass_nothing(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	for (uint32_t window = 0; window < 20; window++) {
		begin_window(&court, window, false);
		clients(&court, 3000, 12000);
		events(&court, METRIC_CONNECT_FAILURE, 5, 20);
		says(&court, VERDICT_CONTINUE, "");
	}
}

static void no_data_never_passes(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	says(&court, VERDICT_NODATA, "connect_failure no client of the canary for 1 s");
	/* Control alone fails: as if the canary did better, but nobody has seen it. */
	clients(&court, 0, 12000);
	events(&court, METRIC_CONNECT_FAILURE, 0, 1200);
	says(&court, VERDICT_NODATA, "connect_failure no client of the canary for 2 s");
	court.rules[0].pi = 0;
	says(&court, VERDICT_NODATA, "no client of the canary");
	court.rules[0].pi = .2;
	clients(&court, 300, 0);
	events(&court, METRIC_CONNECT_FAILURE, 0, 0);
	says(&court, VERDICT_NODATA, "no client of control");
}

static void where_nothing_is_critical_nothing_promotes(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "quit", NULL);
	court.metrics[0].critical = false;
	clients(&court, 3000, 12000);
	says(&court, VERDICT_CONTINUE, "no metric is critical");
}

static void where_nothing_is_critical_no_data_of_any_metric_is_no_data(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "quit", "respond_time", NULL);
	court.metrics[0].critical = false;
	court.rules[0].pi = .2;
	says(&court, VERDICT_NODATA, "no metric has data");
	clients(&court, 3000, 12000);
	says(&court, VERDICT_CONTINUE, "no metric is critical");
}

static void a_cohort_that_fell_back_is_no_data_and_its_window_passes_nothing(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	clients(&court, 3000, 12000);
	court.input.has_fallen_back = true;
	says(&court, VERDICT_NODATA, "the canary's clients go to control for now");
	court.input.has_fallen_back = false;
	events(&court, METRIC_CONNECT_FAILURE, 30, 120);
	says(&court, VERDICT_CONTINUE, "");
	/* Not so rollback. */
	events(&court, METRIC_CONNECT_FAILURE, 200, 120);
	court.input.has_fallen_back = true;
	says(&court, VERDICT_ROLLBACK, "connect_failure");
	begin(&court, "connect_failure", NULL);
	begin_window(&court, 1, false);
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, 30, 120);
	says(&court, VERDICT_PROMOTE, "");
}

static void clients_without_room_block_promotion_and_are_told_of(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, 30, 120);
	court.input.overflow = 12;
	says(&court, VERDICT_CONTINUE, "promotion is held: 12 clients found no room");
	assert_int_equal(court.said.metrics[0].verdict, VERDICT_CONTINUE); /* it passes nothing */
	court.input.overflow = 0;
	says(&court, VERDICT_PROMOTE, "");
	court.input.overflow = 12;
	says(&court, VERDICT_CONTINUE, "promotion is held: 12 clients found no room");
	events(&court, METRIC_CONNECT_FAILURE, 200, 120);
	says(&court, VERDICT_ROLLBACK, "");
}

static void drift_of_a_model_holds_promotion(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, 30, 120);
	court.input.has_drifted = true;
	says(&court, VERDICT_CONTINUE, "promotion is held: clients have drifted");
	court.input.has_drifted = false;
	says(&court, VERDICT_PROMOTE, "");
}

/* ---- the sample ratio ---- */

static void a_wrong_sample_ratio_is_invalid_until_the_next_change_of_share(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	clients(&court, 3000, 12000);
	sights(&court, 20000, 80000);
	says(&court, VERDICT_CONTINUE, "");
	sights(&court, 22000, 80000);
	says(&court, VERDICT_INVALID, "sample_ratio 1.100 x the clients that its share gives [");
	assert_int_equal(court.said.metrics[1].verdict, VERDICT_INVALID);
	/* Nor does it promote, or hide a rollback. */
	events(&court, METRIC_CONNECT_FAILURE, 30, 120);
	says(&court, VERDICT_INVALID, "");
	begin_window(&court, 1, false);
	says(&court, VERDICT_INVALID, "sample_ratio 1.100 x");
	events(&court, METRIC_CONNECT_FAILURE, 200, 120);
	says(&court, VERDICT_ROLLBACK, "connect_failure");
	begin(&court, "connect_failure", NULL);
	sights(&court, 22000, 80000);
	says(&court, VERDICT_INVALID, "");
	begin_window(&court, 1, true);
	says(&court, VERDICT_NODATA, "");
}

static void only_the_first_window_after_a_change_of_share_tells_the_sample_ratio(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	clients(&court, 3000, 12000);
	sights(&court, 20000, 80000);
	says(&court, VERDICT_CONTINUE, "");
	begin_window(&court, 1, false);
	clients(&court, 3000, 12000);
	sights(&court, 40000, 80000);
	says(&court, VERDICT_CONTINUE, "");
	assert_true(isnan(court.said.metrics[1].log_e));
}

static void a_sample_ratio_off_by_less_than_2_percent_is_not_minded(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	clients(&court, 3000, 12000);
	sights(&court, 20000000 * 1.019, 80000000);
	says(&court, VERDICT_CONTINUE, "");
	assert_true(court.said.metrics[1].log_e > log(2000));
	sights(&court, 20000000 * 1.021, 80000000);
	says(&court, VERDICT_INVALID, "");
}

/* ---- metrics that tell little ---- */

static void what_most_of_control_has_is_uninformative_and_left_out(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "unanswered", "connect_failure", NULL);
	clients(&court, 3000, 12000);
	events(&court, METRIC_CONNECT_FAILURE, 30, 120);
	events(&court, METRIC_UNANSWERED, 2900, 3601);
	says(&court, VERDICT_PROMOTE, "all 1 critical metrics");
	assert_true(court.said.metrics[0].left_out);
	assert_non_null(
		strstr(court.said.metrics[0].reason, "uninformative here, left out: 3601 of"));
	/* So it stays while a window is too young to tell. */
	begin_window(&court, 1, false);
	clients(&court, 30, 99);
	events(&court, METRIC_UNANSWERED, 30, 0);
	says(&court, VERDICT_PROMOTE, "");
	assert_true(court.said.metrics[0].left_out);
	clients(&court, 3000, 12000);
	events(&court, METRIC_UNANSWERED, 2900, 3600);
	says(&court, VERDICT_ROLLBACK, "unanswered");
}

static void informational_metrics_never_roll_back_unless_the_file_asks_for_it(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "client_reset", NULL);
	court.metrics[0].critical = false;
	clients(&court, 3000, 12000);
	events(&court, METRIC_CLIENT_RESET, 2000, 120);
	says(&court, VERDICT_CONTINUE, "");
	assert_true(court.said.metrics[0].log_e > 100);
	assert_false(court.said.asks_for_pause);
	court.metrics[0].critical = true;
	says(&court, VERDICT_ROLLBACK, "client_reset");
	begin(&court, "client_reset", NULL);
	court.metrics[0].critical = false;
	court.metrics[0].weight = .5;
	clients(&court, 3000, 12000);
	events(&court, METRIC_CLIENT_RESET, 2000, 120);
	says(&court, VERDICT_ROLLBACK, "client_reset");
}

/* Sizes of 2^10 in both arms, then errors of 2^7 from the canary. */
static void send_short_answers(struct court *court)
{
	court->rules[0].arms[CONTROL].first_samples[SAMPLE_RESPONSE_SIZE][10] = 600;
	court->rules[0].arms[CANARY].first_samples[SAMPLE_RESPONSE_SIZE][10] = 150;
	look(court);
	court->rules[0].arms[CONTROL].first_samples[SAMPLE_RESPONSE_SIZE][10] = 800;
	court->rules[0].arms[CONTROL].first_samples[SAMPLE_RESPONSE_SIZE][11] = 800;
	court->rules[0].arms[CANARY].first_samples[SAMPLE_RESPONSE_SIZE][7] = 400;
}

static void a_response_size_that_changes_asks_for_a_pause_until_it_is_acknowledged(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", "response_size", NULL);
	clients(&court, 3000, 12000);
	send_short_answers(&court);
	says(&court, VERDICT_CONTINUE, "");
	assert_true(court.said.asks_for_pause);
	assert_non_null(strstr(court.said.metrics[1].reason, "below 2048 bytes "));
	assert_int_equal(court.said.metrics[1].verdict, VERDICT_CONTINUE);
	begin_window(&court, 1, true);
	look(&court);
	assert_true(court.said.asks_for_pause);
	judge_acknowledge(&court.judge);
	look(&court);
	assert_false(court.said.asks_for_pause);
	begin(&court, "connect_failure", "response_size", NULL);
	court.metrics[1].weight = .5;
	clients(&court, 3000, 12000);
	send_short_answers(&court);
	says(&court, VERDICT_ROLLBACK, "response_size below 2048 bytes ");
}

/* ---- times ---- */

static void samples(struct court *court, int arm, size_t bucket, uint64_t count)
{
	court->rules[0].arms[arm].first_samples[SAMPLE_RESPOND_TIME][bucket] = count;
}

static void times_are_judged_beyond_quantiles_of_control(void **state)
{
	const struct judge_edges *edges;
	struct court court;

	(void)state;
	begin(&court, "respond_time", NULL);
	court.metrics[0].critical = true;
	clients(&court, 3000, 12000);
	samples(&court, CONTROL, 5, 100); /* up to 8 ms */
	samples(&court, CONTROL, 8, 60);  /* up to 24 ms */
	samples(&court, CONTROL, 9, 25);
	samples(&court, CONTROL, 12, 14);
	samples(&court, CANARY, 20, 500); /* before the x are fixed: they never count */
	says(&court, VERDICT_NODATA, "respond_time 199 of 200 first samples of control");
	samples(&court, CONTROL, 13, 1);
	assert_true(look(&court));
	edges = &court.judge.state.edges[SAMPLE_RESPOND_TIME];
	assert_int_equal(edges->count, 4);
	assert_int_equal(edges->buckets[0], 5);	 /* 50% */
	assert_int_equal(edges->buckets[1], 8);	 /* 75% */
	assert_int_equal(edges->buckets[2], 9);	 /* 90% */
	assert_int_equal(edges->buckets[3], 12); /* 99% */
	says(&court, VERDICT_NODATA, "no client of the canary");
	samples(&court, CONTROL, 5, 500);
	samples(&court, CANARY, 5, 100);
	says(&court, VERDICT_CONTINUE, "");
	assert_int_equal(court.said.metrics[0].canary_clients, 100);
	assert_int_equal(court.said.metrics[0].control_clients, 400);
	samples(&court, CONTROL, 12, 24);
	samples(&court, CANARY, 16, 30);
	a_minute_later(&court);
	says(&court, VERDICT_ROLLBACK, "respond_time above ");
	assert_non_null(strstr(court.said.reason, " ms more than ")
				?: strstr(court.said.reason, " x control ["));
}

static void quantiles_of_earlier_windows_hold_from_the_first_sample_on(void **state)
{
	const struct judge_edges *edges;
	struct court court;

	(void)state;
	begin(&court, "respond_time", NULL);
	court.metrics[0].critical = true;
	for (uint32_t window = 0; window < 2; window++) {
		begin_window(&court, window, false);
		clients(&court, 3000, 12000);
		samples(&court, CONTROL, 5, 100);
		says(&court, VERDICT_NODATA, "");
	}
	begin_window(&court, 2, true);
	clients(&court, 3000, 12000);
	edges = &court.judge.state.edges[SAMPLE_RESPOND_TIME];
	assert_int_equal(edges->count, 1); /* all quantiles are of one bucket */
	assert_int_equal(edges->buckets[0], 5);
	samples(&court, CONTROL, 5, 40);
	samples(&court, CANARY, 6, 20);
	a_minute_later(&court);
	says(&court, VERDICT_ROLLBACK, "respond_time above 8 ms more than ");
	assert_int_equal(court.said.metrics[0].canary_events, 20);
}

/* A server stands still for a moment: all who wait for it wait at once. */
static void what_comes_at_once_rolls_nothing_back_and_what_comes_again_and_again_does(void **state)
{
	struct court court;
	unsigned int slow = 0, looks = 0;

	(void)state;
	begin(&court, "respond_time", NULL);
	court.metrics[0].critical = true;
	clients(&court, 3000, 12000);
	samples(&court, CONTROL, 5, 200);
	look(&court);
	samples(&court, CONTROL, 5, 1400);
	samples(&court, CANARY, 5, 300);
	says(&court, VERDICT_CONTINUE, "");
	for (int i = 0; i < 10; i++) {
		/* Two looks may see it. */
		if (i == 3 || i == 4)
			samples(&court, CANARY, 16, slow += 30);
		says(&court, VERDICT_CONTINUE, "");
	}
	assert_int_equal(court.said.metrics[0].canary_events, 60);
	while (look(&court), court.said.verdict != VERDICT_ROLLBACK && looks++ < 20)
		samples(&court, CANARY, 16, ++slow);
	assert_in_range(looks, 3, 15);
}

/* Of failures it is: a canary that is gone for a second is gone. */
static void failures_that_come_at_once_roll_back(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", NULL);
	clients(&court, 300, 1200);
	look(&court);
	events(&court, METRIC_CONNECT_FAILURE, 30, 0);
	says(&court, VERDICT_ROLLBACK, "connect_failure more than ");
}

/* The tail alone is nearly twice as long: beyond the median both arms are alike. */
static void times_promote_only_where_each_x_passes(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "respond_time", NULL);
	court.metrics[0].critical = true;
	court.rollout.guard.alpha = 1e-300; /* it is to be seen what would be promoted */
	clients(&court, 3000, 12000);
	samples(&court, CONTROL, 5, 100);
	samples(&court, CONTROL, 8, 98);
	samples(&court, CONTROL, 12, 2);
	look(&court);
	begin_window(&court, 1, false);
	clients(&court, 10000, 40000);
	samples(&court, CONTROL, 5, 20000);
	samples(&court, CONTROL, 8, 19600);
	samples(&court, CONTROL, 13, 400);
	samples(&court, CANARY, 5, 5000);
	samples(&court, CANARY, 8, 4000);
	samples(&court, CANARY, 13, 190);
	says(&court, VERDICT_CONTINUE, "");
	assert_true(court.said.metrics[0].log_e_promote < 0);
	samples(&court, CANARY, 13, 100);
	says(&court, VERDICT_PROMOTE, "");
}

/* ---- thresholds and commands ---- */

static void three_failing_samples_in_a_row_are_rollback(void **state)
{
	static const enum judge_sample given[] = {
		JUDGE_SAMPLE_FAILED, JUDGE_SAMPLE_FAILED, JUDGE_SAMPLE_PASSED,
		JUDGE_SAMPLE_FAILED, JUDGE_SAMPLE_NODATA, JUDGE_SAMPLE_FAILED,
	};
	struct court court;

	(void)state;
	begin(&court, "connect_failure", "http-5xx", NULL);
	court.metrics[1].source = SOURCE_PROMETHEUS;
	court.metrics[1].has_max = true;
	court.metrics[1].critical = false;
	clients(&court, 3000, 12000);
	for (size_t i = 0; i < COUNT(given); i++) {
		judge_sample(&court.judge, 1, given[i], court.now_ns);
		says(&court, VERDICT_CONTINUE, "");
	}
	assert_string_equal(court.said.metrics[1].reason, "2 failing samples in a row");
	judge_sample(&court.judge, 1, JUDGE_SAMPLE_FAILED, court.now_ns);
	says(&court, VERDICT_ROLLBACK, "http-5xx 3 failing samples in a row");
	assert_true(isnan(court.said.log_e));
	judge_sample(&court.judge, 1, JUDGE_SAMPLE_PASSED, court.now_ns);
	says(&court, VERDICT_ROLLBACK, "http-5xx 3 failing samples in a row");
}

static void a_critical_sample_without_data_never_passes(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "check", NULL);
	court.metrics[0].source = SOURCE_COMMAND;
	court.metrics[0].critical = true;
	says(&court, VERDICT_NODATA, "check no sample yet");
	judge_sample(&court.judge, 0, JUDGE_SAMPLE_PASSED, court.now_ns);
	says(&court, VERDICT_PROMOTE, "");
	court.now_ns += 89 * NS_A_SECOND - NS_A_SECOND;
	judge_sample(&court.judge, 0, JUDGE_SAMPLE_NODATA, court.now_ns);
	says(&court, VERDICT_NODATA, "check no data for 90 s");
	/* After a change of share the sample must be of the new one. */
	judge_sample(&court.judge, 0, JUDGE_SAMPLE_PASSED, court.now_ns);
	begin_window(&court, 1, true);
	says(&court, VERDICT_CONTINUE, "");
}

/* ---- counts that are not the kernel's ---- */

static void feedback_counts_in_the_window_that_its_time_falls_in(void **state)
{
	struct guard_stratum earlier = {5, 10, .2}, running = {0, 0, .2};
	struct judge_window windows[] = {{0, &earlier, NULL, 1}, {4, &running, NULL, 1}};
	uint64_t first = least_to_roll_back(10, .01, 0, 1.1);
	uint64_t fifth = least_to_roll_back(10, .01, 4, 1.1);
	struct court court;

	(void)state;
	assert_true(first < fifth);
	begin(&court, "complaints", NULL);
	court.metrics[0].source = SOURCE_FEEDBACK;
	court.metrics[0].kernel = METRIC_NOT_KERNEL;
	court.input.windows[0] = (struct judge_windows){windows, 2};
	begin_window(&court, 4, false);
	says(&court, VERDICT_NODATA, "no metric has data");
	clients(&court, 3000, 12000);
	running = (struct guard_stratum){first, first + 10, .2};
	says(&court, VERDICT_CONTINUE, "");
	assert_int_equal(court.said.metrics[0].canary_events, first);
	assert_int_equal(court.said.metrics[0].canary_clients, 3000);
	/* Late, but of the first window: over its threshold. */
	earlier = (struct guard_stratum){first, first + 10, .2};
	says(&court, VERDICT_ROLLBACK, "complaints ");
}

static void paired_counts_are_compared(void **state)
{
	struct guard_stratum counts = {30, 150, .2};
	struct judge_window window = {0, &counts, NULL, 1};
	struct court court;

	(void)state;
	begin(&court, "http-5xx", NULL);
	court.metrics[0].source = SOURCE_PROMETHEUS;
	court.metrics[0].query_control = (char *)"sum(x)";
	court.metrics[0].critical = true;
	says(&court, VERDICT_NODATA, "http-5xx no counts for 1 s");
	court.input.windows[0] = (struct judge_windows){&window, 1};
	says(&court, VERDICT_PROMOTE, "");
	counts = (struct guard_stratum){80, 150, .2};
	says(&court, VERDICT_ROLLBACK, "http-5xx 4.6 x control [");
}

/* ---- state ---- */

static void busy(struct court *court, struct random *random)
{
	static const char *const names[] = {"connect_failure", "unanswered", "respond_time",
					    "last_byte_time", "response_size"};

	begin(court, NULL);
	for (size_t i = 0; i < COUNT(names); i++)
		add_metric(court, names[i]);
	add_metric(court, "check")->source = SOURCE_COMMAND;
	court->metrics[0].has_max_rate = true;
	court->metrics[0].max_rate_ppm = 0; /* one event has an infinite e-value */
	court->input.rules_count = 2;
	for (uint32_t window = 0; window < 3; window++) {
		begin_window(court, window, random_below(random, 2));
		court->rules[1].pi = .5;
		clients(court, random_below(random, 3000), random_below(random, 12000));
		sights(court, random_below(random, 10000), random_below(random, 10000));
		events(court, METRIC_UNANSWERED, random_below(random, 500), 500);
		events(court, METRIC_CONNECT_FAILURE, random_below(random, 2), 0);
		for (size_t i = 0; i < 20; i++) {
			samples(court, CONTROL, i, random_below(random, 40));
			look(court);
			samples(court, CANARY, i, random_below(random, 40));
		}
		judge_sample(&court->judge, 5, 1 + random_below(random, 3), court->now_ns);
		look(court);
	}
}

static void whoever_runs_next_goes_on_where_the_last_one_was(void **state)
{
	struct random random = random_seeded("judge's state");
	struct judgement before, after;
	struct court court, other;

	(void)state;
	for (int i = 0; i < 50; i++) {
		json_t *json, *again, *read;
		char *text;

		busy(&court, &random);
		json = judge_to_json(&court.judge);
		text = json_dumps(json, 0);
		read = json_loads(text, 0, NULL);
		memset(&other, 0x55, sizeof(other));
		assert_int_equal(judge_from_json(&other.judge, &court.rollout, read), 0);
		again = judge_to_json(&other.judge);
		assert_true(json_equal(json, again));
		memset(&before, 0, sizeof(before));
		memset(&after, 0, sizeof(after));
		judge_look(&court.judge, &court.input, court.now_ns, &before);
		judge_look(&other.judge, &court.input, court.now_ns, &after);
		assert_memory_equal(&before, &after, sizeof(before));
		free(text);
		json_decref(read);
		json_decref(again);
		json_decref(json);
	}
}

/* Each value of the state in turn is of another type, or is not there. */
static void a_state_that_does_not_fit_is_refused_whole(void **state)
{
	struct random random = random_seeded("judge's bad state");
	struct court court;
	struct judge untouched;
	const char *key;
	json_t *json, *value;

	(void)state;
	busy(&court, &random);
	untouched = court.judge;
	json = judge_to_json(&court.judge);
	json_object_foreach(json, key, value)
	{
		json_t *copy = json_deep_copy(json);

		json_object_set_new(copy, key, json_string("x"));
		if (!json_is_string(value))
			assert_int_equal(judge_from_json(&court.judge, &court.rollout, copy),
					 -EINVAL);
		json_object_del(copy, key);
		assert_int_equal(judge_from_json(&court.judge, &court.rollout, copy), -EINVAL);
		json_decref(copy);
	}
	json_object_foreach(json_object_get(json_object_get(json, "metrics"), "check"), key, value)
	{
		json_t *copy = json_deep_copy(json);

		json_object_del(json_object_get(json_object_get(copy, "metrics"), "check"), key);
		assert_int_equal(judge_from_json(&court.judge, &court.rollout, copy), -EINVAL);
		json_decref(copy);
	}
	/* Nor of a rollout with other metrics. */
	court.rollout.metrics_count--;
	assert_int_equal(judge_from_json(&court.judge, &court.rollout, json), -EINVAL);
	assert_memory_equal(&untouched, &court.judge, sizeof(untouched));
	json_decref(json);
}

static void deciding_without_words_decides_alike(void **state)
{
	struct random random = random_seeded("deciding alike");
	struct judgement decided;
	struct judge twin;
	struct court court;

	(void)state;
	for (int i = 0; i < 50; i++) {
		busy(&court, &random);
		twin = court.judge;
		samples(&court, CANARY, 25, 1000);
		judge_decide(&twin, &court.input, court.now_ns, &decided);
		judge_look(&court.judge, &court.input, court.now_ns, &court.said);
		assert_int_equal(decided.verdict, court.said.verdict);
		assert_int_equal(decided.armed, court.said.armed);
		assert_string_equal(decided.metric, court.said.metric);
		for (size_t metric = 0; metric < decided.metrics_count; metric++)
			assert_int_equal(decided.metrics[metric].verdict,
					 court.said.metrics[metric].verdict);
	}
}

/* ---- export ---- */

static int note_stratum(const struct judge_count *count, void *data)
{
	const struct guard_stratum *stratum = count->stratum;
	FILE *out = data;

	fprintf(out, "%u %s", count->window, count->metric);
	if (count->rule == JUDGE_ALL_RULES)
		fprintf(out, " -");
	else
		fprintf(out, " %u", count->rule);
	fprintf(out, " %llu %llu %g\n", (unsigned long long)stratum->k,
		(unsigned long long)stratum->n, stratum->pi);
	return 0;
}

static void exports(const struct court *court, const char *expected)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_int_equal(judge_each_stratum(&court->judge, &court->input, note_stratum, out), 0);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

static void what_is_compared_can_be_exported(void **state)
{
	struct court court;

	(void)state;
	begin(&court, "connect_failure", "respond_time", "check", NULL);
	court.metrics[2].source = SOURCE_COMMAND;
	court.input.rules_count = 2;
	court.rules[0].pi = 1;
	court.rules[1].pi = .5;
	events(&court, METRIC_CONNECT_FAILURE, 4, 0);
	court.rules[1].arms[CANARY].events[METRIC_CONNECT_FAILURE] = 2;
	court.rules[1].arms[CONTROL].events[METRIC_CONNECT_FAILURE] = 3;
	court.rules[1].arms[CONTROL].first_samples[SAMPLE_RESPOND_TIME][5] = 300;
	look(&court);
	court.rules[1].arms[CONTROL].first_samples[SAMPLE_RESPOND_TIME][6] = 7;
	court.rules[1].arms[CANARY].first_samples[SAMPLE_RESPOND_TIME][6] = 8;
	exports(&court, "0 connect_failure 0 4 4 1\n"
			"0 connect_failure 1 2 5 0.5\n"
			"0 respond_time-above-8ms 0 0 0 1\n"
			"0 respond_time-above-8ms 1 8 15 0.5\n");
}

/* Feedback rule by rule, of every window; requests of all rules together. */
static void what_the_kernel_does_not_count_is_exported_as_it_is_judged(void **state)
{
	struct guard_stratum first[] = {{3, 10, .2}, {4, 4, 1}}, second = {5, 6, .25};
	struct guard_stratum pairs = {30, 150, .125};
	const uint32_t rules[] = {0, 2, 1};
	struct judge_window complaints[] = {{0, first, rules, 2}, {3, &second, &rules[2], 1}};
	struct judge_window requests = {3, &pairs, NULL, 1};
	struct court court;

	(void)state;
	begin(&court, "complaints", "http-5xx", "check", NULL);
	court.metrics[0].source = SOURCE_FEEDBACK;
	court.metrics[1].source = SOURCE_PROMETHEUS;
	court.metrics[1].query_control = (char *)"sum(x)";
	court.metrics[2].source = SOURCE_COMMAND;
	court.input.windows[0] = (struct judge_windows){complaints, 2};
	court.input.windows[1] = (struct judge_windows){&requests, 1};
	begin_window(&court, 3, false);
	look(&court);
	exports(&court, "0 complaints 0 3 10 0.2\n"
			"0 complaints 2 4 4 1\n"
			"3 complaints 1 5 6 0.25\n"
			"3 http-5xx - 30 150 0.125\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_is_worse_than_control_is_rolled_back_and_the_reason_says_by_how_much),
		cmocka_unit_test(a_metric_that_crossed_stays_crossed),
		cmocka_unit_test(each_window_has_a_threshold_of_its_own),
		cmocka_unit_test(evidence_of_two_windows_is_not_added_up),
		cmocka_unit_test(rules_are_strata),
		cmocka_unit_test(weights_are_scaled_to_parts_of_alpha),
		cmocka_unit_test(all_backends_lost_is_a_rollback_by_itself),
		cmocka_unit_test(where_no_control_is_left_a_limit_alone_is_armed),
		cmocka_unit_test(where_no_control_is_left_the_canarys_counts_are_shown),
		cmocka_unit_test(a_rule_without_control_is_shown_and_not_compared),
		cmocka_unit_test(what_is_not_counted_is_not_said_to_be_none),
		cmocka_unit_test(a_comparison_and_a_limit_share_the_metrics_part_of_alpha),
		cmocka_unit_test(
			clients_are_clean_once_their_first_flow_has_ended_or_the_bake_is_over),
		cmocka_unit_test(
			what_is_beyond_its_limit_is_not_promoted_for_being_as_good_as_control),
		cmocka_unit_test(armed_is_what_guards_the_rule_that_is_guarded_least),
		cmocka_unit_test(
			a_metric_that_the_kernel_cannot_see_arms_nothing_and_promotes_nothing),
		cmocka_unit_test(promotion_needs_every_critical_metric_in_one_window_of_the_step),
		cmocka_unit_test(windows_that_pass_nothing_together_pass_nothing),
		cmocka_unit_test(no_data_never_passes),
		cmocka_unit_test(where_nothing_is_critical_nothing_promotes),
		cmocka_unit_test(where_nothing_is_critical_no_data_of_any_metric_is_no_data),
		cmocka_unit_test(a_cohort_that_fell_back_is_no_data_and_its_window_passes_nothing),
		cmocka_unit_test(clients_without_room_block_promotion_and_are_told_of),
		cmocka_unit_test(drift_of_a_model_holds_promotion),
		cmocka_unit_test(a_wrong_sample_ratio_is_invalid_until_the_next_change_of_share),
		cmocka_unit_test(
			only_the_first_window_after_a_change_of_share_tells_the_sample_ratio),
		cmocka_unit_test(a_sample_ratio_off_by_less_than_2_percent_is_not_minded),
		cmocka_unit_test(what_most_of_control_has_is_uninformative_and_left_out),
		cmocka_unit_test(informational_metrics_never_roll_back_unless_the_file_asks_for_it),
		cmocka_unit_test(
			a_response_size_that_changes_asks_for_a_pause_until_it_is_acknowledged),
		cmocka_unit_test(times_are_judged_beyond_quantiles_of_control),
		cmocka_unit_test(quantiles_of_earlier_windows_hold_from_the_first_sample_on),
		cmocka_unit_test(
			what_comes_at_once_rolls_nothing_back_and_what_comes_again_and_again_does),
		cmocka_unit_test(failures_that_come_at_once_roll_back),
		cmocka_unit_test(times_promote_only_where_each_x_passes),
		cmocka_unit_test(three_failing_samples_in_a_row_are_rollback),
		cmocka_unit_test(a_critical_sample_without_data_never_passes),
		cmocka_unit_test(feedback_counts_in_the_window_that_its_time_falls_in),
		cmocka_unit_test(paired_counts_are_compared),
		cmocka_unit_test(whoever_runs_next_goes_on_where_the_last_one_was),
		cmocka_unit_test(a_state_that_does_not_fit_is_refused_whole),
		cmocka_unit_test(deciding_without_words_decides_alike),
		cmocka_unit_test(what_is_compared_can_be_exported),
		cmocka_unit_test(what_the_kernel_does_not_count_is_exported_as_it_is_judged),
	};

	return cmocka_run_group_tests_name("unit/judge", tests, NULL, NULL);
}
