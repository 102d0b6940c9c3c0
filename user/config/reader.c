// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every rule that the key tables can express is checked here, and only here: known keys, no key
 * twice, types, ranges, lengths of lists, required keys, keys of parts that are not delivered yet.
 * What compares values with each other is check.c's. Reading goes on after an error, so that all
 * are reported; the place of a value with an error is marked bad, and later checks leave it alone.
 *
 * Keys are read in the order of the file, so errors come in that order too, but for late keys.
 */
#include "config/reader.h"

#include "config/values.h"
#include "policy/policy.h"
#include "util/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_value(struct reader *reader, const struct key *key, const yaml_node_t *node,
		       void *object, const struct path *path);

static void report(struct reader *reader, const yaml_node_t *node, const struct path *path,
		   const char *hint, const char *format, ...) __attribute__((format(printf, 5, 6)));

static void report(struct reader *reader, const yaml_node_t *node, const struct path *path,
		   const char *hint, const char *format, ...)
{
	struct position where = document_position(reader->document, node);
	char object[PATH_SIZE], what[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	errors_add(reader->errors, &where, path_format(path, object), hint, "%s", what);
}

static void report_memory(struct reader *reader, const struct path *path)
{
	char object[PATH_SIZE];

	reader->out_of_memory = true;
	errors_add_code(reader->errors, ENOMEM, path_format(path, object), "free some memory",
			"out of memory");
}

static void report_type(struct reader *reader, const struct key *key, const yaml_node_t *node,
			const struct path *path)
{
	char expected[320], hint[400];

	snprintf(hint, sizeof(hint), "give %s", value_expected(key, expected, sizeof(expected)));
	if (node_is_null(node))
		report(reader, node, path, hint, "has no value");
	else
		report(reader, node, path, hint, "must not be %s", node_kind(node));
}

/* Remembers where the value of @key in @object (or the item @object, "") stands. */
static void remember(struct reader *reader, const void *object, const char *key,
		     const yaml_node_t *node, size_t index, size_t errors_before,
		     const struct path *path)
{
	struct place place = {
		.object = object,
		.key = key,
		.where = document_position(reader->document, node),
		.index = index,
		.bad = errors_count(reader->errors) > errors_before,
	};

	if (places_set(&reader->places, &place))
		report_memory(reader, path);
}

/* ---- values ---- */

static void read_scalar(struct reader *reader, const struct key *key, const yaml_node_t *node,
			void *object, const struct path *path)
{
	struct scalar scalar = {.text = node_text(node), .plain = node_is_plain(node)};
	char expected[320], hint[400];
	struct complaint complaint;
	int error;

	if (node->type != YAML_SCALAR_NODE || node_is_null(node)) {
		report_type(reader, key, node, path);
		return;
	}
	if (!scalar.text) {
		report(reader, node, path, "remove it", "has a zero byte in it");
		return;
	}
	error = value_parse(key, &scalar, object, &complaint);
	if (error == -ENOMEM) {
		report_memory(reader, path);
	} else if (error) {
		snprintf(hint, sizeof(hint), "give %s",
			 value_expected(key, expected, sizeof(expected)));
		report(reader, node, path, *complaint.hint ? complaint.hint : hint, "%s",
		       complaint.what);
	}
}

/* Calls items by the value of their identity, where it is one that errors can show. */
static const char *item_name(const struct reader *reader, const struct schema *schema,
			     const yaml_node_t *node, char out[ADDRESS_TEXT_SIZE])
{
	const yaml_node_t *value =
		schema->identity ? map_value(reader->document, node, schema->identity) : NULL;
	const struct key *identity = value ? schema_key(schema, schema->identity) : NULL;
	const char *text = value ? node_text(value) : NULL;
	struct address address;

	if (!text || node_is_null(value))
		return NULL;
	if (identity->type == VALUE_ADDRESS)
		return address_parse(text, &address) ? NULL : address_format(&address, out);
	if (identity->type == VALUE_NAME && !text_is_name(text))
		return NULL;
	return *text && strlen(text) < NAME_SIZE ? text : NULL;
}

static void read_item(struct reader *reader, const struct key *list, const yaml_node_t *node,
		      size_t index, void *item, const struct path *path)
{
	struct path step = {.parent = path, .index = index, .object = item};
	size_t errors_before = errors_count(reader->errors);
	struct position where = document_position(reader->document, node);
	char name[ADDRESS_TEXT_SIZE];

	if (!list->schema) {
		read_scalar(reader, list->item, node, item, &step);
	} else if (node->type != YAML_MAPPING_NODE) {
		report(reader, node, &step, "give a map of keys", "must not be %s",
		       node_is_null(node) ? "empty" : node_kind(node));
	} else {
		step.text = item_name(reader, list->schema, node, name);
		reader_read_map(reader, list->schema, node, item, &step);
		reader_finish_map(reader, list->schema, &where, item, &step);
	}
	remember(reader, item, "", node, index, errors_before, &step);
}

/* Room for the list's items: all at once, for places know them by their address. */
static int make_room(const struct key *key, void *object, size_t count)
{
	void *items;

	if (key->embedded || !count || list_items(key, object))
		return 0;
	items = calloc(count, key->item_size);
	if (!items)
		return -ENOMEM;
	memcpy(key_target(key, object), &items, sizeof(items));
	return 0;
}

static void read_list(struct reader *reader, const struct key *key, const yaml_node_t *node,
		      void *object, const struct path *path)
{
	size_t *count = list_count(key, object), added = list_length(node);

	if (node->type != YAML_SEQUENCE_NODE) {
		report_type(reader, key, node, path);
		return;
	}
	if (added < key->minimum) {
		report(reader, node, path, "add to it", "needs at least %zu items, has %zu",
		       (size_t)key->minimum, added);
	}
	if (*count + added > key->maximum) {
		report(reader, node, path, "take some away", "can have %zu items, has %zu",
		       (size_t)key->maximum, *count + added);
		return;
	}
	if (make_room(key, object, added)) {
		report_memory(reader, path);
		return;
	}
	for (size_t i = 0; i < added; i++) {
		int index = node->data.sequence.items.start[i];

		/* Counted before it is read: a half-read item is freed too. */
		(*count)++;
		read_item(reader, key, document_node(reader->document, index), i,
			  list_item(key, object, *count - 1), path);
	}
}

/* A key of `allocate`: the index of its cohort, or -EINVAL with an error. */
static int find_cohort(struct reader *reader, const struct service *service,
		       const yaml_node_t *node, const struct path *path)
{
	const char *name = node_text(node), *names[COHORTS_MAX], *nearest;
	char hint[NAME_SIZE + 32], shown[VALUE_SHOWN_SIZE];
	int cohort = name && *name ? service_cohort(service, name) : -ENOENT;

	if (cohort >= 0)
		return cohort;
	/* It may well be a cohort that has an error itself. */
	if (!service->cohorts_count)
		return -EINVAL;
	for (size_t i = 0; i < service->cohorts_count; i++) {
		names[i] = service->cohorts[i].name;
		if (!*names[i])
			return -EINVAL;
	}
	nearest = name ? text_nearest(name, names, service->cohorts_count) : NULL;
	if (nearest)
		snprintf(hint, sizeof(hint), "did you mean %s?", nearest);
	else
		snprintf(hint, sizeof(hint), "name a cohort of the service");
	report(reader, node, path, hint, "%s is no cohort", value_show(name ? name : "", shown));
	return -EINVAL;
}

static void read_shares(struct reader *reader, const struct key *key, const yaml_node_t *node,
			struct rule *rule, const struct path *path)
{
	static const struct key share = {
		.type = VALUE_PERCENT, .maximum = 1000000, .size = sizeof(uint32_t)};
	/* The steps above: the rule, the list of rules, whose object is the service. */
	const struct service *service = path->parent->parent->object;

	if (node->type != YAML_MAPPING_NODE) {
		report_type(reader, key, node, path);
		return;
	}
	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *name = document_node(reader->document, pair->key);
		const yaml_node_t *value = document_node(reader->document, pair->value);
		int cohort = find_cohort(reader, service, name, path);
		size_t errors_before = errors_count(reader->errors);
		struct path step = {.parent = path};

		if (cohort < 0)
			continue;
		step.text = service->cohorts[cohort].name;
		if (places_find(&reader->places, &rule->base_ppm[cohort], "")) {
			report(reader, name, &step, "keep one of them", "has a share already");
			continue;
		}
		read_scalar(reader, &share, value, &rule->base_ppm[cohort], &step);
		remember(reader, &rule->base_ppm[cohort], "", value, 0, errors_before, &step);
	}
}

static void read_value(struct reader *reader, const struct key *key, const yaml_node_t *node,
		       void *object, const struct path *path)
{
	struct position where = document_position(reader->document, node);
	size_t errors_before = errors_count(reader->errors);

	switch (key->type) {
	case VALUE_MAP:
		if (node->type != YAML_MAPPING_NODE) {
			report_type(reader, key, node, path);
			break;
		}
		reader_read_map(reader, key->schema, node, key_target(key, object), path);
		reader_finish_map(reader, key->schema, &where, key_target(key, object), path);
		if (key->given)
			*(bool *)((char *)object + key->given) = true;
		break;
	case VALUE_LIST:
		read_list(reader, key, node, object, path);
		if (key->given)
			*(bool *)((char *)object + key->given) = true;
		break;
	case VALUE_SHARES:
		read_shares(reader, key, node, object, path);
		break;
	default:
		read_scalar(reader, key, node, object, path);
	}
	remember(reader, object, key->name, node, 0, errors_before, path);
}

/* ---- maps ---- */

static void report_unknown(struct reader *reader, const struct schema *schema,
			   const yaml_node_t *node, const struct path *path)
{
	const char *nearest = schema_nearest(schema, path->text);
	char hint[64];

	snprintf(hint, sizeof(hint), "did you mean %s?", nearest ? nearest : "");
	report(reader, node, path, nearest ? hint : "remove it", "unknown key");
}

static void report_twice(struct reader *reader, const yaml_node_t *node,
			 const struct position *first, const struct path *path)
{
	report(reader, node, path, "keep one of them", "stands twice, first at %s:%u:%u",
	       first->file, first->line, first->column);
}

/* An earlier document may have given the same list, and nothing else. */
static bool stands_twice(const struct reader *reader, const struct key *key,
			 const struct place *first)
{
	return first && (key->type != VALUE_LIST || first->where.file == reader->document->name);
}

/* The table's entry for a key that may be read now; NULL where there is none, with an error. */
static const struct key *admit_key(struct reader *reader, const struct schema *schema,
				   const yaml_node_t *node, const yaml_node_t *value, void *object,
				   const struct path *path)
{
	const struct key *key = schema_key(schema, path->text);
	size_t errors_before = errors_count(reader->errors);
	const struct place *first;

	if (!key) {
		report_unknown(reader, schema, node, path);
		return NULL;
	}
	first = places_find(&reader->places, object, key->name);
	if (stands_twice(reader, key, first)) {
		report_twice(reader, node, &first->where, path);
		return NULL;
	}
	if (key->part == PART_MAIN)
		return key;
	if (key->type == VALUE_LIST && value->type != YAML_SEQUENCE_NODE)
		report_type(reader, key, value, path);
	else if (key->type != VALUE_LIST || list_length(value))
		report(reader, node, path, "remove it", "not available in this version");
	remember(reader, object, key->name, value, 0, errors_before, path);
	return NULL;
}

void reader_read_map(struct reader *reader, const struct schema *schema, const yaml_node_t *node,
		     void *object, const struct path *path)
{
	const struct key *late = NULL;
	const yaml_node_t *late_value = NULL;

	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *name = document_node(reader->document, pair->key);
		const yaml_node_t *value = document_node(reader->document, pair->value);
		struct path step = {.parent = path, .text = node_text(name), .object = object};
		const struct key *key;

		if (!step.text) {
			step.text = "?";
			report(reader, name, &step, "write KEY: VALUE", "a key must be text");
			continue;
		}
		key = admit_key(reader, schema, name, value, object, &step);
		if (!key)
			continue;
		if (!key->late) {
			read_value(reader, key, value, object, &step);
		} else if (late) {
			struct position first = document_position(reader->document, late_value);

			report_twice(reader, name, &first, &step);
		} else {
			late = key;
			late_value = value;
		}
	}
	if (late) {
		struct path step = {.parent = path, .text = late->name, .object = object};

		read_value(reader, late, late_value, object, &step);
	}
}

static const char *choice_name(const struct key *key, unsigned int value)
{
	const struct choice *choice = key->choices;

	while (choice->name && choice->value != value)
		choice++;
	return choice->name ? choice->name : "";
}

static void report_missing(struct reader *reader, const struct key *key,
			   const struct position *where, const struct path *path)
{
	char object[PATH_SIZE], expected[320], hint[400], why[80] = "";

	if (key->with)
		snprintf(why, sizeof(why), ", `%s: %s` needs it", key->with->name,
			 choice_name(key->with, key->with_value));
	snprintf(hint, sizeof(hint), "give %s", value_expected(key, expected, sizeof(expected)));
	errors_add(reader->errors, where, path_format(path, object), hint, "is missing%s", why);
}

/* A key that goes with another choice than the one that was made. */
static void report_misplaced(struct reader *reader, const struct key *key,
			     const struct place *place, const struct path *path)
{
	const char *name = key->with->name, *value = choice_name(key->with, key->with_value);
	char object[PATH_SIZE], hint[120];

	snprintf(hint, sizeof(hint), "remove it, or write `%s: %s`", name, value);
	errors_add(reader->errors, &place->where, path_format(path, object), hint,
		   "goes with `%s: %s` only", name, value);
}

/* Of a map's alternatives those of exactly one kind stand: it is the object's. */
static void finish_alternatives(struct reader *reader, const struct schema *schema,
				const struct position *where, void *object, const struct path *path)
{
	const struct place *first = NULL;
	unsigned int kind = 0;
	char names[200] = "", what[PATH_SIZE];

	for (size_t i = 0; i < schema->keys_count; i++) {
		const struct key *key = &schema->keys[i];
		struct path step = {.parent = path, .text = key->name};
		const struct place *place;
		size_t used = strlen(names);

		if (!key->alternative)
			continue;
		snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", key->name);
		place = places_find(&reader->places, object, key->name);
		if (place && first && key->kind_value != kind) {
			errors_add(reader->errors, &place->where, path_format(&step, what),
				   "keep one of them", "stands beside `%s` at %s:%u:%u", first->key,
				   first->where.file, first->where.line, first->where.column);
		} else if (place) {
			kind = key->kind_value;
			memcpy((char *)object + key->kind, &kind, sizeof(kind));
			first = first ? first : place;
		}
	}
	if (*names && !first)
		errors_add(reader->errors, where, path_format(path, what), "give one of them",
			   "has none of %s", names);
}

/* Fills in what an absent key has. */
static void fill_in(struct reader *reader, const struct key *key, void *object,
		    const struct path *path)
{
	const char *like = key->like ? key_target(key->like, object) : "";
	struct scalar fallback = {.text = *like ? like : key->fallback, .plain = true};
	struct complaint complaint;

	if (fallback.text && key->type != VALUE_LIST &&
	    value_parse(key, &fallback, object, &complaint))
		report_memory(reader, path);
}

/* @path leads to the key. */
static void finish_key(struct reader *reader, const struct key *key, const struct position *where,
		       void *object, const struct path *path)
{
	const struct place *place = places_find(&reader->places, object, key->name);
	const struct place *with =
		key->with ? places_find(&reader->places, object, key->with->name) : NULL;

	if (key->alternative)
		return; /* nothing follows from its absence */
	if (with && with->bad)
		return; /* nobody knows what it goes with */
	if (!value_applies(key, object)) {
		if (place && !place->bad)
			report_misplaced(reader, key, place, path);
	} else if (place) {
		return;
	} else if (key->type == VALUE_MAP && key->part == PART_MAIN) {
		/* Its keys have defaults too, and none is required. */
		reader_finish_map(reader, key->schema, where, key_target(key, object), path);
	} else if (key->required) {
		report_missing(reader, key, where, path);
	} else {
		fill_in(reader, key, object, path);
	}
}

void reader_finish_map(struct reader *reader, const struct schema *schema,
		       const struct position *where, void *object, const struct path *path)
{
	finish_alternatives(reader, schema, where, object, path);
	for (size_t i = 0; i < schema->keys_count; i++) {
		struct path step = {.parent = path, .text = schema->keys[i].name};

		finish_key(reader, &schema->keys[i], where, object, &step);
	}
}
