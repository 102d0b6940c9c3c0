/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2: which service is the packet for? One cache line for IPv4, two for IPv6; a second bucket
 * only where the first one overflowed. A port of its own beats any port.
 */
#ifndef XDP_CANARY_SERVICE_H
#define XDP_CANARY_SERVICE_H

#include "packet.h"

#define NO_SERVICE (~0u)

/* Cells are filled from the first on: most misses end at an empty one. */
static __always_inline __u32 find_in_bucket4(const struct vip_bucket *bucket, __u64 want)
{
#pragma unroll
	for (int i = 0; i < VIP_BUCKET_CELLS; i++) {
		__u64 cell = bucket->cells[i];

		if (!cell)
			break;
		if (!((cell ^ want) >> VIP_CELL_KIND_SHIFT))
			return cell & VIP_CELL_SERVICE_MASK;
	}
	return NO_SERVICE;
}

/* The builder lets no two VIPs of a bucket share a tag: the first that matches is the only one to
 * compare. */
static __always_inline __u32 find_in_bucket6(const struct vip_bucket *bucket, __u64 want,
					     __u32 copy, const struct packet *p, __u16 port)
{
	const __u64 tag_and_kind = ~0ULL << VIP_CELL_ADDRESS_SHIFT | (__u64)VIP_CELL_KIND_MASK
									     << VIP_CELL_KIND_SHIFT;
	__u64 found = 0;
	struct vip6 *vip;

#pragma unroll
	for (int i = 0; i < VIP_BUCKET_CELLS; i++) {
		__u64 cell = bucket->cells[i];

		if (!cell)
			break;
		if (!((cell ^ want) & tag_and_kind)) {
			found = cell;
			break;
		}
	}
	if (!found)
		return NO_SERVICE;
	vip = lookup(vips6, copy * vip6_count + ((found >> VIP_CELL_PORT_SHIFT) & 0xffff));
	if (!vip || vip->address_high != bpf_be64_to_cpu(p->headers.destination6.high) ||
	    vip->address_low != bpf_be64_to_cpu(p->headers.destination6.low) || vip->port != port)
		return NO_SERVICE;
	return found & VIP_CELL_SERVICE_MASK; /* which need not wait for @vip */
}

/* @port in host order; 0: any. */
static __always_inline __u32 find_vip(const struct packet *p, __u32 vips, __u16 port)
{
	__u32 copy = !!(vips & VIPS_SECOND_COPY);
	int udp = p->headers.protocol == IPPROTO_UDP;
	struct vip_bucket *bucket;
	__u32 index, service;
	__u64 hash, want;

	if (p->headers.family == 4) {
		__u32 address = bpf_ntohl(p->headers.destination4);
		__u8 kind = udp ? VIP_UDP4 : VIP_TCP4;

		hash = vip_hash(0, address, port, kind, vips >> VIPS_SEED_SHIFT);
		want = vip4_cell(address, port, kind);
	} else {
		__u8 kind = udp ? VIP_UDP6 : VIP_TCP6;

		hash = vip_hash(bpf_be64_to_cpu(p->headers.destination6.high),
				bpf_be64_to_cpu(p->headers.destination6.low), port, kind,
				vips >> VIPS_SEED_SHIFT);
		want = vip6_cell(hash, 0, kind);
	}
	index = vip_bucket_at(hash, vip_bucket_bits);
	bucket = lookup(vip_buckets, copy << vip_bucket_bits | index);
	if (!bucket)
		return NO_SERVICE;
	service = p->headers.family == 4 ? find_in_bucket4(bucket, want)
					 : find_in_bucket6(bucket, want, copy, p, port);
	if (service != NO_SERVICE || !(bucket->cells[0] & VIP_CELL_OVERFLOW))
		return service;
	index = (index + 1) & ((1u << vip_bucket_bits) - 1);
	bucket = lookup(vip_buckets, copy << vip_bucket_bits | index);
	if (!bucket)
		return NO_SERVICE;
	return p->headers.family == 4 ? find_in_bucket4(bucket, want)
				      : find_in_bucket6(bucket, want, copy, p, port);
}

/* Loads the service's cell once: all that this packet will see of the policy hangs on that word. */
static __always_inline enum reason find_service(struct packet *p)
{
	__u32 vips = *(volatile __u32 *)&box.vips;
	struct service_cell *cell;
	__u64 word;

	p->service = find_vip(p, vips, bpf_ntohs(p->headers.destination_port));
	if (p->service == NO_SERVICE && (vips & VIPS_ANY_PORT))
		p->service = find_vip(p, vips, 0);
	if (p->service == NO_SERVICE)
		return REASON_NOT_VIP;
	cell = lookup(cells, p->service);
	if (!cell)
		return REASON_NOT_VIP;
	word = *(volatile __u64 *)cell;
	if (!(__u32)word)
		return REASON_NOT_VIP;
	p->view_index = (__u32)word - 1;
	p->killed = word >> 32;
	p->view = lookup(views, p->view_index);
	return p->view ? GO_ON : REASON_NOT_VIP;
}

#endif
