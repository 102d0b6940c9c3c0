// SPDX-License-Identifier: GPL-2.0-only
/*
 * What happens in rollouts goes to the daemon's log whoever made it happen, a command or the daemon
 * itself: events are taken from the store, those newer than the last that was said. Which that was
 * is a note in the store, so that what happened while no daemon was there is said by the next one;
 * one that dies between the line and the note has its line said again.
 */
#include "daemon/rollouts_internal.h"

#include "util/log.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NOTE_KEY "daemon/rollout_events"

/* Something that nobody asked for, or that ends it: to be looked at. */
static int priority_of(const char *event, const char *by)
{
	static const char *const serious[] = {"rollback", "aborted", "killed", "lease_expired"};

	for (size_t i = 0; i < sizeof(serious) / sizeof(serious[0]); i++)
		if (!strcmp(event, serious[i]))
			return LOG_WARNING;
	return !strcmp(event, "paused") && !strcmp(by, "guard") ? LOG_WARNING : LOG_NOTICE;
}

static void print_event(FILE *stream, const struct rollout_record *record, const json_t *event)
{
	const json_t *step = json_object_get(event, "step");
	const json_t *before = json_object_get(event, "before_ppm");
	const json_t *after = json_object_get(event, "after_ppm");
	const char *by = json_string_value(json_object_get(event, "by"));
	const char *reason = json_string_value(json_object_get(event, "reason"));
	char from[TEXT_VALUE_SIZE], to[TEXT_VALUE_SIZE];

	fprintf(stream, "services/%s/rollout: %s of rollout %" PRIu64, record->service,
		record->event, record->id);
	if (json_is_integer(step))
		fprintf(stream, " at step %" JSON_INTEGER_FORMAT, json_integer_value(step));
	if (json_is_integer(before) && json_is_integer(after))
		fprintf(stream, ", %s to %s",
			text_format_percent((uint32_t)json_integer_value(before), from),
			text_format_percent((uint32_t)json_integer_value(after), to));
	if (by && *by)
		fprintf(stream, ", by %s", by);
	if (reason && *reason)
		fprintf(stream, ": %s", reason);
}

/* The revision is the one that the rollout was started with, the epoch the one in force. */
static void log_record(const struct rollouts *rollouts, const struct rollout_record *record)
{
	const struct live_service *live =
		live_service_of(&rollouts->control->live, record->service);
	struct stored_rollout stored = {0};
	json_t *event = json_loads(record->json, 0, NULL);
	const char *by = json_string_value(json_object_get(event, "by"));
	struct log_facts facts = {
		.service = record->service,
		.event = record->event,
		.rollout = record->id,
		.epoch = live ? live->epoch : 0,
	};
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (stream) {
		print_event(stream, record, event);
		fclose(stream);
	}
	if (!store_rollout(rollouts->control->store, record->service, record->id, &stored, NULL)) {
		facts.cohort = stored.cohort;
		facts.revision = stored.revision;
	}
	if (text)
		log_event(priority_of(record->event, by ? by : ""), &facts, "%s", text);
	free(text);
	json_decref(event);
	stored_rollout_release(&stored);
}

/* Where no daemon has ever said any, those that are there are history. */
static int recall(struct rollouts *rollouts, struct errors *errors)
{
	struct event_log *log = &rollouts->events;
	struct rollout_record *records;
	size_t count;
	char *text = NULL;
	int error = store_note(rollouts->control->store, NOTE_KEY, &text, errors);

	if (!error) {
		log->said = log->stored = strtoull(text, NULL, 10);
		log->is_known = true;
		free(text);
	}
	if (error != -ENOENT)
		return error;
	error = store_rollout_events(rollouts->control->store, NULL, 0, 0, &records, &count,
				     errors);
	if (error)
		return error;
	log->said = count ? records[count - 1].number : 0;
	log->stored = UINT64_MAX; /* nothing yet */
	log->is_known = true;
	rollout_records_release(records, count);
	return 0;
}

int events_say(struct rollouts *rollouts, struct errors *errors)
{
	struct event_log *log = &rollouts->events;
	struct rollout_record *records;
	size_t count;
	int error = log->is_known ? 0 : recall(rollouts, errors);

	if (!error)
		error = store_rollout_events(rollouts->control->store, NULL, 0, log->said, &records,
					     &count, errors);
	if (error)
		return error;
	for (size_t i = 0; i < count; i++) {
		log_record(rollouts, &records[i]);
		log->said = records[i].number;
	}
	rollout_records_release(records, count);
	return 0;
}

bool events_have_to_be_saved(const struct rollouts *rollouts)
{
	return rollouts->events.is_known && rollouts->events.said != rollouts->events.stored;
}

int events_save(const struct rollouts *rollouts, struct store *store, struct errors *errors)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, rollouts->events.said);
	return store_set_note(store, NOTE_KEY, text, errors);
}
