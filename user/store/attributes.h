/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Table `clients`: the attributes of clients, written. All values of a column have one type at any
 * time, or are NULL; a column that gets a value of a wider type (integer, real, text) is made wider
 * as a whole, so that a comparison in `where` never meets two types.
 */
#ifndef XDP_CANARY_ATTRIBUTES_H
#define XDP_CANARY_ATTRIBUTES_H

#include "catalogue/features.h"
#include "store/store.h"

/* SQLite has 2000 columns; a row of the catalogue has its key, the client and the features too. */
#define ATTRIBUTES_MAX (2000 - FEATURES_COUNT - 2)

/* Each wider than the one before it. */
enum attribute_type { ATTRIBUTE_EMPTY, ATTRIBUTE_INTEGER, ATTRIBUTE_REAL, ATTRIBUTE_TEXT };
/* "INTEGER", "REAL", "TEXT"; NULL: no value yet. */
const char *attribute_type_name(enum attribute_type type);

struct attribute {
	const char *name;
	enum attribute_type type;
	bool has_large; /* an integer that no double is equal to, so it cannot become a real */
};

struct attribute_value {
	enum attribute_type type; /* of its column, or EMPTY */
	int64_t integer;
	double real;
	const char *text; /* UTF-8, until attributes_end() */
	uint32_t length;
};

struct attribute_counts {
	uint64_t before, after;	 /* clients */
	uint64_t added, updated; /* of those written; the others were there and are equal */
	uint64_t removed;
};

struct attribute_writer;

/*
 * Begins to write @rows rows of these columns, which are added where they are new; their types
 * become those that the columns have with them. @replace: rows and columns that were there go. The
 * attributes must stay until attributes_end().
 */
int attributes_begin(struct store *store, struct attribute *attributes, size_t count, uint64_t rows,
		     bool replace, struct attribute_writer **out, struct errors *errors);
/* Each client once, in their order. Values in the order of the columns. */
int attributes_write(struct attribute_writer *writer, const struct member *client,
		     const struct attribute_value *values, struct errors *errors);
/* Frees the writer, also after an error of attributes_write(), when @counts may be NULL. */
int attributes_end(struct attribute_writer *writer, struct attribute_counts *counts,
		   struct errors *errors);

int store_clients_count(struct store *store, uint64_t *count, struct errors *errors);
/* What the catalogue has of exactly this client goes. */
int store_drop_client(struct store *store, const struct member *client, bool *had_attributes,
		      bool *had_features, struct errors *errors);
/* The longest row, of either table, that holds the client. -ENOENT without an error. */
int store_client_holding(struct store *store, const struct member *client, struct member *out,
			 struct errors *errors);

#endif
