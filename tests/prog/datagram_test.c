// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the program reads of a UDP payload. Client key quic: the id of a server in a connection id
 * names its backend, but not in the packets that start a connection, and what is no whole id falls
 * back to the source. Client key payload: the token is made of just the bytes that the service
 * names. Datagrams are written and judged here by the RFCs alone.
 */
#include "lab.h"
#include "oracle.h"
#include "policy/decide.h"
#include "tests/random.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PPM	  1000000u
#define PORT	  "443"
#define PORT_UDP  443
#define STABLES	  3
#define CANARIES  2
#define BACKENDS  (STABLES + CANARIES)
#define ID_MOST	  20 /* of a connection id: RFC 9000 section 17.2 */
#define BEHIND_ID 20 /* at the least: RFC 9001 section 5.4.2, packet number and sample */
#define INITIAL	  1200
#define VERSION_1 0x00000001u
#define VERSION_2 0x6b3343cfu
#define SEVERAL	  6 /* clients */

static const uint8_t secret_bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* ---- datagrams ---- */

struct datagram {
	size_t size;
	uint8_t bytes[FRAME_MAX - 512];
};

static void fill(struct random *random, uint8_t *to, size_t count)
{
	while (count--)
		*to++ = random_next(random);
}

/* RFC 8999 section 5.2, with noise behind the id; the server id is written over by put_id(). */
static struct datagram short_header(struct random *random, size_t size)
{
	struct datagram datagram = {.size = size};

	fill(random, datagram.bytes, size);
	datagram.bytes[0] &= 0x7f;
	return datagram;
}

/* RFC 8999 section 5.1. @first: the first byte. */
static struct datagram long_header(struct random *random, uint8_t first, uint32_t version,
				   uint8_t id_length, size_t size)
{
	struct datagram datagram = {.size = size};

	fill(random, datagram.bytes, size);
	datagram.bytes[0] = first | 0x80;
	store32(datagram.bytes + 1, version);
	datagram.bytes[5] = id_length;
	return datagram;
}

/* The connection id begins at byte 1 of a short header and at byte 6 of a long one. */
static size_t id_begin(const struct datagram *datagram)
{
	return datagram->bytes[0] & 0x80 ? 6 : 1;
}

struct layout {
	unsigned int cid_length, offset, length;
};

static const struct layout usual = {8, 1, 2};

static void put_id(struct datagram *datagram, struct layout layout, uint64_t id)
{
	uint8_t *at = datagram->bytes + id_begin(datagram) + layout.offset;
	unsigned int i;

	for (i = 0; i < layout.length; i++)
		at[i] = id >> 8 * (layout.length - 1 - i);
}

/* One of the connection, behind the handshake. */
static struct datagram of_connection(struct random *random, struct layout layout, uint64_t id)
{
	struct datagram datagram =
		short_header(random, 1 + layout.cid_length + BEHIND_ID + random_below(random, 40));

	put_id(&datagram, layout, id);
	return datagram;
}

/* RFC 9000 section 17.2 and RFC 9369 section 3.2. */
enum kind { KIND_INITIAL, KIND_0RTT, KIND_HANDSHAKE, KIND_RETRY, KIND_UNKNOWN };

static enum kind kind_of(uint8_t first, uint32_t version)
{
	static const enum kind of_2[] = {KIND_RETRY, KIND_INITIAL, KIND_0RTT, KIND_HANDSHAKE};

	if (version == VERSION_1)
		return (first & 0x30) >> 4;
	return version == VERSION_2 ? of_2[(first & 0x30) >> 4] : KIND_UNKNOWN;
}

/* ---- frames ---- */

/* From client @number to the VIP of @family. */
static struct packet_plan plan_of(int family, unsigned int number, size_t payload)
{
	struct packet_plan plan = family == 4
					  ? packet_udp("198.51.100.7", 5555, LAB_VIP4, PORT_UDP)
					  : packet_udp("2001:db8:7::1", 5555, LAB_VIP6, PORT_UDP);

	plan.source.bytes[family == 4 ? 3 : 7] = number;
	plan.payload = payload;
	return plan;
}

static void put_payload(const struct packet_plan *plan, const uint8_t *bytes, struct frame *frame)
{
	packet_build(plan, frame);
	memcpy(frame->bytes + frame->size - plan->payload, bytes, plan->payload);
}

/* Link padding: bytes of the frame behind the IP packet. */
static void put_trailer(struct random *random, size_t count, struct frame *frame)
{
	fill(random, frame->bytes + frame->size, count);
	frame->size += count;
}

/* Cohort and, in it, the backend that a frame is steered to. */
static int steered(struct lab *lab, const struct frame *frame)
{
	struct run run;

	lab_run(lab, frame, &run);
	assert_true(lab_cohort_of(&run) >= 0);
	return lab_cohort_of(&run) * 100 + lab_backend_of(&run);
}

/* The same packet, explained; a short frame is made longer by padding. */
static struct explanation explained(struct lab *lab, struct frame frame)
{
	struct explanation told;
	struct run run;

	if (frame.size < sizeof(told)) {
		memset(frame.bytes + frame.size, 0, sizeof(told) - frame.size);
		frame.size = sizeof(told);
	}
	lab->aside = true;
	lab_run(lab, &frame, &run);
	lab->aside = false;
	memcpy(&told, run.out.bytes, sizeof(told));
	return told;
}

static int place_of(size_t backend)
{
	return backend < STABLES ? backend : 100 + backend - STABLES;
}

static int send_datagram(struct lab *lab, int family, unsigned int client,
			 const struct datagram *datagram)
{
	struct packet_plan plan = plan_of(family, client, datagram->size);
	struct frame frame;

	put_payload(&plan, datagram->bytes, &frame);
	return steered(lab, &frame);
}

/* Where a client goes whose datagram says nothing. */
static int place_of_source(struct lab *lab, int family, unsigned int client)
{
	struct datagram nothing = {.size = 0};

	return send_datagram(lab, family, client, &nothing);
}

/* ---- services ---- */

static struct lab_service *add_service(struct lab *lab, const char *name, uint32_t share)
{
	struct lab_service *service = lab_add_service(lab, name, STEER_L2);
	char address[32];
	size_t i;

	for (i = 0; i < BACKENDS; i++) {
		snprintf(address, sizeof(address), "10.%u.%u.%zu", service->slot, i >= STABLES,
			 1 + i);
		lab_add_backend(service, i >= STABLES, address, 100, LAB_INGRESS);
	}
	lab_set_share(service, 1, share);
	return service;
}

static struct lab_backend *backend_of(struct lab_service *service, size_t number)
{
	return &service->backends[number >= STABLES][number - (number >= STABLES ? STABLES : 0)];
}

static void set_ids(struct lab_service *service, struct layout layout, const uint64_t *ids)
{
	size_t i;

	service->service.client_key = CLIENT_KEY_QUIC;
	service->service.client_id.quic_cid_length = layout.cid_length;
	service->service.client_id.quic_server_id_offset = layout.offset;
	service->service.client_id.quic_server_id_length = layout.length;
	for (i = 0; i < BACKENDS; i++) {
		struct backend *backend = &backend_of(service, i)->backend;

		backend->has_server_id = true;
		backend->server_id_length = layout.length;
		backend->server_id = ids[i];
	}
}

static void add_vips(struct lab_service *service)
{
	lab_add_vip(service, LAB_VIP4 ":" PORT "/udp");
	lab_add_vip(service, "[" LAB_VIP6 "]:" PORT "/udp");
}

static const uint64_t usual_ids[BACKENDS] = {0, 0x0100, 0x0001, 0xffff, 0xa5c3};
#define NO_ID 0x7b7b

static struct lab_service *add_quic(struct lab *lab, uint32_t share)
{
	struct lab_service *service = add_service(lab, "shop", share);

	add_vips(service);
	set_ids(service, usual, usual_ids);
	return service;
}

static struct lab_service *add_payload(struct lab *lab, uint16_t offset, uint8_t length)
{
	struct lab_service *service = add_service(lab, "shop", PPM / 2);

	add_vips(service);
	service->service.client_key = CLIENT_KEY_PAYLOAD;
	service->service.client_id.payload_offset = offset;
	service->service.client_id.payload_length = length;
	return service;
}

static uint64_t flows_of(struct lab *lab, struct lab_service *service)
{
	return lab_rule_counter(lab, service, 0, 0).syns +
	       lab_rule_counter(lab, service, 0, 1).syns;
}

/* Whatever was shown before; from now on changes open eras. */
static void publish_calm(struct lab *lab, struct lab_service *service)
{
	lab_publish(lab);
	service->has_eras = true;
}

/* ---- what is expected of a datagram ---- */

enum fate { STARTS, FALLS_BACK, NAMES };

struct counts {
	uint64_t fallbacks, named, flows;
};

static struct counts counts_of(struct lab *lab, struct lab_service *service)
{
	struct affinity_counter counter = lab_affinity_counter(lab, service);

	return (struct counts){counter.fallback_quic, counter.paths[PATH_SERVER_ID],
			       flows_of(lab, service)};
}

static void assert_counts(struct lab *lab, struct lab_service *service, struct counts before,
			  uint64_t fallbacks, uint64_t named, uint64_t flows)
{
	struct counts after = counts_of(lab, service);

	assert_int_equal(after.fallbacks - before.fallbacks, fallbacks);
	assert_int_equal(after.named - before.named, named);
	assert_int_equal(after.flows - before.flows, flows);
}

/* @backend: that it names. */
static void assert_fate(struct lab *lab, struct lab_service *service, int family,
			const struct datagram *datagram, enum fate fate, size_t backend)
{
	struct counts before;
	unsigned int client;

	for (client = 1; client <= 2; client++) {
		int place = place_of_source(lab, family, client);

		if (fate == NAMES)
			place = place_of(backend);
		before = counts_of(lab, service);
		assert_int_equal(send_datagram(lab, family, client, datagram), place);
		assert_counts(lab, service, before, fate == FALLS_BACK, fate == NAMES,
			      fate == STARTS &&
				      kind_of(datagram->bytes[0], load32(datagram->bytes + 1)) ==
					      KIND_INITIAL);
	}
}

static void assert_names(struct lab *lab, struct lab_service *service,
			 const struct datagram *datagram, size_t backend)
{
	assert_fate(lab, service, 4, datagram, NAMES, backend);
	assert_fate(lab, service, 6, datagram, NAMES, backend);
}

static void assert_falls_back(struct lab *lab, struct lab_service *service,
			      const struct datagram *datagram)
{
	assert_fate(lab, service, 4, datagram, FALLS_BACK, 0);
	assert_fate(lab, service, 6, datagram, FALLS_BACK, 0);
}

/* ---- server ids ---- */

/* Of that length, and no two alike. */
static void draw_ids(struct random *random, unsigned int length, uint64_t ids[BACKENDS + 1])
{
	size_t i, j;

	for (i = 0; i <= BACKENDS; i++) {
		ids[i] = random_next(random) >> (64 - 8 * length);
		for (j = 0; j < i; j++)
			if (ids[j] == ids[i])
				break;
		i -= j < i;
	}
}

static void check_layout(struct lab *lab, struct lab_service *service, struct random *random,
			 struct layout layout)
{
	uint64_t ids[BACKENDS + 1]; /* the last one is nobody's */
	struct datagram datagram;
	size_t i;

	draw_ids(random, layout.length, ids);
	set_ids(service, layout, ids);
	lab_publish(lab);
	for (i = 0; i <= BACKENDS; i++) {
		bool is_long = random_below(random, 2);
		int family = random_below(random, 2) ? 4 : 6;

		datagram = is_long ? long_header(random, 0xe0, VERSION_1, layout.cid_length, 60)
				   : of_connection(random, layout, ids[i]);
		put_id(&datagram, layout, ids[i]);
		assert_fate(lab, service, family, &datagram, i < BACKENDS ? NAMES : FALLS_BACK, i);
	}
}

static void an_id_names_its_backend_at_every_offset_and_of_every_length(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, "shop", PPM / 2);
	unsigned int length, offset;

	add_vips(service);
	for (length = 1; length <= 8; length++)
		for (offset = 0; offset + length <= ID_MOST; offset++) {
			unsigned int least = offset + length;

			check_layout(lab, service, &random, (struct layout){least, offset, length});
			check_layout(
				lab, service, &random,
				(struct layout){least + random_below(&random, ID_MOST + 1 - least),
						offset, length});
		}
}

static void an_id_that_differs_in_one_bit_is_not_known(void **state)
{
	static const struct layout layout = {20, 9, 8};
	static const uint64_t ids[BACKENDS] = {0, ~0ULL, 0x8000000000000001ULL,
					       0x0123456789abcdefULL, 0xfedcba9876543210ULL};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, "shop", PPM / 2);
	struct datagram datagram;
	size_t i, bit;

	add_vips(service);
	set_ids(service, layout, ids);
	lab_publish(lab);
	for (i = 0; i < BACKENDS; i++) {
		datagram = of_connection(&random, layout, ids[i]);
		assert_names(lab, service, &datagram, i);
		for (bit = 0; bit < 64; bit++) {
			put_id(&datagram, layout, ids[i] ^ 1ULL << bit);
			assert_falls_back(lab, service, &datagram);
		}
	}
}

/* Nothing but the id says where: no other byte, no port, no tag, option or extension header. */
static void the_id_alone_decides(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct frame frame;
	int i;

	add_quic(lab, PPM / 2);
	lab_publish(lab);
	for (i = 0; i < 2000; i++) {
		size_t backend = random_below(&random, BACKENDS);
		struct datagram datagram = of_connection(&random, usual, usual_ids[backend]);
		struct packet_plan plan = plan_of(i & 1 ? 4 : 6, random_next(&random), 0);

		if (!random_below(&random, 4))
			datagram.size += 1000 + random_below(&random, 7000); /* several buffers */
		plan.payload = datagram.size;
		plan.source_port = random_next(&random);
		plan.tags = random_below(&random, 3);
		if (plan.source.family == 4)
			plan.options = 4 * random_below(&random, 11);
		plan.extensions = plan.source.family == 6 ? random_below(&random, 4) : 0;
		memset(plan.extension_types, IPPROTO_DSTOPTS, sizeof(plan.extension_types));
		put_payload(&plan, datagram.bytes, &frame);
		put_trailer(&random, random_below(&random, 30), &frame);
		assert_int_equal(steered(lab, &frame), place_of(backend));
	}
}

#define MANY 500

static void each_of_many_ids_is_found_and_no_other(void **state)
{
	static const struct layout layout = {12, 2, 3};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, "shop", 0);
	struct datagram datagram;
	uint32_t i;

	add_vips(service);
	set_ids(service, layout, usual_ids);
	for (i = 0; i < MANY; i++) { /* ids one after the other */
		char address[32];
		struct lab_backend *backend;

		snprintf(address, sizeof(address), "10.9.%u.%u", i / 250, 1 + i % 250);
		backend = lab_add_backend(service, 0, address, 100, LAB_INGRESS);
		backend->backend.has_server_id = true;
		backend->backend.server_id_length = layout.length;
		backend->backend.server_id = 0x010203 + i;
	}
	lab_publish(lab);
	for (i = 0; i < MANY; i++) {
		datagram = of_connection(&random, layout, 0x010203 + i);
		assert_int_equal(send_datagram(lab, i & 1 ? 4 : 6, i, &datagram), STABLES + i);
	}
	for (i = 0; i < MANY; i++) {
		datagram = of_connection(&random, layout, 0x010203 + MANY + i);
		assert_int_equal(send_datagram(lab, 4, i, &datagram), place_of_source(lab, 4, i));
	}
}

/* ---- headers ---- */

static void check_header(struct lab *lab, struct lab_service *service, struct random *random,
			 uint8_t first, uint32_t version, uint8_t id_length, size_t size)
{
	struct datagram datagram = long_header(random, first, version, id_length, size);
	enum kind kind = kind_of(first, version);
	size_t backend = random_below(random, BACKENDS);
	enum fate fate = NAMES;

	put_id(&datagram, usual, usual_ids[backend]);
	if (id_length >= 8 && (kind == KIND_0RTT || (kind == KIND_INITIAL && size >= INITIAL)))
		fate = STARTS;
	else if (id_length < usual.offset + usual.length)
		fate = FALLS_BACK;
	assert_fate(lab, service, random_below(random, 2) ? 4 : 6, &datagram, fate, backend);
}

/*
 * Whatever id it has: the client made it up. The fixed bit may be clear, RFC 9287. An Initial of
 * less than 1,200 bytes is none (RFC 9000 section 14.1), nor is one to an id of less than 8
 * (section 7.2): it follows one that began the connection.
 */
static void initial_and_0_rtt_of_versions_1_and_2_go_by_the_source(void **state)
{
	static const uint32_t versions[] = {VERSION_1,	VERSION_2,  0,		0x00000002,
					    0x01000000, 0x0a1a2a3a, 0xff00001d, 0x6b3343ce};
	static const uint8_t id_lengths[] = {0, 2, 3, 7, 8, 9, 18, 20, 100, 255};
	static const size_t sizes[] = {300, INITIAL - 1, INITIAL, INITIAL + 1, 1452};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	size_t version, id_length, size;
	unsigned int high;

	lab_publish(lab);
	for (version = 0; version < 8; version++)
		for (high = 8; high < 16; high++)
			for (id_length = 0; id_length < 10; id_length++)
				for (size = 0; size < 5; size++)
					check_header(lab, service, &random,
						     high << 4 | random_below(&random, 16),
						     versions[version], id_lengths[id_length],
						     sizes[size]);
}

static void a_short_header_names_a_backend_whatever_its_bits_say(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	unsigned int first;

	lab_publish(lab);
	for (first = 0; first < 0x80; first++) {
		size_t backend = random_below(&random, BACKENDS);
		struct datagram datagram = short_header(&random, first & 1 ? 100 : 1300);

		datagram.bytes[0] = first;
		store32(datagram.bytes + 1, VERSION_1); /* noise: here begins the id */
		put_id(&datagram, usual, usual_ids[backend]);
		assert_names(lab, service, &datagram, backend);
	}
}

/* As flows: with another key too, but never more than the Initials. */
static void an_initial_counts_as_a_flow_whatever_the_client_key(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, "shop", PPM / 2);
	struct datagram initial = long_header(&random, 0xc3, VERSION_1, 8, INITIAL),
			early = long_header(&random, 0xd3, VERSION_1, 8, INITIAL),
			handshake = long_header(&random, 0xe3, VERSION_1, 8, INITIAL);
	struct counts before;

	add_vips(service);
	lab_publish(lab);
	before = counts_of(lab, service);
	send_datagram(lab, 4, 1, &early);
	send_datagram(lab, 6, 1, &handshake);
	assert_counts(lab, service, before, 0, 0, 0);
	send_datagram(lab, 4, 1, &initial);
	send_datagram(lab, 6, 1, &initial);
	assert_counts(lab, service, before, 0, 0, 2);
	initial.size--;
	send_datagram(lab, 4, 1, &initial);
	assert_counts(lab, service, before, 0, 0, 2);
}

/* ---- what ids may not do ---- */

static void an_id_says_nothing_where_the_client_key_is_another(void **state)
{
	static const enum client_key keys[] = {CLIENT_KEY_SOURCE, CLIENT_KEY_FLOW};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	struct counts before;
	size_t i, backend;

	for (i = 0; i < 2; i++) {
		service->service.client_key = keys[i];
		lab_publish(lab);
		before = counts_of(lab, service);
		for (backend = 0; backend < BACKENDS; backend++) {
			struct datagram datagram = short_header(&random, 1300);

			put_id(&datagram, usual, usual_ids[backend]);
			assert_int_equal(send_datagram(lab, 4, 1, &datagram),
					 place_of_source(lab, 4, 1));
		}
		assert_counts(lab, service, before, 0, 0, 0);
	}
}

/* @in_era: in place, while an era is open; else by a view of its own. */
static void set_health(struct lab *lab, struct lab_service *service, size_t backend, uint8_t health,
		       bool in_era)
{
	backend_of(service, backend)->health = health;
	if (in_era)
		lab_publish_health(lab, service);
	else
		lab_publish(lab);
}

static void check_down(struct lab *lab, struct lab_service *service, struct random *random,
		       size_t backend, bool in_era)
{
	struct datagram datagram = of_connection(random, usual, usual_ids[backend]);
	unsigned int client;

	set_health(lab, service, backend, BACKEND_DOWN, in_era);
	for (client = 0; client < SEVERAL; client++) {
		int place = send_datagram(lab, 4, client, &datagram);

		assert_int_not_equal(place, place_of(backend));
		assert_int_equal(place, place_of_source(lab, 4, client));
	}
	set_health(lab, service, backend, BACKEND_DRAINING, in_era);
	assert_names(lab, service, &datagram, backend);
	set_health(lab, service, backend, 0, in_era);
	assert_names(lab, service, &datagram, backend);
}

static void an_id_of_a_backend_that_is_down_falls_to_the_decision(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	size_t backend;

	publish_calm(lab, service);
	for (backend = 0; backend < BACKENDS; backend++) {
		service->has_eras = false;
		check_down(lab, service, &random, backend, false);
		service->has_eras = true;
		check_down(lab, service, &random, backend, true);
	}
}

static void ids_are_a_services_own(void **state)
{
	static const uint64_t others[BACKENDS] = {0xffff, NO_ID, 0xa5c3, 0, 0x0001};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *other = add_service(lab, "other", PPM / 2), *service;
	struct datagram datagram;
	struct counts before;
	size_t i;

	set_ids(other, usual, others);
	lab_add_vip(other, "192.0.2.77:" PORT "/udp");
	service = add_quic(lab, PPM / 2);
	lab_publish(lab);
	before = counts_of(lab, other);
	for (i = 0; i < BACKENDS; i++) {
		datagram = of_connection(&random, usual, usual_ids[i]);
		assert_names(lab, service, &datagram, i);
	}
	datagram = of_connection(&random, usual, NO_ID); /* the other's */
	assert_falls_back(lab, service, &datagram);
	assert_counts(lab, other, before, 0, 0, 0);
}

/* That enters the canary between those shares. */
static unsigned int client_between(struct lab *lab, uint32_t low, uint32_t high)
{
	unsigned int client;

	for (client = 0; client < 256; client++) {
		struct packet_plan plan = plan_of(4, client, 200);
		uint32_t hash = lab_explain(lab, &plan).hash;

		if (hash >= oracle_threshold(low) && hash < oracle_threshold(high))
			return client;
	}
	fail_msg("no such client");
	return 0;
}

static void change_share(struct lab *lab, struct lab_service *service, uint32_t share, bool cut)
{
	lab_set_share(service, 1, share);
	service->plan.cuts[0] = cut ? 1 << 1 : 0;
	lab_publish(lab);
}

static void promise_7_an_id_of_a_canary_that_was_cut_is_not_followed(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	struct datagram stable = of_connection(&random, usual, usual_ids[1]),
			canary = of_connection(&random, usual, usual_ids[STABLES]);
	unsigned int kept, taken, outside;

	publish_calm(lab, service);
	kept = client_between(lab, 0, PPM / 5);
	taken = client_between(lab, PPM / 5, PPM / 2);
	outside = client_between(lab, PPM / 2, PPM);
	assert_int_equal(send_datagram(lab, 4, taken, &canary), 100);
	change_share(lab, service, PPM / 5, true);
	assert_int_equal(send_datagram(lab, 4, kept, &canary), 100);
	assert_in_range(send_datagram(lab, 4, taken, &canary), 0, STABLES - 1);
	assert_in_range(send_datagram(lab, 4, outside, &canary), 0, STABLES - 1);
	assert_int_equal(send_datagram(lab, 4, kept, &stable), 1);
	assert_int_equal(send_datagram(lab, 4, taken, &stable), 1);
}

/* A connection that began then has such an id too, and its client another address of the canary. */
static void an_id_of_a_canary_that_was_cut_is_followed_again_where_the_canary_decides(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	unsigned int inside, outside;
	size_t backend;

	publish_calm(lab, service);
	inside = client_between(lab, 0, PPM / 2);
	outside = client_between(lab, PPM / 2, PPM);
	change_share(lab, service, 0, true);
	change_share(lab, service, PPM / 2, false);
	for (backend = STABLES; backend < BACKENDS; backend++) {
		struct datagram datagram = of_connection(&random, usual, usual_ids[backend]);

		assert_int_equal(send_datagram(lab, 4, inside, &datagram), place_of(backend));
		assert_in_range(send_datagram(lab, 4, outside, &datagram), 0, STABLES - 1);
	}
}

static void promise_7_an_id_of_a_canary_is_not_followed_while_the_service_is_killed(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	struct datagram stable = of_connection(&random, usual, usual_ids[1]),
			canary = of_connection(&random, usual, usual_ids[STABLES]);
	unsigned int client;

	lab_publish(lab);
	assert_names(lab, service, &canary, STABLES);
	service_kill(lab->datapath, service->slot);
	for (client = 0; client < SEVERAL; client++) {
		assert_in_range(send_datagram(lab, 4, client, &canary), 0, STABLES - 1);
		assert_in_range(send_datagram(lab, 6, client, &canary), 0, STABLES - 1);
		assert_int_equal(send_datagram(lab, 4, client, &stable), 1);
	}
}

static void an_id_outlives_changes_of_shares(void **state)
{
	static const uint32_t shares[] = {0, PPM, PPM / 2, PPM / 3, 0};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	size_t i, backend;

	publish_calm(lab, service);
	for (i = 0; i < 5; i++) {
		change_share(lab, service, shares[i], false);
		for (backend = 0; backend < BACKENDS; backend++) {
			struct datagram datagram =
				of_connection(&random, usual, usual_ids[backend]);

			assert_names(lab, service, &datagram, backend);
		}
	}
}

static void an_id_of_a_removed_backend_is_followed_until_the_era_ends(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	struct datagram datagram = of_connection(&random, usual, usual_ids[STABLES - 1]);

	service->plan.drain_ms = 2000;
	publish_calm(lab, service);
	service->service.cohorts[0].backends_count--;
	lab_publish(lab);
	assert_names(lab, service, &datagram, STABLES - 1);
	usleep(2500 * 1000);
	lab_publish(lab);
	assert_falls_back(lab, service, &datagram);
}

/* ---- eras ---- */

/* As a SYN: it is recorded, and where it went the connection stays, also without a known id. */
static void a_connection_stays_where_its_initial_went(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, 0);
	struct datagram initial = long_header(&random, 0xc3, VERSION_1, 8, INITIAL),
			early = long_header(&random, 0xd3, VERSION_1, 8, 300),
			unknown = of_connection(&random, usual, NO_ID);
	unsigned int client;
	int family;

	publish_calm(lab, service);
	change_share(lab, service, PPM, false);
	for (client = 0; client < 2 * SEVERAL; client++)
		for (family = 4; family <= 6; family += 2)
			assert_in_range(send_datagram(lab, family, client,
						      client < SEVERAL ? &initial : &early),
					100, 101);
	change_share(lab, service, 0, false);
	for (client = 0; client < 3 * SEVERAL; client++)
		for (family = 4; family <= 6; family += 2) {
			int least = client < 2 * SEVERAL ? 100 : 0;

			assert_in_range(send_datagram(lab, family, client, &unknown), least,
					least + STABLES - 1);
			assert_in_range(send_datagram(lab, family, client, &early), least,
					least + STABLES - 1);
			assert_in_range(send_datagram(lab, family, client, &initial), least,
					least + STABLES - 1);
		}
}

/* The client's second Initial is to an id that the server has made, and may come after a change. */
static void promise_6_a_handshake_that_a_server_has_answered_stays_there(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, 0);
	struct datagram first = long_header(&random, 0xc3, VERSION_1, 8, INITIAL), second = first;
	unsigned int client;
	int family, place;

	publish_calm(lab, service);
	change_share(lab, service, PPM, false);
	for (client = 0; client < SEVERAL; client++)
		for (family = 4; family <= 6; family += 2) {
			place = place_of_source(lab, family, client); /* before the change */
			put_id(&second, usual, usual_ids[place]);
			assert_int_equal(send_datagram(lab, family, client, &second), place);
			put_id(&second, usual, usual_ids[(place + 1) % STABLES]);
			assert_in_range(send_datagram(lab, family, client, &second), 100, 101);
		}
	change_share(lab, service, 0, true);
	for (client = 0; client < SEVERAL; client++)
		assert_int_not_equal(send_datagram(lab, 4, client, &first) / 100, 1);
}

static void a_change_of_the_client_key_moves_no_flow(void **state)
{
	enum { FLOWS = 60 };
	static const struct {
		enum client_key key;
		uint16_t offset;
	} keys[] = {{CLIENT_KEY_PAYLOAD, 0},
		    {CLIENT_KEY_PAYLOAD, 9},
		    {CLIENT_KEY_FLOW, 0},
		    {CLIENT_KEY_QUIC, 0},
		    {CLIENT_KEY_SOURCE, 0}};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_payload(lab, 3, 7);
	struct datagram datagrams[FLOWS];
	size_t flow, i;
	int places[FLOWS];

	set_ids(service, usual, usual_ids);
	service->service.client_key = CLIENT_KEY_PAYLOAD;
	publish_calm(lab, service);
	for (flow = 0; flow < FLOWS; flow++) {
		datagrams[flow] = of_connection(&random, usual, NO_ID);
		places[flow] = send_datagram(lab, flow & 1 ? 4 : 6, flow, &datagrams[flow]);
	}
	for (i = 0; i < 5; i++) {
		service->service.client_key = keys[i].key;
		service->service.client_id.payload_offset = keys[i].offset;
		lab_publish(lab);
		for (flow = 0; flow < FLOWS; flow++)
			assert_int_equal(
				send_datagram(lab, flow & 1 ? 4 : 6, flow, &datagrams[flow]),
				places[flow]);
	}
}

/* ---- ends ---- */

/* The first @size bytes of @whole in an IP packet, and the rest as if they were link padding. */
static void put_part(const struct packet_plan *plan, const struct datagram *whole,
		     struct frame *frame)
{
	put_payload(plan, whole->bytes, frame);
	memcpy(frame->bytes + frame->size, whole->bytes + plan->payload,
	       whole->size - plan->payload);
	frame->size += whole->size - plan->payload;
}

/* An id counts when it is whole and so much follows that it can be QUIC: as a server id, 8 bytes.
 */
static void check_every_end(struct lab *lab, struct lab_service *service, struct datagram whole,
			    size_t id_length, size_t backend)
{
	size_t needed = id_begin(&whole) + id_length + 8, size;
	struct frame frame;
	int family;

	put_id(&whole, usual, usual_ids[backend]);
	for (size = 0; size <= whole.size; size++)
		for (family = 4; family <= 6; family += 2) {
			struct packet_plan plan = plan_of(family, 1, size);
			struct counts before = counts_of(lab, service);
			int place;

			put_part(&plan, &whole, &frame);
			place = steered(lab, &frame);
			assert_counts(lab, service, before, size < needed, size >= needed, 0);
			if (size >= needed)
				assert_int_equal(place, place_of(backend));
			else
				assert_int_equal(place, place_of_source(lab, family, 1));
			put_payload(&plan, whole.bytes, &frame);
			assert_int_equal(steered(lab, &frame), place);
		}
}

static void an_id_that_the_packet_does_not_hold_whole_falls_back(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_quic(lab, PPM / 2);
	uint8_t id_length;
	size_t backend;

	lab_publish(lab);
	for (backend = 0; backend < BACKENDS; backend++)
		check_every_end(lab, service, short_header(&random, 60), usual.cid_length, backend);
	for (id_length = usual.offset + usual.length; id_length <= ID_MOST; id_length++)
		check_every_end(lab, service, long_header(&random, 0xe0, VERSION_1, id_length, 60),
				id_length, random_below(&random, BACKENDS));
}

#define NOISES 20000

/* Ids of eight bytes: noise is none. Whatever lies behind the packet, it goes the same way. */
static void noise_falls_back_and_nothing_behind_the_packet_is_read(void **state)
{
	static const struct layout layout = {20, 12, 8};
	static const uint32_t versions[] = {VERSION_1, VERSION_2};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_service(lab, "shop", PPM / 2);
	uint64_t fallbacks = 0, flows = 0, ids[BACKENDS + 1];
	struct counts before;
	struct frame frame;
	int i, family;

	draw_ids(&random, 8, ids);
	add_vips(service);
	set_ids(service, layout, ids);
	lab_publish(lab);
	before = counts_of(lab, service);
	for (i = 0; i < NOISES; i++) {
		struct datagram noise = {.size = random_below(&random, i % 4 ? 60 : 1300)};
		struct packet_plan plan;
		enum kind kind;
		bool is_start;
		int place;

		fill(&random, noise.bytes, noise.size);
		if (i % 2 && noise.size >= 5)
			store32(noise.bytes + 1, versions[i / 2 % 2]);
		kind = kind_of(noise.bytes[0], load32(noise.bytes + 1));
		is_start = noise.size >= 6 && noise.bytes[0] & 0x80 && noise.bytes[5] >= 8 &&
			   (kind == KIND_0RTT || (kind == KIND_INITIAL && noise.size >= INITIAL));
		fallbacks += 2 * !is_start;
		flows += 2 * (is_start && kind == KIND_INITIAL);
		family = i % 3 ? 4 : 6;
		plan = plan_of(family, i % SEVERAL, noise.size);
		put_payload(&plan, noise.bytes, &frame);
		place = steered(lab, &frame);
		put_trailer(&random, random_below(&random, 40), &frame);
		assert_int_equal(steered(lab, &frame), place);
		if (i % SEVERAL == i / SEVERAL % SEVERAL) {
			assert_int_equal(place, place_of_source(lab, family, i % SEVERAL));
			fallbacks++;
		}
	}
	assert_counts(lab, service, before, fallbacks, 0, flows);
}

/* ---- other protocols, and explain ---- */

static void tcp_to_a_service_that_reads_datagrams_goes_by_the_source(void **state)
{
	static const enum client_key keys[] = {CLIENT_KEY_QUIC, CLIENT_KEY_PAYLOAD};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_payload(lab, 0, 16);
	struct packet_plan plan = packet_tcp("198.51.100.7", 5555, LAB_VIP4, 80);
	struct affinity_counter before, after;
	struct frame frame;
	size_t i, backend;

	before = lab_affinity_counter(lab, service);
	lab_add_vip(service, LAB_VIP4 ":80/tcp");
	set_ids(service, usual, usual_ids);
	for (i = 0; i < 2; i++) {
		service->service.client_key = keys[i];
		lab_publish(lab);
		for (backend = 0; backend < BACKENDS; backend++) {
			struct datagram datagram =
				of_connection(&random, usual, usual_ids[backend]);
			struct explanation told;

			plan.source.bytes[3] = random_next(&random);
			plan.payload = 200;
			put_payload(&plan, datagram.bytes, &frame);
			told = lab_explain(lab, &plan);
			assert_int_equal(told.path, PATH_CURRENT);
			assert_true(told.token == oracle_token(secret_bytes, &plan.source, 32, 64));
			assert_int_equal(steered(lab, &frame) / 100, told.cohort);
		}
	}
	after = lab_affinity_counter(lab, service);
	assert_memory_equal(&after, &before, sizeof(before));
}

/* What explain asks about: a flow, with no payload. */
static void explain_of_a_file_says_what_the_program_says(void **state)
{
	static const enum client_key keys[] = {CLIENT_KEY_QUIC, CLIENT_KEY_PAYLOAD};
	struct lab *lab = *state;
	struct lab_service *service = add_payload(lab, 0, 1);
	struct explanation by_file, by_program;
	struct lab_image image;
	struct frame frame;
	unsigned int client;
	size_t i;

	set_ids(service, usual, usual_ids);
	for (i = 0; i < 2; i++) {
		service->service.client_key = keys[i];
		lab_publish(lab);
		lab_compile(service, &image);
		for (client = 0; client < 100; client++) {
			struct packet_plan plan = plan_of(client & 1 ? 4 : 6, client, 0);
			struct flow flow = {plan.source, plan.destination, plan.source_port,
					    plan.destination_port, IPPROTO_UDP};

			packet_build(&plan, &frame);
			by_program = explained(lab, frame);
			decide(&image.image, lab_secret, &flow, &(struct client_facts){0},
			       &by_file);
			assert_true(by_file.token == by_program.token);
			assert_int_equal(by_file.backend, by_program.backend);
			assert_int_equal(by_file.cohort, by_program.cohort);
		}
		lab_image_release(&image);
	}
}

/* ---- client key payload ---- */

static int cohort_of_key(const uint8_t *key, size_t length)
{
	static const struct oracle_slot slot = {0, PPM, PPM / 2};

	return oracle_cohort(oracle_hash(oracle_siphash(secret_bytes, key, length), "shop/v1"),
			     &slot, 1);
}

static void check_keys(struct lab *lab, struct random *random, size_t offset, size_t length)
{
	struct frame frame;
	int i;

	for (i = 0; i < 8; i++) {
		struct datagram datagram = {.size = offset + length + random_below(random, 60)};
		struct packet_plan plan =
			plan_of(i & 1 ? 4 : 6, random_next(random), datagram.size);

		fill(random, datagram.bytes, datagram.size);
		if (!i) /* a key of zeros is one of its length */
			memset(datagram.bytes + offset, 0, length);
		plan.source_port = random_next(random);
		plan.tags = random_below(random, 3);
		if (plan.source.family == 4)
			plan.options = 4 * random_below(random, 11);
		put_payload(&plan, datagram.bytes, &frame);
		put_trailer(random, random_below(random, 20), &frame);
		assert_int_equal(steered(lab, &frame) / 100,
				 cohort_of_key(datagram.bytes + offset, length));
		assert_true(explained(lab, frame).token ==
			    oracle_siphash(secret_bytes, datagram.bytes + offset, length));
	}
}

static void the_token_is_made_of_just_the_bytes_of_the_key(void **state)
{
	static const uint16_t offsets[] = {0, 1, 7, 8, 333, 1399, 1400};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_payload(lab, 0, 1);
	struct affinity_counter before = lab_affinity_counter(lab, service), after;
	uint8_t length;
	size_t i;

	for (length = 1; length <= 16; length++)
		for (i = 0; i < 7; i++) {
			service->service.client_id.payload_offset = offsets[i];
			service->service.client_id.payload_length = length;
			lab_publish(lab);
			check_keys(lab, &random, offsets[i], length);
		}
	after = lab_affinity_counter(lab, service);
	assert_memory_equal(&after, &before, sizeof(before));
}

/* Also where the frame goes on, and holds what would be the key. */
static void check_payload_ends(struct lab *lab, struct lab_service *service, struct random *random,
			       size_t offset, size_t length)
{
	struct datagram whole = {.size = offset + length + 4};
	size_t size;
	int family;

	fill(random, whole.bytes, whole.size);
	for (size = 0; size <= whole.size; size += size + 40 < offset ? 31 : 1)
		for (family = 4; family <= 6; family += 2) {
			struct packet_plan plan = plan_of(family, 1, size);
			uint64_t before;
			struct frame frame;
			int source = place_of_source(lab, family, 1), place;

			before = lab_affinity_counter(lab, service).fallback_payload;
			put_part(&plan, &whole, &frame);
			place = steered(lab, &frame);
			if (size < offset + length)
				assert_int_equal(place, source);
			else
				assert_int_equal(place / 100,
						 cohort_of_key(whole.bytes + offset, length));
			assert_int_equal(lab_affinity_counter(lab, service).fallback_payload,
					 before + (size < offset + length));
			put_payload(&plan, whole.bytes, &frame);
			assert_int_equal(steered(lab, &frame), place);
		}
}

static void a_key_past_the_end_of_the_packet_falls_back_to_the_source_and_is_counted(void **state)
{
	static const uint16_t offsets[] = {0, 5, 1400};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_payload(lab, 0, 1);
	uint8_t length;
	size_t i;

	for (length = 1; length <= 16; length++)
		for (i = 0; i < 3; i++) {
			service->service.client_id.payload_offset = offsets[i];
			service->service.client_id.payload_length = length;
			lab_publish(lab);
			check_payload_ends(lab, service, &random, offsets[i], length);
		}
}

/* The share of keys, not of addresses, is in the canary. */
static void clients_of_one_key_share_a_cohort_and_those_of_one_address_do_not(void **state)
{
	enum { KEYS = 2000 };
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct datagram datagram = {.size = 40};
	unsigned int canaries = 0;
	int i, client;

	add_payload(lab, 12, 6);
	lab_publish(lab);
	for (i = 0; i < KEYS; i++) {
		int cohort;

		fill(&random, datagram.bytes, datagram.size);
		cohort = send_datagram(lab, 4, 1, &datagram) / 100;
		canaries += cohort;
		for (client = 2; client < 4; client++) {
			fill(&random, datagram.bytes, 12);
			fill(&random, datagram.bytes + 18, 22);
			assert_int_equal(send_datagram(lab, 4, client, &datagram) / 100, cohort);
			assert_int_equal(send_datagram(lab, 6, client, &datagram) / 100, cohort);
		}
	}
	assert_in_range(canaries, KEYS / 2 - 6 * 23, KEYS / 2 + 6 * 23); /* 6 sigmas */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(an_id_names_its_backend_at_every_offset_and_of_every_length),
		lab_test(an_id_that_differs_in_one_bit_is_not_known),
		lab_test(the_id_alone_decides),
		lab_test(each_of_many_ids_is_found_and_no_other),
		lab_test(initial_and_0_rtt_of_versions_1_and_2_go_by_the_source),
		lab_test(a_short_header_names_a_backend_whatever_its_bits_say),
		lab_test(an_initial_counts_as_a_flow_whatever_the_client_key),
		lab_test(an_id_says_nothing_where_the_client_key_is_another),
		lab_test(an_id_of_a_backend_that_is_down_falls_to_the_decision),
		lab_test(ids_are_a_services_own),
		lab_test(promise_7_an_id_of_a_canary_that_was_cut_is_not_followed),
		lab_test(promise_7_an_id_of_a_canary_is_not_followed_while_the_service_is_killed),
		lab_test(an_id_of_a_canary_that_was_cut_is_followed_again_where_the_canary_decides),
		lab_test(promise_6_a_handshake_that_a_server_has_answered_stays_there),
		lab_test(an_id_outlives_changes_of_shares),
		lab_test(an_id_of_a_removed_backend_is_followed_until_the_era_ends),
		lab_test(a_connection_stays_where_its_initial_went),
		lab_test(a_change_of_the_client_key_moves_no_flow),
		lab_test(an_id_that_the_packet_does_not_hold_whole_falls_back),
		lab_test(noise_falls_back_and_nothing_behind_the_packet_is_read),
		lab_test(tcp_to_a_service_that_reads_datagrams_goes_by_the_source),
		lab_test(explain_of_a_file_says_what_the_program_says),
		lab_test(the_token_is_made_of_just_the_bytes_of_the_key),
		lab_test(a_key_past_the_end_of_the_packet_falls_back_to_the_source_and_is_counted),
		lab_test(clients_of_one_key_share_a_cohort_and_those_of_one_address_do_not),
	};

	return cmocka_run_group_tests_name("prog/datagram", tests, lab_setup_group,
					   lab_teardown_group);
}
