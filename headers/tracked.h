/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flows of the clients that a rollout follows: those of the canary and of a matched slice of
 * control. One record a flow and one a client, in arrays, found by keyed hashes; and counters of
 * distinct clients' first occurrences.
 */
#ifndef XDP_CANARY_TRACKED_H
#define XDP_CANARY_TRACKED_H

#include "hash.h"
#include "types.h"

enum track_arm { TRACK_CONTROL, TRACK_CANARY, TRACK_ARMS };

/* Whose samples are kept by bucket. */
enum track_sample {
	SAMPLE_ESTABLISH_TIME,
	SAMPLE_RESPOND_TIME,
	SAMPLE_LAST_BYTE_TIME,
	SAMPLE_RESPONSE_SIZE,
	TRACK_SAMPLES
};
/*
 * Times: two buckets an octave of milliseconds, by their upper edges 1 2 3 4 6 8 12 16 24 32 ...;
 * sizes: log2 of bytes.
 */
#define TRACK_BUCKETS 32

#endif
