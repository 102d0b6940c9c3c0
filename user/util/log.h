/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon's log: the journal where it is connected to one, else stderr. Never a secret. */
#ifndef XDP_CANARY_LOG_H
#define XDP_CANARY_LOG_H

#include "util/errors.h"

void log_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Every error and warning, one a line. */
void log_errors(const struct errors *errors);

#endif
