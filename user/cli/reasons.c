// SPDX-License-Identifier: GPL-2.0-only
/* reasons: the list of record of headers/reasons.h, for people and programs. */
#include "cli/cli.h"
#include "observe/snapshot.h"

static json_t *reasons_to_json(void)
{
	json_t *list = json_array();

	for (int i = 0; i < REASONS; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "action",
						      action_name(reason_action(i)), "reason",
						      reason_name(i), "text", reason_text(i)));
	return list;
}

static json_t *paths_to_json(void)
{
	json_t *list = json_array();

	for (int i = 0; i < PATHS; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s}", "path", path_name(i), "text", path_text(i)));
	return list;
}

static void say_reasons(const struct cli *cli)
{
	static const char *const headers[] = {"ACTION", "REASON", "TEXT", NULL};
	struct table table;

	table_begin(&table, headers);
	for (int i = 0; i < REASONS; i++) {
		table_cell(&table, "%s", action_name(reason_action(i)));
		table_cell(&table, "%s", reason_name(i));
		table_cell(&table, "%s", reason_text(i));
	}
	for (int i = 0; i < PATHS; i++) {
		table_cell(&table, "path");
		table_cell(&table, "%s", path_name(i));
		table_cell(&table, "%s", path_text(i));
	}
	table_end(cli, &table);
}

int command_reasons(struct cli *cli)
{
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:o, s:o}", "cmd", "reasons", "reasons",
					      reasons_to_json(), "paths", paths_to_json()));
	else
		say_reasons(cli);
	return 0;
}
