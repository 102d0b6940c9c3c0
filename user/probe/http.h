/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One HTTP request and what came of it, over libcurl: http and https alone, no redirects, no proxy
 * whatever the environment says, no signals.
 */
#ifndef XDP_CANARY_PROBE_HTTP_H
#define XDP_CANARY_PROBE_HTTP_H

#include "policy/policy.h"
#include "probe/probe.h"

#define PROBE_BODY_MAX (64 * 1024)

struct http_request {
	const char *url;
	const char *json;		   /* is posted; NULL: GET */
	const char *host;		   /* the Host header; NULL: the URL's */
	const struct status_range *expect; /* which answers are right */
	size_t expect_count;		   /* 0: 200 to 299 */
	const char *expect_body; /* a text that the body must hold in its first PROBE_BODY_MAX
				    bytes; NULL: any body */
	uint64_t timeout_ms;	 /* for all of it, from its turn on; at least 1 */
	bool alone;		 /* a connection of its own, which is closed afterwards */
};

struct http_answer {
	bool ok;
	unsigned int status; /* 0: none came */
	const char *error;   /* one line; "" when ok */
	const char *body;    /* what came of it, followed by a 0 byte */
	size_t length;
	bool is_cut; /* the body had more than PROBE_BODY_MAX bytes; the rest was not read */
};

/* @answer lives until it returns. */
typedef void (*http_done)(void *data, const struct http_answer *answer);

/* -ENOMEM. *@out is valid until @done is called. */
int probe_http(struct probe_engine *engine, const struct http_request *request, http_done done,
	       void *data, struct probe **out);

#endif
