// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets go on while records are read and taken: every word is moved by one atomic operation, so a
 * packet's count is in what was taken or in the record, never in both or neither. A packet that is
 * counted at that very moment may have its bytes in one window and itself in the next.
 */
#include "datapath/observed.h"

#include "datapath/publish.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define load(pointer)	     __atomic_load_n(pointer, __ATOMIC_RELAXED)
#define exchange(pointer)    __atomic_exchange_n(pointer, 0, __ATOMIC_RELAXED)
#define add(pointer, number) __atomic_fetch_add(pointer, number, __ATOMIC_RELAXED)

static struct observed_client *records(const struct datapath *datapath, uint32_t first,
				       uint32_t count)
{
	return map_part(datapath, MAP_OBSERVED, struct observed_client, first, count);
}

static uint32_t records_count(const struct datapath *datapath)
{
	return datapath->maps[MAP_OBSERVED].entries;
}

static bool swap_tag(struct observed_client *record, uint64_t from, uint64_t to)
{
	__u64 expected = from;

	return __atomic_compare_exchange_n(&record->tag, &expected, to, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

/* ---- counters ---- */

int observed_counters(const struct datapath *datapath, struct observe_counter *out,
		      struct errors *errors)
{
	int cpus = libbpf_num_possible_cpus(), cpu;
	struct observe_counter *each = calloc(cpus, sizeof(*each));
	uint32_t zero = 0;
	int error = 0;

	*out = (struct observe_counter){0};
	if (!each)
		return -ENOMEM;
	if (bpf_map_lookup_elem(datapath->maps[MAP_OBSERVE_COUNTERS].fd, &zero, each))
		error = errors_add_code(errors, errno, datapath->maps[MAP_OBSERVE_COUNTERS].name,
					"run as root, or as a member of the state's group",
					"cannot read the counters: %s", strerror(errno));
	for (cpu = 0; cpu < cpus && !error; cpu++) {
		out->packets += each[cpu].packets;
		out->bytes += each[cpu].bytes;
		out->flows += each[cpu].flows;
		out->claimed += each[cpu].claimed;
	}
	free(each);
	return error;
}

uint64_t observed_clients(const struct datapath *datapath, const struct observe_counter *counters)
{
	return counters->claimed - load(&datapath_box(datapath)->observed_freed);
}

/* ---- on and off ---- */

static uint32_t seconds_per_jiffy(void)
{
	uint32_t hz = jiffies_hz();

	return ((1ULL << 32) + hz / 2) / hz;
}

int observed_now(struct datapath *datapath, uint32_t *now, struct errors *errors)
{
	uint64_t jiffies;
	int error = datapath_jiffies(datapath, &jiffies, errors);

	if (!error)
		*now = observed_second(jiffies, seconds_per_jiffy());
	return error;
}

static __be32 mask_of(uint8_t prefix4)
{
	return htobe32(prefix4 ? ~0u << (32 - prefix4) : 0);
}

/* After a grace period without observation, or where none ever was. */
static void free_all(struct datapath *datapath, uint64_t claimed)
{
	struct box *box = datapath_box(datapath);

	if (claimed != box->observed_freed)
		memset(records(datapath, 0, records_count(datapath)), 0,
		       map_bytes(&datapath->maps[MAP_OBSERVED], false));
	box->observed_freed = claimed;
}

static int begin(struct datapath *datapath, const struct observe_settings *wanted,
		 struct errors *errors)
{
	struct box *box = datapath_box(datapath);
	struct observe_counter counters;
	uint32_t now;
	int error;

	observed_stop(datapath);
	error = grace_period(datapath, errors);
	if (!error)
		error = observed_counters(datapath, &counters, errors);
	if (!error)
		error = observed_now(datapath, &now, errors);
	if (error)
		return error;
	free_all(datapath, counters.claimed);
	box->observe_second = seconds_per_jiffy();
	box->observe_prefix4 = wanted->prefix4;
	box->observe_prefix6 = wanted->prefix6;
	box->observe_mask4 = mask_of(wanted->prefix4);
	box->observed_since = now;
	return 0;
}

int observed_start(struct datapath *datapath, const struct observe_settings *wanted,
		   struct errors *errors)
{
	struct box *box = datapath_box(datapath);
	int error = 0;

	if (!observed_is_on(datapath) || box->observe_prefix4 != wanted->prefix4 ||
	    box->observe_prefix6 != wanted->prefix6)
		error = begin(datapath, wanted, errors);
	if (!error)
		__atomic_store_n(&box->observe, observe_word(wanted->sample), __ATOMIC_RELEASE);
	return error;
}

void observed_stop(struct datapath *datapath)
{
	__atomic_store_n(&datapath_box(datapath)->observe, 0, __ATOMIC_RELEASE);
}

bool observed_is_on(const struct datapath *datapath)
{
	return load(&datapath_box(datapath)->observe);
}

/* ---- lists ---- */

/* A record's alignment, which realloc() does not know of, is that of a cache line. */
static int grow_list(struct observed_list *list)
{
	size_t room = list->room ? 2 * list->room : 1024;
	struct observed_client *clients;

	if (list->count < list->room)
		return 0;
	clients = aligned_alloc(CACHE_LINE, room * sizeof(*clients));
	if (!clients)
		return -ENOMEM;
	if (list->count)
		memcpy(clients, list->clients, list->count * sizeof(*clients));
	free(list->clients);
	list->clients = clients;
	list->room = room;
	return 0;
}

static int append(struct observed_list *list, const struct observed_client *client)
{
	int error = grow_list(list);

	if (!error)
		list->clients[list->count++] = *client;
	return error;
}

void observed_list_release(struct observed_list *list)
{
	free(list->clients);
	*list = (struct observed_list){0};
}

static bool has_counted(const struct observed_client *client)
{
	return client->packets || client->flows_seconds >> OBSERVED_FLOWS_SHIFT;
}

/* ---- reading ---- */

/* The address is written after the tag: until then, for nanoseconds, it is of nobody. */
static bool has_address(const struct observed_client *client)
{
	return client->high || client->low;
}

static void read_record(const struct observed_client *record, struct observed_client *out)
{
	out->tag = __atomic_load_n(&record->tag, __ATOMIC_ACQUIRE);
	out->high = load(&record->high);
	out->low = load(&record->low);
	out->services = load(&record->services);
	out->packets = load(&record->packets);
	out->bytes = load(&record->bytes);
	out->flows_seconds = load(&record->flows_seconds);
	out->first = load(&record->first);
	out->last = load(&record->last);
}

int observed_read(const struct datapath *datapath, const struct observed_client *only,
		  struct observed_list *out)
{
	uint32_t count = records_count(datapath), i;
	const struct observed_client *all = records(datapath, 0, count);
	int error = 0;

	*out = (struct observed_list){0};
	for (i = 0; i < count && !error; i++) {
		struct observed_client client;

		if (load(&all[i].tag) < OBSERVED_TAGS)
			continue;
		if (only && (all[i].high != only->high || all[i].low != only->low))
			continue;
		read_record(&all[i], &client);
		if (has_address(&client) && has_counted(&client))
			error = append(out, &client);
	}
	if (error)
		observed_list_release(out);
	return error;
}

/* ---- taking ---- */

/*
 * Packets are counted last and taken first: what is left of a packet in the record, is left with
 * its count, and is taken with it. first is written after last was 0, so it is read before last is
 * taken.
 */
static void take_record(struct observed_client *record, struct observed_client *out)
{
	out->tag = load(&record->tag);
	out->high = load(&record->high);
	out->low = load(&record->low);
	out->packets = exchange(&record->packets);
	out->bytes = exchange(&record->bytes);
	out->flows_seconds = exchange(&record->flows_seconds);
	out->services = exchange(&record->services);
	out->first = load(&record->first);
	out->last = exchange(&record->last);
}

static void give_record(struct observed_client *record, const struct observed_client *from)
{
	__u32 none = 0;

	if (from->last)
		__atomic_store_n(&record->first, from->first, __ATOMIC_RELAXED);
	__atomic_compare_exchange_n(&record->last, &none, from->last, false, __ATOMIC_RELAXED,
				    __ATOMIC_RELAXED);
	add(&record->flows_seconds, from->flows_seconds);
	__atomic_fetch_or(&record->services, from->services, __ATOMIC_RELAXED);
	add(&record->bytes, from->bytes);
	add(&record->packets, from->packets);
}

static int look_again(struct observed_take *take, uint32_t record)
{
	size_t room = take->late_room ? 2 * take->late_room : 1024;
	uint32_t *late = take->late;

	if (take->late_count == take->late_room) {
		late = reallocarray(late, room, sizeof(*late));
		if (!late)
			return -ENOMEM;
		take->late = late;
		take->late_room = room;
	}
	late[take->late_count++] = record;
	return 0;
}

static bool is_empty(const struct observed_client *client)
{
	return !client->packets && !client->bytes && !client->flows_seconds && !client->services &&
	       !client->last;
}

/* A record that counted nothing in the whole window is to be freed; one that was dying already
 * still is. */
static int take_one(struct observed_take *take, struct observed_client *record, uint32_t number)
{
	struct observed_client client;
	int error = 0;

	if (load(&record->tag) == OBSERVED_FREE)
		return 0;
	if (!(load(&record->high) | load(&record->low)))
		return look_again(take, number);
	take_record(record, &client);
	if (has_counted(&client))
		error = append(&take->list, &client);
	else if (is_empty(&client) && swap_tag(record, client.tag, OBSERVED_DYING))
		return look_again(take, number);
	else
		give_record(record, &client); /* a packet is about to count */
	if (error)
		give_record(record, &client);
	return error;
}

int observed_take_some(struct datapath *datapath, struct observed_take *take, uint32_t count)
{
	uint32_t all = records_count(datapath), i;
	struct observed_client *part;
	int error = 0;

	if (count > all - take->next)
		count = all - take->next;
	part = count ? records(datapath, take->next, count) : NULL;
	for (i = 0; i < count && !error; i++)
		error = take_one(take, &part[i], take->next + i);
	if (error)
		return error;
	take->next += count;
	return take->next < all;
}

/* No run that found the record before it was dying is left. */
static int end_one(struct observed_take *take, struct observed_client *record, uint64_t *freed)
{
	struct observed_client client;
	int error = 0;

	take_record(record, &client);
	if (has_counted(&client))
		error = append(&take->list, &client);
	if (error || client.tag != OBSERVED_DYING) {
		if (error || !has_counted(&client))
			give_record(record, &client);
		return error;
	}
	record->high = record->low = 0;
	record->first = 0;
	*freed += swap_tag(record, OBSERVED_DYING, OBSERVED_FREE);
	return 0;
}

int observed_take_end(struct datapath *datapath, struct observed_take *take, struct errors *errors)
{
	int error = take->late_count ? grace_period(datapath, errors) : 0;
	uint64_t freed = 0;

	while (take->late_count && !error) {
		uint32_t number = take->late[take->late_count - 1];

		error = end_one(take, records(datapath, number, 1), &freed);
		take->late_count -= !error;
	}
	add(&datapath_box(datapath)->observed_freed, freed);
	return error;
}

/* As the program finds and claims records. */
static struct observed_client *record_of(struct datapath *datapath,
					 const struct observed_client *client)
{
	uint32_t count = records_count(datapath);
	struct observed_client *free_one = NULL, *record;
	int number;

	for (number = 0; number < OBSERVED_PLACES; number++) {
		record = records(datapath, observed_place(client->tag, number, count), 1);
		if (load(&record->tag) == client->tag)
			return record;
	}
	for (number = 0; number < OBSERVED_PLACES && !free_one; number++) {
		record = records(datapath, observed_place(client->tag, number, count), 1);
		if (!swap_tag(record, OBSERVED_FREE, client->tag))
			continue;
		free_one = record;
		__atomic_store_n(&record->high, client->high, __ATOMIC_RELAXED);
		__atomic_store_n(&record->low, client->low, __ATOMIC_RELAXED);
		__atomic_fetch_sub(&datapath_box(datapath)->observed_freed, 1, __ATOMIC_RELAXED);
	}
	return free_one;
}

size_t observed_put_back(struct datapath *datapath, const struct observed_take *take)
{
	size_t i, gone = 0;

	for (i = 0; i < take->list.count; i++) {
		struct observed_client *record = NULL;

		if (take->list.clients[i].tag >= OBSERVED_TAGS)
			record = record_of(datapath, &take->list.clients[i]);
		if (record)
			give_record(record, &take->list.clients[i]);
		gone += !record;
	}
	return gone;
}

void observed_take_release(struct observed_take *take)
{
	observed_list_release(&take->list);
	free(take->late);
	*take = (struct observed_take){0};
}
