/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 6: the cohort, and why. In this order: killed, pinned, held out, the first rule that holds
 * the client; and what comes out is control where that canary is latched or its lease has ended.
 * INTERFACE: docs/architecture.md, "The decision".
 */
#ifndef XDP_CANARY_COHORT_H
#define XDP_CANARY_COHORT_H

#include "allocation.h"
#include "classes.h"
#include "lease.h"
#include "split_hash.h"

/*
 * The last of @count sorted ranges from @base on that starts at or below the address: a binary
 * search of always as many steps. A function of its own: the verifier walks it once.
 */
__noinline __u32 search_pins(__u32 base, __u32 count, __u64 high, __u64 low)
{
	__u32 found = 0;

	for (int step = PINS_SEARCH_STEPS - 1; step >= 0; step--) {
		__u32 next = found + (1u << step);
		struct pin_range *range;

		if (next >= count)
			continue;
		range = lookup(pins, base + next);
		if (!range)
			continue;
		if (range->high < high || (range->high == high && range->low <= low))
			found = next;
	}
	return base + found;
}

/* The cohort that the client's source address is pinned to, or PIN_NONE. */
static __always_inline __u8 pinned_cohort(struct packet *p)
{
	struct pin_range *range;
	__u64 high = 0, low;
	__be32 address4;

	if (is_ipv4_client(&p->headers, &address4)) {
		low = IPV4_MAPPED | bpf_ntohl(mask_address4(view_masks(p->view), address4));
	} else {
		struct raw_address6 address = mask_address6(p->headers.source6, p->view->prefix6);

		high = bpf_be64_to_cpu(address.high);
		low = bpf_be64_to_cpu(address.low);
	}
	range = lookup(pins, search_pins(p->view->pins, p->view->pins_count, high, low));
	if (!range)
		return PIN_NONE;
	p->notes &= ~(0xffULL << NOTE_PIN_SHIFT);
	p->notes |= (__u64)range->origin << NOTE_PIN_SHIFT;
	if (range->changed)
		p->notes |= PIN_CHANGED | DISPUTED;
	if (range->cohort >= COHORTS_MAX)
		return PIN_NONE;
	if (range->expires != PIN_FOREVER && bpf_ktime_get_ns() >= range->expires)
		return PIN_NONE;
	return range->cohort;
}

/* h: the client's place in the hash space. */
static __always_inline __u32 hash_client(const struct packet *p)
{
	const struct view *view = p->view;

	if (view->flags & VIEW_HASH)
		return split_hash_of_source(&p->headers, view_masks(view), view->flags,
					    view->hash_modulus, view->hash_seed);
	return client_hash(p->token, view->salt64);
}

static __always_inline void decide_without_rule(struct packet *p, __u8 cohort, enum reason decision)
{
	p->cohort = cohort;
	p->decision = decision;
}

static __always_inline void give_cohort(struct packet *p)
{
	__u8 pinned = PIN_NONE, rule = rule_line(p->view, noted_rule(p->notes));

	p->rule = RULE_NONE;
	p->hash = hash_client(p);
	if (p->view->flags & VIEW_PINS) /* of a killed service, too: its flows' origin */
		pinned = pinned_cohort(p);
	if (p->killed) {
		p->notes |= DISPUTED;
		decide_without_rule(p, 0, REASON_KILLED);
		return;
	}
	if (pinned != PIN_NONE) {
		decide_without_rule(p, pinned, REASON_OVERRIDE);
		return;
	}
	if (p->view->holdout && client_hash(p->token, HOLDOUT_SALT64) < p->view->holdout) {
		decide_without_rule(p, 0, REASON_HOLDOUT);
		return;
	}
	p->view_rule = lookup(rules, p->view->rules + rule);
	if (!p->view_rule) { /* cannot be: every view has its rules */
		decide_without_rule(p, 0, REASON_DEFAULT);
		return;
	}
	p->rule = rule;
	p->decision = p->view_rule->reason;
	p->cohort = rule_cohort(p->view_rule, p->hash);
	if ((p->view->flags & VIEW_TRANSITION) && rule_disputes(p->view_rule, p->hash))
		p->notes |= DISPUTED;
}

/* Is the canary latched at control, or its lease at its end? The reason, and LEASE_TOOK; 0:
 * neither.
 */
__noinline __u32 held_back(struct view *view, __u32 cohort, __u32 quiet)
{
	__u8 rollout;

	if (!view)
		return 0;
	rollout = view->rollout;
	if (rollout >> ROLLOUT_LATCHED_SHIFT >> (cohort & (COHORTS_MAX - 1)) & 1)
		return rollout & ROLLOUT_LATCH_LEASE ? REASON_LEASE_EXPIRED : REASON_ROLLED_BACK;
	if (cohort != (rollout & ROLLOUT_COHORT) || !lease_has_ended(view, quiet))
		return 0;
	return REASON_LEASE_EXPIRED | LEASE_TOOK;
}

/* What keeps the client from the canary that it was given. */
static __always_inline void check_canary(struct packet *p)
{
	__u32 why;

	if (p->view->expiry == LEASE_NONE && !(p->view->rollout & ROLLOUT_LATCHED))
		return;
	why = held_back(p->view, p->cohort, p->quiet);
	if (!why)
		return;
	if (why & LEASE_TOOK)
		p->notes |= DISPUTED | LEASE_TOOK;
	p->rule = RULE_NONE;
	p->view_rule = NULL;
	decide_without_rule(p, 0, why & ~LEASE_TOOK);
}

static __always_inline void decide_cohort(struct packet *p)
{
	give_cohort(p);
	if (p->cohort)
		check_canary(p);
}

#endif
