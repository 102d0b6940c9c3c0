// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs of the lab's other interfaces, never of the balancer's own.
 *
 *   pass   what veth wants at the peer of an interface that sends by XDP_TX or XDP_REDIRECT;
 *          without it such frames are counted as sent, and nothing arrives
 *   decap  the end of an ipip tunnel for kernels that have none: takes the outer IPv4 (protocol 4
 *          or 41) or IPv6 (next header 4 or 41) header off and passes the inner packet up
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Ethertype of the packet inside @protocol; 0: none that is taken off. */
static __always_inline __u16 inner_type(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_IPIP:
		return bpf_htons(ETH_P_IP);
	case IPPROTO_IPV6:
		return bpf_htons(ETH_P_IPV6);
	default:
		return 0;
	}
}

/* Length of the outer header, and the type of what follows it; 0: not a whole tunnel packet. */
static __always_inline int outer_length(void *data, void *data_end, __u16 *type)
{
	struct ethhdr *ethernet = data;
	struct ipv6hdr *ipv6;
	struct iphdr *ipv4;

	if ((void *)(ethernet + 1) > data_end)
		return 0;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		ipv4 = (void *)(ethernet + 1);
		/* No options, no fragments: the balancer sends neither. */
		if ((void *)(ipv4 + 1) > data_end || ipv4->ihl != 5 ||
		    ipv4->frag_off & bpf_htons(0x3fff))
			return 0;
		*type = inner_type(ipv4->protocol);
		return *type ? sizeof(*ipv4) : 0;
	}
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
		ipv6 = (void *)(ethernet + 1);
		if ((void *)(ipv6 + 1) > data_end)
			return 0;
		*type = inner_type(ipv6->nexthdr);
		return *type ? sizeof(*ipv6) : 0;
	}
	return 0;
}

SEC("xdp")
int decap(struct xdp_md *ctx)
{
	struct ethhdr ethernet, *inner;
	__u16 type;
	int length = outer_length((void *)(long)ctx->data, (void *)(long)ctx->data_end, &type);

	if (!length)
		return XDP_PASS;
	__builtin_memcpy(&ethernet, (void *)(long)ctx->data, sizeof(ethernet));
	ethernet.h_proto = type;
	if (bpf_xdp_adjust_head(ctx, length))
		return XDP_ABORTED;
	inner = (void *)(long)ctx->data;
	if ((void *)(inner + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(inner, &ethernet, sizeof(ethernet));
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
