// SPDX-License-Identifier: GPL-2.0-only
/* What good configurations mean, how they are put together from files, and that they survive a
 * round trip. */
#include "config_fixture.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_address(const struct address *address, const char *expected)
{
	char text[ADDRESS_TEXT_SIZE];

	assert_string_equal(address_format(address, text), expected);
}

static void the_smallest_file_is_the_empty_policy(void **state)
{
	struct policy *policy = parse("version: 1\n"), *empty = policy_new();
	json_t *tree = config_to_json(policy), *empty_tree = config_to_json(empty);
	char *dump = json_dumps(tree, JSON_COMPACT);

	(void)state;
	assert_string_equal(dump, "{\"version\":1}");
	assert_true(json_equal(tree, empty_tree));
	assert_int_equal(policy->limits.services, 1024);
	assert_int_equal(policy->limits.vips, 8192);
	assert_int_equal(policy->limits.backends, 65536);
	assert_int_equal(policy->limits.transition_flows, 131072);
	assert_int_equal(empty->limits.services, policy->limits.services);
	assert_int_equal(empty->limits.vips, policy->limits.vips);
	assert_int_equal(empty->limits.backends, policy->limits.backends);
	assert_int_equal(empty->limits.transition_flows, policy->limits.transition_flows);
	assert_string_equal(policy->metrics_listen, "127.0.0.1:9977");
	assert_string_equal(empty->metrics_listen, policy->metrics_listen);
	assert_null(policy->secret_file);
	assert_round_trip(policy);
	free(dump);
	json_decref(tree);
	json_decref(empty_tree);
	policy_free(policy);
	policy_free(empty);
}

static void keys_left_out_have_the_contracts_defaults(void **state)
{
	struct policy *policy = parse(SERVICE COHORTS "interfaces: [ { name: eth0 } ]\n");
	const struct service *service = policy_service(policy, "api");
	const struct rule *rule = service_default_rule(service);
	char salt[NAME_SIZE];

	(void)state;
	assert_int_equal(policy->interfaces[0].mode, MODE_NATIVE);
	assert_true(service->enforce);
	assert_string_equal(service->release, "");
	assert_null(service->salt);
	assert_string_equal(service_salt(service, salt, sizeof(salt)), "api/");
	assert_int_equal(service->client_key, CLIENT_KEY_SOURCE);
	assert_int_equal(service->prefix4, 32);
	assert_int_equal(service->prefix6, 64);
	assert_int_equal(service->holdout_ppm, 0);
	assert_int_equal(service->balance, BALANCE_FLOW);
	assert_int_equal(service->encap_ttl, 64);
	assert_int_equal(service->encap_source4.family, 0);
	assert_int_equal(service->affinity.drain_ms, 3600 * 1000);
	assert_int_equal(service->affinity.udp_drain_ms, 30 * 1000);
	assert_int_equal(service->affinity.on_rollback, ON_ROLLBACK_CUT);
	assert_string_equal(service->cohorts[1].version, "");
	assert_int_equal(service->cohorts[0].slot_ppm, 0);
	assert_int_equal(service->cohorts[1].slot_start_ppm, 0);
	assert_int_equal(service->cohorts[1].slot_ppm, 1000000);
	assert_false(service->cohorts[1].has_slot);
	assert_int_equal(service->cohorts[1].backends[0].weight, 100);
	assert_false(service->cohorts[1].backends[0].has_mac);
	assert_false(service->cohorts[1].backends[0].has_server_id);
	assert_int_equal(service->rules_count, 1);
	assert_string_equal(rule->name, "default");
	assert_true(rule->is_default);
	assert_int_equal(rule->base_ppm[0], 1000000);
	assert_int_equal(rule->base_ppm[1], 0);
	assert_round_trip(policy);
	policy_free(policy);
}

static const char every_key[] =
	"version: 1\n"
	"secret_file: /etc/xdp-canary/secret\n"
	"interfaces: [ { name: eth0, mode: auto }, { name: eth1, mode: generic } ]\n"
	"metrics: { listen: '[::1]:9100' }\n"
	"limits: { services: 10, vips: 20, backends: 30, transition_flows: 4096 }\n"
	"segments: []\n"
	"services:\n"
	"- name: api\n"
	"  vips: [ '192.0.2.10:80/tcp', '[2001:db8::10]:*/udp', '[::ffff:192.0.2.11]:*/tcp' ]\n"
	"  enforce: false\n"
	"  release: 42\n"
	"  salt: shop/v1\n"
	"  client: { key: flow, prefix4: 24, prefix6: 48 }\n"
	"  hash: xdp-canary\n"
	"  holdout: 1.5%\n"
	"  balance: client\n"
	"  steer: ipip\n"
	"  encap: { source4: 192.0.2.1, source6: '2001:db8::1', ttl: 12 }\n"
	"  affinity: { drain: 2d12h, udp_drain: 1500ms, on_rollback: drain }\n"
	"  cohorts:\n"
	"  - { name: stable, version: '41', backends: [ { address: 10.0.1.11, weight: 0 },\n"
	"      { address: 10.0.1.12, mac: '02:00:00:00:02:0B', via: 10.0.0.1, interface: eth1 } ] "
	"}\n"
	"  - { name: one, slot: 20%, backends: [ { address: '2001:db8::11' } ] }\n"
	"  - { name: two, slot: 100ppm }\n"
	"  rules:\n"
	"  - { name: everyone, default: true, allocate: { one: 15%, stable: 85 } }\n";

static void every_key_reaches_the_policy(void **state)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 2, 0x0b};
	struct policy *policy = parse(every_key);
	const struct service *service = policy_service(policy, "api");

	(void)state;
	assert_string_equal(policy->secret_file, "/etc/xdp-canary/secret");
	assert_int_equal(policy->interfaces_count, 2);
	assert_string_equal(policy->interfaces[1].name, "eth1");
	assert_int_equal(policy->interfaces[1].mode, MODE_GENERIC);
	assert_string_equal(policy->metrics_listen, "[::1]:9100");
	assert_int_equal(policy->limits.services, 10);
	assert_int_equal(policy->limits.vips, 20);
	assert_int_equal(policy->limits.backends, 30);
	assert_int_equal(policy->limits.transition_flows, 4096);
	assert_non_null(service);
	assert_int_equal(service->vips_count, 3);
	assert_int_equal(service->vips[0].port, 80);
	assert_int_equal(service->vips[0].protocol, IPPROTO_TCP);
	assert_int_equal(service->vips[1].port, 0);
	assert_int_equal(service->vips[1].protocol, IPPROTO_UDP);
	assert_address(&service->vips[2].address, "192.0.2.11");
	assert_false(service->enforce);
	assert_string_equal(service->release, "42");
	assert_string_equal(service->salt, "shop/v1");
	assert_int_equal(service->client_key, CLIENT_KEY_FLOW);
	assert_int_equal(service->prefix4, 24);
	assert_int_equal(service->prefix6, 48);
	assert_int_equal(service->holdout_ppm, 15000);
	assert_int_equal(service->balance, BALANCE_CLIENT);
	assert_int_equal(service->steer, STEER_IPIP);
	assert_address(&service->encap_source4, "192.0.2.1");
	assert_address(&service->encap_source6, "2001:db8::1");
	assert_int_equal(service->encap_ttl, 12);
	assert_int_equal(service->affinity.drain_ms, 60 * 3600 * 1000);
	assert_int_equal(service->affinity.udp_drain_ms, 1500);
	assert_int_equal(service->affinity.on_rollback, ON_ROLLBACK_DRAIN);
	assert_string_equal(service->cohorts[0].version, "41");
	assert_int_equal(service->cohorts[0].backends[0].weight, 0);
	assert_true(service->cohorts[0].backends[1].has_mac);
	assert_memory_equal(service->cohorts[0].backends[1].mac, mac, sizeof(mac));
	assert_address(&service->cohorts[0].backends[1].via, "10.0.0.1");
	assert_string_equal(service->cohorts[0].backends[1].interface, "eth1");
	assert_int_equal(service->cohorts[1].slot_ppm, 200000);
	assert_int_equal(service->cohorts[2].slot_start_ppm, 200000);
	assert_int_equal(service->cohorts[2].slot_ppm, 100);
	assert_int_equal(service->cohorts[2].backends_count, 0);
	assert_string_equal(service->rules[0].name, "everyone");
	assert_int_equal(service->rules[0].base_ppm[0], 850000);
	assert_int_equal(service->rules[0].base_ppm[1], 150000);
	assert_int_equal(service->rules[0].base_ppm[2], 0);
	assert_round_trip(policy);
	policy_free(policy);
}

static void slots_are_shared_out_and_follow_one_another(void **state)
{
	struct policy *policy =
		parse(SERVICE "  cohorts:\n"
			      "  - { name: a, backends: [ { address: 10.0.0.1 } ] }\n"
			      "  - { name: b }\n"
			      "  - { name: c, slot: 33.3333% }\n"
			      "  - { name: d, slot: 33.3334% }\n");
	const struct cohort *cohorts = policy->services[0].cohorts;

	(void)state;
	assert_int_equal(cohorts[1].slot_start_ppm, 0);
	assert_int_equal(cohorts[1].slot_ppm, 333333);
	assert_int_equal(cohorts[2].slot_start_ppm, 333333);
	assert_false(cohorts[2].has_slot); /* written, but the default */
	assert_int_equal(cohorts[3].slot_start_ppm, 666666);
	assert_int_equal(cohorts[3].slot_ppm, 333334);
	assert_true(cohorts[3].has_slot);
	assert_round_trip(policy);
	policy_free(policy);
}

static void text_that_looks_like_something_else_survives(void **state)
{
	static const char *const texts[] = {
		"",    "null",	"~",	"true",	  "yes",    "5",      "0x10",	    "1.5",
		"1e3", "0o17",	".inf", "12:30",  "off",    "- a",    "a: b",	    "a #b",
		"#a",  "{a}",	"[a]",	"*a",	  "&a",	    "!a",     "|",	    "'a'",
		"\"a", "a\\nb", " a ",	"%a",	  "@a",	    "`a",     "2030-01-02", "---",
		"...", "=",	"<<",	"\u00e9", "\ufeff", "\u2028", "\U0001f600", "a'b\"c\\",
		"?",   "? a",	"a:",	":a",	  "a, b",   ">",      "\uffff",	    "nan",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct policy *policy = parse(SERVICE COHORTS), *copy;
		struct service *service = &policy->services[0];
		char *yaml;

		free(service->release);
		service->release = strdup(texts[i]);
		yaml = config_to_yaml(policy);
		copy = parse(yaml);
		assert_string_equal(copy->services[0].release, texts[i]);
		assert_round_trip(policy);
		free(yaml);
		policy_free(copy);
		policy_free(policy);
	}
}

static void aliases_repeat_values(void **state)
{
	struct policy *policy = parse(
		SERVICE "  cohorts:\n"
			"  - { name: stable, backends: [ { address: 10.0.0.1, mac: &m "
			"\"02:00:00:00:00:01\" } ] }\n"
			"  - { name: canary, backends: [ { address: 10.0.0.2, mac: *m } ] }\n");

	(void)state;
	assert_true(policy->services[0].cohorts[1].backends[0].has_mac);
	assert_int_equal(policy->services[0].cohorts[1].backends[0].mac[5], 1);
	policy_free(policy);
}

static void the_same_address_may_have_an_exact_and_any_port(void **state)
{
	struct policy *policy =
		parse("version: 1\n"
		      "services:\n"
		      "- name: a\n"
		      "  vips: [ 192.0.2.1:80/tcp, 192.0.2.1:*/tcp, 192.0.2.1:80/udp ]\n"
		      "  steer: l2\n" COHORTS);

	(void)state;
	assert_int_equal(policy->services[0].vips_count, 3);
	policy_free(policy);
}

static void a_control_without_weight_is_a_warning(void **state)
{
	const char *text = SERVICE "  cohorts:\n"
				   "  - name: stable\n"
				   "    backends: [ { address: 10.0.1.11, weight: 0 } ]\n"
				   "  - name: canary\n";
	struct errors *errors = errors_new();
	struct policy *policy = config_parse(text, strlen(text), "test.yaml", errors);
	json_t *warnings = errors_warnings_to_json(errors);

	(void)state;
	assert_non_null(policy);
	assert_int_equal(json_array_size(warnings), 1);
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(warnings, 0), "object")),
		"services/api/cohorts/stable");
	json_decref(warnings);
	errors_free(errors);
	policy_free(policy);
}

/* ---- files ---- */

static void write_file(const char *directory, const char *name, const char *text)
{
	char path[256];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	stream = fopen(path, "w");
	assert_non_null(stream);
	fputs(text, stream);
	fclose(stream);
}

static void remove_files(const char *directory, const char *const *names, size_t count)
{
	char path[256];

	for (size_t i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(directory);
}

#define SMALL_SERVICE(name, vip)                                                                   \
	"- { name: " name ", vips: [ " vip " ], steer: l2, cohorts: [ { name: a, backends: "       \
	"[ { address: 10.0.0.1 } ] }, { name: b } ] }\n"

static void lists_of_several_files_are_joined_in_order(void **state)
{
	static const char *const names[] = {"2.yaml", "10.yaml", "1.yml", ".3.yaml", "empty.yaml"};
	char directory[] = "/tmp/config_test.XXXXXX", file[64];
	struct errors *errors = errors_new();
	struct policy *policy;

	(void)state;
	assert_non_null(mkdtemp(directory));
	write_file(directory, "2.yaml", "services:\n" SMALL_SERVICE("two", "192.0.2.2:80/tcp"));
	write_file(directory, "10.yaml",
		   "version: 1\n"
		   "interfaces: [ { name: eth0 } ]\n"
		   "services:\n" SMALL_SERVICE("ten", "192.0.2.10:80/tcp")
			   SMALL_SERVICE("eleven", "192.0.2.11:80/tcp"));
	write_file(directory, "1.yml", "nonsense: [");
	write_file(directory, ".3.yaml", "nonsense: [");
	write_file(directory, "empty.yaml", "# nothing yet\n");
	snprintf(file, sizeof(file), "%s/1.more", directory);
	write_file(directory, "1.more", "interfaces: [ { name: eth1 } ]\n");

	policy = config_load((const char *[]){directory, file}, 2, errors);
	errors_print(errors, stderr);
	assert_non_null(policy);
	assert_int_equal(policy->services_count, 3);
	assert_string_equal(policy->services[0].name, "ten");
	assert_string_equal(policy->services[1].name, "eleven");
	assert_string_equal(policy->services[2].name, "two");
	assert_int_equal(policy->interfaces_count, 2);
	assert_string_equal(policy->interfaces[1].name, "eth1");
	policy_free(policy);
	errors_free(errors);
	unlink(file);
	remove_files(directory, names, sizeof(names) / sizeof(names[0]));
}

/* ---- random policies ---- */

static uint32_t random_below(uint32_t *seed, uint32_t bound)
{
	*seed = *seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)(*seed >> 8) * bound) >> 24);
}

static char *random_text(uint32_t *seed)
{
	static const char *const pieces[] = {"a", "0",	".",  ":",    "-",	"#", " ",
					     "'", "\"", "\\", "%",    "{",	"]", "\u00fc",
					     "/", "v1", "~",  "null", "\u2029", "=", ","};
	char text[128] = "";

	for (uint32_t i = random_below(seed, 8); i; i--)
		strcat(text, pieces[random_below(seed, sizeof(pieces) / sizeof(pieces[0]))]);
	return strdup(text);
}

static struct address random_address(uint32_t *seed, uint32_t number)
{
	struct address address = {.family = random_below(seed, 2) ? 4 : 6};

	address.bytes[0] = address.family == 4 ? 10 : 0x20;
	address.bytes[1] = random_below(seed, 256);
	for (size_t i = 0; i < 3; i++)
		address.bytes[(address.family == 4 ? 1 : 12) + i] = number >> (16 - 8 * i);
	if (address.family == 6)
		address.bytes[7] = random_below(seed, 2);
	return address;
}

static void random_backend(uint32_t *seed, struct backend *backend, uint32_t number)
{
	backend->address = random_address(seed, number);
	backend->weight = random_below(seed, 2) ? 100 : random_below(seed, 1001);
	backend->has_mac = random_below(seed, 3) == 0;
	for (size_t i = 0; i < sizeof(backend->mac) && backend->has_mac; i++)
		backend->mac[i] = i ? random_below(seed, 256) : 2;
	if (random_below(seed, 4) == 0) {
		backend->via = backend->address;
		backend->via.bytes[3] ^= 1;
	}
	if (random_below(seed, 4) == 0)
		strcpy(backend->interface, "eth-0.100@x");
}

static void random_cohorts(uint32_t *seed, struct service *service)
{
	uint32_t canaries, left = 1000000, start = 0, number = 1;

	service->cohorts_count = 2 + random_below(seed, COHORTS_MAX - 1);
	canaries = service->cohorts_count - 1;
	for (size_t i = 0; i < service->cohorts_count; i++) {
		struct cohort *cohort = &service->cohorts[i];

		snprintf(cohort->name, sizeof(cohort->name), "%zu%s", i, i % 2 ? "" : "-null");
		cohort->version = random_text(seed);
		cohort->backends_count = 1 + random_below(seed, 4);
		cohort->backends = calloc(cohort->backends_count, sizeof(*cohort->backends));
		for (size_t b = 0; b < cohort->backends_count; b++)
			random_backend(seed, &cohort->backends[b], number++);
		if (!i)
			continue;
		cohort->slot_ppm = random_below(seed, 2) ? 1000000 / canaries : left / 2;
		if (cohort->slot_ppm > left)
			cohort->slot_ppm = left;
		cohort->has_slot = cohort->slot_ppm != 1000000 / canaries;
		cohort->slot_start_ppm = start;
		start += cohort->slot_ppm;
		left -= cohort->slot_ppm;
	}
}

static void random_rules(uint32_t *seed, struct service *service)
{
	struct rule *rule = &service->rules[0];

	service->rules_count = 1;
	rule->is_default = true;
	strcpy(rule->name, random_below(seed, 2) ? "default" : "all");
	rule->base_ppm[0] = 1000000;
	for (size_t i = 1; i < service->cohorts_count; i++) {
		rule->base_ppm[i] = random_below(seed, service->cohorts[i].slot_ppm + 1);
		if (random_below(seed, 2))
			rule->base_ppm[i] = 0;
		rule->base_ppm[0] -= rule->base_ppm[i];
	}
}

/* After the cohorts, whose backends get server ids. */
static void random_client_ids(uint32_t *seed, struct service *service)
{
	struct client_id *id = &service->client_id;
	uint64_t server_id = random_below(seed, 200);

	if (service->client_key == CLIENT_KEY_PAYLOAD) {
		id->payload_offset = random_below(seed, 2) ? 0 : random_below(seed, 1401);
		id->payload_length = 1 + random_below(seed, 16);
	}
	if (service->client_key != CLIENT_KEY_QUIC)
		return;
	id->quic_server_id_length = 1 + random_below(seed, 8);
	id->quic_server_id_offset = random_below(seed, 2) ? 1 : random_below(seed, 13);
	id->quic_cid_length =
		20 - random_below(seed, 21 - id->quic_server_id_offset - id->quic_server_id_length);
	for (size_t i = 0; i < service->cohorts_count; i++) {
		for (size_t b = 0; b < service->cohorts[i].backends_count; b++) {
			struct backend *backend = &service->cohorts[i].backends[b];

			backend->has_server_id = true;
			backend->server_id_length = id->quic_server_id_length;
			backend->server_id = server_id++;
		}
	}
}

static void random_affinity(uint32_t *seed, struct affinity *affinity)
{
	static const uint64_t drains[] = {3600000, 1000, 1001, 90061001, 30 * 86400 * 1000ULL};

	affinity->drain_ms = drains[random_below(seed, 5)];
	affinity->udp_drain_ms =
		random_below(seed, 2) ? 30000 : 1000 + random_below(seed, 3600000 - 999);
	affinity->on_rollback = random_below(seed, 2);
}

/* Goes over to another tool's hash, with what goes with it. After the cohorts, before the rules. */
static void random_split(uint32_t *seed, struct service *service)
{
	struct hash_options *options = &service->hash_options;
	size_t first = 1 + random_below(seed, service->cohorts_count - 1);

	service->hash = 1 + random_below(seed, 3);
	service->client_key = CLIENT_KEY_SOURCE;
	free(service->salt);
	service->salt = NULL;
	service->prefix6 = random_below(seed, 2) ? 128 : service->prefix6;
	if (service->hash == HASH_NGINX) {
		service->prefix4 = 32;
		service->prefix6 = 128;
	} else if (random_below(seed, 2)) {
		options->modulus = 1 + random_below(seed, SPLIT_MODULUS_MAX);
	}
	if (service->hash == HASH_NFT_JHASH && random_below(seed, 2))
		options->seed = random_below(seed, UINT32_MAX) + 1;
	/* The file's order, from another cohort on. */
	options->order_count = random_below(seed, 2) ? service->cohorts_count : 0;
	for (size_t i = 0; i < options->order_count; i++)
		strcpy(options->order[i],
		       service->cohorts[(first + i) % service->cohorts_count].name);
	for (size_t i = 1; i < service->cohorts_count; i++) {
		service->cohorts[i].has_slot = false;
		service->cohorts[i].slot_start_ppm = 0;
		service->cohorts[i].slot_ppm = 1000000;
	}
}

/* Shares that the tool can be told. */
static void round_shares(struct service *service)
{
	uint32_t whole = service->hash == HASH_NGINX ? 10000 : service->hash_options.modulus;
	struct rule *rule = &service->rules[0];

	rule->base_ppm[0] = 1000000;
	for (size_t i = 1; i < service->cohorts_count; i++) {
		uint64_t units = (uint64_t)rule->base_ppm[i] * whole / 3000000;

		rule->base_ppm[i] = units * 1000000 / whole;
		rule->base_ppm[0] -= rule->base_ppm[i];
	}
}

static void random_health_check(uint32_t *seed, struct health_check *check)
{
	check->type = random_below(seed, 3);
	check->interval_ms = 10 + random_below(seed, 5000);
	check->timeout_ms = 10 + random_below(seed, 5000);
	check->rise = 1 + random_below(seed, 100);
	check->fall = 1 + random_below(seed, 100);
	check->port = 1 + random_below(seed, 65535);
	if (check->type == CHECK_NONE)
		*check = (struct health_check){
			.interval_ms = 2000, .timeout_ms = 1000, .rise = 2, .fall = 3};
	if (check->type != CHECK_HTTP)
		return;
	check->path = strdup(random_below(seed, 2) ? "/" : "/a?b=c#d:%20");
	check->host = random_below(seed, 2) ? strdup("a.example:80") : NULL;
	check->expect_body = random_below(seed, 2) ? strdup("- ok: #1 ") : NULL;
	check->expect_status = calloc(2, sizeof(*check->expect_status));
	check->expect_status_count = 1 + random_below(seed, 2);
	check->expect_status[0].first = 100 + random_below(seed, 100);
	check->expect_status[0].last = check->expect_status[0].first + random_below(seed, 100);
	check->expect_status[1].first = 400 + random_below(seed, 100);
	check->expect_status[1].last = check->expect_status[1].first + random_below(seed, 100);
}

static void random_service(uint32_t *seed, struct service *service, size_t index)
{
	snprintf(service->name, sizeof(service->name), "s%zu", index);
	service->vips_count = 1 + random_below(seed, 4);
	service->vips = calloc(service->vips_count, sizeof(*service->vips));
	for (size_t i = 0; i < service->vips_count; i++) {
		service->vips[i].address = random_address(seed, (uint32_t)(index * 4 + i + 1));
		service->vips[i].port = random_below(seed, 2) ? 0 : 1 + random_below(seed, 65535);
		service->vips[i].protocol = random_below(seed, 2) ? IPPROTO_TCP : IPPROTO_UDP;
	}
	service->enforce = random_below(seed, 2);
	service->release = random_text(seed);
	service->salt = random_below(seed, 2) ? random_text(seed) : NULL;
	if (service->salt && !*service->salt) {
		free(service->salt);
		service->salt = NULL;
	}
	service->client_key = random_below(seed, 4);
	if (service->client_key > CLIENT_KEY_FLOW)
		service->vips[0].protocol = IPPROTO_UDP;
	random_affinity(seed, &service->affinity);
	service->unanswered_after_ms =
		random_below(seed, 2) ? 5000 : 100 + random_below(seed, 9999);
	service->idle_timeout_ms = random_below(seed, 2) ? 60000 : 1000 + random_below(seed, 9999);
	service->server_first = random_below(seed, 2);
	random_health_check(seed, &service->health_check);
	service->prefix4 = random_below(seed, 2) ? 32 : 8 + random_below(seed, 25);
	service->prefix6 = random_below(seed, 2) ? 64 : 16 + random_below(seed, 113);
	service->holdout_ppm = random_below(seed, 2) ? 0 : random_below(seed, 500001);
	service->balance = random_below(seed, 2);
	service->steer = STEER_L2;
	service->encap_ttl = 64;
	if (random_below(seed, 2)) {
		service->steer = STEER_IPIP;
		service->encap_ttl = 1 + random_below(seed, 255);
		if (random_below(seed, 2))
			address_parse("192.0.2.1", &service->encap_source4);
		if (random_below(seed, 2))
			address_parse("2001:db8::1", &service->encap_source6);
	}
	random_cohorts(seed, service);
	service->hash_options.modulus = 100;
	if (random_below(seed, 2))
		random_split(seed, service);
	service->has_prefix6 = service->prefix6 != PREFIX6_DEFAULT(service->hash);
	random_client_ids(seed, service);
	random_rules(seed, service);
	if (service->hash != HASH_XDP_CANARY)
		round_shares(service);
}

static struct policy *random_policy(uint32_t *seed)
{
	struct policy *policy = policy_new();

	if (random_below(seed, 2))
		policy->secret_file = strdup("/a: b/#c");
	if (random_below(seed, 2)) {
		free(policy->metrics_listen);
		policy->metrics_listen = random_below(seed, 2) ? NULL : strdup("localhost:1");
	}
	policy->limits.services = random_below(seed, 2) ? 1024 : 8 + random_below(seed, 4000);
	policy->limits.transition_flows =
		random_below(seed, 2) ? 131072 : 64 + random_below(seed, 99);
	policy->interfaces_count = random_below(seed, 3);
	policy->interfaces = calloc(3, sizeof(*policy->interfaces));
	for (size_t i = 0; i < policy->interfaces_count; i++) {
		policy->interfaces[i].name[0] = (char)('0' + i);
		policy->interfaces[i].mode = random_below(seed, 3);
	}
	policy->services_count = random_below(seed, 5);
	policy->services = calloc(5, sizeof(*policy->services));
	for (size_t i = 0; i < policy->services_count; i++)
		random_service(seed, &policy->services[i], i);
	return policy;
}

static void rendering_and_parsing_give_the_same_policy(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (size_t i = 0; i < 2000; i++) {
		struct policy *policy = random_policy(&seed);

		assert_round_trip(policy);
		policy_free(policy);
	}
}

/* ---- size ---- */

static char *large_config(unsigned int services)
{
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	fprintf(stream, "version: 1\nservices:\n");
	for (unsigned int s = 0; s < services; s++) {
		fprintf(stream, "- name: service-%u\n  steer: ipip\n  vips:\n", s);
		for (unsigned int v = 0; v < 8; v++)
			fprintf(stream, "  - 192.0.%u.%u:%u/tcp\n", s / 256, s % 256, 80 + v);
		fprintf(stream, "  cohorts:\n");
		for (unsigned int c = 0; c < 2; c++) {
			fprintf(stream, "  - name: %s\n    backends:\n", c ? "canary" : "stable");
			for (unsigned int b = 0; b < 32; b++)
				fprintf(stream, "    - address: 10.%u.%u.%u\n      weight: %u\n",
					s / 256, s % 256, c * 32 + b, 1 + b);
		}
	}
	fclose(stream);
	return text;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Of reading, rendering and comparing a box of that size. */
static double seconds_for(unsigned int services)
{
	char *text = large_config(services);
	double start = seconds();
	struct policy *policy = parse(text);

	assert_int_equal(policy->services_count, services);
	assert_int_equal(policy->services[services - 1].cohorts[1].backends_count, 32);
	assert_round_trip(policy);
	policy_free(policy);
	free(text);
	return seconds() - start;
}

static void a_box_of_default_size_takes_time_in_proportion(void **state)
{
	double quarter = seconds_for(256), whole = seconds_for(1024);

	(void)state;
	print_message("256 services %.2f s, 1024 services %.2f s\n", quarter, whole);
	/* Four times is proportional, sixteen quadratic; below a second nobody minds. */
	assert_true(whole < 1 || whole < 10 * quarter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_smallest_file_is_the_empty_policy),
		cmocka_unit_test(keys_left_out_have_the_contracts_defaults),
		cmocka_unit_test(every_key_reaches_the_policy),
		cmocka_unit_test(slots_are_shared_out_and_follow_one_another),
		cmocka_unit_test(text_that_looks_like_something_else_survives),
		cmocka_unit_test(aliases_repeat_values),
		cmocka_unit_test(the_same_address_may_have_an_exact_and_any_port),
		cmocka_unit_test(a_control_without_weight_is_a_warning),
		cmocka_unit_test(lists_of_several_files_are_joined_in_order),
		cmocka_unit_test(rendering_and_parsing_give_the_same_policy),
		cmocka_unit_test(a_box_of_default_size_takes_time_in_proportion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
