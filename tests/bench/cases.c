// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is measured. The case that budgets are about: IPv4, IPIP, one rule at 10%, 16 backends,
 * established TCP. One box has one service of each kind; others have what would change every
 * packet's path: any-port VIPs, and many services.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANARY_BACKENDS 4
#define CLIENT4		"100.64.0.0"
#define CLIENT6		"2001:db8:64::1"

static const struct limits large = {.services = 1024, .vips = 8192, .backends = 65536};
static struct lab *boxes[3];

static void add_backends(struct lab_service *service, int family)
{
	char address[64];
	int i;

	for (i = 0; i < BACKENDS; i++) {
		size_t cohort = i >= BACKENDS - CANARY_BACKENDS;

		snprintf(address, sizeof(address), family == 4 ? "10.0.0.%d" : "fd00::%d", i + 1);
		lab_add_backend(service, cohort, address, 100, LAB_INGRESS);
	}
	lab_set_share(service, 1, 100000);
}

struct lab_service *add_service(struct lab *lab, enum steer_method steer, int family,
				const char *vip)
{
	struct lab_service *service = lab_add_service(lab, vip, steer);

	lab_add_vip(service, vip);
	add_backends(service, family);
	return service;
}

static void add_pins(struct lab_service *service)
{
	char prefix[64];
	int i;

	for (i = 0; i < 1000; i++) {
		snprintf(prefix, sizeof(prefix), "10.%d.%d.0/24", i / 250, i % 250);
		lab_add_pin(service, prefix, 1, PIN_FOREVER);
	}
}

/* VIPs of services that other tools split, by enum split_hash. */
static const char *const split_vips4[] = {NULL, "192.0.2.11", "192.0.2.12", "192.0.2.13"};
static const char *const split_vips6[] = {NULL, "2001:db8::11", "2001:db8::12", "2001:db8::13"};

static void add_splits(struct lab *lab)
{
	struct lab_service *service;
	char vip[64];
	int hash;

	for (hash = HASH_NGINX; hash <= HASH_NFT_JHASH; hash++) {
		snprintf(vip, sizeof(vip), "%s:80/tcp", split_vips4[hash]);
		service = add_service(lab, STEER_IPIP, 4, vip);
		snprintf(vip, sizeof(vip), "[%s]:80/tcp", split_vips6[hash]);
		lab_add_vip(service, vip);
		service->service.hash = hash;
		service->service.prefix6 = 128;
	}
}

static struct lab *make_kinds(void)
{
	struct lab *lab = lab_open(lab_secret, large);
	struct lab_service *service;

	add_service(lab, STEER_IPIP, 4, "192.0.2.1:80/tcp");
	add_service(lab, STEER_L2, 4, "192.0.2.2:80/tcp");
	add_service(lab, STEER_IPIP, 4, "192.0.2.3:53/udp");
	add_pins(add_service(lab, STEER_IPIP, 4, "192.0.2.4:80/tcp"));
	add_service(lab, STEER_IPIP, 4, "192.0.2.5:80/tcp")->service.holdout_ppm = 50000;
	add_service(lab, STEER_IPIP, 6, "192.0.2.6:80/tcp");
	add_service(lab, STEER_IPIP, 4, "[2001:db8::1]:80/tcp");
	add_service(lab, STEER_IPIP, 6, "[2001:db8::2]:80/tcp");
	service = add_service(lab, STEER_IPIP, 4, "192.0.2.7:80/tcp");
	lab_set_cohorts(service, 4);
	add_service(lab, STEER_IPIP, 4, "192.0.2.8:80/tcp")->service.client_key = CLIENT_KEY_FLOW;
	add_service(lab, STEER_IPIP, 4, "192.0.2.9:80/tcp")->service.enforce = false;
	add_splits(lab);
	lab_publish(lab);
	return lab;
}

static struct lab *make_any_port(void)
{
	struct lab *lab = lab_open(lab_secret, large);

	add_service(lab, STEER_IPIP, 4, "192.0.2.1:80/tcp");
	add_service(lab, STEER_IPIP, 4, "192.0.2.2:*/tcp");
	lab_publish(lab);
	return lab;
}

static struct lab *make_many(void)
{
	struct lab *lab = lab_open(lab_secret, large);
	char vip[64];
	int i;

	for (i = 0; i < 1024; i++) {
		snprintf(vip, sizeof(vip), "203.0.%d.%d:80/tcp", i / 256, i % 256);
		add_service(lab, STEER_IPIP, 4, vip);
	}
	lab_publish(lab);
	return lab;
}

struct case_plan *add_case(struct plans *plans, const char *name, const struct lab *lab,
			   const char *vip)
{
	struct case_plan *plan = &plans->cases[plans->count++];

	if (plans->count > CASES_MAX) {
		fprintf(stderr, "bench: %s: too many cases: raise CASES_MAX\n", name);
		exit(2);
	}
	*plan = (struct case_plan){
		.name = name, .lab = lab, .verdict = XDP_TX, .against = "established"};
	plan->packet = packet_tcp(strchr(vip, ':') ? CLIENT6 : CLIENT4, 40000, vip, 80);
	return plan;
}

struct case_plan *with_budget(struct case_plan *plan, const char *against, double ratio)
{
	plan->against = against;
	plan->ratio = ratio;
	return plan;
}

static void add_budgeted(struct plans *plans, const struct lab *lab)
{
	struct case_plan *plan;

	with_budget(add_case(plans, "floor: return XDP_TX", NULL, "192.0.2.1"),
		    "floor: return XDP_TX", 0);
	with_budget(add_case(plans, "established", lab, "192.0.2.1"), "floor: return XDP_TX", 3.0);
	plan = add_case(plans, "established, 512k clients", lab, "192.0.2.1");
	with_budget(plan, "established", 1.15)->clients = MANY_CLIENTS;
	plan = add_case(plans, "SYN of a new flow, 512k clients", lab, "192.0.2.1");
	with_budget(plan, "established", 1.15)->clients = MANY_CLIENTS;
	plan->packet.tcp_flags = FLAG_SYN;
	plan = add_case(plans, "not for a VIP", lab, "192.0.2.200");
	with_budget(plan, "floor: return XDP_TX", 1.5)->verdict = XDP_PASS;
	plan = add_case(plans, "IPv6 in IPv4", lab, "2001:db8::1");
	plan->extra_ns = 15;
	plan = add_case(plans, "IPv6 in IPv6", lab, "2001:db8::2");
	plan->extra_ns = 15;
}

static void add_others(struct plans *plans, const struct lab *lab)
{
	struct case_plan *plan;

	add_case(plans, "established, 64k ports of a client", lab, "192.0.2.1")->ports = 1 << 16;
	plan = add_case(plans, "IPv6 in IPv6, 512k clients", lab, "2001:db8::2");
	plan->clients = MANY_CLIENTS;
	add_case(plans, "IPv4 in IPv6", lab, "192.0.2.6");
	add_case(plans, "l2", lab, "192.0.2.2");
	plan = add_case(plans, "UDP", lab, "192.0.2.3");
	plan->packet = packet_udp(CLIENT4, 40000, "192.0.2.3", 53);
	add_case(plans, "1 VLAN tag", lab, "192.0.2.1")->packet.tags = 1;
	add_case(plans, "1000 pins, not pinned", lab, "192.0.2.4");
	add_case(plans, "1000 pins, 512k clients", lab, "192.0.2.4")->clients = MANY_CLIENTS;
	add_case(plans, "holdout", lab, "192.0.2.5");
	add_case(plans, "three canaries, 512k clients", lab, "192.0.2.7")->clients = MANY_CLIENTS;
	add_case(plans, "client key: flow", lab, "192.0.2.8");
	add_case(plans, "enforce: false", lab, "192.0.2.9")->verdict = XDP_PASS;
	plan = add_case(plans, "not for a VIP, 512k sources", lab, "192.0.2.200");
	with_budget(plan, "floor: return XDP_TX", 0)->clients = MANY_CLIENTS;
	plan->verdict = XDP_PASS;
	plan = add_case(plans, "IPv6, not for a VIP", lab, "2001:db8::99");
	with_budget(plan, "floor: return XDP_TX", 0)->verdict = XDP_PASS;
}

/* Against our own hash: what the other's costs on top, for it is computed beside the token. */
static void add_split_cases(struct plans *plans, const struct lab *lab)
{
	static const char *const names[] = {NULL, "hash: nginx", "hash: haproxy-crc32",
					    "hash: nft-jhash"};
	static const char *const names6[] = {NULL, "hash: nginx, IPv6", "hash: haproxy-crc32, IPv6",
					     "hash: nft-jhash, IPv6"};
	int hash;

	for (hash = HASH_NGINX; hash <= HASH_NFT_JHASH; hash++) {
		add_case(plans, names[hash], lab, split_vips4[hash]);
		with_budget(add_case(plans, names6[hash], lab, split_vips6[hash]), "IPv6 in IPv4",
			    0);
	}
}

void plans_make(struct plans *plans)
{
	struct case_plan *plan;

	boxes[0] = make_kinds();
	boxes[1] = make_any_port();
	boxes[2] = make_many();
	*plans = (struct plans){.count = 0};
	add_budgeted(plans, boxes[0]);
	add_others(plans, boxes[0]);
	add_split_cases(plans, boxes[0]);
	add_case(plans, "any-port VIP", boxes[1], "192.0.2.2");
	add_case(plans, "a port's own VIP beside any-port ones", boxes[1], "192.0.2.1");
	plan = add_case(plans, "not for a VIP, beside any-port ones", boxes[1], "192.0.2.200");
	with_budget(plan, "floor: return XDP_TX", 0)->verdict = XDP_PASS;
	plan = add_case(plans, "16 services, 512k clients", boxes[2], "203.0.0.0");
	plan->services = 16;
	plan->clients = MANY_CLIENTS;
	plan = add_case(plans, "1,024 services, 512k clients", boxes[2], "203.0.0.0");
	plan->services = 1024;
	plan->clients = MANY_CLIENTS;
	plans_add_eras(plans);
	plans_add_observed(plans);
	plans_add_tracked(plans);
	plans_add_lookups(plans);
}

void plans_release(void)
{
	size_t i;

	eras_release();
	observed_release();
	tracked_release();
	lookups_release();
	for (i = 0; i < sizeof(boxes) / sizeof(boxes[0]); i++)
		lab_close(boxes[i]);
}
