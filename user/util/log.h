/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's log: the journal, with fields, where stderr is connected to it, else lines on
 * stderr. Never a secret.
 */
#ifndef XDP_CANARY_LOG_H
#define XDP_CANARY_LOG_H

#include "util/errors.h"

#include <stdint.h>
#include <syslog.h>

/* What is known of what is said; NULL, "" or 0: nothing. In the journal each is a field of its
 * name: SERVICE=api. */
struct log_facts {
	const char *service, *cohort, *event;
	uint64_t epoch, revision, rollout;
};

/* One line. @priority: of syslog(3). @facts: NULL: none. */
void log_event(int priority, const struct log_facts *facts, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Every error and warning, one a line. @facts: NULL: none. */
void log_errors(const struct log_facts *facts, const struct errors *errors);

#endif
