// SPDX-License-Identifier: GPL-2.0-only
/* A hash table from (object, key) to a place. Objects do not move while they are read. */
#include "config/places.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_FIRST 256 /* a power of two, as every size */

static struct place *slot_of(const struct places *places, const void *object, const char *key)
{
	uint64_t hash = (uintptr_t)object;
	size_t slot;

	for (const char *c = key; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3ULL;
	hash *= 0x9e3779b97f4a7c15ULL;
	slot = hash >> 32 & (places->size - 1);
	while (places->table[slot].object &&
	       (places->table[slot].object != object || strcmp(places->table[slot].key, key)))
		slot = (slot + 1) & (places->size - 1);
	return &places->table[slot];
}

static int grow(struct places *places)
{
	struct places larger = {.size = places->size ? 2 * places->size : SIZE_FIRST};

	larger.table = calloc(larger.size, sizeof(*larger.table));
	if (!larger.table)
		return -ENOMEM;
	for (size_t i = 0; i < places->size; i++) {
		const struct place *place = &places->table[i];

		if (place->object)
			*slot_of(&larger, place->object, place->key) = *place;
	}
	larger.used = places->used;
	free(places->table);
	*places = larger;
	return 0;
}

int places_set(struct places *places, const struct place *place)
{
	struct place *slot;
	int error;

	if (2 * places->used >= places->size) {
		error = grow(places);
		if (error)
			return error;
	}
	slot = slot_of(places, place->object, place->key);
	if (!slot->object)
		places->used++;
	*slot = *place;
	return 0;
}

const struct place *places_find(const struct places *places, const void *object, const char *key)
{
	const struct place *slot;

	if (!places->size)
		return NULL;
	slot = slot_of(places, object, key);
	return slot->object ? slot : NULL;
}

void places_release(struct places *places)
{
	free(places->table);
	*places = (struct places){0};
}
