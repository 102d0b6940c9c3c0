/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Values of a feature cut into bins, bit for bit as pandas 1.5 and numpy 1.24 do (Debian 12), with
 * the column as float64. Pure.
 *
 *	cut: N		pandas.cut(x, N)
 *	qcut: N		pandas.qcut(x, N, duplicates="drop")
 *	log: N		pandas.cut(log1p(x), N), log1p being the C library's
 *	edges: [..]	pandas.cut(x, edges)
 *
 * A bin holds its upper edge, not its lower one. What pandas leaves without a bin because it lies
 * outside of all edges is in the end bin on its side; include_lowest so makes no difference. NULL
 * has no bin: whoever asks leaves it out.
 */
#ifndef XDP_CANARY_BINS_H
#define XDP_CANARY_BINS_H

#include "policy/policy.h"
#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NO_BIN UINT32_MAX

struct bin_edges {
	/*
	 * Of bins. Equal quantiles are one edge, so qcut may give fewer than were asked for, and
	 * none at all where all values are equal (pandas: every value NaN).
	 */
	size_t count;
	double *edges;	 /* count + 1, ascending */
	bool is_log;	 /* edges are of log1p(value): bin_edge() has them of values */
	uint64_t *sizes; /* of each bin: how many of the values are in it */
	uint64_t values; /* of the population */
};

/*
 * The edges that @values (finite, in any order, @count of them) give. Errors, about @object:
 * -ENODATA there are no values to find edges of; -EDOM a value is infinite, NaN, or not above -1
 * with log; -ERANGE edges that cannot be told apart or are beyond a double (where pandas raises
 * ValueError, answers NaN, or, between denormal numbers, searches in edges that do not ascend);
 * -EINVAL edges that do not ascend; -ENOMEM.
 */
int bins_make(const struct segment_bins *bins, const double *values, size_t count,
	      struct bin_edges *out, const char *object, struct errors *errors);
void bin_edges_release(struct bin_edges *edges);

/* The bin of a value, the lowest is 0; NO_BIN where there are none, or it is NaN. */
uint32_t bin_of(const struct bin_edges *edges, double value);
/* Edge @index, 0 to count, as a value of the feature: with log, expm1() of the exact one. */
double bin_edge(const struct bin_edges *edges, size_t index);

#endif
