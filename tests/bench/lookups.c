// SPDX-License-Identifier: GPL-2.0-only
/*
 * What rules over segments cost a packet: services with four rules, in boxes whose table has a
 * million exact clients, 100,000 prefixes, or both. Clients come at random, so that the table's
 * lines are not in a cache. Against a service without segments in the same box, of the same
 * clients, which pays nothing.
 */
#include "bench.h"
#include "client_table.h"

#include <string.h>

#define CLIENTS	 (1u << 20)
#define PREFIXES 100000
#define SEGMENTS 4

/* The clients that packets of add_case() come from. */
#define FIRST4	   "100.64.0.0"
#define FIRST6	   "2001:db8:64::"
#define STRANGERS4 "100.64.0.1" /* CLIENT_SPREAD apart from there on, none of the others comes up  \
				 */

enum box_kind { EXACT, CIDRS, BOTH, EXACT6, CIDRS6, BOXES };
static struct lab *boxes[BOXES];

/* Dealt out to the segments in turn. */
static void deal(struct lab *lab, const struct member *members, size_t count)
{
	struct lab_clients *clients = &lab->clients;
	size_t i;

	for (i = 0; i < SEGMENTS; i++)
		clients->segments[i] = reallocarray(clients->segments[i],
						    clients->counts[i] + count / SEGMENTS + 1,
						    sizeof(**clients->segments));
	for (i = 0; i < count; i++) {
		size_t segment = i % SEGMENTS;

		clients->segments[segment][clients->counts[segment]++] = members[i];
	}
	clients->changes++;
	clients->has_any = true;
}

static void add_clients(struct lab *lab, const char *first)
{
	struct member *members = spread_clients(first, CLIENTS);

	deal(lab, members, CLIENTS);
	free(members);
}

static void add_prefixes(struct lab *lab, int family)
{
	struct random random = {family};
	size_t count = PREFIXES;
	struct member *members = random_prefixes(&random, family, &count);

	deal(lab, members, count);
	free(members);
}

static struct lab *make_box(enum box_kind kind)
{
	struct limits limits = {.services = 64,
				.vips = 256,
				.backends = 4096,
				.segment_clients = CLIENTS,
				.segment_prefixes = 1 << 17};
	struct lab *lab = lab_open(lab_secret, limits);
	struct lab_service *service;
	uint8_t i;

	lab_add_vip(add_service(lab, STEER_IPIP, 4, "192.0.2.1:80/tcp"), "[2001:db8::1]:80/tcp");
	service = add_service(lab, STEER_IPIP, 4, "192.0.2.2:80/tcp");
	lab_add_vip(service, "[2001:db8::2]:80/tcp");
	for (i = 0; i < SEGMENTS; i++)
		lab_add_rule(service, i, 1 + i, i);
	if (kind == EXACT || kind == BOTH)
		add_clients(lab, FIRST4);
	if (kind == CIDRS || kind == BOTH)
		add_prefixes(lab, 4);
	if (kind == EXACT6)
		add_clients(lab, FIRST6);
	if (kind == CIDRS6)
		add_prefixes(lab, 6);
	lab_publish(lab);
	return lab;
}

/* @extra_ns: the budget against the case of the name @against. */
static void add(struct plans *plans, const char *name, enum box_kind kind, const char *vip,
		const char *against, double extra_ns, const char *first)
{
	struct case_plan *plan = add_case(plans, name, boxes[kind], vip);

	with_budget(plan, against, 0);
	plan->extra_ns = extra_ns;
	plan->packet = packet_tcp(first, 40000, vip, 80);
	plan->clients = CLIENTS;
	plan->client_spread = CLIENT_SPREAD;
}

void plans_add_lookups(struct plans *plans)
{
	static const char base[] = "no segments, 1M clients at random";
	static const char base6[] = "no segments, 1M IPv6 clients at random";
	enum box_kind kind;

	for (kind = 0; kind < BOXES; kind++)
		boxes[kind] = make_box(kind);
	add(plans, base, EXACT, "192.0.2.1", base, 0, FIRST4);
	add(plans, "1M exact clients", EXACT, "192.0.2.2", base, 90, FIRST4);
	add(plans, "1M exact clients, strangers", EXACT, "192.0.2.2", base, 90, STRANGERS4);
	add(plans, "100k CIDRs", CIDRS, "192.0.2.2", base, 60, FIRST4);
	add(plans, "1M and 100k, exact ones", BOTH, "192.0.2.2", base, 90, FIRST4);
	add(plans, "1M and 100k, others", BOTH, "192.0.2.2", base, 0, STRANGERS4);
	add(plans, base6, EXACT6, "2001:db8::1", base6, 0, FIRST6);
	add(plans, "1M exact IPv6 clients", EXACT6, "2001:db8::2", base6, 0, FIRST6);
	add(plans, "100k IPv6 CIDRs", CIDRS6, "2001:db8::2", base6, 0, FIRST6);
}

void lookups_release(void)
{
	enum box_kind kind;

	for (kind = 0; kind < BOXES; kind++)
		lab_close(boxes[kind]);
}
