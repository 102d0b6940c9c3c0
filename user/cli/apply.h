/* SPDX-License-Identifier: GPL-2.0-only */
/* Making a policy the desired state: what `apply` and `rollout undo` share. */
#ifndef XDP_CANARY_APPLY_H
#define XDP_CANARY_APPLY_H

#include "cli/cli.h"
#include "cli/plan.h"

struct apply_request {
	struct plan_options options;
	bool dry_run; /* only say what would be done: @control may be one for reading */
	bool check;   /* the exit status tells of differences */
	json_t *head; /* what the document that is printed begins with: "cmd", ... */
};

/* Takes @policy over, also with an error; prints what was done. */
int apply_policy(struct cli *cli, struct control *control, struct policy *policy,
		 const struct apply_request *request);

/* ---- apply_rollout.c ---- */

/* -ESRCH with an error where a rollout is to begin and no daemon would run it. */
int apply_check_daemon(const struct plan *plan);
/* By the plans that they ran by: before the policy is another one. Reads `live` again. */
int apply_end_rollouts(const struct plan *plan, struct control *control, const struct actor *actor);
/* With the new plans: after it. */
int apply_begin_rollouts(struct plan *plan, struct control *control, const struct actor *actor);
/* [{"service","aborted","started"}]; started null of a dry run. */
json_t *apply_restarted_to_json(const struct plan *plan);

#endif
