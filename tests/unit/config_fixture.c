// SPDX-License-Identifier: GPL-2.0-only
#include "config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct policy *parse(const char *text)
{
	struct errors *errors = errors_new();
	struct policy *policy = config_parse(text, strlen(text), "test.yaml", errors);

	if (!policy)
		errors_print(errors, stderr);
	assert_non_null(policy);
	assert_int_equal(errors_count(errors), 0);
	errors_free(errors);
	return policy;
}

void assert_round_trip(const struct policy *policy)
{
	char *yaml = config_to_yaml(policy), *again;
	json_t *tree = config_to_json(policy), *tree_again, *differences;
	struct policy *copy = parse(yaml);

	tree_again = config_to_json(copy);
	assert_true(json_equal(tree, tree_again));
	again = config_to_yaml(copy);
	assert_string_equal(yaml, again);
	differences = config_diff(policy, copy);
	assert_int_equal(json_array_size(differences), 0);
	json_decref(differences);
	json_decref(tree);
	json_decref(tree_again);
	policy_free(copy);
	free(yaml);
	free(again);
}

void assert_diff(const char *before, const char *after, const char *expected)
{
	struct policy *left = parse(before), *right = parse(after);
	json_t *differences = config_diff(left, right), *wanted;
	char *text = strdup(expected), *found = json_dumps(differences, JSON_COMPACT);

	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	wanted = json_loads(text, 0, NULL);
	if (!json_equal(differences, wanted))
		print_error("found %s\nnot   %s\n", found, text);
	assert_true(json_equal(differences, wanted));
	json_decref(wanted);
	json_decref(differences);
	free(found);
	free(text);
	policy_free(left);
	policy_free(right);
}

const char *member(const json_t *error, const char *key)
{
	const char *text = json_string_value(json_object_get(error, key));

	return text ? text : "";
}

static void print_errors(const char *text, const json_t *list)
{
	print_error("%s\n", text);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *error = json_array_get(list, i);

		print_error("{%lld, %lld, \"%s\", \"%s\"} (%s)\n",
			    json_integer_value(json_object_get(error, "line")),
			    json_integer_value(json_object_get(error, "column")),
			    member(error, "object"), member(error, "message"),
			    member(error, "hint"));
	}
}

static bool is_expected(const json_t *error, const struct expected *expected)
{
	return json_integer_value(json_object_get(error, "line")) == expected->line &&
	       json_integer_value(json_object_get(error, "column")) == expected->column &&
	       !strcmp(member(error, "object"), expected->object) &&
	       !strcmp(member(error, "file"), "test.yaml") &&
	       (strstr(member(error, "message"), expected->message) ||
		strstr(member(error, "hint"), expected->message)) &&
	       *member(error, "hint");
}

void assert_refused(const char *text, size_t length, const struct expected *expected,
		    size_t expected_max)
{
	struct errors *errors = errors_new();
	struct policy *policy = config_parse(text, length, "test.yaml", errors);
	json_t *json = errors_to_json(errors), *list = json_object_get(json, "errors");
	size_t count = 0;
	bool right = !policy;

	while (count < expected_max && expected[count].object)
		count++;
	right = right && json_array_size(list) == count && errors_count(errors) == count;
	for (size_t i = 0; i < count && right; i++)
		right = is_expected(json_array_get(list, i), &expected[i]);
	if (!right)
		print_errors(length < 4096 ? text : "(a large text)", list);
	assert_true(right);
	json_decref(json);
	errors_free(errors);
}

void all_are_refused(void **state)
{
	const struct bad_list *list = *state;

	for (size_t i = 0; i < list->count; i++)
		assert_refused(list->bad[i].text, strlen(list->bad[i].text), list->bad[i].expected,
			       EXPECTED_MAX);
}
