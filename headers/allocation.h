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

/* Which interval of three holds @hash, from 1 on, or 0. @live: bit c - 1 of interval c that is not
 * empty. */
pure_inline __u32 interval_of(const struct interval intervals[CANARIES_MAX], __u32 live, __u32 hash)
{
	if ((live & 1) && interval_holds(&intervals[0], hash))
		return 1;
	if ((live & 2) && interval_holds(&intervals[1], hash))
		return 2;
	if ((live & 4) && interval_holds(&intervals[2], hash))
		return 3;
	return 0;
}

/* The cohort that a rule's current shares give a client: 0, the control, or the canary that holds
 * it. */
pure_inline __u32 rule_cohort(const struct view_rule *rule, __u32 hash)
{
	return interval_of(rule->current, rule->live / RULE_CURRENT, hash);
}

/* The same before the era began; @hash with the origin's salt. */
pure_inline __u32 rule_origin(const struct view_rule *rule, __u32 hash)
{
	return interval_of(rule->origin, rule->live / RULE_ORIGIN, hash);
}

/* Do epochs of the era disagree on the client? */
pure_inline int rule_disputes(const struct view_rule *rule, __u32 hash)
{
	return interval_of(rule->disputed, rule->live / RULE_DISPUTED, hash) != 0;
}

/*
 * Where in 2^-16 of the hash space, or in parts of a modulus, the slice of control is counted that
 * is followed beside a canary: from the end that the canary does not grow from.
 */
pure_inline __u32 track_place(__u16 live, __u16 view_flags, __u32 hash)
{
	__u32 place = view_flags & VIEW_HASH_MODULO ? hash : hash >> 16;

	return live & RULE_TRACK_LOW ? 0xffff - place : place;
}

/* Is a client of control followed? */
pure_inline int is_in_slice(const struct view_rule *rule, __u16 view_flags, __u32 hash)
{
	return rule->track_from && track_place(rule->live, view_flags, hash) >= rule->track_from;
}

/* Did the last cut leave the client in @canary, 1 to CANARIES_MAX? */
pure_inline int rule_keeps(const struct view_rule *rule, __u32 canary, __u32 hash)
{
	return (rule->live & RULE_KEPT << (canary - 1)) &&
	       interval_holds(&rule->kept[canary - 1], hash);
}

/*
 * Has a cut taken from the client what it had of @canary at @generation of the era? @rehashed: cuts
 * before it kept by another hash than @hash, and so nobody can tell whom.
 */
pure_inline int rule_cuts(const struct view_rule *rule, __u32 canary, __u32 hash, __u8 generation,
			  __u8 rehashed)
{
	__u32 index = (canary - 1) & 3, offset;
	__u8 before = rule->cuts_before[index];

	if (generation >= rule->cuts[index])
		return 0;
	if (rule->cuts[index] < rehashed || !rule_keeps(rule, canary, hash))
		return 1;
	offset = hash - rule->kept[index].start;
	if (rule->kept_from_end & 1 << index)
		offset = rule->kept[index].last - offset;
	return generation < before && (before < rehashed || offset >= rule->kept_before[index]);
}

#endif
