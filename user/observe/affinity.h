/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What transitions are at: of each service of a snapshot, its era and what the kernel keeps for it.
 * Reading it costs a walk over the transition tables of the services in an era (64 bytes a line),
 * so who does not print it does not read it.
 */
#ifndef XDP_CANARY_OBSERVE_AFFINITY_H
#define XDP_CANARY_OBSERVE_AFFINITY_H

#include "observe/snapshot.h"

struct affinity_state {
	bool in_transition;	  /* some flows may be kept where they were decided before */
	uint64_t eras;		  /* begun since the service was first published */
	uint64_t entries;	  /* of the open era in the transition table */
	size_t gone[COHORTS_MAX]; /* backends that left the cohort and keep their flows */
};

/*
 * Of each service of @snapshot, in its order, malloc()ed in *@out. A reader who may not run the
 * explaining program, whose clock eras end by, sees an era until the daemon has tidied it away.
 */
int affinity_read(const struct control *control, const struct snapshot *snapshot,
		  struct affinity_state **out);

#endif
