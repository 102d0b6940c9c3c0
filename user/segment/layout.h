/* SPDX-License-Identifier: GPL-2.0-only */
/* From spans to the lines that the kernel looks clients up in (headers/segments.h), and back. Pure.
 */
#ifndef XDP_CANARY_LAYOUT_H
#define XDP_CANARY_LAYOUT_H

#include "segment/spans.h"
#include "segments.h"

struct segment_image {
	struct segment_table table; /* .lines is left 0 */
	struct segment_line *lines; /* table.lines_count; cache aligned */
	size_t clients, prefixes;   /* exact clients, and starts of spans, that it has */
};

/*
 * Values of @spans are below 2^32. Clients of the box have @prefix4 and @prefix6 bits: spans begin
 * and end on their borders. 0, -ENOMEM, or -E2BIG where a table of that size cannot be.
 */
int layout_build(const struct spans *spans, unsigned int prefix4, unsigned int prefix6,
		 struct segment_image *out);
void segment_image_release(struct segment_image *image);

/* What the lines say, as spans. @lines: the table's first. */
int layout_walk(const struct segment_table *table, const struct segment_line *lines,
		struct spans *out);
/* As the kernel looks it up, by the same header. */
uint32_t layout_find(const struct segment_table *table, const struct segment_line *lines,
		     uint64_t high, uint64_t low);

/* Lines that a table of so many clients and prefixes takes at the most: what maps are sized by. */
uint32_t layout_lines_max(uint32_t clients, uint32_t prefixes);

#endif
