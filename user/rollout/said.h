/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is said of a rollout in one word, by status and by metrics alike. @judgement: what the
 * daemon stored last of it, or NULL where it has not looked yet.
 */
#ifndef XDP_CANARY_ROLLOUT_SAID_H
#define XDP_CANARY_ROLLOUT_SAID_H

#include "control/control.h"
#include "guard/verdict.h"
#include "rollout/machine.h"

/* Of a verdict. NULL: there is no rollout. */
const char *said_verdict(const struct rollout_state *state, const json_t *judgement);
/*
 * What could roll it back: never unknown, for before the first look the file and the shares in
 * force tell. NULL: there is no rollout.
 */
const char *said_armed(const struct control *control, const struct service *service,
		       const struct rollout_state *state, const json_t *judgement);

#endif
