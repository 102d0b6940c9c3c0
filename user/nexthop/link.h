/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interfaces and their addresses, cached: a query needs those of a few interfaces again and again.
 * An entry is made when first asked for, and dropped when the monitor hears of a change to it; none
 * is older than the last message read. Written by the one thread that owns the struct next_hops.
 */
#ifndef XDP_CANARY_LINK_H
#define XDP_CANARY_LINK_H

#include "nexthop/rtnetlink.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct link {
	uint32_t ifindex;
	char name[16];
	bool up;
	bool carrier;
	bool ethernet; /* has Ethernet headers and a MAC */
	uint8_t mac[6];
	uint32_t mtu;
	struct address source4, source6; /* of an Ethernet interface; family 0: none */
};

struct links {
	struct link *items;
	size_t count, room;
};

void links_free(struct links *links);

/*
 * By @ifindex, or where that is 0 by @name. *@out stays valid until the next call with these links.
 * Returns 0, -ENODEV where there is no such interface, or another negative errno of netlink.
 */
int links_find(struct links *links, struct rtnetlink *netlink, uint32_t ifindex, const char *name,
	       const struct link **out);

/* A message of RTNLGRP_LINK or an IFADDR group; true if it can change an answer. */
bool links_link_changed(struct links *links, const struct nlmsghdr *message);
bool links_address_changed(struct links *links, const struct nlmsghdr *message);
void links_forget(struct links *links);

#endif
