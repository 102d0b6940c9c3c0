// SPDX-License-Identifier: GPL-2.0-only
/* Values that belong to networks: addresses, VIPs, where to listen, server ids. Pure. */
#include "config/values_internal.h"

#include "policy/policy.h"
#include "util/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- addresses ---- */

static const char *not_unicast(const struct address *address)
{
	static const uint8_t zero[16], ones[4] = {0xff, 0xff, 0xff, 0xff};
	const uint8_t *bytes = address->bytes;

	if (!memcmp(bytes, zero, sizeof(zero)))
		return "is the unspecified address";
	if (address->family == 4 && !memcmp(bytes, ones, sizeof(ones)))
		return "is the broadcast address";
	if (address->family == 4 ? bytes[0] >> 4 == 0xe : bytes[0] == 0xff)
		return "is a multicast address";
	return NULL;
}

static int parse_address(const struct key *key, const struct scalar *scalar, void *target,
			 struct complaint *complaint)
{
	struct address address;
	const char *problem;

	if (address_parse(scalar->text, &address))
		return complain(complaint, scalar->text, "is not an IP address");
	if (key->minimum && key->minimum != address.family)
		return complain(complaint, scalar->text, "is not an IPv%u address",
				(unsigned int)key->minimum);
	problem = not_unicast(&address);
	if (problem)
		return complain(complaint, scalar->text, "%s", problem);
	memcpy(target, &address, sizeof(address));
	return 0;
}

static json_t *render_address(const struct key *key, const void *target)
{
	const struct address *address = target;
	char text[ADDRESS_TEXT_SIZE];

	(void)key;
	return address->family ? json_string(address_format(address, text)) : json_null();
}

static void expected_address(const struct key *key, char *out, size_t size)
{
	const char *family = key->minimum == 4 ? " IPv4" : key->minimum == 6 ? " IPv6" : "";

	snprintf(out, size, "one host's%s address, such as %s", family,
		 key->minimum == 6 ? "2001:db8::1" : "192.0.2.1");
}

static int parse_prefix(const struct key *key, const struct scalar *scalar, void *target,
			struct complaint *complaint)
{
	char text[ADDRESS_TEXT_SIZE];
	struct prefix prefix;

	(void)key;
	switch (prefix_parse(scalar->text, &prefix)) {
	case 0:
		break;
	case -EDOM:
		if (!prefix_parse_loosely(scalar->text, &prefix))
			snprintf(complaint->hint, sizeof(complaint->hint), "did you mean %s?",
				 prefix_format(&prefix, text));
		return complain(complaint, scalar->text, "has bits set past its length");
	default:
		return complain(complaint, scalar->text, "is not an address or a prefix");
	}
	memcpy(target, &prefix, sizeof(prefix));
	return 0;
}

static json_t *render_prefix(const struct key *key, const void *target)
{
	char text[ADDRESS_TEXT_SIZE];

	(void)key;
	return json_string(prefix_format(target, text));
}

static void expected_prefix(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size, "ADDRESS or ADDRESS/LENGTH, such as 198.51.100.0/24 or 2001:db8::/48");
}

static int parse_mac(const struct key *key, const struct scalar *scalar, void *target,
		     struct complaint *complaint)
{
	static const uint8_t zero[6];
	const char *text = scalar->text;
	uint8_t mac[6];

	(void)key;
	if (strlen(text) != 3 * sizeof(mac) - 1)
		return complain(complaint, text, "is not a MAC address");
	for (size_t i = 0; i < sizeof(mac); i++) {
		const char *pair = text + 3 * i;
		bool last = i == sizeof(mac) - 1;

		if (!isxdigit((unsigned char)pair[0]) || !isxdigit((unsigned char)pair[1]) ||
		    pair[2] != (last ? 0 : ':'))
			return complain(complaint, text, "is not a MAC address");
		mac[i] = strtoul(pair, NULL, 16);
	}
	if (mac[0] & 1)
		return complain(complaint, text, "is a multicast address");
	if (!memcmp(mac, zero, sizeof(mac)))
		return complain(complaint, text, "is no host's address");
	memcpy(target, mac, sizeof(mac));
	return 0;
}

static json_t *render_mac(const struct key *key, const void *target)
{
	static const uint8_t zero[6];
	const uint8_t *mac = target;

	(void)key;
	if (!memcmp(mac, zero, sizeof(zero)))
		return json_null();
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
			    mac[5]);
}

static void expected_mac(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size, "one host's MAC address, such as 02:00:00:00:02:0b");
}

static int parse_vip(const struct key *key, const struct scalar *scalar, void *target,
		     struct complaint *complaint)
{
	const char *problem;
	struct vip vip;

	(void)key;
	if (vip_parse(scalar->text, &vip))
		return complain(complaint, scalar->text, "is not a VIP");
	problem = not_unicast(&vip.address);
	if (problem)
		return complain(complaint, scalar->text, "%s", problem);
	memcpy(target, &vip, sizeof(vip));
	return 0;
}

static json_t *render_vip(const struct key *key, const void *target)
{
	char text[ADDRESS_TEXT_SIZE];

	(void)key;
	return json_string(vip_format(target, text));
}

static void expected_vip(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size,
		 "ADDRESS:PORT/PROTO, such as 192.0.2.10:80/tcp or \"[2001:db8::10]:*/udp\"");
}

bool value_is_host(const char *text)
{
	char host[256];
	size_t length = strlen(text);
	struct address address;

	if (!length || length >= sizeof(host))
		return false;
	if (*text == '[') {
		if (text[length - 1] != ']' || !strchr(text, ':'))
			return false;
		memcpy(host, text + 1, length);
		host[length - 2] = 0;
		return !address_parse(host, &address);
	}
	if (!address_parse(text, &address))
		return address.family == 4 && !strchr(text, ':');
	/* Digits and dots alone are a mistyped address, not a name. */
	return strspn(text, "0123456789.") < length && *text != '-' && *text != '.' &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") ==
		       length;
}

static int parse_listen(const struct key *key, const struct scalar *scalar, void *target,
			struct complaint *complaint)
{
	const char *port = strrchr(scalar->text, ':');
	char host[256], *none = NULL, *old;
	uint64_t number;

	(void)key;
	if (!strcmp(scalar->text, "off")) {
		memcpy(&old, target, sizeof(old));
		free(old);
		memcpy(target, &none, sizeof(none));
		return 0;
	}
	if (!port || (size_t)(port - scalar->text) >= sizeof(host))
		return complain(complaint, scalar->text, "is not HOST:PORT");
	memcpy(host, scalar->text, port - scalar->text);
	host[port - scalar->text] = 0;
	if (!value_is_host(host) || text_integer(port + 1, 1, 65535, &number))
		return complain(complaint, scalar->text, "is not HOST:PORT");
	return store_string(target, scalar->text);
}

static json_t *render_listen(const struct key *key, const void *target)
{
	const char *text;

	(void)key;
	memcpy(&text, target, sizeof(text));
	return json_string(text ? text : "off");
}

static void expected_listen(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size, "HOST:PORT, such as 127.0.0.1:9977 or \"[::1]:9977\", or off");
}

/* ---- server ids ---- */

static int parse_server_id(const struct key *key, const struct scalar *scalar, void *target,
			   struct complaint *complaint)
{
	size_t digits = strlen(scalar->text);
	struct backend *backend = target;

	if (!digits || digits % 2 || strspn(scalar->text, "0123456789abcdefABCDEF") < digits)
		return complain(complaint, scalar->text, "is not whole bytes in hex");
	if (digits / 2 > key->maximum)
		return complain(complaint, scalar->text, "has %zu bytes", digits / 2);
	backend->server_id = strtoull(scalar->text, NULL, 16);
	backend->server_id_length = digits / 2;
	return 0;
}

static json_t *render_server_id(const struct key *key, const void *target)
{
	char text[SERVER_ID_TEXT_SIZE];
	const char *id = server_id_format(target, text);

	(void)key;
	return id ? json_string(id) : json_null();
}

static void expected_server_id(const struct key *key, char *out, size_t size)
{
	snprintf(out, size, "1 to %llu bytes as pairs of hex digits, such as 0a2f",
		 (unsigned long long)key->maximum);
}

#define OPERATIONS(type)                                                                           \
	const struct value_type_operations type##_operations = {parse_##type, render_##type,       \
								expected_##type}

OPERATIONS(address);
OPERATIONS(prefix);
OPERATIONS(mac);
OPERATIONS(vip);
OPERATIONS(listen);
OPERATIONS(server_id);
