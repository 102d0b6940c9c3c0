// SPDX-License-Identifier: GPL-2.0-only
/*
 * A sweep over the pins in the order of their starts, wider ones first: prefixes nest or are apart,
 * so the ones that are open form a stack, and every start or end of one begins a range of the
 * innermost that is open.
 */
#include "policy/pin_ranges.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 address128;

struct span {
	address128 first, last;
	size_t order; /* of two pins of one prefix the later holds */
	struct pin pin;
};

struct builder {
	struct pin_range *ranges;
	size_t count;
	struct span
		stack[130]; /* prefixes of one another: at most one of each length, and the root */
	size_t depth;
};

static struct span span_of(const struct pin *pin)
{
	unsigned int length = pin->client.length + (pin->client.address.family == 4 ? 96 : 0);
	struct span span = {.pin = *pin};
	uint64_t high, low;

	address_words(&pin->client.address, &high, &low);
	span.first = (address128)high << 64 | low;
	span.last =
		length ? (span.first | (((address128)1 << (128 - length)) - 1)) : ~(address128)0;
	return span;
}

static int compare_spans(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	if (a->last != b->last)
		return a->last > b->last ? -1 : 1;
	return a->order < b->order ? -1 : 1;
}

static bool same_prefix(const struct span *a, const struct span *b)
{
	return a->first == b->first && a->last == b->last;
}

static void begin_range(struct builder *builder, address128 first, const struct pin *pin)
{
	struct pin_range *last = builder->count ? &builder->ranges[builder->count - 1] : NULL;

	if (last && last->high == (uint64_t)(first >> 64) && last->low == (uint64_t)first)
		builder->count--; /* nothing was between two starts: the inner one decides */
	last = builder->count ? &builder->ranges[builder->count - 1] : NULL;
	if (last && last->cohort == pin->cohort && last->expires == pin->expires)
		return;
	builder->ranges[builder->count++] = (struct pin_range){
		.high = first >> 64,
		.low = (uint64_t)first,
		.expires = pin->expires,
		.cohort = pin->cohort,
		.origin = pin->cohort,
	};
}

/* Closes what ends before @first; each end goes on with the one around it. */
static void close_until(struct builder *builder, address128 first)
{
	while (builder->depth > 1 && builder->stack[builder->depth - 1].last < first) {
		address128 next = builder->stack[builder->depth - 1].last + 1;

		builder->depth--;
		begin_range(builder, next, &builder->stack[builder->depth - 1].pin);
	}
}

static void sweep(struct builder *builder, const struct span *spans, size_t count)
{
	const struct pin none = {.cohort = PIN_NONE, .expires = PIN_FOREVER};
	size_t i;

	builder->stack[builder->depth++] = (struct span){.last = ~(address128)0, .pin = none};
	begin_range(builder, 0, &none);
	for (i = 0; i < count; i++) {
		if (i + 1 < count && same_prefix(&spans[i], &spans[i + 1]))
			continue;
		close_until(builder, spans[i].first);
		builder->stack[builder->depth++] = spans[i];
		begin_range(builder, spans[i].first, &spans[i].pin);
	}
	while (builder->depth > 1) {
		address128 last = builder->stack[--builder->depth].last;

		if (last != ~(address128)0)
			begin_range(builder, last + 1, &builder->stack[builder->depth - 1].pin);
	}
}

int pin_ranges_build(const struct pin *pins, size_t count, struct pin_range **out, size_t *ranges)
{
	/* Where IPv4 lives no IPv6 prefix reaches: a pin to nothing of its own. */
	const struct pin ipv4 = {
		.client = {.address = {.family = 6, .bytes = {[10] = 0xff, [11] = 0xff}},
			   .length = 96},
		.cohort = PIN_NONE,
		.expires = PIN_FOREVER,
	};
	struct builder builder = {0};
	struct span *spans;
	size_t i;

	*out = NULL;
	*ranges = 0;
	if (!count)
		return 0;
	spans = calloc(count + 1, sizeof(*spans));
	builder.ranges = calloc(2 * (count + 1) + 1, sizeof(*builder.ranges));
	if (!spans || !builder.ranges) {
		free(spans);
		free(builder.ranges);
		return -ENOMEM;
	}
	for (i = 0; i < count; i++) {
		spans[i] = span_of(&pins[i]);
		spans[i].order = i + 1;
	}
	spans[count] = span_of(&ipv4);
	spans[count].order = 0; /* a pin to 0.0.0.0/0 is of the same prefix, and holds */
	qsort(spans, count + 1, sizeof(*spans), compare_spans);
	sweep(&builder, spans, count + 1);
	free(spans);
	*out = builder.ranges;
	*ranges = builder.count;
	return 0;
}
