// SPDX-License-Identifier: GPL-2.0-only
/* Rollouts that are followed, and what the store has to be told of them. */
#include "daemon/rollouts_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is followed ---- */

/* "rollouts/SERVICE": what follow.h remembers. */
static void note_key(const char *service, char key[NAME_SIZE + 16])
{
	snprintf(key, NAME_SIZE + 16, "rollouts/%s", service);
}

/* A rollout that nobody followed yet, or that an earlier daemon did. */
static int recall(struct rollouts *rollouts, const struct service *service, uint64_t id,
		  struct followed *out)
{
	char key[NAME_SIZE + 16], *text = NULL;
	json_t *json = NULL;
	int error;

	note_key(service->name, key);
	error = store_note(rollouts->control->store, key, &text, rollouts->control->errors);
	if (error && error != -ENOENT)
		return error;
	if (text)
		json = json_loads(text, 0, NULL);
	free(text);
	if (!json || (uint64_t)json_integer_value(json_object_get(json, "id")) != id ||
	    follow_from_json(out, service, json))
		follow_init(out, service, id);
	json_decref(json);
	return 0;
}

static struct watched *watched_of(struct rollouts *rollouts, const char *service)
{
	for (size_t i = 0; i < rollouts->count; i++)
		if (!strcmp(rollouts->list[i]->followed.service, service))
			return rollouts->list[i];
	return NULL;
}

void watched_free(struct watched *watched)
{
	if (!watched)
		return;
	samples_stop(watched);
	follow_release(&watched->followed);
	free(watched->counts);
	free(watched->clients);
	free(watched->judgement);
	free(watched);
}

void rollouts_forget(struct rollouts *rollouts, size_t at)
{
	watched_free(rollouts->list[at]);
	memmove(&rollouts->list[at], &rollouts->list[at + 1],
		(--rollouts->count - at) * sizeof(*rollouts->list));
}

int rollouts_watch(struct rollouts *rollouts, const struct service *service, uint64_t id,
		   struct watched **out)
{
	struct watched *watched = watched_of(rollouts, service->name), **grown;
	int error;

	*out = watched;
	if (watched && watched->followed.id == id) {
		follow_rebind(&watched->followed, service);
		return 0;
	}
	if (watched)
		for (size_t i = 0; i < rollouts->count; i++)
			if (rollouts->list[i] == watched) {
				rollouts_forget(rollouts, i);
				break;
			}
	grown = reallocarray(rollouts->list, rollouts->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	rollouts->list = grown;
	watched = calloc(1, sizeof(*watched));
	if (!watched)
		return -ENOMEM;
	watched->rollouts = rollouts;
	error = recall(rollouts, service, id, &watched->followed);
	if (error) {
		free(watched);
		return error;
	}
	watched->returned = true;
	rollouts->list[rollouts->count++] = *out = watched;
	return 0;
}

/* ---- what the store is told ---- */

static int save_followed(struct watched *watched, struct store *store, struct errors *errors)
{
	char key[NAME_SIZE + 16], *text;
	json_t *json = follow_to_json(&watched->followed);
	int error;

	note_key(watched->followed.service, key);
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	error = text ? store_set_note(store, key, text, errors) : -ENOMEM;
	free(text);
	json_decref(json);
	return error;
}

int watched_note_client(struct watched *watched, const struct member *client,
			const struct cohort *cohort, const char *metric, uint64_t time_ns)
{
	struct rollout_client *grown =
		reallocarray(watched->clients, watched->clients_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	watched->clients = grown;
	grown += watched->clients_count++;
	*grown = (struct rollout_client){.client = *client, .time_ns = time_ns};
	snprintf(grown->metric, sizeof(grown->metric), "%s", metric);
	snprintf(grown->cohort, sizeof(grown->cohort), "%s", cohort->name);
	return 0;
}

int watched_save(struct watched *watched, struct store *store, struct errors *errors)
{
	const struct followed *followed = &watched->followed;
	int error = 0;

	if (watched->counts_count)
		error = store_add_rollout_counts(store, followed->service, followed->id,
						 watched->counts, watched->counts_count, errors);
	for (size_t i = 0; i < watched->clients_count && !error; i++)
		error = store_note_rollout_client(store, followed->service, followed->id,
						  &watched->clients[i], errors);
	if (!error && watched->has_news)
		error = save_followed(watched, store, errors);
	if (!error && watched->has_judgement)
		error = store_set_judgement(store, followed->service, followed->id,
					    watched->judgement, errors);
	return error;
}

bool watched_has_to_save(const struct watched *watched)
{
	return watched->counts_count || watched->clients_count || watched->has_news ||
	       watched->has_judgement;
}

void watched_saved(struct watched *watched)
{
	free(watched->counts);
	watched->counts = NULL;
	watched->counts_count = watched->clients_count = 0;
	watched->has_news = watched->has_judgement = false;
}

int rollouts_save(struct rollouts *rollouts, struct errors *errors)
{
	struct store *store;
	size_t i, count = events_have_to_be_saved(rollouts);
	int error;

	for (i = 0; i < rollouts->count; i++)
		count += watched_has_to_save(rollouts->list[i]);
	if (!count)
		return 0;
	error = store_open_write(rollouts->place->state, rollouts->place->wait_ms, rollouts->actor,
				 &store, errors);
	if (error)
		return error;
	for (i = 0; i < rollouts->count && !error; i++)
		if (watched_has_to_save(rollouts->list[i]))
			error = watched_save(rollouts->list[i], store, errors);
	if (!error && events_have_to_be_saved(rollouts))
		error = events_save(rollouts, store, errors);
	if (!error)
		error = store_commit(store, errors);
	store_close(store);
	for (i = 0; i < rollouts->count && !error; i++)
		watched_saved(rollouts->list[i]);
	if (!error)
		rollouts->events.stored = rollouts->events.said;
	return error;
}
