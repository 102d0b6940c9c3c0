/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rows of a CSV of clients, in memory until all of them are known to be good: its columns, and
 * per client one row, in the order of the clients. It takes about 40 bytes a row and two a field
 * more than the text itself.
 */
#ifndef XDP_CANARY_SHEET_H
#define XDP_CANARY_SHEET_H

#include "catalogue/csv.h"
#include "store/attributes.h"

#define HEADER_MAX	100	     /* bytes of a column's name */
#define SHEET_BYTES_MAX (4ULL << 30) /* of rows and fields; beyond it the file is to be parted */

struct sheet_row {
	uint64_t high, low;  /* struct member */
	const char *fields;  /* packed: sheet_values() */
	uint64_t line : 56;  /* of the file */
	uint64_t length : 8; /* struct member */
};

struct sheet_block; /* of memory for fields */

struct sheet {
	struct attribute *attributes; /* all columns but the first; names are malloc()ed */
	size_t columns;
	struct sheet_row *rows;
	size_t count, room;
	struct sheet_block *blocks;
	uint64_t bytes, bytes_max;
};

/* Columns are there already, and get the type of all that was added. -ENOMEM, or -EFBIG beyond
 * bytes_max, without an error. */
int sheet_add(struct sheet *sheet, const struct member *client, const struct csv_record *record);
/*
 * Sorts by client, and keeps the first of several rows of one client. Those that say the same as
 * it are counted in *@repeated; for the others @differs is called with both lines.
 */
void sheet_sort(struct sheet *sheet, uint64_t *repeated,
		void (*differs)(const struct sheet_row *first, const struct sheet_row *row,
				void *data),
		void *data);
/* The values of row @index, as wide as their columns. */
void sheet_values(const struct sheet *sheet, size_t index, struct attribute_value *values);
struct member sheet_client(const struct sheet_row *row);
void sheet_release(struct sheet *sheet);

#endif
