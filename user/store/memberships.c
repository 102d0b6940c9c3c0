// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memberships and groupings: lists of clients, each one blob, because they are read and replaced
 * whole. Nothing here computes them (user/segment).
 */
#include "store/store_internal.h"

#include "util/siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t digest_of(const void *bytes, size_t size)
{
	return siphash13((struct siphash_key){0}, bytes, size);
}

/* ---- memberships ---- */

int store_set_membership(struct store *store, const struct membership *membership,
			 uint64_t *version, struct errors *errors)
{
	size_t size = membership->count * sizeof(*membership->members);
	struct membership before;
	uint64_t next = 1;
	int error = store_membership(store, membership->segment, false, &before, errors);

	if (!error) {
		next = before.version + 1;
		membership_release(&before);
	} else if (error != -ENOENT) {
		return error;
	}
	if (version)
		*version = next;
	return sql_change(
		store, NULL,
		"INSERT OR REPLACE INTO memberships VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
		VALUES(TEXT(membership->segment), NUMBER(next), NUMBER(store->time_ns),
		       NUMBER(membership->definition), NUMBER(digest_of(membership->members, size)),
		       TEXT(membership->detail ? membership->detail : "{}"),
		       NUMBER(membership->count), BLOB(membership->members, size)),
		errors);
}

static int read_membership(struct store *store, sqlite3_stmt *statement, bool with_members,
			   struct membership *out, struct errors *errors)
{
	void *members = NULL;
	size_t size = 0;
	int error;

	*out = (struct membership){
		.version = sql_number(statement, 1),
		.time_ns = sql_number(statement, 2),
		.definition = sql_number(statement, 3),
		.digest = sql_number(statement, 4),
		.count = sql_number(statement, 6),
	};
	sql_fill(statement, 0, out->segment, sizeof(out->segment));
	error = sql_copy(store, statement, 5, &out->detail, errors);
	if (!error && with_members)
		error = sql_copy_blob(store, statement, 7, &members, &size, errors);
	out->members = members;
	if (with_members)
		out->count = size / sizeof(*out->members);
	if (error)
		membership_release(out);
	return error;
}

int store_membership(struct store *store, const char *segment, bool with_members,
		     struct membership *out, struct errors *errors)
{
	const char *sql = with_members
				  ? "SELECT segment, version, time_ns, definition, digest, detail, "
				    "count, members FROM memberships WHERE segment = ?1"
				  : "SELECT segment, version, time_ns, definition, digest, detail, "
				    "count FROM memberships WHERE segment = ?1";
	sqlite3_stmt *statement;
	int error;

	if (store->schema_version < 3)
		return -ENOENT;
	error = sql_query(store, &statement, sql, VALUES(TEXT(segment)), errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	error = read_membership(store, statement, with_members, out, errors);
	sql_end(statement);
	return error;
}

int store_memberships(struct store *store, struct membership **out, size_t *count,
		      struct errors *errors)
{
	struct membership *list = NULL, *larger;
	sqlite3_stmt *statement;
	int error;

	*out = NULL;
	*count = 0;
	if (store->schema_version < 3)
		return 0;
	error = sql_query(store, &statement,
			  "SELECT segment, version, time_ns, definition, digest, detail, count "
			  "FROM memberships ORDER BY segment",
			  NO_VALUES, errors);
	while (!error && (error = sql_next(store, statement, errors)) > 0) {
		larger = rows_grow(store, list, *count, sizeof(*list), errors);
		error = larger ? 0 : -ENOMEM;
		if (larger)
			list = larger;
		if (!error)
			error = read_membership(store, statement, false, &list[*count], errors);
		*count += !error;
		if (error)
			sql_end(statement);
	}
	if (error) {
		memberships_release(list, *count);
		return error;
	}
	*out = list;
	return 0;
}

int store_drop_membership(struct store *store, const char *segment, struct errors *errors)
{
	return sql_change(store, NULL, "DELETE FROM memberships WHERE segment = ?1",
			  VALUES(TEXT(segment)), errors);
}

void membership_release(struct membership *membership)
{
	free(membership->detail);
	free(membership->members);
	*membership = (struct membership){0};
}

void memberships_release(struct membership *memberships, size_t count)
{
	for (size_t i = 0; i < count; i++)
		membership_release(&memberships[i]);
	free(memberships);
}

/* ---- groupings ---- */

int store_set_grouping(struct store *store, const char *column, const struct grouping *grouping,
		       struct errors *errors)
{
	size_t size = grouping->count * sizeof(*grouping->clients);
	uint64_t parts[2] = {digest_of(grouping->clients, size),
			     digest_of(grouping->texts, grouping->texts_size)};
	struct grouping before;
	uint64_t next = 1;
	int error = store_grouping(store, column, false, &before, errors);

	if (!error) {
		next = before.version + 1;
		grouping_release(&before);
	} else if (error != -ENOENT) {
		return error;
	}
	return sql_change(store, NULL,
			  "INSERT OR REPLACE INTO groupings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
			  VALUES(TEXT(column), NUMBER(next), NUMBER(store->time_ns),
				 NUMBER(digest_of(parts, sizeof(parts))),
				 BLOB(grouping->texts, grouping->texts_size),
				 NUMBER(grouping->texts_count), BLOB(grouping->clients, size)),
			  errors);
}

static int read_clients(struct store *store, sqlite3_stmt *statement, struct grouping *out,
			struct errors *errors)
{
	void *texts = NULL, *clients = NULL;
	size_t size = 0;
	int error = sql_copy_blob(store, statement, 4, &texts, &out->texts_size, errors);

	if (!error)
		error = sql_copy_blob(store, statement, 5, &clients, &size, errors);
	out->texts = texts;
	out->clients = clients;
	out->count = size / sizeof(*out->clients);
	return error;
}

int store_grouping(struct store *store, const char *column, bool with_clients, struct grouping *out,
		   struct errors *errors)
{
	const char *sql = with_clients
				  ? "SELECT version, time_ns, digest, count, texts, members FROM "
				    "groupings WHERE column_name = ?1"
				  : "SELECT version, time_ns, digest, count FROM groupings WHERE "
				    "column_name = ?1";
	sqlite3_stmt *statement;
	int error;

	*out = (struct grouping){0};
	if (store->schema_version < 3)
		return -ENOENT;
	error = sql_query(store, &statement, sql, VALUES(TEXT(column)), errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	out->version = sql_number(statement, 0);
	out->time_ns = sql_number(statement, 1);
	out->digest = sql_number(statement, 2);
	out->texts_count = sql_number(statement, 3);
	error = with_clients ? read_clients(store, statement, out, errors) : 0;
	sql_end(statement);
	if (error)
		grouping_release(out);
	return error;
}

int store_drop_grouping(struct store *store, const char *column, struct errors *errors)
{
	return sql_change(store, NULL, "DELETE FROM groupings WHERE column_name = ?1",
			  VALUES(TEXT(column)), errors);
}

int store_groupings(struct store *store, char ***columns, size_t *count, struct errors *errors)
{
	char **list = NULL, **larger;
	sqlite3_stmt *statement;
	int error;

	*columns = NULL;
	*count = 0;
	if (store->schema_version < 3)
		return 0;
	error = sql_query(store, &statement,
			  "SELECT column_name FROM groupings ORDER BY column_name", NO_VALUES,
			  errors);
	while (!error && (error = sql_next(store, statement, errors)) > 0) {
		larger = rows_grow(store, list, *count, sizeof(*list), errors);
		error = larger ? 0 : -ENOMEM;
		if (larger)
			list = larger;
		if (!error)
			error = sql_copy(store, statement, 0, &list[*count], errors);
		*count += !error;
		if (error)
			sql_end(statement);
	}
	*columns = list;
	return error;
}

void grouping_release(struct grouping *grouping)
{
	free(grouping->texts);
	free(grouping->clients);
	*grouping = (struct grouping){0};
}
