// SPDX-License-Identifier: GPL-2.0-only
/*
 * Medians, budgets, the table and the JSON. Ratios are of one round each, so that what drifts
 * slowly cancels; of the rounds the slower half is left out, whichever case it was slow in.
 */
#include "bench.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* @values is sorted; @part 0.5: the median. */
static double quantile(const double *values, double part)
{
	return values[(size_t)(part * (QUIET - 1) + 0.5)];
}

struct round {
	size_t number;
	double ns; /* of all cases */
};

static int compare_rounds(const void *left, const void *right)
{
	return compare_doubles(&((const struct round *)left)->ns,
			       &((const struct round *)right)->ns);
}

/* Moves the quiet rounds to the front of every case's. */
static void sort_rounds(struct plans *plans)
{
	struct round rounds[ROUNDS] = {0};
	double sorted[ROUNDS];
	size_t i, j;

	for (i = 0; i < ROUNDS; i++) {
		rounds[i].number = i;
		for (j = 0; j < plans->count; j++)
			rounds[i].ns += plans->cases[j].ns[i];
	}
	qsort(rounds, ROUNDS, sizeof(*rounds), compare_rounds);
	for (j = 0; j < plans->count; j++) {
		for (i = 0; i < ROUNDS; i++)
			sorted[i] = plans->cases[j].ns[rounds[i].number];
		memcpy(plans->cases[j].ns, sorted, sizeof(sorted));
	}
}

static const struct case_plan *plan_by_name(const struct plans *plans, const char *name)
{
	size_t i;

	for (i = 0; i < plans->count; i++)
		if (!strcmp(plans->cases[i].name, name))
			return &plans->cases[i];
	fprintf(stderr, "bench: no case is called %s\n", name);
	exit(2);
}

/* The case against its base: a ratio, or nanoseconds where the budget is in these. */
static void evaluate(const struct plans *plans, struct case_plan *plan)
{
	const struct case_plan *base = plan_by_name(plans, plan->against);
	double sorted[QUIET];
	size_t i;

	memcpy(sorted, plan->ns, sizeof(sorted));
	qsort(sorted, QUIET, sizeof(*sorted), compare_doubles);
	plan->median_ns = quantile(sorted, 0.5);
	for (i = 0; i < QUIET; i++)
		sorted[i] = plan->extra_ns ? plan->ns[i] - base->ns[i] : plan->ns[i] / base->ns[i];
	qsort(sorted, QUIET, sizeof(*sorted), compare_doubles);
	plan->relative = quantile(sorted, 0.5);
	plan->relative_low = quantile(sorted, 0.25);
	plan->relative_high = quantile(sorted, 0.75);
	plan->is_over = (plan->ratio && plan->relative > plan->ratio) ||
			(plan->extra_ns && plan->relative > plan->extra_ns);
}

static void print_case(const struct case_plan *plan)
{
	char budget[32] = "", relative[64];

	if (plan->extra_ns) {
		snprintf(relative, sizeof(relative), "%+.1f ns (%+.1f..%+.1f)", plan->relative,
			 plan->relative_low, plan->relative_high);
		snprintf(budget, sizeof(budget), "<= %+.0f ns", plan->extra_ns);
	} else {
		snprintf(relative, sizeof(relative), "%.2f x (%.2f..%.2f)", plan->relative,
			 plan->relative_low, plan->relative_high);
		if (plan->ratio)
			snprintf(budget, sizeof(budget), "<= %.2f x", plan->ratio);
	}
	printf("%-44s %7.1f  %-27s %-22s %-11s %s\n", plan->name, plan->median_ns, relative,
	       plan->against, budget,
	       plan->is_over ? "OVER"
	       : *budget     ? "ok"
			     : "");
}

static json_t *case_json(const struct case_plan *plan)
{
	return json_pack("{s:s, s:f, s:s, s:s, s:f, s:f, s:f, s:o, s:b}", "case", plan->name, "ns",
			 plan->median_ns, "against", plan->against, "unit",
			 plan->extra_ns ? "ns" : "ratio", "relative", plan->relative,
			 "quartile_low", plan->relative_low, "quartile_high", plan->relative_high,
			 "budget",
			 plan->extra_ns ? json_real(plan->extra_ns)
			 : plan->ratio	? json_real(plan->ratio)
					: json_null(),
			 "over", plan->is_over);
}

bool report(struct plans *plans, const char *json_path)
{
	json_t *document = json_object(), *cases = json_array();
	bool is_over = false;
	size_t i;

	printf("%-44s %7s  %-27s %-22s %s\n", "case", "ns", "relative (quartiles)", "to", "budget");
	sort_rounds(plans);
	for (i = 0; i < plans->count; i++) {
		evaluate(plans, &plans->cases[i]);
		print_case(&plans->cases[i]);
		json_array_append_new(cases, case_json(&plans->cases[i]));
		is_over |= plans->cases[i].is_over;
	}
	json_object_set_new(document, "clock", json_string("thread CPU time"));
	json_object_set_new(document, "rounds", json_integer(QUIET));
	json_object_set_new(document, "cases", cases);
	json_object_set_new(document, "over", json_boolean(is_over));
	if (json_path && json_dump_file(document, json_path, JSON_INDENT(2)))
		fprintf(stderr, "bench: cannot write %s\n", json_path);
	json_decref(document);
	return is_over;
}
