// SPDX-License-Identifier: GPL-2.0-only
/* The box itself: namespaces, maps, programs, test runs and counters. Services are in service.c. */
#include "lab.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#define SKIPPED 77

const struct siphash_key lab_secret = {.k0 = 0x0706050403020100ULL, .k1 = 0x0f0e0d0c0b0a0908ULL};

void lab_require_bpf(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	if (!geteuid() && !unshare(CLONE_NEWNS | CLONE_NEWNET) &&
	    !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return;
	printf("SKIP: needs root, and namespaces and BPF of its own: %s\n", strerror(errno));
	exit(SKIPPED);
}

static void require(struct lab *lab, int error)
{
	if (error)
		errors_print(lab->errors, stderr);
	assert_int_equal(error, 0);
}

struct lab *lab_open(struct siphash_key secret, struct limits limits)
{
	struct lab *lab = calloc(1, sizeof(*lab));

	assert_non_null(lab);
	lab->secret = secret;
	if (!limits.transition_flows)
		limits.transition_flows = 131072;
	if (!limits.segment_clients)
		limits.segment_clients = 16384;
	if (!limits.segment_prefixes)
		limits.segment_prefixes = 65536;
	if (!limits.observed_clients)
		limits.observed_clients = 4096;
	if (!limits.tracked_clients)
		limits.tracked_clients = 4096;
	lab->limits = limits;
	lab->clients.prefix4 = 32;
	lab->clients.prefix6 = 64;
	lab->ingress = LAB_INGRESS;
	lab->errors = errors_new();
	strcpy(lab->directory, "/tmp/xdp-canary-lab.XXXXXX");
	assert_non_null(mkdtemp(lab->directory));
	require(lab, datapath_create(lab->directory, &limits, secret, &lab->datapath, lab->errors));
	require(lab, program_load(lab->datapath, secret, 0, false, &lab->program, lab->errors));
	require(lab, program_load(lab->datapath, secret, 0, true, &lab->explaining, lab->errors));
	return lab;
}

void lab_close(struct lab *lab)
{
	if (!lab)
		return;
	lab_reset(lab);
	free(lab->services);
	program_free(lab->program);
	program_free(lab->explaining);
	datapath_close(lab->datapath);
	errors_free(lab->errors);
	umount2(lab->directory, MNT_DETACH);
	rmdir(lab->directory);
	free(lab);
}

int lab_setup_group(void **state)
{
	lab_require_bpf();
	*state = lab_open(lab_secret,
			  (struct limits){.services = 64, .vips = 256, .backends = 4096});
	return 0;
}

int lab_teardown_group(void **state)
{
	lab_close(*state);
	*state = NULL;
	return 0;
}

int lab_setup(void **state)
{
	struct lab *lab = *state;

	lab_reset(lab);
	observed_stop(lab->datapath);
	lab->ingress = LAB_INGRESS;
	lab->metadata = 0;
	lab->aside = false;
	return 0;
}

void lab_observe(struct lab *lab, uint32_t sample)
{
	struct observe_settings settings = {.prefix4 = 32, .prefix6 = 64, .sample = sample};

	observed_stop(lab->datapath);
	if (sample)
		require(lab, observed_start(lab->datapath, &settings, lab->errors));
}

/* ---- packets ---- */

void lab_run(const struct lab *lab, const struct frame *in, struct run *run)
{
	uint8_t buffer_in[FRAME_MAX + 256], buffer_out[FRAME_MAX + 512];
	struct xdp_md context = {
		.data = lab->metadata,
		.data_end = lab->metadata + in->size,
		.ingress_ifindex = lab->ingress,
	};
	struct xdp_md context_out = {0};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = buffer_in, .data_out = buffer_out,
		    .data_size_in = lab->metadata + in->size, .data_size_out = sizeof(buffer_out),
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .ctx_out = &context_out,
		    .ctx_size_out = sizeof(context_out), .repeat = 1);
	const struct program *program = lab->aside ? lab->explaining : lab->program;

	memset(buffer_in, 0, lab->metadata);
	memcpy(buffer_in + lab->metadata, in->bytes, in->size);
	assert_int_equal(bpf_prog_test_run_opts(program_fd(program), &options), 0);
	run->verdict = options.retval;
	run->out.size = options.data_size_out - context_out.data;
	assert_true(run->out.size <= sizeof(run->out.bytes));
	memcpy(run->out.bytes, buffer_out + context_out.data, run->out.size);
}

void lab_run_plan(const struct lab *lab, const struct packet_plan *plan, struct run *run)
{
	struct frame frame;

	packet_build(plan, &frame);
	lab_run(lab, &frame, run);
}

static bool was_steered(const struct run *run)
{
	return (run->verdict == XDP_TX || run->verdict == XDP_REDIRECT) &&
	       run->out.bytes[0] == 0x02 && run->out.bytes[1] == 0xbe;
}

int lab_cohort_of(const struct run *run)
{
	return was_steered(run) ? run->out.bytes[2] : -1;
}

int lab_backend_of(const struct run *run)
{
	return was_steered(run) ? load16(run->out.bytes + 4) : -1;
}

struct explanation lab_explain(struct lab *lab, const struct packet_plan *plan)
{
	struct explanation explanation;
	struct run run;

	lab->aside = true;
	lab_run_plan(lab, plan, &run);
	lab->aside = false;
	assert_true(run.out.size >= sizeof(explanation));
	memcpy(&explanation, run.out.bytes, sizeof(explanation));
	return explanation;
}

static void assert_counted(struct lab *lab, const struct interface_counter *before,
			   enum reason reason)
{
	struct interface_counter after = lab_interface_counter(lab);
	int i;

	assert_int_equal(after.seen, before->seen + 1);
	for (i = 0; i < REASONS; i++)
		if (after.reasons[i] != before->reasons[i] + (i == (int)reason))
			fail_msg("reason %d was counted %d times, and %d was expected", i,
				 (int)(after.reasons[i] - before->reasons[i]), reason);
}

void lab_assert_passed(struct lab *lab, const struct frame *in, enum reason reason)
{
	struct interface_counter before = lab_interface_counter(lab);
	struct run run;

	lab_run(lab, in, &run);
	assert_int_equal(run.verdict, XDP_PASS);
	assert_int_equal(run.out.size, in->size);
	assert_memory_equal(run.out.bytes, in->bytes, in->size);
	assert_counted(lab, &before, reason);
}

void lab_assert_dropped(struct lab *lab, const struct frame *in, enum reason reason)
{
	struct interface_counter before = lab_interface_counter(lab);
	struct run run;

	lab_run(lab, in, &run);
	assert_int_equal(run.verdict, XDP_DROP);
	assert_counted(lab, &before, reason);
}

/* ---- counters ---- */

/* The sum of an element's copies, which are arrays of u64, into @out. */
static void sum_counter(const struct lab *lab, enum map_id id, uint32_t index, void *out,
			size_t size)
{
	int cpus = libbpf_num_possible_cpus(), cpu;
	size_t words = size / sizeof(uint64_t), i;
	uint64_t *copies = calloc(cpus, size), *sum = out;

	assert_non_null(copies);
	assert_int_equal(bpf_map_lookup_elem(lab->datapath->maps[id].fd, &index, copies), 0);
	memset(out, 0, size);
	for (cpu = 0; cpu < cpus; cpu++)
		for (i = 0; i < words; i++)
			sum[i] += copies[cpu * words + i];
	free(copies);
}

struct interface_counter lab_interface_counter(const struct lab *lab)
{
	struct interface_counter counter;

	sum_counter(lab, MAP_INTERFACE_COUNTERS, 0, &counter, sizeof(counter));
	return counter;
}

uint64_t lab_reason(const struct lab *lab, enum reason reason)
{
	return lab_interface_counter(lab).reasons[reason];
}

struct rule_counter lab_rule_counter(const struct lab *lab, const struct lab_service *service,
				     uint8_t rule, size_t cohort)
{
	const struct view *view = datapath_view(lab->datapath, service->slot);
	const struct view_rule *rules = map_array(lab->datapath, MAP_RULES, struct view_rule);
	struct rule_counter counter;
	uint32_t index;

	assert_non_null(view);
	index = rule == RULE_NONE ? view->counters : rules[view->rules + rule].counters;
	sum_counter(lab, MAP_RULE_COUNTERS, index + cohort, &counter, sizeof(counter));
	return counter;
}

struct backend_counter lab_backend_counter(const struct lab *lab, const struct lab_service *service,
					   size_t number)
{
	const struct view *view = datapath_view(lab->datapath, service->slot);
	struct backend_counter counter;

	assert_non_null(view);
	sum_counter(lab, MAP_BACKEND_COUNTERS,
		    datapath_backend(lab->datapath, view, number)->counter, &counter,
		    sizeof(counter));
	return counter;
}

uint64_t lab_segment_counter(const struct lab *lab, uint8_t segment)
{
	struct segment_counter counter;

	sum_counter(lab, MAP_SEGMENT_COUNTERS, segment, &counter, sizeof(counter));
	return counter.packets;
}

struct decision_counter lab_decision_counter(const struct lab *lab,
					     const struct lab_service *service)
{
	struct decision_counter counter;

	sum_counter(lab, MAP_DECISION_COUNTERS, service->slot, &counter, sizeof(counter));
	return counter;
}

struct affinity_counter lab_affinity_counter(const struct lab *lab,
					     const struct lab_service *service)
{
	struct affinity_counter counter;

	sum_counter(lab, MAP_AFFINITY_COUNTERS, service->slot, &counter, sizeof(counter));
	return counter;
}
