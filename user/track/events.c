// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whom what happened to: the metrics of each client's word, told once. What was told is kept in the
 * record, in words that nobody else writes: a daemon that comes back tells nothing twice.
 */
#include "track/track_internal.h"

#include <endian.h>
#include <string.h>

#define TOLD_METRICS                                                                               \
	(FIRST_METRICS & ~(1u << METRIC_ESTABLISH_TIME | 1u << METRIC_RESPOND_TIME |               \
			   1u << METRIC_LAST_BYTE_TIME | 1u << METRIC_RESPONSE_SIZE))

static struct prefix prefix_of_client(const struct tracked_client *client,
				      const struct tracked_service *service)
{
	uint64_t high = load(&client->high), low = load(&client->low);
	uint64_t words[2] = {htobe64(high), htobe64(low)};
	uint32_t address4 = htobe32(low);
	struct prefix prefix = {.address.family = 6, .length = service->prefix6};

	if (high || low >> 32 != IPV4_MAPPED >> 32) {
		memcpy(prefix.address.bytes, words, sizeof(words));
		return prefix;
	}
	prefix.address.family = 4;
	prefix.length = service->prefix4;
	memcpy(prefix.address.bytes, &address4, sizeof(address4));
	return prefix;
}

struct teller {
	struct datapath *datapath;
	int (*each)(const struct tracked_event *event, void *data);
	void *data;
};

static int tell(const struct teller *teller, const struct tracked_client *client, uint32_t window,
		uint32_t events)
{
	const struct tracked_service *service = tracked_service(teller->datapath, client->track);
	struct tracked_event event = {
		.track = client->track,
		.window = window,
		.arm = client->arm,
		.rule = client->rule,
	};
	int metric, error = 0;

	event.client = prefix_of_client(client, service);
	for (metric = 0; metric < KERNEL_METRICS && !error; metric++) {
		event.metric = metric;
		if (events & 1u << metric)
			error = teller->each(&event, teller->data);
	}
	return error;
}

/* The window before is told of with the next one, if it was not, or not all. */
static int tell_client(const struct teller *teller, struct tracked_client *client)
{
	uint64_t seen = load(&client->seen), before = load(&client->before);
	uint32_t window = seen_window(seen), last = seen_window(before);
	uint32_t now = seen & TOLD_METRICS, then = before & TOLD_METRICS;
	uint32_t fresh = now;
	int error = 0;

	if (seen == TRACK_CLOSED)
		return 0;
	if (client->told_window == (uint16_t)window) {
		fresh &= ~client->told;
		then = 0;
	} else if (client->told_window == (uint16_t)last) {
		then &= ~client->told;
	}
	if (then)
		error = tell(teller, client, last, then);
	if (!error && fresh)
		error = tell(teller, client, window, fresh);
	if (error)
		return error;
	client->told_window = window;
	client->told = now;
	return 0;
}

int track_each_new_event(struct datapath *datapath,
			 int (*each)(const struct tracked_event *event, void *data), void *data)
{
	const struct teller teller = {datapath, each, data};
	uint32_t i;
	int error = 0;

	for (i = 0; i < datapath->maps[MAP_TRACKED_CLIENTS].entries && !error; i++) {
		struct tracked_client *client = tracked_client(datapath, i);

		if (load_acquire(&client->tag) >= OBSERVED_TAGS)
			error = tell_client(&teller, client);
	}
	return error;
}
