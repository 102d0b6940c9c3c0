// SPDX-License-Identifier: GPL-2.0-only
/*
 * One timer a backend; what becomes of its result is check/check.h's to say. The store is behind
 * what is found until a write has succeeded: what differs is what has to be written, so nothing is
 * lost where another writer has the lock. Alarms are of cohorts, and said when they begin and end.
 */
#include "daemon/checks_internal.h"

#include "probe/http.h"
#include "probe/tcp.h"
#include "util/log.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define US_PER_MS   1000ULL
#define ACCURACY_US (5 * US_PER_MS)
#define CONNECTIONS 4096 /* under way at a time: as many as descriptors allow */
#define OTHER_FILES 512

/* ---- asking ---- */

/* @at: CLOCK_MONOTONIC us. */
static void arm(struct checked *checked, uint64_t at)
{
	sd_event_source_set_time(checked->timer, at);
	sd_event_source_set_enabled(checked->timer, SD_EVENT_ONESHOT);
}

static void conclude(struct checked *checked, const char *error)
{
	const struct health_check *plan = checked->plan;
	bool passed = !*error;
	char address[ADDRESS_TEXT_SIZE];

	checked->probe = NULL;
	if (!passed)
		counter_add(checked->failures);
	if (!check_result(&checked->check, plan->rise, plan->fall, passed))
		return;
	log_event(passed ? LOG_NOTICE : LOG_WARNING,
		  &(struct log_facts){.service = checked->service,
				      .cohort = checked->cohort,
				      .event = checked->check.up ? "backend_up" : "backend_down"},
		  "%s: %s of %s is %s%s%s%s", checked->service,
		  address_format(&checked->address, address), checked->cohort,
		  checked->check.up ? "up" : "down", passed ? "" : ": ", error,
		  checked->check.flapping
			  ? "; it flaps, and is held down until the transition has ended"
			  : "");
	checker_write_soon(checked->checker);
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

/*
 * One that is still under way when the next is due has its time-out before long. Without memory to
 * ask nothing is known of the backend, and the next time tells.
 */
static int on_time(sd_event_source *source, uint64_t time, void *data)
{
	struct checked *checked = data;
	const struct health_check *plan = checked->plan;
	uint64_t interval = plan->interval_ms * US_PER_MS, now;

	(void)time;
	if (!checked->probe && plan->type == CHECK_HTTP)
		ask_http(checked);
	else if (!checked->probe)
		probe_tcp(checked->checker->engine, &checked->address, checked->port,
			  plan->timeout_ms, on_tcp, checked, &checked->probe);
	sd_event_now(sd_event_source_get_event(source), CLOCK_MONOTONIC, &now);
	arm(checked, check_next(now, interval, check_phase(checked->index, interval)));
	return 0;
}

/* ---- who is checked ---- */

static void checked_free(struct checked *checked)
{
	probe_cancel(checked->probe);
	sd_event_source_disable_unref(checked->timer);
	counter_give_back(checked->failures);
	free(checked);
}

static int compare_checked(const struct checked *a, const char *service,
			   const struct address *address)
{
	int order = strcmp(a->service, service);

	return order ? order : address_compare(&a->address, address);
}

static int compare_places(const void *left, const void *right)
{
	const struct checked *a = *(struct checked *const *)left,
			     *b = *(struct checked *const *)right;

	return compare_checked(a, b->service, &b->address);
}

/* Of the first @count, which are in order; NULL: it is not among them. */
static struct checked *find(const struct checker *checker, size_t count, const char *service,
			    const struct address *address)
{
	size_t from = 0, to = count;

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (compare_checked(checker->list[middle], service, address) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from < count && !compare_checked(checker->list[from], service, address)
		       ? checker->list[from]
		       : NULL;
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

/* At the end of the list. Its first check is due at once. */
static struct checked *add(struct checker *checker, const struct service *service,
			   const struct backend *backend, const struct live_check *known)
{
	struct checked **grown = reallocarray(checker->list, checker->count + 1, sizeof(*grown));
	char address[ADDRESS_TEXT_SIZE];
	struct checked *checked;

	if (!grown)
		return NULL;
	checker->list = grown;
	checked = calloc(1, sizeof(*checked));
	if (!checked)
		return NULL;
	checked->checker = checker;
	snprintf(checked->service, sizeof(checked->service), "%s", service->name);
	checked->address = backend->address;
	checked->check = check_begin(!known || known->up, known && known->flapping);
	checked->stored = checked->check;
	checked->index = checker->given++;
	if (sd_event_add_time(checker->event, &checked->timer, CLOCK_MONOTONIC, 0, ACCURACY_US,
			      on_time, checked) < 0) {
		free(checked);
		return NULL;
	}
	checked->failures = counters_use(checker->counters, COUNTER_CHECK_FAILURES, service->name,
					 address_format(&backend->address, address));
	grown[checker->count++] = checked;
	return checked;
}

static bool texts_differ(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) : a != b;
}

/* Is something else asked, or at other times? rise and fall are read with each result. */
static bool asks_otherwise(const struct checked *checked, const struct health_check *plan,
			   uint16_t port)
{
	const struct health_check *before = checked->plan;

	return before->type != plan->type || checked->port != port ||
	       before->interval_ms != plan->interval_ms || before->timeout_ms != plan->timeout_ms ||
	       texts_differ(before->path, plan->path) || texts_differ(before->host, plan->host) ||
	       texts_differ(before->expect_body, plan->expect_body) ||
	       before->expect_status_count != plan->expect_status_count ||
	       (plan->expect_status_count &&
		memcmp(before->expect_status, plan->expect_status,
		       plan->expect_status_count * sizeof(*plan->expect_status)));
}

/* The plan that was is still there. What the old question found so far is no answer to the new. */
static void take_plan(struct checked *checked, const struct health_check *plan, uint16_t port)
{
	if (checked->plan && asks_otherwise(checked, plan, port)) {
		probe_cancel(checked->probe);
		checked->probe = NULL;
		checked->check.streak = 0;
		arm(checked, 0);
	}
	checked->plan = plan;
	checked->port = port;
}

/* @known: so many were there before. */
static int follow_backend(struct checker *checker, const struct control *control, size_t known,
			  const struct service *service, const struct cohort *cohort,
			  const struct backend *backend)
{
	struct checked *checked = find(checker, known, service->name, &backend->address);

	if (!checked)
		checked = add(checker, service, backend,
			      live_check_of(&control->live, service->name, &backend->address));
	if (!checked)
		return -ENOMEM;
	checked->is_wanted = true;
	take_plan(checked, &service->health_check, port_of(service));
	snprintf(checked->cohort, sizeof(checked->cohort), "%s", cohort->name);
	return 0;
}

static int follow_service(struct checker *checker, const struct control *control, size_t known,
			  const struct service *service)
{
	int error = 0;

	for (size_t i = 0; i < service->cohorts_count; i++)
		for (size_t j = 0; j < service->cohorts[i].backends_count && !error; j++)
			error = follow_backend(checker, control, known, service,
					       &service->cohorts[i],
					       &service->cohorts[i].backends[j]);
	return error;
}

/* Their rows went with the write that dropped them from the policy. */
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
	size_t known = checker->count;
	int error = 0;

	checker_follow_alarms(checker, control);
	checker->policy = control->policy;
	control->policy = NULL;
	for (size_t i = 0; i < known; i++)
		checker->list[i]->is_wanted = false;
	for (size_t i = 0; i < checker->policy->services_count && !error; i++)
		if (checker->policy->services[i].health_check.type != CHECK_NONE)
			error = follow_service(checker, control, known,
					       &checker->policy->services[i]);
	drop_unwanted(checker);
	counters_forget_unused(checker->counters, COUNTER_CHECK_FAILURES);
	if (checker->count)
		qsort(checker->list, checker->count, sizeof(*checker->list), compare_places);
	policy_free(before);
	return error;
}

/* ---- the checker ---- */

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
		struct counters *counters, struct checker **out)
{
	struct checker *checker = calloc(1, sizeof(*checker));
	int error;

	if (!checker)
		return -ENOMEM;
	checker->event = event;
	checker->place = place;
	checker->actor = actor;
	checker->counters = counters;
	allow_files();
	error = probe_engine_new(event, &checker->engine);
	if (error >= 0) {
		probe_engine_widen(checker->engine, connections_allowed());
		error = checker_begin_writing(checker);
	}
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
	checker_end_writing(checker);
	policy_free(checker->policy);
	free(checker);
}
