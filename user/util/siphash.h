/* SPDX-License-Identifier: GPL-2.0-only */
/* SipHash-1-3 of bytes of any length, for salts, names and digests: the packet path hashes whole
 * words. */
#ifndef XDP_CANARY_SIPHASH_H
#define XDP_CANARY_SIPHASH_H

#include "hash.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>

static inline __u64 siphash13(struct siphash_key key, const void *data, size_t length)
{
	struct siphash_state state = siphash_begin(key);
	const unsigned char *bytes = data;
	size_t whole = length & ~(size_t)7;
	__u64 word = 0;
	size_t i;

	for (i = 0; i < whole; i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		siphash_word(&state, le64toh(word));
	}
	word = 0;
	if (length > whole) /* of no bytes there may be no address either */
		memcpy(&word, bytes + whole, length - whole);
	return siphash_end(&state, le64toh(word), length);
}

#endif
