/* SPDX-License-Identifier: GPL-2.0-only */
/* Does anybody accept a connection there? It is closed again at once. */
#ifndef XDP_CANARY_PROBE_TCP_H
#define XDP_CANARY_PROBE_TCP_H

#include "probe/probe.h"
#include "util/address.h"

/* @error: one line; "" when it was accepted. It lives until the callback returns. */
typedef void (*tcp_done)(void *data, const char *error);

/* @timeout_ms: from its turn on. -ENOMEM. *@out is valid until @done is called. */
int probe_tcp(struct probe_engine *engine, const struct address *address, uint16_t port,
	      uint64_t timeout_ms, tcp_done done, void *data, struct probe **out);

#endif
