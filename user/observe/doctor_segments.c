// SPDX-License-Identifier: GPL-2.0-only
/* What doctor finds of segments: rules that nobody can be in, and memberships that grow old. */
#include "observe/doctor_internal.h"

#include "observe/segments.h"
#include "util/text.h"

#include <string.h>

#define NS_PER_MS 1000000ULL

static const struct segment_head *head_of(const struct segment_head *heads, size_t count,
					  const char *segment)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (!strcmp(heads[i].segment->name, segment))
			return &heads[i];
	return NULL;
}

static void examine_rules(struct findings *findings, const struct service *service,
			  const struct segment_head *heads, size_t count)
{
	char object[80];
	size_t i;

	for (i = 0; i < service->rules_count; i++) {
		const struct rule *rule = &service->rules[i];
		const struct segment_head *head = head_of(heads, count, rule->segment);

		if (!head)
			continue;
		snprintf(object, sizeof(object), "%.38s/%.38s", service->name, rule->name);
		if (!head->is_known || !head->membership.count)
			finding_add(findings, "segment_empty", SEVERITY_WARNING, object,
				    "look at `segment preview`, then `segment materialise`",
				    "nobody is in segment %s, whose clients the rule is for",
				    rule->segment);
		else
			finding_add(findings, "segment", SEVERITY_OK, object, "",
				    "is for the %zu clients of segment %s", head->membership.count,
				    rule->segment);
	}
}

/* A daemon computes what is due within seconds: twice its time is old. */
static void examine_age(struct findings *findings, const struct segment_head *head, uint64_t now_ns)
{
	uint64_t refresh_ns = head->segment->refresh_ms * NS_PER_MS;
	char refresh[TEXT_VALUE_SIZE];

	if (!refresh_ns || !head->is_known || head->membership.time_ns + 2 * refresh_ns > now_ns)
		return;
	finding_add(findings, "segment_age", SEVERITY_WARNING, head->segment->name,
		    "run the daemon and look at its log, or `segment materialise` it",
		    "was to be computed anew every %s and was not",
		    text_format_duration(head->segment->refresh_ms, refresh));
}

void examine_segments(struct findings *findings, struct control *control)
{
	const struct policy *policy = control->policy;
	struct segment_head *heads;
	uint64_t now_ns = time_now_ns();
	size_t i;

	if (segment_heads(control, &heads))
		return;
	for (i = 0; i < policy->services_count; i++)
		examine_rules(findings, &policy->services[i], heads, policy->segments_count);
	for (i = 0; i < policy->segments_count; i++)
		examine_age(findings, &heads[i], now_ns);
	segment_heads_release(heads, policy->segments_count);
}
