// SPDX-License-Identifier: GPL-2.0-only
/*
 * Promise 6 as a property: random histories of a service, real packets through the real program,
 * and a model (affinity_model.h) that says of each packet whether its flow may be where it went.
 * Histories run side by side, a service each, so that they share grace periods; each has random
 * numbers of its own, from the run's seed and its index.
 *
 *   XDP_CANARY_HISTORIES=20000	  as many histories instead of 1,024
 *   XDP_CANARY_SEED=S		  repeats a run
 *   XDP_CANARY_HISTORY=I	  with the seed: history I alone, and tells it also where nothing
 * fails
 */
#include "affinity_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HISTORIES    1024
#define STARVED_EACH 8 /* one batch in so many has next to no room in the transition table */
#define STEPS	     16

/* ---- time ---- */

/* When the next step begins: soon, at one of the era's ends, or after it. */
static int64_t random_wait(struct history *history)
{
	const struct model *model = &history->model;
	int64_t a_second = jiffies_of(1000);

	switch (below(history, 10)) {
	case 0:
	case 1:
	case 2:
		return below(history, model->drain / 20 + 1);
	case 3:
	case 4:
	case 5:
		return below(history, model->drain);
	case 6:
		return model->drain - below(history, 3 * a_second);
	case 7:
		return model->udp_drain + below(history, 2 * a_second) - a_second / 2;
	case 8:
		return model->drain + below(history, 2 * a_second);
	default:
		return 0;
	}
}

static void wait_some(struct world *world, struct history *history)
{
	int64_t now = world_now(world, &history->subject), wait;

	wait = random_wait(history);
	if (history->planned < now - wait) /* the machine took longer than was planned */
		history->planned = now;
	history->planned += wait;
	if (history->planned > now)
		world_wait(world, &history->subject, history->planned - now);
	tell(history, "waits %lld\n",
	     (long long)(history->planned > now ? history->planned - now : 0));
}

/* ---- running ---- */

static void history_begin(struct world *world, struct history *history, uint64_t seed,
			  uint64_t index)
{
	char name[32];
	unsigned int i;

	*history =
		(struct history){.index = index, .random = {seed ^ index * 0xd6e8feb86659fd93ULL}};
	history->trace = open_memstream(&history->told, &history->told_size);
	assert_non_null(history->trace);
	random_next(&history->random);
	snprintf(name, sizeof(name), "history-%llu", (unsigned long long)index);
	world_add(world, &history->subject, name, index % SIDE_BY_SIDE);
	history_random_service(history);
	for (i = below(history, 3); i; i--)
		add_pin(world, history, NULL);
	for (i = below(history, RULES_MOST); i; i--)
		add_rule(world, history, NULL);
	for (i = below(history, 12); i; i--)
		add_member(world, history, NULL);
	for (i = in_percent(history, 40) ? 1 + below(history, 6) : 0; i; i--)
		change_group(world, history, NULL);
	if (in_percent(history, 40))
		change_group_by(world, history, NULL);
	for (i = 0; i < FLOWS; i++)
		history_random_flow(history, i);
	subject_tell(&history->subject, &history->model);
}

static void history_show(struct world *world, struct history *history)
{
	const struct epoch first = {.from = INT64_MIN / 4,
				    .to = INT64_MIN / 4,
				    .is_view = true,
				    .shifts = shares_shift(history)};

	model_begin(&history->model, &first);
	history_note_decisions(world, history);
	history->planned = world_now(world, &history->subject);
	history_send_some(world, history);
}

static void add_totals(struct world *world, struct history *histories, size_t count,
		       const struct affinity_counter *before)
{
	size_t i;
	int path;

	for (i = 0; i < count; i++) {
		struct affinity_counter after =
			lab_affinity_counter(world->real, histories[i].subject.real);

		for (path = 0; path < PATHS; path++)
			run_totals.paths[path] += after.paths[path] - before[i].paths[path];
		run_totals.evicted += after.evicted - before[i].evicted;
	}
}

/*
 * Have the others changed members of segments that its rules name, or groups of its column? Of a
 * service that is killed a writer takes any view for a change, for it knows no others.
 */
static bool is_touched(const struct history *history, const struct history *histories, size_t count)
{
	const struct lab_service *real = history->subject.real;
	uint64_t segments = 0;
	size_t i;

	if (history->model.is_killed)
		return true;
	for (i = 0; i + 1 < real->service.rules_count; i++)
		segments |= 1ULL << real->rule_segments[i];
	for (i = 0; i < count; i++) {
		const struct history *other = &histories[i];

		if (other != history && ((other->touched_segments & segments) ||
					 (other->touched_columns & 1 << real->group_column)))
			return true;
	}
	return false;
}

/*
 * Of the histories that change nothing, to which the change of another may still be one; for the
 * rest a writer came and did nothing.
 */
static void take_others(struct world *world, struct history *histories, size_t count,
			const struct epoch *shown)
{
	size_t i;

	for (i = 0; i < count; i++) {
		struct history *history = &histories[i];
		struct epoch epoch = {
			.from = shown->from + history->subject.waited,
			.to = shown->to + history->subject.waited,
			.is_view = true,
			.shifts = shares_shift(history),
		};

		if (history->is_changing)
			continue;
		if (is_touched(history, histories, count) ||
		    world->is_finished[history->subject.real->slot]) {
			model_begin(&history->model, &epoch);
			history_note_decisions(world, history);
			tell(history, "%lld to %lld others published\n", (long long)epoch.from,
			     (long long)epoch.to);
			run_totals.touched++;
		} else {
			model_note_writer(&history->model, epoch.from, epoch.to, jiffies_of(1000));
		}
	}
}

/* @count histories from index @first on, each every step'th. */
static void run_histories(struct world *world, uint64_t seed, uint64_t first, size_t count)
{
	static struct history histories[SIDE_BY_SIDE];
	static struct affinity_counter before[SIDE_BY_SIDE];
	struct change changes[SIDE_BY_SIDE];
	struct history *changing[SIDE_BY_SIDE];
	static const struct subject nobody;
	struct epoch shown;
	size_t i, changed;
	int step;

	world->random.state = seed ^ first;
	for (i = 0; i < count; i++)
		history_begin(world, &histories[i], seed, first + i);
	world_show(world);
	for (i = 0; i < count; i++) {
		before[i] = lab_affinity_counter(world->real, histories[i].subject.real);
		histories[i].evicted = before[i].evicted;
		history_show(world, &histories[i]);
	}
	for (step = 0; step < STEPS; step++) {
		changed = 0;
		for (i = 0; i < count; i++) {
			wait_some(world, &histories[i]);
			history_send_some(world, &histories[i]);
			histories[i].is_changing =
				history_ask_for_change(world, &histories[i], &changes[changed]);
			if (histories[i].is_changing)
				changing[changed++] = &histories[i];
		}
		shown.from = world_now(world, &nobody);
		world_publish(world, changes, changed);
		shown.to = world_now(world, &nobody);
		for (i = 0; i < changed; i++)
			history_take_change(world, changing[i], &changes[i]);
		take_others(world, histories, count, &shown);
		for (i = 0; i < count; i++)
			history_send_some(world, &histories[i]);
	}
	add_totals(world, histories, count, before);
	for (i = 0; i < count; i++) {
		fclose(histories[i].trace);
		if (getenv("XDP_CANARY_HISTORY"))
			printf("%s", histories[i].told);
		free(histories[i].told);
		client_lists_release(&histories[i].clients);
	}
	world_reset(world);
}

static uint64_t number_given(const char *variable, uint64_t otherwise)
{
	const char *given = getenv(variable);

	return given ? strtoull(given, NULL, 10) : otherwise;
}

static void print_totals(void)
{
#define X(symbol, name, text) name,
	static const char *const names[] = {FOR_EACH_PATH(X)};
#undef X
#define X(symbol, text) text,
	static const char *const excuses[] = {FOR_EACH_EXCUSE(X)};
#undef X
	int path;

	printf("%llu packets, %llu views, %llu changes in place, %llu kills, %llu cuts, "
	       "%llu hashes, %llu evicted, %llu excused for it, %llu packets without room;",
	       (unsigned long long)run_totals.packets, (unsigned long long)run_totals.views,
	       (unsigned long long)run_totals.in_place, (unsigned long long)run_totals.kills,
	       (unsigned long long)run_totals.cuts, (unsigned long long)run_totals.hashes,
	       (unsigned long long)run_totals.evicted, (unsigned long long)run_totals.excused,
	       (unsigned long long)run_totals.starved);
	for (path = 1; path < PATHS; path++)
		printf(" %s %llu", names[path], (unsigned long long)run_totals.paths[path]);
	printf("\n%llu changes of memberships, %llu of rules, %llu of groups, %llu views moved to "
	       "another table, %llu changed by others; held to the promise: %llu stayed, %llu of "
	       "clients with another "
	       "rule, %llu with another token; %llu left, %llu with another rule; %llu moved\n",
	       (unsigned long long)run_totals.memberships, (unsigned long long)run_totals.rules,
	       (unsigned long long)run_totals.groupings, (unsigned long long)run_totals.tables,
	       (unsigned long long)run_totals.touched, (unsigned long long)model_totals.stays,
	       (unsigned long long)model_totals.stays_reruled,
	       (unsigned long long)model_totals.stays_regrouped,
	       (unsigned long long)model_totals.leaves,
	       (unsigned long long)model_totals.leaves_reruled,
	       (unsigned long long)model_totals.moves);
	printf("%llu leases ended, %llu latches, %llu lifted, %llu leases anew\n",
	       (unsigned long long)run_totals.leases_ended, (unsigned long long)run_totals.latches,
	       (unsigned long long)run_totals.latches_lifted,
	       (unsigned long long)run_totals.retries);
	for (path = 0; path < EXCUSES; path++)
		printf("excused, for %s: %llu\n", excuses[path],
		       (unsigned long long)model_totals.excuses[path]);
}

static void promise_6_no_live_flow_leaves_a_live_backend_before_its_time(void **state)
{
	uint64_t seed = random_seeded("promise_6_test").state;
	uint64_t count = number_given("XDP_CANARY_HISTORIES", HISTORIES), first, alone;
	bool is_starved = false;
	struct world roomy, starved;
	int path;

	(void)state;
	lab_require_bpf();
	alone = number_given("XDP_CANARY_HISTORY", ~0ULL);
	roomy = world_open(1 << 20);
	starved = world_open(128);
	if (alone != ~0ULL) {
		is_starved = alone / SIDE_BY_SIDE % STARVED_EACH == STARVED_EACH - 1;
		run_histories(is_starved ? &starved : &roomy, seed, alone, 1);
	}
	for (first = 0; alone == ~0ULL && first < count; first += SIDE_BY_SIDE) {
		is_starved = first / SIDE_BY_SIDE % STARVED_EACH == STARVED_EACH - 1;
		run_histories(is_starved ? &starved : &roomy, seed, first, SIDE_BY_SIDE);
	}
	run_totals.tables = roomy.moved_tables + starved.moved_tables;
	world_close(&roomy);
	world_close(&starved);
	print_totals();
	for (path = 1; alone == ~0ULL && path < PATHS; path++)
		assert_true(run_totals.paths[path]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(promise_6_no_live_flow_leaves_a_live_backend_before_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
