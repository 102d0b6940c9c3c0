// SPDX-License-Identifier: GPL-2.0-only
/* The user side of feeding.bpf.c. */
#include "feeder.h"

#include "tests/prog/feeding.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct feeder {
	struct feeding *program;
	char link[IF_NAMESIZE];
};

/*
 * A test run of more than one packet puts its program among those that XDP calls directly, and
 * takes it away again; each waits for a grace period, and so for whatever another thread runs. A
 * program that is attached somewhere, natively, is among them already.
 */
static void attach(struct feeder *feeder)
{
	static unsigned int number;
	int fd = bpf_program__fd(feeder->program->progs.feed_packet);
	char command[128];

	snprintf(feeder->link, sizeof(feeder->link), "feeder%u", number++);
	snprintf(command, sizeof(command), "ip link add %s type veth peer name p-%s", feeder->link,
		 feeder->link);
	assert_int_equal(system(command), 0);
	assert_int_equal(bpf_xdp_attach(if_nametoindex(feeder->link), fd, XDP_FLAGS_DRV_MODE, NULL),
			 0);
}

struct feeder *feeder_open(const struct lab *lab, uint32_t lines, const struct feeder *shared)
{
	struct feeder *feeder = calloc(1, sizeof(*feeder));
	int fd = program_fd(lab->program);
	uint32_t zero = 0;

	assert_non_null(feeder);
	feeder->program = feeding__open();
	assert_non_null(feeder->program);
	if (shared)
		assert_int_equal(bpf_map__reuse_fd(feeder->program->maps.lines,
						   bpf_map__fd(shared->program->maps.lines)),
				 0);
	else
		assert_int_equal(bpf_map__set_max_entries(feeder->program->maps.lines, lines), 0);
	assert_int_equal(feeding__load(feeder->program), 0);
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(feeder->program->maps.fed), &zero, &fd, BPF_ANY),
		0);
	attach(feeder);
	return feeder;
}

void feeder_close(struct feeder *feeder)
{
	char command[64];

	snprintf(command, sizeof(command), "ip link del %s", feeder->link);
	assert_int_equal(system(command), 0);
	feeding__destroy(feeder->program);
	free(feeder);
}

struct feed *feeder_feed(struct feeder *feeder)
{
	return &feeder->program->bss->feed;
}

struct fed_flow *feeder_flows(struct feeder *feeder)
{
	return feeder->program->bss->flows;
}

void feeder_build(const char *vip, uint8_t flags, struct frame *frame)
{
	struct packet_plan plan = packet_tcp("198.18.0.1", 1024, vip, 80);

	plan.tcp_flags = flags;
	packet_build(&plan, frame);
}

int feeder_run(struct feeder *feeder, const struct frame *frame, uint32_t count)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->bytes,
		    .data_size_in = frame->size, .repeat = count);
	int error;

	feeder_feed(feeder)->last = FED_NONE;
	error = bpf_prog_test_run_opts(bpf_program__fd(feeder->program->progs.feed_packet),
				       &options);
	return !error && options.retval != XDP_TX ? -EPROTO : error;
}
