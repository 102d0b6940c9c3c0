// SPDX-License-Identifier: GPL-2.0-only
/*
 * The list of what went wrong. Messages are kept as one line of valid UTF-8 each, whatever the file
 * or the command line that they quote contains, so that a line of output is always one error, a
 * terminal is never sent a control sequence, and JSON can always be made. An error is never lost:
 * where its text finds no memory, it is still counted.
 *
 * Every function takes NULL for @errors: nobody listens then, and the return values are the same.
 */
#include "util/errors.h"

#include "util/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#define PRINT_MAX 20

struct message {
	struct message *next;
	char *file, *object, *text, *hint; /* NULL: not known */
	unsigned int line, column;
};

struct message_list {
	struct message *first, **end;
	size_t count;
	size_t lost; /* counted, but there was no memory for the message itself */
	size_t more; /* counted by errors_count_more() */
};

struct errors {
	struct message_list errors, warnings;
};

struct errors *errors_new(void)
{
	struct errors *errors = calloc(1, sizeof(*errors));

	if (!errors)
		return NULL;
	errors->errors.end = &errors->errors.first;
	errors->warnings.end = &errors->warnings.first;
	return errors;
}

static void message_list_release(struct message_list *list)
{
	struct message *message = list->first;

	while (message) {
		struct message *next = message->next;

		free(message->file);
		free(message->object);
		free(message->text);
		free(message->hint);
		free(message);
		message = next;
	}
}

void errors_free(struct errors *errors)
{
	if (!errors)
		return;
	message_list_release(&errors->errors);
	message_list_release(&errors->warnings);
	free(errors);
}

static char *copy_or_null(const char *text)
{
	return text && *text ? text_printable(text) : NULL;
}

static void append(struct message_list *list, const struct position *where, const char *object,
		   const char *hint, const char *format, va_list arguments)
{
	struct message *message = calloc(1, sizeof(*message));
	char *text;

	list->count++;
	if (!message) {
		list->lost++;
		return;
	}
	if (where && where->file) {
		message->file = copy_or_null(where->file);
		message->line = where->line;
		message->column = where->column;
	}
	message->object = copy_or_null(object);
	message->hint = copy_or_null(hint);
	if (vasprintf(&text, format, arguments) >= 0) {
		message->text = text_printable(text);
		free(text);
	}
	*list->end = message;
	list->end = &message->next;
}

int errors_add(struct errors *errors, const struct position *where, const char *object,
	       const char *hint, const char *format, ...)
{
	va_list arguments;

	if (!errors)
		return -EINVAL;
	va_start(arguments, format);
	append(&errors->errors, where, object, hint, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

int errors_add_code(struct errors *errors, int code, const char *object, const char *hint,
		    const char *format, ...)
{
	va_list arguments;

	if (!errors)
		return -abs(code);
	va_start(arguments, format);
	append(&errors->errors, NULL, object, hint, format, arguments);
	va_end(arguments);
	/* A negative code is taken as it is: a failure must never become a positive number. */
	return -abs(code);
}

void errors_warn(struct errors *errors, const struct position *where, const char *object,
		 const char *hint, const char *format, ...)
{
	va_list arguments;

	if (!errors)
		return;
	va_start(arguments, format);
	append(&errors->warnings, where, object, hint, format, arguments);
	va_end(arguments);
}

void errors_count_more(struct errors *errors, bool warnings, size_t count)
{
	struct message_list *list;

	if (!errors)
		return;
	list = warnings ? &errors->warnings : &errors->errors;
	list->count += count;
	list->more += count;
}

size_t errors_count(const struct errors *errors)
{
	return errors ? errors->errors.count : 0;
}

static const char *message_text(const struct message *message)
{
	return message->text ? message->text : "out of memory";
}

static void print_position(const struct message *message, FILE *stream)
{
	if (!message->file)
		return;
	fprintf(stream, "%s:", message->file);
	if (message->line)
		fprintf(stream, "%u:%u:", message->line, message->column);
	fputc(' ', stream);
}

static void print_list(const struct message_list *list, const char *mark, const char *kind,
		       FILE *stream)
{
	const struct message *message = list->first;
	size_t printed = 0;

	for (; message && printed < PRINT_MAX; message = message->next, printed++) {
		print_position(message, stream);
		fputs(mark, stream);
		if (message->object)
			fprintf(stream, "%s: ", message->object);
		fputs(message_text(message), stream);
		if (message->hint)
			fprintf(stream, ": %s", message->hint);
		fputc('\n', stream);
	}
	if (list->count > printed)
		fprintf(stream, "and %zu more %s%s\n", list->count - printed, kind,
			list->count - printed == 1 ? "" : "s");
}

void errors_print(const struct errors *errors, FILE *stream)
{
	if (errors)
		print_list(&errors->errors, "", "error", stream);
}

void errors_print_warnings(const struct errors *errors, FILE *stream)
{
	if (errors)
		print_list(&errors->warnings, "warning: ", "warning", stream);
}

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *number_or_null(unsigned int number)
{
	return number ? json_integer(number) : json_null();
}

static json_t *message_to_json(const struct message *message)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:s, s:o}", "file", text_or_null(message->file),
			 "line", number_or_null(message->line), "column",
			 number_or_null(message->column), "object", text_or_null(message->object),
			 "message", message_text(message), "hint", text_or_null(message->hint));
}

static json_t *list_to_json(const struct message_list *list)
{
	static const struct message lost;
	json_t *array = json_array();

	for (const struct message *message = list->first; message; message = message->next)
		json_array_append_new(array, message_to_json(message));
	for (size_t i = 0; i < list->lost; i++)
		json_array_append_new(array, message_to_json(&lost));
	return array;
}

json_t *errors_to_json(const struct errors *errors)
{
	json_t *array = errors ? list_to_json(&errors->errors) : json_array();
	json_t *document = json_pack("{s:o}", "errors", array);

	if (errors && errors->errors.more)
		json_object_set_new(document, "more_errors",
				    json_integer((json_int_t)errors->errors.more));
	return document;
}

json_t *errors_warnings_to_json(const struct errors *errors)
{
	return errors ? list_to_json(&errors->warnings) : json_array();
}
