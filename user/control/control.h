/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A box as commands and the daemon see it: the store, the desired state, what is live, the kernel's
 * maps; and the one way in which a change becomes effective (control_publish()).
 */
#ifndef XDP_CANARY_CONTROL_H
#define XDP_CANARY_CONTROL_H

#include "datapath/publish.h"
#include "policy/policy.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

/* Where a box keeps itself; the same for all commands. */
struct place {
	const char *state; /* directory of store, lock, secret */
	const char *pins;  /* directory on a bpffs */
	uint64_t wait_ms;  /* for the writer lock */
};

struct control {
	const struct place *place;
	struct errors *errors;
	struct store *store;	  /* NULL: nothing was ever stored */
	struct revision revision; /* number 0: no desired state yet */
	struct policy *policy;	  /* of the revision; empty, with defaults, before the first */
	struct live live;
	struct datapath *datapath; /* NULL: nothing is loaded */
	bool writing;
	bool is_following; /* control_open_following() */
	bool touched_all;  /* control_touch() */
	char **touched;
	size_t touched_count;
	struct lifted_kill {
		uint32_t slot, seen; /* service_kills() when it was decided */
	} * lifted;		     /* control_lift_latch() */
	size_t lifted_count;
	struct cut {
		char service[NAME_SIZE];
		enum cut_scope {
			CUT_RULE,   /* of one rule: control_cut() */
			CUT_COHORT, /* of all rules and pins: control_latch(), an ended lease's */
			CUT_PINS, /* of pins, whose rules were cut before: a latch that is lifted */
			CUT_ALL,  /* of all canaries: a kill that is lifted */
		} scope;
		size_t rule, cohort;
	} * cuts;
	size_t cuts_count;
	struct begun_window {
		char service[NAME_SIZE];
		uint32_t number;
		bool settles;
	} * windows; /* control_begin_window() */
	size_t windows_count;
	bool has_made_maps;    /* and not committed yet: they go again with an error */
	uint64_t patience_ms;  /* left of this write, to wait for neighbours */
	struct tables *tables; /* of the write under way (control/tables.h) */
	size_t published;      /* services that control_publish() gave a new view */
};

/* For reading: works with no store, no maps, no privileges as far as files allow. */
int control_open(const struct place *place, struct errors *errors, struct control **out);
/*
 * For who goes on looking: store and live state as they are by now, the policy where there is
 * another revision, the maps where others were made. The maps can be stored to, for words that need
 * no lock. After an error the control is to be closed.
 */
int control_open_following(const struct place *place, struct errors *errors, struct control **out);
int control_look_again(struct control *control, struct errors *errors);
/*
 * Until the next look: policy, live state and maps stay, the store does not. What is open to read
 * keeps the store's log from being cut, and must not be carried over a fork().
 */
void control_rest(struct control *control);
/* For writing: takes the lock, loads, records kills that were made without the store. */
int control_open_write(const struct place *place, const struct actor *actor, struct errors *errors,
		       struct control **out);
void control_close(struct control *control);
/* Reads `live` again after store changes of one's own. */
int control_reload_live(struct control *control);
/* Makes @policy the desired state in memory; takes it over. */
void control_set_policy(struct control *control, struct policy *policy);

/* What packets see of the service; NULL: nothing is loaded, or shown. */
const struct view *control_view(const struct control *control, const char *service);

/* ---- publish.c, cuts.c ---- */

/* control_publish() compiles the services that were touched, or are behind. NULL: all. */
int control_touch(struct control *control, const char *service);
bool control_is_touched(const struct control *control, const char *service);
/*
 * What is published of the service next takes the live flows of clients who are not in canary
 * @cohort by then, too: of those that @rule decides.
 */
int control_cut(struct control *control, const char *service, size_t rule, size_t cohort);

/* ---- latch.c ---- */

/*
 * The canary of the service's rollout (live_service.rollout_cohort) is held at control until the
 * latch is lifted: with the next view, which takes its live flows as affinity.on_rollback says.
 * @latch: aborted, rolled back, lease_expired; a kill is the kernel's to make. Reads `live` again.
 */
int control_latch(struct control *control, const char *service, enum latch latch);
/*
 * Takes the service's latch back, a kill in the kernel too once the new view is shown, and drops
 * the live shares that it has held, but those of the cohort of that index (0: of none): the file's
 * hold, until others are set. Reads `live` again.
 */
int control_lift_latch(struct control *control, const char *service, size_t keep);

/* ---- lease.c ---- */

/*
 * A lease that has ended in the kernel, or while the box was away, latches its canary; whoever
 * writes next says so in the store. @with_notes: also those of services that the kernel does not
 * know, for the box was away.
 */
int record_leases(struct control *control, bool with_notes);
/* For readers the latch counts from the lease's end on. */
void see_leases(struct control *control);
/*
 * The daemon renewed the service's lease just now. After a boot that is all that tells how long the
 * box was away: noted as often as lease_note_ms() says.
 */
int lease_note(struct store *store, const char *service, struct errors *errors);
uint64_t lease_note_ms(uint64_t lease_ms);

/* ---- tracking.c ---- */

/*
 * Window @window of the guard (0, 1, ... of the rollout) begins with what is published next.
 * @settles: a share changes, and flows that began before count no more, nor do those of the next
 * rollout.settle; else they go on.
 */
int control_begin_window(struct control *control, const char *service, uint32_t window,
			 bool settles);

/* Loads the maps where they are not (after a boot, or at the first apply). */
int control_load(struct control *control);
/*
 * Makes everything that store and policy say effective, as one commit: numbers names, compiles what
 * has changed, fills free views, commits the store, shows the views, waits for grace. Services
 * whose kernel side is behind the store (a writer died, or a boot) are published again. Without
 * loaded maps it only commits.
 */
int control_publish(struct control *control);
/* The same of what the store says by now of this one. */
int control_publish_service(struct control *control, const char *service);

/* ---- effective.c ---- */

/* Parts per million that canary @cohort has of rule @rule now: latch, live share, base share. */
uint32_t effective_share(const struct control *control, const struct service *service, size_t rule,
			 size_t cohort);
/* The same without a latch. */
uint32_t given_share(const struct control *control, const struct service *service, size_t rule,
		     size_t cohort);
/* 0 for the control's rest as well: 10^6 minus the canaries' effective shares. */
uint32_t effective_control_share(const struct control *control, const struct service *service,
				 size_t rule);
/* The canary that the service's rollout, the last one or the next, is about. */
size_t rollout_cohort_of(const struct control *control, const struct service *service);
/* A latch holds every canary of the service (killed), or that of its rollout, at control. */
bool cohort_is_latched(const struct control *control, const struct service *service, size_t cohort);
/* In milliseconds; 0: no rollout is under way, or none that has one. */
uint64_t lease_in_force(const struct control *control, const struct service *service);

/* ---- input.c ---- */

/* What checks found of it; NULL: nothing, or the service has no checks. */
const struct live_check *backend_check(const struct control *control, const struct service *service,
				       const struct backend *backend);
/* enum backend_health: what is wished of it, and down where its checks say so. */
uint8_t backend_health(const struct control *control, const struct service *service,
		       const struct backend *backend);

/*
 * Are checks all that keeps a cohort from serving? Control then keeps its ring, as if all were as
 * they are wished to be: better a chance than none. Another cohort falls back to control.
 */
bool cohort_is_dead(const struct control *control, const struct service *service, size_t cohort);
/* What becomes of its clients then, in words. */
const char *dead_cohort_text(size_t cohort);

/* ---- resolve.c ---- */

/* What the kernel says of the way to a backend, and NEXT_HOP_NO_SOURCE where its tunnel would have
 * no source. */
int backend_next_hop(struct next_hops *next_hops, const struct service *service,
		     const struct backend *backend, struct next_hop *out, struct errors *errors);
/* Asks for the next hops of every published backend again and writes those that changed;
 * *@unresolved counts. */
int control_refresh_next_hops(struct control *control, struct next_hops *next_hops,
			      size_t *unresolved);
/* The same until all are resolved or @milliseconds have passed; a warning for each that is not. */
int control_await_next_hops(struct control *control, uint64_t milliseconds);

/* ---- attach.c ---- */

/* Attaches one interface in the mode that the policy says, native where it says nothing. */
int control_attach(struct control *control, const char *name, uint32_t slot);
/* Attaches every interface that is to be, also after one that cannot be, whose error it returns;
 * detaches none. */
int control_attach_wanted(struct control *control);
/* Is it there, in this network namespace? */
bool interface_exists(const char *name);
/* The interface's counter slot. */
const struct live_interface *live_interface_of(const struct live *live, const char *name);

/* ---- secret.c ---- */

/* STATE/secret, or the policy's secret_file. malloc()ed. */
char *secret_path(const struct place *place, const struct policy *policy);
/* Reads it; with @make it is made where it is absent (0600). */
int secret_read(const char *path, bool make, struct siphash_key *out, struct errors *errors);

/* ---- numbers.c ---- */

struct view_numbers {
	uint32_t rule_groups[RULES_MAX];
	int8_t segments[RULES_MAX]; /* of each rule; -1: the default rule */
	uint32_t no_rule_group;
	uint8_t lanes[COHORTS_MAX];
	uint16_t *backend_numbers; /* in the order of the cohorts' backends */
	uint32_t *backend_counters;
	size_t backends_count;
};

/* Numbers of all names of a service; new ones are given (and their counters zeroed) where @control
 * writes. */
int numbers_of(struct control *control, const struct service *service, struct view_numbers *out);
void view_numbers_release(struct view_numbers *numbers);
/* A new service is in @slot: what another one that had it has counted there is gone. */
int numbers_begin(struct control *control, uint32_t slot);
/* Gives back the numbers of names that the service no longer has. */
int numbers_free(struct control *control, const struct service *service);
/* Gives back those of segments that no rule names any more. */
int numbers_free_segments(struct control *control);

#endif
