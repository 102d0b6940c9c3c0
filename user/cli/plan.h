/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an apply would do, decided before anything is done: so that --dry-run, --check and the real
 * one cannot differ, and a refusal leaves everything as it was. Pure but for asking which
 * interfaces there are, and which rollouts are under way.
 */
#ifndef XDP_CANARY_PLAN_H
#define XDP_CANARY_PLAN_H

#include "control/control.h"

#include <jansson.h>

struct plan_options {
	bool prune, reset_shares, reshuffle, restart_rollout;
};

enum plan_action { PLAN_UNCHANGED, PLAN_CHANGED, PLAN_ADDED, PLAN_REMOVED };

struct plan_service {
	char name[NAME_SIZE];
	const struct service *before, *after; /* NULL: not there */
	enum plan_action action;
	json_t *audit_before, *audit_after; /* what changed, by path */
	json_t *kept_live;		    /* [{"rule","cohort","base_ppm","live_ppm"}] */
	bool lift_latch;
	uint64_t rollout;    /* that is under way; 0: none */
	bool restart;	     /* it is aborted, and begun anew with what the files say */
	uint64_t restarted;  /* as this one; 0: not yet */
	bool is_new_release; /* what was live ends, and rollouts are history */
};

struct plan {
	const struct control *control; /* as it is before */
	const struct policy *before, *after;
	struct plan_options options;
	struct errors *errors;
	struct plan_service *services; /* of the new file in its order, then the removed ones */
	size_t services_count;
	json_t *differences;		/* config_diff() */
	json_t *box_before, *box_after; /* those of no service */
	bool *drop_shares, *drop_pins;	/* by their places in control->live */
	bool new_revision;
	bool changed; /* anything at all */
};

/* 0, or a negative errno with errors: refused. The plan is to be released in both cases. */
int plan_make(const struct control *control, const struct policy *after,
	      struct plan_options options, struct errors *errors, struct plan *plan);
void plan_release(struct plan *plan);
struct plan_service *plan_service(const struct plan *plan, const char *name);
const char *plan_action_name(enum plan_action action);

/* ---- plan_rollout.c ---- */

/* Which rollouts are under way, and what of the files they refuse. A negative errno only where that
 * cannot be known. */
int plan_rollouts(struct plan *plan);

/* ---- plan_check.c ---- */

/* Refusals and warnings that need the plan whole. */
int plan_check(struct plan *plan);

#endif
