// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which of control's clients are followed beside a canary: from the end of the hash space that the
 * canary does not grow from, so many that they are the factor's multiple of the canary, or all
 * there are. Counted in 2^-16 of the hash space (of a hash modulo N, in its N parts): the measures
 * are exact whatever the unit, so pi is.
 */
#include "track/track.h"

#include "allocation.h"
#include "policy/assign.h"
#include "policy/split.h"

#include <errno.h>
#include <math.h>

/* The parts of all canaries in one rule. */
struct parts {
	struct canary_parts canaries;
	uint64_t space; /* hashes are below it */
	uint32_t unit;	/* hashes of a place, track_place() */
	bool low;	/* places are counted from the top down */
};

static struct parts parts_of(const struct service *service, const uint32_t shares_ppm[COHORTS_MAX])
{
	bool modulo = service->hash == HASH_HAPROXY_CRC32 || service->hash == HASH_NFT_JHASH;
	struct parts parts = {
		.space = modulo ? service->hash_options.modulus : 1ULL << 32,
		.unit = modulo ? 1 : 1u << 16,
		.low = track_slice_is_low(service),
	};

	assign_parts(service, shares_ppm, &parts.canaries);
	return parts;
}

bool track_slice_is_low(const struct service *service)
{
	struct split split;
	size_t i;

	if (!is_split(service))
		return false; /* shares cover their slots from the start */
	split = split_of(service);
	for (i = 0; split.order[i] != rollout_cohort(service); i++)
		if (!split.order[i])
			return true;
	return false;
}

/* Hashes of [@from, @to) that are @canary's. */
static uint64_t measure_of(const struct parts *parts, size_t canary, uint64_t from, uint64_t to)
{
	uint64_t start = parts->canaries.parts[canary].start;
	uint64_t end = start + parts->canaries.parts[canary].last + 1;

	if (!(parts->canaries.live & 1u << canary))
		return 0;
	start = start < from ? from : start;
	end = end > to ? to : end;
	return start < end ? end - start : 0;
}

/* Hashes of control whose place is @place or more. */
static uint64_t control_from(const struct parts *parts, uint32_t place)
{
	uint64_t from = (uint64_t)place * parts->unit, to = parts->space, measure;
	size_t canary;

	if (parts->low) {
		to = (uint64_t)(0x10000 - place) * parts->unit;
		to = to < parts->space ? to : parts->space;
		from = 0;
	}
	measure = from < to ? to - from : 0;
	for (canary = 0; canary < CANARIES_MAX; canary++)
		measure -= measure_of(parts, canary, from, to);
	return measure;
}

double track_slice(const struct service *service, const uint32_t shares_ppm[COHORTS_MAX],
		   uint32_t factor, uint16_t *from)
{
	struct parts parts = parts_of(service, shares_ppm);
	uint64_t canary = measure_of(&parts, rollout_cohort(service) - 1, 0, parts.space), control;
	uint32_t least = 1, most = 0xffff; /* the places between which the slice begins */

	*from = 0;
	if (!canary)
		return 0;
	while (least < most) {
		uint32_t middle = (least + most + 1) / 2;

		if (control_from(&parts, middle) >= factor * canary)
			least = middle;
		else
			most = middle - 1;
	}
	control = control_from(&parts, least);
	if (!control)
		return 1;
	*from = least;
	return (double)canary / (double)(canary + control);
}

int track_share(double pi, uint32_t canary_ppm, uint32_t control_ppm, uint64_t canary_clients,
		uint64_t control_clients, uint32_t *ppm)
{
	double all = canary_clients;

	if (!(pi > 0) || canary_clients + control_clients < TRACK_SHARE_MIN)
		return -ENODATA;
	/* Of control a part is followed that is (1 - pi) / pi times the canary. */
	if (pi < 1)
		all += control_clients * (control_ppm * pi / ((1 - pi) * canary_ppm));
	/* Other canaries' clients are not counted. */
	all *= PPM / ((double)canary_ppm + control_ppm);
	*ppm = (uint32_t)lround(PPM * (canary_clients / all));
	return 0;
}
