/* SPDX-License-Identifier: GPL-2.0-only */
/* The cost of a packet, case by case, against the floor of the machine and the budgets of
 * docs/architecture.md. */
#ifndef XDP_CANARY_BENCH_H
#define XDP_CANARY_BENCH_H

#include "lab.h"

#define CASES_MAX 48
#define ROUNDS	  101

struct case_plan {
	const char *name;
	const struct lab *lab; /* NULL: the floor */
	struct packet_plan packet;
	uint32_t clients, services, ports; /* that take turns: powers of two; 0 or 1: one */
	uint32_t verdict;		   /* what the program has to say to each */
	/* The budget: at most @ratio times, or at most @extra_ns more than, the case of the name
	 * @against. */
	const char *against;
	double ratio, extra_ns;

	/* Measured: ns of a packet in each round; and the medians. */
	double ns[ROUNDS];
	double median_ns;
	double relative, relative_low,
		relative_high; /* to @against: median and quartiles over rounds */
	bool is_over;
};

struct plans {
	struct case_plan cases[CASES_MAX];
	size_t count;
};

/* cases.c: makes the boxes and fills in what is to be measured. */
void plans_make(struct plans *plans);
void plans_release(void);

/* measure.c */
struct measure;
struct measure *measure_open(void);
void measure_close(struct measure *measure);
/* ns a packet of CPU time of this thread. Ends the process where a packet's fate is not as planned.
 */
double measure_run(struct measure *measure, const struct case_plan *plan, uint32_t repeat);

/* report.c: fills in medians and budgets; prints; writes JSON. True if a budget is missed. */
bool report(struct plans *plans, const char *json_path);

#endif
