// SPDX-License-Identifier: GPL-2.0-only
/*
 * One parser and one renderer a type of value, in one table. A parser takes the whole text or
 * refuses it, and a value is rendered in the form that its parser takes back. Pure.
 */
#include "config/values.h"

#include "policy/policy.h"
#include "util/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct value_type_operations {
	int (*parse)(const struct key *key, const struct scalar *scalar, void *target,
		     struct complaint *complaint);
	json_t *(*render)(const struct key *key, const void *target);
	void (*expected)(const struct key *key, char *out, size_t size);
};

#define SHOWN_MAX 60

const char *value_show(const char *text, char out[VALUE_SHOWN_SIZE])
{
	size_t length = strlen(text);
	bool cut = length > SHOWN_MAX;

	if (cut)
		for (length = SHOWN_MAX; length && (text[length] & 0xc0) == 0x80; length--)
			; /* not inside a UTF-8 character */
	snprintf(out, VALUE_SHOWN_SIZE, "\"%.*s%s\"", (int)length, text, cut ? "..." : "");
	return out;
}

static int complain(struct complaint *complaint, const char *text, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int complain(struct complaint *complaint, const char *text, const char *format, ...)
{
	char shown[VALUE_SHOWN_SIZE], what[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	snprintf(complaint->what, sizeof(complaint->what), "%s %s", value_show(text, shown), what);
	return -EINVAL;
}

/* ---- numbers ---- */

static void store_integer(void *target, size_t size, uint64_t number)
{
	uint8_t as8 = number;
	uint16_t as16 = number;
	uint32_t as32 = number;

	if (size == sizeof(as8))
		memcpy(target, &as8, size);
	else if (size == sizeof(as16))
		memcpy(target, &as16, size);
	else if (size == sizeof(as32))
		memcpy(target, &as32, size);
	else if (size == sizeof(number))
		memcpy(target, &number, size);
}

static uint64_t load_integer(const void *target, size_t size)
{
	uint8_t as8 = 0;
	uint16_t as16 = 0;
	uint32_t as32 = 0;
	uint64_t as64 = 0;

	if (size == sizeof(as8))
		memcpy(&as8, target, size);
	else if (size == sizeof(as16))
		memcpy(&as16, target, size);
	else if (size == sizeof(as32))
		memcpy(&as32, target, size);
	else if (size == sizeof(as64))
		memcpy(&as64, target, size);
	return as8 + as16 + as32 + as64;
}

static int parse_integer(const struct key *key, const struct scalar *scalar, void *target,
			 struct complaint *complaint)
{
	uint64_t number;

	if (!scalar->plain) {
		snprintf(complaint->hint, sizeof(complaint->hint), "write it without quotes");
		return complain(complaint, scalar->text, "is text, not a number");
	}
	switch (text_integer(scalar->text, key->minimum, key->maximum, &number)) {
	case 0:
		break;
	case -ERANGE:
		return complain(complaint, scalar->text, "is out of range");
	default:
		return complain(complaint, scalar->text, "is not a whole decimal number");
	}
	store_integer(target, key->size, number);
	return 0;
}

static json_t *render_integer(const struct key *key, const void *target)
{
	/* Where nothing is kept there is only one value. */
	return json_integer(key->size ? load_integer(target, key->size) : key->minimum);
}

static void expected_integer(const struct key *key, char *out, size_t size)
{
	if (key->minimum == key->maximum)
		snprintf(out, size, "%llu", (unsigned long long)key->minimum);
	else
		snprintf(out, size, "a whole number from %llu to %llu",
			 (unsigned long long)key->minimum, (unsigned long long)key->maximum);
}

static int parse_percent(const struct key *key, const struct scalar *scalar, void *target,
			 struct complaint *complaint)
{
	char limit[TEXT_VALUE_SIZE];
	uint32_t ppm;

	switch (text_percent(scalar->text, &ppm)) {
	case 0:
		break;
	case -ERANGE:
		return complain(complaint, scalar->text, "is above 100%% or finer than 1 ppm");
	default:
		return complain(complaint, scalar->text, "is not a percentage");
	}
	if (ppm > key->maximum)
		return complain(complaint, scalar->text, "is above %s",
				text_format_percent(key->maximum, limit));
	store_integer(target, key->size, ppm);
	return 0;
}

static json_t *render_percent(const struct key *key, const void *target)
{
	char text[TEXT_VALUE_SIZE];

	return json_string(text_format_percent(load_integer(target, key->size), text));
}

static void expected_percent(const struct key *key, char *out, size_t size)
{
	char limit[TEXT_VALUE_SIZE];

	snprintf(out, size, "a share from 0%% to %s in steps of 1ppm, such as 0.5%% or 100ppm",
		 text_format_percent(key->maximum, limit));
}

static int parse_duration(const struct key *key, const struct scalar *scalar, void *target,
			  struct complaint *complaint)
{
	uint64_t milliseconds = 0;
	int error = strcmp(scalar->text, "0") ? text_duration(scalar->text, &milliseconds) : 0;

	if (error == -EINVAL)
		return complain(complaint, scalar->text, "is not a duration");
	if (!error && !milliseconds && key->zero_hint)
		snprintf(complaint->hint, sizeof(complaint->hint), "%s", key->zero_hint);
	if (error || milliseconds < key->minimum || milliseconds > key->maximum)
		return complain(complaint, scalar->text, "is out of range");
	store_integer(target, key->size, milliseconds);
	return 0;
}

static json_t *render_duration(const struct key *key, const void *target)
{
	char text[TEXT_VALUE_SIZE];

	return json_string(text_format_duration(load_integer(target, key->size), text));
}

static void expected_duration(const struct key *key, char *out, size_t size)
{
	char minimum[TEXT_VALUE_SIZE], maximum[TEXT_VALUE_SIZE];

	snprintf(out, size, "a duration from %s to %s, such as 90s or 1h30m",
		 text_format_duration(key->minimum, minimum),
		 text_format_duration(key->maximum, maximum));
}

/* ---- words ---- */

static int parse_boolean(const struct key *key, const struct scalar *scalar, void *target,
			 struct complaint *complaint)
{
	/* YAML 1.2 core schema, 10.3.2 */
	static const char *const words[] = {"true", "True", "TRUE", "false", "False", "FALSE"};
	size_t i = 0;
	bool value;

	(void)key;
	while (i < sizeof(words) / sizeof(*words) && strcmp(scalar->text, words[i]))
		i++;
	value = i < 3;
	if (!scalar->plain || i == sizeof(words) / sizeof(*words))
		return complain(complaint, scalar->text, "is not true or false");
	memcpy(target, &value, sizeof(value));
	return 0;
}

static json_t *render_boolean(const struct key *key, const void *target)
{
	bool value;

	(void)key;
	memcpy(&value, target, sizeof(value));
	return json_boolean(value);
}

static void expected_boolean(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size, "true or false, without quotes");
}

#define CHOICES_MAX 8

static int parse_choice(const struct key *key, const struct scalar *scalar, void *target,
			struct complaint *complaint)
{
	const char *names[CHOICES_MAX], *nearest;
	size_t count = 0;

	for (const struct choice *choice = key->choices; choice->name; choice++) {
		if (!strcmp(choice->name, scalar->text)) {
			if (choice->part != PART_MAIN)
				return complain(complaint, choice->name,
						"is not available in this version");
			store_integer(target, key->size, choice->value);
			return 0;
		}
		if (choice->part == PART_MAIN && count < CHOICES_MAX)
			names[count++] = choice->name;
	}
	nearest = text_nearest(scalar->text, names, count);
	if (nearest)
		snprintf(complaint->hint, sizeof(complaint->hint), "did you mean %s?", nearest);
	return complain(complaint, scalar->text, "is not known here");
}

static json_t *render_choice(const struct key *key, const void *target)
{
	unsigned int value = key->size ? load_integer(target, key->size) : key->choices->value;

	for (const struct choice *choice = key->choices; choice->name; choice++)
		if (choice->part == PART_MAIN && choice->value == value)
			return json_string(choice->name);
	return json_null();
}

static void expected_choice(const struct key *key, char *out, size_t size)
{
	const char *between = "";
	size_t used = 0;

	for (const struct choice *choice = key->choices; choice->name && used < size; choice++) {
		if (choice->part != PART_MAIN)
			continue;
		used += snprintf(out + used, size - used, "%s%s", between, choice->name);
		between = " or ";
	}
}

/* ---- text ---- */

static bool has_control_characters(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f))
			return true;
	return false;
}

static int store_string(void *target, const char *text)
{
	char *copy = strdup(text), *old;

	if (!copy)
		return -ENOMEM;
	memcpy(&old, target, sizeof(old));
	free(old);
	memcpy(target, &copy, sizeof(copy));
	return 0;
}

static int parse_text(const struct key *key, const struct scalar *scalar, void *target,
		      struct complaint *complaint)
{
	size_t length = strlen(scalar->text);

	if (length < key->minimum) {
		snprintf(complaint->hint, sizeof(complaint->hint),
			 "give it some text, or remove the key");
		return complain(complaint, scalar->text, "is empty");
	}
	if (length > key->maximum)
		return complain(complaint, scalar->text, "has %zu bytes", length);
	if (has_control_characters(scalar->text))
		return complain(complaint, scalar->text, "has control characters in it");
	return store_string(target, scalar->text);
}

static json_t *render_text(const struct key *key, const void *target)
{
	const char *text;

	(void)key;
	memcpy(&text, target, sizeof(text));
	return text ? json_string(text) : json_null();
}

static void expected_text(const struct key *key, char *out, size_t size)
{
	snprintf(out, size, "text of %s %llu bytes, without control characters",
		 key->minimum ? "1 to" : "at most", (unsigned long long)key->maximum);
}

static void expected_path(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size, "the path of a file");
}

static int parse_name(const struct key *key, const struct scalar *scalar, void *target,
		      struct complaint *complaint)
{
	if (!text_is_name(scalar->text) || strlen(scalar->text) >= key->size)
		return complain(complaint, scalar->text, "is not a name");
	memset(target, 0, key->size);
	strcpy(target, scalar->text);
	return 0;
}

static json_t *render_array(const struct key *key, const void *target)
{
	const char *text = target;

	(void)key;
	return *text ? json_string(text) : json_null();
}

static void expected_name(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size,
		 "a name of a-z, 0-9, - and _, at most 63 characters, no - or _ at its ends");
}

/* As the kernel's dev_valid_name(). */
static int parse_interface(const struct key *key, const struct scalar *scalar, void *target,
			   struct complaint *complaint)
{
	const char *text = scalar->text;
	bool valid = *text && strlen(text) < key->size && strcmp(text, ".") && strcmp(text, "..");

	for (const char *c = text; *c && valid; c++)
		valid = *c != '/' && *c != ':' && !isspace((unsigned char)*c);
	if (!valid || has_control_characters(text))
		return complain(complaint, text, "cannot be an interface's name");
	memset(target, 0, key->size);
	strcpy(target, text);
	return 0;
}

static void expected_interface(const struct key *key, char *out, size_t size)
{
	snprintf(out, size, "1 to %zu characters without spaces, / and :", key->size - 1);
}

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

/* HOST: an address, IPv6 in brackets, or a host's name. */
static bool is_host(const char *text)
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
	if (!is_host(host) || text_integer(port + 1, 1, 65535, &number))
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

/* ---- the table ---- */

static const struct value_type_operations operations[] = {
	[VALUE_INTEGER] = {parse_integer, render_integer, expected_integer},
	[VALUE_BOOLEAN] = {parse_boolean, render_boolean, expected_boolean},
	[VALUE_PERCENT] = {parse_percent, render_percent, expected_percent},
	[VALUE_DURATION] = {parse_duration, render_duration, expected_duration},
	[VALUE_CHOICE] = {parse_choice, render_choice, expected_choice},
	[VALUE_TEXT] = {parse_text, render_text, expected_text},
	[VALUE_PATH] = {parse_text, render_text, expected_path},
	[VALUE_NAME] = {parse_name, render_array, expected_name},
	[VALUE_INTERFACE] = {parse_interface, render_array, expected_interface},
	[VALUE_ADDRESS] = {parse_address, render_address, expected_address},
	[VALUE_MAC] = {parse_mac, render_mac, expected_mac},
	[VALUE_VIP] = {parse_vip, render_vip, expected_vip},
	[VALUE_LISTEN] = {parse_listen, render_listen, expected_listen},
	[VALUE_SERVER_ID] = {parse_server_id, render_server_id, expected_server_id},
};

int value_parse(const struct key *key, const struct scalar *scalar, void *object,
		struct complaint *complaint)
{
	bool given = true;
	int error;

	*complaint = (struct complaint){0};
	error = operations[key->type].parse(key, scalar, key_target(key, object), complaint);
	if (!error && key->given)
		memcpy((char *)object + key->given, &given, sizeof(given));
	return error;
}

bool value_applies(const struct key *key, const void *object)
{
	const struct key *with = key->with;

	return !with || load_integer(key_target(with, object), with->size) == key->with_value;
}

json_t *value_to_json(const struct key *key, const void *object)
{
	if (!value_applies(key, object))
		return json_null();
	return operations[key->type].render(key, key_target(key, object));
}

const char *value_expected(const struct key *key, char *out, size_t size)
{
	*out = 0;
	if (key->type == VALUE_LIST)
		snprintf(out, size, "a list");
	else if (key->type == VALUE_MAP)
		snprintf(out, size, "a map of keys");
	else if (key->type == VALUE_SHARES)
		snprintf(out, size, "a map of cohorts and percents");
	else
		operations[key->type].expected(key, out, size);
	return out;
}
