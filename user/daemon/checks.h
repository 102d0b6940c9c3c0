/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checks of backends: each is asked every interval, the checks of a service spread over it, from
 * the daemon's loop, which waits for none of them. What changes a backend's health is stored and
 * published in place, many changes in one write. While no daemon checks, the last that was found
 * holds.
 */
#ifndef XDP_CANARY_DAEMON_CHECKS_H
#define XDP_CANARY_DAEMON_CHECKS_H

#include "control/control.h"

#include <stdio.h>
#include <systemd/sd-event.h>

struct checker;
struct counters;

int checker_new(sd_event *event, const struct place *place, const struct actor *actor,
		struct counters *counters, struct checker **out);
/* NULL is allowed. */
void checker_free(struct checker *checker);
/*
 * What is to be checked, from now on; what is known of a backend that stays is kept. Takes the
 * control's policy over, which is then no more good than to be closed. -ENOMEM.
 */
int checker_follow(struct checker *checker, struct control *control);
/*
 * To be called each second: writes what has changed, ends damping where eras have ended. -EBUSY is
 * no error: another writer; the next round tries again.
 */
int checker_round(struct checker *checker, struct errors *errors);
/* Family check_failures_total. */
void checker_metrics(const struct checker *checker, FILE *out);

#endif
