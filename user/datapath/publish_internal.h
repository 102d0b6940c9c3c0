/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of publishing share: publish.c (order), place.c (room), health.c, kill.c and
 * lease.c (in place). */
#ifndef XDP_CANARY_PUBLISH_INTERNAL_H
#define XDP_CANARY_PUBLISH_INTERNAL_H

#include "datapath/publish.h"

/* A part of a map in use: [first, first + count). */
struct region {
	uint32_t first, count;
};

struct regions {
	struct region *used; /* sorted */
	size_t count;
	uint32_t entries;
};

enum region_map {
	REGION_RINGS,
	REGION_BACKENDS,
	REGION_PINS,
	REGION_SERVER_IDS,
	REGION_CLASSES,
	REGION_GROUPS,
	REGION_TRANSITION,
	REGION_MAPS
};

struct staged_view {
	uint32_t slot, view;
	uint64_t folded; /* jiffies from which its era's ends are counted; 0: it has none */
	uint64_t lease;	 /* of a new lease, in jiffies; 0: none, or it goes on with the shown one */
};

/* One store to a shown view, of 1 or 4 bytes. */
struct staged_store {
	void *to;
	uint32_t value;
	uint8_t size;
};

struct publication {
	struct datapath *datapath;
	struct regions regions[REGION_MAPS];
	uint64_t began, began_ns; /* jiffies, and the monotonic clock at the same time */
	uint32_t hz;
	size_t expected; /* services that may begin an era, the staged ones not counted */
	struct staged_view *views;
	size_t views_count;
	struct staged_store *stores;
	size_t stores_count, stores_room;
	uint32_t *removals;
	size_t removals_count;
	bool has_vips;
	uint32_t vips;
};

static inline struct service_cell *service_cells(const struct datapath *datapath)
{
	return map_array(datapath, MAP_CELLS, struct service_cell);
}

static inline struct service_name *service_names(const struct datapath *datapath)
{
	return map_array(datapath, MAP_SERVICE_NAMES, struct service_name);
}

/* ---- era.c ---- */

int clock_begin(struct publication *publication, struct errors *errors);
/*
 * The slot's era is over, or the drain of its lease, or lasts ERA_MARGIN_MS at the least: up to
 * 30 ms are waited for that. The time at which that is so.
 */
uint64_t era_settle(const struct publication *publication, uint32_t slot);
/* The shown view's era lasts as long as @next, into which it was folded. */
void era_extend(const struct publication *publication, uint32_t slot, const struct view *next);

/* Drain is counted from when packets see a change: just before they do. */
void eras_count_from_now(const struct publication *publication);

/* Makes an end of the view's eras later, never sooner, whoever else does. */
void era_grow(__u64 *end, uint64_t later);

/* ---- lease.c ---- */

/* Gives the image the lease that it goes on with, or has from when it is shown on: its jiffies. */
uint64_t lease_give(const struct publication *publication, const struct view *shown,
		    const struct transition_plan *plan, struct view_image *image);
/* What was given may have been renewed, or have ended, since: just before the views are shown ...
 */
void leases_settle(const struct publication *publication);
/* ... and what was renewed before all had seen that, just after. */
void leases_follow(const struct publication *publication);

/* ---- place.c ---- */

/* Has the service a part of the transition table, for an open era or the end of its lease? */
bool needs_lines(const struct view *view);

/* Which parts of the maps the shown views use. 0 or -ENOMEM. */
int regions_find(struct publication *publication);
void regions_release(struct publication *publication);
/*
 * Writes the image, but its view, where no packet looks or it stands already, and says in its view
 * where. @hops: of its first @hops_count lines. @view_index: the view that it will be.
 */
int place_image(struct publication *publication, const char *name, const struct view *shown,
		struct view_image *image, uint32_t view_index, const struct next_hop *hops,
		size_t hops_count, struct errors *errors);

#endif
