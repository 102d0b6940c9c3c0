// SPDX-License-Identifier: GPL-2.0-only
/*
 * Feeds the real program in BPF_PROG_TEST_RUN, where one system call is thousands of packets: the
 * next flow's, or one of a random source. The frame of a repeat is what the program made of the
 * one before, so where that was sent is read from it, and no packet goes unchecked but the last of
 * a call. IPv4 without options, TCP, l2: nothing is pushed in front.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "feed.h"

#define SOURCE_OFFSET 26
#define PORT_OFFSET   34
#define FRAME_LEAST   54

struct feed feed;
struct fed_flow flows[FED_FLOWS_MAX];

/* As large as one of the transition table. */
struct line {
	__u64 words[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct line);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} fed SEC(".maps");

/* SplitMix64, as tests/random.h. */
static __always_inline __u64 next_random(void)
{
	__u64 x = feed.random += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static __always_inline struct line *line_at(__u32 number)
{
	__u32 at = number & (feed.lines - 1);

	return bpf_map_lookup_elem(&lines, &at);
}

/* As a SYN that is recorded. */
static __always_inline void swap_word(__u64 random)
{
	struct line *line = line_at(random);
	__u64 word;

	if (!line)
		return;
	word = *(volatile __u64 *)&line->words[6];
	__sync_val_compare_and_swap(&line->words[6], word, random);
}

/* As a flow that is looked up: 0, for which the packet waits. */
static __always_inline __u32 word_of(__u32 source)
{
	struct line *line = line_at(source * 0x9e3779b1u >> 8);

	return line ? *(volatile __u64 *)&line->words[0] : 0;
}

/* The backend that the frame was sent to. */
static __always_inline __u32 backend_of(const __u8 *mac)
{
	if (mac[0] != 0x02 || mac[1] != 0xbe)
		return FED_NONE;
	return (__u32)mac[2] << 8 | mac[5];
}

static __always_inline void check_last(const __u8 *frame)
{
	__u32 last = feed.last;
	struct fed_flow *flow;

	if (last >= FED_FLOWS_MAX)
		return;
	flow = &flows[last];
	flow->packets++;
	if (backend_of(frame) != flow->backend)
		flow->moved++;
}

static __always_inline void next_flow(__u8 *frame)
{
	__u32 next = feed.next;
	struct fed_flow *flow;

	check_last(frame);
	if (next >= feed.flows || next >= FED_FLOWS_MAX)
		next = 0;
	flow = &flows[next];
	*(__be32 *)(frame + SOURCE_OFFSET) =
		flow->source ^ (feed.lines ? word_of(flow->source) : 0);
	*(__be16 *)(frame + PORT_OFFSET) = flow->port;
	feed.last = next;
	feed.next = next + 1;
}

static __always_inline void next_source(__u8 *frame)
{
	__u64 random = next_random();

	*(__be32 *)(frame + SOURCE_OFFSET) = random;
	*(__be16 *)(frame + PORT_OFFSET) = random >> 32;
	if ((random >> 48) < feed.swaps)
		swap_word(random >> 16);
}

SEC("xdp.frags")
int feed_packet(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;

	if (frame + FRAME_LEAST > (__u8 *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (feed.flows)
		next_flow(frame);
	else
		next_source(frame);
	*(__u16 *)frame = 0; /* what is not steered is seen to have gone nowhere */
	bpf_tail_call(ctx, &fed, 0);
	return XDP_ABORTED;
}

char _license[] SEC("license") = "GPL";
