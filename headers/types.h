/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fixed-width types and attributes that both sides of the ABI use.
 * Everything in headers/ compiles for the BPF target and for user space, and calls no libc.
 */
#ifndef XDP_CANARY_TYPES_H
#define XDP_CANARY_TYPES_H

#include <linux/types.h>

#define pure_inline   static inline __attribute__((always_inline, unused))
#define cache_aligned __attribute__((aligned(64)))
#define CACHE_LINE    64

#define BUILD_CHECK(condition) _Static_assert(condition, #condition)

#endif
