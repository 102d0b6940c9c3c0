/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of control/ alone. */
#ifndef XDP_CANARY_CONTROL_INTERNAL_H
#define XDP_CANARY_CONTROL_INTERNAL_H

#include "control/control.h"

/* What compile_view() is given, and who owns it. */
struct service_input {
	struct compile_input input;
	struct view_numbers numbers;
	struct pin *pins;
	uint8_t *health;
};

/* Numbers new names. Release it also after an error. */
int service_input_make(struct control *control, const struct service *service,
		       struct service_input *out);
void service_input_release(struct service_input *input);

/*
 * A neighbour that is being asked has the answer that packets know of it, from the line @shown (or
 * NULL). Of a new backend an answer is waited for, as long as control->patience_ms lasts: traffic
 * comes as soon as the view is shown.
 */
int settled_next_hop(struct control *control, struct next_hops *next_hops,
		     const struct service *service, const struct backend *backend,
		     const struct backend_line *shown, struct next_hop *out);

/* ---- tracking.c ---- */

/* Whom to follow, in @input; a new rollout's element is made ready. */
int tracking_input(struct control *control, const struct service *service,
		   struct compile_input *input);
/* Gives back the elements of rollouts that are followed no more. */
int tracking_free(struct control *control, const struct service *service);
/* Before the views are shown that begin a window, and after. */
void windows_suspend(struct control *control);
int windows_begin(struct control *control);

/* ---- numbers.c ---- */

/* Of the rule's segment, a new one where it has none; -1: the default rule. */
int number_segment(struct control *control, const struct rule *rule, int8_t *out);

/* ---- checks.c ---- */

/* What checks found of backends that nobody checks any more: they left, or their service's checks
 * did. */
int checks_forget(struct control *control);

/* ---- observe.c ---- */

/* Observes clients as the policy says. The maps are loaded. */
int control_observe(struct control *control);

/* ---- latch.c ---- */

/* Has this write lifted the service's latch? */
bool is_lifted(const struct control *control, const char *service);

/* ---- cuts.c ---- */

/* As control_cut(). @cohort: not of CUT_ALL. */
int control_cut_scope(struct control *control, const char *service, enum cut_scope scope,
		      size_t cohort);
/* Another policy is to be the desired state: rules and cohorts get other places. */
void cuts_follow(struct control *control, const struct policy *policy);
bool is_cut(const struct control *control, const char *service);
/* Writes the service's cuts into @plan. */
void plan_cuts(const struct control *control, const char *service, struct transition_plan *plan);
/* The store remembers them with the epoch whose view has them ... */
int cuts_note(struct control *control, const struct service *service, uint64_t epoch);
/* ... and whoever finds that epoch not shown has them again. */
int cuts_resume(struct control *control, const struct service *service, uint64_t epoch);

#endif
