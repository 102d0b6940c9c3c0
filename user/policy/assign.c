// SPDX-License-Identifier: GPL-2.0-only
#include "policy/assign.h"

#include "allocation.h"
#include "policy/split.h"

void assign_parts(const struct service *service, const uint32_t shares_ppm[COHORTS_MAX],
		  struct canary_parts *out)
{
	*out = (struct canary_parts){0};
	if (is_split(service)) {
		const struct split split = split_of(service);

		out->live = split_parts(&split, shares_ppm, out->parts);
		return;
	}
	for (size_t canary = 1; canary < service->cohorts_count; canary++)
		if (share_interval(service->cohorts[canary].slot_start_ppm,
				   service->cohorts[canary].slot_ppm, shares_ppm[canary],
				   &out->parts[canary - 1]))
			out->live |= 1u << (canary - 1);
}

size_t assign_cohort(const struct service *service, const uint32_t shares_ppm[COHORTS_MAX],
		     uint32_t hash)
{
	struct canary_parts parts;

	assign_parts(service, shares_ppm, &parts);
	return interval_of(parts.parts, parts.live, hash);
}
