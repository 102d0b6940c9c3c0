// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rules over segments on the real program, against lists that are asked address by address: nested
 * and overlapping prefixes of both families, exact clients, mapped sources, groups; and the order
 * of what decides: killed, pinned, held out, the first rule that holds the client, the default.
 * Counters of rules and segments are exact.
 */
#include "affinity_clients.h"
#include "oracle.h"
#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SERVICES 4
#define MEMBERS	 900
#define GROUPS	 120 /* prefixes that are in one */
#define PINS	 12  /* at the most */
#define CLIENTS	 1500
#define COLUMNS	 2

struct expected {
	uint64_t token;
	uint32_t hash;
	uint8_t rule; /* or RULE_NONE */
	int cohort;
	enum reason reason;
};

struct counts {
	uint64_t decisions[SERVICES][STEER_REASONS];
	uint64_t rules[SERVICES][RULES_MAX + 1][COHORTS_MAX]; /* the last: of no rule */
	uint64_t segments[SEGMENTS_MAX];
};

struct setting {
	struct lab *lab;
	struct random random;
	uint8_t prefix4, prefix6; /* of clients of the box */
	struct client_lists lists;
	struct lab_service *services[SERVICES];
	bool killed[SERVICES];
};

static uint32_t below(struct setting *setting, uint32_t bound)
{
	return random_below(&setting->random, bound);
}

/* Few, that services name them and many prefixes are in one. */
static uint8_t random_segment(struct setting *setting)
{
	return 4 * below(setting, SEGMENTS_MAX / 4) + 3;
}

/* ---- who is where ---- */

/* Few enough bits that many are in one another. */
static struct prefix random_prefix(struct setting *setting)
{
	static const uint8_t lengths4[] = {11, 15, 16, 22, 24, 24, 27, 30, 31, 32, 32, 32};
	static const uint8_t lengths6[] = {20, 32, 44, 47, 48, 56, 61, 63, 64, 64, 96, 127, 128};
	struct prefix prefix = {.address.family = below(setting, 5) < 3 ? 4 : 6};
	uint8_t *bytes = prefix.address.bytes;

	if (prefix.address.family == 4) {
		prefix.length = lengths4[below(setting, sizeof(lengths4))];
		bytes[0] = 198;
		bytes[1] = 18 + below(setting, 2);
		bytes[2] = below(setting, 6);
		bytes[3] = below(setting, 256);
	} else {
		prefix.length = lengths6[below(setting, sizeof(lengths6))];
		memcpy(bytes, "\x20\x01\x0d\xb8", 4);
		bytes[5] = below(setting, 6);
		bytes[7] = below(setting, 256);
		bytes[8] = below(setting, 2) << 7;
		bytes[15] = below(setting, 16);
	}
	prefix = prefix_shorten(&prefix, prefix.length, prefix.length);
	return prefix_shorten(&prefix, setting->prefix4, setting->prefix6);
}

static void fill_lists(struct setting *setting)
{
	int i;

	for (i = 0; i < MEMBERS; i++) {
		struct client_member member = {random_prefix(setting), random_segment(setting)};

		client_lists_add_member(&setting->lists, &member);
		lab_add_member(setting->lab, member.segment, &member.client);
	}
	for (i = 0; i < GROUPS; i++) {
		struct client_group group = {random_prefix(setting), 1 + below(setting, COLUMNS),
					     1 + below(setting, LAB_TEXTS)};

		client_lists_set_group(&setting->lists, &group);
		lab_set_group(setting->lab, group.column, &group.client, group.text);
	}
}

/* ---- services ---- */

static void add_pins(struct setting *setting, struct lab_service *service)
{
	char text[ADDRESS_TEXT_SIZE];
	int i;
	size_t known;

	for (i = 0; i < PINS; i++) {
		struct prefix client = random_prefix(setting);

		client =
			prefix_shorten(&client, service->service.prefix4, service->service.prefix6);
		for (known = 0; known < service->pins_count; known++)
			if (prefix_equal(&service->pins[known].client, &client))
				break;
		/* None is for nearly all. */
		if (known == service->pins_count &&
		    client.length >= (client.address.family == 4 ? 24 : 48) && below(setting, 2))
			lab_add_pin(service, prefix_format(&client, text),
				    below(setting, service->service.cohorts_count), PIN_FOREVER);
	}
}

static void add_vips(struct lab_service *service, unsigned int number)
{
	char vip[64];

	snprintf(vip, sizeof(vip), "192.0.2.%u:80/tcp", number + 1);
	lab_add_vip(service, vip);
	snprintf(vip, sizeof(vip), "[2001:db8:ffff::%u]:80/tcp", number + 1);
	lab_add_vip(service, vip);
}

static struct lab_service *add_service(struct setting *setting, unsigned int number)
{
	static const size_t rules[SERVICES] = {15, 6, 0, 3};
	char name[16], backend[32];
	struct lab_service *service;
	size_t i, cohort;

	snprintf(name, sizeof(name), "service-%u", number);
	service = lab_add_service(setting->lab, name, STEER_L2);
	add_vips(service, number);
	lab_set_cohorts(service, 2 + number % 3);
	for (cohort = 0; cohort < service->service.cohorts_count; cohort++) {
		snprintf(backend, sizeof(backend), "10.%u.%zu.1", number, cohort);
		lab_add_backend(service, cohort, backend, 100, LAB_INGRESS);
	}
	service->service.holdout_ppm = number % 2 ? 100000 : 0;
	service->service.prefix4 = number == 1 || setting->prefix4 < 32 ? 24 : 32;
	service->service.prefix6 = number == 1 ? 48 : setting->prefix6;
	service->group_column = number == 1 ? 0 : 1 + number % COLUMNS;
	for (i = 0; i < rules[number]; i++)
		lab_add_rule(service, i, 1 + i, random_segment(setting));
	for (i = 0; i < service->service.rules_count; i++)
		for (cohort = 1; cohort < service->service.cohorts_count; cohort++)
			service->shares[i][cohort] =
				below(setting, service->service.cohorts[cohort].slot_ppm + 1);
	add_pins(setting, service);
	return service;
}

/* ---- what is expected ---- */

static int pinned_cohort(const struct lab_service *service, const struct address *client)
{
	int longest = -1, cohort = -1;
	size_t i;

	for (i = 0; i < service->pins_count; i++)
		if (service->pins[i].client.length > longest &&
		    prefix_holds(&service->pins[i].client, client)) {
			longest = service->pins[i].client.length;
			cohort = service->pins[i].cohort;
		}
	return cohort;
}

static int cohort_of_rule(const struct lab_service *service, uint8_t rule, uint32_t hash)
{
	struct oracle_slot slots[CANARIES_MAX];
	size_t i;

	for (i = 1; i < service->service.cohorts_count; i++)
		slots[i - 1] = (struct oracle_slot){service->service.cohorts[i].slot_start_ppm,
						    service->service.cohorts[i].slot_ppm,
						    service->shares[rule][i]};
	return oracle_cohort(hash, slots, service->service.cohorts_count - 1);
}

static struct expected expect(const struct setting *setting, unsigned int number,
			      const struct address *client)
{
	const struct lab_service *service = setting->services[number];
	uint64_t token = client_token(&setting->lists, service, client);
	struct expected expected = {token, oracle_hash(token, service->service.salt), RULE_NONE, 0,
				    REASON_KILLED};
	int pinned = pinned_cohort(service, client);

	if (setting->killed[number])
		return expected;
	expected.reason = REASON_OVERRIDE;
	expected.cohort = pinned;
	if (pinned >= 0)
		return expected;
	expected.reason = REASON_HOLDOUT;
	expected.cohort = 0;
	if (oracle_hash(token, "xdp-canary/holdout") <
	    oracle_threshold(service->service.holdout_ppm))
		return expected;
	expected.rule = client_rule(&setting->lists, service, client);
	expected.cohort = cohort_of_rule(service, expected.rule, expected.hash);
	expected.reason =
		expected.rule + 1u == service->service.rules_count ? REASON_DEFAULT : REASON_RULE;
	return expected;
}

/* ---- asked ---- */

/* By @steps addresses beyond the first or last one. */
static void step_beyond(struct address *address, int steps)
{
	int size = address->family == 4 ? 4 : 16, i, carry = steps;

	for (i = size - 1; i >= 0 && carry; i--) {
		int sum = address->bytes[i] + carry;

		address->bytes[i] = sum;
		carry = sum < 0 ? -1 : sum > 255;
	}
}

/* In one of the prefixes, at its border, or just beyond it; or anywhere. */
static struct address random_client(struct setting *setting)
{
	const struct client_lists *lists = &setting->lists;
	const struct prefix *prefix =
		below(setting, 4) ? &lists->members[below(setting, MEMBERS)].client
				  : &lists->groups[below(setting, lists->groups_count)].client;
	struct address first = prefix->address, last = first, any;
	int size = first.family == 4 ? 4 : 16, bit;

	any = random_address(&setting->random, first.family);
	for (bit = prefix->length; bit < size * 8; bit++)
		last.bytes[bit / 8] |= 0x80 >> bit % 8;
	for (bit = 0; bit < size; bit++)
		any.bytes[bit] =
			first.bytes[bit] | (any.bytes[bit] & (first.bytes[bit] ^ last.bytes[bit]));
	switch (below(setting, 6)) {
	case 0:
		return first;
	case 1:
		return last;
	case 2:
		step_beyond(&first, -1);
		return first;
	case 3:
		step_beyond(&last, 1);
		return last;
	case 4:
		return random_prefix(setting).address;
	default:
		return any;
	}
}

/* An IPv4 client may come as a mapped one. */
static struct packet_plan packet_of(struct setting *setting, unsigned int number,
				    const struct address *client)
{
	char vip4[32], vip6[32];
	struct packet_plan plan;
	bool is_mapped = client->family == 4 && !below(setting, 3);

	snprintf(vip4, sizeof(vip4), "192.0.2.%u", number + 1);
	snprintf(vip6, sizeof(vip6), "2001:db8:ffff::%u", number + 1);
	if (client->family == 4 && !is_mapped)
		plan = packet_tcp("198.18.0.1", 40000, vip4, 80);
	else
		plan = packet_tcp("2001:db8::1", 40000, vip6, 80);
	plan.source = *client;
	if (is_mapped) {
		plan.source = (struct address){.family = 6, .bytes = {[10] = 0xff, [11] = 0xff}};
		memcpy(plan.source.bytes + 12, client->bytes, 4);
	}
	return plan;
}

static void ask(struct setting *setting, unsigned int number, struct counts *counts)
{
	const struct lab_service *service = setting->services[number];
	struct address client = random_client(setting);
	struct packet_plan plan = packet_of(setting, number, &client);
	struct expected expected = expect(setting, number, &client);
	struct explanation told = lab_explain(setting->lab, &plan);
	char text[ADDRESS_TEXT_SIZE];
	struct run run;

	if (told.rule != expected.rule || told.token != expected.token)
		fail_msg("%s: rule %u instead of %u, token %llx instead of %llx",
			 address_format(&client, text), told.rule, expected.rule,
			 (unsigned long long)told.token, (unsigned long long)expected.token);
	assert_int_equal(told.hash, expected.hash);
	assert_int_equal(told.decision, expected.reason);
	assert_int_equal(told.cohort, expected.cohort);
	lab_run_plan(setting->lab, &plan, &run);
	assert_int_equal(lab_cohort_of(&run), expected.cohort);
	counts->decisions[number][expected.reason]++;
	counts->rules[number][expected.rule == RULE_NONE ? RULES_MAX : expected.rule]
		     [expected.cohort]++;
	if (expected.reason == REASON_RULE)
		counts->segments[service->rule_segments[expected.rule]]++;
}

/* What the program has counted since; from 0, @add -1 takes it off. */
static void add_counters(const struct setting *setting, struct counts *counts, int add)
{
	unsigned int number, i;
	size_t cohort;

	for (number = 0; number < SERVICES; number++) {
		const struct lab_service *service = setting->services[number];
		struct decision_counter decided = lab_decision_counter(setting->lab, service);

		for (i = 0; i < STEER_REASONS; i++)
			counts->decisions[number][i] += add * decided.packets[i];
		for (i = 0; i <= service->service.rules_count; i++)
			for (cohort = 0; cohort < service->service.cohorts_count; cohort++) {
				bool none = i == service->service.rules_count;

				counts->rules[number][none ? RULES_MAX : i][cohort] +=
					add * lab_rule_counter(setting->lab, service,
							       none ? RULE_NONE : i, cohort)
						      .packets;
			}
	}
	for (i = 0; i < SEGMENTS_MAX; i++)
		counts->segments[i] += add * lab_segment_counter(setting->lab, i);
}

static void ask_many(struct setting *setting)
{
	static struct counts expected, counted;
	unsigned int i, number;
	uint64_t by_rules = 0;

	memset(&expected, 0, sizeof(expected));
	memset(&counted, 0, sizeof(counted));
	add_counters(setting, &counted, -1);
	for (i = 0; i < CLIENTS; i++)
		for (number = 0; number < SERVICES; number++)
			ask(setting, number, &expected);
	add_counters(setting, &counted, 1);
	assert_memory_equal(&expected, &counted, sizeof(counted));
	for (i = 0; i < SEGMENTS_MAX; i++)
		by_rules += expected.segments[i];
	assert_in_range(by_rules, CLIENTS / 4, SERVICES * CLIENTS); /* or little was tested */
}

static void agree_on_clients_of(struct lab *lab, uint8_t prefix4, uint8_t prefix6, const char *test)
{
	struct setting setting = {
		.lab = lab, .random = random_seeded(test), .prefix4 = prefix4, .prefix6 = prefix6};
	unsigned int i;

	lab->clients.prefix4 = prefix4;
	lab->clients.prefix6 = prefix6;
	fill_lists(&setting);
	for (i = 0; i < SERVICES; i++)
		setting.services[i] = add_service(&setting, i);
	lab_publish(lab);
	ask_many(&setting);
	service_kill(lab->datapath, setting.services[3]->slot);
	setting.killed[3] = true;
	ask_many(&setting);
	client_lists_release(&setting.lists);
}

static void the_first_rule_whose_segment_holds_the_client_decides(void **state)
{
	agree_on_clients_of(*state, 32, 64, __func__);
}

static void prefixes_of_clients_decide_where_none_is_longer(void **state)
{
	agree_on_clients_of(*state, 24, 48, __func__);
}

static void whole_ipv6_addresses_are_told_apart(void **state)
{
	agree_on_clients_of(*state, 32, 128, __func__);
}

/* Of those that never see a canary, when they are half of all. */
static struct prefix held_out_client(const struct lab_service *service)
{
	static const struct client_lists nobody;
	struct prefix client = prefix_of("198.18.0.0");

	while (oracle_hash(client_token(&nobody, service, &client.address), "xdp-canary/holdout") >=
	       oracle_threshold(500000))
		client.address.bytes[3]++;
	return client;
}

/* One client of whom everything holds: what decides is taken away from the top. */
static void what_decides_goes_before_the_rules_in_its_order(void **state)
{
	struct lab *lab = *state;
	struct lab_service *service = lab_add_usual(lab, STEER_L2, 4);
	const struct prefix client = held_out_client(service), net = prefix_of("198.18.0.0/24");
	struct packet_plan plan = packet_tcp("198.18.0.0", 40000, LAB_VIP4, 80);
	char text[ADDRESS_TEXT_SIZE];
	static const struct {
		enum reason reason;
		uint8_t rule, cohort;
	} expected[] = {
		{REASON_KILLED, RULE_NONE, 0},
		{REASON_OVERRIDE, RULE_NONE, 1},
		{REASON_HOLDOUT, RULE_NONE, 0},
		{REASON_RULE, 0, 1},
		{REASON_RULE, 1, 0},
		{REASON_DEFAULT, 2, 1},
	};
	size_t i;

	plan.source = client.address;
	lab_add_member(lab, 17, &client);
	lab_add_member(lab, 63, &net);
	lab_add_rule(service, 0, 1, 17);
	lab_add_rule(service, 1, 2, 63);
	service->shares[0][1] = service->shares[2][1] = 1000000;
	lab_add_pin(service, prefix_format(&client, text), 1, PIN_FOREVER);
	service->service.holdout_ppm = 500000;
	lab_publish(lab);
	service_kill(lab->datapath, service->slot);
	for (i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		struct explanation told = lab_explain(lab, &plan);

		assert_int_equal(told.decision, expected[i].reason);
		assert_int_equal(told.rule, expected[i].rule);
		assert_int_equal(told.cohort, expected[i].cohort);
		if (i == 0)
			service_lift_kill(lab->datapath, service->slot,
					  service_kills(lab->datapath, service->slot));
		if (i == 1)
			service->pins_count = 0;
		if (i == 2)
			service->service.holdout_ppm = 0;
		if (i == 3)
			lab_remove_member(lab, 17, &client);
		if (i == 4)
			lab_remove_member(lab, 63, &net);
		lab_publish(lab);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(the_first_rule_whose_segment_holds_the_client_decides),
		lab_test(prefixes_of_clients_decide_where_none_is_longer),
		lab_test(whole_ipv6_addresses_are_told_apart),
		lab_test(what_decides_goes_before_the_rules_in_its_order),
	};

	return cmocka_run_group_tests_name("prog/segment_decision", tests, lab_setup_group,
					   lab_teardown_group);
}
