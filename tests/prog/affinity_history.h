/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A random history of a service: what it is at the beginning, its flows, its changes, and what is
 * told of it. Each has random numbers of its own, and its own clients, so that it can be repeated
 * without the others that ran beside it.
 */
#ifndef XDP_CANARY_TESTS_AFFINITY_HISTORY_H
#define XDP_CANARY_TESTS_AFFINITY_HISTORY_H

#include "affinity_clients.h"
#include "affinity_world.h"
#include "policy/split.h"

#define SIDE_BY_SIDE	16
#define FLOWS		14
#define CLIENTS		6
#define CANARY_POOL	5 /* most backends of a cohort */
#define RULES_MOST	5 /* of a service at once, the default one not counted */
#define SEGMENTS	3 /* that no other history's rules name */
#define SEGMENT_OF_ALL	63
#define NAMES		8 /* that its rules may have; 0: the default rule's */
#define TEXTS		4
#define COLUMNS		3
#define QUIC_INITIAL	1200
#define WRITERS_LATE_MS 200 /* user/datapath/health.c, COMMIT_MS */
#define WRITERS_MARGIN_MS                                                                          \
	25 /* user/datapath/era.c waits for the end of an era that ends so soon                    \
	    */

struct flow {
	struct promised_flow promised;
	struct packet_plan plan;
	char name[ADDRESS_TEXT_SIZE + 16];
};

struct history {
	uint64_t index;
	struct random random;
	struct subject subject;
	struct model model;
	struct flow flows[FLOWS];
	int64_t planned; /* its clock when the next step begins */
	bool has_pins, is_over;
	bool is_changing; /* in this step */
	struct client_lists clients;
	uint64_t touched_segments; /* whose members this step changes */
	uint8_t touched_columns;
	uint64_t evicted; /* by the counter, before it began */
	FILE *trace;
	char *told;
	size_t told_size;
};

struct run_totals {
	uint64_t packets, views, in_place, kills, cuts, hashes, paths[PATHS], evicted, starved,
		excused, leases_ended, latches, latches_lifted, retries;
	uint64_t memberships, rules, groupings, tables, touched;
};

extern struct run_totals run_totals;

static inline uint32_t below(struct history *history, uint32_t bound)
{
	return random_below(&history->random, bound);
}

static inline bool in_percent(struct history *history, uint32_t percent)
{
	return below(history, 100) < percent;
}

static inline int64_t jiffies_of(uint64_t milliseconds)
{
	return milliseconds * jiffies_hz() / 1000;
}

#define tell(history, ...) fprintf((history)->trace, __VA_ARGS__)

static inline struct service *service_of(struct history *history)
{
	return &history->subject.real->service;
}

/* Does a canary's share move the parts of others, too? */
static inline bool shares_shift(struct history *history)
{
	const struct service *service = service_of(history);

	return is_split(service) && service->cohorts_count > 2;
}

/* No two histories have a client together: segments and groups are the box's. */
static inline unsigned int place_of(const struct history *history)
{
	return history->index % SIDE_BY_SIDE;
}

static inline size_t random_cohort(struct history *history, size_t first)
{
	return first + below(history, service_of(history)->cohorts_count - first);
}

/* Among the first rules, all but the last @but. */
static inline size_t random_rule(struct history *history, size_t but)
{
	return below(history, service_of(history)->rules_count - but);
}

/* ---- affinity_history.c ---- */

void history_random_service(struct history *history);
/*
 * Our own hash, or another tool's with any options. True: clients got other places in the hash
 * space.
 */
bool history_random_hash(struct history *history);
void history_add_backend(struct history *history, size_t cohort);
uint32_t history_random_share(struct history *history, size_t cohort);
void history_client(const struct history *history, unsigned int client, int family,
		    char out[ADDRESS_TEXT_SIZE]);
void history_random_flow(struct history *history, unsigned int number);
/* The decision on each flow, of the model's last epoch. */
void history_note_decisions(struct world *world, struct history *history);
void history_send_some(struct world *world, struct history *history);

/* ---- affinity_changes.c ---- */

/* What is asked for in this step; false: nothing. */
bool history_ask_for_change(struct world *world, struct history *history, struct change *change);
/* After it was published. */
void history_take_change(struct world *world, struct history *history, const struct change *change);
void add_pin(struct world *world, struct history *history, struct change *change);

/* ---- affinity_rules.c: changes of rules, segments and groups ---- */

bool has_rule(const struct lab_service *service, uint8_t name);
void add_rule(struct world *world, struct history *history, struct change *change);
void remove_rule(struct world *world, struct history *history, struct change *change);
void move_rule(struct world *world, struct history *history, struct change *change);
void change_rule(struct world *world, struct history *history, struct change *change);
void add_member(struct world *world, struct history *history, struct change *change);
void remove_member(struct world *world, struct history *history, struct change *change);
void change_group(struct world *world, struct history *history, struct change *change);
void change_group_by(struct world *world, struct history *history, struct change *change);

#endif
