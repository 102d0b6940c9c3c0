// SPDX-License-Identifier: GPL-2.0-only
/*
 * One metric at one look: what there is (evidence.h), what it weighs against its threshold, what it
 * is called.
 *
 * Which tests there are, and their thresholds, depends on the file, on the window's number, and on
 * shares that do not change within a window; never on what was counted. Where counts decide that a
 * metric is left out for now, it may only miss a rollback.
 */
#include "guard/judge_internal.h"

#include "guard/words.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define PPM_OF_ONE	    1e6
#define UNINFORMATIVE_PARTS .3	/* of control's clients have the event */
#define UNINFORMATIVE_FROM  100 /* clients of control, for that to mean something */

/* ---- what the file says ---- */

enum role role_of(const struct rollout_metric *metric)
{
	if (metric_samples(metric))
		return ROLE_SAMPLES;
	if (metric_acts(metric))
		return ROLE_ACTS;
	return metric_is_informational(metric) && metric->kernel == METRIC_RESPONSE_SIZE
		       ? ROLE_PAUSES
		       : ROLE_TELLS;
}

/* A limit needs events of clients: a time has none, and of Prometheus nobody knows whose. */
bool has_limit(const struct rollout_metric *metric)
{
	return metric->has_max_rate && !metric->is_blind &&
	       (metric->source == SOURCE_FEEDBACK ||
		(metric->source == SOURCE_KERNEL &&
		 sample_of_metric(metric->kernel) == TRACK_SAMPLES));
}

static bool is_failure_of_kernel(const struct rollout_metric *metric)
{
	return metric->source == SOURCE_KERNEL && !metric_is_informational(metric) &&
	       sample_of_metric(metric->kernel) == TRACK_SAMPLES;
}

double weights_of(const struct rollout *rollout)
{
	double sum = 0;

	for (size_t i = 0; i < rollout->metrics_count; i++)
		if (role_of(&rollout->metrics[i]) == ROLE_ACTS)
			sum += rollout->metrics[i].weight;
	return sum;
}

/* The metric's part of alpha, in all windows and tests together. */
static double level_of(const struct look *look, const struct rollout_metric *metric)
{
	double alpha = look->judge->rollout->guard.alpha;

	return role_of(metric) == ROLE_ACTS ? alpha * metric->weight / look->weights : alpha;
}

/* ---- weighing ---- */

/* Of one metric in one window: logarithms of e-values, and how far they are over their thresholds.
 */
struct weight {
	double log_e, excess; /* of what speaks against the canary most; NAN: of nothing */
	bool is_of_limit;     /* that is max_rate */
	double log_e_promote; /* of what speaks for it most */
	bool is_passed;
};

static double log_e_of(struct evidence *evidence, double psi0)
{
	double log_e[EVIDENCE_COMPARISONS];

	for (size_t i = 0; i < evidence->count; i++) {
		struct comparison *comparison = &evidence->comparisons[i];

		comparison->log_e = comparison_log_e(comparison, psi0);
		log_e[i] = comparison->log_e;
	}
	return guard_log_mean(log_e, evidence->count);
}

/*
 * Of several x the least, not the mean: a canary that is bad beyond one x alone is bad. That each
 * must pass needs no correction.
 */
static double log_e_promote_of(const struct evidence *evidence, double psi1)
{
	double least = INFINITY;

	for (size_t i = 0; i < evidence->count; i++) {
		const struct comparison *comparison = &evidence->comparisons[i];

		least = fmin(least, guard_log_e_promote(comparison_strata(comparison),
							comparison->count, psi1));
	}
	return least;
}

static void weigh_comparison(const struct look *look, const struct rollout_metric *metric,
			     struct evidence *evidence, struct weight *out)
{
	const struct guard_options *guard = &look->judge->rollout->guard;
	double level = level_of(look, metric) / (has_limit(metric) ? 2 : 1);

	if (!evidence->count || evidence->lack == LACK_ARMS)
		return;
	out->log_e = log_e_of(evidence, guard->margin);
	out->excess = out->log_e - guard_log_threshold(evidence->window, level);
	out->log_e_promote = log_e_promote_of(evidence, guard->promote_ratio);
	out->is_passed = evidence->lack == LACK_NOTHING &&
			 out->log_e_promote >= guard_log_threshold(evidence->window, guard->beta);
}

/*
 * A client counts as clean only when its first flow has ended, or the bake is over. Those with an
 * event may be among the ended: so there are this many clean ones at least.
 */
static double log_e_certify_of(const struct look *look, const struct evidence *evidence,
			       uint64_t events, double p0)
{
	uint64_t sure = look->input->bake_is_over ? evidence->clients : evidence->ended;

	return guard_log_e_certify(events, sure > events ? sure : events, p0);
}

static void weigh_limit(const struct look *look, const struct rollout_metric *metric,
			const struct evidence *evidence, struct weight *out)
{
	const struct guard_options *guard = &look->judge->rollout->guard;
	double level = level_of(look, metric) / (look->has_two_arms ? 2 : 1);
	double p0 = metric->max_rate_ppm / PPM_OF_ONE, log_e, excess, certified;
	uint64_t events = evidence->events;

	if (!has_limit(metric) || !evidence->clients)
		return;
	if (events > evidence->clients)
		events = evidence->clients;
	log_e = guard_log_e_absolute(events, evidence->clients, p0);
	excess = log_e - guard_log_threshold(evidence->window, level);
	if (isnan(out->excess) || excess > out->excess) {
		out->log_e = log_e;
		out->excess = excess;
		out->is_of_limit = true;
	}
	certified = log_e_certify_of(look, evidence, events, p0);
	if (isnan(out->log_e_promote) || certified > out->log_e_promote)
		out->log_e_promote = certified;
	/* As good as control is not enough where both are beyond what the file allows. */
	out->is_passed &= (double)events <= p0 * (double)evidence->clients;
	out->is_passed |= certified >= guard_log_threshold(evidence->window, guard->beta);
}

/* ---- one metric ---- */

struct judging {
	struct look *look;
	const struct rollout_metric *metric;
	struct judge_metric_state *state;
	struct metric_judgement *out;
};

static struct weight weigh(const struct judging *judging, struct evidence *evidence)
{
	struct weight weight = {.log_e = NAN, .excess = NAN, .log_e_promote = NAN};

	if (!judging->state->is_uninformative)
		weigh_comparison(judging->look, judging->metric, evidence, &weight);
	/* Of an earlier window nobody knows how many clients there were. */
	if (evidence->window == judging->look->judge->state.window)
		weigh_limit(judging->look, judging->metric, evidence, &weight);
	return weight;
}

static void cross(const struct judging *judging, const struct evidence *evidence,
		  const struct weight *weight)
{
	struct judge_metric_state *state = judging->state;
	struct metric_judgement measured = *judging->out;

	if (state->has_crossed || !(weight->excess >= 0))
		return;
	words_measure(judging->look->judge->rollout, evidence, &measured);
	if (weight->is_of_limit)
		words_limit(judging->metric, evidence, state->reason);
	else
		words_compare(judging->metric, evidence, &measured, state->reason);
	state->has_crossed = true;
	state->log_e = weight->log_e;
	state->excess = weight->excess;
	judging->look->has_changed = true;
}

/* A window of which one cannot say that it saw the canary, or first occurrences, passes nothing. */
static void pass(const struct judging *judging, const struct evidence *evidence,
		 const struct weight *weight)
{
	const struct judge_state *state = &judging->look->judge->state;

	if (judging->state->has_passed || !weight->is_passed || state->has_fallen_back ||
	    judging->look->input->overflow || evidence->window < state->step_window)
		return;
	judging->state->has_passed = true;
	judging->look->has_changed = true;
}

static void test(const struct judging *judging, const struct evidence *evidence,
		 const struct weight *weight)
{
	enum role role = role_of(judging->metric);

	if (role == ROLE_ACTS || role == ROLE_PAUSES)
		cross(judging, evidence, weight);
	if (role == ROLE_ACTS)
		pass(judging, evidence, weight);
}

/* Reports come late: every window goes on, with its own threshold. */
static void test_earlier_windows(const struct judging *judging, const struct judge_windows *windows)
{
	const struct look *look = judging->look;

	for (size_t i = 0; i < windows->count; i++) {
		struct evidence evidence;
		struct weight weight;

		if (windows->windows[i].window == look->judge->state.window)
			continue;
		evidence_of_window(look->input, judging->metric->source, &windows->windows[i],
				   &evidence);
		weight = weigh(judging, &evidence);
		test(judging, &evidence, &weight);
	}
}

static void gather(const struct judging *judging, size_t index, struct evidence *out)
{
	const struct rollout_metric *metric = judging->metric;
	const struct judge *judge = judging->look->judge;
	const struct judge_input *input = judging->look->input;
	const struct judge_windows *windows = &input->windows[index];
	struct judge_window window = {.window = judge->state.window};

	for (size_t i = 0; i < windows->count; i++)
		if (windows->windows[i].window == judge->state.window)
			window = windows->windows[i];
	if (metric->source != SOURCE_KERNEL)
		evidence_of_window(input, metric->source, &window, out);
	else
		evidence_of_kernel(judge, input, metric->kernel, out);
}

/* A long poll makes every client `unanswered`: what most of control's do tells nothing. */
static void look_at_control(const struct judging *judging, const struct evidence *evidence)
{
	struct judge_metric_state *state = judging->state;
	bool is_uninformative;

	if (!is_failure_of_kernel(judging->metric) ||
	    evidence->control_clients < UNINFORMATIVE_FROM)
		return;
	is_uninformative = (double)evidence->comparisons->control_events >
			   UNINFORMATIVE_PARTS * (double)evidence->control_clients;
	judging->look->has_changed |= is_uninformative != state->is_uninformative;
	state->is_uninformative = is_uninformative;
}

static enum verdict verdict_of(const struct judging *judging, const struct evidence *evidence)
{
	const struct judge_metric_state *state = judging->state;

	if (state->has_crossed && role_of(judging->metric) == ROLE_ACTS)
		return VERDICT_ROLLBACK;
	if (judging->out->left_out)
		return VERDICT_NODATA;
	if (state->has_passed)
		return VERDICT_PROMOTE;
	/* Where no control is left, nothing can pass but by a limit; yet there are clients. */
	if (evidence->lack == LACK_ARMS && evidence->clients)
		return VERDICT_CONTINUE;
	return evidence->lack == LACK_NOTHING ? VERDICT_CONTINUE : VERDICT_NODATA;
}

static void describe(const struct judging *judging, const struct evidence *evidence,
		     const struct weight *weight)
{
	const struct judge *judge = judging->look->judge;
	struct metric_judgement *out = judging->out;

	words_measure(judge->rollout, evidence, out);
	if (judging->state->has_crossed)
		snprintf(out->reason, REASON_SIZE, "%s", judging->state->reason);
	else if (out->left_out)
		snprintf(out->reason, REASON_SIZE,
			 "uninformative here, left out: %" PRIu64 " of %" PRIu64
			 " clients of control have it",
			 out->control_events, out->control_clients);
	else if (weight->is_of_limit)
		words_limit(judging->metric, evidence, out->reason);
	else if (evidence->lack != LACK_NOTHING)
		words_lack(judge, judging->metric, evidence, judging->look->now_ns, out->reason);
	else
		words_compare(judging->metric, evidence, out, out->reason);
}

static void judge_by_e_value(const struct judging *judging, size_t index)
{
	struct look *look = judging->look;
	struct metric_judgement *out = judging->out;
	struct evidence evidence;
	struct weight weight;

	gather(judging, index, &evidence);
	look_at_control(judging, &evidence);
	weight = weigh(judging, &evidence);
	test(judging, &evidence, &weight);
	test_earlier_windows(judging, &look->input->windows[index]);
	out->log_e = judging->state->has_crossed ? judging->state->log_e : weight.log_e;
	out->log_e_promote = weight.log_e_promote;
	out->left_out = judging->state->is_uninformative && !has_limit(judging->metric);
	out->verdict = verdict_of(judging, &evidence);
	out->canary_clients = evidence.canary_clients;
	out->control_clients = evidence.control_clients;
	out->canary_events = evidence.count ? evidence.comparisons->canary_events : 0;
	out->control_events = evidence.count ? evidence.comparisons->control_events : 0;
	if (look->with_words)
		describe(judging, &evidence, &weight);
}

static void judge_by_samples(const struct judging *judging)
{
	const struct judge_metric_state *state = judging->state;
	struct metric_judgement *out = judging->out;

	if (state->has_crossed)
		out->verdict = VERDICT_ROLLBACK;
	else if (state->last == JUDGE_SAMPLE_NONE || state->last == JUDGE_SAMPLE_NODATA)
		out->verdict = VERDICT_NODATA;
	else if (state->last == JUDGE_SAMPLE_PASSED && state->has_passed)
		out->verdict = VERDICT_PROMOTE;
	else
		out->verdict = VERDICT_CONTINUE;
	if (state->has_crossed)
		snprintf(out->reason, REASON_SIZE, "%s", state->reason);
	else if (judging->look->with_words)
		words_samples(&judging->look->judge->state, state, judging->look->now_ns,
			      out->reason);
}

struct metric_judgement *add_metric(struct look *look, const char *name, bool critical)
{
	struct metric_judgement *out = &look->out->metrics[look->out->metrics_count++];

	*out = (struct metric_judgement){
		.verdict = VERDICT_NODATA,
		.critical = critical,
		.log_e = NAN,
		.log_e_promote = NAN,
		.psi = NAN,
		.low = NAN,
		.high = NAN,
		.canary_clients = COUNT_UNKNOWN,
		.canary_events = COUNT_UNKNOWN,
		.control_clients = COUNT_UNKNOWN,
		.control_events = COUNT_UNKNOWN,
	};
	snprintf(out->name, sizeof(out->name), "%s", name);
	return out;
}

void judge_metric(struct look *look, size_t index)
{
	const struct rollout_metric *metric = &look->judge->rollout->metrics[index];
	struct judging judging = {
		.look = look,
		.metric = metric,
		.state = &look->judge->state.metrics[index],
		.out = add_metric(look, metric->name, metric->critical),
	};

	if (role_of(metric) == ROLE_SAMPLES)
		judge_by_samples(&judging);
	else
		judge_by_e_value(&judging, index);
}
