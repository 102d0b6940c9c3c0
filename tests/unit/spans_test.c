// SPDX-License-Identifier: GPL-2.0-only
/* Spans against the plain meaning of prefixes, at every address where something may change. */
#include "segment/spans.h"
#include "tests/random_members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS	    1500
#define MEMBERS_MAX 80
#define LISTS_MAX   64

struct lists {
	struct member members[LISTS_MAX][MEMBERS_MAX];
	struct member_list lists[LISTS_MAX];
	size_t count;
};

static struct neighbourhood random_neighbourhood(struct random *random)
{
	static const unsigned int prefixes6[] = {48, 64, 100, 128};

	return (struct neighbourhood){
		.prefix4 = random_below(random, 2) ? 32 : 24,
		.prefix6 = prefixes6[random_below(random, 4)],
		.bits = 1 + random_below(random, 8),
		.percent4 = random_below(random, 3) * 50,
		.percent_clients = random_below(random, 4) * 33,
	};
}

static size_t random_members(struct random *random, const struct neighbourhood *near,
			     struct member *members, size_t most)
{
	size_t count = random_below(random, most + 1), i;

	for (i = 0; i < count; i++)
		members[i] = random_member(random, near);
	return members_sort(members, count);
}

static void fill_lists(struct random *random, struct lists *lists, size_t count, size_t most)
{
	struct neighbourhood near = random_neighbourhood(random);
	size_t i;

	lists->count = count;
	for (i = 0; i < count; i++) {
		lists->lists[i].members = lists->members[i];
		lists->lists[i].count = random_members(random, &near, lists->members[i], most);
	}
}

static void assert_canonical(const struct spans *spans)
{
	size_t i;

	if (!spans->count)
		return;
	assert_true(!spans->list[0].high && !spans->list[0].low);
	assert_true(spans->count > 1 || spans->list[0].value);
	for (i = 1; i < spans->count; i++) {
		const struct span *a = &spans->list[i - 1], *b = &spans->list[i];

		assert_true(a->high < b->high || (a->high == b->high && a->low < b->low));
		assert_true(a->value != b->value);
	}
}

/* Calls @check at, below and above both ends of the member. */
#define FOR_EACH_PROBE(at, member)                                                                 \
	for (int probe_ = 0; probe_ < 6; probe_++)                                                 \
		for (struct plain_address at = probe_of(member, probe_), *once_ = &at; once_;      \
		     once_ = NULL)

static struct plain_address probe_of(const struct member *member, int probe)
{
	struct plain_address at = {member->high, member->low};

	if (probe >= 3)
		at = member_end(member);
	return probe % 3 ? plain_neighbour(at, probe % 3 == 1 ? 1 : -1) : at;
}

static const struct member ipv4_block = {.low = 0xffff00000000, .length = 96};

/* ---- lists ---- */

static uint64_t bits_at(const struct lists *lists, struct plain_address at)
{
	uint64_t bits = 0;
	size_t list, i;

	for (list = 0; list < lists->count; list++)
		for (i = 0; i < lists->lists[list].count; i++)
			if (member_holds(&lists->members[list][i], at))
				bits |= 1ULL << list;
	return bits;
}

static void assert_bits(const struct lists *lists, const struct spans *spans,
			const struct member *member)
{
	FOR_EACH_PROBE(at, member)
	assert_true(spans_find(spans, at.high, at.low) == bits_at(lists, at));
}

static void spans_of_lists_say_which_lists_hold_an_address(void **state)
{
	struct random random = random_seeded(__func__);
	static struct lists lists;
	int round;

	(void)state;
	for (round = 0; round < ROUNDS; round++) {
		size_t count = 1 + random_below(&random, round % 16 ? 4 : LISTS_MAX), list, i;
		struct spans spans;

		fill_lists(&random, &lists, count, count > 4 ? 6 : MEMBERS_MAX);
		assert_int_equal(spans_of_lists(lists.lists, lists.count, &spans), 0);
		assert_canonical(&spans);
		assert_bits(&lists, &spans, &ipv4_block);
		for (list = 0; list < count; list++)
			for (i = 0; i < lists.lists[list].count; i++)
				assert_bits(&lists, &spans, &lists.members[list][i]);
		spans_release(&spans);
	}
}

static void the_64th_list_has_a_bit_of_its_own(void **state)
{
	struct member client = {.low = 0xffffc6336407, .length = 128};
	struct member_list lists[64] = {[63] = {&client, 1}};
	struct spans spans;

	(void)state;
	assert_int_equal(spans_of_lists(lists, 64, &spans), 0);
	assert_true(spans_find(&spans, 0, client.low) == 1ULL << 63);
	assert_int_equal(spans.count, 3);
	spans_release(&spans);
}

/* ---- values ---- */

static uint64_t longest_value(const struct member_value *values, size_t count,
			      struct plain_address at)
{
	const struct member_value *found = NULL;
	size_t i;

	for (i = 0; i < count; i++)
		if (member_holds(&values[i].client, at) &&
		    (!found || values[i].client.length >= found->client.length))
			found = &values[i];
	return found ? found->value : 0;
}

static void spans_of_values_say_what_the_longest_prefix_says(void **state)
{
	struct random random = random_seeded(__func__);
	int round;

	(void)state;
	for (round = 0; round < ROUNDS; round++) {
		struct neighbourhood near = random_neighbourhood(&random);
		struct member members[MEMBERS_MAX];
		struct member_value values[MEMBERS_MAX];
		size_t count = random_members(&random, &near, members, MEMBERS_MAX), i;
		struct spans spans;

		for (i = 0; i < count; i++)
			values[i] = (struct member_value){members[i], random_below(&random, 4)};
		assert_int_equal(spans_of_values(values, count, &spans), 0);
		assert_canonical(&spans);
		for (i = 0; i <= count; i++)
			FOR_EACH_PROBE(at, i < count ? &members[i] : &ipv4_block)
		assert_true(spans_find(&spans, at.high, at.low) ==
			    longest_value(values, count, at));
		spans_release(&spans);
	}
}

/* A prefix of every length in one another, IPv4's in IPv6's place. */
static void prefixes_nest_to_the_last_bit(void **state)
{
	struct member_value values[129 + 33];
	struct member members[129 + 33];
	struct spans spans;
	size_t i;

	(void)state;
	for (i = 0; i < 129; i++)
		members[i] = (struct member){.length = i};
	for (i = 0; i < 33; i++)
		members[129 + i] = (struct member){.low = 0xffff00000000, .length = 96 + i};
	assert_int_equal(members_sort(members, 129 + 33), 129 + 33);
	for (i = 0; i < 129 + 33; i++)
		values[i] = (struct member_value){members[i], 1 + i % 3};
	assert_int_equal(spans_of_values(values, 129 + 33, &spans), 0);
	assert_canonical(&spans);
	for (i = 0; i < 129 + 33; i++)
		FOR_EACH_PROBE(at, &members[i])
	assert_true(spans_find(&spans, at.high, at.low) == longest_value(values, 129 + 33, at));
	spans_release(&spans);
}

/* ---- join ---- */

static void assert_tuple(const struct spans *lists, size_t count, const struct spans *joined,
			 const uint64_t *tuples, size_t tuples_count, struct plain_address at)
{
	uint64_t number = spans_find(joined, at.high, at.low);
	size_t i;

	assert_true(number < tuples_count);
	for (i = 0; i < count; i++)
		assert_true(tuples[number * count + i] == spans_find(&lists[i], at.high, at.low));
}

static void a_joined_value_is_the_number_of_the_tuple_of_all(void **state)
{
	struct random random = random_seeded(__func__);
	static struct lists sets;
	int round;

	(void)state;
	for (round = 0; round < ROUNDS / 3; round++) {
		size_t count = 1 + random_below(&random, round % 16 ? 5 : LISTS_MAX), i, j;
		size_t tuples_count;
		struct spans spans[LISTS_MAX], joined;
		uint64_t *tuples;

		fill_lists(&random, &sets, count, count > 5 ? 4 : MEMBERS_MAX);
		for (i = 0; i < count; i++) {
			assert_int_equal(spans_of_lists(&sets.lists[i], 1, &spans[i]), 0);
			for (j = 0; j < spans[i].count; j++)
				spans[i].list[j].value *= 1 + random_below(&random, 3);
		}
		assert_int_equal(spans_join(spans, count, &joined, &tuples, &tuples_count), 0);
		assert_canonical(&joined);
		for (i = 0; i < count; i++) {
			assert_int_equal(tuples[i], 0);
			for (j = 0; j < sets.lists[i].count; j++)
				FOR_EACH_PROBE(at, &sets.members[i][j])
			assert_tuple(spans, count, &joined, tuples, tuples_count, at);
		}
		for (i = 0; i < tuples_count; i++)
			for (j = 0; j < i; j++)
				assert_memory_not_equal(tuples + i * count, tuples + j * count,
							count * sizeof(*tuples));
		for (i = 0; i < count; i++)
			spans_release(&spans[i]);
		spans_release(&joined);
		free(tuples);
	}
}

/* Every client another value: as many tuples as clients. */
static void tuples_are_found_again_however_many_there_are(void **state)
{
	enum { CLIENTS = 20000 };
	struct member_value *values = calloc(CLIENTS, sizeof(*values));
	struct spans spans[2], joined;
	size_t tuples_count, i;
	uint64_t *tuples;

	(void)state;
	assert_non_null(values);
	for (i = 0; i < CLIENTS; i++)
		values[i] = (struct member_value){{.low = 0xffff0a000000 + 2 * i, .length = 128},
						  1 + i % (CLIENTS / 2)};
	assert_int_equal(spans_of_values(values, CLIENTS, &spans[0]), 0);
	assert_int_equal(spans_of_values(values, 10, &spans[1]), 0);
	assert_int_equal(spans_join(spans, 2, &joined, &tuples, &tuples_count), 0);
	/* The first ten are in both lists, and come once more in the first alone. */
	assert_int_equal(tuples_count, 1 + CLIENTS / 2 + 10);
	for (i = 0; i < CLIENTS; i++)
		assert_tuple(spans, 2, &joined, tuples, tuples_count,
			     (struct plain_address){0, values[i].client.low});
	free(tuples);
	free(values);
	for (i = 0; i < 2; i++)
		spans_release(&spans[i]);
	spans_release(&joined);
}

static void nothing_is_0_everywhere(void **state)
{
	struct member_list none = {0};
	struct spans spans, joined;
	size_t tuples_count = 7;
	uint64_t *tuples;

	(void)state;
	assert_int_equal(spans_of_values(NULL, 0, &spans), 0);
	assert_int_equal(spans.count, 0);
	spans_release(&spans);
	assert_int_equal(spans_of_lists(&none, 1, &spans), 0);
	assert_int_equal(spans.count, 0);
	assert_int_equal(spans_find(&spans, 1, 2), 0);
	assert_int_equal(spans_join(&spans, 1, &joined, &tuples, &tuples_count), 0);
	assert_int_equal(joined.count, 0);
	assert_int_equal(tuples_count, 1);
	free(tuples);
	spans_release(&joined);
	spans_release(&spans);
	assert_int_equal(spans_join(NULL, 0, &joined, &tuples, &tuples_count), 0);
	assert_int_equal(joined.count, 0);
	free(tuples);
	spans_release(&joined);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_of_lists_say_which_lists_hold_an_address),
		cmocka_unit_test(the_64th_list_has_a_bit_of_its_own),
		cmocka_unit_test(spans_of_values_say_what_the_longest_prefix_says),
		cmocka_unit_test(prefixes_nest_to_the_last_bit),
		cmocka_unit_test(a_joined_value_is_the_number_of_the_tuple_of_all),
		cmocka_unit_test(tuples_are_found_again_however_many_there_are),
		cmocka_unit_test(nothing_is_0_everywhere),
	};

	return cmocka_run_group_tests_name("unit/spans", tests, NULL, NULL);
}
