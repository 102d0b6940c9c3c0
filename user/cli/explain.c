// SPDX-License-Identifier: GPL-2.0-only
/*
 * explain: why a client goes where it goes. The loaded program itself is asked; with -f a
 * configuration is, with nothing loaded.
 */
#include "allocation.h"
#include "cli/cli.h"
#include "cli/explain_flow.h"
#include "cli/segments.h"
#include "config/config.h"
#include "datapath/explain.h"
#include "observe/snapshot.h"
#include "policy/split.h"
#include "util/text.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Who answers, and what the answers are put into words with. */
struct explainer {
	struct cli *cli;
	struct control *control;
	const struct service *service;
	const struct policy *policy;
	int program; /* descriptor; -1: the image answers */
	struct siphash_key secret;
	struct view_image image; /* of -f */
	struct segment_cache *segments;
	const struct live_service *live;
};

/* ---- the answer ---- */

/* Where a flow goes that has begun already: in an era that may be elsewhere. */
struct live_answer {
	struct explanation e;
	char backend[ADDRESS_TEXT_SIZE];
	uint64_t ends_ms; /* until the era ends, unless more changes */
};

/* A flow's answer with the names that belong to its numbers. */
struct answer {
	struct explanation e;
	struct flow flow;
	struct client_facts facts; /* of explain -f: the kernel finds its own */
	char client[ADDRESS_TEXT_SIZE], flow_text[3 * ADDRESS_TEXT_SIZE],
		backend[ADDRESS_TEXT_SIZE];
	bool in_era;
	struct live_answer live; /* where it is */
	const struct rule *rule;
	char *segment_source;	   /* NULL: no segment, or it does not have the client any more */
	uint32_t share_ppm;	   /* of the cohort that the rule gave */
	const struct cohort *slot; /* canary in whose slot the client is, or NULL */
	const struct cohort *enters_cohort; /* that has the client from a share on, or NULL ... */
	uint32_t enters_at_ppm;		    /* ... and that share */
	bool held_out;
	char interface[IF_NAMESIZE];
	uint8_t mac[6];
	bool has_next_hop;
};

static uint32_t share_of(const struct explainer *explainer, size_t rule, size_t cohort)
{
	if (explainer->control)
		return cohort ? effective_share(explainer->control, explainer->service, rule,
						cohort)
			      : effective_control_share(explainer->control, explainer->service,
							rule);
	return explainer->service->rules[rule].base_ppm[cohort];
}

/* The smallest share at which the client is in the canary in whose slot it is. */
static void find_slot(const struct explainer *explainer, struct answer *answer)
{
	const struct service *service = explainer->service;
	size_t i;

	for (i = 1; i < service->cohorts_count; i++) {
		const struct cohort *cohort = &service->cohorts[i];
		uint64_t start = threshold(cohort->slot_start_ppm);
		uint64_t end = threshold(cohort->slot_start_ppm + cohort->slot_ppm);
		uint64_t offset = answer->e.hash - start;
		uint32_t ppm;

		if (answer->e.hash < start || answer->e.hash >= end)
			continue;
		answer->slot = cohort;
		ppm = (offset * PPM >> 32) + 1;
		while (ppm > 1 && threshold(ppm - 1) > offset)
			ppm--;
		while (threshold(ppm) <= offset)
			ppm++;
		if (ppm <= cohort->slot_ppm && !answer->held_out)
			answer->enters_cohort = cohort;
		answer->enters_at_ppm = ppm;
		return;
	}
}

/*
 * The same where another tool's parts have no slots: of the canary that has the client or, if none
 * has, the first in the file that another share would give it. Other canaries' shares are as they
 * are in the rule that decided; where none did, in the default rule.
 */
static void find_part(const struct explainer *explainer, struct answer *answer)
{
	const struct service *service = explainer->service;
	const struct split split = split_of(service);
	size_t rule = answer->rule ? answer->e.rule : service->rules_count - 1, i;
	uint32_t shares[COHORTS_MAX] = {0};
	struct interval parts[CANARIES_MAX];
	unsigned int live;
	size_t canary;

	for (i = 1; i < service->cohorts_count; i++)
		shares[i] = share_of(explainer, rule, i);
	live = split_parts(&split, shares, parts);
	canary = interval_of(parts, live, answer->e.hash);
	for (i = canary ? canary : 1; i < service->cohorts_count && !answer->held_out; i++) {
		if (!split_enters(&split, shares, i, answer->e.hash, &answer->enters_at_ppm))
			continue;
		answer->enters_cohort = &service->cohorts[i];
		return;
	}
}

static void name_endpoint(const struct address *address, uint16_t port, char *out, size_t size)
{
	char text[ADDRESS_TEXT_SIZE];

	address_format(address, text);
	snprintf(out, size, address->family == 6 ? "[%s]:%u" : "%s:%u", text, port);
}

static void name_flow(const struct explainer *explainer, struct answer *answer)
{
	struct prefix whole = {answer->flow.source, answer->flow.source.family == 4 ? 32 : 128};
	struct prefix client =
		prefix_shorten(&whole, explainer->service->prefix4, explainer->service->prefix6);
	char source[ADDRESS_TEXT_SIZE], destination[ADDRESS_TEXT_SIZE];

	prefix_format(&client, answer->client);
	name_endpoint(&answer->flow.source, answer->flow.source_port, source, sizeof(source));
	name_endpoint(&answer->flow.destination, answer->flow.destination_port, destination,
		      sizeof(destination));
	snprintf(answer->flow_text, sizeof(answer->flow_text), "%s %s/%s", source, destination,
		 answer->flow.protocol == IPPROTO_TCP ? "tcp" : "udp");
}

static void name_backend_of_image(const struct explainer *explainer, struct answer *answer)
{
	struct address address = {.family = 4};
	const struct backend_line *line = &explainer->image.backends[answer->e.backend];

	if (line->flags & BACKEND_IPV6)
		address.family = 6;
	memcpy(address.bytes, line->address, sizeof(address.bytes));
	address_format(&address, answer->backend);
}

static const struct view *view_of(const struct explainer *explainer, const struct explanation *e)
{
	return map_part(explainer->control->datapath, MAP_VIEWS, struct view, e->view, 1);
}

static const struct backend_line *line_of(const struct explainer *explainer,
					  const struct explanation *e, char text[ADDRESS_TEXT_SIZE])
{
	const struct backend_line *line =
		datapath_backend(explainer->control->datapath, view_of(explainer, e), e->backend);
	struct address address = {.family = line->flags & BACKEND_IPV6 ? 6 : 4};

	memcpy(address.bytes, line->address, sizeof(address.bytes));
	address_format(&address, text);
	return line;
}

static void name_backend_of_kernel(const struct explainer *explainer, struct answer *answer)
{
	const struct backend_line *line = line_of(explainer, &answer->e, answer->backend);

	answer->has_next_hop = (line->next_hop & NEXT_HOP_VALID) &&
			       if_indextoname(line->ifindex, answer->interface);
	memcpy(answer->mac, &line->next_hop, sizeof(answer->mac));
}

static int check_service(const struct explainer *explainer, const struct answer *answer)
{
	const char *why = reason_name(answer->e.reason);

	if (!answer->e.has_service)
		return errors_add(explainer->cli->errors, NULL, answer->flow_text,
				  "look at `service show`", "the loaded program passes it on: %s",
				  why);
	if (explainer->live && answer->e.service != explainer->live->slot)
		return errors_add(explainer->cli->errors, NULL, answer->flow_text,
				  "look at `service list`", "it is for another service than %s",
				  explainer->service->name);
	return 0;
}

/* Of a backend whose cohort the file no longer has: NULL. */
static const char *cohort_of(const struct explainer *explainer, const struct explanation *e)
{
	if (e->cohort >= explainer->service->cohorts_count)
		return NULL;
	return explainer->service->cohorts[e->cohort].name;
}

static int ask_live(const struct explainer *explainer, struct answer *answer)
{
	const struct view *view = view_of(explainer, &answer->e);
	struct live_answer *live = &answer->live;
	uint64_t until = holds_until(view, answer->e.jiffies);
	int error;

	answer->in_era = until;
	if (!until)
		return 0;
	live->ends_ms = (until - answer->e.jiffies) * 1000 / jiffies_hz();
	error = explainer_ask(explainer->program, &answer->flow, ASK_SEGMENT, &live->e,
			      explainer->cli->errors);
	if (!error && live->e.has_backend)
		line_of(explainer, &live->e, live->backend);
	return error;
}

static int ask_kernel(const struct explainer *explainer, struct answer *answer)
{
	bool is_quic = explainer->service->client_key == CLIENT_KEY_QUIC;
	int error =
		explainer_ask(explainer->program, &answer->flow, is_quic ? ASK_INITIAL : ASK_START,
			      &answer->e, explainer->cli->errors);

	if (!error)
		error = check_service(explainer, answer);
	if (!error && answer->e.has_backend)
		name_backend_of_kernel(explainer, answer);
	return error ? error : ask_live(explainer, answer);
}

/* What the image has no table for: the rule of the client's segments is the one that decides. */
static void ask_image(struct explainer *explainer, struct answer *answer)
{
	uint8_t rule =
		segment_cache_rule(explainer->segments, explainer->service, &answer->flow.source);

	/* The image's rules have their own indices for segments; the default rule has none. */
	answer->facts.members = 1ULL << rule;
	decide(&explainer->image, explainer->secret, &answer->flow, &answer->facts, &answer->e);
	if (answer->e.has_backend)
		name_backend_of_image(explainer, answer);
}

static int ask(struct explainer *explainer, const char *client, struct answer *answer,
	       bool *assumed)
{
	int error = cli_flow(explainer->cli, explainer->service, client, &answer->flow, assumed);

	if (error)
		return error;
	name_flow(explainer, answer);
	if (explainer->program < 0)
		ask_image(explainer, answer);
	else
		error = ask_kernel(explainer, answer);
	if (error)
		return error;
	if (answer->e.rule != RULE_NONE) {
		answer->rule = &explainer->service->rules[answer->e.rule];
		answer->share_ppm = share_of(explainer, answer->e.rule, answer->e.chosen_cohort);
		answer->segment_source = segment_cache_source(
			explainer->segments, answer->rule->segment, &answer->flow.source);
	}
	answer->held_out = answer->e.holdout_hash < threshold(explainer->service->holdout_ppm);
	if (is_split(explainer->service))
		find_part(explainer, answer);
	else
		find_slot(explainer, answer);
	return 0;
}

static json_t *next_hop_to_json(const struct answer *answer)
{
	char mac[18];

	if (!answer->has_next_hop)
		return json_null();
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", answer->mac[0], answer->mac[1],
		 answer->mac[2], answer->mac[3], answer->mac[4], answer->mac[5]);
	return json_pack("{s:s, s:s}", "interface", answer->interface, "mac", mac);
}

static json_t *slot_to_json(const struct answer *answer)
{
	if (!answer->slot)
		return json_null();
	return json_pack("{s:i, s:i}", "start_ppm", answer->slot->slot_start_ppm, "width_ppm",
			 answer->slot->slot_ppm);
}

/* Also where the pin does not decide: the service is killed, or the pinned cohort is down. */
static bool is_pinned(const struct explainer *explainer, const struct answer *answer)
{
	const struct live *live = explainer->control ? &explainer->control->live : NULL;
	struct prefix client = {answer->flow.source, answer->flow.source.family == 4 ? 32 : 128};
	size_t i;

	for (i = 0; live && i < live->pins_count; i++) {
		const struct live_pin *pin = &live->pins[i];
		struct prefix key = prefix_shorten(&pin->client, explainer->service->prefix4,
						   explainer->service->prefix6);
		struct prefix same = prefix_shorten(&client, key.length, key.length);

		if (!strcmp(pin->service, explainer->service->name) && prefix_equal(&key, &same) &&
		    (!pin->expires_ns || pin->expires_ns > time_now_ns()))
			return true;
	}
	return false;
}

static json_t *live_to_json(const struct explainer *explainer, const struct answer *answer)
{
	const struct live_answer *live = &answer->live;

	if (!answer->in_era)
		return json_null();
	return json_pack("{s:o, s:o, s:s}", "cohort", json_text(cohort_of(explainer, &live->e)),
			 "backend", json_text(live->e.has_backend ? live->backend : NULL), "path",
			 path_name(live->e.path));
}

static bool has_segment(const struct answer *answer)
{
	return answer->rule && *answer->rule->segment;
}

static json_t *answer_to_json(const struct explainer *explainer, const struct answer *answer)
{
	const struct service *service = explainer->service;
	const struct explanation *e = &answer->e;
	bool kernel = explainer->program >= 0;
	enum reason reason = e->reason < STEER_REASONS || e->reason == REASON_NO_BACKEND
				     ? e->reason
				     : e->decision;
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:b, s:b}", "cmd",
		"explain", "client", answer->client, "service", service->name, "cohort",
		json_text(cohort_of(explainer, e)), "reason", reason_name(reason), "rule",
		json_text(answer->rule ? answer->rule->name : NULL), "segment",
		json_text(has_segment(answer) ? answer->rule->segment : NULL), "segment_source",
		json_text(answer->segment_source), "hash", (json_int_t)e->hash, "share_ppm",
		answer->rule ? json_integer(answer->share_ppm) : json_null(), "slot",
		slot_to_json(answer), "enters_at_ppm",
		answer->enters_cohort ? json_integer(answer->enters_at_ppm) : json_null(),
		"holdout", answer->held_out, "pinned", is_pinned(explainer, answer));
	json_t *rest = json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:s, s:o, s:s, s:s, s:s}", "enters_cohort",
		json_text(answer->enters_cohort ? answer->enters_cohort->name : NULL), "epoch",
		kernel ? json_integer(e->epoch) : json_null(), "revision",
		kernel ? json_integer(explainer->control->revision.number) : json_null(), "release",
		json_text(service->release), "backend",
		json_text(e->has_backend ? answer->backend : NULL), "flow", answer->flow_text,
		"next_hop", next_hop_to_json(answer), "path", path_name(e->path), "live",
		live_to_json(explainer, answer), "source", kernel ? "kernel" : "file", "action",
		action_name(reason_action(e->reason)), "outcome", reason_name(e->reason));

	json_object_update(json, rest);
	json_decref(rest);
	return json;
}

/* Did the current decision choose the backend? */
static bool is_decided(const struct explanation *e)
{
	return e->path == PATH_CURRENT || e->path == PATH_SYN_RECORDED ||
	       e->path == PATH_SYN_CLEARED;
}

static void print_cohort(const struct explainer *explainer, const struct answer *answer)
{
	const struct service *service = explainer->service;
	const struct explanation *e = &answer->e;
	const char *name = cohort_of(explainer, e);

	printf("\ncohort    %s", name ? name : "none of the file's");
	if (!is_decided(e))
		printf(", by its path; decided now is %s", service->cohorts[e->chosen_cohort].name);
	printf(": %s", reason_text(e->decision));
	if (answer->rule)
		printf("; rule %s, %s has %.4f%%", answer->rule->name,
		       service->cohorts[e->chosen_cohort].name, answer->share_ppm / 1e4);
	if (has_segment(answer))
		printf("\nsegment   %s, %s", answer->rule->segment,
		       answer->segment_source ? answer->segment_source
					      : "which does not have the client any more");
	printf("\npath      %s: %s", path_name(e->path), path_text(e->path));
}

static void print_live(const struct explainer *explainer, const struct answer *answer)
{
	const struct live_answer *live = &answer->live;
	const char *name = cohort_of(explainer, &live->e);
	char text[TEXT_VALUE_SIZE];

	if (!answer->in_era)
		return;
	printf("live      one that has begun already goes to %s (%s), %s: %s; for another %s at "
	       "least\n",
	       live->e.has_backend ? live->backend : "none", name ? name : "no cohort of the file",
	       path_name(live->e.path), path_text(live->e.path),
	       text_format_duration(live->ends_ms / 1000 * 1000, text));
}

/* One line a stage. */
static void print_answer(const struct explainer *explainer, const struct answer *answer,
			 bool assumed)
{
	const struct service *service = explainer->service;
	const struct explanation *e = &answer->e;

	printf("flow      %s%s\n", answer->flow_text, assumed ? " (source port assumed)" : "");
	printf("service   %s, release \"%s\"", service->name, service->release);
	if (explainer->program >= 0)
		printf(", epoch %llu, revision %llu", (unsigned long long)e->epoch,
		       (unsigned long long)explainer->control->revision.number);
	printf("\nclient    %s, hash %u", answer->client, e->hash);
	if (answer->enters_cohort)
		printf(", in %s from %.4f%%", answer->enters_cohort->name,
		       answer->enters_at_ppm / 1e4);
	print_cohort(explainer, answer);
	printf("\nbackend   %s\n", e->has_backend ? answer->backend : "none");
	if (answer->has_next_hop)
		printf("next hop  %s, %02x:%02x:%02x:%02x:%02x:%02x\n", answer->interface,
		       answer->mac[0], answer->mac[1], answer->mac[2], answer->mac[3],
		       answer->mac[4], answer->mac[5]);
	printf("outcome   %s: %s\n", action_name(reason_action(e->reason)), reason_name(e->reason));
	print_live(explainer, answer);
}

static int explain_one(struct explainer *explainer, const char *client, bool stream)
{
	struct answer answer = {0};
	bool assumed = false;
	int error = ask(explainer, client, &answer, &assumed);

	if (error)
		return error;
	if (stream)
		cli_print_json_line(explainer->cli, answer_to_json(explainer, &answer));
	else if (explainer->cli->json)
		cli_print_json(explainer->cli, answer_to_json(explainer, &answer));
	else
		print_answer(explainer, &answer, assumed);
	free(answer.segment_source);
	return 0;
}

static int explain_list(struct explainer *explainer, const char *path)
{
	FILE *file = strcmp(path, "-") ? fopen(path, "r") : stdin;
	size_t size = 0, line_number = 0;
	char *line = NULL;
	int error = 0;

	if (!file)
		return errors_add_code(explainer->cli->errors, errno, path,
				       "name a file with one client a line", "cannot read it: %s",
				       strerror(errno));
	while (!error && getline(&line, &size, file) >= 0) {
		line_number++;
		line[strcspn(line, "\r\n")] = '\0';
		if (*line && *line != '#')
			error = explain_one(explainer, line, true);
	}
	if (error)
		errors_add(explainer->cli->errors, &(struct position){path, line_number, 1},
			   "--input", "mend or remove the line", "stopped here");
	free(line);
	if (file != stdin)
		fclose(file);
	return error;
}

/* ---- who answers ---- */

/* Numbers do not matter to an image that no kernel sees: the backends' and rules' places do. */
static int compile_from_file(struct explainer *explainer)
{
	const struct service *service = explainer->service;
	struct compile_input input = {.service = service};
	size_t cohort, rule, i, count = 0;
	uint16_t *numbers;
	uint32_t *counters;
	int error;

	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		count += service->cohorts[cohort].backends_count;
	numbers = calloc(count + 1, sizeof(*numbers));
	counters = calloc(count + 1, sizeof(*counters));
	for (i = 0; numbers && i < count; i++)
		numbers[i] = i;
	for (rule = 0; rule < service->rules_count; rule++) {
		memcpy(input.share_ppm[rule], service->rules[rule].base_ppm,
		       sizeof(input.share_ppm[rule]));
		input.rule_segments[rule] = rule; /* see ask_image() */
	}
	input.backend_numbers = numbers;
	input.backend_counters = counters;
	error = numbers && counters ? compile_view(&input, &explainer->image) : -ENOMEM;
	if (!error)
		error = compile_rings(&input, &explainer->image);
	free(numbers);
	free(counters);
	return error;
}

/* Segments of a file as they would be computed now, of the catalogue that this box has. */
static int answer_from_file(struct explainer *explainer, int (*answer)(struct explainer *))
{
	struct cli *cli = explainer->cli;
	struct segment_cache segments = {
		.policy = explainer->policy,
		.compute = true,
		.world = {.limits = &explainer->policy->limits,
			  .form = box_client_form(explainer->policy),
			  .secret = &explainer->secret},
		.errors = cli->errors,
	};
	int error;

	/* There may be no state here, or none that can be read: then the catalogue is empty. */
	if (store_open_read(cli->place.state, &segments.store, NULL))
		segments.store = NULL;
	segments.world.store = segments.store;
	explainer->segments = &segments;
	if (explainer->service->group_by)
		errors_warn(cli->errors, NULL, explainer->service->name,
			    "apply the file, then explain without -f",
			    "groups are not looked up with -f: hashes are the clients' own");
	error = answer(explainer);
	segment_cache_release(&segments);
	store_close(segments.store);
	return error;
}

static int explain_from_file(struct explainer *explainer, int (*answer)(struct explainer *))
{
	struct cli *cli = explainer->cli;
	size_t count;
	const char **paths = cli_flag_all(cli, "-f", &count);
	struct policy *policy = config_load(paths, count, cli->errors);
	char *path = policy ? secret_path(&cli->place, policy) : NULL;
	int error = policy ? -ENOENT : -EINVAL;

	free(paths);
	explainer->policy = policy;
	explainer->service = policy ? policy_service(policy, cli->words[0]) : NULL;
	if (explainer->service)
		error = secret_read(path, false, &explainer->secret, cli->errors);
	else if (policy)
		errors_add(cli->errors, NULL, cli->words[0], "name one that the files have",
			   "there is no such service in them");
	if (!error)
		error = compile_from_file(explainer);
	if (!error)
		error = answer_from_file(explainer, answer);
	view_image_release(&explainer->image);
	free(path);
	policy_free(policy);
	return error;
}

static int explain_from_kernel(struct explainer *explainer, int (*answer)(struct explainer *))
{
	struct cli *cli = explainer->cli;
	struct segment_cache segments = {.errors = cli->errors};
	int error = cli_open(cli, &explainer->control);

	if (error)
		return error;
	segments.store = explainer->control->store;
	segments.policy = explainer->control->policy;
	explainer->segments = &segments;
	explainer->service = cli_service(cli, explainer->control, cli->words[0]);
	if (!explainer->service) {
		error = -ENOENT;
		goto out;
	}
	explainer->live = live_service_of(&explainer->control->live, explainer->service->name);
	explainer->program = explainer_open(cli->place.pins, cli->errors);
	if (!explainer->control->datapath || explainer->program < 0) {
		error = errors_add(cli->errors, NULL, explainer->service->name,
				   "run `xdp-canary attach`, or ask a file with -f",
				   "nothing is loaded");
		goto out;
	}
	error = answer(explainer);
out:
	if (explainer->program >= 0)
		close(explainer->program);
	segment_cache_release(&segments);
	control_close(explainer->control);
	return error;
}

static int answer_words(struct explainer *explainer)
{
	const char *list = cli_flag(explainer->cli, "--input");

	return list ? explain_list(explainer, list)
		    : explain_one(explainer, explainer->cli->words[1], false);
}

int command_explain(struct cli *cli)
{
	struct explainer explainer = {.cli = cli, .program = -1};

	if (!cli_flag(cli, "--input") == (cli->words_count < 2))
		return cli_usage(cli, "explain",
				 "name a client, or a list of them with --input FILE",
				 "it takes one of both");
	if (cli_flag(cli, "-f"))
		return explain_from_file(&explainer, answer_words);
	return explain_from_kernel(&explainer, answer_words);
}
