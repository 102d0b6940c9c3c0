// SPDX-License-Identifier: GPL-2.0-only
#include "policy/load.h"

#include "allocation.h"

#include <math.h>

/* Shares and weights are whole numbers; what is equal in them may differ in its last bits here. */
#define TOLERANCE 1e-9

double rollout_load(const uint32_t *shares, const double *traffic, size_t rules,
		    uint64_t canary_weight, uint64_t control_weight)
{
	double all = 0, canary = 0, greatest = 0;

	for (size_t i = 0; i < rules; i++) {
		double share = (double)shares[i] / PPM;

		all += traffic[i];
		canary += traffic[i] * share;
		greatest = fmax(greatest, share);
	}
	canary = all > 0 ? canary / all : greatest;
	if (!control_weight)
		return NAN;
	if (!canary_weight)
		return INFINITY;
	return canary / (double)canary_weight * (double)control_weight;
}

bool load_is_heavy(double load, double max_load)
{
	return load > (max_load > 0 ? max_load : 1) * (1 + TOLERANCE);
}
