// SPDX-License-Identifier: GPL-2.0-only
/*
 * Next hops: route, interface, neighbour, in that order, each from its own file. A query first
 * reads all waiting change messages, so that what it takes from the caches is what the kernel has.
 *
 * What is asked for and what is asked of the kernel:
 *   via            the route to `via` instead; the answer is on the link of that, or it is OFF_LINK
 *   interface      the route out of that interface
 *   mac            no neighbour lookup; with an interface as well no route either
 */
#include "nexthop/nexthop.h"
#include "nexthop/monitor.h"
#include "nexthop/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct next_hops {
	struct rtnetlink netlink;
	struct monitor monitor;
	struct links links;
	struct neighbours neighbours;
	bool warned_table_full;
};

int next_hops_open(struct next_hops **out, struct errors *errors)
{
	struct next_hops *next_hops = calloc(1, sizeof(*next_hops));
	int error;

	if (!next_hops)
		return errors_add_code(errors, ENOMEM, "next hops", "free some memory",
				       "out of memory");
	error = monitor_open(&next_hops->monitor);
	if (!error)
		error = rtnetlink_open(&next_hops->netlink);
	if (error) {
		next_hops_close(next_hops);
		return errors_add_code(errors, -error, "next hops",
				       "check the limits of open files and memory",
				       "cannot open a netlink socket: %s", strerror(-error));
	}
	*out = next_hops;
	return 0;
}

void next_hops_close(struct next_hops *next_hops)
{
	if (!next_hops)
		return;
	monitor_close(&next_hops->monitor);
	rtnetlink_close(&next_hops->netlink);
	links_free(&next_hops->links);
	neighbours_free(&next_hops->neighbours);
	free(next_hops);
}

static bool has_interface(const struct next_hop_query *query)
{
	return query->interface && query->interface[0];
}

/* The address whose route and neighbour entry count. */
static const struct address *target(const struct next_hop_query *query)
{
	return query->via.family ? &query->via : &query->address;
}

/* The route as the interface that was asked for leaves it. */
static int find_route_by_interface(struct next_hops *next_hops, const struct next_hop_query *query,
				   struct route *route)
{
	const struct link *link;
	int error;

	/* With an interface the kernel does not see that the address is its own elsewhere. */
	error = route_lookup(&next_hops->netlink, target(query), 0, route);
	if (error || route->kind == ROUTE_LOCAL)
		return error;

	*route = (struct route){.kind = ROUTE_NONE};
	error = links_find(&next_hops->links, &next_hops->netlink, 0, query->interface, &link);
	if (error)
		return error == -ENODEV ? 0 : error;
	if (!query->mac)
		return route_lookup(&next_hops->netlink, target(query), link->ifindex, route);
	if (link->up)
		*route = (struct route){.kind = ROUTE_UNICAST, .ifindex = link->ifindex};
	return 0;
}

static enum next_hop_state state_of(enum neighbour_state state)
{
	switch (state) {
	case NEIGHBOUR_USABLE:
		return NEXT_HOP_RESOLVED;
	case NEIGHBOUR_FAILED:
		return NEXT_HOP_FAILED;
	default:
		return NEXT_HOP_RESOLVING;
	}
}

/* Of a neighbour that could not be asked for; the answer is as if it were still being resolved. */
static void warn_table_full(struct next_hops *next_hops, struct errors *errors)
{
	if (next_hops->warned_table_full)
		return;
	next_hops->warned_table_full = true;
	errors_warn(errors, NULL, "next hops",
		    "raise net.ipv4.neigh.default.gc_thresh3 and net.ipv6.neigh.default.gc_thresh3",
		    "the kernel's neighbour table is full: MAC addresses cannot be resolved");
}

static int resolve(struct next_hops *next_hops, const struct address *address, struct next_hop *out,
		   struct errors *errors)
{
	struct neighbour neighbour;
	int error = neighbours_find(&next_hops->neighbours, &next_hops->netlink, out->ifindex,
				    address, &neighbour);

	if (error == -ENODEV) {
		out->state = NEXT_HOP_NO_ROUTE;
		return 0;
	}
	if (error == -ENOBUFS) {
		warn_table_full(next_hops, errors);
		error = 0;
	}
	if (error)
		return error;
	out->state = state_of(neighbour.state);
	memcpy(out->mac, neighbour.mac, sizeof(out->mac));
	return 0;
}

static void fill_link(const struct link *link, struct next_hop *out)
{
	out->ifindex = link->ifindex;
	memcpy(out->interface, link->name, sizeof(out->interface));
	memcpy(out->source_mac, link->mac, sizeof(out->source_mac));
	out->mtu = link->mtu < UINT16_MAX ? link->mtu : UINT16_MAX;
	out->source4 = link->source4;
	out->source6 = link->source6;
}

static int answer(struct next_hops *next_hops, const struct next_hop_query *query,
		  struct next_hop *out, struct errors *errors)
{
	struct route route;
	const struct link *link;
	int error;

	if (has_interface(query))
		error = find_route_by_interface(next_hops, query, &route);
	else
		error = route_lookup(&next_hops->netlink, target(query), 0, &route);
	if (error)
		return error;
	out->state = route.kind == ROUTE_LOCAL ? NEXT_HOP_LOCAL : NEXT_HOP_NO_ROUTE;
	if (route.kind != ROUTE_UNICAST)
		return 0;

	error = links_find(&next_hops->links, &next_hops->netlink, route.ifindex, "", &link);
	if (error)
		return error == -ENODEV ? 0 : error; /* it went away since: no route */
	fill_link(link, out);
	out->gateway = route.gateway;
	if (!link->ethernet) {
		out->state = NEXT_HOP_NO_ETHERNET;
		return 0;
	}
	if (route.gateway.family && (query->on_link || query->via.family)) {
		out->state = NEXT_HOP_OFF_LINK;
		return 0;
	}
	if (query->via.family && !address_equal(&query->via, &query->address))
		out->gateway = query->via;

	if (query->mac) {
		out->state = NEXT_HOP_RESOLVED;
		memcpy(out->mac, query->mac, sizeof(out->mac));
		return 0;
	}
	return resolve(next_hops, out->gateway.family ? &out->gateway : &query->address, out,
		       errors);
}

int next_hops_query(struct next_hops *next_hops, const struct next_hop_query *query,
		    struct next_hop *out, struct errors *errors)
{
	char text[ADDRESS_TEXT_SIZE];
	int error;

	*out = (struct next_hop){.state = NEXT_HOP_NO_ROUTE};
	monitor_read(&next_hops->monitor, &next_hops->links, &next_hops->neighbours);
	error = answer(next_hops, query, out, errors);
	if (!error)
		return 0;
	return errors_add_code(errors, -error, address_format(&query->address, text),
			       error == -EPERM
				       ? "run as root, or with CAP_NET_ADMIN"
				       : "try again; if it stays, look into the kernel's log",
			       "the kernel did not tell the next hop: %s", strerror(-error));
}

int next_hops_fd(const struct next_hops *next_hops)
{
	return next_hops->monitor.poll_fd;
}

bool next_hops_changed(struct next_hops *next_hops)
{
	monitor_read(&next_hops->monitor, &next_hops->links, &next_hops->neighbours);
	return monitor_take_changed(&next_hops->monitor);
}

const char *next_hop_state_name(enum next_hop_state state)
{
	static const char *const names[] = {
		[NEXT_HOP_RESOLVED] = "resolved",	[NEXT_HOP_RESOLVING] = "resolving",
		[NEXT_HOP_FAILED] = "failed",		[NEXT_HOP_NO_ROUTE] = "no_route",
		[NEXT_HOP_OFF_LINK] = "off_link",	[NEXT_HOP_LOCAL] = "local",
		[NEXT_HOP_NO_ETHERNET] = "no_ethernet", [NEXT_HOP_NO_SOURCE] = "no_source",
	};

	return names[state];
}
