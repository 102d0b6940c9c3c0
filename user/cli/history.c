// SPDX-License-Identifier: GPL-2.0-only
/* history and audit: which revisions there were, and who changed what, when and why. */
#include "cli/cli.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* ---- history ---- */

static json_t *history_to_json(const struct revision *revisions, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:I, s:o, s:o, s:o, s:o}", "revision",
						      (json_int_t)revisions[i].number, "time",
						      json_time(revisions[i].time_ns), "by",
						      json_text(revisions[i].by), "reason",
						      json_text(revisions[i].reason), "command",
						      json_text(revisions[i].command)));
	return list;
}

static void say_history(const struct cli *cli, const struct revision *revisions, size_t count)
{
	static const char *const headers[] = {"REVISION", "TIME", "BY", "REASON", "COMMAND", NULL};
	char time[TEXT_VALUE_SIZE];
	struct table table;

	table_begin(&table, headers);
	for (size_t i = 0; i < count; i++) {
		table_cell(&table, "%" PRIu64, revisions[i].number);
		table_cell(&table, "%s", cli_time(revisions[i].time_ns, time));
		table_cell(&table, "%s", revisions[i].by);
		table_cell(&table, "%s", *revisions[i].reason ? revisions[i].reason : "-");
		table_cell(&table, "%s", revisions[i].command);
	}
	table_end(cli, &table);
}

static int print_history(struct cli *cli, struct control *control, uint64_t limit)
{
	struct revision *revisions = NULL;
	size_t count = 0;
	int error = 0;

	if (control->store)
		error = store_history(control->store, limit, &revisions, &count, cli->errors);
	if (error)
		return error;
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:o}", "cmd", "history", "revisions",
					      history_to_json(revisions, count)));
	else
		say_history(cli, revisions, count);
	history_release(revisions, count);
	return 0;
}

int command_history(struct cli *cli)
{
	const char *text = cli_flag(cli, "--limit");
	struct control *control = NULL;
	uint64_t limit = 0;
	int error;

	if (text && text_integer(text, 1, INT64_MAX, &limit))
		return cli_usage(cli, "--limit", "say for example 10", "`%s` is no number", text);
	error = cli_open(cli, &control);
	if (!error)
		error = print_history(cli, control, limit);
	control_close(control);
	return error;
}

/* ---- audit ---- */

static json_t *parsed(const char *text)
{
	json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

	return value ? value : json_null();
}

static json_t *audit_to_json(const struct audit_entry *entries, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		const struct audit_entry *entry = &entries[i];

		json_array_append_new(
			list,
			json_pack("{s:I, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o}", "id",
				  (json_int_t)entry->id, "time", json_time(entry->time_ns), "by",
				  json_text(entry->by), "command", json_text(entry->command),
				  "service", json_text(entry->service), "revision",
				  (json_int_t)entry->revision, "before", parsed(entry->before),
				  "after", parsed(entry->after), "reason",
				  json_text(entry->reason)));
	}
	return list;
}

static void say_audit(const struct audit_entry *entries, size_t count)
{
	char time[TEXT_VALUE_SIZE];

	for (size_t i = 0; i < count; i++) {
		const struct audit_entry *entry = &entries[i];

		printf("%s  %s  %s  revision %" PRIu64 "\n", cli_time(entry->time_ns, time),
		       entry->by, *entry->service ? entry->service : "(the box)", entry->revision);
		printf("    %s\n    %s -> %s\n", entry->command, entry->before ? entry->before : "",
		       entry->after ? entry->after : "");
		if (*entry->reason)
			printf("    because: %s\n", entry->reason);
	}
}

static int print_audit(struct cli *cli, struct control *control, uint64_t since)
{
	const char *service = cli->words_count ? cli->words[0] : NULL;
	struct audit_entry *entries = NULL;
	size_t count = 0;
	int error = 0;

	if (control->store)
		error = store_read_audit(control->store, service, since, &entries, &count,
					 cli->errors);
	if (error)
		return error;
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:o}", "cmd", "audit", "entries",
					      audit_to_json(entries, count)));
	else
		say_audit(entries, count);
	audit_release(entries, count);
	return 0;
}

/* A service that is gone has an audit still, so any name will do. */
int command_audit(struct cli *cli)
{
	const char *text = cli_flag(cli, "--since");
	struct control *control = NULL;
	uint64_t since = 0;
	int error;

	if (text && text_time(text, time_now_ns(), &since))
		return cli_usage(cli, "--since", "say for example -15m or 2030-01-02T03:04:05Z",
				 "`%s` is no time", text);
	error = cli_open(cli, &control);
	if (!error)
		error = print_audit(cli, control, since);
	control_close(control);
	return error;
}
