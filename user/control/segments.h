/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Freezing who is in a segment. A membership is computed when its segment is new, when its
 * definition changes, when it is asked for (`segment materialise`) and when its `refresh` has
 * passed: never because a share changed, and not while a rollout of a service that uses it is under
 * way. Each time it is computed is a new version; services have a new epoch only where other
 * clients are in it. Groupings (`group_by`) are computed when a service
 * first groups by the column, and with `segment materialise --all`.
 */
#ifndef XDP_CANARY_CONTROL_SEGMENTS_H
#define XDP_CANARY_CONTROL_SEGMENTS_H

#include "control/control.h"
#include "segment/compute.h"

#include <jansson.h>

enum freeze_which {
	FREEZE_CHANGED, /* new ones and those with another definition */
	FREEZE_DUE,	/* also those whose refresh has passed */
	FREEZE_NAMED,
	FREEZE_ALL, /* and groupings */
};

struct freeze_request {
	const struct policy *policy; /* NULL: the control's */
	enum freeze_which which;
	const char *name;     /* of FREEZE_NAMED */
	bool has_other_form;  /* clients of the box get another form: groupings are anew too */
	bool has_other_limit; /* look at the limits also where nothing is computed */
	bool force;	      /* also what a rollout that is under way holds */
	bool dry_run;	      /* only decide */
};

enum freeze_action { FREEZE_KEPT, FREEZE_ADDED, FREEZE_COMPUTED, FREEZE_DROPPED };

/* What became of a membership, or of a grouping. */
struct freeze_result {
	char *name; /* of the segment, or the column */
	bool is_grouping;
	enum freeze_action action;
	uint64_t version_before, version; /* 0: there is none */
	size_t count_before, count;	  /* clients; of a dry run, and what was kept, as before */
	size_t added, removed;		  /* clients that were not, or are no longer, in it */
	bool has_changed;		  /* other clients are in it */
};

struct freeze_report {
	struct freeze_result *list; /* segments in the order of the policy, dropped ones, columns */
	size_t count;
};

/*
 * Computes, stores and touches the services that use what changed; control_publish() makes it
 * effective. Any error leaves the transaction to be taken back. The report is to be released also
 * after one.
 */
int control_freeze(struct control *control, const struct freeze_request *request,
		   struct freeze_report *out);
void freeze_report_release(struct freeze_report *report);
/* "kept", "added", "computed", "dropped". */
const char *freeze_action_name(enum freeze_action action);
/* Writes what was computed and dropped into the audit. */
int freeze_audit(struct control *control, const struct freeze_report *report);

/*
 * When the refresh of a segment is due, in ns since 1970: 0 where it has no membership yet;
 * UINT64_MAX: never.
 */
int membership_due(struct control *control, const struct segment *segment, uint64_t *due_ns);
/*
 * When a segment is to be computed next: now or earlier where its refresh is due; what a rollout
 * holds is only looked at again (control/rollouts.h). UINT64_MAX: never. Without @segment the
 * earliest of all.
 */
int control_refresh_due(struct control *control, const struct segment *segment, uint64_t *due_ns);

/*
 * What @policy's memberships are computed of, for who only looks. *@secret is where the secret is
 * put where it can be read: a sample needs it.
 */
struct segment_world control_world(const struct control *control, const struct policy *policy,
				   struct siphash_key *secret);

/* ---- segment_limits.c ---- */

/*
 * All memberships and groupings of the policy together against limits/segment_clients and
 * segment_prefixes; what stands twice counts once. -E2BIG with an error that names the first that
 * was too much.
 */
int control_check_segment_limits(struct control *control, const struct policy *policy);

#endif
