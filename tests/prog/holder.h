/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A packet that takes its time: another XDP program, run in a thread, that stays in the kernel for
 * as long as it is told. What waits for a grace period must not return before it has ended. The
 * most is 8 million turns, a fifth of a second.
 */
#ifndef XDP_CANARY_TESTS_HOLDER_H
#define XDP_CANARY_TESTS_HOLDER_H

#include <stdbool.h>
#include <stdint.h>

struct holder;

/* Returns when the program is running; it ends @milliseconds later. */
struct holder *holder_start(uint32_t milliseconds);
/* Has the program ended? */
bool holder_ended(const struct holder *holder);
/* Waits until it has. */
void holder_free(struct holder *holder);

#endif
