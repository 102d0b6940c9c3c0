// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables of clients: what is looked up in the lines, and what is read back from them, against the
 * spans that they were laid out from.
 */
#include "segment/layout.h"
#include "tests/random_members.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS	    2000
#define MEMBERS_MAX 400

struct box {
	unsigned int prefix4, prefix6;
};

static const struct box boxes[] = {{32, 64}, {32, 128}, {24, 48}, {32, 100}, {20, 65}, {31, 20}};
#define BOXES (sizeof(boxes) / sizeof(boxes[0]))

static uint32_t plain_value(const struct spans *spans, struct box box, struct plain_address at)
{
	at = plain_client(at, box.prefix4, box.prefix6);
	return spans_find(spans, at.high, at.low);
}

static void assert_found(const struct segment_image *image, const struct spans *spans,
			 struct box box, struct plain_address at)
{
	uint32_t found = layout_find(&image->table, image->lines, at.high, at.low);
	uint32_t value = plain_value(spans, box, at);

	if (found != value)
		fail_msg("%016llx %016llx is %u, not %u", (unsigned long long)at.high,
			 (unsigned long long)at.low, found, value);
}

/* At each start and end of a span, and beside them, as clients and as addresses. */
static void assert_all_found(const struct segment_image *image, const struct spans *spans,
			     struct box box)
{
	size_t i;

	for (i = 0; i < spans->count; i++) {
		struct plain_address at = {spans->list[i].high, spans->list[i].low};

		assert_found(image, spans, box, at);
		assert_found(image, spans, box, plain_neighbour(at, -1));
		assert_found(image, spans, box, plain_neighbour(at, 1));
	}
}

static void assert_walked_back(const struct segment_image *image, const struct spans *spans)
{
	struct spans walked;
	size_t i;

	assert_int_equal(layout_walk(&image->table, image->lines, &walked), 0);
	assert_int_equal(walked.count, spans->count);
	for (i = 0; i < walked.count; i++) {
		assert_true(walked.list[i].high == spans->list[i].high);
		assert_true(walked.list[i].low == spans->list[i].low);
		assert_true(walked.list[i].value == spans->list[i].value);
	}
	spans_release(&walked);
}

static struct segment_image built(const struct spans *spans, struct box box)
{
	struct segment_image image;

	assert_int_equal(layout_build(spans, box.prefix4, box.prefix6, &image), 0);
	assert_false((uintptr_t)image.lines % CACHE_LINE);
	assert_int_equal(image.table.lines, 0);
	assert_int_equal(image.table.prefix6, box.prefix6);
	return image;
}

/* Sorted, without duplicates; how many are of full length is counted. */
static size_t random_values(struct random *random, struct box box, uint32_t values_most,
			    struct member_value *values, size_t most, uint32_t *clients)
{
	struct neighbourhood near = {
		.prefix4 = box.prefix4,
		.prefix6 = box.prefix6,
		.bits = 1 + random_below(random, random_below(random, 3) ? 6 : 20),
		.percent4 = random_below(random, 3) * 50,
		.percent_clients = random_below(random, 5) * 25,
	};
	struct member *members = malloc(most * sizeof(*members));
	size_t count = random_below(random, most + 1), i;

	assert_non_null(members);
	for (i = 0; i < count; i++)
		members[i] = random_member(random, &near);
	count = members_sort(members, count);
	*clients = 0;
	for (i = 0; i < count; i++) {
		bool is_ipv4 = members[i].length >= 96 && !members[i].high &&
			       members[i].low >> 32 == 0xffff;

		values[i] = (struct member_value){members[i], random_below(random, values_most)};
		*clients += members[i].length == (is_ipv4 ? 96 + box.prefix4 : box.prefix6);
	}
	free(members);
	return count;
}

/* Values that fit packed entries and short leaves, that do not, and that do not fit a root. */
static const uint32_t values_mosts[] = {2, 4, 200, 70000, UINT32_MAX};

static void what_is_looked_up_is_what_was_laid_out(void **state)
{
	struct random random = random_seeded(__func__);
	struct member_value values[MEMBERS_MAX];
	int round;

	(void)state;
	for (round = 0; round < ROUNDS; round++) {
		struct box box = boxes[random_below(&random, BOXES)];
		uint32_t most = values_mosts[random_below(&random, 5)], clients;
		size_t count = random_values(&random, box, most, values,
					     round % 8 ? 20 : MEMBERS_MAX, &clients);
		struct segment_image image;
		struct spans spans;

		assert_int_equal(spans_of_values(values, count, &spans), 0);
		image = built(&spans, box);
		assert_all_found(&image, &spans, box);
		assert_walked_back(&image, &spans);
		assert_true(image.clients + image.prefixes <= clients + 2 * (count - clients));
		assert_true(image.table.lines_count <= layout_lines_max(clients, count - clients));
		segment_image_release(&image);
		spans_release(&spans);
	}
}

static void nothing_takes_no_line(void **state)
{
	struct spans none = {0};
	struct segment_image image = built(&none, boxes[0]);

	(void)state;
	assert_int_equal(image.table.lines_count, 0);
	assert_int_equal(layout_find(&image.table, image.lines, 0, 0xffff01020304), 0);
	assert_int_equal(layout_find(&image.table, image.lines, 1, 1), 0);
	assert_walked_back(&image, &none);
	segment_image_release(&image);
}

static void values_of_32_bits_are_too_big(void **state)
{
	struct span list[] = {{0, 0, UINT32_MAX}};
	struct spans spans = {list, 1};
	struct segment_image image;

	(void)state;
	assert_int_equal(layout_build(&spans, 32, 64, &image), -E2BIG);
	assert_null(image.lines);
	list[0].value--;
	image = built(&spans, boxes[0]);
	assert_int_equal(layout_find(&image.table, image.lines, 5, 5), UINT32_MAX - 1);
	segment_image_release(&image);
}

/* The hole is an exact client without a segment, not one more start. */
static void a_client_that_is_left_out_of_a_prefix_is_an_entry(void **state)
{
	struct member_value values[] = {
		{{.low = 0xffff0a000000, .length = 104}, 3},
		{{.low = 0xffff0a000007, .length = 128}, 0},
	};
	struct segment_image image;
	struct spans spans;

	(void)state;
	assert_int_equal(spans_of_values(values, 2, &spans), 0);
	image = built(&spans, boxes[0]);
	assert_int_equal(image.clients, 1);
	assert_int_equal(image.prefixes, 2);
	assert_all_found(&image, &spans, boxes[0]);
	segment_image_release(&image);
	spans_release(&spans);
}

/* Where IPv4 begins behind it, and what is behind that is another value. */
static void a_client_beside_ipv4_is_an_entry(void **state)
{
	const struct box box = {32, 128};
	struct member_value value = {{.low = 0xfffeffffffff, .length = 128}, 3};
	struct segment_image image;
	struct spans spans;

	(void)state;
	assert_int_equal(spans_of_values(&value, 1, &spans), 0);
	image = built(&spans, box);
	assert_int_equal(image.clients, 1);
	assert_int_equal(image.prefixes, 0);
	assert_all_found(&image, &spans, box);
	assert_walked_back(&image, &spans);
	segment_image_release(&image);
	spans_release(&spans);
}

/* Every other address of a prefix is a client of its own. */
static void a_background_that_only_shows_between_clients_is_one_start(void **state)
{
	enum { CLIENTS = 1000 };
	struct member_value values[CLIENTS + 2];
	struct segment_image image;
	struct spans spans;
	size_t i;

	(void)state;
	values[0] = (struct member_value){{.low = 0xffff09ffffe0, .length = 123}, 9};
	values[1] = (struct member_value){{.low = 0xffff0a000000, .length = 117}, 5};
	for (i = 0; i < CLIENTS; i++)
		values[2 + i] = (struct member_value){
			{.low = 0xffff0a000000 + 2 * i, .length = 128}, 6 + i % 3};
	assert_int_equal(spans_of_values(values, CLIENTS + 2, &spans), 0);
	image = built(&spans, boxes[0]);
	assert_int_equal(image.clients, CLIENTS);
	assert_int_equal(image.prefixes, 3);
	assert_all_found(&image, &spans, boxes[0]);
	assert_walked_back(&image, &spans);
	segment_image_release(&image);
	spans_release(&spans);
}

/* ---- large ones ---- */

static void check_large(const struct member_value *values, size_t count, struct box box,
			uint32_t clients, struct random *random)
{
	struct segment_image image;
	struct spans spans;
	int i;

	assert_int_equal(spans_of_values(values, count, &spans), 0);
	image = built(&spans, box);
	assert_all_found(&image, &spans, box);
	assert_walked_back(&image, &spans);
	assert_true(image.table.lines_count <= layout_lines_max(clients, count - clients));
	/* And at any others. */
	for (i = 0; i < 100000; i++) {
		struct plain_address at = {random_next(random), random_next(random)};

		assert_found(&image, &spans, box, at);
		at = (struct plain_address){0, 0xffff00000000 | (uint32_t)random_next(random)};
		assert_found(&image, &spans, box, at);
	}
	segment_image_release(&image);
	spans_release(&spans);
}

static void a_million_clients_and_all_prefixes_that_the_limits_allow(void **state)
{
	enum { CLIENTS = 1048576, PREFIXES = 131072 };
	struct random random = random_seeded(__func__);
	struct member *members = malloc((CLIENTS + PREFIXES) * sizeof(*members));
	struct member_value *values = malloc((CLIENTS + PREFIXES) * sizeof(*values));
	size_t count, i, box;

	(void)state;
	assert_non_null(members);
	assert_non_null(values);
	for (box = 0; box < 2; box++) {
		for (i = 0; i < CLIENTS + PREFIXES; i++) {
			bool is_ipv4 = random_below(&random, 2);
			unsigned int full = is_ipv4 ? 128 : boxes[box].prefix6;
			struct plain_address at = {random_next(&random), random_next(&random)};

			if (is_ipv4)
				at = (struct plain_address){0, 0xffff00000000 | (uint32_t)at.low};
			if (i >= CLIENTS)
				full -= 1 + random_below(&random, 16);
			at = plain_masked(at, full);
			members[i] = (struct member){at.high, at.low, full, {0}};
		}
		count = members_sort(members, CLIENTS + PREFIXES);
		for (i = 0; i < count; i++)
			values[i] =
				(struct member_value){members[i], 1 + random_below(&random, 60)};
		check_large(values, count, boxes[box], CLIENTS, &random);
	}
	free(members);
	free(values);
}

/* All of them in one /16, or all in one /48: inner lines, as deep as they come. */
static void a_hundred_thousand_prefixes_side_by_side(void **state)
{
	enum { PREFIXES = 98304 };
	struct random random = random_seeded(__func__);
	struct member_value *values = malloc(PREFIXES * sizeof(*values));
	uint32_t i, count;
	size_t box;

	(void)state;
	assert_non_null(values);
	for (box = 0; box < 2; box++) {
		for (i = 0; i < 32768; i++) /* every /31, and some within */
			values[i] = (struct member_value){
				{.low = 0xffff0a010000 + 2 * i, .length = 127},
				box ? i : 1 + random_below(&random, 5)};
		count = 32768;
		for (i = 0; i < 65536; i++)
			values[count++] = (struct member_value){
				{.high = 0x20010db800010000 + 2 * i, .length = 63},
				1 + random_below(&random, 1000)};
		check_large(values, count, boxes[box], 0, &random);
	}
	free(values);
}

static void clients_in_a_row_fill_lines_as_evenly_as_any(void **state)
{
	static const uint64_t steps[] = {1, 2, 256, 65536, 0x10001, 4096};
	enum { CLIENTS = 60000 };
	struct random random = random_seeded(__func__);
	struct member_value *values = malloc(CLIENTS * sizeof(*values));
	size_t step, i;

	(void)state;
	assert_non_null(values);
	for (step = 0; step < sizeof(steps) / sizeof(steps[0]); step++) {
		for (i = 0; i < CLIENTS; i++)
			values[i] = (struct member_value){
				{.low = 0xffff00000000 + i * steps[step], .length = 128},
				1 + i % 7};
		check_large(values, CLIENTS, boxes[0], CLIENTS, &random);
		for (i = 0; i < CLIENTS; i++)
			values[i].client = (struct member){.high = (1ULL << 61) + i * steps[step],
							   .length = 64};
		check_large(values, CLIENTS, boxes[0], CLIENTS, &random);
	}
	free(values);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_looked_up_is_what_was_laid_out),
		cmocka_unit_test(nothing_takes_no_line),
		cmocka_unit_test(values_of_32_bits_are_too_big),
		cmocka_unit_test(a_client_that_is_left_out_of_a_prefix_is_an_entry),
		cmocka_unit_test(a_client_beside_ipv4_is_an_entry),
		cmocka_unit_test(a_background_that_only_shows_between_clients_is_one_start),
		cmocka_unit_test(a_million_clients_and_all_prefixes_that_the_limits_allow),
		cmocka_unit_test(a_hundred_thousand_prefixes_side_by_side),
		cmocka_unit_test(clients_in_a_row_fill_lines_as_evenly_as_any),
	};

	return cmocka_run_group_tests_name("unit/layout", tests, NULL, NULL);
}
