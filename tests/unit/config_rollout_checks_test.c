// SPDX-License-Identifier: GPL-2.0-only
/*
 * What no key of a rollout or health check can be wrong about by itself: steps against rules, slots
 * and cohorts, metrics against where they come from, and what deserves a warning.
 */
#include "config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ONE_STEP "    steps: [ { weight: 1% } ]\n"
/* After GOOD: line 9 is `rollout:`, 10 the steps, and what is wrong begins at 11. */
#define ROLLOUT GOOD "  rollout:\n" ONE_STEP

/* ---- steps against the rest of the service ---- */

#define TWO_CANARIES                                                                               \
	SERVICE "  cohorts:\n"                                                                     \
		"  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"                     \
		"  - { name: one, slot: 20%, backends: [ { address: 10.0.2.11 } ] }\n"             \
		"  - { name: two, slot: 10%, backends: [ { address: 10.0.2.12 } ] }\n"

static const struct bad steps_that_go_down_without_saying_so_are_refused[] = {
	{GOOD "  rollout:\n    steps:\n    - weight: 10%\n    - weight: 5%\n",
	 {{12, 15, "services/api/rollout/steps[1]/weight",
	   "the share of rule default falls from 10% (step 1) to 5%"}}},
	{GOOD "  rollout:\n    steps:\n    - weight: 10%\n    - pause: {}\n"
	      "    - { weight: 5%, lower: true }\n    - { weight: 1%, lower: false }\n",
	 {{14, 17, "services/api/rollout/steps[3]/weight", "from 5% (step 3) to 1%"}}},
	/* `segment: default` is the default rule, and a segment alone is 100%. */
	{GOOD "  rollout:\n    steps:\n    - segment: default\n    - weight: 99%\n",
	 {{12, 15, "services/api/rollout/steps[1]/weight", "from 100% (step 1)"}}},
};

static void shares_of_different_rules_go_their_own_ways(void **state)
{
	(void)state;
	policy_free(parse("segments: [ { name: staff, cidrs: [ 198.51.100.0/24 ] } ]\n" GOOD
			  "  rules: [ { segment: staff }, { default: true } ]\n"
			  "  rollout:\n"
			  "    steps:\n"
			  "    - { segment: staff, weight: 50% }\n"
			  "    - weight: 1%\n"
			  "    - { segment: staff, weight: 50% }\n"
			  "    - { segment: staff, weight: 0%, lower: true }\n"
			  "    - { weight: 2%, lower: true }\n"));
}

static const struct bad steps_that_cannot_be_taken_are_refused[] = {
	{"segments: [ { name: staff, cidrs: [ 198.51.100.0/24 ] } ]\n" GOOD
	 "  rules: [ { segment: staff }, { default: true } ]\n"
	 "  rollout: { steps: [ { segment: stafff } ] }\n",
	 {{11, 34, "services/api/rollout/steps[0]/segment", "did you mean staff?"}}},
	{GOOD "  rollout: { steps: [ { segment: staff } ] }\n",
	 {{9, 34, "services/api/rollout/steps[0]/segment", "there is no rule \"staff\""}}},
	{TWO_CANARIES "  rollout: { steps: [ { weight: 20% }, { weight: 21% } ] }\n",
	 {{10, 50, "services/api/rollout/steps[1]/weight",
	   "21% is more than the slot of cohort one, 20%"}}},
	{TWO_CANARIES "  rollout: { cohort: two, steps: [ { weight: 11% } ] }\n",
	 {{10, 46, "services/api/rollout/steps[0]/weight",
	   "11% is more than the slot of cohort two, 10%"}}},
	{TWO_CANARIES "  rollout: { steps: [ { segment: default } ] }\n",
	 {{10, 34, "services/api/rollout/steps[0]/weight", "100% is more than the slot"}}},
	/* Parts of another tool shift, and so have no slot: what they are together counts. */
	{SERVICE "  hash: nginx\n"
		 "  cohorts:\n"
		 "  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"
		 "  - { name: one, backends: [ { address: 10.0.2.11 } ] }\n"
		 "  - { name: two, backends: [ { address: 10.0.2.12 } ] }\n"
		 "  rules: [ { default: true, allocate: { two: 30% } } ]\n"
		 "  rollout: { steps: [ { weight: 70% }, { weight: 71% } ] }\n",
	 {{12, 50, "services/api/rollout/steps[1]/weight",
	   "71% and the other canaries' shares of rule default are more than 100% together"}}},
	{GOOD "  hash: haproxy-crc32\n  rollout: { steps: [ { weight: 0.5% } ] }\n",
	 {{10, 33, "services/api/rollout/steps[0]/weight", "give 0% or 1%"}}},
};

static const struct bad a_rollout_is_about_a_canary[] = {
	{ROLLOUT "    cohort: canari\n",
	 {{11, 13, "services/api/rollout/cohort", "did you mean canary?"}}},
	{ROLLOUT "    cohort: zebra\n",
	 {{11, 13, "services/api/rollout/cohort", "zebra is no cohort of the service"}}},
	{ROLLOUT "    cohort: stable\n",
	 {{11, 13, "services/api/rollout/cohort", "stable is the control"}}},
};

/* What hangs on something that has an error itself has none of its own. */
static const struct bad one_mistake_is_one_error[] = {
	{SERVICE "  cohorts:\n"
		 "  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"
		 "  - { name: Canary, backends: [ { address: 10.0.2.11 } ] }\n"
		 "  rollout: { cohort: canary, steps: [ { weight: 50% }, { weight: 10% } ] }\n",
	 {{8, 13, "services/api/cohorts[1]/name", "is not a name"}}},
	{GOOD "  rules: [ { segment: Staff }, { default: true } ]\n"
	      "  rollout: { steps: [ { segment: staff } ] }\n",
	 {{9, 23, "services/api/rules[0]/segment", "is not a name"}}},
	{GOOD "  rollout:\n    steps:\n    - weight: 10%\n    - weight: half\n    - weight: 5%\n",
	 {{12, 15, "services/api/rollout/steps[1]/weight", "is not a percentage"}}},
	{TWO_CANARIES "  rollout: { steps: [ { weight: 50% }, { weight: 30% } ], cohort: 1-  }\n",
	 {{10, 67, "services/api/rollout/cohort", "is not a name"}}},
	{ROLLOUT "    metrics: [ { name: m, source: promtheus, url: h, max: 1 } ]\n",
	 {{11, 35, "services/api/rollout/metrics/m/source", "did you mean prometheus?"},
	  {11, 51, "services/api/rollout/metrics/m/url", "is no http"}}},
};

/* ---- metrics ---- */

static const struct bad a_metric_that_nothing_provides_is_refused[] = {
	{ROLLOUT "    metrics: [ { name: latency } ]\n",
	 {{11, 24, "services/api/rollout/metrics/latency/name",
	   "\"latency\" is a metric that nothing provides"}}},
	{ROLLOUT "    metrics: [ { name: latency } ]\n",
	 {{11, 24, "services/api/rollout/metrics/latency/name",
	   "one of connect_failure, syn_repeated, unanswered, quit, silent, retransmission, "
	   "establish_time, respond_time, last_byte_time, client_reset, response_size"}}},
	{ROLLOUT "    metrics: [ { name: conect_failure } ]\n",
	 {{11, 24, "services/api/rollout/metrics/conect_failure/name",
	   "did you mean connect_failure?"}}},
	{ROLLOUT
	 "    metrics: [ { name: refused }, { name: server_reset }, { name: accept_time },\n"
	 "      { name: first_byte_time } ]\n",
	 {{11, 24, "services/api/rollout/metrics/refused/name", "not available in this version"},
	  {11, 43, "services/api/rollout/metrics/server_reset/name", "not available"},
	  {11, 67, "services/api/rollout/metrics/accept_time/name", "not available"},
	  {12, 15, "services/api/rollout/metrics/first_byte_time/name", "not available"}}},
	{ROLLOUT "    metrics: [ { name: quit, source: feedback } ]\n",
	 {{11, 24, "services/api/rollout/metrics/quit/name", "of a metric of the kernel"}}},
	{ROLLOUT "    metrics: [ { name: refused, source: feedback } ]\n",
	 {{11, 24, "services/api/rollout/metrics/refused/name", "of a metric of the kernel"}}},
	{ROLLOUT "    metrics:\n    - { name: quit }\n    - { name: silent }\n"
		 "    - { name: quit, max_rate: 1% }\n",
	 {{14, 15, "services/api/rollout/metrics/quit/name",
	   "the name stands at test.yaml:12:15 already"}}},
	{ROLLOUT "    metrics:\n    - { name: a, source: feedback }\n"
		 "    - { name: a, source: command, command: [ a ] }\n",
	 {{13, 15, "services/api/rollout/metrics/a/name", "already"}}},
};

#define METRIC(rest) ROLLOUT "    metrics: [ { name: m, " rest " } ]\n"
#define KERNEL(rest) ROLLOUT "    metrics: [ { name: quit, " rest " } ]\n"

static const struct bad keys_of_a_source_go_with_it_alone[] = {
	{KERNEL("url: 'http://h'"),
	 {{11, 35, "services/api/rollout/metrics/quit/url", "with `source: prometheus` only"}}},
	{KERNEL("query: q"),
	 {{11, 37, "services/api/rollout/metrics/quit/query", "with `source: prometheus` only"}}},
	{KERNEL("query_control: q"),
	 {{11, 45, "services/api/rollout/metrics/quit/query_control", "prometheus` only"}}},
	{KERNEL("min: 1"),
	 {{11, 35, "services/api/rollout/metrics/quit/min", "with `source: prometheus` only"}}},
	{KERNEL("max: 1"),
	 {{11, 35, "services/api/rollout/metrics/quit/max", "with `source: prometheus` only"}}},
	{KERNEL("interval: 1s"),
	 {{11, 40, "services/api/rollout/metrics/quit/interval", "`source: command` only"}}},
	{KERNEL("command: [ a ]"),
	 {{11, 39, "services/api/rollout/metrics/quit/command", "with `source: command` only"}}},
	{KERNEL("timeout: 1s"),
	 {{11, 39, "services/api/rollout/metrics/quit/timeout", "with `source: command` only"}}},
	{METRIC("source: feedback, url: 'http://h', command: [ a ], interval: 1s"),
	 {{11, 50, "services/api/rollout/metrics/m/url", "with `source: prometheus` only"},
	  {11, 71, "services/api/rollout/metrics/m/command", "with `source: command` only"},
	  {11, 88, "services/api/rollout/metrics/m/interval", "`source: command` only"}}},
	{METRIC("source: command, command: [ a ], max: 1"),
	 {{11, 65, "services/api/rollout/metrics/m/max", "with `source: prometheus` only"}}},
	{METRIC("source: prometheus, url: 'http://h', query: q, max: 1, timeout: 1s"),
	 {{11, 91, "services/api/rollout/metrics/m/timeout", "with `source: command` only"}}},
};

static const struct bad a_query_has_limits_or_a_control[] = {
	{METRIC("source: prometheus, url: 'http://h', query: q"),
	 {{11, 16, "services/api/rollout/metrics/m", "nothing says which answers"}}},
	{METRIC("source: prometheus, url: 'http://h', query: q, query_control: q, max: 1"),
	 {{11, 89, "services/api/rollout/metrics/m/query_control", "stands beside `max`"}}},
	{METRIC("source: prometheus, url: 'http://h', query: q, min: 2, max: 1"),
	 {{11, 79, "services/api/rollout/metrics/m/min", "2 is above `max`, 1"}}},
};

/* Of a time, a query or a command there is no rate of clients. */
static const struct bad a_rate_is_of_clients[] = {
	{ROLLOUT "    metrics:\n    - { name: respond_time, max_rate: 1% }\n"
		 "    - { name: establish_time, max_rate: 1% }\n"
		 "    - { name: last_byte_time, max_rate: 1% }\n"
		 "    - { name: response_size, max_rate: 1% }\n"
		 "    - { name: client_reset, max_rate: 1% }\n"
		 "    - { name: fine, source: feedback, max_rate: 1% }\n",
	 {{12, 39, "services/api/rollout/metrics/respond_time/max_rate", "count clients"},
	  {13, 41, "services/api/rollout/metrics/establish_time/max_rate", "count clients"},
	  {14, 41, "services/api/rollout/metrics/last_byte_time/max_rate", "count clients"},
	  {15, 40, "services/api/rollout/metrics/response_size/max_rate", "count clients"}}},
	{METRIC("source: command, command: [ a ], max_rate: 1%"),
	 {{11, 70, "services/api/rollout/metrics/m/max_rate", "count clients"}}},
	{METRIC("source: prometheus, url: 'http://h', query: q, max: 1, max_rate: 1%"),
	 {{11, 92, "services/api/rollout/metrics/m/max_rate", "or give `max`"}}},
};

static const struct bad only_steps_have_gates[] = {
	{ROLLOUT "    hooks:\n    - { on: rollback, url: 'http://h', gate: true }\n"
		 "    - { on: before_step, url: 'http://h', gate: true }\n"
		 "    - { on: after_step, url: 'http://h', gate: true }\n"
		 "    - { on: success, url: 'http://h', gate: true }\n",
	 {{12, 46, "services/api/rollout/hooks[0]/gate", "goes with steps only"},
	  {15, 45, "services/api/rollout/hooks[3]/gate", "goes with steps only"}}},
};

/* ---- health checks ---- */

static const struct bad a_check_must_be_able_to_ask[] = {
	{SERVICE_AT("192.0.2.10:*/tcp") COHORTS "  health_check: { type: tcp }\n",
	 {{9, 25, "services/api/health_check/port", "the service's VIPs have none"}}},
	{GOOD "  health_check: { type: tcp, path: /, host: a, expect_status: 200,\n"
	      "    expect_body: a }\n",
	 {{9, 36, "services/api/health_check/path", "goes with `type: http` only"},
	  {9, 45, "services/api/health_check/host", "goes with `type: http` only"},
	  {9, 63, "services/api/health_check/expect_status", "goes with `type: http` only"},
	  {10, 18, "services/api/health_check/expect_body", "goes with `type: http` only"}}},
	{GOOD "  health_check: { port: 80, interval: 1s }\n",
	 {{9, 25, "services/api/health_check/port", "write `type: tcp`"}}},
	{GOOD "  health_check: { fall: 2 }\n",
	 {{9, 25, "services/api/health_check/fall", "has no meaning"}}},
	{GOOD "  health_check: { type: http, path: healthz, host: 'http://a' }\n",
	 {{9, 37, "services/api/health_check/path", "such as /healthz"},
	  {9, 52, "services/api/health_check/host", "no host has"}}},
	{GOOD "  health_check: { type: http, path: /a b }\n",
	 {{9, 37, "services/api/health_check/path", "has spaces"}}},
	{GOOD "  health_check: { type: ping }\n",
	 {{9, 25, "services/api/health_check/type", "give none or tcp or http"}}},
};

static void a_service_with_some_port_can_be_asked_there(void **state)
{
	(void)state;
	policy_free(parse(SERVICE_AT("192.0.2.10:*/tcp, 192.0.2.11:80/tcp") COHORTS
			  "  health_check: { type: tcp }\n"));
	policy_free(parse(SERVICE_AT("192.0.2.10:*/tcp") COHORTS
			  "  health_check: { type: tcp, port: 80 }\n"));
}

/* ---- warnings ---- */

static void assert_warning(const char *text, unsigned int line, unsigned int column,
			   const char *object, const char *message)
{
	struct errors *errors = errors_new();
	struct policy *policy = config_parse(text, strlen(text), "test.yaml", errors);
	json_t *warnings = errors_warnings_to_json(errors);
	const json_t *warning = json_array_get(warnings, 0);

	assert_non_null(policy);
	if (!message) {
		assert_int_equal(json_array_size(warnings), 0);
	} else {
		assert_int_equal(json_array_size(warnings), 1);
		assert_int_equal(json_integer_value(json_object_get(warning, "line")), line);
		assert_int_equal(json_integer_value(json_object_get(warning, "column")), column);
		assert_string_equal(member(warning, "object"), object);
		assert_non_null(strstr(member(warning, "message"), message));
		assert_true(*member(warning, "hint"));
	}
	json_decref(warnings);
	errors_free(errors);
	policy_free(policy);
}

#define assert_no_warning(text) assert_warning(text, 0, 0, NULL, NULL)

static void a_rule_without_control_or_limit_is_warned_of_as_unarmed(void **state)
{
	(void)state;
	assert_warning(GOOD "  rollout:\n    steps: [ { weight: 99% }, { weight: 100% } ]\n", 10,
		       41, "services/api/rollout/steps[1]", "armed: none");
	/* Once a rollout, at the first of them. */
	assert_warning(GOOD "  rollout:\n    steps: [ { segment: default }, { weight: 100% } ]\n",
		       10, 25, "services/api/rollout/steps[0]", "armed: none");
	assert_no_warning(GOOD "  rollout:\n    steps: [ { weight: 99.9999% } ]\n");
	assert_no_warning(GOOD "  rollout:\n    steps: [ { weight: 100% } ]\n"
			       "    metrics: [ { name: quit, max_rate: 5% } ]\n");
	/* All canaries together leave no control either. */
	assert_warning(SERVICE "  cohorts:\n"
			       "  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"
			       "  - { name: one, backends: [ { address: 10.0.2.11 } ] }\n"
			       "  - { name: two, backends: [ { address: 10.0.2.12 } ] }\n"
			       "  rules: [ { default: true, allocate: { two: 50% } } ]\n"
			       "  rollout: { steps: [ { weight: 50% } ] }\n",
		       11, 33, "services/api/rollout/steps[0]", "armed: none");
}

static void metrics_that_could_roll_nothing_back_are_warned_of_as_unarmed(void **state)
{
	(void)state;
	assert_warning(ROLLOUT "    metrics: [ { name: client_reset }, { name: response_size } ]\n",
		       11, 14, "services/api/rollout/metrics", "armed: none");
	assert_no_warning(ROLLOUT "    metrics: [ { name: client_reset, critical: true } ]\n");
	assert_no_warning(
		ROLLOUT "    metrics: [ { name: app, source: command, command: [ /bin/app ] } ]\n");
}

/* The kernel follows TCP: of a service of UDP alone nothing provides its metrics. */
static void of_udp_the_kernels_metrics_tell_nothing_and_apply_says_so(void **state)
{
	static const char metrics[] = "    metrics: [ { name: quit, max_rate: 1% },"
				      " { name: complaints, source: feedback } ]\n";
	char text[2048];

	(void)state;
	snprintf(text, sizeof(text), "%s%s%s",
		 SERVICE_AT("192.0.2.10:443/udp") COHORTS "  rollout:\n", ONE_STEP, metrics);
	assert_warning(text, 11, 14, "services/api/rollout/metrics", "every VIP is UDP");
	snprintf(text, sizeof(text), "%s%s%s",
		 SERVICE_AT("192.0.2.10:443/udp, 192.0.2.10:443/tcp") COHORTS "  rollout:\n",
		 ONE_STEP, metrics);
	assert_no_warning(text);
}

#define STABLE_3_CANARY_1                                                                          \
	SERVICE BACKENDS("{ address: 10.0.1.11 }, { address: 10.0.1.12 }, { address: 10.0.1.13 }", \
			 "{ address: 10.0.2.11 }")

/* Of the file's weights alone; traffic is not known. */
static void a_step_that_puts_too_much_on_the_canary_is_warned_of(void **state)
{
	(void)state;
	/* Without max_load from what the control's had on: 3 x 33.3334% is more than that. */
	assert_no_warning(STABLE_3_CANARY_1
			  "  rollout: { steps: [ { weight: 1% }, { weight: 33.3333% } ] }\n");
	assert_warning(
		STABLE_3_CANARY_1
		"  rollout: { steps: [ { weight: 1% }, { weight: 40% }, { weight: 90% } ] }\n",
		9, 49, "services/api/rollout/steps[1]",
		"at 40% a backend of canary would carry 1.2 times what one of stable did at "
		"0%, if the default rule decided all traffic");
	assert_warning(STABLE_3_CANARY_1
		       "  rollout: { max_load: 2, steps: [ { weight: 66% }, { weight: 67% } ] }\n",
		       9, 63, "services/api/rollout/steps[1]",
		       "2.01 times what one of stable did at 0%, if the default rule decided all "
		       "traffic, more than max_load, 2: it would wait");
	assert_no_warning(STABLE_3_CANARY_1
			  "  rollout: { max_load: 3, steps: [ { weight: 99% } ] }\n");
	/* Weights count, not heads. */
	assert_no_warning(
		SERVICE BACKENDS("{ address: 10.0.1.11 }, { address: 10.0.1.12 }",
				 "{ address: 10.0.2.11, weight: 200 }") "  rollout: { steps: [ { "
									"weight: 99% } ] }\n");
	assert_warning(
		SERVICE BACKENDS("{ address: 10.0.1.11 }",
				 "{ address: 10.0.2.11, weight: 50 }") "  rollout: { steps: [ { "
								       "weight: 75% } ] }\n",
		9, 33, "services/api/rollout/steps[0]", "1.5 times");
	/* A share that is there already, or falls, puts nothing on it; a segment may be light. */
	assert_no_warning(STABLE_3_CANARY_1
			  "  rules: [ { default: true, allocate: { canary: 50% } } ]\n"
			  "  rollout: { steps: [ { weight: 50% } ] }\n");
}

static void what_is_likely_a_mistake_is_warned_of(void **state)
{
	(void)state;
	assert_warning(GOOD "  rules: [ { default: true, allocate: { canary: 20% } } ]\n"
			    "  rollout: { steps: [ { weight: 10% }, { weight: 15% } ] }\n",
		       10, 33, "services/api/rollout/steps[0]",
		       "falls from 20%, its base share, to 10%");
	assert_no_warning(GOOD "  rules: [ { default: true, allocate: { canary: 20% } } ]\n"
			       "  rollout: { steps: [ { weight: 10%, lower: true } ] }\n");
	assert_warning(SERVICE BACKENDS("{ address: 10.0.1.11 }", "") "  rollout:\n" ONE_STEP, 10,
		       5, "services/api/rollout", "the rollout cannot start");
	assert_warning(GOOD "  rollout: { steps: [ { analysis: {} }, { weight: 1% } ] }\n", 9, 35,
		       "services/api/rollout/steps[0]", "nothing to analyse");
	assert_no_warning(GOOD "  rules: [ { default: true, allocate: { canary: 1% } } ]\n"
			       "  rollout: { steps: [ { analysis: {} } ] }\n");
	assert_warning(GOOD "  rollout:\n    steps: [ { weight: 1% }, { analysis: {} } ]\n"
			    "    metrics: [ { name: respond_time } ]\n",
		       10, 42, "services/api/rollout/steps[1]", "waits for nothing");
	assert_warning(GOOD
		       "  rollout:\n    steps: [ { weight: 1% }, { pause: { duration: 7d } } ]\n",
		       10, 5, "services/api/rollout/max_duration", "the steps take 7d10m30s at least");
	assert_no_warning(GOOD "  rollout:\n    steps: [ { weight: 1% }, { pause: {} } ]\n"
			       "    max_duration: 630s\n");
	assert_warning(METRIC("source: command, command: [ a ], interval: 5s"), 11, 70,
		       "services/api/rollout/metrics/m/timeout", "longer than the interval");
	assert_warning(METRIC("source: command, command: [ a ], weight: .5"), 11, 68,
		       "services/api/rollout/metrics/m/weight", "has no effect");
	assert_warning(GOOD "  health_check: { type: tcp, timeout: 3s }\n", 9, 39,
		       "services/api/health_check/timeout", "3s is longer than the interval, 2s");
	assert_no_warning(GOOD "  health_check: { type: tcp, timeout: 2s }\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		REFUSED(steps_that_go_down_without_saying_so_are_refused),
		cmocka_unit_test(shares_of_different_rules_go_their_own_ways),
		REFUSED(steps_that_cannot_be_taken_are_refused),
		REFUSED(a_rollout_is_about_a_canary),
		REFUSED(one_mistake_is_one_error),
		REFUSED(a_metric_that_nothing_provides_is_refused),
		REFUSED(keys_of_a_source_go_with_it_alone),
		REFUSED(a_query_has_limits_or_a_control),
		REFUSED(a_rate_is_of_clients),
		REFUSED(only_steps_have_gates),
		REFUSED(a_check_must_be_able_to_ask),
		cmocka_unit_test(a_service_with_some_port_can_be_asked_there),
		cmocka_unit_test(a_rule_without_control_or_limit_is_warned_of_as_unarmed),
		cmocka_unit_test(metrics_that_could_roll_nothing_back_are_warned_of_as_unarmed),
		cmocka_unit_test(of_udp_the_kernels_metrics_tell_nothing_and_apply_says_so),
		cmocka_unit_test(what_is_likely_a_mistake_is_warned_of),
		cmocka_unit_test(a_step_that_puts_too_much_on_the_canary_is_warned_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
