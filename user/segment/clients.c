// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buckets of exact clients (headers/segments.h). First buckets are preferred. An entry whose first
 * bucket is full goes to its second one; where that is full too, it displaces one, which goes to
 * its other bucket, and so on. At these loads that ends after very few steps.
 */
#include "segment/layout_internal.h"

#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Percent of the slots. Less load, more memory to wait for; more load, more second buckets to look
 * into. Of buckets with few slots more are full by chance.
 */
#define LOAD	       80
#define LOAD_OF_WORDS  75   /* a lane is a word */
#define DISPLACED_MOST 1000 /* for one entry */
#define ATTEMPTS       32   /* each with another multiplier, and a bucket more */
#define LANES_MOST     4    /* of a word */
#define AHEAD	       12   /* entries for whose lines memory is asked before they are put there */

struct entry {
	uint64_t high, low; /* the client; of IPv4 its address is high */
	uint32_t code;	    /* value + 1 */
};

/* How entries of a family are laid out, and where. */
struct area {
	struct segment_line *lines;
	uint32_t count;	    /* buckets */
	unsigned int slots; /* of a bucket */
	uint8_t width, bits, shift;
	bool is_ipv4, is_long;
	uint64_t multiplier;
	uint8_t *taken; /* slots of each bucket */
	bool *goes_on;
};

static bool is_packed(const struct area *area)
{
	return area->bits;
}

static struct segment_place place_of(const struct area *area, const struct entry *entry)
{
	uint32_t hash;

	if (area->is_ipv4)
		hash = segment_hash4(entry->high, area->multiplier);
	else if (area->is_long)
		hash = segment_hash6_long(entry->high, entry->low, area->multiplier) >> 32;
	else
		hash = segment_hash6(entry->high, area->multiplier) >> 32;
	return segment_place(hash, area->count, area->shift);
}

static struct segment_line *line_of(const struct area *area, uint32_t bucket)
{
	return &area->lines[is_packed(area) ? bucket / 2 : bucket];
}

/* ---- a slot ---- */

/* The word that a packed slot is in, and where in it. */
static __u64 *packed_word(const struct area *area, uint32_t bucket, unsigned int slot,
			  unsigned int *at)
{
	unsigned int lanes = SEGMENT_WORD / area->width;

	*at = slot % lanes * area->width;
	return &line_of(area, bucket)->words[bucket % 2 * SEGMENT_BUCKET_WORDS + slot / lanes];
}

static uint64_t lane_mask(const struct area *area)
{
	return UINT64_MAX >> (SEGMENT_WORD - area->width);
}

static void put_packed(const struct area *area, uint32_t bucket, unsigned int slot,
		       const struct entry *entry)
{
	struct segment_place place = place_of(area, entry);
	unsigned int at;
	__u64 *word = packed_word(area, bucket, slot, &at), lane = entry->code;

	if (area->is_ipv4)
		lane |= segment_want4(place, area->bits);
	else
		lane |= segment_want6(segment_hash6(entry->high, area->multiplier), place,
				      area->bits);
	if (place.bucket != bucket)
		lane |= segment_second_bit(area->width);
	*word = (*word & ~(lane_mask(area) << at)) | lane << at;
}

static void put(const struct area *area, uint32_t bucket, unsigned int slot,
		const struct entry *entry)
{
	struct segment_line *line = line_of(area, bucket);

	if (is_packed(area)) {
		put_packed(area, bucket, slot, entry);
		return;
	}
	line->words[slot] = entry->high;
	if (area->is_long)
		line->words[SEGMENT_WHOLE6_LONG + slot] = entry->low;
	line->halves[(area->is_long ? 4 * SEGMENT_WHOLE6_LONG : 2 * SEGMENT_WHOLE6) + slot] =
		entry->code;
}

/* Such that the product is 1 (Newton's iteration; the first guess has 3 bits right). */
static uint64_t inverse(uint64_t odd)
{
	uint64_t guess = odd;
	int i;

	for (i = 0; i < 5; i++)
		guess *= 2 - odd * guess;
	return guess;
}

/* The hash, or its high half, that has this rest in this bucket. */
static uint32_t hash_back(const struct area *area, uint32_t bucket, uint32_t rest, bool is_second)
{
	uint32_t distance = segment_distance(rest, area->count);
	uint64_t product;

	if (is_second)
		bucket = bucket >= distance ? bucket - distance : bucket + area->count - distance;
	product = (uint64_t)bucket << 32 | (uint64_t)rest << area->shift;
	return (product + area->count - 1) / area->count;
}

static bool get_packed(const struct area *area, uint32_t bucket, unsigned int slot,
		       struct entry *entry)
{
	unsigned int at;
	__u64 *word = packed_word(area, bucket, slot, &at);
	uint64_t lane = *word >> at & lane_mask(area);
	bool is_second = lane & segment_second_bit(area->width);
	uint64_t key = (lane & ~segment_second_bit(area->width)) >> area->bits, hash;

	*entry = (struct entry){.code = lane & ((1ULL << area->bits) - 1)};
	if (area->is_ipv4) {
		hash = hash_back(area, bucket, key, is_second);
		hash = (uint32_t)(hash * inverse(area->multiplier));
		entry->high = hash ^ hash >> 16;
	} else {
		hash = (uint64_t)hash_back(area, bucket, key >> 32, is_second) << 32;
		hash = (hash | (uint32_t)key) * inverse(area->multiplier);
		entry->high = hash ^ hash >> 32;
	}
	return entry->code;
}

/* False: the slot is free. */
static bool get(const struct area *area, uint32_t bucket, unsigned int slot, struct entry *entry)
{
	const struct segment_line *line = line_of(area, bucket);

	if (is_packed(area))
		return get_packed(area, bucket, slot, entry);
	*entry = (struct entry){
		.high = line->words[slot],
		.low = area->is_long ? line->words[SEGMENT_WHOLE6_LONG + slot] : 0,
		.code = line->halves[(area->is_long ? 4 * SEGMENT_WHOLE6_LONG
						    : 2 * SEGMENT_WHOLE6) +
				     slot],
	};
	return entry->code;
}

/* ---- filling ---- */

/* From the last slot on, so that the first one is free until the bucket is full. */
static bool put_if_room(struct area *area, uint32_t bucket, const struct entry *entry)
{
	if (area->taken[bucket] == area->slots)
		return false;
	put(area, bucket, area->slots - ++area->taken[bucket], entry);
	return true;
}

/* Of an entry whose first bucket is full. False: displacing does not end. */
static bool put_elsewhere(struct area *area, struct entry entry)
{
	uint32_t step;

	for (step = 0; step < DISPLACED_MOST; step++) {
		struct segment_place place = place_of(area, &entry);
		uint32_t second = segment_second(place, area->count);
		uint64_t dice = fmix64(entry.high ^ entry.low ^ (uint64_t)step << 40);
		uint32_t displacing = dice >> 63 ? second : place.bucket;
		unsigned int slot = (dice & UINT32_MAX) % area->slots;
		struct entry displaced;

		if (put_if_room(area, place.bucket, &entry))
			return true;
		if (area->taken[second] < area->slots || displacing == second)
			area->goes_on[place.bucket] = true;
		if (put_if_room(area, second, &entry))
			return true;
		get(area, displacing, slot, &displaced);
		put(area, displacing, slot, &entry);
		entry = displaced;
	}
	return false;
}

/* A packed bucket goes on where its first word is above its second; in a full one they differ. */
static void mark_buckets(const struct area *area)
{
	uint32_t i;

	for (i = 0; i < area->count; i++) {
		__u64 *words = &area->lines[i / 2].words[i % 2 * SEGMENT_BUCKET_WORDS];
		uint64_t first = words[0];

		if (!is_packed(area)) {
			area->lines[i].halves[SEGMENT_GOES_ON] = area->goes_on[i];
		} else if (area->goes_on[i] != (first > words[1])) {
			words[0] = words[1];
			words[1] = first;
		}
	}
}

static uint32_t lines_of(const struct area *area)
{
	return is_packed(area) ? (area->count + 1) / 2 : area->count;
}

/* Entries come from it, one by one. */
typedef struct entry (*entry_at)(const void *clients, size_t index);

static bool fill(struct area *area, const void *clients, size_t count, entry_at at,
		 uint32_t *displaced)
{
	size_t i, displaced_count = 0;

	memset(area->lines, 0, lines_of(area) * sizeof(*area->lines));
	memset(area->taken, 0, area->count);
	memset(area->goes_on, 0, area->count * sizeof(*area->goes_on));
	for (i = 0; i < count; i++) {
		struct entry entry = at(clients, i), ahead;

		if (i + AHEAD < count) {
			ahead = at(clients, i + AHEAD);
			__builtin_prefetch(line_of(area, place_of(area, &ahead).bucket), 1);
		}
		if (!put_if_room(area, place_of(area, &entry).bucket, &entry))
			displaced[displaced_count++] = i;
	}
	for (i = 0; i < displaced_count; i++)
		if (!put_elsewhere(area, at(clients, displaced[i])))
			return false;
	mark_buckets(area);
	return true;
}

static uint8_t logarithm(uint32_t number)
{
	return 31 - __builtin_clz(number);
}

static uint64_t buckets_for(uint64_t clients, unsigned int slots, unsigned int load)
{
	return clients * 100 / (slots * load) + 2;
}

/* Of the format that takes the most. */
uint64_t clients_lines_max(uint64_t clients)
{
	return clients * 100 / (SEGMENT_WHOLE6_LONG * LOAD) + 2 * (2 + ATTEMPTS);
}

/* As many lanes a word as leave room for the rest of a hash: it is the shorter, the more buckets
 * there are; a few more than the clients need are no loss where there are few clients. */
static void try_lanes(struct area *area, size_t clients, uint8_t bits, unsigned int lanes)
{
	unsigned int slots = SEGMENT_BUCKET_WORDS * lanes, width = SEGMENT_WORD / lanes;
	uint64_t count = buckets_for(clients, slots, lanes == 1 ? LOAD_OF_WORDS : LOAD);
	unsigned int hash_bits = area->is_ipv4 ? 32 : 64, logarithm_least;

	logarithm_least = hash_bits + bits + 1 > width ? hash_bits + bits + 1 - width : 0;
	if (logarithm_least > 31)
		return;
	if (count < 1ULL << logarithm_least)
		count = 1ULL << logarithm_least;
	if (area->count && (count + 1) / 2 >= lines_of(area))
		return;
	area->count = count;
	area->slots = slots;
	area->width = width;
	area->bits = bits;
}

/* The fewest lines. */
static void choose_format(struct area *area, size_t clients, uint32_t values_count)
{
	uint8_t bits = logarithm(values_count) + 1;
	unsigned int lanes;

	if (!area->is_ipv4) {
		area->slots = area->is_long ? SEGMENT_WHOLE6_LONG : SEGMENT_WHOLE6;
		area->count = buckets_for(clients, area->slots, LOAD);
	}
	for (lanes = area->is_ipv4 ? LANES_MOST : 1; lanes && !area->is_long; lanes--)
		try_lanes(area, clients, bits, lanes);
}

static int build(struct area *area, const void *clients, size_t count, entry_at at,
		 struct lines *lines)
{
	uint64_t multiplier = 0x9e3779b97f4a7c15ULL;
	size_t room = area->count + ATTEMPTS;
	uint32_t *displaced = malloc(count * sizeof(*displaced));
	int attempt, error = -ENOMEM;

	area->taken = malloc(room);
	area->goes_on = malloc(room * sizeof(*area->goes_on));
	if (!area->taken || !area->goes_on || !displaced)
		goto out;
	area->lines = lines->list + lines->count;
	error = -E2BIG;
	for (attempt = 0; attempt < ATTEMPTS && error; attempt++) {
		area->multiplier = area->is_ipv4 ? (multiplier >> 32 | 1) : multiplier;
		area->shift = logarithm(area->count);
		if (fill(area, clients, count, at, displaced)) {
			lines->count += lines_of(area);
			error = 0;
			break;
		}
		area->count++;
		multiplier = fmix64(multiplier) | 1;
	}
out:
	free(area->taken);
	free(area->goes_on);
	free(displaced);
	return error;
}

static struct entry entry4_at(const void *clients, size_t index)
{
	const struct value4 *client = (const struct value4 *)clients + index;

	return (struct entry){.high = client->address, .code = client->value + 1};
}

int clients4_build(const struct part4 *part, struct segment_table *table, struct lines *lines)
{
	struct area area = {.is_ipv4 = true};
	unsigned int at;
	int error;

	if (!part->clients_count)
		return 0;
	choose_format(&area, part->clients_count, table->values_count);
	error = build(&area, part->clients, part->clients_count, entry4_at, lines);
	table->clients4_buckets = area.count;
	table->clients4_width = area.width;
	table->clients4_bits = area.bits;
	table->clients4_shift = area.shift;
	for (at = 0; at + area.width <= SEGMENT_WORD; at += area.width) {
		table->clients4_lanes |= 1ULL << at;
		table->clients4_fold = at;
	}
	table->multiplier4 = area.multiplier;
	return error;
}

static struct entry entry6_at(const void *clients, size_t index)
{
	const struct span *client = (const struct span *)clients + index;

	return (struct entry){client->high, client->low, client->value + 1};
}

int clients6_build(const struct part6 *part, struct segment_table *table, struct lines *lines)
{
	struct area area = {.is_long = table->prefix6 > 64};
	int error;

	if (!part->clients_count)
		return 0;
	table->clients6 = lines->count;
	choose_format(&area, part->clients_count, table->values_count);
	error = build(&area, part->clients, part->clients_count, entry6_at, lines);
	table->clients6_buckets = area.count;
	table->clients6_bits = area.bits;
	table->clients6_shift = area.shift;
	table->multiplier6 = area.multiplier;
	return error;
}

/* ---- and back ---- */

static struct area area_of(const struct segment_table *table, const struct segment_line *lines,
			   bool is_ipv4)
{
	struct area area = {
		.lines = (struct segment_line *)lines + (is_ipv4 ? 0 : table->clients6),
		.count = is_ipv4 ? table->clients4_buckets : table->clients6_buckets,
		.width = is_ipv4 ? table->clients4_width : SEGMENT_WORD,
		.bits = is_ipv4 ? table->clients4_bits : table->clients6_bits,
		.shift = is_ipv4 ? table->clients4_shift : table->clients6_shift,
		.multiplier = is_ipv4 ? table->multiplier4 : table->multiplier6,
		.is_ipv4 = is_ipv4,
		.is_long = !is_ipv4 && table->prefix6 > 64,
	};

	if (is_packed(&area))
		area.slots = SEGMENT_BUCKET_WORDS * (SEGMENT_WORD / area.width);
	else
		area.slots = area.is_long ? SEGMENT_WHOLE6_LONG : SEGMENT_WHOLE6;
	return area;
}

int clients_walk(const struct segment_table *table, const struct segment_line *lines, bool is_ipv4,
		 struct span **out, size_t *count)
{
	struct area area = area_of(table, lines, is_ipv4);
	struct span *clients = malloc(((size_t)area.count * area.slots + 1) * sizeof(*clients));
	struct entry entry;
	unsigned int slot;
	uint32_t bucket;

	*out = clients;
	*count = 0;
	if (!clients)
		return -ENOMEM;
	for (bucket = 0; bucket < area.count; bucket++)
		for (slot = 0; slot < area.slots; slot++)
			if (get(&area, bucket, slot, &entry))
				clients[(*count)++] = (struct span){
					.high = is_ipv4 ? 0 : entry.high,
					.low = is_ipv4 ? IPV4_MAPPED | entry.high : entry.low,
					.value = entry.code - 1,
				};
	return 0;
}
