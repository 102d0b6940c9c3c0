// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leases that have ended, which nobody was there to see: the kernel decides that by its clock
 * (bpf/lease.h), and whoever writes next finds it and latches the canary. Over a boot the kernel
 * forgets; what is left then is a note of when the daemon renewed it, in CLOCK_REALTIME:
 *
 *   note lease/SERVICE   {"renewed_ns": N}
 *
 * It is at most lease_note_ms() older than the last renewal, so a box counts as away a little
 * longer than it was: a rollout may find its lease ended though it had a moment left, never the
 * other way round. A clock that has gone back tells nothing: ended.
 */
#include "control/control_internal.h"

#include "rollout/drive.h"
#include "util/text.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define NOTES_A_LEASE 4
#define NOTE_LEAST_MS 1000
#define NOTE_MOST_MS  10000
#define NS_PER_MS     1000000ULL
#define KEY_SIZE      (NAME_SIZE + 8)

/* ---- the note ---- */

uint64_t lease_note_ms(uint64_t lease_ms)
{
	uint64_t part = lease_ms / NOTES_A_LEASE;

	return part < NOTE_LEAST_MS ? NOTE_LEAST_MS : part > NOTE_MOST_MS ? NOTE_MOST_MS : part;
}

static const char *key_of(const char *service, char key[KEY_SIZE])
{
	snprintf(key, KEY_SIZE, "lease/%s", service);
	return key;
}

int lease_note(struct store *store, const char *service, struct errors *errors)
{
	char key[KEY_SIZE], text[64];

	snprintf(text, sizeof(text), "{\"renewed_ns\":%llu}", (unsigned long long)time_now_ns());
	return store_set_note(store, key_of(service, key), text, errors);
}

/* *@ns is 0 where there is none. */
static int read_note(struct control *control, const char *service, uint64_t *ns)
{
	char key[KEY_SIZE], *text = NULL;
	int error = store_note(control->store, key_of(service, key), &text, control->errors);
	json_t *note;

	*ns = 0;
	if (error)
		return error == -ENOENT ? 0 : error;
	note = json_loads(text, 0, NULL);
	*ns = json_integer_value(json_object_get(note, "renewed_ns"));
	json_decref(note);
	free(text);
	return 0;
}

/* ---- has it ended? ---- */

struct search {
	struct errors *errors;
	bool with_notes;   /* services that the kernel does not know are asked the store for */
	uint64_t jiffies;  /* now; 0: not asked yet */
	uint64_t ended_ns; /* CLOCK_REALTIME; 0: it has not */
};

/* The maps are those of before: the kernel knows. Who may not ask it for the time sees its mark. */
static void ask_kernel(const struct control *control, const struct view *view,
		       struct search *search)
{
	uint64_t end = view->expiry & LEASE_ENDS, ago;

	if (!search->jiffies)
		datapath_jiffies(control->datapath, &search->jiffies, search->errors);
	if (!lease_has_ended(view, search->jiffies))
		return;
	ago = search->jiffies > end ? search->jiffies - end : 0;
	search->ended_ns = time_now_ns() - ago * 1000 / jiffies_hz() * NS_PER_MS;
}

/* They are new, or yet to be made. */
static int ask_note(struct control *control, const struct service *service, struct search *search)
{
	uint64_t lease_ns = lease_in_force(control, service) * NS_PER_MS, renewed,
		 now = time_now_ns();
	int error = lease_ns ? read_note(control, service->name, &renewed) : 0;

	if (error || !lease_ns)
		return error;
	if (now < renewed || now - renewed >= lease_ns)
		search->ended_ns = now < renewed ? now : renewed + lease_ns;
	return 0;
}

static int look(struct control *control, const struct service *service, struct search *search)
{
	const struct live_service *live = live_service_of(&control->live, service->name);
	const struct view *view = control_view(control, service->name);

	search->ended_ns = 0;
	if (!live || live->latch != LATCH_NONE || is_lifted(control, service->name))
		return 0;
	if (!view)
		return search->with_notes ? ask_note(control, service, search) : 0;
	if (view->expiry != LEASE_NONE)
		ask_kernel(control, view, search);
	return 0;
}

/* Of live flows nothing is to be taken: the view that comes goes on from what the kernel did. */
static int record(struct control *control, const struct service *service, uint64_t ended_ns)
{
	char after[128], time[TEXT_VALUE_SIZE];
	char object[NAME_SIZE + 16];
	int error;

	snprintf(object, sizeof(object), "services/%s", service->name);
	errors_warn(control->errors, NULL, object, "see `rollout retry` and `rollout reset`",
		    "the lease of cohort `%s` ended at %s, for nothing renewed it: its clients are "
		    "at control",
		    service->cohorts[rollout_cohort_of(control, service)].name,
		    text_format_time(ended_ns, time));
	snprintf(after, sizeof(after), "{\"latch\":\"lease_expired\",\"lease_ended\":\"%s\"}",
		 time);
	error = store_set_latch(control->store, service->name, LATCH_LEASE_EXPIRED,
				control->errors);
	if (!error)
		error = store_audit(control->store, service->name, "{\"latch\":null}", after,
				    control->errors);
	if (!error)
		error = control_touch(control, service->name);
	if (!error)
		error = control_reload_live(control);
	return error ? error
		     : rollout_record_latch(control, service->name, LATCH_LEASE_EXPIRED, NULL);
}

int record_leases(struct control *control, bool with_notes)
{
	struct search search = {.errors = control->errors, .with_notes = with_notes};
	size_t i;
	int error = 0;

	for (i = 0; i < control->policy->services_count && !error; i++) {
		const struct service *service = &control->policy->services[i];

		error = look(control, service, &search);
		if (!error && search.ended_ns)
			error = record(control, service, search.ended_ns);
	}
	return error;
}

void see_leases(struct control *control)
{
	struct search search = {.with_notes = true};
	size_t i;

	for (i = 0; control->store && i < control->policy->services_count; i++) {
		const struct service *service = &control->policy->services[i];

		if (!look(control, service, &search) && search.ended_ns)
			live_service_of(&control->live, service->name)->latch = LATCH_LEASE_EXPIRED;
	}
}
