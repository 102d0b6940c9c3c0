// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fold against the history itself. A random service changes at random times; here every epoch
 * of the era is kept, each as what it decides of each hash, pin and ring position, and after every
 * change the folded view is asked the same: the origin is the first epoch's, now the last one's,
 * and wherever two of them disagree it is disputed or moved.
 */
#include "policy/transition.h"
#include "allocation.h"
#include "tests/random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HISTORIES   1500
#define STEPS	    40
#define POSITIONS   32 /* of hash space, and of the address space of pins */
#define FINEST	    64 /* ring positions: slots of the largest ring */
#define NUMBERS	    24 /* of backends */
#define RULES	    3
#define EPOCHS	    (3 * STEPS + 8)
#define HZ	    250
#define MARGIN	    (ERA_MARGIN_MS * HZ / 1000) /* jiffies */
#define GENERATIONS 200				/* of entries that still hold */

/* ---- the service as it is wanted ---- */

static const struct client_classes no_table;

struct world_pin {
	uint8_t cohort;	  /* or PIN_NONE */
	uint64_t expires; /* ns */
};

struct world_backend {
	uint32_t address; /* 0: the number is free */
	uint8_t lane;
};

struct world_ring {
	uint8_t bits;	      /* log2 of its slots */
	uint8_t count;	      /* of slots: 0 or 1 << bits */
	uint16_t now[FINEST]; /* backend numbers, or BACKEND_NONE */
};

struct world {
	uint64_t salt64;
	uint32_t holdout;
	uint16_t flags;
	__be32 mask4;
	uint8_t prefix6, payload_offset;
	uint32_t hash_modulus, hash_seed;
	uint8_t lanes[COHORTS_MAX], cohorts;
	uint8_t starts[CANARIES_MAX];	     /* of each canary's slot, in positions */
	uint8_t shares[RULES][CANARIES_MAX]; /* in positions */
	uint8_t rules;
	struct world_pin pins[POSITIONS];
	struct world_backend backends[NUMBERS];
	struct world_ring rings[LANES_MAX]; /* by lane */
	bool killed;
};

/* Half way into a position, so that bounds are never asked for. */
static uint32_t hash_of(unsigned int position)
{
	return (position << 27) + (1u << 26);
}

static uint64_t pin_address(unsigned int position)
{
	return IPV4_MAPPED + position * 1000;
}

static uint64_t server_id_of(uint32_t address)
{
	return fmix64(address) %
	       20; /* so that a new backend may take over the id of one that left */
}

static bool has_server_id(const struct world *world, uint64_t id)
{
	unsigned int i;

	for (i = 0; i < NUMBERS; i++)
		if (world->backends[i].address && server_id_of(world->backends[i].address) == id)
			return true;
	return false;
}

/* ---- as it is compiled ---- */

static void compile_rules(const struct world *world, struct view_image *image)
{
	unsigned int i, canary;

	image->rules_count = world->rules;
	for (i = 0; i < world->rules; i++) {
		struct view_rule *rule = &image->rules[i];

		rule->counters = 100 + i * LANES_MAX;
		rule->segment = i + 1 < world->rules ? i + 1 : 0;
		for (canary = 0; canary + 1u < world->cohorts; canary++) {
			if (!world->shares[i][canary])
				continue;
			rule->live |= RULE_CURRENT << canary;
			rule->current[canary] =
				(struct interval){(uint32_t)world->starts[canary] << 27,
						  ((uint64_t)world->shares[i][canary] << 27) - 1};
		}
	}
}

/* Sorted ranges, the first from 0 on; none where nobody is pinned. */
static void compile_pins(const struct world *world, struct view_image *image)
{
	struct pin_range *ranges = calloc(POSITIONS + 1, sizeof(*ranges));
	struct pin_range nobody = {.expires = PIN_FOREVER, .cohort = PIN_NONE, .origin = PIN_NONE};
	unsigned int i, count = 1;

	ranges[0] = nobody;
	for (i = 0; i < POSITIONS; i++) {
		struct world_pin pin = world->pins[i];
		struct pin_range range = nobody;

		if (pin.cohort != PIN_NONE)
			range = (struct pin_range){
				.expires = pin.expires, .cohort = pin.cohort, .origin = pin.cohort};
		range.low = pin_address(i);
		if (ranges[count - 1].cohort != range.cohort ||
		    ranges[count - 1].expires != range.expires)
			ranges[count++] = range;
	}
	image->pins = ranges;
	image->view.pins_count = count > 1 ? count : 0;
	if (count > 1)
		image->view.flags |= VIEW_PINS;
}

static void compile_lines(const struct world *world, struct view_image *image)
{
	unsigned int i, cohort;

	image->backends = aligned_alloc(CACHE_LINE, NUMBERS * sizeof(*image->backends));
	image->server_ids = calloc(NUMBERS, sizeof(*image->server_ids));
	memset(image->backends, 0, NUMBERS * sizeof(*image->backends));
	for (i = 0; i < NUMBERS; i++) {
		struct backend_line *line = &image->backends[i];

		if (!world->backends[i].address)
			continue;
		memcpy(line->address, &world->backends[i].address, 4);
		line->counter = world->backends[i].address;
		line->lane = world->backends[i].lane;
		for (cohort = 0; cohort < world->cohorts; cohort++)
			if (world->lanes[cohort] == line->lane)
				line->cohort = cohort;
		image->backends_count = i + 1;
		if (world->flags & VIEW_KEY_QUIC)
			image->server_ids[image->server_ids_count++] = (struct server_id){
				.id = server_id_of(world->backends[i].address), .backend = i + 1};
	}
	image->view.backends_count = image->backends_count;
}

static void compile_slots(const struct world *world, struct view_image *image)
{
	struct view *view = &image->view;
	unsigned int cohort, i, end = 0;

	image->slots = calloc(COHORTS_MAX * FINEST, sizeof(*image->slots));
	for (cohort = 0; cohort < world->cohorts; cohort++) {
		const struct world_ring *ring = &world->rings[world->lanes[cohort]];

		view->rings[cohort] = end;
		for (i = 0; i < ring->count; i++)
			image->slots[end++] = ring_slot(ring->now[i]);
	}
	for (; cohort <= COHORTS_MAX; cohort++)
		view->rings[cohort] = end;
	view->slots_count = end;
}

static void compile(const struct world *world, struct view_image *image)
{
	*image = (struct view_image){0};
	image->view = (struct view){
		.salt64 = world->salt64,
		.expiry = LEASE_NONE,
		.holdout = world->holdout,
		.flags = world->flags,
		.mask4 = world->mask4,
		.prefix6 = world->prefix6,
		.payload.offset = world->payload_offset,
		.hash_modulus = world->hash_modulus,
		.hash_seed = world->hash_seed,
		.cohorts = world->cohorts,
		.default_rule = world->rules - 1,
	};
	memcpy(image->view.lanes, world->lanes, sizeof(world->lanes));
	compile_rules(world, image);
	compile_pins(world, image);
	compile_lines(world, image);
	compile_slots(world, image);
}

/* ---- an epoch: what it decides ---- */

struct epoch {
	struct world world; /* .killed: by the end of it */
	uint8_t rules[RULES][POSITIONS];
	uint8_t pins[POSITIONS];
	uint16_t rings[LANES_MAX][FINEST];
};

static uint8_t canary_at(const struct world *world, unsigned int rule, unsigned int position)
{
	unsigned int canary;

	for (canary = 0; canary + 1u < world->cohorts; canary++)
		if (position - world->starts[canary] < world->shares[rule][canary])
			return canary + 1;
	return 0;
}

/* At the time @ns of the clock of pins. */
static struct epoch epoch_of(const struct world *world, uint64_t ns)
{
	struct epoch epoch = {.world = *world};
	unsigned int i, j;

	for (i = 0; i < world->rules; i++)
		for (j = 0; j < POSITIONS; j++)
			epoch.rules[i][j] = world->killed ? 0 : canary_at(world, i, j);
	for (i = 0; i < POSITIONS; i++) {
		bool pinned = world->pins[i].cohort != PIN_NONE && world->pins[i].expires > ns;

		epoch.pins[i] = !pinned ? PIN_NONE : world->killed ? 0 : world->pins[i].cohort;
	}
	for (i = 0; i < LANES_MAX; i++)
		for (j = 0; j < FINEST; j++) {
			const struct world_ring *ring = &world->rings[i];
			bool there = false;
			unsigned int cohort;

			for (cohort = 0; cohort < world->cohorts; cohort++)
				there |= world->lanes[cohort] == i;
			epoch.rings[i][j] = there && ring->count
						    ? ring->now[j * ring->count / FINEST]
						    : BACKEND_NONE;
		}
	return epoch;
}

static bool heads_are_equal(const struct world *a, const struct world *b)
{
	return a->salt64 == b->salt64 && a->holdout == b->holdout && a->mask4 == b->mask4 &&
	       a->prefix6 == b->prefix6 && !((a->flags ^ b->flags) & VIEW_KEY_FLAGS) &&
	       a->cohorts == b->cohorts && !memcmp(a->lanes, b->lanes, sizeof(a->lanes)) &&
	       a->payload_offset == b->payload_offset && a->hash_modulus == b->hash_modulus &&
	       a->hash_seed == b->hash_seed;
}

static bool keys_are_equal(const struct world *a, const struct world *b)
{
	return a->mask4 == b->mask4 && a->prefix6 == b->prefix6 &&
	       !((a->flags ^ b->flags) & VIEW_KEY_FLAGS) &&
	       a->payload_offset == b->payload_offset && a->hash_modulus == b->hash_modulus &&
	       a->hash_seed == b->hash_seed;
}

static bool epochs_are_equal(const struct epoch *a, const struct epoch *b)
{
	return heads_are_equal(&a->world, &b->world) &&
	       !memcmp(a->rules, b->rules, sizeof(a->rules)) &&
	       !memcmp(a->pins, b->pins, sizeof(a->pins)) &&
	       !memcmp(a->rings, b->rings, sizeof(a->rings));
}

/* ---- the history of a service ---- */

struct cut {
	uint8_t generation; /* 0: never cut */
	uint8_t keeps[POSITIONS];
};

struct history {
	struct random random;
	struct world world;
	bool ends_stay;	    /* parts begin where shares say, as the last one of another tool's */
	struct epoch shown; /* by its end */
	uint64_t now;	    /* jiffies */
	/* The era, if there is one. */
	bool active;
	uint64_t ends, udp_ends, pins_end;
	uint8_t number, first;
	uint32_t eras;
	struct epoch origin;
	struct epoch epochs[EPOCHS];
	size_t epochs_count;
	struct cut cuts[RULES][LANES_MAX];
	uint8_t pins_cut;
	/* Outlives it where a pin that ends by itself keeps an era for its clients. */
	uint8_t pins_first;
	bool pins_changed[POSITIONS];
	uint32_t remembered[NUMBERS]; /* addresses of backends */
	uint32_t addresses;	      /* given so far */
	/* What is shown, as it lies in the maps. */
	struct view view;
	struct view_rule rules[RULES_MAX];
	struct backend_line *backends;
	struct pin_range *pins;
	struct server_id *server_ids;
	uint32_t *slots;
};

static uint64_t ns_of(uint64_t jiffies)
{
	return jiffies * (1000000000 / HZ);
}

static bool chance(struct history *history, unsigned int percent)
{
	return random_below(&history->random, 100) < percent;
}

/* ---- random changes ---- */

static void change_share(struct history *history)
{
	struct world *world = &history->world;
	unsigned int canary = random_below(&history->random, world->cohorts - 1);
	unsigned int rule = random_below(&history->random, world->rules);

	/* Slots are POSITIONS / CANARIES_MAX wide. */
	world->shares[rule][canary] = random_below(&history->random, POSITIONS / CANARIES_MAX - 1);
	if (chance(history, 5))
		world->starts[canary] =
			canary * (POSITIONS / CANARIES_MAX) + random_below(&history->random, 2);
	if (history->ends_stay)
		world->starts[canary] =
			(canary + 1) * (POSITIONS / CANARIES_MAX) - world->shares[rule][canary];
}

static void change_pin(struct history *history)
{
	struct world *world = &history->world;
	unsigned int first = random_below(&history->random, POSITIONS);
	unsigned int last = first + random_below(&history->random, POSITIONS - first), i;
	struct world_pin pin = {.cohort = PIN_NONE, .expires = PIN_FOREVER};

	if (chance(history, 70))
		pin.cohort = random_below(&history->random, world->cohorts);
	if (pin.cohort != PIN_NONE && chance(history, 30))
		pin.expires = ns_of(history->now + 1 + random_below(&history->random, 60 * HZ));
	for (i = first; i <= last; i++)
		world->pins[i] = pin;
}

/* Of the lane, or BACKEND_NONE. */
static uint16_t any_backend(struct history *history, unsigned int lane)
{
	unsigned int first = random_below(&history->random, NUMBERS), i;

	for (i = 0; i < NUMBERS; i++) {
		unsigned int number = (first + i) % NUMBERS;
		const struct world_backend *backend = &history->world.backends[number];

		if (backend->address && backend->lane == lane)
			return number;
	}
	return BACKEND_NONE;
}

static void draw_ring(struct history *history, unsigned int lane)
{
	struct world_ring *ring = &history->world.rings[lane];
	unsigned int i;

	ring->bits = random_below(&history->random, 7);
	ring->count = any_backend(history, lane) == BACKEND_NONE ? 0 : 1 << ring->bits;
	for (i = 0; i < ring->count; i++)
		ring->now[i] = any_backend(history, lane);
}

static void change_slots(struct history *history, unsigned int lane)
{
	struct world_ring *ring = &history->world.rings[lane];
	unsigned int i;

	for (i = 0; i < ring->count; i++)
		if (chance(history, 20))
			ring->now[i] = any_backend(history, lane);
}

/* A number is given again only when its line has been forgotten. */
static bool number_is_free(const struct history *history, unsigned int number)
{
	static const uint8_t nowhere[16];

	return !history->world.backends[number].address &&
	       (!history->backends || number >= history->view.backends_count ||
		!memcmp(history->backends[number].address, nowhere, sizeof(nowhere)));
}

static void add_backend(struct history *history, unsigned int lane)
{
	unsigned int number = random_below(&history->random, NUMBERS);
	struct world_backend *backend = &history->world.backends[number];

	history->addresses++;
	if (!number_is_free(history, number) ||
	    has_server_id(&history->world, server_id_of(history->addresses)))
		return;
	*backend = (struct world_backend){history->addresses, lane};
	draw_ring(history, lane);
}

/* One that left comes again, perhaps to another cohort. */
static void return_backend(struct history *history, unsigned int lane)
{
	unsigned int number = random_below(&history->random, NUMBERS);
	uint32_t address;

	if (history->world.backends[number].address || !history->backends ||
	    number >= history->view.backends_count)
		return;
	memcpy(&address, history->backends[number].address, 4);
	if (!address || has_server_id(&history->world, server_id_of(address)))
		return;
	history->world.backends[number] = (struct world_backend){address, lane};
	draw_ring(history, lane);
}

static void remove_backend(struct history *history)
{
	unsigned int number = random_below(&history->random, NUMBERS), i;
	struct world_backend *backend = &history->world.backends[number];
	struct world_ring *ring = &history->world.rings[backend->lane];

	if (!backend->address)
		return;
	backend->address = 0;
	if (any_backend(history, backend->lane) == BACKEND_NONE)
		ring->count = 0;
	for (i = 0; i < ring->count; i++)
		if (ring->now[i] == number)
			ring->now[i] = any_backend(history, backend->lane);
}

/* The last canary's lane goes or another comes. */
static void change_cohorts(struct history *history)
{
	struct world *world = &history->world;
	unsigned int lane, i;
	bool used = false;

	if (world->cohorts > 2 && chance(history, 30)) { /* two change places */
		lane = world->lanes[1];
		world->lanes[1] = world->lanes[2];
		world->lanes[2] = lane;
		return;
	}
	if (world->cohorts > 2 && chance(history, 50)) {
		lane = world->lanes[--world->cohorts];
		for (i = 0; i < NUMBERS; i++)
			if (world->backends[i].lane == lane)
				world->backends[i].address = 0;
		world->rings[lane].count = 0;
		for (i = 0; i < world->rules; i++)
			world->shares[i][world->cohorts - 1] = 0;
		for (i = 0; i < POSITIONS; i++)
			if (world->pins[i].cohort == world->cohorts)
				world->pins[i].cohort = 0;
		world->lanes[world->cohorts] = 0;
		return;
	}
	lane = random_below(&history->random, LANES_MAX);
	for (i = 0; i < world->cohorts; i++)
		used |= world->lanes[i] == lane;
	if (used || world->cohorts == COHORTS_MAX)
		return;
	world->lanes[world->cohorts++] = lane;
	add_backend(history, lane);
}

static void change_head(struct history *history)
{
	struct world *world = &history->world;

	switch (random_below(&history->random, 9)) {
	case 0:
		world->salt64 = random_next(&history->random);
		break;
	case 1:
		world->holdout = random_below(&history->random, 3) << 28;
		break;
	case 2:
		world->mask4 = ~random_below(&history->random, 2);
		break;
	case 3:
		world->flags ^= chance(history, 50) ? VIEW_KEY_FLOW : VIEW_BALANCE_CLIENT;
		break;
	case 4:
		world->prefix6 = 48 + 16 * random_below(&history->random, 2);
		break;
	case 5:
		world->flags &= ~VIEW_HASH;
		world->flags |= random_below(&history->random, 4) << VIEW_HASH_SHIFT;
		break;
	case 6:
		world->hash_modulus = 100 + random_below(&history->random, 2);
		break;
	case 7:
		world->hash_seed = random_below(&history->random, 2);
		break;
	default:
		world->payload_offset = random_below(&history->random, 2);
	}
}

static void change_something(struct history *history)
{
	struct world *world = &history->world;
	unsigned int lane = world->lanes[random_below(&history->random, world->cohorts)];

	switch (random_below(&history->random, 100)) {
	case 0 ... 29:
		change_share(history);
		break;
	case 30 ... 44:
		change_pin(history);
		break;
	case 45 ... 59:
		change_slots(history, lane);
		break;
	case 60 ... 69:
		add_backend(history, lane);
		break;
	case 70 ... 74:
		return_backend(history, lane);
		break;
	case 75 ... 84:
		remove_backend(history);
		break;
	case 85 ... 88:
		draw_ring(history, lane);
		break;
	case 89 ... 95:
		change_cohorts(history);
		break;
	default:
		change_head(history);
	}
}

/* ---- the history's own account of eras ---- */

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint8_t number_after(uint8_t number)
{
	return number == 255 ? 1 : number + 1;
}

static uint64_t pins_end_of(const struct history *history, const struct transition_plan *plan,
			    uint64_t end)
{
	unsigned int i;

	for (i = 0; i < POSITIONS; i++) {
		const struct world_pin *pin = &history->world.pins[i];

		if (pin->cohort != PIN_NONE && pin->expires != PIN_FOREVER &&
		    pin->expires > plan->monotonic_ns)
			end = greater(end, pin->expires / (1000000000 / HZ) +
						   plan->drain_ms * HZ / 1000);
	}
	return end;
}

static void add_epoch(struct history *history, const struct epoch *epoch)
{
	unsigned int i;

	assert_true(history->epochs_count < EPOCHS);
	history->epochs[history->epochs_count++] = *epoch;
	for (i = 0; i < NUMBERS; i++)
		if (epoch->world.backends[i].address)
			history->remembered[i] = epoch->world.backends[i].address;
}

static void forget_era(struct history *history)
{
	history->active = false;
	history->pins_end = 0;
	history->pins_first = 0;
	memset(history->pins_changed, 0, sizeof(history->pins_changed));
	memset(history->remembered, 0, sizeof(history->remembered));
}

static void begin_era(struct history *history)
{
	history->active = true;
	history->number = history->first = number_after(history->number);
	if (!history->pins_first)
		history->pins_first = history->first;
	history->eras++;
	history->origin = history->shown;
	history->epochs_count = 0;
	history->ends = history->udp_ends = 0;
	memset(history->cuts, 0, sizeof(history->cuts));
	history->pins_cut = 0;
}

static void cut(struct history *history, const struct transition_plan *plan)
{
	const struct world *world = &history->world;
	uint8_t generation;
	unsigned int rule, canary, i;

	history->number = number_after(history->number);
	generation = history->number - history->first;
	if (plan->cut_all)
		history->pins_cut = generation;
	for (rule = 0; rule < world->rules; rule++)
		for (canary = 1; canary <= CANARIES_MAX; canary++) {
			struct cut *cut = &history->cuts[rule][world->lanes[canary]];

			if (canary >= world->cohorts ||
			    (!plan->cut_all && !(plan->cuts[rule] & 1 << canary)))
				continue;
			cut->generation = generation;
			for (i = 0; i < POSITIONS; i++)
				cut->keeps[i] =
					!plan->cut_all && canary_at(world, rule, i) == canary;
		}
}

static bool hashes_are_equal(const struct world *a, const struct world *b)
{
	return a->salt64 == b->salt64 && a->mask4 == b->mask4 && a->prefix6 == b->prefix6 &&
	       a->payload_offset == b->payload_offset && a->hash_modulus == b->hash_modulus &&
	       a->hash_seed == b->hash_seed &&
	       !((a->flags ^ b->flags) &
		 (VIEW_KEY_FLOW | VIEW_MASK4 | VIEW_KEY_PAYLOAD | VIEW_HASH));
}

/* A cohort that leaves takes its cuts along; another salt or client key leaves nobody where they
 * were. */
static void forget_cuts(struct history *history)
{
	const struct world *world = &history->world;
	unsigned int rule, lane, cohort;

	for (rule = 0; rule < RULES; rule++)
		for (lane = 0; lane < LANES_MAX; lane++) {
			struct cut *cut = &history->cuts[rule][lane];
			bool there = false;

			for (cohort = 1; cohort < world->cohorts; cohort++)
				there |= world->lanes[cohort] == lane;
			if (!there)
				*cut = (struct cut){0};
			if (!hashes_are_equal(world, &history->shown.world))
				memset(cut->keeps, 0, sizeof(cut->keeps));
		}
}

/* What a kill took does not come back: epochs before it count as control's. */
static void void_canaries(struct history *history)
{
	size_t i, j;

	for (i = 0; i < history->epochs_count; i++) {
		struct epoch *epoch = &history->epochs[i];

		memset(epoch->rules, 0, sizeof(epoch->rules));
		for (j = 0; j < POSITIONS; j++)
			if (epoch->pins[j] != PIN_NONE)
				epoch->pins[j] = 0;
	}
}

static bool has_cuts(const struct transition_plan *plan)
{
	unsigned int rule;

	for (rule = 0; rule < RULES_MAX; rule++)
		if (plan->cuts[rule])
			return true;
	return plan->cut_all;
}

/* Do any two epochs of the era differ in the byte or word at this place of them? */
#define differ(history, field)                                                                     \
	({                                                                                         \
		bool differ_ = false;                                                              \
		for (size_t e_ = 1; e_ < (history)->epochs_count; e_++)                            \
			differ_ |= (history)->epochs[e_].field != (history)->epochs[0].field;      \
		differ_;                                                                           \
	})

static void note_pins(struct history *history)
{
	unsigned int i;

	for (i = 0; i < POSITIONS; i++)
		history->pins_changed[i] |=
			differ(history, pins[i]) || history->world.pins[i].expires != PIN_FOREVER;
}

/* Clients may know the ids of backends that leave, whatever rings say of them. */
static bool ids_left(const struct world *before, const struct world *next)
{
	unsigned int i;

	for (i = 0; i < NUMBERS && (before->flags & VIEW_KEY_QUIC); i++)
		if (before->backends[i].address && !next->backends[i].address)
			return true;
	return false;
}

/* The same step as the fold's, from all epochs. */
static void account(struct history *history, const struct transition_plan *plan)
{
	struct epoch next = epoch_of(&history->world, plan->monotonic_ns);
	struct epoch before = epoch_of(&history->shown.world, plan->monotonic_ns);
	bool changed = !epochs_are_equal(&next, &before) || ids_left(&before.world, &next.world) ||
		       has_cuts(plan);
	bool goes_on = history->active && history->ends > history->now + MARGIN;
	bool is_over =
		!history->active || greater(history->ends, history->pins_end) <= history->now;

	history->shown = before;
	if (is_over || (changed && !goes_on)) {
		if (history->pins_end <= history->now)
			forget_era(history);
		if (changed || pins_end_of(history, plan, 0) > history->now)
			begin_era(history);
	}
	if (history->active) {
		add_epoch(history, &before);
		if (before.world.killed)
			void_canaries(history);
		forget_cuts(history);
		if (has_cuts(plan))
			cut(history, plan);
		add_epoch(history, &next);
		history->pins_end = pins_end_of(history, plan, history->pins_end);
		note_pins(history);
		if ((uint8_t)(history->number - history->pins_first) >= GENERATIONS)
			history->pins_first = history->first;
	}
	if (changed) {
		history->ends = greater(history->ends, history->now + plan->drain_ms * HZ / 1000);
		history->udp_ends =
			greater(history->udp_ends, history->now + plan->udp_drain_ms * HZ / 1000);
	}
	history->shown = next;
}

/* ---- the maps ---- */

static void free_shown(struct history *history)
{
	free(history->backends);
	free(history->pins);
	free(history->server_ids);
	free(history->slots);
}

/* As user/datapath/place.c does, somewhere in the map of slots. Takes what @image has. */
static void place(struct history *history, struct view_image *image)
{
	uint32_t first = random_below(&history->random, 50), i;
	struct view *view = &image->view;

	free_shown(history);
	history->slots = calloc(first + view->slots_count + 1, sizeof(*history->slots));
	memcpy(history->slots + first, image->slots, view->slots_count * sizeof(*image->slots));
	for (i = 0; i <= COHORTS_MAX; i++)
		view->rings[i] += first;
	for (i = 0; i < COHORTS_MAX; i++)
		view->origin_rings[i] += first;
	if ((view->flags & VIEW_TRANSITION) && !view->transition_lines) {
		view->transition_base = random_below(&history->random, 1000);
		view->transition_lines = 8;
	}
	view->server_ids_count = server_ids_size(image->server_ids_count);
	history->server_ids = calloc(view->server_ids_count + 1, sizeof(*history->server_ids));
	while (server_ids_fill(image->server_ids, image->server_ids_count, history->server_ids,
			       view->server_ids_count)) {
		view->server_ids_count *= 2;
		history->server_ids = reallocarray(history->server_ids, view->server_ids_count,
						   sizeof(*history->server_ids));
	}
	history->view = *view;
	memcpy(history->rules, image->rules, sizeof(history->rules));
	history->backends = image->backends;
	history->pins = image->pins;
	image->backends = NULL;
	image->pins = NULL;
	view_image_release(image);
}

static struct shown_view shown_of(const struct history *history)
{
	return (struct shown_view){
		.view = history->backends ? &history->view : NULL,
		.rules = history->rules,
		.slots = history->slots,
		.backends = history->backends,
		.pins = history->pins,
		.server_ids = history->server_ids,
		.killed = history->shown.world.killed,
	};
}

/* ---- is the folded view what the history says? ---- */

static void check_head(const struct history *history, const struct view *view)
{
	const struct world *origin = &history->origin.world;
	bool disputed = false;
	size_t i;

	for (i = 1; i < history->epochs_count; i++)
		disputed |= !heads_are_equal(&history->epochs[i].world, &history->epochs[0].world);
	assert_int_equal(!!(view->flags & VIEW_ALL_DISPUTED), disputed);
	assert_int_equal(!!(view->flags & VIEW_ORIGIN_KEY),
			 !keys_are_equal(origin, &history->world));
	assert_int_equal(view->origin_salt64, origin->salt64);
	assert_int_equal(view->origin_holdout, origin->killed ? 0 : origin->holdout);
	assert_int_equal(view->origin_flags, origin->flags & VIEW_KEY_FLAGS);
	assert_int_equal(view->origin_mask4, origin->mask4);
	assert_int_equal(view->origin_prefix6, origin->prefix6);
	assert_int_equal(view->origin_payload.offset, origin->payload_offset);
	assert_int_equal(view->origin_modulus, origin->hash_modulus);
	assert_int_equal(view->origin_seed, origin->hash_seed);
	assert_int_equal(view->origin_cohorts, origin->cohorts);
	assert_memory_equal(view->origin_lanes, origin->lanes, sizeof(origin->lanes));
}

static void check_era(const struct history *history, const struct view *view)
{
	assert_int_equal(view->era, history->number);
	assert_int_not_equal(view->era, 0);
	assert_int_equal(view->era_first, history->first);
	assert_int_equal(view->era_ends, history->ends);
	assert_int_equal(view->udp_ends, history->udp_ends);
	assert_int_equal(view->pins_end, history->pins_end);
	assert_int_equal(view->pins_cuts[0], history->pins_cut);
	assert_int_equal(view->pins_first, history->pins_first);
	/* Entries that still hold lie in the same lines. */
	if (history->pins_first == history->view.pins_first &&
	    (history->view.flags & VIEW_TRANSITION)) {
		assert_int_equal(view->transition_base, history->view.transition_base);
		assert_int_equal(view->transition_lines, history->view.transition_lines);
	}
}

static void check_cuts(const struct history *history, const struct view_rule *rule,
		       unsigned int index, unsigned int position)
{
	const struct world *world = &history->world;
	unsigned int canary;

	for (canary = 1; canary < world->cohorts; canary++) {
		const struct cut *cut = &history->cuts[index][world->lanes[canary]];

		assert_int_equal(rule->cuts[canary - 1], cut->generation);
		assert_int_equal(rule_keeps(rule, canary, hash_of(position)),
				 cut->generation ? cut->keeps[position] : 0);
	}
}

static void check_rules(const struct history *history, const struct view_image *image)
{
	unsigned int rule, i;

	for (rule = 0; rule < history->world.rules; rule++)
		for (i = 0; i < POSITIONS; i++) {
			const struct view_rule *folded = &image->rules[rule];
			uint32_t hash = hash_of(i);

			assert_int_equal(rule_cohort(folded, hash),
					 canary_at(&history->world, rule, i));
			if (!history->active)
				continue;
			assert_int_equal(rule_origin(folded, hash), history->origin.rules[rule][i]);
			if (!(image->view.flags & VIEW_ALL_DISPUTED) &&
			    differ(history, rules[rule][i]))
				assert_true(rule_disputes(folded, hash));
			check_cuts(history, folded, rule, i);
		}
}

/* Where no pins are named, packets do not look. */
static struct pin_range pin_at(const struct view_image *image, unsigned int position)
{
	struct pin_range found = {.cohort = PIN_NONE, .origin = PIN_NONE, .expires = PIN_FOREVER};
	uint32_t i;

	assert_int_equal(!!(image->view.flags & VIEW_PINS), image->view.pins_count != 0);
	for (i = 0; i < image->view.pins_count; i++) {
		if (i)
			assert_true(image->pins[i].low > image->pins[i - 1].low);
		if (image->pins[i].low <= pin_address(position) + 5)
			found = image->pins[i];
	}
	if (image->view.pins_count)
		assert_int_equal(image->pins[0].low, 0);
	return found;
}

static void check_pins(const struct history *history, const struct view_image *image)
{
	unsigned int i;

	for (i = 0; i < POSITIONS; i++) {
		struct pin_range range = pin_at(image, i);
		struct world_pin pin = history->world.pins[i];

		assert_int_equal(range.cohort, pin.cohort);
		assert_int_equal(range.expires, pin.expires);
		if (!history->active)
			continue;
		assert_int_equal(range.origin, history->origin.pins[i]);
		if (history->pins_changed[i])
			assert_true(range.changed);
	}
}

static void check_rings(const struct history *history, const struct view_image *image)
{
	const struct view *view = &image->view;
	unsigned int cohort, i;

	for (cohort = 0; cohort < view->cohorts; cohort++) {
		unsigned int lane = view->lanes[cohort];
		uint32_t first = view->rings[cohort], size = view->rings[cohort + 1] - first;

		assert_false(size & (size - 1));
		for (i = 0; i < FINEST; i++) {
			uint32_t slot = size ? image->slots[first + i * size / FINEST] : SLOT_NONE;

			assert_int_equal(slot & SLOT_NOW_MASK, history->shown.rings[lane][i]);
			if (history->active && !(view->flags & VIEW_ALL_DISPUTED) &&
			    differ(history, rings[lane][i]))
				assert_true(slot & SLOT_MOVED);
		}
	}
	for (cohort = 0; history->active && cohort < view->origin_cohorts; cohort++)
		for (i = 0; i < FINEST; i++) {
			uint8_t bits = view->origin_ring_bits[cohort];
			uint32_t at = view->origin_rings[cohort], slot = SLOT_NONE;

			if (bits != RING_NONE)
				slot = image->slots[at + (i << bits) / FINEST];
			assert_int_equal(slot >> SLOT_ORIGIN_SHIFT,
					 history->origin.rings[view->origin_lanes[cohort]][i]);
		}
}

/* The address that the number has, or had in the era; 0: none. */
static uint32_t address_in_era(const struct history *history, unsigned int number)
{
	uint32_t address = history->world.backends[number].address;

	return address || !history->active ? address : history->remembered[number];
}

static void check_lines(const struct history *history, const struct view_image *image)
{
	unsigned int number;

	assert_int_equal(image->view.backends_count, image->backends_count);
	for (number = 0; number < NUMBERS; number++) {
		uint32_t wanted = address_in_era(history, number), address = 0;
		const struct backend_line *line = &image->backends[number];
		bool gone = !history->world.backends[number].address;

		if (number < image->backends_count)
			memcpy(&address, line->address, 4);
		assert_int_equal(address, wanted);
		if (!wanted)
			continue;
		assert_int_equal(line->counter, address);
		assert_int_equal(!!(line->flags & BACKEND_GONE), gone);
		assert_int_equal(!!(line->health & BACKEND_DRAINING), gone);
		if (line->cohort == COHORT_GONE)
			assert_true(gone);
		else
			assert_int_equal(history->world.lanes[line->cohort], line->lane);
	}
}

static void check_server_ids(const struct history *history, const struct view_image *image)
{
	unsigned int number, found;
	size_t i;

	for (number = 0; number < NUMBERS && (history->world.flags & VIEW_KEY_QUIC); number++) {
		uint32_t address = address_in_era(history, number);
		uint64_t id = server_id_of(address);

		if (!address)
			continue;
		found = 0;
		for (i = 0; i < image->server_ids_count; i++) {
			const struct server_id *entry = &image->server_ids[i];

			if (entry->id != id)
				continue;
			found++;
			assert_int_equal(server_id_of(address_in_era(history, entry->backend - 1)),
					 id);
			if (history->world.backends[number].address)
				assert_int_equal(entry->backend, number + 1);
		}
		assert_int_equal(found, 1);
	}
}

static void check_folded(const struct history *history, const struct view_image *image)
{
	const struct view *view = &image->view;

	assert_int_equal(!!(view->flags & VIEW_TRANSITION), history->active);
	assert_int_equal(view->eras, history->eras);
	assert_int_equal(view->era, history->number);
	assert_int_equal(view->salt64, history->world.salt64);
	assert_int_equal(view->holdout, history->world.holdout);
	if (history->active) {
		check_head(history, view);
		check_era(history, view);
	}
	check_rules(history, image);
	check_pins(history, image);
	check_rings(history, image);
	check_lines(history, image);
	check_server_ids(history, image);
}

/* ---- one step of it ---- */

static void let_time_pass(struct history *history)
{
	switch (random_below(&history->random, 10)) {
	case 0:
		history->now += 60 * HZ;
		break;
	case 1 ... 2: /* the era's end, or its last second, to the jiffy */
		if (history->active && history->ends > history->now + MARGIN + 1)
			history->now = history->ends - (chance(history, 50) ? MARGIN : 0) +
				       random_below(&history->random, 3) - 1;
		break;
	case 3:
		history->now += random_below(&history->random, 10 * HZ);
		break;
	default:
		history->now += random_below(&history->random, 2 * HZ);
	}
}

/* As user/datapath/health.c does, while the era is open. */
static void move_in_place(struct history *history)
{
	unsigned int cohort = random_below(&history->random, history->world.cohorts), i;
	unsigned int lane = history->world.lanes[cohort];
	struct world_ring *ring = &history->world.rings[lane];
	uint32_t first = history->view.rings[cohort];
	uint32_t size = history->view.rings[cohort + 1] - first;

	if (!history->active || history->ends <= history->now + MARGIN || !ring->count)
		return;
	add_epoch(history, &history->shown);
	change_slots(history, lane);
	for (i = 0; i < size; i++) {
		uint32_t *slot = &history->slots[first + i];
		uint32_t now = ring->now[i * ring->count / size];

		if ((*slot & SLOT_NOW_MASK) != now)
			*slot = (*slot & ~SLOT_NOW_MASK) | SLOT_MOVED | now;
	}
	history->shown = epoch_of(&history->world, ns_of(history->now));
}

static void kill_in_place(struct history *history)
{
	if (history->active)
		add_epoch(history, &history->shown);
	history->world.killed = true;
	history->shown = epoch_of(&history->world, ns_of(history->now));
}

/* While a service is killed its rules and pins name control alone. */
static void be_killed(struct world *world)
{
	unsigned int i;

	memset(world->shares, 0, sizeof(world->shares));
	for (i = 0; i < POSITIONS; i++)
		if (world->pins[i].cohort != PIN_NONE)
			world->pins[i].cohort = 0;
}

static void drop_ended_pins(struct history *history)
{
	unsigned int i;

	for (i = 0; i < POSITIONS; i++)
		if (history->world.pins[i].expires <= ns_of(history->now))
			history->world.pins[i] = (struct world_pin){PIN_NONE, PIN_FOREVER};
}

static struct transition_plan plan_of(struct history *history)
{
	struct transition_plan plan = {
		.now = history->now,
		.hz = HZ,
		.monotonic_ns = ns_of(history->now),
		.drain_ms = 2000 + 4 * random_below(&history->random, 3000),
		.udp_drain_ms = 1000 + 4 * random_below(&history->random, 500),
	};

	if (chance(history, 10))
		plan.cuts[random_below(&history->random, history->world.rules)] =
			1 << (1 + random_below(&history->random, history->world.cohorts - 1));
	return plan;
}

static void step(struct history *history)
{
	struct shown_view shown;
	struct transition_plan plan;
	struct view_image image;
	unsigned int changes = random_below(&history->random, 3);

	let_time_pass(history);
	if (history->backends && chance(history, 10))
		move_in_place(history);
	if (history->backends && chance(history, 4))
		kill_in_place(history);
	while (changes--)
		change_something(history);
	drop_ended_pins(history);
	plan = plan_of(history);
	if (history->world.killed && chance(history, 50)) {
		plan.cut_all = true;
		history->world.killed = false;
	} else if (history->world.killed) {
		be_killed(&history->world);
	}
	compile(&history->world, &image);
	shown = shown_of(history);
	if (shown.view)
		account(history, &plan);
	else
		history->shown = epoch_of(&history->world, plan.monotonic_ns);
	assert_int_equal(transition_fold(&shown, &plan, &no_table, &image), 0);
	check_folded(history, &image);
	place(history, &image);
}

static struct history *history_begin(struct random random)
{
	struct history *history = calloc(1, sizeof(*history));
	struct world *world = &history->world;
	unsigned int i;

	assert_non_null(history);
	history->random = random;
	history->now = 1000000 + random_below(&history->random, 1000);
	*world = (struct world){
		.flags = chance(history, 40) ? VIEW_KEY_QUIC : 0,
		.mask4 = ~0u,
		.prefix6 = 64,
		.cohorts = 2,
		.lanes = {0, 1},
		.rules = 1 + random_below(&history->random, RULES),
	};
	history->ends_stay = world->rules == 1 && chance(history, 50);
	for (i = 0; i < CANARIES_MAX; i++)
		world->starts[i] = i * (POSITIONS / CANARIES_MAX);
	for (i = 0; i < POSITIONS; i++)
		world->pins[i] = (struct world_pin){PIN_NONE, PIN_FOREVER};
	for (i = 0; i < 6; i++)
		add_backend(history, i % 2);
	return history;
}

static void history_end(struct history *history)
{
	free_shown(history);
	free(history);
}

static void a_fold_says_what_all_epochs_of_the_era_say(void **state)
{
	struct random random = random_seeded(__func__);
	unsigned int i, j;

	(void)state;
	for (i = 0; i < HISTORIES; i++) {
		struct history *history = history_begin(random);

		random_next(&random);
		/* Numbers go around, and 0 is none. */
		step(history);
		history->number = history->view.era = 250 + i % 6;
		for (j = 1; j < STEPS; j++)
			step(history);
		history_end(history);
	}
}

/* One fold of the world as it stands, shown. */
static void publish(struct history *history, struct transition_plan plan)
{
	struct shown_view shown = shown_of(history);
	struct view_image image;

	plan.now = history->now;
	plan.hz = HZ;
	plan.monotonic_ns = ns_of(history->now);
	compile(&history->world, &image);
	assert_int_equal(transition_fold(&shown, &plan, &no_table, &image), 0);
	place(history, &image);
}

/* Two canaries with a share each. */
static struct history *two_canaries(const char *test)
{
	struct history *history = history_begin(random_seeded(test));

	history->world.rules = 1;
	history->world.cohorts = 3;
	history->world.lanes[2] = 2;
	history->world.shares[0][0] = history->world.shares[0][1] = 4;
	publish(history, (struct transition_plan){.drain_ms = 60000});
	return history;
}

static void cuts_without_number_spare_flows_that_began_after_them(void **state)
{
	struct history *history = two_canaries(__func__);
	const struct view *view = &history->view;
	unsigned int i, most = 0, restarts = 0;

	(void)state;
	history->view.era = 200; /* so that 255 is passed on the way */
	for (i = 0; i < 1000; i++) {
		uint8_t first = view->era_first, generation, canary;
		struct transition_plan plan = {.drain_ms = 60000};

		/* The first canary is cut seldom: its last cut is long ago when numbers run out. */
		canary = i % 64 == 0 ? 1 : 2;
		plan.cut_all = i % 97 == 5;
		plan.cuts[0] = 1 << canary;
		history->now++;
		publish(history, plan);
		generation = era_generation(view->era, view->era_first);
		assert_int_equal(history->rules[0].cuts[canary - 1], generation);
		restarts += i && first != view->era_first;
		most = generation > most ? generation : most;
		for (canary = 0; canary < 2; canary++) {
			/* An entry of now holds; the origin of a canary that was cut does not. */
			assert_true(history->rules[0].cuts[canary] <= generation);
			if (i > 0)
				assert_true(history->rules[0].cuts[canary] > 0);
		}
		assert_true(view->pins_cuts[0] <= generation);
		assert_in_range(era_generation(view->era, view->pins_first), generation,
				GENERATIONS + 1);
		assert_int_equal(view->pins_cuts[0] > 0, i >= 5);
	}
	assert_true(restarts > 3);
	assert_in_range(most, GENERATIONS - 2, GENERATIONS + 2);
	history_end(history);
}

static void a_view_is_shown_as_compiled_where_nothing_was_before(void **state)
{
	struct history *history = two_canaries(__func__);
	const struct view *view = &history->view;

	(void)state;
	assert_int_equal(view->flags & VIEW_TRANSITION, 0);
	assert_int_equal(view->era, 0);
	assert_int_equal(view->eras, 0);
	/* The same again opens no era, a change does, and after it all is quiet again. */
	publish(history, (struct transition_plan){.drain_ms = 60000});
	assert_int_equal(view->flags & VIEW_TRANSITION, 0);
	history->world.shares[0][0] = 5;
	publish(history, (struct transition_plan){.drain_ms = 60000, .udp_drain_ms = 2000});
	assert_true(view->flags & VIEW_TRANSITION);
	assert_int_equal(view->era, 1);
	assert_int_equal(view->era_ends, history->now + 60 * HZ);
	assert_int_equal(view->udp_ends, history->now + 2 * HZ);
	assert_false(era_is_over(view, view->era_ends - 1));
	assert_true(era_is_over(view, view->era_ends));
	assert_true(era_is_open(view, view->era_ends - 1));
	assert_false(era_is_open(view, view->era_ends));
	history->now = view->era_ends - 1;
	publish(history, (struct transition_plan){.drain_ms = 60000});
	assert_true(view->flags & VIEW_TRANSITION);
	history->now = view->era_ends;
	publish(history, (struct transition_plan){.drain_ms = 60000});
	assert_int_equal(view->flags & VIEW_TRANSITION, 0);
	assert_int_equal(view->era, 1);
	history_end(history);
}

/* ---- cuts of parts that end together ---- */

/* The first canary has positions [start, end), by a cut. */
static void cut_to(struct history *history, unsigned int start, unsigned int end, bool is_cut)
{
	struct transition_plan plan = {.drain_ms = 60000, .cuts = {is_cut ? 1 << 1 : 0}};

	history->world.starts[0] = start;
	history->world.shares[0][0] = end - start;
	history->now++;
	publish(history, plan);
}

static void assert_cuts(const struct history *history, uint8_t generation, unsigned int first,
			unsigned int last)
{
	unsigned int position;

	for (position = 0; position < POSITIONS; position++) {
		bool kept = position >= first && position < last;

		assert_int_equal(rule_cuts(&history->rules[0], 1, hash_of(position), generation, 0),
				 !kept);
	}
}

static void a_wider_cut_gives_back_nothing_at_whichever_end_the_parts_meet(void **state)
{
	static const struct {
		uint8_t before[2], first[2], second[2];
	} cases[] = {
		{{0, 12}, {0, 4}, {0, 8}},	/* they start together */
		{{20, 32}, {28, 32}, {24, 32}}, /* they end together */
		{{20, 32}, {32, 32}, {24, 32}}, /* the first one took all */
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct history *history = two_canaries(__func__);

		history->world.shares[0][1] = 0;
		cut_to(history, cases[i].before[0], cases[i].before[1], false);
		history->now += 70 * HZ;
		cut_to(history, cases[i].before[0], cases[i].before[1], false);
		cut_to(history, cases[i].first[0], cases[i].first[1], true);
		assert_cuts(history, 0, cases[i].first[0], cases[i].first[1]);
		cut_to(history, cases[i].before[0], cases[i].before[1], false);
		cut_to(history, cases[i].second[0], cases[i].second[1], true);
		/* What is older than the first, and what began between them. */
		assert_cuts(history, 0, cases[i].first[0], cases[i].first[1]);
		assert_cuts(history, 1, cases[i].second[0], cases[i].second[1]);
		/* A third one that keeps less keeps that in mind, too. */
		cut_to(history, cases[i].second[0] + (cases[i].second[0] ? 1 : 0),
		       cases[i].second[1] - (cases[i].second[0] ? 0 : 1), true);
		assert_cuts(history, 0, cases[i].first[0], cases[i].first[1]);
		history_end(history);
	}
}

static void only_what_changes_is_disputed_at_whichever_end_the_parts_meet(void **state)
{
	static const struct {
		uint8_t before[2], after[2], disputed[2];
	} cases[] = {
		{{0, 8}, {0, 12}, {8, 12}},	{{0, 12}, {0, 8}, {8, 12}},
		{{24, 32}, {20, 32}, {20, 24}}, {{20, 32}, {24, 32}, {20, 24}},
		{{8, 12}, {10, 16}, {8, 16}},
	};
	unsigned int i, position;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct history *history = two_canaries(__func__);

		history->world.shares[0][1] = 0;
		cut_to(history, cases[i].before[0], cases[i].before[1], false);
		history->now += 70 * HZ;
		cut_to(history, cases[i].before[0], cases[i].before[1], false);
		cut_to(history, cases[i].after[0], cases[i].after[1], false);
		for (position = 0; position < POSITIONS; position++)
			assert_int_equal(rule_disputes(&history->rules[0], hash_of(position)),
					 position >= cases[i].disputed[0] &&
						 position < cases[i].disputed[1]);
		history_end(history);
	}
}

/* ---- server ids ---- */

/* As bpf/datagram.h looks for it: the number + 1, or 0. */
static uint32_t look_up(const struct server_id *slots, size_t size, uint64_t id)
{
	unsigned int i;

	for (i = 0; i < SERVER_ID_PROBES; i++) {
		const struct server_id *slot = &slots[(server_id_hash(id) + i) & (size - 1)];

		if (!slot->backend)
			return 0;
		if (slot->id == id)
			return slot->backend;
	}
	return 0;
}

static void every_server_id_is_found_and_no_other(void **state)
{
	struct random random = random_seeded(__func__);
	struct server_id *ids = calloc(4096, sizeof(*ids));
	unsigned int round, i;

	(void)state;
	assert_int_equal(server_ids_size(0), 0);
	for (round = 0; round < 200; round++) {
		size_t count = 1 + random_below(&random, round % 10 ? 64 : 4096);
		size_t size = server_ids_size(count);
		uint64_t step = round % 2 ? 1 : 0x9e3779b97f4a7c15ull; /* dense, or odd: distinct */
		struct server_id *slots = NULL;

		assert_true(size >= 2 * count && !(size & (size - 1)));
		for (i = 0; i < count; i++)
			ids[i] = (struct server_id){.id = i * step + round, .backend = i + 1};
		do {
			slots = reallocarray(slots, size, sizeof(*slots));
			assert_non_null(slots);
			memset(slots, 0xff, size * sizeof(*slots));
			size *= 2;
			assert_true(size <= 64 * server_ids_size(count));
		} while (server_ids_fill(ids, count, slots, size / 2));
		size /= 2;
		for (i = 0; i < count; i++)
			assert_int_equal(look_up(slots, size, ids[i].id), i + 1);
		for (i = 0; i < 1000; i++) {
			uint64_t id = random_next(&random) | 1ull << 40;
			uint32_t found = look_up(slots, size, id);

			if (found)
				assert_int_equal(ids[found - 1].id, id);
		}
		free(slots);
	}
	free(ids);
}

/* So many with the same first slot that one would lie beyond the last probe. */
static void server_ids_that_do_not_fit_are_refused(void **state)
{
	struct server_id ids[SERVER_ID_PROBES + 1], slots[32];
	uint64_t id;
	size_t count = 0;

	(void)state;
	for (id = 0; count < SERVER_ID_PROBES + 1; id++)
		if ((server_id_hash(id) & 31) == 30) /* and around the end */
			ids[count++] = (struct server_id){.id = id, .backend = count + 1};
	assert_int_equal(server_ids_fill(ids, SERVER_ID_PROBES, slots, 32), 0);
	for (count = 0; count < SERVER_ID_PROBES; count++)
		assert_int_equal(look_up(slots, 32, ids[count].id), ids[count].backend);
	assert_int_equal(server_ids_fill(ids, SERVER_ID_PROBES + 1, slots, 32), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_view_is_shown_as_compiled_where_nothing_was_before),
		cmocka_unit_test(a_fold_says_what_all_epochs_of_the_era_say),
		cmocka_unit_test(cuts_without_number_spare_flows_that_began_after_them),
		cmocka_unit_test(a_wider_cut_gives_back_nothing_at_whichever_end_the_parts_meet),
		cmocka_unit_test(only_what_changes_is_disputed_at_whichever_end_the_parts_meet),
		cmocka_unit_test(every_server_id_is_found_and_no_other),
		cmocka_unit_test(server_ids_that_do_not_fit_are_refused),
	};

	return cmocka_run_group_tests_name("unit/transition", tests, NULL, NULL);
}
