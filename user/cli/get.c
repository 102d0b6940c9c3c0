// SPDX-License-Identifier: GPL-2.0-only
/* get: the desired state as YAML that apply takes back. */
#include "cli/cli.h"
#include "config/config.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Puts an older revision in the place of the last. */
static int choose_revision(struct cli *cli, struct control *control)
{
	const char *text = cli_flag(cli, "--revision");
	struct revision revision = {0};
	struct policy *policy;
	uint64_t number;
	char name[32];
	int error;

	if (!text)
		return 0;
	if (text_integer(text, 1, INT64_MAX, &number))
		return cli_usage(cli, "--revision", "see `xdp-canary history`",
				 "`%s` is no number of a revision", text);
	if (cli_flag(cli, "--effective") && number != control->revision.number)
		return cli_usage(cli, "--effective", "leave one of both out",
				 "live shares belong to the last revision, %" PRIu64,
				 control->revision.number);
	error = control->store ? store_revision(control->store, number, &revision, cli->errors)
			       : -ENOENT;
	if (error == -ENOENT)
		return errors_add_code(cli->errors, ENOENT, "--revision",
				       "see `xdp-canary history`", "there is no revision %" PRIu64,
				       number);
	if (error)
		return error;
	snprintf(name, sizeof(name), "revision %" PRIu64, number);
	policy = config_parse_revision(revision.config, name, cli->errors);
	if (policy)
		control_set_policy(control, policy);
	control->revision.number = number;
	revision_release(&revision);
	return policy ? 0 : -EINVAL;
}

/* Live shares become bases, and a latched service's are 0, as they are in force. */
static void make_effective(struct control *control)
{
	for (size_t i = 0; i < control->policy->services_count; i++) {
		struct service *service = &control->policy->services[i];

		for (size_t rule = 0; rule < service->rules_count; rule++) {
			uint32_t *base = service->rules[rule].base_ppm;

			for (size_t cohort = 1; cohort < service->cohorts_count; cohort++)
				base[cohort] = effective_share(control, service, rule, cohort);
			base[0] = effective_control_share(control, service, rule);
		}
	}
}

static int print_policy(struct cli *cli, const struct control *control)
{
	char *yaml;

	if (cli->json) {
		cli_print_json(cli, json_pack("{s:s, s:I, s:o}", "cmd", "get", "revision",
					      (json_int_t)control->revision.number, "config",
					      config_to_json(control->policy)));
		return 0;
	}
	yaml = config_to_yaml(control->policy);
	if (!yaml)
		return -ENOMEM;
	fputs(yaml, stdout);
	free(yaml);
	return 0;
}

int command_get(struct cli *cli)
{
	struct control *control = NULL;
	int error = cli_open(cli, &control);

	if (!error && !control->revision.number)
		error = errors_add_code(cli->errors, ENOENT, "get", "apply a file first",
					"nothing was applied yet");
	if (!error)
		error = choose_revision(cli, control);
	if (!error && cli_flag(cli, "--effective"))
		make_effective(control);
	if (!error)
		error = print_policy(cli, control);
	control_close(control);
	return error;
}
