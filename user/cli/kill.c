// SPDX-License-Identifier: GPL-2.0-only
/*
 * kill: one store to a pinned map, and every client of the service is at control. Nothing else is
 * needed for that: no lock, no store, no daemon. Only after it, and after it was printed, is it
 * tried to record it, with who did it and why; if that fails, the next writer does, who cannot know.
 */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>

#define RECORD_WAIT_MS 250 /* the daemon has the lock for less */

static const char *name_of(const struct datapath *datapath, uint32_t slot)
{
	if (!datapath_view(datapath, slot))
		return NULL;
	return map_part(datapath, MAP_SERVICE_NAMES, struct service_name, slot, 1)->text;
}

static void kill_one(struct datapath *datapath, uint32_t slot, json_t *killed)
{
	service_kill(datapath, slot);
	json_array_append_new(killed, json_text(name_of(datapath, slot)));
}

static void kill_all(struct datapath *datapath, json_t *killed)
{
	for (uint32_t slot = 0; slot < datapath->maps[MAP_CELLS].entries; slot++)
		if (name_of(datapath, slot))
			kill_one(datapath, slot, killed);
}

static int unknown_service(struct cli *cli, const struct datapath *datapath, const char *name)
{
	const char *names[SERVICES_MAX];
	size_t count = 0;

	for (uint32_t slot = 0; slot < datapath->maps[MAP_CELLS].entries; slot++)
		if (name_of(datapath, slot) && count < SERVICES_MAX)
			names[count++] = name_of(datapath, slot);
	return cli_unknown(cli->errors, "kill", "service", name, names, count);
}

/* Errors of this are nobody's business: what was asked for is done. */
static void record(struct cli *cli)
{
	const char *name = cli->words_count ? cli->words[0] : "";
	struct place place = cli->place;
	struct actor actor = cli->actor;
	struct control *control = NULL;
	struct store *store;

	cli_print_now(cli);
	/* Where there is no store any more, none is made. */
	if (store_open_read(place.state, &store, NULL))
		return;
	store_close(store);
	place.wait_ms = RECORD_WAIT_MS;
	actor.kills = name;
	if (control_open_write(&place, &actor, NULL, &control))
		return;
	if (control_publish(
		    control)) { /* the kernel's side does not need it: the latch alone, then */
		control_close(control);
		if (control_open_write(&place, &actor, NULL, &control))
			return;
		store_commit(control->store, NULL);
	}
	control_close(control);
}

static void print_killed(struct cli *cli, json_t *killed)
{
	const json_t *name;
	size_t i;

	json_array_foreach(killed, i, name)
		cli_say(cli, "%s: every client goes to control, until `rollout reset`",
			json_string_value(name));
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:O}", "cmd", "kill", "services", killed));
}

int command_kill(struct cli *cli)
{
	const char *name = cli->words_count ? cli->words[0] : NULL;
	struct datapath *datapath;
	json_t *killed;
	int error, slot;

	if (!name == !cli_flag(cli, "--all"))
		return cli_usage(cli, "kill", "say `kill S` or `kill --all`",
				 name ? "a service is named, and all are" : "no service is named");
	error = datapath_open(cli->place.pins, true, &datapath, cli->errors);
	if (error == -ENOENT)
		return errors_add_code(cli->errors, ENOENT, cli->place.pins,
				       "is --pins right? then `attach` or `apply` loads it",
				       "nothing is loaded here, so no client is sent anywhere");
	if (error)
		return error;
	killed = json_array();
	slot = name ? service_slot_by_name(datapath, name) : 0;
	if (slot < 0)
		error = unknown_service(cli, datapath, name);
	else if (name)
		kill_one(datapath, slot, killed);
	else
		kill_all(datapath, killed);
	if (!error) {
		print_killed(cli, killed);
		record(cli);
	}
	json_decref(killed);
	datapath_close(datapath);
	return error;
}
