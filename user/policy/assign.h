/* SPDX-License-Identifier: GPL-2.0-only */
/* Which parts of the hash space shares give to canaries, whatever the service's hash. Pure. */
#ifndef XDP_CANARY_ASSIGN_H
#define XDP_CANARY_ASSIGN_H

#include "policy/policy.h"

struct canary_parts {
	struct interval parts[CANARIES_MAX]; /* of canary 1 first */
	unsigned int live;		     /* bit c - 1: canary c has one */
};

/* @shares_ppm: by cohort, the canaries' are read. */
void assign_parts(const struct service *service, const uint32_t shares_ppm[COHORTS_MAX],
		  struct canary_parts *out);
/* The cohort of a client at @hash: 0, the control, or a canary. */
size_t assign_cohort(const struct service *service, const uint32_t shares_ppm[COHORTS_MAX],
		     uint32_t hash);

#endif
