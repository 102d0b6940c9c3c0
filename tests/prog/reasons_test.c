// SPDX-License-Identifier: GPL-2.0-only
/* Promise 11: one known mix of packets of every reason, and what an interface counts of it. */
#include "lab.h"
#include "tests/random.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WHOLE	    1000000
#define MIXED	    20000
#define KILLED_SLOT 2
#define HOLDOUT_VIP 29 /* 192.0.2.29 */

static const char client4[] = "198.51.100.7", client6[] = "2001:db8:1:2:3::4";

static struct packet_plan packet_of(int family)
{
	return family == 4 ? packet_tcp(client4, 40000, LAB_VIP4, 80)
			   : packet_tcp(client6, 40000, LAB_VIP6, 80);
}

struct sample {
	struct frame frame;
	bool is_sent; /* reasons that this version has no use for yet are not */
};

/* A service by itself at 192.0.2.@last, and a frame for it. */
static struct lab_service *add_sampled(struct lab *lab, uint8_t last, struct sample *sample)
{
	struct lab_service *service = lab_add_service(lab, "sampled", STEER_IPIP);
	struct packet_plan plan = packet_of(4);
	char text[32];

	snprintf(service->service.name, NAME_SIZE, "sampled-%u", last);
	snprintf(text, sizeof(text), "192.0.2.%u:80/tcp", last);
	lab_add_vip(service, text);
	lab_add_backend(service, 0, "10.0.0.11", 100, LAB_INGRESS);
	plan.destination.bytes[3] = last;
	packet_build(&plan, &sample->frame);
	sample->is_sent = true;
	return service;
}

static void add_samples_to_vips(struct lab *lab, struct sample samples[REASONS])
{
	struct lab_service *service;

	add_sampled(lab, 20, &samples[REASON_DEFAULT]);
	service = add_sampled(lab, 21, &samples[REASON_OVERRIDE]);
	lab_add_pin(service, client4, 0, PIN_FOREVER);
	service = add_sampled(lab, 22, &samples[REASON_KILLED]);
	assert_int_equal(service->slot, KILLED_SLOT);
	service = add_sampled(lab, 23, &samples[REASON_COHORT_DOWN]);
	lab_set_share(service, 1, WHOLE);
	add_sampled(lab, 24, &samples[REASON_NOT_ENFORCED])->service.enforce = false;
	service = add_sampled(lab, 25, &samples[REASON_NO_BACKEND]);
	service->backends[0][0].backend.weight = 0;
	service = add_sampled(lab, 26, &samples[REASON_NO_NEXT_HOP]);
	service->backends[0][0].hop.state = NEXT_HOP_FAILED;
	service = add_sampled(lab, 27, &samples[REASON_TOO_BIG]);
	service->backends[0][0].hop.mtu = 60; /* below the quote of an answer: none is sent */
	add_sampled(lab, 28, &samples[REASON_NO_HEADROOM]); /* sent with metadata in front */
	add_sampled(lab, HOLDOUT_VIP, &samples[REASON_HOLDOUT])->service.holdout_ppm = WHOLE / 2;
}

/* Its service holds out every other client: the first of them. */
static void find_held_out(struct lab *lab, struct sample *sample)
{
	struct packet_plan plan;
	unsigned int client = 0;

	do {
		assert_true(client < 100);
		plan = packet_of(4);
		plan.source.bytes[3] = client++;
		plan.destination.bytes[3] = HOLDOUT_VIP;
	} while (lab_explain(lab, &plan).decision != REASON_HOLDOUT);
	packet_build(&plan, &sample->frame);
}

static void add_sample(struct sample *sample, const struct packet_plan *plan)
{
	packet_build(plan, &sample->frame);
	sample->is_sent = true;
}

static void add_samples_to_others(struct sample samples[REASONS])
{
	struct packet_plan plan = packet_of(4);

	plan.destination_port = 81;
	add_sample(&samples[REASON_NOT_VIP], &plan);
	plan = packet_of(6);
	add_sample(&samples[REASON_TRUNCATED], &plan);
	samples[REASON_TRUNCATED].frame.size--;
	plan = packet_of(4);
	plan.fragment = 0x00b9;
	add_sample(&samples[REASON_FRAGMENT], &plan);
	plan = packet_of(6);
	plan.protocol = IPPROTO_ICMPV6;
	add_sample(&samples[REASON_ICMP], &plan);
	plan = packet_of(4);
	plan.tags = 3;
	add_sample(&samples[REASON_UNSUPPORTED], &plan);
	packet_build_ethernet(TYPE_ARP, 46, &samples[REASON_NOT_IP].frame);
	samples[REASON_NOT_IP].is_sent = true;
}

static void run_sample(struct lab *lab, const struct sample *sample, enum reason reason)
{
	struct run run;

	lab->metadata = reason == REASON_NO_HEADROOM ? LAB_METADATA_MOST : 0;
	lab_run(lab, &sample->frame, &run);
	lab->metadata = 0;
	if (reason < STEER_REASONS)
		assert_int_equal(run.verdict, XDP_TX);
	else
		assert_int_equal(run.verdict, reason < REASON_NO_BACKEND ? XDP_PASS : XDP_DROP);
}

static void promise_11_every_packet_is_counted_under_one_reason(void **state)
{
	static struct sample samples[REASONS];
	struct random random = random_seeded(__func__);
	struct interface_counter before, after;
	uint64_t expected[REASONS] = {0}, sum = 0;
	struct lab *lab = *state;
	unsigned int i, sent = 0;

	memset(samples, 0, sizeof(samples));
	add_samples_to_vips(lab, samples);
	add_samples_to_others(samples);
	lab_publish(lab);
	service_kill(lab->datapath, KILLED_SLOT);
	find_held_out(lab, &samples[REASON_HOLDOUT]);
	before = lab_interface_counter(lab);
	while (sent < MIXED) {
		enum reason reason = random_below(&random, REASONS);

		if (!samples[reason].is_sent)
			continue;
		run_sample(lab, &samples[reason], reason);
		expected[reason]++;
		sent++;
	}
	after = lab_interface_counter(lab);
	for (i = 0; i < REASONS; i++) {
		assert_int_equal(after.reasons[i] - before.reasons[i], expected[i]);
		sum += after.reasons[i] - before.reasons[i];
	}
	assert_int_equal(sum, MIXED);
	assert_int_equal(after.seen - before.seen, MIXED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(promise_11_every_packet_is_counted_under_one_reason),
	};

	return cmocka_run_group_tests_name("prog/reasons", tests, lab_setup_group,
					   lab_teardown_group);
}
