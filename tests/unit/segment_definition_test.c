// SPDX-License-Identifier: GPL-2.0-only
/* What a segment's definition is, how it is said, and what two memberships have in common. */
#include "segment/definition.h"

#include "config/config.h"
#include "segment/overlap.h"
#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- definitions ---- */

static uint64_t definition_of(const char *yaml, uint8_t prefix4)
{
	char *text;
	struct policy *policy;
	uint64_t digest;

	assert_true(asprintf(&text, "version: 1\nsegments: [ { name: s, %s } ]\n", yaml) > 0);
	policy = config_parse(text, strlen(text), "test.yaml", NULL);
	assert_non_null(policy);
	assert_int_equal(segment_definition(&policy->segments[0], (struct client_form){prefix4, 64},
					    &digest),
			 0);
	policy_free(policy);
	free(text);
	return digest;
}

/* Each differs from all others in what decides; within a line of alikes nothing does. */
static void a_definition_is_all_that_decides_and_nothing_else(void **state)
{
	static const char *const alike[][2] = {
		{"cidrs: [ 10.0.0.1, 10.0.0.2 ]", "cidrs: [ 10.0.0.2, 10.0.0.1 ], refresh: 1h"},
		{"where: a", "where: a, description: words"},
		{"bins: { feature: f, cut: 4, take: [ 0, 1 ] }",
		 "bins: { feature: f, cut: 4, take: [ 1, 0 ] }"},
	};
	static const char *const others[] = {
		"cidrs: [ 10.0.0.1, 10.0.0.2 ]",
		"cidrs: [ 10.0.0.1 ]",
		"cidrs: [ 10.0.0.0/31 ]",
		"file: /a",
		"file: /b",
		"where: a",
		"where: b",
		"where: /a",
		"bins: { feature: f, cut: 4, take: [ 0, 1 ] }",
		"bins: { feature: f, qcut: 4, take: [ 0, 1 ] }",
		"bins: { feature: f, log: 4, take: [ 0, 1 ] }",
		"bins: { feature: f, cut: 5, take: [ 0, 1 ] }",
		"bins: { feature: f, cut: 4, take: [ 0 ] }",
		"bins: { feature: g, cut: 4, take: [ 0, 1 ] }",
		"bins: { feature: f, cut: 4, take: [ 0, 1 ], where: a }",
		"bins: { feature: f, edges: [ 0, 1 ], take: [ 0 ] }",
		"bins: { feature: f, edges: [ 0, 1.5 ], take: [ 0 ] }",
		"model: { model: m, class: 1 }",
		"model: { model: m, class: 2 }",
		"model: { model: m1, class: 1 }",
		"sample: { count: 1 }",
		"sample: { count: 2 }",
		"sample: { count: 1, where: a }",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(alike); i++)
		assert_int_equal(definition_of(alike[i][0], 32), definition_of(alike[i][1], 32));
	for (size_t i = 0; i < COUNT(others); i++) {
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(definition_of(others[i], 32),
					     definition_of(others[j], 32));
		assert_int_not_equal(definition_of(others[i], 32), definition_of(others[i], 24));
	}
}

static void a_source_is_said_in_a_line(void **state)
{
	static const char *const sources[][2] = {
		{"cidrs: [ 198.51.100.0/24 ]", "cidrs:198.51.100.0/24"},
		{"file: /etc/staff.txt", "file:/etc/staff.txt"},
		{"where: \"plan = 'enterprise'\"", "where:plan = 'enterprise'"},
		{"bins: { feature: flows_per_day, qcut: 4, take: [ 0 ] }",
		 "bins:flows_per_day qcut 4 [0]"},
		{"bins: { feature: x, edges: [ -1, 0.5, 9 ], take: [ 1, 0 ] }",
		 "bins:x edges -1,0.5,9 [0,1]"},
		{"model: { model: adopters, class: 1 }", "model:adopters=1"},
		{"sample: { count: 1000 }", "sample:1000"},
	};
	struct prefix prefix;
	struct member member;

	(void)state;
	assert_int_equal(prefix_parse("198.51.100.0/24", &prefix), 0);
	member = member_of(&prefix);
	for (size_t i = 0; i < COUNT(sources); i++) {
		struct policy *policy;
		char *text, *source;

		assert_true(asprintf(&text, "version: 1\nsegments: [ { name: s, %s } ]\n",
				     sources[i][0]) > 0);
		policy = config_parse(text, strlen(text), "test.yaml", NULL);
		source = segment_source(&policy->segments[0], &member);
		assert_string_equal(source, sources[i][1]);
		free(source);
		policy_free(policy);
		free(text);
	}
}

/* ---- what lists have in common ---- */

static bool holds(const struct member *outer, const struct member *inner)
{
	struct prefix a = member_prefix(outer), b = member_prefix(inner), cut;

	cut = prefix_shorten(&b, a.length, a.length);
	return a.address.family == b.address.family && a.length <= b.length &&
	       prefix_equal(&a, &cut);
}

/* As many members as lie within one of the other list, counted one by one. */
static size_t common_slowly(const struct member *a, size_t a_count, const struct member *b,
			    size_t b_count)
{
	size_t common = 0;

	for (size_t i = 0; i < a_count; i++) {
		bool is_held = false;

		for (size_t j = 0; j < b_count; j++)
			is_held |= holds(&b[j], &a[i]);
		common += is_held;
	}
	for (size_t j = 0; j < b_count; j++) {
		bool is_held = false;

		for (size_t i = 0; i < a_count; i++)
			is_held |= holds(&a[i], &b[j]) && member_compare(&a[i], &b[j]);
		common += is_held;
	}
	return common;
}

/* Few addresses and all lengths, so that prefixes nest; also IPv6 ones around IPv4's block. */
static size_t random_members(struct random *random, struct member *members, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct prefix prefix = {.address.family = random_below(random, 2) ? 4 : 6};
		unsigned int bits = prefix.address.family == 4 ? 32 : 128;

		if (random_below(random, 4)) {
			prefix.address.bytes[0] = random_below(random, 3);
			prefix.address.bytes[bits / 8 - 1] = random_below(random, 4);
			prefix.length = bits - random_below(random, 3);
		}
		if (random_below(random, 3) == 0)
			prefix.length = random_below(random, bits + 1);
		prefix = prefix_shorten(&prefix, prefix.length, prefix.length);
		members[i] = member_of(&prefix);
	}
	return members_sort(members, count);
}

static void what_lists_have_in_common_is_counted_right(void **state)
{
	struct random random = random_seeded(__func__);
	struct member a[24], b[24];

	(void)state;
	for (size_t i = 0; i < 20000; i++) {
		size_t a_count = random_members(&random, a, random_below(&random, COUNT(a) + 1));
		size_t b_count = random_members(&random, b, random_below(&random, COUNT(b) + 1));
		size_t missing = 0;

		assert_int_equal(members_common(a, a_count, b, b_count),
				 common_slowly(a, a_count, b, b_count));
		for (size_t j = 0; j < a_count; j++)
			missing += !bsearch(&a[j], b, b_count, sizeof(*b), member_compare);
		assert_int_equal(members_missing(a, a_count, b, b_count), missing);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_definition_is_all_that_decides_and_nothing_else),
		cmocka_unit_test(a_source_is_said_in_a_line),
		cmocka_unit_test(what_lists_have_in_common_is_counted_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
