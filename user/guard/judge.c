// SPDX-License-Identifier: GPL-2.0-only
/*
 * judge.h says what holds. Here: windows, the sample ratio, and what all metrics together mean;
 * judge_metric.c has one metric.
 */
#include "guard/judge.h"

#include "guard/judge_internal.h"
#include "guard/words.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SAMPLE_RATIO_LEVEL	1e-3
#define SAMPLE_RATIO_NOT_MINDED .02

/* ---- windows, samples ---- */

void judge_init(struct judge *judge, const struct rollout *rollout)
{
	memset(judge, 0, sizeof(*judge));
	judge->rollout = rollout;
}

void judge_begin_window(struct judge *judge, uint32_t window, bool changed, uint64_t now_ns)
{
	struct judge_state *state = &judge->state;

	changed |= !state->has_window;
	state->has_window = true;
	state->window = window;
	state->window_ns = now_ns;
	edges_begin_window(state);
	state->follows_change = changed;
	state->has_fallen_back = false;
	if (!changed)
		return;
	state->step_window = window;
	state->is_invalid = false;
	for (size_t i = 0; i < ROLLOUT_METRICS_MAX; i++)
		state->metrics[i].has_passed = false;
}

void judge_sample(struct judge *judge, size_t metric, enum judge_sample sample, uint64_t now_ns)
{
	struct judge_metric_state *state = &judge->state.metrics[metric];

	/* No data is neither good nor bad: a query that fails now and then hides no failure. */
	state->last = sample;
	if (sample != JUDGE_SAMPLE_PASSED && sample != JUDGE_SAMPLE_FAILED)
		return;
	state->data_ns = now_ns;
	state->has_passed |= sample == JUDGE_SAMPLE_PASSED;
	state->failing = sample == JUDGE_SAMPLE_FAILED ? state->failing + 1 : 0;
	if (state->failing < JUDGE_FAILING_SAMPLES || state->has_crossed)
		return;
	state->has_crossed = true;
	state->log_e = NAN;
	state->excess = 0;
	snprintf(state->reason, sizeof(state->reason), "%d failing samples in a row",
		 JUDGE_FAILING_SAMPLES);
}

void judge_acknowledge(struct judge *judge)
{
	for (size_t i = 0; i < judge->rollout->metrics_count; i++)
		if (role_of(&judge->rollout->metrics[i]) == ROLE_PAUSES)
			judge->state.metrics[i].is_acknowledged |=
				judge->state.metrics[i].has_crossed;
}

/* ---- the sample ratio ---- */

static void find_invalid(struct look *look, const struct evidence *evidence,
			 const struct metric_judgement *judged)
{
	struct judge_state *state = &look->judge->state;
	const struct comparison *sights = evidence->comparisons;
	double psi;

	if (state->is_invalid ||
	    judged->log_e < guard_log_threshold(state->window, SAMPLE_RATIO_LEVEL))
		return;
	psi = guard_psi(sights->strata, sights->count);
	if (fabs(psi - 1) <= SAMPLE_RATIO_NOT_MINDED)
		return;
	state->is_invalid = true;
	look->has_changed = true;
	words_sample_ratio(look->judge->rollout, evidence, state->invalid);
}

/* Only first sights since the share changed are new in both arms alike: of one window. */
static void judge_sample_ratio(struct look *look)
{
	struct metric_judgement *out = add_metric(look, SAMPLE_RATIO_NAME, false);
	const struct judge_state *state = &look->judge->state;
	struct evidence evidence;

	evidence_of_sights(look->judge, look->input, &evidence);
	out->canary_clients = out->canary_events = evidence.canary_clients;
	out->control_clients = out->control_events = evidence.control_clients;
	if (state->follows_change && evidence.lack != LACK_ARMS) {
		const struct comparison *sights = evidence.comparisons;

		out->log_e = guard_log_e_ratio(sights->strata, sights->count);
		find_invalid(look, &evidence, out);
		if (evidence.lack == LACK_NOTHING)
			out->verdict = VERDICT_CONTINUE;
	}
	if (state->is_invalid)
		out->verdict = VERDICT_INVALID;
	if (!look->with_words)
		return;
	if (state->follows_change && evidence.lack == LACK_NOTHING) {
		evidence.comparisons->log_e = out->log_e;
		words_measure(look->judge->rollout, &evidence, out);
	}
	if (state->is_invalid)
		snprintf(out->reason, REASON_SIZE, "%s", state->invalid);
	else if (!state->follows_change)
		snprintf(out->reason, REASON_SIZE,
			 "told by the first window after a change of a share only");
	else if (evidence.lack == LACK_NOTHING)
		words_sample_ratio(look->judge->rollout, &evidence, out->reason);
	else
		words_lack(look->judge, NULL, &evidence, look->now_ns, out->reason);
}

/* ---- all of them ---- */

/* The weakest over the rules: what guards them where least does. */
static enum armed armed_of(const struct look *look)
{
	const struct rollout *rollout = look->judge->rollout;
	enum armed compared = ARMED_NONE, alone = ARMED_NONE, weakest = ARMED_RELATIVE;
	bool has_canary = false;

	for (size_t i = 0; i < rollout->metrics_count; i++) {
		const struct rollout_metric *metric = &rollout->metrics[i];
		enum role role = role_of(metric);

		if (role == ROLE_ACTS && !look->out->metrics[i].left_out)
			compared = ARMED_RELATIVE;
		else if (role == ROLE_SAMPLES && compared == ARMED_NONE)
			compared = ARMED_ABSOLUTE;
		if (has_limit(metric))
			alone = ARMED_ABSOLUTE;
	}
	for (size_t i = 0; i < look->input->rules_count; i++) {
		double pi = look->input->rules[i].pi;
		enum armed armed = pi < 1 ? compared : alone;

		if (!(pi > 0))
			continue;
		has_canary = true;
		if (armed > weakest)
			weakest = armed;
	}
	return has_canary ? weakest : compared;
}

/* How metrics stand. */
struct tally {
	size_t critical, passed, with_data;
	const struct metric_judgement *crossed, *without_data;
};

static struct tally count_metrics(const struct look *look)
{
	const struct judge_metric_state *states = look->judge->state.metrics;
	const struct judgement *out = look->out;
	struct tally tally = {0};

	for (size_t i = 0; i < look->judge->rollout->metrics_count; i++) {
		const struct metric_judgement *metric = &out->metrics[i];

		if (metric->verdict == VERDICT_ROLLBACK &&
		    (!tally.crossed ||
		     states[i].excess > states[tally.crossed - out->metrics].excess))
			tally.crossed = metric;
		if (metric->left_out)
			continue;
		tally.with_data += metric->verdict != VERDICT_NODATA;
		if (!metric->critical)
			continue;
		tally.critical++;
		tally.passed += metric->verdict == VERDICT_PROMOTE;
		if (metric->verdict == VERDICT_NODATA && !tally.without_data)
			tally.without_data = metric;
	}
	return tally;
}

__attribute__((format(printf, 3, 4))) static void conclude(struct look *look, enum verdict verdict,
							   const char *format, ...)
{
	va_list arguments;

	look->out->verdict = verdict;
	va_start(arguments, format);
	vsnprintf(look->out->reason, REASON_SIZE, format, arguments);
	va_end(arguments);
}

static void conclude_by(struct look *look, enum verdict verdict,
			const struct metric_judgement *metric)
{
	look->out->log_e = metric->log_e;
	snprintf(look->out->metric, sizeof(look->out->metric), "%s", metric->name);
	conclude(look, verdict, "%s %s", metric->name, metric->reason);
}

/* Nothing passes in such a window, so it is said whatever has passed before. */
static void conclude_overflow(struct look *look)
{
	conclude(look, VERDICT_CONTINUE,
		 "promotion is held: %" PRIu64
		 " clients found no room in the table, so first is not first"
		 " (limits.tracked_clients)",
		 look->input->overflow);
}

static void conclude_promotion(struct look *look, const struct tally *tally)
{
	if (look->input->has_drifted)
		conclude(
			look, VERDICT_CONTINUE,
			"promotion is held: clients have drifted from those of a model's training");
	else
		conclude(look, VERDICT_PROMOTE, "all %zu critical metrics have passed",
			 tally->critical);
}

static void conclude_all(struct look *look)
{
	struct tally tally = count_metrics(look);

	if (tally.crossed)
		conclude_by(look, VERDICT_ROLLBACK, tally.crossed);
	else if (look->input->backends_lost)
		conclude(look, VERDICT_ROLLBACK, "all backends of the canary are lost");
	else if (look->judge->state.is_invalid)
		conclude_by(look, VERDICT_INVALID,
			    &look->out->metrics[look->out->metrics_count - 1]);
	else if (look->input->has_fallen_back)
		conclude(look, VERDICT_NODATA, "the canary's clients go to control for now");
	else if (tally.without_data)
		conclude_by(look, VERDICT_NODATA, tally.without_data);
	else if (!tally.with_data)
		conclude(look, VERDICT_NODATA, "no metric has data");
	else if (look->input->overflow && tally.critical)
		conclude_overflow(look);
	else if (tally.critical && tally.passed == tally.critical)
		conclude_promotion(look, &tally);
	else if (!tally.critical)
		conclude(look, VERDICT_CONTINUE, "no metric is critical: none can promote");
	else
		conclude(look, VERDICT_CONTINUE, "%zu of %zu metrics below promote threshold",
			 tally.critical - tally.passed, tally.critical);
}

static bool asks_for_pause(const struct look *look)
{
	const struct judge *judge = look->judge;

	for (size_t i = 0; i < judge->rollout->metrics_count; i++)
		if (role_of(&judge->rollout->metrics[i]) == ROLE_PAUSES &&
		    judge->state.metrics[i].has_crossed && !judge->state.metrics[i].is_acknowledged)
			return true;
	return false;
}

static void note_fall_back(struct look *look)
{
	struct judge_state *state = &look->judge->state;

	if (!look->input->has_fallen_back || state->has_fallen_back)
		return;
	state->has_fallen_back = true;
	look->has_changed = true;
}

static bool look_once(struct judge *judge, const struct judge_input *input, uint64_t now_ns,
		      bool with_words, struct judgement *out)
{
	struct look look = {
		.judge = judge,
		.input = input,
		.now_ns = now_ns,
		.with_words = with_words,
		.weights = weights_of(judge->rollout),
		.out = out,
	};

	out->metrics_count = 0;
	out->log_e = NAN;
	*out->metric = '\0';
	for (size_t i = 0; i < input->rules_count; i++)
		look.has_two_arms |= has_two_arms(&input->rules[i]);
	note_fall_back(&look);
	look.has_changed |= edges_look(&judge->state, input, now_ns);
	for (size_t i = 0; i < judge->rollout->metrics_count; i++)
		judge_metric(&look, i);
	judge_sample_ratio(&look);
	out->armed = armed_of(&look);
	out->asks_for_pause = asks_for_pause(&look);
	conclude_all(&look);
	return look.has_changed;
}

bool judge_look(struct judge *judge, const struct judge_input *input, uint64_t now_ns,
		struct judgement *out)
{
	return look_once(judge, input, now_ns, true, out);
}

bool judge_decide(struct judge *judge, const struct judge_input *input, uint64_t now_ns,
		  struct judgement *out)
{
	return look_once(judge, input, now_ns, false, out);
}
