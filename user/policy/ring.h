/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rings: Maglev (Eisenbud et al., NSDI 2016, section 3.4) with exact weights. A ring is a pure
 * function of the set of (address, port, weight), whatever its order, so that boxes behind ECMP
 * agree on the backend. Its size changes only when the number of backends outgrows it: a backend
 * more or less moves little else.
 */
#ifndef XDP_CANARY_RING_H
#define XDP_CANARY_RING_H

#include "util/address.h"

#include <stddef.h>
#include <stdint.h>

#define RING_SLOTS_PER_BACKEND 100  /* at the least */
#define RING_SLOTS_MIN	       1024 /* of two backends or more */

struct ring_member {
	struct address address;
	uint16_t port;	 /* 0: none */
	uint16_t weight; /* 0: not in the ring */
	uint16_t number; /* what its slots say */
};

/*
 * Slots that the ring of @members needs: 0 for no member of positive weight, 1 for one, else the
 * power of two at or above 100 a member, RING_SLOTS_MIN at the least. A member's part is its
 * weight's to within one slot, and at least one slot.
 */
size_t ring_size(const struct ring_member *members, size_t count);

/* Fills @slots[ring_size()] with member numbers as ring_slot() lays them out. 0 or -ENOMEM. */
int ring_fill(const struct ring_member *members, size_t count, uint32_t *slots);

#endif
