/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the explaining program tells of the packet that it is run on: every stage's result, written
 * over the packet itself, which BPF_PROG_TEST_RUN hands back. It shares no state with anything, so
 * any number may run at once.
 */
#ifndef XDP_CANARY_EXPLAIN_H
#define XDP_CANARY_EXPLAIN_H

#include "packet.h"

static __always_inline enum action action_of(enum reason reason)
{
	if (reason < STEER_REASONS)
		return ACTION_STEER;
	return reason < REASON_NO_BACKEND ? ACTION_PASS : ACTION_DROP;
}

static __always_inline void explain(const struct packet *p, enum reason reason)
{
	void *end = (void *)(long)p->ctx->data_end;
	struct explanation *e = (void *)(long)p->ctx->data;

	if ((void *)(e + 1) > end)
		return;
	*e = (struct explanation){
		.jiffies = bpf_jiffies64(),
		.token = p->token,
		.flow = p->flow,
		.hash = p->hash,
		.service = p->service,
		.view = p->view_index,
		.ring_slot = p->ring_slot,
		.backend = p->backend_number,
		.chosen_cohort = p->chosen_cohort,
		.cohort = p->cohort,
		.action = action_of(reason),
		.reason = reason,
		.decision = p->decision,
		.rule = p->rule,
		.path = p->path,
		.has_service = !!p->view,
		.has_backend = !!p->backend,
	};
	if (p->view) {
		e->holdout_hash = client_hash(p->token, HOLDOUT_SALT64);
		e->epoch = p->view->epoch;
	}
}

#endif
