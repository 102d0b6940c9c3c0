// SPDX-License-Identifier: GPL-2.0-only
/*
 * The judge's state as JSON and back, bit for bit; and what the running window counts, for export.
 * Nothing that is read is believed: a state that does not fit is refused whole.
 */
#include "guard/judge_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- writing ---- */

static json_t *numbers_to_json(const uint64_t *numbers, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_integer((json_int_t)numbers[i]));
	return list;
}

static json_t *metric_to_json(const struct judge_metric_state *metric)
{
	return json_pack("{s:b, s:b, s:b, s:b, s:i, s:i, s:I, s:o, s:o, s:s}", "crossed",
			 metric->has_crossed, "acknowledged", metric->is_acknowledged, "passed",
			 metric->has_passed, "uninformative", metric->is_uninformative, "failing",
			 (int)metric->failing, "last", (int)metric->last, "data_ns",
			 (json_int_t)metric->data_ns, "log_e", json_real_or_null(metric->log_e),
			 "excess", json_real_or_null(metric->excess), "reason", metric->reason);
}

static json_t *edges_to_json(const struct judge_edges *edges)
{
	uint64_t buckets[JUDGE_EDGES];

	for (size_t i = 0; i < JUDGE_EDGES; i++)
		buckets[i] = edges->buckets[i];
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o}", "buckets", numbers_to_json(buckets, edges->count),
		"looked_ns", numbers_to_json(edges->looked_ns, JUDGE_LOOKS), "above_looked",
		numbers_to_json(&edges->above_looked[0][0][0],
				JUDGE_LOOKS * RULES_MAX * JUDGE_EDGES),
		"burst", numbers_to_json(&edges->burst[0][0], RULES_MAX * JUDGE_EDGES),
		"above_before",
		numbers_to_json(&edges->above_before[0][0][0],
				RULES_MAX * TRACK_ARMS * JUDGE_EDGES),
		"all_before", numbers_to_json(&edges->all_before[0][0], RULES_MAX * TRACK_ARMS));
}

static json_t *metrics_to_json(const struct judge *judge)
{
	json_t *metrics = json_object();

	for (size_t i = 0; i < judge->rollout->metrics_count; i++)
		json_object_set_new(metrics, judge->rollout->metrics[i].name,
				    metric_to_json(&judge->state.metrics[i]));
	return metrics;
}

json_t *judge_to_json(const struct judge *judge)
{
	const struct judge_state *state = &judge->state;
	json_t *edges = json_array();

	for (size_t i = 0; i < TRACK_SAMPLES; i++)
		json_array_append_new(edges, edges_to_json(&state->edges[i]));
	return json_pack("{s:I, s:I, s:b, s:b, s:b, s:b, s:I, s:s, s:o, s:o, s:o, s:o}", "window",
			 (json_int_t)state->window, "step_window", (json_int_t)state->step_window,
			 "has_window", state->has_window, "follows_change", state->follows_change,
			 "has_fallen_back", state->has_fallen_back, "is_invalid", state->is_invalid,
			 "window_ns", (json_int_t)state->window_ns, "invalid", state->invalid,
			 "metrics", metrics_to_json(judge), "edges", edges, "earlier",
			 numbers_to_json(&state->earlier[0][0], TRACK_SAMPLES * TRACK_BUCKETS),
			 "running",
			 numbers_to_json(&state->running[0][0], TRACK_SAMPLES * TRACK_BUCKETS));
}

/* ---- reading: each returns false where it does not fit ---- */

static bool read_number(const json_t *object, const char *key, uint64_t most, uint64_t *out)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > most)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}

static bool read_flag(const json_t *object, const char *key, bool *out)
{
	const json_t *value = json_object_get(object, key);

	*out = json_is_true(value);
	return json_is_boolean(value);
}

static bool read_reason(const json_t *object, const char *key, char out[REASON_SIZE])
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && snprintf(out, REASON_SIZE, "%s", text) < REASON_SIZE;
}

/* null is what no JSON number can be: @unknown. (An E that is infinite is so over any threshold.)
 */
static bool read_real(const json_t *object, const char *key, double unknown, double *out)
{
	const json_t *value = json_object_get(object, key);

	*out = json_is_null(value) ? unknown : json_number_value(value);
	return json_is_null(value) || json_is_number(value);
}

/* A list of at most @most numbers; *@count of them. */
static bool read_list(const json_t *list, uint64_t *out, size_t most, size_t *count)
{
	*count = json_array_size(list);
	if (!json_is_array(list) || *count > most)
		return false;
	for (size_t i = 0; i < *count; i++) {
		const json_t *value = json_array_get(list, i);

		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return false;
		out[i] = (uint64_t)json_integer_value(value);
	}
	return true;
}

static bool read_numbers(const json_t *object, const char *key, uint64_t *out, size_t count)
{
	size_t found;

	return read_list(json_object_get(object, key), out, count, &found) && found == count;
}

static bool read_metric(const json_t *json, struct judge_metric_state *out)
{
	uint64_t failing, last;

	if (!read_flag(json, "crossed", &out->has_crossed) ||
	    !read_flag(json, "acknowledged", &out->is_acknowledged) ||
	    !read_flag(json, "passed", &out->has_passed) ||
	    !read_flag(json, "uninformative", &out->is_uninformative) ||
	    !read_number(json, "failing", INT32_MAX, &failing) ||
	    !read_number(json, "last", JUDGE_SAMPLE_NODATA, &last) ||
	    !read_number(json, "data_ns", INT64_MAX, &out->data_ns) ||
	    !read_real(json, "excess", INFINITY, &out->excess) ||
	    !read_real(json, "log_e", isinf(out->excess) ? INFINITY : NAN, &out->log_e) ||
	    !read_reason(json, "reason", out->reason))
		return false;
	out->failing = (uint32_t)failing;
	out->last = (enum judge_sample)last;
	return true;
}

static bool read_metrics(const json_t *json, struct judge *judge)
{
	const struct rollout *rollout = judge->rollout;

	if (json_object_size(json) != rollout->metrics_count)
		return false;
	for (size_t i = 0; i < rollout->metrics_count; i++)
		if (!read_metric(json_object_get(json, rollout->metrics[i].name),
				 &judge->state.metrics[i]))
			return false;
	return true;
}

static bool read_edges(const json_t *json, struct judge_edges *out)
{
	uint64_t buckets[JUDGE_EDGES];
	size_t count;

	if (!read_list(json_object_get(json, "buckets"), buckets, JUDGE_EDGES, &count) ||
	    !read_numbers(json, "above_before", &out->above_before[0][0][0],
			  RULES_MAX * TRACK_ARMS * JUDGE_EDGES) ||
	    !read_numbers(json, "all_before", &out->all_before[0][0], RULES_MAX * TRACK_ARMS) ||
	    !read_numbers(json, "looked_ns", out->looked_ns, JUDGE_LOOKS) ||
	    !read_numbers(json, "above_looked", &out->above_looked[0][0][0],
			  JUDGE_LOOKS * RULES_MAX * JUDGE_EDGES) ||
	    !read_numbers(json, "burst", &out->burst[0][0], RULES_MAX * JUDGE_EDGES))
		return false;
	out->count = (uint32_t)count;
	for (size_t i = 0; i < count; i++) {
		if (buckets[i] >= TRACK_BUCKETS - 1)
			return false;
		out->buckets[i] = (uint8_t)buckets[i];
	}
	return true;
}

static bool read_state(const json_t *json, struct judge *judge)
{
	const json_t *edges = json_object_get(json, "edges");
	struct judge_state *state = &judge->state;
	uint64_t window, step_window;

	if (!read_number(json, "window", UINT32_MAX, &window) ||
	    !read_number(json, "step_window", UINT32_MAX, &step_window) ||
	    !read_flag(json, "has_window", &state->has_window) ||
	    !read_flag(json, "follows_change", &state->follows_change) ||
	    !read_flag(json, "has_fallen_back", &state->has_fallen_back) ||
	    !read_flag(json, "is_invalid", &state->is_invalid) ||
	    !read_number(json, "window_ns", INT64_MAX, &state->window_ns) ||
	    !read_reason(json, "invalid", state->invalid) ||
	    !read_metrics(json_object_get(json, "metrics"), judge) ||
	    !read_numbers(json, "earlier", &state->earlier[0][0], TRACK_SAMPLES * TRACK_BUCKETS) ||
	    !read_numbers(json, "running", &state->running[0][0], TRACK_SAMPLES * TRACK_BUCKETS) ||
	    json_array_size(edges) != TRACK_SAMPLES)
		return false;
	state->window = (uint32_t)window;
	state->step_window = (uint32_t)step_window;
	for (size_t i = 0; i < TRACK_SAMPLES; i++)
		if (!read_edges(json_array_get(edges, i), &state->edges[i]))
			return false;
	return true;
}

int judge_from_json(struct judge *judge, const struct rollout *rollout, const json_t *json)
{
	struct judge read;

	judge_init(&read, rollout);
	if (!read_state(json, &read))
		return -EINVAL;
	*judge = read;
	return 0;
}

/* ---- for export ---- */

/* The name of a comparison of @metric as a metric of its own. */
static void name_comparison(const struct rollout_metric *metric,
			    const struct comparison *comparison, char out[NAME_SIZE])
{
	enum track_sample sample = sample_of_metric(metric->kernel);
	uint64_t value;

	if (sample == TRACK_SAMPLES) {
		snprintf(out, NAME_SIZE, "%s", metric->name);
		return;
	}
	value = edge_value(sample, comparison->edge);
	if (sample == SAMPLE_RESPONSE_SIZE)
		snprintf(out, NAME_SIZE, "%s-%s-%" PRIu64 "b", kernel_metric_name(metric->kernel),
			 comparison->is_below ? "below" : "from", value);
	else
		snprintf(out, NAME_SIZE, "%s-above-%" PRIu64 "ms",
			 kernel_metric_name(metric->kernel), value);
}

struct exporting {
	const struct judge_input *input;
	int (*each)(const struct judge_count *count, void *data);
	void *data;
};

/* Strata of the kernel's counts are those of the rules with a canary, in their order. */
static int export_comparison(const struct exporting *exporting, const struct comparison *comparison,
			     struct judge_count count)
{
	const struct guard_stratum *stratum = comparison->strata;
	int error = 0;

	for (size_t rule = 0; rule < exporting->input->rules_count && !error; rule++) {
		if (!has_canary(&exporting->input->rules[rule]))
			continue;
		count.rule = (uint32_t)rule;
		count.stratum = stratum++;
		error = exporting->each(&count, exporting->data);
	}
	return error;
}

static int export_kernel(const struct exporting *exporting, const struct judge *judge,
			 const struct rollout_metric *metric)
{
	struct evidence evidence;
	char name[NAME_SIZE];
	int error = 0;

	evidence_of_kernel(judge, exporting->input, metric->kernel, &evidence);
	for (size_t i = 0; i < evidence.count && !error; i++) {
		name_comparison(metric, &evidence.comparisons[i], name);
		error = export_comparison(exporting, &evidence.comparisons[i],
					  (struct judge_count){
						  .metric = name,
						  .window = evidence.window,
					  });
	}
	return error;
}

static int export_window(const struct exporting *exporting, const struct rollout_metric *metric,
			 const struct judge_window *window)
{
	const struct guard_stratum *strata;
	struct evidence evidence;
	int error = 0;

	evidence_of_window(exporting->input, metric->source, window, &evidence);
	strata = comparison_strata(evidence.comparisons);
	for (size_t i = 0; i < evidence.comparisons->count && !error; i++)
		error = exporting->each(
			&(struct judge_count){
				.metric = metric->name,
				.window = evidence.window,
				.rule = window->rules ? window->rules[i] : JUDGE_ALL_RULES,
				.stratum = &strata[i],
			},
			exporting->data);
	return error;
}

int judge_each_stratum(const struct judge *judge, const struct judge_input *input,
		       int (*each)(const struct judge_count *count, void *data), void *data)
{
	const struct exporting exporting = {input, each, data};
	int error = 0;

	for (size_t i = 0; i < judge->rollout->metrics_count && !error; i++) {
		const struct rollout_metric *metric = &judge->rollout->metrics[i];
		const struct judge_windows *windows = &input->windows[i];

		if (metric->source == SOURCE_KERNEL)
			error = export_kernel(&exporting, judge, metric);
		for (size_t j = 0; j < windows->count && !error; j++)
			error = export_window(&exporting, metric, &windows->windows[j]);
	}
	return error;
}
