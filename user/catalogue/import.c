// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading a CSV of clients: each row is judged when it is met, and kept. What only all rows
 * together tell (two of one client, the types of columns) follows at the end.
 *
 * Two rows may become one client, for addresses are cut to the form of the box. Where they say the
 * same, that is no matter, and counted. Where they do not, nobody but the file's owner knows which
 * holds: the later one is a bad row.
 */
#include "catalogue/import.h"

#include "catalogue/bad_rows.h"
#include "catalogue/csv_file.h"
#include "catalogue/features.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TELL_EVERY 4096 /* rows stored */

struct reading {
	const struct import_request *request;
	struct import *import;
	struct errors *errors;
	struct bad_rows bad;
};

static int out_of_memory(struct errors *errors)
{
	return errors_add_code(errors, ENOMEM, "client import", "free some memory",
			       "out of memory");
}

/* ---- the header ---- */

__attribute__((format(printf, 4, 5))) static int refuse_column(struct reading *reading,
							       const struct csv_field *field,
							       const char *hint, const char *format,
							       ...)
{
	struct position where = {reading->request->file, (unsigned int)field->line, field->column};
	va_list arguments;
	char *text;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	errors_add(reading->errors, &where, "header", hint, "%s", text ? text : "it is bad");
	free(text);
	return -EINVAL;
}

static bool has_control(const struct csv_field *field)
{
	for (uint32_t i = 0; i < field->length; i++)
		if ((unsigned char)field->text[i] < ' ' || field->text[i] == 0x7f)
			return true;
	return false;
}

/* SQLite takes columns of these names for the values, even in quotes, where they are of a join. */
static bool is_of_sql(const char *name)
{
	return !strcasecmp(name, "true") || !strcasecmp(name, "false");
}

static bool is_feature(const char *name)
{
	for (size_t i = 0; i < FEATURES_COUNT; i++)
		if (!strcasecmp(name, feature_names[i]))
			return true;
	return false;
}

static int check_name(struct reading *reading, const struct csv_field *fields, size_t index)
{
	const struct csv_field *field = &fields[index];
	const char *name = field->text;

	if (!field->length)
		return refuse_column(reading, field, "name it, or leave it out",
				     "column %zu has no name", index + 1);
	if (field->length > HEADER_MAX)
		return refuse_column(reading, field, "shorten it",
				     "the name of column %zu is longer than %d bytes", index + 1,
				     HEADER_MAX);
	if (has_control(field))
		return refuse_column(reading, field, "write it without",
				     "the name of column %zu has a control character", index + 1);
	if (*name == ' ' || name[field->length - 1] == ' ')
		return refuse_column(reading, field,
				     "leave the space out, here and behind the rows' commas",
				     "the name `%s` begins or ends with a space", name);
	if (is_of_sql(name))
		return refuse_column(reading, field, "name the column otherwise",
				     "`%s` is a value of SQL", name);
	if (!strcasecmp(name, "client") || is_feature(name))
		return refuse_column(reading, field, "name the column otherwise",
				     "`%s` is a name of the catalogue's own", name);
	for (size_t i = 1; i < index; i++)
		if (!strcasecmp(name, fields[i].text))
			return refuse_column(reading, field, "name one of them otherwise",
					     "`%s` is the name of column %zu too", name, i + 1);
	return 0;
}

static int check_header(struct reading *reading, const struct csv_record *record)
{
	struct prefix prefix;
	int error = 0;

	if (!prefix_parse(record->fields[0].text, &prefix))
		return refuse_column(reading, record->fields,
				     "name the columns in the first line, as `client,plan`",
				     "`%s` is a client, and this is the header line",
				     record->fields[0].text);
	if (record->count - 1 > ATTRIBUTES_MAX)
		return refuse_column(reading, &record->fields[ATTRIBUTES_MAX + 1],
				     "leave columns out", "it has more than %d columns",
				     (int)ATTRIBUTES_MAX);
	for (size_t i = 1; i < record->count; i++)
		if (check_name(reading, record->fields, i))
			error = -EINVAL;
	return error;
}

static int take_header(const struct csv_record *record, void *data)
{
	struct reading *reading = data;
	struct sheet *sheet = &reading->import->sheet;
	int error = check_header(reading, record);

	if (error)
		return error;
	sheet->attributes = calloc(record->count, sizeof(*sheet->attributes));
	if (!sheet->attributes)
		return out_of_memory(reading->errors);
	for (size_t i = 1; i < record->count; i++) {
		char *name = strdup(record->fields[i].text);

		if (!name)
			return out_of_memory(reading->errors);
		sheet->attributes[sheet->columns++].name = name;
	}
	return 0;
}

/* ---- rows ---- */

/* The client of a row in the form of the box; false: it is bad, and told. */
static bool take_client(struct reading *reading, const struct csv_field *field, struct member *out)
{
	struct client_form form = reading->request->form;
	struct prefix prefix;
	int error = prefix_parse(field->text, &prefix), length;

	if (error) {
		bad_rows_add(&reading->bad, field->line, field->column, "client",
			     error == -EDOM ? "clear the bits past its length"
					    : "say an address or ADDRESS/LENGTH",
			     "`%.64s` is no client", field->text);
		return false;
	}
	length = prefix.address.family == 4 ? form.prefix4 : form.prefix6;
	if (prefix.length < length) {
		bad_rows_add(&reading->bad, field->line, field->column, "client",
			     "name its clients one by one, or make a segment of it with `cidrs`",
			     "`%s` is wider than the client key of this box, /%d", field->text,
			     length);
		return false;
	}
	prefix = prefix_shorten(&prefix, form.prefix4, form.prefix6);
	*out = member_of(&prefix);
	return true;
}

static int take_row(const struct csv_record *record, void *data)
{
	struct reading *reading = data;
	struct sheet *sheet = &reading->import->sheet;
	struct member client;
	int error;

	if (record->count != sheet->columns + 1) {
		bad_rows_add(&reading->bad, record->fields->line, record->fields->column, "row",
			     "give it one for each column; a comma within a field needs quotes",
			     "it has %zu field%s, and the header has %zu", record->count,
			     record->count == 1 ? "" : "s", sheet->columns + 1);
		return 0;
	}
	if (!take_client(reading, record->fields, &client))
		return 0;
	error = sheet_add(sheet, &client, record);
	if (error == -EFBIG)
		return errors_add_code(reading->errors, EFBIG, reading->request->file,
				       "import it in parts",
				       "its rows take more than %" PRIu64 " MiB of memory",
				       sheet->bytes_max >> 20);
	return error ? out_of_memory(reading->errors) : 0;
}

static int take_problem(const struct csv_problem *problem, bool has_header, bool is_end, void *data)
{
	struct reading *reading = data;
	struct position where = {reading->request->file, (unsigned int)problem->line,
				 problem->column};

	if (!is_end && has_header) {
		bad_rows_add(&reading->bad, problem->line, problem->column, "row", problem->hint,
			     "%s", problem->what);
		return 0;
	}
	bad_rows_tell(&reading->bad, reading->request->file, false, reading->errors);
	bad_rows_release(&reading->bad);
	return errors_add(reading->errors, &where, has_header ? "row" : "header", problem->hint,
			  "%s", problem->what);
}

static void tell(const struct import_progress *progress, const char *doing, uint64_t done,
		 uint64_t total)
{
	if (progress->tell)
		progress->tell(progress->data, doing, done, total);
}

static void tell_read(uint64_t done, uint64_t size, void *data)
{
	const struct reading *reading = data;

	tell(&reading->request->progress, "reading", done, size);
}

static int read_file(struct reading *reading)
{
	const struct csv_file file = {
		.path = reading->request->file,
		.header = take_header,
		.row = take_row,
		.problem = take_problem,
		.progress = tell_read,
		.data = reading,
	};
	int error = csv_read_file(&file, reading->errors);

	if (error == -ENODATA)
		return errors_add(reading->errors, NULL, file.path,
				  "name the columns in the first line, as `client,plan`",
				  "it is empty");
	return error;
}

/* ---- all rows together ---- */

static void tell_of_differing(const struct sheet_row *first, const struct sheet_row *row,
			      void *data)
{
	struct member client = sheet_client(row);
	struct prefix prefix = member_prefix(&client);
	struct reading *reading = data;
	char text[ADDRESS_TEXT_SIZE];

	bad_rows_add(&reading->bad, row->line, 1, "client", "leave one of them out",
		     "%s has other attributes in line %" PRIu64, prefix_format(&prefix, text),
		     (uint64_t)first->line);
}

static int judge(struct reading *reading)
{
	const char *file = reading->request->file;
	struct import *import = reading->import;
	bool skip = reading->request->skip_bad && import->sheet.count;

	import->bad = reading->bad.count;
	if (import->bad && !skip)
		errors_warn(reading->errors, NULL, file,
			    import->sheet.count ? "mend them, or import the rest with --skip-bad"
						: "mend them",
			    "nothing is imported: %" PRIu64 " of its rows %s bad", import->bad,
			    import->bad == 1 ? "is" : "are");
	bad_rows_tell(&reading->bad, file, skip, reading->errors);
	return import->bad && !skip ? -EINVAL : 0;
}

static void finish(struct reading *reading)
{
	struct import *import = reading->import;

	sheet_sort(&import->sheet, &import->repeated, tell_of_differing, reading);
	import->rows = import->sheet.count + import->repeated;
}

int import_read(const struct import_request *request, struct import *out, struct errors *errors)
{
	struct reading reading = {.request = request, .import = out, .errors = errors};
	int error;

	*out = (struct import){0};
	out->sheet.bytes_max = request->bytes_max ? request->bytes_max : SHEET_BYTES_MAX;
	error = read_file(&reading);
	if (!error) {
		finish(&reading);
		error = judge(&reading);
	}
	bad_rows_release(&reading.bad);
	return error;
}

/* ---- storing ---- */

static int store_rows(struct import *import, struct attribute_writer *writer,
		      const struct import_progress *progress, struct errors *errors)
{
	const struct sheet *sheet = &import->sheet;
	struct attribute_value *values = calloc(sheet->columns + 1, sizeof(*values));
	int error = values ? 0 : out_of_memory(errors);

	for (size_t i = 0; i < sheet->count && !error; i++) {
		struct member client = sheet_client(&sheet->rows[i]);

		sheet_values(sheet, i, values);
		error = attributes_write(writer, &client, values, errors);
		if (!(i % TELL_EVERY))
			tell(progress, "storing", i, sheet->count);
	}
	free(values);
	return error;
}

int import_store(struct import *import, struct store *store, bool replace,
		 const struct import_progress *progress, struct attribute_counts *counts,
		 struct errors *errors)
{
	struct attribute_writer *writer = NULL;
	int error = attributes_begin(store, import->sheet.attributes, import->sheet.columns,
				     import->sheet.count, replace, &writer, errors);
	int end_error;

	if (!error)
		error = store_rows(import, writer, progress, errors);
	end_error = attributes_end(writer, error ? NULL : counts, errors);
	return error ? error : end_error;
}

void import_release(struct import *import)
{
	sheet_release(&import->sheet);
}
