/* SPDX-License-Identifier: GPL-2.0-only */
/* What feeder.c and feeding.bpf.c, which hands packets to the real program, tell each other. */
#ifndef XDP_CANARY_TESTS_FEED_H
#define XDP_CANARY_TESTS_FEED_H

#include <linux/types.h>

#define FED_FLOWS_MAX 4096
#define FED_NONE      0xffffu /* no flow; no backend */

/* A flow that is watched. A backend is told by its MAC: cohort << 8 | place in the cohort. */
struct fed_flow {
	__be32 source;
	__be16 port;
	__u16 backend; /* where it has to go */
	__u32 packets; /* that came back to the feeder */
	__u32 moved;   /* of these, sent anywhere else */
};

struct feed {
	__u32 flows;  /* that take turns; 0: every packet has a random source and port */
	__u32 next;   /* the flow of the next packet */
	__u32 last;   /* that of the packet before, whose frame is here again; FED_NONE */
	__u32 lines;  /* that it shares with another feeder, a power of two; 0: none */
	__u32 swaps;  /* of 65,536 packets of random sources: a word of a line is swapped */
	__u64 random; /* state */
};

#endif
