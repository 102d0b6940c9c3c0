// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tables. A change of them raises SCHEMA_VERSION and comes with the statements that lead from
 * the version before it; a file of a version that this program does not know is not touched.
 *
 * Enums are kept as words, times as nanoseconds since 1970, and what may be 64 bits unsigned as the
 * signed number of the same bits.
 */
#include "store/store_internal.h"

#include <errno.h>

#define SCHEMA_VERSION	  4
#define TO_TEXT(value)	  #value
#define TO_TEXT_OF(value) TO_TEXT(value)

/* In the file's header ("XDPC"): tells that it is a state of this program. */
#define APPLICATION_ID 0x58445043

/* clang-format off */
/* Transactional as the tables are: a file has all of it or none. */
static const char make_identity[] =
	"PRAGMA application_id = " TO_TEXT_OF(APPLICATION_ID) ";"
	"CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;"
	"INSERT INTO schema_version VALUES (" TO_TEXT_OF(SCHEMA_VERSION) ");";

/* AUTOINCREMENT: numbers of revisions and audit entries are never given twice. box has one row. */
static const char make_tables[] =
	"CREATE TABLE revisions ("
	"	number INTEGER PRIMARY KEY AUTOINCREMENT,"
	"	time_ns INTEGER NOT NULL,"
	"	actor TEXT NOT NULL,"
	"	reason TEXT NOT NULL,"
	"	command TEXT NOT NULL,"
	"	config TEXT NOT NULL"
	") STRICT;"
	"CREATE TABLE audit ("
	"	id INTEGER PRIMARY KEY AUTOINCREMENT,"
	"	time_ns INTEGER NOT NULL,"
	"	revision INTEGER NOT NULL,"
	"	actor TEXT NOT NULL,"
	"	command TEXT NOT NULL,"
	"	service TEXT NOT NULL,"
	"	before TEXT,"
	"	after TEXT,"
	"	reason TEXT NOT NULL"
	") STRICT;"
	"CREATE TABLE services ("
	"	name TEXT NOT NULL PRIMARY KEY,"
	"	slot INTEGER NOT NULL UNIQUE,"
	"	epoch INTEGER NOT NULL,"
	"	digest INTEGER NOT NULL,"
	"	latch TEXT NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE shares ("
	"	service TEXT NOT NULL,"
	"	rule TEXT NOT NULL,"
	"	cohort TEXT NOT NULL,"
	"	ppm INTEGER NOT NULL,"
	"	time_ns INTEGER NOT NULL,"
	"	actor TEXT NOT NULL,"
	"	PRIMARY KEY (service, rule, cohort)"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE pins ("
	"	service TEXT NOT NULL,"
	"	client TEXT NOT NULL,"
	"	cohort TEXT NOT NULL,"
	"	expires_ns INTEGER NOT NULL,"
	"	time_ns INTEGER NOT NULL,"
	"	actor TEXT NOT NULL,"
	"	PRIMARY KEY (service, client)"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE interfaces ("
	"	name TEXT NOT NULL PRIMARY KEY,"
	"	slot INTEGER NOT NULL UNIQUE,"
	"	attached INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE box (detached INTEGER NOT NULL) STRICT;"
	"INSERT INTO box VALUES (0);"
	"CREATE TABLE notes ("
	"	key TEXT NOT NULL PRIMARY KEY,"
	"	text TEXT NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE numbers ("
	"	kind TEXT NOT NULL,"
	"	scope TEXT NOT NULL,"
	"	name TEXT NOT NULL,"
	"	number INTEGER NOT NULL,"
	"	PRIMARY KEY (kind, scope, name),"
	"	UNIQUE (kind, scope, number)"
	") STRICT, WITHOUT ROWID;";
/* Of version 2: what operators wish of backends. */
static const char make_wishes[] =
	"CREATE TABLE wishes ("
	"	service TEXT NOT NULL,"
	"	backend TEXT NOT NULL,"
	"	wish TEXT NOT NULL,"
	"	time_ns INTEGER NOT NULL,"
	"	actor TEXT NOT NULL,"
	"	PRIMARY KEY (service, backend)"
	") STRICT, WITHOUT ROWID;";
/* Of table features, and of the one that is to take its place. */
#define FEATURES_COLUMNS \
	"	client BLOB NOT NULL PRIMARY KEY," \
	"	packets INTEGER NOT NULL," \
	"	bytes INTEGER NOT NULL," \
	"	flows INTEGER NOT NULL," \
	"	active_seconds INTEGER NOT NULL," \
	"	flows_per_day REAL NOT NULL," \
	"	bytes_per_flow REAL," \
	"	mean_gap_seconds REAL," \
	"	first_seen_age_seconds REAL NOT NULL," \
	"	last_seen_age_seconds REAL NOT NULL," \
	"	services INTEGER NOT NULL" \
	") STRICT, WITHOUT ROWID;"
/*
 * Of version 3: the catalogue and what is computed from it. A client is the 16 bytes of its place in
 * the 128-bit space (IPv4 at ::ffff:0:0/96) and its prefix length in that space, so that blobs sort
 * as addresses do. The table clients gets a column, without a type, for each attribute. features
 * are of the last complete window. Memberships and groupings are frozen: what was computed at
 * time_ns of a definition; members are elements of struct member, sorted.
 */
static const char make_catalogue[] =
	"CREATE TABLE clients (client BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID;"
	"CREATE TABLE features (" FEATURES_COLUMNS
	"CREATE TABLE models ("
	"	name TEXT NOT NULL PRIMARY KEY,"
	"	time_ns INTEGER NOT NULL,"
	"	actor TEXT NOT NULL,"
	"	json TEXT NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE memberships ("
	"	segment TEXT NOT NULL PRIMARY KEY,"
	"	version INTEGER NOT NULL,"
	"	time_ns INTEGER NOT NULL,"
	"	definition INTEGER NOT NULL,"
	"	digest INTEGER NOT NULL,"
	"	detail TEXT NOT NULL,"
	"	count INTEGER NOT NULL,"
	"	members BLOB NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE groupings ("
	"	column_name TEXT NOT NULL PRIMARY KEY,"
	"	version INTEGER NOT NULL,"
	"	time_ns INTEGER NOT NULL,"
	"	digest INTEGER NOT NULL,"
	"	texts BLOB NOT NULL,"
	"	count INTEGER NOT NULL,"
	"	members BLOB NOT NULL"
	") STRICT, WITHOUT ROWID;";
/* Of version 4: what the daemon's checks found of backends. */
static const char make_checks[] =
	"CREATE TABLE checks ("
	"	service TEXT NOT NULL,"
	"	backend TEXT NOT NULL,"
	"	health TEXT NOT NULL,"
	"	flapping INTEGER NOT NULL,"
	"	time_ns INTEGER NOT NULL,"
	"	PRIMARY KEY (service, backend)"
	") STRICT, WITHOUT ROWID;";
/*
 * Of version 4, too: rollouts. machine and judgement are JSON, of user/rollout; counts are
 * increments; a client is as in table clients.
 */
static const char make_rollouts[] =
	"CREATE TABLE rollouts ("
	"	service TEXT NOT NULL,"
	"	id INTEGER NOT NULL,"
	"	release TEXT NOT NULL,"
	"	cohort TEXT NOT NULL,"
	"	revision INTEGER NOT NULL,"
	"	state TEXT NOT NULL,"
	"	started_ns INTEGER NOT NULL,"
	"	ended_ns INTEGER NOT NULL,"
	"	closed_ns INTEGER NOT NULL,"
	"	machine TEXT NOT NULL,"
	"	judgement TEXT NOT NULL,"
	"	PRIMARY KEY (service, id)"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE rollout_events ("
	"	number INTEGER PRIMARY KEY AUTOINCREMENT,"
	"	service TEXT NOT NULL,"
	"	id INTEGER NOT NULL,"
	"	time_ns INTEGER NOT NULL,"
	"	event TEXT NOT NULL,"
	"	json TEXT NOT NULL"
	") STRICT;"
	"CREATE INDEX rollout_events_of ON rollout_events (service, id, number);"
	"CREATE TABLE hook_calls ("
	"	number INTEGER PRIMARY KEY AUTOINCREMENT,"
	"	service TEXT NOT NULL,"
	"	id INTEGER NOT NULL,"
	"	call INTEGER NOT NULL,"
	"	hook INTEGER NOT NULL,"
	"	gate INTEGER NOT NULL,"
	"	json TEXT NOT NULL"
	") STRICT;"
	"CREATE TABLE rollout_counts ("
	"	service TEXT NOT NULL,"
	"	id INTEGER NOT NULL,"
	"	time_ns INTEGER NOT NULL,"
	"	window INTEGER NOT NULL,"
	"	metric TEXT NOT NULL,"
	"	rule TEXT NOT NULL,"
	"	k INTEGER NOT NULL,"
	"	n INTEGER NOT NULL,"
	"	pi REAL NOT NULL"
	") STRICT;"
	"CREATE INDEX rollout_counts_of ON rollout_counts (service, id, time_ns);"
	"CREATE TABLE rollout_clients ("
	"	service TEXT NOT NULL,"
	"	id INTEGER NOT NULL,"
	"	client BLOB NOT NULL,"
	"	metric TEXT NOT NULL,"
	"	cohort TEXT NOT NULL,"
	"	time_ns INTEGER NOT NULL,"
	"	PRIMARY KEY (service, id, client, cohort, metric)"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE feedback ("
	"	number INTEGER PRIMARY KEY AUTOINCREMENT,"
	"	service TEXT NOT NULL,"
	"	client BLOB NOT NULL,"
	"	metric TEXT NOT NULL,"
	"	time_ns INTEGER NOT NULL"
	") STRICT;";
static const char make_next_features[] =
	"DROP TABLE IF EXISTS features_next;"
	"CREATE TABLE features_next (" FEATURES_COLUMNS;
static const char swap_features[] =
	"DROP TABLE features;"
	"ALTER TABLE features_next RENAME TO features;";
static const char set_version[] =
	"UPDATE schema_version SET version = " TO_TEXT_OF(SCHEMA_VERSION) ";";
/* clang-format on */

/* -ENOENT without an error where the query has no row. */
static int read_one(struct store *store, const char *sql, uint64_t *out, struct errors *errors)
{
	sqlite3_stmt *statement;
	int error = sql_query(store, &statement, sql, NO_VALUES, errors);

	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	*out = sql_number(statement, 0);
	sql_end(statement);
	return 0;
}

int schema_check(struct store *store, struct errors *errors)
{
	uint64_t identity = 0, tables = 0, version = 0;
	int error = read_one(store, "PRAGMA application_id", &identity, errors);

	if (!error)
		error = read_one(store, "SELECT count(*) FROM sqlite_schema", &tables, errors);
	if (error)
		return error;
	if (!tables && !identity)
		return -ENOENT;
	if (identity != APPLICATION_ID)
		return errors_add_code(errors, EPROTO, store->directory,
				       "give the state's own directory with --state",
				       "state.db is of another program");
	error = read_one(store, "SELECT version FROM schema_version", &version, errors);
	if (error && error != -ENOENT)
		return error;
	if (version > SCHEMA_VERSION)
		return errors_add_code(errors, EPROTO, store->directory,
				       "install that version of xdp-canary, or a later one",
				       "state.db is from a newer version (schema %llu, known: %d)",
				       (unsigned long long)version, SCHEMA_VERSION);
	if (!version)
		return errors_add_code(errors, EPROTO, store->directory,
				       "bring state.db back from a backup",
				       "state.db has a schema that no version had");
	store->schema_version = version;
	return 0;
}

int schema_create(struct store *store, struct errors *errors)
{
	int error = sql_execute(store, make_identity, "make the tables", errors);

	if (!error)
		error = sql_execute(store, make_tables, "make the tables", errors);
	if (!error)
		error = sql_execute(store, make_wishes, "make the tables", errors);
	if (!error)
		error = sql_execute(store, make_catalogue, "make the tables", errors);
	if (!error)
		error = sql_execute(store, make_checks, "make the tables", errors);
	if (!error)
		error = sql_execute(store, make_rollouts, "make the tables", errors);
	store->schema_version = SCHEMA_VERSION;
	return error;
}

int schema_migrate(struct store *store, struct errors *errors)
{
	int error = 0;

	if (store->schema_version == SCHEMA_VERSION)
		return 0;
	if (store->schema_version < 2)
		error = sql_execute(store, make_wishes, "bring the tables up to date", errors);
	if (!error && store->schema_version < 3)
		error = sql_execute(store, make_catalogue, "bring the tables up to date", errors);
	if (!error && store->schema_version < 4)
		error = sql_execute(store, make_checks, "bring the tables up to date", errors);
	if (!error && store->schema_version < 4)
		error = sql_execute(store, make_rollouts, "bring the tables up to date", errors);
	if (!error)
		error = sql_execute(store, set_version, "bring the tables up to date", errors);
	store->schema_version = SCHEMA_VERSION;
	return error;
}

int schema_begin_features(struct store *store, struct errors *errors)
{
	int error = sql_begin(store, errors);

	return error ? error
		     : sql_execute(store, make_next_features, "make room for features", errors);
}

int schema_end_features(struct store *store, struct errors *errors)
{
	int error = sql_begin(store, errors);

	return error ? error : sql_execute(store, swap_features, "replace the features", errors);
}
