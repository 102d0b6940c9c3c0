// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is followed: the slice of control and pi, as the view says it, against every place of the
 * hash space one by one. And the pure parts of the records: buckets, times, which flows count.
 */
#include "track/track.h"
#include "allocation.h"
#include "policy/compile.h"
#include "policy/split.h"
#include "policy/transition.h"
#include "tests/random.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SERVICES 300
#define FINE	 20 /* log2 of the hashes that are looked at */

static void make_service(struct service *service, enum split_hash hash, size_t cohorts)
{
	uint32_t slot = PPM / (cohorts - 1);
	size_t i;

	*service = (struct service){
		.name = "shop",
		.salt = "shop",
		.prefix4 = 32,
		.prefix6 = 64,
		.hash = hash,
		.hash_options.modulus = 100,
		.cohorts_count = cohorts,
		.rules_count = 1,
		.rules[0] = {.name = "default", .is_default = true},
	};
	for (i = 0; i < cohorts; i++) {
		snprintf(service->cohorts[i].name, NAME_SIZE, "c%zu", i);
		service->cohorts[i].slot_ppm = i ? slot : 0;
		service->cohorts[i].slot_start_ppm = i ? (i - 1) * slot : 0;
	}
}

static struct compile_input input_of(const struct service *service,
				     const uint32_t shares[COHORTS_MAX], uint32_t factor)
{
	struct compile_input input = {
		.service = service,
		.rule_segments = {-1},
		.lanes = {0, 1, 2, 3},
		.tracked = true,
		.track = 7,
		.control_factor = factor,
		.rollout_cohort = rollout_cohort(service),
	};

	memcpy(input.share_ppm[0], shares, sizeof(input.share_ppm[0]));
	return input;
}

/* Of hashes spread evenly over the space: how many are followed, by arm, and how many control has.
 */
struct found {
	uint64_t arms[TRACK_ARMS], control;
	uint32_t least, most; /* hashes of the slice */
	bool has_slice;
};

static void look_at(const struct view_image *image, uint32_t hash, struct found *found)
{
	const struct view_rule *rule = &image->rules[0];
	uint32_t cohort = rule_cohort(rule, hash);

	if (cohort == (image->view.rollout & ROLLOUT_COHORT))
		found->arms[TRACK_CANARY]++;
	if (cohort)
		return;
	found->control++;
	if (!is_in_slice(rule, image->view.flags, hash))
		return;
	if (!found->has_slice || hash < found->least)
		found->least = hash;
	found->most = hash;
	found->has_slice = true;
	found->arms[TRACK_CONTROL]++;
}

static struct found look_everywhere(const struct service *service, const struct view_image *image)
{
	bool modulo = service->hash == HASH_HAPROXY_CRC32 || service->hash == HASH_NFT_JHASH;
	uint32_t count = modulo ? service->hash_options.modulus : 1u << FINE, i;
	struct found found = {0};

	for (i = 0; i < count; i++)
		look_at(image, modulo ? i : i << (32 - FINE) | 1u << (31 - FINE), &found);
	return found;
}

static void check_slice(const struct service *service, const uint32_t shares[COHORTS_MAX],
			uint32_t factor)
{
	struct compile_input input = input_of(service, shares, factor);
	struct view_image image;
	struct found found;
	double pi, seen, canary, wanted;
	uint16_t from;
	double unit = service->hash == HASH_HAPROXY_CRC32 || service->hash == HASH_NFT_JHASH
			      ? 1
			      : 1 << (FINE - 16);

	pi = track_slice(service, shares, factor, &from);
	assert_int_equal(compile_view(&input, &image), 0);
	assert_int_equal(image.rules[0].track_from, from);
	assert_true(image.view.rollout & ROLLOUT_TRACKED);
	assert_int_equal(image.view.track, 7);
	found = look_everywhere(service, &image);
	canary = found.arms[TRACK_CANARY];
	seen = canary / (canary + found.arms[TRACK_CONTROL]);
	if (found.arms[TRACK_CANARY] > 64 && found.arms[TRACK_CONTROL] > 64)
		assert_true(fabs(pi - seen) < .0002 + 8 / canary);
	/* As many as the factor wants, and no whole place more; or all that there are. */
	wanted = factor * canary;
	if (canary && found.control)
		assert_true(found.arms[TRACK_CONTROL] + 4 * unit >=
			    (wanted < found.control ? wanted : found.control));
	assert_true(found.arms[TRACK_CONTROL] <= wanted + 4 * unit);
	view_image_release(&image);
}

static void random_shares(struct random *random, const struct service *service,
			  uint32_t shares[COHORTS_MAX])
{
	uint32_t step = service->hash == HASH_XDP_CANARY ? 1 : PPM / 100;
	size_t i;

	memset(shares, 0, COHORTS_MAX * sizeof(*shares));
	for (i = 1; i < service->cohorts_count; i++) {
		uint32_t most = service->cohorts[i].slot_ppm / step;

		if (random_below(random, 3))
			most = most / 20 + 1;
		shares[i] = random_below(random, most + 1) * step;
	}
}

static void
the_slice_of_control_is_the_factors_multiple_and_pi_is_what_the_view_follows(void **state)
{
	struct random random = random_seeded(__func__);
	struct service service;
	uint32_t shares[COHORTS_MAX];
	size_t i, j;

	(void)state;
	for (i = 0; i < SERVICES; i++) {
		make_service(&service, random_below(&random, 4), 2 + random_below(&random, 3));
		service.hash_options.order_count = service.cohorts_count;
		for (j = 0; j < service.cohorts_count; j++)
			snprintf(service.hash_options.order[j], NAME_SIZE, "c%zu",
				 (j + i) % service.cohorts_count);
		snprintf(service.rollout.cohort, NAME_SIZE, "c%u",
			 1 + random_below(&random, service.cohorts_count - 1));
		random_shares(&random, &service, shares);
		check_slice(&service, shares, 1 + random_below(&random, 16));
	}
}

/* 5% of one canary and four times that of control, in whole places of 2^-16: to the bit. */
static void pi_is_exact(void **state)
{
	const uint32_t shares[COHORTS_MAX] = {0, 50000};
	uint64_t canary = threshold(50000), places = (4 * canary + 0xffff) >> 16;
	struct service service;
	uint16_t from;

	(void)state;
	make_service(&service, HASH_XDP_CANARY, 2);
	assert_true(track_slice(&service, shares, 4, &from) ==
		    (double)canary / (double)(canary + (places << 16)));
	assert_int_equal(from, 0x10000 - places);
}

/* By the other canaries, whose clients are of neither arm. */
static void the_slice_leaves_other_canaries_out(void **state)
{
	const uint32_t shares[COHORTS_MAX] = {0, 100000, 333333, 333333};
	struct service service;
	uint16_t from;
	double pi;

	(void)state;
	make_service(&service, HASH_XDP_CANARY, 4);
	pi = track_slice(&service, shares, 2, &from);
	/* Control has 333333 - 100000 ppm left, behind the first canary, and 1 at the end. */
	assert_true(fabs(pi - 100000. / 300000.) < 1e-4);
	check_slice(&service, shares, 2);
	check_slice(&service, shares, 16);
}

static void without_a_canary_or_a_control_there_is_no_slice(void **state)
{
	const uint32_t none[COHORTS_MAX] = {0}, whole[COHORTS_MAX] = {0, PPM};
	struct service service;
	uint16_t from = 1;

	(void)state;
	make_service(&service, HASH_XDP_CANARY, 2);
	assert_true(track_slice(&service, none, 4, &from) == 0);
	assert_int_equal(from, 0);
	from = 1;
	assert_true(track_slice(&service, whole, 4, &from) == 1);
	assert_int_equal(from, 0);
}

/* Clients of the slice stay control's as the share rises, until the two meet. */
static void the_slice_is_at_the_end_that_the_canary_does_not_grow_from(void **state)
{
	static const char *const orders[][2] = {{"c0", "c1"}, {"c1", "c0"}};
	uint32_t few[COHORTS_MAX] = {0, 50000}, more[COHORTS_MAX] = {0, 790000};
	struct compile_input input;
	struct view_image image, later;
	struct service service;
	size_t order, hash;
	uint32_t i;

	(void)state;
	for (hash = 0; hash < 4; hash++)
		for (order = 0; order < 2; order++) {
			make_service(&service, hash, 2);
			service.hash_options.order_count = 2;
			memcpy(service.hash_options.order[0], orders[order][0], 3);
			memcpy(service.hash_options.order[1], orders[order][1], 3);
			input = input_of(&service, few, 4);
			assert_int_equal(compile_view(&input, &image), 0);
			input = input_of(&service, more, 4);
			assert_int_equal(compile_view(&input, &later), 0);
			for (i = 0; i < 65536; i++) {
				uint32_t h = hash >= HASH_HAPROXY_CRC32 ? i % 100 : i << 16;

				if (!rule_cohort(&image.rules[0], h) &&
				    is_in_slice(&image.rules[0], image.view.flags, h))
					assert_int_equal(rule_cohort(&later.rules[0], h), 0);
			}
			view_image_release(&image);
			view_image_release(&later);
		}
}

/* ---- views ---- */

static void following_a_service_decides_nothing_and_outlives_an_era(void **state)
{
	static const struct client_classes no_table;
	const uint32_t shares[COHORTS_MAX] = {0, 50000}, others[COHORTS_MAX] = {0, 100000};
	struct service service;
	struct compile_input input;
	struct view_image image, followed, next;
	struct transition_plan plan = {.now = 1000, .hz = 250, .drain_ms = 60000};
	struct shown_view shown;

	(void)state;
	make_service(&service, HASH_XDP_CANARY, 2);
	input = input_of(&service, shares, 4);
	assert_int_equal(compile_view(&input, &followed), 0);
	input.tracked = false;
	assert_int_equal(compile_view(&input, &image), 0);
	assert_int_equal(image.view.digest, followed.view.digest);
	assert_int_not_equal(image.content, followed.content);
	shown = (struct shown_view){.view = &image.view, .rules = image.rules, .slots = NULL};
	image.slots = calloc(16, sizeof(*image.slots));
	followed.slots = calloc(16, sizeof(*followed.slots));
	shown.slots = image.slots;
	assert_int_equal(transition_fold(&shown, &plan, &no_table, &followed), 0);
	assert_false(followed.view.flags & VIEW_TRANSITION);
	assert_int_equal(followed.view.track, 7);
	assert_true(followed.view.rollout & ROLLOUT_TRACKED);
	assert_int_not_equal(followed.rules[0].track_from, 0);

	input = input_of(&service, others, 4);
	assert_int_equal(compile_view(&input, &next), 0);
	next.slots = calloc(16, sizeof(*next.slots));
	shown = (struct shown_view){
		.view = &followed.view, .rules = followed.rules, .slots = followed.slots};
	assert_int_equal(transition_fold(&shown, &plan, &no_table, &next), 0);
	assert_true(next.view.flags & VIEW_TRANSITION);
	assert_int_equal(next.view.track, 7);
	assert_true(next.view.rollout & ROLLOUT_TRACKED);
	assert_true(next.rules[0].track_from &&
		    next.rules[0].track_from != followed.rules[0].track_from);
	view_image_release(&image);
	view_image_release(&followed);
	view_image_release(&next);
}

/* ---- records ---- */

static void times_are_in_the_first_bucket_whose_edge_is_not_below(void **state)
{
	static const uint32_t edges[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};
	uint32_t ms, bucket;

	(void)state;
	for (bucket = 0; bucket < sizeof(edges) / sizeof(edges[0]); bucket++)
		assert_int_equal(time_bucket_edge(bucket), edges[bucket]);
	assert_int_equal(time_bucket_edge(TRACK_BUCKETS - 2), 49152);
	for (ms = 0; ms < 200000; ms++) {
		for (bucket = 0; bucket < TRACK_BUCKETS - 1; bucket++)
			if (ms <= time_bucket_edge(bucket))
				break;
		assert_int_equal(time_bucket(ms), bucket);
	}
	assert_int_equal(time_bucket(UINT32_MAX), TRACK_BUCKETS - 1);
}

static void sizes_are_by_their_logarithm(void **state)
{
	int log;

	(void)state;
	assert_int_equal(size_bucket(0), 0);
	for (log = 0; log < 32; log++) {
		assert_int_equal(size_bucket(1u << log), log);
		assert_int_equal(size_bucket((1u << log) + ((1u << log) - 1)), log);
	}
}

/* At any HZ, for as long as a machine runs, and where the 32 bits of milliseconds go around. */
static void flows_count_that_began_after_what_counts(void **state)
{
	static const uint32_t hz[] = {100, 250, 300, 1000};
	struct random random = random_seeded(__func__);
	size_t i, lap;

	(void)state;
	for (i = 0; i < 4; i++) {
		uint32_t per_jiffy = ((1000u << 16) + hz[i] / 2) / hz[i];

		for (lap = 0; lap < 20000; lap++) {
			uint64_t day = 86400ULL * hz[i];
			uint64_t from = day + (random_next(&random) >> 24);
			uint64_t now = from + random_below(&random, 40u * 86400 * hz[i]);
			uint64_t began = from - day + (random_next(&random) % (now - from + day));
			struct tracked_flow flow = {.t_syn = track_ms(began, per_jiffy)};
			int64_t age = (now - began) * 1000 / hz[i];
			int counts = is_flow_counted(&flow, track_ms(now, per_jiffy),
						     track_age(now, from, per_jiffy));

			if (age > (1 << 29))
				continue;
			if (began >= from + 2)
				assert_true(counts);
			else if (began + 2 < from)
				assert_false(counts);
		}
		assert_true(track_age(1000, 1001, per_jiffy) < 0);
		assert_true(track_age(1000, TRACK_SUSPENDED, per_jiffy) < 0);
		assert_int_equal(track_age(1000, 1000, per_jiffy), 0);
	}
}

/* Canary and control as they are followed at those shares, and what that says of all clients. */
static void the_canarys_share_of_clients_is_told_by_those_who_are_followed(void **state)
{
	static const struct {
		double pi;
		uint32_t canary_ppm, control_ppm;
		uint64_t canary, control;
		uint32_t ppm;
	} cases[] = {
		{.2, 50000, 950000, 50, 200, 50000},	/* 20% of all clients are followed */
		{.2, 50000, 950000, 100, 200, 95238},	/* 100 of 100 + 950 */
		{.25, 250000, 750000, 30, 90, 250000},	/* all are */
		{.2, 100000, 600000, 100, 400, 100000}, /* 30% are another canary's */
		{1, 1000000, 0, 100, 0, 1000000},	{1, 700000, 0, 100, 0, 700000},
		{.2, 50000, 950000, 0, 100, 0},
	};
	uint32_t ppm = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(track_share(cases[i].pi, cases[i].canary_ppm, cases[i].control_ppm,
					     cases[i].canary, cases[i].control, &ppm),
				 0);
		assert_in_range(ppm + 1, cases[i].ppm, cases[i].ppm + 2);
	}
	assert_int_equal(track_share(.2, 50000, 950000, 19, 80, &ppm), -ENODATA);
	assert_int_equal(track_share(0, 0, 1000000, 0, 1000, &ppm), -ENODATA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			the_slice_of_control_is_the_factors_multiple_and_pi_is_what_the_view_follows),
		cmocka_unit_test(pi_is_exact),
		cmocka_unit_test(the_slice_leaves_other_canaries_out),
		cmocka_unit_test(without_a_canary_or_a_control_there_is_no_slice),
		cmocka_unit_test(the_slice_is_at_the_end_that_the_canary_does_not_grow_from),
		cmocka_unit_test(following_a_service_decides_nothing_and_outlives_an_era),
		cmocka_unit_test(times_are_in_the_first_bucket_whose_edge_is_not_below),
		cmocka_unit_test(sizes_are_by_their_logarithm),
		cmocka_unit_test(flows_count_that_began_after_what_counts),
		cmocka_unit_test(the_canarys_share_of_clients_is_told_by_those_who_are_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
