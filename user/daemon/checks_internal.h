/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of the daemon's checks: checks.c asks, checks_write.c says what was found. */
#ifndef XDP_CANARY_DAEMON_CHECKS_INTERNAL_H
#define XDP_CANARY_DAEMON_CHECKS_INTERNAL_H

#include "check/check.h"
#include "daemon/checks.h"
#include "daemon/counters.h"
#include "probe/probe.h"

/* One backend. */
struct checked {
	struct checker *checker;
	char service[NAME_SIZE], cohort[NAME_SIZE];
	struct address address;
	const struct health_check *plan; /* in the checker's policy */
	uint16_t port;
	struct check check;
	struct check stored; /* what the store was told */
	struct counter *failures;
	uint64_t index;		/* gives its phase */
	struct probe *probe;	/* under way */
	sd_event_source *timer; /* the next one */
	bool is_wanted;		/* in checker_follow() */
};

struct checked_service {
	char name[NAME_SIZE];
	uint8_t dead; /* bits of cohorts that alarms were said of */
};

struct checker {
	sd_event *event;
	const struct place *place;
	const struct actor *actor;
	struct counters *counters;
	struct probe_engine *engine;
	struct policy *policy; /* that the plans are in */
	struct checked **list; /* by service and address */
	size_t count;
	uint64_t given; /* indices */
	struct checked_service *services;
	size_t services_count;
	struct datapath *datapath; /* for eras; NULL: nothing is loaded */
	sd_event_source *write;	   /* one shot */
};

/* ---- checks_write.c ---- */

int checker_begin_writing(struct checker *checker);
void checker_end_writing(struct checker *checker);
/* Results have changed somebody's health: together with others that come soon, they are written. */
void checker_write_soon(struct checker *checker);
/* Alarms are of the services of @control that have checks, and of what is dead there now. */
void checker_follow_alarms(struct checker *checker, const struct control *control);

#endif
