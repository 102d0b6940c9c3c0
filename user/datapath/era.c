// SPDX-License-Identifier: GPL-2.0-only
/*
 * An era that goes on must not end between the moment when a change is folded into it and the one
 * when packets see the change: flows that went to the current decision meanwhile would be sent
 * back. One that is about to end is therefore either waited for or, by a store to the shown view,
 * made longer. A write that fails afterwards has kept flows where they live a little longer. The
 * same of flows that drain since a lease ended, which a fold makes an era of.
 */
#include "datapath/publish_internal.h"

#include "util/text.h"

#include <errno.h>
#include <unistd.h>

#define ENDS_ANYHOW_MS 20 /* too little time left for a store that is in time for sure */
#define WAIT_MS	       2

int clock_begin(struct publication *publication, struct errors *errors)
{
	publication->hz = jiffies_hz();
	publication->began_ns = monotonic_now_ns();
	return datapath_jiffies(publication->datapath, &publication->began, errors);
}

/* At most a jiffy behind the kernel's clock. */
uint64_t publication_now(const struct publication *publication)
{
	uint64_t elapsed = (monotonic_now_ns() - publication->began_ns) / 1000000;

	return publication->began + elapsed * publication->hz / 1000;
}

void era_grow(__u64 *end, uint64_t later)
{
	__u64 seen = __atomic_load_n(end, __ATOMIC_ACQUIRE);

	while (seen < later && !__atomic_compare_exchange_n(end, &seen, later, false,
							    __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
		;
}

/* Of what holds_until(). */
static void last_until(struct view *view, uint64_t now, uint64_t later)
{
	if (era_is_open(view, now))
		era_grow(&view->era_ends, later);
	else
		__atomic_store_n(&view->lease_drain, later - (view->expiry & LEASE_ENDS),
				 __ATOMIC_RELEASE);
}

uint64_t era_settle(const struct publication *publication, uint32_t slot)
{
	struct view *view = (struct view *)datapath_view(publication->datapath, slot);
	uint64_t margin = jiffies_of_ms(ERA_MARGIN_MS, publication->hz) + 2;
	uint64_t soon = jiffies_of_ms(ENDS_ANYHOW_MS, publication->hz) + 2, now, ends;

	while (true) {
		now = publication_now(publication);
		ends = view ? holds_until(view, now - 1) : 0;
		if (!ends || now + margin <= ends)
			return now;
		if (now + soon <= ends) {
			last_until(view, now, now + margin);
			return now;
		}
		usleep(WAIT_MS * 1000);
	}
}

void era_extend(const struct publication *publication, uint32_t slot, const struct view *next)
{
	struct view *view = (struct view *)datapath_view(publication->datapath, slot);

	if (view && (view->flags & VIEW_TRANSITION) && view->eras == next->eras)
		era_grow(&view->era_ends, next->era_ends);
}

void eras_count_from_now(const struct publication *publication)
{
	uint64_t now = publication_now(publication) + 1;
	size_t i;

	for (i = 0; i < publication->views_count; i++) {
		const struct staged_view *staged = &publication->views[i];
		struct view *view =
			map_part(publication->datapath, MAP_VIEWS, struct view, staged->view, 1);

		if (!staged->folded)
			continue;
		view->era_ends += now - staged->folded;
		view->udp_ends += now - staged->folded;
		era_extend(publication, staged->slot, view);
	}
}
