// SPDX-License-Identifier: GPL-2.0-only
/*
 * Features of the last complete window, in table features, which a new window's table replaces. A
 * million rows take seconds to write, so they are written to a table of their own, some at a time,
 * and the lock is held for milliseconds.
 */
#include "store/store_internal.h"

#include "store/client_key.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define WINDOW_NOTE "features_window"

/* ---- the window ---- */

static uint64_t number_of(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

int store_features_window(struct store *store, struct features_window *out, struct errors *errors)
{
	char *text;
	json_t *note;
	int error = store_note(store, WINDOW_NOTE, &text, errors);

	if (error)
		return error;
	note = json_loads(text, 0, NULL);
	*out = (struct features_window){
		.from_ns = number_of(note, "from_ns"),
		.to_ns = number_of(note, "to_ns"),
		.sample = number_of(note, "sample"),
		.clients = number_of(note, "clients"),
	};
	json_decref(note);
	free(text);
	return 0;
}

static int set_window(struct store *store, const struct features_window *window,
		      struct errors *errors)
{
	json_t *note =
		json_pack("{s:I, s:I, s:I, s:I}", "from_ns", (json_int_t)window->from_ns, "to_ns",
			  (json_int_t)window->to_ns, "sample", (json_int_t)window->sample,
			  "clients", (json_int_t)window->clients);
	char *text = json_dumps(note, JSON_COMPACT);
	int error = text ? store_set_note(store, WINDOW_NOTE, text, errors) : -ENOMEM;

	free(text);
	json_decref(note);
	return error;
}

/* ---- reading ---- */

#define COLUMNS                                                                                    \
	"client, packets, bytes, flows, active_seconds, flows_per_day, bytes_per_flow, "           \
	"mean_gap_seconds, first_seen_age_seconds, last_seen_age_seconds, services"

static double real_or_nan(sqlite3_stmt *statement, int column)
{
	return sqlite3_column_type(statement, column) == SQLITE_NULL
		       ? NAN
		       : sqlite3_column_double(statement, column);
}

static struct client_features read_row(sqlite3_stmt *statement)
{
	struct client_features row = {
		.packets = sql_number(statement, 1),
		.bytes = sql_number(statement, 2),
		.flows = sql_number(statement, 3),
		.active_seconds = sql_number(statement, 4),
		.flows_per_day = sqlite3_column_double(statement, 5),
		.bytes_per_flow = real_or_nan(statement, 6),
		.mean_gap_seconds = real_or_nan(statement, 7),
		.first_seen_age_seconds = sqlite3_column_double(statement, 8),
		.last_seen_age_seconds = sqlite3_column_double(statement, 9),
		.services = sql_number(statement, 10),
	};
	const uint8_t *key = sqlite3_column_blob(statement, 0);

	if (key && sqlite3_column_bytes(statement, 0) == CLIENT_KEY_SIZE)
		row.client = client_of_key(key);
	return row;
}

int store_each_features(struct store *store, const struct member *from, const struct member *to,
			int (*each)(const struct client_features *features, void *data), void *data,
			struct errors *errors)
{
	uint8_t first[CLIENT_KEY_SIZE] = {0}, last[CLIENT_KEY_SIZE];
	sqlite3_stmt *statement;
	int error;

	if (store->schema_version < 3)
		return 0;
	memset(last, 0xff, sizeof(last));
	if (from)
		client_key_of(from, first);
	if (to)
		client_key_of(to, last);
	error = sql_query(store, &statement,
			  "SELECT " COLUMNS " FROM features WHERE client BETWEEN ?1 AND ?2 "
			  "ORDER BY client",
			  VALUES(BLOB(first, sizeof(first)), BLOB(last, sizeof(last))), errors);
	while (!error) {
		struct client_features row;

		error = sql_next(store, statement, errors);
		if (error <= 0)
			return error;
		row = read_row(statement);
		error = each(&row, data);
		if (error)
			sql_end(statement);
	}
	return error;
}

static int keep_row(const struct client_features *features, void *data)
{
	*(struct client_features *)data = *features;
	return 1;
}

int store_features(struct store *store, const struct member *client, struct client_features *out,
		   struct errors *errors)
{
	int found = store_each_features(store, client, client, keep_row, out, errors);

	return found == 1 ? 0 : found ? found : -ENOENT;
}

/* ---- writing ---- */

static void bind_real(sqlite3_stmt *statement, int place, double value)
{
	if (isnan(value))
		sqlite3_bind_null(statement, place);
	else
		sqlite3_bind_double(statement, place, value);
}

static int insert_row(struct store *store, const struct client_features *row, struct errors *errors)
{
	uint8_t key[CLIENT_KEY_SIZE];
	sqlite3_stmt *statement;
	int error;

	client_key_of(&row->client, key);
	error = sql_query(store, &statement,
			  "INSERT INTO features_next (" COLUMNS ") "
			  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
			  VALUES(BLOB(key, sizeof(key)), NUMBER(row->packets), NUMBER(row->bytes),
				 NUMBER(row->flows), NUMBER(row->active_seconds)),
			  errors);
	if (error)
		return error;
	bind_real(statement, 6, row->flows_per_day);
	bind_real(statement, 7, row->bytes_per_flow);
	bind_real(statement, 8, row->mean_gap_seconds);
	bind_real(statement, 9, row->first_seen_age_seconds);
	bind_real(statement, 10, row->last_seen_age_seconds);
	sqlite3_bind_int64(statement, 11, (int64_t)row->services);
	return sql_next(store, statement, errors);
}

int store_stage_features(struct store *store, const struct client_features *features, size_t count,
			 bool first, struct errors *errors)
{
	int error = first ? schema_begin_features(store, errors) : 0;

	for (size_t i = 0; i < count && !error; i++)
		error = insert_row(store, &features[i], errors);
	return error;
}

int store_show_features(struct store *store, const struct features_window *window,
			struct errors *errors)
{
	int error = schema_end_features(store, errors);

	return error ? error : set_window(store, window, errors);
}
