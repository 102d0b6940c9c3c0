// SPDX-License-Identifier: GPL-2.0-only
/*
 * Services in transition, with tables of 1 MB and 16 MB, and services with backends down. Each box
 * has a service that is calm, which the others are measured against. Flows are agreeing (epochs of
 * the era say the same of them) or ambiguous; of the latter a hit has an entry in the table, a miss
 * has none, and a SYN makes one.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_1MB  16384u
#define LINES_16MB 262144u

/* Clients of their own, for one's entries would be another's. */
#define HIT_CLIENT  "100.64.0.0"
#define SYN_CLIENT  "110.0.0.0"
#define MISS_CLIENT "100.80.0.0"
#define SYN_CLIENTS (1u << 24) /* so many that none is still there when it comes again */

#define AGREEING_NS	15
#define AMBIGUOUS_NS	30
#define AMBIGUOUS_16_NS 180
#define DOWN_NS		20

enum { SMALL_TABLE, LARGE_TABLE, DOWN, ERA_BOXES };
static struct lab *boxes[ERA_BOXES];

static struct lab_service *service_of(const struct lab *lab, const char *address)
{
	size_t i;

	for (i = 0; i < lab->services_count; i++)
		if (!strncmp(lab->services[i]->service.name, address, strlen(address)) &&
		    lab->services[i]->service.name[strlen(address)] == ':')
			return lab->services[i];
	fprintf(stderr, "bench: no service is called %s\n", address);
	exit(2);
}

static const char calm_vip[] = "192.0.2.1";

static struct lab_service *add_in_era(struct lab *lab, const char *address, uint32_t share)
{
	char vip[64];
	struct lab_service *service;

	snprintf(vip, sizeof(vip), "%s:80/tcp", address);
	service = add_service(lab, STEER_IPIP, 4, vip);
	service->has_eras = true;
	lab_set_share(service, 1, share);
	return service;
}

/* So much is free that half of it, shared by all, gives each service a table of @lines. */
static struct lab *open_box(uint32_t lines, uint32_t services)
{
	struct limits limits = {.services = 64, .vips = 256, .backends = 4096};
	struct lab *lab;

	limits.transition_flows = lines * TRANSITION_WAYS * 2 * services;
	lab = lab_open(lab_secret, limits);
	add_service(lab, STEER_IPIP, 4, "192.0.2.1:80/tcp");
	return lab;
}

static void require_table(const struct lab *lab, const struct lab_service *service, uint32_t lines)
{
	const struct view *view = datapath_view(lab->datapath, service->slot);

	if ((view->flags & VIEW_TRANSITION) && view->transition_lines == lines)
		return;
	fprintf(stderr, "bench: %s: flags %#x, %u lines, not %u\n", service->service.name,
		view->flags, view->transition_lines, lines);
	exit(2);
}

/* Epochs of an era, 1 to 16, which on the whole dispute every client ... */
static void change_all(struct lab_service *service, int epoch, int epochs)
{
	if (epoch < epochs)
		lab_set_share(service, 1,
			      epoch == epochs - 1 ? 1000000 : 10000 + 400000 * (epoch & 1));
}

/* ... or one in 100,000. */
static void change_few(struct lab_service *service, int epoch, int epochs)
{
	if (epoch < epochs)
		lab_set_share(service, 1, 100000 + (epoch + 1) * 10 / epochs);
}

static const struct {
	int epochs;
	const char *ambiguous, *agreeing; /* VIPs */
	const char *names[4];
} eras[] = {
	{1,
	 "192.0.2.11",
	 "192.0.2.21",
	 {"1 epoch, agreeing", "1 epoch, hit", "1 epoch, miss", "1 epoch, SYN"}},
	{4,
	 "192.0.2.12",
	 "192.0.2.22",
	 {"4 epochs, agreeing", "4 epochs, hit", "4 epochs, miss", "4 epochs, SYN"}},
	{16,
	 "192.0.2.13",
	 "192.0.2.23",
	 {"16 epochs, agreeing", "16 epochs, hit", "16 epochs, miss", "16 epochs, SYN"}},
};
#define ERAS (sizeof(eras) / sizeof(eras[0]))

static const char mixed_vip[] = "192.0.2.31";

static struct lab *make_small_table(void)
{
	struct lab *lab = open_box(LINES_1MB, 2 * ERAS + 2);
	struct lab_service *ambiguous[ERAS], *agreeing[ERAS], *mixed;
	int epoch;
	size_t i;

	for (i = 0; i < ERAS; i++)
		ambiguous[i] = add_in_era(lab, eras[i].ambiguous, 0);
	mixed = add_in_era(lab, mixed_vip, 100000);
	for (i = 0; i < ERAS; i++)
		agreeing[i] = add_in_era(lab, eras[i].agreeing, 100000);
	lab_publish(lab);
	lab_set_share(mixed, 1, 150000);
	for (epoch = 0; epoch < 16; epoch++) {
		for (i = 0; i < ERAS; i++) {
			change_all(ambiguous[i], epoch, eras[i].epochs);
			change_few(agreeing[i], epoch, eras[i].epochs);
		}
		lab_publish(lab);
	}
	for (i = 0; i < ERAS; i++)
		require_table(lab, ambiguous[i], LINES_1MB);
	return lab;
}

static struct lab *make_large_table(void)
{
	struct lab *lab = open_box(LINES_16MB, 2);
	struct lab_service *service = add_in_era(lab, eras[0].ambiguous, 0);
	int epoch;

	lab_publish(lab);
	for (epoch = 0; epoch < 16; epoch++) {
		change_all(service, epoch, 16);
		lab_publish(lab);
	}
	require_table(lab, service, LINES_16MB);
	return lab;
}

static const struct {
	int backends;
	const char *calm, *in_era; /* VIPs */
	const char *names[2];
} downs[] = {
	{1, "192.0.2.41", "192.0.2.51", {"1 of 16 down", "1 of 16 down, in its era"}},
	{4, "192.0.2.42", "192.0.2.52", {"4 of 16 down", "4 of 16 down, in its era"}},
	{8, "192.0.2.43", "192.0.2.53", {"8 of 16 down", "8 of 16 down, in its era"}},
	{12, "192.0.2.44", "192.0.2.54", {"12 of 16 down", "12 of 16 down, in its era"}},
};
#define DOWNS (sizeof(downs) / sizeof(downs[0]))

/* Of four, one is the canary's: as of all. */
static void take_down(struct lab_service *service, int count)
{
	int i;

	for (i = 0; i < count; i++)
		service->backends[i % 4 == 3][i % 4 == 3 ? i / 4 : i - i / 4].health = BACKEND_DOWN;
}

static struct lab *make_down(void)
{
	struct lab *lab = open_box(LINES_1MB, 2 * DOWNS + 1);
	struct lab_service *calm[DOWNS], *in_era[DOWNS];
	size_t i;

	for (i = 0; i < DOWNS; i++)
		in_era[i] = add_in_era(lab, downs[i].in_era, 100000);
	for (i = 0; i < DOWNS; i++) {
		calm[i] = add_in_era(lab, downs[i].calm, 100000);
		calm[i]->has_eras = false;
		take_down(calm[i], downs[i].backends);
	}
	lab_publish(lab);
	for (i = 0; i < DOWNS; i++) {
		take_down(in_era[i], downs[i].backends);
		lab_publish_health(lab, in_era[i]);
	}
	return lab;
}

/* ---- cases ---- */

static struct case_plan *add_extra(struct plans *plans, const char *name, const struct lab *lab,
				   const char *vip, const char *against, double extra_ns)
{
	struct case_plan *plan = with_budget(add_case(plans, name, lab, vip), against, 0);

	plan->clients = MANY_CLIENTS;
	plan->extra_ns = extra_ns;
	return plan;
}

/* An ambiguous one, whose packets from @client on have the @flags and take the @path. */
static struct case_plan *add_path(struct plans *plans, const char *name, const struct lab *lab,
				  const char *vip, const char *against, double extra_ns,
				  const char *client, uint8_t flags, enum flow_path path)
{
	struct case_plan *plan = add_extra(plans, name, lab, vip, against, extra_ns);

	plan->packet = packet_tcp(client, 40000, vip, 80);
	if (flags)
		plan->packet.tcp_flags = flags;
	plan->service = service_of(lab, vip);
	plan->path = path;
	return plan;
}

/* @clients: flows that have an entry, two for each line of the table; a small one is warm. */
static void add_ambiguous(struct plans *plans, const struct lab *lab, const char *vip,
			  const char *const names[3], const char *against, double extra_ns,
			  uint32_t clients)
{
	uint32_t warm_up = clients <= 2 * LINES_1MB ? clients : 0;
	struct case_plan *plan;

	plan = add_path(plans, names[0], lab, vip, against, extra_ns, HIT_CLIENT, 0, PATH_ENTRY);
	plan->clients = clients;
	plan->recorded = true;
	plan->warm_up = warm_up;
	plan = add_path(plans, names[1], lab, vip, against, extra_ns, MISS_CLIENT, 0, PATH_ORIGIN);
	plan->warm_up = warm_up;
	plan = add_path(plans, names[2], lab, vip, against, extra_ns, SYN_CLIENT, FLAG_SYN,
			PATH_SYN_RECORDED);
	plan->clients = SYN_CLIENTS;
	plan->warm_up = warm_up;
}

static void add_small_table(struct plans *plans, const struct lab *lab)
{
	static const char calm[] = "1 MB box: calm";
	struct case_plan *plan;
	size_t i;

	with_budget(add_case(plans, calm, lab, calm_vip), calm, 0)->clients = MANY_CLIENTS;
	for (i = 0; i < ERAS; i++) {
		add_extra(plans, eras[i].names[0], lab, eras[i].agreeing, calm, AGREEING_NS);
		add_ambiguous(plans, lab, eras[i].ambiguous, &eras[i].names[1], calm, AMBIGUOUS_NS,
			      2 * LINES_1MB);
	}
	plan = add_path(plans, "1 epoch, hit, 1,024 flows", lab, eras[0].ambiguous, calm,
			AMBIGUOUS_NS, HIT_CLIENT, 0, PATH_ENTRY);
	plan->clients = 1024;
	plan->recorded = true;
	plan = add_path(plans, "1 epoch, a SYN again", lab, eras[0].ambiguous, calm, AMBIGUOUS_NS,
			HIT_CLIENT, FLAG_SYN, PATH_SYN_KEPT);
	plan->clients = 2 * LINES_1MB;
	plan = add_extra(plans, "1 epoch, agreeing, SYN", lab, eras[0].agreeing, calm,
			 AMBIGUOUS_NS);
	plan->packet.tcp_flags = FLAG_SYN;
	add_extra(plans, "5% of the clients ambiguous, miss", lab, mixed_vip, calm, AMBIGUOUS_NS);
}

static void add_large_table(struct plans *plans, const struct lab *lab)
{
	static const char calm[] = "16 MB box: calm";
	static const char *const names[] = {"16 MB, 16 epochs, hit", "16 MB, 16 epochs, miss",
					    "16 MB, 16 epochs, SYN"};

	with_budget(add_case(plans, calm, lab, calm_vip), calm, 0)->clients = MANY_CLIENTS;
	add_ambiguous(plans, lab, eras[0].ambiguous, names, calm, AMBIGUOUS_16_NS, 2 * LINES_16MB);
}

static void add_down(struct plans *plans, const struct lab *lab)
{
	static const char calm[] = "none of 16 down";
	size_t i;

	with_budget(add_case(plans, calm, lab, calm_vip), calm, 0)->clients = MANY_CLIENTS;
	for (i = 0; i < DOWNS; i++) {
		add_extra(plans, downs[i].names[0], lab, downs[i].calm, calm, DOWN_NS);
		add_extra(plans, downs[i].names[1], lab, downs[i].in_era, calm, DOWN_NS);
	}
}

void plans_add_eras(struct plans *plans)
{
	boxes[SMALL_TABLE] = make_small_table();
	boxes[LARGE_TABLE] = make_large_table();
	boxes[DOWN] = make_down();
	add_small_table(plans, boxes[SMALL_TABLE]);
	add_large_table(plans, boxes[LARGE_TABLE]);
	add_down(plans, boxes[DOWN]);
}

/* ---- memory ---- */

/* Bytes that the kernel has of the map; per-CPU ones counted for each CPU. */
static unsigned long map_memory(int fd)
{
	unsigned long bytes = 0;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "memlock: %lu", &bytes) == 1)
			break;
	if (file)
		fclose(file);
	return bytes;
}

void eras_print_memory(void)
{
	static const char *const names[] = {"1 MB box", "16 MB box", "box of backends down"};
	size_t i, map;

	for (i = 0; i < ERA_BOXES; i++) {
		unsigned long all = 0;

		for (map = 0; map < MAPS; map++)
			all += map_memory(boxes[i]->datapath->maps[map].fd);
		printf("memory, %s: maps %.1f MiB, of them the transition table %.1f MiB\n",
		       names[i], all / 1048576.0,
		       map_memory(boxes[i]->datapath->maps[MAP_TRANSITION].fd) / 1048576.0);
	}
}

void eras_release(void)
{
	size_t i;

	for (i = 0; i < ERA_BOXES; i++)
		lab_close(boxes[i]);
}
