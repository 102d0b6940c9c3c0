// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VIP goes into the bucket of its hash, or, where that is full, into the next one, which the
 * first bucket's cell 0 then says. Where both are full, or two IPv6 VIPs that one lookup sees share
 * a tag, another seed is tried.
 */
#include "policy/vip_table.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#define SEEDS	    256
#define BUCKETS_MIN 8

uint32_t vip_table_buckets(uint32_t vips)
{
	uint32_t buckets = BUCKETS_MIN;

	while (buckets * VIP_BUCKET_CELLS < 4 * vips)
		buckets *= 2;
	return buckets;
}

static enum vip_kind kind_of(const struct vip *vip)
{
	bool udp = vip->protocol == IPPROTO_UDP;

	if (vip->address.family == 4)
		return udp ? VIP_UDP4 : VIP_TCP4;
	return udp ? VIP_UDP6 : VIP_TCP6;
}

/* -EEXIST: an IPv6 VIP of the bucket has the same tag and kind. */
static int put_cell(struct vip_bucket *bucket, uint64_t cell, bool is_ipv6)
{
	const uint64_t tag_and_kind = ~0ULL << VIP_CELL_ADDRESS_SHIFT |
				      (uint64_t)VIP_CELL_KIND_MASK << VIP_CELL_KIND_SHIFT;
	int i;

	for (i = 0; i < VIP_BUCKET_CELLS; i++) {
		__u64 *present = &bucket->cells[i];

		if (is_ipv6 && !((*present ^ cell) & tag_and_kind))
			return -EEXIST;
		if (*present >> VIP_CELL_KIND_SHIFT)
			continue;
		*present |= cell; /* cell 0 may have the overflow mark already */
		return 0;
	}
	return -ENOSPC;
}

static int put_vip(const struct vip_entry *entry, uint16_t index, struct vip_bucket *buckets,
		   uint32_t bucket_count, struct vip6 *vips6, uint8_t seed)
{
	bool is_ipv6 = entry->vip.address.family == 6;
	enum vip_kind kind = kind_of(&entry->vip);
	uint64_t high, low, hash, cell;
	uint32_t bucket;
	int error;

	address_words(&entry->vip.address, &high, &low);
	if (!is_ipv6)
		low &= UINT32_MAX;
	hash = vip_hash(high, low, entry->vip.port, kind, seed);
	bucket = vip_bucket_of(hash, bucket_count);
	if (is_ipv6) {
		vips6[index] = (struct vip6){
			.address_high = high,
			.address_low = low,
			.port = entry->vip.port,
			.kind = kind,
		};
		cell = vip6_cell(hash, index, kind);
	} else {
		cell = vip4_cell(low, entry->vip.port, kind);
	}
	cell |= entry->service;
	error = put_cell(&buckets[bucket], cell, is_ipv6);
	if (error != -ENOSPC)
		return error;
	buckets[bucket].cells[0] |= VIP_CELL_OVERFLOW;
	return put_cell(&buckets[(bucket + 1) & (bucket_count - 1)], cell, is_ipv6);
}

int vip_table_build(const struct vip_entry *entries, size_t count, struct vip_bucket *buckets,
		    uint32_t bucket_count, struct vip6 *vips6, uint32_t *flags)
{
	size_t i;
	int seed;

	for (seed = 0; seed < SEEDS; seed++) {
		int error = 0;

		*flags = seed << VIPS_SEED_SHIFT;
		memset(buckets, 0, bucket_count * sizeof(*buckets));
		for (i = 0; i < count && !error; i++) {
			if (!entries[i].vip.port)
				*flags |= VIPS_ANY_PORT;
			error = put_vip(&entries[i], i, buckets, bucket_count, vips6, seed);
		}
		if (!error)
			return 0;
	}
	return -ENOSPC;
}
