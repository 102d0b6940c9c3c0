/* SPDX-License-Identifier: GPL-2.0-only */
/* Stage 3: the token of the client that sent the packet, from the service's client key. */
#ifndef XDP_CANARY_CLIENT_H
#define XDP_CANARY_CLIENT_H

#include "packet.h"

/* An IPv6 source that is IPv4-mapped is the IPv4 client. */
static __always_inline int is_ipv4_client(const struct packet *p, __be32 *source)
{
	if (p->headers.family == 4) {
		*source = p->headers.source4;
		return 1;
	}
	*source = p->headers.source6.low >> 32;
	return !p->headers.source6.high && (__u32)p->headers.source6.low == bpf_htonl(0xffff);
}

/*
 * Masks depend on the view, and the token on the masked address. The usual lengths are branches,
 * which the CPU predicts: so it hashes while the view is still being looked up, 10 ns that would
 * else be waited for.
 */
static __always_inline __be32 mask_address4(const struct packet *p, __be32 address)
{
	if (p->view->flags & VIEW_MASK4)
		address &= p->view->mask4;
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

static __always_inline __u64 source_token(const struct packet *p, struct siphash_state state)
{
	struct raw_address6 address;
	__be32 address4;

	if (is_ipv4_client(p, &address4))
		return siphash_end(&state, mask_address4(p, address4), 4);
	address = mask_address6(p->headers.source6, p->view->prefix6);
	siphash_word(&state, address.high);
	siphash_word(&state, address.low);
	return siphash_end(&state, 0, 16);
}

/* Source, destination, source port, destination port, protocol: 13 or 37 bytes. */
static __always_inline __u64 flow_token(const struct packet *p, struct siphash_state state)
{
	__u64 rest = p->headers.source_port | (__u64)p->headers.destination_port << 16 |
		     (__u64)p->headers.protocol << 32;

	if (p->headers.family == 4) {
		siphash_word(&state, p->headers.source4 | (__u64)p->headers.destination4 << 32);
		return siphash_end(&state, rest, 13);
	}
	siphash_word(&state, p->headers.source6.high);
	siphash_word(&state, p->headers.source6.low);
	siphash_word(&state, p->headers.destination6.high);
	siphash_word(&state, p->headers.destination6.low);
	return siphash_end(&state, rest, 37);
}

static __always_inline void identify_client(struct packet *p)
{
	struct siphash_key key = {.k0 = secret.k0, .k1 = secret.k1};
	struct siphash_state state = siphash_begin(key);

	p->token = p->view->flags & VIEW_KEY_FLOW ? flow_token(p, state) : source_token(p, state);
}

#endif
