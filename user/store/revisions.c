// SPDX-License-Identifier: GPL-2.0-only
/*
 * Revisions: whole desired states as canonical YAML, numbered from 1 and never changed or removed.
 * The text of the configuration is the last column, so that a list of revisions does not read it.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

static int read_revision(struct store *store, sqlite3_stmt *statement, bool with_config,
			 struct revision *out, struct errors *errors)
{
	int error;

	*out = (struct revision){
		.number = sql_number(statement, 0),
		.time_ns = sql_number(statement, 1),
	};
	error = sql_copy(store, statement, 2, &out->by, errors);
	if (!error)
		error = sql_copy(store, statement, 3, &out->reason, errors);
	if (!error)
		error = sql_copy(store, statement, 4, &out->command, errors);
	if (!error && with_config)
		error = sql_copy(store, statement, 5, &out->config, errors);
	if (error)
		revision_release(out);
	return error;
}

int store_revision(struct store *store, uint64_t number, struct revision *out,
		   struct errors *errors)
{
	sqlite3_stmt *statement;
	int error;

	*out = (struct revision){0};
	if (number)
		error = sql_query(store, &statement,
				  "SELECT number, time_ns, actor, reason, command, config"
				  " FROM revisions WHERE number = ?1",
				  VALUES(NUMBER(number)), errors);
	else
		error = sql_query(store, &statement,
				  "SELECT number, time_ns, actor, reason, command, config"
				  " FROM revisions ORDER BY number DESC LIMIT 1",
				  NO_VALUES, errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	error = read_revision(store, statement, true, out, errors);
	sql_end(statement);
	return error;
}

void revision_release(struct revision *revision)
{
	free(revision->by);
	free(revision->reason);
	free(revision->command);
	free(revision->config);
	*revision = (struct revision){0};
}

int store_add_revision(struct store *store, const char *config, uint64_t *number,
		       struct errors *errors)
{
	int error;

	error = sql_change(store, NULL,
			   "INSERT INTO revisions (time_ns, actor, reason, command, config)"
			   " VALUES (?1, ?2, ?3, ?4, ?5)",
			   VALUES(NUMBER(store->time_ns), TEXT(store->by), TEXT(store->reason),
				  TEXT(store->command), TEXT(config)),
			   errors);
	if (!error)
		*number = (uint64_t)sqlite3_last_insert_rowid(store->database);
	return error;
}

int store_history(struct store *store, uint64_t limit, struct revision **out, size_t *count,
		  struct errors *errors)
{
	struct revision *revisions = NULL, *larger;
	sqlite3_stmt *statement;
	size_t used = 0;
	int error;

	/* A negative limit is none. */
	error = sql_query(store, &statement,
			  "SELECT number, time_ns, actor, reason, command"
			  " FROM revisions ORDER BY number DESC LIMIT ?1",
			  VALUES(NUMBER(limit && limit <= INT64_MAX ? limit : UINT64_MAX)), errors);
	if (error)
		return error;
	while ((error = sql_next(store, statement, errors)) > 0) {
		error = -ENOMEM;
		larger = rows_grow(store, revisions, used, sizeof(*revisions), errors);
		if (!larger)
			break;
		revisions = larger;
		error = read_revision(store, statement, false, &revisions[used], errors);
		if (error)
			break;
		used++;
	}
	if (error) {
		sql_end(statement);
		history_release(revisions, used);
		return error;
	}
	*out = revisions;
	*count = used;
	return 0;
}

void history_release(struct revision *revisions, size_t count)
{
	for (size_t i = 0; i < count; i++)
		revision_release(&revisions[i]);
	free(revisions);
}
