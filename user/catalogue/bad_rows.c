// SPDX-License-Identifier: GPL-2.0-only
#include "catalogue/bad_rows.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The index at which a row of this line stands among the kept ones. */
static size_t place_of(const struct bad_rows *rows, uint64_t line)
{
	size_t i = rows->kept;

	while (i && rows->first[i - 1].line > line)
		i--;
	return i;
}

void bad_rows_add(struct bad_rows *rows, uint64_t line, uint32_t column, const char *object,
		  const char *hint, const char *format, ...)
{
	size_t place = place_of(rows, line);
	struct bad_row row = {.line = line, .column = column, .object = object, .hint = hint};
	va_list arguments;

	rows->count++;
	if (place == BAD_SHOWN)
		return;
	va_start(arguments, format);
	if (vasprintf(&row.text, format, arguments) < 0)
		row.text = NULL;
	va_end(arguments);
	if (rows->kept == BAD_SHOWN)
		free(rows->first[--rows->kept].text);
	memmove(&rows->first[place + 1], &rows->first[place], (rows->kept - place) * sizeof(row));
	rows->first[place] = row;
	rows->kept++;
}

void bad_rows_tell(const struct bad_rows *rows, const char *file, bool as_warnings,
		   struct errors *errors)
{
	for (size_t i = 0; i < rows->kept; i++) {
		const struct bad_row *row = &rows->first[i];
		struct position where = {
			.file = file,
			.line = row->line > UINT_MAX ? UINT_MAX : (unsigned int)row->line,
			.column = row->column,
		};

		const char *text = row->text ? row->text : "it is bad";

		if (as_warnings)
			errors_warn(errors, &where, row->object, row->hint, "%s", text);
		else
			errors_add(errors, &where, row->object, row->hint, "%s", text);
	}
	if (rows->count > rows->kept)
		errors_count_more(errors, as_warnings, rows->count - rows->kept);
}

void bad_rows_release(struct bad_rows *rows)
{
	for (size_t i = 0; i < rows->kept; i++)
		free(rows->first[i].text);
	*rows = (struct bad_rows){0};
}
