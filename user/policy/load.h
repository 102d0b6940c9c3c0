/* SPDX-License-Identifier: GPL-2.0-only */
/* What `max_load` is about: how much more a canary's backend has to carry. Pure. */
#ifndef XDP_CANARY_POLICY_LOAD_H
#define XDP_CANARY_POLICY_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The load that a unit of the canary's live weight would carry with @shares (ppm by rule), in units
 * of what the control's carry when no canary has a share. @traffic: what each rule decides (flows,
 * or any measure in proportion); all 0: as if the rule with the greatest share decided all.
 * @canary_weight, @control_weight: of serving backends. INFINITY: the canary has none; NAN: the
 * control has none.
 */
double rollout_load(const uint32_t *shares, const double *traffic, size_t rules,
		    uint64_t canary_weight, uint64_t control_weight);

/* Whether that is to be warned of: with @max_load 0 from 1 on. NAN, which is unknown, is not. */
bool load_is_heavy(double load, double max_load);

#endif
