/* SPDX-License-Identifier: GPL-2.0-only */
/* What the judge has found, in words: for status, the log, and whoever is paged. Pure. */
#ifndef XDP_CANARY_GUARD_WORDS_H
#define XDP_CANARY_GUARD_WORDS_H

#include "guard/evidence.h"

#define RATIO_TEXT_SIZE 32

/* "6.1", "0.85", "1204"; "unbounded" of INFINITY. */
const char *ratio_text(double ratio, char out[RATIO_TEXT_SIZE]);

/* Fills psi and interval of @out of the comparison that speaks against the canary most. */
void words_measure(const struct rollout *rollout, const struct evidence *evidence,
		   struct metric_judgement *out);
/* "6.1 x control [2.9, 10.4]"; after words_measure(). */
void words_compare(const struct rollout_metric *metric, const struct evidence *evidence,
		   const struct metric_judgement *judged, char out[REASON_SIZE]);
/* "41 of 300 clients of the canary, max_rate 0.5%" */
void words_limit(const struct rollout_metric *metric, const struct evidence *evidence,
		 char out[REASON_SIZE]);
/* "1.31 x the clients that its share gives [1.2, 1.4]" */
void words_sample_ratio(const struct rollout *rollout, const struct evidence *evidence,
			char out[REASON_SIZE]);
/* Why there is nothing to compare. */
void words_lack(const struct judge *judge, const struct rollout_metric *metric,
		const struct evidence *evidence, uint64_t now_ns, char out[REASON_SIZE]);
/* Of a threshold or a command. */
void words_samples(const struct judge_state *state, const struct judge_metric_state *metric,
		   uint64_t now_ns, char out[REASON_SIZE]);

#endif
