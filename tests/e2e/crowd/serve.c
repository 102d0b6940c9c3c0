// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process that serves: HTTP/1.1 with keep-alive, for requests without a body. A path `/N` is
 * answered with N bytes, any other with a few. Its mode is read anew for every connection that is
 * accepted and every request that is whole.
 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BACKLOG	     4096
#define EVENTS	     256
#define REQUEST_MAX  2048
#define HEAD_MAX     256
#define BODY_MAX     (1 << 20)
#define BODY_DEFAULT 512

struct connection {
	int file;
	const struct backend *backend;
	struct sockaddr_storage from;
	bool is_last;	 /* the client wants the connection closed after this answer */
	bool is_waiting; /* in the queue of those answered later; the next request waits */
	bool is_closed;
	bool is_stalled;
	char request[REQUEST_MAX];
	size_t got;
	char head[HEAD_MAX];
	size_t head_length, length; /* of the answer: of its head, with its body */
	size_t sent;
	uint64_t due; /* when it is answered, ns */
	struct connection *next_due, *next_closed;
};

struct listener {
	int file;
	const struct backend *backend;
};

struct server {
	const struct listening *listening;
	struct shared *shared;
	int poll;
	struct listener *listeners;
	size_t listeners_count;
	struct connection *first_due, *last_due; /* all have the same delay: first in, first out */
	struct connection *closed;
};

static uint8_t body[BODY_MAX];

static bool is_of(const struct peers *peers, const struct sockaddr_storage *address)
{
	const struct sockaddr_in6 *v6 = (const void *)address;
	const struct sockaddr_in *v4 = (const void *)address;
	const uint8_t *bytes = address->ss_family == AF_INET ? (const void *)&v4->sin_addr
							     : (const void *)&v6->sin6_addr;
	uint32_t bit;

	if (!peers->family)
		return true;
	if (peers->family != address->ss_family)
		return false;
	for (bit = 0; bit < peers->bits; bit++)
		if ((bytes[bit / 8] ^ peers->bytes[bit / 8]) & (0x80 >> bit % 8))
			return false;
	return true;
}

static enum mode mode_of(const struct server *server, const struct connection *connection)
{
	return is_of(&server->shared->only, &connection->from) ? atomic_load(&server->shared->mode)
							       : MODE_HEALTHY;
}

static void shut(struct server *server, struct connection *connection)
{
	if (connection->is_closed)
		return;
	close(connection->file);
	connection->is_closed = true;
	connection->next_closed = server->closed;
	server->closed = connection;
}

/* As much as the socket takes; the rest when it takes more. */
static void send_answer(struct server *server, struct connection *connection)
{
	const uint8_t *from;
	size_t left;
	ssize_t sent;

	while (connection->sent < connection->length) {
		bool is_head = connection->sent < connection->head_length;

		from = is_head ? (const uint8_t *)connection->head + connection->sent : body;
		left = (is_head ? connection->head_length : connection->length) - connection->sent;
		sent = send(connection->file, from, left,
			    MSG_NOSIGNAL | (is_head && left < connection->length ? MSG_MORE : 0));
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0) {
			shut(server, connection);
			return;
		}
		connection->sent += (size_t)sent;
	}
	if (connection->is_stalled)
		return;
	connection->length = 0;
	if (connection->is_last)
		shut(server, connection);
}

static void answer(struct server *server, struct connection *connection)
{
	enum mode mode = mode_of(server, connection);
	char *end;
	unsigned long size = BODY_DEFAULT;

	if (!strncmp(connection->request, "GET /", 5)) {
		size = strtoul(connection->request + 5, &end, 10);
		size = *end == ' ' && size && size <= BODY_MAX ? size : BODY_DEFAULT;
	}
	connection->is_last = strcasestr(connection->request, "\r\nConnection: close") != NULL;
	connection->head_length = (size_t)snprintf(
		connection->head, HEAD_MAX,
		"HTTP/1.1 %s\r\nContent-Length: %lu\r\nX-Backend: %s\r\nConnection: %s\r\n\r\n",
		mode == MODE_ERROR ? "500 Internal Server Error" : "200 OK", size,
		connection->backend->name, connection->is_last ? "close" : "keep-alive");
	connection->is_stalled = mode == MODE_STALL;
	connection->length = connection->head_length + (mode == MODE_STALL ? size / 2 : size);
	connection->sent = 0;
	atomic_fetch_add(&server->shared->answered, 1);
	if (mode == MODE_ERROR)
		atomic_fetch_add(&server->shared->failed, 1);
	send_answer(server, connection);
}

static void answer_later(struct server *server, struct connection *connection)
{
	connection->is_waiting = true;
	connection->due = now_ns() + SLOW;
	connection->next_due = NULL;
	if (server->last_due)
		server->last_due->next_due = connection;
	else
		server->first_due = connection;
	server->last_due = connection;
}

/* Nobody pipelines: what comes while an answer is due is dropped. */
static void take_request(struct server *server, struct connection *connection)
{
	enum mode mode = mode_of(server, connection);

	connection->got = 0;
	if (connection->is_waiting || connection->length)
		return;
	atomic_fetch_add(&server->shared->requests, 1);
	if (mode == MODE_SLOW)
		answer_later(server, connection);
	else if (mode != MODE_HANG)
		answer(server, connection);
}

static void receive(struct server *server, struct connection *connection)
{
	ssize_t got;

	while ((got = recv(connection->file, connection->request + connection->got,
			   REQUEST_MAX - 1 - connection->got, 0)) > 0) {
		connection->got += (size_t)got;
		connection->request[connection->got] = 0;
		if (strstr(connection->request, "\r\n\r\n"))
			take_request(server, connection);
		if (connection->is_closed)
			return;
	}
	/* One that is full has no room: recv() of nothing is no end, but it is no request either.
	 */
	if (!got || errno != EAGAIN)
		shut(server, connection);
}

static void reset_at_close(int file)
{
	const struct linger at_once = {.l_onoff = 1};

	if (setsockopt(file, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)))
		give_up("SO_LINGER");
}

static void accept_all(struct server *server, const struct listener *listener)
{
	struct sockaddr_storage from;
	struct connection *connection;
	socklen_t length = sizeof(from);
	enum mode mode;
	int file;

	while ((file = accept4(listener->file, (struct sockaddr *)&from, &length,
			       SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		length = sizeof(from);
		atomic_fetch_add(&server->shared->accepted, 1);
		connection = calloc(1, sizeof(*connection));
		if (!connection)
			give_up("memory");
		connection->file = file;
		connection->from = from;
		connection->backend = listener->backend;
		mode = mode_of(server, connection);
		if (mode == MODE_RESET)
			reset_at_close(file);
		if (mode == MODE_RESET || mode == MODE_CLOSE)
			shut(server, connection);
		else
			watch(server->poll, file, EPOLLIN | EPOLLOUT | EPOLLET, connection);
	}
}

static int answer_those_due(struct server *server)
{
	struct connection *connection;
	uint64_t now = now_ns();

	while ((connection = server->first_due) && connection->due <= now) {
		server->first_due = connection->next_due;
		if (!server->first_due)
			server->last_due = NULL;
		connection->is_waiting = false;
		if (!connection->is_closed)
			answer(server, connection);
	}
	return connection ? (int)((connection->due - now) / MS) + 1 : -1;
}

/* No event of this round names them any more; those in the queue stay until their time. */
static void forget_closed(struct server *server)
{
	struct connection **place = &server->closed, *connection;

	while ((connection = *place)) {
		if (connection->is_waiting) {
			place = &connection->next_closed;
			continue;
		}
		*place = connection->next_closed;
		free(connection);
	}
}

static void listen_at(struct server *server, const struct backend *backend, const char *text)
{
	struct address address = address_of(text, server->listening->port);
	int on = 1, file = open_socket(address.storage.ss_family, SOCK_STREAM, &address);
	struct listener *listener = &server->listeners[server->listeners_count++];

	/* Inherited by the connections. */
	if (file < 0 || setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    listen(file, BACKLOG))
		give_up(text);
	*listener = (struct listener){file, backend};
	/* Listeners are told from connections by where they are. */
	watch(server->poll, file, EPOLLIN, listener);
}

/* A socket stays in the namespace in which it was made. */
static void listen_as(struct server *server, const struct backend *backend)
{
	char **address;
	int file;

	if (backend->namespace) {
		file = open(backend->namespace, O_RDONLY | O_CLOEXEC);
		if (file < 0 || setns(file, CLONE_NEWNET))
			give_up(backend->namespace);
		close(file);
	}
	for (address = server->listening->addresses; *address; address++)
		listen_at(server, backend, *address);
}

static void handle(struct server *server, const struct epoll_event *event)
{
	struct connection *connection = event->data.ptr;
	struct listener *listener = event->data.ptr;

	if (listener >= server->listeners &&
	    listener < server->listeners + server->listeners_count) {
		accept_all(server, listener);
		return;
	}
	if (!connection->is_closed && connection->length)
		send_answer(server, connection);
	if (!connection->is_closed && event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(server, connection);
}

_Noreturn void serve_http(const struct listening *listening)
{
	struct server server = {
		.listening = listening,
		.shared = listening->shared,
		.poll = epoll_create1(EPOLL_CLOEXEC),
	};
	struct epoll_event events[EVENTS];
	int count, i, timeout = -1;
	size_t addresses = 0, backend;

	memset(body, 'x', sizeof(body));
	while (listening->addresses[addresses])
		addresses++;
	server.listeners = calloc(addresses * listening->backends_count, sizeof(*server.listeners));
	if (!server.listeners)
		give_up("memory");
	for (backend = 0; backend < listening->backends_count; backend++)
		listen_as(&server, &listening->backends[backend]);
	atomic_store(&listening->shared->listens, true);
	for (;;) {
		count = epoll_wait(server.poll, events, EVENTS, timeout);
		for (i = 0; i < count; i++)
			handle(&server, &events[i]);
		timeout = answer_those_due(&server);
		forget_closed(&server);
	}
}
