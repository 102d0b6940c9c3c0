/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the store share: the handle, the lock, the schema, and SQL with its errors.
 * Only store.c makes and ends a handle; every statement goes through sql_query() or sql_change(),
 * which begin the transaction.
 */
#ifndef XDP_CANARY_STORE_INTERNAL_H
#define XDP_CANARY_STORE_INTERNAL_H

#include "store/store.h"

#include <sqlite3.h>

#define NUMBER_KINDS (NUMBER_TRACK + 1)

/* Where the search for a free number goes on: all below are taken. scope NULL: nowhere yet. */
struct number_search {
	char *scope;
	uint32_t from;
};

struct store {
	sqlite3 *database;
	char *directory; /* also the object of every error */
	bool is_writer;
	bool has_failed;  /* a statement of the open transaction failed: it must not be committed */
	int lock;	  /* of a writer, else -1 */
	uint64_t time_ns; /* when the lock was taken: every row of one command has the same time */
	char *by, *command, *reason;
	struct number_search searches[NUMBER_KINDS];
	uint64_t schema_version; /* of the file: readers may meet an earlier one */
};

/* ---- lock.c ---- */

/* Waits for STATE/lock up to @wait_ms; -EBUSY with an error that names the holder. */
int state_lock_take(const char *directory, uint64_t wait_ms, const char *command, int *lock,
		    struct errors *errors);
void state_lock_release(int lock);
/* What to do where the directory, or a file in it, cannot be opened or made. @code: of errno. */
const char *directory_hint(int code);
/* Gives a new file of STATE mode 0640 and the directory's group, whatever the umask. */
void share_with_group(const char *directory, int file);

/* ---- schema.c ---- */

/* -ENOENT without an error: an empty database; -EPROTO: of another program or version. */
int schema_check(struct store *store, struct errors *errors);
/* The tables in an empty database. */
int schema_create(struct store *store, struct errors *errors);
/* From an earlier version to this one, within the writer's transaction. */
int schema_migrate(struct store *store, struct errors *errors);

/* An empty table features_next in the place of any that was left over ... */
int schema_begin_features(struct store *store, struct errors *errors);
/* ... becomes table features. */
int schema_end_features(struct store *store, struct errors *errors);

/* ---- statement.c ---- */

struct sql_value {
	enum { SQL_TEXT, SQL_NUMBER, SQL_BLOB } type;
	const char *text; /* NULL is SQL's NULL; must live until the statement is at its end */
	uint64_t number;  /* of a blob: its bytes */
	const void *blob; /* must live until the statement is at its end */
};

#define TEXT(value)	  ((struct sql_value){.type = SQL_TEXT, .text = (value)})
#define BLOB(bytes, size) ((struct sql_value){.type = SQL_BLOB, .blob = (bytes), .number = (size)})
#define NUMBER(value)	  ((struct sql_value){.type = SQL_NUMBER, .number = (value)})
/* The two arguments @values and @count. */
#define VALUES(...)                                                                                \
	(const struct sql_value[]){__VA_ARGS__},                                                   \
		sizeof((const struct sql_value[]){__VA_ARGS__}) / sizeof(struct sql_value)
#define NO_VALUES NULL, 0

/* An error for what SQLite refused last while it was to @attempt ("read"); a negative errno. */
int sql_error(struct store *store, const char *attempt, struct errors *errors);
/* One or several statements without values or rows, outside of the transaction's bookkeeping. */
int sql_execute(struct store *store, const char *sql, const char *attempt, struct errors *errors);

/* Begins the transaction where none is open. */
int sql_begin(struct store *store, struct errors *errors);

/*
 * Prepares @sql (once per handle) and binds ?1, ?2, ... A row at a time comes from sql_next(): 1, 0
 * at the end, or a negative errno with an error. Whoever stops before the end calls sql_end().
 */
int sql_query(struct store *store, sqlite3_stmt **statement, const char *sql,
	      const struct sql_value *values, size_t count, struct errors *errors);
int sql_next(struct store *store, sqlite3_stmt *statement, struct errors *errors);
void sql_end(sqlite3_stmt *statement);
/* A statement without rows. *@changed (may be NULL) is how many rows it changed. */
int sql_change(struct store *store, size_t *changed, const char *sql,
	       const struct sql_value *values, size_t count, struct errors *errors);

uint64_t sql_number(sqlite3_stmt *statement, int column);
/* Never NULL; valid until the next row. */
const char *sql_text(sqlite3_stmt *statement, int column);
/* malloc()ed; *@out is NULL for SQL's NULL. -ENOMEM with an error. */
int sql_copy(struct store *store, sqlite3_stmt *statement, int column, char **out,
	     struct errors *errors);
/* malloc()ed, with a zero after its *@size bytes. -ENOMEM with an error. */
int sql_copy_blob(struct store *store, sqlite3_stmt *statement, int column, void **out,
		  size_t *size, struct errors *errors);
/* Cut to @size, but never within a UTF-8 character. */
void sql_fill(sqlite3_stmt *statement, int column, char *out, size_t size);

/*
 * @array with room for one more than its @count elements; it only grows through this. NULL with an
 * error where there is no memory: @array is as it was.
 */
void *rows_grow(struct store *store, void *array, size_t count, size_t element_size,
		struct errors *errors);

/* ---- rows.c ---- */

/* Switches and functions that every connection has. */
int rows_set_up(struct store *store, struct errors *errors);

/* ---- live.c ---- */

/* A row of name, slot, epoch, digest and latch into a struct live_service. */
int live_read_service(struct store *store, sqlite3_stmt *statement, void *out,
		      struct errors *errors);

/* ---- numbers.c ---- */

/* The lowest number from @from on that no row of the ordered @statement has; ends the query. */
int lowest_free(struct store *store, sqlite3_stmt *statement, uint32_t from, uint32_t *out,
		struct errors *errors);
void forget_searches(struct store *store);

/* ---- checks.c ---- */

/* As live_check_of() searches. */
void live_sort_checks(struct live *live);

#endif
