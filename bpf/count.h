/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counting. An interface's `seen` is counted on entry and one of its reasons on exit, so that a
 * path that forgot its reason shows. The rest counts what was steered, or would have been where a
 * service is not enforced.
 */
#ifndef XDP_CANARY_COUNT_H
#define XDP_CANARY_COUNT_H

#include "packet.h"

static __always_inline int count_seen(struct packet *p)
{
	p->interface = lookup(interface_counters, interface_slot);
	if (!p->interface)
		return -1;
	p->interface->seen++;
	return 0;
}

static __always_inline void count_reason(struct packet *p, enum reason reason)
{
	__u32 index = reason;

	asm volatile(
		""
		: "+r"(index)); /* keeps the bound on the register that the verifier sees used */
	if (index < REASONS)
		p->interface->reasons[index]++;
}

static __always_inline void count_flags(struct rule_counter *counter, const struct packet *p)
{
	if ((p->notes & (FLOW_STARTS | EARLY_DATA)) == FLOW_STARTS)
		counter->syns++;
	if (!(p->headers.tcp_flags & (TCP_FIN | TCP_RST)))
		return;
	if (p->headers.tcp_flags & TCP_FIN)
		counter->fins++;
	if (p->headers.tcp_flags & TCP_RST)
		counter->rsts++;
}

static __always_inline void count_segment(const struct packet *p)
{
	struct segment_counter *counter;

	if (!p->view_rule || !p->view_rule->segment)
		return;
	counter = lookup(segment_counters, p->view_rule->segment - 1);
	if (counter)
		counter->packets++;
}

/* What few packets have: another path than the current one, or no client key of their own. */
static __always_inline void count_affinity(const struct packet *p)
{
	struct affinity_counter *counter;
	__u32 path = p->path;

	if (!(p->path | (p->notes & (EVICTED | FALLBACK_QUIC | FALLBACK_PAYLOAD))))
		return;
	counter = lookup(affinity_counters, p->service);
	if (!counter)
		return;
	asm volatile("" : "+r"(path));
	if (path && path < PATHS)
		counter->paths[path]++;
	if (p->notes & EVICTED)
		counter->evicted++;
	if (p->notes & FALLBACK_QUIC)
		counter->fallback_quic++;
	if (p->notes & FALLBACK_PAYLOAD)
		counter->fallback_payload++;
}

BUILD_CHECK((STEER_REASONS & (STEER_REASONS - 1)) == 0);

static __always_inline void count_decision(struct packet *p)
{
	__u32 bytes = p->headers.l3_offset + p->headers.l3_length;
	struct decision_counter *decisions;
	struct backend_counter *backend;
	struct rule_counter *rule;
	__u32 index_of_rule;

	decisions = lookup(decision_counters, p->service);
	if (decisions)
		decisions->packets[p->decision & (STEER_REASONS - 1)]++;
	index_of_rule = p->view_rule ? p->view_rule->counters : p->view->counters;
	index_of_rule += p->backend->lane;
	rule = lookup(rule_counters, index_of_rule);
	if (rule) {
		rule->packets++;
		rule->bytes += bytes;
		count_flags(rule, p);
	}
	backend = lookup(backend_counters, p->backend->counter);
	if (backend) {
		backend->packets++;
		backend->bytes += bytes;
	}
	count_segment(p);
	count_affinity(p);
}

#endif
