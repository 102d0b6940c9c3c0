/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Path MTU discovery through the tunnel: a packet that does not fit once encapsulated, and may not
 * be fragmented, is answered with ICMP "fragmentation needed" (RFC 792, RFC 1191) or ICMPv6 "packet
 * too big" (RFC 4443). The frame becomes the answer and leaves where it came in; it is still
 * counted as dropped, `too_big`. At most ANSWERS_PER_TICK a jiffy and CPU (RFC 4443 section 2.4 f
 * asks for a limit).
 */
#ifndef XDP_CANARY_TOO_BIG_H
#define XDP_CANARY_TOO_BIG_H

#include "ipip.h"

/* How much of the packet is quoted: within RFC 1812's 576 bytes in all, and a multiple of 4. */
#define QUOTE			  512
#define ANSWERS_PER_TICK	  4
#define ICMP_UNREACHABLE	  3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMPV6_PACKET_TOO_BIG	  2
#define ANSWER_TTL		  64

/* <linux/icmp.h> does not compile for the BPF target. Both versions' error header has this shape.
 */
struct icmp_error {
	__u8 type, code;
	__u16 checksum;
	__be32 mtu; /* ICMPv4: the high half is unused */
};

struct answer_budget {
	__u64 tick;
	__u64 answers;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer_budget);
} answer_budgets SEC(".maps");

static __always_inline int may_answer(void)
{
	struct answer_budget *budget = lookup(answer_budgets, 0);
	__u64 tick = bpf_jiffies64();

	if (!budget)
		return 0;
	if (budget->tick != tick) {
		budget->tick = tick;
		budget->answers = 0;
	}
	return budget->answers++ < ANSWERS_PER_TICK;
}

static __always_inline __u64 sum_of(void *from, __u32 size, __u64 seed)
{
	return (__u32)bpf_csum_diff(NULL, 0, from, size, seed);
}

/* Back to whom it came from. */
static __always_inline void swap_link_addresses(struct packet *p, void *frame)
{
	__u64 destination = word32(frame) | (__u64)word16(frame + 4) << 32;
	__u64 source = word32(frame + 6) | (__u64)word16(frame + 10) << 32;

	p->link = link_addresses(source, destination);
}

static __always_inline int answer_ipv4(struct packet *p, void *outer, void *end, __u16 mtu)
{
	struct iphdr *ip = outer;
	struct icmp_error *icmp = (void *)(ip + 1);

	if ((void *)(icmp + 1) + QUOTE > end)
		return -1;
	write_ipv4(ip, 0, sizeof(*ip) + sizeof(*icmp) + QUOTE, 0, 0, ANSWER_TTL, IPPROTO_ICMP,
		   p->headers.destination4, p->headers.source4);
	*icmp = (struct icmp_error){
		.type = ICMP_UNREACHABLE,
		.code = ICMP_FRAGMENTATION_NEEDED,
		.mtu = bpf_htonl(mtu),
	};
	icmp->checksum = fold_checksum(sum_of(icmp, sizeof(*icmp), 0) + sum_of(icmp + 1, QUOTE, 0));
	return 0;
}

static __always_inline int answer_ipv6(struct packet *p, void *outer, void *end, __u16 mtu)
{
	struct ipv6hdr *ip = outer;
	struct icmp_error *icmp = (void *)(ip + 1);
	__be32 pseudo[2] = {bpf_htonl(sizeof(*icmp) + QUOTE), bpf_htonl(IPPROTO_ICMPV6)};

	if ((void *)(icmp + 1) + QUOTE > end)
		return -1;
	*(__be32 *)ip = bpf_htonl(6u << 28);
	ip->payload_len = bpf_htons(sizeof(*icmp) + QUOTE);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = ANSWER_TTL;
	copy_address6(&ip->saddr, &p->headers.destination6);
	copy_address6(&ip->daddr, &p->headers.source6);
	*icmp = (struct icmp_error){.type = ICMPV6_PACKET_TOO_BIG, .mtu = bpf_htonl(mtu)};
	/* RFC 8200 section 8.1: the pseudo-header is both addresses, the length and the protocol.
	 */
	icmp->checksum = fold_checksum(sum_of(&ip->saddr, 2 * sizeof(ip->saddr), 0) +
				       sum_of(pseudo, sizeof(pseudo), 0) +
				       sum_of(icmp, sizeof(*icmp), 0) + sum_of(icmp + 1, QUOTE, 0));
	return 0;
}

/*
 * RFC 1122 section 3.2.2 and RFC 4443 section 2.4 e: no error for what came to a group, or from no
 * single host.
 */
static __always_inline int is_unicast(const struct packet *p, const void *frame)
{
	__u8 first;

	if (*(__u8 *)frame & 1)
		return 0;
	if (p->headers.family == 6)
		return (p->headers.source6.high & 0xff) != 0xff &&
		       (p->headers.source6.high | p->headers.source6.low);
	first = p->headers.source4 & 0xff;
	return first && first < 224;
}

/* XDP_TX with the answer in the frame, or XDP_DROP where none is owed. */
static __always_inline int answer_too_big(struct packet *p)
{
	void *data = (void *)(long)p->ctx->data;
	void *end = (void *)(long)p->ctx->data_end;
	int grow = (p->headers.family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) +
		   sizeof(struct icmp_error);
	__u32 frame = p->headers.l3_offset + QUOTE;
	__u16 mtu = p->backend->mtu;
	int failed;
	void *outer;

	mtu -= p->backend->flags & BACKEND_IPV6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	if (p->view->steer != STEER_IPIP || !p->headers.dont_fragment ||
	    p->headers.l3_length < QUOTE)
		return XDP_DROP;
	if (data + ETHERNET_SIZE > end || !is_unicast(p, data) || !may_answer())
		return XDP_DROP;
	swap_link_addresses(p, data);
	if (bpf_xdp_adjust_tail(p->ctx, (int)frame - (int)bpf_xdp_get_buff_len(p->ctx)) ||
	    bpf_xdp_adjust_head(p->ctx, -grow))
		return XDP_DROP;
	end = (void *)(long)p->ctx->data_end;
	outer = write_link_header(p, (void *)(long)p->ctx->data, end,
				  p->headers.family == 4 ? bpf_htons(ETH_P_IP)
							 : bpf_htons(ETH_P_IPV6));
	if (!outer)
		return XDP_DROP;
	failed = p->headers.family == 4 ? answer_ipv4(p, outer, end, mtu)
					: answer_ipv6(p, outer, end, mtu);
	return failed ? XDP_DROP : XDP_TX;
}

#endif
