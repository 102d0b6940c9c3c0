/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An HTTP server that breaks when it is told to. Two processes: one takes commands and sees to it
 * that the other, which serves, lives or is dead (server.c); what is served, and how, stands in
 * memory that they share (serve.c).
 */
#ifndef XDP_CANARY_TESTS_SERVER_H
#define XDP_CANARY_TESTS_SERVER_H

#include "crowd.h"

#include <stdatomic.h>

enum mode {
	MODE_HEALTHY,
	MODE_REFUSE, /* no process: its port is closed */
	MODE_HANG,   /* takes requests and answers none */
	MODE_RESET,  /* sends a RST after accept() */
	MODE_SLOW,   /* answers SLOW later */
	MODE_CLOSE,  /* closes after accept() */
	MODE_STALL,  /* stops in the middle of the answer */
	MODE_CRASH,  /* the process dies again and again; comes back after CRASH_DOWN */
	MODE_ERROR,  /* answers 500 */
	MODES
};

#define SLOW	    (500 * MS)
#define CRASH_EVERY (10 * NS)
#define CRASH_DOWN  (2 * NS)

/* Clients whose addresses begin so; those of another family do not. */
struct peers {
	int family; /* 0: all */
	uint8_t bytes[16];
	uint32_t bits;
};

/* What both processes see. Written by the commands alone, but for the counters. */
struct shared {
	_Atomic enum mode mode;
	struct peers only; /* whom the mode is for; changed only while all is healthy */
	atomic_bool listens;
	atomic_ullong accepted, requests, answered, failed; /* failed: answered with 500 */
};

#define BACKENDS_MAX 80

/* One process may be several backends, so that whatever befalls it befalls all of them alike. */
struct backend {
	char name[32];	       /* of the header X-Backend */
	const char *namespace; /* path of its network namespace; NULL: this one */
};

struct listening {
	struct backend backends[BACKENDS_MAX];
	size_t backends_count;
	uint16_t port;
	char **addresses; /* of every backend */
	struct shared *shared;
};

/* Never returns. */
_Noreturn void serve_http(const struct listening *listening);

#endif
