// SPDX-License-Identifier: GPL-2.0-only
/* Notes: small texts by key that parts of the program leave for whoever runs next. */
#include "store/list.h"

#include <errno.h>
#include <stdlib.h>

int store_set_note(struct store *store, const char *key, const char *text, struct errors *errors)
{
	return sql_change(store, NULL, "INSERT OR REPLACE INTO notes VALUES (?1, ?2)",
			  VALUES(TEXT(key), TEXT(text)), errors);
}

int store_note(struct store *store, const char *key, char **out, struct errors *errors)
{
	sqlite3_stmt *statement;
	int error = sql_query(store, &statement, "SELECT text FROM notes WHERE key = ?1",
			      VALUES(TEXT(key)), errors);

	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	error = sql_copy(store, statement, 0, out, errors);
	sql_end(statement);
	return error;
}

int store_drop_note(struct store *store, const char *key, struct errors *errors)
{
	return sql_change(store, NULL, "DELETE FROM notes WHERE key = ?1", VALUES(TEXT(key)),
			  errors);
}

static void release_note(void *element)
{
	struct note *note = element;

	free(note->key);
	free(note->text);
}

static int read_note(struct store *store, sqlite3_stmt *statement, void *element,
		     struct errors *errors)
{
	struct note *note = element;
	int error = sql_copy(store, statement, 0, &note->key, errors);

	if (!error)
		error = sql_copy(store, statement, 1, &note->text, errors);
	if (error)
		release_note(note);
	return error;
}

static const struct row_type note_rows = {
	.size = sizeof(struct note),
	.read = read_note,
	.release = release_note,
};

int store_notes(struct store *store, const char *prefix, struct note **out, size_t *count,
		struct errors *errors)
{
	void *list = NULL;
	int error = list_read(store, &note_rows,
			      "SELECT key, text FROM notes WHERE key >= ?1"
			      " AND substr(key, 1, length(?1)) = ?1 ORDER BY key",
			      VALUES(TEXT(prefix)), &list, count, errors);

	*out = list;
	return error;
}

void notes_release(struct note *notes, size_t count)
{
	list_release(&note_rows, notes, count);
}
