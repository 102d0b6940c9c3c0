/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A client as the tables clients and features have it: the 16 bytes of its place in the 128-bit
 * space, in network order, then its length there. Keys sort (memcmp(), SQLite's blobs) as
 * member_compare() sorts members.
 */
#ifndef XDP_CANARY_CLIENT_KEY_H
#define XDP_CANARY_CLIENT_KEY_H

#include "segment/members.h"

#include <endian.h>
#include <string.h>

#define CLIENT_KEY_SIZE 17

static inline void client_key_of(const struct member *member, uint8_t key[CLIENT_KEY_SIZE])
{
	uint64_t high = htobe64(member->high), low = htobe64(member->low);

	memcpy(key, &high, sizeof(high));
	memcpy(key + 8, &low, sizeof(low));
	key[16] = member->length;
}

static inline struct member client_of_key(const uint8_t key[CLIENT_KEY_SIZE])
{
	struct member member = {.length = key[16]};

	memcpy(&member.high, key, sizeof(member.high));
	memcpy(&member.low, key + 8, sizeof(member.low));
	member.high = be64toh(member.high);
	member.low = be64toh(member.low);
	return member;
}

#endif
