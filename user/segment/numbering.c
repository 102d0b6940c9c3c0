// SPDX-License-Identifier: GPL-2.0-only
/* A hash table with linear probing, at most half full, over tuples that lie one after the other. */
#include "segment/numbering.h"

#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 1024
#define TUPLES_MAX  (1u << 31)

static uint64_t hash_of(const uint64_t *words, size_t width)
{
	uint64_t hash = width;
	size_t i;

	for (i = 0; i < width; i++)
		hash = fmix64(hash ^ words[i]) + words[i];
	return hash;
}

int numbering_begin(struct numbering *numbering, size_t width)
{
	*numbering = (struct numbering){.width = width, .slots_count = SLOTS_FIRST};
	numbering->slots = calloc(SLOTS_FIRST, sizeof(*numbering->slots));
	return numbering->slots ? 0 : -ENOMEM;
}

void numbering_release(struct numbering *numbering)
{
	free(numbering->words);
	free(numbering->slots);
	*numbering = (struct numbering){0};
}

static uint32_t *slot_of(const struct numbering *numbering, const uint64_t *words)
{
	size_t width = numbering->width, i = hash_of(words, width);

	for (;; i++) {
		uint32_t *slot = &numbering->slots[i & (numbering->slots_count - 1)];

		if (!*slot ||
		    !memcmp(numbering->words + (*slot - 1) * width, words, width * sizeof(*words)))
			return slot;
	}
}

static int grow(struct numbering *numbering)
{
	size_t width = numbering->width, i;
	struct numbering larger = *numbering;
	uint64_t *words;

	larger.slots_count *= 2;
	words = reallocarray(numbering->words, larger.slots_count / 2, width * sizeof(*words));
	if (!words)
		return -ENOMEM;
	numbering->words = larger.words = words;
	larger.slots = calloc(larger.slots_count, sizeof(*larger.slots));
	if (!larger.slots)
		return -ENOMEM;
	for (i = 0; i < numbering->count; i++)
		*slot_of(&larger, words + i * width) = i + 1;
	free(numbering->slots);
	*numbering = larger;
	return 0;
}

int numbering_of(struct numbering *numbering, const uint64_t *words, uint32_t *number)
{
	size_t width = numbering->width;
	uint32_t *slot = slot_of(numbering, words);
	int error;

	if (!*slot) {
		if (numbering->count >= TUPLES_MAX)
			return -E2BIG;
		if (!numbering->words || 2 * (numbering->count + 1) > numbering->slots_count) {
			error = grow(numbering);
			if (error)
				return error;
			slot = slot_of(numbering, words);
		}
		memcpy(numbering->words + numbering->count * width, words, width * sizeof(*words));
		*slot = ++numbering->count;
	}
	*number = *slot - 1;
	return 0;
}
