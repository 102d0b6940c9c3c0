// SPDX-License-Identifier: GPL-2.0-only
/*
 * The child is a copy of the daemon that opens the state for itself and touches nothing else that
 * it inherits. What it complains of comes back in a file in memory, so that the daemon says it
 * once, not every time that it is tried again.
 */
#include "daemon/refresh.h"

#include "control/segments.h"
#include "util/log.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS	 10000		      /* for the writer lock: nothing waits for the child */
#define RETRY_NS (10 * 1000000000ULL) /* after what did not succeed */

struct refresher {
	sd_event *event;
	const struct place *place;
	const struct actor *actor;
	refresh_ended ended;
	void *data;
	uint64_t due_ns; /* nothing is due before; 0: not known */
	pid_t child;	 /* 0: none */
	int report;	 /* its file */
	sd_event_source *source;
};

/* ---- the work ---- */

/* Names of the segments that are due, separated by commas; "" where there are none. malloc()ed. */
static int due_segments(const struct place *place, char **names, struct errors *errors)
{
	uint64_t now = time_now_ns(), due;
	struct control *control;
	size_t size;
	FILE *stream = open_memstream(names, &size);
	int error = stream ? control_open(place, errors, &control) : -ENOMEM;

	if (error) {
		if (stream)
			fclose(stream);
		return error;
	}
	for (size_t i = 0; control->store && i < control->policy->segments_count && !error; i++) {
		const struct segment *segment = &control->policy->segments[i];

		error = control_refresh_due(control, segment, &due);
		if (!error && due <= now)
			fprintf(stream, "%s%s", ftell(stream) ? ", " : "", segment->name);
	}
	control_close(control);
	return fclose(stream) ? -ENOMEM : error;
}

static void note_results(const struct freeze_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		if (report->list[i].has_changed)
			log_event(LOG_INFO, &(struct log_facts){.event = "segment_refreshed"},
				  "segment %s: version %" PRIu64
				  ", %zu clients (%zu came, %zu went)",
				  report->list[i].name, report->list[i].version,
				  report->list[i].count, report->list[i].added,
				  report->list[i].removed);
}

static bool has_changed(const struct freeze_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		if (report->list[i].has_changed)
			return true;
	return false;
}

/* @names: what is due, for the audit; @request: that, or one of it. */
static int refresh(const struct place *place, const struct actor *actor, const char *names,
		   const struct freeze_request *request, struct errors *errors)
{
	struct freeze_report report = {0};
	struct control *control;
	struct actor why = *actor;
	char *reason;
	int error;

	if (asprintf(&reason, "refresh of %s", names) < 0)
		return -ENOMEM;
	why.reason = reason;
	error = control_open_write(place, &why, errors, &control);
	if (error) {
		free(reason);
		return error;
	}
	error = control_freeze(control, request, &report);
	/* Nobody need know that all are as they were. */
	if (!error && has_changed(&report))
		error = freeze_audit(control, &report);
	if (!error)
		error = control_publish(control);
	if (!error)
		note_results(&report);
	freeze_report_release(&report);
	control_close(control);
	free(reason);
	return error;
}

/* One by one: what cannot be computed is said, the others are. */
static int refresh_each(const struct place *place, const struct actor *actor, char *names,
			struct errors *errors)
{
	int error, first = 0;
	char *rest = NULL;

	for (char *name = strtok_r(names, ", ", &rest); name; name = strtok_r(NULL, ", ", &rest)) {
		const struct freeze_request request = {.which = FREEZE_NAMED, .name = name};

		error = refresh(place, actor, name, &request, errors);
		if (!first)
			first = error;
	}
	return first;
}

int refresh_due(const struct place *place, const struct actor *actor, struct errors *errors)
{
	const struct freeze_request due = {.which = FREEZE_DUE};
	char *names = NULL;
	int error = due_segments(place, &names, errors);

	if (!error && *names && !strchr(names, ','))
		error = refresh(place, actor, names, &due, errors);
	else if (!error && *names && refresh(place, actor, names, &due, NULL))
		error = refresh_each(place, actor, names, errors);
	free(names);
	return error;
}

/* ---- the child ---- */

static void write_report(int file, const struct errors *errors)
{
	json_t *report = json_pack("{s:o, s:o}", "errors", errors_to_json(errors), "warnings",
				   errors_warnings_to_json(errors));

	json_dumpfd(report, file, JSON_COMPACT);
	json_decref(report);
}

static void run_child(const struct refresher *refresher, pid_t parent)
{
	struct errors *errors = errors_new();
	struct place place = *refresher->place;
	sigset_t none;
	int error;

	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_IGN); /* the daemon ends its child itself */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (!errors || getppid() != parent)
		_exit(1);
	place.wait_ms = WAIT_MS;
	error = refresh_due(&place, refresher->actor, errors);
	write_report(refresher->report, errors);
	_exit(error ? 1 : 0);
}

static void copy_errors(const json_t *list, bool are_warnings, struct errors *errors)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		struct position where = {
			.file = json_string_value(json_object_get(entry, "file")),
			.line = json_integer_value(json_object_get(entry, "line")),
			.column = json_integer_value(json_object_get(entry, "column")),
		};
		const char *object = json_string_value(json_object_get(entry, "object"));
		const char *hint = json_string_value(json_object_get(entry, "hint"));
		const char *message = json_string_value(json_object_get(entry, "message"));

		if (are_warnings)
			errors_warn(errors, where.file ? &where : NULL, object, hint, "%s",
				    message);
		else
			errors_add(errors, where.file ? &where : NULL, object, hint, "%s", message);
	}
}

/* What the child complained of. */
static struct errors *read_report(int file)
{
	struct errors *errors = errors_new();
	json_t *report = lseek(file, 0, SEEK_SET) ? NULL : json_loadfd(file, 0, NULL);

	copy_errors(json_object_get(json_object_get(report, "errors"), "errors"), false, errors);
	copy_errors(json_object_get(report, "warnings"), true, errors);
	json_decref(report);
	return errors;
}

static int on_end(sd_event_source *source, const siginfo_t *child, void *data)
{
	struct refresher *refresher = data;
	bool has_failed = child->si_code != CLD_EXITED || child->si_status;
	struct errors *errors = read_report(refresher->report);

	(void)source;
	if (has_failed && !errors_count(errors))
		errors_add(errors, NULL, "segments", "it is tried again",
			   "the refresh ended before its time");
	close(refresher->report);
	refresher->child = 0;
	refresher->source = sd_event_source_unref(refresher->source);
	refresher->due_ns = has_failed ? time_now_ns() + RETRY_NS : 0;
	refresher->ended(refresher->data, errors, has_failed ? -EIO : 0);
	return 0;
}

static int begin_child(struct refresher *refresher, struct errors *errors)
{
	pid_t daemon = getpid();
	int error;

	refresher->report = memfd_create("refresh", MFD_CLOEXEC);
	refresher->child = refresher->report < 0 ? -1 : fork();
	if (!refresher->child)
		run_child(refresher, daemon);
	if (refresher->child < 0) {
		error = errno;
		refresher->child = 0;
		if (refresher->report >= 0)
			close(refresher->report);
		return errors_add_code(errors, error, "segments", "it is tried again",
				       "cannot begin a refresh: %s", strerror(error));
	}
	error = sd_event_add_child(refresher->event, &refresher->source, refresher->child, WEXITED,
				   on_end, refresher);
	if (error >= 0)
		return 0;
	errors_add_code(errors, -error, "segments", "it is tried again",
			"cannot wait for a refresh: %s", strerror(-error));
	kill(refresher->child, SIGTERM);
	waitpid(refresher->child, NULL, 0);
	close(refresher->report);
	refresher->child = 0;
	return error;
}

/* ---- the daemon's side ---- */

struct refresher *refresher_new(sd_event *event, const struct place *place,
				const struct actor *actor, refresh_ended ended, void *data)
{
	struct refresher *refresher = calloc(1, sizeof(*refresher));
	sigset_t children;

	/* The loop hears of its children by itself. */
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	if (refresher)
		*refresher = (struct refresher){
			.event = event,
			.place = place,
			.actor = actor,
			.ended = ended,
			.data = data,
		};
	return refresher;
}

void refresher_free(struct refresher *refresher)
{
	if (!refresher)
		return;
	sd_event_source_disable_unref(refresher->source);
	if (refresher->child) {
		kill(refresher->child, SIGTERM);
		waitpid(refresher->child, NULL, 0);
		close(refresher->report);
	}
	free(refresher);
}

void refresher_look_again(struct refresher *refresher)
{
	refresher->due_ns = 0;
}

int refresher_tick(struct refresher *refresher, uint64_t now_ns, struct errors *errors)
{
	struct control *control;
	int error;

	if (refresher->child || now_ns < refresher->due_ns)
		return 0;
	refresher->due_ns = UINT64_MAX;
	error = control_open(refresher->place, errors, &control);
	if (error)
		return error;
	if (control->store)
		error = control_refresh_due(control, NULL, &refresher->due_ns);
	control_close(control);
	if (!error && refresher->due_ns <= now_ns)
		error = begin_child(refresher, errors);
	if (error)
		refresher->due_ns = now_ns + RETRY_NS;
	return error;
}
