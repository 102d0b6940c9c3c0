// SPDX-License-Identifier: GPL-2.0-only
/* Shares, through the loaded program: who is in a canary, exactly, and who moves when a share does.
 */
#include "lab.h"
#include "oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CLIENTS	     3000
#define SALT	     "shop/v1"

static const uint8_t secret_bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* Client @number: neighbours, every second IPv6. */
static struct packet_plan packet_from(unsigned int number)
{
	struct packet_plan plan = number & 1 ? packet_tcp("2001:db8:1::1", 40000, LAB_VIP6, 80)
					     : packet_tcp("198.51.0.0", 40000, LAB_VIP4, 80);

	/* Bytes that default prefixes keep. */
	store16(plan.source.bytes + (number & 1 ? 6 : 2), number);
	return plan;
}

static int cohort_of(struct lab *lab, const struct packet_plan *plan)
{
	struct run run;

	lab_run_plan(lab, plan, &run);
	assert_int_equal(run.verdict, XDP_TX);
	return lab_cohort_of(&run);
}

static void cohorts_of_all(struct lab *lab, int8_t cohorts[CLIENTS])
{
	unsigned int i;

	for (i = 0; i < CLIENTS; i++) {
		struct packet_plan plan = packet_from(i);

		cohorts[i] = cohort_of(lab, &plan);
	}
}

static uint32_t hash_of(const struct packet_plan *plan)
{
	return oracle_hash(oracle_token(secret_bytes, &plan->source, 32, 64), SALT);
}

/* A service of l2 with a backend in each of @cohorts cohorts. */
static struct lab_service *add_service(struct lab *lab, size_t cohorts)
{
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	size_t i;

	lab_set_cohorts(service, cohorts);
	for (i = 2; i < cohorts; i++)
		lab_add_backend(service, i, i == 2 ? "10.0.2.1" : "10.0.3.1", 100, LAB_INGRESS);
	return service;
}

static void promise_3_raising_a_share_only_moves_clients_from_control_into_that_canary(void **state)
{
	static const uint32_t shares[] = {0,	 1,	 2,	 10000,	 50000,
					  50001, 250000, 500000, 999999, 1000000};
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2);
	static int8_t before[CLIENTS], after[CLIENTS];
	unsigned int i, inside;
	size_t step;

	for (step = 0; step < COUNT(shares); step++) {
		lab_set_share(service, 1, shares[step]);
		lab_publish(lab);
		cohorts_of_all(lab, after);
		for (i = inside = 0; i < CLIENTS; i++) {
			inside += after[i];
			assert_true(!step || after[i] >= before[i]);
		}
		/* Six standard deviations of a binomial distribution around the share. */
		assert_true(labs((long)inside * 1000 - (long)shares[step] * CLIENTS / 1000) <
			    6 * 28 * 1000);
		memcpy(before, after, sizeof(before));
	}
	for (step = COUNT(shares); step-- > 0;) {
		lab_set_share(service, 1, shares[step]);
		lab_publish(lab);
		cohorts_of_all(lab, after);
		for (i = 0; i < CLIENTS; i++)
			assert_true(after[i] <= before[i]);
		memcpy(before, after, sizeof(before));
	}
}

static void promise_3_no_share_and_the_whole_are_exact(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2);
	static int8_t cohorts[CLIENTS];
	uint32_t share;
	unsigned int i;

	for (share = 0; share <= 1000000; share += 1000000) {
		lab_set_share(service, 1, share);
		lab_publish(lab);
		cohorts_of_all(lab, cohorts);
		for (i = 0; i < CLIENTS; i++)
			assert_int_equal(cohorts[i], share / 1000000);
	}
}

/* The salt under which a token's hash is @hash: MurmurHash3's finaliser backwards. */
static uint64_t salt_for(uint64_t token, uint32_t hash)
{
	uint64_t x = (uint64_t)hash << 32 | 0x12345678;

	x ^= x >> 33;
	x *= 0x9cb4b2f8129337dbULL; /* inverse of 0xc4ceb9fe1a85ec53 modulo 2^64 */
	x ^= x >> 33;
	x *= 0x4f74430c22a54005ULL; /* inverse of 0xff51afd7ed558ccd */
	x ^= x >> 33;
	return x ^ token;
}

static void promise_3_a_share_ends_at_its_very_hash(void **state)
{
	static const uint32_t shares[] = {1,	  2,	  3,	  999,	  60341,
					  333333, 500000, 999998, 999999, 1000000};
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2);
	struct packet_plan plan = packet_from(7);
	uint64_t token = oracle_token(secret_bytes, &plan.source, 32, 64);
	size_t i;

	for (i = 0; i < COUNT(shares); i++) {
		uint64_t end = oracle_threshold(shares[i]);

		lab_set_share(service, 1, shares[i]);
		service->salt64 = salt_for(token, end - 1);
		lab_publish(lab);
		assert_int_equal(lab_explain(lab, &plan).hash, end - 1);
		assert_int_equal(cohort_of(lab, &plan), 1);
		service->salt64 = salt_for(token, 0);
		lab_publish(lab);
		assert_int_equal(cohort_of(lab, &plan), 1);
		if (end > UINT32_MAX)
			continue;
		service->salt64 = salt_for(token, end);
		lab_publish(lab);
		assert_int_equal(cohort_of(lab, &plan), 0);
		service->salt64 = salt_for(token, UINT32_MAX);
		lab_publish(lab);
		assert_int_equal(cohort_of(lab, &plan), 0);
	}
}

static void promise_3_one_ppm_is_one_step(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2);
	unsigned int i;

	for (i = 0; i < 12; i++) {
		struct packet_plan plan = packet_from(100 + i);
		uint32_t hash = hash_of(&plan), enters = 0;

		while (oracle_threshold(enters) <= hash)
			enters++;
		lab_set_share(service, 1, enters);
		lab_publish(lab);
		assert_int_equal(cohort_of(lab, &plan), 1);
		lab_set_share(service, 1, enters - 1);
		lab_publish(lab);
		assert_int_equal(cohort_of(lab, &plan), 0);
	}
}

static void promise_4_changing_one_share_moves_nobody_between_two_others(void **state)
{
	struct oracle_random random = oracle_seed(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 4);
	static int8_t before[CLIENTS], after[CLIENTS];
	unsigned int step, i, moved = 0;

	lab_publish(lab);
	cohorts_of_all(lab, before);
	for (step = 0; step < 24; step++) {
		int changed = 1 + step % 3;

		lab_set_share(service, changed, oracle_next(&random) % 333334);
		lab_publish(lab);
		cohorts_of_all(lab, after);
		for (i = 0; i < CLIENTS; i++) {
			if (before[i] == after[i])
				continue;
			moved++;
			assert_true(before[i] == 0 || after[i] == 0);
			assert_int_equal(before[i] + after[i], changed);
		}
		memcpy(before, after, sizeof(before));
	}
	assert_true(moved > CLIENTS / 10);
}

static void several_canaries_have_what_the_text_gives_them(void **state)
{
	struct oracle_slot slots[3] = {
		{0, 100000, 70000}, {100000, 300001, 300001}, {400001, 599999, 1}};
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 4);
	unsigned int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 3; i++) {
			service->service.cohorts[i + 1].slot_start_ppm = slots[i].start;
			service->service.cohorts[i + 1].slot_ppm = slots[i].width;
			lab_set_share(service, i + 1, slots[i].share);
		}
		lab_publish(lab);
		for (i = 0; i < CLIENTS; i++) {
			struct packet_plan plan = packet_from(i);

			assert_int_equal(cohort_of(lab, &plan),
					 oracle_cohort(hash_of(&plan), slots, 3));
		}
		slots[round].share = round == 2 ? 599999 : 0;
	}
}

static void promise_2_boxes_that_share_the_secret_agree(void **state)
{
	struct siphash_key other_secret = {.k0 = 1, .k1 = 2};
	const struct limits limits = {.services = 16, .vips = 64, .backends = 1024};
	struct lab *boxes[3] = {*state, lab_open(lab_secret, limits),
				lab_open(other_secret, limits)};
	unsigned int i, box, differ = 0;

	for (box = 0; box < 3; box++) {
		struct lab_service *service;

		if (box) /* other numbers of slots, groups and lines than in the first box */
			lab_add_usual(boxes[box], STEER_L2, 4)->service.vips_count = 0;
		service = add_service(boxes[box], 3);
		lab_add_backend(service, 0, "10.0.0.12", 50, LAB_INGRESS);
		lab_add_backend(service, 1, "10.0.1.12", 70, LAB_INGRESS);
		lab_set_share(service, 1, 400000);
		lab_set_share(service, 2, 100000);
		lab_publish(boxes[box]);
	}
	for (i = 0; i < CLIENTS; i++) {
		struct packet_plan plan = packet_from(i);
		struct run runs[3];

		for (box = 0; box < 3; box++)
			lab_run_plan(boxes[box], &plan, &runs[box]);
		assert_int_equal(lab_cohort_of(&runs[0]), lab_cohort_of(&runs[1]));
		assert_int_equal(lab_backend_of(&runs[0]), lab_backend_of(&runs[1]));
		differ += lab_cohort_of(&runs[0]) != lab_cohort_of(&runs[2]);
	}
	assert_true(differ > CLIENTS / 4);
	lab_close(boxes[1]);
	lab_close(boxes[2]);
}

static void promise_2_a_cohort_outlives_everything_but_the_salt(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service;
	static int8_t before[CLIENTS], after[CLIENTS];
	struct program *program;
	unsigned int i, differ = 0;

	service = add_service(lab, 2);
	lab_set_share(service, 1, 300000);
	lab_publish(lab);
	cohorts_of_all(lab, before);
	program = lab->program; /* a program anew, as after a restart */
	assert_int_equal(
		program_load(lab->datapath, lab_secret, 0, false, &lab->program, lab->errors), 0);
	program_free(program);
	lab_add_backend(service, 0, "10.0.0.77", 100, LAB_INGRESS);
	service->service.holdout_ppm = 0;
	lab_publish(lab);
	cohorts_of_all(lab, after);
	assert_memory_equal(before, after, sizeof(before));
	free(service->service.salt);
	service->service.salt = strdup("shop/v2");
	lab_publish(lab);
	cohorts_of_all(lab, after);
	for (i = 0; i < CLIENTS; i++)
		differ += before[i] != after[i];
	/* 2 * 0.3 * 0.7 of the clients. */
	assert_in_range(differ, CLIENTS * 36 / 100, CLIENTS * 48 / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(
			promise_3_raising_a_share_only_moves_clients_from_control_into_that_canary),
		lab_test(promise_3_no_share_and_the_whole_are_exact),
		lab_test(promise_3_a_share_ends_at_its_very_hash),
		lab_test(promise_3_one_ppm_is_one_step),
		lab_test(promise_4_changing_one_share_moves_nobody_between_two_others),
		lab_test(several_canaries_have_what_the_text_gives_them),
		lab_test(promise_2_boxes_that_share_the_secret_agree),
		lab_test(promise_2_a_cohort_outlives_everything_but_the_salt),
	};

	return cmocka_run_group_tests_name("prog/share", tests, lab_setup_group,
					   lab_teardown_group);
}
