/* SPDX-License-Identifier: GPL-2.0-only */
/* What tests ask of observed clients. */
#ifndef XDP_CANARY_TESTS_OBSERVING_H
#define XDP_CANARY_TESTS_OBSERVING_H

#include "lab.h"

/* Of all records, read without disturbing them: one of each client, in order. Release it. */
struct observed_list observing_read(const struct lab *lab);
/* The client's, or NULL. @address as records have it: cut to its prefix. */
const struct observed_client *observing_find(const struct observed_list *list,
					     const struct address *address);
struct observe_counter observing_counter(const struct lab *lab);
uint32_t observing_now(const struct lab *lab);
uint64_t observed_flows(const struct observed_client *client);
uint64_t observed_active(const struct observed_client *client);
/* All that was counted since @before: records and overflow together. */
struct observe_counter observing_sum(const struct lab *lab, const struct observed_list *list,
				     const struct observe_counter *before);

#endif
