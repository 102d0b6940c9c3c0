// SPDX-License-Identifier: GPL-2.0-only
/*
 * What was found goes to the store and from there to the kernel, in one write for all that has
 * changed. The store is behind until a write has succeeded: what differs is what has to be written,
 * so nothing is lost where another writer has the lock. Alarms are of cohorts, and said when they
 * begin and when they end.
 */
#include "daemon/checks_internal.h"

#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_AFTER_US 20000ULL	 /* changes that come together are written together */
#define WRITE_AGAIN_US 200000ULL /* another writer was there */

/* ---- alarms ---- */

static void say_alarm(const struct service *service, size_t cohort)
{
	struct errors *errors = errors_new();
	char object[3 * NAME_SIZE];

	snprintf(object, sizeof(object), "services/%s/cohorts/%s", service->name,
		 service->cohorts[cohort].name);
	if (cohort)
		errors_warn(errors, NULL, object, "look at its servers", "%s",
			    dead_cohort_text(cohort));
	else
		errors_add(errors, NULL, object, "look at its servers", "%s",
			   dead_cohort_text(cohort));
	log_errors(&(struct log_facts){.service = service->name,
				       .cohort = service->cohorts[cohort].name,
				       .event = "cohort_down"},
		   errors);
	errors_free(errors);
}

static void look_at_service(const struct control *control, const struct service *service,
			    uint8_t *dead)
{
	for (size_t i = 0; i < service->cohorts_count; i++) {
		bool is_dead = cohort_is_dead(control, service, i), was_dead = *dead >> i & 1;

		if (is_dead && !was_dead)
			say_alarm(service, i);
		if (was_dead && !is_dead)
			log_event(LOG_NOTICE,
				  &(struct log_facts){.service = service->name,
						      .cohort = service->cohorts[i].name,
						      .event = "cohort_up"},
				  "services/%s/cohorts/%s: serves again", service->name,
				  service->cohorts[i].name);
		*dead = (*dead & ~(1 << i)) | is_dead << i;
	}
}

static struct checked_service *service_of(const struct checker *checker, const char *name)
{
	for (size_t i = 0; i < checker->services_count; i++)
		if (!strcmp(checker->services[i].name, name))
			return &checker->services[i];
	return NULL;
}

void checker_follow_alarms(struct checker *checker, const struct control *control)
{
	const struct policy *policy = control->policy;
	struct checked_service *services = calloc(policy->services_count + 1, sizeof(*services));
	size_t count = 0;

	if (!services) /* alarms are said of those that are known */
		return;
	for (size_t i = 0; i < policy->services_count; i++) {
		const struct service *service = &policy->services[i];
		const struct checked_service *before = service_of(checker, service->name);

		if (service->health_check.type == CHECK_NONE)
			continue;
		if (before)
			services[count] = *before;
		snprintf(services[count].name, NAME_SIZE, "%s", service->name);
		look_at_service(control, service, &services[count++].dead);
	}
	free(checker->services);
	checker->services = services;
	checker->services_count = count;
}

static void look_at_touched(struct checker *checker, const struct control *control)
{
	for (size_t i = 0; i < checker->services_count; i++) {
		struct checked_service *known = &checker->services[i];
		const struct service *service = policy_service(control->policy, known->name);

		if (service && control_is_touched(control, known->name))
			look_at_service(control, service, &known->dead);
	}
}

/* ---- writing ---- */

/* Of one that is held down it does not matter what its checks say meanwhile. */
static bool has_changed(const struct checked *checked)
{
	if (checked->check.flapping != checked->stored.flapping)
		return true;
	return !checked->check.flapping && checked->check.up != checked->stored.up;
}

static bool any_has_changed(const struct checker *checker)
{
	for (size_t i = 0; i < checker->count; i++)
		if (has_changed(checker->list[i]))
			return true;
	return false;
}

/* What is no longer of the policy, which may be newer than what is followed, publishing forgets. */
static int store_changes(const struct checker *checker, struct control *control)
{
	const char *touched = NULL;
	int error = 0;

	for (size_t i = 0; i < checker->count && !error; i++) {
		const struct checked *checked = checker->list[i];

		if (!has_changed(checked))
			continue;
		error = store_set_check(control->store, checked->service, &checked->address,
					checked->check.up, checked->check.flapping,
					control->errors);
		if (!error && (!touched || strcmp(touched, checked->service)))
			error = control_touch(control, touched = checked->service);
	}
	return error ? error : control_reload_live(control);
}

static int write_changes(struct checker *checker, struct errors *errors)
{
	struct control *control;
	int error = control_open_write(checker->place, checker->actor, errors, &control);

	if (error)
		return error;
	error = store_changes(checker, control);
	if (!error)
		error = control_publish(control);
	if (!error)
		look_at_touched(checker, control);
	control_close(control);
	for (size_t i = 0; i < checker->count && !error; i++)
		if (has_changed(checker->list[i]))
			checker->list[i]->stored = checker->list[i]->check;
	return error;
}

static void write_after(struct checker *checker, uint64_t microseconds)
{
	sd_event_source_set_time_relative(checker->write, microseconds);
	sd_event_source_set_enabled(checker->write, SD_EVENT_ONESHOT);
}

void checker_write_soon(struct checker *checker)
{
	int enabled = SD_EVENT_OFF;

	sd_event_source_get_enabled(checker->write, &enabled);
	if (enabled == SD_EVENT_OFF)
		write_after(checker, WRITE_AFTER_US);
}

/* Whatever keeps it from being written, checker_round() says so if it lasts. */
static int on_write(sd_event_source *source, uint64_t time, void *data)
{
	struct checker *checker = data;
	struct errors *errors = errors_new();

	(void)source;
	(void)time;
	if (any_has_changed(checker) && write_changes(checker, errors))
		write_after(checker, WRITE_AGAIN_US);
	errors_free(errors);
	return 0;
}

int checker_begin_writing(struct checker *checker)
{
	int error = sd_event_add_time(checker->event, &checker->write, CLOCK_MONOTONIC, 0, 1,
				      on_write, checker);

	if (error >= 0)
		error = sd_event_source_set_enabled(checker->write, SD_EVENT_OFF);
	return error < 0 ? error : 0;
}

void checker_end_writing(struct checker *checker)
{
	sd_event_source_disable_unref(checker->write);
	datapath_close(checker->datapath);
	free(checker->services);
}

/* ---- eras ---- */

static const struct view *view_of(const struct checker *checker, const char *service)
{
	int slot = service_slot_by_name(checker->datapath, service);

	return slot < 0 ? NULL : datapath_view(checker->datapath, slot);
}

static bool any_is_counted(const struct checker *checker)
{
	for (size_t i = 0; i < checker->count; i++)
		if (checker->list[i]->check.changes || checker->list[i]->check.flapping)
			return true;
	return false;
}

static void look_at_era(struct checked *checked, uint64_t era)
{
	char address[ADDRESS_TEXT_SIZE];

	if (check_era(&checked->check, era))
		log_event(LOG_NOTICE,
			  &(struct log_facts){.service = checked->service,
					      .cohort = checked->cohort,
					      .event = "backend_released"},
			  "%s: %s of %s is no longer held down: its checks say %s",
			  checked->service, address_format(&checked->address, address),
			  checked->cohort, checked->check.up ? "up" : "down");
}

/* Where the kernel's side cannot be read, or was lost, eras are as they were. */
static int look_at_eras(struct checker *checker, struct errors *errors)
{
	const struct view *view = NULL;
	const char *service = NULL;
	uint64_t now = 0;
	int error = datapath_keep_open(checker->place->pins, false, &checker->datapath);

	if (error || !checker->datapath)
		return 0;
	error = datapath_jiffies(checker->datapath, &now, errors);
	for (size_t i = 0; i < checker->count && !error; i++) {
		struct checked *checked = checker->list[i];

		if (!service || strcmp(service, checked->service))
			view = view_of(checker, service = checked->service);
		if (view)
			look_at_era(checked, era_is_open(view, now) ? view->eras : 0);
	}
	return error;
}

int checker_round(struct checker *checker, struct errors *errors)
{
	int error = any_is_counted(checker) ? look_at_eras(checker, errors) : 0;

	if (!error && any_has_changed(checker))
		error = write_changes(checker, errors);
	return error;
}

/* ---- /metrics ---- */

/* Label values: names and addresses, which need no escapes. */
void checker_metrics(const struct checker *checker, FILE *out)
{
	char address[ADDRESS_TEXT_SIZE];

	fputs("# HELP xdp_canary_check_failures_total Checks of the backend that failed.\n"
	      "# TYPE xdp_canary_check_failures_total counter\n",
	      out);
	for (size_t i = 0; checker && i < checker->count; i++)
		fprintf(out,
			"xdp_canary_check_failures_total{service=\"%s\",backend=\"%s\"} %" PRIu64
			"\n",
			checker->list[i]->service,
			address_format(&checker->list[i]->address, address),
			counter_shown(checker->list[i]->failures));
}
