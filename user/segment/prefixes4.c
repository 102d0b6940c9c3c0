// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks of IPv4 addresses. A block whose starts fit a leaf is one; else its line is the top of a
 * tree, filled from left to right. More and smaller blocks have more lines of few starts, fewer and
 * larger ones more trees. The least is taken, where lines below a block count twice: they are
 * memory, and one more line to wait for.
 */
#include "segment/layout_internal.h"

#include <errno.h>
#include <stdlib.h>

#define CHILDREN   (SEGMENT_INNER4_WORDS * SEGMENT_WORD_STARTS + 1)
#define SHORTS_MAX (1u << 16) /* values of short leaves are below */

struct format {
	bool is_short;
	uint32_t starts; /* of a leaf */
	uint32_t values; /* where its values begin, in quarters or halves */
};

static struct format format_of(const struct segment_table *table)
{
	if (table->flags & SEGMENT_SHORT4)
		return (struct format){true, SEGMENT_SHORT4_WORDS * SEGMENT_WORD_STARTS,
				       SEGMENT_SHORT4_WORDS * 4};
	return (struct format){false, SEGMENT_LEAF4_WORDS * SEGMENT_WORD_STARTS,
			       SEGMENT_LEAF4_WORDS * 2};
}

/* ---- lines ---- */

static void set_lane(struct segment_line *line, uint32_t lane, uint32_t start)
{
	line->words[lane / SEGMENT_WORD_STARTS] |=
		(uint64_t)start << lane % SEGMENT_WORD_STARTS * SEGMENT_LANE_BITS;
}

static uint32_t lane_of(const struct segment_line *line, uint32_t lane)
{
	return line->words[lane / SEGMENT_WORD_STARTS] >>
		       lane % SEGMENT_WORD_STARTS * SEGMENT_LANE_BITS &
	       ((1u << SEGMENT_LANE_BITS) - 1);
}

static void set_value(struct segment_line *line, const struct format *format, uint32_t index,
		      uint32_t value)
{
	if (format->is_short)
		line->quarters[format->values + index] = value;
	else
		line->halves[format->values + index] = value;
}

/* The spans of a leaf: that of @value, and those that begin at @starts; @mask: of a block. */
static void fill_leaf(struct segment_line *line, const struct format *format, uint32_t value,
		      const struct value4 *starts, size_t count, uint32_t mask)
{
	uint32_t i;

	set_value(line, format, 0, value);
	for (i = 0; i < format->starts; i++) {
		set_lane(line, i, i < count ? starts[i].address & mask : SEGMENT_LANE_FREE);
		if (i < count)
			set_value(line, format, i + 1, starts[i].value);
	}
}

/* ---- trees ---- */

/* Where what is below a block's line begins in its starts: of each line of a level. */
struct level {
	size_t *firsts; /* of starts; the first line's is the block's first */
	size_t count;
	uint32_t line;
};

static size_t parts(size_t whole, size_t each)
{
	return (whole + each - 1) / each;
}

/* The lines from @children on get one above every CHILDREN of them, in @lines. */
static void fill_inner(struct segment_line *lines, const struct value4 *starts, struct level *level,
		       uint32_t mask)
{
	size_t parents = parts(level->count, CHILDREN), parent, child;

	for (parent = 0; parent < parents; parent++) {
		size_t first = parent * CHILDREN;

		for (child = 1; child < CHILDREN; child++)
			set_lane(&lines[parent], child - 1,
				 first + child < level->count
					 ? starts[level->firsts[first + child]].address & mask
					 : SEGMENT_LANE_FREE);
		lines[parent].words[0] |= SEGMENT_INNER;
		lines[parent].halves[SEGMENT_INNER4_CHILD] = level->line + first;
		level->firsts[parent] = level->firsts[first];
	}
	level->count = parents;
}

/* @count starts behind @value, more than a leaf has, below line @top. */
static void add_tree(struct lines *lines, uint32_t top, const struct format *format, uint32_t value,
		     const struct value4 *starts, size_t count, uint32_t mask, size_t *firsts)
{
	struct level level = {.firsts = firsts, .count = parts(count + 1, format->starts + 1)};
	size_t i;

	level.line = lines_add(lines, level.count);
	for (i = 0; i < level.count; i++) {
		/* Span s of the block is start s - 1, and the one before all starts is span 0. */
		size_t span = i * (format->starts + 1);
		size_t more = count - span < format->starts ? count - span : format->starts;

		firsts[i] = i ? span - 1 : 0;
		fill_leaf(&lines->list[level.line + i], format, i ? starts[span - 1].value : value,
			  starts + span, more, mask);
	}
	while (level.count > CHILDREN) {
		uint32_t above = lines_add(lines, parts(level.count, CHILDREN));

		fill_inner(&lines->list[above], starts, &level, mask);
		level.line = above;
	}
	fill_inner(&lines->list[top], starts, &level, mask);
}

/* Lines that it adds. */
static size_t tree_lines(const struct format *format, size_t count)
{
	size_t lines = parts(count + 1, format->starts + 1), all = lines;

	while (lines > CHILDREN) {
		lines = parts(lines, CHILDREN);
		all += lines;
	}
	return all;
}

/* ---- blocks ---- */

/* The starts of the block that the next one is in, but one at its very beginning: up to *@end. */
static bool next_block(const struct part4 *part, size_t *next, size_t *end, uint8_t shift,
		       uint32_t *block)
{
	if (*next == part->starts_count)
		return false;
	*block = part->starts[*next].address >> shift;
	for (*end = *next; *end < part->starts_count; ++*end)
		if (part->starts[*end].address >> shift != *block)
			break;
	*next += !(part->starts[*next].address & ((1u << shift) - 1));
	return true;
}

static uint64_t cost_of(const struct part4 *part, const struct format *format, uint8_t shift)
{
	uint64_t cost = 1ULL << (32 - shift);
	size_t next = 0, end;
	uint32_t block;

	for (; next_block(part, &next, &end, shift, &block); next = end)
		if (end - next > format->starts)
			cost += 2 * tree_lines(format, end - next);
	return cost;
}

static uint8_t best_shift(const struct part4 *part, const struct format *format)
{
	uint8_t shift, best = 32 - SEGMENT_BLOCK4_BITS_LEAST;
	uint64_t least = UINT64_MAX;

	for (shift = best; shift >= 32 - SEGMENT_BLOCK4_BITS_MOST; shift--) {
		uint64_t cost = cost_of(part, format, shift);

		if (cost >= least)
			continue;
		least = cost;
		best = shift;
	}
	return best;
}

static void fill_blocks(const struct part4 *part, const struct segment_table *table,
			struct lines *lines, size_t *firsts)
{
	uint32_t block = 0, at = 0, value = 0, mask = (1u << table->blocks4_shift) - 1;
	struct format format = format_of(table);
	size_t next = 0, end;

	for (; next_block(part, &next, &end, table->blocks4_shift, &block); next = end) {
		for (; at < block; at++)
			fill_leaf(&lines->list[table->blocks4 + at], &format, value, NULL, 0, mask);
		if (next && part->starts[next - 1].address >> table->blocks4_shift == block)
			value = part->starts[next - 1].value;
		if (end - next > format.starts)
			add_tree(lines, table->blocks4 + at, &format, value, part->starts + next,
				 end - next, mask, firsts);
		else
			fill_leaf(&lines->list[table->blocks4 + at], &format, value,
				  part->starts + next, end - next, mask);
		value = part->starts[end - 1].value;
		at++;
	}
	for (; at < 1u << (32 - table->blocks4_shift); at++)
		fill_leaf(&lines->list[table->blocks4 + at], &format, value, NULL, 0, mask);
}

int prefixes4_build(const struct part4 *part, struct segment_table *table, struct lines *lines)
{
	size_t *firsts;
	struct format format;

	if (!part->starts_count)
		return 0;
	firsts = malloc((part->starts_count + 1) * sizeof(*firsts));
	if (!firsts)
		return -ENOMEM;
	table->flags |= SEGMENT_PREFIXES4;
	if (table->values_count <= SHORTS_MAX)
		table->flags |= SEGMENT_SHORT4;
	format = format_of(table);
	table->blocks4_shift = best_shift(part, &format);
	table->blocks4 = lines_add(lines, 1u << (32 - table->blocks4_shift));
	fill_blocks(part, table, lines, firsts);
	free(firsts);
	return 0;
}

/* ---- and back ---- */

struct walk4 {
	const struct segment_table *table;
	const struct segment_line *lines;
	uint32_t block; /* its first address */
	struct span *list;
	size_t count, room;
};

/* From @address on it is what the kernel finds there. */
static int add_start(struct walk4 *walk, uint32_t address)
{
	uint32_t value = segment_prefix4(walk->table, walk->lines, address);

	if (walk->count == walk->room) {
		size_t room = walk->room ? 2 * walk->room : 1u << SEGMENT_BLOCK4_BITS_LEAST;
		struct span *list = reallocarray(walk->list, room, sizeof(*list));

		if (!list)
			return -ENOMEM;
		walk->list = list;
		walk->room = room;
	}
	if (walk->count && walk->list[walk->count - 1].value == value)
		return 0;
	walk->list[walk->count++] = (struct span){.low = IPV4_MAPPED | address, .value = value};
	return 0;
}

/* The starts of a line and of what is below it. As deep as SEGMENT_INNER4_LEVELS. */
static int walk_line(struct walk4 *walk, uint32_t index)
{
	const struct segment_line *line = &walk->lines[index];
	bool is_inner = line->words[0] & SEGMENT_INNER;
	uint32_t lanes = is_inner ? CHILDREN - 1 : format_of(walk->table).starts, lane;
	uint32_t child = line->halves[SEGMENT_INNER4_CHILD];
	int error = is_inner ? walk_line(walk, child) : 0;

	for (lane = 0; lane < lanes && lane_of(line, lane) != SEGMENT_LANE_FREE && !error; lane++) {
		error = add_start(walk, walk->block | lane_of(line, lane));
		if (is_inner && !error)
			error = walk_line(walk, child + lane + 1);
	}
	return error;
}

int prefixes4_walk(const struct segment_table *table, const struct segment_line *lines,
		   struct span **out, size_t *count)
{
	struct walk4 walk = {.table = table, .lines = lines};
	uint32_t i, blocks = 0;
	int error = 0;

	if (table->flags & SEGMENT_PREFIXES4)
		blocks = 1u << (32 - table->blocks4_shift);
	for (i = 0; i < blocks && !error; i++) {
		walk.block = i << table->blocks4_shift;
		error = add_start(&walk, walk.block);
		if (!error)
			error = walk_line(&walk, table->blocks4 + i);
	}
	*out = walk.list;
	*count = walk.count;
	return error;
}
