// SPDX-License-Identifier: GPL-2.0-only
/*
 * Segment tables under traffic (promise 5): table after table is swapped, with the views of the
 * several services that use it. Members, groups, rules and shares are others in each, so that
 * classes of one table mean something else with the numbers of another, or with another's view.
 * What each makes of each flow is recorded first, one at a time in peace.
 */
#include "affinity_clients.h"
#include "outcome.h"
#include "tests/random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define VARIANTS    5
#define SERVICES    3
#define FLOWS	    300
#define SENDERS	    2
#define SEGMENTS    7
#define RULES	    4
#define SWAPS	    150
#define PACKETS	    60000
#define SECONDS_MAX 200 /* a machine that is too slow for the test */
#define STAGED_US   1000

struct tables {
	struct lab *lab;
	struct lab_service *services[SERVICES];
	bool has_eras; /* flows stay where they began, whatever the tables say */
	struct packet_plan plans[FLOWS];
	struct frame flows[FLOWS];
	struct prefix clients[FLOWS];
	/* By variant, or of eras by the flow alone. */
	struct outcome outcomes[VARIANTS][FLOWS];
	uint64_t epoch; /* shown */
};

/* ---- variants ---- */

static void set_clients(struct tables *tables, unsigned int variant)
{
	struct random random = {variant * 1000003 + 17};
	unsigned int i;

	lab_remove_clients(tables->lab);
	for (i = 0; i < FLOWS; i++) {
		struct prefix wider = prefix_shorten(&tables->clients[i], 28, 60);

		lab_add_member(tables->lab, random_below(&random, SEGMENTS), &tables->clients[i]);
		if (!random_below(&random, 4))
			lab_add_member(tables->lab, random_below(&random, SEGMENTS), &wider);
		lab_set_group(tables->lab, 1 + i % 2, &tables->clients[i],
			      1 + random_below(&random, LAB_TEXTS));
	}
}

/* Every rule gives all or nothing to one canary, or to control. */
static void set_rules(struct tables *tables, unsigned int number, unsigned int variant)
{
	struct lab_service *service = tables->services[number];
	struct random random = {variant * 31 + number};
	size_t i, cohort, backend;

	while (service->service.rules_count > 1)
		lab_remove_rule(service, 0);
	for (i = 0; i < RULES; i++)
		lab_add_rule(service, i, 1 + (i + variant) % (RULES + 1),
			     (variant + 2 * i + number) % SEGMENTS);
	for (i = 0; i <= RULES; i++)
		for (cohort = 1; cohort < COHORTS_MAX; cohort++)
			service->shares[i][cohort] = random_below(&random, 2) *
						     service->service.cohorts[cohort].slot_ppm;
	service->group_column = (variant + number) % 3; /* none, or one of two */
	for (cohort = 0; cohort < COHORTS_MAX && !tables->has_eras; cohort++)
		for (backend = 0; backend < service->service.cohorts[cohort].backends_count;
		     backend++)
			service->backends[cohort][backend].hop.mac[3] = variant;
}

static void check(struct lab *lab, int error)
{
	if (error)
		errors_print(lab->errors, stderr);
	assert_int_equal(error, 0);
}

static void stage(struct lab *lab, struct publication *publication, const struct lab_table *table,
		  struct lab_service *service, uint64_t epoch)
{
	struct client_classes classes = lab_table_classes(lab, table, service);
	struct transition_plan plan = service->plan;
	struct lab_image image;

	plan.now = publication_now(publication);
	plan.hz = jiffies_hz();
	lab_compile(service, &image);
	check(lab, publication_stage(publication, service->slot, service->service.name,
				     &image.image, epoch, image.hops,
				     service->has_eras ? &plan : NULL, &classes, lab->errors));
	lab_image_release(&image);
}

/* What is written lies there for a while before it is shown. */
static void show_next(struct tables *tables)
{
	uint64_t epoch = tables->epoch + 1;
	struct publication *publication;
	struct lab *lab = tables->lab;
	struct lab_table table;
	unsigned int i;

	set_clients(tables, epoch % VARIANTS);
	for (i = 0; i < SERVICES; i++)
		set_rules(tables, i, epoch % VARIANTS);
	check(lab, publication_begin(lab->datapath, &publication, lab->errors));
	lab_table_begin(lab, &table);
	usleep(STAGED_US);
	for (i = 0; i < SERVICES; i++)
		stage(lab, publication, &table, tables->services[i], epoch);
	usleep(STAGED_US);
	check(lab, publication_show(publication, lab->errors));
	publication_end(publication);
	lab_table_end(&table);
	__atomic_store_n(&tables->epoch, epoch, __ATOMIC_RELEASE);
}

/* ---- services and flows ---- */

static void add_services(struct tables *tables)
{
	char text[64];
	size_t i, cohort, backend;

	for (i = 0; i < SERVICES; i++) {
		struct lab_service *service;

		snprintf(text, sizeof(text), "service-%zu", i);
		service = tables->services[i] = lab_add_service(tables->lab, text, STEER_L2);
		snprintf(text, sizeof(text), "192.0.2.%zu:80/tcp", i + 1);
		lab_add_vip(service, text);
		snprintf(text, sizeof(text), "[2001:db8::%zu]:80/tcp", i + 1);
		lab_add_vip(service, text);
		lab_set_cohorts(service, COHORTS_MAX);
		for (cohort = 0; cohort < COHORTS_MAX; cohort++)
			for (backend = 0; backend < 3; backend++) {
				snprintf(text, sizeof(text), "10.%zu.%zu.%zu", i, cohort, backend);
				lab_add_backend(service, cohort, text, 100, LAB_INGRESS);
			}
	}
}

static void build_flows(struct tables *tables, struct random *random)
{
	char vip[32];
	unsigned int i;

	for (i = 0; i < FLOWS; i++) {
		struct packet_plan *plan = &tables->plans[i];

		snprintf(vip, sizeof(vip), i % 2 ? "192.0.2.%u" : "2001:db8::%u", i % SERVICES + 1);
		*plan = packet_tcp(i % 2 ? "198.18.0.1" : "2001:db8::1", 1024 + i, vip, 80);
		plan->source = random_address(random, i % 2 ? 4 : 6);
		plan->source.bytes[0] = i % 2 ? 198 : 0x20;
		plan->payload = 16;
		plan->tcp_flags = FLAG_ACK;
		packet_build(plan, &tables->flows[i]);
		tables->clients[i] = (struct prefix){plan->source, i % 2 ? 32 : 128};
		tables->clients[i] = prefix_shorten(&tables->clients[i], 32, 64);
	}
}

static struct tables *tables_new(struct lab *lab, const char *test)
{
	struct random random = random_seeded(test);
	struct tables *tables = calloc(1, sizeof(*tables));

	assert_non_null(tables);
	tables->lab = lab;
	add_services(tables);
	build_flows(tables, &random);
	lab_publish(lab);
	return tables;
}

static struct outcome run_flow(struct tables *tables, unsigned int flow)
{
	struct lab aside = *tables->lab;

	aside.aside = true;
	return outcome_of(tables->lab, &aside, &tables->flows[flow]);
}

/* Flows that another table would send elsewhere: those of which it would be seen. */
static void record_variants(struct tables *tables)
{
	unsigned int i, other, different = 0;

	while (tables->epoch < VARIANTS) {
		show_next(tables);
		for (i = 0; i < FLOWS; i++) {
			struct outcome *outcome = &tables->outcomes[tables->epoch % VARIANTS][i];

			*outcome = run_flow(tables, i);
			assert_int_equal(outcome->verdict, XDP_TX);
			assert_int_equal(outcome->told.epoch, tables->epoch);
		}
	}
	for (i = 0; i < FLOWS; i++)
		for (other = 1; other < VARIANTS; other++)
			different += tables->outcomes[0][i].told.cohort !=
				     tables->outcomes[other][i].told.cohort;
	assert_in_range(different, FLOWS * (VARIANTS - 1) / 2, FLOWS * VARIANTS);
}

/* A third began before the era, by rules of another table; the others in it, under some table. */
static void begin_flows(struct tables *tables)
{
	unsigned int i, paths[PATHS] = {0};
	struct run run;

	show_next(tables);
	for (i = 0; i < FLOWS; i++)
		tables->outcomes[0][i] = run_flow(tables, i);
	for (i = 0; i < SERVICES; i++)
		tables->services[i]->has_eras = true;
	while (tables->epoch < 1 + VARIANTS) {
		show_next(tables);
		for (i = tables->epoch; i < FLOWS; i += VARIANTS) {
			struct packet_plan plan = tables->plans[i];

			if (i % 3 == 0)
				continue;
			plan.tcp_flags = FLAG_SYN;
			lab_run_plan(tables->lab, &plan, &run);
			tables->outcomes[0][i] = run_flow(tables, i);
		}
	}
	for (i = 0; i < FLOWS; i++) {
		struct outcome outcome = run_flow(tables, i);

		assert_true(same_packet(&outcome, &tables->outcomes[0][i]));
		paths[outcome.told.path]++;
	}
	assert_in_range(paths[PATH_ORIGIN], FLOWS / 5, FLOWS);
	assert_in_range(paths[PATH_ENTRY], FLOWS / 5, FLOWS);
}

/* ---- promise 5 ---- */

struct traffic {
	struct tables *tables;
	const bool *stop;
	uint64_t packets, mixed, lost, old;
	uint64_t seen[VARIANTS];
};

static void check_outcome(struct traffic *traffic, const struct outcome *outcome, unsigned int flow)
{
	const struct tables *tables = traffic->tables;
	unsigned int variant = 0;

	if (outcome->verdict != XDP_TX) {
		traffic->lost++;
		return;
	}
	while (variant < VARIANTS &&
	       !same_packet(outcome, &tables->outcomes[tables->has_eras ? 0 : variant][flow]))
		variant++;
	if (variant < VARIANTS)
		traffic->seen[variant]++;
	else
		traffic->mixed++;
	if (!tables->has_eras)
		traffic->mixed += !same_explanation(
			outcome->told, tables->outcomes[outcome->told.epoch % VARIANTS][flow].told);
	else
		traffic->mixed += outcome->told.backend != tables->outcomes[0][flow].told.backend;
}

static void *run_traffic(void *argument)
{
	struct traffic *traffic = argument;
	unsigned int flow = 0;

	while (!__atomic_load_n(traffic->stop, __ATOMIC_RELAXED)) {
		uint64_t shown = __atomic_load_n(&traffic->tables->epoch, __ATOMIC_ACQUIRE);
		struct outcome outcome;

		flow = (flow + 1) % FLOWS;
		outcome = run_flow(traffic->tables, flow);
		check_outcome(traffic, &outcome, flow);
		traffic->old += outcome.told.epoch < shown;
		__atomic_fetch_add(&traffic->packets, 2, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void swap_under_traffic(struct tables *tables)
{
	struct traffic traffic[SENDERS] = {0};
	uint64_t first = tables->epoch, packets = 0;
	time_t began = time(NULL);
	pthread_t threads[SENDERS];
	unsigned int i, variant;
	bool stop = false;

	for (i = 0; i < SENDERS; i++) {
		traffic[i] = (struct traffic){.tables = tables, .stop = &stop};
		assert_int_equal(pthread_create(&threads[i], NULL, run_traffic, &traffic[i]), 0);
	}
	while ((tables->epoch < first + SWAPS || packets < PACKETS) &&
	       time(NULL) - began < SECONDS_MAX) {
		show_next(tables);
		for (packets = 0, i = 0; i < SENDERS; i++)
			packets += __atomic_load_n(&traffic[i].packets, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < SENDERS; i++) {
		assert_int_equal(traffic[i].lost, 0);
		assert_int_equal(traffic[i].mixed, 0);
		assert_int_equal(traffic[i].old, 0);
		for (variant = 0; variant < (tables->has_eras ? 1 : VARIANTS); variant++)
			assert_true(traffic[i].seen[variant] > 0);
	}
	printf("%llu packets, %llu tables\n", (unsigned long long)packets,
	       (unsigned long long)(tables->epoch - first));
	assert_true(packets >= PACKETS && tables->epoch >= first + SWAPS);
}

static void promise_5_a_packet_sees_one_table_whole_and_its_view(void **state)
{
	struct tables *tables = tables_new(*state, __func__);

	record_variants(tables);
	swap_under_traffic(tables);
	free(tables);
}

static void promise_5_no_flow_moves_while_tables_are_swapped_in_its_era(void **state)
{
	struct tables *tables = tables_new(*state, __func__);

	tables->has_eras = true;
	begin_flows(tables);
	swap_under_traffic(tables);
	free(tables);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(promise_5_a_packet_sees_one_table_whole_and_its_view),
		lab_test(promise_5_no_flow_moves_while_tables_are_swapped_in_its_era),
	};

	return cmocka_run_group_tests_name("prog/publishing_tables", tests, lab_setup_group,
					   lab_teardown_group);
}
