// SPDX-License-Identifier: GPL-2.0-only
/* From a packet's destination to its service: every VIP is found, nothing near one is, at full
 * size. */
#include "lab.h"
#include "tests/random.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SERVICES   1000
#define VIPS	   8192
#define NO_SERVICE (-1)

static int setup_group(void **state)
{
	lab_require_bpf();
	*state = lab_open(lab_secret,
			  (struct limits){.services = SERVICES, .vips = VIPS, .backends = 32768});
	return 0;
}

static struct lab_service *add_numbered(struct lab *lab, unsigned int number)
{
	char name[32], address[32];
	struct lab_service *service;

	snprintf(name, sizeof(name), "service-%u", number);
	service = lab_add_service(lab, name, STEER_L2);
	snprintf(address, sizeof(address), "10.0.%u.%u", number / 256, number % 256);
	store16(lab_add_backend(service, 0, address, 100, LAB_INGRESS)->hop.mac + 4, number);
	return service;
}

static struct packet_plan packet_to(const struct vip *vip)
{
	struct packet_plan plan = vip->address.family == 4
					  ? packet_tcp("198.51.100.7", 40000, LAB_VIP4, 1)
					  : packet_tcp("2001:db8::7", 40000, LAB_VIP6, 1);

	plan.protocol = vip->protocol;
	plan.destination = vip->address;
	plan.destination_port = vip->port;
	return plan;
}

/* The service that the packet is sent to a backend of; NO_SERVICE: it is passed. */
static int service_of(const struct lab *lab, const struct vip *vip)
{
	struct packet_plan plan = packet_to(vip);
	struct run run;

	lab_run_plan(lab, &plan, &run);
	return run.verdict == XDP_PASS ? NO_SERVICE : lab_backend_of(&run);
}

static struct vip vip_of(const char *text)
{
	struct vip vip;

	assert_int_equal(vip_parse(text, &vip), 0);
	return vip;
}

static void assert_service(const struct lab *lab, const char *vip, int service)
{
	struct vip to = vip_of(vip);

	assert_int_equal(service_of(lab, &to), service);
}

/* ---- any port ---- */

static void a_vip_of_any_port_takes_every_port_of_its_protocol(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_numbered(lab, 0);
	int i, port;

	lab_add_vip(service, "192.0.2.10:*/tcp");
	lab_add_vip(service, "[2001:db8::10]:*/tcp");
	lab_publish(lab);
	for (i = 0; i < 600; i++) {
		struct vip vip = vip_of(i % 2 ? "192.0.2.10:*/tcp" : "[2001:db8::10]:*/tcp");

		port = i < 4 ? 1 + 65534 * (i / 2) : 1 + (int)random_below(&random, 65535);
		vip.port = port;
		assert_int_equal(service_of(lab, &vip), 0);
		vip.protocol = IPPROTO_UDP;
		assert_int_equal(service_of(lab, &vip), NO_SERVICE);
		vip = vip_of(i % 2 ? "192.0.2.11:*/tcp" : "[2001:db8::11]:*/tcp");
		vip.port = port;
		assert_int_equal(service_of(lab, &vip), NO_SERVICE);
	}
}

static void an_exact_port_beats_any_port_also_across_services(void **state)
{
	struct lab *lab = *state;
	struct lab_service *any = add_numbered(lab, 0), *exact = add_numbered(lab, 1),
			   *both = add_numbered(lab, 2);

	lab_add_vip(any, "192.0.2.10:*/tcp");
	lab_add_vip(any, "[2001:db8::10]:*/tcp");
	lab_add_vip(exact, "192.0.2.10:80/tcp");
	lab_add_vip(exact, "[2001:db8::10]:80/tcp");
	lab_add_vip(exact, "192.0.2.10:53/udp");
	lab_add_vip(both, "192.0.2.12:*/udp");
	lab_add_vip(both, "192.0.2.12:53/udp");
	lab_publish(lab);
	assert_service(lab, "192.0.2.10:80/tcp", 1);
	assert_service(lab, "192.0.2.10:81/tcp", 0);
	assert_service(lab, "192.0.2.10:53/tcp", 0);
	assert_service(lab, "192.0.2.10:53/udp", 1);
	assert_service(lab, "192.0.2.10:80/udp", NO_SERVICE);
	assert_service(lab, "[2001:db8::10]:80/tcp", 1);
	assert_service(lab, "[2001:db8::10]:81/tcp", 0);
	assert_service(lab, "[2001:db8::10]:80/udp", NO_SERVICE);
	assert_service(lab, "192.0.2.12:53/udp", 2);
	assert_service(lab, "192.0.2.12:54/udp", 2);
	/* And the day the last any-port VIP goes, a miss is a miss. */
	any->service.vips_count = 0;
	both->service.vips_count = 0;
	lab_publish(lab);
	assert_service(lab, "192.0.2.10:80/tcp", 1);
	assert_service(lab, "192.0.2.10:81/tcp", NO_SERVICE);
	assert_service(lab, "192.0.2.12:53/udp", NO_SERVICE);
}

/* ---- the whole table ---- */

static void publish_vips(struct lab *lab, const struct vip_entry *entries, size_t count)
{
	struct publication *publication;

	assert_int_equal(publication_begin(lab->datapath, &publication, lab->errors), 0);
	assert_int_equal(publication_stage_vips(publication, entries, count, lab->errors), 0);
	assert_int_equal(publication_show(publication, lab->errors), 0);
	publication_end(publication);
}

static int compare_entries(const void *left, const void *right)
{
	const struct vip *a = &((const struct vip_entry *)left)->vip,
			 *b = &((const struct vip_entry *)right)->vip;
	int order = address_compare(&a->address, &b->address);

	if (!order)
		order = (a->port > b->port) - (a->port < b->port);
	return order ? order : (a->protocol > b->protocol) - (a->protocol < b->protocol);
}

/* What the sorted list says: the VIP itself, else that of any port. */
static int listed(const struct vip_entry *entries, size_t count, struct vip vip)
{
	struct vip_entry key = {.vip = vip};
	const struct vip_entry *found = bsearch(&key, entries, count, sizeof(key), compare_entries);

	key.vip.port = 0;
	if (!found)
		found = bsearch(&key, entries, count, sizeof(key), compare_entries);
	return found ? (int)found->service : NO_SERVICE;
}

/* In runs of neighbours, so that what is next to a VIP may be one too. */
static size_t many_vips(struct random *random, struct vip_entry *entries, size_t services)
{
	size_t count = 0, unique = 0, i;

	while (count < VIPS) {
		struct vip vip = {random_address(random, random_below(random, 2) ? 4 : 6), 0, 0};
		int last = vip.address.family == 4 ? 3 : 15;
		uint32_t run = 1 + random_below(random, 6);

		vip.address.bytes[last] &= 0x7f;
		vip.port = random_below(random, 50) ? 1 + random_below(random, 65535) : 0;
		vip.protocol = random_below(random, 2) ? IPPROTO_TCP : IPPROTO_UDP;
		for (; run-- && count < VIPS; vip.address.bytes[last] += 1 + (run & 1)) {
			entries[count++] = (struct vip_entry){vip, random_below(random, services)};
			vip.port += vip.port && vip.port < 65535 && random_below(random, 2);
		}
	}
	qsort(entries, count, sizeof(*entries), compare_entries);
	for (i = 0; i < count; i++)
		if (!unique || compare_entries(&entries[unique - 1], &entries[i]))
			entries[unique++] = entries[i];
	return unique;
}

static void assert_listed(const struct lab *lab, const struct vip_entry *entries, size_t count,
			  struct vip vip)
{
	assert_int_equal(service_of(lab, &vip), listed(entries, count, vip));
}

static void check_around(const struct lab *lab, const struct vip_entry *entries, size_t count,
			 struct vip vip)
{
	int last = vip.address.family == 4 ? 3 : 15, step;

	vip.port = vip.port ? vip.port : 7;
	assert_listed(lab, entries, count, vip);
	vip.protocol ^= IPPROTO_TCP ^ IPPROTO_UDP;
	assert_listed(lab, entries, count, vip);
	vip.protocol ^= IPPROTO_TCP ^ IPPROTO_UDP;
	for (step = -1; step <= 1; step += 2) {
		struct vip near = vip;

		near.port += step;
		if (near.port)
			assert_listed(lab, entries, count, near);
		near = vip;
		near.address.bytes[last] += step;
		assert_listed(lab, entries, count, near);
		near = vip;
		near.address.bytes[0] += step;
		assert_listed(lab, entries, count, near);
	}
}

static void all_of_8192_vips_are_found_and_nothing_beside_them(void **state)
{
	struct random random = random_seeded(__func__);
	static struct vip_entry entries[VIPS];
	struct lab *lab = *state;
	size_t count = many_vips(&random, entries, 64), i;
	int round;

	for (i = 0; i < 64; i++)
		add_numbered(lab, i);
	lab_publish(lab);
	for (round = 0; round < 2; round++) { /* into both copies of the table */
		publish_vips(lab, entries, count);
		for (i = 0; i < count; i++)
			assert_int_equal(service_of(lab, &entries[i].vip), entries[i].service);
		for (i = round; i < count; i += 2)
			check_around(lab, entries, count, entries[i].vip);
		for (i = 0; i < count; i++)
			entries[i].service = 63 - entries[i].service;
	}
	entries[0].service ^= 1;
	assert_int_not_equal(service_of(lab, &entries[0].vip), entries[0].service);
}

/* ---- overflow ---- */

static uint32_t bucket_of(const struct lab *lab, const struct vip *vip)
{
	static const enum vip_kind kinds[2][2] = {{VIP_TCP4, VIP_UDP4}, {VIP_TCP6, VIP_UDP6}};
	bool is_ipv6 = vip->address.family == 6;
	uint64_t high, low;

	address_words(&vip->address, &high, &low);
	return vip_bucket_of(vip_hash(high, is_ipv6 ? low : (uint32_t)low, vip->port,
				      kinds[is_ipv6][vip->protocol == IPPROTO_UDP], 0),
			     lab->datapath->maps[MAP_VIP_BUCKETS].entries / 2);
}

/* A VIP, of any family and protocol, that the table's first seed puts into @bucket. */
static struct vip colliding(const struct lab *lab, struct random *random, uint32_t bucket)
{
	for (;;) {
		struct vip vip = {random_address(random, random_below(random, 2) ? 4 : 6),
				  1 + random_below(random, 65535),
				  random_below(random, 2) ? IPPROTO_TCP : IPPROTO_UDP};

		if (bucket_of(lab, &vip) == bucket)
			return vip;
	}
}

/* @home VIPs of @bucket, @next of the one behind it; then others of @bucket that no one has. */
static void check_overflow(struct lab *lab, struct random *random, uint32_t bucket, size_t home,
			   size_t next)
{
	uint32_t buckets = lab->datapath->maps[MAP_VIP_BUCKETS].entries / 2;
	struct vip_entry entries[32] = {0};
	size_t i;

	for (i = 0; i < home + next; i++)
		entries[i] = (struct vip_entry){
			colliding(lab, random, i < home ? bucket : (bucket + 1) & (buckets - 1)),
			i % 4,
		};
	publish_vips(lab, entries, home + next);
	assert_int_equal(datapath_box(lab->datapath)->vips >> VIPS_SEED_SHIFT == 0, home <= 16);
	for (i = 0; i < home + next; i++)
		assert_int_equal(service_of(lab, &entries[i].vip), i % 4);
	for (i = 0; i < 20; i++) {
		struct vip other = colliding(lab, random, bucket);

		assert_int_equal(service_of(lab, &other), NO_SERVICE);
	}
}

static void vips_that_do_not_fit_their_bucket_are_found_in_the_next(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	uint32_t last = lab->datapath->maps[MAP_VIP_BUCKETS].entries / 2 - 1;
	size_t i;

	for (i = 0; i < 4; i++)
		add_numbered(lab, i);
	lab_publish(lab);
	for (i = 0; i < 6; i++) {
		uint32_t bucket = i % 2 ? last : random_below(&random, last);

		check_overflow(lab, &random, bucket, 8, 0);
		check_overflow(lab, &random, bucket, 9, 0);
		check_overflow(lab, &random, bucket, 9, 7);
		check_overflow(lab, &random, bucket, 16, 0);
		check_overflow(lab, &random, bucket, 17, 0); /* another seed spreads them */
		check_overflow(lab, &random, bucket, 20, 12);
	}
}

/* Of an odd number, modulo 2^64: each of Newton's steps doubles the bits that are right. */
static uint64_t inverse(uint64_t odd)
{
	uint64_t result = odd;
	int i;

	for (i = 0; i < 6; i++)
		result *= 2 - odd * result;
	return result;
}

/* Another port of @vip, and the high half of an address that has the same hash with it, whatever
 * the seed. */
static struct vip forge(const struct vip *vip, uint16_t port)
{
	const uint64_t of_high = 0xd6e8feb86659fd93ULL,
		       of_port = 0xa0761d6478bd642fULL; /* vip_hash() */
	struct vip other = *vip;
	uint64_t high, low;

	address_words(&vip->address, &high, &low);
	high = htobe64(high + ((uint64_t)vip->port - port) * of_port * inverse(of_high));
	memcpy(other.address.bytes, &high, sizeof(high));
	other.port = port;
	return other;
}

/* The bucket hash of an IPv6 VIP has no key: other destinations with the same bucket and tag are
 * easily made. */
static void a_tag_is_not_an_address(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = add_numbered(lab, 0);
	const struct vip *vip;
	int i;

	lab_add_vip(service, "[2001:db8::10]:80/tcp");
	lab_publish(lab);
	assert_service(lab, "[2001:db8::10]:80/tcp", 0);
	vip = &service->service.vips[0];
	for (i = 0; i < 200; i++) {
		struct vip other = forge(vip, 81 + random_below(&random, 65000));

		assert_int_equal(bucket_of(lab, &other), bucket_of(lab, vip));
		assert_int_equal(service_of(lab, &other), NO_SERVICE);
	}
}

/* ---- swapping tables while packets run ---- */

#define COMMON 24
#define SETS   3
#define SWAPS  150

struct traffic {
	const struct lab *lab;
	struct vip_entry vips[COMMON];
	bool stop;
	uint64_t packets, lost;
};

static void *run_traffic(void *argument)
{
	struct traffic *traffic = argument;
	size_t i = 0;

	while (!__atomic_load_n(&traffic->stop, __ATOMIC_RELAXED)) {
		const struct vip_entry *entry = &traffic->vips[i++ % COMMON];

		traffic->lost += service_of(traffic->lab, &entry->vip) != (int)entry->service;
		traffic->packets++;
	}
	return NULL;
}

/* All sets have the common VIPs, at other places each: in front, in the middle or behind of others
 * in their buckets. */
static size_t build_set(const struct lab *lab, struct random *random, const struct traffic *traffic,
			int set, struct vip_entry *out)
{
	size_t count = 0, i, j;

	for (i = 0; i < COMMON; i++) {
		uint32_t bucket = bucket_of(lab, &traffic->vips[i].vip);

		for (j = 0; j < 6; j++) {
			if (j == 3 * (size_t)set)
				out[count++] = traffic->vips[i];
			out[count++] = (struct vip_entry){colliding(lab, random, bucket), j % 4};
		}
		if (set == 2)
			out[count++] = traffic->vips[i];
	}
	return count;
}

static void a_swap_of_the_table_loses_and_misroutes_no_packet(void **state)
{
	struct random random = random_seeded(__func__);
	static struct vip_entry sets[SETS][8 * COMMON];
	struct lab *lab = *state;
	struct traffic traffic[2] = {{.lab = lab}};
	pthread_t threads[2];
	size_t counts[SETS], i;

	for (i = 0; i < 4; i++)
		add_numbered(lab, i);
	lab_publish(lab);
	for (i = 0; i < COMMON; i++)
		traffic[0].vips[i] =
			(struct vip_entry){{random_address(&random, i % 2 ? 4 : 6), i + 1,
					    i % 4 / 2 ? IPPROTO_TCP : IPPROTO_UDP},
					   i % 4};
	for (i = 0; i < SETS; i++)
		counts[i] = build_set(lab, &random, &traffic[0], i, sets[i]);
	publish_vips(lab, sets[0], counts[0]);
	traffic[1] = traffic[0];
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_traffic, &traffic[i]), 0);
	for (i = 0; i < SWAPS; i++)
		publish_vips(lab, sets[i % SETS], counts[i % SETS]);
	for (i = 0; i < 2; i++) {
		__atomic_store_n(&traffic[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(threads[i], NULL);
	}
	for (i = 0; i < 2; i++) {
		assert_true(traffic[i].packets > 0);
		assert_int_equal(traffic[i].lost, 0);
	}
}

/* The copy that packets read is not written to while a table is made ready. */
static void a_table_that_is_not_shown_is_not_seen(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = add_numbered(lab, 0);
	struct publication *publication;
	struct vip_entry other = {vip_of("192.0.2.11:80/tcp"), 0};

	lab_add_vip(service, "192.0.2.10:80/tcp");
	lab_publish(lab);
	assert_int_equal(publication_begin(lab->datapath, &publication, lab->errors), 0);
	assert_int_equal(publication_stage_vips(publication, &other, 1, lab->errors), 0);
	assert_service(lab, "192.0.2.10:80/tcp", 0);
	assert_service(lab, "192.0.2.11:80/tcp", NO_SERVICE);
	publication_end(publication);
	assert_service(lab, "192.0.2.10:80/tcp", 0);
	publish_vips(lab, &other, 1);
	assert_service(lab, "192.0.2.10:80/tcp", NO_SERVICE);
	assert_service(lab, "192.0.2.11:80/tcp", 0);
}

/* ---- services ---- */

static void a_thousand_services_are_told_apart(void **state)
{
	struct lab *lab = *state;
	char vip[64];
	int i, left;

	for (i = 0; i < SERVICES; i++) {
		struct lab_service *service = add_numbered(lab, i);

		snprintf(vip, sizeof(vip), "192.0.%d.%d:80/tcp", i / 250, i % 250);
		lab_add_vip(service, vip);
		snprintf(vip, sizeof(vip), "[2001:db8::%x]:%d/udp", i, i + 1);
		lab_add_vip(service, vip);
	}
	for (left = SERVICES; left; left = left == SERVICES ? SERVICES / 2 : 0) {
		lab->services_count = left; /* the others are removed */
		lab_publish(lab);
		for (i = 0; i < SERVICES; i++) {
			snprintf(vip, sizeof(vip), "192.0.%d.%d:80/tcp", i / 250, i % 250);
			assert_service(lab, vip, i < left ? i : NO_SERVICE);
			snprintf(vip, sizeof(vip), "[2001:db8::%x]:%d/udp", i, i + 1);
			assert_service(lab, vip, i < left ? i : NO_SERVICE);
			snprintf(vip, sizeof(vip), "service-%d", i);
			assert_int_equal(service_slot_by_name(lab->datapath, vip),
					 i < left ? i : -ENOENT);
		}
	}
	lab->services_count = SERVICES; /* to be freed */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(a_vip_of_any_port_takes_every_port_of_its_protocol),
		lab_test(an_exact_port_beats_any_port_also_across_services),
		lab_test(all_of_8192_vips_are_found_and_nothing_beside_them),
		lab_test(vips_that_do_not_fit_their_bucket_are_found_in_the_next),
		lab_test(a_tag_is_not_an_address),
		lab_test(a_swap_of_the_table_loses_and_misroutes_no_packet),
		lab_test(a_table_that_is_not_shown_is_not_seen),
		lab_test(a_thousand_services_are_told_apart),
	};

	return cmocka_run_group_tests_name("prog/services", tests, setup_group, lab_teardown_group);
}
