// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many clients at once, a flow each. Says on stdout, in one line of JSON each time, how they are:
 * when "report" comes on stdin, and when all have finished. "finish" lets every connection come to
 * its end; the end of stdin ends the program.
 */
#include "flow.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TICK   (5 * MS)
#define EVENTS 512

static void print_breakages(const struct flows *flows)
{
	const struct breakage *kept;
	size_t i;

	printf("\"broken\":{");
	for (i = 0; i < BACKENDS_MAX && flows->backends[i].broken; i++)
		printf("%s\"%s\":{\"count\":%llu,\"first_ns\":%llu,\"last_ns\":%llu}", i ? "," : "",
		       flows->backends[i].name, (unsigned long long)flows->backends[i].broken,
		       (unsigned long long)flows->backends[i].first,
		       (unsigned long long)flows->backends[i].last);
	printf("},\"breakages\":[");
	for (i = 0; i < flows->broken && i < BREAKAGES_KEPT; i++) {
		kept = &flows->kept[i];
		printf("%s[%llu,\"%s\",%u,\"%s\",\"%s\",%u,\"%s\"]", i ? "," : "",
		       (unsigned long long)kept->when, kept->flow->text, kept->port, kept->backend,
		       flow_state_name(kept->state), kept->records, kept->error);
	}
	printf("]");
}

static void print_flow(const struct flow *flow, bool first)
{
	printf("%s[\"%s\",%u,\"%s\",\"%s\",%llu,%u,%u,%u,%u,%u,%u,%llu]", first ? "" : ",",
	       flow->text, flow->port, flow->backend, flow_state_name(flow->state),
	       (unsigned long long)flow->since, flow->records, flow->all_records, flow->attempts,
	       flow->finished, flow->moves, flow->lost, (unsigned long long)flow->moved);
}

static void report(const struct flows *flows)
{
	uint64_t retransmitted = flows->retransmitted;
	size_t i;

	if (!flows->settings.udp)
		for (i = 0; i < flows->count; i++)
			retransmitted += flow_retransmitted(&flows->flows[i]);
	printf("{\"now_ns\":%llu,\"records\":%llu,\"finished\":%llu,\"retransmitted\":%llu,",
	       (unsigned long long)now_ns(), (unsigned long long)flows->records,
	       (unsigned long long)flows->finished, (unsigned long long)retransmitted);
	print_breakages(flows);
	printf(",\"flows\":[");
	for (i = 0; i < flows->count; i++)
		print_flow(&flows->flows[i], !i);
	printf("]}\n");
	fflush(stdout);
}

static bool all_over(const struct flows *flows)
{
	size_t i;

	for (i = 0; i < flows->count; i++)
		if (flows->flows[i].state < FLOW_FINISHED)
			return false;
	return true;
}

static void finish(struct flows *flows)
{
	flows->finishing = true;
	flows->settings.again = false;
}

/* False: the program is to end. */
static bool obey(struct flows *flows)
{
	const char *line;
	bool ended = false;

	while ((line = command_line(&ended))) {
		if (!strcmp(line, "report"))
			report(flows);
		else if (!strcmp(line, "finish"))
			finish(flows);
		else
			give_up(line);
	}
	return !ended;
}

static void run(struct flows *flows)
{
	struct epoll_event events[EVENTS];
	uint64_t ticked = 0, now;
	size_t flow;
	int count, i;

	while (!all_over(flows)) {
		count = epoll_wait(flows->poll, events, EVENTS, TICK / MS);
		for (i = 0; i < count; i++)
			if (events[i].data.ptr)
				flow_event(flows, events[i].data.ptr);
			else if (!obey(flows))
				return;
		now = now_ns();
		if (now - ticked < TICK)
			continue;
		ticked = now;
		for (flow = 0; flow < flows->count; flow++)
			flow_tick(flows, &flows->flows[flow], now);
	}
	report(flows);
}

static void read_sources(struct flows *flows, const char *path, uint64_t rate)
{
	FILE *file = fopen(path, "re");
	uint64_t start = now_ns();
	size_t room = 0, length = 0;
	char *line = NULL;

	if (!file)
		give_up(path);
	while (getline(&line, &length, file) > 0) {
		line[strcspn(line, "\n")] = 0;
		if (flows->count == room) {
			room = room ? 2 * room : 1024;
			flows->flows = realloc(flows->flows, room * sizeof(*flows->flows));
			if (!flows->flows)
				give_up("memory");
		}
		flows->flows[flows->count] = (struct flow){
			.file = -1,
			.text = strdup(line),
			.when = start + flows->count * (NS / rate),
		};
		flows->count++;
	}
	free(line);
	fclose(file);
	if (!flows->count)
		give_up("no sources");
}

static void add_destination(struct settings *settings, const char *text, uint16_t port)
{
	struct address address = address_of(text, port);

	*(address.storage.ss_family == AF_INET ? &settings->to4 : &settings->to6) = address;
}

int client_main(char **argv)
{
	static struct flows flows = {
		.settings = {.interval = 200 * MS,
			     .silence = 20 * NS,
			     .largest = RECORD_MAX,
			     .first_port = 10000},
	};
	struct settings *settings = &flows.settings;
	const char *name, *value, *to[2] = {NULL}, *sources = NULL;
	uint64_t rate = 2000;
	uint16_t port = 0;
	int at = 0, i = 0;

	while (next_option(argv, &at, &name, &value)) {
		if (!strcmp(name, "sources"))
			sources = value;
		else if (!strcmp(name, "to") && i < 2)
			to[i++] = value;
		else if (!strcmp(name, "port"))
			port = (uint16_t)number_of(value);
		else if (!strcmp(name, "first-port"))
			settings->first_port = (uint16_t)number_of(value);
		else if (!strcmp(name, "udp"))
			settings->udp = !strcmp(value, "yes");
		else if (!strcmp(name, "again"))
			settings->again = !strcmp(value, "yes");
		else if (!strcmp(name, "interval-ms"))
			settings->interval = number_of(value) * MS;
		else if (!strcmp(name, "silence-ms"))
			settings->silence = number_of(value) * MS;
		else if (!strcmp(name, "records"))
			settings->records = (uint32_t)number_of(value);
		else if (!strcmp(name, "seed"))
			flows.random = number_of(value);
		else if (!strcmp(name, "rate"))
			rate = number_of(value);
		else
			give_up(name);
	}
	if (!sources || !to[0] || !port || !rate)
		give_up("client: sources, to and port are needed");
	if (settings->udp)
		settings->largest = 1200;
	for (i = 0; i < 2 && to[i]; i++)
		add_destination(settings, to[i], port);
	allow_many_files();
	flows.poll = epoll_create1(EPOLL_CLOEXEC);
	read_sources(&flows, sources, rate);
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK))
		give_up("stdin");
	watch(flows.poll, STDIN_FILENO, EPOLLIN, NULL);
	run(&flows);
	return 0;
}
