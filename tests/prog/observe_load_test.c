// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients observed under load, by two threads that feed packets to the program by the thousand:
 * nothing is lost between CPUs, between windows, or where records run out; samples are as good as
 * the documentation says.
 */
#include "feeder.h"
#include "observe/features.h"
#include "observing.h"
#include "tests/random.h"

#include <bpf/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define THREADS	     2
#define FIRST_CLIENT 0x64400000u /* 100.64.0.0 */

/* One thread's packets: clients from the first on take turns. */
struct load {
	struct feeder *feeder;
	struct frame frame;
	uint32_t clients;
	uint32_t batch; /* packets a system call */
	uint32_t cpu;
	uint64_t batches; /* to be sent; UINT64_MAX: until .stop */
	bool *stop;
	uint64_t sent[FED_FLOWS_MAX]; /* packets of each client */
	uint64_t done;		      /* batches */
	int error;
	pthread_t thread;
};

/* Kept in @state for close_lab(). */
static struct lab *open_lab(void **state, uint32_t records, struct siphash_key secret)
{
	struct limits limits = {
		.services = 16, .vips = 16, .backends = 64, .observed_clients = records};
	struct lab *lab;

	lab_require_bpf();
	lab = lab_open(secret, limits);
	*state = lab;
	lab_add_usual(lab, STEER_L2, 4);
	lab_publish(lab);
	return lab;
}

/* Also after a test that failed. */
static int close_lab(void **state)
{
	lab_close(*state);
	*state = NULL;
	return 0;
}

static struct load *load_new(const struct lab *lab, uint32_t first, uint32_t clients, uint8_t flags)
{
	struct load *load = calloc(1, sizeof(*load));
	uint32_t i;

	assert_non_null(load);
	load->feeder = feeder_open(lab, 1, NULL);
	load->clients = clients;
	load->batch = clients;
	feeder_build(LAB_VIP4, flags, &load->frame);
	feeder_feed(load->feeder)->flows = clients;
	for (i = 0; i < clients; i++)
		feeder_flows(load->feeder)[i] = (struct fed_flow){
			.source = htobe32(FIRST_CLIENT + first + i),
			.port = htobe16(1024),
			.backend = FED_NONE,
		};
	return load;
}

static void load_free(struct load *load)
{
	feeder_close(load->feeder);
	free(load);
}

static void send_batch(struct load *load)
{
	uint32_t next = feeder_feed(load->feeder)->next, i;

	load->error = feeder_run(load->feeder, &load->frame, load->batch);
	for (i = 0; i < load->batch; i++)
		load->sent[(next + i) % load->clients]++;
}

static void *run_load(void *argument)
{
	struct load *load = argument;
	cpu_set_t set;
	uint64_t i;

	CPU_ZERO(&set);
	CPU_SET(load->cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	for (i = 0; i < load->batches && !load->error; i++) {
		if (load->stop && __atomic_load_n(load->stop, __ATOMIC_RELAXED))
			break;
		send_batch(load);
		__atomic_fetch_add(&load->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void start_loads(struct load **loads, uint64_t batches, bool *stop)
{
	cpu_set_t all;
	uint32_t cpu = 0, i;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	for (i = 0; i < THREADS; i++, cpu++) {
		while (!CPU_ISSET(cpu % CPU_SETSIZE, &all))
			cpu++;
		loads[i]->cpu = cpu % CPU_SETSIZE;
		loads[i]->batches = batches;
		loads[i]->stop = stop;
		assert_int_equal(pthread_create(&loads[i]->thread, NULL, run_load, loads[i]), 0);
	}
}

static void join_loads(struct load **loads)
{
	uint32_t i;

	for (i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(loads[i]->thread, NULL), 0);
		assert_int_equal(loads[i]->error, 0);
	}
}

static const struct observed_client *client_of(const struct observed_list *list, uint32_t client)
{
	struct address address = {.family = 4};
	uint32_t word = htobe32(FIRST_CLIENT + client);

	memcpy(address.bytes, &word, sizeof(word));
	return observing_find(list, &address);
}

/* ---- two CPUs ---- */

#define FEW	    4
#define FEW_BATCH   512
#define FEW_BATCHES 4000

/* Both are at one record again and again, from its claim on; and at a few. A second is a jiffy
 * here, so that both see many of them begin. */
static void feed_both(void **state, uint32_t clients)
{
	struct lab *lab = open_lab(state, 1024, lab_secret);
	struct load *loads[THREADS];
	struct observed_list list;
	uint32_t i;

	lab_observe(lab, 1);
	datapath_box(lab->datapath)->observe_second = ~0u;
	for (i = 0; i < THREADS; i++) {
		loads[i] = load_new(lab, 0, clients, FLAG_SYN);
		loads[i]->batch = FEW_BATCH;
	}
	start_loads(loads, FEW_BATCHES, NULL);
	join_loads(loads);
	list = observing_read(lab);
	assert_int_equal(list.count, clients);
	for (i = 0; i < clients; i++) {
		const struct observed_client *client = client_of(&list, i);
		uint64_t sent = loads[0]->sent[i] + loads[1]->sent[i];

		assert_int_equal(client->packets, sent);
		assert_int_equal(client->bytes, sent * loads[0]->frame.size);
		assert_int_equal(observed_flows(client), sent);
		assert_true(observed_active(client) <= client->last - client->first + 1);
	}
	assert_int_equal(observing_counter(lab).packets, 0);
	assert_int_equal(observing_counter(lab).claimed, clients);
	observed_list_release(&list);
	for (i = 0; i < THREADS; i++)
		load_free(loads[i]);
}

static void two_cpus_lose_nothing(void **state)
{
	feed_both(state, 1);
	close_lab(state);
	feed_both(state, FEW);
}

/* ---- samples ---- */

#define MANY	     1024
#define MANY_BATCHES 12000
#define SAMPLE	     16
#define SIGMAS	     7
#define EXPONENT     18 /* of a chance below e^-18, 1.6e-8 */

static struct siphash_key random_secret(struct random *random)
{
	return (struct siphash_key){random_next(random), random_next(random)};
}

/*
 * A client's n packets are counted N for each that is drawn, with chance 1/N: the estimate has
 * the variance n (N - 1). Bernstein's inequality: farther than 7 sigma off, with n/N = 750, are
 * fewer than 2 e^-22 of the right ones, of 1,024 clients 5e-7. And all together they are as far off
 * as they should be: the sum of squares, in variances, is one of chi-squared, within
 * k - 2 sqrt(k x) and k + 2 sqrt(k x) + 2 x but with chance 2 e^-x (Laurent and Massart, 2000).
 * Clients take turns in a period that N divides: what drew every N-th packet would be far off.
 */
static void samples_are_as_good_as_documented_and_starts_are_exact(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = open_lab(state, 1 << 16, random_secret(&random));
	struct load *load = load_new(lab, 0, MANY, FLAG_ACK);
	struct load *starts = load_new(lab, 0, MANY, FLAG_SYN);
	double squares = 0, all = 0, n = MANY_BATCHES;
	struct observed_list list;
	uint32_t i;

	lab_observe(lab, SAMPLE);
	for (i = 0; i < MANY_BATCHES; i++)
		send_batch(load);
	for (i = 0; i < 3; i++)
		send_batch(starts);
	assert_int_equal(load->error | starts->error, 0);
	list = observing_read(lab);
	assert_int_equal(list.count, MANY);
	for (i = 0; i < MANY; i++) {
		const struct observed_client *client = client_of(&list, i);
		double off = (double)client->packets - 3 - n, variance = n * (SAMPLE - 1);

		assert_int_equal(observed_flows(client), 3);
		assert_true(off * off <= SIGMAS * SIGMAS * variance);
		assert_int_equal(client->bytes, client->packets * load->frame.size);
		assert_int_equal((client->packets - 3) % SAMPLE, 0);
		squares += off * off / variance;
		all += off;
	}
	printf("  sum of squares %.1f of %d; all together %+.4f%% off\n", squares, MANY,
	       100 * all / n / MANY);
	assert_true(squares > MANY - 2 * __builtin_sqrt(MANY * (double)EXPONENT));
	assert_true(squares < MANY + 2 * __builtin_sqrt(MANY * (double)EXPONENT) + 2 * EXPONENT);
	assert_true(all * all <= SIGMAS * SIGMAS * MANY * n * (SAMPLE - 1));
	observed_list_release(&list);
	load_free(load);
	load_free(starts);
}

/* ---- records run out ---- */

static void assert_sum(const struct lab *lab, const struct observed_list *list,
		       struct load *const *loads, bool are_starts)
{
	struct observe_counter none = {0}, sum = observing_sum(lab, list, &none);
	uint64_t sent = 0;
	uint32_t i, client;

	for (i = 0; i < THREADS; i++)
		for (client = 0; client < loads[i]->clients; client++)
			sent += loads[i]->sent[client];
	assert_int_equal(sum.packets, sent);
	assert_int_equal(sum.bytes, sent * loads[0]->frame.size);
	assert_int_equal(sum.flows, are_starts ? sent : 0);
}

static void what_finds_no_record_is_counted_as_overflow(void **state)
{
	struct lab *lab = open_lab(state, 256, lab_secret);
	struct load *loads[THREADS];
	struct observed_list list;
	uint32_t i, whole = 0;

	lab_observe(lab, 1);
	for (i = 0; i < THREADS; i++)
		loads[i] = load_new(lab, 0, MANY, FLAG_SYN);
	start_loads(loads, 200, NULL);
	join_loads(loads);
	list = observing_read(lab);
	assert_sum(lab, &list, loads, true);
	assert_in_range(list.count, 200, 256);
	for (i = 0; i < MANY; i++) {
		const struct observed_client *client = client_of(&list, i);

		whole += client && client->packets == loads[0]->sent[i] + loads[1]->sent[i];
	}
	/* Who has a record has it whole, whoever was faster to claim it, and has no other. */
	assert_int_equal(whole, list.count);
	assert_int_equal(observing_counter(lab).claimed, list.count);
	assert_true(observing_counter(lab).packets > 0);
	observed_list_release(&list);
	for (i = 0; i < THREADS; i++)
		load_free(loads[i]);
}

/*
 * How full the table is when clients begin to find no place: what the documentation says. Clients
 * are drawn at random, so that a share is within 7 sigma of it but with chance 1e-10.
 */
static void half_full_it_turns_away_one_client_in_eighty(void **state)
{
	static const uint32_t records = 1 << 17;
	struct random random = random_seeded(__func__);
	struct lab *lab = open_lab(state, records, random_secret(&random));
	struct feeder *feeder = feeder_open(lab, 1, NULL);
	struct observe_counter counter, sum;
	struct observed_list list;
	struct frame frame;
	double expected = records / 2 * 0.01226;

	lab_observe(lab, 1);
	feeder_build(LAB_VIP4, FLAG_SYN, &frame);
	feeder_feed(feeder)->random = random_next(&random);
	assert_int_equal(feeder_run(feeder, &frame, records / 2), 0);
	counter = observing_counter(lab);
	printf("  %llu of %u clients without a record, %.0f expected\n",
	       (unsigned long long)counter.flows, records / 2, expected);
	list = observing_read(lab);
	sum = observing_sum(lab, &list, &(struct observe_counter){0});
	assert_int_equal(sum.flows, records / 2);
	assert_int_equal(list.count, counter.claimed);
	observed_list_release(&list);
	assert_true(counter.flows > expected - 7 * __builtin_sqrt(expected));
	assert_true(counter.flows < expected + 7 * __builtin_sqrt(expected));
	feeder_close(feeder);
}

/* ---- windows under load ---- */

#define TURNS	     300
#define SECONDS_MOST 60 /* a machine that is too slow for the test */

struct sums {
	uint64_t packets[FED_FLOWS_MAX], bytes[FED_FLOWS_MAX], flows[FED_FLOWS_MAX];
	uint64_t all_packets, all_bytes, all_flows, freed;
};

static void add_window(struct sums *sums, const struct observed_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++) {
		uint32_t client = (uint32_t)list->clients[i].low - FIRST_CLIENT;

		assert_true(client < FED_FLOWS_MAX);
		sums->packets[client] += list->clients[i].packets;
		sums->bytes[client] += list->clients[i].bytes;
		sums->flows[client] += observed_flows(&list->clients[i]);
		sums->all_packets += list->clients[i].packets;
		sums->all_bytes += list->clients[i].bytes;
		sums->all_flows += observed_flows(&list->clients[i]);
	}
}

static void take_window(struct lab *lab, struct sums *sums)
{
	struct observed_take take = {0};
	int more = 1;

	while (more == 1)
		more = observed_take_some(lab->datapath, &take, 97);
	assert_int_equal(more, 0);
	sums->freed += take.late_count;
	assert_int_equal(observed_take_end(lab->datapath, &take, lab->errors), 0);
	add_window(sums, &take.list);
	observed_take_release(&take);
}

static bool are_fed(struct load *const *loads, uint64_t batches)
{
	uint32_t i;

	for (i = 0; i < THREADS; i++)
		if (__atomic_load_n(&loads[i]->done, __ATOMIC_RELAXED) < batches)
			return false;
	return true;
}

/* Windows end again and again while both threads send, each at least so many batches. */
static void take_under_load(struct lab *lab, struct load **loads, uint64_t batches,
			    struct sums *sums)
{
	time_t end = time(NULL) + SECONDS_MOST;
	bool stop = false;
	int turn;

	start_loads(loads, UINT64_MAX, &stop);
	for (turn = 0; turn < TURNS || (!are_fed(loads, batches) && time(NULL) < end); turn++)
		take_window(lab, sums);
	printf("  %d windows\n", turn);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	join_loads(loads);
	take_window(lab, sums);
}

static void nothing_is_lost_between_windows(void **state)
{
	struct lab *lab = open_lab(state, 4096, lab_secret);
	static struct sums sums;
	struct load *loads[THREADS];
	uint32_t i;

	lab_observe(lab, 1);
	for (i = 0; i < THREADS; i++) {
		loads[i] = load_new(lab, 0, FEW, FLAG_SYN);
		loads[i]->batch = FEW_BATCH;
	}
	take_under_load(lab, loads, FEW_BATCHES, &sums);
	for (i = 0; i < FEW; i++) {
		assert_int_equal(sums.packets[i], loads[0]->sent[i] + loads[1]->sent[i]);
		assert_int_equal(sums.flows[i], sums.packets[i]);
	}
	assert_int_equal(sums.all_bytes, sums.all_packets * loads[0]->frame.size);
	for (i = 0; i < THREADS; i++)
		load_free(loads[i]);
}

#define HALF (FED_FLOWS_MAX / 2)

/* The second thread's clients are others, and their packets longer. */
static struct load *load_of_half(const struct lab *lab, uint32_t thread)
{
	struct load *load = load_new(lab, thread * HALF, HALF, FLAG_SYN);
	struct packet_plan plan = packet_tcp("198.18.0.1", 1024, LAB_VIP4, 80);

	load->batch = 64;
	plan.tcp_flags = FLAG_SYN;
	plan.payload = thread * 100;
	packet_build(&plan, &load->frame);
	return load;
}

/*
 * Few records and many clients: each comes back only windows later, and both CPUs claim what was
 * freed at the same time for others. Bytes tell whose packets were counted.
 */
static void records_go_from_client_to_client_with_nothing_in_them(void **state)
{
	struct lab *lab = open_lab(state, 512, lab_secret);
	static struct sums sums;
	struct load *loads[THREADS];
	struct observe_counter overflow;
	uint64_t sent = 0, bytes = 0;
	uint32_t i;

	lab_observe(lab, 1);
	for (i = 0; i < THREADS; i++)
		loads[i] = load_of_half(lab, i);
	take_under_load(lab, loads, FEW_BATCHES, &sums);
	overflow = observing_counter(lab);
	for (i = 0; i < FED_FLOWS_MAX; i++) {
		const struct load *load = loads[i / HALF];

		assert_true(sums.packets[i] <= load->sent[i % HALF]);
		assert_int_equal(sums.flows[i], sums.packets[i]);
		assert_int_equal(sums.bytes[i], sums.packets[i] * load->frame.size);
		sent += load->sent[i % HALF];
		bytes += load->sent[i % HALF] * load->frame.size;
	}
	assert_int_equal(sums.all_packets + overflow.packets, sent);
	assert_int_equal(sums.all_flows + overflow.flows, sent);
	assert_int_equal(sums.all_bytes + overflow.bytes, bytes);
	printf("  %llu packets, %llu overflow, %llu records freed\n", (unsigned long long)sent,
	       (unsigned long long)overflow.packets, (unsigned long long)sums.freed);
	assert_true(sums.freed > 512);
	for (i = 0; i < THREADS; i++)
		load_free(loads[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define load_test(function) cmocka_unit_test_teardown(function, close_lab)
		load_test(two_cpus_lose_nothing),
		load_test(samples_are_as_good_as_documented_and_starts_are_exact),
		load_test(what_finds_no_record_is_counted_as_overflow),
		load_test(half_full_it_turns_away_one_client_in_eighty),
		load_test(nothing_is_lost_between_windows),
		load_test(records_go_from_client_to_client_with_nothing_in_them),
	};

	return cmocka_run_group_tests_name("prog/observe_load", tests, NULL, NULL);
}
