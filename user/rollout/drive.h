/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Feeding the machine: load, feed, apply, publish, under the writer lock and in one transaction of
 * the store, by commands and the daemon alike. A crash before the commit has changed nothing; after
 * it the next writer finishes the kernel's side, and the machine's state knows what was done.
 * Network calls are not made here: hooks are queued in the store for the daemon, which reports each
 * as EVENT_HOOK.
 */
#ifndef XDP_CANARY_ROLLOUT_DRIVE_H
#define XDP_CANARY_ROLLOUT_DRIVE_H

#include "control/control.h"
#include "rollout/machine.h"
#include "store/rollouts.h"

/* This moment. */
struct rollout_clock rollout_clock_now(void);
/* The state of the service's rollout that was not closed; ROLLOUT_IDLE with id 0: none. */
int rollout_load_state(struct store *store, const char *service, struct rollout_state *out,
		       struct errors *errors);

/*
 * Feeds @event (its clock, and what EVENT_START needs but the actor's words, are filled in here)
 * and applies what comes of it to the store, but publishes nothing: for a writer that has more to
 * do. *@effect (may be NULL) is what is left to be done. `live` of @control is read again.
 */
enum rollout_effect {
	EFFECT_NONE,	/* nothing was stored */
	EFFECT_STORED,	/* to be committed */
	EFFECT_DECIDES, /* what packets see has changed, too: to be published */
};
int rollout_apply(struct control *control, const struct service *service,
		  struct rollout_event *event, enum rollout_effect *effect);
/* The same, and publishes and commits. */
int rollout_drive(struct control *control, const struct service *service,
		  struct rollout_event *event);
/*
 * Whether @event would change anything that has to be stored: what the daemon asks without the lock
 * each second. @state: rollout_load_state() of the same moment. The clock is filled in here.
 */
bool rollout_would_act(const struct service *service, const struct rollout_state *state,
		       struct rollout_event *event);
/*
 * A hook was called, @ok: answered 2xx. It leaves the queue; a gate is told to the machine, if its
 * rollout is still the one. Commits.
 */
int rollout_hook_called(struct control *control, const struct hook_call *call, bool ok);

/* A kill, or the end of a lease, was recorded as the service's latch: its rollout ends, if one is
 * active; of a kill, if one has succeeded, too.
 * @killer: who has killed it, and why; NULL: that is not known. */
int rollout_record_latch(struct control *control, const char *service, enum latch latch,
			 const struct actor *killer);
/* What that will make of the state, for who reads before a writer has recorded it. Stores nothing.
 */
void rollout_foresee_latch(const struct service *service, struct rollout_state *state,
			   enum latch latch);

#endif
