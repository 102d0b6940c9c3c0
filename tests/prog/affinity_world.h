/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A service in two boxes: in the real one its changes are folded into eras; its twin, with the same
 * VIPs and secret, has none, and so says what the current decision is.
 *
 * Time: all that the data path knows of it are ends in jiffies in the shown view, which it compares
 * with now. So a service is made to wait by taking the jiffies off those ends: for it that is the
 * same as if they had passed. Its clock is the kernel's plus what it has waited.
 */
#ifndef XDP_CANARY_TESTS_AFFINITY_WORLD_H
#define XDP_CANARY_TESTS_AFFINITY_WORLD_H

#include "affinity_model.h"
#include "lab.h"

#include "tests/random.h"

#define WORLD_SERVICES 96

struct world {
	struct lab *real, *twin;
	struct random random;
	/* By slot: a writer who died left it at the table before; another has finished that. */
	bool is_left[WORLD_SERVICES], is_finished[WORLD_SERVICES];
	uint64_t moved_tables; /* views that were shown for the sake of a new segment table alone */
};

struct subject {
	struct lab_service *real, *twin;
	int64_t waited; /* jiffies */
};

/* A change that is asked for; what it says of `from` and `to` is filled in. */
struct change {
	struct subject *subject;
	struct epoch epoch;
	bool in_place;	/* health alone */
	bool new_lease; /* does not go on from one that has ended */
};

/* @transition_flows: room in the table of the real box. */
struct world world_open(uint32_t transition_flows);
void world_close(struct world *world);
/* Takes all services away. */
void world_reset(struct world *world);
void world_add(struct world *world, struct subject *subject, const char *name, unsigned int place);
/* Shows all services for the first time, with eras numbered from any number on. */
void world_show(struct world *world);

int64_t world_now(const struct world *world, const struct subject *subject);
void world_wait(struct world *world, struct subject *subject, int64_t jiffies);

/* Clients belong to the box: who is changed must be looked up by one subject alone. */
void world_add_member(struct world *world, uint8_t segment, const struct prefix *client);
void world_remove_member(struct world *world, uint8_t segment, const struct prefix *client);
void world_set_group(struct world *world, uint8_t column, const struct prefix *client,
		     uint8_t text);

/* Brings both boxes to what the subjects' real services say. Cuts, and a kill that is lifted, are
 * the epochs'. */
void world_publish(struct world *world, struct change *changes, size_t count);
void world_kill(struct world *world, struct subject *subject);
/* The lease of the subject's canary ends, in both boxes, with nobody there. */
void world_end_lease(struct world *world, struct subject *subject);

/* The current decision on a frame, when it was asked, and which rule decided, as the box says: its
 * index or RULE_NONE. */
struct decision world_decide(const struct world *world, const struct subject *subject,
			     const struct frame *frame, int64_t *now, uint8_t *rule);
/* Where the frame really goes: a backend, or NOWHERE. */
int world_send(const struct world *world, const struct frame *frame);
/* By which path, for the trace. */
const char *world_path(const struct world *world, const struct frame *frame);
/* Is an era open, with time enough left? Else health is published by a view, as all is. */
bool world_can_change_in_place(const struct world *world, const struct subject *subject);
/* Has the service's era a part of the transition table, and a lease whose end may begin one? */
bool world_has_room(const struct world *world, const struct subject *subject);

/* Backends are told apart by @id, whatever cohort they are in. */
void subject_add_backend(struct subject *subject, size_t cohort, unsigned int id, uint16_t weight);
void subject_remove_backend(struct subject *subject, size_t cohort, size_t index);
unsigned int backend_id(const struct lab_backend *backend);
/* What the model knows of backends, from what is asked for. */
void subject_tell(const struct subject *subject, struct model *model);

/* VIPs of a place: 192.0.2.<place + 1>, 2001:db8::<place + 1>. */
void vip_of_place(unsigned int place, int family, char out[ADDRESS_TEXT_SIZE]);

#endif
