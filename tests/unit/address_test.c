// SPDX-License-Identifier: GPL-2.0-only
/* Addresses and prefixes: one value an address, one text a value. */
#include "util/address.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct address address_of(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(text, &address), 0);
	return address;
}

static struct prefix prefix_of(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

static void assert_address_text(const char *text, const char *expected)
{
	struct address address = address_of(text);
	char out[ADDRESS_TEXT_SIZE];

	assert_ptr_equal(address_format(&address, out), out);
	assert_string_equal(out, expected);
}

static void assert_prefix_text(const char *text, const char *expected)
{
	struct prefix prefix = prefix_of(text);
	char out[ADDRESS_TEXT_SIZE];

	assert_ptr_equal(prefix_format(&prefix, out), out);
	assert_string_equal(out, expected);
}

static void an_address_is_written_as_rfc_5952_says(void **state)
{
	(void)state;
	assert_address_text("198.51.100.7", "198.51.100.7");
	assert_address_text("0.0.0.0", "0.0.0.0");
	assert_address_text("2001:DB8::1", "2001:db8::1");
	assert_address_text("2001:0db8:0000:0000:0001:0000:0000:0001", "2001:db8::1:0:0:1");
	assert_address_text("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1");
	assert_address_text("2001:0:0:1:0:0:0:1", "2001:0:0:1::1");
	assert_address_text("0:0:0:0:0:0:0:0", "::");
	assert_address_text("0:0:0:0:0:0:0:1", "::1");
	assert_address_text("1:0:0:0:0:0:0:0", "1::");
	assert_address_text("0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7");
	assert_address_text("::1.2.3.4", "::102:304");
	assert_address_text("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
			    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

static void an_ipv4_mapped_address_is_ipv4(void **state)
{
	struct address plain = address_of("198.51.100.7");
	struct address mapped = address_of("::ffff:198.51.100.7");
	struct address hexadecimal = address_of("::FFFF:c633:6407");

	(void)state;
	assert_int_equal(mapped.family, 4);
	assert_true(address_equal(&plain, &mapped));
	assert_true(address_equal(&plain, &hexadecimal));
	assert_prefix_text("::ffff:198.51.100.0/120", "198.51.100.0/24");
	assert_prefix_text("::ffff:198.51.100.7/128", "198.51.100.7");
	assert_prefix_text("::ffff:198.51.100.7", "198.51.100.7");
	assert_prefix_text("::ffff:0:0/96", "0.0.0.0/0");
}

static void what_is_no_whole_address_is_refused(void **state)
{
	static const char *const texts[] = {
		"",	     " ",	   "1.2.3",    "1.2.3.4.5",	    "1.2.3.256",
		"010.0.0.1", "0x1.0.0.1",  " 1.2.3.4", "1.2.3.4 ",	    "1.2.3.4/32",
		"::1%lo",    "[::1]",	   ":::",      "1::2::3",	    "12345::",
		"localhost", "1.2.3.4:80", "::1.2.3",  "1:2:3:4:5:6:7:8:9",
	};
	struct address address = {.family = 77};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_int_equal(address_parse(texts[i], &address), -EINVAL);
	assert_int_equal(address.family, 77);
	/* Only looks mapped. */
	assert_int_equal(address_of("::ffff:1").family, 6);
}

static void a_prefix_leaves_out_the_full_length(void **state)
{
	(void)state;
	assert_prefix_text("198.51.100.7/32", "198.51.100.7");
	assert_prefix_text("198.51.100.0/24", "198.51.100.0/24");
	assert_prefix_text("0.0.0.0/0", "0.0.0.0/0");
	assert_prefix_text("2001:db8::1/128", "2001:db8::1");
	assert_prefix_text("2001:db8:1:2::/64", "2001:db8:1:2::/64");
	assert_prefix_text("::/0", "::/0");
	assert_int_equal(prefix_of("198.51.100.7").length, 32);
	assert_int_equal(prefix_of("2001:db8::1").length, 128);
}

static void a_prefix_with_bits_past_its_length_is_told_apart(void **state)
{
	static const char *const texts[] = {
		"198.51.100.7/24", "0.0.0.1/31",    "128.0.0.0/0",  "2001:db8::1/64",
		"::1/127",	   "::ffff:0:0/95", "::ffff:0:0/0", "::ffff:1.2.3.4/120",
	};
	struct prefix prefix = {.length = 77};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_int_equal(prefix_parse(texts[i], &prefix), -EDOM);
	assert_int_equal(prefix.length, 77);
	assert_prefix_text("198.51.100.2/31", "198.51.100.2/31");
	assert_prefix_text("198.51.100.128/25", "198.51.100.128/25");
}

static void a_prefix_in_another_form_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"/24",
		"1.2.3.4/",
		"1.2.3.4/33",
		"::/129",
		"1.2.3.4/032",
		"1.2.3.4/+32",
		"1.2.3.4/ 32",
		"1.2.3.0/24/24",
		"1.2.3.4/0x20",
		"1.2.3.4/255.255.255.0",
		"::1/999999999999999999999",
		"1111111111111111111111111111111111111111111111111111111111111111111111111/32",
	};
	struct prefix prefix = {.length = 77};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_int_equal(prefix_parse(texts[i], &prefix), -EINVAL);
	assert_int_equal(prefix.length, 77);
}

static void addresses_sort_ipv4_first_then_by_bytes(void **state)
{
	static const char *const sorted[] = {"0.0.0.0", "9.0.0.0", "10.0.0.0",	 "255.0.0.0",
					     "::",	"::1",	   "2001:db8::", "ff00::"};

	(void)state;
	for (size_t i = 0; i < COUNT(sorted); i++) {
		for (size_t j = 0; j < COUNT(sorted); j++) {
			struct address a = address_of(sorted[i]), b = address_of(sorted[j]);
			int order = address_compare(&a, &b);

			assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
			assert_int_equal(address_equal(&a, &b), i == j);
		}
	}
}

static void assert_shortened(const char *text, const char *expected)
{
	struct prefix prefix = prefix_of(text), shorter = prefix_shorten(&prefix, 20, 61);
	struct prefix wanted = prefix_of(expected);

	assert_true(prefix_equal(&shorter, &wanted));
}

static void a_client_is_shortened_to_what_its_service_sees(void **state)
{
	struct prefix full = prefix_of("198.51.100.7"), same = prefix_shorten(&full, 32, 128);

	(void)state;
	assert_true(prefix_equal(&full, &same));
	assert_shortened("198.51.111.7", "198.51.96.0/20");
	assert_shortened("198.0.0.0/8", "198.0.0.0/8");
	assert_shortened("2001:db8:1:2:3::4", "2001:db8:1::/61");
	assert_shortened("2001:db8:1:f:3::4", "2001:db8:1:8::/61");
	assert_shortened("2001:db8::/32", "2001:db8::/32");
}

static void prefixes_of_other_length_or_family_differ(void **state)
{
	struct prefix wide = prefix_of("10.0.0.0/8"), narrow = prefix_of("10.0.0.0/9");
	struct prefix all4 = prefix_of("0.0.0.0/0"), all6 = prefix_of("::/0");

	(void)state;
	assert_false(prefix_equal(&wide, &narrow));
	assert_false(prefix_equal(&all4, &all6));
}

static void ipv4_lies_at_the_mapped_prefix_of_the_128_bit_space(void **state)
{
	struct address four = address_of("198.51.100.7"), six = address_of("2001:db8::3:4");
	uint64_t high, low;

	(void)state;
	address_words(&four, &high, &low);
	assert_int_equal(high, 0);
	assert_int_equal(low, 0xffffc6336407ULL);
	address_words(&six, &high, &low);
	assert_int_equal(high, 0x20010db800000000ULL);
	assert_int_equal(low, 0x0000000000030004ULL);
}

static void an_unset_address_is_written_as_nothing(void **state)
{
	struct prefix unset = {0};
	char out[ADDRESS_TEXT_SIZE];

	(void)state;
	assert_string_equal(address_format(&unset.address, out), "");
	assert_string_equal(prefix_format(&unset, out), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_written_as_rfc_5952_says),
		cmocka_unit_test(an_ipv4_mapped_address_is_ipv4),
		cmocka_unit_test(what_is_no_whole_address_is_refused),
		cmocka_unit_test(a_prefix_leaves_out_the_full_length),
		cmocka_unit_test(a_prefix_with_bits_past_its_length_is_told_apart),
		cmocka_unit_test(a_prefix_in_another_form_is_refused),
		cmocka_unit_test(addresses_sort_ipv4_first_then_by_bytes),
		cmocka_unit_test(a_client_is_shortened_to_what_its_service_sees),
		cmocka_unit_test(prefixes_of_other_length_or_family_differ),
		cmocka_unit_test(ipv4_lies_at_the_mapped_prefix_of_the_128_bit_space),
		cmocka_unit_test(an_unset_address_is_written_as_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
