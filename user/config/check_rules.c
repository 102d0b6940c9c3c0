// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checks of a service's rules: for whom each is, its name, its shares. First the values that
 * follow from others are filled in, then everything is compared.
 */
#include "config/check.h"
#include "config/check_split.h"

#include "allocation.h"
#include "util/text.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct path rule_path(const struct check *check, const struct rule *rule,
			     const struct path *rules)
{
	const struct place *place = places_find(check->places, rule, "");

	return (struct path){
		.parent = rules,
		.text = check_place(check, rule, "name") ? rule->name : NULL,
		.index = place ? place->index : 0,
	};
}

static void check_share(struct check *check, const struct cohort *cohort, const uint32_t *share,
			const struct path *allocate)
{
	const struct place *place = check_place(check, share, "");
	char share_text[TEXT_VALUE_SIZE], slot_text[TEXT_VALUE_SIZE];

	if (!place || !*share)
		return;
	if (*share > cohort->slot_ppm && check_is_good(check, cohort, "slot"))
		check_report(check, place, allocate, cohort->name,
			     "lower the share, or widen the slot",
			     "%s is more than the cohort's slot, %s",
			     text_format_percent(*share, share_text),
			     text_format_percent(cohort->slot_ppm, slot_text));
	if (!cohort->backends_count && check_is_good(check, cohort, "backends"))
		check_report(check, place, allocate, cohort->name,
			     "give it 0%, or the cohort a backend", "the cohort has no backend");
}

/* The control takes the rest; naming it is allowed where that says the same. */
static void settle_shares(struct check *check, const struct service *service, struct rule *rule,
			  const struct path *path)
{
	struct path allocate = {.parent = path, .text = "allocate"};
	bool named = places_find(check->places, &rule->base_ppm[0], "");
	const struct place *place = check_place(check, rule, "allocate");
	uint64_t canaries = 0, whole;

	for (size_t i = 1; i < service->cohorts_count; i++) {
		canaries += rule->base_ppm[i];
		check_share(check, &service->cohorts[i], &rule->base_ppm[i], &allocate);
		check_split_share(check, service, rule->base_ppm[i],
				  check_place(check, &rule->base_ppm[i], ""), &allocate,
				  service->cohorts[i].name);
	}
	whole = canaries + (named ? rule->base_ppm[0] : 0);
	if (place) {
		if (canaries > PPM)
			check_report(check, place, path, "allocate", "lower a share",
				     "the shares are more than 100%% together");
		else if (named && whole != PPM)
			check_report(check, place, path, "allocate",
				     "leave the control out, it takes the rest",
				     "the control is named, but the shares are not 100%% together");
	}
	rule->base_ppm[0] = canaries > PPM ? 0 : PPM - canaries;
}

/*
 * Where a rule's name comes from: its own, its segment's, or that it is the default. NULL: bad, or
 * from nowhere.
 */
static const struct place *name_place(const struct check *check, const struct rule *rule)
{
	static const char *const keys[] = {"name", "segment", "default"};

	for (size_t i = 0; i < COUNT(keys); i++)
		if (places_find(check->places, rule, keys[i]))
			return check_place(check, rule, keys[i]);
	return NULL;
}

static bool is_unnamed_default(const struct check *check, const struct rule *rule)
{
	return rule->is_default && !places_find(check->places, rule, "name");
}

static void check_rule_name(struct check *check, const struct service *service, size_t index,
			    const struct path *path)
{
	const struct rule *rule = &service->rules[index];
	const struct place *place = name_place(check, rule);

	for (size_t i = 0; i < index && place; i++) {
		const struct rule *other = &service->rules[i];
		const struct place *first = name_place(check, other);

		if (!first || strcmp(other->name, rule->name))
			continue;
		/* Two default rules are an error already. */
		if (is_unnamed_default(check, rule) && is_unnamed_default(check, other))
			continue;
		check_report_twice(check, place, first, path, "name", "give it another name",
				   "the name stands");
		return;
	}
}

/* False if a name may be missing from the segments that were read. */
static bool segments_are_known(const struct check *check)
{
	for (size_t i = 0; i < check->policy->segments_count; i++)
		if (!*check->policy->segments[i].name)
			return false;
	return check->whole &&
	       (check->policy->segments_count || check_is_good(check, check->policy, "segments"));
}

static void report_undefined(struct check *check, const struct rule *rule, const struct path *path)
{
	const struct policy *policy = check->policy;
	const char *names[SEGMENTS_MAX], *nearest;
	char hint[NAME_SIZE + 32];

	for (size_t i = 0; i < policy->segments_count; i++)
		names[i] = policy->segments[i].name;
	nearest = text_nearest(rule->segment, names, policy->segments_count);
	if (nearest)
		snprintf(hint, sizeof(hint), "did you mean %s?", nearest);
	else
		snprintf(hint, sizeof(hint), "define it under `segments`");
	check_report(check, places_find(check->places, rule, "segment"), path, "segment", hint,
		     "there is no segment \"%s\"", rule->segment);
}

static void check_rule_segment(struct check *check, const struct service *service, size_t index,
			       const struct path *path)
{
	const struct rule *rule = &service->rules[index];
	const struct place *place = check_place(check, rule, "segment");
	struct path step = {.parent = path, .text = "segment"};
	char object[PATH_SIZE];

	if (!place)
		return;
	if (!policy_segment(check->policy, rule->segment) && segments_are_known(check))
		report_undefined(check, rule, path);
	for (size_t i = 0; i < index; i++) {
		const struct rule *other = &service->rules[i];

		if (strcmp(other->segment, rule->segment) || !strcmp(other->name, rule->name))
			continue;
		errors_warn(check->errors, &place->where, path_format(&step, object),
			    "remove one of them",
			    "rule %s has all clients of the segment, none are left for this one",
			    other->name);
		return;
	}
}

/* @is_default: the place of that key. */
static void check_default_rule(struct check *check, const struct service *service, size_t index,
			       const struct place *is_default, const struct path *path)
{
	if (is_default->bad)
		return;
	if (!service->rules[index].is_default)
		check_report(check, is_default, path, "default", "write `default: true`",
			     "cannot be false");
	else if (index != service->rules_count - 1)
		check_report(check, is_default, path, "default",
			     "put one default rule, the last of the list",
			     "rules after the default rule would never be used");
}

/* False where it is for nobody, which is reported. */
static bool check_rule(struct check *check, struct service *service, size_t index,
		       const struct path *rules)
{
	struct rule *rule = &service->rules[index];
	struct path path = rule_path(check, rule, rules);
	const struct place *is_default = places_find(check->places, rule, "default");
	const struct place *segment = places_find(check->places, rule, "segment");
	const struct place *self = places_find(check->places, rule, "");

	check_rule_name(check, service, index, &path);
	settle_shares(check, service, rule, &path);
	check_rule_segment(check, service, index, &path);
	if (is_default && segment)
		check_report(check, segment, &path, "segment", "keep one of them",
			     "stands beside `default`");
	else if (is_default)
		check_default_rule(check, service, index, is_default, &path);
	if (is_default || segment)
		return true;
	/* A rule that is no map has its error. */
	if (!self->bad || places_find(check->places, rule, "name") ||
	    places_find(check->places, rule, "allocate"))
		check_report(check, self, &path, NULL,
			     "give it a segment, or write `default: true`",
			     "the rule does not say for whom it is");
	return false;
}

/* No rules are one default rule at 0%. */
static void settle_rules(struct service *service)
{
	struct rule *rule = &service->rules[0];

	if (service->rules_count)
		return;
	*rule = (struct rule){.is_default = true, .base_ppm = {PPM}};
	strcpy(rule->name, "default");
	service->rules_count = 1;
}

void check_rules(struct check *check, struct service *service, const struct path *path)
{
	struct path rules = {.parent = path, .text = "rules"}, last;
	bool has_default = false, are_said = true;

	for (size_t i = 0; i < service->rules_count; i++) {
		are_said &= check_rule(check, service, i, &rules);
		has_default |= places_find(check->places, &service->rules[i], "default") != NULL;
	}
	if (service->rules_count && are_said && !has_default) {
		const struct rule *rule = &service->rules[service->rules_count - 1];

		last = rule_path(check, rule, &rules);
		check_report(check, places_find(check->places, rule, ""), &last, NULL,
			     "add `- { default: true }` after it",
			     "the last rule must be the default, for clients of no segment");
	}
	settle_rules(service);
}
