// SPDX-License-Identifier: GPL-2.0-only
/* Which names the table is built of, gathered from the store; how it is built: segment/classes.c.
 */
#include "control/tables.h"

#include "catalogue/catalogue.h"
#include "datapath/tables.h"
#include "util/siphash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct siphash_key digest_key = {0};

struct used_segment {
	const char *name; /* NULL: no segment has this number */
	uint64_t digest;  /* of its members */
};

struct tables {
	struct control *control;
	struct used_segment used[SEGMENTS_MAX];
	const char *columns[GROUP_COLUMNS_MAX];
	uint64_t column_digests[GROUP_COLUMNS_MAX];
	size_t columns_count;
	uint64_t digest; /* of what the table is to be built of; 0: of nothing */

	bool has_table;
	uint8_t place, in_use;			   /* tables_in_use() before this write */
	struct class_mapping from[SEGMENT_TABLES]; /* by place of the tables in use */
};

/* ---- what the table is to be built of ---- */

static int use_segment(struct tables *tables, const struct rule *rule)
{
	struct control *control = tables->control;
	struct membership membership;
	int8_t number;
	int error = number_segment(control, rule, &number);

	if (error || number < 0 || tables->used[number].name)
		return error;
	error = store_membership(control->store, rule->segment, false, &membership,
				 control->errors);
	if (error == -ENOENT)
		membership = (struct membership){0}; /* never computed: nobody is in it */
	else if (error)
		return error;
	tables->used[number] = (struct used_segment){rule->segment, membership.digest};
	membership_release(&membership);
	return 0;
}

static int use_column(struct tables *tables, const struct service *service)
{
	size_t i;

	if (!service->group_by)
		return 0;
	for (i = 0; i < tables->columns_count; i++)
		if (!strcmp(tables->columns[i], service->group_by))
			return 0;
	if (i == GROUP_COLUMNS_MAX)
		return errors_add_code(
			tables->control->errors, E2BIG, service->name, "group by one of the others",
			"group_by: a box groups by %d columns at the most", GROUP_COLUMNS_MAX);
	tables->columns[tables->columns_count++] = service->group_by;
	return 0;
}

static int use_all(struct tables *tables)
{
	const struct policy *policy = tables->control->policy;
	size_t i, rule;
	int error = 0;

	for (i = 0; i < policy->services_count && !error; i++) {
		const struct service *service = &policy->services[i];

		for (rule = 0; rule < service->rules_count && !error; rule++)
			error = use_segment(tables, &service->rules[rule]);
		if (!error)
			error = use_column(tables, service);
	}
	return error;
}

static uint64_t digest_of_text(const char *text)
{
	return siphash13(digest_key, text, strlen(text));
}

static uint64_t mixed(uint64_t digest, uint64_t word)
{
	uint64_t pair[2] = {digest, word};

	return siphash13(digest_key, pair, sizeof(pair));
}

static int find_digest(struct tables *tables)
{
	struct control *control = tables->control;
	struct client_form form = box_client_form(control->policy);
	uint64_t digest = mixed(form.prefix4, form.prefix6);
	bool is_empty = !tables->columns_count;
	struct grouping grouping;
	size_t i;
	int error;

	for (i = 0; i < SEGMENTS_MAX; i++) {
		if (!tables->used[i].name)
			continue;
		is_empty = false;
		digest = mixed(digest, i);
		digest = mixed(digest, digest_of_text(tables->used[i].name));
		digest = mixed(digest, tables->used[i].digest);
	}
	for (i = 0; i < tables->columns_count; i++) {
		error = store_grouping(control->store, tables->columns[i], false, &grouping,
				       control->errors);
		if (error && error != -ENOENT)
			return error;
		digest = mixed(digest, digest_of_text(tables->columns[i]));
		digest = mixed(digest, grouping.digest);
		tables->column_digests[i] = grouping.digest;
		grouping_release(&grouping);
	}
	tables->digest = is_empty ? 0 : digest;
	return 0;
}

/* ---- building it ---- */

/* What the sources of a table point into. */
struct gathered {
	struct membership memberships[SEGMENTS_MAX];
	struct member_list lists[SEGMENTS_MAX];
	struct grouping groupings[GROUP_COLUMNS_MAX];
	struct member_value *values[GROUP_COLUMNS_MAX];
	uint64_t *tokens[GROUP_COLUMNS_MAX];
	struct same_classes same[SEGMENT_TABLES];
	uint8_t places[SEGMENT_TABLES]; /* of the shown tables */
};

static int gather_segments(const struct tables *tables, struct gathered *gathered)
{
	struct control *control = tables->control;
	size_t i;
	int error = 0;

	for (i = 0; i < SEGMENTS_MAX && !error; i++) {
		struct membership *membership = &gathered->memberships[i];

		if (!tables->used[i].name)
			continue;
		error = store_membership(control->store, tables->used[i].name, true, membership,
					 control->errors);
		error = error == -ENOENT ? 0 : error;
		gathered->lists[i] = (struct member_list){membership->members, membership->count};
	}
	return error;
}

/* Of each text by its index + 1; 0 has none. malloc()ed. */
static uint64_t *tokens_of(const struct grouping *grouping, struct siphash_key secret)
{
	uint64_t *tokens = calloc(grouping->texts_count + 1, sizeof(*tokens));
	const char *text = grouping->texts;
	size_t i;

	for (i = 1; tokens && i <= grouping->texts_count; i++, text += strlen(text) + 1)
		tokens[i] = siphash13(secret, text, strlen(text));
	return tokens;
}

static struct member_value *values_of(const struct grouping *grouping)
{
	struct member_value *values = calloc(grouping->count + 1, sizeof(*values));
	size_t i;

	for (i = 0; values && i < grouping->count; i++)
		values[i] = (struct member_value){grouping->clients[i].client,
						  grouping->clients[i].text + 1ULL};
	return values;
}

static int gather_column(const struct tables *tables, size_t column, struct siphash_key secret,
			 struct gathered *gathered, struct class_column *out)
{
	struct control *control = tables->control;
	struct grouping *grouping = &gathered->groupings[column];
	int error = store_grouping(control->store, tables->columns[column], true, grouping,
				   control->errors);

	if (error && error != -ENOENT)
		return error;
	gathered->values[column] = values_of(grouping);
	gathered->tokens[column] = tokens_of(grouping, secret);
	if (!gathered->values[column] || !gathered->tokens[column])
		return -ENOMEM;
	*out = (struct class_column){
		.clients = gathered->values[column],
		.count = grouping->count,
		.tokens = gathered->tokens[column],
		.name = digest_of_text(tables->columns[column]),
	};
	return 0;
}

static int gather_tables(const struct tables *tables, struct gathered *gathered,
			 struct class_sources *sources)
{
	const struct datapath *datapath = tables->control->datapath;
	uint8_t place;
	int error = 0;

	for (place = 0; place < SEGMENT_TABLES && !error; place++) {
		size_t i = sources->shown_count;

		if (!(tables->in_use & 1 << place))
			continue;
		error = datapath_same_classes(datapath, place, &gathered->same[i]);
		gathered->places[i] = place;
		sources->shown[i] = (struct shown_table){
			.table = datapath_table(datapath, place),
			.lines = datapath_table_lines(datapath, place),
			.same_classes = gathered->same[i].classes,
			.same_groups = gathered->same[i].groups,
		};
		sources->shown_count++;
	}
	return error;
}

static void gathered_release(struct gathered *gathered)
{
	size_t i;

	for (i = 0; i < SEGMENTS_MAX; i++)
		membership_release(&gathered->memberships[i]);
	for (i = 0; i < GROUP_COLUMNS_MAX; i++) {
		grouping_release(&gathered->groupings[i]);
		free(gathered->values[i]);
		free(gathered->tokens[i]);
	}
	for (i = 0; i < SEGMENT_TABLES; i++)
		same_classes_release(&gathered->same[i]);
}

static int cannot_build(struct control *control, int error)
{
	if (error != -ENOSPC && error != -E2BIG)
		return error;
	return errors_add_code(control->errors, -error, "segments",
			       "let rules name fewer segments that overlap, or fewer groups",
			       "their clients have more combinations of segments and groups than a "
			       "table can tell apart");
}

static int write_table(struct tables *tables, const struct gathered *gathered,
		       const struct class_sources *sources)
{
	struct control *control = tables->control;
	struct class_table built;
	size_t i;
	int error = class_table_build(sources, &built);

	if (error)
		error = cannot_build(control, error);
	else
		error = datapath_write_table(control->datapath, &built.image, &tables->place,
					     control->errors);
	for (i = 0; i < sources->shown_count && !error; i++) {
		tables->from[gathered->places[i]] = built.from[i];
		built.from[i] = (struct class_mapping){0};
	}
	class_table_release(&built);
	return error;
}

static int build_table(struct tables *tables, struct siphash_key secret)
{
	struct client_form form = box_client_form(tables->control->policy);
	struct gathered *gathered = calloc(1, sizeof(*gathered));
	struct class_sources sources = {
		.columns_count = tables->columns_count,
		.prefix4 = form.prefix4,
		.prefix6 = form.prefix6,
		.digest = tables->digest,
	};
	size_t column;
	int error = gathered ? gather_segments(tables, gathered) : -ENOMEM;

	if (!gathered)
		return error;
	sources.segments = gathered->lists;
	for (column = 0; column < tables->columns_count && !error; column++)
		error = gather_column(tables, column, secret, gathered, &sources.columns[column]);
	if (!error)
		error = gather_tables(tables, gathered, &sources);
	if (!error)
		error = write_table(tables, gathered, &sources);
	gathered_release(gathered);
	free(gathered);
	return error;
}

/* ---- a table that is there, and views that a writer who died left at another ---- */

static int map_others(struct tables *tables)
{
	const struct datapath *datapath = tables->control->datapath;
	uint8_t place;
	int error = 0;

	for (place = 0; place < SEGMENT_TABLES && !error; place++) {
		struct shown_table shown;

		/* What a place that is not in use says may be half written. */
		if (!(tables->in_use & 1 << place) || place == tables->place)
			continue;
		shown = (struct shown_table){
			.table = datapath_table(datapath, place),
			.lines = datapath_table_lines(datapath, place),
		};
		error = class_table_map(datapath_table(datapath, tables->place),
					datapath_table_lines(datapath, tables->place), &shown,
					&tables->from[place]);
	}
	return error;
}

/* A table in use that says what is wanted; where nothing is, any: eras may need it. */
static bool find_table(struct tables *tables)
{
	const struct datapath *datapath = tables->control->datapath;

	for (tables->place = 0; tables->place < SEGMENT_TABLES; tables->place++)
		if ((tables->in_use & 1 << tables->place) &&
		    (!tables->digest ||
		     datapath_table(datapath, tables->place)->digest == tables->digest))
			return true;
	return false;
}

/* ---- for publishing ---- */

int tables_begin(struct control *control, struct siphash_key secret, struct tables **out)
{
	struct tables *tables = calloc(1, sizeof(*tables));
	int error;

	*out = tables;
	if (!tables)
		return -ENOMEM;
	tables->control = control;
	error = use_all(tables);
	if (!error)
		error = find_digest(tables);
	if (error || !control->datapath)
		return error;
	tables->in_use = tables_in_use(control->datapath);
	tables->has_table = true;
	if (find_table(tables))
		return map_others(tables);
	tables->has_table = tables->digest != 0;
	return tables->has_table ? build_table(tables, secret) : 0;
}

void tables_end(struct tables *tables)
{
	size_t i;

	if (!tables)
		return;
	for (i = 0; i < SEGMENT_TABLES; i++)
		class_mapping_release(&tables->from[i]);
	free(tables);
}

bool tables_are_shown(const struct tables *tables, const struct view *view)
{
	return !view_has_table(view) || view_table(view) == tables->place;
}

size_t tables_moving(const struct tables *tables)
{
	const struct datapath *datapath = tables->control->datapath;
	size_t count = 0;
	uint32_t slot;

	for (slot = 0; slot < datapath->maps[MAP_CELLS].entries; slot++)
		count += !tables_are_shown(tables, datapath_view(datapath, slot));
	return count;
}

void tables_classes(const struct tables *tables, const struct service *service,
		    const struct view *shown, struct client_classes *out)
{
	const struct datapath *datapath = tables->control->datapath;
	const struct segment_table *table;
	const struct segment_line *lines;

	*out = (struct client_classes){0};
	if (!tables->has_table)
		return;
	table = datapath_table(datapath, tables->place);
	lines = datapath_table_lines(datapath, tables->place);
	*out = (struct client_classes){
		.classes_count = table->classes_count,
		.groups_count = table->groups_count,
		.members = class_table_members(table, lines),
		.table = tables->place,
	};
	if (service->group_by)
		out->tokens = class_table_tokens(table, lines, digest_of_text(service->group_by));
	if (view_has_table(shown) && view_table(shown) != tables->place) {
		out->shown_classes = tables->from[view_table(shown)].classes;
		out->shown_groups = tables->from[view_table(shown)].groups;
	}
}

static uint64_t column_digest(const struct tables *tables, const char *column)
{
	size_t i = 0;

	while (strcmp(tables->columns[i], column))
		i++;
	return tables->column_digests[i];
}

uint64_t tables_digest(const struct tables *tables, const struct service *service,
		       const struct view_numbers *numbers)
{
	uint64_t digest = 0;
	size_t rule;

	for (rule = 0; rule < service->rules_count; rule++)
		if (!service->rules[rule].is_default)
			digest = mixed(mixed(digest, digest_of_text(service->rules[rule].segment)),
				       tables->used[numbers->segments[rule]].digest);
	if (service->group_by)
		digest = mixed(mixed(digest, digest_of_text(service->group_by)),
			       column_digest(tables, service->group_by));
	return digest;
}
