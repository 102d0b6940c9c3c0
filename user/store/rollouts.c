// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rollouts, their events, and calls of hooks that wait for the daemon. A rollout is its service's
 * current one until another is added or it is closed; rows are never removed but calls that were
 * made.
 */
#include "store/rollouts.h"

#include "store/list.h"

#include <errno.h>
#include <stdlib.h>

/* Tables of version 4: a reader may meet an earlier file. */
static bool has_tables(const struct store *store)
{
	return store->schema_version >= 4;
}

/* ---- rollouts ---- */

#define ROLLOUT_COLUMNS                                                                            \
	"service, id, release, cohort, revision, state, started_ns, ended_ns, closed_ns, machine," \
	" judgement"

static int read_rollout(struct store *store, sqlite3_stmt *statement, void *element,
			struct errors *errors)
{
	struct stored_rollout *out = element;
	int error;

	*out = (struct stored_rollout){
		.id = sql_number(statement, 1),
		.revision = sql_number(statement, 4),
		.started_ns = sql_number(statement, 6),
		.ended_ns = sql_number(statement, 7),
		.closed_ns = sql_number(statement, 8),
	};
	sql_fill(statement, 0, out->service, sizeof(out->service));
	sql_fill(statement, 3, out->cohort, sizeof(out->cohort));
	sql_fill(statement, 5, out->state, sizeof(out->state));
	error = sql_copy(store, statement, 2, &out->release, errors);
	if (!error)
		error = sql_copy(store, statement, 9, &out->machine, errors);
	if (!error)
		error = sql_copy(store, statement, 10, &out->judgement, errors);
	if (error)
		stored_rollout_release(out);
	return error;
}

void stored_rollout_release(struct stored_rollout *rollout)
{
	free(rollout->release);
	free(rollout->machine);
	free(rollout->judgement);
	*rollout = (struct stored_rollout){0};
}

int store_rollout(struct store *store, const char *service, uint64_t id, struct stored_rollout *out,
		  struct errors *errors)
{
	sqlite3_stmt *statement;
	int error;

	if (!has_tables(store))
		return -ENOENT;
	error = sql_query(store, &statement,
			  "SELECT " ROLLOUT_COLUMNS " FROM rollouts WHERE service = ?1 AND"
			  " id = CASE ?2 WHEN 0 THEN (SELECT max(id) FROM rollouts"
			  " WHERE service = ?1) ELSE ?2 END AND (?2 <> 0 OR closed_ns = 0)",
			  VALUES(TEXT(service), NUMBER(id)), errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	error = read_rollout(store, statement, out, errors);
	sql_end(statement);
	return error;
}

static void release_rollout(void *element)
{
	stored_rollout_release(element);
}

static const struct row_type rollout_rows = {
	.size = sizeof(struct stored_rollout),
	.read = read_rollout,
	.release = release_rollout,
};

int store_rollouts(struct store *store, const char *service, struct stored_rollout **out,
		   size_t *count, struct errors *errors)
{
	void *list = NULL;
	int error = 0;

	*count = 0;
	if (has_tables(store))
		error = list_read(store, &rollout_rows,
				  "SELECT " ROLLOUT_COLUMNS " FROM rollouts WHERE ?1 IS NULL OR"
				  " service = ?1 ORDER BY started_ns, service, id",
				  VALUES(TEXT(service)), &list, count, errors);
	*out = list;
	return error;
}

void stored_rollouts_release(struct stored_rollout *rollouts, size_t count)
{
	list_release(&rollout_rows, rollouts, count);
}

/* *@out is the one number of the query's one row. */
static int query_number(struct store *store, const char *sql, const struct sql_value *values,
			size_t count, uint64_t *out, struct errors *errors)
{
	sqlite3_stmt *statement;
	int error = sql_query(store, &statement, sql, values, count, errors);

	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	*out = sql_number(statement, 0);
	sql_end(statement);
	return 0;
}

int store_next_rollout(struct store *store, const char *service, uint64_t *id,
		       struct errors *errors)
{
	return query_number(store,
			    "SELECT coalesce(max(id), 0) + 1 FROM rollouts WHERE service = ?1",
			    VALUES(TEXT(service)), id, errors);
}

int store_set_rollout(struct store *store, const struct stored_rollout *rollout,
		      struct errors *errors)
{
	return sql_change(
		store, NULL,
		"INSERT INTO rollouts (" ROLLOUT_COLUMNS
		") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, '{}')"
		" ON CONFLICT (service, id) DO UPDATE SET release = ?3, cohort = ?4, revision = ?5,"
		" state = ?6, started_ns = ?7, ended_ns = ?8, closed_ns = ?9, machine = ?10",
		VALUES(TEXT(rollout->service), NUMBER(rollout->id),
		       TEXT(rollout->release ? rollout->release : ""), TEXT(rollout->cohort),
		       NUMBER(rollout->revision), TEXT(rollout->state), NUMBER(rollout->started_ns),
		       NUMBER(rollout->ended_ns), NUMBER(rollout->closed_ns),
		       TEXT(rollout->machine)),
		errors);
}

int store_set_judgement(struct store *store, const char *service, uint64_t id, const char *json,
			struct errors *errors)
{
	return sql_change(store, NULL,
			  "UPDATE rollouts SET judgement = ?3 WHERE service = ?1 AND id = ?2",
			  VALUES(TEXT(service), NUMBER(id), TEXT(json)), errors);
}

#define IS_ACTIVE "state IN ('running', 'paused', 'waiting')"

int store_close_rollouts(struct store *store, const char *service, struct errors *errors)
{
	return sql_change(store, NULL,
			  "UPDATE rollouts SET closed_ns = ?2 WHERE service = ?1"
			  " AND closed_ns = 0 AND NOT " IS_ACTIVE,
			  VALUES(TEXT(service), NUMBER(store->time_ns)), errors);
}

int store_rollout_is_active(struct store *store, const char *service, uint64_t *id,
			    struct errors *errors)
{
	uint64_t active = 0;
	int error;

	if (!has_tables(store))
		return 0;
	error = query_number(store, "SELECT id FROM rollouts WHERE service = ?1 AND " IS_ACTIVE,
			     VALUES(TEXT(service)), &active, errors);
	if (error)
		return error == -ENOENT ? 0 : error;
	if (id)
		*id = active;
	return 1;
}

/* ---- events ---- */

int store_add_rollout_event(struct store *store, const char *service, uint64_t id, uint64_t time_ns,
			    const char *event, const char *json, struct errors *errors)
{
	return sql_change(
		store, NULL,
		"INSERT INTO rollout_events (service, id, time_ns, event, json)"
		" VALUES (?1, ?2, ?3, ?4, ?5)",
		VALUES(TEXT(service), NUMBER(id), NUMBER(time_ns), TEXT(event), TEXT(json)),
		errors);
}

static int read_record(struct store *store, sqlite3_stmt *statement, void *element,
		       struct errors *errors)
{
	struct rollout_record *record = element;

	record->number = sql_number(statement, 0);
	sql_fill(statement, 1, record->service, sizeof(record->service));
	record->id = sql_number(statement, 2);
	record->time_ns = sql_number(statement, 3);
	sql_fill(statement, 4, record->event, sizeof(record->event));
	return sql_copy(store, statement, 5, &record->json, errors);
}

static void release_record(void *element)
{
	free(((struct rollout_record *)element)->json);
}

static const struct row_type record_rows = {
	.size = sizeof(struct rollout_record),
	.read = read_record,
	.release = release_record,
};

int store_rollout_events(struct store *store, const char *service, uint64_t id, uint64_t after,
			 struct rollout_record **out, size_t *count, struct errors *errors)
{
	void *list = NULL;
	int error = 0;

	*count = 0;
	if (has_tables(store))
		error = list_read(
			store, &record_rows,
			"SELECT number, service, id, time_ns, event, json FROM rollout_events"
			" WHERE (?1 IS NULL OR service = ?1) AND (?2 = 0 OR id = ?2)"
			" AND number > ?3 ORDER BY number",
			VALUES(TEXT(service), NUMBER(id), NUMBER(after)), &list, count, errors);
	*out = list;
	return error;
}

void rollout_records_release(struct rollout_record *records, size_t count)
{
	list_release(&record_rows, records, count);
}

int store_count_rollout_events(struct store *store, const char *service, const char *event,
			       uint64_t *count, struct errors *errors)
{
	*count = 0;
	if (!has_tables(store))
		return 0;
	return query_number(store,
			    "SELECT count(*) FROM rollout_events WHERE service = ?1 AND event = ?2",
			    VALUES(TEXT(service), TEXT(event)), count, errors);
}

/* ---- calls of hooks ---- */

int store_add_hook_call(struct store *store, const struct hook_call *call, struct errors *errors)
{
	return sql_change(store, NULL,
			  "INSERT INTO hook_calls (service, id, call, hook, gate, json)"
			  " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
			  VALUES(TEXT(call->service), NUMBER(call->id), NUMBER(call->call),
				 NUMBER(call->hook), NUMBER(call->gate), TEXT(call->json)),
			  errors);
}

static int read_call(struct store *store, sqlite3_stmt *statement, void *element,
		     struct errors *errors)
{
	struct hook_call *call = element;

	call->number = sql_number(statement, 0);
	sql_fill(statement, 1, call->service, sizeof(call->service));
	call->id = sql_number(statement, 2);
	call->call = sql_number(statement, 3);
	call->hook = (uint32_t)sql_number(statement, 4);
	call->gate = sql_number(statement, 5);
	return sql_copy(store, statement, 6, &call->json, errors);
}

static void release_call(void *element)
{
	free(((struct hook_call *)element)->json);
}

static const struct row_type call_rows = {
	.size = sizeof(struct hook_call),
	.read = read_call,
	.release = release_call,
};

int store_hook_calls(struct store *store, struct hook_call **out, size_t *count,
		     struct errors *errors)
{
	void *list = NULL;
	int error = 0;

	*count = 0;
	if (has_tables(store))
		error = list_read(store, &call_rows,
				  "SELECT number, service, id, call, hook, gate, json"
				  " FROM hook_calls ORDER BY number",
				  NO_VALUES, &list, count, errors);
	*out = list;
	return error;
}

void hook_calls_release(struct hook_call *calls, size_t count)
{
	list_release(&call_rows, calls, count);
}

int store_drop_hook_call(struct store *store, uint64_t number, struct errors *errors)
{
	return sql_change(store, NULL, "DELETE FROM hook_calls WHERE number = ?1",
			  VALUES(NUMBER(number)), errors);
}

int store_drop_hook_calls(struct store *store, const char *service, struct errors *errors)
{
	return sql_change(store, NULL, "DELETE FROM hook_calls WHERE service = ?1",
			  VALUES(TEXT(service)), errors);
}

int store_drop_gate_calls(struct store *store, const char *service, uint64_t id,
			  struct errors *errors)
{
	return sql_change(store, NULL,
			  "DELETE FROM hook_calls WHERE service = ?1 AND id = ?2 AND gate <> 0",
			  VALUES(TEXT(service), NUMBER(id)), errors);
}
