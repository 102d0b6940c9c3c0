/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tests that may be looked at all the time (docs/architecture.md, "The guard"): e-values of the
 * events of distinct clients in windows. Pure, in the log domain, for any counts up to 10^9 and
 * more.
 *
 * Given an event, it is the canary's with probability pi psi / (1 - pi + pi psi), where pi is the
 * share of the canary among the followed clients and psi the ratio of its rate to the control's.
 * L(psi) = sum over strata of k ln psi - n ln(1 + pi (psi - 1)).
 */
#ifndef XDP_CANARY_GUARD_H
#define XDP_CANARY_GUARD_H

#include <stddef.h>
#include <stdint.h>

/* One rule's part of a window, in which pi is constant. */
struct guard_stratum {
	uint64_t k, n; /* events of the canary, of both */
	double pi;     /* 0 to 1; at 0 and 1 it says nothing */
};

/* ln of the threshold of window @window (0, 1, ... of the rollout): (i + 1)(i + 2) / level. */
double guard_log_threshold(uint32_t window, double level);
/* Rollback, H0: psi <= @psi0. ln E. */
double guard_log_e(const struct guard_stratum *strata, size_t count, double psi0);
/* Promote, H0: psi >= @psi1. ln E. */
double guard_log_e_promote(const struct guard_stratum *strata, size_t count, double psi1);
/* The most likely psi (NAN without events), and the interval at level 1 - @alpha around it. */
double guard_psi(const struct guard_stratum *strata, size_t count);
void guard_interval(const struct guard_stratum *strata, size_t count, double alpha, double *low,
		    double *high);
/* Sample ratio: the strata are of first sights. ln E against psi = 1. */
double guard_log_e_ratio(const struct guard_stratum *strata, size_t count);
/* Absolute, H0: p <= @p0, with @k of @n clients. ln E. */
double guard_log_e_absolute(uint64_t k, uint64_t n, double p0);
/* Certify, H0: p >= @p0. ln E. */
double guard_log_e_certify(uint64_t k, uint64_t n, double p0);
/* ln of the mean of exp(@log_e[]): of several tests of one hypothesis fixed beforehand. */
double guard_log_mean(const double *log_e, size_t count);

#endif
