// SPDX-License-Identifier: GPL-2.0-only
/* daemon: runs user/daemon in the foreground, as systemd and containers want it. */
#include "daemon/daemon.h"

#include "cli/cli.h"

int command_daemon(struct cli *cli)
{
	const struct actor actor = {.by = "daemon", .command = "daemon", .reason = ""};

	return daemon_run(&cli->place, &actor, cli_flag(cli, "--once"), cli->errors);
}
