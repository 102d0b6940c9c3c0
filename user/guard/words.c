// SPDX-License-Identifier: GPL-2.0-only
#include "guard/words.h"

#include "util/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define NS_A_SECOND UINT64_C(1000000000)

const char *ratio_text(double ratio, char out[RATIO_TEXT_SIZE])
{
	if (isinf(ratio))
		snprintf(out, RATIO_TEXT_SIZE, "unbounded");
	else if (ratio >= 100)
		snprintf(out, RATIO_TEXT_SIZE, "%.4g", ratio);
	else if (ratio >= .995)
		snprintf(out, RATIO_TEXT_SIZE, "%.1f", ratio);
	else
		snprintf(out, RATIO_TEXT_SIZE, "%.2g", ratio);
	return out;
}

/* Clocks may be set back. */
static uint64_t seconds_since(uint64_t then_ns, uint64_t now_ns)
{
	return now_ns > then_ns ? (now_ns - then_ns) / NS_A_SECOND : 0;
}

static const struct comparison *worst(const struct evidence *evidence)
{
	const struct comparison *found = evidence->comparisons;

	for (size_t i = 1; i < evidence->count; i++)
		if (evidence->comparisons[i].log_e > found->log_e)
			found = &evidence->comparisons[i];
	return evidence->count ? found : NULL;
}

/* One of several is picked for what it shows: all intervals together are to hold with 1 - alpha. */
void words_measure(const struct rollout *rollout, const struct evidence *evidence,
		   struct metric_judgement *out)
{
	const struct comparison *shown = worst(evidence);

	if (!shown)
		return;
	out->canary_events = shown->canary_events;
	out->control_events = shown->control_events;
	out->psi = guard_psi(comparison_strata(shown), shown->count);
	guard_interval(comparison_strata(shown), shown->count,
		       rollout->guard.alpha / (double)evidence->count, &out->low, &out->high);
}

/* "above 24 ms ", or nothing where the event is the metric itself. */
static void event_text(const struct rollout_metric *metric, const struct comparison *comparison,
		       char *out, size_t size)
{
	enum track_sample sample = metric ? sample_of_metric(metric->kernel) : TRACK_SAMPLES;
	uint64_t value;

	*out = '\0';
	if (!metric || metric->source != SOURCE_KERNEL || sample == TRACK_SAMPLES)
		return;
	value = edge_value(sample, comparison->edge);
	if (sample == SAMPLE_RESPONSE_SIZE)
		snprintf(out, size, "%s %" PRIu64 " bytes ",
			 comparison->is_below ? "below" : "from", value);
	else
		snprintf(out, size, "above %" PRIu64 " ms ", value);
}

void words_compare(const struct rollout_metric *metric, const struct evidence *evidence,
		   const struct metric_judgement *judged, char out[REASON_SIZE])
{
	char psi[RATIO_TEXT_SIZE], low[RATIO_TEXT_SIZE], high[RATIO_TEXT_SIZE], event[64];

	event_text(metric, worst(evidence), event, sizeof(event));
	if (isnan(judged->psi))
		snprintf(out, REASON_SIZE,
			 "%sno event of %" PRIu64 " clients of the canary and %" PRIu64
			 " of control",
			 event, evidence->compared_clients, evidence->control_clients);
	else if (isinf(judged->psi))
		snprintf(out, REASON_SIZE,
			 "%smore than %s x control (%" PRIu64 " clients, none of control)", event,
			 ratio_text(judged->low, low), worst(evidence)->compared_events);
	else
		snprintf(out, REASON_SIZE, "%s%s x control [%s, %s]", event,
			 ratio_text(judged->psi, psi), ratio_text(judged->low, low),
			 ratio_text(judged->high, high));
}

void words_limit(const struct rollout_metric *metric, const struct evidence *evidence,
		 char out[REASON_SIZE])
{
	char limit[TEXT_VALUE_SIZE];

	snprintf(out, REASON_SIZE, "%" PRIu64 " of %" PRIu64 " clients of the canary, max_rate %s",
		 evidence->events, evidence->clients,
		 text_format_percent(metric->max_rate_ppm, limit));
}

void words_sample_ratio(const struct rollout *rollout, const struct evidence *evidence,
			char out[REASON_SIZE])
{
	const struct comparison *sights = evidence->comparisons;
	double low, high;

	guard_interval(sights->strata, sights->count, rollout->guard.alpha, &low, &high);
	snprintf(out, REASON_SIZE, "%.3f x the clients that its share gives [%.3f, %.3f]",
		 guard_psi(sights->strata, sights->count), low, high);
}

static uint64_t first_samples(const struct judge_state *state, enum track_sample sample)
{
	uint64_t earlier = 0, running = 0;

	for (size_t i = 0; i < TRACK_BUCKETS; i++) {
		earlier += state->earlier[sample][i];
		running += state->running[sample][i];
	}
	return earlier > running ? earlier : running;
}

void words_lack(const struct judge *judge, const struct rollout_metric *metric,
		const struct evidence *evidence, uint64_t now_ns, char out[REASON_SIZE])
{
	const struct judge_state *state = &judge->state;
	uint64_t seconds = seconds_since(state->window_ns, now_ns);

	switch (evidence->lack) {
	case LACK_ARMS:
		if (evidence->clients)
			snprintf(out, REASON_SIZE, "no control is left to compare with%s",
				 metric && !metric->has_max_rate ? ", and it has no max_rate" : "");
		else
			snprintf(out, REASON_SIZE, "no client of the canary for %" PRIu64 " s",
				 seconds);
		break;
	case LACK_EDGES:
		snprintf(out, REASON_SIZE, "%" PRIu64 " of %d first samples of control",
			 first_samples(state, sample_of_metric(metric->kernel)), JUDGE_EDGES_FROM);
		break;
	case LACK_CANARY:
	case LACK_CONTROL:
		snprintf(out, REASON_SIZE, "no client of %s for %" PRIu64 " s",
			 evidence->lack == LACK_CANARY ? "the canary" : "control", seconds);
		break;
	case LACK_COUNTS:
		snprintf(out, REASON_SIZE, "no counts for %" PRIu64 " s", seconds);
		break;
	case LACK_NOTHING:
		*out = '\0';
		break;
	}
}

void words_samples(const struct judge_state *state, const struct judge_metric_state *metric,
		   uint64_t now_ns, char out[REASON_SIZE])
{
	uint64_t since = metric->data_ns ? metric->data_ns : state->window_ns;

	switch (metric->last) {
	case JUDGE_SAMPLE_NONE:
		snprintf(out, REASON_SIZE, "no sample yet");
		break;
	case JUDGE_SAMPLE_PASSED:
		snprintf(out, REASON_SIZE, "the last sample passed");
		break;
	case JUDGE_SAMPLE_FAILED:
		snprintf(out, REASON_SIZE, "%u failing sample%s in a row", metric->failing,
			 metric->failing == 1 ? "" : "s");
		break;
	case JUDGE_SAMPLE_NODATA:
		snprintf(out, REASON_SIZE, "no data for %" PRIu64 " s",
			 seconds_since(since, now_ns));
		break;
	}
}
