// SPDX-License-Identifier: GPL-2.0-only
/*
 * What differs between two policies, by the key tables. Values are compared with their defaults
 * filled in, so a key that is merely written out is no difference. Items of lists are matched by
 * name, never by place; what their order decides (the control, slots, which rule matches first) is
 * a difference of the list itself. Items without a name (steps, hooks) are matched by their place,
 * and a list of plain ones (the words of a command) is one value. There are no differences exactly
 * where the canonical trees are equal.
 */
#include "config/config.h"

#include "config/path.h"
#include "config/render.h"
#include "config/values.h"
#include "util/text.h"

#include <stdlib.h>
#include <string.h>

struct differences {
	json_t *list;
	bool failed; /* no memory: the list is not whole */
};

struct sides {
	struct subject before, after;
};

/* An item of a list of one side, by its name. */
struct item {
	char name[NAME_SIZE];
	size_t index;
	size_t match; /* in the other side's list; NO_MATCH: not there */
};

#define NO_MATCH ((size_t)-1)

_Static_assert(NAME_SIZE >= ADDRESS_TEXT_SIZE, "items are named by addresses too");

static void diff_map(struct differences *differences, const struct schema *schema,
		     const struct sides *sides, const struct path *path);

/* Takes both references. */
static void add_difference(struct differences *differences, const struct path *path, json_t *before,
			   json_t *after)
{
	char text[PATH_SIZE];
	json_t *difference = json_pack("{s:s, s:o, s:o}", "path", path_format(path, text), "before",
				       before, "after", after);

	if (json_array_append_new(differences->list, difference))
		differences->failed = true;
}

static void diff_values(struct differences *differences, const struct path *path, json_t *before,
			json_t *after)
{
	if (before && json_equal(before, after)) {
		json_decref(before);
		json_decref(after);
	} else {
		add_difference(differences, path, before, after);
	}
}

/* ---- shares ---- */

static json_t *share_of(const json_t *shares, const char *cohort)
{
	const json_t *share = json_object_get(shares, cohort);

	return share ? json_incref((json_t *)share) : json_string("0%");
}

static void diff_shares(struct differences *differences, const struct sides *sides,
			const struct path *path)
{
	json_t *before = render_shares(&sides->before), *after = render_shares(&sides->after);
	json_t *cohorts = json_copy(before);

	if (!before || !after || json_object_update(cohorts, after))
		differences->failed = true;
	for (void *i = json_object_iter(cohorts); i; i = json_object_iter_next(cohorts, i)) {
		const char *cohort = json_object_iter_key(i);
		struct path step = {.parent = path, .text = cohort};

		diff_values(differences, &step, share_of(before, cohort), share_of(after, cohort));
	}
	json_decref(cohorts);
	json_decref(before);
	json_decref(after);
}

/* ---- lists ---- */

static void name_item(const struct key *list, const void *object, char name[NAME_SIZE])
{
	const struct key *key =
		list->schema ? schema_key(list->schema, list->schema->identity) : list->item;
	json_t *value = value_to_json(key, object);
	char number[TEXT_VALUE_SIZE] = "";
	const char *text = json_string_value(value);

	if (json_is_number(value))
		text = text_format_real(json_number_value(value), number);
	name[0] = 0;
	strncat(name, text ? text : "", NAME_SIZE - 1);
	json_decref(value);
}

static struct item *list_names(const struct key *list, const void *object)
{
	size_t count = *list_count(list, object);
	struct item *items = calloc(count + 1, sizeof(*items));

	for (size_t i = 0; items && i < count; i++) {
		name_item(list, list_item(list, object, i), items[i].name);
		items[i].index = i;
		items[i].match = NO_MATCH;
	}
	return items;
}

static int compare_pointers(const void *a, const void *b)
{
	const struct item *const *left = a, *const *right = b;

	return strcmp((*left)->name, (*right)->name);
}

static struct item **sort_items(struct item *items, size_t count)
{
	struct item **sorted = calloc(count + 1, sizeof(struct item *));

	if (!sorted)
		return NULL;
	for (size_t i = 0; i < count; i++)
		sorted[i] = &items[i];
	qsort(sorted, count, sizeof(struct item *), compare_pointers);
	return sorted;
}

/* Names are unique in a list, so both sides meet in one pass. */
static bool match_items(struct item *before, size_t before_count, struct item *after,
			size_t after_count)
{
	struct item **left = sort_items(before, before_count);
	struct item **right = sort_items(after, after_count);
	bool done = left && right;
	size_t i = 0, j = 0;

	while (done && i < before_count && j < after_count) {
		int order = strcmp(left[i]->name, right[j]->name);

		if (!order) {
			left[i]->match = right[j]->index;
			right[j]->match = left[i]->index;
		}
		i += order <= 0;
		j += order >= 0;
	}
	free(left);
	free(right);
	return done;
}

/* Whether the items of both sides come in another order, whatever else came or went. */
static bool order_differs(const struct item *before, size_t count)
{
	size_t last = 0;

	for (size_t i = 0; i < count; i++) {
		if (before[i].match == NO_MATCH)
			continue;
		if (before[i].match < last)
			return true;
		last = before[i].match;
	}
	return false;
}

static json_t *names_to_json(const struct item *items, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, json_string(items[i].name));
	return array;
}

static void diff_items(struct differences *differences, const struct key *key,
		       const struct sides *sides, const struct path *path,
		       const struct item *before, const struct item *after)
{
	size_t before_count = *list_count(key, sides->before.object);
	size_t after_count = *list_count(key, sides->after.object);

	for (size_t i = 0; i < before_count; i++) {
		struct path step = {.parent = path, .text = before[i].name};
		struct sides items = {
			.before = {list_item(key, sides->before.object, i), &sides->before},
			.after = {NULL, &sides->after},
		};

		if (before[i].match == NO_MATCH) {
			add_difference(differences, &step, render_item(key, &items.before),
				       json_null());
			continue;
		}
		items.after.object = list_item(key, sides->after.object, before[i].match);
		if (key->schema)
			diff_map(differences, key->schema, &items, &step);
	}
	for (size_t i = 0; i < after_count; i++) {
		struct path step = {.parent = path, .text = after[i].name};
		struct subject item = {list_item(key, sides->after.object, i), &sides->after};

		if (after[i].match == NO_MATCH)
			add_difference(differences, &step, json_null(), render_item(key, &item));
	}
}

static void diff_list(struct differences *differences, const struct key *key,
		      const struct sides *sides, const struct path *path)
{
	size_t before_count = *list_count(key, sides->before.object);
	size_t after_count = *list_count(key, sides->after.object);
	struct item *before = list_names(key, sides->before.object);
	struct item *after = list_names(key, sides->after.object);

	if (!before || !after || !match_items(before, before_count, after, after_count)) {
		differences->failed = true;
		goto out;
	}
	if (key->counted && before_count != after_count)
		add_difference(differences, path, json_integer((json_int_t)before_count),
			       json_integer((json_int_t)after_count));
	else if (order_differs(before, before_count))
		add_difference(differences, path, names_to_json(before, before_count),
			       names_to_json(after, after_count));
	diff_items(differences, key, sides, path, before, after);
out:
	free(before);
	free(after);
}

/* A list whose items are told apart by their place alone. */
static void diff_sequence(struct differences *differences, const struct key *key,
			  const struct sides *sides, const struct path *path)
{
	size_t before_count = *list_count(key, sides->before.object);
	size_t after_count = *list_count(key, sides->after.object);

	if (!key->schema) {
		diff_values(differences, path, render_value(key, &sides->before),
			    render_value(key, &sides->after));
		return;
	}
	for (size_t i = 0; i < before_count || i < after_count; i++) {
		struct path step = {.parent = path, .index = i};
		struct sides items = {.before = {NULL, &sides->before},
				      .after = {NULL, &sides->after}};

		if (i < before_count)
			items.before.object = list_item(key, sides->before.object, i);
		if (i < after_count)
			items.after.object = list_item(key, sides->after.object, i);
		if (i < before_count && i < after_count)
			diff_map(differences, key->schema, &items, &step);
		else
			add_difference(
				differences, &step,
				i < before_count ? render_item(key, &items.before) : json_null(),
				i < after_count ? render_item(key, &items.after) : json_null());
	}
}

/* ---- maps ---- */

/* Of what may be absent as a whole: true where it is on one side or none, and all was said. */
static bool diff_presence(struct differences *differences, const struct key *key,
			  const struct sides *sides, const struct path *path)
{
	bool before = render_stands(key, sides->before.object);
	bool after = render_stands(key, sides->after.object);

	if (before != after)
		diff_values(differences, path,
			    before ? render_value(key, &sides->before) : json_null(),
			    after ? render_value(key, &sides->after) : json_null());
	return !before || !after;
}

static void diff_key(struct differences *differences, const struct key *key,
		     const struct sides *sides, const struct path *path)
{
	bool may_be_absent =
		key->alternative || key->unset || (key->type == VALUE_MAP && key->given);
	struct sides inner = *sides;

	if (may_be_absent && diff_presence(differences, key, sides, path))
		return;
	switch (key->type) {
	case VALUE_MAP:
		inner.before.object = key_target(key, sides->before.object);
		inner.after.object = key_target(key, sides->after.object);
		diff_map(differences, key->schema, &inner, path);
		break;
	case VALUE_LIST:
		if (key->sequence)
			diff_sequence(differences, key, sides, path);
		else
			diff_list(differences, key, sides, path);
		break;
	case VALUE_SHARES:
		diff_shares(differences, sides, path);
		break;
	default:
		diff_values(differences, path, value_to_json(key, sides->before.object),
			    value_to_json(key, sides->after.object));
	}
}

static void diff_map(struct differences *differences, const struct schema *schema,
		     const struct sides *sides, const struct path *path)
{
	for (size_t i = 0; i < schema->keys_count; i++) {
		const struct key *key = &schema->keys[i];
		struct path step = {.parent = path, .text = key->name};

		if (key->part == PART_MAIN)
			diff_key(differences, key, sides, &step);
	}
}

json_t *config_diff(const struct policy *before, const struct policy *after)
{
	struct sides sides = {.before = {before, NULL}, .after = {after, NULL}};
	struct differences differences = {.list = json_array()};

	diff_map(&differences, &config_schema, &sides, NULL);
	if (!differences.failed)
		return differences.list;
	json_decref(differences.list);
	return NULL;
}
