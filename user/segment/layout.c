// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table as a whole. Spans are taken apart by family, and into clients and starts (parts.c,
 * backgrounds.c); their lines follow one another in this order: IPv4 clients (clients.c), IPv6
 * clients, IPv4 blocks and what is below them (prefixes4.c), the IPv6 tree (prefixes6.c).
 */
#include "segment/layout_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint32_t lines_add(struct lines *lines, uint32_t count)
{
	uint32_t first = lines->count;

	memset(lines->list + first, 0, count * sizeof(*lines->list));
	lines->count += count;
	return first;
}

void segment_image_release(struct segment_image *image)
{
	free(image->lines);
	*image = (struct segment_image){0};
}

/*
 * Five starts at the least have a line below a block of IPv4, with what is above it, and as these
 * count twice there are no more than with the fewest blocks. An IPv6 leaf of long keys has four,
 * and a quarter more lines are above the leaves.
 */
static uint64_t starts_lines_max(uint64_t starts)
{
	return starts ? (1u << SEGMENT_BLOCK4_BITS_LEAST) + starts * 2 / 5 + 2 * SEGMENT_TREE6_MOST
		      : 0;
}

static uint64_t parts_lines_max(uint64_t clients, uint64_t starts)
{
	return clients_lines_max(clients) + starts_lines_max(starts);
}

/*
 * A prefix has two ends, each of which is a start at the most, and choose_backgrounds() has no more
 * starts and clients together than so; but any mix of them may come out, and clients take more.
 */
uint32_t layout_lines_max(uint32_t clients, uint32_t prefixes)
{
	uint64_t all = clients + 2 * (uint64_t)prefixes;

	return all ? parts_lines_max(all, 1) : 0;
}

static int build_parts(const struct part4 *part4, const struct part6 *part6,
		       struct segment_image *out)
{
	uint64_t most = parts_lines_max(part4->clients_count + part6->clients_count,
					part4->starts_count + part6->starts_count);
	struct lines lines = {0};
	int error;

	if (most > UINT32_MAX / SEGMENT_TABLES)
		return -E2BIG;
	lines.list = aligned_alloc(CACHE_LINE, most * sizeof(*lines.list));
	if (!lines.list)
		return -ENOMEM;
	out->lines = lines.list;
	out->clients = part4->clients_count + part6->clients_count;
	out->prefixes = part4->starts_count + part6->starts_count;
	error = clients4_build(part4, &out->table, &lines);
	if (!error)
		error = clients6_build(part6, &out->table, &lines);
	if (!error)
		error = prefixes4_build(part4, &out->table, &lines);
	if (!error)
		error = prefixes6_build(part6, &out->table, &lines);
	out->table.lines_count = out->table.layout_lines = lines.count;
	return error;
}

/* Values + 1 have 32 bits. */
static int greatest_value(const struct spans *spans, uint32_t *out)
{
	uint64_t greatest = 0;
	size_t i;

	for (i = 0; i < spans->count; i++)
		if (spans->list[i].value > greatest)
			greatest = spans->list[i].value;
	*out = greatest;
	return greatest < UINT32_MAX ? 0 : -E2BIG;
}

int layout_build(const struct spans *spans, unsigned int prefix4, unsigned int prefix6,
		 struct segment_image *out)
{
	struct part4 part4 = {0};
	struct part6 part6 = {0};
	uint32_t greatest;
	int error;

	*out = (struct segment_image){
		.table = {.mask4 = htonl(UINT32_MAX << (32 - prefix4)), .prefix6 = prefix6}};
	error = greatest_value(spans, &greatest);
	out->table.values_count = greatest + 1;
	if (!error)
		error = part4_of(spans, prefix4, &part4);
	if (!error)
		error = part6_of(spans, prefix6, &part6);
	if (!error)
		error = build_parts(&part4, &part6, out);
	if (error)
		segment_image_release(out);
	part4_release(&part4);
	part6_release(&part6);
	return error;
}

uint32_t layout_find(const struct segment_table *table, const struct segment_line *lines,
		     uint64_t high, uint64_t low)
{
	if (!high && low >> 32 == IPV4_MAPPED >> 32)
		return segment_value4(table, lines, low & ntohl(table->mask4));
	if (table->prefix6 > 64)
		return segment_value6(table, lines, high,
				      low & UINT64_MAX << (128 - table->prefix6));
	return segment_value6(table, lines, high & UINT64_MAX << (64 - table->prefix6), 0);
}
