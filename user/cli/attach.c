// SPDX-License-Identifier: GPL-2.0-only
/*
 * attach, detach: which interfaces packets are taken from. What is attached is the operator's wish,
 * kept in the store, so that apply and a reboot bring it back, or leave it off.
 */
#include "cli/attachments.h"
#include "cli/cli.h"
#include "util/text.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* ---- attachments ---- */

int attachments_add(struct attachments *attachments, struct control *control, const char *name,
		    uint32_t slot)
{
	bool was = link_state(control->place->pins, name) != NOT_ATTACHED;
	char(*larger)[16];
	int error;

	if (was)
		return 0;
	larger = reallocarray(attachments->made, attachments->count + 1, sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	attachments->made = larger;
	error = control_attach(control, name, slot);
	if (!error) {
		memset(larger[attachments->count], 0, sizeof(*larger));
		strncat(larger[attachments->count++], name, sizeof(*larger) - 1);
	}
	return error;
}

void attachments_take_back(struct attachments *attachments, const struct control *control)
{
	for (size_t i = 0; i < attachments->count; i++)
		link_detach(control->place->pins, attachments->made[i], NULL);
	attachments->count = 0;
}

void attachments_release(struct attachments *attachments)
{
	free(attachments->made);
	*attachments = (struct attachments){0};
}

/* ---- what both commands share ---- */

struct names {
	const char **list;
	size_t count;
};

static const char *mode_name(enum attach_state state)
{
	static const char *const names[] = {
		[NOT_ATTACHED] = "none",
		[ATTACHED_NATIVE] = "native",
		[ATTACHED_GENERIC] = "generic",
	};

	return names[state];
}

static int audit_names(struct control *control, const struct names *names, const char *what)
{
	json_t *list = json_array();

	for (size_t i = 0; i < names->count; i++)
		json_array_append_new(list, json_string(names->list[i]));
	return cli_audit(control, "", json_null(), json_pack("{s:o}", what, list));
}

/* Takes @list: [{"interface","mode"}]. */
static void print_interfaces(struct cli *cli, json_t *list)
{
	const char *command = cli->command->noun; /* "attach", "detach" */
	const json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry) cli_say(
		cli, "%s: %sed (%s)", json_string_value(json_object_get(entry, "interface")),
		command, json_string_value(json_object_get(entry, "mode")));
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:O}", "cmd", command, "interfaces", list));
	json_decref(list);
}

static json_t *describe_interfaces(const struct control *control, const struct names *names)
{
	json_t *list = json_array();

	for (size_t i = 0; i < names->count; i++)
		json_array_append_new(
			list,
			json_pack("{s:s, s:s}", "interface", names->list[i], "mode",
				  mode_name(link_state(control->place->pins, names->list[i]))));
	return list;
}

/* ---- attach ---- */

struct attach {
	struct cli *cli;
	struct control *control;
	struct names names;
	struct attachments attachments;
	uint64_t try_ms;	/* 0: to stay */
	int watcher;		/* its pid; 0: none */
	bool watcher_is_needed; /* something may have its token, also if this fails */
	char token[TOKEN_SIZE];
};

/* Those that were typed, or those of the file. */
static int choose_names(struct attach *attach)
{
	const struct policy *policy = attach->control->policy;
	struct cli *cli = attach->cli;
	size_t count = cli->words_count ? (size_t)cli->words_count : policy->interfaces_count;

	if (!count)
		return cli_usage(
			cli, "attach", "say `attach IF`",
			attach->control->revision.number
				? "the files name no interface"
				: "nothing was applied yet, so the interface must be named");
	attach->names.list = calloc(count, sizeof(*attach->names.list));
	if (!attach->names.list)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const char *name = cli->words_count ? cli->words[i] : policy->interfaces[i].name;
		char object[64];

		attach->names.list[attach->names.count++] = name;
		snprintf(object, sizeof(object), "interfaces/%.40s", name);
		if (strlen(name) >= 16 || !interface_exists(name))
			errors_add_code(cli->errors, ENODEV, object, "see `ip link`",
					"there is no such interface here");
	}
	return errors_count(cli->errors) ? -ENODEV : 0;
}

/* An interface that is attached to stay is not put on trial: that would end by taking it away. */
static bool goes_on_trial(const struct attach *attach, const char *name)
{
	if (!attach->try_ms)
		return false;
	if (link_state(attach->control->place->pins, name) == NOT_ATTACHED ||
	    trial_is_on(attach->control->place, name))
		return true;
	errors_warn(attach->cli->errors, NULL, name, "`detach` it first to try it",
		    "is attached already, and stays so");
	return false;
}

static int attach_one(struct attach *attach, const char *name)
{
	struct control *control = attach->control;
	const struct live_interface *live = live_interface_of(&control->live, name);
	bool on_trial = goes_on_trial(attach, name);
	bool wanted = !attach->try_ms || (live && live->attached);
	uint32_t slot;
	int error = store_set_attached(control->store, name, wanted, &slot, control->errors);

	if (!error && on_trial) {
		attach->watcher_is_needed = true;
		error = trial_add(control->place, name, attach->token, control->errors);
	}
	return error ? error : attachments_add(&attach->attachments, control, name, slot);
}

/* Attached before it is committed: what fails is taken back, and nothing was. */
static int attach_all(struct attach *attach)
{
	struct control *control = attach->control;
	int error = control_load(control);

	for (size_t i = 0; i < attach->names.count && !error; i++)
		error = attach_one(attach, attach->names.list[i]);
	if (!error && !attach->try_ms)
		error = store_set_detached(control->store, false, control->errors);
	if (!error)
		error = audit_names(control, &attach->names,
				    attach->try_ms ? "on trial" : "attached");
	if (!error)
		error = control_reload_live(control);
	if (!error)
		error = control_publish(control);
	if (error)
		attachments_take_back(&attach->attachments, control);
	for (size_t i = 0; i < attach->names.count && !error && !attach->try_ms; i++)
		trial_end(control->place, attach->names.list[i]);
	return error;
}

static int start_trial(struct attach *attach)
{
	const char *duration = cli_flag(attach->cli, "--try");

	if (!duration)
		return 0;
	if (text_duration(duration, &attach->try_ms) || !attach->try_ms)
		return cli_usage(attach->cli, "--try", "say for example `60s`",
				 "`%s` is no duration", duration);
	attach->watcher = trial_start(&attach->cli->place, attach->try_ms, attach->token,
				      attach->cli->errors);
	return attach->watcher < 0 ? attach->watcher : 0;
}

int command_attach(struct cli *cli)
{
	struct attach attach = {.cli = cli};
	int error = start_trial(&attach);

	if (error)
		return error;
	error = cli_open_write(cli, &attach.control);
	if (!error)
		error = choose_names(&attach);
	if (!error)
		error = attach_all(&attach);
	if (error && attach.watcher > 0 && !attach.watcher_is_needed)
		kill(attach.watcher, SIGTERM);
	if (!error) {
		print_interfaces(cli, describe_interfaces(attach.control, &attach.names));
		if (attach.try_ms)
			cli_say(cli, "for %s, unless `xdp-canary attach` follows",
				cli_flag(cli, "--try"));
	}
	free(attach.names.list);
	attachments_release(&attach.attachments);
	control_close(attach.control);
	return error;
}

/* ---- detach ---- */

struct detach {
	struct cli *cli;
	struct control *control;
	char **links; /* attached in the kernel */
	size_t links_count;
	struct names names;
};

static void add_name(struct names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (!strcmp(names->list[i], name))
			return;
	names->list[names->count++] = name;
}

static bool is_link(const struct detach *detach, const char *name)
{
	for (size_t i = 0; i < detach->links_count; i++)
		if (!strcmp(detach->links[i], name))
			return true;
	return false;
}

/* Those that were typed, or all that are attached, or are to be. */
static int choose_attached(struct detach *detach)
{
	const struct live *live = &detach->control->live;
	struct cli *cli = detach->cli;

	detach->names.list =
		calloc(detach->links_count + live->interfaces_count + cli->words_count + 1,
		       sizeof(*detach->names.list));
	if (!detach->names.list)
		return -ENOMEM;
	for (int i = 0; i < cli->words_count; i++) {
		const struct live_interface *interface = live_interface_of(live, cli->words[i]);

		if (!is_link(detach, cli->words[i]) && !(interface && interface->attached))
			errors_add_code(cli->errors, ENOENT, cli->words[i],
					"see `xdp-canary doctor` and `ip link`", "is not attached");
		add_name(&detach->names, cli->words[i]);
	}
	for (size_t i = 0; i < detach->links_count && !cli->words_count; i++)
		add_name(&detach->names, detach->links[i]);
	for (size_t i = 0; i < live->interfaces_count && !cli->words_count; i++)
		if (live->interfaces[i].attached)
			add_name(&detach->names, live->interfaces[i].name);
	return errors_count(cli->errors) ? -ENOENT : 0;
}

/* The wish first: if this dies half way, the next `detach` goes on, and nothing attaches again. */
static int detach_all(struct detach *detach)
{
	struct control *control = detach->control;
	int error = 0;

	for (size_t i = 0; i < detach->names.count && !error; i++)
		error = store_set_attached(control->store, detach->names.list[i], false, NULL,
					   control->errors);
	if (!error && !detach->cli->words_count)
		error = store_set_detached(control->store, true, control->errors);
	if (!error)
		error = audit_names(control, &detach->names, "detached");
	if (!error)
		error = store_commit(control->store, control->errors);
	for (size_t i = 0; i < detach->names.count && !error; i++) {
		trial_end(control->place, detach->names.list[i]);
		error = link_detach(control->place->pins, detach->names.list[i], control->errors);
		if (error == -ENOENT)
			error = 0;
	}
	return error;
}

int command_detach(struct cli *cli)
{
	struct detach detach = {.cli = cli};
	json_t *list = NULL;
	int error = cli_open_write(cli, &detach.control);

	if (!error)
		error = link_list(cli->place.pins, &detach.links, &detach.links_count, cli->errors);
	if (!error)
		error = choose_attached(&detach);
	if (!error) {
		list = describe_interfaces(detach.control, &detach.names);
		error = detach_all(&detach);
	}
	if (!error) {
		print_interfaces(cli, list);
		cli_say(cli, "This is no rollback: packets to VIPs now go to this host itself.");
	} else {
		json_decref(list);
	}
	for (size_t i = 0; i < detach.links_count; i++)
		free(detach.links[i]);
	free(detach.links);
	free(detach.names.list);
	control_close(detach.control);
	return error;
}
