// SPDX-License-Identifier: GPL-2.0-only
/* Notes: small texts by key that parts of the program leave for whoever runs next. */
#include "store/store_internal.h"

#include <errno.h>

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
