/* SPDX-License-Identifier: GPL-2.0-only */
/* What judge.c and judge_metric.c share. */
#ifndef XDP_CANARY_JUDGE_INTERNAL_H
#define XDP_CANARY_JUDGE_INTERNAL_H

#include "guard/evidence.h"

/* What a metric may do. */
enum role {
	ROLE_ACTS,    /* roll back, by an e-value */
	ROLE_PAUSES,  /* ask for a pause, by an e-value */
	ROLE_TELLS,   /* nothing: it is shown */
	ROLE_SAMPLES, /* roll back, by three failing samples in a row */
};

struct look {
	struct judge *judge;
	const struct judge_input *input;
	uint64_t now_ns;
	bool with_words;
	bool has_changed;  /* something that must not be lost */
	double weights;	   /* weights_of() */
	bool has_two_arms; /* some rule does */
	struct judgement *out;
};

enum role role_of(const struct rollout_metric *metric);
/* Its max_rate is watched. */
bool has_limit(const struct rollout_metric *metric);
/* Of all metrics that act by an e-value, which share alpha. */
double weights_of(const struct rollout *rollout);
/* The next entry of the judgement: nothing known yet. */
struct metric_judgement *add_metric(struct look *look, const char *name, bool critical);
void judge_metric(struct look *look, size_t index);

#endif
