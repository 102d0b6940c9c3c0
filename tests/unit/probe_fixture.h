/* SPDX-License-Identifier: GPL-2.0-only */
/* A loop with an engine, and a server whose behaviour the path says (probe_server.py). */
#ifndef XDP_CANARY_PROBE_FIXTURE_H
#define XDP_CANARY_PROBE_FIXTURE_H

#include "probe/probe.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct probe_box {
	sd_event *event;
	struct probe_engine *engine;
	pid_t server;
	int leash; /* closing it ends the server */
	unsigned int port;
	char url[128];
	/* How often the loop came by, and the longest that it did not, while waiting. */
	uint64_t ticks, longest_ns;
};

int probe_box_make(void **state);
int probe_box_remove(void **state);
/* http://127.0.0.1:PORT + @path; valid until the next call. */
const char *probe_box_url(struct probe_box *box, const char *path);
/* Runs the loop until *@count is @wanted or more; fails the test after a minute. */
void probe_box_wait(struct probe_box *box, const size_t *count, size_t wanted);
/* Runs the loop for so long. */
void probe_box_run(struct probe_box *box, uint64_t milliseconds);
/* Open descriptors of this process. */
size_t probe_box_descriptors(void);

#endif
