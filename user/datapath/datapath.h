/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel side of a box: maps and links pinned under one private bpffs directory.
 *
 *   PINS/maps/NAME      every map but the programs' own constants
 *   PINS/links/IFNAME   the XDP link of an attached interface (a '.' of the name is written ':')
 *   PINS/explain        the variant of the program that decides, tells and changes nothing
 *
 * Nothing here takes a lock: a writer holds the store's, and only `kill` writes without it (one
 * store).
 */
#ifndef XDP_CANARY_DATAPATH_H
#define XDP_CANARY_DATAPATH_H

#include "abi.h"
#include "policy/policy.h"
#include "segments.h"
#include "tracked.h"
#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every pinned map. X(symbol, file name, element type) */
#define FOR_EACH_MAP(X)                                                                            \
	X(CELLS, "cells", struct service_cell)                                                     \
	X(VIEWS, "views", struct view)                                                             \
	X(RULES, "rules", struct view_rule)                                                        \
	X(RING_SLOTS, "ring_slots", struct ring_line)                                              \
	X(BACKENDS, "backends", struct backend_line)                                               \
	X(PINS, "pins", struct pin_range)                                                          \
	X(TRANSITION, "transition", struct transition_line)                                        \
	X(SERVER_IDS, "server_ids", struct server_id)                                              \
	X(SEGMENT_TABLES, "segment_tables", struct segment_table)                                  \
	X(SEGMENT_LINES, "segment_lines", struct segment_line)                                     \
	X(CLASSES, "classes", struct class_line)                                                   \
	X(GROUPS, "groups", struct group_entry)                                                    \
	X(OBSERVED, "observed", struct observed_client)                                            \
	X(TRACKED_SERVICES, "tracked_services", struct tracked_service)                            \
	X(TRACKED_CLIENTS, "tracked_clients", struct tracked_client)                               \
	X(TRACKED_FLOWS, "tracked_flows", struct tracked_flow)                                     \
	X(TRACK_EVENTS, "track_events", struct track_event_counter)                                \
	X(TRACK_SAMPLES, "track_samples", struct track_sample_counter)                             \
	X(VIP_BUCKETS, "vip_buckets", struct vip_bucket)                                           \
	X(VIPS6, "vips6", struct vip6)                                                             \
	X(SERVICE_NAMES, "service_names", struct service_name)                                     \
	X(BOX, "box", struct box)                                                                  \
	X(INTERFACE_COUNTERS, "interface_counters", struct interface_counter)                      \
	X(DECISION_COUNTERS, "decision_counters", struct decision_counter)                         \
	X(AFFINITY_COUNTERS, "affinity_counters", struct affinity_counter)                         \
	X(OBSERVE_COUNTERS, "observe_counters", struct observe_counter)                            \
	X(RULE_COUNTERS, "rule_counters", struct rule_counter)                                     \
	X(BACKEND_COUNTERS, "backend_counters", struct backend_counter)                            \
	X(SEGMENT_COUNTERS, "segment_counters", struct segment_counter)                            \
	X(GRACE_INNER, "grace_inner", __u32)                                                       \
	X(GRACE, "grace", __u32)

enum map_id {
#define X(symbol, name, type) MAP_##symbol,
	FOR_EACH_MAP(X)
#undef X
		MAPS
};

/*
 * A descriptor that may not write cannot be mapped (mmap clears VM_SHARED, the kernel insists on
 * it): a reader without the right to write has a copy, of the moment when it first looked.
 */
enum map_access { MAP_IS_READABLE, MAP_IS_WRITABLE, MAP_IS_COPY };

struct map {
	const char *name;
	int fd;
	uint32_t entries, value_size;
	enum map_access access;
	uint8_t *memory; /* of mmapable maps: room for the array; map_reach() puts pages there */
	uint8_t *has_chunk;
};

struct datapath {
	char *pins;
	struct map maps[MAPS];
	bool writable;
};

/* ---- memory.c: the arrays ---- */

/* @count elements from the @first on. Elements of a multiple of 8 bytes alone lie one after the
 * other: others are padded. */
#define map_part(datapath, id, type, first, count)                                                 \
	((type *)map_reach(&(datapath)->maps[id], (first) * sizeof(type), (count) * sizeof(type)))
/* All of them, which costs 0.1 ms a MiB. */
#define map_array(datapath, id, type)                                                              \
	((type *)map_reach(&(datapath)->maps[id], 0, map_bytes(&(datapath)->maps[id], false)))

/* The bytes [@from, @from + @size) of the array; what lies beside them may not be there. */
void *map_reach(const struct map *map, size_t from, size_t size);
/* 0, -ENOMEM or another error of mmap(). */
int map_reserve(struct map *map, enum map_access access);
void map_release(struct map *map);
/* Bytes of kernel memory that a map's elements take; per-CPU ones on all CPUs. */
uint64_t map_bytes(const struct map *map, bool per_cpu);

/* ---- maps.c: opening and making them ---- */

/* -ENOENT without an error: nothing is pinned. */
int datapath_open(const char *pins, bool writable, struct datapath **out, struct errors *errors);
/* Are these the maps that are pinned there now? */
bool datapath_is_pinned(const struct datapath *datapath);
/* Makes *@datapath (NULL: none is open) those that are pinned there now, for who stays. As
 * datapath_open(). */
int datapath_keep_open(const char *pins, bool writable, struct datapath **datapath);
/* Makes what datapath_open() did not find: bpffs, directory (0750), maps sized by @limits,
 * explaining program. */
int datapath_create(const char *pins, const struct limits *limits, struct siphash_key secret,
		    struct datapath **out, struct errors *errors);
/* Takes back datapath_create(): the pins go, and the maps with their last user. */
void datapath_unmake(const char *pins);
void datapath_close(struct datapath *datapath);
/* Loads this build's explaining program and puts it where the pinned one is. */
int datapath_pin_explainer(struct datapath *datapath, struct siphash_key secret,
			   struct errors *errors);
struct box *datapath_box(const struct datapath *datapath);
bool map_is_per_cpu(enum map_id id);
uint64_t secret_fingerprint(struct siphash_key secret);
/* The `limits.services` that the maps were made with. */
uint32_t datapath_service_limit(const struct datapath *datapath);
/* Rule counter groups that fit the map. */
uint32_t datapath_rule_groups(const struct datapath *datapath);

/* ---- program.c: loading ---- */

struct program; /* a loaded instance of the program, and its constants */

int program_load(struct datapath *datapath, struct siphash_key secret, uint32_t interface_slot,
		 bool explaining, struct program **out, struct errors *errors);
int program_fd(const struct program *program);
/* The kernel's tag of a program, a digest of its instructions, as 16 hex digits; "" where it cannot
 * be read. */
#define PROGRAM_TAG_SIZE 17
void program_tag(int program, char tag[PROGRAM_TAG_SIZE]);
void program_free(struct program *program);

/* ---- link.c: interfaces ---- */

enum attach_state { NOT_ATTACHED, ATTACHED_NATIVE, ATTACHED_GENERIC };

/*
 * Attaches and pins. With MODE_AUTO and no native support it is generic, with a warning. Already
 * attached by this box: 0, nothing done.
 */
int link_attach(struct datapath *datapath, struct siphash_key secret,
		const struct interface *interface, uint32_t interface_slot, struct errors *errors);
/* -ENOENT without an error where it was not attached. */
int link_detach(const char *pins, const char *interface, struct errors *errors);
enum attach_state link_state(const char *pins, const char *interface);
/*
 * Replaces the program of a pinned link; no packet goes without one. *@before: the tag of the one
 * that was there.
 */
int link_replace_program(const char *pins, const char *interface, const struct program *program,
			 char before[PROGRAM_TAG_SIZE], struct errors *errors);
/* Names of all attached interfaces, malloc()ed array of malloc()ed strings. */
int link_list(const char *pins, char ***names, size_t *count, struct errors *errors);

#endif
