// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is counted of a packet that is steered: by rule and cohort, backend, decision, and
 * interface.
 */
#include "lab.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* All counters of a service of two cohorts with a backend each, and of its interface. */
struct counters {
	struct rule_counter
		rules[2][2]; /* [0]: no rule decided; [1]: the default rule; then by cohort */
	struct backend_counter backends[2];
	struct decision_counter decisions;
	struct interface_counter interface;
};

static void read_counters(const struct lab *lab, const struct lab_service *service,
			  struct counters *out)
{
	size_t cohort;

	for (cohort = 0; cohort < 2; cohort++) {
		out->rules[0][cohort] = lab_rule_counter(lab, service, RULE_NONE, cohort);
		out->rules[1][cohort] = lab_rule_counter(lab, service, 0, cohort);
		out->backends[cohort] = lab_backend_counter(lab, service, cohort);
	}
	out->decisions = lab_decision_counter(lab, service);
	out->interface = lab_interface_counter(lab);
}

static void add_packet(struct rule_counter *counter, uint64_t bytes, uint8_t flags)
{
	counter->packets++;
	counter->bytes += bytes;
	counter->syns += (flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN;
	counter->fins += !!(flags & FLAG_FIN);
	counter->rsts += !!(flags & FLAG_RST);
}

/* Runs the packet: exactly these counters have risen, and no other. */
static void assert_counted(struct lab *lab, const struct lab_service *service,
			   const struct packet_plan *plan, bool by_rule, int cohort,
			   enum reason decision, enum reason reason)
{
	struct counters expected, actual;
	struct frame frame;
	struct run run;

	packet_build(plan, &frame);
	read_counters(lab, service, &expected);
	add_packet(&expected.rules[by_rule][cohort], frame.size,
		   plan->protocol == IPPROTO_TCP ? plan->tcp_flags : 0);
	expected.backends[cohort].packets++;
	expected.backends[cohort].bytes += frame.size;
	expected.decisions.packets[decision]++;
	expected.interface.seen++;
	expected.interface.reasons[reason]++;
	lab_run(lab, &frame, &run);
	read_counters(lab, service, &actual);
	assert_memory_equal(&actual, &expected, sizeof(actual));
}

static struct packet_plan packet_from(const char *client)
{
	return packet_tcp(client, 40000, strchr(client, ':') ? LAB_VIP6 : LAB_VIP4, 80);
}

static void packets_and_bytes_are_the_frames_without_padding(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	struct packet_plan plan = packet_from("198.51.100.7");
	struct rule_counter before;
	struct frame frame;
	struct run run;

	lab_publish(lab);
	for (plan.payload = 0; plan.payload < 9000; plan.payload = 2 * plan.payload + 1)
		assert_counted(lab, service, &plan, true, 0, REASON_DEFAULT, REASON_DEFAULT);
	for (plan.payload = 64; plan.tags <= 2; plan.tags++)
		assert_counted(lab, service, &plan, true, 0, REASON_DEFAULT, REASON_DEFAULT);
	plan = packet_from("2001:db8:1::1");
	assert_counted(lab, service, &plan, true, 0, REASON_DEFAULT, REASON_DEFAULT);
	plan.payload = 0;
	packet_build(&plan, &frame);
	before = lab_rule_counter(lab, service, 0, 0);
	frame.size += 100; /* padding */
	lab_run(lab, &frame, &run);
	assert_int_equal(lab_rule_counter(lab, service, 0, 0).bytes - before.bytes,
			 frame.size - 100);
}

static void syns_fins_and_rsts_are_counted(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	struct packet_plan plan = packet_from("198.51.100.7");
	int flags, cohort;

	for (cohort = 0; cohort < 2; cohort++) {
		lab_set_share(service, 1, cohort * 1000000);
		lab_publish(lab);
		for (flags = 0; flags < 256; flags++) {
			plan.tcp_flags = flags;
			assert_counted(lab, service, &plan, true, cohort, REASON_DEFAULT,
				       REASON_DEFAULT);
		}
	}
	plan.protocol = IPPROTO_UDP; /* the same bytes are no flags of UDP */
	plan.destination_port = 53;
	assert_counted(lab, service, &plan, true, 1, REASON_DEFAULT, REASON_DEFAULT);
}

static void decisions_without_a_rule_are_counted_apart(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	struct packet_plan plan = packet_from("203.0.113.9");
	unsigned int tries;

	lab_add_pin(service, "203.0.113.9", 1, PIN_FOREVER);
	lab_publish(lab);
	assert_counted(lab, service, &plan, false, 1, REASON_OVERRIDE, REASON_OVERRIDE);
	service_kill(lab->datapath, service->slot);
	assert_counted(lab, service, &plan, false, 0, REASON_KILLED, REASON_KILLED);
	service_lift_kill(lab->datapath, service->slot,
			  service_kills(lab->datapath, service->slot));
	service->pins_count = 0;
	service->service.holdout_ppm = 500000;
	lab_publish(lab);
	for (tries = 0; lab_explain(lab, &plan).decision != REASON_HOLDOUT; tries++) {
		assert_in_range(tries, 0, 200); /* half of them are */
		plan.source.bytes[3]++;
	}
	assert_counted(lab, service, &plan, false, 0, REASON_HOLDOUT, REASON_HOLDOUT);
}

static void a_fall_back_counts_for_control(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	struct packet_plan plan = packet_from("198.51.100.7");

	service->backends[1][0].backend.weight = 0;
	lab_set_share(service, 1, 1000000);
	lab_publish(lab);
	assert_counted(lab, service, &plan, true, 0, REASON_COHORT_DOWN, REASON_COHORT_DOWN);
}

static void what_is_not_enforced_is_counted_as_decided(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	struct packet_plan plan = packet_from("198.51.100.7");

	service->service.enforce = false;
	lab_set_share(service, 1, 1000000);
	lab_publish(lab);
	assert_counted(lab, service, &plan, true, 1, REASON_DEFAULT, REASON_NOT_ENFORCED);
}

static void what_is_dropped_is_not_counted_as_sent(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_IPIP, 4);
	struct packet_plan plan = packet_from("198.51.100.7");
	struct counters before, after;
	struct frame frame;

	service->backends[0][0].hop.state = NEXT_HOP_FAILED;
	lab_publish(lab);
	packet_build(&plan, &frame);
	read_counters(lab, service, &before);
	lab_assert_dropped(lab, &frame, REASON_NO_NEXT_HOP);
	read_counters(lab, service, &after);
	assert_memory_equal(&before, &after, offsetof(struct counters, interface));
}

static void counters_outlive_every_publication(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	struct packet_plan plan = packet_from("198.51.100.7");
	struct counters before, after;
	int i;

	lab_publish(lab);
	assert_counted(lab, service, &plan, true, 0, REASON_DEFAULT, REASON_DEFAULT);
	read_counters(lab, service, &before);
	for (i = 0; i < 5; i++) {
		service->service.holdout_ppm ^= 1;
		lab_publish(lab);
	}
	read_counters(lab, service, &after);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void each_interface_has_counters_of_its_own(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_from("198.51.100.7");
	struct interface_counter before = lab_interface_counter(lab);
	struct program *first = lab->program;
	struct run run;

	assert_int_equal(
		program_load(lab->datapath, lab_secret, 5, false, &lab->program, lab->errors), 0);
	lab_run_plan(lab, &plan, &run);
	program_free(lab->program);
	lab->program = first;
	assert_int_equal(lab_interface_counter(lab).seen, before.seen);
	lab_run_plan(lab, &plan, &run);
	assert_int_equal(lab_interface_counter(lab).seen, before.seen + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(packets_and_bytes_are_the_frames_without_padding),
		lab_test(syns_fins_and_rsts_are_counted),
		lab_test(decisions_without_a_rule_are_counted_apart),
		lab_test(a_fall_back_counts_for_control),
		lab_test(what_is_not_enforced_is_counted_as_decided),
		lab_test(what_is_dropped_is_not_counted_as_sent),
		lab_test(counters_outlive_every_publication),
		lab_test(each_interface_has_counters_of_its_own),
	};

	return cmocka_run_group_tests_name("prog/count", tests, lab_setup_group,
					   lab_teardown_group);
}
