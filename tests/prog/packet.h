/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames for the tests: built from a description, byte by byte and by nothing that the program
 * uses, so that what the program reads and writes is checked against a second reading of the RFCs.
 */
#ifndef XDP_CANARY_TESTS_PACKET_H
#define XDP_CANARY_TESTS_PACKET_H

#include "util/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX	      10240
#define PACKET_TAGS_MAX	      4
#define PACKET_EXTENSIONS_MAX 9

#define TYPE_IPV4 0x0800
#define TYPE_ARP  0x0806
#define TYPE_VLAN 0x8100
#define TYPE_IPV6 0x86dd
#define TYPE_QINQ 0x88a8
#define TYPE_LLDP 0x88cc

#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_ACK 0x10

struct frame {
	size_t size;
	uint8_t bytes[FRAME_MAX];
};

/* Everything a frame is made of; packet_tcp() and packet_udp() give the usual one to start from. */
struct packet_plan {
	uint8_t destination_mac[6], source_mac[6];
	unsigned int tags;
	uint16_t tag_types[PACKET_TAGS_MAX], tag_values[PACKET_TAGS_MAX];
	struct address source, destination; /* both of one family */
	uint8_t traffic_class;		    /* DSCP and ECN */
	uint8_t ttl;
	uint16_t ip_id;
	bool dont_fragment;
	uint16_t fragment;    /* IPv4: more-fragments bit and offset as they lie in the header */
	unsigned int options; /* IPv4: bytes of options, a multiple of 4 */
	unsigned int extensions;
	uint8_t extension_types[PACKET_EXTENSIONS_MAX];
	uint16_t extension_fragment; /* IPv6: offset and more-fragments bit of a fragment header */
	uint8_t protocol;
	uint16_t source_port, destination_port;
	uint8_t tcp_flags;
	size_t payload; /* bytes, of a pattern that the ports choose */
};

struct packet_plan packet_tcp(const char *source, uint16_t source_port, const char *destination,
			      uint16_t destination_port);
struct packet_plan packet_udp(const char *source, uint16_t source_port, const char *destination,
			      uint16_t destination_port);
void packet_build(const struct packet_plan *plan, struct frame *out);
/* A frame of any EtherType with @payload bytes behind the header. */
void packet_build_ethernet(uint16_t type, size_t payload, struct frame *out);

/* From the start of the frame to the IP header; and to the transport header. */
size_t packet_l3_offset(const struct packet_plan *plan);
size_t packet_l4_offset(const struct packet_plan *plan);

struct outer_plan {
	struct address source, destination; /* of the outer header */
	uint8_t ttl;
	uint32_t flow_label; /* IPv6 */
	uint8_t destination_mac[6], source_mac[6];
};

/* What a right encapsulation of the planned packet looks like. */
void packet_encapsulate(const struct packet_plan *plan, const struct outer_plan *outer,
			struct frame *out);

/* RFC 1071, over network-order words; @seed: a sum so far, not complemented. Returns the
 * complement. */
uint16_t packet_checksum(const void *data, size_t size, uint32_t seed);
/* The RFC 8200 section 8.1 pseudo-header's sum: of @addresses (32 bytes), @length and @protocol. */
uint32_t packet_pseudo_sum(const uint8_t *addresses, uint32_t length, uint8_t protocol);

uint16_t load16(const uint8_t *from);
uint32_t load32(const uint8_t *from);
void store16(uint8_t *to, uint16_t value);
void store32(uint8_t *to, uint32_t value);

struct address address_of(const char *text); /* the test fails on a text that is no address */
struct prefix prefix_of(const char *text);

#endif
