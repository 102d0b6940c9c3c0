// SPDX-License-Identifier: GPL-2.0-only
/* The machine's actions, done: in the store, in the order in which it gives them. */
#include "rollout/drive.h"

#include "util/siphash.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* ---- the clock ---- */

static uint64_t boot_number(void)
{
	char text[64] = "";
	int file = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? 0 : read(file, text, sizeof(text));

	if (file >= 0)
		close(file);
	return siphash13((struct siphash_key){0}, text, length > 0 ? (size_t)length : 0);
}

struct rollout_clock rollout_clock_now(void)
{
	return (struct rollout_clock){
		.real_ns = time_now_ns(),
		.monotonic_ns = monotonic_now_ns(),
		.boot = boot_number(),
	};
}

/* ---- loading and storing ---- */

static int damaged(const struct stored_rollout *stored, struct errors *errors)
{
	return errors_add_code(
		errors, EUCLEAN, stored->service, "bring state.db back from a backup",
		"state.db has no readable state of rollout %llu", (unsigned long long)stored->id);
}

int rollout_load_state(struct store *store, const char *service, struct rollout_state *out,
		       struct errors *errors)
{
	struct stored_rollout stored;
	json_t *json;
	int error;

	*out = (struct rollout_state){0};
	error = store ? store_rollout(store, service, 0, &stored, errors) : -ENOENT;
	if (error)
		return error == -ENOENT ? 0 : error;
	json = json_loads(stored.machine, 0, NULL);
	if (!json || rollout_state_from_json(json, out))
		error = damaged(&stored, errors);
	json_decref(json);
	stored_rollout_release(&stored);
	return error;
}

/* Who it is of, and how it is stored. */
struct drive {
	struct control *control;
	const struct service *service;
	size_t cohort;
	struct rollout_state state;
	const struct judgement *judgement; /* of the event, or NULL */
	bool is_start;
};

static int revision_of(struct drive *drive, uint64_t *revision)
{
	struct stored_rollout stored;
	int error;

	*revision = drive->control->revision.number;
	if (drive->is_start)
		return 0;
	error = store_rollout(drive->control->store, drive->service->name, drive->state.id, &stored,
			      drive->control->errors);
	if (error)
		return error;
	*revision = stored.revision;
	stored_rollout_release(&stored);
	return 0;
}

static int store_state(struct drive *drive)
{
	const struct rollout_state *state = &drive->state;
	struct stored_rollout stored = {
		.id = state->id,
		.release = drive->service->release,
		.started_ns = state->started_ns,
		.ended_ns = state->ended_ns,
	};
	json_t *json = rollout_state_to_json(state);
	int error = revision_of(drive, &stored.revision);

	snprintf(stored.service, sizeof(stored.service), "%s", drive->service->name);
	snprintf(stored.cohort, sizeof(stored.cohort), "%s", state->cohort);
	snprintf(stored.state, sizeof(stored.state), "%s", rollout_phase_name(state->phase));
	stored.machine = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (!error && !stored.machine)
		error = -ENOMEM;
	if (!error)
		error = store_set_rollout(drive->control->store, &stored, drive->control->errors);
	free(stored.machine);
	return error;
}

/* ---- actions ---- */

/* Takes the references. */
static int audit_values(struct drive *drive, json_t *before, json_t *after)
{
	char *old = json_dumps(before, JSON_COMPACT | JSON_ENCODE_ANY);
	char *new = json_dumps(after, JSON_COMPACT | JSON_ENCODE_ANY);
	int error = -ENOMEM;

	if (old && new)
		error = store_audit(drive->control->store, drive->service->name, old, new,
				    drive->control->errors);
	free(old);
	free(new);
	json_decref(before);
	json_decref(after);
	return error;
}

static int audit(struct drive *drive, const char *key, json_t *before, json_t *after)
{
	return audit_values(drive, json_pack("{s:o}", key, before), json_pack("{s:o}", key, after));
}

static int audit_share(struct drive *drive, const char *rule, json_t *before, json_t *after)
{
	char key[2 * NAME_SIZE + 8];

	snprintf(key, sizeof(key), "live/%s/%s", rule, drive->state.cohort);
	return audit(drive, key, before, after);
}

static int set_share(struct drive *drive, const struct rollout_action *action)
{
	int error = store_set_share(drive->control->store, drive->service->name, action->rule,
				    drive->state.cohort, action->ppm, drive->control->errors);

	return error ? error
		     : audit_share(drive, action->rule, json_integer(action->before_ppm),
				   json_integer(action->ppm));
}

static int drop_share(struct drive *drive, const struct rollout_action *action)
{
	const struct control *control = drive->control;
	const struct live_share *live = live_share_of(&control->live, drive->service->name,
						      action->rule, drive->state.cohort);
	int error;

	if (!live)
		return 0;
	error = store_drop_shares(control->store, drive->service->name, action->rule,
				  drive->state.cohort, NULL, control->errors);
	return error ? error
		     : audit_share(drive, action->rule, json_integer(live->ppm), json_null());
}

static enum latch latch_of(const struct drive *drive)
{
	const struct live_service *live =
		live_service_of(&drive->control->live, drive->service->name);

	return live ? live->latch : LATCH_NONE;
}

static json_t *latch_to_json(enum latch latch)
{
	return latch == LATCH_NONE ? json_null() : json_string(latch_name(latch));
}

/* Puts the service's live shares into @values, or takes those that there are out of it. */
static void note_shares(const struct drive *drive, json_t *values, bool put)
{
	const struct live *live = &drive->control->live;
	char key[2 * NAME_SIZE + 8];

	for (size_t i = 0; i < live->shares_count; i++) {
		const struct live_share *share = &live->shares[i];

		if (strcmp(share->service, drive->service->name))
			continue;
		snprintf(key, sizeof(key), "live/%s/%s", share->rule, share->cohort);
		if (put)
			json_object_set_new(values, key, json_integer(share->ppm));
		else
			json_object_del(values, key);
	}
}

/* The shares of other canaries that it has held go with it; of its own the machine says which. */
static int lift_latch(struct drive *drive)
{
	enum latch latch = latch_of(drive);
	json_t *before;
	int error;

	if (latch == LATCH_NONE)
		return 0;
	before = json_pack("{s:o}", "latch", latch_to_json(latch));
	note_shares(drive, before, true);
	error = control_lift_latch(drive->control, drive->service->name, drive->cohort);
	note_shares(drive, before, false);
	if (error)
		json_decref(before);
	return error ? error : audit_values(drive, before, json_null());
}

static const enum latch latches[ROLLOUT_PHASES] = {
	[ROLLOUT_ROLLED_BACK] = LATCH_ROLLED_BACK,
	[ROLLOUT_ABORTED] = LATCH_ABORTED,
	[ROLLOUT_KILLED] = LATCH_KILLED,
	[ROLLOUT_LEASE_EXPIRED] = LATCH_LEASE_EXPIRED,
};

/* A kill, and the end of a lease, are latched by who recorded them. */
static int latch(struct drive *drive, const struct rollout_action *action)
{
	enum latch before = latch_of(drive), after = latches[action->phase];
	int error;

	if (before == LATCH_KILLED || before == after)
		return 0;
	error = audit(drive, "latch", latch_to_json(before), latch_to_json(after));
	return error ? error : control_latch(drive->control, drive->service->name, after);
}

/*
 * Clients of the canary with an event of the metric, by the judgement: of a time nobody is noted by
 * name, for all clients have one. COUNT_UNKNOWN (more than any): events are not those of clients.
 */
static uint64_t events_judged(const struct drive *drive, const char *metric)
{
	const struct judgement *judgement = drive->judgement;

	for (size_t i = 0; judgement && i < judgement->metrics_count; i++)
		if (!strcmp(judgement->metrics[i].name, metric))
			return judgement->metrics[i].canary_clients == COUNT_UNKNOWN
				       ? COUNT_UNKNOWN
				       : judgement->metrics[i].canary_events;
	return 0;
}

/* Of whom went back: clients of the canary with an event of that metric, or of any. */
static int count_affected(struct drive *drive, const struct rollout_note *note, uint64_t *affected)
{
	uint64_t judged = events_judged(drive, note->metric);
	int error;

	*affected = UINT64_MAX;
	if (!note->has_shares || !rollout_is_undone(drive->state.phase))
		return 0;
	error = store_count_rollout_clients(
		drive->control->store, drive->service->name, drive->state.id, drive->state.cohort,
		*note->metric ? note->metric : NULL, affected, drive->control->errors);
	if (!error && judged > *affected)
		*affected = judged;
	return error;
}

static int note_to_text(struct drive *drive, const struct rollout_note *note, char **out)
{
	uint64_t affected;
	int error = count_affected(drive, note, &affected);
	json_t *json;

	if (error)
		return error;
	json = rollout_note_to_json(note, drive->service->name, drive->state.id, affected);
	*out = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	return *out ? 0 : -ENOMEM;
}

static int emit(struct drive *drive, const struct rollout_action *action)
{
	const struct rollout_note *note = &action->note;
	char *text = NULL;
	int error = note_to_text(drive, note, &text);

	if (!error)
		error = store_add_rollout_event(drive->control->store, drive->service->name,
						drive->state.id, note->time_ns, note->event, text,
						drive->control->errors);
	free(text);
	return error;
}

static int queue_call(struct drive *drive, const struct rollout_action *action)
{
	struct hook_call call = {
		.id = drive->state.id,
		.call = action->call,
		.hook = action->hook,
		.gate = drive->service->rollout.hooks[action->hook].gate,
	};
	int error = note_to_text(drive, &action->note, &call.json);

	snprintf(call.service, sizeof(call.service), "%s", drive->service->name);
	if (!error)
		error = store_add_hook_call(drive->control->store, &call, drive->control->errors);
	free(call.json);
	return error;
}

static int act(struct drive *drive, const struct rollout_action *action)
{
	switch (action->kind) {
	case ACTION_SET_SHARE:
		return set_share(drive, action);
	case ACTION_DROP_SHARE:
		return drop_share(drive, action);
	case ACTION_LIFT_LATCH:
		return lift_latch(drive);
	case ACTION_LATCH:
		return latch(drive, action);
	case ACTION_CALL_HOOK:
		return queue_call(drive, action);
	case ACTION_BEGIN_WINDOW:
		return control_begin_window(drive->control, drive->service->name, action->window,
					    action->settle);
	case ACTION_DROP_CALLS:
		return store_drop_gate_calls(drive->control->store, drive->service->name,
					     drive->state.id, drive->control->errors);
	case ACTION_EMIT:
		return emit(drive, action);
	default:
		return 0; /* leases follow the state that is stored */
	}
}

/* Whether packets see anything of it: shares, latches, the lease, who is followed. */
static bool decides(const struct rollout_actions *actions)
{
	for (size_t i = 0; i < actions->count; i++) {
		switch (actions->list[i].kind) {
		case ACTION_SET_SHARE:
		case ACTION_DROP_SHARE:
		case ACTION_LIFT_LATCH:
		case ACTION_LATCH:
		case ACTION_END_LEASE:
			return true;
		default:
			break;
		}
	}
	return false;
}

/* ---- driving ---- */

static int prepare_start(struct drive *drive, struct rollout_event *event,
			 uint32_t shares[RULES_MAX])
{
	struct control *control = drive->control;

	for (size_t rule = 0; rule < drive->service->rules_count; rule++)
		shares[rule] = effective_share(control, drive->service, rule, drive->cohort);
	event->shares = shares;
	event->is_latched = latch_of(drive) != LATCH_NONE;
	return store_next_rollout(control->store, drive->service->name, &event->id,
				  control->errors);
}

/* A share that falls as it starts: nobody has asked for that in so many words. @before: by rule. */
static void warn_of_falls(const struct drive *drive, const uint32_t before[RULES_MAX])
{
	uint32_t first[RULES_MAX];

	rollout_next_shares(drive->service, &drive->state, before, first);
	for (size_t i = 0; i < drive->state.shares_count; i++) {
		const struct rollout_share *share = &drive->state.shares[i];
		int rule = service_rule(drive->service, share->rule);
		char from[TEXT_VALUE_SIZE], to[TEXT_VALUE_SIZE], object[2 * NAME_SIZE + 16];

		if (rule < 0 || first[rule] >= before[rule])
			continue;
		snprintf(object, sizeof(object), "%s/rules/%s", drive->service->name, share->rule);
		errors_warn(drive->control->errors, NULL, object,
			    "give the steps larger shares to keep it, or see `rollout abort`",
			    "its share falls from %s to %s%s",
			    text_format_percent(before[rule], from),
			    text_format_percent(first[rule], to),
			    share->ppm == before[rule] ? " as step 1 begins" : "");
	}
}

static int do_actions(struct drive *drive, const struct rollout_actions *actions)
{
	int error = 0;

	for (size_t i = 0; i < actions->count && !error; i++)
		error = act(drive, &actions->list[i]);
	if (!error)
		error = store_state(drive);
	return error ? error : control_reload_live(drive->control);
}

int rollout_apply(struct control *control, const struct service *service,
		  struct rollout_event *event, enum rollout_effect *effect)
{
	struct rollout_actions *actions = calloc(1, sizeof(*actions));
	struct drive drive = {
		.control = control,
		.service = service,
		.cohort = rollout_cohort(service),
		.judgement = event->kind == EVENT_TICK ? event->judgement : NULL,
		.is_start = event->kind == EVENT_START,
	};
	uint32_t shares[RULES_MAX] = {0};
	enum rollout_effect done = EFFECT_NONE;
	int error = actions ? 0 : -ENOMEM;

	event->now = rollout_clock_now();
	if (!error)
		error = rollout_load_state(control->store, service->name, &drive.state,
					   control->errors);
	if (!error && drive.is_start)
		error = prepare_start(&drive, event, shares);
	if (!error)
		error = rollout_feed(service, &drive.state, event, actions, control->errors);
	if (!error && actions->is_changed) {
		error = do_actions(&drive, actions);
		if (drive.is_start && !error)
			warn_of_falls(&drive, shares);
		done = drive.is_start || decides(actions) ? EFFECT_DECIDES : EFFECT_STORED;
	}
	if (effect)
		*effect = done;
	free(actions);
	return error;
}

/* What the writer has found to be done beside it (a kill, say) is published with it. */
static int finish(struct control *control, const struct service *service,
		  enum rollout_effect effect)
{
	if (effect == EFFECT_DECIDES)
		return control_publish_service(control, service->name);
	if (control->touched_all || control->touched_count || control->windows_count)
		return control_publish(control);
	return effect == EFFECT_NONE ? 0 : store_commit(control->store, control->errors);
}

int rollout_drive(struct control *control, const struct service *service,
		  struct rollout_event *event)
{
	enum rollout_effect effect;
	int error = rollout_apply(control, service, event, &effect);

	return error ? error : finish(control, service, effect);
}

bool rollout_would_act(const struct service *service, const struct rollout_state *state,
		       struct rollout_event *event)
{
	struct rollout_actions *actions = calloc(1, sizeof(*actions));
	struct rollout_state next = *state;
	bool acts;

	event->now = rollout_clock_now();
	/* Without memory for it the writer finds out. */
	acts = !actions ||
	       (!rollout_feed(service, &next, event, actions, NULL) && actions->is_changed);
	free(actions);
	return acts;
}

int rollout_hook_called(struct control *control, const struct hook_call *call, bool ok)
{
	const struct service *service = policy_service(control->policy, call->service);
	enum rollout_effect effect = EFFECT_STORED;
	struct rollout_event event = {
		.kind = EVENT_HOOK,
		.call = call->call,
		.hook = call->hook,
		.ok = ok,
	};
	struct rollout_state state = {0};
	int error = store_drop_hook_call(control->store, call->number, control->errors);

	if (!error && service)
		error = rollout_load_state(control->store, call->service, &state, control->errors);
	if (!error && service && state.id == call->id)
		error = rollout_apply(control, service, &event, &effect);
	if (!error)
		error = finish(control, service, effect == EFFECT_NONE ? EFFECT_STORED : effect);
	return error;
}

static struct rollout_event event_of_latch(enum latch latch, const struct actor *killer)
{
	if (latch != LATCH_KILLED)
		return (struct rollout_event){.kind = EVENT_LEASE_EXPIRED, .by = "lease"};
	return (struct rollout_event){
		.kind = EVENT_KILLED,
		.by = killer ? killer->by : "kill",
		.reason = killer && *killer->reason ? killer->reason : "the service was killed",
	};
}

int rollout_record_latch(struct control *control, const char *name, enum latch latch,
			 const struct actor *killer)
{
	const struct service *service = policy_service(control->policy, name);
	struct rollout_event event = event_of_latch(latch, killer);

	return service ? rollout_apply(control, service, &event, NULL) : 0;
}

void rollout_foresee_latch(const struct service *service, struct rollout_state *state,
			   enum latch latch)
{
	struct rollout_actions *actions = calloc(1, sizeof(*actions));
	struct rollout_event event = event_of_latch(latch, NULL);
	uint64_t since_ns = state->since_ns;

	event.now = state->last;
	if (actions)
		rollout_feed(service, state, &event, actions, NULL);
	state->since_ns = since_ns;
	free(actions);
}
