// SPDX-License-Identifier: GPL-2.0-only
/* Random rules, and who is in their segments and groups. */
#include "affinity_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

bool has_rule(const struct lab_service *service, uint8_t name)
{
	size_t i;

	for (i = 0; i + 1 < service->service.rules_count; i++)
		if (service->rule_names[i] == name)
			return true;
	return false;
}

static uint8_t random_segment_number(struct history *history)
{
	if (in_percent(history, 8))
		return SEGMENT_OF_ALL;
	return place_of(history) * SEGMENTS + below(history, SEGMENTS);
}

static uint8_t random_name(struct history *history)
{
	uint8_t name;

	do
		name = 1 + below(history, NAMES - 1);
	while (has_rule(history->subject.real, name));
	return name;
}

void add_rule(struct world *world, struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	size_t at = random_rule(history, 0), cohort;
	uint8_t segment = random_segment_number(history);

	(void)world;
	(void)change;
	if (real->service.rules_count > RULES_MOST)
		return;
	lab_add_rule(real, at, random_name(history), segment);
	for (cohort = 1; cohort < real->service.cohorts_count; cohort++)
		real->shares[at][cohort] = history_random_share(history, cohort);
	run_totals.rules++;
	tell(history, "  rule %u of segment %u, in place %zu, at %u, %u and %u ppm\n",
	     real->rule_names[at], segment, at, real->shares[at][1], real->shares[at][2],
	     real->shares[at][3]);
}

void remove_rule(struct world *world, struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	size_t at;

	(void)world;
	(void)change;
	if (real->service.rules_count == 1)
		return;
	at = random_rule(history, 1);
	tell(history, "  rule %u removed\n", real->rule_names[at]);
	lab_remove_rule(real, at);
	run_totals.rules++;
}

void move_rule(struct world *world, struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	uint32_t shares[COHORTS_MAX];
	uint8_t name, segment;
	size_t from, to;

	(void)world;
	(void)change;
	if (real->service.rules_count == 1)
		return;
	from = random_rule(history, 1);
	name = real->rule_names[from];
	segment = real->rule_segments[from];
	memcpy(shares, real->shares[from], sizeof(shares));
	lab_remove_rule(real, from);
	to = random_rule(history, 0);
	lab_add_rule(real, to, name, segment);
	memcpy(real->shares[to], shares, sizeof(shares));
	run_totals.rules++;
	tell(history, "  rule %u moved from %zu to %zu\n", name, from, to);
}

/* To another name, for which it is another rule; or to another segment. */
void change_rule(struct world *world, struct history *history, struct change *change)
{
	struct lab_service *real = history->subject.real;
	size_t at;

	(void)world;
	(void)change;
	if (real->service.rules_count == 1)
		return;
	at = random_rule(history, 1);
	tell(history, "  rule %u of segment %u", real->rule_names[at], real->rule_segments[at]);
	if (in_percent(history, 50))
		real->rule_names[at] = random_name(history);
	else
		real->rule_segments[at] = random_segment_number(history);
	run_totals.rules++;
	tell(history, " is now rule %u of segment %u\n", real->rule_names[at],
	     real->rule_segments[at]);
}

static struct prefix random_clients(struct history *history)
{
	static const uint8_t lengths4[] = {32, 32, 32, 31, 30, 24}, lengths6[] = {64, 64, 62, 48};
	int family = in_percent(history, 65) ? 4 : 6;
	uint8_t length = family == 4 ? lengths4[below(history, sizeof(lengths4))]
				     : lengths6[below(history, sizeof(lengths6))];
	struct prefix client;
	char text[ADDRESS_TEXT_SIZE];

	history_client(history, below(history, CLIENTS), family, text);
	client = prefix_of(text);
	return prefix_shorten(&client, length, length);
}

void add_member(struct world *world, struct history *history, struct change *change)
{
	struct client_member member = {random_clients(history), random_segment_number(history)};
	char text[ADDRESS_TEXT_SIZE];

	(void)change;
	client_lists_add_member(&history->clients, &member);
	world_add_member(world, member.segment, &member.client);
	history->touched_segments |= 1ULL << member.segment;
	run_totals.memberships++;
	tell(history, "  %s in segment %u\n", prefix_format(&member.client, text), member.segment);
}

void remove_member(struct world *world, struct history *history, struct change *change)
{
	struct client_lists *clients = &history->clients;
	char text[ADDRESS_TEXT_SIZE];
	struct client_member gone;
	size_t i, kept = 0;

	(void)change;
	if (!clients->members_count)
		return;
	gone = clients->members[below(history, clients->members_count)];
	for (i = 0; i < clients->members_count; i++)
		if (clients->members[i].segment != gone.segment ||
		    !prefix_equal(&clients->members[i].client, &gone.client))
			clients->members[kept++] = clients->members[i];
	clients->members_count = kept;
	world_remove_member(world, gone.segment, &gone.client);
	history->touched_segments |= 1ULL << gone.segment;
	run_totals.memberships++;
	tell(history, "  %s no longer in segment %u\n", prefix_format(&gone.client, text),
	     gone.segment);
}

void change_group(struct world *world, struct history *history, struct change *change)
{
	struct client_group group = {random_clients(history), 1 + below(history, COLUMNS),
				     below(history, TEXTS)};
	char text[ADDRESS_TEXT_SIZE];

	(void)change;
	if (!group.text) { /* then a wider prefix's is meant */
		size_t i, kept = 0;

		for (i = 0; i < history->clients.groups_count; i++)
			if (history->clients.groups[i].column != group.column ||
			    !prefix_equal(&history->clients.groups[i].client, &group.client))
				history->clients.groups[kept++] = history->clients.groups[i];
		history->clients.groups_count = kept;
	} else {
		client_lists_set_group(&history->clients, &group);
	}
	world_set_group(world, group.column, &group.client, group.text);
	history->touched_columns |= 1 << group.column;
	run_totals.groupings++;
	tell(history, "  %s in group %u of column %u\n", prefix_format(&group.client, text),
	     group.text, group.column);
}

void change_group_by(struct world *world, struct history *history, struct change *change)
{
	(void)world;
	(void)change;
	history->subject.real->group_column = below(history, COLUMNS + 1);
	run_totals.groupings++;
	tell(history, "  groups by column %u\n", history->subject.real->group_column);
}
