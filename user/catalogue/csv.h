/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CSV as RFC 4180 has it, from buffers of any size. Pure, in memory that does not grow. Strict
 * where the RFC is silent and programs differ, so that no reader sees other fields than the writer
 * meant:
 *
 *   separator  the comma; spaces are part of a field
 *   lines      end in CRLF or LF; a CR alone outside quotes is refused; empty lines are passed over
 *   quotes     enclose the whole field or are not there; "" in them is one quote
 *   text       UTF-8 without NUL; a byte order mark at the start is passed over
 *
 * What is wrong with a record costs that record (CSV_BAD): reading goes on with the next line.
 * Where nobody can tell where the next record begins, or a limit is passed, it ends (CSV_BROKEN).
 */
#ifndef XDP_CANARY_CSV_H
#define XDP_CANARY_CSV_H

#include <stddef.h>
#include <stdint.h>

#define CSV_FIELD_MAX  (64 * 1024)   /* bytes */
#define CSV_RECORD_MAX (1024 * 1024) /* bytes of its fields; also of what is passed over */
#define CSV_FIELDS_MAX 2000

struct csv_field {
	const char *text; /* without quotes; a zero follows */
	uint32_t length;  /* bytes */
	uint32_t column;  /* where it begins in its line, in bytes from 1 */
	uint64_t line;	  /* from 1 */
};

struct csv_record {
	const struct csv_field *fields; /* until the next call */
	size_t count;			/* at least 1 */
};

struct csv_problem {
	uint64_t line;
	uint32_t column;
	const char *what, *hint;
};

enum csv_result { CSV_MORE, CSV_RECORD, CSV_BAD, CSV_BROKEN, CSV_END };

struct csv;

struct csv *csv_new(void); /* NULL: no memory */
void csv_free(struct csv *csv);
/* The next bytes of the file, after CSV_MORE (or at the beginning); they must stay until the next
 * CSV_MORE. @size 0: the file is at its end. */
void csv_feed(struct csv *csv, const void *bytes, size_t size);
/* The next record or problem; CSV_MORE: csv_feed() first. CSV_BROKEN and CSV_END stay. */
enum csv_result csv_next(struct csv *csv, struct csv_record *record, struct csv_problem *problem);

#endif
