// SPDX-License-Identifier: GPL-2.0-only
/* Two notes in the store for each service, of flows and of packets: {"RULE": {"COHORT": number}}.
 */
#include "observe/baseline.h"

#include "allocation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void note_key(const char *service, enum actual_of of, char key[2 * NAME_SIZE])
{
	snprintf(key, 2 * NAME_SIZE, "%s/%s", of == ACTUAL_FLOWS ? "flows" : "packets", service);
}

static uint64_t counted(const struct rule_snapshot *rule, size_t cohort, enum actual_of of)
{
	return of == ACTUAL_FLOWS ? rule->cohorts[cohort].syns : rule->cohorts[cohort].packets;
}

static int record(struct control *control, const struct service *service,
		  const struct snapshot *snapshot, enum actual_of of)
{
	char key[2 * NAME_SIZE], *text;
	json_t *note = json_object();
	size_t rule, cohort;
	int error;

	for (rule = 0; snapshot->services_count && rule < service->rules_count; rule++) {
		json_t *cohorts = json_object();

		for (cohort = 0; cohort < service->cohorts_count; cohort++)
			json_object_set_new(cohorts, service->cohorts[cohort].name,
					    json_integer(counted(&snapshot->services[0].rules[rule],
								 cohort, of)));
		json_object_set_new(note, service->rules[rule].name, cohorts);
	}
	text = json_dumps(note, JSON_COMPACT | JSON_SORT_KEYS);
	note_key(service->name, of, key);
	error = text ? store_set_note(control->store, key, text, control->errors) : -ENOMEM;
	free(text);
	json_decref(note);
	return error;
}

int baseline_record(struct control *control, const struct service *service)
{
	struct snapshot snapshot;
	int error = snapshot_read(control, service->name, &snapshot);

	if (error)
		return error;
	error = record(control, service, &snapshot, ACTUAL_FLOWS);
	if (!error)
		error = record(control, service, &snapshot, ACTUAL_PACKETS);
	snapshot_release(&snapshot);
	return error;
}

static uint64_t counted_since(json_t *note, const struct service *service,
			      const struct rule_snapshot *rule, size_t cohort, enum actual_of of)
{
	json_t *cohorts = json_object_get(note, rule->rule->name);
	uint64_t now = counted(rule, cohort, of);
	uint64_t before =
		json_integer_value(json_object_get(cohorts, service->cohorts[cohort].name));

	return now < before ? now : now - before;
}

int actual_share(struct control *control, const struct service_snapshot *service, size_t rule,
		 size_t cohort, enum actual_of of, uint32_t *ppm)
{
	const struct rule_snapshot *counters = &service->rules[rule];
	char key[2 * NAME_SIZE], *text = NULL;
	uint64_t all = 0, its = 0;
	json_t *note;
	size_t i;
	int error;

	note_key(service->service->name, of, key);
	error = store_note(control->store, key, &text, control->errors);
	if (error && error != -ENOENT)
		return error;
	note = text ? json_loads(text, 0, NULL) : NULL;
	for (i = 0; i < service->service->cohorts_count; i++) {
		uint64_t since = counted_since(note, service->service, counters, i, of);

		all += since;
		if (i == cohort)
			its = since;
	}
	json_decref(note);
	free(text);
	if (all < ACTUAL_SHARE_MIN)
		return -ENODATA;
	*ppm = its * PPM / all;
	return 0;
}
