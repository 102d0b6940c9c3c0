/* SPDX-License-Identifier: GPL-2.0-only */
/* One number of Prometheus: an instant query, asked over its HTTP API. */
#ifndef XDP_CANARY_PROBE_PROMETHEUS_H
#define XDP_CANARY_PROBE_PROMETHEUS_H

#include "probe/probe.h"

enum prometheus_result {
	PROMETHEUS_NUMBER, /* a scalar, or a vector of one series; never NaN, maybe infinite */
	PROMETHEUS_NODATA, /* no series, or NaN */
	PROMETHEUS_ERROR,  /* no answer, or one that is no single number */
};

/* @text: why there is no number; "" where there is one. It lives until the callback returns. */
typedef void (*prometheus_done)(void *data, enum prometheus_result result, double number,
				const char *text);

/*
 * @url: of the server; @query: PromQL. @timeout_ms: from its turn on. -ENOMEM. *@out is valid until
 * @done is called.
 */
int probe_prometheus(struct probe_engine *engine, const char *url, const char *query,
		     uint64_t timeout_ms, prometheus_done done, void *data, struct probe **out);

/*
 * What an answer with @status says: the pure part. @number is set with PROMETHEUS_NUMBER, @text
 * without.
 */
enum prometheus_result prometheus_read(unsigned int status, const char *body, size_t length,
				       double *number, char text[PROBE_ERROR_SIZE]);

#endif
