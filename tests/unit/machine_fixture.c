// SPDX-License-Identifier: GPL-2.0-only
#include "machine_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const rule_names[TABLE_RULES] = {"staff", "light", "default"};

struct table_rollout *table_rollout_new(void)
{
	struct table_rollout *table = calloc(1, sizeof(*table));
	struct service *service = &table->service;
	struct rollout *plan = &service->rollout;

	strcpy(service->name, "api");
	strcpy(service->cohorts[0].name, "stable");
	strcpy(service->cohorts[1].name, "canary");
	service->cohorts_count = 2;
	service->affinity.on_rollback = ON_ROLLBACK_CUT;
	service->rules_count = TABLE_RULES;
	for (size_t i = 0; i < TABLE_RULES; i++) {
		strcpy(service->rules[i].name, rule_names[i]);
		if (i != RULE_DEFAULT)
			strcpy(service->rules[i].segment, rule_names[i]);
	}
	service->rules[RULE_DEFAULT].is_default = true;
	table->metric.critical = true;
	*plan = (struct rollout){
		.is_given = true,
		.steps = table->steps,
		.bake_ms = 600000,
		.settle_ms = 30000,
		.max_duration_ms = 7 * 86400000ULL,
		.lease_ms = 30000,
		.hooks = table->hooks,
		.metrics = &table->metric,
		.metrics_count = 1,
	};
	table->errors = errors_new();
	table->now = (struct rollout_clock){1900000000 * SECOND, 1000 * SECOND, 1};
	return table;
}

void table_rollout_free(struct table_rollout *table)
{
	errors_free(table->errors);
	free(table);
}

static struct step *add_step(struct table_rollout *table, struct step step)
{
	struct rollout *plan = &table->service.rollout;

	assert_true(plan->steps_count < STEPS_MAX);
	table->steps[plan->steps_count] = step;
	return &table->steps[plan->steps_count++];
}

struct step *add_weight(struct table_rollout *table, const char *segment, uint32_t ppm)
{
	struct step step = {.kind = STEP_WEIGHT, .has_weight = true, .weight_ppm = ppm};

	snprintf(step.segment, sizeof(step.segment), "%s", segment ? segment : "");
	return add_step(table, step);
}

struct step *add_pause(struct table_rollout *table, uint64_t milliseconds)
{
	return add_step(table, (struct step){.kind = STEP_PAUSE, .pause_ms = milliseconds});
}

struct step *add_analysis(struct table_rollout *table, uint64_t timeout_ms)
{
	return add_step(table,
			(struct step){.kind = STEP_ANALYSIS, .analysis_timeout_ms = timeout_ms});
}

struct step *add_approve(struct table_rollout *table)
{
	static char message[] = "capacity checked?";

	return add_step(table, (struct step){.kind = STEP_APPROVE, .approve_message = message});
}

struct rollout_hook *add_hook(struct table_rollout *table, enum hook_event on, bool gate)
{
	static char url[] = "http://127.0.0.1:8099/hook";
	struct rollout *plan = &table->service.rollout;

	table->hooks[plan->hooks_count] = (struct rollout_hook){.on = on, .url = url, .gate = gate};
	return &table->hooks[plan->hooks_count++];
}

void pass(struct table_rollout *table, uint64_t nanoseconds)
{
	table->now.real_ns += nanoseconds;
	table->now.monotonic_ns += nanoseconds;
}

static size_t rule_of(const char *name)
{
	size_t rule = 0;

	while (rule < TABLE_RULES && strcmp(rule_names[rule], name))
		rule++;
	assert_true(rule < TABLE_RULES);
	return rule;
}

static void do_action(struct table_rollout *table, const struct rollout_action *action)
{
	size_t rule;

	switch (action->kind) {
	case ACTION_SET_SHARE:
		rule = rule_of(action->rule);
		assert_int_equal(action->before_ppm, table->shares[rule]);
		table->shares[rule] = action->ppm;
		table->has_live[rule] = true;
		break;
	case ACTION_DROP_SHARE:
		rule = rule_of(action->rule);
		table->shares[rule] = table->service.rules[rule].base_ppm[1];
		table->has_live[rule] = false;
		break;
	case ACTION_LIFT_LATCH:
		table->is_latched = false;
		break;
	case ACTION_LATCH:
		table->is_latched = true;
		table->latch = action->phase;
		break;
	case ACTION_END_LEASE:
		table->has_lease = false;
		break;
	default:
		break;
	}
}

int feed_event(struct table_rollout *table, struct rollout_event event)
{
	int error;

	event.now = table->now;
	error = rollout_feed(&table->service, &table->state, &event, &table->actions,
			     table->errors);
	if (error)
		assert_int_equal(table->actions.count, 0);
	assert_true(table->actions.count <= ROLLOUT_ACTIONS_MAX);
	for (size_t i = 0; i < table->actions.count; i++)
		do_action(table, &table->actions.list[i]);
	return error;
}

int feed_verb_of(struct table_rollout *table, enum rollout_event_kind kind)
{
	return feed_event(table,
			  (struct rollout_event){.kind = kind, .by = "ann", .reason = "said so"});
}

void tick(struct table_rollout *table, enum verdict verdict)
{
	static struct judgement judgement;

	judgement = (struct judgement){.verdict = verdict, .log_e = 4.9};
	if (verdict == VERDICT_ROLLBACK) {
		strcpy(judgement.metric, "connect_failure");
		strcpy(judgement.reason, "connect_failure 6.1 x control [2.9, 10.4]");
	}
	assert_int_equal(feed_event(table,
				    (struct rollout_event){
					    .kind = EVENT_TICK,
					    .judgement = &judgement,
					    .window = table->state.window,
					    .facts = table->facts,
				    }),
			 0);
}

void tick_for(struct table_rollout *table, uint64_t nanoseconds, enum verdict verdict)
{
	for (uint64_t passed = 0; passed < nanoseconds; passed += SECOND) {
		pass(table, SECOND);
		tick(table, verdict);
	}
}

void start_rollout(struct table_rollout *table)
{
	uint32_t shares[RULES_MAX] = {0};

	for (size_t i = 0; i < TABLE_RULES && !table->is_latched; i++)
		shares[i] = table->shares[i];
	assert_int_equal(feed_event(table,
				    (struct rollout_event){
					    .kind = EVENT_START,
					    .by = "ann",
					    .reason = "v42",
					    .id = table->state.id + 1,
					    .shares = shares,
					    .is_latched = table->is_latched,
				    }),
			 0);
	table->has_lease = true;
}

const struct rollout_action *find_action(const struct table_rollout *table,
					 enum rollout_action_kind kind)
{
	for (size_t i = 0; i < table->actions.count; i++)
		if (table->actions.list[i].kind == kind)
			return &table->actions.list[i];
	return NULL;
}

size_t count_actions(const struct table_rollout *table, enum rollout_action_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < table->actions.count; i++)
		count += table->actions.list[i].kind == kind;
	return count;
}

const struct rollout_note *find_note(const struct table_rollout *table, const char *event)
{
	for (size_t i = 0; i < table->actions.count; i++)
		if (table->actions.list[i].kind == ACTION_EMIT &&
		    !strcmp(table->actions.list[i].note.event, event))
			return &table->actions.list[i].note;
	return NULL;
}
