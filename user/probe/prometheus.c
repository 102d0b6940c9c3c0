// SPDX-License-Identifier: GPL-2.0-only
/*
 * The API's answers are those of https://prometheus.io/docs/prometheus/latest/querying/api: errors
 * have a status of 4xx or 5xx and say in JSON what is wrong, which is passed on as it is.
 */
#include "probe/prometheus.h"

#include "probe/http.h"
#include "probe/internal.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct prometheus_probe {
	struct probe probe;
	struct probe *http; /* NULL: it has answered */
	prometheus_done done;
	void *data;
};

/* Any answer of HTTP is read. */
static const struct status_range any_status = {100, 599};

/* ---- reading ---- */

/* [TIME, "NUMBER"]; Go writes NaN, +Inf and -Inf, which strtod() reads too. */
static enum prometheus_result read_value(const json_t *value, double *number,
					 char text[PROBE_ERROR_SIZE])
{
	const char *digits = json_string_value(json_array_get(value, 1));
	char *end = NULL;

	if (digits && *digits)
		*number = strtod(digits, &end);
	if (!end || *end) {
		probe_say(text, "its answer holds no number");
		return PROMETHEUS_ERROR;
	}
	if (!isnan(*number))
		return PROMETHEUS_NUMBER;
	probe_say(text, "the query gives NaN: most likely it divides nothing by nothing");
	return PROMETHEUS_NODATA;
}

static enum prometheus_result read_data(const json_t *data, double *number,
					char text[PROBE_ERROR_SIZE])
{
	const char *type = json_string_value(json_object_get(data, "resultType"));
	const json_t *result = json_object_get(data, "result");

	if (type && !strcmp(type, "scalar"))
		return read_value(result, number, text);
	if (!type || strcmp(type, "vector")) {
		probe_say(text, "the query gives a %s: write one that gives a single number",
			  type ? type : "result of no type");
		return PROMETHEUS_ERROR;
	}
	if (!json_array_size(result)) {
		probe_say(text, "the query gives no series");
		return PROMETHEUS_NODATA;
	}
	if (json_array_size(result) > 1) {
		probe_say(text,
			  "the query gives %zu series: aggregate them to one, as sum(...) does",
			  json_array_size(result));
		return PROMETHEUS_ERROR;
	}
	return read_value(json_object_get(json_array_get(result, 0), "value"), number, text);
}

enum prometheus_result prometheus_read(unsigned int status, const char *body, size_t length,
				       double *number, char text[PROBE_ERROR_SIZE])
{
	json_t *json = json_loadb(body, length, 0, NULL);
	const char *state = json_string_value(json_object_get(json, "status"));
	const char *error = json_string_value(json_object_get(json, "error"));
	enum prometheus_result result = PROMETHEUS_ERROR;

	if (state && !strcmp(state, "success"))
		result = read_data(json_object_get(json, "data"), number, text);
	else if (state && error)
		probe_say(text, "Prometheus says: %s", error);
	else
		probe_say(text, "no Prometheus answers there (HTTP status %u)", status);
	json_decref(json);
	return result;
}

/* ---- asking ---- */

static void destroy(struct probe *probe)
{
	struct prometheus_probe *prometheus = (struct prometheus_probe *)probe;

	probe_cancel(prometheus->http);
	free(prometheus);
}

static const struct probe_kind prometheus_kind = {.destroy = destroy};

static void on_answer(void *data, const struct http_answer *answer)
{
	struct prometheus_probe *prometheus = data;
	prometheus_done done = prometheus->done;
	enum prometheus_result result = PROMETHEUS_ERROR;
	void *of_caller = prometheus->data;
	char text[PROBE_ERROR_SIZE] = "";
	double number = NAN;

	if (!answer->ok)
		probe_say(text, "%s", answer->error);
	else if (answer->is_cut)
		probe_say(text,
			  "its answer has more than %d KiB: aggregate the query's series to "
			  "one, as sum(...) does",
			  PROBE_BODY_MAX / 1024);
	else
		result = prometheus_read(answer->status, answer->body, answer->length, &number,
					 text);
	prometheus->http = NULL;
	probe_end(&prometheus->probe);
	done(of_caller, result, number, text);
}

/* URL/api/v1/query?query=QUERY. malloc()ed; NULL: no memory. */
static char *address_of(const char *url, const char *query)
{
	size_t length = strlen(url);
	char *escaped = curl_easy_escape(NULL, query, 0), *address;

	while (length && url[length - 1] == '/')
		length--;
	if (!escaped ||
	    asprintf(&address, "%.*s/api/v1/query?query=%s", (int)length, url, escaped) < 0)
		address = NULL;
	curl_free(escaped);
	return address;
}

int probe_prometheus(struct probe_engine *engine, const char *url, const char *query,
		     uint64_t timeout_ms, prometheus_done done, void *data, struct probe **out)
{
	struct prometheus_probe *prometheus = calloc(1, sizeof(*prometheus));
	char *address = address_of(url, query);
	const struct http_request request = {
		.url = address,
		.expect = &any_status,
		.expect_count = 1,
		.timeout_ms = timeout_ms,
	};
	int error = prometheus && address ? 0 : -ENOMEM;

	if (!error)
		error = probe_http(engine, &request, on_answer, prometheus, &prometheus->http);
	free(address);
	if (error) {
		free(prometheus);
		return error;
	}
	prometheus->done = done;
	prometheus->data = data;
	probe_enter(engine, &prometheus->probe, &prometheus_kind);
	*out = &prometheus->probe;
	return 0;
}
