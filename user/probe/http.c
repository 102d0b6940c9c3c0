// SPDX-License-Identifier: GPL-2.0-only
#include "probe/http.h"

#include "probe/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http_probe {
	struct probe probe;
	http_done done;
	void *data;
	struct status_range *expect;
	size_t expect_count;
	char *expect_body;
	CURL *easy;
	struct curl_slist *headers;
	bool is_added; /* to the multi handle */
	char *body;
	size_t length, room;
	bool is_cut;
	char error[CURL_ERROR_SIZE];
};

/* ---- the answer ---- */

static bool is_expected(const struct http_probe *http, unsigned int status)
{
	for (size_t i = 0; i < http->expect_count; i++)
		if (status >= http->expect[i].first && status <= http->expect[i].last)
			return true;
	return !http->expect_count && status >= 200 && status <= 299;
}

static void judge(const struct http_probe *http, CURLcode code, struct http_answer *answer,
		  char error[PROBE_ERROR_SIZE])
{
	long status = 0;

	curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
	*answer = (struct http_answer){
		.status = status,
		.error = error,
		.body = http->body ? http->body : "",
		.length = http->length,
		.is_cut = http->is_cut,
	};
	*error = '\0';
	/* The body was cut by collect_body(), not by an error. */
	if (code == CURLE_WRITE_ERROR && http->is_cut)
		code = CURLE_OK;
	if (code)
		probe_say(error, "%s", *http->error ? http->error : curl_easy_strerror(code));
	else if (!is_expected(http, status))
		probe_say(error, "it answered with status %ld", status);
	else if (http->expect_body && !memmem(answer->body, answer->length, http->expect_body,
					      strlen(http->expect_body)))
		probe_say(error, "its answer does not hold \"%s\"", http->expect_body);
	else
		answer->ok = true;
}

/* The probe is gone before its callback runs, which may ask again; the body outlives it. */
static void finish(struct http_probe *http, CURLcode code)
{
	char error[PROBE_ERROR_SIZE], *body = http->body;
	http_done done = http->done;
	void *data = http->data;
	struct http_answer answer;

	judge(http, code, &answer, error);
	http->body = NULL;
	probe_end(&http->probe);
	done(data, &answer);
	free(body);
}

void http_transferred(struct probe *probe, CURLcode code)
{
	finish((struct http_probe *)probe, code);
}

static size_t collect_body(char *bytes, size_t size, size_t count, void *data)
{
	struct http_probe *http = data;
	size_t length = size * count, room = PROBE_BODY_MAX - http->length;
	char *grown;

	http->is_cut = length > room;
	if (http->is_cut)
		length = room;
	if (http->length + length + 1 > http->room) {
		grown = realloc(http->body, 2 * (http->length + length) + 1);
		if (!grown)
			return 0;
		http->body = grown;
		http->room = 2 * (http->length + length) + 1;
	}
	memcpy(http->body + http->length, bytes, length);
	http->length += length;
	http->body[http->length] = '\0';
	return http->is_cut ? 0 : length;
}

/* ---- the request ---- */

static void begin(struct probe *probe)
{
	struct http_probe *http = (struct http_probe *)probe;

	if (curl_multi_add_handle(probe->engine->multi, http->easy))
		finish(http, CURLE_OUT_OF_MEMORY);
	else
		http->is_added = true;
}

static void destroy(struct probe *probe)
{
	struct http_probe *http = (struct http_probe *)probe;

	if (http->is_added)
		curl_multi_remove_handle(probe->engine->multi, http->easy);
	curl_easy_cleanup(http->easy);
	curl_slist_free_all(http->headers);
	free(http->expect);
	free(http->expect_body);
	free(http->body);
	free(http);
}

static const struct probe_kind http_kind = {
	.queue = QUEUE_CONNECTIONS,
	.begin = begin,
	.destroy = destroy,
};

static int add_header(struct http_probe *http, const char *name, const char *value)
{
	struct curl_slist *longer;
	char *line;

	if (asprintf(&line, "%s: %s", name, value) < 0)
		return -ENOMEM;
	longer = curl_slist_append(http->headers, line);
	free(line);
	if (longer)
		http->headers = longer;
	return longer ? 0 : -ENOMEM;
}

static int copy_expected(struct http_probe *http, const struct http_request *request)
{
	if (request->expect_count) {
		http->expect = reallocarray(NULL, request->expect_count, sizeof(*http->expect));
		if (!http->expect)
			return -ENOMEM;
		memcpy(http->expect, request->expect,
		       request->expect_count * sizeof(*http->expect));
		http->expect_count = request->expect_count;
	}
	if (request->expect_body) {
		http->expect_body = strdup(request->expect_body);
		if (!http->expect_body)
			return -ENOMEM;
	}
	return 0;
}

static int set_headers(struct http_probe *http, const struct http_request *request)
{
	int error = request->host ? add_header(http, "Host", request->host) : 0;

	if (!error && request->json)
		error = add_header(http, "Content-Type", "application/json");
	return error;
}

/*
 * CURLOPT_DNS_CACHE_TIMEOUT: libcurl looks through all names that it keeps whenever a transfer is
 * over; with thousands of servers that was most of what a question took.
 *
 * CURLOPT_QUICK_EXIT: names are looked up by a thread of libcurl's; a look-up that is given up on
 * (time-out, cancel) is left to itself, where libcurl would wait for it, and the daemon with it.
 */
static int set_options(struct http_probe *http, const struct http_request *request)
{
	CURL *easy = http->easy;
	long alone = request->alone;
	CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, request->url);

	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_PROXY, "");
	if (!code && request->json)
		code = curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->json);
	if (!code && http->headers)
		code = curl_easy_setopt(easy, CURLOPT_HTTPHEADER, http->headers);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_USERAGENT, "xdp-canary");
	if (alone)
		curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, alone);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, alone);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, http->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, collect_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, http);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)&http->probe);
	return code ? -ENOMEM : 0;
}

int probe_http(struct probe_engine *engine, const struct http_request *request, http_done done,
	       void *data, struct probe **out)
{
	struct http_probe *http = calloc(1, sizeof(*http));
	int error;

	if (!http)
		return -ENOMEM;
	http->done = done;
	http->data = data;
	http->easy = curl_easy_init();
	error = http->easy ? copy_expected(http, request) : -ENOMEM;
	if (!error)
		error = set_headers(http, request);
	if (!error)
		error = set_options(http, request);
	if (error) {
		destroy(&http->probe);
		return error;
	}
	probe_enter(engine, &http->probe, &http_kind);
	*out = &http->probe;
	return 0;
}
