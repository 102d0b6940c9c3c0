// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pins as ranges against the plain meaning: of all pins that hold a client the longest, of two
 * alike the later.
 */
#include "policy/pin_ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PINS_MAX 64

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

static bool holds(const struct prefix *prefix, const struct address *client)
{
	unsigned int bit;

	if (prefix->address.family != client->family)
		return false;
	for (bit = 0; bit < prefix->length; bit++)
		if ((prefix->address.bytes[bit / 8] ^ client->bytes[bit / 8]) & (0x80 >> bit % 8))
			return false;
	return true;
}

static const struct pin *longest(const struct pin *pins, size_t count, const struct address *client)
{
	const struct pin *found = NULL;
	size_t i;

	for (i = 0; i < count; i++)
		if (holds(&pins[i].client, client) &&
		    (!found || pins[i].client.length >= found->client.length))
			found = &pins[i];
	return found;
}

/* The last range that starts at or below the client, one by one. */
static const struct pin_range *range_of(const struct pin_range *ranges, size_t count,
					const struct address *client)
{
	uint64_t high, low;
	size_t i;

	address_words(client, &high, &low);
	for (i = count; i-- > 0;)
		if (ranges[i].high < high || (ranges[i].high == high && ranges[i].low <= low))
			return &ranges[i];
	fail_msg("the first range starts above a client");
	return NULL;
}

/* A mapped address is the IPv4 one. */
static struct address unmapped(const struct address *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
	struct address ipv4 = {.family = 4};

	if (address->family == 4 || memcmp(address->bytes, mapped, sizeof(mapped)))
		return *address;
	memcpy(ipv4.bytes, address->bytes + 12, 4);
	return ipv4;
}

static void assert_same(const struct pin *pins, size_t count, const struct pin_range *ranges,
			size_t ranges_count, const struct address *at)
{
	const struct address client = unmapped(at);
	const struct pin_range *range = range_of(ranges, ranges_count, &client);
	const struct pin *pin = longest(pins, count, &client);

	assert_int_equal(range->cohort, pin ? pin->cohort : PIN_NONE);
	assert_true(range->expires == (pin ? pin->expires : PIN_FOREVER));
}

/* Near one another, so that they nest, touch and repeat; at the ends of the address space too. */
static struct prefix random_prefix(void)
{
	struct prefix prefix = {.address.family = random_word() & 1 ? 4 : 6};
	unsigned int bits = prefix.address.family == 4 ? 32 : 128, bit;
	uint64_t dice = random_word();

	prefix.length = dice % 5 ? bits - (dice >> 8) % 7 : (dice >> 8) % (bits + 1);
	memset(prefix.address.bytes, dice >> 16 & 1 ? 0xff : 0, bits / 8);
	prefix.address.bytes[bits / 8 - 1] ^= dice >> 24 & 0x1f;
	if (dice >> 17 & 1)
		prefix.address.bytes[0] = 0x20;
	for (bit = prefix.length; bit < bits; bit++)
		prefix.address.bytes[bit / 8] &= ~(0x80 >> bit % 8);
	return prefix;
}

/* The client at, below and above one end of a prefix. */
static void check_around(const struct pin *pins, size_t count, const struct pin_range *ranges,
			 size_t ranges_count, const struct prefix *prefix, bool at_end)
{
	unsigned int bits = prefix->address.family == 4 ? 32 : 128, bit;
	struct address client = prefix->address;
	int step, carry, i;

	for (bit = prefix->length; at_end && bit < bits; bit++)
		client.bytes[bit / 8] |= 0x80 >> bit % 8;
	assert_same(pins, count, ranges, ranges_count, &client);
	for (step = -1; step <= 1; step += 2) {
		struct address next = client;

		for (i = bits / 8 - 1, carry = step; i >= 0 && carry; i--) {
			next.bytes[i] += carry;
			carry = next.bytes[i] == (uint8_t)(step > 0 ? 0 : 0xff) ? step : 0;
		}
		assert_same(pins, count, ranges, ranges_count, &next);
	}
}

static void ranges_say_what_the_longest_pin_says(void **state)
{
	struct pin pins[PINS_MAX];
	int round;

	(void)state;
	seed_random(__func__);
	for (round = 0; round < 3000; round++) {
		size_t count = 1 + random_word() % (round % 10 ? 8 : PINS_MAX), ranges_count, i;
		struct pin_range *ranges;

		for (i = 0; i < count; i++)
			pins[i] = (struct pin){
				.client = random_prefix(),
				.cohort = random_word() % COHORTS_MAX,
				.expires = random_word() % 3 ? PIN_FOREVER : random_word() % 4,
			};
		assert_int_equal(pin_ranges_build(pins, count, &ranges, &ranges_count), 0);
		assert_in_range(ranges_count, 1, 2 * count + 3);
		assert_true(!ranges[0].high && !ranges[0].low);
		for (i = 1; i < ranges_count; i++)
			assert_true(ranges[i - 1].high < ranges[i].high ||
				    (ranges[i - 1].high == ranges[i].high &&
				     ranges[i - 1].low < ranges[i].low));
		for (i = 0; i < count; i++) {
			check_around(pins, count, ranges, ranges_count, &pins[i].client, false);
			check_around(pins, count, ranges, ranges_count, &pins[i].client, true);
		}
		free(ranges);
	}
}

/*
 * The deepest nesting there is: a prefix of every length, each with another cohort than the one
 * around it.
 */
static void prefixes_nest_to_the_last_bit(void **state)
{
	struct pin pins[129 + 33];
	struct pin_range *ranges;
	size_t ranges_count, i;

	(void)state;
	for (i = 0; i < 129 + 33; i++)
		pins[i] = (struct pin){
			.client = {.address.family = i < 129 ? 6 : 4,
				   .length = i < 129 ? i : i - 129},
			.cohort = i % 3,
			.expires = PIN_FOREVER,
		};
	assert_int_equal(pin_ranges_build(pins, 129 + 33, &ranges, &ranges_count), 0);
	for (i = 0; i < 129 + 33; i++) {
		check_around(pins, 129 + 33, ranges, ranges_count, &pins[i].client, false);
		check_around(pins, 129 + 33, ranges, ranges_count, &pins[i].client, true);
	}
	free(ranges);
}

static void no_pins_need_no_ranges(void **state)
{
	struct pin_range *ranges;
	size_t count = 7;

	(void)state;
	assert_int_equal(pin_ranges_build(NULL, 0, &ranges, &count), 0);
	assert_null(ranges);
	assert_int_equal(count, 0);
}

static void ipv4_clients_are_in_no_prefix_of_ipv6(void **state)
{
	struct pin pins[2] = {{.client.address.family = 6, .cohort = 1, .expires = PIN_FOREVER},
			      {.client.address.family = 4, .cohort = 2, .expires = PIN_FOREVER}};
	struct address client4 = {.family = 4, .bytes = {198, 51, 100, 7}},
		       client6 = {.family = 6, .bytes = {0x20}};
	struct pin_range *ranges;
	size_t count;

	(void)state;
	assert_int_equal(pin_ranges_build(pins, 1, &ranges, &count), 0);
	assert_int_equal(range_of(ranges, count, &client4)->cohort, PIN_NONE);
	assert_int_equal(range_of(ranges, count, &client6)->cohort, 1);
	free(ranges);
	assert_int_equal(pin_ranges_build(pins + 1, 1, &ranges, &count), 0);
	assert_int_equal(range_of(ranges, count, &client4)->cohort, 2);
	assert_int_equal(range_of(ranges, count, &client6)->cohort, PIN_NONE);
	free(ranges);
	assert_int_equal(pin_ranges_build(pins, 2, &ranges, &count), 0);
	assert_int_equal(range_of(ranges, count, &client4)->cohort, 2);
	assert_int_equal(range_of(ranges, count, &client6)->cohort, 1);
	free(ranges);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_say_what_the_longest_pin_says),
		cmocka_unit_test(prefixes_nest_to_the_last_bit),
		cmocka_unit_test(no_pins_need_no_ranges),
		cmocka_unit_test(ipv4_clients_are_in_no_prefix_of_ipv6),
	};

	return cmocka_run_group_tests_name("unit/pin_ranges", tests, NULL, NULL);
}
