// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes at all as a CSV of clients. However they are cut into pieces, the same is read of them;
 * what is read is UTF-8 without NUL, and reads the same when it is written again. What an import
 * takes of them is sorted, has no client twice, and each value has the type of its column. Build
 * with clang -fsanitize=fuzzer,address,undefined.
 */
#include "catalogue/cell.h"
#include "catalogue/import.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

struct text {
	char *bytes;
	size_t size;
	FILE *stream;
};

static void open_text(struct text *text)
{
	text->stream = open_memstream(&text->bytes, &text->size);
	require(text->stream);
}

static void release(struct text *text)
{
	free(text->bytes);
}

/* ---- the parser ---- */

/* What was read, as a text of all there is to know; and the records alone, as a CSV. */
struct reading {
	struct text events, again;
	size_t problems;
};

static void note_record(struct reading *reading, const struct csv_record *record)
{
	require(record->count >= 1 && record->count <= CSV_FIELDS_MAX);
	for (size_t i = 0; i < record->count; i++) {
		const struct csv_field *field = &record->fields[i];

		require(!field->text[field->length] && strlen(field->text) == field->length);
		require(field->line >= 1 && field->column >= 1);
		fprintf(reading->events.stream, "%" PRIu64 ":%" PRIu32 " %s\n", field->line,
			field->column, field->text);
		fputs(i ? ",\"" : "\"", reading->again.stream);
		for (const char *at = field->text; *at; at++) {
			if (*at == '"')
				fputc('"', reading->again.stream);
			fputc(*at, reading->again.stream);
		}
		fputc('"', reading->again.stream);
	}
	fputs("\r\n", reading->again.stream);
	fputs("end\n", reading->events.stream);
}

static void read_csv(struct reading *reading, const uint8_t *data, size_t size, size_t piece)
{
	struct csv *csv = csv_new();
	enum csv_result result = CSV_MORE;
	struct csv_problem problem;
	struct csv_record record;
	size_t at = 0, part;

	require(csv);
	open_text(&reading->events);
	open_text(&reading->again);
	reading->problems = 0;
	while (result != CSV_END && result != CSV_BROKEN) {
		part = piece < size - at ? piece : size - at;
		csv_feed(csv, data + at, part);
		at += part;
		while ((result = csv_next(csv, &record, &problem)) != CSV_MORE) {
			if (result == CSV_END || result == CSV_BROKEN)
				break;
			if (result == CSV_RECORD)
				note_record(reading, &record);
			if (result != CSV_BAD)
				continue;
			reading->problems++;
			fprintf(reading->events.stream, "bad %" PRIu64 ":%" PRIu32 " %s\n",
				problem.line, problem.column, problem.what);
		}
	}
	if (result == CSV_BROKEN) {
		reading->problems++;
		fprintf(reading->events.stream, "broken %" PRIu64 ":%" PRIu32 " %s\n", problem.line,
			problem.column, problem.what);
	}
	csv_free(csv);
	fclose(reading->events.stream);
	fclose(reading->again.stream);
}

static void check_parser(const uint8_t *data, size_t size, size_t piece)
{
	struct reading whole, pieces, again;

	read_csv(&whole, data, size, size ? size : 1);
	read_csv(&pieces, data, size, piece);
	require(whole.events.size == pieces.events.size);
	require(!memcmp(whole.events.bytes, pieces.events.bytes, whole.events.size));
	read_csv(&again, (const uint8_t *)whole.again.bytes, whole.again.size, piece);
	require(!again.problems);
	require(again.again.size == whole.again.size);
	require(!memcmp(again.again.bytes, whole.again.bytes, whole.again.size));
	release(&whole.events);
	release(&whole.again);
	release(&pieces.events);
	release(&pieces.again);
	release(&again.events);
	release(&again.again);
}

/* ---- the import ---- */

static void check_value(const struct attribute_value *value, enum attribute_type type)
{
	char text[32];

	require(value->type == type || value->type == ATTRIBUTE_EMPTY);
	require((value->type == ATTRIBUTE_EMPTY) == !value->length);
	if (value->type == ATTRIBUTE_INTEGER) {
		snprintf(text, sizeof(text), "%" PRId64, value->integer);
		require(!strcmp(text, value->text));
	} else if (value->type == ATTRIBUTE_REAL) {
		require(value->real == strtod(value->text, NULL));
	}
}

static void check_sheet(const struct import *import, const struct client_form *form)
{
	const struct sheet *sheet = &import->sheet;
	struct attribute_value *values = calloc(sheet->columns + 1, sizeof(*values));
	struct member before = {0};

	require(values && sheet->count + import->repeated == import->rows);
	for (size_t i = 0; i < sheet->count; i++) {
		struct member client = sheet_client(&sheet->rows[i]);
		struct prefix prefix = member_prefix(&client);

		require(prefix.length ==
			(prefix.address.family == 4 ? form->prefix4 : form->prefix6));
		require(!i || member_compare(&before, &client) < 0);
		before = client;
		sheet_values(sheet, i, values);
		for (size_t j = 0; j < sheet->columns; j++)
			check_value(&values[j], sheet->attributes[j].type);
	}
	free(values);
}

static void check_import(const char *path, bool skip_bad)
{
	struct import_request request = {
		.file = path, .form = {.prefix4 = 24, .prefix6 = 56}, .skip_bad = skip_bad};
	struct errors *errors = errors_new();
	struct import import;
	int error = import_read(&request, &import, errors);

	require((error != 0) == (errors_count(errors) > 0));
	require(skip_bad || error || !import.bad);
	if (!error)
		check_sheet(&import, &request.form);
	import_release(&import);
	errors_free(errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int file = memfd_create("input.csv", MFD_CLOEXEC);
	char path[64];

	if (!size)
		return 0;
	check_parser(data + 1, size - 1, data[0] + 1u);
	require(file >= 0 && write(file, data + 1, size - 1) == (ssize_t)size - 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	check_import(path, false);
	check_import(path, true);
	close(file);
	return 0;
}
