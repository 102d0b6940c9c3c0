// SPDX-License-Identifier: GPL-2.0-only
/*
 * A power of two makes every odd skip coprime to the number of slots, so each permutation visits
 * all of them (the paper takes a prime). Quotas are the weights' by largest remainder (Hamilton's
 * method). Turns are taken by credit: a member of the greatest weight takes a slot every round, the
 * others in proportion, until each has its quota.
 */
#include "policy/ring.h"

#include "abi.h"
#include "util/siphash.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct turn {
	const struct ring_member *member;
	uint32_t next, skip; /* of its permutation */
	uint32_t credit;
	uint32_t quota, taken; /* slots */
	uint64_t remainder;    /* of its quota, in units of 1 / sum of weights */
};

size_t ring_size(const struct ring_member *members, size_t count)
{
	size_t used = 0, size = RING_SLOTS_MIN, i;

	for (i = 0; i < count; i++)
		used += members[i].weight > 0;
	if (used < 2)
		return used;
	while (size < RING_SLOTS_PER_BACKEND * used)
		size *= 2;
	return size;
}

static int compare_turns(const void *left, const void *right)
{
	const struct ring_member *a = ((const struct turn *)left)->member;
	const struct ring_member *b = ((const struct turn *)right)->member;
	int order = address_compare(&a->address, &b->address);

	return order ? order : (a->port > b->port) - (a->port < b->port);
}

static void begin_turn(struct turn *turn, const struct ring_member *member, uint32_t size)
{
	uint8_t identity[sizeof(member->address.bytes) + 2];
	size_t length = member->address.family == 4 ? 4 : 16;
	uint64_t hash;

	memcpy(identity, member->address.bytes, length);
	identity[length] = member->port >> 8;
	identity[length + 1] = member->port & 0xff;
	hash = siphash13((struct siphash_key){0}, identity, length + 2);
	*turn = (struct turn){
		.member = member,
		.next = (hash >> 32) & (size - 1),
		.skip = (hash & (size - 1)) | 1,
	};
}

static int compare_remainders(const void *left, const void *right)
{
	const struct turn *a = *(struct turn *const *)left, *b = *(struct turn *const *)right;

	if (a->remainder != b->remainder)
		return a->remainder > b->remainder ? -1 : 1;
	return a < b ? -1 : 1; /* turns are sorted by address */
}

/* Slots that a member of less than a whole slot is given at the cost of the greatest. */
static uint32_t raise_to_one(struct turn *turns, size_t count)
{
	uint32_t given = 0;
	size_t i;

	for (i = 0; i < count; i++)
		if (!turns[i].quota) {
			turns[i].quota = 1;
			turns[i].remainder = 0;
			given++;
		}
	return given;
}

static int set_quotas(struct turn *turns, size_t count, uint32_t size)
{
	struct turn **order = calloc(count, sizeof(*order));
	uint64_t sum = 0;
	uint32_t left = size, given;
	size_t i;

	if (!order)
		return -ENOMEM;
	for (i = 0; i < count; i++)
		sum += turns[i].member->weight;
	for (i = 0; i < count; i++) {
		uint64_t product = (uint64_t)size * turns[i].member->weight;

		turns[i].quota = product / sum;
		turns[i].remainder = product % sum;
		left -= turns[i].quota;
		order[i] = &turns[i];
	}
	given = raise_to_one(turns, count);
	qsort(order, count, sizeof(*order), compare_remainders);
	for (i = 0; left > given; i++, left--)
		order[i % count]->quota++;
	for (; given > left; given--) {
		struct turn *greatest = &turns[0];

		for (i = 1; i < count; i++)
			if (turns[i].quota > greatest->quota)
				greatest = &turns[i];
		greatest->quota--;
	}
	free(order);
	return 0;
}

static void take_slot(struct turn *turn, uint32_t *slots, uint32_t size)
{
	while (slots[turn->next] != UINT32_MAX)
		turn->next = (turn->next + turn->skip) & (size - 1);
	slots[turn->next] = ring_slot(turn->member->number);
	turn->taken++;
}

static void take_turns(struct turn *turns, size_t count, uint32_t *slots, uint32_t size)
{
	uint32_t greatest = 0, taken = 0;
	size_t i;

	for (i = 0; i < count; i++)
		if (turns[i].member->weight > greatest)
			greatest = turns[i].member->weight;
	while (taken < size) {
		for (i = 0; i < count; i++) {
			turns[i].credit += turns[i].member->weight;
			if (turns[i].credit < greatest)
				continue;
			turns[i].credit -= greatest;
			if (turns[i].taken == turns[i].quota)
				continue;
			take_slot(&turns[i], slots, size);
			taken++;
		}
	}
}

int ring_fill(const struct ring_member *members, size_t count, uint32_t *slots)
{
	size_t size = ring_size(members, count), used = 0, i;
	struct turn *turns;
	int error;

	if (!size)
		return 0;
	turns = calloc(count, sizeof(*turns));
	if (!turns)
		return -ENOMEM;
	for (i = 0; i < count; i++)
		if (members[i].weight)
			begin_turn(&turns[used++], &members[i], size);
	qsort(turns, used, sizeof(*turns), compare_turns);
	error = set_quotas(turns, used, size);
	if (error)
		goto out;
	memset(slots, 0xff, size * sizeof(*slots));
	take_turns(turns, used, slots, size);
out:
	free(turns);
	return error;
}
