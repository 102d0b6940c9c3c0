// SPDX-License-Identifier: GPL-2.0-only
#include "cli/segments.h"

#include <inttypes.h>

json_t *freeze_to_json(const struct freeze_report *report, bool groupings)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->count; i++) {
		const struct freeze_result *result = &report->list[i];
		bool is_gone = result->action == FREEZE_DROPPED;

		if (result->is_grouping != groupings)
			continue;
		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:b}",
				  groupings ? "column" : "segment", result->name, "action",
				  freeze_action_name(result->action), "version",
				  is_gone || !result->version
					  ? json_null()
					  : json_integer((json_int_t)result->version),
				  "clients",
				  is_gone || !result->version
					  ? json_null()
					  : json_integer((json_int_t)result->count),
				  "added", (json_int_t)result->added, "removed",
				  (json_int_t)result->removed, "changed", result->has_changed));
	}
	return list;
}

void freeze_say(const struct cli *cli, const struct freeze_report *report, bool dry_run)
{
	for (size_t i = 0; i < report->count; i++) {
		const struct freeze_result *result = &report->list[i];
		const char *what = result->is_grouping ? "grouping" : "segment";

		if (result->action == FREEZE_KEPT)
			continue;
		if (dry_run)
			cli_say(cli, "%s %s: would be %s", what, result->name,
				result->action == FREEZE_DROPPED ? "dropped" : "computed");
		else if (result->action == FREEZE_DROPPED)
			cli_say(cli, "%s %s: dropped", what, result->name);
		else if (result->is_grouping)
			cli_say(cli, "%s %s: version %" PRIu64 ", %zu clients%s", what,
				result->name, result->version, result->count,
				result->has_changed ? "" : ", as before");
		else
			cli_say(cli, "%s %s: version %" PRIu64 ", %zu clients (%zu came, %zu went)",
				what, result->name, result->version, result->count, result->added,
				result->removed);
	}
}
