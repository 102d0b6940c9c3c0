/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lease of a rollout's canary: from view.expiry on nobody is sent there, with no process alive.
 * Only packets that the canary would get ask, and of a service without a lease for one word.
 *
 * How the end takes hold (view.rollout): with ROLLOUT_CUT at once, for live flows, too. Else it is
 * a change like any other, that the clock makes: for view.lease_drain the canary's clients are
 * disputed, and new flows are recorded (affinity.h). The change is one of the era that is open,
 * which then lasts as long, or else the first one of the next, whose number it uses already.
 */
#ifndef XDP_CANARY_LEASE_H
#define XDP_CANARY_LEASE_H

#include "packet.h"

static __always_inline __u64 lease_ends(const struct view *view)
{
	return *(volatile __u64 *)&view->expiry & LEASE_ENDS;
}

/* The lease ended in the era that would have been over at @era_ends: that lasts until flows have
 * drained from the canary. */
static __always_inline int lease_keeps_era(const struct view *view, __u64 era_ends, __u64 now)
{
	return !(view->rollout & ROLLOUT_CUT) && view->expiry != LEASE_NONE &&
	       lease_ends(view) < era_ends && now < lease_ends(view) + view->lease_drain;
}

/*
 * Has the lease ended? The first packet that finds so marks it: a renewal that is on its way then
 * fails, or has come before. @quiet: tell alone.
 */
__noinline int lease_has_ended(struct view *view, int quiet)
{
	__u64 expiry, now, seen;

	if (!view)
		return 0;
	expiry = *(volatile __u64 *)&view->expiry;
	if (expiry & LEASE_ENDED)
		return expiry != LEASE_NONE;
	now = bpf_jiffies64();
	if (now < expiry)
		return 0;
	if (quiet)
		return 1;
	seen = __sync_val_compare_and_swap(&view->expiry, expiry, expiry | LEASE_ENDED);
	return seen == expiry || (seen & LEASE_ENDED);
}

#endif
