// SPDX-License-Identifier: GPL-2.0-only
/* Paired counts: increments, the window that they belong to, and the part that is expected. */
#include "rollout/pairs.h"
#include "tests/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ULL

static void expect_increments(struct followed_pair before, struct followed_pair after, uint64_t k,
			      uint64_t n)
{
	uint64_t got_k, got_n;

	pair_increments(&before, &after, &got_k, &got_n);
	assert_int_equal(got_k, k);
	assert_int_equal(got_n, n);
}

static struct followed_pair pair(double canary, double control)
{
	return (struct followed_pair){.is_known = true, .canary = canary, .control = control};
}

static void events_are_what_both_counters_grew_by(void **state)
{
	(void)state;
	expect_increments(pair(10, 100), pair(13, 120), 3, 23);
	expect_increments(pair(10, 100), pair(10, 100), 0, 0);
	expect_increments(pair(0, 0), pair(PAIR_MOST, 0), 1ULL << 53, 1ULL << 53);
}

static void a_counter_that_fell_began_anew(void **state)
{
	(void)state;
	expect_increments(pair(1000, 100), pair(4, 105), 4, 9);
	expect_increments(pair(10, 5000), pair(12, 7), 2, 9);
	expect_increments(pair(10, 10), pair(0, 0), 0, 0);
}

static void fractions_are_neither_lost_nor_counted_twice(void **state)
{
	uint64_t k, n, all = 0;
	struct followed_pair before = pair(0, 0), after;

	(void)state;
	for (int i = 1; i <= 1000; i++) {
		after = pair(i * .3, 0);
		pair_increments(&before, &after, &k, &n);
		all += k;
		before = after;
	}
	assert_int_equal(all, 300);
}

static void what_is_no_counter_is_not_taken_for_one(void **state)
{
	(void)state;
	assert_true(pair_is_counter(0));
	assert_true(pair_is_counter(12.5));
	assert_true(pair_is_counter(PAIR_MOST));
	assert_false(pair_is_counter(-1));
	assert_false(pair_is_counter(NAN));
	assert_false(pair_is_counter(INFINITY));
	assert_false(pair_is_counter(2 * PAIR_MOST));
}

/* ---- windows ---- */

static struct followed_window windows[] = {
	{.window = 4, .begin_ns = 100 * SECOND},
	{.window = 5, .begin_ns = 200 * SECOND},
	{.window = 6, .begin_ns = 300 * SECOND},
};

/* Shares changed at 199 s; the window of 300 s began for its predecessor's hour was over. */
static const struct followed followed = {
	.windows = windows,
	.windows_count = 3,
	.changed_ns = 199 * SECOND,
};

static void expect_window(uint64_t from, uint64_t to, uint32_t window)
{
	const struct followed_window *got =
		pair_window(&followed, 30 * SECOND, from * SECOND, to * SECOND);

	assert_non_null(got);
	assert_int_equal(got->window, window);
}

static void expect_none(uint64_t from, uint64_t to)
{
	assert_null(pair_window(&followed, 30 * SECOND, from * SECOND, to * SECOND));
}

static void counts_belong_to_the_window_that_both_ends_lie_in(void **state)
{
	(void)state;
	expect_window(110, 140, 4);
	expect_window(240, 270, 5);
	expect_window(300, 330, 6);
	expect_window(400, 430, 6);
	expect_none(90, 120);  /* before the first one */
	expect_none(180, 210); /* a share changed */
	expect_none(290, 320); /* a window began */
}

static void a_share_that_changed_and_what_follows_within_settle_do_not_count(void **state)
{
	(void)state;
	expect_none(190, 199); /* it changed before the window of it began */
	expect_window(190, 198, 4);
	expect_none(205, 235);
	expect_none(228, 258);
	expect_window(229, 259, 5);
}

/* ---- what is expected ---- */

static void expect_part(double expected, const struct pair_traffic *traffic,
			uint32_t shares[RULES_MAX][COHORTS_MAX], size_t rules)
{
	double got = pair_expected(traffic, shares, rules, 2);

	assert_true(fabs(got - expected) < 1e-12);
}

static void one_rule_expects_its_share(void **state)
{
	uint32_t shares[RULES_MAX][COHORTS_MAX] = {{900000, 0, 100000}};
	struct pair_traffic traffic = {.rules = {123}};

	(void)state;
	expect_part(.1, &traffic, shares, 1);
	/* Another canary's clients are in neither. */
	shares[0][0] = 400000;
	shares[0][1] = 500000;
	expect_part(.2, &traffic, shares, 1);
	shares[0][2] = 0;
	expect_part(0, &traffic, shares, 1);
}

static void rules_count_by_their_traffic(void **state)
{
	uint32_t shares[RULES_MAX][COHORTS_MAX] = {{0, 0, 1000000}, {990000, 0, 10000}};
	struct pair_traffic traffic = {.rules = {50, 950}};

	(void)state;
	expect_part((50 + 9.5) / 1000, &traffic, shares, 2);
	traffic.rules[0] = 0;
	expect_part(.01, &traffic, shares, 2);
}

static void held_out_and_pinned_clients_are_traffic_too(void **state)
{
	uint32_t shares[RULES_MAX][COHORTS_MAX] = {{500000, 0, 500000}};
	struct pair_traffic traffic = {.rules = {900}, .control = 100};

	(void)state;
	expect_part(.45, &traffic, shares, 1);
	traffic.canary = 50;
	expect_part(500. / 1050, &traffic, shares, 1);
}

static void without_traffic_nothing_is_expected(void **state)
{
	uint32_t shares[RULES_MAX][COHORTS_MAX] = {{500000, 0, 500000}};
	const struct pair_traffic traffic = {.rules = {0}};

	(void)state;
	assert_true(isnan(pair_expected(&traffic, shares, 1, 2)));
}

/* Another way to the same: flow by flow, each thrown to a cohort by its rule's shares. */
static void the_part_is_that_of_flows_thrown_one_by_one(void **state)
{
	uint32_t shares[RULES_MAX][COHORTS_MAX] = {{0}};
	struct pair_traffic traffic = {0};
	struct random random = random_seeded(__func__);
	uint64_t canary = 0, both = 0;
	double part, deviation;

	(void)state;
	for (size_t rule = 0; rule < 3; rule++) {
		shares[rule][2] = random_below(&random, 400000);
		shares[rule][1] = random_below(&random, 300000);
		shares[rule][0] = 1000000 - shares[rule][1] - shares[rule][2];
		traffic.rules[rule] = 20000 + random_below(&random, 200000);
		for (uint64_t flow = 0; flow < traffic.rules[rule]; flow++) {
			uint32_t at = random_below(&random, 1000000);

			canary += at < shares[rule][2];
			both += at < shares[rule][2] || at >= shares[rule][2] + shares[rule][1];
		}
	}
	part = pair_expected(&traffic, shares, 3, 2);
	deviation = sqrt(part * (1 - part) / both);
	assert_true(fabs((double)canary / both - part) < 6 * deviation);
}

/* ---- the tally ---- */

static void traffic_is_what_came_since(void **state)
{
	const struct pair_traffic before = {.rules = {100, 50}, .control = 10},
				  now = {.rules = {160, 50}, .canary = 2, .control = 15};
	struct pair_traffic since = pair_traffic_since(&before, &now);

	(void)state;
	assert_true(since.rules[0] == 60 && since.rules[1] == 0);
	assert_true(since.canary == 2 && since.control == 5);
	/* Nobody came: then as it was in all. */
	since = pair_traffic_since(&now, &now);
	assert_true(since.rules[0] == 160 && since.rules[1] == 50);
	assert_true(pair_traffic_is_none(&(struct pair_traffic){0}));
	assert_false(pair_traffic_is_none(&now));
}

static struct service service_of_two(struct rollout_metric metrics[2])
{
	struct service service = {.name = "api", .cohorts_count = 2, .rules_count = 1};

	strcpy(service.cohorts[0].name, "stable");
	strcpy(service.cohorts[1].name, "canary");
	metrics[0] = (struct rollout_metric){.name = "a", .source = SOURCE_PROMETHEUS};
	metrics[1] = (struct rollout_metric){.name = "b", .source = SOURCE_PROMETHEUS};
	service.rollout.metrics = metrics;
	service.rollout.metrics_count = 2;
	service.rollout.settle_ms = 30000;
	return service;
}

static void look_at(struct followed *at, const struct service *service, uint64_t seconds,
		    double canary, double control)
{
	const struct pair_traffic traffic = {.rules = {1000}};
	const struct followed_pair now = {true, seconds * SECOND, canary, control};

	assert_int_equal(pair_tally(at, service, 1, &now, (seconds + 1) * SECOND, &traffic), 0);
}

static void only_increments_within_a_window_are_tallied(void **state)
{
	struct rollout_metric metrics[2];
	struct service service = service_of_two(metrics);
	struct followed at = followed;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		windows[i].shares[0][0] = 1000000 - (windows[i].shares[0][1] = 100000 * (i + 1));
	look_at(&at, &service, 110, 50, 500); /* the first look counts nothing */
	assert_int_equal(at.tallies_count, 0);
	look_at(&at, &service, 140, 51, 509);
	look_at(&at, &service, 170, 53, 513);
	look_at(&at, &service, 210, 153, 613); /* a share changed meanwhile */
	look_at(&at, &service, 240, 163, 703); /* within settle of that */
	look_at(&at, &service, 270, 164, 705);
	look_at(&at, &service, 310, 264, 805); /* a window began */
	assert_int_equal(at.tallies_count, 2);
	assert_int_equal(at.tallies[0].metric, 1);
	assert_int_equal(at.tallies[0].window, 4);
	assert_int_equal(at.tallies[0].stratum.k, 3);
	assert_int_equal(at.tallies[0].stratum.n, 16);
	assert_true(fabs(at.tallies[0].stratum.pi - .1) < 1e-12);
	assert_int_equal(at.tallies[1].window, 5);
	assert_int_equal(at.tallies[1].stratum.k, 1);
	assert_int_equal(at.tallies[1].stratum.n, 3);
	assert_true(fabs(at.tallies[1].stratum.pi - .2) < 1e-12);
	free(at.tallies);
}

static void a_canary_or_control_without_traffic_tallies_nothing(void **state)
{
	struct rollout_metric metrics[2];
	struct service service = service_of_two(metrics);
	struct followed at = followed;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		windows[i].shares[0][0] =
			1000000 - (windows[i].shares[0][1] = i == 2 ? 1000000 : 0);
	look_at(&at, &service, 110, 50, 500);
	look_at(&at, &service, 140, 51, 509);
	look_at(&at, &service, 310, 52, 520);
	look_at(&at, &service, 340, 53, 530);
	assert_int_equal(at.tallies_count, 0);
	assert_true(at.pairs[1].canary == 53);
}

/* ---- what is remembered ---- */

static void looks_and_means_survive_a_restart(void **state)
{
	struct service service = {.name = "api"};
	struct rollout_metric metrics[2] = {{.name = "a", .source = SOURCE_PROMETHEUS},
					    {.name = "b", .source = SOURCE_PROMETHEUS}};
	struct followed before, after;
	json_t *json;

	(void)state;
	service.rollout.metrics = metrics;
	service.rollout.metrics_count = 2;
	follow_init(&before, &service, 3);
	before.pairs[1] = (struct followed_pair){true, 1700000000123456789ULL, 12.5, 1e15};
	/* Half of the events at .1, half at .3. */
	assert_int_equal(follow_tally(&before, 1, 0, 0, 3, 50, .1), 0);
	assert_int_equal(follow_tally(&before, 1, 0, 0, 4, 50, .3), 0);
	json = follow_to_json(&before);
	assert_int_equal(follow_from_json(&after, &service, json), 0);
	assert_true(after.pairs[1].is_known);
	assert_int_equal(after.pairs[1].time_ns, before.pairs[1].time_ns);
	assert_true(after.pairs[1].canary == 12.5);
	assert_true(after.pairs[1].control == 1e15);
	assert_false(after.pairs[0].is_known);
	assert_int_equal(after.tallies_count, 1);
	assert_int_equal(after.tallies[0].stratum.k, 7);
	assert_int_equal(after.tallies[0].stratum.n, 100);
	assert_true(fabs(after.tallies[0].stratum.pi - .2) < 1e-12);
	json_decref(json);
	follow_release(&before);
	follow_release(&after);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(events_are_what_both_counters_grew_by),
		TEST(a_counter_that_fell_began_anew),
		TEST(fractions_are_neither_lost_nor_counted_twice),
		TEST(what_is_no_counter_is_not_taken_for_one),
		TEST(counts_belong_to_the_window_that_both_ends_lie_in),
		TEST(a_share_that_changed_and_what_follows_within_settle_do_not_count),
		TEST(one_rule_expects_its_share),
		TEST(rules_count_by_their_traffic),
		TEST(held_out_and_pinned_clients_are_traffic_too),
		TEST(without_traffic_nothing_is_expected),
		TEST(the_part_is_that_of_flows_thrown_one_by_one),
		TEST(traffic_is_what_came_since),
		TEST(only_increments_within_a_window_are_tallied),
		TEST(a_canary_or_control_without_traffic_tallies_nothing),
		TEST(looks_and_means_survive_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
