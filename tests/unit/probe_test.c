// SPDX-License-Identifier: GPL-2.0-only
/* HTTP, TCP and hooks, asked from one thread, of servers that answer in every wrong way. */
#include "probe/hook.h"
#include "probe/http.h"
#include "probe/tcp.h"
#include "probe_fixture.h"
#include "util/text.h"

#include <jansson.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 2000

/* What the last answer was, and how many came. */
struct heard {
	size_t count, right;
	bool ok, is_cut;
	unsigned int status;
	char error[PROBE_ERROR_SIZE];
	char body[512];
	size_t length;
};

static void hear(void *data, const struct http_answer *answer)
{
	struct heard *heard = data;

	heard->count++;
	heard->right += answer->ok;
	heard->ok = answer->ok;
	heard->is_cut = answer->is_cut;
	heard->status = answer->status;
	heard->length = answer->length;
	snprintf(heard->error, sizeof(heard->error), "%s", answer->error);
	snprintf(heard->body, sizeof(heard->body), "%s", answer->body);
	assert_int_equal(answer->body[answer->length], 0);
}

static struct heard ask(struct probe_box *box, const char *path, struct http_request request)
{
	struct heard heard = {0};
	struct probe *probe;

	request.url = probe_box_url(box, path);
	request.timeout_ms = request.timeout_ms ? request.timeout_ms : 10000;
	assert_int_equal(probe_http(box->engine, &request, hear, &heard, &probe), 0);
	assert_int_equal(heard.count, 0);
	probe_box_wait(box, &heard.count, 1);
	return heard;
}

/* ---- one question ---- */

static void a_right_answer_is_right(void **state)
{
	struct heard heard = ask(*state, "/ok", (struct http_request){0});

	assert_true(heard.ok);
	assert_int_equal(heard.status, 200);
	assert_string_equal(heard.body, "all is well\n");
	assert_string_equal(heard.error, "");
}

static void only_the_expected_statuses_are_right(void **state)
{
	static const struct status_range range = {200, 399}, teapot = {418, 418};
	struct heard heard = ask(*state, "/status/503", (struct http_request){0});

	assert_false(heard.ok);
	assert_int_equal(heard.status, 503);
	assert_string_equal(heard.error, "it answered with status 503");
	assert_false(ask(*state, "/status/404",
			 (struct http_request){.expect = &range, .expect_count = 1})
			     .ok);
	assert_true(ask(*state, "/status/399",
			(struct http_request){.expect = &range, .expect_count = 1})
			    .ok);
	assert_false(ask(*state, "/status/400",
			 (struct http_request){.expect = &range, .expect_count = 1})
			     .ok);
	assert_true(ask(*state, "/status/418",
			(struct http_request){.expect = &teapot, .expect_count = 1})
			    .ok);
	assert_false(
		ask(*state, "/ok", (struct http_request){.expect = &teapot, .expect_count = 1}).ok);
}

static void the_body_must_hold_the_expected_text(void **state)
{
	struct heard heard = ask(*state, "/ok", (struct http_request){.expect_body = "is well"});

	assert_true(heard.ok);
	heard = ask(*state, "/ok", (struct http_request){.expect_body = "is ill"});
	assert_false(heard.ok);
	assert_string_equal(heard.error, "its answer does not hold \"is ill\"");
}

static void a_redirect_is_not_followed(void **state)
{
	struct heard heard = ask(*state, "/redirect", (struct http_request){0});

	assert_false(heard.ok);
	assert_int_equal(heard.status, 302);
}

static void a_big_body_is_read_up_to_its_bound(void **state)
{
	struct heard heard = ask(*state, "/big/1000000", (struct http_request){0});

	assert_true(heard.ok);
	assert_true(heard.is_cut);
	assert_int_equal(heard.length, PROBE_BODY_MAX);
	/* "end" is beyond the bound, or just within it. */
	assert_false(ask(*state, "/big/1000000", (struct http_request){.expect_body = "end"}).ok);
	heard = ask(*state, "/big/65533", (struct http_request){.expect_body = "end"});
	assert_true(heard.ok);
	assert_false(heard.is_cut);
	assert_int_equal(heard.length, PROBE_BODY_MAX);
}

static void silence_slowness_reset_and_close_are_wrong_answers(void **state)
{
	struct heard heard = ask(*state, "/never", (struct http_request){.timeout_ms = 200});

	assert_false(heard.ok);
	assert_int_equal(heard.status, 0);
	assert_non_null(strstr(heard.error, "timed out"));
	assert_false(ask(*state, "/slow", (struct http_request){.timeout_ms = 200}).ok);
	heard = ask(*state, "/reset", (struct http_request){0});
	assert_false(heard.ok);
	assert_string_not_equal(heard.error, "");
	assert_false(ask(*state, "/close", (struct http_request){0}).ok);
}

static json_t *echo(struct probe_box *box, struct http_request request)
{
	struct heard heard = ask(box, "/echo", request);
	json_t *said = json_loads(heard.body, 0, NULL);

	assert_true(heard.ok);
	assert_non_null(said);
	return said;
}

static const char *field(const json_t *said, const char *name)
{
	return json_string_value(json_object_get(said, name));
}

static void json_is_posted_and_the_host_may_be_another(void **state)
{
	json_t *said =
		echo(*state, (struct http_request){.json = "{\"a\":1}", .host = "shop.test"});

	assert_string_equal(field(said, "method"), "POST");
	assert_string_equal(field(said, "body"), "{\"a\":1}");
	assert_string_equal(field(said, "host"), "shop.test");
	assert_string_equal(field(said, "type"), "application/json");
	json_decref(said);
}

static void no_proxy_is_asked_whatever_the_environment_says(void **state)
{
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	assert_true(ask(*state, "/ok", (struct http_request){0}).ok);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
}

static json_int_t port_of(struct probe_box *box, bool alone)
{
	json_t *said = echo(box, (struct http_request){.alone = alone});
	json_int_t port = json_integer_value(json_object_get(said, "port"));

	json_decref(said);
	return port;
}

static void a_connection_is_used_again_unless_it_is_to_be_alone(void **state)
{
	json_int_t first = port_of(*state, false);
	size_t descriptors = probe_box_descriptors();

	assert_int_equal(port_of(*state, false), first);
	assert_int_not_equal(port_of(*state, true), first);
	assert_int_not_equal(port_of(*state, true), first);
	assert_int_equal(probe_box_descriptors(), descriptors);
}

static void only_http_is_spoken(void **state)
{
	struct probe_box *box = *state;
	const struct http_request request = {.url = "file:///etc/passwd", .timeout_ms = 1000};
	struct heard heard = {0};
	struct probe *probe;

	assert_int_equal(probe_http(box->engine, &request, hear, &heard, &probe), 0);
	probe_box_wait(box, &heard.count, 1);
	assert_false(heard.ok);
	assert_int_equal(heard.length, 0);
}

static void what_is_cancelled_is_not_heard_of(void **state)
{
	struct probe_box *box = *state;
	const struct http_request request = {.url = probe_box_url(box, "/pause/100"),
					     .timeout_ms = 1000};
	struct heard heard = {0};
	struct probe *waiting, *running;

	assert_int_equal(probe_http(box->engine, &request, hear, &heard, &running), 0);
	probe_box_run(box, 50);
	assert_int_equal(probe_http(box->engine, &request, hear, &heard, &waiting), 0);
	probe_cancel(waiting);
	probe_cancel(running);
	probe_cancel(NULL);
	probe_box_run(box, 200);
	assert_int_equal(heard.count, 0);
}

/* ---- names ---- */

#define SLOW_NAME    "slow.invalid"
#define SLOW_SECONDS 3

/* In the place of libc's, for libcurl too: a name server that takes its time. */
int getaddrinfo(const char *restrict node, const char *restrict service,
		const struct addrinfo *restrict hints, struct addrinfo **restrict result)
{
	struct sockaddr_in *address;

	(void)service;
	(void)hints;
	if (!strcmp(node, SLOW_NAME)) {
		sleep(SLOW_SECONDS);
		return EAI_AGAIN;
	}
	*result = calloc(1, sizeof(**result) + sizeof(*address));
	address = (struct sockaddr_in *)(*result + 1);
	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	(*result)->ai_family = AF_INET;
	(*result)->ai_socktype = SOCK_STREAM;
	(*result)->ai_addrlen = sizeof(*address);
	(*result)->ai_addr = (struct sockaddr *)address;
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	free(list);
}

static void a_name_server_that_does_not_answer_keeps_nobody_waiting(void **state)
{
	struct probe_box *box = *state;
	const struct http_request request = {.url = "http://" SLOW_NAME "/", .timeout_ms = 200};
	struct heard heard = {0};
	struct probe *probe;

	box->longest_ns = 0;
	assert_int_equal(probe_http(box->engine, &request, hear, &heard, &probe), 0);
	probe_box_wait(box, &heard.count, 1);
	assert_false(heard.ok);
	assert_non_null(strstr(heard.error, "timed out"));
	assert_int_equal(probe_http(box->engine, &request, hear, &heard, &probe), 0);
	probe_box_run(box, 50);
	probe_cancel(probe);
	/* Neither the time-out nor the cancelling waited for the look-up. */
	assert_true(box->longest_ns < SLOW_SECONDS * 1000000000ULL / 2);
}

/* ---- TCP ---- */

static void hear_tcp(void *data, const char *error)
{
	struct heard *heard = data;

	heard->count++;
	heard->right += !*error;
	snprintf(heard->error, sizeof(heard->error), "%s", error);
}

static int listen_at(uint16_t *port, int backlog)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static struct heard connect_to(struct probe_box *box, uint16_t port, uint64_t timeout_ms)
{
	const struct address here = {4, {127, 0, 0, 1}};
	struct heard heard = {0};
	struct probe *probe;

	assert_int_equal(probe_tcp(box->engine, &here, port, timeout_ms, hear_tcp, &heard, &probe),
			 0);
	assert_int_equal(heard.count, 0);
	probe_box_wait(box, &heard.count, 1);
	return heard;
}

static void a_port_that_accepts_is_told_from_one_that_does_not(void **state)
{
	uint16_t port;
	int fd = listen_at(&port, 8);
	struct heard heard = connect_to(*state, port, 10000);

	assert_string_equal(heard.error, "");
	close(fd);
	heard = connect_to(*state, port, 10000);
	assert_string_equal(heard.error, "Connection refused");
}

static void a_port_that_does_not_answer_ends_by_its_time(void **state)
{
	uint16_t port;
	int fd = listen_at(&port, 0), filler[8];
	const struct sockaddr_in at = {.sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct heard heard;

	/* A full backlog drops SYNs. */
	for (int i = 0; i < 8; i++) {
		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(filler[i], (const struct sockaddr *)&at, sizeof(at));
	}
	heard = connect_to(*state, port, 200);
	assert_string_equal(heard.error, "no connection within 200 ms");
	for (int i = 0; i < 8; i++)
		close(filler[i]);
	close(fd);
}

/* ---- hooks ---- */

static void hear_hook(void *data, bool ok, const char *error)
{
	struct heard *heard = data;

	heard->count++;
	heard->ok = ok;
	snprintf(heard->error, sizeof(heard->error), "%s", error);
}

static struct heard call(struct probe_box *box, const char *path, uint32_t retries)
{
	const struct hook_request request = {
		.url = probe_box_url(box, path),
		.json = "{}",
		.timeout_ms = 150,
		.retries = retries,
		.pause_ms = 20,
	};
	struct heard heard = {0};
	struct probe *probe;

	assert_int_equal(probe_hook(box->engine, &request, hear_hook, &heard, &probe), 0);
	probe_box_wait(box, &heard.count, 1);
	return heard;
}

static int times_asked(struct probe_box *box, const char *path)
{
	char of[64];

	snprintf(of, sizeof(of), "/asked%s", path);
	return atoi(ask(box, of, (struct http_request){0}).body);
}

static void a_hook_is_called_until_it_answers(void **state)
{
	assert_true(call(*state, "/later/2/a", 2).ok);
	assert_int_equal(times_asked(*state, "/later/2/a"), 3);
	assert_true(call(*state, "/ok", 0).ok);
}

static void a_hook_that_fails_is_given_up_after_its_retries(void **state)
{
	struct heard heard = call(*state, "/later/9/b", 3);

	assert_false(heard.ok);
	assert_string_equal(heard.error, "it answered with status 503");
	assert_int_equal(times_asked(*state, "/later/9/b"), 4);
	assert_false(call(*state, "/reset/c", 1).ok);
	assert_int_equal(times_asked(*state, "/reset/c"), 2);
}

/* No try comes before its pause is over, whatever else the machine does. */
static void the_pauses_between_tries_grow(void **state)
{
	json_int_t pause = 20, before = 0, now;
	json_t *came, *time;
	size_t i;

	assert_false(call(*state, "/later/9/g", 4).ok);
	came = json_loads(ask(*state, "/came/later/9/g", (struct http_request){0}).body, 0, NULL);
	assert_int_equal(json_array_size(came), 5);
	json_array_foreach(came, i, time)
	{
		now = json_integer_value(time);
		if (i) {
			/* Of whole milliseconds on two clocks. */
			assert_true(now - before >= pause - 1);
			pause *= 2;
		}
		before = now;
	}
	json_decref(came);
}

static void a_no_is_an_answer(void **state)
{
	assert_false(call(*state, "/status/403", 3).ok);
	assert_int_equal(times_asked(*state, "/status/403"), 1);
	assert_false(call(*state, "/redirect/f", 3).ok);
	assert_int_equal(times_asked(*state, "/redirect/f"), 1);
}

static void a_hook_that_never_answers_ends_and_keeps_nobody_waiting(void **state)
{
	struct probe_box *box = *state;
	struct heard heard;
	uint64_t ticks;

	box->ticks = 0;
	heard = call(box, "/never/d", 2);
	ticks = box->ticks;
	assert_false(heard.ok);
	assert_non_null(strstr(heard.error, "timed out"));
	assert_int_equal(times_asked(box, "/never/d"), 3);
	/* The loop came by while it waited, not only when a try or a pause was over. */
	assert_true(ticks > 20);
}

static void a_hook_that_is_cancelled_in_its_pause_is_not_called_again(void **state)
{
	struct probe_box *box = *state;
	const struct hook_request request = {
		.url = probe_box_url(box, "/later/9/e"),
		.json = "{}",
		.timeout_ms = 5000,
		.retries = 5,
		.pause_ms = 300,
	};
	struct heard heard = {0};
	struct probe *probe;

	assert_int_equal(probe_hook(box->engine, &request, hear_hook, &heard, &probe), 0);
	for (int i = 0; i < 1000 && !times_asked(box, "/later/9/e"); i++)
		probe_box_run(box, 10);
	probe_cancel(probe);
	probe_box_run(box, 400);
	assert_int_equal(heard.count, 0);
	assert_int_equal(times_asked(box, "/later/9/e"), 1);
}

/* ---- many ---- */

static void ask_many(struct probe_box *box, const char *path, struct heard *heard)
{
	const struct http_request request = {
		.url = probe_box_url(box, path), .timeout_ms = 50000, .alone = true};
	struct probe *probe;

	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(probe_http(box->engine, &request, hear, heard, &probe), 0);
}

static void thousands_at_once_use_a_bounded_number_of_descriptors(void **state)
{
	struct probe_box *box = *state;
	size_t before = probe_box_descriptors(), most = 0, now;
	struct heard heard = {0};

	ask_many(box, "/pause/20", &heard);
	while (heard.count < MANY) {
		probe_box_wait(box, &heard.count, heard.count + 1);
		now = probe_box_descriptors();
		most = now > most ? now : most;
	}
	assert_int_equal(heard.right, MANY);
	assert_true(most > before + PROBE_CONNECTIONS_MAX / 2);
	assert_true(most <= before + PROBE_CONNECTIONS_MAX + 8);
	assert_true(probe_box_descriptors() <= before + 8);
}

static void an_engine_that_is_freed_leaves_nothing_behind(void **state)
{
	struct probe_box *box = *state;
	size_t before = probe_box_descriptors();
	struct probe_engine *engine = box->engine;
	struct heard heard = {0};

	assert_true(probe_engine_new(box->event, &box->engine) >= 0);
	ask_many(box, "/never", &heard);
	probe_box_run(box, 200);
	assert_true(probe_box_descriptors() > before + PROBE_CONNECTIONS_MAX / 2);
	probe_engine_free(box->engine);
	box->engine = engine;
	probe_box_run(box, 20);
	assert_int_equal(heard.count, 0);
	/* The box's own engine may meanwhile have closed connections of the test before. */
	assert_in_range(probe_box_descriptors(), 0, before);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_right_answer_is_right),
		TEST(only_the_expected_statuses_are_right),
		TEST(the_body_must_hold_the_expected_text),
		TEST(a_redirect_is_not_followed),
		TEST(a_big_body_is_read_up_to_its_bound),
		TEST(silence_slowness_reset_and_close_are_wrong_answers),
		TEST(json_is_posted_and_the_host_may_be_another),
		TEST(no_proxy_is_asked_whatever_the_environment_says),
		TEST(a_connection_is_used_again_unless_it_is_to_be_alone),
		TEST(only_http_is_spoken),
		TEST(what_is_cancelled_is_not_heard_of),
		TEST(a_name_server_that_does_not_answer_keeps_nobody_waiting),
		TEST(a_port_that_accepts_is_told_from_one_that_does_not),
		TEST(a_port_that_does_not_answer_ends_by_its_time),
		TEST(a_hook_is_called_until_it_answers),
		TEST(a_hook_that_fails_is_given_up_after_its_retries),
		TEST(the_pauses_between_tries_grow),
		TEST(a_no_is_an_answer),
		TEST(a_hook_that_never_answers_ends_and_keeps_nobody_waiting),
		TEST(a_hook_that_is_cancelled_in_its_pause_is_not_called_again),
		TEST(thousands_at_once_use_a_bounded_number_of_descriptors),
		TEST(an_engine_that_is_freed_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, probe_box_make, probe_box_remove);
}
