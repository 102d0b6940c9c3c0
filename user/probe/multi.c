// SPDX-License-Identifier: GPL-2.0-only
/*
 * libcurl's multi interface as a guest of sd-event: it says which sockets it waits for and until
 * when, and is told what became of them. It is never called back from within one of its own
 * callbacks; transfers that are over are collected after it has returned.
 */
#include "probe/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* Idle connections that are kept for the next question to the same server. */
#define CONNECTIONS_KEPT 16L

static void collect(struct probe_engine *engine)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(engine->multi, &left))) {
		CURLcode code = message->data.result;
		struct probe *probe = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&probe);
		http_transferred(probe, code);
	}
}

/* A socket of libcurl's. */
struct multi_socket {
	struct probe_watch watch;
	struct probe_engine *engine;
};

static void on_socket(struct probe_watch *watch, uint32_t events)
{
	struct probe_engine *engine = ((struct multi_socket *)watch)->engine;
	int flags = 0, running;

	if (events & EPOLLIN)
		flags |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		flags |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		flags |= CURL_CSELECT_ERR;
	curl_multi_socket_action(engine->multi, watch->fd, flags, &running);
	collect(engine);
}

static int on_timer(sd_event_source *source, uint64_t time, void *data)
{
	struct probe_engine *engine = data;
	int running;

	(void)source;
	(void)time;
	curl_multi_socket_action(engine->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(engine);
	return 0;
}

/* ---- what libcurl asks for ---- */

/*
 * A socket whose number was closed and given again meanwhile has left the epoll set, so it is added
 * anew with each change; changes are few. Without memory for it the transfer ends by its time-out.
 */
static int want_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
	struct probe_engine *engine = data;
	struct multi_socket *socket = known;
	uint32_t events = 0;

	(void)easy;
	if (socket)
		watch_end(engine, &socket->watch);
	if (what == CURL_POLL_REMOVE) {
		free(socket);
		curl_multi_assign(engine->multi, fd, NULL);
		return 0;
	}
	if (!socket) {
		socket = calloc(1, sizeof(*socket));
		if (!socket)
			return 0;
		*socket = (struct multi_socket){.watch.ready = on_socket, .engine = engine};
		curl_multi_assign(engine->multi, fd, socket);
	}
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	watch_begin(engine, &socket->watch, fd, events);
	return 0;
}

static int want_timer(CURLM *multi, long milliseconds, void *data)
{
	struct probe_engine *engine = data;

	(void)multi;
	if (milliseconds < 0) {
		sd_event_source_set_enabled(engine->multi_timer, SD_EVENT_OFF);
		return 0;
	}
	sd_event_source_set_time_relative(engine->multi_timer, (uint64_t)milliseconds * 1000);
	sd_event_source_set_enabled(engine->multi_timer, SD_EVENT_ONESHOT);
	return 0;
}

int multi_new(struct probe_engine *engine)
{
	int error = sd_event_add_time(engine->event, &engine->multi_timer, CLOCK_MONOTONIC, 0, 1,
				      on_timer, engine);

	if (error >= 0)
		error = sd_event_source_set_enabled(engine->multi_timer, SD_EVENT_OFF);
	if (error < 0)
		return error;
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return -ENOMEM;
	engine->multi = curl_multi_init();
	if (!engine->multi) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	curl_multi_setopt(engine->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	curl_multi_setopt(engine->multi, CURLMOPT_SOCKETDATA, engine);
	curl_multi_setopt(engine->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	curl_multi_setopt(engine->multi, CURLMOPT_TIMERDATA, engine);
	curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT);
	return 0;
}

void multi_free(struct probe_engine *engine)
{
	if (engine->multi) {
		curl_multi_cleanup(engine->multi);
		curl_global_cleanup();
	}
	sd_event_source_disable_unref(engine->multi_timer);
}
