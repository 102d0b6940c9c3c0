/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The catalogue: the box's clients with their attributes (from CSV) and features (observed), as one
 * row each. A row's columns are `client` (text), the attributes by the header of their CSV, and the
 * features by their names (user/catalogue/features.h); what a client does not have is NULL. Clients
 * are in the form of the box: cut to the longest prefix4 and prefix6 of any service.
 */
#ifndef XDP_CANARY_CATALOGUE_H
#define XDP_CANARY_CATALOGUE_H

#include "segment/members.h"
#include "store/store.h"

struct catalogue_value {
	enum { CATALOGUE_NULL, CATALOGUE_INTEGER, CATALOGUE_REAL, CATALOGUE_TEXT } type;
	int64_t integer;
	double real;	  /* also of an integer */
	const char *text; /* of text; UTF-8, lives during the call */
};

struct catalogue_row {
	struct member client;
	const struct catalogue_value *values; /* of the columns asked for, in their order */
};

struct catalogue_query {
	const char *object;	    /* of errors: "segments/staff/where" */
	const char *where;	    /* SQL expression over the row's columns; NULL: all */
	const char *const *columns; /* names of columns */
	size_t columns_count;
};

/*
 * Calls @each for every row that the expression takes, in the order of their clients; what @each
 * returns, if not 0, ends it and is returned. Runs read only: nothing but a pure expression over
 * the columns is allowed (SQLite's authoriser); a bad one is -EINVAL with an error that quotes it.
 * A column that is not there is -ENOENT with an error that names those that are. @store may be
 * NULL: nothing was ever stored. @each may use the store.
 */
int catalogue_each(struct store *store, const struct catalogue_query *query,
		   int (*each)(const struct catalogue_row *row, void *data), void *data,
		   struct errors *errors);

/* The same without running it: are columns and expression good? */
int catalogue_check(struct store *store, const struct catalogue_query *query,
		    struct errors *errors);
/* The same of one client alone, exactly as it is stored; @each is not called where there is none.
 */
int catalogue_row_of(struct store *store, const struct catalogue_query *query,
		     const struct member *client,
		     int (*each)(const struct catalogue_row *row, void *data), void *data,
		     struct errors *errors);

/* Names of all columns but `client`: attributes, then features. malloc()ed array of malloc()ed. */
int catalogue_columns(struct store *store, char ***names, size_t *count, struct errors *errors);
void catalogue_columns_release(char **names, size_t count);

/* The longest prefixes that any service of the policy has: of all clients of the box. */
struct policy;
struct client_form {
	uint8_t prefix4, prefix6;
};
struct client_form box_client_form(const struct policy *policy); /* no services: 32 and 64 */

#endif
