// SPDX-License-Identifier: GPL-2.0-only
/* The flow that explain is asked about, from what was typed. */
#include "cli/explain_flow.h"

#include "util/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define ASSUMED_PORT  40000
#define ANY_PORT_PORT 80 /* of an any-port VIP, where none is named */

/* "A", "A/LENGTH", "A:PORT", "V6", "[V6]:PORT". *@port stays where none is given; of a prefix its
 * first address. */
static int parse_client(const char *text, struct address *address, uint16_t *port)
{
	char copy[ADDRESS_TEXT_SIZE];
	char *colon, *bracket;
	uint64_t number;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	bracket = *copy == '[' ? strchr(copy, ']') : NULL;
	colon = bracket ? (bracket[1] == ':' ? bracket + 1 : NULL)
			: (strchr(copy, ':') == strrchr(copy, ':') ? strchr(copy, ':') : NULL);
	if (colon) {
		if (text_integer(colon + 1, 1, 65535, &number))
			return -EINVAL;
		*port = number;
		*colon = '\0';
	}
	if (!bracket && !colon) {
		struct prefix prefix;

		if (prefix_parse(copy, &prefix))
			return -EINVAL;
		*address = prefix.address;
		return 0;
	}
	if (!bracket)
		return address_parse(copy, address);
	if (bracket[1])
		return -EINVAL;
	*bracket = '\0';
	return address_parse(copy + 1, address);
}

/* "ADDRESS:PORT/PROTO", as a VIP is written; '*' is no port to send to. */
static int parse_destination(const char *text, struct flow *flow)
{
	char copy[ADDRESS_TEXT_SIZE];
	char *slash;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	slash = strrchr(copy, '/');
	if (!slash)
		return -EINVAL;
	*slash = '\0';
	if (!strcmp(slash + 1, "tcp"))
		flow->protocol = IPPROTO_TCP;
	else if (!strcmp(slash + 1, "udp"))
		flow->protocol = IPPROTO_UDP;
	else
		return -EINVAL;
	flow->destination_port = 0;
	if (parse_client(copy, &flow->destination, &flow->destination_port) ||
	    !flow->destination_port)
		return -EINVAL;
	return 0;
}

static const struct vip *vip_of_family(const struct service *service, uint8_t family)
{
	size_t i;

	for (i = 0; i < service->vips_count; i++)
		if (service->vips[i].address.family == family)
			return &service->vips[i];
	return NULL;
}

/* Written as IPv6: an IPv4 client that may come in an IPv6 packet. */
static bool is_mapped(const char *client)
{
	return client[0] == '[' || strchr(client, ':') != strrchr(client, ':');
}

static int choose_destination(struct cli *cli, const struct service *service, struct flow *flow,
			      const char *client)
{
	const char *to = cli_flag(cli, "--to");
	const struct vip *vip;

	if (to) {
		if (parse_destination(to, flow))
			return cli_usage(cli, "--to", "write ADDRESS:PORT/tcp or [V6]:PORT/udp",
					 "%s is no destination", to);
		if (flow->source.family != flow->destination.family &&
		    !(flow->destination.family == 6 && is_mapped(client)))
			return errors_add(cli->errors, NULL, client, "name a VIP of its family",
					  "an IPv%u client cannot reach %s", flow->source.family,
					  to);
		return 0;
	}
	vip = vip_of_family(service, flow->source.family);
	if (!vip && is_mapped(client))
		vip = vip_of_family(service, 6);
	if (!vip)
		return errors_add(cli->errors, NULL, client, "name one with --to",
				  "service %s has no IPv%u VIP", service->name,
				  flow->source.family);
	flow->destination = vip->address;
	flow->destination_port = vip->port ? vip->port : ANY_PORT_PORT;
	flow->protocol = vip->protocol;
	return 0;
}

int cli_flow(struct cli *cli, const struct service *service, const char *client, struct flow *flow,
	     bool *assumed)
{
	*flow = (struct flow){0};
	if (parse_client(client, &flow->source, &flow->source_port))
		return errors_add(cli->errors, NULL, client,
				  "write an address, ADDRESS:PORT or [V6]:PORT", "is no client");
	*assumed = !flow->source_port;
	if (*assumed)
		flow->source_port = ASSUMED_PORT;
	return choose_destination(cli, service, flow, client);
}
