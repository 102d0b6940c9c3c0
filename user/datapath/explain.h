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
/* The same question as decide(), answered by the kernel: that of ASK_START. */
int explainer_run(int program, const struct flow *flow, struct explanation *out,
		  struct errors *errors);

/* Which packet of the flow is asked with. In an era it matters whether the flow starts. */
enum asked {
	ASK_START,   /* a SYN; UDP has none: an empty datagram */
	ASK_INITIAL, /* of UDP a QUIC Initial, else a SYN */
	ASK_SEGMENT, /* of a flow that goes on: an ACK; an empty datagram */
};

int explainer_ask(int program, const struct flow *flow, enum asked asked, struct explanation *out,
		  struct errors *errors);

#endif
