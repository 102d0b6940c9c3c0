/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Segments whose `refresh` has passed are computed anew, as by `segment materialise`. That may take
 * seconds, so a child of the daemon does it, with the writer lock like any command, while the loop
 * goes on. There is one child at a time.
 */
#ifndef XDP_CANARY_REFRESH_H
#define XDP_CANARY_REFRESH_H

#include "control/control.h"

#include <systemd/sd-event.h>

struct refresher;

/* What a child's work came to: @errors is for the callee to free. */
typedef void (*refresh_ended)(void *data, struct errors *errors, int error);

/* Blocks SIGCHLD, as the loop needs it. NULL without memory. */
struct refresher *refresher_new(sd_event *event, const struct place *place,
				const struct actor *actor, refresh_ended ended, void *data);
/* Ends the child, too. NULL is allowed. */
void refresher_free(struct refresher *refresher);
/* There is another desired state: look again when something is due. */
void refresher_look_again(struct refresher *refresher);
/* To be called every round: begins a child where something is due. */
int refresher_tick(struct refresher *refresher, uint64_t now_ns, struct errors *errors);

/* What the child does, here and now: computes what is due, stores and publishes it. One segment
 * that cannot be computed keeps no other from it. */
int refresh_due(const struct place *place, const struct actor *actor, struct errors *errors);

#endif
