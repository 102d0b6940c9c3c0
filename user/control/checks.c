// SPDX-License-Identifier: GPL-2.0-only
/* What checks found is of a backend of a service that has checks: without either it is forgotten,
 * so that whoever comes back under that address is not judged by what was there before. */
#include "control/control_internal.h"

#include <errno.h>
#include <stdlib.h>

static void mark_checked(const struct control *control, const struct service *service,
			 bool *is_checked)
{
	for (size_t i = 0; i < service->cohorts_count; i++)
		for (size_t j = 0; j < service->cohorts[i].backends_count; j++) {
			const struct live_check *check =
				live_check_of(&control->live, service->name,
					      &service->cohorts[i].backends[j].address);

			if (check)
				is_checked[check - control->live.checks] = true;
		}
}

int checks_forget(struct control *control)
{
	const struct live *live = &control->live;
	bool *is_checked;
	int error = 0;

	if (!live->checks_count)
		return 0;
	is_checked = calloc(live->checks_count, sizeof(*is_checked));
	if (!is_checked)
		return -ENOMEM;
	for (size_t i = 0; i < control->policy->services_count; i++)
		if (control->policy->services[i].health_check.type != CHECK_NONE)
			mark_checked(control, &control->policy->services[i], is_checked);
	for (size_t i = 0; i < live->checks_count && !error; i++)
		if (!is_checked[i])
			error = store_drop_check(control->store, live->checks[i].service,
						 &live->checks[i].backend, control->errors);
	free(is_checked);
	return error;
}
