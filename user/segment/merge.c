// SPDX-License-Identifier: GPL-2.0-only
#include "segment/merge.h"

#include <errno.h>
#include <stdlib.h>

int merge_init(struct merge *merge, size_t players)
{
	size_t i;

	merge->leaves = 2;
	while (merge->leaves < players)
		merge->leaves *= 2;
	merge->players = calloc(merge->leaves, sizeof(*merge->players));
	merge->winners = calloc(merge->leaves, sizeof(*merge->winners));
	if (!merge->players || !merge->winners) {
		merge_release(merge);
		return -ENOMEM;
	}
	for (i = 0; i < merge->leaves; i++)
		merge->players[i].has_ended = true;
	return 0;
}

void merge_release(struct merge *merge)
{
	free(merge->players);
	free(merge->winners);
	*merge = (struct merge){0};
}

void merge_place(struct merge *merge, size_t player, address128 at)
{
	merge->players[player] = (struct merge_player){.at = at};
}

/* The one of a node of the tree, which has as many leaves below it as inner nodes before them. */
static uint32_t winner_at(const struct merge *merge, size_t node)
{
	return node < merge->leaves ? merge->winners[node] : node - merge->leaves;
}

static void play(struct merge *merge, size_t node)
{
	uint32_t left = winner_at(merge, 2 * node), right = winner_at(merge, 2 * node + 1);
	const struct merge_player *a = &merge->players[left], *b = &merge->players[right];

	merge->winners[node] = b->has_ended || (!a->has_ended && a->at <= b->at) ? left : right;
}

void merge_begin(struct merge *merge)
{
	size_t node;

	for (node = merge->leaves - 1; node; node--)
		play(merge, node);
}

bool merge_first(const struct merge *merge, size_t *player, address128 *at)
{
	*player = merge->winners[1];
	*at = merge->players[*player].at;
	return !merge->players[*player].has_ended;
}

void merge_go_on(struct merge *merge, size_t player, bool ends, address128 at)
{
	size_t node;

	merge->players[player] = (struct merge_player){.at = at, .has_ended = ends};
	for (node = (merge->leaves + player) / 2; node; node /= 2)
		play(merge, node);
}
