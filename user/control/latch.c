// SPDX-License-Identifier: GPL-2.0-only
/*
 * Latches: what holds a canary at control whatever its shares and pins say. They are the store's;
 * views say of which canary, and why. A kill is the kernel's first (datapath/kill.c), and holds all
 * canaries.
 */
#include "control/control_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int control_latch(struct control *control, const char *service, enum latch latch)
{
	const struct service *desired = policy_service(control->policy, service);
	int error = store_set_latch(control->store, service, latch, control->errors);

	if (!error && desired && desired->affinity.on_rollback == ON_ROLLBACK_CUT)
		error = control_cut_scope(control, service, CUT_COHORT,
					  rollout_cohort_of(control, desired));
	if (!error)
		error = control_touch(control, service);
	return error ? error : control_reload_live(control);
}

bool is_lifted(const struct control *control, const char *service)
{
	const struct live_service *live = live_service_of(&control->live, service);
	size_t i;

	for (i = 0; live && i < control->lifted_count; i++)
		if (control->lifted[i].slot == live->slot)
			return true;
	return false;
}

static int note_lifted(struct control *control, const struct live_service *live)
{
	struct lifted_kill *grown =
		reallocarray(control->lifted, control->lifted_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	control->lifted = grown;
	grown[control->lifted_count++] = (struct lifted_kill){
		.slot = live->slot,
		.seen = control->datapath ? service_kills(control->datapath, live->slot) : 0,
	};
	return 0;
}

/* But those of cohort @keep. */
static int drop_held_shares(struct control *control, const struct service *service, size_t keep)
{
	size_t cohort;
	int error = 0;

	for (cohort = 1; cohort < service->cohorts_count && !error; cohort++)
		if (cohort != keep && cohort_is_latched(control, service, cohort))
			error = store_drop_shares(control->store, service->name, NULL,
						  service->cohorts[cohort].name, NULL,
						  control->errors);
	return error;
}

/*
 * What it took of live flows does not come back while their era is open. Rules remember what a
 * latch cut; pins come back with it. A lease that ended while none was open has cut no rule yet:
 * the canary's connection ids would be followed again.
 */
static int keep_cut(struct control *control, const struct service *service, enum latch latch)
{
	if (latch == LATCH_KILLED)
		return control_cut_scope(control, service->name, CUT_ALL, 0);
	if (latch == LATCH_NONE || service->affinity.on_rollback != ON_ROLLBACK_CUT)
		return 0;
	return control_cut_scope(control, service->name,
				 latch == LATCH_LEASE_EXPIRED ? CUT_COHORT : CUT_PINS,
				 rollout_cohort_of(control, service));
}

int control_lift_latch(struct control *control, const char *service, size_t keep)
{
	const struct live_service *live = live_service_of(&control->live, service);
	const struct service *desired = policy_service(control->policy, service);
	int error;

	if (!live)
		return 0;
	error = note_lifted(control, live);
	if (!error)
		error = store_set_latch(control->store, service, LATCH_NONE, control->errors);
	if (!error && desired)
		error = drop_held_shares(control, desired, keep);
	if (!error && desired)
		error = keep_cut(control, desired, live->latch);
	return error ? error : control_reload_live(control);
}
