// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/upkeep.h"

#include "util/text.h"

/* After a boot, or when an interface came back: maps and views as the store has them. */
static int restore(struct control *control)
{
	int error;

	if (!control->revision.number && !control->live.interfaces_count)
		return 0;
	error = control_load(control);
	return error ? error : control_publish(control);
}

static bool has_ended_pin(const struct control *control, uint64_t now)
{
	size_t i;

	for (i = 0; i < control->live.pins_count; i++)
		if (control->live.pins[i].expires_ns && control->live.pins[i].expires_ns <= now)
			return true;
	return false;
}

/* The kernel has let them go by its own clock; here they leave the store and the view. */
static int drop_ended_pins(struct control *control, uint64_t now)
{
	size_t i;
	int error = 0;

	for (i = 0; i < control->live.pins_count && !error; i++) {
		const struct live_pin *pin = &control->live.pins[i];

		if (!pin->expires_ns || pin->expires_ns > now)
			continue;
		error = store_drop_pin(control->store, pin->service, &pin->client, control->errors);
		if (!error)
			control->touched_all = true;
	}
	return error ? error : control_reload_live(control);
}

/* Whether an interface that is to be attached is not, though it is there. */
static bool needs_attaching(const struct control *control)
{
	size_t i;

	for (i = 0; i < control->live.interfaces_count && !control->live.detached; i++)
		if (control->live.interfaces[i].attached &&
		    link_state(control->place->pins, control->live.interfaces[i].name) ==
			    NOT_ATTACHED &&
		    interface_exists(control->live.interfaces[i].name))
			return true;
	return false;
}

/*
 * Eras that are over for packets, by the kernel's clock. Their services are shown again without
 * them, once: that gives back the transition table's room and the numbers of backends that left.
 */
static int touch_ended_eras(struct control *control)
{
	uint64_t now = 0;
	size_t i;
	int error = 0;

	for (i = 0; i < control->policy->services_count && !error; i++) {
		const char *name = control->policy->services[i].name;
		const struct view *view = control_view(control, name);

		if (!view || !(view->flags & VIEW_TRANSITION))
			continue;
		if (!now)
			error = datapath_jiffies(control->datapath, &now, control->errors);
		if (!error && era_is_over(view, now))
			error = control_touch(control, name);
	}
	return error;
}

static bool needs_restoring(const struct control *control, bool restore_is_due)
{
	return restore_is_due || control->touched_all || control->touched_count ||
	       needs_attaching(control);
}

int bring_up_to_date(struct control *control, bool *restore_is_due)
{
	uint64_t now = time_now_ns();
	int error = has_ended_pin(control, now) ? drop_ended_pins(control, now) : 0;

	if (!error)
		error = touch_ended_eras(control);
	if (error || !needs_restoring(control, *restore_is_due))
		return error;
	/* Health that a writer has stored, and died before it showed it, leaves no other trace. */
	if (*restore_is_due)
		error = control_touch(control, NULL);
	if (!error)
		error = restore(control);
	if (error)
		return error;
	*restore_is_due = false;
	control_attach_wanted(
		control); /* what cannot be attached is said, and keeps nothing else waiting */
	return 0;
}
