// SPDX-License-Identifier: GPL-2.0-only
/* What a service is compiled from: its policy, the numbers of its names, and what is live of it. */
#include "control/tables.h"

#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_killed(const struct control *control, const struct service *service)
{
	const struct live_service *live = live_service_of(&control->live, service->name);

	return live && live->latch == LATCH_KILLED;
}

/* The pins of a service that still hold, as the kernel takes them. malloc()ed. */
static struct pin *pins_of(const struct control *control, const struct service *service,
			   size_t *count)
{
	struct pin *pins = calloc(control->live.pins_count + 1, sizeof(*pins));
	uint64_t now = time_now_ns();
	size_t i;

	*count = 0;
	for (i = 0; pins && i < control->live.pins_count; i++) {
		const struct live_pin *live = &control->live.pins[i];
		int cohort;

		if (strcmp(live->service, service->name) ||
		    (live->expires_ns && live->expires_ns <= now))
			continue;
		cohort = service_cohort(service, live->cohort);
		if (cohort < 0)
			continue;
		if (is_killed(control, service))
			cohort = 0;
		pins[(*count)++] = (struct pin){
			.client = prefix_shorten(&live->client, service->prefix4, service->prefix6),
			.cohort = cohort,
			.expires = live->expires_ns ? monotonic_now_ns() + (live->expires_ns - now)
						    : PIN_FOREVER,
			.until = live->expires_ns,
		};
	}
	return pins;
}

static void input_shares(const struct control *control, const struct service *service,
			 struct compile_input *input)
{
	bool killed = is_killed(control, service);
	size_t rule, cohort;

	for (rule = 0; rule < service->rules_count && !killed; rule++)
		for (cohort = 1; cohort < service->cohorts_count; cohort++)
			input->share_ppm[rule][cohort] =
				given_share(control, service, rule, cohort);
}

/* Of a killed service nothing is left that a latch could hold. */
static void input_rollout(const struct control *control, const struct service *service,
			  struct compile_input *input)
{
	const struct live_service *live = live_service_of(&control->live, service->name);
	size_t cohort = rollout_cohort_of(control, service);

	if (!live)
		return;
	if (live->is_rolling)
		input->rollout_cohort = cohort;
	input->lease_ms = lease_in_force(control, service);
	if (live->latch != LATCH_KILLED && cohort_is_latched(control, service, cohort))
		input->latched = 1 << cohort;
	input->is_lease_latch = live->latch == LATCH_LEASE_EXPIRED;
}

static uint8_t health_of(enum wish wish)
{
	return wish == WISH_DOWN ? BACKEND_DOWN : wish == WISH_DRAINING ? BACKEND_DRAINING : 0;
}

static uint8_t wished_health(const struct control *control, const struct service *service,
			     const struct backend *backend)
{
	const struct live_wish *wish =
		live_wish_of(&control->live, service->name, &backend->address);

	return wish ? health_of(wish->wish) : 0;
}

const struct live_check *backend_check(const struct control *control, const struct service *service,
				       const struct backend *backend)
{
	if (service->health_check.type == CHECK_NONE)
		return NULL;
	return live_check_of(&control->live, service->name, &backend->address);
}

uint8_t backend_health(const struct control *control, const struct service *service,
		       const struct backend *backend)
{
	const struct live_check *check = backend_check(control, service, backend);

	if (check && !check_passes(check))
		return BACKEND_DOWN;
	return wished_health(control, service, backend);
}

bool cohort_is_dead(const struct control *control, const struct service *service, size_t cohort)
{
	const struct cohort *members = &service->cohorts[cohort];
	bool any_wished = false;

	for (size_t i = 0; i < members->backends_count; i++) {
		const struct backend *backend = &members->backends[i];

		if (!backend->weight)
			continue;
		if (!(backend_health(control, service, backend) & BACKEND_DOWN))
			return false;
		any_wished |= !(wished_health(control, service, backend) & BACKEND_DOWN);
	}
	return any_wished;
}

const char *dead_cohort_text(size_t cohort)
{
	return cohort ? "no backend passes its checks: its clients go to control (cohort_down)"
		      : "no backend of the control passes its checks: all keep their clients, as "
			"if they were up";
}

/* Of each backend, one cohort after the other. malloc()ed. */
static uint8_t *health_of_all(const struct control *control, const struct service *service,
			      size_t count)
{
	uint8_t *health = calloc(count + 1, sizeof(*health));
	bool control_is_dead = cohort_is_dead(control, service, 0);
	size_t cohort, i, index = 0;

	for (cohort = 0; health && cohort < service->cohorts_count; cohort++)
		for (i = 0; i < service->cohorts[cohort].backends_count; i++) {
			const struct backend *backend = &service->cohorts[cohort].backends[i];

			health[index++] = !cohort && control_is_dead
						  ? wished_health(control, service, backend)
						  : backend_health(control, service, backend);
		}
	return health;
}

int service_input_make(struct control *control, const struct service *service,
		       struct service_input *out)
{
	struct compile_input *input = &out->input;
	int error;

	*out = (struct service_input){0};
	error = numbers_of(control, service, &out->numbers);
	if (error)
		return error;
	out->pins = pins_of(control, service, &input->pins_count);
	out->health = health_of_all(control, service, out->numbers.backends_count);
	if (!out->pins || !out->health)
		return -ENOMEM;
	input->service = service;
	input->no_rule_group = out->numbers.no_rule_group;
	input->backend_numbers = out->numbers.backend_numbers;
	input->backend_counters = out->numbers.backend_counters;
	input->backend_health = out->health;
	input->pins = out->pins;
	if (control->datapath)
		input->secret_fingerprint = datapath_box(control->datapath)->secret_fingerprint;
	memcpy(input->rule_segments, out->numbers.segments, sizeof(input->rule_segments));
	input->segments_digest = tables_digest(control->tables, service, &out->numbers);
	memcpy(input->rule_groups, out->numbers.rule_groups, sizeof(input->rule_groups));
	memcpy(input->lanes, out->numbers.lanes, sizeof(input->lanes));
	input_shares(control, service, input);
	input_rollout(control, service, input);
	return tracking_input(control, service, input);
}

void service_input_release(struct service_input *input)
{
	view_numbers_release(&input->numbers);
	free(input->pins);
	free(input->health);
	*input = (struct service_input){0};
}
