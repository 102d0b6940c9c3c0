/* SPDX-License-Identifier: GPL-2.0-only */
/* All rows of a query as one array. */
#ifndef XDP_CANARY_STORE_LIST_H
#define XDP_CANARY_STORE_LIST_H

#include "store/store_internal.h"

struct row_type {
	size_t size; /* of an element */
	/* A row into an element of zeros. After an error it has nothing that must be released. */
	int (*read)(struct store *store, sqlite3_stmt *statement, void *out, struct errors *errors);
	void (*release)(void *element); /* NULL: an element owns nothing */
};

/* *@out is malloc()ed; NULL and 0 after an error. */
int list_read(struct store *store, const struct row_type *type, const char *sql,
	      const struct sql_value *values, size_t values_count, void **out, size_t *count,
	      struct errors *errors);
void list_release(const struct row_type *type, void *list, size_t count);

#endif
