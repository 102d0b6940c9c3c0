/* SPDX-License-Identifier: GPL-2.0-only */
/* IP addresses and prefixes as the configuration writes them. Pure. */
#ifndef XDP_CANARY_ADDRESS_H
#define XDP_CANARY_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDRESS_TEXT_SIZE 64 /* "[ffff:...]:65535/tcp" and any prefix fit */

/* family 0: unset. IPv4 in the first four bytes, the rest zero; network order. An IPv4-mapped one
 * is IPv4. */
struct address {
	uint8_t family; /* 4, 6 or 0 */
	uint8_t bytes[16];
};

struct prefix {
	struct address address; /* bits past the length are zero */
	uint8_t length;		/* 0 to 32 or 128 */
};

/* All parsers take the whole text or nothing: 0, or -EINVAL. */
int address_parse(const char *text, struct address *out);
/* ADDRESS or ADDRESS/LENGTH; bits past the length must be zero: -EDOM where they are not. */
int prefix_parse(const char *text, struct prefix *out);
/* The same of one with bits past the length, which are cleared. */
int prefix_parse_loosely(const char *text, struct prefix *out);

/* RFC 5952 text. Returns @out. */
const char *address_format(const struct address *address, char out[ADDRESS_TEXT_SIZE]);
/* /32 and /128 are left out. */
const char *prefix_format(const struct prefix *prefix, char out[ADDRESS_TEXT_SIZE]);

bool address_equal(const struct address *a, const struct address *b);
bool prefix_equal(const struct prefix *a, const struct prefix *b);
int address_compare(const struct address *a,
		    const struct address *b); /* IPv4 first, then by bytes */

/* @prefix shortened to at most @length4 or @length6 bits, its low bits cleared: a client as a
 * service sees it. */
struct prefix prefix_shorten(const struct prefix *prefix, unsigned int length4,
			     unsigned int length6);

/* The two host-order halves in the 128-bit space where IPv4 is at ::ffff:0:0/96. */
void address_words(const struct address *address, uint64_t *high, uint64_t *low);

#endif
