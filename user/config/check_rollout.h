/* SPDX-License-Identifier: GPL-2.0-only */
/* The parts of the check of a rollout. */
#ifndef XDP_CANARY_CHECK_ROLLOUT_H
#define XDP_CANARY_CHECK_ROLLOUT_H

#include "config/check.h"

/* @path leads to the rollout. Where the file names no metrics, the default ones are made. */
void check_metrics(struct check *check, struct service *service, const struct path *path);

#endif
