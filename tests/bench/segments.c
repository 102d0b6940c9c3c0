// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it takes to bring a million clients into the kernel: from the lists of four segments, sorted
 * as the store has them, to lines in the map; against one batched import of the same clients into a
 * BPF hash map, which is what the table is instead of. In turns, by the CPU time of this thread.
 */
#include "bench.h"
#include "client_table.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS	   (1u << 20)
#define SEGMENTS   4
#define CHANGED	   100 /* clients */
#define TURNS	   5
#define BATCH	   65536
#define RATIO_MOST 1.0
#define RATIO_GOAL 0.1

struct publishing {
	struct lab *lab;
	struct member *clients;
	struct member *of_segment[SEGMENTS];
	struct member_list lists[SEGMENTS];
	uint32_t *keys, *values; /* of the hash map */
};

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void give_up(const char *what)
{
	fprintf(stderr, "bench: publishing: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		give_up("memory");
	return memory;
}

/* Each client in one segment, by chance; and in the hash map with that as its value. */
static void divide(struct publishing *publishing)
{
	struct random random = {1};
	uint32_t i;

	for (i = 0; i < CLIENTS; i++) {
		uint32_t segment = random_below(&random, SEGMENTS);
		struct member_list *list = &publishing->lists[segment];

		publishing->of_segment[segment][list->count++] = publishing->clients[i];
		publishing->keys[i] = publishing->clients[i].low;
		publishing->values[i] = 1 + segment;
	}
}

static double import_ms(const struct publishing *publishing)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	int map = bpf_map_create(BPF_MAP_TYPE_HASH, "bench_hash", sizeof(uint32_t),
				 sizeof(uint32_t), CLIENTS, NULL);
	double before = now_ms(), after;
	uint32_t at, count;

	if (map < 0)
		give_up("hash map");
	for (at = 0; at < CLIENTS; at += BATCH) {
		count = BATCH;
		if (bpf_map_update_batch(map, publishing->keys + at, publishing->values + at,
					 &count, &options))
			give_up("bpf_map_update_batch");
	}
	after = now_ms();
	close(map);
	return after - before;
}

static double publish_ms(const struct publishing *publishing, uint32_t turn)
{
	double before = now_ms();
	struct spans spans, joined;
	size_t tuples_count;
	uint64_t *tuples;

	if (spans_of_lists(publishing->lists, SEGMENTS, &spans) ||
	    spans_join(&spans, 1, &joined, &tuples, &tuples_count))
		give_up("spans");
	lab_fill_table(publishing->lab, turn % SEGMENT_TABLES, &joined);
	free(tuples);
	spans_release(&spans);
	spans_release(&joined);
	return now_ms() - before;
}

/* Some clients leave one segment for the next one's place in the order of addresses. */
static void change(struct publishing *publishing, uint32_t turn)
{
	struct member_list *list = &publishing->lists[turn % SEGMENTS];
	struct member *members = publishing->of_segment[turn % SEGMENTS];

	memmove(members, members + CHANGED, (list->count - CHANGED) * sizeof(*members));
	list->count -= CHANGED;
}

static int compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static double median(double *values)
{
	qsort(values, TURNS, sizeof(*values), compare_doubles);
	return values[TURNS / 2];
}

static void open_publishing(struct publishing *publishing)
{
	struct limits limits = {
		.services = 16, .vips = 64, .backends = 256, .segment_clients = CLIENTS};
	uint32_t i;

	publishing->lab = lab_open(lab_secret, limits);
	publishing->clients = spread_clients("100.64.0.0", CLIENTS);
	publishing->keys = allocate(CLIENTS, sizeof(*publishing->keys));
	publishing->values = allocate(CLIENTS, sizeof(*publishing->values));
	for (i = 0; i < SEGMENTS; i++) {
		publishing->of_segment[i] = allocate(CLIENTS, sizeof(struct member));
		publishing->lists[i].members = publishing->of_segment[i];
	}
	divide(publishing);
}

static void close_publishing(struct publishing *publishing)
{
	uint32_t i;

	for (i = 0; i < SEGMENTS; i++)
		free(publishing->of_segment[i]);
	free(publishing->clients);
	free(publishing->keys);
	free(publishing->values);
	lab_close(publishing->lab);
}

bool segments_print_publishing(void)
{
	double import[TURNS], whole[TURNS], few[TURNS], ratio[TURNS], ratio_few[TURNS];
	struct publishing publishing = {0};
	const struct segment_table *table;
	uint32_t turn;
	bool is_over;

	open_publishing(&publishing);
	publish_ms(&publishing, 0); /* both tables' pages are there, as on a box that has run */
	publish_ms(&publishing, 1);
	for (turn = 0; turn < TURNS; turn++) {
		import[turn] = import_ms(&publishing);
		whole[turn] = publish_ms(&publishing, turn);
		change(&publishing, turn);
		few[turn] = publish_ms(&publishing, turn + 1);
		ratio[turn] = whole[turn] / import[turn];
		ratio_few[turn] = few[turn] / import[turn];
	}
	table = map_part(publishing.lab->datapath, MAP_SEGMENT_TABLES, struct segment_table, 0, 1);
	is_over = median(ratio) > RATIO_MOST;
	printf("publishing %u clients of %d segments: %.0f ms, %.2f of a batched import into a "
	       "hash map"
	       " (%.0f ms), <= %.2f: %s; after %d changes %.0f ms, %.2f, goal %.2f; %.1f MiB\n",
	       CLIENTS, SEGMENTS, median(whole), median(ratio), median(import), RATIO_MOST,
	       is_over ? "OVER" : "ok", CHANGED, median(few), median(ratio_few), RATIO_GOAL,
	       table->lines_count * (double)sizeof(struct segment_line) / 1048576);
	close_publishing(&publishing);
	return is_over;
}
