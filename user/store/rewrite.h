/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Many clients into table `clients`: the table is written anew, from its rows and those that come,
 * both in the order of their keys. That reads and appends; to look up and change each row takes
 * half as long again.
 */
#ifndef XDP_CANARY_REWRITE_H
#define XDP_CANARY_REWRITE_H

#include "store/attributes.h"
#include "store/client_key.h"

struct rewrite_columns {
	const struct attribute *attributes; /* of the rows that come, with their final types */
	size_t count;
	char *const *names; /* of the table that there is */
	size_t names_count;
};

struct rewrite;

/* @columns must stay until rewrite_free(). @replace: what does not come, goes. */
int rewrite_begin(struct store *store, const struct rewrite_columns *columns, bool replace,
		  struct rewrite **out, struct errors *errors);
/* In the order of the keys, each once. */
int rewrite_write(struct rewrite *rewrite, const uint8_t key[CLIENT_KEY_SIZE],
		  const struct attribute_value *values, struct errors *errors);
int rewrite_end(struct rewrite *rewrite, struct attribute_counts *counts, struct errors *errors);
void rewrite_free(struct rewrite *rewrite);

#endif
