// SPDX-License-Identifier: GPL-2.0-only
/*
 * make simulate: promise 9 in full, as a table; CSV files for plot.py.
 *
 *	simulate DIRECTORY [PART OF THE RUNS]
 *
 * Ends with 1 if a figure is not what is promised, or if a way of counting that is known to be
 * wrong is not found to be wrong: then these simulations show nothing.
 */
#include "scenarios.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static double part = 1; /* of the runs */
static unsigned int failures;
static const char *directory;

double bound(double level, unsigned int runs)
{
	return level + 3 * sqrt(level * (1 - level) / runs);
}

static FILE *open_csv(const char *name, const char *header)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	if (!file) {
		fprintf(stderr, "simulate: %s: %s\n", path, strerror(errno));
		exit(2);
	}
	fprintf(file, "%s\n", header);
	return file;
}

static void run_many(const struct scenario *scenario, uint64_t seed, unsigned int runs,
		     struct tally *out)
{
	long threads = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int count = (unsigned int)fmax(20, runs * part);

	simulate_many(scenario, seed, count, threads < 1 ? 1 : (unsigned int)threads, out);
}

static const char *check(bool is_good)
{
	failures += !is_good;
	fflush(stdout);
	return is_good ? "" : "  <-- NOT AS PROMISED";
}

/* ---- false alarms ---- */

struct harmless {
	const char *name;
	const struct plan *plan;
	enum counting counting;
	double alpha, margin;
	unsigned int runs;
	size_t clients;
	unsigned int looks;
};

static const struct harmless harmless[] = {
	{"1/10/50", &ramp_1_10_50, COUNT_FIRSTS_OF_WINDOW, .01, 1, 20000, 1000, 20},
	{"1/5/25/50", &ramp_1_5_25_50, COUNT_FIRSTS_OF_WINDOW, .01, 1, 20000, 1000, 20},
	{"1/10/50", &ramp_1_10_50, COUNT_FIRSTS_OF_WINDOW, .05, 1, 4000, 1000, 20},
	{"1/5/25/50", &ramp_1_5_25_50, COUNT_FIRSTS_OF_WINDOW, .05, 1, 4000, 1000, 20},
	{"1/10/50, margin 1.1", &ramp_1_10_50, COUNT_FIRSTS_OF_WINDOW, .05, 1.1, 2000, 1000, 20},
	{"1/10/50, look every 15 s", &ramp_1_10_50, COUNT_FIRSTS_OF_WINDOW, .05, 1, 500, 1000, 240},
	{"1/10/50, 10,000 clients", &ramp_1_10_50, COUNT_FIRSTS_OF_WINDOW, .05, 1, 500, 10000, 20},
	{"five days", &five_days, COUNT_FIRSTS_OF_WINDOW, .05, 1, 1000, 500, 20},
	{"1/10/50, 4,000 clients", &ramp_1_10_50, COUNT_EVERY_FLOW, .01, 1, 500, 4000, 20},
	{"1/10/50, 4,000 clients", &ramp_1_10_50, COUNT_FIRSTS_OF_ROLLOUT, .01, 1, 500, 4000, 20},
	{"five days", &five_days, COUNT_WITHOUT_FACTOR, .05, 1, 1000, 500, 20},
};

static void print_harmless(const struct harmless *given, const struct tally *tally, FILE *csv)
{
	double rate = (double)tally->rolled_back / tally->runs;
	double most = bound(given->alpha, tally->runs);
	bool is_product = given->counting == COUNT_FIRSTS_OF_WINDOW;

	printf("%-26s %-22s %5.2f %6u %9.4f %7.4f %7.0f %8u%s\n", given->name,
	       counting_names[given->counting], given->alpha, tally->runs, rate, most,
	       tally->looks / tally->runs, tally->invalid,
	       check(is_product ? rate <= most && tally->invalid <= tally->runs / 100 + 1
				: rate > most));
	for (unsigned int hour = 0; hour <= HOURS_MAX; hour++)
		fprintf(csv, "\"%s\",%s,%g,%u,%u,%u\n", given->name,
			counting_names[given->counting], given->alpha, tally->runs, hour,
			tally->by_hour[hour]);
}

static void false_alarms(uint64_t seed)
{
	FILE *csv = open_csv("false_alarms.csv", "rollout,counting,alpha,runs,hour,rolled_back");

	printf("\nFalse alarms: nothing is wrong with the canary. Nine metrics and the sample"
	       " ratio, clients that persist, diurnal.\n");
	printf("%-26s %-22s %5s %6s %9s %7s %7s %8s\n", "rollout", "counted", "alpha", "runs",
	       "rolled b.", "bound", "looks", "INVALID");
	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++) {
		const struct harmless *given = &harmless[i];
		struct rollout_metric metrics[ROLLOUT_METRICS_MAX];
		struct rollout rollout;
		struct scenario scenario = {
			.plan = *given->plan,
			.clients = given->clients,
			.rollout = &rollout,
			.counting = given->counting,
			.looks_an_hour = given->looks,
			.diurnal = true,
			.factor = 1,
		};
		struct tally tally;

		default_rollout(&rollout, metrics, DEFAULT_METRICS, given->alpha, given->margin);
		run_many(&scenario, seed + i * 1000003, given->runs, &tally);
		print_harmless(given, &tally, csv);
		tally_release(&tally);
	}
	fclose(csv);
}

/* ---- what is bad, and when it is found ---- */

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

struct late {
	double events; /* a client and hour */
	size_t clients, metrics;
	double margin;
	unsigned int runs, looks;
	double within; /* minutes, in which 99% are to be found */
};

static const struct late late[] = {
	{.3, 20000, 1, 1, 400, 240, 3},
	{.3, 20000, DEFAULT_METRICS, 1.1, 400, 240, 6},
	{1, 20000, DEFAULT_METRICS, 1.1, 200, 240, 3},
	{.3, 2000, DEFAULT_METRICS, 1.1, 400, 60, 5 * 60},
	{.02, 20000, DEFAULT_METRICS, 1.1, 100, 20, 3 * 60},
};

static void print_late(const struct late *given, struct tally *tally, FILE *csv)
{
	unsigned int in_time = 0;

	qsort(tally->delays, tally->runs, sizeof(*tally->delays), by_size);
	for (unsigned int run = 0; run < tally->runs; run++) {
		in_time += tally->delays[run] * 60 <= given->within;
		fprintf(csv, "%g,%zu,%zu,%g\n", given->events, given->clients, given->metrics,
			tally->delays[run] * 60);
	}
	printf("%-9g %8zu %8zu %7.1f %6u %7.3f %6.3f in %3.0f %8.2f %7.2f %9.0f%s\n", given->events,
	       given->clients, given->metrics, given->margin, tally->runs,
	       (double)tally->rolled_back / tally->runs, (double)in_time / tally->runs,
	       given->within, tally->delays[tally->runs / 2] * 60,
	       tally->delays[tally->runs * 95 / 100] * 60, tally->affected / tally->runs,
	       check(tally->rolled_back == tally->runs && in_time >= .99 * tally->runs));
}

static void late_onset(uint64_t seed)
{
	FILE *csv = open_csv("late_onset.csv", "events,clients,metrics,minutes");

	printf("\nLate onset: at hour 3 of a rollout at 10%% the canary's rate of connect_failure"
	       " goes up threefold; alpha .01. Minutes until ROLLBACK.\n");
	printf("%-9s %8s %8s %7s %6s %7s %13s %8s %7s %9s\n", "events/h", "clients", "metrics",
	       "margin", "runs", "found", "in time", "median", "95%", "affected");
	for (size_t i = 0; i < sizeof(late) / sizeof(*late); i++) {
		struct rollout_metric metrics[ROLLOUT_METRICS_MAX];
		struct rollout rollout;
		struct scenario scenario = {
			.plan = a_day_at_10,
			.clients = late[i].clients,
			.rollout = &rollout,
			.looks_an_hour = late[i].looks,
			.uniform = true,
			.fault = METRIC_CONNECT_FAILURE,
			.events_an_hour = late[i].events,
			.factor = 3,
			.onset = 3,
		};
		struct tally tally;

		default_rollout(&rollout, metrics, late[i].metrics, .01, late[i].margin);
		run_many(&scenario, seed + i * 1000003, late[i].runs, &tally);
		print_late(&late[i], &tally, csv);
		tally_release(&tally);
	}
	fclose(csv);
}

/* ---- limits and promotion ---- */

/* A canary that is as bad as may not be promoted, on the boundary: psi is promote_ratio. */
static void wrong_promotions(uint64_t seed)
{
	struct rollout_metric metrics[ROLLOUT_METRICS_MAX];
	struct rollout rollout;
	struct scenario scenario = {
		.plan = a_day_at_25,
		.clients = 8000,
		.rollout = &rollout,
		.looks_an_hour = 60,
		.uniform = true,
		.ignores_rollback = true,
		.fault = METRIC_CONNECT_FAILURE,
		.events_an_hour = .02,
		.factor = 2,
	};
	struct tally tally;
	double rate;

	default_rollout(&rollout, metrics, 1, .01, 1);
	run_many(&scenario, seed, 2000, &tally);
	rate = (double)tally.promoted / tally.runs;
	printf("%-60s %6u %9.4f %7.4f%s\n",
	       "canary with twice the rate passes (promote_ratio 2, beta .05)", tally.runs, rate,
	       bound(.05, tally.runs), check(rate <= bound(.05, tally.runs)));
	tally_release(&tally);
	scenario.factor = 1;
	run_many(&scenario, seed + 1, 500, &tally);
	rate = (double)tally.promoted / tally.runs;
	printf("%-60s %6u %9.4f %7.4f%s\n", "harmless canary passes within the day", tally.runs,
	       rate, 1., check(rate > .9));
	tally_release(&tally);
}

/* Events of clients, not of one arm against the other: the rate is just what max_rate allows. */
static void limits(uint64_t seed)
{
	struct rollout_metric metrics[ROLLOUT_METRICS_MAX];
	struct rollout rollout;
	struct scenario scenario = {
		.plan = ramp_1_10_50,
		.clients = 1000,
		.rollout = &rollout,
		.looks_an_hour = 20,
		.factor = 1,
	};
	struct random random = {seed};
	struct tally tally;
	double rate;

	default_rollout(&rollout, metrics, 1, .05, 1);
	metrics[0].has_max_rate = true;
	metrics[0].max_rate_ppm =
		(uint32_t)(1e6 * rate_of_clients(&scenario, METRIC_CONNECT_FAILURE, &random));
	run_many(&scenario, seed, 4000, &tally);
	rate = (double)tally.rolled_back / tally.runs;
	printf("%-60s %6u %9.4f %7.4f%s\n",
	       "canary at max_rate, and as good as control, rolled back", tally.runs, rate,
	       bound(.05, tally.runs), check(rate <= bound(.05, tally.runs)));
	tally_release(&tally);
}

static void other_errors(uint64_t seed)
{
	printf("\n%-60s %6s %9s %7s\n", "Limits and promotion", "runs", "rate", "bound");
	limits(seed);
	wrong_promotions(seed + 1);
}

static void delays(uint64_t seed)
{
	static const double shares[] = {.05, .2, .5}, ratios[] = {1.5, 2, 3, 5};
	unsigned int runs = (unsigned int)fmax(50, 2000 * part);
	FILE *csv = open_csv("delays.csv", "pi,psi,events,first_window,fixed");
	struct random random = {seed};

	printf("\nDelay: events until E >= 1/alpha and until ROLLBACK in the first window"
	       " (2/alpha), alpha .01, against a test of fixed size at 80%% power.\n");
	printf("%-6s %6s %9s %9s %7s %7s\n", "pi", "psi", "1/alpha", "2/alpha", "fixed", "ratio");
	for (size_t i = 0; i < 3; i++) {
		for (size_t j = 0; j < 4; j++) {
			unsigned int fixed = fixed_horizon(shares[i], ratios[j], .01, .8);
			/* The judge's threshold at 2 alpha is 1/alpha. */
			double events = mean_delay(shares[i], ratios[j], .02, runs, &random);
			double first = mean_delay(shares[i], ratios[j], .01, runs, &random);

			printf("%-6g %6g %9.1f %9.1f %7u %7.2f%s\n", shares[i], ratios[j], events,
			       first, fixed, first / fixed, check(first <= 1.5 * fixed));
			fprintf(csv, "%g,%g,%g,%g,%u\n", shares[i], ratios[j], events, first,
				fixed);
		}
	}
	fclose(csv);
}

int main(int argc, char **argv)
{
	struct random random = random_seeded("simulate");
	uint64_t seed = random_next(&random);

	if (argc < 2) {
		fprintf(stderr, "usage: simulate DIRECTORY [PART OF THE RUNS]\n");
		return 2;
	}
	directory = argv[1];
	if (argc > 2)
		part = atof(argv[2]);
	delays(seed);
	late_onset(seed + 1);
	other_errors(seed + 2);
	false_alarms(seed + 3);
	printf("\n%u figures are not as promised\n", failures);
	return failures ? 1 : 0;
}
