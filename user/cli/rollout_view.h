/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What there is to say of a service's rollout, gathered once and shown in several ways: as section
 * 4's document, as a tree for people, as a line. What only the daemon knows (metrics, verdict,
 * armed) is what it stored last, in column rollouts.judgement:
 *
 *   {"verdict", "armed", "reason", "metrics": [...], "actual_clients": {RULE: ppm}}
 */
#ifndef XDP_CANARY_ROLLOUT_VIEW_H
#define XDP_CANARY_ROLLOUT_VIEW_H

#include "cli/cli.h"
#include "rollout/machine.h"
#include "store/rollouts.h"

struct rollout_view {
	struct control *control; /* must outlive the view */
	const struct service *service;
	bool has_rollout;	      /* else everything below but document is empty */
	struct stored_rollout stored; /* the last that was not closed */
	struct rollout_state state;
	const struct service *plan; /* the service as the rollout began; the present one where that
				       revision cannot be read any more */
	struct policy *policy;	    /* that owns it, or NULL */
	struct rollout_record *events;
	size_t events_count;
	json_t *document; /* section 4's */
};

int rollout_view_read(struct control *control, const struct service *service,
		      struct rollout_view *out);
void rollout_view_release(struct rollout_view *view);

/* The kind of a step as the file has it: "weight", "segment", ... */
const char *step_kind_name(const struct step *step);
/* EXIT_DONE, EXIT_FAILED (none), EXIT_ROLLBACK. */
int rollout_view_status(const struct rollout_view *view);

/* ---- rollout_tree.c ---- */

/* As `kubectl argo rollouts get` prints it, for people. */
void rollout_tree_print(const struct cli *cli, const struct rollout_view *view, FILE *stream);

#endif
