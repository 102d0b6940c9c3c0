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
	uint32_t rule_groups[RULES_MAX];
	uint32_t no_rule_group;
	uint8_t lanes[COHORTS_MAX];
	const uint16_t *backend_numbers; /* of the cohorts' backends, one cohort after the other */
	const uint32_t *backend_counters;
	const uint8_t *backend_health; /* enum backend_health of each; NULL: all serve */
};

struct view_image {
	struct view view; /* rings[] count from 0; rules, backends, pins are left 0 */
	struct view_rule rules[RULES_MAX];
	size_t rules_count;
	struct backend_line *backends; /* by number, without next hops; unused numbers are zero */
	size_t backends_count;
	struct pin_range *pins;
	struct server_id *server_ids; /* of its backends, one after the other */
	size_t server_ids_count;
	uint32_t *slots;  /* NULL until compile_rings(); origin equals now */
	uint64_t content; /* digest of all above but health: tells a new epoch */
};

/* 0 or -ENOMEM. */
int compile_view(const struct compile_input *input, struct view_image *out);
/* Fills out->slots; apart, for it takes longest and is not needed to see that nothing has changed.
 */
int compile_rings(const struct compile_input *input, struct view_image *out);
void view_image_release(struct view_image *image);

#endif
