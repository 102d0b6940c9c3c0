// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table as it was is clients_before while its successor is written. A column whose type grows
 * is converted by the query that reads the old rows.
 */
#include "store/rewrite.h"

#include "store/batch.h"
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ATTEMPT "change the catalogue"
#define NONE	SIZE_MAX

/* Where a column of the new table comes from. */
struct source {
	size_t old, coming; /* indices there, or NONE */
};

struct rewrite {
	struct store *store;
	const struct rewrite_columns *columns;
	bool replace;
	struct batch *batch;
	sqlite3_stmt *old;	/* rows that there were: key, columns */
	const uint8_t *old_key; /* of the next of them; NULL: there is none */
	struct source *sources;
	size_t count; /* of columns of the new table */
	size_t *gone; /* columns of the old one that the new one has not */
	size_t gone_count;
	struct attribute_value *row;
	struct attribute_counts counts;
};

static int out_of_memory(struct store *store, struct errors *errors)
{
	return errors_add_code(errors, ENOMEM, store->directory, "free some memory",
			       "cannot write: out of memory");
}

/* ---- the old rows ---- */

static const struct attribute *coming_column(const struct rewrite_columns *columns,
					     const char *name)
{
	for (size_t i = 0; i < columns->count; i++)
		if (!strcasecmp(columns->attributes[i].name, name))
			return &columns->attributes[i];
	return NULL;
}

/* No type is ever made narrower: where the file replaces a wider one, the values differ. */
static char *old_sql(const struct rewrite_columns *columns)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);

	sqlite3_str_appendall(sql, "SELECT client");
	for (size_t i = 0; i < columns->names_count; i++) {
		const char *name = columns->names[i];
		const struct attribute *attribute = coming_column(columns, name);

		if (attribute && attribute->type == ATTRIBUTE_REAL)
			sqlite3_str_appendf(sql,
					    ", CASE typeof(\"%w\") WHEN 'integer' THEN"
					    " CAST(\"%w\" AS REAL) ELSE \"%w\" END",
					    name, name, name);
		else if (attribute && attribute->type == ATTRIBUTE_TEXT)
			sqlite3_str_appendf(sql, ", CAST(\"%w\" AS TEXT)", name);
		else
			sqlite3_str_appendf(sql, ", \"%w\"", name);
	}
	sqlite3_str_appendall(sql, " FROM clients_before ORDER BY client");
	return sqlite3_str_finish(sql);
}

static int next_old(struct rewrite *rewrite, struct errors *errors)
{
	int result = sqlite3_step(rewrite->old);

	rewrite->old_key = NULL;
	if (result == SQLITE_DONE)
		return 0;
	if (result != SQLITE_ROW)
		return sql_error(rewrite->store, "read the catalogue", errors);
	if (sqlite3_column_bytes(rewrite->old, 0) != CLIENT_KEY_SIZE)
		return errors_add_code(errors, EUCLEAN, rewrite->store->directory,
				       "bring state.db back from a backup",
				       "the catalogue has a client that is none");
	rewrite->old_key = sqlite3_column_blob(rewrite->old, 0);
	rewrite->counts.before++;
	return 0;
}

static struct attribute_value old_value(const struct rewrite *rewrite, size_t column)
{
	struct attribute_value value = {.type = ATTRIBUTE_EMPTY};
	int place = (int)column + 1;

	switch (sqlite3_column_type(rewrite->old, place)) {
	case SQLITE_INTEGER:
		value.type = ATTRIBUTE_INTEGER;
		value.integer = sqlite3_column_int64(rewrite->old, place);
		break;
	case SQLITE_FLOAT:
		value.type = ATTRIBUTE_REAL;
		value.real = sqlite3_column_double(rewrite->old, place);
		break;
	case SQLITE_TEXT:
		value.type = ATTRIBUTE_TEXT;
		value.text = (const char *)sqlite3_column_text(rewrite->old, place);
		value.length = (uint32_t)sqlite3_column_bytes(rewrite->old, place);
		break;
	}
	return value;
}

static bool is_equal(const struct attribute_value *a, const struct attribute_value *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case ATTRIBUTE_INTEGER:
		return a->integer == b->integer;
	case ATTRIBUTE_REAL:
		return a->real == b->real;
	case ATTRIBUTE_TEXT:
		return a->length == b->length && !memcmp(a->text, b->text, a->length);
	default:
		return true;
	}
}

/* Does the client that comes differ from the old row, which is its own? */
static bool differs(const struct rewrite *rewrite, const struct attribute_value *coming)
{
	struct attribute_value value;

	for (size_t i = 0; i < rewrite->count; i++) {
		const struct source *source = &rewrite->sources[i];

		if (source->coming == NONE)
			continue;
		value = (struct attribute_value){.type = ATTRIBUTE_EMPTY};
		if (source->old != NONE)
			value = old_value(rewrite, source->old);
		if (!is_equal(&value, &coming[source->coming]))
			return true;
	}
	for (size_t i = 0; i < rewrite->gone_count; i++) {
		value = old_value(rewrite, rewrite->gone[i]);
		if (value.type != ATTRIBUTE_EMPTY)
			return true;
	}
	return false;
}

/* ---- rows of the new table ---- */

/* Texts of the old row, which end with it, to where they stay. */
static int keep_texts(struct rewrite *rewrite, const struct attribute_value *coming,
		      struct errors *errors)
{
	size_t size = 0;
	char *room;
	int error;

	for (size_t i = 0; i < rewrite->count; i++)
		if ((!coming || rewrite->sources[i].coming == NONE) &&
		    rewrite->row[i].type == ATTRIBUTE_TEXT)
			size += rewrite->row[i].length;
	error = size ? batch_room(rewrite->batch, size, &room, errors) : 0;
	for (size_t i = 0; i < rewrite->count && size && !error; i++) {
		struct attribute_value *value = &rewrite->row[i];

		if ((coming && rewrite->sources[i].coming != NONE) || value->type != ATTRIBUTE_TEXT)
			continue;
		memcpy(room, value->text, value->length);
		value->text = room;
		room += value->length;
	}
	return error;
}

/* @coming NULL: the old row as it is. @has_old: the old row is of this client. */
static int write_row(struct rewrite *rewrite, const uint8_t key[CLIENT_KEY_SIZE],
		     const struct attribute_value *coming, bool has_old, struct errors *errors)
{
	int error = 0;

	for (size_t i = 0; i < rewrite->count; i++) {
		const struct source *source = &rewrite->sources[i];

		if (coming && source->coming != NONE)
			rewrite->row[i] = coming[source->coming];
		else if (has_old && source->old != NONE)
			rewrite->row[i] = old_value(rewrite, source->old);
		else
			rewrite->row[i] = (struct attribute_value){.type = ATTRIBUTE_EMPTY};
	}
	if (has_old)
		error = keep_texts(rewrite, coming, errors);
	if (!error)
		error = batch_add(rewrite->batch, key, rewrite->row, errors);
	rewrite->counts.after++;
	return error;
}

/* Clients before @key (NULL: all), which do not come. */
static int pass_old(struct rewrite *rewrite, const uint8_t *key, struct errors *errors)
{
	int error = 0;

	while (!error && rewrite->old_key &&
	       (!key || memcmp(rewrite->old_key, key, CLIENT_KEY_SIZE) < 0)) {
		if (rewrite->replace)
			rewrite->counts.removed++;
		else
			error = write_row(rewrite, rewrite->old_key, NULL, true, errors);
		if (!error)
			error = next_old(rewrite, errors);
	}
	return error;
}

int rewrite_write(struct rewrite *rewrite, const uint8_t key[CLIENT_KEY_SIZE],
		  const struct attribute_value *values, struct errors *errors)
{
	int error = pass_old(rewrite, key, errors);
	bool has_old;

	if (error)
		return error;
	has_old = rewrite->old_key && !memcmp(rewrite->old_key, key, CLIENT_KEY_SIZE);
	if (!has_old)
		rewrite->counts.added++;
	else
		rewrite->counts.updated += differs(rewrite, values);
	error = write_row(rewrite, key, values, has_old, errors);
	return error || !has_old ? error : next_old(rewrite, errors);
}

/* ---- beginning and end ---- */

static size_t index_among(const char *name, char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcasecmp(names[i], name))
			return i;
	return NONE;
}

/* The columns that there were, unless they go, then those that are new. */
static void lay_out(struct rewrite *rewrite, const char **names)
{
	const struct rewrite_columns *columns = rewrite->columns;
	const struct attribute *attribute;

	for (size_t i = 0; i < columns->names_count; i++) {
		attribute = coming_column(columns, columns->names[i]);
		if (rewrite->replace) {
			if (!attribute)
				rewrite->gone[rewrite->gone_count++] = i;
			continue;
		}
		names[rewrite->count] = columns->names[i];
		rewrite->sources[rewrite->count++] = (struct source){
			i, attribute ? (size_t)(attribute - columns->attributes) : NONE};
	}
	for (size_t i = 0; i < columns->count; i++) {
		const char *name = columns->attributes[i].name;
		size_t old = index_among(name, columns->names, columns->names_count);

		if (!rewrite->replace && old != NONE)
			continue;
		names[rewrite->count] = name;
		rewrite->sources[rewrite->count++] = (struct source){old, i};
	}
}

/* @sql NULL: there was no memory for it. Takes it over. */
static int execute(struct rewrite *rewrite, char *sql, struct errors *errors)
{
	int error = sql ? sql_execute(rewrite->store, sql, ATTEMPT, errors)
			: out_of_memory(rewrite->store, errors);

	sqlite3_free(sql);
	return error;
}

static int make_table(struct rewrite *rewrite, const char **names, struct errors *errors)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);

	sqlite3_str_appendall(sql, "ALTER TABLE clients RENAME TO clients_before;"
				   "CREATE TABLE clients (client BLOB NOT NULL PRIMARY KEY");
	for (size_t i = 0; i < rewrite->count; i++)
		sqlite3_str_appendf(sql, ", \"%w\"", names[i]);
	sqlite3_str_appendall(sql, ") WITHOUT ROWID;");
	return execute(rewrite, sqlite3_str_finish(sql), errors);
}

static int open_old(struct rewrite *rewrite, struct errors *errors)
{
	char *sql = old_sql(rewrite->columns);
	int result;

	if (!sql)
		return out_of_memory(rewrite->store, errors);
	result = sqlite3_prepare_v2(rewrite->store->database, sql, -1, &rewrite->old, NULL);
	sqlite3_free(sql);
	if (result != SQLITE_OK)
		return sql_error(rewrite->store, "read the catalogue", errors);
	return next_old(rewrite, errors);
}

static int begin(struct rewrite *rewrite, struct errors *errors)
{
	size_t most = rewrite->columns->count + rewrite->columns->names_count;
	const char **names = calloc(most + 1, sizeof(*names));
	int error;

	rewrite->sources = calloc(most + 1, sizeof(*rewrite->sources));
	rewrite->gone = calloc(most + 1, sizeof(*rewrite->gone));
	rewrite->row = calloc(most + 1, sizeof(*rewrite->row));
	if (!names || !rewrite->sources || !rewrite->gone || !rewrite->row) {
		free(names);
		return out_of_memory(rewrite->store, errors);
	}
	lay_out(rewrite, names);
	error = make_table(rewrite, names, errors);
	if (!error)
		error = open_old(rewrite, errors);
	if (!error)
		error = batch_begin(rewrite->store, names, rewrite->count, "", &rewrite->batch,
				    errors);
	free(names);
	return error;
}

int rewrite_begin(struct store *store, const struct rewrite_columns *columns, bool replace,
		  struct rewrite **out, struct errors *errors)
{
	struct rewrite *rewrite = calloc(1, sizeof(*rewrite));
	int error;

	if (!rewrite)
		return out_of_memory(store, errors);
	rewrite->store = store;
	rewrite->columns = columns;
	rewrite->replace = replace;
	error = begin(rewrite, errors);
	if (error)
		rewrite_free(rewrite);
	else
		*out = rewrite;
	return error;
}

int rewrite_end(struct rewrite *rewrite, struct attribute_counts *counts, struct errors *errors)
{
	int error = pass_old(rewrite, NULL, errors);

	if (!error)
		error = batch_flush(rewrite->batch, errors);
	/*
	 * A table that is read cannot go. Debian's SQLite would write zeros to all its pages; FAST
	 * leaves those that need not be written to be overwritten by the next table.
	 */
	sqlite3_finalize(rewrite->old);
	rewrite->old = NULL;
	if (!error)
		error = sql_execute(rewrite->store,
				    "PRAGMA secure_delete = FAST; DROP TABLE clients_before",
				    ATTEMPT, errors);
	*counts = rewrite->counts;
	return error;
}

void rewrite_free(struct rewrite *rewrite)
{
	if (!rewrite)
		return;
	sqlite3_finalize(rewrite->old);
	batch_free(rewrite->batch);
	free(rewrite->sources);
	free(rewrite->gone);
	free(rewrite->row);
	free(rewrite);
}
