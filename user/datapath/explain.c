// SPDX-License-Identifier: GPL-2.0-only
/* Builds a packet of a flow and runs the pinned explaining program on it. */
#include "datapath/explain.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#define FRAME_LEAST 256 /* the answer is written over it */
BUILD_CHECK(FRAME_LEAST >= sizeof(struct explanation));

/* The least of a client, RFC 9000 section 14.1. Nobody looks at more than the header. */
#define INITIAL_SIZE 1200
static const uint8_t initial_header[] = {
	0xc0, 0, 0, 0, 1, /* long header, type Initial, version 1: RFC 9000 section 17.2 */
	8,    0, 0, 0, 0, 0, 0, 0, 0, /* the id that the client made up for the server */
	0,			      /* its own: none */
};
#define FRAME_MOST (ETH_HLEN + sizeof(struct ip6_hdr) + sizeof(struct udphdr) + INITIAL_SIZE)

int explainer_open(const char *pins, struct errors *errors)
{
	char *path;
	int fd;

	if (asprintf(&path, "%s/explain", pins) < 0)
		return -ENOMEM;
	fd = bpf_obj_get(path);
	if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
		errors_add_code(errors, errno, path, "run as root",
				"cannot open the pinned program: %s", strerror(errno));
	if (fd < 0)
		fd = errno == ENOTDIR ? -ENOENT : -errno;
	free(path);
	return fd;
}

static size_t transport_size(const struct flow *flow, enum asked asked)
{
	if (flow->protocol == IPPROTO_TCP)
		return sizeof(struct tcphdr);
	return sizeof(struct udphdr) + (asked == ASK_INITIAL ? INITIAL_SIZE : 0);
}

static void build_transport(uint8_t *at, const struct flow *flow, enum asked asked)
{
	if (flow->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = (struct tcphdr *)at;

		tcp->th_sport = htons(flow->source_port);
		tcp->th_dport = htons(flow->destination_port);
		tcp->th_off = sizeof(*tcp) / 4;
		tcp->th_flags = asked == ASK_SEGMENT ? TH_ACK : TH_SYN;
	} else {
		struct udphdr *udp = (struct udphdr *)at;

		udp->uh_sport = htons(flow->source_port);
		udp->uh_dport = htons(flow->destination_port);
		udp->uh_ulen = htons(transport_size(flow, asked));
		if (asked == ASK_INITIAL)
			memcpy(udp + 1, initial_header, sizeof(initial_header));
	}
}

static void build_ipv4(uint8_t *frame, const struct flow *flow, enum asked asked)
{
	struct ip *ip = (struct ip *)(frame + ETH_HLEN);

	((struct ethhdr *)frame)->h_proto = htons(ETH_P_IP);
	ip->ip_v = 4;
	ip->ip_hl = sizeof(*ip) / 4;
	ip->ip_len = htons(sizeof(*ip) + transport_size(flow, asked));
	ip->ip_ttl = 64;
	ip->ip_p = flow->protocol;
	memcpy(&ip->ip_src, flow->source.bytes, sizeof(ip->ip_src));
	memcpy(&ip->ip_dst, flow->destination.bytes, sizeof(ip->ip_dst));
	build_transport((uint8_t *)(ip + 1), flow, asked);
}

static void build_ipv6(uint8_t *frame, const struct flow *flow, enum asked asked)
{
	struct ip6_hdr *ip = (struct ip6_hdr *)(frame + ETH_HLEN);
	uint64_t words[2];

	((struct ethhdr *)frame)->h_proto = htons(ETH_P_IPV6);
	ip->ip6_flow = htonl(6u << 28);
	ip->ip6_plen = htons(transport_size(flow, asked));
	ip->ip6_nxt = flow->protocol;
	ip->ip6_hlim = 64;
	address_words(&flow->source, &words[0], &words[1]);
	words[0] = htobe64(words[0]);
	words[1] = htobe64(words[1]);
	memcpy(&ip->ip6_src, words, sizeof(ip->ip6_src));
	memcpy(&ip->ip6_dst, flow->destination.bytes, sizeof(ip->ip6_dst));
	build_transport((uint8_t *)(ip + 1), flow, asked);
}

int explainer_ask(int program, const struct flow *flow, enum asked asked, struct explanation *out,
		  struct errors *errors)
{
	uint8_t frame[FRAME_MOST] = {0}, answer[FRAME_MOST];
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame,
		    .data_size_in = asked == ASK_INITIAL ? FRAME_MOST : FRAME_LEAST,
		    .data_out = answer, .data_size_out = sizeof(answer), .repeat = 1);

	if (flow->destination.family == 4)
		build_ipv4(frame, flow, asked);
	else
		build_ipv6(frame, flow, asked);
	if (bpf_prog_test_run_opts(program, &options))
		return errors_add_code(
			errors, errno, "explain",
			"run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
			"the kernel would not run the program: %s", strerror(errno));
	memcpy(out, answer, sizeof(*out));
	return 0;
}

int explainer_run(int program, const struct flow *flow, struct explanation *out,
		  struct errors *errors)
{
	return explainer_ask(program, flow, ASK_START, out, errors);
}
