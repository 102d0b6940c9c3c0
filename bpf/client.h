/* SPDX-License-Identifier: GPL-2.0-only */
/* Stage 3: the token of the client that sent the packet, from the service's client key. */
#ifndef XDP_CANARY_CLIENT_H
#define XDP_CANARY_CLIENT_H

#include "datagram.h"

/* An IPv6 source that is IPv4-mapped is the IPv4 client. */
static __always_inline int is_ipv4_client(const struct headers *h, __be32 *source)
{
	if (h->family == 4) {
		*source = h->source4;
		return 1;
	}
	*source = h->source6.low >> 32;
	return !h->source6.high && (__u32)h->source6.low == bpf_htonl(0xffff);
}

/*
 * Masks depend on the view, and the token on the masked address. The usual lengths are branches,
 * which the CPU predicts: so it hashes while the view is still being looked up, 10 ns that would
 * else be waited for.
 */
struct masks {
	__be32 mask4;
	__u8 has_mask4;
	__u8 prefix6;
};

static __always_inline struct masks view_masks(const struct view *view)
{
	return (struct masks){
		.mask4 = view->mask4,
		.has_mask4 = !!(view->flags & VIEW_MASK4),
		.prefix6 = view->prefix6,
	};
}

static __always_inline __be32 mask_address4(struct masks masks, __be32 address)
{
	if (masks.has_mask4)
		address &= masks.mask4;
	return address;
}

static __always_inline struct raw_address6 mask_address6(struct raw_address6 address, __u8 prefix)
{
	if (prefix == 64) {
		address.low = 0;
	} else if (prefix < 64) {
		address.high &= bpf_cpu_to_be64(~0ULL << (64 - prefix));
		address.low = 0;
	} else {
		address.low &= bpf_cpu_to_be64(~0ULL << (128 - prefix));
	}
	return address;
}

static __always_inline __u64 source_token(const struct headers *h, struct siphash_state state,
					  struct masks masks)
{
	struct raw_address6 address;
	__be32 address4;

	if (is_ipv4_client(h, &address4))
		return siphash_end(&state, mask_address4(masks, address4), 4);
	address = mask_address6(h->source6, masks.prefix6);
	siphash_word(&state, address.high);
	siphash_word(&state, address.low);
	return siphash_end(&state, 0, 16);
}

/* Source, destination, source port, destination port, protocol: 13 or 37 bytes. */
static __always_inline __u64 flow_token(const struct headers *h, struct siphash_state state)
{
	__u64 rest = h->source_port | (__u64)h->destination_port << 16 | (__u64)h->protocol << 32;

	if (h->family == 4) {
		siphash_word(&state, h->source4 | (__u64)h->destination4 << 32);
		return siphash_end(&state, rest, 13);
	}
	siphash_word(&state, h->source6.high);
	siphash_word(&state, h->source6.low);
	siphash_word(&state, h->destination6.high);
	siphash_word(&state, h->destination6.low);
	return siphash_end(&state, rest, 37);
}

#define VIEW_KEYS_OF_PACKET (VIEW_KEY_PAYLOAD | VIEW_KEY_FLOW)

/* By more than the source address, as @flags say; 0: the source is to stand in. */
static __always_inline __u64 packet_token(struct xdp_md *ctx, const struct headers *h, __u16 flags,
					  struct payload_key key, struct siphash_state state)
{
	if (flags & VIEW_KEY_PAYLOAD)
		return payload_token(ctx, h, key);
	return flow_token(h, state);
}

static __always_inline void identify_client(struct packet *p)
{
	struct siphash_state state = keyed_state();
	__u16 flags = p->view->flags;

	p->notes = NOTES_NONE;
	if (p->headers.protocol == IPPROTO_TCP)
		p->notes |=
			(p->headers.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN ? FLOW_STARTS : 0;
	else
		read_datagram(p);
	if (flags & VIEW_KEYS_OF_PACKET) {
		p->token = packet_token(p->ctx, &p->headers, flags, p->view->payload, state);
		if (p->token)
			return;
		if (p->headers.protocol == IPPROTO_UDP)
			p->notes |= FALLBACK_PAYLOAD;
	}
	p->token = source_token(&p->headers, state, view_masks(p->view));
}

static __always_inline struct masks origin_masks(const struct view *view)
{
	return (struct masks){
		.mask4 = view->origin_mask4,
		.prefix6 = view->origin_prefix6,
		.has_mask4 = 1,
	};
}

/* The token that the client had before the era began, where the client key was another. */
static __always_inline __u64 origin_token(struct xdp_md *ctx, const struct headers *h,
					  const struct view *view)
{
	struct siphash_state state = keyed_state();
	__u64 token = 0;

	if (view->origin_flags & VIEW_KEYS_OF_PACKET)
		token = packet_token(ctx, h, view->origin_flags, view->origin_payload, state);
	return token ? token : source_token(h, state, origin_masks(view));
}

#endif
