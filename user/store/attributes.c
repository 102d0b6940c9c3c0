// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which columns the table has and of which types, and in which of two ways rows are written: a file
 * of many clients is written into a new table, together with what the old one has; of few, each is
 * inserted, or changed where it is there and differs.
 */
#include "store/attributes.h"

#include "catalogue/catalogue.h"
#include "store/batch.h"
#include "store/client_key.h"
#include "store/rewrite.h"
#include "store/rows.h"
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ATTEMPT "change the catalogue"

/* From here on doubles have no neighbours of 1: a larger integer may be none. */
#define EXACT_MAX "9007199254740992"

/* Changing a row costs half as much again as writing it anew, but only those that come are touched.
 */
#define REWRITTEN_FROM 2 /* a file has at least one of so many clients of the table */

struct attribute_writer {
	struct store *store;
	struct rewrite *rewrite; /* of many rows, */
	struct batch *batch;	 /* or of few */
	struct rewrite_columns columns;
	char **names; /* of the columns that there were */
	size_t names_count;
	uint64_t before;	/* clients that there were */
	int64_t changes_before; /* of the connection, when the first row was written */
};

const char *attribute_type_name(enum attribute_type type)
{
	static const char *const names[] = {NULL, "INTEGER", "REAL", "TEXT"};

	return names[type];
}

/* ---- SQL ---- */

static int out_of_memory(struct store *store, struct errors *errors)
{
	return errors_add_code(errors, ENOMEM, store->directory, "free some memory",
			       "cannot write: out of memory");
}

/* @sql NULL: there was no memory for it. Takes it over. */
static int execute(struct store *store, char *sql, struct errors *errors)
{
	int error = sql ? sql_execute(store, sql, ATTEMPT, errors) : out_of_memory(store, errors);

	sqlite3_free(sql);
	return error;
}

/* The first column of the only row, 0 where there is none. Takes @sql over. */
static int read_number(struct store *store, char *sql, uint64_t *out, struct errors *errors)
{
	sqlite3_stmt *statement = NULL;
	int result;

	*out = 0;
	if (!sql)
		return out_of_memory(store, errors);
	result = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);
	sqlite3_free(sql);
	if (result == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
		*out = sql_number(statement, 0);
	if (sqlite3_finalize(statement) != SQLITE_OK || result != SQLITE_OK)
		return sql_error(store, "read the catalogue", errors);
	return 0;
}

/* ---- the columns ---- */

static bool is_there(const struct attribute_writer *writer, const char *name)
{
	for (size_t i = 0; i < writer->names_count; i++)
		if (!strcasecmp(writer->names[i], name))
			return true;
	return false;
}

/* All values that are not NULL have the same type. */
static int type_of_column(struct attribute_writer *writer, const char *name,
			  enum attribute_type *out, struct errors *errors)
{
	uint64_t type;
	int error = read_number(writer->store,
				sqlite3_mprintf("SELECT CASE typeof(\"%w\") WHEN 'integer' THEN %d"
						" WHEN 'real' THEN %d ELSE %d END FROM clients"
						" WHERE \"%w\" IS NOT NULL LIMIT 1",
						name, ATTRIBUTE_INTEGER, ATTRIBUTE_REAL,
						ATTRIBUTE_TEXT, name),
				&type, errors);

	*out = (enum attribute_type)type;
	return error;
}

static int has_large(struct attribute_writer *writer, const char *name, bool *out,
		     struct errors *errors)
{
	uint64_t found;
	int error = read_number(writer->store,
				sqlite3_mprintf("SELECT 1 FROM clients WHERE \"%w\" NOT BETWEEN"
						" -" EXACT_MAX " AND " EXACT_MAX " LIMIT 1",
						name),
				&found, errors);

	*out = found;
	return error;
}

/* What the column has to be with the values that it has, of type *@now, and those that come. */
static int decide_type(struct attribute_writer *writer, struct attribute *attribute,
		       enum attribute_type *now, struct errors *errors)
{
	bool large = attribute->has_large;
	int error = type_of_column(writer, attribute->name, now, errors);

	if (error)
		return error;
	if (*now > attribute->type)
		attribute->type = *now;
	if (attribute->type == ATTRIBUTE_REAL && *now == ATTRIBUTE_INTEGER)
		error = has_large(writer, attribute->name, &large, errors);
	if (attribute->type == ATTRIBUTE_REAL && large)
		attribute->type = ATTRIBUTE_TEXT;
	return error;
}

static int convert_column(struct attribute_writer *writer, const struct attribute *attribute,
			  struct errors *errors)
{
	return execute(writer->store,
		       sqlite3_mprintf("UPDATE clients SET \"%w\" = CAST(\"%w\" AS %s)"
				       " WHERE \"%w\" IS NOT NULL",
				       attribute->name, attribute->name,
				       attribute_type_name(attribute->type), attribute->name),
		       errors);
}

/* @in_place: the table is to be changed, and not written anew. */
static int fit_columns(struct attribute_writer *writer, struct attribute *attributes, size_t count,
		       bool in_place, struct errors *errors)
{
	int error = 0;

	for (size_t i = 0; i < count && !error; i++) {
		struct attribute *attribute = &attributes[i];
		enum attribute_type now;

		if (is_there(writer, attribute->name)) {
			error = decide_type(writer, attribute, &now, errors);
			if (!error && in_place && now && now != attribute->type)
				error = convert_column(writer, attribute, errors);
		} else if (in_place) {
			error = execute(writer->store,
					sqlite3_mprintf("ALTER TABLE clients ADD COLUMN \"%w\"",
							attribute->name),
					errors);
		}
	}
	return error;
}

static int check_room(const struct attribute_writer *writer, const struct attribute *attributes,
		      size_t count, struct errors *errors)
{
	size_t columns = writer->names_count;

	for (size_t i = 0; i < count; i++)
		columns += !is_there(writer, attributes[i].name);
	if (columns <= ATTRIBUTES_MAX)
		return 0;
	return errors_add_code(errors, ENOSPC, "catalogue",
			       "leave columns out, or drop those that it has with --replace",
			       "it would have %zu columns, and %d is the most", columns,
			       (int)ATTRIBUTES_MAX);
}

/* ---- few rows ---- */

static char *conflict_sql(const struct attribute *attributes, size_t count)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);
	size_t i;

	sqlite3_str_appendall(sql, "ON CONFLICT (client) DO ");
	for (i = 0; i < count; i++)
		sqlite3_str_appendf(sql, "%s \"%w\" = excluded.\"%w\"", i ? "," : "UPDATE SET",
				    attributes[i].name, attributes[i].name);
	for (i = 0; i < count; i++)
		sqlite3_str_appendf(sql, "%s \"%w\"", i ? "," : " WHERE (", attributes[i].name);
	for (i = 0; i < count; i++)
		sqlite3_str_appendf(sql, "%s excluded.\"%w\"", i ? "," : ") IS NOT (",
				    attributes[i].name);
	sqlite3_str_appendall(sql, count ? ")" : "NOTHING");
	return sqlite3_str_finish(sql);
}

static int begin_changing(struct attribute_writer *writer, struct errors *errors)
{
	size_t count = writer->columns.count;
	char *conflict = conflict_sql(writer->columns.attributes, count);
	const char **names = calloc(count + 1, sizeof(*names));
	int error = conflict && names ? 0 : out_of_memory(writer->store, errors);

	for (size_t i = 0; i < count && !error; i++)
		names[i] = writer->columns.attributes[i].name;
	if (!error)
		error = batch_begin(writer->store, names, count, conflict, &writer->batch, errors);
	writer->changes_before = sqlite3_total_changes64(writer->store->database);
	sqlite3_free(conflict);
	free(names);
	return error;
}

static int end_changing(struct attribute_writer *writer, struct attribute_counts *counts,
			struct errors *errors)
{
	int error = batch_flush(writer->batch, errors);
	int64_t changes = sqlite3_total_changes64(writer->store->database) - writer->changes_before;

	*counts = (struct attribute_counts){.before = writer->before};
	if (!error)
		error = store_clients_count(writer->store, &counts->after, errors);
	counts->added = counts->after - counts->before;
	counts->updated = (uint64_t)changes - counts->added;
	return error;
}

/* ---- the writer ---- */

static int begin(struct attribute_writer *writer, struct attribute *attributes, size_t count,
		 uint64_t rows, bool replace, struct errors *errors)
{
	struct store *store = writer->store;
	int error = sql_begin(store, errors);
	bool rewrites;

	if (!error)
		error = store_attributes(store, &writer->names, &writer->names_count, errors);
	if (!error)
		error = store_clients_count(store, &writer->before, errors);
	if (error)
		return error;
	rewrites = replace || rows >= writer->before / REWRITTEN_FROM;
	if (!replace)
		error = check_room(writer, attributes, count, errors);
	if (!error && !replace)
		error = fit_columns(writer, attributes, count, !rewrites, errors);
	if (error)
		return error;
	writer->columns =
		(struct rewrite_columns){attributes, count, writer->names, writer->names_count};
	if (rewrites)
		return rewrite_begin(store, &writer->columns, replace, &writer->rewrite, errors);
	return begin_changing(writer, errors);
}

static void release(struct attribute_writer *writer)
{
	rewrite_free(writer->rewrite);
	batch_free(writer->batch);
	catalogue_columns_release(writer->names, writer->names_count);
	free(writer);
}

int attributes_begin(struct store *store, struct attribute *attributes, size_t count, uint64_t rows,
		     bool replace, struct attribute_writer **out, struct errors *errors)
{
	struct attribute_writer *writer = calloc(1, sizeof(*writer));
	int error;

	if (!writer)
		return out_of_memory(store, errors);
	writer->store = store;
	error = begin(writer, attributes, count, rows, replace, errors);
	if (error)
		release(writer);
	else
		*out = writer;
	return error;
}

int attributes_write(struct attribute_writer *writer, const struct member *client,
		     const struct attribute_value *values, struct errors *errors)
{
	uint8_t key[CLIENT_KEY_SIZE];

	client_key_of(client, key);
	return writer->rewrite ? rewrite_write(writer->rewrite, key, values, errors)
			       : batch_add(writer->batch, key, values, errors);
}

int attributes_end(struct attribute_writer *writer, struct attribute_counts *counts,
		   struct errors *errors)
{
	int error = 0;

	if (!writer)
		return 0;
	if (counts)
		error = writer->rewrite ? rewrite_end(writer->rewrite, counts, errors)
					: end_changing(writer, counts, errors);
	release(writer);
	return error;
}
