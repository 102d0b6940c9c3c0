// SPDX-License-Identifier: GPL-2.0-only
/*
 * feedback add, feedback import: what only people know of a client. It is stored as it was
 * reported; the daemon credits it to the cohort that the client was in at that time, once in a
 * window. A file with a bad row is not taken at all.
 */
#include "catalogue/bad_rows.h"
#include "catalogue/csv_file.h"
#include "cli/cli.h"
#include "store/rollouts.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum column { CLIENT, METRIC, TIME, SERVICE, COLUMNS };
static const char *const column_names[COLUMNS] = {"client", "metric", "time", "service"};
#define HEADER "client,metric,time,service"

/* ---- one report ---- */

/* Where it is wrong: a column, what with @text (printed in place of %s), and what to do. */
struct complaint {
	enum column column;
	const char *what, *hint;
};

static bool takes_feedback(const struct service *service, const char *metric)
{
	const struct rollout *rollout = &service->rollout;

	for (size_t i = 0; i < rollout->metrics_count; i++)
		if (rollout->metrics[i].source == SOURCE_FEEDBACK &&
		    !strcmp(rollout->metrics[i].name, metric))
			return true;
	return false;
}

/* Without a name the only one that takes feedback of that metric. */
static int choose_service(const struct policy *policy, const char *name, const char *metric,
			  const struct service **out, struct complaint *complaint)
{
	size_t found = 0;

	for (size_t i = 0; i < policy->services_count; i++) {
		const struct service *service = &policy->services[i];

		if (*name ? strcmp(service->name, name) : !takes_feedback(service, metric))
			continue;
		*out = service;
		found++;
	}
	if (found == 1 && takes_feedback(*out, metric))
		return 0;
	if (*name && !found)
		*complaint = (struct complaint){SERVICE, "there is no service `%.64s`",
						"see `service list`"};
	else if (found > 1)
		*complaint = (struct complaint){METRIC, "several services have the metric `%.64s`",
						"name the service"};
	else
		*complaint = (struct complaint){
			METRIC, "`%.64s` is no metric that feedback is taken for",
			"give the rollout a metric with that name and `source: feedback`"};
	return -EINVAL;
}

static int read_report(const struct policy *policy, const char *const texts[COLUMNS],
		       uint64_t now_ns, struct feedback *out, struct complaint *complaint)
{
	const struct service *service = NULL;
	struct prefix client;
	int error = choose_service(policy, texts[SERVICE], texts[METRIC], &service, complaint);

	if (error)
		return error;
	if (prefix_parse(texts[CLIENT], &client)) {
		*complaint =
			(struct complaint){CLIENT, "`%.64s` is no client", "write its address"};
		return -EINVAL;
	}
	out->time_ns = now_ns;
	if (*texts[TIME] && text_time(texts[TIME], now_ns, &out->time_ns)) {
		*complaint = (struct complaint){TIME, "`%.64s` is no time",
						"say for example 2030-01-02T03:04:05Z or -15m"};
		return -EINVAL;
	}
	if (out->time_ns > now_ns) {
		*complaint = (struct complaint){TIME, "`%.64s` is yet to come",
						"report what has happened; are the clocks right?"};
		return -EINVAL;
	}
	client = prefix_shorten(&client, service->prefix4, service->prefix6);
	out->client = member_of(&client);
	snprintf(out->service, sizeof(out->service), "%s", service->name);
	snprintf(out->metric, sizeof(out->metric), "%s", texts[METRIC]);
	return 0;
}

/* ---- add ---- */

static int store_one(struct cli *cli, struct control *control)
{
	const char *metric = cli_flag(cli, "--metric"), *service = cli_flag(cli, "--service");
	const char *time = cli_flag(cli, "--time");
	const char *texts[COLUMNS] = {cli->words[0], metric, time ? time : "",
				      service ? service : ""};
	char client[ADDRESS_TEXT_SIZE], text[128];
	struct complaint complaint;
	struct feedback feedback;
	struct prefix prefix;
	int error = read_report(control->policy, texts, time_now_ns(), &feedback, &complaint);

	if (error) {
		snprintf(text, sizeof(text), complaint.what, texts[complaint.column]);
		return errors_add(cli->errors, NULL, column_names[complaint.column], complaint.hint,
				  "%s", text);
	}
	error = store_add_feedback(control->store, &feedback, cli->errors);
	if (!error)
		error = store_commit(control->store, cli->errors);
	if (error)
		return error;
	prefix = member_prefix(&feedback.client);
	prefix_format(&prefix, client);
	cli_say(cli, "%s: %s of %s", feedback.service, feedback.metric, client);
	if (cli->json)
		cli_print_json(cli,
			       json_pack("{s:s, s:s, s:s, s:s, s:o}", "cmd", "feedback add",
					 "service", feedback.service, "client", client, "metric",
					 feedback.metric, "time", json_time(feedback.time_ns)));
	return 0;
}

int command_feedback_add(struct cli *cli)
{
	struct control *control = NULL;
	int error;

	if (!cli_flag(cli, "--metric"))
		return cli_usage(cli, "feedback add", "say --metric M", "no metric is named");
	error = cli_open_write(cli, &control);
	if (!error)
		error = store_one(cli, control);
	control_close(control);
	return error;
}

/* ---- import: the file ---- */

struct reading {
	struct cli *cli;
	const struct policy *policy;
	const char *file;
	struct bad_rows bad;
	size_t columns;	     /* of the file */
	int places[COLUMNS]; /* of the columns in the file; -1: it has none */
	uint64_t now_ns;
	struct feedback *rows;
	size_t count, room;
};

static int out_of_memory(const struct reading *reading)
{
	return errors_add_code(reading->cli->errors, ENOMEM, "feedback import", "free some memory",
			       "out of memory");
}

static int take_header(const struct csv_record *record, void *data)
{
	struct reading *reading = data;

	reading->columns = record->count;
	for (size_t column = 0; column < COLUMNS; column++)
		reading->places[column] = -1;
	for (size_t i = 0; i < record->count; i++) {
		const struct csv_field *field = &record->fields[i];
		size_t column = 0;

		while (column < COLUMNS && strcmp(column_names[column], field->text))
			column++;
		if (column < COLUMNS && reading->places[column] < 0)
			reading->places[column] = (int)i;
		else
			bad_rows_add(&reading->bad, field->line, field->column, "header",
				     "the columns are " HEADER,
				     column < COLUMNS ? "`%.64s` stands twice"
						      : "`%.64s` is none of the columns",
				     field->text);
	}
	for (size_t column = 0; column <= METRIC; column++)
		if (reading->places[column] < 0)
			bad_rows_add(&reading->bad, record->fields->line, record->fields->column,
				     "header", "the columns are " HEADER, "`%s` is missing",
				     column_names[column]);
	return reading->bad.count ? -EINVAL : 0;
}

static struct feedback *new_row(struct reading *reading)
{
	if (reading->count == reading->room) {
		size_t room = reading->room ? 2 * reading->room : 256;
		struct feedback *grown = reallocarray(reading->rows, room, sizeof(*grown));

		if (!grown)
			return NULL;
		reading->rows = grown;
		reading->room = room;
	}
	return &reading->rows[reading->count];
}

static int take_row(const struct csv_record *record, void *data)
{
	struct reading *reading = data;
	const struct csv_field *field = record->fields;
	struct feedback *row = new_row(reading);
	const char *texts[COLUMNS];
	struct complaint complaint;

	if (!row)
		return out_of_memory(reading);
	if (record->count != reading->columns) {
		bad_rows_add(&reading->bad, field->line, field->column, "row",
			     "give it one for each column", "it has %zu field%s, not %zu",
			     record->count, record->count == 1 ? "" : "s", reading->columns);
		return 0;
	}
	for (size_t column = 0; column < COLUMNS; column++)
		texts[column] = reading->places[column] < 0
					? ""
					: record->fields[reading->places[column]].text;
	if (!read_report(reading->policy, texts, reading->now_ns, row, &complaint)) {
		reading->count++;
		return 0;
	}
	if (reading->places[complaint.column] >= 0)
		field = &record->fields[reading->places[complaint.column]];
	bad_rows_add(&reading->bad, field->line, field->column, column_names[complaint.column],
		     complaint.hint, complaint.what, texts[complaint.column]);
	return 0;
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

/* ---- import: the command ---- */

static int store_rows(struct cli *cli, struct control *control, const struct reading *reading)
{
	int error = 0;

	for (size_t i = 0; i < reading->count && !error; i++)
		error = store_add_feedback(control->store, &reading->rows[i], cli->errors);
	if (!error)
		error = store_commit(control->store, cli->errors);
	if (error)
		return error;
	cli_say(cli, "%s: %zu reports", reading->file, reading->count);
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:o, s:I}", "cmd", "feedback import", "file",
					      json_text(reading->file), "rows",
					      (json_int_t)reading->count));
	return 0;
}

/* The file is read before the lock is taken, for a pipe may take its time. */
int command_feedback_import(struct cli *cli)
{
	struct reading reading = {
		.cli = cli,
		.file = cli->words[0],
		.now_ns = time_now_ns(),
	};
	struct control *control = NULL, *writer = NULL;
	int error = cli_open(cli, &control);

	if (!error) {
		reading.policy = control->policy;
		error = read_file(&reading);
	}
	if (!error)
		error = cli_open_write(cli, &writer);
	if (!error)
		error = store_rows(cli, writer, &reading);
	control_close(writer);
	control_close(control);
	bad_rows_release(&reading.bad);
	free(reading.rows);
	return error;
}
