// SPDX-License-Identifier: GPL-2.0-only
/*
 * Driving the machine over the real store, with nothing loaded in the kernel: what is stored, that
 * it is one transaction, and that writers who die at any moment repeat nothing.
 */
#include "rollout/drive.h"
#include "state_fixture.h"
#include "util/text.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char config[] =
	"version: 1\n"
	"services:\n"
	"- name: api\n"
	"  vips: [ \"192.0.2.10:443/tcp\" ]\n"
	"  release: v1\n"
	"  steer: l2\n"
	"  cohorts:\n"
	"  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"
	"  - { name: canary, backends: [ { address: 10.0.2.11 } ] }\n"
	"  rules: [ { default: true, allocate: { canary: 0% } } ]\n"
	"  rollout:\n"
	"    bake: 0s\n"
	"    settle: 0s\n"
	"    hooks:\n"
	"    - { on: before_step, url: \"http://127.0.0.1:1/gate\", gate: true }\n"
	"    - { on: rollback, url: \"http://127.0.0.1:1/page\" }\n"
	"    steps: [ { weight: 1% }, { weight: 10% }, { weight: 20% }, { weight: 30% },"
	" { weight: 40% }, { weight: 50% }, { weight: 60% }, { weight: 70% } ]\n";

#define STEPS 8

struct drive_box {
	struct state_box box;
	struct place place;
	struct actor actor;
};

static struct control *writer(struct drive_box *drive)
{
	struct control *control;

	assert_int_equal(
		control_open_write(&drive->place, &drive->actor, drive->box.errors, &control), 0);
	return control;
}

static int make(void **state)
{
	struct drive_box *drive = calloc(1, sizeof(*drive));
	struct control *control;
	struct store *store;
	uint64_t number;

	state_box_make(&drive->box);
	drive->place = (struct place){
		.state = drive->box.directory, .pins = "/sys/fs/bpf/none", .wait_ms = 10000};
	drive->actor = (struct actor){.by = "ann", .command = "test", .reason = ""};
	assert_int_equal(
		store_open_write(drive->place.state, 0, &drive->actor, &store, drive->box.errors),
		0);
	assert_int_equal(store_add_revision(store, config, &number, drive->box.errors), 0);
	assert_int_equal(store_commit(store, drive->box.errors), 0);
	store_close(store);
	control = writer(drive);
	assert_int_equal(control_publish(control), 0);
	control_close(control);
	*state = drive;
	return 0;
}

static int unmake(void **state)
{
	struct drive_box *drive = *state;

	errors_print(drive->box.errors, stderr);
	state_box_remove(&drive->box);
	free(drive);
	return 0;
}

static void drive_event(struct drive_box *drive, struct rollout_event event)
{
	struct control *control = writer(drive);
	const struct service *service = policy_service(control->policy, "api");

	event.by = event.by ? event.by : "ann";
	assert_int_equal(rollout_drive(control, service, &event), 0);
	control_close(control);
}

static struct rollout_state state_of(struct drive_box *drive)
{
	struct rollout_state state;
	struct store *store;

	assert_int_equal(store_open_read(drive->place.state, &store, drive->box.errors), 0);
	assert_int_equal(rollout_load_state(store, "api", &state, drive->box.errors), 0);
	store_close(store);
	return state;
}

static void drive_tick(struct drive_box *drive, enum verdict verdict)
{
	static struct judgement judgement;

	judgement = (struct judgement){.verdict = verdict, .log_e = 7, .reason = "at once"};
	if (verdict == VERDICT_ROLLBACK)
		strcpy(judgement.metric, "quit");
	drive_event(drive, (struct rollout_event){.kind = EVENT_TICK,
						  .judgement = &judgement,
						  .window = state_of(drive).window});
}

/* What the daemon does with the queue. */
static size_t answer_all(struct drive_box *drive, bool ok)
{
	struct control *control = writer(drive);
	struct hook_call *calls;
	size_t count;

	assert_int_equal(store_hook_calls(control->store, &calls, &count, drive->box.errors), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(rollout_hook_called(control, &calls[i], ok), 0);
	hook_calls_release(calls, count);
	control_close(control);
	return count;
}

static uint32_t live_share(struct drive_box *drive)
{
	struct control *control;
	const struct live_share *share;
	uint32_t ppm;

	assert_int_equal(control_open(&drive->place, drive->box.errors, &control), 0);
	share = live_share_of(&control->live, "api", "default", "canary");
	ppm = share ? share->ppm : 0;
	control_close(control);
	return ppm;
}

static enum latch latch_of(struct drive_box *drive)
{
	struct control *control;
	enum latch latch;

	assert_int_equal(control_open(&drive->place, drive->box.errors, &control), 0);
	latch = live_service_of(&control->live, "api")->latch;
	control_close(control);
	return latch;
}

static void assert_events(struct drive_box *drive, const char *expected)
{
	struct rollout_record *records;
	struct store *store;
	char text[1024] = "";
	size_t count;

	assert_int_equal(store_open_read(drive->place.state, &store, drive->box.errors), 0);
	assert_int_equal(
		store_rollout_events(store, "api", 0, 0, &records, &count, drive->box.errors), 0);
	for (size_t i = 0; i < count; i++) {
		json_t *json = json_loads(records[i].json, 0, NULL);

		assert_string_equal(json_string_value(json_object_get(json, "event")),
				    records[i].event);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s/%d", i ? " " : "",
			 records[i].event, (int)json_integer_value(json_object_get(json, "step")));
		json_decref(json);
	}
	assert_string_equal(text, expected);
	rollout_records_release(records, count);
	store_close(store);
}

/* ---- */

static void a_step_is_stored_with_its_share_its_event_and_its_audit(void **state)
{
	struct drive_box *drive = *state;
	struct audit_entry *entries;
	struct stored_rollout stored;
	struct store *store;
	size_t count;

	drive_event(drive, (struct rollout_event){.kind = EVENT_START, .reason = "try it"});
	drive_tick(drive, VERDICT_NODATA);
	assert_int_equal(live_share(drive), 0);
	assert_int_equal(answer_all(drive, true), 1);
	drive_tick(drive, VERDICT_NODATA);
	assert_int_equal(live_share(drive), 10000);
	assert_events(drive, "started/1 step/1");
	assert_int_equal(store_open_read(drive->place.state, &store, drive->box.errors), 0);
	assert_int_equal(store_rollout(store, "api", 0, &stored, drive->box.errors), 0);
	assert_int_equal(stored.id, 1);
	assert_string_equal(stored.state, "running");
	assert_string_equal(stored.release, "v1");
	assert_string_equal(stored.cohort, "canary");
	assert_int_equal(stored.revision, 1);
	assert_string_equal(stored.judgement, "{}");
	stored_rollout_release(&stored);
	assert_int_equal(store_read_audit(store, "api", 0, &entries, &count, drive->box.errors), 0);
	assert_int_equal(count, 1);
	assert_string_equal(entries[0].before, "{\"live/default/canary\":0}");
	assert_string_equal(entries[0].after, "{\"live/default/canary\":10000}");
	audit_release(entries, count);
	store_close(store);
}

static void a_gate_that_says_no_holds_and_is_asked_again(void **state)
{
	struct drive_box *drive = *state;

	drive_event(drive, (struct rollout_event){.kind = EVENT_START});
	assert_int_equal(answer_all(drive, false), 1);
	drive_tick(drive, VERDICT_NODATA);
	assert_int_equal(state_of(drive).phase, ROLLOUT_WAITING);
	assert_int_equal(live_share(drive), 0);
	assert_int_equal(answer_all(drive, true), 0);
}

static void a_rollback_latches_ends_and_says_whom_it_touched(void **state)
{
	static const char *const clients[] = {"198.51.100.7", "198.51.100.8", "198.51.100.8"};
	struct drive_box *drive = *state;
	struct rollout_record *records;
	struct control *control;
	json_t *json;
	size_t count;

	drive_event(drive, (struct rollout_event){.kind = EVENT_START});
	answer_all(drive, true);
	drive_tick(drive, VERDICT_NODATA);
	control = writer(drive);
	for (size_t i = 0; i < 3; i++) {
		struct rollout_client client = {.metric = "quit", .cohort = "canary", .time_ns = i};
		struct prefix prefix;

		assert_int_equal(prefix_parse(clients[i], &prefix), 0);
		client.client = member_of(&prefix);
		assert_int_equal(store_note_rollout_client(control->store, "api", 1, &client,
							   drive->box.errors),
				 0);
	}
	assert_int_equal(store_commit(control->store, drive->box.errors), 0);
	control_close(control);
	drive_tick(drive, VERDICT_ROLLBACK);
	assert_int_equal(latch_of(drive), LATCH_ROLLED_BACK);
	assert_events(drive, "started/1 step/1 rollback/1");
	control = writer(drive);
	assert_int_equal(store_rollout_events(control->store, "api", 1, 0, &records, &count,
					      drive->box.errors),
			 0);
	json = json_loads(records[count - 1].json, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(json, "clients_affected")), 2);
	assert_int_equal(json_integer_value(json_object_get(json, "before_ppm")), 10000);
	assert_string_equal(json_string_value(json_object_get(json, "reason")), "at once");
	json_decref(json);
	rollout_records_release(records, count);
	control_close(control);
	assert_int_equal(answer_all(drive, true), 1); /* the page; no gate is left */
	/* Again, with nothing left of it. */
	drive_event(drive, (struct rollout_event){.kind = EVENT_START, .is_retry = true});
	assert_int_equal(latch_of(drive), LATCH_NONE);
	assert_int_equal(live_share(drive), 0);
	assert_int_equal(state_of(drive).id, 2);
}

static json_t *last_event(struct drive_box *drive)
{
	struct control *control = writer(drive);
	struct rollout_record *records;
	size_t count;
	json_t *json;

	assert_int_equal(store_rollout_events(control->store, "api", 1, 0, &records, &count,
					      drive->box.errors),
			 0);
	json = json_loads(records[count - 1].json, 0, NULL);
	rollout_records_release(records, count);
	control_close(control);
	return json;
}

static void whom_failing_requests_touched_is_not_known(void **state)
{
	static struct judgement judgement = {
		.verdict = VERDICT_ROLLBACK, .metric = "http-5xx", .metrics_count = 1};
	struct drive_box *drive = *state;
	json_t *json;

	judgement.metrics[0] = (struct metric_judgement){
		.name = "http-5xx", .canary_clients = COUNT_UNKNOWN, .canary_events = 4000};
	drive_event(drive, (struct rollout_event){.kind = EVENT_START});
	answer_all(drive, true);
	drive_tick(drive, VERDICT_NODATA);
	drive_event(drive, (struct rollout_event){.kind = EVENT_TICK,
						  .judgement = &judgement,
						  .window = state_of(drive).window});
	json = last_event(drive);
	assert_string_equal(json_string_value(json_object_get(json, "event")), "rollback");
	assert_true(json_is_null(json_object_get(json, "clients_affected")));
	json_decref(json);
}

static void a_client_with_several_metrics_is_touched_once(void **state)
{
	static const char *const metrics[] = {"quit", "silent"};
	struct drive_box *drive = *state;
	struct control *control = writer(drive);
	struct prefix prefix;
	uint64_t count;

	assert_int_equal(prefix_parse("198.51.100.7", &prefix), 0);
	for (size_t i = 0; i < 2; i++) {
		struct rollout_client client = {.client = member_of(&prefix), .cohort = "canary"};

		strcpy(client.metric, metrics[i]);
		assert_int_equal(store_note_rollout_client(control->store, "api", 1, &client,
							   drive->box.errors),
				 0);
	}
	assert_int_equal(store_count_rollout_clients(control->store, "api", 1, "canary", NULL,
						     &count, drive->box.errors),
			 0);
	assert_int_equal(count, 1);
	assert_int_equal(store_count_rollout_clients(control->store, "api", 1, "stable", NULL,
						     &count, drive->box.errors),
			 0);
	assert_int_equal(count, 0);
	control_close(control);
}

/* At a small share it was control's, at a greater one the canary touched it. */
static void a_client_of_both_cohorts_is_touched_in_each_and_first_is_the_earliest(void **state)
{
	static const struct {
		const char *cohort;
		uint64_t time_ns;
	} sights[] = {{"stable", 50}, {"canary", 90}, {"canary", 70}, {"canary", 80}};
	struct drive_box *drive = *state;
	struct control *control = writer(drive);
	struct rollout_client *clients;
	struct prefix prefix;
	size_t count;

	assert_int_equal(prefix_parse("198.51.100.7", &prefix), 0);
	for (size_t i = 0; i < 4; i++) {
		struct rollout_client client = {.client = member_of(&prefix),
						.metric = "quit",
						.time_ns = sights[i].time_ns};

		strcpy(client.cohort, sights[i].cohort);
		assert_int_equal(store_note_rollout_client(control->store, "api", 1, &client,
							   drive->box.errors),
				 0);
	}
	assert_int_equal(store_rollout_clients(control->store, "api", 1, NULL, NULL, &clients,
					       &count, drive->box.errors),
			 0);
	assert_int_equal(count, 2);
	assert_string_equal(clients[0].cohort, "stable");
	assert_string_equal(clients[1].cohort, "canary");
	assert_int_equal(clients[1].time_ns, 70);
	free(clients);
	control_close(control);
}

static void what_is_refused_leaves_the_store_as_it_was(void **state)
{
	struct drive_box *drive = *state;
	struct control *control = writer(drive);
	struct rollout_event event = {.kind = EVENT_APPROVE, .by = "ann"};
	struct errors *errors = errors_new();

	control->errors = errors;
	assert_int_equal(rollout_drive(control, policy_service(control->policy, "api"), &event),
			 -EINVAL);
	assert_int_equal(errors_count(errors), 1);
	control_close(control);
	errors_free(errors);
	assert_int_equal(state_of(drive).id, 0);
	assert_events(drive, "");
}

static void a_closed_rollout_is_history(void **state)
{
	struct drive_box *drive = *state;
	struct stored_rollout stored;
	struct control *control;

	drive_event(drive, (struct rollout_event){.kind = EVENT_START});
	control = writer(drive);
	assert_int_equal(store_close_rollouts(control->store, "api", drive->box.errors), 0);
	assert_int_equal(store_rollout_is_active(control->store, "api", NULL, drive->box.errors),
			 1);
	/* One that runs is not closed. */
	assert_int_equal(store_rollout(control->store, "api", 0, &stored, drive->box.errors), 0);
	assert_int_equal(stored.closed_ns, 0);
	stored_rollout_release(&stored);
	control_close(control);
	drive_event(drive, (struct rollout_event){.kind = EVENT_ABORT});
	control = writer(drive);
	assert_int_equal(store_rollout_is_active(control->store, "api", NULL, drive->box.errors),
			 0);
	assert_int_equal(store_close_rollouts(control->store, "api", drive->box.errors), 0);
	assert_int_equal(store_rollout(control->store, "api", 0, &stored, drive->box.errors),
			 -ENOENT);
	assert_int_equal(store_rollout(control->store, "api", 1, &stored, drive->box.errors), 0);
	assert_true(stored.closed_ns > 0);
	stored_rollout_release(&stored);
	assert_int_equal(store_commit(control->store, drive->box.errors), 0);
	control_close(control);
	assert_int_equal(state_of(drive).phase, ROLLOUT_IDLE);
	drive_event(drive, (struct rollout_event){.kind = EVENT_START});
	assert_int_equal(state_of(drive).id, 2);
}

/* A process that ticks and answers until it is killed. */
static void run_until_killed(struct drive_box *drive)
{
	for (;;) {
		drive_tick(drive, VERDICT_CONTINUE);
		answer_all(drive, true);
	}
}

static void writers_that_die_at_any_moment_repeat_no_step(void **state)
{
	struct drive_box *drive = *state;
	const struct timespec moment = {.tv_nsec = 3000000};
	int deaths = 0;

	drive_event(drive, (struct rollout_event){.kind = EVENT_START});
	while (rollout_is_active(state_of(drive).phase)) {
		pid_t child = fork();

		if (!child) {
			run_until_killed(drive);
			_exit(1);
		}
		for (int i = 0; i <= deaths % 5; i++)
			nanosleep(&moment, NULL);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		deaths++;
		assert_true(deaths < 2000);
	}
	printf("%d writers died\n", deaths);
	assert_true(deaths > 3);
	assert_events(drive, "started/1 step/1 step/2 step/3 step/4 step/5 step/6 step/7 step/8"
			     " succeeded/8");
	assert_int_equal(live_share(drive), 700000);
	assert_int_equal(answer_all(drive, true), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_step_is_stored_with_its_share_its_event_and_its_audit),
		TEST(a_gate_that_says_no_holds_and_is_asked_again),
		TEST(a_rollback_latches_ends_and_says_whom_it_touched),
		TEST(whom_failing_requests_touched_is_not_known),
		TEST(a_client_with_several_metrics_is_touched_once),
		TEST(a_client_of_both_cohorts_is_touched_in_each_and_first_is_the_earliest),
		TEST(what_is_refused_leaves_the_store_as_it_was),
		TEST(a_closed_rollout_is_history),
		TEST(writers_that_die_at_any_moment_repeat_no_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
