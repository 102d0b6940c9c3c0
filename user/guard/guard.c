// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel of every test is L(psi) of guard.h. Differences of it are taken term by term, ratio by
 * ratio, so that counts of 10^9 cost no more than the last digits of a double; sums of exponentials
 * are taken after the largest is drawn out of them.
 */
#include "guard/guard.h"

#include <math.h>
#include <stdbool.h>

#define ALTERNATIVES 12 /* psi0 2^(1/2) to psi0 2^6 */
#define GRID_END     12 /* of intervals: 2^-6 to 2^6 */
#define GRID	     (2 * GRID_END + 1)

static bool is_informative(const struct guard_stratum *stratum)
{
	return stratum->n && stratum->pi > 0 && stratum->pi < 1;
}

double guard_log_threshold(uint32_t window, double level)
{
	return log(window + 1.0) + log(window + 2.0) - log(level);
}

double guard_log_mean(const double *log_e, size_t count)
{
	double highest = -INFINITY, sum = 0;

	for (size_t i = 0; i < count; i++)
		highest = fmax(highest, log_e[i]);
	if (!count)
		return 0;
	if (isinf(highest))
		return highest;
	for (size_t i = 0; i < count; i++)
		sum += exp(log_e[i] - highest);
	return highest + log(sum / (double)count);
}

/* L(to) - L(from). */
static double gain(const struct guard_stratum *strata, size_t count, double from, double to)
{
	double log_ratio = log(to / from), sum = 0;

	for (size_t i = 0; i < count; i++) {
		const struct guard_stratum *stratum = &strata[i];
		double at_from = 1 + stratum->pi * (from - 1);

		if (is_informative(stratum))
			sum += (double)stratum->k * log_ratio -
			       (double)stratum->n * log1p(stratum->pi * (to - from) / at_from);
	}
	return sum;
}

/* 2^(@halves / 2), exactly where it is a power of two. */
static double root_of_two(int halves)
{
	return ldexp(halves & 1 ? M_SQRT2 : 1, halves >> 1);
}

double guard_log_e(const struct guard_stratum *strata, size_t count, double psi0)
{
	double log_e[ALTERNATIVES];

	for (int j = 1; j <= ALTERNATIVES; j++)
		log_e[j - 1] = gain(strata, count, psi0, psi0 * root_of_two(j));
	return guard_log_mean(log_e, ALTERNATIVES);
}

double guard_log_e_promote(const struct guard_stratum *strata, size_t count, double psi1)
{
	return gain(strata, count, psi1, 1);
}

double guard_log_e_ratio(const struct guard_stratum *strata, size_t count)
{
	static const double off[] = {.005, .01, .02, .05, .1, .25, .5};
	double log_e[2 * sizeof(off) / sizeof(*off)];
	size_t used = 0;

	for (size_t i = 0; i < sizeof(off) / sizeof(*off); i++) {
		log_e[used++] = gain(strata, count, 1, 1 - off[i]);
		log_e[used++] = gain(strata, count, 1, 1 + off[i]);
	}
	return guard_log_mean(log_e, used);
}

/* ---- psi and its interval, by u = ln psi ---- */

/* L(e^u); -INFINITY where e^u is beyond a double and not all events are the canary's. */
static double likelihood(const struct guard_stratum *strata, size_t count, double u)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++) {
		const struct guard_stratum *stratum = &strata[i];

		if (is_informative(stratum))
			sum += (double)stratum->k * u -
			       (double)stratum->n * log1p(stratum->pi * expm1(u));
	}
	return sum;
}

/* dL/du: the canary's events less those that psi leads one to expect. It falls as u grows. */
static double slope(const struct guard_stratum *strata, size_t count, double u)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++) {
		const struct guard_stratum *stratum = &strata[i];
		double pi = stratum->pi;

		if (is_informative(stratum))
			sum += (double)stratum->k -
			       (double)stratum->n * pi / (pi + (1 - pi) * exp(-u));
	}
	return sum;
}

/* Does the place looked for lie further from 0 (of the slope), or from the peak, than @u? */
typedef bool (*lies_beyond)(const struct guard_stratum *strata, size_t count, double u,
			    double level);

static bool peak_is_above(const struct guard_stratum *strata, size_t count, double u, double level)
{
	(void)level;
	return slope(strata, count, u) > 0;
}

static bool peak_is_below(const struct guard_stratum *strata, size_t count, double u, double level)
{
	(void)level;
	return slope(strata, count, u) < 0;
}

static bool is_likely(const struct guard_stratum *strata, size_t count, double u, double level)
{
	return likelihood(strata, count, u) > level;
}

/*
 * Goes from @from, in steps that double, until the place is passed, then bisects to the last bit.
 * The place exists, but may be beyond what exp() can tell from 0 or INFINITY: no need to go on.
 */
static double search(const struct guard_stratum *strata, size_t count, double from, double step,
		     lies_beyond is_beyond, double level)
{
	double near = from, far = from + step, middle;

	while (fabs(far) < 2048 && is_beyond(strata, count, far, level)) {
		near = far;
		step *= 2;
		far += step;
	}
	for (;;) {
		middle = near + (far - near) / 2;
		if (middle == near || middle == far)
			return middle;
		if (is_beyond(strata, count, middle, level))
			near = middle;
		else
			far = middle;
	}
}

/* Events of the canary and of both, where there is something to compare. */
static struct guard_stratum total(const struct guard_stratum *strata, size_t count)
{
	struct guard_stratum sum = {0};

	for (size_t i = 0; i < count; i++) {
		if (!is_informative(&strata[i]))
			continue;
		sum.k += strata[i].k;
		sum.n += strata[i].n;
	}
	return sum;
}

static double peak(const struct guard_stratum *strata, size_t count)
{
	return slope(strata, count, 0) > 0 ? search(strata, count, 0, 1, peak_is_above, 0)
					   : search(strata, count, 0, -1, peak_is_below, 0);
}

double guard_psi(const struct guard_stratum *strata, size_t count)
{
	struct guard_stratum sum = total(strata, count);

	if (!sum.n)
		return NAN;
	if (!sum.k)
		return 0;
	return sum.k == sum.n ? INFINITY : exp(peak(strata, count));
}

void guard_interval(const struct guard_stratum *strata, size_t count, double alpha, double *low,
		    double *high)
{
	struct guard_stratum sum = total(strata, count);
	double log_e[GRID], level, from = 0;

	*low = 0;
	*high = INFINITY;
	if (!sum.n)
		return;
	for (int j = -GRID_END; j <= GRID_END; j++)
		log_e[j + GRID_END] = likelihood(strata, count, j * M_LN2 / 2);
	level = guard_log_mean(log_e, GRID) + log(alpha);
	/* Without a peak between, L rises or falls for ever: any likely place will do. */
	if (sum.k && sum.k < sum.n)
		from = peak(strata, count);
	else
		from = (sum.k ? 1 : -1) * (GRID_END + 1) * M_LN2 / 2;
	if (sum.k)
		*low = exp(search(strata, count, from, -1, is_likely, level));
	if (sum.k < sum.n)
		*high = exp(search(strata, count, from, 1, is_likely, level));
}

/* ---- absolute limits ---- */

double guard_log_e_absolute(uint64_t k, uint64_t n, double p0)
{
	/*
	 * With odds r times those of p0, p/p0 = r / (1 + p0 (r - 1)) and
	 * (1 - p)/(1 - p0) = 1 / (1 + p0 (r - 1)): the kernel again, p0 in the place of pi.
	 */
	struct guard_stratum clients = {k, n, p0};

	if (p0 <= 0)
		return k ? INFINITY : 0;
	return guard_log_e(&clients, 1, 1);
}

double guard_log_e_certify(uint64_t k, uint64_t n, double p0)
{
	static const double parts[] = {0, 1. / 8, 1. / 4, 1. / 2};
	double log_e[sizeof(parts) / sizeof(*parts)];

	if (p0 <= 0) /* no p is below it */
		return k ? -INFINITY : 0;
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		double clean = p0 < 1 ? log1p(p0 * (1 - parts[i]) / (1 - p0)) : INFINITY;

		log_e[i] = k ? (double)k * log(parts[i]) : 0;
		if (n > k && !isinf(log_e[i]))
			log_e[i] += (double)(n - k) * clean;
	}
	return guard_log_mean(log_e, sizeof(parts) / sizeof(*parts));
}
