/* SPDX-License-Identifier: GPL-2.0-only */
/* Parts of a policy as JSON, by the key tables. */
#ifndef XDP_CANARY_RENDER_H
#define XDP_CANARY_RENDER_H

#include "config/schema.h"

#include <jansson.h>

/*
 * One step of the way down to a rendered object: a rule's shares are named by its service's
 * cohorts. The holder of an item is the object that has the list; keys of nested maps belong to the
 * object around them.
 */
struct subject {
	const void *object;
	const struct subject *holder;
};

/* @subject's object without what has its default. Like the others a new reference, NULL without
 * memory. */
json_t *render_map(const struct schema *schema, const struct subject *subject);
/* An item of @list. */
json_t *render_item(const struct key *list, const struct subject *subject);
/* The value of @key in @subject's object, its defaults filled in. */
json_t *render_value(const struct key *key, const struct subject *subject);
/* Whether an alternative, or a map that may be absent, stands in @object. */
bool render_stands(const struct key *key, const void *object);
/* A rule's shares that are not 0, by cohort, without the control. */
json_t *render_shares(const struct subject *rule);

#endif
