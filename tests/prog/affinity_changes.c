// SPDX-License-Identifier: GPL-2.0-only
/* What a history changes in a step. */
#include "affinity_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct lab_backend *random_backend(struct history *history, size_t *cohort, size_t *index)
{
	struct cohort *cohorts = service_of(history)->cohorts;

	*cohort = random_cohort(history, 0);
	if (!cohorts[*cohort].backends_count)
		*cohort = 0;
	*index = below(history, cohorts[*cohort].backends_count);
	return &history->subject.real->backends[*cohort][*index];
}

static void change_share(struct world *world, struct history *history, struct change *change)
{
	size_t cohort = random_cohort(history, 1), rule = random_rule(history, 0);
	uint32_t share = history_random_share(history, cohort);

	(void)world;
	(void)change;
	history->subject.real->shares[rule][cohort] = share;
	tell(history, "  share of cohort %zu: %u ppm, by rule %u\n", cohort, share,
	     history->subject.real->rule_names[rule]);
}

static void cut(struct world *world, struct history *history, struct change *change)
{
	size_t cohort = random_cohort(history, 1), rule = random_rule(history, 0);
	uint8_t name = history->subject.real->rule_names[rule];
	uint32_t *share = &history->subject.real->shares[rule][cohort];

	(void)world;
	if (*share)
		*share = in_percent(history, 40) ? 0 : below(history, *share);
	change->epoch.cuts[name] |= 1 << cohort;
	run_totals.cuts++;
	tell(history, "  cut of cohort %zu to %u ppm, by rule %u\n", cohort, *share, name);
}

static void change_salt(struct world *world, struct history *history, struct change *change)
{
	(void)world;
	history->subject.real->salt64 = random_next(&history->random) | 1;
	change->epoch.rehashes = true;
	tell(history, "  another salt\n");
}

static void change_holdout(struct world *world, struct history *history, struct change *change)
{
	(void)world;
	(void)change;
	service_of(history)->holdout_ppm = in_percent(history, 30) ? 0 : below(history, 500001);
	tell(history, "  holdout: %u ppm\n", service_of(history)->holdout_ppm);
}

static void change_key(struct world *world, struct history *history, struct change *change)
{
	struct service *service = service_of(history);

	(void)world;
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

void add_pin(struct world *world, struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	int family = in_percent(history, 65) ? 4 : 6;
	char text[ADDRESS_TEXT_SIZE + 8];
	struct pin *pin;
	size_t cohort = random_cohort(history, 0);

	(void)world;
	(void)change;
	history_client(history, below(history, CLIENTS), family, text);
	if (family == 6)
		snprintf(strchr(text, '\0') - 1, 8, "/64");
	else if (in_percent(history, 20))
		snprintf(text, sizeof(text), "198.18.%u.0/30", place_of(history) + 1);
	lab_add_pin(real, text, cohort, PIN_FOREVER);
	pin = &real->pins[real->pins_count - 1];
	pin->client = prefix_shorten(&pin->client, real->service.prefix4, real->service.prefix6);
	history->has_pins = true;
	tell(history, "  pin of %s to cohort %zu\n", text, cohort);
}

static void remove_pin(struct world *world, struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	size_t index;

	(void)world;
	(void)change;
	if (!real->pins_count)
		return;
	index = below(history, real->pins_count);
	real->pins[index] = real->pins[--real->pins_count];
	tell(history, "  pin %zu removed\n", index);
}

static void grow(struct world *world, struct history *history, struct change *change)
{
	(void)world;
	(void)change;
	history_add_backend(history, random_cohort(history, 0));
}

static void shrink(struct world *world, struct history *history, struct change *change)
{
	size_t cohort, index;
	struct lab_backend *backend = random_backend(history, &cohort, &index);

	(void)world;
	(void)change;
	if (!cohort && service_of(history)->cohorts[0].backends_count == 1)
		return;
	tell(history, "  backend %u removed from cohort %zu\n", backend_id(backend), cohort);
	subject_remove_backend(&history->subject, cohort, index);
}

static void change_weight(struct world *world, struct history *history, struct change *change)
{
	size_t cohort, index;
	struct lab_backend *backend = random_backend(history, &cohort, &index);

	(void)world;
	(void)change;
	backend->backend.weight = cohort && in_percent(history, 20) ? 0 : 1 + below(history, 300);
	tell(history, "  weight of backend %u: %u\n", backend_id(backend), backend->backend.weight);
}

/* As a promotion does. */
static void move_backend(struct world *world, struct history *history, struct change *change)
{
	size_t cohort, index, to = random_cohort(history, 0);
	struct lab_backend *backend = random_backend(history, &cohort, &index);
	unsigned int id = backend_id(backend);
	uint8_t health = backend->health;
	struct cohort *target = &service_of(history)->cohorts[to];

	(void)world;
	(void)change;
	if (to == cohort || (!cohort && service_of(history)->cohorts[0].backends_count == 1))
		return;
	subject_remove_backend(&history->subject, cohort, index);
	subject_add_backend(&history->subject, to, id, 100);
	history->subject.real->backends[to][target->backends_count - 1].health = health;
	tell(history, "  backend %u moved from cohort %zu to %zu\n", id, cohort, to);
}

static void change_health(struct world *world, struct history *history, struct change *change)
{
	static const char *const names[] = {"up", "down", "draining"};
	size_t cohort, index;
	struct lab_backend *backend;
	int health;

	(void)world;
	(void)change;
	do {
		backend = random_backend(history, &cohort, &index);
		health =
			backend->health || in_percent(history, 5) ? 0 : 1 + in_percent(history, 35);
		backend->health = health == 2 ? BACKEND_DRAINING : health ? BACKEND_DOWN : 0;
		tell(history, "  backend %u is %s\n", backend_id(backend), names[health]);
	} while (in_percent(history, 30));
}

static void change_cohorts(struct world *world, struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	size_t cohort, rule, pin;

	(void)world;
	(void)change;
	if (real->rollout_cohort || real->latched)
		return;
	lab_set_cohorts(real, 2 + below(history, 3));
	for (rule = 0; rule < real->service.rules_count; rule++)
		for (cohort = 1; cohort < real->service.cohorts_count; cohort++)
			if (real->shares[rule][cohort] > real->service.cohorts[cohort].slot_ppm)
				real->shares[rule][cohort] = real->service.cohorts[cohort].slot_ppm;
	for (cohort = real->service.cohorts_count; cohort < COHORTS_MAX; cohort++)
		real->service.cohorts[cohort].backends_count = 0;
	for (pin = real->pins_count; pin--;)
		if (real->pins[pin].cohort >= real->service.cohorts_count)
			real->pins[pin] = real->pins[--real->pins_count];
	tell(history, "  %zu cohorts\n", real->service.cohorts_count);
}

/* ---- the rollout of a canary: its lease, and latches ---- */

#define LEASE_MS (1000ULL * 3600 * 24 * 30) /* no wait of a history is as long */

static bool is_by_cut(const struct history *history)
{
	return history->subject.real->service.affinity.on_rollback == ON_ROLLBACK_CUT;
}

static uint8_t latched_of(const struct lab_service *service)
{
	return service->latched ? __builtin_ctz(service->latched) : 0;
}

/* By the clock, with nobody there. */
static void end_lease(struct world *world, struct history *history)
{
	struct lab_service *real = history->subject.real;
	struct epoch epoch = {.is_lease = true, .shifts = shares_shift(history)};

	epoch.from = world_now(world, &history->subject);
	world_end_lease(world, &history->subject);
	epoch.to = world_now(world, &history->subject);
	if (is_by_cut(history))
		epoch.takes = real->rollout_cohort;
	else
		epoch.takes_blindly = !world_has_room(world, &history->subject);
	history->model.leased = real->rollout_cohort;
	model_begin(&history->model, &epoch);
	history_note_decisions(world, history);
	tell(history, "%lld the lease of cohort %u ends\n", (long long)epoch.from,
	     real->rollout_cohort);
	run_totals.leases_ended++;
	history_send_some(world, history);
}

/* What the writer of this step makes of a lease that has ended, or somebody asks for. */
static void latch(struct history *history, struct change *change, bool is_lease)
{
	struct lab_service *real = history->subject.real;

	real->latched = 1 << real->rollout_cohort;
	real->is_lease_latch = is_lease;
	change->in_place = false;
	if (is_by_cut(history) && !is_lease) /* which has taken them */
		change->epoch.takes = real->rollout_cohort;
	tell(history, "  cohort %u is latched\n", real->rollout_cohort);
	real->rollout_cohort = real->lease_ms = 0;
	run_totals.latches++;
}

static void lift_latch(struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;

	/* Pins come back with it, and what was taken of them does not; nor what a lease's end took.
	 */
	if (is_by_cut(history) && real->is_lease_latch)
		change->epoch.takes = latched_of(real);
	else if (is_by_cut(history))
		change->epoch.cut_pins = real->latched;
	change->in_place = false;
	real->latched = 0;
	tell(history, "  the latch is lifted\n");
	run_totals.latches_lifted++;
}

/* Nobody recorded the end of the lease before somebody had the canary back. */
static void retry(struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;

	if (is_by_cut(history))
		change->epoch.takes = real->rollout_cohort;
	change->new_lease = true;
	change->in_place = false;
	tell(history, "  cohort %u has another lease\n", real->rollout_cohort);
	run_totals.retries++;
}

static void begin_lease(struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;

	real->rollout_cohort = random_cohort(history, 1);
	real->lease_ms = LEASE_MS;
	change->in_place = false;
	tell(history, "  cohort %u has a lease\n", real->rollout_cohort);
}

/* A canary without a lease may get one, with one may lose it, and so on. */
static void change_rollout(struct world *world, struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;

	if (real->latched) {
		if (in_percent(history, 30))
			lift_latch(history, change);
		if (!real->latched && in_percent(history, 40))
			begin_lease(history, change);
	} else if (!real->rollout_cohort) {
		if (in_percent(history, 25))
			begin_lease(history, change);
	} else if (in_percent(history, 10)) {
		latch(history, change, false);
	} else if (in_percent(history, 8)) {
		tell(history, "  its lease is taken back\n");
		real->rollout_cohort = real->lease_ms = 0;
		change->in_place = false;
	} else if (in_percent(history, 35)) {
		end_lease(world, history);
	}
}

static void change_hash(struct world *world, struct history *history, struct change *change)
{
	(void)world;
	change->epoch.rehashes |= history_random_hash(history);
	run_totals.hashes++;
}

static void change_nothing(struct world *world, struct history *history, struct change *change)
{
	(void)world;
	(void)change;
	tell(history, "  published anew\n");
}
/* ---- a step ---- */

static const struct {
	void (*make)(struct world *world, struct history *history, struct change *change);
	unsigned int weight;
} kinds_of_change[] = {
	{change_share, 22},  {change_health, 28},  {cut, 8},
	{grow, 8},	     {shrink, 8},	   {add_pin, 6},
	{remove_pin, 4},     {change_salt, 3},	   {change_holdout, 4},
	{change_weight, 4},  {move_backend, 4},	   {change_key, 3},
	{change_cohorts, 1}, {change_nothing, 3},  {change_hash, 4},
	{add_rule, 7},	     {remove_rule, 6},	   {move_rule, 5},
	{change_rule, 5},    {add_member, 10},	   {remove_member, 8},
	{change_group, 5},   {change_group_by, 2},
};
#define KINDS (sizeof(kinds_of_change) / sizeof(*kinds_of_change))

static void make_change(struct world *world, struct history *history, struct change *change)
{
	unsigned int total = 0, i, at;

	for (i = 0; i < KINDS; i++)
		total += kinds_of_change[i].weight;
	at = below(history, total);
	for (i = 0; at >= kinds_of_change[i].weight; i++)
		at -= kinds_of_change[i].weight;
	kinds_of_change[i].make(world, history, change);
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
	history_note_decisions(world, history);
	tell(history, "%lld killed\n", (long long)epoch.from);
	run_totals.kills++;
	history_send_some(world, history);
}

/* Of rules that the same step removes. */
static void forget_cuts(struct history *history, struct change *change)
{
	uint8_t name;

	for (name = 1; name < MODEL_RULES; name++)
		if (!has_rule(history->subject.real, name))
			change->epoch.cuts[name] = 0;
}

/* What is asked for in this step; false: nothing. */
bool history_ask_for_change(struct world *world, struct history *history, struct change *change)
{
	history->touched_segments = history->touched_columns = 0;
	*change = (struct change){.subject = &history->subject,
				  .epoch.is_view = true,
				  .in_place = in_percent(history, 60)};
	kill_or_lift(world, history, change);
	if (!history->model.leased)
		change_rollout(world, history, change);
	if (!change->epoch.lifts_kill && change->in_place && in_percent(history, 10))
		return false;
	if (history->model.leased) {
		/* No writer comes, or one of another service that it overtook. */
		if (!change->epoch.lifts_kill && in_percent(history, 40))
			return false;
		if (in_percent(history, 25))
			retry(history, change);
		else
			latch(history, change, true);
	}
	make_change(world, history, change);
	while (in_percent(history, 25))
		make_change(world, history, change);
	forget_cuts(history, change);
	change->in_place &= world_can_change_in_place(world, &history->subject);
	run_totals.in_place += change->in_place;
	run_totals.views += !change->in_place;
	return true;
}

void history_take_change(struct world *world, struct history *history, const struct change *change)
{
	struct epoch epoch = change->epoch;

	epoch.shifts = shares_shift(history);
	if (history->subject.real->latched && !is_by_cut(history))
		epoch.takes_blindly = !world_has_room(world, &history->subject);
	if (change->epoch.lifts_kill)
		history->model.is_killed = false;
	history->model.leased = 0;
	history->model.latched = latched_of(history->subject.real);
	subject_tell(&history->subject, &history->model);
	model_begin(&history->model, &epoch);
	history_note_decisions(world, history);
	tell(history, "%lld to %lld published%s\n", (long long)change->epoch.from,
	     (long long)change->epoch.to, change->in_place ? " in place" : "");
}
