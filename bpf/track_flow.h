/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One followed flow: its record, and what a segment means for it. Only what the client sends is
 * seen (l2, ipip and gue show no more), so a server's answer is what the client acknowledges. The
 * rules, and what each was tried against: docs/architecture.md, "Tracking". What needs a clock to
 * run out is told by user/track/sweep.c.
 *
 * Packets of a flow come on one CPU as a rule; where they do not, the flow's record may take one of
 * them for another's, but no first is counted twice (headers/tracked.h).
 */
#ifndef XDP_CANARY_BPF_TRACK_FLOW_H
#define XDP_CANARY_BPF_TRACK_FLOW_H

#include "packet.h"

#define TRACK_NONE (~0u)

/* A followed client's packet: what the stages found, then what each step here does. */
struct followed {
	__u64 token;
	__u32 track; /* in map `tracked_services` */
	__u32 l3_offset, l3_length;
	__be32 mask4;
	__u8 prefix6, family, is_tcp, rule, arm;

	/* the segment */
	__u8 tcp_flags;
	__u32 seq, ack, payload; /* payload: bytes */
	__u64 high, low;	 /* the client's address, as its record has it */
	__u64 flow_key;

	/* the service */
	__u64 now; /* jiffies */
	__u64 tag; /* of the client */
	__u32 t;   /* ms */
	__u32 window, idle_timeout;
	__s32 age;	  /* in ms of the oldest flow that counts; negative: none does */
	__u8 is_counting; /* not suspended */
	__u8 server_first;

	/* the records */
	__u32 client, flow;
	__u64 seen; /* of the client, when it was found */

	/* what comes of it */
	__u8 is_over, is_first; /* the flow is, and it is the client's first that counts */
	__u32 firsts;		/* enum track_first and metrics */
	__u32 sampled;		/* bits of enum track_sample */
	__u32 samples[TRACK_SAMPLES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct followed);
} followed SEC(".maps");

static __always_inline void note_event(struct followed *f, enum kernel_metric metric)
{
	f->firsts |= 1u << metric;
}

static __always_inline void note_sample(struct followed *f, enum track_sample sample, __u32 value)
{
	f->samples[sample] = value;
	f->sampled |= 1u << sample;
	f->firsts |= 1u << metric_of_sample(sample);
}

/* ---- its record ---- */

static __always_inline __u32 flow_place(__u64 key, int number)
{
	return tracked_place(key, number, tracked_flow_sets);
}

static __always_inline __u32 read_flow_tag(const struct tracked_flow *flow)
{
	return *(volatile __u32 *)&flow->tag;
}

static __always_inline int swap_flow_tag(struct tracked_flow *flow, __u32 from, __u32 to)
{
	return __sync_val_compare_and_swap(&flow->tag, from, to) == from;
}

/* A flow of its own from this SYN on; all but the tag. */
static __always_inline void begin_flow(struct tracked_flow *flow, const struct followed *f)
{
	flow->isn = f->seq;
	flow->snd_max = f->seq + 1;
	flow->hole_lo = flow->hole_hi = 0;
	flow->ack0 = flow->ack_max = 0;
	flow->t_syn = flow->t_last = f->t;
	flow->t_est = flow->t_req = flow->t_adv = 0;
	flow->quiet_end = 0;
	flow->client = f->client;
	flow->quiet_len = flow->flags = 0;
	flow->nsyn = flow->told = flow->nresp = 0;
	flow->arm = f->arm;
}

/* The best set so far: its first free record, and what it is worth. */
struct track_room {
	__u32 place, worth;
};

static __always_inline void consider_set(__u64 key, int choice, struct track_room *best)
{
	__u32 place = TRACK_NONE, count = 0;

#pragma unroll
	for (int way = TRACK_WAYS - 1; way >= 0; way--) {
		__u32 other = flow_place(key, choice * TRACK_WAYS + way);
		struct tracked_flow *flow = lookup(tracked_flows, other);

		if (!flow || read_flow_tag(flow) != TRACKED_FLOW_FREE)
			continue;
		place = other;
		count++;
		forget(place, key);
		forget(count, key);
	}
	if (room_worth(count) <= best->worth)
		return;
	best->worth = room_worth(count);
	best->place = place;
	forget(best->worth, key);
	forget(best->place, key);
}

/* TRACK_NONE: there is none, or somebody else was faster. */
static __always_inline __u32 take_free(const struct followed *f)
{
	struct track_room best = {TRACK_NONE, 0};
	struct tracked_flow *flow;

#pragma unroll
	for (int choice = 0; choice < TRACK_CHOICES; choice++)
		consider_set(f->flow_key, choice, &best);
	flow = lookup(tracked_flows, best.place);
	if (!flow || !swap_flow_tag(flow, TRACKED_FLOW_FREE, TRACKED_FLOW_BUSY))
		return TRACK_NONE;
	return best.place;
}

/* The place of a flow that is over and of which all has been told. */
static __always_inline __u32 take_over(const struct followed *f)
{
#pragma unroll
	for (int number = 0; number < TRACK_PLACES; number++) {
		__u32 place = flow_place(f->flow_key, number);
		struct tracked_flow *flow = lookup(tracked_flows, place);
		__u32 tag;

		if (!flow)
			continue;
		tag = read_flow_tag(flow);
		if (tag < TRACKED_FLOW_TAGS || !is_flow_over(flow, f->t, f->idle_timeout))
			continue;
		if (swap_flow_tag(flow, tag, TRACKED_FLOW_BUSY))
			return place;
	}
	return TRACK_NONE;
}

#define CLAIM_FLOW_TRIES 4 /* that other CPUs may have taken before us */

__noinline __u32 claim_flow(struct followed *f)
{
	struct tracked_flow *flow;
	__u32 place = TRACK_NONE;

	if (!f)
		return TRACK_NONE;
	for (int i = 0; i < CLAIM_FLOW_TRIES && place == TRACK_NONE; i++)
		place = take_free(f);
	if (place == TRACK_NONE)
		place = take_over(f);
	flow = lookup(tracked_flows, place);
	if (!flow)
		return TRACK_NONE;
	begin_flow(flow, f);
	swap_flow_tag(flow, TRACKED_FLOW_BUSY, tracked_flow_tag(f->flow_key));
	return place;
}

static __always_inline int is_start(const struct followed *f)
{
	return (f->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/*
 * The flow's record, which a SYN makes; in f->flow too. TRACK_NONE: it is not followed. Where a
 * flow finds no room, nothing of its client counts any more in this window.
 */
__noinline __u32 find_flow(struct followed *f)
{
	__u32 tag;

	if (!f)
		return TRACK_NONE;
	tag = tracked_flow_tag(f->flow_key);
#pragma unroll
	for (int number = 0; number < TRACK_PLACES; number++) {
		__u32 place = flow_place(f->flow_key, number);
		struct tracked_flow *flow = lookup(tracked_flows, place);

		if (!flow || read_flow_tag(flow) != tag || flow->client != f->client)
			continue;
		f->flow = place;
		return place;
	}
	f->flow = is_start(f) ? claim_flow(f) : TRACK_NONE;
	if (is_start(f) && f->flow == TRACK_NONE)
		f->firsts = FIRST_AWAY;
	return f->flow;
}

/* ---- what a segment means ---- */

static __always_inline __u8 one_more(__u8 count)
{
	return count == 0xff ? count : count + 1;
}

/* The exchange is over: its answer's last byte came with the last advance of the ACK. */
static __always_inline void end_exchange(struct tracked_flow *flow, struct followed *f)
{
	if (!(flow->flags & FLOW_ANSWERED))
		return;
	flow->flags &= ~FLOW_ANSWERED;
	note_sample(f, SAMPLE_LAST_BYTE_TIME, flow->t_adv - flow->t_req);
}

/* The request's time is stored first: the sweep reads both. */
static __always_inline void begin_wait(struct tracked_flow *flow, __u32 t)
{
	flow->t_req = t;
	barrier();
	flow->flags |= FLOW_PENDING;
}

/* The excess over the path's round trip, which the handshake has shown. */
static __always_inline void take_answer_of(struct tracked_flow *flow, struct followed *f)
{
	__s32 excess = (f->t - flow->t_req) - (flow->t_est - flow->t_syn);

	note_sample(f, SAMPLE_RESPOND_TIME, excess > 0 ? excess : 0);
	flow->flags = (flow->flags & ~FLOW_PENDING) | FLOW_ANSWERED;
	flow->nresp = one_more(flow->nresp);
}

static __always_inline void follow_ack(struct tracked_flow *flow, struct followed *f)
{
	__u32 advance = f->ack - flow->ack_max;

	if (!is_after(f->ack, flow->ack_max))
		return;
	/* A bare FIN of the server is no answer. */
	if ((flow->flags & FLOW_PENDING) && !(advance == 1 && f->ack - flow->ack0 == 1))
		take_answer_of(flow, f);
	flow->ack_max = f->ack;
	flow->t_adv = f->t;
	flow->flags = advance == 1 ? flow->flags | FLOW_LONE : flow->flags & ~FLOW_LONE;
	if (advance < ANSWER_LEAST)
		return;
	flow->t_last = f->t;
	if (!(flow->flags & FLOW_FIN))
		flow->quiet_end = 0;
}

/* Was it sent before, and has it come to this box? */
static __always_inline int is_sent_again(const struct tracked_flow *flow, const struct followed *f,
					 __u32 seq)
{
	__u32 end = seq + f->payload;

	if (f->payload == 1 && seq == flow->snd_max - 1)
		return 0; /* keepalive */
	if (!is_after(flow->hole_lo, seq) && !is_after(end, flow->hole_hi) &&
	    flow->hole_lo != flow->hole_hi)
		return 0; /* lost before this box */
	return !((flow->flags & FLOW_FAST_OPEN) && seq == flow->isn + 1);
}

/* @seq: of its first byte. */
static __always_inline void follow_payload(struct tracked_flow *flow, struct followed *f, __u32 seq)
{
	__u32 end = seq + f->payload;

	if (!f->payload)
		return;
	if (!is_after(end, flow->snd_max)) {
		if (is_sent_again(flow, f, seq))
			note_event(f, METRIC_RETRANSMISSION);
		return;
	}
	if (is_after(seq, flow->snd_max)) {
		flow->hole_lo = flow->snd_max;
		flow->hole_hi = seq;
	}
	end_exchange(flow, f);
	flow->snd_max = end;
	begin_wait(flow, f->t);
}

static __always_inline void follow_quiet(struct tracked_flow *flow, __u32 t)
{
	__u32 gap = t - flow->t_last;

	if (gap < QUIET_LEAST || (flow->flags & FLOW_FIN))
		return;
	flow->quiet_len = gap < 0xffff ? gap : 0xffff;
	flow->quiet_end = t ? t : 1;
}

static __always_inline __u32 quiet_before_end(const struct tracked_flow *flow, __u32 t)
{
	if (flow->quiet_end && t - flow->quiet_end < QUIET_RECENT)
		return flow->quiet_len;
	return t - flow->t_last;
}

/*
 * The first FIN or RST: what the client's goodbye says of the service. That it got nothing at all
 * (empty) is not told at the FIN, for a client may have closed its half alone and be answered yet:
 * it is still pending, and so given up, a second later.
 */
static __always_inline void say_goodbye(struct tracked_flow *flow, struct followed *f)
{
	__u32 quiet = quiet_before_end(flow, f->t);
	int has_asked = flow->snd_max != flow->isn + 1;

	if (flow->flags & FLOW_FIN)
		return;
	if (has_asked && quiet >= QUIT_LEAST && quiet <= QUIT_MOST && !(flow->flags & FLOW_LONE))
		note_event(f, METRIC_QUIT);
	note_sample(f, SAMPLE_RESPONSE_SIZE, flow->ack_max - flow->ack0);
	end_exchange(flow, f);
	f->is_over = 1;
}

static __always_inline void follow_end(struct tracked_flow *flow, struct followed *f)
{
	if (!(f->tcp_flags & (TCP_FIN | TCP_RST)))
		return;
	say_goodbye(flow, f);
	if (f->tcp_flags & TCP_RST) {
		note_event(f, METRIC_CLIENT_RESET);
		if (flow->flags & FLOW_PENDING)
			note_event(f, METRIC_UNANSWERED); /* given up */
		return;
	}
	if (!(flow->flags & FLOW_FIN)) {
		flow->quiet_end = f->t;
		barrier();
		flow->flags |= FLOW_FIN;
	}
}

static __always_inline void follow_syn(struct tracked_flow *flow, struct followed *f)
{
	if (flow->isn != f->seq) {
		/* That the old flow has said no goodbye says nothing. */
		f->is_over = f->is_first;
		begin_flow(flow, f);
	}
	flow->nsyn = one_more(flow->nsyn);
	if (flow->nsyn > 1)
		note_event(f, METRIC_SYN_REPEATED);
	if (f->payload)
		flow->flags |= FLOW_FAST_OPEN;
	follow_payload(flow, f, f->seq + 1);
	follow_quiet(flow, f->t);
}

/* Any segment of an established flow, and the one that establishes it. */
static __always_inline void follow_established(struct tracked_flow *flow, struct followed *f,
					       int establishes)
{
	if (establishes) {
		flow->t_est = f->t;
		flow->ack0 = flow->ack_max = f->ack;
		flow->flags |= FLOW_ESTABLISHED;
		note_sample(f, SAMPLE_ESTABLISH_TIME, f->t - flow->t_syn);
		if (f->server_first)
			begin_wait(flow, f->t);
	}
	if (f->tcp_flags & TCP_ACK)
		follow_ack(flow, f);
	if (!(f->tcp_flags & TCP_RST))
		follow_payload(flow, f, f->seq);
	follow_quiet(flow, f->t);
	follow_end(flow, f);
}

/* Before any ACK a RST is the client's own choice (happy eyeballs, RFC 8305). */
static __always_inline void follow_segment(struct tracked_flow *flow, struct followed *f)
{
	int is_established = flow->flags & FLOW_ESTABLISHED;

	if (is_start(f))
		follow_syn(flow, f);
	else if (f->tcp_flags & TCP_SYN)
		return; /* the client is none that opens a flow */
	else if (is_established || (f->tcp_flags & (TCP_ACK | TCP_RST)) == TCP_ACK)
		follow_established(flow, f, !is_established);
	else if (f->tcp_flags & TCP_RST)
		f->is_over = 1;
	flow->t_last = f->t;
}

/*
 * The client's half of a flow. The server's half, where the return path leads through this box (nat
 * and local), joins here: its program finds the same record by the flow's key turned around, and
 * calls another function like this one, whose segments establish, answer and end the same flow.
 */
__noinline int follow_client_segment(struct followed *f)
{
	struct tracked_flow *flow;

	if (!f)
		return 0;
	flow = lookup(tracked_flows, f->flow);
	if (!flow)
		return 0;
	if (f->is_counting && f->age >= 0 && !is_flow_counted(flow, f->t, f->age))
		flow->flags |= FLOW_EXPIRED;
	f->is_first = (flow->flags & FLOW_FIRST_MASK) == FLOW_FIRST_IN(f->window);
	follow_segment(flow, f);
	if (is_flow_counted(flow, f->t, f->age)) {
		f->firsts |= FIRST_FLOW;
	} else {
		f->firsts = FIRST_SIGHT;
		f->is_over = 0;
	}
	if ((f->tcp_flags & (TCP_RST | TCP_SYN)) == TCP_RST)
		swap_flow_tag(flow, tracked_flow_tag(f->flow_key), TRACKED_FLOW_FREE);
	return 0;
}

#endif
