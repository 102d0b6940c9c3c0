/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers distinct tuples of words 0, 1, 2, ... in the order in which they come. Pure. */
#ifndef XDP_CANARY_NUMBERING_H
#define XDP_CANARY_NUMBERING_H

#include <stddef.h>
#include <stdint.h>

struct numbering {
	size_t width;	 /* words a tuple */
	uint64_t *words; /* of tuple n: width of them, from n * width on */
	size_t count;
	uint32_t *slots; /* of a hash table: number + 1, 0: free */
	size_t slots_count;
};

/* 0 or -ENOMEM. */
int numbering_begin(struct numbering *numbering, size_t width);
void numbering_release(struct numbering *numbering);
/* *@number of the tuple at @words, a new one where it was not seen yet. 0, -ENOMEM, or -E2BIG
 * beyond 2^31 tuples. */
int numbering_of(struct numbering *numbering, const uint64_t *words, uint32_t *number);

#endif
