/* SPDX-License-Identifier: GPL-2.0-only */
/* Asking the loaded program: BPF_PROG_TEST_RUN of its explaining variant, which decides, tells and
 * changes nothing. */
#ifndef XDP_CANARY_EXPLAIN_RUN_H
#define XDP_CANARY_EXPLAIN_RUN_H

#include "abi.h"
#include "policy/decide.h"
#include "util/errors.h"

/* The pinned variant under @pins: a descriptor, or -ENOENT without an error where nothing is
 * loaded. */
int explainer_open(const char *pins, struct errors *errors);
/* The same question as decide(), answered by the kernel. A TCP flow is asked with a SYN. */
int explainer_run(int program, const struct flow *flow, struct explanation *out,
		  struct errors *errors);

#endif
