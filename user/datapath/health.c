// SPDX-License-Identifier: GPL-2.0-only
/*
 * Health in place: a backend that comes or goes changes words of the shown view, never the view.
 * Only while its era is open, for then packets ask slots whether they moved and lines whether they
 * are down. First the era's ends, so that it lasts; then the slots, so that no SYN goes to a
 * backend that is about to go; then the cells. A flow that is read between two stores goes where
 * either state would send it.
 */
#include "datapath/publish_internal.h"

#include <errno.h>
#include <stdlib.h>

#define COMMIT_MS 200

static int add_store(struct publication *publication, void *to, uint32_t value, uint8_t size)
{
	struct staged_store *grown;

	if (publication->stores_count == publication->stores_room) {
		publication->stores_room =
			publication->stores_room ? 2 * publication->stores_room : 256;
		grown = reallocarray(publication->stores, publication->stores_room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		publication->stores = grown;
	}
	publication->stores[publication->stores_count++] = (struct staged_store){to, value, size};
	return 0;
}

static uint64_t end_after(const struct transition_plan *plan, uint64_t milliseconds)
{
	return plan->now + jiffies_of_ms(milliseconds, plan->hz);
}

/*
 * At once: the era must not end before the stores that are staged. They only grow; and until
 * packets see those, the store is committed.
 */
static void store_ends(struct view *view, const struct transition_plan *plan)
{
	uint64_t era = end_after(plan, plan->drain_ms + COMMIT_MS);
	uint64_t udp = end_after(plan, plan->udp_drain_ms + COMMIT_MS);

	era_grow(&view->era_ends, era);
	era_grow(&view->udp_ends, udp);
}

/* The shown ring may be larger than the compiled one: a power of two times. */
static int stage_ring(struct publication *publication, const struct view *view,
		      const struct view_image *image, uint32_t cohort)
{
	uint32_t size = view->rings[cohort + 1] - view->rings[cohort],
		 first = image->view.rings[cohort];
	uint32_t wanted = image->view.rings[cohort + 1] - first, i;
	__u32 *slots =
		map_part(publication->datapath, MAP_RING_SLOTS, __u32, view->rings[cohort], size);
	int error = 0;

	for (i = 0; i < size && !error; i++) {
		uint32_t now =
			wanted ? image->slots[first + (uint64_t)i * wanted / size] & SLOT_NOW_MASK
			       : BACKEND_NONE;

		if ((slots[i] & SLOT_NOW_MASK) != now)
			error = add_store(publication, &slots[i],
					  (slots[i] & ~SLOT_NOW_MASK) | SLOT_MOVED | now,
					  sizeof(slots[i]));
	}
	return wanted > size ? -EAGAIN : error;
}

static int stage_cells(struct publication *publication, const struct view *view,
		       const struct view_image *image)
{
	size_t i;
	int error = 0;

	for (i = 0; i < image->backends_count && i < view->backends_count && !error; i++) {
		struct backend_line *line = datapath_backend(publication->datapath, view, i);

		if (!(line->flags & BACKEND_GONE) && line->health != image->backends[i].health)
			error = add_store(publication, &line->health, image->backends[i].health,
					  sizeof(line->health));
	}
	return error;
}

int publication_stage_health(struct publication *publication, uint32_t slot,
			     const struct view_image *image, const struct transition_plan *plan)
{
	struct view *view = (struct view *)datapath_view(publication->datapath, slot);
	uint32_t cohort, before = publication->stores_count;
	int error = 0;

	if (!view || view->content != image->content)
		return -EAGAIN;
	era_settle(publication, slot);
	if (!era_is_open(view, publication_now(publication)))
		return -EAGAIN;
	store_ends(view, plan);
	for (cohort = 0; cohort < view->cohorts && !error; cohort++)
		error = stage_ring(publication, view, image, cohort);
	if (!error)
		error = stage_cells(publication, view, image);
	if (error)
		publication->stores_count = before;
	return error;
}
