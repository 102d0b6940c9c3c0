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
#include "affinity_world.h"
#include "policy/split.h"
#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HISTORIES	1024
#define SIDE_BY_SIDE	64
#define STARVED_EACH	8 /* one batch in so many has next to no room in the transition table */
#define STEPS		16
#define FLOWS		14
#define CLIENTS		6
#define CANARY_POOL	5 /* most backends of a cohort */
#define QUIC_INITIAL	1200
#define WRITERS_LATE_MS 200 /* user/datapath/health.c, COMMIT_MS */
#define WRITERS_MARGIN_MS                                                                          \
	25 /* user/datapath/era.c waits for the end of an era that ends so soon                    \
	    */

struct flow {
	struct promised_flow promised;
	struct packet_plan plan;
	char name[ADDRESS_TEXT_SIZE + 16];
};

struct history {
	uint64_t index;
	struct random random;
	struct subject subject;
	struct model model;
	struct flow flows[FLOWS];
	int64_t planned; /* its clock when the next step begins */
	bool has_pins, is_over;
	uint64_t evicted; /* by the counter, before it began */
	FILE *trace;
	char *told;
	size_t told_size;
};

struct run_totals {
	uint64_t packets, views, in_place, kills, cuts, hashes, paths[PATHS], evicted, starved,
		excused;
};

static struct run_totals totals;

static uint32_t below(struct history *history, uint32_t bound)
{
	return random_below(&history->random, bound);
}

static bool in_percent(struct history *history, uint32_t percent)
{
	return below(history, 100) < percent;
}

static int64_t jiffies_of(uint64_t milliseconds)
{
	return milliseconds * jiffies_hz() / 1000;
}

#define tell(history, ...) fprintf((history)->trace, __VA_ARGS__)

/* ---- a service at the beginning ---- */

static struct service *service_of(struct history *history)
{
	return &history->subject.real->service;
}

static void add_backend(struct history *history, size_t cohort)
{
	unsigned int tries, id;

	if (service_of(history)->cohorts[cohort].backends_count >= CANARY_POOL)
		return;
	for (tries = 0; tries < 40; tries++) {
		struct model_backend *backend;

		id = below(history, MODEL_BACKENDS);
		backend = &history->model.backends[id];
		if (backend->is_used && backend->in_file)
			continue;
		backend->is_used = backend->in_file = true;
		subject_add_backend(&history->subject, cohort, id,
				    in_percent(history, 80) ? 100 : 1 + below(history, 300));
		tell(history, "  backend %u added to cohort %zu\n", id, cohort);
		return;
	}
}

static uint32_t random_share(struct history *history, size_t cohort)
{
	uint32_t slot = service_of(history)->cohorts[cohort].slot_ppm;

	switch (below(history, 4)) {
	case 0:
		return 0;
	case 1:
		return slot;
	default:
		return below(history, slot + 1);
	}
}

/*
 * Our own hash, or another tool's with any options. True: clients got other places in the hash
 * space.
 */
static bool random_hash(struct history *history)
{
	static const uint32_t moduli[] = {100, 100, 7, 65536};
	struct service *service = service_of(history);
	struct hash_options *options = &service->hash_options, before = *options;
	enum split_hash hash = service->hash;
	size_t first = below(history, COHORTS_MAX), i;

	if (in_percent(history, 70)) {
		service->hash = below(history, 4);
		options->modulus = moduli[below(history, 4)];
		options->seed = below(history, 3);
	}
	/* The file's order, from any cohort on, of which some may not be there. */
	options->order_count = in_percent(history, 50) ? COHORTS_MAX : 0;
	for (i = 0; i < options->order_count; i++)
		strcpy(options->order[i], service->cohorts[(first + i) % COHORTS_MAX].name);
	tell(history, "  hash %d, modulus %u, seed %u, parts from %zu on\n", service->hash,
	     options->modulus, options->seed, options->order_count ? first : 0);
	return service->hash != hash || options->modulus != before.modulus ||
	       options->seed != before.seed;
}

static void random_service(struct history *history)
{
	static const uint64_t drains[] = {4000, 20000, 60000, 3600000};
	static const uint64_t udp_drains[] = {2000, 10000, 30000, 90000};
	struct lab_service *real = history->subject.real;
	struct service *service = service_of(history);
	size_t cohort, count;

	lab_set_cohorts(real, 2 + below(history, 3));
	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		for (count = 1 + below(history, 4); count; count--)
			add_backend(history, cohort);
	for (cohort = 1; cohort < service->cohorts_count; cohort++)
		lab_set_share(real, cohort, random_share(history, cohort));
	real->salt64 = random_next(&history->random) | 1;
	real->plan.drain_ms = drains[below(history, 4)];
	real->plan.udp_drain_ms = udp_drains[below(history, 4)];
	service->balance = in_percent(history, 30) ? BALANCE_CLIENT : BALANCE_FLOW;
	service->holdout_ppm = in_percent(history, 25) ? below(history, 500000) : 0;
	switch (below(history, 6)) {
	case 0:
		service->client_key = CLIENT_KEY_QUIC;
		service->client_id.quic_cid_length = 8;
		service->client_id.quic_server_id_offset = 1;
		service->client_id.quic_server_id_length = 2;
		break;
	case 1:
	case 2:
		service->client_key = CLIENT_KEY_FLOW;
		break;
	default:
		break;
	}
	if (in_percent(history, 30))
		random_hash(history);
	history->model.drain = jiffies_of(real->plan.drain_ms);
	history->model.udp_drain = jiffies_of(real->plan.udp_drain_ms);
	history->model.margin = jiffies_of(WRITERS_MARGIN_MS) + 2;
	history->model.late = jiffies_of(WRITERS_LATE_MS) + 2;
	history->model.has_server_ids = service->client_key == CLIENT_KEY_QUIC;
	tell(history,
	     "history %llu: %zu cohorts, drain %lld, udp_drain %lld jiffies, key %d, balance %d, "
	     "holdout %u\n",
	     (unsigned long long)history->index, service->cohorts_count,
	     (long long)history->model.drain, (long long)history->model.udp_drain,
	     service->client_key, service->balance, service->holdout_ppm);
}

/* ---- flows ---- */

static enum flow_kind random_kind(struct history *history, unsigned int number)
{
	if (number < FLOWS / 2)
		return FLOW_TCP;
	if (history->model.has_server_ids && number % 2)
		return FLOW_NAMED;
	return in_percent(history, 50) ? FLOW_QUIC : FLOW_UDP;
}

static void client_address(unsigned int client, int family, char out[ADDRESS_TEXT_SIZE])
{
	snprintf(out, ADDRESS_TEXT_SIZE, family == 4 ? "198.51.100.%u" : "2001:db8:1:%x::7",
		 client + 1);
}

static void random_flow(struct history *history, unsigned int number)
{
	static const char *const kinds[] = {"tcp", "quic", "udp", "named"};
	struct flow *flow = &history->flows[number];
	unsigned int client = below(history, CLIENTS), place = history->index % SIDE_BY_SIDE;
	int family = in_percent(history, 65) ? 4 : 6;
	uint16_t port = 1024 + 4096 * number + below(history, 4096); /* no two flows' */
	char source[ADDRESS_TEXT_SIZE], vip[ADDRESS_TEXT_SIZE];

	flow->promised.kind = random_kind(history, number);
	flow->promised.at = NOWHERE;
	client_address(client, family, source);
	vip_of_place(place, family, vip);
	flow->plan = flow->promised.kind == FLOW_TCP ? packet_tcp(source, port, vip, 80)
						     : packet_udp(source, port, vip, 53);
	snprintf(flow->name, sizeof(flow->name), "%s %s:%u", kinds[flow->promised.kind], source,
		 port);
}

enum tcp_segment { SEGMENT, START, END };

/* A short header with the id that the flow's server issued, or a version 1 Initial. */
static void write_quic(struct flow *flow, bool starts, struct frame *frame)
{
	uint8_t *payload = frame->bytes + packet_l4_offset(&flow->plan) + 8;

	memset(payload, 0, 16);
	payload[0] = starts ? 0xc0 : 0x40;
	if (starts) {
		payload[4] = 1;
		payload[5] = 8;
	} else if (flow->promised.kind == FLOW_NAMED && flow->promised.at != NOWHERE) {
		store16(payload + 2, 0xa500 + flow->promised.at);
	}
}

static void build(struct flow *flow, enum tcp_segment segment, struct frame *frame)
{
	bool starts = segment == START;

	flow->plan.tcp_flags = starts ? FLAG_SYN : FLAG_ACK;
	if (segment == END)
		flow->plan.tcp_flags = flow->plan.source_port % 2 ? FLAG_FIN | FLAG_ACK : FLAG_RST;
	flow->plan.payload = flow->promised.kind != FLOW_TCP && starts ? QUIC_INITIAL : 32;
	packet_build(&flow->plan, frame);
	if (flow->promised.kind != FLOW_TCP)
		write_quic(flow, starts, frame);
}

static void note_decision(struct world *world, struct history *history, struct flow *flow)
{
	static struct frame frame;

	build(flow, SEGMENT, &frame);
	flow->promised.decisions[history->model.epochs_count - 1] =
		world_decide(world, &history->subject, &frame, NULL);
}

static void note_decisions(struct world *world, struct history *history)
{
	int i;

	for (i = 0; i < FLOWS; i++)
		note_decision(world, history, &history->flows[i]);
}

static uint64_t evicted(const struct world *world, const struct history *history)
{
	return lab_affinity_counter(world->real, history->subject.real).evicted - history->evicted;
}

/* Where an entry was given up for want of room, and counted, its flow may go to the origin. */
static void broken(const struct world *world, struct history *history, const char *what)
{
	if (evicted(world, history)) {
		history->is_over = true;
		totals.excused++;
		return;
	}
	fflush(history->trace);
	fprintf(stderr,
		"%s\n%s\nrepeat with XDP_CANARY_SEED of this run and XDP_CANARY_HISTORY=%llu\n",
		history->told, what, (unsigned long long)history->index);
	fail();
}

static void send_one(struct world *world, struct history *history, struct flow *flow,
		     enum tcp_segment segment)
{
	static const char *const names[] = {"segment", "start", "end"};
	static struct frame frame;
	struct observation seen = {.starts = segment == START, .ends = segment == END};
	const char *why, *path;

	build(flow, segment, &frame);
	seen.has_room = world_has_room(world, &history->subject);
	seen.now = world_decide(world, &history->subject, &frame, &seen.before);
	path = world_path(world, &frame);
	seen.went = world_send(world, &frame);
	seen.after = world_now(world, &history->subject);
	tell(history, "%lld %s %s -> %d by %s (was %d, decided %d of cohort %d, reason %d)\n",
	     (long long)seen.before, flow->name, names[segment], seen.went, path, flow->promised.at,
	     seen.now.backend, seen.now.cohort, seen.now.reason);
	why = model_judge(&history->model, &flow->promised, &seen);
	if (why)
		broken(world, history, why);
	note_decision(world, history, flow);
	totals.packets++;
	totals.starved += !seen.has_room;
}

static enum tcp_segment random_segment(struct history *history, const struct flow *flow)
{
	const struct promised_flow *promised = &flow->promised;

	if (promised->kind == FLOW_UDP)
		return SEGMENT;
	if (promised->at == NOWHERE || !promised->is_open)
		return promised->at == NOWHERE || in_percent(history, 60) ? START : SEGMENT;
	if (promised->kind == FLOW_TCP && in_percent(history, 12))
		return END;
	return in_percent(history, 15) ? START : SEGMENT;
}

static void send_some(struct world *world, struct history *history)
{
	uint32_t percent = 10 + below(history, 80);
	int i;

	for (i = 0; i < FLOWS && !history->is_over; i++) {
		struct flow *flow = &history->flows[below(history, FLOWS)];

		if (in_percent(history, percent))
			send_one(world, history, flow, random_segment(history, flow));
	}
}

/* ---- changes ---- */

static size_t random_cohort(struct history *history, size_t first)
{
	return first + below(history, service_of(history)->cohorts_count - first);
}

static struct lab_backend *random_backend(struct history *history, size_t *cohort, size_t *index)
{
	struct cohort *cohorts = service_of(history)->cohorts;

	*cohort = random_cohort(history, 0);
	if (!cohorts[*cohort].backends_count)
		*cohort = 0;
	*index = below(history, cohorts[*cohort].backends_count);
	return &history->subject.real->backends[*cohort][*index];
}

static void change_share(struct history *history, struct change *change)
{
	size_t cohort = random_cohort(history, 1);
	uint32_t share = random_share(history, cohort);

	(void)change;
	lab_set_share(history->subject.real, cohort, share);
	tell(history, "  share of cohort %zu: %u ppm\n", cohort, share);
}

static void cut(struct history *history, struct change *change)
{
	size_t cohort = random_cohort(history, 1);
	uint32_t *share = &history->subject.real->shares[0][cohort];

	if (*share)
		*share = in_percent(history, 40) ? 0 : below(history, *share);
	change->epoch.cuts |= 1 << cohort;
	totals.cuts++;
	tell(history, "  cut of cohort %zu to %u ppm\n", cohort, *share);
}

static void change_salt(struct history *history, struct change *change)
{
	history->subject.real->salt64 = random_next(&history->random) | 1;
	change->epoch.rehashes = true;
	tell(history, "  another salt\n");
}

static void change_holdout(struct history *history, struct change *change)
{
	(void)change;
	service_of(history)->holdout_ppm = in_percent(history, 30) ? 0 : below(history, 500001);
	tell(history, "  holdout: %u ppm\n", service_of(history)->holdout_ppm);
}

static void change_key(struct history *history, struct change *change)
{
	struct service *service = service_of(history);

	change->epoch.rehashes = true;
	switch (below(history, 3)) {
	case 0:
		service->balance = service->balance == BALANCE_FLOW ? BALANCE_CLIENT : BALANCE_FLOW;
		break;
	case 1:
		if (history->has_pins) /* a pin is known by its client's address as masked now */
			break;
		service->prefix4 = service->prefix4 == 32 ? 24 : 32;
		service->prefix6 = service->prefix6 == 64 ? 48 : 64;
		break;
	default:
		if (service->client_key != CLIENT_KEY_QUIC)
			service->client_key = service->client_key == CLIENT_KEY_FLOW
						      ? CLIENT_KEY_SOURCE
						      : CLIENT_KEY_FLOW;
	}
	tell(history, "  key %d, balance %d, prefix4 %u\n", service->client_key, service->balance,
	     service->prefix4);
}

static void change_hash(struct history *history, struct change *change)
{
	change->epoch.rehashes |= random_hash(history);
	totals.hashes++;
}

static void add_pin(struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	int family = in_percent(history, 65) ? 4 : 6;
	char text[ADDRESS_TEXT_SIZE + 8];
	struct pin *pin;
	size_t cohort = random_cohort(history, 0);

	(void)change;
	client_address(below(history, CLIENTS), family, text);
	if (family == 6)
		snprintf(strchr(text, '\0') - 1, 8, "/64");
	else if (in_percent(history, 20))
		strcpy(text, "198.51.100.0/30");
	lab_add_pin(real, text, cohort, PIN_FOREVER);
	pin = &real->pins[real->pins_count - 1];
	pin->client = prefix_shorten(&pin->client, real->service.prefix4, real->service.prefix6);
	history->has_pins = true;
	tell(history, "  pin of %s to cohort %zu\n", text, cohort);
}

static void remove_pin(struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	size_t index;

	(void)change;
	if (!real->pins_count)
		return;
	index = below(history, real->pins_count);
	real->pins[index] = real->pins[--real->pins_count];
	tell(history, "  pin %zu removed\n", index);
}

static void grow(struct history *history, struct change *change)
{
	(void)change;
	add_backend(history, random_cohort(history, 0));
}

static void shrink(struct history *history, struct change *change)
{
	size_t cohort, index;
	struct lab_backend *backend = random_backend(history, &cohort, &index);

	(void)change;
	if (!cohort && service_of(history)->cohorts[0].backends_count == 1)
		return;
	tell(history, "  backend %u removed from cohort %zu\n", backend_id(backend), cohort);
	subject_remove_backend(&history->subject, cohort, index);
}

static void change_weight(struct history *history, struct change *change)
{
	size_t cohort, index;
	struct lab_backend *backend = random_backend(history, &cohort, &index);

	(void)change;
	backend->backend.weight = cohort && in_percent(history, 20) ? 0 : 1 + below(history, 300);
	tell(history, "  weight of backend %u: %u\n", backend_id(backend), backend->backend.weight);
}

/* As a promotion does. */
static void move_backend(struct history *history, struct change *change)
{
	size_t cohort, index, to = random_cohort(history, 0);
	struct lab_backend *backend = random_backend(history, &cohort, &index);
	unsigned int id = backend_id(backend);
	uint8_t health = backend->health;
	struct cohort *target = &service_of(history)->cohorts[to];

	(void)change;
	if (to == cohort || (!cohort && service_of(history)->cohorts[0].backends_count == 1))
		return;
	subject_remove_backend(&history->subject, cohort, index);
	subject_add_backend(&history->subject, to, id, 100);
	history->subject.real->backends[to][target->backends_count - 1].health = health;
	tell(history, "  backend %u moved from cohort %zu to %zu\n", id, cohort, to);
}

static void change_health(struct history *history, struct change *change)
{
	static const char *const names[] = {"up", "down", "draining"};
	size_t cohort, index;
	struct lab_backend *backend;
	int health;

	(void)change;
	do {
		backend = random_backend(history, &cohort, &index);
		health =
			backend->health || in_percent(history, 5) ? 0 : 1 + in_percent(history, 35);
		backend->health = health == 2 ? BACKEND_DRAINING : health ? BACKEND_DOWN : 0;
		tell(history, "  backend %u is %s\n", backend_id(backend), names[health]);
	} while (in_percent(history, 30));
}

static void change_cohorts(struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	size_t cohort, pin;

	(void)change;
	lab_set_cohorts(real, 2 + below(history, 3));
	for (cohort = 1; cohort < real->service.cohorts_count; cohort++)
		if (real->shares[0][cohort] > real->service.cohorts[cohort].slot_ppm)
			real->shares[0][cohort] = real->service.cohorts[cohort].slot_ppm;
	for (; cohort < COHORTS_MAX; cohort++)
		real->service.cohorts[cohort].backends_count = 0;
	for (pin = real->pins_count; pin--;)
		if (real->pins[pin].cohort >= real->service.cohorts_count)
			real->pins[pin] = real->pins[--real->pins_count];
	tell(history, "  %zu cohorts\n", real->service.cohorts_count);
}

static void change_nothing(struct history *history, struct change *change)
{
	(void)change;
	tell(history, "  published anew\n");
}

static const struct {
	void (*make)(struct history *history, struct change *change);
	unsigned int weight;
} kinds_of_change[] = {
	{change_share, 22},  {change_health, 28}, {cut, 8},	     {grow, 8},
	{shrink, 8},	     {add_pin, 6},	  {remove_pin, 4},   {change_salt, 3},
	{change_holdout, 4}, {change_weight, 4},  {move_backend, 4}, {change_key, 3},
	{change_cohorts, 1}, {change_nothing, 3}, {change_hash, 4},
};
#define KINDS (sizeof(kinds_of_change) / sizeof(*kinds_of_change))

static void make_change(struct history *history, struct change *change)
{
	unsigned int total = 0, i, at;

	for (i = 0; i < KINDS; i++)
		total += kinds_of_change[i].weight;
	at = below(history, total);
	for (i = 0; at >= kinds_of_change[i].weight; i++)
		at -= kinds_of_change[i].weight;
	kinds_of_change[i].make(history, change);
	change->in_place &= kinds_of_change[i].make == change_health;
}

static void kill_or_lift(struct world *world, struct history *history, struct change *change)
{
	struct epoch epoch = {0};

	if (history->model.is_killed) {
		if (!in_percent(history, 40))
			return;
		change->epoch.lifts_kill = true;
		change->in_place = false;
		tell(history, "  the kill is lifted\n");
		return;
	}
	if (!in_percent(history, 4))
		return;
	epoch.from = world_now(world, &history->subject);
	world_kill(world, &history->subject);
	epoch.to = world_now(world, &history->subject);
	history->model.is_killed = true;
	model_begin(&history->model, &epoch);
	note_decisions(world, history);
	tell(history, "%lld killed\n", (long long)epoch.from);
	totals.kills++;
	send_some(world, history);
}

/* What is asked for in this step; false: nothing. */
static bool ask_for_change(struct world *world, struct history *history, struct change *change)
{
	*change = (struct change){.subject = &history->subject,
				  .epoch.is_view = true,
				  .in_place = in_percent(history, 60)};
	kill_or_lift(world, history, change);
	if (!change->epoch.lifts_kill && in_percent(history, 10))
		return false;
	make_change(history, change);
	while (in_percent(history, 25))
		make_change(history, change);
	change->in_place &= world_can_change_in_place(world, &history->subject);
	totals.in_place += change->in_place;
	totals.views += !change->in_place;
	return true;
}

static bool shares_shift(struct history *history)
{
	const struct service *service = service_of(history);

	return is_split(service) && service->cohorts_count > 2;
}

static void take_change(struct world *world, struct history *history, const struct change *change)
{
	struct epoch epoch = change->epoch;

	if (epoch.lifts_kill)
		history->model.is_killed = false;
	epoch.shifts = shares_shift(history);
	subject_tell(&history->subject, &history->model);
	model_begin(&history->model, &epoch);
	note_decisions(world, history);
	tell(history, "%lld to %lld published%s\n", (long long)change->epoch.from,
	     (long long)change->epoch.to, change->in_place ? " in place" : "");
}

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
	random_service(history);
	for (i = below(history, 3); i; i--)
		add_pin(history, NULL);
	for (i = 0; i < FLOWS; i++)
		random_flow(history, i);
	subject_tell(&history->subject, &history->model);
}

static void history_show(struct world *world, struct history *history)
{
	const struct epoch first = {.from = INT64_MIN / 4,
				    .to = INT64_MIN / 4,
				    .is_view = true,
				    .shifts = shares_shift(history)};

	model_begin(&history->model, &first);
	note_decisions(world, history);
	history->planned = world_now(world, &history->subject);
	send_some(world, history);
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
			totals.paths[path] += after.paths[path] - before[i].paths[path];
		totals.evicted += after.evicted - before[i].evicted;
	}
}

/* @count histories from index @first on, each every step'th. */
static void run_histories(struct world *world, uint64_t seed, uint64_t first, size_t count)
{
	static struct history histories[SIDE_BY_SIDE];
	static struct affinity_counter before[SIDE_BY_SIDE];
	struct random random = {seed ^ first};
	struct change changes[SIDE_BY_SIDE];
	struct history *changing[SIDE_BY_SIDE];
	size_t i, changed;
	int step;

	for (i = 0; i < count; i++)
		history_begin(world, &histories[i], seed, first + i);
	world_show(world, &random);
	for (i = 0; i < count; i++) {
		before[i] = lab_affinity_counter(world->real, histories[i].subject.real);
		histories[i].evicted = before[i].evicted;
		history_show(world, &histories[i]);
	}
	for (step = 0; step < STEPS; step++) {
		changed = 0;
		for (i = 0; i < count; i++) {
			wait_some(world, &histories[i]);
			send_some(world, &histories[i]);
			if (ask_for_change(world, &histories[i], &changes[changed]))
				changing[changed++] = &histories[i];
		}
		world_publish(world, changes, changed);
		for (i = 0; i < changed; i++)
			take_change(world, changing[i], &changes[i]);
		for (i = 0; i < count; i++)
			send_some(world, &histories[i]);
	}
	add_totals(world, histories, count, before);
	for (i = 0; i < count; i++) {
		fclose(histories[i].trace);
		if (getenv("XDP_CANARY_HISTORY"))
			printf("%s", histories[i].told);
		free(histories[i].told);
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
	int path;

	printf("%llu packets, %llu views, %llu changes in place, %llu kills, %llu cuts, "
	       "%llu hashes, %llu evicted, %llu excused for it, %llu packets without room;",
	       (unsigned long long)totals.packets, (unsigned long long)totals.views,
	       (unsigned long long)totals.in_place, (unsigned long long)totals.kills,
	       (unsigned long long)totals.cuts, (unsigned long long)totals.hashes,
	       (unsigned long long)totals.evicted, (unsigned long long)totals.excused,
	       (unsigned long long)totals.starved);
	for (path = 1; path < PATHS; path++)
		printf(" %s %llu", names[path], (unsigned long long)totals.paths[path]);
	printf("\n");
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
	world_close(&roomy);
	world_close(&starved);
	print_totals();
	for (path = 1; alone == ~0ULL && path < PATHS; path++)
		assert_true(totals.paths[path]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(promise_6_no_live_flow_leaves_a_live_backend_before_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
