/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is in a canary: fixed slots with coverage. The hash space [0, 2^32) is cut into one slot per
 * canary; a share covers its slot from the start. So raising a share only moves clients from
 * control into that canary, lowering it only back, and no other canary's clients move (promises 3
 * and 4).
 */
#ifndef XDP_CANARY_ALLOCATION_H
#define XDP_CANARY_ALLOCATION_H

#include "abi.h"

#define PPM 1000000u

/* T(ppm) = floor(ppm * 2^32 / 10^6), exact in 64 bits; @ppm: 0 to PPM; result: 0 to 2^32. */
pure_inline __u64 threshold(__u32 ppm)
{
	return ((__u64)ppm << 32) / PPM;
}

/*
 * The part [T(start), T(start) + min(T(share), T(start + width) - T(start))) of the hash space, of
 * a canary whose slot is [@start_ppm, @start_ppm + @width_ppm). Returns 0 where that is empty, else
 * 1 and *@out.
 */
pure_inline int share_interval(__u32 start_ppm, __u32 width_ppm, __u32 share_ppm,
			       struct interval *out)
{
	__u64 start = threshold(start_ppm);
	__u64 width = threshold(start_ppm + width_ppm) - start;
	__u64 length = threshold(share_ppm) < width ? threshold(share_ppm) : width;

	if (!length)
		return 0;
	out->start = start;
	out->last = length - 1;
	return 1;
}

pure_inline int interval_holds(const struct interval *interval, __u32 hash)
{
	return hash - interval->start <= interval->last;
}

/* The cohort that a rule's current shares give a client: 0, the control, or the canary that holds
 * @hash. */
pure_inline __u32 rule_cohort(const struct view_rule *rule, __u32 hash)
{
	__u32 live = rule->live;

	if ((live & RULE_CURRENT) && interval_holds(&rule->canaries[0].current, hash))
		return 1;
	if ((live & RULE_CURRENT << 1) && interval_holds(&rule->canaries[1].current, hash))
		return 2;
	if ((live & RULE_CURRENT << 2) && interval_holds(&rule->canaries[2].current, hash))
		return 3;
	return 0;
}

#endif
