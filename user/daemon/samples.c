// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each metric that asks somebody has an asker: every `interval` it asks, and keeps the answer until
 * the next look, which gives it to the judge. What a question needs is copied, for the policy may
 * be read again while it is under way.
 *
 * Answers come as pass or fail (a command; a query with min or max), or as two counters, whose
 * increments are tallied in the window that both looks at them fall in.
 */
#include "daemon/rollouts_internal.h"

#include "observe/snapshot.h"
#include "probe/command.h"
#include "probe/prometheus.h"
#include "rollout/pairs.h"
#include "util/log.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EARLY_NS	 500000000ULL /* half a round: a question may come so much before its time */
#define QUERY_TIMEOUT_MS 10000	      /* or the interval, where that is shorter */
#define NS_PER_MS	 1000000ULL

struct asker;

/* One of an asker's questions. */
struct question {
	struct asker *asker;
	struct probe *probe; /* NULL: none is under way */
	double number;
};

struct asker {
	char metric[NAME_SIZE]; /* "": this metric asks nobody */
	enum metric_source source;
	bool is_paired, has_min, has_max;
	double min, max;
	uint64_t due_ns;   /* CLOCK_MONOTONIC */
	uint64_t asked_ns; /* CLOCK_REALTIME, as the next one */
	uint64_t answered_ns;
	struct question canary, control; /* the second one of paired counts alone */
	bool has_answer;		 /* that the judge was not given */
	enum judge_sample sample;	 /* of it */
	char text[PROBE_ERROR_SIZE];	 /* why there is no data, or what failed; "": all is well */
	char doubt[PROBE_ERROR_SIZE]; /* of one of the two counters, while the other is awaited */
	char logged[PROBE_ERROR_SIZE];
	bool has_traffic;
	struct pair_traffic traffic; /* in all, at the last counters */
};

struct samples {
	struct asker askers[ROLLOUT_METRICS_MAX];
};

/* ---- answers ---- */

/* What was wrong is said once, until it is something else, or well again. */
static void log_text(const struct watched *watched, struct asker *asker)
{
	if (asker->sample == JUDGE_SAMPLE_FAILED || !strcmp(asker->text, asker->logged))
		return;
	log_event(*asker->text ? LOG_WARNING : LOG_INFO,
		  &(struct log_facts){.service = watched->followed.service,
				      .rollout = watched->followed.id,
				      .event = *asker->text ? "metric_failed" : "metric_recovered"},
		  "services/%s/rollout/metrics/%s: %s", watched->followed.service, asker->metric,
		  *asker->text ? asker->text : "there is data again");
	memcpy(asker->logged, asker->text, sizeof(asker->logged));
}

static void answer(struct asker *asker, enum judge_sample sample, const char *text)
{
	asker->has_answer = true;
	asker->answered_ns = time_now_ns();
	asker->sample = sample;
	snprintf(asker->text, sizeof(asker->text), "%s", text);
}

static void on_command(void *data, enum command_result result, const char *text)
{
	static const enum judge_sample samples[] = {
		[COMMAND_PASSED] = JUDGE_SAMPLE_PASSED,
		[COMMAND_FAILED] = JUDGE_SAMPLE_FAILED,
		[COMMAND_NODATA] = JUDGE_SAMPLE_NODATA,
	};
	struct question *question = data;

	question->probe = NULL;
	answer(question->asker, samples[result], result == COMMAND_PASSED ? "" : text);
}

static void judge_number(struct asker *asker, double number)
{
	char text[PROBE_ERROR_SIZE] = "", value[TEXT_VALUE_SIZE], bound[TEXT_VALUE_SIZE];

	snprintf(value, sizeof(value), "%.6g", number);
	if (asker->has_min && number < asker->min)
		snprintf(text, sizeof(text), "%s is below min, %s", value,
			 text_format_real(asker->min, bound));
	else if (asker->has_max && number > asker->max)
		snprintf(text, sizeof(text), "%s is above max, %s", value,
			 text_format_real(asker->max, bound));
	answer(asker, *text ? JUDGE_SAMPLE_FAILED : JUDGE_SAMPLE_PASSED, text);
}

static const char *arm_of(const struct question *question)
{
	return question == &question->asker->canary ? "query" : "query_control";
}

static void on_counter(struct question *question, enum prometheus_result result, double number,
		       const char *text)
{
	struct asker *asker = question->asker;
	char why[PROBE_ERROR_SIZE] = "";

	if (result != PROMETHEUS_NUMBER)
		probe_say(why, "%s: %s%s", arm_of(question), text,
			  result == PROMETHEUS_NODATA
				  ? ": of a counter that is not there yet write QUERY or vector(0)"
				  : "");
	else if (!pair_is_counter(number))
		probe_say(why, "%s: %g is no counter", arm_of(question), number);
	question->number = number;
	if (*why)
		memcpy(asker->doubt, why, sizeof(why));
	if (asker->canary.probe || asker->control.probe)
		return;
	answer(asker, *asker->doubt ? JUDGE_SAMPLE_NODATA : JUDGE_SAMPLE_PASSED, asker->doubt);
}

static void on_number(void *data, enum prometheus_result result, double number, const char *text)
{
	struct question *question = data;
	struct asker *asker = question->asker;

	question->probe = NULL;
	if (asker->is_paired)
		on_counter(question, result, number, text);
	else if (result == PROMETHEUS_NUMBER)
		judge_number(asker, number);
	else
		answer(asker, JUDGE_SAMPLE_NODATA, text);
}

/* ---- questions ---- */

static int ask_prometheus(struct probe_engine *engine, const struct rollout_metric *metric,
			  const char *query, struct question *question)
{
	uint64_t timeout_ms =
		metric->interval_ms < QUERY_TIMEOUT_MS ? metric->interval_ms : QUERY_TIMEOUT_MS;

	return probe_prometheus(engine, metric->url, query, timeout_ms, on_number, question,
				&question->probe);
}

static int ask(struct probe_engine *engine, const struct rollout_metric *metric,
	       struct asker *asker)
{
	int error;

	if (metric->source == SOURCE_COMMAND)
		return probe_command(engine, metric->command, metric->command_count,
				     metric->timeout_ms, on_command, &asker->canary,
				     &asker->canary.probe);
	error = ask_prometheus(engine, metric, metric->query, &asker->canary);
	if (!error && asker->is_paired)
		error = ask_prometheus(engine, metric, metric->query_control, &asker->control);
	return error;
}

static void cancel(struct question *question)
{
	probe_cancel(question->probe);
	question->probe = NULL;
}

static void ask_if_due(struct watched *watched, const struct rollout_metric *metric,
		       struct asker *asker)
{
	uint64_t now_ns = monotonic_now_ns(), interval_ns = metric->interval_ms * NS_PER_MS;

	if (asker->canary.probe || asker->control.probe || now_ns + EARLY_NS < asker->due_ns)
		return;
	/* From when it was due, so that rounds that come late do not make it slower. */
	asker->due_ns =
		interval_ns + (now_ns < asker->due_ns + interval_ns ? asker->due_ns : now_ns);
	asker->asked_ns = time_now_ns();
	asker->has_answer = false;
	*asker->doubt = '\0';
	if (!ask(watched->rollouts->engine, metric, asker))
		return;
	cancel(&asker->canary);
	cancel(&asker->control);
	answer(asker, JUDGE_SAMPLE_NODATA, "no memory to ask");
}

static bool asks(const struct rollout_metric *metric)
{
	return metric->source == SOURCE_PROMETHEUS || metric->source == SOURCE_COMMAND;
}

/* The asker of a metric that is as it was, or a new one. */
static void bind(struct asker *asker, const struct rollout_metric *metric)
{
	if (strcmp(asker->metric, metric->name) || asker->source != metric->source) {
		cancel(&asker->canary);
		cancel(&asker->control);
		*asker = (struct asker){
			.source = metric->source,
			.canary.asker = asker,
			.control.asker = asker,
		};
		snprintf(asker->metric, sizeof(asker->metric), "%s", metric->name);
	}
	asker->is_paired = metric->query_control;
	asker->has_min = metric->has_min;
	asker->has_max = metric->has_max;
	asker->min = metric->min;
	asker->max = metric->max;
}

void samples_ask(struct watched *watched, const struct service *service)
{
	const struct rollout *rollout = &service->rollout;

	for (size_t i = 0; i < rollout->metrics_count; i++) {
		if (!asks(&rollout->metrics[i]))
			continue;
		if (!watched->samples)
			watched->samples = calloc(1, sizeof(*watched->samples));
		if (!watched->samples)
			return;
		bind(&watched->samples->askers[i], &rollout->metrics[i]);
		ask_if_due(watched, &rollout->metrics[i], &watched->samples->askers[i]);
	}
}

void samples_stop(struct watched *watched)
{
	if (!watched->samples)
		return;
	for (size_t i = 0; i < ROLLOUT_METRICS_MAX; i++) {
		cancel(&watched->samples->askers[i].canary);
		cancel(&watched->samples->askers[i].control);
	}
	free(watched->samples);
	watched->samples = NULL;
}

/* ---- paired counts ---- */

static double measure(const struct rule_counter *counter, bool in_packets)
{
	return in_packets ? counter->packets : counter->syns;
}

static void take_traffic(const struct service_snapshot *service, size_t canary, bool in_packets,
			 struct pair_traffic *out)
{
	const struct rule_snapshot *rest = &service->rules[service->rules_count];

	*out = (struct pair_traffic){
		.canary = measure(&rest->cohorts[canary], in_packets),
		.control = measure(&rest->cohorts[0], in_packets),
	};
	for (size_t rule = 0; rule < service->rules_count; rule++)
		for (size_t cohort = 0; cohort < COHORTS_MAX; cohort++)
			out->rules[rule] +=
				measure(&service->rules[rule].cohorts[cohort], in_packets);
}

/* Since the counters were made. */
static int read_traffic(struct watched *watched, const struct service *service,
			struct pair_traffic *out)
{
	struct snapshot snapshot;
	size_t canary = rollout_cohort(service);
	int error = snapshot_read(watched->rollouts->control, service->name, &snapshot);

	*out = (struct pair_traffic){0};
	if (error)
		return error;
	if (snapshot.services_count) {
		take_traffic(&snapshot.services[0], canary, false, out);
		if (pair_traffic_is_none(out))
			take_traffic(&snapshot.services[0], canary, true, out);
	}
	snapshot_release(&snapshot);
	return 0;
}

static void count_pair(struct watched *watched, const struct service *service, struct asker *asker,
		       size_t metric)
{
	const struct followed_pair pair = {
		.is_known = true,
		.time_ns = asker->asked_ns,
		.canary = asker->canary.number,
		.control = asker->control.number,
	};
	struct pair_traffic now, since;

	if (read_traffic(watched, service, &now))
		return;
	since = asker->has_traffic ? pair_traffic_since(&asker->traffic, &now) : now;
	asker->traffic = now;
	asker->has_traffic = true;
	if (!pair_tally(&watched->followed, service, metric, &pair, asker->answered_ns, &since))
		watched->has_news = true;
}

/* ---- the look ---- */

void samples_give(struct watched *watched, uint64_t now_ns)
{
	const struct service *service =
		policy_service(watched->rollouts->control->policy, watched->followed.service);

	if (!watched->samples || !service)
		return;
	for (size_t i = 0; i < service->rollout.metrics_count; i++) {
		struct asker *asker = &watched->samples->askers[i];

		if (!asker->has_answer || asker->canary.probe || asker->control.probe)
			continue;
		asker->has_answer = false;
		log_text(watched, asker);
		if (!asker->is_paired)
			judge_sample(&watched->followed.judge, i, asker->sample, now_ns);
		else if (asker->sample == JUDGE_SAMPLE_PASSED)
			count_pair(watched, service, asker, i);
	}
}

static void append(char reason[REASON_SIZE], const char *text)
{
	char whole[PROBE_ERROR_SIZE];

	if (strstr(reason, text))
		return;
	probe_say(whole, "%s%s%s", reason, *reason ? ": " : "", text);
	snprintf(reason, REASON_SIZE, "%s", whole);
}

void samples_explain(const struct watched *watched, struct judgement *judgement)
{
	if (!watched->samples)
		return;
	for (size_t i = 0; i < judgement->metrics_count && i < ROLLOUT_METRICS_MAX; i++) {
		const struct asker *asker = &watched->samples->askers[i];
		struct metric_judgement *metric = &judgement->metrics[i];

		if (!*asker->metric || !*asker->text || strcmp(asker->metric, metric->name))
			continue;
		/* What it crossed by may be long ago. */
		if (metric->verdict == VERDICT_ROLLBACK && asker->sample != JUDGE_SAMPLE_FAILED)
			continue;
		append(metric->reason, asker->text);
		if (!strcmp(judgement->metric, metric->name))
			append(judgement->reason, asker->text);
	}
}

/* ---- the engine ---- */

int probes_start(struct rollouts *rollouts)
{
	return probe_engine_new(rollouts->event, &rollouts->engine);
}

void probes_stop(struct rollouts *rollouts)
{
	hooks_free(rollouts->hooks);
	rollouts->hooks = NULL;
	probe_engine_free(rollouts->engine);
	rollouts->engine = NULL;
}
