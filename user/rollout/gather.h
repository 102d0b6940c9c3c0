/* SPDX-License-Identifier: GPL-2.0-only */
/* What a box knows of a followed rollout at one moment, for the judge and for the machine. */
#ifndef XDP_CANARY_ROLLOUT_GATHER_H
#define XDP_CANARY_ROLLOUT_GATHER_H

#include "control/control.h"
#include "rollout/follow.h"

struct gathered {
	struct judge_rule rules[RULES_MAX];
	struct judge_input input;
	void *memory; /* of input */
};

/* Shares in force, by rule and cohort; [0]: control's. */
void gather_shares(const struct control *control, const struct service *service,
		   uint32_t shares[RULES_MAX][COHORTS_MAX]);
/* Is no backend of the canary alive: up, wished so, and with a weight? */
bool gather_is_lost(const struct control *control, const struct service *service, size_t cohort);
/* Of the serving backends. */
uint64_t gather_weight(const struct control *control, const struct service *service, size_t cohort);
/* The greatest PSI of a model whose segments the service's rules use; 0 where there is none. */
double gather_drift(struct control *control, const struct service *service);

/* Which rules have a canary and a control to compare, by the shares in force; no counts. */
void gather_arms(const struct control *control, const struct service *service,
		 struct gathered *out);
/*
 * The counts of the running window. Release it also after an error. -EAGAIN: the kernel counts in
 * another window, or does not follow the service.
 */
int gather(struct control *control, const struct service *service, const struct followed *followed,
	   const struct rollout_state *state, struct gathered *out);
/* {RULE: ppm}: the canary's part of the clients seen in the window; no member where that is
 * unknown.
 */
json_t *gather_actual_clients(const struct control *control, const struct service *service,
			      const struct gathered *gathered);
/* Does the kernel count in the machine's window? Not after a boot, or where a writer died. */
bool gather_is_current(const struct control *control, const struct service *service,
		       const struct rollout_state *state);
void gathered_release(struct gathered *gathered);

#endif
