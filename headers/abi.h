/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What user space writes and the program reads: the layout of every map.
 *
 * User space compiles, the kernel looks up. All that a packet of a service may see is one immutable
 * view: a packet loads cells[service].view once and reaches rules, rings, backends and pins by
 * address from it, so it sees one view, whole (the address dependency orders the loads on x86 and
 * arm64). A writer fills a view that no cell names, then stores the cell, then waits a grace period
 * before it reuses the old one.
 *
 * Written in place, each by a single aligned store: cells[].view, cells[].killed, box.vips; the
 * next hop of a backend line (order of its stores: user/datapath/next_hops.c); a view's expiry; and
 * of a view whose era is open its ends, its ring slots and its lines' health (order:
 * user/datapath/health.c).
 *
 * ABI_VERSION changes with any layout here; a program refuses maps of another version.
 */
#ifndef XDP_CANARY_ABI_H
#define XDP_CANARY_ABI_H

#include "hash.h"
#include "observed.h"
#include "reasons.h"
#include "segments.h"
#include "split_hash.h"
#include "types.h"

#define ABI_VERSION 4

#define COHORTS_MAX  4
#define CANARIES_MAX (COHORTS_MAX - 1)
#define RULES_MAX    16
#define SEGMENTS_MAX 64 /* of a box */
#define LANES_MAX                                                                                  \
	8 /* of a group of rule counters: a service's cohorts now, and those that it has just had  \
	   */
#define SERVICES_MAX	     4080    /* with the spare slots, 12 bits in a VIP cell */
#define VIPS_MAX	     65536   /* 16 bits in an IPv6 VIP cell */
#define BACKENDS_MAX	     1048576 /* of a box */
#define SERVICE_BACKENDS_MAX 32767   /* 15 bits in a ring slot; the highest number means none */
#define INTERFACES_MAX	     64
#define NAME_SIZE	     64 /* a name has at most 63 characters, then a zero */

/* ---- services and views ---- */

/* One per service, in map `cells`; read as one u64. */
struct service_cell {
	__u32 view;   /* index of the current view + 1; 0: the service is not published */
	__u32 killed; /* not 0: every client goes to control. Stored by `kill`, without a lock */
};

/* One per service, in map `service_names`: `kill` finds services by it, without the store. */
struct service_name {
	char text[NAME_SIZE];
};

enum view_flag {
	VIEW_ENFORCE = 1 << 0,	      /* steer; without it count and pass */
	VIEW_KEY_FLOW = 1 << 1,	      /* the client key is the 5-tuple */
	VIEW_BALANCE_CLIENT = 1 << 2, /* the backend depends on the client, not on the flow */
	VIEW_PINS = 1 << 3,	      /* pins_count is not 0 */
	VIEW_TRANSITION = 1 << 4,     /* an era is open until view.era_ends */
	VIEW_SEGMENTS = 1 << 5,	      /* rules depend on the client's segments */
	VIEW_MASK4 = 1 << 6,	      /* mask4 is not all ones */
	VIEW_KEY_QUIC = 1 << 7,	      /* connection ids name the backend */
	VIEW_KEY_PAYLOAD = 1 << 8,    /* the client key is in the UDP payload */
	VIEW_ALL_DISPUTED = 1 << 9,   /* salt, key, holdout, slots or cohorts changed in the era */
	VIEW_ORIGIN_KEY = 1 << 10,    /* the origin's client key, hash or balance was another */
	VIEW_GROUPS = 1 << 11,	      /* clients of a group share a token */
	VIEW_TABLE = 3 << 14,	      /* which of the segment tables, 0 to SEGMENT_TABLES - 1 */
};
#define VIEW_TABLE_SHIFT 14
#define VIEW_HASH_SHIFT	 12 /* bits 12 and 13: enum split_hash */
#define VIEW_HASH	 (3 << VIEW_HASH_SHIFT)
#define VIEW_HASH_MODULO                                                                           \
	(HASH_HAPROXY_CRC32 << VIEW_HASH_SHIFT) /* and HASH_NFT_JHASH: h < modulus */
/* What makes a flow's place in hash space and rings. */
#define VIEW_KEY_FLAGS                                                                             \
	(VIEW_KEY_FLOW | VIEW_BALANCE_CLIENT | VIEW_MASK4 | VIEW_KEY_PAYLOAD | VIEW_HASH)

/* Of a service's rollout, in view.rollout. */
enum view_rollout {
	ROLLOUT_COHORT = 3 << 0,  /* the canary that it is about; 0: there is none */
	ROLLOUT_CUT = 1 << 2,	  /* the end of the lease, or the latch, takes live flows, too */
	ROLLOUT_TRACKED = 1 << 3, /* its clients are followed (tracked.h) */
	ROLLOUT_LATCH_LEASE = 1 << 4, /* the latch is that of an ended lease, else of a rollback */
	ROLLOUT_LATCHED = 7 << 5,     /* bit 4 + c: canary c is latched at control */
};
#define ROLLOUT_LATCHED_SHIFT 4

/*
 * view.expiry: jiffies from which on no client is sent to the leased canary. User space moves it by
 * a compare and swap from a value that has not passed yet; the first packet that finds it passed
 * marks it by another, so that a renewal which comes late fails and nobody sees a lease revive.
 */
#define LEASE_NONE	(~0ULL)
#define LEASE_ENDED	(1ULL << 63) /* the mark */
#define LEASE_ENDS	(LEASE_ENDED - 1)
#define LEASE_UDP_SHIFT 6 /* view.lease_udp_drain counts so many jiffies (log2) */

enum steer_method { STEER_L2 = 1, STEER_IPIP = 2 };

/* Which bytes of a UDP payload are the client key. */
struct payload_key {
	__u16 offset; /* after the UDP header */
	__u8 length;  /* 1 to 16 */
	__u8 reserved;
};

/* Where servers put their id in connection ids that they issue (client key quic). */
struct quic_key {
	__u8 cid_length; /* of the ids, 1 to 20 */
	__u8 offset;	 /* of the server id in them */
	__u8 length;	 /* of the server id, 1 to 8 */
};

struct view {
	/* Hot: the first cache line is all that the common path reads. */
	__u64 salt64;
	__u64 expiry;	/* end of the lease in jiffies; LEASE_NONE. In place: renewed, marked */
	__u32 rules;	/* first of the service's rules in map `rules` */
	__u32 backends; /* first of the service's lines in map `backends` */
	__u32 rings[COHORTS_MAX + 1]; /* cohort c has the slots rings[c] up to rings[c + 1] */
	__u32 classes;		      /* first of the service's classes in map `classes` */
	__u32 holdout;		      /* T(holdout): held out iff h' is below; 0: nobody */
	__be32 mask4;		      /* of the client key, from prefix4 */
	__u16 flags;		      /* enum view_flag */
	__u8 default_rule;	      /* index of the last rule */
	__u8 era;		      /* marks entries of the transition table; 0: none yet */
	__u8 prefix6;		      /* 16 to 128 */
	__u8 cohorts;		      /* 2 to COHORTS_MAX; 0 is the control */
	__u8 steer;		      /* enum steer_method */
	__u8 rollout;		      /* enum view_rollout */

	/* Cold: read for pins, groups and the other client keys, and by user space. */
	__u32 counters; /* rule counters of decisions that no rule took */
	__u32 groups;	/* first of the service's groups in map `groups` */
	__u32 pins;	/* first of the service's ranges in map `pins` */
	__u32 pins_count;
	__u32 backends_count; /* lines reserved, from `backends` on */
	__u32 slots_count;    /* reserved, from rings[0] on: those of cohorts that left, too */
	__u64 epoch;
	__u64 digest;		/* of everything that decides: equal on boxes that decide alike */
	__u32 server_ids;	/* first of the service's slots in map `server_ids` */
	__u32 server_ids_count; /* a power of two; 0: none */
	struct payload_key payload;
	struct quic_key quic;
	__u8 origin_prefix6;
	__u32 eras;		 /* that the service has had since the maps were made */
	__u8 lanes[COHORTS_MAX]; /* counter lane of each cohort: its identity in an era */

	/* Of the era: read by packets of a service in transition. */
	__u64 era_ends; /* jiffies; later the current decision alone holds. In place, only grows.
			   A lease that ends before it makes it later: lease_drain */
	__u64 udp_ends; /* the same of UDP flows whose start cannot be seen */
	__u64 origin_salt64;
	__u32 origin_holdout;
	__u32 transition_base;	/* first of the service's lines in map `transition` */
	__u32 transition_lines; /* a power of two; 0: there was no room */
	__u32 origin_rings[COHORTS_MAX];
	__u8 origin_ring_bits[COHORTS_MAX]; /* log2 of their slots; RING_NONE: no ring */
	__be32 origin_mask4;
	__u16 lease_udp_drain; /* as lease_drain, of UDP: in units of LEASE_UDP_SHIFT, rounded up */
	__u8 era_first;	       /* entries from this number on are of this era */
	__u8 pins_first; /* the same of clients whose pin ends by itself: for them eras go on */

	/* Of the era, seldom read. */
	__u64 pins_end;	    /* jiffies: era_ends of clients whose pin ends by itself */
	__u16 origin_flags; /* VIEW_KEY_FLAGS */
	__u8 origin_lanes[COHORTS_MAX];
	__u8 origin_cohorts;
	__u8 lines_behind; /* of map `rules`, from rules + RULES_MAX on */
	struct payload_key origin_payload;
	__u32 track;   /* of the service, in map `tracked_services`; see ROLLOUT_TRACKED */
	__u64 content; /* of what was compiled: tells the store's epoch from another's */
	__u32 classes_count;
	__u32 groups_count;

	/* Read where the hash is another tool's (VIEW_HASH), and was before the era. */
	__u32 hash_modulus, hash_seed;
	__u32 origin_modulus, origin_seed;
	__u32 lease_drain; /* jiffies for which flows stay after expiry, without ROLLOUT_CUT */
	/* Of each canary: the generation before which entries of clients that are pinned to it are
	 * cut; 0: none. */
	__u8 pins_cuts[CANARIES_MAX];
	__u8 lines_first; /* numbers of eras before it are of no entry in the lines */
} cache_aligned;
BUILD_CHECK(sizeof(struct view) == 4 * CACHE_LINE);
BUILD_CHECK(__builtin_offsetof(struct view, counters) == CACHE_LINE);
BUILD_CHECK(__builtin_offsetof(struct view, era_ends) == 2 * CACHE_LINE);
BUILD_CHECK(__builtin_offsetof(struct view, pins_end) == 3 * CACHE_LINE);

#define RING_NONE 0xff

/*
 * The part of the hash space that is one canary's in one rule, as start and length - 1 (a length of
 * 2^32 does not fit). h is in it iff its live bit is set and h - start <= last, modulo 2^32.
 */
struct interval {
	__u32 start;
	__u32 last;
};

enum rule_live { /* bit of canary 1 in each group; canary c: shifted by c - 1 */
		 RULE_CURRENT = 1 << 0,
		 RULE_TRACK_LOW = 1 << 3, /* not of a canary: track_from counts from the top down */
		 RULE_ORIGIN = 1 << 4,
		 RULE_DISPUTED = 1 << 8,
		 RULE_KEPT = 1 << 12,
};

/*
 * One rule of one view. The common path reads its first cache line. disputed: where any two epochs
 * of the era disagree, or more. origin: what was decided before it began. A cut took from a canary
 * all clients but those in kept: their entries of a generation before cuts[] (counted from
 * view.era_first; 0: never cut), and an origin that names the canary, no longer hold.
 */
struct view_rule {
	__u16 live;  /* enum rule_live: which intervals are not empty */
	__u8 reason; /* REASON_RULE or REASON_DEFAULT */
	__u8 cuts[CANARIES_MAX];
	__u16 track_from; /* control's clients whose track_place() is this or more are followed; 0:
			     none */
	__u32 counters;	  /* index of its first rule counters; a lane per cohort follows */
	__u32 segment;	  /* index of its segment's counter + 1; 0: the default rule */
	struct interval current[CANARIES_MAX];
	struct interval disputed[CANARIES_MAX];

	struct interval origin[CANARIES_MAX];
	struct interval kept[CANARIES_MAX];
	/*
	 * An earlier cut that kept fewer, for what is older than it: so many from kept's start or,
	 * where the canary's bit in kept_from_end is set, from its end.
	 */
	__u32 kept_before[CANARIES_MAX];
	__u8 cuts_before[CANARIES_MAX];
	__u8 kept_from_end;
} cache_aligned;
BUILD_CHECK(sizeof(struct view_rule) == 2 * CACHE_LINE);
BUILD_CHECK(__builtin_offsetof(struct view_rule, origin) == CACHE_LINE);

/*
 * The first lines of a view's rules are the current ones, in their order. In an era others lie
 * behind them, from RULES_MAX on: rules that are gone, which are still the origin of some clients;
 * and cuts of clients who were another rule's when they were cut, or when theirs was.
 */
#define VIEW_RULES (2 * RULES_MAX)

/* ---- classes and groups of clients ---- */

/*
 * A client's value in the segment table (segments.h) is `group | class`: table.class_bits of class,
 * the group above. What a service makes of a class is one u32: the rule that decides on its
 * clients, the line of the rule that did when the era began, whether any epoch of the era said
 * otherwise, and the line whose cuts took them. Class 0: clients that the table does not have.
 */
#define CLASS_ORIGIN_SHIFT 8
#define CLASS_ORIGIN_MASK  0x7fu
#define CLASS_CHANGED	   (1u << 15)
#define CLASS_CUTS_SHIFT   16
#define CLASS_LINE_CLASSES 16

struct class_line {
	__u32 classes[CLASS_LINE_CLASSES];
} cache_aligned;

pure_inline __u8 class_rule(__u32 class)
{
	return class;
}

pure_inline __u8 class_origin(__u32 class)
{
	return class >> CLASS_ORIGIN_SHIFT & CLASS_ORIGIN_MASK;
}

pure_inline __u8 class_cuts(__u32 class)
{
	return class >> CLASS_CUTS_SHIFT;
}

/* Of clients who were always the rule's. */
pure_inline __u32 class_of_rule(__u8 rule)
{
	return rule | (__u32)rule << CLASS_ORIGIN_SHIFT | (__u32)rule << CLASS_CUTS_SHIFT;
}

/* Tokens that all clients of a group share; 0: each has its own. Group 0: no group. */
struct group_entry {
	__u64 token;
	__u64 origin;  /* the same when the era began */
	__u64 changed; /* not 0: any epoch of the era said otherwise, none since this generation */
};

/* ---- rings and backends ---- */

/*
 * Ring slot: `now:15 | moved:1 | origin:15`, the service's own backend numbers. now: the first
 * backend that serves, from this slot on; BACKEND_NONE: none does, then the control's slot of the
 * flow is meant (and in the control's ring: no backend). origin: the same when the era began.
 * moved: any epoch of the era said otherwise. Where no era is open only now means anything.
 */
#define SLOT_NOW_MASK	  0x7fffu
#define SLOT_MOVED	  (1u << 15)
#define SLOT_ORIGIN_SHIFT 16
#define BACKEND_NONE	  SLOT_NOW_MASK
#define SLOT_NONE	  (BACKEND_NONE | BACKEND_NONE << SLOT_ORIGIN_SHIFT)

/* A cache line of slots: array elements are padded to 8 bytes, a slot a piece would waste half of
 * the cache. */
#define RING_LINE_SLOTS 16
struct ring_line {
	__u32 slots[RING_LINE_SLOTS];
} cache_aligned;

pure_inline __u32 ring_slot(__u16 backend)
{
	return backend | (__u32)backend << SLOT_ORIGIN_SHIFT;
}

/* Word 0 of a next hop: destination MAC in bits 0-47 as it lies in memory, valid flag above. */
#define NEXT_HOP_VALID (1ULL << 48)

enum backend_flag {
	BACKEND_IPV6 = 1 << 0,	 /* address (and source) are IPv6 */
	BACKEND_NO_FIB = 1 << 1, /* the file says which way: the FIB may not say another */
	BACKEND_GONE = 1 << 2,	 /* no longer in the file: kept for the flows of the era */
};

/* Of a line's health cell. Packets ask for DOWN: rings name none that takes no new flows. */
enum backend_health {
	BACKEND_DOWN = 1 << 0,	   /* its flows go elsewhere at once */
	BACKEND_DRAINING = 1 << 1, /* keeps its flows, takes no new ones */
};
#define COHORT_GONE 0xff /* of a line: its cohort is no longer in the file */

/*
 * One line a backend, at view.backends + its number. Immutable but for its next hop and its health.
 * A backend that left the file keeps its line until the era ends.
 */
struct backend_line {
	__u64 next_hop;	  /* destination MAC and NEXT_HOP_VALID; 0: ask the kernel's FIB */
	__u64 source_mac; /* of the egress interface, as next_hop has its MAC */
	__u32 ifindex;	  /* egress interface */
	__u32 counter;	  /* in map `backend_counters` */
	__u8 health;	  /* enum backend_health */
	__u8 cohort;	  /* whose it is in this view, or COHORT_GONE */
	__u8 lane;	  /* counter lane of that cohort */
	__u8 cut;	  /* in the era it left a canary that was cut at this generation */
	__u16 mtu;	  /* largest IP packet that leaves there, in bytes; 0: unlimited */
	__u8 flags;	  /* enum backend_flag */
	__u8 ttl;	  /* of the outer header */
	__u8 address[16]; /* of the backend; IPv4 in the first four bytes */
	__u8 source[16];  /* of the outer header */
} cache_aligned;
BUILD_CHECK(sizeof(struct backend_line) == CACHE_LINE);

/* ---- VIPs ---- */

/*
 * A bucket is one cache line of eight cells; a VIP is in the bucket of its hash, or, where that was
 * full, in the bucket after it, and then the first bucket's cell 0 carries VIP_CELL_OVERFLOW. Both
 * families and any-port VIPs (port 0) share the table; two copies take turns, box.vips names the
 * one to read.
 *
 *   IPv4 cell:  address:32 | port:16 | kind:3 | overflow:1 | service:12    (from bit 63 down)
 *   IPv6 cell:  tag:32     | entry:16| kind:3 | overflow:1 | service:12    entry of map `vips6`,
 * which has the whole address to compare
 */
#define VIP_BUCKET_CELLS 8

enum vip_kind { VIP_EMPTY, VIP_TCP4, VIP_UDP4, VIP_TCP6, VIP_UDP6 };

#define VIP_CELL_OVERFLOW      (1ULL << 12)
#define VIP_CELL_SERVICE_MASK  0xfffu
#define VIP_CELL_KIND_SHIFT    13
#define VIP_CELL_KIND_MASK     7u
#define VIP_CELL_PORT_SHIFT    16
#define VIP_CELL_ADDRESS_SHIFT 32

struct vip_bucket {
	__u64 cells[VIP_BUCKET_CELLS];
} cache_aligned;

struct vip6 {
	__u64 address_high; /* host order */
	__u64 address_low;
	__u16 port; /* host order; 0: any */
	__u8 kind;
	__u8 reserved[5];
};

/*
 * Bucket hash: unkeyed, for VIPs are the operator's own, and short, for the packet waits for it:
 * multiplications side by side (Knuth's multiplicative hashing), whose high bits choose the bucket.
 * @high is 0 for IPv4. @seed: another multiplier; the builder takes the first with which every VIP
 * finds room and no two of a bucket share a tag.
 */
pure_inline __u64 vip_hash(__u64 high, __u64 low, __u16 port, __u8 kind, __u8 seed)
{
	__u64 multiplier = 0x9e3779b97f4a7c15ULL + seed * 0xc2b2ae3d27d4eb4eULL;
	__u64 rest =
		high * 0xd6e8feb86659fd93ULL + (port | (__u64)kind << 16) * 0xa0761d6478bd642fULL;

	return low * multiplier ^ rest;
}

/* @bits: log2 of the buckets of one copy, 1 to 32. */
pure_inline __u32 vip_bucket_at(__u64 hash, __u32 bits)
{
	return hash >> (64 - bits);
}

/* @buckets: a power of two, 2 or more. */
pure_inline __u32 vip_bucket_of(__u64 hash, __u32 buckets)
{
	return vip_bucket_at(hash, __builtin_ctz(buckets));
}

pure_inline __u64 vip4_cell(__u32 address, __u16 port, enum vip_kind kind)
{
	return (__u64)address << VIP_CELL_ADDRESS_SHIFT | (__u64)port << VIP_CELL_PORT_SHIFT |
	       (__u64)kind << VIP_CELL_KIND_SHIFT;
}

/* @entry is 0 when looking for the tag alone. */
pure_inline __u64 vip6_cell(__u64 hash, __u16 entry, enum vip_kind kind)
{
	return (hash ^ hash >> 32) << 32 | (__u64)entry << VIP_CELL_PORT_SHIFT |
	       (__u64)kind << VIP_CELL_KIND_SHIFT;
}

enum vips_flag { /* in box.vips */
		 VIPS_SECOND_COPY = 1 << 0,
		 VIPS_ANY_PORT =
			 1 << 1, /* at least one VIP has no port: a miss looks for port 0 too */
};
#define VIPS_SEED_SHIFT 8 /* bits 8-15: the seed of this copy */

/* ---- pins ---- */

/*
 * Pins of a service as sorted, disjoint ranges of the 128-bit address space (host order; IPv4 at
 * ::ffff:0:0/96): the longest prefix has won already, and the last range that starts at or below a
 * client is the client's. The first range starts at 0.
 */
#define PIN_NONE	  0xff
#define PIN_FOREVER	  (~0ULL)
#define PINS_SEARCH_STEPS 17 /* 2^17 ranges of a service at the most */
#define IPV4_MAPPED	  0xffff00000000ULL

struct pin_range {
	__u64 high, low;
	__u64 expires; /* CLOCK_MONOTONIC ns; PIN_FOREVER: no end */
	__u8 cohort;   /* PIN_NONE: not pinned */
	__u8 origin;   /* the same when the era began */
	__u8 changed;  /* any epoch of the era said otherwise, or the pin will end by itself */
	__u8 reserved[5];
};
BUILD_CHECK(sizeof(struct pin_range) == 32);

/* ---- the transition table ---- */

/*
 * Flows that began in an open era and where its epochs disagree. A line a probe, eight entries:
 * `tag:32 | era:8 | stamp:8 | ended:1 | backend:15`, one word, one store. 0 is free; so is an entry
 * whose era is not between view.era_first (or pins_first) and view.era. What a SYN wrote is on
 * probation in the last ways until the flow's next segment moves it to the first: a flood displaces
 * only probationers. An entry that is marked as ended still holds, but is the first to be replaced.
 */
#define TRANSITION_WAYS	       8
#define TRANSITION_ESTABLISHED 6
#define ENTRY_BACKEND_MASK     0x7fffu
#define ENTRY_ENDED	       (1u << 15) /* a FIN or RST was seen; of UDP: no start was */
#define ENTRY_STAMP_SHIFT      16
#define ENTRY_ERA_SHIFT	       24
#define ENTRY_TAG_SHIFT	       32
#define ENTRY_STAMP_JIFFIES    12 /* log2 of the jiffies that a stamp counts */

struct transition_line {
	__u64 ways[TRANSITION_WAYS];
} cache_aligned;

/*
 * Generation: the cuts of the era until then, 0 at first. Eras are numbered 1 to 255 and around.
 * Where a lease ends while no era is open, packets record under the next number, which the era that
 * user space then finds begun gets.
 */
pure_inline __u8 era_generation(__u8 era, __u8 first)
{
	return era - first;
}

pure_inline __u8 next_era(__u8 era)
{
	return era == 0xff ? 1 : era + 1;
}

pure_inline int entry_is_of_era(__u64 entry, __u8 first, __u8 era)
{
	__u8 own = entry >> ENTRY_ERA_SHIFT;

	return own && era_generation(own, first) <= era_generation(era, first);
}

/* ---- server ids of QUIC backends ---- */

/* Open addressing: slots from the id's hash on, at most SERVER_ID_PROBES of them. */
#define SERVER_ID_PROBES 8
struct server_id {
	__u64 id;      /* its bytes, the first one the highest */
	__u32 backend; /* number + 1; 0: free */
	__u32 reserved;
};

/* Unkeyed: ids are the operator's own. */
pure_inline __u32 server_id_hash(__u64 id)
{
	return fmix64(id) >> 32;
}

/* ---- counters, each per CPU and written by the program alone ---- */

struct rule_counter {
	__u64 packets, bytes; /* bytes: link header and IP packet, without padding */
	__u64 syns, fins, rsts;
};

struct backend_counter {
	__u64 packets, bytes;
};

/* Of one segment: packets that one of its rules decided. */
struct segment_counter {
	__u64 packets;
};

/* Of one service: packets by the reason of their cohort. */
struct decision_counter {
	__u64 packets[STEER_REASONS];
};

/*
 * Of one service: packets that did not take PATH_CURRENT (which has the rest of its decisions),
 * entries that were evicted while they counted, and packets for which the source stood in for the
 * client key.
 */
#define PATHS_ROOM 12
struct affinity_counter {
	__u64 paths[PATHS_ROOM];
	__u64 evicted;
	__u64 fallback_quic;
	__u64 fallback_payload;
	__u64 reserved;
};
BUILD_CHECK(PATHS <= PATHS_ROOM);

/* Of one interface: what the program was handed, and what became of it. Their sums are equal. */
#define REASONS_ROOM 31
struct interface_counter {
	__u64 seen;
	__u64 reasons[REASONS_ROOM];
};
BUILD_CHECK(REASONS <= REASONS_ROOM);

/* ---- the box, in the one-element map `box` ---- */

struct box {
	__u32 abi_version;
	__u32 vips;	  /* enum vips_flag */
	__u32 publishing; /* user space: a writer has published and its grace period has not been
			     waited for */
	__u32 reserved;
	__u64 secret_fingerprint; /* of the secret that the programs were loaded with */
	__u64 created;		  /* CLOCK_REALTIME ns: since when counters count */

	/* Observation of clients (observed.h). Writers: publish; of observed_since and _freed also
	 * who takes what was observed. */
	__u64 observe;	      /* observe_word(), one store; 0: off, which is all that a packet
				 asks */
	__u32 observe_second; /* of observed_second() */
	__u32 observed_since; /* the second in which the running window began */
	__be32 observe_mask4; /* the form of the box's clients. Changed only while it is off */
	__u8 observe_prefix4, observe_prefix6;
	__u8 reserved2[2];
	__u64 observed_freed; /* records that were claimed and are free again */
};
BUILD_CHECK(sizeof(struct box) == CACHE_LINE);

/* ---- explain: what the variant of the program without side effects writes over its packet ---- */

struct explanation {
	__u64 token;
	__u64 flow;	    /* flow_word(), 0 with balance by client */
	__u32 hash;	    /* h */
	__u32 holdout_hash; /* h' */
	__u32 service;	    /* index of its cell */
	__u32 view;
	__u64 epoch;
	__u64 jiffies;	    /* the kernel's clock of eras, of any packet */
	__u32 ring_slot;    /* of all slots of the map */
	__u16 backend;	    /* the service's own number */
	__u8 chosen_cohort; /* before a fall back to control */
	__u8 cohort;
	__u8 action;
	__u8 reason;
	__u8 decision; /* reason of the cohort: differs from reason when the packet was not steered
			*/
	__u8 rule;     /* RULE_NONE: no rule decided */
	__u8 path;
	__u8 has_service, has_backend; /* how far the packet came */
	__u8 padding;
};
#define RULE_NONE 0xff

#endif
