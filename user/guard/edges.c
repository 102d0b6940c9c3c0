// SPDX-License-Identifier: GPL-2.0-only
/*
 * Times and sizes: "the client's first sample is above x". An x must be chosen before the samples
 * that count by it, else whoever chooses could choose what speaks against the canary: it is made of
 * control's samples alone, and what was there by then does not count.
 */
#include "guard/evidence.h"

#include <string.h>

enum track_sample sample_of_metric(enum kernel_metric metric)
{
	uint32_t sample = 0;

	while (sample < TRACK_SAMPLES && metric_of_sample(sample) != metric)
		sample++;
	return (enum track_sample)sample;
}

uint64_t edge_value(enum track_sample sample, uint8_t bucket)
{
	return sample == SAMPLE_RESPONSE_SIZE ? 2ULL << bucket : time_bucket_edge(bucket);
}

/* ---- choosing ---- */

static uint64_t all_of(const uint64_t samples[TRACK_BUCKETS])
{
	uint64_t sum = 0;

	for (size_t i = 0; i < TRACK_BUCKETS; i++)
		sum += samples[i];
	return sum;
}

/* The first bucket up to which there are @percent of all. */
static uint8_t quantile(const uint64_t samples[TRACK_BUCKETS], uint64_t all, unsigned int percent)
{
	uint64_t sum = 0;
	uint8_t bucket = 0;

	while (bucket < TRACK_BUCKETS - 1) {
		sum += samples[bucket];
		/* Counts of 10^9 and more: no product of them overflows 64 bits below 10^17. */
		if (sum * 100 >= all * percent)
			break;
		bucket++;
	}
	return bucket;
}

static void choose(const uint64_t samples[TRACK_BUCKETS], struct judge_edges *edges)
{
	static const unsigned int percents[JUDGE_EDGES] = {50, 75, 90, 99};
	uint64_t all = all_of(samples);

	for (size_t i = 0; i < JUDGE_EDGES; i++) {
		uint8_t bucket = quantile(samples, all, percents[i]);

		/* Nothing is above the last one; and quantiles may share a bucket. */
		if (bucket == TRACK_BUCKETS - 1)
			break;
		if (!edges->count || edges->buckets[edges->count - 1] < bucket)
			edges->buckets[edges->count++] = bucket;
	}
}

void edges_begin_window(struct judge_state *state)
{
	memset(state->edges, 0, sizeof(state->edges));
	for (size_t sample = 0; sample < TRACK_SAMPLES; sample++) {
		state->edges[sample].looked_ns[0] = state->window_ns;
		for (size_t i = 0; i < TRACK_BUCKETS; i++)
			state->earlier[sample][i] += state->running[sample][i];
		if (all_of(state->earlier[sample]) >= JUDGE_EDGES_FROM)
			choose(state->earlier[sample], &state->edges[sample]);
	}
	memset(state->running, 0, sizeof(state->running));
}

static uint64_t above(const uint64_t samples[TRACK_BUCKETS], uint8_t bucket)
{
	uint64_t sum = 0;

	for (size_t i = bucket + 1; i < TRACK_BUCKETS; i++)
		sum += samples[i];
	return sum;
}

/* What is there when the x are fixed does not count. */
static void note_before(const struct judge_input *input, size_t sample, struct judge_edges *edges)
{
	for (size_t rule = 0; rule < input->rules_count; rule++) {
		for (size_t arm = 0; arm < TRACK_ARMS; arm++) {
			const uint64_t *samples =
				input->rules[rule].arms[arm].first_samples[sample];

			edges->all_before[rule][arm] = all_of(samples);
			for (size_t i = 0; i < edges->count; i++)
				edges->above_before[rule][arm][i] =
					above(samples, edges->buckets[i]);
		}
	}
}

/* ---- bursts ---- */

/* Counts never fall; but should the kernel's be lost, none is below none. */
static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

/* The look from which on there was a burst, if there was one; JUDGE_LOOKS: none is near. */
static size_t burst_from(const struct judge_edges *edges, uint64_t now_ns)
{
	size_t from = JUDGE_LOOKS;

	for (size_t i = 0; i < JUDGE_LOOKS; i++)
		if (edges->looked_ns[i] && now_ns - edges->looked_ns[i] <= JUDGE_BURST_NS)
			from = i;
	return from;
}

/* @now: of the canary, above the x, by rule. */
static bool note_burst(struct judge_edges *edges, size_t edge, size_t from,
		       const uint64_t now[RULES_MAX][JUDGE_EDGES])
{
	uint64_t came[RULES_MAX], most = 0, all = 0;

	for (size_t rule = 0; rule < RULES_MAX; rule++) {
		came[rule] = since(now[rule][edge], edges->above_looked[from][rule][edge]);
		all += came[rule];
		most += edges->burst[rule][edge];
	}
	for (size_t rule = 0; all > most && rule < RULES_MAX; rule++)
		edges->burst[rule][edge] = came[rule];
	return all > most;
}

static bool note_bursts(struct judge_edges *edges, const struct judge_input *input, size_t sample,
			uint64_t now_ns)
{
	uint64_t now[RULES_MAX][JUDGE_EDGES] = {0};
	size_t from = burst_from(edges, now_ns);
	bool has_grown = false;

	if (now_ns <= edges->looked_ns[0])
		return false;
	for (size_t rule = 0; rule < input->rules_count; rule++)
		for (size_t i = 0; i < edges->count; i++)
			now[rule][i] = since(
				above(input->rules[rule].arms[TRACK_CANARY].first_samples[sample],
				      edges->buckets[i]),
				edges->above_before[rule][TRACK_CANARY][i]);
	for (size_t i = 0; from < JUDGE_LOOKS && i < edges->count; i++)
		has_grown |= note_burst(edges, i, from, now);
	for (size_t look = JUDGE_LOOKS - 1; look; look--) {
		edges->looked_ns[look] = edges->looked_ns[look - 1];
		memcpy(edges->above_looked[look], edges->above_looked[look - 1],
		       sizeof(edges->above_looked[look]));
	}
	edges->looked_ns[0] = now_ns;
	memcpy(edges->above_looked[0], now, sizeof(edges->above_looked[0]));
	return has_grown;
}

bool edges_look(struct judge_state *state, const struct judge_input *input, uint64_t now_ns)
{
	bool has_changed = false;

	memset(state->running, 0, sizeof(state->running));
	for (size_t sample = 0; sample < TRACK_SAMPLES; sample++) {
		struct judge_edges *edges = &state->edges[sample];
		uint64_t *running = state->running[sample];

		for (size_t rule = 0; rule < input->rules_count; rule++) {
			const struct track_counts *control =
				&input->rules[rule].arms[TRACK_CONTROL];

			for (size_t i = 0; i < TRACK_BUCKETS; i++)
				running[i] += control->first_samples[sample][i];
		}
		if (!edges->count && all_of(running) >= JUDGE_EDGES_FROM) {
			choose(running, edges);
			note_before(input, sample, edges);
			has_changed |= edges->count > 0;
		}
		has_changed |= note_bursts(edges, input, sample, now_ns);
	}
	return has_changed;
}

/* ---- counting ---- */

struct side {
	uint64_t above[TRACK_ARMS], all[TRACK_ARMS];
};

static struct side count_side(const struct judge_edges *edges, const struct judge_input *input,
			      enum track_sample sample, size_t rule, size_t edge)
{
	struct side side;

	for (size_t arm = 0; arm < TRACK_ARMS; arm++) {
		const uint64_t *samples = input->rules[rule].arms[arm].first_samples[sample];

		side.above[arm] = since(above(samples, edges->buckets[edge]),
					edges->above_before[rule][arm][edge]);
		side.all[arm] = since(all_of(samples), edges->all_before[rule][arm]);
	}
	return side;
}

static void add_side(struct comparison *comparison, const struct side *side, bool is_below,
		     double pi)
{
	uint64_t events[TRACK_ARMS];

	for (size_t arm = 0; arm < TRACK_ARMS; arm++)
		events[arm] = is_below ? since(side->all[arm], side->above[arm]) : side->above[arm];
	comparison_add(comparison, events[TRACK_CANARY], events[TRACK_CONTROL], pi);
}

static void compare(const struct judge_edges *edges, const struct judge_input *input,
		    enum track_sample sample, size_t edge, bool is_below, struct evidence *out)
{
	struct comparison *comparison = &out->comparisons[out->count++];

	*comparison = (struct comparison){.edge = edges->buckets[edge], .is_below = is_below};
	out->canary_clients = out->control_clients = out->compared_clients = 0;
	for (size_t rule = 0; rule < input->rules_count; rule++) {
		double pi = input->rules[rule].pi;
		struct side side;

		if (!has_canary(&input->rules[rule]))
			continue;
		side = count_side(edges, input, sample, rule, edge);
		add_side(comparison, &side, is_below, pi);
		if (sample != SAMPLE_RESPONSE_SIZE)
			comparison->burst[comparison->count - 1] = edges->burst[rule][edge];
		evidence_add_clients(&input->rules[rule], side.all[TRACK_CANARY],
				     side.all[TRACK_CONTROL], out);
	}
}

void evidence_of_samples(const struct judge *judge, const struct judge_input *input,
			 enum track_sample sample, struct evidence *out)
{
	const struct judge_edges *edges = &judge->state.edges[sample];
	bool has_arms = false;

	*out = (struct evidence){.window = judge->state.window};
	for (size_t rule = 0; rule < input->rules_count; rule++) {
		has_arms |= has_two_arms(&input->rules[rule]);
		if (has_canary(&input->rules[rule]))
			out->clients += input->rules[rule].arms[TRACK_CANARY].clients;
	}
	for (size_t i = 0; i < edges->count; i++) {
		compare(edges, input, sample, i, false, out);
		/* Too short an answer is as bad as too long a one. */
		if (sample == SAMPLE_RESPONSE_SIZE)
			compare(edges, input, sample, i, true, out);
	}
	/* No x will be fixed in this window, so of whom there are nobody has the event. */
	if (!has_arms && !edges->count)
		out->canary_clients = out->clients;
	if (!has_arms)
		out->lack = LACK_ARMS;
	else if (!edges->count)
		out->lack = LACK_EDGES;
	else if (!out->compared_clients)
		out->lack = LACK_CANARY;
	else if (!out->control_clients)
		out->lack = LACK_CONTROL;
}
