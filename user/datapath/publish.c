// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of stores. A view, its rules, ring, lines and pins are written while no cell names the
 * view; the store of the cell is a release, so whoever sees it sees them. What a cell named before
 * is not written to until a grace period has passed. Which parts of the maps are free follows from
 * the current views alone: there is no allocator state to lose.
 */
#include "datapath/publish_internal.h"

#include "datapath/explain.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct view *datapath_view(const struct datapath *datapath, uint32_t slot)
{
	uint32_t view;

	if (slot >= datapath->maps[MAP_CELLS].entries)
		return NULL;
	view = __atomic_load_n(&service_cells(datapath)[slot].view, __ATOMIC_ACQUIRE);
	return view ? map_part(datapath, MAP_VIEWS, struct view, view - 1, 1) : NULL;
}

struct backend_line *datapath_backend(const struct datapath *datapath, const struct view *view,
				      uint32_t number)
{
	return map_part(datapath, MAP_BACKENDS, struct backend_line, view->backends + number, 1);
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

struct shown_view datapath_shown(const struct datapath *datapath, uint32_t slot)
{
	const struct view *view = datapath_view(datapath, slot);

	if (!view)
		return (struct shown_view){0};
	return (struct shown_view){
		.view = view,
		.rules = map_part(datapath, MAP_RULES, struct view_rule, view->rules, VIEW_RULES),
		.slots = map_part(datapath, MAP_RING_SLOTS, __u32, view->rings[0],
				  view->slots_count) -
			 view->rings[0],
		.backends = map_part(datapath, MAP_BACKENDS, struct backend_line, view->backends,
				     view->backends_count),
		.pins = map_part(datapath, MAP_PINS, struct pin_range, view->pins,
				 view->pins_count),
		.server_ids = map_part(datapath, MAP_SERVER_IDS, struct server_id, view->server_ids,
				       view->server_ids_count),
		.classes =
			map_part(datapath, MAP_CLASSES, __u32, view->classes, view->classes_count),
		.groups = map_part(datapath, MAP_GROUPS, struct group_entry, view->groups,
				   view->groups_count),
		.killed = service_is_killed(datapath, slot),
	};
}

/* ---- the clock ---- */

int datapath_jiffies(const struct datapath *datapath, uint64_t *jiffies, struct errors *errors)
{
	const struct flow nowhere = {
		.source.family = 4, .destination.family = 4, .protocol = IPPROTO_UDP};
	struct explanation told;
	int program = explainer_open(datapath->pins, errors);
	int error = program < 0 ? program : explainer_run(program, &nowhere, &told, errors);

	if (program >= 0)
		close(program);
	*jiffies = error ? 0 : told.jiffies;
	return error;
}

uint32_t jiffies_hz(void)
{
	struct timespec tick;

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick); /* one jiffy: kernel/time/posix-timers.c */
	return 1000000000 / tick.tv_nsec;
}

uint32_t track_ms_per_jiffy(void)
{
	uint32_t hz = jiffies_hz();

	return ((1000u << 16) + hz / 2) / hz;
}

/* ---- staging ---- */

int publication_begin(struct datapath *datapath, struct publication **out, struct errors *errors)
{
	struct publication *publication = calloc(1, sizeof(*publication));
	int error;

	if (!publication)
		return -ENOMEM;
	publication->datapath = datapath;
	error = clock_begin(publication, errors);
	if (!error && datapath_box(datapath)->publishing)
		error = grace_period(datapath, errors);
	if (!error)
		datapath_box(datapath)->publishing = 0;
	if (!error)
		error = regions_find(publication);
	if (error)
		publication_end(publication);
	else
		*out = publication;
	return error;
}

void publication_expect(struct publication *publication, size_t services)
{
	publication->expected = services;
}

void publication_end(struct publication *publication)
{
	if (!publication)
		return;
	regions_release(publication);
	free(publication->views);
	free(publication->stores);
	free(publication->removals);
	free(publication);
}

/*
 * Where what a followed service's clients do is counted by name. Before a view is shown: numbers
 * stay with names, and rules and cohorts are not changed while a rollout runs.
 */
static void name_tracked(struct datapath *datapath, uint32_t slot, const struct view_image *image)
{
	const struct view *view = &image->view;
	struct tracked_service *service;
	size_t rule;

	if (!(view->rollout & ROLLOUT_TRACKED))
		return;
	service = map_part(datapath, MAP_TRACKED_SERVICES, struct tracked_service, view->track, 1);
	service->service = slot;
	service->lanes[TRACK_CONTROL] = view->lanes[0];
	service->lanes[TRACK_CANARY] = view->lanes[view->rollout & ROLLOUT_COHORT];
	for (rule = 0; rule < image->rules_count; rule++)
		service->counters[rule] = image->rules[rule].counters;
}

/* Not: an era goes on whose ends are counted from an earlier change. */
static bool is_change(const struct view *view, const struct view *shown)
{
	return (view->flags & VIEW_TRANSITION) &&
	       (!(shown->flags & VIEW_TRANSITION) || view->eras != shown->eras ||
		view->era_ends != shown->era_ends || view->udp_ends != shown->udp_ends);
}

int publication_stage(struct publication *publication, uint32_t slot, const char *name,
		      struct view_image *image, uint64_t epoch, const struct next_hop *hops,
		      const struct transition_plan *plan, const struct client_classes *classes,
		      struct errors *errors)
{
	static const struct client_classes no_table;
	struct datapath *datapath = publication->datapath;
	struct transition_plan settled;
	struct shown_view shown;
	uint32_t index = 2 * slot + (service_cells(datapath)[slot].view == 2 * slot + 1);
	size_t hops_count = image->backends_count;
	struct staged_view *grown;
	uint64_t lease;
	int error = 0;

	if (!classes)
		classes = &no_table;
	if (plan) {
		settled = *plan;
		settled.now = era_settle(publication, slot);
		plan = &settled;
	}
	shown = datapath_shown(datapath, slot);
	if (plan)
		error = transition_fold(&shown, plan, classes, image);
	else
		error = compile_classes(classes, image);
	lease = lease_give(publication, shown.view, plan, image);
	if (!error)
		error = place_image(publication, name, shown.view, image, index, hops, hops_count,
				    errors);
	if (error)
		return error;
	if (image->view.flags & (VIEW_SEGMENTS | VIEW_GROUPS))
		image->view.flags |= classes->table << VIEW_TABLE_SHIFT;
	era_extend(publication, slot, &image->view);
	grown = reallocarray(publication->views, publication->views_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	publication->views = grown;
	grown[publication->views_count++] = (struct staged_view){
		slot, index, plan && is_change(&image->view, shown.view) ? plan->now : 0, lease};
	image->view.epoch = epoch;
	image->view.content = image->content;
	*map_part(datapath, MAP_VIEWS, struct view, index, 1) = image->view;
	name_tracked(datapath, slot, image);
	strncpy(service_names(datapath)[slot].text, name, NAME_SIZE - 1);
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

/* In place, one after the other: the order is health.c's. */
static void publication_store_all(const struct publication *publication)
{
	size_t i;

	for (i = 0; i < publication->stores_count; i++) {
		const struct staged_store *store = &publication->stores[i];

		if (store->size == sizeof(uint32_t))
			__atomic_store_n((uint32_t *)store->to, store->value, __ATOMIC_RELEASE);
		else
			__atomic_store_n((uint8_t *)store->to, store->value, __ATOMIC_RELEASE);
	}
}

int publication_show(struct publication *publication, struct errors *errors)
{
	struct datapath *datapath = publication->datapath;
	struct box *box = datapath_box(datapath);
	size_t i;
	int error;

	publication_store_all(publication);
	eras_count_from_now(publication);
	if (!publication->views_count && !publication->removals_count && !publication->has_vips)
		return 0;
	__atomic_store_n(&box->publishing, 1, __ATOMIC_SEQ_CST);
	leases_settle(publication);
	for (i = 0; i < publication->views_count; i++)
		__atomic_store_n(&service_cells(datapath)[publication->views[i].slot].view,
				 publication->views[i].view + 1, __ATOMIC_RELEASE);
	if (publication->has_vips)
		__atomic_store_n(&box->vips, publication->vips, __ATOMIC_RELEASE);
	leases_follow(publication);
	error = grace_period(datapath, errors);
	if (error)
		return error;
	for (i = 0; i < publication->removals_count; i++) {
		struct service_cell *cell = &service_cells(datapath)[publication->removals[i]];

		__atomic_store_n(&cell->view, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&cell->killed, 0, __ATOMIC_RELEASE);
		service_names(datapath)[publication->removals[i]] = (struct service_name){""};
	}
	if (publication->removals_count)
		error = grace_period(datapath, errors);
	if (!error)
		__atomic_store_n(&box->publishing, 0, __ATOMIC_SEQ_CST);
	return error;
}
