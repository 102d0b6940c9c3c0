/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counting. An interface's `seen` is counted on entry and one of its reasons on exit, so that a
 * path that forgot its reason shows. The rest counts what was steered, or would have been where a
 * service is not enforced.
 */
#ifndef XDP_CANARY_COUNT_H
#define XDP_CANARY_COUNT_H

#include "packet.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

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

static __always_inline void count_flags(struct rule_counter *counter, __u8 flags)
{
	if (!(flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		return;
	if ((flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		counter->syns++;
	if (flags & TCP_FIN)
		counter->fins++;
	if (flags & TCP_RST)
		counter->rsts++;
}

BUILD_CHECK((STEER_REASONS & (STEER_REASONS - 1)) == 0);

static __always_inline void count_decision(struct packet *p)
{
	__u32 cohort = p->cohort & (COHORTS_MAX - 1);
	__u32 bytes = p->headers.l3_offset + p->headers.l3_length;
	struct decision_counter *decisions;
	struct backend_counter *backend;
	struct rule_counter *rule;
	__u32 index_of_rule;

	decisions = lookup(decision_counters, p->service);
	if (decisions)
		decisions->packets[p->decision & (STEER_REASONS - 1)]++;
	if (p->view_rule)
		index_of_rule = p->view_rule->counters + p->view_rule->lanes[cohort];
	else
		index_of_rule = p->view->counters + p->view->lanes[cohort];
	rule = lookup(rule_counters, index_of_rule);
	if (rule) {
		rule->packets++;
		rule->bytes += bytes;
		count_flags(rule, p->headers.tcp_flags);
	}
	backend = lookup(backend_counters, p->backend->counter);
	if (backend) {
		backend->packets++;
		backend->bytes += bytes;
	}
}

#endif
