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
