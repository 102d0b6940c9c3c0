// SPDX-License-Identifier: GPL-2.0-only
#include "rollout/gather.h"

#include "observe/segments.h"
#include "track/track.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void gather_shares(const struct control *control, const struct service *service,
		   uint32_t shares[RULES_MAX][COHORTS_MAX])
{
	size_t rule, cohort;

	memset(shares, 0, RULES_MAX * sizeof(*shares));
	for (rule = 0; rule < service->rules_count; rule++) {
		for (cohort = 1; cohort < service->cohorts_count; cohort++)
			shares[rule][cohort] = effective_share(control, service, rule, cohort);
		shares[rule][0] = effective_control_share(control, service, rule);
	}
}

uint64_t gather_weight(const struct control *control, const struct service *service, size_t cohort)
{
	const struct cohort *members = &service->cohorts[cohort];
	uint64_t weight = 0;

	for (size_t i = 0; i < members->backends_count; i++)
		if (!backend_health(control, service, &members->backends[i]))
			weight += members->backends[i].weight;
	return weight;
}

bool gather_is_lost(const struct control *control, const struct service *service, size_t cohort)
{
	return !gather_weight(control, service, cohort);
}

/* ---- drift ---- */

/* Of a membership's detail: what segment/compute_model.c wrote. */
static double drift_of(const struct segment_head *head)
{
	json_t *detail = json_loads(head->membership.detail, 0, NULL), *feature;
	double greatest = 0, psi;
	size_t i;

	json_array_foreach(json_object_get(detail, "drift"), i, feature)
	{
		psi = json_number_value(json_object_get(feature, "psi"));
		greatest = psi > greatest ? psi : greatest;
	}
	json_decref(detail);
	return greatest;
}

static bool uses(const struct service *service, const char *segment)
{
	for (size_t i = 0; i < service->rules_count; i++)
		if (!strcmp(service->rules[i].segment, segment))
			return true;
	return false;
}

double gather_drift(struct control *control, const struct service *service)
{
	struct segment_head *heads = NULL;
	double greatest = 0, drift;
	size_t i;

	if (!control->policy->segments_count || segment_heads(control, &heads))
		return 0;
	for (i = 0; i < control->policy->segments_count; i++) {
		if (!heads[i].is_known || heads[i].segment->kind != SEGMENT_MODEL ||
		    !uses(service, heads[i].segment->name))
			continue;
		drift = drift_of(&heads[i]);
		greatest = drift > greatest ? drift : greatest;
	}
	segment_heads_release(heads, control->policy->segments_count);
	return greatest;
}

/* ---- counts ---- */

void gather_arms(const struct control *control, const struct service *service, struct gathered *out)
{
	uint32_t shares[RULES_MAX][COHORTS_MAX];
	uint16_t from;

	gather_shares(control, service, shares);
	for (size_t rule = 0; rule < service->rules_count; rule++)
		out->rules[rule].pi = track_slice(service, shares[rule],
						  service->rollout.guard.control_factor, &from);
	out->input.rules = out->rules;
	out->input.rules_count = service->rules_count;
}

static void gather_rules(const struct control *control, const struct view *view,
			 const struct service *service, struct gathered *out)
{
	size_t rule;
	int arm;

	gather_arms(control, service, out);
	for (rule = 0; rule < service->rules_count; rule++)
		for (arm = 0; arm < TRACK_ARMS; arm++)
			track_read(control->datapath, view->track, rule, arm,
				   &out->rules[rule].arms[arm]);
	out->input.overflow = track_overflow(control->datapath, view->track);
}

bool gather_is_current(const struct control *control, const struct service *service,
		       const struct rollout_state *state)
{
	const struct view *view = control_view(control, service->name);

	return view && (view->rollout & ROLLOUT_TRACKED) &&
	       track_window(control->datapath, view->track) == state->window + 1;
}

static bool has_canary(const struct gathered *gathered)
{
	for (size_t i = 0; i < gathered->input.rules_count; i++)
		if (gathered->rules[i].pi > 0)
			return true;
	return false;
}

int gather(struct control *control, const struct service *service, const struct followed *followed,
	   const struct rollout_state *state, struct gathered *out)
{
	*out = (struct gathered){0};
	if (!gather_is_current(control, service, state))
		return -EAGAIN;
	gather_rules(control, control_view(control, service->name), service, out);
	/* A window that began meanwhile: these are counts of neither. */
	if (!gather_is_current(control, service, state))
		return -EAGAIN;
	/* Of a canary that nobody was sent to nothing is lost: the machine waits for its servers. */
	out->input.backends_lost =
		has_canary(out) && gather_is_lost(control, service, rollout_cohort(service));
	out->input.has_fallen_back = out->input.backends_lost;
	return follow_windows(followed, &out->input, &out->memory);
}

json_t *gather_actual_clients(const struct control *control, const struct service *service,
			      const struct gathered *gathered)
{
	uint32_t shares[RULES_MAX][COHORTS_MAX], ppm;
	size_t canary = rollout_cohort(service), rule;
	json_t *actual = json_object();

	gather_shares(control, service, shares);
	for (rule = 0; rule < service->rules_count; rule++) {
		const struct judge_rule *counts = &gathered->rules[rule];

		if (!track_share(counts->pi, shares[rule][canary], shares[rule][0],
				 counts->arms[TRACK_CANARY].sights,
				 counts->arms[TRACK_CONTROL].sights, &ppm))
			json_object_set_new(actual, service->rules[rule].name, json_integer(ppm));
	}
	return actual;
}

void gathered_release(struct gathered *gathered)
{
	free(gathered->memory);
	*gathered = (struct gathered){0};
}
