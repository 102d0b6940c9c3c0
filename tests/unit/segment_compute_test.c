// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is in a segment: of each kind, from a catalogue that SQLite itself has filled. What is drawn
 * by a hash, or cut as pandas does, is held against others in tests/e2e/segment_test.py and
 * tests/reference.
 */
#include "state_fixture.h"

#include "segment/compute.h"

#include "config/config.h"
#include "segment/overlap.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct fixture {
	struct state_box state;
	char list[100];
	struct policy *policy;
	struct siphash_key secret;
	bool has_secret;
};

static int make_box(void **state)
{
	struct fixture *box = calloc(1, sizeof(*box));

	assert_non_null(box);
	state_box_make(&box->state);
	snprintf(box->list, sizeof(box->list), "%s/list.txt", box->state.root);
	/* 000102..0f, as in the contract's vectors. */
	box->secret = (struct siphash_key){0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
	box->has_secret = true;
	*state = box;
	return 0;
}

static int remove_box(void **state)
{
	struct fixture *box = *state;

	unlink(box->list);
	state_box_remove(&box->state);
	policy_free(box->policy);
	free(box);
	return 0;
}

/* Ten IPv4 clients 192.0.2.1 to .10 with flows 1 to 10, every other one gold; and a prefix. */
static void fill(const struct fixture *box)
{
	state_box_execute(
		&box->state,
		"ALTER TABLE clients ADD COLUMN plan; ALTER TABLE clients ADD COLUMN spent;"
		"WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 10)"
		"INSERT INTO clients SELECT CAST(x'00000000000000000000ffffc00002' || "
		"char(i) || x'80' AS BLOB), iif(i % 2, 'gold', 'trial'), 100.5 * i FROM n;"
		"INSERT INTO clients VALUES (CAST(x'00000000000000000000ffffcb007100' || x'78' AS "
		"BLOB), 'gold', NULL), (x'20010db800010002000000000000000040', 'gold', 7);"
		"WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 10)"
		"INSERT INTO features SELECT CAST(x'00000000000000000000ffffc00002' || "
		"char(i) || x'80' AS BLOB), 10 * i, 100, i, 1, i / 7.0, 1, 1, 1, 1, 1 FROM n;");
}

static void write_list(const struct fixture *box, const void *text, size_t length)
{
	FILE *stream = fopen(box->list, "w");

	assert_non_null(stream);
	assert_int_equal(fwrite(text, 1, length, stream), length);
	fclose(stream);
}

/* Computes segment s of @yaml, the value of the one segment, whatever its name. */
static int compute_in(struct fixture *box, const char *yaml, const char *rest,
		      struct membership *out)
{
	struct segment_world world = {.secret = box->has_secret ? &box->secret : NULL};
	char *text;

	assert_true(asprintf(&text, "version: 1\nsegments: [ { name: s, %s } ]\n%s", yaml, rest) >
		    0);
	policy_free(box->policy);
	box->policy = config_parse(text, strlen(text), "test.yaml", box->state.errors);
	free(text);
	if (!box->policy)
		errors_print(box->state.errors, stderr);
	assert_non_null(box->policy);
	store_close(box->state.store);
	box->state.store = NULL;
	assert_int_equal(
		store_open_read(box->state.directory, &box->state.store, box->state.errors), 0);
	world.store = box->state.store;
	world.limits = &box->policy->limits;
	world.form = box_client_form(box->policy);
	errors_free(box->state.errors);
	box->state.errors = errors_new();
	return segment_compute(&world, &box->policy->segments[0], out, box->state.errors);
}

static char *members_text(const struct membership *membership)
{
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	for (size_t i = 0; i < membership->count; i++) {
		struct prefix prefix = member_prefix(&membership->members[i]);
		char client[ADDRESS_TEXT_SIZE];

		fprintf(stream, "%s%s", i ? " " : "", prefix_format(&prefix, client));
	}
	fclose(stream);
	return text;
}

/* @expected: the members, in order. @detail: a part of the detail. */
static void assert_members_in(struct fixture *box, const char *yaml, const char *rest,
			      const char *expected, const char *detail)
{
	struct membership membership;
	char *text;

	if (compute_in(box, yaml, rest, &membership))
		errors_print(box->state.errors, stderr);
	assert_int_equal(errors_count(box->state.errors), 0);
	text = members_text(&membership);
	assert_string_equal(text, expected);
	assert_string_equal(membership.segment, "s");
	if (detail && !strstr(membership.detail, detail))
		fail_msg("%s has no %s", membership.detail, detail);
	free(text);
	membership_release(&membership);
}

static void assert_members(struct fixture *box, const char *yaml, const char *expected,
			   const char *detail)
{
	assert_members_in(box, yaml, "", expected, detail);
}

static void assert_listed(const json_t *list, const char *object, const char *text)
{
	const json_t *entry = json_array_get(list, 0);
	const char *message = json_string_value(json_object_get(entry, "message"));
	const char *hint = json_string_value(json_object_get(entry, "hint"));

	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(json_string_value(json_object_get(entry, "object")), object);
	if (!strstr(message, text) && !strstr(hint, text))
		fail_msg("%s: %s has no %s", message, hint, text);
}

/* One error about @object that has @text in it, at the segment's place in its file. */
static void assert_refused(struct fixture *box, const char *yaml, int code, const char *object,
			   const char *text)
{
	struct membership membership;
	json_t *report;
	const json_t *entry;

	assert_int_equal(compute_in(box, yaml, "", &membership), -code);
	assert_null(membership.members);
	report = errors_to_json(box->state.errors);
	assert_listed(json_object_get(report, "errors"), object, text);
	entry = json_array_get(json_object_get(report, "errors"), 0);
	assert_string_equal(json_string_value(json_object_get(entry, "file")), "test.yaml");
	assert_int_equal(json_integer_value(json_object_get(entry, "line")), 2);
	assert_int_equal(json_integer_value(json_object_get(entry, "column")), 21);
	json_decref(report);
}

/* What was computed last has one warning with @text in it. */
static void assert_warned(const struct fixture *box, const char *text)
{
	json_t *warnings = errors_warnings_to_json(box->state.errors);

	assert_listed(warnings, "segments/s", text);
	json_decref(warnings);
}

/* ---- prefixes ---- */

static void prefixes_are_sorted_and_in_the_form_of_the_box(void **state)
{
	struct fixture *box = *state;
	static const char two_services[] =
		"services:\n"
		"- { name: a, vips: [ 1.1.1.1:1/tcp ], steer: l2, client: { prefix4: 16, prefix6: "
		"56 },\n    cohorts: [ { name: x, backends: [ { address: 10.0.0.1 } ] }, { name: y "
		"} ] }\n"
		"- { name: b, vips: [ 1.1.1.2:1/tcp ], steer: l2, client: { prefix4: 24, prefix6: "
		"48 },\n    cohorts: [ { name: x, backends: [ { address: 10.0.0.1 } ] }, { name: y "
		"} ] }\n";
	static const char cidrs[] = "cidrs: [ '2001:db8:1:2::/64', 198.51.100.9, 10.0.0.0/8, "
				    "198.51.100.7, '2001:db8:1:3::1', '::ffff:192.0.2.0/120' ]";

	assert_members(box, cidrs,
		       "10.0.0.0/8 192.0.2.0/24 198.51.100.7 198.51.100.9 2001:db8:1:2::/64 "
		       "2001:db8:1:3::/64",
		       "{}");
	assert_members_in(box, cidrs, two_services,
			  "10.0.0.0/8 192.0.2.0/24 198.51.100.0/24 2001:db8:1::/56", NULL);
}

static void a_file_has_a_prefix_a_line(void **state)
{
	struct fixture *box = *state;
	static const char text[] = "\xef\xbb\xbf# staff\n198.51.100.0/24\r\n\n"
				   "\t 10.0.0.1   # ann # and bob\n2001:db8::/48#\n10.0.0.1\n   \n"
				   "::ffff:192.0.2.0/120";
	char yaml[160];

	snprintf(yaml, sizeof(yaml), "file: %s", box->list);
	write_list(box, text, strlen(text));
	assert_members(box, yaml, "10.0.0.1 192.0.2.0/24 198.51.100.0/24 2001:db8::/48", NULL);
	write_list(box, "", 0);
	assert_members(box, yaml, "", NULL);
}

static void bad_lines_are_named(void **state)
{
	struct fixture *box = *state;
	static const char text[] = "10.0.0.1\n  10.0.0.0/33\nstaff # x\n10.0.0.1/8\n10.0.0.1\0x\n"
				   "10.0.0.1 10.0.0.2\n2001:db8::12345\n";
	static const unsigned int places[][2] = {{2, 3}, {3, 1}, {4, 1}, {5, 1}, {6, 1}, {7, 1}};
	struct membership membership;
	char yaml[160];
	json_t *report, *list;

	snprintf(yaml, sizeof(yaml), "file: %s", box->list);
	write_list(box, text, sizeof(text) - 1);
	assert_int_equal(compute_in(box, yaml, "", &membership), -EINVAL);
	report = errors_to_json(box->state.errors);
	list = json_object_get(report, "errors");
	assert_int_equal(json_array_size(list), COUNT(places));
	for (size_t i = 0; i < COUNT(places); i++) {
		const json_t *entry = json_array_get(list, i);

		assert_string_equal(json_string_value(json_object_get(entry, "file")), box->list);
		assert_int_equal(json_integer_value(json_object_get(entry, "line")), places[i][0]);
		assert_int_equal(json_integer_value(json_object_get(entry, "column")),
				 places[i][1]);
		assert_string_equal(json_string_value(json_object_get(entry, "object")),
				    "segments/s");
	}
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 2), "hint")),
			    "did you mean 10.0.0.0/8?");
	json_decref(report);
}

/* A line of 64 MiB needs no memory of that size, and is told by its beginning. */
static void a_line_of_any_length_is_only_a_bad_line(void **state)
{
	struct fixture *box = *state;
	FILE *stream = fopen(box->list, "w");
	char block[65536], yaml[160];
	struct membership membership;

	memset(block, '1', sizeof(block));
	for (size_t i = 0; i < 1024; i++)
		fwrite(block, 1, sizeof(block), stream);
	fputs("\n#", stream);
	for (size_t i = 0; i < 16; i++)
		fwrite(block, 1, sizeof(block), stream);
	fclose(stream);
	snprintf(yaml, sizeof(yaml), "file: %s", box->list);
	assert_int_equal(compute_in(box, yaml, "", &membership), -EINVAL);
	assert_int_equal(errors_count(box->state.errors), 1);
}

static void a_file_that_cannot_be_read_is_an_error(void **state)
{
	struct fixture *box = *state;
	char yaml[160];

	assert_refused(box, "file: /nonexistent/list", ENOENT, "segments/s",
		       "/nonexistent/list cannot be read: No such file");
	snprintf(yaml, sizeof(yaml), "file: %s", box->state.root);
	assert_refused(box, yaml, EINVAL, "segments/s", "is no regular file");
	/* Nobody writes into the pipe: this must not wait. */
	assert_int_equal(mkfifo(box->list, 0600), 0);
	snprintf(yaml, sizeof(yaml), "file: %s", box->list);
	assert_refused(box, yaml, EINVAL, "segments/s", "is no regular file");
}

static void a_file_is_read_no_further_than_limits_allow(void **state)
{
	struct fixture *box = *state;
	FILE *stream = fopen(box->list, "w");
	struct membership membership;
	char yaml[160];

	for (unsigned int i = 0; i < 100000; i++)
		fprintf(stream, "10.%u.%u.%u\n", i >> 16, i >> 8 & 255, i & 255);
	fputs("and a bad line\n", stream);
	fclose(stream);
	snprintf(yaml, sizeof(yaml), "file: %s", box->list);
	assert_int_equal(compute_in(box, yaml,
				    "limits: { segment_clients: 99, segment_prefixes: 1 }\n",
				    &membership),
			 -E2BIG);
	assert_int_equal(errors_count(box->state.errors), 1);
}

/* ---- where and sample ---- */

static void where_takes_the_rows_that_are_true(void **state)
{
	struct fixture *box = *state;

	fill(box);
	assert_members(box, "where: \"plan = 'gold' AND flows > 4\"",
		       "192.0.2.5 192.0.2.7 192.0.2.9", NULL);
	assert_members(box, "where: \"plan = 'gold' AND flows IS NULL\"",
		       "203.0.113.0/24 2001:db8:1:2::/64", NULL);
	assert_members(box, "where: \"flows > 1000\"", "", NULL);
	/* NULL is not true. */
	assert_members(box, "where: \"spent < 150\"", "192.0.2.1 2001:db8:1:2::/64", NULL);
}

static void a_bad_expression_is_refused(void **state)
{
	struct fixture *box = *state;

	fill(box);
	assert_refused(box, "where: \"plan =\"", EINVAL, "segments/s/where", "plan =");
	assert_refused(box, "where: \"plam = 'gold'\"", ENOENT, "segments/s/where", "plam");
	assert_refused(box, "where: \"(SELECT count(*) FROM audit)\"", EINVAL, "segments/s/where",
		       "SELECT");
	assert_refused(box, "where: \"1; DELETE FROM clients\"", EINVAL, "segments/s/where",
		       "DELETE FROM clients");
	assert_refused(box, "sample: { count: 1, where: \"nope\" }", ENOENT,
		       "segments/s/sample/where", "nope");
	assert_refused(box, "bins: { feature: flows, cut: 2, take: [ 0 ], where: \"nope\" }",
		       ENOENT, "segments/s/bins", "nope");
}

static void a_sample_has_exactly_so_many_and_grows_by_others(void **state)
{
	struct fixture *box = *state;
	struct membership smaller = {0}, larger;
	char yaml[64];

	fill(box);
	for (unsigned int count = 1; count <= 12; count++) {
		snprintf(yaml, sizeof(yaml), "sample: { count: %u }", count);
		assert_int_equal(compute_in(box, yaml, "", &larger), 0);
		assert_int_equal(larger.count, count);
		assert_int_equal(members_missing(smaller.members, smaller.count, larger.members,
						 larger.count),
				 0);
		membership_release(&smaller);
		smaller = larger;
	}
	membership_release(&smaller);
	assert_int_equal(compute_in(box, "sample: { count: 13 }", "", &larger), 0);
	assert_int_equal(larger.count, 12);
	membership_release(&larger);
	assert_warned(box, "has 12 such clients, not 13");
	assert_members(box, "sample: { count: 2, where: \"flows IN (3, 4)\" }",
		       "192.0.2.3 192.0.2.4", "\"population\":2");
	box->has_secret = false;
	assert_refused(box, "sample: { count: 1 }", ENOKEY, "segments/s", "secret");
}

/*
 * By the definition, from the contract's vector: under this secret the token of 198.51.100.7 is
 * bea1e9d79020926a and that of 203.0.113.9 a95aeba497ade9c4.
 */
static void a_sample_takes_the_lowest_hashes(void **state)
{
	static const uint64_t tokens[] = {0xbea1e9d79020926aULL, 0xa95aeba497ade9c4ULL};
	static const char *const clients[] = {"198.51.100.7", "203.0.113.9"};
	static const char salt[] = "xdp-canary/sample/s";
	struct fixture *box = *state;
	uint64_t salt64 = 0;
	size_t first;

	state_box_execute(&box->state,
			  "INSERT INTO clients VALUES (x'00000000000000000000ffffc633640780'),"
			  " (x'00000000000000000000ffffcb00710980');");
	/* SipHash-1-3 with a zero key, over whole words and a rest, by the one-word primitives. */
	{
		struct siphash_state sip = siphash_begin((struct siphash_key){0});
		uint64_t word;
		size_t i, length = strlen(salt);

		for (i = 0; i + 8 <= length; i += 8) {
			memcpy(&word, salt + i, 8);
			siphash_word(&sip, word);
		}
		word = 0;
		memcpy(&word, salt + i, length - i);
		salt64 = siphash_end(&sip, word, length);
	}
	first = client_hash(tokens[0], salt64) > client_hash(tokens[1], salt64);
	assert_members(box, "sample: { count: 1 }", clients[first], NULL);
}

/* ---- bins ---- */

static void bins_take_their_clients(void **state)
{
	struct fixture *box = *state;

	fill(box);
	/* 1 to 10 in quarters: edges 1, 3.25, 5.5, 7.75, 10. */
	assert_members(box, "bins: { feature: flows, qcut: 4, take: [ 0 ] }",
		       "192.0.2.1 192.0.2.2 192.0.2.3", "\"edges\":[1.0,3.25,5.5,7.75,10.0]");
	assert_members(box, "bins: { feature: flows, qcut: 4, take: [ 3, 1 ] }",
		       "192.0.2.4 192.0.2.5 192.0.2.8 192.0.2.9 192.0.2.10",
		       "{\"bin\":3,\"clients\":3,\"share_ppm\":300000,\"taken\":true}");
	assert_members(box, "bins: { feature: flows, edges: [ 2, 4, 6 ], take: [ 0 ] }",
		       "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4",
		       "\"population\":10,\"edges\":[2.0,4.0,6.0]");
	/* An attribute; who has none is in no bin. */
	assert_members(box, "bins: { feature: spent, cut: 1, take: [ 0 ], where: \"flows < 3\" }",
		       "192.0.2.1 192.0.2.2", "\"population\":2");
}

static void bins_that_cannot_be_are_said(void **state)
{
	struct fixture *box = *state;
	struct membership membership;

	fill(box);
	assert_refused(box, "bins: { feature: flws, cut: 2, take: [ 0 ] }", ENOENT,
		       "segments/s/bins", "flws");
	assert_refused(box, "bins: { feature: plan, cut: 2, take: [ 0 ] }", EINVAL, "segments/s",
		       "plan of client 192.0.2.1 is no number: \"gold\"");
	/* Nobody has been observed with such flows: nobody is in it, and that is said. */
	assert_int_equal(compute_in(box,
				    "bins: { feature: flows, qcut: 4, take: [ 0 ], where: \"flows "
				    "> 99\" }",
				    "", &membership),
			 0);
	assert_int_equal(membership.count, 0);
	membership_release(&membership);
	assert_warned(box, "no client of the population has a value of flows");
	/* Equal quantiles: seven of ten in one value leave fewer bins. */
	state_box_execute(&box->state, "UPDATE features SET services = iif(flows > 7, 2, 1);");
	assert_int_equal(compute_in(box, "bins: { feature: services, qcut: 4, take: [ 3 ] }", "",
				    &membership),
			 0);
	assert_int_equal(membership.count, 0);
	membership_release(&membership);
	assert_warned(box, "there is no bin 3");
}

static void a_model_that_is_not_there_is_refused(void **state)
{
	struct fixture *box = *state;
	struct segment_world world = {0};
	struct membership membership;

	fill(box);
	assert_refused(box, "model: { model: adopters, class: 1 }", ENOENT, "segments/s",
		       "adopters");
	assert_refused(box, "bins: { feature: adopters.score, cut: 2, take: [ 0 ] }", ENOENT,
		       "segments/s", "adopters");
	/* Without a state, too. */
	world.limits = &box->policy->limits;
	world.form = box_client_form(box->policy);
	assert_int_equal(segment_compute(&world, &box->policy->segments[0], &membership, NULL),
			 -ENOENT);
}

/* ---- groupings ---- */

static void a_grouping_has_each_text_once(void **state)
{
	struct fixture *box = *state;
	struct segment_world world = {.form = {32, 64}};
	struct grouping grouping;

	fill(box);
	state_box_execute(&box->state, "UPDATE clients SET plan = '' WHERE spent = 201;"
				       "UPDATE clients SET plan = 7 WHERE spent = 301.5;"
				       "UPDATE clients SET plan = NULL WHERE spent = 402;");
	assert_int_equal(
		store_open_read(box->state.directory, &box->state.store, box->state.errors), 0);
	world.store = box->state.store;
	assert_int_equal(grouping_compute(&world, "plan", &grouping, box->state.errors), 0);
	/* 7, gold, trial: .2 and .4 have none. */
	assert_int_equal(grouping.texts_count, 3);
	assert_int_equal(grouping.texts_size, sizeof("7\0gold\0trial"));
	assert_memory_equal(grouping.texts, "7\0gold\0trial", grouping.texts_size);
	assert_int_equal(grouping.count, 10);
	for (size_t i = 0; i < grouping.count; i++) {
		const struct grouped_client *client = &grouping.clients[i];
		uint32_t last = client->client.low & 255;
		bool is_observed = client->client.length == 128;

		assert_true(!i || member_compare(&client[-1].client, &client->client) < 0);
		assert_int_equal(client->text, !is_observed ? 1 : last == 3 ? 0 : last % 2 ? 1 : 2);
	}
	grouping_release(&grouping);
	assert_int_equal(grouping_compute(&world, "app", &grouping, box->state.errors), -ENOENT);
}

#define BOX_TEST(test) cmocka_unit_test_setup_teardown(test, make_box, remove_box)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOX_TEST(prefixes_are_sorted_and_in_the_form_of_the_box),
		BOX_TEST(a_file_has_a_prefix_a_line),
		BOX_TEST(bad_lines_are_named),
		BOX_TEST(a_line_of_any_length_is_only_a_bad_line),
		BOX_TEST(a_file_that_cannot_be_read_is_an_error),
		BOX_TEST(a_file_is_read_no_further_than_limits_allow),
		BOX_TEST(where_takes_the_rows_that_are_true),
		BOX_TEST(a_bad_expression_is_refused),
		BOX_TEST(a_sample_has_exactly_so_many_and_grows_by_others),
		BOX_TEST(a_sample_takes_the_lowest_hashes),
		BOX_TEST(bins_take_their_clients),
		BOX_TEST(bins_that_cannot_be_are_said),
		BOX_TEST(a_model_that_is_not_there_is_refused),
		BOX_TEST(a_grouping_has_each_text_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
