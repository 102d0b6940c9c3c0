/* SPDX-License-Identifier: GPL-2.0-only */
/* What windows.c, sweep.c and events.c share: the records, and counting a first as the program
 * does. */
#ifndef XDP_CANARY_TRACK_INTERNAL_H
#define XDP_CANARY_TRACK_INTERNAL_H

#include "track/track.h"

#define load(pointer)	      __atomic_load_n(pointer, __ATOMIC_RELAXED)
#define load_acquire(pointer) __atomic_load_n(pointer, __ATOMIC_ACQUIRE)
#define store(pointer, value) __atomic_store_n(pointer, value, __ATOMIC_RELEASE)
#define add(pointer, number)  __atomic_fetch_add(pointer, number, __ATOMIC_RELAXED)
#define swap(pointer, from, to)                                                                    \
	({                                                                                         \
		__typeof__(*(pointer)) expected_ = (from);                                         \
		__atomic_compare_exchange_n(pointer, &expected_, to, false, __ATOMIC_SEQ_CST,      \
					    __ATOMIC_RELAXED);                                     \
	})

static inline struct tracked_service *tracked_service(const struct datapath *datapath,
						      uint32_t track)
{
	return map_part(datapath, MAP_TRACKED_SERVICES, struct tracked_service, track, 1);
}

static inline struct tracked_client *tracked_client(const struct datapath *datapath,
						    uint32_t number)
{
	return map_part(datapath, MAP_TRACKED_CLIENTS, struct tracked_client, number, 1);
}

static inline struct tracked_flow *tracked_flow(const struct datapath *datapath, uint32_t number)
{
	return map_part(datapath, MAP_TRACKED_FLOWS, struct tracked_flow, number, 1);
}

/* Nothing counts in the record any more. @seen: its word until now; false: somebody just counted.
 */
bool track_close_client(struct tracked_client *client, uint64_t seen);
/* Of records that are dying, after a grace period. false: they are not. */
bool track_free_client(struct tracked_client *client);
bool track_free_flow(struct tracked_flow *flow);
/* A grace period. */
void track_wait_for_runs(const struct datapath *datapath);

#endif
