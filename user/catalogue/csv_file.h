/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A CSV file whose first record names the columns, read from its beginning to its end. What a
 * record means, and what becomes of a bad one, is the callers'.
 */
#ifndef XDP_CANARY_CSV_FILE_H
#define XDP_CANARY_CSV_FILE_H

#include "catalogue/bad_rows.h"
#include "catalogue/csv.h"
#include "util/errors.h"

#include <stdbool.h>

/* Of a callback: other than 0 ends the reading, which then returns that. */
struct csv_file {
	const char *path; /* also of a pipe */
	int (*header)(const struct csv_record *record, void *data);
	int (*row)(const struct csv_record *record, void *data);
	/* In place of a record. @is_end: nobody can tell where the next one begins. */
	int (*problem)(const struct csv_problem *problem, bool has_header, bool is_end, void *data);
	/* Bytes; @size 0: not known. NULL: nobody asks. */
	void (*progress)(uint64_t done, uint64_t size, void *data);
	void *data;
};

/* -ENODATA: the file is empty, which nothing is said of. */
int csv_read_file(const struct csv_file *file, struct errors *errors);
/*
 * The same of a file that is taken whole or not at all: what is wrong with it, also what the
 * callbacks have put into @bad, is said; then -EINVAL. @file->problem is not called. @header: what
 * the first line of an empty one is to be.
 */
int csv_read_whole(const struct csv_file *file, struct bad_rows *bad, const char *header,
		   struct errors *errors);

#endif
