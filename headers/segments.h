/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of clients that segments and groups are looked up in: read only, laid out by user space
 * (user/segment/layout.c), in lines of 64 bytes of map `segment_lines`. A client's value is a
 * number below 2^32 - 1; 0: no segment, no group.
 *
 *   exact clients   one line a probe: set-associative, IPv4 and IPv6 apart
 *   IPv4 prefixes   a line for each block of addresses, of sorted starts or of what is below it
 *   IPv6 prefixes   a static tree of sorted starts, one line a level
 *
 * An exact client has its whole value: no prefix is asked for it.
 *
 * What waits for memory is most of what a lookup costs, so lines are as few as can be. A packed
 * entry has no more of its key than its line does not say (quotienting: Knuth, TAOCP 3, 6.4,
 * exercise 13): the hash is a bijection, the line is its high part and the entry keeps the rest, so
 * that nothing is taken for what it is not. How a line is searched stands here, once for the kernel
 * and user space; the order of lines is in segment_find.h.
 */
#ifndef XDP_CANARY_SEGMENTS_H
#define XDP_CANARY_SEGMENTS_H

#include "types.h"

/* One is shown. Two are after a writer died between the services that it showed the next to. */
#define SEGMENT_TABLES	   3
#define GROUP_COLUMNS_MAX  4  /* of a box */
#define SEGMENT_TREE6_MOST 10 /* levels */

enum segment_flag {
	SEGMENT_PREFIXES4 = 1 << 0, /* there are blocks */
	SEGMENT_SHORT4 = 1 << 1,    /* values of IPv4 leaves have 16 bits */
};

/* One table, in map `segment_tables`. Lines count from the table's first, `lines`. */
struct segment_table {
	/* Hot. */
	__u32 lines;  /* first line in map `segment_lines` */
	__be32 mask4; /* of clients of the box */
	__u8 prefix6;
	__u8 class_bits; /* of a value: the class; the bits above are the group's number */
	__u8 flags;	 /* enum segment_flag */
	__u8 clients4_width, clients4_bits, clients4_shift;
	__u8 clients6_bits, clients6_shift; /* bits 0: keys are whole */
	__u64 clients4_lanes;		    /* 1 in each lane of a word */
	__u64 multiplier6;		    /* of the hash of exact clients; odd */
	__u32 multiplier4;
	__u32 clients4_buckets; /* of exact clients, from line 0 on; 0: none */
	__u32 clients6, clients6_buckets;
	__u32 blocks4;
	__u32 tree6_levels; /* with the leaves; 0: no IPv6 prefixes */
	__u32 values_count; /* values are below */
	__u8 clients4_fold; /* width of the lanes of a word but the last */
	__u8 blocks4_shift; /* 32 less the bits of an address that choose the block */
	__u8 reserved[2];

	/* Read where there are IPv6 prefixes. */
	__u32 tree6[SEGMENT_TREE6_MOST]; /* first line of each level, the leaves last */
	__u32 lines_count;		 /* all that the table has */
	__u32 classes_count, groups_count;
	__u32 reserved2;
	__u64 digest; /* of what the table was built of */

	/* For user space alone. */
	__u32 members; /* first of the lines with a word of segments' bits for each class */
	__u32 tokens;  /* first of those with a word for each group, for each column in turn */
	__u32 columns_count;
	__u32 layout_lines; /* that clients are looked up in; those words follow them */
	__u64 columns[GROUP_COLUMNS_MAX]; /* digests of the names of those that services group by */
	__u64 reserved3[2];
} cache_aligned;
BUILD_CHECK(sizeof(struct segment_table) == 3 * CACHE_LINE);
BUILD_CHECK(__builtin_offsetof(struct segment_table, tree6) == CACHE_LINE);

struct segment_line {
	union {
		__u64 words[8];
		__u32 halves[16];
		__u16 quarters[32];
	};
} cache_aligned;

/* ---- exact clients ---- */

/*
 * Cuckoo hashing (Pagh and Rodler, 2001) with many entries a bucket. An entry is in its first
 * bucket, which its hash says, or, where that is full, in its second one, which the rest of the
 * hash says: then the first goes on. Values are kept as value + 1: 0 is free.
 *
 * Packed buckets are half a line, four words, each of 1 to 4 lanes of 64, 32, 21 or 16 bits, an
 * entry each: `second:1 | rest of the hash | value: bits`. The hash of an IPv4 address has 32 bits,
 * that of an IPv6 one 64, of which the high half chooses the bucket, and its lane is a word. A
 * bucket goes on where its first word is above its second one, which else is never so.
 *
 * Keys are whole, and a line a bucket, where values are too many, and beyond /64:
 *
 *   up to /64   5 words, then 5 values, halves[10..14]
 *   beyond      3 high words, 3 low words, then 3 values, halves[12..14]
 *   both        halves[15]: the bucket goes on
 */
#define SEGMENT_BUCKET_WORDS 4
#define SEGMENT_WORD	     64 /* bits */
#define SEGMENT_WHOLE6	     5
#define SEGMENT_WHOLE6_LONG  3
#define SEGMENT_GOES_ON	     15 /* of halves */

/* Both are bijections: half of the bits are folded into the others, and multiplied. */
pure_inline __u32 segment_hash4(__u32 address, __u32 multiplier)
{
	return (address ^ address >> 16) * multiplier;
}

pure_inline __u64 segment_hash6(__u64 high, __u64 multiplier)
{
	return (high ^ high >> 32) * multiplier;
}

/* Not a bijection: keys of such clients are whole. */
pure_inline __u64 segment_hash6_long(__u64 high, __u64 low, __u64 multiplier)
{
	return segment_hash6(high ^ (low ^ low >> 32) * 0xd6e8feb86659fd93ULL, multiplier);
}

struct segment_place {
	__u32 bucket, rest;
};

/*
 * The hash times the number of buckets: the bucket, and a fraction. Hashes of one bucket have
 * fractions at least that number apart: @shift, its logarithm rounded down, loses none of them.
 */
pure_inline struct segment_place segment_place(__u32 hash, __u32 buckets, __u8 shift)
{
	__u64 product = (__u64)hash * buckets;

	return (struct segment_place){.bucket = product >> 32, .rest = (__u32)product >> shift};
}

/* How far the second bucket is from the first, upwards and around: 1 to @buckets - 1. */
pure_inline __u32 segment_distance(__u32 rest, __u32 buckets)
{
	return ((__u64)(rest * 0x9e3779b1u) * (buckets - 1) >> 32) + 1;
}

pure_inline __u32 segment_second(struct segment_place place, __u32 buckets)
{
	__u32 bucket = place.bucket + segment_distance(place.rest, buckets);

	return bucket < buckets ? bucket : bucket - buckets;
}

/* What a packed entry has above its value, in its first bucket; then, what is added in its second.
 */
pure_inline __u64 segment_want4(struct segment_place place, __u8 bits)
{
	return (__u64)place.rest << bits;
}

pure_inline __u64 segment_want6(__u64 hash, struct segment_place place, __u8 bits)
{
	return ((__u64)place.rest << 32 | (__u32)hash) << bits;
}

pure_inline __u64 segment_second_bit(__u8 width)
{
	return 1ULL << (width - 1);
}

pure_inline const __u64 *segment_bucket(const struct segment_line *line, __u32 bucket)
{
	return &line->words[(bucket & 1) * SEGMENT_BUCKET_WORDS];
}

/*
 * The value + 1 of the entry that is @want above its value; 0: the bucket has none. All lanes of a
 * word at once: one whose key bits are all as wanted carries nothing into its top bit, which then
 * makes the mask of what is left, the value. What is free is 0, and adds nothing where it seems to
 * be wanted. No branch: which entry it is cannot be guessed, and a wrong guess would throw away
 * what the CPU did while it waited for the line.
 */
pure_inline __u32 segment_find_packed(const __u64 *words, __u64 want, __u64 lanes, __u8 width,
				      __u8 fold, __u8 bits)
{
	__u64 wants = want * lanes, tops = lanes << (width - 1), below_tops = tops - lanes;
	__u64 keys = tops - (lanes << bits), found = 0; /* without their top bits */

	for (int i = 0; i < SEGMENT_BUCKET_WORDS; i++) {
		__u64 rest = words[i] ^ wants;
		__u64 wanted = ((((rest & keys) + below_tops) | rest) & tops) ^ tops;

		found |= rest & (wanted - (wanted >> (width - 1)));
	}
	/* The sum of all lanes is in the last one. */
	return (found * lanes) >> fold & ((1ULL << bits) - 1);
}

pure_inline int segment_packed_goes_on(const __u64 *words)
{
	return words[0] > words[1];
}

pure_inline __u32 segment_find_whole6(const struct segment_line *line, __u64 high)
{
	__u32 found = 0;

	for (int i = 0; i < SEGMENT_WHOLE6; i++)
		if (line->words[i] == high)
			found |= line->halves[2 * SEGMENT_WHOLE6 + i];
	return found;
}

pure_inline __u32 segment_find_whole6_long(const struct segment_line *line, __u64 high, __u64 low)
{
	__u32 found = 0;

	for (int i = 0; i < SEGMENT_WHOLE6_LONG; i++)
		if (line->words[i] == high && line->words[SEGMENT_WHOLE6_LONG + i] == low)
			found |= line->halves[4 * SEGMENT_WHOLE6_LONG + i];
	return found;
}

/* ---- IPv4 prefixes ---- */

/*
 * The first bits of an address, 12 to 17 of them as is best for the table, choose its block's line;
 * the 20 or fewer bits that are left are compared to sorted starts, three in a word, in lanes of 21
 * bits. A lane that is not used is 2^20, above every address. Value i of a leaf is of the addresses
 * between starts i - 1 and i. Bit 63 of the first word: the line is an inner one, and has the first
 * starts of its children but the first, which lie one behind the other.
 *
 *   short leaf   words 0-3: starts     quarters[16..28]: values
 *   other leaf   words 0-2: starts     halves[6..15]: values
 *   inner        words 0-6: starts     halves[14]: line of the first child
 */
#define SEGMENT_BLOCK4_BITS_LEAST 12
#define SEGMENT_BLOCK4_BITS_MOST  17
#define SEGMENT_LEAF4_WORDS	  3
#define SEGMENT_SHORT4_WORDS	  4
#define SEGMENT_INNER4_WORDS	  7
#define SEGMENT_WORD_STARTS	  3
#define SEGMENT_INNER4_CHILD	  14 /* of halves */
#define SEGMENT_INNER4_LEVELS	  4  /* at the most: 22^4 leaves are more than 2^20 starts need */

#define SEGMENT_LANE_BITS 21
#define SEGMENT_LANE_FREE (1u << (SEGMENT_LANE_BITS - 1))
#define SEGMENT_LANES	  (1ULL | 1ULL << SEGMENT_LANE_BITS | 1ULL << 2 * SEGMENT_LANE_BITS)
#define SEGMENT_LANE_TOPS (SEGMENT_LANES * SEGMENT_LANE_FREE)
#define SEGMENT_INNER	  (1ULL << 63)

/* The address in every lane, and the top bit set: starts can be taken from it without a borrow. */
pure_inline __u64 segment_lanes_of(__u32 address, __u8 shift)
{
	return (address & ((1u << shift) - 1)) * SEGMENT_LANES | SEGMENT_LANE_TOPS;
}

/* How many starts of the first @count words are at or below the address. */
pure_inline __u32 segment_starts_below(const struct segment_line *line, __u64 address, int count)
{
	__u64 below = 0;

	for (int i = 0; i < count; i++)
		below +=
			((address - line->words[i]) & SEGMENT_LANE_TOPS) >> (SEGMENT_LANE_BITS - 1);
	return below * SEGMENT_LANES >> 2 * SEGMENT_LANE_BITS & (SEGMENT_LANE_FREE - 1);
}

pure_inline __u32 segment_leaf4_short(const struct segment_line *line, __u64 address)
{
	return line
		->quarters[16 + (segment_starts_below(line, address, SEGMENT_SHORT4_WORDS) & 15)];
}

pure_inline __u32 segment_leaf4(const struct segment_line *line, __u64 address)
{
	return line->halves[(6 + segment_starts_below(line, address, SEGMENT_LEAF4_WORDS)) & 15];
}

/* The child's line. */
pure_inline __u32 segment_inner4(const struct segment_line *line, __u64 address)
{
	return line->halves[SEGMENT_INNER4_CHILD] +
	       segment_starts_below(line, address, SEGMENT_INNER4_WORDS);
}

/* ---- IPv6 prefixes ---- */

/*
 * While clients have at most 64 bits keys are words, else pairs of them, high words first. An inner
 * line has the first starts of all its children but the first; they follow one another in the next
 * level, and child c of line n is line n * fan-out + c of it. What is kept of a start is the
 * address before it (none is 0), so that all ones, in keys that are not used, is above every
 * client.
 */
#define SEGMENT_INNER6	    8
#define SEGMENT_LEAF6	    5 /* 6 values: halves[10..15] */
#define SEGMENT_INNER6_LONG 4
#define SEGMENT_LEAF6_LONG  3 /* 4 values: halves[12..15] */

/* 1 or 0, without a branch: which of them is less is anybody's guess. */
pure_inline __u32 segment_less(__u64 a, __u64 b)
{
	return ((~a & b) | ((~a | b) & (a - b))) >> 63;
}

pure_inline __u32 segment_less_long(__u64 a_high, __u64 a_low, __u64 b_high, __u64 b_low)
{
	return segment_less(a_high, b_high) | ((a_high == b_high) & segment_less(a_low, b_low));
}

pure_inline __u32 segment_inner6(const struct segment_line *line, __u64 high)
{
	__u32 child = 0;

	for (int i = 0; i < SEGMENT_INNER6; i++)
		child += segment_less(line->words[i], high);
	return child;
}

pure_inline __u32 segment_leaf6(const struct segment_line *line, __u64 high)
{
	__u32 value = 0;

	for (int i = 0; i < SEGMENT_LEAF6; i++)
		value += segment_less(line->words[i], high);
	return line->halves[(2 * SEGMENT_LEAF6 + value) & 15];
}

pure_inline __u32 segment_inner6_long(const struct segment_line *line, __u64 high, __u64 low)
{
	__u32 child = 0;

	for (int i = 0; i < SEGMENT_INNER6_LONG; i++)
		child += segment_less_long(line->words[i], line->words[SEGMENT_INNER6_LONG + i],
					   high, low);
	return child;
}

pure_inline __u32 segment_leaf6_long(const struct segment_line *line, __u64 high, __u64 low)
{
	__u32 value = 0;

	for (int i = 0; i < SEGMENT_LEAF6_LONG; i++)
		value += segment_less_long(line->words[i], line->words[SEGMENT_LEAF6_LONG + i],
					   high, low);
	return line->halves[(4 * SEGMENT_LEAF6_LONG + value) & 15];
}

#endif
