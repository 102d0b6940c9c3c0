// SPDX-License-Identifier: GPL-2.0-only
/* What goes before a rule: kill, pins, holdout; and what comes after it, a cohort without a
 * backend. */
#include "lab.h"
#include "oracle.h"
#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PPM  1000000u
#define PINS 3000

static const uint8_t secret_bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct packet_plan packet_from(struct address client)
{
	struct packet_plan plan = client.family == 4
					  ? packet_tcp("198.51.100.7", 40000, LAB_VIP4, 80)
					  : packet_tcp("2001:db8::7", 40000, LAB_VIP6, 80);

	plan.source = client;
	return plan;
}

static struct address any_client(struct random *random)
{
	return random_address(random, random_below(random, 2) ? 4 : 6);
}

/* An IPv4 client in an IPv6 packet. */
static struct address mapped(const struct address *ipv4)
{
	struct address address = {.family = 6, .bytes = {[10] = 0xff, [11] = 0xff}};

	memcpy(address.bytes + 12, ipv4->bytes, 4);
	return address;
}

/* What the explaining program says, after the real one has done it. */
static struct explanation decided(struct lab *lab, struct address client)
{
	struct packet_plan plan = packet_from(client);
	struct explanation told = lab_explain(lab, &plan);
	struct run run;

	lab_run_plan(lab, &plan, &run);
	assert_int_equal(lab_cohort_of(&run), told.cohort);
	return told;
}

static void assert_decided(struct lab *lab, struct address client, enum reason reason, int cohort)
{
	struct explanation told = decided(lab, client);

	assert_int_equal(told.reason, reason);
	assert_int_equal(told.decision, reason);
	assert_int_equal(told.cohort, cohort);
	assert_int_equal(told.rule == RULE_NONE, reason != REASON_DEFAULT);
}

/* All cohorts have a backend; the first canary @ppm. */
static struct lab_service *add_service(struct lab *lab, size_t cohorts, uint32_t ppm)
{
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	size_t cohort;

	lab_set_cohorts(service, cohorts);
	for (cohort = 2; cohort < cohorts; cohort++)
		lab_add_backend(service, cohort, cohort == 2 ? "10.0.2.9" : "10.0.3.9", 100,
				LAB_INGRESS);
	if (cohorts == 2)
		lab_set_share(service, 1, ppm);
	return service;
}

/* ---- pins ---- */

static bool prefix_holds(const struct prefix *prefix, const struct address *client)
{
	unsigned int bit;

	if (prefix->address.family != client->family)
		return false;
	for (bit = 0; bit < prefix->length; bit++)
		if ((prefix->address.bytes[bit / 8] ^ client->bytes[bit / 8]) & (0x80 >> bit % 8))
			return false;
	return true;
}

/* PIN_NONE, or the cohort of the longest prefix; *@expired: that one has, and what a wider one does
 * is left open. */
static uint8_t pinned_by_force(const struct lab_service *service, const struct address *client,
			       bool *expired)
{
	const struct pin *longest = NULL;
	size_t i;

	for (i = 0; i < service->pins_count; i++) {
		const struct pin *pin = &service->pins[i];

		if (prefix_holds(&pin->client, client) &&
		    (!longest || pin->client.length >= longest->client.length))
			longest = pin;
	}
	*expired = longest && longest->expires == 1;
	return longest ? longest->cohort : PIN_NONE;
}

/* Bytes of few values, so that prefixes nest. */
static struct prefix random_prefix(struct random *random, unsigned int limit4, unsigned int limit6)
{
	struct prefix prefix = {.address.family = random_below(random, 2) ? 4 : 6};
	unsigned int limit = prefix.address.family == 4 ? limit4 : limit6, i;

	for (i = 0; i < (prefix.address.family == 4 ? 4 : 16); i++)
		prefix.address.bytes[i] = random_below(random, 3) ? 0 : random_next(random) & 0xc1;
	prefix.length = random_below(random, 4) ? limit : 7 + random_below(random, limit - 6);
	if (!random_below(random, PINS)) /* all of a family, in some runs */
		prefix.length = 0;
	return prefix_shorten(&prefix, prefix.length, prefix.length);
}

/* Also what reads as an IPv6 address and is an IPv4 client (::/80 with the rest of it set). */
static bool is_mapped(const struct address *client)
{
	static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

	return client->family == 6 && !memcmp(client->bytes, mapped_prefix, sizeof(mapped_prefix));
}

static struct address nearby(struct random *random, const struct prefix *prefix)
{
	unsigned int bits = prefix->address.family == 4 ? 32 : 128, bit;
	struct address client = prefix->address;
	uint32_t kind = random_below(random, 4);

	for (bit = prefix->length; bit < bits && kind; bit++)
		if (kind == 1 || random_below(random, 2))
			client.bytes[bit / 8] ^= 0x80 >> bit % 8;
	if (!random_below(random, 3)) /* out of it, or far off */
		client.bytes[random_below(random, bits / 8)] ^= 1 << random_below(random, 8);
	return client;
}

static void check_pins(struct lab *lab, struct random *random, const struct lab_service *service)
{
	unsigned int seen[COHORTS_MAX + 1] = {0}, i;

	for (i = 0; i < 6000; i++) {
		struct address client = nearby(random,
					       &service->pins[random_below(random, PINS)].client),
			       packet;
		bool expired;
		struct prefix key = {client, client.family == 4 ? 32 : 128};
		uint8_t cohort;

		key = prefix_shorten(&key, service->service.prefix4, service->service.prefix6);
		cohort = pinned_by_force(service, &key.address, &expired);
		packet = client.family == 4 && i % 2 ? mapped(&client) : client;
		if (expired || is_mapped(&client))
			continue;
		if (cohort == PIN_NONE)
			assert_decided(lab, packet, REASON_DEFAULT, 0);
		else
			assert_decided(lab, packet, REASON_OVERRIDE, cohort);
		seen[cohort == PIN_NONE ? COHORTS_MAX : cohort]++;
	}
	for (i = 0; i < COHORTS_MAX; i++)
		assert_true(seen[i] > 0);
}

static void random_pins(struct lab *lab, struct random *random, unsigned int prefix4,
			unsigned int prefix6)
{
	struct lab_service *service = add_service(lab, COHORTS_MAX, 0);
	unsigned int i;

	service->service.prefix4 = prefix4;
	service->service.prefix6 = prefix6;
	for (i = 0; i < PINS; i++) {
		char text[ADDRESS_TEXT_SIZE];
		struct prefix prefix = random_prefix(random, prefix4, prefix6);
		uint64_t expires[] = {PIN_FOREVER, PIN_FOREVER, PIN_FOREVER - 1, 1};

		lab_add_pin(service, prefix_format(&prefix, text),
			    random_below(random, COHORTS_MAX), expires[random_below(random, 4)]);
	}
	lab_publish(lab);
	check_pins(lab, random, service);
}

static void the_longest_pin_that_holds_the_client_wins(void **state)
{
	struct random random = random_seeded(__func__);

	random_pins(*state, &random, 32, 128);
}

static void pins_go_by_the_clients_key(void **state)
{
	struct random random = random_seeded(__func__);

	random_pins(*state, &random, 24, 64);
}

static void a_pin_goes_by_the_source_also_where_the_key_is_the_flow(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2, 0);
	int i;

	service->service.client_key = CLIENT_KEY_FLOW;
	lab_add_pin(service, "198.51.100.7", 1, PIN_FOREVER);
	lab_add_pin(service, "2001:db8:1:2::/64", 1, PIN_FOREVER);
	lab_publish(lab);
	for (i = 0; i < 200; i++) {
		struct packet_plan plan =
			packet_from(address_of(i % 2 ? "198.51.100.7" : "2001:db8:1:2:3::4"));

		plan.source_port = random_next(&random);
		assert_int_equal(lab_explain(lab, &plan).reason, REASON_OVERRIDE);
		plan.source.bytes[3]++;
		assert_int_equal(lab_explain(lab, &plan).reason, REASON_DEFAULT);
	}
}

/* The kernel's clock, as bpf_ktime_get_ns() has it. */
static uint64_t monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void a_pin_ends_when_it_says(void **state)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	struct address client = address_of("198.51.100.7"), other = address_of("2001:db8:1:2::");
	unsigned int held = 0;
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2, 0);
	uint64_t expires = monotonic() + 400000000;

	lab_add_pin(service, "198.51.100.0/24", 1, expires);
	lab_add_pin(service, "2001:db8::/32", 1, PIN_FOREVER);
	lab_publish(lab);
	for (;;) {
		uint64_t before = monotonic();
		struct packet_plan plan = packet_from(client);
		uint8_t reason = lab_explain(lab, &plan).reason;

		if (monotonic() < expires)
			assert_int_equal(reason, REASON_OVERRIDE);
		else if (before >= expires)
			break;
		held += reason == REASON_OVERRIDE;
		nanosleep(&pause, NULL);
	}
	assert_true(held > 0);
	assert_decided(lab, client, REASON_DEFAULT, 0);
	assert_decided(lab, other, REASON_OVERRIDE, 1);
}

/* ---- holdout ---- */

static uint64_t holdout_hash(const struct address *client)
{
	return oracle_hash(oracle_token(secret_bytes, client, 32, 64), "xdp-canary/holdout");
}

static void a_held_out_client_never_sees_a_canary(void **state)
{
	static const char *const salts[] = {"one", "two"};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2, PPM);
	unsigned int held = 0, i, salt;

	service->service.holdout_ppm = 100000;
	for (salt = 0; salt < 2; salt++) {
		free(service->service.salt);
		service->service.salt = strdup(salts[salt]);
		lab_publish(lab);
		for (i = 0; i < 3000; i++) {
			struct address client = any_client(&random);
			bool out = holdout_hash(&client) < oracle_threshold(100000);

			assert_decided(lab, client, out ? REASON_HOLDOUT : REASON_DEFAULT, !out);
			held += out;
		}
	}
	assert_in_range(held, 400, 800); /* 600, 8 deviations */
}

/* h' at T(x) - 1 and at T(x), found by search: held out from x on, and from x + 1 on. */
static void the_holdout_ends_at_its_threshold(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2, PPM);
	int round;

	for (round = 0; round < 6; round++) {
		struct address client;
		uint64_t hash;
		uint32_t ppm, step;

		do {
			client = random_address(&random, 4);
			hash = holdout_hash(&client);
			ppm = (hash * PPM >> 32) + 1;
		} while (hash != oracle_threshold(ppm) - 1 || ppm < 2 || ppm > PPM / 2);
		for (step = 0; step < 2; step++) {
			service->service.holdout_ppm = ppm - 1 + step;
			lab_publish(lab);
			assert_decided(lab, client, step ? REASON_HOLDOUT : REASON_DEFAULT, !step);
		}
	}
}

static void a_pin_goes_before_the_holdout(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2, 0);
	struct address client = address_of("198.51.100.7"); /* h' 3074974159: 715948 ppm */

	service->service.holdout_ppm = 715949;
	lab_add_pin(service, "203.0.113.9", 1, PIN_FOREVER); /* h' 525570 ppm */
	lab_publish(lab);
	assert_decided(lab, client, REASON_HOLDOUT, 0);
	assert_decided(lab, address_of("203.0.113.9"), REASON_OVERRIDE, 1);
	service->service.holdout_ppm = 715948;
	lab_publish(lab);
	assert_decided(lab, client, REASON_DEFAULT, 0);
}

/* ---- kill ---- */

static void check_all(struct lab *lab, struct random *random, bool killed)
{
	int i;

	for (i = 0; i < 500; i++)
		assert_decided(lab, any_client(random), killed ? REASON_KILLED : REASON_DEFAULT,
			       !killed);
	assert_decided(lab, address_of("198.51.100.7"), killed ? REASON_KILLED : REASON_OVERRIDE,
		       !killed);
	assert_decided(lab, address_of("2001:db8::1"), killed ? REASON_KILLED : REASON_OVERRIDE, 0);
}

static void killed_means_everyone_and_at_once(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2, PPM), *bystander;
	struct packet_plan plan = packet_from(address_of("198.51.100.7"));

	lab_add_pin(service, "198.51.100.7", 1, PIN_FOREVER);
	lab_add_pin(service, "2001:db8::/64", 0, PIN_FOREVER);
	bystander = lab_add_service(lab, "bystander", STEER_L2);
	lab_add_vip(bystander, "192.0.2.11:80/tcp");
	lab_add_backend(bystander, 0, "10.0.0.1", 100, LAB_INGRESS);
	lab_add_backend(bystander, 1, "10.0.1.1", 100, LAB_INGRESS);
	lab_set_share(bystander, 1, PPM);
	lab_publish(lab);
	check_all(lab, &random, false);
	service_kill(lab->datapath, service_slot_by_name(lab->datapath, "shop"));
	assert_true(service_is_killed(lab->datapath, service->slot));
	check_all(lab, &random, true);
	lab_publish(lab); /* what is published later does not lift it */
	check_all(lab, &random, true);
	plan.destination = address_of("192.0.2.11");
	assert_int_equal(lab_explain(lab, &plan).cohort, 1);
	service_lift_kill(lab->datapath, service->slot,
			  service_kills(lab->datapath, service->slot));
	assert_false(service_is_killed(lab->datapath, service->slot));
	check_all(lab, &random, false);
}

/* ---- one client in both families ---- */

static void a_mapped_source_is_the_ipv4_client(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2, PPM / 2);
	char address[32];
	int i;

	for (i = 1; i < 8; i++) {
		snprintf(address, sizeof(address), "10.1.0.%d", i);
		lab_add_backend(service, i % 2, address, 100, LAB_INGRESS);
	}
	service->service.holdout_ppm = 100000;
	service->service.prefix4 = 28;
	lab_add_pin(service, "128.0.0.0/4", 1, PIN_FOREVER);
	lab_add_pin(service, "::/0", 0, PIN_FOREVER); /* of IPv6 alone */
	lab_publish(lab);
	for (i = 0; i < 3000; i++) {
		struct address client = random_address(&random, 4);
		struct explanation four = decided(lab, client), six = decided(lab, mapped(&client));

		assert_int_equal(four.token, oracle_token(secret_bytes, &client, 28, 64));
		assert_int_equal(six.token, four.token);
		assert_int_equal(six.cohort, four.cohort);
		assert_int_equal(six.reason, four.reason);
		assert_int_equal(six.backend, four.backend);
		assert_int_equal(four.reason == REASON_OVERRIDE, client.bytes[0] >> 4 == 8);
		/* One bit beside the mapped prefix it is an IPv6 client. */
		client = mapped(&client);
		client.bytes[random_below(&random, 12)] ^= 1 << random_below(&random, 8);
		assert_int_equal(decided(lab, client).reason, REASON_OVERRIDE);
	}
}

/* ---- cohorts without backends ---- */

static void a_cohort_without_a_backend_falls_back_to_control(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 3, 0);
	unsigned int weights, i;

	lab_add_backend(service, 0, "10.1.0.1", 100, LAB_INGRESS);
	lab_set_share(service, 1, PPM / 2);
	lab_set_share(service, 2, PPM / 2);
	for (weights = 0; weights < 4; weights++) {
		for (i = 0; i < 2; i++)
			service->backends[i + 1][0].backend.weight = weights >> i & 1;
		lab_publish(lab);
		for (i = 0; i < 500; i++) {
			struct explanation told = decided(lab, any_client(&random));
			bool alive = weights & told.chosen_cohort;

			assert_int_equal(told.chosen_cohort, 1 + (told.hash >> 31));
			assert_int_equal(told.cohort, alive ? told.chosen_cohort : 0);
			assert_int_equal(told.reason, alive ? REASON_DEFAULT : REASON_COHORT_DOWN);
			assert_int_equal(told.rule, 0);
		}
	}
}

static void without_any_backend_a_packet_is_dropped(void **state)
{
	struct packet_plan plan = packet_from(address_of("198.51.100.7"));
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, 2, 0);
	struct frame frame;

	service->backends[0][0].backend.weight = 0;
	lab_publish(lab);
	packet_build(&plan, &frame);
	lab_assert_dropped(lab, &frame, REASON_NO_BACKEND);
	lab_set_share(service, 1, PPM); /* the canary's clients have theirs */
	lab_publish(lab);
	assert_decided(lab, plan.source, REASON_DEFAULT, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(the_longest_pin_that_holds_the_client_wins),
		lab_test(pins_go_by_the_clients_key),
		lab_test(a_pin_goes_by_the_source_also_where_the_key_is_the_flow),
		lab_test(a_pin_ends_when_it_says),
		lab_test(a_held_out_client_never_sees_a_canary),
		lab_test(the_holdout_ends_at_its_threshold),
		lab_test(a_pin_goes_before_the_holdout),
		lab_test(killed_means_everyone_and_at_once),
		lab_test(a_mapped_source_is_the_ipv4_client),
		lab_test(a_cohort_without_a_backend_falls_back_to_control),
		lab_test(without_any_backend_a_packet_is_dropped),
	};

	return cmocka_run_group_tests_name("prog/overrides", tests, lab_setup_group,
					   lab_teardown_group);
}
