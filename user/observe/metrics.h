/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Prometheus' text exposition format 0.0.4 of a snapshot. Names and labels: INTERFACE, section 5;
 * no label names a client.
 */
#ifndef XDP_CANARY_METRICS_H
#define XDP_CANARY_METRICS_H

#include "observe/snapshot.h"

/* What only the daemon knows. */
struct daemon_facts {
	uint64_t store_errors;
	uint64_t last_loop_ns; /* CLOCK_REALTIME */
};

/* malloc()ed text in *@out, its length in *@length. */
int metrics_render(struct control *control, const struct daemon_facts *facts, char **out,
		   size_t *length);

#endif
