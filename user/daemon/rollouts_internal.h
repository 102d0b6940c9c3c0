/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of the daemon's rollouts: rollouts.c, watched.c, sweep.c, samples.c, hooks.c,
 * credit.c, rollout_log.c. */
#ifndef XDP_CANARY_DAEMON_ROLLOUTS_INTERNAL_H
#define XDP_CANARY_DAEMON_ROLLOUTS_INTERNAL_H

#include "daemon/counters.h"
#include "daemon/rollouts.h"
#include "rollout/gather.h"
#include "track/track.h"

struct samples;

/* A rollout that is followed, and what the store was not told of it yet. */
struct watched {
	struct rollouts *rollouts;
	struct followed followed;
	struct samples *samples; /* NULL: no metric asks anybody */
	bool is_live;		 /* in this round */
	bool returned;		 /* this daemon has not told the machine that it is there */
	bool has_news;		 /* of followed: to be stored */
	bool window_is_new;	 /* and nothing of it may be looked at before it is */
	struct rollout_count *counts;
	size_t counts_count;
	uint64_t counts_ns;
	struct rollout_client *clients;
	size_t clients_count;
	char *judgement; /* JSON, the last one */
	bool has_judgement;
	double drift;
	uint64_t drift_ns; /* when it was looked at */
};

struct probe_engine;
struct hooks;

/* How far the log is with rollout_events. */
struct event_log {
	bool is_known;
	uint64_t said, stored; /* numbers of the last event that was said, and that is noted */
};

struct rollouts {
	sd_event *event;
	const struct place *place;
	const struct actor *actor;
	struct counters *counters;
	struct control *control; /* a reader that goes on looking */
	struct track_sweep *sweep;
	sd_event_source *timer;
	struct watched **list;
	size_t count;
	uint64_t window_ns; /* 0: the guard's own */
	struct probe_engine *engine;
	struct hooks *hooks;
	struct event_log events;
};

/* ---- watched.c: what is followed, and what the store is told of it ---- */

/* The service's rollout @id; as an earlier daemon left it, if one followed it. */
int rollouts_watch(struct rollouts *rollouts, const struct service *service, uint64_t id,
		   struct watched **out);
void rollouts_forget(struct rollouts *rollouts, size_t at);
void watched_free(struct watched *watched);
bool watched_has_to_save(const struct watched *watched);
/* To be told with the rest: the event of a client of @cohort of the service's. -ENOMEM. */
int watched_note_client(struct watched *watched, const struct member *client,
			const struct cohort *cohort, const char *metric, uint64_t time_ns);
/* In a transaction of the caller's, who says that it is done: watched_saved(). */
int watched_save(struct watched *watched, struct store *store, struct errors *errors);
void watched_saved(struct watched *watched);
/* All of them, in one transaction. */
int rollouts_save(struct rollouts *rollouts, struct errors *errors);

/* ---- sweep.c: who waits too long, and to whom what happened ---- */

int sweep_start(struct rollouts *rollouts);
void sweep_stop(struct rollouts *rollouts);
/* Takes what the kernel says of clients. */
void rollouts_note_clients(struct rollouts *rollouts);

int probes_start(struct rollouts *rollouts);
void probes_stop(struct rollouts *rollouts);

/* ---- samples.c: metrics that ask Prometheus or run a command ---- */

/* Begins what is due. What was answered and not given yet is lost: give it first. */
void samples_ask(struct watched *watched, const struct service *service);
/* Gives the judge what has come since. */
void samples_give(struct watched *watched, uint64_t now_ns);
/*
 * What the metrics' own reasons cannot say: why there is no data, and by what a sample failed. To
 * be called after the look.
 */
void samples_explain(const struct watched *watched, struct judgement *judgement);
void samples_stop(struct watched *watched);

/* ---- hooks.c: calls that the machine has queued ---- */

/*
 * Tells the machine of the calls that were answered, and begins those whose turn it is. -EBUSY:
 * another writer; nothing is called again for that.
 */
int hooks_call(struct rollouts *rollouts, struct errors *errors);
/* Calls of the service's hooks on @on that came to no 2xx, as far as the store was told. */
uint64_t hooks_failures(const struct rollouts *rollouts, const char *service, enum hook_event on);
const char *hook_event_name(enum hook_event on);
void hooks_free(struct hooks *hooks); /* NULL is allowed */

/* ---- rollout_log.c: what happened in rollouts, in the log ---- */

/* Says what is new, of whatever service. */
int events_say(struct rollouts *rollouts, struct errors *errors);
bool events_have_to_be_saved(const struct rollouts *rollouts);
int events_save(const struct rollouts *rollouts, struct store *store, struct errors *errors);

/* ---- credit.c: feedback ---- */

/* Tallies what people reported since the last round in the window and cohort that it falls in. */
int credit_feedback(struct watched *watched, const struct service *service, struct errors *errors);

#endif
