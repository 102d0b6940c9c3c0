// SPDX-License-Identifier: GPL-2.0-only
/* Errors as a person and as a program read them. */
#include "util/errors.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct position somewhere = {.file = "box.yaml", .line = 7, .column = 3};

typedef void (*print_function)(const struct errors *errors, FILE *stream);

static void assert_printed(const struct errors *errors, print_function print, const char *expected)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(stream);
	print(errors, stream);
	fclose(stream);
	assert_string_equal(text, expected);
	free(text);
}

static void an_error_names_place_object_fault_and_remedy(void **state)
{
	struct errors *errors = errors_new();

	(void)state;
	assert_int_equal(errors_add(errors, &somewhere, "services/api", "give it a backend",
				    "cohort %s has no backend", "canary"),
			 -EINVAL);
	assert_int_equal(errors_add_code(errors, EBUSY, "state", "wait", "locked"), -EBUSY);
	assert_int_equal(errors_count(errors), 2);
	assert_printed(
		errors, errors_print,
		"box.yaml:7:3: services/api: cohort canary has no backend: give it a backend\n"
		"state: locked: wait\n");
	errors_free(errors);
}

static void unknown_parts_are_left_out_of_the_line(void **state)
{
	struct position whole_file = {.file = "box.yaml"};
	struct errors *errors = errors_new();

	(void)state;
	errors_add(errors, &whole_file, NULL, NULL, "is empty");
	errors_add(errors, NULL, "", "", "out of luck");
	assert_printed(errors, errors_print, "box.yaml: is empty\nout of luck\n");
	errors_free(errors);
}

static void what_is_passed_is_copied(void **state)
{
	char file[] = "box.yaml", object[] = "api", hint[] = "mend it";
	struct position where = {.file = file, .line = 1, .column = 2};
	struct errors *errors = errors_new();

	(void)state;
	errors_add(errors, &where, object, hint, "broken");
	memset(file, 'x', sizeof(file) - 1);
	memset(object, 'x', sizeof(object) - 1);
	memset(hint, 'x', sizeof(hint) - 1);
	assert_printed(errors, errors_print, "box.yaml:1:2: api: broken: mend it\n");
	errors_free(errors);
}

static void a_warning_is_marked_and_is_no_error(void **state)
{
	struct errors *errors = errors_new();

	(void)state;
	errors_warn(errors, &somewhere, "interfaces/eth0", "use native", "is %s", "generic");
	assert_int_equal(errors_count(errors), 0);
	assert_printed(errors, errors_print, "");
	assert_printed(errors, errors_print_warnings,
		       "box.yaml:7:3: warning: interfaces/eth0: is generic: use native\n");
	errors_free(errors);
}

static void the_first_20_are_printed_then_a_count(void **state)
{
	char expected[1024] = "";
	struct errors *errors = errors_new();
	json_t *json;

	(void)state;
	for (int i = 0; i < 20; i++) {
		errors_add(errors, NULL, "x", NULL, "%d", i);
		sprintf(expected + strlen(expected), "x: %d\n", i);
	}
	assert_printed(errors, errors_print, expected);
	errors_add(errors, NULL, "x", NULL, "20");
	strcat(expected, "and 1 more error\n");
	assert_printed(errors, errors_print, expected);
	errors_add(errors, NULL, "x", NULL, "21");
	strcpy(strstr(expected, "and 1"), "and 2 more errors\n");
	assert_printed(errors, errors_print, expected);

	/* A program gets them all. */
	json = errors_to_json(errors);
	assert_int_equal(json_array_size(json_object_get(json, "errors")), 22);
	json_decref(json);
	errors_free(errors);
}

static void json_has_every_field_and_null_for_the_unknown(void **state)
{
	struct errors *errors = errors_new();
	json_t *json, *warnings;
	char *text;

	(void)state;
	errors_add(errors, &somewhere, "api", "mend it", "broken");
	errors_add(errors, NULL, NULL, NULL, "worse");
	errors_warn(errors, NULL, "api", NULL, "odd");
	json = errors_to_json(errors);
	text = json_dumps(json, JSON_COMPACT);
	assert_string_equal(text,
			    "{\"errors\":["
			    "{\"file\":\"box.yaml\",\"line\":7,\"column\":3,\"object\":\"api\","
			    "\"message\":\"broken\",\"hint\":\"mend it\"},"
			    "{\"file\":null,\"line\":null,\"column\":null,\"object\":null,"
			    "\"message\":\"worse\",\"hint\":null}]}");
	free(text);
	json_decref(json);

	warnings = errors_warnings_to_json(errors);
	text = json_dumps(warnings, JSON_COMPACT);
	assert_string_equal(text,
			    "[{\"file\":null,\"line\":null,\"column\":null,\"object\":\"api\","
			    "\"message\":\"odd\",\"hint\":null}]");
	free(text);
	json_decref(warnings);
	errors_free(errors);
}

static void a_message_is_one_line_of_valid_utf8_whatever_it_quotes(void **state)
{
	struct errors *errors = errors_new();
	json_t *json;

	(void)state;
	errors_add(errors, NULL, "a\nb", NULL, "no \033[31mcolour, no %s", "\xff\xfe");
	assert_printed(errors, errors_print, "a\\x0ab: no \\x1b[31mcolour, no \\xff\\xfe\n");
	json = errors_to_json(errors);
	assert_non_null(json);
	assert_int_equal(json_array_size(json_object_get(json, "errors")), 1);
	json_decref(json);
	errors_free(errors);
}

static void a_failure_never_turns_into_a_positive_code(void **state)
{
	struct errors *errors = errors_new();

	(void)state;
	assert_int_equal(errors_add_code(errors, -ENOSPC, "x", NULL, "full"), -ENOSPC);
	errors_free(errors);
}

static void nobody_needs_to_listen(void **state)
{
	json_t *json = errors_to_json(NULL);

	(void)state;
	assert_int_equal(errors_add(NULL, NULL, "x", NULL, "y"), -EINVAL);
	assert_int_equal(errors_add_code(NULL, ENOENT, "x", NULL, "y"), -ENOENT);
	errors_warn(NULL, NULL, "x", NULL, "y");
	assert_int_equal(errors_count(NULL), 0);
	assert_printed(NULL, errors_print, "");
	assert_int_equal(json_array_size(json_object_get(json, "errors")), 0);
	json_decref(json);
	errors_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_names_place_object_fault_and_remedy),
		cmocka_unit_test(unknown_parts_are_left_out_of_the_line),
		cmocka_unit_test(what_is_passed_is_copied),
		cmocka_unit_test(a_warning_is_marked_and_is_no_error),
		cmocka_unit_test(the_first_20_are_printed_then_a_count),
		cmocka_unit_test(json_has_every_field_and_null_for_the_unknown),
		cmocka_unit_test(a_message_is_one_line_of_valid_utf8_whatever_it_quotes),
		cmocka_unit_test(a_failure_never_turns_into_a_positive_code),
		cmocka_unit_test(nobody_needs_to_listen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
