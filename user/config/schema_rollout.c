// SPDX-License-Identifier: GPL-2.0-only
/* The key tables of health checks and of staged rollouts, as schema.c has the others. */
#include "config/schema_tables.h"

#include "policy/policy.h"

#define COMMAND_WORDS_MAX 64
#define URL_BYTES_MAX	  2047
#define MINUTE		  (60 * SECOND)

/* The tables have a line or two for a key, as in the contract. */
/* clang-format off */

/* ---- health checks ---- */

static const struct choice check_types[] = {
	{"none", CHECK_NONE, PART_MAIN},
	{"tcp", CHECK_TCP, PART_MAIN},
	{"http", CHECK_HTTP, PART_MAIN},
	{NULL, 0, PART_MAIN},
};

#define WITH_HTTP .with = &health_check_keys[0], .with_value = CHECK_HTTP

static const struct key health_check_keys[] = {
	{.name = "type", .type = VALUE_CHOICE, .choices = check_types, .fallback = "none",
	 FIELD(struct health_check, type)},
	{.name = "port", .type = VALUE_INTEGER, .minimum = 1, .maximum = 65535,
	 FIELD(struct health_check, port)},
	{.name = "path", .type = VALUE_TEXT, .minimum = 1, .maximum = TEXT_MAX, .fallback = "/",
	 WITH_HTTP, FIELD(struct health_check, path)},
	{.name = "host", .type = VALUE_TEXT, .minimum = 1, .maximum = TEXT_MAX, WITH_HTTP,
	 FIELD(struct health_check, host)},
	{.name = "expect_status", .type = VALUE_STATUSES, .fallback = "200-399", WITH_HTTP},
	{.name = "expect_body", .type = VALUE_TEXT, .minimum = 1, .maximum = TEXT_MAX, WITH_HTTP,
	 FIELD(struct health_check, expect_body)},
	{.name = "interval", .type = VALUE_DURATION, .minimum = 10, .maximum = HOUR,
	 .fallback = "2s", FIELD(struct health_check, interval_ms)},
	{.name = "timeout", .type = VALUE_DURATION, .minimum = 10, .maximum = HOUR,
	 .fallback = "1s", FIELD(struct health_check, timeout_ms)},
	{.name = "rise", .type = VALUE_INTEGER, .minimum = 1, .maximum = 100, .fallback = "2",
	 FIELD(struct health_check, rise)},
	{.name = "fall", .type = VALUE_INTEGER, .minimum = 1, .maximum = 100, .fallback = "3",
	 FIELD(struct health_check, fall)},
};
KEYS_FIT(health_check_keys);
const struct schema health_check_schema = {SCHEMA(health_check_keys)};

/* ---- steps ---- */

/* Maps of one key, kept in the step itself. */
static const struct key pause_keys[] = {
	{.name = "duration", .type = VALUE_DURATION, .minimum = 1, .maximum = 30 * DAY,
	 .zero_hint = "write `pause: {}` to wait for `rollout resume`, or remove the step",
	 FIELD(struct step, pause_ms)},
};
static const struct schema pause_schema = {SCHEMA(pause_keys)};

static const struct key analysis_keys[] = {
	{.name = "timeout", .type = VALUE_DURATION, .minimum = 1, .maximum = 30 * DAY,
	 .fallback = "2h", FIELD(struct step, analysis_timeout_ms)},
};
static const struct schema analysis_schema = {SCHEMA(analysis_keys)};

static const struct key approve_keys[] = {
	{.name = "message", .type = VALUE_TEXT, .maximum = TEXT_MAX, .fallback = "",
	 FIELD(struct step, approve_message)},
};
static const struct schema approve_schema = {SCHEMA(approve_keys)};

#define STEP(value)                                                                                \
	.alternative = true, .kind = offsetof(struct step, kind), .kind_value = STEP_##value

/* `segment` and `weight` are of one kind. Where there is a segment alone: check_rollout.c. */
static const struct key step_keys[] = {
	{.name = "segment", .type = VALUE_NAME, STEP(WEIGHT), FIELD(struct step, segment)},
	{.name = "weight", .type = VALUE_PERCENT, .maximum = WHOLE, STEP(WEIGHT),
	 FIELD(struct step, weight_ppm), GIVEN(struct step, has_weight)},
	{.name = "lower", .type = VALUE_BOOLEAN, .fallback = "false", FIELD(struct step, lower)},
	{.name = "pause", .type = VALUE_MAP, STEP(PAUSE), .schema = &pause_schema},
	{.name = "analysis", .type = VALUE_MAP, STEP(ANALYSIS), .schema = &analysis_schema},
	{.name = "approve", .type = VALUE_MAP, STEP(APPROVE), .schema = &approve_schema},
};
KEYS_FIT(step_keys);
static const struct schema step_schema = {SCHEMA(step_keys)};

/* ---- the guard ---- */

static const struct real_range level_range = {.most = .5, .open = true};
static const struct real_range margin_range = {.least = 1, .most = 1.5};
static const struct real_range promote_ratio_range = {.least = 1.1, .most = 4};

static const struct key guard_keys[] = {
	{.name = "alpha", .type = VALUE_REAL, .range = &level_range, .fallback = "0.01",
	 FIELD(struct guard_options, alpha)},
	{.name = "beta", .type = VALUE_REAL, .range = &level_range, .fallback = "0.05",
	 FIELD(struct guard_options, beta)},
	{.name = "margin", .type = VALUE_REAL, .range = &margin_range, .fallback = "1.1",
	 FIELD(struct guard_options, margin)},
	{.name = "promote_ratio", .type = VALUE_REAL, .range = &promote_ratio_range,
	 .fallback = "2", FIELD(struct guard_options, promote_ratio)},
	{.name = "control_factor", .type = VALUE_INTEGER, .minimum = 1, .maximum = 16,
	 .fallback = "4", FIELD(struct guard_options, control_factor)},
};
KEYS_FIT(guard_keys);
static const struct schema guard_schema = {SCHEMA(guard_keys)};

/* ---- metrics ---- */

static const struct choice metric_sources[] = {
	{"kernel", SOURCE_KERNEL, PART_MAIN},
	{"prometheus", SOURCE_PROMETHEUS, PART_MAIN},
	{"command", SOURCE_COMMAND, PART_MAIN},
	{"feedback", SOURCE_FEEDBACK, PART_MAIN},
	{NULL, 0, PART_MAIN},
};

static const struct real_range weight_range = {.most = 1, .open = true};
static const struct key word_item = {.type = VALUE_TEXT, .maximum = PATH_MAX_BYTES,
				     .size = sizeof(char *)};

#define WITH_SOURCE(value) .with = &metric_keys[1], .with_value = SOURCE_##value

/* Which names there are, whether a metric is critical by itself, what goes with what:
 * check_metrics.c. */
static const struct key metric_keys[] = {
	{.name = "name", .type = VALUE_NAME, .required = true, FIELD(struct rollout_metric, name)},
	{.name = "source", .type = VALUE_CHOICE, .choices = metric_sources, .fallback = "kernel",
	 FIELD(struct rollout_metric, source)},
	{.name = "weight", .type = VALUE_REAL, .range = &weight_range, .fallback = "1",
	 FIELD(struct rollout_metric, weight)},
	{.name = "critical", .type = VALUE_BOOLEAN, FIELD(struct rollout_metric, critical),
	 GIVEN(struct rollout_metric, has_critical)},
	{.name = "max_rate", .type = VALUE_PERCENT, .minimum = 1, .maximum = WHOLE,
	 FIELD(struct rollout_metric, max_rate_ppm), GIVEN(struct rollout_metric, has_max_rate),
	 .unset = true},
	{.name = "url", .type = VALUE_URL, .required = true, .minimum = 1,
	 .maximum = URL_BYTES_MAX, WITH_SOURCE(PROMETHEUS), FIELD(struct rollout_metric, url)},
	{.name = "query", .type = VALUE_EXPRESSION, .required = true, .minimum = 1,
	 .maximum = EXPRESSION_MAX, WITH_SOURCE(PROMETHEUS), FIELD(struct rollout_metric, query)},
	{.name = "query_control", .type = VALUE_EXPRESSION, .minimum = 1,
	 .maximum = EXPRESSION_MAX, WITH_SOURCE(PROMETHEUS),
	 FIELD(struct rollout_metric, query_control)},
	{.name = "min", .type = VALUE_REAL, WITH_SOURCE(PROMETHEUS),
	 FIELD(struct rollout_metric, min), GIVEN(struct rollout_metric, has_min),
	 .unset = true},
	{.name = "max", .type = VALUE_REAL, WITH_SOURCE(PROMETHEUS),
	 FIELD(struct rollout_metric, max), GIVEN(struct rollout_metric, has_max),
	 .unset = true},
	{.name = "interval", .type = VALUE_DURATION, .minimum = SECOND / 10, .maximum = DAY,
	 .fallback = "30s", FIELD(struct rollout_metric, interval_ms)},
	{.name = "command", .type = VALUE_LIST, .required = true, .minimum = 1,
	 .maximum = COMMAND_WORDS_MAX, .sequence = true, WITH_SOURCE(COMMAND),
	 LIST(struct rollout_metric, command, char *), .item = &word_item},
	{.name = "timeout", .type = VALUE_DURATION, .minimum = SECOND / 10, .maximum = HOUR,
	 .fallback = "10s", WITH_SOURCE(COMMAND), FIELD(struct rollout_metric, timeout_ms)},
};
KEYS_FIT(metric_keys);
static const struct schema metric_schema = {SCHEMA(metric_keys), .identity = "name"};

/* ---- hooks ---- */

static const struct choice hook_events[] = {
	{"before_step", HOOK_BEFORE_STEP, PART_MAIN},
	{"after_step", HOOK_AFTER_STEP, PART_MAIN},
	{"rollback", HOOK_ROLLBACK, PART_MAIN},
	{"success", HOOK_SUCCESS, PART_MAIN},
	{NULL, 0, PART_MAIN},
};

static const struct key hook_keys[] = {
	{.name = "on", .type = VALUE_CHOICE, .required = true, .choices = hook_events,
	 FIELD(struct rollout_hook, on)},
	{.name = "url", .type = VALUE_URL, .required = true, .minimum = 1,
	 .maximum = URL_BYTES_MAX, FIELD(struct rollout_hook, url)},
	{.name = "timeout", .type = VALUE_DURATION, .minimum = SECOND / 10,
	 .maximum = 10 * MINUTE, .fallback = "5s", FIELD(struct rollout_hook, timeout_ms)},
	{.name = "retries", .type = VALUE_INTEGER, .maximum = 100, .fallback = "3",
	 FIELD(struct rollout_hook, retries)},
	{.name = "gate", .type = VALUE_BOOLEAN, .fallback = "false",
	 FIELD(struct rollout_hook, gate)},
};
KEYS_FIT(hook_keys);
static const struct schema hook_schema = {SCHEMA(hook_keys)};

/* ---- rollouts ---- */

static const struct choice verdict_manners[] = {
	{"rollback", ON_VERDICT_ROLLBACK, PART_MAIN},
	{"pause", ON_VERDICT_PAUSE, PART_MAIN},
	{NULL, 0, PART_MAIN},
};

static const struct real_range max_load_range = {.least = .1, .most = 100};

/* Without the map there is no rollout: that it has steps is checked in check_rollout.c. */
static const struct key rollout_keys[] = {
	{.name = "cohort", .type = VALUE_NAME, FIELD(struct rollout, cohort)},
	{.name = "steps", .type = VALUE_LIST, .minimum = 1, .maximum = STEPS_MAX,
	 .sequence = true, LIST(struct rollout, steps, struct step), .schema = &step_schema},
	{.name = "bake", .type = VALUE_DURATION, .maximum = 30 * DAY, .fallback = "10m",
	 FIELD(struct rollout, bake_ms)},
	{.name = "settle", .type = VALUE_DURATION, .maximum = DAY, .fallback = "30s",
	 FIELD(struct rollout, settle_ms)},
	{.name = "max_duration", .type = VALUE_DURATION, .minimum = SECOND, .maximum = 366 * DAY,
	 .fallback = "7d", FIELD(struct rollout, max_duration_ms)},
	{.name = "on_fail", .type = VALUE_CHOICE, .choices = verdict_manners,
	 .fallback = "rollback", FIELD(struct rollout, on_fail)},
	{.name = "on_inconclusive", .type = VALUE_CHOICE, .choices = verdict_manners,
	 .fallback = "pause", FIELD(struct rollout, on_inconclusive)},
	{.name = "max_load", .type = VALUE_REAL, .range = &max_load_range, .or_zero = true,
	 .fallback = "0", FIELD(struct rollout, max_load)},
	{.name = "lease", .type = VALUE_DURATION, .minimum = SECOND, .maximum = DAY,
	 .or_zero = true, .fallback = "30s", FIELD(struct rollout, lease_ms)},
	{.name = "guard", .type = VALUE_MAP, FIELD(struct rollout, guard),
	 .schema = &guard_schema},
	{.name = "metrics", .type = VALUE_LIST, .minimum = 1, .maximum = ROLLOUT_METRICS_MAX,
	 LIST(struct rollout, metrics, struct rollout_metric),
	 GIVEN(struct rollout, has_metrics), .schema = &metric_schema},
	{.name = "hooks", .type = VALUE_LIST, .maximum = HOOKS_MAX, .sequence = true,
	 LIST(struct rollout, hooks, struct rollout_hook), .schema = &hook_schema},
};
KEYS_FIT(rollout_keys);
const struct schema rollout_schema = {SCHEMA(rollout_keys)};
/* clang-format on */
