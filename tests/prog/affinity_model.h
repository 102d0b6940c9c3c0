/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What flows were promised (promise 6), by somebody who knows nothing of eras: a history of epochs,
 * the decision of each flow in each, and where its packets went. No map is read, and nothing of
 * user/policy/transition.c or bpf/affinity.h is used.
 *
 * A flow may leave a backend that is not down only where the decision has differed from it for
 * `drain`, where a cut took its client, or where its service is killed and it is at a canary; where
 * one of these holds it must be seen to go. Once `drain` has passed since the last change the
 * decision alone holds.
 */
#ifndef XDP_CANARY_TESTS_AFFINITY_MODEL_H
#define XDP_CANARY_TESTS_AFFINITY_MODEL_H

#include "abi.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_BACKENDS 20
#define MODEL_EPOCHS   64
#define MODEL_RULES    16   /* names of them; 0: the default rule */
#define NOWHERE	       (-1) /* instead of a backend: none, the packet was dropped */
#define COHORT_LEFT    (-1) /* of a backend: its cohort is no longer in the file */

struct decision {
	int backend, cohort; /* the cohort before a fall back to control */
	enum reason reason;  /* REASON_RULE of every rule */
	uint8_t rule;	     /* name of the first that holds the client, whatever decides */
	uint64_t token;	     /* another: it has another place in the hash space */
};

/* Times are jiffies of the history: it took hold for packets from `from` to `to`. */
struct epoch {
	int64_t from, to;
	bool is_view;		   /* published; else a kill, or the end of a lease */
	bool is_lease;		   /* the end of a lease, by the clock */
	bool lifts_kill;	   /* what the kill took does not come back */
	bool rehashes;		   /* places in the hash space change */
	bool shifts;		   /* a canary's share moves the parts of others, too */
	uint8_t cuts[MODEL_RULES]; /* bit c: canary c is cut in the rule of that name */
	uint8_t cut_pins;	   /* bit c: pins to canary c come back without what was taken */
	uint8_t takes;	    /* canary whose flows all leave it, of any rule and pin; 0: none */
	bool takes_blindly; /* a lease ended, or a latch held, where the table had no room: nothing
			     * tells new flows from those that are to stay */
};

struct model_backend {
	bool is_used, in_file;
	uint8_t health; /* enum backend_health */
	int cohort;
	int8_t cohorts[MODEL_EPOCHS]; /* it was in */
};

struct model {
	int64_t late; /* jiffies that a writer may let an era last longer than drain */
	int64_t drain, udp_drain, margin; /* jiffies; margin: of an era's end, which a writer may
					   * not wait for */
	bool has_server_ids;
	bool is_killed;
	uint8_t leased;	 /* canary whose lease has ended, and no writer has come since; 0: none */
	uint8_t latched; /* canary that is held at control since a writer came */
	bool takes_all;	 /* by cut: of leased and latched no flow is to be there */
	bool was_without_control; /* no backend of control served in some epoch */
	int64_t kept_open; /* until then a writer without a change of its own may have kept an era
			    */
	struct model_backend backends[MODEL_BACKENDS];
	struct epoch epochs[MODEL_EPOCHS];
	int epochs_count;
};

enum flow_kind { FLOW_TCP, FLOW_QUIC, FLOW_UDP, FLOW_NAMED }; /* NAMED: by the id of its server */

struct promised_flow {
	enum flow_kind kind;
	bool is_open;	/* a packet went somewhere, and none was a FIN or RST since */
	bool is_free;	/* nothing is promised: its backend was down when it sent */
	int at;		/* backend, or NOWHERE: never seen */
	int bound;	/* in which epoch it came there ... */
	int again;	/* ... and may have begun anew, by a start that was sent there ... */
	int seen;	/* ... and was last seen there */
	int64_t record; /* until when a repeated SYN surely finds its record */
	struct decision decisions[MODEL_EPOCHS];
};

struct observation {
	bool starts, ends; /* SYN or Initial; FIN or RST */
	bool has_room;	   /* in the transition table */
	int64_t before, after;
	struct decision now; /* the current decision */
	int went;
};

/* Why a packet was not held to what its flow was promised. X(symbol, text) */
#define FOR_EACH_EXCUSE(X)                                                                         \
	X(FREE, "its flow had been taken from its backend")                                        \
	X(NO_ROOM, "there was no room in the table")                                               \
	X(DRAINED, "its drain was over")                                                           \
	X(GIVEN_UP, "its era may have been given up for the next")                                 \
	X(CUT_NAMED, "an id does not tell when it was given")                                      \
	X(CUT_UNDONE, "a cut sent it to control, and not all of the cut holds any more")           \
	X(CUT_REHASHED, "its client had another hash since the cut")                               \
	X(CUT_MOVED, "its backend was another cohort's since the cut")                             \
	X(CUT_PINNED, "its client was pinned at the cut")                                          \
	X(CUT_JOINED, "its client changed its rule in the step of the cut")                        \
	X(CUT_RETURNED, "its client was given back to the canary")                                 \
	X(CUT_THRICE, "its client was cut thrice")                                                 \
	X(CUT_LATE, "its drain is over since the cut")                                             \
	X(KILLED, "it began under the kill")

enum excuse {
#define X(symbol, text) EXCUSE_##symbol,
	FOR_EACH_EXCUSE(X)
#undef X
		EXCUSES
};

/* What segments were judged by, counted. */
struct model_totals {
	uint64_t stays, leaves, moves; /* they were held to it: stays where else was decided */
	uint64_t stays_reruled, leaves_reruled; /* their client has had another rule since drain */
	uint64_t stays_regrouped;		/* and another token */
	uint64_t excuses[EXCUSES];
};
extern struct model_totals model_totals;

/* Begins an epoch; the flows' decisions of it are then for the caller to fill in. */
void model_begin(struct model *model, const struct epoch *epoch);
/* Is the packet as promised? NULL, or what is broken. Takes down where the flow is. */
const char *model_judge(const struct model *model, struct promised_flow *flow,
			const struct observation *seen);
/* A writer came @from to @to that had no change for the service: an era with less than a @second
 * left lasts that long. */
void model_note_writer(struct model *model, int64_t from, int64_t to, int64_t second);
/* When the last change of the history took hold at the latest; after drain nothing but the decision
 * holds. */
int64_t model_last_change(const struct model *model);

#endif
