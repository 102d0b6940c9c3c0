// SPDX-License-Identifier: GPL-2.0-only
/* service list, service show: what is desired of services, and what is in force. */
#include "cli/cli.h"
#include "policy/split.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>

static const char *steer_name(enum steer_method steer)
{
	return steer == STEER_L2 ? "l2" : "ipip";
}

static const char *client_key_name(enum client_key key)
{
	static const char *const names[] = {
		[CLIENT_KEY_SOURCE] = "source",
		[CLIENT_KEY_FLOW] = "flow",
		[CLIENT_KEY_QUIC] = "quic",
		[CLIENT_KEY_PAYLOAD] = "payload",
	};

	return names[key];
}

static enum latch latch_of(const struct control *control, const struct service *service)
{
	const struct live_service *live = live_service_of(&control->live, service->name);

	return live ? live->latch : LATCH_NONE;
}

static uint32_t share_of(const struct control *control, const struct service *service, size_t rule,
			 size_t cohort)
{
	return cohort ? effective_share(control, service, rule, cohort)
		      : effective_control_share(control, service, rule);
}

static bool is_live(const struct control *control, const struct service *service, size_t rule,
		    size_t cohort)
{
	return live_share_of(&control->live, service->name, service->rules[rule].name,
			     service->cohorts[cohort].name);
}

/* ---- JSON ---- */

static json_t *rule_to_json(const struct control *control, const struct service *service,
			    size_t rule)
{
	json_t *cohorts = json_array();

	for (size_t i = 0; i < service->cohorts_count; i++)
		json_array_append_new(
			cohorts,
			json_pack("{s:s, s:I, s:I, s:b}", "cohort", service->cohorts[i].name,
				  "base_ppm", (json_int_t)service->rules[rule].base_ppm[i],
				  "set_ppm", (json_int_t)share_of(control, service, rule, i),
				  "live", is_live(control, service, rule, i)));
	return json_pack(
		"{s:s, s:o, s:o}", "rule", service->rules[rule].name, "segment",
		json_text(*service->rules[rule].segment ? service->rules[rule].segment : NULL),
		"cohorts", cohorts);
}

static json_t *service_to_json(const struct control *control, const struct service *service)
{
	enum latch latch = latch_of(control, service);
	json_t *vips = json_array(), *rules = json_array();
	char text[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < service->vips_count; i++)
		json_array_append_new(vips, json_string(vip_format(&service->vips[i], text)));
	for (size_t i = 0; i < service->rules_count; i++)
		json_array_append_new(rules, rule_to_json(control, service, i));
	return json_pack("{s:s, s:s, s:o, s:b, s:s, s:o, s:o, s:o}", "service", service->name,
			 "release", service->release, "epoch", json_epoch(control, service->name),
			 "enforce", service->enforce, "steer", steer_name(service->steer), "vips",
			 vips, "latch", json_text(latch == LATCH_NONE ? NULL : latch_name(latch)),
			 "rules", rules);
}

static json_t *backends_to_json(const struct cohort *cohort)
{
	char address[ADDRESS_TEXT_SIZE], id[SERVER_ID_TEXT_SIZE];
	json_t *backends = json_array();

	for (size_t i = 0; i < cohort->backends_count; i++) {
		const struct backend *backend = &cohort->backends[i];

		json_array_append_new(backends,
				      json_pack("{s:s, s:i, s:o}", "backend",
						address_format(&backend->address, address),
						"weight", backend->weight, "server_id",
						json_text(server_id_format(backend, id))));
	}
	return backends;
}

/* Null where the client key does not have it. */
static json_t *client_to_json(const struct service *service)
{
	const struct client_id *id = &service->client_id;
	bool quic = service->client_key == CLIENT_KEY_QUIC;
	bool payload = service->client_key == CLIENT_KEY_PAYLOAD;

	return json_pack(
		"{s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "key",
		client_key_name(service->client_key), "prefix4", service->prefix4, "prefix6",
		service->prefix6, "group_by", json_text(service->group_by), "quic_cid_length",
		quic ? json_integer(id->quic_cid_length) : json_null(), "quic_server_id_offset",
		quic ? json_integer(id->quic_server_id_offset) : json_null(),
		"quic_server_id_length",
		quic ? json_integer(id->quic_server_id_length) : json_null(), "payload_offset",
		payload ? json_integer(id->payload_offset) : json_null(), "payload_length",
		payload ? json_integer(id->payload_length) : json_null());
}

static const char *on_rollback_name(const struct service *service)
{
	return service->affinity.on_rollback == ON_ROLLBACK_DRAIN ? "drain" : "cut";
}

static json_t *affinity_to_json(const struct service *service)
{
	return json_pack("{s:f, s:f, s:s}", "drain_seconds",
			 (double)service->affinity.drain_ms / 1000, "udp_drain_seconds",
			 (double)service->affinity.udp_drain_ms / 1000, "on_rollback",
			 on_rollback_name(service));
}

/* The cohorts in the order of their parts. */
static json_t *order_to_json(const struct service *service)
{
	const struct split split = split_of(service);
	json_t *order = json_array();

	for (size_t i = 0; i < split.cohorts_count; i++)
		json_array_append_new(order, json_string(service->cohorts[split.order[i]].name));
	return order;
}

/* Null where the hash does not have it. */
static json_t *hash_options_to_json(const struct service *service)
{
	const struct hash_options *options = &service->hash_options;
	bool has_modulus = is_split(service) && service->hash != HASH_NGINX;

	return json_pack("{s:o, s:o, s:o}", "modulus",
			 has_modulus ? json_integer(options->modulus) : json_null(), "seed",
			 service->hash == HASH_NFT_JHASH ? json_integer(options->seed)
							 : json_null(),
			 "order", is_split(service) ? order_to_json(service) : json_null());
}

/* The control has no slot, and with the hash of another tool nobody has. */
static json_t *cohorts_to_json(const struct service *service)
{
	json_t *cohorts = json_array();

	for (size_t i = 0; i < service->cohorts_count; i++) {
		const struct cohort *cohort = &service->cohorts[i];
		json_t *slot = i && !is_split(service)
				       ? json_pack("{s:I, s:I}", "start_ppm",
						   (json_int_t)cohort->slot_start_ppm, "width_ppm",
						   (json_int_t)cohort->slot_ppm)
				       : json_null();

		json_array_append_new(
			cohorts, json_pack("{s:s, s:s, s:o, s:o}", "cohort", cohort->name,
					   "version", cohort->version ? cohort->version : "",
					   "slot", slot, "backends", backends_to_json(cohort)));
	}
	return cohorts;
}

static json_t *details_to_json(const struct control *control, const struct service *service)
{
	char salt[2 * NAME_SIZE + 256];
	json_t *document = json_pack("{s:s}", "cmd", "service show");
	json_t *head = service_to_json(control, service);
	json_t *tail = json_pack(
		"{s:o, s:o, s:I, s:o, s:s, s:o, s:s, s:o}", "cohorts", cohorts_to_json(service),
		"salt",
		json_text(is_split(service) ? NULL : service_salt(service, salt, sizeof(salt))),
		"holdout_ppm", (json_int_t)service->holdout_ppm, "client", client_to_json(service),
		"balance", service->balance == BALANCE_CLIENT ? "client" : "flow", "affinity",
		affinity_to_json(service), "hash", split_hash_name(service->hash), "hash_options",
		hash_options_to_json(service));

	if (json_object_update(document, head) || json_object_update(document, tail)) {
		json_decref(document);
		document = NULL;
	}
	json_decref(head);
	json_decref(tail);
	return document;
}

/* ---- text ---- */

static void add_rows(struct table *table, const struct control *control,
		     const struct service *service)
{
	const struct live_service *live = live_service_of(&control->live, service->name);

	for (size_t rule = 0; rule < service->rules_count; rule++) {
		for (size_t i = 1; i < service->cohorts_count; i++) {
			char set[TEXT_VALUE_SIZE], base[TEXT_VALUE_SIZE];

			table_cell(table, "%s", service->name);
			table_cell(table, "%s", service->rules[rule].name);
			table_cell(table, "%s",
				   *service->rules[rule].segment ? service->rules[rule].segment
								 : "-");
			table_cell(table, "%s", service->cohorts[i].name);
			table_cell(table, "%s",
				   text_format_percent(share_of(control, service, rule, i), set));
			table_cell(table, "%s%s",
				   text_format_percent(service->rules[rule].base_ppm[i], base),
				   is_live(control, service, rule, i) ? " (live share set)" : "");
			table_cell(table, "%" PRIu64, live ? live->epoch : 0);
			table_cell(table, "%s", latch_name(latch_of(control, service)));
		}
	}
}

static const char *const share_headers[] = {"SERVICE", "RULE",	"SEGMENT", "COHORT", "SHARE",
					    "FILE",    "EPOCH", "LATCH",   NULL};

static void say_list(const struct cli *cli, const struct control *control)
{
	struct table table;

	table_begin(&table, share_headers);
	for (size_t i = 0; i < control->policy->services_count; i++)
		add_rows(&table, control, &control->policy->services[i]);
	table_end(cli, &table);
}

static void say_cohorts(const struct service *service)
{
	char text[ADDRESS_TEXT_SIZE], slot[TEXT_VALUE_SIZE], start[TEXT_VALUE_SIZE];
	char buffer[SERVER_ID_TEXT_SIZE];

	for (size_t i = 0; i < service->cohorts_count; i++) {
		const struct cohort *cohort = &service->cohorts[i];

		printf("cohort %s%s%s", cohort->name,
		       cohort->version && *cohort->version ? ", version " : "",
		       cohort->version ? cohort->version : "");
		if (i && is_split(service))
			printf(", a canary");
		else if (i)
			printf(", slot %s from %s", text_format_percent(cohort->slot_ppm, slot),
			       text_format_percent(cohort->slot_start_ppm, start));
		else
			printf(", the control");
		putchar('\n');
		for (size_t j = 0; j < cohort->backends_count; j++) {
			const struct backend *backend = &cohort->backends[j];
			const char *id = server_id_format(backend, buffer);

			printf("  backend %s, weight %u%s%s\n",
			       address_format(&backend->address, text), backend->weight,
			       id ? ", server id " : "", id ? id : "");
		}
	}
}

static void say_client_ids(const struct service *service)
{
	const struct client_id *id = &service->client_id;

	if (service->client_key == CLIENT_KEY_QUIC)
		printf("connection ids of %u bytes, server ids of %u at offset %u\n",
		       id->quic_cid_length, id->quic_server_id_length, id->quic_server_id_offset);
	if (service->client_key == CLIENT_KEY_PAYLOAD)
		printf("payload of %u bytes at offset %u\n", id->payload_length,
		       id->payload_offset);
}

static void say_hash(const struct service *service)
{
	const struct hash_options *options = &service->hash_options;
	const struct split split = split_of(service);

	if (!is_split(service))
		return;
	printf("hash %s", split_hash_name(service->hash));
	if (service->hash != HASH_NGINX)
		printf(", modulus %u", options->modulus);
	if (service->hash == HASH_NFT_JHASH)
		printf(", seed %u", options->seed);
	printf(", order");
	for (size_t i = 0; i < split.cohorts_count; i++)
		printf("%s %s", i ? "," : "", service->cohorts[split.order[i]].name);
	putchar('\n');
}

static void say_details(const struct cli *cli, const struct control *control,
			const struct service *service)
{
	char salt[2 * NAME_SIZE + 256], text[ADDRESS_TEXT_SIZE];
	char drain[TEXT_VALUE_SIZE], udp_drain[TEXT_VALUE_SIZE];
	struct table table;

	printf("service %s, release `%s`", service->name, service->release);
	if (!is_split(service))
		printf(", salt `%s`", service_salt(service, salt, sizeof(salt)));
	putchar('\n');
	for (size_t i = 0; i < service->vips_count; i++)
		printf("vip %s\n", vip_format(&service->vips[i], text));
	printf("steer %s%s, client key %s (/%u, /%u)%s%s, holdout %s, balance by %s\n",
	       steer_name(service->steer), service->enforce ? "" : " (not enforced)",
	       client_key_name(service->client_key), service->prefix4, service->prefix6,
	       service->group_by ? ", grouped by " : "", service->group_by ? service->group_by : "",
	       text_format_percent(service->holdout_ppm, text),
	       service->balance == BALANCE_CLIENT ? "client" : "flow");
	say_hash(service);
	say_client_ids(service);
	printf("drain %s, of UDP %s, on rollback %s\n",
	       text_format_duration(service->affinity.drain_ms, drain),
	       text_format_duration(service->affinity.udp_drain_ms, udp_drain),
	       on_rollback_name(service));
	say_cohorts(service);
	putchar('\n');
	table_begin(&table, share_headers);
	add_rows(&table, control, service);
	table_end(cli, &table);
}

/* ---- the commands ---- */

static json_t *list_to_json(const struct control *control)
{
	json_t *list = json_array();

	for (size_t i = 0; i < control->policy->services_count; i++)
		json_array_append_new(list,
				      service_to_json(control, &control->policy->services[i]));
	return json_pack("{s:s, s:o}", "cmd", "service list", "services", list);
}

int command_service_list(struct cli *cli)
{
	struct control *control = NULL;
	int error = cli_open(cli, &control);

	if (!error && cli->json)
		cli_print_json(cli, list_to_json(control));
	else if (!error)
		say_list(cli, control);
	control_close(control);
	return error;
}

int command_service_show(struct cli *cli)
{
	const struct service *service = NULL;
	struct control *control = NULL;
	int error = cli_open(cli, &control);

	if (!error) {
		service = cli_service(cli, control, cli->words[0]);
		error = service ? 0 : -ENOENT;
	}
	if (!error && cli->json)
		cli_print_json(cli, details_to_json(control, service));
	else if (!error)
		say_details(cli, control, service);
	control_close(control);
	return error;
}
