// SPDX-License-Identifier: GPL-2.0-only
/*
 * A timer of a third of the shortest lease that a service may have, or a second, before everything
 * else that the loop has to do. Which services have a lease now the kernel's views say. Now and
 * then it is noted in the store how far it got, for the time after a boot (control/lease.c).
 */
#include "daemon/lease.h"

#include "util/log.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MOST_MS  1000
#define TICKS_A_LEASE 3
#define US_PER_MS     1000ULL
#define NS_PER_MS     1000000ULL

struct leased {
	char service[NAME_SIZE];
	uint64_t lease_ms;
	uint64_t noted_ns; /* CLOCK_MONOTONIC; 0: not yet */
	bool has_ended;	   /* that was said */
};

struct leaser {
	const struct place *place;
	const struct actor *actor;
	void (*on_ended)(void *data);
	void *data;
	sd_event_source *timer;
	struct datapath *datapath; /* NULL: nothing is loaded */
	struct leased *services;
	size_t count;
};

/* ---- which services ---- */

static struct leased *leased_of(const struct leaser *leaser, const char *service)
{
	size_t i;

	for (i = 0; i < leaser->count; i++)
		if (!strcmp(leaser->services[i].service, service))
			return &leaser->services[i];
	return NULL;
}

void leaser_look_again(struct leaser *leaser, const struct control *control)
{
	const struct policy *policy = control->policy;
	struct leased *services = calloc(policy->services_count + 1, sizeof(*services));
	size_t i, count = 0;

	if (!services) /* what is known is most likely still right */
		return;
	for (i = 0; i < policy->services_count; i++) {
		const struct service *service = &policy->services[i];
		const struct leased *known = leased_of(leaser, service->name);

		if (!service->rollout.is_given || !service->rollout.lease_ms)
			continue;
		if (known)
			services[count] = *known;
		snprintf(services[count].service, NAME_SIZE, "%s", service->name);
		services[count++].lease_ms = service->rollout.lease_ms;
	}
	free(leaser->services);
	leaser->services = services;
	leaser->count = count;
}

static uint64_t tick_ms(const struct leaser *leaser)
{
	uint64_t least = TICK_MOST_MS;
	size_t i;

	for (i = 0; i < leaser->count; i++)
		if (leaser->services[i].lease_ms / TICKS_A_LEASE < least)
			least = leaser->services[i].lease_ms / TICKS_A_LEASE;
	return least;
}

/* ---- renewing ---- */

/* Was it renewed? */
static bool renew(struct leaser *leaser, struct leased *service)
{
	int slot = service_slot_by_name(leaser->datapath, service->service);
	int error = slot < 0 ? slot
			     : lease_renew(leaser->datapath, slot,
					   jiffies_of_ms(service->lease_ms, jiffies_hz()), NULL);
	bool had_ended = service->has_ended;

	service->has_ended = error == -ESTALE;
	if (service->has_ended && !had_ended)
		leaser->on_ended(leaser->data);
	return !error;
}

static bool is_note_due(const struct leased *service, uint64_t now)
{
	return !service->noted_ns ||
	       now - service->noted_ns >= lease_note_ms(service->lease_ms) * NS_PER_MS;
}

/* Of all that are due, in one write; where another writer has the lock, the next time. */
static void note_renewals(struct leaser *leaser, const bool *renewed)
{
	uint64_t now = monotonic_now_ns();
	struct store *store = NULL;
	int error = 0;
	size_t i;

	for (i = 0; i < leaser->count && !error; i++) {
		if (!renewed[i] || !is_note_due(&leaser->services[i], now))
			continue;
		if (!store)
			error = store_open_write(leaser->place->state, 0, leaser->actor, &store,
						 NULL);
		if (!error)
			error = lease_note(store, leaser->services[i].service, NULL);
	}
	if (store && !error)
		error = store_commit(store, NULL);
	for (i = 0; store && i < leaser->count && !error; i++)
		if (renewed[i] && is_note_due(&leaser->services[i], now))
			leaser->services[i].noted_ns = now;
	store_close(store);
}

static void tick(struct leaser *leaser)
{
	bool *renewed = calloc(leaser->count + 1, sizeof(*renewed));
	size_t i;

	if (leaser->count || leaser->datapath)
		datapath_keep_open(leaser->place->pins, true, &leaser->datapath);
	for (i = 0; renewed && leaser->datapath && i < leaser->count; i++)
		renewed[i] = renew(leaser, &leaser->services[i]);
	if (renewed)
		note_renewals(leaser, renewed);
	free(renewed);
}

static int on_tick(sd_event_source *source, uint64_t time, void *data)
{
	struct leaser *leaser = data;
	uint64_t now;

	(void)time;
	tick(leaser);
	sd_event_now(sd_event_source_get_event(source), CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(source, now + tick_ms(leaser) * US_PER_MS);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- */

struct leaser *leaser_new(sd_event *event, const struct place *place, const struct actor *actor,
			  void (*on_ended)(void *data), void *data)
{
	struct leaser *leaser = calloc(1, sizeof(*leaser));

	if (!leaser)
		return NULL;
	*leaser =
		(struct leaser){.place = place, .actor = actor, .on_ended = on_ended, .data = data};
	if (sd_event_add_time(event, &leaser->timer, CLOCK_MONOTONIC, 0, 1, on_tick, leaser) < 0 ||
	    sd_event_source_set_priority(leaser->timer, SD_EVENT_PRIORITY_IMPORTANT) < 0) {
		leaser_free(leaser);
		return NULL;
	}
	return leaser;
}

void leaser_free(struct leaser *leaser)
{
	if (!leaser)
		return;
	sd_event_source_disable_unref(leaser->timer);
	datapath_close(leaser->datapath);
	free(leaser->services);
	free(leaser);
}
