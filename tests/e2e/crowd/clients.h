/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * HTTP clients as an API has them: each has its own address, rate and manners, and opens a
 * connection, asks once or several times, and closes; some give up waiting, some leave in the
 * middle. A connection that fails is counted and not tried again; the client's next one comes when
 * it would have come anyway.
 */
#ifndef XDP_CANARY_TESTS_CLIENTS_H
#define XDP_CANARY_TESTS_CLIENTS_H

#include "crowd.h"

/* How a connection went. Those from OUTCOME_REFUSED on are failures that the client saw. */
enum outcome {
	OUTCOME_OK,	   /* all its requests were answered */
	OUTCOME_ABORTED,   /* left in the middle of an answer, since it wanted to */
	OUTCOME_ABANDONED, /* left before the answer, since it wanted to */
	OUTCOME_REFUSED,
	OUTCOME_RESET,
	OUTCOME_CLOSED,	    /* the server's end came before the answer was whole */
	OUTCOME_NO_CONNECT, /* waited in vain: for the handshake, */
	OUTCOME_NO_ANSWER,  /* for the first byte, */
	OUTCOME_NO_END,	    /* for the rest */
	OUTCOME_ERROR,	    /* answered, but with another status than 200 */
	OUTCOMES
};

enum phase { PHASE_FREE, PHASE_CONNECT, PHASE_ANSWER, PHASE_BODY, PHASE_REST };

struct client {
	char text[46];
	struct address address;
	/* What it is like. */
	uint64_t start, stop;	/* ns of the run */
	uint64_t mean_interval; /* ns between the beginnings of connections */
	uint64_t patience;	/* ns for a handshake, an answer, the rest of it */
	uint32_t keep_percent, abort_percent, abandon_percent; /* of its connections */
	/* How it is. */
	uint64_t next; /* ns: its next connection */
	uint32_t open;
	/* Since the last "mark". */
	uint32_t outcomes[OUTCOMES];
	uint32_t requests, slow, skipped;
	uint64_t first_bad; /* ns: of its failures and slow answers; 0: none */
	uint64_t longest;   /* ns from a request to the end of its answer */
	uint32_t backends;  /* bit i: crowd.backends[i] answered it */
};

struct connection {
	enum phase phase;
	int file;
	struct client *client;
	uint64_t deadline; /* of the phase; in PHASE_REST: when it asks again */
	uint64_t asked;
	uint32_t requests_left;
	bool aborts, abandons;
	char head[512];
	size_t got, length; /* of the answer, the head too; length 0: not known yet */
	struct connection *next_free;
};

#define BACKENDS_MAX	 32
#define BACKEND_NAME	 32
#define OPEN_OF_A_CLIENT 8

struct crowd {
	struct address to;
	uint16_t port;
	uint64_t slow;		/* ns: an answer that takes longer is a slow one */
	uint64_t least, most;	/* bytes of answers */
	uint64_t random, began; /* ns */
	uint64_t ends;		/* ns: then no connection begins any more, and the program ends */
	int poll;
	bool fixed_path; /* asks for "/", not for so many bytes */
	struct client *clients;
	size_t clients_count;
	struct connection *connections;
	size_t connections_count, used; /* used: none beyond has ever been in use */
	struct connection *free;
	uint64_t no_room; /* connections that were not begun since all are in use */
	char backends[BACKENDS_MAX][BACKEND_NAME];
};

void crowd_read(struct crowd *crowd, const char *path);
void crowd_report(const struct crowd *crowd);
void crowd_mark(struct crowd *crowd);

void connection_begin(struct crowd *crowd, struct client *client, uint64_t now);
void connection_event(struct crowd *crowd, struct connection *connection);
void connection_tick(struct crowd *crowd, struct connection *connection); /* its deadline came */

/* Exponentially distributed. */
uint64_t random_interval(uint64_t *state, uint64_t mean);
bool random_percent(uint64_t *state, uint32_t percent);

#endif
