// SPDX-License-Identifier: GPL-2.0-only
/*
 * Promise 9, the short form of `make simulate`: the guard's chance of rolling back a harmless
 * canary is at most alpha over the whole rollout, however often it looks; and what is bad is found.
 * The same simulations show what would happen if it counted otherwise: so they would find it.
 */
#include "scenarios.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ALPHA .05

double bound(double level, unsigned int runs)
{
	return level + 3 * sqrt(level * (1 - level) / runs);
}

static uint64_t seed;

static int choose_seed(void **state)
{
	struct random random = random_seeded("promise 9");

	(void)state;
	seed = random_next(&random);
	return 0;
}

/* The part of harmless rollouts that are rolled back. */
static double false_alarms(const struct plan *plan, enum counting counting, size_t clients,
			   unsigned int runs)
{
	struct rollout_metric metrics[ROLLOUT_METRICS_MAX];
	struct rollout rollout;
	struct scenario scenario = {
		.plan = *plan,
		.clients = clients,
		.rollout = &rollout,
		.counting = counting,
		.looks_an_hour = 10,
		.diurnal = true,
		.factor = 1,
	};
	struct tally tally;

	default_rollout(&rollout, metrics, DEFAULT_METRICS, ALPHA, 1);
	simulate_many(&scenario, ++seed, runs, 1, &tally);
	printf("%s: %u of %u rolled back, %u INVALID, %.0f looks each\n", counting_names[counting],
	       tally.rolled_back, runs, tally.invalid, tally.looks / runs);
	/* At 1 in 1000 for each window after a change of share. */
	if (counting == COUNT_FIRSTS_OF_WINDOW)
		assert_true(tally.invalid <= 2);
	tally_release(&tally);
	return (double)tally.rolled_back / runs;
}

static void promise_9_a_harmless_canary_is_rolled_back_with_alpha_at_most(void **state)
{
	(void)state;
	assert_true(false_alarms(&ramp_1_10_50, COUNT_FIRSTS_OF_WINDOW, 600, 400) <=
		    bound(ALPHA, 400));
	assert_true(false_alarms(&ramp_1_5_25_50, COUNT_FIRSTS_OF_WINDOW, 600, 400) <=
		    bound(ALPHA, 400));
}

static void promise_9_over_many_windows_too(void **state)
{
	(void)state;
	assert_true(false_alarms(&five_days, COUNT_FIRSTS_OF_WINDOW, 300, 150) <=
		    bound(ALPHA, 150));
}

static void
promise_9_is_broken_by_whoever_gives_each_window_the_threshold_of_the_first(void **state)
{
	(void)state;
	assert_true(false_alarms(&five_days, COUNT_WITHOUT_FACTOR, 300, 250) > bound(ALPHA, 250));
}

static void promise_9_is_broken_by_whoever_counts_every_flow(void **state)
{
	(void)state;
	assert_true(false_alarms(&ramp_1_10_50, COUNT_EVERY_FLOW, 4000, 100) > bound(ALPHA, 100));
}

static void promise_9_is_broken_by_whoever_counts_firsts_of_the_rollout(void **state)
{
	(void)state;
	assert_true(false_alarms(&ramp_1_10_50, COUNT_FIRSTS_OF_ROLLOUT, 2000, 50) >
		    bound(ALPHA, 50));
}

static void what_breaks_an_hour_in_is_found_within_minutes(void **state)
{
	struct rollout_metric metrics[ROLLOUT_METRICS_MAX];
	struct rollout rollout;
	struct scenario scenario = {
		.plan = a_day_at_10,
		.clients = 20000,
		.rollout = &rollout,
		.looks_an_hour = 120,
		.uniform = true,
		.fault = METRIC_CONNECT_FAILURE,
		.events_an_hour = .3,
		.factor = 3,
		.onset = 3,
	};
	struct tally tally;

	(void)state;
	default_rollout(&rollout, metrics, DEFAULT_METRICS, .01, 1.1);
	simulate_many(&scenario, ++seed, 20, 1, &tally);
	for (unsigned int i = 0; i < tally.runs; i++)
		assert_true(tally.delays[i] >= 0 && tally.delays[i] * 60 <= 10);
	tally_release(&tally);
}

static void delays_are_at_most_one_and_a_half_times_those_of_a_test_of_fixed_size(void **state)
{
	static const double ratios[] = {2, 3, 5};
	struct random random = {++seed};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		unsigned int fixed = fixed_horizon(.2, ratios[i], .01, .8);
		double events = mean_delay(.2, ratios[i], .01, 400, &random);

		printf("psi %g: %.1f events, fixed %u\n", ratios[i], events, fixed);
		assert_true(events <= 1.5 * fixed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(promise_9_a_harmless_canary_is_rolled_back_with_alpha_at_most),
		cmocka_unit_test(promise_9_over_many_windows_too),
		cmocka_unit_test(
			promise_9_is_broken_by_whoever_gives_each_window_the_threshold_of_the_first),
		cmocka_unit_test(promise_9_is_broken_by_whoever_counts_every_flow),
		cmocka_unit_test(promise_9_is_broken_by_whoever_counts_firsts_of_the_rollout),
		cmocka_unit_test(what_breaks_an_hour_in_is_found_within_minutes),
		cmocka_unit_test(
			delays_are_at_most_one_and_a_half_times_those_of_a_test_of_fixed_size),
	};

	return cmocka_run_group_tests_name("simulate/promise_9", tests, choose_seed, NULL);
}
