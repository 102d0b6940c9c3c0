/* SPDX-License-Identifier: GPL-2.0-only */
/* What the guard says of a rollout: the words of the contract, and what they are about. */
#ifndef XDP_CANARY_VERDICT_H
#define XDP_CANARY_VERDICT_H

#include "abi.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* X(SYMBOL, "NAME") */
#define FOR_EACH_VERDICT(X)                                                                        \
	X(ROLLBACK, "ROLLBACK")                                                                    \
	X(PROMOTE, "PROMOTE")                                                                      \
	X(CONTINUE, "CONTINUE")                                                                    \
	X(INCONCLUSIVE, "INCONCLUSIVE")                                                            \
	X(NODATA, "NODATA")                                                                        \
	X(INVALID, "INVALID")

enum verdict {
#define X(symbol, name) VERDICT_##symbol,
	FOR_EACH_VERDICT(X)
#undef X
		VERDICTS
};
const char *verdict_name(enum verdict verdict);

/* What could roll back: a comparison with control, an absolute limit, or nothing. */
enum armed { ARMED_RELATIVE, ARMED_ABSOLUTE, ARMED_NONE };
const char *armed_name(enum armed armed); /* "relative", "absolute", "none" */

#define REASON_SIZE 256

/* Name of the entry that tells of the sample ratio, the last one. */
#define SAMPLE_RATIO_NAME "sample_ratio"

#define COUNT_UNKNOWN UINT64_MAX

/* Of one metric. NAN, COUNT_UNKNOWN: unknown. */
struct metric_judgement {
	char name[NAME_SIZE];
	enum verdict verdict;
	bool critical;
	bool left_out;		     /* uninformative here: it neither rolls back nor promotes */
	double log_e, log_e_promote; /* natural logarithms, of the running window */
	double psi, low, high; /* rate of the canary over the control's, and its interval; maybe
				  INFINITY */
	/* Of the running window; the canary's of all rules, control's of those that have a canary.
	 */
	uint64_t canary_clients, canary_events, control_clients, control_events;
	char reason[REASON_SIZE]; /* "6.1 x control [2.9, 10.4]", "no data for 90 s", ... */
};

struct judgement {
	enum verdict verdict; /* INCONCLUSIVE is the state machine's to say */
	/*
	 * A metric that may pause but not roll back has changed (response_size): the rollout is to
	 * be paused, until a person resumes it (judge_acknowledge()). Beside any verdict.
	 */
	bool asks_for_pause;
	enum armed armed;
	char metric[NAME_SIZE]; /* the one that decided; "": none alone */
	double log_e;		/* its, or NAN */
	char reason[REASON_SIZE];
	struct metric_judgement metrics[ROLLOUT_METRICS_MAX + 1]; /* the last: the sample ratio */
	size_t metrics_count;
};

/*
 * An element of the contract's "metrics": metric, verdict, log_e, log_e_promote, psi, interval,
 * canary and control {clients, events}, and critical, left_out, reason. What is unknown or infinite
 * is null.
 */
json_t *metric_judgement_to_json(const struct metric_judgement *metric);
/* Members verdict, armed, reason, metric, log_e and metrics of the contract's status. */
json_t *judgement_to_json(const struct judgement *judgement);
/* null of what no JSON number can be. */
json_t *json_real_or_null(double number);

#endif
