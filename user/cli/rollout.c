// SPDX-License-Identifier: GPL-2.0-only
/* rollout set, rollout reset: live shares over the file's, and back. */
#include "allocation.h"
#include "cli/cli.h"
#include "control/rollouts.h"
#include "policy/split.h"
#include "rollout/drive.h"
#include "store/rollouts.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct change {
	struct cli *cli;
	struct control *control;
	const struct service *service;
	size_t rule, cohort;
};

static int begin(struct change *change)
{
	int error = cli_open_write(change->cli, &change->control);

	if (error)
		return error;
	change->service = cli_service(change->cli, change->control, change->cli->words[0]);
	return change->service ? 0 : -ENOENT;
}

static bool is_cut(const struct change *change)
{
	return cli_flag(change->cli, "--cut");
}

static int finish(struct change *change)
{
	int error = 0;

	if (is_cut(change))
		error = control_cut(change->control, change->service->name, change->rule,
				    change->cohort);
	return error ? error : control_publish_service(change->control, change->service->name);
}

static const char *object_of(const struct change *change, char object[3 * NAME_SIZE])
{
	snprintf(object, 3 * NAME_SIZE, "services/%s/cohorts/%s", change->service->name,
		 change->service->cohorts[change->cohort].name);
	return object;
}

/* ---- set ---- */

static int choose_rule(struct change *change)
{
	const struct service *service = change->service;
	const char *name = cli_flag(change->cli, "--rule"), *names[RULES_MAX];
	char object[3 * NAME_SIZE];
	int rule;

	if (!name) {
		change->rule = service_default_rule(service) - service->rules;
		return 0;
	}
	rule = service_rule(service, name);
	if (rule >= 0) {
		change->rule = rule;
		return 0;
	}
	for (size_t i = 0; i < service->rules_count; i++)
		names[i] = service->rules[i].name;
	snprintf(object, sizeof(object), "services/%s/rules", service->name);
	return cli_unknown(change->cli->errors, object, "rule", name, names, service->rules_count);
}

static int choose_cohort(struct change *change)
{
	const struct service *service = change->service;
	const char *name = cli_flag(change->cli, "--cohort"), *names[COHORTS_MAX];
	int cohort = name ? service_cohort(service, name) : 1;
	char object[3 * NAME_SIZE];

	change->cohort = cohort;
	if (cohort > 0)
		return 0;
	if (!cohort)
		return errors_add(change->cli->errors, NULL, object_of(change, object),
				  "set the share of a canary",
				  "it is the control, which has the rest");
	for (size_t i = 1; i < service->cohorts_count; i++)
		names[i - 1] = service->cohorts[i].name;
	snprintf(object, sizeof(object), "services/%s/cohorts", service->name);
	return cli_unknown(change->cli->errors, object, "canary", name, names,
			   service->cohorts_count - 1);
}

/* Another tool's parts have no slots: what it can be told, and what the other canaries leave. */
static int check_part(const struct change *change, uint32_t ppm, const char *object)
{
	const struct service *service = change->service;
	const struct split split = split_of(service);
	char what[SPLIT_PROBLEM_SIZE], hint[SPLIT_TEXT_SIZE + 8], text[SPLIT_TEXT_SIZE];
	uint64_t others = 0;

	if (split_problem(&split, ppm, what)) {
		snprintf(hint, sizeof(hint), "set %s", split_nearest(&split, ppm, text));
		return errors_add(change->cli->errors, NULL, object, hint, "%s", what);
	}
	for (size_t cohort = 1; cohort < service->cohorts_count; cohort++)
		if (cohort != change->cohort)
			others += effective_share(change->control, service, change->rule, cohort);
	if (ppm + others > PPM)
		return errors_add(change->cli->errors, NULL, object,
				  "set less, or lower another canary's first",
				  "the other canaries leave it %s of rule %s",
				  text_format_percent(PPM - others, text),
				  service->rules[change->rule].name);
	return 0;
}

/* Its steps are about to set shares, too: it is held first, or the share is left to it. */
static int pause_rollout(const struct change *change, uint32_t ppm, uint64_t *paused)
{
	const struct cli *cli = change->cli;
	const struct service *service = change->service;
	struct rollout_event event = {
		.kind = EVENT_OVERRIDE,
		.by = cli->actor.by,
		.reason = cli->actor.reason,
		.ppm = ppm,
	};
	char object[3 * NAME_SIZE];
	int error = control_active_rollout(change->control, service->name, paused);

	if (error || !*paused)
		return error;
	if (!cli_flag(cli, "--override"))
		return errors_add_code(
			cli->errors, EBUSY, object_of(change, object),
			"`rollout pause` or `abort` it, or say --override, which pauses it first",
			"rollout %" PRIu64 " of the service is under way", *paused);
	if (change->cohort == rollout_cohort(service))
		event.rule = service->rules[change->rule].name;
	return rollout_apply(change->control, service, &event, NULL);
}

/* Slots are at most 100% together, so shares within them are too. */
static int check_share(const struct change *change, uint32_t ppm)
{
	const struct cohort *cohort = &change->service->cohorts[change->cohort];
	const struct live_service *live =
		live_service_of(&change->control->live, change->service->name);
	char object[3 * NAME_SIZE], share[TEXT_VALUE_SIZE], slot[TEXT_VALUE_SIZE];

	object_of(change, object);
	if (live && live->latch != LATCH_NONE)
		return errors_add(change->cli->errors, NULL, object,
				  "lift it with `xdp-canary rollout reset`",
				  "the service is latched at control (%s)",
				  latch_name(live->latch));
	if (ppm > cohort->slot_ppm)
		return errors_add(change->cli->errors, NULL, object,
				  "set less, or widen its slot in the file",
				  "%s is more than its slot, %s", text_format_percent(ppm, share),
				  text_format_percent(cohort->slot_ppm, slot));
	if (ppm && !cohort->backends_count)
		return errors_add(change->cli->errors, NULL, object, "give it some in the file",
				  "it has no backends");
	return is_split(change->service) ? check_part(change, ppm, object) : 0;
}

static int store_share(struct change *change, uint32_t before, uint32_t ppm)
{
	const char *rule = change->service->rules[change->rule].name;
	const char *cohort = change->service->cohorts[change->cohort].name;
	struct control *control = change->control;
	char key[2 * NAME_SIZE + 8];
	json_t *after;
	int error = store_set_share(control->store, change->service->name, rule, cohort, ppm,
				    control->errors);

	if (error)
		return error;
	snprintf(key, sizeof(key), "live/%s/%s", rule, cohort);
	after = json_pack("{s:I}", key, (json_int_t)ppm);
	if (is_cut(change))
		json_object_set_new(after, "cut", json_true());
	return cli_audit(control, change->service->name,
			 json_pack("{s:I}", key, (json_int_t)before), after);
}

static void print_set(const struct change *change, uint32_t before, uint32_t ppm, uint64_t paused)
{
	const struct service *service = change->service;
	const char *rule = service->rules[change->rule].name;
	const char *cohort = service->cohorts[change->cohort].name;
	char old[TEXT_VALUE_SIZE], new[TEXT_VALUE_SIZE];
	struct cli *cli = change->cli;

	cli_say(cli, "%s: rule %s: cohort %s: %s -> %s%s", service->name, rule, cohort,
		text_format_percent(before, old), text_format_percent(ppm, new),
		is_cut(change) ? ", live flows of others cut" : "");
	if (paused)
		cli_say(cli, "%s: rollout %" PRIu64 " is paused", service->name, paused);
	if (cli->json)
		cli_print_json(cli,
			       json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:o, s:o}", "cmd",
					 "rollout set", "service", service->name, "rule", rule,
					 "cohort", cohort, "before_ppm", (json_int_t)before,
					 "after_ppm", (json_int_t)ppm, "cut", is_cut(change),
					 "paused_rollout",
					 paused ? json_integer((json_int_t)paused) : json_null(),
					 "epoch", json_epoch(change->control, service->name)));
}

int command_rollout_set(struct cli *cli)
{
	struct change change = {.cli = cli};
	uint32_t ppm, before = 0;
	uint64_t paused = 0;
	int error = text_percent(cli->words[1], &ppm);

	if (error)
		return cli_usage(cli, "PERCENT",
				 error == -ERANGE ? "0% to 100%, in steps of 0.0001%"
						  : "say for example 5% or 100ppm",
				 "`%s` is no share", cli->words[1]);
	error = begin(&change);
	if (!error)
		error = choose_rule(&change);
	if (!error)
		error = choose_cohort(&change);
	if (!error)
		error = check_share(&change, ppm);
	if (!error)
		error = pause_rollout(&change, ppm, &paused);
	if (!error) {
		before =
			effective_share(change.control, change.service, change.rule, change.cohort);
		error = store_share(&change, before, ppm);
	}
	if (!error)
		error = finish(&change);
	if (!error)
		print_set(&change, before, ppm, paused);
	control_close(change.control);
	return error;
}

/* ---- reset ---- */

/* {"live/RULE/COHORT":ppm ..., "latch":name}: what there is to take back. */
static json_t *taken_back(const struct change *change, enum latch latch)
{
	const struct live *live = &change->control->live;
	json_t *before = json_object();
	char key[2 * NAME_SIZE + 8];

	for (size_t i = 0; i < live->shares_count; i++) {
		const struct live_share *share = &live->shares[i];

		if (strcmp(share->service, change->service->name))
			continue;
		snprintf(key, sizeof(key), "live/%s/%s", share->rule, share->cohort);
		json_object_set_new(before, key, json_integer(share->ppm));
	}
	if (latch != LATCH_NONE)
		json_object_set_new(before, "latch", json_string(latch_name(latch)));
	return before;
}

static int take_back(struct change *change, enum latch latch, size_t *dropped)
{
	struct control *control = change->control;
	const char *name = change->service->name;
	json_t *before = taken_back(change, latch);
	int error = store_close_rollouts(control->store, name, control->errors);

	if (!error)
		error = store_drop_shares(control->store, name, NULL, NULL, dropped,
					  control->errors);
	if (!error && latch != LATCH_NONE)
		error = control_lift_latch(control, name, 0);
	if (!error && json_object_size(before))
		error = cli_audit(control, name, json_incref(before), json_null());
	json_decref(before);
	return error;
}

/* The shares of one that is under way are its own; one that has ended becomes history. */
static int check_no_rollout(const struct change *change)
{
	char object[NAME_SIZE + 24];
	uint64_t id;
	int error = control_active_rollout(change->control, change->service->name, &id);

	if (error || !id)
		return error;
	snprintf(object, sizeof(object), "services/%s/rollout", change->service->name);
	return errors_add(change->cli->errors, NULL, object, "`rollout abort` ends it",
			  "rollout %llu is under way", (unsigned long long)id);
}

static void print_reset(const struct change *change, enum latch latch, size_t dropped)
{
	const char *name = change->service->name;
	struct cli *cli = change->cli;

	cli_say(cli, "%s: %zu live share%s dropped%s%s: the file's shares hold", name, dropped,
		dropped == 1 ? "" : "s", latch == LATCH_NONE ? "" : ", no longer latched: was ",
		latch == LATCH_NONE ? "" : latch_name(latch));
	if (cli->json)
		cli_print_json(cli,
			       json_pack("{s:s, s:s, s:I, s:o, s:o}", "cmd", "rollout reset",
					 "service", name, "dropped", (json_int_t)dropped, "latch",
					 json_text(latch == LATCH_NONE ? NULL : latch_name(latch)),
					 "epoch", json_epoch(change->control, name)));
}

int command_rollout_reset(struct cli *cli)
{
	struct change change = {.cli = cli};
	enum latch latch = LATCH_NONE;
	size_t dropped = 0;
	int error = begin(&change);

	if (!error)
		error = check_no_rollout(&change);
	if (!error) {
		const struct live_service *live =
			live_service_of(&change.control->live, change.service->name);

		latch = live ? live->latch : LATCH_NONE;
		error = take_back(&change, latch, &dropped);
	}
	if (!error)
		error = finish(&change);
	if (!error)
		print_reset(&change, latch, dropped);
	control_close(change.control);
	return error;
}
