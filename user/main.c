// SPDX-License-Identifier: GPL-2.0-only
/* xdp-canary: the words are parsed, their command is run, what it says is printed. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
	struct cli cli = {.errors = errors_new()};
	int result = options_parse(&cli, argc, argv);

	if (!result)
		result = cli.command->run(&cli);
	result = cli_report(&cli, result);
	cli_release(&cli);
	return result;
}
