// SPDX-License-Identifier: GPL-2.0-only
/*
 * A machine of one state a byte; runs of plain bytes are copied at once. The fields of the record
 * that is being read are in `text`, each with a zero behind it, which has room for the longest
 * record and never moves.
 */
#include "catalogue/csv.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NUL_BYTE   "there is a NUL byte"
#define NO_UTF8	   "a field is no UTF-8"
#define WRITE_TEXT "write the file as UTF-8 text"

enum state {
	STATE_MARK,	    /* at the start of the file, where a byte order mark may be */
	STATE_RECORD,	    /* a record begins, or an empty line */
	STATE_EMPTY_RETURN, /* behind the carriage return of an empty line */
	STATE_FIELD,	    /* a field begins */
	STATE_PLAIN,	    /* in one without quotes */
	STATE_QUOTED,	    /* in one with quotes */
	STATE_QUOTE,	    /* behind a quote in it: its end, or the first of two */
	STATE_RETURN,	    /* behind a carriage return: a line feed must follow */
	STATE_SKIPPING,	    /* the rest of a bad line */
	STATE_BROKEN,
	STATE_END,
};

struct csv {
	const unsigned char *bytes; /* fed last */
	size_t size, at;
	bool is_at_end;	     /* of the file */
	uint64_t before;     /* bytes of the file before these */
	uint64_t line;	     /* the present one, from 1 */
	uint64_t line_begin; /* place in the file of its first byte */
	enum state state;
	size_t marked;	  /* bytes of the byte order mark that were seen */
	bool has_high;	  /* the field has bytes beyond ASCII */
	uint64_t skipped; /* bytes of the bad line */
	size_t used;	  /* of text */
	size_t count;	  /* of fields that have ended */
	struct csv_problem problem;
	struct csv_field fields[CSV_FIELDS_MAX];
	char text[CSV_RECORD_MAX + CSV_FIELDS_MAX];
};

static const unsigned char mark[] = {0xef, 0xbb, 0xbf};

struct csv *csv_new(void)
{
	struct csv *csv = malloc(sizeof(*csv));

	if (!csv)
		return NULL;
	/* What is behind is written before it is read. */
	memset(csv, 0, offsetof(struct csv, fields));
	csv->line = 1;
	return csv;
}

void csv_free(struct csv *csv)
{
	free(csv);
}

void csv_feed(struct csv *csv, const void *bytes, size_t size)
{
	csv->before += csv->size;
	csv->bytes = bytes;
	csv->size = size;
	csv->at = 0;
	csv->is_at_end = !size;
}

/* ---- places and problems ---- */

static uint32_t column_of(const struct csv *csv)
{
	uint64_t column = csv->before + csv->at - csv->line_begin + 1;

	return column > UINT32_MAX ? UINT32_MAX : (uint32_t)column;
}

/* Behind a line feed at the present place. */
static void next_line(struct csv *csv)
{
	csv->line++;
	csv->line_begin = csv->before + csv->at;
}

static enum csv_result bad(struct csv *csv, uint64_t line, uint32_t column, const char *what,
			   const char *hint)
{
	csv->problem = (struct csv_problem){line, column, what, hint};
	csv->state = STATE_SKIPPING;
	csv->skipped = 0;
	return CSV_BAD;
}

static enum csv_result bad_here(struct csv *csv, const char *what, const char *hint)
{
	return bad(csv, csv->line, column_of(csv), what, hint);
}

static enum csv_result broken(struct csv *csv, const struct csv_field *field, const char *what,
			      const char *hint)
{
	csv->problem = (struct csv_problem){field->line, field->column, what, hint};
	csv->state = STATE_BROKEN;
	return CSV_BROKEN;
}

/* ---- UTF-8 ---- */

/* RFC 3629: no surrogates, nothing longer than need be, nothing above U+10FFFF. */
static size_t utf8_length(const unsigned char *text, size_t left)
{
	unsigned char first = text[0], lowest = 0x80, highest = 0xbf;
	size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4 || left < length)
		return 0;
	if (first == 0xe0)
		lowest = 0xa0;
	else if (first == 0xf0)
		lowest = 0x90;
	else if (first == 0xed)
		highest = 0x9f;
	else if (first == 0xf4)
		highest = 0x8f;
	if (text[1] < lowest || text[1] > highest)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

static bool is_utf8(const char *text, size_t size)
{
	size_t length;

	for (size_t i = 0; i < size; i += length) {
		length = utf8_length((const unsigned char *)text + i, size - i);
		if (!length)
			return false;
	}
	return true;
}

/* ---- fields ---- */

static enum csv_result begin_field(struct csv *csv)
{
	struct csv_field *field = &csv->fields[csv->count];

	if (csv->count == CSV_FIELDS_MAX)
		return broken(csv, &csv->fields[csv->count - 1], "it has more than 2000 fields",
			      "is its line end missing, or a quote? Else leave columns out");
	field->text = csv->text + csv->used;
	field->line = csv->line;
	field->column = column_of(csv);
	csv->has_high = false;
	return CSV_MORE;
}

static size_t field_length(const struct csv *csv)
{
	return (size_t)(csv->text + csv->used - csv->fields[csv->count].text);
}

static enum csv_result append(struct csv *csv, const unsigned char *bytes, size_t size)
{
	const struct csv_field *field = &csv->fields[csv->count];

	if (field_length(csv) + size > CSV_FIELD_MAX)
		return broken(csv, field, "a field is longer than 64 KiB",
			      "is its closing quote missing, or the line's end? Else shorten it");
	/* The zeros behind the fields have room of their own. */
	if (csv->used - csv->count + size > CSV_RECORD_MAX)
		return broken(csv, &csv->fields[0], "a record is longer than 1 MiB",
			      "is a closing quote missing, or the line's end? Else shorten it");
	memcpy(csv->text + csv->used, bytes, size);
	csv->used += size;
	return CSV_MORE;
}

static enum csv_result end_field(struct csv *csv)
{
	struct csv_field *field = &csv->fields[csv->count];

	field->length = (uint32_t)field_length(csv);
	csv->text[csv->used++] = '\0';
	csv->count++;
	if (csv->has_high && !is_utf8(field->text, field->length))
		return bad(csv, field->line, field->column, NO_UTF8, WRITE_TEXT);
	return CSV_MORE;
}

/* The line feed, or the end of the file, is behind. */
static enum csv_result end_record(struct csv *csv)
{
	enum csv_result result = end_field(csv);

	csv->state = STATE_RECORD; /* also where the last field is bad: nothing is left to skip */
	return result == CSV_MORE ? CSV_RECORD : result;
}

static enum csv_result end_line(struct csv *csv)
{
	enum csv_result result = end_record(csv);

	next_line(csv);
	return result;
}

/* ---- states: each takes a byte at least, or changes the state ---- */

static enum csv_result at_mark(struct csv *csv)
{
	enum csv_result result;

	if (csv->bytes[csv->at] == mark[csv->marked]) {
		csv->at++;
		if (++csv->marked < sizeof(mark))
			return CSV_MORE;
		csv->line_begin = sizeof(mark);
		csv->state = STATE_RECORD;
		return CSV_MORE;
	}
	csv->state = STATE_RECORD;
	if (!csv->marked)
		return CSV_MORE;
	/* These bytes begin a field. */
	result = begin_field(csv);
	csv->fields[0].column = 1;
	csv->has_high = true;
	csv->state = STATE_PLAIN;
	return result == CSV_MORE ? append(csv, mark, csv->marked) : result;
}

static enum csv_result at_record(struct csv *csv)
{
	csv->used = 0;
	csv->count = 0;
	csv->state = STATE_FIELD;
	if (csv->bytes[csv->at] == '\n') {
		csv->at++;
		next_line(csv);
		csv->state = STATE_RECORD;
	} else if (csv->bytes[csv->at] == '\r') {
		csv->at++;
		csv->state = STATE_EMPTY_RETURN;
	}
	return CSV_MORE;
}

static enum csv_result at_field(struct csv *csv)
{
	enum csv_result result = begin_field(csv);

	if (result != CSV_MORE)
		return result;
	csv->state = STATE_PLAIN;
	if (csv->bytes[csv->at] == '"') {
		csv->at++;
		csv->state = STATE_QUOTED;
	}
	return CSV_MORE;
}

static enum csv_result in_plain(struct csv *csv)
{
	const unsigned char *bytes = csv->bytes;
	size_t begin = csv->at, at = begin;
	unsigned char high = 0;
	enum csv_result result;

	while (at < csv->size && bytes[at] && bytes[at] != ',' && bytes[at] != '\n' &&
	       bytes[at] != '\r' && bytes[at] != '"')
		high |= bytes[at++];
	csv->has_high |= high >> 7;
	csv->at = at;
	result = append(csv, bytes + begin, at - begin);
	if (result != CSV_MORE || at == csv->size)
		return result;
	if (bytes[at] == '"')
		return bad_here(csv, "a quote is within a field",
				"put the whole field in quotes, and double those in it");
	if (!bytes[at])
		return bad_here(csv, NUL_BYTE, WRITE_TEXT);
	csv->at++;
	if (bytes[at] == '\n')
		return end_line(csv);
	csv->state = bytes[at] == ',' ? STATE_FIELD : STATE_RETURN;
	return bytes[at] == ',' ? end_field(csv) : CSV_MORE;
}

static enum csv_result in_quoted(struct csv *csv)
{
	const unsigned char *bytes = csv->bytes;
	size_t begin = csv->at, at = begin;
	unsigned char high = 0;
	enum csv_result result;

	while (at < csv->size && bytes[at] && bytes[at] != '\n' && bytes[at] != '"')
		high |= bytes[at++];
	csv->has_high |= high >> 7;
	csv->at = at;
	result = append(csv, bytes + begin, at - begin);
	if (result != CSV_MORE || at == csv->size)
		return result;
	if (!bytes[at])
		return bad_here(csv, NUL_BYTE, WRITE_TEXT);
	csv->at++;
	if (bytes[at] == '"') {
		csv->state = STATE_QUOTE;
		return CSV_MORE;
	}
	next_line(csv);
	return append(csv, bytes + at, 1);
}

static enum csv_result behind_quote(struct csv *csv)
{
	unsigned char byte = csv->bytes[csv->at];

	if (byte != '"' && byte != ',' && byte != '\n' && byte != '\r')
		return bad_here(csv, "there is text behind a closing quote",
				"put the whole field in quotes, and double those in it");
	csv->at++;
	switch (byte) {
	case '"':
		csv->state = STATE_QUOTED;
		return append(csv, &byte, 1);
	case ',':
		csv->state = STATE_FIELD;
		return end_field(csv);
	case '\n':
		return end_line(csv);
	default:
		csv->state = STATE_RETURN;
		return CSV_MORE;
	}
}

static enum csv_result behind_return(struct csv *csv)
{
	bool is_empty = csv->state == STATE_EMPTY_RETURN;

	if (csv->is_at_end || csv->bytes[csv->at] != '\n')
		return bad(csv, csv->line, column_of(csv) - 1,
			   "there is a carriage return without a line feed",
			   "end lines with CRLF or LF, or put the field in quotes");
	csv->at++;
	if (!is_empty)
		return end_line(csv);
	next_line(csv);
	csv->state = STATE_RECORD;
	return CSV_MORE;
}

static enum csv_result skip(struct csv *csv)
{
	const unsigned char *begin = csv->bytes + csv->at;
	const unsigned char *end = memchr(begin, '\n', csv->size - csv->at);
	size_t size = end ? (size_t)(end - begin) + 1 : csv->size - csv->at;

	csv->at += size;
	csv->skipped += size;
	if (csv->skipped > CSV_RECORD_MAX) {
		csv->problem.what = "a bad line is longer than 1 MiB";
		csv->problem.hint = "look at it: is its end missing";
		csv->state = STATE_BROKEN;
		return CSV_BROKEN;
	}
	if (end) {
		next_line(csv);
		csv->state = STATE_RECORD;
	}
	return CSV_MORE;
}

static enum csv_result take(struct csv *csv)
{
	switch (csv->state) {
	case STATE_MARK:
		return at_mark(csv);
	case STATE_RECORD:
		return at_record(csv);
	case STATE_FIELD:
		return at_field(csv);
	case STATE_PLAIN:
		return in_plain(csv);
	case STATE_QUOTED:
		return in_quoted(csv);
	case STATE_QUOTE:
		return behind_quote(csv);
	case STATE_EMPTY_RETURN:
	case STATE_RETURN:
		return behind_return(csv);
	default:
		return skip(csv);
	}
}

/* The last line needs no line feed. */
static enum csv_result at_end(struct csv *csv)
{
	enum csv_result result;

	switch (csv->state) {
	case STATE_MARK:
		csv->state = STATE_END;
		if (!csv->marked)
			return CSV_END;
		return bad(csv, 1, 1, NO_UTF8, WRITE_TEXT);
	case STATE_FIELD:
		result = begin_field(csv);
		return result == CSV_MORE ? end_record(csv) : result;
	case STATE_PLAIN:
	case STATE_QUOTE:
		return end_record(csv);
	case STATE_QUOTED:
		return broken(csv, &csv->fields[csv->count], "the quote of a field is never closed",
			      "close it");
	case STATE_EMPTY_RETURN:
	case STATE_RETURN:
		return behind_return(csv);
	default:
		csv->state = STATE_END;
		return CSV_END;
	}
}

enum csv_result csv_next(struct csv *csv, struct csv_record *record, struct csv_problem *problem)
{
	enum csv_result result = CSV_MORE;

	if (csv->state == STATE_BROKEN)
		result = CSV_BROKEN;
	else if (csv->is_at_end)
		result = at_end(csv);
	while (result == CSV_MORE && csv->at < csv->size)
		result = take(csv);
	*record = (struct csv_record){csv->fields, csv->count};
	*problem = csv->problem;
	return result;
}
