// SPDX-License-Identifier: GPL-2.0-only
#include "cli/segments.h"

#include "catalogue/features.h"
#include "segment/overlap.h"
#include "util/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXAMPLES 5

/* ---- traffic ---- */

struct traffic {
	struct cover cover;
	struct segment_facts *facts;
};

static uint64_t whole(const struct catalogue_value *value)
{
	return value->type == CATALOGUE_INTEGER && value->integer > 0 ? value->integer : 0;
}

static int add_traffic(const struct catalogue_row *row, void *data)
{
	struct traffic *traffic = data;
	struct segment_facts *facts = traffic->facts;
	uint64_t flows = whole(&row->values[0]), packets = whole(&row->values[1]);

	facts->has_traffic |= row->values[0].type != CATALOGUE_NULL;
	facts->all_flows += flows;
	facts->all_packets += packets;
	/* Asked of every row, for the cover is walked in their order. */
	if (!cover_holds(&traffic->cover, &row->client))
		return 0;
	facts->flows += flows;
	facts->packets += packets;
	return 0;
}

int segment_facts(struct store *store, const struct membership *membership, struct client_form form,
		  struct segment_facts *out, struct errors *errors)
{
	const char *columns[] = {feature_names[FEATURE_flows], feature_names[FEATURE_packets]};
	const struct catalogue_query query = {
		.object = "features",
		.columns = columns,
		.columns_count = 2,
	};
	struct traffic traffic = {
		.cover = {.members = membership->members, .count = membership->count},
		.facts = out,
	};

	*out = (struct segment_facts){
		.counts = membership_counts(membership->members, membership->count, form),
	};
	return catalogue_each(store, &query, add_traffic, &traffic, errors);
}

/* ---- JSON ---- */

static json_t *share_to_json(const struct segment_facts *facts, uint64_t part, uint64_t all)
{
	if (!facts->has_traffic || !all)
		return json_null();
	return json_integer((json_int_t)((double)part * 1e6 / (double)all + 0.5));
}

json_t *segment_facts_to_json(const struct membership *membership,
			      const struct segment_facts *facts)
{
	static const char *const details[] = {"population", "edges", "bins",
					      "classes",    "drift", "model_imported"};
	json_t *detail = json_loads(membership->detail ? membership->detail : "{}", 0, NULL);
	json_t *json = json_pack(
		"{s:I, s:I, s:I, s:I, s:o, s:o}", "clients", (json_int_t)membership->count, "ipv4",
		(json_int_t)facts->counts.ipv4, "ipv6", (json_int_t)facts->counts.ipv6, "prefixes",
		(json_int_t)facts->counts.prefixes, "flows_share_ppm",
		share_to_json(facts, facts->flows, facts->all_flows), "packets_share_ppm",
		share_to_json(facts, facts->packets, facts->all_packets));

	for (size_t i = 0; i < sizeof(details) / sizeof(*details); i++) {
		json_t *value = json_object_get(detail, details[i]);

		json_object_set_new(json, details[i], value ? json_incref(value) : json_null());
	}
	json_decref(detail);
	return json;
}

json_t *segment_examples(const struct membership *membership)
{
	size_t count = membership->count < EXAMPLES ? membership->count : EXAMPLES;
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		struct prefix prefix =
			member_prefix(&membership->members[i * membership->count / count]);
		char text[ADDRESS_TEXT_SIZE];

		json_array_append_new(list, json_string(prefix_format(&prefix, text)));
	}
	return list;
}

json_t *segment_overlaps(struct segment_cache *cache, const struct membership *membership)
{
	json_t *list = json_array();

	for (size_t i = 0; i < cache->policy->segments_count; i++) {
		const struct segment *other = &cache->policy->segments[i];
		const struct membership *theirs;
		size_t common = 0;

		if (!strcmp(other->name, membership->segment))
			continue;
		theirs = segment_cache_find(cache, other);
		if (theirs)
			common = members_common(membership->members, membership->count,
						theirs->members, theirs->count);
		if (common)
			json_array_append_new(list, json_pack("{s:s, s:I}", "segment", other->name,
							      "clients", (json_int_t)common));
	}
	return list;
}

/* ---- text ---- */

static const char *percent_of(const json_t *ppm, char text[TEXT_VALUE_SIZE])
{
	return text_format_percent(json_integer_value(ppm), text);
}

static void say_traffic(const json_t *json)
{
	const json_t *flows = json_object_get(json, "flows_share_ppm");
	const json_t *packets = json_object_get(json, "packets_share_ppm");
	char flows_text[TEXT_VALUE_SIZE], packets_text[TEXT_VALUE_SIZE];

	if (json_is_integer(flows) && json_is_integer(packets))
		printf("traffic    %s of the flows, %s of the packets observed\n",
		       percent_of(flows, flows_text), percent_of(packets, packets_text));
	else
		printf("traffic    nothing was observed yet\n");
}

/* Bins with their edges, or classes: which are taken, and how many clients each has. */
static void say_parts(const struct cli *cli, const json_t *parts, const json_t *edges)
{
	static const char *const bin_headers[] = {"BIN",   "ABOVE", "UP TO", "CLIENTS",
						  "SHARE", "TAKEN", NULL};
	static const char *const class_headers[] = {"CLASS", "CLIENTS", "SHARE", "TAKEN", NULL};
	char share[TEXT_VALUE_SIZE];
	const json_t *part;
	struct table table;
	size_t i;

	table_begin(&table, edges ? bin_headers : class_headers);
	json_array_foreach(parts, i, part)
	{
		if (edges) {
			table_cell(&table, "%zu", i);
			/* For people; JSON has all digits. */
			table_cell(&table, "%.6g", json_real_value(json_array_get(edges, i)));
			table_cell(&table, "%.6g", json_real_value(json_array_get(edges, i + 1)));
		} else {
			table_cell(&table, "%s", json_string_value(json_object_get(part, "class")));
		}
		table_cell(&table, "%lld",
			   (long long)json_integer_value(json_object_get(part, "clients")));
		table_cell(&table, "%s", percent_of(json_object_get(part, "share_ppm"), share));
		table_cell(&table, "%s", json_is_true(json_object_get(part, "taken")) ? "yes" : "");
	}
	table_end(cli, &table);
}

static void say_drift(const json_t *drift)
{
	const json_t *feature;
	size_t i;

	json_array_foreach(drift, i, feature)
	{
		const json_t *psi = json_object_get(feature, "psi");

		if (json_is_number(psi))
			printf("drift      %s: PSI %.4f\n",
			       json_string_value(json_object_get(feature, "feature")),
			       json_number_value(psi));
	}
}

void segment_facts_say(const struct cli *cli, const json_t *json)
{
	const json_t *population = json_object_get(json, "population");
	const json_t *bins = json_object_get(json, "bins");
	const json_t *classes = json_object_get(json, "classes");

	printf("clients    %lld: %lld IPv4, %lld IPv6; %lld of them are prefixes\n",
	       (long long)json_integer_value(json_object_get(json, "clients")),
	       (long long)json_integer_value(json_object_get(json, "ipv4")),
	       (long long)json_integer_value(json_object_get(json, "ipv6")),
	       (long long)json_integer_value(json_object_get(json, "prefixes")));
	if (json_is_integer(population))
		printf("population %lld clients\n", (long long)json_integer_value(population));
	say_traffic(json);
	if (json_array_size(bins))
		say_parts(cli, bins, json_object_get(json, "edges"));
	if (json_array_size(classes))
		say_parts(cli, classes, NULL);
	say_drift(json_object_get(json, "drift"));
}
