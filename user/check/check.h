/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the checks of one backend add up to. Pure: results in, health out. rise and fall are
 * HAProxy's: so many results in a row against what it is make it the other.
 *
 * Flapping is damped: a backend whose checks changed it CHECK_CHANGES_MAX times within one era of
 * its service is held down until that era has ended. It then begins as what its checks say.
 *
 * When: the first check is at once; all later ones are at a phase of the interval that each backend
 * has of its own, so that a thousand backends are asked one after the other, not all at a time.
 */
#ifndef XDP_CANARY_CHECK_H
#define XDP_CANARY_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#define CHECK_CHANGES_MAX 6

struct check {
	bool up;	  /* what its checks say */
	bool flapping;	  /* held down, whatever they say */
	uint32_t streak;  /* results in a row against `up` */
	uint32_t changes; /* of up, in the era */
	uint64_t era;	  /* that changes are of */
};

/* Serves, for all that checks know. */
static inline bool check_serves(const struct check *check)
{
	return check->up && !check->flapping;
}

/* As it was stored; a backend that was never checked is up. */
struct check check_begin(bool up, bool flapping);
/*
 * The service's era now; 0: none is open. True: the backend is held down no longer, which is a
 * change if its checks say up.
 */
bool check_era(struct check *check, uint64_t era);
/* A result. True: `up` or `flapping` changed. */
bool check_result(struct check *check, uint32_t rise, uint32_t fall, bool passed);

/*
 * The phase of the @index'th backend, in [0, @interval): the golden ratio's multiples modulo 1,
 * which lie evenly however many there are (Knuth, The Art of Computer Programming 3, 6.4).
 */
uint64_t check_phase(uint64_t index, uint64_t interval);
/*
 * When to ask again after asking at @now: the first time of that phase at which half an interval
 * has passed. All in one unit; @interval at least 1, @phase below it.
 */
uint64_t check_next(uint64_t now, uint64_t interval, uint64_t phase);

#endif
