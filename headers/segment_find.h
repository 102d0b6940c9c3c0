/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which lines of a table (segments.h) a client is looked up in, and in which order. The same in the
 * kernel and in user space, which differ in how they come to a line: who includes this has defined
 *
 *   const struct segment_line *segment_line_at(const struct segment_table *table,
 *                                              const struct segment_line *lines, __u32 index)
 *
 * NULL: there is no such line. Addresses are in host order, masked to a client of the box. The
 * value of what the table does not have is 0.
 */
#ifndef XDP_CANARY_SEGMENT_FIND_H
#define XDP_CANARY_SEGMENT_FIND_H

#include "segments.h"

/* An exact client's value + 1; 0: there is none. */
pure_inline __u32 segment_client4(const struct segment_table *table,
				  const struct segment_line *lines, __u32 address)
{
	__u8 bits = table->clients4_bits;
	struct segment_place place = segment_place(segment_hash4(address, table->multiplier4),
						   table->clients4_lines, table->clients4_shift);
	__u32 found, want = segment_want4(place.rest, bits);
	const struct segment_line *line = segment_line_at(table, lines, place.line);

	if (!line)
		return 0;
	found = bits ? segment_find_packed4(line, want, bits) : segment_find_whole4(line, address);
	if (found || !segment_words_go_on(line))
		return found;
	line = segment_line_at(table, lines, segment_second_line(place, table->clients4_lines));
	if (!line)
		return 0;
	return bits ? segment_find_packed4(line, want | SEGMENT_SECOND4, bits)
		    : segment_find_whole4(line, address);
}

/* The same of IPv6, where clients have at most 64 bits. */
pure_inline __u32 segment_client6(const struct segment_table *table,
				  const struct segment_line *lines, __u64 high)
{
	__u64 hash = segment_hash6(high, table->multiplier6);
	__u8 bits = table->clients6_bits;
	struct segment_place place =
		segment_place(hash >> 32, table->clients6_lines, table->clients6_shift);
	__u64 want = segment_want6(hash, place.rest, bits);
	const struct segment_line *line =
		segment_line_at(table, lines, table->clients6 + place.line);
	__u32 found;

	if (!line)
		return 0;
	found = bits ? segment_find_packed6(line, want, bits) : segment_find_whole6(line, high);
	if (found || !(bits ? segment_words_go_on(line) : segment_keys_go_on(line)))
		return found;
	line = segment_line_at(table, lines,
			       table->clients6 + segment_second_line(place, table->clients6_lines));
	if (!line)
		return 0;
	return bits ? segment_find_packed6(line, want | SEGMENT_SECOND6, bits)
		    : segment_find_whole6(line, high);
}

pure_inline __u32 segment_client6_long(const struct segment_table *table,
				       const struct segment_line *lines, __u64 high, __u64 low)
{
	struct segment_place place =
		segment_place(segment_hash6_long(high, low, table->multiplier6) >> 32,
			      table->clients6_lines, table->clients6_shift);
	const struct segment_line *line =
		segment_line_at(table, lines, table->clients6 + place.line);
	__u32 found;

	if (!line)
		return 0;
	found = segment_find_whole6_long(line, high, low);
	if (found || !segment_keys_go_on(line))
		return found;
	line = segment_line_at(table, lines,
			       table->clients6 + segment_second_line(place, table->clients6_lines));
	return line ? segment_find_whole6_long(line, high, low) : 0;
}

/* The leaf below inner lines: its line. */
pure_inline __u32 segment_descend4(const struct segment_table *table,
				   const struct segment_line *lines, __u32 index, __u32 levels,
				   __u64 address)
{
	for (__u32 level = 0; level < SEGMENT_ROOT4_LEVELS_MASK && level < levels; level++) {
		const struct segment_line *line = segment_line_at(table, lines, index);

		if (!line)
			return 0;
		index = segment_inner4(line, address);
	}
	return index;
}

/* What the root of the address is. */
pure_inline __u32 segment_root4(const struct segment_table *table, const struct segment_line *lines,
				__u32 address)
{
	__u32 root = address >> SEGMENT_LANE_BITS;
	const struct segment_line *line = segment_line_at(table, lines, table->roots4 + root / 16);

	return line ? line->halves[root & 15] : 0;
}

pure_inline __u32 segment_prefix4(const struct segment_table *table,
				  const struct segment_line *lines, __u32 root, __u32 address)
{
	__u32 index = root & SEGMENT_ROOT4_LINE_MASK;
	__u32 levels = root >> SEGMENT_ROOT4_LEVELS & SEGMENT_ROOT4_LEVELS_MASK;
	const struct segment_line *line;
	__u64 lanes;

	if (!(root & SEGMENT_ROOT4_NODE))
		return root;
	lanes = segment_lanes_of(address, root >> SEGMENT_ROOT4_SHIFT & SEGMENT_ROOT4_SHIFT_MASK);
	if (levels)
		index = segment_descend4(table, lines, index, levels, lanes);
	line = segment_line_at(table, lines, index);
	if (!line)
		return 0;
	return table->flags & SEGMENT_SHORT4 ? segment_leaf4_short(line, lanes)
					     : segment_leaf4(line, lanes);
}

/* Where clients have at most 64 bits. */
pure_inline __u32 segment_prefix6(const struct segment_table *table,
				  const struct segment_line *lines, __u64 high)
{
	__u32 index = 0;

	for (__u32 level = 0; level < SEGMENT_TREE6_MOST; level++) {
		const struct segment_line *line =
			segment_line_at(table, lines, table->tree6[level] + index);

		if (!line)
			return 0;
		if (level + 1 >= table->tree6_levels)
			return segment_leaf6(line, high);
		index = index * (SEGMENT_INNER6 + 1) + segment_inner6(line, high);
	}
	return 0;
}

pure_inline __u32 segment_prefix6_long(const struct segment_table *table,
				       const struct segment_line *lines, __u64 high, __u64 low)
{
	__u32 index = 0;

	for (__u32 level = 0; level < SEGMENT_TREE6_MOST; level++) {
		const struct segment_line *line =
			segment_line_at(table, lines, table->tree6[level] + index);

		if (!line)
			return 0;
		if (level + 1 >= table->tree6_levels)
			return segment_leaf6_long(line, high, low);
		index = index * (SEGMENT_INNER6_LONG + 1) + segment_inner6_long(line, high, low);
	}
	return 0;
}

/* The value of an IPv4 client. */
pure_inline __u32 segment_value4(const struct segment_table *table,
				 const struct segment_line *lines, __u32 address)
{
	__u32 root = 0, found = 0;

	if (table->flags & SEGMENT_PREFIXES4) /* both lines are on their way at once */
		root = segment_root4(table, lines, address);
	if (table->clients4_lines)
		found = segment_client4(table, lines, address);
	return found ? found - 1 : segment_prefix4(table, lines, root, address);
}

/* The value of an IPv6 client: @low is 0 where clients have at most 64 bits. */
pure_inline __u32 segment_value6(const struct segment_table *table,
				 const struct segment_line *lines, __u64 high, __u64 low)
{
	int is_long = table->prefix6 > 64;
	__u32 found = 0;

	if (table->clients6_lines)
		found = is_long ? segment_client6_long(table, lines, high, low)
				: segment_client6(table, lines, high);
	if (found)
		return found - 1;
	if (!table->tree6_levels)
		return 0;
	return is_long ? segment_prefix6_long(table, lines, high, low)
		       : segment_prefix6(table, lines, high);
}

#endif
