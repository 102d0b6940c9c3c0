/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rollouts as the store keeps them: every rollout of every service with its machine's state, what
 * happened in them, what was counted, whom it touched, and what people reported. Only
 * rollout/drive.c writes rollouts, events and calls; the daemon writes judgements, counts and
 * clients; `feedback` writes feedback.
 */
#ifndef XDP_CANARY_STORE_ROLLOUTS_H
#define XDP_CANARY_STORE_ROLLOUTS_H

#include "store/store.h"

/* ---- rollouts ---- */

struct stored_rollout {
	char service[NAME_SIZE];
	uint64_t id; /* 1, 2, ... of the service */
	char *release;
	char cohort[NAME_SIZE];
	uint64_t revision;     /* that it was started with */
	char state[NAME_SIZE]; /* rollout_phase_name() */
	uint64_t started_ns, ended_ns,
		closed_ns; /* 0: not yet; closed: by reset, release, removal */
	char *machine;	   /* JSON of the machine's state */
	char *judgement;   /* JSON that the daemon writes: rollout/report.h; "{}": none yet */
};

/* @id 0: the last that was not closed. -ENOENT without an error: there is none. */
int store_rollout(struct store *store, const char *service, uint64_t id, struct stored_rollout *out,
		  struct errors *errors);
void stored_rollout_release(struct stored_rollout *rollout);
/* Oldest first; @service NULL: all services'. */
int store_rollouts(struct store *store, const char *service, struct stored_rollout **out,
		   size_t *count, struct errors *errors);
void stored_rollouts_release(struct stored_rollout *rollouts, size_t count);
/* The id that the service's next rollout has. */
int store_next_rollout(struct store *store, const char *service, uint64_t *id,
		       struct errors *errors);
/* Adds it, or replaces all but its judgement where it is known by service and id. */
int store_set_rollout(struct store *store, const struct stored_rollout *rollout,
		      struct errors *errors);
int store_set_judgement(struct store *store, const char *service, uint64_t id, const char *json,
			struct errors *errors);
/* Its ended rollouts are history from now on: `rollout reset`, a new release, a removal. */
int store_close_rollouts(struct store *store, const char *service, struct errors *errors);
/* Running, paused or waiting; *@id (may be NULL) is its id. Negative: an error. */
int store_rollout_is_active(struct store *store, const char *service, uint64_t *id,
			    struct errors *errors);

/* ---- events: section 4's, oldest first ---- */

struct rollout_record {
	uint64_t number, id, time_ns;
	char service[NAME_SIZE], event[NAME_SIZE];
	char *json;
};

int store_add_rollout_event(struct store *store, const char *service, uint64_t id, uint64_t time_ns,
			    const char *event, const char *json, struct errors *errors);
/* @service NULL: all; @id 0: of all rollouts; @after: those with a greater number. */
int store_rollout_events(struct store *store, const char *service, uint64_t id, uint64_t after,
			 struct rollout_record **out, size_t *count, struct errors *errors);
void rollout_records_release(struct rollout_record *records, size_t count);
/* How many events of that name there ever were of the service. */
int store_count_rollout_events(struct store *store, const char *service, const char *event,
			       uint64_t *count, struct errors *errors);

/* ---- calls of hooks that the daemon has to make ---- */

struct hook_call {
	uint64_t number; /* of the queue: oldest first */
	char service[NAME_SIZE];
	uint64_t id, call; /* rollout, and the machine's number of the call */
	uint32_t hook;	   /* index in the plan */
	bool gate;	   /* a step waits for the answer */
	char *json;	   /* what is posted */
};

int store_add_hook_call(struct store *store, const struct hook_call *call, struct errors *errors);
int store_hook_calls(struct store *store, struct hook_call **out, size_t *count,
		     struct errors *errors);
void hook_calls_release(struct hook_call *calls, size_t count);
int store_drop_hook_call(struct store *store, uint64_t number, struct errors *errors);
int store_drop_hook_calls(struct store *store, const char *service, struct errors *errors);
/* All calls of gates of a rollout. */
int store_drop_gate_calls(struct store *store, const char *service, uint64_t id,
			  struct errors *errors);

/* ---- counts, as `guard replay` reads them: increments ---- */

struct rollout_count {
	uint64_t time_ns;
	uint32_t window;
	char metric[NAME_SIZE], rule[NAME_SIZE];
	uint64_t k, n;
	double pi;
};

int store_add_rollout_counts(struct store *store, const char *service, uint64_t id,
			     const struct rollout_count *counts, size_t count,
			     struct errors *errors);
int store_rollout_counts(struct store *store, const char *service, uint64_t id,
			 struct rollout_count **out, size_t *count, struct errors *errors);

/* ---- clients: the first event of each metric in each cohort, in the rollout ---- */

struct rollout_client {
	struct member client;
	char metric[NAME_SIZE], cohort[NAME_SIZE];
	uint64_t time_ns;
};

/* Keeps the first time of a client, cohort and metric. */
int store_note_rollout_client(struct store *store, const char *service, uint64_t id,
			      const struct rollout_client *client, struct errors *errors);
/* By time. @cohort, @metric: NULL: all. */
int store_rollout_clients(struct store *store, const char *service, uint64_t id, const char *cohort,
			  const char *metric, struct rollout_client **out, size_t *count,
			  struct errors *errors);
/* Distinct clients of @cohort with an event of @metric (NULL: of any). */
int store_count_rollout_clients(struct store *store, const char *service, uint64_t id,
				const char *cohort, const char *metric, uint64_t *count,
				struct errors *errors);

/* ---- feedback ---- */

struct feedback {
	uint64_t number; /* of the row, in the order in which they came */
	char service[NAME_SIZE], metric[NAME_SIZE];
	struct member client;
	uint64_t time_ns; /* when it happened, as reported */
};

int store_add_feedback(struct store *store, const struct feedback *feedback, struct errors *errors);
/* Of a service, with number > @after, oldest row first. */
int store_feedback(struct store *store, const char *service, uint64_t after, struct feedback **out,
		   size_t *count, struct errors *errors);

/* 1: an earlier row says the same of the client, of a time in [@from_ns, @to_ns). */
int store_feedback_is_repeated(struct store *store, const struct feedback *feedback,
			       uint64_t from_ns, uint64_t to_ns, struct errors *errors);

#endif
