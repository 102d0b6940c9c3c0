/* SPDX-License-Identifier: GPL-2.0-only */
/* Large sets of clients and prefixes, and tables of them in a lab's maps. */
#ifndef XDP_CANARY_TESTS_CLIENT_TABLE_H
#define XDP_CANARY_TESTS_CLIENT_TABLE_H

#include "lab.h"
#include "segment/layout.h"
#include "tests/random.h"

/* Clients that are so far apart, modulo 2^32, are all over IPv4's addresses, and differ. */
#define CLIENT_SPREAD 0x9e3779b1u

/* Sorted clients, malloc()ed: @first and each CLIENT_SPREAD on, of IPv4; or /64s from @first on,
 * which count the same way in bits 32 to 63. */
struct member *spread_clients(const char *first, uint32_t count);
/* Sorted prefixes of random lengths, malloc()ed: /12 to /30 of IPv4, or /40 to /63 below
 * 2001:db8::/32. *@count: how many, in; without those that stood twice, out. */
struct member *random_prefixes(struct random *random, int family, size_t *count);
/* Each with a value of 1 to @values_most; both sets are sorted into one. malloc()ed. */
struct member_value *random_values(struct random *random, const struct member *members,
				   size_t members_count, const struct member *more,
				   size_t more_count, uint32_t values_most);

/* Lays out and copies, as table @number of the lab; its limits must have room. */
void lab_fill_table(struct lab *lab, uint32_t number, const struct spans *spans);

#endif
