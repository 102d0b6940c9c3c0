// SPDX-License-Identifier: GPL-2.0-only
/* Findings of health checks: nobody who makes them, cohorts and backends that do not pass them. */
#include "observe/doctor_internal.h"

#include "daemon/presence.h"

static void examine_cohorts(struct findings *findings, const struct control *control,
			    const struct service *service)
{
	char object[2 * NAME_SIZE];

	for (size_t i = 0; i < service->cohorts_count; i++) {
		if (!cohort_is_dead(control, service, i))
			continue;
		snprintf(object, sizeof(object), "%s/%s", service->name, service->cohorts[i].name);
		finding_add(findings, "cohort_down", SEVERITY_ERROR, object, "look at its servers",
			    "%s", dead_cohort_text(i));
	}
}

static void examine_flapping(struct findings *findings, const struct control *control,
			     const struct service *service)
{
	char address[ADDRESS_TEXT_SIZE], object[NAME_SIZE + ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < service->cohorts_count; i++)
		for (size_t j = 0; j < service->cohorts[i].backends_count; j++) {
			const struct backend *backend = &service->cohorts[i].backends[j];
			const struct live_check *check = backend_check(control, service, backend);

			if (!check || !check->flapping)
				continue;
			snprintf(object, sizeof(object), "%s/%s", service->name,
				 address_format(&backend->address, address));
			finding_add(findings, "flapping", SEVERITY_WARNING, object,
				    "look at the server, or raise health_check/rise and fall",
				    "its checks changed too often: it is held down until the "
				    "transition has ended");
		}
}

void examine_checks(struct findings *findings, const struct control *control)
{
	bool has_daemon = presence_is_announced(control->place->state);

	for (size_t i = 0; i < control->policy->services_count; i++) {
		const struct service *service = &control->policy->services[i];

		if (service->health_check.type == CHECK_NONE)
			continue;
		if (!has_daemon)
			finding_add(findings, "checks", SEVERITY_WARNING, service->name,
				    "run `xdp-canary daemon`",
				    "has a health check, but no daemon checks: what was last found "
				    "holds");
		examine_cohorts(findings, control, service);
		examine_flapping(findings, control, service);
	}
}
