// SPDX-License-Identifier: GPL-2.0-only
#include "datapath/tables.h"

#include "segment/numbering.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint8_t tables_in_use(const struct datapath *datapath)
{
	uint8_t used = 0;
	uint32_t slot;

	for (slot = 0; slot < datapath->maps[MAP_CELLS].entries; slot++) {
		const struct view *view = datapath_view(datapath, slot);

		if (view_has_table(view))
			used |= 1 << view_table(view);
	}
	return used;
}

static struct segment_table *table_at(const struct datapath *datapath, uint8_t place)
{
	return map_part(datapath, MAP_SEGMENT_TABLES, struct segment_table, place, 1);
}

const struct segment_table *datapath_table(const struct datapath *datapath, uint8_t place)
{
	return table_at(datapath, place);
}

const struct segment_line *datapath_table_lines(const struct datapath *datapath, uint8_t place)
{
	const struct segment_table *table = table_at(datapath, place);

	return map_part(datapath, MAP_SEGMENT_LINES, struct segment_line, table->lines,
			table->lines_count);
}

/* The first line from @from on that no used table has, or where the one that has it ends. */
static uint32_t after_used(const struct datapath *datapath, uint8_t used, uint32_t from,
			   uint32_t count)
{
	uint8_t place;

	for (place = 0; place < SEGMENT_TABLES; place++) {
		const struct segment_table *table = table_at(datapath, place);

		if ((used & 1 << place) && from < table->lines + table->lines_count &&
		    table->lines < from + count)
			return table->lines + table->lines_count;
	}
	return from;
}

static int find_lines(const struct datapath *datapath, uint8_t used, uint32_t count,
		      uint32_t *first)
{
	uint32_t entries = datapath->maps[MAP_SEGMENT_LINES].entries, from = 0, next;

	for (;;) {
		if (count > entries || from > entries - count)
			return -ENOSPC;
		next = after_used(datapath, used, from, count);
		if (next == from)
			break;
		from = next;
	}
	*first = from;
	return 0;
}

int datapath_write_table(struct datapath *datapath, const struct segment_image *image,
			 uint8_t *place, struct errors *errors)
{
	uint32_t count = image->table.lines_count, first;
	uint8_t used = tables_in_use(datapath);
	struct segment_table table = image->table;

	if (find_lines(datapath, used, count, &first))
		return errors_add_code(
			errors, ENOSPC, "segments",
			"raise `limits.segment_clients` or `limits.segment_prefixes` "
			"and make the maps anew, or give fewer clients",
			"no room for a table of %zu clients and %zu prefixes (%u "
			"lines) among the %u of the box",
			image->clients, image->prefixes, count,
			datapath->maps[MAP_SEGMENT_LINES].entries);
	for (*place = 0; used & 1 << *place;)
		++*place;
	if (*place == SEGMENT_TABLES)
		return errors_add_code(errors, ENOSPC, "segments",
				       "apply what was applied before, then this",
				       "all %d tables are in use: writers were stopped while they "
				       "showed one",
				       SEGMENT_TABLES);
	table.lines = first;
	memcpy(map_part(datapath, MAP_SEGMENT_LINES, struct segment_line, first, count),
	       image->lines, count * sizeof(*image->lines));
	*table_at(datapath, *place) = table;
	return 0;
}

/* ---- classes that are shown, less those that nobody tells apart ---- */

void same_classes_release(struct same_classes *same)
{
	free(same->classes);
	free(same->groups);
	*same = (struct same_classes){0};
}

/* Two words a class, so that no two are taken for one by chance. */
static void mix_view(const struct datapath *datapath, uint32_t slot, uint64_t (*classes)[2],
		     uint64_t (*groups)[2])
{
	struct shown_view shown = datapath_shown(datapath, slot);
	uint32_t i;

	for (i = 0; i < shown.view->classes_count; i++) {
		classes[i][0] = fmix64(classes[i][0] ^ shown.classes[i]) + slot;
		classes[i][1] = fmix64(classes[i][1] + shown.classes[i]) ^ slot;
	}
	for (i = 0; i < shown.view->groups_count; i++) {
		const struct group_entry *group = &shown.groups[i];

		groups[i][0] = fmix64(groups[i][0] ^ group->token) + slot + group->changed;
		groups[i][1] = fmix64(groups[i][1] + group->origin) ^ slot;
	}
}

static int first_of_each(const uint64_t (*keys)[2], uint32_t count, uint32_t **out)
{
	uint32_t *first = calloc(count + 1, sizeof(*first)), *firsts, i, number;
	struct numbering numbering;
	int error = numbering_begin(&numbering, 2);

	firsts = calloc(count + 1, sizeof(*firsts));
	if (!first || !firsts)
		error = -ENOMEM;
	for (i = 0; i < count && !error; i++) {
		size_t known = numbering.count;

		error = numbering_of(&numbering, keys[i], &number);
		if (!error && numbering.count > known)
			firsts[number] = i;
		if (!error)
			first[i] = firsts[number];
	}
	numbering_release(&numbering);
	free(firsts);
	*out = first;
	return error;
}

int datapath_same_classes(const struct datapath *datapath, uint8_t place, struct same_classes *out)
{
	const struct segment_table *table = datapath_table(datapath, place);
	uint64_t(*classes)[2] = calloc(table->classes_count + 1, sizeof(*classes));
	uint64_t(*groups)[2] = calloc(table->groups_count + 1, sizeof(*groups));
	uint32_t slot;
	int error = classes && groups ? 0 : -ENOMEM;

	*out = (struct same_classes){0};
	for (slot = 0; !error && slot < datapath->maps[MAP_CELLS].entries; slot++) {
		const struct view *view = datapath_view(datapath, slot);

		if (view_has_table(view) && view_table(view) == place)
			mix_view(datapath, slot, classes, groups);
	}
	if (!error)
		error = first_of_each((const uint64_t(*)[2])classes, table->classes_count,
				      &out->classes);
	if (!error)
		error = first_of_each((const uint64_t(*)[2])groups, table->groups_count,
				      &out->groups);
	free(classes);
	free(groups);
	return error;
}
