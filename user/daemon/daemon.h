/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon: owns no truth. It takes the steps of rollouts, judges them and rolls them back,
 * renews their leases, calls hooks, checks backends, computes segments anew when they are due,
 * takes windows of observation, restores the kernel side after a boot, keeps next hops fresh, drops
 * pins and eras that have ended, and serves /metrics. When it dies the data path goes on, but for
 * canaries whose lease then ends.
 */
#ifndef XDP_CANARY_DAEMON_H
#define XDP_CANARY_DAEMON_H

#include "control/control.h"

/* Runs until SIGTERM or SIGINT; with @once one round and back. Errors of a round are logged, and it
 * goes on. */
int daemon_run(const struct place *place, const struct actor *actor, bool once,
	       struct errors *errors);

#endif
