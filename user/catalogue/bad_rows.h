/* SPDX-License-Identifier: GPL-2.0-only */
/* What is wrong with rows of a file, found in any order: the first ones by line, and how many. */
#ifndef XDP_CANARY_BAD_ROWS_H
#define XDP_CANARY_BAD_ROWS_H

#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BAD_SHOWN 20

struct bad_row {
	uint64_t line;
	uint32_t column;
	const char *object, *hint; /* constants */
	char *text;
};

struct bad_rows {
	struct bad_row first[BAD_SHOWN]; /* by line */
	size_t kept;
	uint64_t count;
};

void bad_rows_add(struct bad_rows *rows, uint64_t line, uint32_t column, const char *object,
		  const char *hint, const char *format, ...) __attribute__((format(printf, 6, 7)));
/* As errors, or warnings, with their places in @file. */
void bad_rows_tell(const struct bad_rows *rows, const char *file, bool as_warnings,
		   struct errors *errors);
void bad_rows_release(struct bad_rows *rows);

#endif
