// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lease of a service's canary, in the shown view's `expiry`. Who renews it holds no lock: a
 * compare and swap from a value that has not passed. The first packet that finds it passed marks it
 * (bpf/lease.h), so that a renewal that comes late fails; one that comes before is as if it had
 * come in time. A view that replaces another goes on with its lease: with what it has just before
 * the store that shows it, and with what was renewed until just after, for the next renewal finds
 * the new one.
 */
#include "datapath/publish_internal.h"

#include <errno.h>

static uint64_t read_expiry(const struct view *view)
{
	return __atomic_load_n(&view->expiry, __ATOMIC_ACQUIRE);
}

static bool has_passed(uint64_t expiry, uint64_t now)
{
	return (expiry & LEASE_ENDED) || now >= expiry;
}

int lease_renew(struct datapath *datapath, uint32_t slot, uint64_t jiffies, struct errors *errors)
{
	struct view *view = (struct view *)datapath_view(datapath, slot);
	uint64_t now, expiry;
	int error;

	if (!view)
		return -ENOENT;
	expiry = read_expiry(view);
	if (expiry == LEASE_NONE)
		return -ENOENT;
	error = datapath_jiffies(datapath, &now, errors);
	if (error)
		return error;
	if (has_passed(expiry, now))
		return -ESTALE;
	if (now + jiffies <= expiry ||
	    __atomic_compare_exchange_n(&view->expiry, &expiry, now + jiffies, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return 0;
	return expiry & LEASE_ENDED ? -ESTALE : 0; /* else somebody else has renewed it just now */
}

/* ---- with the view that goes on with it ---- */

/* Drains are the service's: what flows have when the lease ends. */
static void give_drains(const struct transition_plan *plan, struct view *view)
{
	uint64_t udp = jiffies_of_ms(plan->udp_drain_ms, plan->hz);

	view->lease_drain = jiffies_of_ms(plan->drain_ms, plan->hz);
	view->lease_udp_drain = (udp + (1 << LEASE_UDP_SHIFT) - 1) >> LEASE_UDP_SHIFT;
}

uint64_t lease_give(const struct publication *publication, const struct view *shown,
		    const struct transition_plan *plan, struct view_image *image)
{
	uint64_t lease = jiffies_of_ms(image->lease_ms, publication->hz);

	image->view.expiry = LEASE_NONE;
	if (!lease)
		return 0;
	if (plan)
		give_drains(plan, &image->view);
	if (lease_goes_on(shown, plan, image)) {
		image->view.expiry = read_expiry(shown);
		return 0;
	}
	image->view.expiry = publication_now(publication) + lease;
	return lease;
}

void leases_settle(const struct publication *publication)
{
	size_t i;

	for (i = 0; i < publication->views_count; i++) {
		const struct staged_view *staged = &publication->views[i];
		const struct view *shown = datapath_view(publication->datapath, staged->slot);
		struct view *view =
			map_part(publication->datapath, MAP_VIEWS, struct view, staged->view, 1);

		if (staged->lease)
			view->expiry = publication_now(publication) + staged->lease;
		else if (view->expiry != LEASE_NONE && shown)
			view->expiry = read_expiry(shown);
	}
}

/* The view before: each service has two. */
static const struct view *replaced(const struct publication *publication,
				   const struct staged_view *staged)
{
	return map_part(publication->datapath, MAP_VIEWS, struct view, staged->view ^ 1, 1);
}

void leases_follow(const struct publication *publication)
{
	uint64_t now = publication_now(publication) + 1;
	size_t i;

	for (i = 0; i < publication->views_count; i++) {
		const struct staged_view *staged = &publication->views[i];
		struct view *view =
			map_part(publication->datapath, MAP_VIEWS, struct view, staged->view, 1);
		uint64_t expiry = read_expiry(view),
			 before = read_expiry(replaced(publication, staged));

		if (staged->lease || expiry == LEASE_NONE || has_passed(expiry, now) ||
		    before == LEASE_NONE || has_passed(before, now) || before <= expiry)
			continue;
		__atomic_compare_exchange_n(&view->expiry, &expiry, before, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
	}
}
