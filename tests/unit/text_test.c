// SPDX-License-Identifier: GPL-2.0-only
/* Values of the contract: what is accepted and refused, and that what is written parses back. */
#include "util/text.h"

#include "tests/random.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const not_decimal[] = {"",	"010", "0x10", "10abc", "1e3", "+5",  "-5",
					  " 5", "5 ",  "\t5",  "5\n",	"٥",   "1_0", "1,000"};

static void assert_integer(const char *text, uint64_t expected)
{
	uint64_t value = 0;

	assert_int_equal(text_integer(text, 0, UINT64_MAX, &value), 0);
	assert_int_equal(value, expected);
}

static void an_integer_is_decimal_whole_and_complete(void **state)
{
	uint64_t value = 77;

	(void)state;
	assert_integer("0", 0);
	assert_integer("10", 10);
	assert_integer("18446744073709551614", UINT64_MAX - 1);
	for (size_t i = 0; i < COUNT(not_decimal); i++)
		assert_int_equal(text_integer(not_decimal[i], 0, UINT64_MAX, &value), -EINVAL);
	assert_int_equal(text_integer("1.0", 0, UINT64_MAX, &value), -EINVAL);
	assert_int_equal(value, 77);
}

static void an_integer_out_of_its_range_is_told_from_one_of_the_wrong_form(void **state)
{
	uint64_t value = 77;

	(void)state;
	assert_int_equal(text_integer("0", 1, 65535, &value), -ERANGE);
	assert_int_equal(text_integer("65536", 1, 65535, &value), -ERANGE);
	assert_int_equal(text_integer("18446744073709551616", 0, UINT64_MAX, &value), -ERANGE);
	assert_int_equal(text_integer("99999999999999999999999", 0, 10, &value), -ERANGE);
	assert_int_equal(text_integer("99999999999999999999999x", 0, 10, &value), -EINVAL);
	assert_int_equal(value, 77);
}

static void a_real_is_decimal_and_parses_back_from_its_shortest_form(void **state)
{
	static const char *const wrong[] = {"",	   "01",  ".5",	 "1.",	"1e", "1e+", "+1",
					    "nan", "inf", "0x1", "1,5", " 1", "1 ",  "--1"};
	static const char *const right[] = {"0",      "-1.5",	    "0.1",
					    "1e-07",  "123456.789", "1e+300",
					    "5e-324", "1e7",	    "0.30000000000000004"};
	struct random random = random_seeded(__func__);
	char text[TEXT_VALUE_SIZE];
	double value = 77, again;

	(void)state;
	for (size_t i = 0; i < COUNT(wrong); i++)
		assert_int_equal(text_real(wrong[i], &value), -EINVAL);
	assert_int_equal(text_real("1e999", &value), -ERANGE);
	assert_int_equal(text_real("-1e999", &value), -ERANGE);
	assert_true(value == 77);
	for (size_t i = 0; i < COUNT(right); i++) {
		assert_int_equal(text_real(right[i], &value), 0);
		assert_true(value == strtod(right[i], NULL));
	}
	assert_int_equal(text_real("-0", &value), 0);
	assert_string_equal(text_format_real(value, text), "0");
	assert_string_equal(text_format_real(0.1, text), "0.1");
	assert_string_equal(text_format_real(10000000, text), "10000000");
	for (size_t i = 0; i < 100000; i++) {
		uint64_t bits = random_next(&random);

		memcpy(&value, &bits, sizeof(value));
		if (!isfinite(value))
			continue;
		assert_int_equal(text_real(text_format_real(value, text), &again), 0);
		assert_true(value == again);
	}
}

static void assert_percent(const char *text, uint32_t expected)
{
	uint32_t ppm = 0;

	assert_int_equal(text_percent(text, &ppm), 0);
	assert_int_equal(ppm, expected);
}

static void assert_percent_refused(const char *text, int error)
{
	uint32_t ppm = 77;

	assert_int_equal(text_percent(text, &ppm), error);
	assert_int_equal(ppm, 77);
}

static void a_percent_is_with_percent_sign_ppm_or_bare(void **state)
{
	(void)state;
	assert_percent("5%", 50000);
	assert_percent("5", 50000);
	assert_percent("0.01%", 100);
	assert_percent("0.0001", 1);
	assert_percent("100ppm", 100);
	assert_percent("0", 0);
	assert_percent("0%", 0);
	assert_percent("0ppm", 0);
	assert_percent("100%", 1000000);
	assert_percent("1000000ppm", 1000000);
	assert_percent("33.3333%", 333333);
	assert_percent("0.5", 5000);
}

static void a_percent_finer_than_one_ppm_is_refused(void **state)
{
	(void)state;
	assert_percent_refused("0.00005%", -ERANGE);
	assert_percent_refused("33.33333%", -ERANGE);
	assert_percent_refused("0.5ppm", -ERANGE);
	assert_percent_refused("0.00000000000000000000000001", -ERANGE);
	/* Zeros say nothing finer. */
	assert_percent("0.50000000000000000000000000%", 5000);
	assert_percent("7.0ppm", 7);
}

static void a_percent_over_100_is_refused(void **state)
{
	(void)state;
	assert_percent_refused("100.0001%", -ERANGE);
	assert_percent_refused("101", -ERANGE);
	assert_percent_refused("1000001ppm", -ERANGE);
	assert_percent_refused("99999999999999999999999999%", -ERANGE);
	/* 2^64 / 10^4 and around: no wrap. */
	assert_percent_refused("1844674407370955.1616%", -ERANGE);
	assert_percent_refused("1844674407370956%", -ERANGE);
}

static void a_percent_in_another_form_is_refused(void **state)
{
	static const char *const texts[] = {".5",  "5.",    "5.%",	"%",	"ppm",
					    "5 %", "5%%",   "5 ppm",	"5PPM", "5pp",
					    "05%", "00.5",  "1.2.3",	"0x5%", "1e1%",
					    "-0",  "5.0.%", "5percent", "nan",	"100%ppm"};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_percent_refused(texts[i], -EINVAL);
	for (size_t i = 0; i < COUNT(not_decimal); i++)
		assert_percent_refused(not_decimal[i], -EINVAL);
}

static void every_percent_parses_back_from_its_shortest_form(void **state)
{
	char text[TEXT_VALUE_SIZE];

	(void)state;
	assert_string_equal(text_format_percent(50000, text), "5%");
	assert_string_equal(text_format_percent(1, text), "0.0001%");
	assert_string_equal(text_format_percent(0, text), "0%");
	assert_string_equal(text_format_percent(1000000, text), "100%");
	assert_string_equal(text_format_percent(12500, text), "1.25%");
	assert_string_equal(text_format_percent(10010, text), "1.001%");
	for (uint32_t ppm = 0; ppm <= 1000000; ppm++) {
		uint32_t again = 0;

		assert_int_equal(text_percent(text_format_percent(ppm, text), &again), 0);
		assert_int_equal(again, ppm);
	}
}

static void assert_duration(const char *text, uint64_t expected)
{
	uint64_t milliseconds = 0;

	assert_int_equal(text_duration(text, &milliseconds), 0);
	assert_int_equal(milliseconds, expected);
}

static void a_duration_has_a_number_and_a_unit_several_times(void **state)
{
	(void)state;
	assert_duration("250ms", 250);
	assert_duration("30s", 30000);
	assert_duration("1m", 60000);
	assert_duration("1h30m", 5400000);
	assert_duration("7d", 604800000);
	assert_duration("2w", 1209600000);
	assert_duration("1w1d1h1m1s1ms", 694861001);
	assert_duration("90m", 5400000);
	assert_duration("1m1ms", 60001);
	assert_duration("0s", 0);
}

static void a_duration_in_another_form_is_refused(void **state)
{
	static const char *const texts[] = {"5",   "0",	    "s",      "1h30",  "30m1h", "1s1s",
					    "1 h", "1.5h",  "1h 30m", "05s",   "1hh",	"1H",
					    "1ns", "1ms1s", "-1s",    "1h-1m", "1y",	"1mss"};
	uint64_t milliseconds = 77;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_int_equal(text_duration(texts[i], &milliseconds), -EINVAL);
	for (size_t i = 0; i < COUNT(not_decimal); i++)
		assert_int_equal(text_duration(not_decimal[i], &milliseconds), -EINVAL);
	assert_int_equal(milliseconds, 77);
}

static void a_duration_that_overflows_is_refused(void **state)
{
	uint64_t milliseconds = 77;

	(void)state;
	assert_int_equal(text_duration("99999999999999999999s", &milliseconds), -ERANGE);
	assert_int_equal(text_duration("18446744073709551615ms", &milliseconds), -ERANGE);
	assert_int_equal(text_duration("30501w", &milliseconds), -ERANGE);
	assert_int_equal(text_duration("18446744073709551614ms2ms", &milliseconds), -EINVAL);
	assert_int_equal(milliseconds, 77);
	assert_duration("30500w", 30500 * 604800000ULL);
}

static void every_duration_parses_back_from_its_text(void **state)
{
	static const uint64_t durations[] = {0,
					     1,
					     999,
					     1000,
					     60000,
					     5400000,
					     86400000,
					     604800000,
					     90061001,
					     2592000000,
					     UINT64_MAX / 1000000};
	char text[TEXT_VALUE_SIZE];

	(void)state;
	assert_string_equal(text_format_duration(0, text), "0s");
	assert_string_equal(text_format_duration(5400000, text), "1h30m");
	assert_string_equal(text_format_duration(604800000, text), "7d");
	assert_string_equal(text_format_duration(2592000000, text), "30d");
	assert_string_equal(text_format_duration(1250, text), "1s250ms");
	for (size_t i = 0; i < COUNT(durations); i++)
		assert_duration(text_format_duration(durations[i], text), durations[i]);
}

static void a_name_has_1_to_63_lower_case_letters_digits_and_inner_dashes(void **state)
{
	static const char *const names[] = {"a", "0", "api", "http-5xx", "a_b", "a--b"};
	static const char *const others[] = {"",   "-a",  "a-",	 "_a",	"a_", "A",
					     "aB", "a.b", "a b", "a/b", "é",  "a\n"};
	char name[65];

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		assert_true(text_is_name(names[i]));
	for (size_t i = 0; i < COUNT(others); i++)
		assert_false(text_is_name(others[i]));
	memset(name, 'a', sizeof(name));
	name[63] = 0;
	assert_true(text_is_name(name));
	name[63] = 'a';
	name[64] = 0;
	assert_false(text_is_name(name));
}

#define SECOND 1000000000ULL
#define SAMPLE (1893553445 * SECOND) /* 2030-01-02T03:04:05Z */

static void assert_time(const char *text, uint64_t expected)
{
	uint64_t ns = 0;

	assert_int_equal(text_time(text, SAMPLE, &ns), 0);
	assert_int_equal(ns, expected);
}

static void a_time_is_rfc_3339_with_any_offset(void **state)
{
	(void)state;
	assert_time("1970-01-01T00:00:00Z", 0);
	assert_time("2030-01-02T03:04:05Z", SAMPLE);
	assert_time("2030-01-02t03:04:05z", SAMPLE);
	assert_time("2030-01-02T04:34:05+01:30", SAMPLE);
	assert_time("2030-01-01T19:04:05-08:00", SAMPLE);
	assert_time("2030-01-02T03:04:05.000000001Z", SAMPLE + 1);
	assert_time("2030-01-02T03:04:05.5Z", SAMPLE + SECOND / 2);
	assert_time("2028-02-29T00:00:00Z", 1835395200 * SECOND);
	assert_time("2016-12-31T23:59:60Z", 1483228800 * SECOND);
}

static void a_time_before_now_is_a_duration_with_a_minus(void **state)
{
	uint64_t ns = 77;

	(void)state;
	assert_time("-15m", SAMPLE - 900 * SECOND);
	assert_time("-0s", SAMPLE);
	assert_int_equal(text_time("-100000w", SAMPLE, &ns), -ERANGE);
	assert_int_equal(text_time("-10000w", SAMPLE, &ns), -ERANGE);
	assert_int_equal(text_time("--15m", SAMPLE, &ns), -EINVAL);
	assert_int_equal(text_time("-", SAMPLE, &ns), -EINVAL);
	assert_int_equal(text_time("15m", SAMPLE, &ns), -EINVAL);
	assert_int_equal(ns, 77);
}

static void a_time_that_does_not_exist_or_has_no_offset_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"2030-01-02",
		"2030-01-02T03:04Z",
		"2030-01-02T03:04:05",
		"2030-01-02 03:04:05Z",
		"2030-02-29T00:00:00Z",
		"2100-02-29T00:00:00Z",
		"2030-13-01T00:00:00Z",
		"2030-00-01T00:00:00Z",
		"2030-01-00T00:00:00Z",
		"2030-01-02T24:00:00Z",
		"2030-01-02T03:60:05Z",
		"2030-01-02T03:04:61Z",
		"2030-01-02T03:04:05.Z",
		"2030-01-02T03:04:05Zx",
		"2030-01-02T03:04:05+0100",
		"2030-01-02T03:04:05+24:00",
		"2030-1-2T03:04:05Z",
		"02030-01-02T03:04:05Z",
	};
	uint64_t ns = 77;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_int_equal(text_time(texts[i], SAMPLE, &ns), -EINVAL);
	assert_int_equal(text_time("1969-12-31T23:59:59Z", SAMPLE, &ns), -ERANGE);
	assert_int_equal(text_time("2263-01-01T00:00:00Z", SAMPLE, &ns), -ERANGE);
	assert_int_equal(text_time("2030-01-02T03:04:05.0000000001Z", SAMPLE, &ns), -ERANGE);
	assert_int_equal(ns, 77);
}

static void a_time_is_written_in_utc_or_local_with_offset(void **state)
{
	char text[TEXT_VALUE_SIZE];

	(void)state;
	assert_string_equal(text_format_time(SAMPLE + 999999999, text), "2030-01-02T03:04:05Z");
	setenv("TZ", "XST-5:30", 1);
	text_format_local_time(SAMPLE, text);
	assert_string_equal(text, "2030-01-02T08:34:05+05:30");
	assert_time(text, SAMPLE);
	setenv("TZ", "XST3:30", 1);
	text_format_local_time(SAMPLE, text);
	assert_string_equal(text, "2030-01-01T23:34:05-03:30");
	assert_time(text, SAMPLE);
	unsetenv("TZ");
}

static void the_clock_is_past_2020(void **state)
{
	(void)state;
	assert_true(time_now_ns() > 1577836800 * SECOND);
}

static void a_slip_of_the_finger_finds_its_word(void **state)
{
	static const char *const words[] = {"name", "vips", "weight", "cohorts", "client", ""};
	char long_word[200];

	(void)state;
	assert_string_equal(text_nearest("wieght", words, COUNT(words)), "weight");
	assert_string_equal(text_nearest("vip", words, COUNT(words)), "vips");
	assert_string_equal(text_nearest("vpis", words, COUNT(words)), "vips");
	assert_string_equal(text_nearest("cohort", words, COUNT(words)), "cohorts");
	assert_string_equal(text_nearest("clients", words, COUNT(words)), "client");
	assert_null(text_nearest("backends", words, COUNT(words)));
	assert_null(text_nearest("x", words, COUNT(words)));
	assert_null(text_nearest("name", words, 0));
	memset(long_word, 'a', sizeof(long_word) - 1);
	long_word[sizeof(long_word) - 1] = 0;
	assert_null(text_nearest(long_word, words, COUNT(words)));
}

static void assert_printable(const char *text, const char *expected)
{
	char *printable = text_printable(text);

	assert_non_null(printable);
	assert_string_equal(printable, expected);
	free(printable);
}

static void printable_text_is_one_line_of_valid_utf8(void **state)
{
	(void)state;
	assert_printable("", "");
	assert_printable("plain – ünï 🙂", "plain – ünï 🙂");
	assert_printable("a\nb\033[31m\x7f", "a\\x0ab\\x1b[31m\\x7f");
	assert_printable("\xc2\x9b", "\\xc2\\x9b");	     /* C1 control sequence introducer */
	assert_printable("\xc0\xaf", "\\xc0\\xaf");	     /* overlong */
	assert_printable("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
	assert_printable("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	assert_printable("a\xe2\x82", "a\\xe2\\x82"); /* cut short */
	assert_printable("\xff", "\\xff");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_integer_is_decimal_whole_and_complete),
		cmocka_unit_test(an_integer_out_of_its_range_is_told_from_one_of_the_wrong_form),
		cmocka_unit_test(a_real_is_decimal_and_parses_back_from_its_shortest_form),
		cmocka_unit_test(a_percent_is_with_percent_sign_ppm_or_bare),
		cmocka_unit_test(a_percent_finer_than_one_ppm_is_refused),
		cmocka_unit_test(a_percent_over_100_is_refused),
		cmocka_unit_test(a_percent_in_another_form_is_refused),
		cmocka_unit_test(every_percent_parses_back_from_its_shortest_form),
		cmocka_unit_test(a_duration_has_a_number_and_a_unit_several_times),
		cmocka_unit_test(a_duration_in_another_form_is_refused),
		cmocka_unit_test(a_duration_that_overflows_is_refused),
		cmocka_unit_test(every_duration_parses_back_from_its_text),
		cmocka_unit_test(a_name_has_1_to_63_lower_case_letters_digits_and_inner_dashes),
		cmocka_unit_test(a_time_is_rfc_3339_with_any_offset),
		cmocka_unit_test(a_time_before_now_is_a_duration_with_a_minus),
		cmocka_unit_test(a_time_that_does_not_exist_or_has_no_offset_is_refused),
		cmocka_unit_test(a_time_is_written_in_utc_or_local_with_offset),
		cmocka_unit_test(the_clock_is_past_2020),
		cmocka_unit_test(a_slip_of_the_finger_finds_its_word),
		cmocka_unit_test(printable_text_is_one_line_of_valid_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
