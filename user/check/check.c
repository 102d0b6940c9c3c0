// SPDX-License-Identifier: GPL-2.0-only
#include "check/check.h"

struct check check_begin(bool up, bool flapping)
{
	return (struct check){
		.up = up, .flapping = flapping, .changes = flapping ? CHECK_CHANGES_MAX : 0};
}

bool check_era(struct check *check, uint64_t era)
{
	bool was_flapping = check->flapping;

	if (era && (check->era == era || !check->era)) {
		/* One that begins does so with a change that is counted already; what was stored as
		 * flapping is so in the one that is found open. */
		check->era = era;
		return false;
	}
	if (!era && !check->era && !check->flapping)
		return false; /* a change that is counted has not been published yet */
	check->era = era;
	check->changes = 0;
	check->flapping = false;
	return was_flapping;
}

bool check_result(struct check *check, uint32_t rise, uint32_t fall, bool passed)
{
	if (passed == check->up) {
		check->streak = 0;
		return false;
	}
	if (++check->streak < (check->up ? fall : rise))
		return false;
	check->streak = 0;
	check->up = passed;
	if (++check->changes >= CHECK_CHANGES_MAX)
		check->flapping = true;
	return true;
}

uint64_t check_phase(uint64_t index, uint64_t interval)
{
	const uint64_t golden = 0x9e3779b97f4a7c15ULL; /* 2^64 / ((1 + sqrt 5) / 2) */

	return (unsigned __int128)(index * golden) * interval >> 64;
}

uint64_t check_next(uint64_t now, uint64_t interval, uint64_t phase)
{
	uint64_t soonest = now + interval / 2 + 1;
	uint64_t at = soonest - soonest % interval + phase;

	return at < soonest ? at + interval : at;
}
