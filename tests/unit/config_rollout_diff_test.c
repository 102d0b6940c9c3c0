// SPDX-License-Identifier: GPL-2.0-only
/* Rollouts as they are rendered, and what is said of two configurations that differ in them. */
#include "config_fixture.h"

#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- random ones ---- */

static double random_real(struct random *random, double least, double most)
{
	/* Often an end, for that is where ranges are wrong. */
	switch (random_below(random, 4)) {
	case 0:
		return least;
	case 1:
		return most;
	default:
		return least + (most - least) * random_below(random, 1 << 20) / (1 << 20);
	}
}

static uint64_t random_time(struct random *random, uint64_t least, uint64_t most)
{
	return random_below(random, 2) ? least : least + random_next(random) % (most - least + 1);
}

static char *random_text(struct random *random)
{
	static const char *const texts[] = {"a", "null", "- b: #c", "'\"\\", "é", "1", " x "};

	return strdup(texts[random_below(random, COUNT(texts))]);
}

static char *random_url(struct random *random)
{
	static const char *const urls[] = {"http://h", "https://[::1]:1/a?b=c#d",
					   "HTTP://u:p@10.0.0.1/%20"};

	return strdup(urls[random_below(random, COUNT(urls))]);
}

/* A share of the one rule there is never falls by accident: it goes up, or the step says so. */
static void random_step(struct random *random, struct step *step, uint32_t *share)
{
	step->kind = random_below(random, 4);
	switch (step->kind) {
	case STEP_WEIGHT:
		step->weight_ppm =
			random_below(random, 3) ? random_below(random, 1000001) : 1000000;
		step->has_weight = true;
		step->lower = step->weight_ppm < *share || !random_below(random, 4);
		*share = step->weight_ppm;
		break;
	case STEP_PAUSE:
		step->pause_ms = random_below(random, 2) ? 0 : random_time(random, 1, 1 << 30);
		break;
	case STEP_ANALYSIS:
		step->analysis_timeout_ms = random_time(random, 7200000, 1 << 30);
		break;
	case STEP_APPROVE:
		step->approve_message = random_below(random, 2) ? strdup("") : random_text(random);
		break;
	}
}

static void random_query(struct random *random, struct rollout_metric *metric)
{
	metric->url = random_url(random);
	metric->query = random_text(random);
	if (random_below(random, 2)) {
		metric->query_control = random_text(random);
		return;
	}
	metric->has_min = random_below(random, 2);
	metric->has_max = !metric->has_min || random_below(random, 2);
	if (metric->has_min)
		metric->min = random_below(random, 2) ? 0 : random_real(random, -1e9, 1.0 / 3);
	if (metric->has_max)
		metric->max = random_real(random, 1.0 / 3, 1e300);
}

static void random_metric(struct random *random, struct rollout_metric *metric, size_t index)
{
	metric->source = index < KERNEL_METRICS ? SOURCE_KERNEL : random_below(random, 3) + 1;
	metric->kernel = index < KERNEL_METRICS ? index : METRIC_NOT_KERNEL;
	if (index < KERNEL_METRICS)
		strcpy(metric->name, kernel_metric_name(index));
	else
		snprintf(metric->name, sizeof(metric->name), "m%zu", index);
	metric->weight = random_real(random, 1e-9, 1);
	metric->critical = random_below(random, 2);
	metric->has_critical = metric->critical != (metric->kernel <= METRIC_RETRANSMISSION);
	metric->interval_ms = 30000;
	if (metric->kernel <= METRIC_RETRANSMISSION || metric->source == SOURCE_FEEDBACK) {
		metric->has_max_rate = random_below(random, 2);
		metric->max_rate_ppm = metric->has_max_rate ? 1 + random_below(random, 1000000) : 0;
	} else if (metric->source == SOURCE_PROMETHEUS) {
		metric->interval_ms = random_time(random, 100, 86400000);
		random_query(random, metric);
	} else if (metric->source == SOURCE_COMMAND) {
		metric->interval_ms = random_time(random, 100, 86400000);
		metric->timeout_ms = random_time(random, 100, 3600000);
		metric->command_count = 1 + random_below(random, 4);
		metric->command = calloc(metric->command_count, sizeof(*metric->command));
		for (size_t i = 0; i < metric->command_count; i++)
			metric->command[i] = random_text(random);
	}
}

static void random_hook(struct random *random, struct rollout_hook *hook)
{
	hook->on = random_below(random, 4);
	hook->url = random_url(random);
	hook->timeout_ms = random_time(random, 100, 600000);
	hook->retries = random_below(random, 101);
	hook->gate = hook->on <= HOOK_AFTER_STEP && random_below(random, 2);
}

static void random_rollout(struct random *random, struct rollout *rollout)
{
	uint32_t share = 0;

	rollout->bake_ms = random_time(random, 0, 1 << 30);
	rollout->settle_ms = random_time(random, 0, 1 << 20);
	rollout->max_duration_ms = random_time(random, 1000, 1 << 30);
	rollout->on_fail = random_below(random, 2);
	rollout->on_inconclusive = random_below(random, 2);
	rollout->max_load = random_below(random, 2) ? 0 : random_real(random, .1, 100);
	rollout->lease_ms = random_below(random, 2) ? 0 : random_time(random, 1000, 86400000);
	rollout->guard = (struct guard_options){
		.alpha = random_real(random, 1e-300, .5),
		.beta = random_real(random, 1e-300, .5),
		.margin = random_real(random, 1, 1.5),
		.promote_ratio = random_real(random, 1.1, 4),
		.control_factor = 1 + random_below(random, 16),
	};
	rollout->steps_count = 1 + random_below(random, 8);
	rollout->steps = calloc(rollout->steps_count, sizeof(*rollout->steps));
	for (size_t i = 0; i < rollout->steps_count; i++)
		random_step(random, &rollout->steps[i], &share);
	rollout->has_metrics = true;
	rollout->metrics = calloc(ROLLOUT_METRICS_MAX, sizeof(*rollout->metrics));
	for (size_t i = 0; i < ROLLOUT_METRICS_MAX; i++)
		if (random_below(random, 4) == 0 || i == ROLLOUT_METRICS_MAX - 1)
			random_metric(random, &rollout->metrics[rollout->metrics_count++], i);
	rollout->hooks_count = random_below(random, 4);
	rollout->hooks = calloc(4, sizeof(*rollout->hooks));
	for (size_t i = 0; i < rollout->hooks_count; i++)
		random_hook(random, &rollout->hooks[i]);
}

static struct policy *random_policy(struct random *random)
{
	struct policy *policy = parse(GOOD);
	struct service *service = &policy->services[0];

	service->rollout.is_given = random_below(random, 8);
	if (service->rollout.is_given)
		random_rollout(random, &service->rollout);
	return policy;
}

static void rendering_and_parsing_give_the_same_rollout(void **state)
{
	struct random random = random_seeded(__func__);

	(void)state;
	for (size_t i = 0; i < 500; i++) {
		struct policy *policy = random_policy(&random);

		assert_round_trip(policy);
		policy_free(policy);
	}
}

#define POLICIES 40

static void rollouts_differ_exactly_where_their_trees_do(void **state)
{
	struct random random = random_seeded(__func__), before = random;
	struct policy *policies[POLICIES];
	json_t *trees[POLICIES];

	(void)state;
	for (size_t i = 0; i < POLICIES; i++) {
		/* Every other one is as the one before. */
		if (i % 2)
			random = before;
		before = random;
		policies[i] = random_policy(&random);
		trees[i] = config_to_json(policies[i]);
	}
	for (size_t i = 0; i < POLICIES; i++) {
		for (size_t j = 0; j < POLICIES; j++) {
			json_t *differences = config_diff(policies[i], policies[j]);

			assert_int_equal(json_array_size(differences) == 0,
					 json_equal(trees[i], trees[j]));
			json_decref(differences);
		}
	}
	for (size_t i = 0; i < POLICIES; i++) {
		json_decref(trees[i]);
		policy_free(policies[i]);
	}
}

/* ---- what is said ---- */

#define STEPS(steps)	    GOOD "  rollout: { steps: [ " steps " ] }\n"
#define WITH(rest)	    GOOD "  rollout: { steps: [ { weight: 1% } ], " rest " }\n"
#define DIFFERS(path)	    "{'path':'services/api/" path "',"
#define FROM(before, after) "'before':" before ",'after':" after "}"

static void differences_of_a_rollout_are_key_by_key(void **state)
{
	(void)state;
	assert_diff(GOOD, STEPS("{ weight: 1% }"),
		    "[" DIFFERS("rollout") FROM("null", "{'steps':[{'weight':'1%'}]}") "]");
	assert_diff(WITH("bake: 1m, lease: 0"), WITH("guard: { alpha: .5 }, max_load: 1.5"),
		    "[" DIFFERS("rollout/bake")
			    FROM("'1m'", "'10m'") "," DIFFERS("rollout/max_load")
				    FROM("0.0", "1.5") "," DIFFERS("rollout/lease")
					    FROM("'0s'", "'30s'") "," DIFFERS("rollout/guard/alpha")
						    FROM("0.01", "0.5") "]");
	assert_diff(
		GOOD, GOOD "  health_check: { type: http }\n  server_first: true\n",
		"[" DIFFERS("server_first") FROM("false", "true") "," DIFFERS("health_check/type")
			FROM("'none'", "'http'") "," DIFFERS("health_check/path")
				FROM("null", "'/'") "," DIFFERS("health_check/expect_status")
					FROM("null", "'200-399'") "]");
}

static void steps_and_hooks_are_told_by_their_place(void **state)
{
	(void)state;
	assert_diff(STEPS("{ weight: 1% }, { weight: 5% }"), STEPS("{ weight: 2% }"),
		    "[" DIFFERS("rollout/steps[0]/weight")
			    FROM("'1%'", "'2%'") "," DIFFERS("rollout/steps[1]")
				    FROM("{'weight':'5%'}", "null") "]");
	assert_diff(STEPS("{ weight: 1% }"), STEPS("{ pause: {} }"),
		    "[" DIFFERS("rollout/steps[0]/weight")
			    FROM("'1%'", "null") "," DIFFERS("rollout/steps[0]/pause")
				    FROM("null", "{}") "]");
	assert_diff(WITH("hooks: [ { on: rollback, url: 'http://a' } ]"),
		    WITH("hooks: [ { on: success, url: 'http://a' },"
			 " { on: success, url: 'http://a' } ]"),
		    "[" DIFFERS("rollout/hooks[0]/on")
			    FROM("'rollback'", "'success'") "," DIFFERS("rollout/hooks[1]")
				    FROM("null", "{'on':'success','url':'http://a'}") "]");
}

/* Where the file names none, the nine of the kernel are what is compared. */
static void metrics_are_told_by_their_name(void **state)
{
	(void)state;
	assert_diff(WITH("metrics: [ { name: quit }, { name: m, source: feedback } ]"),
		    WITH("metrics: [ { name: quit, max_rate: 1%, weight: .5 } ]"),
		    "[" DIFFERS("rollout/metrics/quit/weight")
			    FROM("1.0", "0.5") "," DIFFERS("rollout/metrics/quit/max_rate")
				    FROM("null", "'1%'") "," DIFFERS("rollout/metrics/m")
					    FROM("{'name':'m','source':'feedback'}", "null") "]");
	/* 0 is another limit than none. */
	assert_diff(WITH("metrics: [ { name: p, source: prometheus, url: 'http://h', query: q,"
			 " max: 1 } ]"),
		    WITH("metrics: [ { name: p, source: prometheus, url: 'http://h', query: q,"
			 " max: 1, min: 0 } ]"),
		    "[" DIFFERS("rollout/metrics/p/min") FROM("null", "0.0") "]");
	assert_diff(WITH("metrics: [ { name: c, source: command, command: [ a, -v, -v ] } ]"),
		    WITH("metrics: [ { name: c, source: command, command: [ a, -v ] } ]"),
		    "[" DIFFERS("rollout/metrics/c/command")
			    FROM("['a','-v','-v']", "['a','-v']") "]");
	assert_diff(STEPS("{ weight: 1% }"),
		    WITH("metrics: [ { name: connect_failure }, { name: syn_repeated },"
			 " { name: unanswered }, { name: quit }, { name: silent },"
			 " { name: retransmission }, { name: establish_time },"
			 " { name: respond_time, critical: true } ]"),
		    "[" DIFFERS("rollout/metrics/respond_time/critical")
			    FROM("false", "true") "," DIFFERS("rollout/metrics/last_byte_time")
				    FROM("{'name':'last_byte_time'}", "null") "]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rendering_and_parsing_give_the_same_rollout),
		cmocka_unit_test(rollouts_differ_exactly_where_their_trees_do),
		cmocka_unit_test(differences_of_a_rollout_are_key_by_key),
		cmocka_unit_test(steps_and_hooks_are_told_by_their_place),
		cmocka_unit_test(metrics_are_told_by_their_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
