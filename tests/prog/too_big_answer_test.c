// SPDX-License-Identifier: GPL-2.0-only
/*
 * Answers to packets that do not fit, wherever an edge is: every MTU, headers of any size, jumbo
 * frames, padding, and the limit of each CPU. They are read by the RFCs (792, 1191, 1812, 4443),
 * field by field.
 *
 * The first four packets of a jiffy are answered, whether or not it ends meanwhile: tests stay on
 * one CPU, whose limit it is, and wait for a new jiffy wherever they want an answer.
 */
#include "lab.h"

#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define MTU		1500
#define ICMP_HEADER	8
#define QUOTE_LEAST	28   /* RFC 792: the IP header and eight bytes more */
#define ANSWER_MOST4	576  /* RFC 1812 section 4.3.2.3 */
#define ANSWER_MOST6	1280 /* RFC 4443 section 2.4 c */
#define ANSWERS_A_JIFFY 4
#define BURST		20

static size_t header_size(int family)
{
	return family == 4 ? 20 : 40;
}

/* A packet to the VIP whose IP packet has @length bytes. */
static struct packet_plan packet_of(int family, size_t length)
{
	struct packet_plan plan = family == 4
					  ? packet_tcp("198.51.100.7", 40000, LAB_VIP4, 80)
					  : packet_tcp("2001:db8:1:2:3::4", 40000, LAB_VIP6, 80);

	plan.payload = length - header_size(family) - 20;
	return plan;
}

static void publish_narrow(struct lab *lab, enum steer_method steer, int family, uint16_t mtu,
			   uint32_t egress)
{
	struct lab_service *service;

	lab_reset(lab);
	service = lab_add_usual(lab, steer, family);
	service->backends[0][0].hop.mtu = mtu;
	service->backends[0][0].hop.ifindex = egress;
	lab_publish(lab);
}

/* ---- time ---- */

/* Advanced by the same interrupt as jiffies. */
static uint64_t jiffies(void)
{
	struct timespec now, resolution;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC_COARSE, &now), 0);
	assert_int_equal(clock_getres(CLOCK_MONOTONIC_COARSE, &resolution), 0);
	return (now.tv_sec * 1000000000ULL + now.tv_nsec) / resolution.tv_nsec;
}

/* Two: the kernel's two clocks do not move at the very same moment. */
static void wait_for_a_new_jiffy(void)
{
	uint64_t start = jiffies();

	while (jiffies() < start + 2)
		;
}

/* Not 0: there are not as many CPUs. */
static int use_cpu(int which)
{
	static cpu_set_t allowed;
	cpu_set_t one;
	int cpu;

	if (!CPU_COUNT(&allowed))
		assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && !which--)
			break;
	if (cpu == CPU_SETSIZE)
		return -1;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one);
}

/* ---- answers ---- */

static void check_icmp4(const struct packet_plan *plan, const uint8_t *ip, size_t size,
			uint16_t mtu)
{
	const uint8_t *icmp = ip + 20;

	assert_int_equal(ip[0], 0x45);
	assert_int_equal(load16(ip + 2), size);
	assert_true(size <= ANSWER_MOST4);
	assert_int_equal(load16(ip + 6) & 0x3fff, 0); /* whole */
	assert_true(ip[8] >= 32);
	assert_int_equal(ip[9], IPPROTO_ICMP);
	assert_memory_equal(ip + 12, plan->destination.bytes, 4);
	assert_memory_equal(ip + 16, plan->source.bytes, 4);
	assert_int_equal(packet_checksum(ip, 20, 0), 0);
	assert_int_equal(icmp[0], 3);
	assert_int_equal(icmp[1], 4);
	assert_int_equal(load16(icmp + 4), 0);
	assert_int_equal(load16(icmp + 6), mtu);
	assert_int_equal(packet_checksum(icmp, size - 20, 0), 0);
}

static void check_icmp6(const struct packet_plan *plan, const uint8_t *ip, size_t size,
			uint16_t mtu)
{
	uint32_t pseudo = packet_pseudo_sum(ip + 8, size - 40, IPPROTO_ICMPV6);
	const uint8_t *icmp = ip + 40;

	assert_int_equal(ip[0] >> 4, 6);
	assert_int_equal(load16(ip + 4), size - 40);
	assert_true(size <= ANSWER_MOST6);
	assert_int_equal(ip[6], IPPROTO_ICMPV6);
	assert_true(ip[7] >= 32);
	assert_memory_equal(ip + 8, plan->destination.bytes, 16);
	assert_memory_equal(ip + 24, plan->source.bytes, 16);
	assert_int_equal(icmp[0], 2);
	assert_int_equal(icmp[1], 0);
	assert_int_equal(load32(icmp + 4), mtu);
	assert_int_equal(packet_checksum(icmp, size - 40, pseudo), 0);
}

/* The answer tells the sender of @in that @mtu bytes are the most. */
static void check_answer(const struct packet_plan *plan, const struct frame *in,
			 const struct run *run, uint16_t mtu)
{
	size_t headers = header_size(plan->source.family) + ICMP_HEADER;
	size_t l3 = packet_l3_offset(plan);
	const uint8_t *ip = run->out.bytes + l3;
	size_t size = run->out.size - l3;

	assert_int_equal(run->verdict, XDP_TX);
	assert_true(run->out.size >= l3 + headers + QUOTE_LEAST);
	assert_memory_equal(run->out.bytes, in->bytes + 6, 6);
	assert_memory_equal(run->out.bytes + 6, in->bytes, 6);
	assert_memory_equal(run->out.bytes + 12, in->bytes + 12, l3 - 12); /* tags and type */
	if (plan->source.family == 4)
		check_icmp4(plan, ip, size, mtu);
	else
		check_icmp6(plan, ip, size, mtu);
	assert_true(run->out.size - headers <= in->size);
	assert_memory_equal(ip + headers, in->bytes + l3, size - headers);
}

static void assert_answered(struct lab *lab, const struct packet_plan *plan, uint16_t mtu)
{
	uint64_t before = lab_reason(lab, REASON_TOO_BIG);
	struct frame in;
	struct run run;

	packet_build(plan, &in);
	wait_for_a_new_jiffy();
	lab_run(lab, &in, &run);
	check_answer(plan, &in, &run, mtu);
	assert_int_equal(lab_reason(lab, REASON_TOO_BIG), before + 1);
}

static void assert_fits(struct lab *lab, const struct packet_plan *plan)
{
	struct run run;

	lab_run_plan(lab, plan, &run);
	assert_int_equal(lab_cohort_of(&run), 0);
}

static void assert_dropped(struct lab *lab, const struct packet_plan *plan)
{
	struct frame in;

	packet_build(plan, &in);
	wait_for_a_new_jiffy();
	lab_assert_dropped(lab, &in, REASON_TOO_BIG);
}

/* ---- tests ---- */

static void check_mtu(struct lab *lab, int outer, int inner, uint16_t mtu)
{
	size_t most = mtu - header_size(outer);
	struct packet_plan plan = packet_of(inner, most);

	publish_narrow(lab, STEER_IPIP, outer, mtu, LAB_INGRESS);
	assert_fits(lab, &plan);
	plan.payload++;
	assert_answered(lab, &plan, most);
	plan.protocol = IPPROTO_UDP; /* its header is 12 bytes shorter */
	plan.destination_port = 53;
	assert_fits(lab, &plan);
	plan.payload += 12;
	assert_answered(lab, &plan, most);
}

static void a_sender_is_told_the_mtu_less_the_outer_header(void **state)
{
	static const uint16_t mtus[] = {576, 1280, 1400, MTU, 2000, 9000};
	size_t i;
	int kind;

	for (i = 0; i < COUNT(mtus); i++)
		for (kind = 0; kind < 4; kind++)
			check_mtu(*state, kind & 1 ? 4 : 6, kind & 2 ? 4 : 6, mtus[i]);
}

static void vlan_tags_stay_and_take_nothing_of_the_mtu(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan;
	int family;

	publish_narrow(lab, STEER_IPIP, 4, MTU, LAB_INGRESS);
	for (family = 4; family <= 6; family += 2) {
		plan = packet_of(family, MTU - 20);
		for (plan.tags = 1; plan.tags <= 2; plan.tags++)
			assert_fits(lab, &plan);
		plan.payload++;
		for (plan.tags = 1; plan.tags <= 2; plan.tags++)
			assert_answered(lab, &plan, MTU - 20);
		plan.tags = 2;
		plan.tag_types[0] = TYPE_QINQ;
		assert_answered(lab, &plan, MTU - 20);
	}
}

static void options_and_extension_headers_are_quoted_too(void **state)
{
	static const uint8_t types[] = {IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT};
	struct lab *lab = *state;
	struct packet_plan plan = packet_of(4, MTU);

	publish_narrow(lab, STEER_IPIP, 6, MTU, LAB_INGRESS);
	plan.traffic_class = 0xb9;
	plan.options = 40;
	assert_answered(lab, &plan, MTU - 40);
	plan = packet_of(6, MTU);
	plan.traffic_class = 0xb9;
	memcpy(plan.extension_types, types, sizeof(types));
	plan.extensions = sizeof(types);
	assert_answered(lab, &plan, MTU - 40);
}

static void jumbo_frames_of_any_size_are_answered(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan;
	int family;

	publish_narrow(lab, STEER_IPIP, 4, MTU, LAB_INGRESS);
	for (family = 4; family <= 6; family += 2)
		for (plan = packet_of(family, 3000); plan.payload < 9500; plan.payload += 499) {
			plan.tags = plan.payload % 3;
			assert_answered(lab, &plan, MTU - 20);
		}
}

static void padding_is_neither_measured_nor_quoted(void **state)
{
	struct packet_plan plan = packet_of(4, 600 - 20);
	struct lab *lab = *state;
	struct frame in;
	struct run run;

	publish_narrow(lab, STEER_IPIP, 4, 600, LAB_INGRESS);
	packet_build(&plan, &in);
	memset(in.bytes + in.size, 0xee, 1000);
	in.size += 1000;
	lab_run(lab, &in, &run);
	assert_int_equal(lab_cohort_of(&run), 0);

	plan.payload++;
	packet_build(&plan, &in);
	memset(in.bytes + in.size, 0xee, 1000);
	in.size += 1000;
	wait_for_a_new_jiffy();
	lab_run(lab, &in, &run);
	in.size -= 1000;
	check_answer(&plan, &in, &run, 600 - 20);
}

static void the_answer_leaves_where_the_packet_came_in(void **state)
{
	struct packet_plan plan = packet_of(4, MTU);
	struct lab *lab = *state;

	publish_narrow(lab, STEER_IPIP, 4, MTU, LAB_EGRESS);
	assert_answered(lab, &plan, MTU - 20); /* XDP_TX, not a redirect */
}

static void what_owes_no_answer_is_dropped_in_every_form(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_of(4, MTU + 1);

	publish_narrow(lab, STEER_IPIP, 6, MTU, LAB_INGRESS);
	plan.dont_fragment = false;
	for (plan.tags = 0; plan.tags <= 2; plan.tags++)
		assert_dropped(lab, &plan);
	publish_narrow(lab, STEER_L2, 4, MTU, LAB_INGRESS);
	plan = packet_of(6, MTU);
	assert_fits(lab, &plan);
	plan.payload++;
	for (plan.tags = 0; plan.tags <= 2; plan.tags++)
		assert_dropped(lab, &plan);
	plan = packet_of(6, 9000);
	assert_dropped(lab, &plan);
}

static void without_headroom_for_the_answer_it_is_dropped(void **state)
{
	struct packet_plan plan = packet_of(4, MTU);
	struct lab *lab = *state;

	publish_narrow(lab, STEER_IPIP, 4, MTU, LAB_INGRESS);
	lab->metadata = LAB_METADATA_MOST;
	assert_dropped(lab, &plan);
}

/* ---- the limit ---- */

static unsigned int answers_of(struct lab *lab, const struct packet_plan *plan, unsigned int count)
{
	uint64_t before = lab_reason(lab, REASON_TOO_BIG);
	unsigned int answers = 0, i;
	struct frame in;
	struct run run;

	packet_build(plan, &in);
	for (i = 0; i < count; i++) {
		lab_run(lab, &in, &run);
		assert_true(run.verdict == XDP_TX || run.verdict == XDP_DROP);
		answers += run.verdict == XDP_TX;
	}
	assert_int_equal(lab_reason(lab, REASON_TOO_BIG), before + count);
	return answers;
}

/*
 * Bursts within one tick of the clock. In a few of them the next jiffy may have begun, where it
 * moved just before the clock did, and they have more answers: the least is the limit. Of longer
 * bursts nothing is said.
 */
static void a_jiffy_has_four_answers_of_both_families_together(void **state)
{
	struct packet_plan plans[] = {packet_of(4, MTU), packet_of(6, MTU)};
	unsigned int turn, judged = 0, least = BURST;
	struct lab *lab = *state;

	publish_narrow(lab, STEER_IPIP, 4, MTU, LAB_INGRESS);
	for (turn = 0; turn < 500 && judged < 50; turn++) {
		unsigned int answers;
		uint64_t start;

		wait_for_a_new_jiffy();
		start = jiffies();
		answers = answers_of(lab, &plans[turn % 2], ANSWERS_A_JIFFY);
		assert_int_equal(answers, ANSWERS_A_JIFFY);
		answers += answers_of(lab, &plans[(turn + 1) % 2], BURST - ANSWERS_A_JIFFY);
		if (jiffies() != start)
			continue;
		judged++;
		if (answers < least)
			least = answers;
	}
	if (!judged) {
		print_message("SKIP: %d packets take longer than a jiffy here\n", BURST);
		skip();
	}
	assert_int_equal(least, ANSWERS_A_JIFFY);
}

static void every_cpu_has_a_limit_of_its_own(void **state)
{
	struct packet_plan plan = packet_of(4, MTU);
	struct lab *lab = *state;
	int turn;

	publish_narrow(lab, STEER_IPIP, 4, MTU, LAB_INGRESS);
	if (use_cpu(1)) {
		print_message("SKIP: there is one CPU\n");
		skip();
	}
	for (turn = 0; turn < 20; turn++) {
		assert_int_equal(use_cpu(0), 0);
		wait_for_a_new_jiffy();
		assert_true(answers_of(lab, &plan, 2 * ANSWERS_A_JIFFY) >= ANSWERS_A_JIFFY);
		assert_int_equal(use_cpu(1), 0);
		assert_int_equal(answers_of(lab, &plan, ANSWERS_A_JIFFY), ANSWERS_A_JIFFY);
	}
}

static int setup(void **state)
{
	return use_cpu(0) || lab_setup(state);
}

#define on_one_cpu(function) cmocka_unit_test_setup(function, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		on_one_cpu(a_sender_is_told_the_mtu_less_the_outer_header),
		on_one_cpu(vlan_tags_stay_and_take_nothing_of_the_mtu),
		on_one_cpu(options_and_extension_headers_are_quoted_too),
		on_one_cpu(jumbo_frames_of_any_size_are_answered),
		on_one_cpu(padding_is_neither_measured_nor_quoted),
		on_one_cpu(the_answer_leaves_where_the_packet_came_in),
		on_one_cpu(what_owes_no_answer_is_dropped_in_every_form),
		on_one_cpu(without_headroom_for_the_answer_it_is_dropped),
		on_one_cpu(a_jiffy_has_four_answers_of_both_families_together),
		on_one_cpu(every_cpu_has_a_limit_of_its_own),
	};

	return cmocka_run_group_tests_name("prog/too_big_answer", tests, lab_setup_group,
					   lab_teardown_group);
}
