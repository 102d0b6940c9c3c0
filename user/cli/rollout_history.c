// SPDX-License-Identifier: GPL-2.0-only
/* rollout history, rollout clients: what happened in a service's rollouts, and to whom. */
#include "cli/cli.h"
#include "cli/rollout_records.h"
#include "config/config.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- which rollout ---- */

int rollout_chosen(struct cli *cli, struct control *control, const char *service,
		   struct stored_rollout *out)
{
	const char *text = cli_flag(cli, "--id");
	char object[NAME_SIZE + 24];
	uint64_t id = 0, next = 1;
	int error = 0;

	if (text && text_integer(text, 1, INT64_MAX, &id))
		return cli_usage(cli, "--id", "see `rollout history`", "`%s` is no rollout", text);
	if (control->store)
		error = store_next_rollout(control->store, service, &next, cli->errors);
	if (error)
		return error;
	/* A service that is gone has its rollouts still; a name that never was is an error. */
	if (next == 1 && !cli_service(cli, control, service))
		return -ENOENT;
	if (!text) /* the last one, also where it was closed */
		id = next - 1;
	error = id && id < next ? store_rollout(control->store, service, id, out, cli->errors)
				: -ENOENT;
	if (error != -ENOENT)
		return error;
	snprintf(object, sizeof(object), "services/%.*s/rollout", NAME_SIZE, service);
	if (text)
		return errors_add(cli->errors, NULL, object, "see `rollout history`",
				  "there is no rollout %s", text);
	return errors_add(cli->errors, NULL, object, "start one with `rollout start`",
			  "there never was one");
}

/* ---- history ---- */

json_t *rollout_events_to_json(const struct rollout_record *records, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *event = json_loads(records[i].json, 0, NULL);

		if (event)
			json_array_append_new(list, event);
	}
	return list;
}

json_t *rollout_to_json(const struct stored_rollout *rollout)
{
	return json_pack("{s:I, s:o, s:s, s:s, s:I, s:o, s:o, s:o}", "id", (json_int_t)rollout->id,
			 "release", json_text(rollout->release), "cohort", rollout->cohort, "state",
			 rollout->state, "revision", (json_int_t)rollout->revision, "started",
			 json_time(rollout->started_ns), "ended", json_time(rollout->ended_ns),
			 "closed", json_time(rollout->closed_ns));
}

struct history {
	struct stored_rollout *rollouts;
	size_t rollouts_count;
	struct rollout_record *records;
	size_t records_count;
};

static void say_rollouts(const struct cli *cli, const struct history *history)
{
	static const char *const headers[] = {"ID",	  "RELEASE", "COHORT", "STATE",
					      "REVISION", "STARTED", "ENDED",  NULL};
	char time[TEXT_VALUE_SIZE];
	struct table table;

	table_begin(&table, headers);
	for (size_t i = 0; i < history->rollouts_count; i++) {
		const struct stored_rollout *rollout = &history->rollouts[i];

		table_cell(&table, "%" PRIu64, rollout->id);
		table_cell(&table, "%s", *rollout->release ? rollout->release : "-");
		table_cell(&table, "%s", rollout->cohort);
		table_cell(&table, "%s", rollout->state);
		table_cell(&table, "%" PRIu64, rollout->revision);
		table_cell(&table, "%s", cli_time(rollout->started_ns, time));
		table_cell(&table, "%s", cli_time(rollout->ended_ns, time));
	}
	table_end(cli, &table);
}

static void cell_of(struct table *table, const json_t *event, const char *key)
{
	const json_t *value = json_object_get(event, key);
	char text[TEXT_VALUE_SIZE];

	if (json_is_string(value))
		table_cell(table, "%s", json_string_value(value));
	else if (json_is_integer(value) && strstr(key, "_ppm"))
		table_cell(table, "%s",
			   text_format_percent((uint32_t)json_integer_value(value), text));
	else if (json_is_integer(value))
		table_cell(table, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else
		table_cell(table, "-");
}

static void say_events(const struct cli *cli, const struct history *history)
{
	static const char *const headers[] = {"TIME",  "ID", "EVENT",  "STEP", "BEFORE",
					      "AFTER", "BY", "REASON", NULL};
	static const char *const keys[] = {"event",	"step", "before_ppm",
					   "after_ppm", "by",	"reason"};
	char time[TEXT_VALUE_SIZE];
	struct table table;

	table_begin(&table, headers);
	for (size_t i = 0; i < history->records_count; i++) {
		const struct rollout_record *record = &history->records[i];
		json_t *event = json_loads(record->json, 0, NULL);

		table_cell(&table, "%s", cli_time(record->time_ns, time));
		table_cell(&table, "%" PRIu64, record->id);
		for (size_t key = 0; key < sizeof(keys) / sizeof(keys[0]); key++)
			cell_of(&table, event, keys[key]);
		json_decref(event);
	}
	table_end(cli, &table);
}

static void print_history(struct cli *cli, const struct history *history)
{
	json_t *rollouts;

	if (!cli->json) {
		if (cli->quiet)
			return;
		say_rollouts(cli, history);
		putchar('\n');
		say_events(cli, history);
		return;
	}
	rollouts = json_array();
	for (size_t i = 0; i < history->rollouts_count; i++)
		json_array_append_new(rollouts, rollout_to_json(&history->rollouts[i]));
	cli_print_json(cli,
		       json_pack("{s:s, s:s, s:o, s:o}", "cmd", "rollout history", "service",
				 cli->words[0], "events",
				 rollout_events_to_json(history->records, history->records_count),
				 "rollouts", rollouts));
}

/* A service that is gone has a history still; a name that never was is an error. */
int command_rollout_history(struct cli *cli)
{
	struct history history = {0};
	struct control *control = NULL;
	const char *name = cli->words[0];
	int error = cli_open(cli, &control);

	if (!error && control->store)
		error = store_rollouts(control->store, name, &history.rollouts,
				       &history.rollouts_count, cli->errors);
	if (!error && control->store)
		error = store_rollout_events(control->store, name, 0, 0, &history.records,
					     &history.records_count, cli->errors);
	if (!error && !history.rollouts_count && !cli_service(cli, control, name))
		error = -ENOENT;
	if (!error)
		print_history(cli, &history);
	stored_rollouts_release(history.rollouts, history.rollouts_count);
	rollout_records_release(history.records, history.records_count);
	control_close(control);
	return error;
}

/* ---- clients ---- */

const char *rollout_client_format(const struct rollout_client *client, char out[ADDRESS_TEXT_SIZE])
{
	struct prefix prefix = member_prefix(&client->client);

	return prefix_format(&prefix, out);
}

static json_t *clients_to_json(const struct rollout_client *clients, size_t count)
{
	char text[ADDRESS_TEXT_SIZE];
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:s, s:o}", "client",
						rollout_client_format(&clients[i], text), "cohort",
						clients[i].cohort, "metric", clients[i].metric,
						"time", json_time(clients[i].time_ns)));
	return list;
}

static void say_clients(const struct cli *cli, const struct rollout_client *clients, size_t count)
{
	static const char *const headers[] = {"CLIENT", "COHORT", "METRIC", "FIRST", NULL};
	char text[ADDRESS_TEXT_SIZE], time[TEXT_VALUE_SIZE];
	struct table table;

	table_begin(&table, headers);
	for (size_t i = 0; i < count; i++) {
		table_cell(&table, "%s", rollout_client_format(&clients[i], text));
		table_cell(&table, "%s", clients[i].cohort);
		table_cell(&table, "%s", clients[i].metric);
		table_cell(&table, "%s", cli_time(clients[i].time_ns, time));
	}
	table_end(cli, &table);
}

static void print_clients(struct cli *cli, const struct stored_rollout *rollout,
			  const struct rollout_client *clients, size_t count)
{
	if (cli->json)
		cli_print_json(cli,
			       json_pack("{s:s, s:s, s:I, s:o}", "cmd", "rollout clients",
					 "service", rollout->service, "id", (json_int_t)rollout->id,
					 "clients", clients_to_json(clients, count)));
	else if (!cli->quiet)
		say_clients(cli, clients, count);
}

static bool is_among(const char *name, const char *const *names, size_t count)
{
	while (count--)
		if (!strcmp(names[count], name))
			return true;
	return false;
}

/* A cohort or metric that the rollout's service never had is a slip of the pen, not "nobody". */
static int check_names(struct cli *cli, const struct service *service)
{
	const char *cohort = cli_flag(cli, "--cohort"), *metric = cli_flag(cli, "--metric");
	const struct rollout *plan = &service->rollout;
	const char *names[KERNEL_METRICS + ROLLOUT_METRICS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < service->cohorts_count; i++)
		names[count++] = service->cohorts[i].name;
	if (cohort && !is_among(cohort, names, count))
		return cli_unknown(cli->errors, "--cohort", "cohort", cohort, names, count);
	count = 0;
	for (size_t i = 0; i < KERNEL_METRICS; i++)
		names[count++] = kernel_metric_name(i);
	for (size_t i = 0; i < plan->metrics_count; i++)
		if (plan->metrics[i].source != SOURCE_KERNEL)
			names[count++] = plan->metrics[i].name;
	if (metric && !is_among(metric, names, count))
		return cli_unknown(cli->errors, "--metric", "metric", metric, names, count);
	return 0;
}

/* By the revision that it was started with: the file may have other names by now. */
static int check_filters(struct cli *cli, struct control *control,
			 const struct stored_rollout *rollout)
{
	struct revision revision;
	struct policy *policy;
	const struct service *service;
	int error = store_revision(control->store, rollout->revision, &revision, cli->errors);

	if (error)
		return error;
	policy = config_parse(revision.config, strlen(revision.config), "then", NULL);
	revision_release(&revision);
	service = policy ? policy_service(policy, rollout->service) : NULL;
	error = service ? check_names(cli, service) : 0;
	policy_free(policy);
	return error;
}

int command_rollout_clients(struct cli *cli)
{
	struct rollout_client *clients = NULL;
	struct stored_rollout rollout = {0};
	struct control *control = NULL;
	size_t count = 0;
	int error = cli_open(cli, &control);

	if (!error)
		error = rollout_chosen(cli, control, cli->words[0], &rollout);
	if (!error && (cli_flag(cli, "--cohort") || cli_flag(cli, "--metric")))
		error = check_filters(cli, control, &rollout);
	if (!error)
		error = store_rollout_clients(control->store, rollout.service, rollout.id,
					      cli_flag(cli, "--cohort"), cli_flag(cli, "--metric"),
					      &clients, &count, cli->errors);
	if (!error)
		print_clients(cli, &rollout, clients, count);
	free(clients);
	stored_rollout_release(&rollout);
	control_close(control);
	return error;
}
