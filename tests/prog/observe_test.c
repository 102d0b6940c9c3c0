// SPDX-License-Identifier: GPL-2.0-only
/*
 * What records say of clients, packet by packet, against a model that is told the same packets:
 * counts that are exact, whose they are, and what is not observed. Under load: observe_load_test.c.
 */
#include "holder.h"
#include "observe/features.h"
#include "observing.h"
#include "tests/random.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENTS	 40
#define SERVICES 5
#define PACKETS	 20000
#define SECONDS	 4

/* What a client did; seconds that a packet began and ended in another one are not known for sure.
 */
struct done {
	struct address client, key; /* as packets have it, and cut to the box's form */
	uint64_t packets, bytes, flows, services;
	uint32_t first_least, first_most, last_least, last_most;
	uint32_t sure, unsure; /* seconds; the last that each counted */
	uint32_t sure_last;
};

struct model {
	struct lab *lab;
	struct random random;
	struct lab_service *services[SERVICES];
	struct done clients[CLIENTS];
};

static struct address cut(const struct address *address)
{
	struct prefix whole = {*address, address->family == 4 ? 32 : 128};

	return prefix_shorten(&whole, 32, 64).address;
}

static void add_services(struct model *model)
{
	char vip[64];
	int i;

	for (i = 0; i < SERVICES; i++) {
		struct lab_service *service = lab_add_service(model->lab, "", STEER_L2);

		snprintf(service->service.name, NAME_SIZE, "s%d", i);
		snprintf(vip, sizeof(vip), "192.0.2.%d:80/tcp", i + 1);
		lab_add_vip(service, vip);
		snprintf(vip, sizeof(vip), "[2001:db8::%d]:80/tcp", i + 1);
		lab_add_vip(service, vip);
		snprintf(vip, sizeof(vip), "192.0.2.%d:80/udp", i + 1);
		lab_add_vip(service, vip);
		lab_add_backend(service, 0, "10.0.0.11", 100, LAB_INGRESS);
		lab_add_backend(service, 1, "10.0.1.11", 100, LAB_INGRESS);
		model->services[i] = service;
	}
	/* Whatever a service sees as a client, records are of the box's clients. */
	model->services[1]->service.client_key = CLIENT_KEY_FLOW;
	model->services[2]->service.prefix4 = 16;
	model->services[2]->service.prefix6 = 48;
	model->services[3]->service.enforce = false;
	lab_publish(model->lab);
}

static void begin(struct model *model, struct lab *lab, const char *test)
{
	int i;

	*model = (struct model){.lab = lab, .random = random_seeded(test)};
	add_services(model);
	for (i = 0; i < CLIENTS; i++) {
		struct done *client = &model->clients[i];

		client->client = random_address(&model->random, i % 2 ? 4 : 6);
		client->key = cut(&client->client);
	}
}

static struct packet_plan random_packet(struct model *model, const struct done *client,
					size_t service)
{
	bool is_ipv4 = client->client.family == 4;
	struct packet_plan plan = packet_tcp(is_ipv4 ? "10.0.0.1" : "2001:db8::1", 1024,
					     is_ipv4 ? "192.0.2.1" : "2001:db8::1", 80);

	plan.source = client->client;
	plan.destination.bytes[is_ipv4 ? 3 : 15] = service + 1;
	plan.source_port = random_below(&model->random, 65536);
	plan.tcp_flags = random_below(&model->random, 256);
	plan.payload = random_below(&model->random, 1400);
	plan.tags = random_below(&model->random, 3);
	if (is_ipv4 && !random_below(&model->random, 4))
		plan.protocol = IPPROTO_UDP;
	return plan;
}

static bool starts_flow(const struct packet_plan *plan)
{
	return plan->protocol == IPPROTO_TCP &&
	       (plan->tcp_flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN;
}

/* It was sent in a second from @least to @most, of which a packet sees one. */
static void note_time(struct done *client, uint32_t least, uint32_t most)
{
	if (!client->packets) {
		client->first_least = least;
		client->first_most = most;
	}
	client->last_least = least;
	client->last_most = most;
	if (least != most)
		client->unsure += most - least + 1;
	else if (client->sure_last != least)
		client->sure++;
	if (least == most)
		client->sure_last = least;
}

static void send_one(struct model *model, struct done *client)
{
	size_t service = random_below(&model->random, SERVICES);
	struct packet_plan plan = random_packet(model, client, service);
	struct frame frame;
	struct run run;
	uint32_t before;

	packet_build(&plan, &frame);
	before = observing_now(model->lab);
	lab_run(model->lab, &frame, &run);
	note_time(client, before, observing_now(model->lab));
	client->packets++;
	client->bytes += frame.size;
	client->flows += starts_flow(&plan);
	client->services |= 1ULL << model->services[service]->slot;
}

static void assert_as_done(const struct observed_list *list, const struct done *client)
{
	const struct observed_client *record = observing_find(list, &client->key);

	assert_non_null(record);
	assert_int_equal(record->packets, client->packets);
	assert_int_equal(record->bytes, client->bytes);
	assert_int_equal(observed_flows(record), client->flows);
	assert_int_equal(record->services, client->services);
	assert_in_range(observed_active(record), client->sure, client->sure + client->unsure);
	assert_in_range(record->first, client->first_least, client->first_most);
	assert_in_range(record->last, client->last_least, client->last_most);
}

static void unsampled_counts_are_exact_for_random_traffic(void **state)
{
	static struct model model;
	struct observed_list list;
	uint32_t begun;
	int i;

	begin(&model, *state, __func__);
	lab_observe(model.lab, 1);
	begun = observing_now(model.lab);
	for (i = 0; i < PACKETS || observing_now(model.lab) < begun + SECONDS; i++) {
		send_one(&model, &model.clients[random_below(&model.random, CLIENTS)]);
		if (i >= PACKETS)
			usleep(1000);
	}
	list = observing_read(model.lab);
	assert_int_equal(list.count, CLIENTS);
	for (i = 0; i < CLIENTS; i++)
		assert_as_done(&list, &model.clients[i]);
	assert_true(model.clients[0].sure >= SECONDS - 1);
	observed_list_release(&list);
}

/* Initial, 0-RTT and Handshake of QUIC version 1 (RFC 9000, section 17.2), then a short header. */
static void a_quic_initial_starts_a_flow_and_its_other_packets_do_not(void **state)
{
	static const uint8_t firsts[] = {0xc0, 0xd0, 0xe0, 0x40};
	struct lab *lab = *state;
	struct packet_plan plan = packet_udp("198.51.100.7", 40000, LAB_VIP4, 443);
	struct address client = address_of("198.51.100.7");
	struct lab_service *service = lab_add_service(lab, "quic", STEER_L2);
	struct observed_list list;
	struct frame frame;
	struct run run;
	uint64_t syns;
	size_t i;

	lab_add_vip(service, LAB_VIP4 ":443/udp");
	lab_add_backend(service, 0, "10.0.0.11", 100, LAB_INGRESS);
	lab_publish(lab);
	syns = lab_rule_counter(lab, service, 0, 0).syns;
	lab_observe(lab, 65536); /* packets are all but never drawn: starts are counted */
	plan.payload = 1200;
	for (i = 0; i < sizeof(firsts); i++) {
		uint8_t *payload;

		packet_build(&plan, &frame);
		payload = frame.bytes + frame.size - plan.payload;
		memcpy(payload, "\0\0\0\0\1\x08twelve34\0\0\x44\x60", 18);
		payload[0] = firsts[i];
		lab_run(lab, &frame, &run);
	}
	list = observing_read(lab);
	assert_int_equal(list.count, 1);
	assert_int_equal(observed_flows(observing_find(&list, &client)), 1);
	assert_int_equal(lab_rule_counter(lab, service, 0, 0).syns, syns + 1);
	observed_list_release(&list);
}

/* ---- whose a packet is ---- */

static uint64_t packets_of(const struct lab *lab, const char *client)
{
	struct address address = address_of(client);
	struct observed_list list = observing_read(lab);
	const struct observed_client *record = observing_find(&list, &address);
	uint64_t packets = record ? record->packets : 0;

	observed_list_release(&list);
	return packets;
}

static void run_from(const struct lab *lab, const char *source)
{
	struct packet_plan plan =
		packet_tcp(source, 40000, strchr(source, ':') ? LAB_VIP6 : LAB_VIP4, 80);
	struct run run;

	lab_run_plan(lab, &plan, &run);
}

static void a_client_is_its_source_cut_to_the_form_of_the_box(void **state)
{
	struct lab *lab = *state;
	struct observe_counter counter;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_from(lab, "2001:db8:1:2:3::4");
	run_from(lab, "2001:db8:1:2:ffff::1");
	run_from(lab, "2001:db8:1:3::1");
	assert_int_equal(packets_of(lab, "2001:db8:1:2::"), 2);
	assert_int_equal(packets_of(lab, "2001:db8:1:3::"), 1);
	run_from(lab, "198.51.100.7");
	assert_int_equal(packets_of(lab, "198.51.100.7"), 1);
	counter = observing_counter(lab);
	assert_int_equal(observed_clients(lab->datapath, &counter), 3);
}

/* An IPv6 packet whose source is IPv4-mapped. */
static void an_ipv4_mapped_source_is_the_ipv4_client(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_tcp("2001:db8::9", 40000, LAB_VIP6, 80);
	struct run run;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	memcpy(plan.source.bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x07", 16);
	lab_run_plan(lab, &plan, &run);
	run_from(lab, "198.51.100.7");
	assert_int_equal(packets_of(lab, "198.51.100.7"), 2);
}

/* ---- what is not observed ---- */

static uint64_t observed_packets(const struct lab *lab)
{
	struct observed_list list = observing_read(lab);
	struct observe_counter none = {0}, sum = observing_sum(lab, &list, &none);

	observed_list_release(&list);
	return sum.packets;
}

static void nothing_is_written_while_it_is_off(void **state)
{
	struct lab *lab = *state;
	struct observe_counter before = observing_counter(lab), after;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	run_from(lab, "198.51.100.7");
	after = observing_counter(lab);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void explaining_and_other_traffic_are_not_observed(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_tcp("198.51.100.7", 40000, LAB_VIP4, 80);
	uint64_t before;
	struct run run;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	before = observed_packets(lab);
	lab_explain(lab, &plan);
	plan.destination = address_of("192.0.2.99");
	lab_run_plan(lab, &plan, &run);
	assert_int_equal(observed_packets(lab), before);
	plan.destination = address_of(LAB_VIP4);
	lab_run_plan(lab, &plan, &run);
	assert_int_equal(observed_packets(lab), before + 1);
}

/* ---- beginning anew ---- */

static void start(struct lab *lab, uint8_t prefix4, uint8_t prefix6, uint32_t sample)
{
	struct observe_settings settings = {prefix4, prefix6, sample};

	assert_int_equal(observed_start(lab->datapath, &settings, lab->errors), 0);
}

static void another_form_of_clients_begins_anew_another_sample_does_not(void **state)
{
	struct lab *lab = *state;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_from(lab, "198.51.100.7");
	start(lab, 32, 64, 5);
	start(lab, 32, 64, 1);
	run_from(lab, "198.51.100.7");
	assert_int_equal(packets_of(lab, "198.51.100.7"), 2);
	start(lab, 24, 128, 1);
	assert_int_equal(packets_of(lab, "198.51.100.7"), 0);
	run_from(lab, "198.51.100.7");
	run_from(lab, "198.51.100.8");
	run_from(lab, "2001:db8:1:2::3");
	run_from(lab, "2001:db8:1:2::4");
	assert_int_equal(packets_of(lab, "198.51.100.0"), 2);
	assert_int_equal(packets_of(lab, "2001:db8:1:2::3"), 1);
}

/* A run that counts into a record does so before the records are cleared for another form. */
static void it_waits_for_packets_before_records_are_cleared(void **state)
{
	struct lab *lab = *state;
	struct holder *holder;

	lab_observe(lab, 1);
	holder = holder_start(60);
	start(lab, 24, 64, 1);
	assert_true(holder_ended(holder));
	holder_free(holder);
}

/* ---- taking ---- */

static struct observed_take take_all(struct lab *lab)
{
	struct observed_take take = {0};
	int more = 1;

	while (more == 1)
		more = observed_take_some(lab->datapath, &take, 1000);
	assert_int_equal(more, 0);
	assert_int_equal(observed_take_end(lab->datapath, &take, lab->errors), 0);
	return take;
}

static uint64_t clients_with_a_record(const struct lab *lab)
{
	struct observe_counter counter = observing_counter(lab);

	return observed_clients(lab->datapath, &counter);
}

static void run_some(const struct lab *lab)
{
	run_from(lab, "198.51.100.7");
	run_from(lab, "198.51.100.7");
	run_from(lab, "2001:db8:1:2::3");
}

static void what_is_taken_is_what_was_counted_and_nothing_is_left(void **state)
{
	struct lab *lab = *state;
	struct observed_list before, after;
	struct observed_take take;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_some(lab);
	before = observing_read(lab);
	take = take_all(lab);
	after = observing_read(lab);
	observed_merge(&take.list);
	assert_int_equal(before.count, 2);
	assert_int_equal(take.list.count, 2);
	assert_int_equal(after.count, 0);
	assert_memory_equal(take.list.clients, before.clients, 2 * sizeof(*before.clients));
	run_from(lab, "198.51.100.7");
	assert_int_equal(packets_of(lab, "198.51.100.7"), 1); /* of the next window */
	observed_list_release(&before);
	observed_take_release(&take);
}

/* So that who claims it next begins with nothing, and is nobody until its address is written. */
static void assert_free_records_are_empty(const struct lab *lab)
{
	const struct observed_client *all =
		map_array(lab->datapath, MAP_OBSERVED, struct observed_client);
	static const struct observed_client empty;
	uint32_t i;

	for (i = 0; i < lab->datapath->maps[MAP_OBSERVED].entries; i++)
		if (all[i].tag == OBSERVED_FREE)
			assert_memory_equal(&all[i], &empty, sizeof(empty));
}

/* Who was there in a window keeps the record through the next one, and no longer. */
static void a_record_is_freed_when_its_client_was_away_for_a_whole_window(void **state)
{
	struct lab *lab = *state;
	struct observed_take take;
	int window;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_some(lab);
	for (window = 0; window < 3; window++) {
		assert_int_equal(clients_with_a_record(lab), window < 2 ? 2 : 1);
		run_from(lab, "198.51.100.7");
		take = take_all(lab);
		assert_int_equal(take.list.count, window ? 1 : 2);
		observed_take_release(&take);
		assert_free_records_are_empty(lab);
	}
	run_some(lab);
	assert_int_equal(packets_of(lab, "198.51.100.7"), 2);
	assert_int_equal(packets_of(lab, "2001:db8:1:2::"), 1);
	assert_int_equal(clients_with_a_record(lab), 2);
}

/* A run that had found a record before it was dying counts into it until it ends. */
static void no_record_is_freed_before_all_runs_that_may_have_found_it_have_ended(void **state)
{
	struct lab *lab = *state;
	struct observed_take take = {0};
	struct holder *holder;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_some(lab);
	take = take_all(lab);
	observed_take_release(&take);
	holder = holder_start(60);
	while (observed_take_some(lab->datapath, &take, 1000) == 1)
		;
	assert_int_equal(take.late_count, 2);
	assert_int_equal(observed_take_end(lab->datapath, &take, lab->errors), 0);
	assert_true(holder_ended(holder));
	assert_int_equal(clients_with_a_record(lab), 0);
	holder_free(holder);
	observed_take_release(&take);
}

static struct observed_client *record_of(const struct lab *lab, const char *client)
{
	struct observed_client *all =
		map_array(lab->datapath, MAP_OBSERVED, struct observed_client);
	struct address address = address_of(client);
	uint64_t high, low;
	uint32_t i;

	address_words(&address, &high, &low);
	for (i = 0; i < lab->datapath->maps[MAP_OBSERVED].entries; i++)
		if (all[i].high == high && all[i].low == low)
			return &all[i];
	return NULL;
}

/* What such a run counts while the record is dying is the client's, and in this window. */
static void what_is_counted_while_a_record_dies_is_not_lost(void **state)
{
	struct lab *lab = *state;
	struct observed_take take;
	struct observed_client *record;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_some(lab);
	take = take_all(lab);
	observed_take_release(&take);
	while (observed_take_some(lab->datapath, &take, 1000) == 1)
		;
	record = record_of(lab, "2001:db8:1:2::");
	assert_int_equal(record->tag, OBSERVED_DYING);
	record->packets += 3; /* as the run would */
	record->bytes += 300;
	run_from(lab, "2001:db8:1:2::3"); /* a later packet finds another record */
	assert_int_equal(observed_take_end(lab->datapath, &take, lab->errors), 0);
	assert_int_equal(take.list.count, 1);
	assert_int_equal(take.list.clients[0].packets, 3);
	assert_int_equal(take.list.clients[0].bytes, 300);
	assert_int_equal(record->tag, OBSERVED_FREE);
	assert_int_equal(packets_of(lab, "2001:db8:1:2::"), 1);
	observed_take_release(&take);
}

/* A writer who died left records that no packet finds: the next window's end frees them. */
static void records_that_were_left_dying_are_freed_by_the_next(void **state)
{
	struct lab *lab = *state;
	struct observed_take take;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_some(lab);
	take = take_all(lab);
	observed_take_release(&take);
	while (observed_take_some(lab->datapath, &take, 1000) == 1)
		;
	observed_take_release(&take); /* and no end */
	assert_int_equal(clients_with_a_record(lab), 2);
	take = take_all(lab);
	assert_int_equal(clients_with_a_record(lab), 0);
	observed_take_release(&take);
}

/* The tag is written first: in between a record's address is nobody's. */
static void a_record_whose_address_is_not_written_yet_is_looked_at_again(void **state)
{
	struct lab *lab = *state;
	struct observed_take take = {0};
	struct observed_client *record;
	uint64_t low;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_from(lab, "198.51.100.7");
	record = record_of(lab, "198.51.100.7");
	low = record->low;
	record->low = 0;
	assert_int_equal(packets_of(lab, "::"), 0);
	while (observed_take_some(lab->datapath, &take, 1000) == 1)
		;
	assert_int_equal(take.list.count, 0);
	record->low = low;
	assert_int_equal(observed_take_end(lab->datapath, &take, lab->errors), 0);
	assert_int_equal(take.list.count, 1);
	assert_int_equal(take.list.clients[0].low, low);
	observed_take_release(&take);
}

/* A source in ::/64 is as one without an address; it is a client all the same. */
static void no_address_is_left_out(void **state)
{
	struct lab *lab = *state;
	struct observed_take take;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_from(lab, "::1:2:3");
	run_from(lab, "0.0.0.0");
	take = take_all(lab);
	assert_int_equal(take.list.count, 2);
	observed_take_release(&take);
}

static void what_is_put_back_is_as_if_it_had_never_been_taken(void **state)
{
	struct lab *lab = *state;
	struct observed_list before, after;
	struct observed_take take;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	lab_observe(lab, 1);
	run_some(lab);
	before = observing_read(lab);
	take = take_all(lab);
	assert_int_equal(observed_put_back(lab->datapath, &take), 0);
	after = observing_read(lab);
	assert_int_equal(after.count, before.count);
	assert_memory_equal(after.clients, before.clients, before.count * sizeof(*before.clients));
	observed_take_release(&take);
	take = take_all(lab);
	run_from(lab, "198.51.100.7"); /* meanwhile */
	assert_int_equal(observed_put_back(lab->datapath, &take), 0);
	assert_int_equal(packets_of(lab, "198.51.100.7"), 3);
	observed_list_release(&before);
	observed_list_release(&after);
	observed_take_release(&take);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(unsampled_counts_are_exact_for_random_traffic),
		lab_test(a_quic_initial_starts_a_flow_and_its_other_packets_do_not),
		lab_test(a_client_is_its_source_cut_to_the_form_of_the_box),
		lab_test(an_ipv4_mapped_source_is_the_ipv4_client),
		lab_test(nothing_is_written_while_it_is_off),
		lab_test(explaining_and_other_traffic_are_not_observed),
		lab_test(another_form_of_clients_begins_anew_another_sample_does_not),
		lab_test(it_waits_for_packets_before_records_are_cleared),
		lab_test(what_is_taken_is_what_was_counted_and_nothing_is_left),
		lab_test(a_record_is_freed_when_its_client_was_away_for_a_whole_window),
		lab_test(no_record_is_freed_before_all_runs_that_may_have_found_it_have_ended),
		lab_test(what_is_counted_while_a_record_dies_is_not_lost),
		lab_test(records_that_were_left_dying_are_freed_by_the_next),
		lab_test(a_record_whose_address_is_not_written_yet_is_looked_at_again),
		lab_test(no_address_is_left_out),
		lab_test(what_is_put_back_is_as_if_it_had_never_been_taken),
	};

	return cmocka_run_group_tests_name("prog/observe", tests, lab_setup_group,
					   lab_teardown_group);
}
