/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 7: the backend that the current decision gives, from the cohort's ring. A cohort without
 * one that serves falls back to control.
 */
#ifndef XDP_CANARY_BACKEND_H
#define XDP_CANARY_BACKEND_H

#include "client.h"

/* The flow's source and ports in one word. */
static __always_inline __u64 whole_flow(const struct headers *h)
{
	__u16 source_port = bpf_ntohs(h->source_port);
	__u16 destination_port = bpf_ntohs(h->destination_port);
	__be32 address4;

	if (is_ipv4_client(h, &address4))
		return flow_word(0, bpf_ntohl(address4), source_port, destination_port);
	return flow_word(bpf_be64_to_cpu(h->source6.high), bpf_be64_to_cpu(h->source6.low),
			 source_port, destination_port);
}

/* Of it what the balance takes into account. */
static __always_inline __u64 balanced_flow(const struct headers *h, __u16 flags)
{
	return flags & VIEW_BALANCE_CLIENT ? 0 : whole_flow(h);
}

/* Once, for health changes it in place. */
static __always_inline __u32 read_slot(__u32 index)
{
	struct ring_line *line = lookup(ring_slots, index / RING_LINE_SLOTS);

	return line ? *(volatile __u32 *)&line->slots[index % RING_LINE_SLOTS] : SLOT_NONE;
}

/* The flow's slot in the cohort's ring; a cohort without a ring has no backend. */
static __always_inline __u32 current_slot(struct packet *p, __u32 cohort)
{
	__u32 first = p->view->rings[cohort], size = p->view->rings[cohort + 1] - first;

	if (!size)
		return BACKEND_NONE;
	p->ring_slot = first + scale(ring_hash(p->token, p->flow), size);
	return read_slot(p->ring_slot);
}

static __always_inline void choose_backend(struct packet *p)
{
	__u32 cohort = p->cohort & (COHORTS_MAX - 1);
	__u32 slot;

	p->flow = balanced_flow(&p->headers, p->view->flags);
	p->chosen_cohort = cohort;
	slot = current_slot(p, cohort);
	p->notes |= slot & MOVED;
	p->backend_number = slot & SLOT_NOW_MASK;
	if (p->backend_number == BACKEND_NONE) {
		if (!cohort)
			return;
		p->notes |= FELL_BACK;
		p->cohort = 0;
		slot = current_slot(p, 0);
		p->notes |= slot & MOVED;
		p->backend_number = slot & SLOT_NOW_MASK;
		if (p->backend_number == BACKEND_NONE)
			return;
	}
	p->backend = lookup(backends, p->view->backends + p->backend_number);
}

#endif
