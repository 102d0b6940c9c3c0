// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of stores. A view, its rules, ring, lines and pins are written while no cell names the
 * view; the store of the cell is a release, so whoever sees it sees them. What a cell named before
 * is not written to until a grace period has passed. Which parts of the maps are free follows from
 * the current views alone: there is no allocator state to lose.
 */
#include "datapath/publish.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A part of a map in use: [first, first + count). */
struct region {
	uint32_t first, count;
};

struct regions {
	struct region *used; /* sorted */
	size_t count;
	uint32_t entries;
};

enum region_map { REGION_RINGS, REGION_BACKENDS, REGION_PINS, REGION_MAPS };

static const enum map_id region_map_ids[REGION_MAPS] = {MAP_RING_SLOTS, MAP_BACKENDS, MAP_PINS};
static const uint32_t region_units[REGION_MAPS] = {RING_LINE_SLOTS, 1, 1}; /* of an element */

struct staged_view {
	uint32_t slot, view;
};

struct publication {
	struct datapath *datapath;
	struct regions regions[REGION_MAPS];
	struct staged_view *views;
	size_t views_count;
	uint32_t *removals;
	size_t removals_count;
	bool has_vips;
	uint32_t vips;
};

static struct service_cell *cells(const struct datapath *datapath)
{
	return map_array(datapath, MAP_CELLS, struct service_cell);
}

static struct service_name *names(const struct datapath *datapath)
{
	return map_array(datapath, MAP_SERVICE_NAMES, struct service_name);
}

const struct view *datapath_view(const struct datapath *datapath, uint32_t slot)
{
	uint32_t view;

	if (slot >= datapath->maps[MAP_CELLS].entries)
		return NULL;
	view = __atomic_load_n(&cells(datapath)[slot].view, __ATOMIC_ACQUIRE);
	return view ? &map_array(datapath, MAP_VIEWS, struct view)[view - 1] : NULL;
}

struct backend_line *datapath_backend(const struct datapath *datapath, const struct view *view,
				      uint32_t number)
{
	return &map_array(datapath, MAP_BACKENDS, struct backend_line)[view->backends + number];
}

int grace_period(const struct datapath *datapath, struct errors *errors)
{
	__u32 zero = 0;
	__u32 inner = datapath->maps[MAP_GRACE_INNER].fd;

	if (!bpf_map_update_elem(datapath->maps[MAP_GRACE].fd, &zero, &inner, BPF_ANY))
		return 0;
	return errors_add_code(errors, errno, "grace", "try again",
			       "cannot wait for a grace period: %s", strerror(errno));
}

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

static int regions_of_view(struct publication *publication, const struct view *view)
{
	const struct region used[REGION_MAPS] = {
		[REGION_RINGS] = {view->rings[0], view->rings[COHORTS_MAX] - view->rings[0]},
		[REGION_BACKENDS] = {view->backends, view->backends_count},
		[REGION_PINS] = {view->pins, view->pins_count},
	};
	int i, error = 0;

	for (i = 0; i < REGION_MAPS && !error; i++)
		error = regions_insert(&publication->regions[i], used[i]);
	return error;
}

/* ---- staging ---- */

int publication_begin(struct datapath *datapath, struct publication **out, struct errors *errors)
{
	struct publication *publication = calloc(1, sizeof(*publication));
	const struct view *view;
	int i, error = 0;
	uint32_t slot;

	if (!publication)
		return -ENOMEM;
	publication->datapath = datapath;
	if (datapath_box(datapath)->publishing)
		error = grace_period(datapath, errors);
	if (!error)
		datapath_box(datapath)->publishing = 0;
	for (i = 0; i < REGION_MAPS; i++)
		publication->regions[i].entries =
			datapath->maps[region_map_ids[i]].entries * region_units[i];
	for (slot = 0; slot < datapath->maps[MAP_CELLS].entries && !error; slot++) {
		view = datapath_view(datapath, slot);
		if (view)
			error = regions_of_view(publication, view);
	}
	if (error)
		publication_end(publication);
	else
		*out = publication;
	return error;
}

void publication_end(struct publication *publication)
{
	int i;

	if (!publication)
		return;
	for (i = 0; i < REGION_MAPS; i++)
		free(publication->regions[i].used);
	free(publication->views);
	free(publication->removals);
	free(publication);
}

static bool has_own_source(const struct backend_line *line)
{
	static const uint8_t none[sizeof(line->source)];

	return memcmp(line->source, none, sizeof(none)) != 0;
}

/* Lines say the same but for their next hops, and an outer source that came with one. */
static bool lines_are_equal(const struct backend_line *shown, const struct backend_line *wanted)
{
	return shown->counter == wanted->counter && shown->flags == wanted->flags &&
	       shown->ttl == wanted->ttl &&
	       !memcmp(shown->address, wanted->address, sizeof(shown->address)) &&
	       (!has_own_source(wanted) ||
		!memcmp(shown->source, wanted->source, sizeof(shown->source)));
}

/*
 * What the shown view has already the new one may have as well, for neither is written to: a change
 * of shares or pins needs no second generation of rings and lines.
 */
static bool rings_are_shown(const struct datapath *datapath, const struct view *shown,
			    const struct view_image *image)
{
	const __u32 *slots = map_array(datapath, MAP_RING_SLOTS, __u32);
	int i;

	for (i = 0; i <= COHORTS_MAX; i++)
		if (shown->rings[i] - shown->rings[0] != image->view.rings[i])
			return false;
	return !memcmp(slots + shown->rings[0], image->slots,
		       image->view.rings[COHORTS_MAX] * sizeof(*slots));
}

/* A neighbour that is being asked again keeps its old answer: it is most likely still right. */
static bool lines_are_shown(const struct datapath *datapath, const struct view *shown,
			    const struct view_image *image, const struct next_hop *hops)
{
	size_t i;

	if (shown->backends_count != image->backends_count)
		return false;
	for (i = 0; i < image->backends_count; i++) {
		const struct backend_line *line = datapath_backend(datapath, shown, i);

		if (!lines_are_equal(line, &image->backends[i]))
			return false;
		if (hops[i].state != NEXT_HOP_RESOLVING &&
		    !next_hop_is_current(line, &hops[i], has_own_source(&image->backends[i])))
			return false;
	}
	return true;
}

static bool pins_are_shown(const struct datapath *datapath, const struct view *shown,
			   const struct view_image *image)
{
	const struct pin_range *ranges = map_array(datapath, MAP_PINS, struct pin_range);

	return shown->pins_count == image->view.pins_count && shown->pins_count &&
	       !memcmp(ranges + shown->pins, image->pins, shown->pins_count * sizeof(*ranges));
}

/* What of an image is new, and so has to be written. */
struct placement {
	bool rings, lines, pins;
};

/* Finds room for the image and tells its view where. @shown: the current view, or NULL. */
static int place_image(struct publication *publication, const char *name, const struct view *shown,
		       const struct view_image *image, const struct next_hop *hops,
		       struct view *view, struct placement *placement, struct errors *errors)
{
	const struct datapath *datapath = publication->datapath;
	static const char *const what[REGION_MAPS] = {"ring slots", "backends", "pins"};
	const uint32_t counts[REGION_MAPS] = {image->view.rings[COHORTS_MAX], image->backends_count,
					      image->view.pins_count};
	uint32_t first[REGION_MAPS] = {shown ? shown->rings[0] : 0, shown ? shown->backends : 0,
				       shown ? shown->pins : 0};
	bool keep[REGION_MAPS] = {shown && rings_are_shown(datapath, shown, image),
				  shown && lines_are_shown(datapath, shown, image, hops),
				  shown && pins_are_shown(datapath, shown, image)};
	int i, error;

	*placement = (struct placement){
		.rings = !keep[REGION_RINGS],
		.lines = !keep[REGION_BACKENDS],
		.pins = !keep[REGION_PINS],
	};
	for (i = 0; i < REGION_MAPS; i++) {
		if (keep[i])
			continue;
		first[i] = 0;
		error = counts[i] ? regions_take(&publication->regions[i], counts[i], &first[i])
				  : 0;
		if (error == -ENOSPC)
			return errors_add_code(errors, ENOSPC, name,
					       "raise `limits.backends` and make the maps anew, or "
					       "change fewer services at a time",
					       "no room for its %u %s among the %u of the box",
					       counts[i], what[i], publication->regions[i].entries);
		if (error)
			return error;
	}
	for (i = 0; i <= COHORTS_MAX; i++)
		view->rings[i] += first[REGION_RINGS];
	view->backends = first[REGION_BACKENDS];
	view->pins = first[REGION_PINS];
	return 0;
}

static void write_lines(struct datapath *datapath, const struct view *view,
			const struct view_image *image, const struct next_hop *hops)
{
	struct backend_line *lines =
		map_array(datapath, MAP_BACKENDS, struct backend_line) + view->backends;
	size_t i;

	for (i = 0; i < image->backends_count; i++) {
		lines[i] = image->backends[i];
		next_hop_fill(&lines[i], &hops[i], has_own_source(&lines[i]));
	}
}

static void write_image(struct datapath *datapath, const struct view *view,
			const struct view_image *image, const struct placement *placement,
			const struct next_hop *hops)
{

	memcpy(map_array(datapath, MAP_RULES, struct view_rule) + view->rules, image->rules,
	       image->rules_count * sizeof(*image->rules));
	if (placement->rings)
		memcpy(map_array(datapath, MAP_RING_SLOTS, __u32) + view->rings[0], image->slots,
		       image->view.rings[COHORTS_MAX] * sizeof(*image->slots));
	if (placement->pins && view->pins_count)
		memcpy(map_array(datapath, MAP_PINS, struct pin_range) + view->pins, image->pins,
		       view->pins_count * sizeof(*image->pins));
	if (placement->lines)
		write_lines(datapath, view, image, hops);
}

int publication_stage(struct publication *publication, uint32_t slot, const char *name,
		      const struct view_image *image, uint64_t epoch, const struct next_hop *hops,
		      struct errors *errors)
{
	struct datapath *datapath = publication->datapath;
	uint32_t shown = cells(datapath)[slot].view;
	uint32_t index = 2 * slot + (shown == 2 * slot + 1);
	struct view view = image->view;
	struct placement placement;
	struct staged_view *grown;
	int error = place_image(publication, name, datapath_view(datapath, slot), image, hops,
				&view, &placement, errors);

	if (error)
		return error;
	grown = reallocarray(publication->views, publication->views_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	publication->views = grown;
	grown[publication->views_count++] = (struct staged_view){slot, index};
	view.rules = index * RULES_MAX;
	view.epoch = epoch;
	view.content = image->content;
	write_image(datapath, &view, image, &placement, hops);
	map_array(datapath, MAP_VIEWS, struct view)[index] = view;
	strncpy(names(datapath)[slot].text, name, NAME_SIZE - 1);
	return 0;
}

int publication_stage_removal(struct publication *publication, uint32_t slot)
{
	uint32_t *grown = reallocarray(publication->removals, publication->removals_count + 1,
				       sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	publication->removals = grown;
	grown[publication->removals_count++] = slot;
	return 0;
}

/* Does the copy in use say what the other one says, whose flags are @spare? */
static bool copies_are_equal(const struct datapath *datapath, uint32_t spare)
{
	const struct vip_bucket *buckets = map_array(datapath, MAP_VIP_BUCKETS, struct vip_bucket);
	const struct vip6 *vips6 = map_array(datapath, MAP_VIPS6, struct vip6);
	uint32_t bucket_count = datapath->maps[MAP_VIP_BUCKETS].entries / 2;
	uint32_t vips = datapath->maps[MAP_VIPS6].entries / 2;

	return !((datapath_box(datapath)->vips ^ spare) & ~VIPS_SECOND_COPY) &&
	       !memcmp(buckets, buckets + bucket_count, bucket_count * sizeof(*buckets)) &&
	       !memcmp(vips6, vips6 + vips, vips * sizeof(*vips6));
}

int publication_stage_vips(struct publication *publication, const struct vip_entry *entries,
			   size_t count, struct errors *errors)
{
	struct datapath *datapath = publication->datapath;
	uint32_t buckets = datapath->maps[MAP_VIP_BUCKETS].entries / 2;
	uint32_t vips = datapath->maps[MAP_VIPS6].entries / 2;
	uint32_t copy = datapath_box(datapath)->vips & VIPS_SECOND_COPY ? 0 : 1;
	int error = count > vips ? -ENOSPC : 0;

	if (!error)
		error = vip_table_build(
			entries, count,
			map_array(datapath, MAP_VIP_BUCKETS, struct vip_bucket) + copy * buckets,
			buckets, map_array(datapath, MAP_VIPS6, struct vip6) + copy * vips,
			&publication->vips);
	if (error)
		return errors_add_code(errors, -error, "vips",
				       "raise `limits.vips` and make the maps anew",
				       "the maps have no room for %zu VIPs", count);
	publication->vips |= copy ? VIPS_SECOND_COPY : 0;
	publication->has_vips = !copies_are_equal(datapath, publication->vips);
	return 0;
}

/* ---- showing ---- */

int publication_show(struct publication *publication, struct errors *errors)
{
	struct datapath *datapath = publication->datapath;
	struct box *box = datapath_box(datapath);
	size_t i;
	int error;

	if (!publication->views_count && !publication->removals_count && !publication->has_vips)
		return 0;
	__atomic_store_n(&box->publishing, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < publication->views_count; i++)
		__atomic_store_n(&cells(datapath)[publication->views[i].slot].view,
				 publication->views[i].view + 1, __ATOMIC_RELEASE);
	if (publication->has_vips)
		__atomic_store_n(&box->vips, publication->vips, __ATOMIC_RELEASE);
	error = grace_period(datapath, errors);
	if (error)
		return error;
	for (i = 0; i < publication->removals_count; i++) {
		struct service_cell *cell = &cells(datapath)[publication->removals[i]];

		__atomic_store_n(&cell->view, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&cell->killed, 0, __ATOMIC_RELEASE);
		names(datapath)[publication->removals[i]] = (struct service_name){""};
	}
	if (publication->removals_count)
		error = grace_period(datapath, errors);
	if (!error)
		__atomic_store_n(&box->publishing, 0, __ATOMIC_SEQ_CST);
	return error;
}

/* ---- kill ---- */

void service_kill(struct datapath *datapath, uint32_t slot)
{
	__atomic_add_fetch(&cells(datapath)[slot].killed, 1, __ATOMIC_SEQ_CST);
}

void service_keep_killed(struct datapath *datapath, uint32_t slot)
{
	uint32_t none = 0;

	__atomic_compare_exchange_n(&cells(datapath)[slot].killed, &none, 1, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

uint32_t service_kills(const struct datapath *datapath, uint32_t slot)
{
	return slot < datapath->maps[MAP_CELLS].entries
		       ? __atomic_load_n(&cells(datapath)[slot].killed, __ATOMIC_SEQ_CST)
		       : 0;
}

bool service_is_killed(const struct datapath *datapath, uint32_t slot)
{
	return service_kills(datapath, slot) != 0;
}

void service_lift_kill(struct datapath *datapath, uint32_t slot, uint32_t seen)
{
	__atomic_compare_exchange_n(&cells(datapath)[slot].killed, &seen, 0, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

int service_slot_by_name(const struct datapath *datapath, const char *name)
{
	uint32_t slot;

	for (slot = 0; slot < datapath->maps[MAP_CELLS].entries; slot++)
		if (datapath_view(datapath, slot) &&
		    !strncmp(names(datapath)[slot].text, name, NAME_SIZE))
			return slot;
	return -ENOENT;
}
