// SPDX-License-Identifier: GPL-2.0-only
/* backend set: what an operator wishes of a backend. It is kept until changed, whatever the file
 * says. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct change {
	struct cli *cli;
	struct control *control;
	const struct service *service;
	const struct cohort *cohort;
	const struct backend *backend;
	char address[ADDRESS_TEXT_SIZE];
	enum wish before, after;
};

static int unknown_backend(const struct change *change, const char *typed)
{
	const struct service *service = change->service;
	char(*texts)[ADDRESS_TEXT_SIZE] = NULL;
	char object[NAME_SIZE + 16];
	const char **names = NULL;
	size_t count = 0;

	for (size_t i = 0; i < service->cohorts_count; i++)
		count += service->cohorts[i].backends_count;
	texts = calloc(count + 1, sizeof(*texts));
	names = calloc(count + 1, sizeof(*names));
	count = 0;
	for (size_t i = 0; texts && names && i < service->cohorts_count; i++)
		for (size_t j = 0; j < service->cohorts[i].backends_count; j++, count++)
			names[count] = address_format(&service->cohorts[i].backends[j].address,
						      texts[count]);
	snprintf(object, sizeof(object), "services/%s", service->name);
	cli_unknown(change->cli->errors, object, "backend", typed, names, count);
	free(names);
	free(texts);
	return -ENOENT;
}

static int find_backend(struct change *change, const struct address *address)
{
	const struct service *service = change->service;

	for (size_t i = 0; i < service->cohorts_count; i++)
		for (size_t j = 0; j < service->cohorts[i].backends_count; j++) {
			const struct backend *backend = &service->cohorts[i].backends[j];

			if (!address_equal(&backend->address, address))
				continue;
			change->cohort = &service->cohorts[i];
			change->backend = backend;
			return 0;
		}
	return unknown_backend(change, change->cli->words[1]);
}

static int store_wish(struct change *change)
{
	struct control *control = change->control;
	const char *name = change->service->name;
	const struct live_wish *wish =
		live_wish_of(&control->live, name, &change->backend->address);
	char key[ADDRESS_TEXT_SIZE + 8];
	int error;

	change->before = wish ? wish->wish : WISH_UP;
	if (change->before == change->after)
		return 0;
	error = store_set_wish(control->store, name, &change->backend->address, change->after,
			       control->errors);
	if (error)
		return error;
	snprintf(key, sizeof(key), "wish/%s", change->address);
	return cli_audit(control, name, json_pack("{s:s}", key, wish_name(change->before)),
			 json_pack("{s:s}", key, wish_name(change->after)));
}

/* Has the cohort a backend with nothing of @health (enum backend_health)? */
static bool has_backend_without(const struct change *change, uint8_t health)
{
	for (size_t i = 0; i < change->cohort->backends_count; i++)
		if (change->cohort->backends[i].weight &&
		    !(backend_health(change->control, change->service,
				     &change->cohort->backends[i]) &
		      health))
			return true;
	return false;
}

static void warn_of_nobody(const struct change *change)
{
	const char *what = "none of its backends takes new flows: they go to control (cohort_down)";
	size_t cohort = change->cohort - change->service->cohorts;
	char object[3 * NAME_SIZE];

	if (has_backend_without(change, BACKEND_DOWN | BACKEND_DRAINING))
		return;
	if (cohort_is_dead(change->control, change->service, cohort))
		what = dead_cohort_text(cohort);
	else if (!cohort)
		what = has_backend_without(change, BACKEND_DOWN)
			       ? "all of its backends drain: for want of others they take new flows"
			       : "all of its backends are down: packets are dropped (no_backend)";
	snprintf(object, sizeof(object), "services/%s/cohorts/%s", change->service->name,
		 change->cohort->name);
	errors_warn(change->cli->errors, NULL, object, "wish one of them up", "%s", what);
}

static void print_set(const struct change *change)
{
	const char *before = wish_name(change->before), *after = wish_name(change->after);
	const char *service = change->service->name, *cohort = change->cohort->name;
	struct cli *cli = change->cli;

	if (change->before == change->after)
		cli_say(cli, "%s: %s (%s) is %s already", service, change->address, cohort, after);
	else
		cli_say(cli, "%s: %s (%s): %s -> %s", service, change->address, cohort, before,
			after);
	if (cli->json)
		cli_print_json(cli,
			       json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "cmd",
					 "backend set", "service", service, "cohort", cohort,
					 "backend", change->address, "before", before, "after",
					 after, "epoch", json_epoch(change->control, service)));
}

int command_backend_set(struct cli *cli)
{
	struct change change = {.cli = cli};
	struct address address;
	int error;

	if (address_parse(cli->words[1], &address))
		return cli_usage(cli, "ADDRESS", "say an IPv4 or IPv6 address", "`%s` is none",
				 cli->words[1]);
	if (wish_parse(cli->words[2], &change.after))
		return cli_usage(cli, "wish", "say up, draining or down", "`%s` is none",
				 cli->words[2]);
	address_format(&address, change.address);
	error = cli_open_write(cli, &change.control);
	if (!error) {
		change.service = cli_service(cli, change.control, cli->words[0]);
		error = change.service ? find_backend(&change, &address) : -ENOENT;
	}
	if (!error)
		error = store_wish(&change);
	if (!error)
		error = control_publish_service(change.control, change.service->name);
	if (!error) {
		warn_of_nobody(&change);
		print_set(&change);
	}
	control_close(change.control);
	return error;
}
