// SPDX-License-Identifier: GPL-2.0-only
/*
 * Models: every key is checked and every refusal says where and what; what a row's values become;
 * drift. Each bad file is the good one with one place changed.
 */
#include "segment/model.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* flows <= 7: 'no'; else plan=pro <= 0: .25/.75, else 'yes'. ' stands for ". */
static const char good[] =
	"{'format': 'xdp-canary-model', 'version': 1, 'training': {'seed': 0},\n"
	" 'classes': ['no', 'yes'],\n"
	" 'features': [\n"
	"  {'name': 'flows', 'equals': null, 'scale_log2': 2, 'fill': -1, 'importance': 0.5,\n"
	"   'deciles': {'edges': [1, 5], 'counts': [10, 20, 30]}},\n"
	"  {'name': 'plan', 'equals': 'pro', 'scale_log2': 0, 'fill': -1, 'importance': 0.5,\n"
	"   'deciles': {'edges': [0], 'counts': [30, 30]}}],\n"
	" 'leaves': [[1, 0], [0.25, 0.75], [0, 1]],\n"
	" 'trees': [{'feature': [0, null, 1, null, null], 'threshold': [7, null, 0, null, null],\n"
	"   'left': [1, null, 3, null, null], 'right': [2, null, 4, null, null],\n"
	"   'leaf': [null, 0, null, 1, 2]}],\n"
	" 'vectors': [{'features': [7, 0], 'class': 'no', 'score': 0},\n"
	"   {'features': [8, -1], 'class': 'yes', 'score': 0.75},\n"
	"   {'features': [8, 1], 'class': 'yes', 'score': 1}]}\n";

/* malloc()ed: @text with the first @from replaced, and " for '. */
static char *changed(const char *text, const char *from, const char *to)
{
	const char *place = strstr(text, from);
	char *out;

	assert_non_null(place);
	assert_true(asprintf(&out, "%.*s%s%s", (int)(place - text), text, to,
			     place + strlen(from)) > 0);
	for (char *at = out; *at; at++)
		if (*at == '\'')
			*at = '"';
	return out;
}

static struct model *parsed(const char *from, const char *to)
{
	char *text = changed(good, from, to);
	struct errors *errors = errors_new();
	struct model *model = NULL;

	if (model_parse(text, strlen(text), "m.json", &model, errors)) {
		errors_print(errors, stderr);
		fail();
	}
	errors_free(errors);
	free(text);
	return model;
}

/* One error, which is this line. */
static void assert_text_refused(const char *text, const char *line)
{
	struct errors *errors = errors_new();
	struct model *model = NULL;
	char *printed = NULL;
	FILE *stream;
	size_t size;

	assert_int_equal(-EINVAL, model_parse(text, strlen(text), "m.json", &model, errors));
	assert_null(model);
	assert_int_equal(1, errors_count(errors));
	stream = open_memstream(&printed, &size);
	errors_print(errors, stream);
	fclose(stream);
	if (strncmp(printed, line, strlen(line)))
		fail_msg("not `%s` but `%s`", line, printed);
	free(printed);
	errors_free(errors);
}

static void assert_refused(const char *from, const char *to, const char *line)
{
	char *text = changed(good, from, to);

	assert_text_refused(text, line);
	free(text);
}

/* ---- what is refused ---- */

static void a_file_that_is_no_model_is_refused(void **state)
{
	(void)state;
	assert_text_refused("", "m.json:1:1: model: it is no JSON: ");
	assert_text_refused("[1, 2\n, x]", "m.json:2:3: model: it is no JSON: invalid token");
	assert_text_refused("[]", "m.json: format: this is no model");
	assert_text_refused("{}", "m.json: format: this is no model");
	assert_refused("xdp-canary-model", "other", "m.json: format: this is no model");
	assert_refused("'version': 1", "'version': 2", "m.json: version: version 2 is not known");
	assert_refused("'version': 1", "'version': '1'", "m.json: version: version \"1\" is not");
	assert_refused("'training': {'seed': 0}", "'training': 1", "m.json: training: 1 is no obj");
	assert_refused("'training': {'seed': 0},", "", "m.json: model: `training` is missing");
	assert_refused("'training': {'seed': 0},", "'training': {}, 'more': 1,",
		       "m.json: model: unknown key `more`: take it out");
	assert_refused("'seed': 0", "'seed': 0, 'seed': 1",
		       "m.json:1:75: model: it is no JSON: duplicate object key near '\"seed\"'");
}

static void classes_and_features_are_checked(void **state)
{
	(void)state;
	assert_refused("['no', 'yes']", "['no']", "m.json: classes: has 1 elements: 2 to 64");
	assert_refused("['no', 'yes']", "['no', 'no']", "m.json: classes[1]: `no` stands twice");
	assert_refused("['no', 'yes']", "['no', '']", "m.json: classes[1]: \"\" is no text");
	assert_refused("['no', 'yes']", "['no', 5]", "m.json: classes[1]: 5 is no text");
	assert_refused("'scale_log2': 2", "'scale_log2': 65",
		       "m.json: features[0].scale_log2: 65 is not between -64 and 64");
	assert_refused("'equals': 'pro', 'scale_log2': 0", "'equals': 'pro', 'scale_log2': 1",
		       "m.json: features[1].scale_log2: 1 is not between 0 and 0");
	assert_refused("'fill': -1", "'fill': 0.5", "m.json: features[0].fill: 0.5 is no integer");
	assert_refused("'name': 'flows', ", "", "m.json: features[0]: `name` is missing");
	assert_refused("'name': 'flows'", "'name': ['flows']",
		       "m.json: features[0].name: [\"flows\"] is no text");
	assert_refused("'plan', 'equals': 'pro'", "'flows', 'equals': null",
		       "m.json: features[1]: `flows` stands twice");
	assert_refused("'importance': 0.5", "'importance': true",
		       "m.json: features[0].importance: true is no number");
	assert_refused("[1, 5]", "[5, 5]",
		       "m.json: features[0].deciles.edges[1]: the edges do not ascend");
	assert_refused("[1, 5]", "[1, 5.5]", "m.json: features[0].deciles.edges[1]: 5.5 is no int");
	assert_refused("[10, 20, 30]", "[10, 20]",
		       "m.json: features[0].deciles.counts: has 2 elements: 3 to 3");
	assert_refused("[10, 20, 30]", "[0, 0, 0]",
		       "m.json: features[0].deciles.counts: nothing was counted");
	assert_refused("[10, 20, 30]", "[-1, 0, 3]",
		       "m.json: features[0].deciles.counts[0]: -1 is not between 0 and");
}

static void trees_are_checked(void **state)
{
	(void)state;
	assert_refused("[7, null", "[7.5, null",
		       "m.json: trees[0].threshold[0]: 7.5 is no integer: export it again");
	assert_refused("[7, null", "['7', null",
		       "m.json: trees[0].threshold[0]: \"7\" is no integer");
	assert_refused("[7, null", "[9007199254740993, null",
		       "m.json: trees[0].threshold[0]: 9007199254740993 is not between");
	assert_refused("[0, null, 1", "[0, null, 2",
		       "m.json: trees[0].feature[2]: 2 is not between 0 and 1");
	assert_refused("[2, null, 4", "[2, null, 0",
		       "m.json: trees[0] node 2: leads back to itself or to a node above it: the "
		       "tree has a cycle");
	assert_refused("[2, null, 4", "[2, null, 2", "m.json: trees[0] node 2: leads back to its");
	assert_refused("[2, null, 4", "[2, null, 1",
		       "m.json: trees[0] node 2: has a child that is another node's child too");
	assert_refused("[2, null, 4", "[2, null, 5",
		       "m.json: trees[0].right[2]: 5 is not between 0 and 4");
	assert_refused("[2, null, 4", "[2, null, -1",
		       "m.json: trees[0].right[2]: -1 is not between 0 and 4");
	assert_refused("[2, null, 4", "[2, null, null",
		       "m.json: trees[0].right[2]: null is no int");
	assert_refused("'leaf': [null, 0", "'leaf': [0, 0",
		       "m.json: trees[0].feature[0]: a node with a `leaf` has nothing else");
	assert_refused("null, 1, 2]}]", "null, 1, 3]}]",
		       "m.json: trees[0].leaf[4]: 3 is not between 0 and 2");
	assert_refused("'leaf': [null, 0, null, 1, 2]", "'leaf': [null, 0, null, 1]",
		       "m.json: trees[0].feature: has 5 elements, `leaf` has 4");
	assert_refused("[0, null, 1, null, null], 'threshold': [7, null, 0",
		       "[0, null, null, null, null], 'threshold': [7, null, 0",
		       "m.json: trees[0].feature[2]: null is no integer");
	assert_refused("'trees': [", "'trees': 5, 'x': [", "m.json: model: unknown key `x`");
	assert_refused("[0.25, 0.75]", "[0.25, 0.5]",
		       "m.json: leaves[1]: its probabilities add up to 0.75, not 1");
	assert_refused("[0.25, 0.75]", "[-0.25, 1.25]",
		       "m.json: leaves[1][0]: -0.25 is no probability");
	assert_refused("[0.25, 0.75]", "[0.25]", "m.json: leaves[1]: has 1 elements: 2 to 2");
}

static void a_node_that_nothing_leads_to_is_refused(void **state)
{
	char *text;

	(void)state;
	/* The root is a leaf, so that all others hang in the air. */
	text = changed(good, "'trees': [{",
		       "'trees': [{'feature': [null, null], 'threshold': [null, null], "
		       "'left': [null, null], 'right': [null, null], 'leaf': [0, 0]}, {");
	assert_text_refused(text, "m.json: trees[0] node 1: is not reached from the root");
	free(text);
}

static void a_model_that_disagrees_with_its_vectors_is_refused_naming_the_vector(void **state)
{
	(void)state;
	assert_refused("[7, null", "[8, null",
		       "m.json: vectors[1]: features [8,-1] are expected to be class `yes` with "
		       "score 0.75, but the trees say `no` with score 0: export it again");
	assert_refused("[0.25, 0.75]", "[0.2500001, 0.7499999]",
		       "m.json: vectors[1]: features [8,-1] are expected to be class `yes` with "
		       "score 0.75, but the trees say `yes` with score 0.74999990");
	assert_refused("[7, 0], 'class': 'no'", "[7, 0], 'class': 'maybe'",
		       "m.json: vectors[0].class: \"maybe\" is no class of this model");
	assert_refused("'features': [7, 0]", "'features': [7]",
		       "m.json: vectors[0].features: has 1 elements: 2 to 2");
	assert_refused("'features': [7, 0]", "'features': [7, 0.5]",
		       "m.json: vectors[0].features[1]: 0.5 is no integer");
	assert_refused("'score': 0}", "'score': '0'}", "m.json: vectors[0].score: \"0\" is no num");
}

static void a_model_without_vectors_is_refused(void **state)
{
	char *text = changed(good, "'vectors': [", "'vectors': []}");

	(void)state;
	*(strstr(text, "[]}") + 3) = '\0';
	assert_text_refused(text, "m.json: vectors: has 0 elements: 1 to 100000");
	free(text);
}

/* ---- what a row becomes ---- */

static struct catalogue_value integer(int64_t value)
{
	return (struct catalogue_value){
		.type = CATALOGUE_INTEGER, .integer = value, .real = (double)value};
}

static struct catalogue_value real(double value)
{
	return (struct catalogue_value){.type = CATALOGUE_REAL, .real = value};
}

static struct catalogue_value text(const char *value)
{
	return (struct catalogue_value){.type = CATALOGUE_TEXT, .text = value};
}

static void a_number_is_scaled_and_rounded_down_and_a_text_is_equal_or_not(void **state)
{
	static const struct catalogue_value null = {.type = CATALOGUE_NULL};
	struct model *model = parsed("'yes'", "'yes'");
	const struct {
		struct catalogue_value flows, plan;
		int64_t integers[2];
	} rows[] = {
		{integer(2), text("pro"), {8, 1}},
		{real(2.2499), text("free"), {8, 0}},
		{real(-0.1), text(""), {-1, 0}},
		{null, text("pro"), {-1, 1}},
		{integer(1), null, {4, -1}},
		{text("2"), integer(7), {-1, 0}}, /* no number, no text */
		{real(1e300), text("Pro"), {FOREST_VALUE_MAX, 0}},
		{integer(INT64_MIN), text("pro"), {-FOREST_VALUE_MAX, 1}},
		{real(-INFINITY), text("pro"), {-FOREST_VALUE_MAX, 1}},
	};

	(void)state;
	assert_int_equal(2, model->columns_count);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct catalogue_value values[] = {rows[i].flows, rows[i].plan};
		int64_t integers[2];

		assert_int_equal(0, model_features(model, values, integers));
		assert_int_equal(rows[i].integers[0], integers[0]);
		assert_int_equal(rows[i].integers[1], integers[1]);
	}
	model_free(model);
}

static void features_of_one_column_ask_for_it_once(void **state)
{
	struct model *model = parsed("'plan', 'equals': 'pro'", "'flows', 'equals': 'pro'");
	const struct catalogue_value value = text("pro");
	int64_t integers[2];

	(void)state;
	assert_int_equal(1, model->columns_count);
	assert_string_equal("flows=pro", model->features[1].label);
	assert_int_equal(0, model_features(model, &value, integers));
	assert_int_equal(1, integers[1]);
	model_free(model);
}

static void a_client_of_whom_nothing_is_known_has_no_class(void **state)
{
	struct model *model = parsed("'yes'", "'yes'");
	struct catalogue_value values[2] = {{.type = CATALOGUE_NULL}, {.type = CATALOGUE_NULL}};
	struct model_verdict verdict;

	(void)state;
	assert_int_equal(-ENODATA, model_classify(model, values, &verdict));
	values[1] = text("pro");
	assert_int_equal(0, model_classify(model, values, &verdict));
	assert_int_equal(0, verdict.class_index);
	values[0] = integer(2);
	values[1] = text("free");
	assert_int_equal(0, model_classify(model, values, &verdict));
	assert_int_equal(1, verdict.class_index);
	assert_true(verdict.score == 0.75);
	assert_int_equal(1, model_class(model, "yes"));
	assert_int_equal(-ENOENT, model_class(model, "maybe"));
	model_free(model);
}

static void a_score_is_named_after_its_model(void **state)
{
	char name[NAME_SIZE], longest[NAME_SIZE + 8];

	(void)state;
	assert_true(model_score_of("adopters.score", name));
	assert_string_equal("adopters", name);
	assert_false(model_score_of("adopters", name));
	assert_false(model_score_of(".score", name));
	assert_false(model_score_of("score", name));
	assert_false(model_score_of("adopters.scores", name));
	memset(longest, 'a', sizeof(longest));
	strcpy(longest + NAME_SIZE - 1, ".score");
	assert_true(model_score_of(longest, name));
	strcpy(longest + NAME_SIZE - 1, "a.score");
	assert_false(model_score_of(longest, name));
}

/* ---- drift ---- */

static void the_index_is_the_sum_of_p_minus_q_times_the_logarithm_of_their_ratio(void **state)
{
	static const uint64_t even[] = {10, 10, 10, 10}, same[] = {7, 7, 7, 7};
	static const uint64_t moved[] = {40, 0, 0, 0}, none[4];
	double one = 0.75 * log(4), empty = (1e-4 - 0.25) * log(1e-4 / 0.25);
	double index = population_stability_index(moved, even, 4);

	(void)state;
	assert_true(population_stability_index(same, even, 4) == 0);
	assert_true(fabs(index - (one + 3 * empty)) < 1e-12);
	assert_true(isnan(population_stability_index(none, even, 4)));
	assert_string_equal("calm", drift_word(0.0999));
	assert_string_equal("shifting", drift_word(0.1));
	assert_string_equal("shifting", drift_word(0.25));
	assert_string_equal("drifted", drift_word(0.2501));
	assert_string_equal("unknown", drift_word(NAN));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_is_no_model_is_refused),
		cmocka_unit_test(classes_and_features_are_checked),
		cmocka_unit_test(trees_are_checked),
		cmocka_unit_test(a_node_that_nothing_leads_to_is_refused),
		cmocka_unit_test(
			a_model_that_disagrees_with_its_vectors_is_refused_naming_the_vector),
		cmocka_unit_test(a_model_without_vectors_is_refused),
		cmocka_unit_test(a_number_is_scaled_and_rounded_down_and_a_text_is_equal_or_not),
		cmocka_unit_test(features_of_one_column_ask_for_it_once),
		cmocka_unit_test(a_client_of_whom_nothing_is_known_has_no_class),
		cmocka_unit_test(a_score_is_named_after_its_model),
		cmocka_unit_test(
			the_index_is_the_sum_of_p_minus_q_times_the_logarithm_of_their_ratio),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
