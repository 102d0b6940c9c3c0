// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is followed, and that a first is counted once: packets of the same clients on all CPUs at
 * once, while windows begin, sweeps go over the records and free them. What each packet means is
 * tests/reference/test_track.py's.
 */
#include "feeder.h"
#include "track/track.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TRACK	5 /* any */
#define FEEDERS 2

static struct tracked_service *element(const struct lab *lab)
{
	return map_part(lab->datapath, MAP_TRACKED_SERVICES, struct tracked_service, TRACK, 1);
}

static void begin_next_window(struct lab *lab)
{
	track_begin_window(lab->datapath, TRACK, track_window(lab->datapath, TRACK) + 1,
			   TRACK_KEEP_FLOWS, 0);
}

static struct lab_service *follow(struct lab *lab, uint32_t share, uint32_t factor)
{
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);

	service->tracked = true;
	service->track = TRACK;
	service->control_factor = factor;
	service->rollout_cohort = 1;
	service->service.idle_timeout_ms = 60000;
	service->service.unanswered_after_ms = 5000;
	lab_set_share(service, 1, share);
	track_close(lab->datapath, TRACK);
	assert_int_equal(track_open(lab->datapath, TRACK, &service->service), 0);
	lab_publish(lab);
	element(lab)->clock = 1000000;
	track_begin_window(lab->datapath, TRACK, 1, 0, 1000000);
	return service;
}

static struct track_counts counts_of(const struct lab *lab, int arm)
{
	struct track_counts counts;

	track_read(lab->datapath, TRACK, 0, arm, &counts);
	return counts;
}

static uint64_t sights(const struct lab *lab)
{
	return counts_of(lab, TRACK_CONTROL).sights + counts_of(lab, TRACK_CANARY).sights;
}

static void run_from(const struct lab *lab, uint32_t client)
{
	struct packet_plan plan = packet_tcp("198.18.0.0", 40000, LAB_VIP4, 80);
	struct run run;

	store16(plan.source.bytes + 2, client);
	plan.tcp_flags = FLAG_SYN;
	lab_run_plan(lab, &plan, &run);
}

/* ---- who ---- */

static void a_service_without_a_rollout_is_not_followed(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = follow(lab, 500000, 16);

	service->tracked = false;
	lab_publish(lab);
	run_from(lab, 1);
	assert_int_equal(sights(lab), 0);
	service->tracked = true;
	lab_publish(lab);
	run_from(lab, 1);
	assert_int_equal(sights(lab), 1);
}

static void pinned_clients_are_in_no_arm(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = follow(lab, 500000, 16);

	lab_add_pin(service, "198.18.0.0/24", 1, PIN_FOREVER);
	lab_publish(lab);
	run_from(lab, 1);
	assert_int_equal(sights(lab), 0);
	run_from(lab, 256);
	assert_int_equal(sights(lab), 1);
}

static void held_out_clients_are_in_no_arm(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = follow(lab, 500000, 16);
	struct decision_counter before, after;
	uint64_t held_out;
	int i;

	service->service.holdout_ppm = 500000;
	lab_publish(lab);
	before = lab_decision_counter(lab, service);
	for (i = 0; i < 100; i++)
		run_from(lab, i);
	after = lab_decision_counter(lab, service);
	held_out = after.packets[REASON_HOLDOUT] - before.packets[REASON_HOLDOUT];
	assert_in_range(held_out, 20, 80);
	assert_int_equal(sights(lab), 100 - held_out);
}

static void clients_of_a_killed_service_are_in_no_arm(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = follow(lab, 500000, 16);

	service_kill(lab->datapath, service->slot);
	run_from(lab, 1);
	assert_int_equal(sights(lab), 0);
	service_lift_kill(lab->datapath, service->slot,
			  service_kills(lab->datapath, service->slot));
	run_from(lab, 1);
	assert_int_equal(sights(lab), 1);
}

/* What explains changes nothing. */
static void explaining_a_packet_follows_nobody(void **state)
{
	struct lab *lab = *state;

	follow(lab, 500000, 16);
	lab->aside = true;
	run_from(lab, 1);
	lab->aside = false;
	assert_int_equal(sights(lab), 0);
}

static void a_client_is_in_the_arm_that_it_was_assigned_to_wherever_it_is_sent(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = follow(lab, 1000000, 4);

	service->backends[1][0].health = BACKEND_DOWN;
	lab_publish(lab);
	run_from(lab, 1);
	assert_int_equal(counts_of(lab, TRACK_CANARY).sights, 1);
	assert_int_equal(counts_of(lab, TRACK_CONTROL).sights, 0);
}

static void clients_are_counted_by_the_rule_that_decides_on_them(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = follow(lab, 500000, 16);
	struct prefix member = prefix_of("198.18.0.1");
	struct track_counts counts;
	uint64_t both;

	lab_add_rule(service, 0, 1, 0);
	service->shares[0][1] = 1000000;
	lab_add_member(lab, 0, &member);
	lab_publish(lab);
	run_from(lab, 1);
	run_from(lab, 2);
	track_read(lab->datapath, TRACK, 0, TRACK_CANARY, &counts);
	assert_int_equal(counts.sights, 1);
	assert_int_equal(sights(lab), 1); /* of rule 0 */
	track_read(lab->datapath, TRACK, 1, TRACK_CONTROL, &counts);
	both = counts.sights;
	track_read(lab->datapath, TRACK, 1, TRACK_CANARY, &counts);
	assert_int_equal(both + counts.sights, 1);
}

static void a_closed_service_leaves_no_record(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = follow(lab, 500000, 16);
	const struct tracked_client *clients =
		map_array(lab->datapath, MAP_TRACKED_CLIENTS, struct tracked_client);
	const struct tracked_flow *flows =
		map_array(lab->datapath, MAP_TRACKED_FLOWS, struct tracked_flow);
	static const struct tracked_client nothing;
	uint32_t i;

	for (i = 0; i < 100; i++)
		run_from(lab, i);
	assert_int_equal(sights(lab), 100);
	service->tracked = false;
	lab_publish(lab);
	track_close(lab->datapath, TRACK);
	for (i = 0; i < lab->datapath->maps[MAP_TRACKED_CLIENTS].entries; i++)
		assert_memory_equal(&clients[i], &nothing, sizeof(nothing));
	for (i = 0; i < lab->datapath->maps[MAP_TRACKED_FLOWS].entries; i++)
		assert_int_equal(flows[i].tag, TRACKED_FLOW_FREE);
}

static void nobody_is_turned_away_while_three_in_five_records_are_taken(void **state)
{
	struct lab *lab = *state;
	uint32_t count = lab->limits.tracked_clients / 5 * 3, i;

	follow(lab, 1000000, 4);
	for (i = 0; i < count; i++)
		run_from(lab, i);
	assert_int_equal(track_overflow(lab->datapath, TRACK), 0);
	assert_int_equal(sights(lab), count);
}

/* ---- firsts on many CPUs ---- */

static void stay_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

#define CLIENTS 512

/* Feeds a SYN of each client of the generation, again and again. */
struct feeding {
	struct feeder *feeder;
	struct frame frame;
	pthread_t thread;
	uint32_t generation; /* that its flows are of */
	int cpu, error;
};

static atomic_uint generation; /* of clients that take part now */
static atomic_bool is_over;

static void fill_flows(struct feeding *feeding, uint32_t wanted)
{
	struct fed_flow *flows = feeder_flows(feeding->feeder);
	uint32_t i;

	for (i = 0; i < CLIENTS; i++) {
		flows[i].source = htonl(0xc6120000 + wanted * CLIENTS + i);
		flows[i].port = htons(40000);
	}
	feeder_feed(feeding->feeder)->flows = CLIENTS;
	feeding->generation = wanted;
}

static void *feed_all(void *data)
{
	struct feeding *feeding = data;

	stay_on_cpu(feeding->cpu);
	while (!atomic_load(&is_over) && !feeding->error) {
		if (feeding->generation != atomic_load(&generation))
			fill_flows(feeding, atomic_load(&generation));
		feeding->error = feeder_run(feeding->feeder, &feeding->frame, 2 * CLIENTS);
	}
	return NULL;
}

static void begin_feeding(const struct lab *lab, struct feeding feeding[FEEDERS])
{
	int i;

	atomic_store(&is_over, false);
	atomic_store(&generation, 0);
	for (i = 0; i < FEEDERS; i++) {
		feeding[i] = (struct feeding){.feeder = feeder_open(lab, 1, NULL), .cpu = i};
		feeder_build(LAB_VIP4, FLAG_SYN, &feeding[i].frame);
		fill_flows(&feeding[i], 0);
	}
	for (i = 0; i < FEEDERS; i++)
		assert_int_equal(pthread_create(&feeding[i].thread, NULL, feed_all, &feeding[i]),
				 0);
}

static void end_feeding(struct feeding feeding[FEEDERS])
{
	int i;

	atomic_store(&is_over, true);
	for (i = 0; i < FEEDERS; i++) {
		pthread_join(feeding[i].thread, NULL);
		feeder_close(feeding[i].feeder);
		assert_int_equal(feeding[i].error, 0);
	}
}

/* Until all clients were seen, and some time more: each CPU has fed all of them many times. */
static void wait_until_all_are_seen(const struct lab *lab)
{
	int tries;

	for (tries = 0; counts_of(lab, TRACK_CANARY).events[METRIC_SYN_REPEATED] < CLIENTS;
	     tries++) {
		assert_in_range(tries, 0, 20000);
		usleep(1000);
	}
	usleep(20000);
}

static void sweep_all(struct lab *lab, struct track_sweep *sweep)
{
	while (track_sweep_step(sweep, lab->datapath, element(lab)->clock))
		;
}

static void assert_each_counted_once(const struct lab *lab)
{
	struct track_counts counts = counts_of(lab, TRACK_CANARY);

	assert_int_equal(counts.sights, CLIENTS);
	assert_int_equal(counts.clients, CLIENTS);
	assert_int_equal(counts.events[METRIC_SYN_REPEATED], CLIENTS);
	assert_int_equal(track_overflow(lab->datapath, TRACK), 0);
}

static void a_first_is_counted_once_on_all_cpus_in_every_window(void **state)
{
	struct lab *lab = *state;
	struct feeding feeding[FEEDERS];
	struct track_sweep *sweep;
	int window;

	follow(lab, 1000000, 4);
	assert_int_equal(track_sweep_new(lab->datapath, &sweep), 0);
	begin_feeding(lab, feeding);
	for (window = 0; window < 30; window++) {
		wait_until_all_are_seen(lab);
		sweep_all(lab, sweep);
		assert_each_counted_once(lab);
		begin_next_window(lab);
	}
	end_feeding(feeding);
	track_sweep_free(sweep);
}

/* ---- new clients on two CPUs at the same moment ---- */

#define BATCH 2000

static struct meeting {
	const struct lab *lab;
	atomic_uint arrived; /* both of client n are there: 2 * (n + 1) */
} meeting;

static void meet(uint32_t client)
{
	uint32_t spins = 0;

	atomic_fetch_add(&meeting.arrived, 1);
	while (atomic_load(&meeting.arrived) < 2 * (client + 1))
		if (++spins % 4096 == 0)
			sched_yield();
}

static void *send_with_the_other(void *data)
{
	uint32_t client;

	stay_on_cpu(*(int *)data);
	for (client = 0; client < BATCH; client++) {
		meet(client);
		run_from(meeting.lab, client);
	}
	return NULL;
}

static void a_client_whose_first_packets_come_on_two_cpus_at_once_is_one_client(void **state)
{
	struct lab *lab = *state;
	int cpus[2] = {0, 1}, batch, i;
	pthread_t threads[2];

	for (batch = 0; batch < 8; batch++) {
		lab_reset(lab);
		follow(lab, 1000000, 4);
		meeting.lab = lab;
		atomic_store(&meeting.arrived, 0);
		for (i = 0; i < 2; i++)
			assert_int_equal(
				pthread_create(&threads[i], NULL, send_with_the_other, &cpus[i]),
				0);
		for (i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(sights(lab), BATCH);
		assert_int_equal(counts_of(lab, TRACK_CANARY).clients, BATCH);
		/* Where the one was interrupted as it claimed the place, the other has none. */
		assert_in_range(track_overflow(lab->datapath, TRACK), 0, BATCH / 100);
	}
}

/* Four times as many clients as there are records come and go: each has left room for others. */
static void a_first_is_counted_once_while_records_are_freed_and_claimed(void **state)
{
	struct lab *lab = *state;
	struct feeding feeding[FEEDERS];
	struct track_sweep *sweep;
	uint32_t lap, laps = 4 * lab->limits.tracked_clients / CLIENTS, step;

	follow(lab, 1000000, 4);
	assert_int_equal(track_sweep_new(lab->datapath, &sweep), 0);
	begin_feeding(lab, feeding);
	for (lap = 1; lap <= laps; lap++) {
		wait_until_all_are_seen(lab);
		assert_each_counted_once(lab);
		atomic_store(&generation, lap);
		for (step = 0; step < 3; step++) { /* packets of both generations may come */
			usleep(10000);
			begin_next_window(lab);
			assert_in_range(counts_of(lab, TRACK_CANARY).sights, 0, 2 * CLIENTS);
			element(lab)->clock += 40 * 250; /* the old flows fall silent */
			sweep_all(lab, sweep);
		}
		usleep(10000);
		begin_next_window(lab);
	}
	end_feeding(feeding);
	assert_in_range(track_clients(sweep, TRACK, TRACK_CANARY), CLIENTS, 4 * CLIENTS);
	track_sweep_free(sweep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(a_service_without_a_rollout_is_not_followed),
		lab_test(pinned_clients_are_in_no_arm),
		lab_test(held_out_clients_are_in_no_arm),
		lab_test(clients_of_a_killed_service_are_in_no_arm),
		lab_test(explaining_a_packet_follows_nobody),
		lab_test(a_client_is_in_the_arm_that_it_was_assigned_to_wherever_it_is_sent),
		lab_test(clients_are_counted_by_the_rule_that_decides_on_them),
		lab_test(a_closed_service_leaves_no_record),
		lab_test(nobody_is_turned_away_while_three_in_five_records_are_taken),
		lab_test(a_first_is_counted_once_on_all_cpus_in_every_window),
		lab_test(a_client_whose_first_packets_come_on_two_cpus_at_once_is_one_client),
		lab_test(a_first_is_counted_once_while_records_are_freed_and_claimed),
	};

	return cmocka_run_group_tests(tests, lab_setup_group, lab_teardown_group);
}
