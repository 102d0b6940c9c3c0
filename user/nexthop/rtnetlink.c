// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests over rtnetlink, see rtnetlink.h. An exchange reads up to its last message even where one
 * of them was bad: a dump left half read would make the next one fail with EBUSY.
 */
#include "nexthop/rtnetlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

int rtnetlink_open(struct rtnetlink *netlink)
{
	int on = 1;

	netlink->sequence = 0;
	netlink->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!netlink->socket)
		return -errno;
	if (mnl_socket_bind(netlink->socket, 0, MNL_SOCKET_AUTOPID)) {
		int error = -errno;

		rtnetlink_close(netlink);
		return error;
	}
	/*
	 * Lets a dump be of one interface. Where the kernel is older than that (4.20) it dumps all
	 * and the reader picks, so a failure does not matter.
	 */
	mnl_socket_setsockopt(netlink->socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	return 0;
}

void rtnetlink_close(struct rtnetlink *netlink)
{
	if (netlink->socket)
		mnl_socket_close(netlink->socket);
	netlink->socket = NULL;
}

struct nlmsghdr *rtnetlink_request(struct rtnetlink *netlink, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(netlink->request);

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	request->nlmsg_seq = ++netlink->sequence;
	return request;
}

/* The errno that an NLMSG_ERROR or, at the end of a dump, an NLMSG_DONE begins with. */
static int final_error(const struct nlmsghdr *message)
{
	int error;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(error))
		return message->nlmsg_type == NLMSG_DONE ? 0 : -EPROTO;
	memcpy(&error, mnl_nlmsg_get_payload(message), sizeof(error));
	return error;
}

/* True after the answer's last message; *@error is the first thing that was wrong with it. */
static bool read_datagram(const struct rtnetlink *netlink, ssize_t size, rtnetlink_handler handler,
			  void *context, int *error)
{
	const struct nlmsghdr *message = (const void *)netlink->answer;
	int left = size;

	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
		if (message->nlmsg_seq != netlink->sequence)
			continue;
		if (message->nlmsg_flags & NLM_F_DUMP_INTR && !*error)
			*error = -EINTR;
		if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE) {
			if (!*error)
				*error = final_error(message);
			return true;
		}
		if (message->nlmsg_type < NLMSG_MIN_TYPE)
			continue;
		if (handler)
			handler(message, context);
		if (!(message->nlmsg_flags & NLM_F_MULTI))
			return true;
	}
	return false;
}

int rtnetlink_exchange(struct rtnetlink *netlink, const struct nlmsghdr *request,
		       rtnetlink_handler handler, void *context)
{
	bool done = false;
	int error = 0;

	if (mnl_socket_sendto(netlink->socket, request, request->nlmsg_len) < 0)
		return -errno;
	while (!done) {
		ssize_t size = mnl_socket_recvfrom(netlink->socket, netlink->answer,
						   sizeof(netlink->answer));

		if (size >= 0)
			done = read_datagram(netlink, size, handler, context, &error);
		else if (errno == ENOSPC) /* libmnl's word for MSG_TRUNC; the datagram is gone */
			error = error ? error : -EMSGSIZE;
		else if (errno == EAGAIN)
			return error ? error : -EPROTO;
		else if (errno != EINTR)
			return -errno;
	}
	return error;
}

struct attribute_table {
	const struct nlattr **attributes;
	uint16_t maximum;
};

static int keep_attribute(const struct nlattr *attribute, void *context)
{
	const struct attribute_table *table = context;
	uint16_t type = mnl_attr_get_type(attribute);

	if (type <= table->maximum)
		table->attributes[type] = attribute;
	return MNL_CB_OK;
}

void rtnetlink_attributes(const struct nlmsghdr *message, size_t header_size,
			  const struct nlattr **attributes, uint16_t maximum)
{
	struct attribute_table table = {attributes, maximum};

	memset(attributes, 0, (maximum + 1u) * sizeof(*attributes));
	mnl_attr_parse(message, header_size, keep_attribute, &table);
}

uint8_t rtnetlink_domain(const struct address *address)
{
	return address->family == 4 ? AF_INET : AF_INET6;
}

uint8_t rtnetlink_family(uint8_t domain)
{
	return domain == AF_INET ? 4 : domain == AF_INET6 ? 6 : 0;
}

size_t rtnetlink_address_size(const struct address *address)
{
	return address->family == 4 ? 4 : 16;
}

void rtnetlink_put_address(struct nlmsghdr *request, uint16_t type, const struct address *address)
{
	mnl_attr_put(request, type, rtnetlink_address_size(address), address->bytes);
}

struct address rtnetlink_address(const struct nlattr *attribute, uint8_t domain)
{
	struct address address = {.family = rtnetlink_family(domain)};

	if (!attribute || !address.family ||
	    mnl_attr_get_payload_len(attribute) != rtnetlink_address_size(&address))
		return (struct address){0};
	memcpy(address.bytes, mnl_attr_get_payload(attribute), rtnetlink_address_size(&address));
	return address;
}
