// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lines of exact clients: cuckoo hashing (Pagh and Rodler, 2001) with as many entries a line as
 * fit, and first lines preferred. An entry whose first line is full goes to its second one; where
 * that is full too, it displaces one, which goes to its other line, and so on. At this load that
 * ends after very few steps, and a handful of lines in a hundred go on to others.
 */
#include "segment/layout_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Percent of the slots. Keys beyond /64 are rare, and what room for them takes all boxes pay. */
#define LOAD	       65
#define LOAD_LONG      85
#define DISPLACED_MOST 1000 /* for one entry */
#define ATTEMPTS       32   /* each with another multiplier, and a line more */

struct entry {
	uint64_t high, low; /* the client; of IPv4 its address is high */
	uint32_t code;	    /* value + 1 */
};

/* The lines of one family. */
struct area {
	struct segment_line *lines;
	uint32_t count;
	unsigned int slots; /* of a line */
	uint8_t bits, shift;
	bool is_ipv4, is_long;
	uint64_t multiplier;
	uint8_t *taken; /* slots of each line */
	bool *goes_on;
};

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

/* ---- a slot ---- */

static void put(const struct area *area, uint32_t line, unsigned int slot,
		const struct entry *entry)
{
	struct segment_line *to = &area->lines[line];
	struct segment_place place = place_of(area, entry);
	bool is_second = place.line != line;

	if (area->is_ipv4 && area->bits) {
		to->halves[slot] = segment_want4(place.rest, area->bits) | entry->code |
				   (is_second ? SEGMENT_SECOND4 : 0);
	} else if (area->is_ipv4) {
		to->words[slot] = entry->high << 32 | entry->code;
	} else if (area->bits) {
		uint64_t hash = segment_hash6(entry->high, area->multiplier);

		to->words[slot] = segment_want6(hash, place.rest, area->bits) | entry->code |
				  (is_second ? SEGMENT_SECOND6 : 0);
	} else if (area->is_long) {
		to->words[slot] = entry->high;
		to->words[SEGMENT_WHOLE6_LONG + slot] = entry->low;
		to->halves[4 * SEGMENT_WHOLE6_LONG + slot] = entry->code;
	} else {
		to->words[slot] = entry->high;
		to->halves[2 * SEGMENT_WHOLE6 + slot] = entry->code;
	}
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

/* The hash that has this rest in this line. */
static uint32_t hash_back(const struct area *area, uint32_t line, uint32_t rest, bool is_second)
{
	uint32_t distance = segment_distance(rest, area->count);
	uint64_t product;

	if (is_second)
		line = line >= distance ? line - distance : line + area->count - distance;
	product = (uint64_t)line << 32 | (uint64_t)rest << area->shift;
	return (product + area->count - 1) / area->count;
}

static bool get_packed(const struct area *area, uint32_t line, unsigned int slot,
		       struct entry *entry)
{
	const struct segment_line *from = &area->lines[line];
	uint64_t packed = area->is_ipv4 ? from->halves[slot] : from->words[slot];
	uint64_t second = area->is_ipv4 ? SEGMENT_SECOND4 : SEGMENT_SECOND6;
	uint32_t code = packed & ((1u << area->bits) - 1);
	uint32_t rest = (packed & ((1u << SEGMENT_REST_BITS) - 1)) >> area->bits;
	uint32_t hash = hash_back(area, line, rest, packed & second);
	uint64_t folded;

	*entry = (struct entry){.code = code};
	if (area->is_ipv4) {
		folded = (uint32_t)(hash * (uint32_t)inverse(area->multiplier));
		entry->high = folded ^ folded >> 16;
	} else {
		folded = (uint64_t)hash << 32 | (uint32_t)(packed >> SEGMENT_REST_BITS);
		folded *= inverse(area->multiplier);
		entry->high = folded ^ folded >> 32;
	}
	return code;
}

/* False: the slot is free. */
static bool get(const struct area *area, uint32_t line, unsigned int slot, struct entry *entry)
{
	const struct segment_line *from = &area->lines[line];

	if (area->bits)
		return get_packed(area, line, slot, entry);
	*entry = (struct entry){.high = from->words[slot]};
	if (area->is_ipv4) {
		entry->code = entry->high;
		entry->high >>= 32;
	} else if (area->is_long) {
		entry->low = from->words[SEGMENT_WHOLE6_LONG + slot];
		entry->code = from->halves[4 * SEGMENT_WHOLE6_LONG + slot];
	} else {
		entry->code = from->halves[2 * SEGMENT_WHOLE6 + slot];
	}
	return entry->code;
}

/* ---- filling ---- */

static bool put_if_room(struct area *area, uint32_t line, const struct entry *entry)
{
	if (area->taken[line] == area->slots)
		return false;
	put(area, line, area->slots - ++area->taken[line], entry);
	return true;
}

/* Of an entry whose first line is full. False: displacing does not end. */
static bool put_elsewhere(struct area *area, struct entry entry)
{
	uint32_t step;

	for (step = 0; step < DISPLACED_MOST; step++) {
		struct segment_place place = place_of(area, &entry);
		uint32_t second = segment_second_line(place, area->count);
		uint64_t dice = fmix64(entry.high ^ entry.low ^ step << 8);
		uint32_t line = dice >> 63 ? second : place.line;
		unsigned int slot = (dice & UINT32_MAX) % area->slots;
		struct entry displaced;

		if (put_if_room(area, place.line, &entry))
			return true;
		if (area->taken[second] < area->slots || line == second)
			area->goes_on[place.line] = true;
		if (put_if_room(area, second, &entry))
			return true;
		get(area, line, slot, &displaced);
		put(area, line, slot, &entry);
		entry = displaced;
	}
	return false;
}

/* A line of words goes on where its first word is above its second; full ones differ in them. */
static void mark_lines(const struct area *area)
{
	uint32_t i;

	for (i = 0; i < area->count; i++) {
		struct segment_line *line = &area->lines[i];
		uint64_t first = line->words[0];

		if (!area->bits && !area->is_ipv4) {
			line->halves[SEGMENT_LINE_OVERFLOW] = area->goes_on[i];
		} else if (area->goes_on[i] != (first > line->words[1])) {
			line->words[0] = line->words[1];
			line->words[1] = first;
		}
	}
}

/* Entries come from @at, one by one. */
typedef struct entry (*entry_at)(const void *clients, size_t index);

static bool fill(struct area *area, const void *clients, size_t count, entry_at at,
		 uint32_t *displaced)
{
	size_t i, displaced_count = 0;

	memset(area->lines, 0, area->count * sizeof(*area->lines));
	memset(area->taken, 0, area->count);
	memset(area->goes_on, 0, area->count);
	for (i = 0; i < count; i++) {
		struct entry entry = at(clients, i);

		if (!put_if_room(area, place_of(area, &entry).line, &entry))
			displaced[displaced_count++] = i;
	}
	for (i = 0; i < displaced_count; i++)
		if (!put_elsewhere(area, at(clients, displaced[i])))
			return false;
	mark_lines(area);
	return true;
}

static uint8_t logarithm(uint32_t number)
{
	return 31 - __builtin_clz(number);
}

static uint32_t lines_for(uint64_t clients, unsigned int slots, unsigned int load)
{
	return clients * 100 / (slots * load) + 2;
}

uint64_t clients_lines_max(uint64_t clients)
{
	return clients * 100 / (SEGMENT_WHOLE6_LONG * LOAD_LONG) + 2 * (2 + ATTEMPTS);
}

/* The fewest lines: packed where values leave room in an entry, which takes some lines at least. */
static void choose_format(struct area *area, size_t clients, uint32_t values_count)
{
	unsigned int packed = area->is_ipv4 ? SEGMENT_PACKED4 : SEGMENT_PACKED6;
	uint8_t bits = logarithm(values_count) + 1;
	uint32_t least;

	area->slots = area->is_ipv4   ? SEGMENT_WHOLE4
		      : area->is_long ? SEGMENT_WHOLE6_LONG
				      : SEGMENT_WHOLE6;
	area->count = lines_for(clients, area->slots, area->is_long ? LOAD_LONG : LOAD);
	if (area->is_long || bits > SEGMENT_REST_BITS - 2)
		return;
	least = lines_for(clients, packed, LOAD);
	if (least < 2u << bits)
		least = 2u << bits;
	if (least > area->count)
		return;
	area->slots = packed;
	area->count = least;
	area->bits = bits;
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
			lines->count += area->count;
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
	int error;

	if (!part->clients_count)
		return 0;
	choose_format(&area, part->clients_count, table->values_count);
	error = build(&area, part->clients, part->clients_count, entry4_at, lines);
	table->clients4_bits = area.bits;
	table->clients4_shift = area.shift;
	table->clients4_lines = area.count;
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
	table->clients6_bits = area.bits;
	table->clients6_shift = area.shift;
	table->clients6_lines = area.count;
	table->multiplier6 = area.multiplier;
	return error;
}

/* ---- and back ---- */

static struct area area_of(const struct segment_table *table, const struct segment_line *lines,
			   bool is_ipv4)
{
	struct area area = {
		.lines = (struct segment_line *)lines + (is_ipv4 ? 0 : table->clients6),
		.count = is_ipv4 ? table->clients4_lines : table->clients6_lines,
		.bits = is_ipv4 ? table->clients4_bits : table->clients6_bits,
		.shift = is_ipv4 ? table->clients4_shift : table->clients6_shift,
		.multiplier = is_ipv4 ? table->multiplier4 : table->multiplier6,
		.is_ipv4 = is_ipv4,
		.is_long = !is_ipv4 && table->prefix6 > 64,
	};

	if (area.bits)
		area.slots = is_ipv4 ? SEGMENT_PACKED4 : SEGMENT_PACKED6;
	else
		area.slots = is_ipv4	    ? SEGMENT_WHOLE4
			     : area.is_long ? SEGMENT_WHOLE6_LONG
					    : SEGMENT_WHOLE6;
	return area;
}

int clients_walk(const struct segment_table *table, const struct segment_line *lines, bool is_ipv4,
		 struct span **out, size_t *count)
{
	struct area area = area_of(table, lines, is_ipv4);
	struct span *clients = malloc(((size_t)area.count * area.slots + 1) * sizeof(*clients));
	struct entry entry;
	unsigned int slot;
	uint32_t line;

	*out = clients;
	*count = 0;
	if (!clients)
		return -ENOMEM;
	for (line = 0; line < area.count; line++)
		for (slot = 0; slot < area.slots; slot++)
			if (get(&area, line, slot, &entry))
				clients[(*count)++] = (struct span){
					.high = is_ipv4 ? 0 : entry.high,
					.low = is_ipv4 ? IPV4_MAPPED | entry.high : entry.low,
					.value = entry.code - 1,
				};
	return 0;
}
