// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kill: one store to a pinned map, with no lock held. The cell counts kills, so that lifting one
 * does not lift a later one.
 */
#include "datapath/publish_internal.h"

#include <errno.h>
#include <string.h>

void service_kill(struct datapath *datapath, uint32_t slot)
{
	__atomic_add_fetch(&service_cells(datapath)[slot].killed, 1, __ATOMIC_SEQ_CST);
}

void service_keep_killed(struct datapath *datapath, uint32_t slot)
{
	uint32_t none = 0;

	__atomic_compare_exchange_n(&service_cells(datapath)[slot].killed, &none, 1, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

uint32_t service_kills(const struct datapath *datapath, uint32_t slot)
{
	return slot < datapath->maps[MAP_CELLS].entries
		       ? __atomic_load_n(&service_cells(datapath)[slot].killed, __ATOMIC_SEQ_CST)
		       : 0;
}

bool service_is_killed(const struct datapath *datapath, uint32_t slot)
{
	return service_kills(datapath, slot) != 0;
}

void service_lift_kill(struct datapath *datapath, uint32_t slot, uint32_t seen)
{
	__atomic_compare_exchange_n(&service_cells(datapath)[slot].killed, &seen, 0, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

int service_slot_by_name(const struct datapath *datapath, const char *name)
{
	uint32_t slot;

	for (slot = 0; slot < datapath->maps[MAP_CELLS].entries; slot++)
		if (datapath_view(datapath, slot) &&
		    !strncmp(service_names(datapath)[slot].text, name, NAME_SIZE))
			return slot;
	return -ENOENT;
}
