// SPDX-License-Identifier: GPL-2.0-only
/*
 * From records to features, and features in the store: one window replaces another whole, and no
 * reader sees parts of either. Expected values are worked out by hand.
 */
#include "observe/features.h"
#include "store/store.h"
#include "tests/random.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct actor ann = {.by = "ann", .command = "daemon", .reason = ""};

/* 198.51.100.7, 2001:db8:1:2::/64 */
#define LOW4  0xffffc6336407ULL
#define HIGH6 0x20010db800010002ULL

#define FLOWS(flows, seconds) ((uint64_t)(flows) << OBSERVED_FLOWS_SHIFT | (seconds))
#define NS		      1000000000ULL

static struct window day(void)
{
	return (struct window){
		.from = 1000000,
		.to = 1000000 + 2 * 86400,
		.to_ns = 2000000 * NS,
		.prefix4 = 32,
		.prefix6 = 64,
		.sample = 16,
	};
}

/* ---- one client ---- */

static void features_are_those_of_the_contract(void **state)
{
	struct window window = day();
	struct observed_client client = {
		.low = LOW4,
		.services = 1ULL << 63 | 5,
		.packets = 1600,
		.bytes = 1000000,
		.flows_seconds = FLOWS(40, 11),
		.first = window.from + 100,
		.last = window.from + 600,
	};
	struct client_features features = features_of(&client, &window);

	(void)state;
	assert_int_equal(features.client.length, 128);
	assert_int_equal(features.client.low, LOW4);
	assert_int_equal(features.packets, 1600);
	assert_int_equal(features.bytes, 1000000);
	assert_int_equal(features.flows, 40);
	assert_int_equal(features.active_seconds, 11);
	assert_true(features.flows_per_day == 20);
	assert_true(features.bytes_per_flow == 25000);
	assert_true(features.mean_gap_seconds == 50);
	assert_true(features.first_seen_age_seconds == 2 * 86400 - 100);
	assert_true(features.last_seen_age_seconds == 2 * 86400 - 600);
	assert_int_equal(features.services, 3);
}

static void what_cannot_be_known_is_unknown(void **state)
{
	struct window window = day();
	struct observed_client client = {
		.high = HIGH6,
		.packets = 16,
		.bytes = 1000,
		.flows_seconds = FLOWS(0, 1),
		.first = window.from + 5,
		.last = window.from + 5,
	};
	struct client_features features = features_of(&client, &window);

	(void)state;
	assert_int_equal(features.client.length, 64);
	assert_true(isnan(features.bytes_per_flow));
	assert_true(isnan(features.mean_gap_seconds));
	assert_true(features.flows_per_day == 0);
	assert_int_equal(features.services, 0);
}

/* The end of a window was between the two: it has the packet, and the next one its second. */
static void a_packet_that_a_window_s_end_cut_in_two_was_at_its_edge(void **state)
{
	struct window window = day();
	struct observed_client early = {.low = LOW4, .packets = 1};
	struct observed_client late = {.low = LOW4, .packets = 1, .last = window.to + 1};
	struct client_features features = features_of(&early, &window);

	(void)state;
	assert_true(features.first_seen_age_seconds == 2 * 86400);
	assert_true(features.last_seen_age_seconds == 2 * 86400);
	late.first = window.to + 1;
	features = features_of(&late, &window);
	assert_true(features.first_seen_age_seconds == 0);
	assert_true(features.last_seen_age_seconds == 0);
	late.first = window.from - 500; /* of the window before */
	features = features_of(&late, &window);
	assert_true(features.first_seen_age_seconds == 2 * 86400);
	window.to = window.from; /* nothing is divided by nothing */
	assert_true(isfinite(features_of(&early, &window).flows_per_day));
}

static void a_feature_s_value_is_that_of_its_name(void **state)
{
	struct client_features features = {.packets = 1,
					   .bytes = 2,
					   .flows = 3,
					   .active_seconds = 4,
					   .flows_per_day = 5,
					   .bytes_per_flow = 6,
					   .mean_gap_seconds = 7,
					   .first_seen_age_seconds = 8,
					   .last_seen_age_seconds = 9,
					   .services = 10};
	int feature;

	(void)state;
	for (feature = 0; feature < FEATURES_COUNT; feature++) {
		struct feature_value value = feature_value(&features, feature);

		assert_true((value.is_real ? value.real : value.integer) == feature + 1);
	}
}

/* ---- two records of one client ---- */

static void records_of_one_client_are_added_up_and_put_in_order(void **state)
{
	struct observed_list list = {.count = 4};

	(void)state;
	list.clients = aligned_alloc(64, 4 * sizeof(*list.clients));
	list.clients[0] = (struct observed_client){.high = HIGH6, .packets = 7};
	list.clients[1] = (struct observed_client){.low = LOW4,
						   .packets = 1,
						   .bytes = 10,
						   .services = 1,
						   .flows_seconds = FLOWS(1, 2),
						   .first = 50,
						   .last = 60};
	list.clients[2] = (struct observed_client){.low = LOW4 - 1, .packets = 9};
	list.clients[3] = (struct observed_client){.low = LOW4,
						   .packets = 2,
						   .bytes = 20,
						   .services = 4,
						   .flows_seconds = FLOWS(3, 4),
						   .first = 40,
						   .last = 55};
	observed_merge(&list);
	assert_int_equal(list.count, 3);
	assert_int_equal(list.clients[0].packets, 9);
	assert_int_equal(list.clients[1].packets, 3);
	assert_int_equal(list.clients[1].bytes, 30);
	assert_int_equal(list.clients[1].services, 5);
	assert_int_equal(list.clients[1].flows_seconds, FLOWS(4, 6));
	assert_int_equal(list.clients[1].first, 40);
	assert_int_equal(list.clients[1].last, 60);
	assert_int_equal(list.clients[2].packets, 7);
	observed_list_release(&list);
}

/* ---- the store ---- */

struct fixture {
	char directory[64];
	struct errors *errors;
};

static int make_box(void **state)
{
	struct fixture *box = calloc(1, sizeof(*box));

	strcpy(box->directory, "/tmp/features_test.XXXXXX");
	assert_non_null(mkdtemp(box->directory));
	box->errors = errors_new();
	*state = box;
	return 0;
}

static int remove_box(void **state)
{
	static const char *const files[] = {"state.db", "state.db-wal", "state.db-shm", "lock"};
	struct fixture *box = *state;
	char path[128];
	size_t i;

	for (i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s/%s", box->directory, files[i]);
		remove(path);
	}
	rmdir(box->directory);
	errors_free(box->errors);
	free(box);
	return 0;
}

static struct store *writer_of(struct fixture *box)
{
	struct store *store;

	assert_int_equal(store_open_write(box->directory, 1000, &ann, &store, box->errors), 0);
	return store;
}

static struct client_features row_of(uint32_t client, uint64_t packets, double age)
{
	return (struct client_features){
		.client = {.low = IPV4_MAPPED | client, .length = 128},
		.packets = packets,
		.bytes = packets << 40,
		.flows_per_day = packets / 3.0,
		.bytes_per_flow = client % 2 ? NAN : 1.5,
		.mean_gap_seconds = client % 3 ? NAN : 2.5,
		.first_seen_age_seconds = age,
		.last_seen_age_seconds = 1,
		.services = 2,
	};
}

static void stage(struct fixture *box, const struct client_features *rows, size_t count, bool first)
{
	struct store *store = writer_of(box);

	assert_int_equal(store_stage_features(store, rows, count, first, box->errors), 0);
	assert_int_equal(store_commit(store, box->errors), 0);
	store_close(store);
}

static void show(struct fixture *box, uint64_t to_ns, uint64_t clients)
{
	struct features_window window = {
		.from_ns = to_ns - NS, .to_ns = to_ns, .sample = 16, .clients = clients};
	struct store *store = writer_of(box);

	assert_int_equal(store_show_features(store, &window, box->errors), 0);
	assert_int_equal(store_commit(store, box->errors), 0);
	store_close(store);
}

struct read {
	struct client_features rows[16];
	size_t count;
};

static int keep(const struct client_features *row, void *data)
{
	struct read *read = data;

	assert_true(read->count < 16);
	read->rows[read->count++] = *row;
	return 0;
}

static struct read read_all(struct fixture *box)
{
	struct read read = {0};
	struct store *store;

	assert_int_equal(store_open_read(box->directory, &store, box->errors), 0);
	assert_int_equal(store_each_features(store, NULL, NULL, keep, &read, box->errors), 0);
	store_close(store);
	return read;
}

static bool same(double a, double b)
{
	return a == b || (isnan(a) && isnan(b));
}

static void assert_same_row(const struct client_features *a, const struct client_features *b)
{
	int feature;

	assert_int_equal(member_compare(&a->client, &b->client), 0);
	for (feature = 0; feature < FEATURES_COUNT; feature++) {
		struct feature_value x = feature_value(a, feature), y = feature_value(b, feature);

		assert_int_equal(x.integer, y.integer);
		assert_true(same(x.real, y.real));
	}
}

static void a_window_is_seen_whole_when_it_is_shown_and_not_before(void **state)
{
	struct client_features rows[6];
	struct fixture *box = *state;
	struct read read;
	size_t i;

	for (i = 0; i < 6; i++)
		rows[i] = row_of(i, i + 1, 10 * i);
	stage(box, rows, 2, true);
	stage(box, rows + 2, 4, false);
	assert_int_equal(read_all(box).count, 0);
	show(box, 5000 * NS, 6);
	read = read_all(box);
	assert_int_equal(read.count, 6);
	for (i = 0; i < 6; i++)
		assert_same_row(&read.rows[i], &rows[i]);
}

/* Also after a writer that died half-way. */
static void the_next_window_replaces_it_whatever_an_earlier_attempt_left(void **state)
{
	struct client_features rows[6];
	struct fixture *box = *state;
	struct read read;
	size_t i;

	for (i = 0; i < 6; i++)
		rows[i] = row_of(i, i + 1, 0);
	stage(box, rows, 6, true);
	show(box, 5000 * NS, 6);
	stage(box, rows + 3, 2, true); /* and it died */
	assert_int_equal(read_all(box).count, 6);
	stage(box, rows, 1, true);
	show(box, 6000 * NS, 1);
	read = read_all(box);
	assert_int_equal(read.count, 1);
	assert_same_row(&read.rows[0], &rows[0]);
	stage(box, NULL, 0, true); /* a window in which nobody came */
	show(box, 7000 * NS, 0);
	assert_int_equal(read_all(box).count, 0);
}

static void the_window_and_single_clients_are_found(void **state)
{
	struct client_features rows[3] = {row_of(1, 1, 0), row_of(2, 2, 0), row_of(4, 3, 0)}, found;
	struct fixture *box = *state;
	struct features_window window;
	struct member client = row_of(3, 0, 0).client;
	struct store *store;

	store_close(writer_of(box));
	stage(box, rows, 3, true);
	assert_int_equal(store_open_read(box->directory, &store, box->errors), 0);
	assert_int_equal(store_features_window(store, &window, box->errors), -ENOENT);
	store_close(store);
	show(box, 5000 * NS, 3);
	assert_int_equal(store_open_read(box->directory, &store, box->errors), 0);
	assert_int_equal(store_features_window(store, &window, box->errors), 0);
	assert_int_equal(window.from_ns, 4999 * NS);
	assert_int_equal(window.to_ns, 5000 * NS);
	assert_int_equal(window.sample, 16);
	assert_int_equal(window.clients, 3);
	assert_int_equal(store_features(store, &rows[1].client, &found, box->errors), 0);
	assert_same_row(&found, &rows[1]);
	assert_int_equal(store_features(store, &client, &found, box->errors), -ENOENT);
	client = rows[1].client;
	client.length = 127; /* another client */
	assert_int_equal(store_features(store, &client, &found, box->errors), -ENOENT);
	assert_int_equal(errors_count(box->errors), 0);
	store_close(store);
}

/* A reader that has begun sees the window that was there, to its end. */
static void who_reads_while_a_window_is_shown_sees_one_of_them(void **state)
{
	struct client_features rows[2] = {row_of(1, 1, 0), row_of(2, 2, 0)};
	struct fixture *box = *state;
	struct read read = {0};
	struct store *store;

	stage(box, rows, 2, true);
	show(box, 5000 * NS, 2);
	assert_int_equal(store_open_read(box->directory, &store, box->errors), 0);
	stage(box, rows, 1, true);
	show(box, 6000 * NS, 1);
	assert_int_equal(store_each_features(store, NULL, NULL, keep, &read, box->errors), 0);
	assert_int_equal(read.count, 2);
	store_close(store);
	assert_int_equal(read_all(box).count, 1);
}

/* Random clients of two windows: who was in the former is known since then, or since earlier. */
static void since_when_a_client_is_known_goes_on_over_windows(void **state)
{
	struct random random = random_seeded(__func__);
	struct fixture *box = *state;
	struct observed_list list = {0};
	struct client_features *out;
	struct client_features former[200];
	double ages[400];
	struct window window = day();
	struct store *store;
	size_t i, count = 0;

	for (i = 0; i < 400; i++)
		ages[i] = -1;
	for (i = 0; i < 400 && count < 200; i++)
		if (random_below(&random, 2)) {
			ages[i] = random_below(&random, 100);
			former[count++] = row_of(i, 1, ages[i]);
		}
	stage(box, former, count, true);
	show(box, window.to_ns - 3600 * NS, count);
	list.clients = aligned_alloc(64, 400 * sizeof(*list.clients));
	for (i = 0; i < 400; i++)
		if (random_below(&random, 2))
			list.clients[list.count++] = (struct observed_client){
				.low = IPV4_MAPPED | i,
				.packets = 1,
				.first = window.to - random_below(&random, 7200),
				.last = window.to};
	observed_merge(&list);
	out = calloc(list.count, sizeof(*out));
	assert_int_equal(store_open_read(box->directory, &store, box->errors), 0);
	assert_int_equal(
		features_of_all(store, &window, list.clients, list.count, out, box->errors), 0);
	store_close(store);
	for (i = 0; i < list.count; i++) {
		uint32_t client = list.clients[i].low;
		double own = window.to - list.clients[i].first, known = ages[client] + 3600;

		assert_true(out[i].first_seen_age_seconds ==
			    (ages[client] < 0 || own > known ? own : known));
	}
	assert_true(list.count > 100);
	free(out);
	observed_list_release(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(features_are_those_of_the_contract),
		cmocka_unit_test(what_cannot_be_known_is_unknown),
		cmocka_unit_test(a_packet_that_a_window_s_end_cut_in_two_was_at_its_edge),
		cmocka_unit_test(a_feature_s_value_is_that_of_its_name),
		cmocka_unit_test(records_of_one_client_are_added_up_and_put_in_order),
#define store_test(function) cmocka_unit_test_setup_teardown(function, make_box, remove_box)
		store_test(a_window_is_seen_whole_when_it_is_shown_and_not_before),
		store_test(the_next_window_replaces_it_whatever_an_earlier_attempt_left),
		store_test(the_window_and_single_clients_are_found),
		store_test(who_reads_while_a_window_is_shown_sees_one_of_them),
		store_test(since_when_a_client_is_known_goes_on_over_windows),
	};

	return cmocka_run_group_tests_name("unit/features", tests, NULL, NULL);
}
