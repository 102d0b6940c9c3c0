// SPDX-License-Identifier: GPL-2.0-only
/*
 * What stands in front of the program that is measured: BPF_PROG_TEST_RUN repeats without restoring
 * the packet, so a program that encapsulates would be fed its own output. This one takes back what
 * was pushed in front, writes the template anew with the next client, service or port, and
 * tail-calls what is measured.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "wrapper.h"

struct bench_case bench_case;
__u64 runs;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured SEC(".maps");

/* An odd factor: neighbouring numbers come apart, and below a power of two each comes once. */
static __always_inline __u32 scatter(__u64 number, __u32 mask)
{
	return (number * 0x9e3779b1u) & mask;
}

/* Adds @number to the network-order word at @offset. */
static __always_inline int add_at(struct xdp_md *ctx, __u32 offset, __u32 number)
{
	void *at = (void *)(long)ctx->data + (offset & 63);

	if (at + sizeof(__be32) > (void *)(long)ctx->data_end)
		return -1;
	*(__be32 *)at = bpf_htonl(bpf_ntohl(*(__be32 *)at) + number);
	return 0;
}

static __always_inline int restore(struct xdp_md *ctx)
{
	__u32 grown = (__u32)(ctx->data_end - ctx->data) - bench_case.size;
	__u64 *words;
	void *frame;

	if (grown && bpf_xdp_adjust_head(ctx, grown))
		return -1;
	frame = (void *)(long)ctx->data;
	words = frame + 14;
	if ((void *)(words + TEMPLATE_WORDS) > (void *)(long)ctx->data_end)
		return -1;
	*(__u64 *)frame = bench_case.macs;
	*(__u32 *)(frame + 8) = bench_case.rest_of_macs;
	*(__u16 *)(frame + 12) = bench_case.type;
#pragma unroll
	for (int i = 0; i < TEMPLATE_WORDS; i++)
		words[i] = bench_case.words[i];
	return 0;
}

SEC("xdp.frags")
int wrapper(struct xdp_md *ctx)
{
	__u64 run = runs++;

	if (restore(ctx))
		return XDP_ABORTED;
	if (bench_case.client_mask &&
	    add_at(ctx, bench_case.source_offset,
		   scatter(run, bench_case.client_mask) * bench_case.client_spread))
		return XDP_ABORTED;
	if (bench_case.service_mask &&
	    add_at(ctx, bench_case.destination_offset, scatter(run, bench_case.service_mask)))
		return XDP_ABORTED;
	if (bench_case.port_mask &&
	    add_at(ctx, bench_case.port_offset, scatter(run, bench_case.port_mask) << 16))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &measured, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int nothing(struct xdp_md *ctx)
{
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
