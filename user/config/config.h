/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * YAML in, policy out, and back. libyaml's document tree keeps the line and column of every node; a
 * table of keys, types and ranges walks it (schema.c).
 */
#ifndef XDP_CANARY_CONFIG_H
#define XDP_CANARY_CONFIG_H

#include "policy/policy.h"
#include "util/errors.h"

/*
 * Reads files and directories (their *.yaml by name); lists are joined, any other top-level key may
 * stand once. The policy, or NULL with errors. All errors found are reported, not only the first.
 */
struct policy *config_load(const char *const *paths, size_t count, struct errors *errors);
/* The same from memory; @name stands for the file in errors. */
struct policy *config_parse(const char *text, size_t length, const char *name,
			    struct errors *errors);
/* Of a revision, whose warnings were given when it was applied: errors alone. */
struct policy *config_parse_revision(const char *text, const char *name, struct errors *errors);

/*
 * The policy as a canonical tree: keys that have their default are left out, lists keep their
 * order. Equal policies give equal trees (json_equal), and rendering, parsing and rendering again
 * gives the same text.
 */
json_t *config_to_json(const struct policy *policy);
/* As YAML that config_parse() takes back unchanged; malloc()ed. */
char *config_to_yaml(const struct policy *policy);
char *config_tree_to_yaml(json_t *tree); /* of such a tree */

/*
 * The differences, one object each:
 * {"path":"services/api/cohorts/canary/backends/10.0.2.11/weight", "before":100,"after":50};
 * services, cohorts, rules, interfaces go by name and backends by address; an added or removed one
 * is a single difference from or to null, whose other side is the whole of it. A cohort's list of
 * backends also gives {"path":".../backends","before":<count>,"after":<count>} when its length
 * changed. Where the order of a list is not the same, its path gives the names of both. No
 * differences exactly where the canonical trees are equal. A new JSON array.
 *
 * config_to_json(), config_to_yaml(), config_tree_to_yaml() and config_diff() return NULL only
 * where there is no memory.
 */
json_t *config_diff(const struct policy *before, const struct policy *after);

#endif
