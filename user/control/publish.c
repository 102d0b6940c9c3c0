// SPDX-License-Identifier: GPL-2.0-only
/*
 * From names to the kernel, as one commit. The order (docs/architecture.md, "A write"): compile,
 * fill free views, commit the store, one store to show each. A writer that died in between left the
 * store ahead of the kernel or the kernel untouched; comparing epochs finds the first, and nothing
 * has to be done about the second.
 */
#include "control/tables.h"

#include "allocation.h"
#include "observe/baseline.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NEIGHBOURS_WAIT_MS 300 /* a neighbour that is there answers in a few */

int control_touch(struct control *control, const char *service)
{
	char **grown;

	if (!service) {
		control->touched_all = true;
		return 0;
	}
	grown = reallocarray(control->touched, control->touched_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	control->touched = grown;
	grown[control->touched_count] = strdup(service);
	if (!grown[control->touched_count])
		return -ENOMEM;
	control->touched_count++;
	return 0;
}

bool control_is_touched(const struct control *control, const char *service)
{
	size_t i;

	if (control->touched_all)
		return true;
	for (i = 0; i < control->touched_count; i++)
		if (!strcmp(control->touched[i], service))
			return true;
	return false;
}

static int read_secret(struct control *control, struct siphash_key *secret)
{
	char *path = secret_path(control->place, control->policy);
	int error = path ? secret_read(path, !control->datapath, secret, control->errors) : -ENOMEM;

	if (!error && control->datapath &&
	    datapath_box(control->datapath)->secret_fingerprint != secret_fingerprint(*secret))
		error = errors_add_code(control->errors, EINVAL, path,
					"put the old one back, or detach, remove the pins and "
					"attach again: every client is then decided anew",
					"the secret is not the one that the loaded program has");
	free(path);
	return error;
}

int control_load(struct control *control)
{
	struct siphash_key secret;
	int error = read_secret(control, &secret);

	if (error || control->datapath)
		return error;
	control->touched_all = true;
	error = datapath_create(control->place->pins, &control->policy->limits, secret,
				&control->datapath, control->errors);
	control->has_made_maps = !error;
	return error;
}

/* ---- one service ---- */

static struct next_hop *ask_next_hops(struct control *control, struct next_hops *next_hops,
				      const struct compile_input *input, size_t count,
				      const struct view *shown)
{
	const struct service *service = input->service;
	struct next_hop *hops = calloc(count + 1, sizeof(*hops));
	size_t cohort, i, index = 0;

	for (i = 0; hops && i < count; i++)
		hops[i].state = NEXT_HOP_NO_ROUTE;
	for (cohort = 0; hops && cohort < service->cohorts_count; cohort++)
		for (i = 0; i < service->cohorts[cohort].backends_count; i++, index++) {
			uint16_t number = input->backend_numbers[index];
			const struct backend_line *line = NULL;

			if (shown && number < shown->backends_count)
				line = datapath_backend(control->datapath, shown, number);
			if (settled_next_hop(control, next_hops, service,
					     &service->cohorts[cohort].backends[i], line,
					     &hops[number])) {
				free(hops);
				return NULL;
			}
		}
	return hops;
}

static struct transition_plan plan_of(const struct control *control,
				      const struct publication *publication,
				      const struct service *service)
{
	struct transition_plan plan = {
		.now = publication_now(publication),
		.hz = jiffies_hz(),
		.monotonic_ns = monotonic_now_ns(),
		.drain_ms = service->affinity.drain_ms,
		.udp_drain_ms = service->affinity.udp_drain_ms,
		.new_lease = is_lifted(control, service->name),
	};

	plan_cuts(control, service->name, &plan);
	return plan;
}

static int stage_view(struct control *control, struct publication *publication,
		      struct next_hops *next_hops, const struct compile_input *input,
		      struct view_image *image, const struct live_service *live)
{
	struct transition_plan plan = plan_of(control, publication, input->service);
	const struct view *shown = datapath_view(control->datapath, live->slot);
	struct next_hop *hops =
		ask_next_hops(control, next_hops, input, image->backends_count, shown);
	struct client_classes classes;
	int error;

	if (!hops)
		return -EIO;
	tables_classes(control->tables, input->service, shown, &classes);
	error = publication_stage(publication, live->slot, live->name, image, live->epoch, hops,
				  &plan, &classes, control->errors);
	free(hops);
	control->published += !error;
	return error;
}

/* Does the kernel show what the store has last committed? Not after a boot, or where a writer died.
 */
static bool is_shown(const struct control *control, const struct live_service *live)
{
	const struct view *view = datapath_view(control->datapath, live->slot);

	return view && view->epoch == live->epoch && view->content == live->digest;
}

/* Limits may have changed since the maps were made. */
static uint32_t service_limit(const struct control *control)
{
	return control->datapath ? control->datapath->maps[MAP_CELLS].entries
				 : control->policy->limits.services;
}

/* Packets still reach a service in the slot, which this write may be about to remove. */
static bool slot_is_busy(uint32_t slot, const void *data)
{
	const struct control *control = data;

	return control->datapath && datapath_view(control->datapath, slot);
}

/* Do the shown lines say of their backends what is wished of them? */
static bool health_is_shown(const struct control *control, const struct live_service *live,
			    const struct view_image *image)
{
	const struct view *view = datapath_view(control->datapath, live->slot);
	size_t i;

	for (i = 0; i < image->backends_count && i < view->backends_count; i++) {
		const struct backend_line *line = datapath_backend(control->datapath, view, i);

		if (!(line->flags & BACKEND_GONE) && line->health != image->backends[i].health)
			return false;
	}
	return true;
}

/*
 * Brings the kernel to @image: by a view, where the epoch is new, a cut is asked for or an era is
 * over; in place, where only health differs and an era is open; else nothing is to be done.
 */
static int bring_up(struct control *control, struct publication *publication,
		    struct next_hops *next_hops, const struct compile_input *input,
		    struct view_image *image, const struct live_service *live)
{
	const struct view *view = datapath_view(control->datapath, live->slot);
	bool is_current = is_shown(control, live) && tables_are_shown(control->tables, view) &&
			  !is_cut(control, live->name) &&
			  !era_is_over(view, publication_now(publication));
	struct transition_plan plan;
	int error;

	if (is_current && health_is_shown(control, live, image))
		return 0;
	error = compile_rings(input, image);
	if (error)
		return error;
	if (is_current) {
		plan = plan_of(control, publication, input->service);
		error = publication_stage_health(publication, live->slot, image, &plan);
		if (error != -EAGAIN)
			return error;
	}
	return stage_view(control, publication, next_hops, input, image, live);
}

static bool remembers(const struct view_image *image)
{
	size_t i;

	if (image->view.lines_behind)
		return true;
	for (i = 0; i < image->backends_count; i++)
		if (image->backends[i].flags & BACKEND_GONE)
			return true;
	return false;
}

/* The service's place and epoch in the store, which it gets where it is new. */
static int add_service(struct control *control, const struct service *service,
		       struct live_service *live)
{
	int error = store_add_service(control->store, service->name, service_limit(control),
				      slot_is_busy, control, live, control->errors);

	if (!error && control->datapath && live->slot >= service_limit(control))
		error = errors_add_code(control->errors, ENOSPC, service->name,
					"raise `limits.services` and make the maps anew",
					"its place, %u, is beyond what the maps have room for",
					live->slot);
	if (!error && !live->epoch)
		error = numbers_begin(control, live->slot);
	return error;
}

/* A lease of its own, that does not go on from the shown view. */
static bool gets_lease(const struct control *control, const struct service *service)
{
	const struct view *view = control_view(control, service->name);

	return lease_in_force(control, service) &&
	       (!view || view->expiry == LEASE_NONE || is_lifted(control, service->name));
}

/* Another image, or a cut, is another epoch. */
static int begin_epoch(struct control *control, const struct service *service, uint64_t content,
		       struct live_service *live)
{
	bool is_behind = control->datapath && !is_shown(control, live), is_new;
	int error = is_behind ? cuts_resume(control, service, live->epoch) : 0;

	if (error)
		return error;
	is_new = !live->epoch || content != live->digest || is_cut(control, service->name);
	if (is_new) {
		live->epoch++;
		live->digest = content;
		error = store_set_epoch(control->store, service->name, live->epoch, content,
					control->errors);
	}
	if (!error && is_cut(control, service->name))
		error = cuts_note(control, service, live->epoch);
	if (!error && gets_lease(control, service))
		error = lease_note(control->store, service->name, control->errors);
	/* A boot made the counters anew as well: what was noted of them is no longer so. */
	if (!error && (is_new || is_behind))
		error = baseline_record(control, service);
	return error;
}

/* *@settled: no name of an earlier epoch is in use any more. */
static int publish_service(struct control *control, struct publication *publication,
			   struct next_hops *next_hops, const struct service *service,
			   bool *settled)
{
	struct live_service live;
	struct service_input input = {0};
	struct view_image image = {0};
	size_t published = control->published;
	uint64_t before;
	int error = add_service(control, service, &live);

	if (error)
		return error;
	if (!control_is_touched(control, service->name) &&
	    (!control->datapath ||
	     (is_shown(control, &live) &&
	      tables_are_shown(control->tables, datapath_view(control->datapath, live.slot)))))
		return 0;
	before = live.epoch;
	error = service_input_make(control, service, &input);
	if (!error)
		error = compile_view(&input.input, &image);
	if (!error)
		error = begin_epoch(control, service, image.content, &live);
	if (!error && control->datapath)
		error = bring_up(control, publication, next_hops, &input.input, &image, &live);
	/* Of an image that was not folded it cannot be told what packets still use. */
	*settled = control->datapath ? control->published > published && !remembers(&image)
				     : live.epoch > before;
	view_image_release(&image);
	service_input_release(&input);
	return error;
}

/* ---- the box ---- */

static int stage_vips(struct control *control, struct publication *publication)
{
	const struct policy *policy = control->policy;
	struct vip_entry *entries;
	size_t service, i, count = 0;
	int error;

	for (service = 0; service < policy->services_count; service++)
		count += policy->services[service].vips_count;
	entries = calloc(count + 1, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	for (service = count = 0; service < policy->services_count; service++) {
		const struct live_service *live =
			live_service_of(&control->live, policy->services[service].name);

		for (i = 0; live && i < policy->services[service].vips_count; i++)
			entries[count++] = (struct vip_entry){
				.vip = policy->services[service].vips[i],
				.service = live->slot,
			};
	}
	error = publication_stage_vips(publication, entries, count, control->errors);
	free(entries);
	return error;
}

/* Slots that packets can still reach and no service of the policy has any more. */
static int stage_removals(struct control *control, struct publication *publication)
{
	uint32_t slot, slots = control->datapath->maps[MAP_CELLS].entries;
	bool *used = calloc(slots, sizeof(*used));
	int error = used ? 0 : -ENOMEM;
	size_t i;

	for (i = 0; used && i < control->policy->services_count; i++) {
		const struct live_service *live =
			live_service_of(&control->live, control->policy->services[i].name);

		if (live && live->slot < slots)
			used[live->slot] = true;
	}
	for (slot = 0; slot < slots && !error; slot++)
		if (!used[slot] && datapath_view(control->datapath, slot))
			error = publication_stage_removal(publication, slot);
	free(used);
	return error;
}

/* Kills outlive a boot: the cell is stored before the service can be seen. */
static void set_kills(const struct control *control)
{
	size_t i;

	for (i = 0; i < control->live.services_count; i++)
		if (control->live.services[i].latch == LATCH_KILLED)
			service_keep_killed(control->datapath, control->live.services[i].slot);
}

/*
 * After the new views are shown. Only what this writer was asked to lift: any other kill that the
 * store does not know was made while it wrote, and stands.
 */
static void lift_kills(const struct control *control)
{
	size_t i;

	for (i = 0; i < control->lifted_count; i++)
		service_lift_kill(control->datapath, control->lifted[i].slot,
				  control->lifted[i].seen);
}

/* Where the store was lost, a kill in the kernel still holds the service of that name. */
static int adopt_kill(struct control *control, const struct service *service)
{
	int slot = service_slot_by_name(control->datapath, service->name);
	struct live_service live;
	int error;

	if (live_service_of(&control->live, service->name) || slot < 0 ||
	    !service_is_killed(control->datapath, slot))
		return 0;
	error = store_add_service(control->store, service->name, service_limit(control),
				  slot_is_busy, control, &live, control->errors);
	if (!error)
		error = store_set_latch(control->store, service->name, LATCH_KILLED,
					control->errors);
	return error;
}

static int adopt_kills(struct control *control)
{
	size_t i;
	int error = 0;

	for (i = 0; i < control->policy->services_count && !error; i++)
		error = adopt_kill(control, &control->policy->services[i]);
	return error ? error : control_reload_live(control);
}

static int stage_all(struct control *control, struct publication *publication,
		     struct next_hops *next_hops)
{
	const struct policy *policy = control->policy;
	bool *settled = calloc(policy->services_count + 1, sizeof(*settled));
	int error = settled ? 0 : -ENOMEM;
	size_t i;

	for (i = 0; i < policy->services_count && !error; i++)
		error = publish_service(control, publication, next_hops, &policy->services[i],
					&settled[i]);
	/* Last: a number that is free again is nobody else's before packets have stopped counting
	 * into it. */
	for (i = 0; i < policy->services_count && !error; i++)
		if (settled[i])
			error = numbers_free(control, &policy->services[i]);
	for (i = 0; i < policy->services_count && !error; i++)
		if (settled[i])
			error = tracking_free(control, &policy->services[i]);
	free(settled);
	if (!error)
		error = checks_forget(control);
	if (!error)
		error = numbers_free_segments(control);
	if (!error)
		error = control_reload_live(control);
	if (error || !control->datapath)
		return error;
	error = stage_vips(control, publication);
	return error ? error : stage_removals(control, publication);
}

int control_publish(struct control *control)
{
	struct publication *publication = NULL;
	struct next_hops *next_hops = NULL;
	struct siphash_key secret = {0};
	int error = 0;

	control->patience_ms = NEIGHBOURS_WAIT_MS;
	/* Nothing was ever desired, or the store was lost: then what is loaded is not for an empty
	 * policy to remove. */
	if (!control->revision.number) {
		error = store_commit(control->store, control->errors);
		control->has_made_maps = control->has_made_maps && error;
		return error;
	}
	if (control->datapath) {
		error = read_secret(control, &secret);
		if (!error)
			error = publication_begin(control->datapath, &publication, control->errors);
		if (!error)
			error = next_hops_open(&next_hops, control->errors);
	}
	if (!error && control->datapath)
		error = adopt_kills(control);
	if (!error) /* which may have ended since the writer came */
		error = record_leases(control, false);
	if (!error)
		error = tables_begin(control, secret, &control->tables);
	if (!error && control->datapath)
		publication_expect(publication, control->touched_all
							? control->policy->services_count
							: control->touched_count +
								  tables_moving(control->tables));
	if (!error)
		error = stage_all(control, publication, next_hops);
	if (!error)
		error = store_commit(control->store, control->errors);
	if (!error)
		control->has_made_maps = false;
	if (!error && control->datapath) {
		set_kills(control);
		windows_suspend(control);
		error = publication_show(publication, control->errors);
		lift_kills(control);
		if (!error)
			error = windows_begin(control);
		if (!error)
			error = control_observe(control);
	}
	tables_end(control->tables);
	control->tables = NULL;
	next_hops_close(next_hops);
	publication_end(publication);
	return error;
}

int control_publish_service(struct control *control, const char *service)
{
	int error = control_reload_live(control);

	if (!error)
		error = control_touch(control, service);
	return error ? error : control_publish(control);
}
