/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random numbers for tests: a run prints its seed, and XDP_CANARY_SEED in the environment repeats
 * it. SplitMix64 (Steele, Lea, Flood, 2014).
 */
#ifndef XDP_CANARY_TESTS_RANDOM_H
#define XDP_CANARY_TESTS_RANDOM_H

#include "util/address.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct random {
	uint64_t state;
};

static inline struct random random_seeded(const char *test)
{
	const char *given = getenv("XDP_CANARY_SEED");
	struct timespec now;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 10) : (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
	printf("%s: XDP_CANARY_SEED=%llu\n", test, (unsigned long long)seed);
	fflush(stdout);
	return (struct random){seed};
}

static inline uint64_t random_next(struct random *random)
{
	uint64_t x = random->state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* 0 to @bound - 1. */
static inline uint32_t random_below(struct random *random, uint32_t bound)
{
	return (random_next(random) >> 32) * bound >> 32;
}

/* Any IPv4 address, or any global unicast IPv6 one. */
static inline struct address random_address(struct random *random, int family)
{
	struct address address = {.family = family};
	int i;

	for (i = 0; i < (family == 4 ? 4 : 16); i++)
		address.bytes[i] = random_next(random);
	if (family == 6)
		address.bytes[0] = 0x20;
	return address;
}

#endif
