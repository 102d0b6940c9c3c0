/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The segment tables: in the kernel's maps, each at a place that views name (VIEW_TABLE). A table
 * is written where no shown view looks; which places and lines are free follows from the shown
 * views.
 */
#ifndef XDP_CANARY_TABLES_H
#define XDP_CANARY_TABLES_H

#include "datapath/publish.h"
#include "segment/classes.h"

static inline bool view_has_table(const struct view *view)
{
	return view && (view->flags & (VIEW_SEGMENTS | VIEW_GROUPS));
}

static inline uint8_t view_table(const struct view *view)
{
	return view->flags >> VIEW_TABLE_SHIFT;
}

/* Bit i: a shown view uses table i. */
uint8_t tables_in_use(const struct datapath *datapath);
const struct segment_table *datapath_table(const struct datapath *datapath, uint8_t place);
/* Its first line. */
const struct segment_line *datapath_table_lines(const struct datapath *datapath, uint8_t place);
/*
 * Writes @image at a free place, which is *@place. -ENOSPC with an error where the lines do not fit
 * beside the tables in use.
 */
int datapath_write_table(struct datapath *datapath, const struct segment_image *image,
			 uint8_t *place, struct errors *errors);

/* Of each class and group of a table the lowest that all views that use it take for the same. */
struct same_classes {
	uint32_t *classes, *groups;
};

int datapath_same_classes(const struct datapath *datapath, uint8_t place, struct same_classes *out);
void same_classes_release(struct same_classes *same);

#endif
