/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a daemon is there: it holds a lock on STATE/daemon.lock as long as it lives. A lock of
 * the open file (fcntl, F_OFD_SETLK), which others can ask for without taking it.
 */
#ifndef XDP_CANARY_PRESENCE_H
#define XDP_CANARY_PRESENCE_H

#include "util/errors.h"

#include <stdbool.h>

/* *@lock is kept open until the daemon ends. -EBUSY with an error: there is another one. */
int presence_announce(const char *state, int *lock, struct errors *errors);
bool presence_is_announced(const char *state);

#endif
