/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The transition table: where flows went that began in an open era. One line a flow's key, and in
 * it the ways of headers/abi.h. All stores are compare and swap of one word, so that two CPUs at
 * one line lose a change but never a flow of another's; every function that changes it is content
 * to fail.
 */
#ifndef XDP_CANARY_TRANSITION_H
#define XDP_CANARY_TRANSITION_H

#include "backend.h"

#define TRANSITION_SALT64 0xc2b2ae3d27d4eb4fULL

enum leased {
	NOT_LEASED,    /* no lease's end took the client from its canary */
	LEASED_IN_ERA, /* an open era knows where its flows were before */
	LEASED_CALM,   /* no era is open: they were at that canary */
};

/*
 * A flow as the affinity stage sees it: first what the stages before it found, then its answer. In
 * a map, one a CPU, for the stage is a function that the verifier walks by itself, and what lies in
 * a map it knows nothing of; a program is not interrupted by another of its CPU that uses it.
 */
struct held_flow {
	__u64 whole, to; /* whole_flow(); where the packet goes */
	__u64 now;	 /* jiffies; 0: no era is open, nor is a lease draining */
	__u64 udp_ends;	 /* of flows whose start cannot be seen */
	__u64 notes;
	__u64 origin_token, origin_flow;
	__u32 hash;
	__u32 origin_hash; /* where the origin's hash was another tool's */
	__u32 killed;
	__u8 is_udp, tcp_flags, chosen_cohort, decision, quiet;
	__u16 number; /* of the current decision's backend, then of the flow's */
	__u8 path;
	__u8 rehashed;		/* cuts before this generation knew the client by another hash */
	__u8 leased;		/* enum leased */
	__u8 lease_cut;		/* canary that the lease's end takes all flows from; 0: none */
	struct headers headers; /* where the origin's client key was another */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held_flow);
} held_flows SEC(".maps");

struct flow_place {
	struct transition_line *line; /* NULL: the service has none */
	__u64 entry;		      /* the flow's; 0: none */
	__u32 way;		      /* where it is */
	__u32 tag;
	__u8 stamp;		    /* now */
	__u8 era, era_first, first; /* of the view: entries from first to era are somebody's */
	__u8 generation;	    /* of the entry */
};

/*
 * Keyed by the token that the client had when the era began, for the client key may change within
 * it; all that tells flows of a service apart, whatever it balances by.
 */
static __always_inline __u64 place_key(const struct held_flow *p)
{
	return fmix64(p->origin_token ^ TRANSITION_SALT64 ^ p->whole) ^ fmix64(p->to);
}

static __always_inline __u64 read_way(const struct transition_line *line, __u32 way)
{
	return *(volatile __u64 *)&line->ways[way & (TRANSITION_WAYS - 1)];
}

static __always_inline int swap_way(struct transition_line *line, __u32 way, __u64 from, __u64 to)
{
	return __sync_val_compare_and_swap(&line->ways[way & (TRANSITION_WAYS - 1)], from, to) ==
	       from;
}

static __always_inline void find_place(struct held_flow *p, struct view *view,
				       struct flow_place *place)
{
	__u8 first = p->notes & PIN_CHANGED ? view->pins_first : view->era_first;
	__u64 key = place_key(p);

	*place = (struct flow_place){
		.era = view->era,
		.era_first = view->era_first,
		.first = view->pins_first,
		.tag = key,
		.stamp = p->now >> ENTRY_STAMP_JIFFIES,
	};
	if (p->leased == LEASED_CALM) {
		place->era = place->era_first = first = next_era(view->era);
		if (!(view->flags & VIEW_TRANSITION))
			place->first = first;
	}
	if (!view->transition_lines)
		return;
	place->line = lookup(transition,
			     view->transition_base + ((key >> 32) & (view->transition_lines - 1)));
	if (!place->line)
		return;
#pragma unroll
	for (__u32 way = 0; way < TRANSITION_WAYS; way++) {
		__u64 entry = read_way(place->line, way);

		if (entry >> ENTRY_TAG_SHIFT != place->tag ||
		    !entry_is_of_era(entry, first, place->era))
			continue;
		place->entry = entry;
		place->way = way;
		if (entry_is_of_era(entry, place->era_first, place->era))
			place->generation =
				era_generation(entry >> ENTRY_ERA_SHIFT, place->era_first);
		break;
	}
	forget(place->way, key);
	forget(place->generation, key);
	forget(place->entry, key);
}

static __always_inline __u64 place_entry(const struct held_flow *p, const struct flow_place *place)
{
	return (__u64)place->tag << ENTRY_TAG_SHIFT | (__u64)place->era << ENTRY_ERA_SHIFT |
	       (__u64)place->stamp << ENTRY_STAMP_SHIFT | p->number;
}

#define WORTH_NOTHING 0x200u /* nobody's */
#define WORTH_LITTLE  0x100u /* of a flow that ended */

/* How readily an entry is given up: the longer ago its flow was seen. */
static __always_inline __u32 spare(const struct held_flow *p, const struct flow_place *place,
				   __u64 entry)
{
	if (!entry_is_of_era(entry, place->first, place->era))
		return WORTH_NOTHING;
	if (!entry_is_of_era(entry, place->era_first, place->era))
		entry |= ENTRY_ENDED; /* for nearly all flows it is over */
	return (entry & ENTRY_ENDED ? WORTH_LITTLE : 0) |
	       (__u8)(place->stamp - (__u8)(entry >> ENTRY_STAMP_SHIFT));
}

/* Puts @entry into the established way that is spared most readily. 0, or not: somebody else did.
 */
static __always_inline int place_put(struct held_flow *p, struct flow_place *place, __u64 entry)
{
	__u64 victim = read_way(place->line, 0);
	__u32 way = 0, most = spare(p, place, victim);

#pragma unroll
	for (__u32 other = 1; other < TRANSITION_ESTABLISHED; other++) {
		__u64 candidate = read_way(place->line, other);
		__u32 worth = spare(p, place, candidate);

		if (worth <= most)
			continue;
		most = worth;
		victim = candidate;
		way = other;
		forget(way, entry);
		forget(most, entry);
	}
	if (!swap_way(place->line, way, victim, entry))
		return -1;
	if (most < WORTH_LITTLE)
		p->notes |= EVICTED;
	return 0;
}

/* With what a race of two CPUs may have left of it on probation. */
static __always_inline void place_clear(const struct held_flow *p, struct flow_place *place)
{
	if (p->quiet)
		return;
	swap_way(place->line, place->way, place->entry, 0);
#pragma unroll
	for (__u32 way = TRANSITION_ESTABLISHED; way < TRANSITION_WAYS; way++) {
		__u64 entry = read_way(place->line, way);

		if (entry >> ENTRY_TAG_SHIFT == place->tag)
			swap_way(place->line, way, entry, 0);
	}
}

#define PROBATION_NEWEST TRANSITION_ESTABLISHED
#define PROBATION_OLDEST (TRANSITION_ESTABLISHED + 1)
BUILD_CHECK(PROBATION_OLDEST + 1 == TRANSITION_WAYS);

/*
 * A new flow's entry; who has been on probation longest goes. By their order, for stamps are too
 * coarse to tell flows of one flood apart. 0, or not: somebody else did the same.
 */
static __always_inline int place_begin(struct held_flow *p, struct flow_place *place, __u64 entry)
{
	__u64 newest = read_way(place->line, PROBATION_NEWEST);
	__u64 oldest = read_way(place->line, PROBATION_OLDEST);

	if (spare(p, place, newest) < WORTH_NOTHING) {
		if (!swap_way(place->line, PROBATION_OLDEST, oldest, newest))
			return -1;
		if (spare(p, place, oldest) < WORTH_LITTLE)
			p->notes |= EVICTED;
	}
	return !swap_way(place->line, PROBATION_NEWEST, newest, entry);
}

/* Records the packet's backend as its flow's. 0, or not: there was no room. */
static __always_inline int place_record(struct held_flow *p, struct flow_place *place, __u64 marks)
{
	__u64 entry = place_entry(p, place) | marks;

	if (!place->line)
		return -1;
	if (p->quiet)
		return 0;
	if (place->entry)
		return !swap_way(place->line, place->way, place->entry, entry);
	return place_begin(p, place, entry) && place_begin(p, place, entry);
}

/* The flow goes on: off probation, seen now, and ended with a FIN or RST. */
static __always_inline void place_settle(struct held_flow *p, struct flow_place *place)
{
	__u64 entry = place->entry & ~(0xffULL << ENTRY_STAMP_SHIFT);

	entry |= (__u64)place->stamp << ENTRY_STAMP_SHIFT;
	if (p->tcp_flags & (TCP_FIN | TCP_RST))
		entry |= ENTRY_ENDED;
	if (p->quiet)
		return;
	if (place->way < TRANSITION_ESTABLISHED) {
		if (entry != place->entry)
			swap_way(place->line, place->way, place->entry, entry);
		return;
	}
	if (!place_put(p, place, entry))
		swap_way(place->line, place->way, place->entry, 0);
}

/* Keeps in mind where a flow whose start was not seen goes now; ENTRY_ENDED tells it from others.
 */
static __always_inline void place_follow(struct held_flow *p, struct flow_place *place)
{
	if (place->entry && (place->entry & ENTRY_BACKEND_MASK) == p->number)
		place_settle(p, place);
	else
		place_record(p, place, ENTRY_ENDED);
}

#endif
