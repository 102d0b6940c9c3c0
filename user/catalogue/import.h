/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A CSV of clients into the catalogue, in two halves: reading, which needs no store and takes as
 * long as whoever writes the file; and storing, under the writer's lock. A file is stored whole or
 * not at all; with `skip_bad` whole but for its bad rows.
 */
#ifndef XDP_CANARY_IMPORT_H
#define XDP_CANARY_IMPORT_H

#include "catalogue/catalogue.h"
#include "catalogue/sheet.h"

/* How far it is; @total 0: not known. */
struct import_progress {
	void (*tell)(void *data, const char *doing, uint64_t done, uint64_t total);
	void *data;
};

struct import_request {
	const char *file;
	struct client_form form; /* of the box: clients are cut to it */
	bool skip_bad;
	uint64_t bytes_max; /* of memory for rows; 0: SHEET_BYTES_MAX */
	struct import_progress progress;
};

struct import {
	struct sheet sheet;
	uint64_t rows;	   /* of the file that were good, repeated ones included */
	uint64_t repeated; /* of them: say again what an earlier row has said */
	uint64_t bad;
};

/*
 * Errors have FILE:LINE:COLUMN. 0: bad rows, if any, were to be skipped and are warnings. What was
 * read is given back by import_release() whatever this returns.
 */
int import_read(const struct import_request *request, struct import *out, struct errors *errors);
/* In the writer's transaction, which is not committed. The sheet's types become those of the
 * catalogue's columns. */
int import_store(struct import *import, struct store *store, bool replace,
		 const struct import_progress *progress, struct attribute_counts *counts,
		 struct errors *errors);
void import_release(struct import *import);

#endif
