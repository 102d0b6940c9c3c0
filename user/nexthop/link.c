// SPDX-License-Identifier: GPL-2.0-only
/* The cache of interfaces and their source addresses, see link.h. */
#include "nexthop/link.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

/* A dump that tables keep changing under is asked for again this often. */
#define DUMP_ATTEMPTS 16

void links_free(struct links *links)
{
	free(links->items);
	*links = (struct links){0};
}

void links_forget(struct links *links)
{
	links->count = 0;
}

/* By @ifindex, or where that is 0 by @name. */
static struct link *find_cached(const struct links *links, uint32_t ifindex, const char *name)
{
	for (size_t i = 0; i < links->count; i++) {
		struct link *link = &links->items[i];

		if (ifindex ? link->ifindex == ifindex : !strcmp(link->name, name))
			return link;
	}
	return NULL;
}

static void drop(struct links *links, struct link *link)
{
	*link = links->items[--links->count];
}

static void read_link(const struct nlmsghdr *message, void *context)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attributes[IFLA_MTU + 1];
	struct link *link = context;

	if (message->nlmsg_type != RTM_NEWLINK)
		return;
	rtnetlink_attributes(message, sizeof(*header), attributes, IFLA_MTU);
	*link = (struct link){
		.ifindex = header->ifi_index,
		.up = header->ifi_flags & IFF_UP,
		.carrier = header->ifi_flags & IFF_LOWER_UP,
	};
	if (attributes[IFLA_IFNAME])
		strncpy(link->name, mnl_attr_get_str(attributes[IFLA_IFNAME]),
			sizeof(link->name) - 1);
	if (attributes[IFLA_MTU])
		link->mtu = mnl_attr_get_u32(attributes[IFLA_MTU]);
	if (header->ifi_type == ARPHRD_ETHER && attributes[IFLA_ADDRESS] &&
	    mnl_attr_get_payload_len(attributes[IFLA_ADDRESS]) == sizeof(link->mac)) {
		link->ethernet = true;
		memcpy(link->mac, mnl_attr_get_payload(attributes[IFLA_ADDRESS]),
		       sizeof(link->mac));
	}
}

/*
 * Keeps, of each family, the oldest that an outer header may carry as its source, so that an
 * address that is added later does not change the source of tunnels in use. The kernel lists the
 * oldest IPv4 address first and the oldest IPv6 address last.
 */
static void read_address(const struct nlmsghdr *message, void *context)
{
	const uint32_t unusable4 = IFA_F_SECONDARY;
	const uint32_t unusable6 =
		IFA_F_TEMPORARY | IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED;
	const struct ifaddrmsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attributes[IFA_FLAGS + 1];
	struct link *link = context;
	struct address *source;
	uint32_t flags;

	if (message->nlmsg_type != RTM_NEWADDR || header->ifa_index != link->ifindex ||
	    header->ifa_scope != RT_SCOPE_UNIVERSE)
		return;
	rtnetlink_attributes(message, sizeof(*header), attributes, IFA_FLAGS);
	flags = attributes[IFA_FLAGS] ? mnl_attr_get_u32(attributes[IFA_FLAGS]) : header->ifa_flags;
	if (flags & (header->ifa_family == AF_INET ? unusable4 : unusable6))
		return;
	source = header->ifa_family == AF_INET ? &link->source4 : &link->source6;
	if (source->family == 4)
		return;
	/* IFA_ADDRESS may be the other end's; IPv6 without a peer has no IFA_LOCAL. */
	*source = rtnetlink_address(attributes[attributes[IFA_LOCAL] ? IFA_LOCAL : IFA_ADDRESS],
				    header->ifa_family);
}

static int query_addresses(struct rtnetlink *netlink, struct link *link, uint8_t domain)
{
	struct address *source = domain == AF_INET ? &link->source4 : &link->source6;
	int error = -EINTR;

	for (int attempt = 0; error == -EINTR && attempt < DUMP_ATTEMPTS; attempt++) {
		struct nlmsghdr *request = rtnetlink_request(netlink, RTM_GETADDR, NLM_F_DUMP);
		struct ifaddrmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

		header->ifa_family = domain;
		header->ifa_index = link->ifindex;
		source->family = 0;
		error = rtnetlink_exchange(netlink, request, read_address, link);
	}
	/* Not to be had: no IPv6 in this kernel. */
	return error == -EOPNOTSUPP || error == -EAFNOSUPPORT ? 0 : error;
}

static int query_link(struct rtnetlink *netlink, uint32_t ifindex, const char *name,
		      struct link *link)
{
	struct nlmsghdr *request = rtnetlink_request(netlink, RTM_GETLINK, 0);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	int error;

	header->ifi_index = ifindex;
	mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	if (!ifindex)
		mnl_attr_put_strz(request, IFLA_IFNAME, name);
	*link = (struct link){0};
	error = rtnetlink_exchange(netlink, request, read_link, link);
	if (!error && !link->ifindex)
		error = -EPROTO;
	if (!error && link->ethernet)
		error = query_addresses(netlink, link, AF_INET);
	if (!error && link->ethernet)
		error = query_addresses(netlink, link, AF_INET6);
	return error;
}

int links_find(struct links *links, struct rtnetlink *netlink, uint32_t ifindex, const char *name,
	       const struct link **out)
{
	struct link *link;
	int error;

	if (!ifindex && strlen(name) >= sizeof(link->name))
		return -ENODEV;
	link = find_cached(links, ifindex, name);
	if (link) {
		*out = link;
		return 0;
	}
	if (links->count == links->room) {
		size_t room = links->room ? 2 * links->room : 8;
		struct link *items = reallocarray(links->items, room, sizeof(*items));

		if (!items)
			return -ENOMEM;
		links->items = items;
		links->room = room;
	}
	link = &links->items[links->count];
	error = query_link(netlink, ifindex, name, link);
	if (error)
		return error;
	links->count++;
	*out = link;
	return 0;
}

bool links_link_changed(struct links *links, const struct nlmsghdr *message)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	struct link *cached, now = {0};

	if (header->ifi_family != AF_UNSPEC)
		return false; /* settings of a bridge port or of IPv6 */
	cached = find_cached(links, header->ifi_index, "");
	if (!cached)
		return true; /* it may be one that was asked for by name and missing */

	read_link(message, &now);
	if (now.ifindex == cached->ifindex && !strcmp(now.name, cached->name) &&
	    now.up == cached->up && now.carrier == cached->carrier &&
	    now.ethernet == cached->ethernet && !memcmp(now.mac, cached->mac, sizeof(now.mac)) &&
	    now.mtu == cached->mtu)
		return false;
	drop(links, cached);
	return true;
}

/* Of an interface that no answer named, an address matters only by the routes that come with it. */
bool links_address_changed(struct links *links, const struct nlmsghdr *message)
{
	const struct ifaddrmsg *header = mnl_nlmsg_get_payload(message);
	struct link *cached = find_cached(links, header->ifa_index, "");

	if (!cached)
		return false;
	drop(links, cached);
	return true;
}
