/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets by the thousand in one system call: at the speed of the real program, not of the calls.
 * IPv4, TCP, l2. Each feeder may be used by one thread at a time.
 */
#ifndef XDP_CANARY_TESTS_FEEDER_H
#define XDP_CANARY_TESTS_FEEDER_H

#include "feed.h"
#include "lab.h"

struct feeder;

/* @shared: whose lines it uses; NULL: it has @lines of its own. */
struct feeder *feeder_open(const struct lab *lab, uint32_t lines, const struct feeder *shared);
void feeder_close(struct feeder *feeder);
/* What it feeds; the flows are FED_FLOWS_MAX. */
struct feed *feeder_feed(struct feeder *feeder);
struct fed_flow *feeder_flows(struct feeder *feeder);
/* The frame that is fed, but for its source: a segment to port 80 of @vip. */
void feeder_build(const char *vip, uint8_t flags, struct frame *frame);
/* @count packets. 0 or a negative errno; -EPROTO: the last one was not steered. */
int feeder_run(struct feeder *feeder, const struct frame *frame, uint32_t count);

#endif
