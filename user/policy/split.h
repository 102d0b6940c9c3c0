/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Parts of the hash space as another tool makes them of a service's shares, bit for bit
 * (headers/split_hash.h has the hashes). A tool's parts follow one another in the order in which
 * its configuration lists them, and the last one takes the rest. Pure.
 *
 *   nginx          a share is a number of 1/10000; a part ends at the sum of
 *                  floor(share * 0xffffffff / 10000) of it and those before it
 *                  (src/http/ngx_http_split_clients_module.c; stream alike)
 *   the others     a share is a number of 1/modulus; a part ends at the sum of these
 *
 * A cohort at 0% has no part, as nginx refuses one of 0%: so the last one is the last that has a
 * share, and 0% and 100% are exact. The control's share is what the canaries leave, wherever it
 * stands. (nginx before 1.31.2, told all parts and no `*`, leaves its very last hashes to nobody.)
 *
 * Where a share changes, all parts between its cohort and the control shift: promises 3 and 4 hold
 * of the canaries that stand next to the control alone (but for one hash of 2^32 of nginx's, whose
 * ends are rounded one by one), split_shifts().
 */
#ifndef XDP_CANARY_SPLIT_H
#define XDP_CANARY_SPLIT_H

#include "policy/policy.h"

struct split {
	enum split_hash hash; /* not our own */
	uint32_t whole;	      /* units of a share of 100% */
	size_t cohorts_count;
	uint8_t order[COHORTS_MAX]; /* cohorts, in the order of their parts */
};

static inline bool is_split(const struct service *service)
{
	return service->hash != HASH_XDP_CANARY;
}

/* As it is written in the file. */
const char *split_hash_name(enum split_hash hash);

/* Of a service with another tool's hash. What hash_options.order does not name comes last. */
struct split split_of(const struct service *service);

/*
 * The units that @ppm stands for: a share that is a whole number of units, to the ppm below or
 * above it, so that a third can be written at all. -ERANGE: it is between two of them, and *@units
 * is the lower one.
 */
int split_units(const struct split *split, uint32_t ppm, uint32_t *units);
/* What is wrong with a share that the tool cannot be told; false: nothing. */
#define SPLIT_PROBLEM_SIZE 128
bool split_problem(const struct split *split, uint32_t ppm, char out[SPLIT_PROBLEM_SIZE]);
/* The least ppm that stands for @units. */
uint32_t split_ppm(const struct split *split, uint32_t units);
/* "5% or 6%": what can be written instead of a share that is between them. Returns @out. */
#define SPLIT_TEXT_SIZE 64
const char *split_nearest(const struct split *split, uint32_t ppm, char out[SPLIT_TEXT_SIZE]);

/*
 * The parts of the canaries, whose shares are at most 100% together. Returns which are not empty:
 * bit c - 1 for canary c.
 */
unsigned int split_parts(const struct split *split, const uint32_t share_ppm[COHORTS_MAX],
			 struct interval parts[CANARIES_MAX]);
/*
 * The smallest share at which @canary has the client at @hash, other canaries' shares being as they
 * are. False: at none.
 */
bool split_enters(const struct split *split, const uint32_t share_ppm[COHORTS_MAX], int canary,
		  uint32_t hash, uint32_t *ppm);
/* Does a change of some canary's share move clients between two other cohorts? */
bool split_shifts(const struct split *split);

#endif
