/* SPDX-License-Identifier: GPL-2.0-only */
/* The rollouts that are simulated: the long form all, with many runs, the short form some, with
 * few. */
#ifndef XDP_CANARY_TESTS_SCENARIOS_H
#define XDP_CANARY_TESTS_SCENARIOS_H

#include "simulation.h"

static const struct plan ramp_1_10_50 = {{{.01, 2}, {.1, 6}, {.5, 16}}, 3};
static const struct plan ramp_1_5_25_50 = {{{.01, 2}, {.05, 4}, {.25, 6}, {.5, 12}}, 4};
static const struct plan five_days = {{{.1, 12}, {.5, 108}}, 2};
static const struct plan a_day_at_25 = {{{.25, 24}}, 1};
static const struct plan a_day_at_10 = {{{.1, 24}}, 1};

/* alpha + 3 SE of so many runs. */
double bound(double level, unsigned int runs);

#endif
