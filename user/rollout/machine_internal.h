/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of the machine alone. */
#ifndef XDP_CANARY_ROLLOUT_MACHINE_INTERNAL_H
#define XDP_CANARY_ROLLOUT_MACHINE_INTERNAL_H

#include "rollout/machine.h"

#define NS_PER_MS 1000000ULL

/* One call of rollout_feed(): the state is a copy, which a refusal throws away. */
struct feed {
	const struct service *service;
	const struct rollout *plan;
	struct rollout_state *state;
	const struct rollout_event *event;
	struct rollout_actions *actions;
	struct errors *errors;
};

/* ---- machine_plan.c: what the steps say ---- */

/* Index in @state->shares of the rule that the step sets; -1: it is no weight step. */
int share_of_step(const struct service *service, const struct rollout_state *state, size_t step);
/* Whether one of the first @count steps gives a client to the canary. */
bool steps_gave(const struct rollout *plan, size_t count);
/* Shares when step state->step begins, by index of state->shares. */
void shares_to_set(const struct service *service, const struct rollout_state *state,
		   uint32_t next[RULES_MAX]);
/* The shares of the rules that steps name, as a rollout begins with them; drops what must go. */
void first_shares(struct feed *feed);

/* ---- machine_tick.c ---- */

void feed_tick(struct feed *feed);
/* The step's hooks are called; its gates are awaited. */
void enter_stage(struct feed *feed, enum rollout_stage stage);

/* ---- machine.c: what several events do ---- */

struct rollout_action *add_action(struct feed *feed, enum rollout_action_kind kind);
/* A note of @event by the feed's event's person, or by the guard where there is none. */
struct rollout_note *add_note(struct feed *feed, const char *event, const char *reason);
void begin_window(struct feed *feed, bool settle);
/* Calls the hooks of this kind. Returns those that are gates, by bit. */
uint32_t call_hooks(struct feed *feed, enum hook_event on, uint32_t only,
		    const struct rollout_note *note);
/* The rollout is over, and the canary goes back to control. */
void undo(struct feed *feed, enum rollout_phase phase, const char *metric, double log_e,
	  const char *reason);
static inline bool is_held(const struct rollout_state *state, enum rollout_pause pause)
{
	return state->held >> pause & 1;
}

void hold(struct feed *feed, enum rollout_pause pause, const char *metric, double log_e,
	  const char *reason);
/* The state must be stored. */
void changed(struct feed *feed);
/* What the rollout waits for; the state is stored if that is news. */
void wait_for(struct feed *feed, enum rollout_wait what, const char *why);

#endif
