/* SPDX-License-Identifier: GPL-2.0-only */
/* Pins (prefix -> cohort, the longest prefix wins) as sorted, disjoint ranges. Pure. */
#ifndef XDP_CANARY_PIN_RANGES_H
#define XDP_CANARY_PIN_RANGES_H

#include "abi.h"
#include "util/address.h"

#include <stddef.h>
#include <stdint.h>

struct pin {
	struct prefix client;
	uint8_t cohort;
	uint64_t expires; /* CLOCK_MONOTONIC ns, or PIN_FOREVER: for the kernel */
	uint64_t until;	  /* the same as CLOCK_REALTIME ns, 0: never: for people and digests */
};

/*
 * At most 2 * @count + 3 ranges, *@out malloc()ed, neighbours of the same kind merged; none for no
 * pins. IPv4 clients are in none of IPv6's prefixes. 0 or -ENOMEM.
 */
int pin_ranges_build(const struct pin *pins, size_t count, struct pin_range **out, size_t *ranges);

#endif
