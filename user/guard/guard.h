/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tests that may be looked at all the time (docs/architecture.md, "The guard"): e-values of the
 * events of distinct clients in windows. Pure, in the log domain, for any counts up to 10^9 and
 * more: no function overflows, whatever it is given. All that a test keeps of the past is one
 * struct guard_stratum for each stratum, to whose k and n the caller adds what came.
 *
 * Given an event, it is the canary's with probability q = pi psi / (1 - pi + pi psi), where pi is
 * the exact share of the canary among the followed clients and psi the ratio of the canary's rate
 * of events to the control's. Of all strata together, but for what does not depend on psi,
 *
 *	L(psi) = sum of k ln psi - n ln(1 + pi (psi - 1)).
 *
 * For a psi fixed beforehand, exp(L(psi) - L(psi0)) is a likelihood ratio, so a martingale where
 * psi0 is true; and so is a mean of such. By Ville's inequality it ever reaches 1/alpha with a
 * probability of at most alpha, at however many looks. (Ville 1939; Johari et al., "Always valid
 * inference"; Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS
 * 2022; Howard and Ramdas, "Time-uniform, nonparametric, nonasymptotic confidence sequences".)
 *
 * Logarithms are natural. No strata, no events, or strata without both arms: E = 1, so 0.
 */
#ifndef XDP_CANARY_GUARD_H
#define XDP_CANARY_GUARD_H

#include <stddef.h>
#include <stdint.h>

/* One rule's part of a window, in which pi is constant. */
struct guard_stratum {
	uint64_t k, n; /* events of the canary, of both; k <= n */
	double pi;     /* 0 to 1; at 0 and at 1 there is nothing to compare: it says nothing */
};

/*
 * ln of the threshold of window @window (0, 1, ... of the rollout) at @level (alpha, of one metric,
 * or beta): (i + 1)(i + 2) / level. Over all windows these spend the level exactly, for the
 * reciprocals of (i + 1)(i + 2) sum to 1.
 */
double guard_log_threshold(uint32_t window, double level);

/*
 * Rollback, H0: psi <= @psi0 (> 0). ln of the mean of exp(L(psi_j) - L(psi0)) over
 * psi_j = psi0 2^(j/2), j = 1..12.
 */
double guard_log_e(const struct guard_stratum *strata, size_t count, double psi0);
/* Promote, H0: psi >= @psi1 (> 0). L(1) - L(psi1). */
double guard_log_e_promote(const struct guard_stratum *strata, size_t count, double psi1);
/*
 * Sample ratio, H0: psi = 1; the strata are of first sights. ln of the mean of exp(L(psi_j)) over
 * psi_j = 1 +- {.005 .01 .02 .05 .1 .25 .5}.
 */
double guard_log_e_ratio(const struct guard_stratum *strata, size_t count);

/* The psi that is most likely: NAN without events, 0 or INFINITY where only one arm has any. */
double guard_psi(const struct guard_stratum *strata, size_t count);
/*
 * All psi with ln mean_j exp(L(2^(j/2))) - L(psi) < ln 1/alpha, j = -12..12: those that the events
 * do not speak against, at level 1 - @alpha and at every look. From 0, where the canary has no
 * event; to INFINITY, where the control has none.
 */
void guard_interval(const struct guard_stratum *strata, size_t count, double alpha, double *low,
		    double *high);

/*
 * Absolute, H0: a client of the canary has an event with probability p <= @p0 (0 to 1); @k of @n
 * clients have. The mean over p_j whose odds are those of p0 times 2^(j/2), j = 1..12. At p0 = 0
 * one event decides: INFINITY.
 */
double guard_log_e_absolute(uint64_t k, uint64_t n, double p0);
/* Certify, H0: p >= @p0. The mean over p_j = p0 {0, 1/8, 1/4, 1/2}; -INFINITY to INFINITY. */
double guard_log_e_certify(uint64_t k, uint64_t n, double p0);

/*
 * ln of the mean of exp(@log_e[]): the e-value of several tests of one hypothesis, all fixed
 * beforehand.
 */
double guard_log_mean(const double *log_e, size_t count);

#endif
