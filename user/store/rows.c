// SPDX-License-Identifier: GPL-2.0-only
/*
 * The join is two statements, both in the order of keys, that are merged here: clients with their
 * features, and features of clients without attributes. (SQLite would sort the rows of one with a
 * full join.) Each has the row as `catalogue`, under which name the expression was checked, and is
 * prepared under an authoriser that allows reading the two tables and nothing else: the second
 * judge of what expression_check() has passed.
 */
#include "store/rows.h"

#include "catalogue/features.h"
#include "store/client_key.h"
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A header of a CSV begins with no space, so no expression can name it. */
#define KEY_COLUMN	"\" key\""
#define STEPS_A_CALL	1000000 /* of SQLite's machine, between two calls of within_steps() */
#define LENGTH_MAX	(16 * 1024 * 1024) /* bytes of any text that an expression makes */
#define PATTERN_MAX	1000		   /* of LIKE and GLOB */
#define FIRST_OF_VALUES 1		   /* column 0 is the key */

struct side {
	sqlite3_stmt *statement;
	bool has_row;
};

struct walk {
	struct store *store;
	const struct rows_request *request;
	struct errors *errors;
	struct side sides[2]; /* clients, features of others */
	uint64_t steps;
	bool took_too_long;
	struct catalogue_value *values;
};

/* ---- SQL ---- */

static void append_names(sqlite3_str *sql, const struct rows_request *request)
{
	sqlite3_str_appendall(sql, "WITH catalogue(" KEY_COLUMN ", client");
	for (size_t i = 0; i < request->attributes_count; i++)
		sqlite3_str_appendf(sql, ", \"%w\"", request->attributes[i]);
	for (size_t i = 0; i < FEATURES_COUNT; i++)
		sqlite3_str_appendf(sql, ", %s", feature_names[i]);
	sqlite3_str_appendall(sql, ") AS NOT MATERIALIZED (");
}

static void append_values(sqlite3_str *sql, const struct rows_request *request, bool has_attributes)
{
	const char *table = has_attributes ? "c" : "f";

	sqlite3_str_appendf(sql, "SELECT %s.client, client_text(%s.client)", table, table);
	for (size_t i = 0; i < request->attributes_count; i++)
		if (has_attributes)
			sqlite3_str_appendf(sql, ", c.\"%w\"", request->attributes[i]);
		else
			sqlite3_str_appendall(sql, ", NULL");
	for (size_t i = 0; i < FEATURES_COUNT; i++)
		sqlite3_str_appendf(sql, ", f.%s", feature_names[i]);
}

/* ?1: the only client. To be given to sqlite3_free(). */
static char *side_sql(const struct rows_request *request, bool has_attributes)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);

	append_names(sql, request);
	append_values(sql, request, has_attributes);
	sqlite3_str_appendall(sql, has_attributes ? " FROM clients c LEFT JOIN features f"
						    " ON f.client = c.client)"
						  : " FROM features f WHERE NOT EXISTS (SELECT 1"
						    " FROM clients c WHERE c.client = f.client))");
	sqlite3_str_appendall(sql, " SELECT " KEY_COLUMN);
	for (size_t i = 0; i < request->columns_count; i++)
		sqlite3_str_appendf(sql, ", \"%w\"", request->columns[i]);
	sqlite3_str_appendall(sql, " FROM catalogue WHERE ");
	if (request->where)
		sqlite3_str_appendf(sql, "(%s) AND ", request->where->text);
	sqlite3_str_appendf(sql, "%s ORDER BY " KEY_COLUMN,
			    request->only ? KEY_COLUMN " = ?1" : "1");
	return sqlite3_str_finish(sql);
}

/* ---- what the statements may do ---- */

static int authorise(void *data, int action, const char *first, const char *second,
		     const char *schema, const char *view)
{
	(void)data;
	(void)schema;
	(void)view;
	switch (action) {
	case SQLITE_SELECT:
		return SQLITE_OK;
	case SQLITE_READ:
		return first && (!strcmp(first, "clients") || !strcmp(first, "features"))
			       ? SQLITE_OK
			       : SQLITE_DENY;
	case SQLITE_FUNCTION:
		return second && (!strcmp(second, "client_text") || function_is_harmless(second))
			       ? SQLITE_OK
			       : SQLITE_DENY;
	default:
		return SQLITE_DENY;
	}
}

static int within_steps(void *data)
{
	struct walk *walk = data;
	uint64_t most = walk->request->steps_max ? walk->request->steps_max : ROWS_STEPS_MAX;

	walk->steps += STEPS_A_CALL;
	walk->took_too_long = walk->steps > most;
	return walk->took_too_long;
}

/* An expression's own failure is the expression's; the rest is the store's. */
static int failed(struct walk *walk)
{
	sqlite3 *database = walk->store->database;
	const struct expression *where = walk->request->where;
	int result = sqlite3_errcode(database) & 0xff;

	if (walk->took_too_long && where)
		return expression_refuse(where, strlen(where->text),
					 "write a simpler one, or compute a column in the CSV",
					 walk->errors, "it takes too long");
	if (where && (result == SQLITE_ERROR || result == SQLITE_TOOBIG || result == SQLITE_AUTH))
		return expression_refuse(where, strlen(where->text), "write another expression",
					 walk->errors, "%s", sqlite3_errmsg(database));
	return sql_error(walk->store, "read the catalogue", walk->errors);
}

static int prepare(struct walk *walk, bool has_attributes, sqlite3_stmt **out)
{
	char *sql = side_sql(walk->request, has_attributes);
	int result;

	if (!sql)
		return errors_add_code(walk->errors, ENOMEM, walk->store->directory,
				       "free some memory", "cannot read: out of memory");
	sqlite3_set_authorizer(walk->store->database, authorise, walk);
	result = sqlite3_prepare_v2(walk->store->database, sql, -1, out, NULL);
	sqlite3_set_authorizer(walk->store->database, NULL, NULL);
	sqlite3_free(sql);
	return result == SQLITE_OK ? 0 : failed(walk);
}

/*
 * Limits hold for the step alone: between two rows whoever called may use the handle for
 * something else.
 */
static int step(struct walk *walk, struct side *side)
{
	sqlite3 *database = walk->store->database;
	int length = sqlite3_limit(database, SQLITE_LIMIT_LENGTH, LENGTH_MAX);
	int pattern = sqlite3_limit(database, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_MAX);
	int result;

	sqlite3_progress_handler(database, STEPS_A_CALL, within_steps, walk);
	result = sqlite3_step(side->statement);
	sqlite3_progress_handler(database, 0, NULL, NULL);
	sqlite3_limit(database, SQLITE_LIMIT_LENGTH, length);
	sqlite3_limit(database, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, pattern);
	side->has_row = result == SQLITE_ROW;
	return result == SQLITE_ROW || result == SQLITE_DONE ? 0 : failed(walk);
}

/* ---- rows ---- */

static struct catalogue_value read_value(sqlite3_stmt *statement, int column)
{
	struct catalogue_value value = {.type = CATALOGUE_NULL};

	switch (sqlite3_column_type(statement, column)) {
	case SQLITE_INTEGER:
		value.type = CATALOGUE_INTEGER;
		value.integer = sqlite3_column_int64(statement, column);
		value.real = (double)value.integer;
		break;
	case SQLITE_FLOAT:
		value.type = CATALOGUE_REAL;
		value.real = sqlite3_column_double(statement, column);
		break;
	case SQLITE_TEXT:
		value.type = CATALOGUE_TEXT;
		value.text = (const char *)sqlite3_column_text(statement, column);
		if (!value.text)
			value.type = CATALOGUE_NULL;
		break;
	}
	return value;
}

static const uint8_t *key_of(const struct side *side)
{
	return sqlite3_column_bytes(side->statement, 0) == CLIENT_KEY_SIZE
		       ? sqlite3_column_blob(side->statement, 0)
		       : NULL;
}

/* The side whose row is next; NULL: both are at their end. No client is on both. */
static struct side *next_side(struct walk *walk)
{
	struct side *first = &walk->sides[0], *second = &walk->sides[1];
	const uint8_t *a, *b;

	if (!first->has_row || !second->has_row)
		return first->has_row ? first : second->has_row ? second : NULL;
	a = key_of(first);
	b = key_of(second);
	return !a || (b && memcmp(a, b, CLIENT_KEY_SIZE) < 0) ? first : second;
}

static int merge(struct walk *walk, int (*each)(const struct catalogue_row *row, void *data),
		 void *data)
{
	struct catalogue_row row = {.values = walk->values};
	const uint8_t *key;
	struct side *side;
	int error = step(walk, &walk->sides[0]);

	if (!error)
		error = step(walk, &walk->sides[1]);
	while (!error && (side = next_side(walk))) {
		key = key_of(side);
		if (!key)
			return errors_add_code(walk->errors, EUCLEAN, walk->store->directory,
					       "bring state.db back from a backup",
					       "the catalogue has a client that is none");
		row.client = client_of_key(key);
		for (size_t i = 0; i < walk->request->columns_count; i++)
			walk->values[i] = read_value(side->statement, (int)i + FIRST_OF_VALUES);
		error = each(&row, data);
		if (!error)
			error = step(walk, side);
	}
	return error;
}

static int bind_only(struct walk *walk, sqlite3_stmt *statement)
{
	uint8_t key[CLIENT_KEY_SIZE];

	if (!walk->request->only)
		return 0;
	client_key_of(walk->request->only, key);
	return sqlite3_bind_blob(statement, 1, key, sizeof(key), SQLITE_TRANSIENT) == SQLITE_OK
		       ? 0
		       : sql_error(walk->store, "set a value", walk->errors);
}

bool store_has_catalogue(const struct store *store)
{
	return store->schema_version >= 3;
}

int rows_each(struct store *store, const struct rows_request *request,
	      int (*each)(const struct catalogue_row *row, void *data), void *data,
	      struct errors *errors)
{
	struct walk walk = {.store = store, .request = request, .errors = errors};
	int error = sql_begin(store, errors);

	walk.values = calloc(request->columns_count + 1, sizeof(*walk.values));
	if (!error && !walk.values)
		error = errors_add_code(errors, ENOMEM, store->directory, "free some memory",
					"cannot read: out of memory");
	for (size_t i = 0; i < 2 && !error; i++) {
		error = prepare(&walk, i == 0, &walk.sides[i].statement);
		if (!error)
			error = bind_only(&walk, walk.sides[i].statement);
	}
	if (!error)
		error = merge(&walk, each, data);
	for (size_t i = 0; i < 2; i++)
		sqlite3_finalize(walk.sides[i].statement);
	free(walk.values);
	return error;
}

int store_attributes(struct store *store, char ***out, size_t *count, struct errors *errors)
{
	char **names = NULL, **larger;
	sqlite3_stmt *statement;
	size_t used = 0;
	int error;

	*out = NULL;
	*count = 0;
	if (!store_has_catalogue(store))
		return 0;
	error = sql_query(store, &statement,
			  "SELECT name FROM pragma_table_info('clients') WHERE name <> 'client' "
			  "ORDER BY cid",
			  NO_VALUES, errors);
	while (!error && (error = sql_next(store, statement, errors)) > 0) {
		error = -ENOMEM;
		larger = rows_grow(store, names, used, sizeof(*names), errors);
		if (!larger)
			break;
		names = larger;
		error = sql_copy(store, statement, 0, &names[used], errors);
		used += !error;
	}
	if (error) {
		sql_end(statement);
		catalogue_columns_release(names, used);
		return error;
	}
	*out = names;
	*count = used;
	return 0;
}

/* ---- of every connection ---- */

/* client_text(key): the client as it is printed. */
static void client_text(sqlite3_context *context, int count, sqlite3_value **arguments)
{
	char text[ADDRESS_TEXT_SIZE];
	struct member member;
	struct prefix prefix;

	if (count != 1 || sqlite3_value_bytes(arguments[0]) != CLIENT_KEY_SIZE)
		return;
	member = client_of_key(sqlite3_value_blob(arguments[0]));
	prefix = member_prefix(&member);
	sqlite3_result_text(context, prefix_format(&prefix, text), -1, SQLITE_TRANSIENT);
}

int rows_set_up(struct store *store, struct errors *errors)
{
	sqlite3 *database = store->database;

	/* "text" is a name, and never a text because there is no such name. */
	sqlite3_db_config(database, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	sqlite3_db_config(database, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	/* A state.db from elsewhere brings nothing along that runs. */
	sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	if (sqlite3_create_function(database, "client_text", 1,
				    SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY, NULL,
				    client_text, NULL, NULL) != SQLITE_OK)
		return sql_error(store, "open state.db", errors);
	return 0;
}
