/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon's side of a rollout without the kernel's: a state, a reader of it, a loop, a server.
 */
#ifndef XDP_CANARY_ROLLOUTS_FIXTURE_H
#define XDP_CANARY_ROLLOUTS_FIXTURE_H

#include "daemon/rollouts_internal.h"
#include "probe_fixture.h"
#include "state_fixture.h"

struct rollouts_box {
	struct probe_box *probe;
	struct state_box state;
	struct place place;
	struct actor actor;
	struct rollouts rollouts;
};

/*
 * @rollout: what service api's key `rollout` holds, in YAML's flow style. %s in it:
 * http://HOST:PORT of the server; there may be up to four.
 */
struct rollouts_box *rollouts_box_make(const char *rollout);
/* Another revision. */
void rollouts_box_apply(struct rollouts_box *box, const char *rollout);
void rollouts_box_remove(struct rollouts_box *box);
/* As the daemon sees it by now; its policy lasts until another revision is there. */
struct service *rollouts_box_service(struct rollouts_box *box);
/* GETs @path, or POSTs @body to it; the answer's body, valid until the next call. */
const char *rollouts_box_fetch(struct rollouts_box *box, const char *path, const char *body);

#endif
