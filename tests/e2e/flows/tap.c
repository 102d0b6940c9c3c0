// SPDX-License-Identifier: GPL-2.0-only
/*
 * A witness at a backend's interface: for each client address, when the last packet that came for
 * one of the VIPs was sent. A TCP segment says so in its timestamp option (milliseconds of
 * CLOCK_MONOTONIC where net.ipv4.tcp_timestamps is 2), a datagram of ours in its record. What
 * says nothing (a RST) is judged by when it came. "report" on stdin: a line of JSON on stdout.
 */
#include "flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SNAP	    160 /* bytes of a packet: all headers, and a record's */
#define BATCH	    64
#define CLIENTS	    65536 /* of a family: told apart by the last 16 bits of their addresses */
#define ADDRESSES   8
#define BARE_BUFFER (64 << 20)

struct client {
	uint64_t packets;
	uint64_t sent; /* the latest sending time, ns */
	uint64_t bare; /* when the last packet without one came, ns */
	uint8_t address[16];
};

struct tap {
	int file;
	uint16_t port;
	struct address to[ADDRESSES];
	size_t count;
	uint64_t packets, dropped;
	uint64_t realtime;	   /* CLOCK_REALTIME - CLOCK_MONOTONIC, ns */
	struct client *clients[2]; /* IPv4, IPv6 */
};

/* One packet, as far as it was understood. */
struct packet {
	int family, protocol;
	const uint8_t *source, *destination, *transport, *end;
};

static bool parse(const uint8_t *data, size_t length, struct packet *packet)
{
	const struct ip6_hdr *v6 = (const void *)data;
	const struct ip *v4 = (const void *)data;
	size_t head = sizeof(*v6);

	packet->end = data + length;
	if (length >= sizeof(*v4) && v4->ip_v == 4) {
		*packet = (struct packet){
			AF_INET, v4->ip_p,   (const void *)&v4->ip_src, (const void *)&v4->ip_dst,
			NULL,	 packet->end};
		head = v4->ip_hl * 4u;
	} else if (length >= sizeof(*v6) && v4->ip_v == 6) {
		*packet = (struct packet){AF_INET6,
					  v6->ip6_nxt,
					  (const void *)&v6->ip6_src,
					  (const void *)&v6->ip6_dst,
					  NULL,
					  packet->end};
	} else {
		return false;
	}
	packet->transport = data + head;
	return packet->transport + 8 <= packet->end;
}

static bool is_watched(const struct tap *tap, const struct packet *packet)
{
	uint16_t port;
	size_t i;

	/* TCP and UDP have the destination port at the same place. */
	memcpy(&port, packet->transport + 2, sizeof(port));
	if (port != htons(tap->port))
		return false;
	for (i = 0; i < tap->count; i++) {
		const struct sockaddr_in6 *v6 = (const void *)&tap->to[i].storage;
		const struct sockaddr_in *v4 = (const void *)&tap->to[i].storage;

		if (tap->to[i].storage.ss_family != packet->family)
			continue;
		if (packet->family == AF_INET ? !memcmp(&v4->sin_addr, packet->destination, 4)
					      : !memcmp(&v6->sin6_addr, packet->destination, 16))
			return true;
	}
	return false;
}

/* The full time of which only the low 32 bits of the milliseconds are known. */
static uint64_t full_ns(uint32_t low)
{
	uint64_t now = now_ns() / MS;

	return (now - (uint32_t)((uint32_t)now - low)) * MS;
}

static uint64_t tcp_sent_ns(const struct packet *packet)
{
	const struct tcphdr *tcp = (const void *)packet->transport;
	const uint8_t *at = packet->transport + sizeof(*tcp), *end;
	uint32_t value;

	if (at > packet->end)
		return 0;
	end = packet->transport + tcp->doff * 4u;
	end = end < packet->end ? end : packet->end;
	while (at < end && *at != TCPOPT_EOL) {
		if (*at == TCPOPT_NOP) {
			at++;
			continue;
		}
		if (at + 2 > end || at[1] < 2 || at + at[1] > end)
			return 0;
		if (*at == TCPOPT_TIMESTAMP && at[1] == TCPOLEN_TIMESTAMP) {
			memcpy(&value, at + 2, sizeof(value));
			return full_ns(ntohl(value));
		}
		at += at[1];
	}
	return 0;
}

/* 0: the packet does not say. */
static uint64_t sent_ns(const struct packet *packet)
{
	const uint8_t *data = packet->transport + sizeof(struct udphdr);
	struct record record;

	if (packet->protocol == IPPROTO_TCP)
		return tcp_sent_ns(packet);
	if (data + sizeof(record) > packet->end)
		return 0;
	memcpy(&record, data, sizeof(record));
	return record.kind == RECORD || record.kind == RECORD_LAST ? record.sent_ns : 0;
}

static void note(struct tap *tap, const struct packet *packet, uint64_t came)
{
	size_t length = packet->family == AF_INET ? 4 : 16;
	const uint8_t *low = packet->source + length - 2;
	struct client *client = &tap->clients[packet->family == AF_INET6][low[0] << 8 | low[1]];
	uint64_t sent = sent_ns(packet);

	if (client->packets++ && memcmp(client->address, packet->source, length))
		give_up("two clients with equal last bits");
	memcpy(client->address, packet->source, length);
	tap->packets++;
	if (!sent)
		client->bare = came;
	else if (sent > client->sent)
		client->sent = sent;
}

/* When it came, on CLOCK_MONOTONIC. */
static uint64_t arrival(const struct tap *tap, struct msghdr *message)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);
	struct timespec time;

	if (!control || control->cmsg_type != SCM_TIMESTAMPNS)
		return now_ns();
	memcpy(&time, CMSG_DATA(control), sizeof(time));
	return (uint64_t)time.tv_sec * NS + (uint64_t)time.tv_nsec - tap->realtime;
}

static void receive(struct tap *tap)
{
	static uint8_t data[BATCH][SNAP], control[BATCH][CMSG_SPACE(sizeof(struct timespec))];
	struct sockaddr_ll from[BATCH];
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	struct packet packet;
	int count = BATCH, i;

	while (count == BATCH) {
		for (i = 0; i < BATCH; i++) {
			parts[i] = (struct iovec){data[i], SNAP};
			messages[i].msg_hdr =
				(struct msghdr){&from[i],   sizeof(from[i]),	&parts[i], 1,
						control[i], sizeof(control[i]), 0};
		}
		count = recvmmsg(tap->file, messages, BATCH, MSG_DONTWAIT, NULL);
		for (i = 0; i < count; i++)
			if (from[i].sll_pkttype == PACKET_HOST &&
			    parse(data[i], messages[i].msg_len, &packet) &&
			    is_watched(tap, &packet))
				note(tap, &packet, arrival(tap, &messages[i].msg_hdr));
	}
}

static void report(struct tap *tap)
{
	struct tpacket_stats statistics;
	socklen_t length = sizeof(statistics);
	char text[INET6_ADDRSTRLEN];
	const char *comma = "";
	size_t family, i;

	if (!getsockopt(tap->file, SOL_PACKET, PACKET_STATISTICS, &statistics, &length))
		tap->dropped += statistics.tp_drops;
	printf("{\"packets\":%llu,\"dropped\":%llu,\"clients\":[", (unsigned long long)tap->packets,
	       (unsigned long long)tap->dropped);
	for (family = 0; family < 2; family++)
		for (i = 0; i < CLIENTS; i++) {
			const struct client *client = &tap->clients[family][i];

			if (!client->packets)
				continue;
			inet_ntop(family ? AF_INET6 : AF_INET, client->address, text, sizeof(text));
			printf("%s[\"%s\",%llu,%llu,%llu]", comma, text,
			       (unsigned long long)client->packets,
			       (unsigned long long)client->sent, (unsigned long long)client->bare);
			comma = ",";
		}
	printf("]}\n");
	fflush(stdout);
}

static void open_tap(struct tap *tap, const char *interface)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(interface),
	};
	struct timespec real;
	int on = 1, buffer = BARE_BUFFER;

	if (!address.sll_ifindex)
		give_up(interface);
	tap->file = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (tap->file < 0 ||
	    setsockopt(tap->file, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) ||
	    setsockopt(tap->file, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) ||
	    setsockopt(tap->file, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) ||
	    bind(tap->file, (const struct sockaddr *)&address, sizeof(address)))
		give_up("tap");
	clock_gettime(CLOCK_REALTIME, &real);
	tap->realtime = (uint64_t)real.tv_sec * NS + (uint64_t)real.tv_nsec - now_ns();
}

static void run(struct tap *tap)
{
	struct epoll_event events[2];
	int poll = epoll_create1(EPOLL_CLOEXEC), count, i;
	bool ended = false;
	const char *line;

	watch(poll, tap->file, EPOLLIN, tap);
	watch(poll, STDIN_FILENO, EPOLLIN, NULL);
	while (!ended) {
		count = epoll_wait(poll, events, 2, -1);
		for (i = 0; i < count; i++) {
			receive(tap);
			while (!events[i].data.ptr && (line = command_line(&ended)))
				report(tap);
		}
	}
}

int tap_main(char **argv)
{
	static struct tap tap;
	const char *name, *value, *interface = NULL;
	int at = 0;

	while (next_option(argv, &at, &name, &value)) {
		if (!strcmp(name, "interface"))
			interface = value;
		else if (!strcmp(name, "port"))
			tap.port = (uint16_t)number_of(value);
		else
			give_up(name);
	}
	if (!interface || !tap.port || !argv[at])
		give_up("tap: interface, port and addresses are needed");
	for (; argv[at] && tap.count < ADDRESSES; at++)
		tap.to[tap.count++] = address_of(argv[at], tap.port);
	tap.clients[0] = calloc(CLIENTS, sizeof(struct client));
	tap.clients[1] = calloc(CLIENTS, sizeof(struct client));
	if (!tap.clients[0] || !tap.clients[1])
		give_up("memory");
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK))
		give_up("stdin");
	open_tap(&tap, interface);
	puts("ready");
	fflush(stdout);
	run(&tap);
	return 0;
}
