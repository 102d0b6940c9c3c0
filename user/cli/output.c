// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a command prints: one JSON document or text for people on stdout; errors and warnings, which
 * main asks for at the end, on stderr, or as members of the one document: it waits for them.
 */
#include "cli/cli.h"
#include "cli/settings.h"
#include "util/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON ---- */

static void print_line(struct cli *cli, json_t *object)
{
	if (!object || json_dumpf(object, stdout, JSON_COMPACT))
		errors_add_code(cli->errors, ENOMEM, "stdout", "free some memory",
				"the result cannot be printed");
	else
		putchar('\n');
	if (!object)
		cli->status = EXIT_FAILED;
	json_decref(object);
}

void cli_print_json(struct cli *cli, json_t *document)
{
	if (document)
		cli->document = document;
	else
		print_line(cli, NULL);
}

void cli_print_now(struct cli *cli)
{
	if (cli->document)
		cli_print_json_line(cli, cli->document);
	cli->document = NULL;
	fflush(stdout);
}

void cli_print_json_line(struct cli *cli, json_t *object)
{
	cli->printed_lines = true;
	print_line(cli, object);
}

json_t *json_text(const char *text)
{
	json_t *string = text ? json_string(text) : json_null();
	char *printable;

	if (string)
		return string;
	printable = text_printable(text); /* it was no UTF-8 */
	string = json_string(printable ? printable : "");
	free(printable);
	return string;
}

json_t *json_time(uint64_t ns)
{
	char text[TEXT_VALUE_SIZE];

	return ns ? json_string(text_format_time(ns, text)) : json_null();
}

const char *cli_time(uint64_t ns, char *buffer)
{
	if (!ns)
		return "-";
	return text_format_local_time(ns, buffer);
}

json_t *json_epoch(const struct control *control, const char *service)
{
	const struct live_service *live = live_service_of(&control->live, service);

	return live && live->epoch ? json_integer((json_int_t)live->epoch) : json_null();
}

/* ---- text ---- */

void cli_say(const struct cli *cli, const char *format, ...)
{
	va_list arguments;

	if (cli->json || cli->quiet)
		return;
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

const char *cli_color(const struct cli *cli, const char *code, char buffer[16])
{
	if (!cli->color)
		return "";
	snprintf(buffer, 16, "\033[%sm", code);
	return buffer;
}

const char *cli_color_end(const struct cli *cli)
{
	return cli->color ? "\033[0m" : "";
}

void table_begin(struct table *table, const char *const *headers)
{
	*table = (struct table){.headers = headers};
	while (headers[table->columns])
		table->columns++;
}

void table_cell(struct table *table, const char *format, ...)
{
	va_list arguments;
	char *text = NULL;

	if (table->count == table->room) {
		size_t room = table->room ? 2 * table->room : 64;
		char **larger = reallocarray(table->cells, room, sizeof(*larger));

		if (!larger)
			return;
		table->cells = larger;
		table->room = room;
	}
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	table->cells[table->count++] = text;
}

static void print_row(const struct cli *cli, const struct table *table, const char *const *cells,
		      const size_t *widths, bool bold)
{
	char buffer[16];

	fputs(bold ? cli_color(cli, "1", buffer) : "", stdout);
	for (size_t i = 0; i < table->columns; i++) {
		const char *text = cells[i] ? cells[i] : "";

		if (i + 1 < table->columns)
			printf("%-*s  ", (int)widths[i], text);
		else
			fputs(text, stdout);
	}
	fputs(bold ? cli_color_end(cli) : "", stdout);
	putchar('\n');
}

void table_end(const struct cli *cli, struct table *table)
{
	size_t *widths = calloc(table->columns, sizeof(*widths));

	for (size_t i = 0; widths && i < table->columns; i++)
		widths[i] = strlen(table->headers[i]);
	for (size_t i = 0; widths && i < table->count; i++) {
		size_t width = table->cells[i] ? strlen(table->cells[i]) : 0;

		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
	if (widths)
		print_row(cli, table, table->headers, widths, true);
	for (size_t i = 0; widths && i + table->columns <= table->count; i += table->columns)
		print_row(cli, table, (const char *const *)&table->cells[i], widths, false);
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(widths);
}

/* ---- errors ---- */

int cli_usage(struct cli *cli, const char *object, const char *hint, const char *format, ...)
{
	va_list arguments;
	char *text = NULL;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	errors_add(cli->errors, NULL, object, hint, "%s", text ? text : "is wrong");
	free(text);
	cli->status = EXIT_USAGE;
	return -EINVAL;
}

#define NAMES_SHOWN 8

int cli_unknown(struct errors *errors, const char *object, const char *what, const char *name,
		const char *const *names, size_t count)
{
	const char *near = text_nearest(name, names, count);
	char hint[NAMES_SHOWN * (NAME_SIZE + 2) + 32] = "there is none";
	size_t length;

	if (near) {
		snprintf(hint, sizeof(hint), "did you mean `%s`", near);
	} else if (count) {
		strcpy(hint, "there is");
		for (size_t i = 0; i < count && i < NAMES_SHOWN; i++) {
			length = strlen(hint);
			snprintf(hint + length, sizeof(hint) - length, "%s %s", i ? "," : "",
				 names[i]);
		}
		length = strlen(hint);
		if (count > NAMES_SHOWN)
			snprintf(hint + length, sizeof(hint) - length, ", and %zu more",
				 count - NAMES_SHOWN);
	}
	return errors_add(errors, NULL, object, hint, "there is no %s `%s`", what, name);
}

static void report_text(struct cli *cli, bool has_failed)
{
	errors_print_warnings(cli->errors, stderr);
	if (has_failed)
		errors_print(cli->errors, stderr);
}

/* As members of the document, of one of their own, or of a stream's last line. */
static void report_json(struct cli *cli, bool has_failed)
{
	json_t *warnings = errors_warnings_to_json(cli->errors);

	if (!cli->document && (has_failed || (cli->printed_lines && json_array_size(warnings))))
		cli->document = json_object();
	if (!json_is_object(cli->document)) { /* an array, or what is no JSON */
		report_text(cli, has_failed);
	} else {
		if (has_failed)
			json_object_update_new(cli->document, errors_to_json(cli->errors));
		if (json_array_size(warnings))
			json_object_set(cli->document, "warnings", warnings);
	}
	json_decref(warnings);
	cli_print_now(cli);
}

int cli_report(struct cli *cli, int result)
{
	bool has_failed;

	if (result < 0 && cli->status != EXIT_USAGE)
		cli->status = EXIT_FAILED;
	if (result < 0 && !errors_count(cli->errors))
		errors_add_code(cli->errors, -result, "xdp-canary", "try again", "failed: %s",
				strerror(-result));
	has_failed = errors_count(cli->errors) && cli->status != EXIT_DONE;
	if (cli->json && !cli->printed_whole)
		report_json(cli, has_failed);
	else
		report_text(cli, has_failed);
	if ((fflush(stdout) || ferror(stdout)) && cli->status == EXIT_DONE) {
		fprintf(stderr, "stdout: cannot write the result: %s\n", strerror(errno));
		cli->status = EXIT_FAILED;
	}
	return cli->status;
}

void cli_release(struct cli *cli)
{
	settings_release(cli);
	json_decref(cli->document);
	errors_free(cli->errors);
	free(cli->words);
	free(cli->flag_values);
}

/* ---- the box ---- */

int cli_open(struct cli *cli, struct control **out)
{
	return control_open(&cli->place, cli->errors, out);
}

int cli_open_write(struct cli *cli, struct control **out)
{
	return control_open_write(&cli->place, &cli->actor, cli->errors, out);
}

int cli_audit(struct control *control, const char *service, json_t *before, json_t *after)
{
	char *old = json_dumps(before, JSON_COMPACT | JSON_ENCODE_ANY);
	char *new = json_dumps(after, JSON_COMPACT | JSON_ENCODE_ANY);
	int error = -ENOMEM;

	if (old && new)
		error = store_audit(control->store, service, old, new, control->errors);
	free(old);
	free(new);
	json_decref(before);
	json_decref(after);
	return error;
}

const struct service *cli_service(struct cli *cli, const struct control *control, const char *name)
{
	const struct policy *policy = control->policy;
	const struct service *service = policy_service(policy, name);
	const char **names;

	if (service)
		return service;
	names = calloc(policy->services_count + 1, sizeof(*names));
	for (size_t i = 0; names && i < policy->services_count; i++)
		names[i] = policy->services[i].name;
	if (!control->revision.number)
		errors_add(cli->errors, NULL, "services", "apply a file first",
			   "there is no service `%s`: nothing was applied yet", name);
	else
		cli_unknown(cli->errors, "services", "service", name, names,
			    names ? policy->services_count : 0);
	free(names);
	return NULL;
}
