/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The value of the client that sent the packet: its class, which says what segments it is in, and
 * its group. Which lines are searched, and how: headers/segment_find.h, headers/segments.h.
 */
#ifndef XDP_CANARY_SEGMENT_H
#define XDP_CANARY_SEGMENT_H

#include "client.h"

static __always_inline const struct segment_line *
segment_line_at(const struct segment_table *table, const struct segment_line *lines, __u32 index)
{
	return lookup(segment_lines, table->lines + index);
}

#include "segment_find.h"

/*
 * Functions of their own, and global ones: the verifier walks them once, for any table, and what
 * they need of the stack is given back before the next one. One for each probe of a table of IPv4
 * clients: together they need more of it than the program leaves.
 */
__noinline __u32 find_client4(const struct segment_table *table, __u32 address, __u32 second)
{
	return table ? segment_probe4(table, NULL, address, second) : 0;
}

__noinline __u32 find_prefix4(const struct segment_table *table, __u32 address)
{
	return table ? segment_prefix4(table, NULL, address) : 0;
}

/* As segment_value4(). */
static __always_inline __u32 find_value4(const struct segment_table *table, __u32 address)
{
	__u32 found = 0;

	if (table->clients4_buckets)
		found = find_client4(table, address, 0);
	if (found == SEGMENT_IN_SECOND)
		found = find_client4(table, address, 1);
	if (found)
		return found - 1;
	return table->flags & SEGMENT_PREFIXES4 ? find_prefix4(table, address) : 0;
}

__noinline __u32 find_client6(const struct segment_table *table, __u64 high, __u64 low)
{
	return table ? segment_value6(table, NULL, high, low) : 0;
}

static __always_inline __u32 segment_value(const struct packet *p,
					   const struct segment_table *table)
{
	struct masks masks = {.mask4 = table->mask4, .has_mask4 = 1};
	struct raw_address6 address;
	__be32 address4;

	if (is_ipv4_client(&p->headers, &address4))
		return find_value4(table, bpf_ntohl(mask_address4(masks, address4)));
	address = mask_address6(p->headers.source6, table->prefix6);
	return find_client6(table, bpf_be64_to_cpu(address.high), bpf_be64_to_cpu(address.low));
}

#endif
