/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The segment table as the kernel needs it: of each client a class, which stands for the set of
 * segments that hold it, and a group, which stands for its texts in the columns that services group
 * by. A table is built from those and from the tables that are shown, so that each class and group
 * is of one shown class and group: what was decided on its clients is known to the fold
 * (policy/transition_classes.c) without any history. Class 0 and group 0 are those of clients that
 * no table has. Pure.
 */
#ifndef XDP_CANARY_CLASSES_H
#define XDP_CANARY_CLASSES_H

#include "segment/layout.h"

/* A table that packets look clients up in now. */
struct shown_table {
	const struct segment_table *table;
	const struct segment_line *lines;
	/* Of each class and group the lowest that every view takes for the same. */
	const uint32_t *same_classes, *same_groups;
};

/* Clients with the index of their text + 1, and the token of each index + 1. */
struct class_column {
	const struct member_value *clients;
	size_t count;
	const uint64_t *tokens;
	uint64_t name; /* its digest */
};

struct class_sources {
	const struct member_list *segments; /* SEGMENTS_MAX of them, by number */
	struct class_column columns[GROUP_COLUMNS_MAX];
	size_t columns_count;
	struct shown_table shown[SEGMENT_TABLES];
	size_t shown_count;
	uint8_t prefix4, prefix6; /* of clients of the box */
	uint64_t digest;	  /* table.digest */
};

/* What each class and group was in a shown table. */
struct class_mapping {
	uint32_t *classes, *groups;
};

struct class_table {
	struct segment_image image;
	struct class_mapping from[SEGMENT_TABLES]; /* in the order of sources.shown */
};

/*
 * 0, -ENOMEM, -ENOSPC: more combinations of segments and groups than a value can tell apart, or an
 * error of layout_build(). Release it also after an error.
 */
int class_table_build(const struct class_sources *sources, struct class_table *out);
void class_table_release(struct class_table *table);
/* Of a table that was built before: what its classes and groups are in @shown (same_* not read). */
int class_table_map(const struct segment_table *table, const struct segment_line *lines,
		    const struct shown_table *shown, struct class_mapping *out);
void class_mapping_release(struct class_mapping *mapping);

/* Bits of segments of each class; tokens of each group in column @name, NULL: it has none. */
const __u64 *class_table_members(const struct segment_table *table,
				 const struct segment_line *lines);
const __u64 *class_table_tokens(const struct segment_table *table, const struct segment_line *lines,
				uint64_t name);

#endif
