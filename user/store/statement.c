// SPDX-License-Identifier: GPL-2.0-only
/*
 * SQL with its errors. A handle is always in a transaction when it runs a statement: a reader in
 * one that lasts until it is closed, so that it sees one state; a writer in one that ends with
 * store_commit(). The first failure of a statement spoils the writer's transaction (SQLite may have
 * rolled it back already), and store_commit() refuses it.
 *
 * Prepared statements are kept by SQLite in the list of the connection, and found there by their
 * text.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	int result; /* primary result code of SQLite */
	int code;
	const char *hint;
} failures[] = {
	{SQLITE_FULL, ENOSPC, "free some space there and run the command again"},
	{SQLITE_BUSY, EBUSY,
	 "end the other program that has state.db open, and run the command again"},
	{SQLITE_LOCKED, EBUSY,
	 "end the other program that has state.db open, and run the command again"},
	{SQLITE_READONLY, EACCES, "run it as root"},
	{SQLITE_PERM, EACCES, "run it as root, or join the directory's group to read"},
	{SQLITE_CANTOPEN, EACCES, "run it as root, or join the directory's group to read"},
	{SQLITE_CORRUPT, EUCLEAN,
	 "bring state.db back from a backup, or move it away and apply again"},
	{SQLITE_NOTADB, EUCLEAN,
	 "bring state.db back from a backup, or move it away and apply again"},
	{SQLITE_NOMEM, ENOMEM, "free some memory"},
	{SQLITE_IOERR, EIO, "look for errors of that disk in the kernel's log"},
};

int sql_error(struct store *store, const char *attempt, struct errors *errors)
{
	int result = sqlite3_errcode(store->database) & 0xff;
	const char *hint = "report this";
	int code = EIO;

	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		if (failures[i].result != result)
			continue;
		code = failures[i].code;
		hint = failures[i].hint;
	}
	store->has_failed = true;
	return errors_add_code(errors, code, store->directory, hint, "cannot %s: %s", attempt,
			       sqlite3_errmsg(store->database));
}

int sql_execute(struct store *store, const char *sql, const char *attempt, struct errors *errors)
{
	if (sqlite3_exec(store->database, sql, NULL, NULL, NULL) != SQLITE_OK)
		return sql_error(store, attempt, errors);
	return 0;
}

/* A writer takes SQLite's write lock at once: a later upgrade from a read could fail half-way. */
int sql_begin(struct store *store, struct errors *errors)
{
	if (!sqlite3_get_autocommit(store->database))
		return 0;
	if (store->is_writer)
		return sql_execute(store, "BEGIN IMMEDIATE", "begin a change", errors);
	return sql_execute(store, "BEGIN", "read", errors);
}

static sqlite3_stmt *find_statement(struct store *store, const char *sql)
{
	sqlite3_stmt *statement = NULL;

	while ((statement = sqlite3_next_stmt(store->database, statement))) {
		if (!sqlite3_stmt_busy(statement) && !strcmp(sqlite3_sql(statement), sql))
			return statement;
	}
	return NULL;
}

static int bind_values(sqlite3_stmt *statement, const struct sql_value *values, size_t count)
{
	int result = SQLITE_OK;

	for (size_t i = 0; i < count && result == SQLITE_OK; i++) {
		int place = (int)i + 1;

		if (values[i].type == SQL_TEXT)
			result = sqlite3_bind_text(statement, place, values[i].text, -1,
						   SQLITE_STATIC);
		else if (values[i].type == SQL_BLOB)
			result = sqlite3_bind_blob64(statement, place,
						     values[i].blob ? values[i].blob : "",
						     values[i].number, SQLITE_STATIC);
		else
			result = sqlite3_bind_int64(statement, place, (int64_t)values[i].number);
	}
	return result;
}

int sql_query(struct store *store, sqlite3_stmt **out, const char *sql,
	      const struct sql_value *values, size_t count, struct errors *errors)
{
	sqlite3_stmt *statement;
	int error = sql_begin(store, errors);

	if (error)
		return error;
	statement = find_statement(store, sql);
	if (!statement && sqlite3_prepare_v3(store->database, sql, -1, SQLITE_PREPARE_PERSISTENT,
					     &statement, NULL) != SQLITE_OK)
		return sql_error(store, "understand the tables", errors);
	if (bind_values(statement, values, count) != SQLITE_OK) {
		error = sql_error(store, "set a value", errors);
		sql_end(statement);
		return error;
	}
	*out = statement;
	return 0;
}

int sql_next(struct store *store, sqlite3_stmt *statement, struct errors *errors)
{
	int result = sqlite3_step(statement), error = 0;

	if (result == SQLITE_ROW)
		return 1;
	if (result != SQLITE_DONE)
		error = sql_error(store, sqlite3_stmt_readonly(statement) ? "read" : "change it",
				  errors);
	sql_end(statement);
	return error;
}

/* Clears the values too, for they point into the caller's memory. */
void sql_end(sqlite3_stmt *statement)
{
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
}

int sql_change(struct store *store, size_t *changed, const char *sql,
	       const struct sql_value *values, size_t count, struct errors *errors)
{
	sqlite3_stmt *statement;
	int error = sql_query(store, &statement, sql, values, count, errors);

	if (!error)
		error = sql_next(store, statement, errors);
	if (!error && changed)
		*changed = (size_t)sqlite3_changes(store->database);
	return error;
}

uint64_t sql_number(sqlite3_stmt *statement, int column)
{
	return (uint64_t)sqlite3_column_int64(statement, column);
}

const char *sql_text(sqlite3_stmt *statement, int column)
{
	const char *text = (const char *)sqlite3_column_text(statement, column);

	return text ? text : "";
}

static int no_memory(struct store *store, struct errors *errors)
{
	return errors_add_code(errors, ENOMEM, store->directory, "free some memory",
			       "cannot read: out of memory");
}

int sql_copy(struct store *store, sqlite3_stmt *statement, int column, char **out,
	     struct errors *errors)
{
	*out = NULL;
	if (sqlite3_column_type(statement, column) == SQLITE_NULL)
		return 0;
	*out = strdup(sql_text(statement, column));
	return *out ? 0 : no_memory(store, errors);
}

int sql_copy_blob(struct store *store, sqlite3_stmt *statement, int column, void **out,
		  size_t *size, struct errors *errors)
{
	const void *bytes = sqlite3_column_blob(statement, column);

	*size = (size_t)sqlite3_column_bytes(statement, column);
	*out = calloc(1, *size + 1);
	if (!*out)
		return no_memory(store, errors);
	if (*size)
		memcpy(*out, bytes, *size);
	return 0;
}

void sql_fill(sqlite3_stmt *statement, int column, char *out, size_t size)
{
	const char *text = sql_text(statement, column);
	size_t length = strlen(text);

	if (length >= size) {
		length = size - 1;
		while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	}
	memcpy(out, text, length);
	out[length] = 0;
}

void *rows_grow(struct store *store, void *array, size_t count, size_t element_size,
		struct errors *errors)
{
	void *larger;

	/* There is room up to the next power of two. */
	if (count & (count - 1))
		return array;
	larger = reallocarray(array, count ? 2 * count : 1, element_size);
	if (!larger)
		no_memory(store, errors);
	return larger;
}
