// SPDX-License-Identifier: GPL-2.0-only
/* One connection of a client, from its beginning to what became of it. */
#include "clients.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define REST	     (300 * MS) /* the mean of what is between an answer and the next request */
#define REQUESTS_MAX 5

/* With a RST where it does not wait for the end, as programs do that end. */
static void finish(struct crowd *crowd, struct connection *connection, enum outcome outcome)
{
	const struct linger at_once = {.l_onoff = 1};
	struct client *client = connection->client;

	if (outcome == OUTCOME_ABORTED || outcome == OUTCOME_ABANDONED)
		setsockopt(connection->file, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(connection->file);
	client->outcomes[outcome]++;
	if (outcome >= OUTCOME_REFUSED && !client->first_bad)
		client->first_bad = now_ns();
	client->open--;
	connection->phase = PHASE_FREE;
	connection->next_free = crowd->free;
	crowd->free = connection;
}

static void fail(struct crowd *crowd, struct connection *connection, int error)
{
	enum outcome outcome = OUTCOME_RESET;

	if (error == ECONNREFUSED)
		outcome = OUTCOME_REFUSED;
	else if (error == ETIMEDOUT)
		outcome = OUTCOME_NO_CONNECT;
	finish(crowd, connection, outcome);
}

/* Log-uniform: most are small, some large. */
static unsigned long answer_size(struct crowd *crowd)
{
	double uniform = (double)(random_next(&crowd->random) >> 11) / (double)(1ULL << 53);

	return (unsigned long)((double)crowd->least *
			       pow((double)crowd->most / (double)crowd->least, uniform));
}

static void ask(struct crowd *crowd, struct connection *connection)
{
	char request[256], path[32] = "";
	uint64_t now;
	int length;

	if (!crowd->fixed_path)
		snprintf(path, sizeof(path), "%lu", answer_size(crowd));
	length = snprintf(request, sizeof(request),
			  "GET /%s HTTP/1.1\r\nHost: shop\r\nConnection: %s\r\n\r\n", path,
			  connection->requests_left > 1 ? "keep-alive" : "close");
	connection->requests_left--;
	connection->got = connection->length = 0;
	now = now_ns();
	/* What the first answer takes is counted from the connection's beginning on. */
	if (connection->phase != PHASE_CONNECT)
		connection->asked = now;
	connection->phase = PHASE_ANSWER;
	connection->deadline = now + connection->client->patience;
	connection->client->requests++;
	/* A request is smaller than any socket's buffer. */
	if (send(connection->file, request, (size_t)length, MSG_NOSIGNAL) != length)
		fail(crowd, connection, errno);
	else if (connection->abandons)
		finish(crowd, connection, OUTCOME_ABANDONED);
}

static void note_backend(struct crowd *crowd, struct client *client, const char *head)
{
	static const char header[] = "\r\nX-Backend: ";
	const char *at = strcasestr(head, header);
	char name[BACKEND_NAME] = "?";
	int i;

	if (at)
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(at + sizeof(header) - 1, "\r\n"),
			 at + sizeof(header) - 1);
	for (i = 0; i < BACKENDS_MAX; i++) {
		if (!crowd->backends[i][0])
			memcpy(crowd->backends[i], name, sizeof(name));
		if (!strcmp(crowd->backends[i], name))
			break;
	}
	client->backends |= i < BACKENDS_MAX ? 1u << i : 0;
}

/* False: it is over. */
static bool take_head(struct crowd *crowd, struct connection *connection)
{
	const char *end, *length;

	end = strstr(connection->head, "\r\n\r\n");
	if (!end) {
		if (connection->got >= sizeof(connection->head) - 1)
			finish(crowd, connection, OUTCOME_ERROR);
		return connection->phase != PHASE_FREE;
	}
	length = strcasestr(connection->head, "\r\nContent-Length: ");
	note_backend(crowd, connection->client, connection->head);
	if (!length || length > end || strncmp(connection->head, "HTTP/1.1 200", 12)) {
		finish(crowd, connection, OUTCOME_ERROR);
		return false;
	}
	connection->length = (size_t)(end + 4 - connection->head) + strtoul(length + 18, NULL, 10);
	return true;
}

static void end_answer(struct crowd *crowd, struct connection *connection)
{
	struct client *client = connection->client;
	uint64_t now = now_ns(), took = now - connection->asked;

	if (took > client->longest)
		client->longest = took;
	if (took >= crowd->slow) {
		client->slow++;
		if (!client->first_bad)
			client->first_bad = now;
	}
	if (!connection->requests_left) {
		finish(crowd, connection, OUTCOME_OK);
		return;
	}
	connection->phase = PHASE_REST;
	connection->deadline = now + random_interval(&crowd->random, REST);
}

/* As long as the head is not whole, it is collected; what comes later is only counted. */
static void receive(struct crowd *crowd, struct connection *connection)
{
	static char rest[1 << 16];
	bool in_head;
	ssize_t got;

	while (connection->phase != PHASE_FREE) {
		in_head = !connection->length && connection->phase != PHASE_REST;
		got = in_head ? recv(connection->file, connection->head + connection->got,
				     sizeof(connection->head) - 1 - connection->got, 0)
			      : recv(connection->file, rest, sizeof(rest), 0);
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			if (got)
				fail(crowd, connection, errno);
			else
				finish(crowd, connection, OUTCOME_CLOSED);
			return;
		}
		if (connection->phase == PHASE_REST)
			continue;
		connection->got += (size_t)got;
		connection->head[in_head ? connection->got : 0] = 0;
		if (connection->phase == PHASE_ANSWER)
			connection->deadline = now_ns() + connection->client->patience;
		connection->phase = PHASE_BODY;
		if (in_head && !take_head(crowd, connection))
			return;
		if (connection->length && connection->got >= connection->length)
			end_answer(crowd, connection);
		else if (connection->aborts)
			finish(crowd, connection, OUTCOME_ABORTED);
	}
}

void connection_event(struct crowd *crowd, struct connection *connection)
{
	socklen_t length = sizeof(int);
	int error = 0;

	if (connection->phase == PHASE_FREE)
		return; /* another event of this round ended it */
	if (connection->phase == PHASE_CONNECT) {
		if (getsockopt(connection->file, SOL_SOCKET, SO_ERROR, &error, &length))
			give_up("SO_ERROR");
		if (error)
			fail(crowd, connection, error);
		else
			ask(crowd, connection);
		return;
	}
	receive(crowd, connection);
}

void connection_tick(struct crowd *crowd, struct connection *connection)
{
	switch (connection->phase) {
	case PHASE_REST:
		ask(crowd, connection);
		return;
	case PHASE_CONNECT:
		finish(crowd, connection, OUTCOME_NO_CONNECT);
		return;
	case PHASE_ANSWER:
		finish(crowd, connection, OUTCOME_NO_ANSWER);
		return;
	case PHASE_BODY:
		finish(crowd, connection, OUTCOME_NO_END);
		return;
	case PHASE_FREE:
		return;
	}
}

static struct connection *free_one(struct crowd *crowd)
{
	struct connection *connection = crowd->free;

	if (connection)
		crowd->free = connection->next_free;
	else if (crowd->used < crowd->connections_count)
		connection = &crowd->connections[crowd->used++];
	return connection;
}

void connection_begin(struct crowd *crowd, struct client *client, uint64_t now)
{
	struct connection *connection;
	int on = 1, file;

	connection = client->open < OPEN_OF_A_CLIENT ? free_one(crowd) : NULL;
	if (!connection) {
		client->skipped++;
		crowd->no_room += client->open < OPEN_OF_A_CLIENT;
		return;
	}
	file = socket(crowd->to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* connect() chooses the port, for its destination only. */
	if (file < 0 || setsockopt(file, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) ||
	    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    bind(file, (const struct sockaddr *)&client->address.storage, client->address.length))
		give_up(client->text);
	*connection = (struct connection){
		.phase = PHASE_CONNECT,
		.file = file,
		.client = client,
		.deadline = now + client->patience,
		.asked = now,
		.requests_left = 1,
		.aborts = random_percent(&crowd->random, client->abort_percent),
		.abandons = random_percent(&crowd->random, client->abandon_percent),
	};
	if (random_percent(&crowd->random, client->keep_percent))
		connection->requests_left += 1 + random_next(&crowd->random) % (REQUESTS_MAX - 1);
	client->open++;
	if (connect(file, (const struct sockaddr *)&crowd->to.storage, crowd->to.length) &&
	    errno != EINPROGRESS) {
		fail(crowd, connection, errno);
		return;
	}
	watch(crowd->poll, file, EPOLLIN | EPOLLOUT | EPOLLET, connection);
}
