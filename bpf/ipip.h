/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IP in IP: RFC 2003 (4 in 4), RFC 4213 (6 in 4), RFC 2473 (4 and 6 in 6). The inner packet is not touched. The
 * outer header takes the inner one's DSCP and ECN (RFC 6040, normal mode) and its don't-fragment bit; an
 * IPv6 one carries the flow's hash as its label, so that routers and NICs spread the flows (RFC 6438). VLAN
 * tags stay in front.
 */
#ifndef XDP_CANARY_IPIP_H
#define XDP_CANARY_IPIP_H

#include "packet.h"

#define FLOW_LABEL_MASK 0xfffffu

/* RFC 1071 over the header's ten words, its checksum field 0. */
static __always_inline __u16 ipv4_header_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (unsigned int i = 0; i < sizeof(*ip) / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u8 inner_protocol(const struct packet *p)
{
	return p->headers.family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
}

static __always_inline void fill_outer_ipv4(const struct packet *p, struct iphdr *ip)
{
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = p->headers.traffic_class,
		.tot_len = bpf_htons(p->headers.l3_length + sizeof(*ip)),
		/* With DF the id means nothing (RFC 6864); without, the inner one's is as unique. */
		.id = p->headers.dont_fragment ? 0 : p->headers.ip_id,
		.frag_off = p->headers.dont_fragment ? bpf_htons(IP_FLAG_DF) : 0,
		.ttl = p->backend->ttl,
		.protocol = inner_protocol(p),
	};
	__builtin_memcpy(&ip->saddr, p->backend->source, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, p->backend->address, sizeof(ip->daddr));
	ip->check = ipv4_header_checksum(ip);
}

static __always_inline void fill_outer_ipv6(const struct packet *p, struct ipv6hdr *ip)
{
	__u32 label = fmix64(p->token ^ p->flow) & FLOW_LABEL_MASK;

	*(__be32 *)ip = bpf_htonl(6u << 28 | (__u32)p->headers.traffic_class << 20 | label);
	ip->payload_len = bpf_htons(p->headers.l3_length);
	ip->nexthdr = inner_protocol(p);
	ip->hop_limit = p->backend->ttl;
	__builtin_memcpy(&ip->saddr, p->backend->source, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, p->backend->address, sizeof(ip->daddr));
}

/* The link header anew, at the front of the grown frame. Returns where the outer IP header begins, or NULL. */
static __always_inline void *write_link_header(const struct packet *p, void *data, void *end, __be16 type)
{
	struct ethhdr *ethernet = data;
	__u32 *tags = (void *)(ethernet + 1) - sizeof(type);

	if ((void *)(ethernet + 1) + VLAN_TAGS_MAX * VLAN_TAG_SIZE > end)
		return NULL;
	__builtin_memcpy(ethernet->h_dest, p->destination_mac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, p->source_mac, ETH_ALEN);
	if (!p->headers.vlan_tags) {
		ethernet->h_proto = type;
		return ethernet + 1;
	}
	tags[0] = p->headers.vlan[0];
	if (p->headers.vlan_tags == 1) {
		*(__be16 *)(tags + 1) = type;
		return (void *)(ethernet + 1) + VLAN_TAG_SIZE;
	}
	tags[1] = p->headers.vlan[1];
	*(__be16 *)(tags + 2) = type;
	return (void *)(ethernet + 1) + 2 * VLAN_TAG_SIZE;
}

static __always_inline int encapsulate4(struct packet *p)
{
	void *outer, *end;

	if (bpf_xdp_adjust_head(p->ctx, -(int)sizeof(struct iphdr)))
		return -1;
	end = (void *)(long)p->ctx->data_end;
	outer = write_link_header(p, (void *)(long)p->ctx->data, end, bpf_htons(ETH_P_IP));
	if (!outer || outer + sizeof(struct iphdr) > end)
		return -1;
	fill_outer_ipv4(p, outer);
	return 0;
}

static __always_inline int encapsulate6(struct packet *p)
{
	void *outer, *end;

	if (bpf_xdp_adjust_head(p->ctx, -(int)sizeof(struct ipv6hdr)))
		return -1;
	end = (void *)(long)p->ctx->data_end;
	outer = write_link_header(p, (void *)(long)p->ctx->data, end, bpf_htons(ETH_P_IPV6));
	if (!outer || outer + sizeof(struct ipv6hdr) > end)
		return -1;
	fill_outer_ipv6(p, outer);
	return 0;
}

static __always_inline int encapsulate(struct packet *p)
{
	return p->backend->flags & BACKEND_IPV6 ? encapsulate6(p) : encapsulate4(p);
}

#endif
