/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One request and its answer over rtnetlink. The kernel works on a request within the sender's
 * sendto(), so the answer waits in the socket when that returns: the socket is non-blocking, and
 * nothing here waits.
 */
#ifndef XDP_CANARY_RTNETLINK_H
#define XDP_CANARY_RTNETLINK_H

#include "util/address.h"

#include <libmnl/libmnl.h>
#include <stdint.h>

struct rtnetlink {
	struct mnl_socket *socket;
	uint32_t sequence; /* of the last request; answers to earlier ones are skipped */
	_Alignas(NLMSG_ALIGNTO) uint8_t request[256];
	/* The kernel makes no part of a dump larger. */
	_Alignas(NLMSG_ALIGNTO) uint8_t answer[32768];
};

typedef void (*rtnetlink_handler)(const struct nlmsghdr *message, void *context);

/* 0 or a negative errno. */
int rtnetlink_open(struct rtnetlink *netlink);
void rtnetlink_close(struct rtnetlink *netlink);

/* Begins a request, one at a time. @flags beside NLM_F_REQUEST: NLM_F_ACK, NLM_F_DUMP, ... */
struct nlmsghdr *rtnetlink_request(struct rtnetlink *netlink, uint16_t type, uint16_t flags);

/*
 * Sends @request and hands the messages of its answer to @handler. Returns 0 or the kernel's
 * negative errno; -EINTR: the tables changed during a dump, what was handed over is not to be used,
 * ask again; -EMSGSIZE: a message was longer than the buffer; -EPROTO: an answer that is none, or
 * no answer.
 */
int rtnetlink_exchange(struct rtnetlink *netlink, const struct nlmsghdr *request,
		       rtnetlink_handler handler, void *context);

/* Fills @attributes[type], up to @maximum, after the @header_size bytes of the family's header. */
void rtnetlink_attributes(const struct nlmsghdr *message, size_t header_size,
			  const struct nlattr **attributes, uint16_t maximum);

/* AF_INET or AF_INET6, and back to 4, 6 or, for any other, 0. */
uint8_t rtnetlink_domain(const struct address *address);
uint8_t rtnetlink_family(uint8_t domain);
size_t rtnetlink_address_size(const struct address *address); /* 4 or 16 bytes */

void rtnetlink_put_address(struct nlmsghdr *request, uint16_t type, const struct address *address);
/* Of @domain; family 0 where the attribute is missing (NULL) or of another size. */
struct address rtnetlink_address(const struct nlattr *attribute, uint8_t domain);

#endif
