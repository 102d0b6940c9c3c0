// SPDX-License-Identifier: GPL-2.0-only
/* Looks the source of a packet up in a table of clients, and tells what was found. */
#include "parse.h"
#include "segment.h"

const volatile __u32 table_number = 0;
__u32 found;

SEC("xdp.frags")
int look_up(struct xdp_md *ctx)
{
	struct packet packet = {.ctx = ctx};
	struct segment_table *table = lookup(segment_tables, table_number);

	if (!table || parse(ctx, &packet.headers) != GO_ON)
		return XDP_ABORTED;
	found = segment_value(&packet, table);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
