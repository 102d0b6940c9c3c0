/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `where`: one SQL expression over the columns of a client's row. What passes expression_check()
 * can stand in parentheses after WHERE: it cannot end them, reads nothing but those columns, calls
 * nothing but harmless functions, and has no subquery, so that it takes bounded steps a row.
 */
#ifndef XDP_CANARY_EXPRESSION_H
#define XDP_CANARY_EXPRESSION_H

#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>

#define EXPRESSION_MAX (64 * 1024) /* bytes */

struct expression {
	const char *object; /* of errors: "segments/staff/where" */
	const char *text;
	const char *const *columns; /* all there are */
	size_t columns_count;
};

/* 0; -EINVAL, or -ENOENT for a column that is not there, with an error that quotes the expression
 * and says where. */
int expression_check(const struct expression *expression, struct errors *errors);
/* An error about the byte @offset of the text (or behind its end: of the whole). Returns -EINVAL.
 */
int expression_refuse(const struct expression *expression, size_t offset, const char *hint,
		      struct errors *errors, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
/* "did you mean `plan`; there are `plan`, `tags`": for a column that is not there. malloc()ed. */
char *columns_hint(const char *name, const char *const *columns, size_t count);
/* May an expression call it? */
bool function_is_harmless(const char *name);

#endif
