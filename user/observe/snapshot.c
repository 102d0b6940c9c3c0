// SPDX-License-Identifier: GPL-2.0-only
/* Reading counters and giving them their names back. */
#include "observe/snapshot.h"

#include "util/text.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What all reads of one snapshot share: room for one element of every CPU. */
struct reader {
	struct control *control;
	int cpus;
	uint64_t *values;
};

/* Sums element @index of a per-CPU map of u64s over the CPUs into @out[@words]. */
static int read_counter(struct reader *reader, enum map_id id, uint32_t index, void *out,
			size_t words)
{
	const struct datapath *datapath = reader->control->datapath;
	uint64_t *sums = out;
	size_t word;
	int cpu;

	memset(out, 0, words * sizeof(*sums));
	if (!datapath)
		return 0;
	if (bpf_map_lookup_elem(datapath->maps[id].fd, &index, reader->values))
		return errors_add_code(reader->control->errors, errno, datapath->maps[id].name,
				       "run as root, or as a member of the state's group",
				       "cannot read counter %u: %s", index, strerror(errno));
	for (cpu = 0; cpu < reader->cpus; cpu++)
		for (word = 0; word < words; word++)
			sums[word] += reader->values[cpu * words + word];
	return 0;
}

#define read_into(reader, id, index, target)                                                       \
	read_counter(reader, id, index, target, sizeof(*(target)) / sizeof(uint64_t))

static int read_group(struct reader *reader, const struct view_numbers *numbers, uint32_t group,
		      const struct service *service, struct rule_snapshot *out)
{
	size_t cohort;
	int error = 0;

	for (cohort = 0; cohort < service->cohorts_count && !error; cohort++)
		error = read_into(reader, MAP_RULE_COUNTERS,
				  group * LANES_MAX + numbers->lanes[cohort],
				  &out->cohorts[cohort]);
	return error;
}

static uint8_t read_health(const struct control *control, const struct view *view, uint16_t number,
			   const struct service *service, const struct backend *backend)
{
	const struct backend_line *line;

	if (!view || number >= view->backends_count)
		return backend_health(control, service, backend);
	line = datapath_backend(control->datapath, view, number);
	return line->flags & BACKEND_GONE ? backend_health(control, service, backend)
					  : line->health;
}

static void read_all_health(const struct control *control, const struct view *view,
			    const struct view_numbers *numbers, struct service_snapshot *out)
{
	const struct service *service = out->service;
	size_t cohort, i, index = 0;

	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		for (i = 0; i < service->cohorts[cohort].backends_count; i++, index++)
			out->health[index] =
				read_health(control, view, numbers->backend_numbers[index], service,
					    &service->cohorts[cohort].backends[i]);
}

static int read_backends(struct reader *reader, const struct view *view,
			 const struct view_numbers *numbers, struct service_snapshot *out)
{
	size_t i;
	int error = 0;

	out->backends_count = numbers->backends_count;
	out->backends = calloc(out->backends_count + 1, sizeof(*out->backends));
	out->health = calloc(out->backends_count + 1, sizeof(*out->health));
	if (!out->backends || !out->health)
		return -ENOMEM;
	read_all_health(reader->control, view, numbers, out);
	for (i = 0; i < out->backends_count && !error; i++)
		error = read_into(reader, MAP_BACKEND_COUNTERS, numbers->backend_counters[i],
				  &out->backends[i]);
	return error;
}

static int read_service(struct reader *reader, const struct service *service,
			struct service_snapshot *out)
{
	struct control *control = reader->control;
	struct view_numbers numbers = {0};
	const struct view *view;
	size_t rule;
	int error;

	out->service = service;
	out->live = live_service_of(&control->live, service->name);
	out->rules_count = service->rules_count;
	for (rule = 0; rule < service->rules_count; rule++)
		out->rules[rule].rule = &service->rules[rule];
	error = out->live ? numbers_of(control, service, &numbers) : -ENOENT;
	if (error == -ENOENT) /* stored, not published yet */
		return 0;
	for (rule = 0; rule < service->rules_count && !error; rule++)
		error = read_group(reader, &numbers, numbers.rule_groups[rule], service,
				   &out->rules[rule]);
	if (!error)
		error = read_group(reader, &numbers, numbers.no_rule_group, service,
				   &out->rules[service->rules_count]);
	if (!error)
		error = read_into(reader, MAP_DECISION_COUNTERS, out->live->slot, &out->decisions);
	if (!error)
		error = read_into(reader, MAP_AFFINITY_COUNTERS, out->live->slot, &out->affinity);
	view = control->datapath ? datapath_view(control->datapath, out->live->slot) : NULL;
	out->digest = view ? view->digest : 0;
	if (!error)
		error = read_backends(reader, view, &numbers, out);
	view_numbers_release(&numbers);
	return error;
}

static int read_interfaces(struct reader *reader, struct snapshot *out)
{
	const struct live *live = &reader->control->live;
	size_t i, reason;
	int error = 0;

	out->interfaces = calloc(live->interfaces_count + 1, sizeof(*out->interfaces));
	if (!out->interfaces)
		return -ENOMEM;
	for (i = 0; i < live->interfaces_count && !error; i++) {
		struct interface_snapshot *interface = &out->interfaces[out->interfaces_count++];

		memcpy(interface->name, live->interfaces[i].name, sizeof(interface->name));
		interface->state = link_state(reader->control->place->pins, interface->name);
		error = read_into(reader, MAP_INTERFACE_COUNTERS, live->interfaces[i].slot,
				  &interface->counters);
		out->seen += interface->counters.seen;
		for (reason = 0; reason < REASONS; reason++)
			out->reasons[reason] += interface->counters.reasons[reason];
	}
	return error;
}

static int read_segments(struct reader *reader, struct snapshot *out)
{
	struct control *control = reader->control;
	size_t i;
	int error = 0;

	for (i = 0; control->store && i < control->policy->segments_count && !error; i++) {
		struct segment_hits *hits = &out->segments[out->segments_count];
		uint32_t number;

		hits->name = control->policy->segments[i].name;
		error = store_find_number(control->store, NUMBER_SEGMENT, "", hits->name, &number,
					  control->errors);
		if (error == -ENOENT) { /* no rule names it */
			error = 0;
			continue;
		}
		if (!error)
			error = read_into(reader, MAP_SEGMENT_COUNTERS, number, &hits->packets);
		out->segments_count++;
	}
	return error;
}

int snapshot_read(struct control *control, const char *only, struct snapshot *out)
{
	struct reader reader = {.control = control, .cpus = libbpf_num_possible_cpus()};
	size_t i;
	int error;

	*out = (struct snapshot){.time_ns = time_now_ns()};
	reader.values = calloc(reader.cpus, sizeof(struct interface_counter));
	out->services = calloc(control->policy->services_count + 1, sizeof(*out->services));
	error = reader.values && out->services ? read_interfaces(&reader, out) : -ENOMEM;
	if (control->datapath)
		out->since_ns = datapath_box(control->datapath)->created;
	if (!error)
		error = read_segments(&reader, out);
	for (i = 0; i < control->policy->services_count && !error; i++) {
		const struct service *service = &control->policy->services[i];

		if (!only || !strcmp(only, service->name))
			error = read_service(&reader, service,
					     &out->services[out->services_count++]);
	}
	free(reader.values);
	if (error)
		snapshot_release(out);
	return error;
}

void snapshot_release(struct snapshot *snapshot)
{
	size_t i;

	for (i = 0; snapshot->services && i < snapshot->services_count; i++) {
		free(snapshot->services[i].backends);
		free(snapshot->services[i].health);
	}
	free(snapshot->services);
	free(snapshot->interfaces);
	*snapshot = (struct snapshot){0};
}

uint64_t current_path_packets(const struct service_snapshot *service)
{
	uint64_t packets = 0, others = 0;
	size_t i;

	for (i = 0; i < STEER_REASONS; i++)
		packets += service->decisions.packets[i];
	for (i = PATH_CURRENT + 1; i < PATHS; i++)
		others += service->affinity.paths[i];
	return packets < others ? 0 : packets - others;
}

static void subtract(void *now, const void *before, size_t bytes)
{
	uint64_t *a = now;
	const uint64_t *b = before;
	size_t i;

	for (i = 0; i < bytes / sizeof(*a); i++)
		a[i] -= b[i];
}

void snapshot_subtract(struct snapshot *now, const struct snapshot *before)
{
	size_t i, rule;

	for (i = 0; i < now->services_count; i++) {
		struct service_snapshot *a = &now->services[i];
		const struct service_snapshot *b = &before->services[i];

		for (rule = 0; rule <= a->rules_count; rule++)
			subtract(a->rules[rule].cohorts, b->rules[rule].cohorts,
				 sizeof(a->rules[rule].cohorts));
		subtract(&a->decisions, &b->decisions, sizeof(a->decisions));
		subtract(&a->affinity, &b->affinity, sizeof(a->affinity));
		subtract(a->backends, b->backends, a->backends_count * sizeof(*a->backends));
	}
	for (i = 0; i < now->interfaces_count; i++)
		subtract(&now->interfaces[i].counters, &before->interfaces[i].counters,
			 sizeof(now->interfaces[i].counters));
	for (i = 0; i < now->segments_count; i++)
		now->segments[i].packets -= before->segments[i].packets;
	subtract(now->reasons, before->reasons, sizeof(now->reasons));
	now->seen -= before->seen;
}
