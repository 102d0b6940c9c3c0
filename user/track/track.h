/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The user's half of tracking (headers/tracked.h has the kernel's): windows, what needs a clock to
 * run out, and counts of distinct clients' first occurrences.
 */
#ifndef XDP_CANARY_TRACK_H
#define XDP_CANARY_TRACK_H

#include "datapath/datapath.h"
#include "policy/policy.h"
#include "tracked.h"
#include "util/address.h"

/*
 * How a rule's clients are followed: control's clients with h >> 16 >= *@from (0: none). Returns
 * pi, the exact share of the canary among the followed: 1 where there is no control, 0 where there
 * is no canary. @shares_ppm: of the canaries, by cohort, as they are in force.
 */
double track_slice(const struct service *service, const uint32_t shares_ppm[COHORTS_MAX],
		   uint32_t factor, uint16_t *from);

/* ---- windows: the words that user space writes in place ---- */

/* From now on no event counts: before views with other shares are shown. */
void track_suspend(struct datapath *datapath, uint32_t track);
/*
 * The next window begins; its number is returned. @settle_jiffies: flows that began earlier than
 * that from now do not count (of a change of a share); TRACK_KEEP_FLOWS: the flows go on counting
 * (of the mere end of a window). Clears the bank that the window uses.
 */
#define TRACK_KEEP_FLOWS UINT64_MAX
uint32_t track_begin_window(struct datapath *datapath, uint32_t track, uint64_t settle_jiffies);
/* Makes the element of a service ready before a view names it; forgets what was there. */
int track_open(struct datapath *datapath, uint32_t track, const struct service *service);
/* Frees the clients and flows of a service that is no longer followed. */
void track_close(struct datapath *datapath, uint32_t track);

/* ---- counts of the running window ---- */

struct track_counts {
	uint64_t clients; /* with a flow that counts */
	uint64_t ended;	  /* whose first such flow has ended */
	uint64_t sights;  /* with any packet */
	uint64_t events[KERNEL_METRICS];
	/* Of the three times and the response size: each client's first sample, by bucket. */
	uint64_t first_samples[TRACK_SAMPLES][TRACK_BUCKETS];
};
/* @rule: the line of the service's rule; @arm: TRACK_CANARY or TRACK_CONTROL. */
void track_read(const struct datapath *datapath, uint32_t track, size_t rule, int arm,
		struct track_counts *out);
/* Clients of the service that found no room since the running window began. */
uint64_t track_overflow(const struct datapath *datapath, uint32_t track);

/* ---- the sweep ---- */

/*
 * Goes over the followed flows, in steps that the loop can afford: events that need a clock, flows
 * and clients that are over. 1: there is more of this sweep to do; 0: it is complete.
 */
struct track_sweep;
int track_sweep_new(struct track_sweep **out);
void track_sweep_free(struct track_sweep *sweep);
int track_sweep_step(struct track_sweep *sweep, struct datapath *datapath, uint64_t jiffies);

/* ---- who ---- */

struct tracked_event {
	struct prefix client;
	uint32_t track;
	uint8_t arm, rule;
	enum kernel_metric metric;
};
/* Calls @each for every event of which the last call did not tell yet. */
int track_each_new_event(struct track_sweep *sweep, struct datapath *datapath,
			 int (*each)(const struct tracked_event *event, void *data), void *data);

#endif
