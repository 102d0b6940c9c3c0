// SPDX-License-Identifier: GPL-2.0-only
/*
 * make bench: bench [JSON]. All cases take turns (A B C A B C ...) on one CPU. Status 1: a budget
 * is missed; 2: it could not be measured; 77: skipped.
 */
#include "bench.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define WARM_UP 20000
#define PACKETS 50000 /* a case and round: some 4 ms, less than most disturbances last */

static void stay_on_one_cpu(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (cpu < 0 || sched_setaffinity(0, sizeof(set), &set))
		perror("bench: sched_setaffinity");
}

static void measure_all(struct measure *measure, struct plans *plans)
{
	size_t i, round;

	for (i = 0; i < plans->count; i++)
		if (plans->cases[i].recorded)
			measure_record(measure, &plans->cases[i]);
	for (i = 0; i < plans->count; i++)
		measure_warm_up(measure, &plans->cases[i], WARM_UP);
	for (round = 0; round < ROUNDS; round++)
		for (i = 0; i < plans->count; i++) {
			struct case_plan *plan = &plans->cases[i];

			if (plan->warm_up)
				measure_run(measure, plan, plan->warm_up);
			plan->ns[round] = measure_run(measure, plan, PACKETS);
		}
}

int main(int argc, char **argv)
{
	static struct plans plans;
	struct measure *measure;
	bool is_over;

	lab_require_bpf();
	stay_on_one_cpu();
	plans_make(&plans);
	measure = measure_open();
	measure_all(measure, &plans);
	is_over = report(&plans, argc > 1 ? argv[1] : NULL);
	eras_print_memory();
	is_over |= segments_print_publishing();
	measure_close(measure);
	plans_release();
	return is_over;
}
