/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is in a segment now: from its definition, the catalogue and the imported models to a list of
 * members. Changes nothing; what is computed is frozen by user/control/segments.c.
 */
#ifndef XDP_CANARY_COMPUTE_H
#define XDP_CANARY_COMPUTE_H

#include "catalogue/catalogue.h"
#include "hash.h"
#include "policy/policy.h"

/* What memberships are computed of. */
struct segment_world {
	struct store *store; /* NULL: nothing was ever stored */
	const struct limits *limits;
	struct client_form form;
	const struct siphash_key *secret; /* of the box; a sample needs it */
};

/*
 * *@out has members, count, detail, definition and name; membership_release() it. 0; -ENOENT what
 * it is computed of is not there; -E2BIG more clients than limits allow by themselves; -EINVAL bad
 * lines, a bad expression; -ENOMEM. Errors have the place of the segment in its file. What leaves
 * it without clients (features of nobody yet) is a warning.
 */
int segment_compute(const struct segment_world *world, const struct segment *segment,
		    struct membership *out, struct errors *errors);

/* Who shares a hash by a column's text; empty text is no group. */
int grouping_compute(const struct segment_world *world, const char *column, struct grouping *out,
		     struct errors *errors);

struct membership_counts {
	size_t ipv4, ipv6; /* members */
	size_t prefixes;   /* of them wider than a client of the box */
};
struct membership_counts membership_counts(const struct member *members, size_t count,
					   struct client_form form);

#endif
