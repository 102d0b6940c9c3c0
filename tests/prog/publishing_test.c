// SPDX-License-Identifier: GPL-2.0-only
/*
 * Publishing under traffic (promise 5). Views differ in all that a view has: salt, shares, slots,
 * holdout, pins, prefixes, balance, rings, backends, steering. What each makes of each flow is
 * recorded first, one view at a time in peace; under swaps every packet has to come out as one of
 * them has it, to the byte. There are an odd number of views: a service has two places for them,
 * which take turns, so that each place sees each.
 */
#include "lab.h"
#include "holder.h"
#include "outcome.h"
#include "tests/random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define VARIANTS    5
#define SERVICES    2
#define FLOWS	    300
#define SWAPS	    200
#define PACKETS	    200000
#define SECONDS_MAX 300 /* a machine that is too slow for the test */
#define HOLD	    60	/* milliseconds */

struct views {
	struct lab_image images[VARIANTS][SERVICES];
	struct frame flows[FLOWS];
	struct outcome outcomes[VARIANTS][FLOWS];
};

/* ---- views that differ ---- */

static void add_backends(struct lab_service *service, unsigned int variant, size_t cohort,
			 size_t count)
{
	char address[32];
	size_t i;

	for (i = 0; i < count; i++) {
		struct lab_backend *backend;

		snprintf(address, sizeof(address), "10.%u.%zu.%zu", variant, cohort, i);
		backend = lab_add_backend(service, cohort, address, 50 + 10 * i, LAB_INGRESS);
		backend->hop.mac[3] = variant;
		backend->hop.source4.bytes[3] = variant;
		backend->hop.source_mac[5] = variant;
	}
}

static void add_pins(struct random *random, struct lab_service *service, unsigned int variant)
{
	char text[ADDRESS_TEXT_SIZE];
	unsigned int i;

	for (i = 0; i < variant * 80; i++) { /* none in the first */
		struct prefix prefix = {random_address(random, i % 2 ? 4 : 6), i % 2 ? 16 : 32};

		/* The bytes that flows have. */
		prefix.address.bytes[1] %= 16;
		prefix.address.bytes[2] = 0;
		prefix.address.bytes[3] = 0;
		prefix = prefix_shorten(&prefix, 16, 32);
		prefix.address.bytes[0] = i % 2 ? 198 : 0x20;
		lab_add_pin(service, prefix_format(&prefix, text), random_below(random, 3),
			    PIN_FOREVER);
	}
}

/* The service in @slot as view @variant has it. */
static struct lab_service *add_variant(struct lab *lab, struct random *random, unsigned int variant,
				       uint32_t slot)
{
	struct lab_service *service =
		lab_add_service(lab, slot ? "api" : "shop", variant == 4 ? STEER_L2 : STEER_IPIP);
	struct service *s = &service->service;

	service->slot = slot;
	free(s->salt);
	assert_true(asprintf(&s->salt, "salt-%u-%u", variant, slot) > 0);
	lab_set_cohorts(service, 3);
	s->cohorts[1].slot_ppm = 100000 * (variant + 1);
	s->cohorts[2].slot_start_ppm = 100000 * (variant + 1) + variant;
	s->cohorts[2].slot_ppm = 400000;
	s->holdout_ppm = 30000 * variant;
	s->prefix4 = 32 - variant;
	s->prefix6 = 64 - 4 * variant;
	s->encap_ttl = 100 + variant;
	s->balance = variant % 2 ? BALANCE_CLIENT : BALANCE_FLOW;
	s->client_key = variant == 2 ? CLIENT_KEY_FLOW : CLIENT_KEY_SOURCE;
	add_backends(service, variant, 0, slot ? 60 - 11 * variant : 3 + 9 * variant);
	add_backends(service, variant, 1, 2 + variant);
	add_backends(service, variant, 2, variant == 3 ? 0 : 1);
	lab_set_share(service, 1, 100000 * (variant + 1) - 7);
	lab_set_share(service, 2, 300000 - 50000 * variant);
	add_pins(random, service, variant);
	return service;
}

static void build_flows(struct random *random, struct views *views)
{
	unsigned int i;

	for (i = 0; i < FLOWS; i++) {
		struct packet_plan plan =
			i % 2 ? packet_tcp("198.51.100.7", 1, i % 3 ? LAB_VIP4 : "192.0.2.20", 80)
			      : packet_tcp("2001:db8::7", 1, i % 3 ? LAB_VIP6 : "2001:db8::20", 80);

		plan.source = random_address(random, i % 2 ? 4 : 6);
		plan.source.bytes[0] = i % 2 ? 198 : 0x20;
		plan.source.bytes[1] %= 16;
		if (plan.source.family == 6)
			memset(plan.source.bytes + 2, 0, 2);
		plan.source_port = random_next(random);
		plan.payload = 16;
		packet_build(&plan, &views->flows[i]);
	}
}

/* ---- publishing them ---- */

static void check(struct lab *lab, int error)
{
	if (error)
		errors_print(lab->errors, stderr);
	assert_int_equal(error, 0);
}

static void stage(struct lab *lab, const struct views *views, struct publication *publication,
		  uint64_t epoch)
{
	uint32_t slot;

	for (slot = 0; slot < SERVICES; slot++) {
		const struct lab_image *image = &views->images[epoch % VARIANTS][slot];
		struct view_image once = image->image;

		check(lab, publication_stage(publication, slot, slot ? "api" : "shop", &once, epoch,
					     image->hops, NULL, NULL, lab->errors));
	}
}

static struct publication *begin(struct lab *lab)
{
	struct publication *publication;

	check(lab, publication_begin(lab->datapath, &publication, lab->errors));
	return publication;
}

static void publish(struct lab *lab, const struct views *views, uint64_t epoch)
{
	struct publication *publication = begin(lab);

	stage(lab, views, publication, epoch);
	check(lab, publication_show(publication, lab->errors));
	publication_end(publication);
}

static void publish_vips(struct lab *lab)
{
	static const char *const texts[] = {LAB_VIP4 ":80/tcp", "[" LAB_VIP6 "]:80/tcp",
					    "192.0.2.20:80/tcp", "[2001:db8::20]:80/tcp"};
	struct publication *publication = begin(lab);
	struct vip_entry vips[4];
	int i;

	for (i = 0; i < 4; i++) {
		vips[i].service = i / 2;
		assert_int_equal(vip_parse(texts[i], &vips[i].vip), 0);
	}
	check(lab, publication_stage_vips(publication, vips, 4, lab->errors));
	check(lab, publication_show(publication, lab->errors));
	publication_end(publication);
}

/* ---- what comes out ---- */

static void record(struct lab *lab, struct views *views)
{
	struct lab aside = *lab;
	unsigned int variant, other, i;

	aside.aside = true;
	for (variant = 0; variant < VARIANTS; variant++) {
		publish(lab, views, variant);
		for (i = 0; i < FLOWS; i++) {
			struct outcome *outcome = &views->outcomes[variant][i];

			*outcome = outcome_of(lab, &aside, &views->flows[i]);
			assert_int_equal(outcome->verdict, XDP_TX);
			assert_in_range(outcome->size, 64, OUTCOME_BYTES);
			assert_int_equal(outcome->told.epoch, variant);
			for (other = 0; other < variant; other++)
				assert_false(same_packet(outcome, &views->outcomes[other][i]));
		}
	}
}

static struct views *setup_views(struct lab *lab, const char *test)
{
	struct random random = random_seeded(test);
	struct views *views = calloc(1, sizeof(*views));
	uint32_t slot;
	unsigned int variant;

	assert_non_null(views);
	for (variant = 0; variant < VARIANTS; variant++)
		for (slot = 0; slot < SERVICES; slot++)
			lab_compile(add_variant(lab, &random, variant, slot),
				    &views->images[variant][slot]);
	build_flows(&random, views);
	publish_vips(lab);
	record(lab, views);
	return views;
}

static void free_views(struct lab *lab, struct views *views)
{
	unsigned int i;

	for (i = 0; i < VARIANTS * SERVICES; i++)
		lab_image_release(&views->images[i / SERVICES][i % SERVICES]);
	free(views);
	lab->published = SERVICES; /* to be removed by the next publication */
}

/* Every flow comes out as the current view has it, whose epoch is @epoch. */
static void assert_shown(struct lab *lab, const struct views *views, uint64_t epoch)
{
	struct lab aside = *lab;
	unsigned int i;

	aside.aside = true;
	for (i = 0; i < FLOWS; i++) {
		struct outcome outcome = outcome_of(lab, &aside, &views->flows[i]);

		assert_int_equal(outcome.told.epoch, epoch);
		assert_true(
			same_explanation(outcome.told, views->outcomes[epoch % VARIANTS][i].told));
		assert_true(same_packet(&outcome, &views->outcomes[epoch % VARIANTS][i]));
	}
}

/* ---- promise 5 ---- */

struct traffic {
	const struct lab *lab;
	const struct views *views;
	const uint64_t *shown; /* epoch of which publication_show() has returned */
	bool stop;
	uint64_t packets, mixed, lost, old;
	uint64_t seen[VARIANTS];
};

/* The real program: the packet is one view's, whole. */
static void check_packet(struct traffic *traffic, const struct outcome *outcome, unsigned int flow)
{
	unsigned int variant = 0;

	if (outcome->verdict != XDP_TX) {
		traffic->lost++;
		return;
	}
	while (variant < VARIANTS &&
	       !same_packet(outcome, &traffic->views->outcomes[variant][flow]))
		variant++;
	if (variant < VARIANTS)
		traffic->seen[variant]++;
	else
		traffic->mixed++;
}

static void *run_traffic(void *argument)
{
	struct traffic *traffic = argument;
	struct lab aside = *traffic->lab;
	unsigned int flow = 0;

	aside.aside = true;
	while (!__atomic_load_n(&traffic->stop, __ATOMIC_RELAXED)) {
		uint64_t shown = __atomic_load_n(traffic->shown, __ATOMIC_ACQUIRE);
		struct outcome outcome;

		flow = (flow + 1) % FLOWS;
		outcome = outcome_of(traffic->lab, &aside, &traffic->views->flows[flow]);
		check_packet(traffic, &outcome, flow);
		traffic->old += outcome.told.epoch < shown;
		traffic->mixed += !same_explanation(
			outcome.told,
			traffic->views->outcomes[outcome.told.epoch % VARIANTS][flow].told);
		__atomic_fetch_add(&traffic->packets, 2, __ATOMIC_RELAXED);
	}
	return NULL;
}

static uint64_t packets_of(const struct traffic *traffic)
{
	return __atomic_load_n(&traffic[0].packets, __ATOMIC_RELAXED) +
	       __atomic_load_n(&traffic[1].packets, __ATOMIC_RELAXED);
}

static void promise_5_a_packet_sees_one_view_whole(void **state)
{
	struct lab *lab = *state;
	struct views *views = setup_views(lab, __func__);
	uint64_t shown = VARIANTS - 1, epoch, packets = 0;
	struct traffic traffic[2] = {{.lab = lab, .views = views, .shown = &shown}};
	time_t began = time(NULL);
	pthread_t threads[2];
	unsigned int i, variant;

	traffic[1] = traffic[0];
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_traffic, &traffic[i]), 0);
	for (epoch = VARIANTS; epoch < VARIANTS + SWAPS || packets < PACKETS; epoch++) {
		publish(lab, views, epoch);
		__atomic_store_n(&shown, epoch, __ATOMIC_RELEASE);
		packets = packets_of(traffic);
		if (time(NULL) - began > SECONDS_MAX)
			break;
	}
	for (i = 0; i < 2; i++) {
		__atomic_store_n(&traffic[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(threads[i], NULL);
	}
	for (i = 0; i < 2; i++) {
		assert_int_equal(traffic[i].lost, 0);
		assert_int_equal(traffic[i].mixed, 0);
		assert_int_equal(traffic[i].old, 0);
		for (variant = 0; variant < VARIANTS; variant++)
			assert_true(traffic[i].seen[variant] > 0);
	}
	printf("%llu packets, %llu swaps\n", (unsigned long long)packets,
	       (unsigned long long)(epoch - VARIANTS));
	assert_true(packets >= PACKETS && epoch >= VARIANTS + SWAPS);
	assert_shown(lab, views, epoch - 1);
	free_views(lab, views);
}

/* ---- one step at a time ---- */

/* Bytes of everything that the current view of a slot reaches. */
static size_t copy_view(const struct lab *lab, uint32_t slot, uint8_t *out)
{
	const struct view *view = datapath_view(lab->datapath, slot);
	const struct datapath *maps = lab->datapath;
	const struct {
		const void *from;
		size_t size;
	} parts[] = {
		{view, sizeof(*view)},
		{map_array(maps, MAP_RULES, struct view_rule) + view->rules,
		 sizeof(struct view_rule)},
		{map_array(maps, MAP_RING_SLOTS, uint32_t) + view->rings[0],
		 (view->rings[COHORTS_MAX] - view->rings[0]) * sizeof(uint32_t)},
		{map_array(maps, MAP_BACKENDS, struct backend_line) + view->backends,
		 view->backends_count * sizeof(struct backend_line)},
		{map_array(maps, MAP_PINS, struct pin_range) + view->pins,
		 view->pins_count * sizeof(struct pin_range)},
	};
	size_t size = 0, i;

	for (i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		memcpy(out + size, parts[i].from, parts[i].size);
		size += parts[i].size;
	}
	return size;
}

static void what_is_staged_is_not_seen_and_may_be_dropped(void **state)
{
	static uint8_t before[1 << 20], after[1 << 20];
	struct lab *lab = *state;
	struct views *views = setup_views(lab, __func__);
	uint64_t epoch, staged;
	uint32_t slot;

	for (epoch = VARIANTS; epoch < VARIANTS + 4; epoch++) {
		publish(lab, views, epoch);
		for (staged = epoch + 1; staged < epoch + VARIANTS; staged++)
			for (slot = 0; slot < SERVICES; slot++) {
				size_t size = copy_view(lab, slot, before);
				struct publication *publication = begin(lab);

				stage(lab, views, publication, staged);
				assert_int_equal(copy_view(lab, slot, after), size);
				assert_memory_equal(before, after, size);
				assert_shown(lab, views, epoch);
				publication_end(publication);
				assert_shown(lab, views, epoch);
			}
	}
	free_views(lab, views);
}

static void showing_waits_for_the_packets_that_began_before(void **state)
{
	struct lab *lab = *state;
	struct views *views = setup_views(lab, __func__);
	uint64_t epoch;

	for (epoch = VARIANTS; epoch < VARIANTS + 5; epoch++) {
		struct publication *publication = begin(lab);
		struct holder *packet;

		stage(lab, views, publication, epoch);
		packet = holder_start(HOLD);
		check(lab, publication_show(publication, lab->errors));
		assert_true(holder_ended(packet));
		holder_free(packet);
		publication_end(publication);
		assert_int_equal(datapath_box(lab->datapath)->publishing, 0);
		assert_shown(lab, views, epoch);
	}
	free_views(lab, views);
}

static void a_writer_that_died_before_its_grace_period_is_waited_for(void **state)
{
	struct lab *lab = *state;
	struct views *views = setup_views(lab, __func__);
	int i;

	for (i = 0; i < 5; i++) {
		struct holder *packet = holder_start(HOLD);
		struct publication *publication;

		datapath_box(lab->datapath)->publishing = 1;
		publication = begin(lab);
		assert_true(holder_ended(packet));
		assert_int_equal(datapath_box(lab->datapath)->publishing, 0);
		publication_end(publication);
		holder_free(packet);
	}
	assert_shown(lab, views, VARIANTS - 1);
	free_views(lab, views);
}

/* A thread that shows, so that the test can look on. */
struct showing {
	struct publication *publication;
	struct errors *errors;
	int error;
	bool done;
};

static void *show(void *argument)
{
	struct showing *showing = argument;

	showing->error = publication_show(showing->publication, showing->errors);
	__atomic_store_n(&showing->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* A packet that found the VIP before it went may still read the cell: it stays until that packet
 * has ended. */
static void a_service_goes_after_its_vips(void **state)
{
	struct lab *lab = *state;
	struct views *views = setup_views(lab, __func__);
	struct holder *packet;
	struct showing showing = {.publication = begin(lab), .errors = lab->errors};
	pthread_t thread;
	struct run run;
	int i;

	service_kill(lab->datapath, 0);
	check(lab, publication_stage_vips(showing.publication, NULL, 0, lab->errors));
	for (i = 0; i < SERVICES; i++)
		check(lab, publication_stage_removal(showing.publication, i));
	packet = holder_start(HOLD);
	assert_int_equal(pthread_create(&thread, NULL, show, &showing), 0);
	for (;;) {
		bool there = datapath_view(lab->datapath, 0) && datapath_view(lab->datapath, 1) &&
			     service_is_killed(lab->datapath, 0);

		if (holder_ended(packet))
			break;
		assert_true(there);
		usleep(500);
	}
	pthread_join(thread, NULL);
	check(lab, showing.error);
	holder_free(packet);
	publication_end(showing.publication);
	for (i = 0; i < SERVICES; i++) {
		assert_null(datapath_view(lab->datapath, i));
		assert_false(service_is_killed(lab->datapath, i));
	}
	assert_true(service_slot_by_name(lab->datapath, "shop") < 0);
	for (i = 0; i < FLOWS; i++) {
		lab_run(lab, &views->flows[i], &run);
		assert_int_equal(run.verdict, XDP_PASS);
	}
	free_views(lab, views);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(promise_5_a_packet_sees_one_view_whole),
		lab_test(what_is_staged_is_not_seen_and_may_be_dropped),
		lab_test(showing_waits_for_the_packets_that_began_before),
		lab_test(a_writer_that_died_before_its_grace_period_is_waited_for),
		lab_test(a_service_goes_after_its_vips),
	};

	return cmocka_run_group_tests_name("prog/publishing", tests, lab_setup_group,
					   lab_teardown_group);
}
