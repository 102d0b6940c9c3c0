/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What counts say of one metric before anybody judges it: the strata of its comparisons, and
 * clients and events of both arms. Pure.
 */
#ifndef XDP_CANARY_EVIDENCE_H
#define XDP_CANARY_EVIDENCE_H

#include "guard/judge.h"

/* Of a response size each x is looked at from both sides. */
#define EVIDENCE_COMPARISONS (2 * JUDGE_EDGES)

/* Why there is nothing to compare. */
enum lack {
	LACK_NOTHING,
	LACK_ARMS,   /* no rule has both arms: nobody is in the canary, or nobody left in control */
	LACK_EDGES,  /* control has too few first samples yet */
	LACK_COUNTS, /* no counts of this window yet */
	LACK_CANARY, /* no client of it yet, where there is control, too */
	LACK_CONTROL, /* nor of control */
};

/* Tests of one hypothesis, fixed beforehand, whose e-values are averaged: one, but of samples. */
struct comparison {
	struct guard_stratum strata[RULES_MAX]; /* of the rules with a canary, in their order */
	const struct guard_stratum *others;	/* instead of strata: the caller's */
	size_t count;
	uint8_t edge;		   /* of samples: the event is one in a bucket above it */
	bool is_below;		   /* or in it, or below */
	uint64_t burst[RULES_MAX]; /* of the strata's k: came at once; of times alone */
	uint64_t canary_events, control_events;
	uint64_t compared_events; /* of the canary's: those in rules with both arms */
	double log_e;		  /* of rollback; the judge fills it in */
};

struct evidence {
	uint32_t window; /* whose threshold it has */
	enum lack lack;
	struct comparison comparisons[EVIDENCE_COMPARISONS];
	size_t count;
	/* Clients that could have had the event; COUNT_UNKNOWN. Control's: of rules with both arms.
	 */
	uint64_t canary_clients, control_clients;
	uint64_t compared_clients; /* of the canary's: those in rules with both arms */
	/* Of all rules, for absolute limits: of the canary. */
	uint64_t clients, ended, events;
};

static inline bool has_canary(const struct judge_rule *rule)
{
	return rule->pi > 0;
}

/* There is something to compare in the rule. */
static inline bool has_two_arms(const struct judge_rule *rule)
{
	return rule->pi > 0 && rule->pi < 1;
}

/* Of a rule with a canary. Where @pi is 1 there is no control, and nothing compared. */
void comparison_add(struct comparison *comparison, uint64_t canary, uint64_t control, double pi);
const struct guard_stratum *comparison_strata(const struct comparison *comparison);
/* The logarithm of E against psi <= @psi0, without what came at once. */
double comparison_log_e(const struct comparison *comparison, double psi0);

/* Of a rule with a canary. */
void evidence_add_clients(const struct judge_rule *rule, uint64_t canary, uint64_t control,
			  struct evidence *out);

/* Of a failure that the kernel counts. */
void evidence_of_events(const struct judge *judge, const struct judge_input *input,
			enum kernel_metric metric, struct evidence *out);
/* Of a time or size: of first samples. */
void evidence_of_samples(const struct judge *judge, const struct judge_input *input,
			 enum track_sample sample, struct evidence *out);
/* Of either. */
void evidence_of_kernel(const struct judge *judge, const struct judge_input *input,
			enum kernel_metric metric, struct evidence *out);
/* Of first sights, for the sample ratio. */
void evidence_of_sights(const struct judge *judge, const struct judge_input *input,
			struct evidence *out);
/* Of one window of feedback, or of paired counts of Prometheus. strata NULL: there are none. */
void evidence_of_window(const struct judge_input *input, enum metric_source source,
			const struct judge_window *window, struct evidence *out);

/* TRACK_SAMPLES: the metric is none of samples. */
enum track_sample sample_of_metric(enum kernel_metric metric);
/* Notes control's first samples and what came at once; fixes the x of this window as soon as they
 * can be. True: the state has changed. */
bool edges_look(struct judge_state *state, const struct judge_input *input, uint64_t now_ns);
/* A window begins (state->window_ns): x of what earlier ones saw, where that is enough. */
void edges_begin_window(struct judge_state *state);
/* The upper edge of a bucket: in milliseconds, which it holds; or in bytes, which it does not. */
uint64_t edge_value(enum track_sample sample, uint8_t bucket);

#endif
