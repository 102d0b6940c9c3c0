/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The records of clients (headers/observed.h) from user space: switching observation on and off,
 * reading records while packets count into them, and taking what they counted, so that every packet
 * is in exactly one window.
 */
#ifndef XDP_CANARY_OBSERVED_RECORDS_H
#define XDP_CANARY_OBSERVED_RECORDS_H

#include "datapath/datapath.h"

/* How closely which clients are watched. */
struct observe_settings {
	uint8_t prefix4, prefix6; /* a client is an address cut to these */
	uint32_t sample;	  /* of packets that start no flow, 1 in so many counts */
};

/*
 * Watches as @wanted from now on. Where it was off, or clients had another form, a window begins
 * and all records are free; another sample alone changes nothing of the window. The writer lock is
 * held.
 */
int observed_start(struct datapath *datapath, const struct observe_settings *wanted,
		   struct errors *errors);
/* Packets pay one load for it from now on. */
void observed_stop(struct datapath *datapath);
bool observed_is_on(const struct datapath *datapath);
/* Now, in the seconds that records have. */
int observed_now(struct datapath *datapath, uint32_t *now, struct errors *errors);

/* Sums over the CPUs; packets, bytes, flows: those of clients for whom there was no record. */
int observed_counters(const struct datapath *datapath, struct observe_counter *out,
		      struct errors *errors);
/* Clients that have a record. */
uint64_t observed_clients(const struct datapath *datapath, const struct observe_counter *counters);

/* Records that counted something, as they were when they were looked at. Their order means nothing,
 * and a client may have two. */
struct observed_list {
	struct observed_client *clients;
	size_t count, room;
};
void observed_list_release(struct observed_list *list);

/* Disturbs nothing. @only: its address; NULL: of all. 0 or -ENOMEM. */
int observed_read(const struct datapath *datapath, const struct observed_client *only,
		  struct observed_list *out);

/* Taking, in parts. One at a time: the writer lock is held to begin and to end, not in between. */
struct observed_take {
	struct observed_list list;
	uint32_t next;	/* record to look at */
	uint32_t *late; /* records to look at again after a grace period */
	size_t late_count, late_room;
};

/* The next @count records. 1: there are more; 0: that were all; -ENOMEM. */
int observed_take_some(struct datapath *datapath, struct observed_take *take, uint32_t count);
/* Frees the records of clients that were away, when no packet can count into them any more. */
int observed_take_end(struct datapath *datapath, struct observed_take *take, struct errors *errors);
/* What cannot be kept goes back where it came from. Returns how many records are gone for good. */
size_t observed_put_back(struct datapath *datapath, const struct observed_take *take);
void observed_take_release(struct observed_take *take);

#endif
