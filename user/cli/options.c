// SPDX-License-Identifier: GPL-2.0-only
/*
 * The words of the command line. Flags may stand anywhere, also before the command, so it is read
 * twice: first to find the noun and the verb, then whole, when it is known which flags there are.
 * Reading goes on after an error, for -j may stand at the end.
 */
#include "cli/cli.h"
#include "cli/settings.h"
#include "cli/usage.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct flag global_flags[] = {
	{.name = "-j"},
	{.name = "--state", .value = "DIR"},
	{.name = "--pins", .value = "DIR"},
	{.name = "--wait", .value = "DURATION"},
	{.name = "--reason", .value = "TEXT"},
	{.name = "--by", .value = "WHO"},
	{.name = "--color", .value = "auto|always|never"},
	{.name = "-q"},
	{.name = "-v"},
	{.name = "-h"},
	{.name = "-V"},
	{.name = "--help"},
	{.name = "--version"},
	{.name = NULL},
};

#define NOT_AVAILABLE "not available in this version"
#define FLAGS_MAX     64 /* names to look among for a near one */

struct line {
	struct cli *cli;
	int argc;
	char **argv;
	int noun, verb;	 /* where they stand; 0: nowhere */
	bool lacks_verb; /* of a noun that takes one: no error where only help is asked for */
};

/* ---- flags ---- */

static bool is_flag(const char *word)
{
	return word[0] == '-' && word[1];
}

/* "--state=DIR" is "--state"; a short flag has no such form. */
static size_t name_length(const char *word)
{
	const char *equal = strncmp(word, "--", 2) ? NULL : strchr(word, '=');

	return equal ? (size_t)(equal - word) : strlen(word);
}

static const struct flag *flag_in(const struct flag *flags, const char *word)
{
	size_t length = name_length(word);

	for (; flags->name; flags++)
		if (strlen(flags->name) == length && !strncmp(flags->name, word, length))
			return flags;
	return NULL;
}

/* Before the command is known: a flag of any. */
static const struct flag *flag_anywhere(const char *word)
{
	const struct flag *flag = flag_in(global_flags, word);

	for (size_t i = 0; i < commands_count && !flag; i++)
		flag = flag_in(commands[i].flags, word);
	return flag;
}

static const struct flag *flag_of(const struct command *command, const char *word)
{
	const struct flag *flag = flag_in(global_flags, word);

	if (flag)
		return flag;
	return command ? flag_in(command->flags, word) : flag_anywhere(word);
}

static int unknown_flag(struct cli *cli, const char *word)
{
	const char *names[FLAGS_MAX];
	const char *near;
	char hint[128];
	size_t count = 0;

	for (const struct flag *flag = global_flags; flag->name; flag++)
		names[count++] = flag->name;
	for (const struct flag *flag = cli->command->flags; flag->name && count < FLAGS_MAX; flag++)
		names[count++] = flag->name;
	near = text_nearest(word, names, count);
	if (near)
		snprintf(hint, sizeof(hint), "did you mean `%s`", near);
	else
		snprintf(hint, sizeof(hint), "see `xdp-canary %s%s%s -h`", cli->command->noun,
			 cli->command->verb ? " " : "",
			 cli->command->verb ? cli->command->verb : "");
	return cli_usage(cli, word, hint, "there is no such flag");
}

static void add_flag(struct cli *cli, const struct flag *flag, const char *value)
{
	cli->flag_values[2 * cli->flags_count] = flag->name;
	cli->flag_values[2 * cli->flags_count + 1] = value;
	cli->flags_count++;
}

/* Where the command has no words of its own, what follows a flag that takes many is the flag's. */
static void read_more_values(struct line *line, const struct flag *flag, int *i)
{
	const struct command *command = line->cli->command;

	if (!flag->many || !command || command->words_max)
		return;
	while (*i + 1 < line->argc && !is_flag(line->argv[*i + 1]) && *i + 1 != line->noun)
		add_flag(line->cli, flag, line->argv[++*i]);
}

/* The flag at *@i, and its values. */
static int read_flag(struct line *line, int *i)
{
	struct cli *cli = line->cli;
	const char *word = line->argv[*i];
	const struct flag *flag = flag_of(cli->command, word);
	bool has_value = name_length(word) < strlen(word);

	if (!flag) {
		if (!cli->command || !cli->command->run)
			return 0; /* the command is an error already */
		return unknown_flag(cli, word);
	}
	if (!flag->value) {
		if (has_value)
			return cli_usage(cli, flag->name, "leave the value out", "takes no value");
		add_flag(cli, flag, "");
		return 0;
	}
	if (has_value) {
		add_flag(cli, flag, word + name_length(word) + 1);
		return 0;
	}
	if (*i + 1 >= line->argc || !strcmp(line->argv[*i + 1], "--") || *i + 1 == line->noun)
		return cli_usage(cli, flag->name, "give it one", "needs a value, %s", flag->value);
	add_flag(cli, flag, line->argv[++*i]);
	read_more_values(line, flag, i);
	return 0;
}

/* ---- the command ---- */

static void find_noun_and_verb(struct line *line)
{
	bool ended = false;

	for (int i = 1; i < line->argc && !line->verb; i++) {
		const char *word = line->argv[i];

		if (!ended && !strcmp(word, "--")) {
			ended = true;
		} else if (!ended && is_flag(word)) {
			const struct flag *flag = flag_anywhere(word);

			if (flag && flag->value && name_length(word) == strlen(word))
				i++;
		} else if (!line->noun) {
			line->noun = i;
		} else {
			line->verb = i;
		}
	}
}

/* @word NULL: none is given. */
static int unknown_word(struct cli *cli, const char *noun, const char *word)
{
	const char *names[128];
	size_t count = 0;
	char object[64];

	for (size_t i = 0; i < commands_count && count < 128; i++) {
		if (noun && strcmp(commands[i].noun, noun))
			continue;
		if (noun || !i || strcmp(commands[i].noun, commands[i - 1].noun))
			names[count++] = noun ? commands[i].verb : commands[i].noun;
	}
	cli->status = EXIT_USAGE;
	snprintf(object, sizeof(object), "xdp-canary%s%s", noun ? " " : "", noun ? noun : "");
	if (word)
		return cli_unknown(cli->errors, object, "command", word, names, count);
	return cli_usage(cli, object, "see `xdp-canary -h`", "what to do with it is not said");
}

/* Puts the command into @line->cli, and the verb where it has one. */
static int find_command(struct line *line)
{
	const char *noun, *verb;
	bool is_noun = false;

	find_noun_and_verb(line);
	if (!line->noun)
		return 0;
	noun = line->argv[line->noun];
	verb = line->verb ? line->argv[line->verb] : NULL;
	for (size_t i = 0; i < commands_count; i++) {
		const struct command *command = &commands[i];

		if (strcmp(command->noun, noun))
			continue;
		is_noun = true;
		if (!command->verb)
			line->verb = 0;
		else if (!verb || strcmp(command->verb, verb))
			continue;
		line->cli->command = command;
		return 0;
	}
	if (!is_noun)
		return unknown_word(line->cli, NULL, noun);
	line->lacks_verb = !verb;
	return verb ? unknown_word(line->cli, noun, verb) : 0;
}

static void read_line(struct line *line)
{
	struct cli *cli = line->cli;
	bool ended = false;

	for (int i = 1; i < line->argc; i++) {
		if (i == line->noun || i == line->verb)
			continue;
		if (!ended && !strcmp(line->argv[i], "--"))
			ended = true;
		else if (!ended && is_flag(line->argv[i]))
			read_flag(line, &i);
		else
			cli->words[cli->words_count++] = line->argv[i];
	}
}

static int check_words(struct cli *cli)
{
	const struct command *command = cli->command;
	char name[64];

	snprintf(name, sizeof(name), "%s%s%s", command->noun, command->verb ? " " : "",
		 command->verb ? command->verb : "");
	if (!command->run)
		return errors_add(cli->errors, NULL, name, "see `xdp-canary -h` for what there is",
				  NOT_AVAILABLE);
	if (cli->words_count < command->words_min)
		return cli_usage(cli, name, "see its -h", "words are missing: it takes %s",
				 command->arguments);
	if (cli->words_count > command->words_max)
		return cli_usage(cli, cli->words[command->words_max], "see its -h",
				 "is one word too many for `%s`", name);
	return 0;
}

int options_parse(struct cli *cli, int argc, char **argv)
{
	struct line line = {.cli = cli, .argc = argc, .argv = argv};

	cli->words = calloc(argc + 1, sizeof(*cli->words));
	cli->flag_values = calloc(2 * argc + 2, sizeof(*cli->flag_values));
	if (!cli->errors || !cli->words || !cli->flag_values)
		return -ENOMEM;
	find_command(&line);
	read_line(&line);
	settings_read(cli, argc, argv);
	if (cli_flag(cli, "-V") || cli_flag(cli, "--version"))
		return usage_version(cli);
	if (cli_flag(cli, "-h") || cli_flag(cli, "--help"))
		return usage_print(cli, global_flags, line.noun ? argv[line.noun] : NULL);
	if (cli->command)
		check_words(cli);
	else if (!line.noun)
		cli_usage(cli, "xdp-canary", "see `xdp-canary -h`", "no command is given");
	else if (line.lacks_verb)
		unknown_word(cli, argv[line.noun], NULL);
	if (errors_count(cli->errors))
		return -EINVAL;
	return 0;
}

/* ---- for commands ---- */

const char *cli_flag(const struct cli *cli, const char *name)
{
	for (int i = cli->flags_count - 1; i >= 0; i--)
		if (!strcmp(cli->flag_values[2 * i], name))
			return cli->flag_values[2 * i + 1];
	return NULL;
}

const char **cli_flag_all(const struct cli *cli, const char *name, size_t *count)
{
	const char **values = calloc(cli->flags_count + 1, sizeof(*values));

	*count = 0;
	for (int i = 0; values && i < cli->flags_count; i++)
		if (!strcmp(cli->flag_values[2 * i], name))
			values[(*count)++] = cli->flag_values[2 * i + 1];
	return values;
}
