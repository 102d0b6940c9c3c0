/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 9: sends the packet to its backend. First where to (next hop, MTU), which changes nothing
 * and is all that the explaining program does; then the packet is rewritten and leaves.
 */
#ifndef XDP_CANARY_STEER_H
#define XDP_CANARY_STEER_H

#include "ipip.h"
#include "too_big.h"

#define FIB_AF_INET  2
#define FIB_AF_INET6 10

/* Asks the kernel's routes and neighbours, for a backend whose next hop user space has not given
 * (yet). */
static __always_inline enum reason next_hop_from_fib(struct packet *p)
{
	const struct backend_line *backend = p->backend;
	struct bpf_fib_lookup fib = {.ifindex = p->ctx->ingress_ifindex};
	__u64 destination = 0, source = 0;
	__u32 want[4];

	if (backend->flags & BACKEND_NO_FIB)
		return REASON_NO_NEXT_HOP;
	__builtin_memcpy(want, backend->address, sizeof(want)); /* IPv4: the rest is zero */
	__builtin_memcpy(fib.ipv6_dst, want, sizeof(want));
	fib.family = backend->flags & BACKEND_IPV6 ? FIB_AF_INET6 : FIB_AF_INET;
	if (bpf_fib_lookup(p->ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return REASON_NO_NEXT_HOP;
	/* The answer's destination is the gateway, where there is one; l2 has to reach the backend
	 * itself. */
	if (p->view->steer == STEER_L2 &&
	    ((fib.ipv6_dst[0] ^ want[0]) | (fib.ipv6_dst[1] ^ want[1]) |
	     (fib.ipv6_dst[2] ^ want[2]) | (fib.ipv6_dst[3] ^ want[3])))
		return REASON_NO_NEXT_HOP;
	p->egress_ifindex = fib.ifindex;
	__builtin_memcpy(&destination, fib.dmac, ETH_ALEN);
	__builtin_memcpy(&source, fib.smac, ETH_ALEN);
	p->link = link_addresses(destination, source);
	return GO_ON;
}

static __always_inline enum reason find_next_hop(struct packet *p)
{
	__u64 next_hop = *(volatile __u64 *)&p->backend->next_hop;

	if (!(next_hop & NEXT_HOP_VALID))
		return next_hop_from_fib(p);
	p->egress_ifindex = p->backend->ifindex;
	p->link = link_addresses(next_hop, p->backend->source_mac);
	return GO_ON;
}

static __always_inline __u32 outer_size(const struct packet *p)
{
	if (p->view->steer == STEER_L2)
		return 0;
	return p->backend->flags & BACKEND_IPV6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

static __always_inline enum reason check_size(const struct packet *p)
{
	__u16 mtu = p->backend->mtu;

	return mtu && p->headers.l3_length + outer_size(p) > mtu ? REASON_TOO_BIG : GO_ON;
}

/* Where the packet would go: the whole of steering that changes nothing. */
static __always_inline enum reason route_packet(struct packet *p)
{
	enum reason fate = find_next_hop(p);

	return fate == GO_ON ? check_size(p) : fate;
}

static __always_inline int rewrite_l2(struct packet *p)
{
	void *frame = (void *)(long)p->ctx->data;

	if (frame + ETHERNET_SIZE > (void *)(long)p->ctx->data_end)
		return -1;
	write_link_addresses(frame, &p->link);
	return 0;
}

/* Not 0: there was no room for the outer header. */
static __always_inline int rewrite(struct packet *p)
{
	return p->view->steer == STEER_L2 ? rewrite_l2(p) : encapsulate(p);
}

static __always_inline int transmit(const struct packet *p)
{
	return p->egress_ifindex == p->ctx->ingress_ifindex ? XDP_TX
							    : bpf_redirect(p->egress_ifindex, 0);
}

#endif
