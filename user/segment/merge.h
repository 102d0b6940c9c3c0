/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The next of many sorted sequences: a tournament (Knuth, TAOCP 3, 5.4.1), so that each step costs
 * the logarithm of their number. Positions are of the 128-bit space of user/util/address.h.
 */
#ifndef XDP_CANARY_MERGE_H
#define XDP_CANARY_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef unsigned __int128 address128;

struct merge {
	struct merge_player {
		address128 at;
		bool has_ended;
	} * players;
	uint32_t *winners; /* a heap-shaped tree: [1] is the first of all, leaves are not kept */
	size_t leaves;	   /* a power of two, 2 or more */
};

/* All have ended. 0 or -ENOMEM. */
int merge_init(struct merge *merge, size_t players);
void merge_release(struct merge *merge);
/* Where the player stands first. For all of them, then merge_begin(). */
void merge_place(struct merge *merge, size_t player, address128 at);
void merge_begin(struct merge *merge);
/* False: all have ended. */
bool merge_first(const struct merge *merge, size_t *player, address128 *at);
/* The one that merge_first() gave goes on to @at, or ends. */
void merge_go_on(struct merge *merge, size_t player, bool ends, address128 at);

#endif
