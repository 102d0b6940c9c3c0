/* SPDX-License-Identifier: GPL-2.0-only */
/* What -h and -V print. */
#ifndef XDP_CANARY_USAGE_H
#define XDP_CANARY_USAGE_H

#include "cli/cli.h"

/* Of the command, of the commands of @noun where none is chosen, or of all. Returns 1. */
int usage_print(struct cli *cli, const struct flag *global_flags, const char *noun);
int usage_version(struct cli *cli); /* returns 1 */

#endif
