/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A box with one service that may be in an era, its flows, and what of them lies in the transition
 * table. A flow has a backend that was decided before the era, and one that it is held at.
 */
#ifndef XDP_CANARY_TESTS_ERA_H
#define XDP_CANARY_TESTS_ERA_H

#include "lab.h"
#include "tests/random.h"

#define CALM_VIP4 "192.0.2.20" /* of another service, like it, that nothing changes */
#define NOWHERE	  0xffff

struct flow {
	struct packet_plan plan;
	uint16_t origin, held; /* backends' numbers: decided before the era; where its SYN goes */
};

struct era {
	struct lab *lab;
	struct lab_service *service;
	struct random random;
};

/* @transition_flows: of the box. @test names it where the seed is printed. No era is open. */
struct era *era_new(const char *test, uint32_t transition_flows);
void era_free(struct era *era);
/* Publishes the canary's share. The second time opens the era. */
void era_change_share(struct era *era, uint32_t ppm);

/* Of a random client; it has not begun. */
struct flow flow_new(struct era *era);
/* One whose loss would be seen: what is decided now is not its origin. */
struct flow flow_new_disputed(struct era *era);
/* Where it is sent: cohort << 8 | the backend's place in it. */
uint16_t flow_send(const struct era *era, const struct flow *flow, uint8_t flags);
struct explanation flow_explain(const struct era *era, const struct flow *flow, uint8_t flags);
/* They fail the test if it is not sent to where it is held. */
void flow_begin(const struct era *era, const struct flow *flow);
void flow_go_on(const struct era *era, const struct flow *flow);
/* As flow_send() tells it. */
uint16_t backend_place(const struct era *era, uint16_t number);

struct table {
	struct transition_line *lines;
	uint32_t count;
};

/* The lines that the era has, as packets see them. */
struct table era_table(const struct era *era);
/* An entry but for when its flow was seen. */
uint64_t entry_without_stamp(uint64_t entry);

#endif
