// SPDX-License-Identifier: GPL-2.0-only
/*
 * Services with the hash of another tool, in the loaded program: which client is where, by the
 * oracle's reading of the tools; what stays with the token; and that flows live on when the hash
 * changes. That the tools themselves say the same is in tests/e2e/split_test.py.
 */
#include "lab.h"
#include "oracle.h"
#include "policy/split.h"
#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS 3000
#define FLOWS	400

/* ---- clients ---- */

struct client {
	struct packet_plan plan;
	uint8_t key[16]; /* what the tool hashes, unmasked */
	size_t size;
};

/* IPv4, IPv6, or an IPv4 client in an IPv6 packet. */
static struct client any_client(struct random *random)
{
	unsigned int kind = random_below(random, 3);
	struct address address = random_address(random, kind == 1 ? 6 : 4);
	struct client client = {.size = kind == 1 ? 16 : 4};

	memcpy(client.key, address.bytes, client.size);
	if (!kind) {
		client.plan = packet_tcp("192.0.2.1", 40000, LAB_VIP4, 80);
		client.plan.source = address;
		return client;
	}
	client.plan = packet_tcp("2001:db8::1", 40000, LAB_VIP6, 80);
	if (kind == 1) {
		client.plan.source = address;
		return client;
	}
	memset(client.plan.source.bytes, 0, 10);
	memset(client.plan.source.bytes + 10, 0xff, 2);
	memcpy(client.plan.source.bytes + 12, address.bytes, 4);
	return client;
}

static uint32_t hash_of(const struct service *service, const struct client *client)
{
	unsigned int prefix = client->size == 4 ? service->prefix4 : service->prefix6, bit;
	uint64_t modulus = service->hash_options.modulus;
	uint8_t key[16] = {0};

	for (bit = 0; bit < prefix; bit++)
		key[bit / 8] |= client->key[bit / 8] & (0x80 >> bit % 8);
	switch (service->hash) {
	case HASH_NGINX:
		return oracle_murmur2(key, client->size);
	case HASH_HAPROXY_CRC32:
		return oracle_crc32(key, client->size) % modulus;
	default:
		return oracle_jhash(key, client->size, service->hash_options.seed) * modulus >> 32;
	}
}

/* ---- the parts ---- */

struct part {
	size_t cohort;
	uint32_t percent;
};

/* By the running sum of what stands before it, in the tool's own units; the last takes the rest. */
static size_t cohort_of(const struct service *service, const struct part *parts, size_t count,
			uint32_t hash)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i + 1 < count; i++) {
		if (service->hash == HASH_NGINX)
			end += parts[i].percent * 100 * 0xffffffffULL / 10000;
		else
			end += parts[i].percent * service->hash_options.modulus / 100;
		if (hash < end)
			break;
	}
	return parts[i].cohort;
}

static struct lab_service *add_split(struct lab *lab, enum split_hash hash, uint32_t modulus,
				     uint32_t seed, const struct part *parts, size_t count)
{
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	struct hash_options *options = &service->service.hash_options;
	char address[32];
	size_t i;

	lab_set_cohorts(service, count);
	for (i = 2; i < count; i++) {
		snprintf(address, sizeof(address), "10.0.%zu.11", i);
		lab_add_backend(service, i, address, 100, LAB_INGRESS);
	}
	service->service.hash = hash;
	service->service.prefix6 = 128;
	options->modulus = modulus;
	options->seed = seed;
	options->order_count = count;
	for (i = 0; i < count; i++) {
		strcpy(options->order[i], service->service.cohorts[parts[i].cohort].name);
		if (parts[i].cohort)
			lab_set_share(service, parts[i].cohort, parts[i].percent * 10000);
	}
	return service;
}

static void assert_split(struct lab *lab, const struct lab_service *service,
			 const struct part *parts, size_t count, struct random *random)
{
	unsigned int seen[COHORTS_MAX] = {0}, i;

	for (i = 0; i < CLIENTS; i++) {
		struct client client = any_client(random);
		struct explanation told = lab_explain(lab, &client.plan);
		uint32_t hash = hash_of(&service->service, &client);
		size_t cohort = cohort_of(&service->service, parts, count, hash);
		struct run run;

		assert_int_equal(told.hash, hash);
		assert_int_equal(told.cohort, cohort);
		assert_int_equal(told.reason, REASON_DEFAULT);
		lab_run_plan(lab, &client.plan, &run);
		assert_int_equal(lab_cohort_of(&run), cohort);
		seen[cohort]++;
	}
	for (i = 0; i < count; i++)
		assert_true(seen[i]);
}

static void clients_are_where_the_tool_has_them(void **state)
{
	static const struct part parts[][4] = {
		{{1, 20}, {0, 80}},
		{{0, 80}, {1, 20}},
		{{1, 10}, {0, 65}, {2, 25}},
		{{3, 40}, {1, 10}, {0, 20}, {2, 30}},
	};
	static const size_t counts[] = {2, 2, 3, 4};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	size_t hash, i;

	for (hash = HASH_NGINX; hash <= HASH_NFT_JHASH; hash++)
		for (i = 0; i < 4; i++) {
			struct lab_service *service;

			lab_reset(lab);
			service = add_split(lab, hash, i % 2 ? 100 : 1000, 0xdeadbeef * i, parts[i],
					    counts[i]);
			lab_publish(lab);
			assert_split(lab, service, parts[i], counts[i], &random);
		}
}

static void addresses_are_masked_as_the_service_says(void **state)
{
	static const struct part parts[] = {{0, 70}, {1, 30}};
	static const uint8_t lengths[][2] = {{24, 64}, {32, 128}, {9, 17}, {31, 127}, {24, 65}};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	size_t i;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct lab_service *service;

		lab_reset(lab);
		service = add_split(lab, i % 2 ? HASH_NFT_JHASH : HASH_HAPROXY_CRC32, 100, 5, parts,
				    2);
		service->service.prefix4 = lengths[i][0];
		service->service.prefix6 = lengths[i][1];
		lab_publish(lab);
		assert_split(lab, service, parts, 2, &random);
	}
}

static void the_holdout_and_the_backend_stay_with_the_token(void **state)
{
	static const struct part parts[] = {{1, 50}, {0, 50}};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_split(lab, HASH_NGINX, 0, 0, parts, 2);
	struct client clients[CLIENTS / 10];
	struct explanation with_hash[CLIENTS / 10];
	unsigned int i, held = 0;

	service->service.holdout_ppm = 300000;
	lab_add_backend(service, 0, "10.0.0.12", 100, LAB_INGRESS);
	lab_add_backend(service, 1, "10.0.1.12", 100, LAB_INGRESS);
	lab_publish(lab);
	for (i = 0; i < CLIENTS / 10; i++) {
		clients[i] = any_client(&random);
		with_hash[i] = lab_explain(lab, &clients[i].plan);
	}
	service->service.hash = HASH_XDP_CANARY;
	lab_publish(lab);
	for (i = 0; i < CLIENTS / 10; i++) {
		struct explanation own = lab_explain(lab, &clients[i].plan);

		assert_true(own.token == with_hash[i].token);
		assert_true(own.flow == with_hash[i].flow);
		assert_int_equal(own.holdout_hash, with_hash[i].holdout_hash);
		assert_int_equal(own.reason == REASON_HOLDOUT,
				 with_hash[i].reason == REASON_HOLDOUT);
		if (own.cohort == with_hash[i].cohort)
			assert_int_equal(own.backend, with_hash[i].backend);
		held += own.reason == REASON_HOLDOUT;
	}
	assert_in_range(held, 30, 170);
}

static uint64_t digest_of(struct lab_service *service)
{
	struct lab_image image;
	uint64_t digest;

	lab_compile(service, &image);
	digest = image.image.view.digest;
	lab_image_release(&image);
	return digest;
}

static void the_digest_tells_hashes_options_and_orders_apart(void **state)
{
	static const struct part parts[] = {{1, 50}, {0, 50}};
	struct lab *lab = *state;
	struct lab_service *service = add_split(lab, HASH_XDP_CANARY, 100, 0, parts, 2);
	struct hash_options *options = &service->service.hash_options;
	uint64_t digests[6];
	size_t i, j;

	digests[0] = digest_of(service);
	service->service.hash = HASH_NGINX;
	digests[1] = digest_of(service);
	options->order_count = 0;
	digests[2] = digest_of(service);
	service->service.hash = HASH_NFT_JHASH;
	digests[3] = digest_of(service);
	options->seed = 1;
	digests[4] = digest_of(service);
	options->modulus = 1000;
	digests[5] = digest_of(service);
	for (i = 0; i < 6; i++)
		for (j = 0; j < i; j++)
			assert_true(digests[i] != digests[j]);
	/* The salt has no part in it, so the next release's does not change who decides alike. */
	free(service->service.salt);
	service->service.salt = strdup("shop/v2");
	assert_true(digest_of(service) == digests[5]);
}

/* ---- promise 6 ---- */

static int send_tcp(struct lab *lab, const struct client *client, uint8_t flags)
{
	struct packet_plan plan = client->plan;
	struct run run;

	plan.tcp_flags = flags;
	lab_run_plan(lab, &plan, &run);
	return lab_cohort_of(&run);
}

/* What is decided now, whatever a flow's history is: a flow that has not begun asks. */
static int decided_now(struct lab *lab, const struct client *client)
{
	struct packet_plan plan = client->plan;

	plan.tcp_flags = FLAG_SYN;
	plan.source_port = 50000;
	return lab_explain(lab, &plan).chosen_cohort;
}

static void promise_6_flows_stay_where_they_are_when_the_hash_changes(void **state)
{
	static const struct part parts[] = {{0, 50}, {1, 50}};
	static const struct {
		enum split_hash hash;
		uint32_t modulus, seed;
		uint8_t prefix6;
	} epochs[] = {
		/* Of some nothing but an option changes. */
		{HASH_NGINX, 100, 0, 128},	   {HASH_XDP_CANARY, 100, 0, 64},
		{HASH_HAPROXY_CRC32, 100, 0, 128}, {HASH_HAPROXY_CRC32, 999, 0, 128},
		{HASH_NFT_JHASH, 1000, 0, 64},	   {HASH_NFT_JHASH, 1000, 1, 64},
	};
	const size_t count = sizeof(epochs) / sizeof(epochs[0]);
	static struct client clients[FLOWS];
	static int at[FLOWS];
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service;
	size_t first, epoch, i;

	/* Each of them is the origin once. */
	for (first = 0; first < count; first++) {
		unsigned int moved = 0;

		lab_reset(lab);
		service = add_split(lab, epochs[first].hash, epochs[first].modulus,
				    epochs[first].seed, parts, 2);
		service->service.prefix6 = epochs[first].prefix6;
		lab_publish(lab);
		service->has_eras = true;
		for (i = 0; i < FLOWS; i++) {
			clients[i] = any_client(&random);
			at[i] = decided_now(lab, &clients[i]);
			if (i % 2) /* the others began before, and are first seen in the era */
				assert_int_equal(send_tcp(lab, &clients[i], FLAG_SYN), at[i]);
		}
		for (epoch = first + 1; epoch < first + count; epoch++) {
			service->service.hash = epochs[epoch % count].hash;
			service->service.hash_options.modulus = epochs[epoch % count].modulus;
			service->service.hash_options.seed = epochs[epoch % count].seed;
			service->service.prefix6 = epochs[epoch % count].prefix6;
			lab_publish(lab);
			for (i = 0; i < FLOWS; i++) {
				assert_int_equal(send_tcp(lab, &clients[i], FLAG_ACK), at[i]);
				moved += decided_now(lab, &clients[i]) != at[i];
			}
			/* A new flow follows the decision of now, and then stays with it. */
			i = random_below(&random, FLOWS);
			clients[i] = any_client(&random);
			at[i] = decided_now(lab, &clients[i]);
			assert_int_equal(send_tcp(lab, &clients[i], FLAG_SYN), at[i]);
		}
		/* Of 5 x 400 decisions half are another. */
		assert_in_range(moved, 700, 1300);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(clients_are_where_the_tool_has_them),
		lab_test(addresses_are_masked_as_the_service_says),
		lab_test(the_holdout_and_the_backend_stay_with_the_token),
		lab_test(the_digest_tells_hashes_options_and_orders_apart),
		lab_test(promise_6_flows_stay_where_they_are_when_the_hash_changes),
	};

	return cmocka_run_group_tests(tests, lab_setup_group, lab_teardown_group);
}
