// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fold of classes and groups. A class of the next table is of one class of the shown one
 * (control/segments.c sees to that), so what was decided on its clients is known: by which rule,
 * now and when the era began. Where the rule is another, everything about them may be: they are
 * marked as changed. A rule that left the file while it is the origin of some clients keeps a line
 * behind the current ones, at most RULES_MAX, for no more there were when the era began.
 */
#include "policy/transition_internal.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t shown_class(const struct fold *fold, uint32_t class)
{
	const struct view *view = fold->shown->view;
	uint32_t of_all = view->default_rule | (uint32_t)view->default_rule << CLASS_ORIGIN_SHIFT;
	uint32_t before =
		fold->classes->shown_classes ? fold->classes->shown_classes[class] : class;

	return before < view->classes_count ? fold->shown->classes[before] : of_all;
}

static struct group_entry shown_group(const struct fold *fold, uint32_t group)
{
	uint32_t before = fold->classes->shown_groups ? fold->classes->shown_groups[group] : group;

	if (before >= fold->shown->view->groups_count)
		return (struct group_entry){0};
	return fold->shown->groups[before];
}

static uint64_t token_of(const struct fold *fold, uint32_t group)
{
	return fold->image->has_groups ? fold->classes->tokens[group] : 0;
}

/* Was it the rule of line @index of the shown view that decides by @rule now? */
static bool is_line(const struct fold *fold, const struct view_rule *rule, uint8_t index)
{
	return shown_rule(fold, rule) == &fold->shown->rules[index];
}

bool classes_differ(const struct fold *fold)
{
	const struct client_classes *classes = fold->classes;
	uint32_t i;

	for (i = 0; i < classes->classes_count; i++) {
		uint8_t rule = first_rule(fold->image, classes->members[i]);

		if (!is_line(fold, &fold->image->rules[rule], class_rule(shown_class(fold, i))))
			return true;
	}
	for (i = 0; i < classes->groups_count; i++)
		if (token_of(fold, i) != shown_group(fold, i).token)
			return true;
	return false;
}

/* ---- rules that are gone ---- */

/* The line of the image that is @shown's, which gets one where it is gone. */
static int line_of(const struct fold *fold, const struct view_rule *shown)
{
	struct view_image *image = fold->image;
	struct view_rule *gone;
	uint32_t i;

	for (i = 0; i < image->rules_count; i++)
		if (shown_rule(fold, &image->rules[i]) == shown)
			return i;
	for (i = RULES_MAX; i < RULES_MAX + (uint32_t)image->view.rules_gone; i++)
		if (image->rules[i].counters == shown->counters)
			return i;
	if (i == VIEW_RULES)
		return -ENOSPC;
	gone = &image->rules[i];
	*gone = (struct view_rule){
		.reason = shown->reason,
		.counters = shown->counters,
		.segment = shown->segment,
	};
	set_origin(fold, gone, shown);
	image->view.rules_gone++;
	return i;
}

/* ---- classes ---- */

/* What a cut took from the clients while another rule decided on them stays taken. */
static uint8_t cut_of(const struct fold *fold, uint32_t shown, const struct view_rule *before,
		      bool is_same)
{
	uint8_t cut = class_cut(shown);
	int canary;

	if (!fold->open)
		return 0;
	for (canary = 0; !is_same && canary < CANARIES_MAX; canary++)
		if (before->cuts[canary] > cut)
			cut = before->cuts[canary];
	return spared(&fold->image->view, cut);
}

static int fold_class(const struct fold *fold, uint32_t class, uint32_t *out)
{
	uint8_t rule = first_rule(fold->image, fold->classes->members[class]);
	uint32_t shown = shown_class(fold, class);
	const struct view_rule *before = &fold->shown->rules[class_rule(shown)];
	bool is_same = is_line(fold, &fold->image->rules[rule], class_rule(shown));
	bool is_changed = !is_same || (fold->open && (shown & CLASS_CHANGED));
	int origin = line_of(fold, fold->open ? &fold->shown->rules[class_origin(shown)] : before);

	if (origin < 0)
		return origin;
	*out = rule | (uint32_t)origin << CLASS_ORIGIN_SHIFT | (is_changed ? CLASS_CHANGED : 0) |
	       (uint32_t)cut_of(fold, shown, before, is_same) << CLASS_CUT_SHIFT;
	return 0;
}

static int fold_each_class(const struct fold *fold)
{
	const struct client_classes *classes = fold->classes;
	struct view_image *image = fold->image;
	int error = 0;
	uint32_t i;

	if (!classes->classes_count ||
	    (image->rules_count < 2 && !(fold->shown->view->flags & VIEW_SEGMENTS)))
		return 0;
	image->classes = calloc(classes->classes_count, sizeof(*image->classes));
	if (!image->classes)
		return -ENOMEM;
	for (i = 0; i < classes->classes_count && !error; i++)
		error = fold_class(fold, i, &image->classes[i]);
	image->view.classes_count = classes->classes_count;
	image->view.flags |= VIEW_SEGMENTS;
	return error;
}

/* ---- groups ---- */

static int fold_groups(const struct fold *fold)
{
	const struct client_classes *classes = fold->classes;
	struct view_image *image = fold->image;
	uint32_t i;

	if (!classes->groups_count ||
	    (!image->has_groups && !(fold->shown->view->flags & VIEW_GROUPS)))
		return 0;
	image->groups = calloc(classes->groups_count, sizeof(*image->groups));
	if (!image->groups)
		return -ENOMEM;
	for (i = 0; i < classes->groups_count; i++) {
		struct group_entry shown = shown_group(fold, i);

		image->groups[i] = (struct group_entry){
			.token = token_of(fold, i),
			.origin = fold->open ? shown.origin : shown.token,
			.changed =
				token_of(fold, i) != shown.token || (fold->open && shown.changed),
		};
	}
	image->view.groups_count = classes->groups_count;
	image->view.flags |= VIEW_GROUPS;
	return 0;
}

int fold_classes(const struct fold *fold)
{
	int error = fold_each_class(fold);

	return error ? error : fold_groups(fold);
}
