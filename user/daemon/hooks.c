// SPDX-License-Identifier: GPL-2.0-only
/*
 * The queue of calls is the store's. A call that is begun is remembered here by its number until
 * the queue no longer has it: so none is begun twice by one daemon, however often the writer lock
 * is not had; and one that the machine no longer waits for is given up. A daemon that comes back
 * knows nothing and calls again: at least once.
 *
 * Calls of one hook are made one after the other, in their order; different hooks do not wait for
 * each other, nor do metrics for hooks: they have an engine of their own.
 */
#include "daemon/rollouts_internal.h"

#include "config/config.h"
#include "probe/hook.h"
#include "rollout/drive.h"
#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX PROBE_CONNECTIONS_MAX /* under way at a time */

enum call_state { CALL_UNDER_WAY, CALL_ANSWERED, CALL_REPORTED };

struct call {
	struct hooks *hooks;
	struct hook_call queued; /* without its JSON */
	enum hook_event on;
	enum call_state state;
	struct probe *probe; /* CALL_UNDER_WAY */
	bool ok;
};

struct hooks {
	const struct rollouts *rollouts;
	struct probe_engine *engine;
	struct call **calls; /* in the order of their numbers */
	size_t count;
};

static int hooks_new(struct rollouts *rollouts, struct hooks **out)
{
	struct hooks *hooks = calloc(1, sizeof(*hooks));
	int error = hooks ? probe_engine_new(rollouts->event, &hooks->engine) : -ENOMEM;

	if (error) {
		free(hooks);
		return error;
	}
	hooks->rollouts = rollouts;
	*out = hooks;
	return 0;
}

void hooks_free(struct hooks *hooks)
{
	if (!hooks)
		return;
	probe_engine_free(hooks->engine);
	for (size_t i = 0; i < hooks->count; i++)
		free(hooks->calls[i]);
	free(hooks->calls);
	free(hooks);
}

/* ---- failures ---- */

static const char *const event_names[] = {
	[HOOK_BEFORE_STEP] = "before_step",
	[HOOK_AFTER_STEP] = "after_step",
	[HOOK_ROLLBACK] = "rollback",
	[HOOK_SUCCESS] = "success",
};

const char *hook_event_name(enum hook_event on)
{
	return event_names[on];
}

static struct counter *failures_of(const struct rollouts *rollouts, const char *service,
				   enum hook_event on)
{
	return counters_use(rollouts->counters, COUNTER_HOOK_FAILURES, service, event_names[on]);
}

uint64_t hooks_failures(const struct rollouts *rollouts, const char *service, enum hook_event on)
{
	struct counter *failures = failures_of(rollouts, service, on);
	uint64_t shown = counter_shown(failures);

	counter_give_back(failures);
	return shown;
}

static void count_failure(const struct rollouts *rollouts, const char *service, enum hook_event on)
{
	struct counter *failures = failures_of(rollouts, service, on);

	counter_add(failures);
	counter_give_back(failures);
}

/* ---- calls ---- */

/* Not its URL, which may hold a secret. */
static void on_called(void *data, bool ok, const char *error)
{
	struct call *call = data;

	call->probe = NULL;
	call->state = CALL_ANSWERED;
	call->ok = ok;
	if (ok)
		return;
	count_failure(call->hooks->rollouts, call->queued.service, call->on);
	log_event(LOG_WARNING,
		  &(struct log_facts){.service = call->queued.service,
				      .rollout = call->queued.id,
				      .event = "hook_failed"},
		  "services/%s/rollout/hooks/%u: %s of rollout %llu: %s", call->queued.service,
		  call->queued.hook, event_names[call->on], (unsigned long long)call->queued.id,
		  error);
}

/* The file as it was when the rollout began, if it is another one by now. NULL: it is as it was. */
static struct policy *policy_then(const struct rollouts *rollouts, const struct hook_call *queued,
				  struct errors *errors)
{
	const struct control *control = rollouts->control;
	struct stored_rollout rollout;
	struct revision revision;
	struct policy *policy;
	uint64_t number;

	if (store_rollout(control->store, queued->service, queued->id, &rollout, errors))
		return NULL;
	number = rollout.revision;
	stored_rollout_release(&rollout);
	if (number == control->revision.number ||
	    store_revision(control->store, number, &revision, errors))
		return NULL;
	policy = config_parse(revision.config, strlen(revision.config), "then", NULL);
	revision_release(&revision);
	return policy;
}

/* NULL: nobody is there to be called any more. */
static const struct rollout_hook *hook_of(const struct policy *policy,
					  const struct hook_call *queued)
{
	const struct service *service = policy_service(policy, queued->service);

	return service && queued->hook < service->rollout.hooks_count
		       ? &service->rollout.hooks[queued->hook]
		       : NULL;
}

static bool is_queued(const struct hook_call *queue, size_t count, uint64_t number)
{
	for (size_t i = 0; i < count; i++)
		if (queue[i].number == number)
			return true;
	return false;
}

static bool is_known(const struct hooks *hooks, uint64_t number)
{
	for (size_t i = 0; i < hooks->count; i++)
		if (hooks->calls[i]->queued.number == number)
			return true;
	return false;
}

/* Those that the queue has no more: told of, or given up by the machine. */
static void forget_dropped(struct hooks *hooks, const struct hook_call *queue, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < hooks->count; i++) {
		struct call *call = hooks->calls[i];

		if (is_queued(queue, count, call->queued.number)) {
			hooks->calls[kept++] = call;
			continue;
		}
		probe_cancel(call->probe);
		free(call);
	}
	hooks->count = kept;
}

/* Is an earlier call of the same hook not over yet? */
static bool has_to_wait(const struct hooks *hooks, const struct hook_call *queued)
{
	for (size_t i = 0; i < hooks->count; i++)
		if (hooks->calls[i]->state == CALL_UNDER_WAY &&
		    hooks->calls[i]->queued.hook == queued->hook &&
		    !strcmp(hooks->calls[i]->queued.service, queued->service))
			return true;
	return false;
}

static int begin(struct hooks *hooks, const struct hook_call *queued,
		 const struct rollout_hook *hook)
{
	const struct hook_request request = {
		.url = hook ? hook->url : "",
		.json = queued->json,
		.timeout_ms = hook ? hook->timeout_ms : 0,
		.retries = hook ? hook->retries : 0,
	};
	struct call **grown = reallocarray(hooks->calls, hooks->count + 1, sizeof(*grown)), *call;
	int error = 0;

	if (!grown)
		return -ENOMEM;
	hooks->calls = grown;
	call = calloc(1, sizeof(*call));
	if (!call)
		return -ENOMEM;
	*call = (struct call){.hooks = hooks, .queued = *queued};
	call->queued.json = NULL;
	if (hook) {
		call->on = hook->on;
		error = probe_hook(hooks->engine, &request, on_called, call, &call->probe);
	} else {
		call->state = CALL_ANSWERED; /* nobody is there to be called any more */
	}
	if (error)
		free(call);
	else
		hooks->calls[hooks->count++] = call;
	return error;
}

/*
 * The queue names a hook by its place among those of its rollout: once that has ended, the file's
 * may be others.
 */
static int begin_as_then(struct rollouts *rollouts, const struct hook_call *queued,
			 struct errors *errors)
{
	struct policy *then = policy_then(rollouts, queued, errors);
	int error = begin(rollouts->hooks, queued,
			  hook_of(then ? then : rollouts->control->policy, queued));

	policy_free(then);
	return error;
}

static int begin_due(struct rollouts *rollouts, const struct hook_call *queue, size_t count,
		     struct errors *errors)
{
	struct hooks *hooks = rollouts->hooks;
	int error = 0;

	for (size_t i = 0; i < count && hooks->count < CALLS_MAX && !error; i++)
		if (!is_known(hooks, queue[i].number) && !has_to_wait(hooks, &queue[i]))
			error = begin_as_then(rollouts, &queue[i], errors);
	return error;
}

/* ---- telling the machine ---- */

static int report(struct rollouts *rollouts, struct call *call, struct errors *errors)
{
	struct control *control;
	int error = control_open_write(rollouts->place, rollouts->actor, errors, &control);

	if (error)
		return error;
	error = rollout_hook_called(control, &call->queued, call->ok);
	control_close(control);
	if (!error)
		call->state = CALL_REPORTED;
	return error;
}

static int report_answered(struct rollouts *rollouts, struct errors *errors)
{
	struct hooks *hooks = rollouts->hooks;
	int error = 0, first = 0;

	for (size_t i = 0; i < hooks->count && error != -EBUSY; i++) {
		if (hooks->calls[i]->state != CALL_ANSWERED)
			continue;
		error = report(rollouts, hooks->calls[i], errors);
		first = first ? first : error;
	}
	return first;
}

int hooks_call(struct rollouts *rollouts, struct errors *errors)
{
	struct hook_call *queue;
	size_t count;
	int error = rollouts->hooks ? 0 : hooks_new(rollouts, &rollouts->hooks);

	if (!error)
		error = store_hook_calls(rollouts->control->store, &queue, &count, errors);
	if (error)
		return error;
	forget_dropped(rollouts->hooks, queue, count);
	error = begin_due(rollouts, queue, count, errors);
	hook_calls_release(queue, count);
	return error ? error : report_answered(rollouts, errors);
}

/* ---- metrics ---- */

static bool has_hook(const struct service *service, enum hook_event on)
{
	for (size_t i = 0; i < service->rollout.hooks_count; i++)
		if (service->rollout.hooks[i].on == on)
			return true;
	return false;
}

void rollouts_metrics(const struct rollouts *rollouts, FILE *out)
{
	const struct policy *policy =
		rollouts && rollouts->control ? rollouts->control->policy : NULL;

	fputs("# HELP xdp_canary_hook_failures_total Calls of hooks that came to nothing.\n"
	      "# TYPE xdp_canary_hook_failures_total counter\n",
	      out);
	for (size_t i = 0; policy && i < policy->services_count; i++)
		for (int on = HOOK_BEFORE_STEP; on <= HOOK_SUCCESS; on++)
			if (has_hook(&policy->services[i], on))
				fprintf(out,
					"xdp_canary_hook_failures_total{service=\"%s\",on=\"%s\"} "
					"%" PRIu64 "\n",
					policy->services[i].name, hook_event_name(on),
					hooks_failures(rollouts, policy->services[i].name, on));
}
