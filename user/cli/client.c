// SPDX-License-Identifier: GPL-2.0-only
/*
 * client pin, unpin, pins: clients whose cohort an operator has chosen. A client is a prefix in the
 * form of the service's client key; a pin that was made under longer keys counts, and is found, as
 * its shorter form.
 */
#include "cli/cli.h"
#include "util/text.h"

#include <errno.h>
#include <string.h>

struct change {
	struct cli *cli;
	struct control *control;
	const struct service *service;
	struct prefix client;
	char client_text[ADDRESS_TEXT_SIZE];
};

static bool has_expired(const struct live_pin *pin)
{
	return pin->expires_ns && pin->expires_ns <= time_now_ns();
}

static struct prefix in_form_of(const struct service *service, const struct prefix *client)
{
	return prefix_shorten(client, service->prefix4, service->prefix6);
}

/* The service and the client that are typed, and the lock. */
static int begin(struct change *change)
{
	struct cli *cli = change->cli;
	const char *text = cli->words[1];
	struct prefix typed;
	int error = prefix_parse(text, &typed);

	if (error)
		return cli_usage(cli, "client",
				 error == -EDOM ? "clear the bits past its length"
						: "say an address or ADDRESS/LENGTH",
				 "`%s` is no client", text);
	error = cli_open_write(cli, &change->control);
	if (error)
		return error;
	change->service = cli_service(cli, change->control, cli->words[0]);
	if (!change->service)
		return -ENOENT;
	change->client = in_form_of(change->service, &typed);
	prefix_format(&change->client, change->client_text);
	return 0;
}

/* Drops every pin of the client that still holds, and says the last one's cohort in @cohort. */
static int drop_pins(struct change *change, char cohort[NAME_SIZE])
{
	const struct live *live = &change->control->live;
	int error = 0;

	*cohort = '\0';
	for (size_t i = 0; i < live->pins_count && !error; i++) {
		const struct live_pin *pin = &live->pins[i];
		struct prefix client = in_form_of(change->service, &pin->client);

		if (strcmp(pin->service, change->service->name) ||
		    !prefix_equal(&client, &change->client))
			continue;
		if (!has_expired(pin))
			strcpy(cohort, pin->cohort);
		error = store_drop_pin(change->control->store, pin->service, &pin->client,
				       change->cli->errors);
	}
	return error;
}

static int audit(struct change *change, const char *before, const char *after, uint64_t expires_ns)
{
	const char *client = change->client_text;
	json_t *old = json_pack("{s:o}", client, json_text(*before ? before : NULL));
	json_t *new =
		after ? json_pack("{s:s, s:o}", client, after, "expires", json_time(expires_ns))
		      : json_pack("{s:n}", client);

	return cli_audit(change->control, change->service->name, json_pack("{s:o}", "pin", old),
			 json_pack("{s:o}", "pin", new));
}

/* ---- pin ---- */

static int find_cohort(const struct change *change, const char *name)
{
	const struct service *service = change->service;
	const char *names[COHORTS_MAX];
	char object[NAME_SIZE + 32];
	int cohort = service_cohort(service, name);

	if (cohort >= 0)
		return cohort;
	for (size_t i = 0; i < service->cohorts_count; i++)
		names[i] = service->cohorts[i].name;
	snprintf(object, sizeof(object), "services/%s/cohorts", service->name);
	return cli_unknown(change->cli->errors, object, "cohort", name, names,
			   service->cohorts_count);
}

static void warn_of_nothing(const struct change *change, int cohort)
{
	char object[NAME_SIZE + 16];

	snprintf(object, sizeof(object), "services/%s", change->service->name);
	if (cohort_is_latched(change->control, change->service, cohort))
		errors_warn(change->cli->errors, NULL, object, "see `rollout reset`",
			    "it is latched: pinned clients go to control too");
	if (!change->service->cohorts[cohort].backends_count)
		errors_warn(change->cli->errors, NULL, object, "give it some",
			    "cohort `%s` has no backends: pinned clients go to control",
			    change->service->cohorts[cohort].name);
}

static int store_pin(struct change *change, int cohort, uint64_t milliseconds, uint64_t *expires_ns)
{
	struct live_pin pin = {.client = change->client};
	char before[NAME_SIZE];
	int error = drop_pins(change, before);

	strcpy(pin.service, change->service->name);
	strcpy(pin.cohort, change->service->cohorts[cohort].name);
	if (milliseconds)
		pin.expires_ns = time_now_ns() + milliseconds * 1000000;
	*expires_ns = pin.expires_ns;
	if (!error)
		error = store_set_pin(change->control->store, &pin, change->cli->errors);
	return error ? error : audit(change, before, pin.cohort, pin.expires_ns);
}

static void print_pin(const struct change *change, const char *cohort, uint64_t expires_ns)
{
	struct cli *cli = change->cli;
	char time[TEXT_VALUE_SIZE];

	cli_say(cli, "%s: %s is pinned to %s%s%s", change->service->name, change->client_text,
		cohort, expires_ns ? " until " : "", expires_ns ? cli_time(expires_ns, time) : "");
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "cmd", "client pin",
					      "service", change->service->name, "client",
					      change->client_text, "cohort", cohort, "expires",
					      json_time(expires_ns), "epoch",
					      json_epoch(change->control, change->service->name)));
}

#define LONGEST_MS (100ULL * 365 * 86400 * 1000)

int command_client_pin(struct cli *cli)
{
	const char *duration = cli_flag(cli, "--for");
	struct change change = {.cli = cli};
	uint64_t milliseconds = 0, expires_ns;
	int error, cohort = 0;

	if (duration &&
	    (text_duration(duration, &milliseconds) || !milliseconds || milliseconds > LONGEST_MS))
		return cli_usage(cli, "--for", "say for example `2h`", "`%s` is no duration",
				 duration);
	error = begin(&change);
	if (!error) {
		cohort = find_cohort(&change, cli->words[2]);
		error = cohort < 0 ? cohort : 0;
	}
	if (!error)
		error = store_pin(&change, cohort, milliseconds, &expires_ns);
	if (!error)
		error = control_publish_service(change.control, change.service->name);
	if (!error) {
		warn_of_nothing(&change, cohort);
		print_pin(&change, change.service->cohorts[cohort].name, expires_ns);
	}
	control_close(change.control);
	return error;
}

/* ---- unpin ---- */

static int drop_pinned(struct change *change, char before[NAME_SIZE])
{
	char object[NAME_SIZE + 16];
	int error = drop_pins(change, before);

	if (error)
		return error;
	snprintf(object, sizeof(object), "services/%s", change->service->name);
	if (!*before)
		return errors_add_code(change->cli->errors, ENOENT, object,
				       "see `xdp-canary client pins`", "%s is not pinned",
				       change->client_text);
	return audit(change, before, NULL, 0);
}

int command_client_unpin(struct cli *cli)
{
	struct change change = {.cli = cli};
	char before[NAME_SIZE];
	int error = begin(&change);

	if (!error)
		error = drop_pinned(&change, before);
	if (!error)
		error = control_publish_service(change.control, change.service->name);
	if (!error) {
		cli_say(cli, "%s: %s is no longer pinned to %s", change.service->name,
			change.client_text, before);
		if (cli->json)
			cli_print_json(cli,
				       json_pack("{s:s, s:s, s:s, s:s, s:o}", "cmd", "client unpin",
						 "service", change.service->name, "client",
						 change.client_text, "cohort", before, "epoch",
						 json_epoch(change.control, change.service->name)));
	}
	control_close(change.control);
	return error;
}

/* ---- pins ---- */

static json_t *pins_to_json(const struct control *control, const struct service *only)
{
	json_t *list = json_array();

	for (size_t i = 0; i < control->live.pins_count; i++) {
		const struct live_pin *pin = &control->live.pins[i];
		const struct service *service = policy_service(control->policy, pin->service);
		char text[ADDRESS_TEXT_SIZE];
		struct prefix client;

		if (!service || (only && only != service) || has_expired(pin))
			continue;
		client = in_form_of(service, &pin->client);
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "service", pin->service,
					"client", prefix_format(&client, text), "cohort",
					pin->cohort, "expires", json_time(pin->expires_ns), "by",
					json_text(pin->by), "time", json_time(pin->time_ns)));
	}
	return list;
}

static void say_pins(const struct cli *cli, const json_t *list)
{
	static const char *const keys[] = {"service", "client", "cohort", "by", "expires"};
	static const char *const headers[] = {"SERVICE", "CLIENT", "COHORT", "BY", "EXPIRES", NULL};
	const json_t *entry;
	struct table table;
	size_t i;

	table_begin(&table, headers);
	json_array_foreach(list, i, entry)
	{
		for (size_t j = 0; j < 5; j++) {
			const char *text = json_string_value(json_object_get(entry, keys[j]));

			table_cell(&table, "%s", text ? text : "never");
		}
	}
	table_end(cli, &table);
}

int command_client_pins(struct cli *cli)
{
	const struct service *only = NULL;
	struct control *control = NULL;
	json_t *list = NULL;
	int error = cli_open(cli, &control);

	if (!error && cli->words_count) {
		only = cli_service(cli, control, cli->words[0]);
		error = only ? 0 : -ENOENT;
	}
	if (!error) {
		list = pins_to_json(control, only);
		if (cli->json)
			cli_print_json(cli,
				       json_pack("{s:s, s:O}", "cmd", "client pins", "pins", list));
		else
			say_pins(cli, list);
	}
	json_decref(list);
	control_close(control);
	return error;
}
