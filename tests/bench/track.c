// SPDX-License-Identifier: GPL-2.0-only
/*
 * What following a rollout's clients costs a packet: of a service that is not followed, of a client
 * that is not, and of one that is, with its flow's record in a cache and with 64k of them in turns
 * (8 MB of clients and flows, which are not).
 */
#include "bench.h"

#include "allocation.h"
#include "track/track.h"

#include <stdio.h>
#include <stdlib.h>

#define FOLLOWED (1u << 16)

static struct lab *not_followed, *followed;

/* VIP .1: clients that are in neither arm; .2: all clients are in one. */
static struct lab *make_box(bool tracked)
{
	struct limits limits = {
		.services = 64, .vips = 256, .backends = 4096, .tracked_clients = 4 * FOLLOWED};
	struct lab *lab = lab_open(lab_secret, limits);
	uint64_t jiffies = 0;
	uint32_t track;

	for (track = 0; track < 2; track++) {
		struct lab_service *service = add_service(
			lab, STEER_IPIP, 4, track ? "192.0.2.2:80/tcp" : "192.0.2.1:80/tcp");

		service->tracked = tracked;
		service->track = track;
		service->rollout_cohort = tracked;
		service->control_factor = track ? 16 : 1;
		if (tracked && track_open(lab->datapath, track, &service->service))
			exit(2);
	}
	lab_publish(lab);
	if (tracked && datapath_jiffies(lab->datapath, &jiffies, NULL))
		exit(2);
	for (track = 0; track < 2 && tracked; track++)
		track_begin_window(lab->datapath, track, 1, 0, jiffies);
	return lab;
}

/* Of a client of control that is not in the slice. */
static void choose_client(struct case_plan *plan)
{
	const struct view_rule *rules = map_array(followed->datapath, MAP_RULES, struct view_rule);
	const struct view *view = datapath_view(followed->datapath, 0);
	struct explanation told;
	int i;

	for (i = 0; i < 256; i++) {
		plan->packet.source.bytes[3] = i;
		told = lab_explain(followed, &plan->packet);
		if (!told.chosen_cohort &&
		    !is_in_slice(&rules[view->rules], view->flags, told.hash))
			return;
	}
	fprintf(stderr, "bench: all clients are followed\n");
	exit(2);
}

static struct case_plan *add_turn(struct plans *plans, const char *name, const struct lab *lab,
				  bool is_syn, const char *against)
{
	struct case_plan *plan = add_case(plans, name, lab, "192.0.2.2");

	with_budget(plan, against, 0)->clients = FOLLOWED;
	plan->recorded = lab == followed;
	if (is_syn)
		plan->packet.tcp_flags = FLAG_SYN;
	return plan;
}

void plans_add_tracked(struct plans *plans)
{
	static const char off[] = "track: off", off_many[] = "track: off, 64k clients",
			  off_syn[] = "track: off, SYN, 64k clients";
	struct case_plan *plan;

	not_followed = make_box(false);
	followed = make_box(true);
	plan = add_case(plans, off, not_followed, "192.0.2.1");
	choose_client(plan);
	plan = add_case(plans, "untracked client of a followed service", followed, "192.0.2.1");
	choose_client(plan);
	with_budget(plan, off, 0)->extra_ns = 5;
	plan = add_case(plans, "tracked", followed, "192.0.2.2");
	with_budget(plan, off, 0)->extra_ns = 120;
	plan->recorded = true;
	plan->clients = 2; /* measure_record() takes them in turns */
	add_turn(plans, off_many, not_followed, false, off);
	add_turn(plans, "tracked, 64k clients", followed, false, off_many)->extra_ns = 500;
	add_turn(plans, off_syn, not_followed, true, off);
	add_turn(plans, "tracked, SYN, 64k clients", followed, true, off_syn)->extra_ns = 500;
}

void tracked_release(void)
{
	lab_close(not_followed);
	lab_close(followed);
}
