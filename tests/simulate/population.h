/* SPDX-License-Identifier: GPL-2.0-only */
/* Clients of a simulated rollout, and random numbers for them. */
#ifndef XDP_CANARY_TESTS_POPULATION_H
#define XDP_CANARY_TESTS_POPULATION_H

#include "simulation.h"

#define FAILURES (METRIC_RETRANSMISSION + 1) /* the kernel's metrics that are failures */
#define TIMES	 (SAMPLE_LAST_BYTE_TIME + 1)

enum { RULE_STAFF, RULE_DEFAULT, SIMULATED_RULES };
#define STAFF_PARTS .05
#define STAFF_SHARE .5

struct sim_client {
	double hash; /* [0, 1): in the canary if below the share */
	int rule;
	double flows;		   /* an hour of mean traffic */
	double rates[FAILURES];	   /* flows that fail, an hour */
	double speed;		   /* ln of milliseconds */
	bool has_failed[FAILURES]; /* in this rollout */
};

double random_unit(struct random *random);	  /* (0, 1) */
double random_exponential(struct random *random); /* mean 1 */
double random_normal(struct random *random);

void populate(const struct scenario *scenario, struct random *random, struct sim_client *clients);
/* Bucket of a time of this client's next flow. */
uint8_t sample_bucket(const struct sim_client *client, int time, struct random *random);

#endif
