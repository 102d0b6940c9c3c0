// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whose clients are followed: those of a service whose rollout is under way or has succeeded, in an
 * element of map `tracked_services` of the rollout's own. And windows of the guard: where shares
 * change nothing counts from before the new view is shown until the next window has begun, so that
 * no event is counted under a share that it did not happen under.
 */
#include "control/control_internal.h"

#include "track/track.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_OF_TRACK_SIZE (NAME_SIZE + 24)

/* ---- the element ---- */

static const char *name_of_track(const struct live_service *live, char name[NAME_OF_TRACK_SIZE])
{
	snprintf(name, NAME_OF_TRACK_SIZE, "%s/%llu", live->name,
		 (unsigned long long)live->followed);
	return name;
}

int tracking_input(struct control *control, const struct service *service,
		   struct compile_input *input)
{
	const struct live_service *live = live_service_of(&control->live, service->name);
	char name[NAME_OF_TRACK_SIZE];
	bool is_new;
	int error;

	if (!live || !live->followed || !control->datapath)
		return 0;
	name_of_track(live, name);
	if (!control->writing) {
		error = store_find_number(control->store, NUMBER_TRACK, "", name, &input->track,
					  control->errors);
		input->tracked = !error;
		return error == -ENOENT ? 0 : error;
	}
	error = store_number(control->store, NUMBER_TRACK, "", name, track_limit(control->datapath),
			     &input->track, &is_new, control->errors);
	if (error)
		return error;
	if (is_new || !track_is_open(control->datapath, input->track)) {
		error = track_open(control->datapath, input->track, service);
		if (error)
			return errors_add_code(control->errors, -error, service->name, "try again",
					       "cannot begin to follow its clients: %s",
					       strerror(-error));
	}
	input->tracked = true;
	input->rollout_cohort = rollout_cohort_of(control, service);
	input->control_factor = service->rollout.guard.control_factor;
	return 0;
}

struct closing {
	struct control *control;
	char kept[NAME_OF_TRACK_SIZE];
};

static bool is_kept(const char *name, void *data)
{
	struct closing *closing = data;
	struct control *control = closing->control;
	uint32_t track;

	if (!strcmp(name, closing->kept))
		return true;
	if (control->datapath &&
	    !store_find_number(control->store, NUMBER_TRACK, "", name, &track, control->errors))
		track_close(control->datapath, track);
	return false;
}

int tracking_free(struct control *control, const struct service *service)
{
	const struct live_service *live = live_service_of(&control->live, service->name);
	struct closing closing = {.control = control};
	char prefix[NAME_SIZE + 1];

	snprintf(prefix, sizeof(prefix), "%s/", service->name);
	if (live && live->followed)
		name_of_track(live, closing.kept);
	return store_free_numbers(control->store, NUMBER_TRACK, "", prefix, is_kept, &closing,
				  control->errors);
}

/* ---- windows ---- */

int control_begin_window(struct control *control, const char *service, uint32_t window,
			 bool settles)
{
	struct begun_window *grown = reallocarray(control->windows, control->windows_count + 1,
						  sizeof(*control->windows));

	if (!grown)
		return -ENOMEM;
	control->windows = grown;
	grown += control->windows_count++;
	*grown = (struct begun_window){.number = window + 1, .settles = settles};
	snprintf(grown->service, sizeof(grown->service), "%s", service);
	return 0;
}

static bool is_followed(const struct view *view)
{
	return view && (view->rollout & ROLLOUT_TRACKED);
}

void windows_suspend(struct control *control)
{
	for (size_t i = 0; i < control->windows_count; i++) {
		const struct view *view = control_view(control, control->windows[i].service);

		if (control->windows[i].settles && is_followed(view))
			track_suspend(control->datapath, view->track);
	}
}

int windows_begin(struct control *control)
{
	uint64_t jiffies, settle;
	int error = 0;

	for (size_t i = 0; i < control->windows_count && !error; i++) {
		const struct begun_window *window = &control->windows[i];
		const struct service *service = policy_service(control->policy, window->service);
		const struct view *view = control_view(control, window->service);

		if (!service || !is_followed(view))
			continue;
		error = datapath_jiffies(control->datapath, &jiffies, control->errors);
		if (error)
			break;
		settle = window->settles ? jiffies_of_ms(service->rollout.settle_ms, jiffies_hz())
					 : TRACK_KEEP_FLOWS;
		track_begin_window(control->datapath, view->track, window->number, settle, jiffies);
	}
	control->windows_count = 0;
	return error;
}
