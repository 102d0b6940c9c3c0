// SPDX-License-Identifier: GPL-2.0-only
#include "segment/compute.h"

#include "segment/compute_internal.h"
#include "segment/definition.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int draft_memory(struct draft *draft)
{
	return errors_add_code(draft->errors, ENOMEM, draft->object, "free some memory",
			       "out of memory");
}

int draft_add(struct draft *draft, const struct member *member)
{
	struct prefix prefix = member_prefix(member);

	if (draft->count == draft->room) {
		size_t room = draft->room ? 2 * draft->room : 256;
		struct member *larger = reallocarray(draft->members, room, sizeof(*larger));

		if (!larger)
			return draft_memory(draft);
		draft->members = larger;
		draft->room = room;
	}
	prefix = prefix_shorten(&prefix, draft->world->form.prefix4, draft->world->form.prefix6);
	draft->members[draft->count++] = member_of(&prefix);
	return 0;
}

void draft_settle(struct draft *draft)
{
	size_t i = 1;

	/* Rows of the catalogue come in their order: then there is nothing to be sorted. */
	while (i < draft->count && member_compare(&draft->members[i - 1], &draft->members[i]) < 0)
		i++;
	if (i < draft->count)
		draft->count = members_sort(draft->members, draft->count);
}

json_int_t share_ppm(uint64_t part, uint64_t whole)
{
	return whole ? (json_int_t)((double)part * 1e6 / (double)whole + 0.5) : 0;
}

static int compute_cidrs(struct draft *draft)
{
	const struct segment *segment = draft->segment;
	int error = 0;

	for (size_t i = 0; i < segment->cidrs_count && !error; i++) {
		struct member member = member_of(&segment->cidrs[i]);

		error = draft_add(draft, &member);
	}
	return error;
}

static int compute_kind(struct draft *draft)
{
	switch (draft->segment->kind) {
	case SEGMENT_CIDRS:
		return compute_cidrs(draft);
	case SEGMENT_FILE:
		return compute_file(draft);
	case SEGMENT_WHERE:
		return compute_where(draft);
	case SEGMENT_BINS:
		return compute_bins(draft);
	case SEGMENT_MODEL:
		return compute_model(draft);
	case SEGMENT_SAMPLE:
		return compute_sample(draft);
	}
	return -EINVAL;
}

/*
 * What is wrong with a segment, with its name and its place in the file where the error, of a model
 * perhaps, has none of its own.
 */
static void give_place(const json_t *list, const struct segment *segment, bool is_warning,
		       struct errors *errors)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		const char *file = json_string_value(json_object_get(entry, "file"));
		struct position own = {
			.file = file,
			.line = json_integer_value(json_object_get(entry, "line")),
			.column = json_integer_value(json_object_get(entry, "column")),
		};
		const struct position *where = file			? &own
					       : segment->position.file ? &segment->position
									: NULL;
		const char *object = json_string_value(json_object_get(entry, "object"));
		const char *message = json_string_value(json_object_get(entry, "message"));
		const char *hint = json_string_value(json_object_get(entry, "hint"));
		char name[NAME_SIZE + 16];

		snprintf(name, sizeof(name), "segments/%s", segment->name);
		if (strncmp(object, name, strlen(name)))
			object = name;
		if (is_warning)
			errors_warn(errors, where, object, hint, "%s", message);
		else
			errors_add(errors, where, object, hint, "%s", message);
	}
}

static void place_errors(struct errors *found, const struct segment *segment, struct errors *errors)
{
	json_t *report = errors_to_json(found), *warnings = errors_warnings_to_json(found);

	give_place(json_object_get(report, "errors"), segment, false, errors);
	give_place(warnings, segment, true, errors);
	json_decref(report);
	json_decref(warnings);
	errors_free(found);
}

int segment_compute(const struct segment_world *world, const struct segment *segment,
		    struct membership *out, struct errors *errors)
{
	struct draft draft = {
		.world = world,
		.segment = segment,
		.errors = errors_new(),
		.detail = json_object(),
	};
	int error = draft.errors && draft.detail ? 0 : -ENOMEM;

	*out = (struct membership){0};
	snprintf(draft.object, sizeof(draft.object), "segments/%s", segment->name);
	if (!error)
		error = segment_definition(segment, world->form, &out->definition);
	if (!error)
		error = compute_kind(&draft);
	if (!error) {
		draft_settle(&draft);
		out->detail = json_dumps(draft.detail, JSON_COMPACT);
		error = out->detail ? 0 : -ENOMEM;
	}
	json_decref(draft.detail);
	strcpy(out->segment, segment->name);
	out->members = draft.members;
	out->count = draft.count;
	if (error)
		membership_release(out);
	if (draft.errors)
		place_errors(draft.errors, segment, errors);
	if (error == -ENOMEM && !errors_count(errors))
		errors_add_code(errors, ENOMEM, "segments", "free some memory", "out of memory");
	return error;
}

struct membership_counts membership_counts(const struct member *members, size_t count,
					   struct client_form form)
{
	struct membership_counts counts = {0};

	for (size_t i = 0; i < count; i++) {
		struct prefix prefix = member_prefix(&members[i]);
		bool is_ipv4 = prefix.address.family == 4;

		counts.ipv4 += is_ipv4;
		counts.ipv6 += !is_ipv4;
		counts.prefixes += prefix.length < (is_ipv4 ? form.prefix4 : form.prefix6);
	}
	return counts;
}
