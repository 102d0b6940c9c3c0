// SPDX-License-Identifier: GPL-2.0-only
/* Thresholds and slots at their very edges, and against arithmetic that cannot overflow. */
#include "allocation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SPACE (1ULL << 32)

static void thresholds_are_exact(void **state)
{
	uint32_t ppm;

	(void)state;
	assert_true(threshold(0) == 0);
	assert_true(threshold(1) == 4294);
	assert_true(threshold(2) == 8589);
	assert_true(threshold(500000) == SPACE / 2);
	assert_true(threshold(999999) == 4294963001ULL);
	assert_true(threshold(PPM) == SPACE);
	for (ppm = 0; ppm <= PPM; ppm++)
		assert_true(threshold(ppm) == (uint64_t)((unsigned __int128)ppm * SPACE / 1000000));
}

static void every_ppm_adds_clients(void **state)
{
	uint32_t ppm;

	(void)state;
	for (ppm = 0; ppm < PPM; ppm++)
		assert_in_range(threshold(ppm + 1) - threshold(ppm), 4294, 4295);
}

/* Is @hash in the share, said by the text of the interface? */
static int text_says(uint64_t hash, uint32_t start, uint32_t width, uint32_t share)
{
	uint64_t room = threshold(start + width) - threshold(start);
	uint64_t length = threshold(share) < room ? threshold(share) : room;

	return hash >= threshold(start) && hash < threshold(start) + length;
}

static void an_interval_holds_its_share_and_no_hash_more(void **state)
{
	static const uint32_t ppms[] = {0,	1,	2,	333333, 333334,
					500000, 666666, 999998, 999999, 1000000};
	size_t s, w, h, e;

	(void)state;
	for (s = 0; s < 10; s++)
		for (w = 0; w < 10; w++)
			for (h = 0; h < 10; h++) {
				uint32_t start = ppms[s], width = ppms[w], share = ppms[h];
				uint64_t edges[] = {0, threshold(start), threshold(share),
						    threshold(start) + threshold(share), SPACE - 1};
				struct interval interval;
				int is_live;

				if (start + width > PPM)
					continue;
				is_live = share_interval(start, width, share, &interval);
				assert_int_equal(is_live, width && share);
				for (e = 0; e < 3 * 5; e++) {
					uint64_t hash = edges[e / 3] + e % 3 - 1;

					if (hash >= SPACE)
						continue;
					assert_int_equal(is_live && interval_holds(&interval, hash),
							 text_says(hash, start, width, share));
				}
			}
}

static void the_whole_space_is_one_interval(void **state)
{
	struct interval interval;

	(void)state;
	assert_true(share_interval(0, PPM, PPM, &interval));
	assert_true(interval_holds(&interval, 0));
	assert_true(interval_holds(&interval, UINT32_MAX));
	assert_int_equal(interval.start, 0);
	assert_int_equal(interval.last, UINT32_MAX);
}

static void three_canaries_side_by_side_never_share_a_client(void **state)
{
	struct view_rule rule = {.live = RULE_CURRENT | RULE_CURRENT << 1 | RULE_CURRENT << 2};
	const uint32_t third = 333333;
	uint64_t hash;
	int i;

	(void)state;
	for (i = 0; i < 3; i++)
		assert_true(share_interval(i * third, third, third, &rule.current[i]));
	for (hash = 0; hash < SPACE; hash += 65521) {
		uint32_t expected = hash < threshold(third)	  ? 1
				    : hash < threshold(2 * third) ? 2
				    : hash < threshold(3 * third) ? 3
								  : 0;

		assert_int_equal(rule_cohort(&rule, hash), expected);
	}
	rule.live &= ~(RULE_CURRENT << 1);
	assert_int_equal(rule_cohort(&rule, threshold(third)), 0);
	assert_int_equal(rule_cohort(&rule, threshold(third) - 1), 1);
	assert_int_equal(rule_cohort(&rule, threshold(2 * third)), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thresholds_are_exact),
		cmocka_unit_test(every_ppm_adds_clients),
		cmocka_unit_test(an_interval_holds_its_share_and_no_hash_more),
		cmocka_unit_test(the_whole_space_is_one_interval),
		cmocka_unit_test(three_canaries_side_by_side_never_share_a_client),
	};

	return cmocka_run_group_tests_name("unit/allocation", tests, NULL, NULL);
}
