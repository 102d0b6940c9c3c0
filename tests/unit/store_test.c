// SPDX-License-Identifier: GPL-2.0-only
/*
 * The store: what it keeps, who may read and write it at the same time, and what a crash leaves.
 * Each test has a directory of its own; crashes are processes that die by SIGKILL.
 */
#include "store/rollouts.h"
#include "store/store.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct actor ann = {.by = "ann", .command = "apply -f box.yaml", .reason = "release"};

struct fixture {
	char root[64], directory[80];
	struct errors *errors;
};

static int make_box(void **state)
{
	struct fixture *box = calloc(1, sizeof(*box));

	strcpy(box->root, "/tmp/store_test.XXXXXX");
	assert_non_null(mkdtemp(box->root));
	assert_int_equal(chmod(box->root, 0755), 0);
	snprintf(box->directory, sizeof(box->directory), "%s/state", box->root);
	box->errors = errors_new();
	*state = box;
	return 0;
}

static int remove_box(void **state)
{
	static const char *const files[] = {"state.db", "state.db-wal", "state.db-shm", "lock", ""};
	static const char *const directories[] = {"state", "copy"};
	struct fixture *box = *state;
	char path[128];

	for (size_t i = 0; i < COUNT(directories); i++) {
		for (size_t j = 0; j < COUNT(files); j++) {
			snprintf(path, sizeof(path), "%s/%s/%s", box->root, directories[i],
				 files[j]);
			remove(path);
		}
	}
	rmdir(box->root);
	errors_free(box->errors);
	free(box);
	return 0;
}

static char *errors_text(const struct errors *errors)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	errors_print(errors, stream);
	fclose(stream);
	return text;
}

static void assert_error_says(const struct fixture *box, const char *part)
{
	char *text = errors_text(box->errors);

	if (!strstr(text, part))
		fail_msg("`%s` is not in: %s", part, text);
	free(text);
}

static void assert_no_error(const struct fixture *box)
{
	char *text = errors_text(box->errors);

	assert_string_equal(text, "");
	free(text);
}

static void path_of(const struct fixture *box, const char *file, char path[128])
{
	snprintf(path, 128, "%s/%s", box->directory, file);
}

static struct store *writer_of(struct fixture *box)
{
	struct store *store = NULL;

	if (store_open_write(box->directory, 10000, &ann, &store, box->errors))
		fail_msg("%s", errors_text(box->errors));
	return store;
}

static struct store *reader_of(struct fixture *box)
{
	struct store *store = NULL;

	if (store_open_read(box->directory, &store, box->errors))
		fail_msg("%s", errors_text(box->errors));
	return store;
}

static void commit_and_close(struct fixture *box, struct store *store)
{
	if (store_commit(store, box->errors))
		fail_msg("%s", errors_text(box->errors));
	store_close(store);
}

static uint64_t add_revision(struct fixture *box, const char *config)
{
	struct store *store = writer_of(box);
	uint64_t number = 0;

	assert_int_equal(store_add_revision(store, config, &number, box->errors), 0);
	commit_and_close(box, store);
	return number;
}

/* 0 where there is no state. */
static uint64_t last_revision(struct fixture *box)
{
	struct revision revision;
	struct store *store;
	int error = store_open_read(box->directory, &store, box->errors);

	if (error == -ENOENT)
		return 0;
	assert_int_equal(error, 0);
	error = store_revision(store, 0, &revision, box->errors);
	store_close(store);
	if (error == -ENOENT)
		return 0;
	assert_int_equal(error, 0);
	error = (int)revision.number;
	revision_release(&revision);
	return (uint64_t)error;
}

static void assert_dies_by(pid_t child, int signal)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signal);
}

static void assert_exits_with(pid_t child, int code)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

/* ---- opening ---- */

static void reading_where_there_is_no_state_says_so_and_creates_nothing(void **state)
{
	struct fixture *box = *state;
	struct store *store = NULL;
	char path[128];

	assert_int_equal(store_open_read(box->directory, &store, box->errors), -ENOENT);
	assert_int_equal(access(box->directory, F_OK), -1);
	assert_int_equal(mkdir(box->directory, 0750), 0);
	assert_int_equal(store_open_read(box->directory, &store, box->errors), -ENOENT);
	assert_int_equal(rmdir(box->directory), 0); /* it is empty */

	/* The moment after a first writer has made the file. */
	assert_int_equal(mkdir(box->directory, 0750), 0);
	path_of(box, "state.db", path);
	close(open(path, O_CREAT | O_WRONLY, 0640));
	assert_int_equal(store_open_read(box->directory, &store, box->errors), -ENOENT);
	assert_null(store);
	assert_no_error(box);
	store_close(NULL);
}

static mode_t mode_of(const struct fixture *box, const char *file)
{
	struct stat status;
	char path[128];

	path_of(box, file, path);
	assert_int_equal(stat(path, &status), 0);
	return status.st_mode & 07777;
}

static void a_state_is_the_owners_to_write_and_the_groups_to_read(void **state)
{
	static const mode_t masks[] = {0, 077};
	struct fixture *box = *state;

	for (size_t i = 0; i < COUNT(masks); i++) {
		mode_t before = umask(masks[i]);

		add_revision(box, "version: 1\n");
		umask(before);
		assert_int_equal(mode_of(box, ""), 0750);
		assert_int_equal(mode_of(box, "state.db"), 0640);
		assert_int_equal(mode_of(box, "state.db-wal"), 0640);
		assert_int_equal(mode_of(box, "state.db-shm"), 0640);
		assert_int_equal(mode_of(box, "lock"), 0640);
		remove_box(state);
		make_box(state);
		box = *state;
	}
}

static void a_directory_without_a_parent_is_refused(void **state)
{
	struct fixture *box = *state;
	struct store *store = NULL;

	strcat(box->directory, "/none");
	assert_int_equal(store_open_write(box->directory, 0, &ann, &store, box->errors), -ENOENT);
	assert_error_says(box, "make its parent first");
	assert_null(store);
}

static void run_sql(const struct fixture *box, const char *sql)
{
	sqlite3 *database;
	char path[128];

	path_of(box, "state.db", path);
	assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
	assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

static void a_state_of_a_newer_version_is_refused_and_left_alone(void **state)
{
	struct fixture *box = *state;
	struct store *store = NULL;

	add_revision(box, "version: 1\n");
	run_sql(box, "UPDATE schema_version SET version = 5");
	assert_int_equal(store_open_read(box->directory, &store, box->errors), -EPROTO);
	assert_int_equal(store_open_write(box->directory, 0, &ann, &store, box->errors), -EPROTO);
	assert_int_equal(errors_count(box->errors), 2);
	assert_error_says(box, "state.db is from a newer version (schema 5, known: 4)");
	assert_null(store);
	run_sql(box, "UPDATE schema_version SET version = 4");
	assert_int_equal(last_revision(box), 1);
}

static void a_database_of_another_program_is_refused_and_left_alone(void **state)
{
	struct fixture *box = *state;
	struct store *store = NULL;
	struct stat before, after;
	char path[128];

	assert_int_equal(mkdir(box->directory, 0750), 0);
	run_sql(box, "CREATE TABLE songs (title TEXT)");
	path_of(box, "state.db", path);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(store_open_read(box->directory, &store, box->errors), -EPROTO);
	assert_int_equal(store_open_write(box->directory, 0, &ann, &store, box->errors), -EPROTO);
	assert_error_says(box, "state.db is of another program");
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

static void a_damaged_file_is_refused_with_what_to_do(void **state)
{
	struct fixture *box = *state;
	struct store *store = NULL;
	char path[128], text[8192];
	int file;

	memset(text, 'x', sizeof(text));
	assert_int_equal(mkdir(box->directory, 0750), 0);
	path_of(box, "state.db", path);
	file = open(path, O_CREAT | O_WRONLY, 0640);
	assert_int_equal(write(file, text, sizeof(text)), sizeof(text));
	close(file);
	assert_int_equal(store_open_read(box->directory, &store, box->errors), -EUCLEAN);
	assert_int_equal(store_open_write(box->directory, 0, &ann, &store, box->errors), -EUCLEAN);
	assert_error_says(box, "bring state.db back from a backup");
}

/* ---- transactions ---- */

static void closing_without_a_commit_takes_all_back(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	uint64_t number;

	assert_int_equal(store_add_revision(store, "version: 1\n", &number, box->errors), 0);
	store_close(store);
	assert_int_equal(last_revision(box), 0);

	assert_int_equal(add_revision(box, "version: 1\n"), 1);
	store = writer_of(box);
	assert_int_equal(store_add_revision(store, "two", &number, box->errors), 0);
	assert_int_equal(store_set_detached(store, true, box->errors), 0);
	store_close(store);
	assert_int_equal(last_revision(box), 1);
	assert_no_error(box);
}

static void a_reader_sees_commits_only_and_one_moment(void **state)
{
	struct fixture *box = *state;
	struct store *store, *early;
	struct revision revision;
	uint64_t number;

	add_revision(box, "one");
	store = writer_of(box);
	assert_int_equal(store_add_revision(store, "two", &number, box->errors), 0);
	early = reader_of(box); /* without waiting for the writer */
	assert_int_equal(last_revision(box), 1);
	assert_int_equal(store_commit(store, box->errors), 0);
	assert_int_equal(last_revision(box), 2); /* the writer has not closed yet */
	store_close(store);
	add_revision(box, "three");

	assert_int_equal(store_revision(early, 0, &revision, box->errors), 0);
	assert_int_equal(revision.number, 1);
	revision_release(&revision);
	store_close(early);
	assert_int_equal(last_revision(box), 3);
	assert_no_error(box);
}

static void what_follows_a_commit_needs_a_commit_of_its_own(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	uint64_t number;

	assert_int_equal(store_add_revision(store, "one", &number, box->errors), 0);
	assert_int_equal(store_commit(store, box->errors), 0);
	assert_int_equal(store_commit(store, box->errors), 0);
	assert_int_equal(store_add_revision(store, "two", &number, box->errors), 0);
	assert_int_equal(store_commit(store, box->errors), 0);
	assert_int_equal(store_add_revision(store, "three", &number, box->errors), 0);
	store_close(store);
	assert_int_equal(last_revision(box), 2);
	assert_no_error(box);
}

static void a_reader_cannot_change_anything(void **state)
{
	struct fixture *box = *state;
	struct store *store;

	add_revision(box, "one");
	store = reader_of(box);
	assert_true(store_set_detached(store, true, box->errors) < 0);
	assert_true(store_commit(store, box->errors) < 0);
	assert_int_equal(errors_count(box->errors), 2);
	store_close(store);
}

static void a_change_that_finds_no_space_fails_whole(void **state)
{
	struct fixture *box = *state;
	pid_t child;

	add_revision(box, "one");
	child = fork();
	if (!child) {
		struct rlimit limit = {.rlim_cur = 200000, .rlim_max = 200000};
		struct store *store = NULL;
		char *config = calloc(1, 1000001);
		uint64_t number;

		memset(config, 'x', 1000000);
		signal(SIGXFSZ, SIG_IGN);
		if (store_open_write(box->directory, 0, &ann, &store, box->errors) ||
		    store_set_detached(store, true, box->errors) || setrlimit(RLIMIT_FSIZE, &limit))
			_exit(1);
		/* The cache may take it; then the commit is what fails. */
		if (!store_add_revision(store, config, &number, box->errors) &&
		    !store_commit(store, box->errors))
			_exit(2);
		if (!errors_count(box->errors))
			_exit(3);
		/* What comes after a failure is not kept either. */
		store_set_detached(store, true, box->errors);
		if (!store_commit(store, box->errors))
			_exit(4);
		store_close(store);
		free(config);
		_exit(0);
	}
	assert_exits_with(child, 0);
	assert_int_equal(last_revision(box), 1);
	assert_int_equal(add_revision(box, "two"), 2);
}

/* ---- crashes ---- */

enum crash { BEFORE_COMMIT, AFTER_COMMIT };

static void crash(struct fixture *box, enum crash moment)
{
	pid_t child = fork();

	if (!child) {
		struct store *store = NULL;
		uint64_t number;

		if (!store_open_write(box->directory, 0, &ann, &store, box->errors) &&
		    !store_add_revision(store, "crash", &number, box->errors) &&
		    (moment == BEFORE_COMMIT || !store_commit(store, box->errors)))
			raise(SIGKILL);
		_exit(1);
	}
	assert_dies_by(child, SIGKILL);
}

static void death_before_the_commit_leaves_nothing_and_no_lock(void **state)
{
	struct fixture *box = *state;

	crash(box, BEFORE_COMMIT);
	assert_int_equal(last_revision(box), 0);
	assert_int_equal(add_revision(box, "one"), 1);
	crash(box, BEFORE_COMMIT);
	assert_int_equal(last_revision(box), 1);
	assert_int_equal(add_revision(box, "two"), 2);
	assert_no_error(box);
}

static void death_between_commit_and_close_keeps_the_commit(void **state)
{
	struct fixture *box = *state;

	crash(box, AFTER_COMMIT);
	assert_int_equal(last_revision(box), 1);
	crash(box, AFTER_COMMIT);
	assert_int_equal(last_revision(box), 2);
	assert_int_equal(add_revision(box, "three"), 3);
	crash(box, AFTER_COMMIT);
	assert_int_equal(add_revision(box, "five"), 5);
	assert_no_error(box);
}

/* One revision, audit entry, share and number in each transaction: they must stay equal. */
static void write_transaction_or_exit(struct store *store, struct errors *errors)
{
	uint64_t revision;
	uint32_t number;
	char name[32];

	if (store_add_revision(store, "config", &revision, errors))
		_exit(1);
	snprintf(name, sizeof(name), "%llu", (unsigned long long)revision);
	if (store_audit(store, "api", NULL, name, errors) ||
	    store_set_share(store, "api", "default", "canary", (uint32_t)revision, errors) ||
	    store_number(store, NUMBER_BACKEND, "api", name, 32767, &number, NULL, errors) ||
	    store_commit(store, errors))
		_exit(1);
}

static void write_for_ever(struct fixture *box)
{
	for (;;) {
		struct store *store = NULL;

		if (store_open_write(box->directory, 10000, &ann, &store, box->errors))
			_exit(1);
		write_transaction_or_exit(store, box->errors);
		store_close(store);
	}
}

/* Returns the last revision. */
static uint64_t assert_transactions_are_whole(struct fixture *box)
{
	struct audit_entry *entries;
	struct revision revision;
	struct store *store;
	uint32_t number;
	struct live live;
	char name[32];
	size_t count;
	int error;

	error = store_open_read(box->directory, &store, box->errors);
	if (error == -ENOENT)
		return 0;
	assert_int_equal(error, 0);
	error = store_revision(store, 0, &revision, box->errors);
	if (error == -ENOENT) {
		store_close(store);
		return 0;
	}
	assert_int_equal(error, 0);
	assert_int_equal(store_read_audit(store, NULL, 0, &entries, &count, box->errors), 0);
	assert_int_equal(count, revision.number);
	assert_int_equal(entries[count - 1].revision, revision.number);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live.shares_count, 1);
	assert_int_equal(live.shares[0].ppm, revision.number);
	snprintf(name, sizeof(name), "%llu", (unsigned long long)revision.number);
	assert_int_equal(
		store_find_number(store, NUMBER_BACKEND, "api", name, &number, box->errors), 0);
	assert_int_equal(number, revision.number - 1);
	store_close(store);
	number = (uint32_t)revision.number;
	live_release(&live);
	audit_release(entries, count);
	revision_release(&revision);
	return number;
}

static void death_at_any_moment_leaves_whole_transactions(void **state)
{
	struct fixture *box = *state;
	uint64_t last = 0;

	for (int i = 0; i < 40; i++) {
		pid_t child = fork();
		uint64_t now;

		if (!child)
			write_for_ever(box);
		/* Readers meet it alive, too. */
		for (int j = 0; j < 5; j++) {
			usleep((useconds_t)(300 + (i * 977 + j * 331) % 4000));
			now = assert_transactions_are_whole(box);
			assert_true(now >= last);
			last = now;
		}
		kill(child, SIGKILL);
		assert_dies_by(child, SIGKILL);
		now = assert_transactions_are_whole(box);
		assert_true(now >= last);
		last = now;
	}
	assert_true(last > 10);
	assert_no_error(box);
}

static void copy_file(const struct fixture *box, const char *name, size_t cut)
{
	static char bytes[1 << 22];
	char path[128];
	ssize_t size;
	int file;

	path_of(box, name, path);
	file = open(path, O_RDONLY);
	assert_true(file >= 0);
	size = read(file, bytes, sizeof(bytes));
	assert_true(size >= 0);
	close(file);
	if ((size_t)size > cut)
		size = (ssize_t)cut;
	snprintf(path, sizeof(path), "%s/copy/%s", box->root, name);
	file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0640);
	assert_int_equal(write(file, bytes, (size_t)size), size);
	close(file);
}

/* As after a loss of power: a part of the log is on the disk, and the shared memory is gone. */
static void a_log_cut_off_anywhere_gives_whole_transactions(void **state)
{
	enum { TRANSACTIONS = 5 };
	struct fixture *box = *state, copy = *box;
	bool seen[TRANSACTIONS + 1] = {false};
	struct stat status;
	char path[128];
	pid_t child = fork();

	if (!child) {
		struct store *store = writer_of(box);

		for (int i = 0; i < TRANSACTIONS; i++)
			write_transaction_or_exit(store, box->errors);
		raise(SIGKILL);
	}
	assert_dies_by(child, SIGKILL);
	path_of(box, "state.db-wal", path);
	assert_int_equal(stat(path, &status), 0);
	snprintf(copy.directory, sizeof(copy.directory), "%s/copy", box->root);
	assert_int_equal(mkdir(copy.directory, 0750), 0);
	for (off_t cut = 0; cut <= status.st_size; cut += 509) {
		uint64_t last;

		copy_file(box, "state.db", SIZE_MAX);
		copy_file(box, "state.db-wal", (size_t)cut);
		path_of(&copy, "state.db-shm", path);
		remove(path);
		last = assert_transactions_are_whole(&copy);
		assert_true(last <= TRANSACTIONS);
		seen[last] = true;
	}
	copy_file(box, "state.db-wal", SIZE_MAX);
	assert_int_equal(assert_transactions_are_whole(&copy), TRANSACTIONS);
	for (int i = 0; i < TRANSACTIONS; i++)
		assert_true(seen[i]);
	assert_no_error(box);
}

/* ---- the lock ---- */

static void a_writer_that_waits_in_vain_names_the_holder(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box), *second = NULL;
	uint64_t start;
	char part[256];

	start = monotonic_now_ns();
	assert_int_equal(store_open_write(box->directory, 150, &ann, &second, box->errors), -EBUSY);
	assert_true(monotonic_now_ns() - start >= 150000000);
	assert_null(second);
	snprintf(part, sizeof(part),
		 "%s: pid %d is changing it (apply -f box.yaml), waited 150ms: let it finish, or",
		 box->directory, (int)getpid());
	assert_error_says(box, part);
	store_close(store);
	store_close(writer_of(box));
}

static void the_lock_is_kept_after_the_commit_until_the_close(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box), *second = NULL;

	assert_int_equal(store_commit(store, box->errors), 0);
	assert_int_equal(store_open_write(box->directory, 0, &ann, &second, box->errors), -EBUSY);
	store_close(store);
	store_close(writer_of(box));
}

static void a_waiter_goes_on_when_the_holder_ends_or_dies(void **state)
{
	static const int ends[] = {0, SIGKILL};
	struct fixture *box = *state;

	for (size_t i = 0; i < COUNT(ends); i++) {
		int ready[2];
		char byte;
		pid_t child;

		assert_int_equal(pipe(ready), 0);
		child = fork();
		if (!child) {
			struct store *store = writer_of(box);

			if (write(ready[1], "x", 1) != 1)
				_exit(1);
			usleep(100000);
			if (ends[i])
				raise(ends[i]);
			commit_and_close(box, store);
			_exit(0);
		}
		assert_int_equal(read(ready[0], &byte, 1), 1);
		store_close(writer_of(box));
		if (ends[i])
			assert_dies_by(child, ends[i]);
		else
			assert_exits_with(child, 0);
		close(ready[0]);
		close(ready[1]);
	}
	assert_no_error(box);
}

static void the_lock_names_nobody_once_it_is_free(void **state)
{
	struct fixture *box = *state;
	struct stat status;
	char path[128];

	add_revision(box, "one");
	path_of(box, "lock", path);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_size, 0);
}

static void writers_side_by_side_lose_nothing(void **state)
{
	enum { WRITERS = 4, EACH = 15 };
	struct fixture *box = *state;
	pid_t children[WRITERS];
	struct revision *revisions;
	struct store *store;
	size_t count;

	for (int i = 0; i < WRITERS; i++) {
		children[i] = fork();
		if (children[i])
			continue;
		for (int j = 0; j < EACH; j++) {
			struct store *own = NULL;
			uint64_t number;

			if (store_open_write(box->directory, 60000, &ann, &own, box->errors) ||
			    store_add_revision(own, "config", &number, box->errors) ||
			    store_commit(own, box->errors))
				_exit(1);
			store_close(own);
		}
		_exit(0);
	}
	for (int i = 0; i < WRITERS; i++)
		assert_exits_with(children[i], 0);
	store = reader_of(box);
	assert_int_equal(store_history(store, 0, &revisions, &count, box->errors), 0);
	assert_int_equal(count, WRITERS * EACH);
	assert_int_equal(revisions[0].number, WRITERS * EACH);
	history_release(revisions, count);
	store_close(store);
}

/* ---- readers of the group ---- */

enum { STATE_GROUP = 54321, NOBODY = 65534 };

/* What a user of @group without any right of root's finds: the last revision, or the error. */
static int read_as_nobody(struct fixture *box, gid_t group)
{
	pid_t child = fork();
	int status = 0;

	if (!child) {
		struct revision revision;
		struct store *store;

		if (setgroups(0, NULL) || setgid(group) || setuid(NOBODY))
			_exit(255);
		if (store_open_read(box->directory, &store, box->errors))
			_exit(errors_count(box->errors) ? 200 : 201);
		if (store_revision(store, 0, &revision, box->errors))
			_exit(202);
		status = (int)revision.number;
		revision_release(&revision);
		store_close(store);
		_exit(status);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void the_group_reads_without_the_right_to_write(void **state)
{
	struct fixture *box = *state;
	struct store *store;
	uint64_t number;

	if (geteuid())
		skip();
	assert_int_equal(mkdir(box->directory, 0750), 0);
	assert_int_equal(chown(box->directory, 0, STATE_GROUP), 0);
	add_revision(box, "one");
	assert_int_equal(read_as_nobody(box, STATE_GROUP), 1);
	assert_int_equal(read_as_nobody(box, NOBODY), 200);

	/* While a writer is at work, after its commit, and after a crash. */
	store = writer_of(box);
	assert_int_equal(store_add_revision(store, "two", &number, box->errors), 0);
	assert_int_equal(read_as_nobody(box, STATE_GROUP), 1);
	assert_int_equal(store_commit(store, box->errors), 0);
	assert_int_equal(read_as_nobody(box, STATE_GROUP), 2);
	store_close(store);
	assert_int_equal(read_as_nobody(box, STATE_GROUP), 2);
	crash(box, AFTER_COMMIT);
	assert_int_equal(read_as_nobody(box, STATE_GROUP), 3);
	assert_int_equal(add_revision(box, "four"), 4);
	assert_int_equal(read_as_nobody(box, STATE_GROUP), 4);
}

static void the_group_cannot_write(void **state)
{
	struct fixture *box = *state;
	pid_t child;

	if (geteuid())
		skip();
	add_revision(box, "one");
	assert_int_equal(chown(box->directory, 0, STATE_GROUP), 0);
	child = fork();
	if (!child) {
		struct store *store;

		if (setgroups(0, NULL) || setgid(STATE_GROUP) || setuid(NOBODY))
			_exit(255);
		_exit(store_open_write(box->directory, 0, &ann, &store, box->errors) == -EACCES &&
				      errors_count(box->errors) == 1
			      ? 0
			      : 1);
	}
	assert_exits_with(child, 0);
}

/* ---- revisions and audit ---- */

static void a_revision_keeps_who_when_why_and_what(void **state)
{
	struct fixture *box = *state;
	uint64_t before = time_now_ns();
	struct revision revision;
	struct store *store;

	assert_int_equal(add_revision(box, "one: 1\n"), 1);
	assert_int_equal(add_revision(box, "two: ü\n"), 2);
	store = reader_of(box);
	assert_int_equal(store_revision(store, 1, &revision, box->errors), 0);
	assert_int_equal(revision.number, 1);
	assert_true(revision.time_ns >= before && revision.time_ns <= time_now_ns());
	assert_string_equal(revision.by, "ann");
	assert_string_equal(revision.command, "apply -f box.yaml");
	assert_string_equal(revision.reason, "release");
	assert_string_equal(revision.config, "one: 1\n");
	revision_release(&revision);
	assert_int_equal(store_revision(store, 0, &revision, box->errors), 0);
	assert_int_equal(revision.number, 2);
	assert_string_equal(revision.config, "two: ü\n");
	revision_release(&revision);
	assert_int_equal(store_revision(store, 3, &revision, box->errors), -ENOENT);
	assert_int_equal(revision.number, 0);
	store_close(store);
	assert_no_error(box);
}

static void history_is_newest_first_and_may_be_limited(void **state)
{
	struct fixture *box = *state;
	struct revision *revisions;
	struct store *store = writer_of(box);
	size_t count;

	assert_int_equal(store_history(store, 0, &revisions, &count, box->errors), 0);
	assert_int_equal(count, 0);
	history_release(revisions, count);
	store_close(store);
	for (int i = 0; i < 5; i++)
		add_revision(box, "config");
	store = reader_of(box);
	assert_int_equal(store_history(store, 2, &revisions, &count, box->errors), 0);
	assert_int_equal(count, 2);
	assert_int_equal(revisions[0].number, 5);
	assert_int_equal(revisions[1].number, 4);
	assert_null(revisions[0].config);
	assert_string_equal(revisions[1].by, "ann");
	history_release(revisions, count);
	assert_int_equal(store_history(store, 0, &revisions, &count, box->errors), 0);
	assert_int_equal(count, 5);
	assert_int_equal(revisions[4].number, 1);
	history_release(revisions, count);
	store_close(store);
}

static void audit_entries_are_oldest_first_by_service_and_time(void **state)
{
	const struct actor odd = {.by = "bob\n", .command = "kill \xff", .reason = NULL};
	struct audit_entry *entries;
	struct fixture *box = *state;
	struct store *store;
	uint64_t first;
	size_t count;

	add_revision(box, "one");
	store = writer_of(box);
	assert_int_equal(store_audit(store, "api", "{\"ppm\":1}", "{\"ppm\":2}", box->errors), 0);
	assert_int_equal(store_audit(store, "", NULL, NULL, box->errors), 0);
	commit_and_close(box, store);
	usleep(1000);
	assert_int_equal(store_open_write(box->directory, 0, &odd, &store, box->errors), 0);
	assert_int_equal(store_audit(store, "api", NULL, "{}", box->errors), 0);
	commit_and_close(box, store);

	store = reader_of(box);
	assert_int_equal(store_read_audit(store, NULL, 0, &entries, &count, box->errors), 0);
	assert_int_equal(count, 3);
	assert_int_equal(entries[0].revision, 1);
	assert_string_equal(entries[0].by, "ann");
	assert_string_equal(entries[0].service, "api");
	assert_string_equal(entries[0].before, "{\"ppm\":1}");
	assert_string_equal(entries[0].after, "{\"ppm\":2}");
	assert_string_equal(entries[0].reason, "release");
	assert_string_equal(entries[1].service, "");
	assert_null(entries[1].before);
	assert_true(entries[0].id < entries[1].id && entries[1].id < entries[2].id);
	/* Whatever was typed, it is one line of text. */
	assert_string_equal(entries[2].by, "bob\\x0a");
	assert_string_equal(entries[2].command, "kill \\xff");
	assert_string_equal(entries[2].reason, "");
	first = entries[0].time_ns;
	audit_release(entries, count);

	assert_int_equal(store_read_audit(store, "api", first + 1, &entries, &count, box->errors),
			 0);
	assert_int_equal(count, 1);
	assert_string_equal(entries[0].after, "{}");
	audit_release(entries, count);
	assert_int_equal(store_read_audit(store, "web", 0, &entries, &count, box->errors), 0);
	assert_int_equal(count, 0);
	audit_release(entries, count);
	store_close(store);
}

/* ---- live state ---- */

static void live_shares_are_set_replaced_and_dropped_by_name(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	struct live live;
	size_t dropped = 0;

	store_set_share(store, "api", "default", "canary", 10000, box->errors);
	store_set_share(store, "api", "staff", "canary", 20000, box->errors);
	store_set_share(store, "api", "staff", "next", 30000, box->errors);
	store_set_share(store, "web", "default", "canary", 40000, box->errors);
	store_set_share(store, "api", "default", "canary", 50000, box->errors);
	commit_and_close(box, store);

	store = writer_of(box);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live.shares_count, 4);
	assert_int_equal(live_share_of(&live, "api", "default", "canary")->ppm, 50000);
	assert_string_equal(live_share_of(&live, "api", "staff", "next")->by, "ann");
	assert_true(live_share_of(&live, "api", "staff", "next")->time_ns > 0);
	assert_null(live_share_of(&live, "web", "staff", "canary"));
	live_release(&live);
	assert_int_equal(live.shares_count, 0);

	assert_int_equal(store_drop_shares(store, "api", NULL, "canary", &dropped, box->errors), 0);
	assert_int_equal(dropped, 2);
	assert_int_equal(store_drop_shares(store, "web", "staff", NULL, &dropped, box->errors), 0);
	assert_int_equal(dropped, 0);
	assert_int_equal(store_drop_shares(store, "web", NULL, NULL, NULL, box->errors), 0);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live.shares_count, 1);
	assert_string_equal(live.shares[0].rule, "staff");
	assert_string_equal(live.shares[0].cohort, "next");
	live_release(&live);
	store_close(store);
	assert_no_error(box);
}

static struct live_pin pin_of(const char *service, const char *client, const char *cohort)
{
	struct live_pin pin = {0};

	strcpy(pin.service, service);
	strcpy(pin.cohort, cohort);
	assert_int_equal(prefix_parse(client, &pin.client), 0);
	return pin;
}

static void a_client_has_one_pin_a_service(void **state)
{
	struct live_pin pins[] = {
		pin_of("api", "198.51.100.7", "canary"),
		pin_of("api", "2001:db8::/64", "canary"),
		pin_of("web", "198.51.100.7", "canary"),
		pin_of("api", "198.51.100.0/24", "next"),
		pin_of("api", "::ffff:198.51.100.7", "next"),
	};
	struct prefix other = pin_of("api", "198.51.100.8", "").client;
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	struct live live;

	pins[4].expires_ns = 1893553445000000000;
	for (size_t i = 0; i < COUNT(pins); i++)
		assert_int_equal(store_set_pin(store, &pins[i], box->errors), 0);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live.pins_count, 4);
	assert_string_equal(live.pins[1].service, "api");
	assert_true(prefix_equal(&live.pins[1].client, &pins[0].client));
	assert_string_equal(live.pins[1].cohort, "next");
	assert_int_equal(live.pins[1].expires_ns, 1893553445000000000);
	assert_string_equal(live.pins[1].by, "ann");
	assert_true(prefix_equal(&live.pins[2].client, &pins[1].client));
	live_release(&live);

	assert_int_equal(store_drop_pin(store, "api", &other, box->errors), -ENOENT);
	assert_int_equal(store_drop_pin(store, "api", &pins[0].client, box->errors), 0);
	assert_int_equal(store_drop_pin(store, "api", &pins[0].client, box->errors), -ENOENT);
	assert_int_equal(store_drop_pins(store, "api", "canary", box->errors), 0);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live.pins_count, 2);
	assert_int_equal(live.pins[0].client.length, 24);
	assert_string_equal(live.pins[1].service, "web");
	live_release(&live);
	assert_int_equal(store_drop_pins(store, "api", NULL, box->errors), 0);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live.pins_count, 1);
	live_release(&live);
	store_close(store);
	assert_no_error(box);
}

static void a_service_keeps_its_slot_and_a_freed_slot_is_given_again(void **state)
{
	static const char *const names[] = {"c", "a", "b"};
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	struct live_service service;
	struct live live;

	for (uint32_t i = 0; i < COUNT(names); i++) {
		assert_int_equal(
			store_add_service(store, names[i], 3, NULL, NULL, &service, box->errors),
			0);
		assert_string_equal(service.name, names[i]);
		assert_int_equal(service.slot, i);
		assert_int_equal(service.epoch, 0);
		assert_int_equal(service.latch, LATCH_NONE);
	}
	assert_no_error(box);
	assert_int_equal(store_add_service(store, "d", 3, NULL, NULL, &service, box->errors),
			 -ENOSPC);
	assert_error_says(box, "d: all 3 places for services are taken: raise limits.services");
	assert_int_equal(store_remove_service(store, "a", box->errors), 0);
	assert_int_equal(store_add_service(store, "b", 1, NULL, NULL, &service, box->errors), 0);
	assert_int_equal(service.slot, 2);
	assert_int_equal(store_add_service(store, "d", 3, NULL, NULL, &service, box->errors), 0);
	assert_int_equal(service.slot, 1);
	commit_and_close(box, store);

	store = reader_of(box);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live.services_count, 3);
	assert_string_equal(live.services[0].name, "b");
	assert_int_equal(live_service_of(&live, "d")->slot, 1);
	assert_null(live_service_of(&live, "a"));
	live_release(&live);
	store_close(store);
}

static void epoch_digest_and_latch_are_of_the_service(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	struct live_service service;
	struct live live;

	assert_int_equal(store_add_service(store, "api", 10, NULL, NULL, &service, box->errors), 0);
	assert_int_equal(store_add_service(store, "web", 10, NULL, NULL, &service, box->errors), 0);
	assert_int_equal(store_set_epoch(store, "api", 17, UINT64_MAX - 1, box->errors), 0);
	for (enum latch latch = LATCH_NONE; latch <= LATCH_LEASE_EXPIRED; latch++) {
		assert_int_equal(store_set_latch(store, "api", latch, box->errors), 0);
		assert_int_equal(
			store_add_service(store, "api", 10, NULL, NULL, &service, box->errors), 0);
		assert_int_equal(service.latch, latch);
	}
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live_service_of(&live, "api")->epoch, 17);
	assert_true(live_service_of(&live, "api")->digest == UINT64_MAX - 1);
	assert_int_equal(live_service_of(&live, "web")->epoch, 0);
	assert_int_equal(live_service_of(&live, "web")->latch, LATCH_NONE);
	live_release(&live);
	assert_no_error(box);
	assert_int_equal(store_set_latch(store, "none", LATCH_KILLED, box->errors), -ENOENT);
	assert_int_equal(store_set_epoch(store, "none", 1, 1, box->errors), -ENOENT);
	assert_int_equal(errors_count(box->errors), 2);
	assert_string_equal(latch_name(LATCH_ROLLED_BACK), "rolled_back");
	store_close(store);
}

static void leave_traces_of_a_rollout(struct store *store, const char *service,
				      struct errors *errors)
{
	static const char *const kinds[] = {"cuts", "flows", "lease", "packets", "rollouts"};
	struct stored_rollout rollout = {
		.id = 3, .cohort = "canary", .state = "aborted", .machine = "{}"};
	struct hook_call call = {.id = 3, .json = "{}"};
	char key[80];

	snprintf(rollout.service, sizeof(rollout.service), "%s", service);
	snprintf(call.service, sizeof(call.service), "%s", service);
	assert_int_equal(store_set_rollout(store, &rollout, errors), 0);
	assert_int_equal(store_add_rollout_event(store, service, 3, 1, "aborted", "{}", errors), 0);
	assert_int_equal(store_add_hook_call(store, &call, errors), 0);
	for (size_t i = 0; i < COUNT(kinds); i++) {
		snprintf(key, sizeof(key), "%s/%s", kinds[i], service);
		assert_int_equal(store_set_note(store, key, "{}", errors), 0);
	}
}

static void removing_a_service_closes_its_rollouts_and_keeps_their_history_and_ids(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	struct stored_rollout rollout, *rollouts;
	struct rollout_record *events;
	struct hook_call *calls;
	struct note *notes;
	uint64_t id;
	size_t count;

	leave_traces_of_a_rollout(store, "api", box->errors);
	leave_traces_of_a_rollout(store, "api-2", box->errors);
	assert_int_equal(store_remove_service(store, "api", box->errors), 0);
	assert_int_equal(store_rollout(store, "api", 0, &rollout, box->errors), -ENOENT);
	assert_int_equal(store_rollout(store, "api-2", 0, &rollout, box->errors), 0);
	stored_rollout_release(&rollout);
	assert_int_equal(store_next_rollout(store, "api", &id, box->errors), 0);
	assert_int_equal(id, 4);
	assert_int_equal(store_rollouts(store, "api", &rollouts, &count, box->errors), 0);
	assert_int_equal(count, 1);
	stored_rollouts_release(rollouts, count);
	assert_int_equal(store_rollout_events(store, "api", 3, 0, &events, &count, box->errors), 0);
	assert_int_equal(count, 1);
	rollout_records_release(events, count);
	assert_int_equal(store_hook_calls(store, &calls, &count, box->errors), 0);
	assert_int_equal(count, 1);
	assert_string_equal(calls[0].service, "api-2");
	hook_calls_release(calls, count);
	assert_int_equal(store_notes(store, "", &notes, &count, box->errors), 0);
	assert_int_equal(count, 5);
	for (size_t i = 0; i < count; i++)
		assert_non_null(strstr(notes[i].key, "/api-2"));
	notes_release(notes, count);
	store_close(store);
}

static void removing_a_service_takes_its_live_data_and_numbers_but_not_its_history(void **state)
{
	static const char *const services[] = {"api", "api-2"};
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	struct live_service service;
	struct audit_entry *entries;
	struct live live;
	uint32_t number;
	size_t count;

	for (size_t i = 0; i < COUNT(services); i++) {
		struct live_pin pin = pin_of(services[i], "198.51.100.7", "canary");
		char name[80];

		store_add_service(store, services[i], 10, NULL, NULL, &service, box->errors);
		store_set_share(store, services[i], "default", "canary", 1, box->errors);
		store_set_pin(store, &pin, box->errors);
		store_audit(store, services[i], NULL, "{}", box->errors);
		store_number(store, NUMBER_LANE, services[i], "canary", 4, &number, NULL,
			     box->errors);
		store_number(store, NUMBER_BACKEND, services[i], "10.0.0.1", 10, &number, NULL,
			     box->errors);
		snprintf(name, sizeof(name), "%s/default", services[i]);
		store_number(store, NUMBER_RULE_GROUP, "", name, 10, &number, NULL, box->errors);
		snprintf(name, sizeof(name), "%s/10.0.0.1", services[i]);
		store_number(store, NUMBER_BACKEND_COUNTER, "", name, 10, &number, NULL,
			     box->errors);
	}
	assert_int_equal(store_remove_service(store, "api", box->errors), 0);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live.services_count, 1);
	assert_int_equal(live.shares_count, 1);
	assert_int_equal(live.pins_count, 1);
	assert_string_equal(live.pins[0].service, "api-2");
	live_release(&live);
	assert_int_equal(
		store_find_number(store, NUMBER_LANE, "api", "canary", &number, box->errors),
		-ENOENT);
	assert_int_equal(
		store_find_number(store, NUMBER_BACKEND, "api", "10.0.0.1", &number, box->errors),
		-ENOENT);
	assert_int_equal(store_find_number(store, NUMBER_RULE_GROUP, "", "api/default", &number,
					   box->errors),
			 -ENOENT);
	assert_int_equal(store_find_number(store, NUMBER_BACKEND_COUNTER, "", "api/10.0.0.1",
					   &number, box->errors),
			 -ENOENT);
	assert_int_equal(store_find_number(store, NUMBER_BACKEND_COUNTER, "", "api-2/10.0.0.1",
					   &number, box->errors),
			 0);
	assert_int_equal(number, 1);
	assert_int_equal(store_read_audit(store, "api", 0, &entries, &count, box->errors), 0);
	assert_int_equal(count, 1);
	audit_release(entries, count);
	store_close(store);
	assert_no_error(box);
}

static void interfaces_keep_their_slot_and_whether_they_are_attached(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	struct live live;
	char name[16];
	uint32_t slot;

	assert_int_equal(store_set_attached(store, "eth0", true, &slot, box->errors), 0);
	assert_int_equal(slot, 0);
	assert_int_equal(store_set_attached(store, "eth1", true, &slot, box->errors), 0);
	assert_int_equal(slot, 1);
	assert_int_equal(store_set_attached(store, "eth0", false, NULL, box->errors), 0);
	assert_int_equal(store_set_detached(store, true, box->errors), 0);
	commit_and_close(box, store);

	store = writer_of(box);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_true(live.detached);
	assert_int_equal(live.interfaces_count, 2);
	assert_string_equal(live.interfaces[0].name, "eth0");
	assert_int_equal(live.interfaces[0].slot, 0);
	assert_false(live.interfaces[0].attached);
	assert_true(live.interfaces[1].attached);
	live_release(&live);
	assert_int_equal(store_forget_interface(store, "eth0", box->errors), 0);
	assert_int_equal(store_forget_interface(store, "eth0", box->errors), 0);
	assert_int_equal(store_set_attached(store, "eth1", true, &slot, box->errors), 0);
	assert_int_equal(slot, 1);
	for (uint32_t i = 0; i < INTERFACES_MAX - 1; i++) {
		snprintf(name, sizeof(name), "veth%u", i);
		assert_int_equal(store_set_attached(store, name, true, &slot, box->errors), 0);
		assert_int_equal(slot, i ? i + 1 : 0);
	}
	assert_no_error(box);
	assert_int_equal(store_set_attached(store, "wlan0", true, &slot, box->errors), -ENOSPC);
	assert_error_says(box, "wlan0: all 64 places for interfaces are taken");
	store_close(store);
}

static void a_new_state_is_empty_and_not_detached(void **state)
{
	struct fixture *box = *state;
	struct live live;
	struct store *store = writer_of(box);

	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(live.shares_count + live.pins_count + live.services_count +
				 live.interfaces_count,
			 0);
	assert_false(live.detached);
	live_release(&live);
	store_close(store);
}

static void a_long_name_of_who_is_cut_between_characters(void **state)
{
	char by[NAME_SIZE + 20];
	struct actor actor = {.by = by, .command = "rollout set", .reason = ""};
	struct fixture *box = *state;
	struct store *store;
	struct live live;

	/* 62 letters and a character of two bytes, which does not fit before the final zero. */
	memset(by, 'a', sizeof(by));
	strcpy(by + NAME_SIZE - 2, "üüü");
	assert_int_equal(store_open_write(box->directory, 0, &actor, &store, box->errors), 0);
	store_set_share(store, "api", "default", "canary", 1, box->errors);
	assert_int_equal(store_live(store, &live, box->errors), 0);
	assert_int_equal(strlen(live.shares[0].by), NAME_SIZE - 2);
	live_release(&live);
	store_close(store);
}

static void a_note_is_replaced_and_read_back(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	char *text = NULL;

	assert_int_equal(store_note(store, "api", &text, box->errors), -ENOENT);
	assert_int_equal(store_set_note(store, "api", "{}", box->errors), 0);
	assert_int_equal(store_set_note(store, "api", "{\"syns\":1}", box->errors), 0);
	assert_int_equal(store_note(store, "api", &text, box->errors), 0);
	assert_string_equal(text, "{\"syns\":1}");
	free(text);
	store_close(store);
	assert_no_error(box);
}

/* ---- numbers ---- */

static uint32_t number_of(struct fixture *box, struct store *store, const char *name,
			  bool expect_new)
{
	uint32_t number = UINT32_MAX;
	bool is_new = !expect_new;

	assert_int_equal(store_number(store, NUMBER_BACKEND, "api", name, 100, &number, &is_new,
				      box->errors),
			 0);
	assert_int_equal(is_new, expect_new);
	return number;
}

static bool keep_but_b_and_d(const char *name, void *data)
{
	(*(int *)data)++;
	return *name != 'b' && *name != 'd';
}

static void numbers_are_stable_and_given_again_only_after_being_freed(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "e"};
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	uint32_t number;
	int asked = 0;

	for (uint32_t i = 0; i < COUNT(names) - 1; i++)
		assert_int_equal(number_of(box, store, names[i], true), i);
	commit_and_close(box, store);

	store = writer_of(box);
	assert_int_equal(number_of(box, store, "e", true), 4);
	for (uint32_t i = COUNT(names); i--;)
		assert_int_equal(number_of(box, store, names[i], false), i);
	assert_int_equal(store_free_numbers(store, NUMBER_BACKEND, "api", NULL, keep_but_b_and_d,
					    &asked, box->errors),
			 0);
	assert_int_equal(asked, 5);
	assert_int_equal(store_find_number(store, NUMBER_BACKEND, "api", "b", &number, box->errors),
			 -ENOENT);
	assert_int_equal(number_of(box, store, "e", false), 4);
	assert_int_equal(number_of(box, store, "f", true), 1);
	assert_int_equal(number_of(box, store, "g", true), 3);
	assert_int_equal(number_of(box, store, "h", true), 5);
	assert_int_equal(number_of(box, store, "c", false), 2);
	store_close(store);
	assert_no_error(box);
}

static void numbers_that_were_taken_back_are_free(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);

	assert_int_equal(number_of(box, store, "a", true), 0);
	store_close(store);
	store = writer_of(box);
	assert_int_equal(number_of(box, store, "b", true), 0);
	store_close(store);
}

static void every_kind_and_scope_counts_for_itself(void **state)
{
	static const struct {
		enum number_kind kind;
		const char *scope;
	} spaces[] = {
		{NUMBER_RULE_GROUP, ""}, {NUMBER_LANE, "api"},	  {NUMBER_LANE, "web"},
		{NUMBER_BACKEND, "api"}, {NUMBER_BACKEND, "web"}, {NUMBER_BACKEND_COUNTER, ""},
	};
	static const char *const names[] = {"x", "y", "z"};
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	uint32_t number;

	for (uint32_t i = 0; i < COUNT(names); i++) {
		for (size_t j = 0; j < COUNT(spaces); j++) {
			assert_int_equal(store_number(store, spaces[j].kind, spaces[j].scope,
						      names[i], 10, &number, NULL, box->errors),
					 0);
			assert_int_equal(number, i);
		}
	}
	store_close(store);
	assert_no_error(box);
}

static void a_full_table_says_what_is_full_and_what_to_do(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	uint32_t number;

	store_number(store, NUMBER_LANE, "api", "stable", 1, &number, NULL, box->errors);
	assert_int_equal(
		store_number(store, NUMBER_LANE, "api", "next", 1, &number, NULL, box->errors),
		-ENOSPC);
	assert_error_says(box, "api: no lane is free for next: all 1 are taken: ");
	/* A name that has its number keeps it, also above a limit that was lowered. */
	assert_int_equal(
		store_number(store, NUMBER_LANE, "api", "stable", 0, &number, NULL, box->errors),
		0);
	store_close(store);
}

static bool keep_none(const char *name, void *data)
{
	(void)name;
	(void)data;
	return false;
}

static void freeing_by_prefix_frees_no_other_service(void **state)
{
	static const char *const names[] = {"api/a", "api/b", "api-2/a", "ap/a", "api.x", "apj/a"};
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	uint32_t number;

	for (size_t i = 0; i < COUNT(names); i++)
		store_number(store, NUMBER_BACKEND_COUNTER, "", names[i], 10, &number, NULL,
			     box->errors);
	assert_int_equal(store_free_numbers(store, NUMBER_BACKEND_COUNTER, "", "api/", keep_none,
					    NULL, box->errors),
			 0);
	for (size_t i = 0; i < COUNT(names); i++)
		assert_int_equal(store_find_number(store, NUMBER_BACKEND_COUNTER, "", names[i],
						   &number, box->errors),
				 i < 2 ? -ENOENT : 0);
	store_close(store);
	assert_no_error(box);
}

/* Nanoseconds for the numbers from @from up to @to. */
static uint64_t number_backends(struct fixture *box, struct store *store, uint32_t from,
				uint32_t to)
{
	uint64_t start = monotonic_now_ns();
	uint32_t number;
	char name[32];

	for (uint32_t i = from; i < to; i++) {
		snprintf(name, sizeof(name), "api/%u", i);
		assert_int_equal(store_number(store, NUMBER_BACKEND_COUNTER, "", name, 65536,
					      &number, NULL, box->errors),
				 0);
		assert_int_equal(number, i);
	}
	return monotonic_now_ns() - start;
}

/* Time grows with the count, not with its square: a search from the first for each would take 16
 * times as long. */
static void numbering_a_full_box_takes_time_in_proportion(void **state)
{
	struct fixture *box = *state;
	struct store *store = writer_of(box);
	uint64_t early = number_backends(box, store, 0, 8192);
	uint64_t late;

	number_backends(box, store, 8192, 57344);
	late = number_backends(box, store, 57344, 65536);
	print_message("8192 numbers: first %llu, last %llu ms\n",
		      (unsigned long long)early / 1000000, (unsigned long long)late / 1000000);
	assert_true(late < 6 * early);
	commit_and_close(box, store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_box, remove_box)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reading_where_there_is_no_state_says_so_and_creates_nothing),
		TEST(a_state_is_the_owners_to_write_and_the_groups_to_read),
		TEST(a_directory_without_a_parent_is_refused),
		TEST(a_state_of_a_newer_version_is_refused_and_left_alone),
		TEST(a_database_of_another_program_is_refused_and_left_alone),
		TEST(a_damaged_file_is_refused_with_what_to_do),
		TEST(closing_without_a_commit_takes_all_back),
		TEST(a_reader_sees_commits_only_and_one_moment),
		TEST(what_follows_a_commit_needs_a_commit_of_its_own),
		TEST(a_reader_cannot_change_anything),
		TEST(a_change_that_finds_no_space_fails_whole),
		TEST(death_before_the_commit_leaves_nothing_and_no_lock),
		TEST(death_between_commit_and_close_keeps_the_commit),
		TEST(death_at_any_moment_leaves_whole_transactions),
		TEST(a_log_cut_off_anywhere_gives_whole_transactions),
		TEST(a_writer_that_waits_in_vain_names_the_holder),
		TEST(the_lock_is_kept_after_the_commit_until_the_close),
		TEST(a_waiter_goes_on_when_the_holder_ends_or_dies),
		TEST(the_lock_names_nobody_once_it_is_free),
		TEST(writers_side_by_side_lose_nothing),
		TEST(the_group_reads_without_the_right_to_write),
		TEST(the_group_cannot_write),
		TEST(a_revision_keeps_who_when_why_and_what),
		TEST(history_is_newest_first_and_may_be_limited),
		TEST(audit_entries_are_oldest_first_by_service_and_time),
		TEST(live_shares_are_set_replaced_and_dropped_by_name),
		TEST(a_client_has_one_pin_a_service),
		TEST(a_service_keeps_its_slot_and_a_freed_slot_is_given_again),
		TEST(epoch_digest_and_latch_are_of_the_service),
		TEST(removing_a_service_closes_its_rollouts_and_keeps_their_history_and_ids),
		TEST(removing_a_service_takes_its_live_data_and_numbers_but_not_its_history),
		TEST(interfaces_keep_their_slot_and_whether_they_are_attached),
		TEST(a_new_state_is_empty_and_not_detached),
		TEST(a_long_name_of_who_is_cut_between_characters),
		TEST(a_note_is_replaced_and_read_back),
		TEST(numbers_are_stable_and_given_again_only_after_being_freed),
		TEST(numbers_that_were_taken_back_are_free),
		TEST(every_kind_and_scope_counts_for_itself),
		TEST(a_full_table_says_what_is_full_and_what_to_do),
		TEST(freeing_by_prefix_frees_no_other_service),
		TEST(numbering_a_full_box_takes_time_in_proportion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
