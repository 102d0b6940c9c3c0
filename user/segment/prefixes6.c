// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tree of IPv6 prefixes: full lines from left to right, level by level. The leaves are the last
 * lines of the table.
 */
#include "segment/layout_internal.h"

#include "segment/merge.h"

#include <errno.h>
#include <stdlib.h>

struct shape {
	bool is_long;		/* keys are two words */
	uint32_t leaf, fan_out; /* values of a leaf; children of an inner line */
};

static struct shape shape_of(const struct segment_table *table)
{
	if (table->prefix6 > 64)
		return (struct shape){true, SEGMENT_LEAF6_LONG + 1, SEGMENT_INNER6_LONG + 1};
	return (struct shape){false, SEGMENT_LEAF6 + 1, SEGMENT_INNER6 + 1};
}

/* What a key of a start is: the address before it. */
static void set_key(struct segment_line *line, uint32_t key, uint32_t keys, bool is_long,
		    const struct span *start)
{
	address128 before = ~(address128)0;

	if (start && is_long)
		before = ((address128)start->high << 64 | start->low) - 1;
	else if (start)
		before = (address128)(start->high - 1) << 64;
	line->words[key] = before >> 64;
	if (is_long)
		line->words[keys + key] = before;
}

/* A level of @lines lines, whose line n has the spans from n * @spans on; keys are the starts of
 * each of its @children but the first. */
static void fill_level(struct segment_line *lines, uint32_t lines_count, uint64_t spans_each,
		       uint32_t children, bool is_long, const struct span *spans, size_t count)
{
	uint64_t step = spans_each / children;
	uint32_t i, child;

	for (i = 0; i < lines_count; i++)
		for (child = 1; child < children; child++) {
			uint64_t first = i * spans_each + child * step;

			set_key(&lines[i], child - 1, children - 1, is_long,
				first < count ? &spans[first] : NULL);
		}
}

/* Values beyond the last span are never asked for. */
static void fill_values(struct segment_line *lines, const struct shape *shape,
			const struct span *spans, size_t count)
{
	uint32_t first = CACHE_LINE / sizeof(uint32_t) - shape->leaf;
	size_t i;

	for (i = 0; i < count; i++)
		lines[i / shape->leaf].halves[first + i % shape->leaf] = spans[i].value;
}

static void build_levels(struct segment_table *table, struct lines *lines, const struct span *spans,
			 size_t count)
{
	struct shape shape = shape_of(table);
	uint64_t each[SEGMENT_TREE6_MOST] = {shape.leaf}; /* spans of a line, from the leaves up */
	uint32_t levels = 1, level;

	while (each[levels - 1] < count) {
		each[levels] = each[levels - 1] * shape.fan_out;
		levels++;
	}
	table->tree6_levels = levels;
	for (level = 0; level < levels; level++) {
		uint64_t spans_each = each[levels - 1 - level];
		uint32_t lines_count = (count + spans_each - 1) / spans_each;
		bool is_leaf = level + 1 == levels;

		table->tree6[level] = lines_add(lines, lines_count);
		fill_level(&lines->list[table->tree6[level]], lines_count, spans_each,
			   is_leaf ? shape.leaf : shape.fan_out, shape.is_long, spans, count);
		if (is_leaf)
			fill_values(&lines->list[table->tree6[level]], &shape, spans, count);
	}
}

int prefixes6_build(const struct part6 *part, struct segment_table *table, struct lines *lines)
{
	const struct span *starts = part->starts;
	size_t count = part->starts_count, i;
	struct span *spans;

	if (!count)
		return 0;
	if (!starts[0].high && !starts[0].low) {
		build_levels(table, lines, starts, count);
		return 0;
	}
	spans = malloc((count + 1) * sizeof(*spans));
	if (!spans)
		return -ENOMEM;
	spans[0] = (struct span){0};
	for (i = 0; i < count; i++)
		spans[i + 1] = starts[i];
	build_levels(table, lines, spans, count + 1);
	free(spans);
	return 0;
}

/* ---- and back ---- */

/* The start behind a key, or false: the key is not used. */
static bool start_of_key(const struct segment_line *line, uint32_t key, uint32_t keys, bool is_long,
			 struct span *start)
{
	address128 before = (address128)line->words[key] << 64;

	if (line->words[key] == UINT64_MAX && (!is_long || line->words[keys + key] == UINT64_MAX))
		return false;
	before += is_long ? (address128)line->words[keys + key] + 1 : (address128)1 << 64;
	start->high = before >> 64;
	start->low = before;
	return true;
}

/* Of a leaf's first value: the key is in the lowest line above that does not begin with the leaf.
 */
static void first_start(const struct segment_table *table, const struct segment_line *lines,
			uint32_t leaf, struct span *start)
{
	struct shape shape = shape_of(table);
	uint32_t level = table->tree6_levels - 1;

	for (; leaf; leaf /= shape.fan_out) {
		uint32_t child = leaf % shape.fan_out;
		const struct segment_line *above =
			&lines[table->tree6[--level] + leaf / shape.fan_out];

		if (child) {
			start_of_key(above, child - 1, shape.fan_out - 1, shape.is_long, start);
			return;
		}
	}
}

int prefixes6_walk(const struct segment_table *table, const struct segment_line *lines,
		   struct span **out, size_t *count)
{
	struct shape shape = shape_of(table);
	uint32_t levels = table->tree6_levels, leaves = levels ? table->tree6[levels - 1] : 0;
	uint32_t leaves_count = levels ? table->layout_lines - leaves : 0, leaf, i;
	struct span *list = calloc((size_t)leaves_count * shape.leaf + 1, sizeof(*list));
	uint32_t values = CACHE_LINE / sizeof(uint32_t) - shape.leaf; /* in halves */
	size_t next = 0;

	*out = list;
	if (!list)
		return -ENOMEM;
	for (leaf = 0; leaf < leaves_count; leaf++) {
		const struct segment_line *line = &lines[leaves + leaf];

		first_start(table, lines, leaf, &list[next]);
		list[next++].value = line->halves[values];
		for (i = 1; i < shape.leaf &&
			    start_of_key(line, i - 1, shape.leaf - 1, shape.is_long, &list[next]);
		     i++)
			list[next++].value = line->halves[values + i];
	}
	*count = next;
	return 0;
}
