/* SPDX-License-Identifier: GPL-2.0-only */
/* The table from VIP to service as the kernel reads it (headers/abi.h, "VIPs"). Pure. */
#ifndef XDP_CANARY_VIP_TABLE_H
#define XDP_CANARY_VIP_TABLE_H

#include "abi.h"
#include "policy/policy.h"

struct vip_entry {
	struct vip vip;
	uint32_t service; /* its slot */
};

/*
 * Buckets of one copy for up to @vips VIPs: a power of two, at most a quarter full (half full,
 * 65,536 random VIPs find no seed that leaves none without room).
 */
uint32_t vip_table_buckets(uint32_t vips);

/*
 * Writes one copy: @buckets[@bucket_count] and, for IPv6, @vips6. *@flags: VIPS_ANY_PORT and the
 * seed, for box.vips. 0, or -ENOSPC where no seed of 256 finds room.
 */
int vip_table_build(const struct vip_entry *entries, size_t count, struct vip_bucket *buckets,
		    uint32_t bucket_count, struct vip6 *vips6, uint32_t *flags);

#endif
