// SPDX-License-Identifier: GPL-2.0-only
/*
 * Building frames from plans. Fields are stored byte by byte in network order: no struct of the
 * kernel's.
 */
#include "packet.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ETHERNET_SIZE 14
#define TAG_SIZE      4
#define IPV4_SIZE     20
#define IPV6_SIZE     40

uint16_t load16(const uint8_t *from)
{
	return from[0] << 8 | from[1];
}

uint32_t load32(const uint8_t *from)
{
	return (uint32_t)load16(from) << 16 | load16(from + 2);
}

void store16(uint8_t *to, uint16_t value)
{
	to[0] = value >> 8;
	to[1] = value & 0xff;
}

void store32(uint8_t *to, uint32_t value)
{
	store16(to, value >> 16);
	store16(to + 2, value & 0xffff);
}

struct address address_of(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(text, &address), 0);
	return address;
}

struct prefix prefix_of(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

static uint32_t sum_words(const uint8_t *data, size_t size, uint32_t sum)
{
	size_t i;

	for (i = 0; i + 1 < size; i += 2)
		sum += load16(data + i);
	if (size & 1)
		sum += data[size - 1] << 8;
	return sum;
}

uint16_t packet_checksum(const void *data, size_t size, uint32_t seed)
{
	uint32_t sum = sum_words(data, size, seed);

	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

uint32_t packet_pseudo_sum(const uint8_t *addresses, uint32_t length, uint8_t protocol)
{
	uint8_t rest[8] = {0};

	store32(rest, length);
	rest[7] = protocol;
	return sum_words(rest, sizeof(rest), sum_words(addresses, 32, 0));
}

static struct packet_plan packet_plan_of(const char *source, uint16_t source_port,
					 const char *destination, uint16_t destination_port)
{
	return (struct packet_plan){
		.destination_mac = {0x02, 0, 0, 0, 0, 0x01},
		.source_mac = {0x02, 0, 0, 0, 0, 0x02},
		.tag_types = {TYPE_VLAN, TYPE_VLAN, TYPE_VLAN, TYPE_VLAN},
		.tag_values = {100, 0x6065, 102, 103},
		.source = address_of(source),
		.destination = address_of(destination),
		.ttl = 57,
		.ip_id = 0x1234,
		.dont_fragment = true,
		.source_port = source_port,
		.destination_port = destination_port,
		.payload = 32,
	};
}

struct packet_plan packet_tcp(const char *source, uint16_t source_port, const char *destination,
			      uint16_t destination_port)
{
	struct packet_plan plan =
		packet_plan_of(source, source_port, destination, destination_port);

	plan.protocol = IPPROTO_TCP;
	plan.tcp_flags = FLAG_ACK;
	return plan;
}

struct packet_plan packet_udp(const char *source, uint16_t source_port, const char *destination,
			      uint16_t destination_port)
{
	struct packet_plan plan =
		packet_plan_of(source, source_port, destination, destination_port);

	plan.protocol = IPPROTO_UDP;
	return plan;
}

static size_t extension_size(uint8_t type)
{
	switch (type) {
	case IPPROTO_FRAGMENT:
		return 8;
	case IPPROTO_AH:
		return 24;
	default:
		return 16;
	}
}

size_t packet_l3_offset(const struct packet_plan *plan)
{
	return ETHERNET_SIZE + plan->tags * TAG_SIZE;
}

size_t packet_l4_offset(const struct packet_plan *plan)
{
	size_t offset = packet_l3_offset(plan);
	unsigned int i;

	if (plan->source.family == 4)
		return offset + IPV4_SIZE + plan->options;
	offset += IPV6_SIZE;
	for (i = 0; i < plan->extensions; i++)
		offset += extension_size(plan->extension_types[i]);
	return offset;
}

static uint8_t *put_link(const struct packet_plan *plan, const uint8_t *destination_mac,
			 const uint8_t *source_mac, uint16_t type, uint8_t *at)
{
	unsigned int i;

	memcpy(at, destination_mac, 6);
	memcpy(at + 6, source_mac, 6);
	at += 12;
	for (i = 0; i < plan->tags; i++, at += TAG_SIZE) {
		store16(at, plan->tag_types[i]);
		store16(at + 2, plan->tag_values[i]);
	}
	store16(at, type);
	return at + 2;
}

static uint8_t *put_ipv4(const struct packet_plan *plan, size_t l4_size, uint8_t *at)
{
	size_t header = IPV4_SIZE + plan->options;

	memset(at, 0, IPV4_SIZE);
	memset(at + IPV4_SIZE, 1, plan->options); /* no operation */
	at[0] = 0x40 | header / 4;
	at[1] = plan->traffic_class;
	store16(at + 2, header + l4_size);
	store16(at + 4, plan->ip_id);
	store16(at + 6, plan->fragment | (plan->dont_fragment ? 0x4000 : 0));
	at[8] = plan->ttl;
	at[9] = plan->protocol;
	memcpy(at + 12, plan->source.bytes, 4);
	memcpy(at + 16, plan->destination.bytes, 4);
	store16(at + 10, packet_checksum(at, header, 0));
	return at + header;
}

static uint8_t *put_extension(const struct packet_plan *plan, uint8_t type, uint8_t next,
			      uint8_t *at)
{
	size_t size = extension_size(type);

	memset(at, 0, size);
	at[0] = next;
	switch (type) {
	case IPPROTO_FRAGMENT:
		store16(at + 2, plan->extension_fragment);
		store32(at + 4, 0x11223344);
		break;
	case IPPROTO_AH:
		at[1] = size / 4 - 2;
		break;
	default:
		at[1] = size / 8 - 1;
		at[2] = 1; /* PadN over the rest */
		at[3] = size - 4;
		break;
	}
	return at + size;
}

static uint8_t *put_ipv6(const struct packet_plan *plan, size_t l4_size, uint8_t *at)
{
	size_t extensions = packet_l4_offset(plan) - packet_l3_offset(plan) - IPV6_SIZE;
	unsigned int i;

	store32(at, 6u << 28 | (uint32_t)plan->traffic_class << 20 | 0x12345);
	store16(at + 4, extensions + l4_size);
	at[6] = plan->extensions ? plan->extension_types[0] : plan->protocol;
	at[7] = plan->ttl;
	memcpy(at + 8, plan->source.bytes, 16);
	memcpy(at + 24, plan->destination.bytes, 16);
	at += IPV6_SIZE;
	for (i = 0; i < plan->extensions; i++) {
		bool last = i + 1 == plan->extensions;

		at = put_extension(plan, plan->extension_types[i],
				   last ? plan->protocol : plan->extension_types[i + 1], at);
	}
	return at;
}

static size_t l4_header_size(const struct packet_plan *plan)
{
	switch (plan->protocol) {
	case IPPROTO_TCP:
		return 20;
	default:
		return 8;
	}
}

static void put_l4(const struct packet_plan *plan, uint8_t *at)
{
	size_t header = l4_header_size(plan), i;

	memset(at, 0, header);
	store16(at, plan->source_port);
	store16(at + 2, plan->destination_port);
	if (plan->protocol == IPPROTO_TCP) {
		store32(at + 4, 0x01020304);
		at[12] = 5 << 4;
		at[13] = plan->tcp_flags;
	} else {
		store16(at + 4, header + plan->payload);
	}
	for (i = 0; i < plan->payload; i++)
		at[header + i] = plan->source_port + 7 * i;
}

void packet_build(const struct packet_plan *plan, struct frame *out)
{
	bool is_ipv4 = plan->source.family == 4;
	size_t l4_size = l4_header_size(plan) + plan->payload;
	uint8_t *at;

	assert_true(packet_l4_offset(plan) + l4_size <= sizeof(out->bytes));
	at = put_link(plan, plan->destination_mac, plan->source_mac,
		      is_ipv4 ? TYPE_IPV4 : TYPE_IPV6, out->bytes);
	at = is_ipv4 ? put_ipv4(plan, l4_size, at) : put_ipv6(plan, l4_size, at);
	put_l4(plan, at);
	out->size = at + l4_size - out->bytes;
}

void packet_build_ethernet(uint16_t type, size_t payload, struct frame *out)
{
	const uint8_t group[6] = {0x01, 0x80, 0xc2, 0, 0, 0x0e};
	size_t i;

	memcpy(out->bytes, group, 6);
	memset(out->bytes + 6, 2, 6);
	store16(out->bytes + 12, type);
	for (i = 0; i < payload; i++)
		out->bytes[ETHERNET_SIZE + i] = 3 * i;
	out->size = ETHERNET_SIZE + payload;
}

static uint8_t *put_outer_ipv4(const struct packet_plan *plan, const struct outer_plan *outer,
			       size_t inner_size, uint8_t *at)
{
	bool keeps_df = plan->source.family == 6 || plan->dont_fragment;

	memset(at, 0, IPV4_SIZE);
	at[0] = 0x45;
	at[1] = plan->traffic_class;
	store16(at + 2, IPV4_SIZE + inner_size);
	store16(at + 4, keeps_df ? 0 : plan->ip_id);
	store16(at + 6, keeps_df ? 0x4000 : 0);
	at[8] = outer->ttl;
	at[9] = plan->source.family == 4 ? 4 : 41;
	memcpy(at + 12, outer->source.bytes, 4);
	memcpy(at + 16, outer->destination.bytes, 4);
	store16(at + 10, packet_checksum(at, IPV4_SIZE, 0));
	return at + IPV4_SIZE;
}

static uint8_t *put_outer_ipv6(const struct packet_plan *plan, const struct outer_plan *outer,
			       size_t inner_size, uint8_t *at)
{
	store32(at, 6u << 28 | (uint32_t)plan->traffic_class << 20 | outer->flow_label);
	store16(at + 4, inner_size);
	at[6] = plan->source.family == 4 ? 4 : 41;
	at[7] = outer->ttl;
	memcpy(at + 8, outer->source.bytes, 16);
	memcpy(at + 24, outer->destination.bytes, 16);
	return at + IPV6_SIZE;
}

void packet_encapsulate(const struct packet_plan *plan, const struct outer_plan *outer,
			struct frame *out)
{
	size_t offset = packet_l3_offset(plan), inner_size;
	bool is_ipv4 = outer->destination.family == 4;
	static struct frame inner;
	uint8_t *at;

	packet_build(plan, &inner);
	inner_size = inner.size - offset;
	at = put_link(plan, outer->destination_mac, outer->source_mac,
		      is_ipv4 ? TYPE_IPV4 : TYPE_IPV6, out->bytes);
	at = is_ipv4 ? put_outer_ipv4(plan, outer, inner_size, at)
		     : put_outer_ipv6(plan, outer, inner_size, at);
	memcpy(at, inner.bytes + offset, inner_size);
	out->size = at + inner_size - out->bytes;
}
