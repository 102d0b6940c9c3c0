// SPDX-License-Identifier: GPL-2.0-only
/*
 * libcurl's multi interface as a guest of sd-event: it says which sockets it waits for and until
 * when, and is told what became of them. It is never called back from within one of its own
 * callbacks; transfers that are over are collected after it has returned.
 */
#include "probe/internal.h"

#include <errno.h>
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

static int on_socket(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct probe_engine *engine = data;
	int flags = 0, running;

	(void)source;
	if (events & EPOLLIN)
		flags |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		flags |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		flags |= CURL_CSELECT_ERR;
	curl_multi_socket_action(engine->multi, fd, flags, &running);
	collect(engine);
	return 0;
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
 * A socket whose number was closed and given again meanwhile has left the epoll set, so its source
 * is made anew with each change; changes are few.
 */
static int want_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
	struct probe_engine *engine = data;
	sd_event_source *source = known;
	uint32_t events = 0;

	(void)easy;
	sd_event_source_disable_unref(source);
	curl_multi_assign(engine->multi, fd, NULL);
	if (what == CURL_POLL_REMOVE)
		return 0;
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	source = NULL;
	/* Without memory for it the transfer ends by its time-out. */
	if (sd_event_add_io(engine->event, &source, fd, events, on_socket, engine) >= 0)
		curl_multi_assign(engine->multi, fd, source);
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
