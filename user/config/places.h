/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the values of a policy stand in its files: made while reading, used by the checks that
 * compare one value with another, gone before the policy is used.
 */
#ifndef XDP_CANARY_PLACES_H
#define XDP_CANARY_PLACES_H

#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>

struct place {
	const void *object; /* that the value is kept in */
	const char *key;    /* in that object; "": the object itself, an item of a list */
	struct position where;
	size_t index; /* of an item in its list, in its file */
	bool bad;     /* an error was reported here: what was read says nothing */
};

struct places {
	struct place *table; /* open addressing, never more than half full */
	size_t size, used;
};

/* Replaces the place of the same object and key. 0 or -ENOMEM. */
int places_set(struct places *places, const struct place *place);
/* NULL: not in the files. Valid until the next places_set(). */
const struct place *places_find(const struct places *places, const void *object, const char *key);
void places_release(struct places *places);

#endif
