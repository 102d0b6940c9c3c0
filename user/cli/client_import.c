// SPDX-License-Identifier: GPL-2.0-only
/*
 * client import: attributes of clients from a CSV. The file is read before the lock is taken, for a
 * pipe may take its time; should the form of the box's clients change in between, nothing is
 * stored.
 */
#include "catalogue/import.h"
#include "cli/cli.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#define BAR_WIDTH  30
#define REDRAWN_MS 100
#define NS_A_MS	   1000000

/* ---- the progress bar ---- */

struct bar {
	const char *file;
	bool is_drawn;
	uint64_t drawn_ns;
};

static void draw_bar(void *data, const char *doing, uint64_t done, uint64_t total)
{
	uint64_t now = monotonic_now_ns();
	struct bar *bar = data;
	int filled;

	if (now - bar->drawn_ns < REDRAWN_MS * NS_A_MS)
		return;
	bar->drawn_ns = now;
	bar->is_drawn = true;
	if (!total) {
		fprintf(stderr, "\r\033[K%s %s: %" PRIu64 " MiB", doing, bar->file, done >> 20);
		return;
	}
	filled = done < total ? (int)(done * BAR_WIDTH / total) : BAR_WIDTH;
	fprintf(stderr, "\r\033[K%s %s [%.*s%*s] %3d%%", doing, bar->file, filled,
		"##############################", BAR_WIDTH - filled, "",
		done < total ? (int)(done * 100 / total) : 100);
}

static void wipe_bar(struct bar *bar)
{
	if (bar->is_drawn)
		fputs("\r\033[K", stderr);
	bar->is_drawn = false;
}

/* ---- the result ---- */

struct result {
	struct import import;
	struct attribute_counts counts;
	bool replace;
};

static json_t *columns_to_json(const struct sheet *sheet)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sheet->columns; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:o}", "column", sheet->attributes[i].name, "type",
					json_text(attribute_type_name(sheet->attributes[i].type))));
	return list;
}

/* Clients of the file that were there with the same attributes. */
static uint64_t unchanged(const struct result *result)
{
	return result->import.sheet.count - result->counts.added - result->counts.updated;
}

static json_t *result_to_json(const struct cli *cli, const struct result *result)
{
	const struct attribute_counts *counts = &result->counts;

	return json_pack("{s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "file",
			 json_text(cli->words[0]), "replace", result->replace, "rows",
			 (json_int_t)result->import.rows, "added", (json_int_t)counts->added,
			 "updated", (json_int_t)counts->updated, "unchanged",
			 (json_int_t)unchanged(result), "removed", (json_int_t)counts->removed,
			 "repeated", (json_int_t)result->import.repeated, "skipped",
			 (json_int_t)result->import.bad, "clients", (json_int_t)counts->after,
			 "columns", columns_to_json(&result->import.sheet));
}

static void say_result(const struct cli *cli, const struct result *result)
{
	const struct attribute_counts *counts = &result->counts;
	const struct sheet *sheet = &result->import.sheet;

	cli_say(cli,
		"%s: %" PRIu64 " rows: %" PRIu64 " clients added, %" PRIu64 " updated, %" PRIu64
		" unchanged, %" PRIu64 " removed; the catalogue has %" PRIu64,
		cli->words[0], result->import.rows, counts->added, counts->updated,
		unchanged(result), counts->removed, counts->after);
	if (result->import.repeated)
		cli_say(cli, "%" PRIu64 " rows said again what an earlier one had said",
			result->import.repeated);
	if (result->import.bad)
		cli_say(cli, "%" PRIu64 " bad rows were skipped", result->import.bad);
	for (size_t i = 0; i < sheet->columns; i++) {
		const char *type = attribute_type_name(sheet->attributes[i].type);

		cli_say(cli, "    %s: %s", sheet->attributes[i].name,
			type ? type : "empty in all rows");
	}
}

static void print_result(struct cli *cli, const struct result *result)
{
	json_t *document;

	say_result(cli, result);
	if (!cli->json)
		return;
	document = json_pack("{s:s}", "cmd", "client import");
	json_object_update_new(document, result_to_json(cli, result));
	json_object_set_new(document, "warnings", json_array());
	cli_print_json(cli, document);
}

/* ---- the command ---- */

static int form_of_box(struct cli *cli, struct client_form *out)
{
	struct control *control = NULL;
	int error = cli_open(cli, &control);

	if (!error)
		*out = box_client_form(control->policy);
	control_close(control);
	return error;
}

static int check_form(struct control *control, const struct client_form *form)
{
	struct client_form now = box_client_form(control->policy);

	if (now.prefix4 == form->prefix4 && now.prefix6 == form->prefix6)
		return 0;
	return errors_add_code(control->errors, EAGAIN, "client import", "run it again",
			       "the services' client keys changed while the file was read");
}

static int check_rows(const struct cli *cli, const struct result *result)
{
	if (!result->replace || result->import.sheet.count)
		return 0;
	return errors_add(cli->errors, NULL, cli->words[0], "give a file with rows",
			  "it has no client: --replace would empty the catalogue");
}

static int store_result(struct cli *cli, struct result *result,
			const struct import_request *request)
{
	struct control *control = NULL;
	int error = cli_open_write(cli, &control);

	if (!error)
		error = check_form(control, &request->form);
	if (!error)
		error = import_store(&result->import, control->store, result->replace,
				     &request->progress, &result->counts, cli->errors);
	if (!error)
		error = cli_audit(control, "",
				  json_pack("{s:I}", "clients", (json_int_t)result->counts.before),
				  json_pack("{s:I, s:o}", "clients",
					    (json_int_t)result->counts.after, "import",
					    result_to_json(cli, result)));
	if (!error)
		error = control_publish(control);
	control_close(control);
	return error;
}

int command_client_import(struct cli *cli)
{
	bool has_bar = !cli->json && !cli->quiet && isatty(STDERR_FILENO);
	struct bar bar = {.file = cli->words[0]};
	struct import_request request = {
		.file = cli->words[0],
		.skip_bad = cli_flag(cli, "--skip-bad"),
		.progress = {has_bar ? draw_bar : NULL, &bar},
	};
	struct result result = {.replace = cli_flag(cli, "--replace")};
	int error = form_of_box(cli, &request.form);

	if (!error)
		error = import_read(&request, &result.import, cli->errors);
	if (!error)
		error = check_rows(cli, &result);
	if (!error)
		error = store_result(cli, &result, &request);
	wipe_bar(&bar);
	if (!error)
		print_result(cli, &result);
	import_release(&result.import);
	return error;
}
