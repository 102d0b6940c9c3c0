// SPDX-License-Identifier: GPL-2.0-only
/*
 * Promise 7 with rules over segments: a cut takes the live flows of the clients that its rule has
 * then, and theirs alone, whatever rule or group they have later in the era.
 */
#include "affinity_clients.h"
#include "oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WHOLE 1000000
#define KEPT  300000 /* the share that a cut leaves */

struct setting {
	struct lab *lab;
	struct lab_service *service;
};

/* Rules 1 and 2 over segments 1 and 2, all their clients at the canary; default: none. */
static struct setting setting_of(struct lab *lab)
{
	struct setting setting = {lab, lab_add_usual(lab, STEER_L2, 4)};

	lab_add_rule(setting.service, 0, 1, 1);
	lab_add_rule(setting.service, 1, 2, 2);
	setting.service->shares[0][1] = setting.service->shares[1][1] = WHOLE;
	setting.service->group_column = 1;
	return setting;
}

static void set_member(const struct setting *setting, uint8_t segment, const char *client,
		       bool is_in)
{
	const struct prefix prefix = prefix_of(client);

	if (is_in)
		lab_add_member(setting->lab, segment, &prefix);
	else
		lab_remove_member(setting->lab, segment, &prefix);
}

static void begin_era(const struct setting *setting)
{
	lab_publish(setting->lab);
	setting->service->has_eras = true;
}

/* Lowers the share of rule @at and takes what is above it. */
static void cut(const struct setting *setting, size_t at, uint32_t share)
{
	setting->service->shares[at][1] = share;
	setting->service->plan.cuts[at] = 1 << 1;
	lab_publish(setting->lab);
}

/* A segment of a flow that began before the era. */
static int cohort_of(const struct setting *setting, const char *client)
{
	struct packet_plan plan = packet_tcp(client, 40000, LAB_VIP4, 80);
	struct run run;

	plan.tcp_flags = FLAG_ACK;
	lab_run_plan(setting->lab, &plan, &run);
	return lab_cohort_of(&run);
}

static uint32_t hash_of(const struct setting *setting, const struct client_lists *lists,
			const char *client)
{
	const struct address address = address_of(client);

	return oracle_hash(client_token(lists, setting->service, &address),
			   setting->service->service.salt);
}

/* One that a cut takes, or keeps. */
static void find_client(const struct setting *setting, bool is_kept, char out[ADDRESS_TEXT_SIZE])
{
	static const struct client_lists nobody;
	unsigned int i = 0;

	do
		snprintf(out, ADDRESS_TEXT_SIZE, "198.18.7.%u", ++i);
	while (i < 255 && (hash_of(setting, &nobody, out) < oracle_threshold(KEPT)) != is_kept);
	assert_in_range(i, 1, 254);
}

/* A group whose clients the cut would have kept. */
static uint8_t find_kept_group(const struct setting *setting, const char *client)
{
	struct client_group group = {prefix_of(client), 1, 0};
	struct client_lists lists = {.groups = &group, .groups_count = 1};

	do
		assert_in_range(++group.text, 1, LAB_TEXTS);
	while (hash_of(setting, &lists, client) >= oracle_threshold(KEPT));
	return group.text;
}

static void promise_7_whom_a_cut_took_stays_taken_by_any_rule(void **state)
{
	struct setting setting = setting_of(*state);

	set_member(&setting, 1, "198.18.0.1", true);
	begin_era(&setting);
	assert_int_equal(cohort_of(&setting, "198.18.0.1"), 1);
	cut(&setting, 0, 0);
	assert_int_equal(cohort_of(&setting, "198.18.0.1"), 0);
	set_member(&setting, 1, "198.18.0.1", false);
	set_member(&setting, 3, "198.18.0.1", true); /* of no rule */
	lab_publish(setting.lab);
	assert_int_equal(cohort_of(&setting, "198.18.0.1"), 0);
	lab_remove_rule(setting.service, 0);
	lab_publish(setting.lab);
	assert_int_equal(cohort_of(&setting, "198.18.0.1"), 0);
}

static void promise_6_a_client_that_comes_to_a_rule_after_its_cut_keeps_its_flows(void **state)
{
	struct setting setting = setting_of(*state);

	set_member(&setting, 1, "198.18.0.1", true);
	set_member(&setting, 2, "198.18.0.2", true);
	begin_era(&setting);
	cut(&setting, 0, 0);
	set_member(&setting, 1, "198.18.0.2", true);
	lab_publish(setting.lab);
	assert_int_equal(cohort_of(&setting, "198.18.0.1"), 0);
	assert_int_equal(cohort_of(&setting, "198.18.0.2"), 1);
	cut(&setting, 0, 0); /* now it is one of those */
	assert_int_equal(cohort_of(&setting, "198.18.0.2"), 0);
}

static void promise_6_whom_a_cut_kept_is_kept_by_any_rule(void **state)
{
	struct setting setting = setting_of(*state);
	char kept[ADDRESS_TEXT_SIZE], taken[ADDRESS_TEXT_SIZE];

	find_client(&setting, true, kept);
	find_client(&setting, false, taken);
	set_member(&setting, 1, kept, true);
	set_member(&setting, 1, taken, true);
	begin_era(&setting);
	cut(&setting, 0, KEPT);
	set_member(&setting, 1, kept, false);
	set_member(&setting, 1, taken, false);
	lab_publish(setting.lab);
	assert_int_equal(cohort_of(&setting, kept), 1);
	assert_int_equal(cohort_of(&setting, taken), 0);
}

/* By its group's hash it would be one that the cut kept. */
static void promise_7_whom_a_cut_took_is_not_given_back_by_a_group(void **state)
{
	struct setting setting = setting_of(*state);
	char taken[ADDRESS_TEXT_SIZE];
	struct prefix client;

	find_client(&setting, false, taken);
	client = prefix_of(taken);
	set_member(&setting, 1, taken, true);
	begin_era(&setting);
	cut(&setting, 0, KEPT);
	assert_int_equal(cohort_of(&setting, taken), 0);
	setting.service->shares[0][1] = 0; /* which is not a cut: whom it kept stays */
	lab_set_group(setting.lab, 1, &client, find_kept_group(&setting, taken));
	lab_publish(setting.lab);
	assert_int_equal(cohort_of(&setting, taken), 0);
}

/* And one that it was in when the rule was cut counts by that group's hash. */
static void promise_6_whom_a_cut_kept_by_its_group_is_kept(void **state)
{
	struct setting setting = setting_of(*state);
	char taken[ADDRESS_TEXT_SIZE];
	struct prefix client;

	find_client(&setting, false, taken);
	client = prefix_of(taken);
	set_member(&setting, 1, taken, true);
	begin_era(&setting);
	lab_set_group(setting.lab, 1, &client, find_kept_group(&setting, taken));
	lab_publish(setting.lab);
	cut(&setting, 0, KEPT);
	setting.service->shares[0][1] = 0;
	lab_publish(setting.lab);
	assert_int_equal(cohort_of(&setting, taken), 1);
}

static void promise_6_a_pinned_client_loses_nothing_to_a_cut_of_its_rule(void **state)
{
	struct setting setting = setting_of(*state);

	set_member(&setting, 1, "198.18.0.1", true);
	lab_add_pin(setting.service, "198.18.0.1", 1, PIN_FOREVER);
	begin_era(&setting);
	cut(&setting, 0, 0);
	set_member(&setting, 1, "198.18.0.1", false);
	set_member(&setting, 3, "198.18.0.1", true);
	lab_publish(setting.lab);
	assert_int_equal(cohort_of(&setting, "198.18.0.1"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(promise_7_whom_a_cut_took_stays_taken_by_any_rule),
		lab_test(promise_6_a_client_that_comes_to_a_rule_after_its_cut_keeps_its_flows),
		lab_test(promise_6_whom_a_cut_kept_is_kept_by_any_rule),
		lab_test(promise_7_whom_a_cut_took_is_not_given_back_by_a_group),
		lab_test(promise_6_whom_a_cut_kept_by_its_group_is_kept),
		lab_test(promise_6_a_pinned_client_loses_nothing_to_a_cut_of_its_rule),
	};

	return cmocka_run_group_tests_name("prog/segment_cut", tests, lab_setup_group,
					   lab_teardown_group);
}
