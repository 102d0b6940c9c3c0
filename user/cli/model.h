/* SPDX-License-Identifier: GPL-2.0-only */
/* What the model commands share. */
#ifndef XDP_CANARY_CLI_MODEL_H
#define XDP_CANARY_CLI_MODEL_H

#include "cli/cli.h"
#include "segment/model.h"

/* Opens the box for reading and loads the model that the first word names. */
int open_model(struct cli *cli, struct control **control, struct model **model);
/* 16 hex digits. Returns @out. */
const char *digest_text(const struct model *model, char out[17]);

#endif
