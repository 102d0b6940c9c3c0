// SPDX-License-Identifier: GPL-2.0-only
/* What the packet path cannot see, for no packet came: who waits too long; and to whom it happened.
 */
#include "daemon/rollouts_internal.h"

#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_US      500000ULL
#define SWEEP_STEP_US 2000ULL /* between two steps of a sweep: others have their turn */

/* ---- whom what happened to ---- */

static int note_client(const struct tracked_event *event, void *data)
{
	struct rollouts *rollouts = data;
	struct member client;
	size_t cohort;

	for (size_t i = 0; i < rollouts->count; i++) {
		struct watched *watched = rollouts->list[i];
		const struct service *service =
			policy_service(rollouts->control->policy, watched->followed.service);
		const struct view *view =
			service ? control_view(rollouts->control, service->name) : NULL;

		if (!view || !(view->rollout & ROLLOUT_TRACKED) || view->track != event->track)
			continue;
		client = member_of(&event->client);
		cohort = event->arm == TRACK_CANARY ? rollout_cohort(service) : 0;
		return watched_note_client(watched, &client, &service->cohorts[cohort],
					   kernel_metric_name(event->metric), time_now_ns());
	}
	return 0;
}

void rollouts_note_clients(struct rollouts *rollouts)
{
	if (rollouts->control->datapath)
		track_each_new_event(rollouts->control->datapath, note_client, rollouts);
}

/* ---- the sweep ---- */

static int sweep_step(struct rollouts *rollouts)
{
	struct control *control = rollouts->control;
	uint64_t jiffies;
	int more;

	if (!rollouts->count || !control || !control->datapath)
		return 0;
	if (!rollouts->sweep && track_sweep_new(control->datapath, &rollouts->sweep))
		return 0;
	if (datapath_jiffies(control->datapath, &jiffies, control->errors))
		return 0;
	more = track_sweep_step(rollouts->sweep, control->datapath, jiffies);
	if (!more)
		rollouts_note_clients(rollouts);
	return more;
}

static int on_sweep(sd_event_source *source, uint64_t time, void *data)
{
	int more = sweep_step(data);

	(void)time;
	sd_event_source_set_time_relative(source, more > 0 ? SWEEP_STEP_US : SWEEP_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int sweep_start(struct rollouts *rollouts)
{
	return sd_event_add_time_relative(rollouts->event, &rollouts->timer, CLOCK_MONOTONIC,
					  SWEEP_US, 0, on_sweep, rollouts);
}

void sweep_stop(struct rollouts *rollouts)
{
	sd_event_source_disable_unref(rollouts->timer);
	track_sweep_free(rollouts->sweep);
}
