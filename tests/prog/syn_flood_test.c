// SPDX-License-Identifier: GPL-2.0-only
/*
 * A SYN flood on a service in transition (promise 10): what must not suffer are the flows that lie
 * in the transition table, and those that began before the era and lie nowhere. 5 million SYNs, or
 * as many as XDP_CANARY_SYNS says, while another CPU sends the flows' packets.
 *
 * Their cost is compared with itself, slice by slice in turns: alone; beside the flood; and beside
 * the yardstick. That is the same SYNs through the same program for a service in no transition,
 * where it keeps nothing, and an array as large as the transition table, a line of which each
 * packet of the flows reads and as many SYNs as in the flood change. So both loads dirty as much
 * of the caches, and what the flows' packets read themselves as often; whatever else the flood
 * did to them would be seen.
 *
 * No time is compared with a constant. What disturbs the machine for longer than three slices
 * disturbs all three; where another process has the CPU no time is counted; a round in which it had
 * that of the load is left out; of the ratios of the rounds the median counts; and the test fails
 * only where the whole confidence interval of it is above what is allowed, after as many rounds as
 * half a minute has.
 */
#include "era.h"
#include "feeder.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define LIMIT_DEFAULT 131072 /* of the configuration: transition_flows */

#define FLOWS	     2000 /* half of them began before the era */
#define FLOWS_IDLE   400  /* of them: silent while the flood lasts */
#define FLOWS_ACTIVE (FLOWS - FLOWS_IDLE)
#define BEFORE_MOST  4000 /* that begin before it, of which some are held against the decision */

#define SYNS	   5000000
#define SLICE_SYNS 20000 /* some 6 ms */
#define BATCH_SYNS 1000	 /* of a system call */
#define PASSES	   10	 /* of a slice: packets of each active flow, some 3 ms */

#define COST_MOST  1.05 /* times the cost beside the yardstick */
#define CERTAINTY  4	/* standard deviations */
#define LOAD_LEAST 0.25 /* SYNs a packet of the flows; with a CPU for each it is about 1 */

/* Rounds are measured until the flood is over and they are clear, or for so many seconds. */
#define ROUNDS_LEAST 50
#define ROUNDS_MAX   8192
#define SECONDS_MOST 30

struct scene {
	struct era *era;
	struct flow flows[FLOWS];
};

/* ---- the flows ---- */
/* Of those that begin here, the first @count that would be elsewhere but for the era. */
static void begin_before(struct era *era, struct flow *flows, size_t count)
{
	struct flow *all = calloc(BEFORE_MOST, sizeof(*all));
	size_t i, found = 0;

	assert_non_null(all);
	for (i = 0; i < BEFORE_MOST; i++) {
		all[i] = flow_new(era);
		flow_begin(era, &all[i]);
	}
	era_change_share(era, 800000);
	lab_add_backend(era->service, 0, "10.0.0.20", 100, LAB_INGRESS);
	era_change_share(era, 500000);
	for (i = 0; i < BEFORE_MOST && found < count; i++)
		if (flow_explain(era, &all[i], FLAG_SYN).backend != all[i].held)
			flows[found++] = all[i];
	free(all);
	assert_int_equal(found, count);
}

/* Flows of both kinds take turns, so that as many of each are idle. */
static void open_era(struct scene *scene)
{
	struct flow *before = calloc(FLOWS / 2, sizeof(*before));
	struct era *era = scene->era;
	size_t i;

	assert_non_null(before);
	begin_before(era, before, FLOWS / 2);
	for (i = 0; i < FLOWS; i += 2) {
		scene->flows[i] = before[i / 2];
		scene->flows[i + 1] = flow_new_disputed(era);
		flow_begin(era, &scene->flows[i + 1]);
		flow_go_on(era, &scene->flows[i + 1]);
	}
	free(before);
	era_change_share(era, 650000);
}

/* Each is where it began, and for the reason that it has. */
static void assert_none_moved(const struct scene *scene)
{
	size_t i;

	for (i = 0; i < FLOWS; i++) {
		assert_int_equal(flow_explain(scene->era, &scene->flows[i], FLAG_ACK).path,
				 i % 2 ? PATH_ENTRY : PATH_ORIGIN);
		flow_go_on(scene->era, &scene->flows[i]);
	}
}

static struct transition_line *copy_of(const struct table *table)
{
	struct transition_line *copy = calloc(table->count, sizeof(*copy));

	assert_non_null(copy);
	return memcpy(copy, table->lines, table->count * sizeof(*copy));
}

/* No flow lost its way in the table, and no SYN of the flood has got one. */
static void assert_established_are(const struct table *table, const struct transition_line *lines)
{
	uint32_t line, way;

	for (line = 0; line < table->count; line++)
		for (way = 0; way < TRANSITION_ESTABLISHED; way++)
			assert_true(entry_without_stamp(table->lines[line].ways[way]) ==
				    entry_without_stamp(lines[line].ways[way]));
}

/* The active ones, the first, take turns in it. */
static struct feeder *open_flows(const struct scene *scene)
{
	uint32_t lines = era_table(scene->era).count;
	struct feeder *feeder = feeder_open(scene->era->lab, lines, NULL);
	size_t i;

	feeder_feed(feeder)->lines = lines;
	feeder_feed(feeder)->flows = FLOWS_ACTIVE;
	for (i = 0; i < FLOWS_ACTIVE; i++) {
		const struct flow *flow = &scene->flows[i];
		struct fed_flow *fed = &feeder_flows(feeder)[i];

		memcpy(&fed->source, flow->plan.source.bytes, sizeof(fed->source));
		store16((uint8_t *)&fed->port, flow->plan.source_port);
		fed->backend = backend_place(scene->era, flow->held);
	}
	return feeder;
}

/* ---- the flood ---- */

enum load { QUIET, FLOOD, YARDSTICK, LOADS };

/* A thread that makes one load of a slice after the other. Both threads wait at @turn when a slice
 * begins and when it ends. */
struct flood {
	pthread_t thread;
	pthread_barrier_t turn;
	int cpu;
	struct feeder *feeder;
	struct frame frames[LOADS];
	uint32_t swaps; /* of the yardstick, as in struct feed */
	enum load load; /* LOADS: no more */
	atomic_bool is_over;
	atomic_ullong sent; /* in this slice */
	uint64_t total[LOADS];
	int error;
};

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* No fewer than its SYNs, and until the other thread has its packets sent. */
static void make_load(struct flood *flood)
{
	feeder_feed(flood->feeder)->swaps = flood->load == YARDSTICK ? flood->swaps : 0;
	while (!flood->error &&
	       (!atomic_load(&flood->is_over) || atomic_load(&flood->sent) < SLICE_SYNS)) {
		flood->error = feeder_run(flood->feeder, &flood->frames[flood->load], BATCH_SYNS);
		atomic_fetch_add(&flood->sent, BATCH_SYNS);
	}
	flood->total[flood->load] += flood->sent;
}

static void *run_flood(void *argument)
{
	struct flood *flood = argument;

	stay_on(flood->cpu);
	for (;;) {
		pthread_barrier_wait(&flood->turn);
		if (flood->load == LOADS)
			return NULL;
		if (flood->load != QUIET)
			make_load(flood);
		pthread_barrier_wait(&flood->turn);
	}
}

/* The first two CPUs that we may use; with one alone both threads share it. */
static void find_cpus(int cpus[2])
{
	int cpu, found = 0;
	cpu_set_t set;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[found++] = cpu;
	if (found == 1)
		cpus[1] = cpus[0];
}

static struct flood *start_flood(struct era *era, const struct feeder *flows, int cpu)
{
	struct flood *flood = calloc(1, sizeof(*flood));

	assert_non_null(flood);
	flood->cpu = cpu;
	flood->swaps = 1 << 15;
	flood->feeder = feeder_open(era->lab, 0, flows);
	feeder_feed(flood->feeder)->lines = era_table(era).count;
	feeder_feed(flood->feeder)->random = random_next(&era->random);
	feeder_build(LAB_VIP4, FLAG_SYN, &flood->frames[FLOOD]);
	feeder_build(CALM_VIP4, FLAG_SYN, &flood->frames[YARDSTICK]);
	assert_int_equal(pthread_barrier_init(&flood->turn, NULL, 2), 0);
	assert_int_equal(pthread_create(&flood->thread, NULL, run_flood, flood), 0);
	return flood;
}

static void end_flood(struct flood *flood)
{
	flood->load = LOADS;
	pthread_barrier_wait(&flood->turn);
	pthread_join(flood->thread, NULL);
	pthread_barrier_destroy(&flood->turn);
	feeder_close(flood->feeder);
}

/* ---- what a packet costs ---- */

struct costs {
	size_t rounds; /* that are kept */
	size_t tried;
	double ns[LOADS][ROUNDS_MAX];	/* of a packet, in CPU time */
	double load[LOADS][ROUNDS_MAX]; /* SYNs meanwhile, a packet */
	double loads[LOADS];		/* their sums */
};

/* ns of CPU time of this thread: where another process takes the CPU, it stands still. */
static double cpu_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

/* The flows' packets beside @load. 0 or a negative errno. */
static int measure_slice(struct flood *flood, struct feeder *flows, const struct frame *frame,
			 enum load load, struct costs *costs)
{
	uint64_t sent;
	double began;
	int error;

	flood->load = load;
	atomic_store(&flood->is_over, false);
	atomic_store(&flood->sent, 0);
	pthread_barrier_wait(&flood->turn);
	while (load != QUIET && !atomic_load(&flood->sent))
		sched_yield();
	error = feeder_run(flows, frame, FLOWS_ACTIVE);
	sent = atomic_load(&flood->sent);
	began = cpu_time();
	if (!error)
		error = feeder_run(flows, frame, PASSES * FLOWS_ACTIVE);
	costs->ns[load][costs->rounds] = (cpu_time() - began) / (PASSES * FLOWS_ACTIVE);
	sent = atomic_load(&flood->sent) - sent;
	costs->load[load][costs->rounds] = (double)sent / (PASSES * FLOWS_ACTIVE);
	costs->loads[load] += (double)sent / (PASSES * FLOWS_ACTIVE);
	atomic_store(&flood->is_over, true);
	pthread_barrier_wait(&flood->turn);
	return error ? error : flood->error;
}

static uint64_t recorded(const struct era *era)
{
	return lab_affinity_counter(era->lab, era->service).paths[PATH_SYN_RECORDED];
}

/* The yardstick is to change as many lines in a time as the flood, whose SYNs take longer. */
static void set_swaps(struct flood *flood, const struct costs *costs, uint64_t flood_recorded)
{
	double swaps = 65536.0 * flood_recorded / flood->total[FLOOD];

	if (costs->loads[YARDSTICK] > 0 && costs->loads[FLOOD] < costs->loads[YARDSTICK])
		swaps *= costs->loads[FLOOD] / costs->loads[YARDSTICK];
	flood->swaps = swaps;
}

/* A round: each load once, in all orders in turn. It is kept if the loads had a CPU. */
static int measure_round(struct flood *flood, struct feeder *flows, const struct frame *frame,
			 struct costs *costs)
{
	size_t round = costs->tried++;
	int turn, error = 0;

	for (turn = 0; turn < LOADS && !error; turn++) {
		int step = round % 2 ? LOADS - turn : turn;

		error = measure_slice(flood, flows, frame, (round / 2 + step) % LOADS, costs);
	}
	if (costs->load[FLOOD][costs->rounds] >= LOAD_LEAST &&
	    costs->load[YARDSTICK][costs->rounds] >= LOAD_LEAST)
		costs->rounds++;
	return error;
}

/* ---- statistics ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct estimate {
	double median, low, high;
};

/*
 * The median and its confidence interval, whatever the distribution: between the values of ranks
 * n/2 -+ CERTAINTY * sqrt(n)/2, for each is above the true median with probability 1/2.
 */
static struct estimate estimate(const double *values, size_t count)
{
	double *sorted = calloc(count, sizeof(*sorted));
	struct estimate found;
	size_t root = 0, margin;

	assert_non_null(sorted);
	memcpy(sorted, values, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare);
	while ((root + 1) * (root + 1) <= count)
		root++;
	margin = CERTAINTY * (root + 1) / 2;
	found.median = sorted[count / 2];
	found.low = sorted[count / 2 > margin ? count / 2 - margin : 0];
	found.high = sorted[count / 2 + margin < count ? count / 2 + margin : count - 1];
	free(sorted);
	return found;
}

/* Of the cost beside @load to that beside @other, in each round. */
static struct estimate ratio(const struct costs *costs, enum load load, enum load other)
{
	double *ratios = calloc(costs->rounds, sizeof(*ratios));
	struct estimate found;
	size_t i;

	assert_non_null(ratios);
	for (i = 0; i < costs->rounds; i++)
		ratios[i] = costs->ns[load][i] / costs->ns[other][i];
	found = estimate(ratios, costs->rounds);
	free(ratios);
	return found;
}

static void print_ratio(const char *what, struct estimate found)
{
	printf("  %-34s x %.3f  (%.3f to %.3f)\n", what, found.median, found.low, found.high);
}

static void print_costs(const struct costs *costs)
{
	printf("  %zu of %zu rounds; a flow's packet alone %.0f ns; meanwhile %.2f SYNs of the "
	       "flood, %.2f of the yardstick\n",
	       costs->rounds, costs->tried, estimate(costs->ns[QUIET], costs->rounds).median,
	       estimate(costs->load[FLOOD], costs->rounds).median,
	       estimate(costs->load[YARDSTICK], costs->rounds).median);
	print_ratio("beside the flood / alone", ratio(costs, FLOOD, QUIET));
	print_ratio("beside the yardstick / alone", ratio(costs, YARDSTICK, QUIET));
	print_ratio("beside the flood / the yardstick", ratio(costs, FLOOD, YARDSTICK));
}

/* Where two CPUs were never to be had there is nothing to compare. */
static void assert_costs(const struct costs *costs)
{
	if (costs->rounds < ROUNDS_LEAST) {
		printf("  cost NOT compared: in %zu of %zu rounds alone the load had a CPU\n",
		       costs->rounds, costs->tried);
		return;
	}
	print_costs(costs);
	assert_true(ratio(costs, FLOOD, YARDSTICK).low <= COST_MOST);
}

/* ---- the promises ---- */

static uint64_t syns_wanted(void)
{
	const char *given = getenv("XDP_CANARY_SYNS");

	return given ? strtoull(given, NULL, 10) : SYNS;
}

static bool is_clear(const struct costs *costs)
{
	return costs->rounds >= ROUNDS_LEAST && ratio(costs, FLOOD, YARDSTICK).high <= COST_MOST;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static int measure(const struct era *era, struct flood *flood, struct feeder *flows,
		   struct costs *costs)
{
	uint64_t before = recorded(era);
	double end = seconds() + SECONDS_MOST;
	struct frame frame;
	int error = 0;

	feeder_build(LAB_VIP4, FLAG_ACK, &frame);
	while (!error &&
	       (flood->total[FLOOD] < syns_wanted() || (seconds() < end && !is_clear(costs)))) {
		if (costs->rounds == ROUNDS_MAX)
			costs->rounds = 0;
		error = measure_round(flood, flows, &frame, costs);
		set_swaps(flood, costs, recorded(era) - before);
	}
	return error;
}

/* Every packet of an active flow, but the last of a system call, was looked at. */
static void assert_fed_where_held(struct feeder *flows, const struct costs *costs)
{
	uint64_t packets = 0;
	size_t i;

	for (i = 0; i < FLOWS_ACTIVE; i++) {
		packets += feeder_flows(flows)[i].packets;
		assert_int_equal(feeder_flows(flows)[i].moved, 0);
	}
	assert_int_equal(packets, costs->tried * LOADS * ((PASSES + 1ULL) * FLOWS_ACTIVE - 2));
}

/* Both threads on CPUs of their own, while it lasts. Returns the SYNs. */
static uint64_t flood_flows(struct scene *scene, struct costs *costs)
{
	struct feeder *flows = open_flows(scene);
	struct flood *flood;
	int cpus[2], error;
	cpu_set_t all;
	uint64_t syns;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	find_cpus(cpus);
	flood = start_flood(scene->era, flows, cpus[1]);
	stay_on(cpus[0]);
	error = measure(scene->era, flood, flows, costs);
	end_flood(flood);
	sched_setaffinity(0, sizeof(all), &all);
	assert_int_equal(error, 0);
	assert_fed_where_held(flows, costs);
	feeder_close(flows);
	syns = flood->total[FLOOD];
	free(flood);
	return syns;
}

static void
promise_10_a_flood_moves_no_established_flow_and_costs_none_more_than_cache(void **state)
{
	static struct scene scene;
	static struct costs costs;
	struct affinity_counter before, after;
	struct transition_line *established;
	struct table table;
	uint64_t syns;

	(void)state;
	scene.era = era_new(__func__, LIMIT_DEFAULT);
	open_era(&scene);
	assert_none_moved(&scene);
	table = era_table(scene.era);
	established = copy_of(&table);
	before = lab_affinity_counter(scene.era->lab, scene.era->service);
	syns = flood_flows(&scene, &costs);
	after = lab_affinity_counter(scene.era->lab, scene.era->service);
	assert_established_are(&table, established);
	assert_none_moved(&scene);

	printf("  %llu SYNs, %llu recorded, %llu in another's place; %u lines of table\n",
	       (unsigned long long)syns,
	       (unsigned long long)(after.paths[PATH_SYN_RECORDED] -
				    before.paths[PATH_SYN_RECORDED]),
	       (unsigned long long)(after.evicted - before.evicted), table.count);
	assert_true(after.evicted - before.evicted > syns / 2); /* it was a flood */
	assert_costs(&costs);
	free(established);
	era_free(scene.era);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			promise_10_a_flood_moves_no_established_flow_and_costs_none_more_than_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
