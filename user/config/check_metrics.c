// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checks of a rollout's metrics: that something provides each, and that what a metric is given
 * goes with where it comes from. First what is not written is filled in.
 */
#include "config/check_rollout.h"

#include "util/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define DEFAULT_METRICS                                                                            \
	(METRIC_LAST_BYTE_TIME + 1)		     /* the informational ones are not among them  \
						      */
#define CRITICAL_METRICS (METRIC_RETRANSMISSION + 1) /* by themselves */

/* What a client's half of its flows cannot tell (SIGNALS): the server's half will. */
static const char *const later_metrics[] = {"refused", "server_reset", "accept_time",
					    "first_byte_time"};

static bool is_later(const char *name)
{
	for (size_t i = 0; i < COUNT(later_metrics); i++)
		if (!strcmp(later_metrics[i], name))
			return true;
	return false;
}

static struct path metric_path(const struct check *check, const struct rollout_metric *metric,
			       const struct path *metrics)
{
	const struct place *place = places_find(check->places, metric, "");

	return (struct path){
		.parent = metrics,
		.text = *metric->name ? metric->name : NULL,
		.index = place ? place->index : 0,
	};
}

/* ---- names ---- */

static void report_unprovided(struct check *check, const struct rollout_metric *metric,
			      const struct place *place, const struct path *path)
{
	const char *names[KERNEL_METRICS], *nearest;
	char hint[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < KERNEL_METRICS; i++)
		names[i] = kernel_metric_name(i);
	nearest = text_nearest(metric->name, names, KERNEL_METRICS);
	if (nearest)
		snprintf(hint, sizeof(hint), "did you mean %s?", nearest);
	for (size_t i = 0; i < KERNEL_METRICS && !nearest; i++)
		used += snprintf(hint + used, sizeof(hint) - used, "%s%s",
				 i ? ", " : "give its `source`, or one of ", names[i]);
	check_report(check, place, path, "name", hint, "\"%s\" is a metric that nothing provides",
		     metric->name);
}

static void check_metric_name(struct check *check, struct rollout_metric *metric,
			      const struct path *path)
{
	const struct place *place = check_place(check, metric, "name");

	metric->kernel = kernel_metric_by_name(metric->name);
	if (!place || !check_is_good(check, metric, "source"))
		return;
	if (metric->source != SOURCE_KERNEL) {
		if (metric->kernel != METRIC_NOT_KERNEL || is_later(metric->name))
			check_report(check, place, path, "name", "give it a name of its own",
				     "\"%s\" is the name of a metric of the kernel", metric->name);
		metric->kernel = METRIC_NOT_KERNEL;
	} else if (is_later(metric->name)) {
		check_report(check, place, path, "name", "remove it",
			     "\"%s\" is not available in this version", metric->name);
	} else if (metric->kernel == METRIC_NOT_KERNEL) {
		report_unprovided(check, metric, place, path);
	}
}

static void check_metric_twice(struct check *check, const struct rollout *rollout, size_t index,
			       const struct path *path)
{
	const struct rollout_metric *metric = &rollout->metrics[index];
	const struct place *place = check_place(check, metric, "name");

	for (size_t i = 0; i < index && place; i++) {
		const struct place *first = check_place(check, &rollout->metrics[i], "name");

		if (!first || strcmp(rollout->metrics[i].name, metric->name))
			continue;
		check_report_twice(check, place, first, path, "name",
				   "keep one of them, or give it another name", "the name stands");
		return;
	}
}

/* ---- what goes with what ---- */

/* Only clients can be counted: a query's or command's answer is of none, a time of each. */
static bool counts_clients(const struct rollout_metric *metric)
{
	switch (metric->source) {
	case SOURCE_KERNEL:
		return metric->kernel != METRIC_ESTABLISH_TIME &&
		       metric->kernel != METRIC_RESPOND_TIME &&
		       metric->kernel != METRIC_LAST_BYTE_TIME &&
		       metric->kernel != METRIC_RESPONSE_SIZE;
	case SOURCE_FEEDBACK:
		return true;
	default:
		return false;
	}
}

static void check_max_rate(struct check *check, const struct rollout_metric *metric,
			   const struct path *path)
{
	const struct place *place = check_place(check, metric, "max_rate");

	if (place && !counts_clients(metric))
		check_report(check, place, path, "max_rate",
			     metric->source == SOURCE_PROMETHEUS ? "remove it, or give `max`"
								 : "remove it",
			     "goes with metrics that count clients, which this one does not");
}

static void check_interval(struct check *check, const struct rollout_metric *metric,
			   const struct path *path)
{
	const struct place *place = check_place(check, metric, "interval");
	struct path step = {.parent = path, .text = "timeout"};
	char object[PATH_SIZE];

	if (metric->source == SOURCE_KERNEL || metric->source == SOURCE_FEEDBACK) {
		if (place)
			check_report(check, place, path, "interval",
				     "remove it, or say where the metric comes from",
				     "goes with `source: prometheus` and `source: command` only");
		return;
	}
	if (!place)
		place = check_place(check, metric, "timeout");
	if (place && metric->source == SOURCE_COMMAND && check_is_good(check, metric, "interval") &&
	    check_is_good(check, metric, "timeout") && metric->timeout_ms > metric->interval_ms)
		errors_warn(check->errors, &place->where, path_format(&step, object),
			    "give a shorter timeout, or a longer interval",
			    "is longer than the interval: a command that hangs is run less often");
}

/* A threshold on one query, or counts of two: exactly one of them. */
static void check_query(struct check *check, const struct rollout_metric *metric,
			const struct path *path)
{
	const struct place *control = places_find(check->places, metric, "query_control");
	const struct place *min = places_find(check->places, metric, "min");
	const struct place *max = places_find(check->places, metric, "max");

	if (!min && !max && !control)
		check_report(check, places_find(check->places, metric, ""), path, NULL,
			     "give `min` or `max`, or `query_control` for counts of both cohorts",
			     "nothing says which answers of the query are bad");
	else if (control && (min || max))
		check_report(check, control, path, "query_control",
			     "keep the limits of one query, or the counts of two",
			     "stands beside `%s`", min ? "min" : "max");
	else if (check_place(check, metric, "min") && check_place(check, metric, "max") &&
		 metric->min > metric->max)
		check_report(check, min, path, "min", "give the smaller number as `min`",
			     "%g is above `max`, %g", metric->min, metric->max);
}

static bool has_e_value(const struct rollout_metric *metric)
{
	return metric->source == SOURCE_KERNEL || metric->source == SOURCE_FEEDBACK ||
	       (metric->source == SOURCE_PROMETHEUS && metric->query_control);
}

static void check_weight(struct check *check, const struct rollout_metric *metric,
			 const struct path *path)
{
	const struct place *place = check_place(check, metric, "weight");
	struct path step = {.parent = path, .text = "weight"};
	char object[PATH_SIZE];

	if (place && !has_e_value(metric) && metric->weight != 1)
		errors_warn(check->errors, &place->where, path_format(&step, object), "remove it",
			    "has no effect, such a metric takes no part of alpha");
}

static void check_command(struct check *check, const struct rollout_metric *metric,
			  const struct path *path)
{
	struct path command = {.parent = path, .text = "command"};
	struct path word = {.parent = &command};

	if (metric->command_count && check_place(check, &metric->command[0], "") &&
	    !metric->command[0][0])
		check_report(check, check_place(check, &metric->command[0], ""), &word, NULL,
			     "give the program's name first", "is empty");
}

/* ---- all of them ---- */

/* Whether the metrics that the file names are the default, which need not be written. */
static bool are_default(const struct rollout *rollout)
{
	if (rollout->metrics_count != DEFAULT_METRICS)
		return false;
	for (size_t i = 0; i < DEFAULT_METRICS; i++) {
		const struct rollout_metric *metric = &rollout->metrics[i];

		if (metric->kernel != i || metric->weight != 1 || metric->has_critical ||
		    metric->has_max_rate)
			return false;
	}
	return true;
}

static void settle_critical(struct rollout_metric *metric)
{
	bool otherwise = metric->kernel < CRITICAL_METRICS;

	if (!metric->has_critical)
		metric->critical = otherwise;
	metric->has_critical = metric->critical != otherwise;
}

static void default_metrics(struct check *check, struct rollout *rollout, const struct path *path)
{
	char object[PATH_SIZE];

	rollout->metrics = calloc(DEFAULT_METRICS, sizeof(*rollout->metrics));
	if (!rollout->metrics) {
		errors_add_code(check->errors, ENOMEM, path_format(path, object),
				"free some memory", "out of memory");
		return;
	}
	rollout->metrics_count = DEFAULT_METRICS;
	for (size_t i = 0; i < DEFAULT_METRICS; i++) {
		struct rollout_metric *metric = &rollout->metrics[i];

		*metric = (struct rollout_metric){
			.source = SOURCE_KERNEL, .kernel = i, .weight = 1, .interval_ms = 30000};
		strcpy(metric->name, kernel_metric_name(i));
		settle_critical(metric);
	}
}

/* ---- what they are together ---- */

static bool is_udp_alone(const struct check *check, const struct service *service)
{
	for (size_t i = 0; i < service->vips_count; i++)
		if (service->vips[i].protocol != IPPROTO_UDP)
			return false;
	return check_place(check, service, "vips") && service->vips_count;
}

/* The kernel follows flows of TCP. */
static void check_blind(struct check *check, struct service *service, const struct place *place,
			const char *object)
{
	struct rollout *rollout = &service->rollout;
	bool is_blind = is_udp_alone(check, service), any = false;

	for (size_t i = 0; i < rollout->metrics_count && is_blind; i++) {
		if (rollout->metrics[i].kernel == METRIC_NOT_KERNEL)
			continue;
		rollout->metrics[i].is_blind = any = true;
	}
	if (any)
		errors_warn(check->errors, &place->where, object,
			    "give metrics with another `source`",
			    "those of the kernel tell of TCP, and every VIP is UDP: they have no "
			    "data, and where one is critical nothing promotes");
}

/* That a rule has no control left is check_rollout.c's to tell. */
static void check_armed(struct check *check, const struct rollout *rollout,
			const struct place *place, const char *object)
{
	for (size_t i = 0; i < rollout->metrics_count; i++)
		if (metric_acts(&rollout->metrics[i]) || metric_samples(&rollout->metrics[i]))
			return;
	errors_warn(check->errors, &place->where, object,
		    "give one that is not informational, or make one `critical`",
		    "none of them could roll back: armed: none");
}

static void check_together(struct check *check, struct service *service, const struct path *metrics)
{
	const struct place *place = check_place(check, &service->rollout, "metrics");
	char object[PATH_SIZE];

	if (!check_is_good(check, &service->rollout, "metrics"))
		return;
	if (!place)
		place = check_place(check, service, "rollout");
	path_format(metrics, object);
	check_blind(check, service, place, object);
	check_armed(check, &service->rollout, place, object);
}

void check_metrics(struct check *check, struct service *service, const struct path *path)
{
	struct path metrics = {.parent = path, .text = "metrics"};
	struct rollout *rollout = &service->rollout;

	if (!places_find(check->places, rollout, "metrics")) {
		default_metrics(check, rollout, &metrics);
		check_together(check, service, &metrics);
		return;
	}
	for (size_t i = 0; i < rollout->metrics_count; i++) {
		struct rollout_metric *metric = &rollout->metrics[i];
		struct path step = metric_path(check, metric, &metrics);

		check_metric_name(check, metric, &step);
		check_metric_twice(check, rollout, i, &step);
		settle_critical(metric);
		if (!check_is_good(check, metric, "source"))
			continue;
		check_max_rate(check, metric, &step);
		check_interval(check, metric, &step);
		check_weight(check, metric, &step);
		check_command(check, metric, &step);
		if (metric->source == SOURCE_PROMETHEUS)
			check_query(check, metric, &step);
	}
	rollout->has_metrics = !are_default(rollout);
	check_together(check, service, &metrics);
}
