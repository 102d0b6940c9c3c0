// SPDX-License-Identifier: GPL-2.0-only
/* How many events the judge needs, and how many a test would that is looked at once, at its end. */
#include "population.h"

#include <math.h>

/* So many that no metric is uninformative, whatever share of them has the event. */
#define CLIENTS_THERE 1000000000

double mean_delay(double pi, double psi, double alpha, unsigned int runs, struct random *random)
{
	struct rollout_metric metric = {
		.name = "connect_failure",
		.source = SOURCE_KERNEL,
		.kernel = METRIC_CONNECT_FAILURE,
		.weight = 1,
		.critical = true,
	};
	struct rollout rollout = {
		.guard = {alpha, .05, 1, 2, 4}, .metrics = &metric, .metrics_count = 1};
	double q = pi * psi / (1 - pi + pi * psi), events = 0;
	struct judgement judgement;
	struct judge judge;

	for (unsigned int run = 0; run < runs; run++) {
		struct judge_rule rule = {.pi = pi};
		struct judge_input input = {.rules = &rule, .rules_count = 1};

		rule.arms[TRACK_CANARY].clients = rule.arms[TRACK_CONTROL].clients = CLIENTS_THERE;
		judge_init(&judge, &rollout);
		judge_begin_window(&judge, 0, true, 0);
		do {
			int arm = random_unit(random) < q ? TRACK_CANARY : TRACK_CONTROL;

			rule.arms[arm].events[METRIC_CONNECT_FAILURE]++;
			events++;
			judge_decide(&judge, &input, 0, &judgement);
		} while (judgement.verdict != VERDICT_ROLLBACK);
	}
	return events / runs;
}

static double binomial(unsigned int k, unsigned int n, double p)
{
	return exp(lgamma(n + 1.) - lgamma(k + 1.) - lgamma(n - k + 1.) + k * log(p) +
		   (n - k) * log1p(-p));
}

/* The chance of rejecting where the canary's part is @q, by the exact test of @n events. */
static double power_of(unsigned int n, double pi, double q, double alpha)
{
	double by_chance = 0, found = 0;

	for (unsigned int k = n + 1; k-- > 0;) {
		by_chance += binomial(k, n, pi);
		if (by_chance > alpha)
			break;
		found += binomial(k, n, q);
	}
	return found;
}

unsigned int fixed_horizon(double pi, double psi, double alpha, double power)
{
	double q = pi * psi / (1 - pi + pi * psi);
	unsigned int n = 1;

	while (power_of(n, pi, q, alpha) < power)
		n++;
	return n;
}
