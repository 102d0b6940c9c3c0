/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rollout state machine. Pure: events in, actions out, the clock passed in; the state is one
 * struct without pointers, which goes to JSON and back, so that whoever runs next goes on from the
 * store. rollout/drive.h loads, feeds, applies and publishes; nothing else writes a state.
 *
 * Rules, each with a test of its name in tests/unit/machine_test.c:
 * - Rollback is armed in every active state: running, paused, and waiting at any gate. A judgement
 *   of ROLLBACK, or a canary without backends, ends the rollout in the tick that brings it
 *   (on_fail: pause: holds it).
 * - Only a tick raises a share. Verbs mark what they allow; the daemon's next tick does it, with a
 *   judgement and facts of that moment, so that tracking and lease are there before the share is.
 * - A share rises only if the verdict of the running window is CONTINUE or PROMOTE, or the steps
 *   have given no client to the canary yet, or a person said `promote` since. NODATA and INVALID
 *   never do. Where nothing is armed (armed: none), it is the judge who says CONTINUE when clients
 *   are seen.
 * - A `weight` step ends when settle + bake have passed and the verdict is CONTINUE or PROMOTE; a
 *   `pause` when its duration has passed, or with `resume`; `analysis` with PROMOTE, or with its
 *   timeout, which is INCONCLUSIVE; `approve` with `approve` alone.
 * - The clock of a step stands still while the rollout is paused; that of max_duration does not.
 * - Gates (hooks with `gate`) hold the beginning of a step (before_step) or its end (after_step);
 *   one that says no, or nothing, is asked again every ROLLOUT_GATE_RETRY_NS.
 * - Every effect is emitted once: by the feed that changes the state. A repeated event finds the
 *   state changed and does nothing.
 */
#ifndef XDP_CANARY_ROLLOUT_MACHINE_H
#define XDP_CANARY_ROLLOUT_MACHINE_H

#include "guard/verdict.h"
#include "policy/load.h"
#include "policy/policy.h"
#include "util/errors.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROLLOUT_GATE_RETRY_NS (10 * 1000000000ULL)
#define ROLLOUT_WINDOW_NS     (3600 * 1000000000ULL) /* the longest window of the guard */
#define ROLLOUT_BY_SIZE	      128

/* X(SYMBOL, "name"): the contract's `state`. */
#define FOR_EACH_ROLLOUT_PHASE(X)                                                                  \
	X(IDLE, "idle")                                                                            \
	X(RUNNING, "running")                                                                      \
	X(PAUSED, "paused")   /* held by a person, or by the guard; until `resume` */              \
	X(WAITING, "waiting") /* at a gate: approve, a hook, a pause without duration */           \
	X(SUCCEEDED, "succeeded")                                                                  \
	X(ROLLED_BACK, "rolled_back")                                                              \
	X(ABORTED, "aborted")                                                                      \
	X(KILLED, "killed")                                                                        \
	X(LEASE_EXPIRED, "lease_expired")

enum rollout_phase {
#define X(symbol, name) ROLLOUT_##symbol,
	FOR_EACH_ROLLOUT_PHASE(X)
#undef X
		ROLLOUT_PHASES
};
const char *rollout_phase_name(enum rollout_phase phase);
/* Running, paused or waiting. */
bool rollout_is_active(enum rollout_phase phase);
/* Rolled back, aborted, killed or lease_expired: the canary is latched at control. */
bool rollout_is_undone(enum rollout_phase phase);

enum rollout_wait {
	WAIT_NOTHING,
	WAIT_SETTLE,
	WAIT_BAKE,
	WAIT_PAUSE,
	WAIT_ANALYSIS,
	WAIT_APPROVE,
	WAIT_MAX_LOAD,
	WAIT_HOOK,
	ROLLOUT_WAITS
};
/* "settle", ...; NULL of WAIT_NOTHING. */
const char *rollout_wait_name(enum rollout_wait wait);
/* "weight", "pause", "analysis", "approve". */
const char *rollout_step_name(enum step_kind kind);

/* How far the step is. */
enum rollout_stage {
	STAGE_BEFORE, /* its hooks before_step are to be called, or their gates are not open */
	STAGE_READY,  /* its shares may be set as soon as load and verdict allow */
	STAGE_ON,     /* it has begun: settle, bake, pause, analysis, approve */
	STAGE_AFTER,  /* it is over, but gates of after_step are not open */
	ROLLOUT_STAGES
};

/* Why it is paused: `resume` is refused while what the guard has said still holds. */
enum rollout_pause {
	PAUSE_NOT,
	PAUSE_OPERATOR,	    /* `pause`, `rollout set --override` */
	PAUSE_FAILED,	    /* ROLLBACK with on_fail: pause */
	PAUSE_INVALID,	    /* the sample ratio */
	PAUSE_ASKED,	    /* the judge asks for it; `resume` acknowledges what it saw */
	PAUSE_INCONCLUSIVE, /* with on_inconclusive: pause; `resume` gives it its time again */
	ROLLOUT_PAUSES
};

/*
 * @boot: any number that is another one after a boot; within a boot only @monotonic_ns counts, so
 * that a clock that is set moves no deadline.
 */
struct rollout_clock {
	uint64_t real_ns, monotonic_ns, boot;
};

struct rollout_share {
	char rule[NAME_SIZE];
	uint32_t ppm;
	uint64_t changed_ns; /* CLOCK_REALTIME */
};

struct rollout_state {
	uint64_t id;	   /* 1, 2, ... of the service; 0: there never was one */
	uint64_t sequence; /* of feeds that changed anything; actions carry it */
	enum rollout_phase phase;
	enum rollout_stage stage;
	enum rollout_pause pause; /* the last reason to hold it */
	uint32_t held;		  /* bits of all of them since it last ran: resume ends them all */
	enum rollout_wait waiting_for;
	uint32_t step, steps_count; /* from 0; steps_count when all are over */
	enum step_kind step_kind;
	uint32_t begun; /* steps whose shares are set */
	uint32_t
		reached; /* the most steps that have begun, or were jumped over by promote --full */
	bool is_over;	 /* the step: `approve`, `resume` or `promote` said so */
	bool is_forced;	 /* `promote` said so: the next step begins on NODATA, too */
	char cohort[NAME_SIZE];

	uint64_t started_ns, since_ns, ended_ns; /* CLOCK_REALTIME; since: the phase or step's */
	struct rollout_clock last;		 /* of the last event */
	uint64_t elapsed_ns;			 /* the rollout's own clock, from its start */
	uint64_t step_ns;			 /* time on the step, without what was paused */
	uint64_t patience_ns;			 /* of elapsed_ns: when max_duration began */

	uint32_t window;       /* 0, 1, ...: of the guard, within the rollout */
	uint64_t window_ns;    /* of elapsed_ns: when it began */
	uint64_t changed_ns;   /* CLOCK_REALTIME: last change of a share */
	enum verdict verdict;  /* of the last tick */
	bool has_verdict;      /* there was one in this window */
	uint32_t acknowledged; /* PAUSE_ASKED that were resumed: each a judge_acknowledge() */
	struct rollout_share shares[RULES_MAX]; /* of the rules that steps name */
	size_t shares_count;

	uint64_t call;	      /* number of the hooks' last call */
	uint32_t gates_open;  /* by hook: its gate has said yes to this call */
	uint32_t gates_asked; /* by hook: no answer yet */
	uint64_t gates_ns;    /* of elapsed_ns: when those that said no are asked again */

	char by[ROLLOUT_BY_SIZE]; /* who brought it into this phase: "guard", "ann" */
	char why[REASON_SIZE];	  /* and why, in words; or what it waits for */
};

/* ---- events ---- */

enum rollout_event_kind {
	EVENT_TICK,
	EVENT_START, /* also `retry`: a new id, from step 1 */
	EVENT_PAUSE,
	EVENT_RESUME,
	EVENT_APPROVE,
	EVENT_PROMOTE,
	EVENT_ABORT,
	EVENT_OVERRIDE, /* a person sets a share: paused */
	EVENT_HOOK,	/* a hook was called: how that went */
	EVENT_KILLED,
	EVENT_LEASE_EXPIRED, /* the kernel has said so, or its note after a boot (control/lease.c)
			      */
	EVENT_RETURN,	     /* of the daemon, after a boot or an absence */
	ROLLOUT_EVENTS
};

/* What else a tick knows. */
struct rollout_facts {
	double load;	  /* rollout_load() of rollout_next_shares(); NAN: unknown, which waits for
			     max_load */
	bool cohort_lost; /* no backend of the canary is alive */
	const char *hold; /* why nothing may be promoted now (drift, a full table), or NULL */
	uint64_t window_ns; /* the longest window; 0: ROLLOUT_WINDOW_NS */
};

struct rollout_event {
	enum rollout_event_kind kind;
	struct rollout_clock now;
	const char *by, *reason; /* who, and why ("": not said) */

	/* EVENT_TICK. A judgement of another window than the state's only counts as ROLLBACK. */
	const struct judgement *judgement; /* NULL: none */
	uint32_t window;		   /* that it is of */
	struct rollout_facts facts;

	/* EVENT_START. @shares: what the canary has of each rule of the service now. */
	uint64_t id;
	bool is_retry;
	const uint32_t *shares;
	bool is_latched;

	bool full; /* EVENT_PROMOTE */

	/* EVENT_OVERRIDE: of the rollout's cohort; rule NULL: another cohort's share. */
	const char *rule;
	uint32_t ppm;

	/* EVENT_HOOK */
	uint64_t call;
	size_t hook; /* index in the plan */
	bool ok;     /* 2xx */

	bool counts_lost; /* EVENT_RETURN: the kernel's side is new, as it is after a boot */
};

/* ---- actions ---- */

enum rollout_action_kind {
	ACTION_SET_SHARE,    /* rule, before_ppm, ppm: the live share of the rollout's cohort */
	ACTION_DROP_SHARE,   /* rule: its live share; the file's holds */
	ACTION_LIFT_LATCH,   /* whatever latch there is */
	ACTION_LATCH,	     /* phase: the rollout's cohort; of a kill or a lease it is there */
	ACTION_BEGIN_WINDOW, /* window; settle: of a change of share, else flows go on counting */
	ACTION_CALL_HOOK,    /* hook, call, note: what is posted */
	ACTION_DROP_CALLS,   /* calls of gates that nobody waits for any more */
	ACTION_EMIT,	     /* note: for the history, the log, and rollout_events_total */
	ACTION_END_LEASE,
	ROLLOUT_ACTIONS
};

/* Section 4's `event`. */
struct rollout_note {
	const char *event; /* "started", "step", "rollback", ... */
	uint64_t time_ns;
	uint32_t step;		/* from 1; 0: none */
	char metric[NAME_SIZE]; /* "": none */
	double log_e;		/* NAN: none */
	bool has_shares;	/* before_ppm and after_ppm say something */
	uint32_t before_ppm, after_ppm;
	char by[ROLLOUT_BY_SIZE];
	char reason[REASON_SIZE];
};

struct rollout_action {
	enum rollout_action_kind kind;
	char rule[NAME_SIZE];
	uint32_t before_ppm, ppm;
	enum rollout_phase phase;
	uint32_t window;
	bool settle;
	size_t hook;
	uint64_t call;
	struct rollout_note note;
};

#define ROLLOUT_ACTIONS_MAX (2 * RULES_MAX + 3 * HOOKS_MAX + 16)

struct rollout_actions {
	uint64_t sequence; /* the state's after the feed */
	bool is_changed; /* the state must be stored, though there may be no action: else it may be
			  * forgotten, for time that passed is not lost with it */
	size_t count;
	struct rollout_action list[ROLLOUT_ACTIONS_MAX];
};

/*
 * One event. @state becomes the next one, and @actions are what has to be done for it, in this
 * order, in the same transaction. A verb that the state does not allow is refused: -EINVAL with an
 * error that says why, nothing changed. Of a state that is not active a tick changes nothing.
 * @service is as the file has it; its plan does not change while a rollout is active.
 */
int rollout_feed(const struct service *service, struct rollout_state *state,
		 const struct rollout_event *event, struct rollout_actions *actions,
		 struct errors *errors);

/* ---- what the caller works out for a tick ---- */

/*
 * What the canary's shares would be when the next step begins: by rule of the service. @now: what
 * they are. False: no step is about to begin, or none of them rises.
 */
bool rollout_next_shares(const struct service *service, const struct rollout_state *state,
			 const uint32_t now[RULES_MAX], uint32_t next[RULES_MAX]);

/* ---- JSON: of the state, in column rollouts.machine, and of events ---- */

json_t *rollout_state_to_json(const struct rollout_state *state);
/* -EINVAL: not what rollout_state_to_json() wrote. */
int rollout_state_from_json(const json_t *json, struct rollout_state *out);
/* @clients_affected: UINT64_MAX: unknown. */
json_t *rollout_note_to_json(const struct rollout_note *note, const char *service, uint64_t id,
			     uint64_t clients_affected);

#endif
