// SPDX-License-Identifier: GPL-2.0-only
#include "control/segments.h"

#include "control/rollouts.h"
#include "segment/definition.h"
#include "segment/overlap.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000ULL /* ns */

/* A freezing that is under way. */
struct freeze {
	struct control *control;
	const struct freeze_request *request;
	const struct policy *policy;
	struct segment_world world;
	struct siphash_key secret;
	uint64_t now_ns;
	struct freeze_report *report;
	bool has_computed;
};

const char *freeze_action_name(enum freeze_action action)
{
	static const char *const names[] = {
		[FREEZE_KEPT] = "kept",
		[FREEZE_ADDED] = "added",
		[FREEZE_COMPUTED] = "computed",
		[FREEZE_DROPPED] = "dropped",
	};

	return names[action];
}

void freeze_report_release(struct freeze_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->list[i].name);
	free(report->list);
	*report = (struct freeze_report){0};
}

static int out_of_memory(const struct freeze *freeze)
{
	return errors_add_code(freeze->control->errors, ENOMEM, "segments", "free some memory",
			       "out of memory");
}

/* NULL without memory. Valid until the next one. */
static struct freeze_result *add_result(struct freeze *freeze, const char *name, bool is_grouping)
{
	struct freeze_report *report = freeze->report;
	struct freeze_result *larger =
		reallocarray(report->list, report->count + 1, sizeof(*larger));

	if (!larger)
		return NULL;
	report->list = larger;
	larger[report->count] = (struct freeze_result){
		.name = strdup(name),
		.is_grouping = is_grouping,
	};
	return larger[report->count].name ? &larger[report->count++] : NULL;
}

/* ---- segments ---- */

static bool is_due(const struct segment *segment, const struct membership *head, uint64_t now_ns)
{
	return segment->refresh_ms && head->time_ns + segment->refresh_ms * MS <= now_ns;
}

/* @head NULL: it was never computed. */
static bool is_wanted(const struct freeze *freeze, const struct segment *segment,
		      const struct membership *head, uint64_t definition)
{
	switch (freeze->request->which) {
	case FREEZE_NAMED:
		return !strcmp(segment->name, freeze->request->name);
	case FREEZE_ALL:
		return true;
	case FREEZE_DUE:
		if (head && is_due(segment, head, freeze->now_ns))
			return true;
		break;
	case FREEZE_CHANGED:
		break;
	}
	return !head || head->definition != definition;
}

/* For a writer: made where it is absent, as by the first apply. */
static int need_secret(struct freeze *freeze)
{
	const struct control *control = freeze->control;
	char *path;
	int error;

	if (freeze->world.secret)
		return 0;
	path = secret_path(control->place, freeze->policy);
	if (!path)
		return out_of_memory(freeze);
	error = secret_read(path, !control->datapath, &freeze->secret, control->errors);
	free(path);
	if (!error)
		freeze->world.secret = &freeze->secret;
	return error;
}

/* Services whose rules ask for the segment decide anew. */
static int touch_users(struct freeze *freeze, const char *segment)
{
	int error = 0;

	for (size_t i = 0; i < freeze->policy->services_count && !error; i++) {
		const struct service *service = &freeze->policy->services[i];
		bool uses = false;

		for (size_t rule = 0; rule < service->rules_count; rule++)
			uses |= !strcmp(service->rules[rule].segment, segment);
		if (uses)
			error = control_touch(freeze->control, service->name);
	}
	return error;
}

static void compare(const struct membership *before, const struct membership *after,
		    struct freeze_result *result)
{
	result->count = after->count;
	result->added =
		members_missing(after->members, after->count, before->members, before->count);
	result->removed =
		members_missing(before->members, before->count, after->members, after->count);
	result->has_changed = result->added || result->removed;
}

static int compute_segment(struct freeze *freeze, const struct segment *segment,
			   struct freeze_result *result)
{
	struct control *control = freeze->control;
	struct membership before = {0}, after = {0};
	int error = segment->kind == SEGMENT_SAMPLE ? need_secret(freeze) : 0;

	if (!error)
		error = segment_compute(&freeze->world, segment, &after, control->errors);
	if (error)
		return error;
	error = store_membership(control->store, segment->name, true, &before, control->errors);
	if (!error || error == -ENOENT) {
		compare(&before, &after, result);
		error = store_set_membership(control->store, &after, &result->version,
					     control->errors);
	}
	/* A first membership is new to its users, even where nobody is in it. */
	if (!error && (result->has_changed || !before.version))
		error = touch_users(freeze, segment->name);
	freeze->has_computed = true;
	membership_release(&before);
	membership_release(&after);
	return error;
}

/*
 * Whether a rollout keeps what is asked for from being done: 1: it is left as it is until then; a
 * negative errno: refused, for somebody asked by name. What apply wants has been looked at by
 * plan_rollout.c.
 */
static int is_held(const struct freeze *freeze, const char *name, bool is_grouping)
{
	const struct freeze_request *request = freeze->request;
	struct rollout_hold hold;
	char object[512];
	int error;

	if (request->force || request->which == FREEZE_CHANGED)
		return 0;
	error = is_grouping ? control_grouping_hold(freeze->control, freeze->policy, name, &hold)
			    : control_segment_hold(freeze->control, freeze->policy, name, &hold);
	if (error || !hold.service)
		return error;
	if (request->which == FREEZE_DUE)
		return 1;
	snprintf(object, sizeof(object), is_grouping ? "groupings/%s" : "segments/%s", name);
	return errors_add_code(freeze->control->errors, EBUSY, object,
			       "wait for its end, or say --force",
			       "is in use by rollout %" PRIu64 " of service %s, which is under way",
			       hold.id, hold.service->name);
}

static int freeze_segment(struct freeze *freeze, const struct segment *segment)
{
	struct control *control = freeze->control;
	struct freeze_result *result = add_result(freeze, segment->name, false);
	struct membership head = {0};
	uint64_t definition;
	int error = control->store ? store_membership(control->store, segment->name, false, &head,
						      control->errors)
				   : -ENOENT;
	bool is_new = error == -ENOENT;
	int held = 1; /* or not wanted */

	if (!result)
		error = out_of_memory(freeze);
	else if (is_new)
		error = 0;
	if (!error && segment_definition(segment, freeze->world.form, &definition))
		error = out_of_memory(freeze);
	if (error)
		goto out;
	result->version = result->version_before = head.version;
	result->count = result->count_before = head.count;
	if (is_wanted(freeze, segment, is_new ? NULL : &head, definition))
		held = is_held(freeze, segment->name, false);
	if (held < 0)
		error = held;
	if (!held) {
		result->action = is_new ? FREEZE_ADDED : FREEZE_COMPUTED;
		if (!freeze->request->dry_run)
			error = compute_segment(freeze, segment, result);
	}
out:
	if (!is_new)
		membership_release(&head);
	return error;
}

/* Memberships whose definition is gone. */
static int drop_segments(struct freeze *freeze)
{
	struct control *control = freeze->control;
	struct membership *heads = NULL;
	size_t count = 0;
	int error = control->store
			    ? store_memberships(control->store, &heads, &count, control->errors)
			    : 0;

	for (size_t i = 0; i < count && !error; i++) {
		struct freeze_result *result;

		if (policy_segment(freeze->policy, heads[i].segment))
			continue;
		result = add_result(freeze, heads[i].segment, false);
		if (!result) {
			error = out_of_memory(freeze);
			break;
		}
		result->action = FREEZE_DROPPED;
		result->version_before = heads[i].version;
		result->count_before = result->removed = heads[i].count;
		result->has_changed = true;
		if (!freeze->request->dry_run)
			error = store_drop_membership(control->store, heads[i].segment,
						      control->errors);
	}
	memberships_release(heads, count);
	return error;
}

/* ---- groupings ---- */

/* Does a service before @index group by the column, too? */
static bool stands_before(const struct policy *policy, size_t index)
{
	const char *column = policy->services[index].group_by;

	for (size_t i = 0; i < index; i++)
		if (policy->services[i].group_by && !strcmp(policy->services[i].group_by, column))
			return true;
	return false;
}

static bool is_grouped_by(const struct policy *policy, const char *column)
{
	for (size_t i = 0; i < policy->services_count; i++)
		if (policy->services[i].group_by && !strcmp(policy->services[i].group_by, column))
			return true;
	return false;
}

static int touch_grouped(struct freeze *freeze, const char *column)
{
	int error = 0;

	for (size_t i = 0; i < freeze->policy->services_count && !error; i++) {
		const struct service *service = &freeze->policy->services[i];

		if (service->group_by && !strcmp(service->group_by, column))
			error = control_touch(freeze->control, service->name);
	}
	return error;
}

static bool groupings_equal(const struct grouping *a, const struct grouping *b)
{
	return a->count == b->count && a->texts_size == b->texts_size &&
	       (!a->texts_size || !memcmp(a->texts, b->texts, a->texts_size)) &&
	       (!a->count || !memcmp(a->clients, b->clients, a->count * sizeof(*a->clients)));
}

static int compute_grouping(struct freeze *freeze, const char *column,
			    const struct grouping *before, struct freeze_result *result)
{
	struct control *control = freeze->control;
	struct grouping after;
	int error = grouping_compute(&freeze->world, column, &after, control->errors);

	if (error)
		return error;
	result->count = after.count;
	result->version = before->version + 1;
	result->has_changed = !groupings_equal(before, &after);
	error = store_set_grouping(control->store, column, &after, control->errors);
	if (!error && (result->has_changed || !before->version))
		error = touch_grouped(freeze, column);
	freeze->has_computed = true;
	grouping_release(&after);
	return error;
}

static int freeze_grouping(struct freeze *freeze, const char *column)
{
	const struct freeze_request *request = freeze->request;
	struct control *control = freeze->control;
	struct freeze_result *result = add_result(freeze, column, true);
	struct grouping before = {0};
	int error = control->store
			    ? store_grouping(control->store, column, true, &before, control->errors)
			    : -ENOENT;

	if (!result)
		error = out_of_memory(freeze);
	if (error && error != -ENOENT)
		goto out;
	error = 0;
	result->version = result->version_before = before.version;
	result->count = result->count_before = before.count;
	if (before.version && request->which == FREEZE_ALL)
		error = is_held(freeze, column, true);
	if (error)
		goto out;
	if (!before.version || request->which == FREEZE_ALL || request->has_other_form) {
		result->action = before.version ? FREEZE_COMPUTED : FREEZE_ADDED;
		if (!request->dry_run)
			error = compute_grouping(freeze, column, &before, result);
	}
out:
	grouping_release(&before);
	return error;
}

/* Columns that no service groups by any more. */
static int drop_groupings(struct freeze *freeze)
{
	struct control *control = freeze->control;
	char **columns = NULL;
	size_t count = 0;
	int error = control->store
			    ? store_groupings(control->store, &columns, &count, control->errors)
			    : 0;

	for (size_t i = 0; i < count && !error; i++) {
		struct freeze_result *result;

		if (is_grouped_by(freeze->policy, columns[i]))
			continue;
		result = add_result(freeze, columns[i], true);
		if (!result) {
			error = out_of_memory(freeze);
			break;
		}
		result->action = FREEZE_DROPPED;
		if (!freeze->request->dry_run)
			error = store_drop_grouping(control->store, columns[i], control->errors);
	}
	for (size_t i = 0; i < count; i++)
		free(columns[i]);
	free(columns);
	return error;
}

static int freeze_groupings(struct freeze *freeze)
{
	const struct policy *policy = freeze->policy;
	int error = 0;

	for (size_t i = 0; i < policy->services_count && !error; i++)
		if (policy->services[i].group_by && !stands_before(policy, i))
			error = freeze_grouping(freeze, policy->services[i].group_by);
	return error ? error : drop_groupings(freeze);
}

/* ---- all of it ---- */

int control_freeze(struct control *control, const struct freeze_request *request,
		   struct freeze_report *out)
{
	const struct policy *policy = request->policy ? request->policy : control->policy;
	struct freeze freeze = {
		.control = control,
		.request = request,
		.policy = policy,
		.world = {.store = control->store,
			  .limits = &policy->limits,
			  .form = box_client_form(policy)},
		.now_ns = time_now_ns(),
		.report = out,
	};
	int error = 0;

	*out = (struct freeze_report){0};
	for (size_t i = 0; i < policy->segments_count && !error; i++)
		error = freeze_segment(&freeze, &policy->segments[i]);
	if (!error)
		error = drop_segments(&freeze);
	if (!error)
		error = freeze_groupings(&freeze);
	if (!error && !request->dry_run && (freeze.has_computed || request->has_other_limit))
		error = control_check_segment_limits(control, policy);
	return error;
}

struct segment_world control_world(const struct control *control, const struct policy *policy,
				   struct siphash_key *secret)
{
	struct segment_world world = {
		.store = control->store,
		.limits = &policy->limits,
		.form = box_client_form(policy),
	};
	char *path = secret_path(control->place, policy);

	if (path && !secret_read(path, false, secret, NULL))
		world.secret = secret;
	free(path);
	return world;
}

int membership_due(struct control *control, const struct segment *segment, uint64_t *due_ns)
{
	struct membership head;
	int error;

	*due_ns = UINT64_MAX;
	if (!segment->refresh_ms)
		return 0;
	error = store_membership(control->store, segment->name, false, &head, control->errors);
	if (!error) {
		*due_ns = head.time_ns + segment->refresh_ms * MS;
		membership_release(&head);
	} else if (error == -ENOENT) {
		*due_ns = 0;
		error = 0;
	}
	return error;
}

int control_refresh_due(struct control *control, const struct segment *segment, uint64_t *due_ns)
{
	const struct policy *policy = control->policy;
	uint64_t now = time_now_ns();
	int error = 0;

	*due_ns = UINT64_MAX;
	for (size_t i = 0; i < policy->segments_count && !error; i++) {
		const struct segment *one = &policy->segments[i];
		struct rollout_hold hold = {0};
		uint64_t due;

		if (segment && segment != one)
			continue;
		error = membership_due(control, one, &due);
		if (!error && due <= now)
			error = control_segment_hold(control, policy, one->name, &hold);
		if (hold.service)
			due = now + REFRESH_HELD_NS;
		if (due < *due_ns)
			*due_ns = due;
	}
	return error;
}

/* ---- the audit ---- */

static json_t *side_to_json(uint64_t version, size_t count)
{
	return version ? json_pack("{s:I, s:I}", "version", (json_int_t)version, "clients",
				   (json_int_t)count)
		       : json_null();
}

static int write_audit(struct control *control, json_t *before, json_t *after)
{
	char *old = json_dumps(before, JSON_COMPACT), *new = json_dumps(after, JSON_COMPACT);
	int error =
		old && new ? store_audit(control->store, "", old, new, control->errors) : -ENOMEM;

	free(old);
	free(new);
	return error;
}

int freeze_audit(struct control *control, const struct freeze_report *report)
{
	json_t *before = json_object(), *after = json_object();
	int error = before && after ? 0 : -ENOMEM;

	for (size_t i = 0; i < report->count && !error; i++) {
		const struct freeze_result *result = &report->list[i];
		char key[512];

		if (result->action == FREEZE_KEPT)
			continue;
		snprintf(key, sizeof(key), result->is_grouping ? "groupings/%s" : "memberships/%s",
			 result->name);
		if (json_object_set_new(
			    before, key,
			    side_to_json(result->version_before, result->count_before)) ||
		    json_object_set_new(after, key,
					result->action == FREEZE_DROPPED
						? json_null()
						: side_to_json(result->version, result->count)))
			error = -ENOMEM;
	}
	if (!error && json_object_size(after))
		error = write_audit(control, before, after);
	json_decref(before);
	json_decref(after);
	return error;
}
