// SPDX-License-Identifier: GPL-2.0-only
/*
 * One thread, one loop (sd-event): a round a second, netlink in between, HTTP as it comes. Each
 * task opens the state for itself, and takes the writer lock only while it writes, so that commands
 * never wait long for the daemon. The loop waits for nobody either: what another writer keeps it
 * from, and what did not succeed, is tried again in the next rounds.
 */
#include "daemon/daemon.h"

#include "daemon/checks.h"
#include "daemon/counters.h"
#include "daemon/http.h"
#include "daemon/lease.h"
#include "daemon/presence.h"
#include "daemon/refresh.h"
#include "daemon/rollouts.h"
#include "daemon/upkeep.h"
#include "observe/metrics.h"
#include "observe/rotation.h"
#include "util/log.h"
#include "util/text.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define ROUND_US	  1000000ULL
#define REFRESH_ROUNDS	  15 /* next hops are asked again, whatever netlink said */
#define NETLINK_SETTLE_US 50000ULL
#define COUNTERS_ROUNDS	  2 /* what was counted meanwhile is stored */
#define LAST_WAIT_MS	  1000
#define BUSY_PATIENCE	  10 /* times that the writer lock is not had before that is said */

enum task {
	TASK_MAINTAIN,
	TASK_STORE,
	TASK_PAGE,
	TASK_REFRESH,
	TASK_ROTATE,
	TASK_ROLLOUTS,
	TASK_CHECKS,
	TASK_COUNTERS,
	TASKS
};

struct daemon {
	struct place place;
	const struct actor *actor;
	sd_event *event;
	struct next_hops *next_hops;
	sd_event_source *refresh;    /* one shot, soon after netlink said something */
	struct rollouts *rollouts;   /* NULL with --once */
	struct checker *checker;     /* NULL with --once */
	struct refresher *refresher; /* NULL with --once */
	struct leaser *leaser;	     /* the same */
	sd_event_source *rotate;     /* one shot, while a window is taken */
	struct rotation *rotation;   /* NULL: none is */
	uint64_t rotation_due;	     /* CLOCK_MONOTONIC ns */
	struct http *http;
	char *listen; /* what http listens at */
	bool listen_failed;
	struct daemon_facts facts;
	struct counters *counters;
	struct counter *store_errors;
	bool counters_are_due;
	uint64_t revision; /* last seen */
	uint64_t rounds;
	bool restore_is_due;  /* the kernel's side may be that of before the start */
	bool maintain_is_due; /* in the next round */
	unsigned int busy;    /* times in a row that the writer lock was not had */
	char *said[TASKS];    /* what each task last complained of */
	int first_error;      /* of any task: what --once ends with */
};

/* ---- tasks ---- */

/* Logs what a task complains of, once until it is something else, and forgets it. */
static void end_task(struct daemon *daemon, enum task task, struct errors *errors, int error)
{
	json_t *list = json_pack("[o, o]", errors_to_json(errors), errors_warnings_to_json(errors));
	char *text = json_dumps(list, JSON_COMPACT);

	if (error)
		counter_add(daemon->store_errors);
	if (!daemon->first_error)
		daemon->first_error = error;
	if (!text || !daemon->said[task] || strcmp(text, daemon->said[task]))
		log_errors(NULL, errors);
	free(daemon->said[task]);
	daemon->said[task] = text;
	json_decref(list);
	errors_free(errors);
}

/* Another writer has the lock, which the loop does not wait for: most likely it is free in the next
 * round. */
static bool is_busy(struct daemon *daemon, int error)
{
	daemon->busy = error == -EBUSY ? daemon->busy + 1 : 0;
	daemon->maintain_is_due = daemon->busy;
	return daemon->busy && daemon->busy < BUSY_PATIENCE && !daemon->place.wait_ms;
}

/* Next hops, pins, eras and links, under the writer lock. */
static void maintain(struct daemon *daemon)
{
	struct errors *errors = errors_new();
	struct control *control;
	size_t unresolved = 0;
	int error;

	error = control_open_write(&daemon->place, daemon->actor, errors, &control);
	if (is_busy(daemon, error)) {
		errors_free(errors);
		return;
	}
	if (error)
		goto out;
	error = bring_up_to_date(control, &daemon->restore_is_due);
	if (!error && control->datapath)
		error = control_refresh_next_hops(control, daemon->next_hops, &unresolved);
	daemon->rotation_due = rotation_due(control);
	/* The kernel gives up on a neighbour that does not answer; it is asked for until it does.
	 */
	daemon->maintain_is_due = unresolved;
	control_close(control);
out:
	end_task(daemon, TASK_MAINTAIN, errors, error);
}

/* Whoever opens the state to write records it, and what is published then says so. */
static void on_lease_ended(void *data)
{
	maintain(data);
}

/* @listen NULL: off. */
static int listen_at(struct daemon *daemon, const char *listen, struct errors *errors);

/* What commands have changed since the last round. Without a change it reads one row. */
static void look_at_store(struct daemon *daemon)
{
	struct errors *errors = errors_new();
	struct revision *newest = NULL;
	struct control *control = NULL;
	struct store *store = NULL;
	size_t count = 0;
	int error = store_open_read(daemon->place.state, &store, errors);

	if (!error)
		error = store_history(store, 1, &newest, &count, errors);
	if (!error && count && (newest->number != daemon->revision || daemon->listen_failed)) {
		error = control_open(&daemon->place, errors, &control);
		if (!error) {
			daemon->revision = newest->number;
			error = listen_at(daemon, control->policy->metrics_listen, errors);
			daemon->listen_failed = error;
			if (daemon->refresher)
				refresher_look_again(daemon->refresher);
			if (daemon->leaser)
				leaser_look_again(daemon->leaser, control);
			if (daemon->checker)
				error = checker_follow(daemon->checker, control) ?: error;
		}
		control_close(control);
	}
	if (count)
		revision_release(newest);
	free(newest);
	store_close(store);
	end_task(daemon, TASK_STORE, errors, error == -ENOENT ? 0 : error);
}

/* ---- windows of observation ---- */

/* Not yet, or no more: maintain() says when. */
static int begin_rotation(struct daemon *daemon, struct errors *errors)
{
	int error = rotation_begin(&daemon->place, daemon->actor, &daemon->rotation, errors);

	if (error && error != -EBUSY) {
		daemon->rotation_due = UINT64_MAX;
		daemon->maintain_is_due = true;
	}
	return error == -EAGAIN ? 0 : error;
}

static int step_rotation(struct daemon *daemon, struct errors *errors)
{
	int more = rotation_step(daemon->rotation, errors);

	if (more)
		return more;
	log_event(LOG_INFO, &(struct log_facts){.event = "window_complete"},
		  "a window of observation is complete: %llu clients",
		  (unsigned long long)rotation_clients(daemon->rotation));
	rotation_end(daemon->rotation, errors);
	daemon->rotation = NULL;
	daemon->rotation_due = UINT64_MAX;
	daemon->maintain_is_due = true;
	return 0;
}

/* 1: there is more to do. Without patience for the lock -EBUSY is no error: the next round will. */
static int rotate(struct daemon *daemon)
{
	struct errors *errors = errors_new();
	int error = 0;

	if (!daemon->rotation && monotonic_now_ns() >= daemon->rotation_due)
		error = begin_rotation(daemon, errors);
	if (!error && daemon->rotation)
		error = step_rotation(daemon, errors);
	if (error == -EBUSY && !daemon->place.wait_ms)
		errors_free(errors);
	else
		end_task(daemon, TASK_ROTATE, errors, error < 0 ? error : 0);
	return error;
}

static void rotate_soon(struct daemon *daemon, bool more)
{
	uint64_t now;

	sd_event_now(daemon->event, CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(daemon->rotate, now + (more ? 0 : ROUND_US));
	sd_event_source_set_enabled(daemon->rotate, SD_EVENT_ONESHOT);
}

static int on_rotate(sd_event_source *source, uint64_t time, void *data)
{
	struct daemon *daemon = data;
	int more = rotate(daemon);

	(void)source;
	(void)time;
	if (more)
		rotate_soon(daemon, more > 0);
	return 0;
}

static void stop_rotation(struct daemon *daemon)
{
	struct errors *errors = errors_new();

	rotation_end(daemon->rotation, errors);
	log_errors(NULL, errors);
	errors_free(errors);
}

/* ---- /metrics ---- */

static int render_page(void *data, char **text, size_t *length)
{
	struct daemon *daemon = data;
	struct errors *errors = errors_new();
	struct control *control;
	int error = counters_load(daemon->counters, &daemon->place, errors);

	if (!error)
		error = control_open(&daemon->place, errors, &control);
	if (!error) {
		daemon->facts.store_errors = counter_shown(daemon->store_errors);
		error = metrics_render(control, &daemon->facts, text, length);
		control_close(control);
	}
	end_task(daemon, TASK_PAGE, errors, error);
	return error;
}

static int listen_at(struct daemon *daemon, const char *listen, struct errors *errors)
{
	int error;

	if (daemon->listen && listen && !strcmp(daemon->listen, listen))
		return 0;
	http_stop(daemon->http);
	daemon->http = NULL;
	free(daemon->listen);
	daemon->listen = NULL;
	if (!listen)
		return 0;
	error = http_start(daemon->event, listen, render_page, daemon, &daemon->http, errors);
	if (error)
		return error;
	daemon->listen = strdup(listen);
	log_note("metrics are at http://%s/metrics", listen);
	return 0;
}

/* ---- segments ---- */

static void on_refreshed(void *data, struct errors *errors, int error)
{
	end_task(data, TASK_REFRESH, errors, error);
}

/* Begins what is due; how it went is said when it has ended. */
static void refresh_segments(struct daemon *daemon)
{
	struct errors *errors = errors_new();
	int error;

	if (daemon->refresher)
		error = refresher_tick(daemon->refresher, time_now_ns(), errors);
	else
		error = refresh_due(&daemon->place, daemon->actor, errors);
	if (error || !daemon->refresher)
		end_task(daemon, TASK_REFRESH, errors, error);
	else
		errors_free(errors);
}

/* ---- rollouts ---- */

/* Another writer is no error: the next round tells and does what this one could not. */
static void go_on_with_rollouts(struct daemon *daemon)
{
	struct errors *errors = errors_new();
	int error = rollouts_round(daemon->rollouts, errors);

	if (error == -EBUSY)
		errors_free(errors);
	else
		end_task(daemon, TASK_ROLLOUTS, errors, error);
}

static void write_more(void *data, FILE *out)
{
	const struct daemon *daemon = data;

	checker_metrics(daemon->checker, out);
	rollouts_metrics(daemon->rollouts, out);
}

/* ---- checks ---- */

static void go_on_with_checks(struct daemon *daemon)
{
	struct errors *errors = errors_new();
	int error = checker_round(daemon->checker, errors);

	if (error == -EBUSY)
		errors_free(errors);
	else
		end_task(daemon, TASK_CHECKS, errors, error);
}

/* ---- counters ---- */

static void save_counters(struct daemon *daemon)
{
	struct errors *errors = errors_new();
	int error = counters_save(daemon->counters, &daemon->place, daemon->actor, errors);

	daemon->counters_are_due = error;
	if (error == -EBUSY)
		errors_free(errors);
	else
		end_task(daemon, TASK_COUNTERS, errors, error);
}

/* ---- the loop ---- */

static int on_refresh(sd_event_source *source, uint64_t time, void *data)
{
	(void)source;
	(void)time;
	maintain(data);
	return 0;
}

static int on_netlink(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct daemon *daemon = data;
	uint64_t now;

	(void)source;
	(void)fd;
	(void)events;
	if (!next_hops_changed(daemon->next_hops))
		return 0;
	sd_event_now(daemon->event, CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(daemon->refresh, now + NETLINK_SETTLE_US);
	return sd_event_source_set_enabled(daemon->refresh, SD_EVENT_ONESHOT);
}

static void run_round(struct daemon *daemon)
{
	uint64_t before = daemon->revision;

	daemon->facts.last_loop_ns = time_now_ns();
	look_at_store(daemon);
	if (daemon->revision != before || daemon->maintain_is_due ||
	    daemon->rounds % REFRESH_ROUNDS == 0)
		maintain(daemon);
	refresh_segments(daemon);
	if (daemon->checker)
		go_on_with_checks(daemon);
	if (daemon->rollouts)
		go_on_with_rollouts(daemon);
	if (daemon->rotate && !daemon->rotation && monotonic_now_ns() >= daemon->rotation_due)
		rotate_soon(daemon, true);
	if (daemon->counters_are_due || daemon->rounds % COUNTERS_ROUNDS == 0)
		save_counters(daemon);
	http_tick(daemon->http);
	daemon->rounds++;
	sd_notify(0, "WATCHDOG=1");
}

static int on_round(sd_event_source *source, uint64_t time, void *data)
{
	struct daemon *daemon = data;

	run_round(daemon);
	sd_event_source_set_time(source, time + ROUND_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *signal, void *data)
{
	struct daemon *daemon = data;

	(void)source;
	(void)signal;
	sd_notify(0, "STOPPING=1");
	return sd_event_exit(daemon->event, 0);
}

/* The log is the journal's or stderr's, and the secret is read anew by every writer: nothing is
 * kept open. */
static int on_reopen(sd_event_source *source, const struct signalfd_siginfo *signal, void *data)
{
	(void)source;
	(void)signal;
	(void)data;
	log_note("reopened");
	return 0;
}

static int add_sources(struct daemon *daemon)
{
	sigset_t signals;
	uint64_t now;
	int error;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	sd_event_now(daemon->event, CLOCK_MONOTONIC, &now);
	error = sd_event_add_signal(daemon->event, NULL, SIGTERM, on_stop, daemon);
	if (error >= 0)
		error = sd_event_add_signal(daemon->event, NULL, SIGINT, on_stop, daemon);
	if (error >= 0)
		error = sd_event_add_signal(daemon->event, NULL, SIGHUP, on_reopen, daemon);
	if (error >= 0)
		error = sd_event_add_time(daemon->event, NULL, CLOCK_MONOTONIC, now + ROUND_US, 0,
					  on_round, daemon);
	if (error >= 0)
		error = sd_event_add_time(daemon->event, &daemon->refresh, CLOCK_MONOTONIC, 0, 0,
					  on_refresh, daemon);
	if (error >= 0)
		error = sd_event_source_set_enabled(daemon->refresh, SD_EVENT_OFF);
	if (error >= 0)
		error = sd_event_add_time(daemon->event, &daemon->rotate, CLOCK_MONOTONIC, 0, 0,
					  on_rotate, daemon);
	if (error >= 0)
		error = sd_event_source_set_enabled(daemon->rotate, SD_EVENT_OFF);
	if (error >= 0)
		error = sd_event_add_io(daemon->event, NULL, next_hops_fd(daemon->next_hops),
					EPOLLIN, on_netlink, daemon);
	return error < 0 ? error : 0;
}

/* What goes on beside the rounds, and waits for no lock. */
static int start_tasks(struct daemon *daemon)
{
	const struct place *place = &daemon->place;
	int error;

	daemon->place.wait_ms = 0;
	daemon->facts.write_more = write_more;
	daemon->facts.data = daemon;
	daemon->refresher =
		refresher_new(daemon->event, place, daemon->actor, on_refreshed, daemon);
	daemon->leaser = leaser_new(daemon->event, place, daemon->actor, on_lease_ended, daemon);
	error = daemon->refresher && daemon->leaser ? 0 : -ENOMEM;
	if (!error)
		error = rollouts_new(daemon->event, place, daemon->actor, daemon->counters,
				     &daemon->rollouts);
	return error ? error
		     : checker_new(daemon->event, place, daemon->actor, daemon->counters,
				   &daemon->checker);
}

/* Where it cannot be known what there was, it is asked for again before anything is shown. */
static int begin_counting(struct daemon *daemon)
{
	struct errors *errors;
	int error;

	daemon->counters = counters_new();
	daemon->store_errors = counters_use(daemon->counters, COUNTER_STORE_ERRORS, "", "");
	if (!daemon->store_errors)
		return -ENOMEM;
	errors = errors_new();
	error = counters_load(daemon->counters, &daemon->place, errors);
	end_task(daemon, TASK_COUNTERS, errors, error);
	return 0;
}

/* The last that was counted; at its end the daemon has patience for the lock. */
static void end_counting(struct daemon *daemon)
{
	daemon->place.wait_ms = LAST_WAIT_MS;
	if (daemon->counters)
		save_counters(daemon);
	counters_free(daemon->counters);
}

int daemon_run(const struct place *place, const struct actor *actor, bool once,
	       struct errors *errors)
{
	struct daemon daemon = {
		.place = *place,
		.actor = actor,
		.restore_is_due = true,
		.rotation_due = UINT64_MAX,
	};
	int presence = -1;
	int task, error = next_hops_open(&daemon.next_hops, errors);

	if (!error)
		error = begin_counting(&daemon);
	if (!error && sd_event_new(&daemon.event) < 0)
		error = errors_add_code(errors, ENOMEM, "daemon", "try again",
					"cannot make an event loop");
	if (error)
		goto out;
	if (!once)
		error = start_tasks(&daemon);
	if (error)
		goto out;
	maintain(&daemon);
	error = once ? 0 : presence_announce(place->state, &presence, errors);
	if (error)
		goto out;
	if (once)
		while (rotate(&daemon) > 0)
			;
	run_round(&daemon);
	if (once) {
		error = daemon.first_error;
		goto out;
	}
	error = add_sources(&daemon);
	if (error) {
		errors_add_code(errors, -error, "daemon", "try again",
				"cannot set up the event loop: %s", strerror(-error));
		goto out;
	}
	sd_notify(0, "READY=1");
	error = sd_event_loop(daemon.event);
out:
	rollouts_free(daemon.rollouts);
	checker_free(daemon.checker);
	refresher_free(daemon.refresher);
	leaser_free(daemon.leaser);
	stop_rotation(&daemon);
	end_counting(&daemon);
	http_stop(daemon.http);
	free(daemon.listen);
	for (task = 0; task < TASKS; task++)
		free(daemon.said[task]);
	daemon_facts_release(&daemon.facts);
	sd_event_source_disable_unref(daemon.refresh);
	sd_event_source_disable_unref(daemon.rotate);
	sd_event_unref(daemon.event);
	next_hops_close(daemon.next_hops);
	if (presence >= 0)
		close(presence);
	return error;
}
