// SPDX-License-Identifier: GPL-2.0-only
/*
 * One measurement: the wrapper repeated in BPF_PROG_TEST_RUN, timed by the CPU time of this thread, which was found
 * steadier than the kernel's own duration: that is wall time, rounded down to whole nanoseconds a packet.
 */
#include "bench.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wrapper.h"

#include "tests/bench/wrapper.skel.h"

struct measure {
	struct wrapper *wrapper;
};

static void give_up(const char *what, const char *name)
{
	fprintf(stderr, "bench: %s: %s\n", name, what);
	exit(2);
}

struct measure *measure_open(void)
{
	struct measure *measure = calloc(1, sizeof(*measure));

	if (measure)
		measure->wrapper = wrapper__open_and_load();
	if (!measure || !measure->wrapper)
		give_up("cannot load it", "wrapper");
	return measure;
}

void measure_close(struct measure *measure)
{
	wrapper__destroy(measure->wrapper);
	free(measure);
}

static uint32_t mask_of(uint32_t count)
{
	return count ? count - 1 : 0;
}

static void prepare(struct measure *measure, const struct case_plan *plan, const struct frame *frame)
{
	int fd = plan->lab ? program_fd(plan->lab->program) :
			     bpf_program__fd(measure->wrapper->progs.nothing);
	bool is_ipv4 = plan->packet.source.family == 4;
	struct bench_case *to = &measure->wrapper->bss->bench_case;
	uint32_t zero = 0;

	if (bpf_map_update_elem(bpf_map__fd(measure->wrapper->maps.measured), &zero, &fd, BPF_ANY))
		give_up("cannot be tail-called", plan->name);
	memcpy(&to->macs, frame->bytes, 14);
	memcpy(to->words, frame->bytes + 14, sizeof(to->words));
	to->size = frame->size;
	to->client_mask = mask_of(plan->clients);
	to->service_mask = mask_of(plan->services);
	to->port_mask = mask_of(plan->ports);
	/* IPv4: the addresses; IPv6: the low half of the client's /64, and the end of the VIP. */
	to->source_offset = 26;
	to->destination_offset = is_ipv4 ? 30 : 50;
	to->port_offset = is_ipv4 ? 34 : 54;
}

double measure_run(struct measure *measure, const struct case_plan *plan, uint32_t repeat)
{
	struct frame frame;
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.bytes, .repeat = repeat);
	struct timespec before, after;

	packet_build(&plan->packet, &frame);
	options.data_size_in = frame.size;
	prepare(measure, plan, &frame);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
	if (bpf_prog_test_run_opts(bpf_program__fd(measure->wrapper->progs.wrapper), &options))
		give_up("cannot be run", plan->name);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
	if (options.retval != plan->verdict) {
		fprintf(stderr, "verdict %u, not %u\n", options.retval, plan->verdict);
		give_up("does not do what is to be measured", plan->name);
	}
	return ((after.tv_sec - before.tv_sec) * 1e9 + after.tv_nsec - before.tv_nsec) / repeat;
}
