// SPDX-License-Identifier: GPL-2.0-only
#include "simulation.h"

#include "population.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NS_AN_HOUR (3600 * UINT64_C(1000000000))
#define SWING	   .8 /* of traffic over the day */

const char *const counting_names[COUNTINGS] = {
	[COUNT_FIRSTS_OF_WINDOW] = "firsts of the window",
	[COUNT_EVERY_FLOW] = "every flow",
	[COUNT_FIRSTS_OF_ROLLOUT] = "firsts of the rollout",
	[COUNT_WITHOUT_FACTOR] = "no window factor",
};

/* What came in the time of one look, of one arm of one rule. */
struct increment {
	uint32_t clients, sights;
	uint32_t events[FAILURES];
	uint32_t samples[TIMES][TRACK_BUCKETS];
	bool has_any;
};

struct run {
	const struct scenario *scenario;
	struct random random;
	struct sim_client *clients;
	struct increment (*increments)[SIMULATED_RULES][TRACK_ARMS]; /* by look */
	struct judge_rule rules[SIMULATED_RULES];
	struct judge judge;
	struct judgement judgement;
	double phase; /* hours: when the day began */
	double shares[SIMULATED_RULES];
	double length;	   /* of the window, in hours of mean traffic */
	unsigned int hour; /* since the rollout began */
	bool is_changed;   /* the window follows a change of share */
	struct outcome *out;
};

/* ---- the world ---- */

/* The canary from the near end of the hash space, control 4 times as much from the far end. */
static double control_part(double share)
{
	return fmin(4 * share, 1 - share);
}

static double pi_of(double share)
{
	return share / (share + control_part(share));
}

/* -1: not followed. */
static int arm_of(const struct run *run, const struct sim_client *client)
{
	double share = run->shares[client->rule];

	if (client->hash < share)
		return TRACK_CANARY;
	return client->hash >= 1 - control_part(share) ? TRACK_CONTROL : -1;
}

/* Traffic of the hour, where its mean over the day is 1. */
static double traffic(const struct run *run, double from, double to)
{
	double turn = 2 * M_PI / 24;

	if (!run->scenario->diurnal)
		return to - from;
	return to - from +
	       SWING / turn * (cos(turn * (from + run->phase)) - cos(turn * (to + run->phase)));
}

static size_t look_at(const struct run *run, double time)
{
	size_t look = (size_t)(time / run->length * run->scenario->looks_an_hour);

	return look < run->scenario->looks_an_hour ? look : run->scenario->looks_an_hour - 1;
}

static double factor_of(const struct run *run, int metric, int arm)
{
	const struct scenario *scenario = run->scenario;

	return arm == TRACK_CANARY && metric == (int)scenario->fault && run->hour >= scenario->onset
		       ? scenario->factor
		       : 1;
}

/* Flows of one client that fail in this window; when the first of them does. */
static double fail(struct run *run, struct sim_client *client, int arm, int metric)
{
	double rate = client->rates[metric] * factor_of(run, metric, arm);
	double first = random_exponential(&run->random) / rate, time = first;

	while (time < run->length) {
		struct increment *increment =
			&run->increments[look_at(run, time)][client->rule][arm];

		if (run->scenario->counting == COUNT_FIRSTS_OF_ROLLOUT &&
		    client->has_failed[metric])
			break;
		client->has_failed[metric] = true;
		increment->events[metric]++;
		increment->has_any = true;
		if (run->scenario->counting != COUNT_EVERY_FLOW)
			break;
		time += random_exponential(&run->random) / rate;
	}
	return first;
}

static void live(struct run *run, struct sim_client *client)
{
	int arm = arm_of(run, client);
	struct increment *increment;
	double first;

	if (arm < 0)
		return;
	first = random_exponential(&run->random) / client->flows;
	for (int metric = 0; metric < FAILURES; metric++)
		first = fmin(first, fail(run, client, arm, metric));
	if (first >= run->length)
		return;
	increment = &run->increments[look_at(run, first)][client->rule][arm];
	increment->clients++;
	increment->sights++;
	increment->has_any = true;
	for (int time = 0; time < TIMES; time++)
		increment->samples[time][sample_bucket(client, time, &run->random)]++;
}

/* ---- the guard ---- */

static void add(struct track_counts *counts, const struct increment *increment)
{
	counts->clients += increment->clients;
	counts->ended += increment->clients;
	counts->sights += increment->sights;
	for (int metric = 0; metric < FAILURES; metric++)
		counts->events[metric] += increment->events[metric];
	for (int time = 0; time < TIMES; time++)
		for (int i = 0; i < TRACK_BUCKETS; i++)
			counts->first_samples[time][i] += increment->samples[time][i];
}

static void note(struct run *run, size_t look)
{
	struct outcome *out = run->out;

	out->looks++;
	out->invalid |= run->judge.state.is_invalid;
	out->promoted |= run->judge.state.metrics[run->scenario->fault].has_passed;
	if (run->judgement.verdict != VERDICT_ROLLBACK || out->rolled_back)
		return;
	out->rolled_back = true;
	out->hours = run->hour + (double)(look + 1) / run->scenario->looks_an_hour;
	for (size_t i = 0; i < run->judgement.metrics_count; i++)
		if (run->judgement.metrics[i].verdict == VERDICT_ROLLBACK)
			out->metric = i;
}

/* False: it is over. */
static bool look(struct run *run, size_t look)
{
	struct judge_input input = {.rules = run->rules, .rules_count = SIMULATED_RULES};
	uint64_t now_ns = (run->hour + 1) * NS_AN_HOUR;
	bool has_any = false;

	for (int rule = 0; rule < SIMULATED_RULES; rule++) {
		for (int arm = 0; arm < TRACK_ARMS; arm++) {
			const struct increment *came = &run->increments[look][rule][arm];

			has_any |= came->has_any;
			add(&run->rules[rule].arms[arm], came);
			if (arm == TRACK_CANARY && run->hour >= run->scenario->onset)
				run->out->affected += came->events[run->scenario->fault];
		}
	}
	if (!has_any)
		return true;
	judge_decide(&run->judge, &input, now_ns, &run->judgement);
	note(run, look);
	return run->scenario->ignores_rollback || !run->out->rolled_back;
}

static bool window(struct run *run)
{
	const struct scenario *scenario = run->scenario;
	uint32_t number = scenario->counting == COUNT_WITHOUT_FACTOR ? 0 : run->out->windows;

	run->length = traffic(run, run->hour, run->hour + 1);
	memset(run->increments, 0, scenario->looks_an_hour * sizeof(*run->increments));
	memset(run->rules, 0, sizeof(run->rules));
	for (int rule = 0; rule < SIMULATED_RULES; rule++)
		run->rules[rule].pi = pi_of(run->shares[rule]);
	judge_begin_window(&run->judge, number, run->is_changed, run->hour * NS_AN_HOUR);
	run->out->windows++;
	for (size_t i = 0; i < scenario->clients; i++)
		live(run, &run->clients[i]);
	for (size_t i = 0; i < scenario->looks_an_hour; i++)
		if (!look(run, i))
			return false;
	return true;
}

static void roll_out(struct run *run)
{
	const struct plan *plan = &run->scenario->plan;

	for (size_t step = 0; step < plan->count; step++) {
		run->shares[RULE_DEFAULT] = plan->steps[step].share;
		run->is_changed = true;
		for (unsigned int hour = 0; hour < plan->steps[step].hours; hour++) {
			if (!window(run))
				return;
			run->hour++;
			run->is_changed = false;
		}
	}
}

void simulate(const struct scenario *scenario, struct random random, struct outcome *out)
{
	struct run *run = calloc(1, sizeof(*run));

	if (!run)
		abort();
	*out = (struct outcome){0};
	run->scenario = scenario;
	run->random = random;
	run->out = out;
	run->clients = calloc(scenario->clients, sizeof(*run->clients));
	run->increments = calloc(scenario->looks_an_hour, sizeof(*run->increments));
	if (!run->clients || !run->increments)
		abort();
	run->shares[RULE_STAFF] = STAFF_SHARE;
	run->phase = 24 * random_unit(&run->random);
	judge_init(&run->judge, scenario->rollout);
	populate(scenario, &run->random, run->clients);
	roll_out(run);
	free(run->increments);
	free(run->clients);
	free(run);
}

void default_rollout(struct rollout *out, struct rollout_metric metrics[ROLLOUT_METRICS_MAX],
		     size_t count, double alpha, double margin)
{
	*out = (struct rollout){
		.guard = {alpha, .05, margin, 2, 4},
		.metrics = metrics,
		.metrics_count = count,
	};
	for (size_t i = 0; i < out->metrics_count; i++) {
		metrics[i] = (struct rollout_metric){
			.source = SOURCE_KERNEL,
			.kernel = (enum kernel_metric)i,
			.weight = 1,
			.critical = i < FAILURES,
		};
		snprintf(metrics[i].name, sizeof(metrics[i].name), "%s", kernel_metric_name(i));
	}
}
