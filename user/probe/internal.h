/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kinds of probes and the engine share. */
#ifndef XDP_CANARY_PROBE_INTERNAL_H
#define XDP_CANARY_PROBE_INTERNAL_H

#include "probe/probe.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <sys/queue.h>

enum probe_queue_name {
	QUEUE_CONNECTIONS,
	QUEUE_COMMANDS,
	QUEUES,
};

struct probe_kind {
	enum probe_queue_name queue;
	/* Its turn has come. It tells of its own failures. NULL: it is made of other probes, and
	 * never queues. */
	void (*begin)(struct probe *probe);
	/* Ends it if it is under way, and frees it. */
	void (*destroy)(struct probe *probe);
};

/* The first member of each kind's struct. */
struct probe {
	struct probe_engine *engine;
	const struct probe_kind *kind;
	TAILQ_ENTRY(probe) entry;
	bool is_waiting; /* for its turn */
};

TAILQ_HEAD(probe_list, probe);

struct probe_queue {
	struct probe_list waiting; /* oldest first */
	struct probe_list running;
	size_t running_count, running_most;
};

struct probe_engine {
	sd_event *event;
	sd_event_source *turn; /* begins those that wait, from the loop */
	struct probe_queue queues[QUEUES];
	struct probe_list composed; /* those that are made of others */
	int sockets; /* the epoll set of all that is under way; -1: none */
	sd_event_source *some;
	CURLM *multi;
	sd_event_source *multi_timer;
};

/* From here on the engine has it. */
void probe_enter(struct probe_engine *engine, struct probe *probe, const struct probe_kind *kind);
/* It is over: destroys it, before its callback is called, so that the next may have its place. */
void probe_end(struct probe *probe);

/* ---- poll.c: sockets that are waited for ---- */

struct probe_watch {
	void (*ready)(struct probe_watch *watch, uint32_t events); /* EPOLLIN, ... */
	int fd;							   /* -1: none */
};

int poll_new(struct probe_engine *engine);
void poll_free(struct probe_engine *engine);
/* From now on @watch->ready() is called from the loop. -errno. */
int watch_begin(struct probe_engine *engine, struct probe_watch *watch, int fd, uint32_t events);
/* Before the socket is closed. */
void watch_end(struct probe_engine *engine, struct probe_watch *watch);

/* ---- multi.c: libcurl on the loop ---- */

int multi_new(struct probe_engine *engine);
void multi_free(struct probe_engine *engine);
/* A transfer is over; CURLOPT_PRIVATE of the handle is its probe. http.c's. */
void http_transferred(struct probe *probe, CURLcode code);

#endif
