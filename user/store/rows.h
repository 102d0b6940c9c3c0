/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The clients' rows: what tables `clients` (attributes, imported) and `features` (observed) have of
 * each, joined, in the order of their keys. user/catalogue/query.c is for callers.
 */
#ifndef XDP_CANARY_ROWS_H
#define XDP_CANARY_ROWS_H

#include "catalogue/catalogue.h"
#include "store/expression.h"
#include "store/store.h"

struct rows_request {
	const struct expression *where; /* checked by expression_check(); NULL: all */
	const char *const *attributes;	/* columns of table clients, all of them */
	size_t attributes_count;
	const char *const *columns; /* to be read: of those, of the features, or `client` */
	size_t columns_count;
	const struct member *only; /* NULL: every client */
	uint64_t steps_max;	   /* of SQLite's machine, in all; 0: ROWS_STEPS_MAX */
};

/* Some minutes: more than any sane expression takes for ten million clients. */
#define ROWS_STEPS_MAX 20000000000ULL

/* A state of an earlier version that no writer has opened since has no such tables: rows_each()
 * must not be called. */
bool store_has_catalogue(const struct store *store);
/* As catalogue_each(). */
int rows_each(struct store *store, const struct rows_request *request,
	      int (*each)(const struct catalogue_row *row, void *data), void *data,
	      struct errors *errors);
/* Names of the columns of table clients, in the order in which they were added; malloc()ed array of
 * malloc()ed, to be given back by catalogue_columns_release(). */
int store_attributes(struct store *store, char ***names, size_t *count, struct errors *errors);

#endif
