// SPDX-License-Identifier: GPL-2.0-only
/*
 * apply: the files become the desired state. Parsed before the lock is taken, decided before
 * anything is changed (plan.c), stored and published as one commit. What was removed loses its live
 * data only after no packet can reach it, for its places are then given to others.
 */
#include "cli/apply.h"
#include "cli/attachments.h"
#include "cli/segments.h"
#include "config/config.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NEXT_HOPS_WAIT_MS 1000

struct apply {
	struct cli *cli;
	struct control *control;
	struct policy *policy; /* of the files; NULL once it is the control's */
	const struct apply_request *request;
	struct plan plan;
	struct freeze_request freeze; /* of memberships */
	struct freeze_report frozen;
	struct attachments attachments;
	char (*removed)[16]; /* interfaces */
	size_t removed_count;
};

/* ---- storing ---- */

static int store_new_revision(struct control *control, const struct policy *policy)
{
	char *yaml = config_to_yaml(policy);
	int error = yaml ? store_add_revision(control->store, yaml, &control->revision.number,
					      control->errors)
			 : -ENOMEM;

	free(yaml);
	return error;
}

static int store_drops(const struct plan *plan, struct control *control)
{
	const struct live *live = &control->live;
	int error = 0;

	for (size_t i = 0; i < live->shares_count && !error; i++)
		if (plan->drop_shares[i])
			error = store_drop_shares(control->store, live->shares[i].service,
						  live->shares[i].rule, live->shares[i].cohort,
						  NULL, control->errors);
	for (size_t i = 0; i < live->pins_count && !error; i++)
		if (plan->drop_pins[i])
			error = store_drop_pin(control->store, live->pins[i].service,
					       &live->pins[i].client, control->errors);
	return error;
}

static int audit_changes(const struct plan *plan, struct control *control)
{
	int error = 0;

	if (json_object_size(plan->box_before))
		error = cli_audit(control, "", json_incref(plan->box_before),
				  json_incref(plan->box_after));
	for (size_t i = 0; i < plan->services_count && !error; i++) {
		const struct plan_service *service = &plan->services[i];

		if (json_object_size(service->audit_before))
			error = cli_audit(control, service->name,
					  json_incref(service->audit_before),
					  json_incref(service->audit_after));
	}
	return error;
}

static int store_services(const struct plan *plan, struct control *control)
{
	int error = 0;

	for (size_t i = 0; i < plan->services_count && !error; i++) {
		const struct plan_service *service = &plan->services[i];

		if (service->lift_latch)
			error = control_lift_latch(control, service->name, 0);
		if (!error && service->after && json_object_size(service->audit_before))
			error = control_touch(control, service->after->name);
	}
	return error;
}

/* What a writer that died left of services that are no longer desired. */
static int remove_leftovers(struct control *control)
{
	const struct live *live = &control->live;
	int error = 0;

	for (size_t i = 0; i < live->services_count && !error; i++)
		if (!policy_service(control->policy, live->services[i].name))
			error = store_remove_service(control->store, live->services[i].name,
						     control->errors);
	return error;
}

/* ---- interfaces ---- */

static bool had_interface(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->interfaces_count; i++)
		if (!strcmp(policy->interfaces[i].name, name))
			return true;
	return false;
}

static bool box_is_attached(const struct live *live)
{
	bool attached = false;

	for (size_t i = 0; i < live->interfaces_count; i++)
		attached |= live->interfaces[i].attached;
	return attached && !live->detached;
}

/* Interfaces that are new in the file are to be attached if the box is. */
static int want_new_interfaces(const struct plan *plan, struct control *control)
{
	bool is_attached = box_is_attached(&control->live);
	int error = 0;

	for (size_t i = 0; i < plan->after->interfaces_count && is_attached && !error; i++) {
		const char *name = plan->after->interfaces[i].name;

		if (!had_interface(plan->before, name))
			error = store_set_attached(control->store, name, true, NULL,
						   control->errors);
	}
	return error;
}

/* The policy that says their names is about to go. */
static int remember_removed_interfaces(struct apply *apply)
{
	const struct policy *before = apply->plan.before, *after = apply->plan.after;

	apply->removed = calloc(before->interfaces_count + 1, sizeof(*apply->removed));
	if (!apply->removed)
		return -ENOMEM;
	for (size_t i = 0; i < before->interfaces_count; i++)
		if (!had_interface(after, before->interfaces[i].name))
			strcpy(apply->removed[apply->removed_count++], before->interfaces[i].name);
	return 0;
}

static bool is_removed(const struct apply *apply, const char *name)
{
	for (size_t i = 0; i < apply->removed_count; i++)
		if (!strcmp(apply->removed[i], name))
			return true;
	return false;
}

static int attach_wanted(struct apply *apply)
{
	const struct live *live = &apply->control->live;
	int error = 0;

	for (size_t i = 0; i < live->interfaces_count && !live->detached && !error; i++) {
		const struct live_interface *interface = &live->interfaces[i];

		if (!interface->attached || is_removed(apply, interface->name))
			continue;
		/* One that the file does not name was attached by hand, and may be gone. */
		if (!interface_exists(interface->name))
			errors_warn(apply->cli->errors, NULL, interface->name, "`detach` it",
				    "is to be attached, and is not there");
		else
			error = attachments_add(&apply->attachments, apply->control,
						interface->name, interface->slot);
	}
	return error;
}

/* ---- the change ---- */

static int store_all(struct apply *apply)
{
	const struct plan *plan = &apply->plan;
	struct control *control = apply->control;
	int error = remove_leftovers(control);

	if (!error && plan->new_revision)
		error = store_new_revision(control, plan->after);
	if (!error)
		error = store_drops(plan, control);
	if (!error)
		error = apply_end_rollouts(plan, control, &apply->cli->actor);
	if (!error)
		error = store_services(plan, control);
	if (!error)
		error = audit_changes(plan, control);
	if (!error)
		error = want_new_interfaces(plan, control);
	if (!error)
		error = remember_removed_interfaces(apply);
	return error;
}

/* What the file no longer has, once it is out of the packets' sight. */
static int forget_removed(struct apply *apply)
{
	const struct plan *plan = &apply->plan;
	struct control *control = apply->control;
	int error = 0;

	for (size_t i = 0; i < apply->removed_count && !error; i++) {
		error = link_detach(control->place->pins, apply->removed[i], control->errors);
		if (!error || error == -ENOENT)
			error = store_forget_interface(control->store, apply->removed[i],
						       control->errors);
	}
	for (size_t i = 0; i < plan->services_count && !error; i++)
		if (plan->services[i].action == PLAN_REMOVED)
			error = store_remove_service(control->store, plan->services[i].name,
						     control->errors);
	return error ? error : store_commit(control->store, control->errors);
}

/* Who is in segments that are new or defined otherwise. */
static int freeze_segments(struct apply *apply)
{
	struct control *control = apply->control;
	int error = control_freeze(control, &apply->freeze, &apply->frozen);

	return error ? error : freeze_audit(control, &apply->frozen);
}

static int make_it_so(struct apply *apply)
{
	struct control *control = apply->control;
	int error = store_all(apply);

	if (error)
		return error;
	control_set_policy(control, apply->policy);
	apply->policy = NULL;
	error = control_reload_live(control);
	if (!error)
		error = freeze_segments(apply);
	if (!error)
		error = apply_begin_rollouts(&apply->plan, control, &apply->cli->actor);
	if (!error)
		error = control_load(control);
	if (!error)
		error = attach_wanted(apply);
	if (!error)
		error = control_publish(control);
	if (error)
		attachments_take_back(&apply->attachments, control);
	if (!error)
		error = forget_removed(apply);
	/* What is done stays done: the daemon, or the next command, asks again. */
	if (!error && control_await_next_hops(control, NEXT_HOPS_WAIT_MS))
		errors_warn(apply->cli->errors, NULL, "next hops", "look at `backend list`",
			    "the kernel cannot be asked for them");
	return error;
}

/* ---- printing ---- */

static json_t *services_to_json(const struct apply *apply)
{
	json_t *list = json_array();

	for (size_t i = 0; i < apply->plan.services_count; i++) {
		const struct plan_service *service = &apply->plan.services[i];
		bool is_known = !apply->request->dry_run && service->action != PLAN_REMOVED;

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:o, s:O}", "service", service->name, "action",
					plan_action_name(service->action), "epoch",
					is_known ? json_epoch(apply->control, service->name)
						 : json_null(),
					"kept_live", service->kept_live));
	}
	return list;
}

static json_t *revision_to_json(const struct control *control)
{
	return control->revision.number ? json_integer((json_int_t)control->revision.number)
					: json_null();
}

static void say_kept(struct cli *cli, const struct plan_service *service)
{
	const json_t *kept;
	size_t i;

	json_array_foreach(service->kept_live, i, kept)
	{
		char live[TEXT_VALUE_SIZE], base[TEXT_VALUE_SIZE];

		cli_say(cli, "%s: rule %s: cohort %s keeps its live share, %s (the file says %s)",
			service->name, json_string_value(json_object_get(kept, "rule")),
			json_string_value(json_object_get(kept, "cohort")),
			text_format_percent(json_integer_value(json_object_get(kept, "live_ppm")),
					    live),
			text_format_percent(json_integer_value(json_object_get(kept, "base_ppm")),
					    base));
	}
}

static void say_restarted(const struct apply *apply, const struct plan_service *service)
{
	struct cli *cli = apply->cli;

	if (service->restarted)
		cli_say(cli, "%s: rollout %" PRIu64 " aborted, rollout %" PRIu64 " begins",
			service->name, service->rollout, service->restarted);
	else if (service->restart)
		cli_say(cli, "%s: rollout %" PRIu64 " would be aborted, and another begin",
			service->name, service->rollout);
}

static void say_all(struct apply *apply)
{
	struct cli *cli = apply->cli;
	const char *would = apply->request->dry_run ? "would be " : "";

	for (size_t i = 0; i < apply->plan.services_count; i++) {
		const struct plan_service *service = &apply->plan.services[i];

		if (service->action != PLAN_UNCHANGED)
			cli_say(cli, "%s: %s%s", service->name, would,
				plan_action_name(service->action));
		say_kept(cli, service);
		say_restarted(apply, service);
	}
	freeze_say(cli, &apply->frozen, apply->request->dry_run);
	if (!apply->plan.changed)
		cli_say(cli, "no change, revision %" PRIu64, apply->control->revision.number);
	else if (!apply->request->dry_run)
		cli_say(cli, "revision %" PRIu64, apply->control->revision.number);
}

static void print_result(struct apply *apply)
{
	struct cli *cli = apply->cli;
	json_t *document, *rest;

	if (!cli->json) {
		say_all(apply);
		return;
	}
	document = json_copy(apply->request->head);
	rest = json_pack("{s:b, s:o, s:b, s:o, s:o, s:o, s:o, s:o}", "changed", apply->plan.changed,
			 "revision", revision_to_json(apply->control), "dry_run",
			 apply->request->dry_run, "services", services_to_json(apply), "restarted",
			 apply_restarted_to_json(&apply->plan), "segments",
			 freeze_to_json(&apply->frozen, false), "groupings",
			 freeze_to_json(&apply->frozen, true), "warnings", json_array());
	json_object_update(document, rest);
	json_decref(rest);
	cli_print_json(cli, document);
}

/* ---- the whole ---- */

static void plan_freeze(struct apply *apply)
{
	const struct policy *before = apply->plan.before, *after = apply->plan.after;
	struct client_form form_before = box_client_form(before), form = box_client_form(after);

	apply->freeze = (struct freeze_request){
		.policy = after,
		.which = FREEZE_CHANGED,
		.has_other_form =
			form.prefix4 != form_before.prefix4 || form.prefix6 != form_before.prefix6,
		.has_other_limit =
			after->limits.segment_clients != before->limits.segment_clients ||
			after->limits.segment_prefixes != before->limits.segment_prefixes,
		.dry_run = apply->request->dry_run,
	};
}

static int plan_and_do(struct apply *apply)
{
	const struct apply_request *request = apply->request;
	struct cli *cli = apply->cli;
	int error = plan_make(apply->control, apply->policy, request->options, cli->errors,
			      &apply->plan);

	if (!error)
		error = apply_check_daemon(&apply->plan);
	if (!error)
		plan_freeze(apply);
	if (!error && request->dry_run)
		error = control_freeze(apply->control, &apply->freeze, &apply->frozen);
	else if (!error)
		error = make_it_so(apply);
	if (!error)
		print_result(apply);
	if (!error && request->check && apply->plan.changed)
		cli->status = EXIT_DIFFERENT;
	return error;
}

int apply_policy(struct cli *cli, struct control *control, struct policy *policy,
		 const struct apply_request *request)
{
	struct apply apply = {.cli = cli, .control = control, .policy = policy, .request = request};
	int error = plan_and_do(&apply);

	freeze_report_release(&apply.frozen);
	plan_release(&apply.plan);
	policy_free(apply.policy);
	attachments_release(&apply.attachments);
	free(apply.removed);
	return error;
}

/* ---- the command ---- */

static struct policy *load_files(struct cli *cli)
{
	struct policy *policy;
	const char **paths;
	size_t count;

	paths = cli_flag_all(cli, "-f", &count);
	if (!count) {
		free(paths);
		cli_usage(cli, "-f", "say `-f PATH`", "no file is named");
		return NULL;
	}
	policy = config_load(paths, count, cli->errors);
	free(paths);
	return policy;
}

static int check_revision(struct cli *cli, const struct control *control)
{
	const char *text = cli_flag(cli, "--if-revision");
	uint64_t wanted, is = control->revision.number;

	if (!text)
		return 0;
	if (text_integer(text, 0, INT64_MAX, &wanted))
		return cli_usage(cli, "--if-revision", "say for example 7",
				 "`%s` is no number of a revision", text);
	if (wanted == is)
		return 0;
	return errors_add(cli->errors, NULL, "--if-revision",
			  "look at `history` and `diff`, then apply again",
			  "the revision is %" PRIu64 ", not %" PRIu64, is, wanted);
}

int command_apply(struct cli *cli)
{
	struct apply_request request = {
		.options = {.prune = cli_flag(cli, "--prune"),
			    .reset_shares = cli_flag(cli, "--reset-shares"),
			    .reshuffle = cli_flag(cli, "--reshuffle"),
			    .restart_rollout = cli_flag(cli, "--restart-rollout")},
		.check = cli_flag(cli, "--check"),
		.dry_run = cli_flag(cli, "--dry-run") || cli_flag(cli, "--check"),
	};
	struct policy *policy = load_files(cli);
	struct control *control = NULL;
	int error = policy ? 0 : -EINVAL;

	if (!error)
		error = request.dry_run ? cli_open(cli, &control) : cli_open_write(cli, &control);
	if (!error)
		error = check_revision(cli, control);
	if (error) {
		policy_free(policy);
	} else {
		request.head = json_pack("{s:s}", "cmd", "apply");
		error = apply_policy(cli, control, policy, &request);
		json_decref(request.head);
	}
	control_close(control);
	return error;
}
