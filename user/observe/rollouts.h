/* SPDX-License-Identifier: GPL-2.0-only */
/* What /metrics says of rollouts: of what they follow, what the guard finds, how far they are. */
#ifndef XDP_CANARY_OBSERVE_ROLLOUTS_H
#define XDP_CANARY_OBSERVE_ROLLOUTS_H

#include "control/control.h"

#include <stdio.h>

/*
 * Families from tracked_clients to lease_remaining_seconds, of services that have a rollout in the
 * file. Labels name no client. 0 or a negative errno.
 */
int rollout_metrics(FILE *out, struct control *control);

#endif
