/* SPDX-License-Identifier: GPL-2.0-only */
/* What /metrics and doctor say of segments. */
#ifndef XDP_CANARY_OBSERVE_SEGMENTS_H
#define XDP_CANARY_OBSERVE_SEGMENTS_H

#include "control/control.h"

#include <stdio.h>

struct segment_head {
	const struct segment *segment;
	bool is_known;		      /* else it was never computed */
	struct membership membership; /* without its members */
};

/* One of each segment of the policy, in its order; *@out is malloc()ed. */
int segment_heads(struct control *control, struct segment_head **out);
void segment_heads_release(struct segment_head *heads, size_t count);

/*
 * Families segment_clients, segment_version, segment_age_seconds and drift_psi. Drift is that of
 * the time when a segment of the model was computed last: to compute it takes reading the
 * catalogue.
 */
void segment_metrics(FILE *out, const struct policy *policy, const struct segment_head *heads,
		     uint64_t now_ns);

#endif
