// SPDX-License-Identifier: GPL-2.0-only
/* Spans taken apart: those of IPv4 and of IPv6, and of each the clients and the starts. */
#include "segment/layout_internal.h"

#include <errno.h>
#include <stdlib.h>

/* The first span that starts at or behind the address. */
static size_t span_from(const struct spans *spans, address128 at)
{
	size_t from = 0, to = spans->count;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (span_at(&spans->list[middle]) < at)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

void part4_release(struct part4 *part)
{
	free(part->clients);
	free(part->starts);
}

void part6_release(struct part6 *part)
{
	free(part->clients);
	free(part->starts);
}

/* The spans of a family, with values and roles apart as choose_backgrounds() wants them. */
struct pieces {
	uint32_t *addresses, *values;
	struct span *spans;
	uint8_t *roles;
	size_t count;
};

static void pieces_release(struct pieces *pieces)
{
	free(pieces->addresses);
	free(pieces->values);
	free(pieces->spans);
	free(pieces->roles);
}

static int pieces4_of(const struct spans *spans, unsigned int prefix4, struct pieces *out)
{
	size_t from = span_from(spans, IPV4_FIRST), end = span_from(spans, IPV4_END), i, count;
	uint64_t size = 1ULL << (32 - prefix4);

	out->addresses = malloc((end - from + 2) * sizeof(*out->addresses));
	out->values = malloc((end - from + 2) * sizeof(*out->values));
	out->roles = malloc(end - from + 2);
	if (!out->addresses || !out->values || !out->roles)
		return -ENOMEM;
	/* What is in force where IPv4 begins. */
	out->addresses[0] = 0;
	out->values[0] = from ? spans->list[from - 1].value : 0;
	count = from < end && spans->list[from].low == IPV4_MAPPED ? 0 : 1;
	for (i = from; i < end; i++) {
		out->addresses[count] = spans->list[i].low;
		out->values[count++] = spans->list[i].value;
	}
	out->count = count;
	for (i = 0; i < count; i++) {
		uint64_t next = i + 1 < count ? out->addresses[i + 1] : 1ULL << 32;

		out->roles[i] = next - out->addresses[i] == size ? ROLE_SINGLE : ROLE_LONG;
	}
	return choose_backgrounds(out->values, out->roles, count);
}

int part4_of(const struct spans *spans, unsigned int prefix4, struct part4 *out)
{
	struct pieces pieces = {0};
	int error = pieces4_of(spans, prefix4, &pieces);
	size_t i;

	*out = (struct part4){0};
	if (error)
		goto out;
	out->clients = malloc((pieces.count + 1) * sizeof(*out->clients));
	out->starts = malloc((pieces.count + 1) * sizeof(*out->starts));
	if (!out->clients || !out->starts) {
		part4_release(out);
		error = -ENOMEM;
		goto out;
	}
	for (i = 0; i < pieces.count; i++) {
		struct value4 value = {pieces.addresses[i], pieces.values[i]};

		if (pieces.roles[i] == ROLE_CLIENT)
			out->clients[out->clients_count++] = value;
		else if (pieces.roles[i] == ROLE_START)
			out->starts[out->starts_count++] = value;
	}
out:
	pieces_release(&pieces);
	return error;
}

static void add_piece6(struct pieces *pieces, struct span span)
{
	if (pieces->count && pieces->values[pieces->count - 1] == span.value)
		return;
	pieces->values[pieces->count] = span.value;
	pieces->spans[pieces->count++] = span;
}

static int pieces6_of(const struct spans *spans, unsigned int prefix6, struct pieces *out)
{
	size_t from = span_from(spans, IPV4_FIRST), end = span_from(spans, IPV4_END), i;
	size_t most = spans->count - (end - from) + 2;
	address128 size = (address128)1 << (128 - prefix6);

	out->spans = malloc(most * sizeof(*out->spans));
	out->values = malloc(most * sizeof(*out->values));
	out->roles = malloc(most);
	if (!out->spans || !out->values || !out->roles)
		return -ENOMEM;
	if (!spans->count)
		add_piece6(out, (struct span){0});
	for (i = 0; i < from; i++)
		add_piece6(out, spans->list[i]);
	/* What is in force behind IPv4: nothing new in most cases. */
	if (end && (end == spans->count || span_at(&spans->list[end]) != IPV4_END))
		add_piece6(out, (struct span){.low = (uint64_t)IPV4_END,
					      .value = spans->list[end - 1].value});
	for (i = end; i < spans->count; i++)
		add_piece6(out, spans->list[i]);
	for (i = 0; i < out->count; i++) {
		address128 at = span_at(&out->spans[i]);
		address128 next = i + 1 < out->count ? span_at(&out->spans[i + 1]) : 0;

		if (next == IPV4_END && at < IPV4_FIRST)
			next = IPV4_FIRST;
		out->roles[i] = next - at == size ? ROLE_SINGLE : ROLE_LONG;
	}
	return choose_backgrounds(out->values, out->roles, out->count);
}

int part6_of(const struct spans *spans, unsigned int prefix6, struct part6 *out)
{
	struct pieces pieces = {0};
	int error = pieces6_of(spans, prefix6, &pieces);
	size_t i;

	*out = (struct part6){0};
	if (error)
		goto out;
	out->clients = malloc((pieces.count + 1) * sizeof(*out->clients));
	out->starts = malloc((pieces.count + 1) * sizeof(*out->starts));
	if (!out->clients || !out->starts) {
		part6_release(out);
		error = -ENOMEM;
		goto out;
	}
	for (i = 0; i < pieces.count; i++) {
		if (pieces.roles[i] == ROLE_CLIENT)
			out->clients[out->clients_count++] = pieces.spans[i];
		else if (pieces.roles[i] == ROLE_START)
			out->starts[out->starts_count++] = pieces.spans[i];
	}
out:
	pieces_release(&pieces);
	return error;
}
