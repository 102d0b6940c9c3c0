// SPDX-License-Identifier: GPL-2.0-only
/*
 * Roots and leaves of IPv4 prefixes. The address space is halved until what is left of the starts
 * fits a leaf at its granularity, down to a root's 2^15 addresses; where a root has more, there are
 * inner lines above its leaves. A root all of whose addresses have one value is that value, though
 * its neighbours may share a leaf.
 */
#include "segment/layout_internal.h"

#include <errno.h>
#include <stdlib.h>

#define CHILDREN   (SEGMENT_INNER4_STARTS + 1)
#define SHORTS_MAX (1u << 16) /* values of short leaves are below */

struct roots {
	const struct value4 *starts;
	struct segment_table *table;
	struct lines *lines;
	bool is_short;
	uint32_t capacity; /* starts of a leaf */
};

/* Neighbouring roots, and the starts in them but one at their very beginning. */
struct block {
	uint32_t first_root, shift; /* 2^shift roots */
	size_t from, end;	    /* of starts */
	uint32_t value;		    /* before the first of these */
};

static uint32_t *root_of(struct roots *roots, uint32_t root)
{
	return &roots->lines->list[roots->table->roots4 + root / 16].halves[root % 16];
}

/* @starts behind that of @value; @count is the capacity at the most. */
static uint32_t add_leaf(struct roots *roots, const struct value4 *starts, size_t count,
			 uint32_t value, uint32_t shift)
{
	uint32_t index = lines_add(roots->lines, 1), i;
	struct segment_line *leaf = &roots->lines->list[index];

	for (i = 0; i <= roots->capacity; i++) {
		uint32_t at = SEGMENT_LANE_FREE;

		if (roots->is_short)
			leaf->quarters[SEGMENT_LEAF4_SHORT + 1 + i] = value;
		else
			leaf->halves[SEGMENT_LEAF4_STARTS / 2 + i] = value;
		if (i < count) {
			at = starts[i].address >> shift & (SEGMENT_LANE_FREE - 1);
			value = starts[i].value;
		}
		if (i < roots->capacity || roots->is_short)
			leaf->quarters[i] = at;
	}
	return index;
}

/* The lines from @children on, each with the start in @firsts that it begins with, get lines above
 * them: the first of these. @firsts: in, and out. */
static uint32_t add_inner(struct roots *roots, uint32_t children, uint32_t *firsts, size_t *count)
{
	size_t parents = (*count + CHILDREN - 1) / CHILDREN, parent, i;
	uint32_t index = lines_add(roots->lines, parents);

	for (parent = 0; parent < parents; parent++) {
		struct segment_line *line = &roots->lines->list[index + parent];
		size_t first = parent * CHILDREN;

		for (i = 1; i < CHILDREN; i++)
			line->quarters[i - 1] =
				first + i < *count ? firsts[first + i] & (SEGMENT_LANE_FREE - 1)
						   : SEGMENT_LANE_FREE;
		line->halves[SEGMENT_INNER4_CHILD] = children + first;
		firsts[parent] = firsts[first];
	}
	*count = parents;
	return index;
}

/* One root with more starts than a leaf has room for. */
static uint32_t add_tree(struct roots *roots, const struct block *block)
{
	static uint32_t firsts[1 << SEGMENT_LANE_BITS];
	uint32_t value = block->value, levels = 0, index = roots->lines->count;
	size_t from = block->from, leaves = 0;

	firsts[leaves++] = 0;
	for (;;) {
		size_t count = block->end - from;

		if (count > roots->capacity)
			count = roots->capacity;
		add_leaf(roots, roots->starts + from, count, value, 0);
		from += count;
		if (from == block->end)
			break;
		value = roots->starts[from].value;
		firsts[leaves++] = roots->starts[from++].address;
	}
	while (leaves > 1) {
		index = add_inner(roots, index, firsts, &leaves);
		levels++;
	}
	return SEGMENT_ROOT4_NODE | levels << SEGMENT_ROOT4_LEVELS | index;
}

/* Roots of one value are that, where it fits; the others name the leaf. */
static void share_leaf(struct roots *roots, const struct block *block, uint32_t named)
{
	uint32_t value = block->value, root, i;
	size_t next = block->from;

	for (i = 0; i < 1u << block->shift; i++) {
		bool is_value;

		root = block->first_root + i;
		if (next < block->end && roots->starts[next].address == root << SEGMENT_LANE_BITS)
			value = roots->starts[next++].value;
		is_value = value < SEGMENT_ROOT4_NODE &&
			   (next == block->end ||
			    roots->starts[next].address >> SEGMENT_LANE_BITS != root);
		*root_of(roots, root) = is_value ? value : named;
		while (next < block->end &&
		       roots->starts[next].address >> SEGMENT_LANE_BITS == root)
			value = roots->starts[next++].value;
	}
}

static bool fits_leaf(const struct roots *roots, const struct block *block)
{
	uint32_t mask = (1u << block->shift) - 1;
	size_t i;

	if (block->shift > SEGMENT_ROOT4_SHIFT_MASK || block->end - block->from > roots->capacity)
		return false;
	for (i = block->from; i < block->end; i++)
		if (roots->starts[i].address & mask)
			return false;
	return true;
}

static void build_block(struct roots *roots, const struct block *block)
{
	struct block half = *block;
	uint32_t middle;

	if (fits_leaf(roots, block) || !block->shift) {
		uint32_t named = SEGMENT_ROOT4_NODE | block->shift << SEGMENT_ROOT4_SHIFT;
		size_t count = block->end - block->from;

		if (!count && block->value < SEGMENT_ROOT4_NODE)
			named = block->value;
		else if (count <= roots->capacity)
			named |= add_leaf(roots, roots->starts + block->from, count, block->value,
					  block->shift);
		else
			named = add_tree(roots, block);
		share_leaf(roots, block, named);
		return;
	}
	half.shift--;
	half.end = half.from;
	middle = (half.first_root + (1u << half.shift)) << SEGMENT_LANE_BITS;
	while (half.end < block->end && roots->starts[half.end].address < middle)
		half.end++;
	build_block(roots, &half);
	if (half.end > half.from)
		half.value = roots->starts[half.end - 1].value;
	half.first_root += 1u << half.shift;
	half.from = half.end;
	half.end = block->end;
	if (half.from < half.end && roots->starts[half.from].address == middle)
		half.value = roots->starts[half.from++].value;
	build_block(roots, &half);
}

void prefixes4_build(const struct part4 *part, struct segment_table *table, struct lines *lines)
{
	struct roots roots = {.starts = part->starts, .table = table, .lines = lines};
	struct block all = {.shift = SEGMENT_ROOT4_BITS, .end = part->starts_count};

	if (!part->starts_count)
		return;
	roots.is_short = table->values_count <= SHORTS_MAX;
	roots.capacity = roots.is_short ? SEGMENT_LEAF4_SHORT : SEGMENT_LEAF4_STARTS;
	table->flags |= SEGMENT_PREFIXES4 | (roots.is_short ? SEGMENT_SHORT4 : 0);
	table->roots4 = lines_add(lines, SEGMENT_ROOTS4_LINES);
	if (!part->starts[0].address)
		all.value = part->starts[all.from++].value;
	build_block(&roots, &all);
}

/* ---- and back ---- */

struct walk4 {
	const struct segment_table *table;
	const struct segment_line *lines;
	uint32_t root, begin; /* the root in hand, and its first address */
	struct span *list;
	size_t count, room;
};

/* From @address on it is what the kernel finds there. */
static int add_start(struct walk4 *walk, uint32_t address)
{
	uint32_t value = segment_prefix4(walk->table, walk->lines, walk->root, address);

	if (walk->count == walk->room) {
		size_t room = walk->room ? 2 * walk->room : SEGMENT_ROOTS4_LINES;
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

static bool is_used(const struct segment_line *line, uint32_t lane, uint32_t lanes)
{
	return lane < lanes && line->quarters[lane] != SEGMENT_LANE_FREE;
}

/* The starts of a leaf that are in the root, behind its first address. */
static int walk_leaf(struct walk4 *walk, uint32_t index)
{
	uint32_t shift = walk->root >> SEGMENT_ROOT4_SHIFT & SEGMENT_ROOT4_SHIFT_MASK, lane;
	uint64_t block = walk->begin & ~((1ULL << (shift + SEGMENT_LANE_BITS)) - 1);
	const struct segment_line *leaf = &walk->lines[index];
	bool is_short = walk->table->flags & SEGMENT_SHORT4;
	int error = 0;

	for (lane = 0; is_used(leaf, lane, is_short ? SEGMENT_LEAF4_SHORT : SEGMENT_LEAF4_STARTS);
	     lane++) {
		uint32_t address = block | leaf->quarters[lane] << shift;

		if (!error && address > walk->begin &&
		    address >> SEGMENT_LANE_BITS == walk->begin >> SEGMENT_LANE_BITS)
			error = add_start(walk, address);
	}
	return error;
}

/* As deep as a root's levels, 3 at the most. An inner line has the first starts of what is below.
 */
static int walk_tree(struct walk4 *walk, uint32_t index, uint32_t levels)
{
	const struct segment_line *line = &walk->lines[index];
	uint32_t child = line->halves[SEGMENT_INNER4_CHILD], lane;
	int error;

	if (!levels)
		return walk_leaf(walk, index);
	error = walk_tree(walk, child, levels - 1);
	for (lane = 0; !error && is_used(line, lane, SEGMENT_INNER4_STARTS); lane++) {
		error = add_start(walk, walk->begin | line->quarters[lane]);
		if (!error)
			error = walk_tree(walk, child + lane + 1, levels - 1);
	}
	return error;
}

int prefixes4_walk(const struct segment_table *table, const struct segment_line *lines,
		   struct span **out, size_t *count)
{
	struct walk4 walk = {.table = table, .lines = lines};
	uint32_t i, levels;
	int error = 0;

	for (i = 0; table->flags & SEGMENT_PREFIXES4 && i < 1u << SEGMENT_ROOT4_BITS; i++) {
		walk.begin = i << SEGMENT_LANE_BITS;
		walk.root = segment_root4(table, lines, walk.begin);
		levels = walk.root >> SEGMENT_ROOT4_LEVELS & SEGMENT_ROOT4_LEVELS_MASK;
		error = add_start(&walk, walk.begin);
		if (!error && walk.root & SEGMENT_ROOT4_NODE)
			error = walk_tree(&walk, walk.root & SEGMENT_ROOT4_LINE_MASK, levels);
		if (error)
			break;
	}
	*out = walk.list;
	*count = walk.count;
	return error;
}
