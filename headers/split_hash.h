/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hashes by which other tools split clients, bit for bit, so that a move to XDP, or a fleet of
 * both, leaves every client in its cohort. Pure, the same bits in the kernel and in user space.
 *
 *   nginx          split_clients on $binary_remote_addr: MurmurHash2 (Appleby, 2008), seed 0
 *   haproxy-crc32  src,crc32,mod(N): CRC-32 (ISO 3309, as zlib's), % N
 *   nft-jhash      jhash ip saddr mod N seed S: jhash (Jenkins' lookup3, as <linux/jhash.h>),
 * scaled to [0, N) by its high bits: (h * N) >> 32
 *
 * All are of the 4 or 16 bytes of the source address in network order. None is keyed (a seed is no
 * key): whoever can choose an address can choose a cohort. The parts of the hash space that a tool
 * makes of its shares are in user/policy/split.h.
 *
 * Splits that are not these, though they look alike: nginx and HAProxy on a dual-stack socket take
 * an IPv4 client for the 16 bytes ::ffff:a.b.c.d (HAProxy's src,ipmask(32,128),crc32 for its 4);
 * realip and the PROXY protocol give nginx another address than the packet has; and nft without
 * `seed` draws one at random, which nobody else knows.
 */
#ifndef XDP_CANARY_SPLIT_HASH_H
#define XDP_CANARY_SPLIT_HASH_H

#include "types.h"

/* Whose arithmetic puts clients into cohorts: our own, or another tool's. Two bits of a view. */
enum split_hash { HASH_XDP_CANARY, HASH_NGINX, HASH_HAPROXY_CRC32, HASH_NFT_JHASH };

#define SPLIT_MODULUS_MAX 65536

/* What is hashed: an address as little-endian words of its bytes, 1 of IPv4 or 4 of IPv6. */
#define SPLIT_WORDS_MAX 4

pure_inline __u32 rotate_left32(__u32 value, int bits)
{
	return value << bits | value >> (32 - bits);
}

/* ---- MurmurHash2, 32 bits ---- */

#define MURMUR2_MULTIPLIER 0x5bd1e995u

pure_inline __u32 murmur2(const __u32 *words, int count)
{
	__u32 hash = 4 * count; /* seed 0 ^ length in bytes */

	for (int i = 0; i < count; i++) {
		__u32 word = words[i] * MURMUR2_MULTIPLIER;

		word = (word ^ word >> 24) * MURMUR2_MULTIPLIER;
		hash = hash * MURMUR2_MULTIPLIER ^ word;
	}
	hash = (hash ^ hash >> 13) * MURMUR2_MULTIPLIER;
	return hash ^ hash >> 15;
}

/* ---- CRC-32 ---- */

/* What a byte leaves of itself after eight steps of the polynomial 0xedb88320: linear in its bits.
 */
#define CRC32_OF_BYTE(byte)                                                                        \
	(((byte)&0x01 ? 0x77073096u : 0) ^ ((byte)&0x02 ? 0xee0e612cu : 0) ^                       \
	 ((byte)&0x04 ? 0x076dc419u : 0) ^ ((byte)&0x08 ? 0x0edb8832u : 0) ^                       \
	 ((byte)&0x10 ? 0x1db71064u : 0) ^ ((byte)&0x20 ? 0x3b6e20c8u : 0) ^                       \
	 ((byte)&0x40 ? 0x76dc4190u : 0) ^ ((byte)&0x80 ? 0xedb88320u : 0))
#define CRC32_OF_4(byte)                                                                           \
	CRC32_OF_BYTE(byte), CRC32_OF_BYTE((byte) + 1), CRC32_OF_BYTE((byte) + 2),                 \
		CRC32_OF_BYTE((byte) + 3)
#define CRC32_OF_16(byte)                                                                          \
	CRC32_OF_4(byte), CRC32_OF_4((byte) + 4), CRC32_OF_4((byte) + 8), CRC32_OF_4((byte) + 12)
#define CRC32_OF_64(byte)                                                                          \
	CRC32_OF_16(byte), CRC32_OF_16((byte) + 16), CRC32_OF_16((byte) + 32),                     \
		CRC32_OF_16((byte) + 48)

static const __u32 crc32_of_bytes[256] __attribute__((unused)) = {
	CRC32_OF_64(0), CRC32_OF_64(64), CRC32_OF_64(128), CRC32_OF_64(192)};

pure_inline __u32 crc32(const __u32 *words, int count)
{
	__u32 crc = ~0u;

	for (int i = 0; i < count; i++) {
		crc ^= words[i];
		for (int byte = 0; byte < 4; byte++)
			crc = crc >> 8 ^ crc32_of_bytes[crc & 0xff];
	}
	return ~crc;
}

/* ---- jhash ---- */

struct jhash_state {
	__u32 a, b, c;
};

#define JHASH_INITIAL 0xdeadbeefu

pure_inline void jhash_mix(struct jhash_state *s)
{
	s->a = (s->a - s->c) ^ rotate_left32(s->c, 4);
	s->c += s->b;
	s->b = (s->b - s->a) ^ rotate_left32(s->a, 6);
	s->a += s->c;
	s->c = (s->c - s->b) ^ rotate_left32(s->b, 8);
	s->b += s->a;
	s->a = (s->a - s->c) ^ rotate_left32(s->c, 16);
	s->c += s->b;
	s->b = (s->b - s->a) ^ rotate_left32(s->a, 19);
	s->a += s->c;
	s->c = (s->c - s->b) ^ rotate_left32(s->b, 4);
	s->b += s->a;
}

pure_inline __u32 jhash_final(struct jhash_state *s)
{
	s->c = (s->c ^ s->b) - rotate_left32(s->b, 14);
	s->a = (s->a ^ s->c) - rotate_left32(s->c, 11);
	s->b = (s->b ^ s->a) - rotate_left32(s->a, 25);
	s->c = (s->c ^ s->b) - rotate_left32(s->b, 16);
	s->a = (s->a ^ s->c) - rotate_left32(s->c, 4);
	s->b = (s->b ^ s->a) - rotate_left32(s->a, 14);
	return (s->c ^ s->b) - rotate_left32(s->b, 24);
}

/*
 * @count 1 or 4, for then one word is left after those that are taken by three. jhash() reads words
 * as the machine has them: on a big-endian one nft has other hashes of IPv6.
 */
pure_inline __u32 jhash(const __u32 *words, int count, __u32 seed)
{
	__u32 initial = JHASH_INITIAL + 4 * count + seed;
	struct jhash_state state = {initial, initial, initial};

	for (; count > 3; count -= 3, words += 3) {
		state.a += words[0];
		state.b += words[1];
		state.c += words[2];
		jhash_mix(&state);
	}
	state.a += words[0];
	return jhash_final(&state);
}

/* ---- the place of a client ---- */

/*
 * Where a client stands in the hash space of a tool: [0, 2^32) of nginx, [0, @modulus) of the
 * others. @hash: not our own. @count: of @words, 1 or 4.
 */
pure_inline __u32 split_hash(enum split_hash hash, const __u32 *words, int count, __u32 modulus,
			     __u32 seed)
{
	if (hash == HASH_NGINX)
		return murmur2(words, count);
	if (hash == HASH_HAPROXY_CRC32)
		return crc32(words, count) % modulus;
	return (__u64)jhash(words, count, seed) * modulus >> 32;
}

#endif
