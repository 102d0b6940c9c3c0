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
#define NOWHERE	       (-1) /* instead of a backend: none, the packet was dropped */
#define COHORT_LEFT    (-1) /* of a backend: its cohort is no longer in the file */

struct decision {
	int backend, cohort; /* the cohort before a fall back to control */
	enum reason reason;
};

/* Times are jiffies of the history: it took hold for packets from `from` to `to`. */
struct epoch {
	int64_t from, to;
	bool is_view;	 /* published; else a kill */
	bool lifts_kill; /* what the kill took does not come back */
	bool rehashes;	 /* places in the hash space change */
	bool shifts;	 /* a canary's share moves the parts of others, too */
	uint8_t cuts;	 /* bit c: canary c is cut in the default rule */
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
	bool was_without_control; /* no backend of control served in some epoch */
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

/* Begins an epoch; the flows' decisions of it are then for the caller to fill in. */
void model_begin(struct model *model, const struct epoch *epoch);
/* Is the packet as promised? NULL, or what is broken. Takes down where the flow is. */
const char *model_judge(const struct model *model, struct promised_flow *flow,
			const struct observation *seen);
/* When the last change of the history took hold at the latest; after drain nothing but the decision
 * holds. */
int64_t model_last_change(const struct model *model);

#endif
