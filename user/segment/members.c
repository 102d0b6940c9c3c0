// SPDX-License-Identifier: GPL-2.0-only
#include "segment/members.h"

#include "abi.h"

#include <stdlib.h>
#include <string.h>

#define IPV4_LENGTH 96 /* of ::ffff:0:0/96 */

struct member member_of(const struct prefix *prefix)
{
	struct member member = {.length = prefix->length};

	address_words(&prefix->address, &member.high, &member.low);
	if (prefix->address.family == 4)
		member.length += IPV4_LENGTH;
	return member;
}

static bool is_ipv4(uint64_t high, uint64_t low)
{
	return !high && low >> 32 == IPV4_MAPPED >> 32;
}

struct prefix member_prefix(const struct member *member)
{
	uint64_t high = htobe64(member->high), low = htobe64(member->low);
	struct prefix prefix = {.address.family = 6, .length = member->length};

	if (member->length >= IPV4_LENGTH && is_ipv4(member->high, member->low)) {
		prefix.address.family = 4;
		prefix.length -= IPV4_LENGTH;
		memcpy(prefix.address.bytes, (uint8_t *)&low + 4, 4);
		return prefix;
	}
	memcpy(prefix.address.bytes, &high, sizeof(high));
	memcpy(prefix.address.bytes + 8, &low, sizeof(low));
	return prefix;
}

int member_compare(const void *left, const void *right)
{
	const struct member *a = left, *b = right;

	if (a->high != b->high)
		return a->high < b->high ? -1 : 1;
	if (a->low != b->low)
		return a->low < b->low ? -1 : 1;
	return (int)a->length - b->length;
}

size_t members_sort(struct member *members, size_t count)
{
	size_t i, kept = 0;

	qsort(members, count, sizeof(*members), member_compare);
	for (i = 0; i < count; i++)
		if (!kept || member_compare(&members[kept - 1], &members[i]))
			members[kept++] = members[i];
	return kept;
}

static struct member widened(uint64_t high, uint64_t low, unsigned int length)
{
	struct member member = {.high = high, .low = low, .length = length};

	if (length <= 64) {
		member.high = length ? high & ~0ULL << (64 - length) : 0;
		member.low = 0;
	} else {
		member.low = low & ~0ULL << (128 - length);
	}
	return member;
}

const struct member *members_find(const struct member *members, size_t count, uint64_t high,
				  uint64_t low)
{
	int length, shortest = is_ipv4(high, low) ? IPV4_LENGTH : 0;

	for (length = 128; length >= shortest; length--) {
		struct member wanted = widened(high, low, length);
		const struct member *found =
			bsearch(&wanted, members, count, sizeof(wanted), member_compare);

		if (found)
			return found;
	}
	return NULL;
}
