// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a window, step by step: a box with a store and maps of its own, packets through the
 * real program, and a window whose beginning is moved into the past.
 */
#include "feeder.h"
#include "observe/features.h"
#include "observe/rotation.h"
#include "observing.h"
#include "tests/random.h"
#include "util/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define HOUR	 3600
#define RECORDS	 (1 << 19) /* a take of several steps, and room for all */
#define CLIENTS	 33000	   /* several steps of rows */
#define STEP_MAX 64

static const struct actor ann = {.by = "ann", .command = "daemon", .reason = ""};
static const char config[] = "version: 1\n"
			     "interfaces: [ { name: lo } ]\n"
			     "observe: { sample: 1, window: 1h }\n";

struct scene {
	struct lab *lab;
	struct place place;
	char state[64];
};

static void open_scene(struct scene *scene, uint32_t records)
{
	struct limits limits = {
		.services = 16, .vips = 16, .backends = 64, .observed_clients = records};
	struct store *store;
	uint64_t number;

	lab_require_bpf();
	*scene = (struct scene){.lab = lab_open(lab_secret, limits)};
	strcpy(scene->state, "/tmp/rotation_test.XXXXXX");
	assert_non_null(mkdtemp(scene->state));
	scene->place = (struct place){scene->state, scene->lab->directory, 0};
	assert_int_equal(store_open_write(scene->state, 0, &ann, &store, scene->lab->errors), 0);
	assert_int_equal(store_add_revision(store, config, &number, scene->lab->errors), 0);
	assert_int_equal(store_commit(store, scene->lab->errors), 0);
	store_close(store);
	lab_add_usual(scene->lab, STEER_L2, 4);
	lab_publish(scene->lab);
	lab_observe(scene->lab, 1);
}

static int set_up(void **state)
{
	*state = calloc(1, sizeof(struct scene));
	return !*state;
}

/* Also after a test that failed. */
static int tear_down(void **state)
{
	static const char *const files[] = {"state.db", "state.db-wal", "state.db-shm", "lock"};
	struct scene *scene = *state;
	char path[128];
	size_t i;

	for (i = 0; *scene->state && i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s/%s", scene->state, files[i]);
		remove(path);
	}
	if (*scene->state)
		rmdir(scene->state);
	lab_close(scene->lab);
	free(scene);
	return 0;
}

static void age_window(struct scene *scene, uint32_t seconds)
{
	datapath_box(scene->lab->datapath)->observed_since -= seconds;
}

static void send_from(struct scene *scene, uint32_t first, uint32_t count)
{
	struct packet_plan plan = packet_tcp("10.0.0.1", 1024, LAB_VIP4, 80);
	struct run run;
	uint32_t i;

	for (i = first; i < first + count; i++) {
		uint32_t word = htobe32(0x0a000000 + i);

		memcpy(plan.source.bytes, &word, sizeof(word));
		lab_run_plan(scene->lab, &plan, &run);
	}
}

static struct rotation *begin(struct scene *scene)
{
	struct rotation *rotation = NULL;

	assert_int_equal(rotation_begin(&scene->place, &ann, &rotation, scene->lab->errors), 0);
	return rotation;
}

/* So many steps, or all; returns how many there were. */
static int go_on(struct scene *scene, struct rotation *rotation, int steps)
{
	int done = 0, more = 1;

	while (done < steps && more == 1) {
		more = rotation_step(rotation, scene->lab->errors);
		assert_true(more >= 0);
		done++;
	}
	return done;
}

struct window_rows {
	uint64_t clients, packets;
};

static int add_row(const struct client_features *features, void *data)
{
	struct window_rows *rows = data;

	rows->clients++;
	rows->packets += features->packets;
	return 0;
}

/* Of the last complete window, as the store has it. */
static struct window_rows complete(struct scene *scene)
{
	struct window_rows rows = {0};
	struct store *store;

	assert_int_equal(store_open_read(scene->state, &store, scene->lab->errors), 0);
	assert_int_equal(store_each_features(store, NULL, NULL, add_row, &rows, scene->lab->errors),
			 0);
	store_close(store);
	return rows;
}

static struct window_rows running(struct scene *scene)
{
	struct observed_list list = observing_read(scene->lab);
	struct window_rows rows = {.clients = list.count};
	size_t i;

	for (i = 0; i < list.count; i++)
		rows.packets += list.clients[i].packets;
	observed_list_release(&list);
	return rows;
}

#define assert_rows(rows, clients_, packets_)                                                      \
	do {                                                                                       \
		struct window_rows rows_ = (rows);                                                 \
		assert_int_equal(rows_.clients, clients_);                                         \
		assert_int_equal(rows_.packets, packets_);                                         \
	} while (0)

static void features_are_the_last_window_s_until_the_next_is_shown_whole(void **state)
{
	struct scene *scene = *state;
	struct rotation *rotation;
	int steps, all;

	open_scene(scene, RECORDS);
	send_from(scene, 0, 3);
	age_window(scene, HOUR);
	rotation = begin(scene);
	all = go_on(scene, rotation, STEP_MAX);
	rotation_end(rotation, scene->lab->errors);
	assert_rows(complete(scene), 3, 3);
	send_from(scene, 0, CLIENTS);
	age_window(scene, HOUR);
	rotation = begin(scene);
	for (steps = 0; go_on(scene, rotation, 1) && complete(scene).clients != CLIENTS; steps++)
		assert_rows(complete(scene), 3, 3);
	assert_in_range(steps, all, STEP_MAX);
	assert_rows(complete(scene), CLIENTS, CLIENTS);
	assert_rows(running(scene), 0, 0);
	rotation_end(rotation, scene->lab->errors);
	assert_rows(complete(scene), CLIENTS, CLIENTS);
}

/* As when the daemon is stopped: after any step but the last. */
static void a_rotation_that_is_given_up_gives_everything_back(void **state)
{
	struct rotation *rotation;
	struct scene *scene = *state;
	int steps;
	uint32_t since;

	open_scene(scene, RECORDS);
	send_from(scene, 0, CLIENTS);
	age_window(scene, HOUR);
	since = datapath_box(scene->lab->datapath)->observed_since;
	for (steps = 0;; steps++) {
		rotation = begin(scene);
		go_on(scene, rotation, steps);
		send_from(scene, steps, 1); /* which goes on meanwhile */
		if (complete(scene).clients)
			break;
		rotation_end(rotation, scene->lab->errors);
		assert_int_equal(errors_count(scene->lab->errors), 0);
		assert_rows(running(scene), CLIENTS, CLIENTS + steps + 1);
		assert_int_equal(datapath_box(scene->lab->datapath)->observed_since, since);
	}
	assert_true(steps >= 7);
	assert_rows(complete(scene), CLIENTS, CLIENTS + steps);
	assert_rows(running(scene), 1, 1);
	rotation_end(rotation, scene->lab->errors);
}

static void of_two_who_find_the_window_over_one_takes_it(void **state)
{
	struct rotation *rotation, *other = NULL;
	struct scene *scene = *state;

	open_scene(scene, RECORDS);
	send_from(scene, 0, 3);
	assert_int_equal(rotation_begin(&scene->place, &ann, &other, scene->lab->errors), -EAGAIN);
	age_window(scene, HOUR);
	rotation = begin(scene);
	assert_int_equal(rotation_begin(&scene->place, &ann, &other, scene->lab->errors), -EAGAIN);
	assert_null(other);
	go_on(scene, rotation, STEP_MAX);
	rotation_end(rotation, scene->lab->errors);
	assert_rows(complete(scene), 3, 3);
}

/* The lock is another's: the step is tried again, and nothing is lost or counted twice. */
static void a_step_that_could_not_be_made_is_made_later(void **state)
{
	struct rotation *rotation;
	struct store *store;
	struct scene *scene = *state;
	int step, error = 0;

	open_scene(scene, RECORDS);
	send_from(scene, 0, CLIENTS);
	age_window(scene, HOUR);
	rotation = begin(scene);
	for (step = 0; step < STEP_MAX && !complete(scene).clients; step++) {
		assert_int_equal(
			store_open_write(scene->state, 0, &ann, &store, scene->lab->errors), 0);
		error = rotation_step(rotation, scene->lab->errors);
		store_close(store);
		if (error < 0) {
			assert_int_equal(error, -EBUSY);
			go_on(scene, rotation, 1);
		}
	}
	assert_int_equal(error, -EBUSY);
	assert_rows(complete(scene), CLIENTS, CLIENTS);
	rotation_end(rotation, scene->lab->errors);
}

/* Records were cleared meanwhile, for clients have another form now: what was taken is of the old
 * one, and is no part of the new window. */
static void a_window_that_began_anew_gets_nothing_back(void **state)
{
	struct observe_settings settings = {24, 64, 1};
	struct rotation *rotation;
	struct scene *scene = *state;

	open_scene(scene, RECORDS);
	send_from(scene, 0, 300);
	age_window(scene, HOUR);
	rotation = begin(scene);
	go_on(scene, rotation, 4);
	assert_int_equal(observed_start(scene->lab->datapath, &settings, scene->lab->errors), 0);
	rotation_end(rotation, scene->lab->errors);
	assert_rows(running(scene), 0, 0);
}

#define MILLION (1 << 20)

static double cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* How long it takes is printed: the whole, and the longest that the daemon's loop waits for it. */
static void a_million_clients_are_taken(void **state)
{
	struct random random = random_seeded(__func__);
	double began, longest = 0, step;
	struct rotation *rotation;
	struct feeder *feeder;
	struct scene *scene = *state;
	struct frame frame;
	uint64_t known;
	int more = 1;

	open_scene(scene, 4 * MILLION);
	feeder = feeder_open(scene->lab, 1, NULL);
	feeder_build(LAB_VIP4, FLAG_SYN, &frame);
	feeder_feed(feeder)->random = random_next(&random);
	assert_int_equal(feeder_run(feeder, &frame, MILLION), 0);
	feeder_close(feeder);
	known = running(scene).packets;
	assert_true(known > MILLION - MILLION / 500);
	age_window(scene, HOUR);
	began = cpu_ms();
	rotation = begin(scene);
	while (more == 1) {
		step = cpu_ms();
		more = rotation_step(rotation, scene->lab->errors);
		step = cpu_ms() - step;
		longest = step > longest ? step : longest;
	}
	printf("  %.0f ms of CPU, the longest step %.0f ms\n", cpu_ms() - began, longest);
	assert_int_equal(more, 0);
	assert_int_equal(complete(scene).packets, known);
	rotation_end(rotation, scene->lab->errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define scene_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
		scene_test(features_are_the_last_window_s_until_the_next_is_shown_whole),
		scene_test(a_rotation_that_is_given_up_gives_everything_back),
		scene_test(of_two_who_find_the_window_over_one_takes_it),
		scene_test(a_step_that_could_not_be_made_is_made_later),
		scene_test(a_window_that_began_anew_gets_nothing_back),
		scene_test(a_million_clients_are_taken),
	};

	return cmocka_run_group_tests_name("prog/rotation", tests, NULL, NULL);
}
