// SPDX-License-Identifier: GPL-2.0-only
/* What config_diff() says about two policies: paths by name, both sides, nothing else. */
#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define HEAD                                                                                       \
	"version: 1\n"                                                                             \
	"services:\n"                                                                              \
	"- name: api\n"                                                                            \
	"  steer: l2\n"

#define VIPS   "  vips: [ 192.0.2.10:443/tcp ]\n"
#define STABLE "  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"
#define CANARY "  - { name: canary, backends: [ { address: 10.0.2.11 } ] }\n"
#define BASE   HEAD VIPS "  cohorts:\n" STABLE CANARY

static struct policy *parse(const char *text)
{
	struct errors *errors = errors_new();
	struct policy *policy = config_parse(text, strlen(text), "test.yaml", errors);

	if (!policy)
		errors_print(errors, stderr);
	assert_non_null(policy);
	errors_free(errors);
	return policy;
}

static json_t *diff(const char *before, const char *after)
{
	struct policy *left = parse(before), *right = parse(after);
	json_t *differences = config_diff(left, right);

	policy_free(left);
	policy_free(right);
	assert_non_null(differences);
	return differences;
}

/* @expected is JSON in single quotes. */
static void assert_diff(const char *before, const char *after, const char *expected)
{
	char *text = strdup(expected), *found;
	json_t *differences = diff(before, after), *wanted;

	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	wanted = json_loads(text, 0, NULL);
	assert_non_null(wanted);
	found = json_dumps(differences, JSON_COMPACT);
	if (!json_equal(differences, wanted))
		print_error("found %s\nnot   %s\n", found, text);
	assert_true(json_equal(differences, wanted));
	json_decref(wanted);
	json_decref(differences);
	free(found);
	free(text);
}

static void equal_policies_have_no_differences(void **state)
{
	(void)state;
	assert_diff("version: 1\n", "version: 1\n", "[]");
	assert_diff(BASE, BASE, "[]");
}

static void a_default_that_is_written_out_is_no_difference(void **state)
{
	(void)state;
	assert_diff(BASE,
		    HEAD VIPS
		    "  enforce: true\n"
		    "  release: ''\n"
		    "  client: { key: source, prefix4: 32, prefix6: 64 }\n"
		    "  hash: xdp-canary\n"
		    "  holdout: 0ppm\n"
		    "  balance: flow\n"
		    "  affinity: { drain: 60m, udp_drain: 30s, on_rollback: cut }\n"
		    "  cohorts:\n"
		    "  - { name: stable, backends: [ { address: 10.0.1.11, weight: 100 } ] }\n"
		    "  - { name: canary, slot: 100%, backends: [ { address: 10.0.2.11 } ] }\n"
		    "  rules: [ { name: default, default: true, allocate: { canary: 0% } } ]\n"
		    "limits: { services: 1024, vips: 8192, backends: 65536, transition_flows: "
		    "131072 }\n"
		    "metrics: { listen: '127.0.0.1:9977' }\n",
		    "[]");
}

static void a_changed_value_gives_both_sides(void **state)
{
	(void)state;
	assert_diff(BASE, BASE "  holdout: 1%\n",
		    "[{'path':'services/api/holdout','before':'0%','after':'1%'}]");
	assert_diff(BASE, BASE "  salt: a\n",
		    "[{'path':'services/api/salt','before':null,'after':'a'}]");
	assert_diff(BASE "  enforce: false\n", BASE,
		    "[{'path':'services/api/enforce','before':false,'after':true}]");
	assert_diff(BASE, BASE "  client: { prefix4: 24 }\n",
		    "[{'path':'services/api/client/prefix4','before':32,'after':24}]");
	assert_diff("version: 1\n",
		    "version: 1\n"
		    "secret_file: /a\n"
		    "metrics: { listen: off }\n"
		    "limits: { vips: 5, transition_flows: 64 }\n",
		    "[{'path':'secret_file','before':null,'after':'/a'},"
		    "{'path':'metrics/listen','before':'127.0.0.1:9977','after':'off'},"
		    "{'path':'limits/vips','before':8192,'after':5},"
		    "{'path':'limits/transition_flows','before':131072,'after':64}]");
	assert_diff(BASE "  affinity: { on_rollback: drain }\n",
		    BASE "  affinity: { drain: 90m, udp_drain: 5s }\n",
		    "[{'path':'services/api/affinity/drain','before':'1h','after':'1h30m'},"
		    "{'path':'services/api/affinity/udp_drain','before':'30s','after':'5s'},"
		    "{'path':'services/api/affinity/on_rollback','before':'drain','after':'cut'}]");
}

#define UDP "  vips: [ 192.0.2.10:443/udp ]\n"
#define IDS(first, second)                                                                         \
	"  cohorts:\n"                                                                             \
	"  - { name: stable, backends: [ { address: 10.0.1.11, server_id: " first " } ] }\n"       \
	"  - { name: canary, backends: [ { address: 10.0.2.11, server_id: " second " } ] }\n"
#define QUIC	HEAD UDP "  client: { key: quic, quic_cid_length: 8 }\n"
#define PAYLOAD HEAD UDP "  client: { key: payload, payload_offset: 0, payload_length: 4 }\n"

static void a_server_id_that_changes_is_a_difference_of_its_backend(void **state)
{
	(void)state;
	assert_diff(QUIC IDS("0001", "0002"), QUIC IDS("0001", "0200"),
		    "[{'path':'services/api/cohorts/canary/backends/10.0.2.11/server_id',"
		    "'before':'0002','after':'0200'}]");
	assert_diff(QUIC IDS("000a", "000b"), QUIC IDS("'000A'", "000B"), "[]");
}

static void values_that_another_client_key_does_not_have_are_null(void **state)
{
	(void)state;
	assert_diff(HEAD UDP "  cohorts:\n" STABLE CANARY, PAYLOAD "  cohorts:\n" STABLE CANARY,
		    "[{'path':'services/api/client/key','before':'source','after':'payload'},"
		    "{'path':'services/api/client/payload_offset','before':null,'after':0},"
		    "{'path':'services/api/client/payload_length','before':null,'after':4}]");
	assert_diff(PAYLOAD "  cohorts:\n" STABLE CANARY, QUIC IDS("0001", "0002"),
		    "[{'path':'services/api/client/key','before':'payload','after':'quic'},"
		    "{'path':'services/api/client/quic_cid_length','before':null,'after':8},"
		    "{'path':'services/api/client/quic_server_id_offset','before':null,'after':1},"
		    "{'path':'services/api/client/quic_server_id_length','before':null,'after':2},"
		    "{'path':'services/api/client/payload_offset','before':0,'after':null},"
		    "{'path':'services/api/client/payload_length','before':4,'after':null},"
		    "{'path':'services/api/cohorts/stable/backends/10.0.1.11/server_id',"
		    "'before':null,'after':'0001'},"
		    "{'path':'services/api/cohorts/canary/backends/10.0.2.11/server_id',"
		    "'before':null,'after':'0002'}]");
}

static void a_backend_goes_by_its_address(void **state)
{
	(void)state;
	assert_diff(
		BASE,
		HEAD VIPS
		"  cohorts:\n" STABLE "  - name: canary\n"
		"    backends: [ { address: 10.0.2.11, weight: 50, mac: '02:00:00:00:00:01' } ]\n",
		"[{'path':'services/api/cohorts/canary/backends/10.0.2.11/weight',"
		"'before':100,'after':50},"
		"{'path':'services/api/cohorts/canary/backends/10.0.2.11/mac',"
		"'before':null,'after':'02:00:00:00:00:01'}]");
}

static void a_list_of_backends_that_grows_gives_its_lengths(void **state)
{
	(void)state;
	assert_diff(BASE,
		    HEAD VIPS
		    "  cohorts:\n" STABLE "  - name: canary\n"
		    "    backends: [ { address: 10.0.2.12, weight: 5 }, { address: 10.0.2.11 } ]\n",
		    "[{'path':'services/api/cohorts/canary/backends','before':1,'after':2},"
		    "{'path':'services/api/cohorts/canary/backends/10.0.2.12',"
		    "'before':null,'after':{'address':'10.0.2.12','weight':5}}]");
	assert_diff(BASE,
		    HEAD VIPS "  cohorts:\n" STABLE
			      "  - { name: canary, backends: [ { address: 10.0.2.12 } ] }\n",
		    "[{'path':'services/api/cohorts/canary/backends/10.0.2.11',"
		    "'before':{'address':'10.0.2.11'},'after':null},"
		    "{'path':'services/api/cohorts/canary/backends/10.0.2.12',"
		    "'before':null,'after':{'address':'10.0.2.12'}}]");
}

static void what_comes_or_goes_is_one_difference(void **state)
{
	(void)state;
	assert_diff("version: 1\n", BASE,
		    "[{'path':'services/api','before':null,'after':{'name':'api',"
		    "'vips':['192.0.2.10:443/tcp'],'steer':'l2','cohorts':["
		    "{'name':'stable','backends':[{'address':'10.0.1.11'}]},"
		    "{'name':'canary','backends':[{'address':'10.0.2.11'}]}]}}]");
	assert_diff(
		"version: 1\ninterfaces: [ { name: eth0, mode: auto } ]\n",
		"version: 1\ninterfaces: [ { name: eth1 } ]\n",
		"[{'path':'interfaces/eth0','before':{'name':'eth0','mode':'auto'},'after':null},"
		"{'path':'interfaces/eth1','before':null,'after':{'name':'eth1'}}]");
	assert_diff(BASE,
		    HEAD "  vips: [ 192.0.2.10:443/tcp, 192.0.2.10:*/udp ]\n"
			 "  cohorts:\n" STABLE CANARY,
		    "[{'path':'services/api/vips/192.0.2.10:*/udp',"
		    "'before':null,'after':'192.0.2.10:*/udp'}]");
}

static void a_cohort_that_comes_tells_whose_slot_shrinks(void **state)
{
	(void)state;
	assert_diff(BASE, BASE "  - { name: next }\n",
		    "[{'path':'services/api/cohorts/canary/slot','before':'100%','after':'50%'},"
		    "{'path':'services/api/cohorts/next','before':null,'after':{'name':'next'}}]");
}

static void shares_go_by_rule_and_cohort(void **state)
{
	(void)state;
	assert_diff(BASE, BASE "  rules: [ { default: true, allocate: { canary: 5% } } ]\n",
		    "[{'path':'services/api/rules/default/allocate/canary',"
		    "'before':'0%','after':'5%'}]");
	assert_diff(BASE, BASE "  rules: [ { name: all, default: true } ]\n",
		    "[{'path':'services/api/rules/default','before':{'default':true},'after':null},"
		    "{'path':'services/api/rules/all','before':null,"
		    "'after':{'name':'all','default':true}}]");
}

static void another_order_is_a_difference_of_the_list(void **state)
{
	(void)state;
	assert_diff(BASE, HEAD VIPS "  cohorts:\n" CANARY STABLE,
		    "[{'path':'services/api/cohorts','before':['stable','canary'],"
		    "'after':['canary','stable']},"
		    "{'path':'services/api/cohorts/stable/slot','before':'0%','after':'100%'},"
		    "{'path':'services/api/cohorts/canary/slot','before':'100%','after':'0%'}]");
	assert_diff("version: 1\ninterfaces: [ { name: a }, { name: b }, { name: c } ]\n",
		    "version: 1\ninterfaces: [ { name: c }, { name: b } ]\n",
		    "[{'path':'interfaces','before':['a','b','c'],'after':['c','b']},"
		    "{'path':'interfaces/a','before':{'name':'a'},'after':null}]");
}

/* ---- a property, over all pairs of many small configurations ---- */

static size_t pick(size_t *choices, size_t count)
{
	size_t choice = *choices % count;

	*choices /= count;
	return choice;
}

/* The configuration number @number; neighbours differ in one thing or nothing. */
static char *small_config(size_t number)
{
	static const char *const interfaces[] = {
		"", "interfaces: [ { name: a }, { name: b } ]\n",
		"interfaces: [ { name: b }, { name: a, mode: native } ]\n"};
	static const char *const tails[] = {"", "  release: ''\n  affinity: { drain: 60m }\n",
					    "  affinity: { drain: 61m }\n"};
	static const char *const vips[] = {"  vips: [ 1.1.1.1:1/tcp, 1.1.1.2:1/tcp ]\n",
					   "  vips: [ 1.1.1.2:1/tcp, 1.1.1.1:1/tcp ]\n"};
	static const char *const stables[] = {
		"  - { name: s, backends: [ { address: 10.0.0.1 }, { address: 10.0.0.2 } ] }\n",
		"  - { name: s, backends: [ { address: 10.0.0.2 }, { address: 10.0.0.1 } ] }\n"};
	static const char *const canaries[] = {
		"  - { name: a, backends: [ { address: 10.0.0.3 } ] }\n  - { name: b }\n",
		"  - { name: b }\n  - { name: a, backends: [ { address: 10.0.0.3 } ] }\n",
		"  - { name: a, slot: 50%, backends: [ { address: 10.0.0.3 } ] }\n  - { name: b "
		"}\n",
		"  - { name: a, slot: 40%, backends: [ { address: 10.0.0.3 } ] }\n  - { name: b "
		"}\n"};
	static const char *const rules[] = {
		"", "  rules: []\n", "  rules: [ { default: true, allocate: { a: 0% } } ]\n",
		"  rules: [ { default: true, allocate: { a: 1% } } ]\n"};
	char *text;

	if (asprintf(&text,
		     "version: 1\n%sservices:\n- name: x\n  steer: l2\n%s%s  cohorts:\n%s%s%s",
		     interfaces[pick(&number, COUNT(interfaces))],
		     tails[pick(&number, COUNT(tails))], vips[pick(&number, COUNT(vips))],
		     stables[pick(&number, COUNT(stables))],
		     canaries[pick(&number, COUNT(canaries))],
		     rules[pick(&number, COUNT(rules))]) < 0)
		return NULL;
	return text;
}

static void there_are_no_differences_exactly_where_the_trees_are_equal(void **state)
{
	enum { CONFIGS = 3 * 3 * 2 * 2 * 4 * 4 };
	static struct policy *policies[CONFIGS];
	static json_t *trees[CONFIGS];

	(void)state;
	for (size_t i = 0; i < CONFIGS; i++) {
		char *text = small_config(i);

		policies[i] = parse(text);
		trees[i] = config_to_json(policies[i]);
		free(text);
	}
	for (size_t i = 0; i < CONFIGS; i++) {
		for (size_t j = 0; j < CONFIGS; j++) {
			json_t *differences = config_diff(policies[i], policies[j]);

			assert_int_equal(json_array_size(differences) == 0,
					 json_equal(trees[i], trees[j]));
			json_decref(differences);
		}
	}
	for (size_t i = 0; i < CONFIGS; i++) {
		json_decref(trees[i]);
		policy_free(policies[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_policies_have_no_differences),
		cmocka_unit_test(a_default_that_is_written_out_is_no_difference),
		cmocka_unit_test(a_changed_value_gives_both_sides),
		cmocka_unit_test(a_server_id_that_changes_is_a_difference_of_its_backend),
		cmocka_unit_test(values_that_another_client_key_does_not_have_are_null),
		cmocka_unit_test(a_backend_goes_by_its_address),
		cmocka_unit_test(a_list_of_backends_that_grows_gives_its_lengths),
		cmocka_unit_test(what_comes_or_goes_is_one_difference),
		cmocka_unit_test(a_cohort_that_comes_tells_whose_slot_shrinks),
		cmocka_unit_test(shares_go_by_rule_and_cohort),
		cmocka_unit_test(another_order_is_a_difference_of_the_list),
		cmocka_unit_test(there_are_no_differences_exactly_where_the_trees_are_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
