/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known of the packet in hand: one struct that the stages fill from top to bottom.
 * Everything is inlined into one program, so its fields live in registers and on the stack.
 */
#ifndef XDP_CANARY_PACKET_H
#define XDP_CANARY_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define VLAN_TAGS_MAX 2
#define VLAN_TAG_SIZE 4

/* A 128-bit address as it lies in the packet: network order, two words. */
struct raw_address6 {
	__u64 high, low;
};

/*
 * Packets are read and written in words: structs of <linux/if_ether.h> are packed, of which clang
 * makes a load and a store for every byte. x86 and arm64 take words at any address.
 */
#define word16(address) (*(__u16 *)(address))
#define word32(address) (*(__u32 *)(address))
#define word64(address) (*(__u64 *)(address))

#define ETHERNET_SIZE	 14
#define ETHERTYPE_OFFSET 12

/* The 12 bytes in front of the type: destination and source MAC, as they lie in the frame. */
struct link_addresses {
	__u32 words[3];
};

static __always_inline struct link_addresses link_addresses(__u64 destination, __u64 source)
{
	return (struct link_addresses){
		{destination, (destination >> 32 & 0xffff) | source << 16, source >> 16}};
}

static __always_inline void write_link_addresses(void *frame, const struct link_addresses *link)
{
	word32(frame) = link->words[0];
	word32(frame + 4) = link->words[1];
	word32(frame + 8) = link->words[2];
}

/* What the parser read. */
struct headers {
	__u32 l3_offset;	   /* from the start of the frame */
	__u32 vlan[VLAN_TAGS_MAX]; /* tags as they lie in the packet: type and tag */
	__u8 vlan_tags;
	__u8 family;   /* 4 or 6 */
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 tcp_flags;
	__u8 traffic_class; /* DSCP and ECN */
	__u8 dont_fragment;
	__be16 ip_id;
	__u16 l3_length; /* bytes of the IP packet, from its header */
	__be16 source_port, destination_port;
	__u32 payload;	      /* of UDP: offset from the start of the frame ... */
	__u32 payload_length; /* ... and bytes */
	__be32 source4, destination4;
	struct raw_address6 source6, destination6;
};

/* What the stages note for those after them. Bits of one word, which stays in a register. */
enum note {
	FLOW_STARTS = 1 << 0,	   /* a SYN, or what QUIC has for one */
	FALLBACK_QUIC = 1 << 1,	   /* the source stood in: no id of a backend */
	FALLBACK_PAYLOAD = 1 << 2, /* the source stood in: the payload ends before the key */
	DISPUTED = 1 << 3,	   /* epochs of the era disagree on the cohort, or may */
	PIN_CHANGED = 1 << 4,	   /* they do on the client's pin */
	LEASE_TOOK = 1 << 5,	   /* the end of the lease took the client from its canary */
	MOVED = SLOT_MOVED,	   /* they do on the backend of the ring slot */
	FELL_BACK = 1 << 6,	   /* the cohort has no backend that serves */
	EVICTED = 1 << 7,	   /* the flow's entry took the place of another's */
	EARLY_DATA = 1 << 8,	   /* 0-RTT: starts the flow that an Initial counts as */
};

#define NOTE_PIN_SHIFT	 16 /* then, 8 bits: cohort that the client was pinned to, or PIN_NONE */
#define NOTE_NAMED_SHIFT 24 /* then the number of the backend that the connection id names */
/* Of services with segments: the rule that decides on the client's class, the line of the one that
 * did when the era began, and the line whose cuts took from it. */
#define NOTE_RULE_SHIFT	  40
#define NOTE_ORIGIN_SHIFT 48
#define NOTE_CUTS_SHIFT	  56
#define NOTE_CLASS_MASK	  (~0ULL << NOTE_RULE_SHIFT)
#define NOTES_NONE	  ((__u64)PIN_NONE << NOTE_PIN_SHIFT | (__u64)BACKEND_NONE << NOTE_NAMED_SHIFT)

static __always_inline __u8 noted_pin(__u64 notes)
{
	return notes >> NOTE_PIN_SHIFT;
}

static __always_inline __u16 noted_name(__u64 notes)
{
	return notes >> NOTE_NAMED_SHIFT;
}

static __always_inline __u8 noted_rule(__u64 notes)
{
	return notes >> NOTE_RULE_SHIFT;
}

static __always_inline __u8 noted_origin(__u64 notes)
{
	return notes >> NOTE_ORIGIN_SHIFT;
}

static __always_inline __u8 noted_cuts(__u64 notes)
{
	return notes >> NOTE_CUTS_SHIFT;
}

struct packet {
	struct xdp_md *ctx;
	struct interface_counter *interface;
	struct headers headers;
	__u64 notes; /* enum note, and more */

	/* service */
	__u32 service;
	__u32 killed;
	__u32 view_index;
	struct view *view;

	/* client, class */
	__u64 token;
	struct group_entry *group; /* NULL: in none */

	/* cohort */
	__u32 hash;
	__u8 cohort; /* of the decision, then, after a fall back, of the backend */
	__u8 chosen_cohort;
	__u8 decision;		     /* enum reason of the cohort */
	__u8 rule;		     /* RULE_NONE: no rule decided */
	struct view_rule *view_rule; /* NULL where no rule decided */

	/* backend */
	__u64 flow;
	__u32 ring_slot;
	__u16 backend_number;
	struct backend_line *backend; /* NULL: none */

	/* affinity */
	__u8 path;
	__u8 quiet; /* change no map */

	/* steer */
	__u32 egress_ifindex;
	struct link_addresses link;
};

/*
 * Makes the verifier forget what it knows of a scalar, so that paths that differ in nothing else
 * are walked once: xor twice with a word it knows nothing of. Takes the program from 105,000
 * verified instructions to 41,000.
 */
#define forget(value, unknown)                                                                     \
	({                                                                                         \
		__u64 value_ = (value), unknown_ = (unknown);                                      \
		asm volatile("%0 ^= %1\n%0 ^= %1" : "+r"(value_) : "r"(unknown_));                 \
		(value) = value_;                                                                  \
	})

/* What a stage says: go on, or this packet's fate. */
#define GO_ON REASONS

#endif
