// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is counted where: the right backend, service and reason of each of many packets; and that
 * what was passed or dropped counts for nobody. Counters live as long as the box: tests look at how
 * they grew.
 */
#include "lab.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CLIENTS	     200
#define WHOLE	     1000000

static const char client4[] = "198.51.100.7", client6[] = "2001:db8:1:2:3::4";

static struct packet_plan packet_of(int family)
{
	return family == 4 ? packet_tcp(client4, 40000, LAB_VIP4, 80)
			   : packet_tcp(client6, 40000, LAB_VIP6, 80);
}

/* IP bytes and what is in front of them. */
static size_t bytes_of(const struct packet_plan *plan)
{
	struct frame frame;

	packet_build(plan, &frame);
	return frame.size;
}

/* ---- all counters of one service ---- */

struct counts {
	struct rule_counter rule[COHORTS_MAX], no_rule[COHORTS_MAX];
	struct backend_counter backend[8];
	struct decision_counter decisions;
};

static void read_counts(const struct lab *lab, const struct lab_service *service,
			struct counts *out)
{
	size_t count = 0, i;

	memset(out, 0, sizeof(*out));
	for (i = 0; i < service->service.cohorts_count; i++) {
		out->rule[i] = lab_rule_counter(lab, service, 0, i);
		out->no_rule[i] = lab_rule_counter(lab, service, RULE_NONE, i);
		count += service->service.cohorts[i].backends_count;
	}
	assert_true(count <= COUNT(out->backend));
	for (i = 0; i < count; i++)
		out->backend[i] = lab_backend_counter(lab, service, i);
	out->decisions = lab_decision_counter(lab, service);
}

/* Since @before. */
static void read_growth(const struct lab *lab, const struct lab_service *service,
			const struct counts *before, struct counts *out)
{
	const uint64_t *from = (const uint64_t *)before;
	uint64_t *words = (uint64_t *)out;
	size_t i;

	read_counts(lab, service, out);
	for (i = 0; i < sizeof(*out) / sizeof(*words); i++)
		words[i] -= from[i];
}

static void assert_counts(const struct counts *actual, const struct counts *expected)
{
	size_t i;

	for (i = 0; i < STEER_REASONS; i++)
		assert_int_equal(actual->decisions.packets[i], expected->decisions.packets[i]);
	for (i = 0; i < COUNT(actual->backend); i++) {
		assert_int_equal(actual->backend[i].packets, expected->backend[i].packets);
		assert_int_equal(actual->backend[i].bytes, expected->backend[i].bytes);
	}
	assert_memory_equal(actual->rule, expected->rule, sizeof(actual->rule));
	assert_memory_equal(actual->no_rule, expected->no_rule, sizeof(actual->no_rule));
}

/* What one more packet of @bytes comes to, at the only backend of a cohort of a usual service. */
static void expect_packet(struct counts *expected, struct rule_counter *rule, size_t cohort,
			  enum reason decision, size_t bytes)
{
	rule[cohort].packets++;
	rule[cohort].bytes += bytes;
	expected->backend[cohort].packets++;
	expected->backend[cohort].bytes += bytes;
	expected->decisions.packets[decision]++;
}

static void assert_steered(struct lab *lab, const struct frame *in, int cohort)
{
	struct run run;

	lab_run(lab, in, &run);
	assert_int_equal(lab_cohort_of(&run), cohort);
}

static void add_flags(struct rule_counter *counter, uint8_t flags)
{
	counter->syns += (flags & FLAG_SYN) && !(flags & FLAG_ACK);
	counter->fins += !!(flags & FLAG_FIN);
	counter->rsts += !!(flags & FLAG_RST);
}

/* ---- who is counted where ---- */

static struct packet_plan packet_from(unsigned int client)
{
	struct packet_plan plan = packet_of(4);

	store16(plan.source.bytes + 2, client);
	plan.payload = 50 + client % 50; /* explain has room for its answer */
	return plan;
}

static void every_backend_has_its_own_packets_and_bytes(void **state)
{
	struct counts before, actual, expected = {0};
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	unsigned int i;

	lab_add_backend(service, 0, "10.0.0.12", 50, LAB_INGRESS);
	lab_add_backend(service, 0, "10.0.0.13", 100, LAB_INGRESS);
	lab_add_backend(service, 1, "10.0.1.12", 100, LAB_EGRESS);
	lab_set_share(service, 1, WHOLE / 2);
	lab_publish(lab);
	read_counts(lab, service, &before);
	for (i = 0; i < CLIENTS; i++) {
		struct packet_plan plan = packet_from(i);
		size_t bytes = bytes_of(&plan), number;
		struct run run;
		int cohort;

		lab_run_plan(lab, &plan, &run);
		cohort = lab_cohort_of(&run);
		assert_in_range(cohort, 0, 1);
		/* Control's three, then the canary's two. */
		number = cohort * 3 + lab_backend_of(&run);
		expected.rule[cohort].packets++;
		expected.rule[cohort].bytes += bytes;
		expected.backend[number].packets++;
		expected.backend[number].bytes += bytes;
		expected.decisions.packets[REASON_DEFAULT]++;
	}
	read_growth(lab, service, &before, &actual);
	assert_counts(&actual, &expected);
	for (i = 0; i < 5; i++)
		assert_true(actual.backend[i].packets > 0);
}

/* Pinned and held-out clients are under no rule. */
static void decisions_are_counted_under_the_reason_that_explain_gives(void **state)
{
	struct counts before, actual, expected = {0};
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	unsigned int i;

	service->service.holdout_ppm = WHOLE / 2;
	lab_set_share(service, 1, WHOLE / 2);
	for (i = 0; i < CLIENTS; i += 4) {
		struct packet_plan plan = packet_from(i);
		char text[ADDRESS_TEXT_SIZE];

		lab_add_pin(service, address_format(&plan.source, text), i / 4 % 2, PIN_FOREVER);
	}
	lab_publish(lab);
	read_counts(lab, service, &before);
	for (i = 0; i < CLIENTS; i++) {
		struct packet_plan plan = packet_from(i);
		struct explanation said = lab_explain(lab, &plan);
		bool by_rule = said.rule != RULE_NONE;
		struct run run;

		assert_int_equal(said.decision == REASON_OVERRIDE, i % 4 == 0);
		assert_int_equal(by_rule, said.decision == REASON_DEFAULT);
		lab_run_plan(lab, &plan, &run);
		assert_int_equal(lab_cohort_of(&run), said.cohort);
		expect_packet(&expected, by_rule ? expected.rule : expected.no_rule, said.cohort,
			      said.decision, bytes_of(&plan));
	}
	read_growth(lab, service, &before, &actual);
	assert_counts(&actual, &expected);
	for (i = 0; i < 2; i++)
		assert_true(actual.rule[i].packets && actual.no_rule[i].packets);
	assert_true(actual.decisions.packets[REASON_HOLDOUT] > 0);
}

static void services_do_not_share_counters(void **state)
{
	struct counts before[2], actual[2], expected[2] = {0};
	struct lab_service *services[2];
	struct lab *lab = *state;
	struct frame frame;
	size_t i;

	services[0] = lab_add_usual(lab, STEER_IPIP, 4);
	services[1] = lab_add_service(lab, "other", STEER_L2);
	lab_add_vip(services[1], "192.0.2.20:80/tcp");
	lab_add_backend(services[1], 0, "10.0.0.11", 100, LAB_INGRESS);
	lab_publish(lab);
	for (i = 0; i < 2; i++)
		read_counts(lab, services[i], &before[i]);
	for (i = 0; i < 30; i++) {
		bool other = i % 3 == 0;
		const char *vip = other ? "192.0.2.20" : LAB_VIP4;
		struct packet_plan plan = packet_tcp(client4, 1 + i, vip, 80);

		packet_build(&plan, &frame);
		assert_steered(lab, &frame, 0);
		expect_packet(&expected[other], expected[other].rule, 0, REASON_DEFAULT,
			      frame.size);
	}
	for (i = 0; i < 2; i++) {
		read_growth(lab, services[i], &before[i], &actual[i]);
		assert_counts(&actual[i], &expected[i]);
	}
}

/* ---- what is not steered ---- */

/* Of a usual service whose packets @spoil makes undeliverable. */
static void check_dropped(struct lab *lab, enum reason reason,
			  void (*spoil)(struct lab *lab, struct lab_service *service))
{
	struct counts before, actual, nothing = {0};
	struct lab_service *service;
	struct frame frame;
	int i;

	lab_reset(lab);
	service = lab_add_usual(lab, STEER_IPIP, 4);
	spoil(lab, service);
	lab_publish(lab);
	read_counts(lab, service, &before);
	for (i = 0; i < 4; i++) {
		struct packet_plan plan = packet_of(i < 2 ? 4 : 6);

		plan.tcp_flags = FLAG_SYN;
		plan.tags = i % 2;
		packet_build(&plan, &frame);
		lab_assert_dropped(lab, &frame, reason);
	}
	lab->metadata = 0;
	read_growth(lab, service, &before, &actual);
	assert_counts(&actual, &nothing);
}

static void take_weight(struct lab *lab, struct lab_service *service)
{
	(void)lab;
	service->backends[0][0].backend.weight = 0;
}

static void take_next_hop(struct lab *lab, struct lab_service *service)
{
	(void)lab;
	service->backends[0][0].hop.state = NEXT_HOP_FAILED;
}

static void take_mtu(struct lab *lab, struct lab_service *service)
{
	(void)lab;
	service->backends[0][0].hop.mtu = 60; /* below the quote of an answer: none is sent */
}

static void take_headroom(struct lab *lab, struct lab_service *service)
{
	(void)service;
	lab->metadata = LAB_METADATA_MOST;
}

static void dropped_packets_are_counted_as_dropped_and_not_as_steered(void **state)
{
	check_dropped(*state, REASON_NO_BACKEND, take_weight);
	check_dropped(*state, REASON_NO_NEXT_HOP, take_next_hop);
	check_dropped(*state, REASON_TOO_BIG, take_mtu);
	check_dropped(*state, REASON_NO_HEADROOM, take_headroom);
}

static void shadow_mode_counts_what_would_be_done_and_passes_untouched(void **state)
{
	static void (*const spoils[])(struct lab *, struct lab_service *) = {
		NULL, take_next_hop, take_mtu, take_headroom};
	struct lab *lab = *state;
	size_t i;

	for (i = 0; i < COUNT(spoils); i++) {
		struct counts before, actual, expected = {0};
		struct packet_plan plan = packet_of(i % 2 ? 4 : 6);
		struct lab_service *service;
		struct frame frame;

		lab_reset(lab);
		service = lab_add_usual(lab, i % 2 ? STEER_IPIP : STEER_L2, 4);
		service->service.enforce = false;
		lab_set_share(service, 1, i ? 0 : WHOLE);
		if (spoils[i])
			spoils[i](lab, service);
		lab_publish(lab);
		read_counts(lab, service, &before);
		plan.tcp_flags = FLAG_SYN | FLAG_FIN;
		plan.tags = i % 3;
		packet_build(&plan, &frame);
		lab_assert_passed(lab, &frame, REASON_NOT_ENFORCED);
		lab->metadata = 0;
		expect_packet(&expected, expected.rule, !i, REASON_DEFAULT, frame.size);
		add_flags(&expected.rule[!i], plan.tcp_flags);
		read_growth(lab, service, &before, &actual);
		assert_counts(&actual, &expected);
	}
}

static void passed_packets_are_not_counted_as_steered(void **state)
{
	struct counts before, actual, nothing = {0};
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	struct packet_plan plan = packet_of(4);
	struct frame frame;

	lab_publish(lab);
	read_counts(lab, service, &before);
	plan.destination_port = 81;
	packet_build(&plan, &frame);
	lab_assert_passed(lab, &frame, REASON_NOT_VIP);
	plan = packet_of(4);
	plan.fragment = 0x2000;
	packet_build(&plan, &frame);
	lab_assert_passed(lab, &frame, REASON_FRAGMENT);
	plan = packet_of(6);
	packet_build(&plan, &frame);
	frame.size--;
	lab_assert_passed(lab, &frame, REASON_TRUNCATED);
	read_growth(lab, service, &before, &actual);
	assert_counts(&actual, &nothing);
}

static void shadow_mode_passes_without_a_backend_too(void **state)
{
	struct packet_plan plan = packet_of(4);
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	struct frame frame;

	service->service.enforce = false;
	take_weight(lab, service);
	lab_publish(lab);
	packet_build(&plan, &frame);
	lab_assert_passed(lab, &frame, REASON_NOT_ENFORCED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(every_backend_has_its_own_packets_and_bytes),
		lab_test(decisions_are_counted_under_the_reason_that_explain_gives),
		lab_test(services_do_not_share_counters),
		lab_test(dropped_packets_are_counted_as_dropped_and_not_as_steered),
		lab_test(shadow_mode_counts_what_would_be_done_and_passes_untouched),
		lab_test(shadow_mode_passes_without_a_backend_too),
		lab_test(passed_packets_are_not_counted_as_steered),
	};

	return cmocka_run_group_tests_name("prog/counting", tests, lab_setup_group,
					   lab_teardown_group);
}
