/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a UDP payload tells: the client key `payload`; and of QUIC whether the datagram starts a
 * flow, and the server id in the connection id. Parsed by the invariants of RFC 8999, so that a
 * version that is not known here is still steered by its id; only the packet types are those of RFC
 * 9000 section 17.2 and RFC 9369.
 */
#ifndef XDP_CANARY_DATAGRAM_H
#define XDP_CANARY_DATAGRAM_H

#include "packet.h"

#define QUIC_VERSION_1	  0x00000001u
#define QUIC_VERSION_2	  0x6b3343cfu
#define QUIC_LONG_HEADER  0x80 /* RFC 8999 section 5.1 */
#define QUIC_INITIAL_SIZE 1200 /* RFC 9000 section 14.1: at the least, of a client's datagram */
#define QUIC_CLIENT_ID_SIZE                                                                        \
	8 /* RFC 9000 section 7.2: of the id that a client makes up, at the least */

/* The part of a long header that all versions share; of a short header only the first byte. */
struct quic_header {
	__u8 first;
	__u8 version[4];
	__u8 id_length; /* of the destination connection id, which follows */
};

static __always_inline __u32 quic_version(const struct quic_header *header)
{
	return (__u32)header->version[0] << 24 | (__u32)header->version[1] << 16 |
	       (__u32)header->version[2] << 8 | header->version[3];
}

enum quic_start { QUIC_GOES_ON, QUIC_INITIAL, QUIC_0RTT };

/*
 * Does the packet start a connection? Types 0 and 1 of version 1, 1 and 2 of version 2. The fixed
 * bit says nothing: with a server that it knows a client may clear it, RFC 9287 section 3.1.
 */
static __always_inline enum quic_start quic_start_of(const struct quic_header *header,
						     __u32 payload_length)
{
	__u8 type = header->first >> 4 & 3;
	__u32 version = quic_version(header);

	if (!(header->first & QUIC_LONG_HEADER) || header->id_length < QUIC_CLIENT_ID_SIZE)
		return QUIC_GOES_ON;
	if (version == QUIC_VERSION_2)
		type = (type - 1) & 3;
	else if (version != QUIC_VERSION_1)
		return QUIC_GOES_ON;
	if (type > 1)
		return QUIC_GOES_ON;
	if (type)
		return QUIC_0RTT;
	return payload_length >= QUIC_INITIAL_SIZE ? QUIC_INITIAL : QUIC_GOES_ON;
}

/* The number of the backend with the server id, or BACKEND_NONE. */
static __always_inline __u32 backend_of_id(const struct view *view, __u64 id)
{
	__u32 index = server_id_hash(id);

	for (int i = 0; i < SERVER_ID_PROBES; i++) {
		struct server_id *slot =
			lookup(server_ids,
			       view->server_ids + ((index + i) & (view->server_ids_count - 1)));

		if (!slot || !slot->backend)
			break;
		if (slot->id == id)
			return slot->backend - 1;
	}
	return BACKEND_NONE;
}

#define QUIC_START_SHIFT 16 /* above the number of the backend that is named */

/*
 * The UDP payload of @length bytes at @payload, to a service whose view it is: the number of the
 * backend whose id lies at the configured place of the connection id, or BACKEND_NONE; and above it
 * how it starts a connection, enum quic_start. Global, so that the verifier walks it once by
 * itself.
 */
__noinline __u32 read_quic(struct xdp_md *ctx, __u32 payload, __u32 length, struct view *view)
{
	struct quic_header header;
	__u32 begin = 1, id_length, start;
	__u64 id;

	if (!view || length < sizeof(header) ||
	    bpf_xdp_load_bytes(ctx, payload, &header, sizeof(header)))
		return BACKEND_NONE;
	start = quic_start_of(&header, length) << QUIC_START_SHIFT;
	if (!(view->flags & VIEW_KEY_QUIC) || !view->server_ids_count)
		return start | BACKEND_NONE;
	id_length = view->quic.cid_length;
	if (header.first & QUIC_LONG_HEADER) {
		begin = sizeof(header);
		id_length = header.id_length;
	}
	if (view->quic.offset + view->quic.length > id_length)
		return start | BACKEND_NONE;
	/* More follows a connection id than a server id can be long: RFC 9001 section 5.4.2. */
	if (begin + id_length + sizeof(id) > length ||
	    bpf_xdp_load_bytes(ctx, payload + begin + view->quic.offset, &id, sizeof(id)))
		return start | BACKEND_NONE;
	return start |
	       backend_of_id(view, bpf_be64_to_cpu(id) >> ((64 - 8 * view->quic.length) & 63));
}

static __always_inline void read_datagram(struct packet *p)
{
	int is_quic = p->view->flags & VIEW_KEY_QUIC;
	enum quic_start start;
	__u32 found;

	/* To another service only what could start a flow is looked at. */
	if (!is_quic && p->headers.payload_length < QUIC_INITIAL_SIZE)
		return;
	found = read_quic(p->ctx, p->headers.payload, p->headers.payload_length, p->view);
	start = found >> QUIC_START_SHIFT;
	if (start != QUIC_GOES_ON)
		p->notes |= start == QUIC_0RTT ? FLOW_STARTS | EARLY_DATA : FLOW_STARTS;
	p->notes &= ~(0xffffULL << NOTE_NAMED_SHIFT);
	p->notes |= (__u64)(found & SLOT_NOW_MASK) << NOTE_NAMED_SHIFT;
	if (is_quic && found == BACKEND_NONE)
		p->notes |= FALLBACK_QUIC;
}

static __always_inline struct siphash_state keyed_state(void)
{
	struct siphash_key key = {.k0 = secret.k0, .k1 = secret.k1};

	return siphash_begin(key);
}

/*
 * The token of a client whose key is the @length bytes, 1 to 16, at @offset from the start of the
 * frame; 0 where they cannot be read. Global: few services have such a key.
 */
__noinline __u64 bytes_token(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	struct siphash_state state = keyed_state();
	__u64 words[2] = {};

	/* the bound, on the very register that the helper is given */
	length--;
	asm volatile("%0 &= 15" : "+r"(length));
	length++;
	if (bpf_xdp_load_bytes(ctx, offset, words, length))
		return 0;
	if (length < 8)
		return siphash_end(&state, words[0], length);
	siphash_word(&state, words[0]);
	if (length < 16)
		return siphash_end(&state, words[1], length);
	siphash_word(&state, words[1]);
	return siphash_end(&state, 0, length);
}

/* The client key `payload`; 0 where the payload ends before it. */
static __always_inline __u64 payload_token(struct xdp_md *ctx, const struct headers *h,
					   struct payload_key key)
{
	if (h->protocol != IPPROTO_UDP || key.offset + key.length > h->payload_length)
		return 0;
	return bytes_token(ctx, h->payload + key.offset, key.length);
}

#endif
