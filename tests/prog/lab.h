/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A box for one test program: real maps in a bpffs of its own (in a mount and network namespace
 * that end with the process), the real program loaded on them, services described in C and
 * published the way commands do. Numbers that the store would give are fixed: a service's slot is
 * its place in the lab.
 */
#ifndef XDP_CANARY_TESTS_LAB_H
#define XDP_CANARY_TESTS_LAB_H

#include "datapath/datapath.h"
#include "datapath/observed.h"
#include "datapath/publish.h"
#include "packet.h"
#include "policy/compile.h"
#include "segment/classes.h"

#include <linux/bpf.h>

#define LAB_INGRESS 1 /* loopback of the lab's network namespace */
#define LAB_EGRESS  7 /* any other: redirects are not carried out in a test run */
#define LAB_METADATA_MOST                                                                          \
	216 /* XDP's headroom less the kernel's struct xdp_frame: no room is left */
#define LAB_MAC_OF_BOX "\x02\xff\x00\x00\x00\x01"

struct lab_backend {
	struct backend backend;
	struct next_hop hop;
	uint8_t health; /* enum backend_health */
};

struct lab;

struct lab_service {
	const struct lab *lab;
	struct service service;
	uint32_t shares[RULES_MAX][COHORTS_MAX]; /* ppm, in force */
	struct lab_backend *backends[COHORTS_MAX];
	uint8_t rule_names[RULES_MAX];	  /* counters go by them; 0: the default rule's */
	uint8_t rule_segments[RULES_MAX]; /* of all but the default rule */
	uint8_t group_column;		  /* that it groups its clients by, from 1 on; 0: none */
	struct pin *pins;
	size_t pins_count;
	uint8_t rollout_cohort, latched; /* as compile_view() takes them */
	bool is_lease_latch;
	uint64_t lease_ms;
	uint32_t slot;
	uint64_t epoch;
	bool tracked; /* its clients are followed, as element .track */
	uint32_t track, control_factor;
	uint64_t salt64;	/* not 0: instead of the salt text's */
	bool has_eras;		/* changes are folded by .plan; else they take every flow at once */
	struct transition_plan
		plan; /* the clock and, once it has been published, cuts are filled in */
	struct address *numbered; /* backends, by number: they keep it */
	size_t numbered_count;
};

/* Who is in which segment, and in which group of each column. */
#define LAB_TEXTS 15 /* groups of a column are 1 to LAB_TEXTS */
struct lab_clients {
	struct member *segments[SEGMENTS_MAX];
	size_t counts[SEGMENTS_MAX];
	struct member_value *columns[GROUP_COLUMNS_MAX];
	size_t column_counts[GROUP_COLUMNS_MAX];
	uint8_t prefix4, prefix6; /* of clients of the box: nothing is longer */
	uint64_t changes;
	bool has_any;
};

struct lab {
	char directory[64];
	struct limits limits;
	struct siphash_key secret;
	struct datapath *datapath;
	struct program *program, *explaining;
	struct errors *errors;
	struct lab_service **services;
	size_t services_count, published; /* published: slots that the last publication used */
	struct lab_clients clients;
	uint64_t table_version; /* of the clients in the segment table that views are to use */
	uint32_t ingress;
	uint32_t metadata; /* bytes in front of the packet: takes headroom away */
	bool aside;	   /* run the explaining program instead */
};

extern const struct siphash_key lab_secret; /* 000102...0f, as in the interface's test vectors */

/* ---- the box ---- */

/* Ends the process with status 77 and a reason where BPF cannot be used. */
void lab_require_bpf(void);
struct lab *lab_open(struct siphash_key secret, struct limits limits);
void lab_close(struct lab *lab);
/* As setups and teardowns of cmocka: one box a program, no services at the start of a test. */
int lab_setup_group(void **state);
int lab_teardown_group(void **state);
int lab_setup(void **state);

#define lab_test(function) cmocka_unit_test_setup(function, lab_setup)

/* Begins a window of 1 in @sample with no client known, or ends it (0). */
void lab_observe(struct lab *lab, uint32_t sample);

/* ---- services ---- */

/* Without VIPs and backends; cohorts stable and canary with the whole as its slot; 0%. Freed by the
 * lab. */
struct lab_service *lab_add_service(struct lab *lab, const char *name, enum steer_method steer);
void lab_add_vip(struct lab_service *service, const char *vip);
/* Slots stay as they are: set them where the default, the same for all, is not wanted. */
void lab_set_cohorts(struct lab_service *service, size_t count);
/* @ifindex 0: no next hop. The MAC is lab_mac(cohort, index). Returns it, for more settings. */
struct lab_backend *lab_add_backend(struct lab_service *service, size_t cohort, const char *address,
				    uint16_t weight, uint32_t ifindex);
void lab_add_pin(struct lab_service *service, const char *prefix, uint8_t cohort, uint64_t expires);
void lab_set_share(struct lab_service *service, size_t cohort,
		   uint32_t ppm); /* of the default rule */
void lab_mac(size_t cohort, size_t index, uint8_t mac[6]);

#define LAB_NAMES 16 /* of rules */
/* A rule of clients of @segment in front of the @at-th, at 0%. @name: 1 to LAB_NAMES - 1. */
void lab_add_rule(struct lab_service *service, size_t at, uint8_t name, uint8_t segment);
void lab_remove_rule(struct lab_service *service, size_t at);

/* A service, usual in tests: one VIP each family, a backend each cohort: 10.0.<cohort>.11 or
 * fd00:<cohort>::11. */
#define LAB_VIP4 "192.0.2.10"
#define LAB_VIP6 "2001:db8::10"
struct lab_service *lab_add_usual(struct lab *lab, enum steer_method steer, int family);

/* The image of one service, for tests that publish by themselves; release both. */
struct lab_image {
	struct view_image image;
	struct next_hop *hops;
};
void lab_compile(struct lab_service *service, struct lab_image *out);
void lab_image_release(struct lab_image *image);
/* Health alone, in place where it can be: the backends' .health has changed. */
void lab_publish_health(struct lab *lab, struct lab_service *service);
/* Shows all of the lab's services, and no others, and the table of their VIPs. */
void lab_publish(struct lab *lab);
void lab_reset(struct lab *lab);

/* ---- clients, and the segment table that is made of them ---- */

void lab_add_member(struct lab *lab, uint8_t segment, const struct prefix *client);
void lab_remove_member(struct lab *lab, uint8_t segment, const struct prefix *client);
/* @text 0: of no group any more. @column: from 1 on. */
void lab_set_group(struct lab *lab, uint8_t column, const struct prefix *client, uint8_t text);
/* What a group's text is, for its token. */
const char *lab_text(uint8_t text, char out[16]);
void lab_remove_clients(struct lab *lab);

/*
 * For one write, as control/segments.c does it: the table that views are to use, built and written
 * where the clients have changed.
 */
struct lab_table {
	bool has_table;
	uint8_t place, in_use;
	struct class_mapping from[SEGMENT_TABLES]; /* by place of the tables in use */
};

void lab_table_begin(struct lab *lab, struct lab_table *out);
/* The same, of the clients that the last one was made of. */
void lab_table_stay(struct lab *lab, struct lab_table *out);
void lab_table_end(struct lab_table *table);
/* Need a view that follows @view not be published for the table's sake? */
bool lab_table_is_shown(const struct lab_table *table, const struct view *view);
/* Lives as long as @table. */
struct client_classes lab_table_classes(const struct lab *lab, const struct lab_table *table,
					const struct lab_service *service);

/* ---- packets ---- */

struct run {
	uint32_t verdict;
	struct frame out;
};

/*
 * One packet through the program. May be called from several threads with a run of their own. The
 * kernel refuses test runs of frames that are shorter than an Ethernet header, 14 bytes.
 */
void lab_run(const struct lab *lab, const struct frame *in, struct run *run);
void lab_run_plan(const struct lab *lab, const struct packet_plan *plan, struct run *run);
/* The cohort that a steered packet went to, by the destination MAC; -1: it was not steered to a
 * lab's backend. */
int lab_cohort_of(const struct run *run);
int lab_backend_of(const struct run *run); /* the same: its place in the cohort */
/* What the explaining program says of it. */
struct explanation lab_explain(struct lab *lab, const struct packet_plan *plan);
/* Fails the test unless the packet was passed on with every byte as it was, for @reason. */
void lab_assert_passed(struct lab *lab, const struct frame *in, enum reason reason);
/* Fails the test unless it was dropped for @reason. */
void lab_assert_dropped(struct lab *lab, const struct frame *in, enum reason reason);

/* ---- counters, summed over the CPUs ---- */

struct interface_counter lab_interface_counter(const struct lab *lab);
uint64_t lab_reason(const struct lab *lab, enum reason reason);
struct affinity_counter lab_affinity_counter(const struct lab *lab,
					     const struct lab_service *service);
/* @rule RULE_NONE: of decisions that no rule took. */
struct rule_counter lab_rule_counter(const struct lab *lab, const struct lab_service *service,
				     uint8_t rule, size_t cohort);
struct backend_counter lab_backend_counter(const struct lab *lab, const struct lab_service *service,
					   size_t number);
uint64_t lab_segment_counter(const struct lab *lab, uint8_t segment);
struct decision_counter lab_decision_counter(const struct lab *lab,
					     const struct lab_service *service);

#endif
