/* SPDX-License-Identifier: GPL-2.0-only */
/* The cost of a packet, case by case, against the floor of the machine and the budgets of
 * docs/architecture.md. */
#ifndef XDP_CANARY_BENCH_H
#define XDP_CANARY_BENCH_H

#include "lab.h"

#define CASES_MAX 96
#define ROUNDS	  101
#define QUIET                                                                                      \
	51 /* of the rounds, those that took the least time: a neighbour's load comes and goes */

#define BACKENDS     16 /* of a service, 4 of them the canary's */
#define MANY_CLIENTS (1u << 19)

struct case_plan {
	const char *name;
	const struct lab *lab; /* NULL: the floor */
	struct packet_plan packet;
	uint32_t clients, services, ports; /* that take turns: powers of two; 0 or 1: one */
	uint32_t client_spread;		   /* how far apart clients are; 0: neighbours */
	uint32_t verdict;		   /* what the program has to say to each */
	/* Not NULL: the packets, but one in ten, take this path of the service's. */
	const struct lab_service *service;
	enum flow_path path;
	bool recorded;	  /* their flows begin before they are measured */
	uint32_t warm_up; /* packets in front of each round: what others left in the cache */
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
/* 16 backends, a canary at 10%. */
struct lab_service *add_service(struct lab *lab, enum steer_method steer, int family,
				const char *vip);
/* Established TCP to port 80 of @vip, from one client, against `established`. */
struct case_plan *add_case(struct plans *plans, const char *name, const struct lab *lab,
			   const char *vip);
struct case_plan *with_budget(struct case_plan *plan, const char *against, double ratio);

/* eras.c: services in transition, and with backends down. */
void plans_add_eras(struct plans *plans);
void eras_print_memory(void);
void eras_release(void);

/* observe.c: services whose clients are observed. */
void plans_add_observed(struct plans *plans);
void observed_release(void);
/* track.c: services whose clients are followed. */
void plans_add_tracked(struct plans *plans);
void tracked_release(void);
/* lookups.c: services with rules over segments. */
void plans_add_lookups(struct plans *plans);
void lookups_release(void);
/* segments.c: what it takes to make a table of clients. True if that is over budget. */
bool segments_print_publishing(void);

/* measure.c */
struct measure;
struct measure *measure_open(void);
void measure_close(struct measure *measure);
/* ns a packet of CPU time of this thread. Ends the process where a packet's fate is not as planned.
 */
double measure_run(struct measure *measure, const struct case_plan *plan, uint32_t repeat);
/* Packets that are not measured; ends the process where they do not take the path as planned. */
void measure_warm_up(struct measure *measure, const struct case_plan *plan, uint32_t packets);
/* Lets the flows of a case begin: a SYN of each, and a segment that takes it off probation. */
void measure_record(struct measure *measure, const struct case_plan *plan);

/* report.c: fills in medians and budgets; prints; writes JSON. True if a budget is missed. */
bool report(struct plans *plans, const char *json_path);

#endif
