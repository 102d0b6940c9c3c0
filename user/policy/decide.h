/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's decision, from a compiled image, in user space: for `explain -f`, with nothing
 * loaded. The parts that decide are the same headers; tests hold the two against each other and
 * against an independent reference.
 */
#ifndef XDP_CANARY_DECIDE_H
#define XDP_CANARY_DECIDE_H

#include "policy/compile.h"

/* A flow towards a VIP. Ports in host order. */
struct flow {
	struct address source, destination;
	/* An IPv4 client that comes in an IPv6 packet (::ffff:a.b.c.d): the destination's family
	 * tells. */
	uint16_t source_port, destination_port;
	uint8_t protocol;
};

/* What segments and groups say of the client. */
struct client_facts {
	uint64_t members;  /* bits of segments, as in compile_input.rule_segments */
	const char *group; /* text of the column that the service groups by; NULL: none */
};

/* Fills what the stages client, cohort and backend do; reason is the decision's or NO_BACKEND or
 * NOT_ENFORCED. */
void decide(const struct view_image *image, struct siphash_key secret, const struct flow *flow,
	    const struct client_facts *facts, struct explanation *out);

#endif
