/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Publishing: views that are filled while no packet can see them, then shown by one store each. The
 * caller holds the writer lock from publication_begin() to publication_end().
 *
 *   begin -> stage, stage_removal, stage_vips ... -> (commit the store) -> show -> end
 *
 * Everything before `show` can be dropped without a trace.
 */
#ifndef XDP_CANARY_PUBLISH_H
#define XDP_CANARY_PUBLISH_H

#include "datapath/datapath.h"
#include "nexthop/nexthop.h"
#include "policy/compile.h"
#include "policy/transition.h"
#include "policy/vip_table.h"

struct publication;

/*
 * Finishes a grace period that a writer who died did not wait for. 0 or a negative errno.
 */
int publication_begin(struct datapath *datapath, struct publication **out, struct errors *errors);
void publication_end(struct publication *publication);

/* The kernel's clock of eras, in jiffies. */
uint64_t publication_now(const struct publication *publication);
/* How many services may begin an era in this write: they share what the transition table has free.
 */
void publication_expect(struct publication *publication, size_t services);

/*
 * Fills the spare view of the service in @slot from @image, which it completes: folded with the
 * shown view by @plan (NULL: the change takes every flow at once). @classes: of the
 * segment table that it is to use; NULL: of none. @hops: of the image's backend
 * lines, by number (state NEXT_HOP_RESOLVED or unknown). -ENOSPC with an error where rings, lines
 * or pins do not fit.
 */
int publication_stage(struct publication *publication, uint32_t slot, const char *name,
		      struct view_image *image, uint64_t epoch, const struct next_hop *hops,
		      const struct transition_plan *plan, const struct client_classes *classes,
		      struct errors *errors);
/*
 * Health alone, in the shown view, whose era is open: @image is what it would be compiled to now. A
 * packet sees a backend's slots before its cell. -EAGAIN: no era is open, or more than health
 * differs: stage a view.
 */
int publication_stage_health(struct publication *publication, uint32_t slot,
			     const struct view_image *image, const struct transition_plan *plan);
/* The service is taken away once the VIPs no longer name it. */
int publication_stage_removal(struct publication *publication, uint32_t slot);
int publication_stage_vips(struct publication *publication, const struct vip_entry *entries,
			   size_t count, struct errors *errors);
/* Shows all that is staged and waits until no packet can see what was before. 0 or a negative
 * errno. */
int publication_show(struct publication *publication, struct errors *errors);

/* The current view of a slot, or NULL. */
const struct view *datapath_view(const struct datapath *datapath, uint32_t slot);
/* All that packets see of it; view NULL: nothing. */
struct shown_view datapath_shown(const struct datapath *datapath, uint32_t slot);
/* Now, in jiffies, and jiffies a second. */
int datapath_jiffies(const struct datapath *datapath, uint64_t *jiffies, struct errors *errors);
uint32_t jiffies_hz(void);
/* As track_ms() takes it. */
uint32_t track_ms_per_jiffy(void);
/* Backend line @number of a view. */
struct backend_line *datapath_backend(const struct datapath *datapath, const struct view *view,
				      uint32_t number);

/* ---- next hops: in place ---- */

/* What a backend line says as a resolved next hop would have it; false where they differ. */
bool next_hop_is_current(const struct backend_line *line, const struct next_hop *hop,
			 bool own_source);

struct next_hop_change {
	struct backend_line *line;
	struct next_hop
		hop; /* any state but NEXT_HOP_RESOLVED: the line says nothing, the FIB is asked */
	bool own_source; /* the outer source is the configuration's: leave it */
};

/*
 * A packet that reads a line sees one next hop, whole, or none: where more than the MAC changes,
 * all lines are made invalid, and a grace period passes before the rest is written, and another
 * before they are valid again.
 */
int next_hops_write(struct datapath *datapath, const struct next_hop_change *changes, size_t count,
		    struct errors *errors);
void next_hop_fill(struct backend_line *line, const struct next_hop *hop, bool own_source);

/* Waits until every program run that began before has ended. 15 ms. */
int grace_period(const struct datapath *datapath, struct errors *errors);

/* ---- the lease: one compare and swap, no lock ---- */

/*
 * The shown canary may be had for @jiffies more from now on. -ENOENT: it has no lease; -ESTALE: it
 * has ended, and is not renewed; or an error of asking for the time.
 */
int lease_renew(struct datapath *datapath, uint32_t slot, uint64_t jiffies, struct errors *errors);

/* ---- kill: one store, no lock. The cell counts kills, so that lifting one does not lift a later
 * one ---- */

void service_kill(struct datapath *datapath, uint32_t slot);
/* What the store has latched, after a boot. */
void service_keep_killed(struct datapath *datapath, uint32_t slot);
uint32_t service_kills(const struct datapath *datapath, uint32_t slot);
bool service_is_killed(const struct datapath *datapath, uint32_t slot);
/* Unless there was one since there were @seen. The writer lock is held. */
void service_lift_kill(struct datapath *datapath, uint32_t slot, uint32_t seen);
/* The slot of a published service by its name in the kernel, or -ENOENT. */
int service_slot_by_name(const struct datapath *datapath, const char *name);

#endif
