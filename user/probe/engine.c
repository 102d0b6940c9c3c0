// SPDX-License-Identifier: GPL-2.0-only
/*
 * The queues: first come, first served, a bounded number under way. Probes are begun from the loop
 * alone, never from within a function that asks, so that no caller sees its callback early.
 */
#include "probe/internal.h"

#include "util/text.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct probe_queue *queue_of(const struct probe *probe)
{
	return &probe->engine->queues[probe->kind->queue];
}

static bool has_turn(const struct probe_queue *queue)
{
	return !TAILQ_EMPTY(&queue->waiting) && queue->running_count < queue->running_most;
}

/* The loop comes by as long as anybody's turn has come. */
static void arrange_turns(struct probe_engine *engine)
{
	bool is_due = false;

	for (int i = 0; i < QUEUES; i++)
		is_due |= has_turn(&engine->queues[i]);
	sd_event_source_set_enabled(engine->turn, is_due ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* One of each queue at a time, so that others on the loop have their turn too. */
static int on_turn(sd_event_source *source, void *data)
{
	struct probe_engine *engine = data;

	(void)source;
	for (int i = 0; i < QUEUES; i++) {
		struct probe_queue *queue = &engine->queues[i];
		struct probe *probe = TAILQ_FIRST(&queue->waiting);

		if (!has_turn(queue))
			continue;
		TAILQ_REMOVE(&queue->waiting, probe, entry);
		TAILQ_INSERT_TAIL(&queue->running, probe, entry);
		queue->running_count++;
		probe->is_waiting = false;
		probe->kind->begin(probe);
	}
	arrange_turns(engine);
	return 0;
}

void probe_enter(struct probe_engine *engine, struct probe *probe, const struct probe_kind *kind)
{
	probe->engine = engine;
	probe->kind = kind;
	if (!kind->begin) {
		TAILQ_INSERT_TAIL(&engine->composed, probe, entry);
		return;
	}
	probe->is_waiting = true;
	TAILQ_INSERT_TAIL(&queue_of(probe)->waiting, probe, entry);
	arrange_turns(engine);
}

void probe_end(struct probe *probe)
{
	struct probe_engine *engine = probe->engine;
	struct probe_queue *queue = queue_of(probe);

	if (!probe->kind->begin) {
		TAILQ_REMOVE(&engine->composed, probe, entry);
	} else if (probe->is_waiting) {
		TAILQ_REMOVE(&queue->waiting, probe, entry);
	} else {
		TAILQ_REMOVE(&queue->running, probe, entry);
		queue->running_count--;
	}
	probe->kind->destroy(probe);
	arrange_turns(engine);
}

void probe_cancel(struct probe *probe)
{
	if (probe)
		probe_end(probe);
}

/* ---- words ---- */

void probe_say(char out[PROBE_ERROR_SIZE], const char *format, ...)
{
	char *raw = NULL, *text;
	va_list arguments;
	size_t length;

	va_start(arguments, format);
	if (vasprintf(&raw, format, arguments) < 0)
		raw = NULL;
	va_end(arguments);
	text = raw ? text_printable(raw) : NULL;
	length = text ? strlen(text) : 0;
	if (length >= PROBE_ERROR_SIZE) {
		length = PROBE_ERROR_SIZE - 1;
		/* Not within a character. */
		while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	}
	memcpy(out, text ? text : "", length);
	out[length] = '\0';
	free(text);
	free(raw);
}

/* ---- the engine ---- */

static void init_queue(struct probe_queue *queue, size_t most)
{
	TAILQ_INIT(&queue->waiting);
	TAILQ_INIT(&queue->running);
	queue->running_most = most;
}

int probe_engine_new(sd_event *event, struct probe_engine **out)
{
	struct probe_engine *engine = calloc(1, sizeof(*engine));
	sigset_t children;
	int error;

	if (!engine)
		return -ENOMEM;
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	engine->event = sd_event_ref(event);
	engine->sockets = -1;
	init_queue(&engine->queues[QUEUE_CONNECTIONS], PROBE_CONNECTIONS_MAX);
	init_queue(&engine->queues[QUEUE_COMMANDS], PROBE_COMMANDS_MAX);
	TAILQ_INIT(&engine->composed);
	error = sd_event_add_defer(event, &engine->turn, on_turn, engine);
	if (error >= 0)
		error = sd_event_source_set_enabled(engine->turn, SD_EVENT_OFF);
	if (error >= 0)
		error = poll_new(engine);
	if (error >= 0)
		error = multi_new(engine);
	if (error < 0) {
		probe_engine_free(engine);
		return error;
	}
	*out = engine;
	return 0;
}

void probe_engine_widen(struct probe_engine *engine, size_t connections)
{
	engine->queues[QUEUE_CONNECTIONS].running_most = connections;
}

static void cancel_all(struct probe_list *list)
{
	while (!TAILQ_EMPTY(list))
		probe_cancel(TAILQ_FIRST(list));
}

void probe_engine_free(struct probe_engine *engine)
{
	if (!engine)
		return;
	/* Those that are made of others first: they cancel their parts themselves. */
	cancel_all(&engine->composed);
	for (int i = 0; i < QUEUES; i++) {
		cancel_all(&engine->queues[i].waiting);
		cancel_all(&engine->queues[i].running);
	}
	multi_free(engine);
	poll_free(engine);
	sd_event_source_disable_unref(engine->turn);
	sd_event_unref(engine->event);
	free(engine);
}
