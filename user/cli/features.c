// SPDX-License-Identifier: GPL-2.0-only
/*
 * features export, show: what the kernel observed of clients, in the last complete window (from the
 * store) and in the running one (from the records, which go on counting).
 */
#include "catalogue/catalogue.h"
#include "cli/cli.h"
#include "observe/features.h"
#include "observe/rotation.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what is to be said where there is nothing ---- */

static int not_observed(struct cli *cli)
{
	return errors_add_code(cli->errors, ENODATA, "observe",
			       "add `observe: {}` to the configuration and apply it",
			       "this box does not observe its clients");
}

static int not_loaded(struct cli *cli)
{
	return errors_add_code(cli->errors, ENODATA, "observe", "apply, or start the daemon",
			       "nothing is loaded that would observe clients");
}

static int no_complete_window(struct cli *cli, const struct control *control)
{
	char length[TEXT_VALUE_SIZE];

	if (!control->policy->observe.is_on)
		return not_observed(cli);
	return errors_add_code(cli->errors, ENODATA, "observe",
			       "say --current for the running one, or see that the daemon runs",
			       "no window is complete yet: each lasts %s",
			       text_format_duration(control->policy->observe.window_ms, length));
}

#define OVERDUE_SECONDS 60 /* the daemon looks more often */

/* The running window is longer than it was meant to be, and the last one older. */
static void warn_if_nobody_takes_it(struct cli *cli, struct control *control)
{
	uint64_t seconds = rotation_overdue(control);
	char text[TEXT_VALUE_SIZE];

	if (seconds > OVERDUE_SECONDS)
		errors_warn(cli->errors, NULL, "observe",
			    "start the daemon, or run `xdp-canary daemon --once`",
			    "the running window has been over for %s, and nobody takes it",
			    text_format_duration(seconds / 60 * 60000, text));
}

/* ---- windows ---- */

/* The running one, and its records by client. @only: a client, or NULL. */
static int read_running(struct cli *cli, const struct control *control,
			const struct observed_client *only, struct window *window,
			struct observed_list *list)
{
	int error;

	if (!control->policy->observe.is_on)
		return not_observed(cli);
	if (!control->datapath)
		return not_loaded(cli);
	error = window_running(control->datapath, window, cli->errors);
	if (error == -ENODATA)
		return not_loaded(cli);
	if (!error)
		error = observed_read(control->datapath, only, list);
	if (!error)
		observed_merge(list);
	return error;
}

/* ---- export ---- */

struct export
{
	struct cli *cli;
	FILE *out;
	bool as_json; /* an object a line instead of CSV */
	size_t clients;
};

/* As few digits as bring the same number back. */
static void print_real(FILE *out, double value)
{
	char text[32];

	if (isnan(value))
		return;
	snprintf(text, sizeof(text), "%.15g", value);
	if (strtod(text, NULL) != value)
		snprintf(text, sizeof(text), "%.17g", value);
	fputs(text, out);
}

static json_t *value_to_json(struct feature_value value)
{
	if (!value.is_real)
		return json_integer((json_int_t)value.integer);
	return isnan(value.real) ? json_null() : json_real(value.real);
}

static void add_features(json_t *object, const struct client_features *features)
{
	int feature;

	for (feature = 0; feature < FEATURES_COUNT; feature++)
		json_object_set_new(object, feature_names[feature],
				    value_to_json(feature_value(features, feature)));
}

static const char *client_text(const struct member *client, char text[ADDRESS_TEXT_SIZE])
{
	struct prefix prefix = member_prefix(client);

	return prefix_format(&prefix, text);
}

static int export_row(const struct client_features *features, void *data)
{
	struct export *export = data;
	char client[ADDRESS_TEXT_SIZE];
	int feature;

	client_text(&features->client, client);
	export->clients++;
	if (export->as_json) {
		json_t *row = json_pack("{s:s}", "client", client);

		add_features(row, features);
		cli_print_json_line(export->cli, row);
		return 0;
	}
	fputs(client, export->out);
	for (feature = 0; feature < FEATURES_COUNT; feature++) {
		struct feature_value value = feature_value(features, feature);

		fputc(',', export->out);
		if (value.is_real)
			print_real(export->out, value.real);
		else
			fprintf(export->out, "%" PRIu64, value.integer);
	}
	fputc('\n', export->out);
	return 0;
}

static void print_header(struct export *export)
{
	int feature;

	if (export->as_json)
		return;
	fputs("client", export->out);
	for (feature = 0; feature < FEATURES_COUNT; feature++)
		fprintf(export->out, ",%s", feature_names[feature]);
	fputc('\n', export->out);
}

#define ROWS_AT_ONCE 16384

static int export_list(struct export *export, const struct control *control,
		       const struct window *window, const struct observed_list *list)
{
	struct client_features *rows = calloc(ROWS_AT_ONCE, sizeof(*rows));
	size_t from, i, count;
	int error = rows ? 0 : -ENOMEM;

	print_header(export);
	for (from = 0; from < list->count && !error; from += count) {
		count = list->count - from < ROWS_AT_ONCE ? list->count - from : ROWS_AT_ONCE;
		error = features_of_all(control->store, window, list->clients + from, count, rows,
					export->cli->errors);
		for (i = 0; i < count && !error; i++)
			error = export_row(&rows[i], export);
	}
	free(rows);
	return error;
}

static int export_running(struct export *export, const struct control *control,
			  struct features_window *said)
{
	struct observed_list list = {0};
	struct window window;
	int error = read_running(export->cli, control, NULL, &window, &list);

	if (!error)
		error = export_list(export, control, &window, &list);
	if (!error)
		*said = window_in_store(&window, list.count);
	observed_list_release(&list);
	return error;
}

static int export_complete(struct export *export, const struct control *control,
			   struct features_window *said)
{
	int error = control->store
			    ? store_features_window(control->store, said, export->cli->errors)
			    : -ENOENT;

	if (error == -ENOENT)
		return no_complete_window(export->cli, control);
	if (error)
		return error;
	print_header(export);
	return store_each_features(control->store, NULL, NULL, export_row, export,
				   export->cli->errors);
}

/* ---- the file ---- */

/* A file is replaced when all of it has been written; what is no file is written to. */
struct output {
	const char *path;
	char *temporary; /* NULL: written to directly */
	FILE *stream;
};

static int cannot_write(struct cli *cli, const struct output *output, int code)
{
	return errors_add_code(cli->errors, code, output->path, "give another file with -o",
			       "cannot write it: %s", strerror(code));
}

static int output_open(struct cli *cli, const char *path, struct output *output)
{
	struct stat status;
	int fd;

	*output = (struct output){.path = path, .stream = stdout};
	if (!path)
		return 0;
	if (!stat(path, &status) && !S_ISREG(status.st_mode)) {
		output->stream = fopen(path, "we");
		return output->stream ? 0 : cannot_write(cli, output, errno);
	}
	if (asprintf(&output->temporary, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(output->temporary, O_CLOEXEC);
	output->stream = fd < 0 ? NULL : fdopen(fd, "w");
	if (output->stream)
		return fchmod(fd, 0640) ? -errno : 0;
	cannot_write(cli, output, errno);
	free(output->temporary);
	output->temporary = NULL;
	return -EIO;
}

static int output_close(struct cli *cli, struct output *output, int error)
{
	if (!output->path || !output->stream)
		return error;
	if (!error && ferror(output->stream))
		error = cannot_write(cli, output, EIO);
	if (fclose(output->stream) && !error)
		error = cannot_write(cli, output, errno);
	if (!error && output->temporary && rename(output->temporary, output->path))
		error = cannot_write(cli, output, errno);
	if (error && output->temporary)
		unlink(output->temporary);
	free(output->temporary);
	return error;
}

static void say_exported(struct cli *cli, const struct export *export, const char *path,
			 const struct features_window *window, bool running)
{
	if (!path)
		return;
	cli_say(cli, "%zu clients are in %s", export->clients, path);
	if (cli->json)
		cli_print_json(cli,
			       json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:I}", "cmd",
					 "features export", "file", path, "clients",
					 (json_int_t) export->clients, "window",
					 running ? "running" : "complete", "from",
					 json_time(window->from_ns), "to", json_time(window->to_ns),
					 "sample", (json_int_t)window->sample));
}

int command_features_export(struct cli *cli)
{
	const char *path = cli_flag(cli, "-o");
	bool running = cli_flag(cli, "--current");
	struct export export = {.cli = cli, .as_json = cli->json && !path};
	struct features_window window = {0};
	struct control *control = NULL;
	struct output output = {0};
	int error = cli_open(cli, &control);

	if (!error)
		error = output_open(cli, path, &output);
	export.out = output.stream;
	if (!error)
		warn_if_nobody_takes_it(cli, control);
	if (!error)
		error = running ? export_running(&export, control, &window)
				: export_complete(&export, control, &window);
	error = output_close(cli, &output, error);
	if (!error)
		say_exported(cli, &export, path, &window, running);
	control_close(control);
	return error;
}

/* ---- show ---- */

/* What is known of the client in one window; has_window false: there is no such window. */
struct seen {
	bool has_window, has_client;
	struct features_window window;
	struct client_features features;
};

static int look_at_complete(struct cli *cli, const struct control *control,
			    const struct member *client, struct seen *out)
{
	int error = -ENOENT;

	if (control->store)
		error = store_features_window(control->store, &out->window, cli->errors);
	out->has_window = !error;
	if (!error)
		error = store_features(control->store, client, &out->features, cli->errors);
	out->has_client = !error;
	return error == -ENOENT ? 0 : error;
}

static int look_at_running(struct cli *cli, const struct control *control,
			   const struct member *client, struct seen *out)
{
	struct observed_client only = {.high = client->high, .low = client->low};
	struct observed_list list = {0};
	struct window window;
	int error;

	if (!control->policy->observe.is_on || !control->datapath ||
	    !observed_is_on(control->datapath))
		return 0;
	error = read_running(cli, control, &only, &window, &list);
	if (!error && list.count)
		error = features_of_all(control->store, &window, list.clients, 1, &out->features,
					cli->errors);
	out->has_window = !error;
	out->has_client = !error && list.count;
	if (!error)
		out->window = window_in_store(&window, list.count);
	observed_list_release(&list);
	return error;
}

static json_t *seen_to_json(const struct seen *seen)
{
	json_t *features = seen->has_client ? json_object() : json_null();

	if (!seen->has_window) {
		json_decref(features);
		return json_null();
	}
	if (seen->has_client)
		add_features(features, &seen->features);
	return json_pack("{s:o, s:o, s:I, s:o}", "from", json_time(seen->window.from_ns), "to",
			 json_time(seen->window.to_ns), "sample", (json_int_t)seen->window.sample,
			 "features", features);
}

static void say_value(struct table *table, const struct seen *seen, enum feature feature)
{
	struct feature_value value;

	if (!seen->has_client) {
		table_cell(table, "-");
		return;
	}
	value = feature_value(&seen->features, feature);
	if (!value.is_real)
		table_cell(table, "%" PRIu64, value.integer);
	else if (isnan(value.real))
		table_cell(table, "-");
	else
		table_cell(table, "%.6g", value.real);
}

static void say_window(struct cli *cli, const char *name, const struct seen *seen)
{
	char from[TEXT_VALUE_SIZE], to[TEXT_VALUE_SIZE];

	if (seen->has_window)
		cli_say(cli, "%s window: %s to %s, 1 in %u packets counted", name,
			cli_time(seen->window.from_ns, from), cli_time(seen->window.to_ns, to),
			seen->window.sample);
}

static void say_seen(struct cli *cli, const struct seen *complete, const struct seen *running)
{
	static const char *const headers[] = {"FEATURE", "LAST WINDOW", "RUNNING", NULL};
	struct table table;
	int feature;

	say_window(cli, "last", complete);
	say_window(cli, "running", running);
	table_begin(&table, headers);
	for (feature = 0; feature < FEATURES_COUNT; feature++) {
		table_cell(&table, "%s", feature_names[feature]);
		say_value(&table, complete, feature);
		say_value(&table, running, feature);
	}
	table_end(cli, &table);
}

static int print_seen(struct cli *cli, const char *client, const struct seen *complete,
		      const struct seen *running)
{
	if (!complete->has_client && !running->has_client)
		return errors_add_code(cli->errors, ENOENT, client,
				       "see `xdp-canary features export --current`",
				       "it was seen in neither window");
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:s, s:o, s:o}", "cmd", "features show",
					      "client", client, "complete", seen_to_json(complete),
					      "running", seen_to_json(running)));
	else
		say_seen(cli, complete, running);
	return 0;
}

int command_features_show(struct cli *cli)
{
	struct seen complete = {0}, running = {0};
	struct control *control = NULL;
	char text[ADDRESS_TEXT_SIZE];
	struct client_form form;
	struct member client;
	struct prefix typed;
	int error = prefix_parse(cli->words[0], &typed);

	if (error)
		return cli_usage(cli, "client",
				 error == -EDOM ? "clear the bits past its length"
						: "say an address or ADDRESS/LENGTH",
				 "`%s` is no client", cli->words[0]);
	error = cli_open(cli, &control);
	if (error)
		return error;
	form = box_client_form(control->policy);
	typed = prefix_shorten(&typed, form.prefix4, form.prefix6);
	client = member_of(&typed);
	warn_if_nobody_takes_it(cli, control);
	error = look_at_complete(cli, control, &client, &complete);
	if (!error)
		error = look_at_running(cli, control, &client, &running);
	if (!error && !complete.has_window && !running.has_window)
		error = control->policy->observe.is_on ? not_loaded(cli) : not_observed(cli);
	if (!error)
		error = print_seen(cli, client_text(&client, text), &complete, &running);
	control_close(control);
	return error;
}
