// SPDX-License-Identifier: GPL-2.0-only
/*
 * The smallest balancer there is, to try the lab itself: IP packets that come from CLIENT_MAC get
 * the destination BACKEND_MAC and leave where they came from, or by EGRESS where that is not 0.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

static const __u8 backend_mac[ETH_ALEN] = {BACKEND_MAC};
static const __u8 client_mac[ETH_ALEN] = {CLIENT_MAC};

SEC("xdp")
int to_backend(struct xdp_md *ctx)
{
	struct ethhdr *ethernet = (void *)(long)ctx->data;

	if ((void *)(ethernet + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	if (ethernet->h_proto != bpf_htons(ETH_P_IP) && ethernet->h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	if (ethernet->h_dest[0] & 1)
		return XDP_PASS; /* to a group, such as neighbour discovery */
	for (int i = 0; i < ETH_ALEN; i++)
		if (ethernet->h_source[i] != client_mac[i])
			return XDP_PASS;
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, backend_mac, ETH_ALEN);
	return EGRESS ? bpf_redirect(EGRESS, 0) : XDP_TX;
}

char _license[] SEC("license") = "GPL";
