/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rollouts that never were: clients with hashes, traffic and faults of their own, counted as the
 * kernel counts them, judged by the judge that the daemon asks. What is simulated is the world;
 * nothing of the guard is written a second time here.
 *
 * Clients persist: each has its own rate of flows (log-normal, so heavy-tailed) and its own chance
 * that a flow fails (a few clients fail again and again), the same in all windows of a rollout, and
 * the same bad clients have all the faults. Times depend on the client's own speed. Two rules: most
 * clients are in the default rule, whose share goes up step by step; a few in `staff`, at half from
 * the beginning.
 *
 * Traffic follows the hour. Within a window time runs by traffic, so that only the length of a
 * window depends on the hour: the order of events is the same.
 */
#ifndef XDP_CANARY_TESTS_SIMULATION_H
#define XDP_CANARY_TESTS_SIMULATION_H

#include "guard/judge.h"
#include "tests/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How events are counted: as the product does, or as it must not. */
enum counting {
	COUNT_FIRSTS_OF_WINDOW,	 /* the product */
	COUNT_EVERY_FLOW,	 /* each flow that fails, not each client's first */
	COUNT_FIRSTS_OF_ROLLOUT, /* a client counts once, in whatever window */
	COUNT_WITHOUT_FACTOR, /* as the product, but each window has the threshold of the first */
	COUNTINGS
};
extern const char *const counting_names[COUNTINGS];

#define PLAN_STEPS_MAX 8
#define HOURS_MAX      200

/* Shares of the default rule, each for so many whole hours: a window an hour. */
struct plan {
	struct {
		double share;
		unsigned int hours;
	} steps[PLAN_STEPS_MAX];
	size_t count;
};

struct scenario {
	const char *name;
	struct plan plan;
	size_t clients; /* in all, followed or not */
	const struct rollout *rollout;
	enum counting counting;
	unsigned int looks_an_hour; /* up to LOOKS_MAX */
	bool diurnal;
	bool uniform; /* all clients alike: the ratio of rates is that of clients, nearly */
	bool ignores_rollback; /* goes on to see what would be promoted */
	/* What is wrong with the canary: rates of @fault times @factor from hour @onset on. */
	enum kernel_metric fault;
	double factor;	       /* 1: nothing */
	double events_an_hour; /* of @fault, a client; 0: the usual ones */
	unsigned int onset;
};

#define LOOKS_MAX 240

struct outcome {
	bool rolled_back, invalid, promoted;
	double hours;  /* until rolled back */
	size_t metric; /* that did it */
	unsigned int windows, looks;
	/* Clients of the canary that had the event by then (of the fault), over all windows. */
	uint64_t affected;
};

/* One rollout; @random: of this run alone. */
void simulate(const struct scenario *scenario, struct random random, struct outcome *out);

/* The rollout that the file gives by default, or its first @count metrics, at a level and margin.
 */
void default_rollout(struct rollout *out, struct rollout_metric metrics[ROLLOUT_METRICS_MAX],
		     size_t count, double alpha, double margin);
#define DEFAULT_METRICS (METRIC_LAST_BYTE_TIME + 1)
/* The part of the clients seen in an hour of mean traffic that have the event, in the long run. */
double rate_of_clients(const struct scenario *scenario, enum kernel_metric metric,
		       struct random *random);

/* Many runs, of seeds that follow from @seed, over @threads threads. */
struct tally {
	unsigned int runs, rolled_back, invalid, promoted;
	unsigned int by_hour[HOURS_MAX + 1]; /* rolled back within so many hours */
	double looks;
	double hours;	 /* sum, of those rolled back */
	double *delays;	 /* of each run: hours from onset to rollback; INFINITY: never */
	double affected; /* sum */
};
void simulate_many(const struct scenario *scenario, uint64_t seed, unsigned int runs,
		   unsigned int threads, struct tally *out);
void tally_release(struct tally *tally);

/* ---- events one by one, for delays ---- */

/*
 * Mean number of events until the judge says ROLLBACK of one metric in the first window, whose
 * threshold is 2/@alpha, where the canary has @psi times the control's rate and @pi of the clients.
 */
double mean_delay(double pi, double psi, double alpha, unsigned int runs, struct random *random);
/* Events that a test of fixed size needs to reject psi = 1 at @alpha with probability @power. */
unsigned int fixed_horizon(double pi, double psi, double alpha, double power);

#endif
