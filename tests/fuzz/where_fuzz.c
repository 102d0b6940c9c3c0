// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any text at all as `where`. What is refused has one error; what is accepted takes some of the
 * rows of a small catalogue, the same as where SQLite computes the expression as a value of each
 * row, fails in a row, or takes too long; and nothing is changed. Build with clang
 * -fsanitize=fuzzer,address,undefined; -dict=tests/fuzz/where.dict.
 */
#include "catalogue/features.h"
#include "store/rows.h"
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char tables[] =
	"CREATE TABLE notes (key TEXT, text TEXT); INSERT INTO notes VALUES ('secret', 'secret');"
	"CREATE TABLE clients (client BLOB NOT NULL PRIMARY KEY, plan, spent, note) WITHOUT ROWID;"
	"CREATE TABLE features (client BLOB NOT NULL PRIMARY KEY, packets INTEGER, bytes INTEGER,"
	" flows INTEGER, active_seconds INTEGER, flows_per_day REAL, bytes_per_flow REAL,"
	" mean_gap_seconds REAL, first_seen_age_seconds REAL, last_seen_age_seconds REAL,"
	" services INTEGER) WITHOUT ROWID;"
	"INSERT INTO clients VALUES (x'00000000000000000000ffffc000020180', 'gold', 12, NULL),"
	" (x'00000000000000000000ffffc000020280', 'trial', 2.5, 'odd'),"
	" (x'20010db800010002000000000000000040', NULL, -9223372036854775808, '');"
	"INSERT INTO features VALUES"
	" (x'00000000000000000000ffffc000020180', 100, 6400, 5, 60, 0.5, 1280, NULL, 9, 1, 1),"
	" (x'00000000000000000000ffffc000020380', 7, 700, 1, 1, 0.1, 700, NULL, 9, 9, 2);";

#define ROWS 4

static const char *const columns[] = {"plan", "spent", "note",
#define FEATURE_TEXT(name) #name,
				      FEATURES(FEATURE_TEXT)};

static struct store store = {.schema_version = 3, .directory = "memory", .lock = -1};
static sqlite3 *judge; /* the rows as one plain table, without authoriser or limits of ours */

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void execute(sqlite3 *database, const char *sql)
{
	require(sqlite3_exec(database, sql, NULL, NULL, NULL) == SQLITE_OK);
}

static void begin(void)
{
	require(sqlite3_open(":memory:", &store.database) == SQLITE_OK);
	require(!rows_set_up(&store, NULL));
	execute(store.database, tables);
	require(sqlite3_open(":memory:", &judge) == SQLITE_OK);
	sqlite3_db_config(judge, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	execute(judge, tables);
	execute(judge,
		"CREATE TABLE catalogue AS SELECT CASE key WHEN"
		" x'00000000000000000000ffffc000020180' THEN '192.0.2.1' WHEN"
		" x'00000000000000000000ffffc000020280' THEN '192.0.2.2' WHEN"
		" x'00000000000000000000ffffc000020380' THEN '192.0.2.3' ELSE '2001:db8:1:2::/64' "
		"END"
		" AS client, * FROM (SELECT coalesce(c.client, f.client) AS key, c.plan, c.spent,"
		" c.note, f.* FROM clients c FULL JOIN features f ON f.client = c.client) ORDER BY "
		"key");
	execute(judge, "ALTER TABLE catalogue DROP COLUMN \"client:1\";"
		       "ALTER TABLE catalogue DROP COLUMN key");
}

struct found {
	unsigned int rows, all; /* a bit for each row that was taken */
};

static int note_row(const struct catalogue_row *row, void *data)
{
	struct found *found = data;
	unsigned int number = row->client.high ? 3 : (row->client.low & 3) - 1;

	require(number < ROWS && !(found->rows >> number));
	found->rows |= 1u << number;
	found->all++;
	return 0;
}

/* The same by SQLite alone; false: it fails in a row. */
static bool judge_rows(const char *text, unsigned int *rows)
{
	sqlite3_stmt *statement;
	char *sql = sqlite3_mprintf("SELECT rowid - 1, CASE WHEN (%s) THEN 1 ELSE 0 END"
				    " FROM catalogue",
				    text);
	int result = sqlite3_prepare_v2(judge, sql, -1, &statement, NULL);

	*rows = 0;
	while (result == SQLITE_OK || result == SQLITE_ROW) {
		result = sqlite3_step(statement);
		if (result == SQLITE_ROW && sqlite3_column_int(statement, 1))
			*rows |= 1u << sqlite3_column_int(statement, 0);
	}
	sqlite3_finalize(statement);
	sqlite3_free(sql);
	return result == SQLITE_DONE;
}

/* What depends on the moment differs between two runs. */
static bool depends_on_time(const char *text)
{
	static const char *const words[] = {"now",  "current",	 "date",
					    "time", "julianday", "unixepoch"};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcasestr(text, words[i]))
			return true;
	return false;
}

static void run(const struct expression *where)
{
	struct rows_request request = {
		.where = where, .attributes = columns, .attributes_count = 3, .steps_max = 1};
	int changes = sqlite3_total_changes(store.database);
	struct errors *errors = errors_new();
	struct found found = {0};
	unsigned int rows;
	int error = rows_each(&store, &request, note_row, &found, errors);

	require((error != 0) == (errors_count(errors) > 0));
	require(!error || error == -EINVAL);
	require(!store.has_failed);
	require(sqlite3_total_changes(store.database) == changes);
	if (!error && !depends_on_time(where->text) && judge_rows(where->text, &rows))
		require(rows == found.rows);
	errors_free(errors);
}

static void check_tables(void)
{
	sqlite3_stmt *statement;

	require(sqlite3_prepare_v2(
			store.database,
			"SELECT (SELECT count(*) FROM clients) = 3 AND (SELECT count(*)"
			" FROM features) = 2 AND (SELECT count(*) FROM sqlite_schema) = 3"
			" AND (SELECT text FROM notes) = 'secret'",
			-1, &statement, NULL) == SQLITE_OK);
	require(sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_int(statement, 0));
	sqlite3_finalize(statement);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct expression where = {.object = "where",
				   .columns = columns,
				   .columns_count = sizeof(columns) / sizeof(*columns)};
	struct errors *errors = errors_new();
	char *text = strndup((const char *)data, size);
	int error;

	if (!store.database)
		begin();
	where.text = text;
	error = expression_check(&where, errors);
	require(errors_count(errors) == (error != 0));
	require(!error || error == -EINVAL || error == -ENOENT);
	if (!error)
		run(&where);
	check_tables();
	errors_free(errors);
	free(text);
	return 0;
}
