// SPDX-License-Identifier: GPL-2.0-only
/*
 * What was counted in a rollout, whom it touched, and what people reported: rows that are only
 * added. Feedback outlives its rollouts, for it may come late.
 */
#include "store/rollouts.h"

#include "store/client_key.h"
#include "store/list.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool has_tables(const struct store *store)
{
	return store->schema_version >= 4;
}

static struct member read_client(sqlite3_stmt *statement, int column)
{
	const void *key = sqlite3_column_blob(statement, column);

	if (!key || sqlite3_column_bytes(statement, column) != CLIENT_KEY_SIZE)
		return (struct member){0};
	return client_of_key(key);
}

/* ---- counts ---- */

int store_add_rollout_counts(struct store *store, const char *service, uint64_t id,
			     const struct rollout_count *counts, size_t count,
			     struct errors *errors)
{
	char pi[TEXT_VALUE_SIZE];
	int error = 0;

	for (size_t i = 0; i < count && !error; i++)
		error = sql_change(store, NULL,
				   "INSERT INTO rollout_counts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,"
				   " ?8, CAST(?9 AS REAL))",
				   VALUES(TEXT(service), NUMBER(id), NUMBER(counts[i].time_ns),
					  NUMBER(counts[i].window), TEXT(counts[i].metric),
					  TEXT(counts[i].rule), NUMBER(counts[i].k),
					  NUMBER(counts[i].n),
					  TEXT(text_format_real(counts[i].pi, pi))),
				   errors);
	return error;
}

static int read_count(struct store *store, sqlite3_stmt *statement, void *out,
		      struct errors *errors)
{
	struct rollout_count *count = out;

	(void)store;
	(void)errors;
	count->time_ns = sql_number(statement, 0);
	count->window = (uint32_t)sql_number(statement, 1);
	sql_fill(statement, 2, count->metric, sizeof(count->metric));
	sql_fill(statement, 3, count->rule, sizeof(count->rule));
	count->k = sql_number(statement, 4);
	count->n = sql_number(statement, 5);
	count->pi = sqlite3_column_double(statement, 6);
	return 0;
}

static const struct row_type count_rows = {
	.size = sizeof(struct rollout_count),
	.read = read_count,
};

int store_rollout_counts(struct store *store, const char *service, uint64_t id,
			 struct rollout_count **out, size_t *count, struct errors *errors)
{
	void *list = NULL;
	int error = 0;

	*count = 0;
	if (has_tables(store))
		error = list_read(
			store, &count_rows,
			"SELECT time_ns, window, metric, rule, k, n, pi FROM rollout_counts"
			" WHERE service = ?1 AND id = ?2 ORDER BY time_ns, window, metric, rule",
			VALUES(TEXT(service), NUMBER(id)), &list, count, errors);
	*out = list;
	return error;
}

/* ---- clients ---- */

int store_note_rollout_client(struct store *store, const char *service, uint64_t id,
			      const struct rollout_client *client, struct errors *errors)
{
	uint8_t key[CLIENT_KEY_SIZE];

	client_key_of(&client->client, key);
	return sql_change(store, NULL,
			  "INSERT INTO rollout_clients VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
			  " ON CONFLICT (service, id, client, cohort, metric)"
			  " DO UPDATE SET time_ns = min(time_ns, excluded.time_ns)",
			  VALUES(TEXT(service), NUMBER(id), BLOB(key, sizeof(key)),
				 TEXT(client->metric), TEXT(client->cohort),
				 NUMBER(client->time_ns)),
			  errors);
}

static int read_rollout_client(struct store *store, sqlite3_stmt *statement, void *out,
			       struct errors *errors)
{
	struct rollout_client *client = out;

	(void)store;
	(void)errors;
	client->client = read_client(statement, 0);
	sql_fill(statement, 1, client->metric, sizeof(client->metric));
	sql_fill(statement, 2, client->cohort, sizeof(client->cohort));
	client->time_ns = sql_number(statement, 3);
	return 0;
}

static const struct row_type rollout_client_rows = {
	.size = sizeof(struct rollout_client),
	.read = read_rollout_client,
};

#define THESE_CLIENTS                                                                              \
	" FROM rollout_clients WHERE service = ?1 AND id = ?2 AND (?3 IS NULL OR cohort = ?3)"     \
	" AND (?4 IS NULL OR metric = ?4)"

int store_rollout_clients(struct store *store, const char *service, uint64_t id, const char *cohort,
			  const char *metric, struct rollout_client **out, size_t *count,
			  struct errors *errors)
{
	void *list = NULL;
	int error = 0;

	*count = 0;
	if (has_tables(store))
		error = list_read(store, &rollout_client_rows,
				  "SELECT client, metric, cohort, time_ns" THESE_CLIENTS
				  " ORDER BY time_ns, client, cohort, metric",
				  VALUES(TEXT(service), NUMBER(id), TEXT(cohort), TEXT(metric)),
				  &list, count, errors);
	*out = list;
	return error;
}

int store_count_rollout_clients(struct store *store, const char *service, uint64_t id,
				const char *cohort, const char *metric, uint64_t *count,
				struct errors *errors)
{
	sqlite3_stmt *statement;
	int error;

	*count = 0;
	if (!has_tables(store))
		return 0;
	error = sql_query(store, &statement, "SELECT count(DISTINCT client)" THESE_CLIENTS,
			  VALUES(TEXT(service), NUMBER(id), TEXT(cohort), TEXT(metric)), errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error;
	*count = sql_number(statement, 0);
	sql_end(statement);
	return 0;
}

/* ---- feedback ---- */

int store_add_feedback(struct store *store, const struct feedback *feedback, struct errors *errors)
{
	uint8_t key[CLIENT_KEY_SIZE];

	client_key_of(&feedback->client, key);
	return sql_change(store, NULL,
			  "INSERT INTO feedback (service, client, metric, time_ns)"
			  " VALUES (?1, ?2, ?3, ?4)",
			  VALUES(TEXT(feedback->service), BLOB(key, sizeof(key)),
				 TEXT(feedback->metric), NUMBER(feedback->time_ns)),
			  errors);
}

static int read_feedback(struct store *store, sqlite3_stmt *statement, void *out,
			 struct errors *errors)
{
	struct feedback *feedback = out;

	(void)store;
	(void)errors;
	feedback->number = sql_number(statement, 0);
	sql_fill(statement, 1, feedback->service, sizeof(feedback->service));
	feedback->client = read_client(statement, 2);
	sql_fill(statement, 3, feedback->metric, sizeof(feedback->metric));
	feedback->time_ns = sql_number(statement, 4);
	return 0;
}

static const struct row_type feedback_rows = {
	.size = sizeof(struct feedback),
	.read = read_feedback,
};

int store_feedback(struct store *store, const char *service, uint64_t after, struct feedback **out,
		   size_t *count, struct errors *errors)
{
	void *list = NULL;
	int error = 0;

	*count = 0;
	if (has_tables(store))
		error = list_read(store, &feedback_rows,
				  "SELECT number, service, client, metric, time_ns FROM feedback"
				  " WHERE service = ?1 AND number > ?2 ORDER BY number",
				  VALUES(TEXT(service), NUMBER(after)), &list, count, errors);
	*out = list;
	return error;
}

int store_feedback_is_repeated(struct store *store, const struct feedback *feedback,
			       uint64_t from_ns, uint64_t to_ns, struct errors *errors)
{
	uint8_t key[CLIENT_KEY_SIZE];
	sqlite3_stmt *statement;
	int error;

	client_key_of(&feedback->client, key);
	error = sql_query(
		store, &statement,
		"SELECT 1 FROM feedback WHERE service = ?1 AND client = ?2 AND metric = ?3"
		" AND time_ns >= ?4 AND time_ns < ?5 AND number < ?6",
		VALUES(TEXT(feedback->service), BLOB(key, sizeof(key)), TEXT(feedback->metric),
		       NUMBER(from_ns), NUMBER(to_ns < INT64_MAX ? to_ns : INT64_MAX),
		       NUMBER(feedback->number)),
		errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error > 0)
		sql_end(statement);
	return error;
}
