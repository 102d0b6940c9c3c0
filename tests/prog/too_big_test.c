// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets that do not fit their tunnel: answered with the right ICMP where an answer is owed, at a
 * limited rate.
 */
#include "lab.h"

#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MTU	       1500
#define QUOTE	       512
#define ANSWERS_A_TICK 4

static struct packet_plan packet_of_ip_size(int family, size_t size)
{
	struct packet_plan plan = family == 4
					  ? packet_tcp("198.51.100.7", 40000, LAB_VIP4, 80)
					  : packet_tcp("2001:db8:1:2:3::4", 40000, LAB_VIP6, 80);

	plan.payload = size - (family == 4 ? 40 : 60);
	return plan;
}

static struct lab_service *publish(struct lab *lab, enum steer_method steer, int outer)
{
	struct lab_service *service = lab_add_usual(lab, steer, outer);

	service->backends[0][0].hop.mtu = MTU;
	lab_publish(lab);
	return service;
}

static uint64_t tick_ns(void)
{
	struct timespec resolution;

	clock_getres(CLOCK_MONOTONIC_COARSE, &resolution);
	return resolution.tv_nsec;
}

/* Until the next answers may be given. */
static void wait_for_ticks(void)
{
	const struct timespec wait = {.tv_nsec = 3 * tick_ns()};

	nanosleep(&wait, NULL);
}

static void expect_answer(const struct packet_plan *plan, uint32_t mtu, struct frame *out)
{
	size_t l3 = packet_l3_offset(plan), header = plan->source.family == 4 ? 20 : 40;
	struct frame in;
	uint8_t *ip = out->bytes + l3, *icmp = ip + header;

	packet_build(plan, &in);
	memset(out->bytes, 0, sizeof(out->bytes));
	memcpy(out->bytes, in.bytes + 6, 6);
	memcpy(out->bytes + 6, in.bytes, 6);
	memcpy(out->bytes + 12, in.bytes + 12, l3 - 12);
	out->size = l3 + header + 8 + QUOTE;
	memcpy(icmp + 8, in.bytes + l3, QUOTE);
	store32(icmp + 4, mtu);
	if (plan->source.family == 4) {
		ip[0] = 0x45;
		store16(ip + 2, 20 + 8 + QUOTE);
		ip[8] = 64;
		ip[9] = IPPROTO_ICMP;
		memcpy(ip + 12, plan->destination.bytes, 4);
		memcpy(ip + 16, plan->source.bytes, 4);
		store16(ip + 10, packet_checksum(ip, 20, 0));
		icmp[0] = 3; /* destination unreachable: fragmentation needed and DF set */
		icmp[1] = 4;
		store16(icmp + 2, packet_checksum(icmp, 8 + QUOTE, 0));
	} else {
		ip[0] = 0x60;
		store16(ip + 4, 8 + QUOTE);
		ip[6] = IPPROTO_ICMPV6;
		ip[7] = 64;
		memcpy(ip + 8, plan->destination.bytes, 16);
		memcpy(ip + 24, plan->source.bytes, 16);
		icmp[0] = 2; /* packet too big */
		store16(icmp + 2,
			packet_checksum(icmp, 8 + QUOTE,
					packet_pseudo_sum(ip + 8, 8 + QUOTE, IPPROTO_ICMPV6)));
	}
}

static void assert_answered(struct lab *lab, const struct packet_plan *plan, uint32_t mtu)
{
	uint64_t before = lab_reason(lab, REASON_TOO_BIG);
	struct frame expected;
	struct run run;

	wait_for_ticks();
	lab_run_plan(lab, plan, &run);
	assert_int_equal(run.verdict, XDP_TX);
	assert_int_equal(lab_reason(lab, REASON_TOO_BIG), before + 1);
	expect_answer(plan, mtu, &expected);
	assert_int_equal(run.out.size, expected.size);
	assert_memory_equal(run.out.bytes, expected.bytes, expected.size);
}

static void check_family(struct lab *lab, int outer, int inner)
{
	uint32_t fits = MTU - (outer == 4 ? 20 : 40);
	struct packet_plan plan;
	struct run run;

	publish(lab, STEER_IPIP, outer);
	plan = packet_of_ip_size(inner, fits);
	lab_run_plan(lab, &plan, &run);
	assert_int_equal(lab_cohort_of(&run), 0);
	plan = packet_of_ip_size(inner, fits + 1);
	for (plan.tags = 0; plan.tags <= 2; plan.tags++)
		assert_answered(lab, &plan, fits);
	plan = packet_of_ip_size(inner, 9000);
	assert_answered(lab, &plan, fits);
}

static void ipv4_in_ipv4_is_answered_with_fragmentation_needed(void **state)
{
	check_family(*state, 4, 4);
}

static void ipv4_in_ipv6_is_answered_with_fragmentation_needed(void **state)
{
	check_family(*state, 6, 4);
}

static void ipv6_in_ipv4_is_answered_with_packet_too_big(void **state)
{
	check_family(*state, 4, 6);
}

static void ipv6_in_ipv6_is_answered_with_packet_too_big(void **state)
{
	check_family(*state, 6, 6);
}

static void assert_plan_dropped(struct lab *lab, const struct packet_plan *plan)
{
	struct frame frame;

	packet_build(plan, &frame);
	wait_for_ticks();
	lab_assert_dropped(lab, &frame, REASON_TOO_BIG);
}

static void without_df_nobody_is_told(void **state)
{
	struct packet_plan plan = packet_of_ip_size(4, MTU);

	publish(*state, STEER_IPIP, 4);
	plan.dont_fragment = false;
	assert_plan_dropped(*state, &plan);
}

static void l2_tells_nobody(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_of_ip_size(4, MTU);
	struct run run;

	publish(lab, STEER_L2, 4);
	lab_run_plan(lab, &plan, &run);
	assert_int_equal(lab_cohort_of(&run), 0);
	plan = packet_of_ip_size(4, MTU + 1);
	assert_plan_dropped(lab, &plan);
}

static void without_an_mtu_everything_fits(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = publish(lab, STEER_IPIP, 4);
	struct packet_plan plan = packet_of_ip_size(4, 9000);
	struct run run;

	service->backends[0][0].hop.mtu = 0;
	lab_publish(lab);
	lab_run_plan(lab, &plan, &run);
	assert_int_equal(lab_cohort_of(&run), 0);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void stay_on_this_cpu(cpu_set_t *before)
{
	cpu_set_t one;

	sched_getaffinity(0, sizeof(*before), before);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static void answers_are_four_a_tick_at_the_most(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_of_ip_size(4, MTU);
	uint64_t before, begun, ticks, answers = 0, packets;
	cpu_set_t cpus;
	struct run run;

	publish(lab, STEER_IPIP, 4);
	stay_on_this_cpu(&cpus);
	before = lab_reason(lab, REASON_TOO_BIG);
	wait_for_ticks();
	begun = now_ns();
	for (packets = 0; packets < 5000; packets++) {
		lab_run_plan(lab, &plan, &run);
		assert_true(run.verdict == XDP_TX || run.verdict == XDP_DROP);
		answers += run.verdict == XDP_TX;
	}
	ticks = (now_ns() - begun) / tick_ns() + 2; /* begun ones count */
	sched_setaffinity(0, sizeof(cpus), &cpus);
	assert_in_range(answers, ANSWERS_A_TICK, ANSWERS_A_TICK * ticks);
	assert_true(answers < packets);
	assert_int_equal(lab_reason(lab, REASON_TOO_BIG), before + packets);
}

static void without_headroom_the_packet_is_dropped(void **state)
{
	static const int outers[] = {4, 6};
	struct lab *lab = *state;
	struct packet_plan plan = packet_of_ip_size(4, 200);
	struct frame frame;
	size_t i;

	packet_build(&plan, &frame);
	for (i = 0; i < 2; i++) {
		struct lab_service *service;
		struct rule_counter before;

		lab_reset(lab);
		service = publish(lab, STEER_IPIP, outers[i]);
		before = lab_rule_counter(lab, service, 0, 0);
		lab->metadata = 208; /* of 256 bytes of headroom, of which 40 are the frame's own */
		lab_assert_dropped(lab, &frame, REASON_NO_HEADROOM);
		lab->metadata = 0;
		assert_int_equal(lab_rule_counter(lab, service, 0, 0).packets, before.packets);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(ipv4_in_ipv4_is_answered_with_fragmentation_needed),
		lab_test(ipv4_in_ipv6_is_answered_with_fragmentation_needed),
		lab_test(ipv6_in_ipv4_is_answered_with_packet_too_big),
		lab_test(ipv6_in_ipv6_is_answered_with_packet_too_big),
		lab_test(without_df_nobody_is_told),
		lab_test(l2_tells_nobody),
		lab_test(without_an_mtu_everything_fits),
		lab_test(answers_are_four_a_tick_at_the_most),
		lab_test(without_headroom_the_packet_is_dropped),
	};

	return cmocka_run_group_tests_name("prog/too_big", tests, lab_setup_group,
					   lab_teardown_group);
}
