/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the daemon remembers of one rollout beside its machine's state: the judge, the windows so
 * far, events that the kernel does not count, and which counts the store has already. No I/O; to
 * JSON and back, for a note of the store, so that a daemon that comes back goes on where the last
 * one was.
 */
#ifndef XDP_CANARY_ROLLOUT_FOLLOW_H
#define XDP_CANARY_ROLLOUT_FOLLOW_H

#include "guard/judge.h"
#include "rollout/machine.h"
#include "store/rollouts.h"

/* A window of the guard: what was in force in it. */
struct followed_window {
	uint32_t window;
	uint64_t begin_ns;			 /* CLOCK_REALTIME */
	uint32_t shares[RULES_MAX][COHORTS_MAX]; /* ppm, by rule of the service; [0]: control's */
};

/* Events of a metric that the kernel does not count: feedback, paired counts of Prometheus. */
struct followed_tally {
	uint32_t metric; /* index in the rollout */
	uint32_t window;
	uint32_t rule; /* 0 of Prometheus' counts, which are of all rules */
	struct guard_stratum stratum;
};

/* Totals of a comparison in a window that the store has been told of. */
struct followed_count {
	char metric[NAME_SIZE];
	uint32_t window, rule; /* or JUDGE_ALL_RULES */
	struct guard_stratum stratum;
};

/* The counters behind paired counts, as they were last seen: their increments are the events. */
struct followed_pair {
	bool is_known;
	uint64_t time_ns; /* CLOCK_REALTIME: when they were asked for */
	double canary, control;
};

struct followed {
	char service[NAME_SIZE];
	uint64_t id;
	struct judge judge;
	uint64_t changed_ns;   /* the last change of a share that the judge knows of */
	uint32_t acknowledged; /* pauses that the judge knows a person has ended */
	uint64_t feedback;     /* number of the last row that was read */
	struct followed_pair pairs[ROLLOUT_METRICS_MAX];
	struct followed_window *windows; /* ascending */
	size_t windows_count;
	struct followed_tally *tallies; /* by metric, window, rule */
	size_t tallies_count;
	struct followed_count *counts;
	size_t counts_count;
};

/* @service outlives it, or follow_rebind() is called with the next one. */
void follow_init(struct followed *followed, const struct service *service, uint64_t id);
void follow_release(struct followed *followed);
/* The same rollout, of a policy that was read again. */
void follow_rebind(struct followed *followed, const struct service *service);

/*
 * Brings the judge to the machine's window. @shares: in force. 1: a window began, and what is
 * remembered is to be stored before its counts are looked at; 0; or -ENOMEM.
 */
int follow_window(struct followed *followed, const struct rollout_state *state,
		  uint32_t shares[RULES_MAX][COHORTS_MAX], uint64_t now_ns);
/* What a person has resumed after the judge asked for a pause: it does not ask again. */
void follow_acknowledged(struct followed *followed, const struct rollout_state *state);
/* The window that @time_ns falls in, or NULL: before the first. */
const struct followed_window *follow_window_at(const struct followed *followed, uint64_t time_ns);

/* Adds @k of @n events. Where @pi is not always the same, their mean over the events counts.
 * -ENOMEM. */
int follow_tally(struct followed *followed, uint32_t metric, uint32_t window, uint32_t rule,
		 uint64_t k, uint64_t n, double pi);
/*
 * The tallies as the judge takes them. *@memory is what they lie in, to be freed after the look.
 * -ENOMEM.
 */
int follow_windows(const struct followed *followed, struct judge_input *input, void **memory);

/*
 * What the comparisons of @input count that the store was not told of yet, as increments,
 * malloc()ed; they count as told. Where pi is a mean, each has that of its own events. -ENOMEM.
 */
int follow_increments(struct followed *followed, const struct judge_input *input,
		      const struct service *service, uint64_t now_ns, struct rollout_count **out,
		      size_t *count);

json_t *follow_to_json(const struct followed *followed); /* NULL: no memory */
/* -EINVAL: not what follow_to_json() wrote of a rollout with these metrics. */
int follow_from_json(struct followed *followed, const struct service *service, const json_t *json);

#endif
