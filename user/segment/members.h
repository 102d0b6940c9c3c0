/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Clients as segments name them: prefixes in the 128-bit space in which IPv4 is at ::ffff:0:0/96
 * (util/address.h, address_words()). The blobs of the store hold struct member as it is here, in
 * the byte order of the machine.
 */
#ifndef XDP_CANARY_MEMBERS_H
#define XDP_CANARY_MEMBERS_H

#include "util/address.h"

#include <stddef.h>
#include <stdint.h>

struct member {
	uint64_t high, low; /* host order; bits past the length are zero */
	uint8_t length;	    /* in the 128-bit space: of IPv4 96 to 128 */
	uint8_t reserved[7];
};

struct member member_of(const struct prefix *prefix);
struct prefix member_prefix(const struct member *member);
/* By address, then wider ones first: as qsort() wants it. */
int member_compare(const void *left, const void *right);
/* Sorts, and drops what stands twice. Returns how many are left. */
size_t members_sort(struct member *members, size_t count);
/* The longest of the sorted @members that holds the address, or NULL. An IPv6 prefix holds no IPv4
 * client. */
const struct member *members_find(const struct member *members, size_t count, uint64_t high,
				  uint64_t low);

#endif
