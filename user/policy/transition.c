// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fold. Of each part of a view (head, rules, pins, rings, lines): what was decided when the era
 * began is the origin; where any two epochs of it disagree is disputed or moved. Both are taken
 * over from the shown view while its era is open, and else begin with what it decides now. More may
 * be disputed than is: that costs a lookup.
 */
#include "policy/transition_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ERA_GENERATIONS	  200 /* cuts in an era; then its entries are given up */
#define LINES_GENERATIONS 100 /* eras and cuts that lines may have seen when an era begins */
#define ALL_CANARIES	  0xe

static uint64_t latest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* ---- the shown view's lease ---- */

static bool has_lease(const struct view *view)
{
	return view && view->expiry != LEASE_NONE;
}

static uint64_t lease_end(const struct view *view)
{
	return view->expiry & LEASE_ENDS;
}

/* As bpf/lease.h has it. */
uint64_t era_end(const struct view *view)
{
	if (!has_lease(view) || (view->rollout & ROLLOUT_CUT) || lease_end(view) >= view->era_ends)
		return view->era_ends;
	return latest(view->era_ends, lease_end(view) + view->lease_drain);
}

bool era_is_open(const struct view *view, uint64_t now)
{
	return view && (view->flags & VIEW_TRANSITION) && now < era_end(view);
}

bool era_is_over(const struct view *view, uint64_t now)
{
	return (view->flags & VIEW_TRANSITION) && now >= latest(era_end(view), view->pins_end);
}

static uint64_t lease_udp_end(const struct view *view)
{
	return lease_end(view) + ((uint64_t)view->lease_udp_drain << LEASE_UDP_SHIFT);
}

bool lease_has_ended(const struct view *view, uint64_t now)
{
	return has_lease(view) && ((view->expiry & LEASE_ENDED) || now >= view->expiry);
}

/* Where packets had no room to record new flows, they took the others, too (bpf/affinity.h). */
bool lease_drains(const struct view *view, uint64_t now)
{
	return lease_has_ended(view, now) && !(view->rollout & ROLLOUT_CUT) &&
	       view->transition_lines && now < lease_end(view) + view->lease_drain;
}

uint64_t holds_until(const struct view *view, uint64_t now)
{
	if (era_is_open(view, now))
		return era_end(view);
	return view && lease_drains(view, now) ? lease_end(view) + view->lease_drain : 0;
}

bool lease_needs_lines(const struct view *view, uint64_t now)
{
	return has_lease(view) && !(view->rollout & ROLLOUT_CUT) &&
	       (!lease_has_ended(view, now) || lease_drains(view, now));
}

bool lease_goes_on(const struct view *shown, const struct transition_plan *plan,
		   const struct view_image *image)
{
	return has_lease(shown) && image->lease_ms && !(plan && plan->new_lease) &&
	       !((shown->rollout ^ image->view.rollout) & ROLLOUT_COHORT);
}

/*
 * A lease that ends in the course of a write goes on, ended, in what is written. While it drains
 * that view's packets see to it; where it has drained by now its flows are at control before and
 * after.
 */
static void see_lease(struct fold *fold)
{
	const struct view *view = fold->shown->view;
	uint64_t now = fold->plan->now;
	bool goes_on = lease_goes_on(view, fold->plan, fold->image);

	if (!lease_has_ended(view, now))
		return;
	if (!lease_drains(view, now)) {
		fold->over = view->rollout & ROLLOUT_COHORT;
		fold->stays_over = goes_on;
	} else if (!goes_on) {
		fold->drains = view->rollout & ROLLOUT_COHORT;
	}
}

/* Did the lease's end take live flows, so that an era that is open must not give them back? */
static bool lease_has_cut(const struct fold *fold)
{
	const struct view *view = fold->shown->view;

	return fold->over && ((view->rollout & ROLLOUT_CUT) || !view->transition_lines);
}

/* For some clients at least. */
static bool goes_on(const struct fold *fold)
{
	return fold->open || fold->pending;
}

/* ---- what the shown view decides ---- */

/* The default rule is the default rule, whatever its name; others go by name, which counters tell.
 */
static bool is_same_rule(const struct view_rule *a, const struct view_rule *b)
{
	return a->segment && b->segment ? a->counters == b->counters : !a->segment && !b->segment;
}

const struct view_rule *shown_rule(const struct fold *fold, const struct view_rule *rule)
{
	const struct view *view = fold->shown->view;
	const struct view_rule *rules = fold->shown->rules;
	int i;

	for (i = 0; i <= view->default_rule; i++)
		if (is_same_rule(&rules[i], rule))
			return &rules[i];
	for (i = RULES_MAX; i < RULES_MAX + view->lines_behind; i++)
		if (is_same_rule(&rules[i], rule))
			return &rules[i];
	return NULL;
}

struct span {
	uint64_t start, end; /* empty where equal */
};

static struct span span_of(const struct interval *interval, bool live)
{
	if (!live)
		return (struct span){0, 0};
	return (struct span){interval->start, (uint64_t)interval->start + interval->last + 1};
}

static bool is_empty(struct span span)
{
	return span.start == span.end;
}

static bool spans_equal(struct span a, struct span b)
{
	return (is_empty(a) && is_empty(b)) || (a.start == b.start && a.end == b.end);
}

/* Where two shares of one canary disagree: between their ends, where they start together, and
 * between their starts, where they end together, as parts of other tools may. */
static struct span disagreement(struct span a, struct span b)
{
	if (is_empty(a))
		return b;
	if (is_empty(b))
		return a;
	if (spans_equal(a, b))
		return (struct span){0, 0};
	if (a.start == b.start)
		return a.end < b.end ? (struct span){a.end, b.end} : (struct span){b.end, a.end};
	if (a.end == b.end)
		return a.start < b.start ? (struct span){a.start, b.start}
					 : (struct span){b.start, a.start};
	return (struct span){a.start < b.start ? a.start : b.start, latest(a.end, b.end)};
}

static struct span hull(struct span a, struct span b)
{
	if (is_empty(a))
		return b;
	if (is_empty(b))
		return a;
	return (struct span){a.start < b.start ? a.start : b.start, latest(a.end, b.end)};
}

static void set_span(struct view_rule *rule, struct interval *interval, enum rule_live bit,
		     int canary, struct span span)
{
	rule->live &= ~(bit << canary);
	*interval = (struct interval){0, 0};
	if (is_empty(span))
		return;
	rule->live |= bit << canary;
	*interval = (struct interval){span.start, span.end - span.start - 1};
}

static struct span current_span(const struct view_rule *rule, int canary)
{
	return span_of(&rule->current[canary], rule->live & RULE_CURRENT << canary);
}

/* Will no new flow of the image go to canary @cohort, whatever its rules and pins say? */
static bool will_be_withheld(const struct fold *fold, uint8_t cohort)
{
	return view_latches(&fold->image->view, cohort) ||
	       (fold->stays_over && fold->over == cohort);
}

/* What the image gives the canary. */
static struct span wanted_span(const struct fold *fold, const struct view_rule *rule, int canary)
{
	return will_be_withheld(fold, canary + 1) ? (struct span){0, 0}
						  : current_span(rule, canary);
}

/* Does no flow of the shown view go to canary @cohort, whatever its rules and pins say? */
static bool is_withheld(const struct fold *fold, uint8_t cohort)
{
	return fold->shown->killed || view_latches(fold->shown->view, cohort) ||
	       fold->over == cohort;
}

/* Where flows of the shown view are. */
static struct span held_span(const struct fold *fold, const struct view_rule *rule, int canary)
{
	return is_withheld(fold, canary + 1) ? (struct span){0, 0} : current_span(rule, canary);
}

/* Where it sends new ones. */
static struct span shown_span(const struct fold *fold, const struct view_rule *rule, int canary)
{
	return fold->drains == canary + 1 ? (struct span){0, 0} : held_span(fold, rule, canary);
}

/* The same of pins: what the view says, where flows are, where new ones go, and are to go. */
static uint8_t given_pin(const struct fold *fold, const struct pin_range *range)
{
	return range->expires <= fold->plan->monotonic_ns ? PIN_NONE : range->cohort;
}

static uint8_t held_pin(const struct fold *fold, const struct pin_range *range)
{
	uint8_t cohort = given_pin(fold, range);

	return cohort != PIN_NONE && cohort && is_withheld(fold, cohort) ? 0 : cohort;
}

static uint8_t shown_pin(const struct fold *fold, const struct pin_range *range)
{
	uint8_t cohort = held_pin(fold, range);

	return cohort && cohort == fold->drains ? 0 : cohort;
}

static uint8_t wanted_pin(const struct fold *fold, const struct pin_range *range)
{
	return range->cohort != PIN_NONE && will_be_withheld(fold, range->cohort) ? 0
										  : range->cohort;
}

/* ---- does anything that decides change? ---- */

/* Have clients another place in the hash space? */
static bool hashes_differ(const struct view *a, const struct view *b)
{
	return a->salt64 != b->salt64 || a->mask4 != b->mask4 || a->prefix6 != b->prefix6 ||
	       ((a->flags ^ b->flags) & VIEW_KEY_FLAGS & ~VIEW_BALANCE_CLIENT) ||
	       memcmp(&a->payload, &b->payload, sizeof(a->payload)) ||
	       a->hash_modulus != b->hash_modulus || a->hash_seed != b->hash_seed;
}

static bool heads_differ(const struct view *a, const struct view *b)
{
	return hashes_differ(a, b) || a->holdout != b->holdout ||
	       ((a->flags ^ b->flags) & VIEW_BALANCE_CLIENT) || a->cohorts != b->cohorts ||
	       memcmp(a->lanes, b->lanes, sizeof(a->lanes));
}

static bool rules_differ(const struct fold *fold)
{
	size_t i;
	int canary;

	for (i = 0; i < fold->image->rules_count; i++) {
		const struct view_rule *rule = &fold->image->rules[i];
		const struct view_rule *shown = shown_rule(fold, rule);

		/* Of a rule that was not there, or had gone, the classes tell. */
		if (!shown || shown > &fold->shown->rules[fold->shown->view->default_rule])
			continue;
		for (canary = 0; canary < CANARIES_MAX; canary++)
			if (!spans_equal(wanted_span(fold, rule, canary),
					 shown_span(fold, shown, canary)))
				return true;
	}
	return false;
}

/* ---- pins ---- */

static int compare_positions(const struct pin_range *a, const struct pin_range *b)
{
	if (a->high != b->high)
		return a->high < b->high ? -1 : 1;
	return a->low == b->low ? 0 : a->low < b->low ? -1 : 1;
}

static const struct pin_range nobody = {
	.expires = PIN_FOREVER, .cohort = PIN_NONE, .origin = PIN_NONE};

struct pin_cursor {
	const struct pin_range *next, *end;
	const struct pin_range *at; /* the range that the position is in */
};

static void step_to(struct pin_cursor *cursor, const struct pin_range *position)
{
	while (cursor->next < cursor->end && compare_positions(cursor->next, position) <= 0)
		cursor->at = cursor->next++;
}

static bool same_kind(const struct pin_range *a, const struct pin_range *b)
{
	return a->cohort == b->cohort && a->origin == b->origin && a->changed == b->changed &&
	       a->expires == b->expires;
}

/* Through the ranges of both, cut where either is cut. */
struct pin_walk {
	struct pin_cursor shown, wanted;
	const struct pin_range *position; /* where the range begins */
};

static struct pin_walk begin_walk(const struct fold *fold)
{
	const struct pin_range *shown = fold->shown->pins, *wanted = fold->image->pins;

	return (struct pin_walk){
		.shown = {shown, shown + fold->shown->view->pins_count, &nobody},
		.wanted = {wanted, wanted + fold->image->view.pins_count, &nobody},
	};
}

static bool step(struct pin_walk *walk)
{
	const struct pin_range *shown = walk->shown.next, *wanted = walk->wanted.next;
	bool has_shown = shown < walk->shown.end, has_wanted = wanted < walk->wanted.end;

	if (!has_shown && !has_wanted)
		return false;
	walk->position = wanted;
	if (!has_wanted || (has_shown && compare_positions(shown, wanted) < 0))
		walk->position = shown;
	step_to(&walk->shown, walk->position);
	step_to(&walk->wanted, walk->position);
	return true;
}

static bool pins_differ(const struct fold *fold)
{
	struct pin_walk walk = begin_walk(fold);

	while (step(&walk))
		if (shown_pin(fold, walk.shown.at) != wanted_pin(fold, walk.wanted.at))
			return true;
	return false;
}

static struct pin_range merged_pin(const struct fold *fold, const struct pin_walk *walk)
{
	const struct pin_range *shown = walk->shown.at, *wanted = walk->wanted.at;
	bool is_taken = given_pin(fold, shown) != shown_pin(fold, shown);

	return (struct pin_range){
		.high = walk->position->high,
		.low = walk->position->low,
		.expires = wanted->expires,
		.cohort = wanted->cohort,
		.origin = fold->open ? shown->origin : held_pin(fold, shown),
		.changed = (goes_on(fold) && shown->changed) || is_taken ||
			   shown_pin(fold, shown) != wanted_pin(fold, wanted) ||
			   wanted->expires != PIN_FOREVER || shown->expires != PIN_FOREVER,
	};
}

static uint64_t pins_end(const struct fold *fold, const struct pin_range *ranges, size_t count)
{
	const struct transition_plan *plan = fold->plan;
	uint64_t end = goes_on(fold) ? fold->shown->view->pins_end : 0;
	size_t i;

	for (i = 0; i < count; i++)
		if (ranges[i].expires != PIN_FOREVER && ranges[i].expires > plan->monotonic_ns)
			end = latest(end, plan->now +
						  jiffies_of_ms(
							  (ranges[i].expires - plan->monotonic_ns) /
								  1000000,
							  plan->hz) +
						  jiffies_of_ms(plan->drain_ms, plan->hz));
	return end;
}

static int fold_pins(const struct fold *fold)
{
	struct view *view = &fold->image->view;
	struct pin_walk walk = begin_walk(fold);
	struct pin_range *ranges =
		calloc(view->pins_count + fold->shown->view->pins_count + 1, sizeof(*ranges));
	size_t count = 0;

	if (!ranges)
		return -ENOMEM;
	while (step(&walk)) {
		ranges[count] = merged_pin(fold, &walk);
		count += !count || !same_kind(&ranges[count - 1], &ranges[count]);
	}
	view->pins_end = pins_end(fold, ranges, count);
	if (count == 1 && same_kind(ranges, &nobody))
		count = 0;
	free(fold->image->pins);
	fold->image->pins = ranges;
	view->pins_count = count;
	view->flags = count ? view->flags | VIEW_PINS : view->flags & ~VIEW_PINS;
	return 0;
}

/* ---- rings ---- */

/* One cohort's slots as some view has them: a power of two, or none. */
struct ring_part {
	const uint32_t *slots;
	uint32_t size;
};

static struct ring_part ring_of(const struct view *view, const uint32_t *slots, int cohort)
{
	if (cohort < 0)
		return (struct ring_part){NULL, 0};
	return (struct ring_part){slots + view->rings[cohort],
				  view->rings[cohort + 1] - view->rings[cohort]};
}

static int cohort_of_lane(const uint8_t *lanes, size_t count, uint8_t lane)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (lanes[i] == lane)
			return i;
	return -1;
}

/* A ring of a power of two slots speaks for a larger one: the hash's high bits choose the slot. */
static uint32_t slot_of(struct ring_part part, uint32_t index, uint32_t size)
{
	return part.size ? part.slots[(uint64_t)index * part.size / size] : SLOT_NONE;
}

/* The origin's ring of the cohort of @lane: its words' upper halves, or the lower ones when the era
 * begins now. */
static struct ring_part origin_ring(const struct fold *fold, uint8_t lane)
{
	const struct view *view = fold->shown->view;
	int cohort;

	if (!fold->open)
		return ring_of(view, fold->shown->slots,
			       cohort_of_lane(view->lanes, view->cohorts, lane));
	cohort = cohort_of_lane(view->origin_lanes, view->origin_cohorts, lane);
	if (cohort < 0 || view->origin_ring_bits[cohort] == RING_NONE)
		return (struct ring_part){NULL, 0};
	return (struct ring_part){fold->shown->slots + view->origin_rings[cohort],
				  1u << view->origin_ring_bits[cohort]};
}

static uint32_t origin_of(const struct fold *fold, uint32_t slot)
{
	return fold->open ? slot >> SLOT_ORIGIN_SHIFT : slot & SLOT_NOW_MASK;
}

struct ring_merge {
	struct ring_part wanted, shown, origin;
	uint32_t size;
};

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static struct ring_merge ring_merge(const struct fold *fold, uint32_t cohort)
{
	const struct view *shown = fold->shown->view;
	uint8_t lane = fold->image->view.lanes[cohort];
	struct ring_merge merge = {
		.wanted = ring_of(&fold->image->view, fold->image->slots, cohort),
		.shown = ring_of(shown, fold->shown->slots,
				 cohort_of_lane(shown->lanes, shown->cohorts, lane)),
		.origin = origin_ring(fold, lane),
	};

	merge.size = larger(merge.wanted.size, larger(merge.shown.size, merge.origin.size));
	return merge;
}

static bool rings_differ(const struct fold *fold)
{
	uint32_t cohort, i;

	for (cohort = 0; cohort < fold->image->view.cohorts; cohort++) {
		struct ring_merge merge = ring_merge(fold, cohort);

		for (i = 0; i < merge.size; i++)
			if ((slot_of(merge.wanted, i, merge.size) ^
			     slot_of(merge.shown, i, merge.size)) &
			    SLOT_NOW_MASK)
				return true;
	}
	return false;
}

static void write_ring(const struct fold *fold, const struct ring_merge *merge, uint32_t *out)
{
	uint32_t i;

	for (i = 0; i < merge->size; i++) {
		uint32_t now = slot_of(merge->wanted, i, merge->size) & SLOT_NOW_MASK;
		uint32_t shown = slot_of(merge->shown, i, merge->size);
		uint32_t origin = origin_of(fold, slot_of(merge->origin, i, merge->size));
		bool moved = (fold->open && (shown & SLOT_MOVED)) || now != (shown & SLOT_NOW_MASK);

		out[i] = now | (moved ? SLOT_MOVED : 0) | origin << SLOT_ORIGIN_SHIFT;
	}
}

/* The ring of an origin's cohort that is no longer there: nothing now, the origin as it was. */
static void write_left_ring(const struct fold *fold, struct ring_part origin, uint32_t *out)
{
	uint32_t i;

	for (i = 0; i < origin.size; i++)
		out[i] = BACKEND_NONE | SLOT_MOVED |
			 origin_of(fold, origin.slots[i]) << SLOT_ORIGIN_SHIFT;
}

static uint8_t bits_of(uint32_t size)
{
	return size ? __builtin_ctz(size) : RING_NONE;
}

static int fold_rings(const struct fold *fold)
{
	struct view *view = &fold->image->view;
	struct ring_merge merges[COHORTS_MAX];
	struct ring_part left[COHORTS_MAX] = {0};
	uint32_t total = 0, end = 0, *slots;
	int cohort, now;

	for (cohort = 0; cohort < view->cohorts; cohort++) {
		merges[cohort] = ring_merge(fold, cohort);
		total += merges[cohort].size;
	}
	for (cohort = 0; cohort < view->origin_cohorts; cohort++)
		if (cohort_of_lane(view->lanes, view->cohorts, view->origin_lanes[cohort]) < 0) {
			left[cohort] = origin_ring(fold, view->origin_lanes[cohort]);
			total += left[cohort].size;
		}
	slots = calloc(total + 1, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (cohort = 0; cohort < view->cohorts; cohort++) {
		write_ring(fold, &merges[cohort], slots + end);
		view->rings[cohort] = end;
		end += merges[cohort].size;
	}
	for (; cohort <= COHORTS_MAX; cohort++)
		view->rings[cohort] = end;
	for (cohort = 0; cohort < view->origin_cohorts; cohort++) {
		now = cohort_of_lane(view->lanes, view->cohorts, view->origin_lanes[cohort]);
		view->origin_rings[cohort] = now < 0 ? end : view->rings[now];
		view->origin_ring_bits[cohort] =
			bits_of(now < 0 ? left[cohort].size : merges[now].size);
		if (now >= 0)
			continue;
		write_left_ring(fold, left[cohort], slots + end);
		end += left[cohort].size;
	}
	view->slots_count = end;
	free(fold->image->slots);
	fold->image->slots = slots;
	return 0;
}

/* ---- rules ---- */

/* Where numbers began anew an old cut has entries no more, but origins. */
static uint8_t spared(const struct view *view, uint8_t cut)
{
	uint8_t now = era_generation(view->era, view->era_first);

	return cut < now ? cut : now;
}

static bool is_from_end(const struct view_rule *rule, int canary)
{
	return rule->kept_from_end & 1 << canary;
}

static void set_from_end(struct view_rule *rule, int canary, bool from_end)
{
	rule->kept_from_end &= ~(1 << canary);
	rule->kept_from_end |= from_end << canary;
}

/* What an earlier cut kept is counted from an end of what the last one kept: has @now that end? */
static bool shares_end(struct span last, struct span now, bool from_end)
{
	return from_end ? last.end == now.end : last.start == now.start;
}

/*
 * A new cut, which keeps @now. Where that is more than the last one kept, the last one is
 * remembered for what is older than it; of three that each keep more the first is forgotten. So is
 * what lies inside of @now and shares no end with it: two shares of another tool's split did it.
 */
static void add_cut(struct view_rule *rule, int canary, struct span now, uint8_t generation)
{
	struct span last = span_of(&rule->kept[canary], rule->live & RULE_KEPT << canary);
	bool grew_up = last.start == now.start && last.end < now.end;
	bool grew_down = last.end == now.end && last.start > now.start;
	bool is_wider =
		rule->cuts[canary] && !is_empty(now) && (is_empty(last) || grew_up || grew_down);

	if (is_wider) {
		rule->cuts_before[canary] = rule->cuts[canary];
		rule->kept_before[canary] = last.end - last.start;
		set_from_end(rule, canary, !is_empty(last) && grew_down);
	} else if (is_empty(now) || (rule->kept_before[canary] &&
				     (!shares_end(last, now, is_from_end(rule, canary)) ||
				      rule->kept_before[canary] >= now.end - now.start))) {
		rule->cuts_before[canary] = 0;
	}
	rule->cuts[canary] = generation;
	set_span(rule, &rule->kept[canary], RULE_KEPT, canary, now);
}

/* What the era's cuts took stays taken; once clients have other hashes, from all but where it was
 * nobody. */
static void carry_cuts(const struct fold *fold, struct view_rule *rule,
		       const struct view_rule *shown, int canary, bool rehashed)
{
	const struct view *before = fold->shown->view, *view = &fold->image->view;
	int own = cohort_of_lane(before->lanes, before->cohorts, view->lanes[canary + 1]) - 1;

	if (own < 0)
		return;
	rule->cuts[canary] = spared(view, shown->cuts[own]);
	if (rehashed && shown->kept[own].last != UINT32_MAX)
		return;
	set_span(rule, &rule->kept[canary], RULE_KEPT, canary,
		 span_of(&shown->kept[own], shown->live & RULE_KEPT << own));
	rule->cuts_before[canary] = spared(view, shown->cuts_before[own]);
	rule->kept_before[canary] = rehashed ? 0 : shown->kept_before[own];
	set_from_end(rule, canary, is_from_end(shown, own));
}

static struct span origin_span(const struct fold *fold, const struct view_rule *shown, int canary)
{
	if (fold->open)
		return span_of(&shown->origin[canary], shown->live & RULE_ORIGIN << canary);
	return held_span(fold, shown, canary);
}

void set_origin(const struct fold *fold, struct view_rule *rule, const struct view_rule *shown)
{
	int canary;

	for (canary = 0; canary < CANARIES_MAX; canary++)
		set_span(rule, &rule->origin[canary], RULE_ORIGIN, canary,
			 origin_span(fold, shown, canary));
}

static struct span disputed_span(const struct fold *fold, const struct view_rule *rule,
				 const struct view_rule *shown, int canary)
{
	struct span disputed =
		disagreement(wanted_span(fold, rule, canary), shown_span(fold, shown, canary));

	if (fold->drains == canary + 1)
		disputed = hull(disputed, current_span(shown, canary));
	if (!fold->open)
		return disputed;
	disputed = hull(disputed,
			span_of(&shown->disputed[canary], shown->live & RULE_DISPUTED << canary));
	if (fold->shown->killed || fold->over == canary + 1) /* it decided before, in this era */
		disputed = hull(disputed, current_span(shown, canary));
	return disputed;
}

void fold_cuts(const struct fold *fold, struct view_rule *line, const struct view_rule *before,
	       size_t rule)
{
	const struct view_rule *now = &fold->image->rules[rule];
	bool rehashed = hashes_differ(fold->shown->view, &fold->image->view);
	int canary;

	for (canary = 0; canary < CANARIES_MAX; canary++) {
		if (before && fold->open)
			carry_cuts(fold, line, before, canary, rehashed);
		if (fold->emptied & 2 << canary)
			add_cut(line, canary, (struct span){0, 0}, fold->generation);
		else if (fold->plan->cuts[rule] & 1 << (canary + 1))
			add_cut(line, canary, wanted_span(fold, now, canary), fold->generation);
	}
}

/* Of a rule that the shown view has not, all clients were another rule's: their classes say so. */
static void fold_rule(const struct fold *fold, size_t index)
{
	struct view_rule *rule = &fold->image->rules[index];
	const struct view_rule *shown = shown_rule(fold, rule);
	int canary;

	for (canary = 0; shown && canary < CANARIES_MAX; canary++)
		set_span(rule, &rule->disputed[canary], RULE_DISPUTED, canary,
			 disputed_span(fold, rule, shown, canary));
	fold_cuts(fold, rule, shown, index);
	if (shown)
		set_origin(fold, rule, shown);
}

static bool has_cuts(const struct transition_plan *plan)
{
	size_t i;

	for (i = 0; i < RULES_MAX; i++)
		if (plan->cuts[i])
			return true;
	return plan->cut_all || plan->cut_pins;
}

/* ---- backends that left ---- */

/* The shown line outlives the file: its backend left just now, or in this era. */
static bool is_remembered(const struct fold *fold, uint32_t number)
{
	static const uint8_t nowhere[16];
	const struct backend_line *line = &fold->shown->backends[number];

	if (number < fold->image->backends_count && fold->image->backends[number].lane != LANES_MAX)
		return false;
	return memcmp(line->address, nowhere, sizeof(nowhere)) &&
	       (goes_on(fold) || !(line->flags & BACKEND_GONE));
}

/* The last generation at which a rule took clients from the shown canary; 0: none did. */
static uint8_t last_cut(const struct fold *fold, int canary)
{
	const struct view *view = fold->shown->view;
	uint8_t last = 0;
	int i;

	for (i = 0; i < RULES_MAX + view->lines_behind; i++) {
		const struct view_rule *rule = &fold->shown->rules[i];
		bool has_kept = rule->live & RULE_KEPT << canary;

		if (i > view->default_rule && i < RULES_MAX)
			continue;
		if (has_kept && rule->kept[canary].last == UINT32_MAX)
			continue; /* it took nobody */
		last = latest(last, rule->cuts[canary]);
	}
	return last;
}

/*
 * A cut outlives its canary: a backend that is no longer that canary's, or nobody's, still is where
 * clients were taken from. Who was, is told by the rule's intervals, and they are gone: so it is
 * all who went there before.
 */
static uint8_t cut_of_line(const struct fold *fold, uint32_t number, uint8_t lane)
{
	const struct view *view = fold->shown->view;
	const struct backend_line *line = &fold->shown->backends[number];
	int before = cohort_of_lane(view->lanes, view->cohorts, line->lane);
	uint8_t cut;

	if (!fold->open)
		return 0;
	cut = line->cut;
	if (before > 0 && line->cohort == before && line->lane != lane)
		cut = latest(cut, last_cut(fold, before - 1));
	return spared(&fold->image->view, cut);
}

static void remember(const struct fold *fold, uint32_t number)
{
	const struct view *view = &fold->image->view;
	struct backend_line line = fold->shown->backends[number];
	int cohort = cohort_of_lane(view->lanes, view->cohorts, line.lane);

	line.flags |= BACKEND_GONE;
	line.health |= BACKEND_DRAINING;
	line.cut = cut_of_line(fold, number, cohort < 0 ? LANES_MAX : line.lane);
	line.cohort = cohort < 0 ? COHORT_GONE : cohort;
	fold->image->backends[number] = line;
}

static int fold_server_ids(const struct fold *fold)
{
	struct view_image *image = fold->image;
	const struct view *shown = fold->shown->view;
	struct server_id *grown;
	uint32_t i;

	if (!shown->server_ids_count || !(image->view.flags & VIEW_KEY_QUIC))
		return 0;
	grown = reallocarray(image->server_ids, image->server_ids_count + shown->server_ids_count,
			     sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	image->server_ids = grown;
	for (i = 0; i < shown->server_ids_count; i++) {
		const struct server_id *slot = &fold->shown->server_ids[i];
		size_t known = 0;

		if (!slot->backend || slot->backend > image->backends_count ||
		    !(image->backends[slot->backend - 1].flags & BACKEND_GONE))
			continue;
		while (known < image->server_ids_count && grown[known].id != slot->id)
			known++;
		if (known == image->server_ids_count)
			grown[image->server_ids_count++] = *slot;
	}
	return 0;
}

static int fold_backends(const struct fold *fold)
{
	struct view_image *image = fold->image;
	uint32_t shown = fold->shown->view->backends_count, number;
	struct backend_line *grown;

	if (shown > image->backends_count) {
		grown = aligned_alloc(CACHE_LINE, shown * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown, 0, shown * sizeof(*grown));
		memcpy(grown, image->backends, image->backends_count * sizeof(*grown));
		free(image->backends);
		image->backends = grown;
		for (number = image->backends_count; number < shown; number++)
			grown[number].lane = LANES_MAX;
		image->backends_count = shown;
	}
	for (number = 0; number < shown; number++)
		if (is_remembered(fold, number))
			remember(fold, number);
		else
			image->backends[number].cut =
				cut_of_line(fold, number, image->backends[number].lane);
	while (image->backends_count &&
	       image->backends[image->backends_count - 1].lane == LANES_MAX)
		image->backends_count--;
	image->view.backends_count = image->backends_count;
	return fold_server_ids(fold);
}

/* ---- the era itself ---- */

static void begin_era(const struct fold *fold)
{
	const struct view *shown = fold->shown->view;
	struct view *view = &fold->image->view;

	view->eras = shown->eras + 1;
	view->era = view->era_first = view->pins_first = next_era(shown->era);
	view->origin_salt64 = shown->salt64;
	view->origin_holdout = fold->shown->killed ? 0 : shown->holdout;
	view->origin_mask4 = shown->mask4;
	view->origin_prefix6 = shown->prefix6;
	view->origin_flags = shown->flags & VIEW_KEY_FLAGS;
	view->origin_payload = shown->payload;
	view->origin_modulus = shown->hash_modulus;
	view->origin_seed = shown->hash_seed;
	view->origin_cohorts = shown->cohorts;
	memcpy(view->origin_lanes, shown->lanes, sizeof(view->origin_lanes));
}

static void keep_lines(const struct view *shown, struct view *view)
{
	view->transition_base = shown->transition_base;
	view->transition_lines = shown->transition_lines;
	view->lines_first = shown->lines_first;
}

/* What the table has of the clients of pins that end by themselves stays. */
static void keep_pending(const struct fold *fold)
{
	const struct view *shown = fold->shown->view;
	struct view *view = &fold->image->view;

	view->pins_first = shown->pins_first;
	keep_lines(shown, view);
}

/*
 * Packets that the end of a lease made record while no era was open, or will until the image is
 * shown, use the number that its next era has: it keeps their lines. Numbers come around: of an era
 * that has just begun many are left.
 */
static void keep_leased_lines(const struct fold *fold)
{
	const struct view *shown = fold->shown->view;
	struct view *view = &fold->image->view;
	uint8_t next = view->flags & VIEW_TRANSITION ? view->era : next_era(view->era);
	uint8_t most = fold->drains ? ERA_GENERATIONS : LINES_GENERATIONS;

	if (lease_needs_lines(shown, fold->plan->now) &&
	    era_generation(next, shown->lines_first) < most)
		keep_lines(shown, view);
}

static void continue_era(const struct fold *fold)
{
	const struct view *shown = fold->shown->view;
	struct view *view = &fold->image->view;

	view->eras = shown->eras;
	view->era = shown->era;
	view->era_first = shown->era_first;
	view->pins_first = shown->pins_first;
	view->era_ends = shown->era_ends;
	view->udp_ends = shown->udp_ends;
	view->origin_salt64 = shown->origin_salt64;
	view->origin_holdout = shown->origin_holdout;
	view->origin_mask4 = shown->origin_mask4;
	view->origin_prefix6 = shown->origin_prefix6;
	view->origin_flags = shown->origin_flags;
	view->origin_payload = shown->origin_payload;
	view->origin_modulus = shown->origin_modulus;
	view->origin_seed = shown->origin_seed;
	view->origin_cohorts = shown->origin_cohorts;
	memcpy(view->origin_lanes, shown->origin_lanes, sizeof(view->origin_lanes));
	keep_lines(shown, view);
	view->flags |= shown->flags & VIEW_ALL_DISPUTED;
}

/* What a cut marks entries before it with. Where the numbers run out the table is given up: a cut
 * must hold. */
static uint8_t next_generation(struct view *view)
{
	if (era_generation(view->era, view->era_first) >= ERA_GENERATIONS) {
		view->era_first = next_era(view->era);
		view->era = view->era_first;
	}
	view->era = next_era(view->era);
	return era_generation(view->era, view->era_first);
}

static void mark_disputes(const struct fold *fold)
{
	struct view *view = &fold->image->view;

	if (heads_differ(view, fold->shown->view))
		view->flags |= VIEW_ALL_DISPUTED;
	if (view->origin_flags != (view->flags & VIEW_KEY_FLAGS) ||
	    view->origin_mask4 != view->mask4 || view->origin_prefix6 != view->prefix6 ||
	    memcmp(&view->origin_payload, &view->payload, sizeof(view->payload)) ||
	    view->origin_modulus != view->hash_modulus || view->origin_seed != view->hash_seed)
		view->flags |= VIEW_ORIGIN_KEY;
}

/* Where cohorts have other places in the file than before, of all canaries what is of any. */
static void fold_cut_pins(const struct fold *fold)
{
	const struct view *shown = fold->shown->view;
	struct view *view = &fold->image->view;
	bool has_moved = memcmp(view->lanes, shown->lanes, sizeof(view->lanes));
	uint8_t cut = fold->emptied | fold->plan->cut_pins, last = 0;
	int canary;

	for (canary = 0; canary < CANARIES_MAX; canary++)
		last = latest(last, shown->pins_cuts[canary]);
	for (canary = 0; canary < CANARIES_MAX; canary++) {
		if (cut & 2 << canary)
			view->pins_cuts[canary] = fold->generation;
		else if (fold->open)
			view->pins_cuts[canary] =
				spared(view, has_moved ? last : shown->pins_cuts[canary]);
	}
}

/* The lease's end was a change, when it was. */
static void count_lease(const struct fold *fold)
{
	const struct view *shown = fold->shown->view;
	struct view *view = &fold->image->view;

	view->era_ends = latest(view->era_ends, lease_end(shown) + shown->lease_drain);
	view->udp_ends = latest(view->udp_ends, lease_udp_end(shown));
}

/* Lines that are yet to be given have no entries of before. */
static void number_lines(struct view *view)
{
	if (!view->transition_lines)
		view->lines_first =
			view->flags & VIEW_TRANSITION ? view->era_first : next_era(view->era);
}

static bool numbers_run_out(const struct view *view)
{
	return era_generation(view->era, view->pins_first) >= ERA_GENERATIONS ||
	       (view->transition_lines &&
		era_generation(view->era, view->lines_first) >= ERA_GENERATIONS);
}

static int fold_all(struct fold *fold, bool changed)
{
	const struct transition_plan *plan = fold->plan;
	struct view *view = &fold->image->view;
	size_t i;
	int error;

	view->flags |= VIEW_TRANSITION;
	if (fold->open)
		continue_era(fold);
	else
		begin_era(fold);
	if (fold->pending)
		keep_pending(fold);
	else if (!fold->open)
		keep_leased_lines(fold);
	if (has_cuts(plan) || fold->emptied)
		fold->generation = next_generation(view);
	if (numbers_run_out(view)) {
		/* A table of its own, too, before numbers come around that old entries have. */
		view->pins_first = view->era_first;
		view->transition_lines = 0;
	}
	number_lines(view);
	fold_cut_pins(fold);
	if (fold->drains)
		count_lease(fold);
	if (changed) {
		view->era_ends =
			latest(view->era_ends, plan->now + jiffies_of_ms(plan->drain_ms, plan->hz));
		view->udp_ends = latest(view->udp_ends,
					plan->now + jiffies_of_ms(plan->udp_drain_ms, plan->hz));
	}
	mark_disputes(fold);
	for (i = 0; i < fold->image->rules_count; i++)
		fold_rule(fold, i);
	error = fold_classes(fold);
	if (!error)
		error = fold_backends(fold);
	return error ? error : fold_rings(fold);
}

/* Has a backend left whose id flows may know? They do so whatever the rings say. */
static bool ids_left(const struct fold *fold)
{
	uint32_t number;

	if (!fold->shown->view->server_ids_count)
		return false;
	for (number = 0; number < fold->shown->view->backends_count; number++)
		if (!(fold->shown->backends[number].flags & BACKEND_GONE) &&
		    is_remembered(fold, number))
			return true;
	return false;
}

/* Marks numbers that the image does not use, which its lines of zeroes do not tell from backend 0
 * of lane 0. */
static void mark_unused(struct view_image *image)
{
	static const uint8_t nowhere[16];
	size_t i;

	for (i = 0; i < image->backends_count; i++)
		if (!memcmp(image->backends[i].address, nowhere, sizeof(nowhere)))
			image->backends[i].lane = LANES_MAX;
}

void cut_cohort(struct transition_plan *plan, size_t cohort)
{
	size_t rule;

	for (rule = 0; rule < RULES_MAX; rule++)
		plan->cuts[rule] |= 1 << cohort;
	plan->cut_pins |= 1 << cohort;
}

int transition_fold(const struct shown_view *shown, const struct transition_plan *plan,
		    const struct client_classes *classes, struct view_image *image)
{
	struct fold fold = {.shown = shown, .plan = plan, .classes = classes, .image = image};
	bool changed;
	uint64_t margin;
	int error;

	mark_unused(image);
	number_lines(&image->view);
	if (!shown->view)
		return compile_classes(classes, image);
	margin = plan->now + jiffies_of_ms(ERA_MARGIN_MS, plan->hz);
	see_lease(&fold);
	changed = pins_differ(&fold) || heads_differ(&image->view, shown->view) ||
		  rules_differ(&fold) || classes_differ(&fold) || rings_differ(&fold) ||
		  ids_left(&fold) || has_cuts(plan);
	/* Where only pins that end by themselves are left of an era, a change begins another. */
	fold.open = era_is_open(shown->view, margin) ||
		    (!changed && !era_is_over(shown->view, plan->now) &&
		     (shown->view->flags & VIEW_TRANSITION));
	fold.pending = !fold.open && (shown->view->flags & VIEW_TRANSITION) &&
		       plan->now < shown->view->pins_end;
	if (plan->cut_all)
		fold.emptied = ALL_CANARIES;
	else if (fold.open && lease_has_cut(&fold))
		fold.emptied = 1 << fold.over;
	image->view.era = shown->view->era;
	image->view.eras = shown->view->eras;
	error = fold_pins(&fold);
	if (error)
		return error;
	if (changed || fold.open || fold.drains || image->view.pins_end > plan->now)
		return fold_all(&fold, changed);
	keep_leased_lines(&fold);
	number_lines(&image->view);
	return compile_classes(classes, image);
}

/* ---- server ids ---- */

size_t server_ids_size(size_t count)
{
	size_t size = 2;

	if (!count)
		return 0;
	while (size < 2 * count)
		size *= 2;
	return size;
}

int server_ids_fill(const struct server_id *ids, size_t count, struct server_id *slots, size_t size)
{
	size_t i, probe;

	memset(slots, 0, size * sizeof(*slots));
	for (i = 0; i < count; i++) {
		for (probe = 0; probe < SERVER_ID_PROBES; probe++) {
			struct server_id *slot =
				&slots[(server_id_hash(ids[i].id) + probe) & (size - 1)];

			if (slot->backend)
				continue;
			*slot = ids[i];
			break;
		}
		if (probe == SERVER_ID_PROBES)
			return -ENOSPC;
	}
	return 0;
}
