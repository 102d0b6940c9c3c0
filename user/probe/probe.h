/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Questions to the world outside, asked from the daemon's one thread: HTTP, TCP, commands,
 * Prometheus, hooks. Nothing here ever waits: each question has a time-out of its own, and what it
 * came to is told by a callback from the loop, exactly once, unless it is cancelled first.
 *
 *	probe_engine_new(event, &engine);
 *	probe_http(engine, &request, done, data, &probe);
 *	probe_cancel(probe);	before done() was called; after it the probe is gone
 *
 * Thousands may be asked at once. An engine has so many of them under way at a time; the others
 * wait for their turn, and their time runs from then on. Whoever must not wait behind somebody
 * else's questions has an engine of its own.
 *
 * A callback is never called from within the function that asks, and may itself ask, and cancel
 * others; it may not free the engine. What a request points to is copied.
 */
#ifndef XDP_CANARY_PROBE_H
#define XDP_CANARY_PROBE_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define PROBE_CONNECTIONS_MAX 256 /* under way at a time, HTTP and TCP together */
#define PROBE_COMMANDS_MAX    16

#define PROBE_ERROR_SIZE 256

struct probe_engine;
struct probe;

/* Blocks SIGCHLD, as the loop needs it to hear of commands. -errno. */
int probe_engine_new(sd_event *event, struct probe_engine **out);
/* So many connections under way at a time. */
void probe_engine_widen(struct probe_engine *engine, size_t connections);
/* Cancels whatever there is. NULL is allowed. */
void probe_engine_free(struct probe_engine *engine);

/* Its callback is not called any more. NULL is allowed. */
void probe_cancel(struct probe *probe);

/* One line of valid UTF-8, cut where it is too long, whatever it is made of. */
void probe_say(char out[PROBE_ERROR_SIZE], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
