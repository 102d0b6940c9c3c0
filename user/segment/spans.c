// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sweeps over sorted prefixes, in the order of their starts. Prefixes nest or are apart. Where IPv4
 * is in the 128-bit space no IPv6 prefix reaches: one that is around it goes on behind it.
 */
#include "segment/spans.h"

#include "abi.h"
#include "segment/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LISTS_MAX  64
#define IPV4_FIRST ((address128)IPV4_MAPPED)
#define IPV4_LAST  (IPV4_FIRST | UINT32_MAX)
#define LAST	   (~(address128)0)

static address128 member_first(const struct member *member)
{
	return (address128)member->high << 64 | member->low;
}

static address128 member_last(const struct member *member)
{
	address128 first = member_first(member);

	return member->length < 128 ? first | LAST >> member->length : first;
}

/* ---- the spans that come out ---- */

void spans_release(struct spans *spans)
{
	free(spans->list);
	*spans = (struct spans){0};
}

/* Room for @most; what is not used is given back by end_spans(), and costs nothing until then. */
static int begin_spans(struct spans *spans, size_t most)
{
	*spans = (struct spans){.list = malloc((most + 1) * sizeof(*spans->list))};
	return spans->list ? 0 : -ENOMEM;
}

static void add_span(struct spans *spans, address128 at, uint64_t value)
{
	struct span *next = &spans->list[spans->count];

	if ((spans->count ? next[-1].value : 0) == value)
		return;
	if (!spans->count && at) {
		*next++ = (struct span){0};
		spans->count++;
	}
	*next = (struct span){.high = at >> 64, .low = (uint64_t)at, .value = value};
	spans->count++;
}

static void end_spans(struct spans *spans)
{
	struct span *list = realloc(spans->list, (spans->count + 1) * sizeof(*list));

	if (list)
		spans->list = list;
}

uint64_t spans_find(const struct spans *spans, uint64_t high, uint64_t low)
{
	size_t from = 0, to = spans->count;

	while (to - from > 1) {
		size_t middle = from + (to - from) / 2;
		const struct span *span = &spans->list[middle];

		if (span->high < high || (span->high == high && span->low <= low))
			from = middle;
		else
			to = middle;
	}
	return to ? spans->list[from].value : 0;
}

/* ---- lists: the union of each, then all of them in step ---- */

struct cursor {
	const struct member *next, *end;
	address128 last;    /* of what came so far: a prefix up to there is inside */
	address128 resumed; /* where an IPv6 prefix ends that goes on behind IPv4; 0: none does */
	bool is_inside;
	bool has_begun;
};

/* The next interval of the union: true, and where it begins; its end is cursor->last. */
static bool next_interval(struct cursor *cursor, address128 *first)
{
	while (cursor->next < cursor->end || cursor->resumed) {
		if (cursor->resumed &&
		    (cursor->next == cursor->end || member_first(cursor->next) > IPV4_LAST)) {
			*first = IPV4_LAST + 1;
			cursor->last = cursor->resumed;
			cursor->resumed = 0;
			return true;
		}
		*first = member_first(cursor->next);
		if (cursor->has_begun && *first <= cursor->last) {
			cursor->next++;
			continue;
		}
		cursor->has_begun = true;
		cursor->last = member_last(cursor->next++);
		if (*first < IPV4_FIRST && cursor->last >= IPV4_LAST) {
			if (cursor->last > IPV4_LAST)
				cursor->resumed = cursor->last;
			cursor->last = IPV4_FIRST - 1;
		}
		return true;
	}
	return false;
}

/* The next place where the list's bit changes, or false. */
static bool next_change(struct cursor *cursor, address128 *at)
{
	cursor->is_inside = !cursor->is_inside;
	if (!cursor->is_inside)
		return next_interval(cursor, at);
	*at = cursor->last + 1;
	return cursor->last != LAST;
}

static void sweep_lists(struct cursor *cursors, struct merge *merge, struct spans *out)
{
	address128 at, now;
	uint64_t value = 0;
	size_t list;

	while (merge_first(merge, &list, &at)) {
		do {
			bool goes_on = next_change(&cursors[list], &now);

			value ^= 1ULL << list;
			merge_go_on(merge, list, !goes_on, now);
		} while (merge_first(merge, &list, &now) && now == at);
		add_span(out, at, value);
	}
}

int spans_of_lists(const struct member_list *lists, size_t count, struct spans *out)
{
	struct cursor cursors[LISTS_MAX] = {0};
	struct merge merge;
	address128 at;
	size_t i, most = 0;
	int error;

	*out = (struct spans){0};
	for (i = 0; i < count; i++)
		most += 2 * lists[i].count + 1;
	error = merge_init(&merge, count);
	if (error)
		return error;
	error = begin_spans(out, most + 1);
	if (error)
		goto out;
	for (i = 0; i < count; i++) {
		cursors[i].next = lists[i].members;
		cursors[i].end = lists[i].members + lists[i].count;
		if (next_interval(&cursors[i], &at))
			merge_place(&merge, i, at);
	}
	merge_begin(&merge);
	sweep_lists(cursors, &merge, out);
	end_spans(out);
out:
	merge_release(&merge);
	return error;
}

/* ---- values: the longest prefix wins ---- */

struct open_prefix {
	address128 last;
	uint64_t value;
};

struct sweep {
	struct spans *out;
	address128 at; /* a span that begins there is not added yet: an inner one may too */
	uint64_t value;
	size_t depth;
	struct open_prefix stack[LISTS_MAX * 2 + 3]; /* one a length, IPv4 as a whole, the space */
};

static void begin_value(struct sweep *sweep, address128 at, uint64_t value)
{
	if (at != sweep->at)
		add_span(sweep->out, sweep->at, sweep->value);
	sweep->at = at;
	sweep->value = value;
}

/* Closes what ends before @first: the one around it goes on. */
static void close_before(struct sweep *sweep, address128 first)
{
	while (sweep->stack[sweep->depth].last < first) {
		address128 next = sweep->stack[sweep->depth--].last + 1;

		begin_value(sweep, next, sweep->stack[sweep->depth].value);
	}
}

static void open_value(struct sweep *sweep, address128 first, address128 last, uint64_t value)
{
	close_before(sweep, first);
	sweep->stack[++sweep->depth] = (struct open_prefix){last, value};
	begin_value(sweep, first, value);
}

static void sweep_values(struct sweep *sweep, const struct member_value *values, size_t count)
{
	bool has_ipv4 = false;
	size_t i;

	for (i = 0; i < count; i++) {
		const struct member *client = &values[i].client;
		address128 first = member_first(client);

		if (!has_ipv4 && first >= IPV4_FIRST) {
			open_value(sweep, IPV4_FIRST, IPV4_LAST, 0);
			has_ipv4 = true;
		}
		if (i + 1 < count && !member_compare(client, &values[i + 1].client))
			continue;
		open_value(sweep, first, member_last(client), values[i].value);
	}
	if (!has_ipv4)
		open_value(sweep, IPV4_FIRST, IPV4_LAST, 0);
	while (sweep->depth && sweep->stack[sweep->depth].last != LAST)
		close_before(sweep, sweep->stack[sweep->depth].last + 1);
	add_span(sweep->out, sweep->at, sweep->value);
}

int spans_of_values(const struct member_value *values, size_t count, struct spans *out)
{
	struct sweep sweep = {.out = out, .stack = {{.last = LAST}}};
	int error = begin_spans(out, 2 * count + 4);

	if (error)
		return error;
	sweep_values(&sweep, values, count);
	end_spans(out);
	return 0;
}

/* ---- join: tuples of values are numbered ---- */

struct tuples {
	size_t width;
	uint64_t *words; /* tuple n: @width words from n * width on */
	uint64_t *hashes;
	size_t count, room;
	uint32_t *slots; /* open addressing: number + 1; 0 is free */
	size_t slots_mask;
};

static void take_slot(struct tuples *tuples, uint32_t number)
{
	size_t slot = tuples->hashes[number] & tuples->slots_mask;

	while (tuples->slots[slot])
		slot = (slot + 1) & tuples->slots_mask;
	tuples->slots[slot] = number + 1;
}

/* Doubles the room; slots are half full at the most. */
static int grow_tuples(struct tuples *tuples)
{
	size_t room = tuples->room ? 2 * tuples->room : 512, i;
	uint64_t *words = reallocarray(tuples->words, room, tuples->width * sizeof(*words));
	uint64_t *hashes;

	if (!words)
		return -ENOMEM;
	tuples->words = words;
	hashes = reallocarray(tuples->hashes, room, sizeof(*hashes));
	if (!hashes)
		return -ENOMEM;
	tuples->hashes = hashes;
	free(tuples->slots);
	tuples->slots = calloc(2 * room, sizeof(*tuples->slots));
	if (!tuples->slots)
		return -ENOMEM;
	tuples->room = room;
	tuples->slots_mask = 2 * room - 1;
	for (i = 0; i < tuples->count; i++)
		take_slot(tuples, i);
	return 0;
}

/* The tuple's number, a new one where there is none yet; negative: no memory. */
static int64_t number_tuple(struct tuples *tuples, const uint64_t *tuple, uint64_t hash)
{
	size_t slot = hash & tuples->slots_mask, size = tuples->width * sizeof(*tuple);

	for (; tuples->slots[slot]; slot = (slot + 1) & tuples->slots_mask) {
		uint32_t number = tuples->slots[slot] - 1;
		const uint64_t *words = tuples->words + number * tuples->width;

		if (tuples->hashes[number] == hash && words[0] == tuple[0] &&
		    (tuples->width == 1 || !memcmp(words, tuple, size)))
			return number;
	}
	if (tuples->count == tuples->room && grow_tuples(tuples))
		return -ENOMEM;
	memcpy(tuples->words + tuples->count * tuples->width, tuple, size);
	tuples->hashes[tuples->count] = hash;
	take_slot(tuples, tuples->count);
	return tuples->count++;
}

/* What a value adds to the hash of its tuple: 0 where it is 0, so that it changes with one. */
static uint64_t value_hash(uint64_t value, size_t place)
{
	return value ? fmix64(value * 0x9e3779b97f4a7c15ULL + place) : 0;
}

struct join {
	const struct spans *lists;
	size_t *next; /* span of each list */
	uint64_t *tuple;
	struct merge merge;
	struct tuples tuples;
};

static int sweep_join(struct join *join, struct spans *out)
{
	struct tuples *tuples = &join->tuples;
	uint64_t hash = 0;
	address128 at, now;
	size_t list;

	while (merge_first(&join->merge, &list, &at)) {
		int64_t number;

		do {
			const struct span *span = &join->lists[list].list[join->next[list]++];
			bool ends = join->next[list] == join->lists[list].count;

			hash += value_hash(span->value, list) - value_hash(join->tuple[list], list);
			join->tuple[list] = span->value;
			now = ends ? 0 : (address128)span[1].high << 64 | span[1].low;
			merge_go_on(&join->merge, list, ends, now);
		} while (merge_first(&join->merge, &list, &now) && now == at);
		number = number_tuple(tuples, join->tuple, hash);
		if (number < 0)
			return number;
		add_span(out, at, number);
	}
	return 0;
}

static int begin_join(struct join *join, size_t count, struct spans *out)
{
	size_t i, most = 0;
	int error = merge_init(&join->merge, count);

	join->tuples.width = count ? count : 1;
	join->next = calloc(join->tuples.width, sizeof(*join->next));
	join->tuple = calloc(join->tuples.width, sizeof(*join->tuple));
	if (!error && !(join->next && join->tuple))
		error = -ENOMEM;
	for (i = 0; i < count && !error; i++) {
		most += join->lists[i].count;
		if (join->lists[i].count)
			merge_place(&join->merge, i, 0);
	}
	if (!error)
		error = begin_spans(out, most + 1);
	if (!error)
		error = grow_tuples(&join->tuples);
	if (error)
		return error;
	merge_begin(&join->merge);
	return number_tuple(&join->tuples, join->tuple, 0); /* the zeros: number 0 */
}

int spans_join(const struct spans *lists, size_t count, struct spans *out, uint64_t **tuples,
	       size_t *tuples_count)
{
	struct join join = {.lists = lists};
	int error;

	*out = (struct spans){0};
	error = begin_join(&join, count, out);
	if (!error)
		error = sweep_join(&join, out);
	if (error) {
		spans_release(out);
		free(join.tuples.words);
	} else {
		end_spans(out);
		*tuples = join.tuples.words;
		*tuples_count = join.tuples.count;
	}
	merge_release(&join.merge);
	free(join.next);
	free(join.tuple);
	free(join.tuples.hashes);
	free(join.tuples.slots);
	return error;
}
