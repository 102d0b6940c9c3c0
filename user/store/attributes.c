// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows are written ROWS_AT_ONCE by one statement, which takes half the time of as many statements;
 * those that are left at the end one by one. Into a table without rows, which a table is
 * that is to be replaced, the rows are inserted; into another one they are inserted or, where the
 * client is there and differs, updated. Columns of a table without rows come with the table, for
 * each ALTER TABLE reads the whole schema again.
 */
#include "store/attributes.h"

#include "catalogue/catalogue.h"
#include "store/client_key.h"
#include "store/rows.h"
#include "store/store_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ATTEMPT "change the catalogue"

/* From here on doubles have no neighbours of 1: a larger integer may be none. */
#define EXACT_MAX "9007199254740992"

#define ROWS_AT_ONCE 16

struct attribute_writer {
	struct store *store;
	sqlite3_stmt *many, *one; /* of ROWS_AT_ONCE rows, and of one */
	size_t count;		  /* of columns */
	size_t waiting;		  /* rows that no statement has written yet */
	uint8_t keys[ROWS_AT_ONCE][CLIENT_KEY_SIZE];
	struct attribute_value *values; /* of those rows */
	uint64_t before, rows;		/* clients that there were; rows written */
	int64_t changes_before;		/* of the connection, when the first row was written */
	bool replaces;			/* what there was is in clients_before */
	bool is_empty;			/* the table was, so that every row is new */
	char **names;			/* of the columns that there were */
	size_t names_count;
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

int store_clients_count(struct store *store, uint64_t *count, struct errors *errors)
{
	*count = 0;
	if (!store_has_catalogue(store))
		return 0;
	return read_number(store, sqlite3_mprintf("SELECT count(*) FROM clients"), count, errors);
}

/* ---- the columns ---- */

/* As SQLite compares names. */
static bool is_among(const char *name, char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcasecmp(names[i], name))
			return true;
	return false;
}

static bool is_there(const struct attribute_writer *writer, const char *name)
{
	return is_among(name, writer->names, writer->names_count);
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

/* What the column is with the values that it has and those that come. */
static int widen(struct attribute_writer *writer, struct attribute *attribute,
		 struct errors *errors)
{
	enum attribute_type now, type;
	bool large = attribute->has_large;
	int error = type_of_column(writer, attribute->name, &now, errors);

	if (error)
		return error;
	type = now > attribute->type ? now : attribute->type;
	if (type == ATTRIBUTE_REAL && now == ATTRIBUTE_INTEGER)
		error = has_large(writer, attribute->name, &large, errors);
	if (type == ATTRIBUTE_REAL && large)
		type = ATTRIBUTE_TEXT;
	attribute->type = type;
	if (error || now == ATTRIBUTE_EMPTY || now == type)
		return error;
	return execute(writer->store,
		       sqlite3_mprintf("UPDATE clients SET \"%w\" = CAST(\"%w\" AS %s)"
				       " WHERE \"%w\" IS NOT NULL",
				       attribute->name, attribute->name, attribute_type_name(type),
				       attribute->name),
		       errors);
}

static int make_table(struct attribute_writer *writer, const struct attribute *attributes,
		      struct errors *errors)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);

	if (writer->replaces)
		sqlite3_str_appendall(sql, "ALTER TABLE clients RENAME TO clients_before;");
	else
		sqlite3_str_appendall(sql, "DROP TABLE clients;");
	sqlite3_str_appendall(sql, "CREATE TABLE clients (client BLOB NOT NULL PRIMARY KEY");
	for (size_t i = 0; !writer->replaces && i < writer->names_count; i++)
		sqlite3_str_appendf(sql, ", \"%w\"", writer->names[i]);
	for (size_t i = 0; i < writer->count; i++)
		if (writer->replaces || !is_there(writer, attributes[i].name))
			sqlite3_str_appendf(sql, ", \"%w\"", attributes[i].name);
	sqlite3_str_appendall(sql, ") WITHOUT ROWID;");
	return execute(writer->store, sqlite3_str_finish(sql), errors);
}

static int add_columns(struct attribute_writer *writer, struct attribute *attributes,
		       struct errors *errors)
{
	int error = 0;

	for (size_t i = 0; i < writer->count && !error; i++) {
		if (is_there(writer, attributes[i].name))
			error = widen(writer, &attributes[i], errors);
		else
			error = execute(writer->store,
					sqlite3_mprintf("ALTER TABLE clients ADD COLUMN \"%w\"",
							attributes[i].name),
					errors);
	}
	return error;
}

static int check_room(const struct attribute_writer *writer, const struct attribute *attributes,
		      struct errors *errors)
{
	size_t columns = writer->names_count;

	for (size_t i = 0; i < writer->count; i++)
		columns += !is_there(writer, attributes[i].name);
	if (columns <= ATTRIBUTES_MAX)
		return 0;
	return errors_add_code(errors, ENOSPC, "catalogue",
			       "leave columns out, or drop those that it has with --replace",
			       "it would have %zu columns, and %d is the most", columns,
			       (int)ATTRIBUTES_MAX);
}

/* ---- rows ---- */

static void append_row(sqlite3_str *sql, size_t columns)
{
	sqlite3_str_appendall(sql, "(?");
	for (size_t i = 0; i < columns; i++)
		sqlite3_str_appendall(sql, ", ?");
	sqlite3_str_appendall(sql, ")");
}

static char *insert_sql(const struct attribute_writer *writer, const struct attribute *attributes,
			size_t rows)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);
	size_t i;

	sqlite3_str_appendall(sql, "INSERT INTO clients (client");
	for (i = 0; i < writer->count; i++)
		sqlite3_str_appendf(sql, ", \"%w\"", attributes[i].name);
	sqlite3_str_appendall(sql, ") VALUES ");
	for (i = 0; i < rows; i++) {
		sqlite3_str_appendall(sql, i ? ", " : "");
		append_row(sql, writer->count);
	}
	if (writer->is_empty)
		return sqlite3_str_finish(sql);
	sqlite3_str_appendall(sql, " ON CONFLICT (client) DO ");
	if (!writer->count) {
		sqlite3_str_appendall(sql, "NOTHING");
		return sqlite3_str_finish(sql);
	}
	for (i = 0; i < writer->count; i++)
		sqlite3_str_appendf(sql, "%s \"%w\" = excluded.\"%w\"", i ? "," : "UPDATE SET",
				    attributes[i].name, attributes[i].name);
	for (i = 0; i < writer->count; i++)
		sqlite3_str_appendf(sql, "%s \"%w\"", i ? "," : " WHERE (", attributes[i].name);
	for (i = 0; i < writer->count; i++)
		sqlite3_str_appendf(sql, "%s excluded.\"%w\"", i ? "," : ") IS NOT (",
				    attributes[i].name);
	sqlite3_str_appendall(sql, ")");
	return sqlite3_str_finish(sql);
}

static int prepare(struct attribute_writer *writer, const struct attribute *attributes, size_t rows,
		   sqlite3_stmt **out, struct errors *errors)
{
	char *sql = insert_sql(writer, attributes, rows);
	int result;

	if (!sql)
		return out_of_memory(writer->store, errors);
	result = sqlite3_prepare_v3(writer->store->database, sql, -1, SQLITE_PREPARE_PERSISTENT,
				    out, NULL);
	sqlite3_free(sql);
	return result == SQLITE_OK ? 0 : sql_error(writer->store, ATTEMPT, errors);
}

static int prepare_both(struct attribute_writer *writer, const struct attribute *attributes,
			struct errors *errors)
{
	int error = prepare(writer, attributes, ROWS_AT_ONCE, &writer->many, errors);

	if (!error)
		error = prepare(writer, attributes, 1, &writer->one, errors);
	writer->values = calloc(ROWS_AT_ONCE * writer->count + 1, sizeof(*writer->values));
	return error || writer->values ? error : out_of_memory(writer->store, errors);
}

static int begin(struct attribute_writer *writer, struct attribute *attributes, bool replace,
		 struct errors *errors)
{
	struct store *store = writer->store;
	int error = sql_begin(store, errors);

	if (!error)
		error = store_attributes(store, &writer->names, &writer->names_count, errors);
	if (!error)
		error = store_clients_count(store, &writer->before, errors);
	if (error)
		return error;
	writer->replaces = replace;
	writer->is_empty = replace || !writer->before;
	if (!replace)
		error = check_room(writer, attributes, errors);
	if (!error && writer->is_empty)
		error = make_table(writer, attributes, errors);
	else if (!error)
		error = add_columns(writer, attributes, errors);
	if (!error)
		error = prepare_both(writer, attributes, errors);
	writer->changes_before = sqlite3_total_changes64(store->database);
	return error;
}

static void release(struct attribute_writer *writer)
{
	sqlite3_finalize(writer->many);
	sqlite3_finalize(writer->one);
	catalogue_columns_release(writer->names, writer->names_count);
	free(writer->values);
	free(writer);
}

int attributes_begin(struct store *store, struct attribute *attributes, size_t count, bool replace,
		     struct attribute_writer **out, struct errors *errors)
{
	struct attribute_writer *writer = calloc(1, sizeof(*writer));
	int error;

	if (!writer)
		return out_of_memory(store, errors);
	writer->store = store;
	writer->count = count;
	error = begin(writer, attributes, replace, errors);
	if (error)
		release(writer);
	else
		*out = writer;
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
static int run(struct attribute_writer *writer, sqlite3_stmt *statement, size_t from, size_t count,
	       struct errors *errors)
{
	const struct attribute_value *value = &writer->values[from * writer->count];
	int result = SQLITE_OK, place = 1;

	for (size_t i = from; i < from + count && result == SQLITE_OK; i++) {
		result = sqlite3_bind_blob(statement, place++, writer->keys[i], CLIENT_KEY_SIZE,
					   SQLITE_STATIC);
		for (size_t j = 0; j < writer->count && result == SQLITE_OK; j++)
			result = bind(statement, place++, value++);
	}
	if (result == SQLITE_OK)
		result = sqlite3_step(statement);
	if (sqlite3_reset(statement) != SQLITE_OK || result != SQLITE_DONE)
		return sql_error(writer->store, ATTEMPT, errors);
	writer->rows += count;
	return 0;
}

static int flush(struct attribute_writer *writer, struct errors *errors)
{
	int error = 0;

	if (writer->waiting == ROWS_AT_ONCE)
		error = run(writer, writer->many, 0, ROWS_AT_ONCE, errors);
	else
		for (size_t i = 0; i < writer->waiting && !error; i++)
			error = run(writer, writer->one, i, 1, errors);
	writer->waiting = 0;
	return error;
}

int attributes_write(struct attribute_writer *writer, const struct member *client,
		     const struct attribute_value *values, struct errors *errors)
{
	client_key_of(client, writer->keys[writer->waiting]);
	memcpy(&writer->values[writer->waiting * writer->count], values,
	       writer->count * sizeof(*values));
	return ++writer->waiting == ROWS_AT_ONCE ? flush(writer, errors) : 0;
}

/* ---- the end ---- */

/* A column that only one of the two tables has is equal where the other's is NULL. */
static char *equal_sql(const struct attribute_writer *writer, char *const *names, size_t count)
{
	sqlite3_str *sql = sqlite3_str_new(NULL), *right = sqlite3_str_new(NULL);
	char *values;

	for (size_t i = 0; i < writer->names_count; i++) {
		const char *name = writer->names[i];

		sqlite3_str_appendf(sql, ", b.\"%w\"", name);
		if (is_among(name, names, count))
			sqlite3_str_appendf(right, ", n.\"%w\"", name);
		else
			sqlite3_str_appendall(right, ", NULL");
	}
	for (size_t i = 0; i < count; i++) {
		if (is_among(names[i], writer->names, writer->names_count))
			continue;
		sqlite3_str_appendall(sql, ", NULL");
		sqlite3_str_appendf(right, ", n.\"%w\"", names[i]);
	}
	values = sqlite3_str_finish(right);
	sqlite3_str_appendf(sql, ") IS (0%s)", values ? values : "");
	sqlite3_free(values);
	values = sqlite3_str_finish(sql);
	right = sqlite3_str_new(NULL);
	sqlite3_str_appendf(right,
			    "SELECT count(*) FROM clients_before b JOIN clients n"
			    " ON n.client = b.client WHERE (0%s",
			    values ? values : "");
	sqlite3_free(values);
	return sqlite3_str_finish(right);
}

/* What a replacement did to the clients that there were. */
static int compare(struct attribute_writer *writer, struct attribute_counts *counts,
		   struct errors *errors)
{
	struct store *store = writer->store;
	uint64_t kept = 0, equal = 0;
	char **names = NULL;
	size_t count = 0;
	int error = store_attributes(store, &names, &count, errors);

	if (!error)
		error = read_number(store,
				    sqlite3_mprintf("SELECT count(*) FROM clients_before b"
						    " JOIN clients n ON n.client = b.client"),
				    &kept, errors);
	if (!error)
		error = read_number(store, equal_sql(writer, names, count), &equal, errors);
	catalogue_columns_release(names, count);
	counts->added = writer->rows - kept;
	counts->updated = kept - equal;
	counts->removed = writer->before - kept;
	return error;
}

static int count_up(struct attribute_writer *writer, struct attribute_counts *counts,
		    struct errors *errors)
{
	struct store *store = writer->store;
	int64_t changes = sqlite3_total_changes64(store->database) - writer->changes_before;
	int error = store_clients_count(store, &counts->after, errors);

	counts->before = writer->before;
	if (error)
		return error;
	if (!writer->replaces) {
		counts->added = counts->after - counts->before;
		counts->updated = (uint64_t)changes - counts->added;
		return 0;
	}
	error = compare(writer, counts, errors);
	if (!error)
		error = sql_execute(store, "DROP TABLE clients_before", ATTEMPT, errors);
	return error;
}

int attributes_end(struct attribute_writer *writer, struct attribute_counts *counts,
		   struct errors *errors)
{
	int error = 0;

	if (!writer)
		return 0;
	if (counts) {
		*counts = (struct attribute_counts){0};
		error = flush(writer, errors);
		if (!error)
			error = count_up(writer, counts, errors);
	}
	release(writer);
	return error;
}

/* ---- one client ---- */

int store_drop_client(struct store *store, const struct member *client, bool *had_attributes,
		      bool *had_features, struct errors *errors)
{
	uint8_t key[CLIENT_KEY_SIZE];
	size_t changed = 0;
	int error;

	client_key_of(client, key);
	error = sql_change(store, &changed, "DELETE FROM clients WHERE client = ?1",
			   VALUES(BLOB(key, sizeof(key))), errors);
	*had_attributes = changed;
	if (!error)
		error = sql_change(store, &changed, "DELETE FROM features WHERE client = ?1",
				   VALUES(BLOB(key, sizeof(key))), errors);
	*had_features = changed;
	return error;
}

/* 1: it has a row, 0: none. */
static int has_row(struct store *store, const struct member *client, struct errors *errors)
{
	uint8_t key[CLIENT_KEY_SIZE];
	sqlite3_stmt *statement;
	int result;

	client_key_of(client, key);
	result = sql_query(store, &statement,
			   "SELECT 1 FROM clients WHERE client = ?1 UNION ALL"
			   " SELECT 1 FROM features WHERE client = ?1",
			   VALUES(BLOB(key, sizeof(key))), errors);
	if (!result)
		result = sql_next(store, statement, errors);
	if (result > 0)
		sql_end(statement);
	return result;
}

int store_client_holding(struct store *store, const struct member *client, struct member *out,
			 struct errors *errors)
{
	struct prefix prefix = member_prefix(client), shorter;
	int result = 0;

	if (!store_has_catalogue(store))
		return -ENOENT;
	for (int length = prefix.length; length >= 0 && !result; length--) {
		shorter = prefix_shorten(&prefix, length, length);
		*out = member_of(&shorter);
		result = has_row(store, out, errors);
	}
	return result > 0 ? 0 : result ? result : -ENOENT;
}
