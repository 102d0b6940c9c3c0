/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flows and packets that each rule had given each cohort when the service's policy last
 * changed: kept in the store, so that the actual share since then can be told by whoever reads
 * counters later.
 */
#ifndef XDP_CANARY_BASELINE_H
#define XDP_CANARY_BASELINE_H

#include "observe/snapshot.h"

#define ACTUAL_SHARE_MIN 100 /* below, an actual share says nothing */

/* Remembers now; called by whoever publishes a new epoch of the service. */
int baseline_record(struct control *control, const struct service *service);

enum actual_of { ACTUAL_FLOWS, ACTUAL_PACKETS };

/*
 * The part of the flows, or packets, that rule @rule has given to cohort @cohort since the
 * baseline, in ppm; -ENODATA with fewer than ACTUAL_SHARE_MIN of them.
 */
int actual_share(struct control *control, const struct service_snapshot *service, size_t rule,
		 size_t cohort, enum actual_of of, uint32_t *ppm);

#endif
