/* SPDX-License-Identifier: GPL-2.0-only */
/* What stands in the way here, and what to do about each: kernel, privileges, bpffs, NICs, MTU,
 * state. */
#ifndef XDP_CANARY_DOCTOR_H
#define XDP_CANARY_DOCTOR_H

#include "control/control.h"

enum severity { SEVERITY_OK, SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_ERROR };

struct finding {
	const char *id; /* stable, for scripts */
	enum severity severity;
	char object[80], message[256], fix[200];
};

struct findings {
	struct finding *list;
	size_t count;
};

/* @control NULL: the state could not be opened. */
int doctor_examine(const struct place *place, struct control *control, struct findings *out);
void findings_release(struct findings *findings);
const char *severity_name(enum severity severity);

#endif
