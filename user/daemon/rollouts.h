/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rollouts in the daemon: each second what the kernel counted of the followed services goes to the
 * judge, its verdict to the machine, and what the machine wants done is done as a command would do
 * it. Owns no truth: what it knows is in the store, so that a daemon that comes back goes on.
 */
#ifndef XDP_CANARY_DAEMON_ROLLOUTS_H
#define XDP_CANARY_DAEMON_ROLLOUTS_H

#include "control/control.h"

#include <stdio.h>
#include <systemd/sd-event.h>

struct counters;
struct rollouts;

/* @place: with wait_ms 0: nothing here waits for the writer lock. */
int rollouts_new(sd_event *event, const struct place *place, const struct actor *actor,
		 struct counters *counters, struct rollouts **out);
/* NULL is allowed. */
void rollouts_free(struct rollouts *rollouts);
/* Family hook_failures_total: calls of hooks that came to no 2xx. */
void rollouts_metrics(const struct rollouts *rollouts, FILE *out);
/* To be called each second. -EBUSY is no error: another writer; the next round tries again. */
int rollouts_round(struct rollouts *rollouts, struct errors *errors);

#endif
