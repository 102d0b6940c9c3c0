/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a packet for an address leaves this host: asked from the kernel's routes and neighbours
 * over rtnetlink (libmnl). The network namespace is that of the process.
 */
#ifndef XDP_CANARY_NEXTHOP_H
#define XDP_CANARY_NEXTHOP_H

#include "util/address.h"
#include "util/errors.h"

#include <stdbool.h>
#include <stdint.h>

enum next_hop_state {
	NEXT_HOP_RESOLVED,  /* everything below is known */
	NEXT_HOP_RESOLVING, /* the route is known, the kernel was asked to find the MAC */
	NEXT_HOP_FAILED,    /* the neighbour does not answer */
	NEXT_HOP_NO_ROUTE,
	NEXT_HOP_OFF_LINK,    /* `l2` was asked for, and the route goes through a gateway */
	NEXT_HOP_LOCAL,	      /* the address is this host's own */
	NEXT_HOP_NO_ETHERNET, /* the interface has no Ethernet header */
	NEXT_HOP_NO_SOURCE, /* the interface has no address for the outer header; the caller says so
			     */
};

struct next_hop {
	enum next_hop_state state;
	uint32_t ifindex;
	char interface[16];
	uint8_t mac[6], source_mac[6];
	uint16_t mtu;		/* of the interface, bytes of IP */
	struct address gateway; /* family 0: on the link */
	struct address source4,
		source6; /* addresses of the interface, for outer headers; family 0: none */
};

/* What is asked for. */
struct next_hop_query {
	struct address address;
	struct address via;    /* family 0: by the route */
	const char *interface; /* NULL or "": by the route */
	const uint8_t *mac;    /* NULL: ask the neighbour table */
	bool on_link;	       /* a gateway is no answer (l2) */
};

struct next_hops;

/* A netlink socket for queries, and one that listens to changes of links, addresses, routes and
 * neighbours. */
int next_hops_open(struct next_hops **out, struct errors *errors);
void next_hops_close(struct next_hops *next_hops);

/*
 * Answers at once with what the kernel knows; an unknown or stale neighbour is also probed
 * (NTF_USE), so that a later call finds it. Returns 0 (look at out->state) or a negative errno
 * where netlink itself failed.
 */
int next_hops_query(struct next_hops *next_hops, const struct next_hop_query *query,
		    struct next_hop *out, struct errors *errors);

/* For poll(): readable when something changed. */
int next_hops_fd(const struct next_hops *next_hops);
/* Reads all pending changes away; true if any can matter to a next hop (or messages were lost:
 * ENOBUFS). */
bool next_hops_changed(struct next_hops *next_hops);

const char *next_hop_state_name(enum next_hop_state state); /* "resolved", "resolving", ... */

#endif
