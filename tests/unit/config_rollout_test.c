// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rollouts and health checks as the configuration has them: every key reaches the policy and comes
 * back, each within its range and no further, and what cannot be meant is refused where it stands.
 */
#include "config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ONE_STEP "    steps: [ { weight: 1% } ]\n"
/* After GOOD: line 9 is `rollout:`, 10 the steps, and what is wrong begins at 11. */
#define ROLLOUT GOOD "  rollout:\n" ONE_STEP

/* ---- what is right ---- */

static const char every_key[] =
	"limits: { tracked_clients: 77 }\n" SERVICE "  unanswered_after: 20s\n"
	"  idle_timeout: 2m\n"
	"  server_first: true\n"
	"  health_check: { type: http, port: 8080, path: /healthz, host: a.example,\n"
	"    expect_status: '404,200-204,203-299', expect_body: ok, interval: 5s, timeout: 3s,\n"
	"    rise: 4, fall: 5 }\n"
	"  cohorts:\n"
	"  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"
	"  - { name: one, slot: 10%, backends: [ { address: 10.0.2.11 } ] }\n"
	"  - { name: canary, slot: 90%, backends: [ { address: 10.0.2.12 } ] }\n"
	"  rules:\n"
	"  - { segment: staff }\n"
	"  - { default: true }\n"
	"  rollout:\n"
	"    cohort: canary\n"
	"    steps:\n"
	"    - { segment: staff, weight: 50% }\n"
	"    - weight: 10%\n"
	"    - pause: { duration: 1h }\n"
	"    - pause: {}\n"
	"    - analysis: { timeout: 6h }\n"
	"    - analysis: {}\n"
	"    - approve: { message: 'ready?' }\n"
	"    - approve: {}\n"
	"    - { weight: 5%, lower: true }\n"
	"    bake: 1m\n"
	"    settle: 1s\n"
	"    max_duration: 2d\n"
	"    on_fail: pause\n"
	"    on_inconclusive: rollback\n"
	"    max_load: 1.5\n"
	"    lease: 10s\n"
	"    guard: { alpha: .02, beta: 0.1, margin: 1.2, promote_ratio: 1.5, control_factor: 8 }\n"
	"    metrics:\n"
	"    - { name: quit, weight: .25, critical: false, max_rate: 0.5% }\n"
	"    - { name: respond_time, critical: true }\n"
	"    - { name: complaints, source: feedback, max_rate: 1ppm }\n"
	"    - { name: load, source: prometheus, url: 'https://user:pw@[::1]:9090/p?q#f',\n"
	"        query: \"sum(\\n  x)\", min: -1, max: 2.5, interval: 1m }\n"
	"    - { name: pairs, source: prometheus, url: 'http://prom', query: a,\n"
	"        query_control: b }\n"
	"    - { name: probe, source: command, command: [ /bin/probe, '', -v, -v ], timeout: 1s,\n"
	"        interval: 2s }\n"
	"    hooks:\n"
	"    - { on: before_step, url: 'http://a/', timeout: 1s, retries: 0, gate: true }\n"
	"    - { on: after_step, url: 'http://a/' }\n"
	"    - { on: rollback, url: 'http://a/' }\n"
	"    - { on: rollback, url: 'http://b/' }\n"
	"    - { on: success, url: 'http://a/', gate: false }\n"
	"segments: [ { name: staff, cidrs: [ 198.51.100.0/24 ] } ]\n";

static void the_keys_of_a_service_reach_the_policy(void **state)
{
	struct policy *policy = parse(every_key);
	const struct service *service = policy_service(policy, "api");
	const struct health_check *check = &service->health_check;

	(void)state;
	assert_int_equal(policy->limits.tracked_clients, 77);
	assert_int_equal(service->unanswered_after_ms, 20000);
	assert_int_equal(service->idle_timeout_ms, 120000);
	assert_true(service->server_first);
	assert_int_equal(check->type, CHECK_HTTP);
	assert_int_equal(check->port, 8080);
	assert_string_equal(check->path, "/healthz");
	assert_string_equal(check->host, "a.example");
	assert_string_equal(check->expect_body, "ok");
	/* A set of codes, in order. */
	assert_int_equal(check->expect_status_count, 2);
	assert_int_equal(check->expect_status[0].first, 200);
	assert_int_equal(check->expect_status[0].last, 299);
	assert_int_equal(check->expect_status[1].first, 404);
	assert_int_equal(check->expect_status[1].last, 404);
	assert_int_equal(check->interval_ms, 5000);
	assert_int_equal(check->timeout_ms, 3000);
	assert_int_equal(check->rise, 4);
	assert_int_equal(check->fall, 5);
	policy_free(policy);
}

static void the_keys_of_a_rollout_reach_the_policy(void **state)
{
	struct policy *policy = parse(every_key);
	const struct service *service = policy_service(policy, "api");
	const struct rollout *rollout = &service->rollout;

	(void)state;
	assert_true(rollout->is_given);
	assert_string_equal(rollout->where.file, "test.yaml");
	assert_int_equal(rollout->where.line, 21);
	assert_int_equal(rollout->where.column, 5);
	assert_int_equal(rollout_cohort(service), 2);
	assert_int_equal(rollout->bake_ms, 60000);
	assert_int_equal(rollout->settle_ms, 1000);
	assert_int_equal(rollout->max_duration_ms, 2 * 86400000);
	assert_int_equal(rollout->on_fail, ON_VERDICT_PAUSE);
	assert_int_equal(rollout->on_inconclusive, ON_VERDICT_ROLLBACK);
	assert_true(rollout->max_load == 1.5);
	assert_int_equal(rollout->lease_ms, 10000);
	assert_true(rollout->guard.alpha == .02 && rollout->guard.beta == .1);
	assert_true(rollout->guard.margin == 1.2 && rollout->guard.promote_ratio == 1.5);
	assert_int_equal(rollout->guard.control_factor, 8);
	assert_int_equal(rollout->hooks_count, 5);
	assert_int_equal(rollout->hooks[0].on, HOOK_BEFORE_STEP);
	assert_string_equal(rollout->hooks[0].url, "http://a/");
	assert_int_equal(rollout->hooks[0].timeout_ms, 1000);
	assert_int_equal(rollout->hooks[0].retries, 0);
	assert_true(rollout->hooks[0].gate);
	assert_int_equal(rollout->hooks[1].on, HOOK_AFTER_STEP);
	assert_int_equal(rollout->hooks[1].timeout_ms, 5000);
	assert_int_equal(rollout->hooks[1].retries, 3);
	assert_false(rollout->hooks[1].gate);
	assert_string_equal(rollout->hooks[3].url, "http://b/");
	assert_int_equal(rollout->hooks[4].on, HOOK_SUCCESS);
	assert_round_trip(policy);
	policy_free(policy);
}

static void assert_step(const struct step *step, enum step_kind kind, const char *segment,
			uint32_t weight_ppm, unsigned int line)
{
	assert_int_equal(step->kind, kind);
	assert_string_equal(step->segment, segment);
	assert_int_equal(step->weight_ppm, weight_ppm);
	assert_string_equal(step->where.file, "test.yaml");
	assert_int_equal(step->where.line, line);
}

static void steps_of_every_kind_reach_the_policy(void **state)
{
	struct policy *policy = parse(every_key);
	const struct step *steps = policy_service(policy, "api")->rollout.steps;

	(void)state;
	assert_int_equal(policy_service(policy, "api")->rollout.steps_count, 9);
	assert_step(&steps[0], STEP_WEIGHT, "staff", 500000, 23);
	assert_step(&steps[1], STEP_WEIGHT, "", 100000, 24);
	assert_step(&steps[2], STEP_PAUSE, "", 0, 25);
	assert_int_equal(steps[2].pause_ms, 3600000);
	assert_step(&steps[3], STEP_PAUSE, "", 0, 26);
	assert_int_equal(steps[3].pause_ms, 0);
	assert_step(&steps[4], STEP_ANALYSIS, "", 0, 27);
	assert_int_equal(steps[4].analysis_timeout_ms, 6 * 3600000);
	assert_int_equal(steps[5].analysis_timeout_ms, 2 * 3600000);
	assert_step(&steps[6], STEP_APPROVE, "", 0, 29);
	assert_string_equal(steps[6].approve_message, "ready?");
	assert_string_equal(steps[7].approve_message, "");
	assert_step(&steps[8], STEP_WEIGHT, "", 50000, 31);
	assert_true(steps[8].lower);
	assert_false(steps[1].lower);
	policy_free(policy);
}

static void metrics_of_every_source_reach_the_policy(void **state)
{
	struct policy *policy = parse(every_key);
	const struct rollout_metric *metrics = policy_service(policy, "api")->rollout.metrics;

	(void)state;
	assert_int_equal(policy_service(policy, "api")->rollout.metrics_count, 6);
	assert_int_equal(metrics[0].source, SOURCE_KERNEL);
	assert_int_equal(metrics[0].kernel, METRIC_QUIT);
	assert_true(metrics[0].weight == .25 && metrics[1].weight == 1);
	assert_int_equal(metrics[0].where.line, 41);
	assert_false(metrics[0].critical);
	assert_int_equal(metrics[0].max_rate_ppm, 5000);
	assert_true(metrics[1].critical);
	assert_false(metrics[1].has_max_rate);
	assert_int_equal(metrics[2].source, SOURCE_FEEDBACK);
	assert_int_equal(metrics[2].kernel, METRIC_NOT_KERNEL);
	assert_int_equal(metrics[2].max_rate_ppm, 1);
	assert_int_equal(metrics[3].source, SOURCE_PROMETHEUS);
	assert_string_equal(metrics[3].url, "https://user:pw@[::1]:9090/p?q#f");
	assert_string_equal(metrics[3].query, "sum(\n  x)");
	assert_null(metrics[3].query_control);
	assert_true(metrics[3].has_min && metrics[3].min == -1);
	assert_true(metrics[3].has_max && metrics[3].max == 2.5);
	assert_int_equal(metrics[3].interval_ms, 60000);
	assert_string_equal(metrics[4].query_control, "b");
	assert_false(metrics[4].has_min || metrics[4].has_max);
	assert_int_equal(metrics[4].interval_ms, 30000);
	assert_int_equal(metrics[5].source, SOURCE_COMMAND);
	assert_int_equal(metrics[5].command_count, 4);
	assert_string_equal(metrics[5].command[0], "/bin/probe");
	assert_string_equal(metrics[5].command[1], "");
	assert_string_equal(metrics[5].command[3], "-v");
	assert_int_equal(metrics[5].timeout_ms, 1000);
	assert_int_equal(metrics[5].interval_ms, 2000);
	policy_free(policy);
}

static void a_service_without_them_has_the_defaults(void **state)
{
	struct policy *policy = parse(GOOD), *empty = policy_new();
	const struct service *service = policy_service(policy, "api");

	(void)state;
	assert_int_equal(policy->limits.tracked_clients, 262144);
	assert_int_equal(empty->limits.tracked_clients, 262144);
	assert_int_equal(service->unanswered_after_ms, 5000);
	assert_int_equal(service->idle_timeout_ms, 60000);
	assert_false(service->server_first);
	assert_int_equal(service->health_check.type, CHECK_NONE);
	assert_int_equal(service->health_check.interval_ms, 2000);
	assert_int_equal(service->health_check.timeout_ms, 1000);
	assert_int_equal(service->health_check.rise, 2);
	assert_int_equal(service->health_check.fall, 3);
	assert_false(service->rollout.is_given);
	assert_int_equal(service->rollout.metrics_count, 0);
	policy_free(empty);
	policy_free(policy);
}

static void a_check_that_says_only_its_type_has_the_defaults(void **state)
{
	struct policy *policy = parse(GOOD "  health_check: { type: http }\n");
	const struct health_check *check = &policy->services[0].health_check;

	(void)state;
	assert_int_equal(check->port, 0);
	assert_string_equal(check->path, "/");
	assert_null(check->host);
	assert_null(check->expect_body);
	assert_int_equal(check->expect_status_count, 1);
	assert_int_equal(check->expect_status[0].first, 200);
	assert_int_equal(check->expect_status[0].last, 399);
	assert_round_trip(policy);
	policy_free(policy);
	policy = parse(GOOD "  health_check: { type: tcp }\n");
	assert_null(policy->services[0].health_check.path);
	assert_int_equal(policy->services[0].health_check.expect_status_count, 0);
	assert_round_trip(policy);
	policy_free(policy);
}

static void a_rollout_that_says_only_its_steps_has_the_defaults(void **state)
{
	struct policy *policy = parse(ROLLOUT);
	const struct rollout *rollout = &policy->services[0].rollout;

	(void)state;
	assert_int_equal(rollout_cohort(&policy->services[0]), 1);
	assert_int_equal(rollout->bake_ms, 600000);
	assert_int_equal(rollout->settle_ms, 30000);
	assert_int_equal(rollout->max_duration_ms, 7 * 86400000);
	assert_int_equal(rollout->on_fail, ON_VERDICT_ROLLBACK);
	assert_int_equal(rollout->on_inconclusive, ON_VERDICT_PAUSE);
	assert_true(rollout->max_load == 0);
	assert_int_equal(rollout->lease_ms, 30000);
	assert_true(rollout->guard.alpha == .01 && rollout->guard.beta == .05);
	assert_true(rollout->guard.margin == 1.1 && rollout->guard.promote_ratio == 2);
	assert_int_equal(rollout->guard.control_factor, 4);
	assert_int_equal(rollout->hooks_count, 0);
	assert_round_trip(policy);
	policy_free(policy);
}

/* The nine, in SIGNALS' order; failures are critical by themselves, times are not. */
static void without_metrics_the_nine_of_the_kernel_hold(void **state)
{
	static const char *const names[] = {
		"connect_failure", "syn_repeated",   "unanswered",   "quit",	      "silent",
		"retransmission",  "establish_time", "respond_time", "last_byte_time"};
	struct policy *policy = parse(ROLLOUT);
	const struct rollout *rollout = &policy->services[0].rollout;

	(void)state;
	assert_false(rollout->has_metrics);
	assert_int_equal(rollout->metrics_count, COUNT(names));
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_string_equal(rollout->metrics[i].name, names[i]);
		assert_int_equal(rollout->metrics[i].source, SOURCE_KERNEL);
		assert_int_equal(rollout->metrics[i].kernel, i);
		assert_true(rollout->metrics[i].weight == 1);
		assert_int_equal(rollout->metrics[i].critical, i < 6);
		assert_false(rollout->metrics[i].has_max_rate);
	}
	policy_free(policy);
}

static void metrics_that_are_named_are_critical_as_the_default_has_it(void **state)
{
	struct policy *policy = parse(ROLLOUT "    metrics:\n"
					      "    - { name: retransmission }\n"
					      "    - { name: establish_time }\n"
					      "    - { name: client_reset }\n"
					      "    - { name: response_size }\n"
					      "    - { name: mine, source: feedback }\n");
	const struct rollout *rollout = &policy->services[0].rollout;

	(void)state;
	assert_true(rollout->has_metrics);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(rollout->metrics[i].critical, i == 0);
	assert_round_trip(policy);
	policy_free(policy);
}

/* ---- one form for one meaning ---- */

static void assert_same(const char *one, const char *other)
{
	struct policy *left = parse(one), *right = parse(other);
	json_t *left_tree = config_to_json(left), *right_tree = config_to_json(right);
	json_t *differences = config_diff(left, right);

	assert_true(json_equal(left_tree, right_tree));
	assert_int_equal(json_array_size(differences), 0);
	assert_round_trip(right);
	json_decref(differences);
	json_decref(left_tree);
	json_decref(right_tree);
	policy_free(left);
	policy_free(right);
}

static void what_means_the_same_is_the_same(void **state)
{
	(void)state;
	assert_same(ROLLOUT, ROLLOUT "    cohort: canary\n");
	assert_same(ROLLOUT, ROLLOUT "    guard: { alpha: 1e-2, margin: 1.10 }\n    lease: 30s\n");
	assert_same(ROLLOUT, ROLLOUT "    hooks: []\n    max_load: 0.0\n");
	assert_same(ROLLOUT,
		    ROLLOUT "    metrics: [ { name: connect_failure, critical: true },\n"
			    "      { name: syn_repeated }, { name: unanswered, weight: 1 },\n"
			    "      { name: quit }, { name: silent }, { name: retransmission },\n"
			    "      { name: establish_time, critical: false },\n"
			    "      { name: respond_time }, { name: last_byte_time } ]\n");
	assert_same(GOOD "  rollout: { steps: [ { weight: 100% } ] }\n",
		    GOOD "  rollout: { steps: [ { segment: default } ] }\n");
	assert_same(GOOD "  rollout: { steps: [ { weight: 10% }, { pause: {} } ], lease: 0 }\n",
		    GOOD "  rollout: { steps: [ { segment: default, weight: 10%, lower: false },\n"
			 "    { pause: {} } ], lease: 0s }\n");
	assert_same(GOOD "  health_check: { type: http, expect_status: '200-204,404' }\n",
		    GOOD "  health_check: { type: http, expect_status: '404,203-204,200-202' }\n");
	assert_same(GOOD "  health_check: { type: http, expect_status: 200-299 }\n",
		    GOOD "  health_check: { type: http, expect_status: '200-299,210,200-201' }\n");
	assert_same(GOOD, GOOD "  health_check: { type: none }\n");
	assert_same(GOOD, GOOD "  health_check: {}\n");
}

/* ---- ranges ---- */

/* Values of a key, each within what stands around it: NULL ends a list. */
struct range {
	const char *before, *after, *object;
	const char *right[6], *wrong[6];
};

#define IN_SERVICE(key) GOOD "  " key ": ", "\n", "services/api/" key
#define IN_CHECK(key)                                                                              \
	GOOD "  health_check: { type: http, " key ": ", " }\n", "services/api/health_check/" key
#define IN_ROLLOUT(key) ROLLOUT "    " key ": ", "\n", "services/api/rollout/" key
#define IN_GUARD(key)	ROLLOUT "    guard: { " key ": ", " }\n", "services/api/rollout/guard/" key
#define IN_STEP(key, rest)                                                                         \
	GOOD "  rollout: { steps: [ { " key ": ", " }" rest " ] }\n",                              \
		"services/api/rollout/steps[0]/" key
#define IN_METRIC(key)                                                                             \
	ROLLOUT "    metrics: [ { name: quit, " key ": ", " } ]\n",                                \
		"services/api/rollout/metrics/quit/" key
#define IN_PROMETHEUS(key)                                                                         \
	ROLLOUT "    metrics: [ { name: m, source: prometheus, query: q, url: 'http://h',\n"       \
		"      " key ": ",                                                                 \
		", query_control: q } ]\n", "services/api/rollout/metrics/m/" key
#define IN_COMMAND(key)                                                                            \
	ROLLOUT "    metrics: [ { name: m, source: command, interval: 1d, command: [ a ],\n"       \
		"      " key ": ",                                                                 \
		" } ]\n", "services/api/rollout/metrics/m/" key
#define IN_HOOK(key)                                                                               \
	ROLLOUT "    hooks: [ { on: rollback, url: 'http://h', " key ": ", " } ]\n",               \
		"services/api/rollout/hooks[0]/" key

static const struct range ranges[] = {
	{"version: 1\nlimits: { tracked_clients: ",
	 " }\n",
	 "limits/tracked_clients",
	 {"1", "16777216"},
	 {"0", "16777217", "1k", "-1"}},
	{IN_SERVICE("unanswered_after"), {"100ms", "1h"}, {"99ms", "1h1ms", "0", "5"}},
	{IN_SERVICE("idle_timeout"), {"1s", "24h"}, {"999ms", "24h1ms", "0"}},
	{IN_SERVICE("server_first"), {"true", "false"}, {"yes", "1", "'true'"}},
	{IN_CHECK("port"), {"1", "65535"}, {"0", "65536", "'*'"}},
	{IN_CHECK("path"), {"/", "/a?b=%20"}, {"''"}},
	{IN_CHECK("host"), {"a", "a:80", "'[::1]:80'"}, {"''"}},
	{IN_CHECK("expect_status"),
	 {"100", "599", "100-599", "200", "'200,300-301'"},
	 {"99", "600", "300-200", "200-", "''", "'200,'"}},
	{IN_CHECK("expect_body"), {"a", "' '"}, {"''"}},
	{IN_CHECK("interval"), {"10ms", "1h"}, {"9ms", "1h1ms", "0"}},
	{IN_CHECK("timeout"), {"10ms", "1h"}, {"9ms", "1h1ms", "0"}},
	{IN_CHECK("rise"), {"1", "100"}, {"0", "101", "1.5"}},
	{IN_CHECK("fall"), {"1", "100"}, {"0", "101"}},
	{IN_ROLLOUT("bake"), {"0", "30d"}, {"30d1ms", "-1s"}},
	{IN_ROLLOUT("settle"), {"0", "0s", "1d"}, {"1d1ms"}},
	{IN_ROLLOUT("max_duration"), {"1s", "366d"}, {"999ms", "0", "366d1ms"}},
	{IN_ROLLOUT("on_fail"), {"rollback", "pause"}, {"abort"}},
	{IN_ROLLOUT("on_inconclusive"), {"rollback", "pause"}, {"promote"}},
	{IN_ROLLOUT("max_load"),
	 {"0", "0.1", ".1", "100", "1e2"},
	 {"0.09", "100.1", "-1", "nan", "inf", "'1'"}},
	{IN_ROLLOUT("lease"), {"0", "1s", "1d"}, {"1ms", "999ms", "1d1ms"}},
	{IN_GUARD("alpha"), {".5", "0.5", "1e-300"}, {"0", "0.51", ".501", "-0.01", "nan", "1%"}},
	{IN_GUARD("beta"), {"0.5", ".05"}, {"0", "0.6"}},
	{IN_GUARD("margin"), {"1", "1.5"}, {"0.99", "1.51"}},
	{IN_GUARD("promote_ratio"), {"1.1", "4"}, {"1.09", "4.01"}},
	{IN_GUARD("control_factor"), {"1", "16"}, {"0", "17", "1.5"}},
	{IN_STEP("weight", ""), {"0%", "1ppm", "100%", "50"}, {"100.1%", "0.00001%", "half", "-1"}},
	{IN_STEP("segment", ""), {"default"}, {"Default", "''"}},
	{IN_STEP("pause: { duration", "}"), {"1ms", "30d"}, {"0", "30d1ms"}},
	{IN_STEP("analysis: { timeout", "}"), {"1ms", "30d"}, {"0", "30d1ms"}},
	{IN_METRIC("weight"), {"1", "1e-9", ".1"}, {"0", "1.01", "-1", "50%"}},
	{IN_METRIC("critical"), {"true", "false"}, {"1"}},
	{IN_METRIC("max_rate"), {"1ppm", "100%"}, {"0", "0%", "101%"}},
	{IN_METRIC("source"), {"kernel"}, {"ebpf"}},
	{IN_PROMETHEUS("interval"), {"100ms", "1d"}, {"99ms", "1d1ms", "0"}},
	{IN_COMMAND("timeout"), {"100ms", "1h"}, {"99ms", "1h1ms", "0"}},
	{IN_HOOK("timeout"), {"100ms", "10m"}, {"99ms", "10m1ms", "0"}},
	{IN_HOOK("retries"), {"0", "100"}, {"-1", "101"}},
	{IN_HOOK("gate"), {"false"}, {"no"}},
};

/* Where the text goes on after @before. */
static struct expected position_after(const char *before)
{
	struct expected position = {.line = 1, .column = 1, .message = ""};

	for (; *before; before++) {
		position.column = *before == '\n' ? 1 : position.column + 1;
		position.line += *before == '\n';
	}
	return position;
}

static void a_key_takes_its_whole_range_and_nothing_else(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(ranges); i++) {
		const struct range *range = &ranges[i];
		struct expected expected = position_after(range->before);
		char text[2048], object[128] = "";

		/* A key within a map: steps[0]/pause: { duration -> steps[0]/pause/duration */
		for (const char *c = range->object; *c; c++)
			if (!strchr(": {", *c))
				strncat(object, c, 1);
			else if (*c == '{')
				strcat(object, "/");
		expected.object = object;
		for (size_t r = 0; r < COUNT(range->right) && range->right[r]; r++) {
			struct policy *policy;

			snprintf(text, sizeof(text), "%s%s%s", range->before, range->right[r],
				 range->after);
			policy = parse(text);
			assert_round_trip(policy);
			policy_free(policy);
		}
		for (size_t w = 0; w < COUNT(range->wrong) && range->wrong[w]; w++) {
			snprintf(text, sizeof(text), "%s%s%s", range->before, range->wrong[w],
				 range->after);
			assert_refused(text, strlen(text), &expected, 1);
		}
	}
}

static const struct bad urls_are_http_and_name_a_host[] = {
	{ROLLOUT "    hooks: [ { on: success, url: 'ftp://h/' } ]\n",
	 {{11, 34, "services/api/rollout/hooks[0]/url", "is no http or https URL"}}},
	{ROLLOUT "    hooks: [ { on: success, url: h } ]\n",
	 {{11, 34, "services/api/rollout/hooks[0]/url", "is no http or https URL"}}},
	{ROLLOUT "    hooks: [ { on: success, url: 'http:///page' } ]\n",
	 {{11, 34, "services/api/rollout/hooks[0]/url", "names no host"}}},
	{ROLLOUT "    hooks: [ { on: success, url: 'http://h:0/' } ]\n",
	 {{11, 34, "services/api/rollout/hooks[0]/url", "no port from 1 to 65535"}}},
	{ROLLOUT "    hooks: [ { on: success, url: 'https://u@:80' } ]\n",
	 {{11, 34, "services/api/rollout/hooks[0]/url", "names no host"}}},
	{ROLLOUT "    hooks: [ { on: success, url: 'https://[::1/' } ]\n",
	 {{11, 34, "services/api/rollout/hooks[0]/url", "names no host"}}},
	{ROLLOUT "    hooks: [ { on: success, url: 'http://h/a b' } ]\n",
	 {{11, 34, "services/api/rollout/hooks[0]/url", "character that no URL can have"}}},
	{ROLLOUT "    metrics: [ { name: m, source: prometheus, query: q, max: 1, url: h } ]\n",
	 {{11, 70, "services/api/rollout/metrics/m/url", "is no http or https URL"}}},
};

/* ---- keys and lists ---- */

static const struct bad what_a_rollout_lacks_is_said[] = {
	{GOOD "  rollout: {}\n", {{9, 12, "services/api/rollout/steps", "is missing"}}},
	{GOOD "  rollout: { steps: [] }\n",
	 {{9, 21, "services/api/rollout/steps", "needs at least 1 items"}}},
	{GOOD "  rollout: { steps: [ {} ] }\n",
	 {{9, 23, "services/api/rollout/steps[0]",
	   "has none of segment, weight, pause, analysis, approve"}}},
	{GOOD "  rollout: { steps: [ { lower: true } ] }\n",
	 {{9, 23, "services/api/rollout/steps[0]", "has none of"}}},
	{GOOD "  rollout: { steps: [ weight ] }\n",
	 {{9, 23, "services/api/rollout/steps[0]", "must not be a single value"}}},
	{ROLLOUT "    metrics: []\n",
	 {{11, 14, "services/api/rollout/metrics", "needs at least 1 items"}}},
	{ROLLOUT "    metrics: [ {} ]\n",
	 {{11, 16, "services/api/rollout/metrics[0]/name", "is missing"}}},
	{ROLLOUT "    hooks: [ {} ]\n",
	 {{11, 14, "services/api/rollout/hooks[0]/on", "is missing"},
	  {11, 14, "services/api/rollout/hooks[0]/url", "is missing"}}},
	{ROLLOUT "    metrics: [ { name: m, source: prometheus } ]\n",
	 {{11, 16, "services/api/rollout/metrics/m/url", "`source: prometheus` needs it"},
	  {11, 16, "services/api/rollout/metrics/m/query", "`source: prometheus` needs it"},
	  {11, 16, "services/api/rollout/metrics/m", "or `query_control`"}}},
	{ROLLOUT "    metrics: [ { name: m, source: command } ]\n",
	 {{11, 16, "services/api/rollout/metrics/m/command", "`source: command` needs it"}}},
	{ROLLOUT "    metrics: [ { name: m, source: command, command: [] } ]\n",
	 {{11, 53, "services/api/rollout/metrics/m/command", "needs at least 1 items"}}},
	{ROLLOUT "    metrics: [ { name: m, source: command, command: [ '' ] } ]\n",
	 {{11, 55, "services/api/rollout/metrics/m/command[0]", "give the program's name"}}},
};

static const struct bad a_step_is_of_one_kind[] = {
	{GOOD "  rollout: { steps: [ { weight: 1%, pause: {} } ] }\n",
	 {{9, 44, "services/api/rollout/steps[0]/pause", "stands beside `weight` at"}}},
	{GOOD "  rollout: { steps: [ { approve: {}, segment: default } ] }\n",
	 {{9, 34, "services/api/rollout/steps[0]/approve", "stands beside `segment` at"}}},
	{GOOD "  rollout: { steps: [ { analysis: {}, pause: {} } ] }\n",
	 {{9, 35, "services/api/rollout/steps[0]/analysis", "stands beside `pause` at"}}},
	{GOOD "  rollout: { steps: [ { pause: 10m } ] }\n",
	 {{9, 32, "services/api/rollout/steps[0]/pause", "give a map of keys"}}},
	{GOOD "  rollout: { steps: [ { pause: } ] }\n",
	 {{9, 32, "services/api/rollout/steps[0]/pause", "give a map of keys"}}},
	{GOOD "  rollout: { steps: [ { pause: {}, lower: true } ] }\n",
	 {{9, 43, "services/api/rollout/steps[0]/lower", "this step changes no share"}}},
	{GOOD "  rollout: { steps: [ { setWeight: 1% } ] }\n",
	 {{9, 25, "services/api/rollout/steps[0]/setWeight", "unknown key"},
	  {9, 23, "services/api/rollout/steps[0]", "has none of"}}},
};

static char *repeated(const char *before, const char *item, size_t count)
{
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	fputs(before, stream);
	for (size_t i = 0; i < count; i++)
		fprintf(stream, item, i);
	fclose(stream);
	return text;
}

static void lists_are_as_long_as_the_contract_says(void **state)
{
	static const struct {
		const char *before, *item, *object;
		size_t count;
	} lists[] = {
		{GOOD "  rollout:\n    steps:\n", "    - weight: 1%% # %zu\n",
		 "services/api/rollout/steps", STEPS_MAX},
		{ROLLOUT "    metrics:\n", "    - { name: m%zu, source: feedback }\n",
		 "services/api/rollout/metrics", ROLLOUT_METRICS_MAX},
		{ROLLOUT "    hooks:\n", "    - { on: rollback, url: 'http://h%zu/' }\n",
		 "services/api/rollout/hooks", HOOKS_MAX},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(lists); i++) {
		struct expected expected = position_after(lists[i].before);
		char *text = repeated(lists[i].before, lists[i].item, lists[i].count);
		struct policy *policy = parse(text);

		assert_round_trip(policy);
		policy_free(policy);
		free(text);
		text = repeated(lists[i].before, lists[i].item, lists[i].count + 1);
		expected.column += 4;
		expected.object = lists[i].object;
		expected.message = "can have";
		assert_refused(text, strlen(text), &expected, 1);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_keys_of_a_service_reach_the_policy),
		cmocka_unit_test(the_keys_of_a_rollout_reach_the_policy),
		cmocka_unit_test(steps_of_every_kind_reach_the_policy),
		cmocka_unit_test(metrics_of_every_source_reach_the_policy),
		cmocka_unit_test(a_service_without_them_has_the_defaults),
		cmocka_unit_test(a_check_that_says_only_its_type_has_the_defaults),
		cmocka_unit_test(a_rollout_that_says_only_its_steps_has_the_defaults),
		cmocka_unit_test(without_metrics_the_nine_of_the_kernel_hold),
		cmocka_unit_test(metrics_that_are_named_are_critical_as_the_default_has_it),
		cmocka_unit_test(what_means_the_same_is_the_same),
		cmocka_unit_test(a_key_takes_its_whole_range_and_nothing_else),
		REFUSED(urls_are_http_and_name_a_host),
		REFUSED(what_a_rollout_lacks_is_said),
		REFUSED(a_step_is_of_one_kind),
		cmocka_unit_test(lists_are_as_long_as_the_contract_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
