// SPDX-License-Identifier: GPL-2.0-only
/*
 * Room for an image. Which parts of the maps are free follows from the shown views alone: there is
 * no allocator state to lose. What the shown view of the service has already is kept: neither view
 * writes to it.
 */
#include "datapath/publish_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of a service in an era; fewer sets would hold too few flows to be worth a lookup. */
#define TRANSITION_LINES_MIN 8

static const struct {
	enum map_id map;
	uint32_t unit; /* of an element */
	const char *what, *limit;
} region_maps[REGION_MAPS] = {
	[REGION_RINGS] = {MAP_RING_SLOTS, RING_LINE_SLOTS, "ring slots", "backends"},
	[REGION_BACKENDS] = {MAP_BACKENDS, 1, "backends", "backends"},
	[REGION_PINS] = {MAP_PINS, 1, "pins", "backends"},
	[REGION_SERVER_IDS] = {MAP_SERVER_IDS, 1, "server ids", "backends"},
	[REGION_CLASSES] = {MAP_CLASSES, CLASS_LINE_CLASSES, "classes of clients",
			    "segment_clients"},
	[REGION_GROUPS] = {MAP_GROUPS, 1, "groups of clients", "segment_clients"},
	[REGION_TRANSITION] = {MAP_TRANSITION, 1, "sets of the transition table",
			       "transition_flows"},
};

/* ---- regions ---- */

static int regions_insert(struct regions *regions, struct region region)
{
	struct region *grown;
	size_t i;

	if (!region.count)
		return 0;
	grown = reallocarray(regions->used, regions->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	regions->used = grown;
	for (i = regions->count; i && grown[i - 1].first > region.first; i--)
		grown[i] = grown[i - 1];
	grown[i] = region;
	regions->count++;
	return 0;
}

/* First fit. */
static int regions_take(struct regions *regions, uint32_t count, uint32_t *first)
{
	uint32_t free_from = 0;
	size_t i;

	for (i = 0; i < regions->count; i++) {
		if (regions->used[i].first - free_from >= count)
			break;
		free_from = regions->used[i].first + regions->used[i].count;
	}
	if (regions->entries - free_from < count)
		return -ENOSPC;
	*first = free_from;
	return regions_insert(regions, (struct region){free_from, count});
}

/* Classes lie in whole lines. */
static uint32_t class_room(uint32_t classes)
{
	return (classes + CLASS_LINE_CLASSES - 1) & -CLASS_LINE_CLASSES;
}

static bool has_drain_lease(const struct view *view)
{
	return view->expiry != LEASE_NONE && !(view->rollout & ROLLOUT_CUT);
}

bool needs_lines(const struct view *view)
{
	return (view->flags & VIEW_TRANSITION) || has_drain_lease(view);
}

/* Sets of an era that is over for packets are free, but where the end of a lease needs them. */
static int regions_of_view(struct publication *publication, const struct view *view)
{
	uint64_t now = publication_now(publication);
	bool has_sets =
		((view->flags & VIEW_TRANSITION) && !era_is_over(view, now)) ||
		(has_drain_lease(view) && (!lease_has_ended(view, now) || lease_drains(view, now)));
	const struct region used[REGION_MAPS] = {
		[REGION_RINGS] = {view->rings[0], view->slots_count},
		[REGION_BACKENDS] = {view->backends, view->backends_count},
		[REGION_PINS] = {view->pins, view->pins_count},
		[REGION_SERVER_IDS] = {view->server_ids, view->server_ids_count},
		[REGION_CLASSES] = {view->classes, class_room(view->classes_count)},
		[REGION_GROUPS] = {view->groups, view->groups_count},
		[REGION_TRANSITION] = {view->transition_base,
				       has_sets ? view->transition_lines : 0},
	};
	int i, error = 0;

	for (i = 0; i < REGION_MAPS && !error; i++)
		error = regions_insert(&publication->regions[i], used[i]);
	return error;
}

int regions_find(struct publication *publication)
{
	const struct datapath *datapath = publication->datapath;
	const struct view *view;
	uint32_t slot;
	int i, error = 0;

	for (i = 0; i < REGION_MAPS; i++)
		publication->regions[i].entries =
			datapath->maps[region_maps[i].map].entries * region_maps[i].unit;
	for (slot = 0; slot < datapath->maps[MAP_CELLS].entries && !error; slot++) {
		view = datapath_view(datapath, slot);
		if (view)
			error = regions_of_view(publication, view);
	}
	return error;
}

void regions_release(struct publication *publication)
{
	int i;

	for (i = 0; i < REGION_MAPS; i++)
		free(publication->regions[i].used);
}

/* ---- what is shown already ---- */

static bool has_own_source(const struct backend_line *line)
{
	static const uint8_t none[sizeof(line->source)];

	return memcmp(line->source, none, sizeof(none)) != 0;
}

/* Lines say the same but for their next hops, and an outer source that came with one. */
static bool lines_are_equal(const struct backend_line *shown, const struct backend_line *wanted)
{
	return shown->counter == wanted->counter && shown->flags == wanted->flags &&
	       shown->ttl == wanted->ttl && shown->health == wanted->health &&
	       shown->cohort == wanted->cohort && shown->lane == wanted->lane &&
	       shown->cut == wanted->cut &&
	       !memcmp(shown->address, wanted->address, sizeof(shown->address)) &&
	       (!has_own_source(wanted) ||
		!memcmp(shown->source, wanted->source, sizeof(shown->source)));
}

/* Where no era is open, what is now is all that slots say. */
static bool rings_are_shown(const struct datapath *datapath, const struct view *shown,
			    const struct view_image *image)
{
	const __u32 *slots =
		map_part(datapath, MAP_RING_SLOTS, __u32, shown->rings[0], shown->slots_count);
	uint32_t mask = image->view.flags & VIEW_TRANSITION ? ~0u : SLOT_NOW_MASK, i;

	for (i = 0; i <= COHORTS_MAX; i++)
		if (shown->rings[i] - shown->rings[0] != image->view.rings[i])
			return false;
	if (image->view.slots_count > shown->slots_count)
		return false;
	for (i = 0; i < image->view.slots_count; i++)
		if ((slots[i] ^ image->slots[i]) & mask)
			return false;
	return true;
}

/* The way to a backend that left the file is what it was. */
static bool asks_next_hop(const struct view_image *image, size_t number, size_t hops_count)
{
	return number < hops_count && !(image->backends[number].flags & BACKEND_GONE);
}

/* A neighbour that is being asked again keeps its old answer: it is most likely still right. */
static bool lines_are_shown(const struct datapath *datapath, const struct view *shown,
			    const struct view_image *image, const struct next_hop *hops,
			    size_t hops_count)
{
	size_t i;

	if (shown->backends_count != image->backends_count)
		return false;
	for (i = 0; i < image->backends_count; i++) {
		const struct backend_line *line = datapath_backend(datapath, shown, i);

		if (!lines_are_equal(line, &image->backends[i]))
			return false;
		if (asks_next_hop(image, i, hops_count) && hops[i].state != NEXT_HOP_RESOLVING &&
		    !next_hop_is_current(line, &hops[i], has_own_source(&image->backends[i])))
			return false;
	}
	return true;
}

static bool pins_are_shown(const struct datapath *datapath, const struct view *shown,
			   const struct view_image *image)
{
	const struct pin_range *ranges =
		map_part(datapath, MAP_PINS, struct pin_range, shown->pins, shown->pins_count);

	return shown->pins_count == image->view.pins_count && shown->pins_count &&
	       !memcmp(ranges, image->pins, shown->pins_count * sizeof(*ranges));
}

/* ---- writing ---- */

static void write_lines(struct datapath *datapath, const struct view_image *image,
			const struct next_hop *hops, size_t hops_count)
{
	struct backend_line *lines = map_part(datapath, MAP_BACKENDS, struct backend_line,
					      image->view.backends, image->backends_count);
	size_t i;

	for (i = 0; i < image->backends_count; i++) {
		lines[i] = image->backends[i];
		if (asks_next_hop(image, i, hops_count))
			next_hop_fill(&lines[i], &hops[i], has_own_source(&lines[i]));
	}
}

static int no_room(const struct publication *publication, const char *name, enum region_map map,
		   uint32_t count, struct errors *errors)
{
	char hint[128];

	snprintf(hint, sizeof(hint),
		 "raise `limits.%s` and make the maps anew, or change fewer services at a time",
		 region_maps[map].limit);
	return errors_add_code(errors, ENOSPC, name, hint,
			       "no room for its %u %s among the %u of the box", count,
			       region_maps[map].what, publication->regions[map].entries);
}

static int take(struct publication *publication, const char *name, enum region_map map,
		uint32_t count, uint32_t *first, struct errors *errors)
{
	int error;

	*first = 0;
	error = count ? regions_take(&publication->regions[map], count, first) : 0;
	return error == -ENOSPC ? no_room(publication, name, map, count, errors) : error;
}

static int place_rings(struct publication *publication, const char *name, const struct view *shown,
		       struct view_image *image, struct errors *errors)
{
	struct view *view = &image->view;
	uint32_t first = 0;
	int i, error;

	if (shown && rings_are_shown(publication->datapath, shown, image)) {
		first = shown->rings[0];
	} else {
		error = take(publication, name, REGION_RINGS, view->slots_count, &first, errors);
		if (error)
			return error;
		memcpy(map_part(publication->datapath, MAP_RING_SLOTS, __u32, first,
				view->slots_count),
		       image->slots, view->slots_count * sizeof(*image->slots));
	}
	for (i = 0; i <= COHORTS_MAX; i++)
		view->rings[i] += first;
	for (i = 0; i < COHORTS_MAX; i++)
		view->origin_rings[i] += first;
	return 0;
}

static int place_lines(struct publication *publication, const char *name, const struct view *shown,
		       struct view_image *image, const struct next_hop *hops, size_t hops_count,
		       struct errors *errors)
{
	int error;

	if (shown && lines_are_shown(publication->datapath, shown, image, hops, hops_count)) {
		image->view.backends = shown->backends;
		return 0;
	}
	error = take(publication, name, REGION_BACKENDS, image->backends_count,
		     &image->view.backends, errors);
	if (!error)
		write_lines(publication->datapath, image, hops, hops_count);
	return error;
}

static int place_pins(struct publication *publication, const char *name, const struct view *shown,
		      struct view_image *image, struct errors *errors)
{
	struct view *view = &image->view;
	int error;

	if (shown && pins_are_shown(publication->datapath, shown, image)) {
		view->pins = shown->pins;
		return 0;
	}
	error = take(publication, name, REGION_PINS, view->pins_count, &view->pins, errors);
	if (!error && view->pins_count)
		memcpy(map_part(publication->datapath, MAP_PINS, struct pin_range, view->pins,
				view->pins_count),
		       image->pins, view->pins_count * sizeof(*image->pins));
	return error;
}

/* Laid out anew for every view: few services have them. */
static int place_server_ids(struct publication *publication, const char *name,
			    struct view_image *image, struct errors *errors)
{
	struct view *view = &image->view;
	uint32_t size = server_ids_size(image->server_ids_count);
	int error;

	for (; size; size *= 2) {
		error = take(publication, name, REGION_SERVER_IDS, size, &view->server_ids, errors);
		if (error)
			return error;
		view->server_ids_count = size;
		if (!server_ids_fill(image->server_ids, image->server_ids_count,
				     map_part(publication->datapath, MAP_SERVER_IDS,
					      struct server_id, view->server_ids, size),
				     size))
			break;
	}
	return 0;
}

static int place_classes(struct publication *publication, const char *name,
			 struct view_image *image, struct errors *errors)
{
	struct view *view = &image->view;
	int error = take(publication, name, REGION_CLASSES, class_room(view->classes_count),
			 &view->classes, errors);

	if (!error && view->classes_count)
		memcpy(map_part(publication->datapath, MAP_CLASSES, __u32, view->classes,
				view->classes_count),
		       image->classes, view->classes_count * sizeof(*image->classes));
	if (!error)
		error = take(publication, name, REGION_GROUPS, view->groups_count, &view->groups,
			     errors);
	if (!error && view->groups_count)
		memcpy(map_part(publication->datapath, MAP_GROUPS, struct group_entry, view->groups,
				view->groups_count),
		       image->groups, view->groups_count * sizeof(*image->groups));
	return error;
}

static uint32_t free_entries(const struct regions *regions)
{
	uint32_t used = 0;
	size_t i;

	for (i = 0; i < regions->count; i++)
		used += regions->used[i].count;
	return regions->entries - used;
}

/*
 * Half of the sets that are free, shared by those who begin an era in this write: one that begins
 * later finds some too. Without any, new flows on which epochs disagree follow the origin.
 */
static int place_transition(struct publication *publication, struct view_image *image)
{
	struct regions *regions = &publication->regions[REGION_TRANSITION];
	size_t sharers = publication->expected ? publication->expected : 1;
	struct view *view = &image->view;
	uint32_t most = free_entries(regions) / (2 * sharers), count = TRANSITION_LINES_MIN;
	int error;

	if (!needs_lines(view))
		view->transition_base = view->transition_lines = 0;
	if (!needs_lines(view) || view->transition_lines)
		return 0;
	publication->expected = sharers - 1;
	while (2 * count <= most)
		count *= 2;
	for (; count >= TRANSITION_LINES_MIN; count /= 2) {
		error = regions_take(regions, count, &view->transition_base);
		if (error == -ENOSPC)
			continue;
		if (error)
			return error;
		view->transition_lines = count;
		memset(map_part(publication->datapath, MAP_TRANSITION, struct transition_line,
				view->transition_base, count),
		       0, count * sizeof(struct transition_line));
		break;
	}
	return 0;
}

int place_image(struct publication *publication, const char *name, const struct view *shown,
		struct view_image *image, uint32_t view_index, const struct next_hop *hops,
		size_t hops_count, struct errors *errors)
{
	int error = place_rings(publication, name, shown, image, errors);

	if (!error)
		error = place_lines(publication, name, shown, image, hops, hops_count, errors);
	if (!error)
		error = place_pins(publication, name, shown, image, errors);
	if (!error)
		error = place_server_ids(publication, name, image, errors);
	if (!error)
		error = place_classes(publication, name, image, errors);
	if (!error)
		error = place_transition(publication, image);
	if (error)
		return error;
	image->view.rules = view_index * VIEW_RULES;
	memcpy(map_part(publication->datapath, MAP_RULES, struct view_rule, image->view.rules,
			VIEW_RULES),
	       image->rules, sizeof(image->rules));
	return 0;
}
