// SPDX-License-Identifier: GPL-2.0-only
#include "guard/evidence.h"

#include <string.h>

static void begin(const struct judge *judge, struct evidence *out)
{
	out->window = judge->state.window;
	out->lack = LACK_NOTHING;
	out->count = 0;
	out->canary_clients = out->control_clients = out->compared_clients = 0;
	out->clients = out->ended = out->events = 0;
}

static void find_lack(const struct judge_input *input, struct evidence *out)
{
	bool has_arms = false;

	for (size_t i = 0; i < input->rules_count; i++)
		has_arms |= has_two_arms(&input->rules[i]);
	if (!has_arms)
		out->lack = LACK_ARMS;
	else if (!out->compared_clients)
		out->lack = LACK_CANARY;
	else if (!out->control_clients)
		out->lack = LACK_CONTROL;
}

static struct comparison *add_comparison(struct evidence *out)
{
	struct comparison *comparison = &out->comparisons[out->count++];

	comparison->others = NULL;
	comparison->count = 0;
	comparison->is_below = false;
	comparison->canary_events = comparison->control_events = comparison->compared_events = 0;
	return comparison;
}

void comparison_add(struct comparison *comparison, uint64_t canary, uint64_t control, double pi)
{
	bool is_compared = pi < 1;

	if (!is_compared)
		control = 0;
	comparison->burst[comparison->count] = 0;
	comparison->strata[comparison->count++] =
		(struct guard_stratum){.k = canary, .n = canary + control, .pi = pi};
	comparison->canary_events += canary;
	comparison->control_events += control;
	comparison->compared_events += is_compared ? canary : 0;
}

const struct guard_stratum *comparison_strata(const struct comparison *comparison)
{
	return comparison->others ? comparison->others : comparison->strata;
}

double comparison_log_e(const struct comparison *comparison, double psi0)
{
	struct guard_stratum strata[RULES_MAX];

	if (comparison->others)
		return guard_log_e(comparison->others, comparison->count, psi0);
	memcpy(strata, comparison->strata, sizeof(strata));
	for (size_t i = 0; i < comparison->count; i++) {
		uint64_t burst = comparison->burst[i];

		if (burst > strata[i].k)
			burst = strata[i].k;
		strata[i].k -= burst;
		strata[i].n -= burst;
	}
	return guard_log_e(strata, comparison->count, psi0);
}

/* ---- what is counted client by client ---- */

void evidence_add_clients(const struct judge_rule *rule, uint64_t canary, uint64_t control,
			  struct evidence *out)
{
	out->canary_clients += canary;
	if (!has_two_arms(rule))
		return;
	out->compared_clients += canary;
	out->control_clients += control;
}

/* Clients that have a first flow. */
static void add_flows(const struct judge_rule *rule, struct evidence *out)
{
	const struct track_counts *canary = &rule->arms[TRACK_CANARY];

	evidence_add_clients(rule, canary->clients, rule->arms[TRACK_CONTROL].clients, out);
	out->clients += canary->clients;
	out->ended += canary->ended;
}

void evidence_of_events(const struct judge *judge, const struct judge_input *input,
			enum kernel_metric metric, struct evidence *out)
{
	struct comparison *comparison;

	begin(judge, out);
	comparison = add_comparison(out);
	for (size_t i = 0; i < input->rules_count; i++) {
		const struct judge_rule *rule = &input->rules[i];
		uint64_t canary = rule->arms[TRACK_CANARY].events[metric];
		uint64_t control = rule->arms[TRACK_CONTROL].events[metric];

		if (!has_canary(rule))
			continue;
		add_flows(rule, out);
		comparison_add(comparison, canary, control, rule->pi);
	}
	out->events = comparison->canary_events;
	find_lack(input, out);
}

void evidence_of_sights(const struct judge *judge, const struct judge_input *input,
			struct evidence *out)
{
	struct comparison *comparison;

	begin(judge, out);
	comparison = add_comparison(out);
	for (size_t i = 0; i < input->rules_count; i++) {
		const struct judge_rule *rule = &input->rules[i];
		uint64_t canary = rule->arms[TRACK_CANARY].sights;
		uint64_t control = rule->arms[TRACK_CONTROL].sights;

		if (!has_canary(rule))
			continue;
		evidence_add_clients(rule, canary, control, out);
		comparison_add(comparison, canary, control, rule->pi);
	}
	out->clients = out->canary_clients;
	find_lack(input, out);
}

static void add_window(const struct judge_window *window, struct evidence *out)
{
	struct comparison *comparison = add_comparison(out);

	comparison->others = window->strata;
	comparison->count = window->count;
	for (size_t i = 0; i < window->count; i++) {
		const struct guard_stratum *stratum = &window->strata[i];

		comparison->canary_events += stratum->k;
		if (!(stratum->pi > 0 && stratum->pi < 1))
			continue;
		comparison->compared_events += stratum->k;
		comparison->control_events += stratum->n - stratum->k;
	}
	out->events = comparison->canary_events;
}

void evidence_of_kernel(const struct judge *judge, const struct judge_input *input,
			enum kernel_metric metric, struct evidence *out)
{
	enum track_sample sample = sample_of_metric(metric);

	if (sample < TRACK_SAMPLES)
		evidence_of_samples(judge, input, sample, out);
	else
		evidence_of_events(judge, input, metric, out);
}

/*
 * Clients that could be reported are those that were seen: no report is data, too. Of what
 * Prometheus counts nobody knows the clients.
 */
void evidence_of_window(const struct judge_input *input, enum metric_source source,
			const struct judge_window *window, struct evidence *out)
{
	*out = (struct evidence){.window = window->window};
	add_window(window, out);
	if (source != SOURCE_FEEDBACK) {
		out->lack = window->strata ? LACK_NOTHING : LACK_COUNTS;
		out->canary_clients = out->control_clients = COUNT_UNKNOWN;
		return;
	}
	for (size_t i = 0; i < input->rules_count; i++)
		if (has_canary(&input->rules[i]))
			add_flows(&input->rules[i], out);
	find_lack(input, out);
}
