// SPDX-License-Identifier: GPL-2.0-only
/*
 * One function a metric family, in the order of the contract. Counters are the kernel's, which
 * never fall while the maps live; what the guard says is what the daemon stored at its last look.
 */
#include "observe/rollouts.h"

#include "rollout/drive.h"
#include "rollout/said.h"
#include "track/track.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "xdp_canary_"

/* Of one service that has a rollout in the file. */
struct rollout_facts_of {
	const struct service *service;
	const struct live_service *live; /* NULL: not published yet */
	const struct view *view;	 /* NULL: nothing is loaded */
	struct rollout_state state;
	json_t *judgement; /* of the running rollout, or NULL */
};

struct page {
	FILE *out;
	struct control *control;
	struct rollout_facts_of *facts;
	size_t count;
	uint64_t jiffies; /* now; 0: unknown */
};

static void family(struct page *page, const char *name, const char *type, const char *help)
{
	fprintf(page->out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name,
		type);
}

/* ---- what is followed ---- */

static bool is_followed(const struct rollout_facts_of *facts)
{
	return facts->view && (facts->view->rollout & ROLLOUT_TRACKED);
}

static size_t cohort_of_arm(const struct rollout_facts_of *facts, int arm)
{
	return arm == TRACK_CANARY ? facts->view->rollout & ROLLOUT_COHORT : 0;
}

static uint64_t sights_of(const struct page *page, const struct rollout_facts_of *facts, int arm)
{
	struct track_counts counts;
	uint64_t sum = 0;

	for (size_t rule = 0; rule < facts->service->rules_count; rule++) {
		track_read(page->control->datapath, facts->view->track, rule, arm, &counts);
		sum += counts.sights;
	}
	return sum;
}

static void tracked_clients(struct page *page)
{
	family(page, "tracked_clients", "gauge",
	       "Clients that are followed and were seen in the guard's running window.");
	for (size_t i = 0; i < page->count; i++)
		for (int arm = 0; arm < TRACK_ARMS && is_followed(&page->facts[i]); arm++)
			fprintf(page->out,
				PREFIX "tracked_clients{service=\"%s\",cohort=\"%s\"} %" PRIu64
				       "\n",
				page->facts[i].service->name,
				page->facts[i]
					.service->cohorts[cohort_of_arm(&page->facts[i], arm)]
					.name,
				sights_of(page, &page->facts[i], arm));
}

/* Calls @write for each cohort of each service whose counters the kernel has. */
static void each_cohort(struct page *page,
			void (*write)(struct page *page, const struct rollout_facts_of *facts,
				      size_t cohort))
{
	for (size_t i = 0; i < page->count; i++)
		for (size_t cohort = 0;
		     page->facts[i].view && cohort < page->facts[i].service->cohorts_count;
		     cohort++)
			write(page, &page->facts[i], cohort);
}

static void read_samples(const struct page *page, const struct rollout_facts_of *facts,
			 size_t cohort, struct track_sample_counter *out)
{
	track_read_samples(page->control->datapath, facts->live->slot, facts->view->lanes[cohort],
			   out);
}

static void overflow_row(struct page *page, const struct rollout_facts_of *facts, size_t cohort)
{
	struct track_sample_counter counter;

	read_samples(page, facts, cohort, &counter);
	fprintf(page->out,
		PREFIX "track_overflow_total{service=\"%s\",cohort=\"%s\"} %" PRIu64 "\n",
		facts->service->name, facts->service->cohorts[cohort].name, (uint64_t)counter.away);
}

static void events_row(struct page *page, const struct rollout_facts_of *facts, size_t cohort)
{
	__u64 firsts[KERNEL_METRICS];
	size_t rule, metric;

	for (rule = 0; rule < facts->service->rules_count; rule++) {
		const struct view_rule *line =
			map_part(page->control->datapath, MAP_RULES, struct view_rule,
				 facts->view->rules + rule, 1);

		track_read_events(page->control->datapath, line->counters,
				  facts->view->lanes[cohort], (uint64_t *)firsts);
		for (metric = 0; metric < KERNEL_METRICS; metric++)
			fprintf(page->out,
				PREFIX "client_events_total{service=\"%s\",cohort=\"%s\",rule=\"%"
				       "s\",metric=\"%s\"} %" PRIu64 "\n",
				facts->service->name, facts->service->cohorts[cohort].name,
				facts->service->rules[rule].name, kernel_metric_name(metric),
				(uint64_t)firsts[metric]);
	}
}

static const struct {
	enum track_sample sample;
	const char *name, *help;
} times[TRACK_TIMES] = {
	{SAMPLE_ESTABLISH_TIME, "establish_seconds",
	 "From a followed flow's first SYN to its first segment after it."},
	{SAMPLE_RESPOND_TIME, "respond_seconds",
	 "From a request to the first of its answer, less the path's round trip."},
	{SAMPLE_LAST_BYTE_TIME, "last_byte_seconds", "From a request to the last of its answer."},
};

static void histogram_rows(struct page *page, const struct rollout_facts_of *facts, size_t cohort,
			   size_t time)
{
	const char *service = facts->service->name, *name = times[time].name;
	const char *cohort_name = facts->service->cohorts[cohort].name;
	struct track_sample_counter counter;
	uint64_t sum = 0;

	read_samples(page, facts, cohort, &counter);
	for (size_t bucket = 0; bucket < TRACK_BUCKETS; bucket++) {
		sum += counter.buckets[times[time].sample][bucket];
		if (bucket + 1 < TRACK_BUCKETS)
			fprintf(page->out,
				PREFIX "%s_bucket{service=\"%s\",cohort=\"%s\",le=\"%g\"} %" PRIu64
				       "\n",
				name, service, cohort_name, time_bucket_edge(bucket) / 1000.0, sum);
	}
	fprintf(page->out,
		PREFIX "%s_bucket{service=\"%s\",cohort=\"%s\",le=\"+Inf\"} %" PRIu64 "\n" PREFIX
		       "%s_sum{service=\"%s\",cohort=\"%s\"} %.3f\n" PREFIX
		       "%s_count{service=\"%s\",cohort=\"%s\"} %" PRIu64 "\n",
		name, service, cohort_name, sum, name, service, cohort_name,
		counter.sums[times[time].sample] / 1000.0, name, service, cohort_name, sum);
}

static void histograms(struct page *page)
{
	for (size_t time = 0; time < TRACK_TIMES; time++) {
		family(page, times[time].name, "histogram", times[time].help);
		for (size_t i = 0; i < page->count; i++)
			for (size_t cohort = 0;
			     page->facts[i].view && cohort < page->facts[i].service->cohorts_count;
			     cohort++)
				histogram_rows(page, &page->facts[i], cohort, time);
	}
}

/* ---- the guard ---- */

/* @index: in a list at @key; -1: @key itself is the number. What is unknown has no row. */
static void guard_family(struct page *page, const char *name, const char *help, const char *key,
			 int index)
{
	json_t *metric, *value;
	size_t i, at;

	family(page, name, "gauge", help);
	for (i = 0; i < page->count; i++)
		json_array_foreach(json_object_get(page->facts[i].judgement, "metrics"), at, metric)
		{
			value = json_object_get(metric, key);
			value = index < 0 ? value : json_array_get(value, index);
			if (json_is_number(value))
				fprintf(page->out, PREFIX "%s{service=\"%s\",metric=\"%s\"} %.9g\n",
					name, page->facts[i].service->name,
					json_string_value(json_object_get(metric, "metric")),
					json_number_value(value));
		}
}

static void guard(struct page *page)
{
	guard_family(page, "guard_log_evalue",
		     "Natural logarithm of the e-value against a harmless canary.", "log_e", -1);
	guard_family(page, "guard_ratio", "The canary's rate of the event over the control's.",
		     "psi", -1);
	guard_family(page, "guard_ratio_low", "Lower end of its interval.", "interval", 0);
	guard_family(page, "guard_ratio_high", "Upper end of its interval.", "interval", 1);
}

/* One of @count names is 1, the others 0. */
static void one_of(struct page *page, const char *name, const char *label,
		   const struct rollout_facts_of *facts, const char *is, size_t count,
		   const char *(*name_of)(unsigned int))
{
	for (size_t i = 0; i < count; i++)
		fprintf(page->out, PREFIX "%s{service=\"%s\",%s=\"%s\"} %d\n", name,
			facts->service->name, label, name_of(i), is && !strcmp(is, name_of(i)));
}

static const char *name_of_verdict(unsigned int verdict)
{
	return verdict_name(verdict);
}

static const char *name_of_armed(unsigned int armed)
{
	return armed_name(armed);
}

static const char *name_of_phase(unsigned int phase)
{
	return rollout_phase_name(phase);
}

/* ---- the rollout ---- */

static const char *const events[] = {"started", "step",	  "paused",	   "rollback",
				     "aborted", "killed", "lease_expired", "succeeded"};

static int rollout_events(struct page *page)
{
	family(page, "rollout_events_total", "counter", "What happened in rollouts.");
	for (size_t i = 0; i < page->count; i++)
		for (size_t event = 0; event < sizeof(events) / sizeof(*events); event++) {
			uint64_t count = 0;
			int error = store_count_rollout_events(
				page->control->store, page->facts[i].service->name, events[event],
				&count, page->control->errors);

			if (error && error != -ENOENT)
				return error;
			fprintf(page->out,
				PREFIX "rollout_events_total{service=\"%s\",event=\"%s\"} %" PRIu64
				       "\n",
				page->facts[i].service->name, events[event], count);
		}
	return 0;
}

static void leases(struct page *page)
{
	family(page, "lease_remaining_seconds", "gauge",
	       "Until packets leave the canary, unless the daemon renews the lease.");
	for (size_t i = 0; i < page->count; i++) {
		const struct view *view = page->facts[i].view;
		uint64_t end;

		if (!view || view->expiry == LEASE_NONE || !page->jiffies)
			continue;
		end = view->expiry & LEASE_ENDS;
		fprintf(page->out, PREFIX "lease_remaining_seconds{service=\"%s\"} %.3f\n",
			page->facts[i].service->name,
			end > page->jiffies ? (double)(end - page->jiffies) / jiffies_hz() : 0);
	}
}

static int rollouts(struct page *page)
{
	int error;

	family(page, "verdict", "gauge", "1: what the guard says now.");
	for (size_t i = 0; i < page->count; i++)
		one_of(page, "verdict", "verdict", &page->facts[i],
		       said_verdict(&page->facts[i].state, page->facts[i].judgement), VERDICTS,
		       name_of_verdict);
	family(page, "rollout_state", "gauge", "1: the rollout is in this state.");
	for (size_t i = 0; i < page->count; i++)
		one_of(page, "rollout_state", "state", &page->facts[i],
		       rollout_phase_name(page->facts[i].state.phase), ROLLOUT_PHASES,
		       name_of_phase);
	family(page, "rollout_step", "gauge", "The step that the rollout is on, from 1; 0: none.");
	for (size_t i = 0; i < page->count; i++) {
		const struct rollout_state *state = &page->facts[i].state;
		uint32_t step =
			state->step < state->steps_count ? state->step + 1 : state->steps_count;

		fprintf(page->out, PREFIX "rollout_step{service=\"%s\"} %u\n",
			page->facts[i].service->name, state->id ? step : 0);
	}
	family(page, "rollout_armed", "gauge", "1: this is what could roll back.");
	for (size_t i = 0; i < page->count; i++)
		one_of(page, "rollout_armed", "armed", &page->facts[i],
		       said_armed(page->control, page->facts[i].service, &page->facts[i].state,
				  page->facts[i].judgement),
		       ARMED_NONE + 1, name_of_armed);
	error = rollout_events(page);
	leases(page);
	return error;
}

/* ---- the page ---- */

static int read_facts(struct page *page, const struct service *service)
{
	struct control *control = page->control;
	struct rollout_facts_of *facts = &page->facts[page->count];
	struct stored_rollout stored;
	int error =
		rollout_load_state(control->store, service->name, &facts->state, control->errors);

	if (error)
		return error;
	facts->service = service;
	facts->live = live_service_of(&control->live, service->name);
	facts->view = facts->live ? control_view(control, service->name) : NULL;
	page->count++;
	if (!facts->state.id)
		return 0;
	error = store_rollout(control->store, service->name, facts->state.id, &stored,
			      control->errors);
	if (error)
		return error;
	facts->judgement = json_loads(stored.judgement, 0, NULL);
	stored_rollout_release(&stored);
	return 0;
}

int rollout_metrics(FILE *out, struct control *control)
{
	const struct policy *policy = control->policy;
	struct page page = {.out = out, .control = control};
	int error = 0;

	page.facts = calloc(policy->services_count + 1, sizeof(*page.facts));
	if (!page.facts)
		return -ENOMEM;
	for (size_t i = 0; i < policy->services_count && !error && control->store; i++)
		if (policy->services[i].rollout.is_given)
			error = read_facts(&page, &policy->services[i]);
	if (!error && control->datapath)
		datapath_jiffies(control->datapath, &page.jiffies, control->errors);
	if (!error) {
		tracked_clients(&page);
		family(&page, "track_overflow_total", "counter",
		       "Times that a followed client found no room: limits.tracked_clients is too "
		       "low.");
		each_cohort(&page, overflow_row);
		family(&page, "client_events_total", "counter",
		       "Distinct clients' first events of the guard's windows.");
		each_cohort(&page, events_row);
		histograms(&page);
		guard(&page);
		error = rollouts(&page);
	}
	for (size_t i = 0; i < page.count; i++)
		json_decref(page.facts[i].judgement);
	free(page.facts);
	return error;
}
