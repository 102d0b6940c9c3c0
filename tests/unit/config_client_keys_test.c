// SPDX-License-Identifier: GPL-2.0-only
/*
 * The keys that say how a client is told from others and how long it is kept where it is: client
 * ids and the server ids of QUIC, affinity, the transition table. What of them is refused, as in
 * config_errors_test, and what the rest means.
 */
#include "config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- affinity and the transition table: what is refused ---- */

static const struct bad affinity_outside_its_bounds_is_refused[] = {
	{GOOD "  affinity: { drain: 999ms, udp_drain: 999ms }\n",
	 {{9, 22, "services/api/affinity/drain", "give a duration from 1s to 30d"},
	  {9, 40, "services/api/affinity/udp_drain", "give a duration from 1s to 1h"}}},
	{GOOD "  affinity: { drain: 30d1ms, udp_drain: 1h1ms }\n",
	 {{9, 22, "services/api/affinity/drain", "\"30d1ms\" is out of range"},
	  {9, 41, "services/api/affinity/udp_drain", "\"1h1ms\" is out of range"}}},
	{GOOD "  affinity: { drain: 99999999999999999999w, udp_drain: 0 }\n",
	 {{9, 22, "services/api/affinity/drain", "give a duration from 1s to 30d"},
	  {9, 56, "services/api/affinity/udp_drain", "give a duration from 1s to 1h"}}},
	{GOOD "  affinity: { drain: 3600, udp_drain: 030s }\n",
	 {{9, 22, "services/api/affinity/drain", "\"3600\" is not a duration"},
	  {9, 39, "services/api/affinity/udp_drain", "\"030s\" is not a duration"}}},
	{GOOD "  affinity: { drain: -1h, udp_drain: '' }\n",
	 {{9, 22, "services/api/affinity/drain", "is not a duration"},
	  {9, 38, "services/api/affinity/udp_drain", "is not a duration"}}},
	{GOOD "  affinity: { drain: , udp_drain: [ 1s ], on_rollback: ~ }\n",
	 {{9, 22, "services/api/affinity/drain", "has no value"},
	  {9, 35, "services/api/affinity/udp_drain", "must not be a list"},
	  {9, 56, "services/api/affinity/on_rollback", "has no value"}}},
	{GOOD "  affinity: { on_rollback: drains }\n",
	 {{9, 28, "services/api/affinity/on_rollback", "did you mean drain?"}}},
	{GOOD "  affinity: { on_rollback: kill }\n",
	 {{9, 28, "services/api/affinity/on_rollback", "give cut or drain"}}},
	{GOOD "  affinity: 1h\n", {{9, 13, "services/api/affinity", "must not be a single"}}},
	{GOOD "  affinity: { drian: 1h }\n",
	 {{9, 15, "services/api/affinity/drian", "did you mean drain?"}}},
};

static const struct bad whoever_wants_no_drain_is_told_of_the_cut[] = {
	{GOOD "  affinity: { drain: 0 }\n",
	 {{9, 22, "services/api/affinity/drain", "`rollout set --cut`"}}},
	{GOOD "  affinity: { drain: 0s }\n",
	 {{9, 22, "services/api/affinity/drain", "`rollout set --cut`"}}},
	{GOOD "  affinity: { drain: 0h0ms }\n",
	 {{9, 22, "services/api/affinity/drain", "`rollout set --cut`"}}},
};

static const struct bad a_transition_table_outside_its_bounds_is_refused[] = {
	{"version: 1\nlimits: { transition_flows: 63 }\n",
	 {{2, 29, "limits/transition_flows", "from 64 to 16777216"}}},
	{"version: 1\nlimits: { transition_flows: 16777217 }\n",
	 {{2, 29, "limits/transition_flows", "from 64 to 16777216"}}},
	{"version: 1\nlimits: { transition_flows: 0 }\n",
	 {{2, 29, "limits/transition_flows", "from 64 to 16777216"}}},
	{"version: 1\nlimits: { transition_flows: 128Ki }\n",
	 {{2, 29, "limits/transition_flows", "not a whole"}}},
};

/* ---- client ids: what is refused ---- */

/* Lines 1 to 5; then the client keys on line 6, and the backends from column 31 of lines 8, 9. */
#define UDP_SERVICE  SERVICE_AT("192.0.2.10:443/udp")
#define CLIENT(keys) "  client: { " keys " }\n"
#define SERVER_IDS(stable, canary)                                                                 \
	BACKENDS("{ address: 10.0.1.11, server_id: " stable " }",                                  \
		 "{ address: 10.0.2.11, server_id: " canary " }")
#define QUIC(keys)    UDP_SERVICE CLIENT("key: quic, " keys) SERVER_IDS("0001", "0002")
#define PAYLOAD(keys) UDP_SERVICE CLIENT("key: payload, " keys) COHORTS

static const struct bad client_ids_outside_their_bounds_are_refused[] = {
	{QUIC("quic_cid_length: 0"), {{6, 41, "services/api/client/quic_cid_length", "1 to 20"}}},
	{QUIC("quic_cid_length: 21"), {{6, 41, "services/api/client/quic_cid_length", "1 to 20"}}},
	{QUIC("quic_cid_length: 8, quic_server_id_offset: 20"),
	 {{6, 67, "services/api/client/quic_server_id_offset", "from 0 to 19"}}},
	{QUIC("quic_cid_length: 8, quic_server_id_length: 0"),
	 {{6, 67, "services/api/client/quic_server_id_length", "from 1 to 8"}}},
	{QUIC("quic_cid_length: 8, quic_server_id_length: 9"),
	 {{6, 67, "services/api/client/quic_server_id_length", "from 1 to 8"}}},
	{QUIC("quic_cid_length: 08"), {{6, 41, "services/api/client/quic_cid_length", "whole"}}},
	{QUIC("quic_cid_length: '8'"), {{6, 41, "services/api/client/quic_cid_length", "quotes"}}},
	{PAYLOAD("payload_offset: 1401, payload_length: 0"),
	 {{6, 43, "services/api/client/payload_offset", "from 0 to 1400"},
	  {6, 65, "services/api/client/payload_length", "from 1 to 16"}}},
	{PAYLOAD("payload_offset: -1, payload_length: 17"),
	 {{6, 43, "services/api/client/payload_offset", "not a whole"},
	  {6, 63, "services/api/client/payload_length", "from 1 to 16"}}},
};

static const struct bad a_client_key_without_what_it_needs_is_refused[] = {
	{QUIC("prefix4: 24"),
	 {{6, 11, "services/api/client/quic_cid_length", "is missing, `key: quic` needs it"}}},
	{PAYLOAD("prefix4: 24"),
	 {{6, 11, "services/api/client/payload_offset", "is missing, `key: payload` needs it"},
	  {6, 11, "services/api/client/payload_length", "is missing, `key: payload` needs it"}}},
	{PAYLOAD("payload_offset: 0"),
	 {{6, 11, "services/api/client/payload_length", "give a whole number from 1 to 16"}}},
	{PAYLOAD("payload_length: 4"),
	 {{6, 11, "services/api/client/payload_offset", "give a whole number from 0 to 1400"}}},
};

/* A value that is the default, or 0, is a value too. */
static const struct bad a_key_of_another_client_key_says_which_it_goes_with[] = {
	{GOOD "  client:\n    quic_cid_length: 8\n    quic_server_id_offset: 1\n"
	      "    quic_server_id_length: 2\n    payload_offset: 0\n    payload_length: 4\n",
	 {{10, 22, "services/api/client/quic_cid_length", "goes with `key: quic` only"},
	  {11, 28, "services/api/client/quic_server_id_offset", "goes with `key: quic` only"},
	  {12, 28, "services/api/client/quic_server_id_length", "goes with `key: quic` only"},
	  {13, 21, "services/api/client/payload_offset", "goes with `key: payload` only"},
	  {14, 21, "services/api/client/payload_length", "goes with `key: payload` only"}}},
	{GOOD "  client: { quic_cid_length: 8, key: flow }\n",
	 {{9, 30, "services/api/client/quic_cid_length", "or write `key: quic`"}}},
	{PAYLOAD("payload_offset: 0, payload_length: 4, quic_server_id_length: 2"),
	 {{6, 88, "services/api/client/quic_server_id_length", "goes with `key: quic` only"}}},
	{QUIC("quic_cid_length: 8, payload_offset: 0"),
	 {{6, 60, "services/api/client/payload_offset", "goes with `key: payload` only"}}},
	/* What is wrong already is not wrong twice. */
	{GOOD "  client: { quic_cid_length: 21 }\n",
	 {{9, 30, "services/api/client/quic_cid_length", "from 1 to 20"}}},
	{UDP_SERVICE "  client: { key: quick, quic_cid_length: 8 }\n" SERVER_IDS("00", "00"),
	 {{6, 18, "services/api/client/key", "did you mean quic?"}}},
};

static const struct bad a_server_id_must_lie_within_the_connection_id[] = {
	{QUIC("quic_cid_length: 2"),
	 {{6, 41, "services/api/client/quic_cid_length",
	   "2 bytes cannot hold a server id of 2 bytes at offset 1"}}},
	{QUIC("quic_server_id_offset: 7, quic_cid_length: 8"),
	 {{6, 67, "services/api/client/quic_cid_length",
	   "8 bytes cannot hold a server id of 2 bytes at offset 7"}}},
	{UDP_SERVICE
	 "  client: { key: quic, quic_cid_length: 8, quic_server_id_length: 8 }\n" SERVER_IDS(
		 "0000000000000001", "0000000000000002"),
	 {{6, 41, "services/api/client/quic_cid_length", "of 8 bytes at offset 1"}}},
	/* A place that is not known is compared with nothing. */
	{QUIC("quic_cid_length: 1, quic_server_id_offset: x"),
	 {{6, 67, "services/api/client/quic_server_id_offset", "not a whole"}}},
	{QUIC("quic_cid_length: 8, quic_server_id_offset: 9, quic_server_id_length: x"),
	 {{6, 93, "services/api/client/quic_server_id_length", "not a whole"}}},
};

static const struct bad keys_in_datagrams_need_a_udp_vip[] = {
	{SERVICE "  client: { key: quic, quic_cid_length: 8 }\n" SERVER_IDS("0001", "0002"),
	 {{6, 18, "services/api/client/key", "no udp VIP"}}},
	{SERVICE "  client: { key: payload, payload_offset: 0, payload_length: 4 }\n" COHORTS,
	 {{6, 18, "services/api/client/key", "no udp VIP"}}},
	/* One that cannot be read may be it. */
	{SERVICE_AT("192.0.2.10:443/upd")
		 CLIENT("key: payload, payload_offset: 0, payload_length: 4") COHORTS,
	 {{4, 11, "services/api/vips[0]", "is not a VIP"}}},
	{"version: 1\nservices:\n- name: api\n  steer: l2\n"
	 "  client: { key: payload, payload_offset: 0, payload_length: 4 }\n" COHORTS,
	 {{3, 3, "services/api/vips", "is missing"}}},
};

/* ---- server ids: what is refused ---- */

#define STABLE_ID	    "services/api/cohorts/stable/backends/10.0.1.11/server_id"
#define CANARY_ID	    "services/api/cohorts/canary/backends/10.0.2.11/server_id"
#define QUIC_WITH(backends) UDP_SERVICE "  client: { key: quic, quic_cid_length: 8 }\n" backends

static const struct bad a_server_id_that_cannot_be_is_refused[] = {
	{QUIC_WITH(SERVER_IDS("0x01", "001")),
	 {{8, 66, STABLE_ID, "\"0x01\" is not whole bytes in hex"},
	  {9, 66, CANARY_ID, "give 1 to 8 bytes as pairs of hex digits"}}},
	{QUIC_WITH(SERVER_IDS("''", "00 02")),
	 {{8, 66, STABLE_ID, "not whole bytes"}, {9, 66, CANARY_ID, "not whole bytes"}}},
	{QUIC_WITH(SERVER_IDS("[ 00 ]", "")),
	 {{8, 66, STABLE_ID, "must not be a list"}, {9, 67, CANARY_ID, "has no value"}}},
	{QUIC_WITH(SERVER_IDS("000000000000000001", "000g")),
	 {{8, 66, STABLE_ID, "has 9 bytes"}, {9, 66, CANARY_ID, "not whole bytes"}}},
	{QUIC_WITH(SERVER_IDS("01", "000002")),
	 {{8, 66, STABLE_ID, "is of length 1, but client/quic_server_id_length is 2"},
	  {9, 66, CANARY_ID, "is of length 3, but client/quic_server_id_length is 2"}}},
	{UDP_SERVICE
	 "  client: { key: quic, quic_cid_length: 9, quic_server_id_length: 8 }\n" SERVER_IDS(
		 "0000000000000001", "00000000000002"),
	 {{9, 66, CANARY_ID, "is of length 7, but client/quic_server_id_length is 8"}}},
	/* A length that is not known is compared with nothing. */
	{UDP_SERVICE
	 "  client: { key: quic, quic_cid_length: 9, quic_server_id_length: 9 }\n" SERVER_IDS(
		 "01", "000002"),
	 {{6, 67, "services/api/client/quic_server_id_length", "from 1 to 8"}}},
};

static const struct bad with_quic_every_backend_needs_a_server_id[] = {
	{QUIC_WITH(COHORTS),
	 {{8, 33, STABLE_ID, "is missing, `key: quic` needs it"},
	  {9, 33, CANARY_ID, "is missing, `key: quic` needs it"}}},
	{QUIC_WITH(BACKENDS("{ address: 10.0.1.11, server_id: 0000 }",
			    "{ address: 10.0.2.11, weight: 0 }")),
	 {{9, 33, CANARY_ID, "is missing"}}},
};

static const struct bad a_server_id_stands_once_in_a_service[] = {
	{QUIC_WITH(SERVER_IDS("0a0B", "0A0b")),
	 {{9, 66, CANARY_ID, "the server id stands at test.yaml:8:66 already"}}},
	{QUIC_WITH(BACKENDS("{ address: 10.0.1.11, server_id: 0001 }",
			    "{ address: 10.0.2.12, server_id: 0002 }, "
			    "{ address: 10.0.2.11, server_id: 0002 }")),
	 {{9, 107, CANARY_ID, "stands at test.yaml:9:66 already"}}},
	{QUIC_WITH(BACKENDS("{ address: 10.0.1.11, server_id: 0000 }",
			    "{ address: 10.0.2.12, server_id: 0000 }, "
			    "{ address: 10.0.2.11, server_id: 0000 }")),
	 {{9, 66, "services/api/cohorts/canary/backends/10.0.2.12/server_id", "test.yaml:8:66"},
	  {9, 107, CANARY_ID, "stands at test.yaml:9:66 already"}}},
	/* Others between them. */
	{QUIC_WITH(BACKENDS("{ address: 10.0.1.11, server_id: 0002 }, "
			    "{ address: 10.0.1.12, server_id: 0001 }",
			    "{ address: 10.0.2.11, server_id: 0002 }")),
	 {{9, 66, CANARY_ID, "stands at test.yaml:8:66 already"}}},
};

static const struct bad without_quic_a_server_id_has_no_meaning[] = {
	{UDP_SERVICE "  client: { prefix4: 24 }\n" SERVER_IDS("0001", "0002"),
	 {{8, 66, STABLE_ID, "goes with `key: quic` only"},
	  {9, 66, CANARY_ID, "or write `client: { key: quic }`"}}},
	{UDP_SERVICE "  client: { key: flow }\n" BACKENDS("{ address: 10.0.1.11, server_id: 00 }",
							  "{ address: 10.0.2.11 }"),
	 {{8, 66, STABLE_ID, "goes with `key: quic` only"}}},
	{UDP_SERVICE "  client: { key: payload, payload_offset: 0, payload_length: 1 }\n" BACKENDS(
		 "{ address: 10.0.1.11 }", "{ address: 10.0.2.11, server_id: '00' }"),
	 {{9, 66, CANARY_ID, "goes with `key: quic` only"}}},
	{SERVICE SERVER_IDS("00", "00"),
	 {{7, 66, STABLE_ID, "goes with `key: quic` only"},
	  {8, 66, CANARY_ID, "goes with `key: quic` only"}}},
	/* Nothing is said where the client key is not known. */
	{UDP_SERVICE "  client: quic\n" SERVER_IDS("0001", "0002"),
	 {{6, 11, "services/api/client", "must not be a single value"}}},
	{UDP_SERVICE "  client: { key: }\n" SERVER_IDS("0001", "0002"),
	 {{6, 18, "services/api/client/key", "has no value"}}},
};

/* ---- what is right ---- */

/* A service of TCP and of UDP at any port. */
#define MIXED_SERVICE SERVICE_AT("192.0.2.10:443/tcp, 192.0.2.10:*/udp")
#define MIXED_QUIC(keys, first, second)                                                            \
	MIXED_SERVICE CLIENT("key: quic, " keys) SERVER_IDS(first, second)
#define MIXED_PAYLOAD(keys) MIXED_SERVICE CLIENT("key: payload, " keys) COHORTS

/* How the table below gets at values of several types. */
#define GETTER(name, value)                                                                        \
	static uint64_t name(const struct policy *policy)                                          \
	{                                                                                          \
		return policy->value;                                                              \
	}

GETTER(transition_flows_of, limits.transition_flows)
GETTER(drain_of, services[0].affinity.drain_ms)
GETTER(udp_drain_of, services[0].affinity.udp_drain_ms)
GETTER(cid_length_of, services[0].client_id.quic_cid_length)
GETTER(server_id_offset_of, services[0].client_id.quic_server_id_offset)
GETTER(server_id_length_of, services[0].client_id.quic_server_id_length)
GETTER(payload_offset_of, services[0].client_id.payload_offset)
GETTER(payload_length_of, services[0].client_id.payload_length)

/* What lies just outside is refused above. */
static void the_ends_of_every_range_belong_to_it(void **state)
{
	static const struct {
		const char *text;
		uint64_t (*value)(const struct policy *policy);
		uint64_t expected;
	} ends[] = {
		{"version: 1\nlimits: { transition_flows: 64 }\n", transition_flows_of, 64},
		{"version: 1\nlimits: { transition_flows: 16777216 }\n", transition_flows_of,
		 16777216},
		{GOOD "  affinity: { drain: 1s }\n", drain_of, 1000},
		{GOOD "  affinity: { drain: 30d }\n", drain_of, 30 * 86400 * 1000ULL},
		{GOOD "  affinity: { udp_drain: 1000ms }\n", udp_drain_of, 1000},
		{GOOD "  affinity: { udp_drain: 1h }\n", udp_drain_of, 3600 * 1000},
		{MIXED_QUIC("quic_cid_length: 1, quic_server_id_offset: 0, "
			    "quic_server_id_length: 1",
			    "00", "ff"),
		 cid_length_of, 1},
		{MIXED_QUIC("quic_cid_length: 3", "0000", "ffff"), cid_length_of, 3},
		{MIXED_QUIC("quic_cid_length: 20", "0000", "ffff"), cid_length_of, 20},
		{MIXED_QUIC("quic_cid_length: 2, quic_server_id_offset: 0", "0000", "ffff"),
		 server_id_offset_of, 0},
		{MIXED_QUIC("quic_cid_length: 20, quic_server_id_offset: 19, "
			    "quic_server_id_length: 1",
			    "00", "ff"),
		 server_id_offset_of, 19},
		{MIXED_QUIC("quic_cid_length: 2, quic_server_id_length: 1", "00", "ff"),
		 server_id_length_of, 1},
		{MIXED_QUIC("quic_cid_length: 9, quic_server_id_length: 8", "0000000000000000",
			    "ffffffffffffffff"),
		 server_id_length_of, 8},
		{MIXED_PAYLOAD("payload_offset: 0, payload_length: 4"), payload_offset_of, 0},
		{MIXED_PAYLOAD("payload_offset: 1400, payload_length: 4"), payload_offset_of, 1400},
		{MIXED_PAYLOAD("payload_offset: 8, payload_length: 1"), payload_length_of, 1},
		{MIXED_PAYLOAD("payload_offset: 8, payload_length: 16"), payload_length_of, 16},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(ends); i++) {
		struct policy *policy = parse(ends[i].text);

		assert_int_equal(ends[i].value(policy), ends[i].expected);
		assert_round_trip(policy);
		policy_free(policy);
	}
}

static void where_quic_server_ids_stand_has_a_default(void **state)
{
	struct policy *policy = parse(MIXED_QUIC("quic_cid_length: 8", "0001", "0A2f"));
	const struct service *service = &policy->services[0];
	const struct backend *backend = &service->cohorts[1].backends[0];

	(void)state;
	assert_int_equal(service->client_key, CLIENT_KEY_QUIC);
	assert_int_equal(service->client_id.quic_cid_length, 8);
	assert_int_equal(service->client_id.quic_server_id_offset, 1);
	assert_int_equal(service->client_id.quic_server_id_length, 2);
	assert_true(backend->has_server_id);
	assert_int_equal(backend->server_id_length, 2);
	assert_int_equal(backend->server_id, 0x0a2f);
	assert_round_trip(policy);
	policy_free(policy);
}

static void only_the_keys_of_the_client_key_are_rendered(void **state)
{
	static const struct {
		const char *text, *client; /* JSON in single quotes */
	} keys[] = {
		{GOOD, NULL},
		{MIXED_QUIC("quic_cid_length: 8", "0001", "0002"),
		 "{'key':'quic','quic_cid_length':8}"},
		{MIXED_QUIC(
			 "quic_cid_length: 8, quic_server_id_offset: 1, quic_server_id_length: 2",
			 "0001", "0002"),
		 "{'key':'quic','quic_cid_length':8}"},
		{MIXED_QUIC(
			 "quic_cid_length: 8, quic_server_id_offset: 0, quic_server_id_length: 1",
			 "01", "02"),
		 "{'key':'quic','quic_cid_length':8,'quic_server_id_offset':0,"
		 "'quic_server_id_length':1}"},
		{MIXED_PAYLOAD("payload_offset: 0, payload_length: 1"),
		 "{'key':'payload','payload_offset':0,'payload_length':1}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(keys); i++) {
		struct policy *policy = parse(keys[i].text);
		json_t *tree = config_to_json(policy);
		json_t *service = json_array_get(json_object_get(tree, "services"), 0);
		json_t *client = json_object_get(service, "client");
		char *dump = client ? json_dumps(client, JSON_COMPACT) : NULL;

		for (char *c = dump; c && *c; c++)
			if (*c == '"')
				*c = '\'';
		if (keys[i].client)
			assert_string_equal(dump, keys[i].client);
		else
			assert_null(client);
		assert_null(json_object_get(service, "affinity"));
		free(dump);
		json_decref(tree);
		policy_free(policy);
	}
}

/* Many look like numbers of some YAML; leading zeros count. */
static void server_ids_survive_as_bytes(void **state)
{
	static const struct {
		const char *text, *rendered;
		uint64_t value;
	} ids[] = {
		{"00", "00", 0},
		{"07", "07", 7},
		{"10", "10", 0x10},
		{"1e10", "1e10", 0x1e10},
		{"0b10", "0b10", 0x0b10},
		{"'0102'", "0102", 0x0102},
		{"000001", "000001", 1},
		{"DEADBEEF", "deadbeef", 0xdeadbeef},
		{"8000000000000000", "8000000000000000", 1ULL << 63},
		{"fFfFfFfFfFfFfFfF", "ffffffffffffffff", ~0ULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(ids); i++) {
		unsigned int length = strlen(ids[i].rendered) / 2;
		const struct backend *backend;
		struct policy *policy;
		char *text, *yaml, *line;

		assert_true(asprintf(&text,
				     MIXED_SERVICE CLIENT("key: quic, quic_cid_length: 20, "
							  "quic_server_id_length: %u")
					     SERVER_IDS("%s", "%.*s"),
				     length, ids[i].text, 2 * length, "5555555555555555") > 0);
		policy = parse(text);
		backend = &policy->services[0].cohorts[0].backends[0];
		assert_true(backend->has_server_id);
		assert_int_equal(backend->server_id_length, length);
		assert_true(backend->server_id == ids[i].value);
		yaml = config_to_yaml(policy);
		line = strstr(yaml, "server_id: ") + strlen("server_id: ");
		line += *line == '"'; /* quotes where a number could be seen in it */
		assert_memory_equal(line, ids[i].rendered, 2 * length);
		assert_round_trip(policy);
		free(yaml);
		policy_free(policy);
		free(text);
	}
}

static void another_service_may_have_the_same_server_id(void **state)
{
	struct policy *policy = parse(MIXED_QUIC("quic_cid_length: 8", "0001", "0002")
					      NAMED_SERVICE("web", "192.0.2.11:443/udp")
						      CLIENT("key: quic, quic_cid_length: 8")
							      SERVER_IDS("0001", "0002"));

	(void)state;
	assert_int_equal(policy->services_count, 2);
	policy_free(policy);
}

static void a_drain_that_is_its_default_in_other_words_is_left_out(void **state)
{
	struct policy *policy =
		parse(GOOD "  affinity: { drain: 60m, udp_drain: 30000ms, on_rollback: cut }\n");
	struct policy *same = parse(GOOD);
	json_t *tree = config_to_json(policy), *same_tree = config_to_json(same);

	(void)state;
	assert_true(json_equal(tree, same_tree));
	json_decref(tree);
	json_decref(same_tree);
	policy_free(policy);
	policy_free(same);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		REFUSED(affinity_outside_its_bounds_is_refused),
		REFUSED(whoever_wants_no_drain_is_told_of_the_cut),
		REFUSED(a_transition_table_outside_its_bounds_is_refused),
		REFUSED(client_ids_outside_their_bounds_are_refused),
		REFUSED(a_client_key_without_what_it_needs_is_refused),
		REFUSED(a_key_of_another_client_key_says_which_it_goes_with),
		REFUSED(a_server_id_must_lie_within_the_connection_id),
		REFUSED(keys_in_datagrams_need_a_udp_vip),
		REFUSED(a_server_id_that_cannot_be_is_refused),
		REFUSED(with_quic_every_backend_needs_a_server_id),
		REFUSED(a_server_id_stands_once_in_a_service),
		REFUSED(without_quic_a_server_id_has_no_meaning),
		cmocka_unit_test(the_ends_of_every_range_belong_to_it),
		cmocka_unit_test(where_quic_server_ids_stand_has_a_default),
		cmocka_unit_test(only_the_keys_of_the_client_key_are_rendered),
		cmocka_unit_test(server_ids_survive_as_bytes),
		cmocka_unit_test(another_service_may_have_the_same_server_id),
		cmocka_unit_test(a_drain_that_is_its_default_in_other_words_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
