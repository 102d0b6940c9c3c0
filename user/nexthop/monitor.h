/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Listens to what the kernel says about links, addresses, routes, rules and neighbours, keeps the
 * caches true to it, and remembers whether any of it can change an answer until that was asked for.
 */
#ifndef XDP_CANARY_MONITOR_H
#define XDP_CANARY_MONITOR_H

#include "nexthop/link.h"
#include "nexthop/neighbour.h"

struct monitor {
	struct mnl_socket *socket;
	int poll_fd;	/* epoll over the socket and pending_fd */
	int pending_fd; /* eventfd: readable while `changed` is true */
	bool changed;	/* found by monitor_read() and not yet taken */
	_Alignas(NLMSG_ALIGNTO) uint8_t buffer[32768];
};

/* 0 or a negative errno; monitor_close() undoes it in any case. */
int monitor_open(struct monitor *monitor);
void monitor_close(struct monitor *monitor);

/* Reads all messages that wait, so that the caches hold nothing older. */
void monitor_read(struct monitor *monitor, struct links *links,
		  const struct neighbours *neighbours);
/* Whether anything mattered since this was last called. */
bool monitor_take_changed(struct monitor *monitor);

#endif
