// SPDX-License-Identifier: GPL-2.0-only
/* What the store is told of a rollout's counts: all that the judge compares, once. */
#include "guard/replay.h"
#include "rollout/follow.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FAILURES   0
#define COMPLAINTS 1
#define REQUESTS   2

/* A rollout of two rules with a metric of each kind, and what the store was told of it. */
struct books {
	struct rollout_metric metrics[3];
	struct service service;
	struct followed followed;
	struct rollout_state state;
	struct judge_rule rules[2];
	struct rollout_count told[64];
	size_t told_count;
	uint64_t now_ns;
};

static void begin_window(struct books *books, uint32_t window)
{
	uint32_t shares[RULES_MAX][COHORTS_MAX] = {0};

	memset(books->rules, 0, sizeof(books->rules));
	books->rules[0].pi = .2;
	books->rules[1].pi = .25;
	books->state.window = window;
	assert_int_equal(follow_window(&books->followed, &books->state, shares, ++books->now_ns),
			 1);
}

static int make(void **state)
{
	struct books *books = calloc(1, sizeof(*books));

	books->metrics[FAILURES] = (struct rollout_metric){.name = "connect_failure",
							   .source = SOURCE_KERNEL,
							   .kernel = METRIC_CONNECT_FAILURE};
	books->metrics[COMPLAINTS] =
		(struct rollout_metric){.name = "complaints", .source = SOURCE_FEEDBACK};
	books->metrics[REQUESTS] = (struct rollout_metric){
		.name = "http-5xx", .source = SOURCE_PROMETHEUS, .query_control = (char *)"sum(x)"};
	for (size_t i = 0; i < 3; i++)
		books->metrics[i].weight = 1;
	books->service.rules_count = 2;
	strcpy(books->service.name, "api");
	strcpy(books->service.rules[0].name, "staff");
	strcpy(books->service.rules[1].name, "default");
	books->service.rollout.metrics = books->metrics;
	books->service.rollout.metrics_count = 3;
	books->service.rollout.guard = (struct guard_options){.01, .05, 1.1, 2, 4};
	follow_init(&books->followed, &books->service, 1);
	begin_window(books, 0);
	*state = books;
	return 0;
}

static int unmake(void **state)
{
	struct books *books = *state;

	follow_release(&books->followed);
	free(books);
	return 0;
}

static void tally(struct books *books, uint32_t metric, uint32_t window, uint32_t rule, uint64_t k,
		  uint64_t n, double pi)
{
	assert_int_equal(follow_tally(&books->followed, metric, window, rule, k, n, pi), 0);
}

static size_t tell(struct books *books)
{
	struct judge_input input = {.rules = books->rules, .rules_count = 2};
	struct rollout_count *list;
	void *memory;
	size_t count;

	assert_int_equal(follow_windows(&books->followed, &input, &memory), 0);
	assert_int_equal(follow_increments(&books->followed, &input, &books->service,
					   ++books->now_ns, &list, &count),
			 0);
	assert_true(books->told_count + count <= 64);
	memcpy(books->told + books->told_count, list, count * sizeof(*list));
	books->told_count += count;
	free(list);
	free(memory);
	return count;
}

static void last_is(const struct books *books, uint32_t window, const char *metric,
		    const char *rule, uint64_t k, uint64_t n, double pi)
{
	const struct rollout_count *last = &books->told[books->told_count - 1];

	assert_string_equal(last->metric, metric);
	assert_string_equal(last->rule, rule);
	assert_int_equal(last->window, window);
	assert_int_equal(last->k, k);
	assert_int_equal(last->n, n);
	assert_true(fabs(last->pi - pi) < 1e-12);
}

/* What the judge says of the tallies now, and what guard replay says of what the store has. */
static enum verdict judged(struct books *books, size_t metric)
{
	struct judge_input input = {.rules = books->rules, .rules_count = 2};
	static struct judgement judgement;
	void *memory;

	assert_int_equal(follow_windows(&books->followed, &input, &memory), 0);
	judge_look(&books->followed.judge, &input, ++books->now_ns, &judgement);
	free(memory);
	return judgement.metrics[metric].verdict;
}

static struct replay_result replayed(const struct books *books, const char *metric)
{
	const struct replay_options options = {.01, .05, 1.1, 2};
	struct replay *replay = replay_new(&options);
	struct replay_result result = {.verdict = VERDICT_NODATA, .log_e = NAN};

	for (size_t i = 0; i < books->told_count; i++) {
		const struct rollout_count *told = &books->told[i];
		const struct replay_row row = {told->window, told->metric, told->rule,
					       told->k,	     told->n,	   told->pi};

		assert_int_equal(replay_add(replay, &row), 0);
	}
	for (size_t i = 0; i < replay_count(replay); i++) {
		struct replay_result found;

		replay_judge(replay, i, &found);
		if (!strcmp(found.metric, metric))
			result = found;
	}
	result.metric = metric;
	replay_free(replay);
	return result;
}

/* ---- the tests ---- */

static void feedback_is_told_rule_by_rule_and_once(void **state)
{
	struct books *books = *state;

	tally(books, COMPLAINTS, 0, 1, 1, 1, .25);
	assert_int_equal(tell(books), 1);
	last_is(books, 0, "complaints", "default", 1, 1, .25);
	assert_int_equal(tell(books), 0);
	tally(books, COMPLAINTS, 0, 1, 0, 1, .25);
	tally(books, COMPLAINTS, 0, 1, 1, 1, .25);
	assert_int_equal(tell(books), 1);
	last_is(books, 0, "complaints", "default", 1, 2, .25);
	tally(books, COMPLAINTS, 0, 0, 1, 1, 1);
	assert_int_equal(tell(books), 1);
	last_is(books, 0, "complaints", "staff", 1, 1, 1);
}

static void reports_that_come_late_are_told_of_the_window_that_they_are_of(void **state)
{
	struct books *books = *state;

	tally(books, COMPLAINTS, 0, 1, 2, 3, .25);
	assert_int_equal(tell(books), 1);
	begin_window(books, 1);
	assert_int_equal(tell(books), 0);
	tally(books, COMPLAINTS, 1, 1, 1, 1, .5);
	tell(books);
	last_is(books, 1, "complaints", "default", 1, 1, .5);
	tally(books, COMPLAINTS, 0, 1, 1, 1, .25);
	assert_int_equal(tell(books), 1);
	last_is(books, 0, "complaints", "default", 1, 1, .25);
}

static void a_rollback_by_feedback_is_replayed_from_what_was_told(void **state)
{
	struct books *books = *state;
	struct guard_stratum strata[] = {{20, 30, .2}, {30, 40, .25}};

	for (size_t i = 0; i < 10; i++) {
		tally(books, COMPLAINTS, 0, 0, 2, 3, .2);
		tally(books, COMPLAINTS, 0, 1, 3, 4, .25);
		if (i == 4)
			tell(books);
	}
	assert_int_equal(judged(books, COMPLAINTS), VERDICT_ROLLBACK);
	tell(books);
	assert_int_equal(replayed(books, "complaints").verdict, VERDICT_ROLLBACK);
	assert_true(fabs(replayed(books, "complaints").log_e - guard_log_e(strata, 2, 1.1)) < 1e-9);
}

/* The canary's part of the traffic differs from look to look: the judge has its mean. */
static void a_rollback_by_paired_counts_is_replayed_from_what_was_told(void **state)
{
	static const double parts[] = {.2, .25, .3, .22};
	struct books *books = *state;
	double expected = 0;

	for (size_t i = 0; i < 4; i++) {
		tally(books, REQUESTS, 0, 0, 30, 50, parts[i]);
		assert_int_equal(tell(books), 1);
		last_is(books, 0, "http-5xx", "-", 30, 50, parts[i]);
		expected += 50 * books->told[i].pi;
	}
	assert_true(fabs(expected / 200 - books->followed.tallies[0].stratum.pi) < 1e-12);
	assert_int_equal(judged(books, REQUESTS), VERDICT_ROLLBACK);
	assert_int_equal(replayed(books, "http-5xx").verdict, VERDICT_ROLLBACK);
}

static void where_no_control_is_left_counts_are_told_and_replay_has_no_data(void **state)
{
	struct books *books = *state;

	books->rules[0].pi = 0;
	books->rules[1].pi = 1;
	books->rules[1].arms[TRACK_CANARY].clients = 200;
	books->rules[1].arms[TRACK_CANARY].events[METRIC_CONNECT_FAILURE] = 41;
	assert_int_equal(tell(books), 1);
	last_is(books, 0, "connect_failure", "default", 41, 41, 1);
	assert_int_equal(replayed(books, "connect_failure").verdict, VERDICT_NODATA);
}

static void who_comes_back_tells_nothing_twice(void **state)
{
	struct books *books = *state;
	json_t *json;

	books->rules[0].arms[TRACK_CANARY].events[METRIC_CONNECT_FAILURE] = 4;
	tally(books, COMPLAINTS, 0, 1, 2, 3, .25);
	tally(books, REQUESTS, 0, 0, 5, 10, .2);
	assert_int_equal(tell(books), 3);
	begin_window(books, 1);
	books->rules[0].arms[TRACK_CANARY].events[METRIC_CONNECT_FAILURE] = 2;
	assert_int_equal(tell(books), 1);
	json = follow_to_json(&books->followed);
	follow_release(&books->followed);
	assert_int_equal(follow_from_json(&books->followed, &books->service, json), 0);
	json_decref(json);
	assert_int_equal(tell(books), 0);
	books->rules[0].arms[TRACK_CANARY].events[METRIC_CONNECT_FAILURE] = 3;
	assert_int_equal(tell(books), 1);
	last_is(books, 1, "connect_failure", "staff", 1, 1, .2);
	tally(books, REQUESTS, 0, 0, 5, 10, .4);
	assert_int_equal(tell(books), 1);
	last_is(books, 0, "http-5xx", "-", 5, 10, .4);
}

/* It told of the kernel's counts alone, in the window that ran. */
static void what_an_earlier_version_told_is_not_told_again(void **state)
{
	struct books *books = *state;
	json_t *json;

	begin_window(books, 3);
	books->rules[0].arms[TRACK_CANARY].events[METRIC_CONNECT_FAILURE] = 4;
	json = follow_to_json(&books->followed);
	json_object_set_new(json, "counts",
			    json_pack("[[s, i, i, i]]", "connect_failure", 0, 3, 3));
	follow_release(&books->followed);
	assert_int_equal(follow_from_json(&books->followed, &books->service, json), 0);
	json_decref(json);
	assert_int_equal(tell(books), 1);
	last_is(books, 3, "connect_failure", "staff", 1, 1, .2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(feedback_is_told_rule_by_rule_and_once),
		TEST(reports_that_come_late_are_told_of_the_window_that_they_are_of),
		TEST(a_rollback_by_feedback_is_replayed_from_what_was_told),
		TEST(a_rollback_by_paired_counts_is_replayed_from_what_was_told),
		TEST(where_no_control_is_left_counts_are_told_and_replay_has_no_data),
		TEST(who_comes_back_tells_nothing_twice),
		TEST(what_an_earlier_version_told_is_not_told_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
