// SPDX-License-Identifier: GPL-2.0-only
/*
 * Next hops are the one part of a published view that is written in place. A packet goes out by one
 * next hop, whole (MAC, source MAC, interface and outer source belong together), or is dropped for
 * want of one: never by a mixture.
 */
#include "lab.h"
#include "holder.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define WAYS	     3
#define BACKENDS     8
#define MOVES	     40
#define HOLD	     60 /* milliseconds */
#define OUTER_SOURCE (14 + 12)

/* A next hop that shows in every part which one it is; the first way leaves where packets came in.
 */
static struct next_hop way(unsigned int number)
{
	struct next_hop hop = {
		.state = NEXT_HOP_RESOLVED,
		.ifindex = number ? LAB_EGRESS + number : LAB_INGRESS,
		.mac = {0x02, 0xbe, 0, number, 0, 1},
		.source_mac = {0x02, 0xff, 0, number, 0, 2},
		.mtu = 1500 + number,
		.source4 = {.family = 4, .bytes = {10, 9, 9, number}},
	};

	return hop;
}

static void fill_changes(const struct lab *lab, const struct next_hop *hop,
			 struct next_hop_change *changes)
{
	const struct view *view = datapath_view(lab->datapath, 0);
	int i;

	for (i = 0; i < BACKENDS; i++)
		changes[i] = (struct next_hop_change){datapath_backend(lab->datapath, view, i),
						      *hop, false};
}

static void move_all(struct lab *lab, const struct next_hop *hop)
{
	struct next_hop_change changes[BACKENDS];

	fill_changes(lab, hop, changes);
	assert_int_equal(next_hops_write(lab->datapath, changes, BACKENDS, lab->errors), 0);
}

static void publish_service(struct lab *lab)
{
	struct lab_service *service = lab_add_service(lab, "shop", STEER_IPIP);
	char address[32];
	int i;

	lab_add_vip(service, LAB_VIP4 ":80/tcp");
	for (i = 0; i < BACKENDS; i++) {
		snprintf(address, sizeof(address), "10.0.0.%d", i);
		lab_add_backend(service, 0, address, 100, LAB_INGRESS)->hop = way(0);
	}
	lab_publish(lab);
}

/* The way that the packet went; -1: dropped; -2: parts of it differ. */
static int way_of(const struct run *run)
{
	const uint8_t *bytes = run->out.bytes;
	int number = bytes[3];
	struct next_hop expected = way(number);

	if (run->verdict == XDP_DROP)
		return -1;
	if (run->verdict != (number ? XDP_REDIRECT : XDP_TX) || memcmp(bytes, expected.mac, 6) ||
	    memcmp(bytes + 6, expected.source_mac, 6) ||
	    memcmp(bytes + OUTER_SOURCE, expected.source4.bytes, 4))
		return -2;
	return number;
}

static int ask(const struct lab *lab, uint16_t port)
{
	struct packet_plan plan = packet_tcp("198.51.100.7", port, LAB_VIP4, 80);
	struct run run;

	lab_run_plan(lab, &plan, &run);
	return way_of(&run);
}

static void assert_all_go(const struct lab *lab, int expected)
{
	uint16_t port;

	for (port = 1; port <= 200; port++)
		assert_int_equal(ask(lab, port), expected);
}

/* ---- under traffic ---- */

struct traffic {
	const struct lab *lab;
	bool stop;
	uint64_t packets, torn, dropped, went[WAYS];
};

static void *run_traffic(void *argument)
{
	struct traffic *traffic = argument;
	uint16_t port = 0;

	while (!__atomic_load_n(&traffic->stop, __ATOMIC_RELAXED)) {
		int number = ask(traffic->lab, ++port);

		traffic->packets++;
		traffic->dropped += number == -1;
		traffic->torn += number < -1 || number >= WAYS;
		if (number >= 0 && number < WAYS)
			traffic->went[number]++;
	}
	return NULL;
}

static void start(struct lab *lab, struct traffic *traffic, pthread_t *threads)
{
	int i;

	for (i = 0; i < 2; i++) {
		traffic[i] = (struct traffic){.lab = lab};
		assert_int_equal(pthread_create(&threads[i], NULL, run_traffic, &traffic[i]), 0);
	}
}

static void stop(struct traffic *traffic, const pthread_t *threads)
{
	int i;

	for (i = 0; i < 2; i++) {
		__atomic_store_n(&traffic[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(threads[i], NULL);
	}
	assert_true(traffic[0].packets && traffic[1].packets);
}

static void a_packet_goes_by_one_next_hop_whole(void **state)
{
	struct lab *lab = *state;
	struct traffic traffic[2];
	pthread_t threads[2];
	uint64_t went[WAYS] = {0};
	int i, number;

	publish_service(lab);
	start(lab, traffic, threads);
	for (i = 1; i <= MOVES; i++) {
		struct next_hop hop = way(i % WAYS);

		move_all(lab, &hop);
		usleep(3000);
	}
	stop(traffic, threads);
	for (i = 0; i < 2; i++) {
		assert_int_equal(traffic[i].torn, 0);
		for (number = 0; number < WAYS; number++)
			went[number] += traffic[i].went[number];
	}
	for (number = 0; number < WAYS; number++)
		assert_true(went[number] > 0);
	assert_all_go(lab, MOVES % WAYS);
}

/* Another MAC behind the same interface is one store: no packet is dropped, and nobody waits. */
static void a_new_mac_alone_loses_no_packet(void **state)
{
	struct lab *lab = *state;
	struct traffic traffic[2];
	pthread_t threads[2];
	struct run run;
	int i;

	publish_service(lab);
	start(lab, traffic, threads);
	for (i = 0; i < 20000; i++) {
		struct next_hop hop = way(0);

		hop.mac[0] = 0x02 | (i % 2) << 2;
		hop.mac[5] = i % 2;
		move_all(lab, &hop);
	}
	stop(traffic, threads);
	for (i = 0; i < 2; i++) {
		struct packet_plan plan = packet_tcp("198.51.100.7", 1, LAB_VIP4, 80);

		assert_int_equal(traffic[i].dropped, 0);
		lab_run_plan(lab, &plan, &run);
		assert_int_equal(run.out.bytes[0], 0x06);
		assert_int_equal(run.out.bytes[5], 1);
	}
}

static void an_unknown_next_hop_drops_and_comes_back(void **state)
{
	struct packet_plan plan = packet_tcp("198.51.100.7", 1, LAB_VIP4, 80);
	struct next_hop unknown = {.state = NEXT_HOP_RESOLVING}, back = way(2);
	struct lab *lab = *state;
	struct frame frame;

	publish_service(lab);
	packet_build(&plan, &frame);
	move_all(lab, &unknown);
	lab_assert_dropped(lab, &frame, REASON_NO_NEXT_HOP);
	move_all(lab, &back);
	assert_all_go(lab, 2);
}

static void a_configured_outer_source_stays(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_tcp("198.51.100.7", 1, LAB_VIP4, 80);
	struct next_hop_change changes[BACKENDS];
	struct next_hop hop = way(2);
	struct run run;
	int i;

	publish_service(lab);
	fill_changes(lab, &hop, changes);
	for (i = 0; i < BACKENDS; i++)
		changes[i].own_source = true;
	assert_int_equal(next_hops_write(lab->datapath, changes, BACKENDS, lab->errors), 0);
	lab_run_plan(lab, &plan, &run);
	assert_int_equal(run.out.bytes[3], 2);
	assert_memory_equal(run.out.bytes + OUTER_SOURCE, way(0).source4.bytes, 4);
	for (i = 0; i < BACKENDS; i++) {
		assert_true(next_hop_is_current(changes[i].line, &hop, true));
		assert_false(next_hop_is_current(changes[i].line, &hop, false));
	}
}

/* ---- the order of the stores ---- */

struct writing {
	struct lab *lab;
	struct next_hop hop;
};

static void *write_next_hops(void *argument)
{
	struct writing *writing = argument;

	move_all(writing->lab, &writing->hop);
	return NULL;
}

/* A packet that read the valid word may still read the rest: that stays until the packet has ended.
 */
static void the_rest_is_not_written_under_a_packet(void **state)
{
	struct lab *lab = *state;
	struct backend_line before, now, *line;
	int i;

	publish_service(lab);
	line = datapath_backend(lab->datapath, datapath_view(lab->datapath, 0), BACKENDS - 1);
	for (i = 1; i <= 4; i++) {
		struct writing writing = {lab, way(i % WAYS)};
		struct holder *packet = holder_start(HOLD);
		pthread_t thread;

		before = *line;
		assert_int_equal(pthread_create(&thread, NULL, write_next_hops, &writing), 0);
		for (;;) {
			memcpy(&now, line, sizeof(now));
			if (holder_ended(packet))
				break;
			/* Only the word is written: it says "none" now, or still what it said. */
			assert_true(now.next_hop == before.next_hop || !now.next_hop);
			assert_memory_equal(&now.source_mac, &before.source_mac,
					    sizeof(now) -
						    offsetof(struct backend_line, source_mac));
			usleep(200);
		}
		pthread_join(thread, NULL);
		holder_free(packet);
		assert_all_go(lab, i % WAYS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(a_packet_goes_by_one_next_hop_whole),
		lab_test(a_new_mac_alone_loses_no_packet),
		lab_test(an_unknown_next_hop_drops_and_comes_back),
		lab_test(a_configured_outer_source_stays),
		lab_test(the_rest_is_not_written_under_a_packet),
	};

	return cmocka_run_group_tests_name("prog/next_hop", tests, lab_setup_group,
					   lab_teardown_group);
}
