// SPDX-License-Identifier: GPL-2.0-only
#include "observe/rotation.h"

#include "observe/features.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TAKE_RECORDS 65536 /* a step */
#define STAGE_ROWS   16384
#define NS_A_SECOND  1000000000ULL

enum phase { PHASE_TAKE, PHASE_FREE, PHASE_SORT, PHASE_STAGE, PHASE_SHOW, PHASE_DONE };

struct rotation {
	struct place place;
	const struct actor *actor;
	struct datapath *datapath;
	struct window window;
	struct observed_take take;
	enum phase phase;
	size_t staged;
	struct client_features rows[STAGE_ROWS];
};

/* ---- when ---- */

static uint64_t length_of(const struct control *control)
{
	return control->policy->observe.window_ms / 1000;
}

/* Seconds that are left; 0: it is over. -ENODATA: nothing is observed. */
static int time_left(struct control *control, struct window *window, uint64_t *seconds)
{
	uint64_t length = length_of(control), passed;
	int error = -ENODATA;

	if (control->datapath && control->policy->observe.is_on)
		error = window_running(control->datapath, window, control->errors);
	if (error)
		return error;
	passed = window->to - window->from;
	*seconds = passed < length ? length - passed : 0;
	return 0;
}

uint64_t rotation_due(struct control *control)
{
	struct window window;
	uint64_t seconds;

	if (time_left(control, &window, &seconds))
		return UINT64_MAX;
	return monotonic_now_ns() + seconds * NS_A_SECOND;
}

uint64_t rotation_overdue(struct control *control)
{
	struct window window;
	uint64_t seconds, passed;

	if (time_left(control, &window, &seconds))
		return 0;
	passed = window.to - window.from;
	return passed > length_of(control) ? passed - length_of(control) : 0;
}

/* ---- begin and end ---- */

/* Under the lock, so that of two who find the window over one takes it. */
static int begin_next(struct control *control, struct window *window)
{
	uint64_t seconds;
	int error = time_left(control, window, &seconds);

	if (error)
		return error == -ENODATA ? -EAGAIN : error;
	if (seconds)
		return -EAGAIN;
	__atomic_store_n(&datapath_box(control->datapath)->observed_since, window->to,
			 __ATOMIC_RELAXED);
	return 0;
}

int rotation_begin(const struct place *place, const struct actor *actor, struct rotation **out,
		   struct errors *errors)
{
	struct rotation *rotation = calloc(1, sizeof(*rotation));
	struct control *control;
	int error;

	if (!rotation)
		return -ENOMEM;
	rotation->place = *place;
	rotation->actor = actor;
	error = datapath_open(place->pins, true, &rotation->datapath, errors);
	if (!error)
		error = control_open_write(place, actor, errors, &control);
	if (error) {
		datapath_close(rotation->datapath);
		free(rotation);
		return error == -ENOENT ? -EAGAIN : error;
	}
	error = begin_next(control, &rotation->window);
	control_close(control);
	if (error) {
		datapath_close(rotation->datapath);
		free(rotation);
		return error;
	}
	*out = rotation;
	return 0;
}

/* Or has it begun anew since, with other clients? */
static bool is_still_running(const struct rotation *rotation, const struct box *box)
{
	return box->observed_since == rotation->window.to &&
	       box->observe_prefix4 == rotation->window.prefix4 &&
	       box->observe_prefix6 == rotation->window.prefix6;
}

/* What was counted goes on to be counted. */
static void undo(struct rotation *rotation, struct errors *errors)
{
	struct box *box = datapath_box(rotation->datapath);
	size_t gone = rotation->take.list.count;

	if (is_still_running(rotation, box)) {
		box->observed_since = rotation->window.from;
		gone = observed_put_back(rotation->datapath, &rotation->take);
	}
	if (gone)
		errors_warn(errors, NULL, "observe", "see observe_overflow_total",
			    "of %zu clients it is lost what they did until now in this window: "
			    "their records are gone",
			    gone);
}

void rotation_end(struct rotation *rotation, struct errors *errors)
{
	if (!rotation)
		return;
	if (rotation->phase != PHASE_DONE)
		undo(rotation, errors);
	observed_take_release(&rotation->take);
	datapath_close(rotation->datapath);
	free(rotation);
}

uint64_t rotation_clients(const struct rotation *rotation)
{
	return rotation->take.list.count;
}

/* ---- steps ---- */

static int free_records(struct rotation *rotation, struct store *store, struct errors *errors)
{
	(void)store; /* of which the lock alone is needed */
	return observed_take_end(rotation->datapath, &rotation->take, errors);
}

static int stage_rows(struct rotation *rotation, struct store *store, struct errors *errors)
{
	const struct observed_list *list = &rotation->take.list;
	size_t left = list->count - rotation->staged;
	size_t count = left < STAGE_ROWS ? left : STAGE_ROWS;
	int error = features_of_all(store, &rotation->window, list->clients + rotation->staged,
				    count, rotation->rows, errors);

	if (!error)
		error = store_stage_features(store, rotation->rows, count, !rotation->staged,
					     errors);
	if (!error)
		error = store_commit(store, errors);
	if (!error)
		rotation->staged += count;
	return error;
}

static int show_rows(struct rotation *rotation, struct store *store, struct errors *errors)
{
	struct features_window window =
		window_in_store(&rotation->window, rotation->take.list.count);
	int error = store_show_features(store, &window, errors);

	return error ? error : store_commit(store, errors);
}

static int with_lock(struct rotation *rotation, struct errors *errors,
		     int (*step)(struct rotation *rotation, struct store *store,
				 struct errors *errors))
{
	struct store *store;
	int error = store_open_write(rotation->place.state, rotation->place.wait_ms,
				     rotation->actor, &store, errors);

	if (error)
		return error;
	error = step(rotation, store, errors);
	store_close(store);
	return error;
}

static int take_records(struct rotation *rotation, struct errors *errors)
{
	int more = observed_take_some(rotation->datapath, &rotation->take, TAKE_RECORDS);

	if (more < 0)
		return errors_add_code(errors, -more, "observe", "free some memory",
				       "the window's records cannot be taken: %s", strerror(-more));
	rotation->phase += !more;
	return 0;
}

static int do_step(struct rotation *rotation, struct errors *errors)
{
	int error;

	switch (rotation->phase) {
	case PHASE_TAKE:
		return take_records(rotation, errors);
	case PHASE_FREE:
		error = with_lock(rotation, errors, free_records);
		break;
	case PHASE_SORT:
		observed_merge(&rotation->take.list);
		error = 0;
		break;
	case PHASE_STAGE:
		error = with_lock(rotation, errors, stage_rows);
		if (!error && rotation->staged < rotation->take.list.count)
			return 0;
		break;
	default:
		error = with_lock(rotation, errors, show_rows);
	}
	rotation->phase += !error;
	return error;
}

int rotation_step(struct rotation *rotation, struct errors *errors)
{
	int error = do_step(rotation, errors);

	return error ? error : rotation->phase != PHASE_DONE;
}
