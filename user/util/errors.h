/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Errors and warnings, collected while something is tried and printed once: what object, what is
 * wrong, what to do. Nothing in user/ prints an error by itself; a function that fails adds at
 * least one error here and returns a negative errno (or NULL).
 */
#ifndef XDP_CANARY_ERRORS_H
#define XDP_CANARY_ERRORS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Where in a file; file NULL: not in a file. Line and column count from 1. */
struct position {
	const char *file;
	unsigned int line, column;
};

struct errors;

struct errors *errors_new(void);
void errors_free(struct errors *errors);

/*
 * errors_add(errors, &position or NULL, "services/api", "give it a backend", "cohort %s has no
 * backend", name)
 * @object: what it is about, a path of names; @hint: what to do. Both are copied. Returns -EINVAL,
 * so that a caller may `return errors_add(...)`. errors_add_code() returns -@code instead.
 */
int errors_add(struct errors *errors, const struct position *where, const char *object,
	       const char *hint, const char *format, ...) __attribute__((format(printf, 5, 6)));
int errors_add_code(struct errors *errors, int code, const char *object, const char *hint,
		    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* A warning does not make what was tried fail. */
void errors_warn(struct errors *errors, const struct position *where, const char *object,
		 const char *hint, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* So many more that are only counted: whoever finds millions tells the first. */
void errors_count_more(struct errors *errors, bool warnings, size_t count);

size_t errors_count(const struct errors *errors); /* of errors, warnings not counted */

/*
 * One a line, `FILE:LINE:COLUMN: OBJECT: what: hint` (no FILE part without a position), warnings
 * with `warning: ` in front of the object; the first 20 errors, then `and N more errors`.
 */
void errors_print(const struct errors *errors, FILE *stream);
void errors_print_warnings(const struct errors *errors, FILE *stream);

/* {"errors":[{"file","line","column","object","message","hint"}]}: all errors; unknown fields are
 * null. Where more were only counted, "more_errors" is how many. */
json_t *errors_to_json(const struct errors *errors);
/* A JSON array of the warnings, with the same fields. */
json_t *errors_warnings_to_json(const struct errors *errors);

#endif
