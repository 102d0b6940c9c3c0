// SPDX-License-Identifier: GPL-2.0-only
/*
 * The key tables themselves, one a map, in the order in which rendering writes the keys. They
 * follow the contract's tables line by line: change both or none. Those of health checks and
 * rollouts: schema_rollout.c.
 */
#include "config/schema_tables.h"

#include "policy/policy.h"
#include "util/text.h"

#include <string.h>

/* The tables have a line or two for a key, as in the contract. */
/* clang-format off */

static const struct choice interface_modes[] = {
	{"native", MODE_NATIVE, PART_MAIN},
	{"generic", MODE_GENERIC, PART_MAIN},
	{"auto", MODE_AUTO, PART_MAIN},
	{NULL, 0, PART_MAIN},
};

static const struct choice client_keys[] = {
	{"source", CLIENT_KEY_SOURCE, PART_MAIN},
	{"flow", CLIENT_KEY_FLOW, PART_MAIN},
	{"quic", CLIENT_KEY_QUIC, PART_MAIN},
	{"payload", CLIENT_KEY_PAYLOAD, PART_MAIN},
	{NULL, 0, PART_MAIN},
};

static const struct choice hashes[] = {
	{"xdp-canary", HASH_XDP_CANARY, PART_MAIN},
	{"nginx", HASH_NGINX, PART_MAIN},
	{"haproxy-crc32", HASH_HAPROXY_CRC32, PART_MAIN},
	{"nft-jhash", HASH_NFT_JHASH, PART_MAIN},
	{NULL, 0, PART_MAIN},
};

static const struct choice balances[] = {
	{"flow", BALANCE_FLOW, PART_MAIN},
	{"client", BALANCE_CLIENT, PART_MAIN},
	{NULL, 0, PART_MAIN},
};

static const struct choice rollback_manners[] = {
	{"cut", ON_ROLLBACK_CUT, PART_MAIN},
	{"drain", ON_ROLLBACK_DRAIN, PART_MAIN},
	{NULL, 0, PART_MAIN},
};

static const struct choice steer_methods[] = {
	{"l2", STEER_L2, PART_MAIN},
	{"ipip", STEER_IPIP, PART_MAIN},
	{"gue", 0, PART_LATER},
	{"nat", 0, PART_LATER},
	{"local", 0, PART_LATER},
	{NULL, 0, PART_MAIN},
};

static const struct key backend_keys[] = {
	{.name = "address", .type = VALUE_ADDRESS, .required = true, FIELD(struct backend, address)},
	UNDELIVERED("port", PART_LATER),
	{.name = "weight", .type = VALUE_INTEGER, .maximum = 1000, .fallback = "100",
	 FIELD(struct backend, weight)},
	{.name = "server_id", .type = VALUE_SERVER_ID, .maximum = SERVER_ID_MAX,
	 GIVEN(struct backend, has_server_id)},
	{.name = "mac", .type = VALUE_MAC, FIELD(struct backend, mac),
	 GIVEN(struct backend, has_mac)},
	{.name = "via", .type = VALUE_ADDRESS, FIELD(struct backend, via)},
	{.name = "interface", .type = VALUE_INTERFACE, FIELD(struct backend, interface)},
};
KEYS_FIT(backend_keys);
static const struct schema backend_schema = {SCHEMA(backend_keys), .identity = "address"};

static const struct key cohort_keys[] = {
	{.name = "name", .type = VALUE_NAME, .required = true, FIELD(struct cohort, name)},
	{.name = "version", .type = VALUE_TEXT, .maximum = TEXT_MAX, .fallback = "",
	 FIELD(struct cohort, version)},
	{.name = "slot", .type = VALUE_PERCENT, .maximum = WHOLE, FIELD(struct cohort, slot_ppm),
	 GIVEN(struct cohort, has_slot)},
	{.name = "backends", .type = VALUE_LIST, .maximum = SERVICE_BACKENDS_MAX, .counted = true,
	 LIST(struct cohort, backends, struct backend), .schema = &backend_schema},
};
KEYS_FIT(cohort_keys);
static const struct schema cohort_schema = {SCHEMA(cohort_keys), .identity = "name"};

static const struct key rule_keys[] = {
	{.name = "name", .type = VALUE_NAME, .like = &rule_keys[1], .fallback = "default",
	 FIELD(struct rule, name)},
	{.name = "segment", .type = VALUE_NAME, FIELD(struct rule, segment)},
	{.name = "default", .type = VALUE_BOOLEAN, .fallback = "false",
	 FIELD(struct rule, is_default)},
	{.name = "allocate", .type = VALUE_SHARES, FIELD(struct rule, base_ppm)},
};
KEYS_FIT(rule_keys);
static const struct schema rule_schema = {SCHEMA(rule_keys), .identity = "name"};

/* For one client key alone, which is the first of the table. */
#define WITH_KEY(client_key) .with = &client_table[0], .with_value = CLIENT_KEY_##client_key

static const struct key client_table[] = {
	{.name = "key", .type = VALUE_CHOICE, .choices = client_keys, .fallback = "source",
	 FIELD(struct service, client_key)},
	{.name = "prefix4", .type = VALUE_INTEGER, .minimum = 8, .maximum = 32, .fallback = "32",
	 FIELD(struct service, prefix4)},
	{.name = "prefix6", .type = VALUE_INTEGER, .minimum = 16, .maximum = 128,
	 FIELD(struct service, prefix6), GIVEN(struct service, has_prefix6)},
	{.name = "group_by", .type = VALUE_TEXT, .minimum = 1, .maximum = TEXT_MAX,
	 FIELD(struct service, group_by)},
	{.name = "quic_cid_length", .type = VALUE_INTEGER, .required = true, .minimum = 1,
	 .maximum = 20, WITH_KEY(QUIC), FIELD(struct service, client_id.quic_cid_length)},
	{.name = "quic_server_id_offset", .type = VALUE_INTEGER, .maximum = 19, .fallback = "1",
	 WITH_KEY(QUIC), FIELD(struct service, client_id.quic_server_id_offset)},
	{.name = "quic_server_id_length", .type = VALUE_INTEGER, .minimum = 1,
	 .maximum = SERVER_ID_MAX, .fallback = "2", WITH_KEY(QUIC),
	 FIELD(struct service, client_id.quic_server_id_length)},
	{.name = "payload_offset", .type = VALUE_INTEGER, .required = true, .maximum = 1400,
	 WITH_KEY(PAYLOAD), FIELD(struct service, client_id.payload_offset)},
	{.name = "payload_length", .type = VALUE_INTEGER, .required = true, .minimum = 1,
	 .maximum = 16, WITH_KEY(PAYLOAD), FIELD(struct service, client_id.payload_length)},
};
KEYS_FIT(client_table);
static const struct schema client_schema = {SCHEMA(client_table)};

static const struct key encap_keys[] = {
	{.name = "source4", .type = VALUE_ADDRESS, .minimum = 4,
	 FIELD(struct service, encap_source4)},
	{.name = "source6", .type = VALUE_ADDRESS, .minimum = 6,
	 FIELD(struct service, encap_source6)},
	{.name = "ttl", .type = VALUE_INTEGER, .minimum = 1, .maximum = 255, .fallback = "64",
	 FIELD(struct service, encap_ttl)},
};
KEYS_FIT(encap_keys);
static const struct schema encap_schema = {SCHEMA(encap_keys)};

static const struct key affinity_keys[] = {
	{.name = "drain", .type = VALUE_DURATION, .minimum = SECOND, .maximum = 30 * DAY,
	 .fallback = "1h", .zero_hint = "use `rollout set --cut` to move live flows at once",
	 FIELD(struct affinity, drain_ms)},
	{.name = "udp_drain", .type = VALUE_DURATION, .minimum = SECOND, .maximum = HOUR,
	 .fallback = "30s", FIELD(struct affinity, udp_drain_ms)},
	{.name = "on_rollback", .type = VALUE_CHOICE, .choices = rollback_manners,
	 .fallback = "cut", FIELD(struct affinity, on_rollback)},
};
KEYS_FIT(affinity_keys);
static const struct schema affinity_schema = {SCHEMA(affinity_keys)};

static const struct key cohort_item = {.type = VALUE_NAME, .size = NAME_SIZE};

/* Which of them goes with which hash: check_split.c. */
static const struct key hash_options_keys[] = {
	{.name = "modulus", .type = VALUE_INTEGER, .minimum = 1, .maximum = SPLIT_MODULUS_MAX,
	 .fallback = "100", FIELD(struct service, hash_options.modulus)},
	{.name = "seed", .type = VALUE_INTEGER, .maximum = UINT32_MAX, .fallback = "0",
	 FIELD(struct service, hash_options.seed)},
	{.name = "order", .type = VALUE_LIST, .maximum = COHORTS_MAX, .embedded = true,
	 LIST(struct service, hash_options.order, char[NAME_SIZE]), .item = &cohort_item},
};
KEYS_FIT(hash_options_keys);
static const struct schema hash_options_schema = {SCHEMA(hash_options_keys)};

static const struct key vip_item = {.type = VALUE_VIP, .size = sizeof(struct vip)};

static const struct key service_keys[] = {
	{.name = "name", .type = VALUE_NAME, .required = true, FIELD(struct service, name)},
	{.name = "vips", .type = VALUE_LIST, .required = true, .minimum = 1, .maximum = VIPS_MAX,
	 LIST(struct service, vips, struct vip), .item = &vip_item},
	{.name = "enforce", .type = VALUE_BOOLEAN, .fallback = "true",
	 FIELD(struct service, enforce)},
	{.name = "release", .type = VALUE_TEXT, .maximum = TEXT_MAX, .fallback = "",
	 FIELD(struct service, release)},
	{.name = "salt", .type = VALUE_TEXT, .minimum = 1, .maximum = TEXT_MAX,
	 FIELD(struct service, salt)},
	{.name = "client", .type = VALUE_MAP, .schema = &client_schema},
	{.name = "hash", .type = VALUE_CHOICE, .choices = hashes, .fallback = "xdp-canary",
	 FIELD(struct service, hash)},
	{.name = "hash_options", .type = VALUE_MAP, .schema = &hash_options_schema},
	{.name = "holdout", .type = VALUE_PERCENT, .maximum = WHOLE / 2, .fallback = "0%",
	 FIELD(struct service, holdout_ppm)},
	{.name = "balance", .type = VALUE_CHOICE, .choices = balances, .fallback = "flow",
	 FIELD(struct service, balance)},
	{.name = "steer", .type = VALUE_CHOICE, .required = true, .choices = steer_methods,
	 FIELD(struct service, steer)},
	{.name = "encap", .type = VALUE_MAP, .schema = &encap_schema},
	{.name = "affinity", .type = VALUE_MAP, FIELD(struct service, affinity),
	 .schema = &affinity_schema},
	{.name = "unanswered_after", .type = VALUE_DURATION, .minimum = SECOND / 10,
	 .maximum = HOUR, .fallback = "5s", FIELD(struct service, unanswered_after_ms)},
	{.name = "idle_timeout", .type = VALUE_DURATION, .minimum = SECOND, .maximum = DAY,
	 .fallback = "1m", FIELD(struct service, idle_timeout_ms)},
	{.name = "server_first", .type = VALUE_BOOLEAN, .fallback = "false",
	 FIELD(struct service, server_first)},
	{.name = "health_check", .type = VALUE_MAP, FIELD(struct service, health_check),
	 .schema = &health_check_schema},
	{.name = "cohorts", .type = VALUE_LIST, .required = true, .minimum = 2,
	 .maximum = COHORTS_MAX, LIST(struct service, cohorts, struct cohort), .embedded = true,
	 .schema = &cohort_schema},
	{.name = "rules", .type = VALUE_LIST, .late = true, .maximum = RULES_MAX,
	 .fallback = "[{\"default\":true}]", LIST(struct service, rules, struct rule),
	 .embedded = true, .schema = &rule_schema},
	{.name = "rollout", .type = VALUE_MAP, FIELD(struct service, rollout),
	 GIVEN(struct service, rollout.is_given), .schema = &rollout_schema},
};
KEYS_FIT(service_keys);
static const struct schema service_schema = {SCHEMA(service_keys), .identity = "name"};

static const struct key interface_keys[] = {
	{.name = "name", .type = VALUE_INTERFACE, .required = true, FIELD(struct interface, name)},
	{.name = "mode", .type = VALUE_CHOICE, .choices = interface_modes, .fallback = "native",
	 FIELD(struct interface, mode)},
};
KEYS_FIT(interface_keys);
static const struct schema interface_schema = {SCHEMA(interface_keys), .identity = "name"};

static const struct key metrics_keys[] = {
	{.name = "listen", .type = VALUE_LISTEN, .fallback = "127.0.0.1:9977",
	 FIELD(struct policy, metrics_listen)},
	UNDELIVERED("textfile", PART_LATER),
};
KEYS_FIT(metrics_keys);
static const struct schema metrics_schema = {SCHEMA(metrics_keys)};

static const struct key limits_keys[] = {
	{.name = "services", .type = VALUE_INTEGER, .minimum = 1, .maximum = SERVICES_MAX,
	 .fallback = "1024", FIELD(struct limits, services)},
	{.name = "vips", .type = VALUE_INTEGER, .minimum = 1, .maximum = VIPS_MAX,
	 .fallback = "8192", FIELD(struct limits, vips)},
	{.name = "backends", .type = VALUE_INTEGER, .minimum = 1, .maximum = BACKENDS_MAX,
	 .fallback = "65536", FIELD(struct limits, backends)},
	{.name = "transition_flows", .type = VALUE_INTEGER, .minimum = 64, .maximum = 16777216,
	 .fallback = "131072", FIELD(struct limits, transition_flows)},
	{.name = "segment_clients", .type = VALUE_INTEGER, .minimum = 1, .maximum = CLIENTS_MAX,
	 .fallback = "1048576", FIELD(struct limits, segment_clients)},
	{.name = "segment_prefixes", .type = VALUE_INTEGER, .minimum = 1, .maximum = CIDRS_MAX,
	 .fallback = "131072", FIELD(struct limits, segment_prefixes)},
	{.name = "observed_clients", .type = VALUE_INTEGER, .minimum = 1, .maximum = CLIENTS_MAX,
	 .fallback = "1048576", FIELD(struct limits, observed_clients)},
	{.name = "tracked_clients", .type = VALUE_INTEGER, .minimum = 1, .maximum = CLIENTS_MAX,
	 .fallback = "262144", FIELD(struct limits, tracked_clients)},
};
KEYS_FIT(limits_keys);
static const struct schema limits_schema = {SCHEMA(limits_keys)};

static const struct key observe_keys[] = {
	{.name = "sample", .type = VALUE_INTEGER, .minimum = 1, .maximum = 65536, .fallback = "16",
	 FIELD(struct observe, sample)},
	{.name = "window", .type = VALUE_DURATION, .minimum = HOUR, .maximum = 90 * DAY,
	 .fallback = "7d", FIELD(struct observe, window_ms)},
};
KEYS_FIT(observe_keys);
static const struct schema observe_schema = {SCHEMA(observe_keys)};

/* ---- segments ---- */

static const struct key edge_item = {.type = VALUE_REAL, .size = sizeof(double)};
static const struct key bin_item = {.type = VALUE_INTEGER, .maximum = BINS_MAX - 1,
				    .size = sizeof(uint32_t)};

#define METHOD(value)                                                                              \
	.alternative = true, .kind = offsetof(struct segment_bins, method), .kind_value = BINS_##value

static const struct key bins_keys[] = {
	{.name = "feature", .type = VALUE_TEXT, .required = true, .minimum = 1, .maximum = TEXT_MAX,
	 FIELD(struct segment_bins, feature)},
	{.name = "cut", .type = VALUE_INTEGER, .minimum = 1, .maximum = BINS_MAX, METHOD(CUT),
	 FIELD(struct segment_bins, count)},
	{.name = "qcut", .type = VALUE_INTEGER, .minimum = 1, .maximum = BINS_MAX, METHOD(QCUT),
	 FIELD(struct segment_bins, count)},
	{.name = "log", .type = VALUE_INTEGER, .minimum = 1, .maximum = BINS_MAX, METHOD(LOG),
	 FIELD(struct segment_bins, count)},
	{.name = "edges", .type = VALUE_LIST, .minimum = 2, .maximum = BINS_MAX + 1, METHOD(EDGES),
	 LIST(struct segment_bins, edges, double), .item = &edge_item},
	{.name = "take", .type = VALUE_LIST, .required = true, .minimum = 1, .maximum = BINS_MAX,
	 LIST(struct segment_bins, take, uint32_t), .item = &bin_item},
	{.name = "where", .type = VALUE_EXPRESSION, .minimum = 1, .maximum = EXPRESSION_MAX,
	 FIELD(struct segment_bins, where)},
};
KEYS_FIT(bins_keys);
static const struct schema bins_schema = {SCHEMA(bins_keys)};

static const struct key model_keys[] = {
	{.name = "model", .type = VALUE_NAME, .required = true, FIELD(struct segment_model, name)},
	{.name = "class", .type = VALUE_TEXT, .required = true, .minimum = 1, .maximum = TEXT_MAX,
	 FIELD(struct segment_model, class_name)},
};
KEYS_FIT(model_keys);
static const struct schema model_schema = {SCHEMA(model_keys)};

static const struct key sample_keys[] = {
	{.name = "count", .type = VALUE_INTEGER, .required = true, .minimum = 1,
	 .maximum = CLIENTS_MAX, FIELD(struct segment_sample, count)},
	{.name = "where", .type = VALUE_EXPRESSION, .minimum = 1, .maximum = EXPRESSION_MAX,
	 FIELD(struct segment_sample, where)},
};
KEYS_FIT(sample_keys);
static const struct schema sample_schema = {SCHEMA(sample_keys)};

static const struct key cidr_item = {.type = VALUE_PREFIX, .size = sizeof(struct prefix)};

#define KIND(value)                                                                                \
	.alternative = true, .kind = offsetof(struct segment, kind), .kind_value = SEGMENT_##value

static const struct key segment_keys[] = {
	{.name = "name", .type = VALUE_NAME, .required = true, FIELD(struct segment, name)},
	{.name = "description", .type = VALUE_TEXT, .maximum = TEXT_MAX, .fallback = "",
	 FIELD(struct segment, description)},
	{.name = "cidrs", .type = VALUE_LIST, .minimum = 1, .maximum = CIDRS_MAX, KIND(CIDRS),
	 LIST(struct segment, cidrs, struct prefix), .item = &cidr_item},
	{.name = "file", .type = VALUE_PATH, .minimum = 1, .maximum = PATH_MAX_BYTES, KIND(FILE),
	 FIELD(struct segment, file)},
	{.name = "where", .type = VALUE_EXPRESSION, .minimum = 1, .maximum = EXPRESSION_MAX,
	 KIND(WHERE), FIELD(struct segment, where)},
	{.name = "bins", .type = VALUE_MAP, KIND(BINS), FIELD(struct segment, bins),
	 .schema = &bins_schema},
	{.name = "model", .type = VALUE_MAP, KIND(MODEL), FIELD(struct segment, model),
	 .schema = &model_schema},
	{.name = "sample", .type = VALUE_MAP, KIND(SAMPLE), FIELD(struct segment, sample),
	 .schema = &sample_schema},
	{.name = "refresh", .type = VALUE_DURATION, .minimum = SECOND, .maximum = 366 * DAY,
	 FIELD(struct segment, refresh_ms)},
};
KEYS_FIT(segment_keys);
static const struct schema segment_schema = {SCHEMA(segment_keys), .identity = "name"};

/* ---- the top level ---- */

static const struct key config_keys[] = {
	{.name = "version", .type = VALUE_INTEGER, .required = true, .minimum = 1, .maximum = 1},
	{.name = "secret_file", .type = VALUE_PATH, .minimum = 1, .maximum = PATH_MAX_BYTES,
	 FIELD(struct policy, secret_file)},
	{.name = "interfaces", .type = VALUE_LIST, .maximum = INTERFACES_MAX,
	 LIST(struct policy, interfaces, struct interface), .schema = &interface_schema},
	{.name = "metrics", .type = VALUE_MAP, .schema = &metrics_schema},
	{.name = "limits", .type = VALUE_MAP, FIELD(struct policy, limits),
	 .schema = &limits_schema},
	{.name = "observe", .type = VALUE_MAP, FIELD(struct policy, observe),
	 GIVEN(struct policy, observe.is_on), .schema = &observe_schema},
	{.name = "segments", .type = VALUE_LIST, .maximum = SEGMENTS_MAX,
	 LIST(struct policy, segments, struct segment), .schema = &segment_schema},
	{.name = "services", .type = VALUE_LIST, .maximum = SERVICES_MAX,
	 LIST(struct policy, services, struct service), .schema = &service_schema},
};
KEYS_FIT(config_keys);
const struct schema config_schema = {SCHEMA(config_keys)};
/* clang-format on */

const struct key *schema_key(const struct schema *schema, const char *name)
{
	for (size_t i = 0; i < schema->keys_count; i++)
		if (!strcmp(schema->keys[i].name, name))
			return &schema->keys[i];
	return NULL;
}

const char *schema_nearest(const struct schema *schema, const char *name)
{
	const char *names[SCHEMA_KEYS_MAX];

	for (size_t i = 0; i < schema->keys_count; i++)
		names[i] = schema->keys[i].name;
	return text_nearest(name, names, schema->keys_count);
}

void *list_items(const struct key *key, const void *object)
{
	void *items;

	if (key->embedded)
		return key_target(key, object);
	/* The pointer's type is the item's: it is copied, not read through another type. */
	memcpy(&items, key_target(key, object), sizeof(items));
	return items;
}
