// SPDX-License-Identifier: GPL-2.0-only
/*
 * What observing clients costs a packet: boxes in which it is off, samples 1 packet in 16, and
 * counts them all, with room for a million clients. Of one client, whose record is in a cache, and
 * of 512k in turns, whose records (32 MB) are not.
 */
#include "bench.h"

static const struct {
	uint32_t sample; /* 0: off */
	const char *names[3];
	double extra_ns[3]; /* at most */
} kinds[] = {
	{0,
	 {"observe: off", "observe: off, 512k clients", "observe: off, SYN, 512k clients"},
	 {0, 0, 0}},
	{16,
	 {"observe 1/16", "observe 1/16, 512k clients", "observe 1/16, SYN, 512k clients"},
	 {15, 40, 400}},
	{1,
	 {"observe all", "observe all, 512k clients", "observe all, SYN, 512k clients"},
	 {60, 400, 400}},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct lab *boxes[KINDS];

static struct lab *make_box(uint32_t sample)
{
	struct limits limits = {
		.services = 64, .vips = 256, .backends = 4096, .observed_clients = 1 << 20};
	struct lab *lab = lab_open(lab_secret, limits);

	add_service(lab, STEER_IPIP, 4, "192.0.2.1:80/tcp");
	lab_publish(lab);
	lab_observe(lab, sample);
	return lab;
}

/* @turn: as names[] of kinds. */
static void add_kind(struct plans *plans, size_t kind, int turn)
{
	struct case_plan *plan = add_case(plans, kinds[kind].names[turn], boxes[kind], "192.0.2.1");

	with_budget(plan, kinds[0].names[turn], 0);
	plan->extra_ns = kinds[kind].extra_ns[turn];
	plan->clients = turn ? MANY_CLIENTS : 0;
	if (turn == 2)
		plan->packet.tcp_flags = FLAG_SYN;
}

void plans_add_observed(struct plans *plans)
{
	size_t kind;
	int turn;

	for (kind = 0; kind < KINDS; kind++)
		boxes[kind] = make_box(kinds[kind].sample);
	for (turn = 0; turn < 3; turn++)
		for (kind = 0; kind < KINDS; kind++)
			add_kind(plans, kind, turn);
}

void observed_release(void)
{
	size_t kind;

	for (kind = 0; kind < KINDS; kind++)
		lab_close(boxes[kind]);
}
