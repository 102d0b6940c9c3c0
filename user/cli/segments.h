/* SPDX-License-Identifier: GPL-2.0-only */
/* What several commands say of segments. */
#ifndef XDP_CANARY_CLI_SEGMENTS_H
#define XDP_CANARY_CLI_SEGMENTS_H

#include "cli/cli.h"
#include "control/segments.h"

/* ---- segment_report.c: of what was computed ---- */

/* [{"segment","action","version","clients","added","removed","changed"}]; of groupings "column". */
json_t *freeze_to_json(const struct freeze_report *report, bool groupings);
/* A line each of what is not as before. */
void freeze_say(const struct cli *cli, const struct freeze_report *report, bool dry_run);

/* ---- segment_cache.c: memberships that are asked for again and again ---- */

struct segment_cache {
	struct store *store;
	const struct policy *policy;
	bool compute; /* from the definitions of @policy: nothing of it was applied */
	struct segment_world world;
	struct errors *errors;
	struct cached_membership {
		bool was_asked, is_known; /* what cannot be had is said once */
		struct membership membership;
	} * list; /* of each segment of the policy, in its order */
};

void segment_cache_release(struct segment_cache *cache);
/* NULL: there is none, with a warning where it cannot be computed. */
const struct membership *segment_cache_find(struct segment_cache *cache,
					    const struct segment *segment);
/*
 * Where it comes from that the client is in the segment, as segment_source() has it. NULL: it is
 * not, or there is no such segment. malloc()ed.
 */
char *segment_cache_source(struct segment_cache *cache, const char *segment,
			   const struct address *client);
/* The first rule of the service whose segment holds the client, else the default rule. */
size_t segment_cache_rule(struct segment_cache *cache, const struct service *service,
			  const struct address *client);

/* ---- segment_facts.c: of one membership ---- */

struct segment_facts {
	struct membership_counts counts;
	bool has_traffic;				 /* anything was observed of anybody */
	uint64_t flows, all_flows, packets, all_packets; /* of the last window */
};

/* Reads the features of all clients. */
int segment_facts(struct store *store, const struct membership *membership, struct client_form form,
		  struct segment_facts *out, struct errors *errors);
/*
 * "clients", "ipv4", "ipv6", "prefixes", "flows_share_ppm", "packets_share_ppm", and what the
 * detail has of "population", "edges", "bins", "classes", "drift", "model_imported"; null where
 * that means nothing.
 */
json_t *segment_facts_to_json(const struct membership *membership,
			      const struct segment_facts *facts);
void segment_facts_say(const struct cli *cli, const json_t *json);
/* A few of its clients, from all over the list. */
json_t *segment_examples(const struct membership *membership);
/* [{"segment","clients"}] of the other segments of the policy that have some of its clients. */
json_t *segment_overlaps(struct segment_cache *cache, const struct membership *membership);

#endif
