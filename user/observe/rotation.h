/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The end of a window: what records counted becomes the features of the last complete window, and
 * the next one begins. In steps of some milliseconds, between which the daemon's loop goes round;
 * the writer lock is taken for each step that needs it and given back.
 *
 * A window begins when observation is switched on, or when the one before it was taken, lasts
 * observe.window, and ends when the daemon takes it: with a daemon that was away it is as long as
 * it was, and its features say so. A boot, or another form of clients, begins it anew.
 */
#ifndef XDP_CANARY_ROTATION_H
#define XDP_CANARY_ROTATION_H

#include "control/control.h"

struct rotation;

/* When the running window will be over, CLOCK_MONOTONIC ns; UINT64_MAX: nothing is observed. */
uint64_t rotation_due(struct control *control);
/* Seconds for which it has been over, and nobody took it. */
uint64_t rotation_overdue(struct control *control);
/*
 * Begins the next window at once and is about to take the one before. -EAGAIN without an error: it
 * is not over (somebody else took it); -EBUSY: another writer has the lock.
 */
int rotation_begin(const struct place *place, const struct actor *actor, struct rotation **out,
		   struct errors *errors);
/* 1: there is more to do; 0: the features are shown; a negative errno: try this step again later.
 */
int rotation_step(struct rotation *rotation, struct errors *errors);
/* Frees it; what is not shown by then is counted in the running window again. NULL is allowed. */
void rotation_end(struct rotation *rotation, struct errors *errors);
/* Of the one that is shown. */
uint64_t rotation_clients(const struct rotation *rotation);

#endif
