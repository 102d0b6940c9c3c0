// SPDX-License-Identifier: GPL-2.0-only
/* Counters of the daemon, from one daemon to the next, on a real store. */
#include "daemon/counters.h"
#include "state_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct counters_box {
	struct state_box state;
	struct place place;
	struct counters *counters;
	struct counter *failures;
};

static const char address[] = "10.0.0.1";

/* A daemon begins. */
static void begin(struct counters_box *box)
{
	box->counters = counters_new();
	assert_int_equal(counters_load(box->counters, &box->place, box->state.errors), 0);
	box->failures = counters_use(box->counters, COUNTER_CHECK_FAILURES, "api", address);
	assert_non_null(box->failures);
}

static int save(struct counters_box *box)
{
	return counters_save(box->counters, &box->place, &state_actor, box->state.errors);
}

/* And dies, with whatever it had not stored. */
static void die(struct counters_box *box)
{
	counters_free(box->counters);
	box->counters = NULL;
}

static int make(void **state)
{
	struct counters_box *box = calloc(1, sizeof(*box));

	state_box_make(&box->state);
	box->place = (struct place){.state = box->state.directory, .pins = "/sys/fs/bpf/none"};
	begin(box);
	*state = box;
	return 0;
}

static int remove_box(void **state)
{
	struct counters_box *box = *state;

	die(box);
	state_box_remove(&box->state);
	free(box);
	return 0;
}

static void count(struct counters_box *box, unsigned int times)
{
	while (times--)
		counter_add(box->failures);
}

static void a_counter_never_falls_however_the_daemon_ended(void **state)
{
	struct counters_box *box = *state;
	uint64_t shown = 0;

	for (unsigned int daemon = 0; daemon < 4; daemon++) {
		assert_int_equal(counter_shown(box->failures), shown);
		count(box, 3);
		assert_int_equal(save(box), 0);
		shown += 3;
		assert_int_equal(counter_shown(box->failures), shown);
		count(box, 2); /* are lost; so nobody may have seen them */
		assert_int_equal(counter_shown(box->failures), shown);
		die(box);
		begin(box);
	}
}

static void what_is_counted_while_the_store_is_away_is_not_lost(void **state)
{
	struct counters_box *box = *state;
	struct store *other;

	count(box, 1);
	assert_int_equal(save(box), 0);
	assert_int_equal(
		store_open_write(box->place.state, 0, &state_actor, &other, box->state.errors), 0);
	count(box, 5);
	assert_int_equal(save(box), -EBUSY);
	assert_int_equal(counter_shown(box->failures), 1);
	store_close(other);
	assert_int_equal(save(box), 0);
	assert_int_equal(counter_shown(box->failures), 6);
}

/* What there was is added to what was counted before that was known. */
static void a_store_that_answers_late_is_added(void **state)
{
	struct counters_box *box = *state;

	count(box, 7);
	assert_int_equal(save(box), 0);
	die(box);
	box->counters = counters_new();
	box->failures = counters_use(box->counters, COUNTER_CHECK_FAILURES, "api", address);
	count(box, 2);
	assert_int_equal(counter_shown(box->failures), 0);
	assert_int_equal(counters_load(box->counters, &box->place, box->state.errors), 0);
	assert_int_equal(counter_shown(box->failures), 7);
	assert_int_equal(save(box), 0);
	assert_int_equal(counter_shown(box->failures), 9);
}

static void counters_of_another_name_are_apart(void **state)
{
	struct counters_box *box = *state;
	struct counter *other =
		counters_use(box->counters, COUNTER_CHECK_FAILURES, "api", "10.0.0.10");
	struct counter *hook = counters_use(box->counters, COUNTER_HOOK_FAILURES, "api", address);
	struct counter *same = counters_use(box->counters, COUNTER_CHECK_FAILURES, "api", address);

	count(box, 2);
	counter_add(other);
	assert_int_equal(save(box), 0);
	assert_int_equal(counter_shown(other), 1);
	assert_int_equal(counter_shown(hook), 0);
	assert_ptr_equal(same, box->failures);
}

static void who_is_gone_leaves_nothing(void **state)
{
	struct counters_box *box = *state;
	struct counter *gone =
		counters_use(box->counters, COUNTER_CHECK_FAILURES, "api", "10.0.0.2");
	struct counter *hook = counters_use(box->counters, COUNTER_HOOK_FAILURES, "api", "success");
	struct note *notes;
	struct store *store;
	size_t notes_count;

	count(box, 1);
	counter_add(gone);
	counter_add(hook);
	assert_int_equal(save(box), 0);
	counter_give_back(gone);
	counter_give_back(hook);
	counters_forget_unused(box->counters, COUNTER_CHECK_FAILURES);
	assert_int_equal(save(box), 0);
	assert_int_equal(store_open_read(box->place.state, &store, box->state.errors), 0);
	assert_int_equal(store_notes(store, "counters/", &notes, &notes_count, box->state.errors),
			 0);
	assert_int_equal(notes_count, 2);
	assert_string_equal(notes[0].key, "counters/check_failures/api/10.0.0.1");
	assert_string_equal(notes[1].key, "counters/hook_failures/api/success");
	notes_release(notes, notes_count);
	store_close(store);
	/* Who comes back begins anew. */
	gone = counters_use(box->counters, COUNTER_CHECK_FAILURES, "api", "10.0.0.2");
	assert_int_equal(counter_shown(gone), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, remove_box)
	const struct CMUnitTest tests[] = {
		TEST(a_counter_never_falls_however_the_daemon_ended),
		TEST(what_is_counted_while_the_store_is_away_is_not_lost),
		TEST(a_store_that_answers_late_is_added),
		TEST(counters_of_another_name_are_apart),
		TEST(who_is_gone_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
