// SPDX-License-Identifier: GPL-2.0-only
/* What is in force: the file's base shares, under live shares, under latches. Pure. */
#include "control/control.h"

#include "allocation.h"

bool service_is_latched(const struct control *control, const struct service *service)
{
	const struct live_service *live = live_service_of(&control->live, service->name);

	return live && live->latch != LATCH_NONE;
}

uint32_t effective_share(const struct control *control, const struct service *service, size_t rule,
			 size_t cohort)
{
	const struct live_share *live;

	if (service_is_latched(control, service))
		return 0;
	live = live_share_of(&control->live, service->name, service->rules[rule].name,
			     service->cohorts[cohort].name);
	return live ? live->ppm : service->rules[rule].base_ppm[cohort];
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
