// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fold of classes and groups. A class of the next table is of one class of the shown one
 * (control/segments.c sees to that), so what was decided on its clients is known: by which rule,
 * now and when the era began. Where the rule is another, everything about them may be: they are
 * marked as changed. A rule that left the file while it is the origin of some clients keeps a line
 * behind the current ones: less than RULES_MAX, for the default rule never leaves, and no more
 * there were when the era began. What is left of the lines behind is for cuts of clients that have
 * another history of them than their rule's line.
 */
#include "policy/transition_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t shown_class(const struct fold *fold, uint32_t class)
{
	const struct view *view = fold->shown->view;
	uint32_t before =
		fold->classes->shown_classes ? fold->classes->shown_classes[class] : class;

	return before < view->classes_count ? fold->shown->classes[before]
					    : class_of_rule(view->default_rule);
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
	for (i = RULES_MAX; i < RULES_MAX + (uint32_t)image->view.lines_behind; i++)
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
	image->view.lines_behind++;
	return i;
}

/* ---- cuts ---- */

/* No rule's: shown_rule() finds none by it. */
#define CUTS_ALONE UINT32_MAX

static bool same_cuts(const struct view_rule *a, const struct view_rule *b)
{
	uint16_t kept = RULE_KEPT | RULE_KEPT << 1 | RULE_KEPT << 2;

	return !((a->live ^ b->live) & kept) && !memcmp(a->cuts, b->cuts, sizeof(a->cuts)) &&
	       !memcmp(a->kept, b->kept, sizeof(a->kept)) &&
	       !memcmp(a->kept_before, b->kept_before, sizeof(a->kept_before)) &&
	       !memcmp(a->cuts_before, b->cuts_before, sizeof(a->cuts_before));
}

/* Where lines run out the last one is for all the others: what was cut from any, and nothing kept.
 */
static void join_cuts(struct view_rule *line, const struct view_rule *cuts)
{
	int canary;

	line->live = 0;
	for (canary = 0; canary < CANARIES_MAX; canary++) {
		if (cuts->cuts[canary] > line->cuts[canary])
			line->cuts[canary] = cuts->cuts[canary];
		line->kept[canary] = (struct interval){0, 0};
		line->kept_before[canary] = line->cuts_before[canary] = 0;
	}
}

/* The line of the image with these cuts, which gets one where it has none: @rule's if it can be. */
static uint8_t line_of_cuts(struct view_image *image, const struct view_rule *cuts, uint8_t rule)
{
	uint32_t i;

	if (same_cuts(&image->rules[rule], cuts))
		return rule;
	for (i = RULES_MAX; i < RULES_MAX + (uint32_t)image->view.lines_behind; i++)
		if (same_cuts(&image->rules[i], cuts))
			return i;
	if (i == VIEW_RULES) {
		join_cuts(&image->rules[--i], cuts);
		return i;
	}
	image->rules[i] = *cuts;
	image->view.lines_behind++;
	return i;
}

/* By the line that clients have in the shown view, and their rule: the line that they get, + 1. */
struct known_cuts {
	uint8_t lines[VIEW_RULES][RULES_MAX];
};

static uint8_t cuts_of(const struct fold *fold, struct known_cuts *known, uint8_t shown,
		       uint8_t rule)
{
	struct view_rule cuts = {.counters = CUTS_ALONE, .segment = CUTS_ALONE};
	uint8_t *line = &known->lines[shown][rule];

	if (!*line) {
		fold_cuts(fold, &cuts, &fold->shown->rules[shown], rule);
		*line = line_of_cuts(fold->image, &cuts, rule) + 1;
	}
	return *line - 1;
}

/* ---- classes ---- */

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
	*out = rule | (uint32_t)origin << CLASS_ORIGIN_SHIFT | (is_changed ? CLASS_CHANGED : 0);
	return 0;
}

/* After all origins have their lines. */
static void fold_cuts_of_classes(const struct fold *fold)
{
	struct view_image *image = fold->image;
	struct known_cuts known = {0};
	uint32_t i;

	for (i = 0; i < image->view.classes_count; i++) {
		uint8_t shown = class_cuts(shown_class(fold, i));

		image->classes[i] |=
			(uint32_t)cuts_of(fold, &known, shown, class_rule(image->classes[i]))
			<< CLASS_CUTS_SHIFT;
	}
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
	if (error)
		return error;
	image->view.classes_count = classes->classes_count;
	image->view.flags |= VIEW_SEGMENTS;
	fold_cuts_of_classes(fold);
	return 0;
}

/* ---- groups ---- */

/*
 * The first generation whose cuts know the clients by the token that they have; 0: all do. One that
 * is cut in the same write does. Where numbers began anew an old change is one of now.
 */
static uint8_t changed_at(const struct fold *fold, uint32_t group, const struct group_entry *shown)
{
	const struct view *view = &fold->image->view;
	uint8_t next = era_generation(view->era, view->era_first) + 1;

	if (token_of(fold, group) != shown->token)
		return fold->generation ? fold->generation : next;
	if (!fold->open)
		return 0;
	return shown->changed < next ? shown->changed : next;
}

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
			.changed = changed_at(fold, i, &shown),
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
