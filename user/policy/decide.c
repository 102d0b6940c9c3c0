// SPDX-License-Identifier: GPL-2.0-only
/* The stages client, cohort and backend of the data path over a view image. */
#include "policy/decide.h"

#include "allocation.h"
#include "util/siphash.h"

#include <arpa/inet.h>
#include <string.h>

static void raw_words(const struct address *address, uint64_t words[2])
{
	memcpy(words, address->bytes, 16);
}

/* As it lies in an IPv6 packet. */
static void raw_words6(const struct address *address, uint64_t words[2])
{
	uint64_t high, low;

	address_words(address, &high, &low);
	words[0] = htobe64(high);
	words[1] = htobe64(low);
}

/* The source address, masked: 4 or 16 bytes. Returns how many. */
static int source_key(const struct view *view, const struct flow *flow, uint64_t words[2])
{
	struct prefix whole = {.address = flow->source,
			       .length = flow->source.family == 4 ? 32 : 128};
	struct prefix key = prefix_shorten(&whole, 32, view->prefix6);

	raw_words(&key.address, words);
	if (flow->source.family == 6)
		return 16;
	words[0] = (uint32_t)words[0] & view->mask4;
	return 4;
}

static uint64_t source_token(const struct view *view, struct siphash_state state,
			     const struct flow *flow)
{
	uint64_t words[2];

	if (source_key(view, flow, words) == 4)
		return siphash_end(&state, words[0], 4);
	siphash_word(&state, words[0]);
	siphash_word(&state, words[1]);
	return siphash_end(&state, 0, 16);
}

/* h: the client's place in the hash space. */
static uint32_t hash_client(const struct view *view, const struct flow *flow, uint64_t token)
{
	enum split_hash hash = (view->flags & VIEW_HASH) >> VIEW_HASH_SHIFT;
	uint64_t key[2];
	int size;

	if (hash == HASH_XDP_CANARY)
		return client_hash(token, view->salt64);
	size = source_key(view, flow, key);
	return split_hash(hash,
			  (uint32_t[SPLIT_WORDS_MAX]){key[0], key[0] >> 32, key[1], key[1] >> 32},
			  size / sizeof(uint32_t), view->hash_modulus, view->hash_seed);
}

static uint64_t flow_token(struct siphash_state state, const struct flow *flow)
{
	uint64_t rest = htons(flow->source_port) | (uint64_t)htons(flow->destination_port) << 16 |
			(uint64_t)flow->protocol << 32;
	uint64_t source[2], destination[2];
	uint32_t source4, destination4;

	if (flow->destination.family == 4) {
		memcpy(&source4, flow->source.bytes, sizeof(source4));
		memcpy(&destination4, flow->destination.bytes, sizeof(destination4));
		siphash_word(&state, source4 | (uint64_t)destination4 << 32);
		return siphash_end(&state, rest, 13);
	}
	raw_words6(&flow->source, source);
	raw_words6(&flow->destination, destination);
	siphash_word(&state, source[0]);
	siphash_word(&state, source[1]);
	siphash_word(&state, destination[0]);
	siphash_word(&state, destination[1]);
	return siphash_end(&state, rest, 37);
}

static uint64_t flow_of(const struct view *view, const struct flow *flow)
{
	uint64_t high, low;

	if (view->flags & VIEW_BALANCE_CLIENT)
		return 0;
	address_words(&flow->source, &high, &low);
	if (flow->source.family == 4)
		low &= UINT32_MAX;
	return flow_word(high, low, flow->source_port, flow->destination_port);
}

static uint8_t pinned_cohort(const struct view_image *image, const struct flow *flow)
{
	struct prefix whole = {.address = flow->source,
			       .length = flow->source.family == 4 ? 32 : 128};
	struct prefix key = prefix_shorten(&whole, 32, image->view.prefix6);
	uint8_t cohort = PIN_NONE;
	uint64_t high, low;
	uint32_t i;

	address_words(&key.address, &high, &low);
	if (flow->source.family == 4)
		low = IPV4_MAPPED | ((uint32_t)low & ntohl(image->view.mask4));
	for (i = 0; i < image->view.pins_count; i++) {
		const struct pin_range *range = &image->pins[i];

		if (range->high > high || (range->high == high && range->low > low))
			break;
		cohort = range->cohort;
	}
	return cohort;
}

static void give_cohort(const struct view_image *image, const struct flow *flow, uint64_t members,
			struct explanation *out)
{
	uint8_t pinned = image->view.pins_count ? pinned_cohort(image, flow) : PIN_NONE;

	out->rule = RULE_NONE;
	if (pinned != PIN_NONE) {
		out->cohort = pinned;
		out->decision = REASON_OVERRIDE;
	} else if (out->holdout_hash < image->view.holdout) {
		out->decision = REASON_HOLDOUT;
	} else {
		out->rule = first_rule(image, members);
		out->decision = image->rules[out->rule].reason;
		out->cohort = rule_cohort(&image->rules[out->rule], out->hash);
	}
}

/* An image has no clock: a lease ends in the kernel alone. */
static void decide_cohort(const struct view_image *image, const struct flow *flow, uint64_t members,
			  struct explanation *out)
{
	give_cohort(image, flow, members, out);
	if (!view_latches(&image->view, out->cohort))
		return;
	out->cohort = 0;
	out->rule = RULE_NONE;
	out->decision = image->view.rollout & ROLLOUT_LATCH_LEASE ? REASON_LEASE_EXPIRED
								  : REASON_ROLLED_BACK;
}

static uint16_t backend_of(const struct view_image *image, struct explanation *out)
{
	const struct view *view = &image->view;
	uint32_t size = view->rings[out->cohort + 1] - view->rings[out->cohort];

	if (!size)
		return BACKEND_NONE;
	out->ring_slot = view->rings[out->cohort] + scale(ring_hash(out->token, out->flow), size);
	return image->slots[out->ring_slot] & SLOT_NOW_MASK;
}

static void choose_backend(const struct view_image *image, struct explanation *out)
{
	const struct view *view = &image->view;

	out->chosen_cohort = out->cohort;
	out->backend = backend_of(image, out);
	if (out->backend == BACKEND_NONE && out->cohort) {
		out->decision = REASON_COHORT_DOWN;
		out->cohort = 0;
		out->backend = backend_of(image, out);
	}
	out->reason = out->decision;
	if (out->backend == BACKEND_NONE) {
		out->backend = 0;
		out->reason = view->flags & VIEW_ENFORCE ? REASON_NO_BACKEND : REASON_NOT_ENFORCED;
		return;
	}
	out->has_backend = 1;
	if (!(view->flags & VIEW_ENFORCE))
		out->reason = REASON_NOT_ENFORCED;
}

void decide(const struct view_image *image, struct siphash_key secret, const struct flow *flow,
	    const struct client_facts *facts, struct explanation *out)
{
	struct siphash_state state = siphash_begin(secret);

	*out = (struct explanation){.has_service = 1, .path = PATH_CURRENT};
	out->token = image->view.flags & VIEW_KEY_FLOW ? flow_token(state, flow)
						       : source_token(&image->view, state, flow);
	if (facts->group)
		out->token = siphash13(secret, facts->group, strlen(facts->group));
	out->hash = hash_client(&image->view, flow, out->token);
	out->holdout_hash = client_hash(out->token, HOLDOUT_SALT64);
	out->flow = flow_of(&image->view, flow);
	decide_cohort(image, flow, facts->members, out);
	choose_backend(image, out);
}
