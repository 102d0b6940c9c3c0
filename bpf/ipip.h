/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IP in IP: RFC 2003 (4 in 4), RFC 4213 (6 in 4), RFC 2473 (4 and 6 in 6). The inner packet is not
 * touched. The outer header takes the inner one's DSCP and ECN (RFC 6040, normal mode) and its
 * don't-fragment bit; an IPv6 one carries the flow's hash as its label, so that routers and NICs
 * spread the flows (RFC 6438). VLAN tags stay in front.
 */
#ifndef XDP_CANARY_IPIP_H
#define XDP_CANARY_IPIP_H

#include "packet.h"

#define FLOW_LABEL_MASK 0xfffffu

/* RFC 1071: the sum does not care whether 16 or 32 bits are added at a time. */
static __always_inline __u16 fold_checksum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* @length in bytes, header included; @id, @fragment, addresses in network order. */
static __always_inline void write_ipv4(void *at, __u8 traffic_class, __u16 length, __be16 id,
				       __be16 fragment, __u8 ttl, __u8 protocol, __be32 source,
				       __be32 destination)
{
	__u32 first = 0x45 | (__u32)traffic_class << 8 | (__u32)bpf_htons(length) << 16;
	__u32 second = id | (__u32)fragment << 16;
	__u32 third = ttl | (__u32)protocol << 8;
	__u64 sum = (__u64)first + second + third + source + destination;

	word32(at) = first;
	word32(at + 4) = second;
	word32(at + 8) = third | (__u32)fold_checksum(sum) << 16;
	word32(at + 12) = source;
	word32(at + 16) = destination;
}

static __always_inline __u8 inner_protocol(const struct packet *p)
{
	return p->headers.family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
}

/* With DF the id means nothing (RFC 6864); without, the inner one's is as unique. */
static __always_inline void fill_outer_ipv4(const struct packet *p, void *at)
{
	int df = p->headers.dont_fragment;

	write_ipv4(at, p->headers.traffic_class, p->headers.l3_length + sizeof(struct iphdr),
		   df ? 0 : p->headers.ip_id, df ? bpf_htons(IP_FLAG_DF) : 0, p->backend->ttl,
		   inner_protocol(p), word32(p->backend->source), word32(p->backend->address));
}

static __always_inline void copy_address6(void *to, const void *from)
{
	word64(to) = word64(from);
	word64(to + 8) = word64(from + 8);
}

static __always_inline void fill_outer_ipv6(const struct packet *p, struct ipv6hdr *ip)
{
	__u32 label = fmix64(p->token ^ p->flow) & FLOW_LABEL_MASK;

	*(__be32 *)ip = bpf_htonl(6u << 28 | (__u32)p->headers.traffic_class << 20 | label);
	ip->payload_len = bpf_htons(p->headers.l3_length);
	ip->nexthdr = inner_protocol(p);
	ip->hop_limit = p->backend->ttl;
	copy_address6(&ip->saddr, p->backend->source);
	copy_address6(&ip->daddr, p->backend->address);
}

/* The link header anew, at the front of the grown frame. Returns where the outer IP header begins,
 * or NULL. */
static __always_inline void *write_link_header(const struct packet *p, void *frame, void *end,
					       __be16 type)
{
	void *at = frame + ETHERTYPE_OFFSET;

	if (frame + ETHERNET_SIZE + VLAN_TAGS_MAX * VLAN_TAG_SIZE > end)
		return NULL;
	write_link_addresses(frame, &p->link);
	if (p->headers.vlan_tags) {
		word32(at) = p->headers.vlan[0];
		at += VLAN_TAG_SIZE;
		if (p->headers.vlan_tags == 2) {
			word32(at) = p->headers.vlan[1];
			at += VLAN_TAG_SIZE;
		}
	}
	word16(at) = type;
	return at + sizeof(type);
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
