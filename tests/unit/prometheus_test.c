// SPDX-License-Identifier: GPL-2.0-only
/* What a real Prometheus answers, and what answers that it would not give are taken for. */
#include "probe/http.h"
#include "probe/prometheus.h"
#include "probe_fixture.h"

#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct prometheus_box {
	struct probe_box *box;
	pid_t server;
	char directory[64], url[64];
};

struct heard {
	size_t count;
	enum prometheus_result result;
	double number;
	char text[PROBE_ERROR_SIZE];
};

static void hear(void *data, enum prometheus_result result, double number, const char *text)
{
	struct heard *heard = data;

	heard->count++;
	heard->result = result;
	heard->number = number;
	snprintf(heard->text, sizeof(heard->text), "%s", text);
}

static struct heard ask_at(struct prometheus_box *prometheus, const char *url, const char *query)
{
	struct heard heard = {0};
	struct probe *probe;

	assert_int_equal(
		probe_prometheus(prometheus->box->engine, url, query, 30000, hear, &heard, &probe),
		0);
	probe_box_wait(prometheus->box, &heard.count, 1);
	return heard;
}

static struct heard ask(void **state, const char *query)
{
	struct prometheus_box *prometheus = *state;

	return ask_at(prometheus, prometheus->url, query);
}

/* ---- the server ---- */

static unsigned int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
	close(fd);
	return ntohs(at.sin_port);
}

static void run_server(struct prometheus_box *prometheus)
{
	char config[128], data[128], listen[128];
	int file;

	snprintf(config, sizeof(config), "--config.file=%s/prometheus.yml", prometheus->directory);
	snprintf(data, sizeof(data), "--storage.tsdb.path=%s/data", prometheus->directory);
	snprintf(listen, sizeof(listen), "--web.listen-address=%s",
		 prometheus->url + strlen("http://"));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	file = open("/dev/null", O_RDWR);
	dup2(file, 1);
	dup2(file, 2);
	close_range(3, ~0U, 0);
	execlp("prometheus", "prometheus", config, data, listen, NULL);
	_exit(127);
}

static void on_ready(void *data, const struct http_answer *answer)
{
	*(int *)data = answer->ok ? 1 : -1;
}

static void await_server(struct prometheus_box *prometheus)
{
	char url[96];
	const struct http_request request = {.url = url, .timeout_ms = 1000};
	struct probe *probe;
	int ready = -1;

	snprintf(url, sizeof(url), "%s/-/ready", prometheus->url);
	for (int i = 0; i < 600 && ready < 1; i++) {
		ready = 0;
		assert_int_equal(
			probe_http(prometheus->box->engine, &request, on_ready, &ready, &probe), 0);
		while (!ready)
			probe_box_run(prometheus->box, 50);
	}
	assert_int_equal(ready, 1);
}

static int make(void **state)
{
	struct prometheus_box *prometheus = calloc(1, sizeof(*prometheus));
	void *box;
	char path[96];
	FILE *file;

	probe_box_make(&box);
	prometheus->box = box;
	strcpy(prometheus->directory, "/tmp/prometheus_test.XXXXXX");
	assert_non_null(mkdtemp(prometheus->directory));
	snprintf(path, sizeof(path), "%s/prometheus.yml", prometheus->directory);
	file = fopen(path, "w");
	fputs("global: {}\n", file);
	fclose(file);
	snprintf(prometheus->url, sizeof(prometheus->url), "http://127.0.0.1:%u", free_port());
	prometheus->server = fork();
	assert_true(prometheus->server >= 0);
	if (!prometheus->server)
		run_server(prometheus);
	await_server(prometheus);
	*state = prometheus;
	return 0;
}

static int unmake(void **state)
{
	struct prometheus_box *prometheus = *state;
	void *box = prometheus->box;
	char command[96];

	kill(prometheus->server, SIGKILL);
	waitpid(prometheus->server, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", prometheus->directory);
	assert_int_equal(system(command), 0);
	probe_box_remove(&box);
	free(prometheus);
	return 0;
}

/* ---- what it answers ---- */

static void a_scalar_and_a_vector_of_one_are_numbers(void **state)
{
	struct heard heard = ask(state, "1 + 1");

	assert_int_equal(heard.result, PROMETHEUS_NUMBER);
	assert_true(heard.number == 2);
	heard = ask(state, "vector(0.25)");
	assert_int_equal(heard.result, PROMETHEUS_NUMBER);
	assert_true(heard.number == .25);
	heard = ask(state, "1 / vector(0)");
	assert_int_equal(heard.result, PROMETHEUS_NUMBER);
	assert_true(isinf(heard.number));
}

static void every_character_of_a_query_arrives(void **state)
{
	/* One series, if label a has the six characters and none of them has become a space. */
	struct heard heard =
		ask(state, "label_replace(label_replace(vector(3), \"a\", \"+%20&\xc3\xa4\", "
			   "\"\", \"\"), \"b\", \"yes\", \"a\", \"[^ ]{6}\") * on(b) "
			   "label_replace(vector(5), \"b\", \"yes\", \"\", \"\")");

	assert_int_equal(heard.result, PROMETHEUS_NUMBER);
	assert_true(heard.number == 15);
}

static void an_address_may_end_with_a_slash(void **state)
{
	struct prometheus_box *prometheus = *state;
	char url[96];

	snprintf(url, sizeof(url), "%s//", prometheus->url);
	assert_int_equal(ask_at(prometheus, url, "1").result, PROMETHEUS_NUMBER);
}

static void no_series_and_nan_are_no_data(void **state)
{
	struct heard heard = ask(state, "nothing_has_this_name");

	assert_int_equal(heard.result, PROMETHEUS_NODATA);
	assert_string_equal(heard.text, "the query gives no series");
	heard = ask(state, "vector(0) / 0");
	assert_int_equal(heard.result, PROMETHEUS_NODATA);
	assert_non_null(strstr(heard.text, "NaN"));
}

static void a_promql_error_is_passed_on(void **state)
{
	struct heard heard = ask(state, "sum(");

	assert_int_equal(heard.result, PROMETHEUS_ERROR);
	assert_string_equal(
		heard.text,
		"Prometheus says: invalid parameter \"query\": 1:5: parse error: unclosed left "
		"parenthesis");
}

static void several_series_are_to_be_aggregated(void **state)
{
	struct heard heard = ask(state, "label_replace(vector(1), \"a\", \"x\", \"\", \"\") or "
					"label_replace(vector(2), \"a\", \"y\", \"\", \"\")");

	assert_int_equal(heard.result, PROMETHEUS_ERROR);
	assert_string_equal(heard.text, "the query gives 2 series: aggregate them to one, as "
					"sum(...) does");
}

static void other_types_are_errors(void **state)
{
	struct heard heard = ask(state, "vector(1)[5m:1m]");

	assert_int_equal(heard.result, PROMETHEUS_ERROR);
	assert_string_equal(heard.text,
			    "the query gives a matrix: write one that gives a single number");
	heard = ask(state, "\"text\"");
	assert_int_equal(heard.result, PROMETHEUS_ERROR);
	assert_string_equal(heard.text,
			    "the query gives a string: write one that gives a single number");
}

static void nobody_and_somebody_else_are_errors(void **state)
{
	struct prometheus_box *prometheus = *state;
	struct heard heard = ask_at(prometheus, "http://127.0.0.1:1", "1");

	assert_int_equal(heard.result, PROMETHEUS_ERROR);
	assert_string_not_equal(heard.text, "");
	heard = ask_at(prometheus, probe_box_url(prometheus->box, "/ok"), "1");
	assert_int_equal(heard.result, PROMETHEUS_ERROR);
	assert_string_equal(heard.text, "no Prometheus answers there (HTTP status 200)");
	heard = ask_at(prometheus, probe_box_url(prometheus->box, "/big/70000"), "1");
	assert_int_equal(heard.result, PROMETHEUS_ERROR);
	assert_non_null(strstr(heard.text, "more than 64 KiB"));
}

/* ---- what it would not ---- */

static void garbage_is_an_error_and_never_a_number(void **state)
{
	static const char *const bodies[] = {
		"",
		"null",
		"[]",
		"{\"status\":\"success\"}",
		"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\"}}",
		"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1]}}",
		"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,2]}}",
		"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"\"]}}",
		"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"2x\"]}"
		"}",
		"{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{}]}}",
		"{\"status\":\"success\",\"data\":{\"resultType\":7,\"result\":[1,\"2\"]}}",
		"{\"status\":\"error\"}",
		"{\"status\":\"error\",\"error\":7}",
	};
	char text[PROBE_ERROR_SIZE];
	double number;

	(void)state;
	for (size_t i = 0; i < COUNT(bodies); i++) {
		*text = '\0';
		assert_int_equal(prometheus_read(200, bodies[i], strlen(bodies[i]), &number, text),
				 PROMETHEUS_ERROR);
		assert_string_not_equal(text, "");
	}
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_scalar_and_a_vector_of_one_are_numbers),
		TEST(every_character_of_a_query_arrives),
		TEST(an_address_may_end_with_a_slash),
		TEST(no_series_and_nan_are_no_data),
		TEST(a_promql_error_is_passed_on),
		TEST(several_series_are_to_be_aggregated),
		TEST(other_types_are_errors),
		TEST(nobody_and_somebody_else_are_errors),
		TEST(garbage_is_an_error_and_never_a_number),
	};

	return cmocka_run_group_tests(tests, make, unmake);
}
