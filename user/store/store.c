// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening, committing and closing. The file is in WAL mode: a commit is one append that is on the
 * disk when store_commit() returns, a reader sees the last commit before it began and waits for
 * nobody, and a crash at any point leaves the last commit. The -wal and -shm files are left in
 * place when the last writer closes, for a reader of the group cannot make them.
 *
 * Order of a writer: lock, database, transaction; given back in the opposite order, so that the
 * checkpoint at closing is under the lock too. A handle belongs to one thread and is not carried
 * over a fork().
 */
#include "store/store_internal.h"

#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * How long SQLite's own short locks are waited for (recovery after a crash, a checkpoint): by a
 * writer no longer than it waits for the lock, but for what passes by itself.
 */
#define BUSY_MS	      5000
#define BUSY_LEAST_MS 200

static int database_path(const struct store *store, char path[PATH_MAX], struct errors *errors)
{
	if (snprintf(path, PATH_MAX, "%s/state.db", store->directory) >= PATH_MAX)
		return errors_add_code(errors, ENAMETOOLONG, store->directory,
				       "give a shorter --state", "the path is too long");
	return 0;
}

static struct store *new_store(const char *directory, struct errors *errors)
{
	struct store *store = calloc(1, sizeof(*store));

	if (store)
		store->directory = strdup(directory);
	if (!store || !store->directory) {
		free(store);
		errors_add_code(errors, ENOMEM, directory, "free some memory", "out of memory");
		return NULL;
	}
	store->lock = -1;
	return store;
}

static int open_database(struct store *store, const char *path, int flags, struct errors *errors)
{
	if (sqlite3_open_v2(path, &store->database, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		return sql_error(store, "open state.db", errors);
	sqlite3_busy_timeout(store->database, BUSY_MS);
	return rows_set_up(store, errors);
}

int store_open_read(const char *directory, struct store **out, struct errors *errors)
{
	struct store *store = new_store(directory, errors);
	char path[PATH_MAX];
	struct stat status;
	int error;

	if (!store)
		return -ENOMEM;
	error = database_path(store, path, errors);
	if (error)
		goto out;
	if (stat(path, &status)) {
		error = -errno;
		if (error != -ENOENT)
			errors_add_code(errors, error, directory,
					"run it as root, or join the directory's group",
					"cannot read the state: %s", strerror(-error));
		goto out;
	}
	error = open_database(store, path, SQLITE_OPEN_READONLY, errors);
	if (!error)
		error = schema_check(store, errors);
out:
	if (error) {
		store_close(store);
		return error;
	}
	*out = store;
	return 0;
}

static int make_directory(struct store *store, struct errors *errors)
{
	if (!mkdir(store->directory, 0750)) {
		/* Whatever the umask. */
		if (!chmod(store->directory, 0750))
			return 0;
	} else if (errno == EEXIST) {
		return 0;
	}
	return errors_add_code(errors, errno, store->directory, directory_hint(errno),
			       "cannot make the directory: %s", strerror(errno));
}

/*
 * Only a new file is opened here: closing any descriptor of a database drops the locks that SQLite
 * holds on it in this process.
 */
static int make_file(struct store *store, const char *path, struct errors *errors)
{
	int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	if (file < 0 && errno == EEXIST)
		return 0;
	if (file < 0)
		return errors_add_code(errors, errno, store->directory, directory_hint(errno),
				       "cannot make state.db: %s", strerror(errno));
	share_with_group(store->directory, file);
	close(file);
	return 0;
}

static int set_actor(struct store *store, const struct actor *actor, struct errors *errors)
{
	store->by = text_printable(actor->by ? actor->by : "");
	store->command = text_printable(actor->command ? actor->command : "");
	store->reason = text_printable(actor->reason ? actor->reason : "");
	if (!store->by || !store->command || !store->reason)
		return errors_add_code(errors, ENOMEM, store->directory, "free some memory",
				       "out of memory");
	return 0;
}

/*
 * Append to a log (WAL), wait for the disk at each commit (FULL), keep the log's file but cut it
 * when it is no longer needed. journal_mode is in the file and stays; the others are of the
 * connection.
 */
static int set_modes(struct store *store, struct errors *errors)
{
	int persist = 1;
	sqlite3_stmt *statement;
	bool is_wal;

	sqlite3_file_control(store->database, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
	if (sqlite3_prepare_v2(store->database, "PRAGMA journal_mode = WAL", -1, &statement,
			       NULL) != SQLITE_OK)
		return sql_error(store, "set the log", errors);
	is_wal = sqlite3_step(statement) == SQLITE_ROW && !strcmp(sql_text(statement, 0), "wal");
	if (sqlite3_finalize(statement) != SQLITE_OK)
		return sql_error(store, "set the log", errors);
	if (!is_wal)
		return errors_add_code(errors, ENOTSUP, store->directory,
				       "put --state on a local file system",
				       "its file system cannot share memory between processes");
	return sql_execute(store, "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 1048576",
			   "set the log", errors);
}

/* What is in the file is known to be ours before any of it is changed. */
static int open_for_writing(struct store *store, uint64_t wait_ms, struct errors *errors)
{
	char path[PATH_MAX];
	int error, schema;

	error = database_path(store, path, errors);
	if (!error)
		error = make_file(store, path, errors);
	if (!error)
		error = open_database(store, path, SQLITE_OPEN_READWRITE, errors);
	if (!error && wait_ms < BUSY_MS)
		sqlite3_busy_timeout(store->database,
				     wait_ms > BUSY_LEAST_MS ? wait_ms : BUSY_LEAST_MS);
	if (error)
		return error;
	schema = schema_check(store, errors);
	if (schema && schema != -ENOENT)
		return schema;
	/* journal_mode cannot be set in a transaction. */
	error = sql_execute(store, "ROLLBACK", "end the check", errors);
	if (!error)
		error = set_modes(store, errors);
	if (error)
		return error;
	store->is_writer = true;
	error = sql_execute(store, "BEGIN IMMEDIATE", "begin a change", errors);
	if (error)
		return error;
	return schema == -ENOENT ? schema_create(store, errors) : schema_migrate(store, errors);
}

int store_open_write(const char *directory, uint64_t wait_ms, const struct actor *actor,
		     struct store **out, struct errors *errors)
{
	struct store *store = new_store(directory, errors);
	int error;

	if (!store)
		return -ENOMEM;
	error = set_actor(store, actor, errors);
	if (!error)
		error = make_directory(store, errors);
	if (!error)
		error = state_lock_take(directory, wait_ms, store->command, &store->lock, errors);
	if (error)
		goto out;
	store->time_ns = time_now_ns();
	error = open_for_writing(store, wait_ms, errors);
out:
	if (error) {
		store_close(store);
		return error;
	}
	*out = store;
	return 0;
}

int store_commit(struct store *store, struct errors *errors)
{
	if (!store->is_writer)
		return errors_add_code(errors, EBADF, store->directory, "report this",
				       "cannot commit: it was opened for reading");
	if (store->has_failed)
		return errors_add_code(errors, ECANCELED, store->directory,
				       "look at the first error",
				       "nothing was committed: an earlier change failed");
	if (sqlite3_get_autocommit(store->database))
		return 0;
	return sql_execute(store, "COMMIT", "commit", errors);
}

void store_close(struct store *store)
{
	sqlite3_stmt *statement;

	if (!store)
		return;
	while (store->database && (statement = sqlite3_next_stmt(store->database, NULL)))
		sqlite3_finalize(statement);
	/* Takes back what was not committed. */
	sqlite3_close(store->database);
	state_lock_release(store->lock);
	forget_searches(store);
	free(store->directory);
	free(store->by);
	free(store->command);
	free(store->reason);
	free(store);
}
