// SPDX-License-Identifier: GPL-2.0-only
/*
 * A policy as the canonical tree, and that as YAML. The tree has the order of the key tables and of
 * the policy's lists, and nothing that is its default, so equal policies have equal trees. Text
 * goes out by libyaml's emitter, in quotes wherever a reader of YAML 1.1 or 1.2 could take it for
 * something else.
 */
#include "config/config.h"
#include "config/render.h"

#include "config/values.h"
#include "util/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

/* ---- the tree ---- */

/* Whether a rendered value is what stands there when the key does not. */
static bool is_default(const struct key *key, const void *object, const json_t *value)
{
	const char *like = key->like ? key_target(key->like, object) : "";
	char number[TEXT_VALUE_SIZE];
	char *dump;
	bool equal;

	if (*like)
		return !strcmp(like, json_string_value(value));
	if (!key->fallback)
		return json_is_null(value);
	if (json_is_boolean(value))
		return !strcmp(key->fallback, json_is_true(value) ? "true" : "false");
	if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		return !strcmp(key->fallback, number);
	}
	if (json_is_real(value)) {
		text_format_real(json_real_value(value), number);
		return !strcmp(key->fallback, number);
	}
	if (json_is_string(value))
		return !strcmp(key->fallback, json_string_value(value));
	dump = json_dumps(value, JSON_COMPACT);
	equal = dump && !strcmp(key->fallback, dump);
	free(dump);
	return equal;
}

json_t *render_item(const struct key *list, const struct subject *subject)
{
	if (list->schema)
		return render_map(list->schema, subject);
	return value_to_json(list->item, subject->object);
}

static json_t *render_list(const struct key *key, const struct subject *subject)
{
	size_t count = *list_count(key, subject->object);
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		struct subject item = {list_item(key, subject->object, i), subject};

		if (json_array_append_new(array, render_item(key, &item))) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

json_t *render_shares(const struct subject *rule)
{
	const struct service *service = rule->holder->object;
	const struct rule *shares = rule->object;
	json_t *map = json_object();
	char text[TEXT_VALUE_SIZE];

	for (size_t i = 1; i < service->cohorts_count; i++) {
		json_t *share;

		if (!shares->base_ppm[i])
			continue;
		share = json_string(text_format_percent(shares->base_ppm[i], text));
		if (json_object_set_new(map, service->cohorts[i].name, share)) {
			json_decref(map);
			return NULL;
		}
	}
	return map;
}

json_t *render_value(const struct key *key, const struct subject *subject)
{
	struct subject inner = {key_target(key, subject->object), subject->holder};

	switch (key->type) {
	case VALUE_MAP:
		return render_map(key->schema, &inner);
	case VALUE_LIST:
		return render_list(key, subject);
	case VALUE_SHARES:
		return render_shares(subject);
	default:
		return value_to_json(key, subject->object);
	}
}

static bool is_given(const struct key *key, const void *object)
{
	bool given;

	memcpy(&given, (const char *)object + key->given, sizeof(given));
	return given;
}

bool render_stands(const struct key *key, const void *object)
{
	return value_applies(key, object) && (!key->given || is_given(key, object));
}

/* Whether the file says the same without this key. */
static bool can_be_left_out(const struct key *key, const struct subject *subject,
			    const json_t *value)
{
	if (!value_applies(key, subject->object))
		return true;
	if (key->required || (key->alternative && key->type == VALUE_MAP))
		return false;
	if (key->given)
		return !is_given(key, subject->object);
	if (json_is_object(value) && !json_object_size(value))
		return true;
	if (json_is_array(value) && !json_array_size(value))
		return true;
	return is_default(key, subject->object, value);
}

json_t *render_map(const struct schema *schema, const struct subject *subject)
{
	json_t *map = json_object();

	for (size_t i = 0; i < schema->keys_count; i++) {
		const struct key *key = &schema->keys[i];
		json_t *value;

		if (key->part != PART_MAIN)
			continue;
		value = render_value(key, subject);
		if (value && can_be_left_out(key, subject, value)) {
			json_decref(value);
		} else if (json_object_set_new(map, key->name, value)) {
			json_decref(map);
			return NULL;
		}
	}
	return map;
}

json_t *config_to_json(const struct policy *policy)
{
	struct subject subject = {policy, NULL};

	return render_map(&config_schema, &subject);
}

/* ---- YAML ---- */

/* Words and numbers of YAML 1.1 or 1.2, and what merely looks like one. */
static bool needs_quotes(const char *text)
{
	static const char *const words[] = {"null", "true", "false", "yes", "no",
					    "on",   "off",  "y",     "n",   "~"};
	char *end;

	if (!*text || strchr(".+-=<", *text) || strpbrk(text, "\t\r\n"))
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcasecmp(text, words[i]))
			return true;
	/* Decimal, float, hexadecimal; the octal and binary of YAML; base 60 and dates. */
	strtod(text, &end);
	return !*end || (text[0] == '0' && text[1] && strchr("oObB", text[1])) ||
	       text[strspn(text, "0123456789:_-")] == 0;
}

static bool emit(yaml_emitter_t *emitter, yaml_event_t *event, int initialized)
{
	return initialized && yaml_emitter_emit(emitter, event);
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *text, bool quoted)
{
	yaml_scalar_style_t style =
		quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;
	const yaml_char_t *bytes = (const yaml_char_t *)text;
	yaml_event_t event;

	return emit(emitter, &event,
		    yaml_scalar_event_initialize(&event, NULL, NULL, bytes, (int)strlen(text),
						 !quoted, 1, style));
}

static bool emit_value(yaml_emitter_t *emitter, json_t *value);

static bool emit_list(yaml_emitter_t *emitter, const json_t *list)
{
	yaml_event_t event;

	if (!emit(emitter, &event,
		  yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
						       YAML_BLOCK_SEQUENCE_STYLE)))
		return false;
	for (size_t i = 0; i < json_array_size(list); i++)
		if (!emit_value(emitter, json_array_get(list, i)))
			return false;
	return emit(emitter, &event, yaml_sequence_end_event_initialize(&event));
}

static bool emit_map(yaml_emitter_t *emitter, json_t *map)
{
	yaml_event_t event;

	if (!emit(emitter, &event,
		  yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
						      YAML_BLOCK_MAPPING_STYLE)))
		return false;
	for (void *i = json_object_iter(map); i; i = json_object_iter_next(map, i)) {
		const char *key = json_object_iter_key(i);

		if (!emit_scalar(emitter, key, needs_quotes(key)) ||
		    !emit_value(emitter, json_object_iter_value(i)))
			return false;
	}
	return emit(emitter, &event, yaml_mapping_end_event_initialize(&event));
}

static bool emit_value(yaml_emitter_t *emitter, json_t *value)
{
	char number[TEXT_VALUE_SIZE];
	const char *text;

	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return emit_map(emitter, value);
	case JSON_ARRAY:
		return emit_list(emitter, value);
	case JSON_STRING:
		text = json_string_value(value);
		return emit_scalar(emitter, text, needs_quotes(text));
	case JSON_INTEGER:
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		return emit_scalar(emitter, number, false);
	case JSON_REAL:
		return emit_scalar(emitter, text_format_real(json_real_value(value), number),
				   false);
	default:
		return emit_scalar(emitter, json_is_true(value) ? "true" : "false", false);
	}
}

static bool emit_document(yaml_emitter_t *emitter, json_t *tree)
{
	yaml_event_t event;

	return emit(emitter, &event,
		    yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)) &&
	       emit(emitter, &event,
		    yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1)) &&
	       emit_value(emitter, tree) &&
	       emit(emitter, &event, yaml_document_end_event_initialize(&event, 1)) &&
	       emit(emitter, &event, yaml_stream_end_event_initialize(&event));
}

char *config_tree_to_yaml(json_t *tree)
{
	yaml_emitter_t emitter;
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);
	bool done = false;

	if (stream && yaml_emitter_initialize(&emitter)) {
		yaml_emitter_set_output_file(&emitter, stream);
		yaml_emitter_set_unicode(&emitter, 1);
		yaml_emitter_set_width(&emitter, -1);
		done = emit_document(&emitter, tree);
		yaml_emitter_delete(&emitter);
	}
	if (stream && fclose(stream))
		done = false;
	if (done)
		return text;
	free(text);
	return NULL;
}

char *config_to_yaml(const struct policy *policy)
{
	json_t *tree = config_to_json(policy);
	char *text = tree ? config_tree_to_yaml(tree) : NULL;

	json_decref(tree);
	return text;
}
