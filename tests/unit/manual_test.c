// SPDX-License-Identifier: GPL-2.0-only
/*
 * The man page has every command with its flags, and every key of the configuration with what holds
 * without it and what it may be: by the tables that the program itself goes by.
 *
 * A command's entry begins with `.It Cm NOUN VERB`; a key's with `.It Ic KEY No (DEFAULT)`, in the
 * subsection of CONFIGURATION that is named after the map it is in, or one around it:
 * services[].rollout has guard.alpha.
 */
#include "cli/cli.h"
#include "config/schema.h"
#include "util/text.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE	  "docs/man/xdp-canary.8"
#define TOP	  "Top level"
#define LINES_MAX 4096
#define PATH_ROOM 256

struct page {
	char *text;
	char *lines[LINES_MAX];
	size_t count;
	unsigned int missing; /* that were told of */
};

static int read_page(void **state)
{
	struct page *page = calloc(1, sizeof(*page));
	FILE *stream = fopen(PAGE, "re");
	size_t room = 0;

	assert_non_null(page);
	if (!stream || getdelim(&page->text, &room, '\0', stream) < 0)
		fail_msg(PAGE " cannot be read: tests run in the top directory");
	fclose(stream);
	for (char *rest = page->text, *line; (line = strsep(&rest, "\n"));) {
		assert_true(page->count < LINES_MAX);
		page->lines[page->count++] = line;
	}
	*state = page;
	return 0;
}

static int free_page(void **state)
{
	struct page *page = *state;

	free(page->text);
	free(page);
	return 0;
}

static void __attribute__((format(printf, 2, 3))) tell(struct page *page, const char *format, ...)
{
	va_list arguments;

	page->missing++;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
}

static bool begins_with(const char *line, const char *start)
{
	return !strncmp(line, start, strlen(start));
}

/* @text in the line, not as a part of another word; a macro may begin the line. */
static bool has_word(const char *line, const char *text)
{
	size_t length = strlen(text);

	for (const char *at = line; (at = strstr(at, text)); at++) {
		char before = at > line + 1 ? at[-1] : ' ', after = at[length];

		if (!isalnum((unsigned char)before) && !strchr("-_.", before) &&
		    !isalnum((unsigned char)after) && (!after || !strchr("-_[", after)))
			return true;
	}
	return false;
}

static bool any_has_word(const struct page *page, size_t from, size_t end, const char *text)
{
	for (size_t i = from; i < end; i++)
		if (has_word(page->lines[i], text))
			return true;
	return false;
}

/* ---- commands ---- */

static bool begins_command(const char *line)
{
	return begins_with(line, ".It Cm ");
}

static size_t end_of_command(const struct page *page, size_t from)
{
	size_t end = from + 1;

	while (end < page->count && !begins_command(page->lines[end]) &&
	       !begins_with(page->lines[end], ".S"))
		end++;
	return end;
}

static size_t find_command(const struct page *page, const struct command *command)
{
	char words[128];
	size_t i = 0;

	snprintf(words, sizeof(words), "Cm %s%s%s", command->noun, command->verb ? " " : "",
		 command->verb ? command->verb : "");
	while (i < page->count &&
	       !(begins_command(page->lines[i]) && has_word(page->lines[i], words)))
		i++;
	return i;
}

static void every_command_and_flag_is_in_the_page(void **state)
{
	struct page *page = *state;

	page->missing = 0;
	for (size_t i = 0; i < commands_count; i++) {
		const struct command *command = &commands[i];
		const char *verb = command->verb ? command->verb : "";
		size_t at = find_command(page, command), end;
		char name[64];

		if (!command->run)
			continue;
		if (at == page->count) {
			tell(page, "no entry of command %s %s", command->noun, verb);
			continue;
		}
		end = end_of_command(page, at);
		for (const struct flag *flag = command->flags; flag->name; flag++) {
			/* mdoc writes the first dash. */
			snprintf(name, sizeof(name), "Fl %s", flag->name + 1);
			if (!any_has_word(page, at, end, name))
				tell(page, "%s %s: no word of %s", command->noun, verb, flag->name);
		}
	}
	assert_int_equal(page->missing, 0);
}

/* ---- keys ---- */

/* Does the line define @key, and with @fallback, if that is not NULL? */
static bool defines(const char *line, const char *key, const char *fallback, bool *has_fallback)
{
	char copy[1024], wanted[300], *rest = copy, *word;
	bool is_key = false, is_found = false, was_last = false;

	if (!begins_with(line, ".It "))
		return false;
	snprintf(copy, sizeof(copy), "%s", line + 4);
	snprintf(wanted, sizeof(wanted), "(%s)", fallback ? fallback : "");
	while ((word = strsep(&rest, " "))) {
		if (!strcmp(word, "Ic")) {
			is_key = true;
		} else if (isupper((unsigned char)*word)) {
			is_key = false;
		} else if (is_key && strcmp(word, ",")) {
			was_last = !strcmp(word, key);
			is_found |= was_last;
		} else if (was_last) {
			*has_fallback |= !strcmp(word, wanted);
			was_last = false;
		}
	}
	return is_found;
}

static size_t find_line(const struct page *page, size_t from, const char *line)
{
	while (from < page->count && strcmp(page->lines[from], line))
		from++;
	return from;
}

/* The line that defines @key in the subsection of map @map, or page->count. */
static size_t find_key(const struct page *page, const char *map, const char *key,
		       const char *fallback, bool *has_fallback)
{
	char heading[PATH_ROOM];
	size_t i = find_line(page, 0, ".Sh CONFIGURATION");

	snprintf(heading, sizeof(heading), ".Ss %s", map);
	i = find_line(page, i, heading);
	while (++i < page->count && !begins_with(page->lines[i], ".S"))
		if (defines(page->lines[i], key, fallback, has_fallback))
			return i;
	return page->count;
}

static void check_choices(struct page *page, const struct key *key, const char *path, size_t at)
{
	size_t end = at + 1;

	while (end < page->count && !begins_with(page->lines[end], ".It ") &&
	       !begins_with(page->lines[end], ".S"))
		end++;
	for (const struct choice *choice = key->choices; choice->name; choice++)
		if (choice->part != PART_LATER && !any_has_word(page, at, end, choice->name))
			tell(page, "%s: no word of `%s`", path, choice->name);
}

/* @path is cut at each of its dots, the last one first. */
static void check_key(struct page *page, const struct key *key, const char *path)
{
	const char *fallback = key->fallback && *key->fallback ? key->fallback : NULL;
	bool has_fallback = false;
	size_t at = find_key(page, TOP, path, fallback, &has_fallback);
	char map[PATH_ROOM];

	snprintf(map, sizeof(map), "%s", path);
	for (char *dot; at >= page->count && (dot = strrchr(map, '.'));) {
		*dot = '\0';
		at = find_key(page, map, path + strlen(map) + 1, fallback, &has_fallback);
	}
	if (at >= page->count) {
		tell(page, "no entry of key %s", path);
		return;
	}
	if (fallback && !has_fallback)
		tell(page, "%s: its entry does not begin with its default, (%s)", path, fallback);
	if (key->type == VALUE_CHOICE)
		check_choices(page, key, path, at);
}

static unsigned int check_schema(struct page *page, const struct schema *schema, const char *path)
{
	unsigned int count = 0;

	for (size_t i = 0; i < schema->keys_count; i++) {
		const struct key *key = &schema->keys[i];
		char name[PATH_ROOM];

		if (key->part == PART_LATER)
			continue;
		snprintf(name, sizeof(name), "%s%s%s%s", path, *path ? "." : "", key->name,
			 key->type == VALUE_LIST && key->schema ? "[]" : "");
		if (key->schema) {
			count += check_schema(page, key->schema, name);
			continue;
		}
		check_key(page, key, name);
		count++;
	}
	return count;
}

static void every_key_is_in_the_page_with_its_default(void **state)
{
	struct page *page = *state;
	unsigned int count;

	page->missing = 0;
	count = check_schema(page, &config_schema, "");
	assert_int_equal(page->missing, 0);
	assert_true(count > 100); /* 0: the tables were not walked */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_and_flag_is_in_the_page),
		cmocka_unit_test(every_key_is_in_the_page_with_its_default),
	};

	return cmocka_run_group_tests(tests, read_page, free_page);
}
