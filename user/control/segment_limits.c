// SPDX-License-Identifier: GPL-2.0-only
/*
 * How much room segments and groupings take in the kernel's table: the union of all their members,
 * for the table has a client once, whatever it is in.
 */
#include "control/segments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct room {
	struct control *control;
	const struct policy *policy;
	struct client_form form;
	struct member *all; /* sorted */
	size_t count;
};

static int out_of_memory(const struct room *room)
{
	return errors_add_code(room->control->errors, ENOMEM, "segments", "free some memory",
			       "out of memory");
}

/* Merges the sorted @members in. */
static int add_members(struct room *room, const struct member *members, size_t count)
{
	struct member *merged = reallocarray(NULL, room->count + count + 1, sizeof(*merged));
	size_t i = 0, j = 0, used = 0;

	if (!merged)
		return out_of_memory(room);
	while (i < room->count || j < count) {
		int order = i == room->count ? 1
			    : j == count     ? -1
					     : member_compare(&room->all[i], &members[j]);

		merged[used++] = order <= 0 ? room->all[i] : members[j];
		i += order <= 0;
		j += order >= 0;
	}
	free(room->all);
	room->all = merged;
	room->count = used;
	return 0;
}

/* @object: what was added last. */
static int check(const struct room *room, const struct position *position, const char *object)
{
	const struct limits *limits = &room->policy->limits;
	size_t prefixes = membership_counts(room->all, room->count, room->form).prefixes;
	size_t clients = room->count - prefixes;
	const struct position *where = position && position->file ? position : NULL;

	if (clients > limits->segment_clients)
		errors_add(room->control->errors, where, object,
			   "raise the limit, or choose fewer clients",
			   "with it there are %zu clients in all segments together, more than "
			   "limits/segment_clients allows (%u)",
			   clients, limits->segment_clients);
	else if (prefixes > limits->segment_prefixes)
		errors_add(room->control->errors, where, object,
			   "raise the limit, or choose fewer prefixes",
			   "with it there are %zu prefixes in all segments together, more than "
			   "limits/segment_prefixes allows (%u)",
			   prefixes, limits->segment_prefixes);
	else
		return 0;
	return -E2BIG;
}

static int add_segment(struct room *room, const struct segment *segment)
{
	struct membership membership;
	char object[NAME_SIZE + 16];
	int error = store_membership(room->control->store, segment->name, true, &membership,
				     room->control->errors);

	if (error)
		return error == -ENOENT ? 0 : error;
	snprintf(object, sizeof(object), "segments/%s", segment->name);
	error = add_members(room, membership.members, membership.count);
	if (!error)
		error = check(room, &segment->position, object);
	membership_release(&membership);
	return error;
}

static int add_grouping(struct room *room, const struct service *service)
{
	struct grouping grouping;
	char object[NAME_SIZE + 32];
	struct member *members;
	int error = store_grouping(room->control->store, service->group_by, true, &grouping,
				   room->control->errors);

	if (error)
		return error == -ENOENT ? 0 : error;
	members = calloc(grouping.count + 1, sizeof(*members));
	for (size_t i = 0; members && i < grouping.count; i++)
		members[i] = grouping.clients[i].client;
	snprintf(object, sizeof(object), "services/%s/client/group_by", service->name);
	error = members ? add_members(room, members, grouping.count) : out_of_memory(room);
	if (!error)
		error = check(room, &service->where, object);
	free(members);
	grouping_release(&grouping);
	return error;
}

int control_check_segment_limits(struct control *control, const struct policy *policy)
{
	struct room room = {
		.control = control,
		.policy = policy,
		.form = box_client_form(policy),
	};
	int error = 0;

	for (size_t i = 0; i < policy->segments_count && !error; i++)
		error = add_segment(&room, &policy->segments[i]);
	for (size_t i = 0; i < policy->services_count && !error; i++)
		if (policy->services[i].group_by)
			error = add_grouping(&room, &policy->services[i]);
	free(room.all);
	return error;
}
