// SPDX-License-Identifier: GPL-2.0-only
/* What the plan says of shares. */
#include "rollout/machine_internal.h"

#include "allocation.h"

#include <string.h>

static const char *rule_of(const struct service *service, const struct step *step)
{
	return step->segment[0] ? step->segment : service_default_rule(service)->name;
}

static uint32_t weight_of(const struct step *step)
{
	return step->segment[0] && !step->has_weight ? PPM : step->weight_ppm;
}

static int find_share(const struct rollout_state *state, const char *rule)
{
	for (size_t i = 0; i < state->shares_count; i++)
		if (!strcmp(state->shares[i].rule, rule))
			return i;
	return -1;
}

int share_of_step(const struct service *service, const struct rollout_state *state, size_t step)
{
	const struct step *its = &service->rollout.steps[step];

	if (step >= service->rollout.steps_count || its->kind != STEP_WEIGHT)
		return -1;
	return find_share(state, rule_of(service, its));
}

bool steps_gave(const struct rollout *plan, size_t count)
{
	for (size_t i = 0; i < count && i < plan->steps_count; i++)
		if (plan->steps[i].kind == STEP_WEIGHT && weight_of(&plan->steps[i]))
			return true;
	return false;
}

/* Also of steps that were jumped over: the last of each rule holds. */
void shares_to_set(const struct service *service, const struct rollout_state *state,
		   uint32_t next[RULES_MAX])
{
	for (size_t i = 0; i < state->shares_count; i++)
		next[i] = state->shares[i].ppm;
	for (size_t step = state->begun; step <= state->step; step++) {
		int share = share_of_step(service, state, step);

		if (share >= 0)
			next[share] = weight_of(&service->rollout.steps[step]);
	}
}

/*
 * What a rule has already stays if its first step does not take it back: an operator's live share,
 * or the file's; and until step 1 begins, if that is the one which does. What else an earlier
 * rollout has left goes at once, and so does all that was latched.
 */
static void first_share(struct feed *feed, size_t step, const char *rule, uint32_t weight)
{
	int index = service_rule(feed->service, rule);
	struct rollout_state *state = feed->state;
	struct rollout_share *share = &state->shares[state->shares_count++];
	uint32_t base = 0;

	if (index >= 0) {
		base = feed->service->rules[index].base_ppm[rollout_cohort(feed->service)];
		share->ppm = feed->event->shares ? feed->event->shares[index] : base;
	}
	snprintf(share->rule, sizeof(share->rule), "%s", rule);
	share->changed_ns = feed->event->now.real_ns;
	if (!feed->event->is_latched && (!step || share->ppm <= weight))
		return;
	share->ppm = base;
	snprintf(add_action(feed, ACTION_DROP_SHARE)->rule, NAME_SIZE, "%s", rule);
}

void first_shares(struct feed *feed)
{
	for (size_t i = 0; i < feed->plan->steps_count; i++) {
		const struct step *step = &feed->plan->steps[i];

		if (step->kind == STEP_WEIGHT && feed->state->shares_count < RULES_MAX &&
		    find_share(feed->state, rule_of(feed->service, step)) < 0)
			first_share(feed, i, rule_of(feed->service, step), weight_of(step));
	}
}

/* ---- for the caller ---- */

bool rollout_next_shares(const struct service *service, const struct rollout_state *state,
			 const uint32_t now[RULES_MAX], uint32_t next[RULES_MAX])
{
	struct rollout_state ahead = *state;
	uint32_t shares[RULES_MAX];
	bool any = false;

	memcpy(next, now, RULES_MAX * sizeof(*next));
	if (ahead.stage == STAGE_ON || ahead.stage == STAGE_AFTER)
		ahead.step++;
	if (!rollout_is_active(state->phase) || ahead.step >= service->rollout.steps_count)
		return false;
	shares_to_set(service, &ahead, shares);
	for (size_t i = 0; i < ahead.shares_count; i++) {
		int rule = service_rule(service, ahead.shares[i].rule);

		if (rule < 0)
			continue;
		any |= shares[i] > ahead.shares[i].ppm;
		next[rule] = shares[i];
	}
	return any;
}
