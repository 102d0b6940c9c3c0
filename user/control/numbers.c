// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which index of a kernel table belongs to a name. Numbers stay with names over apply, so that
 * counters do, and so that a backend's number means the same backend in every view that packets may
 * still see.
 */
#include "control/control_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Before a name is given a number that another may have had. */
static int zero_counters(struct control *control, enum map_id id, uint32_t first, uint32_t count)
{
	const struct map *map;
	uint32_t i;
	void *zero;
	int error = 0;

	if (!control->datapath)
		return 0; /* maps are made zeroed */
	map = &control->datapath->maps[id];
	zero = calloc(libbpf_num_possible_cpus(), (map->value_size + 7) & ~7u);
	if (!zero)
		return -ENOMEM;
	for (i = first; i < first + count && !error; i++)
		if (bpf_map_update_elem(map->fd, &i, zero, BPF_ANY))
			error = errors_add_code(control->errors, errno, map->name, "try again",
						"cannot zero counter %u: %s", i, strerror(errno));
	free(zero);
	return error;
}

/* What a rule's group of counters counts: packets, and events of clients that are followed. */
static int zero_rule_counters(struct control *control, uint32_t first, uint32_t count)
{
	int error = zero_counters(control, MAP_RULE_COUNTERS, first, count);

	return error ? error : zero_counters(control, MAP_TRACK_EVENTS, first, count);
}

/* @map: whose counters the number stands for, @width of them; MAPS: none. */
static int number(struct control *control, enum number_kind kind, const char *scope,
		  const char *name, uint32_t limit, enum map_id map, uint32_t width, uint32_t *out)
{
	bool is_new = false;
	int error;

	if (!control->writing)
		return store_find_number(control->store, kind, scope, name, out, control->errors);
	error = store_number(control->store, kind, scope, name, limit, out, &is_new,
			     control->errors);
	if (error || !is_new || map == MAPS)
		return error;
	if (map == MAP_RULE_COUNTERS)
		return zero_rule_counters(control, *out * width, width);
	return zero_counters(control, map, *out * width, width);
}

static uint32_t rule_group_limit(const struct control *control)
{
	return control->datapath ? datapath_rule_groups(control->datapath)
				 : control->policy->limits.services * (RULES_MAX + 1);
}

static uint32_t backend_counter_limit(const struct control *control)
{
	return control->datapath ? control->datapath->maps[MAP_BACKEND_COUNTERS].entries
				 : 2 * control->policy->limits.backends;
}

/* "SERVICE/NAME"; "SERVICE/" is the group of decisions without a rule. */
static int rule_group(struct control *control, const struct service *service, const char *rule,
		      uint32_t *out)
{
	char name[2 * NAME_SIZE];

	snprintf(name, sizeof(name), "%s/%s", service->name, rule);
	return number(control, NUMBER_RULE_GROUP, "", name, rule_group_limit(control),
		      MAP_RULE_COUNTERS, LANES_MAX, out);
}

static int number_backend(struct control *control, const struct service *service,
			  const struct backend *backend, uint16_t *out, uint32_t *counter)
{
	char address[ADDRESS_TEXT_SIZE], name[NAME_SIZE + ADDRESS_TEXT_SIZE];
	uint32_t own = 0;
	int error;

	address_format(&backend->address, address);
	snprintf(name, sizeof(name), "%s/%s", service->name, address);
	error = number(control, NUMBER_BACKEND, service->name, address, SERVICE_BACKENDS_MAX, MAPS,
		       0, &own);
	*out = own;
	if (error)
		return error;
	return number(control, NUMBER_BACKEND_COUNTER, "", name, backend_counter_limit(control),
		      MAP_BACKEND_COUNTERS, 1, counter);
}

static int number_backends(struct control *control, const struct service *service,
			   struct view_numbers *out)
{
	size_t cohort, i, index = 0, count = 0;
	int error = 0;

	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		count += service->cohorts[cohort].backends_count;
	out->backend_numbers = calloc(count + 1, sizeof(*out->backend_numbers));
	out->backend_counters = calloc(count + 1, sizeof(*out->backend_counters));
	out->backends_count = count;
	if (!out->backend_numbers || !out->backend_counters)
		return -ENOMEM;
	for (cohort = 0; cohort < service->cohorts_count && !error; cohort++)
		for (i = 0; i < service->cohorts[cohort].backends_count && !error; i++, index++)
			error = number_backend(
				control, service, &service->cohorts[cohort].backends[i],
				&out->backend_numbers[index], &out->backend_counters[index]);
	return error;
}

/* Of a service that has a slot; one that is new begins with zeroes, numbers_begin(). */
static int zero_samples(struct control *control, const struct service *service, uint32_t lane)
{
	const struct live_service *live = live_service_of(&control->live, service->name);

	if (!live)
		return 0;
	return zero_counters(control, MAP_TRACK_SAMPLES, live->slot * LANES_MAX + lane, 1);
}

/* A lane given anew may have been another cohort's in every group of the service. */
static int number_lane(struct control *control, const struct service *service, const char *cohort,
		       const struct view_numbers *numbers, uint8_t *out)
{
	uint32_t lane = 0;
	bool is_new = false;
	size_t rule;
	int error;

	if (!control->writing)
		error = store_find_number(control->store, NUMBER_LANE, service->name, cohort, &lane,
					  control->errors);
	else
		error = store_number(control->store, NUMBER_LANE, service->name, cohort, LANES_MAX,
				     &lane, &is_new, control->errors);
	*out = lane;
	for (rule = 0; rule < service->rules_count && is_new && !error; rule++)
		error = zero_rule_counters(control, numbers->rule_groups[rule] * LANES_MAX + lane,
					   1);
	if (is_new && !error)
		error = zero_rule_counters(control, numbers->no_rule_group * LANES_MAX + lane, 1);
	if (is_new && !error)
		error = zero_samples(control, service, lane);
	return error;
}

int number_segment(struct control *control, const struct rule *rule, int8_t *out)
{
	uint32_t number_of_segment = 0;
	int error;

	*out = -1;
	if (rule->is_default)
		return 0;
	error = number(control, NUMBER_SEGMENT, "", rule->segment, SEGMENTS_MAX,
		       MAP_SEGMENT_COUNTERS, 1, &number_of_segment);
	if (!error)
		*out = number_of_segment;
	return error;
}

int numbers_begin(struct control *control, uint32_t slot)
{
	int error = zero_counters(control, MAP_DECISION_COUNTERS, slot, 1);

	if (!error)
		error = zero_counters(control, MAP_AFFINITY_COUNTERS, slot, 1);
	if (!error)
		error = zero_counters(control, MAP_TRACK_SAMPLES, slot * LANES_MAX, LANES_MAX);
	return error;
}

int numbers_of(struct control *control, const struct service *service, struct view_numbers *out)
{
	size_t i;
	int error;

	*out = (struct view_numbers){0};
	if (!control->store)
		return -ENOENT;
	error = rule_group(control, service, "", &out->no_rule_group);
	for (i = 0; i < service->rules_count && !error; i++)
		error = rule_group(control, service, service->rules[i].name, &out->rule_groups[i]);
	for (i = 0; i < service->rules_count && !error; i++)
		error = number_segment(control, &service->rules[i], &out->segments[i]);
	for (i = 0; i < service->cohorts_count && !error; i++)
		error = number_lane(control, service, service->cohorts[i].name, out,
				    &out->lanes[i]);
	if (!error)
		error = number_backends(control, service, out);
	if (error)
		view_numbers_release(out);
	return error;
}

void view_numbers_release(struct view_numbers *numbers)
{
	free(numbers->backend_numbers);
	free(numbers->backend_counters);
	*numbers = (struct view_numbers){0};
}

/* ---- giving back ---- */

static int compare_names(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

struct kept_names {
	char **names; /* sorted */
	size_t count, room;
};

static bool is_kept(const char *name, void *data)
{
	struct kept_names *kept = data;

	return kept->count &&
	       bsearch(&name, kept->names, kept->count, sizeof(*kept->names), compare_names);
}

static void keep(struct kept_names *kept, const char *scope, const char *name)
{
	char *text;

	if (kept->count < kept->room && asprintf(&text, "%s%s", scope, name) >= 0)
		kept->names[kept->count++] = text;
}

static int free_others(struct control *control, enum number_kind kind, const char *scope,
		       const char *prefix, struct kept_names *kept)
{
	size_t i;
	int error;

	qsort(kept->names, kept->count, sizeof(*kept->names), compare_names);
	error = store_free_numbers(control->store, kind, scope, prefix, is_kept, kept,
				   control->errors);
	for (i = 0; i < kept->count; i++)
		free(kept->names[i]);
	kept->count = 0;
	return error;
}

static void keep_backends(const struct service *service, struct kept_names *kept,
			  const char *prefix)
{
	char address[ADDRESS_TEXT_SIZE];
	size_t cohort, i;

	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		for (i = 0; i < service->cohorts[cohort].backends_count; i++)
			keep(kept, prefix,
			     address_format(&service->cohorts[cohort].backends[i].address,
					    address));
}

int numbers_free(struct control *control, const struct service *service)
{
	struct kept_names kept = {.room = RULES_MAX + 1 + COHORTS_MAX};
	char prefix[NAME_SIZE + 1];
	size_t i;
	int error;

	snprintf(prefix, sizeof(prefix), "%s/", service->name);
	for (i = 0; i < service->cohorts_count; i++)
		kept.room += service->cohorts[i].backends_count;
	kept.names = calloc(kept.room, sizeof(*kept.names));
	if (!kept.names)
		return -ENOMEM;
	keep(&kept, prefix, "");
	for (i = 0; i < service->rules_count; i++)
		keep(&kept, prefix, service->rules[i].name);
	error = free_others(control, NUMBER_RULE_GROUP, "", prefix, &kept);
	for (i = 0; i < service->cohorts_count && !error; i++)
		keep(&kept, "", service->cohorts[i].name);
	if (!error)
		error = free_others(control, NUMBER_LANE, service->name, "", &kept);
	if (!error) {
		keep_backends(service, &kept, "");
		error = free_others(control, NUMBER_BACKEND, service->name, "", &kept);
	}
	if (!error) {
		keep_backends(service, &kept, prefix);
		error = free_others(control, NUMBER_BACKEND_COUNTER, "", prefix, &kept);
	}
	free(kept.names);
	return error;
}

int numbers_free_segments(struct control *control)
{
	const struct policy *policy = control->policy;
	struct kept_names kept = {.room = policy->services_count * RULES_MAX};
	size_t service, rule;
	int error;

	kept.names = calloc(kept.room + 1, sizeof(*kept.names));
	if (!kept.names)
		return -ENOMEM;
	for (service = 0; service < policy->services_count; service++)
		for (rule = 0; rule < policy->services[service].rules_count; rule++)
			keep(&kept, "", policy->services[service].rules[rule].segment);
	error = free_others(control, NUMBER_SEGMENT, "", NULL, &kept);
	free(kept.names);
	return error;
}
