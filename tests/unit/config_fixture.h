/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of configurations share: the lines of a small one, reading what must be right, and
 * lists of texts that must be refused with exactly the errors that they name.
 */
#ifndef XDP_CANARY_TESTS_CONFIG_FIXTURE_H
#define XDP_CANARY_TESTS_CONFIG_FIXTURE_H

#include "config/config.h"

#include <stddef.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define NAMED_SERVICE(name, vips)                                                                  \
	"- name: " name "\n"                                                                       \
	"  vips: [ " vips " ]\n"                                                                   \
	"  steer: l2\n"

/* Lines 1 to 5; what is wrong usually begins at line 6, or after COHORTS at line 9. */
#define SERVICE_AT(vips)                                                                           \
	"version: 1\n"                                                                             \
	"services:\n" NAMED_SERVICE("api", vips)
#define SERVICE SERVICE_AT("192.0.2.10:443/tcp")

#define BACKENDS(stable, canary)                                                                   \
	"  cohorts:\n"                                                                             \
	"  - { name: stable, backends: [ " stable " ] }\n"                                         \
	"  - { name: canary, backends: [ " canary " ] }\n"
#define COHORTS BACKENDS("{ address: 10.0.1.11 }", "{ address: 10.0.2.11 }")

#define GOOD SERVICE COHORTS

/* Parses what must be right. */
struct policy *parse(const char *text);
/* What it is rendered as means the same, and is rendered the same. */
void assert_round_trip(const struct policy *policy);

/* config_diff() of the two texts; @expected is JSON in single quotes. */
void assert_diff(const char *before, const char *after, const char *expected);

#define EXPECTED_MAX 12

struct expected {
	unsigned int line, column;
	const char *object, *message; /* message: a part of message or hint */
};

/* A text and the errors expected of it, no more and no fewer. */
struct bad {
	const char *text;
	struct expected expected[EXPECTED_MAX];
};

/* Text of an error rendered as JSON; "" if it has none. */
const char *member(const json_t *error, const char *key);
void assert_refused(const char *text, size_t length, const struct expected *expected,
		    size_t expected_max);

struct bad_list {
	const struct bad *bad;
	size_t count;
};

#define BAD_LIST(array) (&(struct bad_list){.bad = array, .count = COUNT(array)})
/* An array of struct bad as a test of the same name. */
#define REFUSED(array)                                                                             \
	{                                                                                          \
		.name = #array, .test_func = all_are_refused, .initial_state = BAD_LIST(array)     \
	}
void all_are_refused(void **state);

#endif
