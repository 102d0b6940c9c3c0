// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of what decides: killed, pinned, held out, rule; and what becomes of clients of a
 * cohort without a backend.
 */
#include "lab.h"
#include "oracle.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define CLIENTS 2000

static const uint8_t secret_bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct packet_plan packet_from(const char *client)
{
	return strchr(client, ':') ? packet_tcp(client, 40000, LAB_VIP6, 80)
				   : packet_tcp(client, 40000, LAB_VIP4, 80);
}

static struct packet_plan packet_number(unsigned int number)
{
	struct packet_plan plan = packet_from("198.51.0.0");

	store16(plan.source.bytes + 2, number);
	return plan;
}

/* Runs the packet and expects it steered to @cohort and counted under @reason. */
static void assert_decided(struct lab *lab, const struct packet_plan *plan, int cohort,
			   enum reason reason)
{
	uint64_t before = lab_reason(lab, reason);
	struct run run;

	lab_run_plan(lab, plan, &run);
	assert_int_equal(lab_cohort_of(&run), cohort);
	assert_int_equal(lab_reason(lab, reason), before + 1);
}

static void assert_client_decided(struct lab *lab, const char *client, int cohort,
				  enum reason reason)
{
	struct packet_plan plan = packet_from(client);

	assert_decided(lab, &plan, cohort, reason);
}

static void the_longest_pin_holds_the_client(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);

	service->service.prefix6 = 128;
	lab_add_pin(service, "198.51.100.0/24", 1, PIN_FOREVER);
	lab_add_pin(service, "198.51.100.64/26", 0, PIN_FOREVER);
	lab_add_pin(service, "198.51.100.70", 1, PIN_FOREVER);
	lab_add_pin(service, "2001:db8:5::/48", 1, PIN_FOREVER);
	lab_add_pin(service, "2001:db8:5:1::/64", 0, PIN_FOREVER);
	lab_add_pin(service, "2001:db8:5:1::7", 1, PIN_FOREVER);
	lab_publish(lab);
	assert_client_decided(lab, "198.51.99.255", 0, REASON_DEFAULT);
	assert_client_decided(lab, "198.51.100.0", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "198.51.100.63", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "198.51.100.64", 0, REASON_OVERRIDE);
	assert_client_decided(lab, "198.51.100.70", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "198.51.100.71", 0, REASON_OVERRIDE);
	assert_client_decided(lab, "198.51.100.127", 0, REASON_OVERRIDE);
	assert_client_decided(lab, "198.51.100.128", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "198.51.100.255", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "198.51.101.0", 0, REASON_DEFAULT);
	assert_client_decided(lab, "2001:db8:4:ffff:ffff:ffff:ffff:ffff", 0, REASON_DEFAULT);
	assert_client_decided(lab, "2001:db8:5::", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "2001:db8:5:1::6", 0, REASON_OVERRIDE);
	assert_client_decided(lab, "2001:db8:5:1::7", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "2001:db8:5:2::", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "2001:db8:6::", 0, REASON_DEFAULT);
}

/*
 * A client in an IPv6 packet whose source is an IPv4-mapped address; no text means it, for it is
 * IPv4.
 */
static struct packet_plan packet_mapped(const char *client)
{
	struct packet_plan plan = packet_from("2001:db8::1");
	struct address address = address_of(client);

	memset(plan.source.bytes, 0, 10);
	memset(plan.source.bytes + 10, 0xff, 2);
	memcpy(plan.source.bytes + 12, address.bytes, 4);
	return plan;
}

static void a_mapped_source_is_the_ipv4_client(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	struct explanation as_ipv4, as_ipv6;
	struct packet_plan mapped = packet_mapped("198.51.100.7"),
			   plain = packet_from("198.51.100.7");

	lab_add_pin(service, "203.0.113.0/24", 1, PIN_FOREVER);
	lab_add_pin(service, "::/0", 1, PIN_FOREVER); /* no prefix of IPv6 holds IPv4 clients */
	lab_publish(lab);
	as_ipv4 = lab_explain(lab, &plain);
	as_ipv6 = lab_explain(lab, &mapped);
	assert_true(as_ipv4.token == as_ipv6.token);
	assert_int_equal(as_ipv4.hash, as_ipv6.hash);
	assert_int_equal(as_ipv4.holdout_hash, as_ipv6.holdout_hash);
	assert_true(as_ipv4.flow == as_ipv6.flow);
	assert_decided(lab, &mapped, 0, REASON_DEFAULT);
	mapped = packet_mapped("203.0.113.9");
	assert_decided(lab, &mapped, 1, REASON_OVERRIDE);
	assert_client_decided(lab, "203.0.113.9", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "2001:db8::1", 1, REASON_OVERRIDE);
	/* Neighbours of the mapped block are none of it. */
	mapped.source.bytes[9] = 1;
	assert_decided(lab, &mapped, 1, REASON_OVERRIDE);
	mapped.source.bytes[9] = 0;
	mapped.source.bytes[11] = 0xfe;
	assert_decided(lab, &mapped, 1, REASON_OVERRIDE);
}

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void a_pin_ends_when_it_says(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	const struct timespec wait = {.tv_nsec = 120 * 1000000};
	uint64_t now = monotonic_ns();

	lab_add_pin(service, "198.51.100.1", 1, now - 1);
	lab_add_pin(service, "198.51.100.2", 1, now + 100 * 1000000ULL + 60 * 1000000000ULL);
	lab_publish(lab);
	assert_client_decided(lab, "198.51.100.1", 0, REASON_DEFAULT);
	assert_client_decided(lab, "198.51.100.2", 1, REASON_OVERRIDE);

	service->pins[0].expires = monotonic_ns() + 100 * 1000000ULL;
	lab_publish(lab);
	nanosleep(&wait, NULL);
	assert_client_decided(lab, "198.51.100.1", 0,
			      REASON_DEFAULT); /* with nobody writing anything */
}

static void held_out_clients_never_see_a_canary(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	uint64_t end = oracle_threshold(250000);
	unsigned int i, held = 0;

	service->service.holdout_ppm = 250000;
	lab_set_share(service, 1, 1000000);
	lab_add_pin(service, "198.51.7.0/24", 1, PIN_FOREVER);
	lab_publish(lab);
	for (i = 0; i < CLIENTS; i++) {
		struct packet_plan plan = packet_number(i);
		uint64_t token = oracle_token(secret_bytes, &plan.source, 32, 64);

		if (i >> 8 == 7) { /* a pin is stronger */
			assert_decided(lab, &plan, 1, REASON_OVERRIDE);
		} else if (oracle_hash(token, "xdp-canary/holdout") < end) {
			assert_decided(lab, &plan, 0, REASON_HOLDOUT);
			held++;
		} else {
			assert_decided(lab, &plan, 1, REASON_DEFAULT);
		}
	}
	assert_in_range(held, CLIENTS / 5, CLIENTS * 3 / 10);
}

static void shares_are_of_all_who_are_not_held_out(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	unsigned int i, held = 0, inside = 0;
	struct run run;

	service->service.holdout_ppm = 500000;
	lab_set_share(service, 1, 500000);
	lab_publish(lab);
	for (i = 0; i < CLIENTS; i++) {
		struct packet_plan plan = packet_number(i);
		uint64_t before = lab_reason(lab, REASON_HOLDOUT);

		lab_run_plan(lab, &plan, &run);
		held += lab_reason(lab, REASON_HOLDOUT) - before;
		inside += lab_cohort_of(&run);
	}
	assert_in_range(held, CLIENTS * 45 / 100, CLIENTS * 55 / 100);
	assert_in_range(inside, CLIENTS * 20 / 100, CLIENTS * 30 / 100);
}

static void kill_sends_everybody_to_control_at_once(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	unsigned int i;

	lab_add_pin(service, "203.0.113.9", 1, PIN_FOREVER);
	lab_set_share(service, 1, 1000000);
	lab_publish(lab);
	assert_client_decided(lab, "203.0.113.9", 1, REASON_OVERRIDE);
	assert_client_decided(lab, "198.51.100.7", 1, REASON_DEFAULT);
	service_kill(lab->datapath, service->slot);
	assert_true(service_is_killed(lab->datapath, service->slot));
	assert_client_decided(lab, "203.0.113.9", 0, REASON_KILLED);
	for (i = 0; i < 200; i++) {
		struct packet_plan plan = packet_number(i);

		plan.tcp_flags = i; /* live flows too */
		assert_decided(lab, &plan, 0, REASON_KILLED);
	}
	lab_publish(lab); /* a new view lifts nothing */
	assert_client_decided(lab, "203.0.113.9", 0, REASON_KILLED);
	service_lift_kill(lab->datapath, service->slot,
			  service_kills(lab->datapath, service->slot));
	assert_client_decided(lab, "203.0.113.9", 1, REASON_OVERRIDE);
}

static void a_service_not_enforced_counts_and_passes_untouched(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	struct packet_plan plan = packet_from("198.51.100.7");
	struct rule_counter before;
	struct frame frame;

	service->service.enforce = false;
	lab_set_share(service, 1, 1000000);
	lab_publish(lab);
	before = lab_rule_counter(lab, service, 0, 1);
	packet_build(&plan, &frame);
	lab_assert_passed(lab, &frame, REASON_NOT_ENFORCED);
	assert_int_equal(lab_rule_counter(lab, service, 0, 1).packets, before.packets + 1);
}

static void a_cohort_without_a_backend_falls_back_to_control(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);

	lab_add_pin(service, "203.0.113.9", 1, PIN_FOREVER);
	lab_set_share(service, 1, 1000000);
	service->backends[1][0].backend.weight = 0;
	lab_publish(lab);
	assert_client_decided(lab, "198.51.100.7", 0, REASON_COHORT_DOWN);
	assert_client_decided(lab, "203.0.113.9", 0, REASON_COHORT_DOWN);
	service->service.cohorts[1].backends_count = 0;
	lab_publish(lab);
	assert_client_decided(lab, "198.51.100.7", 0, REASON_COHORT_DOWN);
}

static void traffic_of_a_control_without_a_backend_is_dropped(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	struct packet_plan plan = packet_from("198.51.100.7");
	struct frame frame;

	service->backends[0][0].backend.weight = 0;
	lab_publish(lab);
	packet_build(&plan, &frame);
	lab_assert_dropped(lab, &frame, REASON_NO_BACKEND);
	/* The canary's clients have theirs. */
	lab_set_share(service, 1, 1000000);
	lab_publish(lab);
	assert_decided(lab, &plan, 1, REASON_DEFAULT);
	service->backends[1][0].backend.weight = 0;
	lab_publish(lab);
	lab_assert_dropped(lab, &frame, REASON_NO_BACKEND);
}

static void the_client_key_is_the_masked_source(void **state)
{
	static const unsigned int prefixes4[] = {8, 9, 16, 24, 31, 32};
	static const unsigned int prefixes6[] = {16, 17, 48, 63, 64, 65, 96, 127, 128};
	struct oracle_random random = oracle_seed(__func__);
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	unsigned int i, byte, round;

	for (i = 0; i < sizeof(prefixes6) / sizeof(prefixes6[0]); i++) {
		service->service.prefix4 = prefixes4[i % 6];
		service->service.prefix6 = prefixes6[i];
		lab_publish(lab);
		for (round = 0; round < 64; round++) {
			struct packet_plan plan =
				packet_from(round & 1 ? "198.51.100.7" : "2001:db8::1");

			for (byte = 0; byte < (round & 1 ? 4 : 16); byte++)
				plan.source.bytes[byte] = oracle_next(&random);
			assert_true(lab_explain(lab, &plan).token ==
				    oracle_token(secret_bytes, &plan.source,
						 service->service.prefix4,
						 service->service.prefix6));
		}
	}
}

static void the_client_key_can_be_the_flow(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	uint8_t key[37];
	int family;

	service->service.client_key = CLIENT_KEY_FLOW;
	lab_publish(lab);
	for (family = 4; family <= 6; family += 2) {
		struct packet_plan plan =
			packet_from(family == 4 ? "198.51.100.7" : "2001:db8:1:2:3::4");
		size_t size = family == 4 ? 4 : 16;

		memcpy(key, plan.source.bytes, size);
		memcpy(key + size, plan.destination.bytes, size);
		store16(key + 2 * size, plan.source_port);
		store16(key + 2 * size + 2, plan.destination_port);
		key[2 * size + 4] = IPPROTO_TCP;
		assert_true(lab_explain(lab, &plan).token ==
			    oracle_siphash(secret_bytes, key, 2 * size + 5));
	}
}

static void balance_goes_by_flow_or_by_client(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	unsigned int i, used[4] = {0};
	struct run run;

	for (i = 0; i < 3; i++)
		lab_add_backend(service, 0,
				(const char *[]){"10.0.0.12", "10.0.0.13", "10.0.0.14"}[i], 100, 1);
	lab_publish(lab);
	for (i = 0; i < CLIENTS; i++) {
		struct packet_plan plan = packet_from("198.51.100.7");

		plan.source_port = 1024 + i;
		lab_run_plan(lab, &plan, &run);
		used[lab_backend_of(&run)]++;
	}
	for (i = 0; i < 4; i++)
		assert_in_range(used[i], CLIENTS * 19 / 100, CLIENTS * 31 / 100);

	service->service.balance = BALANCE_CLIENT;
	lab_publish(lab);
	memset(used, 0, sizeof(used));
	for (i = 0; i < CLIENTS; i++) {
		struct packet_plan plan = packet_number(i / 2);
		int first;

		lab_run_plan(lab, &plan, &run);
		first = lab_backend_of(&run);
		used[first]++;
		plan.source_port = i;
		lab_run_plan(lab, &plan, &run);
		assert_int_equal(lab_backend_of(&run), first);
	}
	for (i = 0; i < 4; i++)
		assert_in_range(used[i], CLIENTS * 17 / 100, CLIENTS * 33 / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(the_longest_pin_holds_the_client),
		lab_test(a_mapped_source_is_the_ipv4_client),
		lab_test(a_pin_ends_when_it_says),
		lab_test(held_out_clients_never_see_a_canary),
		lab_test(shares_are_of_all_who_are_not_held_out),
		lab_test(kill_sends_everybody_to_control_at_once),
		lab_test(a_service_not_enforced_counts_and_passes_untouched),
		lab_test(a_cohort_without_a_backend_falls_back_to_control),
		lab_test(traffic_of_a_control_without_a_backend_is_dropped),
		lab_test(the_client_key_is_the_masked_source),
		lab_test(the_client_key_can_be_the_flow),
		lab_test(balance_goes_by_flow_or_by_client),
	};

	return cmocka_run_group_tests_name("prog/decision", tests, lab_setup_group,
					   lab_teardown_group);
}
