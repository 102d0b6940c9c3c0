/* SPDX-License-Identifier: GPL-2.0-only */
/* Plain values between their text in the file, their place in a struct, and JSON. */
#ifndef XDP_CANARY_VALUES_H
#define XDP_CANARY_VALUES_H

#include "config/schema.h"

#include <jansson.h>

struct scalar {
	const char *text;
	bool plain; /* not in quotes */
};

/* What is wrong with a value, and what to do; an empty hint: give what value_expected() says. */
struct complaint {
	char what[320];
	char hint[320];
};

/*
 * Stores @scalar as @key's value in @object. 0; -EINVAL with *@complaint filled in; -ENOMEM. What
 * @object held is freed.
 */
int value_parse(const struct key *key, const struct scalar *scalar, void *object,
		struct complaint *complaint);

/* Whether @key has a meaning in @object: by the choice that it goes with, or the alternative that
 * stands. */
bool value_applies(const struct key *key, const void *object);

/* @key's value in @object as JSON, null where it is unset; a new reference. Not for maps, lists and
 * shares. */
json_t *value_to_json(const struct key *key, const void *object);

/* "a whole number from 1 to 255". Returns @out. */
const char *value_expected(const struct key *key, char *out, size_t size);

#define VALUE_SHOWN_SIZE 80
/* Text of a file in quotes, cut off where it is long. Returns @out. */
const char *value_show(const char *text, char out[VALUE_SHOWN_SIZE]);

#endif
