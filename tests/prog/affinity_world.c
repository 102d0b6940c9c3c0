// SPDX-License-Identifier: GPL-2.0-only
/* Two boxes with the same services, of which one has eras. */
#include "affinity_world.h"

#include "util/text.h"

#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINES_FEW                                                                                  \
	8 /* of the transition table: what a service is given where there is next to none */

/* ---- the boxes ---- */

struct world world_open(uint32_t transition_flows)
{
	struct limits limits = {.services = WORLD_SERVICES,
				.vips = 1024,
				.backends = 8192,
				.transition_flows = transition_flows};

	return (struct world){.real = lab_open(lab_secret, limits),
			      .twin = lab_open(lab_secret, limits)};
}

void world_close(struct world *world)
{
	lab_close(world->real);
	lab_close(world->twin);
}

void world_reset(struct world *world)
{
	memset(world->is_left, 0, sizeof(world->is_left));
	lab_reset(world->real);
	lab_reset(world->twin);
	lab_publish(world->real);
	lab_publish(world->twin);
}

void vip_of_place(unsigned int place, int family, char out[ADDRESS_TEXT_SIZE])
{
	snprintf(out, ADDRESS_TEXT_SIZE, family == 4 ? "192.0.2.%u" : "2001:db8::%x", place + 1);
}

static struct lab_service *add_service(struct lab *lab, const char *name, unsigned int place)
{
	static const char *const formats[] = {"%s:80/tcp", "%s:53/udp", "[%s]:80/tcp",
					      "[%s]:53/udp"};
	struct lab_service *service = lab_add_service(lab, name, STEER_L2);
	char address[ADDRESS_TEXT_SIZE], vip[ADDRESS_TEXT_SIZE + 16];
	size_t i;

	for (i = 0; i < 4; i++) {
		vip_of_place(place, i < 2 ? 4 : 6, address);
		snprintf(vip, sizeof(vip), formats[i], address);
		lab_add_vip(service, vip);
	}
	return service;
}

void world_add(struct world *world, struct subject *subject, const char *name, unsigned int place)
{
	*subject = (struct subject){
		.real = add_service(world->real, name, place),
		.twin = add_service(world->twin, name, place),
	};
	subject->real->has_eras = true;
}

/* ---- time ---- */

/* Any packet tells it. */
static uint64_t jiffies_now(const struct world *world)
{
	const struct packet_plan anything = packet_udp("203.0.113.1", 1, "203.0.113.2", 1);

	return lab_explain(world->twin, &anything).jiffies;
}

int64_t world_now(const struct world *world, const struct subject *subject)
{
	return jiffies_now(world) + subject->waited;
}

static struct view *shown_view(const struct world *world, const struct subject *subject)
{
	return (struct view *)datapath_view(world->real->datapath, subject->real->slot);
}

static void bring_nearer(__u64 *end, int64_t jiffies)
{
	if (*end > (__u64)jiffies)
		*end -= jiffies;
}

void world_wait(struct world *world, struct subject *subject, int64_t jiffies)
{
	struct view *view = shown_view(world, subject);

	bring_nearer(&view->era_ends, jiffies);
	bring_nearer(&view->udp_ends, jiffies);
	bring_nearer(&view->pins_end, jiffies);
	if (view->expiry != LEASE_NONE)
		view->expiry -= jiffies;
	subject->waited += jiffies;
}

/* ---- backends ---- */

unsigned int backend_id(const struct lab_backend *backend)
{
	return load16(backend->hop.mac + 4);
}

static unsigned int id_of_address(const struct address *address)
{
	return address->bytes[3] - 1;
}

void subject_add_backend(struct subject *subject, size_t cohort, unsigned int id, uint16_t weight)
{
	struct lab_backend *added;
	char address[32];

	snprintf(address, sizeof(address), "10.0.0.%u", id + 1);
	added = lab_add_backend(subject->real, cohort, address, weight, LAB_INGRESS);
	lab_mac(0, id, added->hop.mac);
	added->backend.has_server_id = true;
	added->backend.server_id_length = 2;
	added->backend.server_id = 0xa500 + id;
}

void subject_remove_backend(struct subject *subject, size_t cohort, size_t index)
{
	struct lab_backend *backends = subject->real->backends[cohort];
	size_t count = --subject->real->service.cohorts[cohort].backends_count;

	memmove(backends + index, backends + index + 1, (count - index) * sizeof(*backends));
}

void subject_tell(const struct subject *subject, struct model *model)
{
	const struct service *service = &subject->real->service;
	size_t cohort, i;

	for (i = 0; i < MODEL_BACKENDS; i++) {
		struct model_backend *backend = &model->backends[i];

		backend->in_file = false;
		if (backend->cohort >= (int)service->cohorts_count)
			backend->cohort = COHORT_LEFT;
	}
	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		for (i = 0; i < service->cohorts[cohort].backends_count; i++) {
			const struct lab_backend *from = &subject->real->backends[cohort][i];
			struct model_backend *to = &model->backends[backend_id(from)];

			to->is_used = to->in_file = true;
			to->cohort = cohort;
			to->health = from->health;
		}
}

/* ---- clients ---- */

void world_add_member(struct world *world, uint8_t segment, const struct prefix *client)
{
	lab_add_member(world->real, segment, client);
	lab_add_member(world->twin, segment, client);
}

void world_remove_member(struct world *world, uint8_t segment, const struct prefix *client)
{
	lab_remove_member(world->real, segment, client);
	lab_remove_member(world->twin, segment, client);
}

void world_set_group(struct world *world, uint8_t column, const struct prefix *client, uint8_t text)
{
	lab_set_group(world->real, column, client, text);
	lab_set_group(world->twin, column, client, text);
}

/* ---- publishing ---- */

static void *copy_of(void *old, const void *from, size_t size)
{
	void *copy = realloc(old, size + 1);

	assert_non_null(copy);
	if (size)
		memcpy(copy, from, size);
	return copy;
}

/* The twin is to decide alike. */
static void mirror(struct subject *subject)
{
	struct lab_service *to = subject->twin;
	const struct lab_service *from = subject->real;
	struct vip *vips = to->service.vips;
	char *salt = to->service.salt;
	size_t i;

	to->service = from->service;
	to->service.vips = vips;
	to->service.salt = salt;
	memcpy(to->shares, from->shares, sizeof(to->shares));
	memcpy(to->rule_names, from->rule_names, sizeof(to->rule_names));
	memcpy(to->rule_segments, from->rule_segments, sizeof(to->rule_segments));
	to->group_column = from->group_column;
	for (i = 0; i < COHORTS_MAX; i++)
		to->backends[i] =
			copy_of(to->backends[i], from->backends[i],
				from->service.cohorts[i].backends_count * sizeof(**from->backends));
	to->pins = copy_of(to->pins, from->pins, from->pins_count * sizeof(*from->pins));
	to->pins_count = from->pins_count;
	to->salt64 = from->salt64;
	to->rollout_cohort = from->rollout_cohort;
	to->latched = from->latched;
	to->is_lease_latch = from->is_lease_latch;
	to->lease_ms = from->lease_ms;
}

static void require(struct lab *lab, int error)
{
	if (error)
		errors_print(lab->errors, stderr);
	assert_int_equal(error, 0);
}

static struct transition_plan plan_at(const struct lab_service *service, uint64_t now,
				      const struct change *change)
{
	const struct epoch *epoch = &change->epoch;
	struct transition_plan plan = service->plan;
	size_t rule;

	plan.now = now;
	plan.hz = jiffies_hz();
	plan.monotonic_ns = monotonic_now_ns();
	for (rule = 0; rule < service->service.rules_count; rule++)
		plan.cuts[rule] = epoch->cuts[service->rule_names[rule]];
	plan.cut_all = epoch->lifts_kill;
	plan.cut_pins = epoch->cut_pins;
	plan.new_lease = change->new_lease;
	if (epoch->takes)
		cut_cohort(&plan, epoch->takes);
	return plan;
}

static void stage(struct lab *lab, struct publication *publication, const struct lab_table *table,
		  struct lab_service *service, const struct change *change)
{
	struct transition_plan plan = plan_at(service, publication_now(publication), change);
	struct client_classes classes = lab_table_classes(lab, table, service);
	struct lab_image image;

	lab_compile(service, &image);
	require(lab, publication_stage(publication, service->slot, service->service.name,
				       &image.image, service->epoch++, image.hops,
				       service->has_eras ? &plan : NULL, &classes, lab->errors));
	lab_image_release(&image);
}

/* What is published of a service: the change that it is asked for, or nothing of its own. */
static const struct change *change_of(const struct lab *lab, uint32_t slot,
				      const struct change *changes, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (changes[i].subject->real->slot == slot)
			return lab->services[slot]->has_eras && changes[i].in_place ? NULL
										    : &changes[i];
	return NULL;
}

/*
 * All views of the changes but, in the real box, those in place; and where there is a new table,
 * those of all other services. As if a writer had died between the stores, some may stay with the
 * old one: a later writer finishes that.
 */
static void publish_views(struct world *world, struct lab *lab, const struct change *changes,
			  size_t count)
{
	static const struct change none;
	struct publication *publication;
	struct lab_table table;
	uint32_t slot;
	bool dies = lab == world->real && random_below(&world->random, 4) == 0;

	require(lab, publication_begin(lab->datapath, &publication, lab->errors));
	publication_expect(publication, count);
	lab_table_begin(lab, &table);
	dies &= (table.in_use & (table.in_use - 1)) == 0;
	for (slot = 0; slot < lab->services_count; slot++) {
		const struct change *change = change_of(lab, slot, changes, count);
		bool is_shown = lab_table_is_shown(&table, datapath_view(lab->datapath, slot));
		bool stays = !change && (is_shown || (dies && random_below(&world->random, 2)));

		if (!stays)
			stage(lab, publication, &table, lab->services[slot],
			      change ? change : &none);
		if (lab == world->twin)
			continue;
		world->is_finished[slot] = !stays && world->is_left[slot];
		world->is_left[slot] = stays && !is_shown;
		world->moved_tables += !stays && !change;
	}
	require(lab, publication_show(publication, lab->errors));
	lab_table_end(&table);
	publication_end(publication);
}

static void lift_kills(struct lab *lab, const struct change *changes, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		uint32_t slot = changes[i].subject->real->slot;

		if (changes[i].epoch.lifts_kill)
			service_lift_kill(lab->datapath, slot, service_kills(lab->datapath, slot));
	}
}

/* Without eras there is no plan to say so: what has no lease gets a new one. */
static void forget_leases(struct lab *twin, const struct change *changes, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (changes[i].new_lease)
			((struct view *)datapath_view(twin->datapath,
						      changes[i].subject->twin->slot))
				->expiry = LEASE_NONE;
}

void world_publish(struct world *world, struct change *changes, size_t count)
{
	int64_t from = jiffies_now(world), to;
	size_t i;

	for (i = 0; i < count; i++) {
		mirror(changes[i].subject);
		if (changes[i].in_place)
			lab_publish_health(world->real, changes[i].subject->real);
	}
	publish_views(world, world->real, changes, count);
	lift_kills(world->real, changes, count);
	to = jiffies_now(world);
	forget_leases(world->twin, changes, count);
	publish_views(world, world->twin, changes, count);
	lift_kills(world->twin, changes, count);
	for (i = 0; i < count; i++) {
		changes[i].epoch.from = from + changes[i].subject->waited;
		changes[i].epoch.to = to + changes[i].subject->waited;
	}
}

void world_show(struct world *world)
{
	size_t i;

	for (i = 0; i < world->real->services_count; i++) {
		struct subject subject = {.real = world->real->services[i],
					  .twin = world->twin->services[i]};

		mirror(&subject);
	}
	lab_publish(world->real);
	lab_publish(world->twin);
	for (i = 0; i < world->real->services_count; i++) {
		struct subject subject = {.real = world->real->services[i]};

		shown_view(world, &subject)->era = 1 + random_below(&world->random, 255);
	}
}

void world_kill(struct world *world, struct subject *subject)
{
	service_kill(world->real->datapath, subject->real->slot);
	service_kill(world->twin->datapath, subject->twin->slot);
}

static void end_lease(struct lab *lab, uint32_t slot, uint64_t now)
{
	struct view *view = (struct view *)datapath_view(lab->datapath, slot);

	if (view->expiry != LEASE_NONE)
		__atomic_store_n(&view->expiry, now, __ATOMIC_SEQ_CST);
}

void world_end_lease(struct world *world, struct subject *subject)
{
	uint64_t now = jiffies_now(world);

	end_lease(world->real, subject->real->slot, now);
	end_lease(world->twin, subject->twin->slot, now);
}

/* ---- packets ---- */

struct decision world_decide(const struct world *world, const struct subject *subject,
			     const struct frame *frame, int64_t *now, uint8_t *rule)
{
	struct explanation told;
	struct run run;
	struct decision decision = {.backend = NOWHERE};

	world->twin->aside = true;
	lab_run(world->twin, frame, &run);
	world->twin->aside = false;
	assert_true(run.out.size >= sizeof(told));
	memcpy(&told, run.out.bytes, sizeof(told));
	assert_true(told.has_service);
	if (now)
		*now = told.jiffies + subject->waited;
	if (told.has_backend)
		decision.backend = id_of_address(&subject->twin->numbered[told.backend]);
	decision.cohort = told.chosen_cohort;
	decision.token = told.token;
	*rule = told.rule;
	decision.reason = told.decision;
	if (told.rule != RULE_NONE)
		decision.reason = REASON_RULE; /* whichever it was */
	else if (told.decision == REASON_COHORT_DOWN)
		decision.reason = REASON_OVERRIDE; /* of those without a rule the only one */
	return decision;
}

int world_send(const struct world *world, const struct frame *frame)
{
	struct run run;

	lab_run(world->real, frame, &run);
	return lab_backend_of(&run);
}

const char *world_path(const struct world *world, const struct frame *frame)
{
#define X(symbol, name, text) name,
	static const char *const names[] = {FOR_EACH_PATH(X)};
#undef X
	struct explanation told;
	struct run run;

	world->real->aside = true;
	lab_run(world->real, frame, &run);
	world->real->aside = false;
	memcpy(&told, run.out.bytes, sizeof(told));
	return names[told.path % PATHS];
}

bool world_can_change_in_place(const struct world *world, const struct subject *subject)
{
	const struct view *view = shown_view(world, subject);

	return era_is_open(view, jiffies_now(world) + 2 * jiffies_hz());
}

bool world_has_room(const struct world *world, const struct subject *subject)
{
	const struct view *view = shown_view(world, subject);
	bool may_drain = view->expiry != LEASE_NONE && !(view->rollout & ROLLOUT_CUT);

	return (!(view->flags & VIEW_TRANSITION) && !may_drain) ||
	       view->transition_lines > LINES_FEW;
}
