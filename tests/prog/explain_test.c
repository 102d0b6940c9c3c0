// SPDX-License-Identifier: GPL-2.0-only
/*
 * The explaining program: says what the other one does, what the interface's vectors say, and
 * changes nothing.
 */
#include "lab.h"
#include "oracle.h"

#include "datapath/explain.h"
#include "policy/decide.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct vector {
	const char *client;
	bool is_mapped;
	uint64_t token;
	uint32_t hash, enters_at_ppm, holdout_hash;
};

/* INTERFACE.md, "The decision, exactly". */
static const struct vector vectors[] = {
	{"198.51.100.7", false, 0xbea1e9d79020926a, 2634844476u, 613473, 3074974159u},
	{"198.51.100.7", true, 0xbea1e9d79020926a, 2634844476u, 613473, 3074974159u},
	{"203.0.113.9", false, 0xa95aeba497ade9c4, 259160423u, 60341, 2257301919u},
	{"2001:db8:1:2:3::4", false, 0x459aebd6fc91e5f2, 4243239534u, 987957, 2773496245u},
	{"2001:db8:1:2::", false, 0x459aebd6fc91e5f2, 4243239534u, 987957, 2773496245u},
};

static struct packet_plan packet_of(const struct vector *vector)
{
	struct packet_plan plan = strchr(vector->client, ':') || vector->is_mapped
					  ? packet_tcp("2001:db8::1", 40000, LAB_VIP6, 80)
					  : packet_tcp("198.51.100.1", 40000, LAB_VIP4, 80);

	plan.source = address_of(vector->client);
	if (vector->is_mapped) {
		memmove(plan.source.bytes + 12, plan.source.bytes, 4);
		memset(plan.source.bytes, 0, 10);
		memset(plan.source.bytes + 10, 0xff, 2);
		plan.source.family = 6;
	}
	return plan;
}

static void the_vectors_of_the_interface_hold(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	size_t i;

	lab_publish(lab);
	assert_true(datapath_view(lab->datapath, service->slot)->salt64 == 0xd7f1ff649337d369);
	for (i = 0; i < COUNT(vectors); i++) {
		struct packet_plan plan = packet_of(&vectors[i]);
		struct explanation said = lab_explain(lab, &plan);
		struct run run;

		assert_true(said.token == vectors[i].token);
		assert_int_equal(said.hash, vectors[i].hash);
		assert_int_equal(said.holdout_hash, vectors[i].holdout_hash);
		lab_set_share(service, 1, vectors[i].enters_at_ppm - 1);
		lab_publish(lab);
		lab_run_plan(lab, &plan, &run);
		assert_int_equal(lab_cohort_of(&run), 0);
		lab_set_share(service, 1, vectors[i].enters_at_ppm);
		lab_publish(lab);
		lab_run_plan(lab, &plan, &run);
		assert_int_equal(lab_cohort_of(&run), 1);
	}
}

static void vary(struct lab_service *service, unsigned int round)
{
	struct service *s = &service->service;

	s->client_key = round & 1 ? CLIENT_KEY_FLOW : CLIENT_KEY_SOURCE;
	s->balance = round & 2 ? BALANCE_CLIENT : BALANCE_FLOW;
	s->holdout_ppm = round & 4 ? 300000 : 0;
	s->prefix4 = round & 8 ? 20 : 32;
	s->prefix6 = round & 8 ? 100 : round & 16 ? 40 : 64;
	s->enforce = round % 5;
	lab_set_cohorts(service, 2 + round % 3);
	lab_set_share(service, 1, 200000);
	lab_set_share(service, 2, round % 3 > 0 ? 333333 : 0);
	service->backends[1][0].backend.weight = round % 7 ? 100 : 0;
	service->backends[2][0].backend.weight = round % 4 ? 100 : 0;
	service->backends[0][0].backend.weight = round % 11 ? 100 : 0;
	if (!(round % 11))
		s->cohorts[0].backends_count = 1;
	else
		s->cohorts[0].backends_count = 3;
}

static struct packet_plan random_packet(struct oracle_random *random)
{
	struct packet_plan plan = oracle_next(random) & 1
					  ? packet_tcp("198.51.100.1", 1, LAB_VIP4, 80)
					  : packet_tcp("2001:db8::1", 1, LAB_VIP6, 80);
	uint64_t dice = oracle_next(random);

	plan.source_port = dice;
	store32(plan.source.bytes, dice >> 32);
	store32(plan.source.bytes + (plan.source.family == 4 ? 0 : 8), oracle_next(random));
	if (plan.source.family == 4 && !(dice >> 16 & 3)) /* pinned below */
		memcpy(plan.source.bytes, (uint8_t[]){203, 0, 113, dice >> 20}, 4);
	return plan;
}

static void assert_said_as_done(struct lab *lab, const struct packet_plan *plan,
				const struct explanation *said)
{
	uint64_t before = lab_reason(lab, said->reason);
	struct run run;

	lab_run_plan(lab, plan, &run);
	assert_int_equal(lab_reason(lab, said->reason), before + 1);
	switch (said->action) {
	case ACTION_STEER:
		assert_int_equal(lab_cohort_of(&run), said->cohort);
		break;
	case ACTION_PASS:
		assert_int_equal(run.verdict, XDP_PASS);
		break;
	default:
		assert_int_equal(run.verdict, XDP_DROP);
	}
}

/* As user space decides, with nothing loaded. */
static void assert_said_as_decided(const struct lab *lab, const struct view_image *image,
				   const struct packet_plan *plan, const struct explanation *said)
{
	const struct view *view = datapath_view(lab->datapath, 0);
	struct flow flow = {
		.source = plan->source,
		.destination = plan->destination,
		.source_port = plan->source_port,
		.destination_port = plan->destination_port,
		.protocol = plan->protocol,
	};
	struct explanation decided;

	decide(image, lab->secret, &flow, &(struct client_facts){0}, &decided);
	assert_true(said->token == decided.token && said->hash == decided.hash);
	assert_int_equal(said->holdout_hash, decided.holdout_hash);
	assert_int_equal(said->chosen_cohort, decided.chosen_cohort);
	assert_int_equal(said->cohort, decided.cohort);
	assert_int_equal(said->decision, decided.decision);
	assert_int_equal(said->reason, decided.reason);
	assert_int_equal(said->rule, decided.rule);
	assert_int_equal(said->has_backend, decided.has_backend);
	if (!said->has_backend)
		return;
	assert_true(said->flow == decided.flow);
	assert_int_equal(said->backend, decided.backend);
	assert_int_equal(said->ring_slot - view->rings[0], decided.ring_slot);
}

static void what_is_explained_is_what_is_done(void **state)
{
	struct oracle_random random = oracle_seed(__func__);
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	unsigned int round, i;

	lab_add_backend(service, 0, "10.0.0.12", 100, LAB_INGRESS);
	lab_add_backend(service, 0, "10.0.0.13", 30, LAB_INGRESS);
	service->service.cohorts_count = 3;
	lab_add_backend(service, 2, "10.0.2.11", 30, LAB_INGRESS);
	for (round = 0; round < 44; round++) {
		struct lab_image image;

		vary(service, round);
		service->pins_count = 0;
		lab_add_pin(service, round & 8 ? "203.0.112.0/20" : "203.0.113.0/25", 1,
			    PIN_FOREVER);
		lab_publish(lab);
		lab_compile(service, &image);
		for (i = 0; i < 100; i++) {
			struct packet_plan plan = random_packet(&random);
			struct explanation said = lab_explain(lab, &plan);

			assert_true(said.has_service);
			assert_said_as_done(lab, &plan, &said);
			assert_said_as_decided(lab, &image.image, &plan, &said);
		}
		lab_image_release(&image);
	}
}

static void reasons_before_the_service_are_explained_too(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_tcp("198.51.100.7", 40000, LAB_VIP4, 81);
	struct explanation said;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	said = lab_explain(lab, &plan);
	assert_int_equal(said.reason, REASON_NOT_VIP);
	assert_int_equal(said.action, ACTION_PASS);
	assert_false(said.has_service || said.has_backend);
	plan.fragment = 0x2000;
	assert_int_equal(lab_explain(lab, &plan).reason, REASON_FRAGMENT);
}

/* The bytes of a map, copied. */
static void *copy_of_map(const struct lab *lab, enum map_id id, size_t *size)
{
	const struct map *map = &lab->datapath->maps[id];
	void *copy;

	*size = map->memory ? map_bytes(map, false) : 0;
	copy = malloc(*size + 1);
	assert_non_null(copy);
	memcpy(copy, map_reach(map, 0, *size), *size);
	return copy;
}

static void explaining_changes_nothing(void **state)
{
	struct oracle_random random = oracle_seed(__func__);
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	struct interface_counter interface;
	struct decision_counter decisions;
	struct rule_counter rules[2];
	struct backend_counter backend;
	void *maps[MAPS];
	size_t sizes[MAPS], size;
	unsigned int i;
	int id;

	service->backends[0][0].hop.mtu = 1500;
	lab_set_share(service, 1, 300000);
	lab_publish(lab);
	for (id = 0; id < MAPS; id++)
		maps[id] = copy_of_map(lab, id, &sizes[id]);
	interface = lab_interface_counter(lab);
	decisions = lab_decision_counter(lab, service);
	rules[0] = lab_rule_counter(lab, service, 0, 0);
	rules[1] = lab_rule_counter(lab, service, 0, 1);
	backend = lab_backend_counter(lab, service, 0);
	for (i = 0; i < 300; i++) {
		struct packet_plan plan = random_packet(&random);
		struct frame frame;
		struct run run;

		plan.payload = i % 3 ? 60 : 1460; /* every third is too big */
		packet_build(&plan, &frame);
		lab->aside = true;
		lab_run(lab, &frame, &run);
		lab->aside = false;
		assert_int_equal(run.verdict, XDP_PASS);
		assert_int_equal(run.out.size, frame.size);
		/* The answer lies over the packet's front, and nowhere else. */
		size = sizeof(struct explanation);
		assert_memory_equal(run.out.bytes + size, frame.bytes + size, frame.size - size);
	}
	for (id = 0; id < MAPS; id++) {
		void *now = copy_of_map(lab, id, &size);

		assert_memory_equal(now, maps[id], size);
		free(now);
		free(maps[id]);
	}
	assert_memory_equal(&interface, &(struct interface_counter[]){lab_interface_counter(lab)},
			    sizeof(interface));
	assert_memory_equal(&decisions,
			    &(struct decision_counter[]){lab_decision_counter(lab, service)},
			    sizeof(decisions));
	assert_memory_equal(&rules[0],
			    &(struct rule_counter[]){lab_rule_counter(lab, service, 0, 0)},
			    sizeof(rules[0]));
	assert_memory_equal(&rules[1],
			    &(struct rule_counter[]){lab_rule_counter(lab, service, 0, 1)},
			    sizeof(rules[1]));
	assert_memory_equal(&backend,
			    &(struct backend_counter[]){lab_backend_counter(lab, service, 0)},
			    sizeof(backend));
}

static void a_frame_too_short_for_the_answer_is_left_alone(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_udp("198.51.100.7", 40000, LAB_VIP4, 53);
	struct frame frame;
	struct run run;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	plan.payload = 0;
	packet_build(&plan, &frame);
	lab->aside = true;
	lab_run(lab, &frame, &run);
	lab->aside = false;
	assert_int_equal(run.verdict, XDP_PASS);
	assert_memory_equal(run.out.bytes, frame.bytes, frame.size);
}

static void the_pinned_explainer_answers_the_same(void **state)
{
	struct lab *lab = *state;
	struct flow flow = {.source = address_of("203.0.113.9"),
			    .destination = address_of(LAB_VIP4),
			    .source_port = 40000,
			    .destination_port = 80,
			    .protocol = IPPROTO_TCP};
	struct explanation said;
	int program;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	program = explainer_open(lab->directory, lab->errors);
	assert_true(program >= 0);
	assert_int_equal(explainer_run(program, &flow, &said, lab->errors), 0);
	close(program);
	assert_true(said.token == 0xa95aeba497ade9c4);
	assert_int_equal(said.hash, 259160423u);
	assert_int_equal(said.reason, REASON_DEFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(the_vectors_of_the_interface_hold),
		lab_test(what_is_explained_is_what_is_done),
		lab_test(reasons_before_the_service_are_explained_too),
		lab_test(explaining_changes_nothing),
		lab_test(a_frame_too_short_for_the_answer_is_left_alone),
		lab_test(the_pinned_explainer_answers_the_same),
	};

	return cmocka_run_group_tests_name("prog/explain", tests, lab_setup_group,
					   lab_teardown_group);
}
