// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table as a whole. Spans are taken apart by family, and into clients and starts
 * (backgrounds.c); their lines follow one another in this order: IPv4 clients (clients.c), IPv6
 * clients, IPv4 roots and what is below them (prefixes4.c), the IPv6 tree (prefixes6.c).
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

/* ---- taking spans apart ---- */

/* The first span that starts at or behind the address. */
static size_t span_from(const struct spans *spans, address128 at)
{
	size_t from = 0, to = spans->count;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (span_at(&spans->list[middle]) < at)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

void part4_release(struct part4 *part)
{
	free(part->clients);
	free(part->starts);
}

void part6_release(struct part6 *part)
{
	free(part->clients);
	free(part->starts);
}

/* The spans of a family, with values and roles apart as choose_backgrounds() wants them. */
struct pieces {
	uint32_t *addresses, *values;
	struct span *spans;
	uint8_t *roles;
	size_t count;
};

static void pieces_release(struct pieces *pieces)
{
	free(pieces->addresses);
	free(pieces->values);
	free(pieces->spans);
	free(pieces->roles);
}

static int pieces4_of(const struct spans *spans, unsigned int prefix4, struct pieces *out)
{
	size_t from = span_from(spans, IPV4_FIRST), end = span_from(spans, IPV4_END), i, count;
	uint64_t size = 1ULL << (32 - prefix4);

	out->addresses = malloc((end - from + 2) * sizeof(*out->addresses));
	out->values = malloc((end - from + 2) * sizeof(*out->values));
	out->roles = malloc(end - from + 2);
	if (!out->addresses || !out->values || !out->roles)
		return -ENOMEM;
	/* What is in force where IPv4 begins. */
	out->addresses[0] = 0;
	out->values[0] = from ? spans->list[from - 1].value : 0;
	count = from < end && spans->list[from].low == IPV4_MAPPED ? 0 : 1;
	for (i = from; i < end; i++) {
		out->addresses[count] = spans->list[i].low;
		out->values[count++] = spans->list[i].value;
	}
	out->count = count;
	for (i = 0; i < count; i++) {
		uint64_t next = i + 1 < count ? out->addresses[i + 1] : 1ULL << 32;

		out->roles[i] = next - out->addresses[i] == size ? ROLE_SINGLE : ROLE_LONG;
	}
	return choose_backgrounds(out->values, out->roles, count);
}

int part4_of(const struct spans *spans, unsigned int prefix4, struct part4 *out)
{
	struct pieces pieces = {0};
	int error = pieces4_of(spans, prefix4, &pieces);
	size_t i;

	*out = (struct part4){0};
	if (error)
		goto out;
	out->clients = malloc((pieces.count + 1) * sizeof(*out->clients));
	out->starts = malloc((pieces.count + 1) * sizeof(*out->starts));
	if (!out->clients || !out->starts) {
		part4_release(out);
		error = -ENOMEM;
		goto out;
	}
	for (i = 0; i < pieces.count; i++) {
		struct value4 value = {pieces.addresses[i], pieces.values[i]};

		if (pieces.roles[i] == ROLE_CLIENT)
			out->clients[out->clients_count++] = value;
		else if (pieces.roles[i] == ROLE_START)
			out->starts[out->starts_count++] = value;
	}
out:
	pieces_release(&pieces);
	return error;
}

static void add_piece6(struct pieces *pieces, struct span span)
{
	if (pieces->count && pieces->values[pieces->count - 1] == span.value)
		return;
	pieces->values[pieces->count] = span.value;
	pieces->spans[pieces->count++] = span;
}

static int pieces6_of(const struct spans *spans, unsigned int prefix6, struct pieces *out)
{
	size_t from = span_from(spans, IPV4_FIRST), end = span_from(spans, IPV4_END), i;
	size_t most = spans->count - (end - from) + 2;
	address128 size = (address128)1 << (128 - prefix6);

	out->spans = malloc(most * sizeof(*out->spans));
	out->values = malloc(most * sizeof(*out->values));
	out->roles = malloc(most);
	if (!out->spans || !out->values || !out->roles)
		return -ENOMEM;
	if (!spans->count)
		add_piece6(out, (struct span){0});
	for (i = 0; i < from; i++)
		add_piece6(out, spans->list[i]);
	/* What is in force behind IPv4: nothing new in most cases. */
	if (end && (end == spans->count || span_at(&spans->list[end]) != IPV4_END))
		add_piece6(out, (struct span){.low = (uint64_t)IPV4_END,
					      .value = spans->list[end - 1].value});
	for (i = end; i < spans->count; i++)
		add_piece6(out, spans->list[i]);
	for (i = 0; i < out->count; i++) {
		address128 at = span_at(&out->spans[i]);
		address128 next = i + 1 < out->count ? span_at(&out->spans[i + 1]) : 0;

		if (next == IPV4_END && at < IPV4_FIRST)
			next = IPV4_FIRST;
		out->roles[i] = next - at == size ? ROLE_SINGLE : ROLE_LONG;
	}
	return choose_backgrounds(out->values, out->roles, out->count);
}

int part6_of(const struct spans *spans, unsigned int prefix6, struct part6 *out)
{
	struct pieces pieces = {0};
	int error = pieces6_of(spans, prefix6, &pieces);
	size_t i;

	*out = (struct part6){0};
	if (error)
		goto out;
	out->clients = malloc((pieces.count + 1) * sizeof(*out->clients));
	out->starts = malloc((pieces.count + 1) * sizeof(*out->starts));
	if (!out->clients || !out->starts) {
		part6_release(out);
		error = -ENOMEM;
		goto out;
	}
	for (i = 0; i < pieces.count; i++) {
		if (pieces.roles[i] == ROLE_CLIENT)
			out->clients[out->clients_count++] = pieces.spans[i];
		else if (pieces.roles[i] == ROLE_START)
			out->starts[out->starts_count++] = pieces.spans[i];
	}
out:
	pieces_release(&pieces);
	return error;
}

/* ---- building ---- */

void segment_image_release(struct segment_image *image)
{
	free(image->lines);
	*image = (struct segment_image){0};
}

/* Each start may be alone in its IPv4 root, and so in its line. Where there are more of them than
 * roots, and in IPv6, three starts take a line at the most, with all that is above them. */
static uint64_t starts_lines_max(uint64_t starts)
{
	uint64_t roots = 1u << SEGMENT_ROOT4_BITS, alone = starts < roots ? starts : roots;

	if (!starts)
		return 0;
	return SEGMENT_ROOTS4_LINES + alone + (starts - alone + 2) / 3 + 2 * SEGMENT_TREE6_MOST;
}

static uint64_t parts_lines_max(uint64_t clients, uint64_t starts)
{
	return clients_lines_max(clients) + starts_lines_max(starts);
}

/*
 * A prefix has two ends, each of which is a start at the most, and choose_backgrounds() has no more
 * starts and clients together than so; but any mix of them may come out. Most lines are taken by
 * one start in each root, and the rest as clients, who take more than a third of a line.
 */
uint32_t layout_lines_max(uint32_t clients, uint32_t prefixes)
{
	uint64_t all = clients + 2 * (uint64_t)prefixes, roots = 1u << SEGMENT_ROOT4_BITS;
	uint64_t alone = all < roots ? all : roots;

	return parts_lines_max(all - alone, alone);
}

static int build_parts(const struct part4 *part4, const struct part6 *part6,
		       struct segment_image *out)
{
	uint64_t most = parts_lines_max(part4->clients_count + part6->clients_count,
					part4->starts_count + part6->starts_count);
	struct lines lines = {0};
	int error;

	if (most > SEGMENT_ROOT4_LINE_MASK)
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
	if (error)
		return error;
	prefixes4_build(part4, &out->table, &lines);
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
