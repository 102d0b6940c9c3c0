// SPDX-License-Identifier: GPL-2.0-only
/* Hashes byte by byte, decisions by the text, and a parser that moves a cursor over what is left.
 */
#include "oracle.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- hashes ---- */

static uint64_t rotl(uint64_t x, unsigned int n)
{
	return (x << n) | (x >> (64 - n));
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

static uint64_t little_endian(const uint8_t *bytes, size_t count)
{
	uint64_t word = 0;

	while (count--)
		word = word << 8 | bytes[count];
	return word;
}

uint64_t oracle_siphash(const uint8_t key[16], const void *data, size_t size)
{
	uint64_t k0 = little_endian(key, 8), k1 = little_endian(key + 8, 8), word;
	/* "somepseudorandomlygeneratedbytes" */
	uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
			 k1 ^ 0x7465646279746573};
	const uint8_t *bytes = data;
	size_t at;
	int i;

	for (at = 0; at <= size / 8 * 8; at += 8) {
		bool last = at == size / 8 * 8;

		word = last ? little_endian(bytes + at, size % 8) | (uint64_t)(size & 0xff) << 56
			    : little_endian(bytes + at, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	for (i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t oracle_token(const uint8_t key[16], const struct address *client, unsigned int prefix4,
		      unsigned int prefix6)
{
	unsigned int prefix = client->family == 4 ? prefix4 : prefix6, bit;
	size_t size = client->family == 4 ? 4 : 16;
	uint8_t masked[16] = {0};

	for (bit = 0; bit < prefix; bit++)
		masked[bit / 8] |= client->bytes[bit / 8] & (0x80 >> bit % 8);
	return oracle_siphash(key, masked, size);
}

uint32_t oracle_hash(uint64_t token, const char *salt)
{
	static const uint8_t zero[16];
	uint64_t x = token ^ oracle_siphash(zero, salt, strlen(salt));

	x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdULL;
	x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53ULL;
	x = x ^ (x >> 33);
	return x >> 32;
}

uint64_t oracle_threshold(uint32_t ppm)
{
	return (unsigned __int128)ppm * ((unsigned __int128)1 << 32) / 1000000;
}

int oracle_cohort(uint32_t hash, const struct oracle_slot *slots, int canaries)
{
	int i;

	for (i = 0; i < canaries; i++) {
		uint64_t start = oracle_threshold(slots[i].start);
		uint64_t room = oracle_threshold(slots[i].start + slots[i].width) - start;
		uint64_t length = oracle_threshold(slots[i].share);

		if (length > room)
			length = room;
		if (hash >= start && hash < start + length)
			return i + 1;
	}
	return 0;
}

/* ---- the hashes of other tools ---- */

uint32_t oracle_murmur2(const uint8_t *bytes, size_t size)
{
	uint32_t h = size;

	for (; size; bytes += 4, size -= 4) {
		uint32_t k = little_endian(bytes, 4) * 0x5bd1e995u;

		h = (h * 0x5bd1e995u) ^ ((k ^ (k >> 24)) * 0x5bd1e995u);
	}
	h = (h ^ (h >> 13)) * 0x5bd1e995u;
	return h ^ (h >> 15);
}

/* As a polynomial division: the bits of each byte from the lowest on. */
uint32_t oracle_crc32(const uint8_t *bytes, size_t size)
{
	uint32_t remainder = 0xffffffff;
	size_t bit;

	for (bit = 0; bit < 8 * size; bit++) {
		uint32_t in = (bytes[bit / 8] >> bit % 8) & 1, out = remainder & 1;

		remainder >>= 1;
		if (in != out)
			remainder ^= 0xedb88320;
	}
	return ~remainder;
}

static uint32_t rotl32(uint32_t x, unsigned int n)
{
	return (x << n) | (x >> (32 - n));
}

/* lookup3's hashlittle(), Bob Jenkins, 2006: steps as he lists them, of the words a, b and c. */
uint32_t oracle_jhash(const uint8_t *bytes, size_t size, uint32_t seed)
{
	static const unsigned int mixes[6] = {4, 6, 8, 16, 19, 4};
	static const unsigned int finals[7] = {14, 11, 25, 16, 4, 14, 24};
	uint32_t w[3];
	size_t i;

	w[0] = w[1] = w[2] = 0xdeadbeef + size + seed;
	for (; size > 12; bytes += 12, size -= 12) {
		for (i = 0; i < 3; i++)
			w[i] += little_endian(bytes + 4 * i, 4);
		for (i = 0; i < 6; i++) { /* a -= c; a ^= rot(c); c += b; then b, a, c ... */
			uint32_t *a = &w[i % 3], *b = &w[(i + 1) % 3], *c = &w[(i + 2) % 3];

			*a -= *c;
			*a ^= rotl32(*c, mixes[i]);
			*c += *b;
		}
	}
	w[0] += little_endian(bytes, 4);
	for (i = 0; i < 7; i++) { /* c ^= b; c -= rot(b); then a, b ... */
		uint32_t *c = &w[(i + 2) % 3], *b = &w[(i + 1) % 3];

		*c ^= *b;
		*c -= rotl32(*b, finals[i]);
	}
	return w[2];
}

/* ---- packets ---- */

struct cursor {
	const uint8_t *at;
	size_t left;
};

/* Steps over @size bytes and returns them, or NULL where less is left. */
static const uint8_t *take(struct cursor *cursor, size_t size)
{
	const uint8_t *at = cursor->at;

	if (cursor->left < size)
		return NULL;
	cursor->at += size;
	cursor->left -= size;
	return at;
}

static struct oracle_packet passed(int reason)
{
	return (struct oracle_packet){.reason = reason};
}

static struct oracle_packet classify_transport(struct oracle_packet packet, struct cursor payload)
{
	const uint8_t *header;

	switch (packet.protocol) {
	case IPPROTO_TCP:
		header = take(&payload, 20);
		break;
	case IPPROTO_UDP:
		header = take(&payload, 8);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return passed(REASON_ICMP);
	default:
		return passed(REASON_NOT_VIP);
	}
	if (!header)
		return passed(REASON_TRUNCATED);
	packet.reason = ORACLE_TRANSPORT;
	packet.source_port = load16(header);
	packet.destination_port = load16(header + 2);
	return packet;
}

static struct oracle_packet classify_ipv4(struct cursor rest)
{
	struct oracle_packet packet = {.source.family = 4, .destination.family = 4};
	const uint8_t *ip = take(&rest, 20);
	size_t header, total;

	if (!ip || ip[0] >> 4 != 4 || (ip[0] & 15) < 5)
		return passed(REASON_TRUNCATED);
	header = (ip[0] & 15) * 4;
	total = load16(ip + 2);
	if (total < header || total > rest.left + 20)
		return passed(REASON_TRUNCATED);
	if (load16(ip + 6) & 0x3fff)
		return passed(REASON_FRAGMENT);
	packet.protocol = ip[9];
	memcpy(packet.source.bytes, ip + 12, 4);
	memcpy(packet.destination.bytes, ip + 16, 4);
	return classify_transport(packet, (struct cursor){ip + header, total - header});
}

/*
 * One extension header: its size, 0 for none of them, -1 where not even its first eight bytes are
 * there.
 */
static int extension_size(uint8_t type, const struct cursor *rest)
{
	bool is_whole = rest->left >= 8;

	switch (type) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
		return is_whole ? 8 * (rest->at[1] + 1) : -1;
	case IPPROTO_AH:
		return is_whole ? 4 * (rest->at[1] + 2) : -1;
	case IPPROTO_FRAGMENT:
		return is_whole ? 8 : -1;
	default:
		return 0;
	}
}

static struct oracle_packet classify_ipv6(struct cursor rest)
{
	struct oracle_packet packet = {.source.family = 6, .destination.family = 6};
	const uint8_t *ip = take(&rest, 40);
	int count, size;
	uint8_t type;

	if (!ip || ip[0] >> 4 != 6)
		return passed(REASON_TRUNCATED);
	if (load16(ip + 4) + 40 > 0xffff)
		return passed(REASON_UNSUPPORTED);
	if (load16(ip + 4) > rest.left)
		return passed(REASON_TRUNCATED);
	rest.left = load16(ip + 4);
	type = ip[6];
	memcpy(packet.source.bytes, ip + 8, 16);
	memcpy(packet.destination.bytes, ip + 24, 16);
	for (count = 0; (size = extension_size(type, &rest)) > 0; count++) {
		if (type == IPPROTO_FRAGMENT && load16(rest.at + 2) & 0xfff9)
			return passed(REASON_FRAGMENT);
		if (count == 6)
			return passed(REASON_UNSUPPORTED);
		type = rest.at[0];
		if (!take(&rest, size))
			return passed(REASON_TRUNCATED);
	}
	if (size < 0)
		return passed(REASON_TRUNCATED);
	packet.protocol = type;
	return classify_transport(packet, rest);
}

struct oracle_packet oracle_classify(const struct frame *frame)
{
	struct cursor rest = {frame->bytes, frame->size};
	const uint8_t *macs = take(&rest, 12), *type = take(&rest, 2);
	int tags = 0;

	if (!macs || !type)
		return passed(REASON_TRUNCATED);
	for (; load16(type) == 0x8100 || load16(type) == 0x88a8; tags++) {
		if (tags == 2)
			return passed(REASON_UNSUPPORTED);
		if (!take(&rest, 2) || !(type = take(&rest, 2)))
			return passed(REASON_TRUNCATED);
	}
	switch (load16(type)) {
	case 0x0800:
		return classify_ipv4(rest);
	case 0x86dd:
		return classify_ipv6(rest);
	default:
		return passed(REASON_NOT_IP);
	}
}

/* ---- random numbers ---- */

uint64_t oracle_next(struct oracle_random *random)
{
	random->state ^= random->state >> 12;
	random->state ^= random->state << 25;
	random->state ^= random->state >> 27;
	return random->state * 0x2545f4914f6cdd1dULL;
}

struct oracle_random oracle_seed(const char *test)
{
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

	printf("%s: SEED=%llu\n", test, (unsigned long long)seed);
	return (struct oracle_random){seed * 0x9e3779b97f4a7c15ULL | 1};
}
