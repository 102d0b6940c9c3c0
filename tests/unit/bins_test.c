// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bins: what a reader can check by hand, and the errors. tests/reference/test_bins.py compares all
 * of it with pandas.
 */
#include "segment/bins.h"

#include <stdarg.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct bin_edges made(enum bin_method method, uint32_t count, const double *values,
			     size_t values_count)
{
	struct segment_bins bins = {.method = method, .count = count};
	struct bin_edges edges;

	assert_int_equal(0, bins_make(&bins, values, values_count, &edges, "bins", NULL));
	return edges;
}

static void a_bin_holds_its_upper_edge_and_the_lowest_edge_is_moved_down(void **state)
{
	static const double values[] = {0, 1, 2, 3, 4};
	struct bin_edges edges = made(BINS_CUT, 2, values, COUNT(values));

	(void)state;
	assert_int_equal(2, edges.count);
	assert_true(edges.edges[0] == -0.004 && edges.edges[1] == 2 && edges.edges[2] == 4);
	assert_int_equal(0, bin_of(&edges, 0));
	assert_int_equal(0, bin_of(&edges, 2));
	assert_int_equal(1, bin_of(&edges, nextafter(2, 3)));
	assert_int_equal(3, edges.sizes[0]);
	assert_int_equal(2, edges.sizes[1]);
	assert_int_equal(5, edges.values);
	bin_edges_release(&edges);
}

static void values_outside_of_the_edges_are_in_the_end_bins(void **state)
{
	double given[] = {1, 2, 3};
	static const double values[] = {-5, 1, 1.5, 2.5, 3, 99};
	struct segment_bins bins = {.method = BINS_EDGES, .edges = given, .edges_count = 3};
	struct bin_edges edges;

	(void)state;
	assert_int_equal(0, bins_make(&bins, values, COUNT(values), &edges, "bins", NULL));
	assert_int_equal(0, bin_of(&edges, -5));
	assert_int_equal(0, bin_of(&edges, 1));
	assert_int_equal(1, bin_of(&edges, 99));
	assert_int_equal(3, edges.sizes[0]);
	assert_int_equal(3, edges.sizes[1]);
	assert_int_equal(NO_BIN, bin_of(&edges, NAN));
	bin_edges_release(&edges);
}

static void equal_quantiles_are_one_edge(void **state)
{
	static const double values[] = {0, 0, 0, 0, 0, 0, 0, 7, 8, 9};
	struct bin_edges edges = made(BINS_QCUT, 4, values, COUNT(values));

	(void)state;
	assert_int_equal(2, edges.count);
	assert_true(edges.edges[0] == 0 && edges.edges[1] == 5.25 && edges.edges[2] == 9);
	assert_int_equal(7, edges.sizes[0]);
	bin_edges_release(&edges);
}

static void a_constant_has_no_quantiles_but_bins_of_equal_width(void **state)
{
	static const double values[] = {5, 5, 5};
	struct bin_edges edges = made(BINS_QCUT, 4, values, COUNT(values));

	(void)state;
	assert_int_equal(0, edges.count);
	assert_int_equal(NO_BIN, bin_of(&edges, 5));
	bin_edges_release(&edges);
	edges = made(BINS_CUT, 4, values, COUNT(values));
	assert_int_equal(4, edges.count);
	assert_int_equal(1, bin_of(&edges, 5));
	bin_edges_release(&edges);
}

static void the_edges_of_logarithms_are_shown_as_values(void **state)
{
	static const double values[] = {0, 9, 99, 999};
	struct bin_edges edges = made(BINS_LOG, 3, values, COUNT(values));

	(void)state;
	assert_true(edges.is_log && edges.edges[3] == log1p(999));
	assert_true(fabs(bin_edge(&edges, 1) - 9) < 1e-9);
	assert_true(fabs(bin_edge(&edges, 2) - 99) < 1e-9);
	assert_int_equal(2, bin_of(&edges, 500));
	assert_int_equal(NO_BIN, bin_of(&edges, -3));
	bin_edges_release(&edges);
}

static void assert_refused(int code, const char *text, enum bin_method method, uint32_t count,
			   const double *values, size_t values_count)
{
	struct segment_bins bins = {.method = method, .count = count};
	struct errors *errors = errors_new();
	struct bin_edges edges;
	json_t *list;
	char *dump;

	assert_int_equal(-code, bins_make(&bins, values, values_count, &edges,
					  "segments/light/bins", errors));
	assert_null(edges.edges);
	list = errors_to_json(errors);
	dump = json_dumps(list, 0);
	assert_non_null(strstr(dump, "segments/light/bins"));
	if (!strstr(dump, text))
		fail_msg("`%s` is not in %s", text, dump);
	free(dump);
	json_decref(list);
	errors_free(errors);
}

static void what_cannot_be_cut_is_refused_with_what_to_do(void **state)
{
	static const double infinite[] = {1, INFINITY}, unknown[] = {NAN}, below[] = {-1};
	static const double far[] = {-1.7e308, 1.7e308}, close[] = {0x1p53, 0x1p53 + 4};

	(void)state;
	assert_refused(ENODATA, "widen its `where`", BINS_CUT, 2, NULL, 0);
	assert_refused(EDOM, "the value inf is not finite", BINS_QCUT, 2, infinite, 2);
	assert_refused(EDOM, "not finite", BINS_CUT, 2, unknown, 1);
	assert_refused(EDOM, "-1 has no log1p", BINS_LOG, 2, below, 1);
	assert_refused(ERANGE, "too far apart", BINS_CUT, 2, far, 2);
	assert_refused(ERANGE, "too close together for 10 bins", BINS_CUT, 10, close, 2);
	assert_refused(EINVAL, "there is no bin", BINS_CUT, 0, close, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bin_holds_its_upper_edge_and_the_lowest_edge_is_moved_down),
		cmocka_unit_test(values_outside_of_the_edges_are_in_the_end_bins),
		cmocka_unit_test(equal_quantiles_are_one_edge),
		cmocka_unit_test(a_constant_has_no_quantiles_but_bins_of_equal_width),
		cmocka_unit_test(the_edges_of_logarithms_are_shown_as_values),
		cmocka_unit_test(what_cannot_be_cut_is_refused_with_what_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
