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

/* ---- whom (slice.c, pure) ---- */

/*
 * How a rule's clients are followed: control's clients with track_place() >= *@from (0: none).
 * Returns pi, the exact share of the canary among the followed: 1 where there is no control, 0
 * where there is no canary. @shares_ppm: of the canaries, by cohort, as they are in force.
 */
double track_slice(const struct service *service, const uint32_t shares_ppm[COHORTS_MAX],
		   uint32_t factor, uint16_t *from);
/* Are places counted from the top down (RULE_TRACK_LOW)? As other tools may lay out their parts. */
bool track_slice_is_low(const struct service *service);

/*
 * The other way round: the part of a rule's clients, in ppm, that is the canary's, told from how
 * many of the followed were seen. @canary_ppm, @control_ppm: shares in force; what is neither's has
 * its share. -ENODATA: too few were seen (TRACK_SHARE_MIN), or nobody is followed.
 */
#define TRACK_SHARE_MIN 100
int track_share(double pi, uint32_t canary_ppm, uint32_t control_ppm, uint64_t canary_clients,
		uint64_t control_clients, uint32_t *ppm);

/* ---- windows: the words that user space writes in place (windows.c) ---- */

/* Services that can be followed at once: @track is below it. */
uint32_t track_limit(const struct datapath *datapath);
/*
 * Makes the element of a service ready before a view names it, suspended; forgets what was there. 0
 * or a negative errno.
 */
int track_open(struct datapath *datapath, uint32_t track, const struct service *service);
bool track_is_open(const struct datapath *datapath, uint32_t track);
/* From now on no event counts: before views with other shares are shown. */
void track_suspend(struct datapath *datapath, uint32_t track);
/* The number of the running one; 0: none has begun. */
uint32_t track_window(const struct datapath *datapath, uint32_t track);
/*
 * Window @number begins, from 1 on, after all before it. @settle_jiffies: flows that began
 * earlier than that from @jiffies, now, do not count (of a change of a share); TRACK_KEEP_FLOWS:
 * the flows go on counting (of the mere end of a window). Clears the bank that the window uses:
 * read the last window's counts, and tell its events, before. Takes a grace period, 15 ms.
 */
#define TRACK_KEEP_FLOWS UINT64_MAX
void track_begin_window(struct datapath *datapath, uint32_t track, uint32_t number,
			uint64_t settle_jiffies, uint64_t jiffies);
/* Frees the clients and flows of a service that is no longer followed: after no view names it. */
void track_close(struct datapath *datapath, uint32_t track);

/* ---- counts of the running window ---- */

struct track_counts {
	uint64_t clients; /* with a flow that counts */
	uint64_t ended;	  /* whose first such flow has ended */
	uint64_t sights;  /* with any packet */
	uint64_t events[KERNEL_METRICS];
	/* Of the three times and the response size: each client's first sample, by bucket. The
	 * events of those metrics are the clients with a sample. */
	uint64_t first_samples[TRACK_SAMPLES][TRACK_BUCKETS];
};
/* @rule: the line of the service's rule; @arm: TRACK_CANARY or TRACK_CONTROL. */
void track_read(const struct datapath *datapath, uint32_t track, size_t rule, int arm,
		struct track_counts *out);
/*
 * How often a client of the service found no room since the running window began: not 0: a first
 * may have been missed. A client with a record counts once, one without with each packet.
 */
uint64_t track_overflow(const struct datapath *datapath, uint32_t track);

/* ---- counts that never fall while the maps live ---- */

/* Distinct clients' firsts, window by window. @rule_counter: view_rule.counters; @lane: of the
 * cohort. */
void track_read_events(const struct datapath *datapath, uint32_t rule_counter, uint8_t lane,
		       uint64_t firsts[KERNEL_METRICS]);
/* All samples of followed flows, by time_bucket(), and who found no room. @slot: of the service. */
void track_read_samples(const struct datapath *datapath, uint32_t slot, uint8_t lane,
			struct track_sample_counter *out);

/* ---- the sweep (sweep.c) ---- */

/*
 * Goes over the followed flows, in steps that the loop can afford: events that need a clock, flows
 * and clients that are over. 1: there is more of this sweep to do; 0: it is complete, or no service
 * is followed. A sweep is begun every 0.5 to 1 s; @jiffies: now. A sweep that has records to free
 * waits for a grace period (15 ms) in its first step.
 */
struct track_sweep;
int track_sweep_new(const struct datapath *datapath, struct track_sweep **out);
void track_sweep_free(struct track_sweep *sweep);
int track_sweep_step(struct track_sweep *sweep, struct datapath *datapath, uint64_t jiffies);
/* Clients of one arm that have a record, when the last complete sweep looked. */
uint32_t track_clients(const struct track_sweep *sweep, uint32_t track, int arm);

/* ---- who (events.c) ---- */

struct tracked_event {
	struct prefix client;
	uint32_t track, window;
	uint8_t arm, rule;
	enum kernel_metric metric; /* never a time or size: every client has those */
};
/*
 * Calls @each for every event that no call has told of yet; an event of @each's own error is told
 * again. Between two calls at most one window of a service may begin. 0 or @each's error.
 */
int track_each_new_event(struct datapath *datapath,
			 int (*each)(const struct tracked_event *event, void *data), void *data);

#endif
