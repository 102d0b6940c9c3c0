// SPDX-License-Identifier: GPL-2.0-only
/* Segments as they are rendered, and what is said of two configurations that differ in them. */
#include "config_fixture.h"

#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *random_words(struct random *random)
{
	static const char *const words[] = {"a",     "plan = 'x'", "1",	 "null", "b: c # d", "x\ny",
					    " lead", "trail\n",	   "\t", "'",	 "\"\\",     "é"};
	char *text;

	if (asprintf(&text, "%s%s", words[random_below(random, COUNT(words))],
		     words[random_below(random, COUNT(words))]) < 0)
		return NULL;
	return text;
}

static void random_bins(struct random *random, struct segment_bins *bins)
{
	bins->feature = strdup("flows_per_day");
	bins->method = random_below(random, 4);
	bins->count = 1 + random_below(random, 20);
	if (bins->method == BINS_EDGES) {
		double edge = -1e6 + random_below(random, 1000) / 7.0;

		bins->edges_count = bins->count + 1;
		bins->edges = calloc(bins->edges_count, sizeof(*bins->edges));
		for (size_t i = 0; i < bins->edges_count; i++, edge += 0.1 + edge * edge / 1e9)
			bins->edges[i] = edge;
	}
	bins->take = calloc(bins->count, sizeof(*bins->take));
	for (uint32_t bin = 0; bin < bins->count; bin++)
		if (bin + 1 == bins->count ? !bins->take_count : random_below(random, 2))
			bins->take[bins->take_count++] = bin;
	bins->where = random_below(random, 2) ? random_words(random) : NULL;
}

static void random_segment(struct random *random, struct segment *segment, size_t index)
{
	snprintf(segment->name, sizeof(segment->name), "s%zu", index);
	segment->description = strdup(random_below(random, 2) ? "" : "what: it is");
	segment->kind = random_below(random, 6);
	segment->refresh_ms = random_below(random, 2) ? 0 : 1000 + random_below(random, 1 << 30);
	switch (segment->kind) {
	case SEGMENT_CIDRS:
		segment->cidrs_count = 1 + random_below(random, 5);
		segment->cidrs = calloc(segment->cidrs_count, sizeof(*segment->cidrs));
		for (size_t i = 0; i < segment->cidrs_count; i++) {
			struct prefix *prefix = &segment->cidrs[i];

			prefix->address.family = random_below(random, 2) ? 4 : 6;
			prefix->address.bytes[0] = 0x20;
			prefix->length = 7 + i; /* none twice */
		}
		break;
	case SEGMENT_FILE:
		segment->file = strdup("/a: b/#c");
		break;
	case SEGMENT_WHERE:
		segment->where = random_words(random);
		break;
	case SEGMENT_BINS:
		random_bins(random, &segment->bins);
		break;
	case SEGMENT_MODEL:
		strcpy(segment->model.name, "m");
		segment->model.class_name = strdup(random_below(random, 2) ? "1" : "no");
		break;
	case SEGMENT_SAMPLE:
		segment->sample.count = 1 + random_below(random, 1 << 24);
		segment->sample.where = random_below(random, 2) ? random_words(random) : NULL;
		break;
	}
}

static struct policy *random_policy(struct random *random)
{
	struct policy *policy = policy_new();

	policy->observe.is_on = random_below(random, 2);
	if (policy->observe.is_on && random_below(random, 2))
		policy->observe.sample = 1 + random_below(random, 65536);
	policy->segments_count = random_below(random, 6);
	policy->segments = calloc(6, sizeof(*policy->segments));
	for (size_t i = 0; i < policy->segments_count; i++)
		random_segment(random, &policy->segments[i], i);
	return policy;
}

static void rendering_and_parsing_give_the_same_segments(void **state)
{
	struct random random = random_seeded(__func__);

	(void)state;
	for (size_t i = 0; i < 2000; i++) {
		struct policy *policy = random_policy(&random);

		assert_round_trip(policy);
		policy_free(policy);
	}
}

static void segments_differ_exactly_where_their_trees_do(void **state)
{
	enum { POLICIES = 200 };
	static struct policy *policies[POLICIES];
	static json_t *trees[POLICIES];
	struct random random = random_seeded(__func__), before = random;

	(void)state;
	for (size_t i = 0; i < POLICIES; i++) {
		/* Every other one is as the one before. */
		if (i % 2)
			random = before;
		before = random;
		policies[i] = random_policy(&random);
		trees[i] = config_to_json(policies[i]);
	}
	for (size_t i = 0; i < POLICIES; i++) {
		for (size_t j = 0; j < POLICIES; j++) {
			json_t *differences = config_diff(policies[i], policies[j]);

			assert_int_equal(json_array_size(differences) == 0,
					 json_equal(trees[i], trees[j]));
			json_decref(differences);
		}
	}
	for (size_t i = 0; i < POLICIES; i++) {
		json_decref(trees[i]);
		policy_free(policies[i]);
	}
}

#define STAFF "segments: [ { name: staff, where: a }, { name: default, where: b } ]\n"
#define ONE   "version: 1\nsegments: [ { name: a, "

static void differences_of_segments_go_by_name(void **state)
{
	(void)state;
	assert_diff(ONE "where: b } ]\n", ONE "where: c, refresh: 1m } ]\n",
		    "[{'path':'segments/a/where','before':'b','after':'c'},"
		    "{'path':'segments/a/refresh','before':null,'after':'1m'}]");
	assert_diff(ONE "where: b } ]\n", ONE "sample: { count: 5 } } ]\n",
		    "[{'path':'segments/a/where','before':'b','after':null},"
		    "{'path':'segments/a/sample','before':null,'after':{'count':5}}]");
	assert_diff(ONE "bins: { feature: f, qcut: 4, take: [ 0 ] } } ]\n",
		    ONE "bins: { feature: f, cut: 4, take: [ 1, 0 ] } } ]\n",
		    "[{'path':'segments/a/bins/cut','before':null,'after':4},"
		    "{'path':'segments/a/bins/qcut','before':4,'after':null},"
		    "{'path':'segments/a/bins/take/1','before':null,'after':1}]");
	assert_diff(ONE "cidrs: [ 10.0.0.0/8, 10.0.0.1 ] } ]\n",
		    ONE "cidrs: [ 10.0.0.1, 10.0.0.2 ] } ]\n",
		    "[{'path':'segments/a/cidrs/10.0.0.0/8','before':'10.0.0.0/8','after':null},"
		    "{'path':'segments/a/cidrs/10.0.0.2','before':null,'after':'10.0.0.2'}]");
	assert_diff("version: 1\n", "version: 1\nobserve: { sample: 2 }\n",
		    "[{'path':'observe','before':null,'after':{'sample':2}}]");
	assert_diff("version: 1\nobserve: {}\n", "version: 1\nobserve: { sample: 2 }\n",
		    "[{'path':'observe/sample','before':16,'after':2}]");
	assert_diff(GOOD STAFF, GOOD "  rules: [ { segment: staff }, { default: true } ]\n" STAFF,
		    "[{'path':'services/api/rules/staff','before':null,"
		    "'after':{'segment':'staff'}}]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rendering_and_parsing_give_the_same_segments),
		cmocka_unit_test(segments_differ_exactly_where_their_trees_do),
		cmocka_unit_test(differences_of_segments_go_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
