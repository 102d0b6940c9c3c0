// SPDX-License-Identifier: GPL-2.0-only
/*
 * One parser and one renderer a type of value, in one table: numbers and text here, what belongs to
 * networks in values_network.c, to HTTP in values_http.c. A parser takes the whole text or refuses
 * it, and a value is rendered in the form that its parser takes back. Pure.
 */
#include "config/values_internal.h"

#include "util/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 60

const char *value_show(const char *text, char out[VALUE_SHOWN_SIZE])
{
	size_t length = strlen(text);
	bool cut = length > SHOWN_MAX;

	if (cut)
		for (length = SHOWN_MAX; length && (text[length] & 0xc0) == 0x80; length--)
			; /* not inside a UTF-8 character */
	snprintf(out, VALUE_SHOWN_SIZE, "\"%.*s%s\"", (int)length, text, cut ? "..." : "");
	return out;
}

int complain(struct complaint *complaint, const char *text, const char *format, ...)
{
	char shown[VALUE_SHOWN_SIZE], what[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	snprintf(complaint->what, sizeof(complaint->what), "%s %s", value_show(text, shown), what);
	return -EINVAL;
}

/* ---- numbers ---- */

static void store_integer(void *target, size_t size, uint64_t number)
{
	uint8_t as8 = number;
	uint16_t as16 = number;
	uint32_t as32 = number;

	if (size == sizeof(as8))
		memcpy(target, &as8, size);
	else if (size == sizeof(as16))
		memcpy(target, &as16, size);
	else if (size == sizeof(as32))
		memcpy(target, &as32, size);
	else if (size == sizeof(number))
		memcpy(target, &number, size);
}

static uint64_t load_integer(const void *target, size_t size)
{
	uint8_t as8 = 0;
	uint16_t as16 = 0;
	uint32_t as32 = 0;
	uint64_t as64 = 0;

	if (size == sizeof(as8))
		memcpy(&as8, target, size);
	else if (size == sizeof(as16))
		memcpy(&as16, target, size);
	else if (size == sizeof(as32))
		memcpy(&as32, target, size);
	else if (size == sizeof(as64))
		memcpy(&as64, target, size);
	return as8 + as16 + as32 + as64;
}

static int parse_integer(const struct key *key, const struct scalar *scalar, void *target,
			 struct complaint *complaint)
{
	uint64_t number;

	if (!scalar->plain) {
		snprintf(complaint->hint, sizeof(complaint->hint), "write it without quotes");
		return complain(complaint, scalar->text, "is text, not a number");
	}
	switch (text_integer(scalar->text, key->minimum, key->maximum, &number)) {
	case 0:
		break;
	case -ERANGE:
		return complain(complaint, scalar->text, "is out of range");
	default:
		return complain(complaint, scalar->text, "is not a whole decimal number");
	}
	store_integer(target, key->size, number);
	return 0;
}

static json_t *render_integer(const struct key *key, const void *target)
{
	/* Where nothing is kept there is only one value. */
	uint64_t number = key->size ? load_integer(target, key->size) : key->minimum;

	if (number < key->minimum)
		return json_null(); /* never given, and without a default */
	return json_integer((json_int_t)number);
}

static void expected_integer(const struct key *key, char *out, size_t size)
{
	if (key->minimum == key->maximum)
		snprintf(out, size, "%llu", (unsigned long long)key->minimum);
	else
		snprintf(out, size, "a whole number from %llu to %llu",
			 (unsigned long long)key->minimum, (unsigned long long)key->maximum);
}

static bool is_in_range(const struct key *key, double number)
{
	const struct real_range *range = key->range;

	if (!range || (key->or_zero && number == 0))
		return true;
	return (range->open ? number > range->least : number >= range->least) &&
	       number <= range->most;
}

static int parse_real(const struct key *key, const struct scalar *scalar, void *target,
		      struct complaint *complaint)
{
	char text[512];
	double number;

	if (!scalar->plain) {
		snprintf(complaint->hint, sizeof(complaint->hint), "write it without quotes");
		return complain(complaint, scalar->text, "is text, not a number");
	}
	/* YAML 1.2 core, 10.3.2: .5 is a number too. */
	snprintf(text, sizeof(text), "%s%s", *scalar->text == '.' ? "0" : "", scalar->text);
	switch (strlen(scalar->text) < sizeof(text) - 1 ? text_real(text, &number) : -EINVAL) {
	case 0:
		break;
	case -ERANGE:
		return complain(complaint, scalar->text, "is out of range");
	default:
		return complain(complaint, scalar->text, "is not a decimal number");
	}
	if (!is_in_range(key, number))
		return complain(complaint, scalar->text, "is out of range");
	memcpy(target, &number, key->size);
	return 0;
}

static json_t *render_real(const struct key *key, const void *target)
{
	double number;

	memcpy(&number, target, key->size);
	return json_real(number);
}

static void expected_real(const struct key *key, char *out, size_t size)
{
	const struct real_range *range = key->range;

	if (!range)
		snprintf(out, size, "a decimal number, such as 3.5, -1 or 1e6");
	else
		snprintf(out, size, "a decimal number %s %g %s %g%s",
			 range->open ? "above" : "from", range->least,
			 range->open ? "and at most" : "to", range->most,
			 key->or_zero ? ", or 0" : "");
}

static int parse_percent(const struct key *key, const struct scalar *scalar, void *target,
			 struct complaint *complaint)
{
	char limit[TEXT_VALUE_SIZE];
	uint32_t ppm;

	switch (text_percent(scalar->text, &ppm)) {
	case 0:
		break;
	case -ERANGE:
		return complain(complaint, scalar->text, "is above 100%% or finer than 1 ppm");
	default:
		return complain(complaint, scalar->text, "is not a percentage");
	}
	if (ppm > key->maximum)
		return complain(complaint, scalar->text, "is above %s",
				text_format_percent(key->maximum, limit));
	if (ppm < key->minimum)
		return complain(complaint, scalar->text, "is below %s",
				text_format_percent(key->minimum, limit));
	store_integer(target, key->size, ppm);
	return 0;
}

static json_t *render_percent(const struct key *key, const void *target)
{
	char text[TEXT_VALUE_SIZE];

	return json_string(text_format_percent(load_integer(target, key->size), text));
}

static void expected_percent(const struct key *key, char *out, size_t size)
{
	char least[TEXT_VALUE_SIZE], limit[TEXT_VALUE_SIZE];

	snprintf(out, size, "a share from %s to %s in steps of 1ppm, such as 0.5%% or 100ppm",
		 text_format_percent(key->minimum, least),
		 text_format_percent(key->maximum, limit));
}

static int parse_duration(const struct key *key, const struct scalar *scalar, void *target,
			  struct complaint *complaint)
{
	uint64_t milliseconds = 0;
	int error = strcmp(scalar->text, "0") ? text_duration(scalar->text, &milliseconds) : 0;

	if (error == -EINVAL)
		return complain(complaint, scalar->text, "is not a duration");
	if (!error && !milliseconds && key->zero_hint)
		snprintf(complaint->hint, sizeof(complaint->hint), "%s", key->zero_hint);
	if (error || milliseconds > key->maximum ||
	    (milliseconds < key->minimum && (milliseconds || !key->or_zero)))
		return complain(complaint, scalar->text, "is out of range");
	store_integer(target, key->size, milliseconds);
	return 0;
}

static json_t *render_duration(const struct key *key, const void *target)
{
	uint64_t milliseconds = load_integer(target, key->size);
	char text[TEXT_VALUE_SIZE];

	if (milliseconds < key->minimum && !key->or_zero)
		return json_null(); /* never given, and without a default */
	return json_string(text_format_duration(milliseconds, text));
}

static void expected_duration(const struct key *key, char *out, size_t size)
{
	char minimum[TEXT_VALUE_SIZE], maximum[TEXT_VALUE_SIZE];

	snprintf(out, size, "a duration from %s to %s%s, such as 90s or 1h30m",
		 text_format_duration(key->minimum, minimum),
		 text_format_duration(key->maximum, maximum), key->or_zero ? ", or 0" : "");
}

/* ---- words ---- */

static int parse_boolean(const struct key *key, const struct scalar *scalar, void *target,
			 struct complaint *complaint)
{
	/* YAML 1.2 core schema, 10.3.2 */
	static const char *const words[] = {"true", "True", "TRUE", "false", "False", "FALSE"};
	size_t i = 0;
	bool value;

	(void)key;
	while (i < sizeof(words) / sizeof(*words) && strcmp(scalar->text, words[i]))
		i++;
	value = i < 3;
	if (!scalar->plain || i == sizeof(words) / sizeof(*words))
		return complain(complaint, scalar->text, "is not true or false");
	memcpy(target, &value, sizeof(value));
	return 0;
}

static json_t *render_boolean(const struct key *key, const void *target)
{
	bool value;

	(void)key;
	memcpy(&value, target, sizeof(value));
	return json_boolean(value);
}

static void expected_boolean(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size, "true or false, without quotes");
}

#define CHOICES_MAX 8

static int parse_choice(const struct key *key, const struct scalar *scalar, void *target,
			struct complaint *complaint)
{
	const char *names[CHOICES_MAX], *nearest;
	size_t count = 0;

	for (const struct choice *choice = key->choices; choice->name; choice++) {
		if (!strcmp(choice->name, scalar->text)) {
			if (choice->part != PART_MAIN)
				return complain(complaint, choice->name,
						"is not available in this version");
			store_integer(target, key->size, choice->value);
			return 0;
		}
		if (choice->part == PART_MAIN && count < CHOICES_MAX)
			names[count++] = choice->name;
	}
	nearest = text_nearest(scalar->text, names, count);
	if (nearest)
		snprintf(complaint->hint, sizeof(complaint->hint), "did you mean %s?", nearest);
	return complain(complaint, scalar->text, "is not known here");
}

static json_t *render_choice(const struct key *key, const void *target)
{
	unsigned int value = key->size ? load_integer(target, key->size) : key->choices->value;

	for (const struct choice *choice = key->choices; choice->name; choice++)
		if (choice->part == PART_MAIN && choice->value == value)
			return json_string(choice->name);
	return json_null();
}

static void expected_choice(const struct key *key, char *out, size_t size)
{
	const char *between = "";
	size_t used = 0;

	for (const struct choice *choice = key->choices; choice->name && used < size; choice++) {
		if (choice->part != PART_MAIN)
			continue;
		used += snprintf(out + used, size - used, "%s%s", between, choice->name);
		between = " or ";
	}
}

/* ---- text ---- */

/* @allowed: those that are not counted. */
static bool has_controls_but(const char *text, const char *allowed)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if ((*c < 0x20 && !strchr(allowed, *c)) || *c == 0x7f ||
		    (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f))
			return true;
	return false;
}

bool has_control_characters(const char *text)
{
	return has_controls_but(text, "");
}

int store_string(void *target, const char *text)
{
	char *copy = strdup(text), *old;

	if (!copy)
		return -ENOMEM;
	memcpy(&old, target, sizeof(old));
	free(old);
	memcpy(target, &copy, sizeof(copy));
	return 0;
}

static int parse_any_text(const struct key *key, const struct scalar *scalar, const char *allowed,
			  void *target, struct complaint *complaint)
{
	size_t length = strlen(scalar->text);

	if (length < key->minimum) {
		snprintf(complaint->hint, sizeof(complaint->hint),
			 "give it some text, or remove the key");
		return complain(complaint, scalar->text, "is empty");
	}
	if (length > key->maximum)
		return complain(complaint, scalar->text, "has %zu bytes", length);
	if (has_controls_but(scalar->text, allowed))
		return complain(complaint, scalar->text, "has control characters in it");
	return store_string(target, scalar->text);
}

static int parse_text(const struct key *key, const struct scalar *scalar, void *target,
		      struct complaint *complaint)
{
	return parse_any_text(key, scalar, "", target, complaint);
}

static json_t *render_text(const struct key *key, const void *target)
{
	const char *text;

	(void)key;
	memcpy(&text, target, sizeof(text));
	return text ? json_string(text) : json_null();
}

static void expected_text(const struct key *key, char *out, size_t size)
{
	snprintf(out, size, "text of %s %llu bytes, without control characters",
		 key->minimum ? "1 to" : "at most", (unsigned long long)key->maximum);
}

/* SQL and PromQL may go over several lines. */
static int parse_expression(const struct key *key, const struct scalar *scalar, void *target,
			    struct complaint *complaint)
{
	return parse_any_text(key, scalar, "\t\r\n", target, complaint);
}

#define render_expression render_text

static void expected_expression(const struct key *key, char *out, size_t size)
{
	snprintf(out, size, "an expression of 1 to %llu bytes", (unsigned long long)key->maximum);
}

#define parse_path  parse_text
#define render_path render_text

static void expected_path(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size, "the path of a file");
}

static int parse_name(const struct key *key, const struct scalar *scalar, void *target,
		      struct complaint *complaint)
{
	if (!text_is_name(scalar->text) || strlen(scalar->text) >= key->size)
		return complain(complaint, scalar->text, "is not a name");
	memset(target, 0, key->size);
	strcpy(target, scalar->text);
	return 0;
}

static json_t *render_name(const struct key *key, const void *target)
{
	const char *text = target;

	(void)key;
	return *text ? json_string(text) : json_null();
}

static void expected_name(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size,
		 "a name of a-z, 0-9, - and _, at most 63 characters, no - or _ at its ends");
}

#define render_interface render_name

/* As the kernel's dev_valid_name(). */
static int parse_interface(const struct key *key, const struct scalar *scalar, void *target,
			   struct complaint *complaint)
{
	const char *text = scalar->text;
	bool valid = *text && strlen(text) < key->size && strcmp(text, ".") && strcmp(text, "..");

	for (const char *c = text; *c && valid; c++)
		valid = *c != '/' && *c != ':' && !isspace((unsigned char)*c);
	if (!valid || has_control_characters(text))
		return complain(complaint, text, "cannot be an interface's name");
	memset(target, 0, key->size);
	strcpy(target, text);
	return 0;
}

static void expected_interface(const struct key *key, char *out, size_t size)
{
	snprintf(out, size, "1 to %zu characters without spaces, / and :", key->size - 1);
}

/* ---- the table ---- */

#define OPERATIONS(type)                                                                           \
	&(const struct value_type_operations)                                                      \
	{                                                                                          \
		parse_##type, render_##type, expected_##type                                       \
	}

static const struct value_type_operations *const operations[] = {
	[VALUE_INTEGER] = OPERATIONS(integer),
	[VALUE_REAL] = OPERATIONS(real),
	[VALUE_BOOLEAN] = OPERATIONS(boolean),
	[VALUE_PERCENT] = OPERATIONS(percent),
	[VALUE_DURATION] = OPERATIONS(duration),
	[VALUE_CHOICE] = OPERATIONS(choice),
	[VALUE_TEXT] = OPERATIONS(text),
	[VALUE_EXPRESSION] = OPERATIONS(expression),
	[VALUE_PATH] = OPERATIONS(path),
	[VALUE_NAME] = OPERATIONS(name),
	[VALUE_INTERFACE] = OPERATIONS(interface),
	[VALUE_ADDRESS] = &address_operations,
	[VALUE_PREFIX] = &prefix_operations,
	[VALUE_MAC] = &mac_operations,
	[VALUE_VIP] = &vip_operations,
	[VALUE_LISTEN] = &listen_operations,
	[VALUE_SERVER_ID] = &server_id_operations,
	[VALUE_URL] = &url_operations,
	[VALUE_STATUSES] = &statuses_operations,
};

int value_parse(const struct key *key, const struct scalar *scalar, void *object,
		struct complaint *complaint)
{
	bool given = true;
	int error;

	*complaint = (struct complaint){0};
	error = operations[key->type]->parse(key, scalar, key_target(key, object), complaint);
	if (!error && key->given)
		memcpy((char *)object + key->given, &given, sizeof(given));
	return error;
}

bool value_applies(const struct key *key, const void *object)
{
	const struct key *with = key->with;
	unsigned int kind;

	if (key->alternative) {
		memcpy(&kind, (const char *)object + key->kind, sizeof(kind));
		return kind == key->kind_value;
	}
	return !with || load_integer(key_target(with, object), with->size) == key->with_value;
}

json_t *value_to_json(const struct key *key, const void *object)
{
	if (!value_applies(key, object))
		return json_null();
	return operations[key->type]->render(key, key_target(key, object));
}

const char *value_expected(const struct key *key, char *out, size_t size)
{
	*out = 0;
	if (key->type == VALUE_LIST)
		snprintf(out, size, "a list");
	else if (key->type == VALUE_MAP)
		snprintf(out, size, "a map of keys");
	else if (key->type == VALUE_SHARES)
		snprintf(out, size, "a map of cohorts and percents");
	else
		operations[key->type]->expected(key, out, size);
	return out;
}
