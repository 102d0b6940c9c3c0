// SPDX-License-Identifier: GPL-2.0-only
/* diff: the files against the last revision; and, apart, what operators have set over either. */
#include "cli/cli.h"
#include "config/config.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>

/* 0.1, not 0.10000000000000001. */
#define FOR_PEOPLE (JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))

static json_t *base_in(const struct policy *policy, const struct live_share *live)
{
	const struct service *service = policy_service(policy, live->service);
	int rule = service ? service_rule(service, live->rule) : -1;
	int cohort = service ? service_cohort(service, live->cohort) : -1;

	return rule < 0 || cohort < 0 ? json_null()
				      : json_integer(service->rules[rule].base_ppm[cohort]);
}

/* Every live share, with the base that the files give it. */
static json_t *live_to_json(const struct control *control, const struct policy *policy)
{
	json_t *list = json_array();

	for (size_t i = 0; i < control->live.shares_count; i++) {
		const struct live_share *live = &control->live.shares[i];

		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:s, s:o, s:I, s:o, s:o}", "service", live->service,
				  "rule", live->rule, "cohort", live->cohort, "base_ppm",
				  base_in(policy, live), "live_ppm", (json_int_t)live->ppm, "by",
				  json_text(live->by), "time", json_time(live->time_ns)));
	}
	return list;
}

static void say_differences(const struct cli *cli, const json_t *desired)
{
	const json_t *entry;
	char buffer[16];
	size_t i;

	json_array_foreach(desired, i, entry)
	{
		const json_t *before = json_object_get(entry, "before");
		const json_t *after = json_object_get(entry, "after");
		char *old = json_dumps(before, FOR_PEOPLE);
		char *new = json_dumps(after, FOR_PEOPLE);
		const char *color = json_is_null(before) ? "32" : json_is_null(after) ? "31" : "0";

		printf("%s%s: %s -> %s%s\n", cli_color(cli, color, buffer),
		       json_string_value(json_object_get(entry, "path")), old ? old : "",
		       new ? new : "", cli_color_end(cli));
		free(old);
		free(new);
	}
}

static void say_live(const struct control *control, const struct policy *policy)
{
	for (size_t i = 0; i < control->live.shares_count; i++) {
		const struct live_share *live = &control->live.shares[i];
		char ppm[TEXT_VALUE_SIZE], base[TEXT_VALUE_SIZE] = "nothing";
		char time[TEXT_VALUE_SIZE];
		json_t *in_file = base_in(policy, live);

		if (!json_is_null(in_file))
			text_format_percent(json_integer_value(in_file), base);
		json_decref(in_file);
		printf("live: %s/%s/%s: %s, by %s, %s (the file says %s)\n", live->service,
		       live->rule, live->cohort, text_format_percent(live->ppm, ppm), live->by,
		       cli_time(live->time_ns, time), base);
	}
}

static int print_diff(struct cli *cli, const struct control *control, const struct policy *policy)
{
	json_t *desired = config_diff(control->policy, policy);

	if (!desired)
		return -ENOMEM;
	if (cli_flag(cli, "--check") && json_array_size(desired))
		cli->status = EXIT_DIFFERENT;
	if (cli->json) {
		cli_print_json(cli, json_pack("{s:s, s:O, s:o}", "cmd", "diff", "desired", desired,
					      "live", live_to_json(control, policy)));
	} else {
		say_differences(cli, desired);
		say_live(control, policy);
	}
	json_decref(desired);
	return 0;
}

int command_diff(struct cli *cli)
{
	struct control *control = NULL;
	struct policy *policy;
	size_t count;
	const char **paths = cli_flag_all(cli, "-f", &count);
	int error;

	if (!count) {
		free(paths);
		return cli_usage(cli, "-f", "say `-f PATH`", "no file is named");
	}
	policy = config_load(paths, count, cli->errors);
	free(paths);
	if (!policy)
		return -EINVAL;
	error = cli_open(cli, &control);
	if (!error)
		error = print_diff(cli, control, policy);
	control_close(control);
	policy_free(policy);
	return error;
}
