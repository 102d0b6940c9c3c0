// SPDX-License-Identifier: GPL-2.0-only
/*
 * Change notifications, see monitor.h. Queries read them too, so that their caches are never
 * behind; what such a read finds would then be lost to a caller who waits in poll(), hence the
 * eventfd.
 */
#include "nexthop/monitor.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes, for a burst of route changes; an overrun costs no more than a round of queries. */
#define RECEIVE_BUFFER (4 << 20)

/*
 * Beside the tables themselves: nexthop objects, whose change may come without one of the routes
 * that use them (net.ipv4.nexthop_compat_mode = 0), and rules, which choose the table.
 */
static const int groups[] = {
	RTNLGRP_LINK,	     RTNLGRP_NEIGH,	 RTNLGRP_IPV4_IFADDR,
	RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
	RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,	 RTNLGRP_NEXTHOP,
};

static int listen_to_groups(struct monitor *monitor)
{
	int size = RECEIVE_BUFFER;
	int fd;

	monitor->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!monitor->socket)
		return -errno;
	fd = mnl_socket_get_fd(monitor->socket);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)); /* less will do */
	if (mnl_socket_bind(monitor->socket, 0, MNL_SOCKET_AUTOPID))
		return -errno;
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (mnl_socket_setsockopt(monitor->socket, NETLINK_ADD_MEMBERSHIP,
					  (void *)&groups[i], sizeof(groups[i])))
			return -errno;
	return 0;
}

int monitor_open(struct monitor *monitor)
{
	struct epoll_event readable = {.events = EPOLLIN};
	int error;

	monitor->changed = false;
	monitor->pending_fd = -1;
	monitor->poll_fd = -1;
	error = listen_to_groups(monitor);
	if (error)
		return error;
	monitor->pending_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (monitor->pending_fd < 0)
		return -errno;
	monitor->poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (monitor->poll_fd < 0)
		return -errno;
	if (epoll_ctl(monitor->poll_fd, EPOLL_CTL_ADD, mnl_socket_get_fd(monitor->socket),
		      &readable) ||
	    epoll_ctl(monitor->poll_fd, EPOLL_CTL_ADD, monitor->pending_fd, &readable))
		return -errno;
	return 0;
}

void monitor_close(struct monitor *monitor)
{
	if (monitor->poll_fd >= 0)
		close(monitor->poll_fd);
	if (monitor->pending_fd >= 0)
		close(monitor->pending_fd);
	if (monitor->socket)
		mnl_socket_close(monitor->socket);
}

static bool matters(const struct nlmsghdr *message, struct links *links,
		    const struct neighbours *neighbours)
{
	const struct rtmsg *route;

	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return links_link_changed(links, message);
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return links_address_changed(links, message);
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		return neighbours_changed(neighbours, message);
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		route = mnl_nlmsg_get_payload(message);
		return !(route->rtm_flags & RTM_F_CLONED);
	case RTM_NEWRULE:
	case RTM_DELRULE:
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		return true;
	default:
		return false;
	}
}

void monitor_read(struct monitor *monitor, struct links *links, const struct neighbours *neighbours)
{
	bool changed = false;

	for (;;) {
		ssize_t size = mnl_socket_recvfrom(monitor->socket, monitor->buffer,
						   sizeof(monitor->buffer));
		const struct nlmsghdr *message = (const void *)monitor->buffer;
		int left = size;

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && errno == EAGAIN)
			break;
		if (size <= 0) {
			/* Lost (ENOBUFS) or cut short (ENOSPC): it may have been anything. */
			links_forget(links);
			changed = true;
			if (size < 0 && (errno == ENOBUFS || errno == ENOSPC))
				continue;
			break;
		}
		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
			changed |= matters(message, links, neighbours);
	}
	if (changed && !monitor->changed) {
		monitor->changed = true;
		eventfd_write(monitor->pending_fd, 1);
	}
}

bool monitor_take_changed(struct monitor *monitor)
{
	eventfd_t count;
	bool changed = monitor->changed;

	if (changed)
		eventfd_read(monitor->pending_fd, &count);
	monitor->changed = false;
	return changed;
}
