// SPDX-License-Identifier: GPL-2.0-only
/* Opening a box: what is desired, what is live, what the kernel has. */
#include "control/control_internal.h"

#include "config/config.h"
#include "rollout/drive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int load_desired(struct control *control)
{
	char name[64];
	int error = store_revision(control->store, 0, &control->revision, control->errors);

	if (error == -ENOENT)
		return 0;
	if (error)
		return error;
	snprintf(name, sizeof(name), "revision %llu", (unsigned long long)control->revision.number);
	policy_free(control->policy);
	control->policy = config_parse_revision(control->revision.config, name, control->errors);
	return control->policy ? 0 : -EINVAL;
}

/* Who may read the state but not the maps sees the box as if nothing were loaded, and is told. */
static int open_datapath(struct control *control)
{
	bool writable = control->writing || control->is_following;
	int error = datapath_open(control->place->pins, writable, &control->datapath, NULL);

	if (!error || error == -ENOENT)
		return 0;
	if (!control->writing && (error == -EPERM || error == -EACCES)) {
		errors_warn(control->errors, NULL, control->place->pins, "run as root to see it",
			    "what is loaded cannot be read: %s", strerror(-error));
		return 0;
	}
	return datapath_open(control->place->pins, writable, &control->datapath, control->errors);
}

static int load_all(struct control *control)
{
	int error;

	control->policy = policy_new();
	if (!control->policy)
		return -ENOMEM;
	error = control->store ? load_desired(control) : 0;
	if (!error && control->store)
		error = store_live(control->store, &control->live, control->errors);
	if (error)
		return error;
	return open_datapath(control);
}

const struct view *control_view(const struct control *control, const char *service)
{
	const struct live_service *live = live_service_of(&control->live, service);

	return control->datapath && live ? datapath_view(control->datapath, live->slot) : NULL;
}

int control_reload_live(struct control *control)
{
	live_release(&control->live);
	return store_live(control->store, &control->live, control->errors);
}

void control_set_policy(struct control *control, struct policy *policy)
{
	cuts_follow(control, policy);
	policy_free(control->policy);
	control->policy = policy;
}

/* NULL: another than this writer, whose words nobody has kept. */
static const struct actor *killer_of(const char *service, const struct actor *actor)
{
	if (!actor->kills || (*actor->kills && strcmp(actor->kills, service)))
		return NULL;
	return actor;
}

/* A kill is one store to the kernel; whoever writes next remembers it for the next boot. */
static int record_kills(struct control *control, const struct actor *actor)
{
	bool found = false;
	int error = 0;
	size_t i;

	for (i = 0; control->datapath && i < control->live.services_count && !error; i++) {
		struct live_service *live = &control->live.services[i];

		if (live->latch == LATCH_KILLED ||
		    !service_is_killed(control->datapath, live->slot))
			continue;
		found = true;
		error = store_set_latch(control->store, live->name, LATCH_KILLED, control->errors);
		if (!error)
			error = store_audit(control->store, live->name, "{\"killed\":false}",
					    "{\"killed\":true}", control->errors);
		if (!error)
			error = control_touch(control, live->name);
		live->latch = LATCH_KILLED;
		if (!error) /* may read `live` again, in the same order */
			error = rollout_record_latch(control, live->name, LATCH_KILLED,
						     killer_of(live->name, actor));
	}
	return error || !found ? error : control_reload_live(control);
}

/* For readers: a kill counts from its store on, whether or not a writer has recorded it. */
static void see_kills(struct control *control)
{
	size_t i;

	for (i = 0; control->datapath && i < control->live.services_count; i++)
		if (service_is_killed(control->datapath, control->live.services[i].slot))
			control->live.services[i].latch = LATCH_KILLED;
	see_leases(control);
}

static struct control *control_new(const struct place *place, struct errors *errors)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return NULL;
	control->place = place;
	control->errors = errors;
	return control;
}

int control_open(const struct place *place, struct errors *errors, struct control **out)
{
	struct control *control = control_new(place, errors);
	int error = control ? store_open_read(place->state, &control->store, errors) : -ENOMEM;

	if (error == -ENOENT)
		error = 0;
	if (!error)
		error = load_all(control);
	if (error) {
		control_close(control);
	} else {
		see_kills(control);
		*out = control;
	}
	return error;
}

int control_open_following(const struct place *place, struct errors *errors, struct control **out)
{
	struct control *control = control_new(place, errors);
	int error;

	if (!control)
		return -ENOMEM;
	control->is_following = true;
	control->policy = policy_new();
	error = control->policy ? control_look_again(control, errors) : -ENOMEM;
	if (error)
		control_close(control);
	else
		*out = control;
	return error;
}

/* The policy is read where its revision is another one. */
static int look_at_desired(struct control *control)
{
	struct revision *newest = NULL;
	size_t count = 0;
	int error = store_history(control->store, 1, &newest, &count, control->errors);
	bool is_same = count && newest->number == control->revision.number;

	history_release(newest, count);
	if (error || !count || is_same)
		return error;
	revision_release(&control->revision);
	return load_desired(control);
}

void control_rest(struct control *control)
{
	store_close(control->store);
	control->store = NULL;
	control->errors = NULL;
}

int control_look_again(struct control *control, struct errors *errors)
{
	int error;

	control_rest(control);
	control->errors = errors;
	live_release(&control->live);
	error = store_open_read(control->place->state, &control->store, errors);
	if (error)
		return error == -ENOENT ? 0 : error;
	error = look_at_desired(control);
	if (!error)
		error = store_live(control->store, &control->live, errors);
	if (error)
		return error;
	if (control->datapath && !datapath_is_pinned(control->datapath)) {
		datapath_close(control->datapath);
		control->datapath = NULL;
	}
	error = control->datapath ? 0 : open_datapath(control);
	see_kills(control);
	return error;
}

int control_open_write(const struct place *place, const struct actor *actor, struct errors *errors,
		       struct control **out)
{
	struct control *control = control_new(place, errors);
	int error;

	if (!control)
		return -ENOMEM;
	control->writing = true;
	error = store_open_write(place->state, place->wait_ms, actor, &control->store, errors);
	if (!error)
		error = load_all(control);
	if (!error)
		error = record_kills(control, actor);
	if (!error)
		error = record_leases(control, true);
	if (error)
		control_close(control);
	else
		*out = control;
	return error;
}

void control_close(struct control *control)
{
	size_t i;

	if (!control)
		return;
	for (i = 0; i < control->touched_count; i++)
		free(control->touched[i]);
	if (control->has_made_maps)
		datapath_unmake(control->place->pins);
	datapath_close(control->datapath);
	live_release(&control->live);
	policy_free(control->policy);
	revision_release(&control->revision);
	store_close(control->store);
	free(control->touched);
	free(control->lifted);
	free(control->cuts);
	free(control->windows);
	free(control);
}
