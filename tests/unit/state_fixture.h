/* SPDX-License-Identifier: GPL-2.0-only */
/* A state of its own for a test: made empty, with all its tables, and removed again. */
#ifndef XDP_CANARY_TESTS_STATE_FIXTURE_H
#define XDP_CANARY_TESTS_STATE_FIXTURE_H

#include "store/store.h"

struct state_box {
	char root[64], directory[80], path[100]; /* path: of the database */
	struct errors *errors;
	struct store *store; /* a reader; NULL: not opened yet */
};

extern const struct actor state_actor; /* "ann", who runs "test" */

void state_box_make(struct state_box *box);
/* Closes the reader too. What a test has made under the root is gone before. */
void state_box_remove(struct state_box *box);
/* By a connection of its own: what the store would not do. */
void state_box_execute(const struct state_box *box, const char *sql);

#endif
