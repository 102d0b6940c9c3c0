/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a service's desired and live state to the image of its view: all that the kernel will see of
 * it, but where in the maps it will lie. Pure; the caller names the numbers that go with names.
 */
#ifndef XDP_CANARY_COMPILE_H
#define XDP_CANARY_COMPILE_H

#include "abi.h"
#include "policy/pin_ranges.h"
#include "policy/policy.h"

/* Numbers of names (store/store.h, enum number_kind), and what is live. */
struct compile_input {
	const struct service *service;
	uint32_t share_ppm[RULES_MAX][COHORTS_MAX]; /* effective, of canaries */
	const struct pin *pins; /* already in the form of the service's client key */
	size_t pins_count;
	uint64_t secret_fingerprint;
	/* Of the segments that rules name, bits of class members; -1: of the default rule. */
	int8_t rule_segments[RULES_MAX];
	uint64_t segments_digest; /* of the memberships and grouping that the service uses */
	uint32_t rule_groups[RULES_MAX];
	uint32_t no_rule_group;
	uint8_t lanes[COHORTS_MAX];
	const uint16_t *backend_numbers; /* of the cohorts' backends, one cohort after the other */
	const uint32_t *backend_counters;
	const uint8_t *backend_health; /* enum backend_health of each; NULL: all serve */
	/* Of the service's rollout. Shares and pins are what holds without a latch. */
	uint8_t rollout_cohort; /* the canary that it is about; 0: there is none */
	uint8_t latched;	/* bit c: canary c is latched at control ... */
	bool is_lease_latch;	/* ... by the end of its lease, else by a rollback */
	uint64_t lease_ms;	/* of rollout_cohort, 0: it has none */
	/* Whose clients are followed: those of rollout_cohort, and control_factor times of
	 * control's.
	 */
	bool tracked;
	uint32_t track; /* the service's element of map `tracked_services` */
	uint32_t control_factor;
};

/*
 * The classes and groups of the segment table that a view is to use, and what each was in the table
 * that the shown view uses. Class 0 and group 0 are those of clients that no table has.
 */
struct client_classes {
	uint32_t classes_count, groups_count; /* 0: there is no table */
	const __u64 *members;		      /* of each class: bits of segments */
	const __u64 *tokens;		      /* of each group, of the service's column; 0: none */
	const uint32_t *shown_classes, *shown_groups; /* NULL: it uses the same table */
	uint8_t table;				      /* its place in map `segment_tables` */
};

struct view_image {
	struct view view; /* rings[] count from 0; rules, backends, pins are left 0 */
	struct view_rule rules[VIEW_RULES]; /* behind the current ones those of the era's origin */
	size_t rules_count;
	int8_t rule_segments[RULES_MAX]; /* as in the input */
	bool has_groups;		 /* the service groups its clients */
	uint32_t *classes;		 /* view.classes_count of them; NULL: none */
	struct group_entry *groups;	 /* view.groups_count of them; NULL: none */
	struct backend_line *backends;	 /* by number, without next hops; unused numbers are zero */
	size_t backends_count;
	struct pin_range *pins;
	struct server_id *server_ids; /* of its backends, one after the other */
	size_t server_ids_count;
	uint64_t lease_ms; /* as in the input; view.expiry is the publication's to give */
	uint32_t *slots;   /* NULL until compile_rings(); origin equals now */
	uint64_t content;  /* digest of all above but health: tells a new epoch */
};

/* Is canary @cohort of the view latched at control? */
static inline bool view_latches(const struct view *view, uint8_t cohort)
{
	return view->rollout >> ROLLOUT_LATCHED_SHIFT >> cohort & 1;
}

/* 0 or -ENOMEM. */
int compile_view(const struct compile_input *input, struct view_image *out);
/* Fills out->slots; apart, for it takes longest and is not needed to see that nothing has changed.
 */
/* The classes and groups of a table that is not folded with anything shown. -ENOMEM. */
int compile_classes(const struct client_classes *classes, struct view_image *out);
/* The index of the first rule that holds clients with these bits of segments, or the default. */
uint8_t first_rule(const struct view_image *image, uint64_t members);
int compile_rings(const struct compile_input *input, struct view_image *out);
void view_image_release(struct view_image *image);

#endif
