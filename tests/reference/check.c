// SPDX-License-Identifier: GPL-2.0-only
/*
 * For test_check.py: a line on stdin asks, a line on stdout answers.
 *
 *   begin UP FLAPPING | result RISE FALL PASSED | era NUMBER: of one backend; answers with
 *   whether that changed it, up and flapping
 *   phase INDEX INTERVAL | next NOW INTERVAL PHASE
 */
#include "check/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t read_number(void)
{
	uint64_t number;

	if (scanf("%" SCNu64, &number) == 1)
		return number;
	fprintf(stderr, "check: a question that nobody can read\n");
	exit(EXIT_FAILURE);
}

static void answer(struct check *check, const char *question)
{
	bool changed = false;
	uint64_t a = read_number(), b, c;

	if (!strcmp(question, "era")) {
		changed = check_era(check, a);
	} else if (!strcmp(question, "begin")) {
		b = read_number();
		*check = check_begin(a, b);
	} else {
		b = read_number();
		c = read_number();
		changed = check_result(check, a, b, c);
	}
	printf("%d %d %d\n", changed, check->up, check->flapping);
}

int main(void)
{
	struct check check = check_begin(true, false);
	char question[16];
	uint64_t a, b;

	while (scanf("%15s", question) == 1) {
		if (!strcmp(question, "phase")) {
			a = read_number();
			printf("%" PRIu64 "\n", check_phase(a, read_number()));
		} else if (!strcmp(question, "next")) {
			a = read_number();
			b = read_number();
			printf("%" PRIu64 "\n", check_next(a, b, read_number()));
		} else {
			answer(&check, question);
		}
		fflush(stdout);
	}
	return EXIT_SUCCESS;
}
