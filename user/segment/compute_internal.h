/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files that compute memberships. */
#ifndef XDP_CANARY_COMPUTE_INTERNAL_H
#define XDP_CANARY_COMPUTE_INTERNAL_H

#include "segment/compute.h"

#include <jansson.h>

/* A membership that is being computed. */
struct draft {
	const struct segment_world *world;
	const struct segment *segment;
	struct errors *errors;
	char object[NAME_SIZE + 16]; /* "segments/staff" */
	struct member *members;	     /* in any order, some perhaps twice, until it is done */
	size_t count, room;
	json_t *detail;
};

/* Adds one, in the form of the box. 0, or -ENOMEM with an error. */
int draft_add(struct draft *draft, const struct member *member);
/* Sorts what is there, and drops what stands twice. */
void draft_settle(struct draft *draft);
int draft_memory(struct draft *draft); /* an error for "out of memory"; -ENOMEM */

struct model;
/* The imported model, whose columns the catalogue has; model_free() it also after an error. */
int draft_model(struct draft *draft, const char *name, struct model **out);

/* Parts per million, rounded; 0 of nothing. */
json_int_t share_ppm(uint64_t part, uint64_t whole);

/* ---- of each kind: 0, or a negative errno with an error ---- */

int compute_file(struct draft *draft);
int compute_where(struct draft *draft);
int compute_bins(struct draft *draft);
int compute_model(struct draft *draft);
int compute_sample(struct draft *draft);

#endif
