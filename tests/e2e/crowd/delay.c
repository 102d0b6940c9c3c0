// SPDX-License-Identifier: GPL-2.0-only
/*
 * A long way: every frame that comes out of one interface is sent on by another one, so many
 * milliseconds later and in the same order. Packets of clients are led here by a route; what comes
 * back to them does not pass. So the round trip as the balancer sees it is longer by the delay.
 */
#include "crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS	   16384
#define FRAME_MAX  2048
#define RECEIVE_IN (16 << 20)

struct frame {
	uint64_t due;
	size_t length;
	uint8_t data[FRAME_MAX];
};

struct way {
	int from, to;
	uint64_t delay;
	uint8_t source[ETH_ALEN], next_hop[ETH_ALEN];
	struct frame *frames; /* a ring */
	uint64_t first, end;
};

static int packet_socket(const char *interface, uint16_t protocol)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET,
				      .sll_protocol = htons(protocol),
				      .sll_ifindex = (int)if_nametoindex(interface)};
	int size = RECEIVE_IN, file = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (!address.sll_ifindex || file < 0 ||
	    setsockopt(file, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    bind(file, (const struct sockaddr *)&address, sizeof(address)))
		give_up(interface);
	return file;
}

static void mac_of(const char *text, uint8_t mac[ETH_ALEN])
{
	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != ETH_ALEN)
		give_up(text);
}

static void take(struct way *way)
{
	struct sockaddr_ll from;
	socklen_t length = sizeof(from);
	struct frame *frame;
	ssize_t got;

	while (way->end - way->first < SLOTS) {
		frame = &way->frames[way->end % SLOTS];
		got = recvfrom(way->from, frame->data, FRAME_MAX, 0, (struct sockaddr *)&from,
			       &length);
		if (got < 0)
			return;
		length = sizeof(from);
		if ((size_t)got < ETH_HLEN || from.sll_pkttype == PACKET_OUTGOING)
			continue;
		memcpy(frame->data, way->next_hop, ETH_ALEN);
		memcpy(frame->data + ETH_ALEN, way->source, ETH_ALEN);
		frame->length = (size_t)got;
		frame->due = now_ns() + way->delay;
		way->end++;
	}
	give_up("delay: too many frames under way");
}

/* Returns for how long there is nothing to do, in ms; -1: until something comes. */
static int send_those_due(struct way *way)
{
	uint64_t now = now_ns();
	const struct frame *frame;

	for (; way->first < way->end; way->first++) {
		frame = &way->frames[way->first % SLOTS];
		if (frame->due > now)
			return (int)((frame->due - now) / MS) + 1;
		/* What there is no room for is lost, as on any way. */
		if (send(way->to, frame->data, frame->length, 0) < 0 && errno != EAGAIN &&
		    errno != ENOBUFS)
			give_up("send");
	}
	return -1;
}

static void run(struct way *way)
{
	struct pollfd files[] = {{.fd = STDIN_FILENO, .events = POLLIN},
				 {.fd = way->from, .events = POLLIN}};
	bool ended = false;
	int timeout = -1;

	while (!ended) {
		if (poll(files, 2, timeout) < 0 && errno != EINTR)
			give_up("poll");
		if (files[0].revents)
			command_line(&ended);
		take(way);
		timeout = send_those_due(way);
	}
}

int delay_main(char **argv)
{
	const char *name, *value, *from = NULL, *to = NULL;
	struct way way = {0};
	int at = 0;

	while (next_option(argv, &at, &name, &value)) {
		if (!strcmp(name, "from"))
			from = value;
		else if (!strcmp(name, "to"))
			to = value;
		else if (!strcmp(name, "source"))
			mac_of(value, way.source);
		else if (!strcmp(name, "next-hop"))
			mac_of(value, way.next_hop);
		else if (!strcmp(name, "ms"))
			way.delay = number_of(value) * MS;
		else
			give_up(name);
	}
	if (!from || !to)
		give_up("delay: from and to are needed");
	way.frames = calloc(SLOTS, sizeof(*way.frames));
	if (!way.frames || fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK))
		give_up("delay");
	way.from = packet_socket(from, ETH_P_ALL);
	way.to = packet_socket(to, 0); /* it only sends */
	puts("ready");
	fflush(stdout);
	run(&way);
	return 0;
}
