/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is observed of each client of the box: one record of one cache line, in map `observed`. The
 * program claims a free record for a client that has none and adds to it; user space takes what was
 * counted at the end of a window, and frees the records of clients that stay away.
 *
 * A client is its source address cut to box.observe_prefix4 or _prefix6, and its record is found by
 * its token, SipHash-1-3 of that under the box's secret: nobody can choose addresses that share a
 * record. It is in one of OBSERVED_PLACES places that follow from the token, in the first that was
 * free when the client came. Two CPUs may do that at once while user space frees a place: then a
 * client has two records for a while, whose sum is what it did.
 *
 * Life of a record's tag:  free -> token (the program, by compare and swap)
 *                          token -> dying (user space: no packet finds it any more)
 *                          dying -> free (user space, after a grace period and a last look: a run
 *                          that had found it may have counted until then)
 */
#ifndef XDP_CANARY_OBSERVED_H
#define XDP_CANARY_OBSERVED_H

#include "hash.h"
#include "types.h"

struct observed_client {
	__u64 tag;	 /* the token, or enum observed_tag */
	__u64 high, low; /* the address, host order; IPv4 at ::ffff:0:0/96. Written after the tag */
	__u64 services;	 /* bit (slot modulo 64) of each service that it sent packets to */
	__u64 packets,
		bytes;	     /* estimates, where packets are sampled; bytes as counters have them */
	__u64 flows_seconds; /* flows << OBSERVED_FLOWS_SHIFT | seconds in which a packet counted */
	__u32 first, last; /* such seconds; last 0: none in this window, and first means nothing */
} cache_aligned;
BUILD_CHECK(sizeof(struct observed_client) == CACHE_LINE);

/* Busy: of followed clients alone (tracked.h). */
enum observed_tag { OBSERVED_FREE, OBSERVED_DYING, OBSERVED_BUSY, OBSERVED_TAGS };

#define OBSERVED_FLOWS_SHIFT  24 /* 194 days of seconds; 2^40 flows */
#define OBSERVED_SECONDS_MASK ((1u << OBSERVED_FLOWS_SHIFT) - 1)
#define OBSERVED_PLACES	      4

/* No token is one of the tags that mean something else. */
pure_inline __u64 observed_tag(__u64 token)
{
	return token < OBSERVED_TAGS ? token + OBSERVED_TAGS : token;
}

/* Place @number (0 to OBSERVED_PLACES - 1) of a client, of @count: another part of the token each.
 */
pure_inline __u32 observed_place(__u64 tag, int number, __u32 count)
{
	return scale((number ? rotate_left(tag, 16 * number) : tag) >> 32, count);
}

/*
 * Seconds of the kernel's clock of jiffies, which costs a packet nothing. @per_jiffy: 2^32 / HZ,
 * rounded, so a second is one within HZ / 2^33 (60 ms a week at most).
 */
pure_inline __u32 observed_second(__u64 jiffies, __u32 per_jiffy)
{
	return jiffies * per_jiffy >> 32;
}

/*
 * Which packets that start no flow are counted: those whose random 32 bits are at most the low half
 * of this word; and so many times each, the high half. 0: nothing is observed.
 */
pure_inline __u64 observe_word(__u32 one_in)
{
	return one_in ? (__u64)one_in << 32 | ((1ULL << 32) / one_in - 1) : 0;
}

/* Of one CPU; user space sums them. */
struct observe_counter {
	__u64 packets, bytes, flows; /* as records have them: of clients for which there was none */
	__u64 claimed;		     /* records that were given to a client */
};

#endif
