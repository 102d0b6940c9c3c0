// SPDX-License-Identifier: GPL-2.0-only
/* The VIP table, read as headers/abi.h says it is to be read, against a search of the list. */
#include "policy/vip_table.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define VIPS	  8192
#define NOT_FOUND UINT32_MAX

struct table {
	struct vip_bucket *buckets;
	struct vip6 vips6[VIPS];
	uint32_t bucket_count, flags;
};

static uint64_t random_state;

static uint64_t random_word(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dULL;
}

static void seed_random(const char *test)
{
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

	printf("%s: SEED=%llu\n", test, (unsigned long long)seed);
	random_state = seed * 0x9e3779b97f4a7c15ULL | 1;
}

static struct vip random_vip(void)
{
	uint64_t dice = random_word();
	struct vip vip = {
		.address.family = dice & 1 ? 4 : 6,
		.protocol = dice & 2 ? IPPROTO_TCP : IPPROTO_UDP,
		.port = dice >> 8 & 7 ? dice >> 16 : 0,
	};

	/* Few addresses, many ports: neighbours in all that is hashed. */
	vip.address.bytes[0] = vip.address.family == 4 ? 192 : 0x20;
	vip.address.bytes[vip.address.family == 4 ? 3 : 15] = dice >> 40;
	return vip;
}

static bool same_vip(const struct vip *a, const struct vip *b)
{
	return a->port == b->port && a->protocol == b->protocol &&
	       address_equal(&a->address, &b->address);
}

static uint32_t search_list(const struct vip_entry *entries, size_t count, const struct vip *vip)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (same_vip(&entries[i].vip, vip))
			return entries[i].service;
	return NOT_FOUND;
}

static uint32_t search_bucket(const struct table *table, uint32_t index, uint64_t want,
			      const struct vip *vip)
{
	const uint64_t *cells =
		(const uint64_t *)table->buckets[index & (table->bucket_count - 1)].cells;
	uint64_t high, low;
	int i;

	address_words(&vip->address, &high, &low);
	for (i = 0; i < VIP_BUCKET_CELLS; i++) {
		const struct vip6 *vip6 =
			&table->vips6[(cells[i] >> VIP_CELL_PORT_SHIFT) % VIPS]; /* of IPv4: any */

		if (((cells[i] ^ want) >> VIP_CELL_KIND_SHIFT & VIP_CELL_KIND_MASK))
			continue;
		if (vip->address.family == 4 && !((cells[i] ^ want) >> VIP_CELL_PORT_SHIFT))
			return cells[i] & VIP_CELL_SERVICE_MASK;
		if (vip->address.family == 6 &&
		    !((cells[i] ^ want) >> 32)) /* the only cell of this tag */
			return vip6->address_high == high && vip6->address_low == low &&
					       vip6->port == vip->port
				       ? cells[i] & VIP_CELL_SERVICE_MASK
				       : NOT_FOUND;
	}
	return NOT_FOUND;
}

static uint32_t search_table(const struct table *table, const struct vip *vip)
{
	bool udp = vip->protocol == IPPROTO_UDP;
	enum vip_kind kind = vip->address.family == 4 ? (udp ? VIP_UDP4 : VIP_TCP4)
						      : (udp ? VIP_UDP6 : VIP_TCP6);
	uint64_t high, low, hash, want;
	uint32_t index, found;

	address_words(&vip->address, &high, &low);
	if (vip->address.family == 4)
		low &= UINT32_MAX, high = 0;
	hash = vip_hash(high, low, vip->port, kind, table->flags >> VIPS_SEED_SHIFT);
	want = vip->address.family == 4 ? vip4_cell(low, vip->port, kind)
					: vip6_cell(hash, 0, kind);
	index = vip_bucket_of(hash, table->bucket_count);
	found = search_bucket(table, index, want, vip);
	if (found != NOT_FOUND || !(table->buckets[index].cells[0] & VIP_CELL_OVERFLOW))
		return found;
	return search_bucket(table, index + 1, want, vip);
}

static struct table *new_table(uint32_t bucket_count)
{
	struct table *table = calloc(1, sizeof(*table));

	assert_non_null(table);
	table->bucket_count = bucket_count;
	table->buckets = aligned_alloc(64, bucket_count * sizeof(*table->buckets));
	assert_non_null(table->buckets);
	memset(table->buckets, 0xa5,
	       bucket_count * sizeof(*table->buckets)); /* as a copy that was in use */
	return table;
}

static void free_table(struct table *table)
{
	free(table->buckets);
	free(table);
}

static size_t fill_list(struct vip_entry *entries, size_t count)
{
	size_t i = 0;

	while (i < count) {
		struct vip vip = random_vip();

		if (search_list(entries, i, &vip) != NOT_FOUND)
			continue;
		entries[i] = (struct vip_entry){vip, random_word() % SERVICES_MAX};
		i++;
	}
	return count;
}

static void the_table_finds_what_the_list_has_and_nothing_else(void **state)
{
	static const size_t counts[] = {0, 1, 7, 64, 500, 2000};
	static struct vip_entry entries[VIPS];
	size_t c, i;

	(void)state;
	seed_random(__func__);
	for (c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		size_t count = fill_list(entries, counts[c]);
		struct table *table = new_table(vip_table_buckets(count));
		bool any = false;

		assert_int_equal(vip_table_build(entries, count, table->buckets,
						 table->bucket_count, table->vips6, &table->flags),
				 0);
		for (i = 0; i < count; i++) {
			assert_int_equal(search_table(table, &entries[i].vip), entries[i].service);
			any |= !entries[i].vip.port;
		}
		assert_int_equal(!!(table->flags & VIPS_ANY_PORT), any);
		assert_false(table->flags & VIPS_SECOND_COPY);
		for (i = 0; i < 5000; i++) {
			struct vip vip = random_vip();

			assert_int_equal(search_table(table, &vip),
					 search_list(entries, count, &vip));
		}
		free_table(table);
	}
}

static void a_full_house_of_neighbours_fits(void **state)
{
	static struct vip_entry entries[VIPS];
	struct table *table = new_table(vip_table_buckets(VIPS));
	size_t i;

	(void)state;
	for (i = 0; i < VIPS; i++) {
		entries[i] = (struct vip_entry){
			.vip = {.address.family = i & 1 ? 4 : 6,
				.protocol = IPPROTO_TCP,
				.port = 443},
			.service = i % SERVICES_MAX,
		};
		entries[i].vip.address.bytes[0] = i & 1 ? 192 : 0x20;
		entries[i].vip.address.bytes[i & 1 ? 2 : 14] = i >> 9;
		entries[i].vip.address.bytes[i & 1 ? 3 : 15] = i >> 1;
	}
	assert_int_equal(vip_table_build(entries, VIPS, table->buckets, table->bucket_count,
					 table->vips6, &table->flags),
			 0);
	for (i = 0; i < VIPS; i++)
		assert_int_equal(search_table(table, &entries[i].vip), entries[i].service);
	free_table(table);
}

/* @count VIPs that the first seed puts into @bucket. */
static void collide(int family, uint32_t bucket, uint32_t bucket_count, struct vip_entry *entries,
		    size_t count)
{
	size_t i = 0, byte;

	while (i < count) {
		struct vip vip = {
			.address.family = family, .port = random_word(), .protocol = IPPROTO_TCP};
		uint64_t high, low;

		for (byte = 0; byte < (family == 4 ? 4 : 16); byte++)
			vip.address.bytes[byte] = random_word();
		address_words(&vip.address, &high, &low);
		if (family == 4)
			low &= UINT32_MAX;
		if (vip_bucket_of(
			    vip_hash(high, low, vip.port, family == 4 ? VIP_TCP4 : VIP_TCP6, 0),
			    bucket_count) == bucket)
			entries[i++] = (struct vip_entry){vip, i + 1};
	}
}

/*
 * @home VIPs of the last bucket and @next of the one behind it, the first. @fits: without another
 * seed.
 */
static void check_overflow(int family, size_t home, size_t next, bool fits)
{
	struct table *table = new_table(64);
	struct vip_entry entries[40];
	size_t i;

	collide(family, 63, 64, entries, home);
	collide(family, 0, 64, entries + home, next);
	assert_int_equal(vip_table_build(entries, home + next, table->buckets, 64, table->vips6,
					 &table->flags),
			 0);
	assert_int_equal(table->flags >> VIPS_SEED_SHIFT == 0, fits);
	if (fits)
		assert_int_equal(!!(table->buckets[63].cells[0] & VIP_CELL_OVERFLOW),
				 home > VIP_BUCKET_CELLS);
	for (i = 0; i < home + next; i++) {
		assert_int_equal(search_table(table, &entries[i].vip), entries[i].service);
		entries[i].vip.protocol = IPPROTO_UDP;
		assert_int_equal(search_table(table, &entries[i].vip), NOT_FOUND);
	}
	free_table(table);
}

static void a_full_bucket_goes_on_in_the_next_one(void **state)
{
	int family;

	(void)state;
	seed_random(__func__);
	for (family = 4; family <= 6; family += 2) {
		check_overflow(family, 8, 0, true);
		check_overflow(family, 9, 0, true);
		check_overflow(family, 9, 7, true);
		check_overflow(family, 16, 0, true);
		check_overflow(family, 10, 7, true); /* and the next one's in the one after */
		check_overflow(family, 17, 0, false);
		check_overflow(family, 20, 20, false);
	}
}

static void tables_are_at_most_half_full(void **state)
{
	uint32_t vips;

	(void)state;
	for (vips = 1; vips <= 65536; vips *= 2) {
		uint32_t buckets = vip_table_buckets(vips);

		assert_int_equal(buckets & (buckets - 1), 0);
		assert_true(buckets * VIP_BUCKET_CELLS >= 2 * vips);
	}
}

static void too_many_vips_are_refused(void **state)
{
	static struct vip_entry entries[VIPS];
	struct table *table = new_table(8);

	(void)state;
	seed_random(__func__);
	fill_list(entries, 65);
	assert_int_equal(
		vip_table_build(entries, 65, table->buckets, 8, table->vips6, &table->flags),
		-ENOSPC);
	free_table(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_finds_what_the_list_has_and_nothing_else),
		cmocka_unit_test(a_full_house_of_neighbours_fits),
		cmocka_unit_test(a_full_bucket_goes_on_in_the_next_one),
		cmocka_unit_test(tables_are_at_most_half_full),
		cmocka_unit_test(too_many_vips_are_refused),
	};

	return cmocka_run_group_tests_name("unit/vip_table", tests, NULL, NULL);
}
