// SPDX-License-Identifier: GPL-2.0-only
/*
 * One measurement: the wrapper repeated in BPF_PROG_TEST_RUN, timed by the CPU time of this thread,
 * which was found steadier than the kernel's own duration: that is wall time, rounded down to whole
 * nanoseconds a packet.
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

/*
 * One wrapper a program that is measured: changing what a wrapper calls takes a grace period, in
 * which the CPU cools down.
 */
#define PROGRAMS_MAX 32

/* Two ways of a line are for flows that begin: of many at once some are displaced, and come again.
 */
#define RECORD_PASSES 5

struct measure {
	struct {
		const struct lab *lab;
		struct wrapper *wrapper;
	} programs[PROGRAMS_MAX];
	size_t count;
};

static void give_up(const char *what, const char *name)
{
	fprintf(stderr, "bench: %s: %s\n", name, what);
	exit(2);
}

struct measure *measure_open(void)
{
	struct measure *measure = calloc(1, sizeof(*measure));

	if (!measure)
		give_up("no memory", "bench");
	return measure;
}

void measure_close(struct measure *measure)
{
	while (measure->count--)
		wrapper__destroy(measure->programs[measure->count].wrapper);
	free(measure);
}

/* The wrapper in front of the lab's program; @lab NULL: of the floor. */
static struct wrapper *wrapper_of(struct measure *measure, const struct lab *lab)
{
	struct wrapper *wrapper;
	uint32_t zero = 0;
	size_t i;
	int fd;

	for (i = 0; i < measure->count; i++)
		if (measure->programs[i].lab == lab)
			return measure->programs[i].wrapper;
	if (i == PROGRAMS_MAX)
		give_up("too many boxes: raise PROGRAMS_MAX", "wrapper");
	wrapper = wrapper__open_and_load();
	if (!wrapper)
		give_up("cannot load it", "wrapper");
	fd = lab ? program_fd(lab->program) : bpf_program__fd(wrapper->progs.nothing);
	if (bpf_map_update_elem(bpf_map__fd(wrapper->maps.measured), &zero, &fd, BPF_ANY))
		give_up("cannot tail-call the program", "wrapper");
	measure->programs[measure->count].lab = lab;
	measure->programs[measure->count++].wrapper = wrapper;
	return wrapper;
}

static uint32_t mask_of(uint32_t count)
{
	return count ? count - 1 : 0;
}

static void prepare(struct wrapper *wrapper, const struct case_plan *plan,
		    const struct frame *frame)
{
	bool is_ipv4 = plan->packet.source.family == 4;
	struct bench_case *to = &wrapper->bss->bench_case;

	memcpy(&to->macs, frame->bytes, 14);
	memcpy(to->words, frame->bytes + 14, sizeof(to->words));
	to->size = frame->size;
	to->client_mask = mask_of(plan->clients);
	to->client_spread = plan->client_spread ? plan->client_spread : 1;
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
	struct wrapper *wrapper = wrapper_of(measure, plan->lab);
	struct timespec before, after;

	packet_build(&plan->packet, &frame);
	options.data_size_in = frame.size;
	prepare(wrapper, plan, &frame);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
	if (bpf_prog_test_run_opts(bpf_program__fd(wrapper->progs.wrapper), &options))
		give_up("cannot be run", plan->name);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
	if (options.retval != plan->verdict) {
		fprintf(stderr, "verdict %u, not %u\n", options.retval, plan->verdict);
		give_up("does not do what is to be measured", plan->name);
	}
	return ((after.tv_sec - before.tv_sec) * 1e9 + after.tv_nsec - before.tv_nsec) / repeat;
}

void measure_warm_up(struct measure *measure, const struct case_plan *plan, uint32_t packets)
{
	struct affinity_counter before = {0}, after = {0};
	uint64_t taken;

	if (plan->service)
		before = lab_affinity_counter(plan->lab, plan->service);
	measure_run(measure, plan, packets);
	if (!plan->service)
		return;
	after = lab_affinity_counter(plan->lab, plan->service);
	taken = after.paths[plan->path] - before.paths[plan->path];
	if (taken >= packets / 10 * 9)
		return;
	fprintf(stderr, "%llu of %u packets took the path\n", (unsigned long long)taken, packets);
	give_up("does not do what is to be measured", plan->name);
}

void measure_record(struct measure *measure, const struct case_plan *plan)
{
	struct case_plan start = *plan;
	int i;

	start.packet.tcp_flags = FLAG_SYN;
	for (i = 0; i < RECORD_PASSES; i++) {
		measure_run(measure, &start, plan->clients);
		measure_run(measure, plan, plan->clients);
	}
}
