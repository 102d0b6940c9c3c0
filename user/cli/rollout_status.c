// SPDX-License-Identifier: GPL-2.0-only
/*
 * rollout status: once, or with --watch until the rollout has ended: on a terminal the tree is
 * drawn again in its place, else there is a line for each change; with -j an object a line.
 */
#include "cli/rollout_view.h"
#include "rollout/drive.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS 500000000L

struct watch {
	struct cli *cli;
	const char *service;
	bool is_shown; /* --watch; else it is only waited for the end */
	bool is_terminal;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; UINT64_MAX: none */
	char *said;	      /* the last line, or object */
};

/* ---- showing ---- */

/* Without what changes by itself: the rest of the lease. */
static char *essence_of(const json_t *document)
{
	json_t *copy = json_deep_copy(document);
	char *text;

	json_object_set_new(json_object_get(copy, "lease"), "remaining_seconds", json_null());
	text = json_dumps(copy, JSON_COMPACT);
	json_decref(copy);
	return text;
}

static char *line_of(const struct rollout_view *view)
{
	const struct rollout_state *state = &view->state;
	const char *wait = rollout_wait_name(state->waiting_for);
	char share[TEXT_VALUE_SIZE], *line = NULL;
	size_t length, rules = view->service->rules_count;
	FILE *stream = open_memstream(&line, &length);

	if (!stream)
		return NULL;
	if (!view->has_rollout) {
		fprintf(stream, "%s: %s", view->service->name, rollout_phase_name(state->phase));
		fclose(stream);
		return line;
	}
	fprintf(stream, "%s: rollout %llu: %s, step %u of %u%s%s", view->service->name,
		(unsigned long long)view->stored.id, rollout_phase_name(state->phase),
		state->step < state->steps_count ? state->step + 1 : state->steps_count,
		state->steps_count, wait ? ", waiting for " : "", wait ? wait : "");
	for (size_t i = 0; i < rules; i++) {
		const json_t *rule = json_array_get(json_object_get(view->document, "rules"), i);
		json_int_t ppm = json_integer_value(json_object_get(rule, "set_ppm"));

		if (ppm || rules == 1)
			fprintf(stream, ", %s %s", view->service->rules[i].name,
				text_format_percent((uint32_t)ppm, share));
	}
	fprintf(stream, ", %s", json_string_value(json_object_get(view->document, "verdict")));
	if (!rollout_is_active(state->phase) && state->why[0])
		fprintf(stream, ": %s", state->why);
	fclose(stream);
	return line;
}

/* What was printed goes first, the screen is not blank in between. */
static void draw(const struct watch *watch, const struct rollout_view *view)
{
	char *text = NULL, *line, *rest;
	size_t length;
	FILE *stream = open_memstream(&text, &length);

	if (!stream)
		return;
	rollout_tree_print(watch->cli, view, stream);
	fclose(stream);
	fputs("\033[H", stdout);
	for (rest = text; (line = strsep(&rest, "\n")) && (rest || *line);)
		printf("%s\033[K\n", line);
	fputs("\033[J", stdout);
	free(text);
}

/* Prints it if it is news; on a terminal always. */
static void show(struct watch *watch, const struct rollout_view *view)
{
	struct cli *cli = watch->cli;
	char *text;

	if (watch->is_terminal && !cli->json) {
		draw(watch, view);
		fflush(stdout);
		return;
	}
	text = cli->json ? essence_of(view->document) : line_of(view);
	if (text && (!watch->said || strcmp(text, watch->said))) {
		if (cli->json)
			cli_print_json_line(cli, json_incref(view->document));
		else
			cli_say(cli, "%s", text);
		fflush(stdout);
	}
	free(watch->said);
	watch->said = text;
}

static void print_once(struct cli *cli, const struct rollout_view *view)
{
	if (cli->json && cli->words_count)
		cli_print_json(cli, json_incref(view->document));
	else if (cli->json)
		cli_print_json_line(cli, json_incref(view->document));
	else if (!cli->quiet)
		rollout_tree_print(cli, view, stdout);
}

/* ---- watching ---- */

/* 1: it goes on; 0: it has ended, or there is none. */
static int look(struct watch *watch, bool is_last)
{
	struct cli *cli = watch->cli;
	struct control *control = NULL;
	const struct service *service;
	struct rollout_view view;
	int result = cli_open(cli, &control);

	if (result)
		return result;
	service = cli_service(cli, control, watch->service);
	result = service ? rollout_view_read(control, service, &view) : -ENOENT;
	if (!result) {
		result = rollout_is_active(view.state.phase);
		cli->status = rollout_view_status(&view);
		if (watch->is_shown)
			show(watch, &view);
		else if (!result || is_last)
			print_once(cli, &view);
		rollout_view_release(&view);
	}
	control_close(control);
	return result;
}

static int end_by_timeout(struct watch *watch)
{
	char object[NAME_SIZE + 24];

	watch->cli->status = EXIT_FAILED;
	snprintf(object, sizeof(object), "services/%.*s/rollout", NAME_SIZE, watch->service);
	return errors_add_code(watch->cli->errors, ETIMEDOUT, object,
			       "look again with `rollout status`",
			       "it has not ended within --timeout");
}

static int run_watch(struct watch *watch)
{
	const struct timespec pause = {.tv_nsec = LOOK_NS};
	int result;

	if (watch->is_shown && watch->is_terminal && !watch->cli->json)
		fputs("\033[H\033[2J", stdout);
	for (;;) {
		bool is_last = monotonic_now_ns() >= watch->deadline_ns;

		result = look(watch, is_last);
		if (result <= 0)
			return result;
		if (is_last)
			return end_by_timeout(watch);
		nanosleep(&pause, NULL);
	}
}

static int watch_service(struct cli *cli, const char *timeout)
{
	struct watch watch = {
		.cli = cli,
		.service = cli->words[0],
		.is_shown = cli_flag(cli, "--watch"),
		.is_terminal = isatty(STDOUT_FILENO),
		.deadline_ns = UINT64_MAX,
	};
	uint64_t timeout_ms;
	int error;

	if (timeout && text_duration(timeout, &timeout_ms))
		return cli_usage(cli, "--timeout", "say for example 30m", "`%s` is no duration",
				 timeout);
	if (timeout)
		watch.deadline_ns = monotonic_now_ns() + timeout_ms * 1000000;
	error = run_watch(&watch);
	free(watch.said);
	return error;
}

/* ---- once ---- */

static int print_service(struct cli *cli, struct control *control, const struct service *service,
			 int *status)
{
	struct rollout_view view;
	int error = rollout_view_read(control, service, &view);

	if (error)
		return error;
	print_once(cli, &view);
	*status = rollout_view_status(&view);
	rollout_view_release(&view);
	return 0;
}

/* It has a plan, or a rollout that the file has forgotten. */
static bool is_shown(struct control *control, const struct service *service)
{
	struct rollout_state state = {0};

	return service->rollout.is_given ||
	       (!rollout_load_state(control->store, service->name, &state, NULL) && state.id);
}

/* Those that have a plan or a rollout. The worst of their exit statuses; 1 where none has one. */
static int print_all(struct cli *cli, struct control *control)
{
	bool any = false;
	int error = 0, status;

	cli->status = EXIT_FAILED;
	for (size_t i = 0; i < control->policy->services_count && !error; i++) {
		const struct service *service = &control->policy->services[i];

		if (!is_shown(control, service))
			continue;
		if (any && !cli->json && !cli->quiet)
			putchar('\n');
		any = true;
		error = print_service(cli, control, service, &status);
		if (error || status == EXIT_FAILED)
			continue;
		if (cli->status == EXIT_FAILED || status == EXIT_ROLLBACK)
			cli->status = status;
	}
	if (!any && !error)
		return errors_add(cli->errors, NULL, "services",
				  "give one `rollout: {steps: [...]}` in the file",
				  "no service has a rollout");
	return error;
}

int command_rollout_status(struct cli *cli)
{
	const char *timeout = cli_flag(cli, "--timeout");
	const struct service *service;
	struct control *control = NULL;
	int error;

	if ((cli_flag(cli, "--watch") || timeout) && !cli->words_count)
		return cli_usage(cli, "rollout status", "say `rollout status S --watch`",
				 "no service is named");
	if (cli_flag(cli, "--watch") || timeout)
		return watch_service(cli, timeout);
	error = cli_open(cli, &control);
	if (error)
		return error;
	if (!cli->words_count) {
		error = print_all(cli, control);
	} else {
		service = cli_service(cli, control, cli->words[0]);
		error = service ? print_service(cli, control, service, &cli->status) : -ENOENT;
	}
	control_close(control);
	return error;
}
