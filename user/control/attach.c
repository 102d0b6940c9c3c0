// SPDX-License-Identifier: GPL-2.0-only
/* Which interfaces are to be attached: those of the policy, unless the operator detached the box or
 * them. */
#include "control/control.h"

#include <net/if.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool interface_exists(const char *name)
{
	return if_nametoindex(name) != 0;
}

const struct live_interface *live_interface_of(const struct live *live, const char *name)
{
	size_t i;

	for (i = 0; i < live->interfaces_count; i++)
		if (!strcmp(live->interfaces[i].name, name))
			return &live->interfaces[i];
	return NULL;
}

static struct interface desired_interface(const struct policy *policy, const char *name)
{
	struct interface interface = {.mode = MODE_NATIVE};
	size_t i;

	for (i = 0; i < policy->interfaces_count; i++)
		if (!strcmp(policy->interfaces[i].name, name))
			return policy->interfaces[i];
	strncat(interface.name, name, sizeof(interface.name) - 1);
	return interface;
}

int control_attach(struct control *control, const char *name, uint32_t slot)
{
	struct interface interface = desired_interface(control->policy, name);
	char *path = secret_path(control->place, control->policy);
	struct siphash_key secret;
	int error = path ? secret_read(path, false, &secret, control->errors) : -ENOMEM;

	free(path);
	return error ? error
		     : link_attach(control->datapath, secret, &interface, slot, control->errors);
}

int control_attach_wanted(struct control *control)
{
	int error, first_error = 0;
	size_t i;

	for (i = 0; i < control->live.interfaces_count && !control->live.detached; i++) {
		const struct live_interface *live = &control->live.interfaces[i];

		if (!live->attached)
			continue;
		if (interface_exists(live->name))
			error = control_attach(control, live->name, live->slot);
		else
			error = errors_add_code(control->errors, ENODEV, live->name,
						"see `ip link`",
						"is to be attached, and is not there");
		if (!first_error)
			first_error = error;
	}
	return first_error;
}
