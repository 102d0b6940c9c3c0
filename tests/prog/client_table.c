// SPDX-License-Identifier: GPL-2.0-only
#include "client_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define IPV4_IN_128 96

static void *allocate(size_t count, size_t size)
{
	void *memory = malloc((count + 1) * size);

	assert_non_null(memory);
	return memory;
}

struct member *spread_clients(const char *first, uint32_t count)
{
	struct member *members = allocate(count, sizeof(*members));
	struct address address = address_of(first);
	struct member start = {.length = address.family == 4 ? 128 : 64};
	uint32_t i;

	address_words(&address, &start.high, &start.low);
	for (i = 0; i < count; i++) {
		members[i] = start;
		if (address.family == 4)
			members[i].low = IPV4_MAPPED | (uint32_t)(start.low + i * CLIENT_SPREAD);
		else
			members[i].high = (start.high & ~(uint64_t)UINT32_MAX) |
					  (uint32_t)(start.high + i * CLIENT_SPREAD);
	}
	assert_int_equal(members_sort(members, count), count);
	return members;
}

struct member *random_prefixes(struct random *random, int family, size_t *count)
{
	struct member *members = allocate(*count, sizeof(*members));
	size_t i;

	for (i = 0; i < *count; i++) {
		uint32_t bits = random_next(random);
		unsigned int length =
			family == 4 ? 12 + random_below(random, 19) : 40 + random_below(random, 24);

		members[i] = (struct member){.length = length + (family == 4 ? IPV4_IN_128 : 0)};
		if (family == 4)
			members[i].low = IPV4_MAPPED | (bits & UINT32_MAX << (32 - length));
		else
			members[i].high = (0x20010db8ULL << 32 | bits) & UINT64_MAX
										 << (64 - length);
	}
	*count = members_sort(members, *count);
	return members;
}

static int compare_values(const void *left, const void *right)
{
	const struct member_value *a = left, *b = right;

	return member_compare(&a->client, &b->client);
}

struct member_value *random_values(struct random *random, const struct member *members,
				   size_t members_count, const struct member *more,
				   size_t more_count, uint32_t values_most)
{
	size_t count = members_count + more_count, i;
	struct member_value *values = allocate(count, sizeof(*values));

	for (i = 0; i < count; i++)
		values[i] = (struct member_value){i < members_count ? members[i]
								    : more[i - members_count],
						  1 + random_below(random, values_most)};
	qsort(values, count, sizeof(*values), compare_values);
	return values;
}

void lab_fill_table(struct lab *lab, uint32_t number, const struct spans *spans)
{
	uint32_t room = lab->datapath->maps[MAP_SEGMENT_LINES].entries / SEGMENT_TABLES;
	struct segment_image image;
	struct segment_line *lines;

	assert_int_equal(layout_build(spans, 32, 64, &image), 0);
	assert_true(image.table.lines_count <= room);
	image.table.lines = number * room;
	lines = map_part(lab->datapath, MAP_SEGMENT_LINES, struct segment_line, image.table.lines,
			 image.table.lines_count);
	memcpy(lines, image.lines, image.table.lines_count * sizeof(*lines));
	*map_part(lab->datapath, MAP_SEGMENT_TABLES, struct segment_table, number, 1) = image.table;
	segment_image_release(&image);
}
