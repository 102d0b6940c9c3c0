// SPDX-License-Identifier: GPL-2.0-only
#include "rollout/follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void follow_init(struct followed *followed, const struct service *service, uint64_t id)
{
	*followed = (struct followed){.id = id};
	snprintf(followed->service, sizeof(followed->service), "%s", service->name);
	judge_init(&followed->judge, &service->rollout);
}

void follow_release(struct followed *followed)
{
	free(followed->windows);
	free(followed->tallies);
	free(followed->counts);
	*followed = (struct followed){0};
}

void follow_rebind(struct followed *followed, const struct service *service)
{
	followed->judge.rollout = &service->rollout;
}

/* ---- windows ---- */

static struct followed_window *add_window(struct followed *followed)
{
	struct followed_window *grown = reallocarray(followed->windows, followed->windows_count + 1,
						     sizeof(*followed->windows));

	if (!grown)
		return NULL;
	followed->windows = grown;
	return &grown[followed->windows_count++];
}

/* Does a tally go on with these totals? */
static bool is_tallied(const struct followed *followed, const struct followed_count *told)
{
	const struct rollout_metric *metrics = followed->judge.rollout->metrics;

	for (size_t i = 0; i < followed->tallies_count; i++)
		if (followed->tallies[i].window == told->window &&
		    !strcmp(metrics[followed->tallies[i].metric].name, told->metric))
			return true;
	return false;
}

/* The kernel's totals begin anew with each window: of the last one nobody asks any longer. */
static void forget_told(struct followed *followed)
{
	size_t kept = 0;

	for (size_t i = 0; i < followed->counts_count; i++)
		if (is_tallied(followed, &followed->counts[i]))
			followed->counts[kept++] = followed->counts[i];
	followed->counts_count = kept;
}

int follow_window(struct followed *followed, const struct rollout_state *state,
		  uint32_t shares[RULES_MAX][COHORTS_MAX], uint64_t now_ns)
{
	const struct judge_state *judge = &followed->judge.state;
	bool has_changed = state->changed_ns != followed->changed_ns;
	struct followed_window *window;

	if (judge->has_window && judge->window == state->window)
		return 0;
	window = add_window(followed);
	if (!window)
		return -ENOMEM;
	window->window = state->window;
	window->begin_ns = now_ns;
	memcpy(window->shares, shares, sizeof(window->shares));
	judge_begin_window(&followed->judge, state->window, has_changed, now_ns);
	followed->changed_ns = state->changed_ns;
	forget_told(followed);
	return 1;
}

void follow_acknowledged(struct followed *followed, const struct rollout_state *state)
{
	if (followed->acknowledged >= state->acknowledged)
		return;
	followed->acknowledged = state->acknowledged;
	judge_acknowledge(&followed->judge);
}

const struct followed_window *follow_window_at(const struct followed *followed, uint64_t time_ns)
{
	size_t i = followed->windows_count;

	while (i--)
		if (followed->windows[i].begin_ns <= time_ns)
			return &followed->windows[i];
	return NULL;
}

/* ---- tallies ---- */

static int compare_tallies(const struct followed_tally *a, uint32_t metric, uint32_t window,
			   uint32_t rule)
{
	if (a->metric != metric)
		return a->metric < metric ? -1 : 1;
	if (a->window != window)
		return a->window < window ? -1 : 1;
	return a->rule < rule ? -1 : a->rule > rule;
}

static void add_events(struct guard_stratum *stratum, uint64_t k, uint64_t n, double pi)
{
	stratum->k += k;
	stratum->n += n;
	if (!stratum->n || stratum->n == n)
		stratum->pi = pi;
	else
		stratum->pi += (pi - stratum->pi) * ((double)n / (double)stratum->n);
}

int follow_tally(struct followed *followed, uint32_t metric, uint32_t window, uint32_t rule,
		 uint64_t k, uint64_t n, double pi)
{
	struct followed_tally *grown;
	size_t at = 0;

	while (at < followed->tallies_count &&
	       compare_tallies(&followed->tallies[at], metric, window, rule) < 0)
		at++;
	if (at == followed->tallies_count ||
	    compare_tallies(&followed->tallies[at], metric, window, rule)) {
		grown = reallocarray(followed->tallies, followed->tallies_count + 1,
				     sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		followed->tallies = grown;
		memmove(&grown[at + 1], &grown[at],
			(followed->tallies_count++ - at) * sizeof(*grown));
		grown[at] =
			(struct followed_tally){.metric = metric, .window = window, .rule = rule};
	}
	add_events(&followed->tallies[at].stratum, k, n, pi);
	return 0;
}

/* Of a metric of Prometheus a tally is of all rules. */
static bool has_rules(const struct followed *followed, const struct followed_tally *tally)
{
	return followed->judge.rollout->metrics[tally->metric].source == SOURCE_FEEDBACK;
}

int follow_windows(const struct followed *followed, struct judge_input *input, void **memory)
{
	size_t count = followed->tallies_count, i;
	struct judge_window *windows;
	struct guard_stratum *strata;
	uint32_t *rules;

	/* Of each as many as there are tallies: more are never needed. */
	*memory = calloc(count + 1, sizeof(*windows) + sizeof(*strata) + sizeof(*rules));
	if (!*memory)
		return -ENOMEM;
	windows = *memory;
	strata = (struct guard_stratum *)(windows + count + 1);
	rules = (uint32_t *)(strata + count + 1);
	for (i = 0; i < count; i++) {
		const struct followed_tally *tally = &followed->tallies[i];
		struct judge_windows *of_metric = &input->windows[tally->metric];

		strata[i] = tally->stratum;
		rules[i] = tally->rule;
		if (!i || tally[-1].metric != tally->metric) {
			of_metric->windows = windows;
			of_metric->count = 0;
		}
		if (!of_metric->count || tally[-1].window != tally->window) {
			*windows++ = (struct judge_window){
				.window = tally->window,
				.strata = &strata[i],
				.rules = has_rules(followed, tally) ? &rules[i] : NULL,
			};
			of_metric->count++;
		}
		windows[-1].count++;
	}
	return 0;
}

/* ---- counts for the store ---- */

struct increments {
	struct followed *followed;
	const struct service *service;
	uint64_t now_ns;
	struct rollout_count *list;
	size_t count;
};

static struct followed_count *told_of(struct followed *followed, const char *metric,
				      uint32_t window, uint32_t rule)
{
	struct followed_count *grown;

	for (size_t i = 0; i < followed->counts_count; i++)
		if (followed->counts[i].window == window && followed->counts[i].rule == rule &&
		    !strcmp(followed->counts[i].metric, metric))
			return &followed->counts[i];
	grown = reallocarray(followed->counts, followed->counts_count + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	followed->counts = grown;
	grown += followed->counts_count++;
	*grown = (struct followed_count){.window = window, .rule = rule};
	snprintf(grown->metric, sizeof(grown->metric), "%s", metric);
	return grown;
}

/* The events between two totals. Of those before a total without a pi it is the same. */
static struct guard_stratum between(const struct guard_stratum *told,
				    const struct guard_stratum *now)
{
	struct guard_stratum since = {.k = now->k - told->k, .n = now->n - told->n, .pi = now->pi};
	double pi;

	if (!(told->pi > 0) || told->pi == now->pi)
		return since;
	pi = (now->pi * (double)now->n - told->pi * (double)told->n) / (double)since.n;
	if (pi > 0 && pi < 1) /* what rounding leaves of few events among very many may not be */
		since.pi = pi;
	return since;
}

static int add_increment(const struct judge_count *count, void *data)
{
	struct increments *increments = data;
	const struct service *service = increments->service;
	struct followed_count *told =
		told_of(increments->followed, count->metric, count->window, count->rule);
	struct guard_stratum since;
	struct rollout_count *grown;

	if (!told)
		return -ENOMEM;
	if (count->stratum->n <= told->stratum.n)
		return 0;
	grown = reallocarray(increments->list, increments->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	increments->list = grown;
	grown += increments->count++;
	since = between(&told->stratum, count->stratum);
	*grown = (struct rollout_count){
		.time_ns = increments->now_ns,
		.window = count->window,
		.k = since.k,
		.n = since.n,
		.pi = since.pi,
	};
	snprintf(grown->metric, sizeof(grown->metric), "%s", count->metric);
	snprintf(grown->rule, sizeof(grown->rule), "%s",
		 count->rule < service->rules_count ? service->rules[count->rule].name : "-");
	told->stratum = *count->stratum;
	return 0;
}

int follow_increments(struct followed *followed, const struct judge_input *input,
		      const struct service *service, uint64_t now_ns, struct rollout_count **out,
		      size_t *count)
{
	struct increments increments = {followed, service, now_ns, NULL, 0};
	int error = judge_each_stratum(&followed->judge, input, add_increment, &increments);

	if (error) {
		free(increments.list);
		return error;
	}
	*out = increments.list;
	*count = increments.count;
	return 0;
}

/* ---- JSON ---- */

static json_t *windows_to_json(const struct followed *followed)
{
	json_t *list = json_array();

	for (size_t i = 0; i < followed->windows_count; i++) {
		const struct followed_window *window = &followed->windows[i];
		json_t *shares = json_array();

		for (size_t rule = 0; rule < RULES_MAX; rule++)
			for (size_t cohort = 0; cohort < COHORTS_MAX; cohort++)
				json_array_append_new(shares,
						      json_integer(window->shares[rule][cohort]));
		json_array_append_new(list,
				      json_pack("{s:I, s:I, s:o}", "window",
						(json_int_t)window->window, "begin_ns",
						(json_int_t)window->begin_ns, "shares", shares));
	}
	return list;
}

static json_t *tallies_to_json(const struct followed *followed)
{
	json_t *list = json_array();

	for (size_t i = 0; i < followed->tallies_count; i++) {
		const struct followed_tally *tally = &followed->tallies[i];

		json_array_append_new(list,
				      json_pack("[I, I, I, I, I, f]", (json_int_t)tally->metric,
						(json_int_t)tally->window, (json_int_t)tally->rule,
						(json_int_t)tally->stratum.k,
						(json_int_t)tally->stratum.n, tally->stratum.pi));
	}
	return list;
}

static json_t *counts_to_json(const struct followed *followed)
{
	json_t *list = json_array();

	for (size_t i = 0; i < followed->counts_count; i++) {
		const struct followed_count *told = &followed->counts[i];

		json_array_append_new(
			list, json_pack("[s, I, I, I, I, f]", told->metric, (json_int_t)told->rule,
					(json_int_t)told->stratum.k, (json_int_t)told->stratum.n,
					(json_int_t)told->window, told->stratum.pi));
	}
	return list;
}

static json_t *pairs_to_json(const struct followed *followed)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ROLLOUT_METRICS_MAX; i++)
		json_array_append_new(list, json_pack("[b, I, f, f]", followed->pairs[i].is_known,
						      (json_int_t)followed->pairs[i].time_ns,
						      followed->pairs[i].canary,
						      followed->pairs[i].control));
	return list;
}

json_t *follow_to_json(const struct followed *followed)
{
	return json_pack("{s:I, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "id",
			 (json_int_t)followed->id, "judge", judge_to_json(&followed->judge),
			 "changed_ns", (json_int_t)followed->changed_ns, "acknowledged",
			 (json_int_t)followed->acknowledged, "feedback",
			 (json_int_t)followed->feedback, "pairs", pairs_to_json(followed),
			 "windows", windows_to_json(followed), "tallies", tallies_to_json(followed),
			 "counts", counts_to_json(followed));
}

static int windows_from_json(struct followed *followed, const json_t *list)
{
	json_t *item, *shares;
	size_t i, at;

	json_array_foreach(list, i, item)
	{
		struct followed_window *window = add_window(followed);

		shares = json_object_get(item, "shares");
		if (!window)
			return -ENOMEM;
		if (json_array_size(shares) != RULES_MAX * COHORTS_MAX)
			return -EINVAL;
		window->window = json_integer_value(json_object_get(item, "window"));
		window->begin_ns = json_integer_value(json_object_get(item, "begin_ns"));
		for (at = 0; at < RULES_MAX * COHORTS_MAX; at++)
			window->shares[at / COHORTS_MAX][at % COHORTS_MAX] =
				json_integer_value(json_array_get(shares, at));
	}
	return 0;
}

static int tallies_from_json(struct followed *followed, const json_t *list)
{
	json_int_t metric, window, rule, k, n;
	json_t *item;
	double pi;
	size_t i;
	int error = 0;

	json_array_foreach(list, i, item)
	{
		if (json_unpack(item, "[I, I, I, I, I, F]", &metric, &window, &rule, &k, &n, &pi) ||
		    metric < 0 || (size_t)metric >= followed->judge.rollout->metrics_count)
			return -EINVAL;
		error = follow_tally(followed, metric, window, rule, k, n, pi);
		if (error)
			break;
	}
	return error;
}

/* An earlier version told the kernel's counts of the running window alone, and without pi. */
static int counts_from_json(struct followed *followed, const json_t *list)
{
	json_int_t rule, k, n;
	const char *metric;
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		uint32_t window = followed->judge.state.window;
		struct followed_count *told;

		if (json_unpack(item, "[s, I, I, I]", &metric, &rule, &k, &n))
			return -EINVAL;
		if (json_array_size(item) > 4)
			window = json_integer_value(json_array_get(item, 4));
		told = told_of(followed, metric, window, rule);
		if (!told)
			return -ENOMEM;
		told->stratum = (struct guard_stratum){
			.k = k,
			.n = n,
			.pi = json_number_value(json_array_get(item, 5)),
		};
	}
	return 0;
}

static int pairs_from_json(struct followed *followed, const json_t *list)
{
	json_int_t time_ns;
	json_t *item;
	int is_known;
	size_t i;

	json_array_foreach(list, i, item)
	{
		if (i >= ROLLOUT_METRICS_MAX ||
		    json_unpack(item, "[b, I, F, F]", &is_known, &time_ns,
				&followed->pairs[i].canary, &followed->pairs[i].control))
			return -EINVAL;
		followed->pairs[i].is_known = is_known;
		followed->pairs[i].time_ns = time_ns;
	}
	return 0;
}

int follow_from_json(struct followed *followed, const struct service *service, const json_t *json)
{
	int error;

	follow_init(followed, service, json_integer_value(json_object_get(json, "id")));
	followed->changed_ns = json_integer_value(json_object_get(json, "changed_ns"));
	followed->acknowledged = json_integer_value(json_object_get(json, "acknowledged"));
	followed->feedback = json_integer_value(json_object_get(json, "feedback"));
	error = judge_from_json(&followed->judge, &service->rollout,
				json_object_get(json, "judge"));
	if (!error)
		error = pairs_from_json(followed, json_object_get(json, "pairs"));
	if (!error)
		error = windows_from_json(followed, json_object_get(json, "windows"));
	if (!error)
		error = tallies_from_json(followed, json_object_get(json, "tallies"));
	if (!error)
		error = counts_from_json(followed, json_object_get(json, "counts"));
	if (error)
		follow_release(followed);
	return error;
}
