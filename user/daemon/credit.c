// SPDX-License-Identifier: GPL-2.0-only
/*
 * Feedback: what people reported of a client is credited to the cohort that the client was in at
 * that time, in the window that the time falls in, once for each client, metric and window; and it
 * is one that the rollout touched, which the store is told with the tally, in one transaction. The
 * client's place in the hash space and its rule are the kernel's to say (memberships do not change
 * while a rollout runs); the shares are those of the window. Who is pinned or held out is in no
 * arm.
 */
#include "daemon/rollouts_internal.h"

#include "datapath/explain.h"
#include "policy/assign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANY_PORT 80 /* of a VIP without one: the cohort does not depend on it */

/* A flow of the client to a VIP of its family; false: it has none. */
static bool flow_of(const struct service *service, const struct member *client, struct flow *flow)
{
	struct prefix prefix = member_prefix(client);

	for (size_t i = 0; i < service->vips_count; i++) {
		const struct vip *vip = &service->vips[i];

		if (vip->address.family != prefix.address.family)
			continue;
		*flow = (struct flow){
			.source = prefix.address,
			.destination = vip->address,
			.source_port = 40000,
			.destination_port = vip->port ? vip->port : ANY_PORT,
			.protocol = vip->protocol,
		};
		return true;
	}
	return false;
}

/* Its metric in the rollout, with source feedback; -ENOENT: none. */
static int metric_of(const struct service *service, const char *name)
{
	const struct rollout *plan = &service->rollout;

	for (size_t i = 0; i < plan->metrics_count; i++)
		if (plan->metrics[i].source == SOURCE_FEEDBACK &&
		    !strcmp(plan->metrics[i].name, name))
			return i;
	return -ENOENT;
}

static int credit(struct watched *watched, const struct service *service, int explainer,
		  const struct feedback *feedback, struct errors *errors)
{
	struct followed *followed = &watched->followed;
	const struct followed_window *window = follow_window_at(followed, feedback->time_ns);
	int metric = metric_of(service, feedback->metric);
	size_t canary = rollout_cohort(service), cohort;
	struct explanation explanation;
	const uint32_t *shares;
	struct flow flow;
	uint64_t end;
	int error;

	if (metric < 0 || !window || !flow_of(service, &feedback->client, &flow))
		return 0;
	end = window + 1 < followed->windows + followed->windows_count ? window[1].begin_ns
								       : UINT64_MAX;
	error = store_feedback_is_repeated(watched->rollouts->control->store, feedback,
					   window->begin_ns, end, errors);
	if (error)
		return error < 0 ? error : 0;
	error = explainer_run(explainer, &flow, &explanation, errors);
	if (error || !explanation.has_service || explanation.rule >= service->rules_count)
		return error;
	shares = window->shares[explanation.rule];
	cohort = assign_cohort(service, shares, explanation.hash);
	if ((cohort && cohort != canary) || !shares[canary])
		return 0;
	/* First of all, for it may be said twice, unlike the tally. */
	error = watched_note_client(watched, &feedback->client, &service->cohorts[cohort],
				    feedback->metric, feedback->time_ns);
	if (error)
		return error;
	return follow_tally(followed, metric, window->window, explanation.rule, cohort == canary, 1,
			    (double)shares[canary] / ((double)shares[canary] + shares[0]));
}

int credit_feedback(struct watched *watched, const struct service *service, struct errors *errors)
{
	struct rollouts *rollouts = watched->rollouts;
	struct feedback *list = NULL;
	size_t count = 0;
	int error = store_feedback(rollouts->control->store, service->name,
				   watched->followed.feedback, &list, &count, errors);
	int explainer;

	if (error || !count)
		return error;
	explainer = explainer_open(rollouts->place->pins, errors);
	if (explainer < 0) {
		free(list);
		return explainer == -ENOENT ? 0 : explainer;
	}
	for (size_t i = 0; i < count && !error; i++) {
		error = credit(watched, service, explainer, &list[i], errors);
		if (!error)
			watched->followed.feedback = list[i].number;
		watched->has_news = true;
	}
	close(explainer);
	free(list);
	return error;
}
