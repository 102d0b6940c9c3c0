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

#define SEGMENT_IN_SECOND (~0u) /* it may be */

/* An exact client's value + 1 in its first bucket, or in its @second; 0: it is not there. */
pure_inline __u32 segment_probe4(const struct segment_table *table,
				 const struct segment_line *lines, __u32 address, int second)
{
	struct segment_place place = segment_place(segment_hash4(address, table->multiplier4),
						   table->clients4_buckets, table->clients4_shift);
	__u64 want = segment_want4(place, table->clients4_bits);
	const struct segment_line *line;
	__u32 bucket = place.bucket, found;
	const __u64 *words;

	if (second) {
		bucket = segment_second(place, table->clients4_buckets);
		want |= segment_second_bit(table->clients4_width);
	}
	line = segment_line_at(table, lines, bucket / 2);
	if (!line)
		return 0;
	words = segment_bucket(line, bucket);
	found = segment_find_packed(words, want, table->clients4_lanes, table->clients4_width,
				    table->clients4_fold, table->clients4_bits);
	return !found && !second && segment_packed_goes_on(words) ? SEGMENT_IN_SECOND : found;
}

/* An exact client's value + 1; 0: there is none. */
pure_inline __u32 segment_client4(const struct segment_table *table,
				  const struct segment_line *lines, __u32 address)
{
	__u32 found = segment_probe4(table, lines, address, 0);

	return found == SEGMENT_IN_SECOND ? segment_probe4(table, lines, address, 1) : found;
}

/* The same of IPv6, where clients have at most 64 bits and entries are packed. */
pure_inline __u32 segment_client6(const struct segment_table *table,
				  const struct segment_line *lines, __u64 high)
{
	__u64 hash = segment_hash6(high, table->multiplier6), want;
	__u32 bucket, buckets = table->clients6_buckets, found;
	__u8 bits = table->clients6_bits;
	struct segment_place place = segment_place(hash >> 32, buckets, table->clients6_shift);
	const struct segment_line *line =
		segment_line_at(table, lines, table->clients6 + place.bucket / 2);
	const __u64 *words;

	if (!line)
		return 0;
	want = segment_want6(hash, place, bits);
	words = segment_bucket(line, place.bucket);
	found = segment_find_packed(words, want, 1, SEGMENT_WORD, 0, bits);
	if (found || !segment_packed_goes_on(words))
		return found;
	bucket = segment_second(place, buckets);
	line = segment_line_at(table, lines, table->clients6 + bucket / 2);
	if (!line)
		return 0;
	return segment_find_packed(segment_bucket(line, bucket),
				   want | segment_second_bit(SEGMENT_WORD), 1, SEGMENT_WORD, 0,
				   bits);
}

/* Where keys are whole. @low is 0 where clients have at most 64 bits. */
pure_inline __u32 segment_client6_whole(const struct segment_table *table,
					const struct segment_line *lines, __u64 high, __u64 low)
{
	int is_long = table->prefix6 > 64;
	__u64 hash = is_long ? segment_hash6_long(high, low, table->multiplier6)
			     : segment_hash6(high, table->multiplier6);
	struct segment_place place =
		segment_place(hash >> 32, table->clients6_buckets, table->clients6_shift);
	const struct segment_line *line =
		segment_line_at(table, lines, table->clients6 + place.bucket);
	__u32 found;

	if (!line)
		return 0;
	found = is_long ? segment_find_whole6_long(line, high, low)
			: segment_find_whole6(line, high);
	if (found || !line->halves[SEGMENT_GOES_ON])
		return found;
	line = segment_line_at(table, lines,
			       table->clients6 + segment_second(place, table->clients6_buckets));
	if (!line)
		return 0;
	return is_long ? segment_find_whole6_long(line, high, low)
		       : segment_find_whole6(line, high);
}

pure_inline __u32 segment_prefix4(const struct segment_table *table,
				  const struct segment_line *lines, __u32 address)
{
	__u64 lanes = segment_lanes_of(address, table->blocks4_shift);
	const struct segment_line *line =
		segment_line_at(table, lines, table->blocks4 + (address >> table->blocks4_shift));

	for (int level = 0; level < SEGMENT_INNER4_LEVELS; level++) {
		if (!line)
			return 0;
		if (!(line->words[0] & SEGMENT_INNER))
			break;
		line = segment_line_at(table, lines, segment_inner4(line, lanes));
	}
	if (!line)
		return 0;
	return table->flags & SEGMENT_SHORT4 ? segment_leaf4_short(line, lanes)
					     : segment_leaf4(line, lanes);
}

/* @is_long: clients may have more than 64 bits; a constant where this is called. */
pure_inline __u32 segment_prefix6(const struct segment_table *table,
				  const struct segment_line *lines, __u64 high, __u64 low,
				  int is_long)
{
	__u32 fan_out = (is_long ? SEGMENT_INNER6_LONG : SEGMENT_INNER6) + 1, index = 0;

	for (__u32 level = 0; level < SEGMENT_TREE6_MOST; level++) {
		const struct segment_line *line =
			segment_line_at(table, lines, table->tree6[level] + index);

		if (!line)
			return 0;
		if (level + 1 >= table->tree6_levels)
			return is_long ? segment_leaf6_long(line, high, low)
				       : segment_leaf6(line, high);
		index = index * fan_out + (is_long ? segment_inner6_long(line, high, low)
						   : segment_inner6(line, high));
	}
	return 0;
}

/* The value of an IPv4 client. */
pure_inline __u32 segment_value4(const struct segment_table *table,
				 const struct segment_line *lines, __u32 address)
{
	__u32 found = 0;

	if (table->clients4_buckets)
		found = segment_client4(table, lines, address);
	if (found)
		return found - 1;
	return table->flags & SEGMENT_PREFIXES4 ? segment_prefix4(table, lines, address) : 0;
}

/* The value of an IPv6 client: @low is 0 where clients have at most 64 bits. */
pure_inline __u32 segment_value6(const struct segment_table *table,
				 const struct segment_line *lines, __u64 high, __u64 low)
{
	int is_long = table->prefix6 > 64;
	__u32 found = 0;

	if (table->clients6_buckets)
		found = table->clients6_bits ? segment_client6(table, lines, high)
					     : segment_client6_whole(table, lines, high, low);
	if (found)
		return found - 1;
	if (!table->tree6_levels)
		return 0;
	return is_long ? segment_prefix6(table, lines, high, low, 1)
		       : segment_prefix6(table, lines, high, low, 0);
}

#endif
