/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters of the daemon's own, which go on where an earlier daemon ended: each is a note in the
 * store. What is shown is what the store has, so that none ever falls, however a daemon ended;
 * what was counted while the store could not be written is shown once it can.
 */
#ifndef XDP_CANARY_DAEMON_COUNTERS_H
#define XDP_CANARY_DAEMON_COUNTERS_H

#include "control/control.h"

struct counters;
struct counter;

#define COUNTER_CHECK_FAILURES "check_failures"
#define COUNTER_HOOK_FAILURES  "hook_failures"
#define COUNTER_STORE_ERRORS   "store_errors"

struct counters *counters_new(void); /* NULL: no memory */
void counters_free(struct counters *counters);

/*
 * The counter of that name, for as long as it is not given back. @service, @label: "": none. NULL:
 * no memory; nothing is counted then. All that take a counter take NULL, too.
 */
struct counter *counters_use(struct counters *counters, const char *family, const char *service,
			     const char *label);
void counter_give_back(struct counter *counter);
void counter_add(struct counter *counter);
uint64_t counter_shown(const struct counter *counter);
/* Counters of the family that nobody uses go from the store with the next save. */
void counters_forget_unused(struct counters *counters, const char *family);

/* What earlier daemons counted; once that is known it does nothing. */
int counters_load(struct counters *counters, const struct place *place, struct errors *errors);
/* What has changed, in a transaction of its own; without a change it does nothing. -EBUSY: another
 * writer. */
int counters_save(struct counters *counters, const struct place *place, const struct actor *actor,
		  struct errors *errors);

#endif
