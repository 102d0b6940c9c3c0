/* SPDX-License-Identifier: GPL-2.0-only */
/* What the program makes of a frame, to be compared with what it made of it at another time. */
#ifndef XDP_CANARY_TESTS_OUTCOME_H
#define XDP_CANARY_TESTS_OUTCOME_H

#include "lab.h"

#define OUTCOME_BYTES 192

struct outcome {
	uint32_t verdict, size;
	uint8_t bytes[OUTCOME_BYTES]; /* of the frame that came out, from its start */
	struct explanation told;
};

/* @aside: the same lab, with .aside set. */
struct outcome outcome_of(const struct lab *lab, const struct lab *aside, const struct frame *flow);
/* The same, wherever in the maps the view lies, and whenever it was asked. */
bool same_explanation(struct explanation a, struct explanation b);
bool same_packet(const struct outcome *a, const struct outcome *b);

#endif
