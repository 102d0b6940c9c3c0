// SPDX-License-Identifier: GPL-2.0-only
/* From lines back to spans: what starts say, overlaid with the clients. */
#include "segment/layout_internal.h"

#include <errno.h>
#include <arpa/inet.h>
#include <stdlib.h>

#define DIGIT_BITS 11
#define DIGITS	   (1u << DIGIT_BITS)

static uint32_t digit_of(const struct span *span, unsigned int place)
{
	return (uint32_t)(span_at(span) >> place) & (DIGITS - 1);
}

/* One pass by the digit at bit @place; false: it is the same in all, and nothing was done. */
static bool sort_by_digit(const struct span *from, struct span *to, size_t count,
			  unsigned int place)
{
	size_t places[DIGITS] = {0}, i, sum = 0;

	for (i = 0; i < count; i++)
		places[digit_of(&from[i], place)]++;
	if (places[digit_of(&from[0], place)] == count)
		return false;
	for (i = 0; i < DIGITS; i++) {
		size_t here = places[i];

		places[i] = sum;
		sum += here;
	}
	for (i = 0; i < count; i++)
		to[places[digit_of(&from[i], place)]++] = from[i];
	return true;
}

/* By address, from the last digit on (Knuth, TAOCP 3, 5.2.5). @spans may be given another list. */
static int sort_spans(struct span **spans, size_t count)
{
	struct span *other = malloc((count + 1) * sizeof(*other)), *swap;
	unsigned int place;

	if (!other)
		return -ENOMEM;
	for (place = 0; count && place < 128; place += DIGIT_BITS) {
		if (!sort_by_digit(*spans, other, count, place))
			continue;
		swap = *spans;
		*spans = other;
		other = swap;
	}
	free(other);
	return 0;
}

/* ---- overlaying ---- */

/* A family: sorted spans, of clients each one client wide. */
struct layer {
	struct span *starts, *clients;
	size_t starts_count, clients_count;
	address128 client_size;
};

static void layer_release(struct layer *layer)
{
	free(layer->starts);
	free(layer->clients);
}

static int layer_of(const struct segment_table *table, const struct segment_line *lines,
		    bool is_ipv4, struct layer *out)
{
	unsigned int length = is_ipv4 ? 96 + __builtin_popcount(table->mask4) : table->prefix6;
	int error;

	*out = (struct layer){.client_size = (address128)1 << (128 - length)};
	error = is_ipv4 ? prefixes4_walk(table, lines, &out->starts, &out->starts_count)
			: prefixes6_walk(table, lines, &out->starts, &out->starts_count);
	if (!error)
		error = clients_walk(table, lines, is_ipv4, &out->clients, &out->clients_count);
	if (!error)
		error = sort_spans(&out->clients, out->clients_count);
	return error;
}

/* From @at on it is @value; what was said of @at before is forgotten. */
static void add(struct spans *out, address128 at, uint64_t value)
{
	if (out->count && span_at(&out->list[out->count - 1]) == at)
		out->count--;
	if ((out->count ? out->list[out->count - 1].value : 0) == value)
		return;
	if (!out->count && at)
		out->list[out->count++] = (struct span){0};
	out->list[out->count++] = (struct span){.high = at >> 64, .low = at, .value = value};
}

static int overlay(const struct layer *layer, struct spans *out)
{
	size_t start = 0, client = 0;
	uint64_t value = 0;

	*out = (struct spans){0};
	out->list =
		malloc((layer->starts_count + 2 * layer->clients_count + 2) * sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	while (start < layer->starts_count || client < layer->clients_count) {
		const struct span *next = &layer->starts[start], *over = &layer->clients[client];
		address128 end;

		if (client == layer->clients_count ||
		    (start < layer->starts_count && span_at(next) <= span_at(over))) {
			value = next->value;
			add(out, span_at(next), value);
			start++;
			continue;
		}
		end = span_at(over) + layer->client_size;
		add(out, span_at(over), over->value);
		if (end)
			add(out, end, value);
		client++;
	}
	return 0;
}

/* IPv6 up to IPv4, this, and what IPv6 says behind it. */
static int splice(const struct spans *ipv6, const struct spans *ipv4, struct spans *out)
{
	uint64_t value = 0;
	size_t i, j;

	*out = (struct spans){0};
	out->list = malloc((ipv6->count + ipv4->count + 4) * sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	for (i = 0; i < ipv6->count && span_at(&ipv6->list[i]) < IPV4_FIRST; i++) {
		value = ipv6->list[i].value;
		add(out, span_at(&ipv6->list[i]), value);
	}
	add(out, IPV4_FIRST, 0);
	for (j = 0; j < ipv4->count; j++)
		if (span_at(&ipv4->list[j]) >= IPV4_FIRST && span_at(&ipv4->list[j]) < IPV4_END)
			add(out, span_at(&ipv4->list[j]), ipv4->list[j].value);
	for (; i < ipv6->count && span_at(&ipv6->list[i]) < IPV4_END; i++)
		value = ipv6->list[i].value;
	add(out, IPV4_END, value);
	for (; i < ipv6->count; i++)
		add(out, span_at(&ipv6->list[i]), ipv6->list[i].value);
	return 0;
}

int layout_walk(const struct segment_table *table, const struct segment_line *lines,
		struct spans *out)
{
	struct layer layer4 = {0}, layer6 = {0};
	struct spans ipv4 = {0}, ipv6 = {0};
	int error = layer_of(table, lines, true, &layer4);

	*out = (struct spans){0};
	if (!error)
		error = layer_of(table, lines, false, &layer6);
	if (!error)
		error = overlay(&layer4, &ipv4);
	if (!error)
		error = overlay(&layer6, &ipv6);
	if (!error)
		error = splice(&ipv6, &ipv4, out);
	spans_release(&ipv4);
	spans_release(&ipv6);
	layer_release(&layer4);
	layer_release(&layer6);
	return error;
}
