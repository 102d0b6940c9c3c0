/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The judge: from the counts of the running window to a verdict, and why. Pure: no file, no map, no
 * clock of its own. What it must know of the past is one struct without pointers, which goes to
 * JSON and back, so that whoever runs next goes on where the last one was.
 *
 *	judge_init(&judge, &service->rollout);             a rollout begins
 *	judge_from_json(&judge, &service->rollout, json);  or goes on, after a restart
 *
 *	judge_begin_window(&judge, window, changed, now);  with each track_begin_window()
 *	judge_sample(&judge, metric, SAMPLE_FAILED, now);  each answer of a threshold or a command
 *	if (judge_look(&judge, &input, now, &judgement))   once a second, or as often as one likes
 *		store(judge_to_json(&judge));
 *
 * What holds, and is tested under these names in tests/unit/judge_test.c:
 * - A harmless canary is rolled back with probability alpha at most, over all metrics, windows and
 *   looks: each metric has its weight's part of alpha, halved where a comparison and a limit
 *   (max_rate) both watch; each window i the part 1/((i+1)(i+2)) of that.
 * - ROLLBACK stays said, whatever follows: a metric that crossed stays crossed. Neither INVALID nor
 *   NODATA hides it.
 * - PROMOTE needs that every critical metric has passed in one window since the last change of a
 *   share. NODATA never passes, nor does a window in which the cohort fell back, or clients found
 *   no room in the table.
 * - Times are judged by the client's first sample being above x, for up to four x that are fixed
 *   before the samples which count by them. They are the upper edges of the buckets that hold the
 *   50, 75, 90 and 99% quantiles of control's first samples: of the rollout's earlier windows, if
 *   there are 200; else of this window, once control has 200, and then only later samples count.
 * - A server that stands still for a moment makes many clients wait at once, who are one event and
 *   not as many: of times the two looks in which most came above an x are left out of what speaks
 *   against the canary. That only takes from E, so the first promise holds.
 */
#ifndef XDP_CANARY_JUDGE_H
#define XDP_CANARY_JUDGE_H

#include "guard/guard.h"
#include "guard/verdict.h"
#include "track/track.h"

#define JUDGE_EDGES	      4
#define JUDGE_EDGES_FROM      200 /* first samples of control, for its quantiles to mean something */
#define JUDGE_LOOKS	      2	  /* as long as a burst */
#define JUDGE_BURST_NS	      10000000000ULL /* looks that are further apart tell of no burst */
#define JUDGE_FAILING_SAMPLES 3		     /* in a row are ROLLBACK */

enum judge_sample {
	JUDGE_SAMPLE_NONE, /* there was none yet */
	JUDGE_SAMPLE_PASSED,
	JUDGE_SAMPLE_FAILED,
	JUDGE_SAMPLE_NODATA,
};

/* ---- state: of this file's and judge_state.c's alone ---- */

/* The x of one kind of sample, as buckets: the event is a first sample in a later bucket. */
struct judge_edges {
	uint32_t count; /* 0: not fixed yet */
	uint8_t buckets[JUDGE_EDGES];
	/* First samples that were there when they were fixed: above each, and in all. */
	uint64_t above_before[RULES_MAX][TRACK_ARMS][JUDGE_EDGES];
	uint64_t all_before[RULES_MAX][TRACK_ARMS];
	/* Of the canary, above each, since: at the last look and the one before; and what came in
	 * the two looks in which most came. */
	uint64_t looked_ns[JUDGE_LOOKS]; /* 0: there was none */
	uint64_t above_looked[JUDGE_LOOKS][RULES_MAX][JUDGE_EDGES];
	uint64_t burst[RULES_MAX][JUDGE_EDGES];
};

struct judge_metric_state {
	bool has_crossed;      /* it said ROLLBACK; or asks for a pause, if it may do no more */
	bool is_acknowledged;  /* its pause */
	bool has_passed;       /* in a window since the last change of a share */
	bool is_uninformative; /* more than 30% of control's clients have the event */
	/* Of a threshold or command. */
	uint32_t failing; /* in a row */
	enum judge_sample last;
	uint64_t data_ns; /* of the last sample that was one; 0: none */
	/* When it crossed. */
	double log_e, excess; /* over the threshold, as a logarithm */
	char reason[REASON_SIZE];
};

struct judge_state {
	uint32_t window;	   /* 0, 1, ...: the running one, within the rollout */
	uint32_t step_window;	   /* the first one since the last change of a share */
	bool has_window;	   /* there is one */
	bool follows_change;	   /* it is the first one since the last change of a share */
	bool has_fallen_back;	   /* the cohort's clients went to control in this window */
	bool is_invalid;	   /* the sample ratio, until the next change of a share */
	uint64_t window_ns;	   /* when it began */
	char invalid[REASON_SIZE]; /* why */
	struct judge_metric_state metrics[ROLLOUT_METRICS_MAX];
	struct judge_edges edges[TRACK_SAMPLES];
	/* Control's first samples: of the windows before this one, and of this one at the last
	 * look. */
	uint64_t earlier[TRACK_SAMPLES][TRACK_BUCKETS];
	uint64_t running[TRACK_SAMPLES][TRACK_BUCKETS];
};

struct judge {
	const struct rollout *rollout; /* lives as long; its metrics do not change */
	struct judge_state state;
};

/* ---- input ---- */

/* A rule's part of the running window. */
struct judge_rule {
	double pi; /* track_slice(): the canary's share of the followed; 1: no control, 0: no canary
		    */
	struct track_counts arms[TRACK_ARMS];
};

/* Events of a metric that is not of the kernel, in one window. */
struct judge_window {
	uint32_t window;
	const struct guard_stratum *strata; /* rule by rule; of Prometheus' counts one */
	const uint32_t *rules;		    /* of the strata; NULL: of all rules together */
	size_t count;
};

/*
 * The windows of one metric with source feedback (all of the rollout, for reports come late: each
 * has a threshold of its own) or with paired counts of Prometheus; ascending.
 */
struct judge_windows {
	const struct judge_window *windows;
	size_t count;
};

struct judge_input {
	const struct judge_rule *rules; /* of the service, in its order; up to RULES_MAX */
	size_t rules_count;
	struct judge_windows windows[ROLLOUT_METRICS_MAX]; /* by metric of the rollout */
	uint64_t overflow;    /* clients that found no room in the table since the window began */
	bool bake_is_over;    /* then also clients whose first flow goes on count as clean */
	bool has_fallen_back; /* the canary's clients go to control for now */
	bool backends_lost;   /* all of the canary's: a condition for rollback by itself */
	bool has_drifted;     /* a model that a rule uses, by more than .25: holds promotion */
};

/* ---- what the caller calls ---- */

void judge_init(struct judge *judge, const struct rollout *rollout);
/*
 * Window @window of the rollout (0, 1, ...) begins; @changed: with a change of a share (else: the
 * hour is over). To be stored before the kernel begins to count in it: should the process die in
 * between, a window is left empty, which costs nothing, but none is counted twice.
 */
void judge_begin_window(struct judge *judge, uint32_t window, bool changed, uint64_t now_ns);
/* A sample of metric @metric (its index) of the rollout, of a threshold or a command. */
void judge_sample(struct judge *judge, size_t metric, enum judge_sample sample, uint64_t now_ns);
/* A person has seen why it was paused: what asked for it does not ask again in this rollout. */
void judge_acknowledge(struct judge *judge);
/*
 * One look. @now_ns: the same clock as the other calls'. True: the state has changed in a way that
 * must not be lost; store it.
 */
bool judge_look(struct judge *judge, const struct judge_input *input, uint64_t now_ns,
		struct judgement *out);
/*
 * The same decision without intervals and words, for whoever looks a million times (the
 * simulations). psi, low and high are NAN, reasons are empty but those of what has crossed.
 */
bool judge_decide(struct judge *judge, const struct judge_input *input, uint64_t now_ns,
		  struct judgement *out);

struct judge_count {
	const char *metric; /* a time is one for each of its x: "respond_time-above-24ms" */
	uint32_t window;
	uint32_t rule; /* JUDGE_ALL_RULES: of no single one */
	const struct guard_stratum *stratum;
};

#define JUDGE_ALL_RULES RULES_MAX

/*
 * The strata of each comparison, for `rollout export` and guard replay: calls @each with the totals
 * so far of each rule that has a canary: without a control pi is 1. Of the kernel's counts those of
 * the running window; of feedback and paired counts those of all, for reports come late. Stops at
 * the first error, and returns it.
 */
int judge_each_stratum(const struct judge *judge, const struct judge_input *input,
		       int (*each)(const struct judge_count *count, void *data), void *data);

/* NULL: no memory. */
json_t *judge_to_json(const struct judge *judge);
/* -EINVAL: not what judge_to_json() wrote of a rollout with these metrics. */
int judge_from_json(struct judge *judge, const struct rollout *rollout, const json_t *json);

#endif
