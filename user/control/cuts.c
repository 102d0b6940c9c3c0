// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cuts of a write: what is published next of a service takes live flows from a canary. They are
 * noted in the store, with the epoch that they belong to, so that the next writer finishes them
 * where one died between its commit and the view.
 */
#include "control/control_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int add_cut(struct control *control, struct cut cut, const char *service)
{
	struct cut *grown = reallocarray(control->cuts, control->cuts_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	snprintf(cut.service, sizeof(cut.service), "%s", service);
	control->cuts = grown;
	grown[control->cuts_count++] = cut;
	return 0;
}

int control_cut(struct control *control, const char *service, size_t rule, size_t cohort)
{
	return add_cut(control, (struct cut){.rule = rule, .cohort = cohort}, service);
}

int control_cut_scope(struct control *control, const char *service, enum cut_scope scope,
		      size_t cohort)
{
	return add_cut(control, (struct cut){.scope = scope, .cohort = cohort}, service);
}

/* A rule or cohort that the file has no longer has no flows that it keeps, either. */
static bool follow(struct cut *cut, const struct service *before, const struct service *after)
{
	int rule, cohort;

	if (!before || !after)
		return false;
	if (cut->scope == CUT_ALL)
		return true;
	rule = cut->scope == CUT_RULE ? service_rule(after, before->rules[cut->rule].name) : 0;
	cohort = service_cohort(after, before->cohorts[cut->cohort].name);
	if (rule < 0 || cohort <= 0)
		return false;
	cut->rule = rule;
	cut->cohort = cohort;
	return true;
}

void cuts_follow(struct control *control, const struct policy *policy)
{
	size_t kept = 0;

	for (size_t i = 0; i < control->cuts_count; i++) {
		struct cut cut = control->cuts[i];

		if (follow(&cut, policy_service(control->policy, cut.service),
			   policy_service(policy, cut.service)))
			control->cuts[kept++] = cut;
	}
	control->cuts_count = kept;
}

bool is_cut(const struct control *control, const char *service)
{
	size_t i;

	for (i = 0; i < control->cuts_count; i++)
		if (!strcmp(control->cuts[i].service, service))
			return true;
	return false;
}

void plan_cuts(const struct control *control, const char *service, struct transition_plan *plan)
{
	size_t i;

	for (i = 0; i < control->cuts_count; i++) {
		const struct cut *cut = &control->cuts[i];

		if (strcmp(cut->service, service))
			continue;
		switch (cut->scope) {
		case CUT_RULE:
			plan->cuts[cut->rule] |= 1 << cut->cohort;
			break;
		case CUT_COHORT:
			cut_cohort(plan, cut->cohort);
			break;
		case CUT_PINS:
			plan->cut_pins |= 1 << cut->cohort;
			break;
		case CUT_ALL:
			plan->cut_all = true;
			break;
		}
	}
}

/* ---- over the death of a writer ---- */

#define KEY_SIZE (NAME_SIZE + 8)

static const char *key_of(const char *service, char key[KEY_SIZE])
{
	snprintf(key, KEY_SIZE, "cuts/%s", service);
	return key;
}

static json_t *note_of(const struct service *service, const struct cut *cut)
{
	const char *cohort = service->cohorts[cut->cohort].name;

	switch (cut->scope) {
	case CUT_RULE:
		return json_pack("{s:s, s:s}", "rule", service->rules[cut->rule].name, "cohort",
				 cohort);
	case CUT_COHORT:
		return json_pack("{s:s}", "cohort", cohort);
	case CUT_PINS:
		return json_pack("{s:s, s:b}", "cohort", cohort, "pins", true);
	default:
		return json_object();
	}
}

int cuts_note(struct control *control, const struct service *service, uint64_t epoch)
{
	json_t *note = json_pack("{s:I, s:[]}", "epoch", (json_int_t)epoch, "cuts");
	json_t *list = json_object_get(note, "cuts");
	char key[KEY_SIZE], *text;
	int error;
	size_t i;

	for (i = 0; i < control->cuts_count; i++) {
		const struct cut *cut = &control->cuts[i];

		if (strcmp(cut->service, service->name))
			continue;
		json_array_append_new(list, note_of(service, cut));
	}
	text = json_dumps(note, JSON_COMPACT);
	error = text ? store_set_note(control->store, key_of(service->name, key), text,
				      control->errors)
		     : -ENOMEM;
	free(text);
	json_decref(note);
	return error;
}

/* As follow(), by the names that were noted. */
static int resume(struct control *control, const struct service *service, const json_t *entry)
{
	const char *rule = json_string_value(json_object_get(entry, "rule"));
	const char *cohort = json_string_value(json_object_get(entry, "cohort"));
	int index;

	if (!cohort)
		return control_cut_scope(control, service->name, CUT_ALL, 0);
	index = service_cohort(service, cohort);
	if (index < 0 || (rule && service_rule(service, rule) < 0))
		return 0;
	if (rule)
		return control_cut(control, service->name, service_rule(service, rule), index);
	return control_cut_scope(
		control, service->name,
		json_is_true(json_object_get(entry, "pins")) ? CUT_PINS : CUT_COHORT, index);
}

int cuts_resume(struct control *control, const struct service *service, uint64_t epoch)
{
	char key[KEY_SIZE], *text = NULL;
	int error = store_note(control->store, key_of(service->name, key), &text, control->errors);
	json_t *note, *entry;
	size_t i;

	if (error)
		return error == -ENOENT ? 0 : error;
	note = json_loads(text, 0, NULL);
	free(text);
	if (json_integer_value(json_object_get(note, "epoch")) == (json_int_t)epoch)
		json_array_foreach(json_object_get(note, "cuts"), i, entry) if (!error) error =
			resume(control, service, entry);
	json_decref(note);
	return error;
}
