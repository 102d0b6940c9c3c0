// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a lease, on the real program: from view.expiry on nobody is sent to the canary anew,
 * with nobody there who would write a map (promise 8); what becomes of the flows that are there
 * (`cut`, `drain`); that what a writer makes of it afterwards goes on from there; and that a lease
 * which has ended never revives. And latches, which are what the writer makes of it.
 *
 * A lease is made to end by storing a time that has passed: all that the program knows of it is
 * the comparison with its clock.
 */
#include "era.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define SHARE	 400000
#define LEASE_MS 3600000
#define FLOWS	 160
#define ROOM	 65536 /* flows of the transition table */
#define CANARY	 1
#define OTHER	 2 /* another canary */

struct lease {
	struct era *era;
	struct lab *lab;
	struct lab_service *service;
	struct flow flows[FLOWS];
};

/* ---- the service ---- */

static uint64_t jiffies_now(const struct lease *lease)
{
	const struct packet_plan anything = packet_udp("203.0.113.1", 1, "203.0.113.2", 1);

	return lab_explain(lease->lab, &anything).jiffies;
}

static struct view *shown(const struct lease *lease)
{
	return (struct view *)datapath_view(lease->lab->datapath, lease->service->slot);
}

static struct lease lease_new(const char *test, enum on_rollback mode, uint32_t room)
{
	struct lease lease = {.era = era_new(test, room)};

	lease.lab = lease.era->lab;
	lease.service = lease.era->service;
	lease.service->service.affinity.on_rollback = mode;
	lease.service->rollout_cohort = CANARY;
	lease.service->lease_ms = LEASE_MS;
	return lease;
}

/* As after the first publication: no era is open. */
static void publish_calm(struct lease *lease)
{
	lease->service->has_eras = false;
	lab_publish(lease->lab);
	lease->service->has_eras = true;
	lab_publish(lease->lab);
	assert_false(shown(lease)->flags & VIEW_TRANSITION);
	assert_int_not_equal(shown(lease)->expiry, LEASE_NONE);
}

static struct lease lease_calm(const char *test, enum on_rollback mode, uint32_t room)
{
	struct lease lease = lease_new(test, mode, room);

	lab_set_share(lease.service, CANARY, SHARE);
	publish_calm(&lease);
	return lease;
}

static void lease_free(struct lease *lease)
{
	era_free(lease->era);
}

/* It ended @ago jiffies ago. */
static void end_lease(const struct lease *lease, uint64_t ago)
{
	__atomic_store_n(&shown(lease)->expiry, jiffies_now(lease) - ago, __ATOMIC_SEQ_CST);
}

static uint64_t drain(const struct lease *lease)
{
	return jiffies_of_ms(lease->service->plan.drain_ms, jiffies_hz());
}

/* What a writer does that finds it ended. */
static void latch_expired(struct lease *lease)
{
	lease->service->rollout_cohort = 0;
	lease->service->latched = 1 << CANARY;
	lease->service->is_lease_latch = true;
	lease->service->lease_ms = 0;
	lab_publish(lease->lab);
}

/* ---- its flows ---- */

/* Its next segment takes what was recorded of it off probation. */
static void begin(const struct lease *lease, struct flow *flow)
{
	flow->held = flow_send(lease->era, flow, FLAG_SYN);
	flow_send(lease->era, flow, FLAG_ACK);
}

static struct flow flow_at(struct lease *lease, size_t cohort)
{
	struct flow flow;

	do {
		flow = flow_new(lease->era);
		begin(lease, &flow);
	} while (flow.held >> 8 != cohort);
	return flow;
}

static void begin_flows(struct lease *lease, size_t cohort)
{
	size_t i;

	for (i = 0; i < FLOWS; i++)
		lease->flows[i] = flow_at(lease, cohort);
}

static uint16_t go_on(const struct lease *lease, const struct flow *flow)
{
	return flow_send(lease->era, flow, FLAG_ACK);
}

static void assert_all_stay(const struct lease *lease)
{
	size_t i;

	for (i = 0; i < FLOWS; i++)
		assert_int_equal(go_on(lease, &lease->flows[i]), lease->flows[i].held);
}

static void assert_all_left(const struct lease *lease)
{
	size_t i;

	for (i = 0; i < FLOWS; i++)
		assert_int_equal(go_on(lease, &lease->flows[i]) >> 8, 0);
}

/* Clients of the canary and of control; each flow is sent on, and its SYN again. */
static void assert_new_flows_are_at_control(struct lease *lease)
{
	size_t i;

	for (i = 0; i < FLOWS; i++) {
		struct flow flow = flow_new(lease->era);
		uint16_t at = flow_send(lease->era, &flow, FLAG_SYN);

		assert_int_equal(at >> 8, 0);
		assert_int_equal(flow_send(lease->era, &flow, FLAG_SYN), at);
		assert_int_equal(go_on(lease, &flow), at);
	}
}

/* New ones of clients that the canary had; they are where their SYN went. */
static void begin_at_control(struct lease *lease, struct flow flows[FLOWS])
{
	size_t i;

	for (i = 0; i < FLOWS; i++) {
		flows[i] = lease->flows[i];
		flows[i].plan.source_port ^= 0x55;
		begin(lease, &flows[i]);
		assert_int_equal(flows[i].held >> 8, 0);
	}
}

static void assert_these_stay(const struct lease *lease, const struct flow flows[FLOWS])
{
	size_t i;

	for (i = 0; i < FLOWS; i++)
		assert_int_equal(go_on(lease, &flows[i]), flows[i].held);
}

/* ---- no new flow ---- */

static void sleep_a_jiffy(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000000 / jiffies_hz()}, NULL);
}

/* By the kernel's clock alone: nothing is written after the lease was given. */
static void no_client_is_sent_to_the_canary_from_the_moment_of_expiry(enum on_rollback mode)
{
	struct lease lease = lease_new(__func__, mode, ROOM);
	uint64_t before, after, expiry;
	size_t early = 0, late = 0, i;

	lease.service->lease_ms = 500;
	lab_set_share(lease.service, CANARY, SHARE);
	publish_calm(&lease);
	begin_flows(&lease, CANARY);
	expiry = shown(&lease)->expiry;
	for (i = 0; late < 3 * FLOWS; i++) {
		struct flow flow = lease.flows[i % FLOWS];
		size_t cohort;

		flow.plan.source_port += i;
		before = jiffies_now(&lease);
		cohort = flow_send(lease.era, &flow, FLAG_SYN) >> 8;
		after = jiffies_now(&lease);
		if (before >= expiry)
			assert_int_equal(cohort, 0);
		if (after < expiry)
			assert_int_equal(cohort, CANARY);
		early += after < expiry;
		late += before >= expiry;
		if (i % FLOWS == 0)
			sleep_a_jiffy();
	}
	assert_true(early);
	assert_int_equal(shown(&lease)->expiry, expiry | LEASE_ENDED);
	lease_free(&lease);
}

static void no_client_is_sent_to_the_canary_from_the_moment_of_expiry_cut(void **state)
{
	(void)state;
	no_client_is_sent_to_the_canary_from_the_moment_of_expiry(ON_ROLLBACK_CUT);
}

static void no_client_is_sent_to_the_canary_from_the_moment_of_expiry_drain(void **state)
{
	(void)state;
	no_client_is_sent_to_the_canary_from_the_moment_of_expiry(ON_ROLLBACK_DRAIN);
}

static void the_reason_is_lease_expired_and_no_rule_counts_it(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_CUT, ROOM);
	struct decision_counter before, after;
	struct explanation told;
	uint64_t of_none;

	(void)state;
	begin_flows(&lease, CANARY);
	end_lease(&lease, 0);
	told = flow_explain(lease.era, &lease.flows[0], FLAG_SYN);
	assert_int_equal(told.decision, REASON_LEASE_EXPIRED);
	assert_int_equal(told.rule, RULE_NONE);
	assert_int_equal(told.chosen_cohort, 0);
	assert_false(shown(&lease)->expiry & LEASE_ENDED); /* who explains changes nothing */
	before = lab_decision_counter(lease.lab, lease.service);
	of_none = lab_rule_counter(lease.lab, lease.service, RULE_NONE, 0).packets;
	assert_all_left(&lease);
	after = lab_decision_counter(lease.lab, lease.service);
	assert_int_equal(after.packets[REASON_LEASE_EXPIRED] - before.packets[REASON_LEASE_EXPIRED],
			 FLOWS);
	assert_int_equal(lab_rule_counter(lease.lab, lease.service, RULE_NONE, 0).packets - of_none,
			 FLOWS);
	lease_free(&lease);
}

/* ---- cut ---- */

static void by_cut_live_flows_go_to_control_at_once(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_CUT, ROOM);

	(void)state;
	begin_flows(&lease, CANARY);
	assert_all_stay(&lease);
	end_lease(&lease, 0);
	assert_all_left(&lease);
	assert_new_flows_are_at_control(&lease);
	latch_expired(&lease);
	assert_all_left(&lease);
	assert_new_flows_are_at_control(&lease);
	lease_free(&lease);
}

/* Half of the canary's clients have it as their origin alone, the others as an entry. */
static void by_cut_entries_and_origins_are_left_too(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_CUT, ROOM);
	struct flow in_era[FLOWS];
	size_t i;

	(void)state;
	begin_flows(&lease, CANARY);
	era_change_share(lease.era, SHARE / 2);
	assert_all_stay(&lease);
	era_change_share(lease.era, 2 * SHARE);
	for (i = 0; i < FLOWS; i++)
		in_era[i] = flow_at(&lease, CANARY);
	assert_all_stay(&lease);
	assert_these_stay(&lease, in_era);
	end_lease(&lease, 0);
	for (i = 0; i < FLOWS; i++)
		assert_int_equal(go_on(&lease, &in_era[i]) >> 8, 0);
	assert_all_left(&lease);
	assert_new_flows_are_at_control(&lease);
	latch_expired(&lease);
	for (i = 0; i < FLOWS; i++)
		assert_int_equal(go_on(&lease, &in_era[i]) >> 8, 0);
	assert_all_left(&lease);
	assert_new_flows_are_at_control(&lease);
	lease_free(&lease);
}

/* What was taken is not given back, once an operator lifts the latch in the same era. */
static void by_cut_what_was_taken_does_not_come_back_with_the_latch_lifted(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_CUT, ROOM);
	struct flow after[FLOWS];

	(void)state;
	begin_flows(&lease, CANARY);
	era_change_share(lease.era, 2 * SHARE);
	end_lease(&lease, 0);
	begin_at_control(&lease, after);
	latch_expired(&lease);
	assert_these_stay(&lease, after);
	lease.service->latched = 0;
	lease.service->plan.cut_pins = 1 << CANARY;
	lab_publish(lease.lab);
	assert_these_stay(&lease, after);
	assert_all_left(&lease);
	lease_free(&lease);
}

/* ---- drain ---- */

static void by_drain_live_flows_stay_and_new_ones_go_to_control(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	struct flow after[FLOWS];

	(void)state;
	begin_flows(&lease, CANARY);
	end_lease(&lease, 0);
	assert_all_stay(&lease);
	assert_new_flows_are_at_control(&lease);
	begin_at_control(&lease, after);
	assert_all_stay(&lease);
	assert_these_stay(&lease, after);
	end_lease(&lease, drain(&lease) - jiffies_hz());
	assert_all_stay(&lease);
	assert_these_stay(&lease, after);
	end_lease(&lease, drain(&lease));
	assert_all_left(&lease);
	assert_these_stay(&lease, after);
	assert_new_flows_are_at_control(&lease);
	lease_free(&lease);
}

/* The next view counts from when the lease ended, and knows who began since. */
static void by_drain_the_next_view_goes_on_where_the_kernel_was(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	uint64_t ago = drain(&lease) / 2, expiry;
	struct flow after[FLOWS];
	uint8_t era = shown(&lease)->era;

	(void)state;
	begin_flows(&lease, CANARY);
	end_lease(&lease, ago);
	expiry = shown(&lease)->expiry;
	begin_at_control(&lease, after);
	latch_expired(&lease);
	assert_int_equal(shown(&lease)->expiry, LEASE_NONE);
	assert_int_equal(shown(&lease)->era, next_era(era));
	assert_in_range(shown(&lease)->era_ends, expiry + drain(&lease),
			expiry + drain(&lease) + 2 * jiffies_hz());
	assert_all_stay(&lease);
	assert_these_stay(&lease, after);
	assert_new_flows_are_at_control(&lease);
	shown(&lease)->era_ends = jiffies_now(&lease);
	assert_all_left(&lease);
	assert_these_stay(&lease, after);
	lease_free(&lease);
}

static void by_drain_a_writer_that_comes_after_it_finds_no_era(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);

	(void)state;
	begin_flows(&lease, CANARY);
	end_lease(&lease, drain(&lease));
	assert_all_left(&lease);
	latch_expired(&lease);
	assert_false(shown(&lease)->flags & VIEW_TRANSITION);
	assert_all_left(&lease);
	assert_new_flows_are_at_control(&lease);
	lease_free(&lease);
}

/* Flows from before the era, whose origin is control or the canary; from within it; and new ones.
 */
static void by_drain_in_an_open_era_every_flow_stays_where_it_is(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	struct flow of_control[FLOWS], in_era[FLOWS], after[FLOWS];
	uint64_t ago = drain(&lease) / 4;
	size_t i;

	(void)state;
	begin_flows(&lease, CANARY);
	for (i = 0; i < FLOWS; i++)
		of_control[i] = flow_at(&lease, 0);
	era_change_share(lease.era, 2 * SHARE);
	for (i = 0; i < FLOWS; i++)
		in_era[i] = flow_at(&lease, CANARY);
	end_lease(&lease, 0);
	begin_at_control(&lease, after);
	/* Its end is a change of the era, which lasts longer for it. */
	shown(&lease)->expiry -= ago;
	shown(&lease)->era_ends = jiffies_now(&lease);
	for (i = 0; i < 2; i++) {
		assert_all_stay(&lease);
		assert_these_stay(&lease, of_control);
		assert_these_stay(&lease, in_era);
		assert_these_stay(&lease, after);
		assert_new_flows_are_at_control(&lease);
		latch_expired(&lease);
	}
	assert_in_range(shown(&lease)->era_ends,
			jiffies_now(&lease) + drain(&lease) - ago - jiffies_hz() * 20,
			jiffies_now(&lease) + drain(&lease) - ago + jiffies_hz());
	lease_free(&lease);
}

/* Nobody sees it end in the era, and the first who would have is at control. */
static void by_drain_an_era_in_which_it_ended_unseen_goes_on(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	uint64_t now;
	size_t i;

	(void)state;
	for (i = 0; i < FLOWS; i++)
		lease.flows[i] = flow_at(&lease, 0);
	era_change_share(lease.era, 1000000);
	assert_all_stay(&lease);
	now = jiffies_now(&lease);
	shown(&lease)->expiry = now - 2;
	shown(&lease)->era_ends = shown(&lease)->udp_ends = now - 1;
	assert_all_stay(&lease);
	assert_new_flows_are_at_control(&lease);
	latch_expired(&lease);
	assert_all_stay(&lease);
	lease_free(&lease);
}

/* A writer who comes just before it is over waits until it is: what follows begins at control. */
static void by_drain_who_waits_for_its_end_comes_after_it(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	struct flow after[FLOWS];
	uint64_t end;

	(void)state;
	begin_flows(&lease, CANARY);
	era_change_share(lease.era, 2 * SHARE);
	end_lease(&lease, 0);
	begin_at_control(&lease, after);
	lab_add_pin(lease.service, "198.51.100.0/24", 0, PIN_FOREVER);
	end = jiffies_now(&lease) + 4;
	shown(&lease)->era_ends = shown(&lease)->udp_ends = end - 1;
	shown(&lease)->expiry = end - drain(&lease);
	latch_expired(&lease);
	assert_true(jiffies_now(&lease) >= end);
	assert_these_stay(&lease, after);
	lease_free(&lease);
}

/* One that the end of the lease came upon is not moved; without its record it is a new flow. */
static void by_drain_a_repeated_syn_does_not_move_a_handshake(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	struct flow unrecorded = flow_at(&lease, CANARY);
	size_t i;

	(void)state;
	era_change_share(lease.era, 2 * SHARE);
	for (i = 0; i < FLOWS; i++)
		do
			lease.flows[i] = flow_at(&lease, CANARY);
		while (lease.flows[i].origin >= 4); /* control's backends have the numbers 0 to 3 */
	end_lease(&lease, 0);
	for (i = 0; i < FLOWS; i++)
		assert_int_equal(flow_send(lease.era, &lease.flows[i], FLAG_SYN),
				 lease.flows[i].held);
	assert_all_stay(&lease);
	assert_int_equal(flow_send(lease.era, &unrecorded, FLAG_SYN) >> 8, 0);
	lease_free(&lease);
}

/* Numbers of eras come around: what the lease's end records is of number 1, and of nobody else. */
static void by_drain_numbers_of_eras_come_around(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	struct flow after[FLOWS];

	(void)state;
	shown(&lease)->era = 255;
	shown(&lease)->lines_first = 1;
	begin_flows(&lease, CANARY);
	end_lease(&lease, 0);
	begin_at_control(&lease, after);
	assert_all_stay(&lease);
	assert_these_stay(&lease, after);
	lease.service->plan.drain_ms = 7200000;
	shown(&lease)->lines_first = 200;
	latch_expired(&lease);
	assert_int_equal(shown(&lease)->era, 1);
	assert_all_stay(&lease);
	assert_these_stay(&lease, after);
	lease_free(&lease);
}

/* Eras of a rollout's steps, each over when the next begins: no table serves them for ever. */
static void lines_that_have_seen_many_eras_are_given_up(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	struct flow after[FLOWS];
	uint32_t i, changes = 0, base;

	(void)state;
	base = shown(&lease)->transition_base;
	for (i = 0; i < 300; i++) {
		const struct view *view = shown(&lease);

		assert_true(view->transition_lines);
		assert_true(era_generation(view->era, view->lines_first) <= 200);
		changes += view->transition_base != base;
		base = view->transition_base;
		shown(&lease)->era_ends = shown(&lease)->udp_ends = jiffies_now(&lease);
		era_change_share(lease.era, SHARE + i % 2);
	}
	assert_in_range(changes, 1, 6);
	shown(&lease)->era_ends = shown(&lease)->udp_ends = jiffies_now(&lease);
	begin_flows(&lease, CANARY);
	end_lease(&lease, 0);
	begin_at_control(&lease, after);
	latch_expired(&lease);
	assert_all_stay(&lease);
	assert_these_stay(&lease, after);
	lease_free(&lease);
}

/* Nothing tells new flows from the others then: none goes to the canary. */
static void by_drain_without_room_in_the_table_all_flows_go_to_control(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, 8);
	struct flow after[FLOWS];

	(void)state;
	assert_int_equal(shown(&lease)->transition_lines, 0);
	begin_flows(&lease, CANARY);
	end_lease(&lease, 0);
	begin_at_control(&lease, after);
	assert_all_left(&lease);
	assert_these_stay(&lease, after);
	latch_expired(&lease);
	assert_these_stay(&lease, after);
	assert_all_left(&lease);
	lease_free(&lease);
}

static void without_room_nor_calm_all_flows_go_to_control(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, 8);

	(void)state;
	begin_flows(&lease, CANARY);
	era_change_share(lease.era, 2 * SHARE);
	assert_int_equal(shown(&lease)->transition_lines, 0);
	assert_all_stay(&lease);
	end_lease(&lease, 0);
	assert_all_left(&lease);
	assert_new_flows_are_at_control(&lease);
	latch_expired(&lease);
	assert_all_left(&lease);
	lease_free(&lease);
}

/* ---- pins, groups, datagrams ---- */

static void pinned_clients_go_to_control_too(enum on_rollback mode)
{
	struct lease lease = lease_new(__func__, mode, ROOM);
	struct flow flow = {.plan = packet_tcp("198.51.100.7", 4000, LAB_VIP4, 80)};
	uint16_t at;

	lab_add_pin(lease.service, "198.51.100.0/24", CANARY, PIN_FOREVER);
	lab_set_share(lease.service, CANARY, 0);
	publish_calm(&lease);
	at = flow_send(lease.era, &flow, FLAG_SYN);
	assert_int_equal(at >> 8, CANARY);
	end_lease(&lease, 0);
	assert_int_equal(go_on(&lease, &flow) >> 8, mode == ON_ROLLBACK_CUT ? 0 : CANARY);
	latch_expired(&lease);
	assert_int_equal(go_on(&lease, &flow) >> 8, mode == ON_ROLLBACK_CUT ? 0 : CANARY);
	assert_int_equal(flow_explain(lease.era, &flow, FLAG_SYN).decision, REASON_LEASE_EXPIRED);
	assert_int_equal(flow_send(lease.era, &flow, FLAG_SYN) >> 8, 0);
	flow.plan.source_port++;
	assert_int_equal(flow_send(lease.era, &flow, FLAG_SYN) >> 8, 0);
	assert_int_equal(go_on(&lease, &flow) >> 8, 0);
	lease_free(&lease);
}

static void pinned_clients_go_to_control_too_cut(void **state)
{
	(void)state;
	pinned_clients_go_to_control_too(ON_ROLLBACK_CUT);
}

static void pinned_clients_go_to_control_too_drain(void **state)
{
	(void)state;
	pinned_clients_go_to_control_too(ON_ROLLBACK_DRAIN);
}

/* All clients of a group share a token: those of a group in the canary are where it is. */
static void groups_of_clients_drain_together(void **state)
{
	struct lease lease = lease_new(__func__, ON_ROLLBACK_DRAIN, ROOM);
	struct prefix client = {.length = 32};
	struct flow after[FLOWS];
	size_t i;

	(void)state;
	client.address = random_address(&lease.era->random, 4);
	for (i = 1; i <= LAB_TEXTS; i++) {
		client.address.bytes[3] = i;
		lab_set_group(lease.lab, 1, &client, i);
	}
	lease.service->group_column = 1;
	lab_set_share(lease.service, CANARY, SHARE);
	publish_calm(&lease);
	for (i = 0; i < FLOWS; i++) {
		struct flow *flow = &lease.flows[i];

		do {
			*flow = flow_new(lease.era);
			flow->plan.source = client.address;
			flow->plan.source.bytes[3] =
				1 + random_below(&lease.era->random, LAB_TEXTS);
			begin(&lease, flow);
		} while (flow->held >> 8 != CANARY);
	}
	end_lease(&lease, 0);
	begin_at_control(&lease, after);
	assert_all_stay(&lease);
	latch_expired(&lease);
	assert_all_stay(&lease);
	assert_these_stay(&lease, after);
	lease_free(&lease);
}

/* No start of theirs is seen: for udp_drain they may be old. */
static void datagrams_stay_for_udp_drain(void **state)
{
	struct lease lease = lease_new(__func__, ON_ROLLBACK_DRAIN, ROOM);
	uint64_t udp_drain = jiffies_of_ms(lease.service->plan.udp_drain_ms, jiffies_hz());
	struct packet_plan datagram = packet_udp("198.51.100.7", 4000, LAB_VIP4, 53);
	struct flow flow = {.plan = datagram};

	(void)state;
	lab_add_vip(lease.service, LAB_VIP4 ":53/udp");
	lab_set_share(lease.service, CANARY, 1000000);
	publish_calm(&lease);
	assert_int_equal(flow_send(lease.era, &flow, 0) >> 8, CANARY);
	end_lease(&lease, udp_drain - jiffies_hz());
	assert_int_equal(flow_send(lease.era, &flow, 0) >> 8, CANARY);
	end_lease(&lease, udp_drain + 256); /* which its unit may round it up by */
	assert_int_equal(flow_send(lease.era, &flow, 0) >> 8, 0);
	latch_expired(&lease);
	assert_int_equal(flow_send(lease.era, &flow, 0) >> 8, 0);
	lease_free(&lease);
}

/* ---- other canaries ---- */

static void add_other_canary(struct lease *lease)
{
	lab_set_cohorts(lease->service, 3);
	lab_add_backend(lease->service, OTHER, "10.8.0.1", 100, LAB_INGRESS);
	lab_add_backend(lease->service, OTHER, "10.8.0.2", 100, LAB_INGRESS);
	lab_set_share(lease->service, CANARY, SHARE);
	lab_set_share(lease->service, OTHER, SHARE);
	lab_add_pin(lease->service, "198.51.100.0/24", OTHER, PIN_FOREVER);
}

static void other_canaries_are_untouched(enum on_rollback mode)
{
	struct lease lease = lease_new(__func__, mode, ROOM);
	struct flow pinned = {.plan = packet_tcp("198.51.100.7", 4000, LAB_VIP4, 80)};
	size_t i;

	add_other_canary(&lease);
	publish_calm(&lease);
	era_change_share(lease.era, SHARE); /* of the other */
	begin_flows(&lease, OTHER);
	pinned.held = flow_send(lease.era, &pinned, FLAG_SYN);
	assert_int_equal(pinned.held >> 8, OTHER);
	lab_set_share(lease.service, OTHER, SHARE / 2);
	lab_publish(lease.lab);
	assert_all_stay(&lease);
	end_lease(&lease, 0);
	for (i = 0; i < 2; i++) {
		assert_all_stay(&lease);
		assert_int_equal(go_on(&lease, &pinned), pinned.held);
		assert_int_equal(flow_at(&lease, OTHER).held >> 8, OTHER);
		latch_expired(&lease);
	}
	lease_free(&lease);
}

static void other_canaries_are_untouched_cut(void **state)
{
	(void)state;
	other_canaries_are_untouched(ON_ROLLBACK_CUT);
}

static void other_canaries_are_untouched_drain(void **state)
{
	(void)state;
	other_canaries_are_untouched(ON_ROLLBACK_DRAIN);
}

/* ---- latches ---- */

static void a_latch_holds_its_canary_at_control_and_no_other(void **state)
{
	struct lease lease = lease_new(__func__, ON_ROLLBACK_CUT, ROOM);
	struct flow pinned = {.plan = packet_tcp("198.51.100.7", 4000, LAB_VIP4, 80)}, flow;
	uint64_t before, i, of_canary = 0;

	(void)state;
	add_other_canary(&lease);
	lease.service->pins[0].cohort = CANARY;
	publish_calm(&lease);
	begin_flows(&lease, OTHER);
	assert_int_equal(flow_send(lease.era, &pinned, FLAG_SYN) >> 8, CANARY);
	before = lab_rule_counter(lease.lab, lease.service, RULE_NONE, 0).packets;
	latch_expired(&lease);
	lease.service->is_lease_latch = false;
	lab_publish(lease.lab);
	assert_int_equal(shown(&lease)->expiry, LEASE_NONE);
	assert_int_equal(flow_explain(lease.era, &pinned, FLAG_SYN).decision, REASON_ROLLED_BACK);
	for (i = 0; i < FLOWS; i++) {
		struct explanation told;

		flow = flow_new(lease.era);
		told = flow_explain(lease.era, &flow, FLAG_SYN);
		if (told.decision == REASON_ROLLED_BACK)
			assert_int_equal(told.chosen_cohort, 0);
		else
			assert_int_equal(told.decision, REASON_DEFAULT);
		assert_int_not_equal(told.chosen_cohort, CANARY);
		assert_int_not_equal(flow_send(lease.era, &flow, FLAG_SYN) >> 8, CANARY);
		of_canary += told.decision == REASON_ROLLED_BACK;
	}
	assert_true(of_canary);
	assert_int_equal(lab_rule_counter(lease.lab, lease.service, RULE_NONE, 0).packets - before,
			 of_canary);
	assert_all_stay(&lease);
	lease_free(&lease);
}

/* By cut_cohort(): as abort and rollback do it. */
static void a_cut_of_a_canary_takes_all_of_it_and_of_no_other(void **state)
{
	struct lease lease = lease_new(__func__, ON_ROLLBACK_CUT, ROOM);
	struct flow pinned = {.plan = packet_tcp("198.51.100.7", 4000, LAB_VIP4, 80)};
	struct flow other = {.plan = packet_tcp("203.0.113.7", 4000, LAB_VIP4, 80)};
	struct flow of_other[FLOWS];
	size_t i;

	(void)state;
	add_other_canary(&lease);
	lab_add_pin(lease.service, "203.0.113.0/24", CANARY, PIN_FOREVER);
	publish_calm(&lease);
	era_change_share(lease.era, SHARE / 2);
	begin_flows(&lease, CANARY);
	for (i = 0; i < FLOWS; i++)
		of_other[i] = flow_at(&lease, OTHER);
	pinned.held = flow_send(lease.era, &pinned, FLAG_SYN);
	other.held = flow_send(lease.era, &other, FLAG_SYN);
	assert_int_equal(pinned.held >> 8, OTHER);
	assert_int_equal(other.held >> 8, CANARY);
	cut_cohort(&lease.service->plan, CANARY);
	latch_expired(&lease);
	assert_all_left(&lease);
	assert_int_equal(go_on(&lease, &other) >> 8, 0);
	assert_int_equal(go_on(&lease, &pinned), pinned.held);
	assert_these_stay(&lease, of_other);
	/* The latch is lifted: what it took does not come back in this era. */
	lease.service->latched = 0;
	lease.service->plan.cut_pins = 1 << CANARY;
	lab_publish(lease.lab);
	assert_all_left(&lease);
	assert_int_equal(go_on(&lease, &other) >> 8, 0);
	assert_int_equal(go_on(&lease, &pinned), pinned.held);
	other.plan.source_port++;
	assert_int_equal(flow_send(lease.era, &other, FLAG_SYN) >> 8, CANARY);
	lease_free(&lease);
}

/* ---- renewing ---- */

static void a_lease_is_renewed_until_it_has_ended_and_never_after(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	struct datapath *datapath = lease.lab->datapath;
	uint32_t slot = lease.service->slot;
	uint64_t before = shown(&lease)->expiry, more = 2 * LEASE_MS * jiffies_hz() / 1000;

	(void)state;
	begin_flows(&lease, CANARY);
	assert_int_equal(lease_renew(datapath, slot, more, lease.lab->errors), 0);
	assert_in_range(shown(&lease)->expiry, before + 1, jiffies_now(&lease) + more);
	before = shown(&lease)->expiry;
	assert_int_equal(lease_renew(datapath, slot, 1, lease.lab->errors), 0);
	assert_int_equal(shown(&lease)->expiry, before); /* never sooner */
	end_lease(&lease, 0);
	assert_int_equal(lease_renew(datapath, slot, more, lease.lab->errors), -ESTALE);
	before = shown(&lease)->expiry;
	assert_false(before & LEASE_ENDED);
	assert_int_equal(flow_send(lease.era, &lease.flows[0], FLAG_SYN) >> 8, 0);
	assert_int_equal(shown(&lease)->expiry, before | LEASE_ENDED);
	assert_int_equal(lease_renew(datapath, slot, more, lease.lab->errors), -ESTALE);
	/* One that was on its way when a packet found it ended: its swap fails. */
	assert_false(__atomic_compare_exchange_n(&shown(&lease)->expiry, &before, before + more,
						 false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	assert_int_equal(lease_renew(datapath, 1, more, lease.lab->errors), -ENOENT);
	lease_free(&lease);
}

static void a_view_goes_on_with_the_lease_of_the_one_before(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	uint64_t expiry = shown(&lease)->expiry;

	(void)state;
	lease.service->lease_ms = 2 * LEASE_MS;
	era_change_share(lease.era, SHARE + 1);
	assert_int_equal(shown(&lease)->expiry, expiry);
	lease.service->plan.new_lease = true;
	era_change_share(lease.era, SHARE);
	assert_true(shown(&lease)->expiry > expiry);
	/* Nobody latched it, as when it ends in the course of a write: the next view has ended too.
	 */
	end_lease(&lease, 1);
	expiry = shown(&lease)->expiry;
	era_change_share(lease.era, SHARE + 1);
	assert_int_equal(shown(&lease)->expiry & LEASE_ENDS, expiry);
	assert_new_flows_are_at_control(&lease);
	lease_free(&lease);
}

struct renewer {
	const struct lease *lease;
	bool ends;
	uint64_t renewed;
	int error;
};

static void *renew_for_ever(void *data)
{
	struct renewer *renewer = data;

	while (!__atomic_load_n(&renewer->ends, __ATOMIC_SEQ_CST) && !renewer->error) {
		renewer->error = lease_renew(renewer->lease->lab->datapath,
					     renewer->lease->service->slot, jiffies_hz() / 4, NULL);
		renewer->renewed++;
	}
	return NULL;
}

/* Views come and go, each before the lease of 250 ms would end without a renewal. */
static void no_renewal_is_lost_while_views_are_replaced(void **state)
{
	struct lease lease = lease_calm(__func__, ON_ROLLBACK_DRAIN, ROOM);
	struct renewer renewer = {.lease = &lease};
	pthread_t thread;
	int i;

	(void)state;
	lease.service->lease_ms = 250;
	lease.service->plan.new_lease = true;
	lab_publish(lease.lab);
	assert_int_equal(pthread_create(&thread, NULL, renew_for_ever, &renewer), 0);
	for (i = 0; i < 60 && !renewer.error; i++)
		era_change_share(lease.era, SHARE + i % 2);
	__atomic_store_n(&renewer.ends, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	assert_int_equal(renewer.error, 0);
	assert_true(renewer.renewed > 60);
	lease_free(&lease);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_client_is_sent_to_the_canary_from_the_moment_of_expiry_cut),
		cmocka_unit_test(no_client_is_sent_to_the_canary_from_the_moment_of_expiry_drain),
		cmocka_unit_test(the_reason_is_lease_expired_and_no_rule_counts_it),
		cmocka_unit_test(by_cut_live_flows_go_to_control_at_once),
		cmocka_unit_test(by_cut_entries_and_origins_are_left_too),
		cmocka_unit_test(by_cut_what_was_taken_does_not_come_back_with_the_latch_lifted),
		cmocka_unit_test(by_drain_live_flows_stay_and_new_ones_go_to_control),
		cmocka_unit_test(by_drain_the_next_view_goes_on_where_the_kernel_was),
		cmocka_unit_test(by_drain_a_writer_that_comes_after_it_finds_no_era),
		cmocka_unit_test(by_drain_in_an_open_era_every_flow_stays_where_it_is),
		cmocka_unit_test(by_drain_an_era_in_which_it_ended_unseen_goes_on),
		cmocka_unit_test(by_drain_who_waits_for_its_end_comes_after_it),
		cmocka_unit_test(by_drain_a_repeated_syn_does_not_move_a_handshake),
		cmocka_unit_test(by_drain_numbers_of_eras_come_around),
		cmocka_unit_test(lines_that_have_seen_many_eras_are_given_up),
		cmocka_unit_test(by_drain_without_room_in_the_table_all_flows_go_to_control),
		cmocka_unit_test(without_room_nor_calm_all_flows_go_to_control),
		cmocka_unit_test(pinned_clients_go_to_control_too_cut),
		cmocka_unit_test(pinned_clients_go_to_control_too_drain),
		cmocka_unit_test(groups_of_clients_drain_together),
		cmocka_unit_test(datagrams_stay_for_udp_drain),
		cmocka_unit_test(other_canaries_are_untouched_cut),
		cmocka_unit_test(other_canaries_are_untouched_drain),
		cmocka_unit_test(a_latch_holds_its_canary_at_control_and_no_other),
		cmocka_unit_test(a_cut_of_a_canary_takes_all_of_it_and_of_no_other),
		cmocka_unit_test(a_lease_is_renewed_until_it_has_ended_and_never_after),
		cmocka_unit_test(a_view_goes_on_with_the_lease_of_the_one_before),
		cmocka_unit_test(no_renewal_is_lost_while_views_are_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
