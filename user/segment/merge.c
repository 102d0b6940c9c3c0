// SPDX-License-Identifier: GPL-2.0-only
#include "segment/merge.h"

#include <errno.h>
#include <stdlib.h>

int merge_init(struct merge *merge, size_t players)
{
	size_t i;

	merge->leaves = 1;
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
