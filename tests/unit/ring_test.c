// SPDX-License-Identifier: GPL-2.0-only
/* Rings: exact weights, the same on every box, and little moved by a backend more or less. */
#include "policy/ring.h"

#include "abi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MEMBERS_MAX 400

static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (random_state >> 33) % limit;
}

static void seed_random(const char *test)
{
	const char *given = getenv("SEED");

	random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	printf("%s: SEED=%llu\n", test, (unsigned long long)random_state);
}

static struct ring_member member(unsigned int number, uint16_t weight)
{
	struct ring_member member = {.address.family = 4, .weight = weight, .number = number};

	member.address.bytes[0] = 10;
	member.address.bytes[2] = number >> 8;
	member.address.bytes[3] = number & 0xff;
	return member;
}

static uint32_t *filled(const struct ring_member *members, size_t count)
{
	uint32_t *slots = malloc((ring_size(members, count) + 1) * sizeof(*slots));

	assert_non_null(slots);
	assert_int_equal(ring_fill(members, count, slots), 0);
	return slots;
}

static void count_slots(const uint32_t *slots, size_t size, size_t counts[MEMBERS_MAX])
{
	size_t i;

	memset(counts, 0, MEMBERS_MAX * sizeof(*counts));
	for (i = 0; i < size; i++) {
		assert_in_range(slots[i] & SLOT_NOW_MASK, 0, MEMBERS_MAX - 1);
		assert_int_equal(slots[i],
				 ring_slot(slots[i] & SLOT_NOW_MASK)); /* calm: origin is now */
		counts[slots[i] & SLOT_NOW_MASK]++;
	}
}

static void sizes_follow_the_number_of_members(void **state)
{
	static const struct {
		size_t members, size;
	} cases[] = {{0, 0},	 {1, 1},     {2, 1024},	 {10, 1024},
		     {11, 2048}, {20, 2048}, {21, 4096}, {400, 65536}};
	struct ring_member members[MEMBERS_MAX];
	size_t i, j;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (j = 0; j < MEMBERS_MAX; j++)
			members[j] = member(j, j < cases[i].members ? 1 : 0);
		assert_int_equal(ring_size(members, MEMBERS_MAX), cases[i].size);
	}
}

/* Every part is its weight's to within a slot, and at least one slot. */
static void check_quotas(const struct ring_member *members, size_t count)
{
	size_t size = ring_size(members, count), counts[MEMBERS_MAX], i, below_one = 0;
	uint32_t *slots = filled(members, count);
	uint64_t sum = 0;

	for (i = 0; i < count; i++)
		sum += members[i].weight;
	count_slots(slots, size, counts);
	free(slots);
	for (i = 0; i < count; i++)
		below_one += members[i].weight && size * members[i].weight < sum;
	for (i = 0; i < count; i++) {
		double part = sum ? (double)size * members[i].weight / sum : 0,
		       got = counts[members[i].number];

		if (!members[i].weight)
			assert_true(got == 0);
		else if (part < 1)
			assert_true(got == 1);
		else /* what is given to those below one slot is taken from the greatest */
			assert_true(got < part + 1 && got > part - 1 - below_one);
	}
}

static void weights_are_exact_to_a_slot(void **state)
{
	struct ring_member members[MEMBERS_MAX];
	size_t count, i;
	int round;

	(void)state;
	seed_random(__func__);
	for (round = 0; round < 60; round++) {
		count = 1 + random_below(round < 50 ? 40 : MEMBERS_MAX);
		for (i = 0; i < count; i++)
			members[i] =
				member(i, random_below(4) ? random_below(1001) : random_below(3));
		check_quotas(members, count);
	}
}

static void ten_stable_and_one_of_weight_one_have_what_they_were_given(void **state)
{
	struct ring_member members[11];
	size_t i;

	(void)state;
	for (i = 0; i < 10; i++)
		members[i] = member(i, 1000);
	members[10] = member(10, 1);
	check_quotas(members, 11);
}

static void the_order_of_the_file_does_not_matter(void **state)
{
	struct ring_member members[50], swap;
	uint32_t *expected, *slots;
	size_t i, j;
	int round;

	(void)state;
	seed_random(__func__);
	for (i = 0; i < 50; i++)
		members[i] = member(i, i % 7 ? 1 + random_below(200) : 100);
	expected = filled(members, 50);
	for (round = 0; round < 20; round++) {
		for (i = 49; i; i--) {
			j = random_below(i + 1);
			swap = members[i];
			members[i] = members[j];
			members[j] = swap;
		}
		slots = filled(members, 50);
		assert_memory_equal(slots, expected, ring_size(members, 50) * sizeof(*slots));
		free(slots);
	}
	free(expected);
}

/* Numbers differ from box to box, addresses do not. */
static void the_numbers_do_not_decide(void **state)
{
	struct ring_member members[20];
	uint32_t *first, *second;
	size_t size, i;

	(void)state;
	for (i = 0; i < 20; i++)
		members[i] = member(i, 100);
	first = filled(members, 20);
	for (i = 0; i < 20; i++)
		members[i].number = 300 - i;
	second = filled(members, 20);
	size = ring_size(members, 20);
	for (i = 0; i < size; i++)
		assert_int_equal(second[i] & SLOT_NOW_MASK, 300 - (first[i] & SLOT_NOW_MASK));
	free(first);
	free(second);
}

static void a_weight_of_zero_is_as_if_it_were_not_there(void **state)
{
	struct ring_member members[12];
	uint32_t *with, *without;
	size_t i;

	(void)state;
	for (i = 0; i < 12; i++)
		members[i] = member(i, i < 11 ? 100 : 0);
	with = filled(members, 12);
	without = filled(members, 11);
	assert_memory_equal(with, without, ring_size(members, 11) * sizeof(*with));
	free(with);
	free(without);
}

/* Slots of members that stay which change hands when one of @count leaves, in parts of a thousand.
 */
static size_t disruption(size_t count, size_t leaves)
{
	struct ring_member members[MEMBERS_MAX];
	uint32_t *before, *after;
	size_t i, size, moved = 0;

	for (i = 0; i < count; i++)
		members[i] = member(i, 100);
	size = ring_size(members, count);
	before = filled(members, count);
	members[leaves].weight = 0;
	assert_int_equal(ring_size(members, count), size);
	after = filled(members, count);
	for (i = 0; i < size; i++)
		moved += (before[i] & SLOT_NOW_MASK) != leaves && before[i] != after[i];
	free(before);
	free(after);
	return moved * 1000 / size;
}

static void a_backend_that_leaves_takes_few_with_it(void **state)
{
	size_t leaves;

	(void)state;
	for (leaves = 0; leaves < 16; leaves++)
		assert_in_range(disruption(16, leaves), 0, 60);
	for (leaves = 0; leaves < 100; leaves += 9)
		assert_in_range(disruption(100, leaves), 0, 60);
}

static void address_and_port_make_a_member(void **state)
{
	struct ring_member members[3] = {member(0, 1), member(1, 1), member(1, 1)};
	size_t counts[MEMBERS_MAX];
	uint32_t *slots;

	(void)state;
	members[2].port = 8080;
	members[2].number = 2;
	slots = filled(members, 3);
	count_slots(slots, ring_size(members, 3), counts);
	assert_in_range(counts[0], 341, 342);
	assert_in_range(counts[1], 341, 342);
	assert_in_range(counts[2], 341, 342);
	free(slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_follow_the_number_of_members),
		cmocka_unit_test(weights_are_exact_to_a_slot),
		cmocka_unit_test(ten_stable_and_one_of_weight_one_have_what_they_were_given),
		cmocka_unit_test(the_order_of_the_file_does_not_matter),
		cmocka_unit_test(the_numbers_do_not_decide),
		cmocka_unit_test(a_weight_of_zero_is_as_if_it_were_not_there),
		cmocka_unit_test(a_backend_that_leaves_takes_few_with_it),
		cmocka_unit_test(address_and_port_make_a_member),
	};

	return cmocka_run_group_tests_name("unit/ring", tests, NULL, NULL);
}
