// SPDX-License-Identifier: GPL-2.0-only
#include "outcome.h"

#include <string.h>

struct outcome outcome_of(const struct lab *lab, const struct lab *aside, const struct frame *flow)
{
	struct outcome outcome = {0};
	struct run run;

	lab_run(lab, flow, &run);
	outcome.verdict = run.verdict;
	outcome.size = run.out.size;
	memcpy(outcome.bytes, run.out.bytes,
	       run.out.size < OUTCOME_BYTES ? run.out.size : OUTCOME_BYTES);
	lab_run(aside, flow, &run);
	memcpy(&outcome.told, run.out.bytes, sizeof(outcome.told));
	return outcome;
}

bool same_explanation(struct explanation a, struct explanation b)
{
	a.view = b.view = 0;
	a.epoch = b.epoch = 0;
	a.ring_slot = b.ring_slot = 0;
	a.jiffies = b.jiffies = 0;
	return !memcmp(&a, &b, sizeof(a));
}

bool same_packet(const struct outcome *a, const struct outcome *b)
{
	return a->verdict == b->verdict && a->size == b->size &&
	       !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}
