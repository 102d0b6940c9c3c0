// SPDX-License-Identifier: GPL-2.0-only
/*
 * Promise 5: a packet sees exactly one view of its service, whole, and no swap loses or misroutes
 * one. Two threads send while the main one publishes. What each flow comes out as under either
 * policy is recorded before, in peace; the two differ in salt, shares, holdout, rings, backends and
 * outer header, so that a packet that saw a part of each comes out as neither.
 */
#include "lab.h"
#include "oracle.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define FLOWS	 512
#define SENDERS	 2
#define SECONDS	 2
#define POLICIES 2

struct sender {
	pthread_t thread;
	const struct lab *lab;
	uint64_t sent, wrong, of_policy[POLICIES], dropped;
};

static struct frame flows[FLOWS];
static struct run expected[POLICIES][FLOWS];
static bool may_drop;
static atomic_bool stop;

static bool runs_are_equal(const struct run *a, const struct run *b)
{
	return a->verdict == b->verdict && a->out.size == b->out.size &&
	       !memcmp(a->out.bytes, b->out.bytes, a->out.size);
}

static void *send_packets(void *argument)
{
	struct sender *sender = argument;
	struct run run;

	for (; !atomic_load(&stop); sender->sent++) {
		size_t flow = sender->sent % FLOWS;

		lab_run(sender->lab, &flows[flow], &run);
		if (runs_are_equal(&run, &expected[0][flow]))
			sender->of_policy[0]++;
		else if (runs_are_equal(&run, &expected[1][flow]))
			sender->of_policy[1]++;
		else if (may_drop && run.verdict == XDP_DROP)
			sender->dropped++;
		else
			sender->wrong++;
	}
	return NULL;
}

static void senders_start(const struct lab *lab, struct sender senders[SENDERS])
{
	int i;

	atomic_store(&stop, false);
	for (i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){.lab = lab};
		assert_int_equal(
			pthread_create(&senders[i].thread, NULL, send_packets, &senders[i]), 0);
	}
}

/*
 * All packets came out as one policy or the other, and of each there were some. Returns how many
 * were dropped.
 */
static uint64_t senders_finish(struct sender senders[SENDERS])
{
	uint64_t of_policy[POLICIES] = {0}, wrong = 0, dropped = 0;
	int i;

	atomic_store(&stop, true);
	for (i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		wrong += senders[i].wrong;
		dropped += senders[i].dropped;
		of_policy[0] += senders[i].of_policy[0];
		of_policy[1] += senders[i].of_policy[1];
	}
	assert_int_equal(wrong, 0);
	assert_true(of_policy[0] > FLOWS && of_policy[1] > FLOWS);
	return dropped;
}

static void build_flows(void)
{
	size_t i;

	for (i = 0; i < FLOWS; i++) {
		struct packet_plan plan =
			i & 1 ? packet_tcp("2001:db8:1::1", 1024 + i, LAB_VIP6, 80)
			      : packet_tcp("198.51.0.0", 1024 + i, LAB_VIP4, 80);

		store16(plan.source.bytes + (i & 1 ? 6 : 2), i * 251);
		packet_build(&plan, &flows[i]);
	}
}

/* The service under policy @number: nothing of it is the other one's. */
static void set_policy(struct lab_service *service, int number)
{
	static const char *const salts[POLICIES] = {"shop/v1", "shop/v2"};
	struct service *s = &service->service;
	char address[32];
	size_t cohort, i;

	free(s->salt);
	s->salt = strdup(salts[number]);
	s->encap_ttl = 11 + number;
	s->holdout_ppm = 100000 * (1 + number);
	lab_set_cohorts(service, 3 + number);
	for (cohort = 0; cohort < s->cohorts_count; cohort++) {
		s->cohorts[cohort].backends_count = 0;
		for (i = 0; i < (number ? 5 : 13); i++) {
			struct lab_backend *backend;

			snprintf(address, sizeof(address), "10.%d.%zu.%zu", number, cohort, i);
			backend =
				lab_add_backend(service, cohort, address, 100 - 7 * i, LAB_INGRESS);
			backend->hop.mac[3] = number;
			backend->hop.source_mac[5] = number;
			backend->hop.source4.bytes[3] = number;
		}
		lab_set_share(service, cohort, cohort ? 120000 + 130000 * number : 0);
	}
}

static void record(const struct lab *lab, int policy)
{
	size_t i;

	for (i = 0; i < FLOWS; i++) {
		lab_run(lab, &flows[i], &expected[policy][i]);
		assert_int_equal(expected[policy][i].verdict, XDP_TX);
		assert_int_equal(expected[policy][i].out.bytes[3],
				 policy); /* of the backend's MAC */
	}
}

static struct lab_service *add_service(struct lab *lab)
{
	struct lab_service *service = lab_add_service(lab, "shop", STEER_IPIP);

	lab_add_vip(service, LAB_VIP4 ":80/tcp");
	lab_add_vip(service, "[" LAB_VIP6 "]:80/tcp");
	return service;
}

/* Publishes and records either policy, and keeps their images for more. */
static struct lab_service *prepare(struct lab *lab, struct lab_image images[POLICIES])
{
	struct lab_service *service = add_service(lab);
	int i;

	build_flows();
	may_drop = false;
	for (i = 0; i < POLICIES; i++) {
		set_policy(service, i);
		lab_publish(lab);
		record(lab, i);
		lab_compile(service, &images[i]);
	}
	return service;
}

static void release(struct lab_image images[POLICIES])
{
	int i;

	for (i = 0; i < POLICIES; i++)
		lab_image_release(&images[i]);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void show(struct lab *lab, uint32_t slot, const struct lab_image *image, uint64_t epoch)
{
	struct view_image once = image->image;
	struct publication *publication;

	assert_int_equal(publication_begin(lab->datapath, &publication, lab->errors), 0);
	assert_int_equal(publication_stage(publication, slot, "shop", &once, epoch, image->hops,
					   NULL, NULL, lab->errors),
			 0);
	assert_int_equal(publication_show(publication, lab->errors), 0);
	publication_end(publication);
}

static void promise_5_publishing_shows_each_packet_one_whole_view(void **state)
{
	struct lab *lab = *state;
	struct lab_image images[POLICIES];
	struct lab_service *service = prepare(lab, images);
	struct sender senders[SENDERS];
	uint64_t until = now_ns() + SECONDS * 1000000000ULL, epoch = 10;

	senders_start(lab, senders);
	while (now_ns() < until) {
		show(lab, service->slot, &images[epoch & 1], epoch);
		epoch++;
	}
	senders_finish(senders);
	assert_true(epoch > 20);
	release(images);
}

/* The store itself, as fast as it goes: both views stay as they are. */
static void promise_5_one_store_swaps_the_view(void **state)
{
	struct lab *lab = *state;
	struct lab_image images[POLICIES];
	struct lab_service *service = prepare(lab, images);
	struct service_cell *cell =
		map_array(lab->datapath, MAP_CELLS, struct service_cell) + service->slot;
	uint64_t until = now_ns() + SECONDS * 1000000000ULL, swaps = 0;
	struct sender senders[SENDERS];
	uint32_t views[POLICIES];
	int i;

	for (i = 0; i < POLICIES; i++) {
		show(lab, service->slot, &images[i], 10 + i);
		views[i] = cell->view;
	}
	assert_int_not_equal(views[0], views[1]);
	senders_start(lab, senders);
	for (; now_ns() < until; swaps++)
		__atomic_store_n(&cell->view, views[swaps & 1], __ATOMIC_RELEASE);
	senders_finish(senders);
	assert_true(swaps > 100000);
	release(images);
}

/*
 * The VIPs go from one service to another and back, in a table full of others: one of the two
 * always has them.
 */
static void promise_5_swapping_the_vip_table_loses_no_packet(void **state)
{
	struct lab *lab = *state;
	struct lab_service *services[POLICIES];
	struct sender senders[SENDERS];
	uint64_t until, rounds = 0;
	char vip[32];
	int i;

	build_flows();
	may_drop = false;
	services[0] = add_service(lab);
	services[1] = lab_add_service(lab, "shop-2", STEER_IPIP);
	for (i = 0; i < POLICIES; i++)
		set_policy(services[i], i);
	for (i = 0; i < 100; i++) {
		snprintf(vip, sizeof(vip), "203.0.113.%d:80/tcp", i);
		lab_add_vip(services[1], vip);
	}
	lab_publish(lab);
	record(lab, 0);
	for (i = 0; i < 2; i++)
		lab_add_vip(services[1], i ? LAB_VIP4 ":80/tcp" : "[" LAB_VIP6 "]:80/tcp");
	services[0]->service.vips_count = 0;
	lab_publish(lab);
	record(lab, 1);
	senders_start(lab, senders);
	for (until = now_ns() + SECONDS * 1000000000ULL; now_ns() < until; rounds++) {
		services[0]->service.vips_count = rounds & 1 ? 0 : 2;
		services[1]->service.vips_count = rounds & 1 ? 102 : 100;
		lab_publish(lab);
	}
	senders_finish(senders);
	assert_true(rounds > 20);
	services[0]->service.vips_count = 2;
}

/* Next hop @number of backend line @line: the two differ in everything. */
static struct next_hop hop_of(size_t line, int number)
{
	struct next_hop hop = {
		.state = NEXT_HOP_RESOLVED,
		.ifindex = number ? LAB_EGRESS : LAB_INGRESS,
		.source_mac = {0x02, 0xff, number, number, number, number},
		.source4 = address_of(number ? "10.9.9.2" : "10.9.9.1"),
		.mtu = number ? 9000 : 1500,
	};

	memset(hop.mac, number, sizeof(hop.mac));
	hop.mac[0] = 0x02;
	hop.mac[5] = line;
	return hop;
}

static void write_hops(struct lab *lab, size_t lines, int number)
{
	const struct view *view = datapath_view(lab->datapath, 0);
	struct next_hop_change changes[16];
	size_t i;

	for (i = 0; i < lines; i++)
		changes[i] = (struct next_hop_change){
			.line = datapath_backend(lab->datapath, view, i),
			.hop = hop_of(i, number),
		};
	assert_int_equal(next_hops_write(lab->datapath, changes, lines, lab->errors), 0);
	for (i = 0; i < lines; i++)
		assert_true(next_hop_is_current(changes[i].line, &changes[i].hop, false));
}

static void a_next_hop_is_seen_whole_or_not_at_all(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab);
	struct sender senders[SENDERS];
	uint64_t until, rounds = 0;
	char address[32];
	size_t i;

	build_flows();
	may_drop = true; /* while it is none, the FIB may not be asked: the file gives the way */
	for (i = 0; i < 8; i++) {
		snprintf(address, sizeof(address), "10.0.0.%zu", i);
		lab_add_backend(service, 0, address, 100, LAB_INGRESS)->backend.has_mac = true;
	}
	lab_publish(lab);
	for (i = 0; i < POLICIES; i++) {
		size_t flow;

		write_hops(lab, 8, i);
		for (flow = 0; flow < FLOWS; flow++)
			lab_run(lab, &flows[flow], &expected[i][flow]);
		assert_int_equal(expected[i][0].verdict, i ? XDP_REDIRECT : XDP_TX);
	}
	senders_start(lab, senders);
	for (until = now_ns() + SECONDS * 1000000000ULL; now_ns() < until; rounds++) {
		write_hops(lab, 8, rounds & 1);
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* to let some through */
	}
	assert_true(senders_finish(senders) > 0);
	assert_true(rounds > 10);
}

/* Only the MAC of the backend changes: one store, and no packet is lost over it. */
static void a_new_mac_costs_no_packet(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab);
	struct next_hop hops[POLICIES];
	struct sender senders[SENDERS];
	struct next_hop_change change;
	uint64_t until, rounds = 0;
	size_t i, flow;

	build_flows();
	may_drop = false;
	lab_add_backend(service, 0, "10.0.0.1", 100, LAB_INGRESS);
	lab_publish(lab);
	change.line = datapath_backend(lab->datapath, datapath_view(lab->datapath, 0), 0);
	change.own_source = false;
	for (i = 0; i < POLICIES; i++) {
		hops[i] = hop_of(0, 0);
		hops[i].mac[3] = i;
		change.hop = hops[i];
		assert_int_equal(next_hops_write(lab->datapath, &change, 1, lab->errors), 0);
		for (flow = 0; flow < FLOWS; flow++)
			lab_run(lab, &flows[flow], &expected[i][flow]);
	}
	senders_start(lab, senders);
	for (until = now_ns() + SECONDS * 1000000000ULL / 2; now_ns() < until; rounds++) {
		change.hop = hops[rounds & 1];
		assert_int_equal(next_hops_write(lab->datapath, &change, 1, lab->errors), 0);
	}
	senders_finish(senders);
	assert_true(rounds > 10000); /* no grace period was waited for */
}

static void kill_holds_for_every_packet_after_it(void **state)
{
	struct lab *lab = *state;
	struct lab_image images[POLICIES];
	struct lab_service *service = prepare(lab, images);
	struct run run;
	size_t i, round;

	for (round = 0; round < 20; round++) {
		show(lab, service->slot, &images[round & 1], round);
		service_kill(lab->datapath, service->slot);
		for (i = 0; i < FLOWS; i++) {
			lab_run(lab, &flows[i], &run);
			assert_int_equal(lab_cohort_of(&run), 0);
		}
		assert_true(service_is_killed(lab->datapath, service->slot));
		service_lift_kill(lab->datapath, service->slot,
				  service_kills(lab->datapath, service->slot));
	}
	release(images);
}

static void what_does_not_fit_is_refused_and_changes_nothing(void **state)
{
	struct lab *lab =
		lab_open(lab_secret, (struct limits){.services = 4, .vips = 8, .backends = 16});
	struct lab_service *service = add_service(lab);
	struct publication *publication;
	struct lab_image image;
	struct run before, after;
	char address[32];
	int i;

	(void)state;
	build_flows();
	lab_add_backend(service, 0, "10.0.0.1", 100, LAB_INGRESS);
	lab_publish(lab);
	lab_run(lab, &flows[0], &before);
	for (i = 0; i < 200; i++) {
		snprintf(address, sizeof(address), "10.0.1.%d", i);
		lab_add_backend(service, 0, address, 100, LAB_INGRESS);
	}
	lab_compile(service, &image);
	assert_int_equal(publication_begin(lab->datapath, &publication, lab->errors), 0);
	assert_int_equal(publication_stage(publication, 0, "shop", &image.image, 2, image.hops,
					   NULL, NULL, lab->errors),
			 -28);
	assert_int_equal(errors_count(lab->errors), 1);
	publication_end(publication);
	lab_image_release(&image);
	lab_run(lab, &flows[0], &after);
	assert_true(runs_are_equal(&before, &after));
	lab_close(lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(promise_5_publishing_shows_each_packet_one_whole_view),
		lab_test(promise_5_one_store_swaps_the_view),
		lab_test(promise_5_swapping_the_vip_table_loses_no_packet),
		lab_test(a_next_hop_is_seen_whole_or_not_at_all),
		lab_test(a_new_mac_costs_no_packet),
		lab_test(kill_holds_for_every_packet_after_it),
		lab_test(what_does_not_fit_is_refused_and_changes_nothing),
	};

	return cmocka_run_group_tests_name("prog/publish", tests, lab_setup_group,
					   lab_teardown_group);
}
