// SPDX-License-Identifier: GPL-2.0-only
/*
 * New flows while a SYN flood goes through the transition table: how long may a handshake take,
 * counted in SYNs, and what becomes of one that takes longer?
 */
#include "era.h"
#include "feeder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LIMIT_DEFAULT 131072 /* of the configuration: transition_flows */

#define HANDSHAKES 200 /* at a time */
#define TIMES	   4
#define CERTAINTY  4	  /* standard deviations */
#define FILL	   100000 /* SYNs after which all of probation is taken */

static const size_t syns_between[] = {500, 2000, 8000, 32000};
#define COUNT (sizeof(syns_between) / sizeof(syns_between[0]))

/* Of @count events with the probability @p each: are @found of them too many to be chance? */
static bool are_too_many(size_t found, size_t count, double p)
{
	double above = found - count * p;

	return above > 1 && above * above > CERTAINTY * CERTAINTY * count * p * (1 - p);
}

/* The probability that a line is hit by one of @events at least. */
static double is_hit(size_t events, uint32_t lines)
{
	double missed = 1;

	while (events--)
		missed *= 1 - 1.0 / lines;
	return 1 - missed;
}

static uint64_t recorded(const struct era *era)
{
	return lab_affinity_counter(era->lab, era->service).paths[PATH_SYN_RECORDED];
}

/* The next segment: true if the flow was still known, false if it went to its origin. */
static bool finish(const struct era *era, const struct flow *flow)
{
	uint16_t went = flow_send(era, flow, FLAG_ACK);
	bool is_held = went == backend_place(era, flow->held);

	if (!is_held)
		assert_int_equal(went, backend_place(era, flow->origin));
	assert_int_equal(flow_send(era, flow, FLAG_ACK), went);
	return is_held;
}

/*
 * New flows that send their SYN, then @syns of the flood, then their next segment. Those that were
 * known then are put into @settled. Their number; *@between: SYNs of the flood that were recorded.
 */
static size_t shake_hands(struct era *era, struct feeder *feeder, size_t syns, struct flow *settled,
			  uint64_t *between)
{
	size_t i, held = 0;
	struct frame frame;
	uint64_t before;

	for (i = 0; i < HANDSHAKES; i++) {
		settled[i] = flow_new_disputed(era);
		flow_begin(era, &settled[i]);
	}
	feeder_build(LAB_VIP4, FLAG_SYN, &frame);
	before = recorded(era);
	assert_int_equal(feeder_run(feeder, &frame, syns), 0);
	*between = recorded(era) - before;
	for (i = 0; i < HANDSHAKES; i++)
		if (finish(era, &settled[i]))
			settled[held++] = settled[i];
	return held;
}

/* No more are lost than if a line had one way of probation, the last SYN's. */
static size_t assert_handshakes(struct era *era, struct feeder *feeder, size_t syns,
				struct flow *settled)
{
	uint32_t lines = era_table(era).count;
	uint64_t between, sum = 0;
	size_t i, held = 0, lost;
	double most;

	for (i = 0; i < TIMES; i++) {
		held += shake_hands(era, feeder, syns, settled + held, &between);
		sum += between;
	}
	lost = TIMES * HANDSHAKES - held;
	most = is_hit(HANDSHAKES + sum / TIMES, lines);
	printf("  %5zu SYNs between, %.2f recorded a line: %4.1f%% of handshakes go to their "
	       "origin; with one way of probation %4.1f%%\n",
	       syns, (double)sum / TIMES / lines, 100.0 * lost / (TIMES * HANDSHAKES),
	       100 * is_hit(HANDSHAKES / 2 + sum / TIMES, lines));
	assert_false(are_too_many(lost, TIMES * HANDSHAKES, most));
	return held;
}

static void handshake_that_the_flood_outruns_goes_to_its_origin_others_are_settled(void **state)
{
	struct era *era = era_new(__func__, LIMIT_DEFAULT);
	struct flow *settled = calloc(COUNT * TIMES * HANDSHAKES, sizeof(*settled));
	struct feeder *feeder = feeder_open(era->lab, 1, NULL);
	size_t i, count = 0;
	struct frame frame;

	(void)state;
	assert_non_null(settled);
	era_change_share(era, 800000);
	feeder_feed(feeder)->random = random_next(&era->random);
	feeder_build(LAB_VIP4, FLAG_SYN, &frame);
	assert_int_equal(feeder_run(feeder, &frame, FILL), 0);
	for (i = 0; i < COUNT; i++)
		count += assert_handshakes(era, feeder, syns_between[i], settled + count);
	assert_int_equal(feeder_run(feeder, &frame, FILL), 0);
	for (i = 0; i < count; i++)
		flow_go_on(era, &settled[i]);
	feeder_close(feeder);
	free(settled);
	era_free(era);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			handshake_that_the_flood_outruns_goes_to_its_origin_others_are_settled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
