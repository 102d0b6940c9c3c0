// SPDX-License-Identifier: GPL-2.0-only
/* What is in force: the file's base shares, under live shares, under latches. Pure. */
#include "control/control.h"

#include "allocation.h"

#include <errno.h>

size_t rollout_cohort_of(const struct control *control, const struct service *service)
{
	const struct live_service *live = live_service_of(&control->live, service->name);
	int cohort = live && *live->rollout_cohort ? service_cohort(service, live->rollout_cohort)
						   : -ENOENT;

	return cohort > 0 ? (size_t)cohort : rollout_cohort(service);
}

bool cohort_is_latched(const struct control *control, const struct service *service, size_t cohort)
{
	const struct live_service *live = live_service_of(&control->live, service->name);

	if (!cohort || !live || live->latch == LATCH_NONE)
		return false;
	return live->latch == LATCH_KILLED || cohort == rollout_cohort_of(control, service);
}

uint64_t lease_in_force(const struct control *control, const struct service *service)
{
	const struct live_service *live = live_service_of(&control->live, service->name);

	return live && live->is_rolling && live->latch == LATCH_NONE ? service->rollout.lease_ms
								     : 0;
}

uint32_t given_share(const struct control *control, const struct service *service, size_t rule,
		     size_t cohort)
{
	const struct live_share *live =
		live_share_of(&control->live, service->name, service->rules[rule].name,
			      service->cohorts[cohort].name);

	return live ? live->ppm : service->rules[rule].base_ppm[cohort];
}

uint32_t effective_share(const struct control *control, const struct service *service, size_t rule,
			 size_t cohort)
{
	return cohort_is_latched(control, service, cohort)
		       ? 0
		       : given_share(control, service, rule, cohort);
}

uint32_t effective_control_share(const struct control *control, const struct service *service,
				 size_t rule)
{
	uint32_t rest = PPM;
	size_t cohort;

	for (cohort = 1; cohort < service->cohorts_count; cohort++)
		rest -= effective_share(control, service, rule, cohort);
	return rest;
}
