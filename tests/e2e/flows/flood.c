// SPDX-License-Identifier: GPL-2.0-only
/*
 * A SYN flood from random sources of 198.18.0.0/15 (RFC 2544), which nobody has: no SYN is ever
 * answered, so none of these flows has a next segment. IPv4.
 */
#include "flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BATCH 32

struct syn {
	struct ether_header ethernet;
	struct ip ip;
	struct tcphdr tcp;
} __attribute__((packed));

struct flood {
	uint64_t count, rate, random;
	uint8_t to_mac[6], from_mac[6];
	struct in_addr to;
	uint16_t port;
	int file;
};

static uint32_t add_words(uint32_t sum, const void *data, size_t length)
{
	const uint8_t *byte = data;
	size_t i;

	for (i = 0; i < length; i += 2)
		sum += (uint32_t)(byte[i] << 8 | byte[i + 1]);
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void make(struct flood *flood, struct syn *syn)
{
	uint64_t random = random_next(&flood->random);
	struct ip ip = {.ip_v = 4, .ip_hl = 5, .ip_ttl = 64, .ip_p = IPPROTO_TCP};
	struct tcphdr tcp = {.doff = 5, .syn = 1, .window = htons(65535)};

	ip.ip_len = htons(sizeof(ip) + sizeof(tcp));
	ip.ip_src.s_addr = htonl(0xc6120000u | (random & 0x1ffff));
	ip.ip_dst = flood->to;
	ip.ip_sum = folded(add_words(0, &ip, sizeof(ip)));
	tcp.source = htons((uint16_t)(1024 + (random >> 20) % 64000));
	tcp.dest = htons(flood->port);
	tcp.seq = (uint32_t)(random >> 32);
	tcp.check = folded(
		add_words(add_words(IPPROTO_TCP + sizeof(tcp), &ip.ip_src, 8), &tcp, sizeof(tcp)));
	memcpy(syn->ethernet.ether_dhost, flood->to_mac, 6);
	memcpy(syn->ethernet.ether_shost, flood->from_mac, 6);
	syn->ethernet.ether_type = htons(ETH_P_IP);
	syn->ip = ip;
	syn->tcp = tcp;
}

static void run(struct flood *flood)
{
	struct syn syns[BATCH];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH];
	uint64_t began = now_ns(), due, now, sent;
	int i, got;

	memset(messages, 0, sizeof(messages));
	for (sent = 0; sent < flood->count; sent += (uint64_t)got) {
		due = began + sent * (NS / flood->rate);
		now = now_ns();
		if (due > now)
			usleep((useconds_t)((due - now) / 1000));
		for (i = 0; i < BATCH; i++) {
			make(flood, &syns[i]);
			parts[i] = (struct iovec){&syns[i], sizeof(syns[i])};
			messages[i].msg_hdr =
				(struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
		}
		got = sendmmsg(flood->file, messages, BATCH, 0);
		if (got < 0 && errno == ENOBUFS) { /* the interface's queue is full */
			usleep(1000);
			got = 0;
		}
		if (got < 0)
			give_up("sendmmsg");
	}
	printf("{\"sent\":%llu,\"seconds\":%.3f}\n", (unsigned long long)sent,
	       (double)(now_ns() - began) / NS);
}

static void read_mac(const char *text, uint8_t *mac)
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != 6)
		give_up(text);
}

int flood_main(char **argv)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET};
	struct flood flood = {.rate = 50000};
	const char *name, *value;
	int at = 0;

	while (next_option(argv, &at, &name, &value)) {
		if (!strcmp(name, "interface"))
			address.sll_ifindex = (int)if_nametoindex(value);
		else if (!strcmp(name, "mac"))
			read_mac(value, flood.to_mac);
		else if (!strcmp(name, "from-mac"))
			read_mac(value, flood.from_mac);
		else if (!strcmp(name, "port"))
			flood.port = (uint16_t)number_of(value);
		else if (!strcmp(name, "count"))
			flood.count = number_of(value);
		else if (!strcmp(name, "rate"))
			flood.rate = number_of(value);
		else if (!strcmp(name, "seed"))
			flood.random = number_of(value);
		else
			give_up(name);
	}
	if (!address.sll_ifindex || !flood.port || !flood.rate || !argv[at] ||
	    inet_pton(AF_INET, argv[at], &flood.to) != 1)
		give_up("flood: interface, mac, port, count, rate and address are needed");
	flood.file = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (flood.file < 0 || bind(flood.file, (const struct sockaddr *)&address, sizeof(address)))
		give_up("flood");
	run(&flood);
	return 0;
}
