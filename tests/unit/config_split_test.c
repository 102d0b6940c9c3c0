// SPDX-License-Identifier: GPL-2.0-only
/*
 * A service with another tool's hash: which keys go with which hash, what the rest of the service
 * means then, which shares can be told to the tool, and that `get` gives back what `apply` takes.
 */
#include "config_fixture.h"

#include "policy/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NGINX	GOOD "  hash: nginx\n"
#define HAPROXY GOOD "  hash: haproxy-crc32\n"
#define NFT	GOOD "  hash: nft-jhash\n"

#define THREE                                                                                      \
	SERVICE "  cohorts:\n"                                                                     \
		"  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"                     \
		"  - { name: canary, backends: [ { address: 10.0.2.11 } ] }\n"                     \
		"  - { name: next, backends: [ { address: 10.0.3.11 } ] }\n"

/* ---- what is refused ---- */

static const struct bad an_option_of_another_hash_is_refused[] = {
	{GOOD "  hash: ngnix\n", {{9, 9, "services/api/hash", "did you mean nginx?"}}},
	{GOOD "  hash: envoy\n",
	 {{9, 9, "services/api/hash", "give xdp-canary or nginx or haproxy-crc32 or nft-jhash"}}},
	{GOOD "  hash_options: { modulus: 100, seed: 0, order: [ stable, canary ] }\n",
	 {{9, 28, "services/api/hash_options/modulus", "which tool's `hash`"},
	  {9, 39, "services/api/hash_options/seed", "goes with `hash: nft-jhash` only"},
	  {9, 49, "services/api/hash_options/order", "the hashes of other tools"}}},
	{NGINX "  hash_options: { modulus: 100, seed: 0 }\n",
	 {{10, 28, "services/api/hash_options/modulus", "goes with `hash: haproxy-crc32` and"},
	  {10, 39, "services/api/hash_options/seed", "goes with `hash: nft-jhash` only"}}},
	{HAPROXY "  hash_options: { seed: 1 }\n",
	 {{10, 25, "services/api/hash_options/seed", "goes with `hash: nft-jhash` only"}}},
	{NFT "  hash_options: { modulus: 0 }\n",
	 {{10, 28, "services/api/hash_options/modulus", "from 1 to 65536"}}},
	{NFT "  hash_options: { modulus: 65537, seed: 4294967296 }\n",
	 {{10, 28, "services/api/hash_options/modulus", "from 1 to 65536"},
	  {10, 41, "services/api/hash_options/seed", "from 0 to 4294967295"}}},
	{NFT "  hash_options: { sede: 1 }\n",
	 {{10, 19, "services/api/hash_options/sede", "did you mean seed?"}}},
	{NFT "  hash_options: 100\n",
	 {{10, 17, "services/api/hash_options", "must not be a single value"}}},
};

static const struct bad what_has_no_meaning_with_the_hash_is_refused[] = {
	{NGINX "  salt: a\n", {{10, 9, "services/api/salt", "`hash: nginx` has none"}}},
	{NFT "  salt: a\n", {{10, 9, "services/api/salt", "`hash: nft-jhash` has none"}}},
	{NGINX "  client: { key: flow }\n",
	 {{10, 18, "services/api/client/key", "is of source addresses"}}},
	{SERVICE_AT("192.0.2.10:443/udp") COHORTS
	 "  hash: haproxy-crc32\n"
	 "  client: { key: payload, payload_offset: 0, payload_length: 4 }\n",
	 {{10, 18, "services/api/client/key", "is of source addresses"}}},
	{NGINX "  client: { group_by: app }\n",
	 {{10, 23, "services/api/client/group_by", "not of a group's name"}}},
	{NGINX "  client: { prefix4: 31, prefix6: 127 }\n",
	 {{10, 22, "services/api/client/prefix4", "nginx hashes whole addresses"},
	  {10, 35, "services/api/client/prefix6", "nginx hashes whole addresses"}}},
	{SERVICE "  cohorts:\n"
		 "  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"
		 "  - { name: canary, slot: 100%, backends: [ { address: 10.0.2.11 } ] }\n"
		 "  hash: nft-jhash\n",
	 {{8, 27, "services/api/cohorts/canary/slot", "the parts of nft-jhash shift"}}},
};

static const struct bad an_order_names_every_cohort_once[] = {
	{NGINX "  hash_options: { order: [ canary ] }\n",
	 {{10, 26, "services/api/hash_options/order", "cohort stable is missing"}}},
	{NGINX "  hash_options: { order: [] }\n",
	 {{10, 26, "services/api/hash_options/order", "cohort stable is missing"},
	  {10, 26, "services/api/hash_options/order", "cohort canary is missing"}}},
	{NGINX "  hash_options: { order: [ stable, canery ] }\n",
	 {{10, 36, "services/api/hash_options/order/canery", "did you mean canary?"}}},
	{NGINX "  hash_options: { order: [ stable, blue ] }\n",
	 {{10, 36, "services/api/hash_options/order/blue", "is no cohort"}}},
	{NGINX "  hash_options: { order: [ canary, stable, canary ] }\n",
	 {{10, 44, "services/api/hash_options/order/canary", "stands at test.yaml:10:28"}}},
	{NGINX "  hash_options: { order: [ stable, Canary ] }\n",
	 {{10, 36, "services/api/hash_options/order[1]", "is not a name"}}},
	{NGINX "  hash_options: { order: canary }\n",
	 {{10, 26, "services/api/hash_options/order", "must not be a single value"}}},
	{NGINX "  hash_options: { order: [ a, b, c, d, e ] }\n",
	 {{10, 26, "services/api/hash_options/order", "can have 4 items, has 5"}}},
};

#define RULES(share) "  rules: [ { default: true, allocate: { canary: " share " } } ]\n"

static const struct bad a_share_that_the_tool_cannot_be_told_is_refused[] = {
	{NGINX RULES("0.001%"),
	 {{10, 49, "services/api/rules[0]/allocate/canary", "give 0% or 0.01%"}}},
	{NGINX RULES("12.345%"),
	 {{10, 49, "services/api/rules[0]/allocate/canary", "finer than the 0.01% of nginx"}}},
	{HAPROXY RULES("5.5%"),
	 {{10, 49, "services/api/rules[0]/allocate/canary", "no multiple of 1/100"}}},
	{HAPROXY RULES("5.5%"),
	 {{10, 49, "services/api/rules[0]/allocate/canary", "give 5% or 6%"}}},
	{NFT "  hash_options: { modulus: 3 }\n" RULES("50%"),
	 {{11, 49, "services/api/rules[0]/allocate/canary", "give 33.3333% or 66.6666%"}}},
	/* Slots do not limit it, but the whole does. */
	{THREE "  hash: nginx\n"
	       "  rules: [ { default: true, allocate: { canary: 60%, next: 50% } } ]\n",
	 {{11, 39, "services/api/rules[0]/allocate", "more than 100% together"}}},
};

/* ---- what the rest means ---- */

static void addresses_are_hashed_whole_unless_the_tool_masks_them(void **state)
{
	static const struct {
		const char *text;
		uint8_t prefix4, prefix6;
	} cases[] = {
		{GOOD, 32, 64},
		{NGINX, 32, 128},
		{NGINX "  client: { prefix4: 32, prefix6: 128 }\n", 32, 128},
		{HAPROXY, 32, 128},
		{NFT "  client: { prefix4: 24 }\n", 24, 128},
		{HAPROXY "  client: { prefix4: 24, prefix6: 64 }\n", 24, 64},
		{GOOD "  client: { prefix6: 64 }\n", 32, 64},
		{GOOD "  client: { prefix6: 128 }\n", 32, 128},
		/* Whatever stands first. */
		{GOOD "  client: { prefix4: 32 }\n  hash_options: { seed: 0 }\n"
		      "  hash: nft-jhash\n",
		 32, 128},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(cases); i++) {
		struct policy *policy = parse(cases[i].text);

		assert_int_equal(policy->services[0].prefix4, cases[i].prefix4);
		assert_int_equal(policy->services[0].prefix6, cases[i].prefix6);
		assert_round_trip(policy);
		policy_free(policy);
	}
}

static void options_reach_the_policy_and_have_the_contracts_defaults(void **state)
{
	struct policy *policy = parse(NFT);
	struct service *service = &policy->services[0];

	(void)state;
	assert_int_equal(service->hash, HASH_NFT_JHASH);
	assert_int_equal(service->hash_options.modulus, 100);
	assert_int_equal(service->hash_options.seed, 0);
	assert_int_equal(service->hash_options.order_count, 0);
	policy_free(policy);
	policy = parse(GOOD "  hash_options: { order: [ canary, stable ], seed: 4294967295,\n"
			    "    modulus: 65536 }\n"
			    "  hash: nft-jhash\n");
	service = &policy->services[0];
	assert_int_equal(service->hash_options.modulus, 65536);
	assert_int_equal(service->hash_options.seed, 4294967295);
	assert_int_equal(service->hash_options.order_count, 2);
	assert_string_equal(service->hash_options.order[0], "canary");
	assert_string_equal(service->hash_options.order[1], "stable");
	assert_round_trip(policy);
	policy_free(policy);
	policy_free(parse(HAPROXY "  hash_options: { modulus: 7, seed: 0 }\n"));
}

static void a_canary_may_have_everything(void **state)
{
	struct policy *policy = parse(THREE "  hash: haproxy-crc32\n"
					    "  rules: [ { default: true, allocate: { next: 90%, "
					    "canary: 10% } } ]\n");
	const struct service *service = &policy->services[0];

	(void)state;
	assert_int_equal(service->rules[0].base_ppm[0], 0);
	assert_int_equal(service->rules[0].base_ppm[1], 100000);
	assert_int_equal(service->rules[0].base_ppm[2], 900000);
	assert_round_trip(policy);
	policy_free(policy);
	policy_free(parse(NFT "  hash_options: { modulus: 3 }\n" RULES("333333ppm")));
	policy_free(parse(NFT "  hash_options: { modulus: 3 }\n" RULES("333334ppm")));
}

/* ---- rendering and comparing ---- */

static void assert_rendered(const char *text, const char *expected, bool stands)
{
	struct policy *policy = parse(text);
	char *yaml = config_to_yaml(policy);

	assert_int_equal(strstr(yaml, expected) != NULL, stands);
	assert_round_trip(policy);
	free(yaml);
	policy_free(policy);
}

static void defaults_are_not_written_out(void **state)
{
	(void)state;
	assert_rendered(NGINX, "hash: nginx", true);
	assert_rendered(NGINX, "prefix6", false);
	assert_rendered(NGINX, "hash_options", false);
	assert_rendered(HAPROXY "  client: { prefix6: 128 }\n", "prefix6", false);
	assert_rendered(HAPROXY "  client: { prefix6: 64 }\n", "prefix6: 64", true);
	assert_rendered(GOOD "  client: { prefix6: 128 }\n", "prefix6: 128", true);
	assert_rendered(GOOD "  client: { prefix6: 64 }\n", "prefix6", false);
	/* The file's order is the default, and no canary has a slot. */
	assert_rendered(NGINX "  hash_options: { order: [ stable, canary ] }\n", "order", false);
	assert_rendered(NGINX "  hash_options: { order: [ canary, stable ] }\n", "order", true);
	assert_rendered(NGINX, "slot", false);
}

static json_t *difference_of(const char *before, const char *after)
{
	struct policy *left = parse(before), *right = parse(after);
	json_t *differences = config_diff(left, right);

	policy_free(left);
	policy_free(right);
	return differences;
}

static bool has_path(const json_t *differences, const char *path)
{
	for (size_t i = 0; i < json_array_size(differences); i++)
		if (!strcmp(member(json_array_get(differences, i), "path"), path))
			return true;
	return false;
}

static void another_hash_or_option_is_a_difference(void **state)
{
	json_t *differences = difference_of(GOOD, NGINX);

	(void)state;
	assert_int_equal(json_array_size(differences), 2);
	assert_true(has_path(differences, "services/api/hash"));
	assert_true(has_path(differences, "services/api/client/prefix6"));
	json_decref(differences);
	differences = difference_of(NFT, NFT "  hash_options: { modulus: 10, seed: 5 }\n");
	assert_int_equal(json_array_size(differences), 2);
	assert_true(has_path(differences, "services/api/hash_options/modulus"));
	assert_true(has_path(differences, "services/api/hash_options/seed"));
	json_decref(differences);
	differences = difference_of(THREE "  hash: nginx\n"
					  "  hash_options: { order: [ next, stable, canary ] }\n",
				    THREE "  hash: nginx\n"
					  "  hash_options: { order: [ canary, stable, next ] }\n");
	assert_int_equal(json_array_size(differences), 1);
	assert_true(has_path(differences, "services/api/hash_options/order"));
	json_decref(differences);
	differences = difference_of(NGINX, NGINX "  hash_options: { order: [ canary, stable ] }\n");
	assert_true(json_array_size(differences) > 0);
	json_decref(differences);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		REFUSED(an_option_of_another_hash_is_refused),
		REFUSED(what_has_no_meaning_with_the_hash_is_refused),
		REFUSED(an_order_names_every_cohort_once),
		REFUSED(a_share_that_the_tool_cannot_be_told_is_refused),
		cmocka_unit_test(addresses_are_hashed_whole_unless_the_tool_masks_them),
		cmocka_unit_test(options_reach_the_policy_and_have_the_contracts_defaults),
		cmocka_unit_test(a_canary_may_have_everything),
		cmocka_unit_test(defaults_are_not_written_out),
		cmocka_unit_test(another_hash_or_option_is_a_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
