// SPDX-License-Identifier: GPL-2.0-only
/* The words of verdicts, and judgements as JSON. */
#include "guard/verdict.h"

#include <math.h>

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[] = {
#define X(symbol, name) [VERDICT_##symbol] = name,
		FOR_EACH_VERDICT(X)
#undef X
	};

	return names[verdict];
}

const char *armed_name(enum armed armed)
{
	static const char *const names[] = {
		[ARMED_RELATIVE] = "relative",
		[ARMED_ABSOLUTE] = "absolute",
		[ARMED_NONE] = "none",
	};

	return names[armed];
}

json_t *json_real_or_null(double number)
{
	return isfinite(number) ? json_real(number) : json_null();
}

static json_t *count_or_null(uint64_t count)
{
	return count == COUNT_UNKNOWN ? json_null() : json_integer((json_int_t)count);
}

static json_t *arm_to_json(uint64_t clients, uint64_t events)
{
	return json_pack("{s:o, s:o}", "clients", count_or_null(clients), "events",
			 count_or_null(events));
}

json_t *metric_judgement_to_json(const struct metric_judgement *metric)
{
	return json_pack("{s:s, s:s, s:b, s:b, s:o, s:o, s:o, s:[o, o], s:o, s:o, s:s}", "metric",
			 metric->name, "verdict", verdict_name(metric->verdict), "critical",
			 metric->critical, "left_out", metric->left_out, "log_e",
			 json_real_or_null(metric->log_e), "log_e_promote",
			 json_real_or_null(metric->log_e_promote), "psi",
			 json_real_or_null(metric->psi), "interval", json_real_or_null(metric->low),
			 json_real_or_null(metric->high), "canary",
			 arm_to_json(metric->canary_clients, metric->canary_events), "control",
			 arm_to_json(metric->control_clients, metric->control_events), "reason",
			 metric->reason);
}

json_t *judgement_to_json(const struct judgement *judgement)
{
	json_t *metrics = json_array();

	for (size_t i = 0; i < judgement->metrics_count; i++)
		json_array_append_new(metrics, metric_judgement_to_json(&judgement->metrics[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "verdict",
			 verdict_name(judgement->verdict), "armed", armed_name(judgement->armed),
			 "reason", judgement->reason, "metric", judgement->metric, "log_e",
			 json_real_or_null(judgement->log_e), "metrics", metrics);
}
