/* SPDX-License-Identifier: GPL-2.0-only */
/* The route that the kernel takes to an address, as `ip route get` shows it. */
#ifndef XDP_CANARY_ROUTE_H
#define XDP_CANARY_ROUTE_H

#include "nexthop/rtnetlink.h"

enum route_kind { ROUTE_NONE, ROUTE_UNICAST, ROUTE_LOCAL };

struct route {
	enum route_kind kind;
	uint32_t ifindex;	/* of the egress interface */
	struct address gateway; /* of either family; family 0: on the link */
};

/*
 * @ifindex: the interface to leave by, 0: any. Of several paths (ECMP) the kernel picks one. With
 * an interface and no IPv4 route there the kernel assumes that the address is on the link. Returns
 * 0 or a negative errno of netlink.
 */
int route_lookup(struct rtnetlink *netlink, const struct address *destination, uint32_t ifindex,
		 struct route *out);

#endif
