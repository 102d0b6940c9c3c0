// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bad configurations: each is refused with every error it has, and each error names the file, the
 * line, the column and the object. The tables give a text and the errors expected of it, no more
 * and no fewer.
 */
#include "config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Three lines that end the service, after a key that was tried on a line of its own. */
#define SERVICE_WITHOUT_STEER                                                                      \
	"version: 1\n"                                                                             \
	"services:\n"                                                                              \
	"- name: api\n"                                                                            \
	"  vips: [ 192.0.2.10:443/tcp ]\n"

/* ---- YAML ---- */

static const struct bad bad_yaml_is_refused_where_it_is[] = {
	{"", {{1, 1, "version", "is missing"}}},
	{"# nothing\n", {{1, 1, "version", "is missing"}}},
	{"---\n", {{2, 1, "yaml", "must be a map"}}},
	{"- version: 1\n", {{1, 1, "yaml", "not a list"}}},
	{"version\n", {{1, 1, "yaml", "not a single value"}}},
	{"version: 1\n---\nversion: 1\n", {{2, 1, "yaml", "second document"}}},
	{"version: 1\nservices: [\n", {{3, 1, "yaml", "did not find expected node"}}},
	{"version: 1\n\tservices: []\n", {{2, 1, "yaml", "tab"}}},
	{"version: 1\nservices: *none\n", {{2, 11, "yaml", "undefined alias"}}},
	{"version: 1\nservices: &a [ *a ]\n", {{2, 11, "yaml", "inside the very value"}}},
	{"version: 1\nx: &a { b: { *a : 1 } }\n", {{2, 4, "yaml", "inside the very value"}}},
	{"version: 1\n\"\xff\": 1\n", {{2, 2, "yaml", "UTF-8"}}},
	{"version: 1\n\xc3\xa9\x01: 1\n", {{2, 2, "yaml", "control characters"}}},
	{"\xff\xfev\0e\0", {{1, 1, "yaml", "UTF-8"}}},
	{"version: !!int 1\n", {{1, 10, "yaml", "tags"}}},
	{"version: 1\n? [ a ]\n: 1\n", {{2, 3, "?", "a key must be text"}}},
	{"version: 1\n<<: 1\n", {{2, 1, "<<", "unknown key"}}},
	{"\xef\xbb\xbfversion: 2\n", {{1, 10, "version", "give 1"}}},
};

static void aliases_cannot_make_a_small_file_large(void **state)
{
	static const struct expected expected[] = {{7, 4, "yaml", "aliases repeat too much"}};
	char text[1024] = "version: 1\na: &a [ x, x, x, x, x, x, x, x, x, x ]\n";

	(void)state;
	for (char name = 'b'; name < 'k'; name++) {
		size_t used = strlen(text);

		snprintf(text + used, sizeof(text) - used,
			 "%c: &%c [ *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c ]\n", name, name,
			 name - 1, name - 1, name - 1, name - 1, name - 1, name - 1, name - 1,
			 name - 1);
	}
	assert_refused(text, strlen(text), expected, 1);
}

static void deep_nesting_is_refused(void **state)
{
	static const struct expected expected[] = {{2, 68, "yaml", "nested too deeply"}};
	char text[1024] = "version: 1\na: ";

	(void)state;
	for (size_t i = 0; i < 100; i++)
		strcat(text, "[");
	for (size_t i = 0; i < 100; i++)
		strcat(text, "]");
	assert_refused(text, strlen(text), expected, 1);
}

static void a_file_above_64_mebibytes_is_refused(void **state)
{
	static const struct expected expected[] = {{1, 1, "yaml", "more than 64 MiB"}};
	size_t size = (64u << 20) + 1;
	char *text = malloc(size);

	(void)state;
	memset(text, '#', size);
	assert_refused(text, size, expected, 1);
	free(text);
}

static void a_zero_byte_in_a_value_is_refused(void **state)
{
	static const struct expected expected[] = {{2, 14, "secret_file", "zero byte"}};
	static const char text[] = "version: 1\nsecret_file: \"/a\\0b\"\n";

	(void)state;
	assert_refused(text, strlen(text), expected, 1);
}

/* ---- keys ---- */

static const struct bad a_bad_key_is_named_with_its_place[] = {
	{"version: 1\nversoin: 1\n", {{2, 1, "versoin", "did you mean version?"}}},
	{"version: 1\nversion: 1\n", {{2, 1, "version", "stands twice, first at test.yaml:1:10"}}},
	{"services: []\n", {{1, 1, "version", "is missing"}}},
	{"version: 1\nservices:\n", {{2, 10, "services", "has no value"}}},
	{"version: 1\nservices: null\n", {{2, 11, "services", "has no value"}}},
	{"version: 1\nservices: {}\n", {{2, 11, "services", "must not be a map"}}},
	{"version: 1\nlimits: []\n", {{2, 9, "limits", "must not be a list"}}},
	{"version: 1\nlimits: 5\n", {{2, 9, "limits", "must not be a single value"}}},
	{"version: 1\nsecret_file: [ a ]\n", {{2, 14, "secret_file", "must not be a list"}}},
	{"version: 1\nservices: [ api ]\n", {{2, 13, "services[0]", "must not be a single"}}},
	{"version: 1\nservices: [ ~ ]\n", {{2, 13, "services[0]", "must not be empty"}}},
	{GOOD "  holdot: 1%\n", {{9, 3, "services/api/holdot", "did you mean holdout?"}}},
	{GOOD "  zzzzzzzzz: 1%\n", {{9, 3, "services/api/zzzzzzzzz", "remove it"}}},
	{GOOD "  steer: l2\n", {{9, 3, "services/api/steer", "first at test.yaml:5:10"}}},
	{GOOD "  rules: []\n  rules: []\n",
	 {{10, 3, "services/api/rules", "first at test.yaml:9:10"}}},
	{GOOD "  client: { prefx4: 8 }\n",
	 {{9, 13, "services/api/client/prefx4", "did you mean prefix4?"}}},
	{"version: 1\nservices:\n- {}\n",
	 {{3, 3, "services[0]/name", "is missing"},
	  {3, 3, "services[0]/vips", "is missing"},
	  {3, 3, "services[0]/steer", "is missing"},
	  {3, 3, "services[0]/cohorts", "is missing"}}},
	{"version: 1\ninterfaces: [ { mode: auto } ]\n",
	 {{2, 15, "interfaces[0]/name", "is missing"}}},
	{SERVICE "  cohorts:\n"
		 "  - backends: [ { address: 10.0.1.11 }, { weight: 1 } ]\n"
		 "  - name: canary\n",
	 {{7, 41, "services/api/cohorts[0]/backends[1]/address", "is missing"},
	  {7, 5, "services/api/cohorts[0]/name", "is missing"}}},
};

static const struct bad keys_of_later_parts_are_refused_as_such[] = {
	{"version: 1\nmetrics: { textfile: /a }\n", {{2, 12, "metrics/textfile", "not available"}}},
	{SERVICE "  cohorts:\n"
		 "  - { name: a, backends: [ { address: 10.0.0.1, port: 80 } ] }\n"
		 "  - { name: b }\n",
	 {{7, 49, "services/api/cohorts/a/backends/10.0.0.1/port", "not available"}}},
	{SERVICE_WITHOUT_STEER "  steer: nat\n" COHORTS,
	 {{5, 10, "services/api/steer", "not available in this version"}}},
};

/* ---- values ---- */

static const struct bad a_bad_value_is_refused_with_what_would_be_right[] = {
	{"version: 2\n", {{1, 10, "version", "give 1"}}},
	{"version: \"1\"\n", {{1, 10, "version", "without quotes"}}},
	{"version: 1.0\n", {{1, 10, "version", "not a whole decimal number"}}},
	{"version: 1\nlimits: { services: 010, vips: 0x10, backends: 10abc }\n",
	 {{2, 21, "limits/services", "\"010\" is not a whole decimal number"},
	  {2, 32, "limits/vips", "\"0x10\" is not a whole"},
	  {2, 48, "limits/backends", "\"10abc\" is not a whole"}}},
	{"version: 1\nlimits: { services: 4097, vips: 0, backends: 1048577 }\n",
	 {{2, 21, "limits/services", "from 1 to 4080"},
	  {2, 33, "limits/vips", "from 1 to 65536"},
	  {2, 46, "limits/backends", "from 1 to 1048576"}}},
	{"version: 1\nlimits: { services: -1, vips: 1e3, backends: }\n",
	 {{2, 21, "limits/services", "not a whole"},
	  {2, 31, "limits/vips", "not a whole"},
	  {2, 46, "limits/backends", "has no value"}}},
	{"version: 1\nsecret_file: \"\"\n", {{2, 14, "secret_file", "is empty"}}},
	{"version: 1\nmetrics: { listen: 9977 }\n", {{2, 20, "metrics/listen", "HOST:PORT"}}},
	{"version: 1\nmetrics: { listen: \"::1:80\" }\n", {{2, 20, "metrics/listen", "HOST"}}},
	{"version: 1\nmetrics: { listen: 10.0.0:80 }\n", {{2, 20, "metrics/listen", "HOST"}}},
	{"version: 1\nmetrics: { listen: localhost:0 }\n", {{2, 20, "metrics/listen", "HOST"}}},
	{"version: 1\nmetrics: { listen: \"[10.0.0.1]:80\" }\n",
	 {{2, 20, "metrics/listen", "HOST"}}},
	{"version: 1\ninterfaces: [ { name: a/b }, { name: \"a b\" }, { name: \"\" },\n"
	 "  { name: abcdefghijklmnop }, { name: eth0, mode: natve } ]\n",
	 {{2, 23, "interfaces/a/b/name", "cannot be"},
	  {2, 38, "interfaces/a b/name", "cannot be"},
	  {2, 55, "interfaces[2]/name", "cannot be"},
	  {3, 11, "interfaces/abcdefghijklmnop/name", "cannot be"},
	  {3, 51, "interfaces/eth0/mode", "did you mean native?"}}},
	{GOOD "  enforce: yes\n", {{9, 12, "services/api/enforce", "not true or false"}}},
	{GOOD "  enforce: \"true\"\n", {{9, 12, "services/api/enforce", "without quotes"}}},
	{GOOD "  enforce: tRUE\n", {{9, 12, "services/api/enforce", "not true or false"}}},
	{GOOD "  release:\n", {{9, 11, "services/api/release", "has no value"}}},
	{GOOD "  release: ~\n", {{9, 12, "services/api/release", "has no value"}}},
	{GOOD "  release: \"a\\tb\"\n", {{9, 12, "services/api/release", "control characters"}}},
	{GOOD "  release: \"a\\x85b\"\n", {{9, 12, "services/api/release", "control characters"}}},
	{GOOD "  salt: \"\"\n", {{9, 9, "services/api/salt", "is empty"}}},
	{GOOD "  client: { prefix4: 7, prefix6: 129 }\n",
	 {{9, 22, "services/api/client/prefix4", "from 8 to 32"},
	  {9, 34, "services/api/client/prefix6", "from 16 to 128"}}},
	{GOOD "  client: { key: sources }\n",
	 {{9, 18, "services/api/client/key", "did you mean source?"}}},
	{GOOD "  holdout: 50.0001%\n", {{9, 12, "services/api/holdout", "above 50%"}}},
	{GOOD "  holdout: 0.00001%\n", {{9, 12, "services/api/holdout", "finer than 1 ppm"}}},
	{GOOD "  holdout: some\n", {{9, 12, "services/api/holdout", "not a percentage"}}},
	{GOOD "  balance: round-robin\n", {{9, 12, "services/api/balance", "give flow or client"}}},
	{SERVICE_WITHOUT_STEER "  steer:\n" COHORTS, {{5, 9, "services/api/steer", "no value"}}},
	{SERVICE_WITHOUT_STEER "  steer: ipip\n"
			       "  encap: { source4: '::1', source6: 10.0.0.1, ttl: 0 }\n" COHORTS,
	 {{6, 21, "services/api/encap/source4", "not an IPv4 address"},
	  {6, 37, "services/api/encap/source6", "not an IPv6 address"},
	  {6, 52, "services/api/encap/ttl", "from 1 to 255"}}},
};

static const struct bad a_bad_address_is_refused[] = {
	{"version: 1\nservices:\n- name: api\n  steer: l2\n  vips:\n"
	 "  - 192.0.2.10:80\n  - 192.0.2.10/tcp\n  - 192.0.2.10:0/tcp\n  - 192.0.2.10:65536/tcp\n"
	 "  - 192.0.2.10:80/sctp\n  - 2001:db8::1:80/tcp\n  - \"[192.0.2.10]:80/tcp\"\n"
	 "  - 0.0.0.0:80/tcp\n  - 224.0.0.1:80/udp\n  - \"[ff02::1]:80/udp\"\n  - "
	 "192.0.2.10:080/tcp\n"
	 "  -\n" COHORTS,
	 {{6, 5, "services/api/vips[0]", "is not a VIP"},
	  {7, 5, "services/api/vips[1]", "is not a VIP"},
	  {8, 5, "services/api/vips[2]", "is not a VIP"},
	  {9, 5, "services/api/vips[3]", "is not a VIP"},
	  {10, 5, "services/api/vips[4]", "is not a VIP"},
	  {11, 5, "services/api/vips[5]", "is not a VIP"},
	  {12, 5, "services/api/vips[6]", "is not a VIP"},
	  {13, 5, "services/api/vips[7]", "unspecified"},
	  {14, 5, "services/api/vips[8]", "multicast"},
	  {15, 5, "services/api/vips[9]", "multicast"},
	  {16, 5, "services/api/vips[10]", "is not a VIP"},
	  {17, 4, "services/api/vips[11]", "has no value"}}},
	{"version: 1\nservices:\n- name: api\n  steer: l2\n  vips: []\n" COHORTS,
	 {{5, 9, "services/api/vips", "needs at least 1"}}},
	{SERVICE "  cohorts:\n  - name: a\n    backends:\n    - address: 10.0.0.256\n"
		 "    - address: 10.0.0.1:80\n    - { address: 10.0.0.1, weight: 1001 }\n"
		 "    - { address: 10.0.0.2, weight: \"5\" }\n    - { address: 255.255.255.255 }\n"
		 "  - name: b\n",
	 {{9, 16, "services/api/cohorts/a/backends[0]/address", "not an IP address"},
	  {10, 16, "services/api/cohorts/a/backends[1]/address", "not an IP address"},
	  {11, 36, "services/api/cohorts/a/backends/10.0.0.1/weight", "from 0 to 1000"},
	  {12, 36, "services/api/cohorts/a/backends/10.0.0.2/weight", "without quotes"},
	  {13, 18, "services/api/cohorts/a/backends/255.255.255.255/address", "broadcast"}}},
	{SERVICE "  cohorts:\n  - name: a\n    backends:\n"
		 "    - { address: 10.0.0.1, mac: 2:0:0:0:0:1 }\n"
		 "    - { address: 10.0.0.2, mac: 01-00-00-00-00-00 }\n"
		 "    - { address: 10.0.0.3, mac: \"01:00:00:00:00:00\" }\n"
		 "    - { address: 10.0.0.4, mac: \"00:00:00:00:00:00\" }\n"
		 "    - { address: 10.0.0.5, mac: \"02:00:00:00:00:0g\" }\n"
		 "    - { address: 10.0.0.6, via: 2001:db8::1 }\n"
		 "    - { address: 10.0.0.7, via: gateway }\n"
		 "    - { address: 10.0.0.8, interface: a-very-long-name }\n"
		 "  - name: b\n",
	 {{9, 33, "services/api/cohorts/a/backends/10.0.0.1/mac", "not a MAC"},
	  {10, 33, "services/api/cohorts/a/backends/10.0.0.2/mac", "not a MAC"},
	  {11, 33, "services/api/cohorts/a/backends/10.0.0.3/mac", "multicast"},
	  {12, 33, "services/api/cohorts/a/backends/10.0.0.4/mac", "no host's"},
	  {13, 33, "services/api/cohorts/a/backends/10.0.0.5/mac", "not a MAC"},
	  {15, 33, "services/api/cohorts/a/backends/10.0.0.7/via", "not an IP address"},
	  {16, 39, "services/api/cohorts/a/backends/10.0.0.8/interface", "1 to 15"},
	  {14, 33, "services/api/cohorts/a/backends/10.0.0.6/via", "the backend is IPv4"}}},
};

/* ---- values that do not go together ---- */

#define SECOND(name, vips) NAMED_SERVICE(name, vips) COHORTS

static const struct bad what_clashes_in_a_box_names_both_places[] = {
	{GOOD SECOND("api", "192.0.2.11:80/tcp"),
	 {{9, 9, "services/api/name", "stands at test.yaml:3:9 already"}}},
	{GOOD SECOND("web", "192.0.2.11:80/tcp, '[::ffff:192.0.2.10]:443/tcp'"),
	 {{10, 30, "services/web/vips[1]",
	   "192.0.2.10:443/tcp stands in service api at test.yaml:4:11 already"}}},
	{"version: 1\ninterfaces:\n- name: eth0\n- name: eth1\n- name: eth0\n",
	 {{5, 9, "interfaces/eth0/name", "stands at test.yaml:3:9 already"}}},
	{GOOD SECOND("web", "192.0.2.11:80/tcp") "limits: { services: 1, vips: 1, backends: 3 }\n",
	 {{9, 3, "services/web", "more services than limits/services allows (2, not 1)"},
	  {9, 3, "services/web", "more vips than limits/vips allows (2, not 1)"},
	  {9, 3, "services/web", "more backends than limits/backends allows (4, not 3)"}}},
};

static const struct bad cohorts_that_do_not_fit_are_refused[] = {
	{SERVICE "  cohorts: [ { name: a, backends: [ { address: 10.0.0.1 } ] } ]\n",
	 {{6, 12, "services/api/cohorts", "needs at least 2"}}},
	{SERVICE "  cohorts: [ { name: a }, { name: b }, { name: c }, { name: d }, { name: e } ]\n",
	 {{6, 12, "services/api/cohorts", "can have 4"}}},
	{SERVICE "  cohorts:\n  - { name: a }\n  - { name: b }\n",
	 {{7, 5, "services/api/cohorts/a/backends", "has no backend"}}},
	{SERVICE "  cohorts:\n  - { name: a, backends: [] }\n  - { name: b }\n",
	 {{7, 26, "services/api/cohorts/a/backends", "has no backend"}}},
	{GOOD "  - { name: canary }\n",
	 {{9, 13, "services/api/cohorts/canary/name", "stands at test.yaml:8:13 already"}}},
	{GOOD "  - { name: b, backends: [ { address: 10.0.2.11 } ] }\n",
	 {{9, 39, "services/api/cohorts/b/backends/10.0.2.11", "at test.yaml:8:44 already"}}},
	{GOOD "  - { name: b, slot: 60% }\n  - { name: c, slot: 33.3334% }\n",
	 {{10, 22, "services/api/cohorts/c/slot", "more than 100%"}}},
	{SERVICE "  cohorts:\n"
		 "  - { name: a, slot: 10%, backends: [ { address: 10.0.0.1 } ] }\n"
		 "  - { name: b, slot: 100.1% }\n",
	 {{8, 22, "services/api/cohorts/b/slot", "above 100%"},
	  {7, 22, "services/api/cohorts/a/slot", "has no slot"}}},
	{GOOD "  encap: { ttl: 64 }\n", {{9, 10, "services/api/encap", "steer: ipip"}}},
};

#define THREE                                                                                      \
	SERVICE "  cohorts:\n"                                                                     \
		"  - { name: a, backends: [ { address: 10.0.0.1 } ] }\n"                           \
		"  - { name: b, backends: [ { address: 10.0.0.2 } ] }\n"                           \
		"  - { name: c }\n"

static const struct bad rules_that_cannot_be_meant_are_refused[] = {
	{THREE "  rules: [ { default: false } ]\n",
	 {{10, 23, "services/api/rules[0]/default", "cannot be false"}}},
	{THREE "  rules: [ { name: x } ]\n", {{10, 12, "services/api/rules/x", "for whom"}}},
	{THREE "  rules: [ {}, 5 ]\n",
	 {{10, 16, "services/api/rules[1]", "must not be a single value"},
	  {10, 12, "services/api/rules[0]", "for whom"}}},
	{THREE "  rules:\n  - { default: true }\n  - { name: x, default: true }\n",
	 {{11, 16, "services/api/rules[0]/default", "never be used"}}},
	{THREE "  rules:\n  - { name: x, default: true }\n  - { name: x, default: true }\n",
	 {{11, 25, "services/api/rules/x/default", "never be used"},
	  {12, 13, "services/api/rules/x/name", "stands at test.yaml:11:13 already"}}},
	{THREE "  rules: [ { default: true, allocate: { bb: 5%, b: 50.0001% } } ]\n",
	 {{10, 41, "services/api/rules[0]/allocate", "did you mean b?"},
	  {10, 52, "services/api/rules[0]/allocate/b", "more than the cohort's slot, 50%"}}},
	{THREE "  rules: [ { default: true, allocate: { b: 5%, b: 6% } } ]\n",
	 {{10, 48, "services/api/rules[0]/allocate/b", "has a share already"}}},
	{THREE "  rules: [ { default: true, allocate: { c: 1ppm } } ]\n",
	 {{10, 44, "services/api/rules[0]/allocate/c", "has no backend"}}},
	{THREE "  rules: [ { default: true, allocate: { a: 90%, b: 11% } } ]\n",
	 {{10, 39, "services/api/rules[0]/allocate", "not 100% together"}}},
	{THREE "  rules: [ { default: true, allocate: { b: 101%, c: x, a: } } ]\n",
	 {{10, 44, "services/api/rules[0]/allocate/b", "above 100%"},
	  {10, 53, "services/api/rules[0]/allocate/c", "not a percentage"},
	  {10, 59, "services/api/rules[0]/allocate/a", "has no value"}}},
	{THREE "  rules: [ { default: true, allocate: [ b ] } ]\n",
	 {{10, 39, "services/api/rules[0]/allocate", "must not be a list"}}},
};

static const struct bad errors_of_all_kinds_are_reported_together[] = {
	{"version: 1\n"
	 "services:\n"
	 "- name: api\n"
	 "  vips: [ 192.0.2.10:443/tcp, bad ]\n"
	 "  steer: l3\n"
	 "  cohorts:\n"
	 "  - { name: Bad, backends: [] }\n"
	 "  - { name: b }\n"
	 "  rules: [ { default: true, allocate: { b: 5% } } ]\n"
	 "- name: api\n"
	 "  vips: [ 192.0.2.10:443/tcp ]\n"
	 "  steer: l2\n" COHORTS,
	 {{4, 31, "services/api/vips[1]", "not a VIP"},
	  {5, 10, "services/api/steer", "did you mean l2?"},
	  {7, 13, "services/api/cohorts[0]/name", "not a name"},
	  {10, 9, "services/api/name", "stands at test.yaml:3:9 already"},
	  {7, 28, "services/api/cohorts[0]/backends", "has no backend"},
	  {9, 44, "services/api/rules[0]/allocate/b", "has no backend"},
	  {11, 11, "services/api/vips[0]", "test.yaml:4:11 already"}}},
};

static void lists_longer_than_a_box_can_hold_are_refused(void **state)
{
	static const struct expected expected[] = {
		{3, 3, "services/a/cohorts/a/backends", "can have 32767 items, has 32768"}};
	static const struct expected both[] = {{2, 58, "services/a/cohorts", "(32768)"}};
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)state;
	fprintf(stream, "version: 1\nservices: [ { name: a, vips: [ 1.1.1.1:1/tcp ], steer: l2, "
			"cohorts: [ { name: a, backends:\n  [");
	for (unsigned int i = 0; i < 32768; i++)
		fprintf(stream, "%s{address: 10.0.%u.%u}", i ? "," : "", i >> 8, i & 255);
	fprintf(stream, "] }, { name: b } ] } ]\n");
	fclose(stream);
	assert_refused(text, size, expected, 1);
	free(text);

	stream = open_memstream(&text, &size);
	fprintf(stream, "version: 1\nservices: [ { name: a, vips: [ 1.1.1.1:1/tcp ], cohorts: [");
	for (unsigned int i = 0; i < 32768; i++)
		fprintf(stream, "%s{address: 10.0.%u.%u}",
			!i	     ? "{ name: a, backends: ["
			: i == 16384 ? "] }, { name: b, backends: ["
				     : ",",
			i >> 8, i & 255);
	fprintf(stream, "] } ], steer: l2 } ]\n");
	fclose(stream);
	assert_refused(text, size, both, 1);
	free(text);
}

/* ---- files ---- */

static json_t *load_errors(const char *const *paths, size_t count)
{
	struct errors *errors = errors_new();
	json_t *json, *list;

	assert_null(config_load(paths, count, errors));
	assert_true(errors_count(errors) > 0);
	json = errors_to_json(errors);
	list = json_incref(json_object_get(json, "errors"));
	json_decref(json);
	errors_free(errors);
	return list;
}

static void a_missing_file_or_empty_directory_is_an_error(void **state)
{
	char directory[] = "/tmp/config_errors_test.XXXXXX";
	json_t *list;

	(void)state;
	assert_non_null(mkdtemp(directory));
	list = load_errors((const char *[]){directory, "/nonexistent/a.yaml"}, 2);
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(member(json_array_get(list, 0), "object"), directory);
	assert_string_equal(member(json_array_get(list, 1), "object"), "/nonexistent/a.yaml");
	json_decref(list);
	list = load_errors(NULL, 0);
	json_decref(list);
	rmdir(directory);
}

static void errors_of_several_files_name_each_as_it_was_given(void **state)
{
	char directory[] = "/tmp/config_errors_test.XXXXXX", a[64], b[64], c[64], expected[160];
	const json_t *error;
	json_t *list;
	FILE *stream;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(a, sizeof(a), "%s/a.yaml", directory);
	snprintf(b, sizeof(b), "%s/b.yaml", directory);
	snprintf(c, sizeof(c), "%s/c.yaml", directory);
	stream = fopen(a, "w");
	fputs(GOOD "metrics: { listen: off }\n", stream);
	fclose(stream);
	stream = fopen(b, "w");
	fputs("services:\n" SECOND("api", "192.0.2.11:80/tcp") "metrics: {}\nversion: 1\n", stream);
	fclose(stream);
	stream = fopen(c, "w");
	fputs("services: []\nservices: []\n", stream);
	fclose(stream);

	list = load_errors((const char *[]){directory}, 1);
	assert_int_equal(json_array_size(list), 4);
	error = json_array_get(list, 0);
	assert_string_equal(member(error, "file"), b);
	assert_string_equal(member(error, "object"), "metrics");
	snprintf(expected, sizeof(expected), "stands twice, first at %s:9:10", a);
	assert_string_equal(member(error, "message"), expected);
	assert_int_equal(json_integer_value(json_object_get(error, "line")), 8);
	assert_string_equal(member(json_array_get(list, 1), "object"), "version");
	error = json_array_get(list, 2);
	assert_string_equal(member(error, "file"), c);
	assert_string_equal(member(error, "object"), "services");
	error = json_array_get(list, 3);
	assert_string_equal(member(error, "object"), "services/api/name");
	snprintf(expected, sizeof(expected), "the name stands at %s:3:9 already", a);
	assert_string_equal(member(error, "message"), expected);
	json_decref(list);

	/* A file that is no YAML does not hide the errors of the others, nor make new ones. */
	stream = fopen(a, "w");
	fputs("version: [\n", stream);
	fclose(stream);
	stream = fopen(b, "w");
	fputs("services: 5\n", stream);
	fclose(stream);
	unlink(c);
	list = load_errors((const char *[]){a, b}, 2);
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(member(json_array_get(list, 0), "file"), a);
	assert_string_equal(member(json_array_get(list, 1), "object"), "services");
	json_decref(list);
	unlink(a);
	unlink(b);
	rmdir(directory);
}

/* ---- the contract's worked example ---- */

static const char worked_example[] =
	"version: 1\n"
	"interfaces: [ { name: eth0, mode: auto } ]\n"
	"observe: { sample: 16, window: 7d }\n"
	"segments:\n"
	"  - { name: staff, cidrs: [ 198.51.100.0/24, \"2001:db8:5::/48\" ] }\n"
	"  - { name: enterprise, where: \"plan = 'enterprise'\" }\n"
	"  - { name: light-q1, bins: { feature: flows_per_day, qcut: 4, take: [0], where: \"plan "
	"<> 'enterprise'\" }, refresh: 7d }\n"
	"  - { name: light-q2, bins: { feature: flows_per_day, qcut: 4, take: [1], where: \"plan "
	"<> 'enterprise'\" }, refresh: 7d }\n"
	"  - { name: adopters, model: { model: adopters, class: \"1\" }, refresh: 7d }\n"
	"services:\n"
	"  - name: api\n"
	"    vips: [ \"192.0.2.10:443/tcp\", \"[2001:db8::10]:443/tcp\" ]\n"
	"    release: v42\n"
	"    client: { key: source, prefix4: 32, prefix6: 64 }\n"
	"    holdout: 1%\n"
	"    steer: l2\n"
	"    affinity: { drain: 1h, on_rollback: cut }\n"
	"    health_check: { type: http, port: 8080, path: /healthz, interval: 2s, rise: 2, fall: "
	"3 }\n"
	"    cohorts:\n"
	"      - { name: stable, version: v41, backends: [ { address: 10.0.1.11 }, { address: "
	"10.0.1.12, weight: 50 } ] }\n"
	"      - { name: canary, version: v42, backends: [ { address: 10.0.2.11 } ] }\n"
	"    rules:\n"
	"      - { segment: enterprise, allocate: { canary: 0% } }\n"
	"      - { segment: staff }\n"
	"      - { segment: light-q1 }\n"
	"      - { segment: light-q2 }\n"
	"      - { segment: adopters }\n"
	"      - { default: true, allocate: { canary: 0% } }\n"
	"    rollout:\n"
	"      lease: 30s\n"
	"      max_load: 1.5\n"
	"      steps:\n"
	"        - { segment: staff, weight: 50% }\n"
	"        - { segment: light-q1, weight: 50% }\n"
	"        - { segment: light-q2, weight: 50% }\n"
	"        - analysis: { timeout: 6h }\n"
	"        - { segment: adopters, weight: 50% }\n"
	"        - weight: 1%\n"
	"        - weight: 10%\n"
	"        - analysis: { timeout: 6h }\n"
	"        - approve: { message: \"capacity checked?\" }\n"
	"        - weight: 50%\n"
	"        - weight: 100%\n"
	"      metrics:\n"
	"        - { name: connect_failure, max_rate: 0.5% }\n"
	"        - { name: unanswered, max_rate: 0.5% }\n"
	"        - { name: respond_time }\n"
	"        - { name: complaints, source: feedback, weight: 0.1 }\n"
	"        - { name: http-5xx, source: prometheus, url: \"http://127.0.0.1:9090\", max: "
	"0.01, interval: 30s,\n"
	"            query: \"sum(rate(http_requests_total{version='v42',code=~'5..'}[5m])) / "
	"sum(rate(http_requests_total{version='v42'}[5m]))\" }\n"
	"      hooks: [ { on: rollback, url: \"http://127.0.0.1:8099/page\" } ]\n";

static void the_worked_example_is_taken(void **state)
{
	struct policy *policy = parse(worked_example);

	(void)state;
	assert_int_equal(policy->segments_count, 5);
	assert_int_equal(policy->services[0].rules_count, 6);
	assert_string_equal(policy->services[0].rules[1].segment, "staff");
	assert_int_equal(policy->services[0].rules[1].base_ppm[0], 1000000);
	assert_int_equal(policy->services[0].health_check.port, 8080);
	assert_int_equal(policy->services[0].rollout.steps_count, 11);
	assert_int_equal(policy->services[0].rollout.metrics_count, 5);
	assert_round_trip(policy);
	policy_free(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		REFUSED(bad_yaml_is_refused_where_it_is),
		cmocka_unit_test(aliases_cannot_make_a_small_file_large),
		cmocka_unit_test(deep_nesting_is_refused),
		cmocka_unit_test(a_file_above_64_mebibytes_is_refused),
		cmocka_unit_test(a_zero_byte_in_a_value_is_refused),
		REFUSED(a_bad_key_is_named_with_its_place),
		REFUSED(keys_of_later_parts_are_refused_as_such),
		REFUSED(a_bad_value_is_refused_with_what_would_be_right),
		REFUSED(a_bad_address_is_refused),
		REFUSED(what_clashes_in_a_box_names_both_places),
		REFUSED(cohorts_that_do_not_fit_are_refused),
		REFUSED(rules_that_cannot_be_meant_are_refused),
		REFUSED(errors_of_all_kinds_are_reported_together),
		cmocka_unit_test(lists_longer_than_a_box_can_hold_are_refused),
		cmocka_unit_test(a_missing_file_or_empty_directory_is_an_error),
		cmocka_unit_test(errors_of_several_files_name_each_as_it_was_given),
		cmocka_unit_test(the_worked_example_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
