// SPDX-License-Identifier: GPL-2.0-only
/* backend list: who serves, what is wished of it, and whether the kernel knows the way there. */
#include "cli/cli.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>

/* One command's view of the box: the routes are asked where the kernel's line knows nothing. */
struct lister {
	struct control *control;
	struct next_hops *next_hops; /* NULL: cannot be asked */
	json_t *list;
};

static const struct backend_line *
line_of(const struct control *control, const struct service *service, const struct backend *backend)
{
	const struct view *view = control_view(control, service->name);
	char address[ADDRESS_TEXT_SIZE];
	uint32_t number;

	if (!view || !control->store)
		return NULL;
	address_format(&backend->address, address);
	if (store_find_number(control->store, NUMBER_BACKEND, service->name, address, &number,
			      NULL))
		return NULL;
	return number < view->backends_count ? datapath_backend(control->datapath, view, number)
					     : NULL;
}

/* What packets meet now; where that is nothing, why. */
static const char *next_hop_of(const struct lister *lister, const struct service *service,
			       const struct backend *backend)
{
	const struct backend_line *line = line_of(lister->control, service, backend);
	char interface[IF_NAMESIZE];
	struct next_hop hop;

	if (!line)
		return "unknown";
	/* An interface that was taken away leaves lines behind until they are written again. */
	if ((line->next_hop & NEXT_HOP_VALID) && if_indextoname(line->ifindex, interface))
		return next_hop_state_name(NEXT_HOP_RESOLVED);
	if (!lister->next_hops || backend_next_hop(lister->next_hops, service, backend, &hop, NULL))
		return "unknown";
	/* The daemon, or the next command, writes it down. */
	if (hop.state == NEXT_HOP_RESOLVED)
		hop.state = NEXT_HOP_RESOLVING;
	return next_hop_state_name(hop.state);
}

static void add_backend(struct lister *lister, const struct service *service,
			const struct cohort *cohort, const struct backend *backend)
{
	const struct live_wish *wish =
		live_wish_of(&lister->control->live, service->name, &backend->address);
	const struct live_check *check = backend_check(lister->control, service, backend);
	bool serves = backend->weight && !backend_health(lister->control, service, backend);
	uint64_t since = wish ? wish->time_ns : 0;
	char address[ADDRESS_TEXT_SIZE];

	if (check && check->time_ns > since)
		since = check->time_ns;
	json_array_append_new(lister->list,
			      json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:b, s:b, s:s, s:n, s:o}",
					"service", service->name, "cohort", cohort->name, "backend",
					address_format(&backend->address, address), "weight",
					backend->weight, "wish",
					wish_name(wish ? wish->wish : WISH_UP), "health",
					!check || check_passes(check) ? "up" : "down", "serving",
					serves, "flapping", check && check->flapping, "next_hop",
					next_hop_of(lister, service, backend), "idle_seconds",
					"since", json_time(since)));
}

static void add_service(struct lister *lister, const struct service *service)
{
	for (size_t i = 0; i < service->cohorts_count; i++)
		for (size_t j = 0; j < service->cohorts[i].backends_count; j++)
			add_backend(lister, service, &service->cohorts[i],
				    &service->cohorts[i].backends[j]);
}

static void warn_of_dead_cohorts(struct cli *cli, const struct control *control,
				 const struct service *service)
{
	char object[3 * NAME_SIZE];

	for (size_t i = 0; i < service->cohorts_count; i++) {
		if (!cohort_is_dead(control, service, i))
			continue;
		snprintf(object, sizeof(object), "services/%s/cohorts/%s", service->name,
			 service->cohorts[i].name);
		errors_warn(cli->errors, NULL, object, "look at its servers", "%s",
			    dead_cohort_text(i));
	}
}

/* Of one that is held down, why. */
static const char *what_checks_say(const json_t *entry)
{
	return json_is_true(json_object_get(entry, "flapping"))
		       ? "flapping"
		       : json_string_value(json_object_get(entry, "health"));
}

static void say_list(const struct cli *cli, const json_t *list)
{
	static const char *const keys[] = {"service", "cohort", "backend", "next_hop", "wish"};
	static const char *const headers[] = {"SERVICE", "COHORT", "BACKEND", "NEXT HOP",
					      "WISH",	 "HEALTH", "WEIGHT",  NULL};
	const json_t *entry;
	struct table table;
	size_t i;

	table_begin(&table, headers);
	json_array_foreach(list, i, entry)
	{
		for (size_t j = 0; j < sizeof(keys) / sizeof(keys[0]); j++)
			table_cell(&table, "%s",
				   json_string_value(json_object_get(entry, keys[j])));
		table_cell(&table, "%s", what_checks_say(entry));
		table_cell(&table, "%lld",
			   (long long)json_integer_value(json_object_get(entry, "weight")));
	}
	table_end(cli, &table);
}

int command_backend_list(struct cli *cli)
{
	const struct service *only = NULL;
	struct lister lister = {.list = json_array()};
	int error = cli_open(cli, &lister.control);

	if (!error && cli->words_count) {
		only = cli_service(cli, lister.control, cli->words[0]);
		error = only ? 0 : -ENOENT;
	}
	if (error)
		goto out;
	if (lister.control->datapath && next_hops_open(&lister.next_hops, NULL))
		lister.next_hops = NULL;
	for (size_t i = 0; i < lister.control->policy->services_count; i++)
		if (!only || only == &lister.control->policy->services[i]) {
			add_service(&lister, &lister.control->policy->services[i]);
			warn_of_dead_cohorts(cli, lister.control,
					     &lister.control->policy->services[i]);
		}
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:O}", "cmd", "backend list", "backends",
					      lister.list));
	else
		say_list(cli, lister.list);
	next_hops_close(lister.next_hops);
out:
	json_decref(lister.list);
	control_close(lister.control);
	return error;
}
