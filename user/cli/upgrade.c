// SPDX-License-Identifier: GPL-2.0-only
/*
 * upgrade: this build's program in place of the attached one, the maps stay. Every new program is
 * loaded, and so verified, before the first is replaced; a replacement is one pointer to the
 * driver, so no packet goes without a program. Maps of another layout are refused when they are
 * opened, before anything else.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct replacement {
	const char *interface;
	struct program *program;
	char before[PROGRAM_TAG_SIZE], after[PROGRAM_TAG_SIZE];
};

struct upgrade {
	struct cli *cli;
	struct control *control;
	struct siphash_key secret;
	char **links;
	size_t count;
	struct replacement *replacements; /* one a link */
};

static int read_secret(struct upgrade *upgrade)
{
	char *path = secret_path(&upgrade->cli->place, upgrade->control->policy);
	int error =
		path ? secret_read(path, false, &upgrade->secret, upgrade->cli->errors) : -ENOMEM;

	if (!error && secret_fingerprint(upgrade->secret) !=
			      datapath_box(upgrade->control->datapath)->secret_fingerprint)
		error = errors_add_code(upgrade->cli->errors, EINVAL, path, "put the old one back",
					"the secret is not the one that the loaded program has");
	free(path);
	return error;
}

static int load_one(struct upgrade *upgrade, const char *interface, struct replacement *out)
{
	const struct live_interface *live = live_interface_of(&upgrade->control->live, interface);
	int error;

	out->interface = interface;
	if (!live)
		return errors_add_code(upgrade->cli->errors, ENOENT, interface,
				       "detach it and attach it again",
				       "is attached, and the state does not know it");
	error = program_load(upgrade->control->datapath, upgrade->secret, live->slot, false,
			     &out->program, upgrade->cli->errors);
	if (!error)
		program_tag(program_fd(out->program), out->after);
	return error;
}

static int load_all(struct upgrade *upgrade)
{
	int error = link_list(upgrade->cli->place.pins, &upgrade->links, &upgrade->count,
			      upgrade->cli->errors);
	size_t i;

	if (error)
		return error;
	upgrade->replacements = calloc(upgrade->count + 1, sizeof(*upgrade->replacements));
	if (!upgrade->replacements)
		return -ENOMEM;
	for (i = 0; i < upgrade->count && !error; i++)
		error = load_one(upgrade, upgrade->links[i], &upgrade->replacements[i]);
	return error;
}

static json_t *replacements_to_json(const struct upgrade *upgrade)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < upgrade->count; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:o, s:s}", "interface",
						upgrade->replacements[i].interface, "before",
						json_text(*upgrade->replacements[i].before
								  ? upgrade->replacements[i].before
								  : NULL),
						"after", upgrade->replacements[i].after));
	return list;
}

static int replace_all(struct upgrade *upgrade)
{
	int error = datapath_pin_explainer(upgrade->control->datapath, upgrade->secret,
					   upgrade->cli->errors);
	size_t i;

	for (i = 0; i < upgrade->count && !error; i++)
		error = link_replace_program(upgrade->cli->place.pins,
					     upgrade->replacements[i].interface,
					     upgrade->replacements[i].program,
					     upgrade->replacements[i].before, upgrade->cli->errors);
	if (!error)
		error = cli_audit(upgrade->control, "", json_null(),
				  json_pack("{s:o}", "upgraded", replacements_to_json(upgrade)));
	return error ? error : store_commit(upgrade->control->store, upgrade->cli->errors);
}

static void print(const struct upgrade *upgrade, bool dry_run)
{
	struct cli *cli = upgrade->cli;
	size_t i;

	if (cli->json) {
		cli_print_json(cli,
			       json_pack("{s:s, s:b, s:o}", "cmd", "upgrade", "dry_run", dry_run,
					 "interfaces", replacements_to_json(upgrade)));
		return;
	}
	for (i = 0; i < upgrade->count; i++)
		cli_say(cli, "%s: %s %s", upgrade->replacements[i].interface,
			dry_run ? "would have program" : "has program",
			upgrade->replacements[i].after);
	if (!upgrade->count)
		cli_say(cli, "no interface is attached");
}

int command_upgrade(struct cli *cli)
{
	struct upgrade upgrade = {.cli = cli};
	bool dry_run = cli_flag(cli, "--dry-run");
	int error = cli_open_write(cli, &upgrade.control);
	size_t i;

	if (error)
		return error;
	if (!upgrade.control->datapath)
		error = errors_add_code(cli->errors, ENOENT, cli->place.pins,
					"run `xdp-canary attach`", "nothing is loaded");
	if (!error)
		error = read_secret(&upgrade);
	if (!error)
		error = load_all(&upgrade);
	if (!error && !dry_run)
		error = replace_all(&upgrade);
	if (!error)
		print(&upgrade, dry_run);
	for (i = 0; i < upgrade.count; i++) {
		if (upgrade.replacements)
			program_free(upgrade.replacements[i].program);
		free(upgrade.links[i]);
	}
	free(upgrade.links);
	free(upgrade.replacements);
	control_close(upgrade.control);
	return error;
}
