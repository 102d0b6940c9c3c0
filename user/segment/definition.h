/* SPDX-License-Identifier: GPL-2.0-only */
/* What a segment's definition is, as a number and in words. Pure. */
#ifndef XDP_CANARY_DEFINITION_H
#define XDP_CANARY_DEFINITION_H

#include "catalogue/catalogue.h"
#include "policy/policy.h"

/*
 * A digest of all that decides who is a member: the kind with its values, and the form that clients
 * have in the box. Neither the description nor `refresh`; of a file its name, for what is in it
 * counts when it is read. *@out is the digest; 0 or -ENOMEM.
 */
int segment_definition(const struct segment *segment, struct client_form form, uint64_t *out);

const char *segment_kind_name(enum segment_kind kind); /* as its key: "cidrs" */

/*
 * Where a membership comes from, in a line: "cidrs:198.51.100.0/24" (the prefix @member; NULL: how
 * many there are), "file:/etc/staff.txt", "where:plan = 'enterprise'", "bins:flows_per_day qcut 4
 * [0]", "model:adopters=1", "sample:1000". malloc()ed; NULL without memory.
 */
char *segment_source(const struct segment *segment, const struct member *member);

#endif
