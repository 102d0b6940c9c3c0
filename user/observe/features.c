// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ten features (docs/architecture.md, "Observing clients", says what is exact and what is
 * estimated). Counts are of the window; a gap is the mean time between two seconds in which the
 * client sent something, ages are at the window's end.
 */
#include "observe/features.h"

#include "segment/members.h"
#include "util/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define SECONDS_A_DAY 86400.0
#define NS_A_SECOND   1000000000ULL
#define IPV4_LENGTH   96

/* ---- windows ---- */

int window_running(struct datapath *datapath, struct window *out, struct errors *errors)
{
	const struct box *box = datapath_box(datapath);
	int error;

	if (!observed_is_on(datapath))
		return -ENODATA;
	*out = (struct window){
		.from = __atomic_load_n(&box->observed_since, __ATOMIC_RELAXED),
		.to_ns = time_now_ns(),
		.prefix4 = box->observe_prefix4,
		.prefix6 = box->observe_prefix6,
		.sample = __atomic_load_n(&box->observe, __ATOMIC_RELAXED) >> 32,
	};
	error = observed_now(datapath, &out->to, errors);
	if (!error && out->to < out->from) /* it began while we looked */
		out->to = out->from;
	return error;
}

struct features_window window_in_store(const struct window *window, uint64_t clients)
{
	return (struct features_window){
		.from_ns = window->to_ns - (window->to - window->from) * NS_A_SECOND,
		.to_ns = window->to_ns,
		.sample = window->sample,
		.clients = clients,
	};
}

/* ---- one record a client ---- */

static int compare(const void *left, const void *right)
{
	const struct observed_client *a = left, *b = right;

	if (a->high != b->high)
		return a->high < b->high ? -1 : 1;
	return (a->low > b->low) - (a->low < b->low);
}

static void add_up(struct observed_client *to, const struct observed_client *more)
{
	if (more->last && (!to->last || more->first < to->first))
		to->first = more->first;
	if (more->last > to->last)
		to->last = more->last;
	to->services |= more->services;
	to->packets += more->packets;
	to->bytes += more->bytes;
	to->flows_seconds += more->flows_seconds;
}

void observed_merge(struct observed_list *list)
{
	struct observed_client *clients = list->clients;
	size_t i, kept = 0;

	qsort(clients, list->count, sizeof(*clients), compare);
	for (i = 0; i < list->count; i++)
		if (kept && !compare(&clients[kept - 1], &clients[i]))
			add_up(&clients[kept - 1], &clients[i]);
		else
			clients[kept++] = clients[i];
	list->count = kept;
}

/* ---- features ---- */

static struct member member_of_client(const struct observed_client *client,
				      const struct window *window)
{
	bool is_ipv4 = !client->high && client->low >> 32 == IPV4_MAPPED >> 32;

	return (struct member){
		.high = client->high,
		.low = client->low,
		.length = is_ipv4 ? IPV4_LENGTH + window->prefix4 : window->prefix6,
	};
}

/* Taking takes a moment, in which packets are counted that the window does not end with. */
static double seconds_between(uint32_t from, uint32_t to)
{
	return from < to ? to - from : 0;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

struct client_features features_of(const struct observed_client *client,
				   const struct window *window)
{
	uint64_t flows = client->flows_seconds >> OBSERVED_FLOWS_SHIFT;
	uint64_t active = client->flows_seconds & OBSERVED_SECONDS_MASK;
	uint32_t first = client->first, last = client->last;
	double length = larger(seconds_between(window->from, window->to), 1);

	/* Of a packet that the end of the window before cut in two, either may not be written: it
	 * was at the beginning of this one. */
	if (!last)
		last = window->from;
	if (!client->last || first < window->from)
		first = window->from;
	return (struct client_features){
		.client = member_of_client(client, window),
		.packets = client->packets,
		.bytes = client->bytes,
		.flows = flows,
		.active_seconds = active,
		.flows_per_day = flows * SECONDS_A_DAY / length,
		.bytes_per_flow = flows ? (double)client->bytes / flows : NAN,
		.mean_gap_seconds = active > 1 ? seconds_between(first, last) / (active - 1) : NAN,
		.first_seen_age_seconds = seconds_between(first, window->to),
		.last_seen_age_seconds = seconds_between(last, window->to),
		.services = __builtin_popcountll(client->services),
	};
}

/* Rows of the last window, in order beside those of the new one. */
struct known {
	struct client_features *rows;
	size_t next, count;
	double since; /* seconds from the last window's end to the new one's */
};

static int remember(const struct client_features *before, void *data)
{
	struct known *known = data;

	while (known->next < known->count &&
	       member_compare(&known->rows[known->next].client, &before->client) < 0)
		known->next++;
	if (known->next < known->count &&
	    !member_compare(&known->rows[known->next].client, &before->client)) {
		double *age = &known->rows[known->next].first_seen_age_seconds;

		*age = larger(*age, before->first_seen_age_seconds + known->since);
	}
	return 0;
}

int features_of_all(struct store *store, const struct window *window,
		    const struct observed_client *clients, size_t count,
		    struct client_features *out, struct errors *errors)
{
	struct known known = {.rows = out, .count = count};
	struct features_window before;
	size_t i;
	int error = store ? store_features_window(store, &before, errors) : -ENOENT;

	for (i = 0; i < count; i++)
		out[i] = features_of(&clients[i], window);
	if (error || !count)
		return error == -ENOENT ? 0 : error;
	known.since = ((double)window->to_ns - (double)before.to_ns) / NS_A_SECOND;
	return store_each_features(store, &out[0].client, &out[count - 1].client, remember, &known,
				   errors);
}

struct feature_value feature_value(const struct client_features *features, enum feature feature)
{
	const struct feature_value values[FEATURES_COUNT] = {
		[FEATURE_packets] = {.integer = features->packets},
		[FEATURE_bytes] = {.integer = features->bytes},
		[FEATURE_flows] = {.integer = features->flows},
		[FEATURE_active_seconds] = {.integer = features->active_seconds},
		[FEATURE_flows_per_day] = {true, .real = features->flows_per_day},
		[FEATURE_bytes_per_flow] = {true, .real = features->bytes_per_flow},
		[FEATURE_mean_gap_seconds] = {true, .real = features->mean_gap_seconds},
		[FEATURE_first_seen_age_seconds] = {true, .real = features->first_seen_age_seconds},
		[FEATURE_last_seen_age_seconds] = {true, .real = features->last_seen_age_seconds},
		[FEATURE_services] = {.integer = features->services},
	};

	return values[feature];
}
