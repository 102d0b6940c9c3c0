// SPDX-License-Identifier: GPL-2.0-only
/* doctor: findings as a table or JSON; --bundle puts them in a file with the versions and the
 * desired state. */
#include "cli/cli.h"
#include "config/config.h"
#include "observe/doctor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

static json_t *findings_to_json(const struct findings *findings)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < findings->count; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", findings->list[i].id,
					"severity", severity_name(findings->list[i].severity),
					"object", findings->list[i].object, "message",
					findings->list[i].message, "fix", findings->list[i].fix));
	return list;
}

/* Everything that one would ask for in a report; the secret is not in the desired state. */
static int write_bundle(struct cli *cli, const struct control *control,
			const struct findings *findings, const char *path)
{
	struct utsname kernel = {.release = "unknown"};
	json_t *bundle;
	int error = 0;

	uname(&kernel);
	bundle = json_pack("{s:s, s:s, s:o, s:o}", "version", VERSION, "kernel", kernel.release,
			   "findings", findings_to_json(findings), "config",
			   control ? config_to_json(control->policy) : json_null());
	if (!bundle)
		return -ENOMEM;
	umask(077);
	if (json_dump_file(bundle, path, JSON_INDENT(2)))
		error = errors_add_code(cli->errors, EIO, path, "name a file that can be written",
					"cannot write the bundle");
	json_decref(bundle);
	return error;
}

static void print_findings(const struct findings *findings)
{
	size_t i;

	for (i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];

		printf("%-8s %-24s %s", severity_name(finding->severity), finding->object,
		       finding->message);
		printf(*finding->fix ? ": %s\n" : "\n", finding->fix);
	}
}

int command_doctor(struct cli *cli)
{
	const char *bundle = cli_flag(cli, "--bundle");
	struct control *control = NULL;
	struct findings findings;
	int error;
	size_t i;

	if (cli_open(cli, &control))
		control = NULL; /* that is a finding too; the errors are printed */
	error = doctor_examine(&cli->place, control, &findings);
	if (!error && bundle)
		error = write_bundle(cli, control, &findings, bundle);
	if (!error && cli->json)
		cli_print_json(cli, json_pack("{s:s, s:o}", "cmd", "doctor", "findings",
					      findings_to_json(&findings)));
	else if (!error)
		print_findings(&findings);
	for (i = 0; !error && i < findings.count; i++)
		if (findings.list[i].severity == SEVERITY_ERROR)
			cli->status = EXIT_FAILED;
	findings_release(&findings);
	control_close(control);
	return error;
}
