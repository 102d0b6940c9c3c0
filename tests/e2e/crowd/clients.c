// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program: who the clients are, when they come, and what is said of them. On stdin "report"
 * asks for a line of JSON, "mark" forgets what was counted; the end of stdin ends it.
 */
#include "clients.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TICK	    (5 * MS)
#define EVENTS	    512
#define CONNECTIONS 32768

static const char *const outcome_names[OUTCOMES] = {
	"ok",	  "aborted",	"abandoned", "refused", "reset",
	"closed", "no_connect", "no_answer", "no_end",	"error",
};

uint64_t random_interval(uint64_t *state, uint64_t mean)
{
	double uniform = ((double)(random_next(state) >> 11) + 0.5) / (double)(1ULL << 53);

	return (uint64_t)(-log(uniform) * (double)mean);
}

bool random_percent(uint64_t *state, uint32_t percent)
{
	return random_next(state) % 100 < percent;
}

/* A line is: address, connections per 1000 s, start and stop in ms, patience in ms, and the
 * percentages of connections with several requests, aborted ones and abandoned ones. */
static bool parse(const char *line, struct client *client)
{
	uint64_t rate, patience;

	if (sscanf(line, "%45s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %u %u %u",
		   client->text, &rate, &client->start, &client->stop, &patience,
		   &client->keep_percent, &client->abort_percent, &client->abandon_percent) != 8 ||
	    !rate)
		return false;
	client->address = address_of(client->text, 0);
	client->mean_interval = 1000 * NS / rate;
	client->patience = patience * MS;
	client->start *= MS;
	client->stop *= MS;
	return true;
}

void crowd_read(struct crowd *crowd, const char *path)
{
	FILE *file = fopen(path, "re");
	size_t room = 0, length = 0;
	struct client client;
	char *line = NULL;

	if (!file)
		give_up(path);
	while (getline(&line, &length, file) > 0) {
		client = (struct client){0};
		if (!parse(line, &client))
			give_up(line);
		if (crowd->clients_count == room) {
			room = room ? 2 * room : 1024;
			crowd->clients = realloc(crowd->clients, room * sizeof(*crowd->clients));
			if (!crowd->clients)
				give_up("memory");
		}
		client.next = crowd->began + client.start +
			      random_interval(&crowd->random, client.mean_interval);
		crowd->clients[crowd->clients_count++] = client;
	}
	free(line);
	fclose(file);
	if (!crowd->clients_count)
		give_up("no clients");
}

void crowd_mark(struct crowd *crowd)
{
	struct client *client;

	for (client = crowd->clients; client < crowd->clients + crowd->clients_count; client++) {
		memset(client->outcomes, 0, sizeof(client->outcomes));
		client->requests = client->slow = client->skipped = client->backends = 0;
		client->first_bad = client->longest = 0;
	}
	crowd->no_room = 0;
}

static void report_client(const struct client *client, bool is_first)
{
	int i;

	printf("%s[\"%s\",%u,%u,%u,%u,%" PRIu64 ",%" PRIu64 ",[", is_first ? "" : ",", client->text,
	       client->requests, client->slow, client->skipped, client->backends, client->first_bad,
	       client->longest);
	for (i = 0; i < OUTCOMES; i++)
		printf("%s%u", i ? "," : "", client->outcomes[i]);
	printf("]]");
}

/* Of those that began a connection, or would have. */
void crowd_report(const struct crowd *crowd)
{
	const struct client *client;
	bool is_first = true;
	int i;

	printf("{\"now_ns\":%" PRIu64 ",\"began_ns\":%" PRIu64 ",\"no_room\":%" PRIu64
	       ",\"outcomes\":[",
	       now_ns(), crowd->began, crowd->no_room);
	for (i = 0; i < OUTCOMES; i++)
		printf("%s\"%s\"", i ? "," : "", outcome_names[i]);
	printf("],\"backends\":[");
	for (i = 0; i < BACKENDS_MAX && crowd->backends[i][0]; i++)
		printf("%s\"%s\"", i ? "," : "", crowd->backends[i]);
	printf("],\"clients\":[");
	for (client = crowd->clients; client < crowd->clients + crowd->clients_count; client++) {
		uint32_t all = client->requests | client->skipped | client->slow;

		for (i = 0; i < OUTCOMES; i++)
			all |= client->outcomes[i];
		if (!all)
			continue;
		report_client(client, is_first);
		is_first = false;
	}
	printf("]}\n");
	fflush(stdout);
}

/* False: the program is to end. */
static bool obey(struct crowd *crowd)
{
	const char *line;
	bool ended = false;

	while ((line = command_line(&ended))) {
		if (!strcmp(line, "report")) {
			crowd_report(crowd);
		} else if (!strcmp(line, "mark")) {
			crowd_mark(crowd);
			printf("{\"now_ns\":%" PRIu64 "}\n", now_ns());
			fflush(stdout);
		} else {
			give_up(line);
		}
	}
	return !ended;
}

static void tick(struct crowd *crowd, uint64_t now)
{
	struct connection *connection;
	struct client *client;
	uint64_t end;

	for (client = crowd->clients; client < crowd->clients + crowd->clients_count; client++) {
		end = crowd->began + client->stop;
		end = end < crowd->ends ? end : crowd->ends;
		/* Not from now on: what a late tick takes from the rate comes in again. */
		for (; client->next <= now && client->next < end;
		     client->next += random_interval(&crowd->random, client->mean_interval))
			connection_begin(crowd, client, now);
	}
	for (connection = crowd->connections; connection < crowd->connections + crowd->used;
	     connection++)
		if (connection->phase != PHASE_FREE && now >= connection->deadline)
			connection_tick(crowd, connection);
}

static bool is_busy(const struct crowd *crowd)
{
	const struct connection *connection = crowd->connections;

	while (connection < crowd->connections + crowd->used && connection->phase == PHASE_FREE)
		connection++;
	return connection < crowd->connections + crowd->used;
}

static void run(struct crowd *crowd)
{
	struct epoll_event events[EVENTS];
	uint64_t ticked = 0, now = now_ns();
	int count, i;

	while (now < crowd->ends || is_busy(crowd)) {
		count = epoll_wait(crowd->poll, events, EVENTS, TICK / MS);
		for (i = 0; i < count; i++)
			if (events[i].data.ptr)
				connection_event(crowd, events[i].data.ptr);
			else if (!obey(crowd))
				return;
		now = now_ns();
		if (now - ticked < TICK)
			continue;
		ticked = now;
		tick(crowd, now);
	}
	/* Its last words are asked for, or nobody wants them. */
	fcntl(STDIN_FILENO, F_SETFL, 0);
	while (obey(crowd))
		;
}

static void set_option(struct crowd *crowd, const char *name, const char *value)
{
	if (!strcmp(name, "port"))
		crowd->port = (uint16_t)number_of(value);
	else if (!strcmp(name, "slow-ms"))
		crowd->slow = number_of(value) * MS;
	else if (!strcmp(name, "least"))
		crowd->least = number_of(value);
	else if (!strcmp(name, "most"))
		crowd->most = number_of(value);
	else if (!strcmp(name, "seconds"))
		crowd->ends = crowd->began + number_of(value) * NS;
	else if (!strcmp(name, "seed"))
		crowd->random = number_of(value);
	else if (!strcmp(name, "path"))
		crowd->fixed_path = !strcmp(value, "/");
	else
		give_up(name);
}

int clients_main(char **argv)
{
	struct crowd crowd = {
		.slow = 400 * MS, .least = 200, .most = 20000, .began = now_ns(), .poll = -1};
	const char *name, *value, *sources = NULL, *to = NULL;
	int at = 0;

	crowd.ends = crowd.began + 60 * NS;
	while (next_option(argv, &at, &name, &value)) {
		if (!strcmp(name, "sources"))
			sources = value;
		else if (!strcmp(name, "to"))
			to = value;
		else
			set_option(&crowd, name, value);
	}
	if (!sources || !to || !crowd.port || crowd.least < 1 || crowd.most < crowd.least)
		give_up("clients: sources, to and port are needed");
	crowd.to = address_of(to, crowd.port);
	allow_many_files();
	crowd_read(&crowd, sources);
	crowd.connections_count = CONNECTIONS;
	crowd.connections = calloc(CONNECTIONS, sizeof(*crowd.connections));
	crowd.poll = epoll_create1(EPOLL_CLOEXEC);
	if (!crowd.connections || crowd.poll < 0 || fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK))
		give_up("clients");
	watch(crowd.poll, STDIN_FILENO, EPOLLIN, NULL);
	run(&crowd);
	return 0;
}
