// SPDX-License-Identifier: GPL-2.0-only
/*
 * A rollout as people read it: what state it is in and why, its steps with marks (done, current, to
 * come), shares as set and as measured, each metric with its e-value and interval, what happened
 * last. All of it comes from section 4's document, and the steps from the plan.
 */
#include "cli/rollout_view.h"
#include "daemon/presence.h"
#include "util/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define EVENTS_SHOWN 8
#define NAME_WIDTH   10

struct tree {
	const struct cli *cli;
	const struct rollout_view *view;
	FILE *stream;
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

static void begin_color(const struct tree *tree, const char *code)
{
	char buffer[16];

	fputs(cli_color(tree->cli, code, buffer), tree->stream);
}

static void end_color(const struct tree *tree)
{
	fputs(cli_color_end(tree->cli), tree->stream);
}

static const char *color_of(const struct rollout_view *view)
{
	if (rollout_is_undone(view->state.phase))
		return "31";
	return view->state.phase == ROLLOUT_PAUSED || view->state.phase == ROLLOUT_WAITING ? "33"
											   : "32";
}

static void heading(const struct tree *tree, const char *text)
{
	putc('\n', tree->stream);
	begin_color(tree, "1");
	fputs(text, tree->stream);
	end_color(tree);
	putc('\n', tree->stream);
}

/* ---- head ---- */

static void print_state(const struct tree *tree)
{
	const struct rollout_view *view = tree->view;
	const char *wait = rollout_wait_name(view->state.waiting_for);

	fprintf(tree->stream, "%-*s", NAME_WIDTH, "State:");
	begin_color(tree, color_of(view));
	fputs(rollout_phase_name(view->state.phase), tree->stream);
	end_color(tree);
	if (view->has_rollout)
		fprintf(tree->stream, ", step %u of %u",
			view->state.step < view->state.steps_count ? view->state.step + 1
								   : view->state.steps_count,
			view->state.steps_count);
	if (wait && rollout_is_active(view->state.phase))
		fprintf(tree->stream, ", waiting for %s", wait);
	if (view->state.by[0] && view->state.phase != ROLLOUT_RUNNING)
		fprintf(tree->stream, ", by %s", view->state.by);
	putc('\n', tree->stream);
}

static void print_lease(const struct tree *tree)
{
	const json_t *lease = json_object_get(tree->view->document, "lease");
	const json_t *left = json_object_get(lease, "remaining_seconds");
	double seconds = json_number_value(json_object_get(lease, "seconds"));

	fprintf(tree->stream, "%-*s", NAME_WIDTH, "Lease:");
	if (seconds <= 0)
		fputs("none\n", tree->stream);
	else if (json_is_null(left))
		fprintf(tree->stream, "%g s\n", seconds);
	else
		fprintf(tree->stream, "%.0f s left of %g s\n", json_number_value(left), seconds);
}

static void print_head(const struct tree *tree)
{
	const struct rollout_view *view = tree->view;
	const json_t *document = view->document;
	char started[TEXT_VALUE_SIZE];

	fprintf(tree->stream, "%-*s%s, release `%s`, canary %s\n", NAME_WIDTH,
		"Service:", view->service->name, text_of(document, "release"),
		text_of(document, "cohort"));
	if (view->has_rollout)
		fprintf(tree->stream, "%-*s%" PRIu64 ", started %s\n", NAME_WIDTH,
			"Rollout:", view->stored.id, cli_time(view->stored.started_ns, started));
	print_state(tree);
	fprintf(tree->stream, "%-*s%s\n", NAME_WIDTH, "Verdict:", text_of(document, "verdict"));
	fprintf(tree->stream, "%-*s%s\n", NAME_WIDTH, "Reason:", text_of(document, "reason"));
	fprintf(tree->stream, "%-*s%s\n", NAME_WIDTH, "Armed:", text_of(document, "armed"));
	print_lease(tree);
	if (rollout_is_active(view->state.phase) && !presence_is_announced(tree->cli->place.state))
		fprintf(tree->stream, "%-*snot running: nothing is judged, no lease is renewed\n",
			NAME_WIDTH, "Daemon:");
}

/* ---- steps ---- */

static void describe(const struct step *step, char out[128])
{
	char text[TEXT_VALUE_SIZE];

	switch (step->kind) {
	case STEP_WEIGHT:
		snprintf(out, 128, "%s%s%s%s", step->segment[0] ? "segment " : "weight",
			 step->segment, " ", text_format_percent(step->weight_ppm, text));
		break;
	case STEP_PAUSE:
		snprintf(out, 128, "pause %s",
			 step->pause_ms ? text_format_duration(step->pause_ms, text)
					: "until `rollout resume`");
		break;
	case STEP_ANALYSIS:
		snprintf(out, 128, "analysis, at most %s",
			 text_format_duration(step->analysis_timeout_ms, text));
		break;
	default:
		snprintf(out, 128, "approve%s%.100s",
			 step->approve_message && *step->approve_message ? ": " : "",
			 step->approve_message ? step->approve_message : "");
	}
}

static const char *mark_of(const struct rollout_view *view, size_t step)
{
	const struct rollout_state *state = &view->state;

	if (step < state->step || state->phase == ROLLOUT_SUCCEEDED)
		return "✔";
	if (step > state->step)
		return "·";
	if (rollout_is_undone(state->phase))
		return "✖";
	return state->phase == ROLLOUT_RUNNING ? "▶" : "⏸";
}

static void print_steps(const struct tree *tree)
{
	const struct rollout_view *view = tree->view;
	char text[128], since[TEXT_VALUE_SIZE];

	heading(tree, "STEPS");
	for (size_t i = 0; i < view->plan->rollout.steps_count; i++) {
		bool is_current = i == view->state.step && rollout_is_active(view->state.phase);

		describe(&view->plan->rollout.steps[i], text);
		if (is_current)
			begin_color(tree, "1");
		fprintf(tree->stream, "%s %2zu  %s", mark_of(view, i), i + 1, text);
		if (is_current)
			fprintf(tree->stream, "  (since %s)",
				cli_time(view->state.since_ns, since));
		if (is_current)
			end_color(tree);
		putc('\n', tree->stream);
	}
}

/* ---- shares ---- */

static const char *percent_of(const json_t *object, const char *key, char out[TEXT_VALUE_SIZE])
{
	const json_t *ppm = json_object_get(object, key);

	if (!json_is_integer(ppm))
		return "-";
	return text_format_percent((uint32_t)json_integer_value(ppm), out);
}

static void print_rules(const struct tree *tree)
{
	const json_t *rules = json_object_get(tree->view->document, "rules"), *rule;
	char set[TEXT_VALUE_SIZE], flows[TEXT_VALUE_SIZE], packets[TEXT_VALUE_SIZE];
	char clients[TEXT_VALUE_SIZE], base[TEXT_VALUE_SIZE];
	size_t i;

	heading(tree, "RULE              SET         FLOWS       PACKETS     CLIENTS     FILE");
	json_array_foreach(rules, i, rule) fprintf(
		tree->stream, "%-16s  %-10s  %-10s  %-10s  %-10s  %s\n", text_of(rule, "rule"),
		percent_of(rule, "set_ppm", set), percent_of(rule, "actual_flows_ppm", flows),
		percent_of(rule, "actual_packets_ppm", packets),
		percent_of(rule, "actual_clients_ppm", clients),
		percent_of(rule, "base_ppm", base));
}

/* ---- metrics ---- */

/* e^x, as far as a double goes. */
static const char *e_value(const json_t *log_e, char out[32])
{
	double value = json_number_value(log_e);

	if (!json_is_number(log_e))
		return "-";
	if (fabs(value) > 200)
		snprintf(out, 32, "1e%+.0f", value / log(10));
	else
		snprintf(out, 32, "%.3g", exp(value));
	return out;
}

static const char *number_of(const json_t *number, char out[32])
{
	if (!json_is_number(number))
		return "-";
	snprintf(out, 32, "%.3g", json_number_value(number));
	return out;
}

static const char *count_of(const json_t *count, char out[24])
{
	if (!json_is_integer(count))
		return "-";
	snprintf(out, 24, "%" JSON_INTEGER_FORMAT, json_integer_value(count));
	return out;
}

static void print_arm(const json_t *metric, const char *arm, char out[48])
{
	const json_t *counts = json_object_get(metric, arm);
	char events[24], clients[24];

	snprintf(out, 48, "%s/%s", count_of(json_object_get(counts, "events"), events),
		 count_of(json_object_get(counts, "clients"), clients));
}

static void print_metric(const struct tree *tree, const json_t *metric)
{
	const json_t *interval = json_object_get(metric, "interval");
	const char *verdict = text_of(metric, "verdict");
	bool is_bad = !strcmp(verdict, "ROLLBACK") || !strcmp(verdict, "INVALID");
	char e[32], psi[32], low[32], high[32], range[72], canary[48], control[48];

	number_of(json_array_get(interval, 0), low);
	snprintf(range, sizeof(range), "[%s, %s]", number_of(json_array_get(interval, 0), low),
		 number_of(json_array_get(interval, 1), high));
	print_arm(metric, "canary", canary);
	print_arm(metric, "control", control);
	fprintf(tree->stream, "%-18s  ", text_of(metric, "metric"));
	if (is_bad)
		begin_color(tree, "31");
	fprintf(tree->stream, "%-12s", verdict);
	if (is_bad)
		end_color(tree);
	fprintf(tree->stream, "  %-9s  %-7s  %-17s  %-13s  %-13s  %s\n",
		e_value(json_object_get(metric, "log_e"), e),
		number_of(json_object_get(metric, "psi"), psi), range, canary, control,
		json_string_value(json_object_get(metric, "reason")) ? text_of(metric, "reason")
								     : "");
}

static void print_metrics(const struct tree *tree)
{
	const json_t *metrics = json_object_get(tree->view->document, "metrics"), *metric;
	size_t i;

	if (!json_array_size(metrics))
		return;
	heading(tree, "METRIC              VERDICT       E          RATIO    INTERVAL           "
		      "CANARY         CONTROL        (clients with the event / clients)");
	json_array_foreach(metrics, i, metric) print_metric(tree, metric);
}

/* ---- events ---- */

static void print_events(const struct tree *tree)
{
	const struct rollout_view *view = tree->view;
	size_t first = view->events_count > EVENTS_SHOWN ? view->events_count - EVENTS_SHOWN : 0;
	char time[TEXT_VALUE_SIZE];

	heading(tree, "EVENTS");
	for (size_t i = first; i < view->events_count; i++) {
		const struct rollout_record *record = &view->events[i];
		json_t *event = json_loads(record->json, 0, NULL);

		fprintf(tree->stream, "%s  %-13s by %s%s%s\n", cli_time(record->time_ns, time),
			record->event, text_of(event, "by"),
			json_is_string(json_object_get(event, "reason")) ? ": " : "",
			json_is_string(json_object_get(event, "reason")) ? text_of(event, "reason")
									 : "");
		json_decref(event);
	}
}

void rollout_tree_print(const struct cli *cli, const struct rollout_view *view, FILE *stream)
{
	struct tree tree = {.cli = cli, .view = view, .stream = stream};

	print_head(&tree);
	if (view->has_rollout)
		print_steps(&tree);
	print_rules(&tree);
	print_metrics(&tree);
	if (view->events_count)
		print_events(&tree);
}
