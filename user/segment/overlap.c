// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prefixes either nest or have nothing in common. So whoever walks a list in its order need only
 * remember how far the furthest member reaches: a prefix that begins at or after the start of that
 * one lies within it if and only if it ends no later.
 */
#include "segment/overlap.h"

#include "abi.h"

static bool is_ipv4(const struct member *member)
{
	return member->length >= 96 && !member->high && member->low >> 32 == IPV4_MAPPED >> 32;
}

static void last_address(const struct member *member, uint64_t *high, uint64_t *low)
{
	unsigned int length = member->length;

	*high = member->high | (length >= 64 ? 0 : ~0ULL >> length);
	*low = member->low | (length >= 128 ? 0 : length <= 64 ? ~0ULL : ~0ULL >> (length - 64));
}

static bool is_before(uint64_t high, uint64_t low, uint64_t other_high, uint64_t other_low)
{
	return high != other_high ? high < other_high : low < other_low;
}

static void pass(struct cover *cover)
{
	const struct member *member = &cover->members[cover->next++];
	unsigned int family = is_ipv4(member);
	uint64_t high, low;

	last_address(member, &high, &low);
	if (cover->reach[family].is_set &&
	    !is_before(cover->reach[family].high, cover->reach[family].low, high, low))
		return;
	cover->reach[family].is_set = true;
	cover->reach[family].high = high;
	cover->reach[family].low = low;
}

static bool reaches(const struct cover *cover, const struct member *member)
{
	unsigned int family = is_ipv4(member);
	uint64_t high, low;

	last_address(member, &high, &low);
	return cover->reach[family].is_set &&
	       !is_before(cover->reach[family].high, cover->reach[family].low, high, low);
}

bool cover_holds(struct cover *cover, const struct member *member)
{
	while (cover->next < cover->count &&
	       member_compare(&cover->members[cover->next], member) <= 0)
		pass(cover);
	return reaches(cover, member);
}

bool cover_holds_more(struct cover *cover, const struct member *member)
{
	while (cover->next < cover->count &&
	       member_compare(&cover->members[cover->next], member) < 0)
		pass(cover);
	return reaches(cover, member);
}

size_t members_common(const struct member *a, size_t a_count, const struct member *b,
		      size_t b_count)
{
	struct cover of_a = {.members = a, .count = a_count};
	struct cover of_b = {.members = b, .count = b_count};
	size_t common = 0;

	for (size_t i = 0; i < a_count; i++)
		common += cover_holds(&of_b, &a[i]);
	for (size_t i = 0; i < b_count; i++)
		common += cover_holds_more(&of_a, &b[i]);
	return common;
}

size_t members_missing(const struct member *a, size_t a_count, const struct member *b,
		       size_t b_count)
{
	size_t missing = 0, j = 0;

	for (size_t i = 0; i < a_count; i++) {
		while (j < b_count && member_compare(&b[j], &a[i]) < 0)
			j++;
		missing += j == b_count || member_compare(&b[j], &a[i]) != 0;
	}
	return missing;
}
