// SPDX-License-Identifier: GPL-2.0-only
/* What /metrics says of counters that the kernel does not have. */
#include "observe/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void the_current_path_is_what_no_other_path_has(void **state)
{
	struct service_snapshot service = {0};

	(void)state;
	service.decisions.packets[REASON_DEFAULT] = 60;
	service.decisions.packets[REASON_COHORT_DOWN] = 40;
	assert_int_equal(current_path_packets(&service), 100);
	service.affinity.paths[PATH_SYN_RECORDED] = 10;
	service.affinity.paths[PATH_SERVER_ID] = 20;
	service.affinity.evicted = 1000;
	assert_int_equal(current_path_packets(&service), 70);
	/* Other paths are read last, and may have grown. */
	service.affinity.paths[PATH_ORIGIN] = 71;
	assert_int_equal(current_path_packets(&service), 0);
}

static void it_never_falls_while_the_counters_are_the_same(void **state)
{
	static const uint64_t read[] = {100, 97, 99, 0, 103, 102},
			      told[] = {100, 100, 100, 100, 103, 103};
	struct daemon_facts facts = {0};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(read) / sizeof(*read); i++) {
		assert_int_equal(never_falling(&facts, 5, "shop", 1, read[i]), told[i]);
		assert_int_equal(never_falling(&facts, 4079, "other", 1, 7 * i), 7 * i);
	}
	daemon_facts_release(&facts);
}

static void it_begins_anew_with_new_counters_and_for_another_service(void **state)
{
	struct daemon_facts facts = {0};

	(void)state;
	assert_int_equal(never_falling(&facts, 0, "shop", 1, 100), 100);
	assert_int_equal(never_falling(&facts, 0, "shop", 2, 3), 3);
	assert_int_equal(never_falling(&facts, 0, "shops", 2, 2), 2);
	assert_int_equal(never_falling(&facts, 1, "shop", 2, 1), 1);
	daemon_facts_release(&facts);
	assert_int_equal(never_falling(&facts, 0, "shops", 2, 1), 1);
	daemon_facts_release(&facts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_current_path_is_what_no_other_path_has),
		cmocka_unit_test(it_never_falls_while_the_counters_are_the_same),
		cmocka_unit_test(it_begins_anew_with_new_counters_and_for_another_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
