// SPDX-License-Identifier: GPL-2.0-only
/*
 * guard replay: what the guard says of recorded counts, such as `rollout export` writes. A file
 * with a bad row gives no verdict at all.
 */
#include "catalogue/bad_rows.h"
#include "catalogue/csv_file.h"
#include "cli/cli.h"
#include "guard/replay.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define LABEL_MAX 255 /* bytes of a metric's or rule's name */

enum column { TIME, WINDOW, METRIC, RULE, K, N, PI, COLUMNS };
static const char *const column_names[COLUMNS] = {"time", "window", "metric", "rule",
						  "k",	  "n",	    "pi"};
#define HEADER "time,window,metric,rule,k,n,pi"

struct reading {
	struct cli *cli;
	const char *file;
	struct replay *replay;
	struct bad_rows bad;
	size_t places[COLUMNS]; /* of the columns in the file */
};

/* text_real(), and also of ".05". */
static int read_real(const char *text, double *out)
{
	char buffer[TEXT_VALUE_SIZE];

	if (*text != '.')
		return text_real(text, out);
	if ((size_t)snprintf(buffer, sizeof(buffer), "0%s", text) >= sizeof(buffer))
		return -EINVAL;
	return text_real(buffer, out);
}

/* ---- the file ---- */

static int out_of_memory(struct errors *errors)
{
	return errors_add_code(errors, ENOMEM, "guard replay", "free some memory", "out of memory");
}

static void refuse(struct reading *reading, const struct csv_field *field, const char *object,
		   const char *hint, const char *what)
{
	bad_rows_add(&reading->bad, field->line, field->column, object, hint, what, field->text);
}

static int take_header(const struct csv_record *record, void *data)
{
	struct reading *reading = data;
	bool is_found[COLUMNS] = {false};

	for (size_t i = 0; i < record->count; i++) {
		const struct csv_field *field = &record->fields[i];
		size_t column = 0;

		while (column < COLUMNS && strcmp(column_names[column], field->text))
			column++;
		if (column == COLUMNS) {
			refuse(reading, field, "header", "the columns are " HEADER,
			       "`%.64s` is none of the columns");
			continue;
		}
		if (is_found[column])
			refuse(reading, field, "header", "leave one of them out",
			       "`%s` stands twice");
		is_found[column] = true;
		reading->places[column] = i;
	}
	for (size_t column = 0; column < COLUMNS; column++)
		if (!is_found[column])
			bad_rows_add(&reading->bad, record->fields->line, record->fields->column,
				     "header", "the columns are " HEADER, "`%s` is missing",
				     column_names[column]);
	/* Without its columns no row can be read. */
	return reading->bad.count ? -EINVAL : 0;
}

static void read_label(struct reading *reading, const struct csv_field *field, const char *column)
{
	if (!field->length)
		bad_rows_add(&reading->bad, field->line, field->column, column, "name it",
			     "is empty");
	else if (field->length > LABEL_MAX)
		refuse(reading, field, column, "write at most 255 bytes", "`%.64s...` is too long");
}

static void read_count(struct reading *reading, const struct csv_field *field, const char *column,
		       uint64_t *out)
{
	if (text_integer(field->text, 0, INT64_MAX, out))
		refuse(reading, field, column, "write a whole number from 0",
		       "`%.64s` is no count");
}

static void read_row(struct reading *reading, const struct csv_field *fields,
		     struct replay_row *out)
{
	const struct csv_field *time = &fields[reading->places[TIME]];
	const struct csv_field *window = &fields[reading->places[WINDOW]];
	const struct csv_field *k = &fields[reading->places[K]];
	const struct csv_field *pi = &fields[reading->places[PI]];
	uint64_t ns, number = 0;

	out->metric = fields[reading->places[METRIC]].text;
	out->rule = fields[reading->places[RULE]].text;
	if (*time->text == '-' || text_time(time->text, 0, &ns))
		refuse(reading, time, "time", "write it as 2030-01-02T03:04:05Z",
		       "`%.64s` is no time");
	if (text_integer(window->text, 0, UINT32_MAX - 1, &number))
		refuse(reading, window, "window", "number windows from 0, by the rollout",
		       "`%.64s` is no window");
	out->window = (uint32_t)number;
	read_label(reading, &fields[reading->places[METRIC]], "metric");
	read_label(reading, &fields[reading->places[RULE]], "rule");
	read_count(reading, k, "k", &out->k);
	read_count(reading, &fields[reading->places[N]], "n", &out->n);
	if (read_real(pi->text, &out->pi) || !(out->pi >= 0 && out->pi <= 1))
		refuse(reading, pi, "pi", "write the canary's share of the followed, 0 to 1",
		       "`%.64s` is no share");
}

static int take_row(const struct csv_record *record, void *data)
{
	struct reading *reading = data;
	uint64_t bad = reading->bad.count;
	struct replay_row row = {0};
	int error;

	if (record->count != COLUMNS) {
		bad_rows_add(&reading->bad, record->fields->line, record->fields->column, "row",
			     "give it one for each column", "it has %zu field%s, not %d",
			     record->count, record->count == 1 ? "" : "s", COLUMNS);
		return 0;
	}
	read_row(reading, record->fields, &row);
	if (reading->bad.count == bad && row.k > row.n)
		refuse(reading, &record->fields[reading->places[K]], "k",
		       "n are the events of both arms, k those of the canary among them",
		       "`%s` is more than n");
	if (reading->bad.count != bad)
		return 0;
	error = replay_add(reading->replay, &row);
	if (error == -ERANGE) {
		refuse(reading, &record->fields[reading->places[N]], "n",
		       "each row says what came since the last one",
		       "with `%s` more its counts are beyond 63 bits");
		return 0;
	}
	return error ? out_of_memory(reading->cli->errors) : 0;
}

static int read_file(struct reading *reading)
{
	const struct csv_file file = {
		.path = reading->file,
		.header = take_header,
		.row = take_row,
		.data = reading,
	};

	return csv_read_whole(&file, &reading->bad, "its first line is to be " HEADER,
			      reading->cli->errors);
}

/* ---- what comes of it ---- */

static json_t *result_to_json(const struct replay_result *result)
{
	return json_pack("{s:o, s:o, s:o, s:[o, o], s:s}", "metric", json_text(result->metric),
			 "log_e", json_real_or_null(result->log_e), "psi",
			 json_real_or_null(result->psi), "interval", json_real_or_null(result->low),
			 json_real_or_null(result->high), "verdict", verdict_name(result->verdict));
}

/* E itself, also where no double holds it. */
static void cell_of_e(struct table *table, double log_e)
{
	if (fabs(log_e) < 690)
		table_cell(table, "%.4g", exp(log_e));
	else
		table_cell(table, "1e%+.0f", log_e / M_LN10);
}

static void cell_of_ratio(struct table *table, double ratio)
{
	if (isnan(ratio))
		table_cell(table, "-");
	else if (isinf(ratio))
		table_cell(table, "unbounded");
	else
		table_cell(table, "%.4g", ratio);
}

static void print_table(const struct cli *cli, const struct replay *replay)
{
	static const char *const headers[] = {"METRIC", "VERDICT", "WINDOW", "E",
					      "PSI",	"FROM",	   "TO",     NULL};
	struct replay_result result;
	struct table table;

	table_begin(&table, headers);
	for (size_t i = 0; i < replay_count(replay); i++) {
		replay_judge(replay, i, &result);
		table_cell(&table, "%s", result.metric);
		table_cell(&table, "%s", verdict_name(result.verdict));
		table_cell(&table, "%" PRIu32, result.window);
		cell_of_e(&table, result.log_e);
		cell_of_ratio(&table, result.psi);
		cell_of_ratio(&table, result.low);
		cell_of_ratio(&table, result.high);
	}
	table_end(cli, &table);
}

static void print_results(struct cli *cli, const struct replay *replay)
{
	json_t *list = json_array();
	struct replay_result result;

	for (size_t i = 0; i < replay_count(replay); i++) {
		replay_judge(replay, i, &result);
		if (result.verdict == VERDICT_ROLLBACK)
			cli->status = EXIT_ROLLBACK;
		json_array_append_new(list, result_to_json(&result));
	}
	if (!cli->json) {
		json_decref(list);
		print_table(cli, replay);
		return;
	}
	cli_print_json(cli, list);
}

/* ---- flags ---- */

static int read_flag(struct cli *cli, const char *flag, double least, double most, double *value)
{
	const char *text = cli_flag(cli, flag);

	if (!text)
		return 0;
	/* Of levels 0 itself is none. */
	if (!read_real(text, value) && *value >= least && *value <= most && *value > 0)
		return 0;
	return cli_usage(cli, flag, "see xdp-canary(8)", "`%s` is not %s %g to %g", text,
			 least > 0 ? "a number from" : "a level above", least, most);
}

static int read_flags(struct cli *cli, struct replay_options *out)
{
	int error;

	*out = (struct replay_options){.alpha = .01, .beta = .05, .margin = 1, .promote_ratio = 2};
	error = read_flag(cli, "--alpha", 0, .5, &out->alpha);
	if (!error)
		error = read_flag(cli, "--beta", 0, .5, &out->beta);
	if (!error)
		error = read_flag(cli, "--margin", 1, 1.5, &out->margin);
	if (!error)
		error = read_flag(cli, "--promote-ratio", 1.1, 4, &out->promote_ratio);
	return error;
}

int command_guard_replay(struct cli *cli)
{
	struct reading reading = {.cli = cli, .file = cli->words[0]};
	struct replay_options options;
	int error = read_flags(cli, &options);

	if (error)
		return error;
	reading.replay = replay_new(&options);
	if (!reading.replay)
		error = out_of_memory(cli->errors);
	if (!error)
		error = read_file(&reading);
	if (!error)
		print_results(cli, reading.replay);
	bad_rows_release(&reading.bad);
	replay_free(reading.replay);
	return error;
}
