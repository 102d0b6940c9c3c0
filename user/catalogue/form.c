// SPDX-License-Identifier: GPL-2.0-only
#include "catalogue/catalogue.h"

#include "policy/policy.h"

struct client_form box_client_form(const struct policy *policy)
{
	struct client_form form = {0};

	if (!policy->services_count)
		return (struct client_form){.prefix4 = 32, .prefix6 = 64};
	for (size_t i = 0; i < policy->services_count; i++) {
		const struct service *service = &policy->services[i];

		if (service->prefix4 > form.prefix4)
			form.prefix4 = service->prefix4;
		if (service->prefix6 > form.prefix6)
			form.prefix6 = service->prefix6;
	}
	return form;
}
