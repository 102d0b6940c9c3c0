// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random frames: from nothing, and from good ones with bytes changed and ends cut off. What each
 * should come to is the oracle's word; all are counted (promise 11), and what is not for a VIP is
 * untouched (promise 1).
 */
#include "lab.h"
#include "oracle.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FRAMES	  150000
#define NOISE_MAX 200

static void random_bytes(struct oracle_random *random, uint8_t *to, size_t count)
{
	while (count--)
		*to++ = oracle_next(random);
}

/* A good packet of any kind, to a VIP or not. */
static void build_any(struct oracle_random *random, struct frame *frame)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6,
					    IPPROTO_SCTP};
	static const uint8_t types[] = {IPPROTO_HOPOPTS, IPPROTO_ROUTING,  IPPROTO_DSTOPTS,
					IPPROTO_AH,	 IPPROTO_FRAGMENT, IPPROTO_MH};
	static const uint16_t ports[] = {80, 53, 443};
	uint64_t dice = oracle_next(random);
	struct packet_plan plan =
		dice & 1 ? packet_tcp("198.51.100.7", 1, dice & 2 ? LAB_VIP4 : "192.0.2.99", 80)
			 : packet_tcp("2001:db8:7::1", 1, dice & 2 ? LAB_VIP6 : "2001:db8::9", 80);
	unsigned int i;

	plan.protocol = protocols[(dice >> 4) % 8 < 5 ? (dice >> 4) % 8 : 0];
	plan.destination_port = ports[(dice >> 8) % 3];
	plan.source_port = dice >> 16;
	plan.tags = (dice >> 32) % 8 < 4 ? (dice >> 32) % 8 : 0;
	plan.payload = (dice >> 36) % 40;
	plan.tcp_flags = dice >> 44;
	plan.dont_fragment = dice >> 52 & 1;
	if (!(dice >> 53 & 7))
		plan.fragment = plan.extension_fragment = oracle_next(random) & 0x3fff;
	plan.options = (dice >> 56) % 8 ? 0 : 4 * ((dice >> 60) % 11);
	plan.extensions = (dice >> 56) % 4 ? 0 : (dice >> 60) % (PACKET_EXTENSIONS_MAX + 1);
	for (i = 0; i < plan.extensions; i++)
		plan.extension_types[i] = types[oracle_next(random) % sizeof(types)];
	packet_build(&plan, frame);
}

/*
 * One frame in four is pure noise behind a type; the rest are packets with up to three bytes
 * changed.
 */
static void build_garbage(struct oracle_random *random, struct frame *frame)
{
	static const uint16_t frame_types[] = {TYPE_IPV4, TYPE_IPV6, TYPE_VLAN, TYPE_QINQ};
	uint64_t dice = oracle_next(random);
	size_t changes = (dice >> 8) % 4;

	if (dice % 4) {
		build_any(random, frame);
		while (changes--)
			frame->bytes[12 + oracle_next(random) % (frame->size - 12)] =
				oracle_next(random);
		if (!(dice >> 16 & 7))
			frame->size -= (dice >> 20) % (frame->size - 13);
		return;
	}
	frame->size = 14 + (dice >> 20) % NOISE_MAX;
	random_bytes(random, frame->bytes, frame->size);
	if (dice >> 40 & 7)
		store16(frame->bytes + 12, frame_types[(dice >> 44) % 4]);
	if (frame->size > 14 && dice >> 50 & 1)
		frame->bytes[14] = dice >> 51 & 1 ? 0x45 : 0x60;
}

static bool is_for_vip(const struct oracle_packet *packet)
{
	static const char *const vips[] = {LAB_VIP4, LAB_VIP6};
	struct address vip;
	uint16_t port = packet->protocol == IPPROTO_TCP ? 80 : 53;
	size_t i;

	if (packet->reason != ORACLE_TRANSPORT || packet->destination_port != port)
		return false;
	for (i = 0; i < 2; i++) {
		vip = address_of(vips[i]);
		if (vip.family == packet->destination.family &&
		    !memcmp(vip.bytes, packet->destination.bytes, 16))
			return true;
	}
	return false;
}

static void explain_failure(const struct frame *frame, uint32_t verdict, int expected)
{
	size_t i;

	for (i = 0; i < frame->size; i++)
		fprintf(stderr, "%02x", frame->bytes[i]);
	fprintf(stderr, "\n");
	fail_msg("the frame above came to verdict %u, and reason %d was expected", verdict,
		 expected);
}

static void promise_11_every_frame_is_counted_once_under_its_reason(void **state)
{
	struct oracle_random random = oracle_seed(__func__);
	struct lab *lab = *state;
	struct interface_counter before, after;
	uint64_t expected[REASONS] = {0}, sum = 0;
	struct frame frame;
	struct run run;
	int i;

	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	before = lab_interface_counter(lab);
	for (i = 0; i < FRAMES; i++) {
		struct oracle_packet packet;
		int reason;

		build_garbage(&random, &frame);
		packet = oracle_classify(&frame);
		reason = is_for_vip(&packet)		     ? REASON_DEFAULT
			 : packet.reason == ORACLE_TRANSPORT ? REASON_NOT_VIP
							     : packet.reason;
		expected[reason]++;
		lab_run(lab, &frame, &run);
		if (reason == REASON_DEFAULT
			    ? run.verdict != XDP_TX
			    : run.verdict != XDP_PASS || run.out.size != frame.size ||
				      memcmp(run.out.bytes, frame.bytes, frame.size))
			explain_failure(&frame, run.verdict, reason);
	}
	after = lab_interface_counter(lab);
	assert_int_equal(after.seen - before.seen, FRAMES);
	for (i = 0; i < REASONS; i++) {
		assert_int_equal(after.reasons[i] - before.reasons[i], expected[i]);
		sum += after.reasons[i] - before.reasons[i];
	}
	assert_int_equal(sum, FRAMES);
	/* The dice fall on all that the parser can say. */
	assert_true(expected[REASON_NOT_IP] && expected[REASON_NOT_VIP] &&
		    expected[REASON_TRUNCATED] && expected[REASON_FRAGMENT] &&
		    expected[REASON_ICMP] && expected[REASON_UNSUPPORTED] &&
		    expected[REASON_DEFAULT]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(promise_11_every_frame_is_counted_once_under_its_reason),
	};

	return cmocka_run_group_tests_name("prog/garbage", tests, lab_setup_group,
					   lab_teardown_group);
}
