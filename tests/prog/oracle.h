/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A second opinion, written from INTERFACE ("The decision, exactly") and the RFCs alone: nothing of
 * headers/ or bpf/ but the names of reasons is used, so that a mistake there is not made here too.
 */
#ifndef XDP_CANARY_TESTS_ORACLE_H
#define XDP_CANARY_TESTS_ORACLE_H

#include "packet.h"
#include "reasons.h"

/* SipHash-1-3; @key: 16 bytes. */
uint64_t oracle_siphash(const uint8_t key[16], const void *data, size_t size);
/* Of a client's address, masked. */
uint64_t oracle_token(const uint8_t key[16], const struct address *client, unsigned int prefix4,
		      unsigned int prefix6);
/* h: where the token stands in the hash space of a salt text. */
uint32_t oracle_hash(uint64_t token, const char *salt);
/* T(ppm), 0 to 2^32. */
uint64_t oracle_threshold(uint32_t ppm);

/* The cohort, 0 the control, of a client at @hash; slots of @canaries canaries from canary 1 on, in
 * ppm. */
struct oracle_slot {
	uint32_t start, width, share;
};
int oracle_cohort(uint32_t hash, const struct oracle_slot *slots, int canaries);

/*
 * The hashes of other tools, of the 4 or 16 bytes of an address: MurmurHash2 of nginx, CRC-32 of
 * HAProxy, jhash of Linux.
 */
uint32_t oracle_murmur2(const uint8_t *bytes, size_t size);
uint32_t oracle_crc32(const uint8_t *bytes, size_t size);
uint32_t oracle_jhash(const uint8_t *bytes, size_t size, uint32_t seed);

/* What a frame is, up to the VIP table. */
#define ORACLE_TRANSPORT REASONS /* whole TCP or UDP: for a VIP, or not */
struct oracle_packet {
	int reason; /* why it is passed, or ORACLE_TRANSPORT and the rest */
	struct address source, destination;
	uint8_t protocol;
	uint16_t source_port, destination_port;
};
struct oracle_packet oracle_classify(const struct frame *frame);

/* Random numbers of a seed: xorshift64*. */
struct oracle_random {
	uint64_t state;
};
uint64_t oracle_next(struct oracle_random *random);
/* Seeded by the clock, or by SEED in the environment, and printed, so that a failure can be
 * repeated. */
struct oracle_random oracle_seed(const char *test);

#endif
