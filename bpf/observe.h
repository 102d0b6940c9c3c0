/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 4: what the client does, in its record (observed.h). Every start of a flow is counted. Of
 * other packets each is drawn with the same chance, whatever was drawn before, and counts as many
 * times: so a client's packets and bytes are unbiased, and no rhythm of its traffic can stay
 * unseen. Where no record is free the packet is counted as overflow: records and overflow together
 * are what was observed.
 */
#ifndef XDP_CANARY_OBSERVE_H
#define XDP_CANARY_OBSERVE_H

#include "client.h"

/* The packet's number on this CPU, well mixed, stands in for a random number, for 2 ns and not 14.
 */
static __always_inline int is_drawn(const struct packet *p, __u64 observe)
{
	return fmix64(p->interface->seen ^ secret.k1) >> 32 <= (__u32)observe;
}

/* As client.h makes tokens of addresses, from host order. */
static __always_inline __u64 address_token(__u64 high, __u64 low)
{
	struct siphash_state state = keyed_state();

	if (!high && low >> 32 == IPV4_MAPPED >> 32)
		return siphash_end(&state, bpf_htonl(low), 4);
	siphash_word(&state, bpf_cpu_to_be64(high));
	siphash_word(&state, bpf_cpu_to_be64(low));
	return siphash_end(&state, 0, 16);
}

static __always_inline struct observed_client *find_record(__u64 tag)
{
	struct observed_client *record;

#pragma unroll
	for (int number = 0; number < OBSERVED_PLACES; number++) {
		record = lookup(observed, observed_place(tag, number, observed_count));
		if (!record || *(volatile __u64 *)&record->tag == tag)
			return record;
	}
	return NULL;
}

/* The first free place; one that another CPU has taken for the same client meanwhile will do. */
static __always_inline struct observed_client *claim_record(__u64 tag, __u64 high, __u64 low,
							    struct observe_counter *counter)
{
	struct observed_client *record;
	__u64 found;

#pragma unroll
	for (int number = 0; number < OBSERVED_PLACES; number++) {
		record = lookup(observed, observed_place(tag, number, observed_count));
		if (!record)
			return NULL;
		found = *(volatile __u64 *)&record->tag;
		if (found == OBSERVED_FREE)
			found = __sync_val_compare_and_swap(&record->tag, OBSERVED_FREE, tag);
		if (found == tag)
			return record;
		if (found != OBSERVED_FREE)
			continue;
		record->high = high;
		record->low = low;
		counter->claimed++;
		return record;
	}
	return NULL;
}

/* Not 0: the first packet of this second to be counted, on any CPU. */
static __always_inline int is_another_second(struct observed_client *record, __u32 now)
{
	__u32 last = *(volatile __u32 *)&record->last;

	if ((__s32)(now - last) <= 0 && last)
		return 0;
	if (__sync_val_compare_and_swap(&record->last, last, now) != last)
		return 0;
	if (!last)
		*(volatile __u32 *)&record->first = now;
	return 1;
}

/* Packets last: user space takes them first, so it leaves a packet's other words only with itself.
 */
static __always_inline void add_to_record(struct observed_client *record, __u64 packets,
					  __u64 bytes, __u32 service, int starts)
{
	__u32 now = observed_second(bpf_jiffies64(), box.observe_second);
	__u64 flows_seconds = (__u64)starts << OBSERVED_FLOWS_SHIFT;
	__u64 bit = 1ULL << (service & 63);

	flows_seconds += is_another_second(record, now);
	if (flows_seconds)
		__sync_fetch_and_add(&record->flows_seconds, flows_seconds);
	if (!(*(volatile __u64 *)&record->services & bit))
		__sync_fetch_and_or(&record->services, bit);
	__sync_fetch_and_add(&record->bytes, bytes);
	__sync_fetch_and_add(&record->packets, packets);
}

/*
 * A function of its own, which few packets call, that the verifier walks once. @amount: times that
 * the packet counts << 32 | its bytes; @flow: its service << 1 | does it start a flow.
 */
__noinline int observe_client(__u64 high, __u64 low, __u64 amount, __u32 flow)
{
	struct observe_counter *counter = lookup(observe_counters, 0);
	__u64 tag = observed_tag(address_token(high, low));
	__u64 packets = amount >> 32, bytes = packets * (__u32)amount;
	struct observed_client *record = find_record(tag);

	if (!counter)
		return 0;
	if (!record)
		record = claim_record(tag, high, low, counter);
	if (record) {
		add_to_record(record, packets, bytes, flow >> 1, flow & 1);
		return 0;
	}
	counter->packets += packets;
	counter->bytes += bytes;
	counter->flows += flow & 1;
	return 0;
}

static __always_inline void observe(const struct packet *p)
{
	__u32 bytes = p->headers.l3_offset + p->headers.l3_length;
	__u64 observe = *(volatile __u64 *)&box.observe, high = 0, low;
	__u32 times = observe >> 32;
	__be32 address4;
	int starts;

	if (!observe)
		return;
	starts = (p->notes & (FLOW_STARTS | EARLY_DATA)) == FLOW_STARTS;
	if (starts)
		times = 1;
	else if (!is_drawn(p, observe))
		return;
	if (is_ipv4_client(&p->headers, &address4)) {
		low = IPV4_MAPPED | bpf_ntohl(address4 & box.observe_mask4);
	} else {
		struct raw_address6 address =
			mask_address6(p->headers.source6, box.observe_prefix6);

		high = bpf_be64_to_cpu(address.high);
		low = bpf_be64_to_cpu(address.low);
	}
	observe_client(high, low, (__u64)times << 32 | bytes, p->service << 1 | starts);
}

#endif
