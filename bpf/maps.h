/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every map that is pinned, and for each: its key, who writes it, how long an element lives and
 * what a lookup costs. All are arrays (a bounds check and an add; no hash map is on the packet
 * path), mapped into user space by its writers, pinned under one private directory, and sized by
 * user/datapath/maps.c when they are made.
 */
#ifndef XDP_CANARY_MAPS_H
#define XDP_CANARY_MAPS_H

#include "abi.h"
#include "segments.h"
#include "tracked.h"

#define array_map(name_, value_, flags_)                                                           \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, 1);                                                            \
		__uint(map_flags, flags_);                                                         \
		__type(key, __u32);                                                                \
		__type(value, value_);                                                             \
	} name_ SEC(".maps")

#define counter_map(name_, value_)                                                                 \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                           \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, value_);                                                             \
	} name_ SEC(".maps")

/* Key: service. Writers: publish (.view), kill (.killed). Lives as long as the service. */
array_map(cells, struct service_cell, BPF_F_MMAPABLE);

/* Key: 2 * service, or + 1. Writer: publish, only while no cell names it and a grace period has
 * passed. */
array_map(views, struct view, BPF_F_MMAPABLE);

/* Key: view.rules + rule; VIEW_RULES a view. Writer, life: the view's. */
array_map(rules, struct view_rule, BPF_F_MMAPABLE);

/* Key: (view.rings[cohort] + slot) / RING_LINE_SLOTS. Writer, life: the view's. */
array_map(ring_slots, struct ring_line, BPF_F_MMAPABLE);

/* Key: view.backends + number. Writer: publish, before a view names the line; its next hop in
 * place. */
array_map(backends, struct backend_line, BPF_F_MMAPABLE);

/* Key: view.pins + range. Writer, life: the view's. Read for services with pins alone. */
array_map(pins, struct pin_range, BPF_F_MMAPABLE);

/*
 * Key: view.transition_base + the high bits of the flow's key. Writer: the program, while the era
 * is open, by compare and swap; user space clears them before a view names them.
 */
array_map(transition, struct transition_line, BPF_F_MMAPABLE);

/* Key: view.server_ids + slot. Writer, life: the view's. Read for client key quic alone. */
array_map(server_ids, struct server_id, BPF_F_MMAPABLE);

/* Key: view_table(), 0 to SEGMENT_TABLES - 1. Writer: publish, one that no shown view names. */
array_map(segment_tables, struct segment_table, BPF_F_MMAPABLE);

/* Key: table.lines + line. Writer, life: the table's. One line a client as a rule. */
array_map(segment_lines, struct segment_line, BPF_F_MMAPABLE);

/* Key: (view.classes + class) / CLASS_LINE_CLASSES. Writer, life: the view's. Read for services
 * with segments alone. */
array_map(classes, struct class_line, BPF_F_MMAPABLE);

/* Key: view.groups + group. Writer, life: the view's. Read for services with group_by alone. */
array_map(groups, struct group_entry, BPF_F_MMAPABLE);

/*
 * Key: one of the places of a client's token. Writers: the program claims and adds, by atomic
 * operations; user space takes and frees (observed.h). A record lives until its client was away for
 * a whole window.
 */
array_map(observed, struct observed_client, BPF_F_MMAPABLE);

/* Key: view.track. Writers: user/track its first two lines; the program and the sweep the rest, by
 * atomic additions. Lives as long as the service is followed. */
array_map(tracked_services, struct tracked_service, BPF_F_MMAPABLE);

/* Key: one of the places of a followed client. Writers, life: tracked.h. */
array_map(tracked_clients, struct tracked_client, BPF_F_MMAPABLE);

/* Key: one of the places of a followed flow. Writers, life: tracked.h. */
array_map(tracked_flows, struct tracked_flow, BPF_F_MMAPABLE);

/* Writers: the program and the sweep, by atomic additions; user space zeroes an element before a
 * name is given it. Of followed clients alone. */
array_map(track_events, struct track_event_counter, BPF_F_MMAPABLE);   /* key: as rule_counters */
array_map(track_samples, struct track_sample_counter, BPF_F_MMAPABLE); /* service * LANES_MAX + lane */

/* Key: copy * buckets + hash. Writer: publish, the copy that box.vips does not name. */
array_map(vip_buckets, struct vip_bucket, BPF_F_MMAPABLE);

/* Key: copy * VIPs + entry of an IPv6 cell. Writer, life: the copy's. */
array_map(vips6, struct vip6, BPF_F_MMAPABLE);

/* Key: service. Its name, for `kill`, which reads no store. Writer: publish. */
array_map(service_names, struct service_name, BPF_F_MMAPABLE);

/* Writer: the program, per CPU; user space zeroes an element before a name is given it. */
counter_map(interface_counters, struct interface_counter); /* key: the interface's slot */
counter_map(decision_counters, struct decision_counter);   /* key: service */
counter_map(affinity_counters, struct affinity_counter);   /* key: service */
counter_map(observe_counters, struct observe_counter);	   /* key: 0 */
counter_map(rule_counters, struct rule_counter);	   /* key: view_rule.counters + lane */
counter_map(backend_counters, struct backend_counter);	   /* key: backend_line.counter */
counter_map(segment_counters, struct segment_counter);	   /* key: view_rule.segment - 1 */

/*
 * Not looked up by the program: storing an element waits until every program that runs now has
 * ended, which is the grace period of publishing (kernel/bpf/syscall.c, maybe_wait_bpf_programs()).
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} grace_inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_ARRAY);
			__uint(max_entries, 1);
			__type(key, __u32);
			__type(value, __u32);
		});
} grace SEC(".maps") = {
	.values = {(void *)&grace_inner},
};

/* The one element of `box`: at a fixed address, read without a lookup. Writer: publish. */
struct box box SEC(".data.box");

/* ---- constants of a loaded program, each folded by the verifier ---- */

const volatile struct siphash_key secret = {};
const volatile __u32 interface_slot = 0;  /* which interface counters are this program's */
const volatile __u32 vip_bucket_bits = 1; /* log2 of the buckets of one copy */
const volatile __u32 vip6_count = 1;	  /* of one copy */
const volatile __u32 observed_count = 1;  /* records in `observed` */
const volatile __u32 tracked_client_sets = 1; /* of TRACK_WAYS records in `tracked_clients` */
const volatile __u32 tracked_flow_sets = 1;   /* the same of `tracked_flows` */
const volatile __u32 ms_per_jiffy = 4 << 16;  /* of track_ms() */

#define lookup(map, index)                                                                         \
	({                                                                                         \
		__u32 index_ = (index);                                                            \
		bpf_map_lookup_elem(&(map), &index_);                                              \
	})

#endif
