// SPDX-License-Identifier: GPL-2.0-only
/* A note in the store for each service: {"RULE": {"COHORT": flows}}. */
#include "observe/baseline.h"

#include "allocation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void note_key(const char *service, char key[2 * NAME_SIZE])
{
	snprintf(key, 2 * NAME_SIZE, "flows/%s", service);
}

int baseline_record(struct control *control, const struct service *service)
{
	char key[2 * NAME_SIZE], *text;
	struct snapshot snapshot;
	json_t *note;
	size_t rule, cohort;
	int error = snapshot_read(control, service->name, &snapshot);

	if (error)
		return error;
	note = json_object();
	for (rule = 0; snapshot.services_count && rule < service->rules_count; rule++) {
		json_t *cohorts = json_object();

		for (cohort = 0; cohort < service->cohorts_count; cohort++)
			json_object_set_new(
				cohorts, service->cohorts[cohort].name,
				json_integer(
					snapshot.services[0].rules[rule].cohorts[cohort].syns));
		json_object_set_new(note, service->rules[rule].name, cohorts);
	}
	text = json_dumps(note, JSON_COMPACT | JSON_SORT_KEYS);
	note_key(service->name, key);
	error = text ? store_set_note(control->store, key, text, control->errors) : -ENOMEM;
	free(text);
	json_decref(note);
	snapshot_release(&snapshot);
	return error;
}

static uint64_t flows_since(json_t *note, const struct service *service,
			    const struct rule_snapshot *rule, size_t cohort)
{
	json_t *cohorts = json_object_get(note, rule->rule->name);
	uint64_t before =
		json_integer_value(json_object_get(cohorts, service->cohorts[cohort].name));

	return rule->cohorts[cohort].syns < before ? rule->cohorts[cohort].syns
						   : rule->cohorts[cohort].syns - before;
}

int actual_share(struct control *control, const struct service_snapshot *service, size_t rule,
		 size_t cohort, uint32_t *ppm)
{
	const struct rule_snapshot *counted = &service->rules[rule];
	char key[2 * NAME_SIZE], *text = NULL;
	uint64_t all = 0, its = 0;
	json_t *note;
	size_t i;
	int error;

	note_key(service->service->name, key);
	error = store_note(control->store, key, &text, control->errors);
	if (error && error != -ENOENT)
		return error;
	note = text ? json_loads(text, 0, NULL) : NULL;
	for (i = 0; i < service->service->cohorts_count; i++) {
		uint64_t flows = flows_since(note, service->service, counted, i);

		all += flows;
		if (i == cohort)
			its = flows;
	}
	json_decref(note);
	free(text);
	if (all < ACTUAL_SHARE_FLOWS_MIN)
		return -ENODATA;
	*ppm = its * PPM / all;
	return 0;
}
