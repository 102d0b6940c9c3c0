/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From spans to the lines that the kernel looks clients up in (headers/segments.h), and back. Pure.
 */
#ifndef XDP_CANARY_LAYOUT_H
#define XDP_CANARY_LAYOUT_H

#include "segment/spans.h"
#include "segments.h"

struct segment_image {
	/* Whole but for .lines, .class_bits, the counts of classes and groups, and .digest. */
	struct segment_table table;
	struct segment_line *lines; /* table.lines_count; cache aligned */
	size_t clients, prefixes;   /* exact clients, and starts of spans, that it has */
};

/*
 * Values of @spans are below 2^32 - 1. Clients of the box have @prefix4 (1 to 32) and @prefix6 (1
 * to 128) bits, and spans begin and end on their borders. 0, -ENOMEM, or -E2BIG where a table of
 * that size, or a value, cannot be.
 */
int layout_build(const struct spans *spans, unsigned int prefix4, unsigned int prefix6,
		 struct segment_image *out);
void segment_image_release(struct segment_image *image);

/* What the lines say, as spans: those that were laid out. @lines: the table's first. */
int layout_walk(const struct segment_table *table, const struct segment_line *lines,
		struct spans *out);
/* As the kernel looks it up, by the same header. Any address: it is masked to its client. */
uint32_t layout_find(const struct segment_table *table, const struct segment_line *lines,
		     uint64_t high, uint64_t low);

/*
 * Lines that a table takes at the most that is made of so many distinct clients of full length and
 * so many distinct shorter prefixes, whatever their values: what maps are sized by. It is of the
 * worst: IPv6 clients beyond /64. IPv4 clients of a few values take an eighth.
 */
uint32_t layout_lines_max(uint32_t clients, uint32_t prefixes);

#endif
