/* SPDX-License-Identifier: GPL-2.0-only */
/* What an apply refuses and warns of where clients are split by another tool's hash. */
#ifndef XDP_CANARY_PLAN_SPLIT_H
#define XDP_CANARY_PLAN_SPLIT_H

#include "cli/plan.h"
#include "policy/split.h"

/* Do clients get other places in the hash space? Salts, which our own hash has, are apart. */
bool hash_differs(const struct service *before, const struct service *after);
/* Of cohorts that another tool splits before and after. */
bool order_differs(const struct service *before, const struct service *after);

/* Of a service that the files split by another tool's hash. */
void check_split_service(const struct plan *plan, const struct plan_service *service);

#endif
