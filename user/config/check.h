/* SPDX-License-Identifier: GPL-2.0-only */
/* What no single value of a configuration can be right or wrong about by itself. */
#ifndef XDP_CANARY_CHECK_H
#define XDP_CANARY_CHECK_H

#include "config/path.h"
#include "config/places.h"
#include "policy/policy.h"

struct check {
	const struct places *places;
	struct errors *errors;
	const struct policy *policy; /* set by check_policy() */
	bool whole;		     /* every file was read: what is not there is nowhere */
};

/*
 * Fills in what follows from other values (slots, the control's shares, the rule that is not
 * written), then compares values with each other. Reports every error; what has one already (or is
 * missing) is left alone.
 */
void check_policy(struct check *check, struct policy *policy);

/* One service; @path leads to it. */
void check_service(struct check *check, struct service *service, const struct path *path);

/* One segment; @path leads to it. A `file` that is named from its configuration's directory gets
 * its whole path. */
void check_segment(struct check *check, struct segment *segment, const struct path *path);
/* All rules of a service; @path leads to the service. */
void check_rules(struct check *check, struct service *service, const struct path *path);

/* @path leads to the service. */
void check_health(struct check *check, const struct service *service, const struct path *path);
void check_rollout(struct check *check, struct service *service, const struct path *path);

/* ---- shared by all files ---- */

/* The place of a value that was read without an error; NULL: absent, or bad. */
const struct place *check_place(const struct check *check, const void *object, const char *key);
/* True if something was read for the list and it can be counted on; absent is good too. */
bool check_is_good(const struct check *check, const void *object, const char *key);

/* An error at @place about what @path leads to or, if @key is not NULL, about that key of it. */
void check_report(struct check *check, const struct place *place, const struct path *path,
		  const char *key, const char *hint, const char *format, ...)
	__attribute__((format(printf, 6, 7)));
/* "stands at FILE:LINE:COLUMN already", appended to @what. */
void check_report_twice(struct check *check, const struct place *place, const struct place *first,
			const struct path *path, const char *key, const char *hint,
			const char *what);

#endif
