/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Renewing the leases of rollouts: as long as this runs in the daemon's loop their canaries may be
 * had. No lock is taken and no store read for it, so that neither keeps it from being in time.
 */
#ifndef XDP_CANARY_DAEMON_LEASE_H
#define XDP_CANARY_DAEMON_LEASE_H

#include "control/control.h"

#include <systemd/sd-event.h>

struct leaser;

/* @on_ended: a lease had ended; who writes next records that. NULL without memory. */
struct leaser *leaser_new(sd_event *event, const struct place *place, const struct actor *actor,
			  void (*on_ended)(void *data), void *data);
void leaser_free(struct leaser *leaser);
/* There is another revision: which services may have a lease, and of how long. */
void leaser_look_again(struct leaser *leaser, const struct control *control);

#endif
