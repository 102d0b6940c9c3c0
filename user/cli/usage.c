// SPDX-License-Identifier: GPL-2.0-only
/* Help, from the table of commands. */
#include "cli/usage.h"

#include <stdio.h>
#include <string.h>

/* @arguments: may name some of them already. */
static void print_flags(const struct flag *flags, const char *arguments)
{
	for (; flags->name; flags++) {
		if (strstr(arguments, flags->name))
			continue;
		printf(" [%s%s%s%s]", flags->name, flags->value ? " " : "",
		       flags->value ? flags->value : "", flags->many ? "..." : "");
	}
}

static void print_command(const struct command *command)
{
	printf("  %s", command->noun);
	if (command->verb)
		printf(" %s", command->verb);
	if (*command->arguments)
		printf(" %s", command->arguments);
	print_flags(command->flags, command->arguments);
	printf("\n      %s\n", command->summary);
}

static bool is_asked_for(const struct cli *cli, const struct command *command, const char *noun)
{
	if (!command->run)
		return false;
	if (cli->command)
		return cli->command == command;
	return !noun || !strcmp(noun, command->noun);
}

int usage_print(struct cli *cli, const struct flag *global_flags, const char *noun)
{
	bool found = false;

	for (size_t i = 0; i < commands_count; i++)
		found |= is_asked_for(cli, &commands[i], noun);
	printf("usage: xdp-canary COMMAND [FLAGS]\n\n");
	for (size_t i = 0; i < commands_count; i++)
		if (!found || is_asked_for(cli, &commands[i], noun))
			if (commands[i].run)
				print_command(&commands[i]);
	printf("\nanywhere:");
	print_flags(global_flags, "");
	printf("\nxdp-canary(8) says what they do.\n");
	return 1;
}

int usage_version(struct cli *cli)
{
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:s}", "cmd", "version", "version", VERSION));
	else
		printf("xdp-canary %s\n", VERSION);
	return 1;
}
