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
	size_t leaves;	   /* a power of two */
};

/* All have ended. 0 or -ENOMEM. */
int merge_init(struct merge *merge, size_t players);
void merge_release(struct merge *merge);

/* Where the player stands first. For all of them, then merge_begin(). */
static inline void merge_place(struct merge *merge, size_t player, address128 at)
{
	merge->players[player] = (struct merge_player){.at = at};
}

/* The one of a node of the tree, which has as many leaves below it as inner nodes before them. */
static inline uint32_t merge_winner(const struct merge *merge, size_t node)
{
	return node < merge->leaves ? merge->winners[node] : node - merge->leaves;
}

static inline void merge_play(struct merge *merge, size_t node)
{
	uint32_t left = merge_winner(merge, 2 * node), right = merge_winner(merge, 2 * node + 1);
	const struct merge_player *a = &merge->players[left], *b = &merge->players[right];

	merge->winners[node] = b->has_ended || (!a->has_ended && a->at <= b->at) ? left : right;
}

static inline void merge_begin(struct merge *merge)
{
	size_t node;

	for (node = merge->leaves - 1; node; node--)
		merge_play(merge, node);
}

/* False: all have ended. */
static inline bool merge_first(const struct merge *merge, size_t *player, address128 *at)
{
	*player = merge_winner(merge, 1);
	*at = merge->players[*player].at;
	return !merge->players[*player].has_ended;
}

/* The one that merge_first() gave goes on to @at, or ends. */
static inline void merge_go_on(struct merge *merge, size_t player, bool ends, address128 at)
{
	size_t node;

	merge->players[player] = (struct merge_player){.at = at, .has_ended = ends};
	for (node = (merge->leaves + player) / 2; node; node /= 2)
		merge_play(merge, node);
}

#endif
