// SPDX-License-Identifier: GPL-2.0-only
/* Builds the first packet of a flow and runs the pinned explaining program on it. */
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

#define FRAME_SIZE 256
BUILD_CHECK(FRAME_SIZE >= sizeof(struct explanation));

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

static void build_transport(uint8_t *at, const struct flow *flow)
{
	if (flow->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = (struct tcphdr *)at;

		tcp->th_sport = htons(flow->source_port);
		tcp->th_dport = htons(flow->destination_port);
		tcp->th_off = sizeof(*tcp) / 4;
		tcp->th_flags = TH_SYN;
	} else {
		struct udphdr *udp = (struct udphdr *)at;

		udp->uh_sport = htons(flow->source_port);
		udp->uh_dport = htons(flow->destination_port);
		udp->uh_ulen = htons(sizeof(*udp));
	}
}

static void build_ipv4(uint8_t *frame, const struct flow *flow, size_t transport)
{
	struct ip *ip = (struct ip *)(frame + ETH_HLEN);

	((struct ethhdr *)frame)->h_proto = htons(ETH_P_IP);
	ip->ip_v = 4;
	ip->ip_hl = sizeof(*ip) / 4;
	ip->ip_len = htons(sizeof(*ip) + transport);
	ip->ip_ttl = 64;
	ip->ip_p = flow->protocol;
	memcpy(&ip->ip_src, flow->source.bytes, sizeof(ip->ip_src));
	memcpy(&ip->ip_dst, flow->destination.bytes, sizeof(ip->ip_dst));
	build_transport((uint8_t *)(ip + 1), flow);
}

static void build_ipv6(uint8_t *frame, const struct flow *flow, size_t transport)
{
	struct ip6_hdr *ip = (struct ip6_hdr *)(frame + ETH_HLEN);
	uint64_t words[2];

	((struct ethhdr *)frame)->h_proto = htons(ETH_P_IPV6);
	ip->ip6_flow = htonl(6u << 28);
	ip->ip6_plen = htons(transport);
	ip->ip6_nxt = flow->protocol;
	ip->ip6_hlim = 64;
	address_words(&flow->source, &words[0], &words[1]);
	words[0] = htobe64(words[0]);
	words[1] = htobe64(words[1]);
	memcpy(&ip->ip6_src, words, sizeof(ip->ip6_src));
	memcpy(&ip->ip6_dst, flow->destination.bytes, sizeof(ip->ip6_dst));
	build_transport((uint8_t *)(ip + 1), flow);
}

int explainer_run(int program, const struct flow *flow, struct explanation *out,
		  struct errors *errors)
{
	size_t transport =
		flow->protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
	uint8_t frame[FRAME_SIZE] = {0}, answer[FRAME_SIZE];
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(frame),
		    .data_out = answer, .data_size_out = sizeof(answer), .repeat = 1);

	if (flow->destination.family == 4)
		build_ipv4(frame, flow, transport);
	else
		build_ipv6(frame, flow, transport);
	if (bpf_prog_test_run_opts(program, &options))
		return errors_add_code(
			errors, errno, "explain",
			"run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
			"the kernel would not run the program: %s", strerror(errno));
	memcpy(out, answer, sizeof(*out));
	return 0;
}
