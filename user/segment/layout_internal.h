/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of the layout: spans are taken apart, and each part has its own lines. */
#ifndef XDP_CANARY_LAYOUT_INTERNAL_H
#define XDP_CANARY_LAYOUT_INTERNAL_H

#include "abi.h"
#include "segment/layout.h"
#include "segment/merge.h"

pure_inline const struct segment_line *
segment_line_at(const struct segment_table *table, const struct segment_line *lines, uint32_t index)
{
	(void)table;
	return &lines[index];
}

#include "segment_find.h"

/* ---- lines: a table that grows ---- */

struct lines {
	struct segment_line *list; /* room for as many as there can be; not touched until used */
	uint32_t count;
};

/* @count lines of zeros behind the last one: the place of the first. */
uint32_t lines_add(struct lines *lines, uint32_t count);

#define IPV4_FIRST ((address128)IPV4_MAPPED)
#define IPV4_END   (IPV4_FIRST + UINT32_MAX + 1)

static inline address128 span_at(const struct span *span)
{
	return (address128)span->high << 64 | span->low;
}

/* ---- what a family's clients and prefixes are ---- */

/* An IPv4 address and a value: of a client, or of all from there on. */
struct value4 {
	uint32_t address, value;
};

struct part4 {
	struct value4 *clients, *starts; /* sorted */
	size_t clients_count, starts_count;
};

/* The same of IPv6: the IPv4 block is left out, as if what is before it went on. */
struct part6 {
	struct span *clients, *starts;
	size_t clients_count, starts_count;
};

/* parts.c. 0 or -ENOMEM. */
int part4_of(const struct spans *spans, unsigned int prefix4, struct part4 *out);
int part6_of(const struct spans *spans, unsigned int prefix6, struct part6 *out);
void part4_release(struct part4 *part);
void part6_release(struct part6 *part);

/* backgrounds.c: what spans become. Those of one client have an entry, or are of the same value as
 * the start before them; longer ones are of it, or a start themselves. */
enum role { ROLE_LONG, ROLE_SINGLE, ROLE_NOTHING, ROLE_START, ROLE_CLIENT };

/*
 * Makes ROLE_LONG and ROLE_SINGLE of the neighbouring spans of @values the others. No choice has
 * fewer starts and clients together. 0 or -ENOMEM.
 */
int choose_backgrounds(const uint32_t *values, uint8_t *roles, size_t count);

/* ---- the lines of each part ---- */

/* clients.c: lines that so many take at the most. */
uint64_t clients_lines_max(uint64_t clients);
/* 0, -ENOMEM, or -E2BIG where no hash finds room for all. */
int clients4_build(const struct part4 *part, struct segment_table *table, struct lines *lines);
int clients6_build(const struct part6 *part, struct segment_table *table, struct lines *lines);
/* Every entry, in no order, IPv4 ones where they are in the 128-bit space; malloc()ed. */
int clients_walk(const struct segment_table *table, const struct segment_line *lines, bool is_ipv4,
		 struct span **out, size_t *count);

/* prefixes4.c, prefixes6.c */
int prefixes4_build(const struct part4 *part, struct segment_table *table, struct lines *lines);
int prefixes6_build(const struct part6 *part, struct segment_table *table, struct lines *lines);
/* What they say from where on, sorted, without the clients; none: 0 everywhere. malloc()ed. */
int prefixes4_walk(const struct segment_table *table, const struct segment_line *lines,
		   struct span **out, size_t *count);
int prefixes6_walk(const struct segment_table *table, const struct segment_line *lines,
		   struct span **out, size_t *count);

#endif
