// SPDX-License-Identifier: GPL-2.0-only
/*
 * Room in the maps: which parts are free follows from the current views. What is written never lies
 * over what a packet may see, what is no longer seen is used again, and what does not fit changes
 * nothing.
 */
#include "lab.h"
#include "tests/random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SERVICES 6
#define BACKENDS 512
#define ROUNDS	 120

static int setup_group(void **state)
{
	lab_require_bpf();
	*state = lab_open(lab_secret,
			  (struct limits){.services = SERVICES, .vips = 64, .backends = BACKENDS});
	return 0;
}

static struct lab_service *add_numbered(struct lab *lab, unsigned int number)
{
	char text[48];
	struct lab_service *service;

	snprintf(text, sizeof(text), "service-%u", number);
	service = lab_add_service(lab, text, STEER_L2);
	snprintf(text, sizeof(text), "192.0.2.%u:80/tcp", number);
	lab_add_vip(service, text);
	return service;
}

static void set_backends(struct lab_service *service, unsigned int number, size_t cohort,
			 size_t count)
{
	char address[32];
	size_t i;

	free(service->backends[cohort]);
	service->backends[cohort] = NULL;
	service->service.cohorts[cohort].backends_count = 0;
	for (i = 0; i < count; i++) {
		struct lab_backend *backend;

		snprintf(address, sizeof(address), "10.%u.%zu.%zu", number, 64 * cohort + i / 256,
			 i % 256);
		backend = lab_add_backend(service, cohort, address, 1 + i % 100, LAB_INGRESS);
		backend->hop.mac[3] = number;
	}
}

static void set_pins(struct lab_service *service, size_t count)
{
	size_t i;

	free(service->pins);
	service->pins = calloc(count + 1, sizeof(*service->pins));
	assert_non_null(service->pins);
	service->pins_count = count;
	for (i = 0; i < count; i++) /* every other address: none is merged with its neighbour */
		service->pins[i] = (struct pin){
			.client = {{4, {10, i >> 15, i >> 7, i << 1}}, 32},
			.cohort = i % 2,
			.expires = PIN_FOREVER,
		};
}

/* ---- regions ---- */

enum { RINGS, LINES, RANGES, KINDS };

struct place {
	uint32_t first[KINDS], end[KINDS];
	bool used;
};

static struct place place_of(const struct lab *lab, uint32_t slot)
{
	const struct view *view = datapath_view(lab->datapath, slot);

	if (!view)
		return (struct place){.used = false};
	return (struct place){
		.first = {view->rings[0], view->backends, view->pins},
		.end = {view->rings[COHORTS_MAX], view->backends + view->backends_count,
			view->pins + view->pins_count},
		.used = true,
	};
}

static bool are_apart(const struct place *a, const struct place *b, int kind)
{
	return !a->used || !b->used || a->first[kind] == a->end[kind] ||
	       b->first[kind] == b->end[kind] || a->end[kind] <= b->first[kind] ||
	       b->end[kind] <= a->first[kind];
}

static void assert_apart(const struct place *a, const struct place *b, bool may_stay)
{
	int kind;

	for (kind = 0; kind < KINDS; kind++)
		assert_true(are_apart(a, b, kind) ||
			    (may_stay && a->first[kind] == b->first[kind] &&
			     a->end[kind] == b->end[kind]));
}

/*
 * Of what is seen now, and of the new with what packets could see while it was written: what did
 * not change may stay where it is.
 */
static void assert_places(const struct lab *lab, const struct place *before, const bool *changed)
{
	const uint32_t sizes[KINDS] = {
		lab->datapath->maps[MAP_RING_SLOTS].entries * RING_LINE_SLOTS,
		lab->datapath->maps[MAP_BACKENDS].entries, lab->datapath->maps[MAP_PINS].entries};
	struct place places[SERVICES];
	int i, j, kind;

	for (i = 0; i < SERVICES; i++) {
		places[i] = place_of(lab, i);
		for (kind = 0; kind < KINDS; kind++)
			assert_true(places[i].first[kind] <= places[i].end[kind] &&
				    places[i].end[kind] <= sizes[kind]);
		for (j = 0; j < i; j++)
			assert_apart(&places[i], &places[j], false);
		for (j = 0; j < SERVICES && changed[i]; j++)
			assert_apart(&places[i], &before[j], i == j);
	}
}

static void check(struct lab *lab, int error)
{
	if (error)
		errors_print(lab->errors, stderr);
	assert_int_equal(error, 0);
}

static int stage(struct lab *lab, struct publication *publication, struct lab_service *service)
{
	struct lab_image image;
	int error;

	lab_compile(service, &image);
	error = publication_stage(publication, service->slot, service->service.name, &image.image,
				  service->epoch, image.hops, NULL, NULL, lab->errors);
	lab_image_release(&image);
	return error;
}

/* Each service's clients are sent to its own backends, in the right cohort, pinned ones too. */
static void assert_served(struct lab *lab, struct random *random)
{
	unsigned int number, i;

	for (number = 0; number < SERVICES; number++)
		for (i = 0; i < 30; i++) {
			struct lab_service *service = lab->services[number];
			struct packet_plan plan = packet_tcp("198.51.100.7", i, "192.0.2.1", 80);
			uint32_t pin =
				service->pins_count ? random_below(random, service->pins_count) : 0;
			int cohort = 0;
			struct run run;

			plan.destination.bytes[3] = number;
			if (service->pins_count && i % 2) {
				plan.source = service->pins[pin].client.address;
				cohort = service->service.cohorts[1].backends_count
						 ? service->pins[pin].cohort
						 : 0;
			}
			lab_run_plan(lab, &plan, &run);
			assert_int_equal(lab_cohort_of(&run), cohort);
			assert_int_equal(run.out.bytes[3], number);
			assert_true(lab_backend_of(&run) <
				    (int)service->service.cohorts[cohort].backends_count);
		}
}

/* Any number of services at once, each of any size that keeps the whole within the limits. */
static void change_some(struct lab *lab, struct random *random, bool *changed)
{
	struct publication *publication;
	int i;

	check(lab, publication_begin(lab->datapath, &publication, lab->errors));
	for (i = 0; i < SERVICES; i++) {
		changed[i] = random_below(random, 2);
		if (!changed[i])
			continue;
		set_backends(lab->services[i], i, 0, 1 + random_below(random, 30));
		set_backends(lab->services[i], i, 1, random_below(random, 4));
		set_pins(lab->services[i],
			 random_below(random, 3) ? random_below(random, 2000) : 0);
		lab->services[i]->epoch++;
		check(lab, stage(lab, publication, lab->services[i]));
	}
	check(lab, publication_show(publication, lab->errors));
	publication_end(publication);
}

static void room_is_used_again_and_never_twice(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct place before[SERVICES];
	bool changed[SERVICES];
	int round, i;

	for (i = 0; i < SERVICES; i++)
		set_backends(add_numbered(lab, i), i, 0, 1);
	lab_publish(lab);
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < SERVICES; i++)
			before[i] = place_of(lab, i);
		change_some(lab, &random, changed);
		assert_places(lab, before, changed);
		assert_served(lab, &random);
	}
}

/* A box at its limit can still be changed, service by service: there is room for a second view of
 * any. */
static void a_full_box_can_be_changed_service_by_service(void **state)
{
	const struct limits limits = {
		.services = SERVICES, .vips = SERVICES, .backends = 16 * SERVICES};
	struct random random = random_seeded(__func__);
	struct lab *lab = lab_open(lab_secret, limits);
	struct place before[SERVICES];
	bool changed[SERVICES];
	int round, i;

	(void)state;
	for (i = 0; i < SERVICES; i++) {
		set_backends(add_numbered(lab, i), i, 0, 15);
		set_backends(lab->services[i], i, 1, 1);
	}
	lab_publish(lab);
	for (round = 0; round < 4 * SERVICES; round++) {
		struct publication *publication;

		for (i = 0; i < SERVICES; i++) {
			before[i] = place_of(lab, i);
			changed[i] = i == round % SERVICES;
		}
		lab->services[round % SERVICES]->backends[0][0].backend.weight =
			200 + round; /* another ring */
		check(lab, publication_begin(lab->datapath, &publication, lab->errors));
		check(lab, stage(lab, publication, lab->services[round % SERVICES]));
		check(lab, publication_show(publication, lab->errors));
		publication_end(publication);
		assert_places(lab, before, changed);
		assert_true(place_of(lab, round % SERVICES).first[RINGS] !=
			    before[round % SERVICES].first[RINGS]);
		assert_served(lab, &random);
	}
	lab_close(lab);
}

/* ---- what does not fit ---- */

static void append(uint8_t **out, size_t *size, const void *from, size_t count)
{
	*out = realloc(*out, *size + count + 1);
	assert_non_null(*out);
	if (count)
		memcpy(*out + *size, from, count);
	*size += count;
}

/* All that a packet can reach; what no view names may hold what did not fit. */
static size_t copy_seen(const struct lab *lab, uint8_t **out)
{
	static const enum map_id whole[] = {MAP_CELLS, MAP_VIP_BUCKETS, MAP_VIPS6,
					    MAP_SERVICE_NAMES, MAP_BOX};
	size_t size = 0, i;

	*out = NULL;
	for (i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		const struct map *map = &lab->datapath->maps[whole[i]];

		append(out, &size, map_reach(map, 0, map_bytes(map, false)), map_bytes(map, false));
	}
	for (i = 0; i < lab->published; i++) {
		struct shown_view shown = datapath_shown(lab->datapath, i);

		if (!shown.view)
			continue;
		append(out, &size, shown.view, sizeof(*shown.view));
		append(out, &size, shown.rules,
		       (shown.view->default_rule + 1) * sizeof(*shown.rules));
		append(out, &size, shown.slots + shown.view->rings[0],
		       shown.view->slots_count * sizeof(*shown.slots));
		append(out, &size, shown.backends,
		       shown.view->backends_count * sizeof(*shown.backends));
		append(out, &size, shown.pins, shown.view->pins_count * sizeof(*shown.pins));
	}
	return size;
}

/* Staging @large fails, with an error that names it, and leaves what packets see as it was. */
static void assert_does_not_fit(struct lab *lab, struct lab_service *large, struct random *random)
{
	struct publication *publication;
	uint8_t *before, *after;
	size_t size = copy_seen(lab, &before);
	unsigned int errors = errors_count(lab->errors);

	check(lab, publication_begin(lab->datapath, &publication, lab->errors));
	assert_int_equal(stage(lab, publication, large), -ENOSPC);
	assert_true(errors_count(lab->errors) > errors);
	/* Nothing is staged, so nothing is shown. */
	check(lab, publication_show(publication, lab->errors));
	publication_end(publication);
	assert_int_equal(copy_seen(lab, &after), size);
	assert_memory_equal(before, after, size);
	free(before);
	free(after);
	assert_served(lab, random);
}

static void what_does_not_fit_changes_nothing(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct lab_service *large;
	int i;

	for (i = 0; i < SERVICES; i++) {
		set_backends(add_numbered(lab, i), i, 0, 3);
		set_backends(lab->services[i], i, 1, 3);
		set_pins(lab->services[i], 50);
	}
	lab_publish(lab);
	large = lab_add_service(lab, "service-0", STEER_L2); /* the next view of slot 0 */
	large->slot = 0;
	set_backends(large, 0, 0, 1700); /* more ring slots than there are */
	assert_does_not_fit(lab, large, &random);
	set_backends(large, 0, 0, 1);
	set_pins(large, 1 << PINS_SEARCH_STEPS);
	assert_does_not_fit(lab, large, &random);
	/* A smaller one fits, and is seen. */
	set_backends(large, 0, 0, 20);
	set_pins(large, 20000);
	lab->services_count--;
	lab->services[0]->service.cohorts[0].backends_count = 0;
	set_backends(lab->services[0], 0, 0, 20);
	set_pins(lab->services[0], 20000);
	lab_publish(lab);
	assert_served(lab, &random);
	lab->services_count++; /* to be freed */
}

static void too_many_vips_change_nothing(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct publication *publication;
	struct vip_entry vips[65];
	int i;

	for (i = 0; i < SERVICES; i++)
		set_backends(add_numbered(lab, i), i, 0, 2);
	lab_publish(lab);
	for (i = 0; i < 65; i++)
		vips[i] = (struct vip_entry){{address_of("203.0.113.1"), 1 + i, 6}, 0};
	check(lab, publication_begin(lab->datapath, &publication, lab->errors));
	assert_int_equal(publication_stage_vips(publication, vips, 65, lab->errors), -ENOSPC);
	assert_served(lab, &random);
	publication_end(publication);
	lab_publish(lab);
	assert_served(lab, &random);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(room_is_used_again_and_never_twice),
		lab_test(a_full_box_can_be_changed_service_by_service),
		lab_test(what_does_not_fit_changes_nothing),
		lab_test(too_many_vips_change_nothing),
	};

	return cmocka_run_group_tests_name("prog/room", tests, setup_group, lab_teardown_group);
}
