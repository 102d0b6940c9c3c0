/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One client's flow: a TCP connection (or, as UDP, a socket) that exchanges records for as long as
 * it is let. Driven by epoll (edge-triggered: each event once) and by its own clock.
 */
#ifndef XDP_CANARY_TESTS_FLOW_H
#define XDP_CANARY_TESTS_FLOW_H

#include "flows.h"

#include <netinet/in.h>

enum flow_state {
	FLOW_IDLE,	 /* connects at .when */
	FLOW_CONNECTING, /* until .when */
	FLOW_RESTING,	 /* sends its next record at .when */
	FLOW_ASKED,	 /* a record is not answered yet; until .when */
	FLOW_ENDING,	 /* sent its last record and closed its half; until .when */
	FLOW_FAREWELL,	 /* that record was answered; until .when */
	FLOW_FINISHED,	 /* all was sent, answered and closed */
	FLOW_BROKEN,
	FLOW_STATES
};

struct flow {
	enum flow_state state;
	int file;
	uint64_t when;		       /* ns; see the states */
	const char *text;	       /* the source address */
	uint16_t port;		       /* of this attempt */
	uint32_t attempts;	       /* connections so far, this one included */
	uint32_t finished;	       /* of them, those that came to a good end */
	uint32_t records, all_records; /* answered: of this connection, of all of them */

	/* Of this connection. */
	char backend[NAME_SIZE]; /* "": not known yet */
	uint64_t since;		 /* established, ns */
	uint64_t cookie, bytes, hash;
	union {
		struct answer answer;
		uint8_t bytes[sizeof(struct answer)];
	} coming;
	uint32_t got;	   /* bytes of the answer that is coming */
	uint32_t farewell; /* bytes of it that came */

	/* Of a UDP flow: answers by another than before, when last, and records without an answer.
	 */
	uint32_t moves, lost;
	uint64_t moved;
};

/* A connection that broke. */
struct breakage {
	uint64_t when;
	const struct flow *flow;
	uint16_t port;
	enum flow_state state;
	uint32_t records;
	char backend[NAME_SIZE];
	const char *error;
};
#define BREAKAGES_KEPT 8192
#define BACKENDS_MAX   96

struct settings {
	struct address to4, to6; /* .length 0: none */
	bool udp;
	uint64_t interval; /* ns; a flow rests this long, half of it more or less */
	uint64_t silence;  /* ns without an answer: TCP: broken, UDP: lost */
	uint32_t records;  /* then the connection is closed; 0: never */
	bool again;	   /* a connection that ended or broke is followed by another one */
	uint16_t first_port;
	uint32_t largest; /* bytes of a record */
};

/* What all flows of the process share and add to. */
struct flows {
	struct settings settings;
	bool finishing; /* the next record of every flow is its last one */
	int poll;
	uint64_t random;
	struct flow *flows;
	size_t count;
	uint64_t records, finished, broken, retransmitted;
	struct breakage kept[BREAKAGES_KEPT]; /* the first ones */
	struct {
		char name[NAME_SIZE];
		uint64_t broken;
		uint64_t first, last; /* ns */
	} backends[BACKENDS_MAX];     /* of those broken; the name "?": never answered */
};

void flow_event(struct flows *flows, struct flow *flow);
void flow_tick(struct flows *flows, struct flow *flow, uint64_t now); /* .when has come */
uint32_t flow_retransmitted(const struct flow *flow);
const char *flow_state_name(enum flow_state state);

#endif
