/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hashes that a decision is made of: pure, the same bits in the kernel, in user space and in
 * tests.
 *
 *   token  = SipHash-1-3 (Aumasson and Bernstein, 2012; one compression, three finalisation rounds)
 *   h      = high half of fmix64 (MurmurHash3, Appleby) of token ^ salt64
 *
 * Clients cannot choose their cohort: the token is keyed by the box's secret.
 */
#ifndef XDP_CANARY_HASH_H
#define XDP_CANARY_HASH_H

#include "types.h"

/* The 128-bit key as SipHash takes it: bytes 0-7 and 8-15 as little-endian words. */
struct siphash_key {
	__u64 k0, k1;
};

struct siphash_state {
	__u64 v0, v1, v2, v3;
};

pure_inline __u64 rotate_left(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

pure_inline void siphash_round(struct siphash_state *s)
{
	s->v0 += s->v1;
	s->v1 = rotate_left(s->v1, 13) ^ s->v0;
	s->v0 = rotate_left(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate_left(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate_left(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate_left(s->v1, 17) ^ s->v2;
	s->v2 = rotate_left(s->v2, 32);
}

pure_inline struct siphash_state siphash_begin(struct siphash_key key)
{
	return (struct siphash_state){
		.v0 = key.k0 ^ 0x736f6d6570736575ULL,
		.v1 = key.k1 ^ 0x646f72616e646f6dULL,
		.v2 = key.k0 ^ 0x6c7967656e657261ULL,
		.v3 = key.k1 ^ 0x7465646279746573ULL,
	};
}

/* Absorbs eight bytes of the message, given as a little-endian word. */
pure_inline void siphash_word(struct siphash_state *s, __u64 word)
{
	s->v3 ^= word;
	siphash_round(s);
	s->v0 ^= word;
}

/* @rest: the 0 to 7 bytes left over, little-endian; @length: of the whole message, in bytes. */
pure_inline __u64 siphash_end(struct siphash_state *s, __u64 rest, __u8 length)
{
	siphash_word(s, rest | (__u64)length << 56);
	s->v2 ^= 0xff;
	siphash_round(s);
	siphash_round(s);
	siphash_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* MurmurHash3's 64-bit finaliser: a bijection in which every input bit moves every output bit. */
pure_inline __u64 fmix64(__u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	x ^= x >> 33;
	return x;
}

/* Where a client stands in the hash space of a salt: [0, 2^32). */
pure_inline __u32 client_hash(__u64 token, __u64 salt64)
{
	return fmix64(token ^ salt64) >> 32;
}

/* siphash13(16 zero bytes, "xdp-canary/holdout"): the fixed salt of every service's holdout. */
#define HOLDOUT_SALT64 0x91235f847cedac0fULL

/*
 * Backends within a cohort are chosen by a hash of its own, so that which backend serves a client
 * says nothing about its place in the hash space. With balance by client, @flow is 0.
 */
#define RING_SALT64 0x9e3779b97f4a7c15ULL /* 2^64 / golden ratio */

pure_inline __u32 ring_hash(__u64 token, __u64 flow)
{
	return fmix64(token ^ RING_SALT64 ^ flow) >> 32;
}

/*
 * Folds the parts of a flow that its client key may leave out into one word: the low half of the
 * source address (the whole of an IPv4 one) and both ports, host order. Two odd multipliers keep it
 * a bijection of (address, ports) for IPv4.
 */
pure_inline __u64 flow_word(__u64 source_high, __u64 source_low, __u16 source_port,
			    __u16 destination_port)
{
	__u64 ports = (__u64)source_port << 16 | destination_port;

	return (source_low << 32 | ports) * 0xd6e8feb86659fd93ULL ^
	       (source_high + (source_low >> 32)) * 0xa0761d6478bd642fULL;
}

/* Scales a 32-bit hash to [0, size) without a division (Lemire, 2019): bias below size / 2^32. */
pure_inline __u32 scale(__u32 hash, __u32 size)
{
	return (__u64)hash * size >> 32;
}

#endif
