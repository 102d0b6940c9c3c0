/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of clients that segments and groups are looked up in: read only, laid out by user space
 * (user/segment/layout.c), in lines of 64 bytes of map `segment_lines`. A client's value is a
 * number below 2^32; 0: no segment, no group.
 *
 *   exact clients   one line a probe: set-associative, IPv4 and IPv6 apart
 *   IPv4 prefixes   2^17 roots by the address's first 17 bits, each a value or the place of lines
 *                   of sorted starts
 *   IPv6 prefixes   a static tree of sorted starts, one line a level
 *
 * An exact client has its whole value: no prefix is asked for it.
 */
#ifndef XDP_CANARY_SEGMENTS_H
#define XDP_CANARY_SEGMENTS_H

#include "types.h"

/* One table, in map `segment_tables`. Lines count from the table's first, `lines`. */
struct segment_table {
	__u32 lines;	    /* first line in map `segment_lines` */
	__u32 lines_count;  /* all that the table has */
	__u32 values_count; /* values are below */
	__be32 mask4;	    /* of clients of the box */
	__u8 prefix6;
	__u8 class_bits; /* of a value: the class; the bits above are the group's number */
	__u8 reserved[2];
	__u32 clients4, clients4_lines; /* exact clients; 0 lines: none */
	__u32 clients6, clients6_lines;
	__u32 roots4; /* 0: no IPv4 prefixes (line 0 is never theirs) */
	__u32 tree6, tree6_levels;
	__u32 classes_count, groups_count;
	__u64 digest; /* of what the table was built of, in names */
} cache_aligned;
BUILD_CHECK(sizeof(struct segment_table) == CACHE_LINE);

#define SEGMENT_TABLES 2

struct segment_line {
	union {
		__u64 words[8];
		__u32 halves[16];
		__u16 quarters[32];
	};
} cache_aligned;

#endif
