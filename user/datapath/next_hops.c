// SPDX-License-Identifier: GPL-2.0-only
/* Next hops of backend lines that packets read: the one part of a published view that is written in
 * place. */
#include "datapath/publish.h"

#include <stdlib.h>
#include <string.h>

static uint64_t next_hop_word(const struct next_hop *hop)
{
	uint64_t word = 0;

	if (hop->state != NEXT_HOP_RESOLVED)
		return 0;
	memcpy(&word, hop->mac, sizeof(hop->mac));
	return word | NEXT_HOP_VALID;
}

static void fill_rest(struct backend_line *line, const struct next_hop *hop, bool own_source)
{
	const struct address *source = line->flags & BACKEND_IPV6 ? &hop->source6 : &hop->source4;

	line->ifindex = hop->ifindex;
	line->mtu = hop->mtu;
	memcpy(&line->source_mac, hop->source_mac, sizeof(hop->source_mac));
	if (!own_source)
		memcpy(line->source, source->bytes, sizeof(line->source));
}

void next_hop_fill(struct backend_line *line, const struct next_hop *hop, bool own_source)
{
	line->next_hop = next_hop_word(hop);
	if (line->next_hop)
		fill_rest(line, hop, own_source);
}

static bool rest_is_current(const struct backend_line *line, const struct next_hop *hop,
			    bool own_source)
{
	struct backend_line wanted = *line;

	fill_rest(&wanted, hop, own_source);
	return !memcmp(&wanted, line, sizeof(wanted));
}

bool next_hop_is_current(const struct backend_line *line, const struct next_hop *hop,
			 bool own_source)
{
	return line->next_hop == next_hop_word(hop) &&
	       (!line->next_hop || rest_is_current(line, hop, own_source));
}

static void store_word(struct backend_line *line, uint64_t word)
{
	__atomic_store_n(&line->next_hop, word, __ATOMIC_RELEASE);
}

int next_hops_write(struct datapath *datapath, const struct next_hop_change *changes, size_t count,
		    struct errors *errors)
{
	bool moved = false;
	size_t i;
	int error;

	for (i = 0; i < count; i++) {
		const struct next_hop_change *change = &changes[i];
		uint64_t word = next_hop_word(&change->hop);

		if (!word || rest_is_current(change->line, &change->hop, change->own_source)) {
			store_word(change->line, word);
			continue;
		}
		store_word(change->line, 0);
		moved = true;
	}
	if (!moved)
		return 0;
	error = grace_period(datapath, errors);
	if (error)
		return error;
	for (i = 0; i < count; i++)
		if (!changes[i].line->next_hop && next_hop_word(&changes[i].hop))
			fill_rest(changes[i].line, &changes[i].hop, changes[i].own_source);
	error = grace_period(datapath, errors);
	if (error)
		return error;
	for (i = 0; i < count; i++)
		store_word(changes[i].line, next_hop_word(&changes[i].hop));
	return 0;
}
