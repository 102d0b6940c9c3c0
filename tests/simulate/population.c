// SPDX-License-Identifier: GPL-2.0-only
#include "population.h"

#include <math.h>

double random_unit(struct random *random)
{
	return ((double)(random_next(random) >> 11) + .5) * 0x1p-53;
}

double random_exponential(struct random *random)
{
	return -log(random_unit(random));
}

double random_normal(struct random *random)
{
	return sqrt(2 * random_exponential(random)) * cos(2 * M_PI * random_unit(random));
}

/* Flows an hour: the median client has 3, one in a hundred more than 90. */
#define FLOWS_MEDIAN 3
#define FLOWS_SIGMA  1.5

/* The mean over all clients of flows that fail, an hour. */
static const double usual_rates[FAILURES] = {
	[METRIC_CONNECT_FAILURE] = .05, [METRIC_SYN_REPEATED] = .3,
	[METRIC_UNANSWERED] = .6,	[METRIC_QUIT] = .1,
	[METRIC_SILENT] = .05,		[METRIC_RETRANSMISSION] = .6,
};

/* Most clients fail little, one in ten 10 times as often, and so more often than all others. */
static double badness(struct random *random)
{
	return (random_unit(random) < .1 ? 10 : 1) * random_exponential(random) / 1.9;
}

static void populate_one(const struct scenario *scenario, struct random *random,
			 struct sim_client *client)
{
	double flows = exp(FLOWS_SIGMA * random_normal(random));
	double bad = badness(random);

	*client = (struct sim_client){
		.hash = random_unit(random),
		.rule = random_unit(random) < STAFF_PARTS ? RULE_STAFF : RULE_DEFAULT,
		.flows = FLOWS_MEDIAN * flows,
		.speed = log(20) + .8 * random_normal(random),
	};
	for (int metric = 0; metric < FAILURES; metric++) {
		double mean = usual_rates[metric];

		if (metric == (int)scenario->fault && scenario->events_an_hour > 0)
			mean = scenario->events_an_hour;
		/* The mean of exp(sigma Z) is exp(sigma^2 / 2). */
		client->rates[metric] =
			scenario->uniform ? mean
					  : mean * bad * flows / exp(FLOWS_SIGMA * FLOWS_SIGMA / 2);
	}
	if (scenario->uniform)
		client->flows = FLOWS_MEDIAN;
}

void populate(const struct scenario *scenario, struct random *random, struct sim_client *clients)
{
	for (size_t i = 0; i < scenario->clients; i++)
		populate_one(scenario, random, &clients[i]);
}

/* Nearly normal, from one number: four uniform ones, whose sum has the variance 1/3. */
static double random_noise(struct random *random)
{
	uint64_t bits = random_next(random);
	double sum = 0;

	for (int i = 0; i < 4; i++)
		sum += (double)(bits >> 16 * i & 0xffff) * 0x1p-16;
	return (sum - 2) * sqrt(3);
}

/* Two an octave of milliseconds, nearly those of headers/tracked.h. */
uint8_t sample_bucket(const struct sim_client *client, int time, struct random *random)
{
	double octaves = (client->speed + time * .5 + .7 * random_noise(random)) / M_LN2;
	int bucket = (int)ceil(2 * octaves);

	return (uint8_t)(bucket < 0 ? 0 : bucket >= TRACK_BUCKETS ? TRACK_BUCKETS - 1 : bucket);
}

double rate_of_clients(const struct scenario *scenario, enum kernel_metric metric,
		       struct random *random)
{
	double seen = 0, failed = 0;

	for (unsigned int i = 0; i < 2000000; i++) {
		struct sim_client client;
		double all = 0;

		populate_one(scenario, random, &client);
		for (int other = 0; other < FAILURES; other++)
			all += client.rates[other];
		seen += -expm1(-client.flows - all);
		failed += -expm1(-client.rates[metric]);
	}
	return failed / seen;
}
