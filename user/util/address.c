// SPDX-License-Identifier: GPL-2.0-only
/*
 * IP addresses and prefixes, to and from text. One address has one value here: an IPv4-mapped IPv6
 * address is made IPv4 when it is parsed, and bytes that an address or prefix does not use are
 * zero, so that equality is equality of bytes.
 */
#include "util/address.h"

#include "abi.h"
#include "util/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAPPED_LENGTH 96 /* of ::ffff:0:0/96, RFC 4291 section 2.5.5.2 */

static const uint8_t mapped[MAPPED_LENGTH / 8] = {[10] = 0xff, [11] = 0xff};

static bool is_mapped(const struct address *address)
{
	return address->family == 6 && !memcmp(address->bytes, mapped, sizeof(mapped));
}

static void unmap(struct address *address)
{
	memcpy(address->bytes, address->bytes + sizeof(mapped), 4);
	memset(address->bytes + 4, 0, sizeof(address->bytes) - 4);
	address->family = 4;
}

/* As it is written: a mapped address stays IPv6. inet_pton() takes no zone and no leading zero. */
static int parse_written(const char *text, struct address *out)
{
	struct address address = {0};

	if (inet_pton(AF_INET, text, address.bytes) == 1)
		address.family = 4;
	else if (inet_pton(AF_INET6, text, address.bytes) == 1)
		address.family = 6;
	else
		return -EINVAL;
	*out = address;
	return 0;
}

int address_parse(const char *text, struct address *out)
{
	struct address address;
	int error = parse_written(text, &address);

	if (error)
		return error;
	if (is_mapped(&address))
		unmap(&address);
	*out = address;
	return 0;
}

static unsigned int family_bits(const struct address *address)
{
	return address->family == 4 ? 32 : 128;
}

/* Clears the bits past @length, which is at most the family's. */
static void clear_low_bits(struct address *address, unsigned int length)
{
	unsigned int whole = length / 8;

	if (whole == sizeof(address->bytes))
		return;
	address->bytes[whole] &= (uint8_t)(0xff00 >> length % 8);
	memset(address->bytes + whole + 1, 0, sizeof(address->bytes) - whole - 1);
}

static int parse_prefix(const char *text, bool loosely, struct prefix *out)
{
	const char *slash = strchr(text, '/');
	struct address address, cleared;
	char part[ADDRESS_TEXT_SIZE];
	uint64_t length;
	size_t size;
	int error;

	size = slash ? (size_t)(slash - text) : strlen(text);
	if (size >= sizeof(part))
		return -EINVAL;
	memcpy(part, text, size);
	part[size] = 0;
	error = parse_written(part, &address);
	if (error)
		return error;

	length = family_bits(&address);
	if (slash && text_integer(slash + 1, 0, length, &length))
		return -EINVAL;
	cleared = address;
	clear_low_bits(&cleared, (unsigned int)length);
	if (!loosely && !address_equal(&address, &cleared))
		return -EDOM;
	address = cleared;
	/* A mapped address that is clear past its length has a length of 96 or more. */
	if (is_mapped(&address)) {
		unmap(&address);
		length -= MAPPED_LENGTH;
	}
	*out = (struct prefix){.address = address, .length = (uint8_t)length};
	return 0;
}

int prefix_parse(const char *text, struct prefix *out)
{
	return parse_prefix(text, false, out);
}

int prefix_parse_loosely(const char *text, struct prefix *out)
{
	return parse_prefix(text, true, out);
}

/* The first of the longest runs of two or more zero groups; RFC 5952 section 4.2. */
static void longest_zero_run(const uint16_t groups[8], int *start, int *length)
{
	int run = 0;

	*start = -1;
	*length = 1;
	for (int i = 0; i < 8; i++) {
		run = groups[i] ? 0 : run + 1;
		if (run > *length) {
			*length = run;
			*start = i - run + 1;
		}
	}
}

const char *address_format(const struct address *address, char out[ADDRESS_TEXT_SIZE])
{
	const uint8_t *bytes = address->bytes;
	int run_start, run_length, used = 0;
	uint16_t groups[8];

	out[0] = 0;
	if (address->family == 4)
		snprintf(out, ADDRESS_TEXT_SIZE, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2],
			 bytes[3]);
	if (address->family != 6)
		return out;

	for (int i = 0; i < 8; i++)
		groups[i] = (uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
	longest_zero_run(groups, &run_start, &run_length);
	for (int i = 0; i < 8; i++) {
		if (i == run_start) {
			used += sprintf(out + used, "::");
			i += run_length - 1;
			continue;
		}
		/* After the run the colon is there already. */
		used += sprintf(out + used, "%s%x", i && i != run_start + run_length ? ":" : "",
				groups[i]);
	}
	return out;
}

const char *prefix_format(const struct prefix *prefix, char out[ADDRESS_TEXT_SIZE])
{
	size_t used;

	address_format(&prefix->address, out);
	if (!prefix->address.family || prefix->length == family_bits(&prefix->address))
		return out;
	used = strlen(out);
	snprintf(out + used, ADDRESS_TEXT_SIZE - used, "/%u", prefix->length);
	return out;
}

bool address_equal(const struct address *a, const struct address *b)
{
	return address_compare(a, b) == 0;
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
	return a->length == b->length && address_equal(&a->address, &b->address);
}

int address_compare(const struct address *a, const struct address *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

struct prefix prefix_shorten(const struct prefix *prefix, unsigned int length4,
			     unsigned int length6)
{
	unsigned int limit = prefix->address.family == 4 ? length4 : length6;
	struct prefix shorter = *prefix;

	if (shorter.length > limit)
		shorter.length = (uint8_t)limit;
	clear_low_bits(&shorter.address, shorter.length);
	return shorter;
}

static uint64_t read_word(const uint8_t *bytes, int count)
{
	uint64_t word = 0;

	for (int i = 0; i < count; i++)
		word = word << 8 | bytes[i];
	return word;
}

void address_words(const struct address *address, uint64_t *high, uint64_t *low)
{
	if (address->family == 4) {
		*high = 0;
		*low = IPV4_MAPPED | read_word(address->bytes, 4);
		return;
	}
	*high = read_word(address->bytes, 8);
	*low = read_word(address->bytes + 8, 8);
}
