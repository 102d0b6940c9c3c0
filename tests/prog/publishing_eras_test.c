// SPDX-License-Identifier: GPL-2.0-only
/*
 * Publishing under traffic while eras are open (promise 5): views into which the history has been
 * folded, some flows with entries in the transition table and some without; and health, which is
 * changed in the shown view itself. What each view, or state of health, makes of each flow is
 * recorded first, one at a time in peace.
 */
#include "lab.h"
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

#define SENDERS	    3
#define SECONDS_MAX 200 /* a machine that is too slow for the test */

static uint64_t read_count(const uint64_t *count)
{
	return __atomic_load_n(count, __ATOMIC_ACQUIRE);
}

/* ---- views ---- */

#define VARIANTS  5
#define FLOWS	  240
#define SWAPS	  150
#define PACKETS	  100000
#define STAGED_US 2000

struct views {
	struct lab_service *service;
	bool heads; /* salts, keys and cohorts change, too */
	bool calms; /* in each round one view is shown without an era, so that another begins */
	struct frame flows[FLOWS];
	uint16_t homes[FLOWS]; /* backend numbers: where each began, and stays */
	struct outcome outcomes[VARIANTS][FLOWS];
};

static void set_heads(struct lab_service *service, unsigned int variant)
{
	struct service *s = &service->service;

	service->salt64 = variant * 0x9e3779b97f4a7c15ULL + 1;
	s->holdout_ppm = 20000 * variant;
	s->prefix4 = 32 - variant % 2;
	s->balance = variant % 2 ? BALANCE_CLIENT : BALANCE_FLOW;
	s->client_key = variant == 2 ? CLIENT_KEY_FLOW : CLIENT_KEY_SOURCE;
	lab_set_cohorts(service, variant == 3 ? 2 : 3);
}

/* The view's number is in all that a packet is given by a backend's line. */
static void set_variant(struct views *views, unsigned int variant)
{
	struct lab_service *service = views->service;
	unsigned int cohort, i;

	if (views->heads)
		set_heads(service, variant);
	lab_set_share(service, 1, 60000 * (variant + 1));
	lab_set_share(service, 2, 250000 - 40000 * variant);
	for (cohort = 0; cohort < 3; cohort++)
		for (i = 0; i < service->service.cohorts[cohort].backends_count; i++) {
			struct lab_backend *backend = &service->backends[cohort][i];

			backend->backend.weight = 20 + (variant * 37 + i * 11) % 80;
			backend->hop.mac[3] = variant;
			backend->hop.source_mac[5] = variant;
		}
	service->pins_count = 0;
	for (i = 0; i < variant * 10; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.0.%u.0/24", i * 5);
		lab_add_pin(service, text, (i + variant) % 2, PIN_FOREVER);
	}
}

/* What is staged lies there for a while before it is shown. */
static void show_variant(struct lab *lab, struct views *views, uint64_t epoch)
{
	struct lab_service *service = views->service;
	struct publication *publication;
	struct transition_plan plan = service->plan;
	struct lab_image image;
	bool calm = !epoch || (views->calms && epoch % VARIANTS == 0);

	set_variant(views, epoch % VARIANTS);
	assert_int_equal(publication_begin(lab->datapath, &publication, lab->errors), 0);
	plan.now = publication_now(publication);
	plan.hz = jiffies_hz();
	lab_compile(service, &image);
	assert_int_equal(publication_stage(publication, service->slot, service->service.name,
					   &image.image, epoch, image.hops, calm ? NULL : &plan,
					   NULL, lab->errors),
			 0);
	lab_image_release(&image);
	usleep(STAGED_US);
	assert_int_equal(publication_show(publication, lab->errors), 0);
	publication_end(publication);
}

static struct packet_plan flow_of(unsigned int number)
{
	struct packet_plan plan = packet_tcp("10.0.0.1", 1024 + number * 7, LAB_VIP4, 80);

	plan.source.bytes[2] = number;
	plan.source.bytes[3] = number >> 3;
	return plan;
}

/* A third of the flows begins in the era, some under each view. */
static void begin_flows(struct lab *lab, struct views *views, unsigned int variant)
{
	unsigned int i;

	for (i = 3 * variant; i < FLOWS; i += 3 * VARIANTS) {
		struct packet_plan plan = flow_of(i);
		struct run run;

		plan.tcp_flags = FLAG_SYN;
		views->homes[i] = lab_explain(lab, &plan).backend;
		lab_run_plan(lab, &plan, &run);
		plan.tcp_flags = FLAG_ACK;
		lab_run_plan(lab, &plan, &run);
	}
}

/* In the first round what is disputed or moved grows, in the second it is all there. */
static struct views *record_views(struct lab *lab, bool heads, bool calms)
{
	struct views *views = calloc(1, sizeof(*views));
	struct lab aside = *lab;
	bool seen[PATHS] = {false};
	uint64_t epoch;
	char address[32];
	unsigned int i;

	assert_non_null(views);
	views->heads = heads;
	views->calms = calms;
	lab_add_backend(lab_add_service(lab, "other", STEER_L2), 0, "10.8.0.1", 100, LAB_INGRESS);
	lab_add_backend(lab->services[0], 0, "10.8.0.2", 100, LAB_INGRESS);
	views->service = lab_add_service(lab, "shop", STEER_L2);
	lab_add_vip(views->service, LAB_VIP4 ":80/tcp");
	lab_set_cohorts(views->service, 3);
	for (i = 0; i < 14; i++) {
		snprintf(address, sizeof(address), "10.9.0.%u", i + 1);
		lab_add_backend(views->service,
				i < 9	 ? 0
				: i < 12 ? 1
					 : 2,
				address, 100, LAB_INGRESS);
	}
	for (i = 0; i < FLOWS; i++) {
		struct packet_plan plan = flow_of(i);

		packet_build(&plan, &views->flows[i]);
	}
	set_variant(views, 0);
	lab_publish(lab);
	aside.aside = true;
	for (epoch = 0; epoch < 3 * VARIANTS; epoch++) {
		show_variant(lab, views, epoch);
		for (i = 0; !epoch && i < FLOWS; i++) {
			struct packet_plan plan = flow_of(i);

			views->homes[i] = lab_explain(lab, &plan).backend;
		}
		if (epoch < VARIANTS && !calms)
			begin_flows(lab, views, epoch);
		for (i = 0; epoch >= VARIANTS && i < FLOWS; i++) {
			struct outcome outcome = outcome_of(lab, &aside, &views->flows[i]),
				       *first = &views->outcomes[epoch % VARIANTS][i];

			assert_int_equal(outcome.verdict, XDP_TX);
			assert_int_equal(outcome.told.backend, views->homes[i]);
			seen[outcome.told.path] = true;
			if (epoch < 2 * VARIANTS)
				*first = outcome;
			assert_true(same_packet(first, &outcome));
			assert_true(same_explanation(first->told, outcome.told));
		}
	}
	assert_true(seen[PATH_ORIGIN]);
	assert_int_equal(seen[PATH_CURRENT], !heads || calms);
	assert_int_equal(seen[PATH_ENTRY], !calms);
	return views;
}

struct traffic {
	struct lab *lab;
	const struct views *views;
	const uint64_t *shown; /* epoch of which publishing has returned */
	const uint64_t *stop;
	uint64_t packets, mixed, lost, old;
	unsigned int first;
};

static void *send_through_views(void *argument)
{
	struct traffic *traffic = argument;
	const struct views *views = traffic->views;
	struct lab aside = *traffic->lab;
	unsigned int flow = traffic->first, variant;

	aside.aside = true;
	while (!read_count(traffic->stop)) {
		uint64_t shown = read_count(traffic->shown);
		struct outcome outcome;

		flow = (flow + 1) % FLOWS;
		outcome = outcome_of(traffic->lab, &aside, &views->flows[flow]);
		traffic->lost += outcome.verdict != XDP_TX;
		traffic->old += outcome.told.epoch < shown;
		variant = 0;
		while (variant < VARIANTS &&
		       !same_packet(&outcome, &views->outcomes[variant][flow]))
			variant++;
		traffic->mixed += variant == VARIANTS;
		variant = outcome.told.epoch % VARIANTS;
		traffic->mixed +=
			!same_explanation(outcome.told, views->outcomes[variant][flow].told);
		__atomic_fetch_add(&traffic->packets, 2, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void swap_under_traffic(struct lab *lab, bool heads, bool calms)
{
	struct views *views = record_views(lab, heads, calms);
	uint64_t shown = 3 * VARIANTS - 1, stop = 0, packets = 0, swaps = 0;
	struct traffic traffic[SENDERS];
	time_t began = time(NULL);
	pthread_t threads[SENDERS];
	unsigned int i;

	for (i = 0; i < SENDERS; i++) {
		traffic[i] = (struct traffic){.lab = lab,
					      .views = views,
					      .shown = &shown,
					      .stop = &stop,
					      .first = i * FLOWS / SENDERS};
		assert_int_equal(pthread_create(&threads[i], NULL, send_through_views, &traffic[i]),
				 0);
	}
	for (; (swaps < SWAPS || packets < PACKETS) && time(NULL) - began < SECONDS_MAX; swaps++) {
		show_variant(lab, views, shown + 1);
		__atomic_store_n(&shown, shown + 1, __ATOMIC_RELEASE);
		for (packets = 0, i = 0; i < SENDERS; i++)
			packets += read_count(&traffic[i].packets);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < SENDERS; i++) {
		assert_int_equal(traffic[i].lost, 0);
		assert_int_equal(traffic[i].mixed, 0);
		assert_int_equal(traffic[i].old, 0);
	}
	printf("%llu packets, %llu swaps\n", (unsigned long long)packets,
	       (unsigned long long)swaps);
	assert_true(packets >= PACKETS && swaps >= SWAPS);
	assert_int_equal(datapath_view(lab->datapath, views->service->slot)->eras, 1);
	free(views);
}

static void promise_5_a_packet_sees_one_view_of_an_era_whole(void **state)
{
	swap_under_traffic(*state, false, false);
}

static void promise_5_holds_where_all_is_disputed(void **state)
{
	swap_under_traffic(*state, true, false);
}

static void promise_5_holds_where_eras_begin_and_end(void **state)
{
	swap_under_traffic(*state, false, true);
}

/* What an era moved is moved no more when another begins. */
static void a_new_era_knows_nothing_of_the_last(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_service(lab, "shop", STEER_L2);
	int before[FLOWS], calm[FLOWS];
	unsigned int i, moved = 0;
	struct view *view;
	struct run run;

	lab_add_vip(service, LAB_VIP4 ":80/tcp");
	lab_add_backend(service, 0, "10.9.0.1", 100, LAB_INGRESS);
	lab_add_backend(service, 0, "10.9.0.2", 100, LAB_INGRESS);
	lab_add_backend(service, 1, "10.9.0.3", 100, LAB_INGRESS);
	lab_publish(lab);
	for (i = 0; i < FLOWS; i++) {
		struct packet_plan plan = flow_of(i);

		lab_run_plan(lab, &plan, &run);
		before[i] = lab_backend_of(&run);
	}
	service->has_eras = true;
	service->backends[0][0].backend.weight = 10;
	lab_publish(lab);
	for (i = 0; i < FLOWS; i++) {
		struct packet_plan plan = flow_of(i);

		lab_run_plan(lab, &plan, &run);
		assert_int_equal(lab_backend_of(&run), before[i]);
	}
	view = (struct view *)datapath_view(lab->datapath, 0);
	view->era_ends = view->udp_ends = 1; /* as if its time had passed */
	lab_publish(lab);
	assert_int_equal(datapath_view(lab->datapath, 0)->flags & VIEW_TRANSITION, 0);
	for (i = 0; i < FLOWS; i++) {
		struct packet_plan plan = flow_of(i);

		lab_run_plan(lab, &plan, &run);
		calm[i] = lab_backend_of(&run);
		moved += calm[i] != before[i];
	}
	assert_true(moved > FLOWS / 5);
	lab_set_share(service, 1, 10000);
	lab_publish(lab);
	assert_int_equal(datapath_view(lab->datapath, 0)->eras, 2);
	for (i = 0; i < FLOWS; i++) {
		struct packet_plan plan = flow_of(i);

		lab_run_plan(lab, &plan, &run);
		assert_int_equal(lab_cohort_of(&run), 0);
		assert_int_equal(lab_backend_of(&run), calm[i]);
	}
}

/* ---- health in place ---- */

#define BACKENDS     11 /* 7 of the control, 4 of the canary */
#define OF_CONTROL   7
#define STATES	     24
#define HEALTH_SWAPS 3000
#define HEALTH_FLOWS 300

struct healths {
	struct lab_service *service;
	uint8_t states[STATES][BACKENDS];
	struct packet_plan flows[HEALTH_FLOWS];
	int home[HEALTH_FLOWS]; /* the backend of each while all serve */
	int outcomes[STATES][HEALTH_FLOWS];
};

/* There and back again, so that neighbours always differ in one backend. */
static unsigned int state_at(uint64_t step)
{
	step %= 2 * STATES - 2;
	return step < STATES ? step : 2 * STATES - 2 - step;
}

static void draw_states(struct random *random, struct healths *healths)
{
	unsigned int state, i;

	for (state = 1; state < STATES; state++) {
		uint8_t *healthy = healths->states[state];
		static const uint8_t kinds[] = {0, BACKEND_DOWN, BACKEND_DOWN, BACKEND_DRAINING,
						BACKEND_DOWN | BACKEND_DRAINING};

		memcpy(healthy, healths->states[state - 1], BACKENDS);
		/* All of the canary go, one after the other; one of the control always serves. */
		i = state <= BACKENDS - OF_CONTROL ? OF_CONTROL + state - 1
						   : 1 + random_below(random, BACKENDS - 1);
		do
			healthy[i] = kinds[random_below(random, sizeof(kinds))];
		while (healthy[i] == healths->states[state - 1][i]);
	}
}

static void set_state(struct healths *healths, const uint8_t health[BACKENDS])
{
	unsigned int i;

	for (i = 0; i < BACKENDS; i++) {
		unsigned int canary = i >= OF_CONTROL;

		healths->service->backends[canary][canary ? i - OF_CONTROL : i].health = health[i];
	}
}

static void show_state(struct lab *lab, struct healths *healths, uint64_t step)
{
	set_state(healths, healths->states[state_at(step)]);
	lab_publish_health(lab, healths->service);
}

/* The backend's place in states; -1: the packet was not steered. */
static int send_flow(struct lab *lab, struct packet_plan plan, uint8_t tcp_flags)
{
	struct run run;

	plan.tcp_flags = tcp_flags;
	lab_run_plan(lab, &plan, &run);
	if (lab_cohort_of(&run) < 0)
		return -1;
	return lab_cohort_of(&run) * OF_CONTROL + lab_backend_of(&run);
}

static struct packet_plan health_flow(unsigned int number)
{
	struct packet_plan plan = packet_tcp("10.0.0.1", 1024 + number % 50000, LAB_VIP4, 80);

	store32(plan.source.bytes, 0x0a000000 + number * 13);
	return plan;
}

static void assert_outcome(const struct healths *healths, unsigned int state, unsigned int flow)
{
	const uint8_t *health = healths->states[state];
	int outcome = healths->outcomes[state][flow], home = healths->home[flow];

	assert_in_range(outcome, 0, BACKENDS - 1);
	if (!(health[home] & BACKEND_DOWN))
		assert_int_equal(outcome, home);
	else
		assert_int_equal(health[outcome], 0);
}

static struct healths *record_healths(struct lab *lab, struct random *random)
{
	struct healths *healths = calloc(1, sizeof(*healths));
	char address[32];
	uint64_t step;
	unsigned int i;

	assert_non_null(healths);
	healths->service = lab_add_service(lab, "shop", STEER_L2);
	lab_add_vip(healths->service, LAB_VIP4 ":80/tcp");
	for (i = 0; i < BACKENDS; i++) {
		snprintf(address, sizeof(address), "10.9.0.%u", i + 1);
		lab_add_backend(healths->service, i >= OF_CONTROL, address, 100, LAB_INGRESS);
	}
	lab_set_share(healths->service, 1, 400000);
	lab_publish(lab);
	draw_states(random, healths);
	for (i = 0; i < HEALTH_FLOWS; i++) {
		healths->flows[i] = health_flow(i);
		healths->home[i] = send_flow(lab, healths->flows[i], FLAG_ACK);
		assert_in_range(healths->home[i], 0, BACKENDS - 1);
	}
	/* The first change opens the era with a view of its own. */
	healths->service->has_eras = true;
	for (step = 1; step <= 2 * (2 * STATES - 2); step++) {
		unsigned int state = state_at(step);

		show_state(lab, healths, step);
		assert_int_equal(healths->service->epoch, 3);
		for (i = 0; i < HEALTH_FLOWS; i++) {
			int outcome = send_flow(lab, healths->flows[i], FLAG_ACK);

			if (step < STATES) {
				healths->outcomes[state][i] = outcome;
				assert_outcome(healths, state, i);
			} else if (state) {
				assert_int_equal(outcome, healths->outcomes[state][i]);
			} else {
				assert_int_equal(outcome, healths->home[i]);
			}
		}
	}
	memcpy(healths->outcomes[0], healths->home, sizeof(healths->home));
	return healths;
}

struct patient {
	struct lab *lab;
	const struct healths *healths;
	const uint64_t *begun, *done; /* steps */
	const uint64_t *stop;
	uint64_t packets, wrong, lost, flows, moved;
	unsigned int first;
};

static void *send_old_flows(void *argument)
{
	struct patient *patient = argument;
	const struct healths *healths = patient->healths;
	unsigned int flow = patient->first;

	for (; !read_count(patient->stop); patient->packets++) {
		uint64_t step = read_count(patient->done), last;
		int outcome = send_flow(patient->lab, healths->flows[flow], FLAG_ACK);

		last = read_count(patient->begun);
		while (step <= last && healths->outcomes[state_at(step)][flow] != outcome)
			step++;
		patient->wrong += step > last;
		patient->lost += outcome < 0;
		flow = (flow + 1) % HEALTH_FLOWS;
	}
	return NULL;
}

/* Did the backend's health have none of the bits, in all of the steps, or in one? */
static bool always_without(const struct patient *patient, uint64_t step, int backend, uint8_t bits)
{
	uint64_t last = read_count(patient->begun);

	while (step <= last && !(patient->healths->states[state_at(step)][backend] & bits))
		step++;
	return step > last;
}

static bool ever_without(const struct patient *patient, uint64_t step, int backend, uint8_t bits)
{
	uint64_t last = read_count(patient->begun);

	while (step <= last && (patient->healths->states[state_at(step)][backend] & bits))
		step++;
	return step <= last;
}

/* A flow that begins stays where it began while the backend is not down. */
static void *send_new_flows(void *argument)
{
	static const uint8_t flags[] = {FLAG_ACK, FLAG_ACK, FLAG_FIN | FLAG_ACK};
	struct patient *patient = argument;
	unsigned int number = patient->first, i;

	for (; !read_count(patient->stop); patient->flows++) {
		struct packet_plan plan = health_flow(number++);
		uint64_t step = read_count(patient->done);
		int outcome, home = send_flow(patient->lab, plan, FLAG_SYN);

		patient->lost += home < 0;
		if (home < 0)
			continue;
		patient->wrong +=
			!ever_without(patient, step, home, BACKEND_DOWN | BACKEND_DRAINING);
		for (i = 0; i < sizeof(flags); i++) {
			outcome = send_flow(patient->lab, plan, flags[i]);
			patient->lost += outcome < 0;
			patient->moved += outcome != home &&
					  always_without(patient, step, home, BACKEND_DOWN);
		}
	}
	return NULL;
}

static void a_packet_goes_where_health_before_or_after_would_send_it(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct healths *healths = record_healths(lab, &random);
	uint64_t begun = 0, done = 0, stop = 0, no_backend = lab_reason(lab, REASON_NO_BACKEND);
	struct patient patients[2 * SENDERS];
	pthread_t threads[2 * SENDERS];
	time_t began = time(NULL);
	uint64_t packets = 0, flows = 0;
	unsigned int i;

	for (i = 0; i < 2 * SENDERS; i++) {
		patients[i] = (struct patient){.lab = lab,
					       .healths = healths,
					       .begun = &begun,
					       .done = &done,
					       .stop = &stop,
					       .first = i % 2 ? i * 1000000 : i * 50};
		assert_int_equal(pthread_create(&threads[i], NULL,
						i % 2 ? send_new_flows : send_old_flows,
						&patients[i]),
				 0);
	}
	while (done < HEALTH_SWAPS && time(NULL) - began < SECONDS_MAX) {
		__atomic_store_n(&begun, done + 1, __ATOMIC_RELEASE);
		show_state(lab, healths, begun);
		__atomic_store_n(&done, begun, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (i = 0; i < 2 * SENDERS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < 2 * SENDERS; i++) {
		assert_int_equal(patients[i].lost, 0);
		assert_int_equal(patients[i].wrong, 0);
		assert_int_equal(patients[i].moved, 0);
		packets += patients[i].packets;
		flows += patients[i].flows;
	}
	assert_int_equal(lab_reason(lab, REASON_NO_BACKEND), no_backend);
	assert_int_equal(healths->service->epoch, 3);
	printf("%llu packets of old flows, %llu new flows, %llu changes\n",
	       (unsigned long long)packets, (unsigned long long)flows, (unsigned long long)done);
	assert_true(done >= HEALTH_SWAPS && packets > 10000 && flows > 1000);
	free(healths);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(promise_5_a_packet_sees_one_view_of_an_era_whole),
		lab_test(promise_5_holds_where_all_is_disputed),
		lab_test(promise_5_holds_where_eras_begin_and_end),
		lab_test(a_new_era_knows_nothing_of_the_last),
		lab_test(a_packet_goes_where_health_before_or_after_would_send_it),
	};

	return cmocka_run_group_tests_name("prog/publishing_eras", tests, lab_setup_group,
					   lab_teardown_group);
}
