// SPDX-License-Identifier: GPL-2.0-only
#include "affinity_clients.h"

#include "oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void client_lists_release(struct client_lists *lists)
{
	free(lists->members);
	free(lists->groups);
	*lists = (struct client_lists){0};
}

void client_lists_add_member(struct client_lists *lists, const struct client_member *member)
{
	lists->members = reallocarray(lists->members, lists->members_count + 1, sizeof(*member));
	assert_non_null(lists->members);
	lists->members[lists->members_count++] = *member;
}

void client_lists_set_group(struct client_lists *lists, const struct client_group *group)
{
	size_t i;

	for (i = 0; i < lists->groups_count; i++)
		if (lists->groups[i].column == group->column &&
		    prefix_equal(&lists->groups[i].client, &group->client)) {
			lists->groups[i] = *group;
			return;
		}
	lists->groups = reallocarray(lists->groups, lists->groups_count + 1, sizeof(*group));
	assert_non_null(lists->groups);
	lists->groups[lists->groups_count++] = *group;
}

bool prefix_holds(const struct prefix *prefix, const struct address *address)
{
	unsigned int bit;

	if (prefix->address.family != address->family)
		return false;
	for (bit = 0; bit < prefix->length; bit++)
		if ((prefix->address.bytes[bit / 8] ^ address->bytes[bit / 8]) & 0x80 >> bit % 8)
			return false;
	return true;
}

bool client_is_in(const struct client_lists *lists, uint8_t segment, const struct address *client)
{
	size_t i;

	for (i = 0; i < lists->members_count; i++)
		if (lists->members[i].segment == segment &&
		    prefix_holds(&lists->members[i].client, client))
			return true;
	return false;
}

uint8_t client_text(const struct client_lists *lists, uint8_t column, const struct address *client)
{
	int longest = -1;
	uint8_t text = 0;
	size_t i;

	for (i = 0; i < lists->groups_count; i++) {
		const struct client_group *group = &lists->groups[i];

		if (group->column == column && group->client.length > longest &&
		    prefix_holds(&group->client, client)) {
			longest = group->client.length;
			text = group->text;
		}
	}
	return text;
}

uint8_t client_rule(const struct client_lists *lists, const struct lab_service *service,
		    const struct address *client)
{
	uint8_t rule;

	for (rule = 0; rule + 1u < service->service.rules_count; rule++)
		if (client_is_in(lists, service->rule_segments[rule], client))
			break;
	return rule;
}

uint64_t client_token(const struct client_lists *lists, const struct lab_service *service,
		      const struct address *client)
{
	const uint64_t words[2] = {htole64(lab_secret.k0), htole64(lab_secret.k1)};
	uint8_t key[16], text = 0;
	char name[16];

	memcpy(key, words, sizeof(key));
	if (service->group_column)
		text = client_text(lists, service->group_column, client);
	if (text)
		return oracle_siphash(key, name, strlen(lab_text(text, name)));
	return oracle_token(key, client, service->service.prefix4, service->service.prefix6);
}
