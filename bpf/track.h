/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * After stage 7: follows the flows of a rollout's clients: those of its canary, and of a slice of
 * control to compare them with (headers/tracked.h). Packets of other services pay a bit test for
 * it, other clients a compare. What a packet means for its flow is decided in track_flow.h; here
 * its client and its flow are found, and what came of it is counted.
 *
 * Each step is a function of its own that the verifier walks by itself; they share what they know
 * in a record a CPU, as hold_flow() does (transition.h).
 */
#ifndef XDP_CANARY_BPF_TRACK_H
#define XDP_CANARY_BPF_TRACK_H

#include "cohort.h"
#include "parse.h"
#include "track_flow.h"

/* ---- the segment ---- */

static __always_inline void follow_source4(struct followed *f, __be32 source)
{
	struct masks masks = {.mask4 = f->mask4, .has_mask4 = 1};

	f->high = 0;
	f->low = IPV4_MAPPED | bpf_ntohl(mask_address4(masks, source));
}

static __always_inline void follow_source6(struct followed *f, struct raw_address6 source)
{
	if (!source.high && (__u32)source.low == bpf_htonl(0xffff)) {
		follow_source4(f, source.low >> 32);
		return;
	}
	source = mask_address6(source, f->prefix6);
	f->high = bpf_be64_to_cpu(source.high);
	f->low = bpf_be64_to_cpu(source.low);
}

/* Of a TCP header at @offset of the frame. Not 0: it is not whole. */
static __always_inline int read_tcp(void *data, void *end, __u32 offset, struct followed *f,
				    __u32 *ports)
{
	struct tcphdr *tcp = data + offset;
	__u32 headers;

	if ((void *)(tcp + 1) > end)
		return -1;
	*ports = word32(tcp);
	f->seq = bpf_ntohl(tcp->seq);
	f->ack = bpf_ntohl(tcp->ack_seq);
	f->tcp_flags = ((__u8 *)tcp)[13];
	headers = offset - f->l3_offset + tcp->doff * 4;
	f->payload = f->l3_length > headers ? f->l3_length - headers : 0;
	return 0;
}

static __always_inline int read_segment4(void *data, void *end, struct followed *f)
{
	struct siphash_state state = keyed_state();
	struct iphdr *ip = data + f->l3_offset;
	__u32 ports;

	if ((void *)(ip + 1) > end)
		return -1;
	follow_source4(f, ip->saddr);
	if (!f->is_tcp)
		return 0;
	if (read_tcp(data, end, f->l3_offset + ip->ihl * 4, f, &ports))
		return -1;
	siphash_word(&state, ip->saddr | (__u64)ip->daddr << 32);
	f->flow_key = siphash_end(&state, ports, 12);
	return 0;
}

static __always_inline int read_segment6(void *data, void *end, __u32 offset, struct followed *f)
{
	struct siphash_state state = keyed_state();
	struct ipv6hdr *ip = data + f->l3_offset;
	struct raw_address6 source;
	__u32 ports;

	if ((void *)(ip + 1) > end)
		return -1;
	source.high = word64(&ip->saddr);
	source.low = word64((void *)&ip->saddr + 8);
	follow_source6(f, source);
	if (!f->is_tcp)
		return 0;
	if (read_tcp(data, end, f->l3_offset + offset, f, &ports))
		return -1;
	siphash_word(&state, source.high);
	siphash_word(&state, source.low);
	siphash_word(&state, word64(&ip->daddr));
	siphash_word(&state, word64((void *)&ip->daddr + 8));
	f->flow_key = siphash_end(&state, ports, 36);
	return 0;
}

/* Where the transport header is, from an IPv6 header on; the packet has been parsed before. */
static __always_inline __u32 behind_ipv6(struct xdp_md *ctx, const struct followed *f)
{
	struct ipv6hdr *ip = (void *)(long)ctx->data + f->l3_offset;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return 0;
	if (ip->nexthdr == IPPROTO_TCP || ip->nexthdr == IPPROTO_UDP)
		return sizeof(*ip);
	return find_upper_layer(ctx, f->l3_offset, f->l3_length) & 0x7fff;
}

/* Reads the packet again rather than have every packet carry what few need. Not 0: it cannot be. */
__noinline int read_segment(struct xdp_md *ctx, struct followed *f, struct view *view)
{
	__u32 behind;

	if (!f || !view || f->l3_offset > ETHERNET_SIZE + VLAN_TAGS_MAX * VLAN_TAG_SIZE)
		return -1;
	f->track = view->track;
	f->mask4 = view->mask4;
	f->prefix6 = view->prefix6;
	if (f->family == 4)
		return read_segment4((void *)(long)ctx->data, (void *)(long)ctx->data_end, f);
	behind = behind_ipv6(ctx, f);
	return read_segment6((void *)(long)ctx->data, (void *)(long)ctx->data_end, behind, f);
}

/* ---- the client ---- */

#define LOCK_TRIES                                                                                 \
	1024 /* of a lock that is held for less than a few, but by a CPU that is interrupted */
#define CLAIM_TRIES 4 /* of places that other clients may have taken before */

/* A record that user space has closed is nobody's any more. */
static __always_inline int is_of_client(const struct tracked_client *client, __u64 tag)
{
	return *(volatile __u64 *)&client->tag == tag &&
	       *(volatile __u64 *)&client->seen != TRACK_CLOSED;
}

static __always_inline __u32 client_place(__u64 tag, int number)
{
	return tracked_place(tag, number, tracked_client_sets);
}

static __always_inline __u32 look_for_client(__u64 tag)
{
#pragma unroll
	for (int number = 0; number < TRACK_PLACES; number++) {
		__u32 place = client_place(tag, number);
		struct tracked_client *client = lookup(tracked_clients, place);

		if (client && is_of_client(client, tag))
			return place;
	}
	return TRACK_NONE;
}

/* As consider_set() of flows. */
static __always_inline void consider_client_set(__u64 tag, int choice, struct track_room *best)
{
	__u32 place = TRACK_NONE, count = 0;

#pragma unroll
	for (int way = TRACK_WAYS - 1; way >= 0; way--) {
		__u32 other = client_place(tag, choice * TRACK_WAYS + way);
		struct tracked_client *client = lookup(tracked_clients, other);

		if (!client || *(volatile __u64 *)&client->tag != OBSERVED_FREE)
			continue;
		place = other;
		count++;
		forget(place, tag);
		forget(count, tag);
	}
	if (room_worth(count) <= best->worth)
		return;
	best->worth = room_worth(count);
	best->place = place;
	forget(best->worth, tag);
	forget(best->place, tag);
}

static __always_inline __u32 take_place(const struct followed *f)
{
	struct track_room best = {TRACK_NONE, 0};
	struct tracked_client *client;

#pragma unroll
	for (int choice = 0; choice < TRACK_CHOICES; choice++)
		consider_client_set(f->tag, choice, &best);
	client = lookup(tracked_clients, best.place);
	if (!client || __sync_val_compare_and_swap(&client->tag, OBSERVED_FREE, OBSERVED_BUSY) !=
			       OBSERVED_FREE)
		return TRACK_NONE;
	client->seen = (__u64)f->window << 32;
	client->high = f->high;
	client->low = f->low;
	client->track = f->track;
	client->rule = f->rule;
	client->arm = f->arm;
	/* Not before: a packet on another CPU that found it would count, and be forgotten. */
	__sync_val_compare_and_swap(&client->tag, OBSERVED_BUSY, f->tag);
	return best.place;
}

/*
 * Under a lock in the client's first place, for a client that got two records, as a place became
 * free while two CPUs looked for one, would count twice.
 */
__noinline __u32 claim_client(struct followed *f)
{
	struct tracked_client *first;
	__u32 place;
	int i;

	if (!f)
		return TRACK_NONE;
	first = lookup(tracked_clients, client_place(f->tag, 0));
	if (!first)
		return TRACK_NONE;
	for (i = 0; i < LOCK_TRIES; i++)
		if (!__sync_val_compare_and_swap(&first->claiming, 0, 1))
			break;
	if (i == LOCK_TRIES)
		return look_for_client(f->tag);
	place = look_for_client(f->tag);
	for (i = 0; i < CLAIM_TRIES && place == TRACK_NONE; i++)
		place = take_place(f);
	__sync_val_compare_and_swap(&first->claiming, 1, 0);
	return place;
}

/* What counts at this moment. Not 0: the service is not followed. */
static __always_inline int read_service(struct followed *f)
{
	struct tracked_service *service = lookup(tracked_services, f->track);
	__u64 count_from, clock;

	if (!service || !(service->flags & TRACK_OPEN))
		return -1;
	clock = *(volatile __u64 *)&service->clock;
	f->now = clock ? clock : bpf_jiffies64();
	f->t = track_ms(f->now, ms_per_jiffy);
	count_from = *(volatile __u64 *)&service->count_from;
	f->window = *(volatile __u32 *)&service->window;
	f->is_counting = count_from != TRACK_SUSPENDED;
	f->age = track_age(f->now, count_from, ms_per_jiffy);
	f->server_first = !!(service->flags & TRACK_SERVER_FIRST);
	f->idle_timeout = service->idle_timeout;
	f->tag = tracked_client_tag(f->token, service->salt);
	return 0;
}

/* ---- counting ---- */

static __always_inline struct track_stratum *stratum_of(struct tracked_service *service,
							const struct followed *f)
{
	return &service->strata[f->window & (TRACK_BANKS - 1)][f->rule & (RULES_MAX - 1)]
			       [f->arm & (TRACK_ARMS - 1)];
}

static __always_inline struct track_sample_counter *
sample_counter_of(const struct tracked_service *service, const struct followed *f)
{
	return lookup(track_samples,
		      service->service * LANES_MAX +
			      (service->lanes[f->arm & (TRACK_ARMS - 1)] & (LANES_MAX - 1)));
}

static __always_inline void count_away(struct tracked_service *service, const struct followed *f)
{
	struct track_sample_counter *counter = sample_counter_of(service, f);

	__sync_fetch_and_add(&stratum_of(service, f)->away, 1);
	if (counter)
		__sync_fetch_and_add(&counter->away, 1);
}

/* All samples, whichever of them count. */
__noinline int count_samples(struct followed *f)
{
	struct track_sample_counter *counter;
	struct tracked_service *service;

	if (!f)
		return 0;
	service = lookup(tracked_services, f->track);
	counter = service ? sample_counter_of(service, f) : NULL;
	if (!counter)
		return 0;
	for (__u32 sample = 0; sample < TRACK_TIMES; sample++) {
		__u32 value = f->samples[sample];

		if (!(f->sampled & 1u << sample))
			continue;
		__sync_fetch_and_add(
			&counter->buckets[sample][time_bucket(value) & (TRACK_BUCKETS - 1)], 1);
		__sync_fetch_and_add(&counter->sums[sample], value);
	}
	return 0;
}

static __always_inline void count_events(struct tracked_service *service, const struct followed *f,
					 __u32 fresh)
{
	struct track_stratum *stratum = stratum_of(service, f);
	struct track_event_counter *counter;

	counter = lookup(track_events,
			 service->counters[f->rule & (RULES_MAX - 1)] +
				 (service->lanes[f->arm & (TRACK_ARMS - 1)] & (LANES_MAX - 1)));
	for (__u32 metric = 0; metric < KERNEL_METRICS; metric++) {
		if (!(fresh & 1u << metric))
			continue;
		__sync_fetch_and_add(&stratum->events[metric], 1);
		if (counter)
			__sync_fetch_and_add(&counter->firsts[metric], 1);
	}
	for (__u32 sample = 0; sample < TRACK_SAMPLES; sample++) {
		__u32 value = f->samples[sample];
		__u32 bucket = sample < TRACK_TIMES ? time_bucket(value) : size_bucket(value);

		if (fresh & 1u << metric_of_sample(sample))
			__sync_fetch_and_add(
				&stratum->samples[sample][bucket & (TRACK_BUCKETS - 1)], 1);
	}
}

/* What of the client's firsts is the first in its window, for which one CPU alone is told so. */
static __always_inline __u32 fresh_firsts(struct tracked_client *client, const struct followed *f)
{
	/* Each failure is another bit that was set, or the one change of the window. */
	for (int i = 0; i < 32; i++) {
		__u64 seen = *(volatile __u64 *)&client->seen;
		__u64 had = seen_in(seen, f->window), has;

		if (seen == TRACK_CLOSED || is_after(seen_window(seen), f->window) ||
		    (had & FIRST_AWAY))
			return 0;
		has = had | f->firsts;
		/* Of another flow than the first, the end says nothing. */
		if (f->is_over && (!(had & FIRST_FLOW) || f->is_first))
			has |= FIRST_ENDED;
		if (has == seen)
			return 0;
		if (had != seen) { /* a new window, in which its arm and rule may be others */
			client->rule = f->rule;
			client->arm = f->arm;
		}
		if (__sync_val_compare_and_swap(&client->seen, seen, has) != seen)
			continue;
		if (had != seen)
			client->before = seen;
		return has ^ had;
	}
	return 0;
}

/* The client's first flow that counts, in this window. */
static __always_inline void mark_first(const struct followed *f)
{
	struct tracked_flow *flow = lookup(tracked_flows, f->flow);

	if (flow && read_flow_tag(flow) == tracked_flow_tag(f->flow_key))
		flow->flags = (flow->flags & ~FLOW_FIRST_MASK) | FLOW_FIRST_IN(f->window);
}

__noinline int count_firsts(struct followed *f)
{
	struct tracked_service *service;
	struct tracked_client *client;
	struct track_stratum *stratum;
	__u32 fresh;

	if (!f)
		return 0;
	service = lookup(tracked_services, f->track);
	client = lookup(tracked_clients, f->client);
	if (!service || !client)
		return 0;
	fresh = fresh_firsts(client, f);
	if (!fresh)
		return 0;
	stratum = stratum_of(service, f);
	if (fresh & FIRST_SIGHT)
		__sync_fetch_and_add(&stratum->sights, 1);
	if (fresh & FIRST_FLOW) {
		__sync_fetch_and_add(&stratum->clients, 1);
		mark_first(f);
	}
	if (fresh & FIRST_ENDED)
		__sync_fetch_and_add(&stratum->ended, 1);
	if (fresh & FIRST_AWAY)
		count_away(service, f);
	if (fresh & FIRST_METRICS)
		count_events(service, f, fresh);
	return 0;
}

/* A client for which there is no record: nobody can tell whether this is a first. */
__noinline int count_turned_away(struct followed *f)
{
	struct tracked_service *service;

	if (!f || !f->is_counting)
		return 0;
	service = lookup(tracked_services, f->track);
	if (service)
		count_away(service, f);
	return 0;
}

/* ---- the stage ---- */

/* Its record's index, or TRACK_NONE. */
__noinline __u32 find_client(struct followed *f)
{
	struct tracked_client *client;

	if (!f || read_service(f))
		return TRACK_NONE;
	f->client = look_for_client(f->tag);
	if (f->client == TRACK_NONE)
		f->client = claim_client(f);
	client = lookup(tracked_clients, f->client);
	if (!client) {
		count_turned_away(f);
		return TRACK_NONE;
	}
	f->seen = *(volatile __u64 *)&client->seen;
	return f->client;
}

/* Has all that came of the packet been counted in this window already? */
static __always_inline int is_known(const struct followed *f)
{
	return !f->is_over && f->seen == (seen_in(f->seen, f->window) | f->firsts);
}

/* One call for all of it, so that the packet's own state need not make room for each. */
__noinline int follow(struct xdp_md *ctx, struct followed *f, struct view *view)
{
	if (!f || !view || read_segment(ctx, f, view) || find_client(f) == TRACK_NONE)
		return 0;
	f->firsts = FIRST_SIGHT;
	f->sampled = 0;
	f->is_over = 0;
	f->is_first = 0;
	if (f->is_tcp && find_flow(f) != TRACK_NONE) {
		follow_client_segment(f);
		if (f->sampled)
			count_samples(f);
	}
	if (f->is_counting && !is_known(f))
		count_firsts(f);
	return 0;
}

/* As the shares assign it, wherever affinity or a fall back sent the packet. */
static __always_inline int arm_of(const struct packet *p, __u8 rollout)
{
	if (p->decision > REASON_DEFAULT || !p->view_rule)
		return TRACK_ARMS; /* pinned, held out, latched, killed: no rule decided */
	if (p->cohort == (rollout & ROLLOUT_COHORT))
		return TRACK_CANARY;
	if (!p->cohort && is_in_slice(p->view_rule, p->view->flags, p->hash))
		return TRACK_CONTROL;
	return TRACK_ARMS;
}
BUILD_CHECK(REASON_RULE == 0 && REASON_DEFAULT == 1);

static __always_inline void track(struct packet *p)
{
	__u8 rollout = p->view->rollout;
	struct followed *f;
	int arm;

	if (!(rollout & ROLLOUT_TRACKED))
		return;
	arm = arm_of(p, rollout);
	if (arm == TRACK_ARMS)
		return;
	f = lookup(followed, 0);
	if (!f)
		return;
	f->token = p->token;
	f->l3_offset = p->headers.l3_offset;
	f->l3_length = p->headers.l3_length;
	f->family = p->headers.family;
	f->is_tcp = p->headers.protocol == IPPROTO_TCP;
	f->rule = p->rule;
	f->arm = arm;
	follow(p->ctx, f, p->view);
}

#endif
