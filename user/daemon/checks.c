// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/checks.h"

#include "check/check.h"
#include "probe/http.h"
#include "probe/tcp.h"
#include "util/log.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define US_PER_MS      1000ULL
#define CONNECTIONS    4096 /* under way at a time: as many as descriptors allow */
#define OTHER_FILES    512
#define WRITE_AFTER_US (20 * US_PER_MS) /* changes that come together are written together */
#define WRITE_AGAIN_US (200 * US_PER_MS)

/* One backend. */
struct checked {
	struct checker *checker;
	char service[NAME_SIZE], cohort[NAME_SIZE];
	struct address address;
	const struct health_check *plan; /* in the checker's policy */
	uint16_t port;
	struct check check;
	struct check stored;	/* what the store was told */
	struct probe *probe;	/* under way */
	sd_event_source *timer; /* the next one */
	bool is_wanted;		/* in checker_follow() */
};

struct checker {
	sd_event *event;
	const struct place *place;
	const struct actor *actor;
	struct probe_engine *engine;
	struct policy *policy; /* that the plans are in */
	struct checked **list; /* by service and address */
	size_t count;
	sd_event_source *write; /* one shot */
	bool is_due;		/* there is something to write */
};

/* ---- asking ---- */

static void write_soon(struct checker *checker, uint64_t microseconds)
{
	checker->is_due = true;
	sd_event_source_set_time_relative(checker->write, microseconds);
	sd_event_source_set_enabled(checker->write, SD_EVENT_ONESHOT);
}

static void arm(struct checked *checked, uint64_t milliseconds)
{
	sd_event_source_set_time_relative(checked->timer, milliseconds * US_PER_MS);
	sd_event_source_set_enabled(checked->timer, SD_EVENT_ONESHOT);
}

static void conclude(struct checked *checked, const char *error)
{
	const struct health_check *plan = checked->plan;
	bool passed = !*error;
	char address[ADDRESS_TEXT_SIZE];

	checked->probe = NULL;
	if (!check_result(&checked->check, plan->rise, plan->fall, passed))
		return;
	log_note("%s: %s of %s is %s%s%s%s", checked->service,
		 address_format(&checked->address, address), checked->cohort,
		 checked->check.up ? "up" : "down", passed ? "" : ": ", error,
		 checked->check.flapping
			 ? "; it flaps, and is held down until the transition has ended"
			 : "");
	write_soon(checked->checker, WRITE_AFTER_US);
}

static void on_tcp(void *data, const char *error)
{
	conclude(data, error);
}

static void on_http(void *data, const struct http_answer *answer)
{
	conclude(data, answer->ok ? "" : answer->error);
}

static int ask_http(struct checked *checked)
{
	const struct health_check *plan = checked->plan;
	char address[ADDRESS_TEXT_SIZE], *url;
	struct http_request request = {
		.host = plan->host,
		.expect = plan->expect_status,
		.expect_count = plan->expect_status_count,
		.expect_body = plan->expect_body,
		.timeout_ms = plan->timeout_ms,
		.alone = true,
	};
	bool is_ipv6 = checked->address.family == 6;
	int error;

	if (asprintf(&url, "http://%s%s%s:%u%s", is_ipv6 ? "[" : "",
		     address_format(&checked->address, address), is_ipv6 ? "]" : "", checked->port,
		     plan->path) < 0)
		return -ENOMEM;
	request.url = url;
	error = probe_http(checked->checker->engine, &request, on_http, checked, &checked->probe);
	free(url);
	return error;
}

/* One that is still under way when the next is due has its time-out before long. */
static int on_time(sd_event_source *source, uint64_t time, void *data)
{
	struct checked *checked = data;
	const struct health_check *plan = checked->plan;

	(void)source;
	(void)time;
	if (!checked->probe && plan->type == CHECK_HTTP)
		ask_http(checked);
	else if (!checked->probe)
		probe_tcp(checked->checker->engine, &checked->address, checked->port,
			  plan->timeout_ms, on_tcp, checked, &checked->probe);
	arm(checked, plan->interval_ms);
	return 0;
}

/* ---- who is checked ---- */

static void checked_free(struct checked *checked)
{
	probe_cancel(checked->probe);
	sd_event_source_disable_unref(checked->timer);
	free(checked);
}

static int compare_checked(const struct checked *a, const char *service,
			   const struct address *address)
{
	int order = strcmp(a->service, service);

	if (order)
		return order;
	order = (int)a->address.family - address->family;
	return order ? order : memcmp(a->address.bytes, address->bytes, sizeof(address->bytes));
}

/* Where it is, or would be. */
static size_t place_of(const struct checker *checker, const char *service,
		       const struct address *address)
{
	size_t from = 0, to = checker->count;

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (compare_checked(checker->list[middle], service, address) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static uint16_t port_of(const struct service *service)
{
	if (service->health_check.port)
		return service->health_check.port;
	for (size_t i = 0; i < service->vips_count; i++)
		if (service->vips[i].port)
			return service->vips[i].port;
	return 0;
}

static int add(struct checker *checker, size_t at, const struct service *service,
	       const struct backend *backend, const struct live_check *known)
{
	struct checked **grown = reallocarray(checker->list, checker->count + 1, sizeof(*grown)),
		       *checked;
	uint64_t interval = service->health_check.interval_ms;

	if (!grown)
		return -ENOMEM;
	checker->list = grown;
	checked = calloc(1, sizeof(*checked));
	if (!checked)
		return -ENOMEM;
	checked->checker = checker;
	snprintf(checked->service, sizeof(checked->service), "%s", service->name);
	checked->address = backend->address;
	checked->check = check_begin(!known || known->up, known && known->flapping);
	checked->stored = checked->check;
	if (sd_event_add_time_relative(checker->event, &checked->timer, CLOCK_MONOTONIC,
				       rand() % (interval + 1) * US_PER_MS, 0, on_time,
				       checked) < 0) {
		free(checked);
		return -ENOMEM;
	}
	memmove(&grown[at + 1], &grown[at], (checker->count++ - at) * sizeof(*grown));
	grown[at] = checked;
	return 0;
}

static int follow_backend(struct checker *checker, const struct control *control,
			  const struct service *service, const struct cohort *cohort,
			  const struct backend *backend)
{
	size_t at = place_of(checker, service->name, &backend->address);
	struct checked *checked;
	int error;

	if (at == checker->count ||
	    compare_checked(checker->list[at], service->name, &backend->address)) {
		error = add(checker, at, service, backend,
			    live_check_of(&control->live, service->name, &backend->address));
		if (error)
			return error;
	}
	checked = checker->list[at];
	checked->is_wanted = true;
	checked->plan = &service->health_check;
	checked->port = port_of(service);
	snprintf(checked->cohort, sizeof(checked->cohort), "%s", cohort->name);
	return 0;
}

static int follow_service(struct checker *checker, const struct control *control,
			  const struct service *service)
{
	int error = 0;

	for (size_t i = 0; i < service->cohorts_count; i++)
		for (size_t j = 0; j < service->cohorts[i].backends_count && !error; j++)
			error = follow_backend(checker, control, service, &service->cohorts[i],
					       &service->cohorts[i].backends[j]);
	return error;
}

/* Their rows go with the write that is due. */
static void drop_unwanted(struct checker *checker)
{
	size_t kept = 0;

	for (size_t i = 0; i < checker->count; i++) {
		if (checker->list[i]->is_wanted)
			checker->list[kept++] = checker->list[i];
		else
			checked_free(checker->list[i]);
	}
	checker->count = kept;
}

int checker_follow(struct checker *checker, struct control *control)
{
	struct policy *before = checker->policy;
	int error = 0;

	checker->policy = control->policy;
	control->policy = NULL;
	for (size_t i = 0; i < checker->count; i++)
		checker->list[i]->is_wanted = false;
	for (size_t i = 0; i < checker->policy->services_count && !error; i++)
		if (checker->policy->services[i].health_check.type != CHECK_NONE)
			error = follow_service(checker, control, &checker->policy->services[i]);
	drop_unwanted(checker);
	policy_free(before);
	write_soon(checker, 0); /* what nobody checks any more is forgotten */
	return error;
}

/* ---- what is found ---- */

static bool has_changed(const struct checked *checked)
{
	return checked->check.up != checked->stored.up ||
	       checked->check.flapping != checked->stored.flapping;
}

static bool is_checked(const struct checker *checker, const struct live_check *known)
{
	size_t at = place_of(checker, known->service, &known->backend);

	return at < checker->count &&
	       !compare_checked(checker->list[at], known->service, &known->backend);
}

static int forget_others(const struct checker *checker, struct control *control)
{
	int error = 0;

	for (size_t i = 0; i < control->live.checks_count && !error; i++) {
		const struct live_check *known = &control->live.checks[i];

		if (is_checked(checker, known))
			continue;
		error = store_drop_check(control->store, known->service, &known->backend,
					 control->errors);
		if (!error)
			error = control_touch(control, known->service);
	}
	return error;
}

/* A cohort without a backend that serves is worth a word of its own. */
static void alarm_of(const struct control *control, const char *name)
{
	const struct service *service = policy_service(control->policy, name);

	for (size_t i = 0; service && i < service->cohorts_count; i++)
		if (cohort_is_dead(control, service, i))
			log_note("%s: no backend of %s passes its checks: %s", name,
				 service->cohorts[i].name,
				 i ? "its clients go to control (cohort_down)"
				   : "it keeps them all, better a chance than none");
}

static int write_changes(struct checker *checker, struct control *control)
{
	int error = forget_others(checker, control);

	for (size_t i = 0; i < checker->count && !error; i++) {
		const struct checked *checked = checker->list[i];

		if (!has_changed(checked) || !policy_service(control->policy, checked->service))
			continue;
		error = store_set_check(control->store, checked->service, &checked->address,
					checked->check.up, checked->check.flapping,
					control->errors);
		if (!error)
			error = control_touch(control, checked->service);
	}
	if (error || !control->touched_count)
		return error;
	error = control_reload_live(control);
	if (!error)
		error = control_publish(control);
	for (size_t i = 0; i < control->touched_count && !error; i++)
		alarm_of(control, control->touched[i]);
	return error;
}

static int write_all(struct checker *checker, struct errors *errors)
{
	struct control *control;
	int error = control_open_write(checker->place, checker->actor, errors, &control);

	if (error)
		return error;
	error = write_changes(checker, control);
	control_close(control);
	for (size_t i = 0; i < checker->count && !error; i++)
		checker->list[i]->stored = checker->list[i]->check;
	checker->is_due = error;
	return error;
}

static int on_write(sd_event_source *source, uint64_t time, void *data)
{
	struct checker *checker = data;
	struct errors *errors = errors_new();
	int error = write_all(checker, errors);

	(void)source;
	(void)time;
	/* Whatever it was: checker_round() says so if it lasts. */
	if (error)
		write_soon(checker, WRITE_AGAIN_US);
	errors_free(errors);
	return 0;
}

/* Eras, by the service's shown view: 0, none is open. */
static int end_damping(struct checker *checker, struct errors *errors)
{
	struct control *control;
	uint64_t now = 0;
	int error = control_open(checker->place, errors, &control);

	if (error)
		return error;
	if (control->datapath)
		error = datapath_jiffies(control->datapath, &now, errors);
	for (size_t i = 0; i < checker->count && !error; i++) {
		struct checked *checked = checker->list[i];
		const struct view *view = control_view(control, checked->service);

		if (view && check_era(&checked->check, era_is_open(view, now) ? view->eras : 0))
			write_soon(checker, 0);
	}
	control_close(control);
	return error;
}

static bool any_is_damped(const struct checker *checker)
{
	for (size_t i = 0; i < checker->count; i++)
		if (checker->list[i]->check.changes || checker->list[i]->check.flapping)
			return true;
	return false;
}

int checker_round(struct checker *checker, struct errors *errors)
{
	int error = any_is_damped(checker) ? end_damping(checker, errors) : 0;

	if (!error && checker->is_due)
		error = write_all(checker, errors);
	return error;
}

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
			checker->list[i]->check.failures);
}

/* ---- */

/* As many descriptors as there may be. */
static void allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= CONNECTIONS + OTHER_FILES)
		return;
	limit.rlim_cur = limit.rlim_max < CONNECTIONS + OTHER_FILES ? limit.rlim_max
								    : CONNECTIONS + OTHER_FILES;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static size_t connections_allowed(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < 2 * OTHER_FILES)
		return PROBE_CONNECTIONS_MAX;
	return limit.rlim_cur - OTHER_FILES < CONNECTIONS ? limit.rlim_cur - OTHER_FILES
							  : CONNECTIONS;
}

int checker_new(sd_event *event, const struct place *place, const struct actor *actor,
		struct checker **out)
{
	struct checker *checker = calloc(1, sizeof(*checker));
	int error;

	if (!checker)
		return -ENOMEM;
	checker->event = event;
	checker->place = place;
	checker->actor = actor;
	allow_files();
	error = probe_engine_new(event, &checker->engine);
	if (error >= 0) {
		probe_engine_widen(checker->engine, connections_allowed());
		error = sd_event_add_time(event, &checker->write, CLOCK_MONOTONIC, 0, 0, on_write,
					  checker);
	}
	if (error >= 0)
		error = sd_event_source_set_enabled(checker->write, SD_EVENT_OFF);
	if (error < 0) {
		checker_free(checker);
		return error;
	}
	*out = checker;
	return 0;
}

void checker_free(struct checker *checker)
{
	if (!checker)
		return;
	for (size_t i = 0; i < checker->count; i++)
		checked_free(checker->list[i]);
	free(checker->list);
	probe_engine_free(checker->engine);
	sd_event_source_disable_unref(checker->write);
	policy_free(checker->policy);
	free(checker);
}
