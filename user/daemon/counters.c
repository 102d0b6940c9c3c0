// SPDX-License-Identifier: GPL-2.0-only
/* By their notes' keys: counters/FAMILY/SERVICE/LABEL. Those that a save has to write are a list.
 */
#include "daemon/counters.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX	 "counters/"
#define KEY_SIZE (sizeof(PREFIX) + 2 * NAME_SIZE + ADDRESS_TEXT_SIZE + 2)

struct counter {
	char key[KEY_SIZE]; /* first: what the tree compares */
	struct counters *counters;
	uint64_t count, stored;
	size_t users;
	bool is_forgotten, is_listed;
	struct counter *next; /* in the list of changes */
};

struct counters {
	void *tree;
	struct counter *changes;
	bool is_loaded;
};

static int compare(const void *left, const void *right)
{
	return strcmp(left, right);
}

struct counters *counters_new(void)
{
	return calloc(1, sizeof(struct counters));
}

void counters_free(struct counters *counters)
{
	if (!counters)
		return;
	tdestroy(counters->tree, free);
	free(counters);
}

static struct counter *find_or_add(struct counters *counters, const char *key)
{
	struct counter **found = tfind(key, &counters->tree, compare), *counter;

	if (found)
		return *found;
	counter = calloc(1, sizeof(*counter));
	if (!counter)
		return NULL;
	counter->counters = counters;
	snprintf(counter->key, sizeof(counter->key), "%s", key);
	if (tsearch(counter, &counters->tree, compare))
		return counter;
	free(counter);
	return NULL;
}

struct counter *counters_use(struct counters *counters, const char *family, const char *service,
			     const char *label)
{
	struct counter *counter;
	char key[KEY_SIZE];

	snprintf(key, sizeof(key), PREFIX "%s/%s/%s", family, service, label);
	counter = counters ? find_or_add(counters, key) : NULL;
	if (counter) {
		counter->users++;
		counter->is_forgotten = false;
	}
	return counter;
}

void counter_give_back(struct counter *counter)
{
	if (counter)
		counter->users--;
}

static void list_change(struct counter *counter)
{
	if (counter->is_listed)
		return;
	counter->is_listed = true;
	counter->next = counter->counters->changes;
	counter->counters->changes = counter;
}

void counter_add(struct counter *counter)
{
	if (!counter)
		return;
	counter->count++;
	list_change(counter);
}

uint64_t counter_shown(const struct counter *counter)
{
	return counter ? counter->stored : 0;
}

static void forget_if_unused(const void *node, VISIT visit, void *prefix)
{
	struct counter *counter = *(struct counter *const *)node;

	if ((visit != postorder && visit != leaf) || counter->users ||
	    strncmp(counter->key, prefix, strlen(prefix)))
		return;
	counter->is_forgotten = true;
	list_change(counter);
}

void counters_forget_unused(struct counters *counters, const char *family)
{
	char prefix[KEY_SIZE];

	snprintf(prefix, sizeof(prefix), PREFIX "%s/", family);
	twalk_r(counters->tree, forget_if_unused, prefix);
}

/* ---- the store ---- */

static int load(struct counters *counters, struct store *store, struct errors *errors)
{
	struct note *notes;
	size_t count;
	int error = store_notes(store, PREFIX, &notes, &count, errors);

	if (error)
		return error;
	for (size_t i = 0; i < count && !error; i++)
		error = find_or_add(counters, notes[i].key) ? 0 : -ENOMEM;
	for (size_t i = 0; i < count && !error; i++) {
		struct counter *counter = find_or_add(counters, notes[i].key);

		counter->stored = strtoull(notes[i].text, NULL, 10);
		counter->count += counter->stored;
	}
	counters->is_loaded = !error;
	notes_release(notes, count);
	return error;
}

int counters_load(struct counters *counters, const struct place *place, struct errors *errors)
{
	struct store *store;
	int error;

	if (counters->is_loaded)
		return 0;
	error = store_open_read(place->state, &store, errors);
	if (error)
		return error == -ENOENT ? 0 : error;
	error = load(counters, store, errors);
	store_close(store);
	return error;
}

static int save(const struct counter *counter, struct store *store, struct errors *errors)
{
	char text[24];

	if (counter->is_forgotten)
		return store_drop_note(store, counter->key, errors);
	snprintf(text, sizeof(text), "%" PRIu64, counter->count);
	return store_set_note(store, counter->key, text, errors);
}

static void saved(struct counters *counters)
{
	struct counter *counter;

	while ((counter = counters->changes)) {
		counters->changes = counter->next;
		counter->is_listed = false;
		counter->stored = counter->count;
		if (counter->is_forgotten) {
			tdelete(counter->key, &counters->tree, compare);
			free(counter);
		}
	}
}

int counters_save(struct counters *counters, const struct place *place, const struct actor *actor,
		  struct errors *errors)
{
	struct store *store;
	int error;

	if (!counters->changes)
		return 0;
	error = store_open_write(place->state, place->wait_ms, actor, &store, errors);
	if (error)
		return error;
	if (!counters->is_loaded)
		error = load(counters, store, errors);
	for (const struct counter *counter = counters->changes; counter && !error;
	     counter = counter->next)
		error = save(counter, store, errors);
	if (!error)
		error = store_commit(store, errors);
	store_close(store);
	if (!error)
		saved(counters);
	return error;
}
