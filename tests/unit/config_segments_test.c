// SPDX-License-Identifier: GPL-2.0-only
/*
 * Segments as the configuration has them: every key reaches the policy and comes back, and what
 * cannot be meant is refused where it stands.
 */
#include "config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SEGMENTS "version: 1\nsegments:\n"

/* ---- what is right ---- */

static const char every_key[] =
	"observe: { sample: 1, window: 1h }\n"
	"limits: { segment_clients: 10, segment_prefixes: 20, observed_clients: 30 }\n" SEGMENTS
	"- { name: staff, description: ours, cidrs: [ 198.51.100.0/24, '2001:db8:5::/48',\n"
	"    '::ffff:203.0.113.0/120', 10.0.0.1, 0.0.0.0/0 ], refresh: 1s }\n"
	"- { name: listed, file: /etc/xdp-canary/staff.txt }\n"
	"- { name: enterprise, where: \"plan = 'enterprise'\" }\n"
	"- { name: cut, bins: { feature: bytes, cut: 10, take: [ 9, 0 ] } }\n"
	"- { name: qcut, bins: { feature: flows_per_day, qcut: 4, take: [ 0 ], where: plan } }\n"
	"- { name: log, bins: { feature: packets, log: 1, take: [ 0 ] } }\n"
	"- { name: edges, bins: { feature: score, edges: [ -1.5, 0, 2.5e3 ], take: [ 1 ] } }\n"
	"- { name: adopters, model: { model: adopters, class: 1 }, refresh: 366d }\n"
	"- { name: some, sample: { count: 1000, where: 'bytes > 0' } }\n"
	"- { name: any, sample: { count: 1 } }\n"
	"- name: long\n"
	"  where: |\n"
	"    plan = 'a'\n"
	"    \tAND tag = 'b: #c'\n"
	"services:\n" NAMED_SERVICE("api", "192.0.2.10:443/tcp") COHORTS
	"  client: { group_by: App id }\n"
	"  rules:\n"
	"  - { segment: staff, allocate: { canary: 50% } }\n"
	"  - { name: again, segment: enterprise }\n"
	"  - { default: true }\n";

static void assert_prefix(const struct prefix *prefix, const char *expected)
{
	char text[ADDRESS_TEXT_SIZE];

	assert_string_equal(prefix_format(prefix, text), expected);
}

static void assert_bins(const struct policy *policy, const char *name, enum bin_method method,
			const char *feature, uint32_t count)
{
	const struct segment *segment = policy_segment(policy, name);

	assert_int_equal(segment->kind, SEGMENT_BINS);
	assert_int_equal(segment->bins.method, method);
	assert_string_equal(segment->bins.feature, feature);
	assert_int_equal(segment->bins.count, count);
}

static void every_kind_reaches_the_policy(void **state)
{
	struct policy *policy = parse(every_key);
	const struct segment *segment = policy_segment(policy, "staff");

	(void)state;
	assert_int_equal(policy->segments_count, 11);
	assert_int_equal(segment->kind, SEGMENT_CIDRS);
	assert_string_equal(segment->description, "ours");
	assert_int_equal(segment->refresh_ms, 1000);
	assert_int_equal(segment->position.line, 5);
	assert_int_equal(segment->cidrs_count, 5);
	assert_prefix(&segment->cidrs[0], "198.51.100.0/24");
	assert_prefix(&segment->cidrs[1], "2001:db8:5::/48");
	assert_prefix(&segment->cidrs[2], "203.0.113.0/24");
	assert_prefix(&segment->cidrs[3], "10.0.0.1");
	assert_prefix(&segment->cidrs[4], "0.0.0.0/0");
	segment = policy_segment(policy, "listed");
	assert_int_equal(segment->kind, SEGMENT_FILE);
	assert_string_equal(segment->file, "/etc/xdp-canary/staff.txt");
	assert_string_equal(segment->description, "");
	assert_int_equal(segment->refresh_ms, 0);
	segment = policy_segment(policy, "enterprise");
	assert_int_equal(segment->kind, SEGMENT_WHERE);
	assert_string_equal(segment->where, "plan = 'enterprise'");
	segment = policy_segment(policy, "adopters");
	assert_int_equal(segment->kind, SEGMENT_MODEL);
	assert_string_equal(segment->model.name, "adopters");
	assert_string_equal(segment->model.class_name, "1");
	assert_int_equal(segment->refresh_ms, 366 * 86400000ULL);
	segment = policy_segment(policy, "some");
	assert_int_equal(segment->kind, SEGMENT_SAMPLE);
	assert_int_equal(segment->sample.count, 1000);
	assert_string_equal(segment->sample.where, "bytes > 0");
	assert_null(policy_segment(policy, "any")->sample.where);
	assert_string_equal(policy_segment(policy, "long")->where,
			    "plan = 'a'\n\tAND tag = 'b: #c'\n");
	assert_round_trip(policy);
	policy_free(policy);
}

static void every_manner_of_bins_reaches_the_policy(void **state)
{
	struct policy *policy = parse(every_key);
	const struct segment_bins *bins;

	(void)state;
	assert_bins(policy, "cut", BINS_CUT, "bytes", 10);
	assert_bins(policy, "qcut", BINS_QCUT, "flows_per_day", 4);
	assert_bins(policy, "log", BINS_LOG, "packets", 1);
	assert_bins(policy, "edges", BINS_EDGES, "score", 2);
	/* A set, in ascending order. */
	bins = &policy_segment(policy, "cut")->bins;
	assert_int_equal(bins->take_count, 2);
	assert_int_equal(bins->take[0], 0);
	assert_int_equal(bins->take[1], 9);
	assert_null(bins->where);
	assert_string_equal(policy_segment(policy, "qcut")->bins.where, "plan");
	bins = &policy_segment(policy, "edges")->bins;
	assert_int_equal(bins->edges_count, 3);
	assert_true(bins->edges[0] == -1.5 && bins->edges[1] == 0 && bins->edges[2] == 2500);
	policy_free(policy);
}

static void the_other_keys_of_segments_reach_the_policy(void **state)
{
	struct policy *policy = parse(every_key), *defaults = parse("version: 1\n");
	struct policy *observing = parse("version: 1\nobserve: {}\n"), *empty = policy_new();
	const struct service *service = policy_service(policy, "api");

	(void)state;
	assert_true(policy->observe.is_on);
	assert_int_equal(policy->observe.sample, 1);
	assert_int_equal(policy->observe.window_ms, 3600000);
	assert_int_equal(policy->limits.segment_clients, 10);
	assert_int_equal(policy->limits.segment_prefixes, 20);
	assert_int_equal(policy->limits.observed_clients, 30);
	assert_string_equal(service->group_by, "App id");
	assert_int_equal(service->rules_count, 3);
	assert_string_equal(service->rules[0].name, "staff");
	assert_string_equal(service->rules[0].segment, "staff");
	assert_int_equal(service->rules[0].base_ppm[1], 500000);
	assert_string_equal(service->rules[1].name, "again");
	assert_string_equal(service->rules[1].segment, "enterprise");
	assert_int_equal(service->rules[1].base_ppm[0], 1000000);
	assert_string_equal(service->rules[2].name, "default");
	assert_string_equal(service->rules[2].segment, "");
	assert_false(defaults->observe.is_on);
	assert_true(observing->observe.is_on);
	assert_int_equal(observing->observe.sample, 16);
	assert_int_equal(observing->observe.window_ms, 7 * 86400000ULL);
	assert_round_trip(observing);
	assert_int_equal(defaults->limits.segment_clients, 1048576);
	assert_int_equal(defaults->limits.segment_prefixes, 131072);
	assert_int_equal(defaults->limits.observed_clients, 1048576);
	assert_memory_equal(&defaults->limits, &empty->limits, sizeof(empty->limits));
	assert_int_equal(defaults->observe.sample, empty->observe.sample);
	assert_int_equal(defaults->observe.window_ms, empty->observe.window_ms);
	policy_free(policy);
	policy_free(defaults);
	policy_free(observing);
	policy_free(empty);
}

static void write_text(const char *name, const char *text)
{
	FILE *stream = fopen(name, "w");

	assert_non_null(stream);
	fputs(text, stream);
	fclose(stream);
}

/* A revision must mean the same wherever it is read again. */
static void a_file_is_named_from_its_configuration(void **state)
{
	char directory[] = "/tmp/config_segments_test.XXXXXX", name[64], expected[96], *here;
	struct policy *policy;
	char *yaml;

	(void)state;
	here = getcwd(NULL, 0);
	assert_non_null(mkdtemp(directory));
	snprintf(name, sizeof(name), "%s/a.yaml", directory);
	snprintf(expected, sizeof(expected), "%s/lists/staff.txt", directory);
	write_text(name, SEGMENTS "- { name: a, file: lists/staff.txt }\n");
	policy = config_load((const char *[]){name}, 1, NULL);
	assert_string_equal(policy->segments[0].file, expected);
	assert_round_trip(policy);
	policy_free(policy);
	assert_int_equal(chdir(directory), 0);
	policy = config_load((const char *[]){"a.yaml"}, 1, NULL);
	assert_int_equal(chdir(here), 0);
	assert_string_equal(policy->segments[0].file, expected);
	yaml = config_to_yaml(policy);
	assert_non_null(strstr(yaml, expected));
	free(yaml);
	policy_free(policy);
	unlink(name);
	rmdir(directory);
	free(here);
}

static void segments_of_several_files_are_joined(void **state)
{
	char directory[] = "/tmp/config_segments_test.XXXXXX", a[64], b[64];
	struct policy *policy;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(a, sizeof(a), "%s/a.yaml", directory);
	snprintf(b, sizeof(b), "%s/b.yaml", directory);
	write_text(a, GOOD "  rules: [ { segment: late }, { default: true } ]\n"
			   "segments: [ { name: early, where: a } ]\n");
	write_text(b, "segments: [ { name: late, where: b } ]\n");
	policy = config_load((const char *[]){directory}, 1, NULL);
	assert_non_null(policy);
	assert_int_equal(policy->segments_count, 2);
	assert_string_equal(policy->segments[0].name, "early");
	assert_string_equal(policy->segments[1].name, "late");
	assert_round_trip(policy);
	policy_free(policy);
	unlink(a);
	unlink(b);
	rmdir(directory);
}

/* ---- what is refused ---- */

static const struct bad a_segment_has_exactly_one_kind[] = {
	{SEGMENTS "- { name: a }\n",
	 {{3, 3, "segments/a", "has none of cidrs, file, where, bins, model, sample"}}},
	{SEGMENTS "- { name: a, description: b, refresh: 1h }\n",
	 {{3, 3, "segments/a", "has none"}}},
	{SEGMENTS "- { name: a, where: b, cidrs: [ 10.0.0.1 ] }\n",
	 {{3, 21, "segments/a/where", "stands beside `cidrs` at test.yaml:3:31"}}},
	{SEGMENTS "- { name: a, cidrs: [ 10.0.0.1 ], file: /b, sample: { count: 1 } }\n",
	 {{3, 41, "segments/a/file", "stands beside `cidrs` at test.yaml:3:21"},
	  {3, 53, "segments/a/sample", "stands beside `cidrs` at test.yaml:3:21"}}},
	{SEGMENTS "- {}\n",
	 {{3, 3, "segments[0]", "has none"}, {3, 3, "segments[0]/name", "missing"}}},
	{SEGMENTS "- staff\n", {{3, 3, "segments[0]", "must not be a single value"}}},
	{"version: 1\nsegments: staff\n", {{2, 11, "segments", "must not be a single value"}}},
	{SEGMENTS "- { name: a, where: b }\n- { name: c, where: d }\n- { name: a, where: e }\n",
	 {{5, 11, "segments/a/name", "the name stands at test.yaml:3:11 already"}}},
	{SEGMENTS "- { name: a, were: b }\n",
	 {{3, 14, "segments/a/were", "did you mean where?"}, {3, 3, "segments/a", "has none"}}},
	{SEGMENTS "- { name: A, where: b }\n", {{3, 11, "segments[0]/name", "not a name"}}},
};

static const struct bad prefixes_are_whole_and_stand_once[] = {
	{SEGMENTS "- { name: a, cidrs: [] }\n", {{3, 21, "segments/a/cidrs", "at least 1"}}},
	{SEGMENTS "- { name: a, cidrs: 10.0.0.1 }\n",
	 {{3, 21, "segments/a/cidrs", "must not be a single value"}}},
	{SEGMENTS
	 "- name: a\n  cidrs: [ 10.0.0.0/8, 10.0.0.1/8, 10.0.0.0/33, staff, '10.0.0.0/8',\n"
	 "    '2001:db8::1/64', '::ffff:10.0.0.0/104' ]\n",
	 {{4, 24, "segments/a/cidrs[1]", "did you mean 10.0.0.0/8?"},
	  {4, 36, "segments/a/cidrs[2]", "not an address or a prefix"},
	  {4, 49, "segments/a/cidrs[3]", "not an address or a prefix"},
	  {5, 5, "segments/a/cidrs[5]", "did you mean 2001:db8::/64?"},
	  {4, 56, "segments/a/cidrs[4]", "10.0.0.0/8 stands at test.yaml:4:12 already"},
	  {5, 23, "segments/a/cidrs[6]", "10.0.0.0/8 stands at test.yaml:4:56 already"}}},
};

static const struct bad expressions_and_files_are_given[] = {
	{SEGMENTS "- { name: a, where: '' }\n", {{3, 21, "segments/a/where", "is empty"}}},
	{SEGMENTS "- { name: a, where: }\n", {{3, 21, "segments/a/where", "has no value"}}},
	{SEGMENTS "- { name: a, where: [ b ] }\n", {{3, 21, "segments/a/where", "a list"}}},
	{SEGMENTS "- { name: a, where: \"b\\x01\" }\n",
	 {{3, 21, "segments/a/where", "control characters"}}},
	{SEGMENTS "- { name: a, file: '' }\n", {{3, 20, "segments/a/file", "is empty"}}},
	{SEGMENTS "- { name: a, file: \"b\\nc\" }\n",
	 {{3, 20, "segments/a/file", "control characters"}}},
	{SEGMENTS "- { name: a, where: b, refresh: 0 }\n",
	 {{3, 33, "segments/a/refresh", "from 1s to 366d"}}},
	{SEGMENTS "- { name: a, where: b, refresh: 999ms }\n",
	 {{3, 33, "segments/a/refresh", "from 1s to 366d"}}},
	{SEGMENTS "- { name: a, where: b, refresh: never }\n",
	 {{3, 33, "segments/a/refresh", "not a duration"}}},
};

static const struct bad bins_are_cut_in_exactly_one_manner[] = {
	{SEGMENTS "- { name: a, bins: { feature: b, take: [ 0 ] } }\n",
	 {{3, 20, "segments/a/bins", "has none of cut, qcut, log, edges"}}},
	{SEGMENTS "- { name: a, bins: { feature: b, log: 2, qcut: 4, take: [ 3 ] } }\n",
	 {{3, 39, "segments/a/bins/log", "stands beside `qcut` at test.yaml:3:48"}}},
	{SEGMENTS "- { name: a, bins: { cut: 4 } }\n",
	 {{3, 20, "segments/a/bins/feature", "is missing"},
	  {3, 20, "segments/a/bins/take", "is missing"}}},
	{SEGMENTS "- { name: a, bins: { feature: '', cut: 0, take: [] } }\n",
	 {{3, 31, "segments/a/bins/feature", "is empty"},
	  {3, 40, "segments/a/bins/cut", "from 1 to 1024"},
	  {3, 49, "segments/a/bins/take", "at least 1"}}},
	{SEGMENTS "- { name: a, bins: { feature: b, cut: 4, take: [ 4, 1, 1, x, -1 ] } }\n",
	 {{3, 59, "segments/a/bins/take[3]", "not a whole decimal number"},
	  {3, 62, "segments/a/bins/take[4]", "not a whole decimal number"},
	  {3, 50, "segments/a/bins/take[0]", "no bin 4, the last of 4 is 3"},
	  {3, 56, "segments/a/bins/take[2]", "bin 1 stands at test.yaml:3:53 already"}}},
	{SEGMENTS "- { name: a, bins: { feature: b, edges: [ 1 ], take: [ 0 ] } }\n",
	 {{3, 41, "segments/a/bins/edges", "at least 2"}}},
	{SEGMENTS "- { name: a, bins: { feature: b, edges: [ 1, 2, 2, 1.5 ], take: [ 3 ] } }\n",
	 {{3, 49, "segments/a/bins/edges[2]", "2 is not above the edge before it, 2"},
	  {3, 52, "segments/a/bins/edges[3]", "1.5 is not above the edge before it, 2"},
	  {3, 67, "segments/a/bins/take[0]", "no bin 3, the last of 3 is 2"}}},
	{SEGMENTS "- name: a\n  bins: { feature: b, take: [ 0 ],\n"
		  "    edges: [ 01, +5, 1., 1e, nan, inf, 1e999, '1', 0x1 ] }\n",
	 {{5, 14, "segments/a/bins/edges[0]", "not a decimal number"},
	  {5, 18, "segments/a/bins/edges[1]", "not a decimal number"},
	  {5, 22, "segments/a/bins/edges[2]", "not a decimal number"},
	  {5, 26, "segments/a/bins/edges[3]", "not a decimal number"},
	  {5, 30, "segments/a/bins/edges[4]", "not a decimal number"},
	  {5, 35, "segments/a/bins/edges[5]", "not a decimal number"},
	  {5, 40, "segments/a/bins/edges[6]", "out of range"},
	  {5, 47, "segments/a/bins/edges[7]", "without quotes"},
	  {5, 52, "segments/a/bins/edges[8]", "not a decimal number"}}},
};

static const struct bad models_and_samples_are_whole[] = {
	{SEGMENTS "- { name: a, model: adopters }\n",
	 {{3, 21, "segments/a/model", "must not be a single value"}}},
	{SEGMENTS "- { name: a, model: {} }\n",
	 {{3, 21, "segments/a/model/model", "is missing"},
	  {3, 21, "segments/a/model/class", "is missing"}}},
	{SEGMENTS "- { name: a, model: { model: B, class: '' } }\n",
	 {{3, 30, "segments/a/model/model", "not a name"},
	  {3, 40, "segments/a/model/class", "is empty"}}},
	{SEGMENTS "- { name: a, sample: { where: b } }\n",
	 {{3, 22, "segments/a/sample/count", "is missing"}}},
	{SEGMENTS "- { name: a, sample: { count: 0 } }\n",
	 {{3, 31, "segments/a/sample/count", "from 1 to 16777216"}}},
	{SEGMENTS "- { name: a, sample: { count: 10, where: '' } }\n",
	 {{3, 42, "segments/a/sample/where", "is empty"}}},
};

static const struct bad the_box_observes_within_reason[] = {
	{"version: 1\nobserve: { sample: 0, window: 59m }\n",
	 {{2, 20, "observe/sample", "from 1 to 65536"},
	  {2, 31, "observe/window", "from 1h to 90d"}}},
	{"version: 1\nobserve: { sample: 65537, window: 91d }\n",
	 {{2, 20, "observe/sample", "from 1"}, {2, 35, "observe/window", "from 1h"}}},
	{"version: 1\nobserve: true\n", {{2, 10, "observe", "must not be a single value"}}},
	{"version: 1\nlimits: { segment_clients: 0, segment_prefixes: 0, observed_clients: 0 }\n",
	 {{2, 28, "limits/segment_clients", "from 1 to 16777216"},
	  {2, 49, "limits/segment_prefixes", "from 1 to 1048576"},
	  {2, 70, "limits/observed_clients", "from 1 to 16777216"}}},
	{GOOD "  client: { group_by: '' }\n",
	 {{9, 23, "services/api/client/group_by", "is empty"}}},
};

#define STAFF "segments: [ { name: staff, where: a }, { name: default, where: b } ]\n"

static const struct bad rules_name_segments_that_are_there[] = {
	{GOOD "  rules: [ { segment: staff }, { default: true } ]\n",
	 {{9, 23, "services/api/rules[0]/segment", "define it under `segments`"}}},
	{GOOD "  rules: [ { segment: stuff }, { default: true } ]\n" STAFF,
	 {{9, 23, "services/api/rules[0]/segment", "there is no segment \"stuff\""}}},
	{GOOD "  rules: [ { segment: stuff }, { default: true } ]\n" STAFF,
	 {{9, 23, "services/api/rules[0]/segment", "did you mean staff?"}}},
	{GOOD "  rules: [ { segment: Staff }, { default: true } ]\n" STAFF,
	 {{9, 23, "services/api/rules[0]/segment", "not a name"}}},
	{GOOD "  rules: [ { segment: staff, default: true } ]\n" STAFF,
	 {{9, 23, "services/api/rules[0]/segment", "stands beside `default`"}}},
	{GOOD "  rules: [ { segment: staff } ]\n" STAFF,
	 {{9, 12, "services/api/rules[0]", "the last rule must be the default"}}},
	{GOOD "  rules: [ { default: true }, { segment: staff } ]\n" STAFF,
	 {{9, 23, "services/api/rules[0]/default", "never be used"}}},
	{GOOD "  rules: [ { name: x }, { segment: staff }, { default: true } ]\n" STAFF,
	 {{9, 12, "services/api/rules/x", "for whom"}}},
	/* A segment with an error may be the one. */
	{GOOD "  rules: [ { segment: staff }, { default: true } ]\nsegments: [ { name: X } ]\n",
	 {{10, 21, "segments[0]/name", "not a name"}, {10, 13, "segments[0]", "has none"}}},
	{GOOD "  rules: [ { segment: staff }, { default: true } ]\nsegments: staff\n",
	 {{10, 11, "segments", "must not be a single value"}}},
};

static const struct bad names_of_rules_stand_once[] = {
	{GOOD "  rules: [ { segment: staff }, { segment: staff }, { default: true } ]\n" STAFF,
	 {{9, 43, "services/api/rules[1]/name", "the name stands at test.yaml:9:23 already"}}},
	{GOOD "  rules: [ { segment: staff }, { name: staff, default: true } ]\n" STAFF,
	 {{9, 40, "services/api/rules/staff/name", "the name stands at test.yaml:9:23 already"}}},
	{GOOD "  rules: [ { segment: default }, { default: true } ]\n" STAFF,
	 {{9, 45, "services/api/rules[1]/name", "the name stands at test.yaml:9:23 already"}}},
};

static void a_rule_that_leaves_nobody_is_a_warning(void **state)
{
	static const char text[] =
		GOOD "  rules: [ { segment: staff }, { name: more, segment: staff }, "
		     "{ default: true } ]\n" STAFF;
	struct errors *errors = errors_new();
	struct policy *policy = config_parse(text, strlen(text), "test.yaml", errors);
	json_t *warnings = errors_warnings_to_json(errors);

	(void)state;
	assert_non_null(policy);
	assert_int_equal(json_array_size(warnings), 1);
	assert_string_equal(member(json_array_get(warnings, 0), "object"),
			    "services/api/rules/more/segment");
	assert_non_null(
		strstr(member(json_array_get(warnings, 0), "message"), "rule staff has all"));
	json_decref(warnings);
	policy_free(policy);
	errors_free(errors);
}

static void assert_segments_refused(unsigned int count, unsigned int rules,
				    const struct expected *expected)
{
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	fputs(SEGMENTS, stream);
	for (unsigned int i = 0; i < count; i++)
		fprintf(stream, "- { name: s%u, where: a }\n", i);
	fputs("services:\n" NAMED_SERVICE("api", "192.0.2.10:443/tcp") COHORTS "  rules:\n",
	      stream);
	for (unsigned int i = 0; i + 1 < rules; i++)
		fprintf(stream, "  - { segment: s%u }\n", i);
	fputs("  - { default: true }\n", stream);
	fclose(stream);
	if (expected)
		assert_refused(text, size, expected, 1);
	else
		policy_free(parse(text));
	free(text);
}

static void there_are_64_segments_and_16_rules_at_the_most(void **state)
{
	static const struct expected segments[] = {{3, 1, "segments", "can have 64 items, has 65"}};
	static const struct expected rules[] = {
		{75, 3, "services/api/rules", "can have 16 items, has 17"}};

	(void)state;
	assert_segments_refused(64, 16, NULL);
	assert_segments_refused(65, 16, segments);
	assert_segments_refused(64, 17, rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_reaches_the_policy),
		cmocka_unit_test(every_manner_of_bins_reaches_the_policy),
		cmocka_unit_test(the_other_keys_of_segments_reach_the_policy),
		cmocka_unit_test(a_file_is_named_from_its_configuration),
		cmocka_unit_test(segments_of_several_files_are_joined),
		REFUSED(a_segment_has_exactly_one_kind),
		REFUSED(prefixes_are_whole_and_stand_once),
		REFUSED(expressions_and_files_are_given),
		REFUSED(bins_are_cut_in_exactly_one_manner),
		REFUSED(models_and_samples_are_whole),
		REFUSED(the_box_observes_within_reason),
		REFUSED(rules_name_segments_that_are_there),
		REFUSED(names_of_rules_stand_once),
		cmocka_unit_test(a_rule_that_leaves_nobody_is_a_warning),
		cmocka_unit_test(there_are_64_segments_and_16_rules_at_the_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
