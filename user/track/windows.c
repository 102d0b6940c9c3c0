// SPDX-License-Identifier: GPL-2.0-only
/*
 * Windows: words that packets read, stored in place, and the counters that follow from them. The
 * program counts where window and count_from say at the moment; a run that read them before they
 * changed has ended after a grace period, which is waited for before its bank is used again.
 */
#include "track/track_internal.h"

#include "datapath/publish.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

uint32_t track_limit(const struct datapath *datapath)
{
	return datapath->maps[MAP_TRACKED_SERVICES].entries;
}

bool track_is_open(const struct datapath *datapath, uint32_t track)
{
	return load(&tracked_service(datapath, track)->flags) & TRACK_OPEN;
}

static int random_salt(__u64 *salt)
{
	return getrandom(salt, sizeof(*salt), 0) == sizeof(*salt) ? 0 : -errno;
}

static uint32_t at_most_u32(uint64_t ms)
{
	return ms < UINT32_MAX ? ms : UINT32_MAX;
}

int track_open(struct datapath *datapath, uint32_t track, const struct service *service)
{
	struct tracked_service *to = tracked_service(datapath, track);
	__u64 salt;
	int error = random_salt(&salt);

	if (error)
		return error;
	track_close(datapath, track);
	memset(to->strata, 0, sizeof(to->strata));
	to->clock = 0;
	to->salt = salt;
	to->window = 0;
	to->prefix4 = service->prefix4;
	to->prefix6 = service->prefix6;
	to->unanswered_after = at_most_u32(service->unanswered_after_ms);
	to->idle_timeout = at_most_u32(service->idle_timeout_ms);
	store(&to->count_from, TRACK_SUSPENDED);
	store(&to->flags, TRACK_OPEN | (service->server_first ? TRACK_SERVER_FIRST : 0));
	return 0;
}

void track_suspend(struct datapath *datapath, uint32_t track)
{
	store(&tracked_service(datapath, track)->count_from, TRACK_SUSPENDED);
}

/* Until the program's runs have ended that read what was before the last store. */
void track_wait_for_runs(const struct datapath *datapath)
{
	struct errors *errors = errors_new();

	grace_period(datapath, errors);
	errors_free(errors);
}

uint32_t track_window(const struct datapath *datapath, uint32_t track)
{
	return load(&tracked_service(datapath, track)->window);
}

void track_begin_window(struct datapath *datapath, uint32_t track, uint32_t number,
			uint64_t settle_jiffies, uint64_t jiffies)
{
	struct tracked_service *service = tracked_service(datapath, track);

	track_wait_for_runs(datapath);
	memset(service->strata[number % TRACK_BANKS], 0, sizeof(service->strata[0]));
	store(&service->window, number);
	if (settle_jiffies == TRACK_KEEP_FLOWS && load(&service->count_from) == TRACK_SUSPENDED)
		settle_jiffies = 0;
	if (settle_jiffies != TRACK_KEEP_FLOWS)
		store(&service->count_from, jiffies + settle_jiffies);
}

/* ---- reading ---- */

void track_read(const struct datapath *datapath, uint32_t track, size_t rule, int arm,
		struct track_counts *out)
{
	const struct tracked_service *service = tracked_service(datapath, track);
	const struct track_stratum *from =
		&service->strata[load(&service->window) % TRACK_BANKS][rule][arm];
	size_t i, bucket;

	out->clients = load(&from->clients);
	out->ended = load(&from->ended);
	out->sights = load(&from->sights);
	for (i = 0; i < KERNEL_METRICS; i++)
		out->events[i] = load(&from->events[i]);
	for (i = 0; i < TRACK_SAMPLES; i++)
		for (bucket = 0; bucket < TRACK_BUCKETS; bucket++)
			out->first_samples[i][bucket] = load(&from->samples[i][bucket]);
}

uint64_t track_overflow(const struct datapath *datapath, uint32_t track)
{
	const struct tracked_service *service = tracked_service(datapath, track);
	uint32_t bank = load(&service->window) % TRACK_BANKS;
	uint64_t sum = 0;
	size_t rule, arm;

	for (rule = 0; rule < RULES_MAX; rule++)
		for (arm = 0; arm < TRACK_ARMS; arm++)
			sum += load(&service->strata[bank][rule][arm].away);
	return sum;
}

void track_read_events(const struct datapath *datapath, uint32_t rule_counter, uint8_t lane,
		       uint64_t firsts[KERNEL_METRICS])
{
	const struct track_event_counter *counter = map_part(
		datapath, MAP_TRACK_EVENTS, struct track_event_counter, rule_counter + lane, 1);
	size_t i;

	for (i = 0; i < KERNEL_METRICS; i++)
		firsts[i] = load(&counter->firsts[i]);
}

void track_read_samples(const struct datapath *datapath, uint32_t slot, uint8_t lane,
			struct track_sample_counter *out)
{
	const struct track_sample_counter *counter =
		map_part(datapath, MAP_TRACK_SAMPLES, struct track_sample_counter,
			 slot * LANES_MAX + lane, 1);
	size_t time, bucket;

	for (time = 0; time < TRACK_TIMES; time++) {
		for (bucket = 0; bucket < TRACK_BUCKETS; bucket++)
			out->buckets[time][bucket] = load(&counter->buckets[time][bucket]);
		out->sums[time] = load(&counter->sums[time]);
	}
	out->away = load(&counter->away);
}

/* ---- closing ---- */

bool track_close_client(struct tracked_client *client, uint64_t seen)
{
	__u64 tag = load(&client->tag);

	if (tag < OBSERVED_TAGS || !swap(&client->seen, seen, TRACK_CLOSED))
		return false;
	return swap(&client->tag, tag, OBSERVED_DYING);
}

/* Marks what is the service's as dying. Flows first: a flow's client tells whose it is. */
static void mark_all(struct datapath *datapath, uint32_t track)
{
	uint32_t clients = datapath->maps[MAP_TRACKED_CLIENTS].entries, i;
	uint32_t flows = datapath->maps[MAP_TRACKED_FLOWS].entries;

	for (i = 0; i < flows; i++) {
		struct tracked_flow *flow = tracked_flow(datapath, i);
		uint32_t tag = load_acquire(&flow->tag);

		if (tag >= TRACKED_FLOW_TAGS && flow->client < clients &&
		    tracked_client(datapath, flow->client)->track == track)
			swap(&flow->tag, tag, TRACKED_FLOW_DYING);
	}
	for (i = 0; i < clients; i++) {
		struct tracked_client *client = tracked_client(datapath, i);

		if (client->track == track)
			track_close_client(client, load(&client->seen));
	}
}

/* All but the lock, which is of the clients whose first place this is. */
static void free_client(struct tracked_client *client)
{
	client->high = client->low = 0;
	client->before = 0;
	client->told = client->told_window = 0;
	client->track = client->rule = client->arm = 0;
	store(&client->seen, 0);
	store(&client->tag, OBSERVED_FREE);
}

bool track_free_client(struct tracked_client *client)
{
	if (load_acquire(&client->tag) != OBSERVED_DYING)
		return false;
	free_client(client);
	return true;
}

bool track_free_flow(struct tracked_flow *flow)
{
	return swap(&flow->tag, TRACKED_FLOW_DYING, TRACKED_FLOW_FREE);
}

void track_close(struct datapath *datapath, uint32_t track)
{
	struct tracked_service *service = tracked_service(datapath, track);
	uint32_t i;

	if (!track_is_open(datapath, track))
		return;
	track_suspend(datapath, track);
	store(&service->flags, 0);
	track_wait_for_runs(datapath);
	mark_all(datapath, track);
	track_wait_for_runs(datapath);
	for (i = 0; i < datapath->maps[MAP_TRACKED_FLOWS].entries; i++)
		track_free_flow(tracked_flow(datapath, i));
	for (i = 0; i < datapath->maps[MAP_TRACKED_CLIENTS].entries; i++)
		track_free_client(tracked_client(datapath, i));
}
