/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Maps from clients to numbers as sorted, disjoint spans of the 128-bit space in which IPv4 is at
 * ::ffff:0:0/96: a span holds from its start up to the next one's. Pure.
 */
#ifndef XDP_CANARY_SPANS_H
#define XDP_CANARY_SPANS_H

#include "segment/members.h"

struct span {
	uint64_t high, low; /* start */
	uint64_t value;
};

struct spans {
	struct span *list; /* sorted; the first starts at 0; neighbours differ in value */
	size_t count;	   /* 0: everything is 0 */
};

struct member_list {
	const struct member *members; /* sorted */
	size_t count;
};

struct member_value {
	struct member client;
	uint64_t value;
};

void spans_release(struct spans *spans);
/* The value at an address. */
uint64_t spans_find(const struct spans *spans, uint64_t high, uint64_t low);

/*
 * Bit i of a value: a prefix of list i, of up to 64, holds the address. An IPv6 prefix holds no
 * IPv4 address. 0 or -ENOMEM.
 */
int spans_of_lists(const struct member_list *lists, size_t count, struct spans *out);
/* The value of the longest prefix that holds the address; 0: none. @values: sorted by client. */
int spans_of_values(const struct member_value *values, size_t count, struct spans *out);
/*
 * All lists at once: a value of *@out is the number of a distinct tuple of their values; tuple n is
 * the @count words from (*@tuples)[n * @count] on. Number 0 is the tuple of zeros, whether it
 * occurs or not.
 */
int spans_join(const struct spans *lists, size_t count, struct spans *out, uint64_t **tuples,
	       size_t *tuples_count);

#endif
