/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets of clients and prefixes for tests, and what they mean, said as plainly as can be: every
 * member is asked, bit by bit.
 */
#ifndef XDP_CANARY_TESTS_RANDOM_MEMBERS_H
#define XDP_CANARY_TESTS_RANDOM_MEMBERS_H

#include "segment/members.h"
#include "tests/random.h"

#include <stdbool.h>

struct plain_address {
	uint64_t high, low;
};

static inline bool is_plain_ipv4(struct plain_address address)
{
	return !address.high && address.low >> 32 == 0xffff;
}

/* Bit 0 is the first one of the address. */
static inline bool plain_bit(struct plain_address address, unsigned int bit)
{
	return (bit < 64 ? address.high >> (63 - bit) : address.low >> (127 - bit)) & 1;
}

static inline bool member_holds(const struct member *member, struct plain_address address)
{
	struct plain_address start = {member->high, member->low};
	unsigned int bit;

	for (bit = 0; bit < member->length; bit++)
		if (plain_bit(start, bit) != plain_bit(address, bit))
			return false;
	return member->length >= 96 || !is_plain_ipv4(address);
}

/* The address's first @length bits, in the 128-bit space. */
static inline struct plain_address plain_masked(struct plain_address address, unsigned int length)
{
	unsigned int bit;

	for (bit = length; bit < 128; bit++)
		if (bit < 64)
			address.high &= ~(1ULL << (63 - bit));
		else
			address.low &= ~(1ULL << (127 - bit));
	return address;
}

/* As the box sees the client of the address. */
static inline struct plain_address plain_client(struct plain_address address, unsigned int prefix4,
						unsigned int prefix6)
{
	return plain_masked(address, is_plain_ipv4(address) ? 96 + prefix4 : prefix6);
}

static inline struct plain_address plain_neighbour(struct plain_address address, int step)
{
	struct plain_address next = {address.high, address.low + step};

	if (step > 0 ? next.low < address.low : next.low > address.low)
		next.high += step;
	return next;
}

static inline struct plain_address member_end(const struct member *member)
{
	struct plain_address end = {member->high, member->low};
	unsigned int bit;

	for (bit = member->length; bit < 128; bit++)
		if (bit < 64)
			end.high |= 1ULL << (63 - bit);
		else
			end.low |= 1ULL << (127 - bit);
	return end;
}

/*
 * How close the members of a set are to one another: so close that they nest, touch and repeat, or
 * anywhere.
 */
struct neighbourhood {
	unsigned int prefix4, prefix6; /* the longest, of clients */
	unsigned int bits;	       /* of an address that are random, the last of a client */
	unsigned int percent4;	       /* of IPv4 */
	unsigned int percent_clients;  /* full length */
};

/* Addresses of a family: at the ends of its space, around the IPv4 block, or elsewhere. */
static inline struct plain_address random_base(struct random *random, bool is_ipv4)
{
	static const struct plain_address bases6[] = {
		{0, 0},
		{0x20010db800000000, 0},
		{0, 0xfffe00000000},
		{0, 0x1000000000000},
		{UINT64_MAX, UINT64_MAX},
		{0x20010db8ffffffff, UINT64_MAX},
	};
	static const uint32_t bases4[] = {0, 0xc0000200, UINT32_MAX, 0x0a007fff};

	if (is_ipv4)
		return (struct plain_address){0, 0xffff00000000 | bases4[random_below(random, 4)]};
	return bases6[random_below(random, 6)];
}

static inline struct plain_address random_near(struct random *random,
					       const struct neighbourhood *near, bool is_ipv4)
{
	struct plain_address at = random_base(random, is_ipv4);
	unsigned int full = is_ipv4 ? 96 + near->prefix4 : near->prefix6;
	unsigned int first = full > near->bits ? full - near->bits : 0, bit;

	if (is_ipv4 && first < 96)
		first = 96;
	for (bit = first; bit < full; bit++)
		if (random_next(random) >> 63) {
			if (bit < 64)
				at.high ^= 1ULL << (63 - bit);
			else
				at.low ^= 1ULL << (127 - bit);
		}
	return at;
}

static inline struct member random_member(struct random *random, const struct neighbourhood *near)
{
	bool is_ipv4 = random_below(random, 100) < near->percent4;
	unsigned int full = is_ipv4 ? 96 + near->prefix4 : near->prefix6;
	unsigned int shorter = is_ipv4 ? near->prefix4 : near->prefix6, length = full;
	struct plain_address at = random_near(random, near, is_ipv4);

	if (random_below(random, 100) >= near->percent_clients)
		length -=
			random_below(random, 8)
				? random_below(random, near->bits < shorter ? near->bits : shorter)
				: random_below(random, shorter + 1);
	at = plain_masked(at, length);
	/* An IPv6 prefix that is IPv4's by its bits is not an IPv6 prefix. */
	if (!is_ipv4 && length >= 96 && is_plain_ipv4(at))
		at.high = 1ULL << 61;
	return (struct member){.high = at.high, .low = at.low, .length = length};
}

#endif
