// SPDX-License-Identifier: GPL-2.0-only
/*
 * The CSV parser: what it reads, what it refuses and where, in whatever pieces the file comes. And
 * what a field is: integer, real, or text.
 */
#include "catalogue/cell.h"
#include "catalogue/csv.h"
#include "tests/random.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Records as [field|field] and problems as !line:column what, one a line. */
struct reader {
	struct csv *csv;
	FILE *out;
	char *text;
	size_t size;
	bool with_places;
};

static void begin(struct reader *reader)
{
	*reader = (struct reader){.csv = csv_new()};
	assert_non_null(reader->csv);
	reader->out = open_memstream(&reader->text, &reader->size);
}

static void print_record(struct reader *reader, const struct csv_record *record)
{
	for (size_t i = 0; i < record->count; i++) {
		const struct csv_field *field = &record->fields[i];

		fputc(i ? '|' : '[', reader->out);
		if (reader->with_places)
			fprintf(reader->out, "%" PRIu64 ":%u ", field->line, field->column);
		fwrite(field->text, 1, field->length, reader->out);
		assert_int_equal(field->text[field->length], 0);
	}
	fputs("]\n", reader->out);
}

/* False at the end of the file, or where it is broken. */
static bool feed(struct reader *reader, const char *bytes, size_t size)
{
	struct csv_problem problem;
	struct csv_record record;
	enum csv_result result;

	csv_feed(reader->csv, bytes, size);
	while ((result = csv_next(reader->csv, &record, &problem)) != CSV_MORE) {
		if (result == CSV_RECORD)
			print_record(reader, &record);
		if (result == CSV_BAD || result == CSV_BROKEN)
			fprintf(reader->out, "%s%" PRIu64 ":%u %s\n",
				result == CSV_BAD ? "!" : "!!", problem.line, problem.column,
				problem.what);
		if (result == CSV_BROKEN || result == CSV_END)
			return false;
	}
	return true;
}

static char *end(struct reader *reader)
{
	struct csv_problem problem;
	struct csv_record record;
	enum csv_result result = csv_next(reader->csv, &record, &problem);

	/* They stay. */
	assert_true(result == CSV_BROKEN || result == CSV_END);
	csv_free(reader->csv);
	fclose(reader->out);
	return reader->text;
}

static char *read_all(const char *bytes, size_t size, size_t step, bool with_places)
{
	struct reader reader;
	size_t at = 0, part;
	bool goes_on = true;

	begin(&reader);
	reader.with_places = with_places;
	for (; goes_on && at < size; at += part) {
		part = step && step < size - at ? step : size - at;
		goes_on = feed(&reader, bytes + at, part);
	}
	if (goes_on)
		feed(&reader, "", 0);
	return end(&reader);
}

static void assert_reads_bytes(const char *bytes, size_t size, const char *expected)
{
	static const size_t steps[] = {0, 1, 2, 3, 7};

	for (size_t i = 0; i < COUNT(steps); i++) {
		char *text = read_all(bytes, size, steps[i], false);

		assert_string_equal(text, expected);
		free(text);
	}
}

static void assert_reads(const char *text, const char *expected)
{
	assert_reads_bytes(text, strlen(text), expected);
}

/* ---- what is read ---- */

static void records_are_lines_and_fields_are_between_commas(void **state)
{
	(void)state;
	assert_reads("", "");
	assert_reads("a", "[a]\n");
	assert_reads("a,b\n1,2\n", "[a|b]\n[1|2]\n");
	assert_reads("a,b\n1,2", "[a|b]\n[1|2]\n");
	assert_reads("a,b\r\n1,2\r\n", "[a|b]\n[1|2]\n");
	assert_reads(",\n,,\n", "[|]\n[||]\n");
	assert_reads("a,", "[a|]\n");
	assert_reads(" a , b ", "[ a | b ]\n");
	assert_reads("a;b\tc", "[a;b\tc]\n");
}

static void quotes_enclose_commas_line_ends_and_quotes(void **state)
{
	(void)state;
	assert_reads("\"a,b\",c\n", "[a,b|c]\n");
	assert_reads("\"a\nb\",c\n", "[a\nb|c]\n");
	assert_reads("\"a\r\nb\"\r\nc", "[a\r\nb]\n[c]\n");
	assert_reads("\"a\rb\"", "[a\rb]\n");
	assert_reads("\"say \"\"so\"\"\",x", "[say \"so\"|x]\n");
	assert_reads("\"\"\"\"", "[\"]\n");
	assert_reads("\"\"\n", "[]\n");
	assert_reads("\"\",\"\"", "[|]\n");
	assert_reads("a,\"b\"", "[a|b]\n");
}

static void empty_lines_are_passed_over(void **state)
{
	(void)state;
	assert_reads("\n\na\n\r\n\nb\n\n", "[a]\n[b]\n");
	assert_reads("\r\n", "");
}

static void a_byte_order_mark_is_passed_over_at_the_start_alone(void **state)
{
	(void)state;
	assert_reads("\xef\xbb\xbf"
		     "a,b\n",
		     "[a|b]\n");
	assert_reads("\xef\xbb\xbf\"a\"", "[a]\n");
	assert_reads("\xef\xbb\xbf", "");
	assert_reads("\xef\xbb\xbf\xef\xbb\xbfz", "[\xef\xbb\xbfz]\n");
	/* U+FEFC begins as the mark does. */
	assert_reads("\xef\xbb\xbc,b", "[\xef\xbb\xbc|b]\n");
	assert_reads("\xef\xbb", "!1:1 a field is no UTF-8\n");
	assert_reads("\xef,\n1", "!1:1 a field is no UTF-8\n[1]\n");
}

static void fields_know_their_line_and_column(void **state)
{
	static const char many[] = "a,b\n\n\"c\nd\",e,\"f\n\ng\"\r\nh";
	char *text = read_all(many, strlen(many), 2, true);

	(void)state;
	assert_string_equal(text, "[1:1 a|1:3 b]\n[3:1 c\nd|4:4 e|4:6 f\n\ng]\n[7:1 h]\n");
	free(text);
	text = read_all("\xef\xbb\xbfx,y", 6, 1, true);
	assert_string_equal(text, "[1:1 x|1:3 y]\n");
	free(text);
}

/* ---- what is refused ---- */

static void a_bad_record_is_told_with_its_place_and_the_next_one_is_read(void **state)
{
	(void)state;
	assert_reads("a\nb,c\"d,e\nf", "[a]\n!2:4 a quote is within a field\n[f]\n");
	assert_reads("a\n\"b\"c,d\ne", "[a]\n!2:4 there is text behind a closing quote\n[e]\n");
	assert_reads("a\n\"b\" ,d\ne", "[a]\n!2:4 there is text behind a closing quote\n[e]\n");
	assert_reads("a\nb,c\rd\ne",
		     "[a]\n!2:4 there is a carriage return without a line feed\n[e]\n");
	assert_reads("a\r", "!1:2 there is a carriage return without a line feed\n");
	assert_reads("\ra\nb", "!1:1 there is a carriage return without a line feed\n[b]\n");
	assert_reads("a\n\"b\"\rc\nd",
		     "[a]\n!2:4 there is a carriage return without a line feed\n[d]\n");
	assert_reads("a\nb,\xff,c\nd", "[a]\n!2:3 a field is no UTF-8\n[d]\n");
	assert_reads("a\nb,\xff\nd", "[a]\n!2:3 a field is no UTF-8\n[d]\n");
	assert_reads("a\n\"x\ny\xc3\",c\nd", "[a]\n!2:1 a field is no UTF-8\n[d]\n");
	assert_reads_bytes("a\nb\0c,d\ne", 9, "[a]\n!2:2 there is a NUL byte\n[e]\n");
	assert_reads_bytes("a\n\"b\0c\",d\ne", 11, "[a]\n!2:3 there is a NUL byte\n[e]\n");
}

static void utf8_is_what_rfc_3629_says(void **state)
{
	static const char *const good[] = {
		"\xc2\x80",	    "\xdf\xbf",		"\xe0\xa0\x80",
		"\xed\x9f\xbf",	    "\xee\x80\x80",	"\xef\xbf\xbf",
		"\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "gr\xc3\xbc\xc3\x9f"};
	static const char *const bad[] = {"\x80",
					  "\xc0\x80",
					  "\xc1\xbf",
					  "\xc2",
					  "\xc2\x41",
					  "\xe0\x9f\xbf",
					  "\xed\xa0\x80",
					  "\xe2\x82",
					  "\xf0\x8f\xbf\xbf",
					  "\xf4\x90\x80\x80",
					  "\xf5\x80\x80\x80",
					  "\xe2\x28\xa1",
					  "\xf0\x90\x80",
					  "\xf0\x90\x28\x80",
					  "\xfe",
					  "a\xff"};
	char text[16];

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		snprintf(text, sizeof(text), "[%s]\n", good[i]);
		assert_reads(good[i], text);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_reads(bad[i], "!1:1 a field is no UTF-8\n");
}

static void a_quote_that_is_never_closed_ends_the_reading_where_it_opened(void **state)
{
	(void)state;
	assert_reads("a,b\nc,\"d\ne\nf\n", "[a|b]\n!!2:3 the quote of a field is never closed\n");
	assert_reads("\"", "!!1:1 the quote of a field is never closed\n");
}

/* Feeds @size times @byte in pieces; how many were taken until the end. */
static uint64_t feed_run(struct reader *reader, int byte, uint64_t size)
{
	static char piece[1 << 20];
	uint64_t fed = 0;

	memset(piece, byte, sizeof(piece));
	for (; fed < size; fed += sizeof(piece))
		if (!feed(reader, piece, sizeof(piece)))
			return fed;
	return fed;
}

/* 2 GB are offered; not more than the limit and a piece are read. */
static void a_line_without_end_takes_no_time_and_no_memory(void **state)
{
	static const struct {
		const char *before;
		int byte;
		const char *says;
	} runs[] = {
		{"a\n", 'x', "[a]\n!!2:1 a field is longer than 64 KiB\n"},
		{"a\nb,\"", 'x', "[a]\n!!2:3 a field is longer than 64 KiB\n"},
		{"a\nb,\"", '\n', "[a]\n!!2:3 a field is longer than 64 KiB\n"},
		{"a\n\"", '"', "[a]\n!!2:1 a field is longer than 64 KiB\n"},
		{"a\n", ',', "[a]\n!!2:2000 it has more than 2000 fields\n"},
		{"a\nb\"", 'x',
		 "[a]\n!2:2 a quote is within a field\n!!2:2 a bad line is longer "
		 "than 1 MiB\n"},
		{"a\nb", 0,
		 "[a]\n!2:2 there is a NUL byte\n!!2:2 a bad line is longer than 1 MiB\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(runs); i++) {
		struct reader reader;
		char *text;

		begin(&reader);
		assert_true(feed(&reader, runs[i].before, strlen(runs[i].before)));
		assert_true(feed_run(&reader, runs[i].byte, 2000ULL << 20) <= 2 << 20);
		text = end(&reader);
		assert_string_equal(text, runs[i].says);
		free(text);
	}
}

static char *filled(size_t fields, size_t length)
{
	size_t size = fields * (length + 1);
	char *text = malloc(size + 1);

	memset(text, 'x', size);
	for (size_t i = 1; i <= fields; i++)
		text[i * (length + 1) - 1] = i == fields ? '\n' : ',';
	text[size] = 0;
	return text;
}

static void limits_are_what_they_say(void **state)
{
	static const struct {
		size_t fields, length;
		const char *says; /* NULL: it is read */
	} cases[] = {
		{1, CSV_FIELD_MAX, NULL},
		{1, CSV_FIELD_MAX + 1, "!!1:1 a field is longer than 64 KiB\n"},
		{CSV_FIELDS_MAX, 1, NULL},
		{CSV_FIELDS_MAX, 524, NULL},
		{CSV_FIELDS_MAX, 525, "!!1:1 a record is longer than 1 MiB\n"},
		{CSV_FIELDS_MAX + 1, 0, "!!1:2000 it has more than 2000 fields\n"},
		{16, CSV_FIELD_MAX, NULL},
		{17, CSV_FIELD_MAX, "!!1:1 a record is longer than 1 MiB\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *bytes = filled(cases[i].fields, cases[i].length);
		char *text = read_all(bytes, strlen(bytes), 4093, false);

		if (cases[i].says)
			assert_string_equal(text, cases[i].says);
		else
			assert_int_equal(strlen(text), strlen(bytes) + 2);
		free(text);
		free(bytes);
	}
}

/* ---- any records at all ---- */

#define RECORDS 300

static void write_field(FILE *csv, FILE *expected, struct random *random)
{
	static const char *const pieces[] = {"a",    "bc",	 ",", "\n", "\"",
					     "\r\n", "\xc3\xa9", " ", "\r", "\xf0\x9f\x98\x80"};
	bool quoted = random_below(random, 2);
	uint32_t count = random_below(random, 6);

	if (quoted)
		fputc('"', csv);
	for (uint32_t i = 0; i < count; i++) {
		const char *piece = pieces[random_below(random, COUNT(pieces))];

		if (!quoted && strpbrk(piece, ",\r\n\""))
			continue;
		fputs(piece, expected);
		fputs(strcmp(piece, "\"") ? piece : "\"\"", csv);
	}
	if (quoted)
		fputc('"', csv);
}

static void any_records_that_are_written_are_read_in_any_pieces(void **state)
{
	struct random random = random_seeded("any_records");
	char *csv = NULL, *expected = NULL, *text;
	size_t csv_size, expected_size;
	FILE *csv_stream, *expected_stream;

	(void)state;
	for (int round = 0; round < 50; round++) {
		csv_stream = open_memstream(&csv, &csv_size);
		expected_stream = open_memstream(&expected, &expected_size);
		for (int i = 0; i < RECORDS; i++) {
			/* The first field is not empty: that would be an empty line. */
			uint32_t fields = random_below(&random, 4);

			fprintf(csv_stream, "r%d", i);
			fprintf(expected_stream, "[r%d", i);
			for (uint32_t j = 0; j < fields; j++) {
				fputc(',', csv_stream);
				fputc('|', expected_stream);
				write_field(csv_stream, expected_stream, &random);
			}
			fputs(random_below(&random, 2) ? "\n" : "\r\n", csv_stream);
			fputs("]\n", expected_stream);
		}
		fclose(csv_stream);
		fclose(expected_stream);
		text = read_all(csv, csv_size, 1 + random_below(&random, 40), false);
		assert_string_equal(text, expected);
		free(text);
		free(csv);
		free(expected);
	}
}

/* ---- cells ---- */

static void a_cell_is_a_number_only_where_the_number_says_all(void **state)
{
	static const struct {
		const char *text;
		enum attribute_type type;
	} cells[] = {
		{"", ATTRIBUTE_EMPTY},
		{"0", ATTRIBUTE_INTEGER},
		{"7", ATTRIBUTE_INTEGER},
		{"-7", ATTRIBUTE_INTEGER},
		{"9223372036854775807", ATTRIBUTE_INTEGER},
		{"-9223372036854775808", ATTRIBUTE_INTEGER},
		{"9223372036854775808", ATTRIBUTE_TEXT},
		{"-9223372036854775809", ATTRIBUTE_TEXT},
		{"18446744073709551617", ATTRIBUTE_TEXT},
		{"99999999999999999999999", ATTRIBUTE_TEXT},
		{"01234", ATTRIBUTE_TEXT},
		{"-01", ATTRIBUTE_TEXT},
		{"00", ATTRIBUTE_TEXT},
		{"01.5", ATTRIBUTE_TEXT},
		{"+5", ATTRIBUTE_TEXT},
		{" 5", ATTRIBUTE_TEXT},
		{"5 ", ATTRIBUTE_TEXT},
		{"5x", ATTRIBUTE_TEXT},
		{"-", ATTRIBUTE_TEXT},
		{".", ATTRIBUTE_TEXT},
		{"-.", ATTRIBUTE_TEXT},
		{"0x10", ATTRIBUTE_TEXT},
		{"nan", ATTRIBUTE_TEXT},
		{"inf", ATTRIBUTE_TEXT},
		{"-inf", ATTRIBUTE_TEXT},
		{"1,5", ATTRIBUTE_TEXT},
		{"-0", ATTRIBUTE_REAL},
		{"1.5", ATTRIBUTE_REAL},
		{"-0.25", ATTRIBUTE_REAL},
		{".5", ATTRIBUTE_REAL},
		{"-.5", ATTRIBUTE_REAL},
		{"5.", ATTRIBUTE_TEXT},
		{"1e3", ATTRIBUTE_REAL},
		{"1E+3", ATTRIBUTE_REAL},
		{"1.5e-3", ATTRIBUTE_REAL},
		{"1e", ATTRIBUTE_TEXT},
		{"1e+", ATTRIBUTE_TEXT},
		{"1e999", ATTRIBUTE_TEXT},
		{"1.2.3", ATTRIBUTE_TEXT},
		{"192.0.2.1", ATTRIBUTE_TEXT},
		{"2030-01-02", ATTRIBUTE_TEXT},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cells); i++) {
		bool is_large;

		if (cell_type(cells[i].text, strlen(cells[i].text), &is_large) != cells[i].type)
			fail_msg("%s", cells[i].text);
	}
}

static void numbers_have_their_values(void **state)
{
	struct random random = random_seeded("numbers_have_their_values");
	struct attribute_value value;
	char text[64];
	bool is_large;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		int64_t integer = (int64_t)random_next(&random) >> random_below(&random, 64);
		union {
			uint64_t bits;
			double real;
		} number = {random_next(&random)};

		snprintf(text, sizeof(text), "%" PRId64, integer);
		assert_int_equal(cell_type(text, strlen(text), &is_large), ATTRIBUTE_INTEGER);
		assert_int_equal(is_large, integer < -(1LL << 53) || integer > 1LL << 53);
		value = cell_value(text, strlen(text), ATTRIBUTE_INTEGER);
		assert_int_equal(value.integer, integer);
		if (!isfinite(number.real))
			continue;
		snprintf(text, sizeof(text), "%.17g", number.real);
		if (!strpbrk(text, ".e"))
			continue;
		assert_int_equal(cell_type(text, strlen(text), &is_large), ATTRIBUTE_REAL);
		value = cell_value(text, strlen(text), ATTRIBUTE_REAL);
		assert_memory_equal(&value.real, &number.real, sizeof(double));
	}
	value = cell_value("-0", 2, ATTRIBUTE_REAL);
	assert_true(signbit(value.real) && value.real == 0);
	value = cell_value("", 0, ATTRIBUTE_TEXT);
	assert_int_equal(value.type, ATTRIBUTE_EMPTY);
	value = cell_value("7", 1, ATTRIBUTE_TEXT);
	assert_int_equal(value.type, ATTRIBUTE_TEXT);
	assert_string_equal(value.text, "7");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_lines_and_fields_are_between_commas),
		cmocka_unit_test(quotes_enclose_commas_line_ends_and_quotes),
		cmocka_unit_test(empty_lines_are_passed_over),
		cmocka_unit_test(a_byte_order_mark_is_passed_over_at_the_start_alone),
		cmocka_unit_test(fields_know_their_line_and_column),
		cmocka_unit_test(a_bad_record_is_told_with_its_place_and_the_next_one_is_read),
		cmocka_unit_test(utf8_is_what_rfc_3629_says),
		cmocka_unit_test(a_quote_that_is_never_closed_ends_the_reading_where_it_opened),
		cmocka_unit_test(a_line_without_end_takes_no_time_and_no_memory),
		cmocka_unit_test(limits_are_what_they_say),
		cmocka_unit_test(any_records_that_are_written_are_read_in_any_pieces),
		cmocka_unit_test(a_cell_is_a_number_only_where_the_number_says_all),
		cmocka_unit_test(numbers_have_their_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
