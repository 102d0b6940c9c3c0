// SPDX-License-Identifier: GPL-2.0-only
/* All in units of the tool; ppm only where shares come in and go out. */
#include "policy/split.h"

#include "allocation.h"
#include "util/text.h"

#include <errno.h>
#include <stdio.h>

#define NGINX_WHOLE	 10000 /* of ngx_atofp(..., 2): hundredths of a percent */
#define NGINX_HASHES_MAX 0xffffffffULL

const char *split_hash_name(enum split_hash hash)
{
	static const char *const names[] = {
		[HASH_XDP_CANARY] = "xdp-canary",
		[HASH_NGINX] = "nginx",
		[HASH_HAPROXY_CRC32] = "haproxy-crc32",
		[HASH_NFT_JHASH] = "nft-jhash",
	};

	return names[hash];
}

struct split split_of(const struct service *service)
{
	const struct hash_options *options = &service->hash_options;
	struct split split = {
		.hash = service->hash,
		.whole = service->hash == HASH_NGINX ? NGINX_WHOLE : options->modulus,
		.cohorts_count = service->cohorts_count,
	};
	unsigned int named = 0;
	size_t i, count = 0;

	for (i = 0; i < options->order_count; i++) {
		int cohort = service_cohort(service, options->order[i]);

		if (cohort < 0 || (named & 1u << cohort))
			continue;
		named |= 1u << cohort;
		split.order[count++] = cohort;
	}
	for (i = 0; i < service->cohorts_count; i++)
		if (!(named & 1u << i))
			split.order[count++] = i;
	return split;
}

/* ---- shares ---- */

uint32_t split_ppm(const struct split *split, uint32_t units)
{
	return (uint64_t)units * PPM / split->whole;
}

int split_units(const struct split *split, uint32_t ppm, uint32_t *units)
{
	uint64_t exact = (uint64_t)ppm * split->whole; /* in units / PPM */
	uint32_t low = exact / PPM, above = low + 1;

	*units = low;
	if (exact - (uint64_t)low * PPM < split->whole)
		return 0;
	if ((uint64_t)above * PPM - exact >= split->whole)
		return -ERANGE;
	*units = above;
	return 0;
}

bool split_problem(const struct split *split, uint32_t ppm, char out[SPLIT_PROBLEM_SIZE])
{
	char share[TEXT_VALUE_SIZE];
	uint32_t units;

	if (!split_units(split, ppm, &units))
		return false;
	text_format_percent(ppm, share);
	if (split->hash == HASH_NGINX)
		snprintf(out, SPLIT_PROBLEM_SIZE, "%s is finer than the 0.01%% of nginx", share);
	else
		snprintf(out, SPLIT_PROBLEM_SIZE,
			 "%s is no multiple of 1/%u, and `hash: %s` with that modulus has no other",
			 share, split->whole, split_hash_name(split->hash));
	return true;
}

const char *split_nearest(const struct split *split, uint32_t ppm, char out[SPLIT_TEXT_SIZE])
{
	uint32_t units = (uint64_t)ppm * split->whole / PPM;
	char low[TEXT_VALUE_SIZE], high[TEXT_VALUE_SIZE];

	snprintf(out, SPLIT_TEXT_SIZE, "%s or %s",
		 text_format_percent(split_ppm(split, units), low),
		 text_format_percent(split_ppm(split, units + 1), high));
	return out;
}

/* ---- parts ---- */

/* How far a part of @units reaches, where another one follows it. */
static uint64_t extent(const struct split *split, uint32_t units)
{
	return split->hash == HASH_NGINX ? units * NGINX_HASHES_MAX / NGINX_WHOLE : units;
}

/* @units by cohort, all of them together the whole. */
static unsigned int lay_out(const struct split *split, const uint32_t units[COHORTS_MAX],
			    struct interval parts[CANARIES_MAX])
{
	unsigned int live = 0;
	uint64_t start = 0;
	uint32_t left = split->whole;
	size_t i;

	for (i = 0; i < split->cohorts_count && left; i++) {
		uint8_t cohort = split->order[i];
		uint64_t end = start + extent(split, units[cohort]);

		if (!units[cohort])
			continue;
		left -= units[cohort];
		if (!left)
			end = 1ULL << 32;
		if (cohort) {
			parts[cohort - 1] = (struct interval){start, end - start - 1};
			live |= 1u << (cohort - 1);
		}
		start = end;
	}
	return live;
}

/* Of a share that is none of the tool's, the units below. */
static void units_of(const struct split *split, const uint32_t share_ppm[COHORTS_MAX],
		     uint32_t units[COHORTS_MAX])
{
	size_t i;

	units[0] = split->whole;
	for (i = 1; i < split->cohorts_count; i++) {
		split_units(split, share_ppm[i], &units[i]);
		if (units[i] > units[0])
			units[i] = units[0];
		units[0] -= units[i];
	}
}

unsigned int split_parts(const struct split *split, const uint32_t share_ppm[COHORTS_MAX],
			 struct interval parts[CANARIES_MAX])
{
	uint32_t units[COHORTS_MAX];

	units_of(split, share_ppm, units);
	return lay_out(split, units, parts);
}

/* One by one: rounding each part of nginx's by itself, a larger share may lose its last hash. */
bool split_enters(const struct split *split, const uint32_t share_ppm[COHORTS_MAX], int canary,
		  uint32_t hash, uint32_t *ppm)
{
	struct interval parts[CANARIES_MAX];
	uint32_t units[COHORTS_MAX], free;

	units_of(split, share_ppm, units);
	free = units[0] + units[canary];
	for (units[canary] = 1; units[canary] <= free; units[canary]++) {
		units[0] = free - units[canary];
		lay_out(split, units, parts);
		if (!interval_holds(&parts[canary - 1], hash))
			continue;
		*ppm = split_ppm(split, units[canary]);
		return true;
	}
	return false;
}

bool split_shifts(const struct split *split)
{
	size_t control = 0, i;

	while (split->order[control])
		control++;
	for (i = 0; i < split->cohorts_count; i++)
		if (i + 1 < control || i > control + 1)
			return true;
	return false;
}
