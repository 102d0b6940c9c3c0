// SPDX-License-Identifier: GPL-2.0-only
/*
 * What no packet tells: that an answer did not come, that a flow fell silent. And the end of
 * records: those of flows that are over, of clients that were away for a whole window and have no
 * flow left. Packets go on meanwhile. A flow's record is judged only if it was the same before and
 * after it was read; what is found counts as the program counts, by one compare and swap.
 *
 * A sweep goes over all flows, then over all clients. A record that it marks as dying is freed by
 * the next one, after a grace period: no packet that had found it is left.
 */
#include "track/track_internal.h"

#include "datapath/publish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEP 16384 /* records of 64 bytes: less than a millisecond */

struct track_sweep {
	uint32_t next; /* record to look at: the flows', then the clients' */
	bool may_free; /* no run is left from before the last sweep's end */
	bool has_dying;
	uint32_t per_jiffy;
	uint8_t *has_flow; /* by client, in this sweep */
	size_t clients_count;
	uint32_t counting[TRACKED_SERVICES_MAX][TRACK_ARMS];
	uint32_t clients[TRACKED_SERVICES_MAX][TRACK_ARMS];
};

int track_sweep_new(const struct datapath *datapath, struct track_sweep **out)
{
	struct track_sweep *sweep = calloc(1, sizeof(*sweep));

	if (!sweep)
		return -ENOMEM;
	sweep->clients_count = datapath->maps[MAP_TRACKED_CLIENTS].entries;
	sweep->has_flow = calloc(sweep->clients_count, 1);
	sweep->per_jiffy = track_ms_per_jiffy();
	sweep->has_dying = true; /* whoever swept before may have left some */
	if (!sweep->has_flow) {
		free(sweep);
		return -ENOMEM;
	}
	*out = sweep;
	return 0;
}

void track_sweep_free(struct track_sweep *sweep)
{
	if (!sweep)
		return;
	free(sweep->has_flow);
	free(sweep);
}

uint32_t track_clients(const struct track_sweep *sweep, uint32_t track, int arm)
{
	return sweep->clients[track][arm];
}

/* ---- counting a first, as count_firsts() in bpf/track.h ---- */

static uint32_t fresh_firsts(struct tracked_client *client, uint32_t window, uint32_t firsts,
			     bool is_over, bool is_first)
{
	uint64_t seen, had, has;

	do {
		seen = load(&client->seen);
		had = seen_in(seen, window);
		if (seen == TRACK_CLOSED || is_after(seen_window(seen), window) ||
		    (had & FIRST_AWAY))
			return 0;
		has = had | firsts;
		if (is_over && (!(had & FIRST_FLOW) || is_first))
			has |= FIRST_ENDED;
		if (has == seen)
			return 0;
	} while (!swap(&client->seen, seen, has));
	if (had != seen)
		__atomic_store_n(&client->before, seen, __ATOMIC_RELAXED);
	return has ^ had;
}

static void count_events(struct datapath *datapath, struct tracked_service *service,
			 const struct tracked_client *client, struct track_stratum *stratum,
			 uint32_t fresh)
{
	struct track_event_counter *counter =
		map_part(datapath, MAP_TRACK_EVENTS, struct track_event_counter,
			 service->counters[client->rule] + service->lanes[client->arm], 1);
	int metric;

	for (metric = 0; metric < KERNEL_METRICS; metric++) {
		if (!(fresh & 1u << metric))
			continue;
		add(&stratum->events[metric], 1);
		add(&counter->firsts[metric], 1);
	}
}

static void count_firsts(struct datapath *datapath, struct tracked_service *service,
			 struct tracked_client *client, uint32_t firsts, bool is_over,
			 uint16_t flow_flags)
{
	uint32_t window = load(&service->window);
	bool is_first = (flow_flags & FLOW_FIRST_MASK) == FLOW_FIRST_IN(window);
	uint32_t fresh = fresh_firsts(client, window, firsts | FIRST_FLOW, is_over, is_first);
	struct track_stratum *stratum =
		&service->strata[window % TRACK_BANKS][client->rule][client->arm];

	if (fresh & FIRST_FLOW)
		add(&stratum->clients, 1);
	if (fresh & FIRST_ENDED)
		add(&stratum->ended, 1);
	count_events(datapath, service, client, stratum, fresh);
}

/* ---- flows ---- */

/* What the clock says of a flow. */
struct judged {
	uint8_t told;	 /* what holds, enum flow_told */
	uint32_t events; /* what holds since this sweep: bits of metrics */
	bool is_silent;
	bool is_over; /* its record is to be freed */
};

static bool has_failed_to_connect(const struct tracked_flow *flow, uint32_t t)
{
	uint32_t age = t - flow->t_syn;

	if (flow->flags & FLOW_ESTABLISHED)
		return false;
	return age >= CONNECT_ANY || (flow->nsyn == 1 && age >= CONNECT_ONE_SYN);
}

static struct judged judge(const struct tracked_flow *flow, const struct tracked_service *service,
			   uint32_t t)
{
	static const uint32_t metrics[] = {METRIC_CONNECT_FAILURE, METRIC_UNANSWERED,
					   METRIC_UNANSWERED};
	bool is_pending = flow->flags & FLOW_PENDING, has_ended = flow->flags & FLOW_FIN;
	struct judged judged = {0};
	int i;

	if (has_failed_to_connect(flow, t))
		judged.told |= TOLD_CONNECT_FAILURE;
	if (is_pending && t - flow->t_req >= service->unanswered_after)
		judged.told |= TOLD_UNANSWERED;
	if (is_pending && has_ended && t - flow->quiet_end >= GIVEN_UP_AFTER)
		judged.told |= TOLD_GIVEN_UP;
	for (i = 0; i < 3; i++)
		if (judged.told & ~flow->told & 1u << i)
			judged.events |= 1u << metrics[i];
	judged.is_silent =
		!has_ended && t - flow->t_last >= (uint64_t)service->idle_timeout + SILENT_GRACE;
	if (judged.is_silent)
		judged.events |= 1u << METRIC_SILENT;
	judged.is_over = judged.is_silent || (has_ended && t - flow->t_last >= TRACK_LINGER);
	return judged;
}

/* Did no packet write to the flow while it was copied? */
static bool copy_flow(const struct tracked_flow *flow, struct tracked_flow *out)
{
	struct tracked_flow again;

	memcpy(out, flow, sizeof(*out));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	memcpy(&again, flow, sizeof(again));
	return !memcmp(out, &again, sizeof(again));
}

static void let_die(struct track_sweep *sweep, struct tracked_flow *flow, uint32_t tag)
{
	if (swap(&flow->tag, tag, TRACKED_FLOW_DYING))
		sweep->has_dying = true;
}

static uint64_t now_of(const struct tracked_service *service, uint64_t jiffies)
{
	uint64_t clock = load(&service->clock);

	return clock ? clock : jiffies;
}

static void sweep_known_flow(struct track_sweep *sweep, struct datapath *datapath,
			     struct tracked_flow *flow, uint64_t jiffies)
{
	struct tracked_service *service;
	struct tracked_client *client;
	struct tracked_flow copy;
	struct judged judged;
	uint64_t now;
	uint32_t t;

	if (!copy_flow(flow, &copy) || copy.tag < TRACKED_FLOW_TAGS)
		return; /* by the next sweep it is at rest */
	client = tracked_client(datapath, copy.client);
	service = tracked_service(datapath, client->track);
	if (load(&client->tag) < OBSERVED_TAGS || !(load(&service->flags) & TRACK_OPEN)) {
		let_die(sweep, flow, copy.tag);
		return;
	}
	sweep->has_flow[copy.client] = 1;
	now = now_of(service, jiffies);
	t = track_ms(now, sweep->per_jiffy);
	if ((int32_t)(t - copy.t_last) < 0)
		return; /* a packet came after @jiffies were read */
	judged = judge(&copy, service, t);
	if ((judged.events || judged.is_silent) &&
	    is_flow_counted(&copy, t, track_age(now, load(&service->count_from), sweep->per_jiffy)))
		count_firsts(datapath, service, client, judged.events, judged.is_silent,
			     copy.flags);
	if (judged.told != copy.told)
		__atomic_store_n(&flow->told, judged.told, __ATOMIC_RELAXED);
	if (judged.is_over)
		let_die(sweep, flow, copy.tag);
}

static void sweep_flow(struct track_sweep *sweep, struct datapath *datapath,
		       struct tracked_flow *flow, uint64_t jiffies)
{
	uint32_t tag = load_acquire(&flow->tag);

	if (tag == TRACKED_FLOW_FREE)
		return;
	if (tag >= TRACKED_FLOW_TAGS)
		sweep_known_flow(sweep, datapath, flow, jiffies);
	else if (tag == TRACKED_FLOW_DYING && !(sweep->may_free && track_free_flow(flow)))
		sweep->has_dying = true;
}

/* ---- clients ---- */

/* Away for a whole window: not seen in this one nor in the one before. */
static bool is_away(const struct tracked_service *service, uint64_t seen)
{
	return seen == TRACK_CLOSED || load(&service->window) - seen_window(seen) > 1;
}

static void sweep_client(struct track_sweep *sweep, struct datapath *datapath,
			 struct tracked_client *client, uint32_t number)
{
	uint64_t tag = load_acquire(&client->tag), seen = load(&client->seen);
	struct tracked_service *service;

	if (tag == OBSERVED_FREE || tag == OBSERVED_BUSY)
		return;
	if (tag == OBSERVED_DYING) {
		if (!sweep->may_free || !track_free_client(client))
			sweep->has_dying = true;
		return;
	}
	service = tracked_service(datapath, client->track);
	if (load(&service->flags) & TRACK_OPEN) {
		sweep->counting[client->track][client->arm]++;
		if (!is_away(service, seen) || sweep->has_flow[number])
			return;
	}
	if (track_close_client(client, seen))
		sweep->has_dying = true;
}

/* ---- the sweep ---- */

static bool is_any_open(const struct datapath *datapath)
{
	uint32_t track;

	for (track = 0; track < track_limit(datapath); track++)
		if (track_is_open(datapath, track))
			return true;
	return false;
}

static void begin_sweep(struct track_sweep *sweep, const struct datapath *datapath)
{
	if (sweep->has_dying)
		track_wait_for_runs(datapath);
	sweep->may_free = true;
	sweep->has_dying = false;
	memset(sweep->has_flow, 0, sweep->clients_count);
	memset(sweep->counting, 0, sizeof(sweep->counting));
}

static void sweep_flows(struct track_sweep *sweep, struct datapath *datapath, uint32_t count,
			uint64_t jiffies)
{
	struct tracked_flow *flows =
		map_part(datapath, MAP_TRACKED_FLOWS, struct tracked_flow, sweep->next, count);
	uint32_t i;

	for (i = 0; i < count; i++)
		sweep_flow(sweep, datapath, &flows[i], jiffies);
}

static void sweep_clients(struct track_sweep *sweep, struct datapath *datapath, uint32_t first,
			  uint32_t count)
{
	struct tracked_client *clients =
		map_part(datapath, MAP_TRACKED_CLIENTS, struct tracked_client, first, count);
	uint32_t i;

	for (i = 0; i < count; i++)
		sweep_client(sweep, datapath, &clients[i], first + i);
}

static uint32_t at_most(uint32_t count, uint32_t most)
{
	return count < most ? count : most;
}

int track_sweep_step(struct track_sweep *sweep, struct datapath *datapath, uint64_t jiffies)
{
	uint32_t flows = datapath->maps[MAP_TRACKED_FLOWS].entries, count;
	uint32_t all = flows + sweep->clients_count;

	if (!sweep->next && !is_any_open(datapath)) {
		memset(sweep->clients, 0, sizeof(sweep->clients));
		return 0;
	}
	if (!sweep->next)
		begin_sweep(sweep, datapath);
	if (sweep->next < flows) {
		count = at_most(STEP, flows - sweep->next);
		sweep_flows(sweep, datapath, count, jiffies);
	} else {
		count = at_most(STEP, all - sweep->next);
		sweep_clients(sweep, datapath, sweep->next - flows, count);
	}
	sweep->next += count;
	if (sweep->next < all)
		return 1;
	sweep->next = 0;
	memcpy(sweep->clients, sweep->counting, sizeof(sweep->clients));
	return 0;
}
