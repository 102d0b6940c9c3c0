// SPDX-License-Identifier: GPL-2.0-only
#include "store/batch.h"

#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_AT_ONCE 16
#define TEXTS_SIZE   65536 /* bytes to begin with */

struct batch {
	struct store *store;
	sqlite3_stmt *many, *one; /* of ROWS_AT_ONCE rows, and of one: for those left at the end */
	size_t count;		  /* of columns */
	size_t waiting;		  /* rows that no statement has written yet */
	uint8_t keys[ROWS_AT_ONCE][CLIENT_KEY_SIZE];
	struct attribute_value *values; /* of those rows */
	char *texts;			/* batch_room() */
	size_t texts_used, texts_size;
};

static int out_of_memory(struct store *store, struct errors *errors)
{
	return errors_add_code(errors, ENOMEM, store->directory, "free some memory",
			       "cannot write: out of memory");
}

static void append_row(sqlite3_str *sql, size_t columns)
{
	sqlite3_str_appendall(sql, "(?");
	for (size_t i = 0; i < columns; i++)
		sqlite3_str_appendall(sql, ", ?");
	sqlite3_str_appendall(sql, ")");
}

static int prepare(struct batch *batch, const char *const *columns, const char *conflict,
		   size_t rows, sqlite3_stmt **out, struct errors *errors)
{
	sqlite3_str *text = sqlite3_str_new(NULL);
	char *sql;
	int result;

	sqlite3_str_appendall(text, "INSERT INTO clients (client");
	for (size_t i = 0; i < batch->count; i++)
		sqlite3_str_appendf(text, ", \"%w\"", columns[i]);
	sqlite3_str_appendall(text, ") VALUES ");
	for (size_t i = 0; i < rows; i++) {
		sqlite3_str_appendall(text, i ? ", " : "");
		append_row(text, batch->count);
	}
	sqlite3_str_appendf(text, " %s", conflict);
	sql = sqlite3_str_finish(text);
	if (!sql)
		return out_of_memory(batch->store, errors);
	result = sqlite3_prepare_v3(batch->store->database, sql, -1, SQLITE_PREPARE_PERSISTENT, out,
				    NULL);
	sqlite3_free(sql);
	return result == SQLITE_OK ? 0 : sql_error(batch->store, "change the catalogue", errors);
}

int batch_begin(struct store *store, const char *const *columns, size_t count, const char *conflict,
		struct batch **out, struct errors *errors)
{
	struct batch *batch = calloc(1, sizeof(*batch));
	int error = 0;

	if (!batch)
		return out_of_memory(store, errors);
	batch->store = store;
	batch->count = count;
	batch->texts_size = TEXTS_SIZE;
	batch->texts = malloc(batch->texts_size);
	batch->values = calloc(ROWS_AT_ONCE * count + 1, sizeof(*batch->values));
	if (!batch->texts || !batch->values)
		error = out_of_memory(store, errors);
	if (!error)
		error = prepare(batch, columns, conflict, ROWS_AT_ONCE, &batch->many, errors);
	if (!error)
		error = prepare(batch, columns, conflict, 1, &batch->one, errors);
	if (error)
		batch_free(batch);
	else
		*out = batch;
	return error;
}

/* The types of values are those of SQLite: the column has none to convert them to. */
static int bind(sqlite3_stmt *statement, int place, const struct attribute_value *value)
{
	switch (value->type) {
	case ATTRIBUTE_INTEGER:
		return sqlite3_bind_int64(statement, place, value->integer);
	case ATTRIBUTE_REAL:
		return sqlite3_bind_double(statement, place, value->real);
	case ATTRIBUTE_TEXT:
		return sqlite3_bind_text(statement, place, value->text, (int)value->length,
					 SQLITE_STATIC);
	default:
		return sqlite3_bind_null(statement, place);
	}
}

/* The waiting rows @from to @from + @count - 1, which are as many as @statement takes. */
static int run(struct batch *batch, sqlite3_stmt *statement, size_t from, size_t count,
	       struct errors *errors)
{
	const struct attribute_value *value = &batch->values[from * batch->count];
	int result = SQLITE_OK, place = 1;

	for (size_t i = from; i < from + count && result == SQLITE_OK; i++) {
		result = sqlite3_bind_blob(statement, place++, batch->keys[i], CLIENT_KEY_SIZE,
					   SQLITE_STATIC);
		for (size_t j = 0; j < batch->count && result == SQLITE_OK; j++)
			result = bind(statement, place++, value++);
	}
	if (result == SQLITE_OK)
		result = sqlite3_step(statement);
	if (sqlite3_reset(statement) != SQLITE_OK || result != SQLITE_DONE)
		return sql_error(batch->store, "change the catalogue", errors);
	return 0;
}

int batch_flush(struct batch *batch, struct errors *errors)
{
	int error = 0;

	if (batch->waiting == ROWS_AT_ONCE)
		error = run(batch, batch->many, 0, ROWS_AT_ONCE, errors);
	else
		for (size_t i = 0; i < batch->waiting && !error; i++)
			error = run(batch, batch->one, i, 1, errors);
	batch->waiting = 0;
	batch->texts_used = 0;
	return error;
}

int batch_add(struct batch *batch, const uint8_t key[CLIENT_KEY_SIZE],
	      const struct attribute_value *values, struct errors *errors)
{
	memcpy(batch->keys[batch->waiting], key, CLIENT_KEY_SIZE);
	memcpy(&batch->values[batch->waiting * batch->count], values,
	       batch->count * sizeof(*values));
	return ++batch->waiting == ROWS_AT_ONCE ? batch_flush(batch, errors) : 0;
}

int batch_room(struct batch *batch, size_t size, char **out, struct errors *errors)
{
	char *larger;
	int error;

	if (batch->texts_size - batch->texts_used < size) {
		error = batch_flush(batch, errors);
		if (error)
			return error;
	}
	if (batch->texts_size < size) {
		larger = malloc(size);
		if (!larger)
			return out_of_memory(batch->store, errors);
		free(batch->texts);
		batch->texts = larger;
		batch->texts_size = size;
	}
	*out = batch->texts + batch->texts_used;
	batch->texts_used += size;
	return 0;
}

void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	sqlite3_finalize(batch->many);
	sqlite3_finalize(batch->one);
	free(batch->values);
	free(batch->texts);
	free(batch);
}
