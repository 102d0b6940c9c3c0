// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which cohort, and which backend of it: promises 2 to 4 and the client keys, held against the
 * oracle's reading of the interface. What a service's shares do not decide (pins, holdout, kill) is
 * in overrides_test.c.
 */
#include "lab.h"
#include "oracle.h"
#include "tests/random.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array)	  (sizeof(array) / sizeof((array)[0]))
#define PPM		  1000000u
#define SALT		  "shop/v1" /* of the lab's services */
#define OUTER_DESTINATION (14 + 16)

static const uint8_t secret_bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct packet_plan packet_from(struct address client, uint16_t port)
{
	struct packet_plan plan = client.family == 4
					  ? packet_tcp("198.51.100.7", port, LAB_VIP4, 80)
					  : packet_tcp("2001:db8::7", port, LAB_VIP6, 80);

	plan.source = client;
	return plan;
}

static struct address any_client(struct random *random)
{
	return random_address(random, random_below(random, 2) ? 4 : 6);
}

/* What the explaining program says, after the real one has done it. */
static struct explanation decided(struct lab *lab, const struct packet_plan *plan)
{
	struct explanation told = lab_explain(lab, plan);
	struct run run;

	lab_run_plan(lab, plan, &run);
	assert_int_equal(lab_cohort_of(&run), told.cohort);
	assert_int_equal(told.has_backend, 1);
	return told;
}

static uint32_t hash_of(const struct address *client)
{
	return oracle_hash(oracle_token(secret_bytes, client, 32, 64), SALT);
}

/* A service of its own at 192.0.2.<number> and 2001:db8::<number>, a backend each cohort. */
static struct lab_service *add_numbered(struct lab *lab, unsigned int number, size_t cohorts)
{
	char text[64];
	struct lab_service *service;
	size_t cohort;

	snprintf(text, sizeof(text), "service-%u", number);
	service = lab_add_service(lab, text, STEER_L2);
	lab_set_cohorts(service, cohorts);
	snprintf(text, sizeof(text), "192.0.2.%u:80/tcp", number);
	lab_add_vip(service, text);
	snprintf(text, sizeof(text), "[2001:db8::%x]:80/tcp", number);
	lab_add_vip(service, text);
	for (cohort = 0; cohort < cohorts; cohort++) {
		snprintf(text, sizeof(text), "10.0.%zu.1", cohort);
		lab_add_backend(service, cohort, text, 100, LAB_INGRESS);
	}
	return service;
}

static struct explanation ask_numbered(struct lab *lab, unsigned int number, struct address client)
{
	struct packet_plan plan = packet_from(client, 40000);

	plan.destination.bytes[client.family == 4 ? 3 : 15] = number;
	return decided(lab, &plan);
}

/* ---- promise 2 ---- */

/* The same policy in another order; @others: services in front of it, so that it has other numbers.
 */
static void publish_fleet_policy(struct lab *lab, bool reversed, unsigned int others)
{
	static const size_t backends[] = {9, 5, 3};
	struct lab_service *service;
	char address[32];
	size_t cohort, i;
	unsigned int number;

	for (number = 0; number < others; number++)
		add_numbered(lab, 100 + number, 2);
	service = lab_add_service(lab, "shop", STEER_IPIP);
	lab_add_vip(service, LAB_VIP4 ":80/tcp");
	lab_add_vip(service, "[" LAB_VIP6 "]:80/tcp");
	lab_set_cohorts(service, 3);
	for (cohort = 0; cohort < 3; cohort++)
		for (i = 0; i < backends[cohort]; i++) {
			size_t place = reversed ? backends[cohort] - 1 - i : i;

			snprintf(address, sizeof(address), "10.%zu.0.%zu", cohort, place);
			lab_add_backend(service, cohort, address, 50 + 10 * place, LAB_INGRESS);
		}
	lab_set_share(service, 1, 300000);
	lab_set_share(service, 2, 250000);
	lab_publish(lab);
}

/* The backend's address, from the packet that was sent to it. */
static uint32_t sent_to(struct lab *lab, const struct packet_plan *plan, int *cohort)
{
	struct run run;

	lab_run_plan(lab, plan, &run);
	*cohort = lab_cohort_of(&run);
	assert_in_range(*cohort, 0, 2);
	return load32(run.out.bytes + OUTER_DESTINATION);
}

static void promise_2_the_same_client_gets_the_same_cohort_in_every_box(void **state)
{
	const struct limits limits = {.services = 8, .vips = 64, .backends = 512};
	struct lab *lab = *state, *twin = lab_open(lab_secret, limits);
	struct lab *stranger = lab_open((struct siphash_key){.k0 = 1, .k1 = 2}, limits);
	struct random random = random_seeded(__func__);
	unsigned int other_cohort = 0, other_backend = 0, i;
	const unsigned int clients = 4000;

	publish_fleet_policy(lab, false, 0);
	publish_fleet_policy(twin, true, 3);
	publish_fleet_policy(stranger, false, 0);
	for (i = 0; i < clients; i++) {
		struct packet_plan plan = packet_from(any_client(&random), random_next(&random));
		int cohort, twins, strangers;
		uint32_t backend = sent_to(lab, &plan, &cohort);

		assert_int_equal(sent_to(twin, &plan, &twins), backend);
		assert_int_equal(twins, cohort);
		other_backend += sent_to(stranger, &plan, &strangers) != backend;
		other_cohort += strangers != cohort;
	}
	/* Under another secret 1 - .45^2 - .3^2 - .25^2 = 64.5% change cohort; 50 to 79% is 19
	 * deviations. */
	assert_in_range(other_cohort, clients / 2, clients * 79 / 100);
	assert_in_range(other_backend, clients * 3 / 4, clients);
	lab_close(stranger);
	lab_close(twin);
}

/* ---- promise 3 ---- */

#define LADDER	       12
#define LADDER_CLIENTS 1500

static int compare_shares(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

/* Sets the share and looks at every client: who is in, by the oracle; who came, who went. */
static void climb(struct lab *lab, struct lab_service *service, uint32_t ppm,
		  const struct address *clients, bool *in, unsigned int *came, unsigned int *went)
{
	const struct oracle_slot slot = {.width = PPM, .share = ppm};
	size_t i;

	lab_set_share(service, 1, ppm);
	lab_publish(lab);
	for (*came = *went = i = 0; i < LADDER_CLIENTS; i++) {
		struct packet_plan plan = packet_from(clients[i], 40000);
		struct explanation told = decided(lab, &plan);

		assert_int_equal(told.cohort, oracle_cohort(hash_of(&clients[i]), &slot, 1));
		assert_int_equal(told.reason, REASON_DEFAULT);
		*came += told.cohort && !in[i];
		*went += !told.cohort && in[i];
		in[i] = told.cohort;
		if (!ppm || ppm == PPM)
			assert_int_equal(told.cohort, !!ppm);
	}
}

static void promise_3_raising_a_share_only_moves_clients_into_that_canary(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	struct address clients[LADDER_CLIENTS];
	bool in[LADDER_CLIENTS] = {false};
	uint32_t shares[LADDER] = {0, PPM};
	unsigned int came, went, i;

	for (i = 0; i < LADDER_CLIENTS; i++)
		clients[i] = any_client(&random);
	for (i = 2; i < LADDER; i++)
		shares[i] = random_below(&random, PPM + 1);
	qsort(shares, LADDER, sizeof(*shares), compare_shares);
	for (i = 0; i < LADDER; i++) {
		climb(lab, service, shares[i], clients, in, &came, &went);
		assert_int_equal(went, 0);
	}
	for (i = LADDER; i--;) {
		climb(lab, service, shares[i], clients, in, &came, &went);
		assert_int_equal(came, 0);
	}
}

/* A client whose h is @offset (-1 or 0) from some T(x); returns x. */
static uint32_t find_neighbour(struct random *random, int offset, struct address *client)
{
	for (;;) {
		uint32_t ppm, hash;

		*client = random_address(random, random_below(random, 4) ? 4 : 6);
		hash = hash_of(client);
		ppm = ((uint64_t)hash * PPM >> 32) +
		      1; /* the least above it, or that one's successor */
		if (oracle_threshold(ppm) + offset == hash && ppm > 1 && ppm < PPM)
			return ppm;
		if (!offset && oracle_threshold(ppm - 1) == hash && ppm > 2)
			return ppm - 1;
	}
}

static void a_step_of_one_ppm_takes_in_exactly_the_hashes_below_its_threshold(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct address clients[20];
	unsigned int i, step;
	uint32_t ppm[20];

	for (i = 0; i < COUNT(clients); i++) {
		ppm[i] = find_neighbour(&random, i % 2 ? 0 : -1, &clients[i]);
		for (step = 0; step < 3; step++)
			lab_set_share(add_numbered(lab, 3 * i + step + 1, 2), 1, ppm[i] - 1 + step);
	}
	lab_publish(lab);
	for (i = 0; i < COUNT(clients); i++)
		for (step = 0; step < 3; step++) {
			struct explanation told = ask_numbered(lab, 3 * i + step + 1, clients[i]);

			assert_int_equal(told.hash, oracle_threshold(ppm[i]) - (i % 2 ? 0 : 1));
			assert_int_equal(told.cohort, step > i % 2);
		}
}

/* ---- promise 4 ---- */

#define CANARIES    3
#define SHARE_STEPS 30

/* Slots of random widths, with or without a rest. */
static void random_slots(struct random *random, struct lab_service *service,
			 struct oracle_slot *slots)
{
	uint32_t start = 0, rest = PPM;
	int i;

	for (i = 0; i < CANARIES; i++) {
		uint32_t width = i == CANARIES - 1 && random_below(random, 2)
					 ? rest
					 : 1 + random_below(random, rest / 2);

		slots[i] = (struct oracle_slot){start, width, 0};
		service->service.cohorts[i + 1].slot_start_ppm = start;
		service->service.cohorts[i + 1].slot_ppm = width;
		start += width;
		rest -= width;
	}
}

static uint32_t random_share(struct random *random, uint32_t width)
{
	switch (random_below(random, 6)) {
	case 0:
		return 0;
	case 1:
		return width;
	default:
		return random_below(random, width + 1);
	}
}

static void promise_4_changing_one_share_moves_nobody_between_two_other_cohorts(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_numbered(lab, 10, CANARIES + 1);
	struct oracle_slot slots[CANARIES];
	struct address clients[1000];
	int before[1000], step;
	size_t i;

	random_slots(&random, service, slots);
	for (i = 0; i < COUNT(clients); i++) {
		clients[i] = any_client(&random);
		before[i] = 0;
	}
	for (step = 0; step < SHARE_STEPS; step++) {
		int canary = random_below(&random, CANARIES), other = canary + 1;
		uint32_t last = slots[canary].share;

		slots[canary].share = random_share(&random, slots[canary].width);
		lab_set_share(service, canary + 1, slots[canary].share);
		lab_publish(lab);
		for (i = 0; i < COUNT(clients); i++) {
			int now = ask_numbered(lab, 10, clients[i]).cohort;

			assert_int_equal(now, oracle_cohort(hash_of(&clients[i]), slots, CANARIES));
			if (now == before[i])
				continue;
			assert_int_equal(before[i], slots[canary].share > last ? 0 : other);
			assert_int_equal(now, slots[canary].share > last ? other : 0);
			before[i] = now;
		}
	}
}

/* ---- client keys ---- */

static void flip_bit(struct address *address, unsigned int bit)
{
	address->bytes[bit / 8] ^= 0x80 >> bit % 8;
}

/* Clients that differ past the prefix are one; in its last bit, two. */
static void check_prefix(struct lab *lab, struct random *random, unsigned int number, int family,
			 unsigned int prefix)
{
	unsigned int bits = family == 4 ? 32 : 128, i;

	for (i = 0; i < 40; i++) {
		struct address client = random_address(random, family), other = client;
		struct explanation told = ask_numbered(lab, number, client);

		assert_int_equal(told.token, oracle_token(secret_bytes, &client, prefix, prefix));
		flip_bit(&other, prefix - 1);
		assert_int_not_equal(ask_numbered(lab, number, other).token, told.token);
		if (prefix == bits)
			continue;
		other = client;
		flip_bit(&other, prefix + random_below(random, bits - prefix));
		assert_int_equal(ask_numbered(lab, number, other).token, told.token);
		assert_int_equal(ask_numbered(lab, number, other).cohort, told.cohort);
	}
}

static void the_client_is_the_source_masked_to_the_prefix(void **state)
{
	static const uint8_t prefixes6[] = {16, 17, 24,	 31,  32,  33,	40,  47, 48, 49,
					    55, 56, 60,	 63,  64,  65,	66,  72, 80, 95,
					    96, 97, 104, 112, 120, 126, 127, 128};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	unsigned int i;

	for (i = 0; i < COUNT(prefixes6); i++) {
		struct lab_service *service = add_numbered(lab, i + 1, 2);

		lab_set_share(service, 1, PPM / 2);
		service->service.prefix4 = 8 + i % 25;
		service->service.prefix6 = prefixes6[i];
	}
	lab_publish(lab);
	for (i = 0; i < COUNT(prefixes6); i++) {
		check_prefix(lab, &random, i + 1, 4, 8 + i % 25);
		check_prefix(lab, &random, i + 1, 6, prefixes6[i]);
	}
}

/* Source, destination, source port, destination port, protocol in network order. */
static uint64_t flow_token_of(const struct packet_plan *plan)
{
	size_t size = plan->source.family == 4 ? 4 : 16;
	uint8_t key[37];

	memcpy(key, plan->source.bytes, size);
	memcpy(key + size, plan->destination.bytes, size);
	store16(key + 2 * size, plan->source_port);
	store16(key + 2 * size + 2, plan->destination_port);
	key[2 * size + 4] = plan->protocol;
	return oracle_siphash(secret_bytes, key, 2 * size + 5);
}

static void with_key_flow_every_flow_is_a_client(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	const struct oracle_slot slot = {.width = PPM, .share = PPM / 2};
	unsigned int in_canary = 0, i;

	service->service.client_key = CLIENT_KEY_FLOW;
	lab_set_share(service, 1, slot.share);
	lab_publish(lab);
	for (i = 0; i < 2000; i++) {
		struct address client = address_of(i % 2 ? "198.51.100.7" : "2001:db8:1::7");
		struct packet_plan plan = packet_from(client, random_next(&random));
		struct explanation told;

		if (i % 4 / 2) {
			plan.protocol = IPPROTO_UDP;
			plan.destination_port = 53;
		}
		told = decided(lab, &plan);
		assert_int_equal(told.token, flow_token_of(&plan));
		assert_int_equal(told.cohort,
				 oracle_cohort(oracle_hash(told.token, SALT), &slot, 1));
		in_canary += told.cohort;
	}
	assert_in_range(in_canary, 800, 1200); /* 9 deviations */
}

static unsigned int bits_of(uint64_t set)
{
	return __builtin_popcountll(set);
}

static void balance_by_client_keeps_a_client_on_one_backend_and_by_flow_spreads_it(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *by_flow = add_numbered(lab, 1, 2), *by_client = add_numbered(lab, 2, 2);
	uint64_t all_clients = 0;
	unsigned int i, port;
	char address[32];

	for (i = 2; i <= 16; i++) {
		snprintf(address, sizeof(address), "10.0.0.%u", i);
		lab_add_backend(by_flow, 0, address, 100, LAB_INGRESS);
		lab_add_backend(by_client, 0, address, 100, LAB_INGRESS);
	}
	by_client->service.balance = BALANCE_CLIENT;
	by_client->service.prefix4 = 24;
	lab_publish(lab);
	for (i = 0; i < 200; i++) {
		struct address client = any_client(&random);
		uint64_t flows = 0, clients = 0;

		for (port = 1; port <= 300; port++) {
			struct packet_plan plan = packet_from(client, port * 199);

			plan.destination.bytes[client.family == 4 ? 3 : 15] = 1;
			flows |= 1ULL << decided(lab, &plan).backend;
			plan.destination.bytes[client.family == 4 ? 3 : 15] = 2;
			/* Past the prefix it is still the same client. */
			plan.source.bytes[client.family == 4 ? 3 : 15] = port;
			clients |= 1ULL << decided(lab, &plan).backend;
			if (i >= 8 && port == 3)
				break;
		}
		assert_int_equal(bits_of(clients), 1);
		assert_true(i >= 8 ||
			    bits_of(flows) >= 14); /* of 16 in 300 draws; 3 missed: 1 in 10^21 */
		all_clients |= clients;
	}
	assert_in_range(bits_of(all_clients), 13, 16); /* 200 draws */
}

/* ---- the interface's vectors ---- */

static struct address mapped(const char *text)
{
	struct address ipv4 = address_of(text),
		       address = {.family = 6, .bytes = {[10] = 0xff, [11] = 0xff}};

	memcpy(address.bytes + 12, ipv4.bytes, 4);
	return address;
}

static void the_interfaces_vectors_come_out_of_the_program(void **state)
{
	const struct {
		struct address client;
		uint64_t token;
		uint32_t hash, enters_at_ppm, holdout_hash;
	} vectors[] = {
		{address_of("198.51.100.7"), 0xbea1e9d79020926a, 2634844476, 613473, 3074974159},
		{mapped("198.51.100.7"), 0xbea1e9d79020926a, 2634844476, 613473, 3074974159},
		{address_of("203.0.113.9"), 0xa95aeba497ade9c4, 259160423, 60341, 2257301919},
		{address_of("2001:db8:1:2:3::4"), 0x459aebd6fc91e5f2, 4243239534, 987957,
		 2773496245},
		{address_of("2001:db8:1:2::"), 0x459aebd6fc91e5f2, 4243239534, 987957, 2773496245},
	};
	struct lab *lab = *state;
	unsigned int i;

	for (i = 0; i < COUNT(vectors); i++) {
		lab_set_share(add_numbered(lab, 2 * i + 1, 2), 1, vectors[i].enters_at_ppm - 1);
		lab_set_share(add_numbered(lab, 2 * i + 2, 2), 1, vectors[i].enters_at_ppm);
	}
	lab_publish(lab);
	for (i = 0; i < COUNT(vectors); i++) {
		struct explanation told = ask_numbered(lab, 2 * i + 1, vectors[i].client);

		assert_int_equal(told.token, vectors[i].token);
		assert_int_equal(told.hash, vectors[i].hash);
		assert_int_equal(told.holdout_hash, vectors[i].holdout_hash);
		assert_int_equal(told.service, 2 * i);
		assert_int_equal(told.path, PATH_CURRENT);
		assert_int_equal(told.action, ACTION_STEER);
		assert_int_equal(told.rule, 0);
		assert_int_equal(told.cohort, 0);
		assert_int_equal(ask_numbered(lab, 2 * i + 2, vectors[i].client).cohort, 1);
	}
}

/* A copy of all elements of all maps, those of every CPU. */
static size_t copy_maps(const struct lab *lab, uint8_t **out)
{
	size_t size = 0;
	int id;

	*out = NULL;
	for (id = 0; id < MAPS; id++) {
		const struct map *map = &lab->datapath->maps[id];
		size_t element = map_bytes(map, map_is_per_cpu(id)) / map->entries;
		uint32_t key;

		if (id == MAP_GRACE || id == MAP_PINS)
			continue;
		*out = realloc(*out, size + element * map->entries);
		assert_non_null(*out);
		for (key = 0; key < map->entries && !map->memory; key++, size += element)
			assert_int_equal(bpf_map_lookup_elem(map->fd, &key, *out + size), 0);
		if (!map->memory)
			continue;
		memcpy(*out + size, map_reach(map, 0, element * map->entries),
		       element * map->entries);
		size += element * map->entries;
	}
	return size;
}

static void explaining_has_no_side_effects(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	struct packet_plan plan;
	uint8_t *before, *after;
	struct run run;
	size_t size;
	int i;

	lab_set_share(service, 1, PPM / 2);
	lab_publish(lab);
	size = copy_maps(lab, &before);
	for (i = 0; i < 1000; i++) {
		plan = packet_from(any_client(&random), random_next(&random));
		plan.tcp_flags = i & 0xff;
		plan.destination_port = i % 5 ? 80 : 81;
		lab_explain(lab, &plan);
	}
	assert_int_equal(copy_maps(lab, &after), size);
	assert_memory_equal(before, after, size);
	free(after);
	/* And the copy would show it. */
	plan = packet_from(any_client(&random), 1);
	lab_run_plan(lab, &plan, &run);
	copy_maps(lab, &after);
	assert_memory_not_equal(before, after, size);
	free(after);
	free(before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(promise_2_the_same_client_gets_the_same_cohort_in_every_box),
		lab_test(promise_3_raising_a_share_only_moves_clients_into_that_canary),
		lab_test(a_step_of_one_ppm_takes_in_exactly_the_hashes_below_its_threshold),
		lab_test(promise_4_changing_one_share_moves_nobody_between_two_other_cohorts),
		lab_test(the_client_is_the_source_masked_to_the_prefix),
		lab_test(with_key_flow_every_flow_is_a_client),
		lab_test(balance_by_client_keeps_a_client_on_one_backend_and_by_flow_spreads_it),
		lab_test(the_interfaces_vectors_come_out_of_the_program),
		lab_test(explaining_has_no_side_effects),
	};

	return cmocka_run_group_tests_name("prog/deciding", tests, lab_setup_group,
					   lab_teardown_group);
}
