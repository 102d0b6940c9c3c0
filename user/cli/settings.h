/* SPDX-License-Identifier: GPL-2.0-only */
/* What the global flags and the environment say, put into the fields of struct cli. */
#ifndef XDP_CANARY_SETTINGS_H
#define XDP_CANARY_SETTINGS_H

#include "cli/cli.h"

/* Wrong values become errors of @cli. */
void settings_read(struct cli *cli, int argc, char **argv);
void settings_release(struct cli *cli);

#endif
