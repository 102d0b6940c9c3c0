/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Paired counts of Prometheus: two counters, of events in the canary and in control, whose
 * increments are compared with what part of the traffic was to be the canary's. Pure.
 */
#ifndef XDP_CANARY_ROLLOUT_PAIRS_H
#define XDP_CANARY_ROLLOUT_PAIRS_H

#include "rollout/follow.h"

#define PAIR_MOST 9007199254740992.0 /* 2^53: a counter beyond it no longer counts by ones */

/* Finite, not negative, at most PAIR_MOST. */
bool pair_is_counter(double number);
/*
 * What was counted from @before to @after, two looks at counters: @k in the canary, @n in both.
 * Whole numbers: fractions wait until they are one. A counter that fell began anew from 0.
 */
void pair_increments(const struct followed_pair *before, const struct followed_pair *after,
		     uint64_t *k, uint64_t *n);
/*
 * The window that counts from @from_ns to @to_ns (CLOCK_REALTIME) belong to: both ends lie in it,
 * and no share has changed in between, or within @settle_ns before. NULL: none, they are dropped.
 */
const struct followed_window *pair_window(const struct followed *followed, uint64_t settle_ns,
					  uint64_t from_ns, uint64_t to_ns);

/* New flows, as counted; or packets, of a service whose clients open none. */
struct pair_traffic {
	double rules[RULES_MAX]; /* decided by each */
	double canary, control;	 /* decided by no rule (held-out and pinned clients) */
};

/* From @before to @now, counter by counter; all of @now, where there was none. */
struct pair_traffic pair_traffic_since(const struct pair_traffic *before,
				       const struct pair_traffic *now);
bool pair_traffic_is_none(const struct pair_traffic *traffic);

/*
 * The canary's part of the traffic of canary and control, 0 to 1: the sum over rules of traffic x
 * canary's share, and what no rule decided, over the same of both. NAN: there is no traffic.
 */
double pair_expected(const struct pair_traffic *traffic,
		     const uint32_t shares[RULES_MAX][COHORTS_MAX], size_t rules, size_t canary);

/*
 * Tallies what was counted of @metric from the last counters to @now, which become the last ones.
 * @answered_ns: CLOCK_REALTIME; @traffic: of that time. What belongs to no window is dropped, and
 * what was counted while either arm was to have no traffic. -ENOMEM.
 */
int pair_tally(struct followed *followed, const struct service *service, size_t metric,
	       const struct followed_pair *now, uint64_t answered_ns,
	       const struct pair_traffic *traffic);

#endif
