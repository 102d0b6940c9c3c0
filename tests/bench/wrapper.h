/* SPDX-License-Identifier: GPL-2.0-only */
/* What the bench tells the wrapper (wrapper.bpf.c) before each run. */
#ifndef XDP_CANARY_BENCH_WRAPPER_H
#define XDP_CANARY_BENCH_WRAPPER_H

#include <linux/types.h>

/*
 * The template: Ethernet header, then six words from the IP header on, so that each field that is
 * read lies in one of the stores: a load across two of them would wait for both, which no packet
 * from a NIC makes it do.
 */
#define TEMPLATE_WORDS 6

struct bench_case {
	__u64 macs;
	__u32 rest_of_macs;
	__u16 type, reserved;
	__u64 words[TEMPLATE_WORDS];
	__u32 size;	     /* of the frame */
	__u32 client_mask;   /* of the counter, for the source address; a power of two - 1 */
	__u32 client_spread; /* how far apart they are, modulo 2^32 */
	__u32 service_mask;  /* the same, for the destination address */
	__u32 port_mask;     /* the same, for the source port */
	__u32 source_offset; /* of the word of each address that changes */
	__u32 destination_offset;
	__u32 port_offset;
};

#endif
