// SPDX-License-Identifier: GPL-2.0-only
/* segment list, show, preview, materialise: who is in which segment, and computing that anew. */
#include "cli/segments.h"
#include "config/config.h"
#include "segment/definition.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The segment that is named, or NULL with an error that lists near names. */
static const struct segment *find_segment(struct cli *cli, const struct policy *policy,
					  const char *name)
{
	const struct segment *segment = policy_segment(policy, name);
	const char *names[SEGMENTS_MAX];

	if (segment)
		return segment;
	for (size_t i = 0; i < policy->segments_count; i++)
		names[i] = policy->segments[i].name;
	cli_unknown(cli->errors, "segments", "segment", name, names, policy->segments_count);
	return NULL;
}

/* ---- what is known of one ---- */

/* [{"service","rule"}]: who asks for it. */
static json_t *rules_to_json(const struct policy *policy, const struct segment *segment)
{
	json_t *list = json_array();

	for (size_t i = 0; i < policy->services_count; i++) {
		const struct service *service = &policy->services[i];

		for (size_t rule = 0; rule < service->rules_count; rule++)
			if (!strcmp(service->rules[rule].segment, segment->name))
				json_array_append_new(list, json_pack("{s:s, s:s}", "service",
								      service->name, "rule",
								      service->rules[rule].name));
	}
	return list;
}

static double age_seconds(uint64_t time_ns)
{
	uint64_t now = time_now_ns();

	return now > time_ns ? (double)((now - time_ns) / 1000000) / 1000 : 0;
}

/* Puts what is known without the members into @document. @head NULL: it was never computed. */
static void add_head(json_t *document, const struct policy *policy, const struct segment *segment,
		     const struct membership *head)
{
	uint64_t refresh_ns = segment->refresh_ms * 1000000;
	char *source = segment_source(segment, NULL);
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "segment", segment->name,
		"description", segment->description ? segment->description : "", "kind",
		segment_kind_name(segment->kind), "source", json_text(source), "version",
		head ? json_integer((json_int_t)head->version) : json_null(), "clients",
		head ? json_integer((json_int_t)head->count) : json_null(), "time",
		json_time(head ? head->time_ns : 0), "age_seconds",
		head ? json_real(age_seconds(head->time_ns)) : json_null(), "refresh_seconds",
		segment->refresh_ms ? json_real((double)segment->refresh_ms / 1000) : json_null(),
		"next_refresh", json_time(head && refresh_ns ? head->time_ns + refresh_ns : 0),
		"rules", rules_to_json(policy, segment));

	json_object_update(document, json);
	json_decref(json);
	free(source);
}

static void say_rules(const json_t *rules, char *text, size_t size)
{
	const json_t *rule;
	size_t i, used = 0;

	*text = 0;
	json_array_foreach(rules, i, rule)
	{
		used += snprintf(text + used, size - used, "%s%s/%s", i ? ", " : "",
				 json_string_value(json_object_get(rule, "service")),
				 json_string_value(json_object_get(rule, "rule")));
		if (used >= size)
			break;
	}
}

static const char *duration_of(const json_t *seconds, char text[TEXT_VALUE_SIZE])
{
	if (!json_is_number(seconds))
		return "-";
	return text_format_duration((uint64_t)json_number_value(seconds) * 1000, text);
}

/* ---- list ---- */

static int list_to_json(struct control *control, json_t *list)
{
	const struct policy *policy = control->policy;

	for (size_t i = 0; i < policy->segments_count; i++) {
		const struct segment *segment = &policy->segments[i];
		struct membership head;
		json_t *document;
		int error = store_membership(control->store, segment->name, false, &head,
					     control->errors);

		if (error && error != -ENOENT)
			return error;
		document = json_object();
		add_head(document, policy, segment, error ? NULL : &head);
		json_array_append_new(list, document);
		if (!error)
			membership_release(&head);
	}
	return 0;
}

static void say_list(const struct cli *cli, const json_t *list)
{
	static const char *const headers[] = {"SEGMENT", "FROM",    "CLIENTS", "VERSION",
					      "AGE",	 "REFRESH", "RULES",   NULL};
	char age[TEXT_VALUE_SIZE], refresh[TEXT_VALUE_SIZE], rules[512];
	const json_t *segment;
	struct table table;
	size_t i;

	table_begin(&table, headers);
	json_array_foreach(list, i, segment)
	{
		say_rules(json_object_get(segment, "rules"), rules, sizeof(rules));
		table_cell(&table, "%s", json_string_value(json_object_get(segment, "segment")));
		table_cell(&table, "%s", json_string_value(json_object_get(segment, "source")));
		table_cell(&table, "%lld",
			   (long long)json_integer_value(json_object_get(segment, "clients")));
		table_cell(&table, "%lld",
			   (long long)json_integer_value(json_object_get(segment, "version")));
		table_cell(&table, "%s", duration_of(json_object_get(segment, "age_seconds"), age));
		table_cell(&table, "%s",
			   duration_of(json_object_get(segment, "refresh_seconds"), refresh));
		table_cell(&table, "%s", rules);
	}
	table_end(cli, &table);
}

int command_segment_list(struct cli *cli)
{
	struct control *control = NULL;
	json_t *list = json_array();
	int error = cli_open(cli, &control);

	if (!error && control->store)
		error = list_to_json(control, list);
	if (!error && cli->json)
		cli_print_json(cli,
			       json_pack("{s:s, s:O}", "cmd", "segment list", "segments", list));
	else if (!error)
		say_list(cli, list);
	json_decref(list);
	control_close(control);
	return error;
}

/* ---- show, preview ---- */

/* What show and preview say of a membership. */
static int describe(struct segment_cache *cache, const struct segment *segment,
		    const struct membership *membership, json_t *document)
{
	struct segment_facts facts;
	int error =
		segment_facts(cache->store, membership, cache->world.form, &facts, cache->errors);
	json_t *json;

	if (error)
		return error;
	json = segment_facts_to_json(membership, &facts);
	json_object_update(document, json);
	json_decref(json);
	json_object_set_new(document, "overlaps", segment_overlaps(cache, membership));
	json_object_set_new(document, "examples", segment_examples(membership));
	json_object_set_new(document, "kind", json_string(segment_kind_name(segment->kind)));
	return 0;
}

static void say_described(const struct cli *cli, const json_t *document)
{
	const char *description = json_string_value(json_object_get(document, "description"));
	const json_t *entry;
	char rules[512];
	size_t i;

	say_rules(json_object_get(document, "rules"), rules, sizeof(rules));
	printf("segment    %s%s%s%s\n", json_string_value(json_object_get(document, "segment")),
	       *description ? " (" : "", description, *description ? ")" : "");
	printf("from       %s\n", json_string_value(json_object_get(document, "source")));
	printf("rules      %s\n", *rules ? rules : "none");
	segment_facts_say(cli, document);
	json_array_foreach(json_object_get(document, "overlaps"), i, entry)
		printf("overlap    %lld clients with %s\n",
		       (long long)json_integer_value(json_object_get(entry, "clients")),
		       json_string_value(json_object_get(entry, "segment")));
	json_array_foreach(json_object_get(document, "examples"), i, entry)
		printf("%s %s", i ? "," : "examples  ", json_string_value(entry));
	if (json_array_size(json_object_get(document, "examples")))
		putchar('\n');
}

static void say_version(const json_t *document)
{
	const char *time = json_string_value(json_object_get(document, "time"));
	char age[TEXT_VALUE_SIZE], refresh[TEXT_VALUE_SIZE];
	const json_t *every = json_object_get(document, "refresh_seconds");

	printf("version    %lld, computed %s, %s ago; refresh %s\n",
	       (long long)json_integer_value(json_object_get(document, "version")), time,
	       duration_of(json_object_get(document, "age_seconds"), age),
	       json_is_null(every) ? "never" : duration_of(every, refresh));
}

int command_segment_show(struct cli *cli)
{
	struct segment_cache cache = {.errors = cli->errors};
	const struct membership *membership = NULL;
	const struct segment *segment = NULL;
	struct control *control = NULL;
	json_t *document = NULL;
	int error = cli_open(cli, &control);

	if (error)
		return error;
	cache.store = control->store;
	cache.policy = control->policy;
	cache.world.form = box_client_form(control->policy);
	segment = find_segment(cli, control->policy, cli->words[0]);
	error = segment ? 0 : -ENOENT;
	if (!error) {
		membership = segment_cache_find(&cache, segment);
		document = json_pack("{s:s}", "cmd", "segment show");
		add_head(document, control->policy, segment, membership);
	}
	if (!error && !membership)
		error = errors_add_code(cli->errors, ENOENT, segment->name,
					"run `segment materialise`", "it was never computed");
	if (!error)
		error = describe(&cache, segment, membership, document);
	if (!error && cli->json) {
		cli_print_json(cli, json_incref(document));
	} else if (!error) {
		say_described(cli, document);
		say_version(document);
	}
	json_decref(document);
	segment_cache_release(&cache);
	control_close(control);
	return error;
}

/* The version in force, 0: none. */
static int version_in_force(const struct control *control, const char *segment, uint64_t *version)
{
	struct membership head;
	int error = control->store ? store_membership(control->store, segment, false, &head,
						      control->errors)
				   : -ENOENT;

	*version = 0;
	if (error)
		return error == -ENOENT ? 0 : error;
	*version = head.version;
	membership_release(&head);
	return 0;
}

static int preview(struct cli *cli, const struct control *control, const struct policy *policy)
{
	const struct segment *segment = find_segment(cli, policy, cli->words[0]);
	struct membership membership = {0};
	struct segment_cache cache = {
		.store = control->store,
		.policy = policy,
		.compute = true,
		.errors = cli->errors,
	};
	struct siphash_key secret;
	json_t *document = NULL;
	uint64_t version;
	int error;

	if (!segment)
		return -ENOENT;
	cache.world = control_world(control, policy, &secret);
	error = version_in_force(control, segment->name, &version);
	if (!error)
		error = segment_compute(&cache.world, segment, &membership, cli->errors);
	if (!error) {
		document = json_pack("{s:s}", "cmd", "segment preview");
		add_head(document, policy, segment, NULL);
		json_object_set_new(document, "version",
				    version ? json_integer((json_int_t)version) : json_null());
		error = describe(&cache, segment, &membership, document);
	}
	if (!error && cli->json)
		cli_print_json(cli, json_incref(document));
	else if (!error)
		say_described(cli, document);
	json_decref(document);
	segment_cache_release(&cache);
	membership_release(&membership);
	return error;
}

int command_segment_preview(struct cli *cli)
{
	struct control *control = NULL;
	struct policy *policy = NULL;
	size_t count;
	const char **paths = cli_flag_all(cli, "-f", &count);
	int error = paths ? cli_open(cli, &control) : -ENOMEM;

	if (!error && count) {
		policy = config_load(paths, count, cli->errors);
		error = policy ? 0 : -EINVAL;
	}
	if (!error)
		error = preview(cli, control, policy ? policy : control->policy);
	free(paths);
	policy_free(policy);
	control_close(control);
	return error;
}

/* ---- materialise ---- */

static void print_materialised(struct cli *cli, const struct control *control,
			       const struct freeze_report *report)
{
	json_t *services = json_array();

	for (size_t i = 0; i < control->touched_count; i++)
		json_array_append_new(services,
				      json_pack("{s:s, s:o}", "service", control->touched[i],
						"epoch", json_epoch(control, control->touched[i])));
	freeze_say(cli, report, false);
	if (cli->json)
		cli_print_json(cli,
			       json_pack("{s:s, s:o, s:o, s:O}", "cmd", "segment materialise",
					 "segments", freeze_to_json(report, false), "groupings",
					 freeze_to_json(report, true), "services", services));
	json_decref(services);
}

int command_segment_materialise(struct cli *cli)
{
	struct freeze_request request = {
		.which = cli_flag(cli, "--all") ? FREEZE_ALL : FREEZE_NAMED,
		.name = cli->words_count ? cli->words[0] : NULL,
		.force = cli_flag(cli, "--force"),
	};
	struct freeze_report report = {0};
	struct control *control = NULL;
	int error;

	if (!request.name == (request.which == FREEZE_NAMED))
		return cli_usage(cli, "segment materialise", "name a segment, or say --all",
				 "it takes one of both");
	error = cli_open_write(cli, &control);
	if (error)
		return error;
	if (request.name && !find_segment(cli, control->policy, request.name))
		error = -ENOENT;
	if (!error)
		error = control_freeze(control, &request, &report);
	if (!error)
		error = freeze_audit(control, &report);
	if (!error)
		error = control_publish(control);
	if (!error)
		print_materialised(cli, control, &report);
	freeze_report_release(&report);
	control_close(control);
	return error;
}
