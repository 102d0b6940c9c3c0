/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A webhook: a JSON text is posted until somebody answers. Tried again, after pauses that double,
 * are no answer, 408, 429 and 5xx: any other status that is not 2xx is an answer, and a no.
 */
#ifndef XDP_CANARY_PROBE_HOOK_H
#define XDP_CANARY_PROBE_HOOK_H

#include "probe/probe.h"

#include <stdbool.h>

#define HOOK_PAUSE_MS	   500
#define HOOK_PAUSE_MOST_MS 30000

struct hook_request {
	const char *url, *json;
	uint64_t timeout_ms; /* of each try, from its turn on */
	uint32_t retries;    /* after the first try */
	uint64_t pause_ms;   /* before the first of them; 0: HOOK_PAUSE_MS */
};

/* @error: "" when ok, else what the last try came to. It lives until the callback returns. */
typedef void (*hook_done)(void *data, bool ok, const char *error);

/* -ENOMEM. *@out is valid until @done is called. */
int probe_hook(struct probe_engine *engine, const struct hook_request *request, hook_done done,
	       void *data, struct probe **out);

#endif
