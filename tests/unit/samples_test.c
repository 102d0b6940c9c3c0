// SPDX-License-Identifier: GPL-2.0-only
/* Metrics that ask: what the judge is given of their answers, and what people are told. */
#include "rollouts_fixture.h"
#include "util/text.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* In this order in the file. */
enum { METRIC_RATE, METRIC_LOW, METRIC_COMMAND, METRIC_PAIR };
#define QUERIES 4 /* that Prometheus is asked: a pair has two */

static const char rollout[] =
	"    settle: 0s\n"
	"    metrics:\n"
	"    - { name: rate, source: prometheus, url: \"%s/get\", query: rate, max: 0.01 }\n"
	"    - { name: low, source: prometheus, url: \"%s/get\", query: low, min: 100 }\n"
	"    - { name: command, source: command, command: [ cat, /no/such/file ] }\n"
	"    - { name: pair, source: prometheus, url: \"%s/get\", query: bad,"
	" query_control: bad_control }\n"
	"    steps: [ { weight: 50% } ]\n";

struct samples_box {
	struct rollouts_box *box;
	struct watched watched;
};

#define GIVE(name, number)                                                                         \
	give(*state, name,                                                                         \
	     "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[0,\"" number \
	     "\"]}}")
#define NO_SERIES    "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[]}}"
#define PROMQL_ERROR "{\"status\":\"error\",\"error\":\"parse error: unclosed left parenthesis\"}"

static void give(struct samples_box *samples, const char *name, const char *body)
{
	char path[64];

	snprintf(path, sizeof(path), "/set/%s", name);
	rollouts_box_fetch(samples->box, path, body);
}

static int make(void **state)
{
	struct samples_box *samples = calloc(1, sizeof(*samples));
	const struct service *service;

	samples->box = rollouts_box_make(rollout);
	service = rollouts_box_service(samples->box);
	assert_int_equal(service->rollout.metrics_count, 4);
	samples->watched.rollouts = &samples->box->rollouts;
	follow_init(&samples->watched.followed, service, 1);
	judge_begin_window(&samples->watched.followed.judge, 0, true, time_now_ns());
	*state = samples;
	GIVE("rate", "0");
	GIVE("low", "1000");
	GIVE("bad", "0");
	GIVE("bad_control", "0");
	return 0;
}

static int unmake(void **state)
{
	struct samples_box *samples = *state;

	samples_stop(&samples->watched);
	follow_release(&samples->watched.followed);
	rollouts_box_remove(samples->box);
	free(samples);
	return 0;
}

static int asked(struct samples_box *samples, const char *query)
{
	char path[96];

	snprintf(path, sizeof(path), "/asked/get/api/v1/query?query=%s", query);
	return atoi(rollouts_box_fetch(samples->box, path, NULL));
}

/* What the daemon does each second. */
static const struct judgement *round_of(struct samples_box *samples)
{
	static struct judgement judgement;
	struct judge_input input = {0};
	struct service *service = rollouts_box_service(samples->box);

	follow_rebind(&samples->watched.followed, service);
	samples_ask(&samples->watched, service);
	probe_box_run(samples->box->probe, 10);
	samples_give(&samples->watched, time_now_ns());
	judge_look(&samples->watched.followed.judge, &input, time_now_ns(), &judgement);
	samples_explain(&samples->watched, &judgement);
	return &judgement;
}

static void set_intervals(struct samples_box *samples, uint64_t milliseconds)
{
	struct service *service = rollouts_box_service(samples->box);

	for (size_t i = 0; i < service->rollout.metrics_count; i++)
		service->rollout.metrics[i].interval_ms = milliseconds;
}

/* Rounds until the metric has that verdict, and a reason with @words; fails after a minute. */
static const struct judgement *await(struct samples_box *samples, size_t metric,
				     enum verdict verdict, const char *words)
{
	uint64_t until = monotonic_now_ns() + 60000000000ULL;
	const struct judgement *judgement;

	do {
		judgement = round_of(samples);
		if (judgement->metrics[metric].verdict == verdict &&
		    strstr(judgement->metrics[metric].reason, words))
			return judgement;
	} while (monotonic_now_ns() < until);
	fail_msg("%s: %s, not %s %s", verdict_name(judgement->metrics[metric].verdict),
		 judgement->metrics[metric].reason, verdict_name(verdict), words);
	return NULL;
}

/* ---- thresholds ---- */

static void a_number_within_its_bounds_passes(void **state)
{
	const struct judgement *judgement;

	await(*state, METRIC_RATE, VERDICT_PROMOTE, "the last sample passed");
	judgement = await(*state, METRIC_LOW, VERDICT_PROMOTE, "the last sample passed");
	assert_int_not_equal(judgement->verdict, VERDICT_ROLLBACK);
}

static void a_metric_is_asked_once_an_interval(void **state)
{
	struct samples_box *samples = *state;

	set_intervals(samples, 100000);
	await(samples, METRIC_RATE, VERDICT_PROMOTE, "passed");
	for (int i = 0; i < 20; i++)
		round_of(samples);
	assert_int_equal(asked(samples, "rate"), 1);
	assert_int_equal(asked(samples, "bad_control"), 1);
	samples_stop(&samples->watched);
	set_intervals(samples, 50);
	await(samples, METRIC_RATE, VERDICT_PROMOTE, "passed");
	for (int i = 0; i < 1000 && asked(samples, "rate") < 5; i++)
		round_of(samples);
	assert_true(asked(samples, "rate") >= 5);
}

static void three_numbers_beyond_the_bound_are_rollback_and_say_so(void **state)
{
	const struct judgement *judgement;

	set_intervals(*state, 50);
	GIVE("rate", "0.25");
	judgement = await(*state, METRIC_RATE, VERDICT_CONTINUE, "1 failing sample in a row");
	assert_non_null(strstr(judgement->metrics[METRIC_RATE].reason, "0.25 is above max, 0.01"));
	judgement = await(*state, METRIC_RATE, VERDICT_ROLLBACK, "3 failing samples in a row");
	assert_true(asked(*state, "rate") >= 3);
	assert_int_equal(judgement->verdict, VERDICT_ROLLBACK);
	assert_string_equal(judgement->metric, "rate");
	assert_non_null(strstr(judgement->reason, "0.25 is above max, 0.01"));
}

static void numbers_below_min_fail_too(void **state)
{
	set_intervals(*state, 50);
	GIVE("low", "99.5");
	await(*state, METRIC_LOW, VERDICT_CONTINUE, "99.5 is below min, 100");
	await(*state, METRIC_LOW, VERDICT_ROLLBACK, "99.5 is below min, 100");
}

/* ---- no data ---- */

static size_t lines_with(const char *path, const char *words)
{
	FILE *file = fopen(path, "r");
	char line[512];
	size_t count = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		count += strstr(line, words) != NULL;
	fclose(file);
	return count;
}

static void an_error_is_no_data_shown_and_logged_once(void **state)
{
	char path[] = "/tmp/samples_test.XXXXXX";
	int log = mkstemp(path), stderr_was = dup(STDERR_FILENO);
	const struct judgement *judgement;

	dup2(log, STDERR_FILENO);
	set_intervals(*state, 20);
	give(*state, "rate", PROMQL_ERROR);
	judgement = await(*state, METRIC_RATE, VERDICT_NODATA, "unclosed left parenthesis");
	assert_int_not_equal(judgement->verdict, VERDICT_PROMOTE);
	for (int i = 0; i < 1000 && asked(*state, "rate") < 6; i++)
		round_of(*state);
	GIVE("rate", "0");
	await(*state, METRIC_RATE, VERDICT_PROMOTE, "passed");
	give(*state, "rate", NO_SERIES);
	await(*state, METRIC_RATE, VERDICT_NODATA, "no series");
	dup2(stderr_was, STDERR_FILENO);
	close(stderr_was);
	close(log);
	assert_int_equal(lines_with(path, "services/api/rollout/metrics/rate: Prometheus says: "
					  "parse error: unclosed left parenthesis"),
			 1);
	assert_int_equal(lines_with(path, "metrics/rate: there is data again"), 1);
	assert_int_equal(lines_with(path, "metrics/rate: the query gives no series"), 1);
	unlink(path);
}

/* ---- commands ---- */

static void a_command_says_by_its_exit_status(void **state)
{
	struct samples_box *samples = *state;

	set_intervals(samples, 20);
	await(samples, METRIC_COMMAND, VERDICT_ROLLBACK,
	      "cat: /no/such/file: No such file or directory");
}

/* ---- paired counts ---- */

static void counters_are_remembered_and_never_a_failing_sample(void **state)
{
	struct samples_box *samples = *state;
	const struct followed_pair *pair = &samples->watched.followed.pairs[METRIC_PAIR];

	set_intervals(samples, 20);
	GIVE("bad", "17");
	GIVE("bad_control", "40");
	for (int i = 0; i < 1000 && !(pair->is_known && pair->canary == 17); i++)
		round_of(samples);
	assert_true(pair->is_known);
	assert_true(pair->canary == 17);
	assert_true(pair->control == 40);
	assert_true(pair->time_ns && pair->time_ns <= time_now_ns());
	assert_true(samples->watched.has_news);
	assert_int_equal(samples->watched.followed.judge.state.metrics[METRIC_PAIR].last,
			 JUDGE_SAMPLE_NONE);
}

static void a_counter_that_is_missing_is_named_and_moves_nothing(void **state)
{
	struct samples_box *samples = *state;
	const struct followed_pair *pair = &samples->watched.followed.pairs[METRIC_PAIR];

	set_intervals(samples, 20);
	GIVE("bad", "17");
	give(samples, "bad_control", NO_SERIES);
	await(samples, METRIC_PAIR, VERDICT_NODATA, "query_control: the query gives no series");
	await(samples, METRIC_PAIR, VERDICT_NODATA, "or vector(0)");
	GIVE("bad_control", "40");
	GIVE("bad", "-3");
	await(samples, METRIC_PAIR, VERDICT_NODATA, "query: -3 is no counter");
	GIVE("bad", "18");
	for (int i = 0; i < 1000 && !(pair->canary == 18 && pair->control == 40); i++)
		round_of(samples);
	assert_true(pair->canary == 18);
	assert_true(pair->control == 40);
}

/* ---- the end ---- */

static void what_is_stopped_in_the_middle_is_not_heard_of(void **state)
{
	struct samples_box *samples = *state;
	struct service *service = rollouts_box_service(samples->box);
	size_t before = probe_box_descriptors();

	samples_ask(&samples->watched, service);
	probe_box_run(samples->box->probe, 1);
	samples_stop(&samples->watched);
	samples_stop(&samples->watched);
	probe_box_run(samples->box->probe, 200);
	samples_give(&samples->watched, time_now_ns());
	assert_int_equal(samples->watched.followed.judge.state.metrics[METRIC_COMMAND].last,
			 JUDGE_SAMPLE_NONE);
	/* What was answered meanwhile leaves a connection that is kept; the command has to end. */
	for (int i = 0; i < 500 && probe_box_descriptors() > before + QUERIES; i++)
		probe_box_run(samples->box->probe, 10);
	assert_in_range(probe_box_descriptors(), 0, before + QUERIES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_number_within_its_bounds_passes),
		TEST(a_metric_is_asked_once_an_interval),
		TEST(three_numbers_beyond_the_bound_are_rollback_and_say_so),
		TEST(numbers_below_min_fail_too),
		TEST(an_error_is_no_data_shown_and_logged_once),
		TEST(a_command_says_by_its_exit_status),
		TEST(counters_are_remembered_and_never_a_failing_sample),
		TEST(a_counter_that_is_missing_is_named_and_moves_nothing),
		TEST(what_is_stopped_in_the_middle_is_not_heard_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
