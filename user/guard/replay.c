// SPDX-License-Identifier: GPL-2.0-only
/*
 * How many metrics share alpha is known when the last row is read. So what is kept of all looks is
 * how far each metric's tests came, less the factor of their window.
 */
#include "guard/replay.h"

#include "guard/guard.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct window {
	uint32_t number;
	struct guard_stratum *strata;
	char **rules; /* of the strata */
	size_t count;
};

struct metric {
	char *name;
	struct window *windows; /* ascending */
	size_t count;
	double furthest, furthest_promote; /* of all looks: ln E - ln((i + 1)(i + 2)) */
};

struct replay {
	struct replay_options options;
	struct metric *metrics;
	size_t count;
};

struct replay *replay_new(const struct replay_options *options)
{
	struct replay *replay = calloc(1, sizeof(*replay));

	if (replay)
		replay->options = *options;
	return replay;
}

static void release_metric(struct metric *metric)
{
	for (size_t i = 0; i < metric->count; i++) {
		struct window *window = &metric->windows[i];

		for (size_t j = 0; j < window->count; j++)
			free(window->rules[j]);
		free(window->rules);
		free(window->strata);
	}
	free(metric->windows);
	free(metric->name);
}

void replay_free(struct replay *replay)
{
	if (!replay)
		return;
	for (size_t i = 0; i < replay->count; i++)
		release_metric(&replay->metrics[i]);
	free(replay->metrics);
	free(replay);
}

/* ---- finding, or making room for, what a row is of: NULL: no memory ---- */

static struct metric *find_metric(struct replay *replay, const char *name)
{
	struct metric *metrics, *metric;

	for (size_t i = 0; i < replay->count; i++)
		if (!strcmp(replay->metrics[i].name, name))
			return &replay->metrics[i];
	metrics = realloc(replay->metrics, (replay->count + 1) * sizeof(*metrics));
	if (!metrics)
		return NULL;
	replay->metrics = metrics;
	metric = &metrics[replay->count];
	*metric = (struct metric){
		.name = strdup(name),
		.furthest = -INFINITY,
		.furthest_promote = -INFINITY,
	};
	if (!metric->name)
		return NULL;
	replay->count++;
	return metric;
}

/* Rows come nearly in order: from the end. */
static struct window *find_window(struct metric *metric, uint32_t number)
{
	struct window *windows;
	size_t at = metric->count;

	while (at && metric->windows[at - 1].number > number)
		at--;
	if (at && metric->windows[at - 1].number == number)
		return &metric->windows[at - 1];
	windows = realloc(metric->windows, (metric->count + 1) * sizeof(*windows));
	if (!windows)
		return NULL;
	metric->windows = windows;
	memmove(windows + at + 1, windows + at, (metric->count - at) * sizeof(*windows));
	windows[at] = (struct window){.number = number};
	metric->count++;
	return &windows[at];
}

static struct guard_stratum *find_stratum(struct window *window, const char *rule, double pi)
{
	struct guard_stratum *strata;
	char **rules, *name;

	for (size_t i = 0; i < window->count; i++)
		if (window->strata[i].pi == pi && !strcmp(window->rules[i], rule))
			return &window->strata[i];
	strata = realloc(window->strata, (window->count + 1) * sizeof(*strata));
	if (!strata)
		return NULL;
	window->strata = strata;
	rules = realloc(window->rules, (window->count + 1) * sizeof(*rules));
	if (!rules)
		return NULL;
	window->rules = rules;
	name = strdup(rule);
	if (!name)
		return NULL;
	rules[window->count] = name;
	strata[window->count] = (struct guard_stratum){.pi = pi};
	return &strata[window->count++];
}

/* ---- looks ---- */

static void look(const struct replay *replay, struct metric *metric, const struct window *window)
{
	const struct replay_options *options = &replay->options;
	double factor = guard_log_threshold(window->number, 1);

	metric->furthest =
		fmax(metric->furthest,
		     guard_log_e(window->strata, window->count, options->margin) - factor);
	metric->furthest_promote =
		fmax(metric->furthest_promote,
		     guard_log_e_promote(window->strata, window->count, options->promote_ratio) -
			     factor);
}

int replay_add(struct replay *replay, const struct replay_row *row)
{
	struct metric *metric = find_metric(replay, row->metric);
	struct window *window = metric ? find_window(metric, row->window) : NULL;
	struct guard_stratum *stratum = window ? find_stratum(window, row->rule, row->pi) : NULL;

	if (!stratum)
		return -ENOMEM;
	if (row->n > INT64_MAX - stratum->n)
		return -ERANGE;
	stratum->k += row->k;
	stratum->n += row->n;
	look(replay, metric, window);
	return 0;
}

size_t replay_count(const struct replay *replay)
{
	return replay->count;
}

static bool has_events(const struct metric *metric)
{
	for (size_t i = 0; i < metric->count; i++)
		if (!isnan(guard_psi(metric->windows[i].strata, metric->windows[i].count)))
			return true;
	return false;
}

void replay_judge(const struct replay *replay, size_t index, struct replay_result *out)
{
	const struct metric *metric = &replay->metrics[index];
	const struct window *last = &metric->windows[metric->count - 1];
	const struct replay_options *options = &replay->options;
	double alpha = options->alpha / (double)replay->count;

	*out = (struct replay_result){
		.metric = metric->name,
		.window = last->number,
		.log_e = guard_log_e(last->strata, last->count, options->margin),
		.psi = guard_psi(last->strata, last->count),
	};
	guard_interval(last->strata, last->count, options->alpha, &out->low, &out->high);
	if (metric->furthest >= -log(alpha))
		out->verdict = VERDICT_ROLLBACK;
	else if (!has_events(metric))
		out->verdict = VERDICT_NODATA;
	else if (metric->furthest_promote >= -log(options->beta))
		out->verdict = VERDICT_PROMOTE;
	else
		out->verdict = VERDICT_CONTINUE;
}
