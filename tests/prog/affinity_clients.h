/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is in which segment and in which group, and so which rule decides: asked address by address,
 * bit by bit, of lists. Nothing of user/segment or of the kernel's tables is used.
 */
#ifndef XDP_CANARY_TESTS_AFFINITY_CLIENTS_H
#define XDP_CANARY_TESTS_AFFINITY_CLIENTS_H

#include "lab.h"

struct client_member {
	struct prefix client;
	uint8_t segment;
};

struct client_group {
	struct prefix client;
	uint8_t column, text; /* each from 1 on */
};

struct client_lists {
	struct client_member *members;
	size_t members_count;
	struct client_group *groups; /* each client once a column */
	size_t groups_count;
};

void client_lists_release(struct client_lists *lists);
void client_lists_add_member(struct client_lists *lists, const struct client_member *member);
/* Instead of the client's group in that column, if it has one. */
void client_lists_set_group(struct client_lists *lists, const struct client_group *group);

bool prefix_holds(const struct prefix *prefix, const struct address *address);
bool client_is_in(const struct client_lists *lists, uint8_t segment, const struct address *client);
/* The text of the longest prefix that holds the client, or 0. */
uint8_t client_text(const struct client_lists *lists, uint8_t column, const struct address *client);
/* The index of the first rule whose segment holds the client. */
uint8_t client_rule(const struct client_lists *lists, const struct lab_service *service,
		    const struct address *client);
/* Its token, where the client key is its source address. */
uint64_t client_token(const struct client_lists *lists, const struct lab_service *service,
		      const struct address *client);

#endif
