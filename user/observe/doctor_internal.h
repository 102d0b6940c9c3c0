/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files that examine. */
#ifndef XDP_CANARY_DOCTOR_INTERNAL_H
#define XDP_CANARY_DOCTOR_INTERNAL_H

#include "observe/doctor.h"

/* @id: stable, and a constant. */
void finding_add(struct findings *findings, const char *id, enum severity severity,
		 const char *object, const char *fix, const char *format, ...)
	__attribute__((format(printf, 6, 7)));

/* ---- doctor_checks.c ---- */

void examine_checks(struct findings *findings, const struct control *control);

/* ---- doctor_segments.c ---- */

void examine_segments(struct findings *findings, struct control *control);

#endif
