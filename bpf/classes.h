/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 5, of services with segments or groups alone: which class of clients this one is of, and so
 * which rule decides, now and when the era began; and which group it is in, and so which token it
 * shares. One probe of the segment table tells both.
 */
#ifndef XDP_CANARY_CLASSES_H
#define XDP_CANARY_CLASSES_H

#include "segment.h"

static __always_inline void note_class(struct packet *p, __u32 class)
{
	__u32 index = p->view->classes + class, of_class;
	struct class_line *line = lookup(classes, index / CLASS_LINE_CLASSES);

	if (!line)
		return;
	of_class = line->classes[index & (CLASS_LINE_CLASSES - 1)];
	p->notes &= ~NOTE_CLASS_MASK;
	p->notes |= (__u64)class_rule(of_class) << NOTE_RULE_SHIFT |
		    (__u64)class_origin(of_class) << NOTE_ORIGIN_SHIFT |
		    (__u64)class_cuts(of_class) << NOTE_CUTS_SHIFT;
	if (of_class & CLASS_CHANGED)
		p->notes |= DISPUTED;
}

static __always_inline void join_group(struct packet *p, __u32 group)
{
	if (!group)
		return;
	p->group = lookup(groups, p->view->groups + group);
	if (!p->group)
		return;
	if (p->group->token)
		p->token = p->group->token;
	if (p->group->changed)
		p->notes |= DISPUTED;
}

static __always_inline void find_class(struct packet *p)
{
	__u16 flags = p->view->flags;
	struct segment_table *table;
	__u32 value;

	p->group = NULL;
	if (!(flags & (VIEW_SEGMENTS | VIEW_GROUPS)))
		return;
	table = lookup(segment_tables, flags >> VIEW_TABLE_SHIFT);
	if (!table)
		return;
	value = segment_value(p, table);
	if (flags & VIEW_GROUPS)
		join_group(p, value >> (table->class_bits & 31));
	if (flags & VIEW_SEGMENTS)
		note_class(p, value & ((1ULL << (table->class_bits & 63)) - 1));
}

/*
 * The line of the view's rules that @of_class, what is noted of the client's class, names; where
 * rules do not depend on segments that of all clients.
 */
static __always_inline __u8 rule_line(const struct view *view, __u8 of_class)
{
	return view->flags & VIEW_SEGMENTS ? of_class : view->default_rule;
}

#endif
