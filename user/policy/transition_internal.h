/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the fold share: transition.c (all but these), transition_classes.c. */
#ifndef XDP_CANARY_TRANSITION_INTERNAL_H
#define XDP_CANARY_TRANSITION_INTERNAL_H

#include "policy/transition.h"

struct fold {
	const struct shown_view *shown;
	const struct transition_plan *plan;
	const struct client_classes *classes;
	struct view_image *image;
	bool open;	    /* the shown view's era goes on */
	bool pending;	    /* it is over, but not for clients whose pin ended by itself, or will */
	uint8_t generation; /* of the cuts; 0: there are none */
	uint8_t emptied;    /* bit c: from canary c all are cut, who are to be there again, too */
	/* Canaries whose shown lease has ended; 0: none. */
	uint8_t drains; /* new flows go to control, the others are still there; it does not go on */
	uint8_t over;	/* all flows go to control */
	bool stays_over; /* the image goes on with that lease */
};

/* The line of the shown view, of a rule that is gone too, that is @rule's; NULL: it had none. */
const struct view_rule *shown_rule(const struct fold *fold, const struct view_rule *rule);
/* What was decided by the shown line when the era began that is folded. */
void set_origin(const struct fold *fold, struct view_rule *rule, const struct view_rule *shown);
/*
 * The cuts of clients whose rule is now line @rule of the image, to @line; until now they had those
 * of the shown line @before, or none.
 */
void fold_cuts(const struct fold *fold, struct view_rule *line, const struct view_rule *before,
	       size_t rule);

/* Do the table's classes and groups decide otherwise than they did? */
bool classes_differ(const struct fold *fold);
/* The classes and groups of the image, with the lines behind the rules. -ENOMEM. */
int fold_classes(const struct fold *fold);

#endif
