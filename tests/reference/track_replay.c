// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replays packets through the real program, at times of its own, for tests/reference/test_track.py:
 * commands on standard input, one a line; what was counted on standard output as JSON, one a line.
 *
 *   service SHARE_PPM FACTOR UNANSWERED_MS IDLE_MS SERVER_FIRST   publishes and follows it
 *   at JIFFIES        the service's clock from now on
 *   packet HEX        one frame; prints nothing
 *   sweep             a whole sweep
 *   begin SETTLE      a window, SETTLE jiffies after which flows count; -1: they go on counting
 *   suspend
 *   cohort ADDRESS    which one the client is in: {"cohort": N}
 *   counts            of the running window and since the beginning
 *   events            that were not told of yet
 *   hz                {"hz": N}
 */
#include "lab.h"
#include "track/track.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TRACK 3 /* any */

static struct lab *lab;
static struct lab_service *service;
static struct track_sweep *sweep;
static uint64_t now;

static struct tracked_service *element(void)
{
	return map_part(lab->datapath, MAP_TRACKED_SERVICES, struct tracked_service, TRACK, 1);
}

static void give_up(const char *what)
{
	fprintf(stderr, "track_replay: %s\n", what);
	exit(1);
}

/* Counts that never fall: of the service that was there before. */
static void forget_totals(void)
{
	memset(map_array(lab->datapath, MAP_TRACK_EVENTS, struct track_event_counter), 0,
	       map_bytes(&lab->datapath->maps[MAP_TRACK_EVENTS], false));
	memset(map_array(lab->datapath, MAP_TRACK_SAMPLES, struct track_sample_counter), 0,
	       map_bytes(&lab->datapath->maps[MAP_TRACK_SAMPLES], false));
}

static void serve(const char *words)
{
	unsigned int share, factor, server_first;
	unsigned long unanswered, idle;

	if (sscanf(words, "%u %u %lu %lu %u", &share, &factor, &unanswered, &idle, &server_first) !=
	    5)
		give_up("service: five numbers");
	track_close(lab->datapath, TRACK);
	forget_totals();
	lab_reset(lab);
	service = lab_add_usual(lab, STEER_L2, 4);
	service->service.unanswered_after_ms = unanswered;
	service->service.idle_timeout_ms = idle;
	service->service.server_first = server_first;
	service->tracked = true;
	service->track = TRACK;
	service->control_factor = factor;
	service->rollout_cohort = 1;
	lab_set_share(service, 1, share);
	if (track_open(lab->datapath, TRACK, &service->service))
		give_up("cannot follow the service");
	lab_publish(lab);
	track_sweep_free(sweep);
	if (track_sweep_new(lab->datapath, &sweep))
		give_up("no memory");
}

static void run_packet(const char *hex)
{
	struct frame frame = {0};
	struct run run;
	unsigned int byte;

	for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
		frame.bytes[frame.size++] = byte;
	lab_run(lab, &frame, &run);
	if (lab_cohort_of(&run) < 0)
		give_up("a packet was not steered");
}

static void print_cohort(const char *address)
{
	struct packet_plan plan = packet_tcp(address, 1024, LAB_VIP4, 80);

	if (strchr(address, ':'))
		plan = packet_tcp(address, 1024, LAB_VIP6, 80);
	printf("{\"cohort\": %d}\n", lab_explain(lab, &plan).chosen_cohort);
}

static void print_array(const char *name, const uint64_t *numbers, size_t count)
{
	size_t i;

	printf("\"%s\": [", name);
	for (i = 0; i < count; i++)
		printf("%s%" PRIu64, i ? ", " : "", numbers[i]);
	printf("]");
}

static void print_arm(int arm)
{
	struct track_counts counts;
	struct track_sample_counter samples;
	uint64_t totals[KERNEL_METRICS];
	const struct view *view = datapath_view(lab->datapath, service->slot);
	const struct view_rule *rules = map_array(lab->datapath, MAP_RULES, struct view_rule);
	size_t i;

	track_read(lab->datapath, TRACK, 0, arm, &counts);
	track_read_events(lab->datapath, rules[view->rules].counters, arm, totals);
	track_read_samples(lab->datapath, service->slot, arm, &samples);
	printf("{\"clients\": %" PRIu64 ", \"ended\": %" PRIu64 ", \"sights\": %" PRIu64 ", ",
	       counts.clients, counts.ended, counts.sights);
	printf("\"away\": %" PRIu64 ", \"records\": %u, ", (uint64_t)samples.away,
	       track_clients(sweep, TRACK, arm));
	print_array("events", counts.events, KERNEL_METRICS);
	printf(", ");
	print_array("totals", totals, KERNEL_METRICS);
	for (i = 0; i < TRACK_SAMPLES; i++) {
		static const char *const names[] = {"first_establish", "first_respond",
						    "first_last_byte", "first_size"};
		static const char *const all[] = {"establish", "respond", "last_byte"};

		printf(", ");
		print_array(names[i], counts.first_samples[i], TRACK_BUCKETS);
		if (i == TRACK_TIMES)
			break;
		printf(", ");
		print_array(all[i], (uint64_t *)samples.buckets[i], TRACK_BUCKETS);
	}
	printf(", ");
	print_array("sums", (uint64_t *)samples.sums, TRACK_TIMES);
	printf("}");
}

static void print_counts(void)
{
	printf("{\"window\": %u, \"overflow\": %" PRIu64 ", \"control\": ", element()->window,
	       track_overflow(lab->datapath, TRACK));
	print_arm(TRACK_CONTROL);
	printf(", \"canary\": ");
	print_arm(TRACK_CANARY);
	printf("}\n");
}

static int print_event(const struct tracked_event *event, void *data)
{
	char client[ADDRESS_TEXT_SIZE];
	int *count = data;

	printf("%s{\"client\": \"%s\", \"window\": %u, \"arm\": \"%s\", \"metric\": \"%s\"}",
	       (*count)++ ? ", " : "", prefix_format(&event->client, client), event->window,
	       event->arm == TRACK_CANARY ? "canary" : "control",
	       kernel_metric_name(event->metric));
	return 0;
}

static void print_events(void)
{
	int count = 0;

	printf("[");
	track_each_new_event(lab->datapath, print_event, &count);
	printf("]\n");
}

static void begin(long settle)
{
	track_begin_window(lab->datapath, TRACK, track_window(lab->datapath, TRACK) + 1,
			   settle < 0 ? TRACK_KEEP_FLOWS : (uint64_t)settle, now);
}

static void obey(const char *command, const char *words)
{
	if (!strcmp(command, "service")) {
		serve(words);
	} else if (!strcmp(command, "at")) {
		now = strtoull(words, NULL, 10);
		element()->clock = now;
	} else if (!strcmp(command, "packet")) {
		run_packet(words);
	} else if (!strcmp(command, "sweep")) {
		while (track_sweep_step(sweep, lab->datapath, now))
			;
	} else if (!strcmp(command, "begin")) {
		begin(atol(words));
	} else if (!strcmp(command, "suspend")) {
		track_suspend(lab->datapath, TRACK);
	} else if (!strcmp(command, "cohort")) {
		print_cohort(words);
	} else if (!strcmp(command, "counts")) {
		print_counts();
	} else if (!strcmp(command, "events")) {
		print_events();
	} else if (!strcmp(command, "hz")) {
		printf("{\"hz\": %u}\n", jiffies_hz());
	} else {
		give_up("no such command");
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct limits limits = {.services = 16, .vips = 64, .backends = 64};
	static char line[2 * FRAME_MAX + 64];

	lab_require_bpf();
	limits.tracked_clients = argc > 1 ? atoi(argv[1]) : 4096;
	lab = lab_open(lab_secret, limits);
	while (fgets(line, sizeof(line), stdin)) {
		char *words = strpbrk(line, " \n");

		if (words && *words == ' ')
			*words++ = '\0';
		else if (words)
			*words = '\0';
		if (words && strchr(words, '\n'))
			*strchr(words, '\n') = '\0';
		obey(line, words ? words : "");
	}
	track_sweep_free(sweep);
	track_close(lab->datapath, TRACK);
	lab_close(lab);
	return 0;
}
