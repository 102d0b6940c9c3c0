// SPDX-License-Identifier: GPL-2.0-only
/* Route lookup by RTM_GETROUTE for one destination. */
#include "nexthop/route.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* Payload of RTA_VIA, a gateway of another family than the route's. */
static struct address via_address(const struct nlattr *attribute)
{
	struct address address = {0};
	struct rtvia via;

	if (mnl_attr_get_payload_len(attribute) < sizeof(via))
		return address;
	memcpy(&via, mnl_attr_get_payload(attribute), sizeof(via));
	address.family = rtnetlink_family(via.rtvia_family);
	if (!address.family ||
	    mnl_attr_get_payload_len(attribute) != sizeof(via) + rtnetlink_address_size(&address))
		return (struct address){0};
	memcpy(address.bytes, (const uint8_t *)mnl_attr_get_payload(attribute) + sizeof(via),
	       rtnetlink_address_size(&address));
	return address;
}

static void read_route(const struct nlmsghdr *message, void *context)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attributes[RTA_MAX + 1];
	struct route *route = context;

	if (message->nlmsg_type != RTM_NEWROUTE)
		return;
	rtnetlink_attributes(message, sizeof(*header), attributes, RTA_MAX);
	if (attributes[RTA_OIF])
		route->ifindex = mnl_attr_get_u32(attributes[RTA_OIF]);

	if (header->rtm_type == RTN_LOCAL || header->rtm_type == RTN_ANYCAST) {
		route->kind = ROUTE_LOCAL;
		return;
	}
	/*
	 * Where the route encapsulates (SRv6, MPLS, a tunnel key), a frame to its gateway without
	 * the header that the kernel would add goes astray: no such route is ours to take.
	 */
	if (header->rtm_type != RTN_UNICAST || !route->ifindex || attributes[RTA_ENCAP_TYPE])
		return;
	route->kind = ROUTE_UNICAST;
	if (attributes[RTA_VIA])
		route->gateway = via_address(attributes[RTA_VIA]);
	else
		route->gateway = rtnetlink_address(attributes[RTA_GATEWAY], header->rtm_family);
}

/* What the kernel answers where it has no route. */
static bool means_no_route(int error)
{
	switch (error) {
	case -ENETUNREACH:
	case -EHOSTUNREACH: /* an unreachable route */
	case -EACCES:	    /* a prohibit route */
	case -EINVAL:	    /* a blackhole route */
	case -ENODEV:	    /* the interface went away */
	case -ENETDOWN:
	case -EAFNOSUPPORT:
	case -EOPNOTSUPP: /* no IPv6 in this kernel */
		return true;
	default:
		return false;
	}
}

int route_lookup(struct rtnetlink *netlink, const struct address *destination, uint32_t ifindex,
		 struct route *out)
{
	struct nlmsghdr *request = rtnetlink_request(netlink, RTM_GETROUTE, 0);
	struct rtmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	int error;

	header->rtm_family = rtnetlink_domain(destination);
	header->rtm_dst_len = rtnetlink_address_size(destination) * 8;
	rtnetlink_put_address(request, RTA_DST, destination);
	if (ifindex)
		mnl_attr_put_u32(request, RTA_OIF, ifindex);

	*out = (struct route){.kind = ROUTE_NONE};
	error = rtnetlink_exchange(netlink, request, read_route, out);
	return means_no_route(error) ? 0 : error;
}
