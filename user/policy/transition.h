/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Eras (docs/architecture.md, "Affinity"): what packets see now and what they are to see are folded
 * into one image, in which origin, disputed intervals and moved slots stand for the whole history
 * of the era. A fold of the epochs one by one says the same as all of them at once, so no history
 * is kept but the shown view. Pure.
 */
#ifndef XDP_CANARY_TRANSITION_FOLD_H
#define XDP_CANARY_TRANSITION_FOLD_H

#include "policy/compile.h"

/* A view that packets see, in the maps. */
struct shown_view {
	const struct view *view; /* NULL: none is shown */
	const struct view_rule *rules;
	const uint32_t *slots;		     /* of the map: view.rings[] index it */
	const struct backend_line *backends; /* of the view, by number */
	const struct pin_range *pins;
	const struct server_id *server_ids;
	const uint32_t *classes;	  /* view.classes_count */
	const struct group_entry *groups; /* view.groups_count */
	bool killed;			  /* its decisions are the control's, whatever it says */
};

struct transition_plan {
	uint64_t now; /* jiffies */
	uint32_t hz;  /* jiffies a second */
	uint64_t monotonic_ns;
	uint64_t drain_ms, udp_drain_ms;
	uint8_t cuts[RULES_MAX]; /* bit c: canary c is cut in the rule */
	uint8_t cut_pins;	 /* bit c: of clients that are pinned to canary c, too */
	bool cut_all;		 /* of a kill that is lifted: what it took does not come back */
	bool new_lease; /* the image's, if it has one, does not go on from the shown view */
};

/*
 * An era with less time left is left to its end: the change begins another. A writer sees to it
 * that none is in between when it folds (user/datapath/era.c).
 */
#define ERA_MARGIN_MS 1000

/* At least so many; @hz a second. */
static inline uint64_t jiffies_of_ms(uint64_t milliseconds, uint32_t hz)
{
	return (milliseconds * hz + 999) / 1000;
}

/* When its era is over, in jiffies: a lease that ends in it makes that later. */
uint64_t era_end(const struct view *view);
/* Is the era that the view speaks of still open? */
bool era_is_open(const struct view *view, uint64_t now);
/*
 * Until when flows stay where they are though new ones go elsewhere, in jiffies: the end of the
 * era, or of the drain of a lease that ended while none was open. 0: none do.
 */
uint64_t holds_until(const struct view *view, uint64_t now);
/* Is it over for packets, so that a view without it may be shown? */
bool era_is_over(const struct view *view, uint64_t now);

/* Takes every flow from canary @cohort: those of all rules and pins. */
void cut_cohort(struct transition_plan *plan, size_t cohort);
/* Has the view's lease ended? False where it has none. */
bool lease_has_ended(const struct view *view, uint64_t now);
/* Do flows of the canary still drain from it, since the lease has ended? */
bool lease_drains(const struct view *view, uint64_t now);
/* Do packets record in the view's lines for its lease's sake, or will when it ends? */
bool lease_needs_lines(const struct view *view, uint64_t now);
/* Does what is shown after @shown (or NULL) go on with its lease, ended or not? */
bool lease_goes_on(const struct view *shown, const struct transition_plan *plan,
		   const struct view_image *image);

/*
 * Makes of @image, freshly compiled, what is to be shown after @shown, with the @classes and groups
 * of the segment table that it will use (counts of 0: none; then the shown view uses none either).
 * Without a change of what decides, and no era open, it stays as it is. The transition table's
 * place (view.transition_*) is the shown one's while the era goes on, else left 0. 0 or -ENOMEM;
 * -ENOSPC: too many backends are remembered.
 */
int transition_fold(const struct shown_view *shown, const struct transition_plan *plan,
		    const struct client_classes *classes, struct view_image *image);

/* Slots of a table of @count server ids, a power of two; 0 for none. */
size_t server_ids_size(size_t count);
/* Lays them out. -ENOSPC: not with so few slots. */
int server_ids_fill(const struct server_id *ids, size_t count, struct server_id *slots,
		    size_t size);

#endif
