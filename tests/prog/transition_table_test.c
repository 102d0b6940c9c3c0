// SPDX-License-Identifier: GPL-2.0-only
/*
 * The transition table, by packets of the real program. It has eight lines, so that few flows fill
 * it. All clients go from the stable cohort to the canary: a flow that goes to the canary without a
 * SYN has an entry, one without goes to its origin, the stable cohort. Where a flow's entry lies is
 * worked out here from the layout's description, and what time would do to stamps is written into
 * the map.
 */
#include "lab.h"
#include "tests/random.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINES	  8
#define WAYS	  TRANSITION_WAYS
#define PROBATION (TRANSITION_WAYS - TRANSITION_ESTABLISHED)
#define FLOOD	  100000
#define STABLE	  0
#define CANARY	  1

static int setup_small(void **state)
{
	lab_require_bpf();
	*state = lab_open(lab_secret, (struct limits){.services = 4,
						      .vips = 64,
						      .backends = 64,
						      .transition_flows = 8 * LINES});
	return 0;
}

/* All clients have just moved to the canary. */
static struct lab_service *in_transition(struct lab *lab)
{
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);

	lab_add_vip(service, "192.0.2.11:80/tcp");
	lab_publish(lab);
	service->has_eras = true;
	lab_set_share(service, 1, 1000000);
	lab_publish(lab);
	return service;
}

static struct view *view_of(struct lab *lab)
{
	struct view *view = (struct view *)datapath_view(lab->datapath, 0);

	assert_non_null(view);
	assert_int_equal(view->transition_lines, LINES);
	return view;
}

static struct transition_line *table(struct lab *lab)
{
	return map_part(lab->datapath, MAP_TRANSITION, struct transition_line,
			view_of(lab)->transition_base, LINES);
}

/* ---- flows ---- */

struct flow_place {
	uint32_t line, tag;
};

static struct packet_plan flow_of(uint32_t client, uint16_t port)
{
	struct packet_plan plan = packet_tcp("198.51.100.1", port, LAB_VIP4, 80);

	store32(plan.source.bytes, client);
	return plan;
}

static struct packet_plan random_flow(struct random *random)
{
	return flow_of(0x0a000000 | random_below(random, 1 << 24), random_next(random));
}

static struct flow_place place_of(const struct packet_plan *plan)
{
	struct siphash_state state = siphash_begin(lab_secret);
	uint32_t source, destination;
	uint64_t token, key;

	memcpy(&source, plan->source.bytes, 4);
	memcpy(&destination, plan->destination.bytes, 4);
	token = siphash_end(&state, source, 4);
	key = fmix64(token ^ 0xc2b2ae3d27d4eb4fULL ^
		     flow_word(0, load32(plan->source.bytes), plan->source_port,
			       plan->destination_port)) ^
	      fmix64(destination ^ (uint64_t)plan->protocol << 56);
	return (struct flow_place){.line = (key >> 32) % LINES, .tag = key};
}

/* A flow of the line whose entries are found there alone. */
static struct packet_plan flow_of_line(struct random *random, uint32_t line)
{
	struct packet_plan plan = random_flow(random);

	while (place_of(&plan).line != line)
		plan = random_flow(random);
	return plan;
}

static int go(struct lab *lab, struct packet_plan plan, uint8_t tcp_flags)
{
	struct run run;

	plan.tcp_flags = tcp_flags;
	lab_run_plan(lab, &plan, &run);
	return lab_cohort_of(&run);
}

static void begin(struct lab *lab, const struct packet_plan *plan)
{
	assert_int_equal(go(lab, *plan, FLAG_SYN), CANARY);
}

static void establish(struct lab *lab, const struct packet_plan *plan)
{
	begin(lab, plan);
	assert_int_equal(go(lab, *plan, FLAG_ACK), CANARY);
}

/* The way that holds the flow's entry, or -1. */
static int way_of(struct lab *lab, const struct packet_plan *plan)
{
	struct flow_place place = place_of(plan);
	int way, found = -1;

	for (way = 0; way < WAYS; way++)
		if (table(lab)[place.line].ways[way] >> ENTRY_TAG_SHIFT == place.tag) {
			assert_int_equal(found, -1);
			found = way;
		}
	return found;
}

static __u64 *entry_of(struct lab *lab, const struct packet_plan *plan)
{
	int way = way_of(lab, plan);

	assert_in_range(way, 0, WAYS - 1);
	return &table(lab)[place_of(plan).line].ways[way];
}

static void set_field(__u64 *entry, unsigned int shift, uint8_t value)
{
	*entry = (*entry & ~(0xffULL << shift)) | (uint64_t)value << shift;
}

static uint8_t field(uint64_t entry, unsigned int shift)
{
	return entry >> shift;
}

/* As if the flow had last been seen @age stamps ago. */
static void grow_old(struct lab *lab, const struct packet_plan *plan, uint8_t age)
{
	__u64 *entry = entry_of(lab, plan);

	set_field(entry, ENTRY_STAMP_SHIFT, field(*entry, ENTRY_STAMP_SHIFT) - age);
}

static uint64_t evicted(struct lab *lab)
{
	return lab_affinity_counter(lab, lab->services[0]).evicted;
}

static uint64_t path_count(struct lab *lab, unsigned int path)
{
	return lab_affinity_counter(lab, lab->services[0]).paths[path];
}

/* Fills the established ways of a line. */
static void fill_line(struct lab *lab, struct random *random, uint32_t line,
		      struct packet_plan flows[TRANSITION_ESTABLISHED])
{
	int i;

	for (i = 0; i < TRANSITION_ESTABLISHED; i++) {
		flows[i] = flow_of_line(random, line);
		establish(lab, &flows[i]);
		assert_int_equal(way_of(lab, &flows[i]), i);
	}
}

/* ---- probation ---- */

static void a_start_is_on_probation_until_its_flow_goes_on(void **state)
{
	struct random random = random_seeded(__func__);
	struct packet_plan flows[PROBATION];
	struct lab *lab = *state;
	int i;

	in_transition(lab);
	for (i = 0; i < 4; i++) {
		struct packet_plan flow = flow_of_line(&random, i);
		uint64_t before;

		assert_int_equal(go(lab, flow, FLAG_ACK), STABLE);
		assert_int_equal(way_of(lab, &flow), -1);
		begin(lab, &flow);
		assert_true(way_of(lab, &flow) >= TRANSITION_ESTABLISHED);
		before = *entry_of(lab, &flow);
		begin(lab, &flow); /* again: still unanswered */
		assert_int_equal(*entry_of(lab, &flow), before);
		assert_int_equal(go(lab, flow, FLAG_ACK), CANARY);
		assert_in_range(way_of(lab, &flow), 0, TRANSITION_ESTABLISHED - 1);
		assert_int_equal(go(lab, flow, FLAG_ACK), CANARY);
		assert_int_equal(field(before, ENTRY_ERA_SHIFT), view_of(lab)->era);
	}
	for (i = 0; i < PROBATION; i++) { /* there is room for so many at a time */
		flows[i] = flow_of_line(&random, 4);
		begin(lab, &flows[i]);
	}
	for (i = PROBATION; i-- > 0;)
		assert_int_equal(go(lab, flows[i], FLAG_ACK), CANARY);
}

static void a_flood_of_starts_displaces_only_probationers(void **state)
{
	struct random random = random_seeded(__func__);
	struct packet_plan flows[LINES][TRANSITION_ESTABLISHED];
	struct transition_line before[LINES];
	struct lab *lab = *state;
	uint64_t recorded, displaced;
	int i, j;

	in_transition(lab);
	for (i = 0; i < LINES; i++)
		fill_line(lab, &random, i, flows[i]);
	memcpy(before, table(lab), sizeof(before));
	recorded = path_count(lab, PATH_SYN_RECORDED);
	displaced = evicted(lab);
	for (i = 0; i < FLOOD; i++) {
		struct packet_plan stranger = random_flow(&random);

		if (go(lab, stranger, FLAG_SYN) != CANARY)
			fail_msg("a start was not steered to the canary");
	}
	for (i = 0; i < LINES; i++) {
		assert_memory_equal(&before[i], &table(lab)[i],
				    TRANSITION_ESTABLISHED * sizeof(uint64_t));
		for (j = 0; j < TRANSITION_ESTABLISHED; j++)
			assert_int_equal(go(lab, flows[i][j], FLAG_ACK), CANARY);
	}
	/* All that found no free way displaced one, and were counted. */
	recorded = path_count(lab, PATH_SYN_RECORDED) - recorded;
	displaced = evicted(lab) - displaced;
	assert_in_range(recorded, FLOOD - 50, FLOOD);
	assert_int_equal(displaced, recorded - LINES * PROBATION);
}

/* ---- who has to go ---- */

static void the_flow_not_seen_for_longest_is_evicted_and_counted(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	int round, i;

	for (round = 0; round < 20; round++) {
		struct packet_plan flows[TRANSITION_ESTABLISHED], late;
		int oldest = 0, ages[TRANSITION_ESTABLISHED];
		uint32_t line = random_below(&random, LINES);
		uint64_t counted;
		uint8_t now;

		lab_reset(lab);
		in_transition(lab);
		counted = evicted(lab);
		fill_line(lab, &random, line, flows);
		now = field(*entry_of(lab, &flows[5]), ENTRY_STAMP_SHIFT);
		for (i = 0; i < TRANSITION_ESTABLISHED; i++) {
			ages[i] = 6 * random_below(&random, 40) + i; /* no two alike */
			set_field(entry_of(lab, &flows[i]), ENTRY_STAMP_SHIFT, now - ages[i]);
			oldest = ages[i] > ages[oldest] ? i : oldest;
		}
		late = flow_of_line(&random, line);
		begin(lab, &late);
		assert_int_equal(evicted(lab), counted);
		assert_int_equal(go(lab, late, FLAG_ACK), CANARY);
		assert_int_equal(way_of(lab, &late), oldest);
		assert_int_equal(way_of(lab, &flows[oldest]), -1);
		assert_int_equal(evicted(lab), counted + 1);
		for (i = 0; i < TRANSITION_ESTABLISHED; i++)
			assert_int_equal(go(lab, flows[i], FLAG_ACK),
					 i == oldest ? STABLE : CANARY);
		/* Seen again, they are young. */
		for (i = 0; i < TRANSITION_ESTABLISHED; i++)
			if (i != oldest)
				assert_in_range((uint8_t)(field(*entry_of(lab, &flows[i]),
								ENTRY_STAMP_SHIFT) -
							  now),
						0, 2);
	}
}

/* All within one stamp, too. */
static void of_probationers_the_first_is_evicted(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct packet_plan flows[8 * PROBATION];
	uint64_t counted;
	int i, other;

	in_transition(lab);
	counted = evicted(lab);
	for (i = 0; i < 8 * PROBATION; i++) {
		flows[i] = flow_of_line(&random, 2);
		begin(lab, &flows[i]);
		for (other = 0; other <= i; other++)
			assert_int_equal(way_of(lab, &flows[other]) < 0, other <= i - PROBATION);
	}
	assert_int_equal(evicted(lab), counted + 7 * PROBATION);
}

static void a_flow_that_ended_is_replaced_first_and_uncounted(void **state)
{
	static const uint8_t ends[] = {FLAG_FIN | FLAG_ACK, FLAG_RST, FLAG_RST | FLAG_ACK};
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	unsigned int i, j;

	for (i = 0; i < 3; i++) {
		struct packet_plan flows[TRANSITION_ESTABLISHED], late;
		uint64_t counted = 0;

		lab_reset(lab);
		in_transition(lab);
		counted = evicted(lab);
		fill_line(lab, &random, i, flows);
		for (j = 0; j < TRANSITION_ESTABLISHED; j++)
			grow_old(lab, &flows[j], 10 + j);
		assert_int_equal(go(lab, flows[2], ends[i]), CANARY);
		assert_true(*entry_of(lab, &flows[2]) & ENTRY_ENDED);
		/* Half closed, it still holds. */
		assert_int_equal(go(lab, flows[2], FLAG_ACK), CANARY);
		assert_true(*entry_of(lab, &flows[2]) & ENTRY_ENDED);
		late = flow_of_line(&random, i);
		establish(lab, &late);
		assert_int_equal(way_of(lab, &late), 2);
		assert_int_equal(go(lab, flows[2], FLAG_ACK), STABLE);
		assert_int_equal(evicted(lab), counted);
		for (j = 0; j < TRANSITION_ESTABLISHED; j++)
			if (j != 2)
				assert_int_equal(go(lab, flows[j], FLAG_ACK), CANARY);
	}
}

static void a_start_after_an_end_is_another_flow(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = in_transition(lab);
	struct packet_plan ended = random_flow(&random), open = random_flow(&random);

	establish(lab, &ended);
	establish(lab, &open);
	assert_int_equal(go(lab, ended, FLAG_FIN | FLAG_ACK), CANARY);
	lab_set_share(service, 1, 0);
	lab_publish(lab);
	/* Both are where they were, until one begins anew. */
	assert_int_equal(go(lab, ended, FLAG_ACK), CANARY);
	assert_int_equal(go(lab, open, FLAG_ACK), CANARY);
	assert_int_equal(go(lab, open, FLAG_SYN), CANARY);
	assert_int_equal(go(lab, ended, FLAG_SYN), STABLE);
	assert_int_equal(go(lab, ended, FLAG_ACK), STABLE);
	assert_false(*entry_of(lab, &ended) & ENTRY_ENDED);
	assert_int_equal(go(lab, open, FLAG_ACK), CANARY);
}

/* ---- whose entries ---- */

static void entries_of_another_era_are_nobodys(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct packet_plan flows[TRANSITION_ESTABLISHED], late;
	struct view *view;
	uint64_t counted;
	int i;

	in_transition(lab);
	view = view_of(lab);
	counted = evicted(lab);
	/* Eras 254 up to 2, by way of 255 and 1: four generations. */
	view->era_first = view->pins_first = 254;
	view->era = 2;
	fill_line(lab, &random, 5, flows);
	for (i = 0; i < TRANSITION_ESTABLISHED; i++) {
		static const uint8_t eras[TRANSITION_ESTABLISHED] = {253, 254, 255, 1, 2, 3};

		set_field(entry_of(lab, &flows[i]), ENTRY_ERA_SHIFT, eras[i]);
		grow_old(lab, &flows[i], i == 3 ? 100 : 0);
	}
	for (i = 0; i < TRANSITION_ESTABLISHED; i++)
		assert_int_equal(go(lab, flows[i], FLAG_ACK), i == 0 || i == 5 ? STABLE : CANARY);
	/* They give way before a flow that has not been seen for long. */
	set_field(entry_of(lab, &flows[3]), ENTRY_STAMP_SHIFT,
		  field(*entry_of(lab, &flows[3]), ENTRY_STAMP_SHIFT) - 100);
	for (i = 0; i < 2; i++) {
		late = flow_of_line(&random, 5);
		establish(lab, &late);
		assert_int_equal(way_of(lab, &late), i ? 5 : 0);
	}
	assert_int_equal(evicted(lab), counted);
	assert_int_equal(go(lab, flows[3], FLAG_ACK), CANARY);
}

static void a_start_on_which_epochs_agree_clears_its_flow(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *service = in_transition(lab);
	struct packet_plan flow = random_flow(&random);
	__u64 entry;
	uint64_t counted = path_count(lab, PATH_SYN_CLEARED);

	establish(lab, &flow);
	entry = *entry_of(lab, &flow) & 0xff7fff;
	/* An era in which nobody's cohort is disputed: only some pins are. */
	lab_reset(lab);
	service = lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	service->has_eras = true;
	lab_add_pin(service, "203.0.113.7/32", 1, PIN_FOREVER);
	lab_publish(lab);
	entry |= (uint64_t)place_of(&flow).tag << ENTRY_TAG_SHIFT;
	set_field(&entry, ENTRY_ERA_SHIFT, view_of(lab)->era);
	table(lab)[place_of(&flow).line].ways[3] = entry;
	/* Undisputed flows are not looked up, but for their start, which leaves no trap behind. */
	assert_int_equal(go(lab, flow, FLAG_ACK), STABLE);
	assert_int_equal(way_of(lab, &flow), 3);
	assert_int_equal(go(lab, flow, FLAG_SYN), STABLE);
	assert_int_equal(way_of(lab, &flow), -1);
	assert_int_equal(path_count(lab, PATH_SYN_CLEARED), counted + 1);
	assert_int_equal(go(lab, flow, FLAG_SYN), STABLE);
	assert_int_equal(path_count(lab, PATH_SYN_CLEARED), counted + 1);
}

struct candidate {
	struct flow_place place;
	uint32_t number;
};

static int compare_candidates(const void *left, const void *right)
{
	const struct candidate *a = left, *b = right;

	if (a->place.tag != b->place.tag)
		return a->place.tag < b->place.tag ? -1 : 1;
	return (a->place.line > b->place.line) - (a->place.line < b->place.line);
}

static struct packet_plan numbered_flow(uint32_t number)
{
	return flow_of(0x0a000000 + (number >> 12), 1024 + (number & 0xfff));
}

/* All that tells flows apart is in the tag and the line. */
static void only_flows_of_one_line_and_tag_are_one(void **state)
{
	enum { MOST = 1 << 20 };
	struct candidate *all = calloc(MOST, sizeof(*all));
	struct lab *lab = *state;
	unsigned int i, same = 0, other_line = 0;

	assert_non_null(all);
	for (i = 0; i < MOST; i++) {
		struct packet_plan plan = numbered_flow(i);

		all[i] = (struct candidate){place_of(&plan), i};
	}
	qsort(all, MOST, sizeof(*all), compare_candidates);
	in_transition(lab);
	for (i = 1; i < MOST && (same < 4 || other_line < 20); i++) {
		struct packet_plan one = numbered_flow(all[i - 1].number);
		struct packet_plan two = numbered_flow(all[i].number);
		bool same_line = all[i].place.line == all[i - 1].place.line;

		if (all[i].place.tag != all[i - 1].place.tag)
			continue;
		memset(table(lab), 0, LINES * sizeof(struct transition_line));
		establish(lab, &one);
		assert_int_equal(go(lab, two, FLAG_ACK), same_line ? CANARY : STABLE);
		same += same_line;
		other_line += !same_line;
	}
	assert_true(other_line >= 4); /* 2^20 flows: some 128 pairs of a tag, 16 of a line too */
	free(all);
}

static void each_part_of_a_flow_tells_it_from_others(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	int i;

	in_transition(lab);
	for (i = 0; i < 50; i++) {
		struct packet_plan flow = random_flow(&random), other;

		memset(table(lab), 0, LINES * sizeof(struct transition_line));
		establish(lab, &flow);
		assert_int_equal(way_of(lab, &flow), 0);
		other = flow;
		other.source_port ^= 1 << i % 16;
		assert_int_equal(go(lab, other, FLAG_ACK), STABLE);
		other = flow;
		other.source.bytes[i % 4] ^= 1 << i % 8;
		assert_int_equal(go(lab, other, FLAG_ACK), STABLE);
		other = flow;
		other.destination = address_of("192.0.2.11");
		assert_int_equal(go(lab, other, FLAG_ACK), STABLE);
		other = flow;
		other.protocol = 17;
		other.destination_port = 53;
		assert_int_equal(go(lab, other, 0), STABLE);
		assert_int_equal(go(lab, flow, FLAG_ACK), CANARY);
	}
}

/* ---- no room, and no packets ---- */

static void a_start_without_room_follows_the_origin(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct packet_plan flow = random_flow(&random);
	uint64_t counted;

	in_transition(lab);
	counted = path_count(lab, PATH_ORIGIN);
	((struct view *)datapath_view(lab->datapath, 0))->transition_lines = 0;
	assert_int_equal(go(lab, flow, FLAG_SYN), STABLE);
	assert_int_equal(go(lab, flow, FLAG_ACK), STABLE);
	assert_int_equal(path_count(lab, PATH_ORIGIN), counted + 2);
}

static void explaining_writes_no_entry(void **state)
{
	static const uint8_t flags[] = {FLAG_SYN, FLAG_ACK, FLAG_FIN | FLAG_ACK, FLAG_RST};
	struct random random = random_seeded(__func__);
	struct packet_plan established = random_flow(&random), begun = random_flow(&random);
	struct packet_plan stranger = random_flow(&random);
	struct transition_line before[LINES];
	struct lab *lab = *state;
	unsigned int i;

	in_transition(lab);
	establish(lab, &established);
	begin(lab, &begun);
	grow_old(lab, &established, 7);
	memcpy(before, table(lab), sizeof(before));
	for (i = 0; i < sizeof(flags); i++) {
		established.tcp_flags = begun.tcp_flags = stranger.tcp_flags = flags[i];
		assert_int_equal(lab_explain(lab, &established).cohort, CANARY);
		assert_int_equal(lab_explain(lab, &begun).cohort, CANARY);
		assert_int_equal(lab_explain(lab, &stranger).cohort,
				 flags[i] == FLAG_SYN ? CANARY : STABLE);
		assert_memory_equal(before, table(lab), sizeof(before));
	}
}

/* ---- CPUs at one line ---- */

#define HAMMERS	      4
#define HAMMER_ROUNDS 20000

struct hammer {
	struct lab *lab;
	struct packet_plan *flows; /* established, of one line */
	uint32_t line;
	uint64_t seed;
	uint64_t strayed;
	unsigned int role;
};

/* Segments of established flows, starts of strangers, and time that passes. */
static void *run_hammer(void *argument)
{
	struct hammer *hammer = argument;
	struct random random = {hammer->seed};
	struct transition_line *line = &table(hammer->lab)[hammer->line];
	unsigned int i;

	for (i = 0; i < HAMMER_ROUNDS; i++) {
		struct packet_plan plan = hammer->flows[i % TRANSITION_ESTABLISHED];
		struct run run;

		if (hammer->role % 2) {
			plan = flow_of_line(&random, hammer->line);
			plan.tcp_flags = FLAG_SYN;
		} else {
			__u64 *way = &line->ways[i % TRANSITION_ESTABLISHED];
			__u64 entry = __atomic_load_n(way, __ATOMIC_RELAXED), older = entry;

			set_field(&older, ENTRY_STAMP_SHIFT, field(entry, ENTRY_STAMP_SHIFT) - 1);
			__sync_bool_compare_and_swap(way, entry, older);
		}
		lab_run_plan(hammer->lab, &plan, &run);
		hammer->strayed += lab_cohort_of(&run) != CANARY;
	}
	return NULL;
}

static void cpus_at_one_line_lose_no_established_flow(void **state)
{
	struct random random = random_seeded(__func__);
	struct packet_plan flows[TRANSITION_ESTABLISHED];
	struct hammer hammers[HAMMERS];
	pthread_t threads[HAMMERS];
	struct lab *lab = *state;
	int i;

	in_transition(lab);
	fill_line(lab, &random, 3, flows);
	for (i = 0; i < HAMMERS; i++) {
		hammers[i] = (struct hammer){.lab = lab,
					     .flows = flows,
					     .line = 3,
					     .seed = random_next(&random),
					     .role = i};
		assert_int_equal(pthread_create(&threads[i], NULL, run_hammer, &hammers[i]), 0);
	}
	for (i = 0; i < HAMMERS; i++)
		pthread_join(threads[i], NULL);
	/* A start that twice lost the race for a way follows its origin; nobody else does. */
	for (i = 0; i < HAMMERS; i += 2)
		assert_int_equal(hammers[i].strayed, 0);
	for (i = 0; i < TRANSITION_ESTABLISHED; i++) {
		assert_int_equal(way_of(lab, &flows[i]), i);
		assert_int_equal(go(lab, flows[i], FLAG_ACK), CANARY);
	}
	printf("%llu of %d starts had no room\n",
	       (unsigned long long)(hammers[1].strayed + hammers[3].strayed), 2 * HAMMER_ROUNDS);
	assert_true(hammers[1].strayed + hammers[3].strayed < HAMMER_ROUNDS / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(a_start_is_on_probation_until_its_flow_goes_on),
		lab_test(a_flood_of_starts_displaces_only_probationers),
		lab_test(the_flow_not_seen_for_longest_is_evicted_and_counted),
		lab_test(of_probationers_the_first_is_evicted),
		lab_test(a_flow_that_ended_is_replaced_first_and_uncounted),
		lab_test(a_start_after_an_end_is_another_flow),
		lab_test(entries_of_another_era_are_nobodys),
		lab_test(a_start_on_which_epochs_agree_clears_its_flow),
		lab_test(only_flows_of_one_line_and_tag_are_one),
		lab_test(each_part_of_a_flow_tells_it_from_others),
		lab_test(a_start_without_room_follows_the_origin),
		lab_test(explaining_writes_no_entry),
		lab_test(cpus_at_one_line_lose_no_established_flow),
	};

	return cmocka_run_group_tests_name("prog/transition_table", tests, setup_small,
					   lab_teardown_group);
}
