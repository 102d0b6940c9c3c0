// SPDX-License-Identifier: GPL-2.0-only
/* Flows of a service in an era. */
#include "era.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TRIES_MAX 1000

/* ---- services ---- */

static struct lab_service *add_service(struct lab *lab, const char *name, const char *vip)
{
	struct lab_service *service = lab_add_service(lab, name, STEER_L2);
	char text[32];
	size_t i;

	snprintf(text, sizeof(text), "%s:80/tcp", vip);
	lab_add_vip(service, text);
	for (i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "10.%u.0.%zu", service->slot, 10 + i);
		lab_add_backend(service, i < 4 ? 0 : 1, text, 100, LAB_INGRESS);
	}
	return service;
}

struct era *era_new(const char *test, uint32_t transition_flows)
{
	struct limits limits = {
		.services = 4, .vips = 16, .backends = 64, .transition_flows = transition_flows};
	struct era *era = calloc(1, sizeof(*era));

	assert_non_null(era);
	lab_require_bpf();
	era->lab = lab_open(lab_secret, limits);
	era->random = random_seeded(test);
	era->service = add_service(era->lab, "shop", LAB_VIP4);
	era->service->has_eras = true;
	lab_set_share(add_service(era->lab, "calm", CALM_VIP4), 1, 500000);
	era_change_share(era, 200000);
	return era;
}

void era_free(struct era *era)
{
	lab_close(era->lab);
	free(era);
}

void era_change_share(struct era *era, uint32_t ppm)
{
	lab_set_share(era->service, 1, ppm);
	lab_publish(era->lab);
}

/* ---- flows ---- */

uint16_t backend_place(const struct era *era, uint16_t number)
{
	const struct lab_service *service = era->service;
	size_t cohort, i;

	for (cohort = 0; cohort < service->service.cohorts_count; cohort++)
		for (i = 0; i < service->service.cohorts[cohort].backends_count; i++)
			if (address_equal(&service->backends[cohort][i].backend.address,
					  &service->numbered[number]))
				return cohort << 8 | i;
	return NOWHERE;
}

uint16_t flow_send(const struct era *era, const struct flow *flow, uint8_t flags)
{
	struct packet_plan plan = flow->plan;
	struct run run;

	plan.tcp_flags = flags;
	lab_run_plan(era->lab, &plan, &run);
	if (lab_cohort_of(&run) < 0)
		return NOWHERE;
	return lab_cohort_of(&run) << 8 | lab_backend_of(&run);
}

struct explanation flow_explain(const struct era *era, const struct flow *flow, uint8_t flags)
{
	struct packet_plan plan = flow->plan;

	plan.tcp_flags = flags;
	return lab_explain(era->lab, &plan);
}

struct flow flow_new(struct era *era)
{
	struct flow flow = {.plan = packet_tcp("198.18.0.1", 1024, LAB_VIP4, 80)};

	flow.plan.source = random_address(&era->random, 4);
	flow.plan.source_port = 1024 + random_below(&era->random, 60000);
	flow.origin = flow_explain(era, &flow, FLAG_ACK).backend;
	flow.held = flow_explain(era, &flow, FLAG_SYN).backend;
	return flow;
}

struct flow flow_new_disputed(struct era *era)
{
	struct flow flow;
	int tries = 0;

	do
		flow = flow_new(era);
	while (flow.origin == flow.held && ++tries < TRIES_MAX);
	assert_int_not_equal(flow.origin, flow.held);
	return flow;
}

void flow_begin(const struct era *era, const struct flow *flow)
{
	assert_int_equal(flow_send(era, flow, FLAG_SYN), backend_place(era, flow->held));
}

void flow_go_on(const struct era *era, const struct flow *flow)
{
	assert_int_equal(flow_send(era, flow, FLAG_ACK), backend_place(era, flow->held));
}

/* ---- the table ---- */

struct table era_table(const struct era *era)
{
	const struct view *view = datapath_view(era->lab->datapath, era->service->slot);

	return (struct table){map_part(era->lab->datapath, MAP_TRANSITION, struct transition_line,
				       view->transition_base, view->transition_lines),
			      view->transition_lines};
}

uint64_t entry_without_stamp(uint64_t entry)
{
	return entry & ~(0xffULL << ENTRY_STAMP_SHIFT);
}
