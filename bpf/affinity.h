/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 8: affinity without a connection table. While a service's era is open, its epochs disagree
 * on some flows; for those, and no others, a flow stays where its SYN went. A SYN on which they
 * disagree is recorded with the current decision; another segment follows its record, or, for it
 * began before the era, the origin: what was decided before. What comes out must be live and not
 * cut, else the current decision holds, or control. UDP, whose starts cannot be seen (but QUIC's),
 * follows the origin, or where it was last, for udp_drain after a change, then the current
 * decision. The end of a lease (lease.h) is such a change, too.
 *
 * Not disputed: the current decision is what every epoch of the era says, and nothing is looked up.
 */
#ifndef XDP_CANARY_AFFINITY_H
#define XDP_CANARY_AFFINITY_H

#include "backend.h"
#include "classes.h"
#include "lease.h"
#include "split_hash.h"
#include "transition.h"

enum holds { HOLDS, IS_DOWN, IS_CUT };

#define GENERATION_LAST 0xff /* later than every cut */

/* Is nobody to be at the canary, for it is latched? Without room in the table, too: see
 * ask_lease().
 */
static __always_inline int latch_cuts(const struct held_flow *p, const struct view *view,
				      __u8 cohort)
{
	return ((view->rollout & ROLLOUT_CUT) || (p->now && !view->transition_lines)) &&
	       cohort <= CANARIES_MAX && (view->rollout >> ROLLOUT_LATCHED_SHIFT >> cohort & 1);
}

/* The last generation at which clients were taken from the canary that they were pinned to. */
static __always_inline __u8 pins_cut_of_any(const struct view *view)
{
	__u8 last = 0;

#pragma unroll
	for (int canary = 0; canary < CANARIES_MAX; canary++)
		if (view->pins_cuts[canary] > last)
			last = view->pins_cuts[canary];
	return last;
}

/* Has the client been taken from the canary @cohort since @generation of the era? */
static __always_inline int is_cut(const struct held_flow *p, const struct view *view, __u8 cohort,
				  __u8 generation)
{
	struct view_rule *rule;

	if (p->killed || cohort == p->lease_cut || latch_cuts(p, view, cohort))
		return 1;
	if (p->leased == LEASED_CALM) /* the cuts that the view knows are of an era that is over */
		return 0;
	/* To the canary that a client is pinned to, only what cuts all takes it from there. */
	if (cohort > CANARIES_MAX) /* that left the file */
		return generation < pins_cut_of_any(view);
	if (p->decision == REASON_OVERRIDE && cohort == p->chosen_cohort)
		return generation < view->pins_cuts[(cohort - 1) & 3];
	/* Of a client that is held out now, too, those of its class. */
	rule = lookup(rules, view->rules + rule_line(view, noted_cuts(p->notes)));
	return rule && rule_cuts(rule, cohort, p->hash, generation, p->rehashed);
}

/* May the flow go to backend @number, where it went at @generation of the era? If so it does. */
static __always_inline enum holds go_to(struct held_flow *p, const struct view *view, __u16 number,
					__u8 generation)
{
	struct backend_line *line;
	__u8 cohort;

	if (number == BACKEND_NONE)
		return IS_DOWN;
	line = lookup(backends, view->backends + number);
	if (!line || (*(volatile __u8 *)&line->health & BACKEND_DOWN))
		return IS_DOWN;
	cohort = line->cohort;
	if (cohort && ((generation < line->cut && p->leased != LEASED_CALM) ||
		       is_cut(p, view, cohort, generation)))
		return IS_CUT;
	p->number = number;
	return HOLDS;
}

/* ---- the origin ---- */

/* The client's place in the hash space that the origin was decided in. */
static __always_inline __u32 hash_origin(const struct held_flow *p, const struct view *view)
{
	if (view->origin_flags & VIEW_HASH)
		return p->origin_hash;
	return client_hash(p->origin_token, view->origin_salt64);
}

static __always_inline __u32 origin_cohort(const struct held_flow *p, const struct view *view)
{
	__u64 token = p->origin_token;
	struct view_rule *rule;

	if (noted_pin(p->notes) != PIN_NONE)
		return noted_pin(p->notes);
	if (view->origin_holdout && client_hash(token, HOLDOUT_SALT64) < view->origin_holdout)
		return 0;
	rule = lookup(rules, view->rules + rule_line(view, noted_origin(p->notes)));
	return rule ? rule_origin(rule, hash_origin(p, view)) : 0;
}

static __always_inline __u16 origin_of_ring(const struct view *view, __u32 cohort, __u32 hash)
{
	__u32 bits;

	cohort &= COHORTS_MAX - 1;
	bits = view->origin_ring_bits[cohort];
	if (bits == RING_NONE)
		return BACKEND_NONE;
	return read_slot(view->origin_rings[cohort] + ((__u64)hash << (bits & 31) >> 32)) >>
	       SLOT_ORIGIN_SHIFT;
}

/* What the ring of @cohort gives now. */
static __always_inline __u16 backend_of_ring(const struct view *view, __u32 cohort, __u32 hash)
{
	__u32 first, size;

	cohort &= COHORTS_MAX - 1;
	first = view->rings[cohort];
	size = view->rings[cohort + 1] - first;
	return size ? read_slot(first + scale(hash, size)) & SLOT_NOW_MASK : BACKEND_NONE;
}

/* The backend that would be decided, had the lease not ended. */
static __always_inline __u16 leased_backend(const struct view *view, __u32 hash)
{
	__u16 number = backend_of_ring(view, view->rollout & ROLLOUT_COHORT, hash);

	return number == BACKEND_NONE ? backend_of_ring(view, 0, hash) : number;
}

/* The backend that was decided before the era; @of_control: had the client been in control. */
static __always_inline __u16 origin_backend(const struct held_flow *p, const struct view *view,
					    int of_control)
{
	__u32 cohort = 0, hash = ring_hash(p->origin_token, p->origin_flow);
	__u16 number = BACKEND_NONE;

	if (p->leased == LEASED_CALM)
		return leased_backend(view, hash);
	if (!of_control)
		cohort = p->notes & DISPUTED ? origin_cohort(p, view) : p->chosen_cohort;
	if (cohort)
		number = origin_of_ring(view, cohort, hash);
	return number == BACKEND_NONE ? origin_of_ring(view, 0, hash) : number;
}

/* ---- the rules ---- */

/* A flow that was taken from its canary goes where it would have been without one, and stays there.
 */
static __always_inline void leave(struct held_flow *p, const struct view *view, enum holds why)
{
	p->path = why == IS_CUT ? PATH_BANNED : PATH_BACKEND_DOWN;
	if (why == IS_CUT)
		go_to(p, view, origin_backend(p, view, 1), 0);
}

static __always_inline void follow_origin(struct held_flow *p, const struct view *view)
{
	enum holds holds = go_to(p, view, origin_backend(p, view, 0), 0);

	p->path = PATH_ORIGIN;
	if (holds != HOLDS)
		leave(p, view, holds);
}

/*
 * The server id in a connection id outlives eras. Not 0: the flow goes there. What was cut from a
 * canary may go there again once the current decision is that canary. A backend that left the file
 * keeps its flows until the era ends.
 */
static __always_inline int follow_id(struct held_flow *p, const struct view *view)
{
	__u16 named = noted_name(p->notes);
	struct backend_line *line;
	__u8 generation = 0;

	if (named == BACKEND_NONE || (p->notes & FLOW_STARTS))
		return 0;
	line = lookup(backends, view->backends + named);
	if (!line || (!p->now && (line->flags & BACKEND_GONE)))
		return 0;
	if (line->cohort == p->chosen_cohort)
		generation = GENERATION_LAST;
	if (go_to(p, view, named, generation) != HOLDS)
		return 0;
	p->path = PATH_SERVER_ID;
	return 1;
}

/*
 * An Initial whose id names the origin's backend: that server has answered already, before the era
 * began, and the handshake is not to be taken from it. Explain asks with an id that is nobody's.
 */
static __always_inline int is_answered(const struct held_flow *p, const struct view *view)
{
	__u16 named = noted_name(p->notes);

	return !p->quiet && named != BACKEND_NONE && named == origin_backend(p, view, 0);
}

/*
 * Not 0: unrecorded, its other segments would follow the origin, and so does it; but not to a
 * canary whose lease has ended.
 */
static __always_inline int hold_start(struct held_flow *p, const struct view *view,
				      struct flow_place *place)
{
	__u64 entry = place->entry;

	if (!(p->notes & (MOVED | DISPUTED))) {
		if (entry) {
			place_clear(p, place);
			p->path = PATH_SYN_CLEARED;
		}
		return 0;
	}
	if (is_answered(p, view))
		return 1;
	/* A repeated SYN must not move a handshake; after a FIN it is another flow's. */
	if (entry && !(entry & ENTRY_ENDED) &&
	    go_to(p, view, entry & ENTRY_BACKEND_MASK, place->generation) == HOLDS) {
		p->path = PATH_SYN_KEPT;
		return 0;
	}
	if (p->number == BACKEND_NONE)
		return 0;
	p->path = PATH_SYN_RECORDED;
	return place_record(p, place, 0) && !p->leased;
}

static __always_inline void hold_entry(struct held_flow *p, const struct view *view,
				       struct flow_place *place)
{
	enum holds holds = go_to(p, view, place->entry & ENTRY_BACKEND_MASK, place->generation);

	p->path = PATH_ENTRY;
	if (holds != HOLDS)
		leave(p, view, holds);
	if (holds == HOLDS || !p->is_udp)
		place_settle(p, place);
}

/* A flow of datagrams lives on where it was taken to, and is not taken back. */
static __always_inline void stay_away(struct held_flow *p, struct flow_place *place)
{
	if (p->is_udp && (p->path == PATH_BACKEND_DOWN || p->path == PATH_BANNED) &&
	    p->number != BACKEND_NONE)
		place_record(p, place, ENTRY_ENDED);
}

/* Of UDP, where no start was seen: may the flow follow the current decision already? */
static __always_inline int has_drained(const struct held_flow *p, const struct view *view,
				       const struct flow_place *place)
{
	return p->is_udp && !(view->flags & VIEW_KEY_QUIC) &&
	       (!place->entry || (place->entry & ENTRY_ENDED)) && p->now >= p->udp_ends;
}

/*
 * Where the flow goes, in @p. Global, so that the verifier walks it once by itself; a call costs 7
 * ns, and only packets on which epochs disagree, SYNs in an era and connection ids need it. Given
 * what its caller has looked up already, which to the verifier is memory that may be missing.
 */
__noinline int hold_flow(struct held_flow *p, struct view *view)
{
	struct flow_place place;

	if (!p || !view)
		return 0;
	if (follow_id(p, view) || !p->now || !(p->notes & (MOVED | DISPUTED | FLOW_STARTS)))
		return 0;
	find_place(p, view, &place);
	if (p->notes & FLOW_STARTS) {
		if (hold_start(p, view, &place))
			follow_origin(p, view);
	} else if (has_drained(p, view, &place)) {
		if (p->number != BACKEND_NONE)
			place_follow(p, &place);
	} else if (place.entry) {
		hold_entry(p, view, &place);
	} else {
		follow_origin(p, view);
	}
	stay_away(p, &place);
	return 0;
}

/* ---- in front of it ---- */

/* Later the current decision alone holds. Of a client whose pin ends by itself that is later than
 * of others. */
static __always_inline int era_is_open(const struct packet *p, __u64 now)
{
	__u64 ends = *(volatile __u64 *)&p->view->era_ends;

	if (now < ends || lease_keeps_era(p->view, ends, now))
		return 1;
	return (p->notes & PIN_CHANGED) && now < p->view->pins_end;
}

static __always_inline __u64 destination_of(const struct headers *h)
{
	__u64 to = h->destination4;

	if (h->family == 6)
		to = h->destination6.high * TRANSITION_SALT64 ^ h->destination6.low;
	return to ^ (__u64)h->protocol << 56;
}

/* In held_flow: of the client and flow that the packet had before the era. */
__noinline int find_origin(struct xdp_md *ctx, struct held_flow *held, struct view *view)
{
	if (!held || !view)
		return 0;
	held->origin_token = origin_token(ctx, &held->headers, view);
	held->origin_flow = balanced_flow(&held->headers, view->origin_flags);
	if (view->origin_flags & VIEW_HASH)
		held->origin_hash =
			split_hash_of_source(&held->headers, origin_masks(view), view->origin_flags,
					     view->origin_modulus, view->origin_seed);
	return 0;
}

/* What a client key may be made of. One by one: a struct that is copied is no longer in registers.
 */
static __always_inline void give_headers(const struct headers *from, struct headers *to)
{
	to->family = from->family;
	to->protocol = from->protocol;
	to->source4 = from->source4;
	to->destination4 = from->destination4;
	to->source6.high = from->source6.high;
	to->source6.low = from->source6.low;
	to->destination6.high = from->destination6.high;
	to->destination6.low = from->destination6.low;
	to->source_port = from->source_port;
	to->destination_port = from->destination_port;
	to->payload = from->payload;
	to->payload_length = from->payload_length;
}

static __always_inline void ask(const struct packet *p, struct held_flow *held, __u64 now)
{
	/* What balances by the flow has it already. */
	held->whole = p->flow ? p->flow : whole_flow(&p->headers);
	held->to = destination_of(&p->headers);
	held->now = now;
	held->origin_token = p->token;
	held->origin_flow = p->flow;
	held->hash = p->hash;
	held->origin_hash = p->hash; /* the same hash, or find_origin() sees to it */
	held->killed = p->decision == REASON_KILLED;
	held->rehashed = 0;
	held->leased = NOT_LEASED;
	held->lease_cut = 0;
	held->udp_ends = *(volatile __u64 *)&p->view->udp_ends;
	held->is_udp = p->headers.protocol == IPPROTO_UDP;
	held->tcp_flags = p->headers.tcp_flags;
	held->notes = p->notes;
	held->chosen_cohort = p->chosen_cohort;
	held->decision = p->decision;
	held->quiet = p->quiet;
	held->number = p->backend_number;
	held->path = PATH_CURRENT;
}

static __always_inline void take_answer(struct packet *p, const struct held_flow *held)
{
	p->path = held->path;
	p->notes = held->notes;
	if (held->number == p->backend_number)
		return;
	p->backend_number = held->number;
	p->backend = lookup(backends, p->view->backends + p->backend_number);
	p->notes &= ~FELL_BACK;
	if (p->backend)
		p->cohort = p->backend->cohort;
}

/* Does a connection id name a backend? */
static __always_inline int is_named(const struct packet *p)
{
	return noted_name(p->notes) != BACKEND_NONE;
}

/* May an era, if one is open, concern the packet? */
static __always_inline int is_concerned(const struct packet *p)
{
	return (p->notes & (MOVED | DISPUTED | FLOW_STARTS)) || is_named(p);
}

/* The time in jiffies where an era is open that may concern the packet, else 0. */
static __always_inline __u64 in_era(const struct packet *p)
{
	__u64 now;

	if (!(p->view->flags & VIEW_TRANSITION) || !is_concerned(p))
		return 0;
	now = bpf_jiffies64();
	return era_is_open(p, now) ? now : 0;
}

/* Is the client in a group that it was not in when the era began? */
static __always_inline int has_joined(const struct packet *p)
{
	return p->group && p->group->token && !p->group->origin;
}

/* What the client and flow were when the era began, where that may be another. */
static __always_inline void ask_origin(struct packet *p, struct held_flow *held)
{
	if ((p->view->flags & VIEW_ORIGIN_KEY) || has_joined(p)) {
		give_headers(&p->headers, &held->headers);
		find_origin(p->ctx, held, p->view);
	}
	if (p->group) {
		held->rehashed = p->group->changed;
		if (p->group->origin)
			held->origin_token = p->group->origin;
	}
}

/*
 * Of a flow whose client the lease's end took from its canary: it leaves that as by any change of
 * the open era. Where none is, the end is a change of its own, and holds flows for as long.
 */
static __always_inline void join_lease(struct held_flow *held, const struct view *view, __u64 ends)
{
	__u64 udp_ends = ends + ((__u64)view->lease_udp_drain << LEASE_UDP_SHIFT), now;

	if (held->now) {
		held->leased = LEASED_IN_ERA;
		if (held->udp_ends < udp_ends)
			held->udp_ends = udp_ends;
		return;
	}
	now = bpf_jiffies64();
	if (!view->transition_lines || now >= ends + view->lease_drain)
		return;
	held->leased = LEASED_CALM;
	held->now = now;
	held->udp_ends = udp_ends;
}

/*
 * What the lease means to the flow, once it has ended. It takes live flows, too, where that is
 * asked for, or where the table has no room at all: nothing would tell new ones from them.
 */
__noinline int ask_lease(struct held_flow *held, struct view *view)
{
	int cuts;

	if (!held || !view || !lease_has_ended(view, held->quiet))
		return 0;
	cuts = (view->rollout & ROLLOUT_CUT) || (held->now && !view->transition_lines);
	if (!(view->rollout & ROLLOUT_CUT) && (held->notes & LEASE_TOOK))
		join_lease(held, view, lease_ends(view));
	if (cuts)
		held->lease_cut = view->rollout & ROLLOUT_COHORT;
	return 0;
}

static __always_inline void hold_affinity(struct packet *p)
{
	__u16 flags = p->view->flags;
	struct held_flow *held;
	__u64 now;

	/* Without QUIC no connection id names a backend. */
	if (!(flags & (VIEW_TRANSITION | VIEW_KEY_QUIC)) && !(p->notes & LEASE_TOOK))
		return;
	if (flags & VIEW_ALL_DISPUTED)
		p->notes |= DISPUTED;
	now = in_era(p);
	if (!now && !is_named(p) && !(p->notes & LEASE_TOOK))
		return;
	held = lookup(held_flows, 0);
	if (!held)
		return;
	ask(p, held, now);
	if (p->view->expiry != LEASE_NONE)
		ask_lease(held, p->view);
	if (held->leased != LEASED_CALM)
		ask_origin(p, held);
	hold_flow(held, p->view);
	take_answer(p, held);
}

#endif
