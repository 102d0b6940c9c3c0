// SPDX-License-Identifier: GPL-2.0-only
/*
 * Promise 1: traffic that is not for a VIP is passed on untouched, never dropped, altered or
 * answered. Each frame is also counted under the reason that it should be.
 */
#include "lab.h"
#include "oracle.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define OTHER4	     "192.0.2.11"
#define OTHER6	     "2001:db8::11"

static const char client4[] = "198.51.100.7", client6[] = "2001:db8:1:2:3::4";

static struct packet_plan packet_to(bool is_vip, int family, uint8_t protocol)
{
	struct packet_plan plan =
		family == 4 ? packet_tcp(client4, 40000, is_vip ? LAB_VIP4 : OTHER4, 80)
			    : packet_tcp(client6, 40000, is_vip ? LAB_VIP6 : OTHER6, 80);

	plan.protocol = protocol;
	if (protocol == IPPROTO_UDP)
		plan.destination_port = 53;
	return plan;
}

static void publish_both(struct lab *lab)
{
	lab_add_usual(lab, STEER_IPIP, 4);
	lab_publish(lab);
}

static void assert_plan_passed(struct lab *lab, const struct packet_plan *plan, enum reason reason)
{
	struct frame frame;

	packet_build(plan, &frame);
	lab_assert_passed(lab, &frame, reason);
}

/* To VIPs and to others, IPv4 and IPv6, TCP and UDP, with 0 to 2 tags: sixteen plans and more. */
static void for_each_plan(struct lab *lab, void (*check)(struct lab *lab, struct packet_plan plan))
{
	int kind, tags;

	for (kind = 0; kind < 8; kind++)
		for (tags = 0; tags <= 2; tags++) {
			struct packet_plan plan = packet_to(kind & 1, kind & 2 ? 4 : 6,
							    kind & 4 ? IPPROTO_TCP : IPPROTO_UDP);

			plan.tags = tags;
			check(lab, plan);
		}
}

static void promise_1_traffic_not_for_a_vip_is_passed_untouched(void **state)
{
	static const uint16_t other_ports[] = {1, 79, 81, 53, 0, 65535};
	struct lab *lab = *state;
	size_t i;
	int family;

	publish_both(lab);
	for (family = 4; family <= 6; family += 2) {
		struct packet_plan plan = packet_to(false, family, IPPROTO_TCP);

		assert_plan_passed(lab, &plan, REASON_NOT_VIP);
		plan = packet_to(false, family, IPPROTO_UDP);
		assert_plan_passed(lab, &plan, REASON_NOT_VIP);
		for (i = 0; i < COUNT(other_ports); i++) {
			plan = packet_to(true, family, IPPROTO_TCP);
			plan.destination_port = other_ports[i];
			assert_plan_passed(lab, &plan, REASON_NOT_VIP);
		}
		plan = packet_to(true, family, IPPROTO_UDP);
		plan.destination_port = 80;
		assert_plan_passed(lab, &plan, REASON_NOT_VIP);
	}
}

static void other_ethertypes_are_passed_untouched(void **state)
{
	static const uint16_t types[] = {TYPE_ARP, TYPE_LLDP, 0x8847, 0x8863, 0x8864,
					 0x9100,   0x88cc,    0x0026, 0x05dc, 0x0000,
					 0xffff,   0x0801,    0x86de};
	struct lab *lab = *state;
	struct frame frame;
	size_t i, payload;

	publish_both(lab);
	for (i = 0; i < COUNT(types); i++)
		for (payload = 0; payload < 64; payload += 7) {
			packet_build_ethernet(types[i], payload, &frame);
			lab_assert_passed(lab, &frame, REASON_NOT_IP);
			if (payload < 4)
				continue;
			packet_build_ethernet(TYPE_VLAN, payload, &frame);
			store16(frame.bytes + 16, types[i]);
			lab_assert_passed(lab, &frame, REASON_NOT_IP);
		}
}

static void other_protocols_are_passed_untouched(void **state)
{
	static const uint8_t protocols[] = {2, 4, 41, 47, 89, 103, 112, 132, 136, 253, 255};
	struct lab *lab = *state;
	size_t i;
	int kind;

	publish_both(lab);
	for (kind = 0; kind < 4; kind++) {
		for (i = 0; i < COUNT(protocols); i++) {
			struct packet_plan plan =
				packet_to(kind & 1, kind & 2 ? 4 : 6, protocols[i]);

			assert_plan_passed(lab, &plan, REASON_NOT_VIP);
		}
		/*
		 * Echo requests of either version, and an ICMP error: nothing of theirs is
		 * answered.
		 */
		for (i = 0; i < 256; i++) {
			struct packet_plan plan =
				packet_to(kind & 1, kind & 2 ? 4 : 6,
					  kind & 2 ? IPPROTO_ICMP : IPPROTO_ICMPV6);

			plan.source_port = i << 8;
			assert_plan_passed(lab, &plan, REASON_ICMP);
		}
	}
}

static void check_fragments(struct lab *lab, struct packet_plan plan)
{
	static const uint16_t first_middle_last[] = {0x2000, 0x2001, 0x20b9, 0x0001,
						     0x00b9, 0x1fff, 0x3fff};
	size_t i;

	if (plan.source.family == 6) {
		plan.extensions = 1;
		plan.extension_types[0] = IPPROTO_FRAGMENT;
	}
	plan.dont_fragment = false;
	for (i = 0; i < COUNT(first_middle_last); i++) {
		plan.fragment = first_middle_last[i];
		/* IPv6 has the offset in the upper 13 bits and the mark in the lowest. */
		plan.extension_fragment = first_middle_last[i] << 3 | first_middle_last[i] >> 13;
		assert_plan_passed(lab, &plan, REASON_FRAGMENT);
	}
}

static void fragments_are_passed_untouched(void **state)
{
	publish_both(*state);
	for_each_plan(*state, check_fragments);
}

static void ipv4_options_of_others_are_passed_untouched(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_to(false, 4, IPPROTO_TCP);

	publish_both(lab);
	for (plan.options = 4; plan.options <= 40; plan.options += 4)
		assert_plan_passed(lab, &plan, REASON_NOT_VIP);
}

static void extension_headers_of_others_are_passed_untouched(void **state)
{
	static const uint8_t types[] = {IPPROTO_HOPOPTS, IPPROTO_ROUTING,
					IPPROTO_DSTOPTS, IPPROTO_AH,
					IPPROTO_MH,	 IPPROTO_FRAGMENT /* atomic */};
	struct lab *lab = *state;
	struct packet_plan plan = packet_to(false, 6, IPPROTO_TCP);
	size_t i;

	publish_both(lab);
	plan.extensions = 1;
	for (i = 0; i < COUNT(types); i++) {
		plan.extension_types[0] = types[i];
		assert_plan_passed(lab, &plan, REASON_NOT_VIP);
	}
	/* What hides the ports, also towards a VIP: ESP, no next header, unknown ones. */
	for (i = 0; i < 3; i++) {
		static const uint8_t opaque[] = {IPPROTO_ESP, IPPROTO_NONE, 253};

		plan = packet_to(true, 6, opaque[i]);
		plan.extensions = i;
		plan.extension_types[0] = plan.extension_types[1] = IPPROTO_DSTOPTS;
		assert_plan_passed(lab, &plan, REASON_NOT_VIP);
	}
}

static void more_headers_than_are_parsed_are_passed_untouched(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan;
	int kind;

	publish_both(lab);
	for (kind = 0; kind < 4; kind++) {
		plan = packet_to(kind & 1, kind & 2 ? 4 : 6, IPPROTO_TCP);
		for (plan.tags = 3; plan.tags <= 4; plan.tags++)
			assert_plan_passed(lab, &plan, REASON_UNSUPPORTED);
	}
	for (kind = 0; kind < 2; kind++) {
		plan = packet_to(kind, 6, IPPROTO_TCP);
		memset(plan.extension_types, IPPROTO_DSTOPTS, sizeof(plan.extension_types));
		for (plan.extensions = 7; plan.extensions <= PACKET_EXTENSIONS_MAX;
		     plan.extensions++)
			assert_plan_passed(lab, &plan, REASON_UNSUPPORTED);
	}
}

static void check_every_length(struct lab *lab, struct packet_plan plan)
{
	struct frame frame;

	plan.payload = 5;
	packet_build(&plan, &frame);
	while (--frame.size >= 14)
		lab_assert_passed(lab, &frame, REASON_TRUNCATED);
}

static void check_every_length_with_more_headers(struct lab *lab, struct packet_plan plan)
{
	if (plan.source.family == 4) {
		plan.options = 8;
	} else {
		plan.extensions = 4;
		plan.extension_types[0] = IPPROTO_HOPOPTS;
		plan.extension_types[1] = IPPROTO_AH;
		plan.extension_types[2] = IPPROTO_FRAGMENT;
		plan.extension_types[3] = IPPROTO_DSTOPTS;
	}
	check_every_length(lab, plan);
}

static void packets_cut_off_anywhere_are_passed_untouched(void **state)
{
	publish_both(*state);
	for_each_plan(*state, check_every_length);
	for_each_plan(*state, check_every_length_with_more_headers);
}

/*
 * Lengths that IP gives: every one is wrong but the true one, and those that only leave padding
 * behind.
 */
static void check_every_stated_length(struct lab *lab, struct packet_plan plan)
{
	size_t l3 = packet_l3_offset(&plan), l4 = packet_l4_offset(&plan);
	bool is_ipv4 = plan.source.family == 4;
	size_t field = l3 + (is_ipv4 ? 2 : 4), least, stated;
	struct frame frame;

	plan.payload = 0;
	packet_build(&plan, &frame);
	least = frame.size - (is_ipv4 ? l3 : l4);
	for (stated = 0; stated < least; stated++) {
		store16(frame.bytes + field, stated);
		lab_assert_passed(lab, &frame, REASON_TRUNCATED);
	}
	for (stated = least + 1; stated < 0xffd8; stated += 1 + stated / 2) {
		store16(frame.bytes + field, stated);
		lab_assert_passed(lab, &frame, REASON_TRUNCATED);
	}
	for (stated = 0xffd8; !is_ipv4 && stated <= 0xffff; stated++) {
		store16(frame.bytes + field, stated);
		lab_assert_passed(lab, &frame, REASON_UNSUPPORTED);
	}
}

static void packets_that_lie_about_their_length_are_passed_untouched(void **state)
{
	publish_both(*state);
	for_each_plan(*state, check_every_stated_length);
}

static void check_versions(struct lab *lab, struct packet_plan plan)
{
	size_t l3 = packet_l3_offset(&plan);
	struct frame frame;
	int first;

	packet_build(&plan, &frame);
	for (first = 0; first < 256; first++) {
		bool is_wrong = plan.source.family == 4 ? first >> 4 != 4 || (first & 15) < 5
							: first >> 4 != 6;

		frame.bytes[l3] = first;
		if (is_wrong)
			lab_assert_passed(lab, &frame, REASON_TRUNCATED);
	}
}

static void wrong_versions_and_header_lengths_are_passed_untouched(void **state)
{
	publish_both(*state);
	for_each_plan(*state, check_versions);
}

static void jumbo_frames_of_others_are_passed_untouched(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan;
	struct frame frame;
	int family;

	publish_both(lab);
	for (family = 4; family <= 6; family += 2) {
		plan = packet_to(false, family, IPPROTO_TCP);
		plan.payload = 8900;
		assert_plan_passed(lab, &plan, REASON_NOT_VIP);
		plan = packet_to(true, family, IPPROTO_TCP);
		plan.payload = 8900;
		packet_build(&plan, &frame);
		frame.size--; /* cut off in its third buffer */
		lab_assert_passed(lab, &frame, REASON_TRUNCATED);
	}
}

static void a_box_without_services_passes_everything_untouched(void **state)
{
	struct lab *lab = *state;
	int kind;

	lab_publish(lab);
	for (kind = 0; kind < 8; kind++) {
		struct packet_plan plan =
			packet_to(kind & 1, kind & 2 ? 4 : 6, kind & 4 ? IPPROTO_TCP : IPPROTO_UDP);

		assert_plan_passed(lab, &plan, REASON_NOT_VIP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(promise_1_traffic_not_for_a_vip_is_passed_untouched),
		lab_test(other_ethertypes_are_passed_untouched),
		lab_test(other_protocols_are_passed_untouched),
		lab_test(fragments_are_passed_untouched),
		lab_test(ipv4_options_of_others_are_passed_untouched),
		lab_test(extension_headers_of_others_are_passed_untouched),
		lab_test(more_headers_than_are_parsed_are_passed_untouched),
		lab_test(packets_cut_off_anywhere_are_passed_untouched),
		lab_test(packets_that_lie_about_their_length_are_passed_untouched),
		lab_test(wrong_versions_and_header_lengths_are_passed_untouched),
		lab_test(jumbo_frames_of_others_are_passed_untouched),
		lab_test(a_box_without_services_passes_everything_untouched),
	};

	return cmocka_run_group_tests_name("prog/pass", tests, lab_setup_group, lab_teardown_group);
}
