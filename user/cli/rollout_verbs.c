// SPDX-License-Identifier: GPL-2.0-only
/*
 * rollout start, pause, resume, approve, promote, abort, retry: each one event for the machine.
 * What raises a share is the daemon's to do, within a second; so a rollout is not started without
 * one.
 */
#include "cli/cli.h"
#include "daemon/presence.h"
#include "rollout/drive.h"

#include <errno.h>
#include <inttypes.h>

struct verb {
	struct cli *cli;
	struct control *control;
	const struct service *service;
	const char *name; /* "start" */
};

static const char *object_of(const struct verb *verb, char object[NAME_SIZE + 24])
{
	snprintf(object, NAME_SIZE + 24, "services/%s/rollout", verb->service->name);
	return object;
}

static int check_daemon(const struct verb *verb, bool is_needed)
{
	static const char hint[] = "start it: `systemctl start xdp-canary`, or `xdp-canary daemon`";
	char object[NAME_SIZE + 24];

	if (presence_is_announced(verb->cli->place.state))
		return 0;
	object_of(verb, object);
	if (is_needed)
		return errors_add(verb->cli->errors, NULL, object, hint,
				  "the daemon, which takes the steps, is not running");
	errors_warn(verb->cli->errors, NULL, object, hint,
		    "the daemon is not running: nothing goes on before it does");
	return 0;
}

/* Of a start: the first step could not begin. */
static int check_canary(const struct verb *verb)
{
	const struct service *service = verb->service;
	const struct cohort *cohort;
	char object[NAME_SIZE + 24];

	if (!service->rollout.is_given)
		return 0; /* the machine says so */
	cohort = &service->cohorts[rollout_cohort(service)];
	if (cohort->backends_count)
		return 0;
	return errors_add(verb->cli->errors, NULL, object_of(verb, object),
			  "give it some in the file", "cohort %s has no backends", cohort->name);
}

static void print_done(const struct verb *verb)
{
	struct rollout_state state;
	struct cli *cli = verb->cli;
	const char *name = verb->service->name;
	char command[32];

	if (rollout_load_state(verb->control->store, name, &state, cli->errors))
		return;
	cli_say(cli, "%s: rollout %" PRIu64 ": %s, step %u of %u%s%s", name, state.id,
		rollout_phase_name(state.phase),
		state.step < state.steps_count ? state.step + 1 : state.steps_count,
		state.steps_count, state.why[0] ? ": " : "", state.why);
	if (!cli->json)
		return;
	snprintf(command, sizeof(command), "rollout %s", verb->name);
	cli_print_json(cli,
		       json_pack("{s:s, s:s, s:I, s:s, s:I, s:o}", "cmd", command, "service", name,
				 "id", (json_int_t)state.id, "state",
				 rollout_phase_name(state.phase), "step",
				 (json_int_t)(state.step < state.steps_count ? state.step + 1
									     : state.steps_count),
				 "epoch", json_epoch(verb->control, name)));
}

static int run(struct cli *cli, const char *name, struct rollout_event event)
{
	struct verb verb = {.cli = cli, .name = name};
	bool starts = event.kind == EVENT_START;
	int error = cli_open_write(cli, &verb.control);

	if (error)
		return error;
	verb.service = cli_service(cli, verb.control, cli->words[0]);
	error = verb.service ? 0 : -ENOENT;
	if (!error && starts)
		error = check_canary(&verb);
	if (!error && starts)
		error = check_daemon(&verb, true);
	event.by = cli->actor.by;
	event.reason = cli->actor.reason;
	if (!error)
		error = rollout_drive(verb.control, verb.service, &event);
	if (!error && !starts && event.kind != EVENT_PAUSE && event.kind != EVENT_ABORT)
		check_daemon(&verb, false);
	if (!error)
		print_done(&verb);
	control_close(verb.control);
	return error;
}

int command_rollout_start(struct cli *cli)
{
	return run(cli, "start", (struct rollout_event){.kind = EVENT_START});
}

int command_rollout_retry(struct cli *cli)
{
	return run(cli, "retry", (struct rollout_event){.kind = EVENT_START, .is_retry = true});
}

int command_rollout_pause(struct cli *cli)
{
	return run(cli, "pause", (struct rollout_event){.kind = EVENT_PAUSE});
}

int command_rollout_resume(struct cli *cli)
{
	return run(cli, "resume", (struct rollout_event){.kind = EVENT_RESUME});
}

int command_rollout_approve(struct cli *cli)
{
	return run(cli, "approve", (struct rollout_event){.kind = EVENT_APPROVE});
}

int command_rollout_promote(struct cli *cli)
{
	return run(cli, "promote",
		   (struct rollout_event){.kind = EVENT_PROMOTE,
					  .full = cli_flag(cli, "--full") != NULL});
}

int command_rollout_abort(struct cli *cli)
{
	return run(cli, "abort", (struct rollout_event){.kind = EVENT_ABORT});
}
