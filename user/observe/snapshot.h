/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters, read from the kernel and put under their names: what `stats` and /metrics print.
 * Per-CPU counters are summed; reading them stops nobody, so a packet may be in one counter and not
 * yet in another.
 */
#ifndef XDP_CANARY_SNAPSHOT_H
#define XDP_CANARY_SNAPSHOT_H

#include "control/control.h"

struct rule_snapshot {
	const struct rule *rule;		  /* NULL: decisions that no rule took */
	struct rule_counter cohorts[COHORTS_MAX]; /* in the order of the service's cohorts */
};

struct service_snapshot {
	const struct service *service;
	const struct live_service *live;
	struct rule_snapshot rules[RULES_MAX + 1]; /* the last one is of no rule */
	size_t rules_count;
	struct decision_counter decisions;
	struct affinity_counter affinity;
	struct backend_counter *backends; /* in the order of the cohorts' backends */
	uint8_t *health; /* of them, enum backend_health: as packets see it, else as is wished */
	size_t backends_count;
	uint64_t digest;
};

struct interface_snapshot {
	char name[16];
	struct interface_counter counters;
	enum attach_state state;
};

struct segment_hits {
	const char *name;
	uint64_t packets; /* that a rule of the segment decided */
};

/* Pointers into the control it was read from: it must outlive the snapshot. */
struct snapshot {
	uint64_t time_ns, since_ns;
	struct service_snapshot *services;
	size_t services_count;
	struct interface_snapshot *interfaces;
	size_t interfaces_count;
	struct segment_hits segments[SEGMENTS_MAX]; /* those that rules name */
	size_t segments_count;
	uint64_t reasons[REASONS];
	uint64_t seen;
};

/* Of all services, or of @only. Without loaded maps everything is 0. */
int snapshot_read(struct control *control, const char *only, struct snapshot *out);
void snapshot_release(struct snapshot *snapshot);
/*
 * Packets that took PATH_CURRENT, which the kernel does not count: the decisions that no other path
 * has. Other paths are read last, so it may be a few more than this says, but never fewer.
 */
uint64_t current_path_packets(const struct service_snapshot *service);
/* @now minus @before, number by number: of the same control, one after the other. */
void snapshot_subtract(struct snapshot *now, const struct snapshot *before);

/* ---- reasons' names ---- */
const char *reason_name(enum reason reason);
const char *reason_text(enum reason reason);
enum action reason_action(enum reason reason);
const char *action_name(enum action action);
const char *path_name(enum flow_path path);
const char *path_text(enum flow_path path);

#endif
