// SPDX-License-Identifier: GPL-2.0-only
/* Neighbour lookup (RTM_GETNEIGH) and probing (RTM_NEWNEIGH with NTF_USE); see neighbour.h. */

#include "nexthop/neighbour.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The MAC holds, though it may be about to be checked (RFC 4861, section 7.3.2). */
#define USABLE_STATES                                                                              \
	(NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP)
/* Needs no probe. STALE does: it waits for traffic, which XDP hides from the kernel. */
#define SETTLED_STATES (USABLE_STATES & ~NUD_STALE)

struct kernel_entry {
	uint16_t nud; /* NUD_*; NUD_NONE: no entry */
	bool has_mac;
	uint8_t mac[6];
};

static int compare(const void *a, const void *b)
{
	const struct neighbour *left = a, *right = b;

	if (left->ifindex != right->ifindex)
		return left->ifindex < right->ifindex ? -1 : 1;
	return address_compare(&left->address, &right->address);
}

void neighbours_free(struct neighbours *neighbours)
{
	tdestroy(neighbours->answered, free);
	neighbours->answered = NULL;
}

static const struct neighbour *find_answered(const struct neighbours *neighbours,
					     const struct neighbour *key)
{
	struct neighbour **found = tfind(key, &neighbours->answered, compare);

	return found ? *found : NULL;
}

static int remember(struct neighbours *neighbours, const struct neighbour *answer)
{
	struct neighbour **found = tfind(answer, &neighbours->answered, compare);
	struct neighbour *copy;

	if (found) {
		**found = *answer;
		return 0;
	}
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *answer;
	if (!tsearch(copy, &neighbours->answered, compare)) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

static void read_entry(const struct nlmsghdr *message, void *context)
{
	const struct ndmsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attributes[NDA_LLADDR + 1];
	struct kernel_entry *entry = context;

	if (message->nlmsg_type != RTM_NEWNEIGH)
		return;
	rtnetlink_attributes(message, sizeof(*header), attributes, NDA_LLADDR);
	entry->nud = header->ndm_state;
	if (attributes[NDA_LLADDR] &&
	    mnl_attr_get_payload_len(attributes[NDA_LLADDR]) == sizeof(entry->mac)) {
		entry->has_mac = true;
		memcpy(entry->mac, mnl_attr_get_payload(attributes[NDA_LLADDR]),
		       sizeof(entry->mac));
	}
}

static void judge(const struct kernel_entry *entry, const struct neighbour *before,
		  struct neighbour *out)
{
	if (entry->nud & USABLE_STATES && entry->has_mac) {
		out->state = NEIGHBOUR_USABLE;
		memcpy(out->mac, entry->mac, sizeof(out->mac));
		return;
	}
	out->state = NEIGHBOUR_UNKNOWN;
	if (entry->nud & NUD_FAILED || (before && before->state == NEIGHBOUR_FAILED))
		out->state = NEIGHBOUR_FAILED;
}

static struct nlmsghdr *neighbour_request(struct rtnetlink *netlink, uint16_t type, uint16_t flags,
					  uint8_t ndm_flags, const struct neighbour *neighbour)
{
	struct nlmsghdr *request = rtnetlink_request(netlink, type, flags);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	header->ndm_family = rtnetlink_domain(&neighbour->address);
	header->ndm_ifindex = neighbour->ifindex;
	header->ndm_flags = ndm_flags;
	rtnetlink_put_address(request, NDA_DST, &neighbour->address);
	return request;
}

/* Makes the kernel treat the neighbour as if a packet had just been sent to it. */
static int probe(struct rtnetlink *netlink, const struct neighbour *neighbour)
{
	struct nlmsghdr *request = neighbour_request(netlink, RTM_NEWNEIGH,
						     NLM_F_CREATE | NLM_F_ACK, NTF_USE, neighbour);

	return rtnetlink_exchange(netlink, request, NULL, NULL);
}

int neighbours_find(struct neighbours *neighbours, struct rtnetlink *netlink, uint32_t ifindex,
		    const struct address *address, struct neighbour *out)
{
	struct kernel_entry entry = {.nud = NUD_NONE};
	int error;

	*out = (struct neighbour){.ifindex = ifindex, .address = *address};
	error = rtnetlink_exchange(netlink, neighbour_request(netlink, RTM_GETNEIGH, 0, 0, out),
				   read_entry, &entry);
	if (error && error != -ENOENT)
		return error;

	judge(&entry, find_answered(neighbours, out), out);
	error = remember(neighbours, out);
	if (error)
		return error;
	if (entry.nud & (SETTLED_STATES | NUD_INCOMPLETE))
		return 0;
	error = probe(netlink, out);
	return error == -EPERM && entry.nud != NUD_NONE ? 0 : error;
}

bool neighbours_changed(const struct neighbours *neighbours, const struct nlmsghdr *message)
{
	const struct ndmsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *attributes[NDA_DST + 1];
	struct kernel_entry entry = {.nud = NUD_NONE};
	struct neighbour now = {.ifindex = header->ndm_ifindex};
	const struct neighbour *before;

	if (header->ndm_flags & NTF_PROXY)
		return false;
	rtnetlink_attributes(message, sizeof(*header), attributes, NDA_DST);
	now.address = rtnetlink_address(attributes[NDA_DST], header->ndm_family);
	if (!now.address.family) /* of a bridge's forwarding table */
		return false;
	before = find_answered(neighbours, &now);
	if (!before)
		return false;
	read_entry(message, &entry);
	judge(&entry, before, &now);
	return now.state != before->state || memcmp(now.mac, before->mac, sizeof(now.mac));
}
