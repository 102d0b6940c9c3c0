// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hashes and parts of other tools: hashes against what the tools themselves say, parts against
 * the loops of nginx and of a comparison with a remainder, at every edge.
 */
#include "allocation.h"
#include "policy/split.h"
#include "tests/random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- hashes ---- */

/*
 * murmur2: the debug log of nginx 1.22.1 ("http split"); crc32: HAProxy 2.6.12, %[src,crc32], and
 * zlib's crc32() alike; jhash: one more than nft 1.0.6 on Linux 6.18 has with `jhash ip saddr mod
 * 4294967295 seed 0x1234567`.
 */
static const struct {
	const char *client;
	uint32_t murmur2, crc32, jhash;
} told[] = {
	{"198.51.100.7", 2517006378, 3417968143, 3404716775},
	{"0.0.0.1", 3944978887, 1447292810, 1639246446},
	{"1.2.3.4", 1487941662, 3057449933, 1031973203},
	{"223.255.255.254", 374544498, 684351575, 2814733965},
	{"10.0.0.1", 1154816930, 972951534, 4039630269},
	{"2001:db8::1", 2917685176, 2140319832, 3238714498},
	{"2001:db8:1:2:3:4:5:6", 4291361237, 3425545227, 2803209832},
	{"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 3911953017, 1295047956, 3846063097},
	{"::1:2:3", 2889329515, 1263986481, 3425422663},
};
#define TOLD_SEED 0x1234567

static int words_of(const char *text, uint32_t words[SPLIT_WORDS_MAX])
{
	struct address address;

	assert_int_equal(address_parse(text, &address), 0);
	memcpy(words, address.bytes, 16);
	return address.family == 4 ? 1 : 4;
}

static void hashes_are_what_the_tools_say(void **state)
{
	uint32_t words[SPLIT_WORDS_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(told); i++) {
		int count = words_of(told[i].client, words);

		assert_int_equal(murmur2(words, count), told[i].murmur2);
		assert_int_equal(crc32(words, count), told[i].crc32);
		assert_int_equal(jhash(words, count, TOLD_SEED), told[i].jhash);
	}
}

static void a_client_stands_below_the_modulus(void **state)
{
	static const uint32_t moduli[] = {1, 2, 3, 100, 65535, 65536};
	uint32_t words[SPLIT_WORDS_MAX];
	size_t i, m;

	(void)state;
	for (i = 0; i < COUNT(told); i++)
		for (m = 0; m < COUNT(moduli); m++) {
			int count = words_of(told[i].client, words);
			uint64_t scaled = (uint64_t)told[i].jhash * moduli[m];

			assert_int_equal(split_hash(HASH_HAPROXY_CRC32, words, count, moduli[m], 0),
					 told[i].crc32 % moduli[m]);
			assert_int_equal(
				split_hash(HASH_NFT_JHASH, words, count, moduli[m], TOLD_SEED),
				scaled / 4294967296);
			assert_int_equal(split_hash(HASH_NGINX, words, count, moduli[m], 0),
					 told[i].murmur2);
		}
}

/* The table's entries, and so the whole, by the polynomial alone. */
static void crc32_is_a_division_bit_by_bit(void **state)
{
	struct random random = random_seeded("split_test");
	int turn, bit;

	(void)state;
	for (turn = 0; turn < 10000; turn++) {
		uint32_t words[SPLIT_WORDS_MAX], crc = ~0u;
		int count = turn % 2 ? 1 : 4, i;

		for (i = 0; i < 4; i++)
			words[i] = random_next(&random);
		for (i = 0; i < 32 * count; i++) {
			bit = (crc ^ words[i / 32] >> i % 32) & 1;
			crc = crc >> 1 ^ (bit ? 0xedb88320 : 0);
		}
		assert_int_equal(crc32(words, count), (uint32_t)~crc);
	}
}

/* ---- services ---- */

static const char *const names[COHORTS_MAX] = {"stable", "canary", "b", "c"};

/* In the order of @order, which has a letter a cohort: s, and the canaries 1, 2, 3. */
static struct split split_named(enum split_hash hash, uint32_t modulus, const char *order)
{
	struct service service = {.hash = hash, .hash_options.modulus = modulus};
	size_t i;

	service.cohorts_count = strlen(order);
	service.hash_options.order_count = strlen(order);
	for (i = 0; i < service.cohorts_count; i++) {
		strcpy(service.cohorts[i].name, names[i]);
		strcpy(service.hash_options.order[i], names[order[i] == 's' ? 0 : order[i] - '0']);
	}
	return split_of(&service);
}

static void parts_have_the_files_order_if_no_other_is_given(void **state)
{
	struct service service = {.hash = HASH_NGINX, .cohorts_count = 3};
	struct split split;
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++)
		strcpy(service.cohorts[i].name, names[i]);
	split = split_of(&service);
	for (i = 0; i < 3; i++)
		assert_int_equal(split.order[i], i);
	assert_int_equal(split.whole, 10000);
}

/* ---- shares ---- */

/* Is there a k with |ppm - k * 10^6 / whole| < 1, and which? */
static bool stands_for(uint32_t whole, uint32_t ppm, uint32_t *units)
{
	uint32_t k;

	for (k = (uint64_t)ppm * whole / 1000000; k <= whole; k++) {
		double distance = (double)ppm * whole - (double)k * 1000000;

		*units = k;
		if (distance > -(double)whole && distance < whole)
			return true;
		if (distance <= -(double)whole)
			break;
	}
	return false;
}

static void a_share_stands_for_units_to_the_next_ppm(void **state)
{
	static const uint32_t wholes[] = {1, 2, 3, 7, 64, 100, 128, 1000, 1024, 65535, 65536};
	uint32_t ppm, units, expected, found;
	size_t i;

	(void)state;
	for (i = 0; i <= COUNT(wholes); i++) {
		bool is_nginx = i == COUNT(wholes);
		struct split split = split_named(is_nginx ? HASH_NGINX : HASH_NFT_JHASH,
						 is_nginx ? 0 : wholes[i], "s1");
		char problem[SPLIT_PROBLEM_SIZE];

		for (ppm = found = 0; ppm <= PPM; ppm++) {
			bool stands = stands_for(split.whole, ppm, &expected);

			assert_int_equal(split_units(&split, ppm, &units), stands ? 0 : -ERANGE);
			assert_true(split_problem(&split, ppm, problem) != stands);
			if (!stands)
				continue;
			assert_int_equal(units, expected);
			found += ppm == split_ppm(&split, units);
		}
		assert_int_equal(found, split.whole + 1); /* every number of units can be written */
	}
}

static void what_can_be_written_instead_is_named(void **state)
{
	const struct split nginx = split_named(HASH_NGINX, 0, "s1");
	const struct split seventh = split_named(HASH_NFT_JHASH, 7, "s1");
	char text[SPLIT_TEXT_SIZE];

	(void)state;
	assert_string_equal(split_nearest(&nginx, 50050, text), "5% or 5.01%");
	assert_string_equal(split_nearest(&nginx, 999999, text), "99.99% or 100%");
	assert_string_equal(split_nearest(&seventh, 10000, text), "0% or 14.2857%");
}

/* ---- parts ---- */

/* ngx_http_split_clients_variable() and what precedes it, in 32 bits as there. */
static int nginx_cohort(const struct split *split, const uint32_t percents[COHORTS_MAX],
			uint32_t hash)
{
	uint32_t ends[COHORTS_MAX], last = 0;
	int parts[COHORTS_MAX], count = 0, i;

	for (i = 0; i < (int)split->cohorts_count; i++) {
		uint32_t percent = percents[split->order[i]];

		if (!percent)
			continue;
		last += percent * (uint64_t)0xffffffff / 10000;
		parts[count] = split->order[i];
		ends[count++] = last;
	}
	ends[count - 1] = 0; /* the last one is `*` */
	for (i = 0; i < count; i++)
		if (hash < ends[i] || ends[i] == 0)
			return parts[i];
	return -1;
}

/* `lt` after `lt`, as HAProxy, or ranges of a map, as nft. */
static int modulus_cohort(const struct split *split, const uint32_t units[COHORTS_MAX],
			  uint32_t hash)
{
	uint32_t end = 0;
	size_t i;

	for (i = 0; i < split->cohorts_count; i++) {
		end += units[split->order[i]];
		if (hash < end)
			return split->order[i];
	}
	return -1;
}

static int tool_cohort(const struct split *split, const uint32_t units[COHORTS_MAX], uint32_t hash)
{
	return split->hash == HASH_NGINX ? nginx_cohort(split, units, hash)
					 : modulus_cohort(split, units, hash);
}

static int our_cohort(const struct split *split, const uint32_t shares[COHORTS_MAX], uint32_t hash)
{
	struct interval parts[CANARIES_MAX];
	unsigned int live = split_parts(split, shares, parts);

	return interval_of(parts, live, hash);
}

struct example {
	struct split split;
	uint32_t units[COHORTS_MAX], shares[COHORTS_MAX];
};

static void random_example(struct random *random, struct example *out)
{
	static const uint32_t moduli[] = {1, 3, 7, 100, 1000, 65536};
	static const char *const orders[] = {"s1",   "1s",   "1s2",  "s12",  "12s", "2s1",
					     "s123", "32s1", "1s23", "312s", "21s"};
	enum split_hash hash = 1 + random_below(random, 3);
	uint32_t left, modulus = moduli[random_below(random, COUNT(moduli))];
	size_t i;

	*out = (struct example){
		.split = split_named(hash, modulus, orders[random_below(random, COUNT(orders))])};
	left = out->split.whole;
	for (i = 1; i < out->split.cohorts_count; i++) {
		uint32_t choices[] = {0, left, 1, random_below(random, left + 1),
				      random_below(random, left + 1)};

		out->units[i] = choices[random_below(random, COUNT(choices))];
		if (out->units[i] > left)
			out->units[i] = left;
		left -= out->units[i];
		out->shares[i] = split_ppm(&out->split, out->units[i]);
	}
	out->units[0] = left;
}

/* Hashes that are in the space of the tool, at and around the ends of parts. */
static size_t edges_of(const struct example *example, uint32_t hashes[4 * COHORTS_MAX + 8])
{
	bool is_nginx = example->split.hash == HASH_NGINX;
	uint64_t space = is_nginx ? 1ULL << 32 : example->split.whole, end = 0;
	size_t i, count = 0;
	int step;

	hashes[count++] = 0;
	hashes[count++] = space - 1;
	for (i = 0; i < example->split.cohorts_count; i++) {
		uint64_t units = example->units[example->split.order[i]];

		end += is_nginx ? units * 0xffffffff / 10000 : units;
		for (step = -1; step <= 1; step++)
			if (end + step < space)
				hashes[count++] = end + step;
	}
	return count;
}

static void parts_are_the_tools_to_the_hash(void **state)
{
	struct random random = random_seeded("split_test");
	uint32_t hashes[4 * COHORTS_MAX + 8];
	int turn;

	(void)state;
	for (turn = 0; turn < 100000; turn++) {
		struct example example;
		size_t count, i;

		random_example(&random, &example);
		count = edges_of(&example, hashes);
		for (i = 0; i < count; i++)
			assert_int_equal(our_cohort(&example.split, example.shares, hashes[i]),
					 tool_cohort(&example.split, example.units, hashes[i]));
	}
}

static void nothing_and_everything_are_exact_in_both_orders(void **state)
{
	static const char *const orders[] = {"s1", "1s"};
	size_t hash, order;

	(void)state;
	for (hash = HASH_NGINX; hash <= HASH_NFT_JHASH; hash++)
		for (order = 0; order < 2; order++) {
			struct split split = split_named(hash, 100, orders[order]);
			struct interval parts[CANARIES_MAX];

			assert_int_equal(split_parts(&split, (uint32_t[COHORTS_MAX]){0, 0}, parts),
					 0);
			assert_int_equal(
				split_parts(&split, (uint32_t[COHORTS_MAX]){0, PPM}, parts), 1);
			assert_int_equal(parts[0].start, 0);
			assert_int_equal(parts[0].last, UINT32_MAX);
		}
}

/* ---- entering ---- */

static void a_client_enters_at_the_least_share_that_has_it(void **state)
{
	struct random random = random_seeded("split_test");
	uint32_t hashes[4 * COHORTS_MAX + 8], ppm = 0, free;
	int turn, canary, held = 0;

	(void)state;
	for (turn = 0; turn < 300; turn++) {
		struct example example;
		size_t count;
		uint32_t hash;
		bool enters;

		random_example(&random, &example);
		count = edges_of(&example, hashes);
		hash = hashes[random_below(&random, count)];
		canary = 1 + random_below(&random, example.split.cohorts_count - 1);
		free = example.units[0] + example.units[canary];
		enters = split_enters(&example.split, example.shares, canary, hash, &ppm);
		for (example.units[canary] = 1; example.units[canary] <= free;
		     example.units[canary]++) {
			example.units[0] = free - example.units[canary];
			if (tool_cohort(&example.split, example.units, hash) == canary)
				break;
		}
		assert_int_equal(enters, example.units[canary] <= free);
		if (enters)
			assert_int_equal(ppm, split_ppm(&example.split, example.units[canary]));
		held += enters;
	}
	assert_in_range(held, 50, 290);
}

/* ---- what shifts ---- */

/* Does one more unit for some canary move a hash between two cohorts of which neither is it? */
static bool some_share_shifts(const struct split *split)
{
	uint32_t hash, before[COHORTS_MAX], after[COHORTS_MAX];
	size_t i;

	for (i = 0; i < split->cohorts_count; i++)
		before[i] = split->whole / split->cohorts_count;
	before[0] += split->whole % split->cohorts_count;
	for (i = 1; i < split->cohorts_count; i++) {
		memcpy(after, before, sizeof(after));
		after[0]--;
		after[i]++;
		for (hash = 0; hash < split->whole; hash++) {
			int from = tool_cohort(split, before, hash),
			    to = tool_cohort(split, after, hash);

			if (from != to && (from || to != (int)i))
				return true;
		}
	}
	return false;
}

static void shares_shift_others_unless_all_stand_next_to_the_control(void **state)
{
	static const char *const orders[] = {"s1",  "1s",   "1s2",  "2s1",  "s12", "12s",
					     "21s", "s123", "1s23", "32s1", "123s"};
	size_t i, shifting = 0;

	(void)state;
	for (i = 0; i < COUNT(orders); i++) {
		struct split split = split_named(HASH_HAPROXY_CRC32, 100, orders[i]);

		assert_int_equal(split_shifts(&split), some_share_shifts(&split));
		shifting += split_shifts(&split);
	}
	assert_int_equal(shifting, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_are_what_the_tools_say),
		cmocka_unit_test(a_client_stands_below_the_modulus),
		cmocka_unit_test(crc32_is_a_division_bit_by_bit),
		cmocka_unit_test(parts_have_the_files_order_if_no_other_is_given),
		cmocka_unit_test(a_share_stands_for_units_to_the_next_ppm),
		cmocka_unit_test(what_can_be_written_instead_is_named),
		cmocka_unit_test(parts_are_the_tools_to_the_hash),
		cmocka_unit_test(nothing_and_everything_are_exact_in_both_orders),
		cmocka_unit_test(a_client_enters_at_the_least_share_that_has_it),
		cmocka_unit_test(shares_shift_others_unless_all_stand_next_to_the_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
