// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients of a lab, in segments and groups, and the segment table that the kernel looks them up in:
 * built from the lists and from the tables that are shown, as control/segments.c does it.
 */
#include "lab.h"

#include "datapath/tables.h"
#include "util/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(const struct lab *lab, int error)
{
	if (error)
		errors_print(lab->errors, stderr);
	assert_int_equal(error, 0);
}

/* ---- who is where ---- */

static struct member client_of(const struct lab *lab, const struct prefix *client)
{
	struct prefix reduced = prefix_shorten(client, lab->clients.prefix4, lab->clients.prefix6);

	return member_of(&reduced);
}

static void change(struct lab *lab)
{
	lab->clients.changes++;
	lab->clients.has_any = true;
}

static size_t find_member(const struct lab *lab, uint8_t segment, const struct member *member)
{
	const struct member *members = lab->clients.segments[segment];
	size_t i = 0;

	while (i < lab->clients.counts[segment] && member_compare(&members[i], member))
		i++;
	return i;
}

void lab_add_member(struct lab *lab, uint8_t segment, const struct prefix *client)
{
	struct member member = client_of(lab, client), **members = &lab->clients.segments[segment];
	size_t *count = &lab->clients.counts[segment];

	change(lab);
	if (find_member(lab, segment, &member) < *count)
		return;
	*members = reallocarray(*members, *count + 1, sizeof(**members));
	assert_non_null(*members);
	(*members)[(*count)++] = member;
}

void lab_remove_member(struct lab *lab, uint8_t segment, const struct prefix *client)
{
	struct member member = client_of(lab, client), *members = lab->clients.segments[segment];
	size_t *count = &lab->clients.counts[segment], i = find_member(lab, segment, &member);

	change(lab);
	if (i < *count)
		members[i] = members[--*count];
}

void lab_set_group(struct lab *lab, uint8_t column, const struct prefix *client, uint8_t text)
{
	struct member_value **values = &lab->clients.columns[column - 1];
	size_t *count = &lab->clients.column_counts[column - 1], i = 0;
	struct member_value value = {client_of(lab, client), text};

	assert_in_range(column, 1, GROUP_COLUMNS_MAX);
	assert_in_range(text, 0, LAB_TEXTS);
	change(lab);
	while (i < *count && member_compare(&(*values)[i].client, &value.client))
		i++;
	if (i == *count) {
		*values = reallocarray(*values, *count + 1, sizeof(**values));
		assert_non_null(*values);
		++*count;
	}
	(*values)[i] = value;
	if (!text)
		(*values)[i] = (*values)[--*count];
}

const char *lab_text(uint8_t text, char out[16])
{
	snprintf(out, 16, "app-%u", text);
	return out;
}

void lab_remove_clients(struct lab *lab)
{
	struct lab_clients *clients = &lab->clients;
	size_t i;

	for (i = 0; i < SEGMENTS_MAX; i++) {
		free(clients->segments[i]);
		clients->segments[i] = NULL;
		clients->counts[i] = 0;
	}
	for (i = 0; i < GROUP_COLUMNS_MAX; i++) {
		free(clients->columns[i]);
		clients->columns[i] = NULL;
		clients->column_counts[i] = 0;
	}
	clients->has_any = false;
}

/* ---- what the table is built of ---- */

struct sources {
	struct class_sources sources;
	struct member_list lists[SEGMENTS_MAX];
	uint64_t tokens[LAB_TEXTS + 1]; /* the same in all columns */
	struct same_classes same[SEGMENT_TABLES];
	uint8_t places[SEGMENT_TABLES]; /* of the shown tables */
};

static void gather_clients(const struct lab *lab, struct sources *out)
{
	const struct lab_clients *clients = &lab->clients;
	size_t i;
	char text[16];

	for (i = 0; i < SEGMENTS_MAX; i++)
		out->lists[i] = (struct member_list){
			clients->segments[i],
			members_sort(clients->segments[i], clients->counts[i]),
		};
	for (i = 1; i <= LAB_TEXTS; i++) {
		lab_text(i, text);
		out->tokens[i] = siphash13(lab->secret, text, strlen(text));
	}
	for (i = 0; i < GROUP_COLUMNS_MAX; i++) {
		qsort(clients->columns[i], clients->column_counts[i], sizeof(struct member_value),
		      member_compare); /* a value begins with its client */
		out->sources.columns[i] = (struct class_column){
			.clients = clients->columns[i],
			.count = clients->column_counts[i],
			.tokens = out->tokens,
			.name = 1 + i,
		};
	}
	out->sources.segments = out->lists;
	out->sources.columns_count = GROUP_COLUMNS_MAX;
}

static void gather_tables(const struct lab *lab, uint8_t in_use, struct sources *out)
{
	struct class_sources *sources = &out->sources;
	uint8_t place;

	for (place = 0; place < SEGMENT_TABLES; place++) {
		size_t i = sources->shown_count;

		if (!(in_use & 1 << place))
			continue;
		check(lab, datapath_same_classes(lab->datapath, place, &out->same[i]));
		out->places[i] = place;
		sources->shown[i] = (struct shown_table){
			.table = datapath_table(lab->datapath, place),
			.lines = datapath_table_lines(lab->datapath, place),
			.same_classes = out->same[i].classes,
			.same_groups = out->same[i].groups,
		};
		sources->shown_count++;
	}
}

static void build_table(struct lab *lab, struct lab_table *table)
{
	struct sources *gathered = calloc(1, sizeof(*gathered));
	struct class_table built;
	size_t i;

	assert_non_null(gathered);
	gathered->sources.prefix4 = lab->clients.prefix4;
	gathered->sources.prefix6 = lab->clients.prefix6;
	gathered->sources.digest = lab->table_version;
	gather_clients(lab, gathered);
	gather_tables(lab, table->in_use, gathered);
	check(lab, class_table_build(&gathered->sources, &built));
	check(lab, datapath_write_table(lab->datapath, &built.image, &table->place, lab->errors));
	for (i = 0; i < gathered->sources.shown_count; i++) {
		table->from[gathered->places[i]] = built.from[i];
		built.from[i] = (struct class_mapping){0};
		same_classes_release(&gathered->same[i]);
	}
	class_table_release(&built);
	free(gathered);
}

/* ---- for publishing ---- */

static bool find_table(const struct lab *lab, uint64_t version, struct lab_table *table)
{
	for (table->place = 0; table->place < SEGMENT_TABLES; table->place++)
		if ((table->in_use & 1 << table->place) &&
		    (!version || datapath_table(lab->datapath, table->place)->digest == version))
			return true;
	return false;
}

/* What the others that are in use made of the classes. */
static void map_others(const struct lab *lab, struct lab_table *table)
{
	uint8_t place;

	for (place = 0; place < SEGMENT_TABLES; place++) {
		struct shown_table shown = {
			.table = datapath_table(lab->datapath, place),
			.lines = datapath_table_lines(lab->datapath, place),
		};

		if ((table->in_use & 1 << place) && place != table->place)
			check(lab,
			      class_table_map(datapath_table(lab->datapath, table->place),
					      datapath_table_lines(lab->datapath, table->place),
					      &shown, &table->from[place]));
	}
}

static void begin(struct lab *lab, uint64_t version, struct lab_table *out)
{
	*out = (struct lab_table){.in_use = tables_in_use(lab->datapath)};
	lab->table_version = version;
	out->has_table = find_table(lab, version, out);
	if (out->has_table) {
		map_others(lab, out);
	} else if (version) {
		build_table(lab, out);
		out->has_table = true;
	}
}

void lab_table_begin(struct lab *lab, struct lab_table *out)
{
	begin(lab, lab->clients.has_any ? lab->clients.changes : 0, out);
}

void lab_table_stay(struct lab *lab, struct lab_table *out)
{
	begin(lab, lab->table_version, out);
}

void lab_table_end(struct lab_table *table)
{
	size_t i;

	for (i = 0; i < SEGMENT_TABLES; i++)
		class_mapping_release(&table->from[i]);
}

bool lab_table_is_shown(const struct lab_table *table, const struct view *view)
{
	return !view_has_table(view) || view_table(view) == table->place;
}

struct client_classes lab_table_classes(const struct lab *lab, const struct lab_table *table,
					const struct lab_service *service)
{
	const struct view *shown = datapath_view(lab->datapath, service->slot);
	const struct segment_table *head;
	const struct segment_line *lines;
	struct client_classes classes = {0};

	if (!table->has_table)
		return classes;
	head = datapath_table(lab->datapath, table->place);
	lines = datapath_table_lines(lab->datapath, table->place);
	classes = (struct client_classes){
		.classes_count = head->classes_count,
		.groups_count = head->groups_count,
		.members = class_table_members(head, lines),
		.table = table->place,
	};
	if (service->group_column)
		classes.tokens = class_table_tokens(head, lines, service->group_column);
	if (view_has_table(shown) && view_table(shown) != table->place) {
		classes.shown_classes = table->from[view_table(shown)].classes;
		classes.shown_groups = table->from[view_table(shown)].groups;
	}
	return classes;
}
