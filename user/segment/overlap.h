/* SPDX-License-Identifier: GPL-2.0-only */
/* What two sorted lists of members have in common. Pure; each list is walked once. */
#ifndef XDP_CANARY_OVERLAP_H
#define XDP_CANARY_OVERLAP_H

#include "segment/members.h"

#include <stdbool.h>

/* A walk along a sorted list; an IPv6 prefix holds no IPv4 client. Zeroed but for the list. */
struct cover {
	const struct member *members;
	size_t count;
	size_t next; /* the first that was not passed yet */
	struct {
		bool is_set;
		uint64_t high, low; /* the last address that any passed member holds */
	} reach[2];		    /* IPv6, IPv4 */
};

/* Does a member hold all of @member? To be asked in the order of member_compare(). */
bool cover_holds(struct cover *cover, const struct member *member);
/* The same of a wider one. A cover is asked one of both questions, not both. */
bool cover_holds_more(struct cover *cover, const struct member *member);

/* Members that both have: of two prefixes of which one holds the other, the longer one. */
size_t members_common(const struct member *a, size_t a_count, const struct member *b,
		      size_t b_count);
/* How many of @a are not in @b, as they are. */
size_t members_missing(const struct member *a, size_t a_count, const struct member *b,
		       size_t b_count);

#endif
