/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 1: from the frame to addresses, protocol and ports. Reads, never writes. A header that is
 * not whole, in the frame or within the length that IP gives, makes the packet `truncated`, to
 * whomever it goes.
 */
#ifndef XDP_CANARY_PARSE_H
#define XDP_CANARY_PARSE_H

#include "packet.h"

#define EXTENSION_HEADERS_MAX 6
#define IP_FLAG_DF	      0x4000
#define IP_FRAGMENT_MASK      0x3fff /* more fragments, or an offset */

/*
 * Every IPv6 extension header begins with the type of the next one, and has eight bytes at the
 * least. Of a fragment header they are the whole.
 */
struct ipv6_extension {
	__u8 next_header;
	__u8 length;	 /* in 8 bytes, the first not counted; AH: in 4 bytes, minus 2; fragment:
			    reserved */
	__be16 fragment; /* 13 bits of offset, 2 reserved, more fragments */
	__be32 rest;
};

struct vlan_tag {
	__be16 tag;
	__be16 next_type;
};

/* Ports and flags. @length: bytes of the IP payload that is left for this header. */
static __always_inline enum reason parse_transport(struct headers *h, void *header, void *end,
						   __u32 length)
{
	if (h->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = header;

		if ((void *)(tcp + 1) > end || length < sizeof(*tcp))
			return REASON_TRUNCATED;
		h->source_port = tcp->source;
		h->destination_port = tcp->dest;
		h->tcp_flags = ((__u8 *)tcp)[13];
		return GO_ON;
	}
	if (h->protocol == IPPROTO_UDP) {
		struct udphdr *udp = header;

		if ((void *)(udp + 1) > end || length < sizeof(*udp))
			return REASON_TRUNCATED;
		h->source_port = udp->source;
		h->destination_port = udp->dest;
		h->payload = h->l3_offset + h->l3_length - length + sizeof(*udp);
		h->payload_length = length - sizeof(*udp);
		return GO_ON;
	}
	if (h->protocol == IPPROTO_ICMP || h->protocol == IPPROTO_ICMPV6)
		return REASON_ICMP;
	return REASON_NOT_VIP;
}

/* Is less of the IP packet in the frame than its header says? Frames of several buffers ask the
 * kernel. */
static __always_inline int frame_is_short(struct xdp_md *ctx, const struct headers *h, void *l3,
					  void *end)
{
	if (l3 + h->l3_length <= end)
		return 0;
	return h->l3_offset + h->l3_length > bpf_xdp_get_buff_len(ctx);
}

static __always_inline enum reason parse_ipv4(struct xdp_md *ctx, struct headers *h, void *l3,
					      void *end)
{
	struct iphdr *ip = l3;
	__u32 header_length;
	__u16 fragment;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return REASON_TRUNCATED;
	header_length = ip->ihl * 4;
	h->l3_length = bpf_ntohs(ip->tot_len);
	if (h->l3_length < header_length || frame_is_short(ctx, h, l3, end))
		return REASON_TRUNCATED;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & IP_FRAGMENT_MASK)
		return REASON_FRAGMENT;
	h->family = 4;
	h->protocol = ip->protocol;
	h->traffic_class = ip->tos;
	h->dont_fragment = !!(fragment & IP_FLAG_DF);
	h->ip_id = ip->id;
	h->source4 = ip->saddr;
	h->destination4 = ip->daddr;
	return parse_transport(h, l3 + header_length, end, h->l3_length - header_length);
}

static __always_inline int is_ipv6_extension(__u8 type)
{
	return type == IPPROTO_HOPOPTS || type == IPPROTO_ROUTING || type == IPPROTO_FRAGMENT ||
	       type == IPPROTO_AH || type == IPPROTO_DSTOPTS || type == IPPROTO_MH;
}

static __always_inline __u32 ipv6_extension_size(__u8 type, const struct ipv6_extension *extension)
{
	if (type == IPPROTO_FRAGMENT)
		return sizeof(*extension);
	return type == IPPROTO_AH ? (extension->length + 2) * 4 : (extension->length + 1) * 8;
}

#define NO_UPPER_LAYER (1u << 31)

/*
 * RFC 8200 section 4: walks over the extension headers of the packet of @length bytes at
 * @l3_offset. Returns the upper-layer protocol and, in the low half, its distance from the IPv6
 * header; or NO_UPPER_LAYER and a reason. An atomic fragment (RFC 6946) is none. Global, so that
 * the verifier walks it once by itself; a call costs 7 ns, and few packets need it.
 */
__noinline __u32 find_upper_layer(struct xdp_md *ctx, __u32 l3_offset, __u32 length)
{
	void *end = (void *)(long)ctx->data_end;
	__u32 offset = sizeof(struct ipv6hdr);
	struct ipv6hdr *ip;
	__u8 type;

	if (l3_offset > ETHERNET_SIZE + VLAN_TAGS_MAX * VLAN_TAG_SIZE)
		return NO_UPPER_LAYER | REASON_UNSUPPORTED;
	ip = (void *)(long)ctx->data + l3_offset;
	if ((void *)(ip + 1) > end)
		return NO_UPPER_LAYER | REASON_TRUNCATED;
	type = ip->nexthdr;
	for (int i = 0; i <= EXTENSION_HEADERS_MAX; i++) {
		struct ipv6_extension *extension = (void *)ip + offset;

		if (!is_ipv6_extension(type))
			return (__u32)type << 16 | offset;
		if ((void *)(extension + 1) > end || offset + sizeof(*extension) > length)
			return NO_UPPER_LAYER | REASON_TRUNCATED;
		if (type == IPPROTO_FRAGMENT && (extension->fragment & bpf_htons(0xfff9)))
			return NO_UPPER_LAYER | REASON_FRAGMENT;
		offset += ipv6_extension_size(type, extension);
		type = extension->next_header;
	}
	return NO_UPPER_LAYER | REASON_UNSUPPORTED;
}

static __always_inline enum reason parse_behind_extensions(struct xdp_md *ctx, struct headers *h,
							   void *l3, void *end)
{
	__u32 upper = find_upper_layer(ctx, h->l3_offset, h->l3_length);
	__u32 offset = upper & 0x7fff;

	if (upper & NO_UPPER_LAYER)
		return upper & 0xff;
	if (h->l3_length < offset)
		return REASON_TRUNCATED;
	h->protocol = upper >> 16;
	return parse_transport(h, l3 + offset, end, h->l3_length - offset);
}

static __always_inline enum reason parse_ipv6(struct xdp_md *ctx, struct headers *h, void *l3,
					      void *end)
{
	struct ipv6hdr *ip = l3;
	__u32 length;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return REASON_TRUNCATED;
	length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (length > 0xffff) /* no frame that can be encapsulated is as long */
		return REASON_UNSUPPORTED;
	h->l3_length = length;
	if (frame_is_short(ctx, h, l3, end))
		return REASON_TRUNCATED;
	h->family = 6;
	h->traffic_class = bpf_ntohl(*(__be32 *)ip) >> 20;
	h->dont_fragment = 1;
	h->source6.high = word64(&ip->saddr);
	h->source6.low = word64((void *)&ip->saddr + 8);
	h->destination6.high = word64(&ip->daddr);
	h->destination6.low = word64((void *)&ip->daddr + 8);
	if (ip->nexthdr == IPPROTO_TCP || ip->nexthdr == IPPROTO_UDP) {
		h->protocol = ip->nexthdr;
		return parse_transport(h, ip + 1, end, length - sizeof(*ip));
	}
	return parse_behind_extensions(ctx, h, l3, end);
}

static __always_inline int is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Remembers the tag at @header in slot @index and steps over it. */
static __always_inline int parse_vlan(struct headers *h, int index, __be16 *type, void **header,
				      void *end)
{
	struct vlan_tag *tag = *header;

	if ((void *)(tag + 1) > end)
		return -1;
	h->vlan[index] = *type | (__u32)tag->tag << 16; /* little endian: the type lies first */
	*type = tag->next_type;
	*header = tag + 1;
	h->vlan_tags = index + 1;
	return 0;
}

/* Inlined, for a call costs 7 ns (a return thunk). The reason, or GO_ON. */
static __always_inline enum reason parse(struct xdp_md *ctx, struct headers *h)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *header = data + ETHERNET_SIZE;
	__be16 type;

	if (header > end)
		return REASON_TRUNCATED;
	type = word16(data + ETHERTYPE_OFFSET);
	if (is_vlan(type)) {
		if (parse_vlan(h, 0, &type, &header, end))
			return REASON_TRUNCATED;
		if (is_vlan(type) && parse_vlan(h, 1, &type, &header, end))
			return REASON_TRUNCATED;
		if (is_vlan(type))
			return REASON_UNSUPPORTED;
	}
	h->l3_offset = ETHERNET_SIZE + h->vlan_tags * VLAN_TAG_SIZE;
	if (type == bpf_htons(ETH_P_IP))
		return parse_ipv4(ctx, h, header, end);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(ctx, h, header, end);
	return REASON_NOT_IP;
}

#endif
