// SPDX-License-Identifier: GPL-2.0-only
#include "rollout/pairs.h"

#include <math.h>

bool pair_is_counter(double number)
{
	return number >= 0 && number <= PAIR_MOST;
}

static uint64_t increment(double before, double after)
{
	return after < before ? (uint64_t)after : (uint64_t)after - (uint64_t)before;
}

void pair_increments(const struct followed_pair *before, const struct followed_pair *after,
		     uint64_t *k, uint64_t *n)
{
	*k = increment(before->canary, after->canary);
	*n = *k + increment(before->control, after->control);
}

const struct followed_window *pair_window(const struct followed *followed, uint64_t settle_ns,
					  uint64_t from_ns, uint64_t to_ns)
{
	const struct followed_window *window = follow_window_at(followed, from_ns);
	uint64_t changed_ns = followed->changed_ns;

	if (!window || window != follow_window_at(followed, to_ns))
		return NULL;
	if (changed_ns <= to_ns && from_ns < changed_ns + settle_ns)
		return NULL;
	return window;
}

/* ---- traffic ---- */

bool pair_traffic_is_none(const struct pair_traffic *traffic)
{
	double all = traffic->canary + traffic->control;

	for (size_t rule = 0; rule < RULES_MAX; rule++)
		all += traffic->rules[rule];
	return !(all > 0);
}

static double passed(double before, double now)
{
	return now > before ? now - before : 0;
}

struct pair_traffic pair_traffic_since(const struct pair_traffic *before,
				       const struct pair_traffic *now)
{
	struct pair_traffic since = {
		.canary = passed(before->canary, now->canary),
		.control = passed(before->control, now->control),
	};

	for (size_t rule = 0; rule < RULES_MAX; rule++)
		since.rules[rule] = passed(before->rules[rule], now->rules[rule]);
	return pair_traffic_is_none(&since) ? *now : since;
}

double pair_expected(const struct pair_traffic *traffic,
		     const uint32_t shares[RULES_MAX][COHORTS_MAX], size_t rules, size_t canary)
{
	double of_canary = traffic->canary, of_control = traffic->control;

	for (size_t rule = 0; rule < rules; rule++) {
		of_canary += traffic->rules[rule] * shares[rule][canary] / 1e6;
		of_control += traffic->rules[rule] * shares[rule][0] / 1e6;
	}
	return of_canary + of_control > 0 ? of_canary / (of_canary + of_control) : NAN;
}

/* ---- the tally ---- */

int pair_tally(struct followed *followed, const struct service *service, size_t metric,
	       const struct followed_pair *now, uint64_t answered_ns,
	       const struct pair_traffic *traffic)
{
	const struct followed_pair before = followed->pairs[metric];
	const struct followed_window *window = pair_window(
		followed, service->rollout.settle_ms * 1000000, before.time_ns, answered_ns);
	uint64_t k, n;
	double pi;

	followed->pairs[metric] = *now;
	if (!before.is_known || !window)
		return 0;
	pair_increments(&before, now, &k, &n);
	pi = pair_expected(traffic, window->shares, service->rules_count, rollout_cohort(service));
	if (!n || !(pi > 0) || !(pi < 1))
		return 0;
	return follow_tally(followed, metric, window->window, 0, k, n, pi);
}
