// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which service a packet is for: every VIP is found, nothing near it is, and an exact port beats
 * any.
 */
#include "lab.h"
#include "oracle.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MANY	   8192
#define NO_SERVICE (-1)

/* The slot of the service that the packet is for, or NO_SERVICE; the explaining program tells. */
static int service_of(struct lab *lab, const struct packet_plan *plan)
{
	struct explanation explanation = lab_explain(lab, plan);

	if (explanation.has_service)
		return explanation.service;
	assert_int_equal(explanation.reason, REASON_NOT_VIP);
	return NO_SERVICE;
}

static struct packet_plan packet_to(const char *address, uint16_t port, uint8_t protocol)
{
	const char *client = strchr(address, ':') ? "2001:db8:1::1" : "198.51.100.7";

	return protocol == IPPROTO_TCP ? packet_tcp(client, 40000, address, port)
				       : packet_udp(client, 40000, address, port);
}

static int service_at(struct lab *lab, const char *address, uint16_t port, uint8_t protocol)
{
	struct packet_plan plan = packet_to(address, port, protocol);

	return service_of(lab, &plan);
}

/* @count services of one backend, without VIPs. */
static void add_services(struct lab *lab, size_t count)
{
	char name[32];

	while (lab->services_count < count) {
		snprintf(name, sizeof(name), "service-%zu", lab->services_count);
		lab_add_backend(lab_add_service(lab, name, STEER_L2), 0, "10.0.0.1", 100,
				LAB_INGRESS);
	}
}

static void an_exact_port_beats_any_also_across_services(void **state)
{
	static const char *const addresses[] = {"192.0.2.10", "2001:db8::10"};
	struct lab *lab = *state;
	size_t i;

	add_services(lab, 5);
	lab_add_vip(lab->services[1], "192.0.2.10:*/tcp");
	lab_add_vip(lab->services[1], "[2001:db8::10]:*/tcp");
	lab_add_vip(lab->services[2], "192.0.2.10:443/tcp");
	lab_add_vip(lab->services[2], "[2001:db8::10]:443/tcp");
	lab_add_vip(lab->services[3], "192.0.2.10:443/udp");
	lab_add_vip(lab->services[3], "[2001:db8::10]:443/udp");
	lab_add_vip(lab->services[4], "192.0.2.10:*/udp");
	lab_add_vip(lab->services[4], "[2001:db8::10]:*/udp");
	lab_publish(lab);
	for (i = 0; i < 2; i++) {
		assert_int_equal(service_at(lab, addresses[i], 443, IPPROTO_TCP), 2);
		assert_int_equal(service_at(lab, addresses[i], 444, IPPROTO_TCP), 1);
		assert_int_equal(service_at(lab, addresses[i], 1, IPPROTO_TCP), 1);
		assert_int_equal(service_at(lab, addresses[i], 65535, IPPROTO_TCP), 1);
		assert_int_equal(service_at(lab, addresses[i], 443, IPPROTO_UDP), 3);
		assert_int_equal(service_at(lab, addresses[i], 53, IPPROTO_UDP), 4);
	}
	assert_int_equal(service_at(lab, "192.0.2.11", 443, IPPROTO_TCP), NO_SERVICE);
	assert_int_equal(service_at(lab, "2001:db8::11", 443, IPPROTO_UDP), NO_SERVICE);
}

static void without_any_port_vips_other_ports_are_not_served(void **state)
{
	struct lab *lab = *state;

	add_services(lab, 1);
	lab_add_vip(lab->services[0], "192.0.2.10:443/tcp");
	lab_publish(lab);
	assert_int_equal(service_at(lab, "192.0.2.10", 443, IPPROTO_TCP), 0);
	assert_int_equal(service_at(lab, "192.0.2.10", 0, IPPROTO_TCP), NO_SERVICE);
	assert_int_equal(service_at(lab, "192.0.2.10", 442, IPPROTO_TCP), NO_SERVICE);
}

static void an_ipv4_vip_is_no_mapped_ipv6_one(void **state)
{
	struct lab *lab = *state;
	struct packet_plan plan = packet_to("2001:db8::1", 443, IPPROTO_TCP);

	add_services(lab, 1);
	lab_add_vip(lab->services[0], "192.0.2.10:443/tcp");
	lab_publish(lab);
	memcpy(plan.destination.bytes, (uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, 10}, 16);
	assert_int_equal(service_of(lab, &plan), NO_SERVICE);
	memset(plan.destination.bytes + 10, 0, 2);
	assert_int_equal(service_of(lab, &plan), NO_SERVICE);
}

/* VIP @number: all differ, families take turns. */
static void vip_number(unsigned int number, struct vip *vip)
{
	*vip = (struct vip){
		.port = number % 7 ? 1 + number % 60000 : 443,
		.protocol = number & 2 ? IPPROTO_TCP : IPPROTO_UDP,
		.address = address_of(number & 1 ? "2001:db8:77::" : "203.0.0.0"),
	};
	if (number & 1)
		store16(vip->address.bytes + 14, number / 4);
	else
		store16(vip->address.bytes + 2, number / 4);
}

static struct packet_plan packet_to_vip(const struct vip *vip)
{
	struct packet_plan plan = packet_to(vip->address.family == 4 ? "192.0.2.1" : "2001:db8::1",
					    vip->port, vip->protocol);

	plan.destination = vip->address;
	return plan;
}

static int compare_vips(const void *left, const void *right)
{
	return memcmp(left, right, sizeof(struct vip));
}

static void eight_thousand_vips_are_all_found_and_nothing_near_them_is(void **state)
{
	struct lab *lab = lab_open(
		lab_secret, (struct limits){.services = 1024, .vips = MANY, .backends = 4096});
	struct oracle_random random = oracle_seed(__func__);
	static struct vip vips[MANY], sorted[MANY];
	unsigned int i, near = 0;

	(void)state;
	add_services(lab, 1024);
	for (i = 0; i < MANY; i++) {
		struct service *service = &lab->services[i % 1024]->service;

		vip_number(i, &vips[i]);
		service->vips =
			realloc(service->vips, (service->vips_count + 1) * sizeof(*service->vips));
		service->vips[service->vips_count++] = vips[i];
	}
	memcpy(sorted, vips, sizeof(vips));
	qsort(sorted, MANY, sizeof(*sorted), compare_vips);
	lab_publish(lab);
	for (i = 0; i < MANY; i++) {
		struct packet_plan plan = packet_to_vip(&vips[i]);
		size_t size = vips[i].address.family == 4 ? 4 : 16;
		struct vip other = vips[i];

		assert_int_equal(service_of(lab, &plan), i % 1024);
		switch (oracle_next(&random) % 3) {
		case 0:
			other.port ^= 1 << oracle_next(&random) % 16;
			break;
		case 1:
			other.protocol = other.protocol == IPPROTO_TCP ? IPPROTO_UDP : IPPROTO_TCP;
			break;
		default:
			other.address.bytes[oracle_next(&random) % size] ^=
				1 << oracle_next(&random) % 8;
		}
		if (bsearch(&other, sorted, MANY, sizeof(*sorted), compare_vips))
			continue;
		near++;
		plan = packet_to_vip(&other);
		assert_int_equal(service_of(lab, &plan), NO_SERVICE);
	}
	assert_true(near > MANY * 3 / 4);
	lab_close(lab);
}

/* More VIPs than a bucket has cells whose bucket, with the first seed, is the same. */
static void an_overflowing_bucket_goes_on_in_the_next(void **state)
{
	struct lab *lab = *state;
	uint32_t buckets = lab->datapath->maps[MAP_VIP_BUCKETS].entries / 2, number, wanted = 0;
	struct vip chosen[VIP_BUCKET_CELLS + 4];
	const struct vip_bucket *table;
	size_t count = 0, i, overflowing = 0;
	char text[ADDRESS_TEXT_SIZE];

	add_services(lab, 2);
	for (number = 0; count < sizeof(chosen) / sizeof(chosen[0]); number++) {
		uint64_t high = 0, low;
		struct vip vip;

		vip_number(number & ~2u, &vip); /* UDP */
		address_words(&vip.address, &high, &low);
		if (vip.address.family == 4)
			high = 0, low &= UINT32_MAX;
		if (number & 2 ||
		    vip_bucket_of(vip_hash(high, low, vip.port,
					   vip.address.family == 4 ? VIP_UDP4 : VIP_UDP6, 0),
				  buckets) != wanted)
			continue;
		chosen[count++] = vip;
		lab_add_vip(lab->services[count % 2], vip_format(&vip, text));
	}
	lab_publish(lab);
	for (i = 0; i < count; i++) {
		struct packet_plan plan = packet_to_vip(&chosen[i]);

		assert_int_equal(service_of(lab, &plan), (i + 1) % 2);
		plan.destination_port ^= 1;
		assert_int_equal(service_of(lab, &plan), NO_SERVICE);
	}
	table = map_array(lab->datapath, MAP_VIP_BUCKETS, struct vip_bucket);
	if (datapath_box(lab->datapath)->vips & VIPS_SECOND_COPY)
		table += buckets;
	for (i = 0; i < buckets; i++)
		overflowing += !!(table[i].cells[0] & VIP_CELL_OVERFLOW);
	assert_int_equal(overflowing, 1);
}

static void the_last_bucket_overflows_into_the_first(void **state)
{
	struct lab *lab = *state;
	uint32_t buckets = lab->datapath->maps[MAP_VIP_BUCKETS].entries / 2, number;
	struct vip chosen[VIP_BUCKET_CELLS + 1];
	char text[ADDRESS_TEXT_SIZE];
	size_t count = 0, i;

	add_services(lab, 1);
	for (number = 0; count < sizeof(chosen) / sizeof(chosen[0]); number += 4) { /* IPv4, UDP */
		uint64_t high, low;
		struct vip vip;

		vip_number(number, &vip);
		address_words(&vip.address, &high, &low);
		if (vip_bucket_of(vip_hash(0, low & UINT32_MAX, vip.port, VIP_UDP4, 0), buckets) !=
		    buckets - 1)
			continue;
		chosen[count++] = vip;
		lab_add_vip(lab->services[0], vip_format(&vip, text));
	}
	lab_publish(lab);
	for (i = 0; i < count; i++) {
		struct packet_plan plan = packet_to_vip(&chosen[i]);

		assert_int_equal(service_of(lab, &plan), 0);
	}
}

/* Newton: each round doubles the low bits that are right. */
static uint64_t inverse(uint64_t odd)
{
	uint64_t x = odd;
	int i;

	for (i = 0; i < 6; i++)
		x *= 2 - odd * x;
	return x;
}

/* The low half with which an address of @high has the hash of another. */
static uint64_t low_of_hash(uint64_t hash, uint64_t high, uint16_t port, uint8_t seed)
{
	uint64_t multiplier = vip_hash(0, 1, 0, VIP_EMPTY, seed);

	return (hash ^ vip_hash(high, 0, port, VIP_TCP6, seed)) * inverse(multiplier);
}

/*
 * The tag that a cell has of an IPv6 VIP is not all of it: strangers made to have the same are told
 * apart.
 */
static void a_stranger_with_the_hash_of_a_vip_is_none(void **state)
{
	static const struct {
		uint64_t high;
		uint16_t port;
	} strangers[] = {{1, 443}, {0, 444}, {0, 0}, {1ULL << 63, 443}, {0x0100, 442}};
	struct lab *lab = *state;
	struct packet_plan plan = packet_to("2001:db8:77::5", 443, IPPROTO_TCP);
	uint64_t high, low, hash;
	uint8_t seed;
	size_t i;

	add_services(lab, 1);
	lab_add_vip(lab->services[0], "[2001:db8:77::5]:443/tcp");
	lab_publish(lab);
	seed = datapath_box(lab->datapath)->vips >> VIPS_SEED_SHIFT;
	address_words(&plan.destination, &high, &low);
	hash = vip_hash(high, low, 443, VIP_TCP6, seed);
	assert_int_equal(service_of(lab, &plan), 0);
	for (i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		uint64_t other_high = high ^ strangers[i].high;
		uint64_t other_low = low_of_hash(hash, other_high, strangers[i].port, seed);

		assert_true(vip_hash(other_high, other_low, strangers[i].port, VIP_TCP6, seed) ==
			    hash);
		store32(plan.destination.bytes, other_high >> 32);
		store32(plan.destination.bytes + 4, other_high);
		store32(plan.destination.bytes + 8, other_low >> 32);
		store32(plan.destination.bytes + 12, other_low);
		plan.destination_port = strangers[i].port;
		assert_int_equal(service_of(lab, &plan), NO_SERVICE);
	}
}

static void a_vip_that_is_taken_away_is_no_longer_served(void **state)
{
	struct lab *lab = *state;

	add_services(lab, 2);
	lab_add_vip(lab->services[0], "192.0.2.10:80/tcp");
	lab_add_vip(lab->services[1], "192.0.2.11:80/tcp");
	lab_add_vip(lab->services[1], "[2001:db8::10]:80/tcp");
	lab_publish(lab);
	assert_int_equal(service_at(lab, "192.0.2.11", 80, IPPROTO_TCP), 1);
	lab->services[1]->service.vips_count = 1; /* the service lives on */
	lab_publish(lab);
	assert_int_equal(service_at(lab, "2001:db8::10", 80, IPPROTO_TCP), NO_SERVICE);
	assert_int_equal(service_at(lab, "192.0.2.11", 80, IPPROTO_TCP), 1);
	lab_reset(lab);
	add_services(lab, 1);
	lab_add_vip(lab->services[0], "192.0.2.10:80/tcp");
	lab_publish(lab);
	assert_int_equal(service_at(lab, "192.0.2.11", 80, IPPROTO_TCP), NO_SERVICE);
	assert_null(datapath_view(lab->datapath, 1));
	lab_reset(lab);
	lab_publish(lab);
	assert_int_equal(service_at(lab, "192.0.2.10", 80, IPPROTO_TCP), NO_SERVICE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(an_exact_port_beats_any_also_across_services),
		lab_test(without_any_port_vips_other_ports_are_not_served),
		lab_test(an_ipv4_vip_is_no_mapped_ipv6_one),
		lab_test(eight_thousand_vips_are_all_found_and_nothing_near_them_is),
		lab_test(an_overflowing_bucket_goes_on_in_the_next),
		lab_test(the_last_bucket_overflows_into_the_first),
		lab_test(a_stranger_with_the_hash_of_a_vip_is_none),
		lab_test(a_vip_that_is_taken_away_is_no_longer_served),
	};

	return cmocka_run_group_tests_name("prog/vip", tests, lab_setup_group, lab_teardown_group);
}
