/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Prometheus' text exposition format 0.0.4 of a snapshot. Names and labels: INTERFACE, section 5;
 * no label names a client.
 */
#ifndef XDP_CANARY_METRICS_H
#define XDP_CANARY_METRICS_H

#include "observe/snapshot.h"

/* What was told of a service's packets on the current path. */
struct told_path {
	char service[NAME_SIZE];
	uint64_t since_ns; /* which counters: struct box's */
	uint64_t packets;
};

/* What only the daemon knows. */
struct daemon_facts {
	uint64_t store_errors;
	uint64_t last_loop_ns;	/* CLOCK_REALTIME */
	struct told_path *told; /* by the service's slot */
	size_t told_count;
	/* Families that are the daemon's own: of its checks and hooks. NULL: there are none. */
	void (*write_more)(void *data, FILE *out);
	void *data;
};

/*
 * What a snapshot says of the current path lags behind by what other paths had while it was read,
 * now more and now less: a counter that fell would be taken for one that began anew. Returns the
 * most that was said of this service in @slot, by the counters that are since @since_ns.
 */
uint64_t never_falling(struct daemon_facts *facts, uint32_t slot, const char *service,
		       uint64_t since_ns, uint64_t packets);
void daemon_facts_release(struct daemon_facts *facts);

/* malloc()ed text in *@out, its length in *@length. */
int metrics_render(struct control *control, struct daemon_facts *facts, char **out, size_t *length);

#endif
