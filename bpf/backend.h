/* SPDX-License-Identifier: GPL-2.0-only */
/* Stage 5: the backend, from the cohort's ring. A cohort without one falls back to control. */
#ifndef XDP_CANARY_BACKEND_H
#define XDP_CANARY_BACKEND_H

#include "client.h"

static __always_inline __u64 flow_of(const struct packet *p)
{
	__u16 source_port = bpf_ntohs(p->headers.source_port);
	__u16 destination_port = bpf_ntohs(p->headers.destination_port);
	__be32 address4;

	if (p->view->flags & VIEW_BALANCE_CLIENT)
		return 0;
	if (is_ipv4_client(p, &address4))
		return flow_word(0, bpf_ntohl(address4), source_port, destination_port);
	return flow_word(bpf_be64_to_cpu(p->headers.source6.high),
			 bpf_be64_to_cpu(p->headers.source6.low), source_port, destination_port);
}

static __always_inline __u32 ring_size(const struct packet *p, __u32 cohort)
{
	return p->view->rings[cohort + 1] - p->view->rings[cohort];
}

/* A service that is not enforced drops nothing. */
static __always_inline enum reason without_backend(const struct packet *p)
{
	return p->view->flags & VIEW_ENFORCE ? REASON_NO_BACKEND : REASON_NOT_ENFORCED;
}

static __always_inline enum reason choose_backend(struct packet *p)
{
	__u32 cohort = p->cohort & (COHORTS_MAX - 1);
	__u32 size = ring_size(p, cohort);
	struct ring_line *line;
	__u32 slot;

	p->chosen_cohort = cohort;
	if (!size) {
		if (cohort)
			p->decision = REASON_COHORT_DOWN;
		cohort = 0;
		p->cohort = 0;
		size = ring_size(p, 0);
		if (!size)
			return without_backend(p);
	}
	p->cohort = cohort;
	p->flow = flow_of(p);
	p->ring_slot = p->view->rings[cohort] + scale(ring_hash(p->token, p->flow), size);
	line = lookup(ring_slots, p->ring_slot / RING_LINE_SLOTS);
	if (!line)
		return without_backend(p);
	slot = line->slots[p->ring_slot % RING_LINE_SLOTS];
	p->backend_number = slot & SLOT_NOW_MASK;
	p->backend = lookup(backends, p->view->backends + p->backend_number);
	return p->backend ? GO_ON : without_backend(p);
}

#endif
