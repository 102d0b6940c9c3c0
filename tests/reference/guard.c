// SPDX-License-Identifier: GPL-2.0-only
/*
 * For test_guard.py: a line on stdin asks, a line on stdout answers with 17 digits.
 *
 *   rollback PSI0 | promote PSI1 | ratio | psi | interval ALPHA, then strata: COUNT K N PI ...
 *   absolute P0 K N | certify P0 K N | threshold LEVEL WINDOW
 */
#include "guard/guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRATA_MAX 64

static void read_or_die(int fields, int expected)
{
	if (fields == expected)
		return;
	fprintf(stderr, "guard: a question that nobody can read\n");
	exit(EXIT_FAILURE);
}

static size_t read_strata(struct guard_stratum strata[STRATA_MAX])
{
	size_t count;

	read_or_die(scanf("%zu", &count), 1);
	for (size_t i = 0; i < count && i < STRATA_MAX; i++)
		read_or_die(scanf("%" SCNu64 " %" SCNu64 " %lf", &strata[i].k, &strata[i].n,
				  &strata[i].pi),
			    3);
	return count;
}

static void answer_of_strata(const char *question, double number)
{
	struct guard_stratum strata[STRATA_MAX];
	size_t count = read_strata(strata);
	double low, high;

	if (!strcmp(question, "rollback"))
		printf("%.17g\n", guard_log_e(strata, count, number));
	else if (!strcmp(question, "promote"))
		printf("%.17g\n", guard_log_e_promote(strata, count, number));
	else if (!strcmp(question, "ratio"))
		printf("%.17g\n", guard_log_e_ratio(strata, count));
	else if (!strcmp(question, "psi"))
		printf("%.17g\n", guard_psi(strata, count));
	else {
		guard_interval(strata, count, number, &low, &high);
		printf("%.17g %.17g\n", low, high);
	}
}

static void answer_of_clients(const char *question, double number)
{
	uint64_t k, n;

	read_or_die(scanf("%" SCNu64 " %" SCNu64, &k, &n), 2);
	printf("%.17g\n", *question == 'a' ? guard_log_e_absolute(k, n, number)
					   : guard_log_e_certify(k, n, number));
}

int main(void)
{
	char question[32];
	uint32_t window;
	double number;

	while (scanf("%31s %lf", question, &number) == 2) {
		if (!strcmp(question, "absolute") || !strcmp(question, "certify")) {
			answer_of_clients(question, number);
		} else if (!strcmp(question, "threshold")) {
			read_or_die(scanf("%" SCNu32, &window), 1);
			printf("%.17g\n", guard_log_threshold(window, number));
		} else {
			answer_of_strata(question, number);
		}
		fflush(stdout);
	}
	return EXIT_SUCCESS;
}
