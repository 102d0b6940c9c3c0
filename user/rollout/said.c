// SPDX-License-Identifier: GPL-2.0-only
#include "rollout/said.h"

#include "rollout/gather.h"

#include <stdlib.h>

const char *said_verdict(const struct rollout_state *state, const json_t *judgement)
{
	const char *judged = json_string_value(json_object_get(judgement, "verdict"));

	if (!state->id)
		return NULL;
	/* INCONCLUSIVE is the machine's to say. */
	if ((state->pause && state->held >> PAUSE_INCONCLUSIVE & 1) ||
	    (state->phase == ROLLOUT_ROLLED_BACK && state->verdict == VERDICT_INCONCLUSIVE))
		return verdict_name(VERDICT_INCONCLUSIVE);
	return judged ? judged : verdict_name(state->verdict);
}

/* A judge that looks at nothing but which rules have which arms. */
static enum armed armed_at_first(const struct control *control, const struct service *service)
{
	struct judge *judge = calloc(1, sizeof(*judge));
	struct judgement *judgement = calloc(1, sizeof(*judgement));
	struct gathered *gathered = calloc(1, sizeof(*gathered));
	enum armed armed = ARMED_NONE;

	if (judge && judgement && gathered) {
		gather_arms(control, service, gathered);
		judge_init(judge, &service->rollout);
		judge_decide(judge, &gathered->input, 0, judgement);
		armed = judgement->armed;
	}
	free(gathered);
	free(judgement);
	free(judge);
	return armed;
}

const char *said_armed(const struct control *control, const struct service *service,
		       const struct rollout_state *state, const json_t *judgement)
{
	const char *judged = json_string_value(json_object_get(judgement, "armed"));

	if (!state->id)
		return NULL;
	return judged ? judged : armed_name(armed_at_first(control, service));
}
