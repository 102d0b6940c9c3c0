/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * crowd: HTTP clients as an API has them, servers that break when they are told to, and a long way
 * between the two. What they share with flows is in ../flows.
 *
 * All times are CLOCK_MONOTONIC in ns, which is the same in all namespaces of a machine.
 */
#ifndef XDP_CANARY_TESTS_CROWD_H
#define XDP_CANARY_TESTS_CROWD_H

#include "flows.h"

int clients_main(char **argv);
int server_main(char **argv);
int delay_main(char **argv);

#endif
