/* SPDX-License-Identifier: GPL-2.0-only */
/* The HTTP server behind metrics.listen: GET /metrics and nothing else. libmicrohttpd on the
 * daemon's event loop. */
#ifndef XDP_CANARY_HTTP_H
#define XDP_CANARY_HTTP_H

#include "util/errors.h"

#include <stddef.h>
#include <systemd/sd-event.h>

struct http;

/* Renders the page: malloc()ed text, 0; a negative errno: the client is told 500. */
typedef int (*http_page)(void *data, char **text, size_t *length);

/* @listen: HOST:PORT, IPv6 in brackets. */
int http_start(sd_event *event, const char *listen, http_page page, void *data, struct http **out,
	       struct errors *errors);
void http_stop(struct http *http); /* NULL is allowed */
/* Connections that wait for a time-out: to be called now and then. */
void http_tick(struct http *http);

#endif
