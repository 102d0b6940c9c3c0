// SPDX-License-Identifier: GPL-2.0-only
/* Many runs: each has a seed that follows from its number, whatever thread it runs in. */
#include "simulation.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct crew {
	const struct scenario *scenario;
	uint64_t seed;
	unsigned int runs;
	atomic_uint next;
	struct outcome *outcomes;
};

static void *work(void *data)
{
	struct crew *crew = data;
	unsigned int run;

	while ((run = atomic_fetch_add(&crew->next, 1)) < crew->runs) {
		struct random random = {crew->seed + run * UINT64_C(0xd1342543de82ef95)};

		random_next(&random);
		simulate(crew->scenario, random, &crew->outcomes[run]);
	}
	return NULL;
}

static void add_up(const struct crew *crew, struct tally *out)
{
	*out = (struct tally){.runs = crew->runs};
	out->delays = calloc(crew->runs, sizeof(*out->delays));
	if (!out->delays)
		abort();
	for (unsigned int i = 0; i < crew->runs; i++) {
		const struct outcome *outcome = &crew->outcomes[i];

		out->rolled_back += outcome->rolled_back;
		out->invalid += outcome->invalid;
		out->promoted += outcome->promoted;
		out->looks += outcome->looks;
		out->affected += (double)outcome->affected;
		out->delays[i] = INFINITY;
		if (!outcome->rolled_back)
			continue;
		out->hours += outcome->hours;
		out->delays[i] = outcome->hours - crew->scenario->onset;
		for (unsigned int hour = (unsigned int)ceil(outcome->hours); hour <= HOURS_MAX;
		     hour++)
			out->by_hour[hour]++;
	}
}

void simulate_many(const struct scenario *scenario, uint64_t seed, unsigned int runs,
		   unsigned int threads, struct tally *out)
{
	struct crew crew = {.scenario = scenario, .seed = seed, .runs = runs};
	pthread_t *workers = calloc(threads, sizeof(*workers));

	crew.outcomes = calloc(runs, sizeof(*crew.outcomes));
	if (!workers || !crew.outcomes)
		abort();
	for (unsigned int i = 0; i < threads; i++)
		if (pthread_create(&workers[i], NULL, work, &crew))
			abort();
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(workers[i], NULL);
	add_up(&crew, out);
	free(crew.outcomes);
	free(workers);
}

void tally_release(struct tally *tally)
{
	free(tally->delays);
	tally->delays = NULL;
}
