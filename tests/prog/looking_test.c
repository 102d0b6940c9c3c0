// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own lookup, packet by packet, against the plain meaning of the clients and prefixes
 * that the table was built of, and against user space's.
 */
#include "lab.h"
#include "segment/layout.h"
#include "tests/random_members.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/prog/looking.skel.h"

#define LINES_MOST  40000
#define FIRST_LINE  777 /* of the second table; before it are lines that it must not read */
#define PACKETS	    3000
#define MEMBERS_MAX 3000

struct looker {
	struct looking *skeleton;
	struct segment_line *lines;
	struct segment_image image;
	struct member_value values[MEMBERS_MAX];
	size_t count;
	struct spans spans;
	unsigned int prefix4, prefix6;
};

static int open_looker(void **state)
{
	static struct looker looker;
	size_t size = (size_t)LINES_MOST * sizeof(struct segment_line);

	lab_require_bpf();
	looker.skeleton = looking__open();
	assert_non_null(looker.skeleton);
	looker.skeleton->rodata->table_number = 1;
	assert_int_equal(bpf_map__set_max_entries(looker.skeleton->maps.segment_lines, LINES_MOST),
			 0);
	assert_int_equal(
		bpf_map__set_max_entries(looker.skeleton->maps.segment_tables, SEGMENT_TABLES), 0);
	assert_int_equal(looking__load(looker.skeleton), 0);
	looker.lines = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    bpf_map__fd(looker.skeleton->maps.segment_lines), 0);
	assert_true(looker.lines != MAP_FAILED);
	*state = &looker;
	return 0;
}

static int close_looker(void **state)
{
	struct looker *looker = *state;

	munmap(looker->lines, (size_t)LINES_MOST * sizeof(struct segment_line));
	looking__destroy(looker->skeleton);
	return 0;
}

/* The table of looker->values, as number 1; all other lines are garbage. */
static void publish(struct looker *looker)
{
	struct segment_table table;
	uint32_t number = 1;

	assert_int_equal(spans_of_values(looker->values, looker->count, &looker->spans), 0);
	assert_int_equal(
		layout_build(&looker->spans, looker->prefix4, looker->prefix6, &looker->image), 0);
	table = looker->image.table;
	assert_true(FIRST_LINE + table.lines_count <= LINES_MOST);
	memset(looker->lines, 0x5a, (size_t)LINES_MOST * sizeof(*looker->lines));
	memcpy(looker->lines + FIRST_LINE, looker->image.lines,
	       table.lines_count * sizeof(*looker->lines));
	table.lines = FIRST_LINE;
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(looker->skeleton->maps.segment_tables),
					     &number, &table, BPF_ANY),
			 0);
}

static void take_back(struct looker *looker)
{
	segment_image_release(&looker->image);
	spans_release(&looker->spans);
}

static struct packet_plan packet_from(struct plain_address at, bool as_mapped)
{
	struct packet_plan plan = is_plain_ipv4(at) && !as_mapped
					  ? packet_tcp("192.0.2.1", 1, "192.0.2.2", 2)
					  : packet_tcp("2001:db8::1", 1, "2001:db8::2", 2);
	int i;

	for (i = 0; i < 8; i++) {
		if (plan.source.family == 6) {
			plan.source.bytes[i] = at.high >> (56 - 8 * i);
			plan.source.bytes[8 + i] = at.low >> (56 - 8 * i);
		} else if (i < 4) {
			plan.source.bytes[i] = at.low >> (24 - 8 * i);
		}
	}
	return plan;
}

static uint32_t kernel_value(struct looker *looker, struct plain_address at, bool as_mapped)
{
	struct packet_plan plan = packet_from(at, as_mapped);
	struct frame frame;
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.bytes, .repeat = 1);

	packet_build(&plan, &frame);
	options.data_size_in = frame.size;
	looker->skeleton->bss->found = 0xdead;
	assert_int_equal(
		bpf_prog_test_run_opts(bpf_program__fd(looker->skeleton->progs.look_up), &options),
		0);
	assert_int_equal(options.retval, XDP_PASS);
	return looker->skeleton->bss->found;
}

static uint64_t plain_value(const struct looker *looker, struct plain_address at)
{
	const struct member_value *found = NULL;
	size_t i;

	at = plain_client(at, looker->prefix4, looker->prefix6);
	for (i = 0; i < looker->count; i++)
		if (member_holds(&looker->values[i].client, at) &&
		    (!found || looker->values[i].client.length > found->client.length))
			found = &looker->values[i];
	return found ? found->value : 0;
}

static void assert_looked_up(struct looker *looker, struct plain_address at, bool as_mapped)
{
	uint32_t value = kernel_value(looker, at, as_mapped);

	if (value != plain_value(looker, at))
		fail_msg("%016llx %016llx is %u, not %llu", (unsigned long long)at.high,
			 (unsigned long long)at.low, value,
			 (unsigned long long)plain_value(looker, at));
	assert_int_equal(value,
			 layout_find(&looker->image.table, looker->image.lines, at.high, at.low));
}

/* Both ends of a member that is there, beside them, or an address near all of them. */
static struct plain_address random_probe(struct random *random, const struct looker *looker,
					 const struct neighbourhood *near)
{
	const struct member *member;
	struct plain_address at;

	if (!looker->count || !random_below(random, 3))
		return random_near(random, near, random_below(random, 2));
	member = &looker->values[random_below(random, looker->count)].client;
	at = random_below(random, 2) ? member_end(member)
				     : (struct plain_address){member->high, member->low};
	return random_below(random, 2) ? at : plain_neighbour(at, random_below(random, 2) ? 1 : -1);
}

static void fill(struct looker *looker, struct random *random, const struct neighbourhood *near,
		 size_t most, uint32_t values_most)
{
	struct member members[MEMBERS_MAX];
	size_t i;

	for (i = 0; i < most; i++)
		members[i] = random_member(random, near);
	looker->count = members_sort(members, most);
	for (i = 0; i < looker->count; i++)
		looker->values[i] =
			(struct member_value){members[i], random_below(random, values_most)};
}

static void the_kernel_finds_what_was_laid_out(void **state)
{
	static const struct {
		unsigned int prefix4, prefix6;
	} boxes[] = {{32, 64}, {24, 48}, {32, 128}, {28, 100}};
	/* Values of entries of 16 to 64 bits and of whole keys; of short leaves and others. */
	static const uint32_t values_most[] = {2, 15, 1000, 100000, UINT32_MAX};
	struct random random = random_seeded(__func__);
	struct looker *looker = *state;
	int round, packet;

	for (round = 0; round < 60; round++) {
		struct neighbourhood near = {
			.bits = 2 + random_below(&random, 24),
			.percent4 = 50,
			.percent_clients = random_below(&random, 4) * 33,
		};

		looker->prefix4 = near.prefix4 = boxes[round % 4].prefix4;
		looker->prefix6 = near.prefix6 = boxes[round % 4].prefix6;
		fill(looker, &random, &near,
		     round < 2 ? 0 : random_below(&random, round % 3 ? 100 : MEMBERS_MAX),
		     values_most[round % 5]);
		publish(looker);
		for (packet = 0; packet < (round % 3 ? 300 : PACKETS); packet++)
			assert_looked_up(looker, random_probe(&random, looker, &near),
					 random_below(&random, 2));
		take_back(looker);
	}
}

/* Every /31 of a /18: inner lines above the leaves, two levels of them where values are long. */
static void the_kernel_finds_prefixes_side_by_side(void **state)
{
	struct random random = random_seeded(__func__);
	struct looker *looker = *state;
	int round, packet;
	size_t i;

	looker->prefix4 = 32;
	looker->prefix6 = 64;
	for (round = 0; round < 2; round++) {
		looker->count = MEMBERS_MAX;
		for (i = 0; i < MEMBERS_MAX; i++)
			looker->values[i] = (struct member_value){
				{.low = 0xffff0a010000 + 2 * i, .length = 127},
				1 + random_below(&random, round ? 5 : 100000)};
		publish(looker);
		for (packet = 0; packet < PACKETS; packet++)
			assert_looked_up(
				looker,
				(struct plain_address){
					0, 0xffff0a010000 + random_below(&random, 2 * MEMBERS_MAX)},
				false);
		take_back(looker);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_kernel_finds_what_was_laid_out),
		cmocka_unit_test(the_kernel_finds_prefixes_side_by_side),
	};

	return cmocka_run_group_tests_name("prog/looking", tests, open_looker, close_looker);
}
