// SPDX-License-Identifier: GPL-2.0-only
#include "probe/hook.h"

#include "probe/http.h"
#include "probe/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct hook_probe {
	struct probe probe;
	struct probe *http; /* NULL: in a pause */
	sd_event_source *pause;
	hook_done done;
	void *data;
	char *url, *json;
	uint64_t timeout_ms, pause_ms; /* the next pause */
	uint32_t retries;	       /* left */
};

static void destroy(struct probe *probe)
{
	struct hook_probe *hook = (struct hook_probe *)probe;

	probe_cancel(hook->http);
	sd_event_source_disable_unref(hook->pause);
	free(hook->url);
	free(hook->json);
	free(hook);
}

static const struct probe_kind hook_kind = {.destroy = destroy};

static void finish(struct hook_probe *hook, bool ok, const char *error)
{
	hook_done done = hook->done;
	void *data = hook->data;

	probe_end(&hook->probe);
	done(data, ok, error);
}

/* One that broke off after a 2xx was no answer either. */
static bool is_worth_another(const struct http_answer *answer)
{
	return answer->status < 300 || answer->status == 408 || answer->status == 429 ||
	       answer->status >= 500;
}

static int pause_before_next(struct hook_probe *hook)
{
	int error = sd_event_source_set_time_relative(hook->pause, hook->pause_ms * 1000);

	if (error >= 0)
		error = sd_event_source_set_enabled(hook->pause, SD_EVENT_ONESHOT);
	hook->retries--;
	hook->pause_ms *= 2;
	if (hook->pause_ms > HOOK_PAUSE_MOST_MS)
		hook->pause_ms = HOOK_PAUSE_MOST_MS;
	return error;
}

static void on_answer(void *data, const struct http_answer *answer)
{
	struct hook_probe *hook = data;

	hook->http = NULL;
	if (!answer->ok && hook->retries && is_worth_another(answer) &&
	    pause_before_next(hook) >= 0)
		return;
	finish(hook, answer->ok, answer->error);
}

static int try_once(struct hook_probe *hook, struct probe_engine *engine)
{
	const struct http_request request = {
		.url = hook->url,
		.json = hook->json,
		.timeout_ms = hook->timeout_ms,
		.alone = true,
	};

	return probe_http(engine, &request, on_answer, hook, &hook->http);
}

static int on_pause_over(sd_event_source *source, uint64_t time, void *data)
{
	struct hook_probe *hook = data;

	(void)source;
	(void)time;
	if (try_once(hook, hook->probe.engine))
		finish(hook, false, "no memory");
	return 0;
}

int probe_hook(struct probe_engine *engine, const struct hook_request *request, hook_done done,
	       void *data, struct probe **out)
{
	struct hook_probe *hook = calloc(1, sizeof(*hook));
	int error = -ENOMEM;

	if (!hook)
		return error;
	hook->done = done;
	hook->data = data;
	hook->url = strdup(request->url);
	hook->json = strdup(request->json);
	hook->timeout_ms = request->timeout_ms;
	hook->retries = request->retries;
	hook->pause_ms = request->pause_ms ? request->pause_ms : HOOK_PAUSE_MS;
	if (hook->url && hook->json)
		error = sd_event_add_time(engine->event, &hook->pause, CLOCK_MONOTONIC, 0, 1,
					  on_pause_over, hook);
	if (error >= 0)
		error = sd_event_source_set_enabled(hook->pause, SD_EVENT_OFF);
	if (error >= 0)
		error = try_once(hook, engine);
	if (error < 0) {
		destroy(&hook->probe);
		return error;
	}
	probe_enter(engine, &hook->probe, &hook_kind);
	*out = &hook->probe;
	return 0;
}
