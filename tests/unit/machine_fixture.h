/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A rollout on a table: a service with three rules and a plan, a clock that the test moves, and a
 * world that does what the machine's actions say, as a store and a kernel would.
 */
#ifndef XDP_CANARY_TESTS_MACHINE_FIXTURE_H
#define XDP_CANARY_TESTS_MACHINE_FIXTURE_H

#include "rollout/machine.h"

#define SECOND 1000000000ULL
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

enum table_rule { RULE_STAFF, RULE_LIGHT, RULE_DEFAULT, TABLE_RULES };

struct table_rollout {
	struct service service;
	struct step steps[STEPS_MAX];
	struct rollout_hook hooks[HOOKS_MAX];
	struct rollout_metric metric; /* the only one */
	struct rollout_state state;
	struct rollout_actions actions; /* of the last feed */
	struct errors *errors;
	struct rollout_clock now;
	struct rollout_facts facts;
	/* The world. */
	uint32_t shares[TABLE_RULES];
	bool has_live[TABLE_RULES];
	bool is_latched, has_lease;
	enum rollout_phase latch;
};

/*
 * bake 10 m, settle 30 s, max_duration 7 d, lease 30 s, no max_load, on_fail: rollback; no steps,
 * no hooks.
 */
struct table_rollout *table_rollout_new(void);
void table_rollout_free(struct table_rollout *table);
/* @segment NULL: the default rule. */
struct step *add_weight(struct table_rollout *table, const char *segment, uint32_t ppm);
struct step *add_pause(struct table_rollout *table, uint64_t milliseconds);
struct step *add_analysis(struct table_rollout *table, uint64_t timeout_ms);
struct step *add_approve(struct table_rollout *table);
struct rollout_hook *add_hook(struct table_rollout *table, enum hook_event on, bool gate);

void pass(struct table_rollout *table, uint64_t nanoseconds);
/* An event with the clock of now; what comes of it is done to the world. */
int feed_event(struct table_rollout *table, struct rollout_event event);
int feed_verb_of(struct table_rollout *table, enum rollout_event_kind kind);
/* A judgement of the running window. */
void tick(struct table_rollout *table, enum verdict verdict);
/* Ticks once a second. */
void tick_for(struct table_rollout *table, uint64_t nanoseconds, enum verdict verdict);
void start_rollout(struct table_rollout *table);
/* What the last feed did. */
const struct rollout_action *find_action(const struct table_rollout *table,
					 enum rollout_action_kind kind);
size_t count_actions(const struct table_rollout *table, enum rollout_action_kind kind);
const struct rollout_note *find_note(const struct table_rollout *table, const char *event);

#endif
