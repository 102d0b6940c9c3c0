// SPDX-License-Identifier: GPL-2.0-only
/*
 * The audit trail: one row for each thing that a command changed, in the transaction that changed
 * it, so that there is no change without its row and no row without its change. Rows are never
 * changed or removed.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

int store_audit(struct store *store, const char *service, const char *before, const char *after,
		struct errors *errors)
{
	return sql_change(store, NULL,
			  "INSERT INTO audit (time_ns, revision, actor, command, service, before,"
			  " after, reason) VALUES (?1, (SELECT coalesce(max(number), 0) FROM"
			  " revisions), ?2, ?3, ?4, ?5, ?6, ?7)",
			  VALUES(NUMBER(store->time_ns), TEXT(store->by), TEXT(store->command),
				 TEXT(service ? service : ""), TEXT(before), TEXT(after),
				 TEXT(store->reason)),
			  errors);
}

static int read_entry(struct store *store, sqlite3_stmt *statement, struct audit_entry *out,
		      struct errors *errors)
{
	char **const texts[] = {&out->by,     &out->command, &out->service,
				&out->before, &out->after,   &out->reason};
	int error = 0;

	*out = (struct audit_entry){
		.id = sql_number(statement, 0),
		.time_ns = sql_number(statement, 1),
		.revision = sql_number(statement, 2),
	};
	for (int i = 0; i < 6 && !error; i++)
		error = sql_copy(store, statement, 3 + i, texts[i], errors);
	return error;
}

int store_read_audit(struct store *store, const char *service, uint64_t since_ns,
		     struct audit_entry **out, size_t *count, struct errors *errors)
{
	struct audit_entry *entries = NULL, *larger;
	sqlite3_stmt *statement;
	size_t used = 0;
	int error;

	error = sql_query(store, &statement,
			  "SELECT id, time_ns, revision, actor, command, service, before, after,"
			  " reason FROM audit WHERE (?1 IS NULL OR service = ?1)"
			  " AND time_ns >= ?2 ORDER BY id",
			  VALUES(TEXT(service), NUMBER(since_ns)), errors);
	if (error)
		return error;
	while ((error = sql_next(store, statement, errors)) > 0) {
		error = -ENOMEM;
		larger = rows_grow(store, entries, used, sizeof(*entries), errors);
		if (!larger)
			break;
		entries = larger;
		error = read_entry(store, statement, &entries[used++], errors);
		if (error)
			break;
	}
	if (error) {
		sql_end(statement);
		audit_release(entries, used);
		return error;
	}
	*out = entries;
	*count = used;
	return 0;
}

void audit_release(struct audit_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(entries[i].by);
		free(entries[i].command);
		free(entries[i].service);
		free(entries[i].before);
		free(entries[i].after);
		free(entries[i].reason);
	}
	free(entries);
}
