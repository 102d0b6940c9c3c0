// SPDX-License-Identifier: GPL-2.0-only
#include "state_fixture.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

const struct actor state_actor = {.by = "ann", .command = "test", .reason = ""};

void state_box_make(struct state_box *box)
{
	struct store *store;

	*box = (struct state_box){.root = "/tmp/xdp-canary-state.XXXXXX"};
	assert_non_null(mkdtemp(box->root));
	snprintf(box->directory, sizeof(box->directory), "%s/state", box->root);
	snprintf(box->path, sizeof(box->path), "%s/state.db", box->directory);
	box->errors = errors_new();
	assert_int_equal(store_open_write(box->directory, 0, &state_actor, &store, box->errors), 0);
	assert_int_equal(store_commit(store, box->errors), 0);
	store_close(store);
}

void state_box_remove(struct state_box *box)
{
	static const char *const files[] = {"state.db", "state.db-wal", "state.db-shm", "lock", ""};
	char path[128];
	size_t i;

	store_close(box->store);
	for (i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s/%s", box->directory, files[i]);
		remove(path);
	}
	rmdir(box->root);
	errors_free(box->errors);
}

void state_box_execute(const struct state_box *box, const char *sql)
{
	sqlite3 *database;
	char *message = NULL;

	assert_int_equal(sqlite3_open(box->path, &database), SQLITE_OK);
	if (sqlite3_exec(database, sql, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", sql, message);
	sqlite3_close(database);
}
