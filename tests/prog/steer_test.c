// SPDX-License-Identifier: GPL-2.0-only
/* Packet in, verdict and packet out: every way to send a packet to a backend, byte for byte. */
#include "lab.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PORT 80

static const char client4[] = "198.51.100.7", client6[] = "2001:db8:1:2:3::4";

static struct packet_plan packet_of(int family)
{
	return family == 4 ? packet_tcp(client4, 40000, LAB_VIP4, PORT)
			   : packet_tcp(client6, 40000, LAB_VIP6, PORT);
}

/* One service whose control alone has clients, its backend of @family behind interface @egress. */
static struct lab_service *publish_one(struct lab *lab, enum steer_method steer, int family,
				       uint32_t egress)
{
	struct lab_service *service = lab_add_usual(lab, steer, family);

	service->backends[0][0].hop.ifindex = egress;
	lab_publish(lab);
	return service;
}

static struct outer_plan outer_of(const struct lab_service *service, const struct frame *actual,
				  size_t l3)
{
	const struct lab_backend *backend = &service->backends[0][0];
	struct outer_plan outer = {
		.destination = backend->backend.address,
		.source = backend->backend.address.family == 4 ? backend->hop.source4
							       : backend->hop.source6,
		.ttl = service->service.encap_ttl,
	};

	/* The label is any; that it is the flow's is tested apart. */
	if (outer.destination.family == 6)
		outer.flow_label = load32(actual->bytes + l3) & 0xfffff;
	memcpy(outer.destination_mac, backend->hop.mac, 6);
	memcpy(outer.source_mac, backend->hop.source_mac, 6);
	return outer;
}

static void assert_frames_equal(const struct frame *actual, const struct frame *expected)
{
	assert_int_equal(actual->size, expected->size);
	assert_memory_equal(actual->bytes, expected->bytes, expected->size);
}

static void assert_steered(struct lab *lab, const struct lab_service *service,
			   const struct packet_plan *plan)
{
	bool elsewhere = service->backends[0][0].hop.ifindex != lab->ingress;
	struct frame expected;
	struct run run;

	lab_run_plan(lab, plan, &run);
	assert_int_equal(run.verdict, elsewhere ? XDP_REDIRECT : XDP_TX);
	if (service->service.steer == STEER_L2) {
		packet_build(plan, &expected);
		memcpy(expected.bytes, service->backends[0][0].hop.mac, 6);
		memcpy(expected.bytes + 6, service->backends[0][0].hop.source_mac, 6);
	} else {
		struct outer_plan outer = outer_of(service, &run.out, packet_l3_offset(plan));

		packet_encapsulate(plan, &outer, &expected);
	}
	assert_frames_equal(&run.out, &expected);
}

/* All that an outer header depends on, for one way of steering and one family inside. */
static void check_variants(struct lab *lab, const struct lab_service *service, int family)
{
	struct packet_plan plan = packet_of(family);

	assert_steered(lab, service, &plan);
	for (plan.traffic_class = 1; plan.traffic_class; plan.traffic_class <<= 1)
		assert_steered(lab, service, &plan);
	plan.traffic_class = 0xff;
	assert_steered(lab, service, &plan);
	plan.dont_fragment = false;
	plan.ip_id = 0xbeef;
	assert_steered(lab, service, &plan);
	plan.ttl = 1;
	assert_steered(lab, service, &plan);
	for (plan.payload = 0; plan.payload < 64; plan.payload++)
		assert_steered(lab, service, &plan);
	for (plan.tags = 1; plan.tags <= 2; plan.tags++)
		assert_steered(lab, service, &plan);
	plan.tags = 2;
	plan.tag_types[0] = TYPE_QINQ;
	assert_steered(lab, service, &plan);
	plan.payload = 1400;
	assert_steered(lab, service, &plan);
	plan.payload = 8900; /* a jumbo frame of three buffers */
	assert_steered(lab, service, &plan);
	plan.payload = 32;
	plan.protocol = IPPROTO_UDP;
	plan.destination_port = 53;
	assert_steered(lab, service, &plan);
}

static void check_steering(struct lab *lab, enum steer_method steer, int outer, int inner)
{
	const uint32_t ways_out[] = {LAB_INGRESS, LAB_EGRESS};
	size_t i;

	for (i = 0; i < 2; i++) {
		lab_reset(lab);
		check_variants(lab, publish_one(lab, steer, outer, ways_out[i]), inner);
	}
}

static void l2_rewrites_the_macs_of_ipv4_and_nothing_else(void **state)
{
	check_steering(*state, STEER_L2, 4, 4);
}

static void l2_rewrites_the_macs_of_ipv6_and_nothing_else(void **state)
{
	check_steering(*state, STEER_L2, 6, 6);
}

static void ipip_wraps_ipv4_in_ipv4(void **state)
{
	check_steering(*state, STEER_IPIP, 4, 4);
}

static void ipip_wraps_ipv4_in_ipv6(void **state)
{
	check_steering(*state, STEER_IPIP, 6, 4);
}

static void ipip_wraps_ipv6_in_ipv4(void **state)
{
	check_steering(*state, STEER_IPIP, 4, 6);
}

static void ipip_wraps_ipv6_in_ipv6(void **state)
{
	check_steering(*state, STEER_IPIP, 6, 6);
}

static void options_and_extension_headers_travel_inside(void **state)
{
	struct lab *lab = *state;
	const struct lab_service *service = publish_one(lab, STEER_IPIP, 4, LAB_INGRESS);
	const uint8_t types[] = {IPPROTO_HOPOPTS, IPPROTO_DSTOPTS,  IPPROTO_ROUTING,
				 IPPROTO_AH,	  IPPROTO_FRAGMENT, IPPROTO_DSTOPTS};
	struct packet_plan plan = packet_of(4);

	for (plan.options = 4; plan.options <= 40; plan.options += 4)
		assert_steered(lab, service, &plan);
	plan = packet_of(6);
	for (plan.extensions = 0; plan.extensions < sizeof(types); plan.extensions++) {
		plan.extension_types[plan.extensions] = types[plan.extensions];
		assert_steered(lab, service, &plan);
	}
	plan.extensions = sizeof(types);
	assert_steered(lab, service, &plan);
}

static void padding_behind_a_short_packet_stays_behind_it(void **state)
{
	struct lab *lab = *state;
	const struct lab_service *service = publish_one(lab, STEER_IPIP, 4, LAB_INGRESS);
	struct packet_plan plan = packet_of(4);
	struct frame in, expected;
	struct outer_plan outer;
	struct run run;

	plan.payload = 0;
	packet_build(&plan, &in);
	memset(in.bytes + in.size, 0xee, 6); /* to Ethernet's least size */
	in.size += 6;
	lab_run(lab, &in, &run);
	outer = outer_of(service, &run.out, packet_l3_offset(&plan));
	packet_encapsulate(&plan, &outer, &expected);
	memset(expected.bytes + expected.size, 0xee, 6);
	expected.size += 6;
	assert_int_equal(run.verdict, XDP_TX);
	assert_frames_equal(&run.out, &expected);
}

static void the_outer_header_is_as_configured(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_of(4);
	struct lab_service *service;

	service = lab_add_usual(lab, STEER_IPIP, 4);
	service->service.encap_ttl = 1;
	service->service.encap_source4 = address_of("203.0.113.1");
	lab_publish(lab);
	service->backends[0][0].hop.source4 = service->service.encap_source4; /* what is expected */
	assert_steered(lab, service, &plan);

	lab_reset(lab);
	service = lab_add_usual(lab, STEER_IPIP, 6);
	service->service.encap_ttl = 255;
	service->service.encap_source6 = address_of("2001:db8:ff::1");
	lab_publish(lab);
	service->backends[0][0].hop.source6 = service->service.encap_source6;
	assert_steered(lab, service, &plan);
}

static uint32_t flow_label_of(struct lab *lab, const struct packet_plan *plan)
{
	struct run run;

	lab_run_plan(lab, plan, &run);
	assert_int_equal(run.verdict, XDP_TX);
	return load32(run.out.bytes + packet_l3_offset(plan)) & 0xfffff;
}

static void the_flow_label_is_the_flows(void **state)
{
	struct lab *lab = *state;
	static bool seen[1 << 20];
	unsigned int labels = 0, port;

	publish_one(lab, STEER_IPIP, 6, LAB_INGRESS);
	memset(seen, 0, sizeof(seen));
	for (port = 1; port <= 1000; port++) {
		struct packet_plan plan = packet_of(port & 1 ? 4 : 6);
		uint32_t label;

		plan.source_port = port;
		label = flow_label_of(lab, &plan);
		plan.tcp_flags = FLAG_FIN | FLAG_ACK;
		plan.payload = port;
		plan.tags = port % 3;
		assert_int_equal(flow_label_of(lab, &plan), label);
		labels += !seen[label];
		seen[label] = true;
	}
	/* Of 1000 random 20-bit numbers 0.5 pairs are equal on average; more than 10: 1 in 10^10.
	 */
	assert_in_range(labels, 990, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(l2_rewrites_the_macs_of_ipv4_and_nothing_else),
		lab_test(l2_rewrites_the_macs_of_ipv6_and_nothing_else),
		lab_test(ipip_wraps_ipv4_in_ipv4),
		lab_test(ipip_wraps_ipv4_in_ipv6),
		lab_test(ipip_wraps_ipv6_in_ipv4),
		lab_test(ipip_wraps_ipv6_in_ipv6),
		lab_test(options_and_extension_headers_travel_inside),
		lab_test(padding_behind_a_short_packet_stays_behind_it),
		lab_test(the_outer_header_is_as_configured),
		lab_test(the_flow_label_is_the_flows),
	};

	return cmocka_run_group_tests_name("prog/steer", tests, lab_setup_group,
					   lab_teardown_group);
}
