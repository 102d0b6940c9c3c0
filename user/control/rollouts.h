/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a rollout that is under way (running, paused, waiting) holds still (INTERFACE, section 6.6):
 * the section of its service but for backends and health checks, and who is in the segments and
 * groupings that the service decides by. Else its arms would change under the guard's eyes.
 */
#ifndef XDP_CANARY_CONTROL_ROLLOUTS_H
#define XDP_CANARY_CONTROL_ROLLOUTS_H

#include "control/control.h"

#include <jansson.h>

/* A segment that waits is looked at again so often: the end of a rollout tells nobody. */
#define REFRESH_HELD_NS (5 * 1000000000ULL)

struct rollout_hold {
	const struct service *service; /* NULL: nothing is held */
	uint64_t id;		       /* of its rollout */
};

/* *@id is the rollout of the service that is under way; 0: there is none. */
int control_active_rollout(const struct control *control, const char *service, uint64_t *id);
/* By which service of @policy the segment's membership is held. */
int control_segment_hold(const struct control *control, const struct policy *policy,
			 const char *segment, struct rollout_hold *out);
/* The same of a grouping. */
int control_grouping_hold(const struct control *control, const struct policy *policy,
			  const char *column, struct rollout_hold *out);
/* Does some rule of the service ask for the segment? */
bool service_uses_segment(const struct service *service, const char *segment);

/*
 * Names of the segments whose refresh has come and waits for the service's rollout, for `rollout
 * status`: a new JSON array, empty where no rollout is under way. 0, or a negative errno.
 */
int control_refresh_waiting(struct control *control, const struct service *service, json_t **out);

#endif
