// SPDX-License-Identifier: GPL-2.0-only
/*
 * Edges and bins in the arithmetic of numpy.linspace(), numpy.quantile() (method "linear") and
 * pandas' tile.py: the same operations on doubles in the same order, none of them fused (the
 * Makefile's -ffp-contract=off), so that every bit is the same.
 */
#include "segment/bins.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How far pandas moves the lowest edge down, as a part of the range. */
#define EXTENSION 0.001

static int refuse_memory(const char *object, struct errors *errors)
{
	return errors_add_code(errors, ENOMEM, object, "free some memory", "there is no memory");
}

/* ---- what numpy does ---- */

/*
 * numpy.linspace(start, stop, bins + 1) into @edges. What numpy does otherwise where the step
 * underflows to 0 makes no difference: then some edges are equal, which is refused.
 */
static void linspace(double start, double stop, size_t bins, double *edges)
{
	double step = (stop - start) / bins;

	for (size_t i = 0; i < bins; i++)
		edges[i] = i * step + start;
	edges[bins] = stop;
}

/* numpy's _lerp(): from both ends, so that it is exact at each. */
static double interpolate(double low, double high, double part)
{
	double difference = high - low;

	if (part >= 0.5)
		return high - difference * (1 - part);
	return low + difference * part;
}

/* numpy.quantile(values, part), of @count sorted values. */
static double quantile(const double *sorted, size_t count, double part)
{
	double place = (count - 1) * part, below = floor(place);

	if (place >= count - 1)
		return sorted[count - 1];
	return interpolate(sorted[(size_t)below], sorted[(size_t)below + 1], place - below);
}

/* ---- what pandas does ---- */

static int compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static void cut(const double *values, size_t count, struct bin_edges *out)
{
	double lowest = values[0], highest = values[0];

	for (size_t i = 1; i < count; i++) {
		lowest = values[i] < lowest ? values[i] : lowest;
		highest = values[i] > highest ? values[i] : highest;
	}
	if (lowest == highest) {
		lowest -= lowest != 0 ? EXTENSION * fabs(lowest) : EXTENSION;
		highest += highest != 0 ? EXTENSION * fabs(highest) : EXTENSION;
		linspace(lowest, highest, out->count, out->edges);
	} else {
		linspace(lowest, highest, out->count, out->edges);
		out->edges[0] -= (highest - lowest) * EXTENSION;
	}
}

/* Of equal edges the first stays, but the two of a single bin stay both: so pandas has it. */
static void drop_duplicates(struct bin_edges *out)
{
	size_t kept = 1;

	if (out->count == 1)
		return;
	for (size_t i = 1; i <= out->count; i++)
		if (out->edges[i] != out->edges[kept - 1])
			out->edges[kept++] = out->edges[i];
	out->count = kept - 1;
}

/* @values are sorted by this. */
static void qcut(double *values, size_t count, struct bin_edges *out)
{
	qsort(values, count, sizeof(*values), compare_doubles);
	linspace(0, 1, out->count, out->edges);
	for (size_t i = 0; i <= out->count; i++)
		out->edges[i] = quantile(values, count, out->edges[i]);
	drop_duplicates(out);
}

/* ---- both ---- */

static bool is_finite(const struct bin_edges *out)
{
	for (size_t i = 0; i <= out->count; i++)
		if (!isfinite(out->edges[i]))
			return false;
	return true;
}

/* pandas raises for equal edges, except the two of a single bin. */
static bool is_ascending(const struct bin_edges *out)
{
	for (size_t i = 0; i < out->count; i++)
		if (!(out->edges[i] < out->edges[i + 1]) && out->count > 1)
			return false;
	return true;
}

static int check_found(const struct bin_edges *out, const char *object, struct errors *errors)
{
	if (!is_finite(out))
		return errors_add_code(errors, ERANGE, object, "give `edges` instead",
				       "the values are too far apart to be cut");
	if (!is_ascending(out))
		return errors_add_code(errors, ERANGE, object, "use fewer bins, or `qcut`",
				       "the values are too close together for %zu bins",
				       out->count);
	return 0;
}

static int check_given(const struct bin_edges *out, const char *object, struct errors *errors)
{
	bool wrong = !is_ascending(out);

	for (size_t i = 0; i <= out->count; i++)
		wrong |= isnan(out->edges[i]) != 0;
	if (wrong || (out->count == 1 && !(out->edges[0] < out->edges[1])))
		return errors_add(errors, NULL, object, "sort them and drop duplicates",
				  "the edges do not ascend");
	return 0;
}

/* A copy, to be sorted, of which the logarithm was taken where that is cut. */
static int copy_values(const double *values, size_t count, bool is_log, double **out,
		       const char *object, struct errors *errors)
{
	double *copy = malloc((count ? count : 1) * sizeof(*copy));

	if (!copy)
		return refuse_memory(object, errors);
	for (size_t i = 0; i < count; i++) {
		/* Adding 0 makes a 0 of -0, whose place among zeros no sort tells. */
		copy[i] = (is_log ? log1p(values[i]) : values[i]) + 0.0;
		if (isfinite(copy[i]))
			continue;
		free(copy);
		if (isfinite(values[i]))
			return errors_add_code(errors, EDOM, object, "use `cut`, `qcut` or `edges`",
					       "%g has no log1p: values must be above -1",
					       values[i]);
		return errors_add_code(errors, EDOM, object, "leave it out with `where`",
				       "the value %g is not finite", values[i]);
	}
	*out = copy;
	return 0;
}

static int find_edges(const struct segment_bins *bins, double *values, size_t count,
		      struct bin_edges *out, const char *object, struct errors *errors)
{
	if (bins->method == BINS_EDGES) {
		memcpy(out->edges, bins->edges, bins->edges_count * sizeof(*out->edges));
		return check_given(out, object, errors);
	}
	if (!count)
		return errors_add_code(errors, ENODATA, object,
				       "import values, or widen its `where`",
				       "no client has a value that could be cut");
	if (bins->method == BINS_QCUT)
		qcut(values, count, out);
	else
		cut(values, count, out);
	return check_found(out, object, errors);
}

/* By searchsorted(side="left") - 1, and the ends hold what lies outside. */
static uint32_t search(const struct bin_edges *edges, double value)
{
	size_t low = 0, high = edges->count + 1;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (edges->edges[middle] < value)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return 0;
	return low > edges->count ? edges->count - 1 : low - 1;
}

static void count_sizes(struct bin_edges *out, const double *values, size_t count)
{
	out->values = count;
	for (size_t i = 0; i < count && out->count; i++)
		out->sizes[search(out, values[i])]++;
}

int bins_make(const struct segment_bins *bins, const double *values, size_t count,
	      struct bin_edges *out, const char *object, struct errors *errors)
{
	bool is_given = bins->method == BINS_EDGES;
	size_t edges_count = is_given ? bins->edges_count : (size_t)bins->count + 1;
	double *copy = NULL;
	int error;

	*out = (struct bin_edges){.is_log = bins->method == BINS_LOG};
	if (edges_count < 2)
		return errors_add(errors, NULL, object,
				  is_given ? "give two edges or more" : "ask for one or more",
				  "there is no bin");
	out->count = edges_count - 1;
	out->edges = calloc(edges_count, sizeof(*out->edges));
	out->sizes = calloc(edges_count, sizeof(*out->sizes));
	if (out->edges && out->sizes)
		error = copy_values(values, count, out->is_log, &copy, object, errors);
	else
		error = refuse_memory(object, errors);
	if (!error)
		error = find_edges(bins, copy, count, out, object, errors);
	if (error)
		bin_edges_release(out);
	else
		count_sizes(out, copy, count);
	free(copy);
	return error;
}

void bin_edges_release(struct bin_edges *edges)
{
	free(edges->edges);
	free(edges->sizes);
	*edges = (struct bin_edges){0};
}

uint32_t bin_of(const struct bin_edges *edges, double value)
{
	if (edges->is_log)
		value = log1p(value);
	return edges->count && !isnan(value) ? search(edges, value) : NO_BIN;
}

double bin_edge(const struct bin_edges *edges, size_t index)
{
	return edges->is_log ? expm1(edges->edges[index]) : edges->edges[index];
}
