// SPDX-License-Identifier: GPL-2.0-only
/* Calls of hooks by the daemon, over the real queue, machine and lock, to a real server. */
#include "rollout/drive.h"
#include "rollouts_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* In this order in the file. */
enum { HOOK_GATE, HOOK_PAGE, HOOK_STUCK, HOOK_SLOW };

static const char rollout[] =
	"    bake: 0s\n"
	"    settle: 0s\n"
	"    hooks:\n"
	"    - { on: before_step, url: \"%s/set/gate\", gate: true, retries: 0 }\n"
	"    - { on: rollback, url: \"%s/status/500\", retries: 0 }\n"
	"    - { on: rollback, url: \"%s/never\", timeout: 50s, retries: 0 }\n"
	"    - { on: success, url: \"%s/pause/300\", retries: 0 }\n"
	"    steps: [ { weight: 1% }, { weight: 10% } ]\n";

static int make(void **state)
{
	*state = rollouts_box_make(rollout);
	return 0;
}

static int unmake(void **state)
{
	rollouts_box_remove(*state);
	return 0;
}

/* What the daemon does each second. */
static int round_of(struct rollouts_box *box)
{
	struct errors *errors = errors_new();
	int error;

	rollouts_box_service(box);
	error = hooks_call(&box->rollouts, errors);
	errors_free(errors);
	return error;
}

static struct store *writer(struct rollouts_box *box)
{
	struct store *store;

	assert_int_equal(
		store_open_write(box->place.state, 0, &box->actor, &store, box->state.errors), 0);
	return store;
}

static void queue(struct rollouts_box *box, uint32_t hook, uint64_t number, const char *json)
{
	struct hook_call call = {
		.service = "api",
		.id = 1,
		.call = number,
		.hook = hook,
		.gate = hook == HOOK_GATE,
		.json = (char *)json,
	};
	struct store *store = writer(box);

	assert_int_equal(store_add_hook_call(store, &call, box->state.errors), 0);
	assert_int_equal(store_commit(store, box->state.errors), 0);
	store_close(store);
}

static size_t queued(struct rollouts_box *box)
{
	struct hook_call *calls;
	struct store *store;
	size_t count;

	assert_int_equal(store_open_read(box->place.state, &store, box->state.errors), 0);
	assert_int_equal(store_hook_calls(store, &calls, &count, box->state.errors), 0);
	hook_calls_release(calls, count);
	store_close(store);
	return count;
}

static int asked(struct rollouts_box *box, const char *path)
{
	char of[64];

	snprintf(of, sizeof(of), "/asked%s", path);
	return atoi(rollouts_box_fetch(box, of, NULL));
}

static void rounds_until_queued(struct rollouts_box *box, size_t count)
{
	for (int i = 0; i < 1000 && queued(box) != count; i++) {
		assert_int_equal(round_of(box), 0);
		probe_box_run(box->probe, 10);
	}
	assert_int_equal(queued(box), count);
}

/* As the daemon does every few seconds. */
static void save_counters(struct rollouts_box *box)
{
	assert_int_equal(
		counters_save(box->rollouts.counters, &box->place, &box->actor, box->state.errors),
		0);
}

/* ---- the machine's part ---- */

static struct rollout_state state_of(struct rollouts_box *box)
{
	struct rollout_state state;
	struct store *store;

	assert_int_equal(store_open_read(box->place.state, &store, box->state.errors), 0);
	assert_int_equal(rollout_load_state(store, "api", &state, box->state.errors), 0);
	store_close(store);
	return state;
}

static void feed(struct rollouts_box *box, struct rollout_event event)
{
	struct control *control;

	assert_int_equal(control_open_write(&box->place, &box->actor, box->state.errors, &control),
			 0);
	event.by = "ann";
	event.reason = "";
	assert_int_equal(rollout_drive(control, policy_service(control->policy, "api"), &event), 0);
	control_close(control);
}

static void a_gate_that_says_yes_lets_the_step_begin(void **state)
{
	struct rollouts_box *box = *state;
	json_t *bodies, *event;

	feed(box, (struct rollout_event){.kind = EVENT_START});
	assert_int_equal(queued(box), 1);
	assert_int_equal(state_of(box).gates_open, 0);
	rounds_until_queued(box, 0);
	assert_int_equal(state_of(box).gates_open, 1 << HOOK_GATE);
	assert_int_equal(state_of(box).gates_asked, 0);
	/* What was posted is the contract's event. */
	bodies = json_loads(rollouts_box_fetch(box, "/posted/set/gate", NULL), 0, NULL);
	assert_int_equal(json_array_size(bodies), 1);
	event = json_loads(json_string_value(json_array_get(bodies, 0)), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(event, "service")), "api");
	assert_int_equal(json_integer_value(json_object_get(event, "id")), 1);
	json_decref(event);
	json_decref(bodies);
}

static void a_gate_that_is_down_does_not(void **state)
{
	struct rollouts_box *box = *state;
	char **url = &rollouts_box_service(box)->rollout.hooks[HOOK_GATE].url;

	/* Nobody listens there. */
	free(*url);
	*url = strdup("http://127.0.0.1:1/");
	feed(box, (struct rollout_event){.kind = EVENT_START});
	rounds_until_queued(box, 0);
	assert_int_equal(state_of(box).gates_open, 0);
	assert_int_equal(state_of(box).begun, 0);
	save_counters(box);
	assert_int_equal(hooks_failures(&box->rollouts, "api", HOOK_BEFORE_STEP), 1);
}

/* ---- the queue's ---- */

static void a_call_that_fails_is_counted_and_dropped(void **state)
{
	struct rollouts_box *box = *state;

	queue(box, HOOK_PAGE, 1, "{}");
	queue(box, HOOK_PAGE, 2, "{}");
	rounds_until_queued(box, 0);
	assert_int_equal(asked(box, "/status/500"), 2);
	save_counters(box);
	assert_int_equal(hooks_failures(&box->rollouts, "api", HOOK_ROLLBACK), 2);
	assert_int_equal(hooks_failures(&box->rollouts, "api", HOOK_SUCCESS), 0);
	assert_int_equal(hooks_failures(&box->rollouts, "web", HOOK_ROLLBACK), 0);
}

static void a_busy_lock_makes_no_hook_be_called_again(void **state)
{
	struct rollouts_box *box = *state;
	struct store *other;

	queue(box, HOOK_PAGE, 1, "{}");
	assert_int_equal(round_of(box), 0);
	other = writer(box);
	/* Only what was answered needs the lock. */
	for (int i = 0; i < 1000 && round_of(box) != -EBUSY; i++)
		probe_box_run(box->probe, 10);
	for (int i = 0; i < 5; i++)
		assert_int_equal(round_of(box), -EBUSY);
	assert_int_equal(queued(box), 1);
	store_close(other);
	rounds_until_queued(box, 0);
	assert_int_equal(asked(box, "/status/500"), 1);
}

static void a_daemon_that_comes_back_calls_again(void **state)
{
	struct rollouts_box *box = *state;
	struct store *other;

	queue(box, HOOK_PAGE, 1, "{}");
	assert_int_equal(round_of(box), 0);
	other = writer(box);
	for (int i = 0; i < 1000 && round_of(box) != -EBUSY; i++)
		probe_box_run(box->probe, 10);
	store_close(other);
	/* It was called, but nobody was told. */
	probes_stop(&box->rollouts);
	assert_true(probes_start(&box->rollouts) >= 0);
	rounds_until_queued(box, 0);
	assert_int_equal(asked(box, "/status/500"), 2);
}

static void a_hook_that_never_answers_keeps_no_other_waiting(void **state)
{
	struct rollouts_box *box = *state;

	queue(box, HOOK_STUCK, 1, "{}");
	queue(box, HOOK_STUCK, 2, "{}");
	queue(box, HOOK_PAGE, 3, "{}");
	rounds_until_queued(box, 2);
	assert_int_equal(asked(box, "/status/500"), 1);
	assert_int_equal(asked(box, "/never"), 1);
}

static void the_calls_of_one_hook_are_made_in_their_order(void **state)
{
	struct rollouts_box *box = *state;

	queue(box, HOOK_SLOW, 1, "{\"n\":1}");
	queue(box, HOOK_SLOW, 2, "{\"n\":2}");
	queue(box, HOOK_SLOW, 3, "{\"n\":3}");
	for (int i = 0; i < 1000 && !asked(box, "/pause/300"); i++)
		assert_int_equal(round_of(box), 0);
	assert_int_equal(round_of(box), 0);
	assert_string_equal(rollouts_box_fetch(box, "/posted/pause/300", NULL),
			    "[\"{\\\"n\\\":1}\"]");
	rounds_until_queued(box, 0);
	assert_string_equal(rollouts_box_fetch(box, "/posted/pause/300", NULL),
			    "[\"{\\\"n\\\":1}\", \"{\\\"n\\\":2}\", \"{\\\"n\\\":3}\"]");
}

static void a_call_that_nobody_waits_for_any_more_is_given_up(void **state)
{
	struct rollouts_box *box = *state;
	size_t before = probe_box_descriptors();
	struct store *store;

	queue(box, HOOK_STUCK, 1, "{}");
	for (int i = 0; i < 1000 && !asked(box, "/never"); i++)
		assert_int_equal(round_of(box), 0);
	assert_true(probe_box_descriptors() > before);
	store = writer(box);
	assert_int_equal(store_drop_hook_call(store, 1, box->state.errors), 0);
	assert_int_equal(store_commit(store, box->state.errors), 0);
	store_close(store);
	assert_int_equal(round_of(box), 0);
	/* So the next one need not wait for it. */
	queue(box, HOOK_STUCK, 2, "{}");
	for (int i = 0; i < 1000 && asked(box, "/never") < 2; i++)
		assert_int_equal(round_of(box), 0);
	assert_int_equal(asked(box, "/never"), 2);
}

static void a_hook_that_the_file_no_longer_has_is_dropped(void **state)
{
	struct rollouts_box *box = *state;

	queue(box, 9, 1, "{}");
	rounds_until_queued(box, 0);
}

static void who_is_called_is_whom_the_file_named_when_the_rollout_began(void **state)
{
	struct rollouts_box *box = *state;

	feed(box, (struct rollout_event){.kind = EVENT_START});
	feed(box, (struct rollout_event){.kind = EVENT_ABORT});
	rollouts_box_apply(box, "    hooks:\n"
				"    - { on: rollback, url: \"%s/status/201\" }\n"
				"    - { on: rollback, url: \"%s/status/202\" }\n"
				"    steps: [ { weight: 1% } ]\n");
	for (int i = 0; i < 1000 && !asked(box, "/status/500"); i++)
		assert_int_equal(round_of(box), 0);
	rounds_until_queued(box, 1); /* that of the hook that never answers */
	assert_int_equal(asked(box, "/status/500"), 1);
	assert_int_equal(asked(box, "/never"), 1);
	assert_int_equal(asked(box, "/status/201"), 0);
	assert_int_equal(asked(box, "/status/202"), 0);
	/* Of the next rollout it is whom the file names now. */
	feed(box, (struct rollout_event){.kind = EVENT_START});
	feed(box, (struct rollout_event){.kind = EVENT_ABORT});
	rounds_until_queued(box, 1);
	assert_int_equal(asked(box, "/status/201"), 1);
	assert_int_equal(asked(box, "/status/202"), 1);
	assert_int_equal(asked(box, "/status/500"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_gate_that_says_yes_lets_the_step_begin),
		TEST(a_gate_that_is_down_does_not),
		TEST(a_call_that_fails_is_counted_and_dropped),
		TEST(a_busy_lock_makes_no_hook_be_called_again),
		TEST(a_daemon_that_comes_back_calls_again),
		TEST(a_hook_that_never_answers_keeps_no_other_waiting),
		TEST(the_calls_of_one_hook_are_made_in_their_order),
		TEST(a_call_that_nobody_waits_for_any_more_is_given_up),
		TEST(a_hook_that_the_file_no_longer_has_is_dropped),
		TEST(who_is_called_is_whom_the_file_named_when_the_rollout_began),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
