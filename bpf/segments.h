/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The segment table, asked for the client of a packet: its source address in the form that all
 * clients of the box have.
 */
#ifndef XDP_CANARY_BPF_SEGMENTS_H
#define XDP_CANARY_BPF_SEGMENTS_H

#include "client.h"

static __always_inline const struct segment_line *
segment_line_at(const struct segment_table *table, const struct segment_line *lines, __u32 index)
{
	return lookup(segment_lines, table->lines + index);
}

#include "segment_find.h"

/* Global, so that the verifier walks them once, and apart from the common path. */
__noinline __u32 value_of_address4(struct segment_table *table, __u32 address)
{
	return table ? segment_value4(table, NULL, address) : 0;
}

__noinline __u32 value_of_address6(struct segment_table *table, __u64 high, __u64 low)
{
	return table ? segment_value6(table, NULL, high, low) : 0;
}

/* 0: no segment, no group. */
static __always_inline __u32 segment_value(const struct packet *p, struct segment_table *table)
{
	struct raw_address6 address6;
	__be32 address4;

	if (is_ipv4_client(&p->headers, &address4))
		return value_of_address4(table, bpf_ntohl(address4 & table->mask4));
	address6 = mask_address6(p->headers.source6, table->prefix6);
	return value_of_address6(table, bpf_be64_to_cpu(address6.high),
				 bpf_be64_to_cpu(address6.low));
}

#endif
