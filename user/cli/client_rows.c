// SPDX-License-Identifier: GPL-2.0-only
/*
 * client list, show, remove: rows of the catalogue. A list is read twice, first to know that it can
 * be read to its end and how wide its columns are, then to be printed row by row: a million rows
 * take no memory.
 */
#include "catalogue/catalogue.h"
#include "catalogue/features.h"
#include "cli/cli.h"
#include "store/attributes.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_SIZE 32
#define ENOUGH	   1 /* what ends the rows at --limit */

struct list {
	struct cli *cli;
	char **names; /* attributes, then features */
	size_t count, attributes;
	uint64_t rows, limit; /* 0: none */
	size_t *widths;	      /* [0]: of the client; in characters */
	bool *is_shown;	      /* as [1 + column]: features only where any client has them */
};

/* ---- values ---- */

/* Of a number in @buffer; of text, in its own malloc()ed *@copy. */
static const char *value_text(const struct catalogue_value *value, char buffer[VALUE_SIZE],
			      char **copy)
{
	*copy = NULL;
	switch (value->type) {
	case CATALOGUE_INTEGER:
		snprintf(buffer, VALUE_SIZE, "%" PRId64, value->integer);
		return buffer;
	case CATALOGUE_REAL:
		/* The shorter form where it is the same number. */
		snprintf(buffer, VALUE_SIZE, "%.15g", value->real);
		if (strtod(buffer, NULL) != value->real)
			snprintf(buffer, VALUE_SIZE, "%.17g", value->real);
		return buffer;
	case CATALOGUE_TEXT:
		*copy = text_printable(value->text);
		return *copy ? *copy : "";
	default:
		return "-";
	}
}

static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

static json_t *value_to_json(const struct catalogue_value *value)
{
	switch (value->type) {
	case CATALOGUE_INTEGER:
		return json_integer(value->integer);
	case CATALOGUE_REAL:
		return json_real(value->real);
	case CATALOGUE_TEXT:
		return json_text(value->text);
	default:
		return json_null();
	}
}

static const char *client_text(const struct member *client, char text[ADDRESS_TEXT_SIZE])
{
	struct prefix prefix = member_prefix(client);

	return prefix_format(&prefix, text);
}

/* {"client", "attributes", "features"} */
static json_t *row_to_json(const struct list *list, const struct catalogue_row *row)
{
	json_t *attributes = json_object(), *features = json_object();
	char text[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < list->count; i++)
		json_object_set_new(i < list->attributes ? attributes : features, list->names[i],
				    value_to_json(&row->values[i]));
	return json_pack("{s:s, s:o, s:o}", "client", client_text(&row->client, text), "attributes",
			 attributes, "features", features);
}

/* ---- list ---- */

static int after_row(struct list *list)
{
	return ++list->rows == list->limit ? ENOUGH : 0;
}

static int measure_row(const struct catalogue_row *row, void *data)
{
	char buffer[VALUE_SIZE], client[ADDRESS_TEXT_SIZE], *copy;
	struct list *list = data;
	size_t width = width_of(client_text(&row->client, client));

	if (width > list->widths[0])
		list->widths[0] = width;
	for (size_t i = 0; i < list->count && !list->cli->json; i++) {
		width = width_of(value_text(&row->values[i], buffer, &copy));
		free(copy);
		if (width > list->widths[i + 1])
			list->widths[i + 1] = width;
		if (row->values[i].type != CATALOGUE_NULL)
			list->is_shown[i + 1] = true;
	}
	return after_row(list);
}

static void print_cell(const struct list *list, size_t column, const char *text)
{
	size_t width = width_of(text);

	fputs(text, stdout);
	/* Blanks only before another cell. */
	for (size_t i = column + 1; i <= list->count; i++) {
		if (!list->is_shown[i])
			continue;
		printf("%*s", (int)(list->widths[column] - width + 2), "");
		return;
	}
}

static void print_headers(const struct list *list)
{
	char buffer[16];

	fputs(cli_color(list->cli, "1", buffer), stdout);
	print_cell(list, 0, "CLIENT");
	for (size_t i = 0; i < list->count; i++)
		if (list->is_shown[i + 1])
			print_cell(list, i + 1, list->names[i]);
	fputs(cli_color_end(list->cli), stdout);
	putchar('\n');
}

static int print_row(const struct catalogue_row *row, void *data)
{
	char buffer[VALUE_SIZE], client[ADDRESS_TEXT_SIZE], *copy;
	struct list *list = data;

	print_cell(list, 0, client_text(&row->client, client));
	for (size_t i = 0; i < list->count; i++) {
		if (!list->is_shown[i + 1])
			continue;
		print_cell(list, i + 1, value_text(&row->values[i], buffer, &copy));
		free(copy);
	}
	putchar('\n');
	return after_row(list);
}

static int print_json_row(const struct catalogue_row *row, void *data)
{
	struct list *list = data;
	json_t *object = row_to_json(list, row);
	int error = 0;

	if (list->rows)
		putchar(',');
	if (!object || json_dumpf(object, stdout, JSON_COMPACT))
		error = errors_add_code(list->cli->errors, ENOMEM, "stdout", "free some memory",
					"the result cannot be printed");
	json_decref(object);
	return error ? error : after_row(list);
}

/* As one document, but never whole in memory. */
static int print_list(struct list *list, struct store *store, const struct catalogue_query *query)
{
	struct cli *cli = list->cli;
	int error;

	list->rows = 0;
	if (!cli->json) {
		print_headers(list);
		error = catalogue_each(store, query, print_row, list, cli->errors);
		return error == ENOUGH ? 0 : error;
	}
	cli->printed_whole = true;
	fputs("{\"cmd\":\"client list\",\"clients\":[", stdout);
	error = catalogue_each(store, query, print_json_row, list, cli->errors);
	printf("],\"count\":%" PRIu64 "}\n", list->rows);
	return error == ENOUGH ? 0 : error;
}

/* The names of all columns, and room for what is known of each. */
static int begin_list(struct list *list, struct store *store)
{
	int error = catalogue_columns(store, &list->names, &list->count, list->cli->errors);

	if (error)
		return error;
	list->attributes = list->count - FEATURES_COUNT;
	list->widths = calloc(list->count + 1, sizeof(*list->widths));
	list->is_shown = calloc(list->count + 1, sizeof(*list->is_shown));
	if (!list->widths || !list->is_shown)
		return errors_add_code(list->cli->errors, ENOMEM, "catalogue", "free some memory",
				       "out of memory");
	list->widths[0] = strlen("CLIENT");
	for (size_t i = 0; i < list->count; i++) {
		list->widths[i + 1] = width_of(list->names[i]);
		list->is_shown[i + 1] = i < list->attributes;
	}
	return 0;
}

static void end_list(struct list *list)
{
	catalogue_columns_release(list->names, list->count);
	free(list->widths);
	free(list->is_shown);
}

int command_client_list(struct cli *cli)
{
	const char *limit = cli_flag(cli, "--limit");
	struct catalogue_query query = {.object = "--where", .where = cli_flag(cli, "--where")};
	struct control *control = NULL;
	struct list list = {.cli = cli};
	int error;

	if (limit && text_integer(limit, 1, INT64_MAX, &list.limit))
		return cli_usage(cli, "--limit", "say for example 10", "`%s` is no number", limit);
	error = cli_open(cli, &control);
	if (!error)
		error = begin_list(&list, control->store);
	query.columns = (const char *const *)list.names;
	query.columns_count = list.count;
	if (!error)
		error = catalogue_each(control->store, &query, measure_row, &list, cli->errors);
	if (!error || error == ENOUGH)
		error = print_list(&list, control->store, &query);
	end_list(&list);
	control_close(control);
	return error;
}

/* ---- one client ---- */

static int parse_client(struct cli *cli, struct prefix *out)
{
	int error = prefix_parse(cli->words[0], out);

	if (!error)
		return 0;
	return cli_usage(cli, "client",
			 error == -EDOM ? "clear the bits past its length"
					: "say an address or ADDRESS/LENGTH",
			 "`%s` is no client", cli->words[0]);
}

/* The row that the client is in. */
static int find_row(struct cli *cli, const struct control *control, const struct prefix *client,
		    struct member *row)
{
	struct member member = member_of(client);
	int error = -ENOENT;

	if (control->store)
		error = store_client_holding(control->store, &member, row, cli->errors);
	if (error == -ENOENT)
		errors_add_code(cli->errors, ENOENT, cli->words[0], "see `xdp-canary client list`",
				"the catalogue has no such client");
	return error;
}

static int show_row(const struct catalogue_row *row, void *data)
{
	char client[ADDRESS_TEXT_SIZE], buffer[VALUE_SIZE], *copy;
	struct list *list = data;
	size_t width = strlen("client");
	json_t *document;

	if (list->cli->json) {
		document = json_pack("{s:s, s:o}", "cmd", "client show", "asked",
				     json_text(list->cli->words[0]));
		json_object_update_new(document, row_to_json(list, row));
		cli_print_json(list->cli, document);
		return 0;
	}
	for (size_t i = 0; i < list->count; i++)
		if (list->widths[i + 1] > width)
			width = list->widths[i + 1];
	printf("%-*s  %s\n", (int)width, "client", client_text(&row->client, client));
	for (size_t i = 0; i < list->count; i++) {
		printf("%s%*s  %s\n", list->names[i], (int)(width - list->widths[i + 1]), "",
		       value_text(&row->values[i], buffer, &copy));
		free(copy);
	}
	return 0;
}

int command_client_show(struct cli *cli)
{
	struct catalogue_query query = {.object = "client show"};
	struct control *control = NULL;
	struct list list = {.cli = cli};
	struct prefix client;
	struct member row;
	int error = parse_client(cli, &client);

	if (error)
		return error;
	error = cli_open(cli, &control);
	if (!error)
		error = find_row(cli, control, &client, &row);
	if (!error)
		error = begin_list(&list, control->store);
	query.columns = (const char *const *)list.names;
	query.columns_count = list.count;
	if (!error)
		error = catalogue_row_of(control->store, &query, &row, show_row, &list,
					 cli->errors);
	end_list(&list);
	control_close(control);
	return error;
}

/* ---- remove ---- */

struct removal {
	struct prefix typed;
	struct member row;
	bool had_attributes, had_features;
};

/* The row of exactly this client, as it was typed or in the form of the box. */
static int find_own_row(struct cli *cli, const struct control *control, const struct prefix *typed,
			struct member *row)
{
	struct client_form form = box_client_form(control->policy);
	struct prefix cut = prefix_shorten(typed, form.prefix4, form.prefix6);
	struct member forms[] = {member_of(typed), member_of(&cut)};
	char text[ADDRESS_TEXT_SIZE];
	int error = find_row(cli, control, typed, row);

	if (error || !member_compare(&forms[0], row) || !member_compare(&forms[1], row))
		return error;
	client_text(row, text);
	return errors_add_code(cli->errors, ENOENT, cli->words[0], "remove that, if it is meant",
			       "it has no row of its own, and is in that of %s", text);
}

static int remove_row(struct cli *cli, struct control *control, struct removal *removal)
{
	char text[ADDRESS_TEXT_SIZE];
	int error = find_own_row(cli, control, &removal->typed, &removal->row);

	if (!error)
		error = store_drop_client(control->store, &removal->row, &removal->had_attributes,
					  &removal->had_features, cli->errors);
	if (!error)
		error = cli_audit(control, "",
				  json_pack("{s:s, s:b, s:b}", "client",
					    client_text(&removal->row, text), "attributes",
					    removal->had_attributes, "features",
					    removal->had_features),
				  json_null());
	return error ? error : control_publish(control);
}

int command_client_remove(struct cli *cli)
{
	struct control *control = NULL;
	struct removal removal = {0};
	char text[ADDRESS_TEXT_SIZE];
	int error = parse_client(cli, &removal.typed);

	if (!error)
		error = cli_open_write(cli, &control);
	if (!error)
		error = remove_row(cli, control, &removal);
	control_close(control);
	if (error)
		return error;
	client_text(&removal.row, text);
	cli_say(cli, "%s is removed:%s%s", text, removal.had_attributes ? " attributes" : "",
		removal.had_features ? " features" : "");
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:s, s:b, s:b}", "cmd", "client remove",
					      "client", text, "attributes", removal.had_attributes,
					      "features", removal.had_features));
	return 0;
}
