// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is a text one harmless expression? Two judges, each of which would do for what the other may
 * overlook:
 *
 *   the text   is scanned as SQLite would split it into tokens: no parenthesis of its own is closed
 *              that was not opened, no quote left open, no comment, no `;`, no parameter. So in
 *              `WHERE (` text `)` the last parenthesis closes the first.
 *   SQLite     prepares it, for an empty table of those columns in a database in memory that has
 *              nothing else, under an authoriser that allows one SELECT, its columns, and functions
 *              of a list.
 *
 * The names of the columns decide what a name in the text means, so what was found harmless here is
 * harmless wherever a table `catalogue` has the same columns.
 */
#include "store/expression.h"

#include "util/text.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define QUOTED_MAX 200 /* bytes of a longer expression that an error quotes */
#define SHOWN_MAX  20  /* columns that a hint names */

static const char begin_sql[] = "SELECT 1 FROM catalogue WHERE (";

/* Pure but for the clock; nothing that allocates more than its arguments by design, writes, or
 * differs from run to run. */
static const char *const harmless[] = {
	"abs",		"ceil",	     "ceiling",	  "coalesce", "current_date",
	"current_time", "date",	     "datetime",  "exp",      "floor",
	"glob",		"ifnull",    "iif",	  "instr",    "julianday",
	"length",	"like",	     "ln",	  "log",      "log10",
	"log2",		"lower",     "ltrim",	  "max",      "min",
	"mod",		"nullif",    "pow",	  "power",    "replace",
	"round",	"rtrim",     "sign",	  "sqrt",     "strftime",
	"substr",	"substring", "time",	  "trim",     "trunc",
	"typeof",	"unicode",   "unixepoch", "upper",    "current_timestamp",
};

bool function_is_harmless(const char *name)
{
	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
		if (!strcasecmp(name, harmless[i]))
			return true;
	return false;
}

/* ---- errors ---- */

/* In characters, from 1. */
static size_t place_of(const char *text, size_t offset)
{
	size_t place = 1;

	for (size_t i = 0; i < offset; i++)
		place += (text[i] & 0xc0) != 0x80;
	return place;
}

/* The part of the text about @offset that an error has room for, cut between characters. */
static char *excerpt(const char *text, size_t offset)
{
	size_t length = strlen(text), begin = 0, end = length;
	char *out;

	if (length > QUOTED_MAX) {
		begin = offset > QUOTED_MAX / 2 ? offset - QUOTED_MAX / 2 : 0;
		while (begin && (text[begin] & 0xc0) == 0x80)
			begin--;
		end = begin + QUOTED_MAX < length ? begin + QUOTED_MAX : length;
		while (end < length && (text[end] & 0xc0) == 0x80)
			end++;
	}
	if (asprintf(&out, "%s%.*s%s", begin ? "..." : "", (int)(end - begin), text + begin,
		     end < length ? "..." : "") < 0)
		return NULL;
	return out;
}

static int refuse(const struct expression *expression, int code, size_t offset, const char *hint,
		  struct errors *errors, const char *format, va_list arguments)
{
	size_t length = strlen(expression->text);
	size_t shown = offset < length ? offset : 0;
	char *quoted = excerpt(expression->text, shown), *what = NULL;

	if (vasprintf(&what, format, arguments) < 0)
		what = NULL;
	if (offset < length)
		errors_add(errors, NULL, expression->object, hint, "%s, at character %zu of `%s`",
			   what ? what : "is wrong", place_of(expression->text, offset),
			   quoted ? quoted : "");
	else
		errors_add(errors, NULL, expression->object, hint, "%s: `%s`",
			   what ? what : "is wrong", quoted ? quoted : "");
	free(quoted);
	free(what);
	return -code;
}

int expression_refuse(const struct expression *expression, size_t offset, const char *hint,
		      struct errors *errors, const char *format, ...)
{
	va_list arguments;
	int error;

	va_start(arguments, format);
	error = refuse(expression, EINVAL, offset, hint, errors, format, arguments);
	va_end(arguments);
	return error;
}

__attribute__((format(printf, 5, 6))) static int refuse_column(const struct expression *expression,
							       size_t offset, const char *hint,
							       struct errors *errors,
							       const char *format, ...)
{
	va_list arguments;
	int error;

	va_start(arguments, format);
	error = refuse(expression, ENOENT, offset, hint, errors, format, arguments);
	va_end(arguments);
	return error;
}

char *columns_hint(const char *name, const char *const *columns, size_t count)
{
	const char *near = text_nearest(name, columns, count);
	char *hint = NULL;
	size_t size;
	FILE *stream = open_memstream(&hint, &size);

	if (!stream)
		return NULL;
	if (near)
		fprintf(stream, "did you mean `%s`; ", near);
	fputs("there are", stream);
	for (size_t i = 0; i < count && i < SHOWN_MAX; i++)
		fprintf(stream, "%s `%s`", i ? "," : "", columns[i]);
	if (count > SHOWN_MAX)
		fprintf(stream, " and %zu more", count - SHOWN_MAX);
	fclose(stream);
	return hint;
}

/* ---- the text ---- */

/* Behind the quoted text or name that begins at @at; 0: it does not end. A doubled quote is two
 * texts side by side here, which ends at the same place. */
static size_t skip_quoted(const char *text, size_t at)
{
	char closing = text[at] == '[' ? ']' : text[at];
	const char *end = strchr(text + at + 1, closing);

	return end ? (size_t)(end - text) + 1 : 0;
}

static int scan_mark(const struct expression *expression, size_t at, size_t *depth,
		     struct errors *errors)
{
	const char *mark = expression->text + at;

	if (*mark == '(') {
		++*depth;
	} else if (*mark == ')') {
		if (!*depth)
			return expression_refuse(expression, at, "open it first", errors,
						 "a parenthesis is closed that was not opened");
		--*depth;
	} else if (*mark == ';') {
		return expression_refuse(expression, at, "write one expression", errors,
					 "`;` ends no expression");
	} else if (!strncmp(mark, "--", 2) || !strncmp(mark, "/*", 2)) {
		return expression_refuse(expression, at, "leave it out", errors,
					 "comments are not allowed");
	} else if (strchr("?@#$:", *mark)) {
		return expression_refuse(expression, at,
					 "write a value, or a name in double quotes", errors,
					 "`%c` begins a parameter, and there are none", *mark);
	}
	return 0;
}

static int scan(const struct expression *expression, struct errors *errors)
{
	const char *text = expression->text;
	size_t depth = 0, at = 0, next;
	int error;

	while (text[at]) {
		if (strchr("'\"`[", text[at])) {
			next = skip_quoted(text, at);
			if (!next)
				return expression_refuse(expression, at, "close it", errors,
							 "a quote is left open");
			at = next;
			continue;
		}
		error = scan_mark(expression, at, &depth, errors);
		if (error)
			return error;
		at++;
	}
	if (depth)
		return expression_refuse(expression, at, "close it", errors,
					 "a parenthesis is left open");
	return 0;
}

/* ---- SQLite ---- */

struct judge {
	const struct expression *expression;
	struct errors *errors;
	sqlite3 *database;
	unsigned int selects;
	char denied[160]; /* why the authoriser refused */
};

static int authorise(void *data, int action, const char *first, const char *second,
		     const char *schema, const char *view)
{
	struct judge *judge = data;

	(void)schema;
	(void)view;
	switch (action) {
	case SQLITE_SELECT:
		if (!judge->selects++)
			return SQLITE_OK;
		snprintf(judge->denied, sizeof(judge->denied), "it has a subquery");
		return SQLITE_DENY;
	case SQLITE_READ:
		if (first && !strcmp(first, "catalogue"))
			return SQLITE_OK;
		snprintf(judge->denied, sizeof(judge->denied), "it reads another table");
		return SQLITE_DENY;
	case SQLITE_FUNCTION:
		if (second && function_is_harmless(second))
			return SQLITE_OK;
		snprintf(judge->denied, sizeof(judge->denied), "it calls `%.64s`",
			 second ? second : "");
		return SQLITE_DENY;
	default:
		snprintf(judge->denied, sizeof(judge->denied), "it is more than an expression");
		return SQLITE_DENY;
	}
}

/* To be given to sqlite3_free(). */
static char *table_sql(const struct expression *expression)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);

	sqlite3_str_appendall(sql, "CREATE TABLE catalogue (client PRIMARY KEY");
	for (size_t i = 0; i < expression->columns_count; i++)
		if (strcasecmp(expression->columns[i], "client"))
			sqlite3_str_appendf(sql, ", \"%w\"", expression->columns[i]);
	/* No rowid: `rowid` is no column. */
	sqlite3_str_appendall(sql, ") WITHOUT ROWID");
	return sqlite3_str_finish(sql);
}

static int out_of_memory(const struct expression *expression, struct errors *errors)
{
	return errors_add_code(errors, ENOMEM, expression->object, "free some memory",
			       "out of memory");
}

static int make_table(struct judge *judge)
{
	char *sql = table_sql(judge->expression);
	int result;

	if (!sql)
		return out_of_memory(judge->expression, judge->errors);
	result = sqlite3_exec(judge->database, sql, NULL, NULL, NULL);
	sqlite3_free(sql);
	if (result != SQLITE_OK)
		return errors_add_code(judge->errors, EIO, judge->expression->object, "report this",
				       "cannot make its columns: %s",
				       sqlite3_errmsg(judge->database));
	return 0;
}

/* What SQLite says of the text, and where, in the text's own bytes. */
static int refused_by_sqlite(struct judge *judge)
{
	static const char no_column[] = "no such column: ";
	const char *message = sqlite3_errmsg(judge->database);
	int offset = sqlite3_error_offset(judge->database) - (int)strlen(begin_sql);
	size_t length = strlen(judge->expression->text);
	size_t place = offset < 0 || (size_t)offset >= length ? length : (size_t)offset;
	char *hint;
	int error;

	if (*judge->denied)
		return expression_refuse(
			judge->expression, length,
			"use the columns of the client's row, and functions as abs, "
			"coalesce, date, instr, length, lower, round, substr",
			judge->errors, "%s", judge->denied);
	if (strncmp(message, no_column, strlen(no_column)))
		return expression_refuse(judge->expression, place, "write an SQL expression",
					 judge->errors, "%s", message);
	message += strlen(no_column);
	hint = columns_hint(message, judge->expression->columns, judge->expression->columns_count);
	error = refuse_column(judge->expression, place,
			      hint ? hint : "see `xdp-canary client list`", judge->errors,
			      "there is no column `%s` (a text stands in single quotes)", message);
	free(hint);
	return error;
}

static int prepare(struct judge *judge)
{
	const struct expression *expression = judge->expression;
	sqlite3_stmt *statement = NULL;
	const char *rest = "";
	char *sql;
	int result;

	if (asprintf(&sql, "%s%s)", begin_sql, expression->text) < 0)
		return out_of_memory(expression, judge->errors);
	result = sqlite3_prepare_v2(judge->database, sql, -1, &statement, &rest);
	if (result == SQLITE_NOMEM)
		result = out_of_memory(expression, judge->errors);
	else if (result != SQLITE_OK)
		result = refused_by_sqlite(judge);
	else if (*rest || !sqlite3_stmt_readonly(statement) ||
		 sqlite3_bind_parameter_count(statement))
		result = expression_refuse(expression, strlen(expression->text),
					   "write one expression", judge->errors,
					   "it is more than an expression");
	sqlite3_finalize(statement);
	free(sql);
	return result;
}

static int judge_text(struct judge *judge)
{
	int error;

	if (sqlite3_open_v2(":memory:", &judge->database,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		return out_of_memory(judge->expression, judge->errors);
	/* "text" is a name, and never a text because there is no such name. */
	sqlite3_db_config(judge->database, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	error = make_table(judge);
	if (error)
		return error;
	sqlite3_set_authorizer(judge->database, authorise, judge);
	return prepare(judge);
}

int expression_check(const struct expression *expression, struct errors *errors)
{
	struct judge judge = {.expression = expression, .errors = errors};
	size_t length = strlen(expression->text);
	int error;

	if (!expression->text[strspn(expression->text, " \t\r\n\f")])
		return errors_add(errors, NULL, expression->object,
				  "write an SQL expression, as plan = 'trial'", "it is empty");
	if (length > EXPRESSION_MAX)
		return errors_add(errors, NULL, expression->object,
				  "put what it lists into a column of the catalogue",
				  "it is longer than %d bytes", EXPRESSION_MAX);
	error = scan(expression, errors);
	if (!error)
		error = judge_text(&judge);
	sqlite3_close(judge.database);
	return error;
}
