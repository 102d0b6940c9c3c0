// SPDX-License-Identifier: GPL-2.0-only
/*
 * The server of one backend: answers every record with its name and with what it got so far.
 *
 * A connection whose client is silent for IDLE is one that broke at the client's end (its segments
 * went elsewhere): it is reset, so that they do not pile up.
 */
#include "flows.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define IDLE	(30 * NS)
#define BACKLOG 4096
#define EVENTS	256

enum role { LISTENER, DATAGRAMS, CONNECTION };

struct endpoint {
	enum role role;
	int file;
	struct endpoint *next; /* of the connections */

	/* Of a connection: the record that is coming, and the sum of all that came. */
	union {
		struct record record;
		uint8_t bytes[sizeof(struct record)];
	} head;
	uint32_t got; /* bytes of the record */
	bool last, closed;
	uint64_t cookie, bytes, hash, heard;
};

struct server {
	const char *name;
	int poll;
	uint64_t accepted;
	struct endpoint *connections;
};

static struct endpoint *add(struct server *server, enum role role, int file, uint32_t events)
{
	struct endpoint *endpoint = calloc(1, sizeof(*endpoint));

	if (!endpoint)
		give_up("memory");
	endpoint->role = role;
	endpoint->file = file;
	watch(server->poll, file, events, endpoint);
	return endpoint;
}

static void accept_all(struct server *server, int listener)
{
	struct endpoint *connection;
	int file, buffer = 4 * FAREWELL_BYTES;

	while ((file = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		/* The farewell is written in one go. */
		if (setsockopt(file, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)))
			give_up("SO_SNDBUFFORCE");
		connection = add(server, CONNECTION, file, EPOLLIN);
		connection->hash = HASH_START;
		connection->heard = now_ns();
		connection->cookie = (uint64_t)getpid() << 32 | ++server->accepted;
		connection->next = server->connections;
		server->connections = connection;
	}
}

static struct answer answer_to(const struct server *server, uint64_t number)
{
	struct answer answer = {.kind = ANSWER, .number = number};

	snprintf(answer.name, NAME_SIZE, "%s", server->name);
	return answer;
}

static bool answer_record(const struct server *server, struct endpoint *connection)
{
	struct answer answer = answer_to(server, connection->head.record.number);

	answer.cookie = connection->cookie;
	answer.bytes = connection->bytes;
	answer.hash = connection->hash;
	connection->last = connection->head.record.kind == RECORD_LAST;
	connection->got = 0;
	return send(connection->file, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer);
}

/* Reads records out of @data, as far as it goes; false: this connection is to be reset. */
static bool take(const struct server *server, struct endpoint *connection, const uint8_t *data,
		 size_t length)
{
	const struct record *record = &connection->head.record;
	size_t part;

	while (length) {
		part = connection->got < sizeof(*record) ? sizeof(*record) : record->length;
		part -= connection->got;
		part = part < length ? part : length;
		if (connection->got < sizeof(*record))
			memcpy(connection->head.bytes + connection->got, data, part);
		connection->hash = hash_bytes(connection->hash, data, part);
		connection->bytes += part;
		connection->got += part;
		data += part;
		length -= part;
		if (connection->got < sizeof(*record))
			return true;
		if (record->length < sizeof(*record) || record->length > RECORD_MAX)
			return false;
		if (connection->got == record->length && !answer_record(server, connection))
			return false;
	}
	return true;
}

static void reset(struct endpoint *connection)
{
	const struct linger at_once = {.l_onoff = 1};

	setsockopt(connection->file, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(connection->file);
	connection->closed = true;
}

static void finish(struct endpoint *connection)
{
	static const uint8_t farewell[FAREWELL_BYTES];

	if (!connection->last || connection->got ||
	    send(connection->file, farewell, sizeof(farewell), MSG_NOSIGNAL) != sizeof(farewell)) {
		reset(connection);
		return;
	}
	close(connection->file);
	connection->closed = true;
}

static void serve(const struct server *server, struct endpoint *connection)
{
	static uint8_t data[1 << 16];
	ssize_t length;

	connection->heard = now_ns();
	while ((length = recv(connection->file, data, sizeof(data), 0)) > 0)
		if (!take(server, connection, data, (size_t)length)) {
			reset(connection);
			return;
		}
	if (!length)
		finish(connection);
	else if (errno != EAGAIN)
		reset(connection);
}

static void echo(const struct server *server, int file)
{
	static uint8_t data[RECORD_MAX];
	struct address from;
	struct answer answer;
	struct record record;
	ssize_t length;

	for (;;) {
		from.length = sizeof(from.storage);
		length = recvfrom(file, data, sizeof(data), 0, (struct sockaddr *)&from.storage,
				  &from.length);
		if (length < 0)
			return;
		memcpy(&record, data, sizeof(record));
		if ((size_t)length < sizeof(record) || record.length != (size_t)length)
			continue;
		answer = answer_to(server, record.number);
		sendto(file, &answer, sizeof(answer), 0, (struct sockaddr *)&from.storage,
		       from.length);
	}
}

/* No event of this round names them any more. */
static void forget_closed(struct server *server, uint64_t now)
{
	struct endpoint **place = &server->connections, *connection;

	while ((connection = *place)) {
		if (!connection->closed && now - connection->heard > IDLE)
			reset(connection);
		if (connection->closed) {
			*place = connection->next;
			free(connection);
		} else {
			place = &connection->next;
		}
	}
}

static void run(struct server *server)
{
	struct epoll_event events[EVENTS];
	uint64_t swept = now_ns();
	struct endpoint *endpoint;
	int count, i;

	for (;;) {
		count = epoll_wait(server->poll, events, EVENTS, 1000);
		for (i = 0; i < count; i++) {
			endpoint = events[i].data.ptr;
			if (endpoint->role == LISTENER)
				accept_all(server, endpoint->file);
			else if (endpoint->role == DATAGRAMS)
				echo(server, endpoint->file);
			else if (!endpoint->closed)
				serve(server, endpoint);
		}
		if (now_ns() - swept > NS) {
			swept = now_ns();
			forget_closed(server, swept);
		}
	}
}

int server_main(char **argv)
{
	const char *name, *value;
	struct server server = {.poll = epoll_create1(EPOLL_CLOEXEC)};
	struct address address;
	uint16_t port = 0;
	bool udp = false;
	int at = 0, file, buffer = 16 << 20;

	while (next_option(argv, &at, &name, &value)) {
		if (!strcmp(name, "name"))
			server.name = value;
		else if (!strcmp(name, "port"))
			port = (uint16_t)number_of(value);
		else if (!strcmp(name, "udp"))
			udp = !strcmp(value, "yes");
		else
			give_up(name);
	}
	if (!server.name || !port || !argv[at])
		give_up("server: name, port and addresses are needed");
	allow_many_files();
	for (; argv[at]; at++) {
		address = address_of(argv[at], port);
		file = open_socket(address.storage.ss_family, udp ? SOCK_DGRAM : SOCK_STREAM,
				   &address);
		if (file < 0 || (!udp && listen(file, BACKLOG)))
			give_up(argv[at]);
		if (udp && setsockopt(file, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)))
			give_up("SO_RCVBUFFORCE");
		add(&server, udp ? DATAGRAMS : LISTENER, file, EPOLLIN);
	}
	puts("ready");
	fflush(stdout);
	run(&server);
	return 0;
}
