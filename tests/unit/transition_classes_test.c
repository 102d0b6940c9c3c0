// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fold of classes against the whole history of an era: random memberships, rules that come, go,
 * change their order and come back, shares, cuts, groups; classes numbered anew with every table. A
 * class here is one client.
 */
#include "allocation.h"
#include "policy/transition.h"
#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS	  40
#define SEGMENTS  6
#define NAMES	  20 /* of rules; rule n names segment n % SEGMENTS */
#define EPOCHS	  64 /* of an era that the model remembers */
#define HZ	  250
#define DEFAULT	  NAMES /* the default rule's name */
#define HISTORIES 300
#define STEPS	  120
#define CUTS	  40 /* of an era that the model remembers of a client */

struct world {
	uint8_t segments[CLIENTS]; /* bits */
	uint8_t texts[CLIENTS];	   /* of the group column; 0: none */
	uint8_t rules[RULES_MAX];  /* names, in their order; the default rule is not among them */
	unsigned int rules_count;
	uint32_t shares[NAMES + 1]; /* length of the canary's interval, 0: none */
	bool has_groups;
};

struct epoch {
	uint8_t rule[CLIENTS];
	uint8_t text[CLIENTS];
	uint32_t shares[NAMES + 1];
	uint32_t rules; /* bit n: rule n was there */
};

struct history {
	struct random random;
	struct world world;
	uint64_t now, ends; /* jiffies */
	bool is_open;
	struct epoch origin, epochs[EPOCHS];
	unsigned int epochs_count;
	unsigned int generation; /* of cuts in the era */
	struct {
		uint8_t generation;
		uint32_t kept; /* length of the share that it left */
	} cuts[CLIENTS][CUTS]; /* of the rules that they had then */
	unsigned int cuts_count[CLIENTS];

	/* what is shown */
	struct view view;
	struct view_rule rules[VIEW_RULES];
	uint32_t *classes;
	struct group_entry *groups;
	uint32_t class_of[CLIENTS]; /* in the shown table; group numbers are the same */
	bool is_shown, has_table;
};

static uint64_t token_of(uint8_t text)
{
	return text ? 0x1000 + text : 0;
}

static uint8_t rule_of(const struct world *world, unsigned int client)
{
	unsigned int i;

	for (i = 0; i < world->rules_count; i++)
		if (world->segments[client] >> world->rules[i] % SEGMENTS & 1)
			return world->rules[i];
	return DEFAULT;
}

static struct epoch epoch_of(const struct world *world)
{
	struct epoch epoch = {0};
	unsigned int i;

	for (i = 0; i < CLIENTS; i++) {
		epoch.rule[i] = rule_of(world, i);
		epoch.text[i] = world->has_groups ? world->texts[i] : 0;
	}
	memcpy(epoch.shares, world->shares, sizeof(epoch.shares));
	epoch.rules = 1 << DEFAULT;
	for (i = 0; i < world->rules_count; i++)
		epoch.rules |= 1 << world->rules[i];
	return epoch;
}

/* ---- compiled ---- */

static void compile_rule(const struct world *world, uint8_t name, struct view_rule *out)
{
	*out = (struct view_rule){
		.reason = name == DEFAULT ? REASON_DEFAULT : REASON_RULE,
		.counters = 100 + name * LANES_MAX,
		.segment = name == DEFAULT ? 0 : 1 + name % SEGMENTS,
	};
	if (!world->shares[name])
		return;
	out->live = RULE_CURRENT;
	out->current[0] = (struct interval){0, world->shares[name] - 1};
}

static void compile(const struct world *world, struct view_image *image)
{
	unsigned int i;

	*image = (struct view_image){.rules_count = world->rules_count + 1};
	image->view = (struct view){
		.cohorts = 2,
		.lanes = {0, 1},
		.default_rule = world->rules_count,
		.prefix6 = 64,
	};
	image->has_groups = world->has_groups;
	for (i = 0; i < world->rules_count; i++) {
		compile_rule(world, world->rules[i], &image->rules[i]);
		image->rule_segments[i] = world->rules[i] % SEGMENTS;
	}
	compile_rule(world, DEFAULT, &image->rules[i]);
	image->rule_segments[i] = -1;
}

/* A table where each client is a class, in an order of its own; class 0 has no client. */
struct table {
	__u64 members[CLIENTS + 1], tokens[CLIENTS + 1];
	uint32_t shown_classes[CLIENTS + 1], class_of[CLIENTS];
};

static struct table table_of(struct history *history)
{
	struct table table = {0};
	unsigned int i, j;

	for (i = 0; i < CLIENTS; i++)
		table.class_of[i] = i + 1;
	for (i = CLIENTS - 1; i; i--) {
		uint32_t swapped = table.class_of[i];

		j = random_below(&history->random, i + 1);
		table.class_of[i] = table.class_of[j];
		table.class_of[j] = swapped;
	}
	for (i = 0; i < CLIENTS; i++) {
		table.members[table.class_of[i]] = history->world.segments[i];
		table.shown_classes[table.class_of[i]] = history->class_of[i];
		table.tokens[i + 1] = token_of(history->world.texts[i]);
	}
	return table;
}

/* ---- changes ---- */

static void change_rules(struct history *history)
{
	struct world *world = &history->world;
	unsigned int at = random_below(&history->random, world->rules_count + 1), i;
	uint8_t name = random_below(&history->random, NAMES);

	for (i = 0; i < world->rules_count && world->rules[i] != name; i++)
		;
	if (i < world->rules_count) { /* it goes */
		memmove(&world->rules[i], &world->rules[i + 1], world->rules_count - i - 1);
		world->rules_count--;
		return;
	}
	if (world->rules_count == RULES_MAX - 1)
		return;
	memmove(&world->rules[at + 1], &world->rules[at], world->rules_count - at);
	world->rules[at] = name;
	world->rules_count++;
}

static void change(struct history *history)
{
	struct world *world = &history->world;
	struct random *random = &history->random;

	switch (random_below(random, 6)) {
	case 0:
		world->segments[random_below(random, CLIENTS)] = random_next(random);
		break;
	case 1:
		world->texts[random_below(random, CLIENTS)] = random_below(random, 4);
		break;
	case 2:
		world->shares[random_below(random, NAMES + 1)] = random_below(random, 4) << 28;
		break;
	case 3:
		world->has_groups = !random_below(random, 4);
		break;
	default:
		change_rules(history);
	}
}

/* ---- the model ---- */

/* A rule that holds nobody decides, too, while it is there. */
static bool same_decisions(const struct epoch *a, const struct epoch *b)
{
	unsigned int i;

	for (i = 0; i <= NAMES; i++)
		if ((a->rules & b->rules & 1 << i) && a->shares[i] != b->shares[i])
			return false;
	return !memcmp(a->rule, b->rule, sizeof(a->rule)) &&
	       !memcmp(a->text, b->text, sizeof(a->text));
}

static void begin_era(struct history *history, const struct epoch *shown)
{
	history->is_open = true;
	history->origin = *shown;
	history->epochs[0] = *shown;
	history->epochs_count = 1;
	history->generation = 0;
	memset(history->cuts_count, 0, sizeof(history->cuts_count));
}

/* Has any cut of the client taken what it had at @generation, were its hash @hash? */
static bool is_cut(const struct history *history, unsigned int client, uint32_t hash,
		   uint8_t generation)
{
	unsigned int i;

	for (i = 0; i < history->cuts_count[client]; i++)
		if (generation < history->cuts[client][i].generation &&
		    hash >= history->cuts[client][i].kept)
			return true;
	return false;
}

/* ---- what the fold says ---- */

static bool differs(const struct history *history, unsigned int client)
{
	unsigned int i;

	for (i = 1; history->is_open && i < history->epochs_count; i++)
		if (history->epochs[i].rule[client] != history->epochs[0].rule[client])
			return true;
	return false;
}

static bool group_differs(const struct history *history, unsigned int client)
{
	unsigned int i;

	for (i = 1; history->is_open && i < history->epochs_count; i++)
		if (history->epochs[i].text[client] != history->epochs[0].text[client])
			return true;
	return false;
}

static void check_rule_line(const struct view_rule *line, uint8_t name)
{
	assert_int_equal(line->counters, 100 + name * LANES_MAX);
}

/*
 * Exactly, but where the fold says more on purpose: when lines ran out, and of three cuts that each
 * keep more, of which it forgets the first.
 */
static void check_cuts(const struct history *history, const struct view_image *image,
		       const struct view_rule *line, unsigned int client)
{
	bool has_all = image->view.lines_behind < VIEW_RULES - RULES_MAX;
	unsigned int generation;
	uint32_t quarter;

	for (generation = 0; generation <= history->generation; generation++)
		for (quarter = 0; quarter < 4; quarter++) {
			uint32_t hash = (quarter << 28) + 5;
			bool is = rule_cuts(line, 1, hash, generation, 0);

			if (is == is_cut(history, client, hash, generation))
				continue;
			assert_true(is ? !has_all : history->cuts_count[client] > 2);
		}
}

static void check_class(const struct history *history, const struct view_image *image,
			const struct table *table, unsigned int client)
{
	uint32_t class = image->classes[table->class_of[client]];
	const struct view_rule *origin = &image->rules[class_origin(class)];
	uint8_t name = history->origin.rule[client];
	uint32_t share = history->origin.shares[name];

	assert_true(class_rule(class) < image->rules_count);
	check_rule_line(&image->rules[class_rule(class)], rule_of(&history->world, client));
	if (!history->is_open)
		return;
	check_rule_line(origin, name);
	assert_int_equal(!!(origin->live & RULE_ORIGIN), share != 0);
	if (share)
		assert_int_equal(origin->origin[0].last, share - 1);
	assert_int_equal(!!(class & CLASS_CHANGED), differs(history, client));
	check_cuts(history, image, &image->rules[class_cuts(class)], client);
}

static void check_group(const struct history *history, const struct view_image *image,
			unsigned int client)
{
	const struct group_entry *group = &image->groups[client + 1];

	assert_int_equal(group->token,
			 history->world.has_groups ? token_of(history->world.texts[client]) : 0);
	if (!history->is_open)
		return;
	assert_int_equal(group->origin, token_of(history->origin.text[client]));
	assert_int_equal(!!group->changed, group_differs(history, client));
}

static void check_folded(const struct history *history, const struct view_image *image,
			 const struct table *table)
{
	unsigned int client;

	assert_int_equal(!!(image->view.flags & VIEW_TRANSITION), history->is_open);
	assert_in_range(image->view.lines_behind, 0, RULES_MAX);
	for (client = 0; client < CLIENTS; client++) {
		if (image->classes)
			check_class(history, image, table, client);
		else /* every client is the default rule's, in every epoch of the era */
			assert_false(differs(history, client) ||
				     rule_of(&history->world, client) != DEFAULT);
		if (image->groups)
			check_group(history, image, client);
		else
			assert_false(group_differs(history, client) || history->world.has_groups);
	}
}

/* ---- histories ---- */

static struct shown_view shown_of(const struct history *history)
{
	if (!history->is_shown)
		return (struct shown_view){0};
	return (struct shown_view){
		.view = &history->view,
		.rules = history->rules,
		.classes = history->classes,
		.groups = history->groups,
	};
}

static void place(struct history *history, struct view_image *image, const struct table *table)
{
	free(history->classes);
	free(history->groups);
	history->view = image->view;
	memcpy(history->rules, image->rules, sizeof(history->rules));
	history->classes = image->classes;
	history->groups = image->groups;
	image->classes = NULL;
	image->groups = NULL;
	memcpy(history->class_of, table->class_of, sizeof(history->class_of));
	history->is_shown = true;
	view_image_release(image);
}

static void cut(struct history *history, struct transition_plan *plan)
{
	unsigned int rule = random_below(&history->random, history->world.rules_count + 1);
	uint8_t name = rule < history->world.rules_count ? history->world.rules[rule] : DEFAULT;
	unsigned int client;

	plan->cuts[rule] = 1 << 1;
	history->generation++;
	for (client = 0; client < CLIENTS; client++) {
		unsigned int *count = &history->cuts_count[client];

		if (rule_of(&history->world, client) != name)
			continue;
		assert_true(*count < CUTS);
		history->cuts[client][*count].generation = history->generation;
		history->cuts[client][(*count)++].kept = history->world.shares[name];
	}
}

static void step(struct history *history)
{
	struct transition_plan plan = {
		.now = history->now, .hz = HZ, .drain_ms = 60000, .udp_drain_ms = 30000};
	struct epoch before = epoch_of(&history->world), after;
	unsigned int changes = random_below(&history->random, 4);
	struct shown_view shown = shown_of(history);
	struct client_classes classes = {0};
	struct view_image image;
	bool has_cut;
	struct table table;

	while (changes--)
		change(history);
	after = epoch_of(&history->world);
	table = table_of(history);
	if (history->is_shown && (history->now + HZ >= history->ends || !history->is_open))
		history->is_open = false;
	has_cut = history->is_shown && !random_below(&history->random, 8);
	if (history->is_shown && (!same_decisions(&before, &after) || has_cut)) {
		if (!history->is_open)
			begin_era(history, &before);
		history->ends = history->now + 60 * HZ;
	}
	if (history->is_open) {
		assert_true(history->epochs_count < EPOCHS);
		history->epochs[history->epochs_count++] = after;
	}
	if (has_cut)
		cut(history, &plan);
	classes = (struct client_classes){
		.classes_count = CLIENTS + 1,
		.groups_count = CLIENTS + 1,
		.members = table.members,
		.tokens = table.tokens,
		.shown_classes = table.shown_classes,
	};
	compile(&history->world, &image);
	assert_int_equal(transition_fold(&shown, &plan, &classes, &image), 0);
	check_folded(history, &image, &table);
	place(history, &image, &table);
	/* Not within the margin of an era's end: what is then an era of its own is era.c's. */
	history->now += 1 + random_below(&history->random,
					 random_below(&history->random, 6) ? 4 * HZ : 90 * HZ);
	if (history->is_open &&
	    (history->epochs_count > EPOCHS - 2 ||
	     (history->now + HZ >= history->ends && history->now < history->ends)))
		history->now = history->ends;
}

static void one_by_one_epochs_say_of_each_client_what_all_of_them_say(void **state)
{
	struct random random = random_seeded(__func__);
	unsigned int i, j;

	(void)state;
	for (i = 0; i < HISTORIES; i++) {
		struct history *history = calloc(1, sizeof(*history));

		assert_non_null(history);
		history->random.state = random_next(&random);
		history->now = 1000;
		for (j = 0; j < CLIENTS; j++)
			history->world.segments[j] = random_next(&history->random);
		for (j = 0; j < STEPS; j++)
			step(history);
		free(history->classes);
		free(history->groups);
		free(history);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_by_one_epochs_say_of_each_client_what_all_of_them_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
