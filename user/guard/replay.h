/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Recorded counts, judged as if they came in now: after each row each test is looked at, metric by
 * metric, window by window. Pure. Metrics weigh equally, and all are critical.
 */
#ifndef XDP_CANARY_REPLAY_H
#define XDP_CANARY_REPLAY_H

#include "guard/verdict.h"

#include <stddef.h>
#include <stdint.h>

struct replay_options {
	double alpha, beta;	      /* (0, .5] */
	double margin, promote_ratio; /* psi0, psi1 */
};

/* What came since the last row of this window, metric, rule and pi. */
struct replay_row {
	uint32_t window; /* of the rollout, 0 is the first */
	const char *metric, *rule;
	uint64_t k, n;
	double pi;
};

struct replay_result {
	const char *metric; /* as long as the replay */
	enum verdict verdict;
	uint32_t window;       /* the last one, of which the following are */
	double log_e;	       /* of the rollback test */
	double psi, low, high; /* psi NAN: unknown; high maybe INFINITY; at level 1 - alpha */
};

struct replay;

struct replay *replay_new(const struct replay_options *options); /* NULL: no memory */
void replay_free(struct replay *replay);
/* -ENOMEM; -ERANGE: the counts of its stratum no longer fit into 63 bits, and nothing is added. */
int replay_add(struct replay *replay, const struct replay_row *row);
size_t replay_count(const struct replay *replay); /* of metrics, in the order of the rows */
void replay_judge(const struct replay *replay, size_t index, struct replay_result *out);

#endif
