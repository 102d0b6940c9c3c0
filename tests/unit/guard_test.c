// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard's statistics at the values that its description gives, and at the edges. Against the
 * definitions in decimals of 60 digits: tests/reference/test_guard.py. Over whole rollouts:
 * tests/simulate.
 */
#include "guard/guard.h"
#include "guard/verdict.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static double log_e(uint64_t k, uint64_t n, double pi, double psi0)
{
	struct guard_stratum stratum = {k, n, pi};

	return guard_log_e(&stratum, 1, psi0);
}

static void near(double value, double expected, double within)
{
	if (!(fabs(value - expected) <= within))
		fail_msg("%.9g is not within %g of %.9g", value, within, expected);
}

static void e_values_are_those_of_the_description(void **state)
{
	struct guard_stratum two[] = {{3, 40, .01}, {9, 100, .05}};

	(void)state;
	near(log_e(10, 100, .05, 1), 0.407105, 1e-6);
	near(log_e(20, 100, .05, 1), 12.089642, 1e-6);
	near(log_e(5, 100, .05, 1), -2.483649, 1e-6);
	near(log_e(0, 100, .05, 1), -4.476262, 1e-6);
	near(log_e(30, 60, .25, 1), 6.774226, 1e-6);
	near(guard_log_e(two, 2, 1), 1.477580, 1e-6);
	near(log_e(20, 100, .05, 1.5), 6.449343, 1e-6);
}

static void intervals_are_those_of_the_description(void **state)
{
	struct guard_stratum few = {20, 100, .05}, many = {500, 1000, .5};
	double low, high;

	(void)state;
	guard_interval(&few, 1, .05, &low, &high);
	near(low, 1.88694, 1e-5);
	near(high, 10.36611, 1e-5);
	guard_interval(&many, 1, .05, &low, &high);
	near(low, .79995, 1e-5);
	near(high, 1.25008, 1e-5);
}

/* Pooled, the canary would seem to have a third of the control's rate. */
static void strata_are_not_pooled(void **state)
{
	struct guard_stratum strata[] = {{230, 20230, .01}, {6000, 11000, .5}};
	double low, high;

	(void)state;
	near(guard_psi(strata, 2), 1.195, 5e-4);
	guard_interval(strata, 2, .05, &low, &high);
	near(low, .998, 5e-4);
	near(high, 1.431, 5e-4);
}

/* At beta .05 in window 0 the threshold is 40. */
static void clean_clients_certify_when_there_are_as_many_as_the_description_says(void **state)
{
	double threshold = guard_log_threshold(0, .05);

	(void)state;
	near(threshold, log(40), 1e-12);
	assert_true(guard_log_e_certify(0, 434, .01) < threshold);
	assert_true(guard_log_e_certify(0, 435, .01) >= threshold);
	assert_true(guard_log_e_certify(0, 4366, .001) < threshold);
	assert_true(guard_log_e_certify(0, 4367, .001) >= threshold);
}

/* Events until a test has spoken, the mean of 400 runs with its standard error. */
static double mean_events(struct random *random, double pi, double psi,
			  bool (*has_spoken)(const struct guard_stratum *stratum), double *error)
{
	double q = pi * psi / (1 - pi + pi * psi), sum = 0, squares = 0, runs = 400;

	for (int run = 0; run < runs; run++) {
		struct guard_stratum stratum = {0, 0, pi};

		while (!has_spoken(&stratum)) {
			stratum.k += (double)random_next(random) < q * 0x1p64;
			stratum.n++;
		}
		sum += (double)stratum.n;
		squares += (double)stratum.n * (double)stratum.n;
	}
	*error = sqrt((squares / runs - sum / runs * sum / runs) / runs);
	return sum / runs;
}

static bool rolls_back(const struct guard_stratum *stratum)
{
	return guard_log_e(stratum, 1, 1) >= log(1 / .01);
}

static bool promotes(const struct guard_stratum *stratum)
{
	return guard_log_e_promote(stratum, 1, 2) >= log(1 / .05);
}

struct expectation {
	double pi, psi, events;
};

/* The description's figures are means of simulations, too, to the whole event. */
static void compare_means(const struct expectation *expected, size_t count,
			  bool (*has_spoken)(const struct guard_stratum *stratum))
{
	struct random random = random_seeded("mean events");
	double error, mean;

	for (size_t i = 0; i < count; i++) {
		mean = mean_events(&random, expected[i].pi, expected[i].psi, has_spoken, &error);
		near(mean, expected[i].events, 5 * error + .02 * expected[i].events + 1);
	}
}

static void bad_canaries_are_found_after_as_many_events_as_the_description_says(void **state)
{
	static const struct expectation expected[] = {
		{.01, 2, 1687}, {.01, 3, 491}, {.01, 10, 50}, {.05, 2, 369}, {.05, 3, 113},
		{.05, 10, 14},	{.25, 2, 115}, {.25, 3, 41},  {.25, 10, 9},
	};

	(void)state;
	compare_means(expected, COUNT(expected), rolls_back);
}

static void good_canaries_are_promoted_after_as_many_events_as_the_description_says(void **state)
{
	static const struct expectation expected[] = {
		{.01, 1, 992},
		{.05, 1, 205},
		{.25, 1, 64},
		{.5, 1, 56},
	};

	(void)state;
	compare_means(expected, COUNT(expected), promotes);
}

static void what_has_one_arm_says_nothing(void **state)
{
	struct guard_stratum strata[] = {{10, 100, .05}, {900, 900, 1}, {0, 900, 0}, {0, 0, .5}};
	double low, high;

	(void)state;
	near(guard_log_e(strata, 4, 1), 0.407105, 1e-6);
	assert_true(guard_log_e(strata + 1, 3, 1) == 0);
	assert_true(guard_log_e(NULL, 0, 1) == 0);
	assert_true(guard_log_e_promote(strata + 1, 3, 2) == 0);
	assert_true(guard_log_e_ratio(strata + 1, 3) == 0);
	assert_true(isnan(guard_psi(strata + 1, 3)));
	guard_interval(strata + 1, 3, .05, &low, &high);
	assert_true(low == 0 && isinf(high));
	guard_interval(NULL, 0, .05, &low, &high);
	assert_true(low == 0 && isinf(high));
}

static void an_arm_without_events_has_an_open_interval(void **state)
{
	struct guard_stratum none = {0, 100, .05}, all = {100, 100, .05};
	double low, high;

	(void)state;
	assert_true(guard_psi(&none, 1) == 0);
	guard_interval(&none, 1, .05, &low, &high);
	assert_true(low == 0 && high > .1 && high < 1);
	assert_true(isinf(guard_psi(&all, 1)));
	guard_interval(&all, 1, .05, &low, &high);
	assert_true(isinf(high) && low > 1 && low < 64);
}

static void nothing_overflows_at_a_milliard_events_or_at_any_share(void **state)
{
	static const uint64_t counts[] = {0, 1, 1000, 1000000000, 1000000000000};
	static const double shares[] = {0, 5e-324, 1e-300, 1e-6, .5, 1 - 1e-6, 1 - 0x1p-53, 1};
	double low, high, e;

	(void)state;
	for (size_t i = 0; i < COUNT(counts); i++) {
		for (size_t j = 0; j <= i; j++) {
			for (size_t s = 0; s < COUNT(shares); s++) {
				struct guard_stratum of = {counts[j], counts[i], shares[s]};

				assert_true(isfinite(guard_log_e(&of, 1, 1.1)));
				assert_true(isfinite(guard_log_e_promote(&of, 1, 2)));
				assert_true(isfinite(guard_log_e_ratio(&of, 1)));
				guard_interval(&of, 1, .01, &low, &high);
				assert_true(low >= 0 && low <= high);
				e = guard_log_e_absolute(of.k, of.n, of.pi);
				assert_true(isfinite(e) || (of.pi == 0 && of.k));
				assert_false(isnan(guard_log_e_certify(of.k, of.n, of.pi)));
			}
		}
	}
	assert_true(isfinite(guard_log_threshold(UINT32_MAX, 1e-300)));
}

/* A doubled rate at 10^9 events: ln E grows with the events, to the last digits. */
static void e_grows_with_the_events(void **state)
{
	double small = log_e(200000, 1000000, .1, 1), large = log_e(200000000, 1000000000, .1, 1);

	(void)state;
	near(large / small, 1000, .1);
}

/* What comes bit by bit is what comes at once: k and n are all that is kept of the past. */
static void a_stratum_split_in_two_is_one_stratum(void **state)
{
	struct guard_stratum parts[] = {{4, 30, .05}, {16, 70, .05}}, whole = {20, 100, .05};

	(void)state;
	near(guard_log_e(parts, 2, 1), guard_log_e(&whole, 1, 1), 1e-12);
	near(guard_psi(parts, 2), guard_psi(&whole, 1), 1e-12);
	near(guard_psi(&whole, 1), 20 * .95 / (80 * .05), 1e-12);
}

static void absolute_limits_at_their_ends(void **state)
{
	(void)state;
	assert_true(isinf(guard_log_e_absolute(1, 10, 0))); /* max_rate 0: one event decides */
	assert_true(guard_log_e_absolute(0, 10, 0) == 0);
	assert_true(guard_log_e_absolute(10, 10, 1) == 0); /* no limit at all */
	assert_true(guard_log_e_certify(0, 10, 0) == 0);   /* nothing is below it */
	assert_true(isinf(guard_log_e_certify(0, 1, 1)));
	assert_true(guard_log_e_absolute(0, 0, .01) == 0);
	assert_true(guard_log_e_certify(0, 0, .01) == 0);
	assert_true(guard_log_e_certify(10, 100, .01) < 0);
	assert_true(guard_log_e_absolute(10, 100, .01) > log(200));
}

static void means_of_e_values_keep_to_the_largest(void **state)
{
	double values[] = {1000, -INFINITY, 0, 1000}, none[] = {-INFINITY, -INFINITY};

	(void)state;
	near(guard_log_mean(values, 4), 1000 - log(2), 1e-12);
	assert_true(guard_log_mean(none, 2) == -INFINITY);
	assert_true(guard_log_mean(NULL, 0) == 0);
	values[0] = INFINITY;
	assert_true(isinf(guard_log_mean(values, 4)));
}

static void verdicts_have_the_words_of_the_contract(void **state)
{
	static const char *const words[] = {"ROLLBACK",	    "PROMOTE", "CONTINUE",
					    "INCONCLUSIVE", "NODATA",  "INVALID"};

	(void)state;
	assert_int_equal(VERDICTS, COUNT(words));
	for (size_t i = 0; i < COUNT(words); i++)
		assert_string_equal(verdict_name((enum verdict)i), words[i]);
	assert_string_equal(armed_name(ARMED_RELATIVE), "relative");
	assert_string_equal(armed_name(ARMED_ABSOLUTE), "absolute");
	assert_string_equal(armed_name(ARMED_NONE), "none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(e_values_are_those_of_the_description),
		cmocka_unit_test(intervals_are_those_of_the_description),
		cmocka_unit_test(strata_are_not_pooled),
		cmocka_unit_test(
			clean_clients_certify_when_there_are_as_many_as_the_description_says),
		cmocka_unit_test(
			bad_canaries_are_found_after_as_many_events_as_the_description_says),
		cmocka_unit_test(
			good_canaries_are_promoted_after_as_many_events_as_the_description_says),
		cmocka_unit_test(what_has_one_arm_says_nothing),
		cmocka_unit_test(an_arm_without_events_has_an_open_interval),
		cmocka_unit_test(nothing_overflows_at_a_milliard_events_or_at_any_share),
		cmocka_unit_test(e_grows_with_the_events),
		cmocka_unit_test(a_stratum_split_in_two_is_one_stratum),
		cmocka_unit_test(absolute_limits_at_their_ends),
		cmocka_unit_test(means_of_e_values_keep_to_the_largest),
		cmocka_unit_test(verdicts_have_the_words_of_the_contract),
	};

	return cmocka_run_group_tests_name("unit/guard", tests, NULL, NULL);
}
