/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XDP_CANARY_CLI_EXPLAIN_FLOW_H
#define XDP_CANARY_CLI_EXPLAIN_FLOW_H

#include "cli/cli.h"
#include "policy/decide.h"

/*
 * From @client, "ADDRESS", "ADDRESS:PORT" or "[V6]:PORT", to what --to names, else to the first VIP
 * of its family. *@assumed: no port was given. 0, or a negative errno with an error.
 */
int cli_flow(struct cli *cli, const struct service *service, const char *client, struct flow *flow,
	     bool *assumed);

#endif
