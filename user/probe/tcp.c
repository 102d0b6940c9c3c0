// SPDX-License-Identifier: GPL-2.0-only
#include "probe/tcp.h"

#include "probe/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct tcp_probe {
	struct probe probe;
	tcp_done done;
	void *data;
	struct address address;
	uint16_t port;
	uint64_t timeout_ms;
	int fd; /* -1: none */
	struct probe_watch watch;
	sd_event_source *timer;
};

static void destroy(struct probe *probe)
{
	struct tcp_probe *tcp = (struct tcp_probe *)probe;

	watch_end(probe->engine, &tcp->watch);
	sd_event_source_disable_unref(tcp->timer);
	if (tcp->fd >= 0)
		close(tcp->fd);
	free(tcp);
}

static void finish(struct tcp_probe *tcp, const char *error)
{
	tcp_done done = tcp->done;
	void *data = tcp->data;

	probe_end(&tcp->probe);
	done(data, error);
}

/* @code: a positive errno; 0: it was accepted. */
static void finish_with(struct tcp_probe *tcp, int code)
{
	char error[PROBE_ERROR_SIZE] = "";

	if (code)
		probe_say(error, "%s", strerror(code));
	finish(tcp, error);
}

static void on_ready(struct probe_watch *watch, uint32_t events)
{
	struct tcp_probe *tcp =
		(struct tcp_probe *)((char *)watch - offsetof(struct tcp_probe, watch));
	socklen_t length = sizeof(int);
	int code = 0;

	(void)events;
	if (getsockopt(tcp->fd, SOL_SOCKET, SO_ERROR, &code, &length))
		code = errno;
	finish_with(tcp, code);
}

static int on_timeout(sd_event_source *source, uint64_t time, void *data)
{
	struct tcp_probe *tcp = data;
	char error[PROBE_ERROR_SIZE];

	(void)source;
	(void)time;
	probe_say(error, "no connection within %llu ms", (unsigned long long)tcp->timeout_ms);
	finish(tcp, error);
	return 0;
}

static socklen_t socket_address(const struct tcp_probe *tcp, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;

	memset(out, 0, sizeof(*out));
	if (tcp->address.family == 4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(tcp->port);
		memcpy(&v4->sin_addr, tcp->address.bytes, sizeof(v4->sin_addr));
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(tcp->port);
	memcpy(&v6->sin6_addr, tcp->address.bytes, sizeof(v6->sin6_addr));
	return sizeof(*v6);
}

static int watch(struct tcp_probe *tcp)
{
	struct probe_engine *engine = tcp->probe.engine;
	int error = watch_begin(engine, &tcp->watch, tcp->fd, EPOLLOUT);

	if (!error)
		error = sd_event_add_time_relative(engine->event, &tcp->timer, CLOCK_MONOTONIC,
						   tcp->timeout_ms * 1000, 1, on_timeout, tcp);
	return error < 0 ? error : 0;
}

static void begin(struct probe *probe)
{
	struct tcp_probe *tcp = (struct tcp_probe *)probe;
	struct sockaddr_storage to;
	socklen_t length = socket_address(tcp, &to);
	int error;

	tcp->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (tcp->fd < 0) {
		finish_with(tcp, errno);
		return;
	}
	if (connect(tcp->fd, (struct sockaddr *)&to, length) && errno != EINPROGRESS) {
		finish_with(tcp, errno);
		return;
	}
	/* One that is connected already is writable at once. */
	error = watch(tcp);
	if (error)
		finish_with(tcp, -error);
}

static const struct probe_kind tcp_kind = {
	.queue = QUEUE_CONNECTIONS,
	.begin = begin,
	.destroy = destroy,
};

int probe_tcp(struct probe_engine *engine, const struct address *address, uint16_t port,
	      uint64_t timeout_ms, tcp_done done, void *data, struct probe **out)
{
	struct tcp_probe *tcp = calloc(1, sizeof(*tcp));

	if (!tcp)
		return -ENOMEM;
	tcp->done = done;
	tcp->data = data;
	tcp->address = *address;
	tcp->port = port;
	tcp->timeout_ms = timeout_ms;
	tcp->fd = -1;
	tcp->watch = (struct probe_watch){.ready = on_ready, .fd = -1};
	probe_enter(engine, &tcp->probe, &tcp_kind);
	*out = &tcp->probe;
	return 0;
}
