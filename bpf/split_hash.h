/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The client's place in the hash space of another tool, of services whose `hash` says so: of the
 * source address, masked as the service's prefixes say. The token stays what rings and the holdout
 * go by. Other services pay for one bit of the view, which is in a register.
 */
#ifndef XDP_CANARY_BPF_SPLIT_HASH_H
#define XDP_CANARY_BPF_SPLIT_HASH_H

#include "client.h"

#define SPLIT_IPV6 (1u << 31) /* of what split_hash_of() is told: the key has 16 bytes */

/*
 * @high, @low: the address as it lies in the packet, an IPv4 one in the low half of @high. @how:
 * enum split_hash and SPLIT_IPV6. A function of its own: the verifier walks it once, and it takes
 * nothing but numbers, so that what its callers know stays in registers.
 */
__noinline __u32 split_hash_of(__u64 high, __u64 low, __u32 how, __u32 modulus, __u32 seed)
{
	const __u32 words[SPLIT_WORDS_MAX] = {high, high >> 32, low, low >> 32};

	if (how & SPLIT_IPV6)
		return split_hash(how & ~SPLIT_IPV6, words, SPLIT_WORDS_MAX, modulus, seed);
	return split_hash(how, words, 1, modulus, seed);
}

static __always_inline __u32 split_hash_of_source(const struct headers *h, struct masks masks,
						  __u16 flags, __u32 modulus, __u32 seed)
{
	__u32 how = (flags & VIEW_HASH) >> VIEW_HASH_SHIFT;
	struct raw_address6 address;
	__be32 address4;

	if (is_ipv4_client(h, &address4))
		return split_hash_of(mask_address4(masks, address4), 0, how, modulus, seed);
	address = mask_address6(h->source6, masks.prefix6);
	return split_hash_of(address.high, address.low, how | SPLIT_IPV6, modulus, seed);
}

#endif
