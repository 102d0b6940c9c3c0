// SPDX-License-Identifier: GPL-2.0-only
#include "observing.h"

#include "observe/features.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct observed_list observing_read(const struct lab *lab)
{
	struct observed_list list;

	assert_int_equal(observed_read(lab->datapath, NULL, &list), 0);
	observed_merge(&list);
	return list;
}

const struct observed_client *observing_find(const struct observed_list *list,
					     const struct address *address)
{
	uint64_t high, low;
	size_t i;

	address_words(address, &high, &low);
	for (i = 0; i < list->count; i++)
		if (list->clients[i].high == high && list->clients[i].low == low)
			return &list->clients[i];
	return NULL;
}

struct observe_counter observing_counter(const struct lab *lab)
{
	struct observe_counter counter;

	assert_int_equal(observed_counters(lab->datapath, &counter, lab->errors), 0);
	return counter;
}

uint32_t observing_now(const struct lab *lab)
{
	uint32_t now;

	assert_int_equal(observed_now(lab->datapath, &now, lab->errors), 0);
	return now;
}

uint64_t observed_flows(const struct observed_client *client)
{
	return client->flows_seconds >> OBSERVED_FLOWS_SHIFT;
}

uint64_t observed_active(const struct observed_client *client)
{
	return client->flows_seconds & OBSERVED_SECONDS_MASK;
}

struct observe_counter observing_sum(const struct lab *lab, const struct observed_list *list,
				     const struct observe_counter *before)
{
	struct observe_counter sum = observing_counter(lab);
	size_t i;

	sum.packets -= before->packets;
	sum.bytes -= before->bytes;
	sum.flows -= before->flows;
	for (i = 0; i < list->count; i++) {
		sum.packets += list->clients[i].packets;
		sum.bytes += list->clients[i].bytes;
		sum.flows += observed_flows(&list->clients[i]);
	}
	return sum;
}
