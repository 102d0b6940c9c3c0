// SPDX-License-Identifier: GPL-2.0-only
#include "segment/classes.h"

#include "abi.h"
#include "segment/numbering.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* In this order: bits of segments, texts of each column, values of each shown table. */
#define LISTS_MAX (1 + GROUP_COLUMNS_MAX + SEGMENT_TABLES)

struct build {
	const struct class_sources *sources;
	struct class_table *out;
	struct spans lists[LISTS_MAX];
	size_t lists_count;
	struct numbering classes, groups;
	unsigned int class_bits;
};

static uint32_t class_of(const struct segment_table *table, uint64_t value)
{
	return value & ((1ULL << table->class_bits) - 1);
}

static uint32_t group_of(const struct segment_table *table, uint64_t value)
{
	return value >> table->class_bits;
}

/* ---- the lists ---- */

/* As spans of `group << 32 | class`. */
static int add_shown(struct build *build, const struct shown_table *shown)
{
	struct spans *spans = &build->lists[build->lists_count++];
	int error = layout_walk(shown->table, shown->lines, spans);
	size_t i;

	for (i = 0; !error && i < spans->count; i++) {
		uint64_t value = spans->list[i].value;

		spans->list[i].value = (uint64_t)shown->same_groups[group_of(shown->table, value)]
					       << 32 |
				       shown->same_classes[class_of(shown->table, value)];
	}
	return error;
}

static int add_lists(struct build *build)
{
	const struct class_sources *sources = build->sources;
	size_t i;
	int error = spans_of_lists(sources->segments, SEGMENTS_MAX,
				   &build->lists[build->lists_count++]);

	for (i = 0; i < sources->columns_count && !error; i++)
		error = spans_of_values(sources->columns[i].clients, sources->columns[i].count,
					&build->lists[build->lists_count++]);
	for (i = 0; i < sources->shown_count && !error; i++)
		error = add_shown(build, &sources->shown[i]);
	return error;
}

/* ---- numbers of classes and groups ---- */

/*
 * A class is of one set of segments and one class of every shown table, a group of one text of
 * every column and one group of every shown table.
 */
static int number_tuple(struct build *build, const uint64_t *tuple, uint32_t *class,
			uint32_t *group)
{
	size_t columns = build->sources->columns_count, i;
	uint64_t of_class[LISTS_MAX] = {tuple[0]}, of_group[LISTS_MAX] = {0};
	int error;

	memcpy(of_group, tuple + 1, columns * sizeof(*of_group));
	for (i = 0; i < build->sources->shown_count; i++) {
		uint64_t shown = tuple[1 + columns + i];

		of_class[1 + i] = (uint32_t)shown;
		of_group[columns + i] = shown >> 32;
	}
	error = numbering_of(&build->classes, of_class, class);
	return error ? error : numbering_of(&build->groups, of_group, group);
}

static int number_tuples(struct build *build, const uint64_t *tuples, size_t count,
			 uint32_t *classes, uint32_t *groups)
{
	static const uint64_t nobody[LISTS_MAX];
	uint32_t class, group;
	size_t i;
	int error = number_tuple(build, nobody, &class, &group);

	for (i = 0; i < count && !error; i++)
		error = number_tuple(build, tuples + i * build->lists_count, &classes[i],
				     &groups[i]);
	return error;
}

static unsigned int bits_for(size_t count)
{
	unsigned int bits = 0;

	while (count > 1ULL << bits)
		bits++;
	return bits;
}

/* The joined spans have tuples for values; then they have what the table holds. */
static int set_values(struct build *build, struct spans *joined, const uint64_t *tuples,
		      size_t count)
{
	uint32_t *classes = calloc(count + 1, sizeof(*classes));
	uint32_t *groups = calloc(count + 1, sizeof(*groups));
	size_t i;
	int error =
		classes && groups ? number_tuples(build, tuples, count, classes, groups) : -ENOMEM;

	build->class_bits = bits_for(build->classes.count);
	if (!error && build->class_bits + bits_for(build->groups.count) > 32)
		error = -ENOSPC;
	for (i = 0; i < joined->count && !error; i++) {
		uint64_t tuple = joined->list[i].value;

		joined->list[i].value =
			(uint64_t)groups[tuple] << build->class_bits | classes[tuple];
	}
	free(classes);
	free(groups);
	return error;
}

/* ---- words for user space, behind the table's own lines ---- */

static uint32_t lines_for(size_t words)
{
	size_t a_line = CACHE_LINE / sizeof(uint64_t);

	return (words + a_line - 1) / a_line;
}

static int add_lines(struct segment_image *image, uint32_t count)
{
	uint32_t before = image->table.lines_count;
	struct segment_line *grown = aligned_alloc(CACHE_LINE, (before + count) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	memcpy(grown, image->lines, before * sizeof(*grown));
	memset(grown + before, 0, count * sizeof(*grown));
	free(image->lines);
	image->lines = grown;
	image->table.lines_count += count;
	return 0;
}

static int append_words(struct build *build)
{
	const struct class_sources *sources = build->sources;
	struct segment_image *image = &build->out->image;
	struct segment_table *table = &image->table;
	size_t groups = build->groups.count, column, i;
	__u64 *words;
	int error;

	table->members = table->lines_count;
	table->tokens = table->members + lines_for(build->classes.count);
	error = add_lines(image, lines_for(build->classes.count) +
					 lines_for(sources->columns_count * groups));
	if (error)
		return error;
	words = image->lines[table->members].words;
	for (i = 0; i < build->classes.count; i++)
		words[i] = build->classes.words[i * build->classes.width];
	words = image->lines[table->tokens].words;
	for (column = 0; column < sources->columns_count; column++)
		for (i = 0; i < groups; i++)
			*words++ = sources->columns[column].tokens
					   [build->groups.words[i * build->groups.width + column]];
	return 0;
}

static void fill_head(struct build *build)
{
	const struct class_sources *sources = build->sources;
	struct segment_table *table = &build->out->image.table;
	size_t i;

	table->class_bits = build->class_bits;
	table->classes_count = build->classes.count;
	table->groups_count = build->groups.count;
	table->digest = sources->digest;
	table->columns_count = sources->columns_count;
	for (i = 0; i < sources->columns_count; i++)
		table->columns[i] = sources->columns[i].name;
}

/* ---- together ---- */

static int new_mapping(size_t classes, size_t groups, struct class_mapping *out)
{
	out->classes = calloc(classes + 1, sizeof(*out->classes));
	out->groups = calloc(groups + 1, sizeof(*out->groups));
	return out->classes && out->groups ? 0 : -ENOMEM;
}

static int keep_mapping(struct build *build, size_t shown)
{
	struct class_mapping *from = &build->out->from[shown];
	size_t of_class = 1 + shown, of_group = build->sources->columns_count + shown, i;
	int error = new_mapping(build->classes.count, build->groups.count, from);

	if (error)
		return error;
	for (i = 0; i < build->classes.count; i++)
		from->classes[i] = build->classes.words[i * build->classes.width + of_class];
	for (i = 0; i < build->groups.count; i++)
		from->groups[i] = build->groups.words[i * build->groups.width + of_group];
	return 0;
}

static int lay_out(struct build *build)
{
	struct spans joined = {0};
	uint64_t *tuples = NULL;
	size_t count = 0;
	int error = spans_join(build->lists, build->lists_count, &joined, &tuples, &count);

	if (!error)
		error = set_values(build, &joined, tuples, count);
	if (!error)
		error = layout_build(&joined, build->sources->prefix4, build->sources->prefix6,
				     &build->out->image);
	spans_release(&joined);
	free(tuples);
	return error;
}

int class_table_build(const struct class_sources *sources, struct class_table *out)
{
	struct build build = {.sources = sources, .out = out};
	size_t width = sources->columns_count + sources->shown_count, i;
	int error;

	*out = (struct class_table){0};
	error = numbering_begin(&build.classes, 1 + sources->shown_count);
	if (!error)
		error = numbering_begin(&build.groups, width ? width : 1);
	if (!error)
		error = add_lists(&build);
	if (!error)
		error = lay_out(&build);
	if (!error)
		error = append_words(&build);
	for (i = 0; i < sources->shown_count && !error; i++)
		error = keep_mapping(&build, i);
	if (!error)
		fill_head(&build);
	for (i = 0; i < build.lists_count; i++)
		spans_release(&build.lists[i]);
	numbering_release(&build.classes);
	numbering_release(&build.groups);
	return error;
}

void class_mapping_release(struct class_mapping *mapping)
{
	free(mapping->classes);
	free(mapping->groups);
	*mapping = (struct class_mapping){0};
}

void class_table_release(struct class_table *table)
{
	size_t i;

	for (i = 0; i < SEGMENT_TABLES; i++)
		class_mapping_release(&table->from[i]);
	segment_image_release(&table->image);
}

int class_table_map(const struct segment_table *table, const struct segment_line *lines,
		    const struct shown_table *shown, struct class_mapping *out)
{
	struct spans lists[2] = {0}, joined = {0};
	uint64_t *tuples = NULL;
	size_t count = 0, i;
	int error = new_mapping(table->classes_count, table->groups_count, out);

	if (!error)
		error = layout_walk(table, lines, &lists[0]);
	if (!error)
		error = layout_walk(shown->table, shown->lines, &lists[1]);
	if (!error)
		error = spans_join(lists, 2, &joined, &tuples, &count);
	for (i = 0; i < count && !error; i++) {
		uint64_t value = tuples[2 * i], before = tuples[2 * i + 1];

		out->classes[class_of(table, value)] = class_of(shown->table, before);
		out->groups[group_of(table, value)] = group_of(shown->table, before);
	}
	for (i = 0; i < 2; i++)
		spans_release(&lists[i]);
	spans_release(&joined);
	free(tuples);
	return error;
}

const __u64 *class_table_members(const struct segment_table *table,
				 const struct segment_line *lines)
{
	return lines[table->members].words;
}

const __u64 *class_table_tokens(const struct segment_table *table, const struct segment_line *lines,
				uint64_t name)
{
	size_t i;

	for (i = 0; i < table->columns_count; i++)
		if (table->columns[i] == name)
			return lines[table->tokens].words + i * table->groups_count;
	return NULL;
}
