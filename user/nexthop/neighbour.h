/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's neighbour table (ARP and neighbour discovery), and a memory of what was last
 * answered for each neighbour asked about, so that an update that changes no answer is not taken
 * for a change. The memory grows with the number of different next hops ever asked for, and is
 * freed with the struct.
 */
#ifndef XDP_CANARY_NEIGHBOUR_H
#define XDP_CANARY_NEIGHBOUR_H

#include "nexthop/rtnetlink.h"

#include <stdbool.h>

enum neighbour_state { NEIGHBOUR_UNKNOWN, NEIGHBOUR_USABLE, NEIGHBOUR_FAILED };

struct neighbour {
	uint32_t ifindex;
	struct address address;
	enum neighbour_state state;
	uint8_t mac[6]; /* where usable */
};

struct neighbours {
	void *answered; /* a tsearch() tree of struct neighbour */
};

void neighbours_free(struct neighbours *neighbours);

/*
 * The state of @address on @ifindex. One that is unknown, stale or failed is probed by the kernel;
 * a failed one stays failed until it answers, so that probing again does not make it look new.
 * Returns 0, -ENODEV where there is no such interface, -ENOBUFS where the kernel's table has no
 * room, -EPERM where the neighbour is not known and the process may not have it probed, or another
 * negative errno of netlink.
 */
int neighbours_find(struct neighbours *neighbours, struct rtnetlink *netlink, uint32_t ifindex,
		    const struct address *address, struct neighbour *out);

/* A message of RTNLGRP_NEIGH; true if it makes an answer that was given untrue. */
bool neighbours_changed(const struct neighbours *neighbours, const struct nlmsghdr *message);

#endif
